"""Several worker processes behind one address, with a graceful stop (granian)."""

from __future__ import annotations

import contextlib
import gc
import logging
import logging.config
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from hven import jobs
from hven import settings as settings_room
from hven.errors import HvenError
from hven.server.log import LOGGING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from hven.settings import Settings

RESPAWN = 0.5  # seconds between two looks whether the keeper of the jobs lives
SITE = "HVEN_SITE_DIRECTORY"
M_ARENA_MAX, ARENAS = -8, 4  # <malloc.h>; pools that threads share
M_MMAP_THRESHOLD, BIG = -3, 1024**2  # what is bigger goes back to the machine at once
BROKEN = 3  # exit code of a worker whose site cannot be opened


def application() -> ASGIApp:
    """Build the application in a worker process; the site's directory comes by the environment.

    Raises
    ------
    SystemExit
        The site cannot be opened any more; the log says why.
    """
    from hven.holdings import Site
    from hven.server.app import create

    logging.config.dictConfig(LOGGING)
    _thrifty()
    try:
        return create(Site(settings_room.load(Path(os.environ[SITE])), watch=True))
    except HvenError as error:
        logging.getLogger("hven").error("%s", error)  # noqa: TRY400  (it is for people: no traceback)
        raise SystemExit(BROKEN) from None


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until stopped by SIGINT or SIGTERM; running answers get ten seconds to end.

    Raises
    ------
    StorageError
        The system state cannot be opened.
    """
    from hven.store import Store

    # here and not in the workers: what is wrong is said once and at once, and an upgrade of the state is made once
    Store(settings.var, settings.store).close()
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels

    logging.config.dictConfig(LOGGING)
    logging.getLogger("hven").info("serving %s at http://%s:%s with %s workers", settings.directory, host, port, workers)
    os.environ[SITE] = str(settings.directory.resolve())
    _preload(settings)
    jobs = _Jobs(settings) if settings.job_workers else None
    server = Granian(
        "hven.server.processes:application",
        factory=True,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        loop=Loops.uvloop,
        backlog=1024,
        log_dictconfig=LOGGING,
        log_level=LogLevels.warning,
        log_access=False,
        workers_kill_timeout=10,
        respawn_failed_workers=True,
        websockets=False,
    )
    try:
        server.serve()
    finally:
        if jobs is not None:
            jobs.stop()


class _Jobs:
    """The process that keeps the jobs: a fork of this one, forked again if it dies."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._over = threading.Event()
        self._pid = self._fork()
        threading.Thread(target=self._watch, name="jobs", daemon=True).start()

    def _fork(self) -> int:
        me = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            jobs.keep(self._settings, workers=self._settings.job_workers, parent=me)
            code = 0
        except BaseException:
            logging.getLogger("hven.jobs").exception("the keeper of the jobs failed")
        finally:
            os._exit(code)

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                gone = os.waitpid(self._pid, os.WNOHANG)[0]
            except ChildProcessError:  # `stop` has seen it end
                return
            if gone and not self._over.wait(RESPAWN):
                logging.getLogger("hven.jobs").warning("the keeper of the jobs died and is started again")
                self._pid = self._fork()
            self._over.wait(RESPAWN)

    def stop(self) -> None:
        """Tell it to end, and wait until its workers have put their jobs back."""
        self._over.set()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _thrifty() -> None:
    """Let threads share a few of the C library's pools: each keeps what its threads once used. See also the room's door."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc has it, musl has not
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, BIG)


def _preload(settings: Settings) -> None:
    """Import here what every worker needs: where workers are forks, that is done once, and its memory is shared."""
    from hven import formats, plugins, protocols
    from hven.holdings import Site  # noqa: F401
    from hven.server.app import create  # noqa: F401

    plugins.load("engines", settings.engine)
    for name in plugins.names("jobs"):
        plugins.load("jobs", name)
    protocols.known()
    formats.offered()
    gc.collect()
    gc.freeze()  # the collector's marks would unshare the pages
