"""Unions that a join by position narrows.

Each member gives its pairs by its own index; the rows of these pairs become one table.
``t JOIN (SELECT a AS x, b AS y FROM m UNION ALL SELECT c, d FROM n) AS u ON DISTANCE(u.x, u.y, t.lon, t.lat) < r``
looks the circles of `t` up in the indexes of `m` and of `n`; the union is then computed over the rows found, each with
the number of its partner in `t`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.grouping import is_single_row_expression
from hven.adql.syntax_tree import (
    CastExpression,
    ColumnRef,
    DerivedTable,
    Expr,
    Ident,
    Query,
    Select,
    SelectItem,
    SetOperation,
    TableRef,
    ValueMetadata,
    split_left_deep_chain,
    walk_tree,
)
from hven.adql.value_kinds import is_null_in_every_row
from hven.engines._query_analysis.narrowable_selects import find_ungrouped_select
from hven.model.sky import healpix
from hven.model.table import Column
from hven.model.types import INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

PARTNER_COLUMN = "hven:partner"


@dataclass(frozen=True, slots=True)
class UnionMember:
    """One member of a union.

    Attributes
    ----------
    table_number
        Number of the table that the member reads.
    lon, lat
        The position, as expressions over the columns of that table. None if the member has no position, so that none
        of its rows is near anything.
    is_indexed
        Whether `lon` and `lat` are the columns of the table's position index.
    """

    table_number: int
    lon: Expr | None
    lat: Expr | None
    is_indexed: bool


def list_union_member_tables(union: DerivedTable) -> list[tuple[TableRef, Select]]:
    """Return the table and the query of each member of a UNION ALL.

    Every member must choose and compute rows of one stored table; the list is empty for anything else.
    """
    query = union.query
    if query.order_by or query.offset is not None or query.ctes or not isinstance(query.body, SetOperation):
        return []
    members = []
    for member in _iterate_union_members(query.body):
        if member is None:
            return []
        select = find_ungrouped_select(member if isinstance(member, Query) else Query(member))
        if select is None or not isinstance(select.source, TableRef):
            return []
        if select.source.cte or select.source.table is None:
            return []
        members.append((select.source, select))
    return members[::-1]


def _iterate_union_members(body: SetOperation) -> Iterator[Select | Query | None]:
    """Yield the members from the last to the first; None stands for one that is not joined by UNION ALL."""
    link: Select | SetOperation | Query = body
    while isinstance(link, SetOperation):
        is_union_all = link.op == "UNION" and link.all
        if is_union_all and not isinstance(link.right, SetOperation):
            yield link.right
        else:
            yield None
        link = link.left
    yield link


def match_union_members(union: DerivedTable, position_pair: tuple[Expr, Expr]) -> tuple[UnionMember, ...]:
    """Return the members of a union as targets of a join on two of its columns; empty if it cannot be one."""
    column_names = []
    for column_ref in position_pair:
        if not isinstance(column_ref, ColumnRef) or column_ref.source != union.number or column_ref.column is None:
            return ()
        column_names.append(column_ref.column.name)
    lon_name, lat_name = column_names
    members = []
    for table_ref, select in list_union_member_tables(union):
        expressions = {}
        for column, item in zip(union.columns, select.items, strict=True):
            if isinstance(item, SelectItem):
                expressions[column.name] = item.expr
        if lon_name not in expressions or lat_name not in expressions:
            return ()
        lon = _remove_widening_cast(expressions[lon_name])
        lat = _remove_widening_cast(expressions[lat_name])
        member = _build_union_member(table_ref, lon, lat)
        if member is None:
            return ()
        members.append(member)
    return tuple(members)


def _build_union_member(table_ref: TableRef, lon: Expr, lat: Expr) -> UnionMember | None:
    """Return a member with this position, or None if the position is not computed from a row of its table."""
    if is_null_in_every_row(lon) or is_null_in_every_row(lat):
        return UnionMember(table_ref.number, None, None, is_indexed=False)
    if not is_single_row_expression(lon) or not is_single_row_expression(lat):
        return None
    column_sources = set()
    column_names = []
    for node in walk_tree((lon, lat)):
        if isinstance(node, ColumnRef) and node.column is not None:
            column_sources.add(node.source)
            column_names.append(node.column.name)
    if column_sources != {table_ref.number} or table_ref.table is None:
        return None
    are_columns = isinstance(lon, ColumnRef) and isinstance(lat, ColumnRef)
    is_indexed = are_columns and tuple(column_names) == table_ref.table.position
    return UnionMember(table_ref.number, lon, lat, is_indexed=is_indexed)


def _remove_widening_cast(expression: Expr) -> Expr:
    """Remove casts that change no number, which give the members of a union the same type."""
    while isinstance(expression, CastExpression) and (
        is_null_in_every_row(expression.operand) or _is_widening_cast(expression)
    ):
        expression = expression.operand
    return expression


def _is_widening_cast(cast: CastExpression) -> bool:
    operand_meta = cast.operand.meta
    if operand_meta is None or cast.meta is None or cast.meta.type.datatype != "double":
        return False
    return operand_meta.type.datatype in {"double", "float", "int", "short"}


def add_partner_column(union: DerivedTable, members: tuple[UnionMember, ...]) -> DerivedTable:
    """Return the union with one more column, the number of the partner.

    The tables of its members have that number when the union is computed.
    """
    partner = Column(name=PARTNER_COLUMN, type=INT64)
    numbers = iter([member.table_number for member in members])

    def add_column(node: Select | SetOperation | Query) -> Select | SetOperation | Query:
        if isinstance(node, Query):
            return replace(node, body=add_column(node.body))
        assert isinstance(node, Select)  # noqa: S101  (list_member_tables has tested it)
        name = Ident(PARTNER_COLUMN, quoted=True)
        column_ref = ColumnRef(name, source=next(numbers), column=partner, meta=ValueMetadata(INT64))
        return replace(node, items=(*node.items, SelectItem(column_ref, column=partner)))

    first_member, links = split_left_deep_chain(union.query.body, SetOperation)
    union_body = add_column(first_member)
    for link in links:
        right = add_column(link.right)
        union_body = replace(link, left=union_body, right=right)
    query = replace(union.query, body=union_body)
    return replace(union, query=query, columns=(*union.columns, partner))


def build_position_index(lon: Numbers, lat: Numbers) -> tuple[Rows, Rows] | None:
    """Build a position index of computed positions: ascending HEALPix indexes, and their rows.

    Return None if some values are no positions, which DuckDB must test.
    """
    valid_rows = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    cells = healpix.compute_cell_indexes(healpix.MAX_ORDER, lon[valid_rows], lat[valid_rows])
    if len(cells) and cells.min() < 0:
        return None
    order = np.argsort(cells, kind="stable")
    return cells[order], valid_rows[order]
