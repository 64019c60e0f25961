"""Matches of positions: rows of one table are spread over the HEALPix cells that their circles may touch, and joined with the other's by equality.

Each row of the other table is in one cell, so a pair is found once; the exact test stands beside. What is spread is the
table whose rows the condition may narrow, so that outer joins keep their rows.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.syntax_tree import ColumnRef, Comparison, FunctionCall, TableRef
from hven.engines._query_analysis.column_usage import list_selects
from hven.engines._query_analysis.constants import compile_constant
from hven.engines._query_analysis.geometry import (
    match_circle_parts,
    match_column_pair,
    match_distance_conditions,
    match_point_coordinates,
    match_point_in_shape,
)
from hven.engines._query_analysis.narrowable_selects import analyse_select
from hven.model.sky import healpix, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import BoundQuery, Expr
    from hven.engines._query_analysis.constants import Constant
    from hven.engines._query_analysis.narrowable_selects import NarrowableSelect

    Pair = tuple[ColumnRef, ColumnRef]
    Values = Sequence[float | str | None]

CELL_COLUMN = "_healpix_29"  # HEALPix index of order 29: the first column of every file of a table with a position
PROBE_CELL_COLUMN = "hven place"  # the same of another position than the table's own
SPREAD_CELL_COLUMN = "hven cell"  # the cell of a row that is spread
QUERY_NAME_MARK = (
    f"_{uuid.uuid4().hex}"  # in names of rows, instead of what makes each query's its own; no text of a user has it
)
SPREAD_SUFFIX = "_spread"  # behind the name of a table
MAX_CIRCLE_DEGREES = 9.7  # degrees: the circle of which the widest cells are four times as wide
RADIUS_MARGIN_DEGREES = 1.2e-6  # degrees: more than any rounding
_RING_POINT_COUNT = 20


@dataclass(frozen=True, slots=True)
class CellMatch:
    """A condition that two positions are near.

    Attributes
    ----------
    probe_columns
        Longitude and latitude of the rows that are in one cell each.
    spread_table
        The table reference whose rows are spread, by `centre_columns`.
    radius
        Degrees, or a column of rows in memory that are spread.
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
    def probe_names(self) -> tuple[str, ...]:
        """The names of the probe's columns."""
        return tuple(item.column.name for item in self.probe_columns if item.column is not None)

    def compute_radius(self, literal_values: Values) -> float:
        """Return the radius in degrees, the same for all rows; NaN: there is none, or each row has its own."""
        if isinstance(self.radius, str):
            radius_value = None
        else:
            radius_value = self.radius(literal_values)
        if isinstance(radius_value, int | float) and radius_value >= 0:
            return float(radius_value)
        return math.nan

    def compute_row_radii(self, literal_values: Values, rows: pa.Table) -> npt.NDArray[np.float64]:
        """Return the radius of each of some rows in memory; NaN where there is none."""
        if not isinstance(self.radius, str):
            return np.full(rows.num_rows, self.compute_radius(literal_values))
        radius_column: npt.NDArray[np.float64] = rows.column(self.radius).cast(pa.float64()).to_numpy()
        return np.where(radius_column >= 0, radius_column, math.nan)


def find_largest_radius(radii: npt.NDArray[np.float64]) -> float:
    """Return the greatest of some radii; NaN: there is none."""
    known_radii = radii[~np.isnan(radii)]
    if len(known_radii):
        return float(known_radii.max())
    return math.nan


def choose_cell_order(radius: float) -> int:
    """Return the order of cells that are four times as wide as a circle, with a margin; 0 if there are none."""
    padded_radius = radius + RADIUS_MARGIN_DEGREES
    # NaN: there are no such rows
    if padded_radius < MAX_CIRCLE_DEGREES:
        return min(29, int(math.log2(MAX_CIRCLE_DEGREES / padded_radius)))
    return 0


def find_cell_matches(bound_query: BoundQuery) -> dict[int, CellMatch]:
    """Find the matches of a query: id of the comparison or of the call -> match.

    Each table reference is spread once.
    """
    matches_by_id: dict[int, CellMatch] = {}
    spread_numbers: set[int] = set()
    probe_columns: dict[str, tuple[str, ...]] = {}
    for select in list_selects(bound_query.query):
        narrowable = analyse_select(select)
        for condition, leaves in narrowable.conditions:
            for key, first_position, second_position, radius in _iterate_distance_conditions(
                condition, bound_query.free_slots
            ):
                match = _build_match(first_position, second_position, radius, narrowable, leaves, bound_query)
                if (
                    match is not None
                    and match.spread_table.number not in spread_numbers
                    and (
                        match.is_indexed
                        or probe_columns.setdefault(match.probe_table, match.probe_names) == match.probe_names
                    )
                ):
                    spread_numbers.add(match.spread_table.number)
                    matches_by_id[key] = match
                    break
    return matches_by_id


def _iterate_distance_conditions(
    condition: Expr, free_slots: frozenset[int]
) -> Iterator[tuple[int, tuple[Expr, Expr] | None, tuple[Expr, Expr] | None, Expr]]:
    """Yield the two positions and the radius of a condition that says they are near."""
    point_in_shape = match_point_in_shape(condition)
    if point_in_shape is not None:
        point, shape, literal = point_in_shape
        circle = match_circle_parts(shape)
        if (
            circle is not None
            and literal.slot not in free_slots
            and literal.value == 1
            and isinstance(condition, Comparison)
        ):
            call = condition.left if isinstance(condition.left, FunctionCall) else condition.right
            yield id(call), match_point_coordinates(point), circle[:2], circle[2]
    for first, second, limit, _ in match_distance_conditions(condition):
        yield id(condition), first, second, limit


def _build_match(
    first_position: tuple[Expr, Expr] | None,
    second_position: tuple[Expr, Expr] | None,
    radius_expression: Expr,
    narrowable: NarrowableSelect,
    narrowed_numbers: frozenset[int],
    bound_query: BoundQuery,
) -> CellMatch | None:
    pairs = (match_column_pair(first_position), match_column_pair(second_position))
    radius = compile_constant(radius_expression, bound_query.free_slots)
    if radius is None:
        radius_column = narrowable.find_stored_column(radius_expression)
    else:
        radius_column = None
    if (
        pairs[0] is None
        or pairs[1] is None
        or (radius is None and (radius_column is None or radius_column.column is None))
    ):
        return None
    position_tables = [_find_position_table(pair, narrowable) for pair in pairs if pair is not None]
    best_match: tuple[int, CellMatch] | None = None
    for probe_side, spread_side in ((0, 1), (1, 0)):
        probe = position_tables[probe_side]
        spread = position_tables[spread_side]
        probe_columns = pairs[probe_side]
        centre = pairs[spread_side]
        if probe is None or spread is None or probe_columns is None or centre is None or probe.number == spread.number:
            continue
        if spread.number not in narrowed_numbers or spread.table is None or probe.table is None:
            continue
        names = tuple(item.column.name for item in probe_columns if item.column is not None)
        is_indexed = probe.table.position == names
        # rows in memory are few, and cells are stored of the others
        is_in_memory = spread.table.schema.upper() == "TAP_UPLOAD"
        size: Constant | str | None = radius
        if (
            radius_column is not None
            and radius_column.column is not None
            and radius_column.source == spread.number
            and is_in_memory
        ):
            size = radius_column.column.name
        score = 2 * is_indexed + is_in_memory
        if size is not None and (best_match is None or score > best_match[0]):
            best_match = score, CellMatch(probe_columns, spread, centre, size, is_indexed, probe.table.qualified_name)
    return None if best_match is None else best_match[1]


def _find_position_table(columns: Pair, narrowable: NarrowableSelect) -> TableRef | None:
    """Return the table reference of which a pair of columns is a position."""
    if columns[0].source == columns[1].source:
        table_ref = narrowable.table_refs.get(columns[0].source)
    else:
        table_ref = None
    if table_ref is not None and table_ref.number in narrowable.direct_numbers and table_ref.table is not None:
        return table_ref
    return None


def list_circle_cells(
    order: int, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> pa.Array:
    """List for each row the cells of an order that a circle may touch; null where there is no circle.

    Cells are at least four times as wide as the circle: one that it touches has its middle, or one of twenty points at
    twice its distance, for no corner of a cell is narrower than 50 degrees. Larger circles have all twelve cells of
    order 0.
    """
    rows = len(lon)
    if not rows:
        return pa.array([], pa.list_(pa.int64()))
    with np.errstate(invalid="ignore"):
        is_valid = (radius >= 0) & (abs(lat) <= 90) & np.isfinite(lon)
        is_wide = is_valid & ~(radius + RADIUS_MARGIN_DEGREES < MAX_CIRCLE_DEGREES / 2**order * 1.000001)
    lon, lat, arc = (
        np.where(is_valid, column, 0.0)
        for column in (lon, lat, np.radians(np.minimum(radius + RADIUS_MARGIN_DEGREES, MAX_CIRCLE_DEGREES)))
    )
    centre_vectors = sphere.to_unit_vectors(lon, lat)
    east = np.stack([-np.sin(np.radians(lon)), np.cos(np.radians(lon)), np.zeros(rows)], axis=1)
    north = np.cross(centre_vectors, east)
    turn = 0.1 + np.arange(_RING_POINT_COUNT) * 2 * np.pi / _RING_POINT_COUNT
    ring = (
        centre_vectors[:, None] * np.cos(2 * arc)[:, None, None]
        + (east[:, None] * np.cos(turn)[None, :, None] + north[:, None] * np.sin(turn)[None, :, None])
        * np.sin(2 * arc)[:, None, None]
    )
    lons, lats = sphere.to_lon_lat(ring.reshape(-1, 3))
    cell_indexes = healpix.compute_cell_indexes(order, lon, lat)
    touched_cells = np.concatenate(
        [
            cell_indexes[:, None],
            healpix.compute_cell_indexes(order, lons, lats).reshape(rows, _RING_POINT_COUNT),
        ],
        axis=1,
    )
    touched_cells.sort(axis=1)
    is_first = np.ones(touched_cells.shape, bool)
    is_first[:, 1:] = touched_cells[:, 1:] != touched_cells[:, :-1]
    is_first[~is_valid] = False
    is_first[is_wide] = False
    offsets = np.concatenate([[0], np.cumsum(is_first.sum(axis=1))])
    cell_lists = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)), pa.array(touched_cells[is_first]), mask=pa.array(~is_valid)
    )
    if is_wide.any():  # such a circle was not foreseen, or is wider than the widest cells
        all_cells = pa.array([list(range(12 << (2 * order)))] if order < 4 else [[]], pa.list_(pa.int64()))
        list_numbers = np.where(is_wide, rows, np.arange(rows))
        cell_lists = pa.concat_arrays([cell_lists, all_cells]).take(pa.array(list_numbers))
    return cell_lists


__all__ = [
    "CELL_COLUMN",
    "PROBE_CELL_COLUMN",
    "SPREAD_CELL_COLUMN",
    "SPREAD_SUFFIX",
    "CellMatch",
    "choose_cell_order",
    "find_cell_matches",
    "find_largest_radius",
    "list_circle_cells",
]
