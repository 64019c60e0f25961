"""When a collection is due: from its timing, from what came of the last runs, and from the clock as it is now. No clock is read here."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.model.resource import Timing, span
from hven.site.store import Schedule, alert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import Resource
    from hven.model.settings import AlertSettings, ScheduleSettings
    from hven.site.store import Alert

BY_HAND = "by hand"  # the timing of a collection that has none, and whose last run failed
GOOD, FAILED, GUARD, STALE, STOPPED, BUSY = "good", "failed", "guard", "stale", "stopped", "busy"
SHAKEN = 0.1  # share by which a pause after a failure varies: many that failed together do not come back together
LEAP = 1.0  # seconds by which a due time may be later than it could be


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes
    ----------
    how
        ``good``; ``failed``; ``guard``: more would have gone or changed than may; ``stopped``: we were told to end; ``busy``: somebody
        else is at the collection.
    phase
        As in the list of runs: COMPLETED, ERROR, ABORTED.
    message
        For people.
    """

    how: str
    phase: str
    message: str | None = None


def timing_of(resource: Resource) -> Timing | None:
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
    said = resource.schedule
    if said is None or (said.every is None and said.cron is None):
        return None
    return Timing(every=said.every, cron=said.cron, jitter=said.jitter, zone=said.zone)


def planned(
    row: Schedule | None,
    name: str,
    timing: Timing,
    now: float,
    settings: ScheduleSettings,
    *,
    last: float | None = None,
) -> Schedule:
    """Plan the next run of a collection.

    A time that was missed is made up once, unless it was missed by more than `settings.grace`. No due time is later than it would be if it were
    worked out now, so a clock that was set back stops nothing.

    Parameters
    ----------
    row
        What is known of it; None: it is new.
    name
        Of the collection.
    timing
        As its descriptor has it.
    now, last
        Seconds since 1970; `last`: when the collection was published last.
    settings
        Of schedules.

    Returns
    -------
    schedule
        As it is to be.
    """
    if row is None:
        return Schedule(collection=name, timing=str(timing), due=_from(timing, last, now))
    if row.holder is not None:
        return row
    # the clock was ahead then: it is not fresh until that day comes
    if row.succeeded is not None and row.succeeded > now + LEAP:
        row = replace(row, succeeded=now)
    if row.timing != str(timing):
        if row.failures:  # a pause after a failure goes on
            return replace(row, timing=str(timing))
        begun = max(row.began or 0.0, last or 0.0) or None
        return replace(row, timing=str(timing), due=_from(timing, begun, now))
    latest = _after(timing, now) + timing.jitter
    if row.failures:
        latest = max(latest, now + settings.retry_most * (1 + SHAKEN))
    if row.due > latest + LEAP:
        return replace(row, due=latest)
    if settings.grace is not None and row.asked is None and row.due < now - settings.grace:
        return replace(row, due=_due(timing, now))
    return row


def is_due(row: Schedule, now: float, *, held: bool = False) -> bool:
    """Return whether a run may begin.

    Parameters
    ----------
    row
        The schedule.
    now
        Seconds since 1970.
    held
        A rollback holds the collection.
    """
    return row.holder is None and (row.asked is not None or (row.paused is None and not held and row.due <= now))


def finished(
    row: Schedule,
    timing: Timing | None,
    now: float,
    outcome: Outcome,
    settings: ScheduleSettings,
    alerts: AlertSettings,
    ways: Sequence[str],
) -> tuple[Schedule, list[Alert]]:
    """Compute the schedule after a run, and the alerts that are due then.

    Parameters
    ----------
    row
        Before.
    timing
        None: the collection has no schedule any more; its line goes soon.
    now
        Seconds since 1970.
    outcome
        How the run ended.
    settings
        Of schedules.
    alerts
        Settings of alerts.
    ways
        How people are told.

    Returns
    -------
    schedule
        After the run.
    alerts
        To be sent.
    """
    began = row.began or now
    row = replace(row, holder=None, ended=now)
    if outcome.how == STOPPED:  # it goes on when the site is served again
        return replace(row, due=now, phase=outcome.phase, message=outcome.message), []
    if outcome.how == BUSY:
        return replace(row, due=now + settings.retry, message=outcome.message), []
    normal = now if timing is None else _from(timing, began, now)
    if outcome.how == GOOD:
        told = []
        if row.told:
            what = " and ".join(sorted(row.told))
            since = f" after {row.failures} failed run{'s' * (row.failures != 1)}" if row.failures else ""
            told.append(
                alert(row.collection, "recovered", f"{row.collection} is up to date again{since}", ways, now, was=what)
            )
        return replace(
            row,
            failures=0,
            due=normal,
            phase=outcome.phase,
            message=outcome.message,
            succeeded=now,
            lasted=max(now - began, 0.0),
            told={},
        ), told
    failures = row.failures + 1
    pause = pause_after(failures, settings)
    # what a guard stops needs a person or another state of the source: it is not asked again before its time
    due = max(normal, now + pause) if outcome.how == GUARD else now + pause
    row = replace(row, failures=failures, due=due, phase=outcome.phase, message=outcome.message)
    title = "was stopped by a guard" if outcome.how == GUARD else "failed"
    message = f"the sync of {row.collection} {title}: {outcome.message}"
    return told_of(row, outcome.how, message, now, alerts, ways)


def told_of(
    row: Schedule, kind: str, message: str, now: float, settings: AlertSettings, ways: Sequence[str]
) -> tuple[Schedule, list[Alert]]:
    """Alert people of something that is wrong, unless they know: the first time, at each so-manieth failure, and once a day.

    Parameters
    ----------
    row
        The schedule, which remembers what was told.
    kind
        Of the trouble.
    message
        For people.
    now
        Seconds since 1970.
    settings
        Of alerts.
    ways
        Names of the ways to send it.

    Returns
    -------
    schedule
        With what was told now.
    alerts
        One, or none.
    """
    before = row.told.get(kind)
    if before is not None:
        again = row.failures - before["failures"] >= settings.repeat_failures if kind != STALE else False
        if not again and 0 <= now - before["at"] < settings.repeat_hours * 3600:
            return row, []
    item = alert(
        row.collection,
        kind,
        message,
        ways,
        now,
        failures=row.failures,
        since=None if row.succeeded is None else iso(row.succeeded),
        next=None if row.timing == BY_HAND else iso(row.due),
    )
    return replace(row, told={**row.told, kind: {"at": now, "failures": row.failures}}), [item]


def stale_at(
    timing: Timing, row: Schedule | None, last: float | None, missed: int, now: float = math.inf
) -> float | None:
    """Compute the time from which a collection's data are stale: so many times of its schedule went by since the last good run, and a run's length.

    Parameters
    ----------
    timing
        As its descriptor has it.
    row
        What is known of its runs; None: nothing.
    last
        When it was published last, seconds since 1970; None: never.
    missed
        How many times of the schedule may go by.
    now
        Seconds since 1970.

    Returns
    -------
    time
        Seconds since 1970; None: it was never published, or nobody wants it to run.
    """
    known = [row.succeeded if row is not None else None, last]
    # a clock that was ahead says nothing
    succeeded = max((one for one in known if one and one <= now + LEAP), default=0.0)
    if not succeeded or (row is not None and row.paused is not None):
        return None
    moment = succeeded
    for _ in range(missed):
        moment = _after(timing, moment)
    return moment + timing.jitter + (row.lasted or 0.0 if row is not None else 0.0)


def pause_after(failures: int, settings: ScheduleSettings) -> float:
    """Compute how long to wait after failures: twice as long each time, up to a ceiling.

    Parameters
    ----------
    failures
        In a row, at least 1.
    settings
        Of schedules.

    Returns
    -------
    pause
        Seconds, a little at random.
    """
    pause = min(settings.retry * 2.0 ** min(failures - 1, 30), max(settings.retry_most, settings.retry))
    return pause * random.uniform(1 - SHAKEN, 1 + SHAKEN)  # noqa: S311  (not a secret)


def iso(moment: float | None) -> str | None:
    """Format a time as ISO text in UTC.

    Parameters
    ----------
    moment
        Seconds since 1970; None: there is none.

    Returns
    -------
    text
        To the second, with Z; None if there is none.
    """
    return (
        None
        if moment is None
        else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    )


def _from(timing: Timing, begun: float | None, now: float) -> float:
    """Compute the next time after a run that began then; with `every` the rhythm is kept, and what is past comes at once."""
    if timing.every is None:
        return _due(timing, now)
    wanted = now if begun is None else begun + timing.every
    return min(max(wanted, now), now + timing.every) + _jitter(timing)


def _due(timing: Timing, now: float) -> float:
    return _after(timing, now) + _jitter(timing)


def _jitter(timing: Timing) -> float:
    return random.uniform(0, timing.jitter) if timing.jitter else 0.0  # noqa: S311  (not a secret)


def _after(timing: Timing, moment: float) -> float:
    return timing.after(datetime.fromtimestamp(moment, UTC)).timestamp()


__all__ = [
    "BUSY",
    "BY_HAND",
    "FAILED",
    "GOOD",
    "GUARD",
    "STALE",
    "STOPPED",
    "Outcome",
    "finished",
    "is_due",
    "iso",
    "pause_after",
    "planned",
    "span",
    "stale_at",
    "timing_of",
    "told_of",
]
