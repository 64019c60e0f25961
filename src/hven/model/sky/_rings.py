"""Compute areas, point tests and crossings of many spherical polygons at once, as flat arrays.

Edges are great-circle arcs. A polygon is a ring of vertices that is not closed. The point test counts the edges that
the point's meridian crosses on its way to the north pole. One point beside an edge tells which parity means *inside*.
The test is exact for simple polygons of any size, over the poles and over longitude 0. For polygons that cut
themselves it alternates (even-odd rule).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_row_indexes,
    compute_successor_indexes,
    gather_element_indexes,
    split_into_blocks,
)
from hven.model.sky._sphere import (
    SKY_AREA_SQUARE_DEGREES,
    TOLERANCE_DEGREES,
    compute_arc_distances,
    compute_arc_normals,
    compute_tangent_axes,
    cross_vectors,
    dot_vectors,
    find_latitude_extremes,
    interpolate_along_arcs,
    is_point_in_circle,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
    wrap_longitudes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_TOLERANCE_RADIANS = math.radians(TOLERANCE_DEGREES)
_AXIS_VECTORS = np.array(
    [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]
)
MAX_CAP_RADIUS_DEGREES = 60.0  # a ring in a circle of this radius has its smaller side inside the circle
_ALL_EDGES = slice(None)
_EDGE_FIELDS = frozenset(
    {
        "lon",
        "lat",
        "edge_begin_vectors",
        "edge_end_vectors",
        "edge_normals",
        "has_edge_length",
        "edge_longitude_changes",
        "edge_pole_signs",
        "edge_western_longitudes",
        "edge_eastern_longitudes",
        "edge_lengths_radians",
    }
)
_RING_FIELDS = frozenset(
    {
        "mean_directions",
        "max_vertex_distances",
        "signed_areas",
        "is_inside_left",
        "area",
        "is_within_cap",
        "has_north_pole",
    }
)
_POINT_TEST_FIELDS = frozenset(
    {
        "lon",
        "lat",
        "edge_normals",
        "edge_longitude_changes",
        "edge_pole_signs",
        "edge_western_longitudes",
        "edge_eastern_longitudes",
        "mean_directions",
        "max_vertex_distances",
        "is_within_cap",
        "has_north_pole",
    }
)  # what the test of a point against a ring needs
_CHUNK_ELEMENTS = 1 << 19  # elements of a points-times-edges block
_BLOCK_PAIRS = 1 << 17  # pairs of edges, or of points and edges, at a time: their arrays fit into a processor cache


class PolygonRings:
    """Hold polygons with everything that the tests need, computed once.

    Parameters
    ----------
    lon, lat
        Vertices of all rings one after the other, degrees, shape (v,).
    offsets
        Where each ring begins, and the end: shape (n + 1,). Every ring needs three vertices.
    side
        ``smaller``: inside is the side of the smaller area. ``left``, ``right``: inside is on that side of a path on
        the sphere's outside from vertex to vertex. ``right`` is counter-clockwise as seen from the origin, the order
        of DALI 1.1 section 3.3.7.
    """

    def __init__(
        self, lon: npt.ArrayLike, lat: npt.ArrayLike, offsets: npt.ArrayLike | None = None, *, side: str = "smaller"
    ) -> None:
        self.lon = wrap_longitudes(lon)
        self.lat = np.asarray(lat, dtype=np.float64)
        if offsets is None:
            ring_offsets = np.array([0, len(self.lon)])
        else:
            ring_offsets = np.asarray(offsets, dtype=np.int64)
        self._set_offsets(ring_offsets, side)

    @cached_property
    def edge_begin_vectors(self) -> Numbers:
        """Where each edge begins: unit vectors, shape (v, 3)."""
        return to_unit_vectors(self.lon, self.lat)

    @cached_property
    def edge_end_vectors(self) -> Numbers:
        """Where each edge ends."""
        return self.edge_begin_vectors[self.next]

    @cached_property
    def edge_normals(self) -> Numbers:
        """Unit vectors at right angles to the edges, 0 for an edge without length; shape (v, 3)."""
        return compute_arc_normals(self.edge_begin_vectors, self.edge_end_vectors)

    @cached_property
    def has_edge_length(self) -> Flags:
        """Which edges have a length: a repeated vertex makes an edge without one."""
        return np.asarray(self.edge_normals.any(axis=1))

    @cached_property
    def edge_longitude_changes(self) -> Numbers:
        """How far each edge goes eastward, degrees."""
        return (self.lon[self.next] - self.lon + 180.0) % 360.0 - 180.0

    @cached_property
    def edge_pole_signs(self) -> Numbers:
        """Which edges have a corner at a pole: -1 at the south pole, 1 at the north pole, 0 at none."""
        next_lat = self.lat[self.next]
        highest_latitude = np.maximum(np.abs(self.lat), np.abs(next_lat))
        has_pole_corner = highest_latitude >= 90.0
        hemisphere = np.sign(self.lat + next_lat)
        return np.where(has_pole_corner, hemisphere, 0.0)

    def take(self, rows: Indexes, field_names: frozenset[str] = _EDGE_FIELDS | _RING_FIELDS) -> PolygonRings:
        """Return some rings, which may repeat, with the values that are already computed.

        `field_names` restricts the copied values to those that the caller needs.
        """
        if np.array_equal(rows, np.arange(len(self.first))):
            return self
        vertex, offsets = gather_element_indexes(self.offsets, rows)
        subset = PolygonRings.__new__(PolygonRings)
        for name, value in vars(self).items():
            if name not in field_names:
                continue
            if name in _EDGE_FIELDS:
                subset.__dict__[name] = value[vertex]
            else:
                subset.__dict__[name] = value[rows]
        subset._set_offsets(offsets, self._side)  # noqa: SLF001  (an object of this class)
        return subset

    def _set_offsets(self, offsets: Indexes, side: str) -> None:
        self.offsets = offsets
        self._side = side
        self.first = offsets[:-1]
        self.counts = np.diff(offsets)
        self.owner = compute_row_indexes(offsets)
        self.next = compute_successor_indexes(offsets)

    @cached_property
    def is_inside_left(self) -> Flags:
        """Which rings have their inside to the left.

        If the side is ``smaller``, a positive signed area means that the smaller side is the left one.
        """
        if self._side != "smaller":
            return np.full(len(self.first), self._side == "left")
        return self.signed_areas >= 0.0

    @cached_property
    def area(self) -> Numbers:
        """The area inside each ring, square degrees."""
        inner = np.where(self.is_inside_left, self.signed_areas, -self.signed_areas)
        return np.where(inner < 0.0, SKY_AREA_SQUARE_DEGREES + inner, np.abs(inner))

    @cached_property
    def is_within_cap(self) -> Flags:
        """Which rings have their whole inside within `max_vertex_distances` of their `mean_directions`."""
        is_small: Flags = self.max_vertex_distances < MAX_CAP_RADIUS_DEGREES
        if self._side == "smaller":
            return is_small
        return is_small & (self.area < SKY_AREA_SQUARE_DEGREES / 2.0)

    @cached_property
    def has_north_pole(self) -> Flags:
        """Which rings have the north pole inside."""
        near: Flags = np.logical_and(self.max_vertex_distances < 89.0, self._side == "smaller")
        if near.all():
            inside = near
        else:
            inside = self._is_north_pole_inside()
        if near.any():
            # the antipode is outside, even if the ring cuts itself and has no area to compare
            antipodes = -self.mean_directions
            antipode_lon, _ = to_lon_lat(antipodes)
            heights = dot_vectors(antipodes[self.owner], self.edge_normals)
            crossing = self._is_crossed_northward(antipode_lon[self.owner], heights)
            parity = np.bitwise_xor.reduceat(crossing, self.first)
            inside = np.where(near, parity, inside)
        return inside

    @cached_property
    def has_south_pole(self) -> Flags:
        """Which rings have the south pole inside."""
        spans_zero = np.where(
            self.edge_western_longitudes <= self.edge_eastern_longitudes,
            self.edge_western_longitudes <= 0.0,
            self.edge_eastern_longitudes > 0.0,
        )
        crosses_zero = spans_zero & (self.edge_longitude_changes != 0.0)  # longitude 0
        inside: Flags = self.has_north_pole ^ np.bitwise_xor.reduceat(crosses_zero, self.first)
        return inside

    @cached_property
    def edge_touches_pole(self) -> Flags:
        """Which edges touch a pole, where longitudes mean nothing; shape (v,)."""
        low, high = self.edge_latitude_ranges
        return np.asarray(np.maximum(high, -low) > 90.0 - 1e-11)

    @property
    def edge_longitude_ranges(self) -> tuple[Numbers, Numbers]:
        """The first longitude of each edge and the width of its longitude range, degrees.

        An edge that touches a pole has the longitude of its lower end and the width 0.
        """
        lower = np.abs(self.lat) <= np.abs(self.lat[self.next])
        end = np.where(lower, self.lon, self.lon[self.next])
        begin = np.where(self.edge_touches_pole, end, self.edge_western_longitudes)
        width = np.where(self.edge_touches_pole, 0.0, np.abs(self.edge_longitude_changes))
        return begin, width

    @cached_property
    def edge_latitude_ranges(self) -> tuple[Numbers, Numbers]:
        """The lowest and the highest latitude of each edge, degrees."""
        next_lat = self.lat[self.next]
        low = np.minimum(self.lat, next_lat)
        high = np.maximum(self.lat, next_lat)
        return find_latitude_extremes(self.edge_begin_vectors, self.edge_end_vectors, self.edge_normals, low, high)

    @cached_property
    def edge_western_longitudes(self) -> Numbers:
        """The western longitude of each edge."""
        return np.where(self.edge_longitude_changes >= 0.0, self.lon, self.lon[self.next])

    @cached_property
    def edge_eastern_longitudes(self) -> Numbers:
        """The eastern longitude of each edge."""
        return np.where(self.edge_longitude_changes >= 0.0, self.lon[self.next], self.lon)

    @cached_property
    def mean_directions(self) -> Numbers:
        """The direction of the mean vertex of each ring; shape (n, 3)."""
        mean = np.add.reduceat(self.edge_begin_vectors, self.first, axis=0)
        size = np.sqrt(dot_vectors(mean, mean))
        lengths = size[:, None]
        safe_lengths = np.maximum(size, 1e-300)[:, None]
        directions: Numbers = np.where(lengths > 1e-9, mean / safe_lengths, _AXIS_VECTORS[0])
        return directions

    @cached_property
    def max_vertex_distances(self) -> Numbers:
        """The distance of the farthest vertex of each ring from its `mean_directions`, degrees."""
        vertex_distances = measure_angles(self.edge_begin_vectors, self.mean_directions[self.owner])
        farthest_distances = np.maximum.reduceat(vertex_distances, self.first)
        return np.degrees(farthest_distances)

    @cached_property
    def edge_lengths_radians(self) -> Numbers:
        """The lengths of the edges, radians."""
        return measure_angles(self.edge_begin_vectors, self.edge_end_vectors)

    @cached_property
    def moments(self) -> Numbers:
        """The integral of the position over the inside of each ring, on a sphere of radius 1; shape (n, 3)."""
        # by Stokes' theorem: half the sum of arc length times unit normal
        arc_moments = self.edge_normals * self.edge_lengths_radians[:, None] / 2.0
        integrals = np.add.reduceat(arc_moments, self.first, axis=0)
        largest_component = np.abs(integrals).max(axis=1, initial=0.0)
        integrals[largest_component < 1e-14] = 0.0
        small = np.flatnonzero(
            self.max_vertex_distances < 0.1
        )  # degrees: the sum cancels to rounding noise; a plane is more exact
        if len(small):
            part = self.take(small)
            east, north = compute_tangent_axes(part.mean_directions)
            mean_offsets = part.edge_begin_vectors - part.mean_directions[part.owner]
            x = dot_vectors(mean_offsets, east[part.owner])
            y = dot_vectors(mean_offsets, north[part.owner])
            u = x[part.next]
            v = y[part.next]
            turn = x * v - u * y
            total = np.zeros((len(small), 3))
            for axis, weight in ((part.mean_directions, 0.5), (east, (x + u) / 6.0), (north, (y + v) / 6.0)):
                component = np.add.reduceat(weight * turn, part.first)
                total += axis * component[:, None]
            integrals[small] = total
        if self._side != "smaller":
            backward = ~self.is_inside_left
        else:
            points_away_from_mean = dot_vectors(integrals, self.mean_directions) < 0.0
            backward = np.where(self.is_within_cap, points_away_from_mean, ~self.is_inside_left)
        return np.where(backward[:, None], -integrals, integrals)

    @cached_property
    def is_simple(self) -> Flags:
        """Which rings certainly neither cross nor touch themselves.

        Of each two edges, one lies wholly on one side of the other, or they are far apart.
        """
        ring_is_simple = np.ones(len(self.first), dtype=np.bool_)
        middle_share = np.full(len(self.edge_begin_vectors), 0.5)
        middle = interpolate_along_arcs(self.edge_begin_vectors, self.edge_end_vectors, middle_share)
        middle_length = np.sqrt(dot_vectors(middle, middle))
        middle /= middle_length[:, None]
        for row, first_edge, second_edge in _iterate_edge_pairs(self, self):
            away = middle[first_edge] - middle[second_edge]  # a chord is shorter than its angle
            total_length = self.edge_lengths_radians[first_edge] + self.edge_lengths_radians[second_edge]
            reach = total_length * (0.5 + 1e-9) + _TOLERANCE_RADIANS
            is_near = dot_vectors(away, away) <= reach**2
            near = (first_edge < second_edge) & is_near
            near_first = first_edge[near]
            near_second = second_edge[near]
            apart = (self.next[near_first] == near_second) | (self.next[near_second] == near_first)
            for edge, opposite_edge in ((near_first, near_second), (near_second, near_first)):
                begin_side = dot_vectors(self.edge_normals[edge], self.edge_begin_vectors[opposite_edge])
                end_side = dot_vectors(self.edge_normals[edge], self.edge_end_vectors[opposite_edge])
                same_side = np.abs(np.sign(begin_side) + np.sign(end_side)) == 2.0
                clearance = np.minimum(np.abs(begin_side), np.abs(end_side))
                apart |= same_side & (clearance > _TOLERANCE_RADIANS)
            near_row = row[near]
            ring_is_simple[near_row[~apart]] = False
        return ring_is_simple

    def cover_with_circles(self, circle_limit: int) -> tuple[Indexes, Numbers, Numbers, Numbers]:
        """Cover rings that do not touch themselves by circles along their edges.

        No point inside is farther from the border than the radius of a disc of the same area. The length of a border
        gives at most `circle_limit` circles, and each edge gives at least one.
        """
        disc = 2.0 * np.arcsin(np.sqrt(self.area / SKY_AREA_SQUARE_DEGREES))
        perimeter = np.add.reduceat(self.edge_lengths_radians, self.first)
        step = np.maximum(disc, perimeter / (2 * circle_limit))
        piece_count = self.edge_lengths_radians / (2.0 * step[self.owner])
        pieces = np.maximum(np.ceil(piece_count), 1.0).astype(np.int64)
        edge, number = compute_element_numbers(pieces)
        share = (number + 0.5) / pieces[edge]
        ring = self.owner[edge]
        centers = interpolate_along_arcs(self.edge_begin_vectors[edge], self.edge_end_vectors[edge], share)
        lon, lat = to_lon_lat(centers)
        radii = np.degrees(step + disc)
        return ring, lon, lat, radii[ring]

    def compute_centroids(self) -> tuple[Numbers, Numbers]:
        """Compute the direction of the mean position inside each ring, in degrees.

        A ring without such a direction gets that of its mean vertex.
        """
        has_moment = self.moments.any(axis=1, keepdims=True)
        return to_lon_lat(np.where(has_moment, self.moments, self.mean_directions))

    @cached_property
    def signed_areas(self) -> Numbers:
        """The area to the left of each ring, square degrees, minus that of the sky where this is nearer to 0.

        It is a sum of signed triangles from one point per ring: exact for any size, without cancellation for small
        rings.
        """
        # no triangle may reach the antipode of the common corner
        corner = self.mean_directions[self.owner]
        corner_product = dot_vectors(corner, self.edge_begin_vectors)
        score = np.minimum.reduceat(1.0 + corner_product, self.first)
        if (score <= 0.1).any():
            candidate_scores = [score]
            for axis in _AXIS_VECTORS:
                axis_product = dot_vectors(self.edge_begin_vectors, axis)
                candidate_scores.append(np.minimum.reduceat(1.0 + axis_product, self.first))
            best_candidate = np.argmax(np.stack(candidate_scores), axis=0)
            best = np.where(score > 0.1, 0, best_candidate)[self.owner]
            uses_axis = (best > 0)[:, None]
            corner = np.where(uses_axis, _AXIS_VECTORS[best - 1], corner)
        corner_volume = cross_vectors(self.edge_begin_vectors - corner, self.edge_end_vectors - corner)
        top = dot_vectors(corner, corner_volume)
        product_a = dot_vectors(corner, self.edge_begin_vectors)
        product_b = dot_vectors(corner, self.edge_end_vectors)
        product_ab = dot_vectors(self.edge_begin_vectors, self.edge_end_vectors)
        bottom = 1.0 + product_a + product_b + product_ab
        triangle_angles = 2.0 * np.arctan2(top, bottom)
        solid_angles = np.add.reduceat(triangle_angles, self.first)
        total = np.degrees(np.degrees(solid_angles))
        half_sky = SKY_AREA_SQUARE_DEGREES / 2.0
        not_too_small = np.where(total < -half_sky, total + SKY_AREA_SQUARE_DEGREES, total)
        return np.where(total > half_sky, total - SKY_AREA_SQUARE_DEGREES, not_too_small)

    def _is_north_pole_inside(self) -> Flags:
        """Return which rings have the north pole inside, from a point just left of the widest edge in longitude."""
        # the width counts at the edge's end nearer to a pole: at the pole itself longitudes mean nothing
        cos = np.cos(np.radians(self.lat))
        abs_turn = np.abs(self.edge_longitude_changes)
        lower_cos = np.minimum(cos, cos[self.next])
        width = abs_turn * lower_cos + 1e-12 * abs_turn
        top = np.maximum.reduceat(width, self.first)
        edges = np.flatnonzero(width == top[self.owner])
        first_of_ring = np.unique(self.owner[edges], return_index=True)[1]
        edges = edges[first_of_ring]
        middle = self.edge_begin_vectors[edges] + self.edge_end_vectors[edges]
        middle_length = np.linalg.norm(middle, axis=1)
        middle_length = np.maximum(middle_length, 1e-300)
        middle /= middle_length[:, None]
        middle_lon = np.arctan2(middle[:, 1], middle[:, 0])
        lon = wrap_longitudes(np.degrees(middle_lon))
        middle_height = dot_vectors(middle[self.owner], self.edge_normals)
        crossing = self._is_crossed_northward(lon[self.owner], middle_height)
        crossing[edges] = (
            self.edge_longitude_changes[edges] < 0.0
        )  # left of a westward edge is south of it: the meridian crosses it
        outer = np.bitwise_xor.reduceat(crossing, self.first)
        return outer ^ self.is_inside_left  # even: the pole is left of the edge, where the point is

    def _is_crossed_northward(self, lon: Numbers, height: Numbers, edges: slice = _ALL_EDGES) -> Flags:
        """Return which edges cross the meridian from a point to the north pole.

        `height` is the scalar product of the point and the edge's normal.
        """
        begin, end, turn, pole = (
            side[edges]
            for side in (
                self.edge_western_longitudes,
                self.edge_eastern_longitudes,
                self.edge_longitude_changes,
                self.edge_pole_signs,
            )
        )
        after = lon >= begin
        before = lon < end
        covers_lon = np.where(begin <= end, after & before, after | before)
        spans = covers_lon & (turn != 0.0)
        is_south_of_normal = height < 0.0
        goes_east = turn >= 0.0
        is_below_edge = ((is_south_of_normal) == (goes_east)) & (height != 0.0)
        if pole.any():
            is_below_edge = np.where(pole == 0.0, is_below_edge, pole > 0.0)
        crosses: Flags = spans & is_below_edge
        return crosses

    def _is_on_edge(self, xyz: Numbers, edges: Indexes) -> Flags:
        """Return whether points lie on edges, within the tolerance."""
        a = self.edge_begin_vectors[edges]
        b = self.edge_end_vectors[edges]
        normal = self.edge_normals[edges]
        is_after_begin = dot_vectors(cross_vectors(normal, a), xyz) >= -_TOLERANCE_RADIANS
        is_before_end = dot_vectors(cross_vectors(b, normal), xyz) >= -_TOLERANCE_RADIANS
        is_near_plane = np.abs(dot_vectors(normal, xyz)) <= _TOLERANCE_RADIANS
        is_near_begin = measure_angles(a, xyz) <= _TOLERANCE_RADIANS
        is_near_arc = is_after_begin & is_before_end & is_near_plane & self.has_edge_length[edges]
        on_edge: Flags = is_near_arc | is_near_begin
        return on_edge

    def contains_pairwise(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test point i against ring i; the boundary belongs to the ring. NaN is never inside."""
        lon = wrap_longitudes(lon)
        lat = np.asarray(lat, dtype=np.float64)
        xyz = to_unit_vectors(lon, lat)
        height = dot_vectors(xyz[self.owner], self.edge_normals)
        is_crossed = self._is_crossed_northward(lon[self.owner], height)
        parity = np.bitwise_xor.reduceat(is_crossed, self.first)
        inside = self.has_north_pole ^ parity
        is_near_plane = np.abs(height) <= 2.0 * _TOLERANCE_RADIANS
        near = np.flatnonzero(is_near_plane)
        if len(near):
            is_on_edge = self._is_on_edge(xyz[self.owner[near]], near)
            touched_edges = near[is_on_edge]
            inside[self.owner[touched_edges]] = True
        # a ring in a cap has nothing inside beyond the cap; the test there would go wrong at the antipode of a vertex,
        # where the sign of `height` is a rounding error
        mean_distances = np.degrees(measure_angles(xyz, self.mean_directions))
        away: Flags = self.is_within_cap & (mean_distances > self.max_vertex_distances + 1e-9)
        contained: Flags = inside & ~away & np.isfinite(lon) & (np.abs(lat) <= 90.0)
        return contained

    def contains_points(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test many points against the single ring, shape (n,)."""
        lon = wrap_longitudes(lon)
        lat = np.asarray(lat, dtype=np.float64)
        inside = np.zeros(len(lon), dtype=np.bool_)
        is_valid_position = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        rows = np.flatnonzero(is_valid_position)
        if self.is_within_cap[0]:  # most points need no more than this
            mid_lon, mid_lat = to_lon_lat(self.mean_directions[0])
            radius = float(self.max_vertex_distances[0]) + 1e-9
            in_cap = is_point_in_circle(lon[rows], lat[rows], float(mid_lon), float(mid_lat), radius)
            rows = rows[in_cap]
        step = max(_CHUNK_ELEMENTS // len(self.edge_begin_vectors), 1)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            inside[part] = self._contains_point_block(lon[part], lat[part])
        return inside

    def _contains_point_block(self, lon: Numbers, lat: Numbers) -> Flags:
        xyz = to_unit_vectors(lon, lat)
        odd = np.full(len(lon), self.has_north_pole[0])
        near = np.zeros(len(lon), dtype=np.bool_)
        edges_per_block = _CHUNK_ELEMENTS // max(len(lon), 1)
        edges = max(min(edges_per_block, len(self.edge_begin_vectors)), 1)
        for start in range(0, len(self.edge_begin_vectors), edges):
            part = slice(start, start + edges)
            height = dot_vectors(xyz[:, None], self.edge_normals[part])
            is_crossed = self._is_crossed_northward(lon[:, None], height, part)
            odd ^= np.bitwise_xor.reduce(is_crossed, axis=1)
            is_near_plane = np.abs(height) <= 2.0 * _TOLERANCE_RADIANS
            near |= (is_near_plane).any(axis=1)
        for row in np.flatnonzero(near & ~odd):
            height = dot_vectors(self.edge_normals, xyz[row])
            near_edges = np.flatnonzero(np.abs(height) <= 2.0 * _TOLERANCE_RADIANS)
            is_on_edge = self._is_on_edge(xyz[row], near_edges)
            odd[row] = bool(is_on_edge.any())
        return odd

    def is_near_boundary(self, lon: npt.ArrayLike, lat: npt.ArrayLike, distance_degrees: float) -> Flags:
        """Return which points are within a distance of the boundary of the single ring, shape (n,)."""
        xyz = to_unit_vectors(lon, lat)
        step = np.radians(distance_degrees) / 4.0
        # places along the boundary decide most points: no piece between two of them is longer than twice the step
        piece_counts = self.edge_lengths_radians / (2.0 * step)
        pieces = np.maximum(np.ceil(piece_counts), 1.0).astype(np.int64)
        edge, number = compute_element_numbers(pieces)
        edge_share = number / pieces[edge]
        places = interpolate_along_arcs(self.edge_begin_vectors[edge], self.edge_end_vectors[edge], edge_share)
        place_length = np.sqrt(dot_vectors(places, places))
        places /= place_length[:, None]
        distance_limits = np.radians(distance_degrees) + np.array([step, 0.0])
        low, high = np.cos(np.minimum(distance_limits, np.pi))
        best = np.full(len(xyz), -1.0)
        block_size = max(_CHUNK_ELEMENTS // max(len(xyz), 1), 1)
        for start in range(0, len(places), block_size):
            block = places[start : start + block_size]
            products = dot_vectors(xyz[:, None], block)
            np.maximum(best, products.max(axis=1), out=best)
        is_near: Flags = best >= high
        rows = np.flatnonzero(~is_near & (best >= low - 1e-12))
        edge_counts = np.full(len(rows), len(self.edge_begin_vectors))
        for part in split_into_blocks(edge_counts, _BLOCK_PAIRS):
            point_rows = rows[part]
            arc_distances = compute_arc_distances(
                xyz[point_rows, None], self.edge_begin_vectors, self.edge_end_vectors, self.edge_normals
            )
            is_near[point_rows] = arc_distances.min(axis=1) <= distance_degrees
        return is_near

    def compute_boundary_distances(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Numbers:
        """Compute the distance in degrees of point i to the boundary of ring i."""
        xyz = to_unit_vectors(lon, lat)[self.owner]
        arc_distances = compute_arc_distances(xyz, self.edge_begin_vectors, self.edge_end_vectors, self.edge_normals)
        return np.minimum.reduceat(arc_distances, self.first)


def rings_intersect(a: PolygonRings, b: PolygonRings) -> Flags:
    """Return for each row whether the rings have a position in common."""
    mean_distances = np.degrees(measure_angles(a.mean_directions, b.mean_directions))
    near = mean_distances <= a.max_vertex_distances + b.max_vertex_distances + 1e-9
    rows = np.flatnonzero(near | ~a.is_within_cap | ~b.is_within_cap)
    touches = np.zeros(len(near), dtype=np.bool_)
    for test in (_has_vertex_inside, lambda a, b: _has_vertex_inside(b, a), _has_crossing_edge):
        touches[rows] = test(a.take(rows), b.take(rows))
        rows = rows[~touches[rows]]
    return touches


def _has_vertex_inside(a: PolygonRings, b: PolygonRings) -> Flags:
    has_vertex = np.zeros(len(a.first), dtype=np.bool_)
    inside = _is_inside_ring(a.lon, a.lat, a.owner, b)
    has_vertex[a.owner[inside]] = True
    return has_vertex


def is_ring_within(inner: PolygonRings, outer: PolygonRings) -> Flags:
    """Return for each row whether the outer ring contains the whole inner ring."""
    is_within = inner.area <= outer.area * (1.0 + 1e-9) + 1e-18
    for lon, lat in ((inner.lon, inner.lat), to_lon_lat(inner.edge_begin_vectors + inner.edge_end_vectors)):
        inside = _is_inside_ring(lon, lat, inner.owner, outer)
        is_within[inner.owner[~inside]] = False
    rows = np.flatnonzero(is_within)
    has_crossing_edge = _has_crossing_edge(inner.take(rows), outer.take(rows))
    is_within[rows] = ~has_crossing_edge
    # two rings that are together larger than the sky may have borders that are apart, and the outside of the outer
    # ring may lie in the inner one
    total_area = inner.area + outer.area
    large = np.flatnonzero(is_within & (total_area > SKY_AREA_SQUARE_DEGREES * (1.0 - 1e-9)))
    a = inner.take(large)
    b = outer.take(large)
    vertex = a.take(b.owner)
    is_inside = vertex.contains_pairwise(b.lon, b.lat)
    is_off_boundary = vertex.compute_boundary_distances(b.lon, b.lat) > 1e-9
    overlapping = b.owner[is_inside & is_off_boundary]
    is_within[large[overlapping]] = False
    return is_within


def _is_inside_ring(lon: Numbers, lat: Numbers, owner: Indexes, rings: PolygonRings) -> Flags:
    """Return which points lie in the ring of their owner."""
    xyz = to_unit_vectors(lon, lat)
    mean_distances = np.degrees(measure_angles(xyz, rings.mean_directions[owner]))
    max_distances = (rings.max_vertex_distances + 1e-9)[owner]
    near = mean_distances <= max_distances
    rows = np.flatnonzero(near | ~rings.is_within_cap[owner])
    # compute these once, before `take` copies them
    inside = np.zeros(len(owner), dtype=np.bool_)
    _ = (rings.has_north_pole, rings.edge_western_longitudes, rings.edge_eastern_longitudes)
    for block in split_into_blocks(rings.counts[owner[rows]], _BLOCK_PAIRS):
        part = rows[block]
        subset = rings.take(owner[part], _POINT_TEST_FIELDS)
        inside[part] = subset.contains_pairwise(lon[part], lat[part])
    return inside


def _has_crossing_edge(a: PolygonRings, b: PolygonRings) -> Flags:
    """Return for each row whether an edge of `a` crosses one of `b`."""
    crosses = np.zeros(len(a.first), dtype=np.bool_)
    for row, first_edge, second_edge in _iterate_edge_pairs(a, b):
        pair_crosses = arcs_cross(
            (a.edge_begin_vectors[first_edge], a.edge_end_vectors[first_edge], a.edge_normals[first_edge]),
            (b.edge_begin_vectors[second_edge], b.edge_end_vectors[second_edge], b.edge_normals[second_edge]),
        )
        crosses[row[pair_crosses]] = True
    return crosses


def _iterate_edge_pairs(a: PolygonRings, b: PolygonRings) -> Iterator[tuple[Indexes, Indexes, Indexes]]:
    """Yield each pair of an edge of `a` and an edge of `b`: rows, and the numbers of the two edges."""
    sizes = a.counts * b.counts
    for rows in split_into_blocks(sizes, _BLOCK_PAIRS):
        row, number = compute_element_numbers(sizes[rows])
        row += rows.start
        first_edge = a.first[row] + number // b.counts[row]
        second_edge = b.first[row] + number % b.counts[row]
        yield row, first_edge, second_edge


def arcs_cross(first_arc: tuple[Numbers, Numbers, Numbers], second_arc: tuple[Numbers, Numbers, Numbers]) -> Flags:
    """Return whether two arcs cross each other, strictly between their ends.

    Each arc is the triple of its begin, its end and its unit normal, as unit vectors. The arrays broadcast.
    """
    a, b, ab = first_arc
    c, d, cd = second_arc
    side_c = -dot_vectors(ab, c)
    side_d = dot_vectors(ab, d)
    side_b = -dot_vectors(cd, b)
    side_a = dot_vectors(cd, a)
    sides = np.broadcast_arrays(side_c, side_d, side_b, side_a)
    signs = [np.where(np.abs(side) > _TOLERANCE_RADIANS, np.sign(side), 0.0) for side in sides]
    crosses: Flags = np.abs(np.sum(signs, axis=0)) == 4.0
    return crosses
