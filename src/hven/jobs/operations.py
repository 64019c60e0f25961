"""How runs end: written down, counted like the schedule's own, and told to whom it concerns."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hven import descriptor
from hven.jobs._redaction import Hiding
from hven.jobs._sending import deliver, ways_of
from hven.jobs.planning import BY_HAND, FAILED, GOOD, GUARD, Outcome, finished, timing_of
from hven.model.errors import Conflict, Guarded, HvenError
from hven.site.store import Schedule
from hven.site.store.runs import COMPLETED, ERROR
from hven.site.watch import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.resource import Timing
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import Alert, Store

log = logging.getLogger("hven.schedule")
T = TypeVar("T")


def close(store: Store, settings: Settings, name: str, outcome: Outcome, *, mine: str) -> None:
    """Record how a run ended, if it is still the one that `mine` holds.

    Parameters
    ----------
    store
        Of the site.
    settings
        Of the site.
    name
        Of the collection.
    outcome
        How it ended.
    mine
        The holder of the run.
    """
    timing, ways, outcome = _told(settings, name, outcome)

    def step(row: Schedule | None, now: float) -> tuple[Schedule | None, Iterable[Alert]]:
        if row is None or row.holder != mine:
            return row, ()
        return finished(row, timing, now, outcome, settings.schedule, settings.alerts, ways)

    _, row = store.schedules.change(name, step)
    if outcome.how in {FAILED, GUARD} and row is not None:
        log.error("the sync of %s failed, %s in a row: %s", name, row.failures, outcome.message)
    else:
        log.info("the sync of %s: %s%s", name, outcome.how, f": {outcome.message}" if outcome.message else "")


def counted(site: Site, name: str, run: Callable[[], T]) -> T:
    """Run what somebody asked for, by hand or by cron, so that it counts like the schedule's own: people hear of it, a good one ends failures.

    What was never published has nobody who waits for it, and what ends because another run is under way is none.

    Parameters
    ----------
    site
        Where.
    name
        Of the collection.
    run
        Does it.

    Returns
    -------
    result
        What `run` returned; what it raises is raised.
    """
    store = site.store
    began = store.schedules.moment() if name in store.published() else None
    try:
        found = run()
    except Conflict:
        raise
    except Exception as error:
        if began is not None:
            how = GUARD if isinstance(error, Guarded) else FAILED
            _count(site, name, Outcome(how=how, phase=ERROR, message=str(error) or type(error).__name__), began)
        raise
    if began is not None:
        _count(site, name, Outcome(how=GOOD, phase=COMPLETED), began)
    return found


def _count(site: Site, name: str, outcome: Outcome, began: float) -> None:
    settings, store = site.settings, site.store
    timing, ways, outcome = _told(settings, name, outcome)

    def step(row: Schedule | None, now: float) -> tuple[Schedule | None, Iterable[Alert]]:
        if row is None:
            row = Schedule(collection=name, timing=BY_HAND, due=now)
        if row.holder is not None:  # a scheduled run says how that went
            return row, ()
        after, told = finished(
            replace(row, began=began), timing, now, outcome, settings.schedule, settings.alerts, ways
        )
        return (None if after.timing == BY_HAND and not after.failures else after), told

    try:
        store.schedules.change(name, step)
        if ways and not any(lease.name == "scheduler" for lease in store.leases.all()):  # nobody else would tell people
            deliver(settings, store)
    except HvenError as error:  # how the run ended must not be hidden by that
        log.warning("that the run of %s ended could not be written down or told: %s", name, error)


def _told(settings: Settings, name: str, outcome: Outcome) -> tuple[Timing | None, list[str], Outcome]:
    """Return the timing of a collection, the ways to people, and what they may read of an outcome."""
    timing, path = None, files(settings).get(name)
    with suppress(HvenError, ValueError):
        timing = timing_of(descriptor.load(path, settings)) if path else None
    message = outcome.message and Hiding(settings.directory).text(outcome.message)
    return timing, ways_of(settings), replace(outcome, message=message)
