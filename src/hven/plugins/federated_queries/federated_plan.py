"""Plans of queries over tables of several engines.

One engine, the host, computes the answer. From each table of another engine, the plan fetches the columns and rows that
the query may need: with the conditions on that table alone, with the user's row filter, and, if a join by key restricts
it to few keys, with these keys. The fetched rows replace the table in the query.

Names and conditions are found when the plan is made. Literals stay in their slots, so that a plan can be reused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.adql_writer import write_adql
from hven.adql.syntax_tree import Comparison, Ident, Join, TableRef, ValueMetadata
from hven.engines import ExecutionLimits, MemoryRelation, QueryExecution, QueryPlan
from hven.engines.row_fetching import FetchBudget, FetchingExecution, build_column_ref, build_fetch_query
from hven.model.errors import TooLargeError, format_message
from hven.model.table import Column, Table
from hven.model.types import BOOLEAN
from hven.plugins.federated_queries.federation_analysis import (
    JoinKey,
    TableUse,
    analyse_federated_query,
    replace_foreign_tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines import Relation
    from hven.model.settings import QueryLimits
    from hven.site import EngineRegistry

    Values = Sequence[float | str | None]

COPY_SCHEMA, KEY_SCHEMA = "hven_copy", "hven_keys"  # schemas of copies and of keys; no collection has these names
# The embedded engine is the host unless another one has this many times as many rows: copies cost nothing there.
EMBEDDED_HOST_BIAS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFetch:
    """A query on one table in its own engine.

    It runs `full_plan`, or with a `join_key` the `keyed_plan`, which fetches only rows that match the keys of another
    table.
    """

    number: int
    engine: str
    table: Table
    columns: tuple[Column, ...]
    conditions: tuple[Expr, ...]
    has_row_filter: bool
    full_plan: QueryPlan
    keyed_plan: QueryPlan | None = None
    join_key: JoinKey | None = None
    expected_row_count: float = 0.0

    @property
    def name(self) -> str:
        """Name of the fetched rows in the rest of the query."""
        return f"{COPY_SCHEMA}.t{self.number}"


class FederatedPlan(QueryPlan):
    """A plan over several engines (`hven.engines.QueryPlan`)."""

    is_quick = False

    def __init__(
        self,
        bound_query: BoundQuery,
        engines: EngineRegistry,
        engines_by_table: Mapping[str, str],
        relations: Mapping[str, Relation],
        limits: QueryLimits,
    ) -> None:
        self.limits = limits
        self._bound = bound_query
        self._engines = engines
        self._survey = analyse_federated_query(bound_query, engines_by_table, relations, limits.copy_keys)
        self.host_engine = self._choose_engine_with_most_rows(engines.embedded_engine.name)
        self.foreign_numbers = [
            table_use.number
            for table_use in self._survey.order_tables_by_dependency()
            if table_use.engine not in {None, self.host_engine}
        ]
        self._fetches: dict[tuple[int, str | None], TableFetch] = {}
        self.copy_fetches = [self._plan_table_fetch(number, None) for number in self.foreign_numbers]
        host_query = self._build_host_query()
        self.host_tables = tuple(table.qualified_name for table in host_query.tables)
        self.host_plan = engines.get_engine_for_users(self.host_engine).plan_query(host_query)
        self.schema = self.host_plan.schema

    def _choose_engine_with_most_rows(self, embedded_engine_name: str) -> str:
        """Choose the engine with the most rows that the conditions on single tables leave."""
        rows_by_engine: dict[str, float] = {}
        for table_use in self._survey.table_uses.values():
            if table_use.engine is not None:
                row_count = max(table_use.estimated_row_count, 1.0)
                rows_by_engine[table_use.engine] = rows_by_engine.get(table_use.engine, 0.0) + row_count
        if embedded_engine_name in rows_by_engine:
            rows_by_engine[embedded_engine_name] *= EMBEDDED_HOST_BIAS
        return max(sorted(rows_by_engine), key=lambda name: rows_by_engine[name])

    # --- fetches ---------------------------------------------------------------------------------------------

    def _plan_table_fetch(self, table_number: int, key_column: str | None) -> TableFetch:
        """Plan the fetch from a table.

        It fetches the columns that the rest of the query needs, or the distinct values of `key_column`.
        """
        planned_fetch = self._fetches.get((table_number, key_column))
        if planned_fetch is not None:
            return planned_fetch
        table_use = self._survey.table_uses[table_number]
        node = table_use.node
        if table_use.engine is None or node.table is None:
            raise TypeError("rows in memory cannot be fetched")
        columns = table_use.columns
        is_distinct = key_column is not None
        if key_column is not None:
            columns = (node.table.find_column(key_column),)
        engine = self._engines.get_engine_for_users(table_use.engine)
        join_key = table_use.join_key
        keyed_plan = None
        if join_key is not None:
            self._plan_key_fetch(join_key)
            keyed_query = self._build_fetch_query(table_use, columns, join_key, is_distinct=is_distinct)
            keyed_plan = engine.plan_query(keyed_query)
        full_query = self._build_fetch_query(table_use, columns, None, is_distinct=is_distinct)
        fetch = TableFetch(
            number=table_number,
            engine=table_use.engine,
            table=node.table,
            columns=columns,
            conditions=table_use.conditions,
            has_row_filter=node.where is not None,
            full_plan=engine.plan_query(full_query),
            keyed_plan=keyed_plan,
            join_key=join_key,
            expected_row_count=table_use.estimated_row_count,
        )
        self._fetches[table_number, key_column] = fetch
        return fetch

    def _plan_key_fetch(self, join_key: JoinKey) -> TableFetch | None:
        """Plan the fetch of the keys of a join; None if they come from rows that are in memory then."""
        if (
            join_key.driver_number in self.foreign_numbers
            or self._survey.table_uses[join_key.driver_number].engine is None
        ):
            return None
        return self._plan_table_fetch(join_key.driver_number, join_key.driver_column.name)

    def _build_fetch_query(
        self, table_use: TableUse, columns: tuple[Column, ...], join_key: JoinKey | None, *, is_distinct: bool
    ) -> BoundQuery:
        join = None
        if join_key is not None:
            keys = _build_key_table(join_key)
            key_number = max(self._survey.from_item_numbers, default=0) + 1
            key_table = TableRef((Ident(KEY_SCHEMA), Ident(keys.name)), number=key_number, table=keys)
            key_condition = Comparison(
                "=",
                build_column_ref(join_key.target_column, table_use.number),
                build_column_ref(keys.columns[0], key_number),
                meta=ValueMetadata(BOOLEAN),
            )
            join = Join(table_use.node, key_table, "INNER", on=key_condition)
        return build_fetch_query(
            self._bound, table_use.node, columns, table_use.conditions, join, is_distinct=is_distinct
        )

    def _build_host_query(self) -> BoundQuery:
        """Return the query with copies in place of foreign tables, without the conditions that the fetches test."""
        foreign_numbers = set(self.foreign_numbers)
        copies = {fetch.name: _build_copy_table(fetch) for fetch in self.copy_fetches}
        pushed_ids: set[int] = set()
        host_tables: list[Table] = []
        for table_use in self._survey.table_uses.values():
            if table_use.number in foreign_numbers:
                pushed_ids.update(id(condition) for condition in table_use.pushed_conditions)
            elif table_use.node.table is not None:
                host_tables.append(table_use.node.table)
        query = replace_foreign_tables(self._bound.query, foreign_numbers, copies, pushed_ids)
        tables_by_name = {table.qualified_name: table for table in (*host_tables, *copies.values())}
        return replace(self._bound, query=query, tables=tuple(tables_by_name.values()))

    # --- execution -------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run the query, which starts with the first batch; see `hven.engines.QueryPlan.execute`."""
        return FederatedExecution(self, literal_values, relations, limits)

    def explain(self) -> str:
        """Describe what each engine computes, and what is copied."""
        engine_names = {table_use.engine for table_use in self._survey.table_uses.values() if table_use.engine}
        lines = [f"tables of {len(engine_names)} engines; {self.host_engine} computes the answer"]
        for fetch in self._fetches.values():
            lines += self._describe_fetch(fetch)
        lines.append(
            f"at most {self.limits.copy_rows:,} rows and {self.limits.copy_bytes:,} bytes are copied "
            f"(limits.copy_rows, limits.copy_bytes)"
        )
        lines.append(f"then in {self.host_engine}:")
        lines += _format_indented_lines(self.host_plan.explain())
        return "\n".join(lines)

    def _describe_fetch(self, fetch: TableFetch) -> list[str]:
        columns = ", ".join(column.name for column in fetch.columns)
        if fetch in self.copy_fetches:
            purpose = f"copied to {self.host_engine} from {fetch.engine}"
        else:
            purpose = f"keys for the other tables, read in {fetch.engine}"
        row_count = round(fetch.expected_row_count)
        lines = [f"{purpose}: {fetch.table.qualified_name} ({columns}), about {row_count:,} rows"]
        lines += [f"  where {write_adql(condition)}" for condition in fetch.conditions]
        if fetch.has_row_filter:
            lines.append("  after the filter of the rows that the reader may see")
        if fetch.join_key is not None:
            driver = self._survey.table_uses[fetch.join_key.driver_number].node.table
            driver_name = "" if driver is None else driver.qualified_name
            lines.append(
                f"  only where {fetch.join_key.target_column.name} is among the keys "
                f"{driver_name}.{fetch.join_key.driver_column.name}, if these are at most "
                f"{self.limits.copy_keys:,}"
            )
        plan = fetch.keyed_plan or fetch.full_plan
        return lines + _format_indented_lines(plan.explain())


class FederatedExecution(FetchingExecution):
    """A running query over several engines (`hven.engines.QueryExecution`)."""

    def __init__(
        self, plan: FederatedPlan, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> None:
        super().__init__(plan.host_plan, plan.host_tables, literal_values, relations, limits)
        self._plan = plan
        self._copy_budget = FetchBudget(plan.limits.copy_rows, plan.limits.copy_bytes)
        self._key_tables: dict[tuple[int, str], pa.Table | None] = {}

    def _fetch_tables(self) -> Iterator[tuple[str, pa.Table]]:
        for fetch in self._plan.copy_fetches:
            plan, table_names = self._choose_plan_with_tables_read(fetch)
            if plan is None:
                rows = fetch.full_plan.schema.empty_table()
            else:
                rows = self._fetch_rows(plan, table_names, self._copy_budget, self._build_copy_limit_error(fetch))
            yield fetch.name, rows

    def _choose_plan_with_tables_read(self, fetch: TableFetch) -> tuple[QueryPlan | None, list[str]]:
        """Return the plan with keys if they are few, and the tables that it reads.

        The plan is None if there is no key, and so no row.
        """
        table_names = [fetch.table.qualified_name]
        if fetch.keyed_plan is None or fetch.join_key is None:
            return fetch.full_plan, table_names
        keys = self._collect_join_keys(fetch.join_key)
        if keys is None:
            return fetch.full_plan, table_names
        if not keys.num_rows:
            return None, table_names
        key_table_name = _build_key_table(fetch.join_key).qualified_name
        self._relations[key_table_name] = MemoryRelation(keys)
        return fetch.keyed_plan, [*table_names, key_table_name]

    def _collect_join_keys(self, join_key: JoinKey) -> pa.Table | None:
        """Find the distinct keys of a join; None if they are too many."""
        key_source = (join_key.driver_number, join_key.driver_column.name)
        if key_source not in self._key_tables:
            distinct_values = self._read_distinct_keys(join_key)
            self._key_tables[key_source] = None if distinct_values is None else pa.table({"key": distinct_values})
        keys = self._key_tables[key_source]
        if keys is None:
            return None
        # The other side may store the same numbers in another width.
        return keys.cast(pa.schema([pa.field("key", join_key.driver_column.type.arrow)]))

    def _read_distinct_keys(self, join_key: JoinKey) -> pa.Array | None:
        max_keys = self._plan.limits.copy_keys
        rows = self._find_rows_in_memory(join_key.driver_number)
        if rows is not None:
            column = rows.column(join_key.driver_column.name)
        else:
            fetch = self._plan._plan_key_fetch(join_key)  # noqa: SLF001  (one thing in two classes)
            if fetch is None:
                return None
            plan, names = self._choose_plan_with_tables_read(fetch)
            if plan is None:
                return pa.array([], join_key.driver_column.type.arrow)
            limit_error = self._build_copy_limit_error(fetch)
            try:
                column = self._fetch_rows(plan, names, FetchBudget(max_keys), limit_error).column(0)
            except TooLargeError as error:
                if error is not limit_error:
                    raise
                return None
        distinct_values = pc.unique(column).drop_null()
        if isinstance(distinct_values, pa.ChunkedArray):
            distinct_values = distinct_values.combine_chunks()
        if len(distinct_values) > max_keys:
            return None
        return distinct_values

    def _find_rows_in_memory(self, table_number: int) -> pa.Table | None:
        """Return the rows of a table that are in memory, copied or uploaded; None if they are not."""
        relation = self._relations.get(f"{COPY_SCHEMA}.t{table_number}")
        if isinstance(relation, MemoryRelation):
            return relation.rows
        table = self._plan._survey.table_uses[table_number].node.table  # noqa: SLF001  (see `_read_distinct_keys`)
        if table is None:
            return None
        relation = self._relations.get(table.qualified_name)
        if isinstance(relation, MemoryRelation):
            return relation.rows
        return None

    def _build_copy_limit_error(self, fetch: TableFetch) -> TooLargeError:
        limits = self._plan.limits
        return TooLargeError(
            format_message(
                "the query joins tables of two engines, so more than {copy_rows:,} rows or {copy_bytes:,} "
                "bytes of {table} would have to be copied from {engine} to {host}",
                limits.copy_rows,
                limits.copy_bytes,
                fetch.table.qualified_name,
                fetch.engine,
                self._plan.host_engine,
            ),
            remedy="add a condition on that table, or join that table by key to a small table "
            "(EXPLAIN shows what is copied); or ask the site's operators to move both collections into one engine "
            "(`hven move`), or to raise limits.copy_rows and limits.copy_bytes",
        )


def _build_copy_table(fetch: TableFetch) -> Table:
    """Describe the copy of a table: the needed columns, without the table's keys and indexes."""
    columns = tuple(column.copy_with(indexed=False, unique=False) for column in fetch.columns)
    return fetch.table.copy_with(
        schema=COPY_SCHEMA, name=f"t{fetch.number}", columns=columns, primary=(), keys=(), groups=(), position=None
    )


def _build_key_table(join_key: JoinKey) -> Table:
    """Describe the keys of a join as a table."""
    return Table(
        schema=KEY_SCHEMA,
        name=f"k{join_key.driver_number}_{join_key.target_number}",
        columns=(Column(name="key", type=join_key.driver_column.type),),
    )


def _format_indented_lines(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
