"""What the coverage of a snapshot tells before its rows are asked for.

In a cone outside of it there are none, and the database is not asked.

A coverage is that of all rows. Of a table of which its reader does not see all nothing is concluded: how soon an answer
comes would tell where hidden rows lie, and where none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.engines import QueryExecution, Snapshot
from hven.engines._query_analysis.empty_members import is_certainly_empty
from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import Relation
    from hven.engines.postgres.position_search import PositionConditions, ShapeSearch

    Values = Sequence[float | str | None]
    Ranges = npt.NDArray[np.int64]


class CoverageCheck:
    """The table references of a query whose positions must lie in shapes of constants, and all of whose rows its reader sees."""

    def __init__(self, bound: BoundQuery, positions: PositionConditions) -> None:
        self._query = bound.query
        self._shapes_by_number: dict[int, tuple[str, list[ShapeSearch]]] = {}
        for number, shapes in positions.shape_searches.items():
            leaf = positions.table_refs[number]
            if leaf.table is not None and leaf.where is None:
                self._shapes_by_number[number] = leaf.table.qualified_name, shapes

    def is_certainly_empty(self, literal_values: Values, relations: Mapping[str, Relation]) -> bool:
        """Return whether the answer has no rows, by the coverages alone."""
        empty_numbers = {
            number
            for number, (name, shapes) in self._shapes_by_number.items()
            if _is_outside_coverage(shapes, literal_values, relations.get(name))
        }
        return bool(empty_numbers) and is_certainly_empty(self._query, frozenset(empty_numbers))

    def describe_checks(self) -> list[str]:
        """Describe in words what may be answered so."""
        descriptions = {
            f"without PostgreSQL, if the {shape.shape.kind.lower()} lies outside of what {name} covers": None
            for name, shapes in self._shapes_by_number.values()
            for shape in shapes
        }
        if is_certainly_empty(self._query, frozenset(self._shapes_by_number)):
            return [*descriptions]
        return []


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
        """Do nothing: nothing runs."""
        return

    def close(self) -> None:
        """Do nothing: nothing is held."""
        return


def _is_outside_coverage(shapes: Sequence[ShapeSearch], literal_values: Values, relation: Relation | None) -> bool:
    """Return whether one of the shapes lies outside of what a snapshot covers."""
    if not isinstance(relation, Snapshot) or relation.coverage is None:
        return False
    cell_ranges = (shape.compute_cell_ranges(literal_values) for shape in shapes)
    return any(
        cells is not None and not _has_overlap(cells, _parse_coverage(relation.coverage)) for cells in cell_ranges
    )


@lru_cache(maxsize=64)
def _parse_coverage(coverage: str) -> Ranges:
    return Moc.parse(coverage).ranges


def _has_overlap(first_ranges: Ranges, second_ranges: Ranges) -> bool:
    """Return whether half-open ranges, sorted and disjoint, have something in common."""
    next_range = second_ranges[:, 1].searchsorted(first_ranges[:, 0], side="right")  # the first one that ends behind it
    has_next = next_range < len(second_ranges)
    return bool((second_ranges[next_range[has_next], 0] < first_ranges[has_next, 1]).any())


__all__ = ["CoverageCheck", "EmptyExecution"]
