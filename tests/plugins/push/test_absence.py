"""A site that leaves the package out: it starts, serves the rest, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError, UserError
from hven.model.settings import load_settings
from hven.plugins.push.client_writes import ClientWriteRequest, execute_client_write
from hven.plugins.push.push_store import ClientPushStore
from hven.site import Site
from hven.site.auth import Principal
from process_runner import run_hven

NIGHT = """
collection: night
title: A night log
tables:
  lines:
    source: {kind: push, columns: {id: int64, note: string}, ids: id, writers: [anna]}
    primary: id
    columns: {id: int64, note: string}
"""
STARS = """
collection: stars
title: Stars
files:
  - {files: "*.csv", writers: [anna]}
tables:
  main:
    source: {kind: csv, files: stars.csv}
    columns: {name: string}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a row that was pushed."""
    site_directory = tmp_path / "site"
    for name, text in {"night": NIGHT, "stars": STARS}.items():
        (site_directory / "collections" / name).mkdir(parents=True)
        (site_directory / "collections" / name / f"{name}.yaml").write_text(text)
    (site_directory / "collections/stars/stars.csv").write_text("name\nVega\n")
    (site_directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(site_directory)) as site:
        for name in ("night", "stars"):
            ingest_collection(site, name)
        body = tmp_path / "row.json"
        body.write_text(json.dumps({"note": "clouds"}))
        request = ClientWriteRequest(action="POST", body=body)
        execute_client_write(site, "night.lines", request, Principal(name="anna"))
    return site_directory


def query_column(site: Site, text: str) -> list[str]:
    answer = Client(create_and_start_application(site)).get("/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT="csv")
    return answer.text.split()[1:]


def test_the_rest_is_served_and_nothing_is_lost(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\nplugins = []\n')
    with Site(load_settings(directory)) as site:
        assert query_column(site, "SELECT name FROM stars.main") == ["Vega"]
        assert query_column(site, "SELECT note FROM night.lines") == ["clouds"]
        assert Client(create_and_start_application(site)).get("/push/night.lines").status == 404
        ingest_collection(site, "stars")
        with pytest.raises(DescriptorError, match="'push' belongs to the plug-in package push"):
            ingest_collection(site, "night")
        assert query_column(site, "SELECT note FROM night.lines") == ["clouds"]
        assert site.store.find_tables_of_unused_packages() == {"push": ["pushed", "pushes"]}
    (directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "night")
        assert query_column(site, "SELECT note FROM night.lines") == ["clouds"]
        assert len(site.store.get_or_create(ClientPushStore).list_pushes("night.lines")) == 1


def test_check_names_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\nplugins = []\n')
    told = run_hven("check", "--site", directory, expected_code=1).stdout
    assert "night.yaml:6:20: tables.lines.source: 'push' belongs to the plug-in package push, but `plugins`" in told
    assert "stars.yaml:5:22: files.writers belongs to the plug-in package push, but `plugins`" in told
    assert "rows of the plug-in package push (pushed, pushes), but `plugins` in hven.toml does not list" in told


def test_rows_in_json_need_the_package_that_reads_them(directory: Path, tmp_path: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\nplugins = ["push"]\n')
    rows = {"json": '{"note": "rain"}', "csv": "note\nwind\n"}
    with Site(load_settings(directory)) as site:
        for kind, text in rows.items():
            body = tmp_path / f"row.{kind}"
            body.write_text(text)
            media_type = {"csv": "text/csv", "json": "application/json"}[kind]
            request = ClientWriteRequest(action="POST", body=body, media_type=media_type)
            if kind == "json":
                with pytest.raises(UserError, match="'json' belongs to the plug-in package json_xml"):
                    execute_client_write(site, "night.lines", request, Principal(name="anna"))
            else:
                execute_client_write(site, "night.lines", request, Principal(name="anna"))
        assert sorted(query_column(site, "SELECT note FROM night.lines")) == ["clouds", "wind"]
