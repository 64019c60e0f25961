"""Open a file that other code reads for us: it is called for some rows of some columns, and answers in Arrow."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._product import ArrayPart, Axis, HeaderCard, OpenProductFile, TablePart
from hven.formats.media._sample_tables import (
    _cast_keeping_time_zone,
    _create_column,
    _is_scalar_or_list_type,
    split_timestamps,
)
from hven.formats.media._stored_arrays import copy_remote_file_to_disk
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media._product import Instants
    from hven.formats.media._remote_files import Place

    Ask = Callable[[Path, Sequence[str] | None, int, int], pa.Table]

MAX_REQUESTED_VALUES = 500_000  # values per request
MAX_REQUESTED_ROWS = 65_536  # rows per request


def open_product_with_row_reader(path: Place, name: str, read_rows: Ask) -> OpenProductFile:
    """Open a file.

    Parameters
    ----------
    path
        Path of the file; a file on another server is copied.
    name
        Name under which readers know the file.
    read_rows
        Function that reads rows, as in `open_product`.

    Returns
    -------
    product
        Product with a table, and an array for each column that has bins.

    Raises
    ------
    SourceError
        The function's answer is invalid.
    """
    local_path, close = copy_remote_file_to_disk(path)
    try:
        if local_path is not path:  # a copy; some readers recognize a file by its name
            local_path = local_path.rename(local_path.with_name(name))
        schema = read_rows(local_path, None, 0, 0).schema
        schema_metadata = {}
        for key, value in (schema.metadata or {}).items():
            schema_metadata[key.decode()] = value.decode("utf-8", "replace")
        row_count_text = schema_metadata.pop("rows", "")
        if not row_count_text.isdecimal() or len(row_count_text) > 12:
            raise SourceError(  # noqa: TRY301
                format_message("the reader of {name} does not state the number of rows", name),
                remedy=format_message("add `rows` to the metadata of the schema"),
            )
        fields = [field for field in schema if _is_scalar_or_list_type(field.type)]
        external_table = _ReaderFunctionTable(local_path, name, read_rows, fields, row_count=int(row_count_text))
        cards = tuple(HeaderCard(key, value) for key, value in schema_metadata.items())
        table = external_table.create_table_part(None)
        parts: tuple[ArrayPart | TablePart, ...] = (table, *external_table.create_array_parts())
        return OpenProductFile(medium="", parts=parts, cards=cards, close=close)
    except BaseException:
        close()
        raise


class _ReaderFunctionTable:
    """A table that a function reads."""

    def __init__(self, path: Path, name: str, read_rows: Ask, fields: Sequence[pa.Field], *, row_count: int) -> None:
        self._path = path
        self._name = name
        self._read_rows = read_rows
        self._fields = fields
        self._row_count = row_count

    def create_table_part(self, column_names: Collection[str] | None) -> TablePart:
        fields = list(self._fields)
        if column_names is not None:
            fields = [table_field for table_field in fields if table_field.name in column_names]
        columns = tuple(_create_column(table_field) for table_field in fields)
        schema = pa.schema([column.arrow_field for column in columns])
        width = sum(_estimate_cell_values(table_field.type) for table_field in fields)
        step = max(1, min(MAX_REQUESTED_ROWS, MAX_REQUESTED_VALUES // max(width, 1)))

        def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
            for first in range(start, min(start + row_limit, self._row_count), step):
                batch_rows = min(step, start + row_limit - first, self._row_count - first)
                answered_table = self._request_rows(fields, first, batch_rows)
                (batch,) = answered_table.combine_chunks().to_batches()
                arrays = []
                for column_number, schema_field in enumerate(schema):
                    arrays.append(_cast_keeping_time_zone(batch.column(column_number), schema_field.type))
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        def read_instants(name: str, start: int, stop: int) -> Instants:
            (field,) = [table_field for table_field in fields if table_field.name == name]
            answered_table = self._request_rows([field], start, stop - start)
            return split_timestamps(answered_table.column(0).combine_chunks())

        timestamp_types = [field.type for field in fields if pa.types.is_timestamp(field.type)]
        has_nanoseconds = any(timestamp_type.unit == "ns" for timestamp_type in timestamp_types)
        return TablePart(
            index=0,
            columns=columns,
            row_count=self._row_count,
            read_batches=read_batches,
            select_columns=self.create_table_part,
            read_instants=read_instants if has_nanoseconds else None,
        )

    def _request_rows(self, fields: Sequence[pa.Field], start: int, row_count: int) -> pa.Table:
        """Request some rows; an answer that contradicts the declared columns is an error."""
        names = [field.name for field in fields]
        answered_table = self._read_rows(self._path, names, start, row_count)
        declared_types = [(field.name, str(field.type)) for field in fields]
        answered_types = [(field.name, str(field.type)) for field in answered_table.schema]
        if declared_types != answered_types:
            first_difference = answered_types[-1]
            for declared_type, answered_type in zip(declared_types, [*answered_types, ("", "")], strict=False):
                if declared_type != answered_type:
                    first_difference = declared_type
                    break
            difference_text = " ".join(first_difference)
            raise SourceError(
                format_message(
                    "the reader of {name} returned columns that differ from its schema; the first difference is "
                    "{column!r}",
                    self._name,
                    difference_text,
                )
            )
        if answered_table.num_rows != row_count:
            raise SourceError(
                format_message(
                    "starting at row {first:,}, the reader of {name} should return {count:,} rows, but returned "
                    "{there:,}",
                    start,
                    self._name,
                    row_count,
                    answered_table.num_rows,
                )
            )
        return answered_table

    def create_array_parts(self) -> Iterator[ArrayPart]:
        """Create an array of each column that states what its elements are."""
        for index, field in enumerate(self._fields, 1):
            bins_text = (field.metadata or {}).get(b"bins")
            if bins_text is None or not pa.types.is_fixed_size_list(field.type):
                continue
            size = field.type.list_size
            try:
                bins = json.loads(bins_text)
                are_per_row = isinstance(bins["centers"], str)  # each row has them
                values = np.zeros(size)
                axis_name = bins["centers"]
                if not are_per_row:
                    values = np.asarray(bins["centers"], np.float64)
                    axis_name = bins["name"]
                unit = bins.get("unit")
            except (ValueError, TypeError, KeyError) as fault:
                reason = str(fault)[:100]
                raise SourceError(
                    format_message(
                        "the bins of {column} in {name} cannot be read: {reason}", field.name, self._name, reason
                    )
                ) from None
            if values.shape != (size,):
                raise SourceError(
                    format_message(
                        "{column} in {name} has {size} elements, but {count} bins",
                        field.name,
                        self._name,
                        size,
                        values.size,
                    )
                )
            time_axis = Axis(name="time", size=self._row_count, kind="time")
            read_values = partial(np.asarray, values)
            bin_axis = Axis(name=str(axis_name), size=size, unit=unit and str(unit), read_values=read_values)
            yield ArrayPart(
                index=index,
                name=field.name,
                axes=(time_axis, bin_axis),
                dtype=np.dtype("f8"),
                read=partial(self._read_window, field.name),
            )

    def _read_window(self, name: str, window: Sequence[slice]) -> npt.NDArray[Any]:
        first, stop, _ = window[0].indices(self._row_count)
        batch_values = []
        for batch in self.create_table_part({name}).read_batches(first, stop - first):
            numbers = batch.column(0).flatten().cast(pa.float64())
            batch_values.append(np.asarray(numbers))
        if batch_values:
            values = np.concatenate(batch_values)
        else:
            values = np.zeros(0)
        return values.reshape(stop - first, -1)[:, window[1]]


def _estimate_cell_values(arrow_type: pa.DataType) -> int:
    """Count the values of a cell, to limit the memory of a request; a text counts as 16."""
    if pa.types.is_fixed_size_list(arrow_type):
        return int(arrow_type.list_size)
    if pa.types.is_large_string(arrow_type) or pa.types.is_string(arrow_type):
        return 16
    return 1
