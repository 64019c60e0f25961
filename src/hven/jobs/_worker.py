"""A worker claims jobs one by one, and runs each in a thread.

Meanwhile it watches whether the job is aborted, exceeds its time limit, or is claimed by another worker.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.jobs import type_catalogue
from hven.jobs._job_types import JobFailedError, RunningJob
from hven.jobs.job_service import FINAL_PHASES, get_job_directory
from hven.model import errors
from hven.model.errors import HvenError, OperationCancelledError
from hven.site import CURRENT_USAGE, RequestUsage
from hven.site.auth import DEFAULT_POLICIES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.site import Site
    from hven.site.auth import AccessPolicy
    from hven.site.store import JobRecord

log = logging.getLogger("hven.jobs")

POLL_INTERVAL_SECONDS = 0.1  # between two checks of a running job
HEARTBEAT_INTERVAL_SECONDS = 5.0
HEARTBEAT_TIMEOUT_SECONDS = 6 * HEARTBEAT_INTERVAL_SECONDS  # a silent holder counts as dead, by the observer's clock
PROGRESS_INTERVAL_SECONDS = 1.0  # between two reports of progress
STOP_TIMEOUT_SECONDS = 5.0  # a job that does not stop in this time ends its process
MAX_ATTEMPTS = 2  # a job that has brought down this number of workers is not run again
DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
TRANSIENT_ERRORS = (errors.OverloadedError, errors.StorageError, errors.TimeLimitError)
# errors of the request or of a busy service, which need no traceback in the log
EXPECTED_ERRORS = (errors.UserError, OperationCancelledError, errors.TimeLimitError, errors.OverloadedError)


class WorkerStopEvent(threading.Event):
    """Tells whether a worker must end: it was told to, or its parent process is gone."""

    def __init__(self, parent_pid: int | None = None) -> None:
        super().__init__()
        self._parent_pid = parent_pid

    def is_set(self) -> bool:
        """Return whether the worker must end; cheap."""
        if super().is_set():
            return True
        return self._parent_pid is not None and os.getppid() != self._parent_pid


def run_next_job(
    site: Site, *, policies: Sequence[AccessPolicy] = DEFAULT_POLICIES, stop_event: threading.Event | None = None
) -> bool:
    """Claim the next job and run it to its end; return false if no job waits.

    Parameters
    ----------
    site
        The site.
    policies
        The access policies of the site.
    stop_event
        If it is set meanwhile, the job is requeued unchanged.
    """
    job = site.store.jobs.claim_job(type_catalogue.map_running_job_limits(site.settings))
    if job is None:
        return False
    # messages about the job get the id of the request that created it
    usage_token = CURRENT_USAGE.set(RequestUsage(job.request_id or ""))
    try:
        _run_job(site, job, policies, stop_event or threading.Event())
    finally:
        CURRENT_USAGE.reset(usage_token)
    return True


def _run_job(site: Site, job: JobRecord, policies: Sequence[AccessPolicy], stop_event: threading.Event) -> None:
    job_directory = get_job_directory(site.settings, job.id)
    running_job = RunningJob(site, job, job_directory, policies)
    thread_errors: list[BaseException | None] = []

    def run_work() -> None:
        try:
            job_type = type_catalogue.find_job_type(site.settings, job.type)
            job_type.run(running_job)
            thread_errors.append(None)
        except BaseException as error:  # noqa: BLE001  (`_record_job_end_and_run_actions` reports all errors)
            thread_errors.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run_work,), name=f"job {job.id}", daemon=True)
    thread.start()
    stop_reason = _wait_for_job_end(site, running_job, thread, stop_event)
    if stop_reason is None:
        _record_job_end_and_run_actions(site, running_job, thread_errors[0])
        return
    running_job.stop_work(stop_reason)
    thread.join(STOP_TIMEOUT_SECONDS)
    is_thread_alive = thread.is_alive()
    if stop_reason == "time":
        duration_limit = site.store.jobs.find_duration_if_owned(job) or job.duration
        text = f"the job has reached its time limit of {duration_limit} seconds"
        error = {"kind": "transient", "message": f"{text}; request less, or set EXECUTIONDURATION"}
        site.store.jobs.finish_job_and_notify_owner(job, "ABORTED", error=error, progress=running_job.progress)
    elif stop_reason == "stop":
        _requeue_or_drop_job(site, running_job)
    running_job.discard_results()
    if is_thread_alive:
        log.error("the job %s did not stop, so Hven ends its worker process", job.id)
        os._exit(1)


def _wait_for_job_end(
    site: Site, running_job: RunningJob, thread: threading.Thread, stop_event: threading.Event
) -> str | None:
    """Wait until the work is done (None), or must end: ``gone`` (aborted, destroyed, lost), ``time``, ``stop_event``.

    While the store cannot be read, nobody can tell whether this worker still holds the job. After the time without a
    heartbeat for which others wait, the job counts as lost, because another worker may run it already.
    """
    job = running_job.job
    start_time = last_heartbeat = last_report = last_contact = time.monotonic()
    reported_progress = job.progress  # the work has begun, and may have reported more than that
    pause_seconds = 0.005  # many jobs are short, so the first checks follow quickly
    while True:
        thread.join(pause_seconds)
        if not thread.is_alive():
            return None
        pause_seconds = min(pause_seconds * 2, POLL_INTERVAL_SECONDS)
        if stop_event.is_set():
            return "stop"
        if pause_seconds < POLL_INTERVAL_SECONDS:
            continue
        current_time = time.monotonic()
        needs_heartbeat = current_time - last_heartbeat > HEARTBEAT_INTERVAL_SECONDS
        if running_job.progress != reported_progress and current_time - last_report > PROGRESS_INTERVAL_SECONDS:
            needs_heartbeat = True
        try:
            if needs_heartbeat:
                reported_progress = running_job.progress
                last_heartbeat = last_report = current_time
                duration_limit = site.store.jobs.record_heartbeat_and_read_duration(job, reported_progress)
            else:
                duration_limit = site.store.jobs.find_duration_if_owned(job)
        except HvenError as error:  # the disk may be busy or full for a moment
            if time.monotonic() - last_contact > HEARTBEAT_TIMEOUT_SECONDS:
                log.warning(
                    "giving up on the job %s, because its state could not be read for %g seconds: %s",
                    job.id,
                    HEARTBEAT_TIMEOUT_SECONDS,
                    error,
                )
                return "gone"
            log.warning("the job %s cannot be monitored: %s", job.id, error)
            continue
        last_contact = time.monotonic()
        if duration_limit is None:
            return "gone"
        if duration_limit and current_time - start_time > duration_limit:
            return "time"


def _requeue_or_drop_job(site: Site, running_job: RunningJob) -> None:
    """Requeue a job that has not ended; if this fails, the supervisor will find that nobody runs the job."""
    job = running_job.job
    try:
        if not site.store.jobs.requeue_job(job, is_attempt_counted=False):
            _call_on_drop_if_dropped(site, running_job)
    except HvenError as error:
        log.warning("the job %s cannot be requeued: %s", job.id, error)


def _call_on_drop_if_dropped(site: Site, running_job: RunningJob) -> None:
    """Inform the type of a job that was aborted or destroyed while its worker stopped, because nobody else will."""
    job = running_job.job
    on_drop = type_catalogue.find_job_type(site.settings, job.type).on_drop
    phase = site.store.jobs.find_phases([job.id]).get(job.id)
    if on_drop is not None and phase in {None, "ABORTED"}:
        on_drop(site, replace(job, progress=running_job.progress), phase is None)


def _record_job_end_and_run_actions(site: Site, running_job: RunningJob, error: BaseException | None) -> None:
    """Record how a job ended.

    If this fails, the job has not ended, and the supervisor will find that nobody runs it.
    """
    job = running_job.job
    pause_seconds = running_job.pause_seconds
    if error is None and pause_seconds is not None:
        running_job.discard_results()
        _retry_until_written(lambda: site.store.jobs.suspend_job(job, running_job.progress, pause_seconds))
        return
    if error is None:
        result_bytes = sum(result["bytes"] for result in running_job.results)
        is_recorded = _retry_until_written(
            lambda: site.store.jobs.finish_job_and_notify_owner(
                job,
                "COMPLETED",
                results=running_job.results,
                progress={**running_job.progress, "bytes": result_bytes},
                groups=running_job.required_rights,
            )
        )
        _run_final_actions(site, running_job, is_recorded)
        return
    keeps_results = isinstance(error, JobFailedError)
    if not keeps_results:
        running_job.discard_results()
    if not isinstance(error, EXPECTED_ERRORS):
        log.error("the job %s failed [request %s]: %s", job.id, job.request_id or "-", error, exc_info=error)
    message = errors.format_message(_describe_error(error, job))
    is_transient = isinstance(error, (*TRANSIENT_ERRORS, OSError, MemoryError))
    error_record: dict[str, Any] = {"kind": "transient" if is_transient else "fatal", "message": message}
    if message.values:
        error_record["said"] = message.to_json()
    # section 2.1.7: a job that exceeds its time limit is ABORTED
    phase = "ERROR"
    if isinstance(error, errors.TimeLimitError):
        phase = "ABORTED"
    results = running_job.results if keeps_results else []
    is_recorded = _retry_until_written(
        lambda: site.store.jobs.finish_job_and_notify_owner(
            job,
            phase,
            error=error_record,
            progress=running_job.progress,
            results=results,
            groups=running_job.required_rights,
        )
    )
    _run_final_actions(site, running_job, is_recorded)


def _run_final_actions(site: Site, running_job: RunningJob, is_end_recorded: bool) -> None:
    """Run the final actions of a job.

    If its end was not recorded, the job was aborted, destroyed or claimed by another worker at the last moment.
    """
    if not is_end_recorded:
        job_id = running_job.job.id
        running_job.discard_results()
        try:
            phase = site.store.jobs.find_phases([job_id]).get(job_id, "ABORTED")
        except HvenError as error:
            log.warning("the final actions of the job %s were not run: %s", job_id, error)
            return
        if phase not in FINAL_PHASES:
            return  # another worker continues with the job
    running_job.run_final_actions()


def _describe_error(error: BaseException, job: JobRecord) -> str:
    if isinstance(error, HvenError):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        return f"the result cannot be written: {(error.strerror or '').lower()}; try again later, or request less"
    if isinstance(error, MemoryError):
        return "the job needs more memory than is available; request less"
    return f"an unexpected error occurred in the service; its operators can find the error in the log [job {job.id}]"


def _retry_until_written(write_end: Callable[[], bool]) -> bool:
    """Repeat a write while the store is busy or its disk is full: a job that has ended must not run again for that."""
    wait_seconds = 0.5
    while True:
        try:
            return write_end()
        except errors.ServiceError as error:
            if wait_seconds > 60:
                raise
            log.warning("the end of a job could not be recorded; Hven will try again (%s)", error)
        time.sleep(wait_seconds)
        wait_seconds *= 2


def run_jobs(site: Site, stop_event: threading.Event, *, idle_seconds: float) -> None:
    """Run jobs until the worker is told to stop, or until no job has come for `idle_seconds`."""
    last_job_time = time.monotonic()
    version = -1
    while not stop_event.is_set():
        try:
            current_version = site.store.jobs.get_phase_change_count()
            if current_version != version:
                version = current_version
                while not stop_event.is_set() and run_next_job(site, stop_event=stop_event):
                    last_job_time = time.monotonic()
        except HvenError as error:
            log.warning("Hven cannot look for jobs: %s", error)
            version = -1
            stop_event.wait(1.0)
        quiet_seconds = time.monotonic() - last_job_time
        if quiet_seconds > idle_seconds:
            return
        stop_event.wait(_choose_poll_interval(quiet_seconds))


def _choose_poll_interval(quiet_seconds: float) -> float:
    """Return the pause before the next check for jobs, in seconds: short while jobs come often."""
    if quiet_seconds < 2:
        return 0.005
    if quiet_seconds < 10:
        return 0.02
    return POLL_INTERVAL_SECONDS
