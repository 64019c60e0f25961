"""Plan when a collection is synchronised: from its recurrence, the results of its last runs, and the given time.

This module reads no clock.
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

    from hven.model.resource import CollectionSpec
    from hven.model.settings import AlertSettings, ScheduleSettings
    from hven.site.store import CollectionAlert

MANUAL_TIMING = "by hand"  # the timing of a collection without a schedule whose last run failed
GOOD_OUTCOME, FAILED_OUTCOME, GUARD_OUTCOME = "good", "failed", "guard"
STOPPED_OUTCOME, BUSY_OUTCOME = "stopped", "busy"
STALE_ALERT = "stale"
RETRY_JITTER_SHARE = 0.1  # of a pause after a failure, so that collections that failed together retry apart
CLOCK_LEAP_SECONDS = 1.0  # a time that is later than possible by more than this comes from a clock that was ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRunOutcome:
    """How a run ended.

    Attributes
    ----------
    kind
        ``good``; ``failed``; ``guard``: more rows would have been removed or changed than allowed; ``stopped``: the
        process was told to end; ``busy``: another run changes the collection.
    phase
        The phase in the list of runs: COMPLETED, ERROR, ABORTED.
    message
        A message for people.
    """

    kind: str
    phase: str
    message: str | None = None


def build_recurrence(resource: CollectionSpec) -> Recurrence | None:
    """Build the recurrence of a collection's schedule.

    Parameters
    ----------
    resource
        The collection.

    Returns
    -------
    recurrence
        None: it has no schedule.

    Raises
    ------
    ValueError
        The schedule is invalid.
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


# each state of a schedule has its own return
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

    A missed time is made up once, unless it was missed by more than `settings.grace`. No due time is later than it
    would be if it were computed now, so a clock that was set back does not stop the schedule.

    Parameters
    ----------
    schedule
        The present schedule; None: the collection is new.
    collection
        Name of the collection.
    recurrence
        The recurrence of its descriptor.
    now, last_published
        The present time and the last publication of the collection, in seconds since 1970.
    settings
        Settings of schedules.

    Returns
    -------
    schedule
        The planned schedule.
    """
    timing = str(recurrence)
    if schedule is None:
        first_due = _compute_next_run_time(recurrence, last_published, now)
        return SyncScheduleRecord(collection=collection, timing=timing, due=first_due)
    if schedule.holder is not None:
        return schedule
    # the clock was ahead at the last success, which would make the data fresh until then
    if schedule.succeeded is not None and schedule.succeeded > now + CLOCK_LEAP_SECONDS:
        schedule = replace(schedule, succeeded=now)
    if schedule.timing != timing:
        if schedule.failures:  # the pause after a failure continues
            return replace(schedule, timing=timing)
        last_start = max(schedule.began or 0.0, last_published or 0.0) or None
        return replace(schedule, timing=timing, due=_compute_next_run_time(recurrence, last_start, now))
    latest_due = _find_next_timestamp(recurrence, now) + recurrence.max_jitter_seconds
    if schedule.failures:
        latest_due = max(latest_due, now + settings.retry_most * (1 + RETRY_JITTER_SHARE))
    if schedule.due > latest_due + CLOCK_LEAP_SECONDS:
        return replace(schedule, due=latest_due)
    if settings.grace is not None and schedule.asked is None and schedule.due < now - settings.grace:
        return replace(schedule, due=_compute_next_due_time(recurrence, now))
    return schedule


def is_run_due(schedule: SyncScheduleRecord, now: float, *, is_held: bool = False) -> bool:
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
    if schedule.holder is not None:
        return False
    if schedule.asked is not None:
        return True
    return schedule.paused is None and not is_held and schedule.due <= now


def compute_schedule_after_run(
    schedule: SyncScheduleRecord,
    recurrence: Recurrence | None,
    now: float,
    outcome: SyncRunOutcome,
    *,
    settings: ScheduleSettings,
    alerts: AlertSettings,
    channels: Sequence[str],
) -> tuple[SyncScheduleRecord, list[CollectionAlert]]:
    """Compute the schedule after a run, and the alerts about the run.

    Parameters
    ----------
    schedule
        The schedule before the run.
    recurrence
        None: the collection has no schedule any more, and its record will be removed.
    now
        Seconds since 1970.
    outcome
        How the run ended.
    settings
        Settings of schedules.
    alerts
        Settings of alerts.
    channels
        Channels of alerts.

    Returns
    -------
    schedule
        The schedule after the run.
    alerts
        The alerts to send.
    """
    start_time = schedule.began or now
    schedule = replace(schedule, holder=None, ended=now)
    if outcome.kind == STOPPED_OUTCOME:  # the run is repeated when the site is served again
        return replace(schedule, due=now, phase=outcome.phase, message=outcome.message), []
    if outcome.kind == BUSY_OUTCOME:
        return replace(schedule, due=now + settings.retry, message=outcome.message), []
    regular_due = now
    if recurrence is not None:
        regular_due = _compute_next_run_time(recurrence, start_time, now)
    if outcome.kind == GOOD_OUTCOME:
        new_alerts = _build_recovery_alerts(schedule, now, channels)
        good_schedule = replace(
            schedule,
            failures=0,
            due=regular_due,
            phase=outcome.phase,
            message=outcome.message,
            succeeded=now,
            lasted=max(now - start_time, 0.0),
            told={},
        )
        return good_schedule, new_alerts
    failures = schedule.failures + 1
    due = now + compute_retry_pause(failures, settings)
    title = "failed"
    if outcome.kind == GUARD_OUTCOME:
        # a guard needs a user's decision, or another state of the source, so there is no early retry
        due = max(regular_due, due)
        title = "was stopped by a guard"
    schedule = replace(schedule, failures=failures, due=due, phase=outcome.phase, message=outcome.message)
    message = f"the sync of {schedule.collection} {title}: {outcome.message}"
    return build_alert_unless_sent(schedule, outcome.kind, message, now, settings=alerts, channels=channels)


def _build_recovery_alerts(schedule: SyncScheduleRecord, now: float, channels: Sequence[str]) -> list[CollectionAlert]:
    """Build the alert that a collection is up to date again, if an alert said that it was not."""
    if not schedule.told:
        return []
    failures_text = ""
    if schedule.failures:
        failures_text = f" after {schedule.failures} failed run{'s' * (schedule.failures != 1)}"
    message = f"{schedule.collection} is up to date again{failures_text}"
    recovered_states = " and ".join(sorted(schedule.told))
    return [create_alert(schedule.collection, "recovered", message, channels, now, was=recovered_states)]


def build_alert_unless_sent(
    schedule: SyncScheduleRecord,
    alert_kind: str,
    message: str,
    now: float,
    *,
    settings: AlertSettings,
    channels: Sequence[str],
) -> tuple[SyncScheduleRecord, list[CollectionAlert]]:
    """Build an alert of a problem, unless it was sent already.

    An alert is sent the first time, again after a number of further failures (`settings.repeat_failures`), and once in
    `settings.repeat_hours`.

    Parameters
    ----------
    schedule
        The schedule, which records the alerts that were sent.
    alert_kind
        Kind of the problem.
    message
        A message for people.
    now
        Seconds since 1970.
    settings
        Settings of alerts.
    channels
        Channels of alerts.

    Returns
    -------
    schedule
        The schedule with the record of this alert.
    alerts
        One alert, or none.
    """
    last_alert = schedule.told.get(alert_kind)
    if last_alert is not None:
        is_repeat_due = False
        if alert_kind != STALE_ALERT:
            is_repeat_due = schedule.failures - last_alert["failures"] >= settings.repeat_failures
        is_recent = 0 <= now - last_alert["at"] < settings.repeat_hours * 3600
        if is_recent and not is_repeat_due:
            return schedule, []
    new_alert = create_alert(
        schedule.collection,
        alert_kind,
        message,
        channels,
        now,
        failures=schedule.failures,
        since=None if schedule.succeeded is None else format_unix_timestamp(schedule.succeeded),
        next=None if schedule.timing == MANUAL_TIMING else format_unix_timestamp(schedule.due),
    )
    alert_state = {"at": now, "failures": schedule.failures}
    return replace(schedule, told={**schedule.told, alert_kind: alert_state}), [new_alert]


def compute_stale_time(
    recurrence: Recurrence,
    schedule: SyncScheduleRecord | None,
    last_published: float | None,
    missed_runs_limit: int,
    now: float = math.inf,
) -> float | None:
    """Compute the time from which the data of a collection are stale.

    They are stale when a number of scheduled times, and the duration of a run, have passed since the last good run.

    Parameters
    ----------
    recurrence
        The recurrence of its descriptor.
    schedule
        Its schedule with the results of its runs; None: unknown.
    last_published
        Time of its last publication, in seconds since 1970; None: it was never published.
    missed_runs_limit
        Number of scheduled times that may pass.
    now
        Seconds since 1970.

    Returns
    -------
    stale_time
        Seconds since 1970; None: the collection was never published, or is paused.
    """
    success_times = [last_published]
    run_seconds = 0.0
    if schedule is not None:
        if schedule.paused is not None:
            return None
        success_times.append(schedule.succeeded)
        run_seconds = schedule.lasted or 0.0
    # a time in the future comes from a clock that was ahead
    latest_time = now + CLOCK_LEAP_SECONDS
    past_times = [success_time for success_time in success_times if success_time and success_time <= latest_time]
    if not past_times:
        return None
    due_time = max(past_times)
    for _ in range(missed_runs_limit):
        due_time = _find_next_timestamp(recurrence, due_time)
    return due_time + recurrence.max_jitter_seconds + run_seconds


def compute_retry_pause(failure_count: int, settings: ScheduleSettings) -> float:
    """Compute the pause after failures: twice as long each time, up to a limit.

    Parameters
    ----------
    failure_count
        Number of failures in a row, at least 1.
    settings
        Settings of schedules.

    Returns
    -------
    pause
        Seconds, with a random part.
    """
    doubled_pause = settings.retry * 2.0 ** min(failure_count - 1, 30)
    pause = min(doubled_pause, max(settings.retry_most, settings.retry))
    return pause * random.uniform(1 - RETRY_JITTER_SHARE, 1 + RETRY_JITTER_SHARE)  # noqa: S311  (not a secret)


def format_unix_timestamp(timestamp: float | None) -> str | None:
    """Format a time as ISO text in UTC.

    Parameters
    ----------
    timestamp
        Seconds since 1970; None: unknown.

    Returns
    -------
    text
        A text to the second, with Z; None if the time is unknown.
    """
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _compute_next_run_time(recurrence: Recurrence, last_start: float | None, now: float) -> float:
    """Compute the time of the next run after a run that began at `last_start`.

    With an interval, the next run comes one interval after the last start, or at once if this time has passed.
    """
    interval_seconds = recurrence.interval_seconds
    if interval_seconds is None:
        return _compute_next_due_time(recurrence, now)
    regular_time = now if last_start is None else last_start + interval_seconds
    next_time = min(max(regular_time, now), now + interval_seconds)
    return next_time + _draw_jitter(recurrence)


def _compute_next_due_time(recurrence: Recurrence, now: float) -> float:
    return _find_next_timestamp(recurrence, now) + _draw_jitter(recurrence)


def _draw_jitter(recurrence: Recurrence) -> float:
    # not a secret
    if not recurrence.max_jitter_seconds:
        return 0.0
    return random.uniform(0, recurrence.max_jitter_seconds)  # noqa: S311  (not a secret)


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
    "SyncRunOutcome",
    "build_alert_unless_sent",
    "build_recurrence",
    "compute_retry_pause",
    "compute_schedule_after_run",
    "compute_stale_time",
    "format_duration",
    "format_unix_timestamp",
    "is_run_due",
    "plan_next_run",
]
