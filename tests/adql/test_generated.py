"""Queries made at random from typed parts: whatever the binder takes, the engine runs, and the answer has the types that were said.

Where another engine runs them (`adql_runner.OTHER_RUNNERS`), its answer must have the embedded one's rows.
"""

from __future__ import annotations

import math
import re
from functools import cache

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adql_runner import OTHER_RUNNERS, run_in_duckdb, run_query
from adql_sky import CATALOGUE, ROWS
from hven.adql import bind_query, parse_query
from hven.model.errors import BindError, EvaluationError
from shared import EXAMPLES_FACTOR

NUMBERS = ["s.id", "s.ra", "s.dec", "s.rmag", "s.flag", "p.flux", "p.id", "1", "2.5", "0", "NULL", "7", "1e3"]
TEXTS = ["s.name", "'Vega'", "'a''b'", "''", "NULL", "s.footprint"]
TIMES = ["s.seen", "CAST('2020-06-01' AS TIMESTAMP)"]
POINTS = ["POINT(s.ra, s.dec)", "POINT('ICRS', 10, 20)", "CENTROID(CIRCLE(1, 2, 3))", "CAST('1 2' AS POINT)"]


@cache
def numbers(deep):
    inner = st.deferred(lambda: numbers(deep - 1)) if deep else st.sampled_from(NUMBERS)
    if not deep:
        return inner
    text, point, condition = texts(deep - 1), points(deep - 1), conditions(deep - 1)
    one = [
        "ABS",
        "CEILING",
        "FLOOR",
        "DEGREES",
        "RADIANS",
        "LOG",
        "LOG10",
        "SQRT",
        "ROUND",
        "TRUNCATE",
        "ACOS",
        "ASIN",
        "ATAN",
        "COS",
        "SIN",
        "sign",
    ]
    return st.one_of(
        st.sampled_from(NUMBERS),
        st.builds("({} {} {})".format, inner, st.sampled_from("+-*/%"), inner),
        st.builds("{}({})".format, st.sampled_from(one), inner),
        st.builds("MOD({}, {})".format, inner, inner),
        st.builds("ATAN2({}, {})".format, inner, inner),
        st.builds("ROUND({}, {})".format, inner, st.integers(0, 3)),
        st.builds("COALESCE({}, {})".format, inner, inner),
        st.builds("greatest({}, {})".format, inner, inner),
        st.builds("(- {})".format, inner),
        st.builds("CAST({} AS DOUBLE PRECISION)".format, inner),
        st.builds("length({})".format, text),
        st.builds("DISTANCE({}, {})".format, point, point),
        st.builds("COORD1({})".format, point),
        st.builds("CONTAINS({}, CIRCLE({}, {}))".format, point, point, inner),
        st.builds("INTERSECTS(CIRCLE({}, 3), CIRCLE({}, 2))".format, point, point),
        st.builds("ivo_hashlist_has({}, {})".format, text, text),
        st.builds("ivo_nocasematch({}, {})".format, text, text),
        st.builds("ivo_to_mjd({})".format, st.sampled_from([*TIMES, "'2020-01-01T10:00:00'", "NULL"])),
        st.builds("ivo_interval_overlaps({}, {}, {}, {})".format, inner, inner, inner, inner),
        st.builds("CASE WHEN {} THEN {} ELSE {} END".format, condition, inner, inner),
        st.builds("CASE {} WHEN {} THEN {} END".format, inner, inner, inner),
        st.just("(SELECT MAX(flux) FROM photometry AS i WHERE i.id = s.id)"),
    )


@cache
def texts(deep):
    if deep <= 0:
        return st.sampled_from([text for text in TEXTS if text != "s.footprint"])
    inner, number = st.deferred(lambda: texts(deep - 1)), st.deferred(lambda: numbers(deep - 1))
    return st.one_of(
        st.sampled_from([text for text in TEXTS if text != "s.footprint"]),
        st.builds("({} || {})".format, inner, inner),
        st.builds(
            "{}({})".format,
            st.sampled_from(["LOWER", "UPPER", "ivo_hasword('a b', "]).filter(lambda name: "(" not in name),
            inner,
        ),
        st.builds("COALESCE({}, {})".format, inner, inner),
        st.builds("CAST({} AS VARCHAR)".format, number),
        st.builds("CAST({} AS {})".format, inner, st.sampled_from(["CHAR(4)", "VARCHAR(3)", "VARCHAR"])),
        st.builds("CAST({} AS VARCHAR)".format, st.sampled_from(TIMES)),
        st.builds("replace({}, {}, 'x')".format, inner, inner),
        st.builds("CASE WHEN {} THEN {} END".format, st.deferred(lambda: conditions(deep - 1)), inner),
    )


@cache
def points(deep):
    if deep <= 0:
        return st.sampled_from(POINTS)
    return st.one_of(
        st.sampled_from(POINTS),
        st.builds(
            "POINT({}, {})".format, st.sampled_from(["s.ra", "10.5", "NULL"]), st.sampled_from(["s.dec", "-5", "NULL"])
        ),
    )


@cache
def conditions(deep):
    number, text = numbers(max(deep - 1, 0)), texts(max(deep - 1, 0))
    compare = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
    plain = st.one_of(
        st.builds("{} {} {}".format, number, compare, number),
        st.builds("{} {} {}".format, text, compare, text),
        st.builds("s.seen {} {}".format, compare, st.sampled_from([*TIMES, "'2020-07-01'", "'2020-07-01T01:02:03Z'"])),
        st.builds("{} BETWEEN {} AND {}".format, number, number, number),
        st.builds("{} {} ({}, {})".format, number, st.sampled_from(["IN", "NOT IN"]), number, number),
        st.builds("{} {} {}".format, text, st.sampled_from(["LIKE", "NOT LIKE", "ILIKE"]), text),
        st.builds("{} IS {}NULL".format, st.sampled_from(["s.name", "s.ra", "p.flux"]), st.sampled_from(["", "NOT "])),
        st.builds("s.variable = {}".format, st.sampled_from(["1", "'false'", "s.variable", "NULL"])),
        st.builds(
            "1 = CONTAINS({}, {})".format,
            points(1),
            st.sampled_from(
                [
                    "CIRCLE(10, 20, 1)",
                    "POLYGON(9, 19, 11, 19, 11, 21, 9, 21)",
                    "BOX(10, 20, 2, 2)",
                    "s.footprint",
                    "REGION('CIRCLE 10 20 1')",
                ]
            ),
        ),
        st.builds("0 = INTERSECTS(s.footprint, CIRCLE({}, 1))".format, points(1)),
        st.builds("EXISTS (SELECT * FROM labels AS l WHERE l.id = s.id AND {} > 1)".format, number),
        st.just("s.id IN (SELECT id FROM labels)"),
    )
    if deep <= 0:
        return plain
    inner = st.deferred(lambda: conditions(deep - 1))
    return st.one_of(
        plain,
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    )


value = st.one_of(numbers(2), texts(2), points(1), st.sampled_from(TIMES))
source = st.sampled_from([
    "stars AS s JOIN photometry AS p ON s.id = p.id", "stars AS s LEFT JOIN photometry AS p ON s.id = p.id AND p.flux > 1", "photometry AS p RIGHT JOIN stars AS s USING (id)",
    "stars AS s, photometry AS p", "(SELECT * FROM stars WHERE id < 5) AS s FULL JOIN (SELECT id, flux FROM photometry) AS p ON s.id = p.id",
])  # fmt: skip


@st.composite
def plain(draw):
    items = ", ".join(
        f"{item} AS c{number}" for number, item in enumerate(draw(st.lists(value, min_size=1, max_size=3)))
    )
    where = draw(st.one_of(st.just(""), conditions(2).map(" WHERE {}".format)))
    order = draw(st.one_of(st.just(""), numbers(1).map(" ORDER BY ABS({})".format), st.just(" ORDER BY 1 DESC, c0")))
    top = draw(st.sampled_from(["", "TOP 3 ", "DISTINCT "]))
    return f"SELECT {top}{items} FROM {draw(source)}{where}{'' if 'DISTINCT' in top else order}"


@st.composite
def draw_grouped_query(draw):
    keys = draw(
        st.lists(
            st.one_of(numbers(1), texts(1)).filter(
                lambda text: (
                    ("SELECT" not in text and not text.lstrip("(- ").replace(".", "").replace(")", "").isalnum())
                    or text[:2] in {"s.", "p."}
                )
            ),
            min_size=1,
            max_size=2,
        )
    )
    arguments = draw(st.lists(numbers(1), min_size=1, max_size=2))
    called = draw(st.sampled_from(["SUM", "AVG", "MIN", "MAX", "COUNT", "stddev", "median", "COUNT(DISTINCT "]))
    aggregates = ", ".join(
        f"{called}{'' if '(' in called else '('}{argument}) AS a{number}" for number, argument in enumerate(arguments)
    )
    items = ", ".join(f"{item} AS k{number}" for number, item in enumerate(keys))
    having = draw(
        st.sampled_from(["", " HAVING COUNT(*) > 0", " HAVING a0 > 0" if called in {"SUM", "AVG", "COUNT"} else ""])
    )
    order = draw(st.sampled_from(["", " ORDER BY k0", " ORDER BY a0 DESC", " ORDER BY COUNT(*), 1"]))
    by = ", ".join(draw(st.sampled_from([keys, [f"k{number}" for number in range(len(keys))]])))
    return f"SELECT {items}, {aggregates} FROM {draw(source)} GROUP BY {by}{having}{order}"


@st.composite
def draw_set_query(draw):
    kind = draw(st.sampled_from([numbers(1), texts(1)]))
    op = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]))
    return f"SELECT {draw(kind)} AS x FROM {draw(source)} {op} SELECT {draw(kind)} FROM {draw(source)} ORDER BY x"


# what is computed at run time may be impossible for the values that there are
IMPOSSIBLE = (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.InvalidInputException, EvaluationError)


def check(query):
    try:
        bind_query(parse_query(query), CATALOGUE)
    except BindError as error:
        if re.search(r"the (radius|latitude) of a \w+ cannot be ", str(error)):  # a constant that no shape has
            return
        raise
    try:
        answer = run_query(
            query, ROWS, catalogue=CATALOGUE
        )  # compares names and types of the answer with what was said
    except IMPOSSIBLE:
        bind_query(parse_query(query), CATALOGUE)
    else:
        if OTHER_RUNNERS and "TOP" not in query:
            agree(query, answer)
    run_query(query, ROWS, catalogue=CATALOGUE, lenient=True) if "GROUP" not in query else None


def agree(query, answer):
    """See that both engines found the same rows; what one may refuse to compute is no answer to compare with."""
    try:
        judge = run_in_duckdb(bind_query(parse_query(query), CATALOGUE), ROWS)
    except IMPOSSIBLE:
        return
    assert judge.schema.names == answer.schema.names
    ours, theirs = (
        sorted(zip(*(column.to_pylist() for column in one.columns), strict=True), key=order) for one in (judge, answer)
    )
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a == b or (isinstance(a, float) and b == pytest.approx(a, rel=1e-6, abs=1e-9, nan_ok=True)), (
                query,
                one,
                other,
            )


def order(row):
    """Order rows by what both engines agree about; rows that are alike to five digits, by more of them."""
    return [
        (cell is None, isinstance(cell, float) and math.isnan(cell), round_cell(cell, digits))
        for digits in (5, 9)
        for cell in row
    ]


def round_cell(cell, digits):
    if isinstance(cell, float):
        return 0.0 if math.isnan(cell) else float(f"{cell:.{digits}g}") + 0.0
    return "" if cell is None else cell


@settings(max_examples=30 * EXAMPLES_FACTOR, deadline=None)
@example(
    "SELECT name || NULL AS a, NULL || name AS b, name || CASE WHEN 1 = 2 THEN 'a' END AS c, name || UPPER(NULL) AS d FROM stars"
)  # numbers, says DuckDB
@example("SELECT CAST((s.name || CAST(NULL AS VARCHAR)) AS VARCHAR) AS a FROM stars AS s")
@given(plain())
def test_plain_queries(query):
    check(query)


@settings(max_examples=25 * EXAMPLES_FACTOR, deadline=None)
@given(draw_grouped_query())
def test_grouped_queries(query):
    check(query)


@settings(max_examples=20 * EXAMPLES_FACTOR, deadline=None)
@given(draw_set_query())
def test_set_operations(query):
    check(query)
