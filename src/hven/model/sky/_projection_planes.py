"""Regions on planes, where GEOS nodes, unites and cuts them.

Gnomonic ones, on which great circles are straight, for what lies in a cap.

What is larger comes on stereographic planes, with points put into its edges. The rest of the sphere is a frame around
all that has edges. Results are rounded to a grid far wider than the rounding of angles, so that what is valid on the
plane stays so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from hven.model.sky._geos import build_multipolygons, merge_enclosed_faces, to_ragged_arrays
from hven.model.sky._ragged_arrays import (
    close_rings,
    compute_offsets,
    compute_row_indexes,
    compute_successors,
    gather_rows,
    split_into_blocks,
)
from hven.model.sky._region_columns import RegionColumn
from hven.model.sky._sphere import (
    compute_arc_distances,
    compute_tangent_axes,
    cross_vectors,
    dot_vectors,
    to_lon_lat,
    to_unit_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

GRID_SIZE_RADIANS = 2.0**-38  # radians: 0.75 micro-arcseconds
MAX_GNOMONIC_RADIUS_DEGREES = 65.0  # degrees to each side: what is no wider comes on a gnomonic plane
MAX_DEVIATION_RADIANS = (
    1e-8  # radians (2 mas): how far a straight line on a stereographic plane may leave its great circle
)
REPEATED_VERTEX = "a vertex comes twice in a row"
_MAX_EDGE_VERTEX_PAIRS = 100_000_000  # of long edges and vertices of a row: of more it is not asked which lie on which
_GOLDEN_ANGLE_RADIANS = math.pi * (3.0 - math.sqrt(5.0))

R = TypeVar("R", bound=RegionColumn)


class ProjectionPlanes(Generic[R]):
    """The planes of rows, one each, on which all that some columns have in a row finds room."""

    def __init__(self, columns: Sequence[R], cap: float = MAX_GNOMONIC_RADIUS_DEGREES) -> None:
        count = len(columns[0])
        xyz = np.concatenate([to_unit_vectors(column.lon, column.lat) for column in columns])
        row = np.concatenate([column.vertex_rows for column in columns])
        total = np.stack([np.bincount(row, xyz[:, axis], minlength=count) for axis in range(3)], 1)
        size = np.linalg.norm(total, axis=1, keepdims=True)
        self.centre = np.where(size > 1e-9, total / np.maximum(size, 1e-300), [1.0, 0.0, 0.0])
        chord = np.zeros(count)
        np.maximum.at(chord, row, np.linalg.norm(xyz - self.centre[row], axis=1))
        self.is_stereographic = chord > 2.0 * math.sin(math.radians(cap) / 2.0)
        for item in np.flatnonzero(self.is_stereographic):
            self._move_center_away(int(item), [column.take([item]) for column in columns])
        self.east, self.north = compute_tangent_axes(self.centre)
        self.columns: list[tuple[R, Flags | None]] = (
            [self._densify_edges(*item) for item in self._insert_shared_vertices(columns)]
            if self.is_stereographic.any()
            else [(item, None) for item in columns]
        )
        self.projected = []
        self.frame_half_width = np.full(count, 1.0)
        for column, _ in self.columns:
            row = column.vertex_rows
            positions = self.project(to_unit_vectors(column.lon, column.lat), row)
            np.maximum.at(self.frame_half_width, row, np.abs(positions).max(axis=1, initial=0.0))
            self.projected.append(positions)
        self.frame_half_width = np.ceil(self.frame_half_width) + 1.0

    def _move_center_away(self, row: int, columns: list[R]) -> None:
        """Put what is infinitely far on the plane of a row where no edges are."""
        index = np.arange(200) + 0.5
        lat = np.degrees(np.arcsin(1.0 - index / 100.0))
        lon = np.degrees(index * _GOLDEN_ANGLE_RADIANS)
        tried = np.concatenate([-self.centre[row][None], to_unit_vectors(lon, lat)])
        gap = np.full(len(tried), 90.0)
        for column in columns:
            edges = column.outlines
            for start in range(0, len(edges.a), 1 << 12):
                part = slice(start, start + (1 << 12))
                arcs = compute_arc_distances(tried[:, None], edges.a[part], edges.b[part], edges.normal[part])
                np.minimum(gap, arcs.min(axis=1), out=gap)
        self.centre[row] = -tried[int(np.argmax(gap))]

    def _compute_max_piece_lengths(self, column: R) -> Numbers:
        """Compute how long pieces of edges may be whose straight lines are within `MAX_DEVIATION_RADIANS` of them.

        Radians, shape (v,).
        """
        row = column.vertex_rows
        edges = column.outlines
        arc_distances = compute_arc_distances(-self.centre[row], edges.a, edges.b, edges.normal)
        gap = np.radians(np.maximum(arc_distances, 0.1))
        bend = np.maximum(np.abs(dot_vectors(edges.normal, self.centre[row])), 1e-9)  # 0 of what is straight
        return np.where(
            self.is_stereographic[row], 4.0 * np.sin(gap / 2.0) * np.sqrt(MAX_DEVIATION_RADIANS / bend), np.inf
        )

    def _insert_shared_vertices(self, columns: Sequence[R]) -> list[tuple[R, Flags]]:
        """Put into long edges the vertices of their row that lie on them.

        Pieces of edges that coincide are then the same.

        Else their straight lines would cross each other in every piece.
        """
        rows = np.flatnonzero(self.is_stereographic)
        spans = [column.rings[column.parts[column.rows]] for column in columns]
        lons, lats = (np.concatenate([getattr(column, name) for column in columns]) for name in ("lon", "lat"))
        first = compute_offsets([len(column.lon) for column in columns])
        all_vertices = to_unit_vectors(lons, lats)
        pinned_columns = []
        for column, span in zip(columns, spans, strict=True):
            edges = column.outlines
            insertions = [np.zeros((3, 0))]
            long = edges.arcs > self._compute_max_piece_lengths(column)
            for row in rows.tolist():
                edge = span[row] + np.flatnonzero(long[span[row] : span[row + 1]])
                candidates = np.concatenate(
                    [np.arange(*column_span[row : row + 2]) + at for column_span, at in zip(spans, first, strict=False)]
                )
                if len(edge) * len(candidates) > _MAX_EDGE_VERTEX_PAIRS:
                    continue
                work = split_into_blocks(np.full(len(edge), len(candidates)))
                insertions += [
                    _find_vertices_on_edges(all_vertices, candidates, edge[block], edges.a, edges.b, edges.normal)
                    for block in work
                ]
            edge, place, vertex = np.concatenate(insertions, axis=1)
            order = np.lexsort((place, edge))
            at = vertex[order].astype(np.int64)
            pinned_columns.append(column.insert_vertices(edge[order].astype(np.int64), lons[at], lats[at]))
        return pinned_columns

    def _densify_edges(self, column: R, pinned: Flags) -> tuple[R, Flags]:
        """Put points into edges; which vertices were not there, the pinned ones among them."""
        densified, added = column.densify_edges(self._compute_max_piece_lengths(column))
        added[~added] = pinned
        return densified, added

    def project(self, xyz: Numbers, row: Indexes) -> Numbers:
        """Put unit vectors on the planes of their rows; x, y of shape (n, 2)."""
        ahead = np.sum(xyz * self.centre[row], axis=1)
        scale = np.where(
            self.is_stereographic[row], 2.0 / np.maximum(1.0 + ahead, 1e-12), 1.0 / np.maximum(ahead, 1e-3)
        )
        return np.stack([np.sum(xyz * axis[row], axis=1) * scale for axis in (self.east, self.north)], 1)

    def unproject(self, xy: Numbers, row: Indexes) -> tuple[Numbers, Numbers]:
        """Compute longitudes and latitudes in degrees."""
        height = np.where(self.is_stereographic[row], 1.0 - np.sum(xy * xy, axis=1) / 4.0, 1.0)
        return to_lon_lat(height[:, None] * self.centre[row] + xy[:, :1] * self.east[row] + xy[:, 1:] * self.north[row])

    def to_ring_arrays(self, column_number: int) -> tuple[Numbers, Indexes, Indexes, Indexes, tuple[Flags, Flags]]:
        """Return x, y and offsets of rings, parts and rows, shells first: the frame, where a part has no outer ring.

        The last are which rings run clockwise, and which ones were not given as shells.
        """
        (column, _), xy = self.columns[column_number], self.projected[column_number]
        follower = column.successors
        turn = xy[:, 0] * xy[follower, 1] - xy[follower, 0] * xy[:, 1]
        if len(turn):
            is_clockwise = np.add.reduceat(turn, column.rings[:-1]) < 0.0
        else:
            is_clockwise = np.zeros(0, np.bool_)
        part = compute_row_indexes(column.parts)
        minlength = len(column.parts) - 1
        open_ = np.flatnonzero(np.bincount(part[~is_clockwise], minlength=minlength) == 0)
        corner = self.frame_half_width[compute_row_indexes(column.rows)[open_]][:, None, None] * [
            [-1.0, -1.0],
            [1.0, -1.0],
            [1.0, 1.0],
            [-1.0, 1.0],
        ]
        part = np.concatenate([part, open_])
        is_clockwise = np.concatenate([is_clockwise, np.zeros(len(open_), np.bool_)])
        order = np.lexsort((np.arange(len(part)), is_clockwise, part))
        offsets = np.concatenate([column.rings, column.rings[-1] + 4 * np.arange(1, len(open_) + 1)])
        vertex, rings = gather_rows(offsets, order)
        xy = np.concatenate([xy, corner.reshape(-1, 2)])[vertex]
        shell = np.zeros(len(part), np.bool_)
        shell[column.parts[:-1][np.diff(column.parts) > 0]] = True
        shell[len(part) - len(open_) :] = True
        parts = compute_offsets(np.bincount(part, minlength=len(column.parts) - 1))
        return xy, rings, parts, column.rows, (is_clockwise[order], ~shell[order])

    def to_shapes(self, column_number: int) -> Any:
        """Make polygons of GEOS of a column; (n,)."""
        return build_multipolygons(*self.to_ring_arrays(column_number)[:4])

    def to_regions(self, shapes: Any) -> R:
        """Make regions of polygons on the planes."""
        import shapely  # noqa: PLC0415  (for who computes with regions)

        xy, rings, parts, rows = self._extract_rings(shapely.orient_polygons(shapes))
        at = compute_row_indexes(rings[parts[rows]])
        lon, lat = self.unproject(xy, at)
        make = type(self.columns[0][0])
        raw = make(lon, lat, rings, parts, rows)
        lon, lat, drop = self._restore_vertices(lon, lat, xy, at)
        if drop.any():  # what was put in goes, unless there is a corner now
            normal = raw.outlines.normal
            before = np.empty(len(drop), np.int64)
            before[raw.successors] = np.arange(len(drop))
            drop &= np.linalg.norm(np.cross(normal[before], normal), axis=1) < 1e-6
        drop &= (np.diff(compute_offsets(~drop)[rings]) >= 3)[compute_row_indexes(rings)]
        restored = make(lon[~drop], lat[~drop], compute_offsets(~drop)[rings], parts, rows)
        region_rows = np.unique(at)
        wrong = region_rows[
            np.array(
                [bool(reason) for reason in find_region_faults(restored.take(region_rows), with_details=False)],
                np.bool_,
            )
        ]
        if len(wrong):
            return restored.replace_rows(wrong, raw.take(wrong))
        return restored

    def _extract_rings(self, shapes: Any) -> tuple[Numbers, Indexes, Indexes, Indexes]:
        """Return x, y and offsets of rings, parts and rows, without frames, and without what is thinner than a plane is exact to.

        Of such rings rounding would say, on the sphere, which side is inside.
        """
        xy, rings, parts, rows = to_ragged_arrays(shapes)
        ring_part = compute_row_indexes(parts)
        part_row = compute_row_indexes(rows)
        if not len(xy):
            return xy, rings, parts, rows
        after = xy[compute_successors(rings)]
        turn = np.add.reduceat(xy[:, 0] * after[:, 1] - after[:, 0] * xy[:, 1], rings[:-1])
        length = np.add.reduceat(np.linalg.norm(after - xy, axis=1), rings[:-1])
        row = part_row[ring_part]
        thin = (
            np.abs(turn)
            <= np.where(self.is_stereographic, 4.0 * MAX_DEVIATION_RADIANS, 4.0 * GRID_SIZE_RADIANS)[row] * length
        )
        is_kept_part = ~thin[parts[:-1]]  # a shell takes its holes with it
        is_kept_ring = (
            ~thin & is_kept_part[ring_part] & (np.minimum.reduceat(xy[:, 0], rings[:-1]) > -self.frame_half_width[row])
        )
        return (
            xy[is_kept_ring[compute_row_indexes(rings)]],
            compute_offsets(np.diff(rings)[is_kept_ring]),
            compute_offsets(np.bincount(ring_part[is_kept_ring], minlength=len(is_kept_part))[is_kept_part]),
            compute_offsets(np.bincount(part_row[is_kept_part], minlength=len(rows) - 1)),
        )

    def _restore_vertices(
        self, lon: Numbers, lat: Numbers, xy: Numbers, row: Indexes
    ) -> tuple[Numbers, Numbers, Flags]:
        """Give vertices that were there before their angles again, to the last digit, and tell which were put in on the way."""
        vertex_keys = _hash_positions(
            np.concatenate(self.projected), np.concatenate([c.vertex_rows for c, _ in self.columns])
        )
        shape_keys = _hash_positions(xy, row)
        added = np.concatenate([np.zeros(len(c.lon), np.bool_) if new is None else new for c, new in self.columns])
        order = np.lexsort((added, vertex_keys))
        at = np.searchsorted(vertex_keys[order], shape_keys).clip(max=max(len(order) - 1, 0))
        if not len(order):
            return lon, lat, np.zeros(len(lon), np.bool_)
        at = order[at]
        same = vertex_keys[at] == shape_keys
        lons, lats = (np.concatenate([getattr(c, name) for c, _ in self.columns])[at] for name in ("lon", "lat"))
        return np.where(same, lons, lon), np.where(same, lats, lat), same & added[at]

    def merge_inside_faces(self) -> Any:
        """Cut the rings of the first column where they cross, and unite the faces that are inside; (n,).

        The inside of a ring that does not cross itself is to the left. Of one that does, it is what it winds around,
        or, if it is a hole, all else; where it is wider than a plane for straight edges, most of it has its inside to
        the left: which side of such a ring is around it depends on where one stands.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        xy, rings, parts, rows, orientations = self.to_ring_arrays(0)
        vertex, around = close_rings(rings)
        simple = shapely.is_simple(shapely.linearrings(xy[vertex], indices=compute_row_indexes(around)))
        uses_left_side = simple | self.is_stereographic[compute_row_indexes(parts[rows])]
        return merge_enclosed_faces(xy, rings, parts, rows, np.where(uses_left_side, *orientations), GRID_SIZE_RADIANS)


def _find_vertices_on_edges(
    all_vertices: Numbers, candidates: Indexes, edge: Indexes, a: Numbers, b: Numbers, normal: Numbers
) -> Numbers:
    """Find vertices that lie on edges: the edge, the place on it and the vertex of each, shape (3, m).

    Near an edge's end its straight lines leave it by a tenth of the way to there at most: what is farther lies beside
    the edge.
    """
    x, y, z = all_vertices[candidates].T[:, :, None]
    plane_distances = x * normal[edge, 0] + y * normal[edge, 1] + z * normal[edge, 2]
    vertex, edge_index = np.nonzero(np.abs(plane_distances) < 1.1 * MAX_DEVIATION_RADIANS)
    vertex = candidates[vertex]
    edge_index = edge[edge_index]
    point = all_vertices[vertex]
    start_distances = dot_vectors(cross_vectors(normal[edge_index], a[edge_index]), point)
    remaining = dot_vectors(cross_vectors(b[edge_index], normal[edge_index]), point)
    end = np.minimum(start_distances, remaining)
    on = (end > 1e-13) & (np.abs(dot_vectors(normal[edge_index], point)) < 0.1 * end + 1e-12)
    return np.stack([edge_index, np.arctan2(start_distances, dot_vectors(a[edge_index], point)), vertex])[:, on]


def _hash_positions(xy: Numbers, row: Indexes) -> npt.NDArray[np.uint64]:
    number = np.rint(xy / GRID_SIZE_RADIANS).astype(np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = number[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ (number[:, 1] + np.uint64(0x7F4A7C15)) * np.uint64(
            0xC2B2AE3D27D4EB4F
        )
        hashes: npt.NDArray[np.uint64] = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(
            0xBF58476D1CE4E5B9
        ) + row.astype(np.uint64)
    return hashes


def find_vertex_faults(regions: R) -> list[tuple[str, Flags]]:
    """Return what is wrong with vertices, and with which; shape (v,)."""
    xyz = to_unit_vectors(regions.lon, regions.lat)
    after = xyz[regions.successors]
    return [
        ("a longitude or latitude is no number", ~np.isfinite(regions.lon + regions.lat)),
        ("a latitude is beyond 90 degrees", np.abs(regions.lat) > 90.0),
        ("an edge is half a turn long, so no arc is the shortest", np.linalg.norm(xyz + after, axis=1) < 1e-12),
        ("a ring has fewer than three vertices", np.repeat(np.diff(regions.rings) < 3, np.diff(regions.rings))),
        (REPEATED_VERTEX, np.linalg.norm(xyz - after, axis=1) < 1e-15),
    ]


def find_region_faults(regions: R, *, with_details: bool) -> list[str]:
    """Return what is wrong with each row, and where; one word if that is enough."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    reasons = np.full(len(regions), "", object)
    row = regions.vertex_rows
    for reason, wrong in reversed(find_vertex_faults(regions)):
        reasons[row[wrong]] = reason
    undecided = np.flatnonzero((reasons == "") & (np.diff(regions.rows) > 0) & ~is_convex(regions))
    if len(undecided):
        planes = ProjectionPlanes([regions.take(undecided)])
        shapes = planes.to_shapes(0)
        part, part_row = shapely.get_parts(shapes, return_index=True)
        reasons[undecided[part_row[shapely.area(part) <= 2.0 * GRID_SIZE_RADIANS * shapely.length(part)]]] = (
            "a part has no area"
        )
        bad = np.flatnonzero(~shapely.is_valid(shapes))
        reasons[undecided[bad]] = "it crosses itself"
        for bad_row in bad if with_details else []:
            reason, _, at = str(shapely.is_valid_reason(shapes[bad_row])).partition("[")
            xy = np.array([at.rstrip("]").split()], np.float64)
            lon, lat = planes.unproject(xy, np.array([bad_row]))
            reasons[undecided[bad_row]] = f"{reason.lower()} at {lon[0]:.6f} {lat[0]:+.6f}"
    return list(reasons)


def is_convex(regions: RegionColumn) -> Flags:
    """Return which regions are certainly valid: convex triangles and quadrilaterals, by their corners alone.

    Most footprints are such. GEOS takes thirty times as long to say so.

    Parameters
    ----------
    regions
        Of any form.

    Returns
    -------
    certain
        Shape (n,); others may be valid, too. Latitudes beyond 90 degrees are not looked for.
    """
    certain = np.zeros(len(regions), np.bool_)
    single = np.flatnonzero(np.diff(regions.rows) == 1)
    single = single[np.diff(regions.parts)[regions.rows[single]] == 1]
    ring = regions.parts[regions.rows[single]]
    size = np.diff(regions.rings)[ring]
    for corners in (3, 4):
        rows = single[size == corners]
        at = regions.rings[ring[size == corners]][:, None] + np.arange(corners)
        if not len(rows):
            continue
        corner = to_unit_vectors(regions.lon[at], regions.lat[at])
        after = np.roll(corner, -1, axis=1)
        turn = dot_vectors(np.cross(corner, after), np.roll(corner, -2, axis=1))
        edge = np.linalg.norm(after - corner, axis=2)
        diameter = np.linalg.norm(corner - corner[:, :1], axis=2).max(axis=1)
        # each corner stands so far out that no rounding changes its turn, here (4e-16) and on the plane
        min_turn = np.maximum(1000.0 * GRID_SIZE_RADIANS * edge.max(axis=1)[:, None], 1e-14)
        turns = (turn > min_turn).all(axis=1) | (turn < -min_turn).all(axis=1)
        # within 60 degrees of a corner, great circles are the straight lines of one plane; more than four corners may
        # turn twice
        certain[rows] = turns & (diameter < 1.0)
    return certain


def clean_regions(regions: R) -> R:
    """Leave out vertices that say nothing, rings and parts that are none."""
    *bad, short, is_repeated = (wrong for _, wrong in find_vertex_faults(regions))
    ring = compute_row_indexes(regions.rings)
    lost = np.logical_or.reduce([*bad, short])
    keep = ~is_repeated & ~np.isin(ring, ring[lost])
    minlength = len(regions.rings) - 1
    size = np.bincount(ring[keep], minlength=minlength)
    keep &= (size >= 3)[ring]
    size = np.where(size >= 3, size, 0)
    stays = size > 0
    part = compute_row_indexes(regions.parts)
    is_whole_sphere = np.diff(regions.parts) == 0
    parts = np.bincount(part[stays], minlength=len(is_whole_sphere))
    part_stays = (parts > 0) | is_whole_sphere
    first = np.zeros(len(size), np.bool_)
    first[regions.parts[:-1][~is_whole_sphere]] = True
    lacks_shell = np.isin(part, part[first & ~stays])  # ... and its holes with a shell
    if (lacks_shell & stays).any():
        keep &= ~lacks_shell[ring]
        stays &= ~lacks_shell
        parts = np.bincount(part[stays], minlength=len(is_whole_sphere))
        part_stays = (parts > 0) | is_whole_sphere
    rows = np.bincount(compute_row_indexes(regions.rows)[part_stays], minlength=len(regions))
    return type(regions)(
        regions.lon[keep],
        regions.lat[keep],
        compute_offsets(size[stays]),
        compute_offsets(parts[part_stays]),
        compute_offsets(rows),
    )
