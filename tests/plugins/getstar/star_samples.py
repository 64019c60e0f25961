"""A descriptor of stars with the key `getstar`, its rows, and a site that publishes an answer of JMMC's GetStar."""

from __future__ import annotations

from pathlib import Path

from asgi_client import Client
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_verb
from shared import shared

STARS = """\
collection: stars
title: Stars
description: Stars with quantities.
creators: [{name: Tycho Brahe}]
subjects: [stars]
tables:
  main:
    title: Stars
    description: One row per star
    source: {kind: csv, files: a.csv}
    primary: main_id
    access: {rows: "public_row = 1"}
    columns:
      main_id: {type: string, ucd: meta.id, description: Name}
      HD: {type: int32, ucd: meta.id, description: Number, link: "https://example.org/sim?Ident=HD{HD}&q={main_id}", section: Names}
      TYC1: {type: int32, description: First number}
      TYC2: {type: int32, description: Second number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      variable: {type: bool, description: Whether it varies}
      note: {type: string, description: "Remark with <, & and \\"quotes\\""}
      public_row: {type: int16, hidden: true}
    origins: {0: NO CATALOG, 2: computed, 4: {title: I/280, url: "https://example.org/ascc"}, 14: {title: II/246, bibcode: 2003yCat.2246....0C}}
    quantities:
      V: {unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude V, value: vmag, error: e_vmag, origin: I/280, confidence: high, section: Photometry}
      K: {unit: mag, ucd: phot.mag;em.IR.K, value: kmag, error: e_kmag, origin: II/246, confidence: medium, section: Photometry}
      VK: {unit: mag, ucd: phot.color, value: target.V - target.K, error: first order, section: Photometry}
    getstar:
      names: ["{main_id}", "HD {HD}", "TYC {TYC1}-{TYC2}"]
      links: {SIMBAD: "https://example.org/simbad?Ident={main_id}", Unsafe: "javascript:alert({HD})"}
      fields: {main_id: SIMBAD, VK: {name: V-K, ucd: PHOT_JHN_V-K}}
      server: SearchCal Server v6.0.0
      style_sheet: https://example.org/getstar.xsl
"""
FILES = {
    "a.csv": """\
main_id,HD,TYC1,TYC2,ra,dec,variable,note,vmag,e_vmag,kmag,e_kmag,public_row
* alf CMa,48915,5949,2777,101.28715533,-16.71611586,true,a <b> & c,-1.09,0.01,-1.39,0.2,1
* alf Lyr,172167,3105,2070,279.23473479,38.78368896,false,,0.03,0.01,0.13,0.19,1
NGC 1,,1,1,0.00001,89.99999,,,9.0,,,,1
zqhidden,7,9,9,10,10,false,zqsecret,5,0.1,4,0.1,0
""",
}


def publish_getstar_of_jmmc(directory: Path) -> str:
    """Publish JMMC's answer for Sirius as a table, and return the answer of this site for Sirius."""
    require_verb("new")
    original = shared("data/interferometry/getstar-votable.vot")
    (directory / "hven.toml").write_text("")
    arguments = ["--site", str(directory), "new", "stars", "--from", str(original)]
    result = CliRunner().invoke(build_typer_app(), arguments)
    assert result.exit_code == 0, result.output
    path = directory / "collections" / "stars" / "stars.yaml"
    key = "getstar: {names: ['HD {hd}'], server: SearchCal Server v6.0.0, fields: {e_plx: e_Plx, vis2err: vis2Err}}"
    path.write_text(path.read_text().replace("    groups:\n", f"    {key}\n    groups:\n", 1))
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "stars")
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        return client.get("/sclwsGetStarProxy.php", star="HD 48915", format="vot").text
