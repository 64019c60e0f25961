"""Rows in memory: the road without DuckDB gives the rows that DuckDB gives, and lasting ones are prepared once."""

from __future__ import annotations

import gc
import math

import pyarrow as pa
import pytest
from engine_tables import plan_query, run_with_and_without_indexes
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hven.engines import ExecutionLimits, MemoryRelation
from hven.engines.duckdb.query_execution import ArrowExecution
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, STRING, TIMESTAMP
from shared import EXAMPLES_FACTOR

WORDS = (
    "",
    "a",
    "A",
    "ab",
    "Abc",
    "tycho.main",
    "tycho_main",
    "TYCHO.MAIN",
    "50%",
    "a\\b",
    "a\nb",
    "Ä",
    "ä",
    "ß",
    "\u017f",
    "İ",
    "\u212a",
    "日本",
    "a\u0301",
)
WORDY = Table(
    schema="TAP_SCHEMA",
    name="words",
    columns=(
        Column(name="plain", type=STRING), Column(name="ascii", type=STRING), Column(name="n", type=INT32), Column(name="big", type=INT64),
        Column(name="small", type=FLOAT32), Column(name="x", type=FLOAT64), Column(name="seen", type=TIMESTAMP),
    ),
)  # fmt: skip
NULL = st.none()

rows = st.lists(
    st.fixed_dictionaries(
        {
            "plain": NULL | st.sampled_from(WORDS),
            "ascii": NULL | st.sampled_from([word for word in WORDS if word.isascii()]),
            "n": NULL | st.integers(-3, 3),
            "big": NULL | st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1]),
            "small": NULL | st.floats(width=32, allow_nan=True),
            "x": NULL | st.floats() | st.sampled_from([0.0, -0.0, 1.5]),
            "seen": NULL | st.integers(0, 10**15),
        }
    ),
    max_size=12,
)


def text(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"


@st.composite
def conditions(draw) -> str:
    column = draw(st.sampled_from(["plain", "ascii"]))
    column = draw(st.sampled_from(["{}", "{}", "LOWER({})", "UPPER({})"])).format(column)
    word = st.sampled_from(WORDS).map(text)
    patterns = st.sampled_from(
        [*WORDS, "%", "_", "%a%", "a%", "%b", "_b", "tycho_main", "tycho.%", "%\\%", "%.%", "%\n%", "[a]", "__%"]
    ).map(text)
    number = st.integers(-3, 3) | st.sampled_from([0.5, 2**24 + 1, 2**53 + 1, 2**62, 1e300, -1.5, 0.1])
    kind = draw(
        st.sampled_from(
            ["like", "like", "ilike", "compare", "in", "number", "mod", "between", "null", "and", "or", "not"]
        )
    )
    if kind in {"like", "ilike"}:
        return f"{column} {draw(st.sampled_from(['', 'NOT ']))}{kind.upper()} {draw(patterns)}"
    if kind == "compare":
        return f"{column} {draw(st.sampled_from(['=', '<>', '<', '>=']))} {draw(word)}"
    if kind == "in":
        return f"{column} {draw(st.sampled_from(['', 'NOT ']))}IN ({', '.join(draw(st.lists(word, min_size=1, max_size=4)))})"
    name = draw(st.sampled_from(["n", "big", "small", "x"]))
    if kind == "mod":
        whole = draw(st.sampled_from(["MOD(n, {})", "MOD(big, {})", "big % {}"])).format(
            draw(st.sampled_from([1, 2, 3, 7, 2**40]))
        )
        return f"{whole} {draw(st.sampled_from(['=', '<>', '<', '>=']))} {draw(st.integers(-3, 3))}"
    if kind == "number":
        return f"{name} {draw(st.sampled_from(['=', '<>', '<', '<=', '>', '>=']))} {draw(number)!r}"
    if kind == "between":
        return f"{name} {draw(st.sampled_from(['', 'NOT ']))}BETWEEN {draw(number)!r} AND {draw(number)!r}"
    if kind == "null":
        return f"{draw(st.sampled_from([name, 'plain', 'seen']))} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
    if kind == "not":
        return f"NOT ({draw(conditions())})"
    return f"({draw(conditions())}) {kind.upper()} ({draw(conditions())})"


@settings(
    max_examples=150 * EXAMPLES_FACTOR,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(
    data=rows,
    where=st.none() | conditions(),
    what=st.sampled_from(["*", "plain, n", "COUNT(*) AS c", "x, x AS y, small"]),
    order=st.sampled_from(["", "plain", "n DESC", "x", "small DESC", "ascii, n", "seen"]),
    top=st.sampled_from(["", "TOP 0 ", "TOP 3 "]),
    lasting=st.booleans(),
)
def test_both_roads_agree(engine, data, where, what, order, top, lasting):
    relations = {
        WORDY.qualified_name: MemoryRelation(pa.Table.from_pylist(data, WORDY.arrow_schema), is_reused=lasting)
    }
    query = f"SELECT {top}{what} FROM TAP_SCHEMA.words"
    if where is not None:
        query += f" WHERE {where}"
    if order and not what.startswith("COUNT"):
        query += f" ORDER BY {order}"
    direct, duck = run_with_and_without_indexes(engine, query, relations, (WORDY,))
    if "ORDER BY" not in query:
        assert direct == duck  # both keep the order of the rows
    else:  # equal keys come in any order; which of them TOP cuts off is free, too
        assert len(direct) == len(duck)
        if not top:
            assert sorted(map(repr, direct)) == sorted(map(repr, duck))
        names = [name for name in ("plain", "n", "x", "small") if order.split()[0] == name and name in what]
        at = [name.strip() for name in what.split(",")].index(names[0]) if names else None
        if at is not None:
            assert [row[at] for row in direct] == [row[at] for row in duck]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT plain, n FROM TAP_SCHEMA.words WHERE plain = 'a'",
        "SELECT * FROM TAP_SCHEMA.words",
        "SELECT TOP 1 * FROM TAP_SCHEMA.words",
        "SELECT COUNT(*) AS nr FROM TAP_SCHEMA.words WHERE n > 1",
        "SELECT plain FROM TAP_SCHEMA.words WHERE LOWER(ascii) LIKE '%a%' AND n IN (1, 2) ORDER BY plain, n DESC",
        "SELECT plain FROM TAP_SCHEMA.words WHERE ascii ILIKE '%A%' OR plain IS NULL",
    ],
)
def test_what_clients_ask_of_tap_schema_needs_no_duckdb(engine, query):
    held = pa.Table.from_pylist(
        [{"plain": word, "ascii": "aB", "n": number, "x": math.nan} for number, word in enumerate(WORDS)],
        WORDY.arrow_schema,
    )
    bound, prepared = plan_query(engine, query, (WORDY,))
    assert prepared.is_quick
    execution = prepared.execute(
        bound.literal_values,
        {WORDY.qualified_name: MemoryRelation(held, is_reused=True)},
        ExecutionLimits(row_limit=100),
    )
    assert isinstance(execution, ArrowExecution)
    assert execution.small
    assert sum(batch.num_rows for batch in execution)


def test_what_was_made_of_lasting_rows_goes_with_them(engine):
    gc.collect()  # what other tests left goes now, and not in between
    before = len(engine._cleaned_tables)
    held = pa.table({"n": [1.0, math.nan]})
    first, again = (
        engine.get_random_access_rows(MemoryRelation(held, is_reused=True)),
        engine.get_random_access_rows(MemoryRelation(held, is_reused=True)),
    )
    assert first is again
    assert first.batches[0].column(0).null_count == 1
    assert engine.get_random_access_rows(MemoryRelation(held)) is not engine.get_random_access_rows(
        MemoryRelation(held)
    )
    assert len(engine._cleaned_tables) == before + 1
    del held
    gc.collect()
    assert len(engine._cleaned_tables) == before
