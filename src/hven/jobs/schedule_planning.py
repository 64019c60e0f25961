"""When a collection is due: from its timing, from what came of the last runs, and from the clock as it is now.

No clock is read here.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.model.resource import Recurrence, format_duration
from hven.site.store import SyncScheduleRecord, create_alert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import Resource
    from hven.model.settings import AlertSettings, ScheduleSettings
    from hven.site.store import Alert

MANUAL_TIMING = "by hand"  # the timing of a collection that has none, and whose last run failed
GOOD_OUTCOME, FAILED_OUTCOME, GUARD_OUTCOME, STALE_ALERT, STOPPED_OUTCOME, BUSY_OUTCOME = (
    "good",
    "failed",
    "guard",
    "stale",
    "stopped",
    "busy",
)
RETRY_JITTER_SHARE = (
    0.1  # share by which a pause after a failure varies: many that failed together do not come back together
)
CLOCK_LEAP_SECONDS = 1.0  # seconds by which a due time may be later than it could be


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Attributes
    ----------
    kind
        ``good``; ``failed``; ``guard``: more would have gone or changed than may; ``stopped``: we were told to end;
        ``busy``: somebody else is at the collection.
    phase
        As in the list of runs: COMPLETED, ERROR, ABORTED.
    message
        For people.
    """

    kind: str
    phase: str
    message: str | None = None


def build_recurrence(resource: Resource) -> Recurrence | None:
    """Return the timing of a collection.

    Parameters
    ----------
    resource
        As its descriptor has it.

    Returns
    -------
    timing
        None: it has no schedule.

    Raises
    ------
    ValueError
        It cannot be.
    """
    sync_schedule = resource.schedule
    if sync_schedule is None or (sync_schedule.interval_seconds is None and sync_schedule.cron is None):
        return None
    return Recurrence(
        interval_seconds=sync_schedule.interval_seconds,
        cron=sync_schedule.cron,
        max_jitter_seconds=sync_schedule.max_jitter_seconds,
        time_zone=sync_schedule.time_zone,
    )


# each state of a schedule has its return
def plan_next_run(  # noqa: PLR0911
    schedule: SyncScheduleRecord | None,
    collection: str,
    recurrence: Recurrence,
    now: float,
    settings: ScheduleSettings,
    *,
    last_published: float | None = None,
) -> SyncScheduleRecord:
    """Plan the next run of a collection.

    A time that was missed is made up once, unless it was missed by more than `settings.grace`. No due time is later
    than it would be if it were worked out now, so a clock that was set back stops nothing.

    Parameters
    ----------
    schedule
        What is known of it; None: it is new.
    collection
        Of the collection.
    recurrence
        As its descriptor has it.
    now, last_published
        Seconds since 1970; `last_published`: when the collection was published last.
    settings
        Of schedules.

    Returns
    -------
    schedule
        As it is to be.
    """
    if schedule is None:
        return SyncScheduleRecord(
            collection=collection, timing=str(recurrence), due=_compute_next_time(recurrence, last_published, now)
        )
    if schedule.holder is not None:
        return schedule
    # the clock was ahead then: it is not fresh until that day comes
    if schedule.succeeded is not None and schedule.succeeded > now + CLOCK_LEAP_SECONDS:
        schedule = replace(schedule, succeeded=now)
    if schedule.timing != str(recurrence):
        if schedule.failures:  # a pause after a failure goes on
            return replace(schedule, timing=str(recurrence))
        last_start = max(schedule.began or 0.0, last_published or 0.0) or None
        return replace(schedule, timing=str(recurrence), due=_compute_next_time(recurrence, last_start, now))
    latest_due = _find_next_timestamp(recurrence, now) + recurrence.max_jitter_seconds
    if schedule.failures:
        latest_due = max(latest_due, now + settings.retry_most * (1 + RETRY_JITTER_SHARE))
    if schedule.due > latest_due + CLOCK_LEAP_SECONDS:
        return replace(schedule, due=latest_due)
    if settings.grace is not None and schedule.asked is None and schedule.due < now - settings.grace:
        return replace(schedule, due=_compute_due_time(recurrence, now))
    return schedule


def is_due(schedule: SyncScheduleRecord, now: float, *, is_held: bool = False) -> bool:
    """Return whether a run may begin.

    Parameters
    ----------
    schedule
        The schedule.
    now
        Seconds since 1970.
    is_held
        A rollback holds the collection.
    """
    return schedule.holder is None and (
        schedule.asked is not None or (schedule.paused is None and not is_held and schedule.due <= now)
    )


def finish_run(
    schedule: SyncScheduleRecord,
    recurrence: Recurrence | None,
    now: float,
    outcome: RunOutcome,
    *,
    settings: ScheduleSettings,
    alerts: AlertSettings,
    channels: Sequence[str],
) -> tuple[SyncScheduleRecord, list[Alert]]:
    """Compute the schedule after a run, and the alerts that are due then.

    Parameters
    ----------
    schedule
        Before.
    recurrence
        None: the collection has no schedule any more; its line goes soon.
    now
        Seconds since 1970.
    outcome
        How the run ended.
    settings
        Of schedules.
    alerts
        Settings of alerts.
    channels
        How people are told.

    Returns
    -------
    schedule
        After the run.
    alerts
        To be sent.
    """
    start_time = schedule.began or now
    schedule = replace(schedule, holder=None, ended=now)
    if outcome.kind == STOPPED_OUTCOME:  # it goes on when the site is served again
        return replace(schedule, due=now, phase=outcome.phase, message=outcome.message), []
    if outcome.kind == BUSY_OUTCOME:
        return replace(schedule, due=now + settings.retry, message=outcome.message), []
    if recurrence is None:
        regular_due = now
    else:
        regular_due = _compute_next_time(recurrence, start_time, now)
    if outcome.kind == GOOD_OUTCOME:
        new_alerts = []
        if schedule.told:
            recovered_states = " and ".join(sorted(schedule.told))
            if schedule.failures:
                failures_text = f" after {schedule.failures} failed run{'s' * (schedule.failures != 1)}"
            else:
                failures_text = ""
            alert = create_alert(
                schedule.collection,
                "recovered",
                f"{schedule.collection} is up to date again{failures_text}",
                channels,
                now,
                was=recovered_states,
            )
            new_alerts.append(alert)
        lasted = max(now - start_time, 0.0)
        return replace(
            schedule,
            failures=0,
            due=regular_due,
            phase=outcome.phase,
            message=outcome.message,
            succeeded=now,
            lasted=lasted,
            told={},
        ), new_alerts
    failures = schedule.failures + 1
    pause_seconds = compute_retry_pause(failures, settings)
    # what a guard stops needs a person or another state of the source: it is not asked again before its time
    if outcome.kind == GUARD_OUTCOME:
        due = max(regular_due, now + pause_seconds)
    else:
        due = now + pause_seconds
    schedule = replace(schedule, failures=failures, due=due, phase=outcome.phase, message=outcome.message)
    title = "was stopped by a guard" if outcome.kind == GUARD_OUTCOME else "failed"
    message = f"the sync of {schedule.collection} {title}: {outcome.message}"
    return alert_unless_known(schedule, outcome.kind, message, now, settings=alerts, channels=channels)


def alert_unless_known(
    schedule: SyncScheduleRecord,
    alert_kind: str,
    message: str,
    now: float,
    *,
    settings: AlertSettings,
    channels: Sequence[str],
) -> tuple[SyncScheduleRecord, list[Alert]]:
    """Alert people of something that is wrong, unless they know.

    The first time, at each so-manieth failure, and once a day.

    Parameters
    ----------
    schedule
        The schedule, which remembers what was told.
    alert_kind
        Of the trouble.
    message
        For people.
    now
        Seconds since 1970.
    settings
        Of alerts.
    channels
        Names of the ways to send it.

    Returns
    -------
    schedule
        With what was told now.
    alerts
        One, or none.
    """
    last_alert = schedule.told.get(alert_kind)
    if last_alert is not None:
        if alert_kind != STALE_ALERT:
            is_repeat_due = schedule.failures - last_alert["failures"] >= settings.repeat_failures
        else:
            is_repeat_due = False
        if not is_repeat_due and 0 <= now - last_alert["at"] < settings.repeat_hours * 3600:
            return schedule, []
    new_alert = create_alert(
        schedule.collection,
        alert_kind,
        message,
        channels,
        now,
        failures=schedule.failures,
        since=None if schedule.succeeded is None else format_timestamp(schedule.succeeded),
        next=None if schedule.timing == MANUAL_TIMING else format_timestamp(schedule.due),
    )
    return replace(schedule, told={**schedule.told, alert_kind: {"at": now, "failures": schedule.failures}}), [
        new_alert
    ]


def compute_stale_time(
    recurrence: Recurrence,
    schedule: SyncScheduleRecord | None,
    last_published: float | None,
    missed_runs_limit: int,
    now: float = math.inf,
) -> float | None:
    """Compute the time from which a collection's data are stale.

    So many times of its schedule went by since the last good run, and a run's length.

    Parameters
    ----------
    recurrence
        As its descriptor has it.
    schedule
        What is known of its runs; None: nothing.
    last_published
        When it was published last, seconds since 1970; None: never.
    missed_runs_limit
        How many times of the schedule may go by.
    now
        Seconds since 1970.

    Returns
    -------
    time
        Seconds since 1970; None: it was never published, or nobody wants it to run.
    """
    success_times = [schedule.succeeded if schedule is not None else None, last_published]
    # a clock that was ahead says nothing
    last_success = max(
        (success_time for success_time in success_times if success_time and success_time <= now + CLOCK_LEAP_SECONDS),
        default=0.0,
    )
    if not last_success or (schedule is not None and schedule.paused is not None):
        return None
    due_time = last_success
    for _ in range(missed_runs_limit):
        due_time = _find_next_timestamp(recurrence, due_time)
    return due_time + recurrence.max_jitter_seconds + (schedule.lasted or 0.0 if schedule is not None else 0.0)


def compute_retry_pause(failure_count: int, settings: ScheduleSettings) -> float:
    """Compute how long to wait after failures: twice as long each time, up to a ceiling.

    Parameters
    ----------
    failure_count
        In a row, at least 1.
    settings
        Of schedules.

    Returns
    -------
    pause
        Seconds, a little at random.
    """
    pause = min(settings.retry * 2.0 ** min(failure_count - 1, 30), max(settings.retry_most, settings.retry))
    return pause * random.uniform(1 - RETRY_JITTER_SHARE, 1 + RETRY_JITTER_SHARE)  # noqa: S311  (not a secret)


def format_timestamp(timestamp: float | None) -> str | None:
    """Format a time as ISO text in UTC.

    Parameters
    ----------
    timestamp
        Seconds since 1970; None: there is none.

    Returns
    -------
    text
        To the second, with Z; None if there is none.
    """
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _compute_next_time(recurrence: Recurrence, last_start: float | None, now: float) -> float:
    """Compute the next time after a run that began then.

    With `every` the rhythm is kept, and what is past comes at once.
    """
    if recurrence.interval_seconds is None:
        return _compute_due_time(recurrence, now)
    if last_start is None:
        regular_time = now
    else:
        regular_time = last_start + recurrence.interval_seconds
    return min(max(regular_time, now), now + recurrence.interval_seconds) + _draw_jitter(recurrence)


def _compute_due_time(recurrence: Recurrence, now: float) -> float:
    return _find_next_timestamp(recurrence, now) + _draw_jitter(recurrence)


def _draw_jitter(recurrence: Recurrence) -> float:
    # not a secret
    return random.uniform(0, recurrence.max_jitter_seconds) if recurrence.max_jitter_seconds else 0.0  # noqa: S311


def _find_next_timestamp(recurrence: Recurrence, timestamp: float) -> float:
    next_time = recurrence.find_next_time(datetime.fromtimestamp(timestamp, UTC))
    return next_time.timestamp()


__all__ = [
    "BUSY_OUTCOME",
    "FAILED_OUTCOME",
    "GOOD_OUTCOME",
    "GUARD_OUTCOME",
    "MANUAL_TIMING",
    "STALE_ALERT",
    "STOPPED_OUTCOME",
    "RunOutcome",
    "alert_unless_known",
    "build_recurrence",
    "compute_retry_pause",
    "compute_stale_time",
    "finish_run",
    "format_duration",
    "format_timestamp",
    "is_due",
    "plan_next_run",
]
