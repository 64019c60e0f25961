"""Links of granules: the address of their list, and which were made of which."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from asgi_client import Client
from astropy.io import fits

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins

HEAD = """\
collection: maps
title: Maps
created: 2020-01-02
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [access, thumbnail_url, datalink_url]
    source: {kind: csv, files: rows.csv}
"""
GOOD = {
    "granule_uid": "a1", "granule_gid": "map", "obs_id": "a", "dataproduct_type": "ma", "measurement_type": "phys.reflectance", "processing_level": "5",
    "target_name": "Mars", "target_class": "planet", "time_min": "2453005.5", "time_max": "2453005.6", "instrument_name": "OMEGA", "instrument_host_name": "mex",
    "access_url": "https://x.org/a.png", "access_format": "image/png", "access_estsize": "10", "thumbnail_url": "https://x.org/t.png", "modification_date": "2021-01-01",
}  # fmt: skip
LINKS = '    links: [{semantics: documentation, text: "https://x.org/of/{target.obs_id}", type: text/html}]\n'


def rows(site_text: str, tmp_path: Path) -> tuple[list[dict[str, str]], Client]:
    file = io.StringIO()
    writer = csv.DictWriter(file, GOOD)
    writer.writeheader()
    writer.writerows([GOOD, {**GOOD, "granule_uid": "b 2+c"}])
    site = open_site_with_uningested_files(tmp_path, site_text, {"rows.csv": file.getvalue()})
    ingest_collection(site, "maps")
    client = Client(create_and_start_application(site))
    query = "SELECT granule_uid, datalink_url FROM maps.epn_core ORDER BY granule_uid"
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text
    return list(csv.DictReader(io.StringIO(answer))), client


def test_granules_lead_to_their_links(tmp_path: Path) -> None:
    (one, two), client = rows(HEAD + LINKS, tmp_path)
    assert one["datalink_url"].endswith("/datalink/maps.epn_core?ID=a1")
    path, _, query = two["datalink_url"].partition("?")
    assert query == "ID=b%202%2Bc"
    path = "/datalink/" + path.rpartition("/")[2]
    found = client.ask("GET", path, f"{query}&RESPONSEFORMAT=csv".encode()).text
    links = {row["semantics"]: row["access_url"] for row in csv.DictReader(io.StringIO(found))}
    assert links == {
        "#this": "https://x.org/a.png",
        "#thumbnail": "https://x.org/t.png",
        "#documentation": "https://x.org/of/a",
    }
    kinds = {row["semantics"]: row["content_qualifier"] for row in csv.DictReader(io.StringIO(found))}
    assert kinds == {"#this": "#image", "#thumbnail": "", "#documentation": ""}


PRODUCTS = """\
collection: shelf
title: Shelf
files: data/*
tables:
  main:
    source: rows.csv
    primary: id
    columns: {id: {type: string, ucd: meta.id;meta.main}, file: string, dataproduct_type: string}
    links: [{semantics: this, file: "{target.file}"}]
  told:
    source: rows.csv
    primary: id
    columns: {id: {type: string, ucd: meta.id;meta.main}, file: string, dataproduct_type: string}
    links: [{semantics: this, file: "{target.file}", qualifier: spectrum}, {semantics: calibration, text: "https://x.org/{target.id}", qualifier: "#{target.dataproduct_type}"}]
"""


def test_links_have_the_product_types_of_their_rows(tmp_path: Path) -> None:
    """A row's file, that file as FITS and parts of it are of one kind, which the row says, its link, or at last the file's name."""
    require_plugins("protocols", "conversions")
    require_plugins("media", "cdf")
    kinds = {"a.cdf": "ts", "b.oifits": "", "c.sav": "im#sp", "e.sav": "", "f.fits": "cube"}
    lines = "".join(f"{name[0]},data/{name},{kind}\n" for name, kind in kinds.items())
    site = open_site_with_uningested_files(tmp_path, PRODUCTS, {"rows.csv": "id,file,dataproduct_type\n" + lines, **{f"data/{name}": "nothing" for name in kinds}})  # fmt: skip
    ingest_collection(site, "shelf")
    client = Client(create_and_start_application(site))

    def list_link_kinds(table: str, one: str) -> dict[str, str]:
        found = csv.DictReader(io.StringIO(client.get(f"/datalink/shelf.{table}", ID=one, RESPONSEFORMAT="csv").text))
        return {row["local_semantics"] or row["semantics"]: row["content_qualifier"] for row in found}

    assert {one: list_link_kinds("main", one).get("fits") for one in "abcef"} == {"a": "#timeseries", "b": "#visibility", "c": "", "e": "", "f": None}  # fmt: skip
    assert {one: list_link_kinds("main", one)["#this"] for one in "abf"} == {"a": "#timeseries", "b": "", "f": "#cube"}
    assert [list_link_kinds("told", "a")[name] for name in ("#this", "fits", "#calibration")] == [
        "#spectrum",
        "#spectrum",
        "#ts",
    ]
    path = tmp_path / "collections/shelf/shelf.yaml"
    path.write_text(PRODUCTS.replace("qualifier: spectrum", "qualifier: spectre"))
    (fault,) = check_descriptor(path, site.settings)
    assert (fault.message, fault.remedy) == (
        "tables.told.links[1].qualifier: the vocabulary product-type has no term 'spectre'",
        "did you mean 'spectrum'?",
    )


@pytest.mark.parametrize("said", ["", LINKS + "    set: {datalink_url: 'https://mine.org/'}\n"])
def test_what_says_otherwise_is_kept(said: str, tmp_path: Path) -> None:
    (one, _), _ = rows(HEAD + said, tmp_path)
    assert one["datalink_url"] == ("https://mine.org/" if said else "")


FILED = (
    HEAD.replace("tables:", 'files: "data/*"\ntables:')
    + '    links: [{semantics: this, file: "data/{target.obs_id}_{target.processing_level:03d}.{target.file_name}"}]\n'
).replace("datalink_url]", "datalink_url, file_name]")


def test_a_row_whose_file_can_be_drawn_leads_to_its_picture(tmp_path: Path) -> None:
    require_plugins("protocols", "previews")
    file = io.StringIO()
    good = {key: value for key, value in GOOD.items() if key != "thumbnail_url"}
    writer = csv.DictWriter(file, [*good, "file_name"])
    writer.writeheader()
    for uid, obs, kind in (("a", "Ö 1", "FITS"), ("b", "b", "txt"), ("c", "c", "")):
        writer.writerow({**good, "granule_uid": uid, "obs_id": obs, "file_name": kind})
    with open_site_with_uningested_files(tmp_path, FILED, {"rows.csv": file.getvalue()}) as site:
        data = site.settings.collections_directory / "maps/data"
        data.mkdir()
        fits.PrimaryHDU(np.arange(6.0).reshape(2, 3)).writeto(data / "Ö 1_005.FITS")
        (data / "b_005.txt").write_text("nothing")
        ingest_collection(site, "maps")
        client = Client(create_and_start_application(site))
        query = "SELECT granule_uid, thumbnail_url, datalink_url FROM maps.epn_core ORDER BY granule_uid"
        answer = client.get("/tap/sync", LANG="ADQL", QUERY=query, RESPONSEFORMAT="csv").text
        found = list(csv.DictReader(io.StringIO(answer)))
        assert [bool(row["thumbnail_url"]) for row in found] == [True, False, False]
        assert all(row["datalink_url"] for row in found)
        _, _, path = found[0]["thumbnail_url"].partition("/collections")
        assert path == "/maps/preview/data/%C3%96%201_005.FITS?size=200"
        picture = client.get("/collections" + unquote(path))
        assert (picture.status, picture.headers["content-type"]) == (200, "image/png")


LEVELS = """\
collection: levels
title: Levels
tables:
  raw:
    source: raw.csv
    primary: [id]
    columns: {id: string, obs_id: string, target_name: string, t_min: {type: float64, unit: d}, t_max: {type: float64, unit: d}, calib_level: int16}
    links:
      - {derived: {by: obs_id, in: maps, within: 10 min}, text: "https://x.org/map/{maps.name}", description: "map {maps.name}"}
      - {derived: {by: obs_id}, text: "https://x.org/raw/{raw.id}"}
  maps:
    source: maps.csv
    primary: [name]
    columns: {name: string, obs_id: string, target_name: string, t_min: {type: float64, unit: d}, t_max: {type: float64, unit: d}, calib_level: int16}
    links:
      - {derived: {by: [obs_id, target_name], in: levels.raw, within: 10 min}, text: "https://x.org/raw/{raw.id}", if: target.name <> 'm4'}
"""
RAW = """\
id,obs_id,target_name,t_min,t_max,calib_level
r1,o1,Sun,10,11,0
r2,o1,Sun,12,13,0
r3,o2,Sun,10,11,0
r4,,Sun,10,11,0
r5,o1,Sun,10,11,1
"""
MAPS = """\
name,obs_id,target_name,t_min,t_max,calib_level
m1,o1,Sun,11.006,11.5,3
m2,o1,Sun,11.008,11.9,3
m3,,Sun,10,11,3
m4,o1,Sun,10,11,3
m5,o1,Moon,10,11,3
m6,o1,Sun,,,3
"""


@pytest.mark.parametrize("other", [False, True], ids=["same names of times", "other names of times"])
def test_links_of_derived_products_name_their_origins(tmp_path: Path, other: bool) -> None:
    text, maps = LEVELS, MAPS
    if other:
        head, below, rest = text.partition("  maps:\n")
        head = head.replace("within: 10 min", "within: 10 min, other_time: [began, ended]")
        rest = rest.replace("t_min:", "began:").replace("t_max:", "ended:")
        rest = rest.replace("within: 10 min", "within: 10 min, time: [began, ended], other_time: [t_min, t_max]")
        text, maps = head + below + rest, MAPS.replace("t_min,t_max", "began,ended")
    site = open_site_with_uningested_files(tmp_path, text, {"raw.csv": RAW, "maps.csv": maps})
    assert check_descriptor(tmp_path / "collections/levels/levels.yaml", site.settings) == []
    ingest_collection(site, "levels")
    client = Client(create_and_start_application(site))

    def list_links(table: str, one: str) -> list[str]:
        answer = client.get(f"/datalink/levels.{table}", ID=one, RESPONSEFORMAT="csv")
        assert answer.status == 200, answer.text
        return sorted(
            f"{row['semantics']} {row['access_url'][14:]}"
            for row in csv.DictReader(io.StringIO(answer.text))
            if row["access_url"]
        )

    # 10 min are 0.00694 d: m1 begins in time, m2 does not; m3 shares the target alone; nothing is known of when m6 was
    assert list_links("raw", "r1") == [
        "#derivation map/m1",
        "#derivation map/m4",
        "#derivation map/m5",
        "#derivation raw/r5",
    ]
    assert list_links("raw", "r5") == [
        "#derivation map/m1",
        "#derivation map/m4",
        "#derivation map/m5",
        "#progenitor raw/r1",
        "#progenitor raw/r2",
    ]
    assert list_links("raw", "r4") == list_links("raw", "r3") == []
    assert list_links("maps", "m1") == ["#progenitor raw/r1", "#progenitor raw/r5"]
    assert list_links("maps", "m4") == list_links("maps", "m5") == list_links("maps", "m6") == []


FAULTS = {
    "{derived: target_name, text: a}": "links[1].derived.by: if two observations have the same target, one is not necessarily derived from the other; add obs_id or the programme to `by`, or write `within: 10 min`",
    "{derived: {by: obs}, text: a}": "links[1].derived: the table has no column 'obs'; did you mean 'obs_id'?",
    "{derived: {by: obs_id, level: stage}, text: a}": "links[1].derived: the table has no column 'stage'",
    "{derived: {by: obs_id, in: maps, level: id}, text: a}": "links[1].derived: no column 'id' in maps",
    "{derived: {by: obs_id, within: 10}, text: a}": "links.derived.within: '10' has no unit; add a unit (s, min, h, d, w): 10 h",
    "{derived: {by: obs_id}, semantics: this, text: a}": "links[1]: a link needs one of 'semantics', 'derived' and 'series'; write `semantics: preview`, or `derived: {by: [obs_id]}` to link the data from which the rows were made, or `series:` with the id of a data set",
    "{derived: {by: obs_id, other_time: [a, b]}, text: a}": "links[1].derived.other_time needs `in` and `within`, and must name two columns of the other table; write `in: TABLE`, `within: 10 min` and `other_time: [start, stop]`",
    "{derived: {by: obs_id, in: maps, within: 1 h, other_time: [a, t_max]}, order: maps.name, text: a}": "links[1].derived: no column 'a' in maps",
    "{text: a}": "links[1]: a link needs one of 'semantics', 'derived' and 'series'; write `semantics: preview`, or `derived: {by: [obs_id]}` to link the data from which the rows were made, or `series:` with the id of a data set",
    "{derived: obs_id, where: a.b = 1, text: a}": "links[1].where: `derived` already sets this key; remove this key or `derived`",
    "{derived: {by: obs_id, in: mops}, text: a}": "links[1].derived: levels has no table 'mops'; did you mean 'maps'?",
}  # fmt: skip


@pytest.mark.parametrize("link", FAULTS)
def test_faults_of_derived_links_are_reported(link: str, tmp_path: Path) -> None:
    before, _, after = LEVELS.partition("    links:")
    text = f"{before}    links: [{link}]\n  maps:{after.partition('  maps:')[2].partition('    links:')[0]}"
    site = open_site_with_uningested_files(tmp_path, text, {"raw.csv": RAW, "maps.csv": MAPS})
    said = [
        f"{one.message}{'; ' if one.remedy else ''}{one.remedy}"
        for one in check_descriptor(tmp_path / "collections/levels/levels.yaml", site.settings)
    ]
    assert said == [f"tables.raw.{FAULTS[link]}"]
