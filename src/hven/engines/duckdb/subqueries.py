"""Queries that are run for the sake of another one: rows of a derived table, what lies around them, pairs that a condition is asked about."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.tree import (
    ColumnRef,
    Exists,
    Ident,
    Join,
    Meta,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    transform,
    walk,
)
from hven.engines.duckdb.layout import ROW
from hven.engines.duckdb.members import PARTNER, with_partners
from hven.model.table import Column, Table
from hven.model.types import INT64

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from hven.adql.tree import Bound, Derived, Expr
    from hven.engines import Plan
    from hven.engines.duckdb.machine import Machine, Prepared
    from hven.engines.duckdb.members import Part
    from hven.engines.duckdb.pairs import Side

    Pairs = tuple[Plan, str, tuple[tuple[int, str], ...]]

_ROWS = 0  # number of the one table that such a query reads


class Asides:
    """The plans of such queries, each made when it is first wanted."""

    def __init__(self, bound: Bound) -> None:
        self._bound = bound
        self._lock = threading.Lock()
        self._plans: dict[Any, Any] = {}

    def derived(self, engine: Machine, derived: Derived, names: Sequence[str]) -> Plan:
        """Return the plan of a derived table by itself, with these columns."""

        def make() -> Plan:
            columns = tuple(column for column in derived.columns if column.name in names)
            items = tuple(SelectItem(_ref(column, derived.number), column=column) for column in columns)
            return engine.prepare(self._part(Query(Select(items, derived), ctes=self._bound.query.ctes), columns))

        found: Plan = self._plan((derived.number, tuple(names)), make)
        return found

    def around(self, engine: Machine, side: Side, schema: pa.Schema) -> tuple[Plan, str]:
        """Return the plan that computes `Side.around`, and the name of the table that it reads: the driver's rows."""
        read = {
            node.column.name: node.column
            for node in walk(side.around)
            if isinstance(node, ColumnRef) and node.column is not None
        }
        table = Table(
            schema="hven",
            name=f"drivers{side.driver}",
            columns=tuple(read[name] for name in schema.names if name in read),
        )

        def make() -> Plan:
            source = TableRef((Ident("hven"), Ident(table.name)), number=side.driver, table=table)
            columns = tuple(
                Column(name=str(at), type=part.meta.type)
                for at, part in enumerate(side.around)
                if part.meta is not None
            )
            items = tuple(SelectItem(part, column=column) for part, column in zip(side.around, columns, strict=True))
            return engine.prepare(self._part(Query(Select(items, source)), columns, table))

        return self._plan(("around", side), make), table.qualified

    def union(self, engine: Machine, derived: Derived, parts: tuple[Part, ...], names: Sequence[str]) -> Prepared:
        """Return the plan of a union with these columns and the number of the partner, which its tables have when it runs."""

        def make() -> Prepared:
            union = with_partners(derived, parts)
            columns = tuple(column for column in union.columns if column.name in names or column.name == PARTNER)
            items = tuple(SelectItem(_ref(column, derived.number), column=column) for column in columns)
            return engine.prepare(self._part(Query(Select(items, union)), columns))

        found: Prepared = self._plan(("union", derived.number, tuple(names)), make)
        return found

    def places(self, engine: Machine, part: Part, leaf: TableRef) -> Plan:
        """Return the plan that computes the position of every row of a table, with its number: `x IN (..)` may be a join, which keeps no order."""

        def make() -> Plan:
            columns = (Column(name="lon"), Column(name="lat"), Column(name=ROW, type=INT64))
            items = tuple(
                SelectItem(expr, column=column)
                for expr, column in zip((part.lon, part.lat, _ref(columns[2], leaf.number)), columns, strict=True)
                if expr is not None
            )
            return engine.prepare(self._part(Query(Select(items, replace(leaf, where=None))), columns))

        found: Plan = self._plan(("places", part.leaf, id(part.lon)), make)
        return found

    def pairs(self, engine: Machine, condition: Expr) -> Pairs:
        """Return the plan that finds the pairs that meet a condition.

        Returns
        -------
        The plan, the name of the table that it reads, and that table's columns ``<number>.<name>``; beside them it has ``pair``, their number.
        """

        def make() -> Pairs:
            read = {
                (node.source, node.column.name): node.column
                for node in walk(condition)
                if isinstance(node, ColumnRef) and node.column is not None
            }
            columns = {key: replace(column, name=f"{key[0]}.{key[1]}") for key, column in read.items()}
            pair = Column(name="pair", type=INT64)
            table = Table(schema="hven", name="pairs", columns=(pair, *columns.values()))

            def change(node: Any) -> Any:
                if isinstance(node, ColumnRef) and node.column is not None:
                    column = columns[node.source, node.column.name]
                    return replace(node, source=_ROWS, column=column, name=Ident(column.name, quoted=True))
                return node

            source = TableRef((Ident("hven"), Ident(table.name)), number=_ROWS, table=table)
            query = Query(
                Select((SelectItem(_ref(pair, _ROWS), column=pair),), source, where=transform(condition, change))
            )
            return engine.prepare(self._part(query, (pair,), table)), table.qualified, tuple(read)

        found: Pairs = self._plan(("pairs", id(condition)), make)
        return found

    def _part(self, query: Query, columns: tuple[Column, ...], *tables: Table) -> Bound:
        names = {
            node.table.qualified
            for node in walk(query)
            if isinstance(node, TableRef) and node.table is not None and not node.cte
        }
        read = tables or tuple(table for table in self._bound.tables if table.qualified in names)
        return replace(self._bound, query=query, columns=columns, tables=read)

    def _plan(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._lock:
            found = self._plans.get(key)
        if found is None:
            found = make()
            with self._lock:
                found = self._plans.setdefault(key, found)
        return found


def _ref(column: Column, source: int) -> ColumnRef:
    return ColumnRef(
        Ident(column.name, quoted=True), source=source, column=column, meta=Meta(column.type, column=column)
    )


def subqueries(select: Select) -> list[Select]:
    """Return the SELECTs of the subqueries in the conditions of a SELECT (and in what it selects, if that is of single rows)."""
    whole: tuple[Any, ...] = (select.where, *(node.on for node in _joins(select.source)))
    if not select.group_by and select.having is None and not select.distinct:
        whole += select.items
    found = []
    for node in walk(whole):
        if isinstance(node, Subquery | Exists):
            found += [part for part in walk(node.query) if isinstance(part, Select) and part.source is not None]
    unique = {id(part): part for part in found}
    return list(unique.values())


def _joins(item: Any) -> list[Join]:
    waiting, found = [item], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, Join):
            found.append(node)
            waiting += [node.left, node.right]
    return found
