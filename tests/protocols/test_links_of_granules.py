"""EPN-TAP's datalink_url is filled where a table has links, and leads to them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from asking import Client

from hven.app._server import create
from hven.ingest import ingest
from hven.testing.site import site_with


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
    site = site_with(tmp_path, site_text, {"rows.csv": file.getvalue()})
    ingest(site, "maps")
    client = Client(create(site))
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
    assert links == {"#this": "https://x.org/a.png", "#thumbnail": "https://x.org/t.png", "#documentation": "https://x.org/of/a"}


@pytest.mark.parametrize("said", ["", LINKS + "    set: {datalink_url: 'https://mine.org/'}\n"])
def test_what_says_otherwise_is_kept(said: str, tmp_path: Path) -> None:
    (one, _), _ = rows(HEAD + said, tmp_path)
    assert one["datalink_url"] == ("https://mine.org/" if said else "")
