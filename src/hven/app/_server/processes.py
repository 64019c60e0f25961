"""Several worker processes behind one address, with a graceful stop (granian)."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import logging.config
import os
import pkgutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels

from hven import formats
from hven.app._server.app import create
from hven.app._server.log import LOGGING, lean
from hven.app._server.workers import Workers, connections
from hven.jobs import forks, keeper, scheduler
from hven.jobs.hang_detector import compute_load_factor
from hven.model import clock, plugins
from hven.model import settings as settings_room
from hven.model.errors import HvenError
from hven.query import memory
from hven.services import face
from hven.site import Site, Tally, counters
from hven.site.serving import serving
from hven.site.store import Store, stand
from hven.site.watch import read_ahead

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from hven.model.settings import Settings

log = logging.getLogger("hven")

RESPAWN = 0.5  # seconds between two looks whether the keeper of the jobs lives
GRACE = 8  # seconds that running answers, jobs and runs get to end
STUCK = 60.0  # seconds without a sign of life, on a quiet machine, of a process beside the servers, which may wait for a database
SITE = "HVEN_SITE_DIRECTORY"
M_ARENA_MAX, ARENAS = -8, 4  # <malloc.h>; pools that threads share
M_MMAP_THRESHOLD, BIG = -3, 1024**2  # what is bigger goes back to the machine at once
# seconds after which a thread that waits for the interpreter's lock asks for it. A busy event loop gives it away for moments too short to take it, and
# with Python's 5 ms a thread of a big answer, or one that connects, waited for seconds; the loop has it back sooner, too
SWITCH = 0.0002
FULL = 4  # exit code of a worker that holds too much memory
BROKEN = 3  # exit code of a worker whose site cannot be opened


def application() -> ASGIApp:
    """Build the application in a worker process; the site's directory comes by the environment.

    Raises
    ------
    SystemExit
        The site cannot be opened any more; the log says why.
    """
    logging.config.dictConfig(LOGGING)
    lean()
    sys.setswitchinterval(SWITCH)
    _thrifty()
    memory.last_resort = _give_way
    try:
        settings = settings_room.load(Path(os.environ[SITE]))
        stand(settings.var, settings.store)  # the server has found it, whatever became of it since
        site = Site(settings, watch=True)
        if os.environ.get("HVEN_AFTER_CRASH"):
            site.store.verifications.ask()
        site.engines.embedded.delegate()
        made = create(site)
    except HvenError as error:
        log.error("%s", error)  # noqa: TRY400  (it is for people: no traceback)
        raise SystemExit(BROKEN) from None
    gc.collect()
    # what lasts as long as the worker is gone over no more: each of the collector's rounds holds the interpreter
    gc.freeze()
    return made


def _give_way(held: int) -> None:
    """End this worker, for its queries took more than they may and more than ending them gave back; the server begins another at once."""
    log.error("a worker holds %d MiB, more than its queries may use, and is begun anew", held >> 20)
    os._exit(FULL)


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until stopped by SIGINT or SIGTERM; running answers get eight seconds to end.

    Raises
    ------
    StorageError
        The system state cannot be opened.
    """
    # here and not in the workers: what is wrong is said once and at once, and an upgrade of the state is made once
    store = Store(settings.var, settings.store).stand()
    logging.config.dictConfig(LOGGING)
    for one in serving(settings)[:1]:
        log.info("%s serves this site, too: they share its data, jobs and schedule", one.shown)
    os.environ[SITE] = str(settings.directory.resolve())
    counters.prepare()
    Tally.prepare()
    try:
        _preload(settings, store)
    finally:
        store.close()  # no fork may have its connections
    others = beside(settings)

    def leaving() -> None:  # all at once, for each may take a while
        for other in others:
            other.tell()

    server = Workers(
        "hven.app._server.processes:application",
        factory=True,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.uvloop,
        backpressure=connections(),
        log_dictconfig=LOGGING,
        log_level=LogLevels.warning,
        log_access=False,
        workers_kill_timeout=GRACE,
        websockets=False,
        leaving=leaving,
        listening=lambda: log.info(
            "serving %s at http://%s:%s with %s workers", settings.directory, host, port, workers
        ),
    )
    try:
        server.serve()
    finally:
        leaving()
        for other in others:
            other.stop()


class Beside:
    """A process beside the servers: a fork of this one, forked again if it dies.

    Parameters
    ----------
    name
        What it is, for the log.
    run
        What it does until SIGTERM; given the id of this process, whose end is its end too.
    """

    def __init__(self, name: str, run: Callable[[int], None]) -> None:
        self._name = name
        self._run = run
        self._over = threading.Event()
        self._pid = self._fork()
        threading.Thread(target=self._watch, name=name, daemon=True).start()

    def _fork(self) -> int:
        pulse = self._pulse = forks.Pulse()

        def run(parent: int) -> None:
            pulse.own()
            os.setsid()
            clock.lower(clock.JOB)
            clock.lower_session(clock.SESSION)
            self._run(parent)

        return forks.forked(run, self._name, log)

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                gone = os.waitpid(self._pid, os.WNOHANG)[0]
            except ChildProcessError:  # `stop` has seen it end
                return
            if not gone and self._pulse.silent() > STUCK * compute_load_factor():
                log.error("%s has given no sign of life for %.0f s and is killed", self._name, self._pulse.silent())
                forks.tell(self._pid, signal.SIGKILL)
            if gone and not self._over.wait(RESPAWN):
                log.warning("%s died and is started again", self._name)
                self._pid = self._fork()
            self._over.wait(RESPAWN)

    def tell(self) -> None:
        """Ask it to end."""
        self._over.set()
        forks.tell(self._pid, signal.SIGTERM)

    def stop(self) -> None:
        """Ask it to end, and wait until it has handed over what it did; one that does not end is killed."""
        self.tell()
        end = time.monotonic() + GRACE + 1.0
        with contextlib.suppress(ChildProcessError):
            while not os.waitpid(self._pid, os.WNOHANG)[0]:
                if time.monotonic() > end:
                    forks.tell(self._pid, signal.SIGKILL)
                time.sleep(0.02)


def beside(settings: Settings, *, jobs: bool = True) -> list[Beside]:
    """Begin what a site needs beside its servers: the keeper of the jobs, and the scheduler."""
    _thrifty()  # its forks run jobs and syncs: what they stage went back too late (386 MB where 173 do)
    made = []
    if jobs and settings.job_workers:
        made.append(
            Beside("the keeper of the jobs", lambda me: keeper.keep(settings, workers=settings.job_workers, parent=me))
        )
    if settings.schedule.runs:
        made.append(Beside("the scheduler", lambda me: scheduler.keep_schedule(settings, parent=me)))
    return made


def _thrifty() -> None:
    """Limit threads to a few of the C library's pools: each keeps what its threads once used. See also the room's door."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc has it, musl has not
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, BIG)


def _preload(settings: Settings, store: Store | None = None) -> None:
    """Import here what every worker needs: where workers are forks, that is done once, and its memory is shared."""
    engine = plugins.load("engines", settings.engine)
    for _, name, _ in pkgutil.iter_modules(vars(engine).get("__path__"), f"{engine.__name__}."):
        importlib.import_module(name)
    read_ahead(settings, None if store is None else store.descriptors)  # the workers tell what is wrong with them
    for group in ("engines", "jobs"):
        for name in plugins.names(group):
            plugins.load(group, name)
    face.known()
    formats.offered()
    gc.collect()
    gc.freeze()  # the collector's marks would unshare the pages
