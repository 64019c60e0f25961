"""Joins by position and by key.

Which rows of an indexed table can meet which rows of the other, found without a cross product.

A match ``CONTAINS(POINT(t.ra, t.dec), CIRCLE(d.lon, d.lat, r)) = 1`` or ``DISTANCE(..) < r`` becomes: cover every
circle of `d` by HEALPix ranges, look them up in the index of `t`, keep the pairs that are near enough. `t` is then
replaced by its rows of these pairs (a row once for each pair) with the number of the partner in `d`, and the condition
is joined by ``t.partner = d.row``: a hash join, with the exact condition after it. `d` may be a table, a derived table
(which is computed first), or a table of the query around a subquery; what lies around its rows may be computed from
them: a box, a polygon, ``3 * d.error``. If the condition is about a column of regions of `t`, the index of these gives
the pairs. A join on an indexed key narrows the indexed table to the rows that have one of the keys.
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
from hven.model.sky import compute_distance, healpix, polygon_arrays, sphere
from hven.model.table import Column
from hven.model.types import BOOLEAN, CIRCLE, INT64, POLYGON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.engines._query_analysis.constants import Constant
    from hven.engines.duckdb.key_index import KeyIndex
    from hven.engines.duckdb.region_index import RegionIndex
    from hven.engines.duckdb.snapshot_files import OpenSnapshot
    from hven.engines.duckdb.union_members import UnionMember
    from hven.model.types import Type

    Numbers = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

MAX_DRIVER_ROWS = 2_000_000  # circles that are looked up at most
MAX_PAIRS = 50_000_000  # pairs that are looked at at most
MAX_NESTED_LOOP_PAIRS = 2_000_000  # pairs that DuckDB may try one by one ..
MAX_NESTED_LOOP_SHAPE_PAIRS = 1_000  # .. if they are of regions, which are dear
CIRCLE_BATCH_COUNT = 200_000  # circles at a time
PAIR_BATCH_COUNT = (
    1 << 15
)  # pairs that are compared at a time: in a processor's cache, and in memory that need not be asked for anew
_ROW_NUMBER_BASE = 1 << 40  # more than a table has
_MAX_CAP_RADIUS_DEGREES = 89.0  # degrees: polygons that reach farther from their middle may be anywhere
_CAP_MARGIN_DEGREES = 1e-9  # degrees
_PAIR_MARGIN_DEGREES = 1e-9  # degrees: pairs are kept by a wider circle than the exact test draws


@dataclass(frozen=True, slots=True)
class MatchSide:
    """One way to use a match: the rows of `target_number` are looked up for every row of `driver_number`.

    Attributes
    ----------
    duplicated_number
        The reference that gets one row for each pair; the other one keeps its rows, numbered.
    position
        Columns of the target's position index.
    circle_expressions
        What lies around a row of the driver: longitude, latitude and radius in degrees, a position, or one expression
        that is a shape.
    union_members
        The members of the target, if it is a union.
    region_column
        The target's column of regions, if it is their index that is looked up.
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
        """Number of pairs that DuckDB may try one by one."""
        return MAX_NESTED_LOOP_SHAPE_PAIRS if self.region_column else MAX_NESTED_LOOP_PAIRS

    def has_index(self, stored: OpenSnapshot) -> bool:
        """Tell whether a snapshot has the index that is looked up."""
        if self.region_column:
            return stored.get_region_index(self.region_column) is not None
        return bool(self.union_members) or stored.manifest.position == self.position


@dataclass(frozen=True, slots=True)
class PositionMatch:
    """A condition that joins two tables by position.

    Attributes
    ----------
    required_one
        Must be 1 when the plan runs: ``CONTAINS(..) = 1``.
    exact_test
        In ON of an outer join, in subqueries, and for shapes, which are dear to test: how pairs are tested before
        DuckDB sees them (``inside``, ``<`` or ``<=``; ``asked``: by the condition itself, over the pairs), for DuckDB
        makes a hash join there of nothing but equalities. Empty elsewhere: DuckDB tests the condition after the join.
    """

    condition: Expr
    sides: tuple[MatchSide, ...]
    required_one: Constant | None
    exact_test: str = ""


@dataclass(frozen=True, slots=True)
class KeyJoin:
    """A condition that joins the indexed `column` of `target_number` to `driver_column` of `driver_number`."""

    target_number: int
    column: str
    driver_number: int
    driver_column: str


def find_position_matches(narrowable: NarrowableSelect, free_slots: frozenset[int]) -> list[PositionMatch]:
    """Find the joins by position of one SELECT."""
    position_matches = []
    for condition, leaves in narrowable.conditions:
        required_one: Constant | None = None
        point_in_shape = match_point_in_shape(condition)
        candidate_sides: list[tuple[tuple[Expr, Expr], tuple[Expr, ...]]] = []
        exact_test = "asked"
        if point_in_shape is not None:
            point = match_point_coordinates(point_in_shape[0])
            circle = match_circle_parts(point_in_shape[1])
            required_one = compile_constant(point_in_shape[2], free_slots)
            if point is not None and circle is not None:
                candidate_sides = [(point, circle), (circle[:2], (*point, circle[2]))]
                exact_test = "inside"
            elif point is not None:
                candidate_sides = [(point, (point_in_shape[1],))]
        elif (pair := next(match_distance_conditions(condition), None)) is not None:
            a, b, limit, exact_test = pair
            candidate_sides = [(a, (*b, limit)), (b, (*a, limit))]
        possible_sides = [
            _build_position_side(narrowable, leaves, target_position, circle_expressions)
            for target_position, circle_expressions in candidate_sides
        ]
        shapes = match_shape_predicate(condition)
        if shapes is not None:
            required_one = compile_constant(shapes[2], free_slots)
            exact_test = "asked" if any(map(_is_region_column, shapes[:2])) else exact_test
            possible_sides += [
                _build_region_side(narrowable, leaves, target_position, driver_shape)
                for target_position, driver_shape in (shapes[:2], shapes[1::-1])
            ]
        sides = tuple(side for side in possible_sides if side is not None)
        if sides:
            position_matches.append(
                PositionMatch(
                    condition,
                    sides,
                    required_one,
                    exact_test if id(condition) in narrowable.outer_join_conditions or exact_test == "asked" else "",
                )
            )
    return position_matches


def find_correlated_matches(
    inner_select: NarrowableSelect, outer_select: NarrowableSelect, free_slots: frozenset[int]
) -> list[PositionMatch]:
    """Find the conditions of a subquery that join its tables by position to those of the query around it.

    A row of the subquery meets a row outside as often as before: the condition becomes an equality that pairs them
    once.
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
    position_matches = []
    for match in find_position_matches(combined_select, free_slots):
        sides = tuple(
            side
            for side in match.sides
            if (side.target_number in inner_numbers) != (side.driver_number in inner_numbers)
            and side.duplicated_number in inner_numbers
        )
        if sides:
            position_matches.append(replace(match, sides=sides))
    return position_matches


def _build_position_side(
    narrowable: NarrowableSelect,
    narrowed_numbers: frozenset[int],
    target_position: tuple[Expr, Expr],
    circle_expressions: tuple[Expr, ...],
) -> MatchSide | None:
    if not isinstance(target_position[0], ColumnRef):
        return None
    target = target_position[0].source
    if target in narrowable.derived_tables and target in narrowed_numbers:
        parts = match_union_members(narrowable.derived_tables[target], target_position)
    else:
        parts = ()
    position = (
        ("", "")
        if parts
        else match_indexed_position(narrowable, target, target_position)
        if target in narrowable.direct_numbers
        else None
    )
    if position is None:
        return None
    side = _build_driven_side(narrowable, narrowed_numbers, target, circle_expressions)
    if side is None:
        return None
    return replace(side, position=position, union_members=parts)


def _build_region_side(
    narrowable: NarrowableSelect, narrowed_numbers: frozenset[int], region_expression: Expr, shape_expression: Expr
) -> MatchSide | None:
    if (
        not isinstance(region_expression, ColumnRef)
        or region_expression.column is None
        or region_expression.source not in narrowable.direct_numbers
        or not _is_region_column(region_expression)
    ):
        return None
    side = _build_driven_side(
        narrowable,
        narrowed_numbers,
        region_expression.source,
        match_point_coordinates(shape_expression) or match_circle_parts(shape_expression) or (shape_expression,),
    )
    if side is None:
        return None
    return replace(side, region_column=region_expression.column.name)


def _is_region_column(expression: Expr) -> bool:
    return isinstance(expression, ColumnRef) and expression.column is not None and expression.column.type.is_geometry


def _build_driven_side(
    narrowable: NarrowableSelect,
    narrowed_numbers: frozenset[int],
    target_number: int,
    circle_expressions: tuple[Expr, ...],
) -> MatchSide | None:
    """Return the side of a target whose driver is what `circle_expressions` is computed from, if that is one reference."""
    drivers = {node.source for node in walk_tree(circle_expressions) if isinstance(node, ColumnRef)}
    if len(drivers) != 1 or not all(map(is_single_row_expression, circle_expressions)):
        return None
    (driver,) = drivers
    if driver == target_number or (driver not in narrowable.direct_numbers and driver not in narrowable.derived_tables):
        return None
    if any(
        part.meta is None or part.meta.aggregate or not _is_circle_part_type(part.meta.type, len(circle_expressions))
        for part in circle_expressions
    ):
        return None
    doubled = target_number if target_number in narrowed_numbers else driver
    if doubled in narrowed_numbers:
        return MatchSide(target_number, driver, doubled, ("", ""), circle_expressions)
    return None


def _is_circle_part_type(part_type: Type, part_count: int) -> bool:
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
            if (
                not (isinstance(target_column, ColumnRef) and isinstance(driver_column, ColumnRef))
                or target_column.column is None
                or driver_column.column is None
            ):
                continue
            if (
                not {target_column.source, driver_column.source} <= narrowable.direct_numbers
                or target_column.source == driver_column.source
                or target_column.source not in leaves
            ):
                continue
            are_comparable = (target_column.column.type.is_integer and driver_column.column.type.is_integer) or (
                target_column.column.type.is_timestamp and driver_column.column.type.is_timestamp
            )
            name = match_indexed_column(narrowable, target_column.source, target_column)
            if are_comparable and name is not None:
                joins.append(KeyJoin(target_column.source, name, driver_column.source, driver_column.column.name))
    return joins


def write_pair_condition(match: PositionMatch, side: MatchSide) -> Expr:
    """Return the condition with the equality of row numbers before it, or that alone if the pairs are exact."""
    if side.duplicated_number == side.target_number:
        numbered_reference = side.driver_number
    else:
        numbered_reference = side.target_number
    hidden_column = _build_hidden_column(PARTNER_COLUMN, side.duplicated_number)
    row_equality = Comparison(
        "=",
        hidden_column,
        _build_hidden_column(ROW_NUMBER_COLUMN, numbered_reference),
        meta=ValueMetadata(BOOLEAN),
    )
    if match.exact_test:
        return row_equality
    return Conjunction((row_equality, match.condition), meta=ValueMetadata(BOOLEAN))


def _build_hidden_column(name: str, table_number: int) -> ColumnRef:
    return ColumnRef(
        Ident(name, quoted=True), source=table_number, column=Column(name=name, type=INT64), meta=ValueMetadata(INT64)
    )


# --- looking up -------------------------------------------------------------------------------------------------------


def to_double_array(column: pa.ChunkedArray) -> Numbers:
    """Read a column of numbers as doubles, NaN for null."""
    double_column = column.cast(pa.float64())
    return np.asarray(double_column.to_numpy(), dtype=np.float64)


class IndexedPositions(NamedTuple):
    """Positions among which circles are looked up.

    Attributes
    ----------
    cells
        Their HEALPix indexes of order 29, ascending.
    get_positions
        Gives longitudes and latitudes behind some of the cells.
    rows
        The rows behind the cells; None: they stand in this order.
    """

    cells: Rows
    get_positions: Callable[[Rows], tuple[Numbers, Numbers]]
    rows: Rows | None = None


def get_indexed_positions(stored: OpenSnapshot, position_columns: tuple[str, str]) -> IndexedPositions:
    """Return the positions of a table's own index."""
    places = stored.get_projection(position_columns)

    def get_positions(row_numbers: Rows) -> tuple[Numbers, Numbers]:
        unique, row_of_unique = np.unique(row_numbers, return_inverse=True)
        position_batch = places.take_ascending(unique)
        lon, lat = (
            np.asarray(position_batch.column(number).cast(pa.float64()).to_numpy(zero_copy_only=False))[row_of_unique]
            for number in (0, 1)
        )
        return lon, lat

    return IndexedPositions(stored.cell_indexes, get_positions)


def find_near_pairs(
    position_sets: Sequence[IndexedPositions], circles: tuple[Numbers, Numbers, Numbers], exact_test: str = ""
) -> list[tuple[Rows, Rows]] | None:
    """Return for each set of positions the pairs (number of circle, row) of those that lie in circles.

    None if there are too many.

    Parameters
    ----------
    position_sets
        The members of a union: circles are covered once for all of them.
    circles
        Longitudes, latitudes, radii in degrees.
    exact_test
        See `PositionMatch`; if empty, some pairs may be a nano-degree too far apart.
    """
    lon, lat, radius = circles
    pairs_by_set: list[tuple[list[Rows], list[Rows]]] = [([], []) for _ in position_sets]
    totals = [0] * len(position_sets)
    pair_count = 0
    for circle_numbers, ranges in _cover_circles(circles):
        for number, places in enumerate(position_sets):
            ends = places.cells.searchsorted(ranges.ravel()).reshape(-1, 2)
            counts = ends[:, 1] - ends[:, 0]
            totals[number] += int(counts.sum())
            if max(totals[number], pair_count) > MAX_PAIRS:
                return None
            row = expand_ranges(ends)
            owner = np.repeat(circle_numbers, counts)
            if len(row):
                x, y = places.get_positions(row)
                is_near = _test_pairs(exact_test, x, y, lon[owner], lat[owner], radius[owner])
                owner = owner[is_near]
                row = row[is_near]
                pairs_by_set[number][0].append(owner)
                pairs_by_set[number][1].append(row if places.rows is None else places.rows[row])
                pair_count += len(row)
    no_rows = np.empty(0, np.int64)
    return [(np.concatenate([no_rows, *owners]), np.concatenate([no_rows, *rows])) for owners, rows in pairs_by_set]


def _test_pairs(exact_test: str, x: Numbers, y: Numbers, lon: Numbers, lat: Numbers, radius: Numbers) -> Any:
    if exact_test == "<":
        return compute_distance(x, y, lon, lat) < radius
    if exact_test == "<=":
        return compute_distance(x, y, lon, lat) <= radius
    return sphere.is_point_in_circle(x, y, lon, lat, radius if exact_test else radius + _PAIR_MARGIN_DEGREES)


def _cover_circles(circles: tuple[Numbers, Numbers, Numbers]) -> Iterator[tuple[Rows, Rows]]:
    """Yield numbers of circles and the ranges that hold them, a step at a time.

    Neighbours are looked up together, their pages are warm.
    """
    lon, lat, radius = circles
    cell_indexes = healpix.compute_cell_indexes(9, lon, lat)
    order = np.argsort(cell_indexes, kind="stable")
    for begin in range(0, len(order), CIRCLE_BATCH_COUNT):
        check_deadline()
        part = order[begin : begin + CIRCLE_BATCH_COUNT]
        circle_numbers, ranges = healpix.cover_cones(lon[part], lat[part], radius[part])
        yield part[circle_numbers], ranges


def find_touching_pairs(index: RegionIndex, circles: tuple[Numbers, Numbers, Numbers]) -> tuple[Rows, Rows] | None:
    """Return the pairs (number of circle, row) of those circles and regions that may touch.

    None if there are too many.
    """
    lon, lat, radius = circles
    centre_vectors = sphere.to_unit_vectors(lon, lat)
    radius_radians = np.radians(radius)
    pair_codes = [np.empty(0, np.int64)]
    total = 0
    for circle_numbers, ranges in _cover_circles(circles):
        for places in index.iterate_places(ranges, circle_numbers):
            count = places[:, 1] - places[:, 0]
            total += int(count.sum())
            if total > MAX_PAIRS:
                return None
            cuts = np.searchsorted(np.cumsum(count), np.arange(PAIR_BATCH_COUNT, count.sum(), PAIR_BATCH_COUNT))
            for part in np.split(np.arange(len(count)), np.unique(cuts)):
                owner = np.repeat(circle_numbers[part], count[part])
                row = index.rows[expand_ranges(places[part])].astype(np.int64)
                is_near = index.test_caps(row, centre_vectors[owner], radius_radians[owner])
                pair_codes.append(owner[is_near] * _ROW_NUMBER_BASE + row[is_near])
    pairs = np.sort(np.concatenate(pair_codes))
    return np.divmod(pairs[np.append(True, pairs[1:] > pairs[:-1])[: len(pairs)]], _ROW_NUMBER_BASE)


def append_numbers(rows: pa.Table, column_name: str, numbers: Rows) -> pa.Table:
    """Append a column of row numbers."""
    return rows.append_column(column_name, pa.array(numbers))


def build_circles(rows: pa.Table) -> tuple[Numbers, Numbers, Numbers] | None:
    """Return the circles around rows of the driver: longitude, latitude, radius in degrees.

    NaN stands for null and finds nothing.

    Parameters
    ----------
    rows
        `MatchSide.circle_expressions`, computed.

    Returns
    -------
    None if there are true NaNs among the radii: DuckDB calls everything smaller than NaN.
    """
    if rows.num_columns == 1:
        shape = rows.column(0).combine_chunks()
        if pa.types.is_fixed_size_list(shape.type):
            numbers = np.full((len(shape), 3), np.nan)
            numbers[np.asarray(shape.is_valid())] = to_double_array(pa.chunked_array([shape.flatten()])).reshape(-1, 3)
            return numbers[:, 0], numbers[:, 1], np.minimum(numbers[:, 2], 180.0)
        return _compute_bounding_circles(shape)
    if rows.num_columns == 2:
        lon = to_double_array(rows.column(0))
        lat = to_double_array(rows.column(1))
        return lon, lat, np.where(np.isnan(lon + lat), np.nan, 0.0)
    column = rows.column(2)
    radius = to_double_array(column)
    if int(np.isnan(radius).sum()) != column.null_count:
        return None
    return to_double_array(rows.column(0)), to_double_array(rows.column(1)), np.minimum(radius, 180.0)


def _compute_bounding_circles(polygons: pa.Array) -> tuple[Numbers, Numbers, Numbers]:
    """Compute a circle around each polygon.

    Its inside is on the side of the smaller area, so a cap of less than 90 degrees holds it.
    """
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(polygons), 0))])
    lon, lat, radius, _ = polygon_arrays.compute_bounding_circles(
        offsets, to_double_array(pa.chunked_array([polygons.flatten()])), np.inf
    )
    return lon, lat, np.where(radius >= _MAX_CAP_RADIUS_DEGREES, 180.0, radius + _CAP_MARGIN_DEGREES)


def find_rows_with_keys(index: KeyIndex, keys: Any, row_limit: int) -> CandidateRows | None:
    """Return the rows whose key is among `keys` (an Arrow column of the same kind of type).

    None if they are too many.
    """
    if index.values is None:
        return None
    non_null_keys = keys.drop_null()
    if non_null_keys.num_chunks:
        unique_keys = np.unique(np.concatenate([view_stored_numbers(chunk) for chunk in non_null_keys.chunks]))
    else:
        unique_keys = np.empty(0, index.values.dtype)
    if unique_keys.dtype != index.values.dtype:
        limits = np.iinfo(index.values.dtype)
        unique_keys = unique_keys[(unique_keys >= limits.min) & (unique_keys <= limits.max)].astype(index.values.dtype)
    begin = index.values.searchsorted(unique_keys, side="left")
    end = index.values.searchsorted(unique_keys, side="right")
    count = int((end - begin).sum())
    if count > row_limit:
        return None
    places = expand_ranges(np.stack([begin, end], axis=1).astype(np.int64))
    if index.rows is None:
        rows = places
    else:
        rows = index.rows[places].astype(np.int64)
    return CandidateRows(count, pieces=(rows,))
