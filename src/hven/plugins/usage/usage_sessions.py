"""Whether a user requested the same a moment ago, or did the same in this hour already.

Users and actions are hashes under a secret that is renewed each hour, in memory that a server's processes share.
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

SHARED_MEMORY_VARIABLE = "HVEN_SERVER_VISITS"  # environment variable of a server's processes that names the memory
# repeated requests of a user for the same address within this time are one action (COUNTER for Research Data RD1, 10.2)
DOUBLE_CLICK_SECONDS = 30.0
SESSION_SECONDS = 3600  # a session is what a user does in one hour of the clock (10.3)
_HEADER_WORDS = 4  # words: the hour, the salt (two), one unused
_BUCKET_SLOTS = 8  # slots in which a hash may stand: if all are taken, the oldest is replaced
MAX_CLICKS, MAX_SESSIONS = 1 << 14, 1 << 17  # number of hashes
_MEMORY_WORDS = _HEADER_WORDS + 2 * MAX_CLICKS + MAX_SESSIONS
MEMORY_BYTES = _MEMORY_WORDS * 8  # 1.3 MB


class UsageSessions:
    """Hashes of users and their actions, kept for an hour.

    No hash can be turned back into an address, and none is written to a disk.

    Processes write without a lock: two that write to the same slot at the same moment count one action twice, which is
    rare and harmless.
    """

    def __init__(self) -> None:
        self._memory_file = _open_usage_session_memory()
        self._memory: mmap.mmap | bytearray = bytearray(MEMORY_BYTES)
        if self._memory_file is not None:
            self._memory = mmap.mmap(self._memory_file, MEMORY_BYTES)
        times_offset = (_HEADER_WORDS + MAX_CLICKS) * 8
        self._words = (ctypes.c_uint64 * _MEMORY_WORDS).from_buffer(self._memory)
        self._times = (ctypes.c_double * MAX_CLICKS).from_buffer(self._memory, times_offset)
        self._hour = -1
        self._salt = b""

    def hash_user(self, user_name: str, hour: int) -> int:
        """Return a number that stands for a user within an hour.

        Parameters
        ----------
        user_name
            Name of the account; or address and agent.
        hour
            Hours since 1970.
        """
        if hour != self._hour or self._words[0] != hour:
            self._reset_memory_and_salt_for_hour(hour)
        user_bytes = user_name.encode("utf-8", "replace")
        return int.from_bytes(blake2b(user_bytes, key=self._salt, digest_size=8).digest())

    def record_request_and_detect_double_click(self, user_hash: int, request_text: str, monotonic_time: float) -> bool:
        """Return whether a user requested the same less than 30 s ago, and record the time of this request.

        Parameters
        ----------
        user_hash
            The user, as `hash_user` returns it.
        request_text
            The request.
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

    def record_action_and_detect_first(self, user_hash: int, action: str) -> bool:
        """Return whether a user does something for the first time in this hour, and record it.

        Parameters
        ----------
        user_hash
            The user, as `hash_user` returns it.
        action
            The action.
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

    def _reset_memory_and_salt_for_hour(self, hour: int) -> None:
        """Use the salt of an hour.

        The first process that needs it creates it; with the old salt, all hashes of the last hour are deleted.
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


def create_shared_usage_session_memory() -> None:
    """Allocate the memory of a server that starts.

    Its processes find it by the environment; other processes use their own memory.
    """
    if sys.platform == "linux":
        file = os.memfd_create("hven-visits")
        os.truncate(file, MEMORY_BYTES)
        os.environ[SHARED_MEMORY_VARIABLE] = f"/proc/{os.getpid()}/fd/{file}"


def _open_usage_session_memory() -> int | None:
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
