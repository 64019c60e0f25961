"""GROUP BY: what may stand beside aggregates, and when two expressions are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    ColumnRef,
    Comparison,
    Expr,
    FunctionCall,
    InPredicate,
    LikePredicate,
    Literal,
    Query,
    Select,
    SelectItem,
    SyntaxNode,
    WindowExpression,
    iterate_children,
    split_chain,
    walk_tree,
)
from hven.model.errors import BindError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.adql.functions import FunctionSet
    from hven.adql.scope import VisibleColumns


def build_expression_key(node: Any) -> object:
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
        return tuple([build_expression_key(item) for item in node])
    if isinstance(node, BinaryOperation):  # a chain of a thousand is one flat key
        first, links = split_chain(node, BinaryOperation)
        return (
            "chain",
            build_expression_key(first),
            *[part for link in links for part in (link.op, build_expression_key(link.right))],
        )
    if isinstance(node, SyntaxNode):
        names: tuple[str, ...] = node.__match_args__  # what is not compared is given by its name alone
        return (type(node).__name__, *[build_expression_key(getattr(node, name)) for name in names])
    return node


def iterate_literals(node: Any) -> Iterator[Literal]:
    """Yield the literals of an expression.

    Parameters
    ----------
    node
        Bound or not.
    """
    return (item for item in walk_tree(node) if isinstance(item, Literal))


def has_window(node: Expr) -> bool:
    """Return whether a window function stands in an expression itself, not in a subquery.

    Parameters
    ----------
    node
        Bound or not.
    """
    return any(isinstance(item, WindowExpression) for item in walk_tree(node, excluded_class=Query))


def is_single_row_expression(node: Expr) -> bool:
    """Return whether an expression is computed from its own row alone.

    It asks no other rows, and nothing is drawn by lot.

    Parameters
    ----------
    node
        Bound.
    """
    for item in walk_tree(node):
        if isinstance(item, Query | WindowExpression):
            return False
        if isinstance(item, FunctionCall):
            entry = MAPPING_FUNCTIONS.find_function(item.name)
        else:
            entry = None
        if entry is not None and entry.volatile:
            return False
    return True


def is_false_for_null(condition: Expr) -> bool:
    """Return whether a condition is never true where its table's columns are null.

    A plain column is compared with constants.

    Parameters
    ----------
    condition
        Bound.
    """
    if isinstance(condition, Comparison):
        return any(isinstance(side, ColumnRef) for side in (condition.left, condition.right)) and any(
            isinstance(side, Literal) for side in (condition.left, condition.right)
        )
    return isinstance(condition, (BetweenPredicate, InPredicate, LikePredicate)) and isinstance(
        condition.operand, ColumnRef
    )


def has_local_aggregate(items: Sequence[SelectItem]) -> bool:
    """Return whether an output is computed over groups.

    Parameters
    ----------
    items
        Of a select list, bound.
    """
    return any(item.expr.meta is not None and item.expr.meta.aggregate for item in items)


def check_grouping(
    select: Select, order_expressions: Sequence[Expr], visible_columns: VisibleColumns, query_text: str
) -> None:
    """Check that what stands outside aggregates is grouped by.

    Parameters
    ----------
    select
        Bound.
    order_expressions
        Expressions of ORDER BY; if there are any, they alone are looked at.
    visible_columns
        The columns of its FROM.
    query_text
        The query's, for line and column of errors.

    Raises
    ------
    BindError
        A column is neither grouped by nor inside an aggregate function.
    """
    keys = _GroupKeys(select.group_by)
    local = {source.number for source in visible_columns.sources}
    if not order_expressions:
        exprs = [item.expr for item in select.items if isinstance(item, SelectItem)]
    else:
        exprs = []
    if select.having is not None and not order_expressions:
        exprs.append(select.having)
    for expr in (*exprs, *order_expressions):
        has_group_by = bool(select.group_by)
        _check_node(expr, keys, local, query_text, has_group_by=has_group_by)


class _GroupKeys:
    """What is grouped by."""

    def __init__(self, exprs: Sequence[Expr]) -> None:
        self.keys = {build_expression_key(item) for item in exprs}
        self.chain_lengths = {
            len(group_key) for group_key in self.keys if isinstance(group_key, tuple) and group_key[0] == "chain"
        }

    def has_expression(self, node: Expr) -> bool:
        """Return whether this expression is grouped by."""
        return bool(self.keys) and build_expression_key(node) in self.keys

    def list_ungrouped_operands(self, node: BinaryOperation) -> list[Expr]:
        """Return the operands of a chain that are not grouped by; ``a + b`` may be, in ``a + b + c``."""
        first, links = split_chain(node, BinaryOperation)
        operands = [first, *[link.right for link in links]]
        for size in sorted(self.chain_lengths, reverse=True):
            terms = size // 2  # "chain", first, op, right, op, right ...
            if terms - 1 <= len(links) and self.has_expression(links[terms - 2]):
                return operands[terms:]
        return operands


def _check_node(
    node: Any, group_keys: _GroupKeys, local_sources: set[int], query_text: str, *, has_group_by: bool
) -> None:
    if isinstance(node, ColumnRef) and node.source in local_sources and not group_keys.has_expression(node):
        raise _create_ungrouped_error(node, query_text, has_group_by=has_group_by)
    for part in _list_parts_to_check(node, group_keys):
        _check_node(part, group_keys, local_sources, query_text, has_group_by=has_group_by)


# each kind of node has its return
def _list_parts_to_check(node: Any, group_keys: _GroupKeys) -> Iterable[Any]:  # noqa: PLR0911
    """List the parts of a node whose columns must be grouped by."""
    if isinstance(node, tuple):
        return node
    if not isinstance(node, SyntaxNode) or isinstance(node, Literal | ColumnRef):
        return ()
    if isinstance(node, BinaryOperation):
        return group_keys.list_ungrouped_operands(node)
    if isinstance(node, Expr) and group_keys.has_expression(node):
        return ()
    if isinstance(node, WindowExpression):  # computed over the groups: the name of its function makes no group
        return (node.function.args, node.partition, node.order_by)
    if isinstance(node, FunctionCall) and (node.star or _is_aggregate(node)):
        return ()
    return iterate_children(node)


def _create_ungrouped_error(node: ColumnRef, query_text: str, *, has_group_by: bool) -> BindError:
    name = node.name.name
    if has_group_by:
        message = format_message("column {name!r} is neither grouped by nor inside an aggregate", name)
        remedy = format_message("add {name} to GROUP BY, or write MIN({name})", name)
    else:
        message = format_message("column {name!r} stands beside an aggregate", name)
        remedy = format_message("add GROUP BY {name}, or write MIN({name})", name)
    return BindError(message, text=query_text, offset=node.text_offset, remedy=remedy)


def _is_aggregate(node: FunctionCall) -> bool:
    entry = MAPPING_FUNCTIONS.find_function(node.name)
    return entry is not None and entry.aggregate


def list_aggregate_names(functions: FunctionSet) -> frozenset[str]:
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
