"""A result that was kept in a file: drawn, and written again in another format, without asking its query once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import formats
from hven.formats import End
from hven.model.errors import ParamError, say
from hven.portal._explore import plots
from hven.portal._explore.plots import BINS, POINTS, SIDE, Density, Histogram, Points
from hven.portal._explore.preview import first_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.formats import Format
    from hven.model.table import Column, Table

READ = 2_000_000  # rows that are looked at for a plot
STRETCH = 50_000  # rows that are read at once


def again(path: Path, media_type: str, fmt: Format, options: Mapping[str, str]) -> Iterator[bytes]:
    """Write a result in another format, as it is read.

    Raises
    ------
    ParamError
        Its own format is not one that is read here.
    """
    own, _ = formats.select(media_type)
    if own.read is None:
        raise ParamError(
            say("a result in {format} is not written again in {other}", own.name, fmt.name),
            name="_as",
            remedy="run the job again in the format that you need",
        )
    with path.open("rb") as file:
        read = own.read(file, batch=STRETCH)
        rows = 0

        def counted() -> Iterator[pa.RecordBatch]:
            nonlocal rows
            for batch in read.batches:
                rows += batch.num_rows
                yield batch

        yield from fmt.write(read.head, counted(), lambda: End(rows=rows), options)


def histogram(path: Path, media_type: str, column: Column) -> Histogram | None:
    """Count the rows of a result by the value of a column; None: there is no value."""
    (values,), _ = _numbers(path, media_type, [column])
    good = values[np.isfinite(values)]
    if not len(good):
        return None
    low, high = float(good.min()), float(good.max())
    bins = BINS
    if column.type.is_integer and high - low < bins:
        bins, high = int(high - low) + 1, high + 1
    width = (high - low) / bins or 1.0
    counts, _ = np.histogram(good, bins, (low, low + width * bins))
    return Histogram(
        column=column,
        low=low,
        high=low + width * bins,
        counts=tuple(counts.tolist()),
        missing=len(values) - len(good),
        time=plots.is_time(column),
    )


def points(path: Path, media_type: str, columns: list[Column], table: Table | None = None) -> Points | Density | None:
    """Return the values of columns row by row; a density of the first two, if they are too many. None: there are none.

    `table` is the result: columns of errors are found in it, if it is given.
    """
    if len(columns) == 2 and all(map(plots.plotted, columns)):
        (x, y), rows = _numbers(path, media_type, columns)
        if rows > POINTS:
            good = np.isfinite(x) & np.isfinite(y)
            if not good.any():
                return None
            x, y = x[good], y[good]
            box = (float(x.min()), float(x.max()), float(y.min()), float(y.max()))
            ranges = (
                (box[2], box[3] if box[3] > box[2] else box[2] + 1),
                (box[0], box[1] if box[1] > box[0] else box[0] + 1),
            )
            counts, _, _ = np.histogram2d(y, x, SIDE, ranges)
            return Density(x=columns[0], y=columns[1], box=box, counts=counts.astype(np.int64))
    errors = {
        one.name: error
        for one in columns[:2]
        if table is not None and (error := plots.error_of(one, table)) is not None
    }
    names = list(dict.fromkeys([one.name for one in (*columns, *errors.values())]))
    values, more = _read(path, media_type, names, POINTS)
    return Points(
        columns=tuple(columns),
        values=values.select([one.name for one in columns]),
        keys=("",) * values.num_rows,
        more=more,
        errors={name: (error, values.column(error.name)) for name, error in errors.items()}
        if values.num_rows <= plots.BARS
        else {},
    )


def _numbers(path: Path, media_type: str, columns: list[Column]) -> tuple[list[npt.NDArray[np.float64]], int]:
    """Read columns as numbers: times as Julian dates, what is missing as NaN."""
    found, _ = _read(path, media_type, [one.name for one in columns], READ)
    return [_floats(found.column(number), one) for number, one in enumerate(columns)], int(found.num_rows)


def _floats(values: pa.ChunkedArray, column: Column) -> npt.NDArray[np.float64]:
    if not plots.plotted(column):
        raise ParamError(
            say("{name} has no numbers and no times", column.name), name="_x", remedy="choose a column of numbers"
        )
    if column.type.is_timestamp:  # as text, where the file has it so
        micros = values.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64(), safe=False)
        return np.asarray(micros.to_numpy(), np.float64) / 86_400e6 + 2_440_587.5
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _read(path: Path, media_type: str, names: list[str], most: int) -> tuple[pa.Table, bool]:
    """Read some columns of a result; whether there are more rows than that."""
    own, _ = formats.select(media_type)
    if own.read is None:  # texts and tables of other programs: their beginning
        found = first_rows(path, media_type, min(most, POINTS))
        if found is None:
            raise ParamError(
                say("a result in {format} cannot be drawn", own.name), name="job", remedy="run the job again as VOTable"
            )
        page, _ = found
        return page.rows.select(names), page.more
    batches: list[pa.RecordBatch] = []
    rows = 0
    with path.open("rb") as file:
        read = own.read(file, batch=min(STRETCH, most))
        for batch in read.batches:
            part = batch.select(names)
            if rows + part.num_rows > most:
                batches.append(part.slice(0, most - rows))
                return pa.Table.from_batches(batches), True
            batches.append(part)
            rows += part.num_rows
        if not batches:
            schema = pa.schema([next(one for one in read.head.columns if one.name == name).arrow for name in names])
            return schema.empty_table(), False
    return pa.Table.from_batches(batches), False
