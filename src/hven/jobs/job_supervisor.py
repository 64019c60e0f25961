"""The supervisor: it forks workers when jobs wait, requeues the jobs of dead workers, and deletes what has expired.

The supervisor is small and alone in its process. It has one thread, so that forking is safe. It closes its connections
before a fork, so that no child has them.

Modules of packages at the extension point ``hven.expiry`` delete data of their own in a child process:
``is_cleanup_due(settings, store) -> bool`` says when, and ``delete_expired_data(site)`` does it. Both may come again.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import child_processes
from hven.jobs._forking_process import ForkingProcess
from hven.jobs._worker import HEARTBEAT_TIMEOUT_SECONDS, MAX_ATTEMPTS, WorkerStopEvent, run_jobs
from hven.jobs.hang_detector import HungProcessDetector, compute_load_factor
from hven.jobs.job_service import UNARCHIVED_PHASES, format_sortable_timestamp, get_job_directory
from hven.model import plugins
from hven.model.errors import HvenError, ServiceError
from hven.site import Site
from hven.site.auth import invitations
from hven.site.store import format_current_time
from hven.site.user_tables import clean_user_table_storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hven.model.settings import Settings
    from hven.site.store import JobRecord, JobStore, Lease, StateStore

log = logging.getLogger("hven.jobs")

POLL_INTERVAL_SECONDS = 0.1  # between two checks of the store
REAP_INTERVAL_SECONDS = 2.0  # between two checks for jobs whose worker is dead
SWEEP_INTERVAL_SECONDS = 20.0  # between two checks for expired jobs and files
STAFFING_INTERVAL_SECONDS = 1.0  # between two checks for waiting jobs, if the store does not change
SHUTDOWN_GRACE_SECONDS = 8.0  # workers get this long, times the load, to requeue their jobs when the supervisor stops
WORKER_START_SECONDS = 60.0  # a worker gets this long to open the site
TABLE_SWEEP_INTERVAL_SECONDS = 900.0  # between two checks for files of users' tables whose writer was killed
MAX_JOBS_PER_DELETION = 100
EXPIRED_GRANT_SECONDS = 30 * 86400.0  # grants are kept this long after they expire
STRAY_FILE_SECONDS = 3600.0  # after this time, files that belong to no job are deleted


def run_job_supervisor(
    settings: Settings,
    *,
    worker_limit: int,
    idle_seconds: float | None = None,
    parent_pid: int | None = None,
    store: StateStore | None = None,
) -> None:
    """Supervise the jobs of a site until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        Settings of the site.
    worker_limit
        Largest number of workers.
    idle_seconds
        A worker without work ends after this time; None: the site's setting.
    parent_pid
        Id of a process; the supervisor ends when it ends.
    store
        The store of the site without connections, as the parent has opened it; None: it is opened here.
    """
    if idle_seconds is None:
        idle_seconds = settings.jobs.idle
    supervisor = JobSupervisor(
        settings, worker_limit=worker_limit, idle_seconds=idle_seconds, parent_pid=parent_pid, store=store
    )
    supervisor.run()


class JobSupervisor(ForkingProcess):
    """The supervisor of a site's jobs: see `run_job_supervisor`."""

    def __init__(
        self,
        settings: Settings,
        *,
        worker_limit: int,
        idle_seconds: float,
        parent_pid: int | None,
        store: StateStore | None = None,
    ) -> None:
        super().__init__(settings, parent_pid, store)
        self._worker_limit = worker_limit
        self._idle_seconds = idle_seconds
        self._heartbeats_by_pid: dict[int, child_processes.ProcessHeartbeat] = {}
        self._detectors: dict[int, HungProcessDetector] = {}
        # job -> attempt, heartbeat, and the time at which the heartbeat was first seen
        self._last_heartbeats: dict[str, tuple[int, int, float]] = {}
        self._has_warned = False  # of a leap of the clock
        self._last_table_sweep = 0.0
        self._lease: Lease | None = None

    def run(self) -> None:
        """Supervise until the process is told to stop."""
        self._set_up_process("hven-jobs")
        version = -1
        last_staffing = 0.0
        last_reap = 0.0
        last_sweep = 0.0
        while self._record_heartbeat_and_check_parent():
            try:
                has_lost_worker = self._kill_hung_and_collect_ended_workers()
                self._apply_changed_settings()
                current_time = time.monotonic()
                current_version = self._get_job_store().get_phase_change_count()
                if has_lost_worker or current_time - last_reap > REAP_INTERVAL_SECONDS:
                    last_reap = current_time
                    self._requeue_or_fail_abandoned_jobs()
                is_staffing_due = current_time - last_staffing > STAFFING_INTERVAL_SECONDS
                if has_lost_worker or is_staffing_due or current_version != version:
                    version, last_staffing = current_version, current_time
                    self._start_workers()
                if current_time - last_sweep > SWEEP_INTERVAL_SECONDS:
                    last_sweep = current_time
                    with suppress(ServiceError):  # the disk is read-only: nothing can be upgraded either
                        leases = self._get_store().leases
                        self._lease = leases.acquire_or_renew_process_lease(
                            self._lease, "jobs", "the jobs of this site"
                        )
                    self._delete_expired_jobs_files_and_grants()
            except (HvenError, OSError) as error:
                log.warning("the jobs could not be supervised: %s", error)
                time.sleep(1.0)
            time.sleep(POLL_INTERVAL_SECONDS)
        self._stop_workers()
        if self._lease:
            with suppress(HvenError):
                self._get_store().leases.release_lease(self._lease)

    def _get_job_store(self) -> JobStore:
        return self._get_store().jobs

    def _kill_hung_and_collect_ended_workers(self) -> bool:
        """Kill workers that hang, collect those that have ended, and return whether one failed."""
        has_failed_worker = False
        for pid, heartbeat in list(self._heartbeats_by_pid.items()):
            detector = self._detectors.setdefault(pid, HungProcessDetector(heartbeat, pid))
            if detector.is_hung():
                log.error(
                    "killing a job worker (process %d), because it has not sent a heartbeat for %.0f s",
                    pid,
                    heartbeat.get_silent_seconds(),
                )
                child_processes.send_signal(pid, signal.SIGKILL)
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if not ended_pid:
                continue
            del self._heartbeats_by_pid[pid], self._detectors[pid]
            if status:
                has_failed_worker = True
                log.warning("a job worker died: %s", child_processes.describe_exit_status(status))
                if os.WIFSIGNALED(status) and os.WTERMSIG(status) in child_processes.CRASH_SIGNALS:
                    self._get_store().verifications.request_full_verification()
        return has_failed_worker

    def _start_workers(self) -> None:
        """Fork workers for the waiting jobs, up to the limit."""
        waiting_count = self._get_job_store().resolve_dependencies_and_count_waiting()
        if not waiting_count or len(self._heartbeats_by_pid) >= self._worker_limit:
            return
        busy_count = len(self._get_job_store().list_jobs_held_by_processes())
        new_worker_count = min(self._worker_limit, busy_count + waiting_count) - len(self._heartbeats_by_pid)
        for _ in range(new_worker_count):
            self._fork_worker(partial(_run_worker, self._settings, self._idle_seconds))

    def _fork_worker(self, run_child: Callable[[int], None]) -> None:
        heartbeat = child_processes.ProcessHeartbeat(WORKER_START_SECONDS)
        run_with_heartbeat = partial(_run_with_heartbeat, heartbeat, run_child)
        pid = self._fork_child(run_with_heartbeat, "a worker for jobs", log)
        self._heartbeats_by_pid[pid] = heartbeat

    def _requeue_or_fail_abandoned_jobs(self) -> None:
        """Requeue the jobs whose worker is dead: it was on this machine and has ended, or it is silent for long."""
        jobs = self._get_job_store()
        executing_jobs: list[JobRecord] = jobs.list_jobs_held_by_processes()
        current_time = time.monotonic()
        executing_ids = {job.id for job in executing_jobs}
        self._last_heartbeats = {
            job_id: heartbeat for job_id, heartbeat in self._last_heartbeats.items() if job_id in executing_ids
        }
        for job in executing_jobs:
            attempt, beat, since = self._last_heartbeats.get(job.id, (-1, -1, current_time))
            if (attempt, beat) != (job.attempts, job.beat):
                self._last_heartbeats[job.id] = (job.attempts, job.beat, current_time)
                since = current_time
            if not jobs.is_abandoned(job) and current_time - since < HEARTBEAT_TIMEOUT_SECONDS:
                continue
            if job.attempts < MAX_ATTEMPTS:
                if jobs.requeue_job(job, is_attempt_counted=True):
                    log.warning("running the job %s again, because its worker died", job.id)
                continue
            message = (
                f"the process that ran the job died {job.attempts} times; the job may need more memory than is "
                "available, so request less data"
            )
            if jobs.finish_job_and_notify_owner(job, "ERROR", error={"kind": "fatal", "message": message}):
                self._delete_job_directory(job.id)
                log.error("the job %s has crashed %s workers", job.id, job.attempts)

    def _delete_job_directory(self, job_id: str) -> None:
        job_directory = get_job_directory(self._settings, job_id)
        shutil.rmtree(job_directory, ignore_errors=True)

    def _delete_expired_jobs_files_and_grants(self) -> None:
        """Delete or archive the jobs that have expired, files that belong to no job, and expired grants."""
        jobs = self._get_job_store()
        archive_days = self._settings.jobs.archive_days
        current_time = datetime.fromisoformat(self._get_trusted_current_time())
        if archive_days:
            for job in jobs.list_expired(format_sortable_timestamp(current_time), hidden_phases=("ARCHIVED",)):
                jobs.update_job(
                    job.id,
                    allowed_phases=UNARCHIVED_PHASES,
                    phase="ARCHIVED",
                    results=[],
                    holder=None,
                    ended=job.ended or format_current_time(),
                )
                self._delete_job_directory(job.id)
        deletion_limit = format_sortable_timestamp(current_time - timedelta(days=archive_days))
        expired_ids = [job.id for job in jobs.list_expired(deletion_limit)]
        for start in range(0, len(expired_ids), MAX_JOBS_PER_DELETION):
            for job_id in jobs.delete_jobs_and_descendants(*expired_ids[start : start + MAX_JOBS_PER_DELETION]):
                self._delete_job_directory(job_id)
        self._delete_ended_invitation_jobs()
        self._delete_stray_job_files(current_time.timestamp() - STRAY_FILE_SECONDS)
        deleted_count = self._get_store().grants.delete_expired_grants(current_time.timestamp() - EXPIRED_GRANT_SECONDS)
        if deleted_count:
            log.info("removed %d grants that expired at least 30 days ago", deleted_count)
        self._start_user_table_cleanup_if_due()
        parts = plugins.load_extensions("hven.expiry")
        if any(part.is_cleanup_due(self._settings, self._get_store()) for part in parts):
            self._fork_worker(partial(_clean_up_site, self._settings, _delete_expired_package_data))

    def _delete_stray_job_files(self, oldest_kept_time: float) -> None:
        """Delete old files in the directory of jobs that belong to no job."""
        root = self._settings.data_directory / "jobs"
        old_paths: list[Path] = []
        for path in root.iterdir() if root.is_dir() else ():
            with suppress(FileNotFoundError):  # the job has just been destroyed
                if path.stat().st_mtime < oldest_kept_time:
                    old_paths.append(path)
        existing_ids = self._get_job_store().select_existing([path.name for path in old_paths])
        for path in old_paths:
            if path.name not in existing_ids:
                shutil.rmtree(path, ignore_errors=True)

    def _delete_ended_invitation_jobs(self) -> None:
        """Delete the jobs of invitations that have ended, because nobody can read them any more."""
        store = self._get_store()
        deleted_ids = store.users.delete_jobs_of_invalid_owners(
            invitations.INVITATION_PREFIX, lambda owner: invitations.find_invitation(store, owner) is not None
        )
        for job_id in deleted_ids:
            self._delete_job_directory(job_id)
        if deleted_ids:
            log.info("removed %d jobs whose invitations have expired", len(deleted_ids))

    def _get_trusted_current_time(self) -> str:
        """Return the time that decides on deletions; log once if the machine's clock has leapt."""
        clock = self._get_store().deletion_clock
        trusted_time = clock.compute_and_record_trusted_time()
        leap_text = clock.describe_clock_leap()
        if leap_text is not None and not self._has_warned:
            log.warning("%s", leap_text)
        self._has_warned = leap_text is not None
        return trusted_time

    def _start_user_table_cleanup_if_due(self) -> None:
        """Delete expired tables of users, in a child process, because this needs an engine."""
        store = self._get_store()
        trusted_time = store.deletion_clock.compute_and_record_trusted_time()
        is_due = store.user_tables.is_expiry_cleanup_due(trusted_time)
        if not is_due and time.monotonic() - self._last_table_sweep > TABLE_SWEEP_INTERVAL_SECONDS:
            is_due = bool(store.users.list_accounts())
        if is_due:
            self._last_table_sweep = time.monotonic()
            self._fork_worker(partial(_clean_up_site, self._settings, clean_user_table_storage))

    def _stop_workers(self) -> None:
        """Stop all workers, and wait for them."""
        for pid in self._heartbeats_by_pid:
            child_processes.send_signal(pid, signal.SIGTERM)
        end = time.monotonic() + SHUTDOWN_GRACE_SECONDS * compute_load_factor()
        while self._heartbeats_by_pid and time.monotonic() < end:
            self._kill_hung_and_collect_ended_workers()
            time.sleep(0.02)
        for pid in self._heartbeats_by_pid:
            child_processes.send_signal(pid, signal.SIGKILL)
        self._close_store()


def _run_with_heartbeat(
    heartbeat: child_processes.ProcessHeartbeat, run_child: Callable[[int], None], parent_pid: int
) -> None:
    """Run a child process with a heartbeat."""
    heartbeat.assign_to_this_process()
    child_processes.start_heartbeat_thread()
    run_child(parent_pid)


def _run_worker(settings: Settings, idle_seconds: float, parent_pid: int) -> None:
    """Run jobs, in a worker process."""
    child_processes.set_process_name("hven-job")
    stop = WorkerStopEvent(parent_pid)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, but the supervisor ends the workers
    with Site(settings) as site:
        run_jobs(site, stop, idle_seconds=idle_seconds)


def _clean_up_site(settings: Settings, delete_data: Callable[[Site], None], _parent: int) -> None:
    """Delete what has expired, in a child process."""
    child_processes.set_process_name("hven-tidy")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with Site(settings) as site:
        delete_data(site)


def _delete_expired_package_data(site: Site) -> None:
    for part in plugins.load_extensions("hven.expiry"):
        part.delete_expired_data(site)
