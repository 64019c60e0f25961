"""Files of which heads are read where they are: on other servers, by ranges, and in archives (zip, tar), which are not unpacked."""

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

from hven.formats.media import Distant
from hven.model.errors import FarFault, FarSilence, Place, SourceError
from hven.sources._reading.files import CHUNK, DataFile, Stream
from hven.sources._stores._facts import AWAY, Fact, wanted

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable, Iterator, Sequence

    from hven.sources import Pin

BLOCK = 32 << 10  # bytes that are asked for at a time
BLOCKS = 64  # that are kept of a file
MOST = 256 << 20  # bytes that are read of a file, for its head
MEMBERS = 1_000_000  # of an archive
NAMED = 3  # members and patterns that a message names
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (as facts have it: UTC without a zone)
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".txz", ".tbz2")
_FAULTS = (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)  # fmt: skip


class _Stat(NamedTuple):
    """What is asked of a file's facts."""

    st_size: int
    st_mtime: float
    st_mtime_ns: int
    st_dev: int


class _Store(Protocol):
    def begun(self, path: str, size: int, /) -> tuple[Fact, bytes]:
        """See `hven.sources.stores.Store`."""

    def read(self, path: str, begin: int, end: int, fact: Fact) -> Iterator[bytes]:
        """See `hven.sources.stores.Store`."""

    def listed(self, patterns: Sequence[str], ignore: Sequence[str], /) -> Iterator[tuple[str, Fact]]:
        """See `hven.sources.stores.Store`."""


class _Spans:
    """The bytes of a file elsewhere, in blocks."""

    def __init__(self, read: Callable[[int, int], bytes], length: int, begin: bytes = b"") -> None:
        self._read, self._length, self._left = read, length, MOST
        self._blocks = {at // BLOCK: begin[at : at + BLOCK] for at in range(0, len(begin), BLOCK)}
        if begin and len(begin) % BLOCK and len(begin) < length:  # a piece of a block
            self._blocks.popitem()

    @property
    def length(self) -> int:
        return self._length

    def spans(self, size: int, places: Sequence[int], *, going_on: bool = False) -> Iterator[bytes]:  # noqa: ARG002
        for place in places:
            end = min(place + size, self._length)
            numbers = range(place // BLOCK, -(-end // BLOCK))
            lacking = [number for number in numbers if number not in self._blocks]
            if lacking:
                first, last = lacking[0] * BLOCK, min((lacking[-1] + 1) * BLOCK, self._length)
                self._left -= last - first
                if self._left < 0:
                    raise SourceError(f"more than {MOST >> 20} MB of it would be read for its head", remedy="`ignore:` it")  # fmt: skip
                body = self._read(first, last)
                if len(body) < last - first:
                    raise SourceError("ends too early", remedy="get the file anew")
                self._blocks |= {(first + at) // BLOCK: body[at : at + BLOCK] for at in range(0, len(body), BLOCK)}
            whole = b"".join(self._blocks[number] for number in numbers)
            yield whole[place - numbers.start * BLOCK : end - numbers.start * BLOCK] if whole else b""
            while len(self._blocks) > max(BLOCKS, len(numbers)):
                self._blocks.pop(next(iter(self._blocks)))


class _Elsewhere(DataFile):
    """A file that is not on the disk as it is."""

    def __init__(self, name: str, key: Path, url: str | None) -> None:
        super().__init__(path=key, name=name)
        self._url = url

    def _spans(self, path: str) -> _Spans | None:
        raise NotImplementedError

    @property
    def place(self) -> Distant:
        """What readers of media open."""
        return Distant(PurePosixPath(self.name), self._spans)

    def glance(self, lot: int = CHUNK) -> Stream:
        """Open to look at parts of it, decompressed."""
        return Stream(self, cast("io.RawIOBase", self.place.open(buffering=lot)), lot)

    def state(self) -> tuple[int, int]:
        """Return size and time; whoever reads it is told if they are others by then."""
        return self.stat.st_size, self.stat.st_mtime_ns

    def fact(self, name: str) -> object:
        """Return a fact of the file; checksums would have it read as a whole."""
        if name in {"file.md5", "file.sha256"}:
            return None
        return self._url if name == "file.url" else super().fact(name)

    def fresh(self) -> DataFile:
        """Return itself."""
        self.look()
        return self


class RangedFile(_Elsewhere):
    """A file on another server.

    Parameters
    ----------
    fact
        As the server listed it; None: it is asked.
    """

    def __init__(self, store: _Store, address: str, path: str, fact: Fact | None) -> None:
        super().__init__(path, Path(address, path), f"{address}/{quote(path)}")
        self._store, self._fact, self._listed, self._begin = store, fact, fact is not None, b""
        self._address = address

    def look(self) -> bool:
        """Ask for size and time, and for the first bytes, unless the server has listed it."""
        if not self._listed:
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
                self._fact, self._begin = self._store.begun(self.name, BLOCK)
            except FarFault as fault:
                _away(fault, self._address)
                raise OSError(2, f"{fault.message} ({self._url})") from fault
        fact = self._fact
        if fact.bytes is None:
            raise OSError(22, f"its server does not say its size ({self._url})")
        moment = 0.0 if fact.modified is None else (fact.modified - _EPOCH).total_seconds()
        exact = round(moment * 1e9) if moment else zlib.crc32(fact.tag.encode()) if fact.tag else 0
        return cast("os.stat_result", _Stat(fact.bytes, moment or (0.0 if fact.tag else 1e11), exact, zlib.crc32(self._address.encode())))  # fmt: skip

    def listing(self) -> Pin:
        """Describe which file it is; of what has neither time nor tag, without a time."""
        found = super().listing()
        return found if self.stat.st_mtime_ns else replace(found, modified=None)

    def _spans(self, path: str) -> _Spans | None:
        if path == self.name:
            size = self.stat.st_size
            return _Spans(self._part(path, self._fact or Fact()), size, self._begin)
        try:
            fact, begin = self._store.begun(path, BLOCK)
        except FarFault as fault:
            _away(fault, self._address)
            return None
        return _Spans(self._part(path, fact), fact.bytes or 0, begin)

    def _part(self, path: str, fact: Fact) -> Callable[[int, int], bytes]:
        def read(begin: int, end: int) -> bytes:
            try:
                return b"".join(self._store.read(path, begin, end, fact))
            except FarFault as fault:
                _away(fault, self._address)
                message = f"{fault.message} ({self._address}/{quote(path)})"
                raise SourceError(message, place=Place(file=path), remedy=fault.remedy) from fault

        return read


def _away(fault: FarFault, address: str) -> None:
    """End everything if it is the server that does not answer, and not a file that it does not have."""
    if isinstance(fault, FarSilence) or fault.message == AWAY:
        raise FarFault(f"{address}: {fault.message}", remedy=fault.remedy) from fault


class _Archive:
    """An open zip or tar file, here or on another server, with its members by name."""

    def __init__(self, file: DataFile) -> None:
        self.file, self.name, self.lock = file, file.name, threading.Lock()
        self._opened: Any = None
        self._members: dict[str, Any] | None = None

    def members(self) -> dict[str, Any]:
        if self._members is None:
            try:
                file = self.file.place.open() if isinstance(self.file, _Elsewhere) else self.file.path.open("rb")
                weakref.finalize(self, file.close)
                self._opened = zipfile.ZipFile(file) if zipfile.is_zipfile(file) else _tar(file)
                weakref.finalize(self, self._opened.close)
                if isinstance(self._opened, zipfile.ZipFile):
                    found = [(one.filename, one) for one in self._opened.infolist() if not one.is_dir() and not one.flag_bits & 1]  # fmt: skip
                else:
                    found = [(one.name.removeprefix("./"), one) for one in self._opened if one.isreg()]
            except _FAULTS as error:
                raise SourceError(f"is no archive that can be read: {error}", place=Place(file=self.name), remedy="get the file anew") from error  # fmt: skip
            if len(found) > MEMBERS:
                raise SourceError(f"has more than {MEMBERS:,} members", place=Place(file=self.name), remedy="unpack it")
            self._members = {name: one for name, one in found if not name.startswith("/") and ".." not in name.split("/")}  # fmt: skip
        return self._members

    def facts(self, name: str) -> tuple[int, int]:
        """Return size, and what tells the content: of zip its checksum, of tar its time and where it is."""
        one = self.members()[name]
        if isinstance(one, zipfile.ZipInfo):
            return one.file_size, one.CRC
        return one.size, int(one.mtime * 1000) * 1_000_000 + one.offset_data % 1_000_000

    def spans(self, name: str) -> _Spans | None:
        one = self.members().get(name)
        if one is None:
            return None

        def read(begin: int, end: int) -> bytes:
            try:
                with self.lock:
                    file = self._opened.open(one) if isinstance(one, zipfile.ZipInfo) else self._opened.extractfile(one)
                    with file:
                        file.seek(begin)
                        return bytes(file.read(end - begin))
            except _FAULTS as error:
                raise SourceError(f"cannot be read in its archive: {error}", place=Place(file=name), remedy="get the file anew") from error  # fmt: skip

        return _Spans(read, self.facts(name)[0])


class MemberFile(_Elsewhere):
    """A file in an archive."""

    def __init__(self, archive: _Archive, member: str) -> None:
        super().__init__(f"{archive.name}/{member}", archive.file.path / member, None)
        self._archive = archive

    @cached_property
    def stat(self) -> os.stat_result:
        """Size, and what tells its content instead of a time; the archive's own time for people."""
        own = self._archive.file.stat
        size, told = self._archive.facts(self.name.removeprefix(f"{self._archive.name}/"))
        return cast("os.stat_result", _Stat(size, own.st_mtime, told, own.st_dev))

    def look(self) -> bool:
        """Look whether its archive is there."""
        return self._archive.file.look()

    def _spans(self, path: str) -> _Spans | None:
        return self._archive.spans(path.removeprefix(f"{self._archive.name}/"))


def _tar(file: Any) -> tarfile.TarFile:
    file.seek(0)
    return tarfile.open(fileobj=file)


def members_of(files: Sequence[DataFile], patterns: Sequence[str], ignore: Sequence[str]) -> list[DataFile]:
    """Put the members of archives in their places.

    Raises
    ------
    SourceError
        An archive cannot be read, or none of them has a member that is meant.
    """
    found: list[DataFile] = []
    others: list[str] = []
    for file in files:
        if not file.path.name.lower().endswith(ARCHIVES):
            found.append(file)
            continue
        archive = _Archive(file)
        members = list(archive.members())
        names = [name for name in members if wanted(name, patterns, ignore)]
        found += [MemberFile(archive, name) for name in names]  # in its order: a packed tar is read forward
        others += [] if names else members
    if not found:
        raise _unmatched(others, patterns)
    return found


def _unmatched(members: Sequence[str], patterns: Sequence[str]) -> SourceError:
    """Say what archives hold, of which nothing is meant."""
    if not members:
        return SourceError("the archive is empty", remedy="look at it with `tar -t` or `unzip -l`")
    meant = ", ".join(patterns[:NAMED]) + (f" and {len(patterns) - NAMED} more" if len(patterns) > NAMED else "")
    there = ", ".join(members[:NAMED]) + (" .." if len(members) > NAMED else "")
    endings = Counter(PurePosixPath(name).suffix for name in members if PurePosixPath(name).suffix)
    ending = endings.most_common(1)[0][0] if endings else ""
    return SourceError(
        f"none of the {len(members):,} members of the archive ({there}) is of {meant}",
        remedy=f"unpack it and name its files, or say which of them are products: members: ['**/*{ending}']",
    )


def far_files(store: _Store, address: str, patterns: Sequence[str], ignore: Sequence[str]) -> list[DataFile]:
    """List files of another server; what is no pattern is taken as it is, and asked for when it is read.

    Raises
    ------
    UserError
        The server lists nothing.
    SourceError
        There is none.
    """
    plain = [one for one in patterns if not set("*?[") & {*one}]
    signs = [one for one in patterns if one not in plain]
    try:
        listed = [
            RangedFile(store, address, path, fact) for path, fact in (store.listed(signs, ignore) if signs else ())
        ]
    except FarFault as fault:
        raise SourceError(f"{address}: {fault.message}", remedy=fault.remedy) from fault
    if signs and not listed:
        raise SourceError(f"no file matches {', '.join(signs)} at {address}", remedy="look what is there")
    return [*(RangedFile(store, address, path, None) for path in plain), *listed]
