"""Columns as DALI text and back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model import literal
from hven.model.types import parse_type

TIMESTAMP = parse_type("timestamp")
MICRO = st.integers(-(2**62), 2**62)


@given(values=st.lists(st.none() | st.datetimes(), max_size=5))
def test_timestamps(values):
    array = pa.array(values, pa.timestamp("us"))
    shown = literal.format_timestamps(array)
    for text, value in zip(shown.to_pylist(), values, strict=True):
        if value is None:
            assert text is None
        else:
            assert dt.datetime.fromisoformat(text) == value
            assert len(text) == 19 or not text.endswith("0")
    assert literal.parse_dali_literals(shown, TIMESTAMP).equals(array)


@given(values=st.lists(MICRO, min_size=1, max_size=4))
def test_timestamps_of_all_years(values):
    shown = literal.format_timestamps(pa.array(values, pa.timestamp("us"))).to_pylist()
    for text, value in zip(shown, values, strict=True):
        date, _, time = text.rpartition("T")
        expected = str(np.datetime64(value, "us"))
        assert text == (expected.rstrip("0").rstrip(".") if "." in expected else expected)
        assert date
        assert len(time) >= 8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-02", dt.datetime(2020, 1, 2)),
        (" 2020-01-02T03:04:05 ", dt.datetime(2020, 1, 2, 3, 4, 5)),
        ("2020-01-02T03:04:05Z", dt.datetime(2020, 1, 2, 3, 4, 5)),
        ("2020-01-02 03:04:05.5", dt.datetime(2020, 1, 2, 3, 4, 5, 500_000)),
        ("2020-01-02T03:04:05.123456789", dt.datetime(2020, 1, 2, 3, 4, 5, 123_456)),
        ("2020-01-02T03:04:05.", dt.datetime(2020, 1, 2, 3, 4, 5)),
        ("", None),
    ],
)
def test_timestamps_as_others_write_them(text, expected):
    assert literal.parse_dali_literals(pa.array([text]), TIMESTAMP)[0].as_py() == expected


def test_slices_and_nulls_with_something_behind_them():
    values = pa.array([1, 2, 3, 4, 5, 6], pa.float64())
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 5, 6], pa.int32()), values, mask=pa.array([False, True, False]))
    kind = parse_type("float64[*]")
    assert literal.format_dali_literals(lists, kind).to_pylist() == ["1 2", None, "6"]
    assert literal.format_dali_literals(lists.slice(1), kind).to_pylist() == [None, "6"]
    offsets, flat = literal.flatten_lists(lists.slice(1))
    assert (offsets.tolist(), flat.to_pylist()) == ([0, 0, 1], [6.0])
    fixed = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float64(), 2))
    assert literal.format_dali_literals(fixed.slice(1), parse_type("point")).to_pylist() == [None, "3 4"]


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array(["a"]).dictionary_encode(), "string", ["a"]),
        (pa.array([1], pa.int8()), "int64", [1]),
        (pa.array([1.5], pa.float16()), "float64", [1.5]),
        (pa.array([5]).cast(pa.decimal128(38, 0)), "int64", [5]),
        (pa.array([Decimal("84223.1574"), None]), "float64", [84223.1574, None]),  # Arrow's own cast: 84223.15740000001
        (pa.array([[Decimal("84223.1574")], None]), "float64[*]", [[84223.1574], None]),
        (
            pa.array([[Decimal("84223.1574")], None], pa.list_(pa.decimal128(9, 4), 1)),
            "float64[1]",
            [[84223.1574], None],
        ),
        (pa.array([dt.date(2020, 1, 1)]), "timestamp", [dt.datetime(2020, 1, 1)]),
        (pa.array([0], pa.timestamp("ns", "Europe/Paris")), "timestamp", [dt.datetime(1970, 1, 1)]),
        (pa.array([[1, 2]], pa.list_(pa.int32(), 2)), "int32[*]", [[1, 2]]),
        (pa.array([[1, 2]], pa.list_(pa.float32())), "point", [[1.0, 2.0]]),
        (pa.array([b"\x01\xff", None]), "uint8[*]", [[1, 255], None]),
        (pa.chunked_array([["a"], ["b"]]), "string", ["a", "b"]),
        (pa.chunked_array([], pa.int32()), "int64", []),
        (pa.array([None, None]), "float64", [None, None]),
    ],
)
def test_storage(array, kind, expected):
    found = literal.cast_to_storage_type(array, parse_type(kind))
    assert found.type == parse_type(kind).arrow
    assert found.to_pylist() == expected


def test_nan_among_integers_is_missing():
    assert literal.parse_dali_literals(pa.array(["1 NaN", "nan 2"]), parse_type("int64[2]")).to_pylist() == [
        [1, None],
        [None, 2],
    ]
    assert literal.parse_dali_literals(pa.array(["NaN", "7"]), parse_type("int32")).to_pylist() == [None, 7]
    (cell,) = literal.parse_dali_literals(pa.array(["1 NaN null"]), parse_type("float64[*]")).to_pylist()
    assert (cell[0], cell[2], cell[1] != cell[1]) == (1, None, True)


@pytest.mark.parametrize("rows", [0, 1, 8192, 8193, 20_000])
def test_the_first_rows_leave_early(rows):
    batch = pa.RecordBatch.from_arrays([pa.array(range(rows))], names=["a"])
    parts = list(literal.split_first_batch([batch, batch]))
    assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([batch, batch]))
    assert parts[0].num_rows == (4096 if rows > 8192 else rows)
    assert parts[-1].num_rows == rows


def test_pieces_are_bounded():
    batch = pa.RecordBatch.from_arrays([pa.array(["x" * 1_000_000] * 100)], names=["a"])
    parts = list(literal.split_batch_by_written_size(batch, 10))
    assert len(parts) > 1
    assert sum(part.num_rows for part in parts) == 100
    assert list(literal.split_batch_by_written_size(batch.slice(0, 0), 10)) == []
