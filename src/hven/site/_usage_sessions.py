"""Whether somebody asked the same a moment ago, or this hour already.

Hashes under a secret that is thrown away each hour, in memory that a server's processes share.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED_MEMORY_VARIABLE = "HVEN_SERVER_VISITS"  # variable that names that memory, in the processes of a server
# seconds within which the same address asked again by the same user is one action (COUNTER for Research Data RD1, 10.2)
DOUBLE_CLICK_SECONDS = 30.0
SESSION_SECONDS = 3600  # seconds: a session is what a user does in one hour of the clock (10.3)
_HEADER_WORDS = 4  # words: the hour, the salt (two), none
_BUCKET_SLOTS = 8  # places in which a hash may stand: where all are taken, the oldest gives way
MAX_CLICKS, MAX_SESSIONS = 1 << 14, 1 << 17  # hashes that are remembered
_MEMORY_WORDS = _HEADER_WORDS + 2 * MAX_CLICKS + MAX_SESSIONS
MEMORY_BYTES = _MEMORY_WORDS * 8  # 1.3 MB


class UsageSessions:
    """What is remembered of users for an hour.

    Nothing of it can be turned back into an address, and nothing of it is on a disk.

    Processes write without a lock: two that write the same place at the same moment count one action twice, which is
    rare and does no harm.
    """

    def __init__(self) -> None:
        self._memory_file = _open_shared_memory()
        self._memory: mmap.mmap | bytearray = (
            bytearray(MEMORY_BYTES) if self._memory_file is None else mmap.mmap(self._memory_file, MEMORY_BYTES)
        )
        self._words = (ctypes.c_uint64 * _MEMORY_WORDS).from_buffer(self._memory)
        self._times = (ctypes.c_double * MAX_CLICKS).from_buffer(self._memory, (_HEADER_WORDS + MAX_CLICKS) * 8)
        self._hour = -1
        self._salt = b""

    def hash_user(self, user_name: str, hour: int) -> int:
        """Return what stands for a user within an hour.

        Parameters
        ----------
        user_name
            Of the account; or address and agent.
        hour
            Hours since 1970.
        """
        if hour != self._hour or self._words[0] != hour:
            self._renew_salt(hour)
        return int.from_bytes(blake2b(user_name.encode("utf-8", "replace"), key=self._salt, digest_size=8).digest())

    def is_double_click(self, user_hash: int, request_text: str, monotonic_time: float) -> bool:
        """Return whether a user asked the same less than 30 s ago; from now on this is the last time.

        Parameters
        ----------
        user_hash
            Who, as `user_hash` says.
        request_text
            That was asked.
        monotonic_time
            Seconds of a clock that never goes back, the same in all processes.
        """
        words = self._words
        times = self._times
        click_hash = xxhash.xxh3_64_intdigest(request_text.encode("utf-8", "replace"), user_hash) or 1
        bucket_start = (click_hash % (MAX_CLICKS // _BUCKET_SLOTS)) * _BUCKET_SLOTS
        oldest_slot = bucket_start
        for slot in range(bucket_start, bucket_start + _BUCKET_SLOTS):
            if words[_HEADER_WORDS + slot] == click_hash:
                last_time, times[slot] = times[slot], monotonic_time
                return monotonic_time - last_time < DOUBLE_CLICK_SECONDS
            if times[slot] < times[oldest_slot]:
                oldest_slot = slot
        words[_HEADER_WORDS + oldest_slot], times[oldest_slot] = click_hash, monotonic_time
        return False

    def is_first_in_session(self, user_hash: int, action: str) -> bool:
        """Return whether a user does something for the first time in this hour.

        Parameters
        ----------
        user_hash
            Who, as `user_hash` says.
        action
            That was done.
        """
        words = self._words
        table_start = _HEADER_WORDS + 2 * MAX_CLICKS
        action_hash = xxhash.xxh3_64_intdigest(action.encode("utf-8", "replace"), user_hash) or 1
        bucket_start = table_start + (action_hash % (MAX_SESSIONS // _BUCKET_SLOTS)) * _BUCKET_SLOTS
        for slot in range(bucket_start, bucket_start + _BUCKET_SLOTS):
            if words[slot] == action_hash:
                return False
            if not words[slot]:
                words[slot] = action_hash
                return True
        words[bucket_start + action_hash % _BUCKET_SLOTS] = action_hash
        return True

    def _renew_salt(self, hour: int) -> None:
        """Take up the salt of an hour.

        The first process that comes makes it, and with the last one all that was remembered is forgotten.
        """
        with self._lock_memory():
            if self._words[0] != hour:
                ctypes.memset(ctypes.addressof(self._words), 0, MEMORY_BYTES)
                self._words[1], self._words[2] = (int.from_bytes(os.urandom(8)) for _ in range(2))
                self._words[0] = hour
            self._salt = b"".join(self._words[word_number].to_bytes(8) for word_number in (1, 2))
            self._hour = hour

    @contextlib.contextmanager
    def _lock_memory(self) -> Iterator[None]:
        if self._memory_file is not None:
            fcntl.lockf(self._memory_file, fcntl.LOCK_EX, 1)
        try:
            yield
        finally:
            if self._memory_file is not None:
                fcntl.lockf(self._memory_file, fcntl.LOCK_UN, 1)


def create_shared_memory() -> None:
    """Allocate the memory of a server that begins.

    Its processes find it by the environment, others remember for themselves.
    """
    if sys.platform == "linux":
        file = os.memfd_create("hven-visits")
        os.truncate(file, MEMORY_BYTES)
        os.environ[SHARED_MEMORY_VARIABLE] = f"/proc/{os.getpid()}/fd/{file}"


def _open_shared_memory() -> int | None:
    path = os.environ.get(SHARED_MEMORY_VARIABLE)
    if not path:
        return None
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # that server is gone
        return None
    if os.fstat(file).st_size == MEMORY_BYTES:
        return file
    os.close(file)
    return None
