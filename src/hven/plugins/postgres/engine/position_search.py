"""Table references of a query, and the conditions with which a position index serves it.

There are three methods to find positions, and the exact test always stands beside the condition that an index serves. A
constant circle is looked up in the GiST index of pgSphere. Without pgSphere, and for all polygons, boxes and MOCs, the
query reads ranges of HEALPix cells, which the engine computes from the query's constants (in 0.4 ms, where q3c takes
3). Matches use pgSphere or q3c. If their radius is not constant, or without an extension, they use bands of latitude.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hven.adql.syntax_tree import (
    BetweenPredicate,
    ColumnRef,
    CommonTableExpression,
    Comparison,
    Conjunction,
    DerivedTable,
    Disjunction,
    ExistsPredicate,
    Expr,
    FunctionCall,
    Ident,
    InPredicate,
    Join,
    Literal,
    Negation,
    NullPredicate,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    walk_tree,
)
from hven.engines.api.geometry_analysis import (
    ConstantShape,
    cover_shape_with_cells,
    match_distance_conditions,
    match_point_coordinates,
    match_position_in_shape,
    match_region_in_shape,
)
from hven.engines.api.query_analysis import NarrowableSelect, analyse_select, compile_constant
from hven.plugins.postgres.engine.regions import name_cell_column, write_shape_cell_array

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BoundQuery
    from hven.engines.api.query_analysis import Constant

    Values = Sequence[float | str | None]

CELL_COLUMN = "hven:cell"  # HEALPix index of order 29: an additional column of every table with positions
COARSE_RANGE_COUNT = 4  # ranges of cells that select partitions: a small circle touches at most four cells
MAX_RADIUS_DEGREES = 60.0  # an index does not serve larger circles
_SIMPLE_NODES = (
    Conjunction,
    BetweenPredicate,
    ColumnRef,
    CommonTableExpression,
    Comparison,
    DerivedTable,
    ExistsPredicate,
    Ident,
    InPredicate,
    NullPredicate,
    Join,
    Literal,
    Negation,
    Disjunction,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
)
PGSPHERE, Q3C, HEALPIX = "pgsphere", "q3c", "healpix"
# The members of a union, and the check of coverages, ask for the same shape.
_cover_cached = lru_cache(maxsize=8)(cover_shape_with_cells)
_write_query_cells = lru_cache(maxsize=8)(write_shape_cell_array)


class SearchDialect(Protocol):
    """The methods of the dialect that the writer of table references uses."""

    uses_settings: bool

    def write_parameter(self, parameter_number: int) -> str:
        """Write a parameter without a type."""

    def quote_identifier(self, name: str) -> str:
        """Write an identifier."""

    def write_as_double(self, sql: str, node: Expr) -> str:
        """Write a number as double precision."""

    def write_doubles(self, writer: SqlWriter, nodes: tuple[Expr, ...]) -> list[str]:
        """Write numbers as double precision."""


@dataclass(frozen=True, slots=True)
class ShapeSearch:
    """A search for positions in a constant shape.

    `required_one` must be 1 when the plan runs.
    """

    shape: ConstantShape
    required_one: Constant | None = None

    def compute_cell_ranges(self, literal_values: Values) -> npt.NDArray[np.int64] | None:
        """Return HEALPix ranges of order 29 that contain the shape; None if there is no such shape."""
        if self.required_one is not None and self.required_one(literal_values) != 1:
            return None
        shape = self.shape.build_shape(literal_values)
        if shape is None:
            return None
        return _cover_cached(shape)

    def compute_search_parameters(self, literal_values: Values) -> tuple[str, ...] | None:
        """Return ranges of HEALPix cells as parameters; None if there is no such shape.

        The first two are arrays in PostgreSQL's text: the lower ends and the upper ends. The ends of
        `COARSE_RANGE_COUNT` ranges follow, which contain all these ranges.
        """
        cell_ranges = self.compute_cell_ranges(literal_values)
        if cell_ranges is None:
            return None
        arrays = ("{" + ",".join(map(str, cell_ranges[:, side].tolist())) + "}" for side in (0, 1))
        return (*arrays, *map(str, reduce_cell_ranges(cell_ranges).ravel().tolist()))


@dataclass(frozen=True, slots=True)
class RegionSearch:
    """A search for regions of a column that touch a constant shape or position.

    `required_one` must be 1 when the plan runs.
    """

    column: str
    shape: ConstantShape
    required_one: Constant | None = None

    def compute_search_parameters(self, literal_values: Values) -> tuple[str, ...] | None:
        """Return the array of cells; None if there is no such shape."""
        if self.required_one is not None and self.required_one(literal_values) != 1:
            return None
        shape = self.shape.build_shape(literal_values)
        if shape is None:
            return None
        cell_array = _write_query_cells(shape)
        if cell_array is None:
            return None
        return (cell_array,)


def reduce_cell_ranges(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return `COARSE_RANGE_COUNT` ranges that contain all ranges, by closing the smallest gaps.

    The result has the shape (`COARSE_RANGE_COUNT`, 2); ranges that are not needed are empty.
    """
    merged = np.zeros((COARSE_RANGE_COUNT, 2), np.int64)
    if len(ranges):
        gaps = ranges[1:, 0] - ranges[:-1, 1]
        cuts = np.sort(gaps.argsort()[::-1][: COARSE_RANGE_COUNT - 1])
        first_numbers = np.concatenate([[0], cuts + 1]).astype(np.int64)
        last_numbers = np.concatenate([cuts, [len(ranges) - 1]]).astype(np.int64)
        range_count = len(first_numbers)
        merged[:range_count, 0] = ranges[first_numbers, 0]
        merged[:range_count, 1] = ranges[last_numbers, 1]
    return merged


@dataclass(slots=True)
class PositionConditions:
    """The conditions of a bound query on positions, found once for each plan."""

    table_refs: dict[int, TableRef] = field(default_factory=dict)
    shape_searches: dict[int, list[ShapeSearch]] = field(default_factory=dict)
    region_searches: dict[int, list[RegionSearch]] = field(default_factory=dict)
    free_slots: frozenset[int] = frozenset()
    needs_fence: bool = False  # True if row filters must come before other conditions: see `is_policy_fence_needed`
    # id() of the conditions and calls in which FALSE may stand for NULL: they are below AND and OR alone
    false_like_null: set[int] = field(default_factory=set)

    @classmethod
    def from_bound_query(cls, bound_query: BoundQuery) -> PositionConditions:
        """Find the conditions in every SELECT of a query."""
        position_conditions = cls(
            free_slots=bound_query.free_slots, needs_fence=is_policy_fence_needed(bound_query.query)
        )
        for select in bound_query.survey.selects:
            narrowable = analyse_select(select)
            position_conditions.table_refs.update(narrowable.table_refs)
            for condition, table_numbers in narrowable.conditions:
                position_conditions._mark_false_like_null_conditions(condition)
                for number in table_numbers:
                    position_conditions._collect_searches(condition, narrowable, number)
        return position_conditions

    def _collect_searches(self, condition: Expr, narrowable: NarrowableSelect, table_number: int) -> None:
        """Add the search by which an index finds the rows that meet a condition, if there is one."""
        position_match = match_position_in_shape(condition, narrowable, table_number, self.free_slots)
        if position_match is not None:
            shape_searches = self.shape_searches.setdefault(table_number, [])
            shape_searches.append(ShapeSearch(*position_match[1:]))
        region_match = match_region_in_shape(condition, narrowable, table_number, self.free_slots)
        if region_match is not None and region_match[1].kind != "MOC":  # see `regions.write_query_cells`
            region_searches = self.region_searches.setdefault(table_number, [])
            region_searches.append(RegionSearch(*region_match))

    def _mark_false_like_null_conditions(self, condition: Expr) -> None:
        """Collect the comparisons that a condition joins by AND and OR."""
        if isinstance(condition, Conjunction | Disjunction):
            for part in condition.parts:
                self._mark_false_like_null_conditions(part)
            return
        if not isinstance(condition, Comparison):
            return
        self.false_like_null.add(id(condition))
        for call, literal in ((condition.left, condition.right), (condition.right, condition.left)):
            if not isinstance(call, FunctionCall) or not isinstance(literal, Literal) or condition.op != "=":
                continue
            if literal.value == 1 and literal.slot not in self.free_slots:
                self.false_like_null.add(id(call))


def is_infallible_expression(node: object) -> bool:
    """Return whether a tree only compares columns and constants, which cannot fail for any row."""
    return all(isinstance(part, _SIMPLE_NODES) for part in walk_tree(node))


def is_policy_fence_needed(query: Query) -> bool:
    """Return whether a query's own conditions might fail for a row that its reader may not see.

    PostgreSQL tests the conditions on a table in the order of their costs, so one of the query's may meet a row before
    the row filter drops it. Whether the query fails would then reveal a hidden value. The outermost select list, GROUP
    BY and ORDER BY are computed from rows that passed all conditions.
    """
    body = query.body
    if not isinstance(body, Select) or query.ctes:
        return not is_infallible_expression(query)
    outer_parts = (body.items, body.group_by, body.having, query.order_by)
    if any(isinstance(part, Subquery | ExistsPredicate) for part in walk_tree(outer_parts)):
        return not is_infallible_expression(query)
    return not is_infallible_expression((body.source, body.where))


class TableReferenceWriter:
    """A writer of the table references of one SQL text.

    Parameters
    ----------
    position_conditions
        Position conditions of the query.
    table_sql
        Qualified table name -> SQL of its rows.
    indexed_tables
        Qualified name of each table with Hven's position indexes -> its columns of regions that have an index.
    position_method
        ``pgsphere``, ``q3c`` or ``healpix``; empty: no index is used.
    accessible_names
        Qualified names of tables whose SQL reads a copy of the rows that the reader may see.
    is_fenced
        True if row filters must come before all conditions of the query, whatever these are.

    Attributes
    ----------
    extra_parameters
        Parameters beside the query's literals, in order: slot ``-1 - n`` of the text is number n of these.
    radius_constants
        Constant radii, which must not exceed `MAX_RADIUS_DEGREES` when the text is used.
    matched_numbers
        Table references whose position an index finds from that of another one: number of the one -> of the other.
    """

    def __init__(
        self,
        position_conditions: PositionConditions,
        table_sql: Mapping[str, str],
        indexed_tables: Mapping[str, Any],
        position_method: str,
        accessible_names: Collection[str] = (),
        *,
        is_fenced: bool = False,
    ) -> None:
        self._position_conditions = position_conditions
        self._accessible_names = accessible_names
        self.needs_fence = position_conditions.needs_fence or is_fenced
        """True if row filters must come before all conditions of the query."""
        self.table_sql = table_sql
        self._indexed_tables = indexed_tables
        self._position_method = position_method
        self.extra_parameters: list[tuple[ShapeSearch | RegionSearch, int]] = []
        self.radius_constants: list[Constant] = []
        self.matched_numbers: dict[int, int] = {}

    def write_table(self, dialect: SearchDialect, writer: SqlWriter, node: TableRef, table_sql: str) -> str:
        """Write a table reference, restricted by cells if its position or its regions must be near a constant shape."""
        if not self._position_method or node.table is None:
            return table_sql
        table_sql = self._limit_to_regions(dialect, writer, node, table_sql)
        shapes = self._position_conditions.shape_searches.get(node.number)
        if not shapes or node.table.qualified_name not in self._indexed_tables:
            return table_sql
        # Behind a fence no other condition of the query finds rows by an index.
        is_fenced = self.needs_fence and node.where is not None and not self.is_already_filtered(node)
        for search in shapes:
            if is_fenced or search.shape.kind != "CIRCLE" or self._position_method != PGSPHERE:
                return self._limit_to_cells(dialect, writer, search, table_sql)
        if node.table.partition is not None and node.table.partition.by == "healpix":
            return self._limit_to_partitions(dialect, writer, shapes[0], table_sql)
        return table_sql

    def _limit_to_regions(self, dialect: SearchDialect, writer: SqlWriter, node: TableRef, table_sql: str) -> str:
        """Restrict a table to rows whose regions may touch a constant shape, by the index of their cells."""
        if node.table is None:
            return table_sql
        indexed_regions = self._indexed_tables.get(node.table.qualified_name, ())
        conditions = []
        for search in self._position_conditions.region_searches.get(node.number, ()):
            if search.column in indexed_regions:
                cell_column = dialect.quote_identifier(name_cell_column(search.column))
                cell_array = self._write_extra_parameter(dialect, writer, search, 0)
                conditions.append(f"s.{cell_column} && {cell_array}::bigint[]")
        if not conditions:
            return table_sql
        if not dialect.uses_settings:  # few rows: starting workers would take longer than reading them
            conditions.append("hven_alone()")
        return f"(SELECT s.* FROM {table_sql} AS s WHERE {' AND '.join(conditions)})"

    def _limit_to_cells(self, dialect: SearchDialect, writer: SqlWriter, search: ShapeSearch, table_sql: str) -> str:
        """Restrict a table to the ranges of cells of a shape."""
        cell = dialect.quote_identifier(CELL_COLUMN)
        lower_ends, upper_ends = (
            f"{self._write_extra_parameter(dialect, writer, search, side)}::bigint[]" for side in (0, 1)
        )
        # OFFSET keeps the planner from reversing the join: it does not know how narrow the ranges are.
        inner_sql = f"SELECT * FROM {table_sql} AS s WHERE s.{cell} >= r.low AND s.{cell} < r.high OFFSET 0"
        ranges_sql = f"unnest({lower_ends}, {upper_ends}) AS r(low, high)"
        return f"(SELECT s.* FROM {ranges_sql} CROSS JOIN LATERAL ({inner_sql}) AS s)"

    def _limit_to_partitions(
        self, dialect: SearchDialect, writer: SqlWriter, search: ShapeSearch, table_sql: str
    ) -> str:
        """Restrict a table to a few ranges of cells: they select the partitions in which pgSphere's index is used."""
        cell = dialect.quote_identifier(CELL_COLUMN)
        range_ends = [
            f"{self._write_extra_parameter(dialect, writer, search, side)}::bigint"
            for side in range(2, 2 + 2 * COARSE_RANGE_COUNT)
        ]
        range_conditions = [
            f"(s.{cell} >= {lower_end} AND s.{cell} < {upper_end})"
            for lower_end, upper_end in zip(range_ends[::2], range_ends[1::2], strict=True)
        ]
        return f"(SELECT s.* FROM {table_sql} AS s WHERE {' OR '.join(range_conditions)})"

    def _write_extra_parameter(
        self, dialect: SearchDialect, writer: SqlWriter, search: ShapeSearch | RegionSearch, argument_number: int
    ) -> str:
        """Write a parameter that is computed from a shape."""
        self.extra_parameters.append((search, argument_number))
        writer.parameter_slots.append(-len(self.extra_parameters))
        return dialect.write_parameter(len(writer.parameter_slots))

    def write_distance_index_condition(self, dialect: SearchDialect, writer: SqlWriter, node: Comparison) -> str:
        """Write the condition that an index serves, beside ``DISTANCE(..) < r``; empty if there is none."""
        if id(node) not in self._position_conditions.false_like_null:
            return ""
        for first_point, second_point, limit, _ in match_distance_conditions(node):
            radius_sql = dialect.write_as_double(writer.write_expression(limit), limit)
            radius_constant = compile_constant(limit, self._position_conditions.free_slots)
            conditions = []
            for position_expressions, centre_expressions in ((first_point, second_point), (second_point, first_point)):
                lon, lat = dialect.write_doubles(writer, centre_expressions)
                condition = self._write_index_lookup(
                    writer,
                    position_expressions,
                    (lon, lat, radius_sql),
                    radius_constant=radius_constant,
                    centre_expressions=centre_expressions,
                )
                if condition:
                    conditions.append(condition)
            return " AND ".join(conditions)
        return ""

    def write_circle_index_condition(
        self,
        dialect: SearchDialect,
        writer: SqlWriter,
        call: FunctionCall,
        *,
        circle_sql: tuple[str, str, str],
        point_expression: Expr,
        circle_expression: Expr,
    ) -> str:
        """Write the condition that an index serves, beside the exact test of a point in a circle.

        It is empty if no index serves the test.
        """
        if id(call) not in self._position_conditions.false_like_null:
            return ""
        position_expressions = match_point_coordinates(point_expression)
        if position_expressions is None:
            return ""
        radius_constant, centre_expressions = self._analyse_circle(circle_expression)
        condition = self._write_index_lookup(
            writer,
            position_expressions,
            circle_sql,
            radius_constant=radius_constant,
            centre_expressions=centre_expressions,
        )
        if len(centre_expressions) != 2 or radius_constant is None:
            return condition
        # The centre of the circle may be an indexed position, too.
        lon, lat = dialect.write_doubles(writer, position_expressions)
        reverse_condition = self._write_index_lookup(
            writer,
            (centre_expressions[0], centre_expressions[1]),
            (lon, lat, circle_sql[2]),
            radius_constant=radius_constant,
            centre_expressions=position_expressions,
        )
        return " AND ".join(part for part in (condition, reverse_condition) if part)

    def _analyse_circle(self, circle_expression: Expr) -> tuple[Constant | None, tuple[Expr, ...]]:
        """Return the radius of a CIRCLE, None if it is not constant, and its centre, empty if unknown."""
        if not isinstance(circle_expression, FunctionCall) or circle_expression.name != "CIRCLE":
            return None, ()
        arguments = circle_expression.args
        radius_constant = compile_constant(arguments[-1], self._position_conditions.free_slots)
        if len(arguments) == 2:
            return radius_constant, match_point_coordinates(arguments[0]) or ()
        return radius_constant, (arguments[0], arguments[1])

    def find_cell_column(self, call: FunctionCall, shape_expression: Expr) -> Expr | None:
        """Return the column of cells in which a position of another table is looked up among regions.

        None if there is no such column.
        """
        if id(call) not in self._position_conditions.false_like_null or not self._position_method:
            return None
        if not isinstance(shape_expression, ColumnRef) or shape_expression.column is None:
            return None
        table_ref = self._position_conditions.table_refs.get(shape_expression.source)
        if table_ref is None or table_ref.table is None:
            return None
        column_name = shape_expression.column.name
        is_fenced = self.needs_fence and table_ref.where and not self.is_already_filtered(table_ref)
        if is_fenced or column_name not in self._indexed_tables.get(table_ref.table.qualified_name, ()):
            return None
        region_searches = self._position_conditions.region_searches.get(table_ref.number, ())
        if any(search.column == column_name for search in region_searches):
            return None  # `write_table` restricts the table reference already
        cell_name = name_cell_column(column_name)
        return replace(
            shape_expression,
            name=Ident(cell_name, quoted=True),
            column=replace(shape_expression.column, name=cell_name),
        )

    def _write_index_lookup(
        self,
        writer: SqlWriter,
        position_expressions: tuple[Expr, Expr],
        circle_sql: tuple[str, str, str],
        *,
        radius_constant: Constant | None,
        centre_expressions: tuple[Expr, ...],
    ) -> str:
        """Write the condition by which an index finds positions in a circle; empty if there is none."""
        if not self._position_method or not self._is_indexed_position(position_expressions):
            return ""
        if len(centre_expressions) == 2:
            longitude, centre_longitude = position_expressions[0], centre_expressions[0]
            if isinstance(longitude, ColumnRef) and isinstance(centre_longitude, ColumnRef):
                self.matched_numbers.setdefault(longitude.source, centre_longitude.source)
        lon, lat = (writer.write_expression(item) for item in position_expressions)
        lon0, lat0, size = circle_sql
        has_constant_latitude = False
        if centre_expressions:
            latitude_constant = compile_constant(centre_expressions[1], self._position_conditions.free_slots)
            has_constant_latitude = latitude_constant is not None
        if has_constant_latitude and radius_constant is not None and self._position_method != PGSPHERE:
            return ""  # `write_table` restricts the table reference already
        if radius_constant is None or self._position_method == HEALPIX or not centre_expressions:
            return f"{lat} BETWEEN {lat0} - {size} - 1e-9 AND {lat0} + {size} + 1e-9"
        self.radius_constants.append(radius_constant)
        if self._position_method == Q3C:
            # At the poles the cells of q3c are off by rounding errors, so a few more are read.
            return f"q3c_join({lon0}, {lat0}, {lon}, {lat}, {size} + 2e-6)"
        return write_pgsphere_condition((lon, lat), circle_sql, is_valid_latitude=has_constant_latitude)

    def _is_indexed_position(self, expressions: tuple[Expr, Expr]) -> bool:
        """Return whether a pair of expressions is the indexed position of a table reference."""
        lon, lat = expressions
        if not isinstance(lon, ColumnRef) or not isinstance(lat, ColumnRef) or lon.source != lat.source:
            return False
        table_ref = self._position_conditions.table_refs.get(lon.source)
        if table_ref is None or table_ref.table is None or lon.column is None or lat.column is None:
            return False
        if table_ref.table.qualified_name not in self._indexed_tables:
            return False
        return table_ref.table.position == (lon.column.name, lat.column.name)

    def is_already_filtered(self, node: TableRef) -> bool:
        """Return whether the rows of a table reference are a copy of those that the reader may see."""
        return node.table is not None and node.table.qualified_name in self._accessible_names

    # --- execution

    def compute_extra_parameters(self, literal_values: Values) -> list[str] | None:
        """Return the extra parameters for these literals; None if the SQL text is not valid for them."""
        for compute_common_radius in self.radius_constants:
            radius = compute_common_radius(literal_values)
            if not isinstance(radius, int | float) or not 0 <= radius <= MAX_RADIUS_DEGREES:
                return None
        arguments_by_search: dict[int, tuple[str, ...]] = {}
        extra_values = []
        for search, argument_number in self.extra_parameters:
            search_arguments = arguments_by_search.get(id(search)) or search.compute_search_parameters(literal_values)
            if search_arguments is None:
                return None
            arguments_by_search[id(search)] = search_arguments
            extra_values.append(search_arguments[argument_number])
        return extra_values


def write_pgsphere_condition(
    position_sql: tuple[str, str], circle_sql: tuple[str, str, str], *, is_valid_latitude: bool
) -> str:
    """Write that a position is in a circle, by pgSphere.

    Parameters
    ----------
    position_sql
        Longitude and latitude in degrees.
    circle_sql
        Longitude, latitude and radius in degrees.
    is_valid_latitude
        True if the latitude of the circle is known to be one; otherwise a row may have any number there.
    """
    (lon, lat), (lon0, lat0, size) = position_sql, circle_sql
    if not is_valid_latitude:
        lat0 = f"CASE WHEN {lat0} BETWEEN -90 AND 90 THEN {lat0} END"
    # 1e-100 avoids an underflow in radians() of very small numbers.
    centre_sql = f"spoint(radians({lon0} + 1e-100), radians({lat0} + 1e-100))"
    return f"spoint(radians({lon}), radians({lat})) <@ scircle({centre_sql}, radians({size} + 1e-9))"
