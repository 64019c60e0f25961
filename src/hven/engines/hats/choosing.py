"""Which row groups the conditions of a query leave of each table: found when the plan is made, looked up in the manifest when it runs.

Groups may be too many, never too few: every condition stays in the query.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from hven.adql.tree import And, Or, TableRef
from hven.engines._bound.bounds import Bounds, bounds
from hven.engines._bound.constants import microseconds
from hven.engines._bound.covers import cover
from hven.engines._bound.narrow import columns_read, selects
from hven.engines._bound.narrowable import narrowable_of, of_row
from hven.engines._bound.touching import located, placeless
from hven.engines.hats.nearby import nearby

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.tree import Bound, Expr
    from hven.engines import Relation
    from hven.engines._bound.constants import Constant, Listed
    from hven.engines._bound.geometry import ConstantShape
    from hven.engines._bound.narrowable import Narrowable
    from hven.engines.hats.keys import KeyIndex
    from hven.engines.hats.manifest import Manifest
    from hven.engines.hats.nearby import Nearby
    from hven.model.table import Column

    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]

_covered = lru_cache(maxsize=8)(cover)
LISTED = 10_000  # values of a list that are looked up
RANGES = 64  # values of a list that are looked up one by one in the ranges of a column


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked: a manifest, the index of its key, the literals of the plan, and the tables that are in memory.

    Attributes
    ----------
    known
        Cells that were looked up already, by the `id` of what asked for them.
    """

    manifest: Manifest
    index: KeyIndex | None
    values: Values
    relations: Mapping[str, Relation] = field(default_factory=dict)
    known: dict[int, Rows | None] = field(default_factory=dict)

    def once(self, test: Test, look: Callable[[], Rows | None]) -> Rows | None:
        """Return the cells of a test, which are looked up when it asks for the first time."""
        if id(test) not in self.known:
            self.known[id(test)] = look()
        return self.known[id(test)]


class Test(Protocol):
    """A condition on one table that tells of row groups."""

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """Return the numbers of the row groups, `among` some or all, that may have rows that meet it, ascending; None: for these values it does not tell."""

    def describe(self) -> str:
        """Say in words what is used."""


@dataclass(frozen=True, slots=True)
class Inside:
    """The position lies in a shape of constants; `one` must be 1 when the plan runs."""

    columns: tuple[str, str]
    shape: ConstantShape
    one: Constant | None = None

    def cells(self, asked: Asked) -> Rows | None:
        """Return the cells that the shape touches."""
        return asked.once(self, lambda: self._look(asked))

    def _look(self, asked: Asked) -> Rows | None:
        if asked.manifest.head.position != self.columns or (self.one is not None and self.one(asked.values) != 1):
            return None
        shape = self.shape.make(asked.values)
        return None if shape is None else _covered(shape)

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """See `Test.groups`."""
        cells = self.cells(asked)
        return None if cells is None else _both(among, asked.manifest.in_cells(cells))

    def describe(self) -> str:
        """See `Test.describe`."""
        return f"cells ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class Around:
    """The position is near that of a row in memory."""

    place: Nearby

    def cells(self, asked: Asked) -> Rows | None:
        """Return the cells around these rows."""
        if asked.manifest.head.position != self.place.position:
            return None
        return asked.once(self, lambda: self.place.cells(asked.relations, asked.values))

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """See `Test.groups`."""
        cells = self.cells(asked)
        return None if cells is None else _both(among, asked.manifest.in_cells(cells))

    def describe(self) -> str:
        """See `Test.describe`."""
        return self.place.describe()


@dataclass(frozen=True, slots=True)
class Nowhere:
    """No row meets the condition."""

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:  # noqa: ARG002  (the contract)
        """See `Test.groups`."""
        return np.empty(0, np.int64)

    def describe(self) -> str:
        """See `Test.describe`."""
        return "nothing: there is no position"


@dataclass(frozen=True, slots=True)
class Span:
    """The value of a column lies between constants; None: no bound."""

    column: Column
    low: Constant | None = None
    high: Constant | None = None

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """See `Test.groups`."""
        bounds: list[Any] = []
        for given, outward in ((self.low, -1), (self.high, 1)):
            value = None if given is None else _bound(given(asked.values), self.column, outward)
            if given is not None and value is None:
                return None
            bounds.append(value)
        if self.low is self.high and self.low is not None:
            among = _both(among, _looked_up(asked, self.column, [self.low(asked.values)]))
        return asked.manifest.between(self.column.name, bounds[0], bounds[1], among)

    def describe(self) -> str:
        """See `Test.describe`."""
        return f"ranges of {self.column.name}"


@dataclass(frozen=True, slots=True)
class Among:
    """The value of a column is one of a list of constants."""

    column: Column
    values: Listed

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """See `Test.groups`."""
        given = [value for value in self.values(asked.values) if value is not None]
        if len(given) > LISTED:
            return None
        if not given:
            return np.empty(0, np.int64)
        found = _looked_up(asked, self.column, given)
        among = _both(among, found)
        low, high = ([_bound(value, self.column, outward) for value in given] for outward in (-1, 1))
        if any(value is None for value in low):
            return None if found is None else among
        if len(given) > RANGES:
            return asked.manifest.between(self.column.name, min(low), max(high), among)
        every = [asked.manifest.between(self.column.name, *bounds, among) for bounds in zip(low, high, strict=True)]
        return _union(every)

    def describe(self) -> str:
        """See `Test.describe`."""
        return f"ranges of {self.column.name} (a list)"


@dataclass(frozen=True, slots=True)
class Every:
    """All of several conditions hold."""

    parts: tuple[Test, ...]

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """See `Test.groups`."""
        found = among
        for part in sorted(
            self.parts, key=lambda one: not isinstance(one, Inside | Around)
        ):  # what leaves few comes first
            some = part.groups(asked, found)
            found = found if some is None else some
        return found

    def describe(self) -> str:
        """See `Test.describe`."""
        return " and ".join(part.describe() for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """One of several conditions holds, and each tells."""

    parts: tuple[Test, ...]

    def groups(self, asked: Asked, among: Rows | None) -> Rows | None:
        """See `Test.groups`."""
        return _union([part.groups(asked, among) for part in self.parts])

    def describe(self) -> str:
        """See `Test.describe`."""
        return " or ".join(part.describe() for part in self.parts)


def _both(one: Rows | None, two: Rows | None) -> Rows | None:
    return two if one is None else one if two is None else np.intersect1d(one, two, assume_unique=True)


def _union(parts: Sequence[Rows | None]) -> Rows | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return known[0] if len(known) == 1 else np.unique(np.concatenate(known))


def _looked_up(asked: Asked, column: Column, values: list[Any]) -> Rows | None:
    """Ask the index of the primary key."""
    if asked.index is None or asked.manifest.head.index != column.name or any(isinstance(one, float) for one in values):
        return None
    given = [microseconds(one) for one in values] if column.type.is_timestamp else values
    try:
        wanted = pa.array(given, pa.int64() if column.type.is_timestamp else column.type.arrow).cast(column.type.arrow)
    except (pa.ArrowException, OverflowError):
        return None
    return asked.index.groups(wanted.drop_null())


def _bound(value: Any, column: Column, outward: int) -> Any:
    """Return a bound as ranges are kept; None: it does not tell. What rounds, rounds outwards."""
    if column.type.is_string:
        return value if isinstance(value, str) else None
    if column.type.is_timestamp:
        return microseconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if column.type.arrow == pa.float32():
        with np.errstate(over="ignore"):
            return float(np.nextafter(np.float32(value), np.float32(math.inf * outward)))
    if column.type.is_integer:
        whole = math.floor(value) if outward < 0 else math.ceil(value)  # compared as doubles, in part
        wide = abs(whole) >> 52
        return int(np.clip(whole + outward * wide, -(2**63), 2**63 - 1))
    return float(value) if abs(value) < 2**53 else float(np.nextafter(float(value), math.inf * outward))


# --- analysis ------------------------------------------------------------------------------------------------------


class Choice:
    """The tables of a query: what it reads of each reference, and which conditions tell of row groups.

    Attributes
    ----------
    leaves
        References to tables, by number.
    columns
        The columns that are read, by number.
    tests
        By number, of those that have one.
    """

    def __init__(self, bound: Bound) -> None:
        self.leaves: dict[int, TableRef] = {}
        self.columns = columns_read(bound)
        parts: dict[int, dict[int, Test]] = {}
        for select in selects(bound.query):
            narrowable = narrowable_of(select)
            self.leaves.update(narrowable.leaves)
            rows = [(of_row(condition, number), frozenset({number})) for condition, number in narrowable.rows]
            for condition, leaves in (*narrowable.conditions, *rows):
                for number in leaves & narrowable.leaves.keys():
                    test = _test(condition, narrowable, number, bound.free)
                    if test is not None:
                        parts.setdefault(number, {}).setdefault(id(condition), test)
        self.tests: dict[int, Test] = {
            number: found[0] if len(found := tuple(some.values())) == 1 else Every(found)
            for number, some in parts.items()
        }

    def groups(self, qualified: str, asked: Asked) -> Rows:
        """Return the numbers of the row groups that the references to a table may need."""
        tests = [self.tests.get(number) for number in self._of(qualified)]
        some = _union([None if test is None else test.groups(asked, None) for test in tests]) if tests else None
        return np.arange(asked.manifest.count) if some is None else some

    def _of(self, qualified: str) -> list[int]:
        """Return the numbers of the references to a table."""
        return [
            number
            for number, leaf in self.leaves.items()
            if leaf.table is not None and leaf.table.qualified == qualified
        ]

    def cells(self, qualified: str, asked: Asked) -> Rows | None:
        """Return the cells in which all rows lie that the query needs of a table; None: rows of any."""
        mine = self._of(qualified)
        if len(mine) != 1 or (test := self.tests.get(mine[0])) is None:
            return None
        for part in test.parts if isinstance(test, Every) else (test,):
            if isinstance(part, Inside | Around) and (found := part.cells(asked)) is not None:
                return found
        return None

    def read(self, qualified: str) -> list[str]:
        """List the columns of a table that are read."""
        found: dict[str, None] = {}
        for number in self._of(qualified):
            found.update(dict.fromkeys(self.columns.get(number, ())))
        return list(found)


def _test(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Test | None:
    if isinstance(condition, And | Or):
        parts = [_test(each, narrowable, number, free) for each in condition.parts]
        known = tuple(part for part in parts if part is not None)
        if isinstance(condition, Or):
            return Either(known) if len(known) == len(parts) else None
        return None if not known else known[0] if len(known) == 1 else Every(known)
    return (
        _inside(condition, narrowable, number, free)
        or _near(condition, narrowable, number, free)
        or _of_column(condition, narrowable, number, free)
    )


def _inside(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Test | None:
    if placeless(condition):
        return Nowhere()
    found = located(condition, narrowable, number, free)
    return None if found is None else Inside(*found)


def _near(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Test | None:
    found = nearby(condition, narrowable, number, free)
    return None if found is None else Around(found)


def _of_column(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Test | None:
    found = bounds(condition, lambda expr: _column(narrowable, number, expr), free)
    if isinstance(found, Bounds):
        return Span(found.column, found.low, found.high)
    return None if found is None else Among(found.column, found.values)


def _column(narrowable: Narrowable, number: int, expr: Expr) -> Column | None:
    found = narrowable.column(expr)
    return None if found is None or found.source != number else found.column


__all__ = ["Asked", "Choice"]
