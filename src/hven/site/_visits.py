"""Whether somebody asked the same a moment ago, or this hour already: hashes under a secret that is thrown away each hour, in memory that a server's processes share."""

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

FILE = "HVEN_SERVER_VISITS"  # variable that names that memory, in the processes of a server
CLICK = 30.0  # seconds within which the same address asked again by the same user is one action (COUNTER for Research Data RD1, 10.2)
HOUR = 3600  # seconds: a session is what a user does in one hour of the clock (10.3)
_HEAD = 4  # words: the hour, the salt (two), none
_WAYS = 8  # places in which a hash may stand: where all are taken, the oldest gives way
CLICKS, SESSIONS = 1 << 14, 1 << 17  # hashes that are remembered
_WORDS = _HEAD + 2 * CLICKS + SESSIONS
SIZE = _WORDS * 8  # 1.3 MB


class Visits:
    """What is remembered of users for an hour: nothing of it can be turned back into an address, and nothing of it is on a disk.

    Processes write without a lock: two that write the same place at the same moment count one action twice, which is rare and does no harm.
    """

    def __init__(self) -> None:
        self._file = _opened()
        self._map: mmap.mmap | bytearray = bytearray(SIZE) if self._file is None else mmap.mmap(self._file, SIZE)
        self._words = (ctypes.c_uint64 * _WORDS).from_buffer(self._map)
        self._times = (ctypes.c_double * CLICKS).from_buffer(self._map, (_HEAD + CLICKS) * 8)
        self._hour, self._salt = -1, b""

    def user(self, name: str, hour: int) -> int:
        """Return what stands for a user within an hour.

        Parameters
        ----------
        name
            Of the account; or address and agent.
        hour
            Hours since 1970.
        """
        if hour != self._hour or self._words[0] != hour:
            self._renew(hour)
        return int.from_bytes(blake2b(name.encode("utf-8", "replace"), key=self._salt, digest_size=8).digest())

    def again(self, user: int, what: str, now: float) -> bool:
        """Return whether a user asked the same less than 30 s ago; from now on this is the last time.

        Parameters
        ----------
        user
            Who, as `user` says.
        what
            That was asked.
        now
            Seconds of a clock that never goes back, the same in all processes.
        """
        words, times = self._words, self._times
        mark = xxhash.xxh3_64_intdigest(what.encode("utf-8", "replace"), user) or 1
        begin = (mark % (CLICKS // _WAYS)) * _WAYS
        oldest = begin
        for at in range(begin, begin + _WAYS):
            if words[_HEAD + at] == mark:
                before, times[at] = times[at], now
                return now - before < CLICK
            if times[at] < times[oldest]:
                oldest = at
        words[_HEAD + oldest], times[oldest] = mark, now
        return False

    def first(self, user: int, what: str) -> bool:
        """Return whether a user does something for the first time in this hour.

        Parameters
        ----------
        user
            Who, as `user` says.
        what
            That was done.
        """
        words, start = self._words, _HEAD + 2 * CLICKS
        mark = xxhash.xxh3_64_intdigest(what.encode("utf-8", "replace"), user) or 1
        begin = start + (mark % (SESSIONS // _WAYS)) * _WAYS
        for at in range(begin, begin + _WAYS):
            if words[at] == mark:
                return False
            if not words[at]:
                words[at] = mark
                return True
        words[begin + mark % _WAYS] = mark
        return True

    def _renew(self, hour: int) -> None:
        """Take up the salt of an hour; the first process that comes makes it, and with the last one all that was remembered is forgotten."""
        with self._alone():
            if self._words[0] != hour:
                ctypes.memset(ctypes.addressof(self._words), 0, SIZE)
                self._words[1], self._words[2] = (int.from_bytes(os.urandom(8)) for _ in range(2))
                self._words[0] = hour
            self._salt = b"".join(self._words[at].to_bytes(8) for at in (1, 2))
            self._hour = hour

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1)
        try:
            yield
        finally:
            if self._file is not None:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1)


def prepare() -> None:
    """Allocate the memory of a server that begins; its processes find it by the environment, others remember for themselves."""
    if sys.platform == "linux":
        file = os.memfd_create("hven-visits")
        os.truncate(file, SIZE)
        os.environ[FILE] = f"/proc/{os.getpid()}/fd/{file}"


def _opened() -> int | None:
    path = os.environ.get(FILE)
    if not path:
        return None
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # that server is gone
        return None
    if os.fstat(file).st_size == SIZE:
        return file
    os.close(file)
    return None
