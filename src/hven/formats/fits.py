"""Write FITS binary tables (FITS 4.0 section 7.3).

The header of a binary table says how many rows follow and how long its longest string is, which is unknown while the
query runs. So the writer sends the primary HDU at once and spools the batches (in memory, beyond 32 MiB on disk) while
it notes counts, lengths and ranges. At the end it writes the table in one pass over the spool. Memory stays flat.
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

from hven.formats import TableFormat
from hven.model import literal
from hven.model.deadlines import check_deadline
from hven.model.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import ResultStatus, TableMetadata
    from hven.model.table import Column
    from hven.model.types import ColumnType

    Array = np.ndarray[Any, Any]

BLOCK_BYTES = 2880
_MAX_SPOOL_MEMORY_BYTES = 32 << 20
_MAX_COLUMNS = 999  # FITS 4.0 section 7.3.1: TFIELDS
_INTEGER_LIMITS = {
    "B": (0, 255),
    "I": (-(2**15), 2**15 - 1),
    "J": (-(2**31), 2**31 - 1),
    "K": (-(2**63), 2**63 - 1),
}
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
_MAX_REPLACED_LETTERS = 64  # different characters that are looked up one by one; if there are more, all become "?"
_MAX_INLINE_STRING_BYTES = 256  # a column with a longer string goes to the heap


@dataclass(slots=True)
class _ColumnLayout:
    """What is noted about a column while its batches pass, and then its layout."""

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

    Strings get the width of the longest. Strings of more than 256 bytes and arrays of variable length go to the heap.
    FITS text is ASCII: other characters become their plain letter or ``?``, and a COMMENT says so. A null boolean is a
    zero byte; a null integer is a TNULL that does not occur, for which the column is widened if necessary.
    A late error passes through after the primary HDU: then there is no table.

    Raises
    ------
    TooLargeError
        The table has more than 999 columns.
    """
    if len(metadata.columns) > _MAX_COLUMNS:
        message = f"a FITS table has at most {_MAX_COLUMNS} columns, but this one has {len(metadata.columns)}"
        raise TooLargeError(message, remedy="request fewer columns, or a different format")
    fields = [pa.field(column.name, column.type.arrow) for column in metadata.columns]
    schema = pa.schema(fields)
    plans = [_ColumnLayout(column, column.type.scalar_type.fits) for column in metadata.columns]
    with tempfile.SpooledTemporaryFile(max_size=_MAX_SPOOL_MEMORY_BYTES) as spool:
        rows = 0
        has_started = False
        stream = pa.ipc.new_stream(pa.PythonFile(spool, "w"), schema)
        for batch in batches:
            if not has_started:
                yield _write_primary_header()
                has_started = True
            arrays = []
            for number, plan in enumerate(plans):
                arrays.append(_cast_and_measure_column(batch.column(number), plan))
            stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows += batch.num_rows
        stream.close()
        if not has_started:
            yield _write_primary_header()
        overflow = finish().overflow
        for number, plan in enumerate(plans):
            _decide_column_layout(plan, partial(_find_unused_number, spool, number))
        yield from _write_table_hdu(metadata, plans, rows, overflow=overflow, spool=spool)


def _cast_and_measure_column(array: pa.Array, plan: _ColumnLayout) -> pa.Array:
    """Convert a column to storage form, and note what the header needs to say about it."""
    kind = plan.column.type
    array = literal.cast_to_storage_type(array, kind)
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
        if len(lengths):
            plan.items = max(plan.items, int(lengths.max()))
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
    """Convert text to ASCII; return also the number of characters that had to be replaced."""
    data = bytes(literal.view_column_bytes(array))
    if data.isascii() and not _CONTROL_BYTES.search(data):
        return array, 0
    text = data.decode()
    replaced = len(text) - len(data.translate(None, _NON_PRINTABLE_BYTES))
    array = pc.replace_substring_regex(array, r"[\t\r\n]", " ")
    other_characters = sorted({mark for mark in text if mark > "~"})
    if len(other_characters) <= _MAX_REPLACED_LETTERS:
        for mark in other_characters:
            array = pc.replace_substring(array, mark, _find_ascii_letter(mark))
    return pc.replace_substring_regex(array, r"[^ -~]", "?"), replaced


def _find_ascii_letter(character: str) -> str:
    """Return the plain letter of an accented one, or ``?``."""
    decomposed = unicodedata.normalize("NFKD", character)
    return "".join(part for part in decomposed if part.isascii()) or "?"


def _decide_column_layout(plan: _ColumnLayout, find_unused_number: Callable[[], int | None]) -> None:
    """Decide on TFORM, TDIM, TNULL and the numpy type of a column.

    `find_unused_number` finds a number that its rows do not hold.
    """
    kind = plan.column.type
    if kind.datatype in {"char", "unicodeChar"}:
        _decide_string_layout(plan)
    elif kind.datatype == "bit" and not plan.has_nulls and None not in kind.shape:
        size = _count_cell_items(kind)
        plan.tform = f"{size}X"
        plan.dtype = ("u1", ((size + 7) // 8,))
    else:
        _decide_number_layout(plan, find_unused_number)


def _count_cell_items(column_type: ColumnType) -> int:
    """Count the items of a cell; a variable dimension counts as one."""
    if column_type.arraysize is None:
        return 1
    lengths = [length or 1 for length in column_type.shape]
    return int(np.prod(lengths))


def _decide_string_layout(plan: _ColumnLayout) -> None:
    kind = plan.column.type
    if "x" in (kind.arraysize or ""):
        width = max(plan.longest, kind.shape[0] or 1)
        count = max(plan.items, 1)
        plan.tform = f"{width * count}A"
        plan.tdim = f"({width},{count})"
        plan.dtype = (f"S{width}", (count,))
        return
    declared = None
    if kind.shape and not kind.is_timestamp:
        declared = kind.shape[0]
    width = max(plan.longest, declared or 1)
    plan.is_in_heap = width > _MAX_INLINE_STRING_BYTES and declared is None
    if plan.is_in_heap:
        plan.tform = "1QA"
        plan.dtype = (">i8", (2,))
    else:
        plan.tform = f"{width}A"
        plan.dtype = (f"S{width}", ())


def _decide_number_layout(plan: _ColumnLayout, find_unused_number: Callable[[], int | None]) -> None:
    kind = plan.column.type
    letter = plan.letter
    if letter == "X":
        letter = "L"
    letter = _choose_tnull_and_type_letter(plan, letter, find_unused_number)
    plan.letter = letter
    if None in kind.shape:
        plan.is_in_heap = True
        plan.tform = f"1Q{letter}"
        plan.dtype = (">i8", (2,))
        return
    size = _count_cell_items(kind)
    plan.tform = f"{size}{letter}"
    plan.dtype = (_NUMPY_TYPES[letter], (size * _count_item_components(letter),))
    if len(kind.shape) > 1:
        lengths = ",".join(str(length) for length in kind.shape)
        plan.tdim = f"({lengths})"


def _count_item_components(letter: str) -> int:
    """Count the numbers of an item: two for a complex number."""
    if letter in {"C", "M"}:
        return 2
    return 1


def _choose_tnull_and_type_letter(
    plan: _ColumnLayout, letter: str, find_unused_number: Callable[[], int | None]
) -> str:
    """Choose an integer for TNULL that does not occur; widen the column if its type has none left."""
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
        return _choose_tnull_and_type_letter(plan, _WIDER_LETTERS[letter], find_unused_number)
    else:
        plan.null_value = find_unused_number()
        if plan.null_value is None:
            message = f"column {plan.column.name!r} has nulls, but no unused 64-bit value was found for TNULL"
            raise TooLargeError(message, remedy="request a different format")
    return letter


def _find_unused_number(spool: Any, column_number: int) -> int | None:
    """Find a 64-bit number near the lowest that a column does not hold."""
    unused_numbers = _INTEGER_LIMITS["K"][0] + 1 + np.arange(_MAX_NULL_CANDIDATES)
    for batch in _read_spooled_batches(spool):
        array = batch.column(column_number)
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
    cards = [("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)]
    return _write_header(cards)


def _write_header(cards: Sequence[tuple[str, object]]) -> bytes:
    from astropy.io.fits import Card, Header  # noqa: PLC0415  (takes a second to load, and few requests need it)

    header = Header()
    for name, value in cards:
        header.append(Card(name, value), end=True)
    header_text = header.tostring(sep="", endcard=True, padding=True)
    return bytes(header_text.encode("ascii"))


def _replace_non_ascii(text: str) -> str:
    if not text.isascii():
        text = "".join([_to_ascii_character(mark) for mark in text])
    return re.sub(r"[^ -~]", " ", text)


def _to_ascii_character(character: str) -> str:
    if character.isascii():
        return character
    return _find_ascii_letter(character)


def _write_table_hdu(
    metadata: TableMetadata, plans: Sequence[_ColumnLayout], row_count: int, *, overflow: bool, spool: Any
) -> Iterator[bytes]:
    record_fields = [(f"c{number}", *plan.dtype) for number, plan in enumerate(plans)]
    record = np.dtype(record_fields)
    heap_plans = [(number, plan) for number, plan in enumerate(plans) if plan.is_in_heap]
    heap_size = 0
    if heap_plans:
        for batch in _read_spooled_batches(spool):
            for number, plan in heap_plans:
                heap_size += len(_encode_heap(batch.column(number), plan)[0])
    cards: list[tuple[str, object]] = [
        ("XTENSION", "BINTABLE"),
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", record.itemsize),
        ("NAXIS2", row_count),
        ("PCOUNT", heap_size),
        ("GCOUNT", 1),
        ("TFIELDS", len(plans)),
    ]
    cards += _list_table_cards(metadata, plans, overflow=overflow)
    yield _write_header(cards)
    written_bytes = heap_offset = 0
    for batch in _read_spooled_batches(spool):
        if not batch.num_rows:
            continue
        records = np.zeros(batch.num_rows, record)
        for number, plan in enumerate(plans):
            cells = records[f"c{number}"]
            heap_offset = _fill_cells(cells, batch.column(number), plan, heap_offset)
        written_bytes += records.nbytes
        yield records.tobytes()
    if heap_size:
        for batch in _read_spooled_batches(spool):
            for number, plan in heap_plans:
                data = _encode_heap(batch.column(number), plan)[0]
                written_bytes += len(data)
                yield data
    yield b"\0" * (-written_bytes % BLOCK_BYTES)


def _list_table_cards(
    metadata: TableMetadata, plans: Sequence[_ColumnLayout], *, overflow: bool
) -> list[tuple[str, object]]:
    """List the cards that name and describe the table and its columns, with values in ASCII."""
    cards: list[tuple[str, object]] = []
    if metadata.name:
        cards.append(("EXTNAME", metadata.name))
    for number, plan in enumerate(plans, 1):
        cards += _list_column_cards(plan, number)
    if overflow:
        cards.append(("COMMENT", "QUERY_STATUS=OVERFLOW: there are more rows than these"))
    for info in metadata.infos:
        cards.append(("COMMENT", f"{info.name}: {info.value}"))
    for plan in plans:
        if plan.replaced_count:
            remark = f"{plan.replaced_count} characters were replaced, because FITS text cannot contain them"
            cards.append(("COMMENT", f"{plan.column.name}: {remark}"))
    ascii_cards: list[tuple[str, object]] = []
    for name, value in cards:
        ascii_value = value
        if isinstance(value, str):
            ascii_value = _replace_non_ascii(value)
        ascii_cards.append((name, ascii_value))
    return ascii_cards


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
    cards = []
    for name, value in card_values:
        if value is not None and value != "":
            cards.append((f"{name}{number}", value))
    return cards


def _fill_cells(target: Array, array: pa.Array, plan: _ColumnLayout, heap_offset: int) -> int:
    """Write the cells of one column; return the next free byte of the heap."""
    if plan.is_in_heap:
        data, counts, sizes = _encode_heap(array, plan)
        target[:, 0] = counts
        target[:, 1] = 0
        if len(sizes):
            sizes_before = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            target[:, 1] = heap_offset + sizes_before
        return heap_offset + len(data)
    if plan.column.type.datatype in {"char", "unicodeChar"}:
        _fill_string_cells(target, array, plan)
    else:
        _fill_number_cells(target, array, plan)
    return heap_offset


def _fill_string_cells(target: Array, array: pa.Array, plan: _ColumnLayout) -> None:
    width = target.dtype.itemsize
    if pa.types.is_nested(array.type):
        offsets, values = literal.flatten_lists(array)
        cells = _pad_strings(_convert_to_ascii(values)[0], width)
        counts = np.diff(offsets)
        row_starts = np.repeat(offsets[:-1], counts)
        positions = np.arange(len(values)) - row_starts
        row_numbers = np.repeat(np.arange(len(array)), counts)
        target[row_numbers, positions] = cells
        return
    if plan.column.type.is_timestamp:
        array = literal.format_timestamps(array)
    target[...] = _pad_strings(array, width)


def _fill_number_cells(target: Array, array: pa.Array, plan: _ColumnLayout) -> None:
    values = array
    if pa.types.is_nested(array.type):
        values = literal.flatten_lists(array)[1]
    items = _flatten_and_fill_nulls(values, plan)
    if plan.tform.endswith("X"):
        bits = items.reshape(len(array), -1).astype(bool)
        target[...] = np.packbits(bits, axis=1)
        return
    target[...] = items.reshape(target.shape)
    if array.null_count:
        null = array.is_null().to_numpy(zero_copy_only=False)
        if plan.letter in "EDCM":
            target[null] = np.nan
        elif plan.letter == "L":
            target[null] = 0
        else:
            target[null] = plan.null_value


def _flatten_and_fill_nulls(values: pa.Array, plan: _ColumnLayout) -> Array:
    """Flatten values, with nulls filled: TNULL, NaN, a zero byte for booleans."""
    if pa.types.is_boolean(values.type):
        known_values = pc.fill_null(values, pa.scalar(False, pa.bool_()))
        boolean_values = known_values.to_numpy(zero_copy_only=False)
        if plan.tform.endswith("X"):
            return np.asarray(boolean_values)
        true_letter, false_letter = np.uint8(ord("T")), np.uint8(ord("F"))
        letters = np.where(boolean_values, true_letter, false_letter)
        letters[values.is_null().to_numpy(zero_copy_only=False)] = 0
        return letters
    if values.null_count and pa.types.is_integer(values.type):
        if plan.letter != "B":
            wide_values = values.cast(pa.int64())
        else:
            wide_values = values
        null_number = pa.scalar(plan.null_value or 0, wide_values.type)
        values = pc.fill_null(wide_values, null_number)
    items = np.asarray(values.to_numpy(zero_copy_only=False))
    return items.astype(_NUMPY_TYPES[plan.letter], copy=False)


def _encode_heap(array: pa.Array, plan: _ColumnLayout) -> tuple[bytes, Array, Array]:
    """Encode the cells of a column for the heap; return bytes, items of each cell, bytes of each cell."""
    if pa.types.is_string(array.type):
        text = literal.fill_nulls(array)
        text_lengths = pc.binary_length(text).to_numpy(zero_copy_only=False)
        lengths = np.asarray(text_lengths, np.int64)
        return bytes(literal.view_column_bytes(text)), lengths, lengths
    offsets, values = literal.flatten_lists(array)
    items = _flatten_and_fill_nulls(values, plan)
    counts = np.diff(offsets)
    item_counts = counts // _count_item_components(plan.letter)
    return items.tobytes(), item_counts, counts * items.dtype.itemsize


def _pad_strings(array: pa.Array, width: int) -> Array:
    """Pad ASCII strings with NUL to cells of equal width."""
    text = pc.ascii_rpad(literal.fill_nulls(array), width=width, padding="\0")
    return np.frombuffer(bytes(literal.view_column_bytes(text)), f"S{width}")


FORMAT = TableFormat(
    name="fits",
    menu_rank=3,
    media_types=("application/fits", "image/fits"),
    extension="fits",
    write=write_fits,
    reading_example="""\
from astropy.table import Table
Table.read("answer.fits")
""",
)
