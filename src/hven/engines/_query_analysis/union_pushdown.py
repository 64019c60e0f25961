"""Push conditions on a union, or on a view of one table, into each of its queries.

There they are conditions on tables, which indexes serve.

``SELECT .. FROM (SELECT a AS x FROM t UNION ALL SELECT b + 1 FROM u) AS v WHERE x = 3`` reads the rows of `t` with ``a
= 3`` and those of `u` with ``b + 1 = 3``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    BinaryOperation,
    ColumnRef,
    DerivedTable,
    Expr,
    FunctionCall,
    Join,
    Literal,
    Query,
    Select,
    SelectItem,
    SetOperation,
    WindowExpression,
    join_conditions_with_and,
    split_conjuncts,
    split_left_deep_chain,
    transform_tree,
    walk_tree,
)
from hven.adql.value_kinds import is_null_in_every_row
from hven.engines._query_analysis.narrowable_selects import find_ungrouped_select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql.syntax_tree import BoundQuery, FromItem

# functions that are NULL if one of this many last arguments is NULL, which has no type that would tell the argument's
# kind; POINT and CIRCLE may have a frame before these arguments
_NULL_PROPAGATING_ARGUMENTS = {
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


def push_conditions_into_unions(bound_query: BoundQuery) -> BoundQuery:
    """Return the same query with conditions on unions pushed into their members; the same object if there are none.

    Parameters
    ----------
    bound_query
        A bound query.
    """
    if bound_query.volatile or not bound_query.survey.derived_tables:
        return bound_query
    query = transform_tree(bound_query.query, _push_conditions)
    if query is bound_query.query:
        return bound_query
    return replace(bound_query, query=query)


def _push_conditions(node: Any) -> Any:
    if not isinstance(node, Select) or node.where is None or node.source is None:
        return node
    parts = list(split_conjuncts(node.where))
    row_conditions = [part for part in parts if _is_row_condition(part)]
    moved_conditions: set[int] = set()
    source = _push_into_from_item(node.source, row_conditions, moved_conditions)
    if source is node.source:
        return node
    where = join_conditions_with_and(*(part for part in parts if id(part) not in moved_conditions))
    return replace(node, source=source, where=where)


def _is_row_condition(condition: Expr) -> bool:
    """Return whether a condition reads single rows and has no subquery."""
    return not any(isinstance(part, Query | Select | WindowExpression) for part in walk_tree(condition))


def _push_into_from_item(from_item: FromItem, conditions: Sequence[Expr], moved_conditions: set[int]) -> FromItem:
    """Push conditions into the unions below a FROM item, but not into the null-filled side of an outer join.

    The `id` of each condition that was pushed is added to `moved_conditions`.
    """
    if isinstance(from_item, Join):
        return _push_into_join(from_item, conditions, moved_conditions)
    if not isinstance(from_item, DerivedTable):
        return from_item
    if from_item.query.order_by or from_item.query.offset is not None or from_item.query.ctes:
        return from_item
    own_conditions = [part for part in conditions if _list_table_numbers(part) == {from_item.number}]
    members = _list_union_members(from_item.query.body)
    if not own_conditions or not members:
        return from_item
    moved_conditions.update(id(part) for part in own_conditions)
    body = _push_into_union_members(from_item.query.body, from_item, own_conditions)
    query = replace(from_item.query, body=body)
    return replace(from_item, query=query)


def _push_into_join(join: Join, conditions: Sequence[Expr], moved_conditions: set[int]) -> Join:
    kind = join.kind.upper()
    left_item = join.left
    right_item = join.right
    if kind in {"INNER", "CROSS", "LEFT"}:
        left_item = _push_into_from_item(left_item, conditions, moved_conditions)
    if kind in {"INNER", "CROSS", "RIGHT"}:
        right_item = _push_into_from_item(right_item, conditions, moved_conditions)
    if left_item is join.left and right_item is join.right:
        return join
    return replace(join, left=left_item, right=right_item)


def _list_table_numbers(condition: Expr) -> set[int]:
    return {part.source for part in walk_tree(condition) if isinstance(part, ColumnRef)}


def _list_union_members(body: Any) -> list[Select]:
    """Return the queries of a UNION ALL; the list is empty for anything else."""
    members: list[Select] = []
    while isinstance(body, SetOperation):
        right = find_ungrouped_select(body.right if isinstance(body.right, Query) else Query(body.right))
        if body.op != "UNION" or not body.all or right is None:
            return []
        members.append(right)
        body = body.left
    first_member = find_ungrouped_select(body if isinstance(body, Query) else Query(body))
    if first_member is None:
        return []
    return [*members, first_member]


def _push_into_union_members(body: Any, union: DerivedTable, conditions: Sequence[Expr]) -> Any:
    """Add conditions to each member, over its own expressions."""
    first_member, links = split_left_deep_chain(body, SetOperation)
    union_node = _add_member_conditions(first_member, union, conditions)
    for link in links:
        right = _add_member_conditions(link.right, union, conditions)
        union_node = replace(link, left=union_node, right=right)
    return union_node


def _add_member_conditions(member: Any, union: DerivedTable, conditions: Sequence[Expr]) -> Any:
    if isinstance(member, Query):
        body = _add_member_conditions(member.body, union, conditions)
        return replace(member, body=body)
    inner_expressions = {}
    for column, item in zip(union.columns, member.items, strict=True):
        if isinstance(item, SelectItem):
            inner_expressions[column.name] = item.expr

    def change_node(node: Any) -> Any:
        if isinstance(node, FunctionCall) and node.name in _NULL_PROPAGATING_ARGUMENTS:
            args = tuple([transform_tree(arg, change_node) for arg in node.args])
            last_args = args[-_NULL_PROPAGATING_ARGUMENTS[node.name] :]
            if any(map(is_null_in_every_row, last_args)):  # the member has no such column
                return Literal(None, text_offset=node.text_offset, meta=node.meta)
            if all(new_arg is old_arg for new_arg, old_arg in zip(args, node.args, strict=True)):
                return node
            return replace(node, args=args)
        if not isinstance(node, ColumnRef) or node.source != union.number or node.column is None:
            return node
        inner_expression = inner_expressions[node.column.name]
        meta = inner_expression.meta
        if meta is not None and node.column.type.is_geometry and not meta.type.is_geometry:
            # a text that is a region in the view
            region_meta = replace(meta, type=node.column.type)
            inner_expression = replace(inner_expression, meta=region_meta)
        return inner_expression

    own_conditions = [transform_tree(part, change_node) for part in conditions]
    where = join_conditions_with_and(*split_conjuncts(member.where), *own_conditions)
    return replace(member, where=where)


def match_prefixed_column(expression: Expr) -> tuple[str, ColumnRef] | None:
    """Match ``'ivo://authority/collection?' || column``, a text with a constant prefix; return prefix and column."""
    if (
        isinstance(expression, BinaryOperation)
        and expression.op == "||"
        and isinstance(expression.left, Literal)
        and isinstance(expression.right, ColumnRef)
    ):
        return str(expression.left.value), expression.right
    return None
