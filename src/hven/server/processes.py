"""Several worker processes behind one address, with a graceful stop (granian)."""

from __future__ import annotations

import gc
import logging
import logging.config
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hven import settings as settings_room
from hven.errors import HvenError
from hven.server.log import LOGGING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from hven.settings import Settings

SITE = "HVEN_SITE_DIRECTORY"
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
    Granian(
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
    ).serve()


def _preload(settings: Settings) -> None:
    """Import here what every worker needs: where workers are forks, that is done once, and its memory is shared."""
    from hven import formats, plugins, protocols
    from hven.holdings import Site  # noqa: F401
    from hven.server.app import create  # noqa: F401

    plugins.load("engines", settings.engine)
    protocols.known()
    formats.offered()
    gc.collect()
    gc.freeze()  # the collector's marks would unshare the pages
