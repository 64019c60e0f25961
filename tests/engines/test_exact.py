"""Numbers of different types are compared as numbers, and chains may be long. Oracles: Python's fractions, numpy, its text."""

from __future__ import annotations

import itertools
import math
import operator
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import run_query
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hven.engines import MemoryRelation
from hven.model.errors import EvaluationError
from hven.model.table import Column, Table
from hven.model.types import FLOAT32, FLOAT64, INT16, INT32, INT64, STRING
from shared import EXAMPLES_FACTOR

NUMBERS = Table(
    schema="s",
    name="n",
    columns=(
        Column(name="r", type=FLOAT32), Column(name="d", type=FLOAT64), Column(name="h", type=INT16), Column(name="i", type=INT32),
        Column(name="b", type=INT64), Column(name="t", type=STRING),
    ),
)  # fmt: skip
EDGES = [base + step for base in (0, 2**24, 2**31 - 2, 2**53, 2**62, 2**63 - 1024) for step in (-1, 0, 1, 2)]
EDGES += [-edge for edge in EDGES] + [2**63 - 1, -(2**63)]
OPS = {"=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def fitting(low: int, high: int) -> st.SearchStrategy:
    return st.none() | st.sampled_from([edge for edge in EDGES if low <= edge <= high]) | st.integers(low, high)


row = st.fixed_dictionaries(
    {
        "r": st.none()
        | st.sampled_from(EDGES).map(lambda x: float(np.float32(x)))
        | st.sampled_from([0.0, -0.0])
        | st.floats(width=32, allow_nan=False),
        "d": st.none() | st.sampled_from(EDGES).map(float) | st.sampled_from([0.0, -0.0]) | st.floats(allow_nan=False),
        "h": fitting(-(2**15), 2**15 - 1),
        "i": fitting(-(2**31), 2**31 - 1),
        "b": fitting(-(2**63), 2**63 - 1),
    }
)
literal = st.sampled_from([edge for edge in EDGES if abs(edge) < 2**63]) | st.sampled_from(
    [0.5, 0.0, 16777217.0, 1e19, -2.5]
)


def exact(value):
    return value if isinstance(value, float) and math.isinf(value) else Fraction(value)


def true(op: str, one, two) -> bool:
    return one is not None and two is not None and OPS[op](exact(one), exact(two))


side = st.sampled_from(["r", "d", "h", "i", "b"])
quick = settings(
    max_examples=150 * EXAMPLES_FACTOR,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)


def found(engine, data, condition, *, indexes=True):
    held = pa.Table.from_pylist([{**item, "t": str(number)} for number, item in enumerate(data)], NUMBERS.arrow_schema)
    engine.uses_indexes = indexes
    try:
        return [
            int(text)
            for text in run_query(
                engine, f"SELECT t FROM s.n WHERE {condition}", {"s.n": MemoryRelation(held)}, (NUMBERS,)
            )["t"].to_pylist()
        ]
    finally:
        engine.uses_indexes = True


@quick
@given(
    data=st.lists(row, min_size=1, max_size=20),
    one=side,
    op=st.sampled_from(list(OPS)),
    two=side | literal,
    swap=st.booleans(),
    indexes=st.booleans(),
)
def test_comparisons_are_exact(engine, data, one, op, two, swap, indexes):
    left, right = (two, one) if swap else (one, two)
    wanted = [
        number
        for number, item in enumerate(data)
        if true(op, item[left] if isinstance(left, str) else left, item[right] if isinstance(right, str) else right)
    ]
    assert found(engine, data, f"{left} {op} {right}", indexes=indexes) == wanted


@quick
@given(
    data=st.lists(row, min_size=1, max_size=20),
    one=side,
    low=side | literal,
    high=side | literal,
    negated=st.booleans(),
    indexes=st.booleans(),
)
def test_between_and_in_are_exact(engine, data, one, low, high, negated, indexes):
    word = "NOT " if negated else ""

    def get_member(item, what):
        return item[what] if isinstance(what, str) else what

    whole = [
        item for item in data if None not in (get_member(item, one), get_member(item, low), get_member(item, high))
    ]
    within = [
        number
        for number, item in enumerate(whole)
        if (true(">=", item[one], get_member(item, low)) and true("<=", item[one], get_member(item, high))) != negated
    ]
    assert found(engine, whole, f"{one} {word}BETWEEN {low} AND {high}", indexes=indexes) == within
    among = [
        number
        for number, item in enumerate(whole)
        if (true("=", item[one], get_member(item, low)) or true("=", item[one], get_member(item, high))) != negated
    ]
    assert found(engine, whole, f"{one} {word}IN ({low}, {high})", indexes=indexes) == among
    if isinstance(low, str):
        chosen = [
            number
            for number, item in enumerate(whole)
            if any(true("=", item[one], other[low]) for other in whole) != negated
        ]
        assert found(engine, whole, f"{one} {word}IN (SELECT {low} FROM s.n)") == chosen


@quick
@given(data=st.lists(row, max_size=12), one=side, two=side)
def test_joins_are_exact(engine, data, one, two):
    held = {"s.n": MemoryRelation(pa.Table.from_pylist(data, NUMBERS.arrow_schema))}
    counted = run_query(
        engine, f"SELECT COUNT(*) AS n FROM s.n AS a JOIN s.n AS b ON a.{one} = b.{two}", held, (NUMBERS,)
    )["n"][0].as_py()
    assert counted == sum(true("=", left[one], right[two]) for left, right in itertools.product(data, data))


def ask(engine, expression, data):
    held = {"s.n": MemoryRelation(pa.Table.from_pylist(data, NUMBERS.arrow_schema))}
    return run_query(engine, f"SELECT {expression} AS x FROM s.n", held, (NUMBERS,))["x"].to_pylist()


@pytest.mark.parametrize("links", [63, 64, 1500])
def test_long_chains(engine, links):
    data = [
        {"r": 0.1, "d": 0.1, "i": 7, "b": 2**40, "t": "ab"},
        {"r": 1e8, "d": 1e16, "i": -1, "b": -1, "t": ""},
        {"i": 3, "t": "x"},
    ]
    assert ask(engine, " || ".join(["t"] * (links + 1)), data) == [item["t"] * (links + 1) for item in data]
    assert ask(engine, " + ".join(["i"] * (links + 1)), data) == [item["i"] * (links + 1) for item in data]
    assert ask(engine, "b" + " - 3" * links, data) == [item["b"] - 3 * links if "b" in item else None for item in data]
    steps = [1 / (number + 1) for number in range(links)]
    # as the text says, from left to right: sums of floats depend on it
    wanted = [None if "d" not in item else [*itertools.accumulate([item["d"], *steps])][-1] for item in data]
    assert ask(engine, "d" + "".join(f" + {step!r}" for step in steps), data) == wanted
    single = np.add.accumulate(np.array([[item["r"]] * (links + 1) for item in data[:2]], np.float32), axis=1)[:, -1]
    assert ask(engine, " + ".join(["r"] * (links + 1)), data[:2]) == [float(x) for x in single]
    assert ask(engine, "d" + " * 1.5" * 64 + " / 2" * 20 + " + i" * links, data[:1])[0] == pytest.approx(
        0.1 * 1.5**64 / 2**20 + 7 * links, rel=1e-12
    )
    conditions = [f"i <> {number + 100}" for number in range(links)]
    assert len(found(engine, [{"i": 7}, {"i": 100}], " AND ".join(conditions))) == 1
    assert len(found(engine, [{"i": 7}, {"i": 100}], " OR ".join(conditions).replace("<>", "="))) == 1


def test_a_long_chain_overflows_where_a_short_one_does(engine):
    for links in (10, 100):
        with pytest.raises(EvaluationError):
            ask(engine, "b" + " + b" * links + " - b" * links, [{"b": 2**62}])
    assert ask(engine, "b" + " + NULL" * 70, [{"b": 1}]) == [None]
