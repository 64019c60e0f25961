"""Plot and convert results that are stored in files, without running their queries again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import formats
from hven.formats import ResultStatus
from hven.model.errors import ParamError, format_message
from hven.plugins.query_pages.file_preview import read_first_rows
from hven.portal.api import plots
from hven.portal.api.plots import BIN_COUNT, DENSITY_CELLS, MAX_POINTS, DensityGrid, Histogram, PlotPoints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats import TableFormat
    from hven.model.table import Column, Table

MAX_PLOT_ROWS = 2_000_000  # that are read for a plot
BATCH_ROWS = 50_000  # that are read at once


def convert_result_file(
    path: Path, media_type: str, target_format: TableFormat, options: Mapping[str, str]
) -> Iterator[bytes]:
    """Write a result in another format, batch by batch.

    Raises
    ------
    ParamError
        The stored format cannot be read.
    """
    stored_format, _ = formats.select_format(media_type)
    if stored_format.read is None:
        message = format_message(
            "a result in {format} cannot be converted to {other}", stored_format.name, target_format.name
        )
        raise ParamError(message, name="_as", remedy="run the job again in the format that you need")
    with path.open("rb") as file:
        table_stream = stored_format.read(file, batch=BATCH_ROWS)
        rows = 0

        def count_rows() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in table_stream.batches:
                rows += batch.num_rows
                yield batch

        yield from target_format.write(
            table_stream.metadata, count_rows(), lambda: ResultStatus(row_count=rows), options
        )


def build_result_histogram(path: Path, media_type: str, column: Column) -> Histogram | None:
    """Count the rows of a result by the value of a column; None if there are no values."""
    (values,), _ = _read_columns_as_numbers(path, media_type, [column])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low = float(finite.min())
    high = float(finite.max())
    bins = BIN_COUNT
    if column.type.is_integer and high - low < bins:
        bins = int(high - low) + 1
        high = high + 1
    width = (high - low) / bins or 1.0
    counts, _ = np.histogram(finite, bins, (low, low + width * bins))
    return Histogram(
        column=column,
        low=low,
        high=low + width * bins,
        counts=tuple(counts.tolist()),
        missing_count=len(values) - len(finite),
        is_time=plots.is_plotted_as_julian_date(column),
    )


def build_result_points_or_density(
    path: Path, media_type: str, columns: list[Column], table: Table | None = None
) -> PlotPoints | DensityGrid | None:
    """Return the values of columns row by row, or a density if two columns have too many; None without values.

    Error columns are searched in `table`, the result.
    """
    if len(columns) == 2 and all(map(plots.is_plottable, columns)):
        (x, y), rows = _read_columns_as_numbers(path, media_type, columns)
        if rows > MAX_POINTS:
            finite = np.isfinite(x) & np.isfinite(y)
            if not finite.any():
                return None
            x = x[finite]
            y = y[finite]
            x_low, x_high = float(x.min()), float(x.max())
            y_low, y_high = float(y.min()), float(y.max())
            box = (x_low, x_high, y_low, y_high)
            y_range = (y_low, y_high if y_high > y_low else y_low + 1)
            x_range = (x_low, x_high if x_high > x_low else x_low + 1)
            ranges = (y_range, x_range)
            counts, _, _ = np.histogram2d(y, x, DENSITY_CELLS, ranges)
            return DensityGrid(x=columns[0], y=columns[1], box=box, counts=counts.astype(np.int64))
    error_columns = {}
    if table is not None:
        error_columns = plots.find_error_columns(columns, table)
    column_names = [column.name for column in columns]
    names = list(dict.fromkeys([*column_names, *(column.name for column in error_columns.values())]))
    values, has_more = _read_columns(path, media_type, names, MAX_POINTS)
    errors = {}
    if values.num_rows <= plots.MAX_ERROR_BARS:
        errors = {name: (column, values.column(column.name)) for name, column in error_columns.items()}
    return PlotPoints(
        columns=tuple(columns),
        values=values.select(column_names),
        keys=("",) * values.num_rows,
        has_more=has_more,
        errors=errors,
    )


def _read_columns_as_numbers(
    path: Path, media_type: str, columns: list[Column]
) -> tuple[list[npt.NDArray[np.float64]], int]:
    """Read columns as numbers, times as Julian dates, nulls as NaN; also return the number of rows."""
    rows, _ = _read_columns(path, media_type, [column.name for column in columns], MAX_PLOT_ROWS)
    numbers = [_to_floats(rows.column(number), column) for number, column in enumerate(columns)]
    return numbers, int(rows.num_rows)


def _to_floats(values: pa.ChunkedArray, column: Column) -> npt.NDArray[np.float64]:
    if not plots.is_plottable(column):
        message = format_message("the column {name!r} contains neither numbers nor times", column.name)
        raise ParamError(message, name="_x", remedy="choose a column with numbers or times")
    if column.type.is_timestamp:  # some formats have times as texts
        micros = values.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(micros.to_numpy(), np.float64) / 86_400e6 + 2_440_587.5
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _read_columns(path: Path, media_type: str, column_names: list[str], row_limit: int) -> tuple[pa.Table, bool]:
    """Read some columns of a result; also return whether there are more than `row_limit` rows."""
    stored_format, _ = formats.select_format(media_type)
    if stored_format.read is None:  # other formats have only a preview
        preview = read_first_rows(path, media_type, min(row_limit, MAX_POINTS))
        if preview is None:
            message = format_message("a result in {format} cannot be plotted", stored_format.name)
            raise ParamError(message, name="job", remedy="run the job again, and choose VOTable as the format")
        page, _ = preview
        return page.rows.select(column_names), page.has_more
    batches: list[pa.RecordBatch] = []
    rows = 0
    with path.open("rb") as file:
        table_stream = stored_format.read(file, batch=min(BATCH_ROWS, row_limit))
        for batch in table_stream.batches:
            selected = batch.select(column_names)
            if rows + selected.num_rows > row_limit:
                batches.append(selected.slice(0, row_limit - rows))
                return pa.Table.from_batches(batches), True
            batches.append(selected)
            rows += selected.num_rows
        if not batches:
            columns_by_name = {column.name: column for column in table_stream.metadata.columns}
            schema = pa.schema([columns_by_name[name].arrow_field for name in column_names])
            return schema.empty_table(), False
    return pa.Table.from_batches(batches), False
