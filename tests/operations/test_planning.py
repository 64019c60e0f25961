"""When a collection is due, whatever happened: failures, missed times, clocks that leap; and when people are told."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven import descriptor
from hven.jobs.schedule_planning import (
    BUSY_OUTCOME,
    FAILED_OUTCOME,
    GOOD_OUTCOME,
    GUARD_OUTCOME,
    STALE_ALERT,
    STOPPED_OUTCOME,
    SyncRunOutcome,
    build_alert_unless_sent,
    build_recurrence,
    compute_schedule_after_run,
    compute_stale_time,
    is_run_due,
    plan_next_run,
)
from hven.model.errors import DescriptorError
from hven.model.resource import CollectionSpec, Recurrence
from hven.model.settings import AlertSettings, ScheduleSettings, Settings
from hven.site.store import SyncScheduleRecord

NOW = 1_795_000_000.0
HOUR = Recurrence(interval_seconds=3600.0)
NIGHT = Recurrence(cron="15 3 * * *")
SET = ScheduleSettings()
TELL = AlertSettings()
FAIL = SyncRunOutcome(kind=FAILED_OUTCOME, phase="ERROR", message="the source is away")
FINE = SyncRunOutcome(kind=GOOD_OUTCOME, phase="COMPLETED", message="no change")


TABLE = "collection: c\ntitle: c\ntables:\n  main:\n    source: {kind: csv, files: a.csv}\n    columns: {n: {type: int32}}\n"


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        ("{every: 90 min, jitter: 5 min}", "every 1 h 30 min"),
        ('{cron: "15 3 * * mon-fri", zone: Europe/Paris}', "cron 15 3 * * mon-fri (Europe/Paris)"),
        ('{cron: "*/5 8-18 1,15 jan-mar 5-7"}', "cron */5 8-18 1,15 jan-mar 5-7"),
        ("2 h", "every 2 h"),
    ],
)
def test_what_a_descriptor_says_is_a_timing(tmp_path: Path, sync: str, expected: str) -> None:
    assert str(build_recurrence(_load_descriptor(tmp_path, sync))) == expected


@pytest.mark.parametrize(
    ("sync", "why"), [('{cron: "0 0 30 2 *"}', "day-of-month"), ("{every: 0.5 s}", "must be between 1 s and 366 d")]
)
def test_what_never_comes_is_told_with_its_place(tmp_path: Path, sync: str, why: str) -> None:
    with pytest.raises(DescriptorError, match=f"c.yaml:7:.*{why}"):
        _load_descriptor(tmp_path, sync)


def _load_descriptor(tmp_path: Path, sync: str) -> CollectionSpec:
    path = tmp_path / "collections" / "c" / "c.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(TABLE + f"sync: {sync}\n")
    return descriptor.load_descriptor(path, Settings(directory=tmp_path))


def stamp(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def row(**more: Any) -> SyncScheduleRecord:
    return replace(SyncScheduleRecord(collection="c", timing=str(HOUR), due=NOW), **more)


def end_run(
    item: SyncScheduleRecord, outcome: SyncRunOutcome, now: float, timing: Recurrence = HOUR
) -> tuple[SyncScheduleRecord, list[str]]:
    after, told = compute_schedule_after_run(
        replace(item, holder="me", began=now - 5), timing, now, outcome, settings=SET, alerts=TELL, channels=["mail"]
    )
    return after, [alert.kind for alert in told]


def test_a_new_schedule_goes_on_from_the_last_ingest() -> None:
    assert plan_next_run(None, "c", HOUR, NOW, SET, last_published=NOW - 600).due == NOW + 3000
    assert plan_next_run(None, "c", HOUR, NOW, SET, last_published=NOW - 86400).due == NOW  # long overdue: now, once
    assert (
        plan_next_run(None, "c", HOUR, NOW, SET, last_published=NOW + 86400).due == NOW + 3600
    )  # from a clock that was wrong
    assert plan_next_run(None, "c", NIGHT, NOW, SET, last_published=NOW - 600).due > NOW


def test_jitter_spreads_but_never_hastens() -> None:
    timing = Recurrence(interval_seconds=3600.0, max_jitter_seconds=600.0)
    found = {plan_next_run(None, "c", timing, NOW, SET, last_published=NOW - 600).due for _ in range(50)}
    assert len(found) > 40
    assert NOW + 3000 <= min(found) <= max(found) <= NOW + 3600


def test_what_was_missed_is_made_up_once() -> None:
    late = row(due=NOW - 10 * 3600)
    assert is_run_due(plan_next_run(late, "c", HOUR, NOW, SET), NOW)
    after, _ = end_run(late, FINE, NOW)
    assert after.due == NOW - 5 + 3600  # not the nine other times that were missed
    night = row(timing=str(NIGHT), due=NOW - 5 * 86400)
    assert end_run(night, FINE, NOW, NIGHT)[0].due == NIGHT.find_next_time(stamp(NOW)).timestamp()


def test_with_a_grace_what_is_too_late_waits_for_its_next_time() -> None:
    settings = ScheduleSettings(grace=3600.0)
    night = row(timing=str(NIGHT), due=NOW - 7200)
    assert plan_next_run(night, "c", NIGHT, NOW, settings).due == NIGHT.find_next_time(stamp(NOW)).timestamp()
    assert plan_next_run(replace(night, due=NOW - 1800), "c", NIGHT, NOW, settings).due == NOW - 1800
    assert (
        plan_next_run(replace(night, asked=NOW), "c", NIGHT, NOW, settings).due == NOW - 7200
    )  # somebody wants it now


@given(leap=st.floats(-1e8, 1e8), failures=st.integers(0, 40), due=st.floats(-1e6, 1e6))
def test_no_leap_of_the_clock_stops_a_schedule(leap: float, failures: int, due: float) -> None:
    """Whatever the clock does, nothing waits longer than an hour, or the longest pause."""
    now = NOW + leap
    found = plan_next_run(row(due=NOW + due, failures=failures), "c", HOUR, now, SET)
    assert found.due <= now + max(HOUR.interval_seconds or 0, SET.retry_most * 1.1 if failures else 0) + 1


def test_another_timing_counts_from_now_on_but_not_while_it_fails() -> None:
    changed = Recurrence(interval_seconds=60.0)
    assert plan_next_run(row(due=NOW + 3000, began=NOW - 600), "c", changed, NOW, SET).due == NOW
    found = plan_next_run(row(due=NOW + 50, failures=3), "c", changed, NOW, SET)
    assert (found.due, found.timing) == (NOW + 50, "every 60 s")
    running = row(holder="me", due=NOW - 5)
    assert plan_next_run(running, "c", changed, NOW, SET) == running


def test_pauses_after_failures_double_up_to_a_ceiling_and_a_good_run_ends_them() -> None:
    item, now, pauses = row(), NOW, []
    for _ in range(12):
        item, _ = end_run(item, FAIL, now)
        pauses.append(item.due - now)
        now = item.due
    expected = [min(60 * 2**n, 3600) for n in range(12)]
    assert all(0.89 * want <= pause <= 1.11 * want for pause, want in zip(pauses, expected, strict=True)), pauses
    item, _ = end_run(item, FINE, now)
    assert (item.failures, item.due, item.lasted) == (0, now - 5 + 3600, 5)


def test_people_are_told_first_then_each_tenth_time_or_once_a_day_and_of_the_recovery() -> None:
    item, now, told = row(), NOW, []
    for number in range(25):
        item, kinds = end_run(item, FAIL, now + number * 60)
        told.append(kinds)
    assert [number for number, kinds in enumerate(told) if kinds] == [0, 10, 20]
    assert end_run(item, FAIL, now + 25 * 60)[1] == []
    assert end_run(item, FAIL, now + 20 * 60 + 86400)[1] == ["failed"]
    item, kinds = end_run(item, FINE, now + 1600)
    assert kinds == ["recovered"]
    assert end_run(item, FINE, now + 1700)[1] == []


def test_a_guard_waits_for_the_next_time_and_is_told_as_such() -> None:
    after, kinds = end_run(row(), SyncRunOutcome(kind=GUARD_OUTCOME, phase="ERROR", message="too much would go"), NOW)
    assert (after.due, after.failures, kinds) == (NOW - 5 + 3600, 1, ["guard"])


def test_being_stopped_or_late_for_another_is_no_failure() -> None:
    stopped, kinds = end_run(row(failures=2), SyncRunOutcome(kind=STOPPED_OUTCOME, phase="ABORTED"), NOW)
    assert (stopped.due, stopped.failures, kinds, stopped.holder) == (NOW, 2, [], None)
    busy, kinds = end_run(row(), SyncRunOutcome(kind=BUSY_OUTCOME, phase="ERROR", message="process 7 is at it"), NOW)
    assert (busy.due, busy.failures, kinds) == (NOW + 60, 0, [])


def test_data_are_stale_when_two_times_went_by() -> None:
    assert compute_stale_time(HOUR, row(), NOW, 2) == NOW + 7200
    assert (
        compute_stale_time(Recurrence(interval_seconds=3600.0, max_jitter_seconds=60.0), row(lasted=100.0), NOW, 2)
        == NOW + 7360
    )
    weekdays = Recurrence(cron="0 8 * * 1-5")  # Friday's data are not old on a Sunday
    friday = 1_795_165_200.0  # 2026-11-20T09:00Z
    assert (
        compute_stale_time(weekdays, row(), friday, 2)
        == weekdays.find_next_time(weekdays.find_next_time(stamp(friday))).timestamp()
        == friday + 4 * 86400 - 3600
    )
    assert compute_stale_time(HOUR, row(paused=NOW), NOW, 2) is None
    assert compute_stale_time(HOUR, row(), None, 2) is None
    item, told = build_alert_unless_sent(row(), STALE_ALERT, "old", NOW, settings=TELL, channels=[])
    assert [alert.kind for alert in told] == ["stale"]
    assert build_alert_unless_sent(item, STALE_ALERT, "old", NOW + 80000, settings=TELL, channels=[])[1] == []
    assert [
        alert.kind
        for alert in build_alert_unless_sent(item, STALE_ALERT, "old", NOW + 86400, settings=TELL, channels=[])[1]
    ] == ["stale"]


@pytest.mark.parametrize("lasts", [300.0, 2400.0])
@pytest.mark.parametrize(("night", "made_up"), [("2026-03-29", "03:00"), ("2026-10-25", "02:30")])
def test_the_nights_of_the_clocks_have_one_run_each(
    monkeypatch: pytest.MonkeyPatch, night: str, made_up: str, lasts: float
) -> None:
    """A night in Paris, however long a run takes: in its zone, in UTC, and every two hours."""
    paris = ZoneInfo("Europe/Paris")
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    try:
        lines = {
            "local": Recurrence(cron="30 2 * * *", time_zone="Europe/Paris"),
            "utc": Recurrence(cron="30 2 * * *"),
            "rhythm": Recurrence(interval_seconds=7200.0),
            "late": Recurrence(cron="30 2 * * *", time_zone="Europe/Paris", max_jitter_seconds=900.0),
        }
        middle = datetime.fromisoformat(f"{night}T12:00").replace(tzinfo=paris).timestamp()
        begun: dict[str, list[float]] = {name: [] for name in lines}
        for name, timing in lines.items():
            now, item = middle - 86400, None
            while now < middle + 86400 / 2:
                item = plan_next_run(item, "c", timing, now, SET)
                if is_run_due(item, now):
                    begun[name].append(now)
                    item, now = replace(item, holder="me", began=now), now + lasts
                    item, _ = compute_schedule_after_run(
                        item, timing, now, FINE, settings=SET, alerts=TELL, channels=[]
                    )
                now += 300
    finally:
        monkeypatch.undo()
        time.tzset()
    walls = [datetime.fromtimestamp(moment, paris).strftime("%H:%M") for moment in begun["local"]]
    assert walls == [made_up]
    assert [datetime.fromtimestamp(moment, UTC).strftime("%H:%M") for moment in begun["utc"]] == ["02:30"]
    assert {later - before for before, later in pairwise(begun["rhythm"])} == {7200.0}
    assert len(begun["late"]) == 1
    assert all(0 <= late - once <= 1200 for once, late in zip(begun["local"], begun["late"], strict=True))


def test_paused_schedules_run_only_if_asked() -> None:
    assert not is_run_due(row(paused=NOW - 10, due=NOW - 5), NOW)
    assert is_run_due(row(paused=NOW - 10, asked=NOW - 1), NOW)
    assert not is_run_due(row(due=NOW + 1), NOW)
    assert not is_run_due(row(holder="me"), NOW)


def test_a_success_under_a_clock_that_was_ahead_does_not_stay_fresh():
    ahead = row(succeeded=NOW + 13 * 365 * 86400)
    assert compute_stale_time(HOUR, ahead, NOW - 60, 2, NOW) == NOW - 60 + 7200
    assert plan_next_run(ahead, "c", HOUR, NOW, ScheduleSettings()).succeeded == NOW
