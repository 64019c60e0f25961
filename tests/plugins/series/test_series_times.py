"""Times of series: every moment is written with its digits, and read as it was written, cut off wherever HAPI lets one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.plugins.series.time_texts import format_instant, parse_time_as_microseconds, write_times

MOMENTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)  # years 1 to 9999


@given(st.lists(MOMENTS, max_size=30))
def test_times_are_written_as_numpy_writes_them(moments: list[int]) -> None:
    values = np.array(moments, np.int64)
    for length, unit in ((27, "us"), (24, "ms"), (20, "s")):
        expected = [f"{one}Z" for one in np.datetime_as_string(values.astype("M8[us]").astype(f"M8[{unit}]"))]
        assert [one.decode() for one in write_times(values, length)] == expected
    nanos = np.abs(values) % 997
    expected = [
        f"{one}{more:03d}Z" for one, more in zip(np.datetime_as_string(values.astype("M8[us]")), nanos, strict=True)
    ]
    assert [one.decode() for one in write_times(values, 30, extra_nanoseconds=nanos)] == expected


@given(MOMENTS)
def test_what_is_written_is_read(moment: int) -> None:
    assert parse_time_as_microseconds(format_instant(moment)) == moment


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("2003", "2003-01-01T00:00:00"),
        ("2003Z", "2003-01-01T00:00:00"),
        ("2003-05", "2003-05-01T00:00:00"),
        ("2003-141", "2003-05-21T00:00:00"),
        ("2003-05-21T10", "2003-05-21T10:00:00"),
        ("2003-05-21T10:30Z", "2003-05-21T10:30:00"),
        ("2003-141T10:30:01.5", "2003-05-21T10:30:01.5"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
        ("2003-05-21T24:00Z", "2003-05-22T00:00:00"),
        ("2003-05-21T10:30:00.123456001Z", "2003-05-21T10:30:00.123457"),
    ],
)
def test_times_may_be_cut_off(text: str, whole: str) -> None:
    assert parse_time_as_microseconds(text) == int(np.datetime64(whole, "us").astype(int))


@pytest.mark.parametrize("text", ["", "now", "2003-13", "2003-02-30", "2003-366", "2003-000", "2003-05-21T25", "2003-05-21T10:60", "2003-05-21 10", "1", "2003-05-21T24:30", "2003-05-21T10:00:00+01:00"])  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time_as_microseconds(text)
