"""Counts of requests and rows by user, which all processes of a server share.

Each process writes only to its own cells, so counting needs no lock. A limit is compared with the sum over all
processes. If processes admit requests at the same moment, they can exceed a limit by one request each.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import math
import mmap
import os
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOT_COUNT = 4096  # users that are counted at the same time
MAX_PROCESSES = 32  # a process beyond this number counts nothing
SLOTS_PER_BUCKET = 16  # places of which a user can have one
MINUTE_SECONDS, DAY_SECONDS = 60, 86_400
# numbers in a cell: of one user in one process
_MINUTE, _COUNT, _PREVIOUS_COUNT, _RUNNING, _DAY, _ROWS = range(6)
_CELL_NUMBERS = 6
_NUMBERS_PER_SLOT = MAX_PROCESSES * _CELL_NUMBERS
_KEY_BYTES = SLOT_COUNT * 8
_CELLS_OFFSET = _KEY_BYTES + 8  # behind the keys stands the number of processes
_MEMORY_BYTES = _CELLS_OFFSET + SLOT_COUNT * _NUMBERS_PER_SLOT * 8  # 6 MB, of which the system allocates what is used
_ALLOCATION_LOCK = MAX_PROCESSES  # the byte that is locked while a user gets a slot


class UserUsage(NamedTuple):
    """What a user has used, in all processes.

    Attributes
    ----------
    running
        Requests that are being answered.
    minute_count, previous_count
        Requests in this minute of the clock, and in the one before.
    rows
        Rows of the answers of this day (UTC).
    """

    running: int
    minute_count: int
    previous_count: int
    rows: int

    def estimate_rate(self, minute_share: float) -> float:
        """Estimate the requests of the last 60 seconds, from the share of the present minute that has passed."""
        return self.minute_count + self.previous_count * (1.0 - minute_share)


class Ceilings(NamedTuple):
    """Limits as numbers; infinite: no limit."""

    concurrent: float = math.inf
    requests_per_minute: float = math.inf
    rows_per_day: float = math.inf


class SharedCounts:
    """The counts of a server's users. A process that forks shares them with its children.

    Parameters
    ----------
    get_time
        Returns seconds since 1970.
    """

    def __init__(self, get_time: Callable[[], float] = time.time) -> None:
        self._get_time = get_time
        self._file = _open_memory_file()
        os.truncate(self._file, _MEMORY_BYTES)
        self._memory = memory = mmap.mmap(self._file, _MEMORY_BYTES)
        self._keys = (ctypes.c_uint64 * SLOT_COUNT).from_buffer(memory)
        self._process_count = ctypes.c_double.from_buffer(memory, _KEY_BYTES)
        self._cells = (ctypes.c_double * (SLOT_COUNT * _NUMBERS_PER_SLOT)).from_buffer(memory, _CELLS_OFFSET)
        self._process_id = 0
        self._own_offset = -1  # of the cell of this process in a slot; negative: it has none

    def find_slot(self, user: str) -> tuple[int, int] | None:
        """Return the slot of a user and its key; None: this process cannot count, or all slots are in use.

        Parameters
        ----------
        user
            Any text.
        """
        if not self._claim_process_cells():
            return None
        key = int.from_bytes(hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=8).digest(), "little") or 1
        start = key % (SLOT_COUNT // SLOTS_PER_BUCKET) * SLOTS_PER_BUCKET
        with self._lock_allocation():
            bucket_keys = self._keys[start : start + SLOTS_PER_BUCKET]
            if key in bucket_keys:
                return start + bucket_keys.index(key), key
            slot = self._find_disposable_slot(start, bucket_keys)
            if slot is None:
                return None
            first = slot * _NUMBERS_PER_SLOT
            self._cells[first : first + _NUMBERS_PER_SLOT] = [0.0] * _NUMBERS_PER_SLOT
            self._keys[slot] = key
        return slot, key

    def is_slot_of(self, slot: int, key: int) -> bool:
        """Return whether a slot is still that of a user."""
        return self._keys[slot] == key

    def read_usage(self, slot: int) -> UserUsage:
        """Add up what all processes have counted for a user.

        Parameters
        ----------
        slot
            Slot of the user.
        """
        now = self._get_time()
        minute, day = now // MINUTE_SECONDS, now // DAY_SECONDS
        first = slot * _NUMBERS_PER_SLOT
        cells = self._cells[first : first + int(self._process_count.value) * _CELL_NUMBERS]
        running = minute_count = previous_count = rows = 0.0
        for offset in range(0, len(cells), _CELL_NUMBERS):
            if cells[offset + _MINUTE] == minute:
                minute_count += cells[offset + _COUNT]
                previous_count += cells[offset + _PREVIOUS_COUNT]
            elif cells[offset + _MINUTE] == minute - 1:
                previous_count += cells[offset + _COUNT]
            if cells[offset + _DAY] == day:
                rows += cells[offset + _ROWS]
            running += cells[offset + _RUNNING]
        return UserUsage(int(running), int(minute_count), int(previous_count), int(rows))

    def count_request(self, slot: int, ceilings: Ceilings) -> bool:
        """Count a request, unless that would exceed a limit; `end_request` ends it.

        One pass over the cells, because each request pays for it.

        Parameters
        ----------
        slot
            Slot of the user.
        ceilings
            The limits.

        Returns
        -------
        admitted
            Whether it was counted.
        """
        now = self._get_time()
        minute = now // MINUTE_SECONDS
        previous_weight = 1.0 - now % MINUTE_SECONDS / MINUTE_SECONDS
        first = slot * _NUMBERS_PER_SLOT
        numbers = self._cells[first : first + int(self._process_count.value) * _CELL_NUMBERS]
        running = count = rows = 0.0
        own_offset = self._own_offset
        own_numbers: list[ctypes.c_double | float] = [minute, 1.0, 0.0, 1.0]
        for offset in range(0, len(numbers), _CELL_NUMBERS):
            cell_minute, cell_count, previous_count, cell_running, cell_day, cell_rows = numbers[
                offset : offset + _CELL_NUMBERS
            ]
            if cell_minute != minute:  # its count is of an earlier minute
                previous_count = cell_count if cell_minute == minute - 1.0 else 0.0
                cell_count = 0.0
            count += cell_count + previous_count * previous_weight
            running += cell_running
            if cell_rows and cell_day == now // DAY_SECONDS:
                rows += cell_rows
            if offset == own_offset:
                own_numbers = [minute, cell_count + 1.0, previous_count, cell_running + 1.0]
        concurrent, requests_per_minute, rows_per_day = ceilings
        if running >= concurrent or count + 1.0 > requests_per_minute or rows >= rows_per_day:
            return False
        self._cells[first + own_offset : first + own_offset + len(own_numbers)] = own_numbers
        return True

    def end_request(self, slot: int, key: int, row_count: int) -> None:
        """Count the end of a request, and its rows.

        Parameters
        ----------
        slot, key
            Slot of the user, and the key that it had. Another user may have the slot now.
        row_count
            Rows of the answer.
        """
        if self._keys[slot] != key:
            return
        cells, cell = self._cells, slot * _NUMBERS_PER_SLOT + self._own_offset
        if cells[cell + _RUNNING] > 0.0:
            cells[cell + _RUNNING] -= 1.0
        if row_count:
            day = self._get_time() // DAY_SECONDS
            if cells[cell + _DAY] != day:
                cells[cell + _DAY] = day
                cells[cell + _ROWS] = 0.0
            cells[cell + _ROWS] += row_count

    def _find_disposable_slot(self, start: int, bucket_keys: list[int]) -> int | None:
        """Find a free slot in a bucket, or that of the user who has used least lately. Running requests keep a slot."""
        if 0 in bucket_keys:
            return start + bucket_keys.index(0)
        slots = range(start, start + SLOTS_PER_BUCKET)
        usage_by_slot = {slot: self.read_usage(slot) for slot in slots}
        idle_slots = [slot for slot in slots if not usage_by_slot[slot].running]

        def get_rank(slot: int) -> tuple[int, int]:
            usage = usage_by_slot[slot]
            return usage.rows, usage.minute_count + usage.previous_count

        return min(idle_slots, key=get_rank, default=None)

    def _claim_process_cells(self) -> bool:
        """Take a free cell of each slot, and return whether there was one; a fork does so once more."""
        if self._process_id == os.getpid():
            return self._own_offset >= 0
        self._process_id = os.getpid()
        self._own_offset = -1
        for number in range(MAX_PROCESSES):
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
                self._own_offset = number * _CELL_NUMBERS
                break
        if self._own_offset < 0:
            return False
        # the process that had the cells before is dead, and so are its requests
        all_cells = np.frombuffer(self._memory, dtype=np.float64, offset=_CELLS_OFFSET)
        all_cells[self._own_offset + _RUNNING :: _NUMBERS_PER_SLOT] = 0.0
        with self._lock_allocation():
            self._process_count.value = max(self._process_count.value, self._own_offset // _CELL_NUMBERS + 1)
        return True

    @contextlib.contextmanager
    def _lock_allocation(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _ALLOCATION_LOCK)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _ALLOCATION_LOCK)


def _open_memory_file() -> int:
    """Open a file in memory: writing to a mapped file on a full disk kills a process."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("hven-request-limits")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    return descriptor
