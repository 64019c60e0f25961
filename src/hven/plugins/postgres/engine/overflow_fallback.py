"""Floating-point arithmetic beyond its range.

It raises an error in PostgreSQL. In the embedded engine, and in every answer of Hven, the result is infinite or 0
(IEEE 754).

PostgreSQL has no operators without this check, and a test of every operand would slow every query. Therefore PostgreSQL
runs a query with such arithmetic unchanged. If it fails for this reason, the embedded engine computes it, over the rows
that its other conditions leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.syntax_tree import BinaryOperation, CastExpression, FunctionCall, walk_tree
from hven.engines import DelegatingExecution
from hven.model.errors import EvaluationError
from hven.plugins.postgres.engine import error_translation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.engines import ExecutionLimits, QueryExecution, QueryPlan, Relation

    Values = Sequence[float | str | None]

OUT_OF_RANGE_REASON = "arithmetic beyond the range of floating-point numbers"
_OVERFLOWING_FUNCTIONS = frozenset({"DEGREES", "SUM", "AVG", "STDDEV", "VARIANCE", "POWER", "EXP"})


def can_overflow(node: object) -> bool:
    """Return whether a query or expression may compute a floating-point number that is out of range."""
    return any(_can_node_overflow(part) for part in walk_tree(node))


def _can_node_overflow(node: object) -> bool:
    if not isinstance(node, BinaryOperation | CastExpression | FunctionCall) or node.meta is None:
        return False
    if isinstance(node, FunctionCall) and node.name not in _OVERFLOWING_FUNCTIONS:
        return False
    return node.meta.type.is_numeric and not node.meta.type.is_integer


class EmbeddedEngineFallback:
    """A fallback for queries whose arithmetic may leave the range.

    Parameters
    ----------
    build_fallback
        Function that builds the plan by which the embedded engine computes.
    """

    def __init__(self, build_fallback: Callable[[], QueryPlan]) -> None:
        self._build_fallback = build_fallback
        # It is built when the range is left for the first time: rows of the same tables will leave it again.
        self._fallback_plan: QueryPlan | None = None

    def execute(
        self,
        start_execution: Callable[[], QueryExecution],
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> QueryExecution:
        """Run the query by PostgreSQL, or by the embedded engine if that failed before."""
        if self._fallback_plan is not None:
            return self._fallback_plan.execute(literal_values, relations, limits)
        return OverflowFallbackExecution(self, start_execution(), literal_values, relations, limits)

    def adopt_embedded_fallback(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query by the embedded engine, now and from now on."""
        if self._fallback_plan is None:
            self._fallback_plan = self._build_fallback()
        return self._fallback_plan.execute(literal_values, relations, limits)


class OverflowFallbackExecution(DelegatingExecution):
    """A running query (`hven.engines.QueryExecution`).

    It relays PostgreSQL's rows. If the range is left before any row, it relays those of the embedded engine.
    """

    def __init__(
        self,
        range_fallback: EmbeddedEngineFallback,
        first_execution: QueryExecution,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> None:
        super().__init__(first_execution.schema, first_execution)
        self._range_fallback = range_fallback
        self._first_execution = first_execution
        self._execution_arguments = (literal_values, relations, limits)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        has_yielded_rows = False
        try:
            for batch in self._first_execution:
                has_yielded_rows = True
                yield batch
        except EvaluationError as error:
            if not error_translation.is_float_out_of_range(error.__cause__):
                raise
            values, relations, limits = self._execution_arguments
            self._first_execution.close()
            again = self._adopt_execution(self._range_fallback.adopt_embedded_fallback(values, relations, limits))
            if has_yielded_rows:  # rows come in any order, so the missing ones are unknown
                remedy = (
                    "run the query again; Hven then uses a different method, and such a number becomes infinite or 0"
                )
                raise EvaluationError(
                    f"the query failed after rows had been returned: {error.message}", remedy=remedy
                ) from error
        else:
            return
        yield from again
