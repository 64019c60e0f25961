"""Polygons of GEOS on a plane, made of ragged arrays and taken apart again, and the faces that rings wind around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._ragged import blocks, closed, ends, gathered, owners

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]


def polygons(xy: Numbers, rings: Indexes, parts: Indexes, rows: Indexes) -> Any:
    """Make multipolygons; rings are open."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    vertex, rings = closed(rings)
    return shapely.from_ragged_array(shapely.GeometryType.MULTIPOLYGON, xy[vertex], (rings, parts, rows))


def taken_apart(shapes: Any) -> tuple[Numbers, Indexes, Indexes, Indexes]:
    """Return x, y of the polygons among shapes and offsets of their rings (open), parts and rows; the first ring of a part is its shell."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    part, row = shapely.get_parts(shapes, return_index=True)
    some = (shapely.get_type_id(part) == 3) & ~shapely.is_empty(part)
    part, row = part[some], row[some]
    ring, owner = shapely.get_rings(part, return_index=True)
    xy, holder = shapely.get_coordinates(ring, return_index=True)
    open_ = np.append(holder[1:] == holder[:-1], False)[: len(holder)]
    rings, parts, rows = (
        ends(np.bincount(index, minlength=size))
        for index, size in ((holder[open_], len(ring)), (owner, len(part)), (row, len(shapes)))
    )
    return xy[open_], rings, parts, rows


def wound(xy: Numbers, rings: Indexes, parts: Indexes, rows: Indexes, outside: Flags, grid: float) -> Any:
    """Cut rings where they cross, and unite the faces that those of a part wind around, or, where `outside` says so, do not; (n,)."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    vertex, around = closed(rings)
    lines = shapely.linearrings(xy[vertex], indices=owners(around))
    count, row = len(rows) - 1, owners(parts[rows])
    none = np.full(count, shapely.MultiLineString())
    together = shapely.multilinestrings(lines, indices=row, out=none) if len(lines) else none
    noded = shapely.unary_union(together[:, None], axis=1, grid_size=grid)
    face, row = shapely.get_parts(shapely.polygonize(noded[:, None]), return_index=True)
    inside = np.zeros(len(face), np.bool_)
    middle = shapely.get_coordinates(shapely.point_on_surface(face))
    edges = rings[parts[rows]]
    after = vertex[np.arange(len(xy)) + owners(rings) + 1]
    for block in blocks(np.diff(edges)[row]):
        here = row[block]
        edge, offsets = gathered(edges, here)
        x, y = np.repeat(middle[block], np.diff(offsets), axis=0).T
        (x1, y1), (x2, y2) = xy[edge].T, xy[after[edge]].T
        left = (x2 - x1) * (y - y1) - (x - x1) * (y2 - y1)
        turns = ((y1 <= y) & (y2 > y) & (left > 0.0)).astype(np.int64) - ((y1 > y) & (y2 <= y) & (left < 0.0))
        ring, _ = gathered(parts[rows], here)
        winds = np.add.reduceat(turns, ends(np.diff(rings)[ring])[:-1]) != 0
        one, offsets = gathered(rows, here)
        held = np.logical_and.reduceat(winds != outside[ring], ends(np.diff(parts)[one])[:-1])
        inside[block] = np.logical_or.reduceat(held, offsets[:-1])
    none = np.full(count, shapely.MultiPolygon())
    faces = shapely.multipolygons(face[inside], indices=row[inside], out=none) if inside.any() else none
    return shapely.unary_union(faces[:, None], axis=1)
