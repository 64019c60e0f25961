"""Run a schedule once, in a process of its own: claim it, synchronise the collection, and record how the run ended."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hven.ingest import sync as sync_package
from hven.ingest.api.runs import execute_steps_after_scheduled_sync
from hven.jobs.run_results import record_sync_run_end
from hven.jobs.schedule_planning import (
    BUSY_OUTCOME,
    FAILED_OUTCOME,
    GOOD_OUTCOME,
    GUARD_OUTCOME,
    STOPPED_OUTCOME,
    SyncRunOutcome,
    is_run_due,
)
from hven.model import plugins
from hven.model.errors import ChangeLimitExceededError, ConflictError, HvenError
from hven.site import Site
from hven.site.store import StateStore, SyncScheduleRecord, build_lease_name, get_process_holder
from hven.site.store.ingest_runs import ABORTED_PHASE, COMPLETED_PHASE, ERROR_PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from hven.model.settings import Settings
    from hven.site.store import CollectionAlert

log = logging.getLogger("hven.schedule")

PARENT_POLL_SECONDS = 0.5  # between two checks that the scheduler lives
RUN_LEASE_SECONDS = 60.0  # after this time without a sign of life, a run counts as dead


class RunStoppedError(BaseException):
    """The run must end. This is no `Exception`, so that no code on the way handles it as an error."""


class _StopSignalHandler:
    """Raise `RunStoppedError` in the main thread if the process is told to end during a run.

    It does not interrupt the recording of the end.
    """

    def __init__(self) -> None:
        self.is_running = False
        self.stop_requested = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.stop_requested = True
        if self.is_running:
            self.is_running = False  # once is enough: a second signal must not interrupt the clean-up
            raise RunStoppedError


def build_run_lease_name(collection: str) -> str:
    """Return the name of the lease that a run holds as long as it lives."""
    return f"schedule {collection}"


def run_scheduled_sync(
    settings: Settings,
    collection: str,
    parent_pid: int,
    *,
    synchronize: Callable[[Site, str], str | None] | None = None,
    lease_seconds: float = RUN_LEASE_SECONDS,
) -> None:
    """Run the schedule of a collection once, if it is due and nobody else runs it; in the main thread of a process.

    Parameters
    ----------
    settings
        Settings of the site.
    collection
        Name of the collection.
    parent_pid
        Id of the scheduler; when it is gone, the run ends as if it were told to.
    synchronize
        A function that follows a source, and returns a line about it; None: `hven.ingest.sync`.
    lease_seconds
        Time without a sign of life after which other machines count this run as dead.
    """
    stop_handler = _StopSignalHandler()
    signal.signal(signal.SIGTERM, stop_handler)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, but the scheduler ends the runs
    threading.Thread(target=_stop_when_parent_ends, args=(parent_pid,), name="parent", daemon=True).start()
    own_holder = get_process_holder()
    store = StateStore(settings.var_directory, settings.store)
    try:
        with store.leases.hold_lease(
            build_run_lease_name(collection),
            duration_seconds=lease_seconds,
            description=f"the scheduled sync of {collection}",
        ):
            is_held = collection in store.map_hold_start_times()
            before, claimed_schedule = store.schedules.update_schedule(
                collection, partial(_claim_schedule, is_held=is_held)
            )
            if before is None or claimed_schedule is None or claimed_schedule.holder != own_holder:
                return
            if synchronize is None:
                synchronize = partial(sync_and_summarize, skip_if_held=before.asked is None)
            outcome = _run_sync(settings, collection, synchronize, stop_handler)
            record_sync_run_end(store, settings, collection, outcome, own_holder=own_holder)
    except ConflictError:  # another scheduler has started a run of the collection
        return
    finally:
        store.close()


def _claim_schedule(
    schedule: SyncScheduleRecord | None, now: float, *, is_held: bool
) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
    if schedule is None or not is_run_due(schedule, now, is_held=is_held):
        return schedule, ()
    return replace(schedule, holder=get_process_holder(), began=now, asked=None), ()


def _run_sync(
    settings: Settings,
    collection: str,
    synchronize: Callable[[Site, str], str | None],
    stop_handler: _StopSignalHandler,
) -> SyncRunOutcome:
    """Synchronise the collection once; whatever happens becomes an outcome."""
    try:
        stop_handler.is_running = not stop_handler.stop_requested
        if stop_handler.stop_requested:
            raise RunStoppedError  # noqa: TRY301  (the signal came before the run)
        return _run_sync_callback(settings, collection, synchronize)
    except RunStoppedError:  # from any part of the run, also from the handling of a failure
        return SyncRunOutcome(
            kind=STOPPED_OUTCOME,
            phase=ABORTED_PHASE,
            message="the server was stopped; the run continues when the server starts again",
        )
    finally:
        stop_handler.is_running = False


def _run_sync_callback(
    settings: Settings, collection: str, synchronize: Callable[[Site, str], str | None]
) -> SyncRunOutcome:
    try:
        with Site(settings) as site:
            try:
                summary = synchronize(site, collection)
                return SyncRunOutcome(kind=GOOD_OUTCOME, phase=COMPLETED_PHASE, message=summary)
            except ConflictError as error:
                is_busy = _is_changed_by_other_process(site, collection)
                if not is_busy:
                    is_busy = sync_package.find_sync_conflict(site, collection) is not None
                kind = BUSY_OUTCOME if is_busy else FAILED_OUTCOME
                return SyncRunOutcome(kind=kind, phase=ERROR_PHASE, message=str(error))
    except HvenError as error:
        if isinstance(error, ChangeLimitExceededError):
            kind = GUARD_OUTCOME
        else:
            kind = FAILED_OUTCOME
        return SyncRunOutcome(kind=kind, phase=ERROR_PHASE, message=str(error))
    except MemoryError:
        return SyncRunOutcome(
            kind=FAILED_OUTCOME, phase=ERROR_PHASE, message="the sync needs more memory than is available"
        )
    except Exception as error:
        error_location = plugins.describe_error_origin(error)
        log.exception("the sync of %s failed (error in %s)", collection, error_location)
        message = (
            f"an unexpected error occurred in {error_location} ({type(error).__name__}: {error}); report this as a bug"
        )
        return SyncRunOutcome(kind=FAILED_OUTCOME, phase=ERROR_PHASE, message=message)


def sync_and_summarize(site: Site, collection: str, *, skip_if_held: bool = False) -> str | None:
    """Synchronise a collection (with `skip_if_held`, unless it is held), and return a line about the changes."""
    report = sync_package.sync_collection(site, collection, refuse_if_held=skip_if_held)
    execute_steps_after_scheduled_sync(site, collection)
    changes = [change for change in report.changes.values() if change.has_changes]
    if not changes:
        return "no change"
    return "; ".join(change.format_text() for change in changes)


def _is_changed_by_other_process(site: Site, collection: str) -> bool:
    """Return whether another process changes the collection now."""
    lease_name = build_lease_name(collection)
    own_holder = get_process_holder()
    leases = site.store.leases.list_leases()
    return any(lease.name == lease_name and lease.holder != own_holder for lease in leases)


def _stop_when_parent_ends(parent_pid: int) -> None:
    """End the run when the process that started it is gone."""
    wait_event = threading.Event()
    while os.getppid() == parent_pid:
        wait_event.wait(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
