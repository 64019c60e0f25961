"""Read the files of sources: their bytes, decompressed and with checksums, and their facts as columns."""

from __future__ import annotations

import bz2
import contextlib
import datetime as dt
import gzip
import hashlib
import io
import lzma
import mimetypes
import sys
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, ClassVar, cast

import numpy as np
import pyarrow as pa
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from hven.model.errors import SourceError, TextPlace, suggest_spelling
from hven.model.types import CONTOUR
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hven.formats.media import Place as MediaPlace

CHUNK_BYTES = 1 << 20
_COMPRESSION_MAGIC = (
    (b"\x1f\x8b", "gz"),
    *((b"BZh%d1AY&SY" % level, "bz2") for level in range(1, 10)),  # `BZh...` alone may head a text
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
)
COMPRESSED_EXTENSIONS = ("gz", "bz2", "xz", "zst", "zip")  # of compressed files
_MEDIA_TYPES = {
    ".fits": "application/fits",
    ".fit": "application/fits",
    ".fts": "application/fits",
    ".oifits": "application/oifits",
    ".vot": "application/x-votable+xml",
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".md": "text/markdown",
    ".cdf": "application/x-cdf",
    ".nc": "application/x-netcdf",
}


def _wrap_text_in_list(value: object) -> object:
    if isinstance(value, str):
        return [value]
    return value


Texts = Annotated[list[str], BeforeValidator(_wrap_text_in_list)]


class FileOptions(BaseModel):
    """The options of every source that reads files."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    files: Texts = Field(
        validation_alias=AliasChoices("files", "file"),
        min_length=1,
        description=(
            "A path relative to the descriptor, or a list of paths. You can use the patterns `*`, `?`, `[abc]` and "
            "`**`. Hven also reads compressed files (gz, bz2, xz, zst)."
        ),
        examples=["data/**/*.csv.gz"],
    )
    ignore: Texts = Field(
        default_factory=list, description=("Patterns of the files that Hven ignores."), examples=["*_old*"]
    )


class _HashingReader(io.RawIOBase):
    """The file's bytes as they are on disk, counted and hashed while they are read in order."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb", buffering=0)
        self.sha256 = hashlib.sha256()
        self.byte_count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        n = self.file.readinto(buffer) or 0
        self.sha256.update(memoryview(buffer)[:n])
        self.byte_count += n
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
    """One file: the name that people know, its bytes, its facts, and its checksum once it was read to the end.

    Attributes
    ----------
    path
        Path of the file.
    sha256
        Hexadecimal; None: the file was not read to the end.
    bytes_read
        Bytes that were read.
    is_local
        Whether it is a file of this machine, which a program may change while it is read.
    """

    is_local: ClassVar[bool] = True
    path: Path
    name: str
    sha256: str | None = None
    bytes_read: int = 0
    _raw: _HashingReader | None = field(default=None, repr=False)

    @cached_property
    def stat(self) -> os.stat_result:
        """The state in the file system (read once, so that size and time belong together)."""
        return self.path.stat()

    def open_stream(self) -> DecompressedStream:
        """Open the file for one pass in order, decompressed.

        Returns
        -------
        stream
            A stream of bytes; the checksum is complete when it is read to its end.

        Raises
        ------
        SourceError
            The file cannot be read.
        """
        try:
            self._raw = _HashingReader(self.path)
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror}", remedy="check its permissions"
            ) from error
        return DecompressedStream(self, self._raw)

    def refresh_stat_if_present(self) -> bool:
        """Read size and time again.

        Returns
        -------
        there
            False: the file is gone, or its state cannot be read.
        """
        self.__dict__.pop("stat", None)
        try:
            return bool(self.stat)
        except OSError:
            return False

    def open_unhashed(self, buffer_bytes: int = CHUNK_BYTES) -> DecompressedStream:
        """Open the file to read parts of it, decompressed; nothing is hashed or counted.

        Parameters
        ----------
        buffer_bytes
            Bytes that are read at a time.

        Returns
        -------
        stream
            A stream of bytes.

        Raises
        ------
        SourceError
            The file cannot be read.
        """
        try:
            return DecompressedStream(self, io.FileIO(self.path), buffer_bytes)
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror}", remedy="check its permissions"
            ) from error

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.stat.st_size

    @property
    def bytes_read_from_disk(self) -> int:
        """Bytes of the file on disk read so far."""
        if self._raw is not None:
            return self._raw.byte_count
        return self.bytes_read

    def read_to_end(self) -> None:
        """Read the unread rest (a trailer), so that the checksum covers the whole file."""
        raw = self._raw
        if raw is None or raw.closed:
            return
        buffer = bytearray(CHUNK_BYTES)
        while raw.readinto(buffer):
            pass
        self.sha256 = raw.sha256.hexdigest()
        self.bytes_read = raw.byte_count
        raw.close()

    def compute_sha256(self) -> str:
        """Compute the checksum of the file in a pass of its own (for readers that jump about in it).

        Returns
        -------
        sha256
            Hexadecimal.
        """
        if self.sha256 is None:
            with self.path.open("rb") as file:
                self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self.sha256

    @property
    def product_path(self) -> MediaPlace:
        """The file as readers of media open it."""
        return self.path

    def read_size_and_mtime(self) -> tuple[int, int]:
        """Return size and time as they are now; raise OSError if the file is gone."""
        now = self.path.stat()
        return now.st_size, now.st_mtime_ns

    def build_change_error(self) -> SourceError:
        """Build the error of a file that a program changed while it was read, whose rows would mix two states."""
        return SourceError(
            "the file changed while Hven was reading it",
            place=TextPlace(file=self.name),
            remedy="ingest again when the file is complete",
        )

    @property
    def modified(self) -> dt.datetime:
        """Time of the last change, UTC."""
        return dt.datetime.fromtimestamp(self.stat.st_mtime, dt.UTC)

    @cached_property
    def md5(self) -> str:
        """MD5 of the file on disk, for EPN-TAP's access_md5; it is computed only if it is needed."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    def find_file_fact(self, name: str) -> object:
        """Return a fact of the file as the value of a column.

        Parameters
        ----------
        name
            One of `FILE_FACT_COLUMNS`.

        Returns
        -------
        value
            A text, bytes as a number, or a time in UTC without a zone.
        """
        read_fact = _FACT_READERS.get(name)
        if read_fact is None:
            return self.path.resolve().as_uri()
        return read_fact(self)

    @property
    def stem(self) -> str:
        """Name of the file without its ending; a compressed file has two endings."""
        if self.path.suffix in {".gz", ".bz2", ".xz", ".zst"}:
            return self.path.name.partition(".")[0]
        return self.path.stem

    def copy_unread(self) -> DataFile:
        """Return the same file, unread, with its facts not yet looked up."""
        return DataFile(path=self.path, name=self.name)

    def request_version_without_reading(self) -> InputVersion:
        """Describe the version of the file without reading it; its exact time distinguishes two changes in a second.

        Returns
        -------
        pin
            The version, without a checksum.

        Raises
        ------
        SourceError
            The file cannot be read.
        """
        try:
            file_stat = self.stat
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror}", remedy="check its permissions"
            ) from error
        seconds, nanoseconds = divmod(file_stat.st_mtime_ns, 1_000_000_000)
        moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
        return InputVersion(
            name=self.name, bytes=file_stat.st_size, modified=f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
        )

    def build_input_version(self) -> InputVersion:
        """Describe what was read, for the record of the run."""
        return InputVersion(
            name=self.name,
            bytes=self.stat.st_size,
            modified=self.modified.isoformat(timespec="seconds"),
            sha256=self.sha256,
        )


_FACT_READERS: dict[str, Callable[[DataFile], object]] = {
    "file.path": lambda file: file.name,
    "file.name": lambda file: file.path.name,
    "file.stem": lambda file: file.stem,
    "file.size": lambda file: file.stat.st_size,
    "file.mtime": lambda file: file.modified.replace(tzinfo=None),
    "file.md5": lambda file: file.md5,
    "file.sha256": lambda file: file.compute_sha256(),
    "file.media_type": lambda file: guess_media_type(file.path.name),
    "file.footprint": lambda _file: None,  # sources that read headers know it
}


class DecompressedStream(io.BufferedIOBase):
    """Decompressed bytes of a file, in order, as a binary file that is read once; damage becomes a `SourceError`.

    Common
    ------
    size
        Number of bytes.
    """

    def __init__(self, file: DataFile, raw_stream: io.RawIOBase, buffer_bytes: int = CHUNK_BYTES) -> None:
        self.file = file
        self._buffered = buffered = io.BufferedReader(raw_stream, buffer_bytes)
        first_bytes = buffered.peek(16)[:16]
        kinds = [kind for magic, kind in _COMPRESSION_MAGIC if first_bytes.startswith(magic)]
        self.compression = next(iter(kinds), None)
        self._inner: BinaryIO = _open_decompressor(buffered, self.compression)

    def readable(self) -> bool:
        """Tell callers that this file can be read."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, fewer only at the end; all the rest for -1 or None."""
        parts: list[bytes] = []
        remaining_bytes = sys.maxsize
        part_bytes = CHUNK_BYTES
        if size is not None and size >= 0:
            remaining_bytes = size
            part_bytes = size
        try:
            while remaining_bytes > 0:
                part = self._inner.read(min(remaining_bytes, part_bytes))
                if not part:
                    break
                parts.append(part)
                remaining_bytes -= len(part)
        except (EOFError, lzma.LZMAError, zlib.error, OSError, ValueError) as error:
            raise self._build_damage_error(error) from error
        except Exception as error:
            if type(error).__name__ != "ZstdError":
                raise
            raise self._build_damage_error(error) from error
        if len(parts) != 1:
            return b"".join(parts)
        return parts[0]

    def read1(self, size: int = -1, /) -> bytes:
        """Return one chunk, as text layers read it."""
        if size < 0:
            size = CHUNK_BYTES
        return self.read(size)

    def skip_bytes(self, size: int) -> None:
        """Skip bytes; on a plain file without reading (and so without hashing) them."""
        if self.compression is None:
            self._buffered.seek(size, 1)
            return
        while size > 0:
            part = self.read(min(size, CHUNK_BYTES))
            if not part:
                return
            size -= len(part)

    def close(self) -> None:
        """Close the file; the checksum stays known."""
        if not self.closed:
            with contextlib.suppress(AttributeError):  # of a file whose beginning could not be read
                self._inner.close()
            self._buffered.close()
        super().close()

    def _build_damage_error(self, error: Exception) -> SourceError:
        if self.compression:
            damage = f"damaged or truncated ({self.compression})"
        else:
            damage = "unreadable"
        return SourceError(f"{self.file.name} is {damage}: {error}", remedy="download the file again")


def _open_decompressor(raw_stream: io.BufferedIOBase, compression: str | None) -> BinaryIO:
    if compression == "gz":
        fileobj = cast("BinaryIO", raw_stream)
        return cast("BinaryIO", gzip.GzipFile(fileobj=fileobj))
    if compression == "bz2":
        return cast("BinaryIO", bz2.BZ2File(cast("BinaryIO", raw_stream)))
    if compression == "xz":
        return cast("BinaryIO", lzma.LZMAFile(cast("BinaryIO", raw_stream)))
    if compression == "zst":
        return cast("BinaryIO", _ZstandardReader(raw_stream))
    return cast("BinaryIO", raw_stream)


class _ZstandardReader(io.RawIOBase):
    """Frames of Zstandard, one after the other; unlike the library's own reader it notices a missing end."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        import zstandard  # noqa: PLC0415  (few files are packed so)

        self.build_decompressor = zstandard.ZstdDecompressor().decompressobj
        self.frame = self.build_decompressor()
        self.raw = raw
        self.is_frame_open = False
        self.ready = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self.ready:
            data = b""
            if self.frame.eof:
                data = self.frame.unused_data
                self.frame = self.build_decompressor()
                self.is_frame_open = False
            data = data or self.raw.read(CHUNK_BYTES)
            if not data:
                if self.is_frame_open:
                    raise EOFError("the last frame is incomplete")
                return b""
            self.is_frame_open = True
            self.ready = self.frame.decompress(data)
        if size < 0:
            size = len(self.ready)
        part = self.ready[:size]
        self.ready = self.ready[size:]
        return part


_FILE_FACT_TYPES: dict[str, pa.DataType] = {
    "file.size": pa.int64(),
    "file.mtime": pa.timestamp("us"),
    "file.footprint": CONTOUR.arrow,
}


def find_file_fact_type(name: str) -> pa.DataType:
    """Look up the type of one of `FILE_FACT_COLUMNS`.

    Parameters
    ----------
    name
        Name of the column.

    Returns
    -------
    column_type
        Type of Arrow.
    """
    return _FILE_FACT_TYPES.get(name, pa.string())


def list_adql_queries(options: Mapping[str, Any]) -> list[str]:
    """Return the query of a source, if it has one.

    Parameters
    ----------
    options
        Options of a source with the option ``adql``.
    """
    query = options.get("adql")
    if isinstance(query, str):
        return [query]
    return []


def resolve_column_names(
    requested_names: Sequence[str] | None, available_names: Sequence[str], source_name: str
) -> list[str]:
    """Check the wanted names, and return them; None: return all available names.

    Parameters
    ----------
    requested_names
        Names of columns; None: all.
    available_names
        Names of the columns of the source.
    source_name
        The source in words, for messages.

    Returns
    -------
    names
        Names of the columns to read.

    Raises
    ------
    SourceError
        A name is not available; the remedy has the nearest.
    """
    if requested_names is None:
        return list(available_names)
    allowed_names = {*available_names, ROW_NUMBER_COLUMN, *FILE_FACT_COLUMNS}
    for name in requested_names:
        if name not in allowed_names:
            remedy = suggest_spelling(name, available_names)
            if not remedy:
                remedy = f"choose one of its columns: {', '.join(available_names[:12])}"
                if len(available_names) > 12:
                    remedy = f"{remedy} ..."
            raise SourceError(f"{source_name} has no column {name!r}", remedy=remedy)
    return list(requested_names)


def build_source_batch(
    column_names: Sequence[str],
    arrays: Mapping[str, pa.Array],
    row_count: int,
    first_row_number: pa.Array | int,
    file: DataFile | None,
) -> pa.RecordBatch:
    """Build a batch of data columns, row numbers (`first_row_number`: an array, or the first one) and file facts.

    Facts are constant arrays: one value, repeated.

    Parameters
    ----------
    column_names
        Columns of the batch, in this order.
    arrays
        Values of the data columns by name, shape (n,) each.
    row_count
        Number of rows, n.
    first_row_number
        Number of the first row, or the numbers of all rows, shape (n,).
    file
        The file that the rows come from; None if they come from no file.

    Returns
    -------
    batch
        N rows.
    """
    out: list[pa.Array] = []
    for name in column_names:
        if name == ROW_NUMBER_COLUMN and isinstance(first_row_number, int):
            row_numbers = np.arange(first_row_number, first_row_number + row_count, dtype=np.int64)
            out.append(pa.array(row_numbers))
        elif name == ROW_NUMBER_COLUMN:
            out.append(first_row_number)
        elif name in FILE_FACT_COLUMNS:
            fact = None
            if file is not None:
                fact = file.find_file_fact(name)
            out.append(pa.repeat(pa.scalar(fact, find_file_fact_type(name)), row_count))
        else:
            out.append(arrays[name])
    if not out:  # a batch without columns forgets how many rows it has
        out = [pa.array(np.arange(row_count))]
        column_names = [ROW_NUMBER_COLUMN]
    return pa.RecordBatch.from_arrays(out, names=list(column_names))


def guess_media_type(name: str) -> str:
    """Guess the media type of a file by its name."""
    lower = name.lower()
    packed = {
        ".gz": "application/gzip",
        ".zst": "application/zstd",
        ".xz": "application/x-xz",
        ".bz2": "application/x-bzip2",
    }
    for ending, kind in (*packed.items(), *_MEDIA_TYPES.items()):
        if lower.endswith(ending):
            return kind
    if lower.rpartition("/")[2] in {"properties", "readme", "license", "sha256sums"}:  # the first is a HiPS's
        return "text/plain"
    return mimetypes.guess_type(lower)[0] or "application/octet-stream"
