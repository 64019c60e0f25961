"""Index accesses: how the conditions of a bound query on single tables use indexes.

The plan finds them once; each run looks its values up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.syntax_tree import Comparison, Conjunction, Disjunction, Expr
from hven.engines._query_analysis.constants import (
    ColumnValueRange,
    analyse_column_bounds,
    compile_constant,
    is_call_comparison,
)
from hven.engines._query_analysis.narrowable_selects import (
    NarrowableSelect,
    bind_policy_condition_to_table,
    match_indexed_column,
)
from hven.engines._query_analysis.shape_conditions import (
    has_null_position,
    match_position_in_shape,
    match_region_in_shape,
)
from hven.engines._query_analysis.shape_covers import cover_shape_with_cells
from hven.engines._query_analysis.union_pushdown import match_prefixed_column
from hven.engines.duckdb.long_lists import find_place_ranges_of_values
from hven.model.sky.api.ragged_arrays import sort_distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from hven.engines._query_analysis.constants import Constant, Listed
    from hven.engines._query_analysis.geometry import ConstantShape
    from hven.engines.duckdb.snapshot_files import KeyIndex, OpenSnapshot

    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]


@dataclass(slots=True)
class CandidateRows:
    """Rows of a snapshot that an index found.

    Position indexes give ranges of row numbers; key indexes give row numbers, in any order.
    """

    count: int
    ranges: Rows | None = None  # shape (n, 2), ascending, disjoint
    pieces: tuple[Rows, ...] = ()

    def list_row_numbers(self) -> Rows:
        """Return the row numbers, ascending, each once."""
        if self.ranges is not None:
            return expand_ranges(self.ranges)
        if not self.pieces:
            return np.empty(0, np.int64)
        if len(self.pieces) == 1:
            piece = self.pieces[0]
            if bool((piece[1:] > piece[:-1]).all()):
                return piece
            return np.sort(piece)
        row_numbers: Rows = sort_distinct(np.concatenate(self.pieces))
        return row_numbers


_cover_cached = lru_cache(maxsize=8)(
    cover_shape_with_cells
)  # the members of a union look up the same shape one after the other
NO_CANDIDATES = CandidateRows(0, np.empty((0, 2), np.int64))


def expand_ranges(ranges: Rows) -> Rows:
    """Return all the numbers of ranges (shape (n, 2))."""
    lengths = ranges[:, 1] - ranges[:, 0]
    is_filled = lengths > 0
    if not is_filled.all():
        ranges = ranges[is_filled]
        lengths = lengths[is_filled]
    if not len(lengths):
        return np.empty(0, np.int64)
    ends = np.cumsum(lengths)
    numbers: Rows = np.arange(ends[-1]) + np.repeat(ranges[:, 0] - (ends - lengths), lengths)
    return numbers


class IndexAccess(ABC):
    """A way to find the rows of one table that may meet a condition."""

    @abstractmethod
    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """Return the candidates.

        Return None if the index cannot look these values up, or finds more than `row_limit` rows.
        """

    @abstractmethod
    def describe_index(self) -> str:
        """Name the index that is used."""


@dataclass(frozen=True, slots=True)
class PositionInShapeAccess(IndexAccess):
    """The position lies in a shape of constants; `required_one` must be 1 when the plan runs."""

    columns: tuple[str, str]
    shape: ConstantShape
    required_one: Constant | None = None

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        if stored.manifest.position != self.columns:
            return None
        if self.required_one is not None and self.required_one(literal_values) != 1:
            return None
        shape = self.shape.build_shape(literal_values)
        if shape is None:
            return None
        return find_covered_rows(stored, _cover_cached(shape), row_limit)

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"position index ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class RegionTouchAccess(IndexAccess):
    """The region in a column touches a shape of constants; `required_one` must be 1 when the plan runs."""

    column: str
    shape: ConstantShape
    required_one: Constant | None = None

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        index = stored.get_region_index(self.column)
        if index is None or (self.required_one is not None and self.required_one(literal_values) != 1):
            return None
        shape = self.shape.build_shape(literal_values)
        if shape is None:
            return None
        rows = index.find_possibly_touching_rows(shape, row_limit)
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

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        index = stored.get_key_index(self.column)
        if index is None:
            return None
        places = self.find_index_place_range(index, literal_values)
        if places is None:
            return None
        begin, end = places
        if end - begin > row_limit:
            return None
        return CandidateRows(end - begin, pieces=(index.list_row_numbers(begin, end),))

    def find_index_place_range(self, index: KeyIndex, literal_values: Values) -> tuple[int, int] | None:
        """Return the first place in the index and that behind the last one; None if it cannot look a bound up."""
        low = None
        if self.low is not None:
            low = self.low(literal_values)
        if self.high is self.low:
            high = low
        else:
            high = None
            if self.high is not None:
                high = self.high(literal_values)
        if self.low is not None and not index.can_look_up(low):
            return None
        if self.high is not None and not index.can_look_up(high):
            return None
        return index.find_range(low, high, is_low_open=self.low_open, is_high_open=self.high_open)

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column}"


@dataclass(frozen=True, slots=True)
class NoCandidatesAccess(IndexAccess):
    """No row can meet the condition."""

    def find_candidate_rows(
        self,
        stored: OpenSnapshot,  # noqa: ARG002  (the contract's signature)
        literal_values: Values,  # noqa: ARG002
        row_limit: int,  # noqa: ARG002
    ) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        return NO_CANDIDATES

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return "nothing: there is no position"


EMPTY_ACCESS = NoCandidatesAccess()


@dataclass(frozen=True, slots=True)
class PrefixedKeyAccess(IndexAccess):
    """An indexed text equals a constant without its prefix."""

    column: str
    prefix: str
    value: Constant

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        value = self.value(literal_values)
        if not isinstance(value, str):
            return None
        if not value.startswith(self.prefix):
            return NO_CANDIDATES
        suffix = value.removeprefix(self.prefix)
        suffix_access = KeyRangeAccess(self.column, lambda _: suffix, lambda _: suffix)
        return suffix_access.find_candidate_rows(stored, literal_values, row_limit)

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column} after {self.prefix!r}"


@dataclass(frozen=True, slots=True)
class ConstantMismatchAccess(IndexAccess):
    """Two constants must be equal, as in a member of a union in which a column always has the same value."""

    left_constant: Constant
    right_constant: Constant

    def find_candidate_rows(
        self,
        stored: OpenSnapshot,  # noqa: ARG002  (the contract's signature)
        literal_values: Values,
        row_limit: int,  # noqa: ARG002
    ) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        left_value = self.left_constant(literal_values)
        right_value = self.right_constant(literal_values)
        if left_value == right_value:
            return None
        has_null = left_value is None or right_value is None
        if type(left_value) is not type(right_value) and not has_null:
            return None  # DuckDB compares values of different types
        return NO_CANDIDATES

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return "a constant, if it is different"


@dataclass(frozen=True, slots=True)
class KeyListAccess(IndexAccess):
    """The value of an indexed column is one of a list of constants."""

    column: str
    choice_values: Listed
    choice_count: int

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        if self.choice_count > row_limit:  # looking up so many values also takes its time
            return None
        index = stored.get_key_index(self.column)
        if index is None:
            return None
        ranges = find_place_ranges_of_values(index, self.choice_values(literal_values))
        if ranges is None:
            return None
        count = int((ranges[:, 1] - ranges[:, 0]).sum())
        if count > row_limit:
            return None
        rows = expand_ranges(ranges)
        if index.rows is not None:
            rows = index.rows[rows].astype(np.int64)
        rows = sort_distinct(rows)
        return CandidateRows(len(rows), pieces=(rows,))

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return f"index of {self.column} ({self.choice_count} values)"


@dataclass(frozen=True, slots=True)
class FewestCandidatesAccess(IndexAccess):
    """All of several conditions hold; the condition with the fewest candidates is used."""

    parts: tuple[IndexAccess, ...]

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        best: CandidateRows | None = None
        for part in self.parts:
            count_limit = row_limit if best is None else best.count
            candidates = part.find_candidate_rows(stored, literal_values, count_limit)
            if candidates is not None and (best is None or candidates.count < best.count):
                best = candidates
                if best.count <= 8:
                    break
        return best

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        descriptions = " or ".join(part.describe_index() for part in self.parts)
        if len(self.parts) > 1:
            return f"{descriptions}, whichever gives fewer rows"
        return descriptions


@dataclass(frozen=True, slots=True)
class UnionAccess(IndexAccess):
    """One of several conditions holds, and each of them has an index."""

    parts: tuple[IndexAccess, ...]

    def find_candidate_rows(self, stored: OpenSnapshot, literal_values: Values, row_limit: int) -> CandidateRows | None:
        """See `IndexAccess.find_candidate_rows`."""
        pieces: list[Rows] = []
        count = 0
        for part in self.parts:
            candidates = part.find_candidate_rows(stored, literal_values, row_limit - count)
            if candidates is None:
                return None
            count += candidates.count
            if count > row_limit:
                return None
            pieces.append(candidates.list_row_numbers())
        return CandidateRows(count, pieces=tuple(pieces))

    def describe_index(self) -> str:
        """See `IndexAccess.describe_index`."""
        return "union of " + ", ".join(part.describe_index() for part in self.parts)


def find_covered_rows(stored: OpenSnapshot, cell_ranges: Rows, row_limit: int) -> CandidateRows | None:
    """Return the rows whose HEALPix index of order 29 lies in the ranges."""
    if not len(cell_ranges):
        return NO_CANDIDATES
    places = stored.cell_indexes.searchsorted(cell_ranges.ravel()).reshape(-1, 2)
    count = int((places[:, 1] - places[:, 0]).sum())
    if count > row_limit:
        return None
    return CandidateRows(count, places)


# --- analysis ------------------------------------------------------------------------------------------------------


def find_accesses_and_mark_used_conditions(
    narrowable: NarrowableSelect, free_slots: frozenset[int], used_conditions: set[tuple[int, int]]
) -> dict[int, IndexAccess]:
    """Return the best index access for each table reference of a SELECT that has one.

    A condition is used once for a reference: `used_conditions`, pairs of the condition's id and the reference's number,
    has those of the SELECTs around this one and gets those of this one.
    """
    accesses_by_number: dict[int, list[IndexAccess]] = {}
    conditions = list(narrowable.conditions)
    for condition, number in narrowable.policy_conditions:
        conditions.append((bind_policy_condition_to_table(condition, number), frozenset({number})))
    for condition, leaves in conditions:
        for number in leaves & narrowable.table_refs.keys():
            if (id(condition), number) in used_conditions:
                continue
            access = _find_index_access(condition, narrowable, number, free_slots)
            if access is not None:
                used_conditions.add((id(condition), number))
                accesses_by_number.setdefault(number, []).append(access)
    return {number: _combine_conjunction_accesses(parts) for number, parts in accesses_by_number.items()}


def _combine_conjunction_accesses(parts: Sequence[IndexAccess]) -> IndexAccess:
    if len(parts) == 1:
        return parts[0]
    return FewestCandidatesAccess(tuple(_merge_key_ranges(parts)))


def _merge_key_ranges(parts: Iterable[IndexAccess]) -> list[IndexAccess]:
    """Merge two half-open ranges of the same column into one (x >= a AND x < b)."""
    range_by_column: dict[str, KeyRangeAccess] = {}
    other_accesses: list[IndexAccess] = []
    for part in parts:
        if not isinstance(part, KeyRangeAccess):
            other_accesses.append(part)
            continue
        range_before = range_by_column.get(part.column)
        if range_before is None:
            range_by_column[part.column] = part
        elif range_before.low is None and part.high is None:
            range_by_column[part.column] = replace(range_before, low=part.low, low_open=part.low_open)
        elif range_before.high is None and part.low is None:
            range_by_column[part.column] = replace(range_before, high=part.high, high_open=part.high_open)
        else:
            other_accesses.append(part)
    return [*range_by_column.values(), *other_accesses]


def _find_index_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    if isinstance(condition, Conjunction | Disjunction):
        optional_accesses = [_find_index_access(part, narrowable, table_number, free_slots) for part in condition.parts]
        accesses = [access for access in optional_accesses if access is not None]
        if isinstance(condition, Conjunction):
            if accesses:
                return _combine_conjunction_accesses(accesses)
            return None
        if len(accesses) == len(optional_accesses):
            return UnionAccess(tuple(accesses))
        return None
    shape_access = None
    if is_call_comparison(condition):
        shape_access = _find_position_in_shape_access(
            condition, narrowable, table_number, free_slots
        ) or _find_region_access(condition, narrowable, table_number, free_slots)
    return shape_access or find_key_access(condition, narrowable, table_number, free_slots)


def _find_position_in_shape_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    if has_null_position(condition):
        return EMPTY_ACCESS
    position_match = match_position_in_shape(condition, narrowable, table_number, free_slots)
    if position_match is None:
        return None
    return PositionInShapeAccess(*position_match)


def _find_region_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    region_match = match_region_in_shape(condition, narrowable, table_number, free_slots)
    if region_match is None:
        return None
    return RegionTouchAccess(*region_match)


def find_key_access(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    """Return the access that a condition on an indexed column gives, or None if it gives none."""
    if isinstance(condition, Comparison) and condition.op == "=":
        equality_access = _find_prefix_or_constants_access(condition, narrowable, table_number, free_slots)
        if equality_access is not None:
            return equality_access
    column_bounds = analyse_column_bounds(
        condition, partial(match_indexed_column, narrowable, table_number), free_slots
    )
    if column_bounds is None:
        return None
    if isinstance(column_bounds, ColumnValueRange):
        return KeyRangeAccess(
            column_bounds.column,
            low=column_bounds.low,
            high=column_bounds.high,
            low_open=column_bounds.low_open,
            high_open=column_bounds.high_open,
        )
    return KeyListAccess(column_bounds.column, column_bounds.values, column_bounds.choice_count)


def _find_prefix_or_constants_access(
    comparison: Comparison, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> IndexAccess | None:
    """Return the access for an equality of a prefixed column and a constant, or of two constants."""
    for side, other in ((comparison.left, comparison.right), (comparison.right, comparison.left)):
        value = compile_constant(other, free_slots)
        if value is None:
            continue
        prefixed_column = match_prefixed_column(side)
        if prefixed_column is not None:
            prefix, column = prefixed_column
            column_name = match_indexed_column(narrowable, table_number, column)
            if column_name is not None:
                return PrefixedKeyAccess(column_name, prefix, value)
        side_constant = compile_constant(side, free_slots)
        if side_constant is not None:
            return ConstantMismatchAccess(side_constant, value)
    return None
