"""Read the headers of files where they are: on other servers, by ranges, and in archives (zip, tar).

Archives are not unpacked.
"""

from __future__ import annotations

import datetime as dt
import lzma
import tarfile
import threading
import weakref
import zipfile
import zlib
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import quote

from hven.formats.media import RemotePath
from hven.model.errors import SourceError, TextPlace, UpstreamError, UpstreamTimeoutError
from hven.sources._reading.data_files import CHUNK_BYTES, DataFile, DecompressedStream
from hven.sources._stores.file_facts import UNREACHABLE_MESSAGE, RemoteFileFacts, is_pattern_match

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable, Iterator, Sequence

    from hven.sources import InputVersion
    from hven.sources._stores.file_facts import RemoteStore

BLOCK_BYTES = 32 << 10  # requested at a time
MAX_CACHED_BLOCKS = 64  # of a file
MAX_HEADER_BYTES = 256 << 20  # of a file, to find its header
MAX_ARCHIVE_MEMBERS = 1_000_000
MAX_NAMED_EXAMPLES = 3  # members and patterns in a message
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (facts have UTC without a zone)
ARCHIVE_EXTENSIONS = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".txz", ".tbz2")
_ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
)


class _RemoteStat(NamedTuple):
    """The facts of a file that callers use."""

    st_size: int
    st_mtime: float
    st_mtime_ns: int
    st_dev: int


class _BlockwiseFileBytes:
    """The bytes of a remote file, in blocks."""

    def __init__(self, read: Callable[[int, int], bytes], length: int, first_bytes: bytes = b"") -> None:
        self._read = read
        self._length = length
        self._remaining_bytes = MAX_HEADER_BYTES
        self._blocks = _cut_blocks(first_bytes, 0)
        if first_bytes and len(first_bytes) % BLOCK_BYTES and len(first_bytes) < length:  # a piece of a block
            self._blocks.popitem()

    @property
    def length(self) -> int:
        return self._length

    def read_spans(
        self,
        span_bytes: int,
        offsets: Sequence[int],
        *,
        read_ahead: bool = False,  # noqa: ARG002  (the protocol's signature)
    ) -> Iterator[bytes]:
        for place in offsets:
            end = min(place + span_bytes, self._length)
            numbers = range(place // BLOCK_BYTES, -(-end // BLOCK_BYTES))
            lacking = [number for number in numbers if number not in self._blocks]
            if lacking:
                first = lacking[0] * BLOCK_BYTES
                last = min((lacking[-1] + 1) * BLOCK_BYTES, self._length)
                self._remaining_bytes -= last - first
                if self._remaining_bytes < 0:
                    raise SourceError(
                        f"to find the header, Hven would have to read more than {MAX_HEADER_BYTES >> 20} MB",
                        remedy="add the file to `ignore`",
                    )
                body = self._read(first, last)
                if len(body) < last - first:
                    raise SourceError("the file is truncated", remedy="download the file again")
                self._blocks |= _cut_blocks(body, lacking[0])
            block_bytes = b"".join(self._blocks[number] for number in numbers)
            blocks_start = numbers.start * BLOCK_BYTES
            yield block_bytes[place - blocks_start : max(end - blocks_start, 0)]
            while len(self._blocks) > max(MAX_CACHED_BLOCKS, len(numbers)):
                self._blocks.pop(next(iter(self._blocks)))


def _cut_blocks(data: bytes, first_number: int) -> dict[int, bytes]:
    """Cut bytes into blocks by their numbers; the first byte begins the block `first_number`."""
    offsets = range(0, len(data), BLOCK_BYTES)
    return {number: data[at : at + BLOCK_BYTES] for number, at in enumerate(offsets, first_number)}


class _RemoteDataFile(DataFile):
    """A file that is not on the disk as it is."""

    is_local = False

    def __init__(self, name: str, key: Path, url: str | None) -> None:
        super().__init__(path=key, name=name)
        self._url = url

    def _open_file_bytes(self, path: str) -> _BlockwiseFileBytes | None:
        raise NotImplementedError

    @property
    def product_path(self) -> RemotePath:
        """The file as readers of media open it."""
        return RemotePath(PurePosixPath(self.name), self._open_file_bytes)

    def open_unhashed(self, buffer_bytes: int = CHUNK_BYTES) -> DecompressedStream:
        """Open the file to read parts of it, decompressed."""
        raw_stream = self.product_path.open(buffering=buffer_bytes)
        return DecompressedStream(self, cast("io.RawIOBase", raw_stream), buffer_bytes)

    def read_size_and_mtime(self) -> tuple[int, int]:
        """Return size and time; a reader gets an error if they have changed by then."""
        return self.stat.st_size, self.stat.st_mtime_ns

    def find_file_fact(self, name: str) -> object:
        """Return a fact of the file, but no checksum, for which the whole file would be read."""
        if name in {"file.md5", "file.sha256"}:
            return None
        if name == "file.url":
            return self._url
        return super().find_file_fact(name)

    def copy_unread(self) -> DataFile:
        """Return the file itself."""
        self.refresh_stat_if_present()
        return self


class RangedRemoteFile(_RemoteDataFile):
    """A file on another server.

    Parameters
    ----------
    fact
        Facts as the server listed them; None: the server is asked.
    """

    def __init__(self, store: RemoteStore, address: str, path: str, fact: RemoteFileFacts | None) -> None:
        super().__init__(path, Path(address, path), f"{address}/{quote(path)}")
        self._store = store
        self._fact = fact
        self._is_listed = fact is not None
        self._first_bytes = b""
        self._address = address

    def refresh_stat_if_present(self) -> bool:
        """Request size and time, and the first bytes, unless the server has listed them."""
        if not self._is_listed:
            self.__dict__.pop("stat", None)
            self._fact = None
        try:
            return bool(self.stat)
        except OSError:
            return False

    @cached_property
    def stat(self) -> os.stat_result:
        """The facts that the server states; a file with neither time nor tag always counts as changed."""
        if self._fact is None:
            try:
                self._fact, self._first_bytes = self._store.fetch_facts_and_beginning(self.name, BLOCK_BYTES)
            except UpstreamError as fault:
                _raise_if_unreachable(fault, self._address)
                raise OSError(2, f"{fault.message} ({self._url})") from fault
        fact = self._fact
        if fact.bytes is None:
            raise OSError(22, f"the server does not state the size of the file ({self._url})")
        moment = 0.0
        if fact.modified is not None:
            moment = (fact.modified - _EPOCH).total_seconds()
        version = round(moment * 1e9)
        if not moment and fact.tag:
            version = zlib.crc32(fact.tag.encode())
        elif not moment:
            moment = 1e11
        device = zlib.crc32(self._address.encode())
        return cast("os.stat_result", _RemoteStat(fact.bytes, moment, version, device))

    def request_version_without_reading(self) -> InputVersion:
        """Describe the version of the file; without a time if the server states neither time nor tag."""
        file_stat = super().request_version_without_reading()
        if self.stat.st_mtime_ns:
            return file_stat
        return replace(file_stat, modified=None)

    def _open_file_bytes(self, path: str) -> _BlockwiseFileBytes | None:
        if path == self.name:
            size = self.stat.st_size
            range_reader = self._build_range_reader(path, self._fact or RemoteFileFacts())
            return _BlockwiseFileBytes(range_reader, size, self._first_bytes)
        try:
            fact, begin = self._store.fetch_facts_and_beginning(path, BLOCK_BYTES)
        except UpstreamError as fault:
            _raise_if_unreachable(fault, self._address)
            return None
        return _BlockwiseFileBytes(self._build_range_reader(path, fact), fact.bytes or 0, begin)

    def _build_range_reader(self, path: str, fact: RemoteFileFacts) -> Callable[[int, int], bytes]:
        def read_range(start_offset: int, end_offset: int) -> bytes:
            try:
                return b"".join(self._store.read_range(path, start_offset, end_offset, fact))
            except UpstreamError as fault:
                _raise_if_unreachable(fault, self._address)
                message = f"{fault.message} ({self._address}/{quote(path)})"
                raise SourceError(message, place=TextPlace(file=path), remedy=fault.remedy) from fault

        return read_range


def _raise_if_unreachable(fault: UpstreamError, address: str) -> None:
    """Raise an error for the whole server if it does not respond, as opposed to one file that it does not have."""
    if isinstance(fault, UpstreamTimeoutError) or fault.message == UNREACHABLE_MESSAGE:
        raise UpstreamError(f"{address}: {fault.message}", remedy=fault.remedy) from fault


class _Archive:
    """An open zip or tar file, local or remote, with its members by name."""

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.name = file.name
        self.lock = threading.Lock()
        self._opened: Any = None
        self._members: dict[str, Any] | None = None

    def list_members(self) -> dict[str, Any]:
        if self._members is None:
            try:
                if isinstance(self.file, _RemoteDataFile):
                    file = self.file.product_path.open()
                else:
                    file = self.file.path.open("rb")
                weakref.finalize(self, file.close)
                if zipfile.is_zipfile(file):
                    self._opened = zipfile.ZipFile(file)
                else:
                    self._opened = _open_tar(file)
                weakref.finalize(self, self._opened.close)
                member_entries = _list_archive_files(self._opened)
            except _ARCHIVE_ERRORS as error:
                raise SourceError(
                    f"the file is not a readable archive: {error}",
                    place=TextPlace(file=self.name),
                    remedy="download the file again",
                ) from error
            if len(member_entries) > MAX_ARCHIVE_MEMBERS:
                raise SourceError(
                    f"the archive has more than {MAX_ARCHIVE_MEMBERS:,} members",
                    place=TextPlace(file=self.name),
                    remedy="unpack the archive, and list its files in `files`",
                )
            self._members = {name: entry for name, entry in member_entries if _is_safe_member_path(name)}
        return self._members

    def find_member_size_and_stamp(self, member_name: str) -> tuple[int, int]:
        """Return the size, and a number that identifies the content: of zip its checksum, of tar its time and place."""
        entry = self.list_members()[member_name]
        if isinstance(entry, zipfile.ZipInfo):
            return entry.file_size, entry.CRC
        return entry.size, int(entry.mtime * 1000) * 1_000_000 + entry.offset_data % 1_000_000

    def open_member_bytes(self, member_name: str) -> _BlockwiseFileBytes | None:
        entry = self.list_members().get(member_name)
        if entry is None:
            return None

        def read_range(start_offset: int, end_offset: int) -> bytes:
            try:
                with self.lock:
                    if isinstance(entry, zipfile.ZipInfo):
                        file = self._opened.open(entry)
                    else:
                        file = self._opened.extractfile(entry)
                    with file:
                        file.seek(start_offset)
                        return bytes(file.read(end_offset - start_offset))
            except _ARCHIVE_ERRORS as error:
                raise SourceError(
                    f"the file cannot be read from its archive: {error}",
                    place=TextPlace(file=member_name),
                    remedy="download the file again",
                ) from error

        return _BlockwiseFileBytes(read_range, self.find_member_size_and_stamp(member_name)[0])


class ArchiveMemberFile(_RemoteDataFile):
    """A file in an archive."""

    def __init__(self, archive: _Archive, member: str) -> None:
        super().__init__(f"{archive.name}/{member}", archive.file.path / member, None)
        self._archive = archive

    @cached_property
    def stat(self) -> os.stat_result:
        """Size, and the number of its content instead of a time in nanoseconds; people see the archive's time."""
        archive_stat = self._archive.file.stat
        size, checksum = self._archive.find_member_size_and_stamp(self.name.removeprefix(f"{self._archive.name}/"))
        return cast("os.stat_result", _RemoteStat(size, archive_stat.st_mtime, checksum, archive_stat.st_dev))

    def refresh_stat_if_present(self) -> bool:
        """Check whether the archive is there."""
        return self._archive.file.refresh_stat_if_present()

    def _open_file_bytes(self, path: str) -> _BlockwiseFileBytes | None:
        return self._archive.open_member_bytes(path.removeprefix(f"{self._archive.name}/"))


def _list_archive_files(archive: zipfile.ZipFile | tarfile.TarFile) -> list[tuple[str, Any]]:
    """List the files of an archive with their names; encrypted ones are left out."""
    if isinstance(archive, zipfile.ZipFile):
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        return [(entry.filename, entry) for entry in files if not entry.flag_bits & 1]
    return [(entry.name.removeprefix("./"), entry) for entry in archive if entry.isreg()]


def _is_safe_member_path(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _open_tar(file: Any) -> tarfile.TarFile:
    file.seek(0)
    return tarfile.open(fileobj=file)


def expand_archives(
    files: Sequence[DataFile], patterns: Sequence[str], ignore_patterns: Sequence[str]
) -> list[DataFile]:
    """Replace archives by their members.

    Raises
    ------
    SourceError
        An archive cannot be read, or no archive has a member that the patterns match.
    """
    expanded: list[DataFile] = []
    unmatched_members: list[str] = []
    for file in files:
        if not file.path.name.lower().endswith(ARCHIVE_EXTENSIONS):
            expanded.append(file)
            continue
        archive = _Archive(file)
        members = list(archive.list_members())
        names = [name for name in members if is_pattern_match(name, patterns, ignore_patterns)]
        expanded += [ArchiveMemberFile(archive, name) for name in names]  # in order: a packed tar is read forward
        if not names:
            unmatched_members += members
    if not expanded:
        raise _build_unmatched_error(unmatched_members, patterns)
    return expanded


def _build_unmatched_error(members: Sequence[str], patterns: Sequence[str]) -> SourceError:
    """Build the error for archives without a member that the patterns match."""
    if not members:
        return SourceError("the archive is empty", remedy="check it with `tar -t` or `unzip -l`")
    patterns_text = ", ".join(patterns[:MAX_NAMED_EXAMPLES])
    if len(patterns) > MAX_NAMED_EXAMPLES:
        patterns_text += f" and {len(patterns) - MAX_NAMED_EXAMPLES} more"
    members_text = ", ".join(members[:MAX_NAMED_EXAMPLES])
    if len(members) > MAX_NAMED_EXAMPLES:
        members_text += " .."
    endings = Counter(PurePosixPath(name).suffix for name in members if PurePosixPath(name).suffix)
    ending = ""
    if endings:
        ending = endings.most_common(1)[0][0]
    return SourceError(
        f"no member of the archive matches {patterns_text}; the archive contains {members_text} "
        f"({len(members):,} in total)",
        remedy="unpack the archive and list its files in `files`; or, if they are of the same kind with unusual names, "
        f"write `members: ['**/*{ending}']`",
    )


def list_remote_files(
    store: RemoteStore, address: str, patterns: Sequence[str], ignore_patterns: Sequence[str]
) -> list[DataFile]:
    """List files of another server; a path without wildcards is taken as it is, and requested when it is read.

    Raises
    ------
    UserError
        The server lists nothing.
    SourceError
        No file matches.
    """
    plain_paths = [pattern for pattern in patterns if not set("*?[") & {*pattern}]
    wildcards = [pattern for pattern in patterns if pattern not in plain_paths]
    files: list[DataFile] = [RangedRemoteFile(store, address, path, None) for path in plain_paths]
    if not wildcards:
        return files
    try:
        listed_files = [
            RangedRemoteFile(store, address, path, fact) for path, fact in store.list_files(wildcards, ignore_patterns)
        ]
    except UpstreamError as fault:
        raise SourceError(f"{address}: {fault.message}", remedy=fault.remedy) from fault
    if not listed_files:
        raise SourceError(
            f"no file matches {', '.join(wildcards)} at {address}", remedy="check which files exist at this address"
        )
    return [*files, *listed_files]
