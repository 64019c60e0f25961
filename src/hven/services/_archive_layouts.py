"""Archives as they are laid out.

ZIP and TAR of files as they are, whose size is known beforehand, and any range of their bytes.
"""

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

    from hven.services._checksums import CrcCache
    from hven.services.collection_files import FilePiece

ZIP64_THRESHOLD = ZIP64_MARKER_32 = 0xFFFFFFFF  # of a field of four bytes: what is as large stands in one of eight
ZIP64_MEMBER_THRESHOLD = ZIP64_MARKER_16 = 0xFFFF
ZIP_FLAGS = 0x0808  # names in UTF-8; checksums stand behind the bytes
ZIP_FIRST_YEAR, ZIP_LAST_YEAR = 1980, 2107  # of ZIP's dates
SHA256_LETTERS = 64  # letters of a SHA-256
TAR_BLOCK_BYTES, TAR_RECORD_BYTES = 512, 10_240  # of TAR
MEMBERS_AHEAD = 8  # that are on their way from other servers while one is written


class ArchiveMember(NamedTuple):
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
    read_range
        Reads the bytes from one to before another.
    note_download
        Is told when they leave.
    begin
        Begins to read what is on another server, and does not wait.
    """

    name: str
    size: int
    modified: float
    sha256: str
    read_range: Callable[[int, int], Iterator[FilePiece]]
    note_download: Callable[[], None] | None = None
    begin: Callable[[], None] | None = None

    @property
    def has_checksum(self) -> bool:
        """Whether `sha256` is one."""
        return len(self.sha256) == SHA256_LETTERS


class ArchiveLayout(ABC):
    """An archive of members one behind the other.

    Parameters
    ----------
    members
        In their order.
    crc_cache
        CRC-32 of what was read before, by SHA-256.
    """

    def __init__(self, members: Sequence[ArchiveMember], crc_cache: CrcCache) -> None:
        self.members = members
        self._crc_cache = crc_cache
        self._crcs_by_name: dict[str, int] = {}
        sizes = (
            self._count_header_bytes(member) + member.size + self._count_trailer_bytes(member) for member in members
        )
        self._member_offsets = [0, *accumulate(sizes)]
        self.size = self._member_offsets[-1] + self._count_closing_bytes()

    def write_range(self, start: int, stop: int) -> Generator[FilePiece]:
        """Write the bytes from one to before another; None before what takes a while."""
        first = begun = max(bisect_right(self._member_offsets, start) - 1, 0)
        for member_index in range(first, len(self.members) + 1):
            begin = self._member_offsets[member_index]
            if begin >= stop:
                return
            yield None  # files are opened, checksums made, and it is written down who takes what
            while (
                begun < len(self.members)
                and begun <= member_index + MEMBERS_AHEAD
                and self._member_offsets[begun] < stop
            ):
                begin_reading = self.members[begun].begin
                if begin_reading is not None:
                    begin_reading()
                begun += 1
            if member_index == len(self.members):
                yield self._write_closing()[max(start - begin, 0) : stop - begin]
                return
            member = self.members[member_index]
            before = self._count_header_bytes(member)
            if start < begin + before:
                yield self._write_header(member)[max(start - begin, 0) : stop - begin]
            begin += before
            yield from self._read_member(member, max(start - begin, 0), min(stop - begin, member.size))
            begin += member.size
            if start < begin + self._count_trailer_bytes(member) and begin < stop:
                yield None
                yield self._write_trailer(member)[max(start - begin, 0) : stop - begin]

    def _read_member(self, member: ArchiveMember, start: int, stop: int) -> Iterator[FilePiece]:
        if member.note_download is not None and (start < stop or not member.size):
            member.note_download()
        if start < stop:
            yield from member.read_range(start, stop)

    @abstractmethod
    def _count_header_bytes(self, member: ArchiveMember) -> int: ...

    @abstractmethod
    def _count_trailer_bytes(self, member: ArchiveMember) -> int: ...

    @abstractmethod
    def _count_closing_bytes(self) -> int: ...

    @abstractmethod
    def _write_header(self, member: ArchiveMember) -> bytes: ...

    @abstractmethod
    def _write_trailer(self, member: ArchiveMember) -> bytes: ...

    @abstractmethod
    def _write_closing(self) -> bytes: ...


class TarLayout(ArchiveLayout):
    """POSIX.1-2001 (pax)."""

    def _count_header_bytes(self, member: ArchiveMember) -> int:
        plain = member.name.isascii() and len(member.name) <= tarfile.LENGTH_NAME and member.size < 8**11
        if plain:
            return TAR_BLOCK_BYTES
        return len(self._write_header(member))

    def _count_trailer_bytes(self, member: ArchiveMember) -> int:
        return -member.size % TAR_BLOCK_BYTES

    def _count_closing_bytes(self) -> int:
        return 2 * TAR_BLOCK_BYTES + -(self._member_offsets[-1] + 2 * TAR_BLOCK_BYTES) % TAR_RECORD_BYTES

    def _write_header(self, member: ArchiveMember) -> bytes:
        tar_info = tarfile.TarInfo(member.name)
        tar_info.size = member.size
        tar_info.mtime = max(int(member.modified), 0)
        return tar_info.tobuf(tarfile.PAX_FORMAT)

    def _write_trailer(self, member: ArchiveMember) -> bytes:
        return bytes(self._count_trailer_bytes(member))

    def _write_closing(self) -> bytes:
        return bytes(self._count_closing_bytes())


class ZipLayout(ArchiveLayout):
    """ZIP without compression (APPNOTE 6.3.3); ZIP64 where something is large.

    A checksum stands behind each file and once more at the end: who goes on from the middle has what was read before
    from memory, or it is read again.
    """

    def _count_header_bytes(self, member: ArchiveMember) -> int:
        return 30 + len(member.name.encode()) + (20 if member.size >= ZIP64_THRESHOLD else 0)

    def _count_trailer_bytes(self, member: ArchiveMember) -> int:
        return 24 if member.size >= ZIP64_THRESHOLD else 16

    def _count_closing_bytes(self) -> int:
        listed = sum(
            46 + len(member.name.encode()) + len(self._write_zip64_field(member, at))
            for member, at in zip(self.members, self._member_offsets, strict=False)
        )
        is_zip64_needed = self._is_zip64_needed(listed)
        return listed + (76 if is_zip64_needed else 0) + 22

    def _is_zip64_needed(self, directory_bytes: int) -> bool:
        return (
            len(self.members) >= ZIP64_MEMBER_THRESHOLD
            or self._member_offsets[-1] >= ZIP64_THRESHOLD
            or directory_bytes >= ZIP64_THRESHOLD
        )

    def _write_zip64_field(self, member: ArchiveMember, offset: int) -> bytes:
        sizes = (member.size, member.size) if member.size >= ZIP64_THRESHOLD else ()
        values = (*sizes, *((offset,) if offset >= ZIP64_THRESHOLD else ()))
        if values:
            return struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values)
        return b""

    def _read_member(self, member: ArchiveMember, start: int, stop: int) -> Iterator[FilePiece]:
        if start or stop < member.size or self._find_crc(member) is not None:
            yield from super()._read_member(member, start, stop)
            return
        crc = 0
        for piece in super()._read_member(member, start, stop):
            if piece is not None:
                yield None  # checksums take their time
                crc = zlib.crc32(piece, crc)
                stop -= len(piece)
                if stop == 0:
                    self._store_crc(member, crc)
            yield piece
        if not member.size:
            self._store_crc(member, crc)

    def _find_crc(self, member: ArchiveMember) -> int | None:
        if member.has_checksum:
            return self._crc_cache.find_crc(member.sha256)
        return self._crcs_by_name.get(member.name)

    def _store_crc(self, member: ArchiveMember, crc: int) -> None:
        if member.has_checksum:
            self._crc_cache.store_crc(member.sha256, crc)
        else:  # what stands for a checksum may stand for another file, too
            self._crcs_by_name[member.name] = crc

    def _compute_crc(self, member: ArchiveMember) -> int:
        crc = self._find_crc(member)
        if crc is None:
            crc = 0
            for piece in member.read_range(0, member.size) if member.size else ():
                if piece is not None:
                    crc = zlib.crc32(piece, crc)
            self._store_crc(member, crc)
        return crc

    def _write_common_fields(self, member: ArchiveMember, crc: int, is_zip64: bool) -> bytes:
        """Write what a file's own head and its line in the list have in common."""
        when = time.gmtime(member.modified)
        if ZIP_FIRST_YEAR <= when.tm_year <= ZIP_LAST_YEAR:
            day = (when.tm_year - ZIP_FIRST_YEAR) << 9 | when.tm_mon << 5 | when.tm_mday
            moment = when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2
        else:
            day = 1 << 5 | 1
            moment = 0
        if member.size >= ZIP64_THRESHOLD:
            size = ZIP64_MARKER_32
        elif crc >= 0:
            size = member.size
        else:
            size = 0
        needed = 45 if is_zip64 else 20
        return struct.pack("<5H3I", needed, ZIP_FLAGS, 0, moment, day, max(crc, 0), size, size)

    def _write_header(self, member: ArchiveMember) -> bytes:
        name = member.name.encode()
        large = member.size >= ZIP64_THRESHOLD
        if large:
            zip64_field = struct.pack("<HHQQ", 1, 16, 0, 0)
        else:
            zip64_field = b""
        return (
            b"PK\3\4"
            + self._write_common_fields(member, -1, large)
            + struct.pack("<HH", len(name), len(zip64_field))
            + name
            + zip64_field
        )

    def _write_trailer(self, member: ArchiveMember) -> bytes:
        form = "<IQQ" if member.size >= ZIP64_THRESHOLD else "<III"
        crc = self._compute_crc(member)
        return b"PK\7\b" + struct.pack(form, crc, member.size, member.size)

    def _write_closing(self) -> bytes:
        lines = []
        for member, at in zip(self.members, self._member_offsets, strict=False):
            name = member.name.encode()
            zip64_field = self._write_zip64_field(member, at)
            creator_version = struct.pack("<H", 3 << 8 | 45)  # on Unix
            entry = struct.pack(
                "<5HII",
                len(name),
                len(zip64_field),
                0,
                0,
                0,
                0o100644 << 16,
                ZIP64_MARKER_32 if at >= ZIP64_THRESHOLD else at,
            )
            crc = self._compute_crc(member)
            lines.append(
                b"PK\1\2"
                + creator_version
                + self._write_common_fields(member, crc, bool(zip64_field))
                + entry
                + name
                + zip64_field
            )
        listed = b"".join(lines)
        count = len(lines)
        size = len(listed)
        at = self._member_offsets[-1]
        extended = b""
        end_fields = (count, count, size, at)
        if self._is_zip64_needed(size):
            extended = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 3 << 8 | 45, 45, 0, 0, count, count, size, at)
            extended += b"PK\6\7" + struct.pack("<IQI", 0, at + size, 1)
            end_fields = (ZIP64_MARKER_16, ZIP64_MARKER_16, ZIP64_MARKER_32, ZIP64_MARKER_32)
        return listed + extended + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, *end_fields, 0)
