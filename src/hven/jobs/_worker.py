"""A worker: takes jobs one by one, runs each in a thread, and watches whether it is aborted, out of time, or taken away."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.jobs import declared
from hven.jobs._types import Failed, Work
from hven.jobs.desk import FINAL, directory
from hven.model import errors
from hven.model.errors import Cancelled, HvenError
from hven.site.auth import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.site import Site
    from hven.site.auth import Policy
    from hven.site.store import Job

log = logging.getLogger("hven.jobs")

LOOK = 0.1  # seconds between two looks at a running job
BEAT = 5.0  # seconds between two signs of life; others wait for several of them
SILENT = 6 * BEAT  # seconds without a sign of life, by the watcher's own clock, after which a holder counts as dead
TELL = 1.0  # seconds between two words about its progress
STUBBORN = 5.0  # seconds after which a job that does not stop takes its process with it
ATTEMPTS = 2  # a job that has brought down so many workers is not tried again
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
TRANSIENT = (errors.Overloaded, errors.StorageError, errors.Timeout)


class Stop(threading.Event):
    """Whether a worker is to end: somebody said so, or the process that it works for is gone."""

    def __init__(self, parent: int | None = None) -> None:
        super().__init__()
        self._parent = parent

    def is_set(self) -> bool:
        """Check whether to stop; cheap."""
        return super().is_set() or (self._parent is not None and os.getppid() != self._parent)


def run_next(site: Site, *, policies: Sequence[Policy] = DEFAULT, stop: threading.Event | None = None) -> bool:
    """Claim the next job and run it to its end; False: none waits.

    Parameters
    ----------
    stop
        If it is set meanwhile, the job is put back unharmed.
    """
    job = site.store.jobs.claim(declared.bounds(site.settings))
    if job is None:
        return False
    _run(site, job, policies, stop or threading.Event())
    return True


def _run(site: Site, job: Job, policies: Sequence[Policy], stop: threading.Event) -> None:
    work = Work(site, job, directory(site.settings, job.id), policies)
    ended: list[BaseException | None] = []

    def do() -> None:
        try:
            declared.of(site.settings, job.type).run(work)
            ended.append(None)
        except BaseException as error:  # noqa: BLE001  (told below, in the one place that decides how a job ends)
            ended.append(error)

    thread = threading.Thread(target=do, name=f"job {job.id}", daemon=True)
    thread.start()
    why = _watch(site, work, thread, stop)
    if why is None:
        _end(site, work, ended[0])
    else:
        work.stop(why)
        thread.join(STUBBORN)
        stubborn = thread.is_alive()
        if why == "time":
            text = f"the job has run for {site.store.jobs.mine(job) or job.duration} seconds, which was its time limit"
            error = {"kind": "transient", "message": f"{text}; ask for less, or set EXECUTIONDURATION"}
            site.store.jobs.finish(job, "ABORTED", error=error, progress=work.progress)
        elif why == "stop":
            _put_back(site, work)
        work.discard()
        if stubborn:
            log.error("the job %s does not stop; its process ends", job.id)
            os._exit(1)


def _watch(site: Site, work: Work, thread: threading.Thread, stop: threading.Event) -> str | None:
    """Wait until the work is done (None), or must end: ``gone`` (aborted, destroyed, lost), ``time``, ``stop``.

    While the store cannot be read, nobody can tell whether the job is still ours. After as long as others wait for a sign of
    life it counts as lost: they may run it already.
    """
    job = work.job
    begun = beaten = told = known = time.monotonic()
    shown = work.progress
    pause = 0.005  # short jobs end soon: the first looks come quickly
    while True:
        thread.join(pause)
        if not thread.is_alive():
            return None
        pause = min(pause * 2, LOOK)
        if stop.is_set():
            return "stop"
        if pause < LOOK:
            continue
        moment = time.monotonic()
        try:
            if moment - beaten > BEAT or (moment - told > TELL and work.progress is not shown):
                shown = work.progress
                beaten = told = moment
                limit = site.store.jobs.beat(job, shown)
            else:
                limit = site.store.jobs.mine(job)
        except HvenError as error:  # a busy or full disk now; the next look may do better
            if time.monotonic() - known > SILENT:
                log.warning("the job %s has not been seen for %g seconds and is given up: %s", job.id, SILENT, error)
                return "gone"
            log.warning("the job %s cannot be watched: %s", job.id, error)
            continue
        known = time.monotonic()
        if limit is None:
            return "gone"
        if limit and moment - begun > limit:
            return "time"


def _put_back(site: Site, work: Work) -> None:
    """Requeue a job that is not ended here; if that cannot be written, others will see that nobody runs it."""
    job = work.job
    try:
        if not site.store.jobs.requeue(job, counts=False):
            _dropped(site, work)
    except HvenError as error:
        log.warning("the job %s cannot be put back: %s", job.id, error)


def _dropped(site: Site, work: Work) -> None:
    """Inform a job's type that it was aborted or destroyed while its worker went home: nobody else will see it."""
    drop = declared.of(site.settings, work.job.type).dropped
    phase = site.store.jobs.phases([work.job.id]).get(work.job.id)
    if drop is not None and phase in {None, "ABORTED"}:
        drop(site, replace(work.job, progress=work.progress), phase is None)


def _end(site: Site, work: Work, error: BaseException | None) -> None:
    """Write down how a job ended; if that cannot be written, it is not ended, and others will see that nobody runs it."""
    job = work.job
    if error is None:
        size = sum(item["bytes"] for item in work.results)
        done = _patiently(
            lambda: site.store.jobs.finish(
                job, "COMPLETED", results=work.results, progress={**work.progress, "bytes": size}, groups=work.rights
            )
        )
        _ended(site, work, done)
        return
    kept = isinstance(error, Failed)
    if not kept:
        work.discard()
    if not isinstance(error, errors.UserError | Cancelled | errors.Timeout | errors.Overloaded):
        log.error("the job %s failed: %s", job.id, error, exc_info=error)
    message = errors.say(_message(error, job))
    told: dict[str, Any] = {
        "kind": "transient" if isinstance(error, (*TRANSIENT, OSError, MemoryError)) else "fatal",
        "message": message,
    }
    if message.values:
        told["said"] = message.record()
    phase = "ABORTED" if isinstance(error, errors.Timeout) else "ERROR"  # section 2.1.7: out of time is ABORTED
    results = work.results if kept else []
    _ended(
        site,
        work,
        _patiently(
            lambda: site.store.jobs.finish(
                job, phase, error=told, progress=work.progress, results=results, groups=work.rights
            )
        ),
    )


def _ended(site: Site, work: Work, done: bool) -> None:
    """Do what follows the end of a job; not `done`: it was aborted, destroyed or given to another worker in the last moment."""
    if not done:
        work.discard()
        try:
            if site.store.jobs.phases([work.job.id]).get(work.job.id, "ABORTED") not in FINAL:
                return  # another worker goes on with it
        except HvenError as error:
            log.warning("what follows the job %s is left: %s", work.job.id, error)
            return
    work.settle()


def _message(error: BaseException, job: Job) -> str:
    if isinstance(error, HvenError):
        return str(error)
    if isinstance(error, OSError) and error.errno in FULL:
        return f"the result cannot be written: {(error.strerror or '').lower()}; try again later, or ask for less"
    if isinstance(error, MemoryError):
        return "the job needs more memory than there is; ask for less"
    return f"something went wrong; this is a fault of the service, its owner finds it in the log [job {job.id}]"


def _patiently(write: Callable[[], bool]) -> bool:
    """Try again while the store is busy or its disk is full: a job that has ended must not be run again for that."""
    wait = 0.5
    while True:
        try:
            return write()
        except errors.ServiceError as error:
            if wait > 60:
                raise
            log.warning("the end of a job cannot be written, trying again: %s", error)
        time.sleep(wait)
        wait *= 2


def work_on(site: Site, stop: threading.Event, *, idle: float) -> None:
    """Run jobs until told to stop, or until nothing has come for `idle` seconds."""
    last = time.monotonic()
    version = -1
    while not stop.is_set():
        try:
            seen = site.store.jobs.version()
            if seen != version:
                version = seen
                while not stop.is_set() and run_next(site, stop=stop):
                    last = time.monotonic()
        except HvenError as error:
            log.warning("looking for jobs failed: %s", error)
            version = -1
            stop.wait(1.0)
        quiet = time.monotonic() - last
        if quiet > idle:
            return
        stop.wait(0.005 if quiet < 2 else 0.02 if quiet < 10 else LOOK)
