"""Uploads (TAP 1.1 section 2.7.6, DALI 1.1 section 3.4.5).

Files that come with a query become tables that exist for this query only.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import re
import tempfile
import time
import zlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved_words import RESERVED_WORDS
from hven.formats import InfoElement
from hven.model import DeviationKind, ReadDeviation, add_deviation, plugins, shape_columns
from hven.model.deadlines import apply_request_or_new_deadline, check_deadline
from hven.model.errors import (
    ForbiddenError,
    HvenError,
    ParamError,
    SourceError,
    StorageError,
    TooLargeError,
    UserError,
    format_message,
)
from hven.model.table import Table, deduplicate_names
from hven.query._table_files import open_table_file
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.params import UploadedFile
    from hven.model.settings import Settings
    from hven.model.table import Column

logger = logging.getLogger("hven")
UPLOAD_SCHEMA = "TAP_UPLOAD"
MAX_UPLOADS = 32  # tables of one query
MAX_UPLOAD_COLUMNS, MAX_COLUMN_NAME_CHARACTERS = 4_000, 256
# The values may take this many times `limits.upload` in memory, where numbers and arrays are wider than their text.
MEMORY_EXPANSION_FACTOR = 5
_IDLE_TIMEOUT_SECONDS = 15.0  # time without a byte after which a download is given up
_TABLE_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PAIR_SEPARATOR_PATTERN = re.compile(r";(?=[^;,]*,)")  # TAP 1.0 section 2.3.6 wrote several pairs into one value
_CHUNK_BYTES = 1 << 20
_COMPRESSION_SIGNATURES = (
    (rb"\x1f\x8b", "gzip"),
    (rb"BZh[1-9]1AY&SY", "bzip2"),
    (rb"\xfd7zXZ\x00", "xz"),
    (rb"\x28\xb5\x2f\xfd", "zstd"),
)


class UploadedTables(dict[str, tuple[Table, pa.Table]]):
    """Uploaded tables with their rows, by their qualified names.

    Attributes
    ----------
    deviations
        Values that a reader narrowed, dropped or reinterpreted, by the name of the upload.
    """

    def __init__(self) -> None:
        super().__init__()
        self.deviations: dict[str, list[ReadDeviation]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReference:
    """A pair ``name,uri`` of UPLOAD."""

    name: str
    uri: str

    @property
    def request_part(self) -> str | None:
        """The part of the request that has the file (``param:PART``); None if the file is downloaded."""
        if self.uri.lower().startswith("param:"):
            return self.uri[len("param:") :]
        return None


def parse_upload_references(values: Iterable[str]) -> list[UploadReference]:
    """Parse the values of UPLOAD.

    Each value is ``name,uri``, or several such pairs with ``;`` between them, as in TAP 1.0 (TAP 1.1, 2.7.6).

    Parameters
    ----------
    values
        Values of the parameter, which may be repeated.

    Returns
    -------
    references
        Names of the tables, with the sources of their files.

    Raises
    ------
    ParamError
        A value has another form; a name is no ADQL identifier, is reserved or is repeated; or a scheme is not
        supported.
    """
    references_by_name: dict[str, UploadReference] = {}
    for value in values:
        for text in _PAIR_SEPARATOR_PATTERN.split(value.strip().rstrip(";")):
            if not text.strip():
                continue
            name, comma, uri = (part.strip() for part in text.partition(","))
            if not comma or not uri:
                raise _build_upload_error(
                    format_message("UPLOAD={text!r:.120} must be a table name, a comma and an address", text.strip()),
                    "write UPLOAD=mine,param:PART or UPLOAD=mine,https://...",
                )
            _check_upload_table_name(name)
            if name.lower() in references_by_name:
                raise _build_upload_error(
                    format_message("UPLOAD contains two tables called {name!r}", name),
                    "give each table a different name; names that differ only in case are treated as equal",
                )
            if uri.partition(":")[0].lower() not in {"param", "http", "https"}:
                raise _build_upload_error(
                    format_message("UPLOAD: {uri!r:.120} cannot be fetched", uri),
                    "use param:PART (a file in the request), http://... or https://...",
                )
            references_by_name[name.lower()] = UploadReference(name=name, uri=uri)
    if len(references_by_name) > MAX_UPLOADS:
        raise _build_upload_error(
            format_message("UPLOAD contains {count} tables; the limit is {most}", len(references_by_name), MAX_UPLOADS),
            "split the query into several",
        )
    return list(references_by_name.values())


def _check_upload_table_name(name: str) -> None:
    if name.lower().startswith(f"{UPLOAD_SCHEMA.lower()}."):
        raise _build_upload_error(
            format_message("the table name {name!r:.120} in UPLOAD must not include the schema", name),
            format_message(
                "leave out {schema}, and write UPLOAD={name:.80},...", UPLOAD_SCHEMA, name.partition(".")[2]
            ),
        )
    if not _TABLE_NAME_PATTERN.fullmatch(name) or len(name) > 128:
        raise _build_upload_error(
            format_message("the table name {name!r:.120} in UPLOAD is not an ADQL identifier", name),
            "begin with a letter, and use only letters, digits and _",
        )
    if name.upper() in RESERVED_WORDS:
        raise _build_upload_error(
            format_message("the table name {name!r} in UPLOAD is a reserved word of ADQL", name),
            format_message("use another name, such as my_{name}", name.lower()),
        )


def _build_upload_error(message: str, remedy: str) -> ParamError:
    return ParamError(message, name="UPLOAD", remedy=remedy)


def read_uploads(
    references: Sequence[UploadReference],
    request_files: Mapping[str, UploadedFile | Path],
    settings: Settings,
    *,
    memory_guard: AbstractContextManager[object] | None = None,
    expected_columns: Iterable[Column] = (),
    renames_duplicates: bool = True,
) -> UploadedTables:
    """Download and read the tables of one query; the function is slow and not for event loops.

    Parameters
    ----------
    references
        References that `parse_upload_references` returned.
    request_files
        Files of the request, by the name of their part; a job has the paths of its copies.
    settings
        `limits.upload` limits the unpacked size of all tables together, `limits.upload_rows` the rows of each, and
        `limits.seconds` the time if no deadline applies; `allow_private` allows addresses of the private network.
    memory_guard
        Context manager that is entered while values fill memory, so that a server can limit how many do so at once.
    expected_columns
        Expected columns. Text columns of the same name, ignoring case, are read as their type.
    renames_duplicates
        True: a column whose name differs from another one only in case gets a number, as `hven new` does;
        `list_upload_warnings` lists these columns.

    Returns
    -------
    dict
        ``TAP_UPLOAD.name`` -> table and rows: the `uploads` of `hven.query.run_query`.

    Raises
    ------
    ParamError
        A part is missing.
    SourceError
        A file has no table, or a broken one.
    TimeLimitError
        The time of the request is over.
    TooLargeError, ForbiddenError, UserError
        A file is larger than the limits; or an address may not be used, or does not respond.
    StorageError
        The disk is full.
    """
    limits = settings.limits
    if limits.upload == 0:
        raise _build_upload_error(
            "this service does not accept uploads", "write the values as a list in the query: IN (...)"
        )
    uploaded_tables = UploadedTables()
    byte_budget = _ByteBudget(limits.upload)
    remaining_bytes = limits.upload * MEMORY_EXPANSION_FACTOR
    with apply_request_or_new_deadline(None, limits.seconds) as deadline, _create_upload_directory() as directory:
        for reference in references:
            path = _fetch_uncompressed_file(
                reference,
                request_files,
                Path(directory),
                byte_budget,
                deadline_time=deadline.expiry_time,
                settings=settings,
            )
            try:
                deviations = uploaded_tables.deviations.setdefault(reference.name, [])
                with (
                    memory_guard or nullcontext(),
                    open_table_file(path, expected_columns, remaining_bytes, deviations) as (table, batches),
                ):
                    if renames_duplicates:
                        columns = tuple(deduplicate_names(table.columns))
                        table = table.copy_with(columns=columns)  # noqa: PLW2901  (the same table)
                    check_upload_columns(table)
                    rows, byte_count = _collect_valid_rows_within_limits(
                        reference.name,
                        (batch.rename_columns(table.arrow_schema.names) for batch in batches),
                        table.arrow_schema,
                        remaining_bytes,
                        limits.upload_rows,
                    )
                rows = _replace_invalid_regions(table, rows, deviations)
            except TooLargeError:
                raise
            except UserError as error:
                message = error.message
                if error.place.line is not None:
                    message = format_message("line {line}: {message}", error.place.line, error.message)
                raise SourceError(
                    format_message("the upload {name!r} cannot be read: {message}", reference.name, message),
                    remedy=error.remedy,
                ) from error
            except HvenError:
                raise
            except Exception as error:  # the reader, which may be a plug-in, fails for an unforeseen file
                blamed_place = plugins.describe_error_origin(error)
                logger.exception("reading the upload %s failed in %s", reference.name, blamed_place)
                raise SourceError(
                    format_message(
                        "the upload {name!r} cannot be read: the reader of this format failed ({reason})",
                        reference.name,
                        type(error).__name__,
                    ),
                    remedy="check the file with the program that wrote it, or send the table in another format",
                ) from error
            remaining_bytes -= byte_count
            table = table.copy_with(schema=UPLOAD_SCHEMA, name=reference.name)
            uploaded_tables[table.qualified_name] = (table, rows)
    return uploaded_tables


def list_upload_warnings(uploaded_tables: UploadedTables) -> list[InfoElement]:
    """List what the readers of uploads renamed, narrowed, dropped or reinterpreted, for the head of the answer.

    Parameters
    ----------
    uploaded_tables
        Tables that `read_uploads` returned.

    Returns
    -------
    infos
        A warning for each deviation.
    """
    warnings = []
    for table, _ in uploaded_tables.values():
        renamed_columns = [column for column in table.columns if column.label is not None]
        warnings += [
            f"the names of several columns of the upload {table.name!r} differ only in case: {column.label!r} is now "
            f"{column.name}"
            for column in renamed_columns
        ]
    for name, deviations in uploaded_tables.deviations.items():
        warnings += [f"the upload {name!r}: {deviation}" for deviation in deviations]
    return [InfoElement(name="warning", value=warning) for warning in warnings]


def _create_upload_directory() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="hven-upload-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(
            format_message("uploads cannot be stored: {reason}", error.strerror), remedy="try again later"
        ) from error


class _ByteBudget:
    """The number of bytes that are still allowed."""

    def __init__(self, byte_limit: int) -> None:
        self.byte_limit = self.remaining_bytes = byte_limit

    def take_bytes(self, byte_count: int) -> None:
        self.remaining_bytes -= byte_count
        if self.remaining_bytes < 0:
            raise self.build_limit_error()

    def build_limit_error(self) -> TooLargeError:
        return TooLargeError(
            format_message(
                "the uploads take up too many bytes after unpacking; the limit is {most:,} bytes", self.byte_limit
            ),
            remedy="send fewer columns or rows at a time",
        )


def _replace_invalid_regions(table: Table, rows: pa.Table, deviations: list[ReadDeviation]) -> pa.Table:
    """Replace invalid regions by null and report them; a polygon of two corners cannot be computed with."""
    for column_number, column in enumerate(table.columns):
        chunks = []
        faults_by_reason: dict[str, tuple[int, int]] = {}  # reason -> count, first row
        first = 1
        for chunk in rows.column(column_number).chunks:
            values = chunk
            for reason, flags in shape_columns.find_invalid_shapes(chunk, column.type):
                count, row = faults_by_reason.get(reason, (0, first + int(flags.argmax())))
                faults_by_reason[reason] = count + int(flags.sum()), row
                values = pc.if_else(pa.array(flags), pa.scalar(None, values.type), values)
            chunks.append(values)
            first += len(chunk)
        if faults_by_reason:
            rows = rows.set_column(
                column_number,
                rows.schema.field(column_number),
                pa.chunked_array(chunks, rows.schema.field(column_number).type),
            )
        for reason, (count, row) in faults_by_reason.items():
            message = format_message("{reason}, so the value is read as null", reason)
            add_deviation(
                deviations,
                ReadDeviation(kind=DeviationKind.GEOMETRY, column=column.name, count=count, row=row, message=message),
            )
    return rows


def _collect_valid_rows_within_limits(
    upload_name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, byte_limit: int, row_limit: int
) -> tuple[pa.Table, int]:
    """Collect the rows in memory, within limits; validate them, so that they cannot break the engine."""
    batches_read: list[pa.RecordBatch] = []
    byte_count = row_count = 0
    try:
        for batch in batches:
            check_deadline()
            byte_count += batch.nbytes
            row_count += batch.num_rows
            if row_count > row_limit:
                raise TooLargeError(
                    format_message(
                        "the upload {name!r} has too many rows; the limit is {most:,} rows", upload_name, row_limit
                    ),
                    remedy="send the table in parts",
                )
            if byte_count > byte_limit:
                raise TooLargeError(
                    format_message(
                        "the upload {name!r} takes up more than {most:,} bytes in memory", upload_name, byte_limit
                    ),
                    remedy="send fewer columns or rows at a time",
                )
            if batch.num_rows:
                batch.validate(full=True)
                batches_read.append(batch)
        return pa.Table.from_batches(batches_read, schema), byte_count
    except (pa.ArrowException, MemoryError) as error:
        raise SourceError(str(error)) from error


def check_upload_columns(table: Table) -> None:
    """Check the names of columns: any delimited identifier, each only once (ADQL 2.1, 2.1.2).

    Parameters
    ----------
    table
        The uploaded table.

    Raises
    ------
    SourceError
        The table has no columns or too many, or a name that is repeated or cannot be written in a query.
    """
    if not table.columns:
        raise SourceError("it has no columns")
    if len(table.columns) > MAX_UPLOAD_COLUMNS:
        raise SourceError(
            format_message("it has {count:,} columns; the limit is {most:,}", len(table.columns), MAX_UPLOAD_COLUMNS),
            remedy="send only the columns that the query needs",
        )
    names_by_lower: dict[str, str] = {}
    for column in table.columns:
        name = column.name
        if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > MAX_COLUMN_NAME_CHARACTERS:
            if not name.strip():
                message = "the column name {name!r:.80} is empty"
            elif name != name.strip():
                message = "the column name {name!r:.80} begins or ends with a blank"
            else:
                message = "the column name {name!r:.80} cannot be written in a query"
            raise SourceError(format_message(message, name), remedy="rename the column")
        earlier_name = names_by_lower.get(name.lower())
        names_by_lower[name.lower()] = name
        if earlier_name is not None:
            if earlier_name == name:
                message = format_message("two columns have the same name: {name!r:.80}", name)
            else:
                message = format_message(
                    "the names of two columns differ only in case: {other!r} and {name!r:.80}", earlier_name, name
                )
            raise SourceError(message, remedy="rename one of the columns")


# --- plain files of uploads -------------------------------------------------------------------------------------


def _fetch_uncompressed_file(
    reference: UploadReference,
    request_files: Mapping[str, UploadedFile | Path],
    directory: Path,
    byte_budget: _ByteBudget,
    *,
    deadline_time: float,
    settings: Settings,
) -> Path:
    """Return the upload as a file that is not compressed, and count its bytes."""
    plain_path = directory / reference.name.lower()
    if reference.request_part is None:
        downloaded_path = _download_upload(reference, directory, byte_budget, deadline_time, settings)
        return _decompress_file_if_compressed(reference.name, downloaded_path, plain_path, byte_budget)
    request_file = _find_request_part(reference, request_files)
    if isinstance(request_file, Path):
        return _decompress_file_if_compressed(reference.name, request_file, plain_path, byte_budget)
    request_file.file.seek(0)
    return _write_decompressed_file(reference.name, request_file.file, plain_path, byte_budget)


def _find_request_part(
    reference: UploadReference, request_files: Mapping[str, UploadedFile | Path]
) -> UploadedFile | Path:
    """Find the part of the request, by its exact name or ignoring case, as for names of parameters."""
    part = reference.request_part or ""
    request_file = request_files.get(part)
    similar_files = [item for name, item in request_files.items() if name.lower() == part.lower()]
    if request_file is None and len(similar_files) == 1:
        request_file = similar_files[0]
    if request_file is None:
        remedy: str = "send the file in a POST request with multipart/form-data"
        if request_files:
            remedy = format_message(
                "use one of the files in the request: {there:.200}", ", ".join(sorted(request_files))
            )
        raise _build_upload_error(
            format_message(
                "UPLOAD={name},{uri:.120}: the request has no file {part!r:.80}", reference.name, reference.uri, part
            ),
            remedy,
        )
    return request_file


def _download_upload(
    reference: UploadReference, directory: Path, byte_budget: _ByteBudget, deadline_time: float, settings: Settings
) -> Path:
    remaining_seconds = max(round(deadline_time - time.monotonic(), 1), 0.1)
    idle_timeout_seconds = min(_IDLE_TIMEOUT_SECONDS, remaining_seconds)
    try:
        return http_client.download_file(
            reference.uri,
            directory / "fetched" / reference.name.lower(),
            byte_limit=byte_budget.remaining_bytes,
            timeout_seconds=idle_timeout_seconds,
            total_timeout_seconds=remaining_seconds,
            allow_private=settings.allow_private,
        )
    except http_client.PrivateAddressError as error:  # the message does not reveal addresses of the private network
        message = format_message(
            "UPLOAD {name}: the address leads, directly or by a redirect, to a server that is not on the public "
            "internet",
            reference.name,
        )
        raise ForbiddenError(
            message, remedy=format_message("send the file with the request: UPLOAD={name},param:PART", reference.name)
        ) from error
    except TooLargeError as error:
        raise byte_budget.build_limit_error() from error
    except ForbiddenError as error:
        raise ForbiddenError(
            format_message("UPLOAD {name}: {message}", reference.name, error.message), remedy=error.remedy
        ) from error
    except UserError as error:
        raise SourceError(
            format_message("UPLOAD {name}: {message}", reference.name, error.message), remedy=error.remedy
        ) from error


def _decompress_file_if_compressed(upload_name: str, path: Path, plain_path: Path, byte_budget: _ByteBudget) -> Path:
    with path.open("rb") as stream:
        if _detect_compression(stream):
            return _write_decompressed_file(upload_name, stream, plain_path, byte_budget)
    byte_budget.take_bytes(path.stat().st_size)
    return path


def _detect_compression(stream: BinaryIO) -> str | None:
    start = stream.read(10)
    stream.seek(0)
    return next((kind for mark, kind in _COMPRESSION_SIGNATURES if re.match(mark, start)), None)


def _write_decompressed_file(upload_name: str, stream: BinaryIO, plain_path: Path, byte_budget: _ByteBudget) -> Path:
    """Write it to a file, decompressed piece by piece: a bomb ends at the limit."""
    compression = _detect_compression(stream)
    decompressed = _open_decompressor(stream, compression)
    try:
        with plain_path.open("wb") as file:
            while data := _read_chunk(decompressed, upload_name, compression):
                check_deadline()
                byte_budget.take_bytes(len(data))
                file.write(data)
    except OSError as error:
        raise StorageError(
            format_message("the upload {name!r} could not be saved: {reason}", upload_name, error.strerror),
            remedy="try again later",
        ) from error
    return plain_path


def _open_decompressor(stream: BinaryIO, compression: str | None) -> Any:
    if compression == "gzip":
        return gzip.GzipFile(fileobj=stream, mode="rb")
    if compression == "bzip2":
        return bz2.BZ2File(stream)
    if compression == "xz":
        return lzma.LZMAFile(stream)
    if compression == "zstd":
        return pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return stream


def _read_chunk(stream: Any, upload_name: str, compression: str | None) -> bytes:
    if compression is None:
        return cast("bytes", stream.read(_CHUNK_BYTES))
    try:
        return cast("bytes", stream.read(_CHUNK_BYTES))
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException, MemoryError) as error:
        raise SourceError(
            format_message(
                "the upload {name!r} is damaged: its {packing} stream is incomplete or invalid",
                upload_name,
                compression,
            ),
            remedy="send the file again",
        ) from error
