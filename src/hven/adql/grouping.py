"""GROUP BY: what may stand beside aggregates, and when two expressions are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql.functions import MAPPING
from hven.adql.tree import (
    Between,
    Binary,
    ColumnRef,
    Compare,
    Expr,
    Function,
    In,
    Like,
    Literal,
    Node,
    Query,
    Select,
    SelectItem,
    Window,
    chain,
    children,
    walk,
)
from hven.model.errors import BindError, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.functions import Functions
    from hven.adql.scope import View


def key(node: Any) -> object:
    """Return a key that is equal for expressions that mean the same columns and values.

    Parameters
    ----------
    node
        Bound.
    """
    if isinstance(node, ColumnRef):
        return ("column", node.source, node.column.name if node.column is not None else node.name.name)
    if isinstance(node, Literal):
        return ("literal", type(node.value).__name__, node.value)
    if isinstance(node, tuple):
        return tuple([key(item) for item in node])
    if isinstance(node, Binary):  # a chain of a thousand is one flat key
        first, links = chain(node, Binary)
        return ("chain", key(first), *[part for link in links for part in (link.op, key(link.right))])
    if isinstance(node, Node):
        names: tuple[str, ...] = node.__match_args__  # what is not compared is given by its name alone
        return (type(node).__name__, *[key(getattr(node, name)) for name in names])
    return node


def literals(node: Any) -> Iterator[Literal]:
    """Yield the literals of an expression.

    Parameters
    ----------
    node
        Bound or not.
    """
    return (item for item in walk(node) if isinstance(item, Literal))


def has_window(node: Expr) -> bool:
    """Return whether a window function stands in an expression itself, not in a subquery.

    Parameters
    ----------
    node
        Bound or not.
    """
    return any(isinstance(item, Window) for item in walk(node, but=Query))


def of_its_row(node: Expr) -> bool:
    """Return whether an expression is computed from its own row alone: it asks no other rows, and nothing is drawn by lot.

    Parameters
    ----------
    node
        Bound.
    """
    for item in walk(node):
        if isinstance(item, Query | Window):
            return False
        entry = MAPPING.get(item.name) if isinstance(item, Function) else None
        if entry is not None and entry.volatile:
            return False
    return True


def false_for_null(part: Expr) -> bool:
    """Return whether a condition is never true where its table's columns are null: a plain column is compared with constants.

    Parameters
    ----------
    part
        Bound.
    """
    if isinstance(part, Compare):
        return any(isinstance(side, ColumnRef) for side in (part.left, part.right)) and any(
            isinstance(side, Literal) for side in (part.left, part.right)
        )
    return isinstance(part, (Between, In, Like)) and isinstance(part.operand, ColumnRef)


def has_local_aggregate(items: Sequence[SelectItem]) -> bool:
    """Return whether an output is computed over groups.

    Parameters
    ----------
    items
        Of a select list, bound.
    """
    return any(item.expr.meta is not None and item.expr.meta.aggregate for item in items)


def check_groups(select: Select, more: Sequence[Expr], view: View, text: str) -> None:
    """Check that what stands outside aggregates is grouped by.

    Parameters
    ----------
    select
        Bound.
    more
        Expressions of ORDER BY; if there are any, they alone are looked at.
    view
        The columns of its FROM.
    text
        The query's, for line and column of errors.

    Raises
    ------
    BindError
        A column is neither grouped by nor inside an aggregate function.
    """
    keys = _Keys(select.group_by)
    local = {source.number for source in view.sources}
    exprs = [item.expr for item in select.items if isinstance(item, SelectItem)] if not more else []
    if select.having is not None and not more:
        exprs.append(select.having)
    for expr in (*exprs, *more):
        _check(expr, keys, local, text, grouped=bool(select.group_by))


class _Keys:
    """What is grouped by."""

    def __init__(self, exprs: Sequence[Expr]) -> None:
        self.keys = {key(item) for item in exprs}
        self.chains = {len(found) for found in self.keys if isinstance(found, tuple) and found[0] == "chain"}

    def has(self, node: Expr) -> bool:
        """Return whether this expression is grouped by."""
        return bool(self.keys) and key(node) in self.keys

    def rest(self, node: Binary) -> list[Expr]:
        """Return the operands of a chain that are not grouped by; ``a + b`` may be, in ``a + b + c``."""
        first, links = chain(node, Binary)
        operands = [first, *[link.right for link in links]]
        for size in sorted(self.chains, reverse=True):
            terms = size // 2  # "chain", first, op, right, op, right ...
            if terms - 1 <= len(links) and self.has(links[terms - 2]):
                return operands[terms:]
        return operands


def _check(node: Any, keys: _Keys, local: set[int], text: str, *, grouped: bool) -> None:
    if isinstance(node, tuple):
        for item in node:
            _check(item, keys, local, text, grouped=grouped)
        return
    if not isinstance(node, Node) or isinstance(node, Literal):
        return
    if isinstance(node, Binary):
        for item in keys.rest(node):
            _check(item, keys, local, text, grouped=grouped)
        return
    if isinstance(node, Expr) and keys.has(node):
        return
    if isinstance(node, Window):  # computed over the groups: its function's name makes no group
        _check((node.function.args, node.partition, node.order_by), keys, local, text, grouped=grouped)
        return
    if isinstance(node, Function) and (node.star or _is_aggregate(node)):
        return
    if isinstance(node, ColumnRef):
        if node.source in local:
            name = node.name.name
            if grouped:
                message, remedy = (
                    say("column {name!r} is neither grouped by nor inside an aggregate", name),
                    say("add {name} to GROUP BY, or write MIN({name})", name),
                )
            else:
                message, remedy = (
                    say("column {name!r} stands beside an aggregate", name),
                    say("add GROUP BY {name}, or write MIN({name})", name),
                )
            raise BindError(message, text=text, offset=node.at, remedy=remedy)
        return
    for part in children(node):
        _check(part, keys, local, text, grouped=grouped)


def _is_aggregate(node: Function) -> bool:
    entry = MAPPING.get(node.name)
    return entry is not None and entry.aggregate


def aggregates(functions: Functions) -> frozenset[str]:
    """List the names of all aggregate functions of a table.

    Parameters
    ----------
    functions
        The table.

    Returns
    -------
    names
        In upper case.
    """
    return frozenset(entry.name for entry in functions if entry.aggregate)
