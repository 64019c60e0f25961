"""Tables made by a query: which of their keys a change of the query's tables may touch, and the query for these keys alone.

A key can be traced if the query is one SELECT over tables joined by JOIN or LEFT JOIN, a column of the key is a column of one of them as it
stands (in GROUP BY, if there is one), and each table that changed has that column, or one that a condition of equality ties to it.
All other queries are computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from hven import adql
from hven.adql.bind import bind
from hven.adql.scope import Tables
from hven.adql.tree import (
    ColumnRef,
    Compare,
    Derived,
    Exists,
    Ident,
    In,
    Join,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    Window,
    conjunction,
    conjuncts,
    ref,
    walk,
)
from hven.ingest._picking import nullable
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.adql.tree import Bound, Expr
    from hven.ingest.sync._differing import Differences
    from hven.model.resource import TableSpec
    from hven.model.table import Table

KEYS = ("TAP_UPLOAD", "hven_keys")
MOST = 100_000  # keys

Place = tuple[int, str]  # number of a table in FROM, name of its column in lower case


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A query for some keys.

    Attributes
    ----------
    query
        The query, narrowed to keys that stand in the table `KEYS`; it may give some more.
    columns
        Column of the primary key -> input table -> its column.
    """

    query: Query
    columns: Mapping[str, Mapping[str, str]]

    def keys(self, target: Table, changes: Mapping[str, Differences]) -> pa.Table | None:
        """Return the keys that changed rows of the inputs touch; None if they are too many."""
        schema = nullable(pa.schema([target.arrow.field(name) for name in self.columns]))
        found = []
        for name, change in changes.items():
            for rows in (change.before, change.after):
                parts = [rows.column(by[name]) for by in self.columns.values()]
                found.append(pa.table(parts, names=list(self.columns)).cast(schema))
        keys = pa.concat_tables(found, promote_options="none").group_by(schema.names).aggregate([]).drop_null()
        return keys if keys.num_rows <= MOST else None


def trace(spec: TableSpec, target: Table, tables: Iterable[Table], changed: set[str]) -> Traced | None:
    """Follow the key of a table to the tables that its query reads.

    Parameters
    ----------
    tables
        What the query may name.
    changed
        Qualified names of the inputs that changed.
    """
    if len(spec.sources) != 1 or spec.group_by or not target.primary:
        return None
    try:
        parsed = adql.parse(str(spec.sources[0].options.get("adql")))
        bound = bind(parsed, Tables(tables))
    except HvenError:
        return None  # the source itself tells
    body, written = bound.query.body, parsed.body
    if not isinstance(body, Select) or not isinstance(written, Select) or not _plain(parsed, bound):
        return None
    found = _tables(body.source)
    if found is None or len(written.items) != len(body.items) or len(body.items) != len(bound.columns):
        return None
    names = {number: table for number, table, _ in found}
    if not changed <= set(names.values()) or any(list(names.values()).count(name) > 1 for name in changed):
        return None
    ties = _ties(body)
    safe = {number for number, _, nullable_ in found if not nullable_}
    grouped = {_place(item) for item in body.group_by}
    outputs = {column.name.lower(): number for number, column in enumerate(bound.columns)}
    columns: dict[str, dict[str, str]] = {}
    conditions: list[Expr] = []
    for name in target.primary:
        at = outputs.get(_from(spec, name).lower())
        item, said = (None, None) if at is None else (body.items[at], written.items[at])
        place = _place(item.expr) if isinstance(item, SelectItem) else None
        if (
            place is None
            or place[0] not in safe
            or not isinstance(said, SelectItem)
            or (body.group_by and place not in grouped)
        ):
            continue
        tied = {names[number]: column for number, column in (*sorted(_tied(place, *ties)), place)}
        if not changed <= tied.keys():
            continue
        columns[name] = {table: _named(tables_by(tables)[table], tied[table]) for table in changed}
        wanted = Select(
            (SelectItem(ref(name)),),
            TableRef(tuple(Ident(part, quoted=True) for part in KEYS)),
        )
        conditions.append(In(said.expr, Subquery(Query(wanted))))
    if not columns:
        return None
    where = conjunction(written.where, *conditions)
    return Traced(query=replace(parsed, body=replace(written, where=where), order_by=(), text=""), columns=columns)


def tables_by(tables: Iterable[Table]) -> dict[str, Table]:
    """Return tables by their qualified names."""
    return {table.qualified: table for table in tables}


def _named(table: Table, lower: str) -> str:
    return next(column.name for column in table.columns if column.name.lower() == lower)


def _plain(parsed: Query, bound: Bound) -> bool:
    """Return whether a query makes rows of single rows or groups, each by itself."""
    body = parsed.body
    if (
        parsed.ctes
        or parsed.offset is not None
        or bound.volatile
        or not isinstance(body, Select)
        or body.top is not None
        or body.windows
    ):
        return False
    return not any(isinstance(node, Subquery | Exists | Derived | Window) for node in walk(body))


def _from(spec: TableSpec, column: str) -> str:
    """Return the column of the query that a column is, unchanged; else nothing."""
    said = next((setting for setting in spec.settings if setting.column == column), None)
    if said is None:
        return (
            column
            if not any(setting.column == column for granule in spec.granules for setting in granule.settings)
            else ""
        )
    text = str(said.value).strip()
    return text.strip('"') if said.how == "map" and text.strip('"').isidentifier() and text not in spec.let else ""


def _tables(node: object, optional: bool = False) -> list[tuple[int, str, bool]] | None:
    """List the tables of FROM: number, name, whether their columns may be null because there is no row; None if there is anything else."""
    if isinstance(node, TableRef):
        return None if node.table is None or node.cte else [(node.number, node.table.qualified, optional)]
    if isinstance(node, Join) and node.kind in {"INNER", "LEFT", "CROSS"} and not node.natural and not node.using:
        left, right = _tables(node.left, optional), _tables(node.right, optional or node.kind == "LEFT")
        return None if left is None or right is None else left + right
    return None


def _place(node: object) -> Place | None:
    return (node.source, node.column.name.lower()) if isinstance(node, ColumnRef) and node.column is not None else None


def _ties(body: Select) -> tuple[dict[Place, set[Place]], list[tuple[Place, Place]]]:
    """Find which columns are equal to each other in every row; and, for LEFT JOIN, which are equal where there is a row on the right."""
    always: dict[Place, set[Place]] = {}
    sometimes: list[tuple[Place, Place]] = []
    waiting: list[object] = [body.source]
    conditions = [body.where]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Join):
            waiting += [node.left, node.right]
            if node.kind != "LEFT":
                conditions.append(node.on)
                continue
            right = {number for number, _, _ in _tables(node.right) or ()}
            for one, two in _equal(node.on):
                if (one[0] in right) != (two[0] in right):
                    sometimes.append((one, two) if one[0] in right else (two, one))
    for condition in conditions:
        for one, two in _equal(condition):
            both = always.get(one, {one}) | always.get(two, {two})
            for place in both:
                always[place] = both
    return always, sometimes


def _tied(place: Place, always: dict[Place, set[Place]], sometimes: list[tuple[Place, Place]]) -> set[Place]:
    """Return the columns whose values name the rows of the answer that a change touches."""
    found = set(always.get(place, {place}))
    for right, left in sometimes:
        if left in always.get(place, {place}):
            found |= always.get(right, {right})
    return found


def _equal(condition: Expr | None) -> Iterator[tuple[Place, Place]]:
    """Yield the equalities of columns that a condition demands."""
    for node in conjuncts(condition):
        if isinstance(node, Compare) and node.op == "=":
            one, two = _place(node.left), _place(node.right)
            if one is not None and two is not None:
                yield one, two
