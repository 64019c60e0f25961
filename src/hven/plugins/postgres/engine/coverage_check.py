"""Answers without the database: a cone outside the coverage of a snapshot has no rows.

A coverage is that of all rows of a snapshot. If the reader may not see all rows, nothing is concluded from it: the time
of an answer would tell where hidden rows lie, and where there are none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.engines import QueryExecution, Snapshot
from hven.engines.api.query_analysis import is_certainly_empty
from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import Relation
    from hven.plugins.postgres.engine.position_search import PositionConditions, ShapeSearch

    Values = Sequence[float | str | None]
    Ranges = npt.NDArray[np.int64]


class CoverageCheck:
    """A check whether the coverages alone prove that an answer has no rows.

    It looks at those table references of a query whose positions must lie in constant shapes, and all of whose rows the
    reader may see.
    """

    def __init__(self, bound_query: BoundQuery, position_conditions: PositionConditions) -> None:
        self._query = bound_query.query
        self._shapes_by_number: dict[int, tuple[str, list[ShapeSearch]]] = {}
        for number, shapes in position_conditions.shape_searches.items():
            table_ref = position_conditions.table_refs[number]
            if table_ref.table is not None and table_ref.where is None:
                self._shapes_by_number[number] = table_ref.table.qualified_name, shapes

    def is_certainly_empty(self, literal_values: Values, relations: Mapping[str, Relation]) -> bool:
        """Return whether the coverages alone prove that the answer has no rows."""
        empty_numbers = set()
        for number, (name, shapes) in self._shapes_by_number.items():
            if _is_outside_coverage(shapes, literal_values, relations.get(name)):
                empty_numbers.add(number)
        return bool(empty_numbers) and is_certainly_empty(self._query, frozenset(empty_numbers))

    def describe_checks(self) -> list[str]:
        """Describe the cases in which the database is not asked."""
        if not is_certainly_empty(self._query, frozenset(self._shapes_by_number)):
            return []
        descriptions = []
        for name, shapes in self._shapes_by_number.values():
            for search in shapes:
                kind = search.shape.kind.lower()
                descriptions.append(f"without PostgreSQL, if the {kind} lies outside of what {name} covers")
        return list(dict.fromkeys(descriptions))


class EmptyExecution(QueryExecution):
    """An answer without rows (`hven.engines.QueryExecution`)."""

    small = True
    is_computed = True

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def read_small_answer(self) -> list[tuple[Any, ...]]:
        """Return no rows."""
        return []

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(())

    def cancel(self) -> None:
        """Do nothing: there is nothing to cancel."""
        return

    def close(self) -> None:
        """Do nothing: there is nothing to free."""
        return


def _is_outside_coverage(shapes: Sequence[ShapeSearch], literal_values: Values, relation: Relation | None) -> bool:
    """Return whether one of the shapes lies outside the coverage of a snapshot."""
    if not isinstance(relation, Snapshot) or relation.coverage is None:
        return False
    for shape in shapes:
        cell_ranges = shape.compute_cell_ranges(literal_values)
        if cell_ranges is not None and not _has_overlap(cell_ranges, _parse_coverage(relation.coverage)):
            return True
    return False


@lru_cache(maxsize=64)
def _parse_coverage(coverage: str) -> Ranges:
    return Moc.parse(coverage).ranges


def _has_overlap(first_ranges: Ranges, second_ranges: Ranges) -> bool:
    """Return whether half-open ranges, sorted and disjoint, have something in common."""
    # for each first range, the first of the second ranges that ends behind its beginning
    next_numbers = second_ranges[:, 1].searchsorted(first_ranges[:, 0], side="right")
    has_next = next_numbers < len(second_ranges)
    next_begins = second_ranges[next_numbers[has_next], 0]
    return bool((next_begins < first_ranges[has_next, 1]).any())
