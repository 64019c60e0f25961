"""Let writes into a collection take turns: those of one process in order, and those of several processes alternately.

Without turns, all that wait would try to acquire the lease again and again. One of them could lose each time, and their
attempts would slow down the write that runs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from hven.model.errors import ConflictError
from hven.site.store import build_lease_name, get_process_holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site import Site
    from hven.site.store import Lease

WAITING_PREFIX = "waiting for "  # of leases that show other processes that this one waits
MAX_PRECEDENCE_SECONDS = 5.0  # a process that waits may be suspended
POLL_INTERVAL_SECONDS = 0.02


class WriteTurns:
    """The writes of this process that run or wait, by collection.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._changed = threading.Condition()
        self._queues: dict[str, deque[object]] = {}

    @contextmanager
    def hold_lease(self, collection: str, description: str, wait_seconds: float) -> Iterator[Lease]:
        """Hold the lease of a collection, after the writes that came before.

        Parameters
        ----------
        collection
            Name of the collection.
        description
            What the holder does, for others that wait.
        wait_seconds
            Time to wait for other writes and for ingests.

        Raises
        ------
        ConflictError
            Others still hold the lease after that time.
        """
        deadline = time.monotonic() + wait_seconds
        lease_name = build_lease_name(collection)
        with self._take_turn(collection, description, wait_seconds), ExitStack() as stack:
            self._wait_for_earlier_processes(lease_name, min(deadline, time.monotonic() + MAX_PRECEDENCE_SECONDS))
            try:
                lease = stack.enter_context(self._site.store.leases.hold_lease(lease_name, description=description))
            except ConflictError:
                if time.monotonic() >= deadline:
                    raise
                lease = stack.enter_context(self._wait_for_lease(lease_name, description, deadline))
            yield lease

    @contextmanager
    def _take_turn(self, collection: str, description: str, wait_seconds: float) -> Iterator[None]:
        turn = object()
        with self._changed:
            queue = self._queues.setdefault(collection, deque())
            queue.append(turn)
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: queue[0] is turn, wait_seconds):
                    raise ConflictError(f"{description} has waited too long for the writes before it")
            yield
        finally:
            with self._changed:
                queue.remove(turn)
                if not queue:
                    self._queues.pop(collection, None)
                self._changed.notify_all()

    def _wait_for_earlier_processes(self, lease_name: str, deadline: float) -> None:
        """Wait until the processes have had the lease that waited for it when this one came."""
        waiting_leases = self._list_waiting_leases(lease_name)
        while waiting_leases and time.monotonic() < deadline:
            time.sleep(POLL_INTERVAL_SECONDS)
            waiting_leases &= self._list_waiting_leases(lease_name)

    def _list_waiting_leases(self, lease_name: str) -> set[Lease]:
        own_holder = get_process_holder()
        prefix = f"{WAITING_PREFIX}{lease_name} "
        return {
            lease
            for lease in self._site.store.leases.list_leases()
            if lease.name.startswith(prefix) and lease.holder != own_holder
        }

    @contextmanager
    def _wait_for_lease(self, lease_name: str, description: str, deadline: float) -> Iterator[Lease]:
        leases = self._site.store.leases
        waiting_name = f"{WAITING_PREFIX}{lease_name} {get_process_holder()}"
        waiting_lease = leases.acquire_lease(waiting_name, description=f"{description}, which waits")
        with ExitStack() as stack:
            try:
                wait_seconds = max(deadline - time.monotonic(), 0.0)
                lease = stack.enter_context(
                    leases.hold_lease(lease_name, description=description, wait_seconds=wait_seconds)
                )
            finally:
                leases.release_lease(waiting_lease)
            yield lease
