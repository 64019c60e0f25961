"""What the coverage of a snapshot tells before its rows are asked for: in a cone outside of it there are none, and the database is not asked.

A coverage is that of all rows. Of a table of which its reader does not see all nothing is concluded: how soon an answer comes would tell where hidden
rows lie, and where none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.engines import Execution, Snapshot
from hven.engines._bound.empty import nothing
from hven.model.sky import Moc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.engines import Relation
    from hven.engines.postgres.places import InShape, Positions

    Values = Sequence[float | str | None]
    Ranges = npt.NDArray[np.int64]


class Outside:
    """The table references of a query whose positions must lie in shapes of constants, and all of whose rows its reader sees."""

    def __init__(self, bound: Bound, positions: Positions) -> None:
        self._query = bound.query
        self._asked: dict[int, tuple[str, list[InShape]]] = {}
        for number, shapes in positions.shapes.items():
            leaf = positions.leaves[number]
            if leaf.table is not None and leaf.where is None:
                self._asked[number] = leaf.table.qualified, shapes

    def nothing(self, values: Values, relations: Mapping[str, Relation]) -> bool:
        """Return whether the answer has no rows, by the coverages alone."""
        empty = {
            number for number, (name, shapes) in self._asked.items() if _misses(shapes, values, relations.get(name))
        }
        return bool(empty) and nothing(self._query, frozenset(empty))

    def describe(self) -> list[str]:
        """Describe in words what may be answered so."""
        asked = {
            f"without PostgreSQL, if the {shape.shape.kind.lower()} lies outside of what {name} covers": None
            for name, shapes in self._asked.values()
            for shape in shapes
        }
        return [*asked] if nothing(self._query, frozenset(self._asked)) else []


class Nothing(Execution):
    """An answer without rows (`hven.engines.Execution`)."""

    small = True
    computed = True

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema

    def few(self) -> list[tuple[Any, ...]]:
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


def _misses(shapes: Sequence[InShape], values: Values, relation: Relation | None) -> bool:
    """Return whether one of the shapes lies outside of what a snapshot covers."""
    if not isinstance(relation, Snapshot) or relation.coverage is None:
        return False
    found = (shape.cells(values) for shape in shapes)
    return any(cells is not None and not _meet(cells, _covered(relation.coverage)) for cells in found)


@lru_cache(maxsize=64)
def _covered(coverage: str) -> Ranges:
    return Moc.parse(coverage).ranges


def _meet(one: Ranges, two: Ranges) -> bool:
    """Return whether half-open ranges, sorted and disjoint, have something in common."""
    at = two[:, 1].searchsorted(one[:, 0], side="right")  # the first one that ends behind it
    some = at < len(two)
    return bool((two[at[some], 0] < one[some, 1]).any())


__all__ = ["Nothing", "Outside"]
