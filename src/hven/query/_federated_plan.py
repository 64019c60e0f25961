"""Queries over tables of several engines: what is asked where, what is copied, and the plan that does it.

One engine computes the answer (the host). Of every table that another engine has, the columns and rows that the query
can need are asked there: with the conditions on that table alone, with the reader's own row filter, and, where a join
by key leads to it from few rows, with the keys of these rows. What comes back stands in the query in place of the
table.

Names and conditions are found when the plan is made; literals stay in their slots, so a plan can be used again.
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
from hven.query._federation_analysis import JoinKey, analyse_query, replace_foreign_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines import Relation
    from hven.model.settings import QueryLimits
    from hven.site import EngineRegistry

    Values = Sequence[float | str | None]

COPY_SCHEMA, KEY_SCHEMA = (
    "hven_copy",
    "hven_keys",
)  # schemas of what is copied and of keys; no collection can have these names
# how many times as many rows another engine must have before the embedded one is not the host: copies cost nothing
# there
EMBEDDED_HOST_BIAS = 4.0


def plan_bound_query(
    bound: BoundQuery, engines: EngineRegistry, relations: Mapping[str, Relation], limits: QueryLimits
) -> QueryPlan:
    """Plan a bound query on the engine that has its tables, or over several engines.

    Parameters
    ----------
    relations
        Where the rows of its tables are, by qualified name.

    Raises
    ------
    BindError, StorageError
        An engine refuses the query, or cannot be opened.
    """
    homes = {name: relation.engine for name, relation in relations.items() if not isinstance(relation, MemoryRelation)}
    engine_names = set(homes.values())
    if not engine_names:
        return engines.embedded_engine.plan_query(bound)
    if len(engine_names) == 1:
        return engines.get_engine_for_users(engine_names.pop()).plan_query(bound)
    return FederatedPlan(bound, engines, homes, relations, limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFetch:
    """A query on one table in its own engine.

    `full_plan` of it, or, if there is a `join_key`, those rows that meet the keys of another table.
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
        """Name of what it gives, in the rest of the query."""
        return f"{COPY_SCHEMA}.t{self.number}"


class FederatedPlan(QueryPlan):
    """A plan over several engines (`hven.engines.QueryPlan`)."""

    small = False

    def __init__(
        self,
        bound: BoundQuery,
        engines: EngineRegistry,
        homes: Mapping[str, str],
        relations: Mapping[str, Relation],
        limits: QueryLimits,
    ) -> None:
        self.limits = limits
        self._bound = bound
        self._engines = engines
        self._survey = analyse_query(bound, homes, relations, limits.copy_keys)
        self.host_engine = self._choose_host(engines.embedded_engine.name)
        self.foreign_numbers = [
            table_use.number
            for table_use in self._survey.order_by_dependency()
            if table_use.engine not in {None, self.host_engine}
        ]
        self._fetches: dict[tuple[int, str | None], TableFetch] = {}
        self.copy_fetches = [self._plan_fetch(number, None) for number in self.foreign_numbers]
        host_query = self._build_host_query()
        self.host_tables = tuple(table.qualified_name for table in host_query.tables)
        self.host_plan = engines.get_engine_for_users(self.host_engine).plan_query(host_query)
        self.schema = self.host_plan.schema

    def _choose_host(self, embedded: str) -> str:
        """Choose the engine that has most of the rows that are left after the conditions on single tables."""
        rows_by_engine: dict[str, float] = {}
        for table_use in self._survey.table_uses.values():
            if table_use.engine is not None:
                rows_by_engine[table_use.engine] = rows_by_engine.get(table_use.engine, 0.0) + max(
                    table_use.estimated_row_count, 1.0
                )
        if embedded in rows_by_engine:
            rows_by_engine[embedded] *= EMBEDDED_HOST_BIAS
        return max(sorted(rows_by_engine), key=lambda name: rows_by_engine[name])

    # --- what is asked ---------------------------------------------------------------------------------------

    def _plan_fetch(self, table_number: int, key_column: str | None) -> TableFetch:
        """Plan what is asked of a table.

        The columns that the rest of the query needs, or one column of distinct `key_column`s.
        """
        planned_fetch = self._fetches.get((table_number, key_column))
        if planned_fetch is not None:
            return planned_fetch
        ref = self._survey.table_uses[table_number]
        if ref.engine is None or ref.node.table is None:
            raise TypeError("rows in memory are not asked for")
        if key_column is None:
            columns = ref.columns
        else:
            columns = (ref.node.table.find_column(key_column),)
        engine = self._engines.get_engine_for_users(ref.engine)
        link = ref.join_key
        narrow = None
        if link is not None:
            self._plan_key_fetch(link)
            fetch_query = self._build_fetch_query(ref.node, columns, ref.conditions, key_column is not None, link)
            narrow = engine.plan_query(fetch_query)
        fetch = TableFetch(
            number=table_number,
            engine=ref.engine,
            table=ref.node.table,
            columns=columns,
            conditions=ref.conditions,
            has_row_filter=ref.node.where is not None,
            full_plan=engine.plan_query(
                self._build_fetch_query(ref.node, columns, ref.conditions, key_column is not None, None)
            ),
            keyed_plan=narrow,
            join_key=link,
            expected_row_count=ref.estimated_row_count,
        )
        self._fetches[table_number, key_column] = fetch
        return fetch

    def _plan_key_fetch(self, link: JoinKey) -> TableFetch | None:
        """Plan where the keys of a link come from; None: from rows that are in memory then."""
        if link.driver_number in self.foreign_numbers or self._survey.table_uses[link.driver_number].engine is None:
            return None
        return self._plan_fetch(link.driver_number, link.driver_column.name)

    def _build_fetch_query(
        self,
        node: TableRef,
        columns: tuple[Column, ...],
        conditions: tuple[Expr, ...],
        is_distinct: bool,
        link: JoinKey | None,
    ) -> BoundQuery:
        join = None
        if link is not None:
            keys = _describe_keys(link)
            number = max(self._survey.from_item_numbers, default=0) + 1
            key_table = TableRef((Ident(KEY_SCHEMA), Ident(keys.name)), number=number, table=keys)
            column_ref = build_column_ref(link.target_column, node.number)
            key_condition = Comparison(
                "=",
                column_ref,
                build_column_ref(keys.columns[0], number),
                meta=ValueMetadata(BOOLEAN),
            )
            join = Join(node, key_table, "INNER", on=key_condition)
        return build_fetch_query(self._bound, node, columns, conditions, join, distinct=is_distinct)

    def _build_host_query(self) -> BoundQuery:
        """Return the query with copies in place of foreign tables, without the conditions that were asked there."""
        foreign = set(self.foreign_numbers)
        tables = {fetch.name: _describe_copy(fetch) for fetch in self.copy_fetches}
        moved = {id(condition) for number in foreign for condition in self._survey.table_uses[number].pushed_conditions}
        query = replace_foreign_tables(self._bound.query, foreign, tables, moved)
        host_tables = [
            table_use.node.table for table_use in self._survey.table_uses.values() if table_use.number not in foreign
        ]
        tables_by_name = {
            table.qualified_name: table for table in (*host_tables, *tables.values()) if table is not None
        }
        return replace(self._bound, query=query, tables=tuple(tables_by_name.values()))

    # --- running ---------------------------------------------------------------------------------------------

    def execute(
        self, literal_values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> QueryExecution:
        """Run; see `hven.engines.QueryPlan.execute`. Nothing is asked before the first batch is."""
        return FederatedExecution(self, literal_values, relations, limits)

    def explain(self) -> str:
        """Describe what is asked where and what is copied."""
        lines = [
            (
                f"tables of "
                f"{len({table_use.engine for table_use in self._survey.table_uses.values() if table_use.engine})} "
                f"engines; {self.host_engine} computes the answer"
            )
        ]
        for ask in self._fetches.values():
            lines += self._describe_fetch(ask)
        lines.append(
            f"at most {self.limits.copy_rows:,} rows and {self.limits.copy_bytes:,} bytes are copied "
            f"(limits.copy_rows, limits.copy_bytes)"
        )
        return "\n".join([*lines, f"then in {self.host_engine}:", *_format_indented_lines(self.host_plan.explain())])

    def _describe_fetch(self, fetch: TableFetch) -> list[str]:
        columns = ", ".join(column.name for column in fetch.columns)
        purpose = "copied to" if fetch in self.copy_fetches else "keys for the others, asked in"
        if fetch in self.copy_fetches:
            destination = f"{purpose} {self.host_engine} from {fetch.engine}"
        else:
            destination = f"{purpose} {fetch.engine}"
        lines = [
            f"{destination}: {fetch.table.qualified_name} ({columns}), about {round(fetch.expected_row_count):,} rows"
        ]
        lines += [f"  where {write_adql(condition)}" for condition in fetch.conditions]
        if fetch.has_row_filter:
            lines.append("  after the filter of the rows that the reader may see")
        if fetch.join_key is not None:
            driver = self._survey.table_uses[fetch.join_key.driver_number].node.table
            if driver is not None:
                driver_name = driver.qualified_name
            else:
                driver_name = ""
            lines.append(
                f"  only where {fetch.join_key.target_column.name} is among the keys "
                f"{driver_name}.{fetch.join_key.driver_column.name}, if these are at most "
                f"{self.limits.copy_keys:,}"
            )
        return lines + _format_indented_lines((fetch.keyed_plan or fetch.full_plan).explain())


class FederatedExecution(FetchingExecution):
    """A running query over several engines (`hven.engines.QueryExecution`)."""

    def __init__(
        self, plan: FederatedPlan, values: Values, relations: Mapping[str, Relation], limits: ExecutionLimits
    ) -> None:
        super().__init__(plan.host_plan, plan.host_tables, values, relations, limits)
        self._plan = plan
        self._copy_budget = FetchBudget(plan.limits.copy_rows, plan.limits.copy_bytes)
        self._key_tables: dict[tuple[int, str], pa.Table | None] = {}

    def _fetch_tables(self) -> Iterator[tuple[str, pa.Table]]:
        for ask in self._plan.copy_fetches:
            plan, names = self._choose_plan(ask)
            if plan is None:
                rows = ask.full_plan.schema.empty_table()
            else:
                rows = self._fetch_rows(plan, names, self._copy_budget, self._build_copy_limit_error(ask))
            yield ask.name, rows

    def _choose_plan(self, fetch: TableFetch) -> tuple[QueryPlan | None, list[str]]:
        """Choose the plan with keys if they are few, and name the tables that it reads; None.

        There is no key, so there is no row.
        """
        names = [fetch.table.qualified_name]
        if fetch.join_key is None:
            keys = None
        else:
            keys = self._find_keys(fetch.join_key)
        if fetch.keyed_plan is None or fetch.join_key is None or keys is None:
            return fetch.full_plan, names
        if not keys.num_rows:
            return None, names
        name = _describe_keys(fetch.join_key).qualified_name
        self._relations[name] = MemoryRelation(keys)
        return fetch.keyed_plan, [*names, name]

    def _find_keys(self, link: JoinKey) -> pa.Table | None:
        """Find the distinct keys of a link; None if they are too many."""
        key_source = (link.driver_number, link.driver_column.name)
        if key_source not in self._key_tables:
            distinct_values = self._find_distinct_values(link)
            # the other side may write the same numbers in another width
            if distinct_values is None:
                self._key_tables[key_source] = None
            else:
                self._key_tables[key_source] = pa.table({"key": distinct_values})
        keys = self._key_tables[key_source]
        if keys is None:
            return None
        return keys.cast(pa.schema([pa.field("key", link.driver_column.type.arrow)]))

    def _find_distinct_values(self, link: JoinKey) -> pa.Array | None:
        max_keys = self._plan.limits.copy_keys
        rows = self._find_local_rows(link.driver_number)
        if rows is not None:
            column = rows.column(link.driver_column.name)
        else:
            fetch = self._plan._plan_key_fetch(link)  # noqa: SLF001  (one thing in two classes)
            if fetch is None:
                return None
            plan, names = self._choose_plan(fetch)
            if plan is None:
                return pa.array([], link.driver_column.type.arrow)
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
        return None if len(distinct_values) > max_keys else distinct_values

    def _find_local_rows(self, table_number: int) -> pa.Table | None:
        """Return the rows of a table that are in memory: copied already, or uploaded."""
        copied = self._relations.get(f"{COPY_SCHEMA}.t{table_number}")
        if isinstance(copied, MemoryRelation):
            return copied.rows
        table = self._plan._survey.table_uses[table_number].node.table  # noqa: SLF001  (one thing in two classes)
        if table is not None:
            relation = self._relations.get(table.qualified_name)
        else:
            relation = None
        if isinstance(relation, MemoryRelation):
            return relation.rows
        return None

    def _build_copy_limit_error(self, fetch: TableFetch) -> TooLargeError:
        limits = self._plan.limits
        return TooLargeError(
            format_message(
                "the query joins tables of two engines, and more than {copy_rows:,} rows or {copy_bytes:,} "
                "bytes of {table} would have to be copied from {engine} to {host}",
                limits.copy_rows,
                limits.copy_bytes,
                fetch.table.qualified_name,
                fetch.engine,
                self._plan.host_engine,
            ),
            remedy="narrow that table by a condition of its own or by a key of a small one (EXPLAIN says what is copied); "
            "the service's owner can move both collections into one engine (hven move) or raise limits.copy_rows and limits.copy_bytes",
        )


def _describe_copy(fetch: TableFetch) -> Table:
    """Describe what is copied: the needed columns, and nothing of the table's keys and indexes."""
    columns = tuple(column.copy_with(indexed=False, unique=False) for column in fetch.columns)
    return fetch.table.copy_with(
        schema=COPY_SCHEMA, name=f"t{fetch.number}", columns=columns, primary=(), keys=(), groups=(), position=None
    )


def _describe_keys(link: JoinKey) -> Table:
    """Describe the keys of a link as a table."""
    return Table(
        schema=KEY_SCHEMA,
        name=f"k{link.driver_number}_{link.target_number}",
        columns=(Column(name="key", type=link.driver_column.type),),
    )


def _format_indented_lines(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]


__all__ = ["FederatedPlan", "plan_bound_query"]
