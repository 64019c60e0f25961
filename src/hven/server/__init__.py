"""The ASGI application: mounts the faces, logs, aliases, CORS; and the processes that run it."""

from __future__ import annotations

import os

# Arrow reads this once, when it is loaded. Its own allocator keeps what many threads once used: after a rush of dumps
# 3.0 of 3.2 GB stayed with the server's processes, with the system's 0.5 GB
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

from hven.server.app import create
from hven.server.processes import serve

PRIVATE = ()

__all__ = ["create", "serve"]
