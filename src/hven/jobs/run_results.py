"""How runs end: written down, counted like the schedule's own, and told to whom it concerns."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hven import descriptor
from hven.jobs._alert_delivery import list_channels, send_alerts
from hven.jobs._redaction import SecretRedactor
from hven.jobs.schedule_planning import (
    FAILED_OUTCOME,
    GOOD_OUTCOME,
    GUARD_OUTCOME,
    MANUAL_TIMING,
    RunOutcome,
    build_recurrence,
    finish_run,
)
from hven.model.errors import ChangeGuardError, ConflictError, HvenError
from hven.site.descriptor_watch import find_descriptor_files
from hven.site.store import SyncScheduleRecord
from hven.site.store.ingest_runs import COMPLETED_PHASE, ERROR_PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.resource import Recurrence
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import Alert, StateStore

log = logging.getLogger("hven.schedule")
T = TypeVar("T")


def record_run_end(
    store: StateStore, settings: Settings, collection: str, outcome: RunOutcome, *, own_holder: str
) -> None:
    """Record how a run ended, if it is still the one that `own_holder` holds.

    Parameters
    ----------
    store
        Of the site.
    settings
        Of the site.
    collection
        Of the collection.
    outcome
        How it ended.
    own_holder
        The holder of the run.
    """
    recurrence, channels, outcome = _load_alert_context(settings, collection, outcome)

    def finish_schedule(
        schedule: SyncScheduleRecord | None, now: float
    ) -> tuple[SyncScheduleRecord | None, Iterable[Alert]]:
        if schedule is None or schedule.holder != own_holder:
            return schedule, ()
        return finish_run(
            schedule, recurrence, now, outcome, settings=settings.schedule, alerts=settings.alerts, channels=channels
        )

    _, schedule = store.schedules.update_schedule(collection, finish_schedule)
    if outcome.kind in {FAILED_OUTCOME, GUARD_OUTCOME} and schedule is not None:
        log.error("the sync of %s failed, %s in a row: %s", collection, schedule.failures, outcome.message)
    else:
        log.info("the sync of %s: %s%s", collection, outcome.kind, f": {outcome.message}" if outcome.message else "")


def run_and_record(site: Site, collection: str, run_sync: Callable[[], T]) -> T:
    """Run what somebody asked for, by hand or by cron, so that it counts like the schedule's own.

    People hear of it, a good one ends failures.

    What was never published has nobody who waits for it, and what ends because another run is under way is none.

    Parameters
    ----------
    site
        Where.
    collection
        Of the collection.
    run_sync
        Does it.

    Returns
    -------
    result
        What `run_sync` returned; what it raises is raised.
    """
    store = site.store
    if collection in store.list_publication_times():
        start_time = store.schedules.get_current_time()
    else:
        start_time = None
    try:
        run_result = run_sync()
    except ConflictError:
        raise
    except Exception as error:
        if start_time is not None:
            if isinstance(error, ChangeGuardError):
                how = GUARD_OUTCOME
            else:
                how = FAILED_OUTCOME
            message = str(error) or type(error).__name__
            _record_manual_run(
                site,
                collection,
                RunOutcome(kind=how, phase=ERROR_PHASE, message=message),
                start_time,
            )
        raise
    if start_time is not None:
        _record_manual_run(site, collection, RunOutcome(kind=GOOD_OUTCOME, phase=COMPLETED_PHASE), start_time)
    return run_result


def _record_manual_run(site: Site, collection: str, outcome: RunOutcome, start_time: float) -> None:
    settings = site.settings
    store = site.store
    recurrence, channels, outcome = _load_alert_context(settings, collection, outcome)

    def finish_schedule(
        schedule: SyncScheduleRecord | None, now: float
    ) -> tuple[SyncScheduleRecord | None, Iterable[Alert]]:
        if schedule is None:
            schedule = SyncScheduleRecord(collection=collection, timing=MANUAL_TIMING, due=now)
        if schedule.holder is not None:  # a scheduled run says how that went
            return schedule, ()
        new_schedule, new_alerts = finish_run(
            replace(schedule, began=start_time),
            recurrence,
            now,
            outcome,
            settings=settings.schedule,
            alerts=settings.alerts,
            channels=channels,
        )
        return (
            None if new_schedule.timing == MANUAL_TIMING and not new_schedule.failures else new_schedule
        ), new_alerts

    try:
        store.schedules.update_schedule(collection, finish_schedule)
        if channels and not any(
            lease.name == "scheduler" for lease in store.leases.list_leases()
        ):  # nobody else would tell people
            send_alerts(settings, store)
    except HvenError as error:  # how the run ended must not be hidden by that
        log.warning("that the run of %s ended could not be written down or told: %s", collection, error)


def _load_alert_context(
    settings: Settings, collection: str, outcome: RunOutcome
) -> tuple[Recurrence | None, list[str], RunOutcome]:
    """Return the timing of a collection, the ways to people, and what they may read of an outcome."""
    recurrence = None
    path = find_descriptor_files(settings).get(collection)
    with suppress(HvenError, ValueError):
        if path:
            recurrence = build_recurrence(descriptor.load_descriptor(path, settings))
        else:
            recurrence = None
    message = outcome.message and SecretRedactor(settings.directory).redact_text(outcome.message)
    return recurrence, list_channels(settings), replace(outcome, message=message)
