"""SQL text for tables that are read in place, in databases that have none of our functions.

Three things differ from our own tables. Functions of ours are written out, or, where that cannot be, left to the
embedded engine. Text keeps the collation of its column where that changes nothing (``=``), so that the source's indexes
serve it, and is ordered by code points as everywhere. And a plain comparison reads the source's own column, so that its
index serves it, even where a query sees the value in another form (no NaN, times in UTC).
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
from hven.engines._query_analysis.constants import compile_constant
from hven.engines.postgres.dialect import PostgresDialect, UnsupportedByPostgresError
from hven.engines.postgres.functions import FUNCTION_DEFINITIONS
from hven.engines.postgres.live_arithmetic import EXPRESSION_DEFINITIONS, write_julian_time, write_unix_time
from hven.engines.postgres.position_search import (
    MAX_RADIUS_DEGREES,
    PGSPHERE,
    Q3C,
    PositionConditions,
    ShapeSearch,
    TableReferenceWriter,
)
from hven.engines.postgres.schema_installation import quote_identifier
from hven.model.sky import Polygon, sphere

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from hven.adql.syntax_tree import FromItem
    from hven.engines import LiveRelation
    from hven.engines._query_analysis.constants import Constant
    from hven.engines.postgres.position_search import SearchDialect

    Values = Sequence[float | str | None]

RAW_COLUMN_PREFIX = "hven:raw:"  # begins the name of the source's own column, beside the value made of it
MAX_SQL_CHARACTERS = 200_000  # characters; what grows beyond that when it is written out is computed elsewhere
LATITUDE_BAND = "band"  # positions found by latitude alone
_ORDER_OPERATORS = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class RawColumns:
    """Which columns of a table have their source's own beside them.

    Attributes
    ----------
    guards
        Column -> condition that must stand beside a comparison, ``{0}`` being the raw column; empty if none.
    position
        ``q3c``, ``pgsphere``, or empty: what finds positions.
    """

    guards: Mapping[str, str]
    position: str = ""


# --- our functions, written out --------------------------------------------------------------------------------

_FUNCTION_DEFINITION_PATTERN = re.compile(
    r"FUNCTION (hven_\w+)\((.*?)\) RETURNS .*? LANGUAGE sql.*?AS \$\$\s*SELECT (.*?)\s*\$\$", re.DOTALL
)
_FUNCTION_CALL_PATTERN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\bhven_\w+(?=\()""")
_TOKEN_PATTERN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|[^\w'"]+""")


@lru_cache(maxsize=1)
def _load_function_bodies() -> dict[str, tuple[tuple[tuple[str, str], ...], str]]:
    bodies = {}
    for text in (*FUNCTION_DEFINITIONS, *EXPRESSION_DEFINITIONS):
        match = _FUNCTION_DEFINITION_PATTERN.search(text)
        if match is not None and " FROM " not in match[3]:
            arguments = tuple(tuple(part.strip().split(" ", 1)) for part in match[2].split(","))
            bodies[match[1]] = (arguments, " ".join(match[3].split()))
    return bodies


def inline_functions(sql: str) -> str:
    """Replace calls of our functions by what they compute.

    Raises
    ------
    UnsupportedByPostgresError
        One is no expression of SQL, or the text becomes too long.
    """
    parts: list[str] = []
    written_end = 0
    for match in _FUNCTION_CALL_PATTERN.finditer(sql):
        if match.start() < written_end or not match[0].startswith("hven_"):
            continue
        body = _load_function_bodies().get(match[0])
        arguments, end = _split_arguments(sql, match.end())
        if body is None or len(arguments) != len(body[0]) or any("random()" in argument for argument in arguments):
            raise UnsupportedByPostgresError(match[0].removeprefix("hven_").upper())
        values = {
            name: f"({argument})" if match[0] == "hven_number" else f"CAST({argument} AS {kind})"
            for (name, kind), argument in zip(body[0], arguments, strict=True)
        }
        text = "".join(values.get(piece, piece) for piece in _TOKEN_PATTERN.findall(body[1]))
        parts += [sql[written_end : match.start()], "(", inline_functions(text), ")"]
        written_end = end
        if sum(map(len, parts)) > MAX_SQL_CHARACTERS:
            raise UnsupportedByPostgresError(match[0].removeprefix("hven_").upper())
    if parts:
        return "".join([*parts, sql[written_end:]])
    return sql


def _split_arguments(sql: str, parenthesis_offset: int) -> tuple[list[str], int]:
    """Cut the arguments of a call, whose parenthesis opens at `parenthesis_offset`; return also where it is over."""
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


# --- where rows are --------------------------------------------------------------------------------------------


def write_live_rows(live_table: LiveRelation, needed_columns: AbstractSet[str] | None = None) -> str:
    """Write the rows of a table that is read in place: its mapping over its columns.

    Parameters
    ----------
    needed_columns
        The columns that are read: a query asks for nothing else, so that it can be answered even if another column is
        gone. None: all.
    """
    values = []
    if needed_columns is None:
        source_columns = None
    else:
        source_columns = _list_source_columns(live_table, needed_columns)
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
    raw_names = {column.name for column in live_table.columns if column.is_comparable}
    texts = []
    for bound in live_table.mapping_queries:
        body = bound.query.body
        if not isinstance(body, Select) or not isinstance(body.source, TableRef):
            raise UnsupportedByPostgresError("a lookup in a file")
        writer = LiveSqlWriter(_create_mapping_dialect(), {"source": source}, bound.free_slots)
        text = inline_functions(
            writer.write_query(replace(bound.query, body=replace(body, items=_select_items(body, needed_columns))))
        )
        raw_items = [
            (
                f"t{body.source.number}.{quote_identifier(RAW_COLUMN_PREFIX + source_column)} AS "
                f"{quote_identifier(RAW_COLUMN_PREFIX + target)}"
            )
            for target, source_column in sorted(live_table.copied_columns.items())
            if source_column in raw_names and (needed_columns is None or target in needed_columns)
        ]
        texts.append(text.replace("SELECT ", f"SELECT {''.join(f'{raw_item}, ' for raw_item in raw_items)}", 1))
    return f"({' UNION ALL '.join(texts)})"


def _create_mapping_dialect() -> LivePostgresDialect:
    dialect = LivePostgresDialect(LiveTableWriter(PositionConditions(), {}, {}, ""))
    dialect.max_text_bytes = 0
    return dialect


def _select_items(body: Select, needed_columns: AbstractSet[str] | None) -> tuple[SelectItem, ...]:
    """Return the items of a mapping that are read."""
    items = [item for item in body.items if isinstance(item, SelectItem) and item.column is not None]
    return tuple(
        item for item in items if needed_columns is None or item.column is None or item.column.name in needed_columns
    )


def _list_source_columns(live_table: LiveRelation, needed_columns: AbstractSet[str]) -> set[str]:
    """Return the columns of the source that stand behind published ones, or behind the condition on its rows."""
    if not live_table.mapping_queries:
        return set(needed_columns)
    source_columns = {live_table.copied_columns[name] for name in needed_columns if name in live_table.copied_columns}
    for bound in live_table.mapping_queries:
        body = bound.query.body
        if isinstance(body, Select):
            trees = [item.expr for item in _select_items(body, needed_columns)] + (
                [] if body.where is None else [body.where]
            )
            source_columns |= {
                node.column.name
                for tree in trees
                for node in walk_tree(tree)
                if isinstance(node, ColumnRef) and node.column is not None
            }
    return source_columns


def find_unsupported_function(expression: Expr) -> str:
    """Name the function of a mapping's expression that cannot be said in the SQL of a database that is not ours.

    Empty if there is none.
    """
    reason = _find_unsupported(expression)
    if not reason:
        return ""
    # by the name that the curator wrote, and of nested ones the inner one
    unsupported_functions = [
        node for node in walk_tree(expression) if isinstance(node, FunctionCall) and _find_unsupported(node)
    ]
    if unsupported_functions:
        return unsupported_functions[-1].name
    return reason


def _find_unsupported(expression: Expr) -> str:
    writer = LiveSqlWriter(_create_mapping_dialect(), {}, frozenset())
    try:
        inline_functions(writer.write_expression(expression))
    except UnsupportedByPostgresError as reason:
        return str(reason)
    return ""


def find_raw_columns(live_table: LiveRelation) -> RawColumns:
    """Return which published columns have their source's own beside them."""
    guards = {column.name: column.guard_condition for column in live_table.columns if column.is_comparable}
    if live_table.mapping_queries:
        copied_columns = live_table.copied_columns
    else:
        copied_columns = {name: name for name in guards}
    return RawColumns(
        {target: guards[source_column] for target, source_column in copied_columns.items() if source_column in guards},
        live_table.position,
    )


# --- text ------------------------------------------------------------------------------------------------------


class LivePositionConditions(PositionConditions):
    """What a query asks of positions, and which of its comparisons may be FALSE where they are NULL."""

    def _collect_comparisons(self, condition: Expr) -> None:
        super()._collect_comparisons(condition)
        if isinstance(condition, Conjunction | Disjunction):
            return
        if isinstance(condition, BetweenPredicate) and not condition.negated:
            self.false_like_null.add(id(condition))


class PolygonCircleSearch(ShapeSearch):
    """The circle around a polygon in which a position must lie."""

    def compute_arguments(self, literal_values: Values) -> tuple[str, ...] | None:
        """Return longitude, latitude and radius; None if it is no polygon, or too wide for an index."""
        if self.required_one is not None and self.required_one(literal_values) != 1:
            shape = None
        else:
            shape = self.shape.build_shape(literal_values)
        if not isinstance(shape, Polygon) or float(shape.ring.reach[0]) > MAX_RADIUS_DEGREES:
            return None
        lon, lat = (float(component[0]) for component in sphere.to_lon_lat(shape.ring.mean[:1]))
        return repr(lon), repr(lat), repr(float(shape.ring.reach[0]) + 1e-9)


class LiveTableWriter(TableReferenceWriter):
    """Writes conditions that the indexes of the source serve.

    Parameters
    ----------
    raw_columns
        Qualified table name -> its raw columns.
    mode
        Empty: no index is asked for. Otherwise each table has its own way.
    """

    def __init__(
        self,
        positions: PositionConditions,
        names: Mapping[str, str],
        raw_columns: Mapping[str, RawColumns],
        mode: str,
        accessible_names: Collection[str] = (),
        *,
        fenced: bool = False,
    ) -> None:
        super().__init__(positions, names, raw_columns, mode, accessible_names, fenced=fenced)
        self._raw_columns = raw_columns

    # one signature for all
    def write_table(self, dialect: SearchDialect, writer: SqlWriter, node: TableRef, table_sql: str) -> str:  # noqa: ARG002
        """Write a table reference: the source has no HEALPix cells."""
        return table_sql

    def write_raw_column(self, node: Expr) -> tuple[str, str] | None:
        """Write the source's own column in place of a published one, and the condition beside it.

        None if there is none.
        """
        if not self._position_method or not isinstance(node, ColumnRef) or node.column is None:
            return None
        leaf = self._position_conditions.table_refs.get(node.source)
        if leaf is None or leaf.table is None or leaf.cte:
            return None
        raw_columns = self._raw_columns.get(leaf.table.qualified_name)
        if raw_columns is None or node.column.name not in raw_columns.guards:
            return None
        text = f"t{node.source}.{quote_identifier(RAW_COLUMN_PREFIX + node.column.name)}"
        return text, raw_columns.guards[node.column.name].replace("{0}", text)

    def is_false_like_null(self, node: Expr) -> bool:
        """Return whether FALSE may stand for NULL here."""
        return id(node) in self._position_conditions.false_like_null

    def _write_lookup(
        self,
        writer: SqlWriter,
        position_expressions: tuple[Expr, Expr],
        circle_sql: tuple[str, str, str],
        radius_constant: Constant | None,
        centre_expressions: tuple[Expr, ...],
    ) -> str:
        if (
            not self._position_method
            or not self._is_indexed_position(position_expressions)
            or not isinstance(position_expressions[0], ColumnRef)
        ):
            return ""
        pair = [self.write_raw_column(item) for item in position_expressions]
        lon, lat = (
            writer.write_expression(item) if raw is None else raw[0]
            for item, raw in zip(position_expressions, pair, strict=True)
        )
        leaf = self._position_conditions.table_refs[position_expressions[0].source]
        if leaf.table is not None:
            way = self._raw_columns[leaf.table.qualified_name].position
        else:
            way = ""
        self.used = True
        return self._write_near_condition((lon, lat), circle_sql, way, radius_constant, centre_expressions)

    def write_polygon_circles(self, dialect: SearchDialect, writer: SqlWriter, table_ref: TableRef) -> Iterator[str]:
        """Write that a table's position lies in circles around polygons, as far as an index can tell."""
        if (
            not self._position_method
            or table_ref.table is None
            or table_ref.table.position is None
            or table_ref.table.qualified_name not in self._raw_columns
        ):
            return
        nodes = [
            ColumnRef(Ident(name), source=table_ref.number, column=table_ref.table.find_column(name))
            for name in table_ref.table.position
        ]
        pair = [self.write_raw_column(node) for node in nodes]
        lon, lat = (
            writer.write_expression(node) if raw is None else raw[0] for node, raw in zip(nodes, pair, strict=True)
        )
        zero_literal = Literal(0.0)
        for shape_search in self._position_conditions.shape_searches.get(table_ref.number, ()):
            if shape_search.shape.kind not in {"CIRCLE", "BOX", "MOC"}:
                circle = PolygonCircleSearch(shape_search.shape, shape_search.required_one)
                lon0, lat0, size = (
                    f"{self._write_extra_parameter(dialect, writer, circle, side)}::double precision"
                    for side in range(3)
                )
                yield self._write_near_condition(
                    (lon, lat),
                    (lon0, lat0, size),
                    self._raw_columns[table_ref.table.qualified_name].position,
                    lambda _: 0.0,
                    (zero_literal, zero_literal),
                )

    def _write_near_condition(
        self,
        position_sql: tuple[str, str],
        circle_sql: tuple[str, str, str],
        method: str,
        radius: Constant | None,
        centre_expressions: tuple[Expr, ...],
    ) -> str:
        (lon, lat), (lon0, lat0, size) = position_sql, circle_sql
        if centre_expressions:
            latitude_constant = compile_constant(centre_expressions[1], self._position_conditions.free_slots)
        else:
            latitude_constant = None
        if radius is None or not centre_expressions or method not in {Q3C, PGSPHERE}:
            band = f"{lat} BETWEEN {lat0} - {size} - 1e-9 AND {lat0} + {size} + 1e-9"
            if radius is None or latitude_constant is None:
                return band
            # how far a circle reaches in longitude, worked out once; as ranges, so that an index of both coordinates
            # leaves few rows to be read
            longitude_reach_sql = (
                f"degrees(asin(sin(radians({size} + 1e-100)) / cos(radians({lat0} + 1e-100)))) * 1.000001 + 1e-6"
            )
            longitude_reach_sql = (
                f"CASE WHEN {size} BETWEEN 0 AND 89 AND abs({lat0}) + {size} < 89 THEN {longitude_reach_sql} ELSE "
                f"181 END"
            )
            turned_longitude_sql = f"({lon0} - 360 * floor(({lon0} + 1e-100) / 360))"
            spans = [
                (
                    f"{lon} BETWEEN (SELECT {turned_longitude_sql} + {turn} - {longitude_reach_sql}) AND (SELECT "
                    f"{turned_longitude_sql} + {turn} + {longitude_reach_sql})"
                )
                for turn in (0, -360, 360)
            ]
            return f"{band} AND ({' OR '.join([*spans, f'{lon} < -180', f'{lon} > 540'])})"
        self.radius_constants.append(radius)
        if method == Q3C:
            if latitude_constant is not None:
                call = "q3c_radial_query({2}, {3}, {0}, {1}, {4} + 2e-6)"
            else:
                call = "q3c_join({0}, {1}, {2}, {3}, {4} + 2e-6)"
            return call.format(lon0, lat0, lon, lat, size)
        if latitude_constant is not None:
            valid_latitude_sql = lat0
        else:
            valid_latitude_sql = f"CASE WHEN {lat0} BETWEEN -90 AND 90 THEN {lat0} END"
        # radians of the least numbers would be an underflow
        centre_sql = f"spoint(radians({lon0} + 1e-100), radians({valid_latitude_sql} + 1e-100))"
        return f"spoint(radians({lon}), radians({lat})) <@ scircle({centre_sql}, radians({size} + 1e-9))"


class LivePostgresDialect(PostgresDialect):
    """The dialect for a database that is not ours."""

    table_writer: LiveTableWriter

    def finish_sql(self, sql: str) -> str:
        """Write our functions out."""
        return inline_functions(sql)

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter; text takes the collation of what it is compared with."""
        if isinstance(value, str):
            return f"({self.write_parameter(number)}::text)"
        return super().write_placeholder(number, value)

    def quote_string(self, value: str) -> str:
        """Write a string."""
        return super().quote_string(value).replace('::text COLLATE "C")', "::text)")

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Compare: by the source's own column where that is the same, text by code points where order counts."""
        text = all(value_kinds.classify_type(require_meta(side).type) == "text" for side in (node.left, node.right))
        if text and node.op in _ORDER_OPERATORS:
            return f'({writer.write_expression(node.left)} COLLATE "C" {node.op} {writer.write_expression(node.right)})'
        if not text and node.op != "<>" and self.table_writer.is_false_like_null(node):
            sides = [(self.table_writer.write_raw_column(side), side) for side in (node.left, node.right)]
            if any(raw is not None for raw, _ in sides) and not any(
                isinstance(side, FunctionCall) for _, side in sides
            ):
                texts = [writer.write_expression(side) if raw is None else raw[0] for raw, side in sides]
                guards = [raw[1] for raw, _ in sides if raw is not None and raw[1]]
                return f"({' AND '.join([f'{texts[0]} {node.op} {texts[1]}', *guards])})"
        return super().write_comparison(writer, node)

    def write_between(self, writer: SqlWriter, node: BetweenPredicate) -> str:
        """Write BETWEEN in the same way."""
        if value_kinds.classify_type(require_meta(node.operand).type) == "text":
            word = "NOT BETWEEN" if node.negated else "BETWEEN"
            return (
                f'({writer.write_expression(node.operand)} COLLATE "C" {word} {writer.write_expression(node.low)} '
                f"AND {writer.write_expression(node.high)})"
            )
        if self.table_writer.is_false_like_null(node):
            raw = self.table_writer.write_raw_column(node.operand)
        else:
            raw = None
        if raw is None:
            return super().write_between(writer, node)
        between_sql = f"{raw[0]} BETWEEN {writer.write_expression(node.low)} AND {writer.write_expression(node.high)}"
        if raw[1]:
            return f"({between_sql} AND {raw[1]})"
        return f"({between_sql})"

    def write_from_unix(self, writer: SqlWriter, node: FunctionCall) -> str:
        """FROM_UNIX."""
        return write_unix_time(writer.write_expression(node.args[0]))

    def write_from_julian(self, writer: SqlWriter, node: FunctionCall) -> str:
        """FROM_JD and FROM_MJD of one number; of two the embedded engine knows more digits."""
        if len(node.args) > 1:
            raise UnsupportedByPostgresError(node.name)
        return write_julian_time(
            writer.write_expression(node.args[0]), 2440587.5 if node.name == "FROM_JD" else 40587.0
        )

    # there is no aggregate of ours
    def write_length_check(self, arguments_sql: str, joined_sql: str) -> str:  # noqa: ARG002
        """Join texts of rows, to PostgreSQL's own limit."""
        return joined_sql

    def write_extreme(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """MIN and MAX; of text by code points."""
        if value_kinds.classify_type(require_meta(node.args[0]).type) == "text":
            return f'{node.name.lower()}({writer.write_expression(node.args[0])} COLLATE "C") {over_clause}'.rstrip()
        return super().write_extreme(writer, node, over_clause)


class LiveSqlWriter(SqlWriter):
    """Writes queries whose text is ordered by code points, whatever the collation of the database."""

    dialect: LivePostgresDialect

    def write_from_item(self, node: FromItem) -> str:
        """Write an item of FROM; of a table whose rows may be too many, those around the polygons in which they must lie."""
        text = super().write_from_item(node)
        if not self.dialect.allows_extra_rows or not isinstance(node, TableRef):
            return text
        circles = " AND ".join(self.dialect.table_writer.write_polygon_circles(self.dialect, self, node))
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


# of mappings: queries do not have them
_TIME_FUNCTIONS = {"FROM_UNIX": ".write_from_unix", "FROM_JD": ".write_from_julian", "FROM_MJD": ".write_from_julian"}
LivePostgresDialect.functions = {
    **PostgresDialect.functions,
    **_TIME_FUNCTIONS,
    "hven code points": '({0} COLLATE "C")',
}


__all__ = [
    "LATITUDE_BAND",
    "LivePositionConditions",
    "LivePostgresDialect",
    "LiveSqlWriter",
    "LiveTableWriter",
    "RawColumns",
    "find_raw_columns",
    "find_unsupported_function",
    "inline_functions",
    "write_live_rows",
]
