"""Watermarks in the languages of sources: what SQLite finds by the condition is what the expression says in Python, and never less."""

from __future__ import annotations

import datetime as dt
import math
import sqlite3

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.model import plugins
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow, parse_type
from hven.sources import SourceContext
from hven.sources._reading.watermarks import parse_watermark
from plugin_needs import require_plugins

COLUMNS = [
    Column(name="a", type=parse_type("int64")),
    Column(name="b", type=parse_type("int32")),
    Column(name="x", type=parse_type("float64")),
    Column(name="Y z", type=parse_type("float64")),
    Column(name="f", type=parse_type("float32")),
    Column(name="t", type=build_type_from_arrow(pa.timestamp("us"))),
    Column(name="u", type=build_type_from_arrow(pa.timestamp("us"))),
    Column(name="s", type=parse_type("string")),
    Column(name="ok", type=parse_type("bool")),
    Column(name="list", type=parse_type("float64[*]")),
]


def sums(depth=2):
    """Expressions as text, and as functions of a row; None is null."""
    leaf = st.one_of(
        st.sampled_from([("a", lambda row: row["a"]), ("x", lambda row: row["x"]), ('"Y z"', lambda row: row["Y z"])]),
        st.integers(0, 9).map(lambda number: (str(number), lambda _: number)),
        st.sampled_from([0.5, 2.25]).map(lambda number: (repr(number), lambda _: number)),
    )
    if not depth:
        return leaf

    def combine_pair(pair):
        (left, left_of), (right, right_of), sign = pair

        def value(row):
            one, other = left_of(row), right_of(row)
            if one is None or other is None:
                return None
            return one + other if sign == "+" else one - other if sign == "-" else one * other

        return f"({left} {sign} {right})", value

    return st.one_of(leaf, st.tuples(sums(depth - 1), sums(depth - 1), st.sampled_from("+-*")).map(combine_pair))


def choices():
    """GREATEST, LEAST, COALESCE of sums, which leave nulls out."""
    words = {
        "GREATEST": lambda values: max((one for one in values if one is not None), default=None),
        "LEAST": lambda values: min((one for one in values if one is not None), default=None),
        "COALESCE": lambda values: next((one for one in values if one is not None), None),
    }

    def build_choice(drawn):
        name, parts = drawn
        return f"{name}({', '.join(text for text, _ in parts)})", lambda row: words[name](
            [value(row) for _, value in parts]
        )

    return st.one_of(
        sums(), st.tuples(st.sampled_from(sorted(words)), st.lists(sums(1), min_size=2, max_size=3)).map(build_choice)
    )


ROWS = [
    {"a": a, "x": x, "Y z": y}
    for a in (None, -3, 0, 4, 2**18)
    for x in (None, -1.5, 0.0, 0.1, 1e10)
    for y in (None, 0.30000000000000004, 7.0)
]


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    require_plugins("sources", "sql")
    directory = tmp_path_factory.mktemp("marks")
    with sqlite3.connect(directory / "a.db") as connection:
        connection.execute('CREATE TABLE t (number INTEGER PRIMARY KEY, a INTEGER, x REAL, "Y z" REAL)')
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, ?, ?)", [(number, *row.values()) for number, row in enumerate(ROWS)]
        )
    connection.close()
    sql = plugins.load_plugin("sources", "sql")
    return sql.open(sql.Options(file="a.db", table="t"), SourceContext(directory=directory))


@settings(max_examples=300)
@given(choice=choices(), at=st.sampled_from(ROWS))
def test_rows_that_are_newer_or_unknown(database, choice, at):
    text, value = choice
    last = value(at)
    if not any(name in text for name in ("a", "x", "Y")) or last is None:
        return
    assert database.can_filter_by(text)
    found = {
        number
        for batch in database.select_since(text, last).read_batches(["number"])
        for number in batch.column(0).to_pylist()
    }
    kinds = [value(row) for row in ROWS]
    wanted = {number for number, one in enumerate(kinds) if one is None or one >= last}
    assert wanted <= found
    scale = max(abs(last), 1e-300)
    # what comes besides is hardly older, or something in it is unknown
    for number in found - wanted:
        assert None in ROWS[number].values() or last - kinds[number] <= 1e-9 * scale + 1e-9, (text, ROWS[number])


@pytest.mark.parametrize(
    "expression",
    [
        "ok", "list", "nowhere", "a + nowhere", "a || s", "a + s", "a + t", "GREATEST(a, t)", "LOWER(s)", "parse_time(s)", "a / b", "x + f", "t +", "1",
        "GREATEST(a, x) + 1", "main.a", '"A"', "", "CASE WHEN a > 1 THEN a END", "-'2'",
    ],
)  # fmt: skip
def test_what_cannot_be_sent(expression):
    assert parse_watermark(expression, COLUMNS) is None


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("t", "2026"),
        ("s", 5),
        ("a", "x"),
        ("a", 2**63),
        ("x", math.nan),
        ("a", True),
        ("t", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)),
    ],
)
def test_values_of_another_kind_are_refused(expression, value):
    with pytest.raises(SourceError, match=f"the watermark {expression!r} has the type"):
        parse_watermark(expression, COLUMNS).write_condition(value, None)
