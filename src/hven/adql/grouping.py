"""Check GROUP BY: which expressions may stand beside aggregates, and when two expressions are the same."""

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
    split_left_deep_chain,
    walk_tree,
)
from hven.model.errors import BindError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hven.adql.scope import VisibleColumns


def build_expression_key(node: Any) -> object:
    """Return a key that is the same for expressions with the same columns and values.

    Parameters
    ----------
    node
        A bound expression, or a part of one.
    """
    if isinstance(node, ColumnRef):
        return ("column", node.source, node.column_name)
    if isinstance(node, Literal):
        return ("literal", type(node.value).__name__, node.value)
    if isinstance(node, tuple):
        return tuple([build_expression_key(part) for part in node])
    if isinstance(node, BinaryOperation):  # one flat key: a chain may have a thousand links
        first, links = split_left_deep_chain(node, BinaryOperation)
        key_parts = ["chain", build_expression_key(first)]
        for link in links:
            key_parts += [link.op, build_expression_key(link.right)]
        return tuple(key_parts)
    if isinstance(node, SyntaxNode):
        field_names: tuple[str, ...] = node.__match_args__  # the positional fields, which are the compared ones
        field_keys = [build_expression_key(getattr(node, name)) for name in field_names]
        return (type(node).__name__, *field_keys)
    return node


def iterate_literals(node: Any) -> Iterator[Literal]:
    """Yield the literals of an expression.

    Parameters
    ----------
    node
        An expression, bound or not.
    """
    return (child for child in walk_tree(node) if isinstance(child, Literal))


def has_window_function(node: Expr) -> bool:
    """Return whether an expression contains a window function outside of its subqueries.

    Parameters
    ----------
    node
        An expression, bound or not.
    """
    return any(isinstance(child, WindowExpression) for child in walk_tree(node, excluded_class=Query))


def is_single_row_expression(node: Expr) -> bool:
    """Return whether an expression depends on its own row alone: it reads no other rows and no random numbers.

    Parameters
    ----------
    node
        A bound expression.
    """
    for child in walk_tree(node):
        if isinstance(child, Query | WindowExpression):
            return False
        if isinstance(child, FunctionCall):
            entry = MAPPING_FUNCTIONS.find_function(child.name)
            if entry is not None and entry.volatile:
                return False
    return True


def is_never_true_for_null(condition: Expr) -> bool:
    """Return whether a condition is never true if its columns are null.

    This holds for a plain column that is compared with constants.

    Parameters
    ----------
    condition
        A bound condition.
    """
    if isinstance(condition, Comparison):
        operand_classes = {type(condition.left), type(condition.right)}
        return operand_classes == {ColumnRef, Literal}
    if isinstance(condition, BetweenPredicate | InPredicate | LikePredicate):
        return isinstance(condition.operand, ColumnRef)
    return False


def has_aggregate_item(items: Sequence[SelectItem]) -> bool:
    """Return whether an item of a select list is computed over groups.

    Parameters
    ----------
    items
        The items of a bound select list.
    """
    return any(item.expr.meta is not None and item.expr.meta.aggregate for item in items)


def check_grouped_columns(
    select: Select, order_expressions: Sequence[Expr], visible_columns: VisibleColumns, query_text: str
) -> None:
    """Check that every column outside of aggregates is a key of GROUP BY.

    Parameters
    ----------
    select
        A bound SELECT.
    order_expressions
        Bound expressions of ORDER BY. If there are any, only they are checked.
    visible_columns
        The columns of its FROM.
    query_text
        The text of the query, for line and column of errors.

    Raises
    ------
    BindError
        A column is neither grouped by nor inside an aggregate function.
    """
    expressions = list(order_expressions)
    if not expressions:
        expressions = [item.expr for item in select.items if isinstance(item, SelectItem)]
        if select.having is not None:
            expressions.append(select.having)
    group_keys = _GroupKeys(select.group_by)
    local_sources = {source.number for source in visible_columns.sources}
    has_group_by = bool(select.group_by)
    for expression in expressions:
        _check_columns_grouped(expression, group_keys, local_sources, query_text, has_group_by=has_group_by)


class _GroupKeys:
    """The keys of GROUP BY."""

    def __init__(self, expressions: Sequence[Expr]) -> None:
        self.keys = {build_expression_key(expression) for expression in expressions}
        self.chain_lengths: set[int] = set()
        for key in self.keys:
            if isinstance(key, tuple) and key[0] == "chain":
                self.chain_lengths.add(len(key))

    def has_expression(self, node: Expr) -> bool:
        """Return whether an expression is a key."""
        return bool(self.keys) and build_expression_key(node) in self.keys

    def list_ungrouped_operands(self, node: BinaryOperation) -> list[Expr]:
        """Return the operands of a chain that no key covers; the key ``a + b`` covers two of ``a + b + c``."""
        first, links = split_left_deep_chain(node, BinaryOperation)
        operands = [first, *[link.right for link in links]]
        for key_length in sorted(self.chain_lengths, reverse=True):
            operand_count = key_length // 2  # a key is: "chain", first, op, right, op, right ...
            if operand_count - 1 <= len(links) and self.has_expression(links[operand_count - 2]):
                return operands[operand_count:]
        return operands


def _check_columns_grouped(
    node: Any, group_keys: _GroupKeys, local_sources: set[int], query_text: str, *, has_group_by: bool
) -> None:
    """Check the columns in an expression; recursion goes into its parts."""
    if isinstance(node, ColumnRef) and node.source in local_sources and not group_keys.has_expression(node):
        raise _create_ungrouped_error(node, query_text, has_group_by=has_group_by)
    for part in _list_parts_requiring_grouping(node, group_keys):
        _check_columns_grouped(part, group_keys, local_sources, query_text, has_group_by=has_group_by)


# each kind of node has its return
def _list_parts_requiring_grouping(node: Any, group_keys: _GroupKeys) -> Iterable[Any]:  # noqa: PLR0911
    """List the parts of a node whose columns must be grouped by."""
    if isinstance(node, tuple):
        return node
    if not isinstance(node, SyntaxNode) or isinstance(node, Literal | ColumnRef):
        return ()
    if isinstance(node, BinaryOperation):
        return group_keys.list_ungrouped_operands(node)
    if isinstance(node, Expr) and group_keys.has_expression(node):
        return ()
    if isinstance(node, WindowExpression):  # SUM(x) OVER (..) is computed after grouping, so x must be grouped by
        return (node.function.args, node.partition, node.order_by)
    if isinstance(node, FunctionCall) and (node.star or _is_aggregate_call(node)):
        return ()
    return iterate_children(node)


def _create_ungrouped_error(node: ColumnRef, query_text: str, *, has_group_by: bool) -> BindError:
    name = node.name.name
    if has_group_by:
        message = format_message("column {name!r} is neither in GROUP BY nor inside an aggregate function", name)
        remedy = format_message("add {name} to GROUP BY, or write MIN({name})", name)
    else:
        message = format_message("column {name!r} is used with an aggregate function but without GROUP BY", name)
        remedy = format_message("add GROUP BY {name}, or write MIN({name})", name)
    return BindError(message, text=query_text, offset=node.text_offset, remedy=remedy)


def _is_aggregate_call(node: FunctionCall) -> bool:
    entry = MAPPING_FUNCTIONS.find_function(node.name)
    return entry is not None and entry.aggregate
