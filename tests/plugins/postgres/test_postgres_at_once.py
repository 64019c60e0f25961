"""Answers of PostgreSQL for which no thread is held: the same rows, nothing lost when they come late, no connection kept."""

from __future__ import annotations

import select
import threading
import time

import psycopg
import pyarrow as pa
import pytest

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model.errors import EvaluationError, OperationCancelledError, StorageError
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine import query_execution
from hven.plugins.postgres.engine.query_execution import LATE_ANSWER_SECONDS, MAX_QUICK_SECONDS, MeanAnswerTime
from hven.testing.engine import STARS_TABLE, make_star_table
from postgres_cluster import run_cluster

KEY = "SELECT id, name FROM sky.stars WHERE id = 17"
MANY = "SELECT id FROM sky.stars WHERE id < 900"
BROKEN = "SELECT CAST('{}' AS INTEGER) AS x FROM sky.stars WHERE id = 17"


@pytest.fixture(scope="module")
def machine():
    with run_cluster() as found:
        yield found


@pytest.fixture(scope="module")
def engine(machine, tmp_path_factory):
    opened = postgres.open(tmp_path_factory.mktemp("at-once"), memory=256 * 1024**2, threads=1, url=machine.url, pool=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def snapshot(engine):
    staging = engine.stage_snapshot(STARS_TABLE, "once")
    for batch in make_star_table().to_batches():
        staging.write(batch)
    return staging.finish()


@pytest.fixture
def patient(monkeypatch):
    """Find no answer late: this machine may be busy."""
    monkeypatch.setattr(query_execution, "MAX_QUICK_SECONDS", 60.0)


def wait_for_answer(execution, seconds=60.0):
    """Wait as an event loop does: look, and wait until something shows; give the execution."""
    until = time.monotonic() + seconds
    while (
        (socket := getattr(execution, "awaited_file_descriptor", None)) is not None
        and not execution.has_answer_arrived()
        and execution.awaited_file_descriptor is not None
    ):
        assert time.monotonic() < until
        select.select([socket], [], [], 1.0)
    return execution


class PlannedQuery:
    """One query with its plan, which may be run again and again."""

    def __init__(self, engine, snapshot, text):
        self.bound = bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
        self.plan, self.snapshot = engine.plan_query(self.bound), snapshot

    def run(self, **limits):
        return self.plan.execute(self.bound.literal_values, {"sky.stars": self.snapshot}, ExecutionLimits(**limits))

    def rows(self, **limits):
        return [row for batch in self.run(**limits) for row in batch.to_pylist()]


def test_the_second_answer_needs_no_thread(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, KEY)
    assert not asked.plan.is_quick
    first = asked.rows()
    assert asked.plan.is_quick
    again = asked.run()
    assert not again.small
    assert again.awaited_file_descriptor is not None
    assert wait_for_answer(again).small
    assert again.awaited_file_descriptor is None
    assert again.has_answer_arrived()
    assert [row for batch in again for row in batch.to_pylist()] == first
    assert len(first) == 1
    assert asked.rows(row_limit=0) == first  # one row more than the limit tells of the overflow


def test_a_few_rows_come_without_arrow_as_often_as_they_are_wanted(engine, snapshot, patient):
    every = ", ".join(
        f'"{column.name}"'
        for column in STARS_TABLE.columns
        if pa.types.is_primitive(column.type.arrow) or column.type.is_string
    )
    kinds = PlannedQuery(engine, snapshot, f"SELECT {every} FROM sky.stars WHERE id < 40")
    for asked in (
        PlannedQuery(engine, snapshot, KEY),
        PlannedQuery(engine, snapshot, "SELECT id, ra, name FROM sky.stars WHERE id < 40"),
        kinds,
    ):
        wanted = [tuple(row.values()) for row in asked.rows()]
        found = asked.run()
        assert found.read_small_answer() is None  # it has not come
        rows = wait_for_answer(found).read_small_answer()
        assert rows == found.read_small_answer()
        assert (rows is None) == (asked.plan._plain_type_oids is None)
        assert rows is None or rows == wanted
        assert [tuple(row.values()) for batch in found for row in batch.to_pylist()] == wanted
        assert found.read_small_answer() is None  # it is used up
    assert PlannedQuery(engine, snapshot, "SELECT id, ra, name FROM sky.stars WHERE id < 40").plan._plain_type_oids == (
        20,
        701,
        25,
    )


def test_what_was_cancelled_gives_no_rows(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, KEY)
    asked.rows()
    found = wait_for_answer(asked.run())
    found.cancel()
    assert found.read_small_answer() is None
    with pytest.raises(OperationCancelledError):
        list(found)


def test_answers_that_nobody_reads_give_their_connection_back(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, KEY)
    wanted = asked.rows()
    for _ in range(3):  # the pool has one connection
        asked.run().close()
    assert asked.rows() == wanted


def test_many_rows_are_not_for_the_spot(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, MANY)
    wanted = asked.rows()
    found = wait_for_answer(asked.run())
    assert not found.small
    assert [row for batch in found for row in batch.to_pylist()] == wanted
    assert len(wanted) > query_execution.MAX_INLINE_ROWS


def test_arithmetic_that_may_leave_the_range_is_waited_for_alike(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, "SELECT id, ra * 2 AS x FROM sky.stars WHERE id = 17")
    wanted = asked.rows()
    again = wait_for_answer(asked.run())
    assert again.small
    assert [row for batch in again for row in batch.to_pylist()] == wanted
    beyond = PlannedQuery(engine, snapshot, "SELECT id, 1e200 * id * 1e200 AS x FROM sky.stars WHERE id = 17")
    for _ in range(2):
        assert [row["x"] for batch in wait_for_answer(beyond.run()) for row in batch.to_pylist()] == [float("inf")]


def test_a_late_answer_comes_to_who_iterates(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, KEY)
    wanted = asked.rows()
    with engine.query_pool.borrow_connection() as connection:
        pid = connection.info.backend_pid
    late = asked.run()
    assert not late.small
    assert [row for batch in late for row in batch.to_pylist()] == wanted
    with engine.query_pool.borrow_connection() as connection:
        assert connection.info.backend_pid == pid
    asked.run().close()  # nobody wants it any more: its connection may yet be hit by the cancellation
    with engine.query_pool.borrow_connection() as connection:
        assert connection.info.backend_pid != pid


def test_a_late_answer_is_cancelled_and_has_its_time_limit(engine, snapshot, machine, patient):
    asked = PlannedQuery(engine, snapshot, KEY)
    asked.rows()
    with psycopg.connect(machine.url) as other:
        other.execute(f'LOCK TABLE hven."{snapshot.path}"')
        late = asked.run()
        timer = threading.Timer(0.1, late.cancel)
        timer.start()
        with pytest.raises(OperationCancelledError):
            list(late)
        timer.join()
    asked.rows()


def test_an_error_is_told_by_who_iterates(engine, snapshot, patient):
    asked = PlannedQuery(engine, snapshot, BROKEN.format(18))
    assert asked.rows() == [{"x": 18}]
    failing = PlannedQuery(engine, snapshot, BROKEN.format("many"))
    found = wait_for_answer(
        asked.plan.execute(failing.bound.literal_values, {"sky.stars": snapshot}, ExecutionLimits())
    )
    assert not found.small
    with pytest.raises(EvaluationError):
        list(found)
    assert asked.rows() == [{"x": 18}]


def test_a_server_that_was_away_is_asked_again_by_who_iterates(engine, snapshot, machine, patient):
    asked = PlannedQuery(engine, snapshot, KEY)
    wanted = asked.rows()
    machine.stop()
    machine.start()
    found = wait_for_answer(asked.run())
    assert not found.small
    assert [row for batch in found for row in batch.to_pylist()] == wanted
    machine.stop()
    try:
        gone = wait_for_answer(asked.run())
        assert not gone.small
        with pytest.raises(StorageError):
            list(gone)
    finally:
        machine.start()
    assert asked.rows() == wanted


def test_a_plan_whose_answers_come_late_is_tried_now_and_then():
    pace = MeanAnswerTime()
    assert not pace.is_quick  # what has no answer yet
    pace.reduce_mean()
    assert pace.is_quick
    pace.add_answer_time(LATE_ANSWER_SECONDS, 1)
    assert not pace.is_quick
    tries = 0
    for _ in range(1000):
        if pace.is_quick:
            tries += 1
            pace.add_answer_time(LATE_ANSWER_SECONDS, 1)
        pace.reduce_mean()
    assert 5 < tries < 50
    for _ in range(200):
        pace.reduce_mean()
    for _ in range(20):
        pace.add_answer_time(MAX_QUICK_SECONDS / 2, 1)
    assert pace.is_quick
    for _ in range(20):
        pace.add_answer_time(MAX_QUICK_SECONDS * 4, 8)  # eight at once shared the server: each alone takes half
    assert pace.is_quick


def test_to_look_never_waits(engine, snapshot, machine):
    asked = PlannedQuery(engine, snapshot, KEY)
    asked.rows()
    with psycopg.connect(machine.url) as other:
        other.execute(f'LOCK TABLE hven."{snapshot.path}"')
        late = asked.run()
        assert late.awaited_file_descriptor is not None
        assert not late.has_answer_arrived()
        assert late.awaited_file_descriptor is not None
        assert not late.small
        late.close()
        assert late.awaited_file_descriptor is None
    assert len(asked.rows()) == 1
