"""Joins by position and by key: which rows of an indexed table can meet which rows of the other, found without a cross product.

A match ``CONTAINS(POINT(t.ra, t.dec), CIRCLE(d.lon, d.lat, r)) = 1`` or ``DISTANCE(..) < r`` becomes: cover every circle of `d` by
HEALPix ranges, look them up in the index of `t`, keep the pairs that are near enough. `t` is then replaced by its rows of these
pairs (a row once for each pair) with the number of the partner in `d`, and the condition is joined by ``t.partner = d.row``: a hash
join, with the exact condition after it. `d` may be a table, a derived table (which is computed first), or a table of the query around
a subquery; what lies around its rows may be computed from them: a box, a polygon, ``3 * d.error``. If the condition is about a column of regions of `t`, the index of
these gives the pairs. A join on an indexed key narrows the indexed table to the rows that have one of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.grouping import of_its_row
from hven.adql.tree import And, ColumnRef, Compare, Expr, Ident, Meta, walk
from hven.engines._bound.constants import constant
from hven.engines._bound.geometry import circle_parts, contained, coordinates, near, touching
from hven.engines._bound.narrowable import Narrowable, key_column, position_of
from hven.engines.duckdb.accesses import Found, spread
from hven.engines.duckdb.indexing import numbers_of
from hven.engines.duckdb.layout import ROW
from hven.engines.duckdb.members import PARTNER, parts_of
from hven.model.clock import check
from hven.model.sky import arrays, distance, healpix, sphere
from hven.model.table import Column
from hven.model.types import BOOLEAN, CIRCLE, INT64, POLYGON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.engines._bound.constants import Constant
    from hven.engines.duckdb.keys import KeyIndex
    from hven.engines.duckdb.layout import Stored
    from hven.engines.duckdb.members import Part
    from hven.engines.duckdb.regions import RegionIndex
    from hven.model.types import Type

    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

DRIVERS = 2_000_000  # circles that are looked up at most
PAIRS = 50_000_000  # pairs that are looked at at most
PRODUCT = 2_000_000  # pairs that DuckDB may try one by one ..
SHAPES = 1_000  # .. if they are of regions, which are dear
STEP = 200_000  # circles at a time
AT_ONCE = (
    1 << 15
)  # pairs that are compared at a time: in a processor's cache, and in memory that need not be asked for anew
_ROWS = 1 << 40  # more than a table has
_CAP = 89.0  # degrees: polygons that reach farther from their middle may be anywhere
_SLACK = 1e-9  # degrees
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
    around
        What lies around a row of the driver: longitude, latitude and radius in degrees, a position, or one expression that is a shape.
    parts
        The members of the target, if it is a union.
    region
        The target's column of regions, if it is their index that is looked up.
    """

    target: int
    driver: int
    doubled: int
    position: tuple[str, str]
    around: tuple[Expr, ...]
    parts: tuple[Part, ...] = ()
    region: str = ""

    @property
    def worth(self) -> int:
        """Number of pairs that DuckDB may try one by one."""
        return SHAPES if self.region else PRODUCT

    def indexed(self, stored: Stored) -> bool:
        """Tell whether a snapshot has the index that is looked up."""
        if self.region:
            return stored.region(self.region) is not None
        return bool(self.parts) or stored.manifest.position == self.position


@dataclass(frozen=True, slots=True)
class Match:
    """A condition that joins two tables by position.

    Attributes
    ----------
    one
        Must be 1 when the plan runs: ``CONTAINS(..) = 1``.
    exact
        In ON of an outer join, in subqueries, and for shapes, which are dear to test: how pairs are tested before DuckDB sees them (``inside``, ``<`` or ``<=``; ``asked``:
        by the condition itself, over the pairs), for DuckDB makes a hash join there of nothing but equalities. Empty elsewhere: DuckDB
        tests the condition after the join.
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


def matches(narrowable: Narrowable, free: frozenset[int]) -> list[Match]:
    """Find the joins by position of one SELECT."""
    found = []
    for condition, leaves in narrowable.conditions:
        one: Constant | None = None
        inside = contained(condition)
        tried: list[tuple[tuple[Expr, Expr], tuple[Expr, ...]]] = []
        test = "asked"
        if inside is not None:
            point, circle = coordinates(inside[0]), circle_parts(inside[1])
            one = constant(inside[2], free)
            if point is not None and circle is not None:
                tried, test = [(point, circle), (circle[:2], (*point, circle[2]))], "inside"
            elif point is not None:
                tried = [(point, (inside[1],))]
        elif (pair := next(near(condition), None)) is not None:
            a, b, limit, test = pair
            tried = [(a, (*b, limit)), (b, (*a, limit))]
        ways = [_side(narrowable, leaves, here, around) for here, around in tried]
        if (shapes := touching(condition)) is not None:
            one, test = constant(shapes[2], free), "asked" if any(map(_is_region, shapes[:2])) else test
            ways += [_touching(narrowable, leaves, here, there) for here, there in (shapes[:2], shapes[1::-1])]
        sides = tuple(side for side in ways if side is not None)
        if sides:
            found.append(
                Match(condition, sides, one, test if id(condition) in narrowable.outer or test == "asked" else "")
            )
    return found


def correlated(inner: Narrowable, outer: Narrowable, free: frozenset[int]) -> list[Match]:
    """Find the conditions of a subquery that join its tables by position to those of the query around it.

    A row of the subquery meets a row outside as often as before: the condition becomes an equality that pairs them once.
    """
    conditions = [(condition, leaves) for condition, leaves in inner.conditions if id(condition) not in inner.outer]
    both = Narrowable(
        inner.select,
        leaves={**outer.leaves, **inner.leaves},
        direct=outer.direct | inner.direct,
        conditions=conditions,
        outer={id(condition) for condition, _ in conditions},
        through={**outer.through, **inner.through},
        derived={**outer.derived, **inner.derived},
    )
    own = inner.direct | inner.derived.keys()
    found = []
    for match in matches(both, free):
        sides = tuple(
            side for side in match.sides if (side.target in own) != (side.driver in own) and side.doubled in own
        )
        if sides:
            found.append(replace(match, sides=sides))
    return found


def _side(
    narrowable: Narrowable, leaves: frozenset[int], here: tuple[Expr, Expr], around: tuple[Expr, ...]
) -> Side | None:
    if not isinstance(here[0], ColumnRef):
        return None
    target = here[0].source
    parts = parts_of(narrowable.derived[target], here) if target in narrowable.derived and target in leaves else ()
    position = ("", "") if parts else position_of(narrowable, target, here) if target in narrowable.direct else None
    if position is None:
        return None
    side = _led(narrowable, leaves, target, around)
    return None if side is None else replace(side, position=position, parts=parts)


def _touching(narrowable: Narrowable, leaves: frozenset[int], here: Expr, there: Expr) -> Side | None:
    if (
        not isinstance(here, ColumnRef)
        or here.column is None
        or here.source not in narrowable.direct
        or not _is_region(here)
    ):
        return None
    side = _led(narrowable, leaves, here.source, coordinates(there) or circle_parts(there) or (there,))
    return None if side is None else replace(side, region=here.column.name)


def _is_region(expr: Expr) -> bool:
    return isinstance(expr, ColumnRef) and expr.column is not None and expr.column.type.is_geometry


def _led(narrowable: Narrowable, leaves: frozenset[int], target: int, around: tuple[Expr, ...]) -> Side | None:
    """Return the side of a target whose driver is what `around` is computed from, if that is one reference."""
    drivers = {node.source for node in walk(around) if isinstance(node, ColumnRef)}
    if len(drivers) != 1 or not all(map(of_its_row, around)):
        return None
    (driver,) = drivers
    if driver == target or (driver not in narrowable.direct and driver not in narrowable.derived):
        return None
    if any(part.meta is None or part.meta.aggregate or not _fits(part.meta.type, len(around)) for part in around):
        return None
    doubled = target if target in leaves else driver
    return Side(target, driver, doubled, ("", ""), around) if doubled in leaves else None


def _fits(type_: Type, parts: int) -> bool:
    return type_.is_numeric if parts > 1 else type_ in {CIRCLE, POLYGON}


def key_joins(narrowable: Narrowable) -> list[KeyJoin]:
    """Find the joins on an indexed key of one SELECT."""
    found = []
    for condition, leaves in narrowable.conditions:
        if not isinstance(condition, Compare) or condition.op != "=":
            continue
        for here, there in ((condition.left, condition.right), (condition.right, condition.left)):
            if (
                not (isinstance(here, ColumnRef) and isinstance(there, ColumnRef))
                or here.column is None
                or there.column is None
            ):
                continue
            if (
                not {here.source, there.source} <= narrowable.direct
                or here.source == there.source
                or here.source not in leaves
            ):
                continue
            alike = (here.column.type.is_integer and there.column.type.is_integer) or (
                here.column.type.is_timestamp and there.column.type.is_timestamp
            )
            name = key_column(narrowable, here.source, here)
            if alike and name is not None:
                found.append(KeyJoin(here.source, name, there.source, there.column.name))
    return found


def joined(match: Match, side: Side) -> Expr:
    """Return the condition with the equality of row numbers before it, or that alone if the pairs are exact."""
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


class Places(NamedTuple):
    """Positions among which circles are looked up.

    Attributes
    ----------
    cells
        Their HEALPix indexes of order 29, ascending.
    at
        Gives longitudes and latitudes behind some of the cells.
    rows
        The rows behind the cells; None: they stand in this order.
    """

    cells: Rows
    at: Callable[[Rows], tuple[Numbers, Numbers]]
    rows: Rows | None = None


def places_of(stored: Stored, position: tuple[str, str]) -> Places:
    """Return the positions of a table's own index."""
    places = stored.projection(position)

    def at(rows: Rows) -> tuple[Numbers, Numbers]:
        unique, back = np.unique(rows, return_inverse=True)
        found = places.take(unique)
        lon, lat = (
            np.asarray(found.column(number).cast(pa.float64()).to_numpy(zero_copy_only=False))[back]
            for number in (0, 1)
        )
        return lon, lat

    return Places(stored.healpix, at)


def near_pairs(
    many: Sequence[Places], circles: tuple[Numbers, Numbers, Numbers], exact: str = ""
) -> list[tuple[Rows, Rows]] | None:
    """Return for each set of positions the pairs (number of circle, row) of those that lie in circles; None if there are too many.

    Parameters
    ----------
    many
        The members of a union: circles are covered once for all of them.
    circles
        Longitudes, latitudes, radii in degrees.
    exact
        See `Match`; if empty, some pairs may be a nano-degree too far apart.
    """
    lon, lat, radius = circles
    found: list[tuple[list[Rows], list[Rows]]] = [([], []) for _ in many]
    totals = [0] * len(many)
    kept = 0
    for which, ranges in _covered(circles):
        for number, places in enumerate(many):
            ends = places.cells.searchsorted(ranges.ravel()).reshape(-1, 2)
            counts = ends[:, 1] - ends[:, 0]
            totals[number] += int(counts.sum())
            if max(totals[number], kept) > PAIRS:
                return None
            row, owner = spread(ends), np.repeat(which, counts)
            if len(row):
                x, y = places.at(row)
                near = _test(exact, x, y, lon[owner], lat[owner], radius[owner])
                owner, row = owner[near], row[near]
                found[number][0].append(owner)
                found[number][1].append(row if places.rows is None else places.rows[row])
                kept += len(row)
    none = np.empty(0, np.int64)
    return [(np.concatenate([none, *owners]), np.concatenate([none, *rows])) for owners, rows in found]


def _test(exact: str, x: Numbers, y: Numbers, lon: Numbers, lat: Numbers, radius: Numbers) -> Any:
    if exact == "<":
        return distance(x, y, lon, lat) < radius
    if exact == "<=":
        return distance(x, y, lon, lat) <= radius
    return sphere.in_circle(x, y, lon, lat, radius if exact else radius + _MARGIN)


def _covered(circles: tuple[Numbers, Numbers, Numbers]) -> Iterator[tuple[Rows, Rows]]:
    """Yield numbers of circles and the ranges that hold them, a step at a time; neighbours are looked up together, their pages are warm."""
    lon, lat, radius = circles
    order = np.argsort(healpix.index(9, lon, lat), kind="stable")
    for begin in range(0, len(order), STEP):
        check()
        part = order[begin : begin + STEP]
        which, ranges = healpix.cones_ranges(lon[part], lat[part], radius[part])
        yield part[which], ranges


def touching_pairs(index: RegionIndex, circles: tuple[Numbers, Numbers, Numbers]) -> tuple[Rows, Rows] | None:
    """Return the pairs (number of circle, row) of those circles and regions that may touch; None if there are too many."""
    lon, lat, radius = circles
    middle, reach = sphere.vectors(lon, lat), np.radians(radius)
    found, total = [np.empty(0, np.int64)], 0
    for which, ranges in _covered(circles):
        for places in index.spans(ranges, which):
            count = places[:, 1] - places[:, 0]
            total += int(count.sum())
            if total > PAIRS:
                return None
            cuts = np.searchsorted(np.cumsum(count), np.arange(AT_ONCE, count.sum(), AT_ONCE))
            for part in np.split(np.arange(len(count)), np.unique(cuts)):
                owner, row = np.repeat(which[part], count[part]), index.rows[spread(places[part])].astype(np.int64)
                near = index.near(row, middle[owner], reach[owner])
                found.append(owner[near] * _ROWS + row[near])
    pairs = np.sort(np.concatenate(found))
    return np.divmod(pairs[np.append(True, pairs[1:] > pairs[:-1])[: len(pairs)]], _ROWS)


def with_numbers(rows: pa.Table, name: str, numbers: Rows) -> pa.Table:
    """Append a column of row numbers."""
    return rows.append_column(name, pa.array(numbers))


def circles(rows: pa.Table) -> tuple[Numbers, Numbers, Numbers] | None:
    """Return the circles around rows of the driver: longitude, latitude, radius in degrees; NaN stands for null and finds nothing.

    Parameters
    ----------
    rows
        `Side.around`, computed.

    Returns
    -------
    None if there are true NaNs among the radii: DuckDB calls everything smaller than NaN.
    """
    if rows.num_columns == 1:
        shape = rows.column(0).combine_chunks()
        if pa.types.is_fixed_size_list(shape.type):
            numbers = np.full((len(shape), 3), np.nan)
            numbers[np.asarray(shape.is_valid())] = doubles(pa.chunked_array([shape.flatten()])).reshape(-1, 3)
            return numbers[:, 0], numbers[:, 1], np.minimum(numbers[:, 2], 180.0)
        return _bounds(shape)
    if rows.num_columns == 2:
        lon, lat = doubles(rows.column(0)), doubles(rows.column(1))
        return lon, lat, np.where(np.isnan(lon + lat), np.nan, 0.0)
    column = rows.column(2)
    radius = doubles(column)
    if int(np.isnan(radius).sum()) != column.null_count:
        return None
    return doubles(rows.column(0)), doubles(rows.column(1)), np.minimum(radius, 180.0)


def _bounds(polygons: pa.Array) -> tuple[Numbers, Numbers, Numbers]:
    """Compute a circle around each polygon: its inside is on the side of the smaller area, so a cap of less than 90 degrees holds it."""
    ends = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(polygons), 0))])
    lon, lat, radius, _ = arrays.caps(ends, doubles(pa.chunked_array([polygons.flatten()])), np.inf)
    return lon, lat, np.where(radius >= _CAP, 180.0, radius + _SLACK)


def rows_with_keys(index: KeyIndex, keys: Any, limit: int) -> Found | None:
    """Return the rows whose key is among `keys` (an Arrow column of the same kind of type); None if they are too many."""
    if index.values is None:
        return None
    wanted = keys.drop_null()
    found = (
        np.unique(np.concatenate([numbers_of(chunk) for chunk in wanted.chunks]))
        if wanted.num_chunks
        else np.empty(0, index.values.dtype)
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
