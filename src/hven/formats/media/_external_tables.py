"""A file that something else reads for us: it is asked for some rows of some columns, and answers in Arrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._flat_tables import _cast_values, _create_column, _is_plain_type, split_timestamps
from hven.formats.media._product import ArrayPart, Axis, HeaderCard, Product, TablePart
from hven.formats.media._stored_arrays import copy_to_disk
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats.media._product import Instants
    from hven.formats.media._remote_files import Place

    Ask = Callable[[Path, Sequence[str] | None, int, int], pa.Table]

MAX_REQUESTED_VALUES = 500_000  # values that are asked for at once
MAX_REQUESTED_ROWS = 65_536  # rows that are


def open_external_product(path: Place, name: str, read_rows: Ask) -> Product:
    """Open a file.

    Parameters
    ----------
    path
        Of the file; one on another server is copied.
    name
        By which readers know it.
    read_rows
        As of `open_product`.

    Returns
    -------
    product
        Of a table, and an array for each column that has bins.

    Raises
    ------
    SourceError
        What it answers cannot be.
    """
    local_path, close = copy_to_disk(path)
    try:
        if local_path is not path:  # a copy; some know by its name what a file is
            local_path = local_path.rename(local_path.with_name(name))
        schema = read_rows(local_path, None, 0, 0).schema
        schema_metadata = {
            key.decode(): value.decode("utf-8", "replace") for key, value in (schema.metadata or {}).items()
        }
        if not schema_metadata.get("rows", "").isdecimal() or len(schema_metadata["rows"]) > 12:
            raise SourceError(  # noqa: TRY301
                format_message("the reader of {name} does not say how many rows there are", name),
                remedy=format_message("metadata of the schema: rows"),
            )
        external_table = _ExternalTable(
            local_path,
            name,
            read_rows,
            [field for field in schema if _is_plain_type(field.type)],
            int(schema_metadata["rows"]),
        )
        cards = tuple(HeaderCard(key, value) for key, value in schema_metadata.items() if key != "rows")
        table = external_table.create_table(None)
        return Product(
            medium="",
            parts=(table, *external_table.create_arrays()),
            cards=cards,
            close=close,
        )
    except BaseException:
        close()
        raise


class _ExternalTable:
    def __init__(self, path: Path, name: str, read_rows: Ask, fields: Sequence[pa.Field], row_count: int) -> None:
        self._path = path
        self._name = name
        self._read_rows = read_rows
        self._fields = fields
        self._row_count = row_count

    def create_table(self, names: Collection[str] | None) -> TablePart:
        fields = [table_field for table_field in self._fields if names is None or table_field.name in names]
        columns = tuple(_create_column(table_field) for table_field in fields)
        schema = pa.schema([table_field.arrow_field for table_field in columns])
        width = sum(
            table_field.type.list_size
            if pa.types.is_fixed_size_list(table_field.type)
            else 16
            if pa.types.is_large_string(table_field.type) or pa.types.is_string(table_field.type)
            else 1
            for table_field in fields
        )
        step = max(1, min(MAX_REQUESTED_ROWS, MAX_REQUESTED_VALUES // max(width, 1)))

        def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
            for first in range(start, min(start + row_limit, self._row_count), step):
                batch_rows = min(step, start + row_limit - first, self._row_count - first)
                (batch,) = self._request_rows(fields, first, batch_rows).combine_chunks().to_batches()
                arrays = [
                    _cast_values(batch.column(column_number), schema_field.type)
                    for column_number, schema_field in enumerate(schema)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        def read_instants(name: str, start: int, stop: int) -> Instants:
            (field,) = [named_item for named_item in fields if named_item.name == name]
            return split_timestamps(self._request_rows([field], start, stop - start).column(0).combine_chunks())

        fine = any(pa.types.is_timestamp(table_field.type) and table_field.type.unit == "ns" for table_field in fields)
        return TablePart(
            index=0,
            columns=columns,
            row_count=self._row_count,
            read_batches=read_batches,
            select_columns=self.create_table,
            read_instants=read_instants if fine else None,
        )

    def _request_rows(self, fields: Sequence[pa.Field], start: int, row_count: int) -> pa.Table:
        """Ask for some rows; what else was told before than what comes now is an error."""
        answered_table = self._read_rows(self._path, [name_and_type.name for name_and_type in fields], start, row_count)
        declared_types, answered_types = (
            [(name_and_type.name, str(name_and_type.type)) for name_and_type in fields_or_schema]
            for fields_or_schema in (fields, answered_table.schema)
        )
        if declared_types != answered_types:
            first_difference = next(
                (
                    name_and_type
                    for name_and_type, answered_type in zip(declared_types, [*answered_types, ("", "")], strict=False)
                    if name_and_type != answered_type
                ),
                answered_types[-1],
            )
            raise SourceError(
                format_message(
                    "the reader of {name} gives other columns than it said: {column}",
                    self._name,
                    " ".join(first_difference),
                )
            )
        if answered_table.num_rows != row_count:
            raise SourceError(
                format_message(
                    "the reader of {name} gives {there:,} rows from {first:,} on, where {count:,} are",
                    self._name,
                    answered_table.num_rows,
                    start,
                    row_count,
                )
            )
        return answered_table

    def create_arrays(self) -> Iterator[ArrayPart]:
        """Make an array of each column that says what its elements are."""
        for index, field in enumerate(self._fields, 1):
            bins_text = (field.metadata or {}).get(b"bins")
            if bins_text is None or not pa.types.is_fixed_size_list(field.type):
                continue
            size = field.type.list_size
            try:
                bins = json.loads(bins_text)
                are_per_row = isinstance(bins["centers"], str)  # each row has them
                values = np.zeros(size) if are_per_row else np.asarray(bins["centers"], np.float64)
                name, unit = str(bins["centers"] if are_per_row else bins["name"]), bins.get("unit")
            except (ValueError, TypeError, KeyError) as fault:
                raise SourceError(
                    format_message(
                        "bins of {column} of {name} cannot be read: {reason}", field.name, self._name, str(fault)[:100]
                    )
                ) from None
            if values.shape != (size,):
                raise SourceError(
                    format_message(
                        "{column} of {name} has {size} elements, and bins of {count}",
                        field.name,
                        self._name,
                        size,
                        values.size,
                    )
                )
            axes = (
                Axis(name="time", size=self._row_count, kind="time"),
                Axis(name=name, size=size, unit=unit and str(unit), read_values=lambda values=values: values),  # type: ignore[misc]
            )
            yield ArrayPart(
                index=index,
                name=field.name,
                axes=axes,
                dtype=np.dtype("f8"),
                read=lambda window, name=field.name: self._read_window(name, window),  # type: ignore[misc]
            )

    def _read_window(self, name: str, window: Sequence[slice]) -> npt.NDArray[Any]:
        first, stop, _ = window[0].indices(self._row_count)
        batch_values = [
            np.asarray(batch.column(0).flatten().cast(pa.float64()))
            for batch in self.create_table({name}).read_batches(first, stop - first)
        ]
        if batch_values:
            values = np.concatenate(batch_values)
        else:
            values = np.zeros(0)
        return values.reshape(stop - first, -1)[:, window[1]]


__all__ = ["open_external_product"]
