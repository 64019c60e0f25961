"""Files of which heads are read where they are.

On other servers, by ranges, and in archives (zip, tar), which are not unpacked.
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
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast
from urllib.parse import quote

from hven.formats.media import RemoteFile
from hven.model.errors import Place, SourceError, UpstreamError, UpstreamTimeoutError
from hven.sources._reading.data_files import CHUNK_BYTES, DataFile, DecompressedStream
from hven.sources._stores.file_facts import UNREACHABLE_MESSAGE, RemoteFileFacts, is_pattern_match

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable, Iterator, Sequence

    from hven.sources import InputVersion

BLOCK_BYTES = 32 << 10  # bytes that are asked for at a time
MAX_CACHED_BLOCKS = 64  # that are kept of a file
MAX_HEADER_BYTES = 256 << 20  # bytes that are read of a file, for its head
MAX_ARCHIVE_MEMBERS = 1_000_000  # of an archive
MAX_NAMED_EXAMPLES = 3  # members and patterns that a message names
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (as facts have it: UTC without a zone)
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
    """What is asked of a file's facts."""

    st_size: int
    st_mtime: float
    st_mtime_ns: int
    st_dev: int


class _RemoteStore(Protocol):
    def read_beginning(self, path: str, size: int, /) -> tuple[RemoteFileFacts, bytes]:
        """See `hven.sources.remote_stores.RemoteStore`."""

    def read_range(self, path: str, start_offset: int, end_offset: int, fact: RemoteFileFacts) -> Iterator[bytes]:
        """See `hven.sources.remote_stores.RemoteStore`."""

    def list_files(
        self, patterns: Sequence[str], ignore_patterns: Sequence[str], /
    ) -> Iterator[tuple[str, RemoteFileFacts]]:
        """See `hven.sources.remote_stores.RemoteStore`."""


class _BlockRanges:
    """The bytes of a file elsewhere, in blocks."""

    def __init__(self, read: Callable[[int, int], bytes], length: int, first_bytes: bytes = b"") -> None:
        self._read = read
        self._length = length
        self._remaining_bytes = MAX_HEADER_BYTES
        self._blocks = {
            at // BLOCK_BYTES: first_bytes[at : at + BLOCK_BYTES] for at in range(0, len(first_bytes), BLOCK_BYTES)
        }
        if first_bytes and len(first_bytes) % BLOCK_BYTES and len(first_bytes) < length:  # a piece of a block
            self._blocks.popitem()

    @property
    def length(self) -> int:
        return self._length

    def read_spans(self, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False) -> Iterator[bytes]:  # noqa: ARG002
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
                        f"more than {MAX_HEADER_BYTES >> 20} MB of it would be read for its head", remedy="`ignore:` it"
                    )
                body = self._read(first, last)
                if len(body) < last - first:
                    raise SourceError("ends too early", remedy="get the file anew")
                self._blocks |= {
                    (first + at) // BLOCK_BYTES: body[at : at + BLOCK_BYTES] for at in range(0, len(body), BLOCK_BYTES)
                }
            block_bytes = b"".join(self._blocks[number] for number in numbers)
            yield (
                block_bytes[place - numbers.start * BLOCK_BYTES : end - numbers.start * BLOCK_BYTES]
                if block_bytes
                else b""
            )
            while len(self._blocks) > max(MAX_CACHED_BLOCKS, len(numbers)):
                self._blocks.pop(next(iter(self._blocks)))


class _RemoteDataFile(DataFile):
    """A file that is not on the disk as it is."""

    def __init__(self, name: str, key: Path, url: str | None) -> None:
        super().__init__(path=key, name=name)
        self._url = url

    def _open_ranges(self, path: str) -> _BlockRanges | None:
        raise NotImplementedError

    @property
    def product_path(self) -> RemoteFile:
        """What readers of media open."""
        return RemoteFile(PurePosixPath(self.name), self._open_ranges)

    def open_unhashed(self, buffer_bytes: int = CHUNK_BYTES) -> DecompressedStream:
        """Open to look at parts of it, decompressed."""
        return DecompressedStream(
            self, cast("io.RawIOBase", self.product_path.open(buffering=buffer_bytes)), buffer_bytes
        )

    def read_size_and_mtime(self) -> tuple[int, int]:
        """Return size and time; whoever reads it is told if they are others by then."""
        return self.stat.st_size, self.stat.st_mtime_ns

    def find_fact(self, name: str) -> object:
        """Return a fact of the file; checksums would have it read as a whole."""
        if name in {"file.md5", "file.sha256"}:
            return None
        if name == "file.url":
            return self._url
        return super().find_fact(name)

    def copy_unread(self) -> DataFile:
        """Return itself."""
        self.refresh_stat()
        return self


class RangedRemoteFile(_RemoteDataFile):
    """A file on another server.

    Parameters
    ----------
    find_fact
        As the server listed it; None: it is asked.
    """

    def __init__(self, store: _RemoteStore, address: str, path: str, fact: RemoteFileFacts | None) -> None:
        super().__init__(path, Path(address, path), f"{address}/{quote(path)}")
        self._store = store
        self._fact = fact
        self._is_listed = fact is not None
        self._first_bytes = b""
        self._address = address

    def refresh_stat(self) -> bool:
        """Ask for size and time, and for the first bytes, unless the server has listed it."""
        if not self._is_listed:
            self.__dict__.pop("stat", None)
            self._fact = None
        try:
            return bool(self.stat)
        except OSError:
            return False

    @cached_property
    def stat(self) -> os.stat_result:
        """What the server says; what has neither time nor tag is never taken for what it was."""
        if self._fact is None:
            try:
                self._fact, self._first_bytes = self._store.read_beginning(self.name, BLOCK_BYTES)
            except UpstreamError as fault:
                _raise_if_unreachable(fault, self._address)
                raise OSError(2, f"{fault.message} ({self._url})") from fault
        fact = self._fact
        if fact.bytes is None:
            raise OSError(22, f"its server does not say its size ({self._url})")
        if fact.modified is None:
            moment = 0.0
        else:
            moment = (fact.modified - _EPOCH).total_seconds()
        if moment:
            exact = round(moment * 1e9)
        elif fact.tag:
            exact = zlib.crc32(fact.tag.encode())
        else:
            exact = 0
        return cast(
            "os.stat_result",
            _RemoteStat(fact.bytes, moment or (0.0 if fact.tag else 1e11), exact, zlib.crc32(self._address.encode())),
        )

    def describe_version(self) -> InputVersion:
        """Describe which file it is; of what has neither time nor tag, without a time."""
        file_stat = super().describe_version()
        if self.stat.st_mtime_ns:
            return file_stat
        return replace(file_stat, modified=None)

    def _open_ranges(self, path: str) -> _BlockRanges | None:
        if path == self.name:
            size = self.stat.st_size
            range_reader = self._build_range_reader(path, self._fact or RemoteFileFacts())
            return _BlockRanges(range_reader, size, self._first_bytes)
        try:
            fact, begin = self._store.read_beginning(path, BLOCK_BYTES)
        except UpstreamError as fault:
            _raise_if_unreachable(fault, self._address)
            return None
        return _BlockRanges(self._build_range_reader(path, fact), fact.bytes or 0, begin)

    def _build_range_reader(self, path: str, fact: RemoteFileFacts) -> Callable[[int, int], bytes]:
        def read_range(start_offset: int, end_offset: int) -> bytes:
            try:
                return b"".join(self._store.read_range(path, start_offset, end_offset, fact))
            except UpstreamError as fault:
                _raise_if_unreachable(fault, self._address)
                message = f"{fault.message} ({self._address}/{quote(path)})"
                raise SourceError(message, place=Place(file=path), remedy=fault.remedy) from fault

        return read_range


def _raise_if_unreachable(fault: UpstreamError, address: str) -> None:
    """End everything if it is the server that does not answer, and not a file that it does not have."""
    if isinstance(fault, UpstreamTimeoutError) or fault.message == UNREACHABLE_MESSAGE:
        raise UpstreamError(f"{address}: {fault.message}", remedy=fault.remedy) from fault


class _Archive:
    """An open zip or tar file, here or on another server, with its members by name."""

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
                if isinstance(self._opened, zipfile.ZipFile):
                    member_entries = [
                        (entry.filename, entry)
                        for entry in self._opened.infolist()
                        if not entry.is_dir() and not entry.flag_bits & 1
                    ]
                else:
                    member_entries = [(entry.name.removeprefix("./"), entry) for entry in self._opened if entry.isreg()]
            except _ARCHIVE_ERRORS as error:
                raise SourceError(
                    f"is no archive that can be read: {error}", place=Place(file=self.name), remedy="get the file anew"
                ) from error
            if len(member_entries) > MAX_ARCHIVE_MEMBERS:
                raise SourceError(
                    f"has more than {MAX_ARCHIVE_MEMBERS:,} members", place=Place(file=self.name), remedy="unpack it"
                )
            self._members = {
                name: entry
                for name, entry in member_entries
                if not name.startswith("/") and ".." not in name.split("/")
            }
        return self._members

    def find_member_facts(self, name: str) -> tuple[int, int]:
        """Return size, and what tells the content: of zip its checksum, of tar its time and where it is."""
        entry = self.list_members()[name]
        if isinstance(entry, zipfile.ZipInfo):
            return entry.file_size, entry.CRC
        return entry.size, int(entry.mtime * 1000) * 1_000_000 + entry.offset_data % 1_000_000

    def open_ranges(self, name: str) -> _BlockRanges | None:
        entry = self.list_members().get(name)
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
                    f"cannot be read in its archive: {error}", place=Place(file=name), remedy="get the file anew"
                ) from error

        return _BlockRanges(read_range, self.find_member_facts(name)[0])


class ArchiveMemberFile(_RemoteDataFile):
    """A file in an archive."""

    def __init__(self, archive: _Archive, member: str) -> None:
        super().__init__(f"{archive.name}/{member}", archive.file.path / member, None)
        self._archive = archive

    @cached_property
    def stat(self) -> os.stat_result:
        """Size, and what tells its content instead of a time; the archive's own time for people."""
        archive_stat = self._archive.file.stat
        size, checksum = self._archive.find_member_facts(self.name.removeprefix(f"{self._archive.name}/"))
        return cast("os.stat_result", _RemoteStat(size, archive_stat.st_mtime, checksum, archive_stat.st_dev))

    def refresh_stat(self) -> bool:
        """Look whether its archive is there."""
        return self._archive.file.refresh_stat()

    def _open_ranges(self, path: str) -> _BlockRanges | None:
        return self._archive.open_ranges(path.removeprefix(f"{self._archive.name}/"))


def _open_tar(file: Any) -> tarfile.TarFile:
    file.seek(0)
    return tarfile.open(fileobj=file)


def expand_archives(
    files: Sequence[DataFile], patterns: Sequence[str], ignore_patterns: Sequence[str]
) -> list[DataFile]:
    """Put the members of archives in their places.

    Raises
    ------
    SourceError
        An archive cannot be read, or none of them has a member that is meant.
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
        expanded += [ArchiveMemberFile(archive, name) for name in names]  # in its order: a packed tar is read forward
        unmatched_members += [] if names else members
    if not expanded:
        raise _build_unmatched_error(unmatched_members, patterns)
    return expanded


def _build_unmatched_error(members: Sequence[str], patterns: Sequence[str]) -> SourceError:
    """Say what archives hold, of which nothing is meant."""
    if not members:
        return SourceError("the archive is empty", remedy="look at it with `tar -t` or `unzip -l`")
    patterns_text = ", ".join(patterns[:MAX_NAMED_EXAMPLES]) + (
        f" and {len(patterns) - MAX_NAMED_EXAMPLES} more" if len(patterns) > MAX_NAMED_EXAMPLES else ""
    )
    members_text = ", ".join(members[:MAX_NAMED_EXAMPLES]) + (" .." if len(members) > MAX_NAMED_EXAMPLES else "")
    endings = Counter(PurePosixPath(name).suffix for name in members if PurePosixPath(name).suffix)
    if endings:
        ending = endings.most_common(1)[0][0]
    else:
        ending = ""
    return SourceError(
        f"none of the {len(members):,} members of the archive ({members_text}) is of {patterns_text}",
        remedy=f"unpack it and name its files, or say which of them are products: members: ['**/*{ending}']",
    )


def list_remote_files(
    store: _RemoteStore, address: str, patterns: Sequence[str], ignore_patterns: Sequence[str]
) -> list[DataFile]:
    """List files of another server; what is no pattern is taken as it is, and asked for when it is read.

    Raises
    ------
    UserError
        The server lists nothing.
    SourceError
        There is none.
    """
    plain_paths = [pattern_text for pattern_text in patterns if not set("*?[") & {*pattern_text}]
    signs = [pattern_text for pattern_text in patterns if pattern_text not in plain_paths]
    try:
        listed_files = [
            RangedRemoteFile(store, address, path, fact)
            for path, fact in (store.list_files(signs, ignore_patterns) if signs else ())
        ]
    except UpstreamError as fault:
        raise SourceError(f"{address}: {fault.message}", remedy=fault.remedy) from fault
    if signs and not listed_files:
        raise SourceError(f"no file matches {', '.join(signs)} at {address}", remedy="look what is there")
    return [*(RangedRemoteFile(store, address, path, None) for path in plain_paths), *listed_files]
