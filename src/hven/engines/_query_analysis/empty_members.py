"""Remove the members of unions that have no rows, so that they are not written, planned and computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    ColumnRef,
    DerivedTable,
    Join,
    Query,
    Select,
    SelectItem,
    SetOperation,
    TableRef,
    split_left_deep_chain,
    transform_tree,
    walk_tree,
)
from hven.adql.value_kinds import find_output_types
from hven.engines._query_analysis.narrowable_selects import find_ungrouped_select

if TYPE_CHECKING:
    from hven.adql.syntax_tree import BoundQuery, FromItem


def remove_empty_union_members(bound_query: BoundQuery, empty_table_numbers: frozenset[int]) -> BoundQuery | None:
    """Return the same query without the members of UNION ALL that have no rows; None if the answer has none.

    Parameters
    ----------
    bound_query
        The query.
    empty_table_numbers
        Numbers of the table references (and derived tables) that have no rows.

    Notes
    -----
    Columns of a union keep their names and types, which are those that hold the values of all its members.
    """
    if not empty_table_numbers:
        return bound_query

    def change_node(node: Any) -> Any:
        if isinstance(node, SetOperation):
            return _remove_union_members(node, empty_table_numbers)
        return node

    if is_certainly_empty(bound_query.query, empty_table_numbers):
        return None
    query = transform_tree(transform_tree(bound_query.query, change_node), _merge_single_member_select)
    if query is bound_query.query:
        return bound_query
    table_names = set()
    for node in walk_tree(query):
        if isinstance(node, TableRef) and node.table is not None:
            table_names.add(node.table.qualified_name)
    tables = tuple(table for table in bound_query.tables if table.qualified_name in table_names)
    return replace(bound_query, query=query, tables=tables)


def _remove_union_members(union: SetOperation, empty_table_numbers: frozenset[int]) -> Any:
    """Return a union with fewer members, but at least one."""
    first_member, links = split_left_deep_chain(union, SetOperation, lambda link: link.op == "UNION" and link.all)
    members = [first_member, *(link.right for link in links)]
    remaining_members = [
        member for member in members if not is_certainly_empty(member, empty_table_numbers)
    ] or members[:1]
    if len(remaining_members) == len(members) or not links:
        return union
    first_select = _find_member_select(members[0])
    if first_select is None or any(_find_member_select(member) is None for member in remaining_members):
        return union
    columns = []
    for item, output_type in zip(first_select.items, find_output_types(union), strict=True):
        if isinstance(item, SelectItem) and item.column is not None:
            columns.append(item.column.copy_with(type=output_type))
    union_node: Any = _replace_output_columns(remaining_members[0], columns)
    for member in remaining_members[1:]:
        union_node = SetOperation("UNION", union_node, _replace_output_columns(member, columns), all=True)
    return union_node


def _merge_single_member_select(node: Any) -> Any:
    """Merge a SELECT with the derived table that a union with one remaining member has become.

    ``SELECT x FROM (SELECT a AS x ..)`` becomes ``SELECT a AS x``.
    """
    if not isinstance(node, Select) or node.where is not None or node.having is not None:
        return node
    union = node.source
    if node.group_by or node.distinct or not isinstance(union, DerivedTable):
        return node
    inner = find_ungrouped_select(union.query)
    if inner is None:
        return node
    inner_expressions = {}
    for column, item in zip(union.columns, inner.items, strict=True):
        if isinstance(item, SelectItem):
            inner_expressions[column.name] = item.expr
    items = []
    for item in node.items:
        if not isinstance(item, SelectItem) or not isinstance(item.expr, ColumnRef) or item.expr.column is None:
            return node
        inner_expression = inner_expressions.get(item.expr.column.name)
        if inner_expression is None:
            return node
        items.append(replace(item, expr=inner_expression))
    return replace(inner, items=tuple(items), top=node.top)


def _find_member_select(member: Any) -> Select | None:
    if isinstance(member, Select):
        return member
    if isinstance(member, Query):
        return _find_member_select(member.body)
    return None


def _replace_output_columns(member: Any, columns: Any) -> Any:
    """Return a member with these output columns."""
    if isinstance(member, Query):
        return replace(member, body=_replace_output_columns(member.body, columns))
    items = [replace(item, column=column) for item, column in zip(member.items, columns, strict=True)]
    return replace(member, items=tuple(items))


def is_certainly_empty(node: Any, empty_table_numbers: frozenset[int]) -> bool:
    """Return whether a query, or a part of one, certainly has no rows if these table references have none.

    Parameters
    ----------
    node
        A bound query, a SELECT or a set operation.
    empty_table_numbers
        Numbers of the references without rows.
    """
    if isinstance(node, SetOperation):
        is_left_empty = is_certainly_empty(node.left, empty_table_numbers)
        is_right_empty = is_certainly_empty(node.right, empty_table_numbers)
        if node.op == "INTERSECT":
            return is_left_empty or is_right_empty
        if node.op == "EXCEPT":
            return is_left_empty
        return is_left_empty and is_right_empty
    if isinstance(node, Query):
        return is_certainly_empty(node.body, empty_table_numbers)
    if node.source is None or not (
        node.group_by or find_ungrouped_select(Query(replace(node, top=None, distinct=False)))
    ):
        return False  # COUNT(*) over no rows returns a row
    return _is_source_empty(node.source, empty_table_numbers)


def _is_source_empty(from_item: FromItem, empty_table_numbers: frozenset[int]) -> bool:
    """Return whether an item of FROM certainly has no rows."""
    if isinstance(from_item, Join):
        is_left_empty = _is_source_empty(from_item.left, empty_table_numbers)
        is_right_empty = _is_source_empty(from_item.right, empty_table_numbers)
        kind = from_item.kind.upper()
        if kind == "LEFT":
            return is_left_empty
        if kind == "RIGHT":
            return is_right_empty
        if kind == "FULL":
            return is_left_empty and is_right_empty
        return is_left_empty or is_right_empty
    if isinstance(from_item, DerivedTable):
        return from_item.number in empty_table_numbers or is_certainly_empty(from_item.query, empty_table_numbers)
    return isinstance(from_item, TableRef) and not from_item.cte and from_item.number in empty_table_numbers
