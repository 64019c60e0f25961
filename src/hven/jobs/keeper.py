"""The keeper: forks workers when jobs wait, puts back what dead ones held, destroys what is due. Small, and alone in its process.

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

from hven.jobs import forks
from hven.jobs._alone import Alone
from hven.jobs._worker import ATTEMPTS, SILENT, Stop, work_on
from hven.jobs.desk import KEPT, directory, stamp
from hven.jobs.hang_detector import HangDetector
from hven.model.errors import HvenError
from hven.query import user_tables
from hven.site import Site
from hven.site.auth import invitations
from hven.site.store import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.settings import Settings
    from hven.site.store import Job, Jobs

log = logging.getLogger("hven.jobs")

LOOK = 0.1  # seconds between two looks at the store
REAP = 2.0  # seconds between two looks for jobs that nobody runs any more
SWEEP = 20.0  # seconds between two looks for what is due
GRACE = 8.0  # seconds that workers get to put their jobs back
STARTING = 60.0  # seconds that a worker gets to open the site
TIDY = 900.0  # seconds between two looks for what killed writers of users' tables left
TOGETHER = 100  # jobs that are forgotten in one go
OVER = 30 * 86400.0  # seconds that grants are kept which are over
STRAY = 3600.0  # seconds after which files of no job are removed


def keep(settings: Settings, *, workers: int, idle: float | None = None, parent: int | None = None) -> None:
    """Keep the jobs of a site running until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        Of the site.
    workers
        Processes at most.
    idle
        Seconds after which a worker without work ends; None = the site's.
    parent
        Id of a process whose end is ours too.
    """
    Keeper(settings, workers=workers, idle=settings.jobs.idle if idle is None else idle, parent=parent).run()


class Keeper(Alone):
    """The keeper of a site's jobs: see `keep`."""

    def __init__(self, settings: Settings, *, workers: int, idle: float, parent: int | None) -> None:
        super().__init__(settings, parent)
        self._workers = workers
        self._idle = idle
        self._children: dict[int, forks.Pulse] = {}
        self._detectors: dict[int, HangDetector] = {}
        self._silent: dict[str, tuple[int, int, float]] = {}  # job -> attempt, beat, when it was first seen so
        self._warned = False  # of a clock that has leapt
        self._tidied = 0.0

    def run(self) -> None:
        """Look and act, until told to stop."""
        self._called("hven-jobs")
        version, looked, reaped, swept = -1, 0.0, 0.0, 0.0
        while self._wanted():
            try:
                lost = self._gather()
                self._settle()
                moment = time.monotonic()
                seen = self._jobs().version()
                if lost or moment - reaped > REAP:
                    reaped = moment
                    self._reap()
                if seen != version or lost or moment - looked > 1.0:
                    version, looked = seen, moment
                    self._staff()
                if moment - swept > SWEEP:
                    swept = moment
                    self._sweep()
            except (HvenError, OSError) as error:
                log.warning("looking after the jobs failed: %s", error)
                time.sleep(1.0)
            time.sleep(LOOK)
        self._end()

    def _jobs(self) -> Jobs:
        return self._open().jobs

    def _gather(self) -> bool:
        """Reap the workers that have ended; return whether one did so badly."""
        bad = False
        for pid, pulse in list(self._children.items()):
            if self._detectors.setdefault(pid, HangDetector(pulse, pid)).is_hung():
                log.error(
                    "a worker for jobs (process %d) has given no sign of life for %.0f s and is killed",
                    pid,
                    pulse.silent(),
                )
                forks.tell(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._children[pid], self._detectors[pid]
                if status:
                    bad = True
                    log.warning("a worker for jobs died: %s", forks.how(status))
                    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in forks.CRASHES:
                        self._open().verifications.ask()
        return bad

    def _staff(self) -> None:
        """Fork enough workers for what waits."""
        waiting = self._jobs().waiting()
        if not waiting or len(self._children) >= self._workers:
            return
        busy = len(self._jobs().executing())
        wanted = min(self._workers, busy + waiting) - len(self._children)
        for _ in range(wanted):
            self._fork(partial(_child, self._settings, self._idle))

    def _fork(self, run: Callable[[int], None]) -> None:
        pulse = forks.Pulse(STARTING)
        self._children[self._forked(partial(_alive, pulse, run), "a worker for jobs", log)] = pulse

    def _reap(self) -> None:
        """Requeue the jobs whose holder is dead: certainly so on this machine, or silent for long."""
        jobs = self._jobs()
        executing: list[Job] = jobs.executing()
        moment = time.monotonic()
        self._silent = {job.id: self._silent[job.id] for job in executing if job.id in self._silent}
        for job in executing:
            attempt, beat, since = self._silent.get(job.id, (-1, -1, moment))
            if (attempt, beat) != (job.attempts, job.beat):
                self._silent[job.id] = (job.attempts, job.beat, moment)
                since = moment
            if not jobs.abandoned(job) and moment - since < SILENT:
                continue
            if job.attempts < ATTEMPTS:
                if jobs.requeue(job, counts=True):
                    log.warning("the job %s was left by a worker that died; it is run again", job.id)
                continue
            message = f"the process that ran it died, {job.attempts} times; it may need more memory than there is, so ask for less"
            if jobs.finish(job, "ERROR", error={"kind": "fatal", "message": message}):
                shutil.rmtree(directory(self._settings, job.id), ignore_errors=True)
                log.error("the job %s has brought down %s workers", job.id, job.attempts)

    def _sweep(self) -> None:
        """Destroy or archive what is due; remove files of no job."""
        jobs = self._jobs()
        archive = self._settings.jobs.archive_days
        moment = datetime.fromisoformat(self._believed())
        if archive:
            for job in jobs.due(stamp(moment), hidden=("ARCHIVED",)):
                jobs.change(job.id, among=KEPT, phase="ARCHIVED", results=[], holder=None, ended=job.ended or now())
                shutil.rmtree(directory(self._settings, job.id), ignore_errors=True)
        due = [job.id for job in jobs.due(stamp(moment - timedelta(days=archive)))]
        for at in range(0, len(due), TOGETHER):
            for name in jobs.remove(*due[at : at + TOGETHER]):
                shutil.rmtree(directory(self._settings, name), ignore_errors=True)
        self._sweep_invitations()
        root = self._settings.kept / "jobs"
        old = (
            [path for path in root.iterdir() if path.stat().st_mtime < moment.timestamp() - STRAY]
            if root.is_dir()
            else []
        )
        there = jobs.known([path.name for path in old])
        for path in old:
            if path.name not in there:
                shutil.rmtree(path, ignore_errors=True)
        gone = self._open().grants.sweep(moment.timestamp() - OVER)
        if gone:
            log.info("%d grants that were over for 30 days are removed", gone)
        self._sweep_tables()

    def _sweep_invitations(self) -> None:
        """Destroy what was made under invitations that have ended: nobody can read it since they did."""
        store = self._open()
        gone = store.users.forget_principals(
            invitations.INVITED, lambda owner: invitations.find_invitation(store, owner) is not None
        )
        for name in gone:
            shutil.rmtree(directory(self._settings, name), ignore_errors=True)
        if gone:
            log.info("%d jobs are removed with invitations that have ended", len(gone))

    def _believed(self) -> str:
        """Return the time by which things go; log once that the machine's is another one."""
        times = self._open().times
        believed, told = times.believed(), times.ahead()
        if told is not None and not self._warned:
            log.warning("%s", told)
        self._warned = told is not None
        return believed

    def _sweep_tables(self) -> None:
        """Drop the users' tables whose time is over: in a child, which needs an engine for it."""
        store = self._open()
        late = time.monotonic() - self._tidied > TIDY
        if store.user_tables.due(store.times.believed()) or (late and store.users.all()):
            self._tidied = time.monotonic()
            self._fork(partial(_tidy, self._settings))

    def _end(self) -> None:
        """Send the workers home, and wait for them."""
        for pid in self._children:
            forks.tell(pid, signal.SIGTERM)
        end = time.monotonic() + GRACE
        while self._children and time.monotonic() < end:
            self._gather()
            time.sleep(0.02)
        for pid in self._children:
            forks.tell(pid, signal.SIGKILL)
        self._close()


def _alive(pulse: forks.Pulse, run: Callable[[int], None], parent: int) -> None:
    """Run as a child that gives signs of life."""
    pulse.own()
    forks.beating()
    run(parent)


def _child(settings: Settings, idle: float, parent: int) -> None:
    """Run as a worker."""
    forks.called("hven-job")
    stop = Stop(parent)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the keeper says when to go
    with Site(settings) as site:
        work_on(site, stop, idle=idle)


def _tidy(settings: Settings, _parent: int) -> None:
    """Sweep the users' tables."""
    forks.called("hven-tidy")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with Site(settings) as site:
        user_tables.tidy(site)
