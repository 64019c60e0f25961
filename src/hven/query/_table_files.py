"""Tables in files, whose format is detected by the first bytes: VOTable, FITS, Parquet, Arrow, or delimited text."""

from __future__ import annotations

import math
import re
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from hven import formats
from hven.model import add_deviation, plugins
from hven.model.errors import SourceError, TooLargeError, format_message
from hven.model.table import Table, TableConstant
from hven.sources import RejectedRow, SourceContext, file_kinds

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from hven.model import ReadDeviation
    from hven.model.table import Column
    from hven.sources import Source

_SNIFFED_BYTES = 4096
_MAX_UNPACKED_BYTES = 4 * 1024**3
_HTML_PATTERN = re.compile(rb"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+)?html[\s>]", re.IGNORECASE | re.DOTALL)
_UTF16_SIGNATURES = (b"\xff\xfe", b"\xfe\xff", b"\0<", b"<\0")  # XML may be encoded in UTF-16
_FILE_KINDS = ("csv", "json", "parquet")  # kinds of sources that are distinguished, beside those of packages


def detect_table_format(path: Path) -> str:
    """Detect the format of a file by its contents: ``votable``, ``fits``, ``parquet``, ``arrow`` or ``csv``.

    Raises
    ------
    SourceError
        Empty, or nothing that holds a table.
    """
    with path.open("rb") as file:
        first_bytes = file.read(_SNIFFED_BYTES)
    text = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise SourceError("it is empty")
    if first_bytes.startswith((b"ARROW1\0", b"\xff\xff\xff\xff")):
        return "arrow"
    package_kinds = [kind for package in plugins.list_plugin_packages() for kind in package.upload_kinds]
    detected_kind = file_kinds.find_file_kind_by_content(first_bytes, (*_FILE_KINDS, *package_kinds))
    if detected_kind and detected_kind in {"parquet", *package_kinds}:
        return detected_kind
    if _HTML_PATTERN.match(text):
        raise SourceError(
            "it is an HTML page",
            remedy="give the address of the file itself, not the address of a page about the file",
        )
    if text.startswith(b"<") or (first_bytes.startswith(_UTF16_SIGNATURES) and b"<" in first_bytes[:16]):
        return "votable"
    if first_bytes.startswith(b"\x1f\x8b"):
        foreign_kind: str | None = "compressed twice"
    elif detected_kind == "json":
        foreign_kind = "JSON"
    else:
        foreign_kind = file_kinds.recognize_binary_format(first_bytes)
    if foreign_kind:
        raise SourceError(
            format_message("it is {what}, not a table", format_message(foreign_kind)),
            remedy="save the table as VOTable, FITS, Parquet or CSV, compressed at most once",
        )
    if detected_kind is None:
        raise SourceError(
            "it is not a table in a known format",
            remedy="send VOTable, FITS, Parquet, Arrow, TFCat, CSV or other delimited text",
        )
    return "csv"


@contextmanager
def open_table_file(
    path: Path,
    expected_columns: Iterable[Column] = (),
    max_bytes: int = _MAX_UNPACKED_BYTES,
    deviations: list[ReadDeviation] | None = None,
) -> Iterator[tuple[Table, Iterator[pa.RecordBatch]]]:
    """Open the (first) table of a file.

    Parameters
    ----------
    path
        Path of the file.
    expected_columns
        Expected columns. Text columns of the same name, ignoring case, are read as their type.
    max_bytes
        Maximum size of the unpacked values of a Parquet or Arrow file, according to its metadata.
    deviations
        List that receives what the reader narrows, drops or reinterprets; it is complete when the rows are read.

    Yields
    ------
    The table, without schema and name, and its rows.

    Raises
    ------
    SourceError
        The file has no table, or a broken one; also while iterating.
    TooLargeError
        The values take more than `max_bytes`.
    """
    kind = detect_table_format(path)
    _check_unpacked_bytes(path, kind, max_bytes)
    if kind in {"votable", "arrow"}:
        reader = formats.load_format(kind).read
        if reader is None:  # pragma: no cover  (both have one)
            raise SourceError(format_message("{kind} cannot be read", kind))
        with path.open("rb") as file:
            table_stream = reader(file)
            head = table_stream.metadata
            columns = tuple([column.copy_with(type=column.type.unbounded_text_type) for column in head.columns])
            table = Table(
                schema="",
                name="",
                columns=columns,
                description=head.description,
                groups=tuple(head.groups),
                frames=tuple(head.frames),
                enums=head.enums,
                params=tuple(param for param, _ in head.params if isinstance(param, TableConstant)),
            )
            yield table, table_stream.read_batches_or_raise_if_truncated()
            if deviations is not None:
                deviations += table_stream.deviations
        return
    names = _read_parquet_column_names(path) if kind == "parquet" else ()
    try:
        reported_deviations: list[ReadDeviation] = []

        def collect_notice(notice: str | ReadDeviation) -> None:
            if not isinstance(notice, str):
                add_deviation(reported_deviations, notice)

        context = SourceContext(on_notice=collect_notice)
        if kind == "csv":
            source = _open_csv_with_fitting_types(path, expected_columns, context)
        else:
            source = _open_source(kind, path, context)
        table = Table(schema="", name="", columns=tuple(source.list_columns()))
        rows = source.read_batches()
        # Deviations of values were counted while the types were detected, and are counted again while rows are read.
        reported_deviations[:] = [deviation for deviation in reported_deviations if deviation.count is None]
        _check_no_column_dropped(names, table)
        with closing(cast("Generator[pa.RecordBatch]", rows)):
            yield table, rows
        if deviations is not None:
            deviations += reported_deviations
    except SourceError as error:  # the remedies of sources are about descriptors
        raise SourceError(error.message, place=error.place) from error


def _check_no_column_dropped(column_names: Iterable[str], table: Table) -> None:
    for name in column_names:
        if all(column.name != name for column in table.columns):
            raise SourceError(
                format_message("column {name!r} has a type that Hven does not support", name),
                remedy="leave out the column, or split it into several columns",
            )


def _open_source(kind: str, path: Path, context: SourceContext, **options: object) -> Source:
    module = plugins.load_plugin("sources", kind)
    source: Source = module.open(module.Options(files=[path.name], **options), replace(context, directory=path.parent))
    return source


def _open_csv_with_fitting_types(path: Path, expected_columns: Iterable[Column], context: SourceContext) -> Source:
    """Open delimited text with types that fit all values.

    If later values do not fit the types of a sample, the text is read again with wider types.
    """
    types: dict[str, str] = {}
    expected = {column.name.lower(): str(column.type) for column in expected_columns}
    if expected:
        sampled_source = _open_source("csv", path, SourceContext())
        expected_types = {
            column.name: expected[column.name.lower()]
            for column in sampled_source.list_columns()
            if column.name.lower() in expected
        }
        types.update(expected_types)
        if len(expected_types) == len(sampled_source.list_columns()):
            # A value that does not fit an expected type is an error, which names the row.
            return _open_source("csv", path, context, types=types)
    for _ in range(_MAX_TYPE_PASSES):
        wider_types: dict[str, str] = {}
        on_reject = partial(_note_wider_type, wider_types)
        source = _open_source(
            "csv",
            path,
            replace(context, on_reject=on_reject, reject_limit=_MAX_FAULTS_PER_BLOCK),
            types=types,
        )
        for _batch in source.read_batches():
            pass
        if not wider_types:
            return source
        for column in source.list_columns():
            if column.name in wider_types:
                if column.type.is_integer and wider_types[column.name] == "float64":
                    types[column.name] = "float64"
                else:
                    types[column.name] = "string"
    return _open_source("csv", path, context, types={column.name: "string" for column in source.list_columns()})


def _note_wider_type(wider_types: dict[str, str], rejected_value: RejectedRow) -> None:
    """Note the column of a value that does not fit (at least one of each row), and a type that fits it."""
    if rejected_value.column is None:
        raise SourceError(
            format_message("row {row}: {reason}", rejected_value.row, format_message(rejected_value.reason))
        )
    if wider_types.get(rejected_value.column) != "string":
        if _is_number(rejected_value.value or ""):
            wider_types[rejected_value.column] = "float64"
        else:
            wider_types[rejected_value.column] = "string"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) or "inf" in text.lower()  # 1e400 is too large for a float64
    except ValueError:
        return False


def _check_unpacked_bytes(path: Path, kind: str, max_bytes: int) -> None:
    promised = formats.load_format(kind).count_unpacked_bytes
    if promised is None:
        return
    with path.open("rb") as file:
        size = promised(file)
    if size > max_bytes:
        raise TooLargeError(
            format_message(
                "the upload's values take up {size:,} bytes after unpacking; the limit is {most:,}", size, max_bytes
            ),
            remedy="send fewer columns or rows at a time",
        )


def _read_parquet_column_names(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file."""
    import pyarrow.parquet as pq  # noqa: PLC0415  (0.04 s, for who sends such a file)

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, ValueError, OSError) as error:  # names may be no UTF-8
        raise SourceError(format_message("the file is not a readable Parquet file ({message})", error)) from error


_MAX_TYPE_PASSES = 6  # over text, to find types that fit; afterwards every column is text
_MAX_FAULTS_PER_BLOCK = 100  # values of a column that are inspected in each block of text, to find a type that fits
