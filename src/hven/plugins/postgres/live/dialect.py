"""SQL for tables that are read in place, in databases without the functions of Hven.

Three things differ from tables of Hven. Calls of its functions are replaced by what they compute; where that is
impossible, the embedded engine computes. Text keeps the collation of its column in comparisons by ``=``, so that
indexes of the source serve them, and is ordered by code points as everywhere. And a plain comparison reads the source's
own column, so that its index serves it, even where a query sees the value in another form (no NaN, times in UTC).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from hven.adql import value_kinds
from hven.adql.sql_writer import SqlWriter
from hven.adql.syntax_tree import (
    BetweenPredicate,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    OrderItem,
    Query,
    Select,
    SelectItem,
    TableRef,
    walk_tree,
)
from hven.adql.value_kinds import require_meta
from hven.engines.api.query_analysis import compile_constant
from hven.model.sky import Polygon, sphere
from hven.plugins.postgres.engine.dialect import PostgresDialect, UnsupportedByPostgresError
from hven.plugins.postgres.engine.functions import FUNCTION_DEFINITIONS
from hven.plugins.postgres.engine.position_search import (
    MAX_RADIUS_DEGREES,
    PGSPHERE,
    Q3C,
    PositionConditions,
    ShapeSearch,
    TableReferenceWriter,
    write_pgsphere_condition,
)
from hven.plugins.postgres.engine.schema_installation import quote_identifier
from hven.plugins.postgres.live.arithmetic import (
    EXPRESSION_DEFINITIONS,
    write_julian_timestamp_sql,
    write_unix_timestamp_sql,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from hven.adql.syntax_tree import BoundQuery, FromItem
    from hven.engines import LiveRelation
    from hven.engines.api.query_analysis import Constant
    from hven.plugins.postgres.engine.position_search import SearchDialect

    Values = Sequence[float | str | None]

RAW_COLUMN_PREFIX = "hven:raw:"  # begins the name of the source's own column, beside the published value
MAX_SQL_CHARACTERS = 200_000  # the embedded engine computes expressions that would become longer
LATITUDE_BAND = "band"  # finds positions by latitude alone
_ORDER_OPERATORS = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class ComparableRawColumns:
    """The columns of a table that have the source's own column beside them.

    Attributes
    ----------
    guards
        Column -> condition that must stand beside a comparison, with ``{0}`` for the raw column; empty if none.
    position
        The extension that finds positions: ``q3c`` or ``pgsphere``; empty if none.
    """

    guards: Mapping[str, str]
    position: str = ""


# --- inlining of functions -------------------------------------------------------------------------------------

_FUNCTION_DEFINITION_PATTERN = re.compile(
    r"FUNCTION (hven_\w+)\((.*?)\) RETURNS .*? LANGUAGE sql.*?AS \$\$\s*SELECT (.*?)\s*\$\$", re.DOTALL
)
_FUNCTION_CALL_PATTERN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\bhven_\w+(?=\()""")
_TOKEN_PATTERN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|[^\w'"]+""")


@lru_cache(maxsize=1)
def _load_function_bodies() -> dict[str, tuple[tuple[tuple[str, str], ...], str]]:
    """Return name -> parameters (name and type) and body of each function that is one expression."""
    bodies = {}
    for definition in (*FUNCTION_DEFINITIONS, *EXPRESSION_DEFINITIONS):
        match = _FUNCTION_DEFINITION_PATTERN.search(definition)
        if match is None or " FROM " in match[3]:
            continue
        name, parameter_list, body = match.groups()
        parameters = tuple(tuple(part.strip().split(" ", 1)) for part in parameter_list.split(","))
        bodies[name] = (parameters, " ".join(body.split()))
    return bodies


def inline_hven_functions(sql: str) -> str:
    """Replace calls of Hven's functions by what they compute.

    Raises
    ------
    UnsupportedByPostgresError
        A function is not one expression of SQL, or the text becomes too long.
    """
    parts: list[str] = []
    written_end = 0
    for match in _FUNCTION_CALL_PATTERN.finditer(sql):
        function_name = match[0]
        if match.start() < written_end or not function_name.startswith("hven_"):
            continue
        arguments, call_end = _split_call_arguments(sql, match.end())
        call_sql = _inline_function_call(function_name, arguments)
        parts += [sql[written_end : match.start()], "(", call_sql, ")"]
        written_end = call_end
        if sum(map(len, parts)) > MAX_SQL_CHARACTERS:
            raise _build_unsupported_error(function_name)
    if parts:
        return "".join([*parts, sql[written_end:]])
    return sql


def _inline_function_call(function_name: str, arguments: Sequence[str]) -> str:
    """Return the expression that a call computes."""
    definition = _load_function_bodies().get(function_name)
    if definition is None:
        raise _build_unsupported_error(function_name)
    parameters, body = definition
    # An argument may stand several times in the body, and random() has another value each time.
    if len(arguments) != len(parameters) or any("random()" in argument for argument in arguments):
        raise _build_unsupported_error(function_name)
    values = {}
    for (name, type_name), argument in zip(parameters, arguments, strict=True):
        if function_name == "hven_number":  # it has one definition for each type of numbers
            values[name] = f"({argument})"
        else:
            values[name] = f"CAST({argument} AS {type_name})"
    expression = "".join(values.get(token, token) for token in _TOKEN_PATTERN.findall(body))
    return inline_hven_functions(expression)


def _build_unsupported_error(function_name: str) -> UnsupportedByPostgresError:
    return UnsupportedByPostgresError(function_name.removeprefix("hven_").upper())


def _split_call_arguments(sql: str, parenthesis_offset: int) -> tuple[list[str], int]:
    """Split the arguments of a call that opens at `parenthesis_offset`; return them and the end of the call."""
    depth = 0
    begin = parenthesis_offset + 1
    arguments = []
    offset = parenthesis_offset
    while offset < len(sql):
        character = sql[offset]
        if character in "'\"":
            offset = sql.index(character, offset + 1)
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
            if not depth:
                arguments.append(sql[begin:offset].strip())
                return arguments, offset + 1
        elif character == "," and depth == 1:
            arguments.append(sql[begin:offset].strip())
            begin = offset + 1
        offset += 1
    raise UnsupportedByPostgresError("a call")


# --- rows of tables --------------------------------------------------------------------------------------------


def write_live_rows_sql(live_table: LiveRelation, needed_columns: AbstractSet[str] | None = None) -> str:
    """Write the rows of a table that is read in place: its mapping, applied to its columns.

    Parameters
    ----------
    live_table
        The table.
    needed_columns
        The columns that the query reads; None: all. The SQL asks for no other column, so that the query succeeds even
        if the source has dropped one of the others.
    """
    source_columns = None
    if needed_columns is not None:
        source_columns = _list_source_columns(live_table, needed_columns)
    values = []
    for column in live_table.columns:
        if source_columns is not None and column.name not in source_columns:
            continue
        source_column = f"s.{quote_identifier(column.name)}"
        values.append(f"{column.value.replace('{0}', source_column)} AS {quote_identifier(column.name)}")
        if column.is_comparable:
            values.append(f"{source_column} AS {quote_identifier(RAW_COLUMN_PREFIX + column.name)}")
    source = f"(SELECT {', '.join(values)} FROM {live_table.table} AS s)"
    if not live_table.mapping_queries:
        return source
    selects = [
        _write_mapping_query(live_table, bound_query, source, needed_columns)
        for bound_query in live_table.mapping_queries
    ]
    return f"({' UNION ALL '.join(selects)})"


def _write_mapping_query(
    live_table: LiveRelation, bound_query: BoundQuery, source: str, needed_columns: AbstractSet[str] | None
) -> str:
    """Write one query of the mapping, with the raw columns beside the published ones."""
    body = bound_query.query.body
    if not isinstance(body, Select) or not isinstance(body.source, TableRef):
        raise UnsupportedByPostgresError("a lookup in a file")
    writer = LiveSqlWriter(_create_mapping_dialect(), {"source": source}, bound_query.free_slots)
    needed_body = replace(body, items=_select_needed_items(body, needed_columns))
    select_sql = inline_hven_functions(writer.write_query(replace(bound_query.query, body=needed_body)))
    raw_names = {column.name for column in live_table.columns if column.is_comparable}
    raw_items = ""
    for target, source_column in sorted(live_table.copied_columns.items()):
        is_needed = needed_columns is None or target in needed_columns
        if is_needed and source_column in raw_names:
            raw_column = f"t{body.source.number}.{quote_identifier(RAW_COLUMN_PREFIX + source_column)}"
            raw_items += f"{raw_column} AS {quote_identifier(RAW_COLUMN_PREFIX + target)}, "
    return select_sql.replace("SELECT ", f"SELECT {raw_items}", 1)


def _create_mapping_dialect() -> LivePostgresDialect:
    dialect = LivePostgresDialect(LiveTableWriter(PositionConditions(), {}, {}, ""))
    dialect.max_text_bytes = 0
    return dialect


def _select_needed_items(body: Select, needed_columns: AbstractSet[str] | None) -> tuple[SelectItem, ...]:
    """Return the items of a mapping that are needed."""
    items = []
    for item in body.items:
        if not isinstance(item, SelectItem) or item.column is None:
            continue
        if needed_columns is None or item.column.name in needed_columns:
            items.append(item)
    return tuple(items)


def _list_source_columns(live_table: LiveRelation, needed_columns: AbstractSet[str]) -> set[str]:
    """Return the columns of the source that published columns, or the condition on its rows, are computed from."""
    if not live_table.mapping_queries:
        return set(needed_columns)
    source_columns = {live_table.copied_columns[name] for name in needed_columns if name in live_table.copied_columns}
    for bound_query in live_table.mapping_queries:
        body = bound_query.query.body
        if not isinstance(body, Select):
            continue
        expressions: list[Expr] = [item.expr for item in _select_needed_items(body, needed_columns)]
        if body.where is not None:
            expressions.append(body.where)
        for node in walk_tree(tuple(expressions)):
            if isinstance(node, ColumnRef) and node.column is not None:
                source_columns.add(node.column.name)
    return source_columns


def find_unsupported_function(expression: Expr) -> str:
    """Name the function of a mapping that cannot be written for a database without Hven's functions; empty if none."""
    reason = _find_unsupported_reason(expression)
    if not reason:
        return ""
    # the name that the curator wrote, and of nested functions the inner one
    unsupported_functions = [
        node for node in walk_tree(expression) if isinstance(node, FunctionCall) and _find_unsupported_reason(node)
    ]
    if unsupported_functions:
        return unsupported_functions[-1].name
    return reason


def _find_unsupported_reason(expression: Expr) -> str:
    writer = LiveSqlWriter(_create_mapping_dialect(), {}, frozenset())
    try:
        inline_hven_functions(writer.write_expression(expression))
    except UnsupportedByPostgresError as reason:
        return str(reason)
    return ""


def find_comparable_raw_columns(live_table: LiveRelation) -> ComparableRawColumns:
    """Return the published columns that have the source's own column beside them."""
    source_guards = {column.name: column.guard_condition for column in live_table.columns if column.is_comparable}
    if not live_table.mapping_queries:
        return ComparableRawColumns(source_guards, live_table.position)
    guards = {
        target: source_guards[source_column]
        for target, source_column in live_table.copied_columns.items()
        if source_column in source_guards
    }
    return ComparableRawColumns(guards, live_table.position)


# --- SQL of queries --------------------------------------------------------------------------------------------


class LivePositionConditions(PositionConditions):
    """The position conditions of a query, and its comparisons that may be FALSE in place of NULL."""

    def _mark_false_like_null_conditions(self, condition: Expr) -> None:
        super()._mark_false_like_null_conditions(condition)
        if isinstance(condition, Conjunction | Disjunction):
            return
        if isinstance(condition, BetweenPredicate) and not condition.negated:
            self.false_like_null.add(id(condition))


class BoundingCircleSearch(ShapeSearch):
    """A search for positions in the circle around a polygon."""

    def compute_search_parameters(self, literal_values: Values) -> tuple[str, ...] | None:
        """Return longitude, latitude and radius; None if the shape is no polygon, or too wide for an index."""
        if self.required_one is not None and self.required_one(literal_values) != 1:
            return None
        shape = self.shape.build_shape(literal_values)
        if not isinstance(shape, Polygon):
            return None
        radius = float(shape.ring.max_vertex_distances[0])
        if radius > MAX_RADIUS_DEGREES:
            return None
        lon, lat = (float(component[0]) for component in sphere.to_lon_lat(shape.ring.mean_directions[:1]))
        return repr(lon), repr(lat), repr(radius + 1e-9)


class LiveTableWriter(TableReferenceWriter):
    """A writer of conditions that the indexes of the source serve.

    Parameters
    ----------
    position_conditions
        Position conditions of the query.
    table_sql
        Qualified table name -> SQL of its rows.
    raw_columns
        Qualified table name -> its raw columns.
    position_method
        Empty: no index is used. Otherwise each table has its own method.
    accessible_names
        Qualified names of tables whose rows the reader may see all.
    is_fenced
        True if row filters must come before all conditions of the query.
    """

    def __init__(
        self,
        position_conditions: PositionConditions,
        table_sql: Mapping[str, str],
        raw_columns: Mapping[str, ComparableRawColumns],
        position_method: str,
        accessible_names: Collection[str] = (),
        *,
        is_fenced: bool = False,
    ) -> None:
        super().__init__(
            position_conditions, table_sql, raw_columns, position_method, accessible_names, is_fenced=is_fenced
        )
        self._raw_columns = raw_columns

    # The signature is that of the base class.
    def write_table(
        self,
        dialect: SearchDialect,  # noqa: ARG002
        writer: SqlWriter,  # noqa: ARG002
        node: TableRef,  # noqa: ARG002
        table_sql: str,
    ) -> str:
        """Write a table reference unchanged: the source has no HEALPix cells."""
        return table_sql

    def write_guarded_raw_column(self, node: Expr) -> tuple[str, str] | None:
        """Return the source's own column for a published one, and the condition beside it; None if there is none."""
        if not self._position_method or not isinstance(node, ColumnRef) or node.column is None:
            return None
        table_ref = self._position_conditions.table_refs.get(node.source)
        if table_ref is None or table_ref.table is None or table_ref.cte:
            return None
        raw_columns = self._raw_columns.get(table_ref.table.qualified_name)
        if raw_columns is None or node.column.name not in raw_columns.guards:
            return None
        raw_sql = f"t{node.source}.{quote_identifier(RAW_COLUMN_PREFIX + node.column.name)}"
        return raw_sql, raw_columns.guards[node.column.name].replace("{0}", raw_sql)

    def _write_raw_or_published_column(self, writer: SqlWriter, node: Expr) -> str:
        """Write the source's own column if there is one, otherwise the published column."""
        raw_column = self.write_guarded_raw_column(node)
        if raw_column is None:
            return writer.write_expression(node)
        return raw_column[0]

    def can_be_false_for_null(self, node: Expr) -> bool:
        """Return whether FALSE may stand in place of NULL here."""
        return id(node) in self._position_conditions.false_like_null

    def _write_index_lookup(
        self,
        writer: SqlWriter,
        position_expressions: tuple[Expr, Expr],
        circle_sql: tuple[str, str, str],
        *,
        radius_constant: Constant | None,
        centre_expressions: tuple[Expr, ...],
    ) -> str:
        longitude = position_expressions[0]
        if not self._position_method or not isinstance(longitude, ColumnRef):
            return ""
        if not self._is_indexed_position(position_expressions):
            return ""
        lon, lat = (self._write_raw_or_published_column(writer, node) for node in position_expressions)
        table_ref = self._position_conditions.table_refs[longitude.source]
        method = ""
        if table_ref.table is not None:
            method = self._raw_columns[table_ref.table.qualified_name].position
        return self._write_near_condition((lon, lat), circle_sql, method, radius_constant, centre_expressions)

    def write_polygon_circle_conditions(
        self, dialect: SearchDialect, writer: SqlWriter, table_ref: TableRef
    ) -> Iterator[str]:
        """Write that a table's position lies in circles around polygons, as far as an index can tell."""
        table = table_ref.table
        if not self._position_method or table is None or table.position is None:
            return
        if table.qualified_name not in self._raw_columns:
            return
        method = self._raw_columns[table.qualified_name].position
        nodes = [
            ColumnRef(Ident(name), source=table_ref.number, column=table.find_column(name)) for name in table.position
        ]
        lon, lat = (self._write_raw_or_published_column(writer, node) for node in nodes)
        zero_literal = Literal(0.0)
        for shape_search in self._position_conditions.shape_searches.get(table_ref.number, ()):
            if shape_search.shape.kind in {"CIRCLE", "BOX", "MOC"}:
                continue
            circle = BoundingCircleSearch(shape_search.shape, shape_search.required_one)
            lon0, lat0, size = (
                f"{self._write_extra_parameter(dialect, writer, circle, side)}::double precision" for side in range(3)
            )
            yield self._write_near_condition(
                (lon, lat), (lon0, lat0, size), method, lambda _: 0.0, (zero_literal, zero_literal)
            )

    def _write_near_condition(
        self,
        position_sql: tuple[str, str],
        circle_sql: tuple[str, str, str],
        method: str,
        radius: Constant | None,
        centre_expressions: tuple[Expr, ...],
    ) -> str:
        latitude_constant = None
        if centre_expressions:
            latitude_constant = compile_constant(centre_expressions[1], self._position_conditions.free_slots)
        if radius is None or not centre_expressions or method not in {Q3C, PGSPHERE}:
            has_constant_circle = radius is not None and latitude_constant is not None
            return _write_latitude_band_condition(position_sql, circle_sql, has_constant_circle=has_constant_circle)
        self.radius_constants.append(radius)
        (lon, lat), (lon0, lat0, size) = position_sql, circle_sql
        if method == Q3C:
            if latitude_constant is not None:
                return f"q3c_radial_query({lon}, {lat}, {lon0}, {lat0}, {size} + 2e-6)"
            return f"q3c_join({lon0}, {lat0}, {lon}, {lat}, {size} + 2e-6)"
        return write_pgsphere_condition(position_sql, circle_sql, is_valid_latitude=latitude_constant is not None)


def _write_latitude_band_condition(
    position_sql: tuple[str, str], circle_sql: tuple[str, str, str], *, has_constant_circle: bool
) -> str:
    """Write that a position is in the band of latitudes of a circle, and for a constant circle in its longitudes."""
    (lon, lat), (lon0, lat0, size) = position_sql, circle_sql
    band = f"{lat} BETWEEN {lat0} - {size} - 1e-9 AND {lat0} + {size} + 1e-9"
    if not has_constant_circle:
        return band
    # The reach of a circle in longitude is computed once, in subqueries. The conditions are ranges, so that an index of
    # both coordinates leaves few rows to read.
    reach = f"degrees(asin(sin(radians({size} + 1e-100)) / cos(radians({lat0} + 1e-100)))) * 1.000001 + 1e-6"
    reach = f"CASE WHEN {size} BETWEEN 0 AND 89 AND abs({lat0}) + {size} < 89 THEN {reach} ELSE 181 END"
    centre = f"({lon0} - 360 * floor(({lon0} + 1e-100) / 360))"
    spans = [
        f"{lon} BETWEEN (SELECT {centre} + {turn} - {reach}) AND (SELECT {centre} + {turn} + {reach})"
        for turn in (0, -360, 360)
    ]
    longitude_conditions = [*spans, f"{lon} < -180", f"{lon} > 540"]
    return f"{band} AND ({' OR '.join(longitude_conditions)})"


class LivePostgresDialect(PostgresDialect):
    """The dialect for a database that does not belong to Hven."""

    table_writer: LiveTableWriter

    def finish_sql(self, sql: str) -> str:
        """Replace calls of Hven's functions by what they compute."""
        return inline_hven_functions(sql)

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter; text takes the collation of the column that it is compared with."""
        if isinstance(value, str):
            return f"({self.write_parameter(number)}::text)"
        return super().write_placeholder(number, value)

    def quote_string(self, value: str) -> str:
        """Write a string."""
        return super().quote_string(value).replace('::text COLLATE "C")', "::text)")

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Write a comparison, by the source's own column if that is equivalent; the order of text is by code points."""
        sides = (node.left, node.right)
        is_text = all(value_kinds.classify_type(require_meta(side).type) == "text" for side in sides)
        if is_text and node.op in _ORDER_OPERATORS:
            return f'({writer.write_expression(node.left)} COLLATE "C" {node.op} {writer.write_expression(node.right)})'
        if not is_text and node.op != "<>" and self.table_writer.can_be_false_for_null(node):
            raw_columns = [self.table_writer.write_guarded_raw_column(side) for side in sides]
            has_call = any(isinstance(side, FunctionCall) for side in sides)
            if any(raw_columns) and not has_call:
                side_texts = [
                    writer.write_expression(side) if raw is None else raw[0]
                    for raw, side in zip(raw_columns, sides, strict=True)
                ]
                guards = [raw[1] for raw in raw_columns if raw is not None and raw[1]]
                conditions = [f"{side_texts[0]} {node.op} {side_texts[1]}", *guards]
                return f"({' AND '.join(conditions)})"
        return super().write_comparison(writer, node)

    def write_between(self, writer: SqlWriter, node: BetweenPredicate) -> str:
        """Write BETWEEN, as `write_comparison` writes comparisons."""
        if value_kinds.classify_type(require_meta(node.operand).type) == "text":
            operator = "NOT BETWEEN" if node.negated else "BETWEEN"
            return (
                f'({writer.write_expression(node.operand)} COLLATE "C" {operator} {writer.write_expression(node.low)} '
                f"AND {writer.write_expression(node.high)})"
            )
        raw_column = None
        if self.table_writer.can_be_false_for_null(node):
            raw_column = self.table_writer.write_guarded_raw_column(node.operand)
        if raw_column is None:
            return super().write_between(writer, node)
        raw_sql, guard = raw_column
        between_sql = f"{raw_sql} BETWEEN {writer.write_expression(node.low)} AND {writer.write_expression(node.high)}"
        if guard:
            return f"({between_sql} AND {guard})"
        return f"({between_sql})"

    def write_from_unix(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write FROM_UNIX."""
        return write_unix_timestamp_sql(writer.write_expression(node.args[0]))

    def write_from_julian(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write FROM_JD or FROM_MJD of one number; of two numbers the embedded engine keeps more digits."""
        if len(node.args) > 1:
            raise UnsupportedByPostgresError(node.name)
        epoch_days = 2440587.5 if node.name == "FROM_JD" else 40587.0
        return write_julian_timestamp_sql(writer.write_expression(node.args[0]), epoch_days)

    # The database has no aggregate of Hven.
    def write_length_limited_aggregate(self, arguments_sql: str, joined_sql: str) -> str:  # noqa: ARG002
        """Join texts of rows, up to the limit of PostgreSQL."""
        return joined_sql

    def write_min_or_max(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """Write MIN or MAX; for text by code points."""
        if value_kinds.classify_type(require_meta(node.args[0]).type) == "text":
            return f'{node.name.lower()}({writer.write_expression(node.args[0])} COLLATE "C") {over_clause}'.rstrip()
        return super().write_min_or_max(writer, node, over_clause)


class LiveSqlWriter(SqlWriter):
    """Writes queries whose text is ordered by code points, whatever the collation of the database."""

    dialect: LivePostgresDialect

    def write_from_item(self, node: FromItem) -> str:
        """Write an item of FROM.

        If the query may return more rows than asked for, a table is restricted to the circles around the polygons in
        which its positions must lie.
        """
        text = super().write_from_item(node)
        if not self.dialect.allows_extra_rows or not isinstance(node, TableRef):
            return text
        circles = " AND ".join(self.dialect.table_writer.write_polygon_circle_conditions(self.dialect, self, node))
        if circles:
            return f"(SELECT t{node.number}.* FROM {text} WHERE {circles}) AS t{node.number}"
        return text

    def write_query(self, node: Query, types: object = None) -> str:
        """Write a query."""
        if node.order_by and isinstance(node.body, Select):
            order_by = tuple(_order_by_code_points(item, node.body) for item in node.order_by)
            node = replace(node, order_by=order_by)
        return super().write_query(node, types)  # type: ignore[arg-type]


def _order_by_code_points(order_item: OrderItem, select: Select) -> OrderItem:
    expr: Expr = order_item.expr
    if isinstance(expr, Literal):
        if select.distinct or not isinstance(expr.value, int):
            return order_item
        selected_item = select.items[expr.value - 1]
        if not isinstance(selected_item, SelectItem):
            return order_item
        expr = selected_item.expr
    if value_kinds.classify_type(require_meta(expr).type) != "text" or require_meta(expr).constant:
        return order_item
    return replace(order_item, expr=FunctionCall("hven code points", (expr,), meta=expr.meta))


# Functions that only mappings have.
_TIME_FUNCTIONS = {"FROM_UNIX": ".write_from_unix", "FROM_JD": ".write_from_julian", "FROM_MJD": ".write_from_julian"}
LivePostgresDialect.functions = {
    **PostgresDialect.functions,
    **_TIME_FUNCTIONS,
    "hven code points": '({0} COLLATE "C")',
}
