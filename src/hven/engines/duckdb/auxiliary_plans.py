"""Plan the auxiliary queries that a search for candidates runs.

They compute the rows of a derived table, the shapes around its rows, or the pairs that meet a condition.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    ColumnRef,
    ExistsPredicate,
    Ident,
    Join,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    ValueMetadata,
    transform_tree,
    walk_tree,
)
from hven.engines.duckdb.snapshot_files import ROW_NUMBER_COLUMN
from hven.engines.duckdb.union_members import PARTNER_COLUMN, add_partner_column
from hven.model.table import Column, Table
from hven.model.types import INT64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery, DerivedTable, Expr
    from hven.engines import QueryPlan
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol, PlanWithTableOverrides
    from hven.engines.duckdb.position_pairs import PositionJoinSide
    from hven.engines.duckdb.union_members import UnionMember

    Pairs = tuple[QueryPlan, str, tuple[tuple[int, str], ...]]

_SOURCE_NUMBER = 0  # number of the one table that an auxiliary query reads


class AuxiliaryQueryPlans:
    """The plans of auxiliary queries; each is made when it is first needed."""

    def __init__(self, bound_query: BoundQuery) -> None:
        self._bound_query = bound_query
        self._lock = threading.Lock()
        self._plans: dict[Any, Any] = {}

    def plan_derived_table(
        self, engine: DuckEngineProtocol, derived_table: DerivedTable, column_names: Sequence[str]
    ) -> QueryPlan:
        """Return the plan that computes these columns of a derived table."""

        def build_plan() -> QueryPlan:
            columns = tuple(column for column in derived_table.columns if column.name in column_names)
            items = _build_select_items(columns, derived_table.number)
            query = Query(Select(items, derived_table), ctes=self._bound_query.query.ctes)
            return engine.plan_query(self._build_bound_query(query, columns))

        plan: QueryPlan = self._get_or_build_plan((derived_table.number, tuple(column_names)), build_plan)
        return plan

    def plan_circle_values(
        self, engine: DuckEngineProtocol, side: PositionJoinSide, schema: pa.Schema
    ) -> tuple[QueryPlan, str]:
        """Return the plan that computes `PositionJoinSide.circle_expressions`.

        Also return the name of the table that it reads, which has the rows of the driver.
        """
        columns_by_name = {}
        for node in walk_tree(side.circle_expressions):
            if isinstance(node, ColumnRef) and node.column is not None:
                columns_by_name[node.column.name] = node.column
        driver_columns = tuple(columns_by_name[name] for name in schema.names if name in columns_by_name)
        table = Table(schema="hven", name=f"drivers{side.driver_number}", columns=driver_columns)

        def build_plan() -> QueryPlan:
            source = TableRef((Ident("hven"), Ident(table.name)), number=side.driver_number, table=table)
            items = []
            columns = []
            for part_number, part in enumerate(side.circle_expressions):
                assert part.meta is not None  # noqa: S101  (`position_pairs` has tested it)
                column = Column(name=str(part_number), type=part.meta.type)
                columns.append(column)
                items.append(SelectItem(part, column=column))
            query = Query(Select(tuple(items), source))
            return engine.plan_query(self._build_bound_query(query, tuple(columns), table))

        return self._get_or_build_plan(("around", side), build_plan), table.qualified_name

    def plan_union(
        self,
        engine: DuckEngineProtocol,
        derived_table: DerivedTable,
        members: tuple[UnionMember, ...],
        column_names: Sequence[str],
    ) -> PlanWithTableOverrides:
        """Return the plan that computes these columns of a union and the number of the partner of each row.

        The tables of the union have the numbers of partners when the plan runs.
        """

        def build_plan() -> PlanWithTableOverrides:
            union = add_partner_column(derived_table, members)
            wanted_names = {*column_names, PARTNER_COLUMN}
            columns = tuple(column for column in union.columns if column.name in wanted_names)
            query = Query(Select(_build_select_items(columns, derived_table.number), union))
            return engine.plan_query(self._build_bound_query(query, columns))

        plan: PlanWithTableOverrides = self._get_or_build_plan(
            ("union", derived_table.number, tuple(column_names)), build_plan
        )
        return plan

    def plan_member_positions(self, engine: DuckEngineProtocol, member: UnionMember, table_ref: TableRef) -> QueryPlan:
        """Return the plan that computes the position of every row of a table, with the number of the row.

        The number is needed because DuckDB may make a join of `x IN (..)`, which does not keep the order.
        """

        def build_plan() -> QueryPlan:
            assert member.lon is not None and member.lat is not None  # noqa: S101, PT018  (others have no positions)
            lon_column = Column(name="lon")
            lat_column = Column(name="lat")
            row_column = Column(name=ROW_NUMBER_COLUMN, type=INT64)
            items = (
                SelectItem(member.lon, column=lon_column),
                SelectItem(member.lat, column=lat_column),
                SelectItem(_build_column_ref(row_column, table_ref.number), column=row_column),
            )
            query = Query(Select(items, replace(table_ref, where=None)))
            return engine.plan_query(self._build_bound_query(query, (lon_column, lat_column, row_column)))

        plan: QueryPlan = self._get_or_build_plan(("places", member.table_number, id(member.lon)), build_plan)
        return plan

    def plan_pair_filter(self, engine: DuckEngineProtocol, condition: Expr) -> Pairs:
        """Return the plan that finds the pairs that meet a condition.

        Returns
        -------
        The plan, the name of the table that it reads, and that table's columns ``<number>.<name>``; in addition the
        table has ``pair``, the numbers of the pairs.
        """

        def build_plan() -> Pairs:
            columns: dict[tuple[int, str], Column] = {}
            for node in walk_tree(condition):
                if isinstance(node, ColumnRef) and node.column is not None:
                    column_name = f"{node.source}.{node.column.name}"
                    columns[node.source, node.column.name] = replace(node.column, name=column_name)
            pair = Column(name="pair", type=INT64)
            table = Table(schema="hven", name="pairs", columns=(pair, *columns.values()))

            def change_node(node: Any) -> Any:
                if isinstance(node, ColumnRef) and node.column is not None:
                    column = columns[node.source, node.column.name]
                    return replace(node, source=_SOURCE_NUMBER, column=column, name=Ident(column.name, quoted=True))
                return node

            source = TableRef((Ident("hven"), Ident(table.name)), number=_SOURCE_NUMBER, table=table)
            items = _build_select_items((pair,), _SOURCE_NUMBER)
            query = Query(Select(items, source, where=transform_tree(condition, change_node)))
            plan = engine.plan_query(self._build_bound_query(query, (pair,), table))
            return plan, table.qualified_name, tuple(columns)

        plan_parts: Pairs = self._get_or_build_plan(("pairs", id(condition)), build_plan)
        return plan_parts

    def _build_bound_query(self, query: Query, columns: tuple[Column, ...], *tables: Table) -> BoundQuery:
        """Bind a query that reads `tables`, or else those tables of the bound query that it names."""
        table_names = set()
        for node in walk_tree(query):
            if isinstance(node, TableRef) and node.table is not None and not node.cte:
                table_names.add(node.table.qualified_name)
        if not tables:
            tables = tuple(table for table in self._bound_query.tables if table.qualified_name in table_names)
        return replace(self._bound_query, query=query, columns=columns, tables=tables)

    def _get_or_build_plan(self, key: Any, build_plan: Callable[[], Any]) -> Any:
        with self._lock:
            plan = self._plans.get(key)
        if plan is None:
            plan = build_plan()
            with self._lock:
                plan = self._plans.setdefault(key, plan)
        return plan


def _build_select_items(columns: Sequence[Column], table_number: int) -> tuple[SelectItem, ...]:
    return tuple(SelectItem(_build_column_ref(column, table_number), column=column) for column in columns)


def _build_column_ref(column: Column, table_number: int) -> ColumnRef:
    meta = ValueMetadata(column.type, column=column)
    return ColumnRef(Ident(column.name, quoted=True), source=table_number, column=column, meta=meta)


def list_subquery_selects(select: Select) -> list[Select]:
    """Return the SELECTs of the subqueries in the conditions of a SELECT.

    If the SELECT returns its rows one by one, the subqueries in its items are included.
    """
    join_conditions = [join.on for join in _list_joins(select.source)]
    searched_nodes: tuple[Any, ...] = (select.where, *join_conditions)
    if not select.group_by and select.having is None and not select.distinct:
        searched_nodes += select.items
    selects_by_id = {}
    for node in walk_tree(searched_nodes):
        if not isinstance(node, Subquery | ExistsPredicate):
            continue
        for part in walk_tree(node.query):
            if isinstance(part, Select) and part.source is not None:
                selects_by_id[id(part)] = part
    return list(selects_by_id.values())


def _list_joins(from_item: Any) -> list[Join]:
    pending = [from_item]
    joins = []
    while pending:
        node = pending.pop()
        if isinstance(node, Join):
            joins.append(node)
            pending += [node.left, node.right]
    return joins
