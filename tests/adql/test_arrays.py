"""Elements and functions of arrays: against Python's own lists, with every type, several axes, NULLs, and what is refused."""

from __future__ import annotations

import math
import re
import statistics

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_runner import get_connection, run_query, write_expression
from hven.adql import bind_expression, bind_query, parse_expression, parse_query
from hven.adql.adql_writer import write_adql
from hven.adql.scope import StaticTableCatalogue
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.model.errors import BindError, ParseError
from hven.model.table import Column, Table
from hven.model.types import INT32, INT64, ColumnType
from shared import EXAMPLES_FACTOR

COLUMNS = (
    Column(name="id", type=INT64, required=True),
    Column(name="n", type=INT32),
    Column(name="flux", type=ColumnType("double", "*"), unit="Jy", ucd="phot.flux"),
    Column(name="three", type=ColumnType("float", "3"), unit="mag"),
    Column(name="counts", type=ColumnType("int", "*")),
    Column(name="image", type=ColumnType("short", "2x3")),
    Column(name="cube", type=ColumnType("int", "2x2x*")),
    Column(name="words", type=ColumnType("char", "8x*")),
    Column(name="flags", type=ColumnType("boolean", "*")),
    Column(name="span", type=ColumnType("double", "2", "interval"), unit="d"),
    Column(name="name", type=ColumnType("char", "*")),
    Column(name="place", type=ColumnType("double", "2", "point")),
)
TABLE = Table(schema="s", name="t", columns=COLUMNS)
ROWS = {
    "id": [1, 2, 3, 4],
    "n": [2, 0, None, -1],
    "flux": [[1.5, 2.5, None], [], None, [7.0]],
    "three": [[1.0, 2.0, 3.0], [4.0, None, 6.0], None, [9.0, 8.0, 7.0]],
    "counts": [[3, 1, 2], [2**31 - 1, 2**31 - 1], None, []],
    "image": [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], None, [0, 0, 0, 0, 0, 1]],
    "cube": [list(range(1, 9)), [1, 2, 3, 4], None, []],
    "words": [["a", "bc"], ["d"], None, []],
    "flags": [[True, False], [None], None, []],
    "span": [[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0]],
    "name": ["a", "b", "c", "d"],
    "place": [[1.0, 2.0], [3.0, 4.0], None, [5.0, 6.0]],
}
DATA = pa.table({column.name: pa.array(ROWS[column.name], column.type.arrow) for column in COLUMNS})


def evaluate_expression(expression: str) -> list:
    return run_query(f"SELECT {expression} AS v FROM s.t ORDER BY id", [(TABLE, DATA)]).column("v").to_pylist()


@pytest.mark.parametrize(
    ("expression", "values", "said"),
    [
        ("flux[1]", [1.5, None, None, 7.0], "float64 Jy phot.flux"),
        ("flux[3]", [None] * 4, "float64 Jy phot.flux"),
        ("flux[0]", [None] * 4, "float64 Jy phot.flux"),
        ("flux[n]", [2.5, None, None, None], "float64 Jy phot.flux"),
        ("flux[id]", [1.5, None, None, None], "float64 Jy phot.flux"),
        ("flux[-1]", [None] * 4, "float64 Jy phot.flux"),
        ("flux[1 + 1]", [2.5, None, None, None], "float64 Jy phot.flux"),
        ("flux[NULL]", [None] * 4, "float64 Jy phot.flux"),
        ("flux[99999999999]", [None] * 4, "float64 Jy phot.flux"),
        ("three[2]", [2.0, None, None, 8.0], "float32 mag None"),
        ("three[4]", [None] * 4, "float32 mag None"),
        ("t.three[1] * 2", [2.0, 8.0, None, 18.0], "float64 mag None"),
        ("counts[2] + 1", [2, 2**31, None, None], "int64 None None"),
        ("image[2, 1]", [2, 8, None, 0], "int16 None None"),
        ("image[1, 3]", [5, 11, None, 0], "int16 None None"),
        ("image[2, 3]", [6, 12, None, 1], "int16 None None"),
        ("image[3, 1]", [None] * 4, "int16 None None"),
        ("image[1, 4]", [None] * 4, "int16 None None"),
        ("image[1, 0]", [None] * 4, "int16 None None"),
        ("image[0, 2]", [None] * 4, "int16 None None"),
        ("cube[2, 1, 2]", [6, None, None, None], "int32 None None"),
        ("cube[1, 2, 1]", [3, 3, None, None], "int32 None None"),
        ("words[2]", ["bc", None, None, None], "string[8] None None"),
        ("words[1] || '!'", ["a!", "d!", None, None], "string None None"),
        ("flags[1]", [True, None, None, None], "bool None None"),
        ("span[2]", [2.0, 4.0, None, 6.0], "float64 d None"),
        ("span[2] - span[1]", [1.0, 1.0, None, 1.0], "float64 d None"),
        ("COALESCE(flux, flux)[1]", [1.5, None, None, 7.0], "float64 Jy phot.flux"),
        ("(CASE WHEN id = 1 THEN flux END)[2]", [2.5, None, None, None], "float64 Jy phot.flux"),
        ("arr_length(flux)", [3, 0, None, 1], "int32 None None"),
        ("arr_count(flux)", [2, 0, None, 1], "int32 None None"),
        ("arr_count(three)", [3, 2, None, 3], "int32 None None"),
        ("arr_sum(flux)", [4.0, None, None, 7.0], "float64 Jy phot.flux;arith.sum"),
        ("arr_sum(counts)", [6, 2**32 - 2, None, None], "int64 None None"),
        ("arr_avg(image)", [3.5, 9.5, None, 1 / 6], "float64 None None"),
        ("arr_min(three)", [1.0, 4.0, None, 7.0], "float32 mag None"),
        ("arr_max(counts)", [3, 2**31 - 1, None, None], "int32 None None"),
        ("arr_stddev(three)", [1.0, pytest.approx(2**0.5), None, 1.0], "float64 mag None"),
        ("arr_dot(three, three)", [14.0, None, None, 194.0], "float64 None None"),
        ("arr_dot(three, flux)", [None] * 4, "float64 None None"),
        ("arr_dot(image, image)", [91.0, 559.0, None, 1.0], "float64 None None"),
        ("arr_dot(span, span)", [5.0, 25.0, None, 61.0], "float64 None None"),
        ("arr_sum(NULL)", [None] * 4, "float64 None None"),
        ("CAST(image AS VARCHAR)", ["1 2 3 4 5 6", "7 8 9 10 11 12", None, "0 0 0 0 0 1"], "string None None"),
    ],
)
def test_value(expression, values, said):
    assert evaluate_expression(expression) == values
    (column,) = bind_query(parse_query(f"SELECT {expression} FROM s.t"), StaticTableCatalogue([TABLE])).columns
    assert f"{column.type} {column.unit} {column.ucd}" == said


def test_the_sum_of_an_empty_array_is_null_and_its_unit_follows():
    (column,) = bind_query(
        parse_query("SELECT COALESCE(flux, flux)[1] FROM s.t"), StaticTableCatalogue([TABLE])
    ).columns
    assert column.name == "coalesce_flux_flux_1"


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("SELECT id FROM s.t WHERE flux[1] > 2", [4]),
        ("SELECT id FROM s.t WHERE three[2] IS NULL ORDER BY id", [2, 3]),
        ("SELECT id FROM s.t WHERE three[2] BETWEEN 1 AND 3 AND NOT words[1] LIKE 'x%'", [1]),
        ("SELECT id FROM s.t ORDER BY three[1] DESC", [4, 2, 1, 3]),
        ("SELECT id FROM s.t WHERE flux IS NOT NULL AND arr_length(flux) = 0", [2]),
        ("SELECT MAX(id) AS id FROM s.t GROUP BY image[1, 1] ORDER BY image[1, 1]", [4, 1, 2, 3]),
        ("SELECT id FROM (SELECT id, counts AS c FROM s.t) AS q WHERE c[3] = 2", [1]),
        ("WITH q AS (SELECT id, image FROM s.t) SELECT q.id FROM q JOIN s.t AS u ON q.image[1, 1] = u.image[1, 1] WHERE u.counts[1] = 3", [1]),
        ("SELECT SUM(id) OVER (PARTITION BY flags[1] ORDER BY id) AS id FROM s.t WHERE id < 3 ORDER BY 1", [1, 2]),
        ("SELECT id FROM s.t WHERE flux[(SELECT MIN(u.id) FROM s.t AS u)] = 7", [4]),
    ],
)  # fmt: skip
def test_elements_stand_everywhere(query, ids):
    assert run_query(query, [(TABLE, DATA)]).column("id").to_pylist() == ids


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT name[1] FROM s.t", "column 8: column name is a string and has no elements; use SPLIT_PART"),
        ("SELECT n[1] FROM s.t", "column n is a number and has no elements"),
        ("SELECT place[1] FROM s.t", "column place is a point and has no elements; write COORD1(p) or COORD2(p)"),
        (
            "SELECT image[1] FROM s.t",
            "column 14: an array (column image) has 2 axes (2x3), but 1 is given; write [i, j]",
        ),
        ("SELECT flux[1, 2] FROM s.t", "an array (column flux) has 1 axis (*), but 2 are given; write [i]"),
        ("SELECT flux[1.5] FROM s.t", "the number of an element needs a whole number, but 1.5 is a number"),
        ("SELECT flux['a'] FROM s.t", "needs a whole number, but 'a' is a string"),
        ("SELECT flux[1 FROM s.t", "expected a closing bracket"),
        ("SELECT flux[] FROM s.t", "column 13: square brackets"),
        ("SELECT arr_sum(words) FROM s.t", "argument 1 (arr) must be an array of numbers"),
        ("SELECT arr_sum(n) FROM s.t", "argument 1 (arr) must be an array of numbers, but column n is a number"),
        ("SELECT arr_sum(place) FROM s.t", "must be an array of numbers, but column place is a point"),
        (
            "SELECT id FROM s.t WHERE flux = three",
            "= cannot compare an array (column flux) with an array (column three)",
        ),
        ("SELECT flux + 1 FROM s.t", "operator + needs a number, but column flux is an array"),
        ("SELECT MAX(flux) FROM s.t", "MAX"),
    ],
)
def test_refused(query, words):
    with pytest.raises((BindError, ParseError), match=re.escape(words)):
        bind_query(parse_query(query), StaticTableCatalogue([TABLE]))


def test_expressions_of_descriptors_have_them_too():
    bound = bind_expression(parse_expression("image[2, 3] - flux[1] * 2"), COLUMNS)
    assert str(bound.meta.type) == "float64"
    assert write_adql(parse_expression("image[2, 3] - flux[1]")) == "image[2, 3] - flux[1]"
    text = write_expression(bound, DuckDBDialect())
    relation = get_connection().from_arrow(DATA)
    assert [row[0] for row in relation.set_alias("t0").project(text).fetchall()] == [3.0, None, None, -13.0]


def test_adql_20_has_no_elements():
    with pytest.raises(ParseError, match=r"use ADQL 2\.1"):
        parse_query("SELECT a[1] FROM t", "2.0")


arrays_of = st.lists(st.none() | st.lists(st.none() | st.floats(-1e6, 1e6), max_size=6), min_size=1, max_size=12)


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(arrays_of, st.integers(-3, 8))
def test_functions_as_python_computes_them(rows, place):
    table = Table(
        schema="s",
        name="v",
        columns=(
            Column(name="id", type=INT64),
            Column(name="a", type=ColumnType("double", "*")),
            Column(name="p", type=INT32),
        ),
    )
    data = pa.table(
        {
            "id": range(len(rows)),
            "a": pa.array(rows, pa.list_(pa.float64())),
            "p": pa.array([place] * len(rows), pa.int32()),
        }
    )
    got = run_query(
        "SELECT a[p] AS e, arr_length(a) AS l, arr_count(a) AS c, arr_sum(a) AS s, arr_avg(a) AS m, arr_min(a) AS low, arr_max(a) AS high, arr_stddev(a) AS d, arr_dot(a, a) AS q FROM s.v ORDER BY id",
        [(table, data)],
    ).to_pylist()
    for row, answer in zip(rows, got, strict=True):
        known = [value for value in row or () if value is not None]
        if row is None:
            assert set(answer.values()) == {None}
            continue
        assert answer["e"] == (row[place - 1] if 1 <= place <= len(row) else None)
        assert (answer["l"], answer["c"]) == (len(row), len(known))
        assert (answer["low"], answer["high"]) == (min(known, default=None), max(known, default=None))
        expected = (math.fsum(known), statistics.fmean(known)) if known else (None, None)
        assert (answer["s"], answer["m"]) == (
            pytest.approx(expected[0], abs=1e-6),
            pytest.approx(expected[1], abs=1e-6),
        )
        assert answer["d"] == (pytest.approx(statistics.stdev(known), rel=1e-6, abs=1e-6) if len(known) > 1 else None)
        assert answer["q"] == (
            pytest.approx(float(np.dot(row, row)), rel=1e-9, abs=1e-9) if len(known) == len(row) else None
        )
