"""Find the keys of a derived table that a change of its tables may touch, and write the query for these keys.

A key can be traced if three things hold. The query is one SELECT over tables that JOIN or LEFT JOIN joins. A column of
the key is a column of one of these tables, unchanged (and in GROUP BY, if there is one). Each table that changed has
that column, or a column that an equality in a condition ties to it. All other queries are computed as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from hven import adql
from hven.adql.binder import bind_query
from hven.adql.scope import StaticTableCatalogue
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
    join_conditions_with_and,
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
MAX_TRACED_KEYS = 100_000  # with more touched keys, the whole query is computed

Place = tuple[int, str]  # number of a table in FROM, name of its column in lower case


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRestrictedQuery:
    """A query that computes the rows of some keys.

    Attributes
    ----------
    query
        The query, restricted to the keys in the table `KEYS_TABLE`; it may give rows of other keys too.
    input_columns
        Column of the primary key -> input table -> its column.
    """

    query: Query
    input_columns: Mapping[str, Mapping[str, str]]

    def find_touched_keys(self, target: Table, changes: Mapping[str, RowDifferences]) -> pa.Table | None:
        """Return the keys that changed rows of the inputs touch; None if they are too many."""
        key_columns = list(self.input_columns)
        schema = to_nullable_schema(pa.schema([target.arrow_schema.field(name) for name in key_columns]))
        key_tables = []
        for name, change in changes.items():
            for rows in (change.before, change.after):
                parts = [rows.column(column_by_table[name]) for column_by_table in self.input_columns.values()]
                key_tables.append(pa.table(parts, names=key_columns).cast(schema))
        all_keys = pa.concat_tables(key_tables, promote_options="none")
        distinct_keys = all_keys.group_by(schema.names).aggregate([]).drop_null()
        if distinct_keys.num_rows <= MAX_TRACED_KEYS:
            return distinct_keys
        return None


# each form of query that cannot be traced has its own return
def trace_key_to_inputs(  # noqa: PLR0911
    spec: TableSpec, target: Table, tables: Iterable[Table], changed_inputs: set[str]
) -> KeyRestrictedQuery | None:
    """Trace the key of a table to the tables that its query reads.

    Parameters
    ----------
    spec
        The table and the query that makes it.
    target
        The table with its types and its key.
    tables
        The tables that the query may name.
    changed_inputs
        Qualified names of the inputs that changed.

    Returns
    -------
    traced_query
        The query for some keys; None if the key cannot be traced.
    """
    if len(spec.sources) != 1 or spec.group_by or not target.primary:
        return None
    try:
        parsed = adql.parse_query(str(spec.sources[0].options.get("adql")))
        bound = bind_query(parsed, StaticTableCatalogue(tables))
    except HvenError:
        return None  # the source itself reports the error
    body = bound.query.body
    written_body = parsed.body
    if (
        not isinstance(body, Select)
        or not isinstance(written_body, Select)
        or not _is_computed_row_by_row(parsed, bound)
    ):
        return None
    from_tables = _list_from_clause_tables(body.source)
    if from_tables is None or len(written_body.items) != len(body.items) or len(body.items) != len(bound.columns):
        return None
    names = {number: table for number, table, _ in from_tables}
    input_names = list(names.values())
    if any(input_names.count(name) != 1 for name in changed_inputs):  # an unknown table, or a join with itself
        return None
    tables_by_name = map_tables_by_name(tables)
    always_equal, equal_if_joined = _find_equal_columns(body)
    non_null_tables = {number for number, _, is_optional in from_tables if not is_optional}
    grouping_columns = {_get_source_and_column_name(item) for item in body.group_by}
    item_numbers = {column.name.lower(): number for number, column in enumerate(bound.columns)}
    input_columns: dict[str, dict[str, str]] = {}
    conditions: list[Expr] = []
    for name in target.primary:
        item_number = item_numbers.get(_find_query_column(spec, name).lower())
        if item_number is None:
            continue
        item, written_item = body.items[item_number], written_body.items[item_number]
        if not isinstance(item, SelectItem) or not isinstance(written_item, SelectItem):
            continue
        place = _get_source_and_column_name(item.expr)
        if place is None or place[0] not in non_null_tables or (body.group_by and place not in grouping_columns):
            continue
        tied_places = [*sorted(_find_identifying_columns(place, always_equal, equal_if_joined)), place]
        tied_columns = {names[number]: column for number, column in tied_places}
        if not changed_inputs <= tied_columns.keys():
            continue
        input_columns[name] = {
            table: _find_column_name(tables_by_name[table], tied_columns[table]) for table in changed_inputs
        }
        conditions.append(InPredicate(written_item.expr, _build_key_subquery(name)))
    if not input_columns:
        return None
    where = join_conditions_with_and(written_body.where, *conditions)
    query = replace(parsed, body=replace(written_body, where=where), order_by=(), text="")
    return KeyRestrictedQuery(query=query, input_columns=input_columns)


def _build_key_subquery(column: str) -> Subquery:
    """Return the query for one column of the table of keys."""
    keys_table = TableRef(tuple(Ident(part, quoted=True) for part in KEYS_TABLE))
    select_item = SelectItem(build_column_ref(column))
    return Subquery(Query(Select((select_item,), keys_table)))


def map_tables_by_name(tables: Iterable[Table]) -> dict[str, Table]:
    """Return tables by their qualified names."""
    return {table.qualified_name: table for table in tables}


def _find_column_name(table: Table, lower_case_name: str) -> str:
    return next(column.name for column in table.columns if column.name.lower() == lower_case_name)


def _is_computed_row_by_row(parsed: Query, bound: BoundQuery) -> bool:
    """Return whether each row of the answer depends only on its own rows or its own group."""
    body = parsed.body
    if not isinstance(body, Select) or parsed.ctes or parsed.offset is not None or bound.volatile:
        return False
    if body.top is not None or body.windows:
        return False
    dependent_nodes = Subquery | ExistsPredicate | DerivedTable | WindowExpression
    return not any(isinstance(node, dependent_nodes) for node in walk_tree(body))


def _find_query_column(spec: TableSpec, column: str) -> str:
    """Return the column of the query that a column of the table copies; empty if there is none."""
    setting_of_column = next((setting for setting in spec.settings if setting.column == column), None)
    if setting_of_column is None:
        granule_columns = {setting.column for granule in spec.granules for setting in granule.settings}
        if column in granule_columns:
            return ""
        return column
    text = str(setting_of_column.value).strip()
    name = text.strip('"')
    if setting_of_column.how == "map" and name.isidentifier() and text not in spec.let:
        return name
    return ""


def _list_from_clause_tables(node: object, is_optional: bool = False) -> list[tuple[int, str, bool]] | None:
    """List the tables of FROM: number, name, and whether an outer join may make their columns null.

    None if FROM has anything else.
    """
    if isinstance(node, TableRef):
        if node.table is None or node.cte:
            return None
        return [(node.number, node.table.qualified_name, is_optional)]
    if isinstance(node, Join) and node.kind in {"INNER", "LEFT", "CROSS"} and not node.natural and not node.using:
        left_tables = _list_from_clause_tables(node.left, is_optional)
        right_tables = _list_from_clause_tables(node.right, is_optional or node.kind == "LEFT")
        if left_tables is None or right_tables is None:
            return None
        return left_tables + right_tables
    return None


def _get_source_and_column_name(node: object) -> Place | None:
    if isinstance(node, ColumnRef) and node.column is not None:
        return (node.source, node.column.name.lower())
    return None


def _find_equal_columns(body: Select) -> tuple[dict[Place, set[Place]], list[tuple[Place, Place]]]:
    """Find the columns that are equal to each other.

    Returns
    -------
    always_equal, equal_if_joined
        For each column, those that equal it in every row; and, for LEFT JOIN, pairs of a right and a left column that
        are equal in rows with a right side.
    """
    always_equal: dict[Place, set[Place]] = {}
    equal_if_joined: list[tuple[Place, Place]] = []
    pending_nodes: list[object] = [body.source]
    conditions = [body.where]
    while pending_nodes:
        node = pending_nodes.pop()
        if not isinstance(node, Join):
            continue
        pending_nodes += [node.left, node.right]
        if node.kind != "LEFT":
            conditions.append(node.on)
            continue
        right_tables = {number for number, _, _ in _list_from_clause_tables(node.right) or ()}
        for first_column, second_column in _iterate_column_equalities(node.on):
            is_first_right = first_column[0] in right_tables
            is_second_right = second_column[0] in right_tables
            if is_first_right and not is_second_right:
                equal_if_joined.append((first_column, second_column))
            elif is_second_right and not is_first_right:
                equal_if_joined.append((second_column, first_column))
    for condition in conditions:
        for first_column, second_column in _iterate_column_equalities(condition):
            equal_to_first = always_equal.get(first_column, {first_column})
            equal_to_second = always_equal.get(second_column, {second_column})
            equal_columns = equal_to_first | equal_to_second
            for place in equal_columns:
                always_equal[place] = equal_columns
    return always_equal, equal_if_joined


def _find_identifying_columns(
    place: Place, always_equal: dict[Place, set[Place]], equal_if_joined: list[tuple[Place, Place]]
) -> set[Place]:
    """Return the columns whose values identify the rows of the answer that a change touches."""
    equal_columns = always_equal.get(place, {place})
    tied_columns = set(equal_columns)
    for right_column, left_column in equal_if_joined:
        if left_column in equal_columns:
            tied_columns |= always_equal.get(right_column, {right_column})
    return tied_columns


def _iterate_column_equalities(condition: Expr | None) -> Iterator[tuple[Place, Place]]:
    """Yield the pairs of columns that a condition requires to be equal."""
    for node in split_conjuncts(condition):
        if isinstance(node, Comparison) and node.op == "=":
            first_column = _get_source_and_column_name(node.left)
            second_column = _get_source_and_column_name(node.right)
            if first_column is not None and second_column is not None:
                yield first_column, second_column
