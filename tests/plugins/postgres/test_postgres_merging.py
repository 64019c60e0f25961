"""Merging in place on PostgreSQL: every snapshot stays what it was, whatever is merged, rolled back and removed; readers wait for nothing."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from engine_tables import STARS, build_sky, normalize_rows, plan_query, run_query, stage_table
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hven.engines import ExecutionLimits
from hven.engines import _statistics as statistics
from hven.engines._row_preparation import MISSING_KEY, compute_position_keys
from hven.engines._statistics import ColumnStatisticsCollector, compute_coverage_moc
from hven.ingest.sync._ledger_comparison import replace_nan_with_null
from hven.model.deadlines import Deadline
from hven.model.errors import StorageError
from hven.model.table import Column, PartitionScheme, Table
from hven.model.types import INT64
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine import coverage_update, schema_installation, shared_tables, snapshot_merging, staging
from hven.plugins.postgres.engine.connection_pool import build_application_name
from hven.plugins.postgres.engine.partitions import build_partition_prefix
from postgres_cluster import install_extensions, run_server
from process_runner import run_hven, wait_until
from shared import ROOT

_count = itertools.count()
FULL = os.environ.get("HVEN_PROOF") == "full"
YEARS = STARS.copy_with(name="years", partition=PartitionScheme(by="time", column="seen", every="10 years"))
TEXTS = STARS.copy_with(name="texts", primary=("name", "id"), position=None)


@pytest.fixture(scope="module")
def database():
    with run_server() as url:
        install_extensions(f"postgresql://{url}")
        yield f"postgresql://{url}"


def opening(database, directory, **more):
    words = {"schema": f"m{next(_count)}", "position": "healpix", "pool": 10} | more
    return postgres.open(directory, memory=256 * 1024**2, threads=1, url=database, **words)


@pytest.fixture
def open_engine(database, tmp_path):
    made = []

    def begin(**more):
        made.append(opening(database, tmp_path, **more))
        return made[-1]

    yield begin
    for engine in made:
        engine.close()


def merge(engine, table, base, rows, gone=()):
    keys = pa.Table.from_pylist(
        list(gone), schema=pa.schema([table.arrow_schema.field(name).with_nullable(True) for name in table.primary])
    )
    begun = engine.stage_merge(table, f"m-{next(_count):05d}", base, keys)
    for batch in rows.to_batches(max_chunksize=7):
        begun.write(batch)
    return begun.finish()


def sort_normalized_rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, normalize_rows(table)))


def list_stored_rows(engine, snapshot, table=STARS) -> list[str]:
    return sort_normalized_rows(pa.Table.from_batches(list(engine.read_rows(snapshot)), table.arrow_schema))


def base_of(engine, snapshot) -> str | None:
    share = engine._read_table_record(snapshot).share
    return None if share is None else share.base_table


def list_snapshot_tables(engine) -> list[str]:
    """Name all tables and views of snapshots, their indexes aside."""
    with engine.write_pool.borrow_connection() as connection:
        return [
            name
            for (name,) in connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v') AND relname ~ '^[bosp]_' ORDER BY 1",
                [engine.schema],
            ).fetchall()
        ]


# --- any story of merges, rollbacks and removals -----------------------------------------------------------------------------

START = 120
POOL = replace_nan_with_null(build_sky(400, seed=5)).to_pylist()


class Story:
    """A table and all its snapshots, in the engine and as plain dictionaries."""

    def __init__(self, engine, table) -> None:
        self.engine, self.table = engine, table
        rows = POOL[:START]
        if table.primary != ("id",):
            rows = [row | {"name": row["name"] or ""} for row in rows]
        self.kept = [
            (
                stage_table(engine, table, pa.Table.from_pylist(rows, schema=table.arrow_schema)),
                {self.key(row): row for row in rows},
            )
        ]
        self.now = 0
        self.shared = 0

    def key(self, row):
        return tuple(row[name] for name in self.table.primary)

    def draw_changes(self, rng, size):
        """Make up changes of the present state."""
        snapshot, known = self.kept[self.now]
        come = {}
        for _ in range(size):
            row = dict(rng.choice(POOL))
            if rng.random() < 0.5 and known:
                row |= dict(zip(self.table.primary, rng.choice(list(known)), strict=True))
            elif self.table.primary != ("id",):
                row["name"] = row["name"] or ""
            come[self.key(row)] = row
        gone = rng.sample(list(known), min(len(known), rng.randrange(size + 1)))
        after = {key: row for key, row in known.items() if key not in gone} | come
        return snapshot, pa.Table.from_pylist(list(come.values()), schema=self.table.arrow_schema), gone, after

    def merge(self, rng, size) -> None:
        base, rows, gone, after = self.draw_changes(rng, size)
        made = merge(
            self.engine, self.table, base, rows, [dict(zip(self.table.primary, key, strict=True)) for key in gone]
        )
        self.shared += base_of(self.engine, base) == base_of(self.engine, made)
        assert made.rows == len(after)
        self.engine.note_published_snapshot(made)
        self.kept.append((made, after))
        self.now = len(self.kept) - 1

    def lose(self, rng, size) -> None:
        """Merge, and never publish it: what a crash leaves is swept."""
        base, rows, gone, _ = self.draw_changes(rng, size)
        made = merge(
            self.engine, self.table, base, rows, [dict(zip(self.table.primary, key, strict=True)) for key in gone]
        )
        self.engine._release_table_name(made.path)  # as the end of the process does
        assert made.path in self.engine.remove_leftovers({snapshot.path for snapshot, _ in self.kept})

    def abandon(self, rng, size) -> None:
        base, rows, _, _ = self.draw_changes(rng, size)
        begun = self.engine.stage_merge(self.table, f"m-{next(_count):05d}", base)
        for batch in rows.to_batches():
            begun.write(batch)
        begun.abandon()

    def roll_back(self, rng) -> None:
        self.now = rng.randrange(len(self.kept))

    def remove(self, rng, oldest) -> None:
        if len(self.kept) > 1:
            at = 0 if oldest else rng.randrange(len(self.kept))
            at += at == self.now and (1 if at + 1 < len(self.kept) else -1)
            snapshot, _ = self.kept.pop(at)
            self.now -= at < self.now
            self.engine.remove_snapshot(snapshot)

    def check(self) -> None:
        for snapshot, known in self.kept:
            assert list_stored_rows(self.engine, snapshot, self.table) == sort_normalized_rows(
                pa.Table.from_pylist(list(known.values()), schema=self.table.arrow_schema)
            )
        snapshot, known = self.kept[self.now]
        rows = pa.Table.from_pylist(list(known.values()), schema=self.table.arrow_schema)
        facts = ColumnStatisticsCollector(self.table)
        facts.add_rows(rows)
        for name, fact in facts.build_statistics().items():
            assert {**snapshot.statistics[name], "distinct": None} == {**fact, "distinct": None}, name
        if self.table.position:
            cells = np.sort(compute_position_keys(rows["ra"], rows["dec"]))
            assert snapshot.coverage == compute_coverage_moc(cells[cells != MISSING_KEY])

    def end(self) -> None:
        """Nothing is there but what the snapshots need, and nothing when they are gone."""
        paths = {snapshot.path for snapshot, _ in self.kept}
        bases = {base_of(self.engine, snapshot) for snapshot, _ in self.kept} - {None}
        assert {name for name in list_snapshot_tables(self.engine) if not name.startswith("p_")} == paths | bases
        for base in bases:  # no row that no snapshot shows
            states = [share.state_number for share in map(self.share, self.kept) if share.base_table == base]
            seen = " OR ".join(f'("hven:born" <= {number} AND "hven:died" > {number})' for number in states)
            with self.engine.write_pool.borrow_connection() as connection:
                assert connection.execute(
                    f'SELECT count(*) FROM {self.engine.schema}."{base}" WHERE NOT ({seen})'
                ).fetchone() == (0,)
        for snapshot, _ in self.kept:
            self.engine.remove_snapshot(snapshot)
        assert list_snapshot_tables(self.engine) == []

    def share(self, pair):
        return self.engine._read_table_record(pair[0]).share or shared_tables.SharedTableState("", 0)


@pytest.fixture(scope="module")
def telling(database, tmp_path_factory):
    engine = opening(database, tmp_path_factory.mktemp("stories"), schema="stories")
    yield engine
    engine.close()


_turns = st.lists(
    st.sampled_from(["merge"] * 6 + ["much", "lose", "abandon", "back", "oldest", "any"]), min_size=4, max_size=9
)  # most are merges, as in life


@pytest.mark.parametrize("table", [STARS, YEARS, TEXTS], ids=["position", "partitions", "texts"])
@settings(
    max_examples=100 if FULL else 3,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(turns=_turns, seed=st.integers(0, 2**20))
def test_any_story_leaves_every_snapshot_as_it_was(telling, table, turns, seed):
    rng = random.Random(seed)
    story = Story(telling, table)
    story.merge(rng, 3)  # which copies
    story.merge(rng, 3)
    assert story.shared == 1
    for turn in turns:
        {
            "merge": lambda: story.merge(rng, 6),
            "much": lambda: story.merge(rng, 60),
            "lose": lambda: story.lose(rng, 6),
            "abandon": lambda: story.abandon(rng, 6),
            "back": lambda: story.roll_back(rng),
            "oldest": lambda: story.remove(rng, oldest=True),
            "any": lambda: story.remove(rng, oldest=False),
        }[turn]()
        story.check()
    story.end()


# --- in place, or not ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def two(open_engine):
    """A snapshot that was staged, and the one that the first merge made."""
    engine = open_engine()
    rows = build_sky(4_000)
    base = stage_table(engine, STARS, rows)
    return engine, rows, base, merge(engine, STARS, base, rows.slice(0, 3))


def test_the_first_merge_copies_and_the_next_ones_do_not(two):
    engine, _, base, first = two
    second = merge(engine, STARS, first, build_sky(50, seed=9))
    assert base_of(engine, base) is None
    assert base_of(engine, first) == base_of(engine, second) == f"b{first.path[1:]}"
    assert second.bytes >= first.bytes > 0
    with engine.write_pool.borrow_connection() as connection:
        kinds = dict(
            connection.execute(
                "SELECT relname, relkind::text FROM pg_class WHERE relname = ANY($1::text[])",
                [[base.path, second.path]],
            ).fetchall()
        )
    assert kinds == {base.path: "r", second.path: "v"}


def test_values_that_are_left_when_others_go_are_listed(open_engine):
    engine = open_engine()
    table = Table(
        schema="s", name="t", primary=("id",), columns=(Column(name="id", type=INT64), Column(name="n", type=INT64))
    )
    rows = pa.table({"id": range(200), "n": [*range(25), *[0] * 175]}, schema=table.arrow_schema)
    base = stage_table(engine, table, rows)
    assert "top" not in base.statistics["n"]
    merged = merge(engine, table, base, rows.slice(0, 0), [{"id": 24}])
    found = merged.statistics["n"]
    assert sorted(found["top"]) == [[0, 176], *([value, 1] for value in range(1, 24))]
    assert (found["nulls"], found["minimum"], found["maximum"], found["distinct"]) == (0, 0, 23, 24)


@pytest.mark.parametrize("table", [STARS, YEARS, TEXTS], ids=["position", "partitions", "texts"])
def test_a_table_that_is_followed_is_never_copied(open_engine, monkeypatch, table):
    """It is staged as one that snapshots share; in several runs, which are put in order."""
    monkeypatch.setattr(staging, "MAX_WAITING_BYTES", 60_000)
    engine = open_engine()
    rows = build_sky(3_000)
    if table is TEXTS:
        rows = rows.set_column(6, table.arrow_schema.field("name"), rows["name"].fill_null(""))
    begun = engine.stage_snapshot(table, "followed", expects_merges=True)
    for batch in rows.to_batches(max_chunksize=500):
        begun.write(batch)
    first = begun.finish()
    assert list_stored_rows(engine, first, table) == sort_normalized_rows(replace_nan_with_null(rows))
    assert first.bytes > 0
    if table is STARS:
        cells = [row for batch in engine.read_rows(first, ["ra", "dec"]) for row in batch.to_pylist()]
        found = compute_position_keys(
            *(pa.chunked_array([pa.array([row[name] for row in cells], pa.float64())]) for name in ("ra", "dec"))
        )
        # the server may fill up a page
        assert np.corrcoef(found.argsort(kind="stable").argsort(), np.arange(len(found)))[0, 1] > 0.99
    second = merge(
        engine,
        table,
        first,
        rows.slice(0, 20),
        [dict(zip(table.primary, (rows[name][50].as_py() for name in table.primary), strict=True))],
    )
    assert base_of(engine, second) == base_of(engine, first) == f"b{first.path[1:]}"
    assert second.rows == 2_999
    engine.remove_snapshot(first)
    assert list_stored_rows(engine, second, table) == sort_normalized_rows(
        replace_nan_with_null(rows.filter(pa.array([number != 50 for number in range(3_000)])))
    )
    engine.remove_snapshot(second)
    assert list_snapshot_tables(engine) == []
    begun = engine.stage_snapshot(table, "left", expects_merges=True)
    begun.write(rows.to_batches()[0])
    begun.abandon()
    assert list_snapshot_tables(engine) == []


def test_only_what_changed_is_read_to_compare_two_states(two):
    engine, rows, base, first = two
    changed = rows.slice(0, 20).set_column(8, STARS.arrow_schema.field("note"), pa.array(["edited"] * 20))
    second = merge(engine, STARS, first, changed, [{"id": key} for key in rows["id"].to_pylist()[30:37]])
    third = merge(engine, STARS, second, rows.slice(0, 5))

    def list_differing_ids(one, other):
        return [
            sorted(row["id"] for batch in side for row in batch.to_pylist())
            for side in engine.read_differing_rows(one, other, ["id"])
        ]

    edited, removed = (sorted(rows["id"].to_pylist()[begin:end]) for begin, end in ((0, 20), (30, 37)))
    assert list_differing_ids(first, second) == [sorted(edited + removed), edited]
    assert list_differing_ids(second, first) == [edited, sorted(edited + removed)]
    assert list_differing_ids(first, third) == [sorted(edited + removed), edited]
    assert [len(side) for side in list_differing_ids(base, third)] == [4_000, third.rows]


@pytest.mark.parametrize("why", ["rolled back", "indexes", "many changes", "much is gone", "disorder", "partitions"])
def test_copied_anew_when_it_must_be(open_engine, monkeypatch, why):
    engine = open_engine()
    table = YEARS if why == "partitions" else STARS
    rows = build_sky(4_000)
    first = merge(engine, table, stage_table(engine, table, rows), rows.slice(0, 3))
    last, changes, gone = first, rows.slice(5, 3), []
    if why == "rolled back":
        merge(engine, table, first, rows.slice(0, 3))
    elif why == "indexes":
        table = table.copy_with(
            columns=tuple(column.copy_with(indexed=column.name == "note") for column in table.columns)
        )
    elif why == "many changes":
        changes = build_sky(600, seed=4)
    elif why == "much is gone":
        monkeypatch.setattr(snapshot_merging, "MIN_ROWS_PER_DEAD_ROW", 400)
        last = merge(engine, table, first, rows.slice(0, 8))
        assert base_of(engine, last) == base_of(engine, first)
    elif why == "disorder":
        monkeypatch.setattr(snapshot_merging, "MIN_ORDERED_ROWS", 0)
        monkeypatch.setattr(snapshot_merging, "MIN_CLUSTERING_CORRELATION", 1.1)
    else:  # rows of years that have no partition: they stand in the default one, until there are many
        monkeypatch.setattr(snapshot_merging, "MIN_ROWS_PER_DEAD_ROW", 200)
        late = pa.array([3 * 10**15 + number for number in range(30)], pa.int64()).cast(pa.timestamp("us"))
        new = rows.slice(0, 30).set_column(
            0, table.arrow_schema.field("id"), pa.array(range(10**6, 10**6 + 30), pa.int64())
        )
        late = new.set_column(rows.schema.get_field_index("seen"), table.arrow_schema.field("seen"), late)
        last = merge(engine, table, first, late)
        assert base_of(engine, last) == base_of(engine, first)
        assert not any(name.endswith("2060_01") for name in list_snapshot_tables(engine))
    new = merge(engine, table, last, changes, gone)
    assert base_of(engine, new) not in {None, base_of(engine, first)}
    if why == "indexes":
        assert len(run_query(engine, "SELECT id FROM sky.stars WHERE note = 'a''b'", {"sky.stars": new}, (table,)))
    if why == "partitions":
        assert any(name.endswith("2060_01") for name in list_snapshot_tables(engine))
    wanted = {row["id"]: row for row in rows.to_pylist()}
    wanted |= {row["id"]: row for row in ([*late.to_pylist()] if why == "partitions" else []) + changes.to_pylist()}
    assert list_stored_rows(engine, new, table) == sort_normalized_rows(
        replace_nan_with_null(pa.Table.from_pylist(list(wanted.values()), schema=table.arrow_schema))
    )


def test_after_many_changes_the_table_is_looked_after(two, open_engine, monkeypatch):
    engine, rows, _, first = two
    last = merge(engine, STARS, first, rows.slice(0, 50))
    engine.close()  # a session that ends tells the server what it changed
    engine = open_engine(schema=engine.schema)
    here = f'{engine.schema}."{base_of(engine, first)}"'

    def fetch_value(text):
        with engine.write_pool.borrow_connection() as connection:
            return connection.execute(text, [here]).fetchone()[0]

    counts = "SELECT n_mod_since_analyze FROM pg_stat_all_tables WHERE relid = $1::regclass"
    wait_until(lambda: fetch_value(counts) >= 50)
    before = fetch_value("SELECT vacuum_count FROM pg_stat_all_tables WHERE relid = $1::regclass")
    monkeypatch.setattr(snapshot_merging, "MIN_STALE_ROWS", 10)
    monkeypatch.setattr(snapshot_merging, "MIN_ROWS_PER_STALE_ROW", 1_000)
    merge(engine, STARS, last, rows.slice(0, 2))
    wait_until(lambda: fetch_value("SELECT vacuum_count FROM pg_stat_all_tables WHERE relid = $1::regclass") > before)


def test_a_foreign_hand_in_the_table_is_noticed(two):
    engine, rows, _, first = two
    with engine.write_pool.borrow_connection() as connection:
        connection.execute(
            f'UPDATE {engine.schema}."{base_of(engine, first)}" SET "hven:died" = 2 WHERE id = $1',
            [rows["id"][0].as_py()],
        )
    there = list_snapshot_tables(engine)
    with pytest.raises(
        StorageError, match=r"should remove 1 rows of the snapshot .*, but would remove 0 \(in the database table"
    ):
        merge(engine, STARS, first, rows.slice(0, 1))
    assert list_snapshot_tables(engine) == there


# --- readers ------------------------------------------------------------------------------------------------------------------


def test_readers_see_one_state_whatever_is_merged(open_engine):
    """Two readers ask all snapshots there are, all the time; each answer is that snapshot's."""
    engine = open_engine()
    rows = build_sky(2_000)
    count = rows.num_rows
    table = STARS
    balance = np.where(np.arange(count) % 2 == 0, 1, -1).astype(np.int32)
    rows = rows.set_column(rows.schema.get_field_index("field"), table.arrow_schema.field("field"), pa.array(balance))
    last = merge(engine, table, stage_table(engine, table, rows), rows.slice(0, 2))
    states, faults, over, seen = [(last, count)], [], threading.Event(), [0, 0]
    question = "SELECT COUNT(*) AS n, SUM(field) AS s FROM sky.stars"

    def read(which):
        while not over.is_set():
            for snapshot, rows_ in states:
                try:
                    found = run_query(
                        engine, question, {"sky.stars": snapshot}, limits=ExecutionLimits(deadline=Deadline(60))
                    ).to_pylist()
                except Exception as error:  # noqa: BLE001  (every fault is one)
                    faults.append(repr(error))
                    continue
                if found != [{"n": rows_, "s": 0}]:
                    faults.append(f"{snapshot.id}: {found}")
                seen[which] += 1

    readers = [threading.Thread(target=read, args=(which,)) for which in (0, 1)]
    for reader in readers:
        reader.start()
    try:
        for turn in range(12):
            pairs = [turn * 40 + number for number in range(20)]
            changes = rows.take(pa.array(pairs)).to_pylist()
            new = [
                row | {"id": 10**6 + turn * 100 + number}
                for number, row in enumerate(rows.take(pa.array(pairs[:4])).to_pylist())
            ]
            for row in changes:
                row["field"] = -(row["field"])
            changes = pa.Table.from_pylist(changes + new, schema=table.arrow_schema)
            last = merge(
                engine,
                table,
                last,
                changes,
                [{"id": key} for key in rows["id"].to_pylist()[turn * 40 + 20 : turn * 40 + 26]],
            )
            engine.note_published_snapshot(last)
            states.append((last, states[-1][1] - 6 + 4))
        wait_until(lambda: min(seen) > 0 or faults)
    finally:
        over.set()
        for reader in readers:
            reader.join(120)
    assert not faults
    assert len({base_of(engine, snapshot) for snapshot, _ in states}) < len(states) / 2


def test_nobody_waits(two, database, monkeypatch):
    """A reader in the middle of the old snapshot does not keep a merge waiting, and a merge in the middle of its transaction no reader."""
    engine, rows, _, first = two
    begun, go_on, made = threading.Event(), threading.Event(), []
    seen = snapshot_merging.TableMergeStaging._write_view_statements

    def stop(self, share):
        begun.set()
        assert go_on.wait(120)
        yield from seen(self, share)

    monkeypatch.setattr(snapshot_merging.TableMergeStaging, "_write_view_statements", stop)
    with psycopg.connect(database) as reader, reader.cursor("half") as half:
        half.execute(f'SELECT id FROM {engine.schema}."{first.path}"')
        assert len(half.fetchmany(10)) == 10
        thread = threading.Thread(
            target=lambda: made.append(merge(engine, STARS, first, rows.slice(0, 30), [{"id": rows["id"][99].as_py()}]))
        )
        thread.start()
        try:
            assert begun.wait(120)  # rows are marked and added, in a transaction that is open
            found = run_query(
                engine,
                "SELECT COUNT(*) AS n FROM sky.stars",
                {"sky.stars": first},
                limits=ExecutionLimits(deadline=Deadline(60)),
            )
            assert found.to_pylist() == [{"n": 4_000}]
            with psycopg.connect(database) as other:
                locks = other.execute(
                    "SELECT DISTINCT l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.granted AND c.relname = ANY(%s)",
                    [[first.path, base_of(engine, first)]],
                ).fetchall()
            assert {mode for (mode,) in locks} <= {"AccessShareLock", "RowExclusiveLock"}
        finally:
            go_on.set()
            thread.join(120)
        assert made, "it ended while the old snapshot was being read"
        assert len(half.fetchall()) == 3_990
    assert made[0].rows == 3_999


def test_readers_need_no_right_to_the_shared_table(open_engine, database):
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS merge_reader")
        connection.execute("CREATE ROLE merge_reader")
    engine = open_engine(role="merge_reader")
    rows = build_sky(500)
    first = merge(engine, STARS, stage_table(engine, STARS, rows), rows.slice(0, 3))
    second = merge(engine, STARS, first, rows.slice(0, 3))
    for snapshot in (first, second):
        assert run_query(engine, "SELECT COUNT(*) AS n FROM sky.stars", {"sky.stars": snapshot}).to_pylist() == [
            {"n": 500}
        ]
    some = engine.sample_rows(second, 100, ["mag"])
    assert some is None or 0 < some.rows.num_rows < 500
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE merge_reader")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f'SELECT 1 FROM {engine.schema}."{base_of(engine, second)}"')


@pytest.mark.parametrize("position", ["pgsphere", "healpix"])
@pytest.mark.parametrize("table", [STARS, YEARS], ids=["whole", "partitions"])
def test_indexes_serve_through_the_view(open_engine, position, table):
    engine = open_engine(position=position)
    rows = build_sky(13_000)
    last = merge(engine, table, stage_table(engine, table, rows), rows.slice(0, 3))
    last = merge(engine, table, last, rows.slice(100, 200))
    key = rows["id"][7].as_py()
    for text in (
        f"SELECT mag FROM {table.qualified_name} WHERE id = {key}",
        f"SELECT id FROM {table.qualified_name} WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.02))",
        f"SELECT id FROM {table.qualified_name} WHERE mag = 19.9",
    ):
        bound, made = plan_query(engine, text, (table,))
        work = made._build_parameterized_query(bound.literal_values, {table.qualified_name: last})
        with engine.write_pool.borrow_connection() as connection, connection.transaction():
            connection.execute(f"SET LOCAL search_path = {engine.database_features.search_path}")
            for number, value in enumerate(work.arguments, 1):
                connection.execute("SELECT set_config($1, $2, true)", [f"hven.p{number}", value])
            found = connection.execute(f"EXPLAIN (FORMAT JSON) {work.copy_sql}", prepare=False).fetchone()[0]
        scans = [
            node
            for node in nodes((found if not isinstance(found, str) else json.loads(found))[0]["Plan"])
            if "Relation Name" in node
        ]
        first = build_partition_prefix(table.qualified_name, base_of(engine, last))
        assert {node["Relation Name"].startswith((first, base_of(engine, last))) for node in scans} == {True}
        big = [node for node in scans if node["Node Type"] == "Seq Scan"]
        assert not big or table is YEARS, text
        assert any("Index" in node["Node Type"] or "Bitmap" in node["Node Type"] for node in scans), text
        lines = made.describe_row_estimates(bound.literal_values, {table.qualified_name: last})
        assert lines[0].startswith(f"{table.qualified_name}: about "), lines
    assert run_query(
        engine, f"SELECT COUNT(*) AS n FROM {table.qualified_name}", {table.qualified_name: last}, (table,)
    ).to_pylist() == [{"n": 13_000}]


def nodes(tree):
    yield tree
    for inner in tree.get("Plans", ()):
        yield from nodes(inner)


def test_views_are_adopted_and_swept_with_their_table(database, tmp_path):
    """A site whose disk is gone: the site that takes its schema over removes all of it."""
    engine = opening(database, tmp_path, schema="adopted", site="gone")
    rows = build_sky(300)
    first = stage_table(engine, STARS, rows)
    second = merge(engine, STARS, first, rows.slice(0, 3))
    engine.close()
    with psycopg.connect(database, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        sessions = "SELECT FROM pg_stat_activity WHERE application_name = $1"  # they end a moment after they are closed
        wait_until(lambda: connection.execute(sessions, [build_application_name("adopted", "gone")]).rowcount == 0)
        assert sorted(schema_installation.adopt_schema(connection, "adopted", "heir", "gone")) == sorted(
            [first.path, second.path]
        )
    heir = opening(database, tmp_path, schema="adopted", site="heir")
    heir.remove_leftovers(set())
    assert list_snapshot_tables(heir) == []
    heir.close()


def test_the_verb_adopts_a_schema_for_the_site_that_calls_it(database, tmp_path):
    engine = opening(database, tmp_path, schema="left", site="gone")
    path = stage_table(engine, STARS, build_sky(300)).path
    engine.close()
    with psycopg.connect(database, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        sessions = "SELECT FROM pg_stat_activity WHERE application_name = $1"
        wait_until(lambda: connection.execute(sessions, [build_application_name("left", "gone")]).rowcount == 0)
    (tmp_path / "hven.toml").write_text(f'[postgres]\nurl = "{database}"\nnamespace = "left"\n')
    assert "belongs to the site gone" in run_hven("reclaim", "other", "--site", tmp_path, expected_code=1).stderr
    told = json.loads(run_hven("reclaim", "gone", "--json", "--site", tmp_path).stdout)
    assert told == {"schema": "left", "adopted": "gone", "tables": [path]}
    assert "nobody" not in (said := run_hven("reclaim", "gone", "--site", tmp_path, expected_code=1).stderr)
    assert "already belongs to this site; there is nothing to reclaim" in said


# --- killed ---------------------------------------------------------------------------------------------------------------------

WHERE = {
    "rows are marked and added": "snapshot_merging.TableMergeStaging, '_write_view_statements'",
    "it is committed and not published": "snapshot_merging.TableMergeStaging, '_vacuum_if_stale'",
    "rows are copied": "snapshot_merging.TableMergeStaging, '_copy_all_rows'",
    "a copy is being indexed": "snapshot_merging.TableMergeStaging, '_build_indexes'",
    "changes were sent": "snapshot_merging.TableMergeStaging, '_check_key_nulls'",
}


@pytest.mark.parametrize("where", WHERE)
def test_killed_in_the_middle_nothing_is_left(two, database, tmp_path, where):
    engine, rows, base, first = two
    kept = base if "cop" in where and "committed" not in where else first
    before, there = list_stored_rows(engine, kept), list_snapshot_tables(engine)
    code = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path[:0] = {[str(ROOT / "tests/engines")]!r}
        from pathlib import Path
        from engine_tables import STARS, build_sky
        from hven.engines import Snapshot
        from hven.plugins.postgres import engine as postgres
        from hven.plugins.postgres.engine import snapshot_merging
        owner, name = {WHERE[where]}
        real = getattr(owner, name)
        def last(*arguments):
            found = real(*arguments)
            if name == "_write_view_statements":  # what it writes is not done
                os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(owner, name, last)
        engine = postgres.open(Path({str(tmp_path)!r}), memory=256 * 1024**2, threads=1, url={database!r}, schema={engine.schema!r}, position="healpix")
        base = Snapshot(id="base", table="sky.stars", path={kept.path!r}, rows=4_000, engine="postgres", statistics={dict(kept.statistics)!r})
        staging = engine.stage_merge(STARS, "killed", base)
        for batch in build_sky(4_000).slice(50, 60).to_batches():
            staging.write(batch)
        staging.finish()
        """
    )
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
    with psycopg.connect(database, autocommit=True) as connection:
        mine = connection.execute(sessions, [build_application_name(engine.schema, "")]).fetchall()
        done = subprocess.run([sys.executable, "-c", code], timeout=300, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        wait_until(lambda: set(connection.execute(sessions, [build_application_name(engine.schema, "")])) <= set(mine))
    engine.remove_leftovers({base.path, first.path})
    assert list_snapshot_tables(engine) == there
    assert list_stored_rows(engine, kept) == before
    again = merge(engine, STARS, first, rows.slice(0, 3))
    assert base_of(engine, again) == base_of(engine, first)


# --- what is known about a state ------------------------------------------------------------------------------------------------

_cells = st.lists(st.integers(0, 400), max_size=40).map(
    lambda found: np.array(sorted(found), np.int64) * 64 + 17
)  # of order 8, some neighbours


@settings(max_examples=100, deadline=None)
@given(before=_cells, come=_cells, going=st.randoms(use_true_random=False), least=st.integers(2, 30))
def test_a_coverage_is_revised_to_what_a_look_at_all_rows_finds(before, come, going, least):
    """Also where it gets coarser, and where a finer one would do now, which only a look can tell."""
    went = np.array([going.random() < 0.3 for _ in before], bool)
    after = np.sort(np.concatenate([before[~went], come]))

    def empty(cells, order):
        return np.setdiff1d(cells, after >> 2 * (8 - order))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "MAX_COVERAGE_CELLS", least)
        patch.setattr(coverage_update, "MAX_COVERAGE_CELLS", least)
        old, wanted = (compute_coverage_moc(cells << 2 * (29 - 8)) for cells in (before, after))
        found = coverage_update.update_coverage(old, np.unique(before[went]), np.unique(come), empty)
    assert found in {None, wanted}
    if not went.any() or old.endswith("8/"):
        assert found is not None


@pytest.mark.parametrize("table", [STARS, YEARS], ids=["whole", "cut"])
def test_a_sample_has_rows_of_its_own_state_alone(open_engine, table):
    engine = open_engine()
    rows = build_sky(3_000, seed=9)
    first = stage_table(engine, table, rows)
    keys = [{"id": one} for one in rows.column("id").to_pylist()[:1_500]]
    second = merge(engine, table, first, rows.slice(0, 10), keys)
    assert engine._read_table_record(second).share is not None
    known = {snapshot.path: set(list_stored_rows(engine, snapshot, table)) for snapshot in (first, second)}
    for snapshot in (first, second):
        some = engine.sample_rows(snapshot, snapshot.rows // 2, [column.name for column in table.columns])
        found = sort_normalized_rows(some.rows.cast(table.arrow_schema))
        assert set(found) <= known[snapshot.path]
        assert len(set(found)) == len(found) == pytest.approx(snapshot.rows / 2, rel=0.3)
        again = engine.sample_rows(snapshot, snapshot.rows // 2, ["mag"])
        assert again.rows.column("mag").to_pylist() == some.rows.column("mag").to_pylist()
    assert engine.sample_rows(second, 1, ["mag"]) is None or engine.sample_rows(second, 1, ["mag"]).rows.num_rows < 20
