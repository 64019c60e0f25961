"""A site that leaves the package out: it starts, serves the rest, and `hven check` names the package."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.engines import load_live_engine_module
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import HvenError, UserError
from hven.model.settings import load_settings
from hven.site import Site
from hven.site._live_tables import _load_inspection
from hven.sources import SourceContext
from plugin_needs import create_descriptor, load_drafter
from process_runner import run_hven

SECTIONS = """\
[postgres]
url = "postgresql://nobody@127.0.0.1:9/x"
[[foreign]]
name = "ops"
url = "$OPS"
tables = ["cubes"]
"""
DESCRIPTOR = """\
collection: {name}
title: Stars
{engine}tables:
  main:
    primary: [id]
    source: {source}
    columns: {{id: int32}}
"""
CSV = "{kind: csv, files: stars.csv}"
LEFT_OUT = "belongs to the plug-in package postgres, but `plugins` in hven.toml does not list this package"


def write_collection(site: Path, name: str, engine: str = "", source: str = CSV) -> None:
    folder = site / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stars.csv").write_text("id\n1\n2\n")
    (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, engine=engine, source=source))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Make a site of which the state says that rows of two collections are in the engine, and leave the package out."""
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    for name in ("near", "far", "plain"):
        write_collection(tmp_path, name)
    with Site(load_settings(tmp_path)) as site:
        for name in ("near", "far", "plain"):
            ingest_collection(site, name)
    with sqlite3.connect(tmp_path / "var/hven.sqlite") as state:
        for key, record in state.execute("SELECT id, record FROM snapshots").fetchall():
            written = json.loads(record)
            if not written["snapshot"]["table"].startswith("near."):
                written["snapshot"]["engine"] = "postgres"
                state.execute("UPDATE snapshots SET record = ? WHERE id = ?", (json.dumps(written), key))
    state.close()
    write_collection(tmp_path, "near", "engine: duckdb\n")
    write_collection(tmp_path, "far", "engine: postgres\n")
    write_collection(tmp_path, "live", source="{kind: live, url: $OPS, table: public.cubes}")
    (tmp_path / "hven.toml").write_text(f'name = "x"\nplugins = []\nengine = "postgres"\n{SECTIONS}')
    yield tmp_path
    plugins.select_plugin_packages(None)


def ask(client: Client, table: str) -> tuple[int, str]:
    answer = client.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY=f"SELECT COUNT(*) AS n FROM {table}")
    return answer.status, answer.text


def test_the_rest_is_served(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        status, text = ask(client, "near.main")
        assert (status, text.split()) == (200, ["n", "2"])
        for table in ("far.main", "plain.main"):
            status, text = ask(client, table)
            assert status >= 500
            assert "the engine 'postgres' with these rows does not respond at the moment" in text
        assert client.get("/").status == 200
        assert client.get("/collections/near/main").status == 200
        assert client.get("/collections/far/main").status in {200, 503}
        assert client.get("/health").status in {200, 503}
        with pytest.raises(HvenError, match="'postgres' belongs to the plug-in package postgres"):
            ingest_collection(site, "plain")


def test_check_and_verbs_name_the_package(directory: Path) -> None:
    told = run_hven("check", "--site", directory, expected_code=1).stdout
    assert f"far.yaml:3:9: 'postgres' {LEFT_OUT}" in told
    assert f"live.yaml:6:20: tables.main.source: 'live' {LEFT_OUT}" in told
    assert f"hven.toml:3: engine: 'postgres' {LEFT_OUT}" in told
    assert f"published tables are not served (far.main, plain.main): 'postgres' {LEFT_OUT}" in told
    for section in ("postgres", "foreign"):
        assert (
            f"{section}: the setting belongs to the plug-in package postgres, but `plugins` does not list this package"
            in told
        )
    for words in (["fdw"], ["reclaim", "3f2a9c1e"], ["move", "near", "--to", "postgres"]):
        refusal = run_hven(*words, "--site", directory, expected_code=1, in_subprocess=True).stderr
        assert LEFT_OUT in refusal
    told = run_hven("verify", "--site", directory).stdout
    assert "1 intact, 0 damaged" in told
    assert "engine postgres: 'postgres' belongs to" in run_hven("status", "--site", directory).stdout


def test_live_tables_are_not_read(directory: Path) -> None:
    settings = load_settings(directory)
    with pytest.raises(UserError, match="'live' belongs to the plug-in package postgres"):
        load_live_engine_module()
    kept = directory / "kept.json"
    kept.write_text("{}")
    assert _load_inspection(kept) is None
    address = "postgresql://nobody@127.0.0.1:9/x"
    with pytest.raises(UserError, match="'live' belongs to the plug-in package postgres"):
        create_descriptor(settings, "ops", address, kind="live", table="cubes")
    # copied tables are drafted without the keys and comments that the package reads
    options = {"url": address, "table": "cubes"}
    assert load_drafter("inspect_database_table")("sql", options, SourceContext(directory=directory)) is None
