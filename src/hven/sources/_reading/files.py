"""Files as sources see them: which ones are meant, their bytes decompressed and checksummed, their facts as columns."""

from __future__ import annotations

import bz2
import contextlib
import datetime as dt
import fnmatch
import gzip
import hashlib
import io
import lzma
import mimetypes
import os
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from hven.model.errors import SourceError, nearest
from hven.model.types import CONTOUR
from hven.sources import FILE_FACTS, ROW, Pin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.formats.media import Place as MediaPlace

CHUNK = 1 << 20
_MAGIC = (
    (b"\x1f\x8b", "gz"),
    *((b"BZh%d1AY&SY" % level, "bz2") for level in range(1, 10)),  # `BZh...` alone may head a text
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)
PACKED = ("gz", "bz2", "xz", "zst", "zip")  # endings of packed files' names
CROWDED = 1000  # files of a directory from which its list is read instead of asking of each
_LONGEST = 255  # bytes of a file's name
_TYPES = {".fits": "application/fits", ".fit": "application/fits", ".fts": "application/fits", ".oifits": "application/oifits", ".vot": "application/x-votable+xml", ".parquet": "application/vnd.apache.parquet",
          ".csv": "text/csv", ".md": "text/markdown", ".cdf": "application/x-cdf", ".nc": "application/x-netcdf"}  # fmt: skip


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[str], BeforeValidator(_listed)]


class FileOptions(BaseModel):
    """What every source that reads files understands."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    files: Texts = Field(
        validation_alias=AliasChoices("files", "file"),
        min_length=1,
        description="File or files, relative to the descriptor; `*`, `?`, `[abc]` and `**` are patterns. Compressed ones (gz, bz2, xz, zst) are read as they are.",
    )
    ignore: Texts = Field(default_factory=list, description="Patterns of files to leave out.")


def find(options: FileOptions, directory: Path, roots: Sequence[Path] = ()) -> list[Path]:
    """Resolve the patterns to existing files, sorted within each pattern, none twice.

    Parameters
    ----------
    roots
        Directories that links may lead into, beside `directory` and what the patterns themselves name.

    Raises
    ------
    SourceError
        A pattern matches nothing (the remedy names what is there); a file that it matches is a link that leads elsewhere.
    """
    found: dict[Path, None] = {}
    for pattern in options.files:
        named = _named(pattern, directory)
        meant = [
            path
            for path in _expand(pattern, directory)
            if not any(_matches(path, ignored, directory) for ignored in options.ignore)
        ]
        check_links(((path, path.name) for path in meant), (directory, *roots, named))
        found |= dict.fromkeys(meant)
    if not found:
        raise SourceError(
            f"no file is left of {', '.join(options.files)}", remedy=f"loosen `ignore` ({', '.join(options.ignore)})"
        )
    return list(found)


def check_link(path: Path, name: str, roots: Iterable[Path]) -> None:
    """Check that a file is what and where it seems to be: whoever may write beside the data could lead us to any file of this machine.

    Raises
    ------
    SourceError
        It is, or lies behind, a link that leads out of all of `roots`.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # gone, or round and round: whoever opens it says so
        return
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceError(
            f"{name} is a link that leads out of the collection",
            remedy=f'if that is meant, say so in hven.toml: roots = ["{real.parent}"]',
        )


def check_links(files: Iterable[tuple[Path, str]], roots: Iterable[Path]) -> None:
    """Check many files as `check_link` does one; where each directory really is, is looked up once.

    Raises
    ------
    SourceError
        As there.
    """
    inside: dict[str, bool] = {}
    real = [root.resolve() for root in roots]
    every = [(path, name, os.fspath(path)) for path, name in files]
    many = Counter(text.rpartition("/")[0] for _, _, text in every)
    links = {
        folder: _links(folder)
        for folder, count in many.items()
        if count > CROWDED and os.access(folder or "/", os.R_OK)
    }
    for path, name, text in every:
        folder, _, last = text.rpartition("/")
        known = inside.get(folder)
        if known is None:
            place = path.parent.resolve()
            known = inside[folder] = any(place.is_relative_to(root) for root in real)
        linked = last in links[folder] if folder in links else os.path.islink(text)  # noqa: PTH114  (of a hundred thousand files: a sixth of the time)
        if not known or linked:
            check_link(path, name, real)


def _links(folder: str) -> set[str]:
    """List the links in a directory; one listing tells of all of them."""
    with os.scandir(folder or "/") as entries:
        return {entry.name for entry in entries if entry.is_symlink()}


def _named(pattern: str, directory: Path) -> Path:
    """Find what a pattern names before its first sign: the file, or the directory in which it looks."""
    path = directory / Path(pattern).expanduser()
    while any(sign in str(path) for sign in "*?["):
        path = path.parent
    return path


def _expand(pattern: str, directory: Path) -> list[Path]:
    if (
        "\0" in pattern
        or any(len(part.encode("utf-8", "replace")) > _LONGEST for part in pattern.split("/"))
        or len(pattern) > 16 * _LONGEST
    ):
        raise SourceError(
            f"no file can be called {pattern[:60]!r} ..", remedy=f"at most {_LONGEST} bytes between two slashes"
        )
    path = directory / Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if not any(sign in pattern for sign in "*?["):
        if path.is_dir():
            raise SourceError(
                f"{pattern} is a directory", remedy=f"write `files: {pattern.rstrip('/')}/*` for the files in it"
            )
        raise SourceError(f"no file {pattern}{_where(pattern, directory)}", remedy=_nearest(path))
    anchor = Path(path.anchor) if Path(pattern).is_absolute() else directory
    relative = str(path.relative_to(anchor)) if Path(pattern).is_absolute() else pattern
    try:
        # case matters on every system, so that a site can move
        matches = sorted(_fitting(anchor, relative), key=lambda item: item.parts)
    except (ValueError, NotImplementedError) as error:
        raise SourceError(
            f"the file pattern {pattern!r} cannot be used: {error}", remedy="`**` must stand alone between slashes"
        ) from error
    except OSError as error:  # what is not listed is not gone
        raise SourceError(
            f"{error.filename or pattern} cannot be listed: {error.strerror}",
            remedy="look at its permissions, and whether its disk is there",
        ) from error
    if not matches:
        raise SourceError(f"no file matches {pattern}{_where(pattern, directory)}", remedy=_nearest(path))
    return matches


def _fitting(anchor: Path, pattern: str) -> Iterator[Path]:
    """Find the files that fit a pattern; what a directory tells of its entries is not asked of each again."""
    head, _, last = pattern.rpartition("/")
    if "**" in last or not any(sign in last for sign in "*?["):
        yield from (item for item in anchor.glob(pattern) if item.is_file())
        return
    fits = re.compile(fnmatch.translate(last)).match
    for folder in anchor.glob(head) if any(sign in head for sign in "*?[") else [anchor / head]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if fits(entry.name) and _is_file(entry):
                    yield folder / entry.name


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads round and round
        return False


def _where(pattern: str, directory: Path) -> str:
    return "" if Path(pattern).expanduser().is_absolute() else f" in {directory}"


def _nearest(path: Path) -> str:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        there = sorted(item.name for item in folder.iterdir())
    except OSError:
        there = []
    if near := nearest(path.name, there):
        return near
    return f"{folder} holds {', '.join(there[:5])}{' ...' if len(there) > 5 else ''}" if there else f"{folder} is empty"


def _matches(path: Path, pattern: str, directory: Path) -> bool:
    try:
        relative = path.relative_to(directory)
    except ValueError:
        relative = path
    if relative.match(pattern):  # matches from the right: `*_old*` meets any file name
        return True
    return "**" in pattern and path in set(_quiet(pattern, directory))


def _quiet(pattern: str, directory: Path) -> Iterable[Path]:
    try:
        return list(directory.glob(pattern))
    except (ValueError, NotImplementedError):
        return []


class _Hashing(io.RawIOBase):
    """The file's bytes as they are on disk, counted and hashed while somebody reads them in order."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        self.sha256 = hashlib.sha256()
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        n = self.file.readinto(buffer) or 0
        self.sha256.update(memoryview(buffer)[:n])
        self.count += n
        return n

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def close(self) -> None:
        self.file.close()
        super().close()


@dataclass(kw_only=True)
class DataFile:
    """One file: its name as people know it, its bytes, its facts, and its checksum once it was read to the end.

    Attributes
    ----------
    path
        Where it lies.
    sha256
        Hexadecimal; None: it was not read to the end.
    done
        Bytes that were read.
    """

    path: Path
    name: str
    sha256: str | None = None
    done: int = 0
    _raw: _Hashing | None = field(default=None, repr=False)

    @cached_property
    def stat(self) -> os.stat_result:
        """What the file system says (once, so that size and time belong together)."""
        return self.path.stat()

    def open(self) -> Stream:
        """Open for one pass in order, decompressed.

        Returns
        -------
        stream
            Reads bytes; the checksum is complete when it was read to its end.

        Raises
        ------
        SourceError
            It cannot be read.
        """
        try:
            self._raw = _Hashing(self.path)
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror}", remedy="look at its permissions"
            ) from error
        return Stream(self, self._raw)

    def look(self) -> bool:
        """Look at size and time anew.

        Returns
        -------
        there
            False: it is gone, or cannot be looked at.
        """
        self.__dict__.pop("stat", None)
        try:
            return bool(self.stat)
        except OSError:
            return False

    def glance(self, lot: int = CHUNK) -> Stream:
        """Open to look at parts of it, decompressed: nothing is hashed or counted.

        Parameters
        ----------
        lot
            Bytes that are read at a time.

        Returns
        -------
        stream
            Reads bytes.

        Raises
        ------
        SourceError
            It cannot be read.
        """
        try:
            return Stream(self, io.FileIO(self.path), lot)
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror}", remedy="look at its permissions"
            ) from error

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.stat.st_size

    @property
    def progress(self) -> int:
        """Bytes of the file on disk read so far."""
        return self._raw.count if self._raw is not None else self.done

    def finish(self) -> None:
        """Read what is left unread (a trailer) so that the checksum covers the whole file."""
        raw = self._raw
        if raw is None or raw.closed:
            return
        buffer = bytearray(CHUNK)
        while raw.readinto(buffer):
            pass
        self.sha256 = raw.sha256.hexdigest()
        self.done = raw.count
        raw.close()

    def hash_whole(self) -> str:
        """Compute the checksum of the file in a pass of its own (for readers that jump about in it).

        Returns
        -------
        sha256
            hexadecimal.
        """
        if self.sha256 is None:
            with self.path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self.sha256

    @property
    def place(self) -> MediaPlace:
        """What readers of media open."""
        return self.path

    def state(self) -> tuple[int, int]:
        """Return size and time as they are now; raise OSError if it is gone."""
        now = self.path.stat()
        return now.st_size, now.st_mtime_ns

    @property
    def modified(self) -> dt.datetime:
        """Time of the last change, UTC."""
        return dt.datetime.fromtimestamp(self.stat.st_mtime, dt.UTC)

    @cached_property
    def md5(self) -> str:
        """MD5 of the file on disk: EPN-TAP's access_md5 wants it; computed only if asked for."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def fact(self, name: str) -> object:
        """Return a fact of the file as the value of a column.

        Parameters
        ----------
        name
            One of `FILE_FACTS`.

        Returns
        -------
        value
            A text, bytes as a number, or a time in UTC without a zone.
        """
        match name:
            case "file.path":
                return self.name
            case "file.name":
                return self.path.name
            case "file.stem":
                return (
                    self.path.name.partition(".")[0]
                    if self.path.suffix in {".gz", ".bz2", ".xz", ".zst"}
                    else self.path.stem
                )
            case "file.size":
                return self.stat.st_size
            case "file.mtime":
                return self.modified.replace(tzinfo=None)
            case "file.md5":
                return self.md5
            case "file.sha256":
                return self.hash_whole()
            case "file.media_type":
                return media_type(self.path.name)
            case "file.footprint":  # which those know who read headers
                return None
            case _:
                return self.path.resolve().as_uri()

    def fresh(self) -> DataFile:
        """Return the same file, to be looked at and read anew."""
        return DataFile(path=self.path, name=self.name)

    def listing(self) -> Pin:
        """Describe which file it is without reading it: its time is exact, so that two changes within a second are two.

        Returns
        -------
        pin
            Without a checksum.

        Raises
        ------
        SourceError
            It cannot be read.
        """
        try:
            found = self.stat
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror}", remedy="look at its permissions"
            ) from error
        seconds, rest = divmod(found.st_mtime_ns, 1_000_000_000)
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
        return Pin(name=self.name, bytes=found.st_size, modified=f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z")

    def pin(self) -> Pin:
        """Describe what was read, for the record."""
        return Pin(
            name=self.name,
            bytes=self.stat.st_size,
            modified=self.modified.isoformat(timespec="seconds"),
            sha256=self.sha256,
        )


class Stream:
    """Decompressed bytes of a file, in order; damage becomes a `SourceError`."""

    def __init__(self, file: DataFile, raw: io.RawIOBase, lot: int = CHUNK) -> None:
        self.file = file
        buffered = io.BufferedReader(raw, lot)
        start = buffered.peek(16)[:16]
        self.kind = next((kind for magic, kind in _MAGIC if start.startswith(magic)), None)
        self._inner: BinaryIO = _decompressed(buffered, self.kind)
        self._buffered = buffered

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; fewer only at the end."""
        parts: list[bytes] = []
        left = size
        try:
            while left > 0:
                part = self._inner.read(left)
                if not part:
                    break
                parts.append(part)
                left -= len(part)
        except (EOFError, lzma.LZMAError, zlib.error, OSError, ValueError) as error:
            raise self._damaged(error) from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            raise self._damaged(error) from error
        return b"".join(parts) if len(parts) != 1 else parts[0]

    def skip(self, size: int) -> None:
        """Skip bytes; on a plain file without reading (and so without hashing) them."""
        if self.kind is None:
            self._buffered.seek(size, 1)
            return
        while size > 0:
            part = self.read(min(size, CHUNK))
            if not part:
                return
            size -= len(part)

    def close(self) -> None:
        """Close the file; what was hashed stays known."""
        self._inner.close()
        self._buffered.close()

    def _damaged(self, error: Exception) -> SourceError:
        what = f"damaged or cut short ({self.kind})" if self.kind else "unreadable"
        return SourceError(f"{self.file.name} is {what}: {error}", remedy="get the file anew")


def _decompressed(raw: io.BufferedIOBase, kind: str | None) -> BinaryIO:
    if kind == "gz":
        return cast("BinaryIO", gzip.GzipFile(fileobj=cast("BinaryIO", raw)))
    if kind == "bz2":
        return cast("BinaryIO", bz2.BZ2File(cast("BinaryIO", raw)))
    if kind == "xz":
        return cast("BinaryIO", lzma.LZMAFile(cast("BinaryIO", raw)))
    if kind == "zst":
        return cast("BinaryIO", _Zstandard(raw))
    return cast("BinaryIO", raw)


class _Zstandard(io.RawIOBase):
    """Frames of Zstandard, one after the other; unlike the library's own reader it notices a missing end."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        import zstandard  # noqa: PLC0415  (few files are packed so)

        self.make = zstandard.ZstdDecompressor().decompressobj
        self.frame = self.make()
        self.raw = raw
        self.begun = False
        self.ready = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self.ready:
            data = self.frame.unused_data if self.frame.eof else b""
            if self.frame.eof:
                self.frame, self.begun = self.make(), False
            data = data or self.raw.read(CHUNK)
            if not data:
                if self.begun:
                    raise EOFError("the last frame is not complete")
                return b""
            self.begun = True
            self.ready = self.frame.decompress(data)
        part, self.ready = (self.ready, b"") if size < 0 else (self.ready[:size], self.ready[size:])
        return part


def data_files(options: FileOptions, directory: Path, roots: Sequence[Path] = ()) -> list[DataFile]:
    """Find the files and name each by its path below the descriptor's directory."""
    above = f"{os.fspath(directory)}/"
    found = ((path, os.fspath(path)) for path in find(options, directory, roots))
    return [DataFile(path=path, name=text.removeprefix(above)) for path, text in found]


def total(files: Sequence[DataFile]) -> int:
    """Count the bytes of all files on disk."""
    return sum(file.size for file in files)


_FACT_TYPES: dict[str, pa.DataType] = {
    "file.size": pa.int64(),
    "file.mtime": pa.timestamp("us"),
    "file.footprint": CONTOUR.arrow,
}


def fact_type(name: str) -> pa.DataType:
    """Look up the type of one of `FILE_FACTS`."""
    return _FACT_TYPES.get(name, pa.string())


def check_names(columns: Sequence[str] | None, known: Sequence[str], where: str) -> list[str]:
    """Check the wanted names, all real ones for None.

    Raises
    ------
    SourceError
        A name is not there; the remedy has the nearest.
    """
    if columns is None:
        return list(known)
    there = {*known, ROW, *FILE_FACTS}
    for name in columns:
        if name not in there:
            remedy = nearest(name, known) or f"it has {', '.join(known[:12])}{' ...' if len(known) > 12 else ''}"
            raise SourceError(f"{where} has no column {name!r}", remedy=remedy)
    return list(columns)


def assemble(
    names: Sequence[str], arrays: Mapping[str, pa.Array], rows: int, number: pa.Array | int, file: DataFile | None
) -> pa.RecordBatch:
    """Assemble a batch: real columns, row numbers (`number`: an array, or the first one), file facts.

    Facts are constant arrays: one value, repeated.
    """
    out: list[pa.Array] = []
    for name in names:
        if name == ROW:
            out.append(
                pa.array(np.arange(number, number + rows, dtype=np.int64)) if isinstance(number, int) else number
            )
        elif name in FILE_FACTS:
            out.append(pa.repeat(pa.scalar(file.fact(name) if file else None, fact_type(name)), rows))
        else:
            out.append(arrays[name])
    if not out:  # a batch without columns forgets how many rows it has
        out, names = [pa.array(np.arange(rows))], [ROW]
    return pa.RecordBatch.from_arrays(out, names=list(names))


def media_type(name: str) -> str:
    """Guess the media type of a file by its name."""
    lower = name.lower()
    packed = {
        ".gz": "application/gzip",
        ".zst": "application/zstd",
        ".xz": "application/x-xz",
        ".bz2": "application/x-bzip2",
    }
    for ending, kind in (*packed.items(), *_TYPES.items()):
        if lower.endswith(ending):
            return kind
    if lower.rpartition("/")[2] in {"properties", "readme", "license", "sha256sums"}:  # the first is a HiPS's
        return "text/plain"
    return mimetypes.guess_type(lower)[0] or "application/octet-stream"
