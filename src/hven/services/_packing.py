"""Archives as they are laid out: ZIP and TAR of files as they are, whose size is known beforehand, and any range of their bytes."""

from __future__ import annotations

import struct
import tarfile
import time
import zlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from hven.services._sums import Sums
    from hven.services.filed import Piece

LARGE = FULL = 0xFFFFFFFF  # of a field of four bytes: what is as large stands in one of eight
MANY = EVERY = 0xFFFF
FLAGS = 0x0808  # names in UTF-8; checksums stand behind the bytes
FIRST_YEAR, LAST_YEAR = 1980, 2107  # of ZIP's dates
SUM = 64  # letters of a SHA-256
BLOCK, RECORD = 512, 10_240  # of TAR
MEMBERS_AHEAD = 8  # that are on their way from other servers while one is written


class Member(NamedTuple):
    """A file of an archive.

    Attributes
    ----------
    name
        In the archive.
    size
        In bytes.
    modified
        Seconds since 1970.
    sha256
        Of its bytes; of a file that nobody summed, what tells its state: size and time.
    read
        Reads the bytes from one to before another.
    taken
        Is told when they leave.
    begin
        Begins to read what is on another server, and does not wait.
    """

    name: str
    size: int
    modified: float
    sha256: str
    read: Callable[[int, int], Iterator[Piece]]
    taken: Callable[[], None] | None = None
    begin: Callable[[], None] | None = None

    @property
    def summed(self) -> bool:
        """Whether `sha256` is one."""
        return len(self.sha256) == SUM


class Packing(ABC):
    """An archive of members one behind the other.

    Parameters
    ----------
    members
        In their order.
    sums
        CRC-32 of what was read before, by SHA-256.
    """

    def __init__(self, members: Sequence[Member], sums: Sums) -> None:
        self.members = members
        self._sums = sums
        self._own: dict[str, int] = {}
        sizes = (self._before(one) + one.size + self._behind(one) for one in members)
        self._starts = [0, *accumulate(sizes)]
        self.size = self._starts[-1] + self._closing()

    def part(self, start: int, stop: int) -> Generator[Piece]:
        """Write the bytes from one to before another; None before what takes a while."""
        first = begun = max(bisect_right(self._starts, start) - 1, 0)
        for at in range(first, len(self.members) + 1):
            begin = self._starts[at]
            if begin >= stop:
                return
            yield None  # files are opened, checksums made, and it is written down who takes what
            while begun < len(self.members) and begun <= at + MEMBERS_AHEAD and self._starts[begun] < stop:
                if (begin_reading := self.members[begun].begin) is not None:
                    begin_reading()
                begun += 1
            if at == len(self.members):
                yield self._end()[max(start - begin, 0) : stop - begin]
                return
            one = self.members[at]
            before = self._before(one)
            if start < begin + before:
                yield self._head(one)[max(start - begin, 0) : stop - begin]
            begin += before
            yield from self._bytes(one, max(start - begin, 0), min(stop - begin, one.size))
            begin += one.size
            if start < begin + self._behind(one) and begin < stop:
                yield None
                yield self._tail(one)[max(start - begin, 0) : stop - begin]

    def _bytes(self, one: Member, start: int, stop: int) -> Iterator[Piece]:
        if one.taken is not None and (start < stop or not one.size):
            one.taken()
        if start < stop:
            yield from one.read(start, stop)

    @abstractmethod
    def _before(self, one: Member) -> int: ...

    @abstractmethod
    def _behind(self, one: Member) -> int: ...

    @abstractmethod
    def _closing(self) -> int: ...

    @abstractmethod
    def _head(self, one: Member) -> bytes: ...

    @abstractmethod
    def _tail(self, one: Member) -> bytes: ...

    @abstractmethod
    def _end(self) -> bytes: ...


class Tar(Packing):
    """POSIX.1-2001 (pax)."""

    def _before(self, one: Member) -> int:
        plain = one.name.isascii() and len(one.name) <= tarfile.LENGTH_NAME and one.size < 8**11
        return BLOCK if plain else len(self._head(one))

    def _behind(self, one: Member) -> int:
        return -one.size % BLOCK

    def _closing(self) -> int:
        return 2 * BLOCK + -(self._starts[-1] + 2 * BLOCK) % RECORD

    def _head(self, one: Member) -> bytes:
        told = tarfile.TarInfo(one.name)
        told.size, told.mtime = one.size, max(int(one.modified), 0)
        return told.tobuf(tarfile.PAX_FORMAT)

    def _tail(self, one: Member) -> bytes:
        return bytes(self._behind(one))

    def _end(self) -> bytes:
        return bytes(self._closing())


class Zip(Packing):
    """ZIP without compression (APPNOTE 6.3.3); ZIP64 where something is large.

    A checksum stands behind each file and once more at the end: who goes on from the middle has what was read before from memory, or it is
    read again.
    """

    def _before(self, one: Member) -> int:
        return 30 + len(one.name.encode()) + (20 if one.size >= LARGE else 0)

    def _behind(self, one: Member) -> int:
        return 24 if one.size >= LARGE else 16

    def _closing(self) -> int:
        listed = sum(
            46 + len(one.name.encode()) + len(self._large(one, at))
            for one, at in zip(self.members, self._starts, strict=False)
        )
        return listed + (76 if self._extended(listed) else 0) + 22

    def _extended(self, listed: int) -> bool:
        return len(self.members) >= MANY or self._starts[-1] >= LARGE or listed >= LARGE

    def _large(self, one: Member, at: int) -> bytes:
        sizes = (one.size, one.size) if one.size >= LARGE else ()
        values = (*sizes, *((at,) if at >= LARGE else ()))
        return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""

    def _bytes(self, one: Member, start: int, stop: int) -> Iterator[Piece]:
        if start or stop < one.size or self._known(one) is not None:
            yield from super()._bytes(one, start, stop)
            return
        found = 0
        for piece in super()._bytes(one, start, stop):
            if piece is not None:
                yield None  # checksums take their time
                found = zlib.crc32(piece, found)
                stop -= len(piece)
                if stop == 0:
                    self._keep(one, found)
            yield piece
        if not one.size:
            self._keep(one, found)

    def _known(self, one: Member) -> int | None:
        return self._sums.find(one.sha256) if one.summed else self._own.get(one.name)

    def _keep(self, one: Member, found: int) -> None:
        if one.summed:
            self._sums.keep(one.sha256, found)
        else:  # what stands for a checksum may stand for another file, too
            self._own[one.name] = found

    def _sum(self, one: Member) -> int:
        known = self._known(one)
        if known is None:
            known = 0
            for piece in one.read(0, one.size) if one.size else ():
                known = known if piece is None else zlib.crc32(piece, known)
            self._keep(one, known)
        return known

    def _shared(self, one: Member, total: int, large: bool) -> bytes:
        """Write what a file's own head and its line in the list have in common."""
        when = time.gmtime(one.modified)
        if FIRST_YEAR <= when.tm_year <= LAST_YEAR:
            day = (when.tm_year - FIRST_YEAR) << 9 | when.tm_mon << 5 | when.tm_mday
            moment = when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2
        else:
            day, moment = 1 << 5 | 1, 0
        size = FULL if one.size >= LARGE else one.size if total >= 0 else 0
        needed = 45 if large else 20
        return struct.pack("<5H3I", needed, FLAGS, 0, moment, day, max(total, 0), size, size)

    def _head(self, one: Member) -> bytes:
        name, large = one.name.encode(), one.size >= LARGE
        more = struct.pack("<HHQQ", 1, 16, 0, 0) if large else b""
        return b"PK\3\4" + self._shared(one, -1, large) + struct.pack("<HH", len(name), len(more)) + name + more

    def _tail(self, one: Member) -> bytes:
        form = "<IQQ" if one.size >= LARGE else "<III"
        return b"PK\7\b" + struct.pack(form, self._sum(one), one.size, one.size)

    def _end(self) -> bytes:
        lines = []
        for one, at in zip(self.members, self._starts, strict=False):
            name, more = one.name.encode(), self._large(one, at)
            made = struct.pack("<H", 3 << 8 | 45)  # on Unix
            told = struct.pack("<5HII", len(name), len(more), 0, 0, 0, 0o100644 << 16, FULL if at >= LARGE else at)
            lines.append(b"PK\1\2" + made + self._shared(one, self._sum(one), bool(more)) + told + name + more)
        listed = b"".join(lines)
        count, size, at = len(lines), len(listed), self._starts[-1]
        extended = b""
        shown = (count, count, size, at)
        if self._extended(size):
            extended = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 3 << 8 | 45, 45, 0, 0, count, count, size, at)
            extended += b"PK\6\7" + struct.pack("<IQI", 0, at + size, 1)
            shown = (EVERY, EVERY, FULL, FULL)
        return listed + extended + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, *shown, 0)
