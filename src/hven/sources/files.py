"""List files: one row for each file, with its size, checksum and media type. Hven does not interpret the content."""

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

from hven.model.errors import SourceError, TextPlace, UpstreamError, UpstreamTimeoutError
from hven.model.table import Column, FileRoot, parse_column_lines
from hven.sources import (
    FILE_FACT_COLUMNS,
    ROW_NUMBER_COLUMN,
    InputVersion,
    RejectedRow,
    Source,
    SourceContext,
    SourceKindTraits,
)
from hven.sources._reading.data_files import (
    DataFile,
    FileOptions,
    Texts,
    find_file_fact_type,
    guess_media_type,
    list_adql_queries,
    resolve_column_names,
)
from hven.sources._reading.file_listing import refuse_escaping_link
from hven.sources._reading.file_rows import FilesAsRowsSource
from hven.sources.remote_stores import DirectoryStore, RemoteFileFacts, open_remote_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources.remote_stores import RemoteStore

TRAITS = SourceKindTraits(is_followed_without_sync=True, reads_local_files=True, list_queries=list_adql_queries)
FILES_PER_BATCH = 512
UNREAD_FILES_PER_BATCH = 16_384  # where files are not read
FILE_LIST_COLUMNS = parse_column_lines("""
    path        | string    |      | meta.id;meta.file         | Path of the file, relative to the descriptor
    title       | string    |      | meta.title                | What the file is
    description | string    |      | meta.note                 | What is in it
    media_type  | string    |      | meta.code.mime            | Media type
    bytes       | int64     | byte | phys.size;meta.file       | Size
    sha256      | string    |      | meta.checksum;meta.file   | SHA-256 of the file
    modified    | timestamp |      | time.processing;meta.file | When the file was last changed
    quoted      | string    |      |                           | The path as in addresses
    direct      | string    |      | meta.ref.url              | Address on another server
""")
MAX_PATH_BYTES = 2000
IDLE_TIMEOUT_SECONDS = 60.0  # another server may be silent for this time while it is listed or read
_COLUMN_TYPES = {column.name: column.type.arrow for column in FILE_LIST_COLUMNS}
_SHA256_PATTERN = re.compile(r"[0-9a-fA-F]{64}")


class Options(FileOptions):
    """What a descriptor may state about files."""

    files: Texts = Field(
        validation_alias=AliasChoices("files", "file"),
        default_factory=list,
        description="Paths relative to `root`. You can use the patterns `*`, `?`, `[abc]` and `**`.",
        examples=["products/**/*.fits"],
    )
    root: str = Field(
        "",
        description=(
            "Where the files are: a directory, `https://..`, `ftp://..` or `s3://..`. Default: the descriptor's "
            "directory."
        ),
        examples=["s3://archive/raw"],
    )
    at: str = Field("", description="Prefix of the files' paths on this site.", examples=["raw"])
    adql: str | None = Field(
        None,
        description=(
            "Instead of `files`, an ADQL query that lists the files. Each row contains the `path` of a file below the "
            "root, and can also contain its `bytes` and `sha256`."
        ),
        examples=["SELECT file_name AS path, bytes FROM omega.headers"],
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "How Hven logs in to another server: `user` and `password`, or for S3 `endpoint_url`, `key` and `secret`. "
            "`$NAME` inserts a secret."
        ),
        examples=[{"user": "hven", "password": "$FTP_PASSWORD"}],
    )
    checksums: bool | None = Field(
        None,
        description=(
            "Whether Hven reads each file to compute its SHA-256. Default: true for files on disk, false for all "
            "others."
        ),
        examples=[False],
    )
    direct: bool = Field(False, description="`true`: Hven redirects readers to the other server.", examples=[True])
    writers: Texts = Field(
        default_factory=list,
        description="Accounts and groups that can upload files, if the files are on disk. Default: nobody.",
        examples=[["pipeline"]],
    )

    title: str | None = Field(None, description="Title of each file. Default: its name.", examples=["Calibrated cube"])
    description: str | None = Field(
        None, description="Description of what the files contain.", examples=["Reflectance of the surface"]
    )
    type: str | None = Field(
        None,
        pattern=r"^[\w.+-]+/[\w.+-]+(;.*)?$",
        description="Media type. Default: Hven derives it from the file name.",
        examples=["application/fits"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a list of files.

    Raises
    ------
    SourceError
        No such file.
    """
    if options.adql is None and not options.files:
        raise SourceError(
            "the source has neither `files` nor `adql`",
            remedy="write `files: data/*`, or `adql:` with a query that lists the files",
        )
    root = FileRoot(
        address=options.root, path_prefix=options.at, options=options.options, redirects_clients=options.direct
    )
    if root.scheme is None and options.adql is None and options.checksums is not False:
        directory = context.directory / Path(options.root).expanduser()
        return DirectoryFileSource(options, replace(context, directory=directory))
    return ListedOrQueriedFileSource(options, root, context)


class DirectoryFileSource(FilesAsRowsSource):
    """One row for each file of a directory."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.options = options

    def list_columns(self) -> list[Column]:
        """List the columns: path, title, description, media type, size, checksum, time."""
        return list(FILE_LIST_COLUMNS)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file; each is read once, for its checksum."""
        known_names = [column.name for column in FILE_LIST_COLUMNS]
        names = resolve_column_names(column_names, known_names, "the list of files")
        files = self.files
        if row_limit is not None:
            files = self.files[:row_limit]
        size = min(FILES_PER_BATCH, self.context.batch_row_limit)
        for begin in range(0, len(files), size):
            part = files[begin : begin + size]
            facts: dict[str, pa.Array] = {}
            for name in names:
                if name in FILE_FACT_COLUMNS:
                    facts[name] = pa.array([file.find_file_fact(name) for file in part], find_file_fact_type(name))
            yield _build_batch([self._build_row(file) for file in part], names, begin, facts)

    def _build_row(self, file: DataFile) -> dict[str, object]:
        try:
            before = (file.stat.st_size, file.stat.st_mtime_ns)
            file.compute_sha256()
            stat_after = file.path.stat()
        except OSError as error:
            raise SourceError(
                f"the file cannot be read: {error.strerror}",
                place=TextPlace(file=file.name),
                remedy="check its permissions",
            ) from error
        if (stat_after.st_size, stat_after.st_mtime_ns) != before:
            raise SourceError(
                "the file changed while Hven was reading it",
                place=TextPlace(file=file.name),
                remedy="ingest again when the file is complete",
            )
        file.bytes_read = stat_after.st_size
        self.read_count += stat_after.st_size
        path = file.name
        if self.options.at:
            path = f"{self.options.at}/{file.name}"
        modified = file.modified.replace(tzinfo=None)
        fact = RemoteFileFacts(bytes=file.stat.st_size, modified=modified)
        return _build_file_row(self.options, path, fact, file.sha256, None)


class ListedOrQueriedFileSource:
    """One row for each file that a query names, or a directory or a server lists.

    Files are read, or requested, only for their checksum.
    """

    def __init__(self, options: Options, root: FileRoot, context: SourceContext) -> None:
        self.options = options
        self._root = root
        self._context = context
        self._directory = context.directory / Path(root.address).expanduser()
        self._list_digest = hashlib.sha256()
        self._file_count = 0

    @cached_property
    def _store(self) -> RemoteStore:
        return open_remote_store(
            self._root,
            resolve_secret=self._context.resolve_secret,
            allow_private=self._context.allow_private,
            timeout_seconds=IDLE_TIMEOUT_SECONDS,
        )

    def list_columns(self) -> list[Column]:
        """List the columns: those of a list of files."""
        return list(FILE_LIST_COLUMNS)

    def list_input_versions(self) -> list[InputVersion]:
        """Describe the list of files as one input."""
        name = self._root.path_prefix or "files"
        detail = f"names, sizes and times of {self._file_count} files"
        return [InputVersion(name=name, sha256=self._list_digest.hexdigest(), detail=detail)]

    def estimate_progress_total(self) -> int | None:
        """Return None: the number of files is unknown."""
        return None

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file."""
        known_names = [column.name for column in FILE_LIST_COLUMNS]
        names = resolve_column_names(column_names, known_names, "the list of files")
        rows = islice(self._build_rows(), row_limit)
        self._list_digest = hashlib.sha256()
        self._file_count = 0
        batch_rows = min(UNREAD_FILES_PER_BATCH, self._context.batch_row_limit)
        while part := list(islice(rows, batch_rows)):
            for row in part:
                self._list_digest.update(
                    f"{row['path']}\0{row['bytes']}\0{row['modified']}\0{row['sha256']}\n".encode()
                )
            fact_names = [name for name in names if name in FILE_FACT_COLUMNS]
            facts = {name: pa.nulls(len(part), find_file_fact_type(name)) for name in fact_names}
            yield _build_batch(part, names, self._file_count, facts)
            self._file_count += len(part)

    def _build_rows(self) -> Iterator[dict[str, object]]:
        if self.options.adql is not None:
            files = self._query_files()
        else:
            files = self._list_matching_files()
        for path, fact, checksum in files:
            problem = find_path_problem(path)
            if problem is not None:
                if self._context.on_reject is not None:
                    reject = RejectedRow(file=None, row=None, column="path", value=path[:200], reason=problem)
                    self._context.on_reject(reject)
                continue
            direct = None
            if self._root.redirects_clients:
                direct = f"{self._root.address}/{quote(path)}"
            full_path = path
            if self._root.path_prefix:
                full_path = f"{self._root.path_prefix}/{path}"
            yield _build_file_row(self.options, full_path, fact, checksum, direct)

    def _list_matching_files(self) -> Iterator[tuple[str, RemoteFileFacts, str | None]]:
        try:
            store: DirectoryStore | RemoteStore
            if self._root.scheme is None:
                store = DirectoryStore(self._directory, self._context.allowed_roots)
            else:
                store = self._store
            for path, fact in store.list_files(self.options.files, self.options.ignore):
                checksum = None
                if self.options.checksums:
                    checksum = self._compute_checksum(path, fact)
                yield path, fact, checksum
        except UpstreamError as error:
            raise SourceError(f"{self._root.address}: {error.message}", remedy=error.remedy) from error

    def _query_files(self) -> Iterator[tuple[str, RemoteFileFacts, str | None]]:
        if self._context.run_query is None or self.options.adql is None:
            raise SourceError(
                "a query that lists files can run only in a site", remedy="ingest the collection with `hven ingest`"
            )
        missing_count = 0
        for batch in self._context.run_query(self.options.adql):
            for row in batch.to_pylist():
                path = row["path"]
                if path is None:
                    continue
                fact = RemoteFileFacts(bytes=row.get("bytes"))
                checksum = None
                checksum_text = str(row.get("sha256"))
                if _SHA256_PATTERN.fullmatch(checksum_text):
                    checksum = checksum_text.lower()
                if find_path_problem(path) is None:
                    try:
                        fact, checksum = self._read_file_facts_and_checksum(path, fact, checksum)
                    except (OSError, UpstreamError) as error:
                        if isinstance(error, UpstreamTimeoutError):
                            message = f"{self._root.address}/{path}: {error.message}"
                            raise SourceError(message, remedy=error.remedy) from error
                        missing_count += 1
                        continue
                yield path, fact, checksum
        if missing_count and self._context.on_notice is not None:
            self._context.on_notice(
                f"the query returned the paths of {missing_count:,} files that are missing, so Hven does not list them"
            )

    def _read_file_facts_and_checksum(
        self, path: str, fact: RemoteFileFacts, checksum: str | None
    ) -> tuple[RemoteFileFacts, str | None]:
        """Read the facts of a file on disk; of a remote file only if its checksum is wanted."""
        if self._root.scheme is None:
            place = self._directory / path
            refuse_escaping_link(place, path, (self._directory, *self._context.allowed_roots))
            file_stat = place.stat()
            if not stat.S_ISREG(file_stat.st_mode):
                raise FileNotFoundError(path)
            modified = dt.datetime.fromtimestamp(file_stat.st_mtime, dt.UTC)
            fact = RemoteFileFacts(bytes=file_stat.st_size, modified=modified.replace(tzinfo=None))
            if self.options.checksums is not False:
                checksum = DataFile(path=place, name=path).compute_sha256()
            return fact, checksum
        if not self.options.checksums:
            return fact, checksum
        current_facts = self._store.fetch_facts(path)
        return current_facts, self._compute_checksum(path, current_facts)

    def _compute_checksum(self, path: str, fact: RemoteFileFacts) -> str:
        digest = hashlib.sha256()
        if fact.bytes is None:
            raise SourceError(
                f"{self._root.address}/{path}: the server does not state the size of the file",
                remedy="write `checksums: false`",
            )
        if fact.bytes:
            for part in self._store.read_range(path, 0, fact.bytes, fact):
                digest.update(part)
        return digest.hexdigest()


def find_path_problem(path: str) -> str | None:
    """Explain why a text is no path of a file below a root; None: it is one.

    Parameters
    ----------
    path
        Path as a row or a server names it.
    """
    parts = path.split("/")
    if {"", ".", ".."} & {*parts}:
        return "a path must not have empty parts, or . or .. as a part"
    if not path.isprintable() or "\\" in path:
        return "a path must not contain control characters or \\"
    part_bytes = [len(part.encode("utf-8", "replace")) for part in parts]
    if len(path.encode("utf-8", "replace")) > MAX_PATH_BYTES or max(part_bytes) > 255:
        return f"a path must have at most {MAX_PATH_BYTES:,} bytes, and 255 bytes between two slashes"
    return None


def _build_file_row(
    options: Options, path: str, fact: RemoteFileFacts, checksum: str | None, direct: str | None
) -> dict[str, object]:
    name = path.rpartition("/")[2]
    return {
        "path": path,
        "title": options.title or name,
        "description": options.description,
        "media_type": options.type or guess_media_type(name),
        "bytes": fact.bytes,
        "sha256": checksum,
        "modified": fact.modified,
        "quoted": quote(path),
        "direct": direct,
    }


def _build_batch(
    rows: Sequence[Mapping[str, object]], column_names: Sequence[str], rows_before: int, facts: Mapping[str, pa.Array]
) -> pa.RecordBatch:
    arrays: list[pa.Array] = []
    for name in column_names:
        if name == ROW_NUMBER_COLUMN:
            row_numbers = np.arange(rows_before + 1, rows_before + 1 + len(rows))
            arrays.append(pa.array(row_numbers, pa.int64()))
        elif name in facts:
            arrays.append(facts[name])
        else:
            values = [row[name] for row in rows]
            arrays.append(pa.array(values, _COLUMN_TYPES[name]))
    return pa.RecordBatch.from_arrays(arrays, names=list(column_names))
