"""Conversion into the column's type: what fits arrives, what does not is null and told - judged value by value."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from hven.ingest._casting import cast_values

INTEGERS = [pa.uint8(), pa.int16(), pa.int32(), pa.int64()]
numbers = (
    st.none()
    | st.floats(width=64)
    | st.integers(-(2**40), 2**40).map(float)
    | st.sampled_from([3.7, -0.0, 255.0, 256.0, 32767.0, 32768.0, 2.0**63, -(2.0**63)])
)


def cast_and_find_losses(values, kind):
    converted, lost = cast_values(values, kind)
    assert converted.type == kind
    assert len(converted) == len(values)
    return converted.to_pylist(), [False] * len(values) if lost is None else [bool(item) for item in lost.to_pylist()]


@given(st.lists(numbers, max_size=20), st.sampled_from(INTEGERS))
def test_floats_into_integers(given_values, kind):
    limits = np.iinfo(kind.to_pandas_dtype())
    converted, lost = cast_and_find_losses(pa.array(given_values, pa.float64()), kind)
    for value, new, gone in zip(given_values, converted, lost, strict=True):
        if value is None or math.isnan(value):
            assert (new, gone) == (None, False)
        elif math.isinf(value) or value != int(value) or not limits.min <= int(value) <= limits.max:
            assert (new, gone) == (None, True)
        else:
            assert (new, gone) == (int(value), False)


@given(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300), max_size=20),
    st.sampled_from(INTEGERS),
)
def test_integers_into_smaller_integers(given_values, kind):
    limits = np.iinfo(kind.to_pandas_dtype())
    converted, lost = cast_and_find_losses(pa.array(given_values, pa.int64()), kind)
    for value, new, gone in zip(given_values, converted, lost, strict=True):
        fits = value is None or limits.min <= value <= limits.max
        assert (new, gone) == ((value, False) if fits else (None, True))


words = (
    st.none()
    | st.sampled_from(
        ["", " ", "12", " 12 ", "+7", "1.5", "1e3", ".5", "5.", "x", "1 2", "--", "99999999999999999999", "4294967296"]
    )
    | st.text(max_size=4)
)


@given(st.lists(words, max_size=20))
def test_text_into_numbers(given_values):
    converted, lost = cast_and_find_losses(pa.array(given_values, pa.string()), pa.float64())
    for value, new, gone in zip(given_values, converted, lost, strict=True):
        if value is None or not value.strip():
            assert (new, gone) == (None, False)
        elif re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value.strip()):
            assert (new, gone) == (float(value), False)
        elif gone:
            assert new is None
        else:
            assert new == float(value) or math.isnan(new)


@given(st.lists(words, max_size=20))
def test_text_into_integers(given_values):
    converted, lost = cast_and_find_losses(pa.array(given_values, pa.string()), pa.int32())
    for value, new, gone in zip(given_values, converted, lost, strict=True):
        if value is None or not value.strip():
            assert (new, gone) == (None, False)
        elif re.fullmatch(r"[+-]?[0-9]+", value.strip()) and abs(int(value)) < 2**31:
            assert (new, gone) == (int(value), False)
        else:
            assert (new, gone) == (None, True)


def test_text_into_times_and_booleans():
    converted, lost = cast_values(pa.array(["2026-01-02T03:04:05", "yesterday", None, ""]), pa.timestamp("us"))
    assert [str(item) for item in converted.to_pylist()] == ["2026-01-02 03:04:05", "None", "None", "None"]
    assert lost.to_pylist() == [False, True, False, False]
    converted, lost = cast_values(pa.array(["true", "maybe", "0"]), pa.bool_())
    assert (converted.to_pylist(), lost.to_pylist()) == ([True, None, False], [False, True, False])


def test_dictionaries_and_equal_types():
    values = pa.array(["a", "b", "a"]).dictionary_encode()
    converted, lost = cast_values(values, pa.string())
    assert (converted.to_pylist(), lost) == (["a", "b", "a"], None)
    same = pa.array([1, 2])
    assert cast_values(same, pa.int64())[0] is same


def test_decimals_into_doubles():
    values = [Decimal("84223.1574"), None, Decimal("0.0001")]
    for kind in (pa.decimal128(9, 4), pa.decimal256(50, 4)):
        assert cast_and_find_losses(pa.array(values, kind), pa.float64()) == ([84223.1574, None, 0.0001], [False] * 3)
