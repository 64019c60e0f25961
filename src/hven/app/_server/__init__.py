"""The ASGI application of a site, and the processes that run it."""

from __future__ import annotations

import contextlib
import ctypes
import os

# Arrow reads this variable once, when it is imported. Arrow's own allocator keeps memory that many threads once used:
# after many large downloads, the server's processes kept 3.0 of 3.2 GB, and 0.5 GB with the system's allocator.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
# glibc gives each thread an arena of its own, and each arena keeps memory that its thread once used.
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).mallopt(-8, 2)  # M_ARENA_MAX

from hven.app._server.application import create_and_start_application
from hven.app._server.processes import serve_site

__all__ = ["create_and_start_application", "serve_site"]
