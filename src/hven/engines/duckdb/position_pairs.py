"""Joins by position and by key.

This module finds, without a cross product, which rows of an indexed table can meet which rows of another one.

Take a match ``CONTAINS(POINT(t.ra, t.dec), CIRCLE(d.lon, d.lat, r)) = 1`` or ``DISTANCE(..) < r``. Every circle of `d`
is covered by HEALPix ranges, these are looked up in the index of `t`, and the pairs that are near enough are kept. Then
`t` is replaced by its rows of these pairs (a row once for each pair) with the number of the partner in `d`. The
condition becomes ``t.partner = d.row``, a hash join, with the exact condition after it.

`d` may be a table, a derived table (which is computed first), or a table of the query around a subquery. What lies
around its rows may be computed from them: a box, a polygon, ``3 * d.error``. If the condition is about a column of
regions of `t`, the region index gives the pairs. A join on an indexed key narrows the indexed table to the rows that
have one of the keys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.grouping import is_single_row_expression
from hven.adql.syntax_tree import ColumnRef, Comparison, Conjunction, Expr, Ident, ValueMetadata, walk_tree
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.geometry import (
    match_circle_parts,
    match_distance_conditions,
    match_point_coordinates,
    match_point_in_shape,
    match_shape_predicate,
)
from hven.engines._query_analysis.narrowable_selects import (
    NarrowableSelect,
    match_indexed_column,
    match_indexed_position,
)
from hven.engines.duckdb.index_accesses import CandidateRows, expand_ranges
from hven.engines.duckdb.index_building import view_stored_numbers
from hven.engines.duckdb.snapshot_files import ROW_NUMBER_COLUMN
from hven.engines.duckdb.union_members import PARTNER_COLUMN, match_union_members
from hven.model.deadlines import check_deadline
from hven.model.sky import compute_angular_distance, healpix, polygon_arrays, sphere
from hven.model.table import Column
from hven.model.types import BOOLEAN, CIRCLE, INT64, POLYGON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.engines._query_analysis.constants import Constant
    from hven.engines.duckdb.region_index import RegionIndex
    from hven.engines.duckdb.snapshot_files import KeyIndex, OpenSnapshot
    from hven.engines.duckdb.union_members import UnionMember
    from hven.model.types import ColumnType

    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MAX_DRIVER_ROWS = 2_000_000  # maximum number of circles that are looked up
MAX_PAIRS = 50_000_000  # maximum number of pairs that are tested
MAX_NESTED_LOOP_PAIRS = 2_000_000  # DuckDB may test up to this many pairs one by one ..
MAX_NESTED_LOOP_SHAPE_PAIRS = 1_000  # .. or this many if they are of regions, which are expensive to test
CIRCLE_BATCH_COUNT = 200_000  # circles that are covered at a time
# pairs that are compared at a time: they fit in the cache of a processor, and in memory that is reused
PAIR_BATCH_COUNT = 1 << 15
_ROW_NUMBER_BASE = 1 << 40  # more rows than a table has
_MAX_CAP_RADIUS_DEGREES = 89.0  # a polygon that reaches farther from its middle may be anywhere
_CAP_MARGIN_DEGREES = 1e-9
_PAIR_MARGIN_DEGREES = 1e-9  # pairs are found by a circle that is wider by this than that of the exact test


@dataclass(frozen=True, slots=True)
class PositionJoinSide:
    """One way to use a match: the rows of `target_number` are looked up for every row of `driver_number`.

    Attributes
    ----------
    duplicated_number
        The reference that gets one row for each pair; the other one keeps its rows, with their numbers.
    position
        Columns of the target's position index.
    circle_expressions
        The shape around a row of the driver: longitude, latitude and radius in degrees, a position, or one expression
        that is a shape.
    union_members
        The members of the target, if it is a union.
    region_column
        The target's column of regions, if its index is looked up.
    """

    target_number: int
    driver_number: int
    duplicated_number: int
    position: tuple[str, str]
    circle_expressions: tuple[Expr, ...]
    union_members: tuple[UnionMember, ...] = ()
    region_column: str = ""

    @property
    def nested_loop_limit(self) -> int:
        """Number of pairs that DuckDB may test one by one."""
        if self.region_column:
            return MAX_NESTED_LOOP_SHAPE_PAIRS
        return MAX_NESTED_LOOP_PAIRS

    def has_index(self, stored: OpenSnapshot) -> bool:
        """Return whether a snapshot has the index that is looked up."""
        if self.region_column:
            return stored.get_region_index(self.region_column) is not None
        return bool(self.union_members) or stored.manifest.position == self.position


@dataclass(frozen=True, slots=True)
class PositionJoin:
    """A condition that joins two tables by position.

    Attributes
    ----------
    required_one
        Must be 1 when the plan runs: ``CONTAINS(..) = 1``.
    exact_test
        How pairs are tested before DuckDB sees them: ``inside``, ``<``, ``<=``, or ``asked`` if the condition itself
        tests them. It is set where DuckDB makes a hash join of nothing but equalities (in ON of an outer join, in
        subqueries), and for shapes, which are expensive to test. It is empty elsewhere: DuckDB tests the condition
        after the join.
    """

    condition: Expr
    sides: tuple[PositionJoinSide, ...]
    required_one: Constant | None
    exact_test: str = ""

    @property
    def vectorised_test(self) -> str:
        """The exact test if it is one for arrays of pairs; empty if the condition itself tests them."""
        if self.exact_test == "asked":
            return ""
        return self.exact_test


@dataclass(frozen=True, slots=True)
class KeyJoin:
    """A condition that joins the indexed `column` of `target_number` to `driver_column` of `driver_number`."""

    target_number: int
    column: str
    driver_number: int
    driver_column: str


def find_position_joins(narrowable: NarrowableSelect, free_slots: frozenset[int]) -> list[PositionJoin]:
    """Find the joins by position of one SELECT."""
    position_matches = []
    for condition, leaves in narrowable.conditions:
        match = _find_position_join(condition, leaves, narrowable, free_slots)
        if match is not None:
            position_matches.append(match)
    return position_matches


def _find_position_join(
    condition: Expr, table_numbers: frozenset[int], narrowable: NarrowableSelect, free_slots: frozenset[int]
) -> PositionJoin | None:
    required_one: Constant | None = None
    point_in_shape = match_point_in_shape(condition)
    candidate_sides: list[tuple[tuple[Expr, Expr], tuple[Expr, ...]]] = []
    exact_test = "asked"
    if point_in_shape is not None:
        point_expression, shape, required_result = point_in_shape
        point = match_point_coordinates(point_expression)
        circle = match_circle_parts(shape)
        required_one = compile_constant(required_result, free_slots)
        if point is not None and circle is not None:
            candidate_sides = [(point, circle), (circle[:2], (*point, circle[2]))]
            exact_test = "inside"
        elif point is not None:
            candidate_sides = [(point, (shape,))]
    else:
        distance_condition = next(match_distance_conditions(condition), None)
        if distance_condition is not None:
            first_point, second_point, radius, exact_test = distance_condition
            candidate_sides = [(first_point, (*second_point, radius)), (second_point, (*first_point, radius))]
    possible_sides = [
        _build_position_side(narrowable, table_numbers, target_position, circle_expressions)
        for target_position, circle_expressions in candidate_sides
    ]
    shape_predicate = match_shape_predicate(condition)
    if shape_predicate is not None:
        first_shape, second_shape, required_result = shape_predicate
        required_one = compile_constant(required_result, free_slots)
        if _is_region_column(first_shape) or _is_region_column(second_shape):
            exact_test = "asked"
        possible_sides.append(_build_region_side(narrowable, table_numbers, first_shape, second_shape))
        possible_sides.append(_build_region_side(narrowable, table_numbers, second_shape, first_shape))
    sides = tuple(side for side in possible_sides if side is not None)
    if not sides:
        return None
    is_outer_join = id(condition) in narrowable.outer_join_conditions
    if not is_outer_join and exact_test != "asked":
        exact_test = ""  # DuckDB tests the condition after the join
    return PositionJoin(condition, sides, required_one, exact_test)


def find_correlated_position_joins(
    inner_select: NarrowableSelect, outer_select: NarrowableSelect, free_slots: frozenset[int]
) -> list[PositionJoin]:
    """Find the conditions of a subquery that join its tables by position to those of the query around it.

    The condition becomes an equality that pairs the rows once, so a row of the subquery meets a row of the outer query
    as often as before.
    """
    conditions = [
        (condition, leaves)
        for condition, leaves in inner_select.conditions
        if id(condition) not in inner_select.outer_join_conditions
    ]
    combined_select = NarrowableSelect(
        inner_select.select,
        table_refs={**outer_select.table_refs, **inner_select.table_refs},
        direct_numbers=outer_select.direct_numbers | inner_select.direct_numbers,
        conditions=conditions,
        outer_join_conditions={id(condition) for condition, _ in conditions},
        derived_expressions={**outer_select.derived_expressions, **inner_select.derived_expressions},
        derived_tables={**outer_select.derived_tables, **inner_select.derived_tables},
    )
    inner_numbers = inner_select.direct_numbers | inner_select.derived_tables.keys()

    def is_correlated(side: PositionJoinSide) -> bool:
        is_target_inner = side.target_number in inner_numbers
        is_driver_inner = side.driver_number in inner_numbers
        return is_target_inner != is_driver_inner and side.duplicated_number in inner_numbers

    position_matches = []
    for match in find_position_joins(combined_select, free_slots):
        sides = tuple(filter(is_correlated, match.sides))
        if sides:
            position_matches.append(replace(match, sides=sides))
    return position_matches


def _build_position_side(
    narrowable: NarrowableSelect,
    narrowed_numbers: frozenset[int],
    target_position: tuple[Expr, Expr],
    circle_expressions: tuple[Expr, ...],
) -> PositionJoinSide | None:
    if not isinstance(target_position[0], ColumnRef):
        return None
    target = target_position[0].source
    union_members: tuple[UnionMember, ...] = ()
    if target in narrowable.derived_tables and target in narrowed_numbers:
        union_members = match_union_members(narrowable.derived_tables[target], target_position)
    position: tuple[str, str] | None
    if union_members:
        position = ("", "")
    elif target in narrowable.direct_numbers:
        position = match_indexed_position(narrowable, target, target_position)
    else:
        position = None
    if position is None:
        return None
    side = _build_join_side(narrowable, narrowed_numbers, target, circle_expressions)
    if side is None:
        return None
    return replace(side, position=position, union_members=union_members)


def _build_region_side(
    narrowable: NarrowableSelect, narrowed_numbers: frozenset[int], region_expression: Expr, shape_expression: Expr
) -> PositionJoinSide | None:
    if not isinstance(region_expression, ColumnRef) or region_expression.column is None:
        return None
    target_number = region_expression.source
    if target_number not in narrowable.direct_numbers or not _is_region_column(region_expression):
        return None
    circle_expressions = (
        match_point_coordinates(shape_expression) or match_circle_parts(shape_expression) or (shape_expression,)
    )
    side = _build_join_side(narrowable, narrowed_numbers, target_number, circle_expressions)
    if side is None:
        return None
    return replace(side, region_column=region_expression.column.name)


def _is_region_column(expression: Expr) -> bool:
    return isinstance(expression, ColumnRef) and expression.column is not None and expression.column.type.is_geometry


def _build_join_side(
    narrowable: NarrowableSelect,
    narrowed_numbers: frozenset[int],
    target_number: int,
    circle_expressions: tuple[Expr, ...],
) -> PositionJoinSide | None:
    """Return the side of a target whose driver is the one reference that `circle_expressions` reads.

    Return None if they read none or several, or compute no numbers or shapes of single rows.
    """
    drivers = {node.source for node in walk_tree(circle_expressions) if isinstance(node, ColumnRef)}
    if len(drivers) != 1 or not all(map(is_single_row_expression, circle_expressions)):
        return None
    (driver,) = drivers
    if driver == target_number or (driver not in narrowable.direct_numbers and driver not in narrowable.derived_tables):
        return None
    for part in circle_expressions:
        if part.meta is None or part.meta.aggregate:
            return None
        if not _is_circle_part_type(part.meta.type, len(circle_expressions)):
            return None
    duplicated = target_number if target_number in narrowed_numbers else driver
    if duplicated not in narrowed_numbers:
        return None
    return PositionJoinSide(target_number, driver, duplicated, ("", ""), circle_expressions)


def _is_circle_part_type(part_type: ColumnType, part_count: int) -> bool:
    if part_count > 1:
        return part_type.is_numeric
    return part_type in {CIRCLE, POLYGON}


def find_key_joins(narrowable: NarrowableSelect) -> list[KeyJoin]:
    """Find the joins on an indexed key of one SELECT."""
    joins = []
    for condition, leaves in narrowable.conditions:
        if not isinstance(condition, Comparison) or condition.op != "=":
            continue
        for target_column, driver_column in ((condition.left, condition.right), (condition.right, condition.left)):
            if not isinstance(target_column, ColumnRef) or not isinstance(driver_column, ColumnRef):
                continue
            key_join = _build_key_join(target_column, driver_column, narrowable)
            if key_join is not None and target_column.source in leaves:
                joins.append(key_join)
    return joins


def _build_key_join(target_column: ColumnRef, driver_column: ColumnRef, narrowable: NarrowableSelect) -> KeyJoin | None:
    if target_column.column is None or driver_column.column is None:
        return None
    target_number = target_column.source
    driver_number = driver_column.source
    if target_number == driver_number or not {target_number, driver_number} <= narrowable.direct_numbers:
        return None
    target_type = target_column.column.type
    driver_type = driver_column.column.type
    are_integers = target_type.is_integer and driver_type.is_integer
    are_timestamps = target_type.is_timestamp and driver_type.is_timestamp
    if not are_integers and not are_timestamps:
        return None
    index_name = match_indexed_column(narrowable, target_number, target_column)
    if index_name is None:
        return None
    return KeyJoin(target_number, index_name, driver_number, driver_column.column.name)


def build_pair_condition(match: PositionJoin, side: PositionJoinSide) -> Expr:
    """Return the condition with an equality of row numbers before it, or that equality alone if the pairs are exact."""
    if side.duplicated_number == side.target_number:
        numbered_reference = side.driver_number
    else:
        numbered_reference = side.target_number
    partner_column = _build_hidden_column_ref(PARTNER_COLUMN, side.duplicated_number)
    row_column = _build_hidden_column_ref(ROW_NUMBER_COLUMN, numbered_reference)
    row_equality = Comparison("=", partner_column, row_column, meta=ValueMetadata(BOOLEAN))
    if match.exact_test:
        return row_equality
    return Conjunction((row_equality, match.condition), meta=ValueMetadata(BOOLEAN))


def _build_hidden_column_ref(name: str, table_number: int) -> ColumnRef:
    column = Column(name=name, type=INT64)
    return ColumnRef(Ident(name, quoted=True), source=table_number, column=column, meta=ValueMetadata(INT64))


# --- looking up -------------------------------------------------------------------------------------------------------


def to_double_array(column: pa.ChunkedArray) -> Numbers:
    """Return a column of numbers as doubles, with NaN for null."""
    double_column = column.cast(pa.float64())
    return np.asarray(double_column.to_numpy(), dtype=np.float64)


class IndexedPositions(NamedTuple):
    """Positions among which circles are looked up.

    Attributes
    ----------
    cells
        Their HEALPix indexes of order 29, ascending.
    get_positions
        Returns the longitudes and latitudes, in degrees, behind places among the cells.
    rows
        The rows behind the cells; None if they are in the order of the cells.
    """

    cells: Rows
    get_positions: Callable[[Rows], tuple[Numbers, Numbers]]
    rows: Rows | None = None


def get_indexed_positions(stored: OpenSnapshot, position_columns: tuple[str, str]) -> IndexedPositions:
    """Return the positions of a table's own index."""
    projection = stored.get_projection(position_columns)

    def get_positions(row_numbers: Rows) -> tuple[Numbers, Numbers]:
        unique_rows, unique_numbers = np.unique(row_numbers, return_inverse=True)
        position_batch = projection.take_ascending_rows(unique_rows)
        lon_column, lat_column = position_batch.columns
        lon = lon_column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        lat = lat_column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.asarray(lon)[unique_numbers], np.asarray(lat)[unique_numbers]

    return IndexedPositions(stored.cell_indexes, get_positions)


def find_near_pairs(
    position_sets: Sequence[IndexedPositions], circles: tuple[Numbers, Numbers, Numbers], exact_test: str = ""
) -> list[tuple[Rows, Rows]] | None:
    """Return for each set of positions the pairs (circle number, row) of positions that lie in circles.

    Return None if there are too many.

    Parameters
    ----------
    position_sets
        The members of a union: circles are covered once for all of them.
    circles
        Longitudes, latitudes and radii in degrees.
    exact_test
        See `PositionJoin`; if empty, some pairs may be a nano-degree too far apart.
    """
    lon, lat, radius = circles
    no_rows = np.empty(0, np.int64)
    owners_by_set: list[list[Rows]] = [[no_rows] for _ in position_sets]
    rows_by_set: list[list[Rows]] = [[no_rows] for _ in position_sets]
    tested_counts = [0] * len(position_sets)
    pair_count = 0
    for circle_numbers, ranges in _cover_circles(circles):
        for number, positions in enumerate(position_sets):
            places = positions.cells.searchsorted(ranges.ravel()).reshape(-1, 2)
            counts = places[:, 1] - places[:, 0]
            tested_counts[number] += int(counts.sum())
            if max(tested_counts[number], pair_count) > MAX_PAIRS:
                return None
            row = expand_ranges(places)
            owner = np.repeat(circle_numbers, counts)
            if not len(row):
                continue
            pair_circles = (lon[owner], lat[owner], radius[owner])
            is_near = _compute_near_pair_mask(exact_test, positions.get_positions(row), pair_circles)
            near_row = row[is_near]
            owners_by_set[number].append(owner[is_near])
            rows_by_set[number].append(near_row if positions.rows is None else positions.rows[near_row])
            pair_count += len(near_row)
    return [
        (np.concatenate(owners), np.concatenate(rows)) for owners, rows in zip(owners_by_set, rows_by_set, strict=True)
    ]


def _compute_near_pair_mask(
    exact_test: str, positions: tuple[Numbers, Numbers], circles: tuple[Numbers, Numbers, Numbers]
) -> Any:
    """Return a mask of the positions that lie in the circle of their pair."""
    x, y = positions
    lon, lat, radius = circles
    if exact_test == "<":
        return compute_angular_distance(x, y, lon, lat) < radius
    if exact_test == "<=":
        return compute_angular_distance(x, y, lon, lat) <= radius
    if not exact_test:
        radius = radius + _PAIR_MARGIN_DEGREES
    return sphere.is_point_in_circle(x, y, lon, lat, radius)


def _cover_circles(circles: tuple[Numbers, Numbers, Numbers]) -> Iterator[tuple[Rows, Rows]]:
    """Yield circle numbers and the cell ranges that cover them, in batches.

    Neighbouring circles are in the same batch, so that the memory pages of their rows are read once.
    """
    lon, lat, radius = circles
    cell_indexes = healpix.compute_cell_indexes(9, lon, lat)
    order = np.argsort(cell_indexes, kind="stable")
    for begin in range(0, len(order), CIRCLE_BATCH_COUNT):
        check_deadline()
        part = order[begin : begin + CIRCLE_BATCH_COUNT]
        circle_numbers, ranges = healpix.cover_cones(lon[part], lat[part], radius[part])
        yield part[circle_numbers], ranges


def find_possibly_touching_pairs(
    index: RegionIndex, circles: tuple[Numbers, Numbers, Numbers]
) -> tuple[Rows, Rows] | None:
    """Return the pairs (circle number, row) of circles and regions that may touch.

    Return None if there are too many.
    """
    lon, lat, radius = circles
    centre_vectors = sphere.to_unit_vectors(lon, lat)
    radius_radians = np.radians(radius)
    pair_codes = [np.empty(0, np.int64)]
    total = 0
    for circle_numbers, ranges in _cover_circles(circles):
        for places in index.iterate_possibly_touching_places(ranges, circle_numbers):
            counts = places[:, 1] - places[:, 0]
            total += int(counts.sum())
            if total > MAX_PAIRS:
                return None
            batch_limits = np.arange(PAIR_BATCH_COUNT, counts.sum(), PAIR_BATCH_COUNT)
            batch_begins = np.unique(np.searchsorted(np.cumsum(counts), batch_limits))
            for part in np.split(np.arange(len(counts)), batch_begins):
                owner = np.repeat(circle_numbers[part], counts[part])
                row = index.rows[expand_ranges(places[part])].astype(np.int64)
                is_near = index.compute_near_cap_mask(row, centre_vectors[owner], radius_radians[owner])
                pair_codes.append(owner[is_near] * _ROW_NUMBER_BASE + row[is_near])
    sorted_codes = np.sort(np.concatenate(pair_codes))
    is_first = np.append(True, sorted_codes[1:] > sorted_codes[:-1])[: len(sorted_codes)]
    return np.divmod(sorted_codes[is_first], _ROW_NUMBER_BASE)


def append_number_column(rows: pa.Table, column_name: str, numbers: Rows) -> pa.Table:
    """Append a column of row numbers."""
    return rows.append_column(column_name, pa.array(numbers))


def build_driver_circles(rows: pa.Table) -> tuple[Numbers, Numbers, Numbers] | None:
    """Return the circles around rows of the driver: longitude, latitude, radius in degrees.

    NaN stands for null and matches nothing.

    Parameters
    ----------
    rows
        The computed columns of `PositionJoinSide.circle_expressions`.

    Returns
    -------
    The circles; None if there are true NaNs among the radii, because DuckDB orders every number before NaN.
    """
    if rows.num_columns == 1:
        shapes = rows.column(0).combine_chunks()
        if pa.types.is_fixed_size_list(shapes.type):
            return _read_circle_arrays(shapes)
        return _compute_bounding_circles(shapes)
    lon = to_double_array(rows.column(0))
    lat = to_double_array(rows.column(1))
    if rows.num_columns == 2:
        return lon, lat, np.where(np.isnan(lon + lat), np.nan, 0.0)
    radius_column = rows.column(2)
    radius = to_double_array(radius_column)
    if int(np.isnan(radius).sum()) != radius_column.null_count:
        return None
    return lon, lat, np.minimum(radius, 180.0)


def _read_circle_arrays(circles: pa.Array) -> tuple[Numbers, Numbers, Numbers]:
    """Return longitude, latitude and radius of circles, which are lists of three numbers."""
    numbers = np.full((len(circles), 3), np.nan)
    circle_values = to_double_array(pa.chunked_array([circles.flatten()]))
    numbers[np.asarray(circles.is_valid())] = circle_values.reshape(-1, 3)
    return numbers[:, 0], numbers[:, 1], np.minimum(numbers[:, 2], 180.0)


def _compute_bounding_circles(polygons: pa.Array) -> tuple[Numbers, Numbers, Numbers]:
    """Compute a circle around each polygon.

    The inside of a polygon is on the side of the smaller area, so a cap of less than 90 degrees holds it.
    """
    lengths = pc.fill_null(pc.list_value_length(polygons), 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vertex_coordinates = to_double_array(pa.chunked_array([polygons.flatten()]))
    lon, lat, radius, _ = polygon_arrays.compute_bounding_circles_and_thinness(offsets, vertex_coordinates, np.inf)
    cap_radius = np.where(radius >= _MAX_CAP_RADIUS_DEGREES, 180.0, radius + _CAP_MARGIN_DEGREES)
    return lon, lat, cap_radius


def find_rows_with_keys(index: KeyIndex, keys: Any, row_limit: int) -> CandidateRows | None:
    """Return the rows whose key is among `keys` (an Arrow column of the same kind of type).

    Return None if they are too many.
    """
    if index.values is None:
        return None
    key_type = index.values.dtype
    non_null_keys = keys.drop_null()
    if non_null_keys.num_chunks:
        key_arrays = [view_stored_numbers(chunk) for chunk in non_null_keys.chunks]
        unique_keys = np.unique(np.concatenate(key_arrays))
    else:
        unique_keys = np.empty(0, key_type)
    if unique_keys.dtype != key_type:
        limits = np.iinfo(key_type)
        can_be_in_index = (unique_keys >= limits.min) & (unique_keys <= limits.max)
        unique_keys = unique_keys[can_be_in_index].astype(key_type)
    begin = index.values.searchsorted(unique_keys, side="left")
    end = index.values.searchsorted(unique_keys, side="right")
    count = int((end - begin).sum())
    if count > row_limit:
        return None
    rows = expand_ranges(np.stack([begin, end], axis=1).astype(np.int64))
    if index.rows is not None:
        rows = index.rows[rows].astype(np.int64)
    return CandidateRows(count, pieces=(rows,))
