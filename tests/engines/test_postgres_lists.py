"""Long lists of constants (``x IN (..)``) are one array in PostgreSQL, and find what they find in the embedded engine."""

from __future__ import annotations

import json

import pytest
from relations import Relations
from rows import STARS, both, plan, sky, stage, unordered
from test_postgres_roads import Judged

from hven.engines import duckdb, postgres
from hven.engines.postgres.dialect import array_of
from postgres import server

MANY = 13_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    directory = tmp_path_factory.mktemp("snapshots")
    with server() as url:
        judge = duckdb.open(directory, memory=256 * 1024**2, threads=1)
        opened = postgres.open(directory, memory=256 * 1024**2, threads=1, url=f"postgresql://{url}", position="healpix")
        yield Judged(opened, judge)
        opened.close()
        judge.close()


@pytest.fixture(scope="module")
def relations(engine):
    return Relations({"sky.stars": stage(engine, STARS, sky(MANY))})


def among(*values: object) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value) for value in values)


LISTS = {
    "id": among(*range(0, 90_000, 7)),  # a third of the rows and more: streamed
    "id + 0": among(*range(0, 900, 2), 2**62),
    "field": among(*range(-3, 300)),
    "mag": among(*(number / 10 for number in range(60, 130))),
    "colour": among(*(number / 4 for number in range(-90, 90))),
    "mag + field": among(*(number / 10 for number in range(60, 230)), 1e300),
    "name": among("a", "a'b", "日本", "", "NULL", "\\", '"', "{,}", *(f"NGC {number}" for number in range(200, 300))),
    "LOWER(name)": among(*(f"ngc {number}" for number in range(200, 7200))),
}


@pytest.mark.parametrize("operand", LISTS)
@pytest.mark.parametrize("word", ["IN", "NOT IN"])
def test_answers_are_those_of_the_embedded_engine(engine, relations, operand, word):
    found, wanted = both(engine, f"SELECT id FROM sky.stars WHERE {operand} {word} ({LISTS[operand]})", relations)
    assert unordered(found) == unordered(wanted)
    assert found


def test_a_list_stands_beside_other_conditions(engine, relations):
    text = f"SELECT id, CASE WHEN field IN ({LISTS['field']}) THEN 1 ELSE 0 END AS f FROM sky.stars WHERE (id IN ({LISTS['id']}) OR mag > 15) AND DISTANCE(ra, dec, 10, 20) < 9"
    found, wanted = both(engine, text, relations)
    assert unordered(found) == unordered(wanted)
    assert found


@pytest.mark.parametrize(("column", "how"), [("ra", "Seq Scan"), ("id", "Index")])
def test_a_list_is_one_constant_of_the_plan(engine, relations, column, how):
    """An index serves it, or PostgreSQL hashes it (EXPLAIN does not say so: it does with nine constants and more)."""
    bound, prepared = plan(engine.engine, f"SELECT id FROM sky.stars WHERE {column} IN ({among(*range(400))})", (STARS,))
    work = prepared._work(bound.slots, relations)
    assert not work.arguments
    assert not work.quick  # so no session keeps it
    with engine.engine.askers.borrowed() as connection:
        told = connection.execute(f"EXPLAIN (FORMAT JSON) {work.streamed}").fetchone()[0]
    assert how in json.dumps(told)


def test_arrays_are_written_as_postgresql_reads_them():
    assert array_of(('a"b', "c\\d", "", "e\0f")) == ("text", '{"a\\"b","c\\\\d","","e\ufffef"}')
    assert array_of((1, -(2**63))) == ("bigint", "{1,-9223372036854775808}")
    assert array_of((1, 2**63)) == ("double precision", "{1.0,9.223372036854776e+18}")
    assert array_of((0.5, 3)) == ("double precision", "{0.5,3.0}")
