"""Files as they are: one row for each, with size, checksum and media type; nothing of what is in them."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import stat
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from pydantic import AliasChoices, Field

from hven.model.errors import FarFault, FarSilence, Place, SourceError
from hven.model.table import Column, Root, written_columns
from hven.sources import FILE_FACTS, ROW, Context, Pin, Reject, Source
from hven.sources._reading.filerows import FilesAsRows
from hven.sources._reading.files import DataFile, FileOptions, Texts, check_names, fact_type, media_type
from hven.sources._reading.listing import check_link
from hven.sources.stores import Disk, Fact, store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources.stores import Store

AT_ONCE = 512  # files of a batch
NAMED_AT_ONCE = 16_384  # .. that are not read
COLUMNS = written_columns("""
    path        | string    |      | meta.id;meta.file         | Path of the file, relative to the descriptor
    title       | string    |      | meta.title                | What the file is
    description | string    |      | meta.note                 | What is in it
    media_type  | string    |      | meta.code.mime            | Media type
    bytes       | int64     | byte | phys.size;meta.file       | Size
    sha256      | string    |      | meta.checksum;meta.file   | SHA-256 of the file
    modified    | timestamp |      | time.processing;meta.file | When the file was last changed
    quoted      | string    |      |                           | The path as addresses write it
    direct      | string    |      | meta.ref.url              | Address on another server
""")
LONGEST = 2000  # bytes of a path
SECONDS = 60.0  # that another server may be silent while it is listed or read
_KINDS = {column.name: column.type.arrow for column in COLUMNS}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


class Options(FileOptions):
    """What a descriptor may say of files."""

    files: Texts = Field(
        validation_alias=AliasChoices("files", "file"),
        default_factory=list,
        description="File or files, relative to the root; `*`, `?`, `[abc]` and `**` are patterns.",
    )
    root: str = Field(
        "", description="Where they lie: a directory, https://.., ftp://.., s3://..; default: beside the descriptor."
    )
    at: str = Field("", description="What their paths begin with.")
    adql: str | None = Field(
        None, description="Instead of files: a query whose rows name them: path below the root, perhaps bytes, sha256."
    )
    options: dict[str, str] = Field(default_factory=dict, description="How another server is asked; $NAME is a secret.")
    checksums: bool | None = Field(
        None, description="Whether each is read for its SHA-256; default: on disk they are, elsewhere not."
    )
    direct: bool = Field(False, description="Readers are led to the other server.")
    writers: Texts = Field(
        default_factory=list, description="Accounts and groups that may send files; default: nobody."
    )

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
    if options.adql is None and not options.files:
        raise SourceError("it is not said which files", remedy="files: data/*, or adql: and a query that names them")
    root = Root(address=options.root, at=options.at, options=options.options, direct=options.direct)
    if root.scheme is None and options.adql is None and options.checksums is not False:
        return FileList(options, replace(context, directory=context.directory / Path(options.root).expanduser()))
    return NamedFiles(options, root, context)


class FileList(FilesAsRows):
    """One row for each file of a directory."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options = options

    def columns(self) -> list[Column]:
        """List the columns: path, title, description, media type, size, checksum, time."""
        return list(COLUMNS)

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file; each is read once, for its checksum."""
        names = check_names(columns, [column.name for column in COLUMNS], "the list of files")
        files = self.files if limit is None else self.files[:limit]
        size = min(AT_ONCE, self.context.batch)
        for begin in range(0, len(files), size):
            part = files[begin : begin + size]
            facts = {
                name: pa.array([file.fact(name) for file in part], fact_type(name))
                for name in names
                if name in FILE_FACTS
            }
            yield _batch([self._said(file) for file in part], names, begin, facts)

    def _said(self, file: DataFile) -> dict[str, object]:
        try:
            before = (file.stat.st_size, file.stat.st_mtime_ns)
            file.hash_whole()
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
        self.read += now.st_size
        path = f"{self.options.at}/{file.name}" if self.options.at else file.name
        fact = Fact(bytes=file.stat.st_size, modified=file.modified.replace(tzinfo=None))
        return _row(self.options, path, fact, file.sha256, None)


class NamedFiles:
    """One row for each file that a query names, or a directory or a server lists. None is read, or asked for, unless for its checksum."""

    def __init__(self, options: Options, root: Root, context: Context) -> None:
        self.options, self._root, self._context = options, root, context
        self._directory = context.directory / Path(root.address).expanduser()
        self._sum = hashlib.sha256()
        self._count = 0

    @cached_property
    def _store(self) -> Store:
        return store(
            self._root, secret=self._context.secret, allow_private=self._context.allow_private, seconds=SECONDS
        )

    def columns(self) -> list[Column]:
        """List the columns: those of a list of files."""
        return list(COLUMNS)

    def pins(self) -> list[Pin]:
        """Tell what was listed, as one."""
        detail = f"names, sizes and times of {self._count} files"
        return [Pin(name=self._root.at or "files", sha256=self._sum.hexdigest(), detail=detail)]

    def size(self) -> int | None:
        """Return None: it is not known how many there are."""
        return None

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file."""
        names = check_names(columns, [column.name for column in COLUMNS], "the list of files")
        rows = islice(self._rows(), limit)
        self._sum, self._count = hashlib.sha256(), 0
        while part := list(islice(rows, min(NAMED_AT_ONCE, self._context.batch))):
            for row in part:
                self._sum.update(f"{row['path']}\0{row['bytes']}\0{row['modified']}\0{row['sha256']}\n".encode())
            facts = {name: pa.nulls(len(part), fact_type(name)) for name in names if name in FILE_FACTS}
            yield _batch(part, names, self._count, facts)
            self._count += len(part)

    def _rows(self) -> Iterator[dict[str, object]]:
        for path, fact, checksum in self._named() if self.options.adql is not None else self._listed():
            wrong = odd(path)
            if wrong is not None:
                if self._context.reject is not None:
                    self._context.reject(Reject(file=None, row=None, column="path", value=path[:200], reason=wrong))
                continue
            direct = f"{self._root.address}/{quote(path)}" if self._root.direct else None
            whole = f"{self._root.at}/{path}" if self._root.at else path
            yield _row(self.options, whole, fact, checksum, direct)

    def _listed(self) -> Iterator[tuple[str, Fact, str | None]]:
        try:
            disk = Disk(self._directory, self._context.roots) if self._root.scheme is None else None
            for path, fact in (disk or self._store).listed(self.options.files, self.options.ignore):
                yield path, fact, self._checksum(path, fact) if self.options.checksums else None
        except FarFault as error:
            raise SourceError(f"{self._root.address}: {error.message}", remedy=error.remedy) from error

    def _named(self) -> Iterator[tuple[str, Fact, str | None]]:
        if self._context.query is None or self.options.adql is None:
            raise SourceError("rows that name files need a site to be in", remedy="ingest it with `hven ingest`")
        gone = 0
        for batch in self._context.query(self.options.adql):
            for row in batch.to_pylist():
                path = row["path"]
                if path is None:
                    continue
                fact, checksum = Fact(bytes=row.get("bytes")), row.get("sha256")
                checksum = str(checksum).lower() if _SHA256.fullmatch(str(checksum)) else None
                if odd(path) is None:
                    try:
                        fact, checksum = self._looked(path, fact, checksum)
                    except (OSError, FarFault) as error:
                        if isinstance(error, FarSilence):
                            raise SourceError(
                                f"{self._root.address}/{path}: {error.message}", remedy=error.remedy
                            ) from error
                        gone += 1
                        continue
                yield path, fact, checksum
        if gone and self._context.tell is not None:
            self._context.tell(f"{gone:,} files that rows name are not there, and not listed")

    def _looked(self, path: str, fact: Fact, checksum: str | None) -> tuple[Fact, str | None]:
        """Look at a file on disk, and at one elsewhere only if its checksum is wanted."""
        if self._root.scheme is None:
            place = self._directory / path
            check_link(place, path, (self._directory, *self._context.roots))
            found = place.stat()
            if not stat.S_ISREG(found.st_mode):
                raise FileNotFoundError(path)
            moment = dt.datetime.fromtimestamp(found.st_mtime, dt.UTC).replace(tzinfo=None)
            file = DataFile(path=place, name=path)
            wanted = self.options.checksums is not False
            return Fact(bytes=found.st_size, modified=moment), file.hash_whole() if wanted else checksum
        if not self.options.checksums:
            return fact, checksum
        now = self._store.fact(path)
        return now, self._checksum(path, now)

    def _checksum(self, path: str, fact: Fact) -> str:
        found = hashlib.sha256()
        if fact.bytes is None:
            raise SourceError(
                f"{self._root.address}/{path}: its server does not say its size", remedy="checksums: false"
            )
        for part in self._store.read(path, 0, fact.bytes, fact) if fact.bytes else ():
            found.update(part)
        return found.hexdigest()


def odd(path: str) -> str | None:
    """Say why something is no path of a file below a root; None: it is one.

    Parameters
    ----------
    path
        As a row or a server names it.
    """
    parts = path.split("/")
    if {"", ".", ".."} & {*parts}:
        return "a path has no empty part, and no part . or .."
    if not path.isprintable() or "\\" in path:
        return "a path has no control characters and no \\"
    if len(path.encode("utf-8", "replace")) > LONGEST or any(
        len(part.encode("utf-8", "replace")) > 255 for part in parts
    ):
        return f"a path has at most {LONGEST:,} bytes, and 255 between two slashes"
    return None


def _row(options: Options, path: str, fact: Fact, checksum: str | None, direct: str | None) -> dict[str, object]:
    name = path.rpartition("/")[2]
    return {
        "path": path,
        "title": options.title or name,
        "description": options.description,
        "media_type": options.type or media_type(name),
        "bytes": fact.bytes,
        "sha256": checksum,
        "modified": fact.modified,
        "quoted": quote(path),
        "direct": direct,
    }


def _batch(
    rows: Sequence[Mapping[str, object]], names: Sequence[str], begin: int, facts: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    number = pa.array(np.arange(begin + 1, begin + 1 + len(rows)), pa.int64())
    arrays = [
        number if name == ROW else facts[name] if name in facts else pa.array([row[name] for row in rows], _KINDS[name])
        for name in names
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))
