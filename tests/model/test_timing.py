"""When something is due again: lines of cron as Debian's cron has them, in their time zones; lengths of time in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.resource import Recurrence, format_duration

PARIS = ZoneInfo("Europe/Paris")


def fires(cron: str, zone: str, start: datetime, count: int) -> list[str]:
    timing = Recurrence(cron=cron, time_zone=zone)
    found = []
    for _ in range(count):
        start = timing.find_next_time(start)
        found.append(start.astimezone(ZoneInfo(zone)).isoformat())
    return found


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        # the night of 2026-03-29 has no 02:30: it is made up as soon as the clock goes on
        (
            "30 2 * * *",
            datetime(2026, 3, 28, 12, tzinfo=PARIS),
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        # that of 2026-10-25 has two: one run
        (
            "30 2 * * *",
            datetime(2026, 10, 24, 12, tzinfo=PARIS),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        # what comes each hour comes each hour
        (
            "0 * * * *",
            datetime(2026, 10, 25, 0, 30, tzinfo=PARIS),
            [
                "2026-10-25T01:00:00+02:00",
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T03:00:00+01:00",
            ],
        ),
        ("15 3 * * 0", datetime(2026, 11, 20, tzinfo=PARIS), ["2026-11-22T03:15:00+01:00"]),  # a Sunday
        ("15 3 * * 7", datetime(2026, 11, 20, tzinfo=PARIS), ["2026-11-22T03:15:00+01:00"]),  # also a Sunday
        ("15 3 * * sun", datetime(2026, 11, 20, tzinfo=PARIS), ["2026-11-22T03:15:00+01:00"]),
        # both days: either will do
        (
            "0 0 13 * 5",
            datetime(2026, 11, 20, 1, tzinfo=PARIS),
            ["2026-11-27T00:00:00+01:00", "2026-12-04T00:00:00+01:00"],
        ),
        ("@weekly", datetime(2026, 11, 20, tzinfo=PARIS), ["2026-11-22T00:00:00+01:00"]),
        ("0 0 29 2 *", datetime(2026, 11, 20, tzinfo=PARIS), ["2028-02-29T00:00:00+01:00"]),
    ],
)
def test_cron_is_debians(cron: str, start: datetime, expected: list[str]) -> None:
    assert fires(cron, "Europe/Paris", start, len(expected)) == expected


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({}, "give either `every` or `cron`"),
        ({"interval_seconds": 60.0, "cron": "@daily"}, "give either `every` or `cron`"),
        ({"interval_seconds": 0.0}, "must be between 1 s and 366 d"),
        ({"interval_seconds": 60.0, "max_jitter_seconds": -1.0}, "must not be negative"),
        ({"cron": "* * *"}, "5 fields"),
        ({"cron": "0 * * * * *"}, "5 fields"),
        ({"cron": "61 * * * *"}, "minute"),
        ({"cron": "0 0 30 2 *"}, "day-of-month"),
        ({"cron": "0 0 * * *", "time_zone": "Mars/Olympus"}, "no time zone"),
        ({"cron": "0 0 * * *", "time_zone": "../etc/passwd"}, "no time zone"),
        ({"cron": "0 0 * * *", "time_zone": "Europe"}, "no time zone"),
    ],
)
def test_what_cannot_be_is_told_when_it_is_written(given_: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Recurrence(**given_)  # type: ignore[arg-type]


# zone, when its clocks change
CHANGES = [
    ("Europe/Paris", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Paris", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/St_Johns", datetime(2026, 11, 1, 4, 30, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),  # by half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 8, 5, tzinfo=UTC)),  # at midnight
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
]


def compute_expected_times(
    minutes: set[int], hours: set[int], zone: str, begin: datetime, end: datetime
) -> set[datetime]:
    """Give each written time once: where the clock first shows it, or as soon as it goes on if it never does."""
    place, found, walls = ZoneInfo(zone), set(), {}
    moment = begin
    while moment < end:
        wall = moment.astimezone(place).replace(tzinfo=None)
        if hours == set(range(24)) and wall.minute in minutes:
            found.add(moment)  # by the hour: that is a rhythm
        walls.setdefault(wall, moment)
        moment += timedelta(minutes=1)
    if hours == set(range(24)):
        return found
    last = max(walls)
    wall = min(walls)
    while wall <= last:
        if wall.minute in minutes and wall.hour in hours:
            found.add(walls.get(wall) or min(one for shown, one in walls.items() if shown > wall))
        wall += timedelta(minutes=1)
    return found


@pytest.mark.parametrize(
    ("line", "minutes", "hours"),
    [
        ("30 2 * * *", {30}, {2}),
        ("0 3 * * *", {0}, {3}),
        ("30 0-4 * * *", {30}, set(range(5))),
        ("*/15 0,2 * * *", {0, 15, 30, 45}, {0, 2}),
        ("15 */2 * * *", {15}, set(range(0, 24, 2))),
        ("*/20 * * * *", {0, 20, 40}, set(range(24))),
        ("15,45 * * * *", {15, 45}, set(range(24))),
    ],
)
@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_no_run_is_lost_or_doubled_where_the_clocks_change(
    zone: str, change: datetime, line: str, minutes: set[int], hours: set[int]
) -> None:
    begin, end = change - timedelta(hours=2), change + timedelta(hours=4)
    expected = sorted(
        compute_expected_times(minutes, hours, zone, begin - timedelta(hours=4), end + timedelta(hours=27))
    )
    timing, moment = Recurrence(cron=line, time_zone=zone), begin
    while moment < end:  # whenever it is asked
        assert timing.find_next_time(moment) == next(one for one in expected if one > moment), moment
        moment += timedelta(minutes=17)


@given(
    moment=st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    zone=st.sampled_from(["UTC", "Europe/Paris", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_the_next_time_is_later_and_within_two_days(moment: datetime, minute: int, hour: int, zone: str) -> None:
    found = Recurrence(cron=f"{minute} {hour} * * *", time_zone=zone).find_next_time(moment)
    assert moment < found <= moment + timedelta(hours=49)
    local = found.astimezone(ZoneInfo(zone))
    # exactly then, or where the clock goes on after the hours that it skips
    assert (local.hour, local.minute) == (hour, minute) or local.utcoffset() != (local - timedelta(hours=3)).utcoffset()


def test_the_rest() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert Recurrence(interval_seconds=90.0).find_next_time(now) == now + timedelta(seconds=90)
    assert str(Recurrence(interval_seconds=5400.0)) == "every 1 h 30 min"
    assert str(Recurrence(cron="15 3 * * *", time_zone="Europe/Paris")) == "cron 15 3 * * * (Europe/Paris)"
    assert [format_duration(seconds) for seconds in (0.5, 60, 3600, 90061, 14 * 86400)] == [
        "0.5 s",
        "60 s",
        "1 h",
        "1 d 1 h",
        "14 d",
    ]
