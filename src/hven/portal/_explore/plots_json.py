"""Convert histograms, points and densities to plain values for the plots of browsers, and densities to SVG paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.portal._explore import plots
from hven.portal._explore.number_formatting import format_unit
from hven.portal._explore.search_fields import build_unit_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.table import Column
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._explore.number_formatting import UnitScale
    from hven.portal._explore.plots import DensityGrid, Histogram, PlotPoints


def choose_plot_unit_scale(
    column: Column, labels: ColumnLabels | None, chosen_units: Sequence[tuple[str, str]] = ()
) -> UnitScale | None:
    """Return the scale of a column in plots: of the chosen unit, or of the usual one; None for the stored unit."""
    if labels is None or labels.is_raw or plots.is_plotted_as_julian_date(column):
        return None
    unit = dict(chosen_units).get(column.name)
    unit_scale = (build_unit_scale(column, unit) if unit else None) or labels.find_unit_scale(column)
    if unit_scale.is_sexagesimal:
        return None
    return unit_scale


def histogram_to_json(
    histogram: Histogram | None, column: Column, labels: ColumnLabels | None = None
) -> dict[str, Any]:
    """Return a histogram as JSON; None as `histogram` means that the column has no values.

    Parameters
    ----------
    histogram
        The counts.
    column
        The column.
    labels
        Labels of the columns; None: columns have the names of the query.
    """
    facts = {
        "column": column.name,
        **_build_axis_label_and_unit(column, labels, None if histogram is None else histogram.scale),
    }
    if histogram is None:
        is_time = plots.is_plotted_as_julian_date(column)
        return {**facts, "counts": [], "missing": 0, "time": is_time}
    epoch_offset = _find_epoch_offset(column)
    return {
        **facts,
        "low": histogram.low + epoch_offset,
        "high": histogram.high + epoch_offset,
        "counts": histogram.counts,
        "missing": histogram.missing_count,
        "time": histogram.is_time,
    }


def _find_epoch_offset(column: Column) -> float:
    """Return the offset from a column's values to Julian dates, for times that are counted in days."""
    return column.epoch or 0.0


def _build_axis_label_and_unit(
    column: Column, labels: ColumnLabels | None, unit_scale: UnitScale | None = None
) -> dict[str, Any]:
    """Return the label and the unit of an axis; without `unit_scale`, the stored unit.

    Converted values also have the unit as conditions write it, and whether they are reciprocals of the stored ones.
    """
    unit = column.unit or ""
    conversion: dict[str, Any] = {}
    if unit_scale is not None:
        unit = unit_scale.unit
        if unit_scale.is_inverse or unit_scale.factor != 1.0:
            conversion = {"condition_unit": unit, "is_reciprocal": unit_scale.is_inverse}
    if labels is None:
        return {"label": column.label or column.name, "unit": format_unit(unit), **conversion}
    shown_unit = unit if labels.is_raw else format_unit(unit)
    return {"label": labels.label_column(column, unit), "unit": shown_unit, **conversion}


def axes_to_json(
    columns: Sequence[Column], labels: ColumnLabels | None = None, scales: Sequence[UnitScale | None] = ()
) -> list[dict[str, Any]]:
    """Return the axes of some columns as JSON.

    Parameters
    ----------
    columns
        The columns.
    labels
        Labels of the columns; None: columns have their own names.
    scales
        The scales of the shown units; None stands for the stored unit.
    """
    axis_scales = [*scales, *([None] * (len(columns) - len(scales)))]
    return [
        {
            "name": column.name,
            **_build_axis_label_and_unit(column, labels, axis_scale),
            "time": plots.is_plotted_as_julian_date(column),
        }
        for column, axis_scale in zip(columns, axis_scales, strict=True)
    ]


def points_to_json(
    plot_points: PlotPoints,
    total_rows: int | None,
    labels: ColumnLabels | None = None,
    chosen_units: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return points as JSON, row by row, in the units of `choose_plot_unit_scale`.

    Parameters
    ----------
    plot_points
        The points.
    total_rows
        Number of rows; None if it is not known.
    labels
        Labels of the columns; None: columns have their own names.
    chosen_units
        Columns with the units that the reader chose.
    """
    scales = [choose_plot_unit_scale(column, labels, chosen_units) for column in plot_points.columns]
    values = []
    stored_columns = zip(plot_points.columns, plot_points.values.columns, scales, strict=True)
    for column, stored_values, axis_scale in stored_columns:
        scaled_values = _scale_values(stored_values, axis_scale)
        values.append(_to_plot_values(scaled_values, _find_epoch_offset(column)))
    plot_axes = axes_to_json(plot_points.columns, labels, scales)
    for axis, column, axis_scale in zip(plot_axes, plot_points.columns, scales, strict=True):
        if column.name in plot_points.errors:
            error, stored_values = plot_points.errors[column.name]
            if axis_scale is not None and axis_scale.is_inverse:  # the error of f / x is f / x2 times that of x
                square = pc.power(plot_points.values.column(column.name).cast(pa.float64()), 2.0)
                stored_values = pc.divide(pc.multiply(stored_values.cast(pa.float64()), axis_scale.factor), square)
            else:
                stored_values = _scale_values(stored_values, axis_scale)
            axis["error"] = {"name": error.name, "values": _to_plot_values(stored_values, 0.0)}
    return {
        "axes": plot_axes,
        "values": values,
        "keys": plot_points.keys,
        "more": plot_points.has_more,
        "total": total_rows,
    }


def _scale_values(stored_values: pa.ChunkedArray, unit_scale: UnitScale | None) -> pa.ChunkedArray:
    """Convert values to the shown unit."""
    if unit_scale is None or (unit_scale.factor == 1.0 and not unit_scale.is_inverse):
        return stored_values
    numbers = stored_values.cast(pa.float64(), safe=False)
    if unit_scale.is_inverse:
        return pc.divide(unit_scale.factor, numbers)
    return pc.multiply(numbers, unit_scale.factor)


def _to_plot_values(stored_values: pa.ChunkedArray, offset: float) -> list[Any]:
    """Convert values for plots; `offset` is added to numbers."""
    numbers = [plots.to_plot_value(value) for value in stored_values.to_pylist()]
    if offset:
        return [value + offset if isinstance(value, float) else value for value in numbers]
    return numbers


def density_to_json(
    density_grid: DensityGrid | None,
    columns: Sequence[Column],
    total_rows: int | None,
    labels: ColumnLabels | None = None,
) -> dict[str, Any]:
    """Return a density as JSON; None means that there are no values.

    Parameters
    ----------
    density_grid
        The counts.
    columns
        The columns of both axes.
    total_rows
        Number of rows; None if it is not known.
    labels
        Labels of the columns; None: columns have their own names.
    """
    if density_grid is None:
        empty_values: list[list[Any]] = [[] for _ in columns]
        return {"axes": axes_to_json(columns, labels), "density": None, "values": empty_values, "keys": []}
    x = _find_epoch_offset(density_grid.x)
    y = _find_epoch_offset(density_grid.y)
    x_low, x_high, y_low, y_high = density_grid.box
    box = (x_low + x, x_high + x, y_low + y, y_high + y)
    plot_axes = axes_to_json(columns, labels, density_grid.scales)
    return {"axes": plot_axes, "density": {"box": box, "counts": density_grid.counts}, "total": total_rows}


def write_svg_paths_of_shaded_cells(
    counts: npt.NDArray[Any], tops: Sequence[int], *, shade_count: int, cell_size: int = 1
) -> list[str]:
    """Draw cells in shades of the logarithm of their counts; equal neighbours in a row are joined.

    Parameters
    ----------
    counts
        Counts, shape (rows, columns).
    tops
        Upper edge of each row in the drawing.
    shade_count
        Number of shades.
    cell_size
        Width and height of a cell in the drawing.

    Returns
    -------
    paths
        A path for each shade, that of the smallest counts first.
    """
    logs = np.log1p(counts.astype(np.float64))
    numbers = (shade_count * logs / (logs.max(initial=0.0) or 1.0)).astype(np.int64)
    shades = np.where(counts > 0, np.minimum(numbers, shade_count - 1), -1)
    paths = [""] * shade_count
    for row_shades, top in zip(shades, tops, strict=True):
        edges = np.flatnonzero(np.diff(row_shades, prepend=-2, append=-2))
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            shade = int(row_shades[begin])
            if shade >= 0:
                width = (end - begin) * cell_size
                paths[shade] += f"M{begin * cell_size} {top}h{width}v{cell_size}h-{width}z"
    return paths
