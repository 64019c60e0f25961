"""Unions that a join by position narrows: the pairs of each member by its own index, and the rows of these pairs as one table.

``t JOIN (SELECT a AS x, b AS y FROM m UNION ALL SELECT c, d FROM n) AS u ON DISTANCE(u.x, u.y, t.lon, t.lat) < r`` looks the circles of `t` up in the
indexes of `m` and of `n`; the union is then computed over the rows found, each with the number of its partner in `t`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.grouping import of_its_row
from hven.adql.kinds import is_null
from hven.adql.tree import (
    Cast,
    ColumnRef,
    Derived,
    Expr,
    Ident,
    Meta,
    Query,
    Select,
    SelectItem,
    SetOperation,
    TableRef,
    chain,
    walk,
)
from hven.engines._bound.narrowable import transparent
from hven.model.sky import healpix
from hven.model.table import Column
from hven.model.types import INT64

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

PARTNER = "hven:partner"


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a union.

    Attributes
    ----------
    leaf
        Number of the table that it reads.
    lon, lat
        The position over the columns of that table; None: it has none, so no row of it is near anything.
    indexed
        Whether they are the columns of the table's position index.
    """

    leaf: int
    lon: Expr | None
    lat: Expr | None
    indexed: bool


def leaves_of(union: Derived) -> list[tuple[TableRef, Select]]:
    """Return the tables and queries of a UNION ALL that chooses and computes rows of one stored table in each member; none if it is anything else."""
    query = union.query
    if query.order_by or query.offset is not None or query.ctes or not isinstance(query.body, SetOperation):
        return []
    found = []
    for member in _members(query.body):
        select = None if member is None else transparent(member if isinstance(member, Query) else Query(member))
        if (
            select is None
            or not isinstance(select.source, TableRef)
            or select.source.cte
            or select.source.table is None
        ):
            return []
        found.append((select.source, select))
    return found[::-1]


def _members(body: SetOperation) -> Iterator[Select | Query | None]:
    link: Select | SetOperation | Query = body
    while isinstance(link, SetOperation):
        yield link.right if link.op == "UNION" and link.all and not isinstance(link.right, SetOperation) else None
        link = link.left
    yield link


def parts_of(union: Derived, position: tuple[Expr, Expr]) -> tuple[Part, ...]:
    """Return the members of a union as targets of a join on a pair of its columns; none if it cannot be one."""
    names = [
        ref.column.name if isinstance(ref, ColumnRef) and ref.source == union.number and ref.column is not None else ""
        for ref in position
    ]
    found = []
    for leaf, select in leaves_of(union):
        inner = {
            column.name: item.expr
            for column, item in zip(union.columns, select.items, strict=True)
            if isinstance(item, SelectItem)
        }
        if not all(name in inner for name in names):
            return ()
        lon, lat = (_plain(inner[name]) for name in names)
        if is_null(lon) or is_null(lat):
            found.append(Part(leaf.number, None, None, indexed=False))
            continue
        nodes = list(walk((lon, lat)))
        if not (of_its_row(lon) and of_its_row(lat)):
            return ()
        read = [
            (node.source, node.column.name) for node in nodes if isinstance(node, ColumnRef) and node.column is not None
        ]
        if {source for source, _ in read} != {leaf.number} or leaf.table is None:
            return ()
        own = (
            isinstance(lon, ColumnRef)
            and isinstance(lat, ColumnRef)
            and tuple(name for _, name in read) == leaf.table.position
        )
        found.append(Part(leaf.number, lon, lat, indexed=own))
    return tuple(found)


def _plain(expr: Expr) -> Expr:
    """Remove a cast that changes no number, as the members of a union have it to be of one type."""
    while isinstance(expr, Cast) and (is_null(expr.operand) or _widened(expr)):
        expr = expr.operand
    return expr


def _widened(cast: Cast) -> bool:
    given, made = cast.operand.meta, cast.meta
    return (
        given is not None
        and made is not None
        and made.type.datatype == "double"
        and given.type.datatype in {"double", "float", "int", "short"}
    )


def with_partners(union: Derived, parts: tuple[Part, ...]) -> Derived:
    """Return the union with a column more: the number of the partner, which the tables of its members have when it is computed."""
    partner = Column(name=PARTNER, type=INT64)
    numbers = iter([part.leaf for part in parts])

    def more(node: Select | SetOperation | Query) -> Select | SetOperation | Query:
        if isinstance(node, Query):
            return replace(node, body=more(node.body))
        assert isinstance(node, Select)  # noqa: S101  (leaves_of has seen it)
        ref = ColumnRef(Ident(PARTNER, quoted=True), source=next(numbers), column=partner, meta=Meta(INT64))
        return replace(node, items=(*node.items, SelectItem(ref, column=partner)))

    first, links = chain(union.query.body, SetOperation)
    made = more(first)
    for link in links:
        made = replace(link, left=made, right=more(link.right))
    return replace(union, query=replace(union.query, body=made), columns=(*union.columns, partner))


def ordered(lon: Numbers, lat: Numbers) -> tuple[Rows, Rows] | None:
    """Make a position index of computed positions: HEALPix indexes, ascending, and their rows; None if some are no positions, which DuckDB judges."""
    some = np.flatnonzero(np.isfinite(lon) & np.isfinite(lat))
    cells = healpix.index(healpix.ORDER, lon[some], lat[some])
    if len(cells) and cells.min() < 0:
        return None
    order = np.argsort(cells, kind="stable")
    return cells[order], some[order]
