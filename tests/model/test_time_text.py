"""Times written as text: offsets from UTC, seconds of 60, 24:00 and years have one policy, judged by Python's datetime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.literal import find_times_outside_year_range, is_portable_time_text, parse_times, to_portable_time_text

REFUSED = [
    "0000-01-01", "10000-01-01", "-0001-01-01", "2020-01-01T00:00:00(TAI)", "2020-01-01T00:00:00 TAI", "2020-01-01T00:00:00 TT",
    "2020-01-01T00:00:00 Europe/Paris", "infinity", "now", "2021-02-29", "2020-13-01", "0001-01-01T00:00:00+01:00", "9999-12-31T24:00",
    "9999-12-31T23:00-05:00", "2020-01-01T05-03", "2020-01-01T24:01", "2020-01-01T12:00:00+16:00", "2020-01-01T12:60:00", "2020-01-01T12:00:61", "x",
]  # fmt: skip


def read(*texts):
    values, bad = parse_times(pa.array(texts, pa.string()))
    return values.to_pylist(), [False] * len(texts) if bad is None else bad.to_pylist()


@given(
    st.lists(
        st.none()
        | st.datetimes(
            timezones=st.none() | st.timezones() | st.just(UTC),
            min_value=datetime(1, 1, 3),
            max_value=datetime(9999, 12, 29),
        ),
        max_size=8,
    ),
    st.sampled_from(["T", " "]),
)
def test_what_python_writes_is_the_same_instant(moments, separator):
    moments = [
        None
        if one is None
        else one
        if one.tzinfo is None or one.utcoffset().seconds % 60 == 0
        else one.replace(tzinfo=None)
        for one in moments
    ]
    wanted = [
        None if one is None else one if one.tzinfo is None else one.astimezone(UTC).replace(tzinfo=None)
        for one in moments
    ]
    assert read(*[None if one is None else one.isoformat(separator) for one in moments]) == (
        wanted,
        [False] * len(moments),
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2020-01-01T00:00:00-05:00", datetime(2020, 1, 1, 5)),
        ("2020-01-01T00:00:00+0530", datetime(2019, 12, 31, 18, 30)),
        ("2020-01-01 00:00:00.5 +02", datetime(2019, 12, 31, 22, 0, 0, 500_000)),
        ("2020-01-01T00:00-05:00", datetime(2020, 1, 1, 5)),
        ("2020-01-01T00:00:00 UTC", datetime(2020, 1, 1)),
        ("2016-12-31T23:59:60.5", datetime(2017, 1, 1, 0, 0, 0, 500_000)),
        ("2016-12-31T18:59:60-05:00", datetime(2017, 1, 1)),
        ("2020-02-28T24:00:00", datetime(2020, 2, 29)),
        ("2020-01-01T00:00:00.1234567Z", datetime(2020, 1, 1, 0, 0, 0, 123_456)),
        (" 2020-01-01 ", datetime(2020, 1, 1)),
    ],
)  # fmt: skip
def test_edges_of_the_calendar(text, wanted):
    # beside another value, so that no road is taken that one text alone would take
    assert read(text, None, "2000-01-01T00:00:00") == ([wanted, None, datetime(2000, 1, 1)], [False] * 3)
    assert to_portable_time_text(text) == wanted.isoformat()
    assert is_portable_time_text(wanted.isoformat())


@pytest.mark.parametrize("text", ["2020-02-28T24:00:00", "2020-02-28 24:00:00", "2016-12-31T23:59:60", "2020-01-01T00:00:00-05:00"])  # fmt: skip
def test_what_engines_parse_in_different_ways_is_rewritten(text):
    assert not is_portable_time_text(text)


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_time_is_marked(text):
    assert read(text, "2000-01-01") == ([None, datetime(2000, 1, 1)], [True, False])
    assert to_portable_time_text(text) is None


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_years_of_binary_times(unit):
    low, high = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)
    kind = pa.timestamp(unit)
    edge = pa.array([low, high, None], kind)
    assert find_times_outside_year_range(edge) is None
    step = {"s": 1, "ms": 1000, "us": 1_000_000}[unit]
    beyond = pa.array([edge[0].value - 1, edge[1].value + step, None, edge[0].value], pa.int64()).cast(kind)
    assert find_times_outside_year_range(beyond).to_pylist() == [True, True, False, False]


@given(st.integers(-15 * 60, 15 * 60))
def test_every_offset(minutes):
    zone = timezone(timedelta(minutes=minutes))
    local = datetime(2020, 6, 1, 12, tzinfo=zone)
    assert read(local.isoformat())[0] == [local.astimezone(UTC).replace(tzinfo=None)]
