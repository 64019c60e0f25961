"""Files as they are: one row for each, with size, checksum and media type; nothing of what is in them."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pydantic import Field

from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources import FILE_FACTS, ROW, Context, Source
from hven.sources._reading.filerows import Files
from hven.sources._reading.files import FileOptions, check_link, check_names, fact_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources._reading.files import DataFile

AT_ONCE = 512  # files of a batch
COLUMNS = (
    Column(
        name="path",
        type=from_arrow(pa.string()),
        ucd="meta.id;meta.file",
        description="Path of the file, relative to the descriptor",
    ),
    Column(name="title", type=from_arrow(pa.string()), ucd="meta.title", description="What the file is"),
    Column(name="description", type=from_arrow(pa.string()), ucd="meta.note", description="What is in it"),
    Column(name="media_type", type=from_arrow(pa.string()), ucd="meta.code.mime", description="Media type"),
    Column(name="bytes", type=from_arrow(pa.int64()), unit="byte", ucd="phys.size;meta.file", description="Size"),
    Column(
        name="sha256", type=from_arrow(pa.string()), ucd="meta.checksum;meta.file", description="SHA-256 of the file"
    ),
    Column(
        name="modified",
        type=from_arrow(pa.timestamp("us")),
        ucd="time.processing;meta.file",
        description="When the file was last changed",
    ),
    Column(name="quoted", type=from_arrow(pa.string()), description="The path as addresses write it"),
)
_TYPES = {".fits": "application/fits", ".fit": "application/fits", ".vot": "application/x-votable+xml", ".parquet": "application/vnd.apache.parquet",
          ".csv": "text/csv", ".md": "text/markdown", ".cdf": "application/x-cdf", ".nc": "application/x-netcdf"}  # fmt: skip


class Options(FileOptions):
    """What a descriptor may say of files."""

    title: str | None = Field(None, description="What each of the files is; default: its name.")
    description: str | None = Field(None, description="What is in them.")
    type: str | None = Field(
        None, pattern=r"^[\w.+-]+/[\w.+-]+(;.*)?$", description="Media type; default: by the file's name."
    )


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a list of files.

    Raises
    ------
    SourceError
        No such file.
    """
    return FileList(options, context)


class FileList(Files):
    """One row for each file."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options = options
        for file in self.files:  # they are given to everybody: a link that somebody else may have put in the place of one is no word of the curator's
            check_link(file.path, file.name, (context.directory, *context.roots))

    def columns(self) -> list[Column]:
        """List the columns: path, title, description, media type, size, checksum, time."""
        return list(COLUMNS)

    def _names(self) -> list[str]:
        return [column.name for column in COLUMNS]

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file; each is read once, for its checksum."""
        names = check_names(columns, self._names(), "the list of files")
        kinds = {column.name: column.type.arrow for column in COLUMNS}
        files = self.files if limit is None else self.files[:limit]
        size = min(AT_ONCE, self.context.batch)
        for begin in range(0, len(files), size):
            part = files[begin : begin + size]
            said = [self._said(file) for file in part]
            arrays = []
            for name in names:
                if name == ROW:
                    arrays.append(pa.array(np.arange(begin + 1, begin + 1 + len(part)), pa.int64()))
                elif name in FILE_FACTS:
                    arrays.append(pa.array([file.fact(name) for file in part], fact_type(name)))
                else:
                    arrays.append(pa.array([one[name] for one in said], kinds[name]))
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    def _said(self, file: DataFile) -> dict[str, object]:
        before = (file.stat.st_size, file.stat.st_mtime_ns)
        try:
            checksum = file.hash_whole()
            now = file.path.stat()
        except OSError as error:
            raise SourceError(
                f"cannot be read: {error.strerror}", place=Place(file=file.name), remedy="look at its permissions"
            ) from error
        if (now.st_size, now.st_mtime_ns) != before:
            raise SourceError(
                "was changed while it was read", place=Place(file=file.name), remedy="ingest again when it is whole"
            )
        file.done = now.st_size
        return {
            "path": file.name,
            "title": self.options.title or file.path.name,
            "description": self.options.description,
            "media_type": self.options.type or media_type(file.path.name),
            "bytes": now.st_size,
            "sha256": checksum,
            "modified": file.fact("file.mtime"),
            "quoted": quote(file.name),
        }


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
    return mimetypes.guess_type(lower)[0] or "application/octet-stream"
