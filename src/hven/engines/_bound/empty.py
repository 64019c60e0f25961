"""A bound query without what has no rows: members of a union whose tables are empty need not be written, planned or computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.kinds import types_of
from hven.adql.tree import (
    ColumnRef,
    Derived,
    Join,
    Query,
    Select,
    SelectItem,
    SetOperation,
    TableRef,
    chain,
    transform,
    walk,
)
from hven.engines._bound.narrowable import transparent

if TYPE_CHECKING:
    from hven.adql.tree import Bound, FromItem


def without(bound: Bound, empty: frozenset[int]) -> Bound | None:
    """Return the same query without the members of UNION ALL that have no rows; None if the answer has none.

    Parameters
    ----------
    empty
        Numbers of the table references (and derived tables) that have no rows.

    Notes
    -----
    Columns of a union keep their names and types, which are those that hold the values of all its members.
    """
    if not empty:
        return bound

    def change(node: Any) -> Any:
        return _fewer(node, empty) if isinstance(node, SetOperation) else node

    if nothing(bound.query, empty):
        return None
    query = transform(transform(bound.query, change), _pulled)
    if query is bound.query:
        return bound
    read = {node.table.qualified for node in walk(query) if isinstance(node, TableRef) and node.table is not None}
    return replace(bound, query=query, tables=tuple(table for table in bound.tables if table.qualified in read))


def _fewer(union: SetOperation, empty: frozenset[int]) -> Any:
    """Return a union with fewer members, one at least."""
    first, links = chain(union, SetOperation, lambda link: link.op == "UNION" and link.all)
    members = [first, *(link.right for link in links)]
    kept = [member for member in members if not nothing(member, empty)] or members[:1]
    if len(kept) == len(members) or not links or any(_select(member) is None for member in (members[0], *kept)):
        return union
    columns = [
        item.column.having(type=type_)
        for item, type_ in zip(_select(members[0]).items, types_of(union), strict=True)  # type: ignore[union-attr]
        if isinstance(item, SelectItem) and item.column is not None
    ]
    made: Any = _named(kept[0], columns)
    for member in kept[1:]:
        made = SetOperation("UNION", made, _named(member, columns), all=True)
    return made


def _pulled(node: Any) -> Any:
    """Remove the layer that a union with one member left is: ``SELECT x FROM (SELECT a AS x ..)`` is ``SELECT a AS x``."""
    if (
        not isinstance(node, Select)
        or node.where is not None
        or node.group_by
        or node.having is not None
        or node.distinct
    ):
        return node
    union = node.source
    inner = transparent(union.query) if isinstance(union, Derived) else None
    if inner is None or not isinstance(union, Derived):
        return node
    made = {
        column.name: item.expr
        for column, item in zip(union.columns, inner.items, strict=True)
        if isinstance(item, SelectItem)
    }
    items = []
    for item in node.items:
        column = item.expr.column if isinstance(item, SelectItem) and isinstance(item.expr, ColumnRef) else None
        if not isinstance(item, SelectItem) or column is None or column.name not in made:
            return node
        items.append(replace(item, expr=made[column.name]))
    return replace(inner, items=tuple(items), top=node.top)


def _select(member: Any) -> Select | None:
    return member if isinstance(member, Select) else _select(member.body) if isinstance(member, Query) else None


def _named(member: Any, columns: Any) -> Any:
    """Return a member whose output is described by these columns."""
    if isinstance(member, Query):
        return replace(member, body=_named(member.body, columns))
    return replace(
        member, items=tuple(replace(item, column=column) for item, column in zip(member.items, columns, strict=True))
    )


def nothing(node: Any, empty: frozenset[int]) -> bool:
    """Return whether a query, or a part of one, has no rows for sure, if these table references have none."""
    if isinstance(node, SetOperation):
        left, right = nothing(node.left, empty), nothing(node.right, empty)
        return (left or right) if node.op == "INTERSECT" else left if node.op == "EXCEPT" else left and right
    if isinstance(node, Query):
        return nothing(node.body, empty)
    if node.source is None or not (node.group_by or transparent(Query(replace(node, top=None, distinct=False)))):
        return False  # COUNT(*) over nothing is a row
    return _void(node.source, empty)


def _void(item: FromItem, empty: frozenset[int]) -> bool:
    """Return whether an item of FROM has no rows for sure."""
    if isinstance(item, Join):
        left, right = _void(item.left, empty), _void(item.right, empty)
        kind = item.kind.upper()
        return (
            left
            if kind == "LEFT"
            else right
            if kind == "RIGHT"
            else left and right
            if kind == "FULL"
            else left or right
        )
    if isinstance(item, Derived):
        return item.number in empty or nothing(item.query, empty)
    return isinstance(item, TableRef) and not item.cte and item.number in empty


__all__ = ["nothing", "without"]
