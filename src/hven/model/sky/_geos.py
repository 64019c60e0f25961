"""Convert ragged arrays to GEOS polygons on a plane and back, and find the faces that rings wind round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged_arrays import (
    compute_closed_ring_indexes,
    compute_offsets,
    compute_row_indexes,
    gather_element_indexes,
    split_into_blocks,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


def build_multipolygons(xy: Numbers, ring_offsets: Indexes, part_offsets: Indexes, row_offsets: Indexes) -> Any:
    """Make multipolygons from open rings."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    vertex, ring_offsets = compute_closed_ring_indexes(ring_offsets)
    offsets = (ring_offsets, part_offsets, row_offsets)
    return shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, xy[vertex], offsets)


def extract_ragged_polygon_arrays(shapes: Any) -> tuple[Numbers, Indexes, Indexes, Indexes]:
    """Take polygons apart.

    Parameters
    ----------
    shapes
        Shapes of shapely, one for each row; those that are not polygons are left out.

    Returns
    -------
    xy, ring_offsets, part_offsets, row_offsets
        Corners, shape (m, 2), and the offsets of open rings among them, of parts among the rings, and of rows among the
        parts. The first ring of a part is its shell.
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    part, row = shapely.get_parts(shapes, return_index=True)
    is_polygon = (shapely.get_type_id(part) == 3) & ~shapely.is_empty(part)
    part = part[is_polygon]
    row = row[is_polygon]
    ring, owner = shapely.get_rings(part, return_index=True)
    xy, holder = shapely.get_coordinates(ring, return_index=True)
    open_ = np.append(holder[1:] == holder[:-1], False)[: len(holder)]
    rings = _compute_owner_offsets(holder[open_], len(ring))
    parts = _compute_owner_offsets(owner, len(part))
    rows = _compute_owner_offsets(row, len(shapes))
    return xy[open_], rings, parts, rows


def _compute_owner_offsets(owner: Indexes, size: int) -> Indexes:
    return compute_offsets(np.bincount(owner, minlength=size))


def merge_enclosed_faces(
    xy: Numbers,
    ring_offsets: Indexes,
    part_offsets: Indexes,
    row_offsets: Indexes,
    *,
    is_inverted: Flags,
    grid_size: float,
) -> Any:
    """Cut rings where they cross, and unite the faces that lie in all rings of a part.

    Parameters
    ----------
    xy, ring_offsets, part_offsets, row_offsets
        Polygons, as `extract_ragged_polygon_arrays` returns them, shapes (m, 2), (r + 1,), (p + 1,) and (n + 1,).
    is_inverted
        Whether each ring contains the faces that it does not wind round, shape (r,).
    grid_size
        Distance of the grid to which corners are rounded, in the unit of the plane; 0: they are not.

    Returns
    -------
    shapes
        Shapes of shapely, shape (n,).
    """
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    vertex, around = compute_closed_ring_indexes(ring_offsets)
    lines = shapely.linearrings(xy[vertex], indices=compute_row_indexes(around))
    count = len(row_offsets) - 1
    row = compute_row_indexes(part_offsets[row_offsets])
    empty = np.full(count, shapely.MultiLineString())
    if len(lines):
        joined_lines = shapely.multilinestrings(lines, indices=row, out=empty)
    else:
        joined_lines = empty
    noded = shapely.unary_union(joined_lines[:, None], axis=1, grid_size=grid_size)
    row_polygons = shapely.polygonize(noded[:, None])
    face, row = shapely.get_parts(row_polygons, return_index=True)
    inside = np.zeros(len(face), np.bool_)
    middle = shapely.get_coordinates(shapely.point_on_surface(face))
    edges = ring_offsets[part_offsets[row_offsets]]
    ring_numbers = part_offsets[row_offsets]
    next_vertex = np.arange(len(xy)) + compute_row_indexes(ring_offsets) + 1
    after = vertex[next_vertex]
    for block in split_into_blocks(np.diff(edges)[row]):
        block_rows = row[block]
        edge, offsets = gather_element_indexes(edges, block_rows)
        x, y = np.repeat(middle[block], np.diff(offsets), axis=0).T
        turns = _compute_edge_winding_numbers(x, y, xy[edge], xy[after[edge]])
        ring, _ = gather_element_indexes(ring_numbers, block_rows)
        ring_starts = compute_offsets(np.diff(ring_offsets)[ring])[:-1]
        winds = np.add.reduceat(turns, ring_starts) != 0
        part_numbers, offsets = gather_element_indexes(row_offsets, block_rows)
        part_starts = compute_offsets(np.diff(part_offsets)[part_numbers])[:-1]
        in_part = np.logical_and.reduceat(winds != is_inverted[ring], part_starts)
        inside[block] = np.logical_or.reduceat(in_part, offsets[:-1])
    empty = np.full(count, shapely.MultiPolygon())
    if inside.any():
        faces = shapely.multipolygons(face[inside], indices=row[inside], out=empty)
    else:
        faces = empty
    return shapely.unary_union(faces[:, None], axis=1)


def _compute_edge_winding_numbers(x: Numbers, y: Numbers, begin: Numbers, end: Numbers) -> Indexes:
    """Count how each edge adds to the winding number of its point: 1, 0 or -1."""
    x1, y1 = begin.T
    x2, y2 = end.T
    left_of_edge = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
    upward = (y1 <= y) & (y2 > y) & (left_of_edge > 0.0)
    downward = (y1 > y) & (y2 <= y) & (left_of_edge < 0.0)
    turns: Indexes = upward.astype(np.int64) - downward
    return turns
