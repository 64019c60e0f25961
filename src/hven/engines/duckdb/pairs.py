"""Joins by position and by key: which rows of an indexed table can meet which rows of the other, found without a cross product.

A match ``CONTAINS(POINT(t.ra, t.dec), CIRCLE(d.lon, d.lat, r)) = 1`` or ``DISTANCE(..) < r`` becomes: cover every circle of `d` by
HEALPix ranges, look them up in the index of `t`, keep the pairs that are near enough. `t` is then replaced by its rows of these
pairs (a row once for each pair) with the number of the partner in `d`, and the condition is joined by ``t.partner = d.row``: a hash
join, with the exact condition after it. A join on an indexed key narrows the indexed table to the rows that have one of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.adql.tree import And, ColumnRef, Compare, Expr, Ident, Meta
from hven.engines.duckdb.constants import constant
from hven.engines.duckdb.geometry import MIRROR, circle_parts, contained, coordinates, distance_points
from hven.engines.duckdb.indexing import numbers_of
from hven.engines.duckdb.roads import Found, key_column, position_of, spread
from hven.model.table import Column
from hven.model.types import BOOLEAN, INT64
from hven.sky import distance, healpix
from hven.sky.sphere import in_circle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.engines.duckdb.constants import Constant
    from hven.engines.duckdb.keys import KeyIndex
    from hven.engines.duckdb.layout import Stored
    from hven.engines.duckdb.roads import Scope

    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

ROW, PARTNER = "hven:row", "hven:partner"
DRIVERS = 2_000_000  # circles that are looked up at most
PAIRS = 50_000_000  # pairs that are looked at at most
STEP = 200_000  # circles at a time
_MARGIN = 1e-9  # degrees: pairs are kept by a wider circle than the exact test draws


@dataclass(frozen=True, slots=True)
class Side:
    """One way to use a match: the rows of `target` are looked up for every row of `driver`.

    Attributes
    ----------
    doubled
        The reference that gets one row for each pair; the other one keeps its rows, numbered.
    position
        Columns of the target's position index.
    lon, lat
        Columns of the driver.
    radius
        A constant, or a column of the driver; degrees.
    """

    target: int
    driver: int
    doubled: int
    position: tuple[str, str]
    lon: str
    lat: str
    radius: Constant | str


@dataclass(frozen=True, slots=True)
class Match:
    """A condition that joins two tables by position.

    Attributes
    ----------
    one
        Must be 1 when the plan runs: ``CONTAINS(..) = 1``.
    exact
        In ON of an outer join: how pairs are tested before DuckDB sees them (``inside``, ``<`` or ``<=``), for DuckDB
        makes a hash join there of nothing but equalities. Empty elsewhere: DuckDB tests the condition itself.
    """

    condition: Expr
    sides: tuple[Side, ...]
    one: Constant | None
    exact: str = ""


@dataclass(frozen=True, slots=True)
class KeyJoin:
    """A condition that joins the indexed `column` of `target` to `other` of `driver`."""

    target: int
    column: str
    driver: int
    other: str


def matches(scope: Scope, free: frozenset[int]) -> list[Match]:
    """Find the joins by position of one SELECT."""
    found = []
    for condition, leaves in scope.conditions:
        one: Constant | None = None
        inside = contained(condition)
        parts = None
        if inside is not None:
            point, circle = coordinates(inside[0]), circle_parts(inside[1])
            one = constant(inside[2], free)
            if point is not None and circle is not None:
                parts = (point, circle[:2], circle[2], "inside")
        elif isinstance(condition, Compare):
            parts = _near(condition)
        if parts is None:
            continue
        a, b, radius, test = parts
        sides = tuple(side for here, there in ((a, b), (b, a)) for side in _sides(scope, leaves, here, there, radius, free))
        if sides:
            found.append(Match(condition, sides, one, test if id(condition) in scope.outer else ""))
    return found


def _near(condition: Compare) -> tuple[tuple[Expr, Expr], tuple[Expr, Expr], Expr, str] | None:
    for call, op, limit in ((condition.left, condition.op, condition.right), (condition.right, MIRROR[condition.op], condition.left)):
        points = distance_points(call)
        if points is not None and op in {"<", "<="}:
            return *points, limit, op
    return None


def _sides(
    scope: Scope, leaves: frozenset[int], here: tuple[Expr, Expr], there: tuple[Expr, Expr], radius: Expr, free: frozenset[int]
) -> Iterator[Side]:
    if not isinstance(here[0], ColumnRef):
        return
    target = here[0].source
    if target not in scope.direct or (position := position_of(scope, target, here)) is None:
        return
    if not (isinstance(there[0], ColumnRef) and isinstance(there[1], ColumnRef)) or there[0].source != there[1].source:
        return
    driver = there[0].source
    lon, lat = there[0].column, there[1].column
    if driver == target or driver not in scope.direct or lon is None or lat is None or not (lon.type.is_numeric and lat.type.is_numeric):
        return
    size: Constant | str | None = constant(radius, free)
    if (
        size is None
        and isinstance(radius, ColumnRef)
        and radius.source == driver
        and radius.column is not None
        and radius.column.type.is_numeric
    ):
        size = radius.column.name
    doubled = target if target in leaves else driver
    if size is not None and doubled in leaves:
        yield Side(target, driver, doubled, position, lon.name, lat.name, size)


def key_joins(scope: Scope) -> list[KeyJoin]:
    """Find the joins on an indexed key of one SELECT."""
    found = []
    for condition, leaves in scope.conditions:
        if not isinstance(condition, Compare) or condition.op != "=":
            continue
        for here, there in ((condition.left, condition.right), (condition.right, condition.left)):
            if not (isinstance(here, ColumnRef) and isinstance(there, ColumnRef)) or here.column is None or there.column is None:
                continue
            if not {here.source, there.source} <= scope.direct or here.source == there.source or here.source not in leaves:
                continue
            alike = (here.column.type.is_integer and there.column.type.is_integer) or (
                here.column.type.is_timestamp and there.column.type.is_timestamp
            )
            name = key_column(scope, here.source, here)
            if alike and name is not None:
                found.append(KeyJoin(here.source, name, there.source, there.column.name))
    return found


def joined(match: Match, side: Side) -> Expr:
    """Give the condition with the equality of row numbers before it, or that alone if the pairs are exact."""
    kept = side.driver if side.doubled == side.target else side.target
    same = Compare("=", _hidden(PARTNER, side.doubled), _hidden(ROW, kept), meta=Meta(BOOLEAN))
    return same if match.exact else And((same, match.condition), meta=Meta(BOOLEAN))


def _hidden(name: str, source: int) -> ColumnRef:
    return ColumnRef(Ident(name, quoted=True), source=source, column=Column(name=name, type=INT64), meta=Meta(INT64))


# --- looking up -------------------------------------------------------------------------------------------------------------


def doubles(column: pa.ChunkedArray) -> Numbers:
    """Read a column of numbers as doubles, NaN for null."""
    whole = column.cast(pa.float64())
    return np.asarray(whole.to_numpy(), dtype=np.float64)


def near_pairs(
    stored: Stored, position: tuple[str, str], circles: tuple[Numbers, Numbers, Numbers], exact: str = ""
) -> tuple[Rows, Rows] | None:
    """Give the pairs (number of circle, row of the table) of positions that lie in circles; None if there are too many.

    Parameters
    ----------
    circles
        Longitudes, latitudes, radii in degrees.
    exact
        See `Match`; if empty, some pairs may be a nano-degree too far apart.
    """
    lon, lat, radius = circles
    index = stored.healpix
    order = np.argsort(healpix.index(9, lon, lat), kind="stable")  # neighbours are looked up together: their pages are warm
    owners: list[Rows] = []
    rows: list[Rows] = []
    total = 0
    places = stored.projection(position)
    for begin in range(0, len(order), STEP):
        part = order[begin : begin + STEP]
        which, ranges = healpix.cones_ranges(lon[part], lat[part], radius[part])
        ends = index.searchsorted(ranges.ravel()).reshape(-1, 2)
        counts = ends[:, 1] - ends[:, 0]
        total += int(counts.sum())
        if total > PAIRS:
            return None
        row, owner = spread(ends), part[np.repeat(which, counts)]
        if len(row):
            unique, back = np.unique(row, return_inverse=True)
            found = places.take(unique)
            x, y = (np.asarray(found.column(at).cast(pa.float64()).to_numpy(zero_copy_only=False))[back] for at in (0, 1))
            near = _test(exact, x, y, lon[owner], lat[owner], radius[owner])
            owners.append(owner[near])
            rows.append(row[near])
    if not rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(owners), np.concatenate(rows)


def _test(exact: str, x: Numbers, y: Numbers, lon: Numbers, lat: Numbers, radius: Numbers) -> Any:
    if exact == "<":
        return distance(x, y, lon, lat) < radius
    if exact == "<=":
        return distance(x, y, lon, lat) <= radius
    return in_circle(x, y, lon, lat, radius if exact else radius + _MARGIN)


def with_numbers(rows: pa.Table, name: str, numbers: Rows) -> pa.Table:
    """Append a column of row numbers."""
    return rows.append_column(name, pa.array(numbers))


def radii(side: Side, rows: pa.Table, values: Sequence[float | str | None]) -> Numbers | None:
    """Give the radius of every row of the driver; NaN stands for null and finds nothing.

    None if there are true NaNs: DuckDB calls everything smaller than NaN.
    """
    if isinstance(side.radius, str):
        column = rows.column(side.radius)
        found = doubles(column)
        return np.minimum(found, 180.0) if int(np.isnan(found).sum()) == column.null_count else None
    value = side.radius(values)
    return np.full(rows.num_rows, min(float(value), 180.0)) if isinstance(value, int | float) else None


def rows_with_keys(index: KeyIndex, keys: Any, limit: int) -> Found | None:
    """Give the rows whose key is among `keys` (an Arrow column of the same kind of type); None if they are too many."""
    if index.values is None:
        return None
    wanted = keys.drop_null()
    found = (
        np.unique(np.concatenate([numbers_of(chunk) for chunk in wanted.chunks])) if wanted.num_chunks else np.empty(0, index.values.dtype)
    )
    if found.dtype != index.values.dtype:
        limits = np.iinfo(index.values.dtype)
        found = found[(found >= limits.min) & (found <= limits.max)].astype(index.values.dtype)
    begin, end = index.values.searchsorted(found, side="left"), index.values.searchsorted(found, side="right")
    count = int((end - begin).sum())
    if count > limit:
        return None
    places = spread(np.stack([begin, end], axis=1).astype(np.int64))
    rows = places if index.rows is None else index.rows[places].astype(np.int64)
    return Found(count, pieces=(rows,))
