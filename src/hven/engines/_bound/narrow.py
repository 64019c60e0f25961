"""Walks over bound trees: which SELECTs there are, which columns they read, and the tree with tables replaced by candidates."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from hven.adql.tree import ColumnRef, Derived, Ident, Join, Literal, Node, Select, TableRef
from hven.model.clock import check
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.adql.tree import Bound, Expr, Query

N = TypeVar("N")


def walk(node: Any) -> Iterator[Any]:
    """Give every node of a tree, from the root down, literals aside; however deep a chain is, it is not descended into."""
    check()  # planners go over a tree again and again
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend([part for part in reversed(item) if type(part) is not Literal])
        elif isinstance(item, Node):
            yield item
            waiting.extend([getattr(item, name) for name in reversed(_parts(type(item)))])


_SKIPPED = {"at", "meta", "column", "columns", "table", "value", "slot", "text", "source_name"}
_known: dict[type, tuple[str, ...]] = {}


def _parts(kind: type) -> tuple[str, ...]:
    found = _known.get(kind)
    if found is None:
        found = _known[kind] = tuple(item.name for item in fields(kind) if item.name not in _SKIPPED)
    return found


def selects(query: Query) -> list[Select]:
    """Give every SELECT of a query, nested ones too."""
    return [node for node in walk(query) if isinstance(node, Select)]


def columns_read(bound: Bound) -> dict[int, tuple[str, ...]]:
    """Name the columns that the query reads of each FROM item, by its number."""
    found: dict[int, dict[str, None]] = {}
    for node in walk(bound.query):
        if isinstance(node, ColumnRef) and node.column is not None:
            found.setdefault(node.source, {})[node.column.name] = None
        elif isinstance(node, TableRef) and node.where is not None:
            names = found.setdefault(node.number, {})
            names.update({part.column.name: None for part in walk(node.where) if isinstance(part, ColumnRef) and part.column is not None})
        elif isinstance(node, Join) and (node.natural or node.using):
            wanted = {ident.name.lower() for ident in node.using}
            for leaf in walk((node.left, node.right)):
                if isinstance(leaf, TableRef) and leaf.table is not None:
                    shared = [column.name for column in leaf.table.columns if node.natural or column.name.lower() in wanted]
                    found.setdefault(leaf.number, {}).update(dict.fromkeys(shared))
    return {number: tuple(names) for number, names in found.items()}


def rewrite(node: N, change: Callable[[Any], Any]) -> N:
    """Copy a tree from the root down; `change` gives the node to use, and its parts are visited if it is the same node.

    Literals in lists, which may be very many, are not offered to `change`.
    """
    if isinstance(node, tuple):
        check()
        parts = tuple([part if type(part) is Literal else rewrite(part, change) for part in node])
        return node if all(a is b for a, b in zip(parts, node, strict=True)) else parts  # type: ignore[return-value]
    if not isinstance(node, Node):
        return node
    # a chain of a thousand (a + b + c, SELECT .. UNION SELECT ..) is walked to its left end, then rebuilt
    chain: list[Any] = []
    first: Any = node
    while (new := change(first)) is first and hasattr(first, "left"):
        chain.append(first)
        first = first.left
    if new is first:
        new = _parts_rewritten(first, {}, change)
    for link in reversed(chain):
        new = _parts_rewritten(link, {"left": new}, change)
    return new  # type: ignore[no-any-return]


def _parts_rewritten(node: Any, done: Mapping[str, Any], change: Callable[[Any], Any]) -> Any:
    changes = {}
    for name in _parts(type(node)):
        old = getattr(node, name)
        copy = done[name] if name in done else rewrite(old, change)
        if copy is not old:
            changes[name] = copy
    return replace(node, **changes) if changes else node


def narrowed(bound: Bound, numbers: frozenset[int], joins: Mapping[int, Expr] | None = None) -> Bound:
    """Give the query with these table references reading ``hven.candidates<number>`` instead of their tables.

    `joins` replaces conditions, found by the `id` of their node.
    """
    tables = {table.qualified: table for table in bound.tables}
    kept = {
        node.table.qualified
        for node in walk(bound.query)
        if isinstance(node, TableRef) and node.table is not None and node.number not in numbers
    }

    def change(node: Any) -> Any:
        if isinstance(node, Derived) and node.number in numbers:
            table = Table(schema="hven", name=f"candidates{node.number}", columns=node.columns)
            tables[table.qualified] = table
            return TableRef((Ident("hven"), Ident(table.name)), node.alias, at=node.at, number=node.number, table=table)
        if isinstance(node, TableRef) and node.number in numbers and node.table is not None:
            table = node.table.having(schema="hven", name=f"candidates{node.number}")
            tables[table.qualified] = table
            return replace(node, table=table)
        return joins.get(id(node), node) if joins else node

    query = rewrite(bound.query, change)
    return replace(bound, query=query, tables=tuple(table for name, table in tables.items() if name in kept or table.schema == "hven"))
