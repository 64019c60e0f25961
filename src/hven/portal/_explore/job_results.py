"""A result that was kept in a file: drawn, and written again in another format, without asking its query once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import formats
from hven.formats import ResultStatus
from hven.model.errors import ParamError, format_message
from hven.portal._explore import plots
from hven.portal._explore.file_preview import read_first_rows
from hven.portal._explore.plots import BIN_COUNT, DENSITY_CELLS, MAX_POINTS, DensityGrid, Histogram, PlotPoints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats import Format
    from hven.model.table import Column, Table

MAX_PLOT_ROWS = 2_000_000  # rows that are looked at for a plot
BATCH_ROWS = 50_000  # rows that are read at once


def convert_result(path: Path, media_type: str, target_format: Format, options: Mapping[str, str]) -> Iterator[bytes]:
    """Write a result in another format, as it is read.

    Raises
    ------
    ParamError
        Its own format is not one that is read here.
    """
    stored_format, _ = formats.select_format(media_type)
    if stored_format.read is None:
        raise ParamError(
            format_message(
                "a result in {format} is not written again in {other}", stored_format.name, target_format.name
            ),
            name="_as",
            remedy="run the job again in the format that you need",
        )
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
    """Count the rows of a result by the value of a column; None: there is no value."""
    (values,), _ = _read_numbers(path, media_type, [column])
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
        is_time=plots.is_time(column),
    )


def build_result_points(
    path: Path, media_type: str, columns: list[Column], table: Table | None = None
) -> PlotPoints | DensityGrid | None:
    """Return the values of columns row by row; a density of the first two, if they are too many. None: there are none.

    `table` is the result: columns of errors are found in it, if it is given.
    """
    if len(columns) == 2 and all(map(plots.is_plottable, columns)):
        (x, y), rows = _read_numbers(path, media_type, columns)
        if rows > MAX_POINTS:
            finite = np.isfinite(x) & np.isfinite(y)
            if not finite.any():
                return None
            x = x[finite]
            y = y[finite]
            box = (float(x.min()), float(x.max()), float(y.min()), float(y.max()))
            ranges = (
                (box[2], box[3] if box[3] > box[2] else box[2] + 1),
                (box[0], box[1] if box[1] > box[0] else box[0] + 1),
            )
            counts, _, _ = np.histogram2d(y, x, DENSITY_CELLS, ranges)
            return DensityGrid(x=columns[0], y=columns[1], box=box, counts=counts.astype(np.int64))
    errors = {
        column.name: error
        for column in columns[:2]
        if table is not None and (error := plots.find_error_column(column, table)) is not None
    }
    names = list(dict.fromkeys([column.name for column in (*columns, *errors.values())]))
    values, has_more = _read_columns(path, media_type, names, MAX_POINTS)
    return PlotPoints(
        columns=tuple(columns),
        values=values.select([column.name for column in columns]),
        keys=("",) * values.num_rows,
        has_more=has_more,
        errors={name: (error, values.column(error.name)) for name, error in errors.items()}
        if values.num_rows <= plots.MAX_ERROR_BARS
        else {},
    )


def _read_numbers(path: Path, media_type: str, columns: list[Column]) -> tuple[list[npt.NDArray[np.float64]], int]:
    """Read columns as numbers: times as Julian dates, what is missing as NaN."""
    rows, _ = _read_columns(path, media_type, [column.name for column in columns], MAX_PLOT_ROWS)
    return [_to_floats(rows.column(number), column) for number, column in enumerate(columns)], int(rows.num_rows)


def _to_floats(values: pa.ChunkedArray, column: Column) -> npt.NDArray[np.float64]:
    if not plots.is_plottable(column):
        raise ParamError(
            format_message("{name} has no numbers and no times", column.name),
            name="_x",
            remedy="choose a column of numbers",
        )
    if column.type.is_timestamp:  # as text, where the file has it so
        micros = values.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(micros.to_numpy(), np.float64) / 86_400e6 + 2_440_587.5
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _read_columns(path: Path, media_type: str, column_names: list[str], row_limit: int) -> tuple[pa.Table, bool]:
    """Read some columns of a result; whether there are more rows than that."""
    stored_format, _ = formats.select_format(media_type)
    if stored_format.read is None:  # texts and tables of other programs: their beginning
        preview = read_first_rows(path, media_type, min(row_limit, MAX_POINTS))
        if preview is None:
            raise ParamError(
                format_message("a result in {format} cannot be drawn", stored_format.name),
                name="job",
                remedy="run the job again as VOTable",
            )
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
            schema = pa.schema(
                [
                    next(column for column in table_stream.metadata.columns if column.name == name).arrow_field
                    for name in column_names
                ]
            )
            return schema.empty_table(), False
    return pa.Table.from_batches(batches), False
