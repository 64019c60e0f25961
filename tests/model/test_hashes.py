"""Hashes of rows: equal where the rows are, different where they are not."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hven.model.literal import MAX_VECTORIZED_TEXT_BYTES, hash_rows

TEXTS = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "a" * 8,
            "a" * 9,
            "a" * 16,
            "é" * 4,
            "\0",
            "\0\0",
            "a" * MAX_VECTORIZED_TEXT_BYTES,
            "a" * (MAX_VECTORIZED_TEXT_BYTES + 1),
            "b" + "a" * MAX_VECTORIZED_TEXT_BYTES,
        ]
    ),
)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=30), st.integers(0, 5))
@example([("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", ""), (None, "abc"), ("\0", ""), ("", "\0")], 0)
def test_rows_have_one_hash_if_and_only_if_they_are_equal(rows, cut):
    columns = [pa.array([row[at] for row in rows], pa.string()) for at in (0, 1)]
    there, code = hash_rows(columns)
    assert there.tolist() == [None not in row for row in rows]
    whole = [(row, number) for row, number in zip(rows, code.tolist(), strict=True) if None not in row]
    assert len({row for row, _ in whole}) == len({number for _, number in whole}) == len(set(whole))
    _, part = hash_rows([column.slice(cut) for column in columns])
    assert np.array_equal(part, code[cut:])  # wherever the rows stand


def test_a_million_names_that_differ_by_little_do_not_meet():
    numbers = pa.array(np.arange(1_000_000)).cast(pa.string())
    assert len(np.unique(hash_rows([numbers])[1])) == 1_000_000
    bits = np.unpackbits(hash_rows([numbers])[1].view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert bits == pytest.approx(np.full(64, 0.5), abs=0.005)  # each bit is set in half of them


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.float64(), [0.0, -0.0, 0.1, 0.1 + 2**-55, float("inf"), None]),
        (pa.int64(), [0, 1, -1, 2**63 - 1, None]),
        (pa.timestamp("us"), [dt.datetime(2001, 1, 1), dt.datetime(2001, 1, 1, microsecond=1), None]),
        (pa.bool_(), [True, False, None]),
    ],
)
def test_numbers_and_times_are_hashed_by_value(kind, values):
    there, code = hash_rows([pa.array(values, kind)])
    assert there.tolist() == [value is not None for value in values]
    given_ = [value for value in values if value is not None]
    assert len(set(code[there].tolist())) == len(set(given_))
