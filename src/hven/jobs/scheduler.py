"""The scheduler: one for all machines by a lease.

Keeps the schedules as the descriptors say them, begins runs, sees how they end.

It has one thread, so that forking is safe; it closes its connections before, so that no child ever has them.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import child_processes, snapshot_verification
from hven.jobs._alert_delivery import list_channels, send_alerts
from hven.jobs._forking_process import ForkingProcess
from hven.jobs._scheduled_run import RUN_LEASE_SECONDS, build_run_lease_name, run_schedule
from hven.jobs.run_results import record_run_end
from hven.jobs.schedule_planning import (
    FAILED_OUTCOME,
    MANUAL_TIMING,
    STALE_ALERT,
    STOPPED_OUTCOME,
    RunOutcome,
    alert_unless_known,
    build_recurrence,
    compute_stale_time,
    format_timestamp,
    is_due,
    plan_next_run,
)
from hven.model import plugins
from hven.model.errors import ConflictError, HvenError
from hven.model.resource import format_duration
from hven.site.descriptor_watch import DescriptorWatcher
from hven.site.store import StateStore, is_holder_dead
from hven.site.store.ingest_runs import ABORTED_PHASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hven.model.resource import Recurrence
    from hven.model.settings import Settings
    from hven.site import Site
    from hven.site.store import Alert, Lease, SyncScheduleRecord

log = logging.getLogger("hven.schedule")

SCHEDULER_LEASE = "scheduler"  # of the lease
POLL_INTERVAL_SECONDS = 0.25  # seconds between two looks at children and signals
PLAN_INTERVAL_SECONDS = 1.0  # seconds between two looks at descriptors and schedules
LEADER_RETRY_SECONDS = 2.0  # seconds between two attempts to become the one scheduler
ALERT_INTERVAL_SECONDS = 5.0  # seconds between two looks for alerts
VERIFICATION_INTERVAL_SECONDS = 2.0  # seconds between two looks for snapshots that are to be verified
STALE_CHECK_INTERVAL_SECONDS = 30.0  # seconds between two looks for stale data
MAX_PENDING_SECONDS = 600.0  # seconds that a run may be due before anybody is told that its data are stale
SHUTDOWN_GRACE_SECONDS = 8.0  # seconds that runs get to end when we do
DEAD_PROCESS_MESSAGE = "its process died ({how}); it may have needed more memory than there is"


def run_scheduler(
    settings: Settings,
    *,
    parent_pid: int | None = None,
    lease_seconds: float = RUN_LEASE_SECONDS,
    synchronize: Callable[[Site, str], str | None] | None = None,
) -> None:
    """Run the schedules of a site until SIGTERM or SIGINT.

    At once if no other scheduler of its store does, else when that one is gone.

    Parameters
    ----------
    settings
        Of the site.
    parent_pid
        Id of a process whose end is ours too.
    lease_seconds
        Seconds after which other machines take us for dead.
    synchronize
        A function that follows a source, and returns a line about it; None: `hven.ingest.sync`.
    """
    SyncScheduler(settings, parent_pid=parent_pid, lease_seconds=lease_seconds, synchronize=synchronize).run()


class SyncScheduler(ForkingProcess):
    """The scheduler of a site: see `run_scheduler`."""

    def __init__(
        self,
        settings: Settings,
        *,
        parent_pid: int | None,
        lease_seconds: float,
        synchronize: Callable[[Site, str], str | None] | None,
    ) -> None:
        super().__init__(settings, parent_pid)
        self._lease_seconds = lease_seconds
        self._synchronize = synchronize
        self._lease: Lease | None = None
        self._descriptor_watcher = DescriptorWatcher(settings)
        self._leader_since = 0.0  # when we became the one scheduler, by the store's clock
        self._recurrences: dict[str, Recurrence] = {}
        self._collections_by_pid: dict[int, str] = {}  # process -> collection
        self._helper_pids: dict[str, int] = {}  # what it does -> process
        # version of the pointers, and when each collection was published
        self._cached_publication_times: tuple[int, dict[str, float]] = (-1, {})
        self._last_times: dict[str, float] = {}  # what was done last, by the steady clock

    def run(self) -> None:
        """Look and act, until told to stop."""
        self._set_up_process("hven-schedule")
        _import_engine(self._settings)
        while self._should_continue():
            try:
                self._run_once()
            except (HvenError, OSError) as error:
                log.warning("looking after the schedules failed: %s", error)
                time.sleep(1.0)
            time.sleep(POLL_INTERVAL_SECONDS)
        self._stop_children()

    def _run_once(self) -> None:
        self._collect_ended_children()
        if self._apply_changed_settings():
            self._descriptor_watcher.apply_settings(self._settings)
        if not self._hold_leadership():
            return
        if self._is_time_for("plan", PLAN_INTERVAL_SECONDS):
            self._update_schedules()
            self._start_due_runs()
        if self._is_time_for("late", STALE_CHECK_INTERVAL_SECONDS):
            self._alert_stale_collections()
        if self._is_time_for("send", ALERT_INTERVAL_SECONDS):
            self._start_alert_delivery()
        if self._is_time_for("verify", VERIFICATION_INTERVAL_SECONDS):
            self._start_verification()

    def _is_time_for(self, action: str, interval_seconds: float) -> bool:
        moment = time.monotonic()
        if moment - self._last_times.get(action, -1e9) < interval_seconds:
            return False
        self._last_times[action] = moment
        return True

    def _hold_leadership(self) -> bool:
        """Hold the lease, or try to get it."""
        if self._lease is not None:
            if self._is_time_for("renew", self._lease_seconds / 3):
                try:
                    self._lease = self._get_store().leases.renew_lease(
                        self._lease, duration_seconds=self._lease_seconds
                    )
                except ConflictError:
                    log.warning("another scheduler has taken over the schedules of this site")
                    self._lease = None
            return self._lease is not None
        if self._is_time_for("acquire", min(LEADER_RETRY_SECONDS, self._lease_seconds / 3)):
            try:
                self._lease = self._get_store().leases.acquire_lease(
                    SCHEDULER_LEASE, duration_seconds=self._lease_seconds, description="the schedule of this site"
                )
            except ConflictError:
                return False
            log.info("running the schedules of %s, %s at once", self._settings.directory, self._settings.schedule.runs)
            self._last_times["renew"] = time.monotonic()
            self._leader_since = self._get_store().schedules.get_current_time()
        return self._lease is not None

    # --- what is due -----------------------------------------------------------------------------------------

    def _update_schedules(self) -> None:
        """Update the schedules to what the descriptors say; see to runs whose process is dead."""
        self._descriptor_watcher.reload_changed()
        store = self._get_store()
        now, schedules = store.schedules.list_schedules()
        publication_times = self._get_publication_times(store)
        self._recurrences = {}
        for name, descriptor_state in self._descriptor_watcher.states_by_collection.items():
            if descriptor_state.resource is None:
                continue  # it cannot be read: what was known of it stays as it is
            try:
                recurrence = build_recurrence(descriptor_state.resource)
            except ValueError as error:
                if self._is_time_for(f"timing {name} {descriptor_state.stamp}", 3600.0):
                    log.warning("the schedule of %s cannot be read: %s", name, error)
                continue
            # the first ingest is a person's decision, and so is `hven remove`
            if recurrence is None or name not in publication_times:
                continue
            self._recurrences[name] = recurrence
            schedule = schedules.get(name)
            if (
                schedule is None
                or plan_next_run(
                    schedule, name, recurrence, now, self._settings.schedule, last_published=publication_times[name]
                )
                != schedule
            ):
                self._plan_collection(store, name, recurrence, publication_times[name])
        for name, schedule in schedules.items():
            if schedule.holder is not None and name not in self._collections_by_pid.values():
                self._end_dead_run(store, schedule)
            elif (
                name in self._recurrences
                or schedule.holder is not None
                or schedule.paused is not None
                or schedule.timing == MANUAL_TIMING
            ):
                continue  # a pause is a person's word, and so is what they ran
            elif self._has_no_schedule(name):
                store.schedules.update_schedule(name, _remove_schedule)

    def _plan_collection(
        self, store: StateStore, collection: str, recurrence: Recurrence, last_published: float
    ) -> None:
        def plan_schedule(
            schedule: SyncScheduleRecord | None, now: float
        ) -> tuple[SyncScheduleRecord | None, Iterable[Alert]]:
            return plan_next_run(
                schedule, collection, recurrence, now, self._settings.schedule, last_published=last_published
            ), ()

        before, after = store.schedules.update_schedule(collection, plan_schedule)
        if after is not None and (before is None or before.timing != after.timing):
            log.info("%s: %s, next at %s", collection, recurrence, format_timestamp(after.due))

    def _has_no_schedule(self, collection: str) -> bool:
        """Return whether a collection has a schedule no more: not while its descriptor has faults."""
        descriptor_state = self._descriptor_watcher.states_by_collection.get(collection)
        if descriptor_state is None:
            return True
        return descriptor_state.resource is not None and descriptor_state.problem is None

    def _get_publication_times(self, store: StateStore) -> dict[str, float]:
        """Return when each collection was published last (seconds since 1970)."""
        version = store.get_version()
        if self._cached_publication_times[0] != version:
            self._cached_publication_times = version, store.list_publication_times()
        return self._cached_publication_times[1]

    def _start_due_runs(self) -> None:
        """Begin what is due, the longest overdue first, as many at once as may be."""
        now, schedules = self._get_store().schedules.list_schedules()
        held_collections = self._get_store().list_held_collections()
        own_schedules = {
            name: schedule
            for name, schedule in schedules.items()
            if name in self._recurrences and name not in self._collections_by_pid.values()
        }
        due_schedules = [
            schedule
            for name, schedule in own_schedules.items()
            if is_due(schedule, now, is_held=name in held_collections)
        ]
        due_schedules.sort(key=lambda schedule: (schedule.asked is None, schedule.asked or schedule.due))
        running_elsewhere = sum(
            schedule.holder is not None and name not in self._collections_by_pid.values()
            for name, schedule in schedules.items()
        )
        for schedule in due_schedules[
            : max(self._settings.schedule.runs - len(self._collections_by_pid) - running_elsewhere, 0)
        ]:
            log.info("the sync of %s begins", schedule.collection)
            pid = self._fork_process(partial(self._run_child, schedule.collection))
            self._collections_by_pid[pid] = schedule.collection

    def _run_child(self, collection: str, parent_pid: int) -> None:
        """Run as the child that follows a collection."""
        child_processes.set_process_name("hven-sync")
        run_schedule(
            self._settings, collection, parent_pid, synchronize=self._synchronize, lease_seconds=self._lease_seconds
        )

    def _alert_stale_collections(self) -> None:
        """Alert people of data that are stale."""
        store = self._get_store()
        now, schedules = store.schedules.list_schedules()
        published = self._get_publication_times(store)
        channels = list_channels(self._settings)
        for name in self._recurrences.keys() - store.list_held_collections().keys():
            schedule = schedules.get(name)
            recurrence = self._recurrences[name]
            stale_time = compute_stale_time(
                recurrence, schedule, published.get(name), self._settings.schedule.stale, now
            )
            if schedule is None or schedule.holder is not None or stale_time is None or now < stale_time:
                continue
            if not schedule.failures and now - max(schedule.due, self._leader_since) < MAX_PENDING_SECONDS:
                continue  # its time has come a moment ago: nobody served the site before, or others are first
            last_success = max(schedule.succeeded or 0.0, published.get(name, 0.0))
            message = (
                f"{name} is stale: its last good sync was {format_duration(now - last_success)} ago, and it should "
                f"be {recurrence}"
            )

            def alert_if_stale(
                schedule: SyncScheduleRecord | None, now: float, message: str = message
            ) -> tuple[SyncScheduleRecord | None, Iterable[Alert]]:
                if schedule is None:
                    return (schedule, ())
                return alert_unless_known(
                    schedule, STALE_ALERT, message, now, settings=self._settings.alerts, channels=channels
                )

            store.schedules.update_schedule(name, alert_if_stale)

    # --- processes -------------------------------------------------------------------------------------------

    def _fork_process(self, run_child: Callable[[int], None]) -> int:
        return self._fork_child(run_child, "a process of the schedule", log)

    def _start_alert_delivery(self) -> None:
        """Fork a child that sends the alerts which are due: it may take long."""
        if "send" not in self._helper_pids and self._get_store().schedules.list_due_alerts():
            self._helper_pids["send"] = self._fork_process(partial(_run_alert_delivery, self._settings))

    def _start_verification(self) -> None:
        """Fork a child that reads the files which are to be verified."""
        if (
            "verify" not in self._helper_pids
            and snapshot_verification.find_due_records(self._settings, self._get_store())[0]
        ):
            self._helper_pids["verify"] = self._fork_process(
                partial(snapshot_verification.run_verification, self._settings)
            )

    def _collect_ended_children(self) -> None:
        """Reap the children that have ended; a run that could not say how is told as dead."""
        self._helper_pids = {
            action: pid for action, pid in self._helper_pids.items() if not os.waitpid(pid, os.WNOHANG)[0]
        }
        for pid, name in list(self._collections_by_pid.items()):
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if ended_pid:
                del self._collections_by_pid[pid]
                if status:
                    schedules = self._get_store().schedules.list_schedules()
                    schedule = schedules[1].get(name)
                    if schedule is not None and schedule.holder is not None:
                        self._end_dead_run(self._get_store(), schedule, child_processes.describe_exit_status(status))

    def _end_dead_run(
        self,
        store: StateStore,
        schedule: SyncScheduleRecord,
        death_text: str = "killed, or the machine went down",
        outcome: RunOutcome | None = None,
    ) -> None:
        """End a run whose process is dead: certainly so on this machine, or its lease is over."""
        if schedule.holder is None:
            return
        if not is_holder_dead(schedule.holder) and any(
            lease.name == build_run_lease_name(schedule.collection) for lease in store.leases.list_leases()
        ):
            return
        run_outcome = outcome or RunOutcome(
            kind=FAILED_OUTCOME, phase=ABORTED_PHASE, message=DEAD_PROCESS_MESSAGE.format(how=death_text)
        )
        record_run_end(store, self._settings, schedule.collection, run_outcome, own_holder=schedule.holder)

    def _stop_children(self) -> None:
        """End the runs, wait for them, and hand the lease to whoever is next."""
        children = [*self._collections_by_pid, *self._helper_pids.values()]
        end = time.monotonic() + SHUTDOWN_GRACE_SECONDS
        while children and time.monotonic() < end:
            # again: one that had only just begun did with the first what we do, and went on
            if self._is_time_for("tell", 1.0):
                for pid in children:
                    child_processes.send_signal(pid, signal.SIGTERM)
            children = [pid for pid in children if not os.waitpid(pid, os.WNOHANG)[0]]
            time.sleep(0.02)
        for pid in children:
            child_processes.send_signal(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        try:
            store = self._get_store()
            schedules = store.schedules.list_schedules()[1]
            for name in self._collections_by_pid.values():  # those that we had to kill
                schedule = schedules.get(name)
                if schedule is not None and schedule.holder is not None and is_holder_dead(schedule.holder):
                    outcome = RunOutcome(
                        kind=STOPPED_OUTCOME,
                        phase=ABORTED_PHASE,
                        message="the server was stopped; it goes on with the next one",
                    )
                    self._end_dead_run(
                        store,
                        schedule,
                        outcome=outcome,
                    )
            if self._lease is not None:
                store.leases.release_lease(self._lease)
            store.close()
        except HvenError as error:
            log.warning("the schedules could not be handed over: %s", error)


def _import_engine(settings: Settings) -> None:
    """Import here what every run needs: runs are forks, and begin in milliseconds then."""
    plugins.load_plugin("engines", settings.engine)


def _remove_schedule(
    schedule: SyncScheduleRecord | None, _: float
) -> tuple[SyncScheduleRecord | None, Iterable[Alert]]:
    """Remove a schedule, unless it runs."""
    return (None if schedule is None or schedule.holder is None else schedule), ()


def _run_alert_delivery(settings: Settings, _parent: int) -> None:
    """Run as the process that sends alerts."""
    child_processes.set_process_name("hven-alerts")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = StateStore(settings.var_directory, settings.store)
    try:
        send_alerts(settings, store)
    finally:
        store.close()
