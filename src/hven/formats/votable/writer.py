"""Write VOTable: the start of the document, the rows as they come, and how the answer ended."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable import binary_writer, tabledata_writer
from hven.formats.votable import document as votable_document
from hven.model import LruCache, literal, plugins
from hven.model.errors import DataError, HvenError, UserError
from hven.model.types import ColumnType, choose_text_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.table import Column

SERIALIZATIONS = {
    "TABLEDATA": ("<DATA><TABLEDATA>\n", "</TABLEDATA></DATA>\n"),
    "BINARY": ('<DATA><BINARY><STREAM encoding="base64">\n', "</STREAM></BINARY></DATA>\n"),
    "BINARY2": ('<DATA><BINARY2><STREAM encoding="base64">\n', "</STREAM></BINARY2></DATA>\n"),
}
DEFAULT_SERIALIZATION = "BINARY2"
MAX_CACHE_BYTES, CACHED_COLUMN_BYTES = 2 * 1024**2, 1000  # of all that is cached about columns; about, for each column
_BYTE_TYPE, _SHORT_TYPE = ColumnType("unsignedByte"), ColumnType("short")


DOCUMENT_FORM_POINT = "votable.forms"  # the extension point for modules with `choose_document_form(metadata, options)`
FORM_OPTIONS = frozenset({"names", "version", "namespace"})  # options that such a form may heed


class DocumentForm(Protocol):
    """Another form of the document around the rows, which a package writes.

    Attributes
    ----------
    serialization
        TABLEDATA, BINARY or BINARY2.
    columns
        The columns of the answer, with the types that they have in this form.
    """

    serialization: str
    columns: Sequence[Column]

    def write_start(self, start_text: str) -> str:
        """Write what stands before DATA; `start_text` is what Hven writes there."""

    def write_end(self, trailing_status_xml: str) -> str:
        """Write what stands after DATA, with a status if the rows are not complete."""


def _choose_document_form(metadata: TableMetadata, options: Mapping[str, str]) -> DocumentForm | None:
    """Choose the form that the options select; None: the usual one."""
    for module in plugins.load_extensions(DOCUMENT_FORM_POINT):
        form: DocumentForm | None = module.choose_document_form(metadata, options)
        if form is not None:
            return form
    if (
        "names" in options
        or options.get("version", votable_document.DEFAULT_VERSION) < votable_document.DEFAULT_VERSION
    ):
        message = "this site has no package that writes the names of the source, or VOTable versions before 1.4"
        raise UserError(message, remedy="omit `names` and `version`")
    return None


def _choose_form_and_serialization(
    metadata: TableMetadata, options: Mapping[str, str]
) -> tuple[DocumentForm | None, str, Sequence[Column]]:
    """Choose the form of the document, how it serializes the rows, and its columns."""
    serialization = options.get("serialization", DEFAULT_SERIALIZATION).upper()
    columns = metadata.columns
    form = None
    if not FORM_OPTIONS.isdisjoint(options):
        form = _choose_document_form(metadata, options)
    if form is not None:
        serialization = form.serialization
        columns = form.columns
    if serialization not in SERIALIZATIONS:
        message = f"Hven cannot write the VOTable serialization {serialization!r}"
        raise UserError(message, remedy=f"use one of {', '.join(SERIALIZATIONS)}")
    return form, serialization, columns


def write_votable(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],
) -> Iterator[bytes]:
    """Write a document while the rows arrive.

    Parameters
    ----------
    options
        ``serialization``: TABLEDATA, BINARY or BINARY2 (the default), in any case. ``version``: 1.4 (the default) or
        1.5. ``namespace``: 1.1 to 1.5, for clients that require the namespace of that version. ``strings``: ``array``
        (the default, arrays of strings as in the standard) or ``json``, a text that is a JSON list, for clients that
        read no ``char`` field of several dimensions (astropy, pyvo). Packages write other versions, and forms that
        ``names`` selects.

    Raises
    ------
    UserError
        Before the first byte: the serialization is not one of the three. Errors of the first batch pass through, too.
        Later ones become QUERY_STATUS=ERROR after the table, and the document is valid.
    """
    form, serialization, declared_columns = _choose_form_and_serialization(metadata, options)
    batches = literal.split_first_batch(batches)
    if options.get("strings", "").lower() == "json":
        declared_columns, batches = write_string_arrays_as_json(declared_columns, batches)
    batch = next(batches, None)
    columns = adapt_column_types_and_nulls(declared_columns, batch, serialization)
    opening, closing = SERIALIZATIONS[serialization] if columns else ("", "")
    version = options.get("version", votable_document.DEFAULT_VERSION)
    start_text = votable_document.write_document_start(
        metadata, columns, serialization, version, options.get("namespace")
    )
    if form is not None:
        start_text = form.write_start(start_text)
    start = (start_text + opening).encode()
    column_plan = _column_plan_cache.find((id(columns), serialization))
    if column_plan is None:  # `adapt_column_types_and_nulls` has changed a column
        column_plan = _create_encoding_plan(columns, serialization)
    base64_encoder = None if serialization == "TABLEDATA" else binary_writer.Base64Encoder()
    failure = None
    try:
        while batch is not None:
            if column_plan.check_batch is not None:
                column_plan.check_batch(batch)
            for piece in column_plan.encoder.encode_batch(batch):
                text = bytes(piece) if base64_encoder is None else b"".join(base64_encoder.encode(piece))
                yield start + text
                start = b""
            if start:
                yield start
                start = b""
            batch = next(batches, None)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    base64_tail = b""
    if base64_encoder is not None:
        base64_tail = base64_encoder.finish()
    trailing_status = _write_trailing_status(finish(), failure)
    if form is None:
        end_text = votable_document.write_document_end(metadata, trailing_status)
    else:
        end_text = form.write_end(trailing_status)
    yield start + base64_tail + (closing + end_text).encode()


def write_small_votable(
    metadata: TableMetadata, rows: Sequence[tuple[Any, ...]], options: Mapping[str, str]
) -> bytes | None:
    """Write a document of a few rows of plain numbers and text without Arrow; return None for any others.

    The bytes are those of `write_votable`.
    """
    columns = metadata.columns
    serialization = options.get("serialization", DEFAULT_SERIALIZATION).upper()
    has_special_options = not {*FORM_OPTIONS, "strings"}.isdisjoint(options)
    if serialization != DEFAULT_SERIALIZATION or has_special_options or not isinstance(columns, tuple):
        return None
    encoder = _find_or_create_encoding_plan(columns, DEFAULT_SERIALIZATION).encoder
    if not isinstance(encoder, binary_writer.VotableBinaryEncoder):
        return None
    cells = encoder.encode_small_rows(rows)
    if cells is None:
        return None
    opening, closing = SERIALIZATIONS[DEFAULT_SERIALIZATION]
    base64_encoder = binary_writer.Base64Encoder()
    lines = b"".join(base64_encoder.encode(memoryview(cells))) + base64_encoder.finish()
    start_text = votable_document.write_document_start(metadata, columns, DEFAULT_SERIALIZATION) + opening
    end_text = closing + votable_document.write_document_end(metadata, "")
    return start_text.encode() + lines + end_text.encode()


def write_string_arrays_as_json(
    columns: Sequence[Column], batches: Iterator[pa.RecordBatch]
) -> tuple[Sequence[Column], Iterator[pa.RecordBatch]]:
    """Declare arrays of strings as text, and write each as a JSON list.

    Parameters
    ----------
    columns
        Columns of the answer.
    batches
        Rows of the answer.

    Returns
    -------
    columns, batches
        The new ones, or the same if no column is an array of strings.
    """
    column_numbers = [number for number, column in enumerate(columns) if is_string_array(column.type)]
    if not column_numbers:
        return columns, batches
    json_columns = list(columns)
    for number in column_numbers:
        text_type = ColumnType(columns[number].type.datatype, "*")
        json_columns[number] = columns[number].copy_with(type=text_type)

    def convert_batches() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            arrays = list(batch.columns)
            for number in column_numbers:
                kind = columns[number].type
                values = literal.cast_to_storage_type(arrays[number], kind)
                arrays[number] = literal.format_dali_literals(values, kind)
            yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    return tuple(json_columns), convert_batches()


def is_string_array(column_type: ColumnType) -> bool:
    """Return whether a column holds several strings in a cell: ``char`` of several dimensions."""
    return column_type.datatype in {"char", "unicodeChar"} and "x" in (column_type.arraysize or "")


def _write_trailing_status(result_status: ResultStatus, failure: Exception | None) -> str:
    if failure is not None or result_status.error_message is not None:
        return votable_document.write_query_status(
            "ERROR", result_status.error_message or str(failure) or "the service failed while writing"
        )
    if result_status.overflow:
        return votable_document.write_query_status("OVERFLOW")
    return ""


def write_votable_error(message: str) -> bytes:
    """Write an error document."""
    return votable_document.write_error_document(message).encode()


def write_metadata_document(metadata: TableMetadata, result_status: ResultStatus) -> str:
    """Write a document whose table has no DATA, which other formats carry in their metadata."""
    columns = adapt_column_types_and_nulls(metadata.columns, None, DEFAULT_SERIALIZATION)
    version = votable_document.choose_votable_version(metadata.frames)
    start_text = votable_document.write_document_start(metadata, columns, DEFAULT_SERIALIZATION, version)
    trailing_status = _write_trailing_status(result_status, None)
    return start_text + votable_document.write_document_end(metadata, trailing_status)


def adapt_column_types_and_nulls(
    columns: Sequence[Column], batch: pa.RecordBatch | None, serialization: str
) -> tuple[Column, ...]:
    """Adapt declared types to what VOTable can carry and to what the first batch holds.

    Text that is not ASCII turns ``char`` into ``unicodeChar``; a value longer than the declared length turns the length
    into ``*``; an array of strings gets a real width. In the binary serializations ``bit`` becomes ``boolean`` where
    clients fail on it (STIL on a single bit, astropy on variable arrays) or where BINARY could not express null. For
    the same reason ``unsignedByte`` becomes ``short`` in BINARY. The integer for null is no value of the first batch.
    """
    columns = tuple(columns)
    fitted = list(columns)
    for number in _find_or_create_encoding_plan(columns, serialization).varying_numbers:
        column = columns[number]
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            kind = _adapt_text_type(kind, batch.column(number) if batch is not None else None)
        elif kind.datatype == "bit" and _is_written_as_boolean(kind, serialization):
            kind = ColumnType("boolean", kind.arraysize, kind.xtype)
        elif (
            serialization == "BINARY"
            and kind == _BYTE_TYPE
            and not column.required
            and votable_document.choose_null_value(column, serialization) is None
        ):
            kind = _SHORT_TYPE
        if kind is column.type:
            fitted_column = column
        else:
            fitted_column = column.copy_with(type=kind)
        is_integer = kind.datatype in votable_document.INTEGER_LIMITS
        if is_integer and batch is not None:
            fitted[number] = _replace_used_null_value(fitted_column, batch.column(number), serialization)
        else:
            fitted[number] = fitted_column
    if all(map(is_, fitted, columns)):
        return columns
    return tuple(fitted)


class ColumnEncodingPlan(NamedTuple):
    """What is known about the columns of an answer, whatever its rows are.

    Attributes
    ----------
    varying_numbers
        Numbers of the columns that `adapt_column_types_and_nulls` must look at.
    encoder, check_batch
        Encoder and check for the columns as they are.
    """

    columns: tuple[Column, ...]
    varying_numbers: tuple[int, ...]
    encoder: tabledata_writer.TabledataEncoder | binary_writer.VotableBinaryEncoder
    check_batch: Callable[[pa.RecordBatch], None] | None


_column_plan_cache: LruCache[ColumnEncodingPlan] = LruCache(MAX_CACHE_BYTES, MAX_CACHE_BYTES // 4)


def _find_or_create_encoding_plan(columns: tuple[Column, ...], serialization: str) -> ColumnEncodingPlan:
    """Analyse the columns of a plan once; answers of one row take half the time then."""
    key = (id(columns), serialization)
    column_plan = _column_plan_cache.find(key)
    if column_plan is None:  # an entry keeps its columns alive, so that no other ones have its id
        column_plan = _create_encoding_plan(columns, serialization)
        _column_plan_cache.store(key, column_plan, CACHED_COLUMN_BYTES * len(columns))
    return column_plan


def _create_encoding_plan(columns: tuple[Column, ...], serialization: str) -> ColumnEncodingPlan:
    varying = []
    for number, column in enumerate(columns):
        kind = column.type
        is_adaptable = kind.datatype in {"char", "unicodeChar", "bit"} or kind == _BYTE_TYPE
        if is_adaptable or votable_document.choose_null_value(column, serialization) is not None:
            varying.append(number)
    encoder: tabledata_writer.TabledataEncoder | binary_writer.VotableBinaryEncoder
    if serialization == "TABLEDATA":
        encoder = tabledata_writer.TabledataEncoder(columns, serialization)
    else:
        encoder = binary_writer.VotableBinaryEncoder(columns, serialization)
    return ColumnEncodingPlan(columns, tuple(varying), encoder, _create_null_value_check(columns, serialization))


def _is_written_as_boolean(column_type: ColumnType, serialization: str) -> bool:
    if serialization != "BINARY2":
        return serialization == "BINARY"
    return column_type.arraysize is None or None in column_type.shape


def _adapt_text_type(column_type: ColumnType, array: pa.Array | None) -> ColumnType:
    if column_type.is_timestamp:
        if column_type.arraysize == "*" and column_type.datatype == "char":
            return column_type
        return ColumnType("char", "*", column_type.xtype)
    values = None
    if array is not None:
        values = literal.cast_to_storage_type(array, column_type)
        if pa.types.is_nested(values.type):
            values = literal.flatten_lists(values)[1]
    datatype = column_type.datatype
    if values is not None and datatype == "char" and not bytes(literal.view_column_bytes(values)).isascii():
        datatype = "unicodeChar"
    size = _choose_text_arraysize(column_type, values)
    if (datatype, size) == (column_type.datatype, column_type.arraysize):
        return column_type
    return ColumnType(datatype, size, column_type.xtype)


def _choose_text_arraysize(column_type: ColumnType, values: pa.Array | None) -> str | None:
    """Choose the arraysize for the strings of the first batch."""
    size = column_type.arraysize or ""
    shape = column_type.shape
    has_several_strings = "x" in size
    if has_several_strings and shape[0] is not None:
        return column_type.arraysize
    if not has_several_strings and shape == (None,):  # the length of the strings does not matter
        return column_type.arraysize
    longest = 0
    if values is not None and len(values):
        longest = pc.max(pc.utf8_length(values)).as_py() or 0
    if has_several_strings:
        other_lengths = size.split("x")[1:]
        return "x".join([str(choose_text_width(longest)), *other_lengths])
    declared_length = 1
    if shape:
        declared_length = shape[0] or 1
    if longest > declared_length:
        return "*"
    return column_type.arraysize


# --- integers for null (VOTable 1.4 section 4.7) ---------------------------------------------------------------------
# A number that is a value must not be chosen, and no later value may equal the chosen number.


def _replace_used_null_value(column: Column, array: pa.Array, serialization: str) -> Column:
    """Choose another number for null if the first batch holds the usual one as a value."""
    null_value = votable_document.choose_null_value(column, serialization)
    if null_value is None:
        return column
    values = _flatten_non_null_values(array, column)
    if not len(values) or not np.any(values == int(null_value)):
        return column
    lowest, highest = votable_document.INTEGER_LIMITS[column.type.datatype]
    for first, step in ((lowest, 1), (highest, -1)):
        candidate_count = min(len(values) + 1, highest - lowest + 1)
        candidates = [first + step * number for number in range(candidate_count)]
        unused_numbers = np.setdiff1d(candidates, values)
        if len(unused_numbers):
            if step > 0:
                nearest = unused_numbers[0]
            else:
                nearest = unused_numbers[-1]
            return column.copy_with(null=str(nearest))
    return column  # every value of the type occurs: the check of batches reports it


def _create_null_value_check(columns: Sequence[Column], serialization: str) -> Callable[[pa.RecordBatch], None] | None:
    """Create a check of batches; return None if no column has a number that stands for null.

    Raises
    ------
    DataError
        A value equals the null of its FIELD, which was sent already: readers would take it for null.
    """
    checked_columns = []
    for number, column in enumerate(columns):
        null_value = votable_document.choose_null_value(column, serialization)
        if null_value is not None:
            checked_columns.append((number, column, int(null_value)))

    if not checked_columns:
        return None

    def check_batch(batch: pa.RecordBatch) -> None:
        for number, column, null in checked_columns:
            if np.any(_flatten_non_null_values(batch.column(number), column) == null):
                message = f"column {column.name!r} contains the value {null}, which means null in this document"
                if column.type.is_array:
                    remedy = "request a different format, such as csv or parquet"
                else:
                    remedy = "use BINARY2 or TABLEDATA"
                raise DataError(message, remedy=remedy)

    return check_batch


def _flatten_non_null_values(array: pa.Array, column: Column) -> np.ndarray[Any, Any]:
    array = literal.cast_to_storage_type(array, column.type)
    if pa.types.is_nested(array.type):
        values = literal.flatten_lists(array)[1]
    else:
        values = array
    return np.asarray(values.drop_null().to_numpy(zero_copy_only=False))
