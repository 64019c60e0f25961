"""Find the keys of a derived table that a change of its tables may touch, and write the query for these keys.

A key can be traced if the query is one SELECT over tables joined by JOIN or LEFT JOIN, a column of the key is a column
of one of them as it stands (in GROUP BY, if there is one), and each table that changed has that column, or one that a
condition of equality ties to it. All other queries are computed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from hven import adql
from hven.adql.binder import bind_query
from hven.adql.scope import StaticCatalogue
from hven.adql.syntax_tree import (
    ColumnRef,
    Comparison,
    DerivedTable,
    ExistsPredicate,
    Ident,
    InPredicate,
    Join,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    WindowExpression,
    build_column_ref,
    join_conditions,
    split_conjuncts,
    walk_tree,
)
from hven.ingest._key_lookup import to_nullable_schema
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.ingest.sync._row_differences import RowDifferences
    from hven.model.resource import TableSpec
    from hven.model.table import Table

KEYS_TABLE = ("TAP_UPLOAD", "hven_keys")
MAX_TRACED_KEYS = 100_000  # keys

Place = tuple[int, str]  # number of a table in FROM, name of its column in lower case


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedQuery:
    """A query for some keys.

    Attributes
    ----------
    query
        The query, narrowed to keys that stand in the table `KEYS_TABLE`; it may give some more.
    input_columns
        Column of the primary key -> input table -> its column.
    """

    query: Query
    input_columns: Mapping[str, Mapping[str, str]]

    def find_touched_keys(self, target: Table, changes: Mapping[str, RowDifferences]) -> pa.Table | None:
        """Return the keys that changed rows of the inputs touch; None if they are too many."""
        schema = to_nullable_schema(pa.schema([target.arrow_schema.field(name) for name in self.input_columns]))
        key_tables = []
        for name, change in changes.items():
            for rows in (change.before, change.after):
                parts = [rows.column(column_by_table[name]) for column_by_table in self.input_columns.values()]
                key_tables.append(pa.table(parts, names=list(self.input_columns)).cast(schema))
        keys = pa.concat_tables(key_tables, promote_options="none").group_by(schema.names).aggregate([]).drop_null()
        return keys if keys.num_rows <= MAX_TRACED_KEYS else None


# each form of query that cannot be traced has its return
def trace_key(  # noqa: PLR0911, PLR0912
    spec: TableSpec, target: Table, tables: Iterable[Table], changed_inputs: set[str]
) -> TracedQuery | None:
    """Follow the key of a table to the tables that its query reads.

    Parameters
    ----------
    tables
        What the query may name.
    changed_inputs
        Qualified names of the inputs that changed.
    """
    if len(spec.sources) != 1 or spec.group_by or not target.primary:
        return None
    try:
        parsed = adql.parse_query(str(spec.sources[0].options.get("adql")))
        bound = bind_query(parsed, StaticCatalogue(tables))
    except HvenError:
        return None  # the source itself tells
    body = bound.query.body
    written_body = parsed.body
    if not isinstance(body, Select) or not isinstance(written_body, Select) or not _is_row_independent(parsed, bound):
        return None
    from_tables = _list_from_tables(body.source)
    if from_tables is None or len(written_body.items) != len(body.items) or len(body.items) != len(bound.columns):
        return None
    names = {number: table for number, table, _ in from_tables}
    if not changed_inputs <= set(names.values()) or any(
        list(names.values()).count(name) > 1 for name in changed_inputs
    ):
        return None
    column_ties = _find_column_ties(body)
    non_null_tables = {number for number, _, nullable_ in from_tables if not nullable_}
    grouping_columns = {_locate_column(item) for item in body.group_by}
    outputs = {column.name.lower(): number for number, column in enumerate(bound.columns)}
    columns: dict[str, dict[str, str]] = {}
    conditions: list[Expr] = []
    for name in target.primary:
        query_column = _find_query_column(spec, name)
        at = outputs.get(query_column.lower())
        if at is None:
            item, written_item = (None, None)
        else:
            item, written_item = (body.items[at], written_body.items[at])
        if isinstance(item, SelectItem):
            place = _locate_column(item.expr)
        else:
            place = None
        if (
            place is None
            or place[0] not in non_null_tables
            or not isinstance(written_item, SelectItem)
            or (body.group_by and place not in grouping_columns)
        ):
            continue
        tied_columns = {
            names[number]: column for number, column in (*sorted(_find_tied_columns(place, *column_ties)), place)
        }
        if not changed_inputs <= tied_columns.keys():
            continue
        columns[name] = {
            table: _find_exact_name(index_tables(tables)[table], tied_columns[table]) for table in changed_inputs
        }
        key_query = Select(
            (SelectItem(build_column_ref(name)),),
            TableRef(tuple(Ident(part, quoted=True) for part in KEYS_TABLE)),
        )
        conditions.append(InPredicate(written_item.expr, Subquery(Query(key_query))))
    if not columns:
        return None
    where = join_conditions(written_body.where, *conditions)
    query = replace(parsed, body=replace(written_body, where=where), order_by=(), text="")
    return TracedQuery(query=query, input_columns=columns)


def index_tables(tables: Iterable[Table]) -> dict[str, Table]:
    """Return tables by their qualified names."""
    return {table.qualified_name: table for table in tables}


def _find_exact_name(table: Table, lower_case_name: str) -> str:
    return next(column.name for column in table.columns if column.name.lower() == lower_case_name)


def _is_row_independent(parsed: Query, bound: BoundQuery) -> bool:
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
    return not any(
        isinstance(node, Subquery | ExistsPredicate | DerivedTable | WindowExpression) for node in walk_tree(body)
    )


def _find_query_column(spec: TableSpec, column: str) -> str:
    """Return the column of the query that a column is, unchanged; else nothing."""
    setting_of_column = next((setting for setting in spec.settings if setting.column == column), None)
    if setting_of_column is None:
        if not any(setting.column == column for granule in spec.granules for setting in granule.settings):
            return column
        return ""
    text = str(setting_of_column.value).strip()
    if setting_of_column.how == "map" and text.strip('"').isidentifier() and text not in spec.let:
        return text.strip('"')
    return ""


def _list_from_tables(node: object, is_optional: bool = False) -> list[tuple[int, str, bool]] | None:
    """List the tables of FROM: number, name, whether their columns may be null because there is no row.

    None if there is anything else.
    """
    if isinstance(node, TableRef):
        if node.table is None or node.cte:
            return None
        return [(node.number, node.table.qualified_name, is_optional)]
    if isinstance(node, Join) and node.kind in {"INNER", "LEFT", "CROSS"} and not node.natural and not node.using:
        left_tables = _list_from_tables(node.left, is_optional)
        right_tables = _list_from_tables(node.right, is_optional or node.kind == "LEFT")
        if left_tables is None or right_tables is None:
            return None
        return left_tables + right_tables
    return None


def _locate_column(node: object) -> Place | None:
    if isinstance(node, ColumnRef) and node.column is not None:
        return (node.source, node.column.name.lower())
    return None


def _find_column_ties(body: Select) -> tuple[dict[Place, set[Place]], list[tuple[Place, Place]]]:
    """Find which columns are equal to each other in every row.

    And, for LEFT JOIN, which are equal where there is a row on the right.
    """
    always_equal: dict[Place, set[Place]] = {}
    equal_if_joined: list[tuple[Place, Place]] = []
    pending_nodes: list[object] = [body.source]
    conditions = [body.where]
    while pending_nodes:
        node = pending_nodes.pop()
        if isinstance(node, Join):
            pending_nodes += [node.left, node.right]
            if node.kind != "LEFT":
                conditions.append(node.on)
                continue
            right_tables = {number for number, _, _ in _list_from_tables(node.right) or ()}
            for first_column, second_column in _iterate_equalities(node.on):
                if (first_column[0] in right_tables) != (second_column[0] in right_tables):
                    equal_if_joined.append(
                        (first_column, second_column)
                        if first_column[0] in right_tables
                        else (second_column, first_column)
                    )
    for condition in conditions:
        for first_column, second_column in _iterate_equalities(condition):
            equal_columns = always_equal.get(first_column, {first_column}) | always_equal.get(
                second_column, {second_column}
            )
            for place in equal_columns:
                always_equal[place] = equal_columns
    return always_equal, equal_if_joined


def _find_tied_columns(
    place: Place, always_equal: dict[Place, set[Place]], equal_if_joined: list[tuple[Place, Place]]
) -> set[Place]:
    """Return the columns whose values name the rows of the answer that a change touches."""
    tied_columns = set(always_equal.get(place, {place}))
    for right_column, left_column in equal_if_joined:
        if left_column in always_equal.get(place, {place}):
            tied_columns |= always_equal.get(right_column, {right_column})
    return tied_columns


def _iterate_equalities(condition: Expr | None) -> Iterator[tuple[Place, Place]]:
    """Yield the equalities of columns that a condition demands."""
    for node in split_conjuncts(condition):
        if isinstance(node, Comparison) and node.op == "=":
            first_column = _locate_column(node.left)
            second_column = _locate_column(node.right)
            if first_column is not None and second_column is not None:
                yield first_column, second_column
