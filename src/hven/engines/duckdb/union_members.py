"""Unions that a join by position narrows.

The pairs of each member by its own index, and the rows of these pairs as one table.

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
    Cast,
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
    split_chain,
    walk_tree,
)
from hven.adql.value_kinds import is_null
from hven.engines._query_analysis.narrowable_selects import find_row_select
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
        Number of the table that it reads.
    lon, lat
        The position over the columns of that table; None: it has none, so no row of it is near anything.
    is_indexed
        Whether they are the columns of the table's position index.
    """

    table_number: int
    lon: Expr | None
    lat: Expr | None
    is_indexed: bool


def list_member_tables(union: DerivedTable) -> list[tuple[TableRef, Select]]:
    """Return the tables and queries of a UNION ALL that chooses and computes rows of one stored table in each member.

    None if it is anything else.
    """
    query = union.query
    if query.order_by or query.offset is not None or query.ctes or not isinstance(query.body, SetOperation):
        return []
    members = []
    for member in _iterate_members(query.body):
        if member is None:
            select = None
        else:
            select = find_row_select(member if isinstance(member, Query) else Query(member))
        if (
            select is None
            or not isinstance(select.source, TableRef)
            or select.source.cte
            or select.source.table is None
        ):
            return []
        members.append((select.source, select))
    return members[::-1]


def _iterate_members(body: SetOperation) -> Iterator[Select | Query | None]:
    link: Select | SetOperation | Query = body
    while isinstance(link, SetOperation):
        yield link.right if link.op == "UNION" and link.all and not isinstance(link.right, SetOperation) else None
        link = link.left
    yield link


def match_union_members(union: DerivedTable, position_pair: tuple[Expr, Expr]) -> tuple[UnionMember, ...]:
    """Return the members of a union as targets of a join on a pair of its columns; none if it cannot be one."""
    names = [
        ref.column.name if isinstance(ref, ColumnRef) and ref.source == union.number and ref.column is not None else ""
        for ref in position_pair
    ]
    members = []
    for leaf, select in list_member_tables(union):
        inner = {
            column.name: item.expr
            for column, item in zip(union.columns, select.items, strict=True)
            if isinstance(item, SelectItem)
        }
        if not all(name in inner for name in names):
            return ()
        lon, lat = (_remove_widening_cast(inner[name]) for name in names)
        if is_null(lon) or is_null(lat):
            members.append(UnionMember(leaf.number, None, None, is_indexed=False))
            continue
        nodes = list(walk_tree((lon, lat)))
        if not (is_single_row_expression(lon) and is_single_row_expression(lat)):
            return ()
        column_sources = [
            (node.source, node.column.name) for node in nodes if isinstance(node, ColumnRef) and node.column is not None
        ]
        if {source for source, _ in column_sources} != {leaf.number} or leaf.table is None:
            return ()
        is_indexed = (
            isinstance(lon, ColumnRef)
            and isinstance(lat, ColumnRef)
            and tuple(name for _, name in column_sources) == leaf.table.position
        )
        members.append(UnionMember(leaf.number, lon, lat, is_indexed=is_indexed))
    return tuple(members)


def _remove_widening_cast(expression: Expr) -> Expr:
    """Remove a cast that changes no number, as the members of a union have it to be of one type."""
    while isinstance(expression, Cast) and (is_null(expression.operand) or _is_widening_cast(expression)):
        expression = expression.operand
    return expression


def _is_widening_cast(cast: Cast) -> bool:
    operand_meta = cast.operand.meta
    cast_meta = cast.meta
    return (
        operand_meta is not None
        and cast_meta is not None
        and cast_meta.type.datatype == "double"
        and operand_meta.type.datatype in {"double", "float", "int", "short"}
    )


def add_partner_column(union: DerivedTable, members: tuple[UnionMember, ...]) -> DerivedTable:
    """Return the union with a column more.

    The number of the partner, which the tables of its members have when it is computed.
    """
    partner = Column(name=PARTNER_COLUMN, type=INT64)
    numbers = iter([part.table_number for part in members])

    def add_column(node: Select | SetOperation | Query) -> Select | SetOperation | Query:
        if isinstance(node, Query):
            return replace(node, body=add_column(node.body))
        assert isinstance(node, Select)  # noqa: S101  (leaves_of has seen it)
        ref = ColumnRef(
            Ident(PARTNER_COLUMN, quoted=True), source=next(numbers), column=partner, meta=ValueMetadata(INT64)
        )
        return replace(node, items=(*node.items, SelectItem(ref, column=partner)))

    first_member, links = split_chain(union.query.body, SetOperation)
    union_body = add_column(first_member)
    for link in links:
        right = add_column(link.right)
        union_body = replace(link, left=union_body, right=right)
    query = replace(union.query, body=union_body)
    return replace(union, query=query, columns=(*union.columns, partner))


def build_position_index(lon: Numbers, lat: Numbers) -> tuple[Rows, Rows] | None:
    """Make a position index of computed positions: HEALPix indexes, ascending, and their rows.

    None if some are no positions, which DuckDB judges.
    """
    valid_rows = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    cells = healpix.compute_cell_indexes(healpix.MAX_ORDER, lon[valid_rows], lat[valid_rows])
    if len(cells) and cells.min() < 0:
        return None
    order = np.argsort(cells, kind="stable")
    return cells[order], valid_rows[order]
