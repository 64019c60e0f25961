"""Execute queries with a function that another engine does not compute.

That engine returns the rows that the conditions leave, and the embedded engine computes the rest.

Only the columns that the query reads are transferred, and only rows that meet those conditions on single tables that
the other engine can compute; it uses its indexes for them. A query that would transfer too much is refused with a
message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.grouping import is_never_true_for_null, is_single_row_expression
from hven.adql.syntax_tree import ColumnRef, TableRef, walk_tree
from hven.engines import ExecutionLimits, MemoryRelation, QueryExecution, QueryPlan, require_relation
from hven.engines._query_analysis.narrowable_selects import analyse_select
from hven.engines.row_fetching import FetchBudget, FetchingExecution, build_fetch_query
from hven.model.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines import Relation, StorageEngine
    from hven.model.table import Table

    Values = Sequence[float | str | None]

MAX_FETCHED_ROWS = 5_000_000  # maximum number of rows of one table that are transferred


class EmbeddedFallbackPlan(QueryPlan):
    """The plan of such a query: the plans that read tables of the other engine, and the plan of the embedded engine.

    Parameters
    ----------
    embedded_engine
        The embedded engine.
    bound_query
        The query.
    reason
        What the other engine does not compute.
    plan_table_read
        Plans the query for the rows of one table, which may return more than needed; it returns None for a row filter
        that the engine cannot compute.
    can_push_condition
        Returns whether the engine computes a condition.
    source_engine_name
        Name of the other engine in messages.
    max_fetched_bytes
        Maximum size of the rows that are transferred.
    """

    is_quick = False

    def __init__(
        self,
        embedded_engine: StorageEngine,
        bound_query: BoundQuery,
        reason: str,
        plan_table_read: Callable[[BoundQuery], QueryPlan | None],
        *,
        can_push_condition: Callable[[Expr], bool] = lambda _: True,
        source_engine_name: str = "PostgreSQL",
        max_fetched_bytes: float = float("inf"),
    ) -> None:
        self.reason = reason
        self._source_engine_name = source_engine_name
        self.max_fetched_bytes = max_fetched_bytes
        self.embedded_plan = embedded_engine.plan_query(bound_query)
        self.schema = self.embedded_plan.schema
        columns = bound_query.survey.read_columns
        table_refs: dict[int, TableRef] = {}
        conditions: dict[int, list[Expr]] = {}
        for select in bound_query.survey.selects:
            narrowable = analyse_select(select)
            table_refs.update(narrowable.table_refs)
            for condition, numbers in narrowable.conditions:
                for number in numbers:
                    is_null_filled = (id(condition), number) in narrowable.null_filled_conditions
                    is_pushable = not is_null_filled or is_never_true_for_null(condition)
                    if is_pushable and _is_single_table_condition(condition, number) and can_push_condition(condition):
                        conditions.setdefault(number, []).append(condition)
        self.table_fetches: dict[str, tuple[Table, QueryPlan]] = {}
        for table in bound_query.tables:
            table_uses = []
            column_names: dict[str, None] = {}
            for table_ref in table_refs.values():
                if table_ref.table is not None and table_ref.table.qualified_name == table.qualified_name:
                    table_uses.append(table_ref)
                    column_names.update(dict.fromkeys(columns.get(table_ref.number, ())))
            columns_to_read = tuple(table.find_column(name) for name in column_names) or table.columns[:1]
            plan = None
            if len(table_uses) == 1:  # several references share the rows, and have no condition in common
                table_conditions = conditions.get(table_uses[0].number, ())
                plan = plan_table_read(build_fetch_query(bound_query, table_uses[0], columns_to_read, table_conditions))
            if plan is None:
                # without conditions, because none may see rows that the reader may not see
                full_table_ref = TableRef((), number=0, table=table)
                plan = plan_table_read(build_fetch_query(bound_query, full_table_ref, columns_to_read, ()))
            if plan is None:
                raise TypeError(f"{source_engine_name} cannot return the rows of {table.qualified_name}")
            self.table_fetches[table.qualified_name] = table, plan

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Return the execution, which does nothing before it is iterated."""
        return EmbeddedFallbackExecution(self, literal_values, relations, limits)

    def explain(self) -> str:
        """Describe which engine reads and which computes."""
        return (
            f"{self.reason} is computed in the embedded engine, over rows that {self._source_engine_name} "
            f"gives\n{self.embedded_plan.explain()}"
        )

    def describe_row_estimates(self, literal_values: Values, relations: Mapping[str, Relation]) -> list[str]:
        """Return the other engine's own estimates."""
        lines = []
        for name, (_, plan) in self.table_fetches.items():
            if not isinstance(require_relation(relations, name), MemoryRelation):
                estimates = plan.describe_row_estimates(literal_values, relations)
                lines += [f"{name}, to the embedded engine: {line}" for line in estimates[-1:]]
        return lines


class EmbeddedFallbackExecution(FetchingExecution):
    """A running query of a `EmbeddedFallbackPlan` (`hven.engines.QueryExecution`)."""

    def __init__(
        self,
        fallback_plan: EmbeddedFallbackPlan,
        literal_values: Values,
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
    ) -> None:
        super().__init__(fallback_plan.embedded_plan, fallback_plan.table_fetches, literal_values, relations, limits)
        self._fallback_plan = fallback_plan

    @property
    def _fetch_limit_text(self) -> str:
        if self._fallback_plan.max_fetched_bytes > MAX_FETCHED_ROWS * 1000:
            return f"{MAX_FETCHED_ROWS:,} rows"
        return f"{self._fallback_plan.max_fetched_bytes:,.0f} bytes"

    def _fetch_tables(self) -> Iterator[tuple[str, pa.Table]]:
        for name, (table, plan) in self._fallback_plan.table_fetches.items():
            if isinstance(require_relation(self._relations, name), MemoryRelation):
                continue
            message = (
                f"the database cannot compute {self._fallback_plan.reason}, and Hven would have to fetch more than "
                f"{self._fetch_limit_text} of {name} to compute it"
            )
            remedy = "add a condition that selects fewer rows (by position, key or time)"
            too_many = TooLargeError(message, remedy=remedy)
            budget = FetchBudget(MAX_FETCHED_ROWS, self._fallback_plan.max_fetched_bytes)
            rows = self._fetch_rows(plan, [name], budget, too_many)
            yield name, _with_missing_columns(rows, table)


def _with_missing_columns(rows: pa.Table, table: Table) -> pa.Table:
    """Return all columns of the table; those that the query does not read are null."""
    columns = []
    for item in table.arrow_schema:
        is_read = item.name in rows.schema.names
        columns.append(rows.column(item.name) if is_read else pa.nulls(rows.num_rows, item.type))
    schema = pa.schema([pa.field(item.name, item.type) for item in table.arrow_schema])
    return pa.Table.from_arrays(columns, schema=schema)


def _is_single_table_condition(condition: Expr, table_number: int) -> bool:
    """Return whether a condition reads one table reference and nothing else."""
    sources = {node.source for node in walk_tree(condition) if isinstance(node, ColumnRef)}
    return is_single_row_expression(condition) and sources <= {table_number}
