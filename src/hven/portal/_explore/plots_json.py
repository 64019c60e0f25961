"""Histograms, points and densities as plain values: what a plot in a browser reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.portal._explore import plots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.portal._explore.column_labels import Labels
    from hven.portal._explore.plots import Density, Histogram, Points


def histogram(found: Histogram | None, column: Column, labels: Labels | None = None) -> dict[str, Any]:
    """Return the counts of a column; None: it has no value. Without `labels`, as for answers of queries, columns are called as queries call them."""
    facts = {"column": column.name, **_called(column, labels)}
    if found is None:
        return {**facts, "counts": [], "missing": 0, "time": plots.is_time(column)}
    zero = _zero(column)
    return {
        **facts,
        "low": found.low + zero,
        "high": found.high + zero,
        "counts": found.counts,
        "missing": found.missing,
        "time": found.time,
    }


def _zero(column: Column) -> float:
    """Return what is added to a value so that it is a Julian date, where it is a time that is counted in days."""
    return column.epoch or 0.0


def _called(column: Column, labels: Labels | None) -> dict[str, str]:
    """Return what an axis is called: values stay in the unit that they are stored in."""
    unit = column.unit or ""
    return {"label": labels.column(column, unit) if labels is not None else column.label or column.name, "unit": unit}


def axes(columns: Sequence[Column], labels: Labels | None = None) -> list[dict[str, Any]]:
    """Return what is said of the columns that are drawn."""
    return [{"name": one.name, **_called(one, labels), "time": plots.is_time(one)} for one in columns]


def points(found: Points, total: int | None, labels: Labels | None = None) -> dict[str, Any]:
    """Return points, row by row."""
    values = []
    for column, given in zip(found.columns, found.values.columns, strict=True):
        zero, numbers = _zero(column), [plots.as_number(value) for value in given.to_pylist()]
        values.append([value + zero if isinstance(value, float) else value for value in numbers] if zero else numbers)
    told = axes(found.columns, labels)
    for one, column in zip(told, found.columns, strict=True):
        if column.name in found.errors:
            error, given = found.errors[column.name]
            one["error"] = {"name": error.name, "values": [plots.as_number(value) for value in given.to_pylist()]}
    return {"axes": told, "values": values, "keys": found.keys, "more": found.more, "total": total}


def density(
    found: Density | None, columns: Sequence[Column], total: int | None, labels: Labels | None = None
) -> dict[str, Any]:
    """Return a density; None: there are no values."""
    if found is None:
        return {"axes": axes(columns, labels), "density": None, "values": [[] for _ in columns], "keys": []}
    x, y = _zero(found.x), _zero(found.y)
    box = found.box[0] + x, found.box[1] + x, found.box[2] + y, found.box[3] + y
    return {"axes": axes(columns, labels), "density": {"box": box, "counts": found.counts}, "total": total}
