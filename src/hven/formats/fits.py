"""FITS binary table (FITS 4.0 section 7.3).

The header of a binary table says how many rows follow and how long its longest string is: nobody knows that while a
query still runs. So the primary HDU leaves at once, the batches are spooled (in memory, beyond 32 MiB on disk) while
counts, lengths and ranges are noted, and at the end the table goes out in one pass over the spool. Memory stays flat.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats import Format
from hven.model import literal
from hven.model.deadlines import check_deadline
from hven.model.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.table import Column

    Array = np.ndarray[Any, Any]

BLOCK_BYTES = 2880
_MAX_SPOOL_MEMORY_BYTES = 32 << 20
_MAX_COLUMNS = 999  # FITS 4.0 section 7.3.1: TFIELDS
_INTEGER_LIMITS = {"B": (0, 255), "I": (-(2**15), 2**15 - 1), "J": (-(2**31), 2**31 - 1), "K": (-(2**63), 2**63 - 1)}
_WIDER_LETTERS = {"B": "I", "I": "J", "J": "K"}
_NUMPY_TYPES = {
    "L": "u1",
    "B": "u1",
    "I": ">i2",
    "J": ">i4",
    "K": ">i8",
    "E": ">f4",
    "D": ">f8",
    "C": ">f4",
    "M": ">f8",
}
_CONTROL_BYTES = re.compile(rb"[\x00-\x1f\x7f]")
_NON_PRINTABLE_BYTES = bytes([*range(0x20), *range(0x7F, 0x100)])
_MAX_NULL_CANDIDATES = 4096  # numbers that are tried for TNULL where both ends of the range are values
_MAX_REPLACED_LETTERS = 64  # different characters that are looked up one by one; beyond them all become "?"
_MAX_INLINE_STRING_BYTES = 256  # strings whose longest has more bytes than this go to the heap


@dataclass(slots=True)
class _ColumnLayout:
    """What is noted about a column while its batches pass, and then how it is laid out."""

    column: Column
    letter: str
    longest: int = 0  # bytes of a string, or items of an array
    items: int = 0  # strings of an array of strings
    lowest: int | None = None
    highest: int | None = None
    has_nulls: bool = False
    replaced_count: int = 0
    null_value: int | None = None
    is_in_heap: bool = False
    dtype: Any = None
    tform: str = ""
    tdim: str = ""


def write_fits(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write a primary HDU and one binary table.

    Strings get the width of the longest; from 256 bytes on, and arrays of variable length always, they go to the heap.
    FITS text is ASCII: other characters become their plain letter or ``?``, and a COMMENT says so. A null boolean is a
    zero byte, a null whole number a TNULL that does not occur (the column is widened if it must be).
    A late error passes through after the primary HDU: there is no table then.

    Raises
    ------
    TooLargeError
        More than 999 columns.
    """
    if len(metadata.columns) > _MAX_COLUMNS:
        message = f"FITS holds at most {_MAX_COLUMNS} columns, the table has {len(metadata.columns)}"
        raise TooLargeError(message, remedy="ask for fewer columns, or for another format")
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in metadata.columns])
    plans = [_ColumnLayout(column, column.type.scalar.fits) for column in metadata.columns]
    with tempfile.SpooledTemporaryFile(max_size=_MAX_SPOOL_MEMORY_BYTES) as spool:
        rows = 0
        has_started = False
        stream = pa.ipc.new_stream(pa.PythonFile(spool, "w"), schema)
        for batch in batches:
            if not has_started:
                yield _write_primary_header()
                has_started = True
            arrays = [_cast_and_measure_column(batch.column(number), plan) for number, plan in enumerate(plans)]
            stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows += batch.num_rows
        stream.close()
        if not has_started:
            yield _write_primary_header()
        overflow = finish().overflow
        for number, plan in enumerate(plans):
            _decide_layout(plan, partial(_find_unused_number, spool, number))
        yield from _write_table(metadata, plans, rows, overflow=overflow, spool=spool)


def _cast_and_measure_column(array: pa.Array, plan: _ColumnLayout) -> pa.Array:
    """Convert a column to storage form and note what the header will have to say."""
    kind = plan.column.type
    array = literal.cast_to_storage(array, kind)
    if None not in kind.shape:  # in the heap a null cell has no elements; astropy.table cannot read TNULL there
        plan.has_nulls = plan.has_nulls or array.null_count > 0
    if kind.is_timestamp:
        if len(array):
            plan.longest = 26
        return array
    values = array
    if pa.types.is_nested(array.type):
        offsets, values = literal.flatten_lists(literal.to_variable_lists(array))
        lengths = np.diff(offsets)
        plan.items = max(plan.items, int(lengths.max()) if len(lengths) else 0)
        plan.has_nulls = plan.has_nulls or values.null_count > 0
    if pa.types.is_string(values.type):
        ascii_text, replaced = _convert_to_ascii(values)
        plan.replaced_count += replaced
        longest = pc.max(pc.binary_length(ascii_text)).as_py() or 0
        plan.longest = max(plan.longest, longest)
        if pa.types.is_nested(array.type):
            return array
        return ascii_text
    if pa.types.is_integer(values.type) and len(values) > values.null_count:
        span = pc.min_max(values).as_py()
        if plan.lowest is None:
            plan.lowest = span["min"]
        else:
            plan.lowest = min(plan.lowest, span["min"])
        if plan.highest is None:
            plan.highest = span["max"]
        else:
            plan.highest = max(plan.highest, span["max"])
    return array


def _convert_to_ascii(array: pa.Array) -> tuple[pa.Array, int]:
    """Write text in ASCII; return the number of characters that had to be replaced."""
    data = bytes(literal.view_bytes(array))
    if data.isascii() and not _CONTROL_BYTES.search(data):
        return array, 0
    text = data.decode()
    replaced = len(text) - len(data.translate(None, _NON_PRINTABLE_BYTES))
    array = pc.replace_substring_regex(array, r"[\t\r\n]", " ")
    other_characters = sorted({mark for mark in text if mark > "~"})
    for mark in other_characters if len(other_characters) <= _MAX_REPLACED_LETTERS else ():
        array = pc.replace_substring(array, mark, _find_plain_letter(mark))
    return pc.replace_substring_regex(array, r"[^ -~]", "?"), replaced


def _find_plain_letter(mark: str) -> str:
    """Replace an accented letter by its plain one, else ``?``."""
    return "".join(part for part in unicodedata.normalize("NFKD", mark) if part.isascii()) or "?"


def _decide_layout(plan: _ColumnLayout, find_unused: Callable[[], int | None]) -> None:
    """Decide on TFORM, TDIM, TNULL and the numpy form of a column.

    `find_unused` finds a number that its rows do not hold.
    """
    kind = plan.column.type
    if kind.arraysize is not None:
        size = int(np.prod([length or 1 for length in kind.shape]))
    else:
        size = 1
    if kind.datatype in {"char", "unicodeChar"} and "x" in (kind.arraysize or ""):
        width = max(plan.longest, kind.shape[0] or 1)
        count = max(plan.items, 1)
        plan.tform = f"{width * count}A"
        plan.tdim = f"({width},{count})"
        plan.dtype = (f"S{width}", (count,))
    elif kind.datatype in {"char", "unicodeChar"}:
        if kind.shape and not kind.is_timestamp:
            declared = kind.shape[0]
        else:
            declared = None
        width = max(plan.longest, declared or 1)
        plan.is_in_heap = width > _MAX_INLINE_STRING_BYTES and declared is None
        if plan.is_in_heap:
            plan.tform, plan.dtype = ("1QA", (">i8", (2,)))
        else:
            plan.tform, plan.dtype = (f"{width}A", (f"S{width}", ()))
    elif kind.datatype == "bit" and not plan.has_nulls and None not in kind.shape:
        plan.tform = f"{size}X"
        plan.dtype = ("u1", ((size + 7) // 8,))
    else:
        if plan.letter == "X":
            letter = "L"
        else:
            letter = plan.letter
        plan.letter = letter = _choose_tnull(plan, letter, find_unused)
        if letter in {"C", "M"}:
            per = 2
        else:
            per = 1
        if None in kind.shape:
            plan.is_in_heap = True
            plan.tform = f"1Q{letter}"
            plan.dtype = (">i8", (2,))
        else:
            plan.tform = f"{size}{letter}"
            plan.dtype = (_NUMPY_TYPES[letter], (size * per,))
            if len(kind.shape) > 1:
                plan.tdim = f"({','.join(str(length) for length in kind.shape)})"


def _choose_tnull(plan: _ColumnLayout, letter: str, find_unused: Callable[[], int | None]) -> str:
    """Find a whole number that does not occur; widen the column if its type has none left."""
    if not plan.has_nulls or letter not in _INTEGER_LIMITS:
        return letter
    lowest, highest = _INTEGER_LIMITS[letter]
    if plan.lowest is None:
        low = highest
    else:
        low = plan.lowest
    if plan.highest is None:
        high = lowest
    else:
        high = plan.highest
    declared_null = plan.column.null
    if (
        declared_null is not None
        and declared_null.lstrip("-").isdigit()
        and lowest <= int(declared_null) <= highest
        and not low <= int(declared_null) <= high
    ):
        plan.null_value = int(declared_null)
    elif low > lowest:
        plan.null_value = lowest
    elif high < highest:
        plan.null_value = highest
    elif letter in _WIDER_LETTERS:
        return _choose_tnull(plan, _WIDER_LETTERS[letter], find_unused)
    else:
        plan.null_value = find_unused()
        if plan.null_value is None:
            message = (
                f"column {plan.column.name!r} holds nulls, and so many values of the 64-bit range that none was "
                f"found for TNULL"
            )
            raise TooLargeError(message, remedy="ask for another format")
    return letter


def _find_unused_number(spool: Any, number: int) -> int | None:
    """Find a 64-bit number that a column does not hold, among some near the lowest."""
    unused_numbers = _INTEGER_LIMITS["K"][0] + 1 + np.arange(_MAX_NULL_CANDIDATES)
    for batch in _read_spooled_batches(spool):
        array = batch.column(number)
        if pa.types.is_nested(array.type):
            values = literal.flatten_lists(array)[1]
        else:
            values = array
        unused_numbers = np.setdiff1d(unused_numbers, values.drop_null().to_numpy(zero_copy_only=False))
    if len(unused_numbers):
        return int(unused_numbers[0])
    return None


# -- bytes


def _write_primary_header() -> bytes:
    return _write_header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])


def _write_header(cards: Sequence[tuple[str, object]]) -> bytes:
    from astropy.io.fits import Card, Header  # noqa: PLC0415  (a second to load, asked by few)

    header = Header()
    for name, value in cards:
        header.append(Card(name, value), end=True)
    return bytes(header.tostring(sep="", endcard=True, padding=True).encode("ascii"))


def _replace_non_ascii(text: str) -> str:
    if text.isascii():
        ascii_text = text
    else:
        ascii_text = "".join(mark if mark.isascii() else _find_plain_letter(mark) for mark in text)
    return "".join(mark if " " <= mark <= "~" else " " for mark in ascii_text)


def _write_table(
    metadata: TableMetadata, plans: Sequence[_ColumnLayout], rows: int, *, overflow: bool, spool: Any
) -> Iterator[bytes]:
    record = np.dtype([(f"c{number}", *plan.dtype) for number, plan in enumerate(plans)])
    heap_size = 0
    if any(plan.is_in_heap for plan in plans):
        for batch in _read_spooled_batches(spool):
            heap_size += sum(
                len(_encode_heap(batch.column(number), plan)[0]) for number, plan in enumerate(plans) if plan.is_in_heap
            )
    cards: list[tuple[str, object]] = [
        ("XTENSION", "BINTABLE"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", record.itemsize),
        ("NAXIS2", rows),
        ("PCOUNT", heap_size),
        ("GCOUNT", 1),
        ("TFIELDS", len(plans)),
    ]
    if metadata.name:
        cards.append(("EXTNAME", _replace_non_ascii(metadata.name)))
    for number, plan in enumerate(plans, 1):
        cards += _list_column_cards(plan, number)
    if overflow:
        cards.append(("COMMENT", "QUERY_STATUS=OVERFLOW: there are more rows than these"))
    cards += [("COMMENT", _replace_non_ascii(f"{item.name}: {item.value}")) for item in metadata.infos]
    cards += [
        ("COMMENT", f"{plan.column.name}: {plan.replaced_count} characters that FITS text cannot hold were replaced")
        for plan in plans
        if plan.replaced_count
    ]
    yield _write_header(
        [(name, _replace_non_ascii(value) if isinstance(value, str) else value) for name, value in cards]
    )
    written_bytes = heap_offset = 0
    for batch in _read_spooled_batches(spool):
        if not batch.num_rows:
            continue
        records = np.zeros(batch.num_rows, record)
        for number, plan in enumerate(plans):
            heap_offset = _fill_cells(records[f"c{number}"], batch.column(number), plan, heap_offset)
        written_bytes += records.nbytes
        yield records.tobytes()
    if heap_size:
        for batch in _read_spooled_batches(spool):
            for number, plan in enumerate(plans):
                if plan.is_in_heap:
                    data = _encode_heap(batch.column(number), plan)[0]
                    written_bytes += len(data)
                    yield data
    yield b"\0" * (-written_bytes % BLOCK_BYTES)


def _read_spooled_batches(spool: Any) -> Iterator[pa.RecordBatch]:
    spool.seek(0)
    for batch in pa.ipc.open_stream(pa.PythonFile(spool, "r")):
        check_deadline()
        yield batch


def _list_column_cards(plan: _ColumnLayout, number: int) -> list[tuple[str, object]]:
    column = plan.column
    card_values: list[tuple[str, object]] = [
        ("TTYPE", column.name),
        ("TFORM", plan.tform),
        ("TDIM", plan.tdim),
        ("TUNIT", column.unit),
        ("TNULL", plan.null_value),
        ("TUCD", column.ucd),
        ("TUTYP", column.utype),
        ("TXTYP", column.type.xtype),
        ("TCOMM", column.description),
    ]
    return [(f"{name}{number}", value) for name, value in card_values if value is not None and value != ""]


def _fill_cells(target: Array, array: pa.Array, plan: _ColumnLayout, heap_offset: int) -> int:
    """Write one column's cells; return the heap's next free byte."""
    kind = plan.column.type
    if plan.is_in_heap:
        data, counts, sizes = _encode_heap(array, plan)
        target[:, 0] = counts
        if len(sizes):
            target[:, 1] = heap_offset + np.concatenate([[0], np.cumsum(sizes)[:-1]])
        else:
            target[:, 1] = 0
        return heap_offset + len(data)
    if kind.datatype in {"char", "unicodeChar"}:
        if pa.types.is_nested(array.type):
            offsets, values = literal.flatten_lists(array)
            cells = _pad_strings(_convert_to_ascii(values)[0], target.dtype.itemsize)
            counts = np.diff(offsets)
            positions = np.arange(len(values)) - np.repeat(offsets[:-1], counts)
            target[np.repeat(np.arange(len(array)), counts), positions] = cells
        else:
            target[...] = _pad_strings(
                literal.format_timestamps(array) if kind.is_timestamp else array, target.dtype.itemsize
            )
        return heap_offset
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
    else:
        null = None
    if pa.types.is_nested(array.type):
        values = literal.flatten_lists(array)[1]
    else:
        values = array
    items = _flatten_items(values, plan)
    if plan.tform.endswith("X"):
        target[...] = np.packbits(items.reshape(len(array), -1).astype(bool), axis=1)
        return heap_offset
    target[...] = items.reshape(target.shape)
    if null is not None:
        if plan.letter in "EDCM":
            target[null] = np.nan
        elif plan.letter == "L":
            target[null] = 0
        else:
            target[null] = plan.null_value
    return heap_offset


def _flatten_items(values: pa.Array, plan: _ColumnLayout) -> Array:
    """Flatten values, with nulls filled: TNULL, NaN, a zero byte for booleans."""
    if pa.types.is_boolean(values.type):
        boolean_values = pc.fill_null(values, pa.scalar(False, pa.bool_())).to_numpy(zero_copy_only=False)
        if plan.tform.endswith("X"):
            return np.asarray(boolean_values)
        letters = np.where(boolean_values, np.uint8(ord("T")), np.uint8(ord("F")))
        letters[values.is_null().to_numpy(zero_copy_only=False)] = 0
        return letters
    if values.null_count and pa.types.is_integer(values.type):
        if plan.letter != "B":
            wide_values = values.cast(pa.int64())
        else:
            wide_values = values
        values = pc.fill_null(wide_values, pa.scalar(plan.null_value or 0, wide_values.type))
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(_NUMPY_TYPES[plan.letter], copy=False)


def _encode_heap(array: pa.Array, plan: _ColumnLayout) -> tuple[bytes, Array, Array]:
    """Encode a column's cells for the heap: their bytes, the number of items of each, the number of bytes of each."""
    if pa.types.is_string(array.type):
        text = literal.fill_nulls(array)
        lengths = np.asarray(pc.binary_length(text).to_numpy(zero_copy_only=False), np.int64)
        return bytes(literal.view_bytes(text)), lengths, lengths
    offsets, values = literal.flatten_lists(array)
    items = _flatten_items(values, plan)
    if plan.letter in {"C", "M"}:
        per = 2
    else:
        per = 1
    counts = np.diff(offsets)
    return items.tobytes(), counts // per, counts * items.dtype.itemsize


def _pad_strings(array: pa.Array, width: int) -> Array:
    """Write ASCII strings into NUL-padded cells."""
    text = pc.ascii_rpad(literal.fill_nulls(array), width=width, padding="\0")
    return np.frombuffer(bytes(literal.view_bytes(text)), f"S{width}")


FORMAT = Format(
    name="fits", menu_rank=3, media_types=("application/fits", "image/fits"), extension="fits", write=write_fits
)
