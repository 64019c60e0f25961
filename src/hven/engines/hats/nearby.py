"""Matches with rows in memory, such as an upload: the cells around their positions are those of a table of which rows are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.engines import Memory
from hven.engines._bound.constants import constant
from hven.engines._bound.geometry import circle_parts, column_pair, contained, coordinates, near
from hven.engines._bound.narrowable import position_of
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.tree import Expr
    from hven.engines import Relation
    from hven.engines._bound.constants import Constant
    from hven.engines._bound.narrowable import Narrowable

    Pair = tuple[Expr, Expr]
    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]

MOST = 2_000_000  # positions whose surroundings are looked up
STEP = 200_000  # of them at a time


@dataclass(frozen=True, slots=True)
class Nearby:
    """The position of a table's row is near that of a row in memory.

    Attributes
    ----------
    position
        Columns of the table.
    driver, centre
        Qualified name of the table in memory, and its columns of longitude and latitude.
    radius
        Degrees, or a column of that table.
    one
        Must be 1 when the plan runs; None: there is no such.
    """

    position: tuple[str, str]
    driver: str
    centre: tuple[str, str]
    radius: Constant | str
    one: Constant | None

    def cells(self, relations: Mapping[str, Relation], values: Values) -> Rows | None:
        """Return the cells of order 29 around the positions, half-open, sorted, disjoint; None: they are not in memory, or too many."""
        given = relations.get(self.driver)
        if not isinstance(given, Memory) or given.rows.num_rows > MOST or (self.one is not None and self.one(values) != 1):  # fmt: skip
            return None
        size = None if isinstance(self.radius, str) else self.radius(values)
        if not isinstance(self.radius, str) and not isinstance(size, int | float):
            return None
        lon, lat = (_numbers(given.rows, name) for name in self.centre)
        radius = _numbers(given.rows, self.radius) if isinstance(self.radius, str) else np.full(len(lon), float(size or 0))  # fmt: skip
        found = healpix.NOWHERE
        for begin in range(0, len(lon), STEP):
            part = slice(begin, begin + STEP)
            found = healpix.merge(np.concatenate([found, healpix.cones_ranges(lon[part], lat[part], radius[part])[1]]))
        return found

    def describe(self) -> str:
        """Say in words what is used."""
        return f"cells around the positions of {self.driver}, where that is in memory"


def nearby(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Nearby | None:
    """Recognise a condition that the position of a table reference is near another one's."""
    for one, two, size, must in _pairs(condition, free):
        for mine, theirs in ((one, two), (two, one)):
            position, pair = position_of(narrowable, number, mine), column_pair(theirs)
            centre = None if pair is None else [narrowable.column(item) for item in pair]
            if position is None or centre is None or centre[0] is None or centre[1] is None:
                continue
            source = centre[0].source
            table = None if source in {number, None} else narrowable.leaves[source].table
            if table is None or centre[1].source != source or centre[0].column is None or centre[1].column is None:
                continue
            radius: Constant | str | None = constant(size, free)
            column = narrowable.column(size)
            if radius is None and column is not None and column.source == source and column.column is not None:
                radius = column.column.name
            if radius is not None:
                return Nearby(position, table.qualified, (centre[0].column.name, centre[1].column.name), radius, must)
    return None


def _pairs(condition: Expr, free: frozenset[int]) -> Iterator[tuple[Pair | None, Pair | None, Expr, Constant | None]]:
    """Yield the positions that a condition compares, the distance in degrees, and what must be 1."""
    inside = contained(condition)
    if inside is not None:
        point, shape, one = inside
        circle = circle_parts(shape)
        if circle is not None:
            yield coordinates(point), circle[:2], circle[2], constant(one, free)
    for first, second, limit, _ in near(condition):
        yield first, second, limit, None


def _numbers(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """Return a column as doubles; NaN where there is no value."""
    found: npt.NDArray[np.float64] = rows.column(name).cast(pa.float64()).to_numpy()
    return found


__all__ = ["Nearby", "nearby"]
