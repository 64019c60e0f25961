"""The keeper: forks workers when jobs wait, puts back what dead ones held, destroys what is due.

Small, and alone in its process.

It has one thread, so that forking is safe; it closes its connections before, so that no child ever has them.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import child_processes
from hven.jobs._forking_process import ForkingProcess
from hven.jobs._worker import HEARTBEAT_TIMEOUT_SECONDS, MAX_ATTEMPTS, StopEvent, run_jobs
from hven.jobs.hang_detector import HungProcessDetector
from hven.jobs.job_service import UNARCHIVED_PHASES, format_timestamp, get_job_directory
from hven.model.errors import HvenError
from hven.query import user_tables
from hven.site import Site
from hven.site.auth import invitations
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.settings import Settings
    from hven.site.store import JobRecord, JobStore

log = logging.getLogger("hven.jobs")

POLL_INTERVAL_SECONDS = 0.1  # seconds between two looks at the store
REAP_INTERVAL_SECONDS = 2.0  # seconds between two looks for jobs that nobody runs any more
SWEEP_INTERVAL_SECONDS = 20.0  # seconds between two looks for what is due
SHUTDOWN_GRACE_SECONDS = 8.0  # seconds that workers get to put their jobs back
WORKER_START_SECONDS = 60.0  # seconds that a worker gets to open the site
TABLE_SWEEP_INTERVAL_SECONDS = 900.0  # seconds between two looks for what killed writers of users' tables left
MAX_JOBS_PER_DELETION = 100  # jobs that are forgotten in one go
EXPIRED_GRANT_SECONDS = 30 * 86400.0  # seconds that grants are kept which are over
STRAY_FILE_SECONDS = 3600.0  # seconds after which files of no job are removed


def run_job_supervisor(
    settings: Settings, *, worker_limit: int, idle_seconds: float | None = None, parent_pid: int | None = None
) -> None:
    """Keep the jobs of a site running until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        Of the site.
    worker_limit
        Processes at most.
    idle_seconds
        Seconds after which a worker without work ends; None = the site's.
    parent_pid
        Id of a process whose end is ours too.
    """
    JobSupervisor(
        settings,
        worker_limit=worker_limit,
        idle_seconds=settings.jobs.idle if idle_seconds is None else idle_seconds,
        parent_pid=parent_pid,
    ).run()


class JobSupervisor(ForkingProcess):
    """The keeper of a site's jobs: see `run_job_supervisor`."""

    def __init__(self, settings: Settings, *, worker_limit: int, idle_seconds: float, parent_pid: int | None) -> None:
        super().__init__(settings, parent_pid)
        self._worker_limit = worker_limit
        self._idle_seconds = idle_seconds
        self._heartbeats_by_pid: dict[int, child_processes.Heartbeat] = {}
        self._detectors: dict[int, HungProcessDetector] = {}
        self._last_heartbeats: dict[str, tuple[int, int, float]] = {}  # job -> attempt, beat, when it was first seen so
        self._has_warned = False  # of a clock that has leapt
        self._last_table_sweep = 0.0

    def run(self) -> None:
        """Look and act, until told to stop."""
        self._set_up_process("hven-jobs")
        version = -1
        last_staffing = 0.0
        last_reap = 0.0
        last_sweep = 0.0
        while self._should_continue():
            try:
                has_lost_worker = self._collect_ended_workers()
                self._apply_changed_settings()
                current_time = time.monotonic()
                current_version = self._get_job_store().get_version()
                if has_lost_worker or current_time - last_reap > REAP_INTERVAL_SECONDS:
                    last_reap = current_time
                    self._requeue_abandoned_jobs()
                if current_version != version or has_lost_worker or current_time - last_staffing > 1.0:
                    version, last_staffing = current_version, current_time
                    self._start_workers()
                if current_time - last_sweep > SWEEP_INTERVAL_SECONDS:
                    last_sweep = current_time
                    self._delete_expired()
            except (HvenError, OSError) as error:
                log.warning("looking after the jobs failed: %s", error)
                time.sleep(1.0)
            time.sleep(POLL_INTERVAL_SECONDS)
        self._stop_workers()

    def _get_job_store(self) -> JobStore:
        return self._get_store().jobs

    def _collect_ended_workers(self) -> bool:
        """Reap the workers that have ended; return whether one did so badly."""
        has_failed_worker = False
        for pid, heartbeat in list(self._heartbeats_by_pid.items()):
            if self._detectors.setdefault(pid, HungProcessDetector(heartbeat, pid)).is_hung():
                log.error(
                    "a worker for jobs (process %d) has given no sign of life for %.0f s and is killed",
                    pid,
                    heartbeat.get_silent_seconds(),
                )
                child_processes.send_signal(pid, signal.SIGKILL)
            ended_pid, status = os.waitpid(pid, os.WNOHANG)
            if ended_pid:
                del self._heartbeats_by_pid[pid], self._detectors[pid]
                if status:
                    has_failed_worker = True
                    log.warning("a worker for jobs died: %s", child_processes.describe_exit_status(status))
                    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in child_processes.CRASH_SIGNALS:
                        self._get_store().verifications.request_verification()
        return has_failed_worker

    def _start_workers(self) -> None:
        """Fork enough workers for what waits."""
        waiting_count = self._get_job_store().count_waiting()
        if not waiting_count or len(self._heartbeats_by_pid) >= self._worker_limit:
            return
        busy_count = len(self._get_job_store().list_executing())
        new_worker_count = min(self._worker_limit, busy_count + waiting_count) - len(self._heartbeats_by_pid)
        for _ in range(new_worker_count):
            self._fork_worker(partial(_run_worker, self._settings, self._idle_seconds))

    def _fork_worker(self, run_child: Callable[[int], None]) -> None:
        heartbeat = child_processes.Heartbeat(WORKER_START_SECONDS)
        self._heartbeats_by_pid[
            self._fork_child(partial(_run_with_heartbeat, heartbeat, run_child), "a worker for jobs", log)
        ] = heartbeat

    def _requeue_abandoned_jobs(self) -> None:
        """Requeue the jobs whose holder is dead: certainly so on this machine, or silent for long."""
        jobs = self._get_job_store()
        executing: list[JobRecord] = jobs.list_executing()
        moment = time.monotonic()
        self._last_heartbeats = {
            job.id: self._last_heartbeats[job.id] for job in executing if job.id in self._last_heartbeats
        }
        for job in executing:
            attempt, beat, since = self._last_heartbeats.get(job.id, (-1, -1, moment))
            if (attempt, beat) != (job.attempts, job.beat):
                self._last_heartbeats[job.id] = (job.attempts, job.beat, moment)
                since = moment
            if not jobs.is_abandoned(job) and moment - since < HEARTBEAT_TIMEOUT_SECONDS:
                continue
            if job.attempts < MAX_ATTEMPTS:
                if jobs.requeue_job(job, count_attempt=True):
                    log.warning("the job %s was left by a worker that died; it is run again", job.id)
                continue
            message = (
                f"the process that ran it died, {job.attempts} times; it may need more memory than there is, so "
                f"ask for less"
            )
            if jobs.finish_job(job, "ERROR", error={"kind": "fatal", "message": message}):
                job_directory = get_job_directory(self._settings, job.id)
                shutil.rmtree(job_directory, ignore_errors=True)
                log.error("the job %s has brought down %s workers", job.id, job.attempts)

    def _delete_expired(self) -> None:
        """Destroy or archive what is due; remove files of no job."""
        jobs = self._get_job_store()
        archive_days = self._settings.jobs.archive_days
        current_time = datetime.fromisoformat(self._get_deletion_time())
        if archive_days:
            for job in jobs.list_expired(format_timestamp(current_time), hidden_phases=("ARCHIVED",)):
                jobs.update_job(
                    job.id,
                    allowed_phases=UNARCHIVED_PHASES,
                    phase="ARCHIVED",
                    results=[],
                    holder=None,
                    ended=job.ended or format_current_time(),
                )
                job_directory = get_job_directory(self._settings, job.id)
                shutil.rmtree(job_directory, ignore_errors=True)
        expired_ids = [
            job.id for job in jobs.list_expired(format_timestamp(current_time - timedelta(days=archive_days)))
        ]
        for start in range(0, len(expired_ids), MAX_JOBS_PER_DELETION):
            for name in jobs.delete_jobs(*expired_ids[start : start + MAX_JOBS_PER_DELETION]):
                shutil.rmtree(get_job_directory(self._settings, name), ignore_errors=True)
        self._delete_invitation_jobs()
        root = self._settings.data_directory / "jobs"
        if root.is_dir():
            old_paths = [
                path for path in root.iterdir() if path.stat().st_mtime < current_time.timestamp() - STRAY_FILE_SECONDS
            ]
        else:
            old_paths = []
        existing_ids = jobs.select_existing([path.name for path in old_paths])
        for path in old_paths:
            if path.name not in existing_ids:
                shutil.rmtree(path, ignore_errors=True)
        deleted_count = self._get_store().grants.delete_expired_grants(current_time.timestamp() - EXPIRED_GRANT_SECONDS)
        if deleted_count:
            log.info("%d grants that were over for 30 days are removed", deleted_count)
        self._start_table_sweep()

    def _delete_invitation_jobs(self) -> None:
        """Destroy what was made under invitations that have ended: nobody can read it since they did."""
        store = self._get_store()
        deleted_ids = store.users.delete_orphan_jobs(
            invitations.INVITATION_PREFIX, lambda owner: invitations.find_invitation(store, owner) is not None
        )
        for name in deleted_ids:
            job_directory = get_job_directory(self._settings, name)
            shutil.rmtree(job_directory, ignore_errors=True)
        if deleted_ids:
            log.info("%d jobs are removed with invitations that have ended", len(deleted_ids))

    def _get_deletion_time(self) -> str:
        """Return the time by which things go; log once that the machine's is another one."""
        times = self._get_store().deletion_clock
        trusted_time = times.get_trusted_time()
        leap_text = times.describe_leap()
        if leap_text is not None and not self._has_warned:
            log.warning("%s", leap_text)
        self._has_warned = leap_text is not None
        return trusted_time

    def _start_table_sweep(self) -> None:
        """Drop the users' tables whose time is over: in a child, which needs an engine for it."""
        store = self._get_store()
        is_overdue = time.monotonic() - self._last_table_sweep > TABLE_SWEEP_INTERVAL_SECONDS
        if store.user_tables.has_expired(store.deletion_clock.get_trusted_time()) or (
            is_overdue and store.users.list_accounts()
        ):
            self._last_table_sweep = time.monotonic()
            self._fork_worker(partial(_remove_user_table_leftovers, self._settings))

    def _stop_workers(self) -> None:
        """Send the workers home, and wait for them."""
        for pid in self._heartbeats_by_pid:
            child_processes.send_signal(pid, signal.SIGTERM)
        end = time.monotonic() + SHUTDOWN_GRACE_SECONDS
        while self._heartbeats_by_pid and time.monotonic() < end:
            self._collect_ended_workers()
            time.sleep(0.02)
        for pid in self._heartbeats_by_pid:
            child_processes.send_signal(pid, signal.SIGKILL)
        self._close_store()


def _run_with_heartbeat(
    heartbeat: child_processes.Heartbeat, run_child: Callable[[int], None], parent_pid: int
) -> None:
    """Run as a child that gives signs of life."""
    heartbeat.set_as_own()
    child_processes.start_heartbeat_thread()
    run_child(parent_pid)


def _run_worker(settings: Settings, idle_seconds: float, parent_pid: int) -> None:
    """Run as a worker."""
    child_processes.set_process_name("hven-job")
    stop = StopEvent(parent_pid)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the keeper says when to go
    with Site(settings) as site:
        run_jobs(site, stop, idle_seconds=idle_seconds)


def _remove_user_table_leftovers(settings: Settings, _parent: int) -> None:
    """Sweep the users' tables."""
    child_processes.set_process_name("hven-tidy")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with Site(settings) as site:
        user_tables.delete_leftover_files(site)
