"""Keep tests that add network devices to this machine apart from Chromium, which gives up its requests when it sees one.

A change waits until no test needs the network unchanged; tests that begin meanwhile wait behind it.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOCK_DIRECTORY = Path(tempfile.gettempdir()) / "hven-tests-network"


@contextlib.contextmanager
def _lock_network(operation: int) -> Iterator[None]:
    LOCK_DIRECTORY.mkdir(exist_ok=True)
    with (LOCK_DIRECTORY / "gate").open("w") as gate, (LOCK_DIRECTORY / "network").open("w") as network:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(network, operation)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield


def keep_network() -> contextlib.AbstractContextManager[None]:
    """Hold off changes of the network until the block ends."""
    return _lock_network(fcntl.LOCK_SH)


def change_network() -> contextlib.AbstractContextManager[None]:
    """Wait until no test needs the network unchanged, and hold off new ones until the block ends."""
    return _lock_network(fcntl.LOCK_EX)
