"""Conditions on a union, or on a view of one table, put into each of its queries: there they are conditions on tables, which indexes serve.

``SELECT .. FROM (SELECT a AS x FROM t UNION ALL SELECT b + 1 FROM u) AS v WHERE x = 3`` reads the rows of `t` with ``a = 3`` and those of `u`
with ``b + 1 = 3``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.kinds import is_null
from hven.adql.tree import (
    Binary,
    ColumnRef,
    Derived,
    Expr,
    Function,
    Join,
    Literal,
    Query,
    Select,
    SelectItem,
    SetOperation,
    chain,
    conjunction,
    conjuncts,
    transform,
    walk,
)
from hven.engines._bound.narrowable import transparent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql.tree import Bound, FromItem

# functions that are NULL where one of their last arguments is, whose types a NULL does not tell: POINT and CIRCLE may have a frame before them
_OF_PLACES = {
    "CONTAINS": 2,
    "INTERSECTS": 2,
    "DISTANCE": 4,
    "AREA": 1,
    "CENTROID": 1,
    "COORD1": 1,
    "COORD2": 1,
    "POINT": 2,
    "CIRCLE": 3,
}


def distributed(bound: Bound) -> Bound:
    """Return the same query with conditions on unions put into their members; the same object if there are none."""
    if bound.volatile or not any(isinstance(node, Derived) for node in walk(bound.query)):
        return bound
    query = transform(bound.query, _select)
    return bound if query is bound.query else replace(bound, query=query)


def _select(node: Any) -> Any:
    if not isinstance(node, Select) or node.where is None or node.source is None:
        return node
    parts = list(conjuncts(node.where))
    moved: set[int] = set()
    source = _below(node.source, [part for part in parts if _simple(part)], moved)
    if source is node.source:
        return node
    return replace(node, source=source, where=conjunction(*(part for part in parts if id(part) not in moved)))


def _simple(condition: Expr) -> bool:
    """Return whether a condition is one over single rows, without queries of its own."""
    return not any(isinstance(part, Query | Select) or type(part).__name__ == "Window" for part in walk(condition))


def _below(item: FromItem, given: Sequence[Expr], moved: set[int]) -> FromItem:
    """Enter the unions below a FROM item, but not the side of an outer join that is filled up; `moved` takes the `id` of conditions."""
    if isinstance(item, Join):
        left = _below(item.left, given, moved) if item.kind.upper() in {"INNER", "CROSS", "LEFT"} else item.left
        right = _below(item.right, given, moved) if item.kind.upper() in {"INNER", "CROSS", "RIGHT"} else item.right
        return item if left is item.left and right is item.right else replace(item, left=left, right=right)
    if not isinstance(item, Derived) or item.query.order_by or item.query.offset is not None or item.query.ctes:
        return item
    mine = [part for part in given if _sources(part) == {item.number}]
    members = _members(item.query.body)
    if not mine or not members:
        return item
    moved.update(id(part) for part in mine)
    body = _with(item.query.body, item, mine)
    return replace(item, query=replace(item.query, body=body))


def _sources(condition: Expr) -> set[int]:
    return {part.source for part in walk(condition) if isinstance(part, ColumnRef)}


def _members(body: Any) -> list[Select]:
    """Return the queries of a UNION ALL; none if it is anything else."""
    found: list[Select] = []
    while isinstance(body, SetOperation):
        right = transparent(body.right if isinstance(body.right, Query) else Query(body.right))
        if body.op != "UNION" or not body.all or right is None:
            return []
        found.append(right)
        body = body.left
    first = transparent(body if isinstance(body, Query) else Query(body))
    return [] if first is None else [*found, first]


def _with(body: Any, union: Derived, given: Sequence[Expr]) -> Any:
    """Push conditions into each member, over its own expressions."""
    first, links = chain(body, SetOperation)
    made = _narrowed(first, union, given)
    for link in links:
        made = replace(link, left=made, right=_narrowed(link.right, union, given))
    return made


def _narrowed(member: Any, union: Derived, given: Sequence[Expr]) -> Any:
    if isinstance(member, Query):
        return replace(member, body=_narrowed(member.body, union, given))
    inner = {
        column.name: item.expr
        for column, item in zip(union.columns, member.items, strict=True)
        if isinstance(item, SelectItem)
    }

    def change(node: Any) -> Any:
        if isinstance(node, Function) and node.name in _OF_PLACES:
            args = tuple([transform(arg, change) for arg in node.args])
            if any(is_null(arg) for arg in args[-_OF_PLACES[node.name] :]):  # of a member that has no such column
                return Literal(None, at=node.at, meta=node.meta)
            return node if all(one is other for one, other in zip(args, node.args, strict=True)) else replace(node, args=args)  # fmt: skip
        if not isinstance(node, ColumnRef) or node.source != union.number or node.column is None:
            return node
        made = inner[node.column.name]
        if made.meta is not None and node.column.type.is_geometry and not made.meta.type.is_geometry:
            made = replace(made, meta=replace(made.meta, type=node.column.type))  # a text that the view calls a region
        return made

    own = [transform(part, change) for part in given]
    return replace(member, where=conjunction(*conjuncts(member.where), *own))


def prefixed(expr: Expr) -> tuple[str, ColumnRef] | None:
    """Recognise ``'ivo://authority/collection?' || column``: a text that begins always alike."""
    if (
        isinstance(expr, Binary)
        and expr.op == "||"
        and isinstance(expr.left, Literal)
        and isinstance(expr.right, ColumnRef)
    ):
        return str(expr.left.value), expr.right
    return None


__all__ = ["distributed", "prefixed"]
