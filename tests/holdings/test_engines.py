"""Several engines in one site: each collection's rows are where its descriptor or hven.toml says, and move when told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection, move_collection_to_engine
from hven.jobs.snapshot_verification import list_all_snapshot_records, verify_snapshots_and_record_results
from hven.model.errors import HvenError, NotFoundError, StorageError, StorageUnavailableError, UserError
from hven.model.settings import Settings
from hven.site import Site
from hven.site import _engine_registry as engines
from hven.site.state_faults import find_state_faults
from hven.site.store import _snapshots as snapshots
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven, wait_until
from second_engine import OTHER_NAME, register_other_engine

TEXT = """collection: things
title: Things
{engine}tables:
  a:
    columns: {{n: {{type: int32}}, name: {{type: string}}}}
    source: {{kind: csv, files: a.csv}}
  b:
    source: {{kind: query, adql: SELECT n FROM things.a WHERE n > 1}}
"""
ROWS = "n,name\n1,x\n2,y\n3,\n"


@pytest.fixture
def other_engine() -> Iterator[Any]:
    with register_other_engine() as module:
        yield module


def open_site(directory: Path, named: str = "", **settings: Any) -> Site:
    said = f"engine: {named}\n" if named else ""
    return open_site_with_uningested_files(directory, TEXT.format(engine=said), {"a.csv": ROWS}, **settings)


def list_snapshot_engines(site: Site) -> dict[str, str]:
    return {name: record.snapshot.engine for name, record in site.store.read_published_records()[1].items()}


def numbers(site: Site) -> list[int]:
    with query.run_query(
        "SELECT a.n FROM things.a AS a JOIN things.b AS b ON a.n = b.n ORDER BY a.n", site=site
    ) as result:
        return list(result.read_table().column(0).to_pylist())


@pytest.mark.parametrize("how", ["descriptor", "settings"])
def test_rows_are_staged_swept_and_dropped_where_they_belong(tmp_path: Path, other_engine: Any, how: str) -> None:
    with open_site(
        tmp_path,
        OTHER_NAME if how == "descriptor" else "",
        engine=OTHER_NAME if how == "settings" else "duckdb",
        keep_snapshots=1,
    ) as site:
        for _ in range(3):
            ingest_collection(site, "things")
        assert list_snapshot_engines(site) == {"things.a": OTHER_NAME, "things.b": OTHER_NAME}
        assert numbers(site) == [2, 3]
        assert other_engine.asked
        there = sorted(path.name for path in (tmp_path / "var" / f"engine-{OTHER_NAME}").glob("*/*"))
        assert there == sorted(record.id for record in site.store.read_published_records()[1].values())
        assert list((tmp_path / "var" / "snapshots").glob("*/*")) == []
        left = tmp_path / "var" / f"engine-{OTHER_NAME}" / "things.a" / "20000101-0000"
        left.mkdir()
        ingest_collection(site, "things")
        assert not left.exists(), "what a crashed writer left in another engine is swept"


def test_a_site_starts_without_an_engine_that_has_tables(tmp_path: Path) -> None:
    """As if its package were uninstalled: `hven check` and a start of the server name the engine."""
    with register_other_engine(), open_site(tmp_path, OTHER_NAME) as site:
        ingest_collection(site, "things")
    descriptor = tmp_path / "collections/things/things.yaml"
    descriptor.write_text(descriptor.read_text().replace(f"engine: {OTHER_NAME}\n", ""))
    (fault,) = find_state_faults(Settings(directory=tmp_path))
    assert str(fault).startswith("published tables are not served (things.a, things.b): there is no engine 'other'; ")
    assert fault.severity == "warning"
    with open_site(tmp_path) as site:
        with pytest.raises(StorageUnavailableError, match="the engine 'other' with these rows"):
            numbers(site)
        assert "there is no engine 'other'" in str(site.probe_engines())
        records = list_all_snapshot_records(site.store)
        assert verify_snapshots_and_record_results(site.settings, site.store, site.engines, records) == []
        ingest_collection(site, "things")
        site.refresh_published_state()
        assert numbers(site) == [2, 3]


def test_records_of_older_sites_mean_the_embedded_engine(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        ingest_collection(site, "things")
        record = site.store.read_published_records()[1]["things.a"]
        row = snapshots.snapshot_record_to_row(record)
        row["record"] = row["record"].replace('"engine": "duckdb", ', "").replace(', "engine": "duckdb"', "")
        assert "engine" not in row["record"]
        again = snapshots.snapshot_record_from_row(type("Row", (), row))
        assert again == record


def test_an_unknown_engine_is_told_with_its_place(tmp_path: Path, other_engine: Any) -> None:
    open_site(tmp_path, "postgre").close()
    path = tmp_path / "collections" / "things" / "things.yaml"
    faults = [fault for fault in check_descriptor(path, Settings(directory=tmp_path)) if fault.severity == "error"]
    assert [(fault.place.line, fault.place.column) for fault in faults] == [(3, 9)]
    assert "there is no engine 'postgre'" in faults[0].message


def test_a_collection_moves_and_comes_back(tmp_path: Path, other_engine: Any) -> None:
    with open_site(tmp_path) as site:
        ingest_collection(site, "things")
        before = site.store.read_published_records()[1]
        version = site.get_published_state().version
        assert len(move_collection_to_engine(site, "things", OTHER_NAME)) == 2
        assert list_snapshot_engines(site) == {"things.a": OTHER_NAME, "things.b": OTHER_NAME}
        assert numbers(site) == [2, 3]
        assert site.get_published_state().version != version
        now = site.store.read_published_records()[1]["things.a"]
        assert now.provenance["moved"][0]["from"] == before["things.a"].id
        assert now.created == before["things.a"].created, "the rows are as old as they were"
        assert move_collection_to_engine(site, "things", OTHER_NAME) == []
        site.store.roll_back("things")
        assert list_snapshot_engines(site) == {"things.a": "duckdb", "things.b": "duckdb"}
        site.refresh_published_state()
        assert numbers(site) == [2, 3]
        assert [run.kind for run in site.store.runs.list_runs("things")] == ["move", "ingest"]
        with pytest.raises(NotFoundError):
            move_collection_to_engine(site, "nothing", OTHER_NAME)
        with pytest.raises(UserError, match="there is no engine 'x'"):
            move_collection_to_engine(site, "things", "x")


@pytest.mark.parametrize("where", ["stage", "write", "finish", "publish", "lost"])
def test_a_move_that_breaks_off_changes_nothing(
    tmp_path: Path, other_engine: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with open_site(tmp_path) as site:
        ingest_collection(site, "things")
        engine = site.engines.get_engine(OTHER_NAME)
        before = site.store.read_published_records()[1]
        calls = 0

        def broken(*_: Any, **__: Any) -> Any:
            raise StorageError("the disk is full")

        stage = engine.stage_snapshot

        def second(table: Any, ident: str) -> Any:
            nonlocal calls
            calls += 1
            staging = stage(table, ident)
            if calls == 2 and where in {"write", "finish"}:
                monkeypatch.setattr(type(staging), where, broken)
            if calls == 2 and where == "lost":
                finish = staging.finish
                monkeypatch.setattr(type(staging), "finish", lambda _: replace(finish(), rows=1))
            return broken() if calls == 2 and where == "stage" else staging

        monkeypatch.setattr(engine, "stage_snapshot", second)
        if where == "publish":
            monkeypatch.setattr(site.store, "publish_collection", broken)
        with pytest.raises(StorageError, match="but only 1 arrived" if where == "lost" else "full"):
            move_collection_to_engine(site, "things", OTHER_NAME)
        monkeypatch.undo()
        assert site.store.read_published_records()[1] == before
        assert numbers(site) == [2, 3]
        assert not [
            path
            for path in (tmp_path / "var" / f"engine-{OTHER_NAME}").glob("*/*")
            if not path.name.endswith(".staging")
        ]
        assert site.store.runs.list_runs("things")[0].phase == "ERROR"


def test_health_tells_of_an_engine_that_is_away(
    tmp_path: Path, other_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hven.site._site.ENGINE_CHECK_INTERVAL_SECONDS", 0.05)
    with open_site(tmp_path, OTHER_NAME) as site:
        ingest_collection(site, "things")
    with Site(Settings(directory=tmp_path), watch_for_changes=True) as site:
        wait_until(lambda: other_engine.opened >= 2 and not site.get_published_state().problems)
        other_engine.away = True
        wait_until(
            lambda: any(
                "engine other: the other database does not respond" in text
                for text in site.get_published_state().problems
            )
        )
        with pytest.raises(HvenError, match="does not respond"):
            numbers(site)
        other_engine.away = False
        wait_until(lambda: not site.get_published_state().problems)
        assert numbers(site) == [2, 3]


def test_an_engine_is_opened_while_those_that_are_open_are_listed(
    tmp_path: Path, other_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another thread, in the middle of it."""
    real = engines.load_engine_record
    with open_site(tmp_path) as site:

        def opening(name: str) -> Any:
            monkeypatch.setattr(engines, "load_engine_record", real)
            site.engines.get_engine(OTHER_NAME)
            return real(name)

        monkeypatch.setattr(engines, "load_engine_record", opening)
        assert site.engines.list_settings_sections_in_use() == []
        assert OTHER_NAME in site.engines.map_open_engines()


def test_what_cannot_be_dropped_now_is_swept_later(tmp_path: Path, other_engine: Any) -> None:
    with open_site(tmp_path, OTHER_NAME) as site:
        ingest_collection(site, "things")
        snapshot = site.store.read_published_records()[1]["things.a"].snapshot
        other_engine.away = True
        assert "cannot be removed at the moment" in site.engines.drop_snapshots_and_list_problems([snapshot])[0]


def test_a_data_directory_without_the_published_rows_is_reported(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        ingest_collection(site, "things")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "hven.toml").write_text('data = "elsewhere"\n')
    fault = f"hven.toml: data: {tmp_path / 'elsewhere'} contains no rows of the published tables; correct `data`"
    assert f"warning: {fault}" in run_hven("check", "--site", tmp_path).stdout
    assert f"problem: {fault}" in run_hven("status", "--site", tmp_path).stdout
    (tmp_path / "hven.toml").write_text('data = "var"\n')
    assert fault not in run_hven("check", "--site", tmp_path).stdout


def test_the_verb(tmp_path: Path, other_engine: Any) -> None:
    open_site(tmp_path).close()
    (tmp_path / "hven.toml").write_text("")
    run_hven("ingest", "things", "--site", tmp_path)
    told = run_hven("move", "things", "--to", OTHER_NAME, "--site", tmp_path).stdout
    assert "things.a: 3 rows are now in other" in told
    assert "to prevent this, add `engine: other` to the descriptor" in told
    other_engine.away = True
    assert "engine other: the other database does not respond" in run_hven("status", "--site", tmp_path).stdout
    other_engine.away = False
    assert "is already in other" in run_hven("move", "things", "--to", OTHER_NAME, "--site", tmp_path).stdout
