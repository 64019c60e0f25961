"""GROUP BY: what may stand beside aggregates, and when two expressions are the same."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hven.adql.tree import ColumnRef, Expr, Function, Ident, Literal, Node, Select, SelectItem
from hven.errors import BindError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.functions import Functions
    from hven.adql.scope import View

_FIELDS: dict[type, tuple[str, ...]] = {}


def _parts(node: Node) -> tuple[str, ...]:
    names = _FIELDS.get(type(node))
    if names is None:
        names = _FIELDS[type(node)] = tuple(item.name for item in fields(node) if item.compare)
    return names


def key(node: Any) -> object:
    """Give a key that is equal for expressions that mean the same columns and values."""
    if isinstance(node, ColumnRef):
        return ("column", node.source, node.column.name if node.column is not None else node.name.name)
    if isinstance(node, Literal):
        return ("literal", type(node.value).__name__, node.value)
    if isinstance(node, tuple):
        return tuple([key(item) for item in node])
    if isinstance(node, Node):
        return (type(node).__name__, *[key(getattr(node, name)) for name in _parts(node)])
    return node


def walk(node: Any) -> Iterator[Node]:
    """Yield every node below and including `node`, subqueries too."""
    if isinstance(node, tuple):
        for item in node:
            yield from walk(item)
    elif isinstance(node, Node):
        yield node
        for name in _parts(node):
            value = getattr(node, name)
            if isinstance(value, Node | tuple):
                yield from walk(value)


def literals(node: Any) -> Iterator[Literal]:
    """Yield the literals of an expression."""
    return (item for item in walk(node) if isinstance(item, Literal))


def has_local_aggregate(items: Sequence[SelectItem]) -> bool:
    """Tell whether an output is computed over groups."""
    return any(item.expr.meta is not None and item.expr.meta.aggregate for item in items)


def check_groups(select: Select, more: Sequence[Expr], view: View, text: str) -> None:
    """Check that what stands outside aggregates is grouped by.

    Raises
    ------
    BindError
        A column is neither grouped by nor inside an aggregate function.
    """
    keys = {key(item) for item in select.group_by}
    local = {source.number for source in view.sources}
    exprs = [item.expr for item in select.items if isinstance(item, SelectItem)] if not more else []
    if select.having is not None and not more:
        exprs.append(select.having)
    for expr in (*exprs, *more):
        _check(expr, keys, local, text, grouped=bool(select.group_by))


def _check(node: Any, keys: set[object], local: set[int], text: str, *, grouped: bool) -> None:
    if isinstance(node, tuple):
        for item in node:
            _check(item, keys, local, text, grouped=grouped)
        return
    if not isinstance(node, Node) or isinstance(node, Literal):
        return
    if isinstance(node, Expr) and key(node) in keys:
        return
    if isinstance(node, Function) and (node.star or _is_aggregate(node)):
        return
    if isinstance(node, ColumnRef):
        if node.source in local:
            name = node.name.name
            if grouped:
                message, remedy = (
                    f"column {name!r} is neither grouped by nor inside an aggregate",
                    f"add {name} to GROUP BY, or write MIN({name})",
                )
            else:
                message, remedy = f"column {name!r} stands beside an aggregate", f"add GROUP BY {name}, or write MIN({name})"
            raise BindError(message, text=text, offset=node.at, remedy=remedy)
        return
    for part in _parts(node):
        value = getattr(node, part)
        if not isinstance(value, Ident | str):
            _check(value, keys, local, text, grouped=grouped)


def _is_aggregate(node: Function) -> bool:
    from hven.adql.functions import MAPPING

    entry = MAPPING.get(node.name)
    return entry is not None and entry.aggregate


def aggregates(functions: Functions) -> frozenset[str]:
    """Names of all aggregate functions of a table."""
    return frozenset(entry.name for entry in functions if entry.aggregate)
