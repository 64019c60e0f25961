"""Cover regions by HEALPix cells.

The cover of a region is the cells that its edges pass through, and of the other cells those whose centre is inside.

Within one of the twelve largest cells, short pieces of edges are straight lines of the plane in which all cells are
squares. Their cells follow from their crossings of the squares' sides. A piece that passes from one of the twelve cells
to another is sampled in steps.

`cdshealpix` compares each cell with each edge, and holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._projection_planes import ProjectionPlanes
from hven.model.sky._q3c import insert_zero_bits
from hven.model.sky._ragged_arrays import compute_element_numbers
from hven.model.sky._sphere import (
    interpolate_along_arcs,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
    to_vector_components,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.sky._region_columns import RegionColumn

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_STEP_CELL_WIDTHS = 0.4  # length of a step along an edge, in widths of a cell
_MAX_STEP_HALVINGS = 5  # how often a step that leaves a cell over its corner is halved
_MAX_DEVIATION_CELL_WIDTHS = 0.003  # how far a piece of an edge may leave its line, in widths of a cell
_MAX_PIECE_RADIANS = 0.05  # no piece of an edge is longer
_TRANSITION_LATITUDE_DEGREES = np.degrees(np.arcsin(2.0 / 3.0))  # where lines have a corner in that plane
_FACE_BITS = 4  # for the twelve largest cells of a row
_BASE_CELL_WIDTH_RADIANS = 1.023  # radians times 2**-order: the side of a square of a cell's area
_EVEN_BITS_MASK = 0x5555555555555555  # bits of a nested index that count cells in one direction


def _compute_connected_siblings(remaining_bits: int) -> list[int]:
    """Return for each of four sibling cells the first remaining one that it is connected with."""
    if remaining_bits in {0b0110, 0b1001}:  # two cells that touch at a corner are not connected
        return list(range(4))
    remaining = [sibling for sibling in range(4) if remaining_bits >> sibling & 1]
    return [min(remaining, default=0)] * 4


_CONNECTED_SIBLINGS = np.array([_compute_connected_siblings(remaining_bits) for remaining_bits in range(16)])


class RegionCoverBuilder:
    """Cover the regions of many rows together.

    Each row has sixteen numbers for the twelve largest cells. So cells of two rows never touch, and a shift gives the
    row of a cell.
    """

    def __init__(self, regions: RegionColumn) -> None:
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        self._regions = regions
        self._a = to_unit_vectors(regions.lon, regions.lat)
        after = regions.vertex_successors
        self._b = self._a[after]
        self._arcs = measure_angles(self._a, self._b)
        self._rows = regions.vertex_rows
        self._corners = _locate_in_base_cells(regions.lon, regions.lat)
        face, x, y, side = self._corners
        middle = interpolate_along_arcs(self._a, self._b, np.full(len(x), 0.5))
        middle_face, east, north, _ = _locate_in_base_cells(*to_lon_lat(middle))
        is_in_one_face = (face == middle_face) & (face == face[after])
        plain = is_in_one_face & (side == side[after]) & (np.abs(side) < 2)
        # how far the middle of an edge is from its line, in sides of the largest cells
        x_deviation = np.abs(east - (x + x[after]) / 2.0)
        y_deviation = np.abs(north - (y + y[after]) / 2.0)
        away = np.maximum(x_deviation, y_deviation)
        self._stray = np.where(plain, away, self._arcs**2 / 4.0)
        self._planes = ProjectionPlanes([regions])
        self._shapes = self._planes.to_plane_polygons(0)
        shapely.prepare(self._shapes)
        # the planes have no place for the points opposite to their centres
        opposite_lon, opposite_lat = to_lon_lat(-self._planes.centre)
        self._beyond = regions.contains(opposite_lon, opposite_lat)

    def compute_ranges(self, order: int) -> tuple[Indexes, Indexes]:
        """Return the cells that regions touch.

        A cell may be missing if an edge cuts off a corner of it that is less than a hundredth of a cell wide.

        Parameters
        ----------
        order
            Finest cells to use, 0 to 29. At most ``2**(59 - 2 * order)`` rows are possible, because their cells have
            numbers of 63 bits.

        Returns
        -------
        ranges, offsets
            Half-open, sorted, disjoint at order 29, one row after the other, shape (m, 2), and where the ranges of each
            row begin, shape (n + 1,).
        """
        rim = self._find_edge_cells(order)
        rows = len(self._regions)
        cells: list[Indexes] = []
        levels: list[Indexes] = []
        representatives: list[Indexes] = []
        touched = rim
        count = 0
        for level in range(order, -1, -1):
            # find the siblings of touched cells through which no edge passes; at level 0, the other largest cells
            parents, family = self._find_parent_cells(touched, level)
            is_remaining = np.ones(4 * len(parents), np.bool_)
            is_remaining[4 * family + (touched & 3)] = False
            siblings = (4 * parents[:, None] + np.arange(4)).ravel()
            cells.append(siblings[is_remaining])
            levels.append(np.full(len(cells[-1]), level))
            # a cell next to a sibling, with no edge between them, is inside if the sibling is
            four = is_remaining.reshape(-1, 4)
            if level:
                first = _CONNECTED_SIBLINGS[np.packbits(four, axis=1, bitorder="little").ravel()]
            else:
                first = np.broadcast_to(np.arange(4), four.shape)
            number = np.cumsum(is_remaining) - 1 + count
            first_siblings = (4 * np.arange(len(parents))[:, None] + first).ravel()
            representatives.append(number[first_siblings[is_remaining]])
            count += len(cells[-1])
            touched = parents
        other = np.concatenate(cells)
        depth = np.concatenate(levels)
        representative = np.concatenate(representatives)
        is_representative = representative == np.arange(len(representative))
        are_cells_inside = self._are_cells_inside(other[is_representative], depth[is_representative])
        representative_numbers = np.cumsum(is_representative) - 1
        inside = are_cells_inside[representative_numbers[representative]]
        all_depths = np.append(np.full(len(rim), order), depth[inside])
        shift = 2 * (order - all_depths)
        all_cells = np.append(rim, other[inside])
        cell_ranges = np.stack([all_cells << shift, (all_cells + 1) << shift], axis=1)
        merged = healpix.merge_ranges(cell_ranges)
        row_shift = 2 * order + _FACE_BITS
        row = merged[:, 0] >> row_shift
        offsets = np.searchsorted(row, np.arange(rows + 1))
        ranges_in_row = merged - (row << row_shift)[:, None]
        return ranges_in_row << 2 * (healpix.MAX_ORDER - order), offsets

    def _find_parent_cells(self, touched: Indexes, level: int) -> tuple[Indexes, Indexes]:
        """Return the parents of touched cells, ascending, and the number of each cell's parent among them.

        At level 0, a row's largest cells have three parents, of which the last four cells do not exist.
        """
        above = touched >> 2
        if level:
            is_new = np.append(True, above[1:] != above[:-1])[: len(above)]
            return above[is_new], np.cumsum(is_new) - 1
        rows = len(self._regions)
        parents = (4 * np.arange(rows)[:, None] + np.arange(3)).ravel()
        return parents, 3 * (above >> 2) + (above & 3)

    def _find_edge_cells(self, order: int) -> Indexes:
        """Return the cells along the edges, ascending."""
        if not len(self._arcs):
            return np.empty(0, np.int64)
        piece_count = self._arcs / _MAX_PIECE_RADIANS
        deviation_count = np.sqrt(self._stray * 2.0**order / _MAX_DEVIATION_CELL_WIDTHS)
        sizes = np.ceil(np.maximum(piece_count, deviation_count))
        sizes = np.maximum(sizes, 1.0).astype(np.int64)
        edge, number = compute_element_numbers(sizes)
        count = sizes[edge]
        face, x, y, side = (corner_values[edge] for corner_values in self._corners)
        new = np.flatnonzero(number > 0)
        if len(new):
            new_edge = edge[new]
            points = interpolate_along_arcs(self._a[new_edge], self._b[new_edge], number[new] / count[new])
            face[new], x[new], y[new], side[new] = _locate_in_base_cells(*to_lon_lat(points))
        after = np.arange(1, len(edge) + 1)
        behind = np.cumsum(sizes)
        after[behind - 1] = (behind - sizes)[self._regions.vertex_successors]
        plain = (face == face[after]) & (side == side[after]) & (np.abs(side) < 2)
        place = np.asarray([x, y], np.float64) * 2.0**order
        row_face = self._rows[edge[plain]] << _FACE_BITS | face[plain]
        edge_cells = _find_crossed_cells(order, row_face, place[:, plain], place[:, after[plain]])
        other_edges = np.flatnonzero(~plain)
        if len(other_edges):
            other_number = number[other_edges]
            other_count = count[other_edges]
            begin = other_number / other_count
            end = (other_number + 1.0) / other_count
            walked = self._find_cells_along_pieces(order, edge[other_edges], begin, end)
            edge_cells = np.append(edge_cells, walked)
        edge_cells = np.sort(edge_cells[edge_cells >= 0])
        is_new = np.append(True, edge_cells[1:] != edge_cells[:-1])[: len(edge_cells)]
        distinct_cells: Indexes = edge_cells[is_new]
        return distinct_cells

    def _find_cells_along_pieces(self, order: int, edge: Indexes, share: Numbers, ahead: Numbers) -> Indexes:
        """Return the cells along pieces of edges, sampled in steps."""
        piece_length = (ahead - share) * self._arcs[edge]
        cell_count = piece_length * 2.0**order / (_STEP_CELL_WIDTHS * _BASE_CELL_WIDTH_RADIANS)
        count = np.maximum(np.ceil(cell_count), 1.0)
        piece, number = compute_element_numbers(count.astype(np.int64))
        step = ((ahead - share) / count)[piece]
        edge = edge[piece]
        share = share[piece] + number * step
        ahead = share + step
        cell = self._compute_edge_point_cells(order, edge, share)
        after = self._compute_edge_point_cells(order, edge, ahead)
        cell_arrays = [cell, after]
        for _ in range(_MAX_STEP_HALVINGS):
            rows = np.flatnonzero(_are_cells_diagonal(cell, after, order))
            if not len(rows):
                break
            edge = edge[rows]
            cell = cell[rows]
            after = after[rows]
            share = share[rows]
            ahead = ahead[rows]
            middle = (share + ahead) / 2.0
            between = self._compute_edge_point_cells(order, edge, middle)
            cell_arrays.append(between)
            edge = np.tile(edge, 2)
            share = np.append(share, middle)
            ahead = np.append(middle, ahead)
            cell = np.append(cell, between)
            after = np.append(between, after)
        return np.concatenate(cell_arrays)

    def _compute_edge_point_cells(self, order: int, edge: Indexes, share: Numbers) -> Indexes:
        lon, lat = to_lon_lat(interpolate_along_arcs(self._a[edge], self._b[edge], share))
        cell = healpix.compute_cell_indexes(order, lon, lat)
        cell_in_row = self._rows[edge] << 2 * order + _FACE_BITS | cell
        return np.where(cell < 0, cell, cell_in_row)

    def _are_cells_inside(self, cells: Indexes, levels: Indexes) -> Flags:
        """Return which cells without an edge are inside."""
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        planes = self._planes
        row = cells >> 2 * levels + _FACE_BITS
        cells_in_row = cells - (row << 2 * levels + _FACE_BITS)
        center_lon, center_lat = healpix.compute_cell_centers(levels, cells_in_row)
        place = to_vector_components(center_lon, center_lat)
        x, y, ahead = (
            sum(component * axis_component for component, axis_component in zip(place, axis.T[:, row], strict=True))
            for axis in (planes.east, planes.north, planes.centre)
        )
        wide = planes.is_stereographic[row]
        stereographic_scale = 2.0 / np.maximum(1.0 + ahead, 1e-12)
        gnomonic_scale = 1.0 / np.maximum(ahead, 1e-3)
        scale = np.where(wide, stereographic_scale, gnomonic_scale)
        x = x * scale
        y = y * scale
        is_in_frame = np.maximum(np.abs(x), np.abs(y)) < planes.frame_half_width[row]
        near = np.flatnonzero(is_in_frame & (wide | (ahead > 0.1)))
        inside: Flags = self._beyond[row]
        inside[near] = shapely.contains_xy(self._shapes[row[near]], x[near], y[near])
        return inside


def _locate_in_base_cells(lon: Numbers, lat: Numbers) -> tuple[Indexes, Numbers, Numbers, Indexes]:
    """Return for each position its cell among the twelve largest, its place in the cell, and its zone.

    The zone is 1 or -1 north or south of where lines are bent, 2 or -2 near a pole, otherwise 0.
    """
    face, x, y = healpix.locate_in_cells(0, lon, lat)
    zone = np.trunc(lat / _TRANSITION_LATITUDE_DEGREES).astype(np.int64)
    return face, x, y, zone


def _find_crossed_cells(order: int, face: Indexes, begin: Numbers, end: Numbers) -> Indexes:
    """Return the cells that lines pass through: the first cell of each, and each cell behind a side that it crosses."""
    max_index = (1 << order) - 1
    direction = end - begin
    low, high = (np.clip(np.floor(place), 0, max_index).astype(np.int64) for place in (begin, end))
    columns = [low[0]]
    rows = [low[1]]
    faces = [face]
    for axis in (0, 1):
        line, number = compute_element_numbers(np.abs(high[axis] - low[axis]))
        other_axis = 1 - axis
        up = direction[axis][line] > 0.0
        side = np.where(up, low[axis][line] + 1 + number, low[axis][line] - number)
        share = (side - begin[axis][line]) / direction[axis][line]
        crossing = begin[other_axis][line] + direction[other_axis][line] * share
        lowest = np.minimum(low[other_axis], high[other_axis])[line]
        largest = np.maximum(low[other_axis], high[other_axis])[line]
        cell_behind = np.where(up, side, side - 1)
        cell_across = np.clip(np.floor(crossing).astype(np.int64), lowest, largest)
        pair = cell_behind, cell_across
        columns.append(pair[axis])
        rows.append(pair[other_axis])
        faces.append(face[line])
        column, row, cell_faces = (np.concatenate(arrays) for arrays in (columns, rows, faces))
    cell_in_face = insert_zero_bits(column) | insert_zero_bits(row) << 1
    cells: Indexes = cell_faces << 2 * order | cell_in_face
    return cells


def _are_cells_diagonal(a: Indexes, b: Indexes, order: int) -> Flags:
    """Return which pairs of cells neither are equal nor share a side, as far as their numbers tell."""
    differ = a ^ b
    is_different = differ != 0
    changes_x = (differ & _EVEN_BITS_MASK) != 0
    changes_y = (differ >> 1 & _EVEN_BITS_MASK) != 0
    changes_face = is_different & (differ >> 2 * order != 0)
    crosses_corner = is_different & changes_x & changes_y
    return np.asarray(crosses_corner | changes_face)
