"""The scheduler: it keeps the schedules as the descriptors define them, starts runs, and records how they end.

A lease makes sure that only one machine schedules. The scheduler has one thread, so that forking is safe. It closes its
connections before a fork, so that no child has them.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import child_processes, snapshot_verification
from hven.jobs._alert_delivery import list_alert_channels, send_due_alerts
from hven.jobs._forking_process import ForkingProcess
from hven.jobs._scheduled_run import RUN_LEASE_SECONDS, build_run_lease_name, run_scheduled_sync
from hven.jobs.run_results import record_sync_run_end
from hven.jobs.schedule_planning import (
    FAILED_OUTCOME,
    MANUAL_TIMING,
    STALE_ALERT,
    STOPPED_OUTCOME,
    SyncRunOutcome,
    build_alert_unless_sent,
    build_recurrence,
    compute_stale_time,
    format_unix_timestamp,
    is_run_due,
    plan_next_run,
)
from hven.model import plugins
from hven.model.errors import ConflictError, HvenError
from hven.model.resource import format_duration
from hven.site.api.events import load_event_services
from hven.site.descriptor_watch import DescriptorWatcher
from hven.site.store import StateStore, is_holder_dead
from hven.site.store.ingest_runs import ABORTED_PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.resource import Recurrence
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.api.events import EventService
    from hven.site.store import CollectionAlert, Lease, SyncScheduleRecord

log = logging.getLogger("hven.schedule")

SCHEDULER_LEASE = "scheduler"
POLL_INTERVAL_SECONDS = 0.25  # between two checks of children and signals
PLAN_INTERVAL_SECONDS = 1.0  # between two checks of descriptors and schedules
LEADER_RETRY_SECONDS = 2.0  # between two attempts to become the only scheduler
ALERT_INTERVAL_SECONDS = 5.0  # between two checks for alerts
VERIFICATION_INTERVAL_SECONDS = 2.0  # between two checks for snapshots to verify
STALE_CHECK_INTERVAL_SECONDS = 30.0  # between two checks for stale data
MAX_PENDING_SECONDS = 600.0  # a run may be due this long before an alert says that its data are stale
SHUTDOWN_GRACE_SECONDS = 8.0  # runs get this long to end when the scheduler stops
DEAD_PROCESS_MESSAGE = "the process of the run died ({how}); it may have needed more memory than was available"


def run_scheduler(
    settings: Settings,
    *,
    parent_pid: int | None = None,
    store: StateStore | None = None,
    lease_seconds: float = RUN_LEASE_SECONDS,
    synchronize: Callable[[Site, str], str | None] | None = None,
) -> None:
    """Run the schedules of a site until SIGTERM or SIGINT.

    If another scheduler runs the schedules of the store, wait until it is gone.

    Parameters
    ----------
    settings
        Settings of the site.
    parent_pid
        Id of a process; the scheduler ends when it ends.
    store
        The store of the site without connections, as the parent has opened it; None: it is opened here.
    lease_seconds
        Time without a sign of life after which other machines take over.
    synchronize
        A function that follows a source, and returns a line about it; None: `hven.ingest.sync`.
    """
    scheduler = SyncScheduler(
        settings, parent_pid=parent_pid, store=store, lease_seconds=lease_seconds, synchronize=synchronize
    )
    scheduler.run()


class SyncScheduler(ForkingProcess):
    """The scheduler of a site: see `run_scheduler`."""

    def __init__(
        self,
        settings: Settings,
        *,
        parent_pid: int | None,
        lease_seconds: float,
        synchronize: Callable[[Site, str], str | None] | None,
        store: StateStore | None = None,
    ) -> None:
        super().__init__(settings, parent_pid, store)
        self._lease_seconds = lease_seconds
        self._synchronize = synchronize
        self._lease: Lease | None = None
        self._descriptor_watcher = DescriptorWatcher(settings)
        self._leader_since = 0.0  # the time at which this process became the scheduler, by the store's clock
        self._recurrences: dict[str, Recurrence] = {}
        self._collections_by_pid: dict[int, str] = {}
        self._helper_pids: dict[str, int] = {}  # task -> process
        # the version of the pointers, and the time at which each collection was published
        self._cached_publication_times: tuple[int, dict[str, float]] = (-1, {})
        self._last_times: dict[str, float] = {}  # action -> the last time, by the monotonic clock

    def run(self) -> None:
        """Schedule until the process is told to stop."""
        self._set_up_process("hven-schedule")
        _preload_engine(self._settings)
        while self._record_heartbeat_and_check_parent():
            try:
                self._run_one_scheduling_round()
            except (HvenError, OSError) as error:
                log.warning("the schedules could not be run: %s", error)
                time.sleep(1.0)
            time.sleep(POLL_INTERVAL_SECONDS)
        self._stop_children_and_release_lease()

    def _run_one_scheduling_round(self) -> None:
        self._collect_children_and_end_dead_runs()
        if self._apply_changed_settings():
            self._descriptor_watcher.apply_settings(self._settings)
        if not self._acquire_or_renew_lease():
            return
        if self._claim_action_if_due("plan", PLAN_INTERVAL_SECONDS):
            self._update_schedules_and_end_dead_runs()
            self._start_due_runs()
        if self._claim_action_if_due("late", STALE_CHECK_INTERVAL_SECONDS):
            self._alert_stale_collections()
        if self._claim_action_if_due("send", ALERT_INTERVAL_SECONDS):
            self._start_alert_delivery()
            self._start_event_delivery()
        if self._claim_action_if_due("verify", VERIFICATION_INTERVAL_SECONDS):
            self._start_verification()

    def _claim_action_if_due(self, action: str, interval_seconds: float) -> bool:
        moment = time.monotonic()
        if moment - self._last_times.get(action, -1e9) < interval_seconds:
            return False
        self._last_times[action] = moment
        return True

    def _acquire_or_renew_lease(self) -> bool:
        """Renew the lease of the scheduler, or try to acquire it; return whether this process has it."""
        if self._lease is not None:
            if self._claim_action_if_due("renew", self._lease_seconds / 3):
                leases = self._get_store().leases
                try:
                    self._lease = leases.renew_lease(self._lease, duration_seconds=self._lease_seconds)
                except ConflictError:
                    log.warning("another scheduler has taken over the schedules of this site")
                    self._lease = None
            return self._lease is not None
        if self._claim_action_if_due("acquire", min(LEADER_RETRY_SECONDS, self._lease_seconds / 3)):
            leases = self._get_store().leases
            try:
                self._lease = leases.acquire_lease(
                    SCHEDULER_LEASE, duration_seconds=self._lease_seconds, description="the schedule of this site"
                )
            except ConflictError:
                return False
            log.info(
                "running the schedules of %s, with at most %s runs at a time",
                self._settings.directory,
                self._settings.schedule.runs,
            )
            self._last_times["renew"] = time.monotonic()
            self._leader_since = self._get_store().schedules.get_database_time()
        return self._lease is not None

    # --- schedules -------------------------------------------------------------------------------------------

    def _update_schedules_and_end_dead_runs(self) -> None:
        """Update the schedules to the descriptors, and end the runs whose process is dead."""
        self._descriptor_watcher.reload_and_save_changed_descriptors()
        store = self._get_store()
        now, schedules = store.schedules.list_schedules()
        publication_times = self._get_publication_times(store)
        self._recurrences = {}
        for name, descriptor_state in self._descriptor_watcher.states_by_collection.items():
            if descriptor_state.resource is None:
                continue  # the descriptor cannot be read, so its schedule stays
            try:
                recurrence = build_recurrence(descriptor_state.resource)
            except ValueError as error:
                if self._claim_action_if_due(f"timing {name} {descriptor_state.stamp}", 3600.0):
                    log.warning("the schedule of %s cannot be read: %s", name, error)
                continue
            # a user decides on the first ingest, and on `hven remove`
            if recurrence is None or name not in publication_times:
                continue
            self._recurrences[name] = recurrence
            last_published = publication_times[name]
            schedule = schedules.get(name)
            planned_schedule: SyncScheduleRecord | None = None
            if schedule is not None:
                planned_schedule = plan_next_run(
                    schedule, name, recurrence, now, self._settings.schedule, last_published=last_published
                )
            if schedule is None or planned_schedule != schedule:
                self._plan_collection_run(store, name, recurrence, last_published)
        own_collections = set(self._collections_by_pid.values())
        for name, schedule in schedules.items():
            if schedule.holder is not None:
                if name not in own_collections:
                    self._end_run_if_dead(store, schedule)
                continue
            # a user paused the collection, or ran it by hand
            is_user_decision = schedule.paused is not None or schedule.timing == MANUAL_TIMING
            if name not in self._recurrences and not is_user_decision and self._has_no_schedule(name):
                store.schedules.update_schedule(name, _remove_idle_schedule)

    def _plan_collection_run(
        self, store: StateStore, collection: str, recurrence: Recurrence, last_published: float
    ) -> None:
        def plan_schedule(
            schedule: SyncScheduleRecord | None, now: float
        ) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
            planned_schedule = plan_next_run(
                schedule, collection, recurrence, now, self._settings.schedule, last_published=last_published
            )
            return planned_schedule, ()

        before, after = store.schedules.update_schedule(collection, plan_schedule)
        if after is not None and (before is None or before.timing != after.timing):
            log.info(
                "the schedule of %s is %s; the next run is at %s",
                collection,
                recurrence,
                format_unix_timestamp(after.due),
            )

    def _has_no_schedule(self, collection: str) -> bool:
        """Return whether a collection has no schedule any more; a descriptor with faults does not tell."""
        descriptor_state = self._descriptor_watcher.states_by_collection.get(collection)
        if descriptor_state is None:
            return True
        return descriptor_state.resource is not None and descriptor_state.problem is None

    def _get_publication_times(self, store: StateStore) -> dict[str, float]:
        """Return the last publication of each collection (seconds since 1970)."""
        version = store.get_version()
        if self._cached_publication_times[0] != version:
            self._cached_publication_times = version, store.list_publication_times()
        return self._cached_publication_times[1]

    def _start_due_runs(self) -> None:
        """Start due runs, the longest overdue first, up to the limit of runs."""
        now, schedules = self._get_store().schedules.list_schedules()
        held_collections = self._get_store().map_hold_start_times()
        own_collections = set(self._collections_by_pid.values())
        due_schedules = []
        running_elsewhere = 0
        for name, schedule in schedules.items():
            if name in own_collections:
                continue
            if schedule.holder is not None:
                running_elsewhere += 1
            if name in self._recurrences and is_run_due(schedule, now, is_held=name in held_collections):
                due_schedules.append(schedule)
        # runs that a user asked for come first
        due_schedules.sort(key=lambda schedule: (schedule.asked is None, schedule.asked or schedule.due))
        free_slots = self._settings.schedule.runs - len(self._collections_by_pid) - running_elsewhere
        for schedule in due_schedules[: max(free_slots, 0)]:
            log.info("the sync of %s begins", schedule.collection)
            pid = self._fork_scheduler_child(partial(self._run_sync_in_child, schedule.collection))
            self._collections_by_pid[pid] = schedule.collection

    def _run_sync_in_child(self, collection: str, parent_pid: int) -> None:
        """Synchronise a collection, in a child process."""
        child_processes.set_process_name("hven-sync")
        run_scheduled_sync(
            self._settings, collection, parent_pid, synchronize=self._synchronize, lease_seconds=self._lease_seconds
        )

    def _alert_stale_collections(self) -> None:
        """Send alerts of stale data."""
        store = self._get_store()
        now, schedules = store.schedules.list_schedules()
        publication_times = self._get_publication_times(store)
        channels = list_alert_channels(self._settings)
        for name in self._recurrences.keys() - store.map_hold_start_times().keys():
            schedule = schedules.get(name)
            recurrence = self._recurrences[name]
            last_published = publication_times.get(name)
            stale_time = compute_stale_time(recurrence, schedule, last_published, self._settings.schedule.stale, now)
            if schedule is None or schedule.holder is not None or stale_time is None or now < stale_time:
                continue
            pending_seconds = now - max(schedule.due, self._leader_since)
            if not schedule.failures and pending_seconds < MAX_PENDING_SECONDS:
                continue  # its run became due a moment ago, because no server ran before or others come first
            last_success = max(schedule.succeeded or 0.0, last_published or 0.0)
            message = (
                f"{name} is stale: its last successful sync was {format_duration(now - last_success)} ago, but its "
                f"schedule is {recurrence}"
            )

            def alert_if_stale(
                schedule: SyncScheduleRecord | None, now: float, message: str = message
            ) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
                if schedule is None:
                    return schedule, ()
                return build_alert_unless_sent(
                    schedule, STALE_ALERT, message, now, settings=self._settings.alerts, channels=channels
                )

            store.schedules.update_schedule(name, alert_if_stale)

    # --- processes -------------------------------------------------------------------------------------------

    def _fork_scheduler_child(self, run_child: Callable[[int], None]) -> int:
        return self._fork_child(run_child, "a process of the schedule", log)

    def _start_alert_delivery(self) -> None:
        """Fork a child that sends the due alerts, because sending may take long."""
        if "send" in self._helper_pids:
            return
        if self._get_store().schedules.list_due_alerts():
            self._helper_pids["send"] = self._fork_scheduler_child(partial(_run_alert_delivery, self._settings))

    def _start_event_delivery(self) -> None:
        """Fork a child for each package that has something to deliver: one whose receiver hangs delays no other."""
        store = self._get_store()
        for number, service in enumerate(load_event_services()):
            task = f"events {number}"
            if task not in self._helper_pids and service.is_delivery_due(self._settings, store):
                run_child = partial(_run_event_delivery, self._settings, service)
                self._helper_pids[task] = self._fork_scheduler_child(run_child)

    def _start_verification(self) -> None:
        """Fork a child that verifies the files that are due for it."""
        if "verify" in self._helper_pids:
            return
        due_records, _ = snapshot_verification.find_snapshots_to_verify(self._settings, self._get_store())
        if due_records:
            run_child = partial(snapshot_verification.run_snapshot_verification, self._settings)
            self._helper_pids["verify"] = self._fork_scheduler_child(run_child)

    def _collect_children_and_end_dead_runs(self) -> None:
        """Collect the children that have ended, and record the end of runs that could not record it themselves."""
        self._helper_pids = {
            action: pid for action, pid in self._helper_pids.items() if not os.waitpid(pid, os.WNOHANG)[0]
        }
        for pid, name in list(self._collections_by_pid.items()):
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if not ended_pid:
                continue
            del self._collections_by_pid[pid]
            if status:
                store = self._get_store()
                schedule = store.schedules.list_schedules()[1].get(name)
                if schedule is not None and schedule.holder is not None:
                    self._end_run_if_dead(store, schedule, child_processes.describe_exit_status(status))

    def _end_run_if_dead(
        self,
        store: StateStore,
        schedule: SyncScheduleRecord,
        reason: str = "killed, or the machine was shut down",
        outcome: SyncRunOutcome | None = None,
    ) -> None:
        """End a run whose process is dead: it was on this machine and has ended, or its lease has expired."""
        if schedule.holder is None:
            return
        if not is_holder_dead(schedule.holder):
            lease_name = build_run_lease_name(schedule.collection)
            if any(lease.name == lease_name for lease in store.leases.list_leases()):
                return
        if outcome is None:
            message = DEAD_PROCESS_MESSAGE.format(how=reason)
            outcome = SyncRunOutcome(kind=FAILED_OUTCOME, phase=ABORTED_PHASE, message=message)
        record_sync_run_end(store, self._settings, schedule.collection, outcome, own_holder=schedule.holder)

    def _stop_children_and_release_lease(self) -> None:
        """Stop all children, wait for them, and release the lease for the next scheduler."""
        children = [*self._collections_by_pid, *self._helper_pids.values()]
        end = time.monotonic() + SHUTDOWN_GRACE_SECONDS
        while children and time.monotonic() < end:
            # again each second: a child that had just begun may still have had this process's handler for the signal
            if self._claim_action_if_due("tell", 1.0):
                for pid in children:
                    child_processes.send_signal(pid, signal.SIGTERM)
            children = [pid for pid in children if not os.waitpid(pid, os.WNOHANG)[0]]
            time.sleep(0.02)
        for pid in children:
            child_processes.send_signal(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        stopped_outcome = SyncRunOutcome(
            kind=STOPPED_OUTCOME,
            phase=ABORTED_PHASE,
            message="the server was stopped; the run continues when the server starts again",
        )
        try:
            store = self._get_store()
            schedules = store.schedules.list_schedules()[1]
            for name in self._collections_by_pid.values():
                schedule = schedules.get(name)
                # a run that still has a holder was killed
                if schedule is not None and schedule.holder is not None and is_holder_dead(schedule.holder):
                    self._end_run_if_dead(store, schedule, outcome=stopped_outcome)
            if self._lease is not None:
                store.leases.release_lease(self._lease)
            store.close()
        except HvenError as error:
            log.warning("the schedules could not be handed over to another scheduler: %s", error)


def _preload_engine(settings: Settings) -> None:
    """Import here what every run needs; the runs are forks, so that they begin in milliseconds."""
    plugins.load_plugin("engines", settings.engine)


def _remove_idle_schedule(
    schedule: SyncScheduleRecord | None, _: float
) -> tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]:
    """Remove a schedule, unless the collection is being synchronised."""
    if schedule is None or schedule.holder is None:
        return None, ()
    return schedule, ()


def _run_alert_delivery(settings: Settings, _parent: int) -> None:
    """Send alerts, in a child process."""
    _set_up_helper_process("hven-alerts")
    store = StateStore(settings.var_directory, settings.store)
    try:
        send_due_alerts(settings, store)
    finally:
        store.close()


def _run_event_delivery(settings: Settings, service: EventService, _parent: int) -> None:
    """Deliver the events of a package, in a child process."""
    _set_up_helper_process("hven-events")
    service.send_due_events(settings)


def _set_up_helper_process(process_name: str) -> None:
    """Name a child process that may be killed at any time."""
    child_processes.set_process_name(process_name)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
