"""Several worker processes behind one address, with a graceful stop (granian)."""

from __future__ import annotations

import logging
import logging.config
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven import settings as settings_room

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from hven.settings import Settings

SITE = "HVEN_SITE_DIRECTORY"


def application() -> ASGIApp:
    """Build the application in a worker process; the site's directory comes by the environment."""
    from hven.holdings import Site
    from hven.server.app import create

    logging.config.dictConfig(LOGGING)
    return create(Site(settings_room.load(Path(os.environ[SITE])), watch=True))


def serve(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until stopped by SIGINT or SIGTERM; running answers get ten seconds to end."""
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels

    logging.config.dictConfig(LOGGING)
    logging.getLogger("hven").info("serving %s at http://%s:%s with %s workers", settings.directory, host, port, workers)
    os.environ[SITE] = str(settings.directory.resolve())
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


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}, "bare": {"format": "%(message)s"}},
    "handlers": {
        "plain": {"class": "logging.StreamHandler", "formatter": "plain"},
        "bare": {"class": "logging.StreamHandler", "formatter": "bare", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "hven": {"handlers": ["plain"], "level": "INFO", "propagate": False},
        "hven.access": {"handlers": ["bare"], "level": "INFO", "propagate": False},
        "_granian": {"handlers": ["plain"], "level": "WARNING", "propagate": False},
        # an answer that breaks off must be an exception to granian; our own log has said why, with the request's id
        "_granian.utils": {"level": "CRITICAL"},
    },
    "root": {"handlers": ["plain"], "level": "WARNING"},
}
