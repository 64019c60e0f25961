"""What small answers and streams from PostgreSQL stand on: statements that stay prepared, batches that are read ahead."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pyarrow as pa
import pytest

from hven.engines import ExecutionLimits
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine.connection_pool import MAX_PREPARED_STATEMENTS, DatabaseConnector
from hven.plugins.postgres.engine.query_execution import (
    MAX_BATCHES_AHEAD,
    BatchReadAhead,
    ParameterizedQuery,
    PostgresExecution,
)
from postgres_cluster import run_cluster


@pytest.fixture(scope="module")
def machine():
    with run_cluster() as found:
        yield found


@pytest.fixture(params=["main thread", "other thread"])
def database_session(request, machine):
    """Give a session and its `fetched`, called where the parameter says: the two wait in different ways."""
    session = DatabaseConnector(machine.url, schema="hven", search_path="pg_catalog").open_psycopg_connection()
    with ThreadPoolExecutor(1) as pool:

        def call(sql, *arguments):
            if request.param == "main thread":
                return session.fetch_all(sql, arguments)
            return pool.submit(session.fetch_all, sql, arguments).result(60)

        yield session, call
    session.close()


def test_values_are_those_of_a_cursor(database_session):
    session, call = database_session
    sql = "SELECT n, n / 3.0::float8, 'é' || n, NULL::text, ARRAY[n, 2], '2020-01-01'::timestamp FROM generate_series(1, $1::bigint) AS n"
    assert call(sql, "7") == session.execute(sql, ["7"], binary=True).fetchall()
    assert call(sql, "0") == []


def test_the_server_keeps_no_more_statements_than_the_session(database_session):
    session, call = database_session
    for number in range(MAX_PREPARED_STATEMENTS + 20):
        assert call(f"SELECT {number} + $1::int", "1") == [(number + 1,)]
    assert call("SELECT 0 + $1::int", "5") == [(5,)]  # one that was let go of
    assert session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (MAX_PREPARED_STATEMENTS,)


def test_errors_have_their_state_and_the_session_goes_on(database_session):
    _, call = database_session
    with pytest.raises(psycopg.errors.DivisionByZero):
        call("SELECT 1 / $1::int", "0")
    with pytest.raises(psycopg.errors.UndefinedTable):
        call("SELECT * FROM nothing")
    assert call("SELECT 1 / $1::int", "1") == [(1,)]


def test_a_connection_that_was_ended_says_so(database_session, machine):
    session, call = database_session
    with psycopg.connect(machine.url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 60000)", [session.info.backend_pid])
    for _ in range(2):  # when it is found out, and afterwards
        with pytest.raises(psycopg.OperationalError):
            call("SELECT 1")


def batch(number: int) -> pa.RecordBatch:
    return pa.record_batch({"n": [number]})


def test_batches_come_in_order_and_only_some_are_read_ahead():
    read = []

    def reader():
        for number in range(20):
            read.append(number)
            yield batch(number)

    ahead = BatchReadAhead(reader())
    found = []
    for item in ahead:
        found.append(item.column(0)[0].as_py())
        assert len(read) <= len(found) + MAX_BATCHES_AHEAD + 1
    ahead.close(lambda: None)
    assert found == list(range(20))


def test_a_streamed_answer_begins_with_little(machine, tmp_path):
    engine = postgres.open(tmp_path, memory=1 << 28, threads=1, url=machine.url, pool=2, schema="soon")

    def first(soon: bool) -> tuple[int, int]:
        sql = "SELECT n::BIGINT AS n FROM generate_series(1, 300000) AS n"
        work = ParameterizedQuery(prepared_sql=sql, copy_sql=sql, arguments=(), sends_early=soon)
        schema = pa.schema([("n", pa.int64())])
        sizes = [
            batch.num_rows
            for batch in PostgresExecution(engine, schema, lambda: work, ExecutionLimits(batch_rows=1_000_000))
        ]
        assert sum(sizes) == 300_000
        return sizes[0], max(sizes)

    (few, most), (many, _) = first(True), first(False)
    engine.close()
    assert few * 5 < most
    assert few * 5 < many


def test_an_error_comes_after_what_came_before_it():
    def reader():
        yield from map(batch, range(3))
        raise pa.ArrowInvalid("broke off")

    items = iter(BatchReadAhead(reader()))
    assert [next(items).column(0)[0].as_py() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(pa.ArrowInvalid, match="broke off"):
        next(items)


def test_who_leaves_interrupts_a_read_that_lasts():
    over = threading.Event()

    def reader():
        yield batch(0)
        assert over.wait(60)
        raise pa.ArrowCancelled("interrupted")

    before = threading.enumerate()
    ahead = BatchReadAhead(reader())
    next(iter(ahead))
    ahead.close(over.set)
    assert over.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "hven-rows-ahead" and thread not in before]
