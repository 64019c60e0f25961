"""Counts of requests and rows by user, which all processes of a server share.

Each process writes only to its own cells, so counting needs no lock. A limit is compared with the sum over all
processes, at most every tenth of a second. In this time, all processes together can exceed a limit by half of what was
left of it; one process alone never exceeds one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import logging
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

log = logging.getLogger("hven")
SLOT_COUNT = 16_384  # users that are counted at the same time
DEFAULT_PROCESS_LIMIT = 8  # without a server that says how many processes it starts
SLOTS_PER_BUCKET = 16  # places of which a user can have one
MINUTE_SECONDS, DAY_SECONDS = 60, 86_400
SHARE_SECONDS = 0.1  # time between two looks at the counts of the other processes
SHARE_DIVISOR = 2  # each process admits this part of its share of what is left between two looks
# numbers in a cell: of one user in one process
_MINUTE, _COUNT, _PREVIOUS_COUNT, _RUNNING, _DAY, _ROWS = range(6)
_CELL_NUMBERS = 6
_KEY_BYTES = SLOT_COUNT * 8
_NAMES_OFFSET = _KEY_BYTES + 8  # behind the keys stands the number of processes
CLASS_COUNT = 64  # classes of users whose costs are counted; the last one has those of all others
_NAME_BYTES = 64  # of the name of a class
_ANSWERED, _SECONDS, _CLASS_ROWS, _REFUSED = range(4)
_COSTS_OFFSET = _NAMES_OFFSET + CLASS_COUNT * _NAME_BYTES
_COST_NUMBERS = 4  # of a class in one process
_ALLOCATION_LOCK = 0  # the byte that is locked while a user gets a slot; behind it, each process locks one


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


class UserCounts:
    """The counts of one user, as one process sees them.

    Adding up the cells of all processes costs more than the rest of a usual request's check. So a process adds them up
    at most every tenth of a second, and admits a share of what is left without looking again.

    Parameters
    ----------
    counts
        The counts of all users.
    slot, key
        Slot of the user, and its key.
    ceilings
        The user's limits.
    """

    __slots__ = (
        "_cells",
        "_counts",
        "_first_cell",
        "_request_margin",
        "_row_margin",
        "_running_margin",
        "_shares_end",
        "ceilings",
        "key",
        "slot",
    )

    def __init__(self, counts: SharedCounts, slot: int, key: int, ceilings: Ceilings) -> None:
        self._counts = counts
        self._cells = counts.cells
        self._first_cell = slot * counts.numbers_per_slot + counts.own_offset
        self.slot = slot
        self.key = key
        self.ceilings = ceilings
        self._request_margin = self._row_margin = 0.0
        self._running_margin = 0.0
        self._shares_end = 0.0  # until when the margins hold

    @property
    def is_current(self) -> bool:
        """Whether the slot is still that of the user."""
        return self._counts.keys[self.slot] == self.key

    def count_request(self, now: float) -> bool:
        """Count a request, unless that would exceed a limit; `end_request` ends it.

        Parameters
        ----------
        now
            Seconds since 1970.

        Returns
        -------
        admitted
            Whether it was counted.
        """
        if now >= self._shares_end or self._request_margin < 1.0 or self._running_margin < 1.0:
            return self._count_after_reading(now)
        self._request_margin -= 1.0
        self._running_margin -= 1.0
        cells, cell = self._cells, self._first_cell
        cells[cell + _COUNT] += 1.0
        cells[cell + _RUNNING] += 1.0
        return True

    def end_request(self, row_count: int) -> None:
        """Count the end of a request, and its rows.

        Parameters
        ----------
        row_count
            Rows of the answer.
        """
        if self._counts.keys[self.slot] != self.key:  # another user has the slot now
            return
        cells, cell = self._cells, self._first_cell
        if cells[cell + _RUNNING] > 0.0:
            cells[cell + _RUNNING] -= 1.0
            self._running_margin += 1.0
        if row_count:
            day = self._counts.get_time() // DAY_SECONDS
            if cells[cell + _DAY] != day:
                cells[cell + _DAY] = day
                cells[cell + _ROWS] = 0.0
            cells[cell + _ROWS] += row_count
            self._row_margin -= row_count
            if self._row_margin <= 0.0:
                self._shares_end = 0.0

    def read_usage(self) -> UserUsage:
        """Add up what all processes have counted for the user."""
        return self._read_usage(self._counts.get_time())

    def _read_usage(self, now: float) -> UserUsage:
        minute, day = now // MINUTE_SECONDS, now // DAY_SECONDS
        first = self.slot * self._counts.numbers_per_slot
        numbers = self._cells[first : first + self._counts.process_count * _CELL_NUMBERS]
        running = minute_count = previous_count = rows = 0.0
        for offset in range(0, len(numbers), _CELL_NUMBERS):
            cell_minute, cell_count, cell_previous, cell_running, cell_day, cell_rows = numbers[
                offset : offset + _CELL_NUMBERS
            ]
            if cell_minute == minute:
                minute_count += cell_count
                previous_count += cell_previous
            elif cell_minute == minute - 1.0:  # what it has counted was of the minute before
                previous_count += cell_count
            if cell_day == day:
                rows += cell_rows
            running += cell_running
        return UserUsage(int(running), int(minute_count), int(previous_count), int(rows))

    def _count_after_reading(self, now: float) -> bool:
        """Count a request, with limits that are compared with the sums over all processes."""
        usage = self._read_usage(now)
        minute, minute_share = divmod(now, MINUTE_SECONDS)
        requests_left = self.ceilings.requests_per_minute - usage.estimate_rate(minute_share / MINUTE_SECONDS) - 1.0
        running_left = self.ceilings.concurrent - usage.running - 1.0
        rows_left = self.ceilings.rows_per_day - usage.rows
        if requests_left < 0.0 or running_left < 0.0 or rows_left <= 0.0:
            self._shares_end = 0.0
            return False
        cells, cell = self._cells, self._first_cell
        if cells[cell + _MINUTE] != minute:
            was_last_minute = cells[cell + _MINUTE] == minute - 1.0
            cells[cell + _PREVIOUS_COUNT] = cells[cell + _COUNT] if was_last_minute else 0.0
            cells[cell + _MINUTE] = minute
            cells[cell + _COUNT] = 0.0
        cells[cell + _COUNT] += 1.0
        cells[cell + _RUNNING] += 1.0
        share = 1.0 / (SHARE_DIVISOR * self._counts.process_count)
        self._request_margin = requests_left * share
        self._running_margin = running_left * share
        self._row_margin = rows_left * share
        self._shares_end = min(now + SHARE_SECONDS, (minute + 1.0) * MINUTE_SECONDS)
        return True


class ClassCosts:
    """What the requests of a class of users have cost, as one process counts it.

    Parameters
    ----------
    cells, first_cell
        Numbers of all classes, and the position of the class' cell of this process.
    get_time
        Returns seconds since 1970.
    """

    __slots__ = ("_cells", "_first_cell", "_get_time")

    def __init__(self, cells: ctypes.Array[ctypes.c_double], first_cell: int, get_time: Callable[[], float]) -> None:
        self._cells = cells
        self._first_cell = first_cell
        self._get_time = get_time

    def count_answer(self, start_time: float, row_count: int) -> None:
        """Count an answer that has ended.

        Parameters
        ----------
        start_time
            When its request came (seconds since 1970).
        row_count
            Its rows.
        """
        cells, cell = self._cells, self._first_cell
        cells[cell] += 1.0
        cells[cell + _SECONDS] += max(self._get_time() - start_time, 0.0)
        if row_count:
            cells[cell + _CLASS_ROWS] += row_count

    def count_refusal(self) -> None:
        """Count a request that was refused."""
        self._cells[self._first_cell + _REFUSED] += 1.0


class ClassTotals(NamedTuple):
    """What the requests of a class of users have cost in all processes since the server started.

    Attributes
    ----------
    answered, refused
        Numbers of requests.
    seconds
        Seconds in which requests were answered.
    rows
        Rows of the answers.
    """

    answered: float
    seconds: float
    rows: float
    refused: float


class SharedCounts:
    """The counts of a server's users. A process that forks shares them with its children.

    Parameters
    ----------
    get_time
        Returns seconds since 1970.
    process_limit
        Number of processes that can count at the same time. The system allocates the memory that they use: about 50
        bytes for each user and process.

    Attributes
    ----------
    keys, cells
        The key of each slot; the numbers of all slots, of which each process writes its own only.
    own_offset
        Own offset of the cell of this process in a slot; negative: it has none.
    numbers_per_slot
        Numbers of all processes for one user.
    """

    def __init__(
        self, get_time: Callable[[], float] = time.time, *, process_limit: int = DEFAULT_PROCESS_LIMIT
    ) -> None:
        self.get_time = get_time
        self._process_limit = process_limit
        self.numbers_per_slot = process_limit * _CELL_NUMBERS
        self._numbers_per_class = process_limit * _COST_NUMBERS
        cells_offset = _COSTS_OFFSET + CLASS_COUNT * self._numbers_per_class * 8
        memory_bytes = cells_offset + SLOT_COUNT * self.numbers_per_slot * 8
        self._file = _open_memory_file()
        os.truncate(self._file, memory_bytes)
        self._memory = memory = mmap.mmap(self._file, memory_bytes)
        self.keys = (ctypes.c_uint64 * SLOT_COUNT).from_buffer(memory)
        self._process_count = ctypes.c_double.from_buffer(memory, _KEY_BYTES)
        self.cells = (ctypes.c_double * (SLOT_COUNT * self.numbers_per_slot)).from_buffer(memory, cells_offset)
        self._cost_cells = (ctypes.c_double * (CLASS_COUNT * self._numbers_per_class)).from_buffer(
            memory, _COSTS_OFFSET
        )
        self._process_id = 0
        self.own_offset = -1
        self._users: dict[int, UserCounts] = {}  # by slot: a user of several services has the same margins in all
        self._costs_by_class: dict[str, ClassCosts] = {}

    @property
    def process_count(self) -> int:
        """Number of processes whose cells have been used."""
        return int(self._process_count.value)

    def find_user(self, user: str, ceilings: Ceilings) -> UserCounts | None:
        """Return the counts of a user; None: this process cannot count, or all slots are in use.

        Parameters
        ----------
        user
            Any text.
        ceilings
            The user's limits.
        """
        if not self._claim_process_cells():
            return None
        key = int.from_bytes(hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=8).digest(), "little") or 1
        slot = self._assign_slot(key)
        if slot is None:
            return None
        counts = self._users.get(slot)
        if counts is None or counts.key != key or counts.ceilings != ceilings:
            counts = self._users[slot] = UserCounts(self, slot, key, ceilings)
        return counts

    def find_class(self, name: str) -> ClassCosts:
        """Return the costs of a class of users. A process that cannot count counts for itself.

        Parameters
        ----------
        name
            Name of the class.
        """
        if not self._claim_process_cells():
            return ClassCosts((ctypes.c_double * _COST_NUMBERS)(), 0, self.get_time)
        if name in self._costs_by_class:
            return self._costs_by_class[name]
        encoded_name = name.encode()[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
        with self._lock_allocation():
            for number in range(CLASS_COUNT):
                place = slice(_NAMES_OFFSET + number * _NAME_BYTES, _NAMES_OFFSET + (number + 1) * _NAME_BYTES)
                present_name = self._memory[place]
                if not present_name.strip(b"\0"):
                    self._memory[place] = encoded_name
                    break
                if present_name == encoded_name:
                    break
        own_cell = number * self._numbers_per_class + self.own_offset // _CELL_NUMBERS * _COST_NUMBERS
        costs = self._costs_by_class[name] = ClassCosts(self._cost_cells, own_cell, self.get_time)
        return costs

    def sum_class_costs(self) -> dict[str, ClassTotals]:
        """Add up what all processes have counted, by the names of the classes."""
        totals_by_class: dict[str, ClassTotals] = {}
        numbers = np.frombuffer(self._memory, np.float64, CLASS_COUNT * self._numbers_per_class, _COSTS_OFFSET)
        sums = numbers.reshape(CLASS_COUNT, self._process_limit, _COST_NUMBERS).sum(axis=1)
        for number in range(CLASS_COUNT):
            start = _NAMES_OFFSET + number * _NAME_BYTES
            name = self._memory[start : start + _NAME_BYTES].rstrip(b"\0").decode("utf-8", "replace")
            if not name:
                break
            totals_by_class[name] = ClassTotals(*map(float, sums[number]))
        return totals_by_class

    def _assign_slot(self, key: int) -> int | None:
        start = key % (SLOT_COUNT // SLOTS_PER_BUCKET) * SLOTS_PER_BUCKET
        bucket_keys = self.keys[start : start + SLOTS_PER_BUCKET]
        if key in bucket_keys:  # most users who share a slot come from other addresses: they need no lock
            return start + bucket_keys.index(key)
        with self._lock_allocation():
            bucket_keys = self.keys[start : start + SLOTS_PER_BUCKET]
            if key in bucket_keys:
                return start + bucket_keys.index(key)
            slot = self._find_disposable_slot(start, bucket_keys)
            if slot is None:
                return None
            first = slot * self.numbers_per_slot
            used_numbers = self.process_count * _CELL_NUMBERS
            self.cells[first : first + used_numbers] = [0.0] * used_numbers
            self.keys[slot] = key
        return slot

    def _find_disposable_slot(self, start: int, bucket_keys: list[int]) -> int | None:
        """Find a free slot in a bucket, or that of the user who has used least lately. Running requests keep a slot."""
        if 0 in bucket_keys:
            return start + bucket_keys.index(0)
        slots = range(start, start + SLOTS_PER_BUCKET)
        usage_by_slot = {slot: UserCounts(self, slot, 0, Ceilings()).read_usage() for slot in slots}
        idle_slots = [slot for slot in slots if not usage_by_slot[slot].running]

        def get_rank(slot: int) -> tuple[int, int]:
            usage = usage_by_slot[slot]
            return usage.rows, usage.minute_count + usage.previous_count

        return min(idle_slots, key=get_rank, default=None)

    def _claim_process_cells(self) -> bool:
        """Take a free cell of each slot, and return whether there was one; a fork does so once more."""
        if self._process_id == os.getpid():
            return self.own_offset >= 0
        self._process_id = os.getpid()
        self.own_offset = -1
        self._users, self._costs_by_class = {}, {}  # those of the process that was forked
        for number in range(self._process_limit):
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number + 1)
                self.own_offset = number * _CELL_NUMBERS
                break
        if self.own_offset < 0:
            log.error("this process can't count requests, because too many processes do, so it refuses none of them")
            return False
        # the process that had the cells before is dead, and so are its requests; memory of slots that nobody has stays
        # unallocated
        for slot in np.flatnonzero(np.frombuffer(self._memory, np.uint64, SLOT_COUNT)).tolist():
            self.cells[slot * self.numbers_per_slot + self.own_offset + _RUNNING] = 0.0
        with self._lock_allocation():
            self._process_count.value = max(self._process_count.value, self.own_offset // _CELL_NUMBERS + 1)
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


_server_counts: SharedCounts | None = None


def reserve_shared_counts(process_limit: int) -> None:
    """Allocate the counts that the processes of this server share, before they are forked.

    Parameters
    ----------
    process_limit
        Number of processes that can count at the same time.
    """
    global _server_counts  # noqa: PLW0603  (a process serves one site)
    _server_counts = SharedCounts(process_limit=process_limit)


def get_shared_counts() -> SharedCounts:
    """Return the counts that the processes of this server share."""
    if _server_counts is None:
        reserve_shared_counts(DEFAULT_PROCESS_LIMIT)
    assert _server_counts is not None  # noqa: S101
    return _server_counts
