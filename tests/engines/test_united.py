"""What is put together of a row's columns, and what views and unions give by the indexes of their tables, is what DuckDB makes of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import (
    CIRCLES,
    STARS,
    HalfVisiblePolicy,
    plan_query,
    run_with_and_without_indexes,
    sort_rows,
    stage_table,
)
from hypothesis import given
from hypothesis import strategies as st
from test_roads import conditions, quick

from hven.engines import ExecutionLimits
from hven.model.table import Column, Table
from hven.model.types import STRING, ColumnType

ITEMS = (
    "id, 'x' || name AS a, 2 AS b, 1.5 AS c, 'word' AS d",
    "CAST(id AS VARCHAR) || '/' || note AS a, CAST(NULL AS VARCHAR) AS b, CAST(3 AS SMALLINT) AS c",
    "'https://a.example/x?ID=' || URL_ENCODE(name) AS a, URL_ENCODE(CAST(field AS VARCHAR)) AS b",
    "CASE WHEN field > 3 AND name LIKE '%a%' THEN 1 ELSE 0 END AS a, CASE WHEN mag < 9 THEN name WHEN id > 100 THEN 'far' END AS b",
    "mag * 2.5 AS a, 100.0 - mag AS b, mag / 3600.0 AS c, colour * 2.0 AS d, id * 0.5 AS e, 2.0 / mag AS f",
    "id, name || note AS a, NULL AS b",
)
UNION = """(SELECT 'one' AS kind, id AS n, name, 1 AS grade, 'ivo://a/b?' || CAST(id AS VARCHAR) AS did, ra, dec, mag * 2.0 AS twice FROM sky.stars
    UNION ALL SELECT 'two', id, note, 2, CAST(NULL AS VARCHAR), ra, dec, mag FROM sky.stars) AS v"""


@quick
@given(condition=conditions(), items=st.sampled_from(ITEMS))
def test_values(engine, relations, condition, items):
    indexed, scanned = run_with_and_without_indexes(
        engine, f"SELECT {items} FROM sky.stars WHERE {condition}", relations
    )
    assert sort_rows(indexed) == sort_rows(scanned)


@quick
@given(
    condition=st.sampled_from(
        [
            "CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1)) = 1",
            "CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1)) = 1 AND kind IN ('one', 'three')",
            "CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.02)) = 1 AND grade <> 1 AND name IS NOT NULL",
            "n IN (3, 6, 9, 12) AND did IS NULL",
            "n = 30 AND twice > 3",
            "n BETWEEN 30 AND 99 AND did = 'ivo://a/b?33'",
            "n = 3 AND kind = 'three'",
        ]
    ),
    items=st.sampled_from(["*", "n, kind, did", "grade, name", "twice, ra, dec"]),
    top=st.sampled_from(["", "TOP 1000000 "]),
)
def test_unions(engine, relations, condition, items, top):
    indexed, scanned = run_with_and_without_indexes(
        engine, f"SELECT {top}{items} FROM {UNION} WHERE {condition}", relations
    )
    assert sort_rows(indexed) == sort_rows(scanned)


@pytest.mark.parametrize(
    ("text", "small"),
    [
        (f"SELECT kind, did FROM {UNION} WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1)) = 1", True),
        (f"SELECT * FROM {UNION} WHERE n = 3", True),
        (f"SELECT TOP 3 * FROM {UNION} WHERE n < 300", True),
        (f"SELECT * FROM {UNION} WHERE n = 3 ORDER BY did", False),
        (f"SELECT DISTINCT kind FROM {UNION} WHERE n = 3", False),
        (f"SELECT * FROM {UNION} WHERE name = 'zz' OR kind = 'one'", False),
        (f"SELECT * FROM {UNION}", False),
        ("SELECT 'a' || name AS a FROM sky.stars WHERE id = 3", True),
        ("SELECT 'a' || name AS a FROM sky.stars", False),
    ],
)
def test_small(engine, relations, text, small):
    bound, prepared = plan_query(engine, text, (STARS,))
    execution = prepared.execute(bound.literal_values, relations, ExecutionLimits())
    assert (prepared.is_quick and execution.small) is small
    execution.close()


def test_limits_and_windows_cut_a_union(engine, relations):
    every = f"SELECT {{}}n FROM {UNION} WHERE n < 300"
    bound, prepared = plan_query(engine, every.format(""), (STARS,))

    def count(limit: int | None) -> int:
        return sum(
            batch.num_rows
            for batch in prepared.execute(bound.literal_values, relations, ExecutionLimits(row_limit=limit))
        )

    whole = count(None)
    assert whole == 200
    assert [count(limit) for limit in (0, 1, 150, 1000)] == [1, 2, 151, 200]  # one more tells that there are more
    for top, wanted in ((0, 0), (7, 7), (130, 130), (500, 200)):
        bound, prepared = plan_query(engine, every.format(f"TOP {top} "), (STARS,))
        assert (
            sum(batch.num_rows for batch in prepared.execute(bound.literal_values, relations, ExecutionLimits()))
            == wanted
        )


def test_long_texts_and_odd_numbers_are_left_to_duckdb(engine, tmp_path):
    circle = ColumnType("double", "3", "circle")
    table = Table(
        schema="odd",
        name="odd",
        columns=(Column(name="id", type=STRING), Column(name="text", type=STRING), Column(name="c", type=circle)),
        primary=("id",),
    )
    numbers = [[10.0, -0.0, 1e-5], [1e15, 1e16, 1e22], [0.1, 123456789.123, 1e-4], [359.9999999, 2 / 3, 1e-300]]
    rows = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "text": ["M 31/é&%", "x" * 2000, "", "日本"],
            "c": pa.array([*numbers[:3], None], circle.arrow),
        }
    ).cast(table.arrow_schema)
    relations = {"odd.odd": stage_table(engine, table, rows)}
    for key in "abcd":
        text = f"SELECT URL_ENCODE(text) AS u, 'Circle ICRS ' || CAST(c AS VARCHAR) AS s, text || id AS t, 1 AS one FROM odd.odd WHERE id = '{key}'"
        indexed, scanned = run_with_and_without_indexes(engine, text, relations, (table,))
        assert indexed == scanned
        assert len(indexed) == 1
    assert np.isclose(float(indexed[0][3]), 1)


def test_places_of_rows_without_a_region(engine):
    region = ColumnType("double", "3", "circle")
    columns = (
        Column(name="id", type=STRING),
        Column(name="ra"),
        Column(name="dec"),
        Column(name="c", type=region, indexed=True),
    )
    table = Table(schema="odd", name="places", columns=columns, primary=("id",), position=("ra", "dec"))
    for circles in ([[10.0, 20.0, 0.1], None, [10.2, 20.0, 0.1]], [None, None, None]):
        rows = pa.table(
            {
                "id": ["a", "b", "c"],
                "ra": [10.0, 10.1, 50.0],
                "dec": [20.0, 20.0, 20.0],
                "c": pa.array(circles, region.arrow),
            }
        )
        view = "(SELECT id, c, ra, dec, 'image' AS kind FROM odd.places) AS v"
        shape = "CIRCLE(10, 20, 0.15)"
        text = f"SELECT id, kind FROM {view} WHERE (1 = INTERSECTS(c, {shape}) OR (c IS NULL AND 1 = CONTAINS(POINT(ra, dec), {shape})))"
        indexed, scanned = run_with_and_without_indexes(
            engine, text, {"odd.places": stage_table(engine, table, rows.cast(table.arrow_schema))}, (table,)
        )
        assert sort_rows(indexed) == sort_rows(scanned)
        assert len(indexed) >= 2


def test_a_row_filter_holds_in_a_union(engine, relations):
    from hven.adql import bind_query, parse_query
    from hven.adql.scope import StaticTableCatalogue
    from hven.site.auth._access_control import Principal, apply_access_control

    text = f"SELECT n, kind FROM {UNION} WHERE n BETWEEN 30 AND 600"
    bound, _ = apply_access_control(
        bind_query(parse_query(text), StaticTableCatalogue([STARS, CIRCLES])), Principal(), [HalfVisiblePolicy()]
    )
    prepared = engine.plan_query(bound)
    first, second = (  # the second time its rows are known
        [
            row["n"]
            for batch in prepared.execute(bound.literal_values, relations, ExecutionLimits())
            for row in batch.to_pylist()
        ]
        for _ in range(2)
    )
    whole = [one for one, _ in run_with_and_without_indexes(engine, "SELECT id, field FROM sky.stars WHERE id BETWEEN 30 AND 600 AND field > 10", relations)[1]]  # fmt: skip
    assert sorted(first) == sorted(second) == sorted(whole * 2)
    assert whole
