"""Matches of positions by HEALPix cells.

The rows of one table are spread over the cells that their circles may touch, and joined by equality with the cell of
each row of the other table. Each row of the other table is in one cell, so a pair is found once; the exact test stands
beside. The table whose rows the condition may reduce is spread, so that outer joins keep their rows.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import ColumnRef, Comparison, FunctionCall, TableRef
from hven.engines.api.geometry_analysis import (
    match_circle_parts,
    match_column_pair,
    match_distance_conditions,
    match_point_coordinates,
    match_point_in_shape,
)
from hven.engines.api.query_analysis import analyse_select, compile_constant
from hven.model.sky import healpix, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines.api.query_analysis import Constant, NarrowableSelect

    Pair = tuple[ColumnRef, ColumnRef]
    Position = tuple[Expr, Expr] | None
    Values = Sequence[float | str | None]

CELL_COLUMN = "_healpix_29"  # HEALPix index of order 29: the first column of every file of a table with a position
PROBE_CELL_COLUMN = "hven place"  # the same index, of another position than the table's own
SPREAD_CELL_COLUMN = "hven cell"  # the cell of a row that is spread
# It stands in the names of views where each query gets a suffix of its own; no text of a user contains it.
QUERY_NAME_MARK = f"_{uuid.uuid4().hex}"
SPREAD_SUFFIX = "_spread"  # follows the name of a view whose rows are spread
MAX_CIRCLE_DEGREES = 9.7  # the widest cells are four times as wide as this circle
RADIUS_MARGIN_DEGREES = 1.2e-6  # more than any rounding error
_RING_POINT_COUNT = 20


@dataclass(frozen=True, slots=True)
class PositionMatchCondition:
    """A condition that two positions are near.

    Attributes
    ----------
    probe_columns
        Longitude and latitude of the rows that are in one cell each.
    spread_table
        The table reference whose rows are spread.
    centre_columns
        Longitude and latitude of the circles of the rows that are spread.
    radius
        Radius in degrees, or the column of the radii, if the rows that are spread are in memory.
    is_indexed
        True if the probe is the position of its table, whose cells are stored.
    probe_table
        Qualified name of the probe's table.
    """

    probe_columns: Pair
    spread_table: TableRef
    centre_columns: Pair
    radius: Constant | str
    is_indexed: bool
    probe_table: str

    @property
    def probe_column_names(self) -> tuple[str, ...]:
        """The names of the probe's columns."""
        return tuple(item.column.name for item in self.probe_columns if item.column is not None)

    def compute_common_radius(self, literal_values: Values) -> float:
        """Return the radius in degrees, the same for all rows; NaN if there is none, or if each row has its own."""
        if isinstance(self.radius, str):
            return math.nan
        radius_value = self.radius(literal_values)
        if isinstance(radius_value, int | float) and radius_value >= 0:
            return float(radius_value)
        return math.nan

    def compute_row_radii(self, literal_values: Values, rows: pa.Table) -> npt.NDArray[np.float64]:
        """Return the radius of each of some rows in memory; NaN where there is none."""
        if not isinstance(self.radius, str):
            return np.full(rows.num_rows, self.compute_common_radius(literal_values))
        radius_column: npt.NDArray[np.float64] = rows.column(self.radius).cast(pa.float64()).to_numpy()
        return np.where(radius_column >= 0, radius_column, math.nan)


def find_largest_radius(radii: npt.NDArray[np.float64]) -> float:
    """Return the largest of some radii; NaN if there is none."""
    known_radii = radii[~np.isnan(radii)]
    if len(known_radii):
        return float(known_radii.max())
    return math.nan


def choose_cell_order(radius: float) -> int:
    """Return the finest order whose cells are four times as wide as a circle; 0 if there are none."""
    padded_radius = radius + RADIUS_MARGIN_DEGREES
    # The radius is NaN if there are no rows.
    if padded_radius < MAX_CIRCLE_DEGREES:
        return min(29, int(math.log2(MAX_CIRCLE_DEGREES / padded_radius)))
    return 0


def find_position_match_conditions(bound_query: BoundQuery) -> dict[int, PositionMatchCondition]:
    """Find the matches of a query: id() of the comparison or call -> match.

    Each table reference is spread once.
    """
    matches_by_id: dict[int, PositionMatchCondition] = {}
    spread_numbers: set[int] = set()
    probe_names_by_table: dict[str, tuple[str, ...]] = {}
    for select in bound_query.survey.selects:
        narrowable = analyse_select(select)
        for condition, table_numbers in narrowable.conditions:
            for node_id, positions, radius in _iterate_distance_conditions(condition, bound_query.free_slots):
                match = _build_position_match(positions, radius, narrowable, table_numbers, bound_query)
                if match is None or match.spread_table.number in spread_numbers:
                    continue
                # A table has the cells of one other position at most.
                if not match.is_indexed:
                    probe_names = probe_names_by_table.setdefault(match.probe_table, match.probe_column_names)
                    if probe_names != match.probe_column_names:
                        continue
                spread_numbers.add(match.spread_table.number)
                matches_by_id[node_id] = match
                break
    return matches_by_id


def _iterate_distance_conditions(
    condition: Expr, free_slots: frozenset[int]
) -> Iterator[tuple[int, tuple[Position, Position], Expr]]:
    """Yield id(), the two positions and the radius of a condition that two positions are near."""
    point_in_shape = match_point_in_shape(condition)
    if point_in_shape is not None and isinstance(condition, Comparison):
        point, shape, literal = point_in_shape
        circle = match_circle_parts(shape)
        is_required = literal.value == 1 and literal.slot not in free_slots
        if circle is not None and is_required:
            call = condition.left if isinstance(condition.left, FunctionCall) else condition.right
            yield id(call), (match_point_coordinates(point), circle[:2]), circle[2]
    for first_position, second_position, limit, _ in match_distance_conditions(condition):
        yield id(condition), (first_position, second_position), limit


def _build_position_match(
    positions: tuple[Position, Position],
    radius_expression: Expr,
    narrowable: NarrowableSelect,
    narrowed_numbers: frozenset[int],
    bound_query: BoundQuery,
) -> PositionMatchCondition | None:
    """Build the match of two positions; None if neither table can be spread."""
    first_columns = match_column_pair(positions[0])
    second_columns = match_column_pair(positions[1])
    if first_columns is None or second_columns is None:
        return None
    radius = compile_constant(radius_expression, bound_query.free_slots)
    radius_column = None
    if radius is None:
        radius_column = narrowable.find_stored_column(radius_expression)
        if radius_column is None or radius_column.column is None:
            return None
    best_match: PositionMatchCondition | None = None
    best_score = -1
    for probe_columns, centre_columns in ((first_columns, second_columns), (second_columns, first_columns)):
        probe = _find_position_table(probe_columns, narrowable)
        spread = _find_position_table(centre_columns, narrowable)
        if probe is None or spread is None or probe.number == spread.number:
            continue
        if spread.number not in narrowed_numbers or spread.table is None or probe.table is None:
            continue
        probe_names = tuple(item.column.name for item in probe_columns if item.column is not None)
        is_indexed = probe.table.position == probe_names
        # Rows in memory are few, and the cells of the other table are stored.
        is_in_memory = spread.table.schema.upper() == "TAP_UPLOAD"
        match_radius: Constant | str | None = radius
        if radius_column is not None and radius_column.source == spread.number and is_in_memory:
            match_radius = None
            if radius_column.column is not None:
                match_radius = radius_column.column.name
        score = 2 * is_indexed + is_in_memory
        if match_radius is not None and score > best_score:
            best_score = score
            best_match = PositionMatchCondition(
                probe_columns, spread, centre_columns, match_radius, is_indexed, probe.table.qualified_name
            )
    return best_match


def _find_position_table(columns: Pair, narrowable: NarrowableSelect) -> TableRef | None:
    """Return the table reference that has both columns of a position."""
    if columns[0].source != columns[1].source:
        return None
    table_ref = narrowable.table_refs.get(columns[0].source)
    if table_ref is None or table_ref.table is None or table_ref.number not in narrowable.direct_numbers:
        return None
    return table_ref


def list_circle_cells(
    order: int, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> pa.Array:
    """List for each row the cells of an order that a circle may touch; null where there is no circle.

    The cells are at least four times as wide as the circle, and no corner of a cell is narrower than 50 degrees. A cell
    that the circle touches therefore contains its centre or one of twenty points at twice its radius. Larger circles
    have all twelve cells of order 0.
    """
    rows = len(lon)
    if not rows:
        return pa.array([], pa.list_(pa.int64()))
    with np.errstate(invalid="ignore"):
        is_valid = (radius >= 0) & (abs(lat) <= 90) & np.isfinite(lon)
        is_wide = is_valid & ~(radius + RADIUS_MARGIN_DEGREES < MAX_CIRCLE_DEGREES / 2**order * 1.000001)
    arc = np.radians(np.minimum(radius + RADIUS_MARGIN_DEGREES, MAX_CIRCLE_DEGREES))
    lon, lat, arc = (np.where(is_valid, column, 0.0) for column in (lon, lat, arc))
    centre_vectors = sphere.to_unit_vectors(lon, lat)
    east = np.stack([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), np.zeros(rows)], axis=1)
    north = np.cross(centre_vectors, east)
    turn = 0.1 + np.arange(_RING_POINT_COUNT) * 2 * np.pi / _RING_POINT_COUNT
    directions = east[:, None] * np.cos(turn)[None, :, None] + north[:, None] * np.sin(turn)[None, :, None]
    ring = centre_vectors[:, None] * np.cos(2 * arc)[:, None, None] + directions * np.sin(2 * arc)[:, None, None]
    ring_lon, ring_lat = sphere.to_lon_lat(ring.reshape(-1, 3))
    centre_cells = healpix.compute_cell_indexes(order, lon, lat)
    ring_cells = healpix.compute_cell_indexes(order, ring_lon, ring_lat).reshape(rows, _RING_POINT_COUNT)
    touched_cells = np.concatenate([centre_cells[:, None], ring_cells], axis=1)
    touched_cells.sort(axis=1)
    is_first = np.ones(touched_cells.shape, bool)
    is_first[:, 1:] = touched_cells[:, 1:] != touched_cells[:, :-1]
    is_first[~is_valid] = False
    is_first[is_wide] = False
    offsets = np.concatenate([[0], np.cumsum(is_first.sum(axis=1))])
    cell_lists = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(touched_cells[is_first]), mask=pa.array(~is_valid)
    )
    if is_wide.any():  # the circle is wider than this order allows, or than the widest cells
        cell_numbers = []
        if order < 4:
            cell_numbers = list(range(12 << (2 * order)))
        all_cells = pa.array([cell_numbers], pa.list_(pa.int64()))
        list_numbers = np.where(is_wide, rows, np.arange(rows))
        cell_lists = pa.concat_arrays([cell_lists, all_cells]).take(pa.array(list_numbers))
    return cell_lists
