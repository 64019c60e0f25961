"""Queries that are run for the sake of another one.

Rows of a derived table, what lies around them, pairs that a condition is asked about.
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
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol, OverridablePlan
    from hven.engines.duckdb.position_pairs import MatchSide
    from hven.engines.duckdb.union_members import UnionMember

    Pairs = tuple[QueryPlan, str, tuple[tuple[int, str], ...]]

_SOURCE_NUMBER = 0  # number of the one table that such a query reads


class AuxiliaryPlans:
    """The plans of such queries, each made when it is first wanted."""

    def __init__(self, bound_query: BoundQuery) -> None:
        self._bound_query = bound_query
        self._lock = threading.Lock()
        self._plans: dict[Any, Any] = {}

    def plan_derived_table(
        self, engine: DuckEngineProtocol, derived: DerivedTable, column_names: Sequence[str]
    ) -> QueryPlan:
        """Return the plan of a derived table by itself, with these columns."""

        def build_plan() -> QueryPlan:
            columns = tuple(column for column in derived.columns if column.name in column_names)
            items = tuple(SelectItem(_build_column_ref(column, derived.number), column=column) for column in columns)
            query = self._build_query(Query(Select(items, derived), ctes=self._bound_query.query.ctes), columns)
            return engine.plan_query(query)

        plan: QueryPlan = self._get_or_create((derived.number, tuple(column_names)), build_plan)
        return plan

    def plan_circles(self, engine: DuckEngineProtocol, side: MatchSide, schema: pa.Schema) -> tuple[QueryPlan, str]:
        """Return the plan that computes `MatchSide.circle_expressions`, and the name of the table that it reads.

        The driver's rows.
        """
        columns_by_name = {
            node.column.name: node.column
            for node in walk_tree(side.circle_expressions)
            if isinstance(node, ColumnRef) and node.column is not None
        }
        table = Table(
            schema="hven",
            name=f"drivers{side.driver_number}",
            columns=tuple(columns_by_name[name] for name in schema.names if name in columns_by_name),
        )

        def build_plan() -> QueryPlan:
            source = TableRef((Ident("hven"), Ident(table.name)), number=side.driver_number, table=table)
            columns = tuple(
                Column(name=str(part_number), type=part.meta.type)
                for part_number, part in enumerate(side.circle_expressions)
                if part.meta is not None
            )
            items = tuple(
                SelectItem(part, column=column) for part, column in zip(side.circle_expressions, columns, strict=True)
            )
            query = self._build_query(Query(Select(items, source)), columns, table)
            return engine.plan_query(query)

        return self._get_or_create(("around", side), build_plan), table.qualified_name

    def plan_union(
        self,
        engine: DuckEngineProtocol,
        derived: DerivedTable,
        members: tuple[UnionMember, ...],
        column_names: Sequence[str],
    ) -> OverridablePlan:
        """Return the plan of a union with these columns and the number of the partner, which its tables have when it runs."""

        def build_plan() -> OverridablePlan:
            union = add_partner_column(derived, members)
            columns = tuple(
                column for column in union.columns if column.name in column_names or column.name == PARTNER_COLUMN
            )
            items = tuple(SelectItem(_build_column_ref(column, derived.number), column=column) for column in columns)
            query = self._build_query(Query(Select(items, union)), columns)
            return engine.plan_query(query)

        plan: OverridablePlan = self._get_or_create(("union", derived.number, tuple(column_names)), build_plan)
        return plan

    def plan_positions(self, engine: DuckEngineProtocol, member: UnionMember, table_ref: TableRef) -> QueryPlan:
        """Return the plan that computes the position of every row of a table, with its number.

        `x IN (..)` may be a join, which keeps no order.
        """

        def build_plan() -> QueryPlan:
            columns = (Column(name="lon"), Column(name="lat"), Column(name=ROW_NUMBER_COLUMN, type=INT64))
            items = tuple(
                SelectItem(expr, column=column)
                for expr, column in zip(
                    (member.lon, member.lat, _build_column_ref(columns[2], table_ref.number)), columns, strict=True
                )
                if expr is not None
            )
            query = self._build_query(Query(Select(items, replace(table_ref, where=None))), columns)
            return engine.plan_query(query)

        plan: QueryPlan = self._get_or_create(("places", member.table_number, id(member.lon)), build_plan)
        return plan

    def plan_pair_filter(self, engine: DuckEngineProtocol, condition: Expr) -> Pairs:
        """Return the plan that finds the pairs that meet a condition.

        Returns
        -------
        The plan, the name of the table that it reads, and that table's columns ``<number>.<name>``; beside them it has
        ``pair``, their number.
        """

        def build_plan() -> Pairs:
            columns_by_source = {
                (node.source, node.column.name): node.column
                for node in walk_tree(condition)
                if isinstance(node, ColumnRef) and node.column is not None
            }
            columns = {key: replace(column, name=f"{key[0]}.{key[1]}") for key, column in columns_by_source.items()}
            pair = Column(name="pair", type=INT64)
            table = Table(schema="hven", name="pairs", columns=(pair, *columns.values()))

            def change_node(node: Any) -> Any:
                if isinstance(node, ColumnRef) and node.column is not None:
                    column = columns[node.source, node.column.name]
                    return replace(node, source=_SOURCE_NUMBER, column=column, name=Ident(column.name, quoted=True))
                return node

            source = TableRef((Ident("hven"), Ident(table.name)), number=_SOURCE_NUMBER, table=table)
            column_ref = _build_column_ref(pair, _SOURCE_NUMBER)
            query = Query(
                Select(
                    (SelectItem(column_ref, column=pair),),
                    source,
                    where=transform_tree(condition, change_node),
                )
            )
            return (
                engine.plan_query(self._build_query(query, (pair,), table)),
                table.qualified_name,
                tuple(columns_by_source),
            )

        plan_parts: Pairs = self._get_or_create(("pairs", id(condition)), build_plan)
        return plan_parts

    def _build_query(self, query: Query, columns: tuple[Column, ...], *tables: Table) -> BoundQuery:
        names = {
            node.table.qualified_name
            for node in walk_tree(query)
            if isinstance(node, TableRef) and node.table is not None and not node.cte
        }
        read_tables = tables or tuple(table for table in self._bound_query.tables if table.qualified_name in names)
        return replace(self._bound_query, query=query, columns=columns, tables=read_tables)

    def _get_or_create(self, key: Any, build_plan: Callable[[], Any]) -> Any:
        with self._lock:
            plan = self._plans.get(key)
        if plan is None:
            plan = build_plan()
            with self._lock:
                plan = self._plans.setdefault(key, plan)
        return plan


def _build_column_ref(column: Column, table_number: int) -> ColumnRef:
    return ColumnRef(
        Ident(column.name, quoted=True),
        source=table_number,
        column=column,
        meta=ValueMetadata(column.type, column=column),
    )


def list_subquery_selects(select: Select) -> list[Select]:
    """Return the SELECTs of the subqueries in the conditions of a SELECT (and in what it selects, if that is of single rows)."""
    searched_nodes: tuple[Any, ...] = (select.where, *(node.on for node in _list_joins(select.source)))
    if not select.group_by and select.having is None and not select.distinct:
        searched_nodes += select.items
    selects = []
    for node in walk_tree(searched_nodes):
        if isinstance(node, Subquery | ExistsPredicate):
            selects += [part for part in walk_tree(node.query) if isinstance(part, Select) and part.source is not None]
    unique = {id(part): part for part in selects}
    return list(unique.values())


def _list_joins(from_item: Any) -> list[Join]:
    pending = [from_item]
    joins = []
    while pending:
        node = pending.pop()
        if isinstance(node, Join):
            joins.append(node)
            pending += [node.left, node.right]
    return joins
