"""STILTS looks at ivoa.obscore and at tables of EPN-TAP: taplint with its stage OBS, and the metadata of both."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site
from process_runner import lint_service, serve_site
from shared import shared
from stilts import run_stilts

pytestmark = [pytest.mark.standard, pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]

STAGES = ["TME", "TMS", "TMC", "CAP", "MDQ", "OBS"]
ALLOWED = r"tapregext#features-adql-(string|common-table|sets|type|conditional|unit|offset)\""
IMAGES = """\
collection: images
title: Images
tables:
  main:
    title: Images
    description: Images of one night
    source: {kind: csv, files: rows.csv}
    primary: ident
    columns:
      ident: {type: string, ucd: meta.id;meta.main, description: Name}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination}
      start: {type: float64, unit: d, ucd: time.start, description: Begin}
    obscore:
      set: {dataproduct_type: image, calib_level: 2, facility_name: OHP, pol_xel: 0, data_rights: public, o_ucd: phot.flux, bib_reference: 2026A&A...1....1X}
      text: {obs_title: "Image {ident}", access_url: "https://x.org/{ident}.fits"}
      map:
        t_min: start
        t_max: start + 0.01
        s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"
      optional: [obs_title, release, creation, resolution, errors, calibration, bib_reference, proposal_id, target_class, dataproduct_subtype]
      radio: {set: {instr_tel_number: 1}}
"""
SPECTRA = """\
collection: spectra
title: Spectra
created: 2026-01-01
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: celestial
    optional: [access, thumbnail_url, sso, map, event, apis, contributive, observing_geometry, references, coverage, time_scale, file_name]
    source: {kind: csv, files: rows.csv}
    set: {target_name: Vesta, target_class: asteroid, dataproduct_type: sp, processing_level: 3, access_format: application/fits, access_estsize: 100, measurement_type: phot.flux.density}
    text: {granule_uid: "{ident}", access_url: "https://x.org/{ident}.fits"}
    map: {time_min: start + 2400000.5, c1min: ra, c2min: dec, spectral_range_min: 3.0e14, spectral_range_max: 8.0e14, s_region: "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"}
    obscore: {}
"""
ROWS = "ident,ra,dec,start\n" + "".join(
    f"x{number},{number * 17 % 360}.5,{number * 5 - 40},{60000 + number}.25\n" for number in range(20)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("observations")
    for name, text in (("images", IMAGES), ("spectra", SPECTRA)):
        place = directory / "collections" / name
        place.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(text)
        (place / "rows.csv").write_text(ROWS)
    (directory / "hven.toml").write_text('name = "x"\nauthority = "x.org"\n')
    with Site(Settings(directory=directory, authority="x.org"), watch_for_changes=False) as site:
        for name in ("images", "spectra"):
            report = ingest_collection(site, name)
            assert not report.warnings
    with serve_site(directory) as found:
        yield found


def test_taplint_accepts_obscore(server) -> None:
    lines = run_stilts(
        "taplint", f"tapurl={server.url}/tap", f"stages={' '.join(STAGES)}", "report=EWISF", "maxrepeat=99", code=None
    ).stdout.splitlines()
    assert [line for line in lines if line[:2] in {"E-", "F-"}] == []
    assert [line for line in lines if line[:2] == "W-" and not re.search(ALLOWED, line)] == []
    assert any(line.startswith("Section OBS") for line in lines)
    assert not any("OBS-NODM" in line for line in lines)  # the data model is declared, so it has looked


def test_hven_lint_finds_nothing(server) -> None:
    report = lint_service(server.url)
    assert report["findings"] == []
    assert {"obscore", "radio", "epn"} <= set(report["groups"])
    assert report["unjudged"] == []


def test_epn_core_is_as_the_epn_stage_of_taplint_wants_it(server) -> None:
    """The stage is not in Debian's stilts; its facts are in the corpora."""
    from pyvo.dal import TAPService

    facts = json.loads(Path(shared("corpora/epntap/epncore-checks.json")).read_text())
    service = TAPService(f"{server.url}/tap")
    there = {
        row["column_name"]: row
        for row in service.search(
            "SELECT column_name, datatype, xtype, unit, ucd FROM TAP_SCHEMA.columns WHERE table_name = 'spectra.epn_core'"
        )
    }
    table = service.search("SELECT utype FROM TAP_SCHEMA.tables WHERE table_name = 'spectra.epn_core'")
    assert table["utype"][0] == facts["table"]["utype"]
    kinds = {
        "text": {"char", "unicodeChar"},
        "double": {"float", "double"},
        "integer": {"short", "int", "long"},
        "timestamp": {"char"},
    }
    looked = 0
    for fact in facts["mandatory_columns"]:
        column = there[fact["name"]]
        looked += 1
        assert str(column["datatype"]) in kinds.get(fact["type"], {str(column["datatype"])}), fact
        if fact["unit"]:
            assert column["unit"] == fact["unit"], fact
        if fact["ucd"]:
            assert column["ucd"] == fact["ucd"], fact
    assert looked >= 46
