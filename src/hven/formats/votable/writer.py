"""The VOTable writer: head, rows as they come, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable import binary, nulls, tabledata
from hven.formats.votable import head as heads
from hven.formats.votable.xml import is_ascii
from hven.model import Cache, literal
from hven.model.errors import HvenError, UserError
from hven.model.types import Type, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import End, Head
    from hven.model.table import Column

SERIALIZATIONS = {
    "TABLEDATA": ("<DATA><TABLEDATA>\n", "</TABLEDATA></DATA>\n"),
    "BINARY": ('<DATA><BINARY><STREAM encoding="base64">\n', "</STREAM></BINARY></DATA>\n"),
    "BINARY2": ('<DATA><BINARY2><STREAM encoding="base64">\n', "</STREAM></BINARY2></DATA>\n"),
}
DEFAULT = "BINARY2"
KEPT, COLUMN = 2 * 1024**2, 1000  # bytes of what is kept about columns, and of one, about
_BYTE, _SHORT = Type("unsignedByte"), Type("short")


def write(
    head: Head, batches: Iterator[pa.RecordBatch], end: Callable[[], End], options: Mapping[str, str]
) -> Iterator[bytes]:
    """Write a document as it comes.

    Parameters
    ----------
    options
        ``serialization``: TABLEDATA, BINARY or BINARY2 (the default), in any case. ``version``: 1.4 (the default) or 1.5. ``namespace``:
        1.1 to 1.5, for clients that read the namespace of that version alone. ``strings``: ``array`` (the default, as the standard has arrays of strings)
        or ``json``, a text that is a JSON list, for clients that read no ``char`` field of several dimensions (astropy, pyvo).

    Raises
    ------
    UserError
        Before the first byte: the serialization is not one of the three. Errors of the first batch pass through too;
        later ones become QUERY_STATUS=ERROR after the table, and the document is valid.
    """
    serialization = options.get("serialization", DEFAULT).upper()
    if serialization not in SERIALIZATIONS:
        message = f"VOTable serialization {serialization!r} is not written"
        raise UserError(message, remedy=f"known: {', '.join(SERIALIZATIONS)}")
    batches = literal.early(batches)
    declared = head.columns
    if options.get("strings", "").lower() == "json":
        declared, batches = write_string_arrays_as_json(declared, batches)
    batch = next(batches, None)
    columns = fit(declared, batch, serialization)
    opening, closing = SERIALIZATIONS[serialization] if columns else ("", "")
    version, namespace = options.get("version", heads.VERSION), options.get("namespace")
    start = (heads.before(head, columns, serialization, version, namespace) + opening).encode()
    known = _knowledge.find((id(columns), serialization))  # if `fit` has changed nothing
    rows, check = _encoding(columns, serialization) if known is None else (known.rows, known.check)
    encoded = None if serialization == "TABLEDATA" else binary.Base64()
    failure = None
    try:
        while batch is not None:
            check(batch)
            for piece in rows.encode(batch):
                if encoded is None:
                    yield start + piece if start else bytes(piece)
                else:
                    yield start + b"".join(encoded.feed(piece))
                start = b""
            if start:
                yield start
                start = b""
            batch = next(batches, None)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    tail = encoded.finish() if encoded is not None else b""
    yield start + tail + (closing + heads.after(head, _trailing(end(), failure))).encode()


def at_once(head: Head, rows: Sequence[tuple[Any, ...]], options: Mapping[str, str]) -> bytes | None:
    """Write a document of a few rows of plain numbers and text, without Arrow: the same bytes; None for any others."""
    columns = head.columns
    if (
        options.get("serialization", DEFAULT).upper() != DEFAULT
        or not {"version", "namespace", "strings"}.isdisjoint(options)
        or not isinstance(columns, tuple)
    ):
        return None
    encoder = _known(columns, DEFAULT).rows
    cells = encoder.cells(rows) if isinstance(encoder, binary.Rows) else None
    if cells is None:
        return None
    opening, closing = SERIALIZATIONS[DEFAULT]
    encoded = binary.Base64()
    lines = b"".join(encoded.feed(memoryview(cells))) + encoded.finish()
    return (
        (heads.before(head, columns, DEFAULT) + opening).encode() + lines + (closing + heads.after(head, "")).encode()
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
    places = [number for number, column in enumerate(columns) if is_string_array(column.type)]
    if not places:
        return columns, batches
    changed = list(columns)
    for number in places:
        changed[number] = columns[number].having(type=Type(columns[number].type.datatype, "*"))

    def convert() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            arrays = list(batch.columns)
            for number in places:
                kind = columns[number].type
                arrays[number] = literal.text(literal.storage(arrays[number], kind), kind)
            yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    return tuple(changed), convert()


def is_string_array(kind: Type) -> bool:
    """Tell whether a column holds several strings in a cell: ``char`` of several dimensions."""
    return kind.datatype in {"char", "unicodeChar"} and "x" in (kind.arraysize or "")


def _trailing(end: End, failure: Exception | None) -> str:
    if failure is not None or end.error is not None:
        return heads.status("ERROR", end.error or str(failure) or "the service failed while writing")
    return heads.status("OVERFLOW") if end.overflow else ""


def write_error(message: str) -> bytes:
    """Write an error document."""
    return heads.error(message).encode()


def metadata(head: Head, end: End) -> str:
    """Write a document whose table has no DATA: what other formats carry along."""
    columns = fit(head.columns, None, DEFAULT)
    return heads.before(head, columns, DEFAULT, heads.needed(head.frames)) + heads.after(head, _trailing(end, None))


def fit(columns: Sequence[Column], batch: pa.RecordBatch | None, serialization: str) -> tuple[Column, ...]:
    """Adapt declared types to what VOTable can carry and to what the first batch holds.

    Text that is not ASCII makes ``unicodeChar`` of ``char``; a value longer than the declared length makes it ``*``; an
    array of strings gets a real width. In the binary serializations ``bit`` becomes ``boolean`` where clients fail on it
    (STIL on a single bit, astropy on variable arrays) or where BINARY could not say null, and so does BINARY's
    ``unsignedByte`` become ``short``. A whole number stands for null that is no value of the first batch.
    """
    columns = tuple(columns)
    fitted = list(columns)
    for number in _known(columns, serialization).varying:
        column = columns[number]
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            kind = _fit_text(kind, None if batch is None else batch.column(number))
        elif kind.datatype == "bit" and _no_bits(kind, serialization):
            kind = Type("boolean", kind.arraysize, kind.xtype)
        elif (
            serialization == "BINARY"
            and kind == _BYTE
            and not column.required
            and heads.magic(column, serialization) is None
        ):
            kind = _SHORT
        fitting = column if kind is column.type else column.having(type=kind)
        whole = kind.datatype in heads.LIMITS
        fitted[number] = (
            nulls.fit(fitting, batch.column(number), serialization) if whole and batch is not None else fitting
        )
    return columns if all(new is old for new, old in zip(fitted, columns, strict=True)) else tuple(fitted)


class Known(NamedTuple):
    """What is known of the columns of an answer whatever its rows are.

    Attributes
    ----------
    varying
        Numbers of those that `fit` must look at.
    rows, check
        Encoder and check for the columns as they are.
    """

    columns: tuple[Column, ...]
    varying: tuple[int, ...]
    rows: tabledata.Rows | binary.Rows
    check: Callable[[pa.RecordBatch], None]


_knowledge: Cache[Known] = Cache(KEPT, KEPT // 4)


def _known(columns: tuple[Column, ...], serialization: str) -> Known:
    """Analyse a plan's columns, once: one-row answers cost half as much then."""
    key = (id(columns), serialization)
    found = _knowledge.find(key)
    if found is None:  # an entry keeps its columns alive, so that no other ones have its id
        varying = tuple(
            number
            for number, column in enumerate(columns)
            if column.type.datatype in {"char", "unicodeChar", "bit"}
            or column.type == _BYTE
            or heads.magic(column, serialization) is not None
        )
        found = Known(columns, varying, *_encoding(columns, serialization))
        _knowledge.keep(key, found, COLUMN * len(columns))
    return found


def _encoding(
    columns: tuple[Column, ...], serialization: str
) -> tuple[tabledata.Rows | binary.Rows, Callable[[pa.RecordBatch], None]]:
    kind = tabledata.Rows if serialization == "TABLEDATA" else binary.Rows
    return kind(columns, serialization), nulls.checked(columns, serialization)


def _no_bits(kind: Type, serialization: str) -> bool:
    return serialization == "BINARY" or (serialization == "BINARY2" and (kind.arraysize is None or None in kind.shape))


def _fit_text(kind: Type, array: pa.Array | None) -> Type:
    if kind.is_timestamp:
        return kind if kind.arraysize == "*" and kind.datatype == "char" else Type("char", "*", kind.xtype)
    array = None if array is None else literal.storage(array, kind)
    values = None if array is None else literal.flat(array)[1] if pa.types.is_nested(array.type) else array
    datatype, size = kind.datatype, kind.arraysize
    if values is not None and datatype == "char" and not is_ascii(values):
        datatype = "unicodeChar"
    shape = kind.shape
    if "x" in (size or ""):
        if shape[0] is None:
            longest = 0 if values is None or not len(values) else (pc.max(pc.utf8_length(values)).as_py() or 0)
            size = "x".join([str(width(longest)), *(size or "").split("x")[1:]])
    elif values is not None and shape != (None,) and len(values):
        longest = pc.max(pc.utf8_length(values)).as_py() or 0
        if longest > (1 if not shape else shape[0] or 1):
            size = "*"
    return kind if (datatype, size) == (kind.datatype, kind.arraysize) else Type(datatype, size, kind.xtype)
