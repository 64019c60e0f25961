"""Record how runs end, update the schedule, and send alerts."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hven import descriptor
from hven.jobs._alert_delivery import list_alert_channels, send_due_alerts
from hven.jobs._redaction import SecretRedactor
from hven.jobs.schedule_planning import (
    FAILED_OUTCOME,
    GOOD_OUTCOME,
    GUARD_OUTCOME,
    MANUAL_TIMING,
    SyncRunOutcome,
    build_recurrence,
    compute_schedule_after_run,
)
from hven.model.errors import ChangeLimitExceededError, ConflictError, HvenError
from hven.site.descriptor_watch import find_descriptor_files
from hven.site.store import SyncScheduleRecord
from hven.site.store.ingest_runs import COMPLETED_PHASE, ERROR_PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.resource import Recurrence
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import CollectionAlert, StateStore

log = logging.getLogger("hven.schedule")
T = TypeVar("T")


def record_sync_run_end(
    store: StateStore, settings: Settings, collection: str, outcome: SyncRunOutcome, *, own_holder: str
) -> None:
    """Record how a run ended, if `own_holder` still holds it.

    Parameters
    ----------
    store
        Store of the site.
    settings
        Settings of the site.
    collection
        Name of the collection.
    outcome
        How the run ended.
    own_holder
        The holder of the run.
    """
    recurrence, channels, outcome = _load_schedule_and_redact_outcome(settings, collection, outcome)

    def finish_schedule(
        schedule: SyncScheduleRecord | None, now: float
    ) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
        if schedule is None or schedule.holder != own_holder:
            return schedule, ()
        return compute_schedule_after_run(
            schedule, recurrence, now, outcome, settings=settings.schedule, alerts=settings.alerts, channels=channels
        )

    _, schedule = store.schedules.update_schedule(collection, finish_schedule)
    if outcome.kind in {FAILED_OUTCOME, GUARD_OUTCOME} and schedule is not None:
        log.error(
            "the sync of %s failed (consecutive failures: %s): %s", collection, schedule.failures, outcome.message
        )
        return
    message = f": {outcome.message}" if outcome.message else ""
    log.info("the sync of %s has ended (%s)%s", collection, outcome.kind, message)


def run_and_record_sync(site: Site, collection: str, run_sync: Callable[[], T]) -> T:
    """Run a sync that a user or cron started, so that it counts like a scheduled run.

    A failure leads to an alert, and a good run ends a series of failures. Runs of collections that were never published
    do not count, and neither do runs that end because another run is in progress.

    Parameters
    ----------
    site
        The site.
    collection
        Name of the collection.
    run_sync
        The function that runs the sync.

    Returns
    -------
    result
        The result of `run_sync`; its errors are raised.
    """
    store = site.store
    start_time: float | None = None
    if collection in store.list_publication_times():
        start_time = store.schedules.get_database_time()
    try:
        run_result = run_sync()
    except ConflictError:
        raise
    except Exception as error:
        if start_time is not None:
            if isinstance(error, ChangeLimitExceededError):
                kind = GUARD_OUTCOME
            else:
                kind = FAILED_OUTCOME
            message = str(error) or type(error).__name__
            outcome = SyncRunOutcome(kind=kind, phase=ERROR_PHASE, message=message)
            _record_manual_run_and_send_alerts(site, collection, outcome, start_time)
        raise
    if start_time is not None:
        outcome = SyncRunOutcome(kind=GOOD_OUTCOME, phase=COMPLETED_PHASE)
        _record_manual_run_and_send_alerts(site, collection, outcome, start_time)
    return run_result


def _record_manual_run_and_send_alerts(site: Site, collection: str, outcome: SyncRunOutcome, start_time: float) -> None:
    settings = site.settings
    store = site.store
    recurrence, channels, outcome = _load_schedule_and_redact_outcome(settings, collection, outcome)

    def finish_schedule(
        schedule: SyncScheduleRecord | None, now: float
    ) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
        if schedule is None:
            schedule = SyncScheduleRecord(collection=collection, timing=MANUAL_TIMING, due=now)
        if schedule.holder is not None:  # a scheduled run is in progress, and will record its own end
            return schedule, ()
        new_schedule, new_alerts = compute_schedule_after_run(
            replace(schedule, began=start_time),
            recurrence,
            now,
            outcome,
            settings=settings.schedule,
            alerts=settings.alerts,
            channels=channels,
        )
        if new_schedule.timing == MANUAL_TIMING and not new_schedule.failures:
            return None, new_alerts
        return new_schedule, new_alerts

    try:
        store.schedules.update_schedule(collection, finish_schedule)
        if channels:
            has_scheduler = any(lease.name == "scheduler" for lease in store.leases.list_leases())
            if not has_scheduler:  # otherwise the scheduler sends the alerts
                send_due_alerts(settings, store)
    except HvenError as error:  # this must not hide the result of the run
        log.warning("the run of %s has ended, but Hven could not record or report this: %s", collection, error)


def _load_schedule_and_redact_outcome(
    settings: Settings, collection: str, outcome: SyncRunOutcome
) -> tuple[Recurrence | None, list[str], SyncRunOutcome]:
    """Return the schedule of a collection, the channels of alerts, and the outcome without secrets."""
    recurrence: Recurrence | None = None
    path = find_descriptor_files(settings).get(collection)
    if path:
        with suppress(HvenError, ValueError):
            recurrence = build_recurrence(descriptor.load_descriptor(path, settings))
    message = outcome.message
    if message:
        message = SecretRedactor(settings.directory).redact_text(message)
    return recurrence, list_alert_channels(settings), replace(outcome, message=message)
