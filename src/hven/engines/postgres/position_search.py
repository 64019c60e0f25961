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
    CommonTable,
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
from hven.engines._query_analysis.column_usage import list_selects
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.geometry import (
    ConstantShape,
    match_distance_conditions,
    match_point_coordinates,
)
from hven.engines._query_analysis.narrowable_selects import analyse_select
from hven.engines._query_analysis.shape_conditions import match_position_in_shape, match_region_in_shape
from hven.engines._query_analysis.shape_covers import cover_shape
from hven.engines.postgres.regions import name_cell_column, write_query_cells

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BoundQuery
    from hven.engines._query_analysis.constants import Constant

    Values = Sequence[float | str | None]

CELL_COLUMN = "hven:cell"  # HEALPix index of order 29: an additional column of every table with positions
COARSE_RANGE_COUNT = 4  # ranges of cells that select partitions: a small circle touches at most four cells
MAX_RADIUS_DEGREES = 60.0  # an index does not serve larger circles
_SIMPLE_NODES = (
    Conjunction,
    BetweenPredicate,
    ColumnRef,
    CommonTable,
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
_cover_cached = lru_cache(maxsize=8)(cover_shape)
_write_query_cells = lru_cache(maxsize=8)(write_query_cells)


class SearchDialect(Protocol):
    """The methods of the dialect that the writer of table references uses."""

    uses_settings: bool

    def write_parameter(self, parameter_number: int) -> str:
        """Write a parameter without a type."""

    def quote_identifier(self, name: str) -> str:
        """Write an identifier."""

    def write_double(self, sql: str, node: Expr) -> str:
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

    def compute_arguments(self, literal_values: Values) -> tuple[str, ...] | None:
        """Return ranges of HEALPix cells as parameters; None if there is no such shape.

        The first two are arrays in PostgreSQL's text: the lower ends and the upper ends. The ends of
        `COARSE_RANGE_COUNT` ranges follow, which contain all these ranges.
        """
        cell_ranges = self.compute_cell_ranges(literal_values)
        if cell_ranges is None:
            return None
        arrays = ("{" + ",".join(map(str, cell_ranges[:, side].tolist())) + "}" for side in (0, 1))
        return (*arrays, *map(str, merge_ranges(cell_ranges).ravel().tolist()))


@dataclass(frozen=True, slots=True)
class RegionSearch:
    """A search for regions of a column that touch a constant shape or position.

    `required_one` must be 1 when the plan runs.
    """

    column: str
    shape: ConstantShape
    required_one: Constant | None = None

    def compute_arguments(self, literal_values: Values) -> tuple[str, ...] | None:
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


def merge_ranges(ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
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
    def from_query(cls, bound_query: BoundQuery) -> PositionConditions:
        """Look at every SELECT."""
        position_conditions = cls(
            free_slots=bound_query.free_slots, needs_fence=is_policy_fence_needed(bound_query.query)
        )
        for select in list_selects(bound_query.query):
            narrowable = analyse_select(select)
            position_conditions.table_refs.update(narrowable.table_refs)
            for condition, leaves in narrowable.conditions:
                position_conditions._collect_comparisons(condition)
                for number in leaves:
                    position_match = match_position_in_shape(condition, narrowable, number, bound_query.free_slots)
                    if position_match is not None:
                        position_conditions.shape_searches.setdefault(number, []).append(
                            ShapeSearch(*position_match[1:])
                        )
                    region_match = match_region_in_shape(condition, narrowable, number, bound_query.free_slots)
                    if region_match is not None and region_match[1].kind != "MOC":  # see `region_searches.asked`
                        position_conditions.region_searches.setdefault(number, []).append(RegionSearch(*region_match))
        return position_conditions

    def _collect_comparisons(self, condition: Expr) -> None:
        """Remember the comparisons that a condition is made of by AND and OR."""
        if isinstance(condition, Conjunction | Disjunction):
            for part in condition.parts:
                self._collect_comparisons(part)
        elif isinstance(condition, Comparison):
            self.false_like_null.add(id(condition))
            for call, literal in ((condition.left, condition.right), (condition.right, condition.left)):
                if (
                    isinstance(call, FunctionCall)
                    and isinstance(literal, Literal)
                    and literal.slot not in self.free_slots
                    and literal.value == 1
                    and condition.op == "="
                ):
                    self.false_like_null.add(id(call))


def is_infallible(node: object) -> bool:
    """Return whether an expression or query only compares columns and constants, which cannot fail for any row."""
    return all(isinstance(part, _SIMPLE_NODES) for part in walk_tree(node))


def is_policy_fence_needed(query: Query) -> bool:
    """Return whether a query's own conditions might fail for a row that its reader may not see.

    PostgreSQL tests conditions of one table in the order of their costs, so one of the query's may meet a row before
    the row filter has dropped it; whether the query fails would then tell of a hidden value. What stands in the
    outermost SELECT list, or is grouped or ordered by there, is computed from rows that passed all conditions.
    """
    body = query.body
    if not isinstance(body, Select) or query.ctes:
        return not is_infallible(query)
    outer_parts = (body.items, body.group_by, body.having, query.order_by)
    if any(isinstance(part, Subquery | ExistsPredicate) for part in walk_tree(outer_parts)):
        return not is_infallible(query)
    return not is_infallible((body.source, body.where))


class TableReferenceWriter:
    """Writes the table references of one SQL text.

    Parameters
    ----------
    table_sql
        Qualified table name -> SQL text of its rows.
    indexed_tables
        Those of them that have our position indexes -> their columns of regions that have an index.
    position_method
        ``pgsphere``, ``q3c`` or ``healpix``; empty: no index is asked for.
    is_already_filtered
        Qualified names of tables whose rows all may be seen, for those of `table_sql` are a copy of what their policies
        leave.
    fenced
        True if row filters must be behind a fence, whatever is asked.

    Attributes
    ----------
    extra_parameters
        Parameters beside the query's literals, in order: slot ``-1 - n`` of the text is number n of these.
    radius_constants
        Constant radii that must not be wide, and latitudes that must be some, for the text to hold.
    matched_numbers
        Table references whose position an index finds from another's: number of one -> number of the other.
    """

    def __init__(
        self,
        position_conditions: PositionConditions,
        table_sql: Mapping[str, str],
        indexed_tables: Mapping[str, Any],
        position_method: str,
        accessible_names: Collection[str] = (),
        *,
        fenced: bool = False,
    ) -> None:
        self._position_conditions = position_conditions
        self._accessible_names = accessible_names
        self.needs_fence = position_conditions.needs_fence or fenced
        """True if nothing of the query may be computed before a row filter."""
        self.table_sql = table_sql
        self._indexed_tables = indexed_tables
        self._position_method = position_method
        self.extra_parameters: list[tuple[ShapeSearch | RegionSearch, int]] = []
        self.radius_constants: list[Constant] = []
        self.matched_numbers: dict[int, int] = {}

    def write_table(self, dialect: SearchDialect, writer: SqlWriter, node: TableRef, table_sql: str) -> str:
        """Write a table reference, by ranges of HEALPix cells if its position or its regions are near a shape of constants."""
        if self._position_method and node.table is not None:
            indexed_regions = self._indexed_tables.get(node.table.qualified_name, ())
            tests = [
                (
                    f"s.{dialect.quote_identifier(name_cell_column(region.column))} && "
                    f"{self._write_extra_parameter(dialect, writer, region, 0)}::bigint[]"
                )
                for region in self._position_conditions.region_searches.get(node.number, ())
                if region.column in indexed_regions
            ]
            if (
                tests and not dialect.uses_settings
            ):  # few rows: to start workers for them would take longer than to read them
                tests.append("hven_alone()")
            if tests:
                table_sql = f"(SELECT s.* FROM {table_sql} AS s WHERE {' AND '.join(tests)})"
        shapes = self._position_conditions.shape_searches.get(node.number)
        if (
            not shapes
            or not self._position_method
            or node.table is None
            or node.table.qualified_name not in self._indexed_tables
        ):
            return table_sql
        is_fenced = (
            self.needs_fence and node.where is not None and not self.is_already_filtered(node)
        )  # no other condition gets there
        chosen_search = next(
            (item for item in shapes if is_fenced or item.shape.kind != "CIRCLE" or self._position_method != PGSPHERE),
            None,
        )
        cell = dialect.quote_identifier(CELL_COLUMN)
        if chosen_search is None:
            if node.table.partition is None or node.table.partition.by != "healpix":
                return table_sql
            # pgSphere's index finds the rows, and these few ranges the partitions in which it is asked
            range_parameters = [
                f"{self._write_extra_parameter(dialect, writer, shapes[0], side)}::bigint"
                for side in range(2, 2 + 2 * COARSE_RANGE_COUNT)
            ]
            spans = " OR ".join(
                f"(s.{cell} >= {lower_sql} AND s.{cell} < {upper_sql})"
                for lower_sql, upper_sql in zip(range_parameters[::2], range_parameters[1::2], strict=True)
            )
            return f"(SELECT s.* FROM {table_sql} AS s WHERE {spans})"
        range_parameters = [
            f"{self._write_extra_parameter(dialect, writer, chosen_search, side)}::bigint[]" for side in (0, 1)
        ]
        # OFFSET keeps the planner from turning this round: it knows nothing of how narrow the ranges are
        inner_sql = f"SELECT * FROM {table_sql} AS s WHERE s.{cell} >= r.low AND s.{cell} < r.high OFFSET 0"
        return (
            f"(SELECT s.* FROM unnest({range_parameters[0]}, {range_parameters[1]}) AS r(low, high) CROSS JOIN "
            f"LATERAL ({inner_sql}) AS s)"
        )

    def _write_extra_parameter(
        self, dialect: SearchDialect, writer: SqlWriter, search: ShapeSearch | RegionSearch, argument_number: int
    ) -> str:
        """Write a parameter that is computed from a shape."""
        self.extra_parameters.append((search, argument_number))
        writer.parameter_slots.append(-len(self.extra_parameters))
        return dialect.write_parameter(len(writer.parameter_slots))

    def write_near_condition(self, dialect: SearchDialect, writer: SqlWriter, node: Comparison) -> str:
        """Write the condition beside ``DISTANCE(..) < r``; empty if there is none."""
        if id(node) not in self._position_conditions.false_like_null:
            return ""
        for first_point, second_point, limit, _ in match_distance_conditions(node):
            radius = dialect.write_double(writer.write_expression(limit), limit)
            parts = []
            for position_expressions, centre_expressions in ((first_point, second_point), (second_point, first_point)):
                lon, lat = dialect.write_doubles(writer, centre_expressions)
                parts.append(
                    self._write_lookup(
                        writer,
                        position_expressions,
                        (lon, lat, radius),
                        compile_constant(limit, self._position_conditions.free_slots),
                        centre_expressions,
                    )
                )
            return " AND ".join(part for part in parts if part)
        return ""

    def write_circle_condition(
        self,
        dialect: SearchDialect,
        writer: SqlWriter,
        call: FunctionCall,
        point_expression: Expr,
        circle_sql: tuple[str, str, str],
        shape_expression: Expr,
    ) -> str:
        """Write the condition beside the exact test of a point in a circle; empty if there is none."""
        if id(call) not in self._position_conditions.false_like_null:
            return ""
        position_expressions = match_point_coordinates(point_expression)
        if position_expressions is None:
            return ""
        radius: Constant | None = None
        centre: tuple[Expr, ...] = ()
        if isinstance(shape_expression, FunctionCall) and shape_expression.name == "CIRCLE":
            radius = compile_constant(shape_expression.args[-1], self._position_conditions.free_slots)
            if len(shape_expression.args) == 2:
                centre_expressions = match_point_coordinates(shape_expression.args[0])
            else:
                centre_expressions = (shape_expression.args[0], shape_expression.args[1])
            centre = centre_expressions or ()
        condition_sql = self._write_lookup(writer, position_expressions, circle_sql, radius, centre)
        # the other way round: the circle's centre is an indexed position, too
        if len(centre) == 2 and radius is not None:
            lon, lat = dialect.write_doubles(writer, position_expressions)
            reverse_sql = self._write_lookup(
                writer, (centre[0], centre[1]), (lon, lat, circle_sql[2]), radius, position_expressions
            )
            if condition_sql and reverse_sql:
                condition_sql = f"{condition_sql} AND {reverse_sql}"
            else:
                condition_sql = condition_sql or reverse_sql
        return condition_sql

    def find_cell_column(self, call: FunctionCall, shape_expression: Expr) -> Expr | None:
        """Return the cells of a column of regions in which a position of another table is looked up.

        None if there are none.
        """
        if id(call) not in self._position_conditions.false_like_null or not self._position_method:
            return None
        if isinstance(shape_expression, ColumnRef):
            table_ref = self._position_conditions.table_refs.get(shape_expression.source)
        else:
            table_ref = None
        if (
            not isinstance(shape_expression, ColumnRef)
            or shape_expression.column is None
            or table_ref is None
            or table_ref.table is None
        ):
            return None
        if shape_expression.column.name not in self._indexed_tables.get(table_ref.table.qualified_name, ()) or (
            self.needs_fence and table_ref.where and not self.is_already_filtered(table_ref)
        ):
            return None
        if any(
            region.column == shape_expression.column.name
            for region in self._position_conditions.region_searches.get(table_ref.number, ())
        ):
            return None  # the table reference is narrowed already
        name = name_cell_column(shape_expression.column.name)
        return replace(
            shape_expression, name=Ident(name, quoted=True), column=replace(shape_expression.column, name=name)
        )

    def _write_lookup(
        self,
        writer: SqlWriter,
        position_expressions: tuple[Expr, Expr],
        circle_sql: tuple[str, str, str],
        radius_constant: Constant | None,
        centre_expressions: tuple[Expr, ...],
    ) -> str:
        if not self._position_method or not self._is_indexed_position(position_expressions):
            return ""
        if (
            len(centre_expressions) == 2
            and isinstance(position_expressions[0], ColumnRef)
            and isinstance(centre_expressions[0], ColumnRef)
        ):
            self.matched_numbers.setdefault(position_expressions[0].source, centre_expressions[0].source)
        lon, lat = (writer.write_expression(item) for item in position_expressions)
        lon0, lat0, size = circle_sql
        if centre_expressions:
            latitude_constant = compile_constant(centre_expressions[1], self._position_conditions.free_slots)
        else:
            latitude_constant = None
        if latitude_constant is not None and radius_constant is not None and self._position_method != PGSPHERE:
            return ""  # the table reference is narrowed already
        if radius_constant is None or self._position_method == HEALPIX or not centre_expressions:
            return f"{lat} BETWEEN {lat0} - {size} - 1e-9 AND {lat0} + {size} + 1e-9"
        self.radius_constants.append(radius_constant)
        if self._position_method == Q3C:
            # at the poles its cells are off by rounding: some of them are added
            return f"q3c_join({lon0}, {lat0}, {lon}, {lat}, {size} + 2e-6)"
        if latitude_constant is not None:
            valid_latitude_sql = lat0
        else:
            valid_latitude_sql = f"CASE WHEN {lat0} BETWEEN -90 AND 90 THEN {lat0} END"
        # radians of the least numbers would be an underflow
        centre_sql = f"spoint(radians({lon0} + 1e-100), radians({valid_latitude_sql} + 1e-100))"
        return f"spoint(radians({lon}), radians({lat})) <@ scircle({centre_sql}, radians({size} + 1e-9))"

    def _is_indexed_position(self, expressions: tuple[Expr, Expr]) -> bool:
        """Return whether a pair of expressions is the indexed position of a table reference."""
        lon, lat = expressions
        if not (isinstance(lon, ColumnRef) and isinstance(lat, ColumnRef)) or lon.source != lat.source:
            return False
        table_ref = self._position_conditions.table_refs.get(lon.source)
        if (
            table_ref is None
            or table_ref.table is None
            or table_ref.table.qualified_name not in self._indexed_tables
            or lon.column is None
            or lat.column is None
        ):
            return False
        return table_ref.table.position == (lon.column.name, lat.column.name)

    def is_already_filtered(self, node: TableRef) -> bool:
        """Return whether the rows of a table reference are a copy of those that its reader sees."""
        return node.table is not None and node.table.qualified_name in self._accessible_names

    # --- running

    def compute_extra_values(self, literal_values: Values) -> list[str] | None:
        """Return the extra parameters for these literals; None if the text does not hold for them."""
        for radius in self.radius_constants:
            size = radius(literal_values)
            if not isinstance(size, int | float) or not 0 <= size <= MAX_RADIUS_DEGREES:
                return None
        arguments_by_search: dict[int, tuple[str, ...]] = {}
        extra_values = []
        for shape, side in self.extra_parameters:
            search_arguments = arguments_by_search.get(id(shape)) or shape.compute_arguments(literal_values)
            if search_arguments is None:
                return None
            arguments_by_search[id(shape)] = search_arguments
            extra_values.append(search_arguments[side])
        return extra_values
