"""Matches of positions: rows of one table are spread over the HEALPix cells that their circles may touch, and joined with the other's by equality.

Each row of the other table is in one cell, so a pair is found once; the exact test stands beside. What is spread is the table whose rows
the condition may narrow, so that outer joins keep their rows.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.tree import ColumnRef, Compare, Function, TableRef
from hven.engines._bound.constants import constant
from hven.engines._bound.geometry import (
    circle_parts,
    column_pair,
    contained,
    coordinates,
    near,
)
from hven.engines._bound.narrow import selects
from hven.engines._bound.narrowable import narrowable_of
from hven.model.sky import healpix, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.adql.tree import Bound, Expr
    from hven.engines._bound.constants import Constant
    from hven.engines._bound.narrowable import Narrowable

    Pair = tuple[ColumnRef, ColumnRef]
    Values = Sequence[float | str | None]

CELL = "_healpix_29"  # HEALPix index of order 29: the first column of every file of a table with a position
PLACE = "hven place"  # the same of another position than the table's own
CELLS = "hven cell"  # the cell of a row that is spread
MARK = f"_{uuid.uuid4().hex}"  # in names of rows, instead of what makes each query's its own; no text of a user has it
SPREAD = "_spread"  # behind the name of a table
WIDEST = 9.7  # degrees: the circle of which the widest cells are four times as wide
MARGIN = 1.2e-6  # degrees: more than any rounding
_RING = 20


@dataclass(frozen=True, slots=True)
class Match:
    """A condition that two positions are near.

    Attributes
    ----------
    probe
        Longitude and latitude of the rows that are in one cell each.
    spread
        The table reference whose rows are spread, by `centre`.
    radius
        Degrees, or a column of rows in memory that are spread.
    indexed
        True if the probe is the position of its table, whose cells are stored.
    table
        Qualified name of the probe's table.
    """

    probe: Pair
    spread: TableRef
    centre: Pair
    radius: Constant | str
    indexed: bool
    table: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the probe's columns."""
        return tuple(item.column.name for item in self.probe if item.column is not None)

    def size(self, values: Values) -> float:
        """Return the radius in degrees, the same for all rows; NaN: there is none, or each row has its own."""
        size = None if isinstance(self.radius, str) else self.radius(values)
        return float(size) if isinstance(size, int | float) and size >= 0 else math.nan

    def sizes(self, values: Values, rows: pa.Table) -> npt.NDArray[np.float64]:
        """Return the radius of each of some rows in memory; NaN where there is none."""
        if not isinstance(self.radius, str):
            return np.full(rows.num_rows, self.size(values))
        own: npt.NDArray[np.float64] = rows.column(self.radius).cast(pa.float64()).to_numpy()
        return np.where(own >= 0, own, math.nan)


def widest(radii: npt.NDArray[np.float64]) -> float:
    """Return the greatest of some radii; NaN: there is none."""
    known = radii[~np.isnan(radii)]
    return float(known.max()) if len(known) else math.nan


def order_of(radius: float) -> int:
    """Return the order of cells that are four times as wide as a circle, with a margin; 0 if there are none."""
    wide = radius + MARGIN
    return min(29, int(math.log2(WIDEST / wide))) if wide < WIDEST else 0  # NaN: there are no such rows


def found(bound: Bound) -> dict[int, Match]:
    """Find the matches of a query: id of the comparison or of the call -> match. Each table reference is spread once."""
    made: dict[int, Match] = {}
    taken: set[int] = set()
    places: dict[str, tuple[str, ...]] = {}
    for select in selects(bound.query):
        narrowable = narrowable_of(select)
        for condition, leaves in narrowable.conditions:
            for key, one, two, radius in _near(condition, bound.free):
                match = _match(one, two, radius, narrowable, leaves, bound)
                if (
                    match is not None
                    and match.spread.number not in taken
                    and (match.indexed or places.setdefault(match.table, match.columns) == match.columns)
                ):
                    taken.add(match.spread.number)
                    made[key] = match
                    break
    return made


def _near(
    condition: Expr, free: frozenset[int]
) -> Iterator[tuple[int, tuple[Expr, Expr] | None, tuple[Expr, Expr] | None, Expr]]:
    """Yield the two positions and the radius of a condition that says they are near."""
    inside = contained(condition)
    if inside is not None:
        point, shape, one = inside
        circle = circle_parts(shape)
        if circle is not None and one.slot not in free and one.value == 1 and isinstance(condition, Compare):
            call = condition.left if isinstance(condition.left, Function) else condition.right
            yield id(call), coordinates(point), circle[:2], circle[2]
    for first, second, limit, _ in near(condition):
        yield id(condition), first, second, limit


def _match(
    one: tuple[Expr, Expr] | None,
    two: tuple[Expr, Expr] | None,
    limit: Expr,
    narrowable: Narrowable,
    leaves: frozenset[int],
    bound: Bound,
) -> Match | None:
    pairs, radius = (column_pair(one), column_pair(two)), constant(limit, bound.free)
    own = narrowable.column(limit) if radius is None else None
    if pairs[0] is None or pairs[1] is None or (radius is None and (own is None or own.column is None)):
        return None
    known = [_leaf(pair, narrowable) for pair in pairs if pair is not None]
    best: tuple[int, Match] | None = None
    for here, there in ((0, 1), (1, 0)):
        probe, spread, at, centre = known[here], known[there], pairs[here], pairs[there]
        if probe is None or spread is None or at is None or centre is None or probe.number == spread.number:
            continue
        if spread.number not in leaves or spread.table is None or probe.table is None:
            continue
        names = tuple(item.column.name for item in at if item.column is not None)
        indexed = probe.table.position == names
        # rows in memory are few, and cells are stored of the others
        memory = spread.table.schema.upper() == "TAP_UPLOAD"
        size: Constant | str | None = radius
        if own is not None and own.column is not None and own.source == spread.number and memory:
            size = own.column.name
        worth = 2 * indexed + memory
        if size is not None and (best is None or worth > best[0]):
            best = worth, Match(at, spread, centre, size, indexed, probe.table.qualified)
    return None if best is None else best[1]


def _leaf(pair: Pair, narrowable: Narrowable) -> TableRef | None:
    """Return the table reference of which a pair of columns is a position."""
    leaf = narrowable.leaves.get(pair[0].source) if pair[0].source == pair[1].source else None
    return leaf if leaf is not None and leaf.number in narrowable.direct and leaf.table is not None else None


def cells(
    order: int, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> pa.Array:
    """List for each row the cells of an order that a circle may touch; null where there is no circle.

    Cells are at least four times as wide as the circle: one that it touches has its middle, or one of twenty points at twice its
    distance, for no corner of a cell is narrower than 50 degrees. Larger circles have all twelve cells of order 0.
    """
    rows = len(lon)
    if not rows:
        return pa.array([], pa.list_(pa.int64()))
    with np.errstate(invalid="ignore"):
        valid = (radius >= 0) & (abs(lat) <= 90) & np.isfinite(lon)
        wide = valid & ~(radius + MARGIN < WIDEST / 2**order * 1.000001)
    lon, lat, arc = (
        np.where(valid, column, 0.0) for column in (lon, lat, np.radians(np.minimum(radius + MARGIN, WIDEST)))
    )
    middle = sphere.vectors(lon, lat)
    east = np.stack([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), np.zeros(rows)], axis=1)
    north = np.cross(middle, east)
    turn = 0.1 + np.arange(_RING) * 2 * np.pi / _RING
    ring = (
        middle[:, None] * np.cos(2 * arc)[:, None, None]
        + (east[:, None] * np.cos(turn)[None, :, None] + north[:, None] * np.sin(turn)[None, :, None])
        * np.sin(2 * arc)[:, None, None]
    )
    lons, lats = sphere.angles(ring.reshape(-1, 3))
    touched = np.concatenate(
        [healpix.index(order, lon, lat)[:, None], healpix.index(order, lons, lats).reshape(rows, _RING)], axis=1
    )
    touched.sort(axis=1)
    first = np.ones(touched.shape, bool)
    first[:, 1:] = touched[:, 1:] != touched[:, :-1]
    first[~valid] = False
    first[wide] = False
    offsets = np.concatenate([[0], np.cumsum(first.sum(axis=1))])
    listed = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(touched[first]), mask=pa.array(~valid)
    )
    if wide.any():  # such a circle was not foreseen, or is wider than the widest cells
        every = pa.array([list(range(12 << (2 * order)))] if order < 4 else [[]], pa.list_(pa.int64()))
        take = np.where(wide, rows, np.arange(rows))
        listed = pa.concat_arrays([listed, every]).take(pa.array(take))
    return listed


__all__ = ["CELL", "CELLS", "PLACE", "SPREAD", "Match", "cells", "found", "order_of", "widest"]
