"""The VOTable writer: head, rows as they come, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable import binary_writer, null_values, tabledata_writer
from hven.formats.votable import document as votable_document
from hven.formats.votable.xml import is_ascii
from hven.model import Cache, literal
from hven.model.errors import HvenError, UserError
from hven.model.types import Type, choose_text_width

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
MAX_CACHE_BYTES, CACHED_COLUMN_BYTES = 2 * 1024**2, 1000  # bytes of what is kept about columns, and of one, about
_BYTE_TYPE, _SHORT_TYPE = Type("unsignedByte"), Type("short")


def write_votable(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],
) -> Iterator[bytes]:
    """Write a document as it comes.

    Parameters
    ----------
    options
        ``serialization``: TABLEDATA, BINARY or BINARY2 (the default), in any case. ``version``: 1.4 (the default) or
        1.5. ``namespace``: 1.1 to 1.5, for clients that read the namespace of that version alone. ``strings``:
        ``array`` (the default, as the standard has arrays of strings) or ``json``, a text that is a JSON list, for
        clients that read no ``char`` field of several dimensions (astropy, pyvo).

    Raises
    ------
    UserError
        Before the first byte: the serialization is not one of the three. Errors of the first batch pass through too;
        later ones become QUERY_STATUS=ERROR after the table, and the document is valid.
    """
    serialization = options.get("serialization", DEFAULT_SERIALIZATION).upper()
    if serialization not in SERIALIZATIONS:
        message = f"VOTable serialization {serialization!r} is not written"
        raise UserError(message, remedy=f"known: {', '.join(SERIALIZATIONS)}")
    batches = literal.split_first_batch(batches)
    declared_columns = metadata.columns
    if options.get("strings", "").lower() == "json":
        declared_columns, batches = write_string_arrays_as_json(declared_columns, batches)
    batch = next(batches, None)
    columns = fit_columns(declared_columns, batch, serialization)
    if columns:
        opening, closing = SERIALIZATIONS[serialization]
    else:
        opening, closing = ("", "")
    version = options.get("version", votable_document.DEFAULT_VERSION)
    namespace = options.get("namespace")
    start = (
        votable_document.write_document_start(metadata, columns, serialization, version, namespace) + opening
    ).encode()
    column_plan = _column_plan_cache.find((id(columns), serialization))  # if `fit_columns` has changed nothing
    if column_plan is None:
        encoder, check = _create_encoder(columns, serialization)
    else:
        encoder, check = (column_plan.encoder, column_plan.check_batch)
    if serialization == "TABLEDATA":
        base64_encoder = None
    else:
        base64_encoder = binary_writer.Base64Encoder()
    failure = None
    try:
        while batch is not None:
            check(batch)
            for piece in encoder.encode_batch(batch):
                if base64_encoder is None:
                    yield start + piece if start else bytes(piece)
                else:
                    yield start + b"".join(base64_encoder.encode(piece))
                start = b""
            if start:
                yield start
                start = b""
            batch = next(batches, None)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    if base64_encoder is not None:
        base64_tail = base64_encoder.finish()
    else:
        base64_tail = b""
    yield (
        start
        + base64_tail
        + (closing + votable_document.write_document_end(metadata, _write_trailing_status(finish(), failure))).encode()
    )


def write_small_votable(
    metadata: TableMetadata, rows: Sequence[tuple[Any, ...]], options: Mapping[str, str]
) -> bytes | None:
    """Write a document of a few rows of plain numbers and text, without Arrow: the same bytes; None for any others."""
    columns = metadata.columns
    if (
        options.get("serialization", DEFAULT_SERIALIZATION).upper() != DEFAULT_SERIALIZATION
        or not {"version", "namespace", "strings"}.isdisjoint(options)
        or not isinstance(columns, tuple)
    ):
        return None
    encoder = _analyse_columns(columns, DEFAULT_SERIALIZATION).encoder
    if isinstance(encoder, binary_writer.BinaryEncoder):
        cells = encoder.encode_small_rows(rows)
    else:
        cells = None
    if cells is None:
        return None
    opening, closing = SERIALIZATIONS[DEFAULT_SERIALIZATION]
    base64_encoder = binary_writer.Base64Encoder()
    lines = b"".join(base64_encoder.encode(memoryview(cells))) + base64_encoder.finish()
    return (
        (votable_document.write_document_start(metadata, columns, DEFAULT_SERIALIZATION) + opening).encode()
        + lines
        + (closing + votable_document.write_document_end(metadata, "")).encode()
    )


def write_string_arrays_as_json(
    columns: Sequence[Column], batches: Iterator[pa.RecordBatch]
) -> tuple[Sequence[Column], Iterator[pa.RecordBatch]]:
    """Declare arrays of strings as text, and write each as a JSON list.

    Parameters
    ----------
    columns
        Of the answer.
    batches
        Of its rows.

    Returns
    -------
    columns, batches
        The same, where no column is an array of strings.
    """
    column_numbers = [number for number, column in enumerate(columns) if is_string_array(column.type)]
    if not column_numbers:
        return columns, batches
    json_columns = list(columns)
    for number in column_numbers:
        json_columns[number] = columns[number].copy_with(type=Type(columns[number].type.datatype, "*"))

    def convert_batches() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            arrays = list(batch.columns)
            for number in column_numbers:
                kind = columns[number].type
                arrays[number] = literal.format_column(literal.cast_to_storage(arrays[number], kind), kind)
            yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    return tuple(json_columns), convert_batches()


def is_string_array(column_type: Type) -> bool:
    """Tell whether a column holds several strings in a cell: ``char`` of several dimensions."""
    return column_type.datatype in {"char", "unicodeChar"} and "x" in (column_type.arraysize or "")


def _write_trailing_status(result_status: ResultStatus, failure: Exception | None) -> str:
    if failure is not None or result_status.error_message is not None:
        return votable_document.write_query_status(
            "ERROR", result_status.error_message or str(failure) or "the service failed while writing"
        )
    if result_status.overflow:
        return votable_document.write_query_status("OVERFLOW")
    return ""


def write_error(message: str) -> bytes:
    """Write an error document."""
    return votable_document.write_error_document(message).encode()


def write_metadata_document(metadata: TableMetadata, result_status: ResultStatus) -> str:
    """Write a document whose table has no DATA: what other formats carry along."""
    columns = fit_columns(metadata.columns, None, DEFAULT_SERIALIZATION)
    version = votable_document.choose_version(metadata.frames)
    return votable_document.write_document_start(
        metadata, columns, DEFAULT_SERIALIZATION, version
    ) + votable_document.write_document_end(metadata, _write_trailing_status(result_status, None))


def fit_columns(columns: Sequence[Column], batch: pa.RecordBatch | None, serialization: str) -> tuple[Column, ...]:
    """Adapt declared types to what VOTable can carry and to what the first batch holds.

    Text that is not ASCII makes ``unicodeChar`` of ``char``; a value longer than the declared length makes it ``*``; an
    array of strings gets a real width. In the binary serializations ``bit`` becomes ``boolean`` where clients fail on
    it (STIL on a single bit, astropy on variable arrays) or where BINARY could not say null, and so does BINARY's
    ``unsignedByte`` become ``short``. A whole number stands for null that is no value of the first batch.
    """
    columns = tuple(columns)
    fitted = list(columns)
    for number in _analyse_columns(columns, serialization).varying_numbers:
        column = columns[number]
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            kind = _fit_text_type(kind, None if batch is None else batch.column(number))
        elif kind.datatype == "bit" and _is_written_as_boolean(kind, serialization):
            kind = Type("boolean", kind.arraysize, kind.xtype)
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
            fitted[number] = null_values.choose_column_null(fitted_column, batch.column(number), serialization)
        else:
            fitted[number] = fitted_column
    if all(new is old for new, old in zip(fitted, columns, strict=True)):
        return columns
    return tuple(fitted)


class ColumnPlan(NamedTuple):
    """What is known of the columns of an answer whatever its rows are.

    Attributes
    ----------
    varying_numbers
        Numbers of those that `fit_columns` must look at.
    encoder, check_batch
        Encoder and check for the columns as they are.
    """

    columns: tuple[Column, ...]
    varying_numbers: tuple[int, ...]
    encoder: tabledata_writer.TabledataEncoder | binary_writer.BinaryEncoder
    check_batch: Callable[[pa.RecordBatch], None]


_column_plan_cache: Cache[ColumnPlan] = Cache(MAX_CACHE_BYTES, MAX_CACHE_BYTES // 4)


def _analyse_columns(columns: tuple[Column, ...], serialization: str) -> ColumnPlan:
    """Analyse a plan's columns, once: one-row answers cost half as much then."""
    key = (id(columns), serialization)
    column_plan = _column_plan_cache.find(key)
    if column_plan is None:  # an entry keeps its columns alive, so that no other ones have its id
        varying = tuple(
            number
            for number, column in enumerate(columns)
            if column.type.datatype in {"char", "unicodeChar", "bit"}
            or column.type == _BYTE_TYPE
            or votable_document.choose_null_value(column, serialization) is not None
        )
        column_plan = ColumnPlan(columns, varying, *_create_encoder(columns, serialization))
        _column_plan_cache.store(key, column_plan, CACHED_COLUMN_BYTES * len(columns))
    return column_plan


def _create_encoder(
    columns: tuple[Column, ...], serialization: str
) -> tuple[tabledata_writer.TabledataEncoder | binary_writer.BinaryEncoder, Callable[[pa.RecordBatch], None]]:
    encoder_class = tabledata_writer.TabledataEncoder if serialization == "TABLEDATA" else binary_writer.BinaryEncoder
    return encoder_class(columns, serialization), null_values.create_null_check(columns, serialization)


def _is_written_as_boolean(column_type: Type, serialization: str) -> bool:
    return serialization == "BINARY" or (
        serialization == "BINARY2" and (column_type.arraysize is None or None in column_type.shape)
    )


def _fit_text_type(column_type: Type, array: pa.Array | None) -> Type:
    if column_type.is_timestamp:
        if column_type.arraysize == "*" and column_type.datatype == "char":
            return column_type
        return Type("char", "*", column_type.xtype)
    if array is None:
        array = None
    else:
        array = literal.cast_to_storage(array, column_type)
    if array is None:
        values = None
    elif pa.types.is_nested(array.type):
        values = literal.flatten_lists(array)[1]
    else:
        values = array
    datatype = column_type.datatype
    size = column_type.arraysize
    if values is not None and datatype == "char" and not is_ascii(values):
        datatype = "unicodeChar"
    shape = column_type.shape
    if "x" in (size or ""):
        if shape[0] is None:
            if values is None or not len(values):
                longest = 0
            else:
                longest = pc.max(pc.utf8_length(values)).as_py() or 0
            size = "x".join([str(choose_text_width(longest)), *(size or "").split("x")[1:]])
    elif values is not None and shape != (None,) and len(values):
        longest = pc.max(pc.utf8_length(values)).as_py() or 0
        if longest > (1 if not shape else shape[0] or 1):
            size = "*"
    if (datatype, size) == (column_type.datatype, column_type.arraysize):
        return column_type
    return Type(datatype, size, column_type.xtype)
