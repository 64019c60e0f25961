"""Histograms, points and densities as plain values: what a plot in a browser reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.portal._explore import plots
from hven.portal._explore.fields import chosen
from hven.portal._explore.number_text import unit_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.portal._explore.column_labels import Labels
    from hven.portal._explore.number_text import Scale
    from hven.portal._explore.plots import Density, Histogram, Points


def scale(column: Column, labels: Labels | None, wanted: Sequence[tuple[str, str]] = ()) -> Scale | None:
    """Return what the values of a column are told in: the unit that the reader chose, else that of their size; None: the stored one."""
    if labels is None or labels.raw or plots.is_time(column):
        return None
    unit = dict(wanted).get(column.name)
    found = (chosen(column, unit) if unit else None) or labels.scale(column)
    return None if found.sexagesimal else found


def histogram(found: Histogram | None, column: Column, labels: Labels | None = None) -> dict[str, Any]:
    """Return the counts of a column; None: it has no value. Without `labels`, as for answers of queries, columns are called as queries call them."""
    facts = {"column": column.name, **_called(column, labels, None if found is None else found.scale)}
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


def _called(column: Column, labels: Labels | None, told: Scale | None = None) -> dict[str, str]:
    """Return what an axis is called, and the unit that its values are told in; None: that in which they are stored."""
    unit = column.unit or "" if told is None else told.unit
    if labels is None:
        return {"label": column.label or column.name, "unit": unit_text(unit)}
    return {"label": labels.column(column, unit), "unit": unit if labels.raw else unit_text(unit)}


def axes(
    columns: Sequence[Column], labels: Labels | None = None, scales: Sequence[Scale | None] = ()
) -> list[dict[str, Any]]:
    """Return what is said of the columns that are drawn."""
    told = [*scales, *([None] * (len(columns) - len(scales)))]
    return [
        {"name": one.name, **_called(one, labels, of), "time": plots.is_time(one)}
        for one, of in zip(columns, told, strict=True)
    ]


def points(
    found: Points, total: int | None, labels: Labels | None = None, wanted: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return points, row by row, in the units that `scale` says."""
    scales = [scale(column, labels, wanted) for column in found.columns]
    values = [
        _numbers(_scaled(given, of), _zero(column))
        for column, given, of in zip(found.columns, found.values.columns, scales, strict=True)
    ]
    told = axes(found.columns, labels, scales)
    for one, column, of in zip(told, found.columns, scales, strict=True):
        if column.name in found.errors:
            error, given = found.errors[column.name]
            if of is not None and of.inverse:  # of f / x it is f / x2 times that of x
                square = pc.power(found.values.column(column.name).cast(pa.float64()), 2.0)
                given = pc.divide(pc.multiply(given.cast(pa.float64()), of.factor), square)
            else:
                given = _scaled(given, of)
            one["error"] = {"name": error.name, "values": _numbers(given, 0.0)}
    return {"axes": told, "values": values, "keys": found.keys, "more": found.more, "total": total}


def _scaled(given: pa.ChunkedArray, of: Scale | None) -> pa.ChunkedArray:
    """Convert values to what they are told in."""
    if of is None or (of.factor == 1.0 and not of.inverse):
        return given
    numbers = given.cast(pa.float64(), safe=False)
    return pc.divide(of.factor, numbers) if of.inverse else pc.multiply(numbers, of.factor)


def _numbers(given: pa.ChunkedArray, zero: float) -> list[Any]:
    """Return values as plots take them; `zero` is added to numbers."""
    numbers = [plots.as_number(value) for value in given.to_pylist()]
    return [value + zero if isinstance(value, float) else value for value in numbers] if zero else numbers


def density(
    found: Density | None, columns: Sequence[Column], total: int | None, labels: Labels | None = None
) -> dict[str, Any]:
    """Return a density; None: there are no values."""
    if found is None:
        return {"axes": axes(columns, labels), "density": None, "values": [[] for _ in columns], "keys": []}
    x, y = _zero(found.x), _zero(found.y)
    box = found.box[0] + x, found.box[1] + x, found.box[2] + y, found.box[3] + y
    told = axes(columns, labels, found.scales)
    return {"axes": told, "density": {"box": box, "counts": found.counts}, "total": total}
