"""Samples as HAPI sends them: CSV, binary and JSON (HAPI 3.3, section 3.7), whole batches at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.services.series import layout, stamps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.services.series import Parameter

ROWS = 50_000  # that are written at once
RECORDS = 20_000  # of binary: what is made stays in the processor's cache
_STRING = pa.string()


def csv(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[Parameter], head: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write a line a sample, without a line of names; the header stands before, each of its lines behind a ``#``."""
    if head is not None:
        yield _commented(head)
    for part in _parts(batches, parameters):
        cells = [_cells(part.column(at), one, _quoted) for at, one in enumerate(parameters)]
        cells[-1] = literal.joined(cells[-1], "\n")
        yield literal.characters(literal.joined(*cells, between=",")).tobytes()


def binary(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[Parameter], head: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write samples one behind the other: little-endian doubles and integers of 4 bytes, texts filled up with NUL."""
    if head is not None:
        yield _commented(head)
    kind = np.dtype([(f"f{at}", *_stored(one)) for at, one in enumerate(parameters)])
    whole = np.empty(0, kind)
    for part in _parts(batches, parameters, RECORDS):
        whole = whole if len(whole) >= part.num_rows else np.empty(part.num_rows, kind)
        rows = whole[: part.num_rows]
        for at, one in enumerate(parameters):
            if one.kind == "isotime":
                _stamped(part.column(at), one, rows[f"f{at}"])
            else:
                rows[f"f{at}"] = _values(part.column(at), one)
        yield rows.tobytes()


def as_json(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[Parameter], head: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write the header's object, the last of whose keys is ``data``."""
    start = json.dumps(head or {}, ensure_ascii=False).encode()
    yield start[:-1] + (b', "data": [' if len(start) > 2 else b'"data": [')
    between = "\n"
    for part in _parts(batches, parameters):
        cells = [_cells(part.column(at), one, literal.json_strings, nested=True) for at, one in enumerate(parameters)]
        lines = literal.joined("[", literal.joined(*cells, between=","), "],\n")
        yield between.encode() + literal.characters(lines).tobytes()[:-2]
        between = ",\n"
    yield b"\n]}\n"


FORMATS: dict[str, tuple[str, Callable[..., Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", csv),
    "binary": ("application/octet-stream", binary),
    "json": ("application/json", as_json),
}


def _commented(head: Mapping[str, Any]) -> bytes:
    lines = json.dumps(head, indent=1, ensure_ascii=False).splitlines()
    return "".join(f"#{line}\n" for line in lines).encode()


def _parts(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[Parameter], rows: int = ROWS
) -> Iterator[pa.RecordBatch]:
    width = sum(int(np.prod(one.size or (1,))) for one in parameters)
    most = max(rows // max(width // 8, 1), 1)
    for batch in batches:
        for start in range(0, batch.num_rows, most):
            yield batch.slice(start, most)


def _flat(array: pa.Array, one: Parameter) -> pa.Array:
    """Return the elements of all samples, one behind the other; those of a missing array are missing."""
    if not one.size:
        return array
    count = int(np.prod(one.size))
    if pa.types.is_fixed_size_list(array.type) and not array.null_count:
        return array.flatten()
    offsets, values = literal.flat(literal.variable(array))
    sizes = np.diff(offsets)
    if ((sizes != count) & (sizes != 0)).any():
        message = f"{one.name} has arrays of {sizes.min()} to {sizes.max()} elements, not of {count}"
        raise ValueError(message)
    where = np.where(sizes == count, offsets[:-1], -1)[:, None] + np.arange(count)
    where = np.where(np.repeat(sizes == 0, count).reshape(-1, count), -1, where).ravel()
    return values.take(pa.array(where, mask=where < 0))


def _cells(array: pa.Array, one: Parameter, quote: Callable[[pa.Array], pa.Array], *, nested: bool = False) -> pa.Array:
    """Write a column's values, texts in quotes where the format has them; elements of arrays in their order, for JSON in brackets for each dimension."""
    if one.kind == "isotime":
        times = _times(array, one)
        return quote(times) if nested else times
    flat = _flat(array, one)
    if one.kind == "string":
        shown = quote(literal.filled(flat.cast(_STRING), one.fill or ""))
    else:
        shown = _write_numbers(flat, one, nested=nested)
    for size in reversed(one.size):
        offsets = np.arange(0, len(shown) + 1, size, dtype=np.int32)
        shown = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), shown), ",")
        if nested:
            shown = literal.joined("[", shown, "]")
    return shown


def _write_numbers(flat: pa.Array, one: Parameter, *, nested: bool) -> pa.Array:
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    # binary has doubles: 0.1 of single precision is 0.10000000149011612 in every format
    shown = (flat.cast(pa.float64()) if pa.types.is_floating(flat.type) else flat).cast(_STRING)
    if pa.types.is_floating(flat.type):
        odd = pc.is_nan(flat)
        if pc.any(odd).as_py():
            shown = pc.if_else(odd, literal.NULL, shown)
    # what JSON has no word for is null there: NaN
    return literal.filled(shown, "null" if nested and one.kind == "double" else (one.fill or ""))


def _times(array: pa.Array, one: Parameter) -> pa.Array:
    """Write times, all of one length."""
    texts = _stamped(array, one)
    offsets = np.arange(0, one.length * len(texts) + 1, one.length, dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(texts)))


def _stamped(array: pa.Array, one: Parameter, out: Any = None) -> Any:
    if array.type == pa.timestamp("ns") and one.length == 30:  # of which none is missing
        found = np.asarray(array.cast(pa.int64()))
        whole = found // 1000
        return stamps(whole, one.length, out, found - whole * 1000)
    moments = array.cast(pa.timestamp("us")).cast(pa.int64()) if pa.types.is_timestamp(array.type) else array
    gone = np.asarray(moments.is_null()) if moments.null_count else None
    known = moments if gone is None else pc.fill_null(moments, 0)
    texts = stamps(np.asarray(known, np.int64), one.length, out)
    if gone is not None:
        fill = np.array((one.fill or "").encode(), f"S{one.length}")
        texts[gone] = fill if out is None else fill.view(out.dtype)
    return texts


def _stored(one: Parameter) -> tuple[Any, tuple[int, ...]]:
    if one.kind == "isotime":
        return layout(one.length), ()
    kinds = {"double": "<f8", "integer": "<i4"}
    return kinds.get(one.kind, f"S{one.length}"), one.size


def _values(array: pa.Array, one: Parameter) -> Any:
    flat = _flat(array, one)
    if one.kind == "string":
        texts = np.asarray(literal.filled(flat.cast(_STRING), one.fill or "").cast(pa.binary()), "S")
        if texts.dtype.itemsize > one.length:
            message = f"{one.name} has texts of {texts.dtype.itemsize} bytes, and {one.length} were told"
            raise ValueError(message)
        return texts.reshape(-1, *one.size)
    if one.kind == "double":
        values = np.asarray(flat.cast(pa.float64()).fill_null(np.nan) if flat.null_count else flat.cast(pa.float64()))
    else:
        whole = flat.cast(pa.int32())
        values = np.asarray(whole.fill_null(int(one.fill or 0)) if whole.null_count else whole)
    return values.reshape(-1, *one.size)


def _quoted(cells: pa.Array) -> pa.Array:
    """Quote texts where a reader of CSV needs it (RFC 4180)."""
    odd = pc.match_substring_regex(cells, '[",\r\n]')
    if not pc.any(odd).as_py():
        return cells
    return pc.if_else(odd, literal.joined('"', pc.replace_substring(cells, '"', '""'), '"'), cells)


__all__ = ["FORMATS"]
