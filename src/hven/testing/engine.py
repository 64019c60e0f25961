"""Test the contract of engines: subclass `EngineContract`, open the engine, and pytest runs the tests."""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits, MemoryRelation
from hven.model.deadlines import Deadline
from hven.model.errors import (
    DataError,
    EvaluationError,
    HvenError,
    OperationCancelledError,
    StorageError,
    TimeLimitError,
)
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, INT64, STRING, TIMESTAMP, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from hven.engines import Relation, Snapshot, StorageEngine

STARS_TABLE = Table(
    schema="sky",
    name="stars",
    columns=(
        Column(name="id", type=INT64),
        Column(name="ra", type=FLOAT64, unit="deg"),
        Column(name="dec", type=FLOAT64, unit="deg"),
        Column(name="mag", type=FLOAT64, indexed=True),
        Column(name="name", type=STRING, indexed=True),
        Column(name="seen", type=TIMESTAMP),
        Column(name="band", type=INT32),
        Column(name="flux", type=parse_type("float64[2]")),
    ),
    primary=("id",),
    position=("ra", "dec"),
)
STAR_COUNT = 5000


def make_star_table(row_count: int = STAR_COUNT) -> pa.Table:
    """Make a catalogue of stars on a spiral from pole to pole.

    Every tenth star has no magnitude, every hundredth no position.

    Parameters
    ----------
    row_count
        The number of stars.

    Returns
    -------
    rows
        Columns of `STARS_TABLE`: positions in degrees (ICRS), magnitudes 0 to 9.6; the same for each call.
    """
    number = np.arange(row_count)
    sine = 2 * (number + 0.5) / row_count - 1
    dec = np.degrees(np.arcsin(sine))
    ra = (number * 137.50776405003785) % 360
    start_time = dt.datetime(2000, 1, 1)  # noqa: DTZ001  (storage has no zone)
    times = [start_time + dt.timedelta(hours=hour) for hour in number.tolist()]
    fluxes = pa.array(np.arange(2.0 * row_count))
    has_no_position = number % 100 == 7
    columns = {
        "id": pa.array((number * 7919) % row_count, pa.int64()),
        "ra": pa.array(ra, mask=has_no_position),
        "dec": pa.array(dec, mask=has_no_position),
        "mag": pa.array((number % 97) / 10, mask=number % 10 == 3),
        "name": pa.array([f"star {n % 500} é" for n in number.tolist()]),
        "seen": pa.array(times, pa.timestamp("us")),
        "band": pa.array(number % 5, pa.int32()),
        "flux": pa.FixedSizeListArray.from_arrays(fluxes, 2),
    }
    return pa.table(columns, schema=STARS_TABLE.arrow_schema)


class EngineContract:
    """Subclass this as ``class TestMyEngine(EngineContract)``, and write `open`."""

    def open(self, directory: Path) -> StorageEngine:
        """Open the engine with an empty storage in `directory`; a subclass must write it.

        Parameters
        ----------
        directory
            A directory for this test, which does not exist yet.

        Returns
        -------
        engine
            An open engine; the tests close it.
        """
        raise NotImplementedError

    def kill_worker(self) -> None:
        """Kill one of the engine's worker processes, as a crash of its machine does.

        An engine without worker processes does not override this.
        """

    # --- helpers ---------------------------------------------------------------------------------------------

    def _open_engine(self, tmp_path: Path) -> StorageEngine:
        """Open the engine in a directory of this test."""
        return self.open(tmp_path / "snapshots")

    def _write_snapshot(
        self, engine: StorageEngine, rows: pa.Table, name: str = "a", table: Table = STARS_TABLE
    ) -> Snapshot:
        """Stage rows in batches of a thousand."""
        staging = engine.stage_snapshot(table, name)
        for batch in rows.to_batches(max_chunksize=1000):
            staging.write(batch)
        return staging.finish()

    def _run_query(
        self,
        engine: StorageEngine,
        text: str,
        relation: Relation,
        limits: ExecutionLimits | None = None,
        table: Table = STARS_TABLE,
    ) -> list[dict[str, Any]]:
        """Run a query to its end."""
        bound = bind_query(parse_query(text), StaticTableCatalogue([table]))
        execution = engine.plan_query(bound).execute(
            bound.literal_values, {table.qualified_name: relation}, limits or ExecutionLimits()
        )
        rows: list[dict[str, Any]] = []
        for batch in execution:
            rows += batch.to_pylist()
        return rows

    def _query_star_ids(self, engine: StorageEngine, condition: str, relation: Relation) -> list[int]:
        """Return the sorted identifiers of the stars that meet a condition."""
        rows = self._run_query(engine, f"SELECT id FROM sky.stars WHERE {condition}", relation)
        return sorted(row["id"] for row in rows)

    def _start_query(self, engine: StorageEngine, text: str, relation: Relation, **limits: Any) -> Any:
        """Start a query over the stars; its rows come while it runs."""
        bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
        execution_limits = ExecutionLimits(**limits)
        return engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": relation}, execution_limits)

    # --- storage ---------------------------------------------------------------------------------------------

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        """A snapshot has the rows that were written, and selected columns come in their order."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        batches = list(engine.read_rows(snapshot))
        read_rows = pa.Table.from_batches(batches).sort_by("seen")
        assert snapshot.rows == STAR_COUNT == read_rows.num_rows
        assert read_rows.to_pylist() == make_star_table().to_pylist()
        first_batch = next(iter(engine.read_rows(snapshot, ["mag", "id"])))
        assert first_batch.schema.names == ["mag", "id"]
        engine.close()

    def test_statistics_and_coverage(self, tmp_path: Path) -> None:
        """A snapshot has statistics of its columns, a coverage and a size."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        magnitudes = snapshot.statistics["mag"]
        assert magnitudes["nulls"] == STAR_COUNT // 10
        assert magnitudes["minimum"] == 0.0
        assert magnitudes["maximum"] == 9.6
        names = snapshot.statistics["name"]
        assert names["nulls"] == 0
        assert names["non_ascii"] is True
        assert names["max_length"] == len("star 499 é")
        assert 400 <= _require_number(names["distinct"]) <= 600
        assert snapshot.coverage is not None
        assert "/" in snapshot.coverage
        assert snapshot.bytes > STAR_COUNT * 8
        engine.close()

    def test_empty_tables_are_stored_and_queried(self, tmp_path: Path) -> None:
        """A table without rows can be stored and queried."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table(0))
        assert snapshot.rows == 0
        statistics = self._run_query(engine, "SELECT COUNT(*) AS n, MIN(mag) AS m FROM sky.stars", snapshot)
        assert statistics == [{"n": 0, "m": None}]
        for condition in ("id = 1", "CONTAINS(POINT(ra, dec), CIRCLE(1, 2, 3)) = 1"):
            assert self._run_query(engine, f"SELECT * FROM sky.stars WHERE {condition}", snapshot) == []
        engine.close()

    def test_the_primary_key_is_unique(self, tmp_path: Path) -> None:
        """Rows with the same primary key are refused, and nothing is left of them."""
        engine = self._open_engine(tmp_path)
        stars = make_star_table()
        rows = pa.concat_tables([stars, stars.slice(10, 2)])
        message = _require_error_message(DataError, lambda: self._write_snapshot(engine, rows))
        assert "id = " in message
        assert "2 keys" in message
        assert engine.remove_leftovers(set()) == []  # nothing was left
        engine.close()

    def test_an_abandoned_staging_leaves_nothing(self, tmp_path: Path) -> None:
        """An abandoned staging leaves nothing, and its name can be used again."""
        engine = self._open_engine(tmp_path)
        staging = engine.stage_snapshot(STARS_TABLE, "a")
        staging.write(make_star_table().to_batches()[0])
        staging.abandon()
        staging.abandon()
        assert engine.remove_leftovers(set()) == []
        self._write_snapshot(engine, make_star_table())
        engine.close()

    def test_a_dropped_snapshot_serves_its_readers(self, tmp_path: Path) -> None:
        """A query that has begun reads a snapshot to its end, even if the snapshot is removed."""
        engine = self._open_engine(tmp_path)
        first = self._write_snapshot(engine, make_star_table())
        second = self._write_snapshot(engine, make_star_table(10), "b")
        execution = self._start_query(engine, "SELECT id, mag FROM sky.stars", first, batch_rows=100)
        batches = iter(execution)
        first_count = next(batches).num_rows
        engine.remove_snapshot(first)
        remaining_count = sum(batch.num_rows for batch in batches)
        assert first_count + remaining_count == STAR_COUNT
        assert len(self._run_query(engine, "SELECT id FROM sky.stars", second)) == 10
        engine.close()

    def test_remove_leftovers_keeps_listed_and_unpublished(self, tmp_path: Path) -> None:
        """`remove_leftovers` keeps snapshots that are listed, and those that were not published yet."""
        engine = self._open_engine(tmp_path)
        first = self._write_snapshot(engine, make_star_table(10))
        second = self._write_snapshot(engine, make_star_table(20), "b")
        engine.note_published_snapshot(first)
        engine.note_published_snapshot(second)
        third = self._write_snapshot(engine, make_star_table(30), "c")  # not published yet
        assert engine.remove_leftovers({second.path}) == [first.path]
        assert len(self._run_query(engine, "SELECT id FROM sky.stars", second)) == 20
        assert len(self._run_query(engine, "SELECT id FROM sky.stars", third)) == 30
        engine.close()

    # --- merging ---------------------------------------------------------------------------------------------

    def _merge_snapshot(
        self,
        engine: StorageEngine,
        base: Snapshot,
        changes: pa.Table,
        deleted_keys: pa.Table | None = None,
        name: str = "m",
    ) -> Snapshot:
        """Build a snapshot from another snapshot and changes."""
        staging = engine.stage_merge(STARS_TABLE, name, base, deleted_keys)
        for batch in changes.to_batches(max_chunksize=37):
            staging.write(batch)
        return staging.finish()

    def test_a_merge_equals_writing_all_rows(self, tmp_path: Path) -> None:
        """A merged snapshot equals one into which all rows are written."""
        engine = self._open_engine(tmp_path)
        rows = make_star_table()
        base = self._write_snapshot(engine, rows)
        deleted_keys, edited, new, expected_table = make_star_changes(rows)
        changes = pa.concat_tables([edited, new])
        merged = self._merge_snapshot(engine, base, changes, deleted_keys)
        written = self._write_snapshot(engine, expected_table, "n")
        assert merged.rows == written.rows == expected_table.num_rows
        merged_rows = read_sorted_rows(engine, merged)
        assert merged_rows == read_sorted_rows(engine, written)
        assert merged_rows == sorted(expected_table.to_pylist(), key=_get_id)
        assert read_sorted_rows(engine, base) == sorted(rows.to_pylist(), key=_get_id)  # the base did not change
        assert _drop_distinct_estimates(merged) == _drop_distinct_estimates(written)
        assert merged.coverage == written.coverage
        for text in (
            "SELECT id, mag FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 12)) = 1",
            "SELECT id FROM sky.stars WHERE mag BETWEEN 2 AND 2.3",
            "SELECT id FROM sky.stars WHERE mag > 50",
            "SELECT id FROM sky.stars WHERE name = 'edited' OR name = 'star 7 é'",
            "SELECT id FROM sky.stars WHERE id IN (0, 12, 77, 4999, 100003)",
            "SELECT COUNT(*) AS id, SUM(band) AS s, COUNT(ra) AS r FROM sky.stars",
        ):
            merged_result = sorted(self._run_query(engine, text, merged), key=_get_id)
            written_result = sorted(self._run_query(engine, text, written), key=_get_id)
            assert merged_result == written_result
            assert merged_result
        engine.close()

    def test_differing_rows_include_all_differences(self, tmp_path: Path) -> None:
        """`read_differing_rows` returns at least the rows that differ between two snapshots."""
        engine = self._open_engine(tmp_path)
        rows = make_star_table()
        base = self._write_snapshot(engine, rows)
        deleted_keys, edited, new, expected_table = make_star_changes(rows)
        changes = pa.concat_tables([edited, new])
        merged = self._merge_snapshot(engine, base, changes, deleted_keys)
        before = _index_rows_by_id(rows.to_pylist())
        after = _index_rows_by_id(expected_table.to_pylist())
        base_batches, merged_batches = engine.read_differing_rows(base, merged)
        rows_before = _index_batch_rows_by_id(base_batches)
        rows_after = _index_batch_rows_by_id(merged_batches)
        assert rows_before.keys() <= before.keys()
        deleted_ids = rows_before.keys() - rows_after.keys()
        expected_ids = set(deleted_keys["id"].to_pylist())
        assert deleted_ids & before.keys() == expected_ids & before.keys()
        changed_ids = {key for key, row in rows_after.items() if rows_before.get(key) != row}
        assert changed_ids == {key for key, row in after.items() if before.get(key) != row}
        engine.close()

    def test_merges_build_on_each_other(self, tmp_path: Path) -> None:
        """Each merge builds on the one before, after its base is removed."""
        engine = self._open_engine(tmp_path)
        rows = make_star_table(1000)
        last = self._write_snapshot(engine, rows)
        expected_rows = {row["id"]: row for row in rows.to_pylist()}
        for turn in range(5):
            deleted_range = range(turn * 10, turn * 10 + 10)
            deleted_keys = pa.table({"id": pa.array(deleted_range, pa.int64())})
            changed_rows = make_star_table(1000).slice(turn * 100, 50)
            if turn % 2:
                new_ids = pa.array(range(2000 + turn * 50, 2050 + turn * 50), pa.int64())
                changed_rows = changed_rows.set_column(0, STARS_TABLE.arrow_schema.field("id"), new_ids)
            for number in deleted_keys.column("id").to_pylist():
                expected_rows.pop(number, None)
            expected_rows |= _index_rows_by_id(changed_rows.to_pylist())
            merged = self._merge_snapshot(engine, last, changed_rows, deleted_keys, f"m{turn}")
            engine.remove_snapshot(last)
            last = merged
            expected_list = [expected_rows[number] for number in sorted(expected_rows)]
            assert read_sorted_rows(engine, last) == expected_list
        cone = "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 30)) = 1"
        all_rows = pa.Table.from_pylist(list(expected_rows.values()), schema=STARS_TABLE.arrow_schema)
        written = self._write_snapshot(engine, all_rows, "n")
        merged_result = sorted(self._run_query(engine, cone, last), key=_get_id)
        assert merged_result == sorted(self._run_query(engine, cone, written), key=_get_id)
        all_keys = pa.table({"id": pa.array(list(expected_rows), pa.int64())})
        empty = self._merge_snapshot(engine, last, make_star_table(0), all_keys, "z")
        assert empty.rows == 0
        assert self._run_query(engine, cone, empty) == []
        refilled = self._merge_snapshot(engine, empty, rows, None, "y")
        assert refilled.rows == 1000
        engine.close()

    def test_invalid_merges_are_refused(self, tmp_path: Path) -> None:
        """A merge without a key, with other columns or with bad keys is refused, and leaves nothing."""
        engine = self._open_engine(tmp_path)
        base = self._write_snapshot(engine, make_star_table(100))
        keyless = STARS_TABLE.copy_with(primary=())
        message = _require_error_message(StorageError, lambda: engine.stage_merge(keyless, "m", base))
        assert "no primary key" in message
        wider_columns = (*STARS_TABLE.columns, Column(name="more", type=INT64))
        wider = STARS_TABLE.copy_with(columns=wider_columns)
        message = _require_error_message(StorageError, lambda: engine.stage_merge(wider, "m", base))
        assert "different columns" in message
        stars = make_star_table(100)
        twice = pa.concat_tables([stars.slice(3, 2), stars.slice(4, 1)])
        message = _require_error_message(DataError, lambda: self._merge_snapshot(engine, base, twice))
        assert f"id = {stars['id'][4].as_py()} (2 times)" in message
        nullable_id = STARS_TABLE.arrow_schema.field("id").with_nullable(True)
        null = make_star_table(1).set_column(0, nullable_id, pa.array([None], pa.int64()))
        message = _require_error_message(DataError, lambda: self._merge_snapshot(engine, base, null))
        assert "null in 1 rows" in message
        staging = engine.stage_merge(STARS_TABLE, "m", base)
        staging.write(make_star_table(1).to_batches()[0])
        staging.abandon()
        staging.abandon()
        assert engine.remove_leftovers({base.path}) == []
        assert len(read_sorted_rows(engine, base)) == 100
        engine.close()

    # --- queries ---------------------------------------------------------------------------------------------

    def test_conditions_order_and_groups(self, tmp_path: Path) -> None:
        """Queries with conditions, orders and groups give the right rows, from a snapshot and from memory."""
        engine = self._open_engine(tmp_path)
        rows = make_star_table().to_pylist()
        snapshot = self._write_snapshot(engine, make_star_table())
        bright_rows = [row for row in rows if row["mag"] is not None and row["mag"] < 0.5]
        bright_ids = sorted(row["id"] for row in bright_rows)
        top_query = "SELECT TOP 3 id FROM sky.stars ORDER BY id DESC OFFSET 1"
        group_query = "SELECT band, COUNT(*) AS n FROM sky.stars GROUP BY band ORDER BY band"
        for relation in (snapshot, MemoryRelation(make_star_table())):
            assert self._query_star_ids(engine, "mag < 0.5", relation) == bright_ids
            top_rows = self._run_query(engine, top_query, relation)
            assert [row["id"] for row in top_rows] == [STAR_COUNT - 2, STAR_COUNT - 3, STAR_COUNT - 4]
            groups = self._run_query(engine, group_query, relation)
            assert groups == [{"band": band, "n": STAR_COUNT // 5} for band in range(5)]
            same_name_rows = self._run_query(engine, "SELECT * FROM sky.stars WHERE name = 'star 7 é'", relation)
            assert len(same_name_rows) == STAR_COUNT // 500
            assert self._query_star_ids(engine, "name = 'x'' OR 1=1 --'", relation) == []
        engine.close()

    def test_cones_find_what_astropy_finds(self, tmp_path: Path) -> None:
        """Cones contain the same stars as with astropy."""
        # imported here: astropy takes a second to import, and few tests need it
        import astropy.units as u  # noqa: PLC0415
        from astropy.coordinates import SkyCoord  # noqa: PLC0415

        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        positioned_rows = [row for row in make_star_table().to_pylist() if row["ra"] is not None]
        longitudes = [row["ra"] for row in positioned_rows]
        latitudes = [row["dec"] for row in positioned_rows]
        places = SkyCoord(longitudes, latitudes, unit="deg")
        for lon, lat, radius in ((10, 20, 5), (0, 90, 12), (359.9, -0.1, 3), (180, -89, 100), (40, 0, 0.01)):
            is_near = places.separation(SkyCoord(lon, lat, unit="deg")) <= radius * u.deg
            expected_ids = sorted(positioned_rows[number]["id"] for number in np.flatnonzero(is_near))
            contains = f"CONTAINS(POINT(ra, dec), CIRCLE({lon}, {lat}, {radius})) = 1"
            distance = f"DISTANCE(ra, dec, {lon}, {lat}) <= {radius}"
            for condition in (contains, distance):
                assert self._query_star_ids(engine, condition, snapshot) == expected_ids
        engine.close()

    def test_batches_have_the_types_of_the_query(self, tmp_path: Path) -> None:
        """Batches have the types of the bound query."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        text = (
            "SELECT COUNT(*) AS n, SUM(band) AS s, AVG(mag) AS a, MAX(seen) AS t, MAX(name) AS w, CAST(MIN(mag) AS "
            "REAL) AS r FROM sky.stars"
        )
        bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
        execution = engine.plan_query(bound).execute(bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
        (batch,) = list(execution)
        expected_fields = [pa.field(column.name, column.type.arrow) for column in bound.columns]
        expected_schema = pa.schema(expected_fields)
        assert batch.schema.equals(expected_schema)
        assert execution.schema.equals(expected_schema)
        engine.close()

    def test_an_execution_returns_one_row_more_than_the_limit(self, tmp_path: Path) -> None:
        """An execution returns one row more than its limit, so that an overflow can be noticed."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        for text in (
            "SELECT id FROM sky.stars",
            "SELECT id + 1 AS n FROM sky.stars",
            "SELECT id FROM sky.stars WHERE id < 500",
            "SELECT id FROM sky.stars ORDER BY mag",
        ):
            for row_limit, row_count in ((100, 101), (0, 1)):
                rows = self._run_query(engine, text, snapshot, ExecutionLimits(row_limit=row_limit))
                assert len(rows) == row_count
        limits = ExecutionLimits(row_limit=100)
        rows = self._run_query(engine, "SELECT id FROM sky.stars WHERE id < 5", snapshot, limits)
        assert len(rows) == 5
        engine.close()

    def test_uncomputable_values_are_errors_or_null(self, tmp_path: Path) -> None:
        """A value that cannot be computed is an error in a query, and null in `evaluate_query`."""
        engine = self._open_engine(tmp_path)
        words = Table(schema="s", name="words", columns=(Column(name="w", type=STRING),))
        rows = pa.table({"w": ["1", "x", None, "3"]})
        text = "SELECT CAST(w AS INTEGER) AS n FROM s.words"
        message = _require_error_message(
            EvaluationError, lambda: self._run_query(engine, text, MemoryRelation(rows), table=words)
        )
        assert "'x'" in message
        bound = bind_query(parse_query(text), StaticTableCatalogue([words]))
        computed = engine.evaluate_query(bound, {"s.words": rows})
        assert computed.column("n").to_pylist() == [1, None, None, 3]
        engine.close()

    def test_timeouts_and_cancellation(self, tmp_path: Path) -> None:
        """Queries end at their time limit and when they are cancelled, and others still run."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        endless = (
            "SELECT COUNT(*) AS n FROM sky.stars AS a, sky.stars AS b, sky.stars AS c WHERE a.mag * b.mag * c.mag > 3"
        )
        start_time = time.monotonic()
        limits = ExecutionLimits(deadline=Deadline(0.2))
        message = _require_error_message(TimeLimitError, lambda: self._run_query(engine, endless, snapshot, limits))
        assert "0.2 s" in message
        pairs = "SELECT a.id AS x, b.id AS y FROM sky.stars AS a, sky.stars AS b"
        execution = self._start_query(engine, pairs, snapshot)
        batches = iter(execution)
        next(batches)
        cancelling_thread = threading.Thread(target=execution.cancel)
        cancelling_thread.start()
        cancelling_thread.join()
        execution.cancel()
        message = _require_error_message(OperationCancelledError, lambda: list(batches))
        assert "cancelled" in message
        execution.close()
        execution.close()
        assert time.monotonic() - start_time < 300  # they would take days; a busy machine has its time
        all_rows = self._run_query(engine, "SELECT id FROM sky.stars", snapshot)
        assert len(all_rows) == STAR_COUNT  # other queries still work
        engine.close()

    def test_a_lost_worker_changes_no_answer(self, tmp_path: Path) -> None:
        """A lost worker changes no answer, whether it is lost before or after the first rows."""
        if type(self).kill_worker is EngineContract.kill_worker:
            return
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        groups = (
            "SELECT a.band, COUNT(*) AS n, SUM(a.mag) AS m FROM sky.stars AS a JOIN sky.stars AS b ON a.mag * "
            "b.mag > 3 GROUP BY a.band ORDER BY a.band"
        )
        expected_groups = self._run_query(engine, groups, snapshot)
        killing_thread = threading.Thread(target=self.kill_worker)
        killing_thread.start()
        repeated_groups = self._run_query(engine, groups, snapshot)
        for group, expected_group in zip(repeated_groups, expected_groups, strict=True):
            assert list(group.values())[:2] == list(expected_group.values())[:2]
            # partial sums of 4e6 values are added in any order, so that they differed by 1e-12
            assert math.isclose(group["m"], expected_group["m"], rel_tol=1e-9)
        killing_thread.join()
        pairs = (
            "SELECT a.id AS x, b.id AS y FROM sky.stars AS a JOIN sky.stars AS b ON a.band = b.band WHERE a.id < 200"
        )
        batches = iter(self._start_query(engine, pairs, snapshot))
        first_batch = next(batches)
        self.kill_worker()
        joined_rows = pa.Table.from_batches([first_batch, *batches])
        distinct_rows = joined_rows.group_by(["x", "y"]).aggregate([])
        assert joined_rows.num_rows == 200 * STAR_COUNT // 5
        assert distinct_rows.num_rows == joined_rows.num_rows
        engine.close()

    def test_threads_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """Queries of several threads give the right rows."""
        engine = self._open_engine(tmp_path)
        snapshot = self._write_snapshot(engine, make_star_table())
        faults: list[BaseException] = []

        def run_queries(seed: int) -> None:
            try:
                for turn in range(6):
                    low = (seed * 37 + turn * 101) % (STAR_COUNT - 20)
                    for condition in (f"id BETWEEN {low} AND {low + 9}", f"id + 0 BETWEEN {low} AND {low + 9}"):
                        assert self._query_star_ids(engine, condition, snapshot) == list(range(low, low + 10))
            except BaseException as error:  # noqa: BLE001  (handed to the test)
                faults.append(error)

        threads = [threading.Thread(target=run_queries, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        engine.close()


def make_star_changes(star_table: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """Make changes of `make_star_table` and the expected result, for tests of merges.

    Parameters
    ----------
    star_table
        Rows of `make_star_table`, at least 1300.

    Returns
    -------
    deleted_keys
        The keys to delete (column ``id``), one of which no star has.
    edited
        Rows with a known key and other values; some move, some lose or gain their position.
    new
        Rows with new keys.
    expected
        All rows after the changes.
    """
    edited = star_table.slice(100, 200).to_pylist()
    for number, row in enumerate(edited):
        if number % 3 == 0:
            row["name"] = "edited"
            row["mag"] = None if number % 2 else 99.25 + number
        elif number % 3 == 2:
            row["flux"] = [float(number), -1.0]
        elif number % 4:
            row["ra"] = number * 7.3 % 360
            row["dec"] = number % 90 - 45.0
        else:
            row["ra"] = None
            row["dec"] = None
    new = []
    for number, row in enumerate(star_table.slice(0, 150).to_pylist()):
        new.append(dict(row, id=100_000 + number, band=None))
    removed_rows = star_table.slice(1000, 300)
    deleted_keys = [*removed_rows.column("id").to_pylist(), 10**9]
    rows_by_id = _index_rows_by_id(star_table.to_pylist())
    for key in deleted_keys:
        rows_by_id.pop(key, None)
    rows_by_id |= _index_rows_by_id(edited + new)
    schema = STARS_TABLE.arrow_schema
    edited_table, new_table, expected_table = (
        pa.Table.from_pylist(row_list, schema=schema) for row_list in (edited, new, list(rows_by_id.values()))
    )
    return pa.table({"id": pa.array(deleted_keys, pa.int64())}), edited_table, new_table, expected_table


def read_sorted_rows(engine: StorageEngine, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Read all rows of a snapshot, sorted by `id`.

    Parameters
    ----------
    engine
        The engine of the snapshot.
    snapshot
        A snapshot of a table with a column ``id``.

    Returns
    -------
    rows
        A mapping from column names to Python values for each row.
    """
    rows: list[dict[str, Any]] = []
    for batch in engine.read_rows(snapshot):
        rows += batch.to_pylist()
    return sorted(rows, key=_get_id)


def _index_rows_by_id(rows: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in rows}


def _index_batch_rows_by_id(batches: Iterable[pa.RecordBatch]) -> dict[int, dict[str, Any]]:
    rows_by_id: dict[int, dict[str, Any]] = {}
    for batch in batches:
        rows_by_id |= _index_rows_by_id(batch.to_pylist())
    return rows_by_id


def _drop_distinct_estimates(snapshot: Snapshot) -> dict[str, dict[str, object]]:
    """Return the statistics of a snapshot without the numbers of distinct values, which are estimates."""
    exact_statistics: dict[str, dict[str, object]] = {}
    for name, statistics in snapshot.statistics.items():
        exact_statistics[name] = {key: value for key, value in statistics.items() if key != "distinct"}
    return exact_statistics


def _get_id(row: dict[str, Any]) -> Any:
    return row["id"]


def _require_error_message(error_type: type[HvenError], call: Callable[[], object]) -> str:
    """Return the message of the error that a call must raise."""
    try:
        call()
    except error_type as error:
        return str(error)
    message = f"{error_type.__name__} was not raised"
    raise AssertionError(message)


def _require_number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(value)
    return value


__all__: Sequence[str] = ["STARS_TABLE", "STAR_COUNT", "EngineContract", "make_star_table"]
