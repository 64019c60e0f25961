"""One SELECT of a bound query: the stored tables that its conditions may narrow, and those conditions.

A condition may narrow a table to candidates if no row that fails it can reach the answer: conjuncts of WHERE and of ON of
inner joins, of ON of an outer join for the side that is filled up with nulls, and the reader's own row filter. Where an outer
join below may fill the table up with nulls (`loose`) that holds for what is false for them: `s.id IS NULL` is not. The
condition itself stays in the query, so candidates may be too many, never too few.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hven.adql.tree import (
    ColumnRef,
    Derived,
    Expr,
    FromItem,
    Join,
    Query,
    Select,
    SelectItem,
    TableRef,
    Window,
    conjuncts,
    transform,
    walk,
)
from hven.engines._bound.geometry import column_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    Values = Sequence[float | str | None]


@dataclass(slots=True)
class Narrowable:
    """One SELECT: the stored tables that conditions may narrow, and the conditions."""

    select: Select
    leaves: dict[int, TableRef] = field(default_factory=dict)
    direct: set[int] = field(default_factory=set)  # leaves that are not inside a derived table
    conditions: list[tuple[Expr, frozenset[int]]] = field(default_factory=list)  # (conjunct, leaves it may narrow)
    outer: set[int] = field(default_factory=set)  # id of the conjuncts that stand in ON of an outer join
    through: dict[tuple[int, str], Expr] = field(default_factory=dict)  # column of a derived table -> expression inside
    filled: set[int] = field(default_factory=set)  # leaves that outer joins fill up with nulls
    loose: set[tuple[int, int]] = field(
        default_factory=set
    )  # (id of a conjunct, such a leaf below it): only what is false for nulls narrows it
    # conditions of `TableRef.where`, whose columns are those of row 0
    rows: list[tuple[Expr, int]] = field(default_factory=list)
    derived: dict[int, Derived] = field(default_factory=dict)  # those that stand in FROM

    def column(self, expr: Expr) -> ColumnRef | None:
        """Follow a column through derived tables to the stored table it comes from."""
        while isinstance(expr, ColumnRef) and expr.column is not None:
            if expr.source in self.leaves:
                return expr
            inner = self.through.get((expr.source, expr.column.name))
            if inner is None:
                return None
            expr = inner
        return None

    def narrow(self, condition: Expr | None, leaves: frozenset[int]) -> None:
        """Note a condition over leaves that were entered."""
        for part in conjuncts(condition):
            self.conditions.append((part, leaves))
            self.loose.update((id(part), number) for number in leaves & self.filled)


def narrowable_of(select: Select) -> Narrowable:
    """Gather what conditions of one SELECT say about its tables."""
    narrowable = Narrowable(select)
    everything = _gather(select.source, narrowable, direct=True) if select.source is not None else frozenset()
    narrowable.narrow(select.where, everything)
    return narrowable


def _gather(item: FromItem, narrowable: Narrowable, *, direct: bool) -> frozenset[int]:
    """Enter the leaves below a FROM item; return those that WHERE may narrow."""
    if isinstance(item, TableRef):
        if item.table is None or item.cte:
            return frozenset()
        narrowable.leaves[item.number] = item
        if direct:
            narrowable.direct.add(item.number)
        leaf = frozenset({item.number})
        narrowable.narrow(item.where, leaf)
        narrowable.rows += [(part, item.number) for part in conjuncts(item.where)]
        return leaf
    if isinstance(item, Derived):
        own = frozenset({item.number} if direct else ())
        if direct:
            narrowable.derived[item.number] = item
        select = transparent(item.query)
        if select is None or select.source is None:
            return own
        below = _gather(select.source, narrowable, direct=False)
        narrowable.narrow(select.where, below)
        for column, inner in zip(item.columns, select.items, strict=True):
            if isinstance(inner, SelectItem):
                narrowable.through[item.number, column.name] = inner.expr
        return below | own
    if isinstance(item, Join):
        left, right = _gather(item.left, narrowable, direct=direct), _gather(item.right, narrowable, direct=direct)
        kind = item.kind.upper()
        filled = {"LEFT": right, "RIGHT": left}.get(kind, left | right)
        narrowable.narrow(item.on, frozenset() if kind == "FULL" else filled)
        if kind not in {"INNER", "CROSS"}:
            narrowable.outer.update(id(part) for part in conjuncts(item.on))
            narrowable.filled |= filled
        return left | right
    return frozenset()


def of_row(where: Expr, number: int) -> Expr:
    """Return a condition of `TableRef.where`, where columns are those of row 0, over the columns of that reference."""

    def change(node: Any) -> Any:
        return replace(node, source=number) if isinstance(node, ColumnRef) and node.source == 0 else node

    return transform(where, change)


def transparent(query: Query) -> Select | None:
    """Return the SELECT of a derived table whose rows are single rows of its FROM: no groups, limits or set operations."""
    body = query.body
    while isinstance(body, Query) and not (body.order_by or body.offset or body.ctes):
        body = body.body
    if query.order_by or query.offset is not None or query.ctes or not isinstance(body, Select):
        return None
    if body.group_by or body.having is not None or body.distinct or body.top is not None or _aggregates(body):
        return None
    return body


def _aggregates(select: Select) -> bool:
    if any(
        isinstance(item, SelectItem) and (item.expr.meta is None or item.expr.meta.aggregate) for item in select.items
    ):
        return True
    return any(isinstance(node, Window) for node in walk(select.items))  # what is left out changes what the others get


def position_of(narrowable: Narrowable, number: int, pair: tuple[Expr, Expr] | None) -> tuple[str, str] | None:
    """Return the names of longitude and latitude if a pair of expressions is the indexed position of a leaf."""
    columns = column_pair(pair)
    table = narrowable.leaves[number].table if number in narrowable.leaves else None
    if columns is None or table is None or table.position is None:
        return None
    lon, lat = narrowable.column(columns[0]), narrowable.column(columns[1])
    if lon is None or lat is None or lon.column is None or lat.column is None or not lon.source == number == lat.source:
        return None
    return table.position if (lon.column.name, lat.column.name) == table.position else None


def key_column(narrowable: Narrowable, number: int, expr: Expr) -> str | None:
    """Return the name of an indexed column of a leaf if `expr` is one."""
    column = narrowable.column(expr)
    table = narrowable.leaves[number].table if number in narrowable.leaves else None
    if column is None or column.source != number or column.column is None or table is None:
        return None
    return column.column.name if column.column.name in table.searched else None
