"""The ASGI application: mounts the faces, logs, aliases, CORS; and the processes that run it."""

from __future__ import annotations

import contextlib
import ctypes
import os

# Arrow reads this once, when it is loaded. Its own allocator keeps what many threads once used: after a rush of dumps
# 3.0 of 3.2 GB stayed with the server's processes, with the system's 0.5 GB
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
# glibc gives every thread an arena of its own, and each keeps what its thread once used
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX

from hven.app._server.application import create_application
from hven.app._server.processes import serve_site

__all__ = ["create_application", "serve_site"]
