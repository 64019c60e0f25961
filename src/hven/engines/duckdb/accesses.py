"""Which indexes a bound query can use: conditions on single tables, found when the plan is made, looked up when it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.tree import And, Compare, Expr, Or
from hven.engines._bound.bounds import Bounds, bounds
from hven.engines._bound.constants import constant
from hven.engines._bound.covers import cover
from hven.engines._bound.narrowable import Narrowable, key_column, of_row
from hven.engines._bound.touching import located, placeless, touched
from hven.engines._bound.unions import prefixed
from hven.engines.duckdb.lists import places

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from hven.engines._bound.constants import Constant, Listed
    from hven.engines._bound.geometry import ConstantShape
    from hven.engines.duckdb.keys import KeyIndex
    from hven.engines.duckdb.layout import Stored

    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]


@dataclass(slots=True)
class Found:
    """Rows of a snapshot that an index gives: ranges of row numbers (position), or row numbers in some order (keys)."""

    count: int
    ranges: Rows | None = None  # shape (n, 2), ascending, disjoint
    pieces: tuple[Rows, ...] = ()

    def rows(self) -> Rows:
        """Return ascending row numbers, each once."""
        if self.ranges is not None:
            return spread(self.ranges)
        if len(self.pieces) == 1:
            piece = self.pieces[0]
            return piece if bool((piece[1:] > piece[:-1]).all()) else np.sort(piece)
        found: Rows = np.unique(np.concatenate(self.pieces)) if self.pieces else np.empty(0, np.int64)
        return found


_covered = lru_cache(maxsize=8)(cover)  # the members of a union ask for the same shape one after the other
NOTHING = Found(0, np.empty((0, 2), np.int64))


def spread(ranges: Rows) -> Rows:
    """Write out ranges as numbers."""
    lengths = ranges[:, 1] - ranges[:, 0]
    keep = lengths > 0
    if not keep.all():
        ranges, lengths = ranges[keep], lengths[keep]
    if not len(lengths):
        return np.empty(0, np.int64)
    ends = np.cumsum(lengths)
    found: Rows = np.arange(ends[-1]) + np.repeat(ranges[:, 0] - (ends - lengths), lengths)
    return found


class Access(ABC):
    """A way to find the rows of one table that may meet a condition."""

    @abstractmethod
    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """Find candidates; None if this road is closed for these values, or leads to more than `limit` rows."""

    @abstractmethod
    def describe(self) -> str:
        """Name the index that is used."""


@dataclass(frozen=True, slots=True)
class InShape(Access):
    """The position lies in a shape of constants; `one` must be 1 when the plan runs."""

    columns: tuple[str, str]
    shape: ConstantShape
    one: Constant | None = None

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        if stored.manifest.position != self.columns or (self.one is not None and self.one(values) != 1):
            return None
        shape = self.shape.make(values)
        return None if shape is None else of_cover(stored, _covered(shape), limit)

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"position index ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class Touching(Access):
    """The region in a column touches a shape of constants; `one` must be 1 when the plan runs."""

    column: str
    shape: ConstantShape
    one: Constant | None = None

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        index = stored.region(self.column)
        shape = None if index is None or (self.one is not None and self.one(values) != 1) else self.shape.make(values)
        rows = None if index is None or shape is None else index.touched(shape, limit)
        return None if rows is None else Found(len(rows), pieces=(rows,))

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"position index of the regions in {self.column} ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class KeySpan(Access):
    """The value of an indexed column lies between constants."""

    column: str
    low: Constant | None = None
    high: Constant | None = None
    low_open: bool = False
    high_open: bool = False

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        index = stored.key(self.column)
        span = None if index is None else self.places(index, values)
        if index is None or span is None or span[1] - span[0] > limit:
            return None
        return Found(span[1] - span[0], pieces=(index.at(*span),))

    def places(self, index: KeyIndex, values: Values) -> tuple[int, int] | None:
        """Return the places in the index, None if a bound cannot be looked up in it."""
        low = None if self.low is None else self.low(values)
        high = low if self.high is self.low else None if self.high is None else self.high(values)
        for bound, given in ((low, self.low), (high, self.high)):
            if given is not None and not index.takes(bound):
                return None
        return index.span(low, high, low_open=self.low_open, high_open=self.high_open)

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"index of {self.column}"


@dataclass(frozen=True, slots=True)
class Nowhere(Access):
    """No row can meet the condition."""

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:  # noqa: ARG002  (the contract's signature)
        """See `Access.look_up`."""
        return NOTHING

    def describe(self) -> str:
        """See `Access.describe`."""
        return "nothing: there is no position"


NOWHERE = Nowhere()


@dataclass(frozen=True, slots=True)
class KeyBehind(Access):
    """An indexed text is what stands behind a prefix in a constant."""

    column: str
    prefix: str
    value: Constant

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        value = self.value(values)
        if value is None or not isinstance(value, str):
            return None
        if not value.startswith(self.prefix):
            return NOTHING
        rest = value.removeprefix(self.prefix)
        return KeySpan(self.column, lambda _: rest, lambda _: rest).look_up(stored, values, limit)

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"index of {self.column} behind {self.prefix!r}"


@dataclass(frozen=True, slots=True)
class Unlike(Access):
    """Two constants must be equal: a member of a union in which a column is always the same."""

    one: Constant
    two: Constant

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:  # noqa: ARG002  (the contract's signature)
        """See `Access.look_up`."""
        one, two = self.one(values), self.two(values)
        return None if one == two or (one is not None and two is not None and type(one) is not type(two)) else NOTHING

    def describe(self) -> str:
        """See `Access.describe`."""
        return "a constant, where it is another one"


@dataclass(frozen=True, slots=True)
class KeyAmong(Access):
    """The value of an indexed column is one of a list of constants."""

    column: str
    among: Listed
    number: int

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        index = None if self.number > limit else stored.key(self.column)  # a search for so many takes its time, too
        ranges = None if index is None else places(index, self.among(values))
        if index is None or ranges is None:
            return None
        count = int((ranges[:, 1] - ranges[:, 0]).sum())
        if count > limit:
            return None
        found = spread(ranges)
        rows = np.unique(found if index.rows is None else index.rows[found].astype(np.int64))
        return Found(len(rows), pieces=(rows,))

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"index of {self.column} ({self.number} values)"


@dataclass(frozen=True, slots=True)
class Best(Access):
    """All of several conditions hold: the one with the fewest candidates is used."""

    parts: tuple[Access, ...]

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        best: Found | None = None
        for part in self.parts:
            found = part.look_up(stored, values, limit if best is None else best.count)
            if found is not None and (best is None or found.count < best.count):
                best = found
                if best.count <= 8:
                    break
        return best

    def describe(self) -> str:
        """See `Access.describe`."""
        return " or ".join(part.describe() for part in self.parts) + (
            ", whichever gives fewer rows" if len(self.parts) > 1 else ""
        )


@dataclass(frozen=True, slots=True)
class Either(Access):
    """One of several conditions holds, each with an index."""

    parts: tuple[Access, ...]

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        pieces: list[Rows] = []
        count = 0
        for part in self.parts:
            found = part.look_up(stored, values, limit - count)
            if found is None:
                return None
            count += found.count
            if count > limit:
                return None
            pieces.append(found.rows())
        return Found(count, pieces=tuple(pieces))

    def describe(self) -> str:
        """See `Access.describe`."""
        return "union of " + ", ".join(part.describe() for part in self.parts)


def of_cover(stored: Stored, ranges: Rows, limit: int) -> Found | None:
    """Return the rows whose HEALPix index lies in ranges at order 29."""
    if not len(ranges):
        return NOTHING
    places = stored.healpix.searchsorted(ranges.ravel()).reshape(-1, 2)
    count = int((places[:, 1] - places[:, 0]).sum())
    return None if count > limit else Found(count, places)


# --- analysis ------------------------------------------------------------------------------------------------------


def accesses(narrowable: Narrowable, free: frozenset[int], known: set[tuple[int, int]]) -> dict[int, Access]:
    """Return the best road to each leaf of a SELECT that has one, by conditions that no SELECT around it has `known`: (id, leaf)."""
    found: dict[int, list[Access]] = {}
    rows = [(of_row(condition, number), frozenset({number})) for condition, number in narrowable.rows]
    for condition, leaves in (*narrowable.conditions, *rows):
        for number in leaves & narrowable.leaves.keys():
            if (id(condition), number) in known:
                continue
            access = _access(condition, narrowable, number, free)
            if access is not None:
                known.add((id(condition), number))
                found.setdefault(number, []).append(access)
    return {number: parts[0] if len(parts) == 1 else Best(tuple(_joined(parts))) for number, parts in found.items()}


def _joined(parts: Iterable[Access]) -> list[Access]:
    """Join two half-open spans over the same column to one (x >= a AND x < b)."""
    spans: dict[str, KeySpan] = {}
    rest: list[Access] = []
    for part in parts:
        known = spans.get(part.column) if isinstance(part, KeySpan) else None
        if not isinstance(part, KeySpan):
            rest.append(part)
        elif known is not None and known.low is None and part.high is None:
            spans[part.column] = KeySpan(part.column, part.low, known.high, part.low_open, known.high_open)
        elif known is not None and known.high is None and part.low is None:
            spans[part.column] = KeySpan(part.column, known.low, part.high, known.low_open, part.high_open)
        elif known is not None:
            rest.append(part)
        else:
            spans[part.column] = part
    return [*spans.values(), *rest]


def _access(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Access | None:
    if isinstance(condition, And):
        parts = [part for each in condition.parts if (part := _access(each, narrowable, number, free)) is not None]
        return (parts[0] if len(parts) == 1 else Best(tuple(_joined(parts)))) if parts else None
    if isinstance(condition, Or):
        either = [_access(each, narrowable, number, free) for each in condition.parts]
        found = tuple(part for part in either if part is not None)
        return Either(found) if len(found) == len(either) else None
    return (
        _in_shape(condition, narrowable, number, free)
        or _touching(condition, narrowable, number, free)
        or by_key(condition, narrowable, number, free)
    )


def _in_shape(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Access | None:
    if placeless(condition):
        return NOWHERE
    found = located(condition, narrowable, number, free)
    return None if found is None else InShape(*found)


def _touching(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Access | None:
    found = touched(condition, narrowable, number, free)
    return None if found is None else Touching(*found)


def by_key(condition: Expr, narrowable: Narrowable, number: int, free: frozenset[int]) -> Access | None:
    """Return the road that a condition on an indexed column is."""
    if isinstance(condition, Compare) and condition.op == "=":
        for side, other in ((condition.left, condition.right), (condition.right, condition.left)):
            behind, value = prefixed(side), constant(other, free)
            name = None if behind is None else key_column(narrowable, number, behind[1])
            if behind is not None and name is not None and value is not None:
                return KeyBehind(name, behind[0], value)
            fixed = constant(side, free) if name is None and value is not None else None
            if fixed is not None and value is not None:
                return Unlike(fixed, value)
    found = bounds(condition, lambda expr: key_column(narrowable, number, expr), free)
    if isinstance(found, Bounds):
        return KeySpan(found.column, found.low, found.high, found.low_open, found.high_open)
    return None if found is None else KeyAmong(found.column, found.values, found.number)
