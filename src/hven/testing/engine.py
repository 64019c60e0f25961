"""What every engine must honour: subclass `EngineContract`, say how the engine is opened, and pytest runs it."""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.adql import bind, parse
from hven.adql.scope import Tables
from hven.engines import Limits, Memory
from hven.model.clock import Clock
from hven.model.errors import Cancelled, DataError, EvaluationError, HvenError, StorageError, Timeout
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, INT64, STRING, TIMESTAMP, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hven.engines import Engine, Relation, Snapshot

STARS = Table(
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
ROWS = 5000


def stars(rows: int = ROWS) -> pa.Table:
    """Make a catalogue of stars on a spiral from pole to pole: every tenth has no magnitude, every hundredth no position.

    Parameters
    ----------
    rows
        How many.

    Returns
    -------
    rows
        Columns of `STARS`, positions in degrees (ICRS), magnitudes 0 to 9.6; the same for each call.
    """
    number = np.arange(rows)
    dec = np.degrees(np.arcsin(2 * (number + 0.5) / rows - 1))
    ra = (number * 137.50776405003785) % 360
    when = dt.datetime(2000, 1, 1)  # noqa: DTZ001  (storage has no zone)
    return pa.table(
        {
            "id": pa.array((number * 7919) % rows, pa.int64()),
            "ra": pa.array(ra, mask=number % 100 == 7),
            "dec": pa.array(dec, mask=number % 100 == 7),
            "mag": pa.array((number % 97) / 10, mask=number % 10 == 3),
            "name": pa.array([f"star {n % 500} é" for n in number.tolist()]),
            "seen": pa.array([when + dt.timedelta(hours=n) for n in number.tolist()], pa.timestamp("us")),
            "band": pa.array(number % 5, pa.int32()),
            "flux": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(2.0 * rows)), 2),
        },
        schema=STARS.arrow,
    )


class EngineContract:
    """Subclass this as ``class TestMyEngine(EngineContract)`` and write `open`."""

    def open(self, directory: Path) -> Engine:
        """Open the engine with an empty storage in `directory`; a subclass must write it.

        Parameters
        ----------
        directory
            A directory of the test's own, which is not there yet.

        Returns
        -------
        engine
            The tests close it.
        """
        raise NotImplementedError

    def lose_worker(self) -> None:
        """Kill one of the processes that compute elsewhere, as a crash of its machine does; an engine without any leaves this as it is."""

    # --- helpers ---------------------------------------------------------------------------------------------

    def _engine(self, tmp_path: Path) -> Engine:
        """Open in a directory of this test."""
        return self.open(tmp_path / "snapshots")

    def _write(self, engine: Engine, rows: pa.Table, name: str = "a", table: Table = STARS) -> Snapshot:
        """Stage rows in batches of a thousand."""
        staging = engine.stage(table, name)
        for batch in rows.to_batches(max_chunksize=1000):
            staging.write(batch)
        return staging.finish()

    def _ask(
        self, engine: Engine, text: str, relation: Relation, limits: Limits | None = None, table: Table = STARS
    ) -> list[dict[str, Any]]:
        """Run a query to its end."""
        bound = bind(parse(text), Tables([table]))
        execution = engine.prepare(bound).execute(bound.slots, {table.qualified: relation}, limits or Limits())
        return [row for batch in execution for row in batch.to_pylist()]

    # --- storage ---------------------------------------------------------------------------------------------

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        """What is written is read."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        back = pa.Table.from_batches(list(engine.read(snapshot))).sort_by("seen")
        assert snapshot.rows == ROWS == back.num_rows
        assert back.to_pylist() == stars().to_pylist()
        assert next(batch.schema.names for batch in engine.read(snapshot, ["mag", "id"])) == ["mag", "id"]
        engine.close()

    def test_statistics_and_coverage(self, tmp_path: Path) -> None:
        """Statistics and coverage."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        mag, name = snapshot.statistics["mag"], snapshot.statistics["name"]
        assert (mag["nulls"], mag["minimum"], mag["maximum"]) == (ROWS // 10, 0.0, 9.6)
        assert (name["nulls"], name["non_ascii"], name["max_length"]) == (0, True, len("star 499 é"))
        assert 400 <= _number(name["distinct"]) <= 600
        assert snapshot.coverage is not None
        assert "/" in snapshot.coverage
        assert snapshot.bytes > ROWS * 8
        engine.close()

    def test_no_rows(self, tmp_path: Path) -> None:
        """No rows."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars(0))
        assert snapshot.rows == 0
        assert self._ask(engine, "SELECT COUNT(*) AS n, MIN(mag) AS m FROM sky.stars", snapshot) == [
            {"n": 0, "m": None}
        ]
        assert self._ask(engine, "SELECT * FROM sky.stars WHERE id = 1", snapshot) == []
        assert (
            self._ask(engine, "SELECT * FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(1, 2, 3)) = 1", snapshot)
            == []
        )
        engine.close()

    def test_the_primary_key_is_unique(self, tmp_path: Path) -> None:
        """The primary key is unique."""
        engine = self._engine(tmp_path)
        rows = pa.concat_tables([stars(), stars().slice(10, 2)])
        said = _fault(DataError, lambda: self._write(engine, rows))
        assert "id = " in said
        assert "2 keys" in said
        assert engine.sweep(set()) == []  # nothing was left
        engine.close()

    def test_an_abandoned_staging_leaves_nothing(self, tmp_path: Path) -> None:
        """An abandoned staging leaves nothing."""
        engine = self._engine(tmp_path)
        staging = engine.stage(STARS, "a")
        staging.write(stars().to_batches()[0])
        staging.abandon()
        staging.abandon()
        assert engine.sweep(set()) == []
        self._write(engine, stars())
        engine.close()

    def test_a_dropped_snapshot_serves_its_readers(self, tmp_path: Path) -> None:
        """A dropped snapshot serves its readers."""
        engine = self._engine(tmp_path)
        first, second = self._write(engine, stars()), self._write(engine, stars(10), "b")
        bound = bind(parse("SELECT id, mag FROM sky.stars"), Tables([STARS]))
        execution = engine.prepare(bound).execute(bound.slots, {"sky.stars": first}, Limits(batch=100))
        batches = iter(execution)
        seen = next(batches).num_rows
        engine.drop(first)
        assert seen + sum(batch.num_rows for batch in batches) == ROWS
        assert len(self._ask(engine, "SELECT id FROM sky.stars", second)) == 10
        engine.close()

    def test_sweep_keeps_what_is_known_or_new(self, tmp_path: Path) -> None:
        """Sweep keeps what is known or new."""
        engine = self._engine(tmp_path)
        first, second = self._write(engine, stars(10)), self._write(engine, stars(20), "b")
        engine.published(first)
        engine.published(second)
        third = self._write(engine, stars(30), "c")  # not published yet
        assert engine.sweep({second.path}) == [first.path]
        assert len(self._ask(engine, "SELECT id FROM sky.stars", second)) == 20
        assert len(self._ask(engine, "SELECT id FROM sky.stars", third)) == 30
        engine.close()

    # --- merging ---------------------------------------------------------------------------------------------

    def _merge(
        self, engine: Engine, base: Snapshot, changes: pa.Table, gone: pa.Table | None = None, name: str = "m"
    ) -> Snapshot:
        """Make a snapshot out of another and its changes."""
        staging = engine.merge(STARS, name, base, gone)
        for batch in changes.to_batches(max_chunksize=37):
            staging.write(batch)
        return staging.finish()

    def test_a_merge_is_what_staging_all_rows_is(self, tmp_path: Path) -> None:
        """A merge is what staging all rows is."""
        engine = self._engine(tmp_path)
        rows = stars()
        base = self._write(engine, rows)
        gone, edited, new, wanted = changed_stars(rows)
        merged = self._merge(engine, base, pa.concat_tables([edited, new]), gone)
        anew = self._write(engine, wanted, "n")
        assert merged.rows == anew.rows == wanted.num_rows
        assert engine_rows(engine, merged) == engine_rows(engine, anew) == sorted(wanted.to_pylist(), key=_by_id)
        assert engine_rows(engine, base) == sorted(rows.to_pylist(), key=_by_id)  # which stayed as it was
        for name, facts in anew.statistics.items():
            assert {key: value for key, value in merged.statistics[name].items() if key != "distinct"} == {
                key: value for key, value in facts.items() if key != "distinct"
            }
        assert merged.coverage == anew.coverage
        for text in (
            "SELECT id, mag FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 12)) = 1",
            "SELECT id FROM sky.stars WHERE mag BETWEEN 2 AND 2.3",
            "SELECT id FROM sky.stars WHERE mag > 50",
            "SELECT id FROM sky.stars WHERE name = 'edited' OR name = 'star 7 é'",
            "SELECT id FROM sky.stars WHERE id IN (0, 12, 77, 4999, 100003)",
            "SELECT COUNT(*) AS id, SUM(band) AS s, COUNT(ra) AS r FROM sky.stars",
        ):
            found, known = (sorted(self._ask(engine, text, one), key=_by_id) for one in (merged, anew))
            assert found == known
            assert found
        engine.close()

    def test_what_may_differ_holds_what_differs(self, tmp_path: Path) -> None:
        """What may differ holds what differs."""
        engine = self._engine(tmp_path)
        rows = stars()
        base = self._write(engine, rows)
        gone, edited, new, wanted = changed_stars(rows)
        merged = self._merge(engine, base, pa.concat_tables([edited, new]), gone)
        before = {row["id"]: row for row in rows.to_pylist()}
        after = wanted.to_pylist()
        left, right = (
            {row["id"]: row for batch in side for row in batch.to_pylist()} for side in engine.apart(base, merged)
        )
        assert left.keys() <= before.keys()
        assert {key for key in before if key not in right and key in left} == set(
            gone["id"].to_pylist()
        ) & before.keys()
        assert {key for key in right if left.get(key) != right[key]} == {
            row["id"] for row in after if before.get(row["id"]) != row
        }
        engine.close()

    def test_merges_follow_each_other(self, tmp_path: Path) -> None:
        """Merges follow each other, and outlive their bases."""
        engine = self._engine(tmp_path)
        rows = stars(1000)
        last = self._write(engine, rows)
        known = {row["id"]: row for row in rows.to_pylist()}
        for turn in range(5):
            gone = pa.table({"id": pa.array(range(turn * 10, turn * 10 + 10), pa.int64())})
            more = stars(1000).slice(turn * 100, 50)
            if turn % 2:
                more = more.set_column(
                    0, STARS.arrow.field("id"), pa.array(range(2000 + turn * 50, 2050 + turn * 50), pa.int64())
                )
            for number in gone.column("id").to_pylist():
                known.pop(number, None)
            known |= {row["id"]: row for row in more.to_pylist()}
            merged = self._merge(engine, last, more, gone, f"m{turn}")
            engine.drop(last)
            last = merged
            assert engine_rows(engine, last) == [known[number] for number in sorted(known)]
        cone = "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 30)) = 1"
        anew = self._write(engine, pa.Table.from_pylist(list(known.values()), schema=STARS.arrow), "n")
        assert sorted(self._ask(engine, cone, last), key=_by_id) == sorted(self._ask(engine, cone, anew), key=_by_id)
        nothing = self._merge(engine, last, stars(0), pa.table({"id": pa.array(list(known), pa.int64())}), "z")
        assert nothing.rows == 0
        assert self._ask(engine, cone, nothing) == []
        assert self._merge(engine, nothing, rows, None, "y").rows == 1000
        engine.close()

    def test_what_cannot_be_merged_is_refused(self, tmp_path: Path) -> None:
        """What cannot be merged is refused, and leaves nothing."""
        engine = self._engine(tmp_path)
        base = self._write(engine, stars(100))
        keyless = STARS.having(primary=())
        assert "no primary key" in _fault(StorageError, lambda: engine.merge(keyless, "m", base))
        wider = STARS.having(columns=(*STARS.columns, Column(name="more", type=INT64)))
        assert "other columns" in _fault(StorageError, lambda: engine.merge(wider, "m", base))
        twice = pa.concat_tables([stars(100).slice(3, 2), stars(100).slice(4, 1)])
        said = _fault(DataError, lambda: self._merge(engine, base, twice))
        assert f"id = {stars(100)['id'][4].as_py()} (2 times)" in said
        null = stars(1).set_column(0, STARS.arrow.field("id").with_nullable(True), pa.array([None], pa.int64()))
        assert "null in 1 rows" in _fault(DataError, lambda: self._merge(engine, base, null))
        staging = engine.merge(STARS, "m", base)
        staging.write(stars(1).to_batches()[0])
        staging.abandon()
        staging.abandon()
        assert engine.sweep({base.path}) == []
        assert len(engine_rows(engine, base)) == 100
        engine.close()

    # --- queries ---------------------------------------------------------------------------------------------

    def test_conditions_order_and_groups(self, tmp_path: Path) -> None:
        """Conditions order and groups."""
        engine = self._engine(tmp_path)
        rows = stars().to_pylist()
        for relation in (self._write(engine, stars()), Memory(stars())):
            bright = sorted(row["id"] for row in rows if row["mag"] is not None and row["mag"] < 0.5)
            assert (
                sorted(row["id"] for row in self._ask(engine, "SELECT id FROM sky.stars WHERE mag < 0.5", relation))
                == bright
            )
            first = self._ask(engine, "SELECT TOP 3 id FROM sky.stars ORDER BY id DESC OFFSET 1", relation)
            assert [row["id"] for row in first] == [ROWS - 2, ROWS - 3, ROWS - 4]
            groups = self._ask(
                engine, "SELECT band, COUNT(*) AS n FROM sky.stars GROUP BY band ORDER BY band", relation
            )
            assert groups == [{"band": band, "n": ROWS // 5} for band in range(5)]
            assert len(self._ask(engine, "SELECT * FROM sky.stars WHERE name = 'star 7 é'", relation)) == ROWS // 500
            assert self._ask(engine, "SELECT id FROM sky.stars WHERE name = 'x'' OR 1=1 --'", relation) == []
        engine.close()

    def test_cones_find_what_astropy_finds(self, tmp_path: Path) -> None:
        """Cones find what astropy finds."""
        import astropy.units as u  # noqa: PLC0415  (a second to load, asked by few)
        from astropy.coordinates import SkyCoord  # noqa: PLC0415  (a second to load, asked by few)

        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        known = [row for row in stars().to_pylist() if row["ra"] is not None]
        places = SkyCoord([row["ra"] for row in known], [row["dec"] for row in known], unit="deg")
        for lon, lat, radius in ((10, 20, 5), (0, 90, 12), (359.9, -0.1, 3), (180, -89, 100), (40, 0, 0.01)):
            near = places.separation(SkyCoord(lon, lat, unit="deg")) <= radius * u.deg
            wanted = sorted(row["id"] for row, flag in zip(known, near, strict=True) if flag)
            for form in (
                f"CONTAINS(POINT(ra, dec), CIRCLE({lon}, {lat}, {radius})) = 1",
                f"DISTANCE(ra, dec, {lon}, {lat}) <= {radius}",
            ):
                assert (
                    sorted(row["id"] for row in self._ask(engine, f"SELECT id FROM sky.stars WHERE {form}", snapshot))
                    == wanted
                )
        engine.close()

    def test_answers_have_the_promised_types(self, tmp_path: Path) -> None:
        """Answers have the promised types."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        text = "SELECT COUNT(*) AS n, SUM(band) AS s, AVG(mag) AS a, MAX(seen) AS t, MAX(name) AS w, CAST(MIN(mag) AS REAL) AS r FROM sky.stars"
        bound = bind(parse(text), Tables([STARS]))
        execution = engine.prepare(bound).execute(bound.slots, {"sky.stars": snapshot}, Limits())
        (batch,) = list(execution)
        wanted = pa.schema([pa.field(column.name, column.type.arrow) for column in bound.columns])
        assert batch.schema.equals(wanted)
        assert execution.schema.equals(wanted)
        engine.close()

    def test_one_row_more_than_the_limit(self, tmp_path: Path) -> None:
        """One row more than the limit."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        for text in (
            "SELECT id FROM sky.stars",
            "SELECT id + 1 AS n FROM sky.stars",
            "SELECT id FROM sky.stars WHERE id < 500",
            "SELECT id FROM sky.stars ORDER BY mag",
        ):
            assert len(self._ask(engine, text, snapshot, Limits(rows=100))) == 101
            assert len(self._ask(engine, text, snapshot, Limits(rows=0))) == 1
        assert len(self._ask(engine, "SELECT id FROM sky.stars WHERE id < 5", snapshot, Limits(rows=100))) == 5
        engine.close()

    def test_what_cannot_be_computed_is_said_or_null(self, tmp_path: Path) -> None:
        """What cannot be computed is said or null."""
        engine = self._engine(tmp_path)
        words = Table(schema="s", name="words", columns=(Column(name="w", type=STRING),))
        rows = pa.table({"w": ["1", "x", None, "3"]})
        text = "SELECT CAST(w AS INTEGER) AS n FROM s.words"
        assert "'x'" in _fault(EvaluationError, lambda: self._ask(engine, text, Memory(rows), table=words))
        found = engine.compute(bind(parse(text), Tables([words])), {"s.words": rows})
        assert found.column("n").to_pylist() == [1, None, None, 3]
        engine.close()

    def test_timeouts_and_cancellation(self, tmp_path: Path) -> None:
        """Timeouts and cancellation."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        endless = (
            "SELECT COUNT(*) AS n FROM sky.stars AS a, sky.stars AS b, sky.stars AS c WHERE a.mag * b.mag * c.mag > 3"
        )
        begin = time.monotonic()
        assert "0.2 s" in _fault(Timeout, lambda: self._ask(engine, endless, snapshot, Limits(clock=Clock(0.2))))
        bound = bind(parse("SELECT a.id AS x, b.id AS y FROM sky.stars AS a, sky.stars AS b"), Tables([STARS]))
        execution = engine.prepare(bound).execute(bound.slots, {"sky.stars": snapshot}, Limits())
        batches = iter(execution)
        next(batches)
        stopper = threading.Thread(target=execution.cancel)
        stopper.start()
        stopper.join()
        execution.cancel()
        assert "cancelled" in _fault(Cancelled, lambda: list(batches))
        execution.close()
        execution.close()
        assert time.monotonic() - begin < 30
        assert len(self._ask(engine, "SELECT id FROM sky.stars", snapshot)) == ROWS  # nobody else was hurt
        engine.close()

    def test_a_lost_worker_changes_no_answer(self, tmp_path: Path) -> None:
        """A lost worker changes no answer: before rows are given, and after some were."""
        if type(self).lose_worker is EngineContract.lose_worker:
            return
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        groups = "SELECT a.band, COUNT(*) AS n, SUM(a.mag) AS m FROM sky.stars AS a JOIN sky.stars AS b ON a.mag * b.mag > 3 GROUP BY a.band ORDER BY a.band"
        whole = self._ask(engine, groups, snapshot)
        lost = threading.Thread(target=self.lose_worker)
        lost.start()
        again = self._ask(engine, groups, snapshot)
        assert [[*row.values()][:2] for row in again] == [[*row.values()][:2] for row in whole]
        for one, other in zip(again, whole, strict=True):  # sums of parts are added in any order
            assert math.isclose(one["m"], other["m"], rel_tol=1e-9)  # of 4e6 values: 1e-12 was seen
        lost.join()
        bound = bind(
            parse(
                "SELECT a.id AS x, b.id AS y FROM sky.stars AS a JOIN sky.stars AS b ON a.band = b.band WHERE a.id < 200"
            ),
            Tables([STARS]),
        )
        batches = iter(engine.prepare(bound).execute(bound.slots, {"sky.stars": snapshot}, Limits()))
        rows = [next(batches)]
        self.lose_worker()
        rows.extend(batches)
        found = pa.Table.from_batches(rows)
        assert found.num_rows == 200 * ROWS // 5 == found.group_by(["x", "y"]).aggregate([]).num_rows
        engine.close()

    def test_threads_do_not_disturb_each_other(self, tmp_path: Path) -> None:
        """Threads do not disturb each other."""
        engine = self._engine(tmp_path)
        snapshot = self._write(engine, stars())
        faults: list[BaseException] = []

        def work(seed: int) -> None:
            try:
                for turn in range(6):
                    low = (seed * 37 + turn * 101) % (ROWS - 20)
                    for text in (
                        f"SELECT id FROM sky.stars WHERE id BETWEEN {low} AND {low + 9}",
                        f"SELECT id FROM sky.stars WHERE id + 0 BETWEEN {low} AND {low + 9}",
                    ):
                        found = sorted(row["id"] for row in self._ask(engine, text, snapshot))
                        assert found == list(range(low, low + 10))
            except BaseException as error:  # noqa: BLE001  (handed to the test)
                faults.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not faults
        engine.close()


def changed_stars(rows: pa.Table) -> tuple[pa.Table, pa.Table, pa.Table, pa.Table]:
    """Make a change of `stars` and what comes of it, to compare a merge with.

    Parameters
    ----------
    rows
        Rows of `stars`, at least 1300.

    Returns
    -------
    gone
        The keys to delete (column ``id``), one of which nobody has.
    edited
        Rows with a known key and other values; some move, some lose or gain their position.
    new
        Rows with new keys.
    wanted
        All rows afterwards.
    """
    edited = rows.slice(100, 200).to_pylist()
    for number, row in enumerate(edited):
        if number % 3 == 0:
            row["name"], row["mag"] = "edited", None if number % 2 else 99.25 + number
        elif number % 3 == 1:
            row["ra"], row["dec"] = (number * 7.3 % 360, number % 90 - 45.0) if number % 4 else (None, None)
        else:
            row["flux"] = [float(number), -1.0]
    new = [dict(row, id=100_000 + number, band=None) for number, row in enumerate(rows.slice(0, 150).to_pylist())]
    gone = [*rows.slice(1000, 300).column("id").to_pylist(), 10**9]
    kept = {row["id"]: row for row in rows.to_pylist() if row["id"] not in set(gone)} | {
        row["id"]: row for row in edited + new
    }
    tables = [pa.Table.from_pylist(some, schema=STARS.arrow) for some in (edited, new, list(kept.values()))]
    return pa.table({"id": pa.array(gone, pa.int64())}), *tables


def engine_rows(engine: Engine, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Read all rows of a snapshot back, sorted by `id`.

    Parameters
    ----------
    engine
        The one that keeps the snapshot.
    snapshot
        Of a table with a column ``id``.

    Returns
    -------
    rows
        A mapping from column names to Python values for each row.
    """
    return sorted((row for batch in engine.read(snapshot) for row in batch.to_pylist()), key=_by_id)


def _by_id(row: dict[str, Any]) -> Any:
    return row["id"]


def _fault(kind: type[HvenError], call: Callable[[], object]) -> str:
    """Return the message of the error that a call must raise."""
    try:
        call()
    except kind as error:
        return str(error)
    message = f"{kind.__name__} was not raised"
    raise AssertionError(message)


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(value)
    return value


__all__: Sequence[str] = ["ROWS", "STARS", "EngineContract", "stars"]
