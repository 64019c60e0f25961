"""The ASGI application: mounts the faces, logs, aliases, CORS; and the processes that run it."""

from __future__ import annotations

from hven.server.app import create
from hven.server.processes import serve

PRIVATE = ()

__all__ = ["create", "serve"]
