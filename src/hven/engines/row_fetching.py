"""Execute queries that one engine cannot compute alone.

Several plans fetch the rows of single tables, and a final plan computes over these rows.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.syntax_tree import (
    ColumnRef,
    Ident,
    Query,
    Select,
    SelectItem,
    TableRef,
    ValueMetadata,
    join_conditions_with_and,
)
from hven.engines import DelegatingExecution, MemoryRelation
from hven.model.errors import OperationCancelledError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery, Expr, Join
    from hven.engines import ExecutionLimits, QueryPlan, Relation
    from hven.model.errors import HvenError
    from hven.model.table import Column


@dataclass(slots=True)
class FetchBudget:
    """How much may still be fetched: `remaining_rows` and `remaining_bytes`, which both count down."""

    remaining_rows: int
    remaining_bytes: float = float("inf")


class FetchingExecution(DelegatingExecution):
    """A running query over rows that are fetched first (`hven.engines.QueryExecution`).

    Nothing is fetched before the first batch is read.

    Parameters
    ----------
    final_plan, final_table_names
        The plan that computes over the fetched rows, and the qualified names of the tables that it reads.
    literal_values, relations, limits
        As for `hven.engines.QueryPlan.execute`.
    """

    def __init__(
        self,
        final_plan: QueryPlan,
        final_table_names: Iterable[str],
        literal_values: Sequence[float | str | None],
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> None:
        super().__init__(final_plan.schema)
        self._final_plan = final_plan
        self._final_table_names = final_table_names
        self._literal_values = literal_values
        self._relations = dict(relations)
        self._limits = limits

    @abstractmethod
    def _fetch_tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Fetch the rows of one table after the other; yield them with the names by which other plans read them."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for name, rows in self._fetch_tables():
                self._relations[name] = MemoryRelation(rows)
            yield from self._run_plan(self._final_plan, self._final_table_names, self._limits.row_limit)
        finally:
            self.close()
            self._relations.clear()

    def _run_plan(self, plan: QueryPlan, table_names: Iterable[str], row_limit: int | None) -> Iterator[pa.RecordBatch]:
        """Run one plan over these tables, within the deadline of the whole query; cancelling or closing stops it."""
        if self._is_stopped():
            raise OperationCancelledError("the query was stopped")
        if self._limits.deadline is not None:
            self._limits.deadline.check()
        relations = {name: self._relations[name] for name in table_names}
        limits = replace(self._limits, row_limit=row_limit)
        execution = self._adopt_execution(plan.execute(self._literal_values, relations, limits))
        try:
            yield from execution
        finally:
            self._set_current_execution(None)
            execution.close()

    def _fetch_rows(
        self, plan: QueryPlan, table_names: Iterable[str], budget: FetchBudget, budget_error: HvenError
    ) -> pa.Table:
        """Return the rows of a plan; raise `budget_error` if they exceed the budget."""
        batches: list[pa.RecordBatch] = []
        for batch in self._run_plan(plan, table_names, budget.remaining_rows):
            budget.remaining_rows -= batch.num_rows
            budget.remaining_bytes -= batch.nbytes
            if budget.remaining_rows < 0 or budget.remaining_bytes < 0:
                raise budget_error
            batches.append(batch)
        return pa.Table.from_batches(batches, batches[0].schema if batches else plan.schema)


def build_column_ref(column: Column, table_number: int) -> ColumnRef:
    """Build a bound reference to a column.

    Parameters
    ----------
    column
        The column of a table.
    table_number
        The binder's number of the table reference.

    Returns
    -------
    reference
        The bound reference.
    """
    meta = ValueMetadata(column.type, column.unit, column.ucd, column=column)
    return ColumnRef(Ident(column.name, quoted=True), source=table_number, column=column, meta=meta)


def build_fetch_query(
    bound_query: BoundQuery,
    table_ref: TableRef,
    columns: tuple[Column, ...],
    conditions: Iterable[Expr],
    join: Join | None = None,
    *,
    is_distinct: bool = False,
) -> BoundQuery:
    """Build the query for these columns of those rows of a table reference that meet conditions on it alone.

    Parameters
    ----------
    bound_query
        The whole query.
    table_ref
        The table reference.
    columns
        The columns to read.
    conditions
        Bound conditions over this reference.
    join
        A join of the reference with another table, whose rows are keys.
    is_distinct
        True to read each row once.

    Returns
    -------
    bound
        A query of the table, or of the join.
    """
    items = tuple(SelectItem(build_column_ref(column, table_ref.number), column=column) for column in columns)
    body = Select(items, join or table_ref, join_conditions_with_and(*conditions), distinct=is_distinct)
    read_items = (table_ref,) if join is None else (table_ref, join.right)
    tables = tuple(item.table for item in read_items if isinstance(item, TableRef) and item.table is not None)
    return replace(bound_query, query=Query(body), columns=columns, tables=tables, volatile=False)
