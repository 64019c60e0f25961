"""The memory of a process, with that which engines do not count.

If it grows too large, the query that began last is ended, and as a last resort the process.
"""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECK_INTERVAL_SECONDS = 0.05  # time between two checks while queries run
RELEASE_WAIT_SECONDS = 1.0  # time that an ended query has to release its memory
MAX_OVERRUN_SECONDS = 10.0  # after this time above the limit the process is ended
TRIM_DELAY_SECONDS = 1.0  # delay of a trim, which returns all memory that is freed until then
_STATM_PATH = "/proc/{}/statm"


# : What to do when ending queries does not help: a worker of the server ends, and another is begun. None: nothing, as
# where a program asks.
end_process: Callable[[int], None] | None = None


def measure_process_bytes(process_id: int | str = "self") -> int:
    """Measure the memory of a process, without the files that it has mapped.

    Parameters
    ----------
    process_id
        Its number; by default this one.

    Returns
    -------
    bytes
        0 where that is not known.
    """
    try:
        pages = Path(_STATM_PATH.format(process_id)).read_bytes().split()
    except OSError:
        return 0
    return (int(pages[1]) - int(pages[2])) * 4096


def _find_malloc_trim() -> Callable[[int], int] | None:
    """Find glibc's malloc_trim; other C libraries have none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None


_malloc_trim = _find_malloc_trim()
_trim_lock = threading.Lock()
_trim_thread: threading.Thread | None = None
_trim_requested = False


def schedule_memory_trim() -> None:
    """Return freed memory to the system, soon and in another thread.

    Otherwise the C library keeps free memory, and more of it with every thread. Call the function when something large
    is over: a big query, a big body, or a long text that was refused.
    """
    global _trim_thread, _trim_requested  # noqa: PLW0603  (of the process, as its memory is)
    with _trim_lock:
        _trim_requested = True
        # After a fork the thread of the parent is not alive in the child.
        is_running = _trim_thread is not None and _trim_thread.is_alive()
        if _malloc_trim is None or is_running:
            return
        _trim_thread = threading.Thread(target=_run_trim_thread, name="hven-tidy", daemon=True)
        _trim_thread.start()


def _run_trim_thread() -> None:
    """Trim the memory after a delay, in which more of it is freed."""
    global _trim_thread, _trim_requested  # noqa: PLW0603
    while True:
        with _trim_lock:
            if not _trim_requested:
                _trim_thread = None
                return
            _trim_requested = False
        time.sleep(TRIM_DELAY_SECONDS)
        if _malloc_trim is not None:
            _malloc_trim(0)


class MemoryWatchdog:
    """A watchdog that ends queries when the process uses too much memory; its thread runs while queries run.

    Parameters
    ----------
    memory_limit_bytes
        Memory that the engine may use. Queries are ended when the process uses an eighth more than that, beyond what it
        used before the first query. `end_process` is called at twice that, or if ending queries does not help for long.
    list_helper_processes
        Returns the processes that compute for this one, and the memory that each used at first. Their memory counts,
        too.
    """

    def __init__(self, memory_limit_bytes: int, list_helper_processes: Callable[[], Mapping[int, int]] = dict) -> None:
        self._memory_limit_bytes = memory_limit_bytes
        self._list_helper_processes = list_helper_processes
        self._lock = threading.Lock()
        self._running_queries: dict[object, Callable[[], None]] = {}
        self._is_watching = False

    def watch_query(self, query: object, end_query: Callable[[], None]) -> None:
        """Watch a query.

        Parameters
        ----------
        query
            What it is known by.
        end_query
            Called, from another thread, if it is the one to be ended.
        """
        with self._lock:
            self._running_queries[query] = end_query
            if self._is_watching:
                return
            self._is_watching = True
        threading.Thread(
            target=self._watch_memory, args=(self._measure_held_bytes(),), name="hven-ceiling", daemon=True
        ).start()

    def stop_watching_query(self, query: object) -> None:
        """Stop watching a query.

        Parameters
        ----------
        query
            As it was entered.
        """
        with self._lock:
            self._running_queries.pop(query, None)

    def _measure_held_bytes(self) -> int:
        return measure_process_bytes() + sum(
            max(measure_process_bytes(process_id) - initial_bytes, 0)
            for process_id, initial_bytes in self._list_helper_processes().items()
        )

    def _watch_memory(self, initial_bytes: int) -> None:
        limit_bytes = initial_bytes + self._memory_limit_bytes + self._memory_limit_bytes // 8
        idle_checks = 0
        above_since: float | None = None  # since when
        last_ended = 0.0
        while True:
            time.sleep(CHECK_INTERVAL_SECONDS)
            held_bytes = self._measure_held_bytes()
            instant = time.monotonic()
            if held_bytes <= limit_bytes:
                above_since = None
            elif above_since is None:
                above_since = instant
            if above_since is not None and end_process is not None:
                is_far_above = held_bytes > initial_bytes + 2 * self._memory_limit_bytes
                if is_far_above or instant - above_since > MAX_OVERRUN_SECONDS:
                    end_process(held_bytes)
            end_query = None
            with self._lock:
                if self._running_queries or (above_since is not None and end_process is not None):
                    idle_checks = 0
                else:
                    idle_checks = idle_checks + 1
                if idle_checks > 40:  # the next query is hardly ever far
                    self._is_watching = False
                    return
                if self._running_queries and above_since is not None and instant - last_ended > RELEASE_WAIT_SECONDS:
                    end_query = self._running_queries.pop(next(reversed(self._running_queries)))
            if end_query is not None:
                end_query()
                last_ended = instant
