"""Histograms, points and densities as plain values: what a plot in a browser reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.portal._explore import plots
from hven.portal._explore.number_formatting import format_unit
from hven.portal._explore.search_fields import choose_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.portal._explore.column_labels import ColumnLabels
    from hven.portal._explore.number_formatting import UnitScale
    from hven.portal._explore.plots import DensityGrid, Histogram, PlotPoints


def choose_plot_scale(
    column: Column, labels: ColumnLabels | None, chosen_units: Sequence[tuple[str, str]] = ()
) -> UnitScale | None:
    """Return what the values of a column are told in: the unit that the reader chose, else that of their size; None.

    The stored one.
    """
    if labels is None or labels.is_raw or plots.is_time(column):
        return None
    unit = dict(chosen_units).get(column.name)
    unit_scale = (choose_scale(column, unit) if unit else None) or labels.find_scale(column)
    return None if unit_scale.is_sexagesimal else unit_scale


def histogram_to_json(counted: Histogram | None, column: Column, labels: ColumnLabels | None = None) -> dict[str, Any]:
    """Return the counts of a column; None: it has no value.

    Without `labels`, as for answers of queries, columns are called as queries call them.
    """
    facts = {"column": column.name, **_label_axis(column, labels, None if counted is None else counted.scale)}
    if counted is None:
        is_time = plots.is_time(column)
        return {**facts, "counts": [], "missing": 0, "time": is_time}
    epoch_offset = _find_epoch_offset(column)
    return {
        **facts,
        "low": counted.low + epoch_offset,
        "high": counted.high + epoch_offset,
        "counts": counted.counts,
        "missing": counted.missing_count,
        "time": counted.is_time,
    }


def _find_epoch_offset(column: Column) -> float:
    """Return what is added to a value so that it is a Julian date, where it is a time that is counted in days."""
    return column.epoch or 0.0


def _label_axis(column: Column, labels: ColumnLabels | None, unit_scale: UnitScale | None = None) -> dict[str, str]:
    """Return what an axis is called, and the unit that its values are told in; None: that in which they are stored."""
    if unit_scale is None:
        unit = column.unit or ""
    else:
        unit = unit_scale.unit
    if labels is None:
        return {"label": column.label or column.name, "unit": format_unit(unit)}
    return {"label": labels.label_column(column, unit), "unit": unit if labels.is_raw else format_unit(unit)}


def axes_to_json(
    columns: Sequence[Column], labels: ColumnLabels | None = None, scales: Sequence[UnitScale | None] = ()
) -> list[dict[str, Any]]:
    """Return what is said of the columns that are drawn."""
    axis_scales = [*scales, *([None] * (len(columns) - len(scales)))]
    return [
        {"name": column.name, **_label_axis(column, labels, axis_scale), "time": plots.is_time(column)}
        for column, axis_scale in zip(columns, axis_scales, strict=True)
    ]


def points_to_json(
    plot_points: PlotPoints,
    total_rows: int | None,
    labels: ColumnLabels | None = None,
    chosen_units: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return points, row by row, in the units that `choose_plot_scale` says."""
    scales = [choose_plot_scale(column, labels, chosen_units) for column in plot_points.columns]
    values = [
        _to_plot_values(_scale_values(stored_values, axis_scale), _find_epoch_offset(column))
        for column, stored_values, axis_scale in zip(
            plot_points.columns, plot_points.values.columns, scales, strict=True
        )
    ]
    plot_axes = axes_to_json(plot_points.columns, labels, scales)
    for axis, column, axis_scale in zip(plot_axes, plot_points.columns, scales, strict=True):
        if column.name in plot_points.errors:
            error, stored_values = plot_points.errors[column.name]
            if axis_scale is not None and axis_scale.is_inverse:  # of f / x it is f / x2 times that of x
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
    """Convert values to what they are told in."""
    if unit_scale is None or (unit_scale.factor == 1.0 and not unit_scale.is_inverse):
        return stored_values
    numbers = stored_values.cast(pa.float64(), safe=False)
    if unit_scale.is_inverse:
        return pc.divide(unit_scale.factor, numbers)
    return pc.multiply(numbers, unit_scale.factor)


def _to_plot_values(stored_values: pa.ChunkedArray, offset: float) -> list[Any]:
    """Return values as plots take them; `offset` is added to numbers."""
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
    """Return a density; None: there are no values."""
    if density_grid is None:
        return {"axes": axes_to_json(columns, labels), "density": None, "values": [[] for _ in columns], "keys": []}
    x = _find_epoch_offset(density_grid.x)
    y = _find_epoch_offset(density_grid.y)
    box = density_grid.box[0] + x, density_grid.box[1] + x, density_grid.box[2] + y, density_grid.box[3] + y
    plot_axes = axes_to_json(columns, labels, density_grid.scales)
    return {"axes": plot_axes, "density": {"box": box, "counts": density_grid.counts}, "total": total_rows}
