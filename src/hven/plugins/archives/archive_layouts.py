"""Byte layouts of ZIP and TAR archives that store their members without compression.

Sizes of all members are known beforehand, so any range of an archive's bytes can be written without the rest.
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

    from hven.plugins.archives.crc_cache import CrcCache
    from hven.services.collection_files import FilePiece

# A ZIP field of four bytes holds the marker where the value needs eight bytes, which then stand in a ZIP64 field.
ZIP64_THRESHOLD = ZIP64_MARKER_32 = 0xFFFFFFFF
ZIP64_MEMBER_THRESHOLD = ZIP64_MARKER_16 = 0xFFFF
ZIP_FLAGS = 0x0808  # bits 3 and 11: the checksum follows the data, and names are in UTF-8
ZIP_VERSION, ZIP64_VERSION = 20, 45  # versions of the specification that a program needs to extract a member
ZIP_FIRST_YEAR, ZIP_LAST_YEAR = 1980, 2107  # range of ZIP's dates
UNIX_CREATOR_VERSION = 3 << 8 | ZIP64_VERSION
UNIX_FILE_MODE = 0o100644 << 16  # a regular file that its owner may write and all may read
SHA256_LETTERS = 64  # hexadecimal digits of a SHA-256
TAR_BLOCK_BYTES, TAR_RECORD_BYTES = 512, 10_240
MAX_USTAR_BYTES = 8**11  # a ustar header has 11 octal digits for the size
MEMBERS_AHEAD = 8  # members that are requested from other servers while one is written


class ArchiveMember(NamedTuple):
    """A file of an archive.

    Attributes
    ----------
    name
        Path in the archive.
    size
        Size in bytes.
    modified
        Modification time in seconds since 1970.
    sha256
        Hexadecimal SHA-256 of the content; for a file without one, a text of size and time that identifies its state.
    read_range
        Reads the bytes from a first offset to before a second one.
    note_download
        Records that a client downloads the file; None to record nothing.
    begin
        Requests the file from another server without waiting; None for a local file.
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
        """Whether `sha256` is a checksum and not another text that identifies the file's state."""
        return len(self.sha256) == SHA256_LETTERS


class ArchiveRangeWriter(ABC):
    """An archive that holds its members one after the other.

    Parameters
    ----------
    members
        Files in the order of the archive.
    crc_cache
        CRC-32 values of files that were read before, by SHA-256.
    """

    def __init__(self, members: Sequence[ArchiveMember], crc_cache: CrcCache) -> None:
        self.members = members
        self._crc_cache = crc_cache
        self._crcs_by_name: dict[str, int] = {}
        sizes = [self._count_member_bytes(member) for member in members]
        self._member_offsets = [0, *accumulate(sizes)]
        self.size = self._member_offsets[-1] + self._count_archive_end_bytes()

    def stream_byte_range(self, start: int, stop: int) -> Generator[FilePiece]:
        """Write the bytes from `start` to before `stop`, with a None before each step that takes a while."""
        first_index = max(bisect_right(self._member_offsets, start) - 1, 0)
        requested_count = first_index
        for member_index in range(first_index, len(self.members) + 1):
            offset = self._member_offsets[member_index]
            if offset >= stop:
                return
            yield None  # the next step opens files, computes checksums and records the download
            requested_count = self._request_members_ahead(requested_count, member_index, stop)
            if member_index == len(self.members):
                yield self._write_archive_end()[max(start - offset, 0) : stop - offset]
                return
            member = self.members[member_index]
            header_bytes = self._count_header_bytes(member)
            if start < offset + header_bytes:
                yield self._write_header(member)[max(start - offset, 0) : stop - offset]
            offset += header_bytes
            content_start = max(start - offset, 0)
            content_stop = min(stop - offset, member.size)
            yield from self._read_member_and_note_download(member, content_start, content_stop)
            offset += member.size
            trailer_end = offset + self._count_trailer_bytes(member)
            if start < trailer_end and offset < stop:
                yield None
                yield self._write_trailer(member)[max(start - offset, 0) : stop - offset]

    def _request_members_ahead(self, requested_count: int, member_index: int, stop: int) -> int:
        """Request the members that follow `member_index` within the range; return how many are requested by now."""
        last_index = min(member_index + MEMBERS_AHEAD, len(self.members) - 1)
        while requested_count <= last_index and self._member_offsets[requested_count] < stop:
            begin_reading = self.members[requested_count].begin
            if begin_reading is not None:
                begin_reading()
            requested_count += 1
        return requested_count

    def _read_member_and_note_download(self, member: ArchiveMember, start: int, stop: int) -> Iterator[FilePiece]:
        is_download = start < stop or not member.size
        if member.note_download is not None and is_download:
            member.note_download()
        if start < stop:
            yield from member.read_range(start, stop)

    def _count_member_bytes(self, member: ArchiveMember) -> int:
        return self._count_header_bytes(member) + member.size + self._count_trailer_bytes(member)

    @abstractmethod
    def _count_header_bytes(self, member: ArchiveMember) -> int: ...

    @abstractmethod
    def _count_trailer_bytes(self, member: ArchiveMember) -> int: ...

    @abstractmethod
    def _count_archive_end_bytes(self) -> int: ...

    @abstractmethod
    def _write_header(self, member: ArchiveMember) -> bytes: ...

    @abstractmethod
    def _write_trailer(self, member: ArchiveMember) -> bytes: ...

    @abstractmethod
    def _write_archive_end(self) -> bytes: ...


class TarRangeWriter(ArchiveRangeWriter):
    """A TAR archive after POSIX.1-2001 (pax)."""

    def _count_header_bytes(self, member: ArchiveMember) -> int:
        has_plain_name = member.name.isascii() and len(member.name) <= tarfile.LENGTH_NAME
        if has_plain_name and member.size < MAX_USTAR_BYTES:
            return TAR_BLOCK_BYTES
        return len(self._write_header(member))

    def _count_trailer_bytes(self, member: ArchiveMember) -> int:
        return -member.size % TAR_BLOCK_BYTES

    def _count_archive_end_bytes(self) -> int:
        end_marker_bytes = 2 * TAR_BLOCK_BYTES
        archive_bytes = self._member_offsets[-1] + end_marker_bytes
        padding_bytes = -archive_bytes % TAR_RECORD_BYTES
        return end_marker_bytes + padding_bytes

    def _write_header(self, member: ArchiveMember) -> bytes:
        tar_info = tarfile.TarInfo(member.name)
        tar_info.size = member.size
        tar_info.mtime = max(int(member.modified), 0)
        return tar_info.tobuf(tarfile.PAX_FORMAT)

    def _write_trailer(self, member: ArchiveMember) -> bytes:
        return bytes(self._count_trailer_bytes(member))

    def _write_archive_end(self) -> bytes:
        return bytes(self._count_archive_end_bytes())


class ZipRangeWriter(ArchiveRangeWriter):
    """A ZIP archive without compression (APPNOTE 6.3.3), with ZIP64 fields where a size or an offset needs them.

    The checksum of a file follows its data and stands again in the central directory. When a client resumes a download
    in the middle, the checksums of earlier files come from the cache, or those files are read again.
    """

    def _count_header_bytes(self, member: ArchiveMember) -> int:
        name_bytes = len(member.name.encode())
        if member.size >= ZIP64_THRESHOLD:
            return 50 + name_bytes
        return 30 + name_bytes

    def _count_trailer_bytes(self, member: ArchiveMember) -> int:
        if member.size >= ZIP64_THRESHOLD:
            return 24
        return 16

    def _count_archive_end_bytes(self) -> int:
        directory_bytes = 0
        for member, offset in zip(self.members, self._member_offsets, strict=False):
            zip64_field = self._write_zip64_field(member, offset)
            directory_bytes += 46 + len(member.name.encode()) + len(zip64_field)
        if self._is_zip64_needed(directory_bytes):
            return directory_bytes + 98
        return directory_bytes + 22

    def _is_zip64_needed(self, directory_bytes: int) -> bool:
        return (
            len(self.members) >= ZIP64_MEMBER_THRESHOLD
            or self._member_offsets[-1] >= ZIP64_THRESHOLD
            or directory_bytes >= ZIP64_THRESHOLD
        )

    def _write_zip64_field(self, member: ArchiveMember, offset: int) -> bytes:
        large_values = []
        if member.size >= ZIP64_THRESHOLD:
            large_values += [member.size, member.size]
        if offset >= ZIP64_THRESHOLD:
            large_values.append(offset)
        if not large_values:
            return b""
        value_count = len(large_values)
        return struct.pack(f"<HH{value_count}Q", 1, 8 * value_count, *large_values)

    def _read_member_and_note_download(self, member: ArchiveMember, start: int, stop: int) -> Iterator[FilePiece]:
        is_whole_file = not start and stop >= member.size
        if not is_whole_file or self._find_cached_crc(member) is not None:
            yield from super()._read_member_and_note_download(member, start, stop)
            return
        crc = 0
        remaining_bytes = stop
        for piece in super()._read_member_and_note_download(member, start, stop):
            if piece is not None:
                yield None  # the checksum of a piece takes a while
                crc = zlib.crc32(piece, crc)
                remaining_bytes -= len(piece)
                if remaining_bytes == 0:
                    self._store_crc(member, crc)
            yield piece
        if not member.size:
            self._store_crc(member, crc)

    def _find_cached_crc(self, member: ArchiveMember) -> int | None:
        if member.has_checksum:
            return self._crc_cache.find_crc(member.sha256)
        return self._crcs_by_name.get(member.name)

    def _store_crc(self, member: ArchiveMember, crc: int) -> None:
        if member.has_checksum:
            self._crc_cache.store_crc(member.sha256, crc)
        else:  # size and time are not unique to one file, so they must not be a key of the cache
            self._crcs_by_name[member.name] = crc

    def _find_or_compute_crc(self, member: ArchiveMember) -> int:
        crc = self._find_cached_crc(member)
        if crc is not None:
            return crc
        crc = 0
        if member.size:
            for piece in member.read_range(0, member.size):
                if piece is not None:
                    crc = zlib.crc32(piece, crc)
        self._store_crc(member, crc)
        return crc

    def _write_shared_header_fields(self, member: ArchiveMember, crc: int | None, *, version: int) -> bytes:
        """Write the fields that a local file header and a central directory header share.

        Without `crc`, the checksum and the size follow the data and are 0 here.
        """
        zip_date, zip_time = _encode_dos_time(member.modified)
        if member.size >= ZIP64_THRESHOLD:
            size_field = ZIP64_MARKER_32
        elif crc is None:
            size_field = 0
        else:
            size_field = member.size
        return struct.pack("<5H3I", version, ZIP_FLAGS, 0, zip_time, zip_date, crc or 0, size_field, size_field)

    def _write_header(self, member: ArchiveMember) -> bytes:
        name = member.name.encode()
        if member.size >= ZIP64_THRESHOLD:
            version = ZIP64_VERSION
            zip64_field = struct.pack("<HHQQ", 1, 16, 0, 0)
        else:
            version = ZIP_VERSION
            zip64_field = b""
        common_fields = self._write_shared_header_fields(member, None, version=version)
        lengths = struct.pack("<HH", len(name), len(zip64_field))
        return b"PK\3\4" + common_fields + lengths + name + zip64_field

    def _write_trailer(self, member: ArchiveMember) -> bytes:
        if member.size >= ZIP64_THRESHOLD:
            field_format = "<IQQ"
        else:
            field_format = "<III"
        crc = self._find_or_compute_crc(member)
        return b"PK\7\b" + struct.pack(field_format, crc, member.size, member.size)

    def _write_archive_end(self) -> bytes:
        entries = [
            self._write_directory_entry(member, offset)
            for member, offset in zip(self.members, self._member_offsets, strict=False)
        ]
        directory = b"".join(entries)
        directory_offset = self._member_offsets[-1]
        return directory + self._write_end_records(len(entries), len(directory), directory_offset)

    def _write_directory_entry(self, member: ArchiveMember, offset: int) -> bytes:
        """Write the central directory header of a member that begins at `offset`."""
        name = member.name.encode()
        zip64_field = self._write_zip64_field(member, offset)
        if zip64_field:
            version = ZIP64_VERSION
        else:
            version = ZIP_VERSION
        crc = self._find_or_compute_crc(member)
        common_fields = self._write_shared_header_fields(member, crc, version=version)
        offset_field = min(offset, ZIP64_MARKER_32)
        own_fields = struct.pack("<5HII", len(name), len(zip64_field), 0, 0, 0, UNIX_FILE_MODE, offset_field)
        creator_field = struct.pack("<H", UNIX_CREATOR_VERSION)
        return b"PK\1\2" + creator_field + common_fields + own_fields + name + zip64_field

    def _write_end_records(self, entry_count: int, directory_bytes: int, directory_offset: int) -> bytes:
        """Write the records that end the archive: with ZIP64, the larger record, its locator and markers."""
        zip64_records = b""
        end_fields = (entry_count, entry_count, directory_bytes, directory_offset)
        if self._is_zip64_needed(directory_bytes):
            version_fields = (UNIX_CREATOR_VERSION, ZIP64_VERSION)
            zip64_records = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, *version_fields, 0, 0, *end_fields)
            zip64_end_offset = directory_offset + directory_bytes
            zip64_records += b"PK\6\7" + struct.pack("<IQI", 0, zip64_end_offset, 1)
            end_fields = (ZIP64_MARKER_16, ZIP64_MARKER_16, ZIP64_MARKER_32, ZIP64_MARKER_32)
        return zip64_records + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, *end_fields, 0)


def _encode_dos_time(modified: float) -> tuple[int, int]:
    """Return date and time as ZIP stores them; midnight of 1980-01-01 for years that ZIP does not have."""
    utc_time = time.gmtime(modified)
    if not ZIP_FIRST_YEAR <= utc_time.tm_year <= ZIP_LAST_YEAR:
        return (1 << 5 | 1, 0)
    zip_date = (utc_time.tm_year - ZIP_FIRST_YEAR) << 9 | utc_time.tm_mon << 5 | utc_time.tm_mday
    zip_time = utc_time.tm_hour << 11 | utc_time.tm_min << 5 | utc_time.tm_sec // 2
    return (zip_date, zip_time)
