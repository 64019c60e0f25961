"""Servers that vanish, refuse, are full or lack something; the engine says so in words, and goes on when it can."""

from __future__ import annotations

import threading
import time

import psycopg
import pyarrow as pa
import pytest

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits, MemoryRelation
from hven.model.errors import DataError, HvenError, OperationCancelledError, StorageError
from hven.model.table import Column, Table
from hven.model.types import STRING
from hven.plugins.postgres import engine as postgres
from hven.testing.engine import STAR_COUNT, STARS_TABLE, make_star_table
from postgres_cluster import run_cluster
from process_runner import assert_takes_less


@pytest.fixture(scope="module")
def machine():
    with run_cluster() as found:
        yield found


@pytest.fixture
def engine(machine, tmp_path):
    opened = postgres.open(tmp_path, memory=256 * 1024**2, threads=1, url=machine.url, pool=4)
    yield opened
    opened.close()


def write(engine, rows=None, name="a", table=STARS_TABLE):
    rows = make_star_table() if rows is None else rows
    staging = engine.stage_snapshot(table, f"{name}{time.monotonic_ns()}")
    for batch in rows.to_batches(max_chunksize=1000):
        staging.write(batch)
    return staging.finish()


def ask(engine, text, snapshot, limits=None):
    bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
    execution = engine.plan_query(bound).execute(
        bound.literal_values, {"sky.stars": snapshot}, limits or ExecutionLimits()
    )
    return [row for batch in execution for row in batch.to_pylist()]


def describe_error(call) -> str:
    with pytest.raises(HvenError) as caught:
        call()
    return f"{type(caught.value).__name__}: {caught.value} | {caught.value.remedy}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": "no-such-host.invalid"}, ("no-such-host.invalid", "check the host")),
        ({"dbname": "nix"}, ('"nix" does not exist', "create it")),
        ({"user": "nobody"}, ("nobody", "user")),
    ],
)
def test_a_server_that_cannot_be_reached_is_named(machine, tmp_path, change, words):
    url = psycopg.conninfo.make_conninfo(machine.url, **change)
    engine = postgres.open(tmp_path, memory=256 * 1024**2, url=url)  # opening asks for nothing
    text = describe_error(lambda: engine.stage_snapshot(STARS_TABLE, "a"))
    assert text.startswith("StorageError")
    assert all(word in text for word in words), text
    engine.close()


def test_a_restart_ends_queries_cleanly_and_the_pool_recovers(machine, engine):
    snapshot = write(engine)
    for _ in range(3):
        assert len(ask(engine, "SELECT id FROM sky.stars", snapshot)) == STAR_COUNT
        assert ask(engine, "SELECT COUNT(*) AS n FROM sky.stars", snapshot) == [{"n": STAR_COUNT}]
    bound = bind_query(
        parse_query("SELECT a.id AS x, b.mag AS y FROM sky.stars AS a, sky.stars AS b"),
        StaticTableCatalogue([STARS_TABLE]),
    )
    running = iter(engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits()))
    next(running)
    machine.stop()
    try:
        assert describe_error(lambda: list(running)).startswith("StorageError")
        assert "cannot be reached or does not respond" in describe_error(
            lambda: ask(engine, "SELECT COUNT(*) AS n FROM sky.stars", snapshot)
        )
    finally:
        machine.start()
    for text, wanted in (("SELECT COUNT(*) AS n FROM sky.stars", 1), ("SELECT id FROM sky.stars", STAR_COUNT)):
        assert len(ask(engine, text, snapshot)) == wanted
    assert len(ask(engine, "SELECT id FROM sky.stars", write(engine, name="b"))) == STAR_COUNT


def test_a_session_that_is_ended_by_an_administrator_is_replaced(machine, engine):
    snapshot = write(engine)
    text = "SELECT COUNT(*) AS n FROM sky.stars"
    ask(engine, text, snapshot)
    with psycopg.connect(machine.url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hven%' AND pid <> pg_backend_pid()"
        )
    assert ask(engine, text, snapshot) == [{"n": STAR_COUNT}]  # nothing had been given yet: asked again


def test_queries_cannot_write_and_may_only_read_as_their_role(machine, tmp_path):
    with psycopg.connect(machine.url, autocommit=True) as other:
        other.execute("DO $$ BEGIN CREATE ROLE hven_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    engine = postgres.open(tmp_path, memory=256 * 1024**2, url=machine.url, role="hven_reader", schema="roles")
    snapshot = write(engine)
    assert len(ask(engine, "SELECT id FROM sky.stars WHERE id < 10", snapshot)) == 10
    with engine.query_pool.borrow_connection() as connection:
        assert connection.execute("SELECT current_user, current_setting('transaction_read_only')").fetchone() == (
            "hven_reader",
            "on",
        )
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute(f'DELETE FROM roles."{snapshot.path}"')
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f'DELETE FROM roles."{snapshot.path}"')
        connection.execute("SET default_transaction_read_only = on")
    engine.close()


def test_strings_never_become_sql(engine):
    words = Table(schema="s", name="words", columns=(Column(name="w", type=STRING),))
    odd = ["$1", "a'b", 'x"y', "\\", "'; DROP SCHEMA hven CASCADE; --", "%s", "current_setting('hven.p1')", "日本", ""]
    rows = pa.table({"w": odd})
    snapshot = write(engine, rows, table=words)
    for relation in (snapshot, MemoryRelation(rows)):
        for word in odd:
            bound = bind_query(
                parse_query(f"SELECT w FROM s.words WHERE w = '{word.replace(chr(39), chr(39) * 2)}'"),
                StaticTableCatalogue([words]),
            )
            found = [
                row["w"]
                for batch in engine.plan_query(bound).execute(
                    bound.literal_values, {"s.words": relation}, ExecutionLimits()
                )
                for row in batch.to_pylist()
            ]
            assert found == [word]
    with pytest.raises(DataError, match="NUL"):
        write(engine, pa.table({"w": ["a\0b"]}), table=words)


def test_cancelling_takes_less_than_a_second(engine):
    snapshot = write(engine)
    bound = bind_query(
        parse_query(
            "SELECT COUNT(*) AS n FROM sky.stars AS a, sky.stars AS b, sky.stars AS c WHERE a.mag * b.mag > c.mag"
        ),
        StaticTableCatalogue([STARS_TABLE]),
    )

    def measure_cancellation() -> float:
        execution = engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
        ended = []

        def read():
            with pytest.raises(OperationCancelledError):
                list(execution)
            ended.append(time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.5)
        told = time.monotonic()
        execution.cancel()
        reader.join(60)
        return ended[0] - told

    assert_takes_less(measure_cancellation, 1)


def test_a_relation_that_is_gone_is_said(engine):
    snapshot = write(engine)
    engine.remove_snapshot(snapshot)
    assert "no longer in the database" in describe_error(lambda: ask(engine, "SELECT id FROM sky.stars", snapshot))
    with pytest.raises(StorageError, match="not in the database"):
        list(engine.read_rows(snapshot))


def test_a_merge_makes_a_new_snapshot_and_leaves_the_old_one(engine):
    old = write(engine)
    rows = make_star_table()
    changed = rows.slice(0, 50).set_column(3, STARS_TABLE.arrow_schema.field("mag"), pa.array([99.5] * 50))
    new = (
        make_star_table(STAR_COUNT + 20)
        .slice(STAR_COUNT)
        .set_column(0, STARS_TABLE.arrow_schema.field("id"), pa.array(range(100_000, 100_020), pa.int64()))
    )
    deleted = pa.table({"id": rows.column("id").slice(50, 30)})
    changes = pa.concat_tables([changed, new])
    staging = engine.stage_merge(STARS_TABLE, f"m{time.monotonic_ns()}", old, deleted)
    for batch in changes.to_batches(max_chunksize=40):
        staging.write(batch)
    merged = staging.finish()
    assert merged.rows == STAR_COUNT - 30 + 20
    assert merged.statistics["mag"]["maximum"] == 99.5
    key = rows.column("id").to_pylist()
    wanted = {row["id"]: row for row in rows.to_pylist()} | {row["id"]: row for row in changes.to_pylist()}
    wanted = {number: row for number, row in wanted.items() if number not in set(key[50:80])}
    found = pa.Table.from_batches(list(engine.read_rows(merged)))
    assert {row["id"]: row for row in found.to_pylist()} == wanted
    assert pa.Table.from_batches(list(engine.read_rows(old))).sort_by("seen").to_pylist() == rows.to_pylist()
    cone = "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 8)) = 1"
    engine.uses_indexes = False
    plain = sorted(row["id"] for row in ask(engine, cone, merged))
    engine.uses_indexes = True
    assert sorted(row["id"] for row in ask(engine, cone, merged)) == plain
    staging = engine.stage_merge(STARS_TABLE, f"m{time.monotonic_ns()}", old)
    staging.write(pa.concat_tables([changed, changed]).combine_chunks().to_batches()[0])
    with pytest.raises(DataError, match="not unique"):
        staging.finish()
    swept = engine.remove_leftovers(set())  # it is not published yet, and written here
    assert merged.path not in swept
    assert len(list(engine.read_rows(merged))) > 0


@pytest.mark.parametrize("how", ["stage", "followed", "merge"])
def test_what_cannot_begin_keeps_no_name(engine, monkeypatch, how):
    from hven.plugins.postgres.engine import storage_engine as module

    base = write(engine)
    engine.note_published_snapshot(base)

    def begin(name):
        if how == "merge":
            return engine.stage_merge(STARS_TABLE, name, base)
        return engine.stage_snapshot(STARS_TABLE, name, expects_merges=how == "followed")

    def broken(*_, **__):
        raise DataError("the disk is on fire")

    with pytest.raises(StorageError, match="cannot be the id of a snapshot"):
        begin("../x")
    with monkeypatch.context() as patch:
        patch.setattr(
            module,
            {"stage": "PostgresSnapshotStaging", "followed": "SharedTableStaging", "merge": "TableMergeStaging"}[how],
            broken,
        )
        with pytest.raises(DataError, match="on fire"):
            begin(f"burnt-{how}")
    assert engine._held_names == {}
    begin(f"burnt-{how}").abandon()  # the name is free
    assert engine._held_names == {}


def test_runs_are_ordered_by_the_server(engine, monkeypatch):
    from hven.plugins.postgres.engine import staging

    monkeypatch.setattr(staging, "MAX_WAITING_BYTES", 100_000)
    snapshot = write(engine)
    with engine.write_pool.borrow_connection() as connection:
        cells = [row[0] for row in connection.execute(f'SELECT "hven:cell" FROM hven."{snapshot.path}"').fetchall()]
    known = [cell for cell in cells if cell is not None]
    assert known == sorted(known)
    assert cells[: len(known)] == known
    assert len(cells) == STAR_COUNT
    back = pa.Table.from_batches(list(engine.read_rows(snapshot))).sort_by("seen")
    assert back.to_pylist() == make_star_table().to_pylist()
