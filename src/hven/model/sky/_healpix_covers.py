"""Covers of regions by HEALPix cells.

Those that edges pass through, found by walking along them, and of all others those whose middle is inside.

Within one of the twelve largest cells, short pieces of edges are straight lines of the plane in which all cells are
squares: their cells are reckoned from one side of a square to the next. What passes from one of the twelve to another
is walked along in steps.

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

_STEP_CELL_WIDTHS = 0.4  # of a cell's width, along edges
_MAX_STEP_HALVINGS = 5  # times that a step is halved which leaves a cell over its corner
_MAX_DEVIATION_CELL_WIDTHS = 0.003  # of a cell's width, by which a piece of an edge may leave its line
_MAX_PIECE_RADIANS = 0.05  # radians: no piece is longer
_TRANSITION_LATITUDE_DEGREES = np.degrees(np.arcsin(2.0 / 3.0))  # latitude at which lines have a corner in that plane
_FACE_BITS = 4  # for the twelve largest cells of a row
_BASE_CELL_WIDTH_RADIANS = 1.023  # radians times 2**-order: the side of a square of a cell's area
_EVEN_BITS_MASK = 0x5555555555555555  # bits of a nested index that count cells in one direction

# of four cells in one those beside each other: by which of them are left (bits), the first that each hangs together
# with
_CONNECTED_SIBLINGS = np.array(
    [
        range(4) if left in {0b0110, 0b1001} else [min((k for k in range(4) if left >> k & 1), default=0)] * 4
        for left in range(16)
    ]
)


class Covers:
    """Regions of many rows, ready to be covered together.

    Each row has sixteen numbers for the twelve largest cells: cells of two rows never touch, and the row of a cell is a
    shift away.
    """

    def __init__(self, regions: RegionColumn) -> None:
        import shapely  # noqa: PLC0415  (for who computes with regions)

        self._regions = regions
        self._a = to_unit_vectors(regions.lon, regions.lat)
        after = regions.successors
        self._b = self._a[after]
        self._arcs = measure_angles(self._a, self._b)
        self._rows = regions.vertex_rows
        self._corners = face, x, y, side = _locate_in_base_cells(regions.lon, regions.lat)
        of, east, north, _ = _locate_in_base_cells(
            *to_lon_lat(interpolate_along_arcs(self._a, self._b, np.full(len(x), 0.5)))
        )
        plain = (face == of) & (face == face[after]) & (side == side[after]) & (np.abs(side) < 2)
        # how far the middle of an edge is from its line, in sides of the largest cells
        away = np.maximum(np.abs(east - (x + x[after]) / 2.0), np.abs(north - (y + y[after]) / 2.0))
        self._stray = np.where(plain, away, self._arcs**2 / 4.0)
        self._planes = ProjectionPlanes([regions])
        self._shapes = self._planes.to_shapes(0)
        shapely.prepare(self._shapes)
        self._beyond = regions.contains(*to_lon_lat(-self._planes.centre))  # what the planes have no place for

    def compute_ranges(self, order: int) -> tuple[Indexes, Indexes]:
        """Return the cells that regions touch.

        Of those that an edge cuts off a corner of, less than a hundredth of a cell wide, one or another may lack.

        Parameters
        ----------
        order
            Finest cells to use, 0 to 29. There may be ``2**(59 - 2 * order)`` rows: their cells have numbers of 63
            bits.

        Returns
        -------
        ranges, offsets
            Half-open, sorted, disjoint at order 29, one row after the other, shape (m, 2), and where those of each row
            begin, shape (n + 1,).
        """
        rim = self._find_edge_cells(order)
        rows = len(self._regions)
        cells: list[Indexes] = []
        levels: list[Indexes] = []
        likes: list[Indexes] = []
        at, count = rim, 0
        for level in range(order, -1, -1):
            # of four cells in one around them those are left through which no edge passes; of the twelve largest, too
            above = at >> 2
            if level:
                new = np.append(True, above[1:] != above[:-1])[: len(above)]
                parents = above[new]
                family = np.cumsum(new) - 1
            else:
                parents = (4 * np.arange(rows)[:, None] + np.arange(3)).ravel()
                family = 3 * (above >> 2) + (above & 3)
            is_remaining = np.ones(4 * len(parents), np.bool_)
            is_remaining[4 * family + (at & 3)] = False
            cells.append((4 * parents[:, None] + np.arange(4)).ravel()[is_remaining])
            levels.append(np.full(len(cells[-1]), level))
            # what is beside one of its family, with no edge between, is inside if that is
            four = is_remaining.reshape(-1, 4)
            if level:
                first = _CONNECTED_SIBLINGS[np.packbits(four, axis=1, bitorder="little").ravel()]
            else:
                first = np.broadcast_to(np.arange(4), four.shape)
            number = np.cumsum(is_remaining) - 1 + count
            likes.append(number[(4 * np.arange(len(parents))[:, None] + first).ravel()[is_remaining]])
            count += len(cells[-1])
            at = parents
        other = np.concatenate(cells)
        depth = np.concatenate(levels)
        like = np.concatenate(likes)
        asked = like == np.arange(len(like))
        are_cells_inside = self._are_cells_inside(other[asked], depth[asked])
        inside = are_cells_inside[(np.cumsum(asked) - 1)[like]]
        shift = 2 * (order - np.append(np.full(len(rim), order), depth[inside]))
        all_cells = np.append(rim, other[inside])
        merged = healpix.merge_ranges(np.stack([all_cells << shift, (all_cells + 1) << shift], axis=1))
        row = merged[:, 0] >> 2 * order + _FACE_BITS
        offsets = np.searchsorted(row, np.arange(rows + 1))
        return (merged - (row << 2 * order + _FACE_BITS)[:, None]) << 2 * (healpix.MAX_ORDER - order), offsets

    def _find_edge_cells(self, order: int) -> Indexes:
        """Return the cells along the edges, ascending."""
        if not len(self._arcs):
            return np.empty(0, np.int64)
        sizes = np.ceil(
            np.maximum(self._arcs / _MAX_PIECE_RADIANS, np.sqrt(self._stray * 2.0**order / _MAX_DEVIATION_CELL_WIDTHS))
        )
        sizes = np.maximum(sizes, 1.0).astype(np.int64)
        edge, number = compute_element_numbers(sizes)
        count = sizes[edge]
        face, x, y, side = (each[edge] for each in self._corners)
        new = np.flatnonzero(number > 0)
        if len(new):
            face[new], x[new], y[new], side[new] = _locate_in_base_cells(
                *to_lon_lat(interpolate_along_arcs(self._a[edge[new]], self._b[edge[new]], number[new] / count[new]))
            )
        after = np.arange(1, len(edge) + 1)
        behind = np.cumsum(sizes)
        after[behind - 1] = (behind - sizes)[self._regions.successors]
        plain = (face == face[after]) & (side == side[after]) & (np.abs(side) < 2)
        place = np.asarray([x, y], np.float64) * 2.0**order
        of = self._rows[edge[plain]] << _FACE_BITS | face[plain]
        edge_cells = _find_crossed_cells(order, of, place[:, plain], place[:, after[plain]])
        other_edges = np.flatnonzero(~plain)
        if len(other_edges):
            walked = self._find_cells_along_pieces(
                order,
                edge[other_edges],
                number[other_edges] / count[other_edges],
                (number[other_edges] + 1.0) / count[other_edges],
            )
            edge_cells = np.append(edge_cells, walked)
        edge_cells = np.sort(edge_cells[edge_cells >= 0])
        distinct_cells: Indexes = edge_cells[np.append(True, edge_cells[1:] != edge_cells[:-1])[: len(edge_cells)]]
        return distinct_cells

    def _find_cells_along_pieces(self, order: int, edge: Indexes, share: Numbers, ahead: Numbers) -> Indexes:
        """Return the cells along pieces of edges, by steps."""
        count = np.maximum(
            np.ceil((ahead - share) * self._arcs[edge] * 2.0**order / (_STEP_CELL_WIDTHS * _BASE_CELL_WIDTH_RADIANS)),
            1.0,
        )
        piece, number = compute_element_numbers(count.astype(np.int64))
        step = ((ahead - share) / count)[piece]
        edge = edge[piece]
        share = share[piece] + number * step
        ahead = share + step
        cell = self._compute_cells(order, edge, share)
        after = self._compute_cells(order, edge, ahead)
        cell_arrays = [cell, after]
        for _ in range(_MAX_STEP_HALVINGS):
            rows = np.flatnonzero(_is_diagonal(cell, after, order))
            if not len(rows):
                break
            edge = edge[rows]
            cell = cell[rows]
            after = after[rows]
            share = share[rows]
            ahead = ahead[rows]
            middle = (share + ahead) / 2.0
            between = self._compute_cells(order, edge, middle)
            cell_arrays.append(between)
            edge = np.tile(edge, 2)
            share = np.append(share, middle)
            ahead = np.append(middle, ahead)
            cell = np.append(cell, between)
            after = np.append(between, after)
        return np.concatenate(cell_arrays)

    def _compute_cells(self, order: int, edge: Indexes, share: Numbers) -> Indexes:
        cell = healpix.compute_cell_indexes(
            order, *to_lon_lat(interpolate_along_arcs(self._a[edge], self._b[edge], share))
        )
        return np.where(cell < 0, cell, self._rows[edge] << 2 * order + _FACE_BITS | cell)

    def _are_cells_inside(self, cells: Indexes, levels: Indexes) -> Flags:
        """Tell which cells without an edge are inside."""
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = self._planes
        row = cells >> 2 * levels + _FACE_BITS
        cell_centers = healpix.compute_cell_centers(levels, cells - (row << 2 * levels + _FACE_BITS))
        place = to_vector_components(*cell_centers)
        x, y, ahead = (
            sum(component * axis_component for component, axis_component in zip(place, axis.T[:, row], strict=True))
            for axis in (planes.east, planes.north, planes.centre)
        )
        wide = planes.is_stereographic[row]
        scale = np.where(wide, 2.0 / np.maximum(1.0 + ahead, 1e-12), 1.0 / np.maximum(ahead, 1e-3))
        x = x * scale
        y = y * scale
        near = np.flatnonzero(
            (np.maximum(np.abs(x), np.abs(y)) < planes.frame_half_width[row]) & (wide | (ahead > 0.1))
        )
        inside: Flags = self._beyond[row]
        inside[near] = shapely.contains_xy(self._shapes[row[near]], x[near], y[near])
        return inside


def _locate_in_base_cells(lon: Numbers, lat: Numbers) -> tuple[Indexes, Numbers, Numbers, Indexes]:
    """Return of places in which of the twelve largest cells they are, where in it, and in which zone.

    North or south of where lines are bent (1, -1), near a pole (2, -2).
    """
    return *healpix.locate_in_cells(0, lon, lat), np.trunc(lat / _TRANSITION_LATITUDE_DEGREES).astype(np.int64)


def _find_crossed_cells(order: int, face: Indexes, begin: Numbers, end: Numbers) -> Indexes:
    """Return the cells that lines pass through.

    The first one of each, and each that lies behind a side which it crosses.
    """
    max_index = (1 << order) - 1
    direction = end - begin
    low, high = (np.clip(np.floor(each), 0, max_index).astype(np.int64) for each in (begin, end))
    columns = [low[0]]
    rows = [low[1]]
    faces = [face]
    for axis in (0, 1):
        line, number = compute_element_numbers(np.abs(high[axis] - low[axis]))
        up = direction[axis][line] > 0.0
        side = np.where(up, low[axis][line] + 1 + number, low[axis][line] - number)
        crossing = begin[1 - axis][line] + direction[1 - axis][line] * (
            (side - begin[axis][line]) / direction[axis][line]
        )
        lowest, largest = (bound(low[1 - axis], high[1 - axis])[line] for bound in (np.minimum, np.maximum))
        pair = np.where(up, side, side - 1), np.clip(np.floor(crossing).astype(np.int64), lowest, largest)
        columns.append(pair[axis])
        rows.append(pair[1 - axis])
        faces.append(face[line])
    column, row, cell_faces = (np.concatenate(each) for each in (columns, rows, faces))
    cells: Indexes = cell_faces << 2 * order | insert_zero_bits(column) | insert_zero_bits(row) << 1
    return cells


def _is_diagonal(a: Indexes, b: Indexes, order: int) -> Flags:
    """Tell which cells neither are one nor share a side, as far as their numbers say."""
    differ = a ^ b
    is_different = differ != 0
    crosses_corner = is_different & ((differ & _EVEN_BITS_MASK) != 0) & ((differ >> 1 & _EVEN_BITS_MASK) != 0)
    return np.asarray(crosses_corner | is_different & (differ >> 2 * order != 0))
