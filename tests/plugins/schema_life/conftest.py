"""A site with a public collection of stars and a private one; the client of these tests is that of the protocols."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

STARS = """\
collection: stars
title: Stars with diameters
description: >-
  Angular diameters of stars, from their colours and spectral types. Each diameter has an error. The catalogue is
  for calibrators of optical interferometers.
creators: [{name: "Müller, Anna"}, {name: "Duvert, G."}]
contact: {name: "Hven staff", email: "staff@vo.example"}
citation: "Müller & Duvert 2026, A&A 700, A1"
bibcode: 2026A&A...700A...1M
subjects: [stellar radii, Catalogs]
tables:
  main:
    title: Diameters
    source: stars.csv
    primary: name
    rules: {slow: {if: pm > -1000, flag: 2, message: the star moves fast}}
    flags: quality_flags
    columns:
      name: {type: string, ucd: meta.id;meta.main, description: Name of the star}
      hip: {type: int32, ucd: meta.id, description: 118218 numbers of Hipparcos}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension (ICRS)}
      pm: {type: float32, unit: mas/yr, ucd: pos.pm, description: Proper motion}
      diameter_of_limb_darkened_disc: {type: float64, unit: mas, ucd: phys.angSize, description: Diameter}
      mass: {type: float64, unit: solMass, description: Mass}
      variable: {type: bool, description: Whether it varies}
      seen: {type: timestamp, ucd: time.epoch, description: Date of the observation}
"""
ROWS = """\
name,hip,ra,pm,diameter_of_limb_darkened_disc,mass,variable,seen
Sirius,32349,101.28715533,-1339.4,6.039,2.063,false,2004-01-02T03:04:05
Vega,91262,279.2347,-350.77,3.24,1e-30,true,2020-12-31T23:59:59.5
 Ångström,,0.1,,,12345678901234567890,,
"""
SHUT = """\
collection: shut
title: Not yet public
access: private
creators: [{name: "Hidden"}]
tables:
  draft:
    source: draft.csv
    columns:
      zqsecret: {type: string, description: Nobody sees this}
      ra: {type: float32, unit: rad, description: Right ascension (ICRS)}
"""


@pytest.fixture(scope="package")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("schema_life")
    for name, text, file, rows in (
        ("stars", STARS, "stars.csv", ROWS),
        ("shut", SHUT, "draft.csv", "zqsecret,ra\nx,1\n"),
    ):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        (folder / file).write_text(rows, encoding="utf-8")
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(load_settings(directory)) as site:
        for name in ("stars", "shut"):
            ingest_collection(site, name)
    return directory


@pytest.fixture(scope="package")
def site(directory: Path) -> Iterator[Site]:
    with Site(load_settings(directory)) as site:
        yield site


@pytest.fixture(scope="package")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))
