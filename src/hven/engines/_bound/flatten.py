"""A bound query with its layers taken off: derived tables and names of WITH that only choose rows and columns of one table become that table.

``(SELECT lon, lat FROM t WHERE mag < 14) AS u`` is `t` with a condition: what an index knows of `t` then serves those who read `u`, too.
A name of WITH that is read once is the derived table that it stands for; one that only chooses rows is put wherever it is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.tree import (
    ColumnRef,
    CommonTable,
    Derived,
    Exists,
    Expr,
    Join,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    conjunction,
    transform,
    walk,
)
from hven.engines._bound.narrowable import transparent

if TYPE_CHECKING:
    from hven.adql.tree import Bound

_ROW = 0  # the number under which `TableRef.where` knows its own table


def flattened(bound: Bound) -> Bound:
    """Return the same query with fewer layers; the same object if there are none to take off."""
    if not any(isinstance(node, Derived | CommonTable) for node in walk(bound.query)):
        return bound
    query = bound.query if bound.volatile else _without_names(bound.query)
    query = _merged(query)
    return bound if query is bound.query else replace(bound, query=query)


def _without_names(query: Query) -> Query:
    """Inline the queries of WITH where their names are read, if that computes nothing twice."""
    if not query.ctes or any(isinstance(node, Query) and node.ctes and node is not query for node in walk(query)):
        return query
    ctes = list(query.ctes)
    body = replace(query, ctes=())
    for place in range(len(ctes) - 1, -1, -1):
        cte = ctes[place]
        if cte.recursive:
            continue
        rest = (body, *(other.query for other in ctes[place + 1 :]))
        count = sum(_names(node, cte) for node in walk(rest))
        if count > 1 and _plain(cte.query) is None:
            continue
        last = max(
            [node.number for node in walk((query, *rest, cte.query)) if isinstance(node, TableRef | Derived)], default=0
        )
        copies = _Copies(cte, last + 1)
        body = transform(body, copies.put)
        ctes[place + 1 :] = [replace(other, query=transform(other.query, copies.put)) for other in ctes[place + 1 :]]
        del ctes[place]
    return query if len(ctes) == len(query.ctes) else replace(body, ctes=tuple(ctes))


def _names(node: Any, cte: CommonTable) -> bool:
    return isinstance(node, TableRef) and node.cte and node.parts[-1] == cte.name


class _Copies:
    """The copies of one query of WITH, each with numbers of its own."""

    def __init__(self, cte: CommonTable, first: int) -> None:
        self._cte = cte
        self._next = first
        self._used = False

    def put(self, node: Any) -> Any:
        """Return the derived table for a reference by name."""
        if not _names(node, self._cte):
            return node
        query = self._numbered() if self._used else self._cte.query
        self._used = True
        return Derived(query, node.alias or self._cte.name, at=node.at, number=node.number, columns=node.table.columns)

    def _numbered(self) -> Query:
        numbers: dict[int, int] = {}
        for node in walk(self._cte.query):
            if isinstance(node, TableRef | Derived):
                numbers[node.number] = self._next
                self._next += 1
        return _renumbered(self._cte.query, numbers)


def _renumbered(query: Query, numbers: dict[int, int]) -> Query:
    def change(node: Any) -> Any:
        if isinstance(node, ColumnRef) and node.source in numbers:
            return replace(node, source=numbers[node.source])
        if isinstance(node, TableRef):
            return replace(node, number=numbers[node.number])  # its own condition speaks of row 0
        if isinstance(node, Derived):
            return replace(node, number=numbers[node.number], query=transform(node.query, change))
        return node

    return transform(query, change)


def _plain(query: Query) -> tuple[TableRef, list[ColumnRef], Select] | None:
    """Recognise a query that chooses rows and columns of one stored table: the table, its columns, the SELECT."""
    select = transparent(query)
    if select is None or not isinstance(select.source, TableRef) or select.source.cte or select.source.table is None:
        return None
    columns: list[ColumnRef] = []
    for item in select.items:
        if (
            not isinstance(item, SelectItem)
            or item.column is None
            or not isinstance(item.expr, ColumnRef)
            or item.expr.column is None
        ):
            return None
        if item.expr.source != select.source.number or (
            item.expr.meta is not None and item.expr.meta.type != item.column.type
        ):
            return None
        columns.append(item.expr)
    if any(isinstance(node, Subquery | Exists) for node in walk(select.where)):
        return None
    sources = {node.source for node in walk(select.where) if isinstance(node, ColumnRef)}
    return (select.source, columns, select) if sources <= {select.source.number} else None


def _merged(query: Query) -> Query:
    """Replace derived tables that choose rows and columns of one table by that table."""
    if any(isinstance(node, Join) and (node.natural or node.using) for node in walk(query)):
        return query  # which columns such a join compares follows from what its sides have
    while True:
        found: dict[int, TableRef] = {}
        columns: dict[tuple[int, str], ColumnRef] = {}
        for node in walk(query):
            if isinstance(node, Derived) and (known := _plain(node.query)) is not None:
                table, inner, select = known
                if any(
                    outer.type != ref.meta.type
                    for outer, ref in zip(node.columns, inner, strict=True)
                    if ref.meta is not None
                ):
                    continue
                found[node.number] = replace(
                    table, alias=node.alias, where=conjunction(table.where, _of_row(select.where, table.number))
                )
                columns.update({(node.number, outer.name): ref for outer, ref in zip(node.columns, inner, strict=True)})
        if not found:
            return query
        query = transform(query, _Merge(found, columns).put)


class _Merge:
    """Puts tables in place of derived ones, and their columns in place of those."""

    def __init__(self, tables: dict[int, TableRef], columns: dict[tuple[int, str], ColumnRef]) -> None:
        self._tables = tables
        self._columns = columns

    def put(self, node: Any) -> Any:
        """Return the node to use."""
        if isinstance(node, Derived) and node.number in self._tables:
            return self._tables[node.number]
        if isinstance(node, ColumnRef) and node.column is not None:
            inner = self._columns.get((node.source, node.column.name))
            if inner is not None:
                return replace(node, source=inner.source, column=inner.column, name=inner.name)
        return node


def _of_row(where: Expr | None, number: int) -> Expr | None:
    """Return a condition over the row of a table: as `TableRef.where` has it."""

    def change(node: Any) -> Any:
        return replace(node, source=_ROW) if isinstance(node, ColumnRef) and node.source == number else node

    return None if where is None else transform(where, change)
