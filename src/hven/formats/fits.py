"""FITS binary table (FITS 4.0 section 7.3).

The header of a binary table says how many rows follow and how long its longest string is: nobody knows that while a query
still runs. So the primary HDU leaves at once, the batches are spooled (in memory, beyond 32 MiB on disk) while counts,
lengths and ranges are noted, and at the end the table goes out in one pass over the spool. Memory stays flat.
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
from hven.model.clock import check
from hven.model.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import End, Head
    from hven.model.table import Column

    Array = np.ndarray[Any, Any]

BLOCK = 2880
_MEMORY = 32 << 20
_MOST = 999  # FITS 4.0 section 7.3.1: TFIELDS
_LIMITS = {"B": (0, 255), "I": (-(2**15), 2**15 - 1), "J": (-(2**31), 2**31 - 1), "K": (-(2**63), 2**63 - 1)}
_WIDER = {"B": "I", "I": "J", "J": "K"}
_DTYPES = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">f4", "M": ">f8"}
_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")
_NOT_PLAIN = bytes([*range(0x20), *range(0x7F, 0x100)])
_TRIED = 4096  # numbers that are tried for TNULL where both ends of the range are values
_LETTERS = 64  # different characters that are looked up one by one; beyond them all become "?"
_HEAP_FROM = 256  # strings whose longest has more bytes than this go to the heap


@dataclass(slots=True)
class _Plan:
    """What is noted about a column while its batches pass, and then how it is laid out."""

    column: Column
    letter: str
    longest: int = 0  # bytes of a string, or items of an array
    items: int = 0  # strings of an array of strings
    lowest: int | None = None
    highest: int | None = None
    nulls: bool = False
    replaced: int = 0
    null: int | None = None
    heap: bool = False
    dtype: Any = None
    form: str = ""
    dim: str = ""


def write(
    head: Head,
    batches: Iterator[pa.RecordBatch],
    end: Callable[[], End],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write a primary HDU and one binary table.

    Strings get the width of the longest; from 256 bytes on, and arrays of variable length always, they go to the heap.
    FITS text is ASCII: other characters become their plain letter or ``?``, and a COMMENT says so. A null boolean is a
    zero byte, a null whole number a TNULL that does not occur (the column is widened if it must be).
    A late error passes through after the primary HDU: there is no table then.

    Raises
    ------
    TooLarge
        More than 999 columns.
    """
    if len(head.columns) > _MOST:
        message = f"FITS holds at most {_MOST} columns, the table has {len(head.columns)}"
        raise TooLarge(message, remedy="ask for fewer columns, or for another format")
    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in head.columns])
    plans = [_Plan(column, column.type.scalar.fits) for column in head.columns]
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY) as spool:
        rows = 0
        started = False
        stream = pa.ipc.new_stream(pa.PythonFile(spool, "w"), schema)
        for batch in batches:
            if not started:
                yield _primary()
                started = True
            arrays = [_ready(batch.column(number), plan) for number, plan in enumerate(plans)]
            stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows += batch.num_rows
        stream.close()
        if not started:
            yield _primary()
        overflow = end().overflow
        for number, plan in enumerate(plans):
            _settle(plan, partial(_unused, spool, number))
        yield from _table(head, plans, rows, overflow=overflow, spool=spool)


def _ready(array: pa.Array, plan: _Plan) -> pa.Array:
    """Convert a column to storage form and note what the header will have to say."""
    kind = plan.column.type
    array = literal.storage(array, kind)
    if None not in kind.shape:  # in the heap a null cell has no elements; astropy.table cannot read TNULL there
        plan.nulls = plan.nulls or array.null_count > 0
    if kind.is_timestamp:
        plan.longest = 26 if len(array) else plan.longest
        return array
    values = array
    if pa.types.is_nested(array.type):
        offsets, values = literal.flat(literal.variable(array))
        lengths = np.diff(offsets)
        plan.items = max(plan.items, int(lengths.max()) if len(lengths) else 0)
        plan.nulls = plan.nulls or values.null_count > 0
    if pa.types.is_string(values.type):
        ascii_text, replaced = _ascii(values)
        plan.replaced += replaced
        longest = pc.max(pc.binary_length(ascii_text)).as_py() or 0
        plan.longest = max(plan.longest, longest)
        return array if pa.types.is_nested(array.type) else ascii_text
    if pa.types.is_integer(values.type) and len(values) > values.null_count:
        span = pc.min_max(values).as_py()
        plan.lowest = span["min"] if plan.lowest is None else min(plan.lowest, span["min"])
        plan.highest = span["max"] if plan.highest is None else max(plan.highest, span["max"])
    return array


def _ascii(array: pa.Array) -> tuple[pa.Array, int]:
    """Write text in ASCII; return the number of characters that had to be replaced."""
    data = bytes(literal.characters(array))
    if data.isascii() and not _CONTROLS.search(data):
        return array, 0
    text = data.decode()
    replaced = len(text) - len(data.translate(None, _NOT_PLAIN))
    array = pc.replace_substring_regex(array, r"[\t\r\n]", " ")
    odd = sorted({mark for mark in text if mark > "~"})
    for mark in odd if len(odd) <= _LETTERS else ():
        array = pc.replace_substring(array, mark, _letter(mark))
    return pc.replace_substring_regex(array, r"[^ -~]", "?"), replaced


def _letter(mark: str) -> str:
    """Replace an accented letter by its plain one, else ``?``."""
    return "".join(part for part in unicodedata.normalize("NFKD", mark) if part.isascii()) or "?"


def _settle(plan: _Plan, unused: Callable[[], int | None]) -> None:
    """Decide on TFORM, TDIM, TNULL and the numpy form of a column; `unused` finds a number that its rows do not hold."""
    kind = plan.column.type
    size = int(np.prod([length or 1 for length in kind.shape])) if kind.arraysize is not None else 1
    if kind.datatype in {"char", "unicodeChar"} and "x" in (kind.arraysize or ""):
        width, count = max(plan.longest, kind.shape[0] or 1), max(plan.items, 1)
        plan.form, plan.dim, plan.dtype = f"{width * count}A", f"({width},{count})", (f"S{width}", (count,))
    elif kind.datatype in {"char", "unicodeChar"}:
        declared = kind.shape[0] if kind.shape and not kind.is_timestamp else None
        width = max(plan.longest, declared or 1)
        plan.heap = width > _HEAP_FROM and declared is None
        plan.form, plan.dtype = ("1QA", (">i8", (2,))) if plan.heap else (f"{width}A", (f"S{width}", ()))
    elif kind.datatype == "bit" and not plan.nulls and None not in kind.shape:
        plan.form, plan.dtype = f"{size}X", ("u1", ((size + 7) // 8,))
    else:
        letter = "L" if plan.letter == "X" else plan.letter
        plan.letter = letter = _choose_null(plan, letter, unused)
        per = 2 if letter in {"C", "M"} else 1
        if None in kind.shape:
            plan.heap = True
            plan.form, plan.dtype = f"1Q{letter}", (">i8", (2,))
        else:
            plan.form, plan.dtype = f"{size}{letter}", (_DTYPES[letter], (size * per,))
            if len(kind.shape) > 1:
                plan.dim = f"({','.join(str(length) for length in kind.shape)})"


def _choose_null(plan: _Plan, letter: str, unused: Callable[[], int | None]) -> str:
    """Find a whole number that does not occur; widen the column if its type has none left."""
    if not plan.nulls or letter not in _LIMITS:
        return letter
    lowest, highest = _LIMITS[letter]
    low = highest if plan.lowest is None else plan.lowest
    high = lowest if plan.highest is None else plan.highest
    said = plan.column.null
    if (
        said is not None
        and said.lstrip("-").isdigit()
        and lowest <= int(said) <= highest
        and not low <= int(said) <= high
    ):
        plan.null = int(said)
    elif low > lowest:
        plan.null = lowest
    elif high < highest:
        plan.null = highest
    elif letter in _WIDER:
        return _choose_null(plan, _WIDER[letter], unused)
    else:
        plan.null = unused()
        if plan.null is None:
            message = f"column {plan.column.name!r} holds nulls, and so many values of the 64-bit range that none was found for TNULL"
            raise TooLarge(message, remedy="ask for another format")
    return letter


def _unused(spool: Any, number: int) -> int | None:
    """Find a 64-bit number that a column does not hold, among some near the lowest."""
    left = _LIMITS["K"][0] + 1 + np.arange(_TRIED)
    for batch in _again(spool):
        array = batch.column(number)
        values = literal.flat(array)[1] if pa.types.is_nested(array.type) else array
        left = np.setdiff1d(left, values.drop_null().to_numpy(zero_copy_only=False))
    return int(left[0]) if len(left) else None


# -- bytes


def _primary() -> bytes:
    return _header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])


def _header(cards: Sequence[tuple[str, object]]) -> bytes:
    from astropy.io.fits import Card, Header  # noqa: PLC0415  (a second to load, asked by few)

    header = Header()
    for name, value in cards:
        header.append(Card(name, value), end=True)
    return bytes(header.tostring(sep="", endcard=True, padding=True).encode("ascii"))


def _plain(text: str) -> str:
    shown = text if text.isascii() else "".join(mark if mark.isascii() else _letter(mark) for mark in text)
    return "".join(mark if " " <= mark <= "~" else " " for mark in shown)


def _table(head: Head, plans: Sequence[_Plan], rows: int, *, overflow: bool, spool: Any) -> Iterator[bytes]:
    record = np.dtype([(f"c{number}", *plan.dtype) for number, plan in enumerate(plans)])
    heap_size = 0
    if any(plan.heap for plan in plans):
        for batch in _again(spool):
            heap_size += sum(
                len(_heap(batch.column(number), plan)[0]) for number, plan in enumerate(plans) if plan.heap
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
    if head.name:
        cards.append(("EXTNAME", _plain(head.name)))
    for number, plan in enumerate(plans, 1):
        cards += _column_cards(plan, number)
    if overflow:
        cards.append(("COMMENT", "QUERY_STATUS=OVERFLOW: there are more rows than these"))
    cards += [("COMMENT", _plain(f"{item.name}: {item.value}")) for item in head.infos]
    cards += [
        ("COMMENT", f"{plan.column.name}: {plan.replaced} characters that FITS text cannot hold were replaced")
        for plan in plans
        if plan.replaced
    ]
    yield _header([(name, _plain(value) if isinstance(value, str) else value) for name, value in cards])
    written = heap_at = 0
    for batch in _again(spool):
        if not batch.num_rows:
            continue
        out = np.zeros(batch.num_rows, record)
        for number, plan in enumerate(plans):
            heap_at = _fill(out[f"c{number}"], batch.column(number), plan, heap_at)
        written += out.nbytes
        yield out.tobytes()
    if heap_size:
        for batch in _again(spool):
            for number, plan in enumerate(plans):
                if plan.heap:
                    data = _heap(batch.column(number), plan)[0]
                    written += len(data)
                    yield data
    yield b"\0" * (-written % BLOCK)


def _again(spool: Any) -> Iterator[pa.RecordBatch]:
    spool.seek(0)
    for batch in pa.ipc.open_stream(pa.PythonFile(spool, "r")):
        check()
        yield batch


def _column_cards(plan: _Plan, number: int) -> list[tuple[str, object]]:
    column = plan.column
    said: list[tuple[str, object]] = [
        ("TTYPE", column.name),
        ("TFORM", plan.form),
        ("TDIM", plan.dim),
        ("TUNIT", column.unit),
        ("TNULL", plan.null),
        ("TUCD", column.ucd),
        ("TUTYP", column.utype),
        ("TXTYP", column.type.xtype),
        ("TCOMM", column.description),
    ]
    return [(f"{name}{number}", value) for name, value in said if value is not None and value != ""]


def _fill(target: Array, array: pa.Array, plan: _Plan, heap_at: int) -> int:
    """Write one column's cells; return the heap's next free byte."""
    kind = plan.column.type
    if plan.heap:
        data, counts, sizes = _heap(array, plan)
        target[:, 0] = counts
        target[:, 1] = heap_at + np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else 0
        return heap_at + len(data)
    if kind.datatype in {"char", "unicodeChar"}:
        if pa.types.is_nested(array.type):
            offsets, values = literal.flat(array)
            cells = _padded(_ascii(values)[0], target.dtype.itemsize)
            counts = np.diff(offsets)
            at = np.arange(len(values)) - np.repeat(offsets[:-1], counts)
            target[np.repeat(np.arange(len(array)), counts), at] = cells
        else:
            target[...] = _padded(literal.timestamps(array) if kind.is_timestamp else array, target.dtype.itemsize)
        return heap_at
    null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
    values = literal.flat(array)[1] if pa.types.is_nested(array.type) else array
    items = _items(values, plan)
    if plan.form.endswith("X"):
        target[...] = np.packbits(items.reshape(len(array), -1).astype(bool), axis=1)
        return heap_at
    target[...] = items.reshape(target.shape)
    if null is not None:
        target[null] = np.nan if plan.letter in "EDCM" else 0 if plan.letter == "L" else plan.null
    return heap_at


def _items(values: pa.Array, plan: _Plan) -> Array:
    """Flatten values, with nulls filled: TNULL, NaN, a zero byte for booleans."""
    if pa.types.is_boolean(values.type):
        truth = pc.fill_null(values, pa.scalar(False, pa.bool_())).to_numpy(zero_copy_only=False)
        if plan.form.endswith("X"):
            return np.asarray(truth)
        shown = np.where(truth, np.uint8(ord("T")), np.uint8(ord("F")))
        shown[values.is_null().to_numpy(zero_copy_only=False)] = 0
        return shown
    if values.null_count and pa.types.is_integer(values.type):
        wide = values.cast(pa.int64()) if plan.letter != "B" else values
        values = pc.fill_null(wide, pa.scalar(plan.null or 0, wide.type))
    return np.asarray(values.to_numpy(zero_copy_only=False)).astype(_DTYPES[plan.letter], copy=False)


def _heap(array: pa.Array, plan: _Plan) -> tuple[bytes, Array, Array]:
    """Encode a column's cells for the heap: their bytes, the number of items of each, the number of bytes of each."""
    if pa.types.is_string(array.type):
        text = literal.filled(array)
        lengths = np.asarray(pc.binary_length(text).to_numpy(zero_copy_only=False), np.int64)
        return bytes(literal.characters(text)), lengths, lengths
    offsets, values = literal.flat(array)
    items = _items(values, plan)
    per = 2 if plan.letter in {"C", "M"} else 1
    counts = np.diff(offsets)
    return items.tobytes(), counts // per, counts * items.dtype.itemsize


def _padded(array: pa.Array, width: int) -> Array:
    """Write ASCII strings into NUL-padded cells."""
    text = pc.ascii_rpad(literal.filled(array), width=width, padding="\0")
    return np.frombuffer(bytes(literal.characters(text)), f"S{width}")


FORMAT = Format(name="fits", menu_rank=3, media_types=("application/fits", "image/fits"), extension="fits", write=write)
