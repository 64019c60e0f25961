"""Where the rows of a query's tables are, and the conditions that let a position index serve it.

Three ways to find positions, one answer: the exact test always stands beside the condition that an index serves. A circle of constants
is looked up in pgSphere's GiST index; without pgSphere - and polygons, boxes and MOCs always - in ranges of HEALPix cells, which the
engine computes from the query's constants (0.4 ms where q3c takes 3). Matches go by pgSphere or q3c; those whose radius is no
constant, and all matches without an extension, by bands of latitude.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hven.adql.tree import (
    And,
    Between,
    ColumnRef,
    CommonTable,
    Compare,
    Derived,
    Exists,
    Expr,
    Function,
    Ident,
    In,
    IsNull,
    Join,
    Literal,
    Not,
    Or,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    walk,
)
from hven.engines._bound.constants import constant
from hven.engines._bound.covers import cover
from hven.engines._bound.geometry import (
    ConstantShape,
    coordinates,
    near,
)
from hven.engines._bound.narrow import selects
from hven.engines._bound.narrowable import narrowable_of
from hven.engines._bound.touching import located, touched
from hven.engines.postgres.regions import asked, beside

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.sql import Writer
    from hven.adql.tree import Bound
    from hven.engines._bound.constants import Constant

    Values = Sequence[float | str | None]

CELL = "hven:cell"  # HEALPix index of order 29: a column that every table with positions has beside its own
FEW = 4  # ranges of cells that lead to partitions: a small circle touches four cells at most
WIDE = 60.0  # degrees: larger circles are not looked up
_SIMPLE = (And, Between, ColumnRef, CommonTable, Compare, Derived, Exists, Ident, In, IsNull, Join, Literal, Not, Or, OrderItem, Query, Select,
           SelectItem, SetOperation, Subquery, TableRef)  # fmt: skip
PGSPHERE, Q3C, HEALPIX = "pgsphere", "q3c", "healpix"
_covered = lru_cache(maxsize=8)(cover)  # the members of a union, and who looks at coverages, ask for the same shape
_asked = lru_cache(maxsize=8)(asked)


class Words(Protocol):
    """The dialect, as its places need it."""

    settings: bool

    def argument(self, number: int) -> str:
        """Write a parameter without a type."""

    def quote(self, name: str) -> str:
        """Write an identifier."""

    def double(self, text: str, node: Expr) -> str:
        """Write a number as double precision."""

    def doubles(self, writer: Writer, nodes: tuple[Expr, ...]) -> list[str]:
        """Write numbers as double precision."""


@dataclass(frozen=True, slots=True)
class InShape:
    """The position of a table reference lies in a shape of constants; `one` must be 1 when the plan runs."""

    shape: ConstantShape
    one: Constant | None = None

    def cells(self, values: Values) -> npt.NDArray[np.int64] | None:
        """Return HEALPix ranges of order 29 that hold the shape; None if there is no such shape."""
        if self.one is not None and self.one(values) != 1:
            return None
        shape = self.shape.make(values)
        return None if shape is None else _covered(shape)

    def ranges(self, values: Values) -> tuple[str, ...] | None:
        """Return the lower and upper ends of HEALPix ranges as arrays in PostgreSQL's text, then those of `FEW` that hold them all.

        None if there is no such shape.
        """
        found = self.cells(values)
        if found is None:
            return None
        arrays = ("{" + ",".join(map(str, found[:, side].tolist())) + "}" for side in (0, 1))
        return (*arrays, *map(str, wider(found).ravel().tolist()))


@dataclass(frozen=True, slots=True)
class InRegion:
    """The regions of a column touch a shape or position of constants; `one` must be 1 when the plan runs."""

    column: str
    shape: ConstantShape
    one: Constant | None = None

    def ranges(self, values: Values) -> tuple[str, ...] | None:
        """Return the array of cells; None if there is no such shape."""
        if self.one is not None and self.one(values) != 1:
            return None
        shape = self.shape.make(values)
        found = None if shape is None else _asked(shape)
        return None if found is None else (found,)


def wider(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Make `FEW` ranges that hold all of these, by closing the smallest gaps; those that are not needed are empty. Shape (FEW, 2)."""
    found = np.zeros((FEW, 2), np.int64)
    if len(ranges):
        gaps = ranges[1:, 0] - ranges[:-1, 1]
        cuts = np.sort(gaps.argsort()[::-1][: FEW - 1])
        low = np.concatenate([[0], cuts + 1]).astype(np.int64)
        high = np.concatenate([cuts, [len(ranges) - 1]]).astype(np.int64)
        found[: len(low), 0], found[: len(low), 1] = ranges[low, 0], ranges[high, 1]
    return found


@dataclass(slots=True)
class Positions:
    """What a bound query asks of positions; found once for each plan."""

    leaves: dict[int, TableRef] = field(default_factory=dict)
    shapes: dict[int, list[InShape]] = field(default_factory=dict)
    regions: dict[int, list[InRegion]] = field(default_factory=dict)
    free: frozenset[int] = frozenset()
    guarded: bool = False  # True if a row filter must be behind a fence: see `guard`
    # id of the conditions and calls where FALSE may stand for NULL: below AND and OR alone
    positive: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, bound: Bound) -> Positions:
        """Look at every SELECT."""
        found = cls(free=bound.free, guarded=guard(bound.query))
        for select in selects(bound.query):
            narrowable = narrowable_of(select)
            found.leaves.update(narrowable.leaves)
            for condition, leaves in narrowable.conditions:
                found._agree(condition)
                for number in leaves:
                    inside = located(condition, narrowable, number, bound.free)
                    if inside is not None:
                        found.shapes.setdefault(number, []).append(InShape(*inside[1:]))
                    region = touched(condition, narrowable, number, bound.free)
                    if region is not None and region[1].kind != "MOC":  # see `regions.asked`
                        found.regions.setdefault(number, []).append(InRegion(*region))
        return found

    def _agree(self, condition: Expr) -> None:
        """Remember the comparisons that a condition is made of by AND and OR."""
        if isinstance(condition, And | Or):
            for part in condition.parts:
                self._agree(part)
        elif isinstance(condition, Compare):
            self.positive.add(id(condition))
            for call, one in ((condition.left, condition.right), (condition.right, condition.left)):
                if (
                    isinstance(call, Function)
                    and isinstance(one, Literal)
                    and one.slot not in self.free
                    and one.value == 1
                    and condition.op == "="
                ):
                    self.positive.add(id(call))


def simple(node: object) -> bool:
    """Return whether an expression or query only compares columns and constants, which cannot fail for any row."""
    return all(isinstance(part, _SIMPLE) for part in walk(node))


def guard(query: Query) -> bool:
    """Return whether a query's own conditions might fail for a row that its reader may not see.

    PostgreSQL tests conditions of one table in the order of their costs, so one of the query's may meet a row before the row filter has
    dropped it; whether the query fails would then tell of a hidden value. What stands in the outermost SELECT list, or is grouped or
    ordered by there, is computed from rows that passed all conditions.
    """
    body = query.body
    if not isinstance(body, Select) or query.ctes:
        return not simple(query)
    above = (body.items, body.group_by, body.having, query.order_by)
    if any(isinstance(part, Subquery | Exists) for part in walk(above)):
        return not simple(query)
    return not simple((body.source, body.where))


class Places:
    """Writes the table references of one SQL text.

    Parameters
    ----------
    names
        Qualified table name -> SQL text of its rows.
    indexed
        Those of them that have our position indexes -> their columns of regions that have an index.
    mode
        ``pgsphere``, ``q3c`` or ``healpix``; empty: no index is asked for.
    reached
        Qualified names of tables whose rows all may be seen, for those of `names` are a copy of what their policies leave.
    fenced
        True if row filters must be behind a fence, whatever is asked.

    Attributes
    ----------
    extras
        Parameters beside the query's literals, in order: slot ``-1 - n`` of the text is number n of these.
    radii
        Constant radii that must not be wide, and latitudes that must be some, for the text to hold.
    matched
        Table references whose position an index finds from another's: number of one -> number of the other.
    """

    def __init__(
        self,
        positions: Positions,
        names: Mapping[str, str],
        indexed: Mapping[str, Any],
        mode: str,
        reached: Collection[str] = (),
        *,
        fenced: bool = False,
    ) -> None:
        self._positions = positions
        self._reached = reached
        self.guarded = positions.guarded or fenced
        """True if nothing of the query may be computed before a row filter."""
        self.names = names
        self._indexed = indexed
        self._mode = mode
        self.extras: list[tuple[InShape | InRegion, int]] = []
        self.radii: list[Constant] = []
        self.matched: dict[int, int] = {}

    def table(self, dialect: Words, writer: Writer, node: TableRef, text: str) -> str:
        """Write a table reference, by ranges of HEALPix cells if its position or its regions are near a shape of constants."""
        if self._mode and node.table is not None:
            known = self._indexed.get(node.table.qualified, ())
            tests = [
                f"s.{dialect.quote(beside(region.column))} && {self._extra(dialect, writer, region, 0)}::bigint[]"
                for region in self._positions.regions.get(node.number, ())
                if region.column in known
            ]
            if (
                tests and not dialect.settings
            ):  # few rows: to start workers for them would take longer than to read them
                tests.append("hven_alone()")
            text = f"(SELECT s.* FROM {text} AS s WHERE {' AND '.join(tests)})" if tests else text
        shapes = self._positions.shapes.get(node.number)
        if not shapes or not self._mode or node.table is None or node.table.qualified not in self._indexed:
            return text
        fenced = self.guarded and node.where is not None and not self.reached(node)  # no other condition gets there
        chosen = next(
            (item for item in shapes if fenced or item.shape.kind != "CIRCLE" or self._mode != PGSPHERE), None
        )
        cell = dialect.quote(CELL)
        if chosen is None:
            if node.table.partition is None or node.table.partition.by != "healpix":
                return text
            # pgSphere's index finds the rows, and these few ranges the partitions in which it is asked
            ends = [f"{self._extra(dialect, writer, shapes[0], side)}::bigint" for side in range(2, 2 + 2 * FEW)]
            spans = " OR ".join(
                f"(s.{cell} >= {low} AND s.{cell} < {high})" for low, high in zip(ends[::2], ends[1::2], strict=True)
            )
            return f"(SELECT s.* FROM {text} AS s WHERE {spans})"
        ends = [f"{self._extra(dialect, writer, chosen, side)}::bigint[]" for side in (0, 1)]
        # OFFSET keeps the planner from turning this round: it knows nothing of how narrow the ranges are
        inner = f"SELECT * FROM {text} AS s WHERE s.{cell} >= r.low AND s.{cell} < r.high OFFSET 0"
        return f"(SELECT s.* FROM unnest({ends[0]}, {ends[1]}) AS r(low, high) CROSS JOIN LATERAL ({inner}) AS s)"

    def _extra(self, dialect: Words, writer: Writer, shape: InShape | InRegion, side: int) -> str:
        """Write a parameter that is computed from a shape."""
        self.extras.append((shape, side))
        writer.parameters.append(-len(self.extras))
        return dialect.argument(len(writer.parameters))

    def near(self, dialect: Words, writer: Writer, node: Compare) -> str:
        """Write the condition beside ``DISTANCE(..) < r``; empty if there is none."""
        if id(node) not in self._positions.positive:
            return ""
        for first, second, limit, _ in near(node):
            radius = dialect.double(writer.expr(limit), limit)
            parts = []
            for here, there in ((first, second), (second, first)):
                lon, lat = dialect.doubles(writer, there)
                parts.append(
                    self._looked_up(writer, here, (lon, lat, radius), constant(limit, self._positions.free), there)
                )
            return " AND ".join(part for part in parts if part)
        return ""

    def beside(
        self, dialect: Words, writer: Writer, call: Function, point: Expr, circle: tuple[str, str, str], shape: Expr
    ) -> str:
        """Write the condition beside the exact test of a point in a circle; empty if there is none."""
        if id(call) not in self._positions.positive:
            return ""
        here = coordinates(point)
        if here is None:
            return ""
        radius: Constant | None = None
        centre: tuple[Expr, ...] = ()
        if isinstance(shape, Function) and shape.name == "CIRCLE":
            radius = constant(shape.args[-1], self._positions.free)
            there = coordinates(shape.args[0]) if len(shape.args) == 2 else (shape.args[0], shape.args[1])
            centre = there or ()
        found = self._looked_up(writer, here, circle, radius, centre)
        # the other way round: the circle's centre is an indexed position, too
        if len(centre) == 2 and radius is not None:
            lon, lat = dialect.doubles(writer, here)
            other = self._looked_up(writer, (centre[0], centre[1]), (lon, lat, circle[2]), radius, here)
            found = f"{found} AND {other}" if found and other else found or other
        return found

    def celled(self, call: Function, shape: Expr) -> Expr | None:
        """Return the cells of a column of regions in which a position of another table is looked up; None if there are none."""
        if id(call) not in self._positions.positive or not self._mode:
            return None
        leaf = self._positions.leaves.get(shape.source) if isinstance(shape, ColumnRef) else None
        if not isinstance(shape, ColumnRef) or shape.column is None or leaf is None or leaf.table is None:
            return None
        if shape.column.name not in self._indexed.get(leaf.table.qualified, ()) or (
            self.guarded and leaf.where and not self.reached(leaf)
        ):
            return None
        if any(region.column == shape.column.name for region in self._positions.regions.get(leaf.number, ())):
            return None  # the table reference is narrowed already
        name = beside(shape.column.name)
        return replace(shape, name=Ident(name, quoted=True), column=replace(shape.column, name=name))

    def _looked_up(
        self,
        writer: Writer,
        here: tuple[Expr, Expr],
        circle: tuple[str, str, str],
        radius: Constant | None,
        centre: tuple[Expr, ...],
    ) -> str:
        if not self._mode or not self._is_position(here):
            return ""
        if len(centre) == 2 and isinstance(here[0], ColumnRef) and isinstance(centre[0], ColumnRef):
            self.matched.setdefault(here[0].source, centre[0].source)
        lon, lat = (writer.expr(item) for item in here)
        lon0, lat0, size = circle
        known = constant(centre[1], self._positions.free) if centre else None
        if known is not None and radius is not None and self._mode != PGSPHERE:
            return ""  # the table reference is narrowed already
        if radius is None or self._mode == HEALPIX or not centre:
            return f"{lat} BETWEEN {lat0} - {size} - 1e-9 AND {lat0} + {size} + 1e-9"
        self.radii.append(radius)
        if self._mode == Q3C:
            # at the poles its cells are off by rounding: some of them are added
            return f"q3c_join({lon0}, {lat0}, {lon}, {lat}, {size} + 2e-6)"
        valid = lat0 if known is not None else f"CASE WHEN {lat0} BETWEEN -90 AND 90 THEN {lat0} END"
        # radians of the least numbers would be an underflow
        there = f"spoint(radians({lon0} + 1e-100), radians({valid} + 1e-100))"
        return f"spoint(radians({lon}), radians({lat})) <@ scircle({there}, radians({size} + 1e-9))"

    def _is_position(self, pair: tuple[Expr, Expr]) -> bool:
        """Return whether a pair of expressions is the indexed position of a table reference."""
        lon, lat = pair
        if not (isinstance(lon, ColumnRef) and isinstance(lat, ColumnRef)) or lon.source != lat.source:
            return False
        leaf = self._positions.leaves.get(lon.source)
        if (
            leaf is None
            or leaf.table is None
            or leaf.table.qualified not in self._indexed
            or lon.column is None
            or lat.column is None
        ):
            return False
        return leaf.table.position == (lon.column.name, lat.column.name)

    def reached(self, node: TableRef) -> bool:
        """Return whether the rows of a table reference are a copy of those that its reader sees."""
        return node.table is not None and node.table.qualified in self._reached

    # --- running

    def values(self, values: Values) -> list[str] | None:
        """Return the extra parameters for these literals; None if the text does not hold for them."""
        for radius in self.radii:
            size = radius(values)
            if not isinstance(size, int | float) or not 0 <= size <= WIDE:
                return None
        made: dict[int, tuple[str, ...]] = {}
        found = []
        for shape, side in self.extras:
            ends = made.get(id(shape)) or shape.ranges(values)
            if ends is None:
                return None
            made[id(shape)] = ends
            found.append(ends[side])
        return found
