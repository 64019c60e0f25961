"""What plots and maps draw: histograms, points, densities where points would be too many; each under the conditions of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql import tree
from hven.model.errors import UserError, say
from hven.portal._explore.rows import keys_of
from hven.portal._explore.search import COUNTED, ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from hven.model.table import Column, Table
    from hven.portal._explore.number_text import Scale
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

BINS = 60
BARS = 3_000  # points that errors are drawn of: more of them cover each other
POINTS = 100_000  # drawn one by one at most
SIDE = 256  # cells along each side of a density
PATIENCE = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Rows by value: `counts` of bins of equal width from `low` to `high`; `time`: these are Julian dates.

    `scale`: what was counted is not the value, but what it is told in.
    """

    column: Column
    low: float
    high: float
    counts: tuple[int, ...]
    missing: int
    time: bool = False
    scale: Scale | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Values of some columns, row by row; `more`: these are not all. `errors`: of some of them the column of their errors, with its values."""

    columns: tuple[Column, ...]
    values: pa.Table
    keys: tuple[str, ...]
    more: bool
    errors: Mapping[str, tuple[Column, pa.ChunkedArray]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """Rows by two values: `counts[y][x]` over the box ``x_low..x_high``, ``y_low..y_high``; shape (SIDE, SIDE). `scales`: of `Histogram`."""

    x: Column
    y: Column
    box: tuple[float, float, float, float]
    counts: npt.NDArray[np.int64]
    scales: tuple[Scale | None, Scale | None] = (None, None)


def plotted(column: Column) -> bool:
    """Return whether a column has numbers, or times, that can be drawn."""
    kind = column.type
    return (kind.is_numeric or kind.is_timestamp) and not kind.is_array and not column.hidden


def is_time(column: Column) -> bool:
    """Return whether a column's values are drawn as Julian dates."""
    return column.type.is_timestamp or column.epoch is not None


def span(search: Search, column: Column, asking: Asking) -> tuple[float, float] | None:
    """Return the smallest and largest value of a column among the rows of a search; None: there is none.

    Without conditions they are known already, unless a policy hides rows from this reader.
    """
    if search.where() is None and not asking.hides(search.table):
        known = asking.published(search.table).statistics.get(column.name, {})
        low, high = _number(known.get("minimum")), _number(known.get("maximum"))
        if low is not None and high is not None:
            return low, high
    items = tuple(
        tree.SelectItem(tree.Function(name, (ref(column.name),)), tree.Ident(name.lower())) for name in ("MIN", "MAX")
    )
    found = asking.table(tree.Query(tree.Select(items, search.source(), where=search.where())), seconds=PATIENCE)
    low, high = (_number(found.column(number)[0].as_py()) for number in (0, 1))
    return None if low is None or high is None else (low, high)


def histogram(
    search: Search, column: Column, asking: Asking, *, bins: int = BINS, scale: Scale | None = None
) -> Histogram | None:
    """Count the rows of a search by the value of a column; None: there is no value.

    Parameters
    ----------
    scale
        What the values are told in: bins are even in it. None: as they are, and where it leads beyond all numbers.

    Raises
    ------
    UserError
        The column has no numbers and no times.
    """
    _check(column)
    bounds = span(search, column, asking)
    if bounds is None:
        return None
    scale, (low, high) = _told_in(scale, bounds)
    if scale is None and column.type.is_integer and high - low < bins:
        bins, high = int(high - low) + 1, high + 1
    width = (high - low) / bins or 1.0
    values = _bin(column, low, width, scale)
    items = (tree.SelectItem(values, tree.Ident("b")), COUNTED)
    found = asking.table(
        tree.Query(tree.Select(items, search.source(), where=search.where(), group_by=(values,))), seconds=PATIENCE
    )
    counts = np.zeros(bins, np.int64)
    missing = 0
    for place, count in zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True):
        if place is None or not math.isfinite(place):
            missing += count
        else:
            counts[min(max(int(place), 0), bins - 1)] += count  # the largest value belongs to the last bin
    return Histogram(
        column=column,
        low=low,
        high=low + width * bins,
        counts=tuple(counts.tolist()),
        missing=missing,
        time=is_time(column),
        scale=scale,
    )


def _told_in(scale: Scale | None, bounds: tuple[float, float]) -> tuple[Scale | None, tuple[float, float]]:
    """Return the scale that values between two bounds are told in, and these in it; None: it changes nothing, or cannot tell them all."""
    if scale is None or (scale.factor == 1.0 and not scale.inverse) or (scale.inverse and bounds[0] <= 0):
        return None, bounds
    low, high = sorted(map(scale.of, bounds))
    return (scale, (low, high)) if math.isfinite(high - low) else (None, bounds)


def points(search: Search, columns: Sequence[Column], asking: Asking, *, most: int = POINTS) -> Points:
    """Return the values of columns row by row, with the rows' keys."""
    for column in columns:
        if not column.type.is_string and not column.type.is_geometry:
            _check(column)
    errors = {column.name: error for column in columns[:2] if (error := error_of(column, search.table)) is not None}
    names = list(
        dict.fromkeys(
            [*(column.name for column in columns), *(one.name for one in errors.values()), *search.table.primary]
        )
    )
    found = asking.table(search.having(order=()).query(columns=names, limit=most + 1), most=most + 1, seconds=PATIENCE)
    values = found.slice(0, most)
    return Points(
        columns=tuple(columns),
        values=values.select([column.name for column in columns]),
        keys=keys_of(values, search.table.primary),
        more=found.num_rows > most,
        errors={name: (error, values.column(error.name)) for name, error in errors.items()}
        if values.num_rows <= BARS
        else {},
    )


def error_of(column: Column, table: Table) -> Column | None:
    """Find the column of a column's errors: the one that its group names, or of UCD ``stat.error;..`` with the same words behind.

    Where several columns have those words, the name decides: ``e_mass``, ``mass_err``, ``mass_error``. An error in another unit is none.
    """
    known = {one.name: one for one in table.columns if plotted(one) and (one.unit or "") == (column.unit or "")}
    for group in table.groups:
        if group.roles.get("value") == column.name and group.roles.get("error") in known:
            return known[group.roles["error"]]
    base = _base(column)
    if not base or base.startswith("stat.error") or column.type.is_timestamp:
        return None
    found = [one for one in known.values() if _base(one) == f"stat.error;{base}"]
    alike = [one for one in table.columns if _base(one) == base]
    if len(found) == len(alike) == 1:
        return found[0]
    name = column.name.lower()
    named = {f"e_{name}", f"err_{name}", f"{name}_err", f"{name}_error", f"{name}_e", f"error_{name}"}
    return next((one for one in found if one.name.lower() in named), None)


def _base(column: Column) -> str:
    return ";".join(word for word in (column.ucd or "").lower().split(";") if word != "meta.main")


def density(
    search: Search,
    x: Column,
    y: Column,
    asking: Asking,
    *,
    side: int = SIDE,
    scales: tuple[Scale | None, Scale | None] = (None, None),
) -> Density | None:
    """Count the rows of a search by two values; None: there are none. `scales`: of `histogram`."""
    for column in (x, y):
        _check(column)
    across, up = span(search, x, asking), span(search, y, asking)
    if across is None or up is None:
        return None
    (of_x, across), (of_y, up) = _told_in(scales[0], across), _told_in(scales[1], up)
    bins = [
        _bin(column, low, ((high - low) or 1.0) / side, scale)
        for column, (low, high), scale in ((x, across, of_x), (y, up, of_y))
    ]
    items = (*(tree.SelectItem(one, tree.Ident(name)) for one, name in zip(bins, "xy", strict=True)), COUNTED)  # fmt: skip
    found = asking.table(
        tree.Query(tree.Select(items, search.source(), where=search.where(), group_by=tuple(bins))), seconds=PATIENCE
    )
    counts = np.zeros((side, side), np.int64)
    at_x, at_y, count = (np.asarray(found.column(number).to_numpy(), np.float64) for number in range(3))
    good = np.isfinite(at_x) & np.isfinite(at_y)
    places = tuple(np.clip(at[good].astype(np.int64), 0, side - 1) for at in (at_y, at_x))
    np.add.at(counts, places, count[good].astype(np.int64))
    return Density(x=x, y=y, box=(*across, *up), counts=counts, scales=(of_x, of_y))


def _check(column: Column) -> None:
    if not plotted(column):
        raise UserError(say("{name} has no numbers and no times", column.name), remedy="choose a column of numbers")


def _bin(column: Column, low: float, width: float, scale: Scale | None = None) -> tree.Expr:
    """Write the number of the bin that a value falls into."""
    value: tree.Expr = ref(column.name)
    if column.type.is_timestamp:
        value = tree.Function("IVO_TO_JD", (value,))
    value = tree.Cast(value, "DOUBLE PRECISION")
    if scale is not None:
        factor = tree.Literal(float(scale.factor))
        value = tree.Binary("/", factor, value) if scale.inverse else tree.Binary("*", value, factor)
    shifted = tree.Binary("-", value, tree.Literal(float(low)))
    return tree.Function("FLOOR", (tree.Binary("/", shifted, tree.Literal(float(width))),))


def as_number(value: Any) -> Any:
    """Return a value as plots take it: a number or None, times as Julian dates; texts stay."""
    return value if isinstance(value, str) else _number(value)


def _number(value: Any) -> float | None:
    """Return a value as a number: times as Julian dates."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).timestamp() / 86_400 + 2_440_587.5
    found = math.nan if value is None else float(value)
    return found if math.isfinite(found) else None
