"""Write samples for HAPI 3.3 (section 3.7): CSV, binary and JSON, a whole batch at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.plugins.series.time_texts import build_time_dtype, write_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.plugins.series.sample_parameters import SampleParameter

MAX_CHUNK_ROWS = 50_000  # rows that are written at once
MAX_BINARY_CHUNK_ROWS = 20_000  # rows of binary: their bytes stay in the cache of the processor
_STRING_TYPE = pa.string()


def write_hapi_csv(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], header: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write a line for each sample, without a line of names; a header precedes them, each line with a ``#``."""
    if header is not None:
        yield _write_header_comment(header)
    for part in _split_batches(batches, parameters):
        cells = [
            _write_cells(column, parameter, _quote_csv_texts)
            for column, parameter in zip(part.columns, parameters, strict=True)
        ]
        cells[-1] = literal.concat_text_columns(cells[-1], "\n")
        lines = literal.concat_text_columns(*cells, separator=",")
        yield literal.view_column_bytes(lines).tobytes()


def write_hapi_binary(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], header: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write samples without separators: little-endian doubles, integers of 4 bytes, and texts padded with NUL."""
    if header is not None:
        yield _write_header_comment(header)
    fields = [(f"f{index}", *_choose_binary_type(parameter)) for index, parameter in enumerate(parameters)]
    record_type = np.dtype(fields)
    record_buffer = np.empty(0, record_type)
    for part in _split_batches(batches, parameters, MAX_BINARY_CHUNK_ROWS):
        if len(record_buffer) < part.num_rows:
            record_buffer = np.empty(part.num_rows, record_type)
        records = record_buffer[: part.num_rows]
        for index, parameter in enumerate(parameters):
            column = part.column(index)
            if parameter.value_kind == "isotime":
                _write_time_stamps(column, parameter, records[f"f{index}"])
            else:
                records[f"f{index}"] = _convert_binary_values(column, parameter)
        yield records.tobytes()


def write_hapi_json(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], header: Mapping[str, Any] | None
) -> Iterator[bytes]:
    """Write the object of the header, with ``data`` as its last key."""
    start = json.dumps(header or {}, ensure_ascii=False).encode()
    yield start[:-1] + (b', "data": [' if len(start) > 2 else b'"data": [')
    separator = b"\n"
    for part in _split_batches(batches, parameters):
        cells = [
            _write_cells(column, parameter, literal.quote_json_strings, as_json=True)
            for column, parameter in zip(part.columns, parameters, strict=True)
        ]
        lines = literal.concat_text_columns("[", literal.concat_text_columns(*cells, separator=","), "],\n")
        yield separator + literal.view_column_bytes(lines).tobytes()[:-2]
        separator = b",\n"
    yield b"\n]}\n"


OUTPUT_FORMATS: dict[str, tuple[str, Callable[..., Iterator[bytes]]]] = {
    "csv": ("text/csv; charset=utf-8", write_hapi_csv),
    "binary": ("application/octet-stream", write_hapi_binary),
    "json": ("application/json", write_hapi_json),
}


def _write_header_comment(header: Mapping[str, Any]) -> bytes:
    lines = json.dumps(header, indent=1, ensure_ascii=False).splitlines()
    return "".join(f"#{line}\n" for line in lines).encode()


def _split_batches(
    batches: Iterator[pa.RecordBatch], parameters: Sequence[SampleParameter], max_rows: int = MAX_CHUNK_ROWS
) -> Iterator[pa.RecordBatch]:
    width = sum(parameter.element_count for parameter in parameters)
    batch_rows = max(max_rows // max(width // 8, 1), 1)
    for batch in batches:
        for start in range(0, batch.num_rows, batch_rows):
            yield batch.slice(start, batch_rows)


def _flatten_elements(array: pa.Array, parameter: SampleParameter) -> pa.Array:
    """Return the elements of all samples in one array; the elements of a null array are null."""
    if not parameter.dimensions:
        return array
    count = parameter.element_count
    if pa.types.is_fixed_size_list(array.type) and not array.null_count:
        return array.flatten()
    offsets, values = literal.flatten_lists(literal.to_variable_lists(array))
    sizes = np.diff(offsets)
    if ((sizes != count) & (sizes != 0)).any():
        message = f"{parameter.name} has arrays of {sizes.min()} to {sizes.max()} elements instead of {count}"
        raise ValueError(message)
    first_indexes = np.where(sizes == count, offsets[:-1], -1)
    indexes = first_indexes[:, None] + np.arange(count)
    is_missing = np.repeat(sizes == 0, count).reshape(-1, count)
    indexes = np.where(is_missing, -1, indexes).ravel()
    return values.take(pa.array(indexes, mask=indexes < 0))


def _write_cells(
    array: pa.Array, parameter: SampleParameter, quote_texts: Callable[[pa.Array], pa.Array], *, as_json: bool = False
) -> pa.Array:
    """Write the values of a column as texts, in quotes where the format has them.

    Elements of arrays are in their order; in JSON with brackets for each dimension.
    """
    if parameter.value_kind == "isotime":
        times = _write_times(array, parameter)
        if as_json:
            return quote_texts(times)
        return times
    elements = _flatten_elements(array, parameter)
    if parameter.value_kind == "string":
        texts = literal.fill_nulls(elements.cast(_STRING_TYPE), parameter.fill or "")
        cell_texts = quote_texts(texts)
    else:
        cell_texts = _write_numbers(elements, parameter, as_json=as_json)
    for size in reversed(parameter.dimensions):
        offsets = np.arange(0, len(cell_texts) + 1, size, dtype=np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), cell_texts)
        cell_texts = pc.binary_join(lists, ",")
        if as_json:
            cell_texts = literal.concat_text_columns("[", cell_texts, "]")
    return cell_texts


def _write_numbers(values: pa.Array, parameter: SampleParameter, *, as_json: bool) -> pa.Array:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_floating(values.type):
        # as doubles, like binary: 0.1 in single precision is 0.10000000149011612 in every format
        number_texts = values.cast(pa.float64()).cast(_STRING_TYPE)
        is_nan = pc.is_nan(values)
        if pc.any(is_nan).as_py():
            number_texts = pc.if_else(is_nan, literal.NULL_STRING, number_texts)
    else:
        number_texts = values.cast(_STRING_TYPE)
    fill = parameter.fill or ""
    if as_json and parameter.value_kind == "double":  # JSON has no NaN
        fill = "null"
    return literal.fill_nulls(number_texts, fill)


def _write_times(array: pa.Array, parameter: SampleParameter) -> pa.Array:
    """Write times as texts of one length."""
    texts = _write_time_stamps(array, parameter)
    length = parameter.byte_length
    total_bytes = length * len(texts)
    offsets = np.arange(0, total_bytes + 1, length, dtype=np.int32)
    text_bytes = np.ascontiguousarray(texts)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(text_bytes))


def _write_time_stamps(array: pa.Array, parameter: SampleParameter, target: Any = None) -> Any:
    if array.type == pa.timestamp("ns") and parameter.byte_length == 30:  # these have no nulls
        nanoseconds = np.asarray(array.cast(pa.int64()))
        microseconds = nanoseconds // 1000
        return write_times(microseconds, parameter.byte_length, target, nanoseconds - microseconds * 1000)
    instants = array
    if pa.types.is_timestamp(array.type):
        instants = array.cast(pa.timestamp("us")).cast(pa.int64())
    is_missing = None
    if instants.null_count:
        is_missing = np.asarray(instants.is_null())
        instants = pc.fill_null(instants, 0)
    texts = write_times(np.asarray(instants, np.int64), parameter.byte_length, target)
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
    types = {"double": "<f8", "integer": "<i4"}
    return types.get(parameter.value_kind, f"S{parameter.byte_length}"), parameter.dimensions


def _convert_binary_values(array: pa.Array, parameter: SampleParameter) -> Any:
    elements = _flatten_elements(array, parameter)
    if parameter.value_kind == "string":
        filled_texts = literal.fill_nulls(elements.cast(_STRING_TYPE), parameter.fill or "")
        longest = pc.max(pc.binary_length(filled_texts)).as_py() or 0
        if longest > parameter.byte_length:
            message = (
                f"{parameter.name} has strings of {longest} bytes, which is more than the stated "
                f"{parameter.byte_length}"
            )
            raise ValueError(message)
        texts = np.asarray(filled_texts.cast(pa.binary()), f"S{parameter.byte_length}")
        return texts.reshape(-1, *parameter.dimensions)
    if parameter.value_kind == "double":
        numbers = elements.cast(pa.float64())
        fill: float = np.nan
    else:
        numbers = elements.cast(pa.int32())
        fill = int(parameter.fill or 0)
    if numbers.null_count:
        numbers = numbers.fill_null(fill)
    return np.asarray(numbers).reshape(-1, *parameter.dimensions)


def _quote_csv_texts(cells: pa.Array) -> pa.Array:
    """Quote texts where CSV requires it (RFC 4180)."""
    needs_quotes = pc.match_substring_regex(cells, '[",\r\n]')
    if not pc.any(needs_quotes).as_py():
        return cells
    escaped_texts = pc.replace_substring(cells, '"', '""')
    return pc.if_else(needs_quotes, literal.concat_text_columns('"', escaped_texts, '"'), cells)
