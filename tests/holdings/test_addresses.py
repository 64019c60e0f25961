"""Addresses of the site in its rows: who moves the site is told which collections still speak of the old place."""

from __future__ import annotations

import dataclasses

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site
from hven.site.state_faults import find_state_faults
from process_runner import run_hven

DESCRIPTOR = """\
collection: maps
title: Maps
description: Maps
tables:
  main:
    source: {kind: csv, files: rows.csv}
    columns:
      name: {type: string, description: Name}
      url: {type: string, description: Where it is}
    text: {url: "{site.url}/there/{name}"}
  plain:
    source: {kind: csv, files: rows.csv}
    columns:
      name: {type: string, description: Name}
"""


def ingest_site(tmp_path, text=DESCRIPTOR):
    place = tmp_path / "collections" / "maps"
    place.mkdir(parents=True)
    (place / "maps.yaml").write_text(text)
    (place / "rows.csv").write_text("name\na\n")
    (tmp_path / "hven.toml").write_text('name = "x"\nauthority = "x.org"\n')
    settings = Settings(directory=tmp_path)
    assert find_state_faults(settings) == []  # nothing is there yet
    with Site(settings) as site:
        ingest_collection(site, "maps")
    return settings


def test_a_site_that_moves_is_told(tmp_path):
    settings = ingest_site(tmp_path)
    assert find_state_faults(settings) == []
    (fault,) = find_state_faults(settings, port=9090)
    assert "addresses in the rows of maps.main still begin with http://127.0.0.1:8080" in fault.message
    assert "the address of the site is now http://127.0.0.1:9090" in fault.message
    assert "HVEN_PORT=9090 hven ingest maps" in fault.remedy
    assert fault.severity == "warning"
    moved = dataclasses.replace(settings, public_url="https://vo.example.org/hven/")
    (fault,) = find_state_faults(moved, port=9090)  # behind a proxy the port is nobody's business
    assert fault.message.startswith("the address of the site is now https://vo.example.org/hven, ")
    assert "with `hven ingest maps`" in fault.remedy
    with Site(moved) as site:
        ingest_collection(site, "maps")
    assert find_state_faults(moved) == []
    assert len(find_state_faults(settings)) == 1


def test_files_have_addresses_too(tmp_path):
    settings = ingest_site(
        tmp_path, DESCRIPTOR.replace("tables:", 'files: "*.csv"\ntables:').replace("{site.url}", "https://x.org")
    )
    (fault,) = find_state_faults(settings, port=9090)
    assert "maps.files" in fault.message


def test_check_says_it(tmp_path):
    ingest_site(tmp_path)
    assert "0 warnings" in run_hven("--site", tmp_path, "check").stdout
    (tmp_path / "hven.toml").write_text('name = "x"\nauthority = "x.org"\nport = 9091\n')
    told = run_hven("--site", tmp_path, "check").stdout
    assert "the address of the site is now http://127.0.0.1:9091, but" in told
    assert "update the addresses with `hven ingest maps`" in told
    assert "0 errors, 1 warning" in told
