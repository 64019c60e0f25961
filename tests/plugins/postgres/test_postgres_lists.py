"""Long lists of constants (``x IN (..)``) are one array in PostgreSQL, and find what they find in the embedded engine; long texts are refused as there."""

from __future__ import annotations

import json

import pytest
from engine_tables import STARS, build_sky, plan_query, run_query, run_with_and_without_indexes, sort_rows, stage_table
from relations import Relations
from test_postgres_roads import JudgedPostgresEngine

from hven.engines import duckdb
from hven.model.errors import EvaluationError, TooLargeError
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine import dialect
from hven.plugins.postgres.engine.dialect import format_postgres_array
from postgres_cluster import run_server

MANY = 13_000


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
    return Relations({"sky.stars": stage_table(engine, STARS, build_sky(MANY))})


def among(*values: object) -> str:
    return ", ".join(
        "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value) for value in values
    )


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
    found, wanted = run_with_and_without_indexes(
        engine, f"SELECT id FROM sky.stars WHERE {operand} {word} ({LISTS[operand]})", relations
    )
    assert sort_rows(found) == sort_rows(wanted)
    assert found


def test_a_list_stands_beside_other_conditions(engine, relations):
    text = f"SELECT id, CASE WHEN field IN ({LISTS['field']}) THEN 1 ELSE 0 END AS f FROM sky.stars WHERE (id IN ({LISTS['id']}) OR mag > 15) AND DISTANCE(ra, dec, 10, 20) < 9"
    found, wanted = run_with_and_without_indexes(engine, text, relations)
    assert sort_rows(found) == sort_rows(wanted)
    assert found


@pytest.mark.parametrize(("column", "how"), [("ra", "Seq Scan"), ("id", "Index")])
def test_a_list_is_one_constant_of_the_plan(engine, relations, column, how):
    """An index serves it, or PostgreSQL hashes it (EXPLAIN does not say so: it does with nine constants and more)."""
    bound, prepared = plan_query(
        engine.engine, f"SELECT id FROM sky.stars WHERE {column} IN ({among(*range(400))})", (STARS,)
    )
    work = prepared._build_parameterized_query(bound.literal_values, relations)
    assert not work.arguments
    assert not work.is_quick  # so no session keeps it
    with engine.engine.query_pool.borrow_connection() as connection:
        told = connection.execute(f"EXPLAIN (FORMAT JSON) {work.copy_sql}").fetchone()[0]
    assert how in json.dumps(told)


def test_arrays_are_written_as_postgresql_reads_them():
    assert format_postgres_array(('a"b', "c\\d", "", "e\0f")) == ("text", '{"a\\"b","c\\\\d","","e\ufffef"}')
    assert format_postgres_array((1, -(2**63))) == ("bigint", "{1,-9223372036854775808}")
    assert format_postgres_array((1, 2**63)) == ("double precision", "{1.0,9.223372036854776e+18}")
    assert format_postgres_array((0.5, 3)) == ("double precision", "{0.5,3.0}")


LONG, REST = "x" * 20_000, "x" * 12_765
TEXTS = {  # query -> what is said, or nothing
    f"SELECT id, name || '{LONG}' AS t FROM sky.stars WHERE id < 30": "",
    f"SELECT id, name || '{LONG}' || name || name || '{REST}' AS t FROM sky.stars WHERE id < 30": "a text of more than 32768 bytes would be built",
    f"SELECT id, LOWER(UPPER(LOWER(UPPER(LOWER(UPPER(LOWER(UPPER(name)))))))) || '{LONG}' || '{REST}' AS t FROM sky.stars WHERE id < 30": (
        "a text of more than 32768 bytes would be built"
    ),
    "SELECT id, LOWER(UPPER(LOWER(UPPER(LOWER(UPPER(LOWER(UPPER(name)))))))) || name || ':' AS t FROM sky.stars WHERE id < 300": "",
    f"SELECT id, REPLACE(name, 'N', '{LONG}') AS t FROM sky.stars WHERE name LIKE 'NGC%' AND id < 300": "",
    f"SELECT id, REPLACE(name, 'N', '{LONG}{REST}') AS t FROM sky.stars WHERE name LIKE 'NGC 7%'": (
        "bytes would be built; 32768 are the most"
    ),
    "SELECT id, REPLACE(REPLACE(name, 'C', 'NN'), 'N', '') AS t, REPLACE(name, '', 'x') AS e FROM sky.stars WHERE id < 300": "",
    f"SELECT id, REGEXP_REPLACE(name, '[0-9]', '{LONG}') AS t FROM sky.stars WHERE name LIKE 'NGC%'": "bytes would be built; 131072 are the most",
    "SELECT id, REGEXP_REPLACE(name, '([0-9])', '<\\1>') AS t FROM sky.stars WHERE id < 300": "",
    "SELECT id, IVO_STRING_AGG(name, ',') AS t FROM sky.stars WHERE id < 99 GROUP BY id": "",
    "SELECT IVO_STRING_AGG(name, ',') AS t FROM sky.stars WHERE id < 0": "",
}


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_the_length_of_a_text_is_known_before_it_is_built(engine, relations, text):
    if not TEXTS[text]:
        found, wanted = run_with_and_without_indexes(engine, text, relations)
        assert sort_rows(found) == sort_rows(wanted)
        return
    for engine.uses_indexes in (False, True):  # the embedded engine and PostgreSQL
        with pytest.raises(EvaluationError, match=TEXTS[text]):
            run_query(engine, text, relations, (STARS,))


def test_texts_of_rows_are_counted_as_they_are_joined(engine, relations, monkeypatch):
    text = "SELECT IVO_STRING_AGG(name, ',') AS t FROM sky.stars"
    assert len(run_query(engine, text, relations, (STARS,))["t"][0].as_py()) > 50_000
    monkeypatch.setattr(dialect, "MAX_AGGREGATED_TEXT_BYTES", 50_000)
    with pytest.raises(TooLargeError, match="more memory"):
        run_query(engine, text, relations, (STARS,))
