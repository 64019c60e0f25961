"""Project regions onto planes, where GEOS cuts them at their crossings and unites them.

Regions within a cap use gnomonic planes, on which great circles are straight. Larger regions use stereographic planes,
with points inserted into their edges. The rest of the sphere is a frame around everything that has edges. Results are
rounded to a grid that is far wider than the rounding errors of angles, so that shapes that are valid on the plane stay
valid.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from hven.model.sky._geos import build_multipolygons, extract_ragged_polygon_arrays, merge_enclosed_faces
from hven.model.sky._ragged_arrays import (
    compute_closed_ring_indexes,
    compute_offsets,
    compute_row_indexes,
    compute_successor_indexes,
    gather_element_indexes,
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
    to_vector_components,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.model.sky._rings import PolygonRings

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

GRID_SIZE_RADIANS = 2.0**-38  # radians: 0.75 micro-arcseconds
MAX_GNOMONIC_RADIUS_DEGREES = 65.0  # larger regions use a stereographic plane
MAX_DEVIATION_RADIANS = 1e-8  # 2 mas: how far a straight line on a stereographic plane may leave its great circle
# how far the ends of an edge must be from opposite points: below 2 mas, rounding changes the great circle of an edge by
# more than MAX_DEVIATION_RADIANS, and the union of its crossings with others does not end
MIN_HALF_TURN_DISTANCE_RADIANS = 1e-8
REPEATED_VERTEX = "a vertex occurs twice in a row"
_MAX_EDGE_VERTEX_PAIRS = (
    100_000_000  # long edges times vertices of a row; beyond it, shared vertices are not searched for
)
_GOLDEN_ANGLE_RADIANS = math.pi * (3.0 - math.sqrt(5.0))

R = TypeVar("R", bound=RegionColumn)


class ProjectionPlanes(Generic[R]):
    """Project the regions of some columns, with one plane for each row."""

    def __init__(self, columns: Sequence[R], max_gnomonic_radius_degrees: float = MAX_GNOMONIC_RADIUS_DEGREES) -> None:
        count = len(columns[0])
        unit_vectors = [to_unit_vectors(column.lon, column.lat) for column in columns]
        xyz = np.concatenate(unit_vectors)
        row = np.concatenate([column.vertex_rows for column in columns])
        axis_totals = [np.bincount(row, xyz[:, axis], minlength=count) for axis in range(3)]
        total = np.stack(axis_totals, 1)
        size = np.linalg.norm(total, axis=1, keepdims=True)
        direction = total / np.maximum(size, 1e-300)
        self.centre = np.where(size > 1e-9, direction, [1.0, 0.0, 0.0])
        chord = np.zeros(count)
        distances = np.linalg.norm(xyz - self.centre[row], axis=1)
        np.maximum.at(chord, row, distances)
        max_chord = 2.0 * math.sin(math.radians(max_gnomonic_radius_degrees) / 2.0)
        self.is_stereographic = chord > max_chord
        for item in np.flatnonzero(self.is_stereographic):
            row_columns = [column.take([item]) for column in columns]
            self._move_antipode_away_from_edges(int(item), row_columns)
        self.east, self.north = compute_tangent_axes(self.centre)
        self.columns: list[tuple[R, Flags | None]] = [(column, None) for column in columns]
        if self.is_stereographic.any():
            pinned_columns = self._insert_shared_vertices(columns)
            self.columns = [self._densify_edges(column, pinned) for column, pinned in pinned_columns]
        self.projected = []
        self.frame_half_width = np.full(count, 1.0)
        for column, _ in self.columns:
            row = column.vertex_rows
            positions = self.project(to_unit_vectors(column.lon, column.lat), row)
            largest_coordinate = np.abs(positions).max(axis=1, initial=0.0)
            np.maximum.at(self.frame_half_width, row, largest_coordinate)
            self.projected.append(positions)
        self.frame_half_width = np.ceil(self.frame_half_width) + 1.0

    def _move_antipode_away_from_edges(self, row: int, columns: list[R]) -> None:
        """Move the plane's point at infinity of a row to a place without edges."""
        index = np.arange(200) + 0.5
        lat = np.degrees(np.arcsin(1.0 - index / 100.0))
        lon = np.degrees(index * _GOLDEN_ANGLE_RADIANS)
        candidates = np.concatenate([-self.centre[row][None], to_unit_vectors(lon, lat)])
        gap = np.full(len(candidates), 90.0)
        for column in columns:
            edges = column.prepared_rings
            for start in range(0, len(edges.edge_begin_vectors), 1 << 12):
                part = slice(start, start + (1 << 12))
                arcs = compute_arc_distances(
                    candidates[:, None],
                    edges.edge_begin_vectors[part],
                    edges.edge_end_vectors[part],
                    edges.edge_normals[part],
                )
                np.minimum(gap, arcs.min(axis=1), out=gap)
        self.centre[row] = -candidates[int(np.argmax(gap))]

    def _compute_max_piece_lengths(self, column: R) -> Numbers:
        """Compute how long pieces of edges may be to stay within `MAX_DEVIATION_RADIANS` of straight lines.

        Radians, shape (v,).
        """
        row = column.vertex_rows
        edges = column.prepared_rings
        arc_distances = compute_arc_distances(
            -self.centre[row], edges.edge_begin_vectors, edges.edge_end_vectors, edges.edge_normals
        )
        gap = np.radians(np.maximum(arc_distances, 0.1))
        plane_distances = np.abs(dot_vectors(edges.edge_normals, self.centre[row]))
        bend = np.maximum(plane_distances, 1e-9)  # 0 for a straight edge
        stereographic_length = 4.0 * np.sin(gap / 2.0) * np.sqrt(MAX_DEVIATION_RADIANS / bend)
        return np.where(self.is_stereographic[row], stereographic_length, np.inf)

    def _insert_shared_vertices(self, columns: Sequence[R]) -> list[tuple[R, Flags]]:
        """Insert into long edges the vertices of their row that lie on them.

        Pieces of edges that coincide are then the same. Otherwise their straight lines would cross in every piece.
        """
        rows = np.flatnonzero(self.is_stereographic)
        spans = [column.rings[column.parts[column.rows]] for column in columns]
        lons = np.concatenate([column.lon for column in columns])
        lats = np.concatenate([column.lat for column in columns])
        first = compute_offsets([len(column.lon) for column in columns])
        all_vertices = to_unit_vectors(lons, lats)
        pinned_columns = []
        for column, span in zip(columns, spans, strict=True):
            edges = column.prepared_rings
            insertions = [np.zeros((3, 0))]
            long = edges.edge_lengths_radians > self._compute_max_piece_lengths(column)
            for row in rows.tolist():
                row_edges = span[row] + np.flatnonzero(long[span[row] : span[row + 1]])
                row_vertices = [
                    np.arange(*column_span[row : row + 2]) + begin
                    for column_span, begin in zip(spans, first, strict=False)
                ]
                candidates = np.concatenate(row_vertices)
                if len(row_edges) * len(candidates) > _MAX_EDGE_VERTEX_PAIRS:
                    continue
                for block in split_into_blocks(np.full(len(row_edges), len(candidates))):
                    vertices_on_edges = _find_vertices_on_edges(all_vertices, candidates, edges, row_edges[block])
                    insertions.append(vertices_on_edges)
            edge, place, vertex = np.concatenate(insertions, axis=1)
            order = np.lexsort((place, edge))
            edge_numbers = edge[order].astype(np.int64)
            vertex_numbers = vertex[order].astype(np.int64)
            pinned_columns.append(column.insert_vertices(edge_numbers, lons[vertex_numbers], lats[vertex_numbers]))
        return pinned_columns

    def _densify_edges(self, column: R, pinned: Flags) -> tuple[R, Flags]:
        """Insert points into edges, and return which vertices were inserted, with the pinned ones."""
        densified, added = column.densify_edges(self._compute_max_piece_lengths(column))
        added[~added] = pinned
        return densified, added

    def project(self, xyz: Numbers, row: Indexes) -> Numbers:
        """Project unit vectors onto the planes of their rows; x, y of shape (n, 2)."""
        ahead = np.sum(xyz * self.centre[row], axis=1)
        stereographic_scale = 2.0 / np.maximum(1.0 + ahead, 1e-12)
        gnomonic_scale = 1.0 / np.maximum(ahead, 1e-3)
        scale = np.where(self.is_stereographic[row], stereographic_scale, gnomonic_scale)
        x = np.sum(xyz * self.east[row], axis=1) * scale
        y = np.sum(xyz * self.north[row], axis=1) * scale
        return np.stack([x, y], 1)

    def unproject(self, xy: Numbers, row: Indexes) -> tuple[Numbers, Numbers]:
        """Compute longitudes and latitudes in degrees."""
        stereographic_height = 1.0 - np.sum(xy * xy, axis=1) / 4.0
        height = np.where(self.is_stereographic[row], stereographic_height, 1.0)
        along_centre = height[:, None] * self.centre[row]
        along_east = xy[:, :1] * self.east[row]
        along_north = xy[:, 1:] * self.north[row]
        return to_lon_lat(along_centre + along_east + along_north)

    def to_ring_arrays(self, column_number: int) -> tuple[Numbers, Indexes, Indexes, Indexes, tuple[Flags, Flags]]:
        """Return x, y and offsets of rings, parts and rows, shells first; a part without an outer ring gets the frame.

        The last item is a pair of flags by ring: which rings run clockwise, and which were not given as shells.
        """
        column, _ = self.columns[column_number]
        xy = self.projected[column_number]
        follower = column.vertex_successors
        turn = xy[:, 0] * xy[follower, 1] - xy[follower, 0] * xy[:, 1]
        if len(turn):
            is_clockwise = np.add.reduceat(turn, column.rings[:-1]) < 0.0
        else:
            is_clockwise = np.zeros(0, np.bool_)
        part = compute_row_indexes(column.parts)
        minlength = len(column.parts) - 1
        outer_counts = np.bincount(part[~is_clockwise], minlength=minlength)
        open_ = np.flatnonzero(outer_counts == 0)
        open_row = compute_row_indexes(column.rows)[open_]
        half_width = self.frame_half_width[open_row][:, None, None]
        corner = half_width * [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
        part = np.concatenate([part, open_])
        is_clockwise = np.concatenate([is_clockwise, np.zeros(len(open_), np.bool_)])
        order = np.lexsort((np.arange(len(part)), is_clockwise, part))
        frame_offsets = column.rings[-1] + 4 * np.arange(1, len(open_) + 1)
        offsets = np.concatenate([column.rings, frame_offsets])
        vertex, rings = gather_element_indexes(offsets, order)
        xy = np.concatenate([xy, corner.reshape(-1, 2)])[vertex]
        shell = np.zeros(len(part), np.bool_)
        has_rings = np.diff(column.parts) > 0
        shell[column.parts[:-1][has_rings]] = True
        shell[len(part) - len(open_) :] = True
        ring_counts = np.bincount(part, minlength=len(column.parts) - 1)
        parts = compute_offsets(ring_counts)
        return xy, rings, parts, column.rows, (is_clockwise[order], ~shell[order])

    def to_plane_polygons(self, column_number: int) -> Any:
        """Make GEOS polygons of a column; (n,)."""
        xy, rings, parts, rows, _ = self.to_ring_arrays(column_number)
        return build_multipolygons(xy, rings, parts, rows)

    def to_regions(self, shapes: Any) -> R:
        """Make regions from polygons on the planes."""
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        xy, rings, parts, rows = self._extract_valid_rings(shapely.orient_polygons(shapes))
        at = compute_row_indexes(rings[parts[rows]])
        lon, lat = self.unproject(xy, at)
        make = type(self.columns[0][0])
        raw = make(lon, lat, rings, parts, rows)
        lon, lat, is_added = self._restore_original_vertices(lon, lat, xy, at)
        if is_added.any():  # remove the inserted vertices, except where there is a corner now
            normal = raw.prepared_rings.edge_normals
            before = np.empty(len(is_added), np.int64)
            before[raw.vertex_successors] = np.arange(len(is_added))
            bend = np.linalg.norm(np.cross(normal[before], normal), axis=1)
            is_added &= bend < 1e-6
        kept_offsets = compute_offsets(~is_added)[rings]
        can_lose_vertices = np.diff(kept_offsets) >= 3
        is_dropped = is_added & can_lose_vertices[compute_row_indexes(rings)]
        restored_rings = compute_offsets(~is_dropped)[rings]
        restored = make(lon[~is_dropped], lat[~is_dropped], restored_rings, parts, rows)
        region_rows = np.unique(at)
        reasons = find_region_faults(restored.take(region_rows), with_details=False)
        wrong = region_rows[np.array([bool(reason) for reason in reasons], np.bool_)]
        if len(wrong):
            return restored.replace_rows(wrong, raw.take(wrong))
        return restored

    def _extract_valid_rings(self, shapes: Any) -> tuple[Numbers, Indexes, Indexes, Indexes]:
        """Return x, y and offsets of rings, parts and rows, without frames and without rings that are too thin.

        A ring is too thin if rounding decides, on the sphere, which side is inside.
        """
        xy, rings, parts, rows = extract_ragged_polygon_arrays(shapes)
        ring_part = compute_row_indexes(parts)
        part_row = compute_row_indexes(rows)
        if not len(xy):
            return xy, rings, parts, rows
        after = xy[compute_successor_indexes(rings)]
        x = xy[:, 0]
        twice_edge_area = x * after[:, 1] - after[:, 0] * xy[:, 1]
        turn = np.add.reduceat(twice_edge_area, rings[:-1])
        length = np.add.reduceat(np.linalg.norm(after - xy, axis=1), rings[:-1])
        row = part_row[ring_part]
        min_width = np.where(self.is_stereographic, 4.0 * MAX_DEVIATION_RADIANS, 4.0 * GRID_SIZE_RADIANS)
        thin = np.abs(turn) <= min_width[row] * length
        is_kept_part = ~thin[parts[:-1]]  # the holes go with their shell
        is_frame = np.minimum.reduceat(x, rings[:-1]) <= -self.frame_half_width[row]
        is_kept_ring = ~thin & is_kept_part[ring_part] & ~is_frame
        is_kept_vertex = is_kept_ring[compute_row_indexes(rings)]
        ring_counts = np.bincount(ring_part[is_kept_ring], minlength=len(is_kept_part))
        part_counts = np.bincount(part_row[is_kept_part], minlength=len(rows) - 1)
        ring_offsets = compute_offsets(np.diff(rings)[is_kept_ring])
        part_offsets = compute_offsets(ring_counts[is_kept_part])
        return xy[is_kept_vertex], ring_offsets, part_offsets, compute_offsets(part_counts)

    def _restore_original_vertices(
        self, lon: Numbers, lat: Numbers, xy: Numbers, row: Indexes
    ) -> tuple[Numbers, Numbers, Flags]:
        """Restore the exact angles of original vertices, and return which vertices were inserted into edges."""
        columns = [column for column, _ in self.columns]
        vertex_rows = np.concatenate([column.vertex_rows for column in columns])
        vertex_keys = _hash_positions(np.concatenate(self.projected), vertex_rows)
        shape_keys = _hash_positions(xy, row)
        added_flags = []
        for column, is_added in self.columns:
            if is_added is None:
                added_flags.append(np.zeros(len(column.lon), np.bool_))
            else:
                added_flags.append(is_added)
        added = np.concatenate(added_flags)
        order = np.lexsort((added, vertex_keys))
        if not len(order):
            return lon, lat, np.zeros(len(lon), np.bool_)
        place = np.searchsorted(vertex_keys[order], shape_keys).clip(max=len(order) - 1)
        at = order[place]
        same = vertex_keys[at] == shape_keys
        original_lon = np.concatenate([column.lon for column in columns])[at]
        original_lat = np.concatenate([column.lat for column in columns])[at]
        restored_lon = np.where(same, original_lon, lon)
        restored_lat = np.where(same, original_lat, lat)
        return restored_lon, restored_lat, same & added[at]

    def merge_interior_faces(self) -> Any:
        """Cut the rings of the first column where they cross, and unite the faces that are inside; (n,).

        The inside of a ring that does not cross itself is to the left. The inside of a ring that crosses itself is what
        it winds round, or, if it is a hole, everything else. A ring that is too large for a gnomonic plane has its
        inside to the left in any case: which side such a ring winds round depends on the projection.
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        xy, rings, parts, rows, orientations = self.to_ring_arrays(0)
        vertex, around = compute_closed_ring_indexes(rings)
        lines = shapely.linearrings(xy[vertex], indices=compute_row_indexes(around))
        simple = shapely.is_simple(lines)
        ring_row = compute_row_indexes(parts[rows])
        uses_left_side = simple | self.is_stereographic[ring_row]
        is_inverted = np.where(uses_left_side, *orientations)
        return merge_enclosed_faces(xy, rings, parts, rows, is_inverted=is_inverted, grid_size=GRID_SIZE_RADIANS)


def _find_vertices_on_edges(all_vertices: Numbers, candidates: Indexes, edges: PolygonRings, edge: Indexes) -> Numbers:
    """Find vertices that lie on edges: the edge, the place on it and the vertex of each, shape (3, m).

    Near an edge's end, the straight lines of its pieces leave the edge by at most a tenth of the distance to the end.
    A vertex farther from the edge is beside it.
    """
    normal = edges.edge_normals
    x, y, z = all_vertices[candidates].T[:, :, None]
    plane_distances = x * normal[edge, 0] + y * normal[edge, 1] + z * normal[edge, 2]
    vertex, edge_index = np.nonzero(np.abs(plane_distances) < 1.1 * MAX_DEVIATION_RADIANS)
    vertex = candidates[vertex]
    edge_index = edge[edge_index]
    point = all_vertices[vertex]
    edge_normal = normal[edge_index]
    edge_begin = edges.edge_begin_vectors[edge_index]
    start_distances = dot_vectors(cross_vectors(edge_normal, edge_begin), point)
    end_distances = dot_vectors(cross_vectors(edges.edge_end_vectors[edge_index], edge_normal), point)
    nearest_end = np.minimum(start_distances, end_distances)
    edge_distance = np.abs(dot_vectors(edge_normal, point))
    on = (nearest_end > 1e-13) & (edge_distance < 0.1 * nearest_end + 1e-12)
    place = np.arctan2(start_distances, dot_vectors(edge_begin, point))
    return np.stack([edge_index, place, vertex])[:, on]


def _hash_positions(xy: Numbers, row: Indexes) -> npt.NDArray[np.uint64]:
    grid_number = np.rint(xy / GRID_SIZE_RADIANS)
    number = grid_number.astype(np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        x_hash = number[:, 0] * np.uint64(0x9E3779B97F4A7C15)
        y_hash = (number[:, 1] + np.uint64(0x7F4A7C15)) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = x_hash ^ y_hash
        xy_hash = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes: npt.NDArray[np.uint64] = xy_hash + row.astype(np.uint64)
    return hashes


def find_vertex_faults(regions: R) -> list[tuple[str, Flags]]:
    """Return the faults of vertices, and which vertices have them; shape (v,)."""
    xyz = to_unit_vectors(regions.lon, regions.lat)
    after = xyz[regions.vertex_successors]
    ring_sizes = np.diff(regions.rings)
    is_too_short = np.repeat(ring_sizes < 3, ring_sizes)
    is_half_turn = np.linalg.norm(xyz + after, axis=1) < MIN_HALF_TURN_DISTANCE_RADIANS
    is_repeated = np.linalg.norm(xyz - after, axis=1) < 1e-15
    return [
        ("a longitude or latitude is not a number", ~np.isfinite(regions.lon + regions.lat)),
        ("a latitude is beyond 90 degrees", np.abs(regions.lat) > 90.0),
        ("an edge is half a turn long, so no arc is the shortest", is_half_turn),
        ("a ring has fewer than three vertices", is_too_short),
        (REPEATED_VERTEX, is_repeated),
    ]


def find_region_faults(regions: R, *, with_details: bool) -> list[str]:
    """Return the fault of each row, with its place if `with_details` is true; an empty text for a valid row."""
    import shapely  # noqa: PLC0415  (only computations with regions need it)

    reasons = np.full(len(regions), "", object)
    row = regions.vertex_rows
    for reason, wrong in reversed(find_vertex_faults(regions)):
        reasons[row[wrong]] = reason
    has_parts = np.diff(regions.rows) > 0
    undecided = np.flatnonzero((reasons == "") & has_parts & ~are_regions_convex(regions))
    if len(undecided):
        planes = ProjectionPlanes([regions.take(undecided)])
        shapes = planes.to_plane_polygons(0)
        part, part_row = shapely.get_parts(shapes, return_index=True)
        min_area = 2.0 * GRID_SIZE_RADIANS * shapely.length(part)
        thin_rows = part_row[shapely.area(part) <= min_area]
        reasons[undecided[thin_rows]] = "a part has no area"
        bad = np.flatnonzero(~shapely.is_valid(shapes))
        reasons[undecided[bad]] = "it crosses itself"
        if not with_details:
            return list(reasons)
        for bad_row in bad:
            explanation = str(shapely.is_valid_reason(shapes[bad_row]))
            reason, _, place = explanation.partition("[")
            xy = np.array([place.rstrip("]").split()], np.float64)
            lon, lat = planes.unproject(xy, np.array([bad_row]))
            reasons[undecided[bad_row]] = f"{reason.lower()} at {lon[0]:.6f} {lat[0]:+.6f}"
    return list(reasons)


def are_corners_convex(lon: Numbers, lat: Numbers) -> Flags:
    """Return which polygons of three or four corners are certainly convex, in either direction.

    Parameters
    ----------
    lon, lat
        Corners in degrees, shape (n, 3) or (n, 4), not closed.

    Returns
    -------
    certain
        Shape (n,); other polygons may be convex, too. Latitudes beyond 90 degrees are not detected.
    """
    # columns of one corner each: numpy is slow over axes of three elements
    x, y, z = to_vector_components(np.ascontiguousarray(lon.T), np.ascontiguousarray(lat.T))
    count = len(x)
    largest_turn = np.full(x.shape[1], -np.inf)
    smallest_turn = np.full(x.shape[1], np.inf)
    longest_edge_squared = np.zeros(x.shape[1])
    diameter_squared = np.zeros(x.shape[1])
    for i in range(count):
        j = (i + 1) % count
        k = (i + 2) % count
        turn = (y[i] * z[j] - z[i] * y[j]) * x[k]
        turn += (z[i] * x[j] - x[i] * z[j]) * y[k]
        turn += (x[i] * y[j] - y[i] * x[j]) * z[k]
        np.maximum(largest_turn, turn, out=largest_turn)
        np.minimum(smallest_turn, turn, out=smallest_turn)
        edge_squared = (x[j] - x[i]) ** 2 + (y[j] - y[i]) ** 2 + (z[j] - z[i]) ** 2
        np.maximum(longest_edge_squared, edge_squared, out=longest_edge_squared)
        distance_squared = (x[i] - x[0]) ** 2 + (y[i] - y[0]) ** 2 + (z[i] - z[0]) ** 2
        np.maximum(diameter_squared, distance_squared, out=diameter_squared)
    # each corner stands out so far that no rounding changes its turn, here (4e-16) and on the plane
    min_turn = np.maximum(1000.0 * GRID_SIZE_RADIANS * np.sqrt(longest_edge_squared), 1e-14)
    turns = (smallest_turn > min_turn) | (largest_turn < -min_turn)
    # within 60 degrees of a corner, great circles are straight lines on one plane; a polygon with more than four
    # corners may go round twice
    certain: Flags = turns & (diameter_squared < 1.0)
    return certain


def are_polygons_convex(starts: Indexes, numbers: Numbers) -> Flags:
    """Return which polygons of a column are certainly convex (see `are_corners_convex`).

    Parameters
    ----------
    starts
        Where in `numbers` each polygon begins, and the end; shape (n + 1,).
    numbers
        Longitudes and latitudes alternating, degrees.

    Returns
    -------
    certain
        Shape (n,). Polygons of more than four corners, and closed ones, are not looked at.
    """
    certain = np.zeros(len(starts) - 1, np.bool_)
    sizes = np.diff(starts)
    for corners in (3, 4):
        rows = np.flatnonzero(sizes == 2 * corners)
        at = starts[rows][:, None] + 2 * np.arange(corners)
        certain[rows] = are_corners_convex(numbers[at], numbers[at + 1])
    return certain


def are_regions_convex(regions: RegionColumn) -> Flags:
    """Return which regions are certainly valid: convex triangles and quadrilaterals, decided by their corners alone.

    Most footprints are of this form. GEOS takes thirty times as long to validate them.

    Parameters
    ----------
    regions
        Regions of any form.

    Returns
    -------
    certain
        Shape (n,); other regions may be valid, too. Latitudes beyond 90 degrees are not detected.
    """
    certain = np.zeros(len(regions), np.bool_)
    single = np.flatnonzero(np.diff(regions.rows) == 1)
    part_size = np.diff(regions.parts)[regions.rows[single]]
    single = single[part_size == 1]
    ring = regions.parts[regions.rows[single]]
    size = np.diff(regions.rings)[ring]
    for corners in (3, 4):
        is_this_size = size == corners
        rows = single[is_this_size]
        at = regions.rings[ring[is_this_size]][:, None] + np.arange(corners)
        if not len(rows):
            continue
        certain[rows] = are_corners_convex(regions.lon[at], regions.lat[at])
    return certain


def remove_invalid_rings(regions: R) -> R:
    """Remove repeated vertices, and rings and parts that are not valid."""
    *bad, short, is_repeated = (wrong for _, wrong in find_vertex_faults(regions))
    ring = compute_row_indexes(regions.rings)
    is_lost_vertex = np.logical_or.reduce([*bad, short])
    lost = is_lost_vertex
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
    removed_shells = part[first & ~stays]
    lacks_shell = np.isin(part, removed_shells)  # the holes of a removed shell go with it
    if (lacks_shell & stays).any():
        keep &= ~lacks_shell[ring]
        stays &= ~lacks_shell
        parts = np.bincount(part[stays], minlength=len(is_whole_sphere))
        part_stays = (parts > 0) | is_whole_sphere
    part_row = compute_row_indexes(regions.rows)[part_stays]
    rows = np.bincount(part_row, minlength=len(regions))
    ring_offsets = compute_offsets(size[stays])
    part_offsets = compute_offsets(parts[part_stays])
    return type(regions)(regions.lon[keep], regions.lat[keep], ring_offsets, part_offsets, compute_offsets(rows))
