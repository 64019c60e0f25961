"""Which indexes a bound query can use.

Conditions on single tables, found when the plan is made, looked up when it runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.syntax_tree import Comparison, Conjunction, Disjunction, Expr
from hven.engines._query_analysis.column_bounds import ValueRange, analyse_column_bounds
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.narrowable_selects import (
    NarrowableSelect,
    bind_policy_condition,
    match_indexed_column,
)
from hven.engines._query_analysis.shape_conditions import (
    has_null_position,
    match_position_in_shape,
    match_region_in_shape,
)
from hven.engines._query_analysis.shape_covers import cover_shape
from hven.engines._query_analysis.union_pushdown import match_prefixed_column
from hven.engines.duckdb.long_lists import find_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from hven.engines._query_analysis.constants import Constant, Listed
    from hven.engines._query_analysis.geometry import ConstantShape
    from hven.engines.duckdb.key_index import KeyIndex
    from hven.engines.duckdb.snapshot_files import OpenSnapshot

    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]


@dataclass(slots=True)
class CandidateRows:
    """Rows of a snapshot that an index gives: ranges of row numbers (position), or row numbers in some order (keys)."""

    count: int
    ranges: Rows | None = None  # shape (n, 2), ascending, disjoint
    pieces: tuple[Rows, ...] = ()

    def list_rows(self) -> Rows:
        """Return ascending row numbers, each once."""
        if self.ranges is not None:
            return expand_ranges(self.ranges)
        if len(self.pieces) == 1:
            piece = self.pieces[0]
            if bool((piece[1:] > piece[:-1]).all()):
                return piece
            return np.sort(piece)
        row_numbers: Rows = np.unique(np.concatenate(self.pieces)) if self.pieces else np.empty(0, np.int64)
        return row_numbers


_cover_cached = lru_cache(maxsize=8)(cover_shape)  # the members of a union ask for the same shape one after the other
NO_CANDIDATES = CandidateRows(0, np.empty((0, 2), np.int64))


def expand_ranges(ranges: Rows) -> Rows:
    """Write out ranges as numbers."""
    lengths = ranges[:, 1] - ranges[:, 0]
    keep = lengths > 0
    if not keep.all():
        ranges = ranges[keep]
        lengths = lengths[keep]
    if not len(lengths):
        return np.empty(0, np.int64)
    ends = np.cumsum(lengths)
    numbers: Rows = np.arange(ends[-1]) + np.repeat(ranges[:, 0] - (ends - lengths), lengths)
    return numbers


class IndexAccess(ABC):
    """A way to find the rows of one table that may meet a condition."""

    @abstractmethod
    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """Find candidates; None if this road is closed for these values, or leads to more than `row_limit` rows."""

    @abstractmethod
    def describe_index(self) -> str:
        """Name the index that is used."""


@dataclass(frozen=True, slots=True)
class ShapeAccess(IndexAccess):
    """The position lies in a shape of constants; `required_one` must be 1 when the plan runs."""

    columns: tuple[str, str]
    shape: ConstantShape
    required_one: Constant | None = None

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        if stored.manifest.position != self.columns or (
            self.required_one is not None and self.required_one(literal_values) != 1
        ):
            return None
        shape = self.shape.build_shape(literal_values)
        if shape is None:
            return None
        return find_covered_rows(stored, _cover_cached(shape), row_limit)

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"position index ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class RegionAccess(IndexAccess):
    """The region in a column touches a shape of constants; `required_one` must be 1 when the plan runs."""

    column: str
    shape: ConstantShape
    required_one: Constant | None = None

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        index = stored.get_region_index(self.column)
        if index is None or (self.required_one is not None and self.required_one(literal_values) != 1):
            shape = None
        else:
            shape = self.shape.build_shape(literal_values)
        if index is None or shape is None:
            rows = None
        else:
            rows = index.find_touching_rows(shape, row_limit)
        if rows is None:
            return None
        return CandidateRows(len(rows), pieces=(rows,))

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"position index of the regions in {self.column} ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class KeyRangeAccess(IndexAccess):
    """The value of an indexed column lies between constants."""

    column: str
    low: Constant | None = None
    high: Constant | None = None
    low_open: bool = False
    high_open: bool = False

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        index = stored.get_key_index(self.column)
        if index is None:
            span = None
        else:
            span = self.find_places(index, literal_values)
        if index is None or span is None or span[1] - span[0] > row_limit:
            return None
        return CandidateRows(span[1] - span[0], pieces=(index.list_rows(*span),))

    def find_places(self, index: KeyIndex, literal_values: Values) -> tuple[int, int] | None:
        """Return the places in the index, None if a bound cannot be looked up in it."""
        if self.low is None:
            low = None
        else:
            low = self.low(literal_values)
        if self.high is self.low:
            high = low
        elif self.high is None:
            high = None
        else:
            high = self.high(literal_values)
        for bound_value, bound_constant in ((low, self.low), (high, self.high)):
            if bound_constant is not None and not index.can_look_up(bound_value):
                return None
        return index.find_range(low, high, low_open=self.low_open, high_open=self.high_open)

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column}"


@dataclass(frozen=True, slots=True)
class EmptyAccess(IndexAccess):
    """No row can meet the condition."""

    # the contract's signature
    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:  # noqa: ARG002
        """See `IndexAccess.find_candidates`."""
        return NO_CANDIDATES

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return "nothing: there is no position"


EMPTY_ACCESS = EmptyAccess()


@dataclass(frozen=True, slots=True)
class PrefixedKeyAccess(IndexAccess):
    """An indexed text is what stands behind a prefix in a constant."""

    column: str
    prefix: str
    value: Constant

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        value = self.value(literal_values)
        if value is None or not isinstance(value, str):
            return None
        if not value.startswith(self.prefix):
            return NO_CANDIDATES
        suffix = value.removeprefix(self.prefix)
        return KeyRangeAccess(self.column, lambda _: suffix, lambda _: suffix).find_candidates(
            stored, literal_values, row_limit
        )

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column} behind {self.prefix!r}"


@dataclass(frozen=True, slots=True)
class ConstantMismatchAccess(IndexAccess):
    """Two constants must be equal: a member of a union in which a column is always the same."""

    left_constant: Constant
    right_constant: Constant

    # the contract's signature
    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:  # noqa: ARG002
        """See `IndexAccess.find_candidates`."""
        left_value = self.left_constant(literal_values)
        right_value = self.right_constant(literal_values)
        if left_value == right_value or (
            left_value is not None and right_value is not None and type(left_value) is not type(right_value)
        ):
            return None
        return NO_CANDIDATES

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return "a constant, where it is another one"


@dataclass(frozen=True, slots=True)
class KeyListAccess(IndexAccess):
    """The value of an indexed column is one of a list of constants."""

    column: str
    choice_values: Listed
    choice_count: int

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        # a search for so many takes its time, too
        if self.choice_count > row_limit:
            index = None
        else:
            index = stored.get_key_index(self.column)
        if index is None:
            ranges = None
        else:
            ranges = find_places(index, self.choice_values(literal_values))
        if index is None or ranges is None:
            return None
        count = int((ranges[:, 1] - ranges[:, 0]).sum())
        if count > row_limit:
            return None
        positions = expand_ranges(ranges)
        rows = np.unique(positions if index.rows is None else index.rows[positions].astype(np.int64))
        return CandidateRows(len(rows), pieces=(rows,))

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column} ({self.choice_count} values)"


@dataclass(frozen=True, slots=True)
class BestAccess(IndexAccess):
    """All of several conditions hold: the one with the fewest candidates is used."""

    parts: tuple[IndexAccess, ...]

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        best: CandidateRows | None = None
        for part in self.parts:
            candidates = part.find_candidates(stored, literal_values, row_limit if best is None else best.count)
            if candidates is not None and (best is None or candidates.count < best.count):
                best = candidates
                if best.count <= 8:
                    break
        return best

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return " or ".join(part.describe_index() for part in self.parts) + (
            ", whichever gives fewer rows" if len(self.parts) > 1 else ""
        )


@dataclass(frozen=True, slots=True)
class UnionAccess(IndexAccess):
    """One of several conditions holds, each with an index."""

    parts: tuple[IndexAccess, ...]

    def find_candidates(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidates`."""
        pieces: list[Rows] = []
        count = 0
        for part in self.parts:
            candidates = part.find_candidates(stored, literal_values, row_limit - count)
            if candidates is None:
                return None
            count += candidates.count
            if count > row_limit:
                return None
            pieces.append(candidates.list_rows())
        return CandidateRows(count, pieces=tuple(pieces))

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return "union of " + ", ".join(part.describe_index() for part in self.parts)


def find_covered_rows(stored: OpenSnapshot, cell_ranges: Rows, row_limit: int) -> CandidateRows | None:
    """Return the rows whose HEALPix index lies in ranges at order 29."""
    if not len(cell_ranges):
        return NO_CANDIDATES
    places = stored.cell_indexes.searchsorted(cell_ranges.ravel()).reshape(-1, 2)
    count = int((places[:, 1] - places[:, 0]).sum())
    if count > row_limit:
        return None
    return CandidateRows(count, places)


# --- analysis ------------------------------------------------------------------------------------------------------


def find_index_accesses(
    narrowable: NarrowableSelect, free_slots: frozenset[int], used_conditions: set[tuple[int, int]]
) -> dict[int, IndexAccess]:
    """Return the best road to each leaf of a SELECT that has one, by conditions that no SELECT around it has `used_conditions`: (id, leaf)."""
    accesses_by_number: dict[int, list[IndexAccess]] = {}
    rows = [
        (bind_policy_condition(condition, number), frozenset({number}))
        for condition, number in narrowable.policy_conditions
    ]
    for condition, leaves in (*narrowable.conditions, *rows):
        for number in leaves & narrowable.table_refs.keys():
            if (id(condition), number) in used_conditions:
                continue
            access = _find_access(condition, narrowable, number, free_slots)
            if access is not None:
                used_conditions.add((id(condition), number))
                accesses_by_number.setdefault(number, []).append(access)
    return {
        number: parts[0] if len(parts) == 1 else BestAccess(tuple(_merge_key_ranges(parts)))
        for number, parts in accesses_by_number.items()
    }


def _merge_key_ranges(parts: Iterable[IndexAccess]) -> list[IndexAccess]:
    """Join two half-open spans over the same column to one (x >= a AND x < b)."""
    spans: dict[str, KeyRangeAccess] = {}
    other_accesses: list[IndexAccess] = []
    for part in parts:
        if isinstance(part, KeyRangeAccess):
            open_range = spans.get(part.column)
        else:
            open_range = None
        if not isinstance(part, KeyRangeAccess):
            other_accesses.append(part)
        elif open_range is not None and open_range.low is None and part.high is None:
            spans[part.column] = KeyRangeAccess(
                part.column, part.low, open_range.high, part.low_open, open_range.high_open
            )
        elif open_range is not None and open_range.high is None and part.low is None:
            spans[part.column] = KeyRangeAccess(
                part.column, open_range.low, part.high, open_range.low_open, part.high_open
            )
        elif open_range is not None:
            other_accesses.append(part)
        else:
            spans[part.column] = part
    return [*spans.values(), *other_accesses]


def _find_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    if isinstance(condition, Conjunction):
        parts = [
            part
            for condition_part in condition.parts
            if (part := _find_access(condition_part, narrowable, table_number, free_slots)) is not None
        ]
        if parts:
            if len(parts) == 1:
                return parts[0]
            return BestAccess(tuple(_merge_key_ranges(parts)))
        return None
    if isinstance(condition, Disjunction):
        optional_accesses = [
            _find_access(condition_part, narrowable, table_number, free_slots) for condition_part in condition.parts
        ]
        part_accesses = tuple(part for part in optional_accesses if part is not None)
        if len(part_accesses) == len(optional_accesses):
            return UnionAccess(part_accesses)
        return None
    return (
        _find_shape_access(condition, narrowable, table_number, free_slots)
        or _find_region_access(condition, narrowable, table_number, free_slots)
        or find_key_access(condition, narrowable, table_number, free_slots)
    )


def _find_shape_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    if has_null_position(condition):
        return EMPTY_ACCESS
    position_match = match_position_in_shape(condition, narrowable, table_number, free_slots)
    if position_match is None:
        return None
    return ShapeAccess(*position_match)


def _find_region_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    region_match = match_region_in_shape(condition, narrowable, table_number, free_slots)
    if region_match is None:
        return None
    return RegionAccess(*region_match)


def find_key_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    """Return the road that a condition on an indexed column is."""
    if isinstance(condition, Comparison) and condition.op == "=":
        for side, other in ((condition.left, condition.right), (condition.right, condition.left)):
            prefixed_column = match_prefixed_column(side)
            value = compile_constant(other, free_slots)
            if prefixed_column is None:
                name = None
            else:
                name = match_indexed_column(narrowable, table_number, prefixed_column[1])
            if prefixed_column is not None and name is not None and value is not None:
                return PrefixedKeyAccess(name, prefixed_column[0], value)
            if name is None and value is not None:
                side_constant = compile_constant(side, free_slots)
            else:
                side_constant = None
            if side_constant is not None and value is not None:
                return ConstantMismatchAccess(side_constant, value)
    column_bounds = analyse_column_bounds(
        condition, lambda expr: match_indexed_column(narrowable, table_number, expr), free_slots
    )
    if isinstance(column_bounds, ValueRange):
        return KeyRangeAccess(
            column_bounds.column, column_bounds.low, column_bounds.high, column_bounds.low_open, column_bounds.high_open
        )
    if column_bounds is None:
        return None
    return KeyListAccess(column_bounds.column, column_bounds.values, column_bounds.choice_count)
