"""Floating-point arithmetic that leaves its range gives in PostgreSQL what it gives in the embedded engine."""

from __future__ import annotations

import pyarrow as pa
import pytest
from engine_tables import plan_query, run_with_and_without_indexes, sort_rows, stage_table
from relations import Relations
from test_postgres_roads import JudgedPostgresEngine

from hven.engines import ExecutionLimits, duckdb
from hven.model.deadlines import Deadline
from hven.model.errors import EvaluationError
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT64
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine import query_execution
from hven.plugins.postgres.engine.overflow_fallback import can_overflow
from postgres_cluster import run_server

FLUX = Table(
    schema="sky",
    name="stars",
    columns=(Column(name="id", type=INT64), Column(name="x", type=FLOAT64), Column(name="y", type=FLOAT32)),
    primary=("id",),
)
MANY = 60_000


def rows() -> pa.Table:
    x = [1e-26, 3.0, 1e200, -1e200, 1e-200, 0.0, 5e-324, 1.7e308, float("inf"), float("nan"), None]
    y = [1e-26, 3.0, 1e30, -1e30, 1e-30, 0.0, 1e-45, 3.4e38, float("inf"), float("nan"), None]
    ids = range(MANY + len(x))
    return pa.table({"id": ids, "x": [1.0] * MANY + x, "y": [1.0] * MANY + y}, schema=FLUX.arrow_schema)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    directory = tmp_path_factory.mktemp("snapshots")
    with run_server() as url:
        judge = duckdb.open(directory, memory=256 * 1024**2, threads=1)
        opened = postgres.open(
            directory, memory=256 * 1024**2, threads=1, url=f"postgresql://{url}", position="healpix"
        )
        yield JudgedPostgresEngine(opened, judge)
        opened.close()
        judge.close()


@pytest.fixture(scope="module")
def relations(engine):
    return Relations({"sky.stars": stage_table(engine, FLUX, rows())})


LAST = f"FROM sky.stars WHERE id >= {MANY}"


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT id, x * x AS v {LAST}",
        f"SELECT id, y * y AS v {LAST}",
        f"SELECT id, x / 1e-200 AS v, x + x AS w, x - 1.7e308 AS u, 1e-200 / x AS t {LAST}",
        f"SELECT id, y + y AS v, y / 1e-30 AS w {LAST}",
        f"SELECT id, DEGREES(x) AS v {LAST}",
        f"SELECT id, CAST(x AS REAL) AS v {LAST} AND x BETWEEN -1e30 AND 1e30",
        f"SELECT SUM(x) AS v, AVG(x) AS w {LAST} AND x < 1e308",
        f"SELECT SUM(x * x) AS v {LAST} AND id < {MANY + 4}",
        f"SELECT id {LAST} AND x * x > 5",
        f"SELECT id {LAST} AND id < {MANY + 9} ORDER BY x * x, id",
        f"SELECT x * x AS v, COUNT(*) AS n {LAST} AND id < {MANY + 9} GROUP BY x * x",
        f"SELECT a.id, b.id AS j FROM sky.stars AS a JOIN sky.stars AS b ON a.id = b.id AND a.x * b.y > 1 WHERE a.id >= {MANY}",
        f"SELECT id, SUM(x * x) OVER (ORDER BY id) AS v {LAST} AND id < {MANY + 4}",
        "SELECT COUNT(*) AS n FROM sky.stars WHERE x * x = 0",
    ],
)
def test_answers_are_those_of_the_embedded_engine(engine, relations, text):
    found, wanted = run_with_and_without_indexes(engine, text, relations, (FLUX,))
    assert sort_rows(found) == sort_rows(wanted)


def test_rows_that_were_given_are_not_given_again(engine, relations, monkeypatch):
    monkeypatch.setattr(
        query_execution, "BATCH_BYTES", 65_536
    )  # bytes of a batch: with the usual 2 MB little has been given yet
    bound, asked = plan_query(engine, "SELECT id, x * x AS v FROM sky.stars", (FLUX,))
    execution = asked.execute(bound.literal_values, relations, ExecutionLimits(batch_rows=1000))
    with pytest.raises(
        EvaluationError,
        match=r"after rows had been returned: .* out of the range of DOUBLE PRECISION \((over|under)flow\)",
    ) as error:
        assert sum(batch.num_rows for batch in execution) < MANY
    assert "run the query again" in error.value.remedy
    again = list(asked.execute(bound.literal_values, relations, ExecutionLimits()))
    assert sum(batch.num_rows for batch in again) == MANY + 11


def test_a_limit_of_time_holds_for_both_ways(engine, relations):
    bound, asked = plan_query(engine, f"SELECT id, x * x AS v {LAST}", (FLUX,))
    assert (
        sum(
            batch.num_rows
            for batch in asked.execute(bound.literal_values, relations, ExecutionLimits(deadline=Deadline(60.0)))
        )
        == 11
    )


def test_only_arithmetic_is_watched(engine):
    def has_range_fallback(text):
        return plan_query(engine, text, (FLUX,))[1]._range_fallback is not None

    assert not has_range_fallback(
        "SELECT id, x FROM sky.stars WHERE x > 3 AND id + 1 > 5 AND DISTANCE(POINT(x, y), POINT(3, 4)) < 0.1"
    )
    assert not has_range_fallback("SELECT COUNT(*) AS n, MAX(x) AS m FROM sky.stars")
    assert has_range_fallback("SELECT x - y AS d FROM sky.stars")
    assert not can_overflow(())
