"""Hypothesis strategies for columns and rows of any type."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from hven.model.table import Column
from hven.model.types import parse_type

# no controls (XML cannot hold them), no CR (a line end is a line end), no surrogates; NUL ends strings
LETTERS = st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff\ufdd0")
ASCII = st.characters(min_codepoint=32, max_codepoint=126)
FLOAT32 = st.floats(width=32, allow_nan=False)
FLOAT64 = st.floats(allow_nan=False)


def _draw_integers(bits, *, signed=True):
    # the lowest value is what BINARY keeps for null
    return st.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


VALUES = {
    "bool": st.booleans(),
    "bit": st.booleans(),
    "uint8": _draw_integers(8, signed=False),
    "int16": _draw_integers(16),
    "int32": _draw_integers(32),
    "int64": _draw_integers(64),
    "float32": FLOAT32,
    "float64": FLOAT64,
    "complex64": st.lists(FLOAT32, min_size=2, max_size=2),
    "string": st.text(ASCII, min_size=1, max_size=20),
    "unicode": st.text(LETTERS, min_size=1, max_size=20),
    "string[6]": st.text(ASCII, min_size=1, max_size=6),
    "timestamp": st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),
    "int16[3]": st.lists(_draw_integers(16), min_size=3, max_size=3),
    "int32[*]": st.lists(_draw_integers(32), min_size=1, max_size=5),
    "float64[2x*]": st.lists(st.tuples(FLOAT64, FLOAT64), min_size=1, max_size=3).map(
        lambda pairs: [part for pair in pairs for part in pair]
    ),
    "float32[4]": st.lists(FLOAT32, min_size=4, max_size=4),
    "bool[*]": st.lists(st.booleans(), min_size=1, max_size=9),
    "bit[11]": st.lists(st.booleans(), min_size=11, max_size=11),
    "bit[*]": st.lists(st.booleans(), min_size=1, max_size=20),
    "complex128[*]": st.lists(st.lists(FLOAT64, min_size=2, max_size=2), min_size=1, max_size=3),
    "string[4x*]": st.lists(
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=4), min_size=1, max_size=3
    ),
    "point": st.lists(FLOAT64, min_size=2, max_size=2),
    "polygon": st.lists(FLOAT64, min_size=6, max_size=8),
}


@st.composite
def tables(draw, kinds=tuple(VALUES), most_rows=6):
    """Draw columns of any types in any order, and a batch of rows with nulls."""
    words = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6))
    rows = draw(st.integers(0, most_rows))
    columns, arrays = [], []
    for number, word in enumerate(words):
        kind = parse_type(word)
        values = draw(st.lists(st.none() | VALUES[word], min_size=rows, max_size=rows))
        columns.append(Column(name=f"c{number}", type=kind))
        arrays.append(pa.array(values, kind.arrow))
    return columns, pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def are_equal(one, other):
    """Compare values; compare lists and arrays by their elements."""
    if one is None or other is None:
        return one is other
    if isinstance(one, (list, tuple, np.ndarray)):
        return len(one) == len(other) and all(are_equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other
