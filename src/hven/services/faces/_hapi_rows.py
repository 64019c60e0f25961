"""Samples as HAPI sends them: CSV, binary and JSON (HAPI 3.3, section 3.7), whole batches at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.services.series import build_time_dtype, write_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.services.series import SampleParameter

MAX_CHUNK_ROWS = 50_000  # that are written at once
MAX_BINARY_CHUNK_ROWS = 20_000  # of binary: what is made stays in the processor's cache
_STRING_TYPE = pa.string()


def write_csv(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], header: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write a line a sample, without a line of names; the header stands before, each of its lines behind a ``#``."""
    if header is not None:
        yield _write_header_comment(header)
    for part in _split_batches(batches, parameters):
        cells = [_write_cells(part.column(at), parameter, _quote_csv_texts) for at, parameter in enumerate(parameters)]
        cells[-1] = literal.join_columns(cells[-1], "\n")
        yield literal.view_bytes(literal.join_columns(*cells, separator=",")).tobytes()


def write_binary(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], header: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write samples one behind the other: little-endian doubles and integers of 4 bytes, texts filled up with NUL."""
    if header is not None:
        yield _write_header_comment(header)
    kind = np.dtype([(f"f{at}", *_choose_binary_type(parameter)) for at, parameter in enumerate(parameters)])
    record_buffer = np.empty(0, kind)
    for part in _split_batches(batches, parameters, MAX_BINARY_CHUNK_ROWS):
        if len(record_buffer) < part.num_rows:
            record_buffer = np.empty(part.num_rows, kind)
        rows = record_buffer[: part.num_rows]
        for at, parameter in enumerate(parameters):
            if parameter.value_kind == "isotime":
                _write_time_stamps(part.column(at), parameter, rows[f"f{at}"])
            else:
                rows[f"f{at}"] = _convert_binary_values(part.column(at), parameter)
        yield rows.tobytes()


def write_json(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], header: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write the header's object, the last of whose keys is ``data``."""
    start = json.dumps(header or {}, ensure_ascii=False).encode()
    yield start[:-1] + (b', "data": [' if len(start) > 2 else b'"data": [')
    between = "\n"
    for part in _split_batches(batches, parameters):
        cells = [
            _write_cells(part.column(at), parameter, literal.quote_json_strings, as_json=True)
            for at, parameter in enumerate(parameters)
        ]
        lines = literal.join_columns("[", literal.join_columns(*cells, separator=","), "],\n")
        yield between.encode() + literal.view_bytes(lines).tobytes()[:-2]
        between = ",\n"
    yield b"\n]}\n"


OUTPUT_FORMATS: dict[str, tuple[str, Callable[..., Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", write_csv),
    "binary": ("application/octet-stream", write_binary),
    "json": ("application/json", write_json),
}


def _write_header_comment(header: Mapping[str, Any]) -> bytes:
    lines = json.dumps(header, indent=1, ensure_ascii=False).splitlines()
    return "".join(f"#{line}\n" for line in lines).encode()


def _split_batches(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], max_rows: int = MAX_CHUNK_ROWS
) -> Iterator[pa.RecordBatch]:
    width = sum(int(np.prod(parameter.dimensions or (1,))) for parameter in parameters)
    batch_rows = max(max_rows // max(width // 8, 1), 1)
    for batch in batches:
        for start in range(0, batch.num_rows, batch_rows):
            yield batch.slice(start, batch_rows)


def _flatten_elements(array: pa.Array, parameter: SampleParameter) -> pa.Array:
    """Return the elements of all samples, one behind the other; those of a missing array are missing."""
    if not parameter.dimensions:
        return array
    count = int(np.prod(parameter.dimensions))
    if pa.types.is_fixed_size_list(array.type) and not array.null_count:
        return array.flatten()
    offsets, values = literal.flatten_lists(literal.to_variable_lists(array))
    sizes = np.diff(offsets)
    if ((sizes != count) & (sizes != 0)).any():
        message = f"{parameter.name} has arrays of {sizes.min()} to {sizes.max()} elements, not of {count}"
        raise ValueError(message)
    where = np.where(sizes == count, offsets[:-1], -1)[:, None] + np.arange(count)
    where = np.where(np.repeat(sizes == 0, count).reshape(-1, count), -1, where).ravel()
    return values.take(pa.array(where, mask=where < 0))


def _write_cells(
    array: pa.Array, parameter: SampleParameter, quote_texts: Callable[[pa.Array], pa.Array], *, as_json: bool = False
) -> pa.Array:
    """Write a column's values, texts in quotes where the format has them.

    Elements of arrays in their order, for JSON in brackets for each dimension.
    """
    if parameter.value_kind == "isotime":
        times = _write_times(array, parameter)
        return quote_texts(times) if as_json else times
    flat = _flatten_elements(array, parameter)
    if parameter.value_kind == "string":
        cell_texts = quote_texts(literal.fill_nulls(flat.cast(_STRING_TYPE), parameter.fill or ""))
    else:
        cell_texts = _write_numbers(flat, parameter, as_json=as_json)
    for size in reversed(parameter.dimensions):
        offsets = np.arange(0, len(cell_texts) + 1, size, dtype=np.int32)
        cell_texts = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), cell_texts), ",")
        if as_json:
            cell_texts = literal.join_columns("[", cell_texts, "]")
    return cell_texts


def _write_numbers(flat: pa.Array, parameter: SampleParameter, *, as_json: bool) -> pa.Array:
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.int8())
    # binary has doubles: 0.1 of single precision is 0.10000000149011612 in every format
    number_texts = (flat.cast(pa.float64()) if pa.types.is_floating(flat.type) else flat).cast(_STRING_TYPE)
    if pa.types.is_floating(flat.type):
        odd = pc.is_nan(flat)
        if pc.any(odd).as_py():
            number_texts = pc.if_else(odd, literal.NULL_STRING, number_texts)
    # what JSON has no word for is null there: NaN
    return literal.fill_nulls(
        number_texts, "null" if as_json and parameter.value_kind == "double" else (parameter.fill or "")
    )


def _write_times(array: pa.Array, parameter: SampleParameter) -> pa.Array:
    """Write times, all of one length."""
    texts = _write_time_stamps(array, parameter)
    offsets = np.arange(0, parameter.byte_length * len(texts) + 1, parameter.byte_length, dtype=np.int32)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(texts)))


def _write_time_stamps(array: pa.Array, parameter: SampleParameter, target: Any = None) -> Any:
    if array.type == pa.timestamp("ns") and parameter.byte_length == 30:  # of which none is missing
        nanosecond_instants = np.asarray(array.cast(pa.int64()))
        microsecond_instants = nanosecond_instants // 1000
        return write_times(
            microsecond_instants, parameter.byte_length, target, nanosecond_instants - microsecond_instants * 1000
        )
    if pa.types.is_timestamp(array.type):
        moments = array.cast(pa.timestamp("us")).cast(pa.int64())
    else:
        moments = array
    if moments.null_count:
        is_missing = np.asarray(moments.is_null())
    else:
        is_missing = None
    if is_missing is None:
        filled_instants = moments
    else:
        filled_instants = pc.fill_null(moments, 0)
    texts = write_times(np.asarray(filled_instants, np.int64), parameter.byte_length, target)
    if is_missing is not None:
        fill = np.array((parameter.fill or "").encode(), f"S{parameter.byte_length}")
        if target is None:
            texts[is_missing] = fill
        else:
            texts[is_missing] = fill.view(target.dtype)
    return texts


def _choose_binary_type(parameter: SampleParameter) -> tuple[Any, tuple[int, ...]]:
    if parameter.value_kind == "isotime":
        return build_time_dtype(parameter.byte_length), ()
    kinds = {"double": "<f8", "integer": "<i4"}
    return kinds.get(parameter.value_kind, f"S{parameter.byte_length}"), parameter.dimensions


def _convert_binary_values(array: pa.Array, parameter: SampleParameter) -> Any:
    flat = _flatten_elements(array, parameter)
    if parameter.value_kind == "string":
        texts = np.asarray(literal.fill_nulls(flat.cast(_STRING_TYPE), parameter.fill or "").cast(pa.binary()), "S")
        if texts.dtype.itemsize > parameter.byte_length:
            message = (
                f"{parameter.name} has texts of {texts.dtype.itemsize} bytes, and {parameter.byte_length} were told"
            )
            raise ValueError(message)
        return texts.reshape(-1, *parameter.dimensions)
    if parameter.value_kind == "double":
        values = np.asarray(flat.cast(pa.float64()).fill_null(np.nan) if flat.null_count else flat.cast(pa.float64()))
    else:
        integers = flat.cast(pa.int32())
        values = np.asarray(integers.fill_null(int(parameter.fill or 0)) if integers.null_count else integers)
    return values.reshape(-1, *parameter.dimensions)


def _quote_csv_texts(cells: pa.Array) -> pa.Array:
    """Quote texts where a reader of CSV needs it (RFC 4180)."""
    odd = pc.match_substring_regex(cells, '[",\r\n]')
    if not pc.any(odd).as_py():
        return cells
    return pc.if_else(odd, literal.join_columns('"', pc.replace_substring(cells, '"', '""'), '"'), cells)


__all__ = ["OUTPUT_FORMATS"]
