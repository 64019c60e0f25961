"""Floating-point arithmetic beyond its range: an error in PostgreSQL, infinite or 0 (IEEE 754) in the embedded engine and in every answer of ours.

PostgreSQL has no operators that do not look, and to test every operand would slow every query. So a query whose arithmetic might get
there is asked as it stands; if it fails for that reason, the embedded engine computes it over the rows that its other conditions leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.tree import Binary, Cast, Function, walk
from hven.engines import Relay
from hven.engines.postgres import faults
from hven.model.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.engines import Execution, Limits, Plan, Relation

    Values = Sequence[float | str | None]

WHY = "arithmetic beyond the range of floating-point numbers"
_CALLS = frozenset({"DEGREES", "SUM", "AVG", "STDDEV", "VARIANCE", "POWER", "EXP"})


def may_leave(node: object) -> bool:
    """Return whether something in a query or expression may compute a floating-point number that is out of range."""
    return any(
        isinstance(part, Binary | Cast | Function)
        and (not isinstance(part, Function) or part.name in _CALLS)
        and part.meta is not None
        and part.meta.type.is_numeric
        and not part.meta.type.is_integer
        for part in walk(node)
    )


class Ranged:
    """How a plan answers queries that may leave the range.

    Parameters
    ----------
    detour
        Makes the plan by which the embedded engine computes.
    """

    def __init__(self, detour: Callable[[], Plan]) -> None:
        self._make = detour
        # made when the range was left for the first time: rows of the same tables will leave it again
        self._detour: Plan | None = None

    def execute(
        self, first: Callable[[], Execution], values: Values, relations: Mapping[str, Relation], limits: Limits
    ) -> Execution:
        """Run: by PostgreSQL, unless that failed once."""
        if self._detour is not None:
            return self._detour.execute(values, relations, limits)
        return RangedExecution(self, first(), values, relations, limits)

    def again(self, values: Values, relations: Mapping[str, Relation], limits: Limits) -> Execution:
        """Run by the embedded engine, now and from now on."""
        if self._detour is None:
            self._detour = self._make()
        return self._detour.execute(values, relations, limits)


class RangedExecution(Relay):
    """A running query (`hven.engines.Execution`): PostgreSQL's, and if that leaves the range before it gave rows, the embedded engine's."""

    def __init__(
        self, ranged: Ranged, first: Execution, values: Values, relations: Mapping[str, Relation], limits: Limits
    ) -> None:
        super().__init__(first.schema, first)
        self._ranged = ranged
        self._first = first
        self._asked = (values, relations, limits)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        given = False
        try:
            for batch in self._first:
                given = True
                yield batch
        except EvaluationError as error:
            if not faults.beyond(error.__cause__):
                raise
            values, relations, limits = self._asked
            self._first.close()
            again = self._begin(self._ranged.again(values, relations, limits))
            if given:  # rows come in any order: nobody knows which are missing
                remedy = "ask again: it is then computed in another way, where such a number is infinite or 0"
                raise EvaluationError(f"{error.message}, after rows had been given", remedy=remedy) from error
        else:
            return
        yield from again


__all__ = ["WHY", "Ranged", "may_leave"]
