"""Join the results of the rows of a list to one table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from hven import formats
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.model.errors import HvenError
from hven.model.table import Column, deduplicate_names
from hven.model.types import FLOAT64, INT32, INT64, STRING
from hven.query import uploads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.jobs import RunningJob
    from hven.model.params import Param
    from hven.model.settings import Settings

MAX_JOINED_BYTES = 256 * 1024**2  # of all rows in memory
ROW_NUMBER_COLUMN = Column(name="list_row", type=INT32, required=True, description="Number of the row of the list")
# results of a list: id -> name of the format
JOINED_RESULTS = {"result": "votable", "csv": "csv", "parquet": "parquet"}


@dataclass(slots=True, kw_only=True)
class JoinedTable:
    """The results of rows, one after another, with the values of their rows.

    Attributes
    ----------
    settings
        Settings of the site.
    params
        The columns of the list.
    row_limit
        Largest number of rows.
    is_truncated
        Whether there were more rows.
    warnings
        Results that are no tables.
    """

    settings: Settings
    params: Sequence[Param]
    row_limit: int
    is_truncated: bool = False
    warnings: list[str] = field(default_factory=list)
    _parts: list[tuple[int, Sequence[str], pa.Table]] = field(default_factory=list)
    _columns: dict[str, Column] = field(default_factory=dict)
    _byte_count: int = 0

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return sum(table.num_rows for _, _, table in self._parts)

    def add_result(self, row: int, row_values: Sequence[str], path: Path) -> None:
        """Add the table in a file.

        Parameters
        ----------
        row
            Number of the row of the list.
        row_values
            Texts of its values.
        path
            The file, in any format that can be uploaded.
        """
        if self.is_truncated:
            return
        try:
            reference = uploads.UploadReference(name="result", uri="param:result")
            [(table, rows)] = uploads.read_uploads([reference], {"result": path}, self.settings).values()
        except HvenError as error:
            self.warnings.append(f"row {row}: {error.message}")
            return
        free_rows = self.row_limit - self.row_count
        self._byte_count += rows.nbytes
        if rows.num_rows > free_rows or self._byte_count > MAX_JOINED_BYTES:
            self.is_truncated = True
            rows = rows.slice(0, free_rows if self._byte_count <= MAX_JOINED_BYTES else 0)
        for column in table.columns:
            key = column.name.lower()
            self._columns[key] = _merge_columns(self._columns.get(key), column)
        names = [column.name.lower() for column in table.columns]
        self._parts.append((row, row_values, rows.rename_columns(names)))

    def write_results(self, running_job: RunningJob) -> None:
        """Write the table as results of a job, in several formats.

        Parameters
        ----------
        running_job
            The list job.
        """
        row_columns = [ROW_NUMBER_COLUMN, *(_build_row_column(param) for param in self.params)]
        columns = deduplicate_names([*row_columns, *self._columns.values()])
        infos = [InfoElement(name="warning", value=warning) for warning in self.warnings[:100]]
        metadata = TableMetadata(columns=columns, name="joined", infos=infos)
        status = ResultStatus(overflow=self.is_truncated, row_count=self.row_count)
        for result_name, format_name in JOINED_RESULTS.items():
            table_format, options = formats.select_format(format_name)
            extension = f".{table_format.extension.lstrip('.')}"
            media_type = table_format.media_types[0]
            with running_job.open_result_file(result_name, media_type=media_type, extension=extension) as file:
                for chunk in table_format.write(metadata, self._iterate_batches(columns), lambda: status, options):
                    file.write(chunk)

    def _iterate_batches(self, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([column.arrow_field.with_nullable(True) for column in columns])
        row_types = [column.type.arrow for column in columns[1 : len(self.params) + 1]]
        for row, row_values, table in self._parts:
            count = table.num_rows
            arrays = [pa.repeat(pa.scalar(row, INT32.arrow), count)]
            for text, arrow_type in zip(row_values, row_types, strict=True):
                value = pa.scalar(text or None, pa.string()).cast(arrow_type)
                arrays.append(pa.repeat(value, count))
            for key, column in self._columns.items():
                position = table.schema.get_field_index(key)
                if position < 0:
                    arrays.append(pa.nulls(count, column.type.arrow))
                else:
                    arrays.append(table.column(position).cast(column.type.arrow, safe=False).combine_chunks())
            yield from pa.Table.from_arrays(arrays, schema=schema).to_batches()


def write_row_states(
    running_job: RunningJob,
    columns: Sequence[Param],
    rows: Sequence[Sequence[str]],
    states: Mapping[str, Sequence[str]],
) -> None:
    """Write what became of each row as the result ``rows``, a CSV file.

    Parameters
    ----------
    running_job
        The list job.
    columns
        The columns of the list.
    rows
        Texts of the rows.
    states
        Heading -> text of each row.
    """
    texts_by_name: dict[str, Sequence[object]] = {ROW_NUMBER_COLUMN.name: range(1, len(rows) + 1)}
    texts_by_name |= {param.name: [row[index] for row in rows] for index, param in enumerate(columns)}
    texts_by_name |= states
    table = pa.table({name: pa.array(values) for name, values in texts_by_name.items()})
    table_columns = [
        Column(name=name, type=INT64 if name == ROW_NUMBER_COLUMN.name else STRING) for name in texts_by_name
    ]
    csv_format, options = formats.select_format("csv")
    status = ResultStatus(row_count=len(rows))
    with running_job.open_result_file("rows", media_type=csv_format.media_types[0], extension=".csv") as file:
        metadata = TableMetadata(columns=table_columns, name="rows")
        for chunk in csv_format.write(metadata, iter(table.to_batches()), lambda: status, options):
            file.write(chunk)


def _build_row_column(param: Param) -> Column:
    description = None
    if param.description:
        description = param.description[:1].upper() + param.description[1:]
    return Column(name=param.name, type=param.type, unit=param.unit, description=description)


def _merge_columns(known: Column | None, column: Column) -> Column:
    """Return a column for the values of two results; different types become the wider number, or text."""
    if known is None or known.type == column.type:
        if known is None:
            return column.copy_with(required=False)
        return known
    types = (known.type, column.type)
    if all(item.is_numeric and not item.is_array for item in types):
        return known.copy_with(type=INT64 if all(item.is_integer for item in types) else FLOAT64)
    return known.copy_with(type=STRING)
