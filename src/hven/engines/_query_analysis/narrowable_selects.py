"""Analyse one SELECT of a bound query: the stored tables that its conditions may narrow, and those conditions.

A condition may narrow a table to candidates if no row that fails it can reach the answer. These are conjuncts of WHERE
and of ON of inner joins, of ON of an outer join for the side that is filled with nulls, and the reader's row filter.
Where an outer join below may fill the table with nulls (`null_filled_numbers`), only a condition that is false for
nulls narrows it: `s.id IS NULL` does not. The condition itself stays in the query, so candidates may be too many, but
never too few.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    ColumnRef,
    DerivedTable,
    Expr,
    FromItem,
    Join,
    Query,
    Select,
    SelectItem,
    TableRef,
    WindowExpression,
    split_conjuncts,
    transform_tree,
    walk_tree,
)
from hven.engines._query_analysis.geometry import match_column_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    Values = Sequence[float | str | None]


@dataclass(slots=True)
class NarrowableSelect:
    """One SELECT: the stored tables that conditions may narrow, and the conditions.

    Attributes
    ----------
    select
        The SELECT.
    table_refs
        The references of stored tables by their numbers.
    derived_expressions
        (Number of a derived table, column) -> the expression inside.
    null_filled_conditions
        (id of a conjunct, number of a reference): it narrows the reference only if it is false for nulls.
    policy_conditions
        Conditions of `TableRef.where`, each with the number of its reference.
    """

    select: Select
    table_refs: dict[int, TableRef] = field(default_factory=dict)
    direct_numbers: set[int] = field(default_factory=set)  # leaves that are not inside a derived table
    conditions: list[tuple[Expr, frozenset[int]]] = field(default_factory=list)  # (conjunct, leaves it may narrow)
    outer_join_conditions: set[int] = field(default_factory=set)  # ids of the conjuncts in ON of outer joins
    # (number of a derived table, column) -> expression inside
    derived_expressions: dict[tuple[int, str], Expr] = field(default_factory=dict)
    null_filled_numbers: set[int] = field(default_factory=set)  # leaves that outer joins fill with nulls
    # (id of a conjunct, such a leaf below it): it narrows the leaf only if it is false for nulls
    null_filled_conditions: set[tuple[int, int]] = field(default_factory=set)
    # conditions of `TableRef.where`, whose columns are those of table 0
    policy_conditions: list[tuple[Expr, int]] = field(default_factory=list)
    derived_tables: dict[int, DerivedTable] = field(default_factory=dict)  # those in FROM

    def find_stored_column(self, expression: Expr) -> ColumnRef | None:
        """Follow a column through derived tables to the stored table it comes from.

        Parameters
        ----------
        expression
            A column, perhaps of a derived table.

        Returns
        -------
        column
            The column of the stored table; None if it is computed.
        """
        while isinstance(expression, ColumnRef) and expression.column is not None:
            if expression.source in self.table_refs:
                return expression
            inner = self.derived_expressions.get((expression.source, expression.column.name))
            if inner is None:
                return None
            expression = inner
        return None

    def add_conditions(self, condition: Expr | None, table_numbers: frozenset[int]) -> None:
        """Add a condition over these leaves, conjunct by conjunct.

        Parameters
        ----------
        condition
            A condition; None adds nothing.
        table_numbers
            Numbers of the references that it may narrow.
        """
        for part in split_conjuncts(condition):
            self.conditions.append((part, table_numbers))
            for number in table_numbers & self.null_filled_numbers:
                self.null_filled_conditions.add((id(part), number))


def analyse_select(select: Select) -> NarrowableSelect:
    """Collect the tables and conditions of one SELECT.

    Parameters
    ----------
    select
        A SELECT of a bound query.

    Returns
    -------
    narrowable
        Its tables and conditions.
    """
    narrowable = NarrowableSelect(select)
    table_numbers: frozenset[int] = frozenset()
    if select.source is not None:
        table_numbers = _collect_tables_and_conditions(select.source, narrowable, is_direct=True)
    narrowable.add_conditions(select.where, table_numbers)
    return narrowable


def _collect_tables_and_conditions(
    from_item: FromItem, narrowable: NarrowableSelect, *, is_direct: bool
) -> frozenset[int]:
    """Add the leaves below a FROM item; return the numbers of those that WHERE may narrow."""
    if isinstance(from_item, TableRef):
        if from_item.table is None or from_item.cte:
            return frozenset()
        narrowable.table_refs[from_item.number] = from_item
        if is_direct:
            narrowable.direct_numbers.add(from_item.number)
        leaf = frozenset({from_item.number})
        if from_item.where is not None:
            narrowable.add_conditions(from_item.where, leaf)
            narrowable.policy_conditions += [(part, from_item.number) for part in split_conjuncts(from_item.where)]
        return leaf
    if isinstance(from_item, DerivedTable):
        derived_numbers = frozenset({from_item.number} if is_direct else ())
        if is_direct:
            narrowable.derived_tables[from_item.number] = from_item
        select = find_ungrouped_select(from_item.query)
        if select is None or select.source is None:
            return derived_numbers
        inner_numbers = _collect_tables_and_conditions(select.source, narrowable, is_direct=False)
        narrowable.add_conditions(select.where, inner_numbers)
        for column, inner in zip(from_item.columns, select.items, strict=True):
            if isinstance(inner, SelectItem):
                narrowable.derived_expressions[from_item.number, column.name] = inner.expr
        return inner_numbers | derived_numbers
    if isinstance(from_item, Join):
        left_numbers = _collect_tables_and_conditions(from_item.left, narrowable, is_direct=is_direct)
        right_numbers = _collect_tables_and_conditions(from_item.right, narrowable, is_direct=is_direct)
        kind = from_item.kind.upper()
        narrowed_numbers = {"LEFT": right_numbers, "RIGHT": left_numbers}.get(kind, left_numbers | right_numbers)
        narrowable.add_conditions(from_item.on, frozenset() if kind == "FULL" else narrowed_numbers)
        if kind not in {"INNER", "CROSS"}:
            narrowable.outer_join_conditions.update(id(part) for part in split_conjuncts(from_item.on))
            narrowable.null_filled_numbers |= narrowed_numbers
        return left_numbers | right_numbers
    return frozenset()


def bind_policy_condition_to_table(condition: Expr, table_number: int) -> Expr:
    """Return a condition of `TableRef.where`, whose columns are those of table 0, over the columns of a reference.

    Parameters
    ----------
    condition
        A condition of `TableRef.where`.
    table_number
        Number of the reference.
    """

    def change_node(node: Any) -> Any:
        if isinstance(node, ColumnRef) and node.source == 0:
            return replace(node, source=table_number)
        return node

    return transform_tree(condition, change_node)


def find_ungrouped_select(query: Query) -> Select | None:
    """Return the SELECT of a derived table if each of its rows is a single row of its FROM.

    Return None if the query has groups, limits, windows or set operations.
    """
    body = query.body
    while isinstance(body, Query) and not (body.order_by or body.offset or body.ctes):
        body = body.body
    if query.order_by or query.offset is not None or query.ctes or not isinstance(body, Select):
        return None
    if body.group_by or body.having is not None or body.distinct or body.top is not None or _has_aggregates(body):
        return None
    return body


def _has_aggregates(select: Select) -> bool:
    for item in select.items:
        if isinstance(item, SelectItem) and (item.expr.meta is None or item.expr.meta.aggregate):
            return True
    # a window counts like an aggregate, because a row that is left out changes the values of other rows
    return any(isinstance(node, WindowExpression) for node in walk_tree(select.items))


def match_indexed_position(
    narrowable: NarrowableSelect, table_number: int, position_pair: tuple[Expr, Expr] | None
) -> tuple[str, str] | None:
    """Return the names of longitude and latitude if a pair of expressions is the indexed position of a leaf.

    Parameters
    ----------
    narrowable
        The SELECT.
    table_number
        Number of a reference.
    position_pair
        Longitude and latitude; None if there are none.
    """
    columns = match_column_pair(position_pair)
    table_ref = narrowable.table_refs.get(table_number)
    if columns is None or table_ref is None or table_ref.table is None or table_ref.table.position is None:
        return None
    lon = narrowable.find_stored_column(columns[0])
    lat = narrowable.find_stored_column(columns[1])
    if lon is None or lon.column is None or lon.source != table_number:
        return None
    if lat is None or lat.column is None or lat.source != table_number:
        return None
    position = table_ref.table.position
    if (lon.column.name, lat.column.name) != position:
        return None
    return position


def match_indexed_column(narrowable: NarrowableSelect, table_number: int, expression: Expr) -> str | None:
    """Return the name of an indexed column of a leaf if `expression` is one."""
    column_ref = narrowable.find_stored_column(expression)
    table_ref = narrowable.table_refs.get(table_number)
    if column_ref is None or column_ref.source != table_number or column_ref.column is None:
        return None
    if table_ref is None or table_ref.table is None:
        return None
    column_name = column_ref.column.name
    if column_name not in table_ref.table.indexed_column_names:
        return None
    return column_name
