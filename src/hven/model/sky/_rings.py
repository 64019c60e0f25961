"""Many spherical polygons at once, as flat arrays: areas, points inside, crossings. Edges are great-circle arcs.

A polygon is a ring of vertices, not closed. The point test counts the edges that a point's meridian crosses on its way
to the north pole; which parity means *inside* follows from one point beside an edge. It is exact for simple polygons of
any size, over the poles and over longitude 0; on those that cut themselves it alternates (even-odd).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_row_indexes,
    compute_successors,
    gather_rows,
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
MAX_CAP_RADIUS_DEGREES = 60.0  # degrees: what lies in such a circle is the smaller side of its ring
_ALL_EDGES = slice(None)
_EDGE_FIELDS = frozenset({"lon", "lat", "a", "b", "normal", "real", "turn", "pole", "begin", "end", "arcs"})
_RING_FIELDS = frozenset({"mean", "reach", "signed", "left", "area", "capped", "north"})
_POINT_TEST_FIELDS = frozenset(
    {"lon", "lat", "normal", "turn", "pole", "begin", "end", "mean", "reach", "capped", "north"}
)  # by a point
_CHUNK_ELEMENTS = 1 << 19  # elements of a points-times-edges block
_BLOCK_PAIRS = 1 << 17  # of edges, or of points and edges, at a time: what is computed of them stays in a cache


class Rings:
    """Polygons with everything the tests need, computed once.

    Parameters
    ----------
    lon, lat
        Vertices of all rings one after the other, degrees, shape (v,).
    offsets
        Where each ring begins, and the end: shape (n + 1,). Every ring needs three vertices.
    side
        ``smaller``: inside is the side of the smaller area. ``left``, ``right``: inside is at that hand of somebody who
        walks on the sphere's outside from vertex to vertex; ``right`` is counter-clockwise seen from the origin, as
        DALI 1.1 section 3.3.7 has it.
    """

    def __init__(
        self, lon: npt.ArrayLike, lat: npt.ArrayLike, offsets: npt.ArrayLike | None = None, *, side: str = "smaller"
    ) -> None:
        self.lon = wrap_longitudes(lon)
        self.lat = np.asarray(lat, dtype=np.float64)
        self._set_offsets(
            np.array([0, len(self.lon)]) if offsets is None else np.asarray(offsets, dtype=np.int64), side
        )

    @cached_property
    def a(self) -> Numbers:
        """Where each edge begins: unit vectors, shape (v, 3)."""
        return to_unit_vectors(self.lon, self.lat)

    @cached_property
    def b(self) -> Numbers:
        """Where each edge ends."""
        return self.a[self.next]

    @cached_property
    def normal(self) -> Numbers:
        """Unit vectors at right angles to the edges, of those without length 0; shape (v, 3)."""
        return compute_arc_normals(self.a, self.b)

    @cached_property
    def real(self) -> Flags:
        """Which edges have a length: a repeated vertex makes one that has none."""
        return np.asarray(self.normal.any(axis=1))

    @cached_property
    def turn(self) -> Numbers:
        """How far each edge goes eastward, degrees."""
        return (self.lon[self.next] - self.lon + 180.0) % 360.0 - 180.0

    @cached_property
    def pole(self) -> Numbers:
        """Which edges have a corner at a pole, whose longitude may be any: -1 the south, 1 the north pole."""
        next_lat = self.lat[self.next]
        return np.where(np.maximum(np.abs(self.lat), np.abs(next_lat)) >= 90.0, np.sign(self.lat + next_lat), 0.0)

    def take(self, rows: Indexes, field_names: frozenset[str] = _EDGE_FIELDS | _RING_FIELDS) -> Rings:
        """Return some rings, which may repeat, with what is known of them.

        Of `field_names` alone if nothing else will be asked for.
        """
        if np.array_equal(rows, np.arange(len(self.first))):
            return self
        vertex, offsets = gather_rows(self.offsets, rows)
        subset = Rings.__new__(Rings)
        subset.__dict__.update(
            {
                name: value[vertex if name in _EDGE_FIELDS else rows]
                for name, value in vars(self).items()
                if name in field_names
            }
        )
        subset._set_offsets(offsets, self._side)  # noqa: SLF001  (its own kind)
        return subset

    def _set_offsets(self, offsets: Indexes, side: str) -> None:
        self.offsets = offsets
        self._side = side
        self.first = offsets[:-1]
        self.counts = np.diff(offsets)
        self.owner = compute_row_indexes(offsets)
        self.next = compute_successors(offsets)

    @cached_property
    def left(self) -> Flags:
        """Which rings have their inside to the left.

        Of those of an unknown side, the left is the smaller one if its area is positive.
        """
        if self._side != "smaller":
            return np.full(len(self.first), self._side == "left")
        return self.signed >= 0.0

    @cached_property
    def area(self) -> Numbers:
        """The area inside each, square degrees."""
        inner = np.where(self.left, self.signed, -self.signed)
        return np.where(inner < 0.0, SKY_AREA_SQUARE_DEGREES + inner, np.abs(inner))

    @cached_property
    def capped(self) -> Flags:
        """Which rings have nothing inside that is farther than `reach` from their `mean`."""
        is_small: Flags = self.reach < MAX_CAP_RADIUS_DEGREES
        if self._side == "smaller":
            return is_small
        return is_small & (self.area < SKY_AREA_SQUARE_DEGREES / 2.0)

    @cached_property
    def north(self) -> Flags:
        """Whether the north pole is inside, by ring."""
        near: Flags = np.logical_and(self.reach < 89.0, self._side == "smaller")
        if near.all():
            inside = near
        else:
            inside = self._is_north_pole_inside()
        if near.any():
            # what lies opposite is outside, even if the ring cuts itself and has no area to compare
            antipodes = -self.mean
            crossing = self._is_crossed_northward(
                to_lon_lat(antipodes)[0][self.owner], dot_vectors(antipodes[self.owner], self.normal)
            )
            inside = np.where(near, np.bitwise_xor.reduceat(crossing, self.first), inside)
        return inside

    @cached_property
    def south(self) -> Flags:
        """Whether the south pole is inside, by ring."""
        zero = np.where(self.begin <= self.end, self.begin <= 0.0, self.end > 0.0) & (
            self.turn != 0.0
        )  # crosses longitude 0
        inside: Flags = self.north ^ np.bitwise_xor.reduceat(zero, self.first)
        return inside

    @cached_property
    def touches_pole(self) -> Flags:
        """Which edges touch a pole, where longitudes mean nothing; shape (v,)."""
        low, high = self.latitude_ranges
        return np.asarray(np.maximum(high, -low) > 90.0 - 1e-11)

    @property
    def longitude_ranges(self) -> tuple[Numbers, Numbers]:
        """Where the longitudes of each edge begin, and their width.

        One that touches a pole has that of its lower end, and no width.
        """
        lower = np.abs(self.lat) <= np.abs(self.lat[self.next])
        end = np.where(lower, self.lon, self.lon[self.next])
        return np.where(self.touches_pole, end, self.begin), np.where(self.touches_pole, 0.0, np.abs(self.turn))

    @cached_property
    def latitude_ranges(self) -> tuple[Numbers, Numbers]:
        """The lowest and the highest latitude of each edge, degrees."""
        next_lat = self.lat[self.next]
        return find_latitude_extremes(
            self.a, self.b, self.normal, np.minimum(self.lat, next_lat), np.maximum(self.lat, next_lat)
        )

    @cached_property
    def begin(self) -> Numbers:
        """The western longitude of each edge."""
        return np.where(self.turn >= 0.0, self.lon, self.lon[self.next])

    @cached_property
    def end(self) -> Numbers:
        """The eastern longitude of each edge."""
        return np.where(self.turn >= 0.0, self.lon[self.next], self.lon)

    @cached_property
    def mean(self) -> Numbers:
        """The direction of the mean vertex of each; shape (n, 3)."""
        mean = np.add.reduceat(self.a, self.first, axis=0)
        size = np.sqrt(dot_vectors(mean, mean))
        directions: Numbers = np.where(size[:, None] > 1e-9, mean / np.maximum(size, 1e-300)[:, None], _AXIS_VECTORS[0])
        return directions

    @cached_property
    def reach(self) -> Numbers:
        """How far the farthest vertex of each is from its `mean`, degrees."""
        return np.degrees(np.maximum.reduceat(measure_angles(self.a, self.mean[self.owner]), self.first))

    @cached_property
    def arcs(self) -> Numbers:
        """The lengths of the edges, radians."""
        return measure_angles(self.a, self.b)

    @cached_property
    def moments(self) -> Numbers:
        """The integral of the position over what is inside, of a sphere of radius 1; shape (n, 3)."""
        # by Stokes: half the sum of arc length times unit normal
        integrals = np.add.reduceat(self.normal * self.arcs[:, None] / 2.0, self.first, axis=0)
        integrals[np.abs(integrals).max(axis=1, initial=0.0) < 1e-14] = 0.0
        small = np.flatnonzero(self.reach < 0.1)  # degrees: the sum has cancelled away; a plane does better
        if len(small):
            part = self.take(small)
            east, north = compute_tangent_axes(part.mean)
            mean_offsets = part.a - part.mean[part.owner]
            x = dot_vectors(mean_offsets, east[part.owner])
            y = dot_vectors(mean_offsets, north[part.owner])
            u = x[part.next]
            v = y[part.next]
            turn = x * v - u * y
            integrals[small] = sum(
                axis * np.add.reduceat(weight * turn, part.first)[:, None]
                for axis, weight in ((part.mean, 0.5), (east, (x + u) / 6.0), (north, (y + v) / 6.0))
            )
        if self._side != "smaller":
            backward = ~self.left
        else:
            backward = np.where(self.capped, dot_vectors(integrals, self.mean) < 0.0, ~self.left)
        return np.where(backward[:, None], -integrals, integrals)

    @cached_property
    def is_simple(self) -> Flags:
        """Which rings surely neither cross nor touch themselves.

        Of each two edges, one lies to one side of the other, or they are far apart.
        """
        ring_is_simple = np.ones(len(self.first), dtype=np.bool_)
        middle = interpolate_along_arcs(self.a, self.b, np.full(len(self.a), 0.5))
        middle /= np.sqrt(dot_vectors(middle, middle))[:, None]
        for row, first_edge, second_edge in _iterate_edge_pairs(self, self):
            away = middle[first_edge] - middle[second_edge]  # a chord is shorter than its angle
            near = (first_edge < second_edge) & (
                dot_vectors(away, away)
                <= ((self.arcs[first_edge] + self.arcs[second_edge]) * (0.5 + 1e-9) + _TOLERANCE_RADIANS) ** 2
            )
            row, first_edge, second_edge = row[near], first_edge[near], second_edge[near]  # noqa: PLW2901  (of few)
            apart = (self.next[first_edge] == second_edge) | (self.next[second_edge] == first_edge)
            for edge, opposite_edge in ((first_edge, second_edge), (second_edge, first_edge)):
                sides = (
                    dot_vectors(self.normal[edge], self.a[opposite_edge]),
                    dot_vectors(self.normal[edge], self.b[opposite_edge]),
                )
                apart |= (np.abs(np.add(*map(np.sign, sides))) == 2.0) & (
                    np.minimum(*map(np.abs, sides)) > _TOLERANCE_RADIANS
                )
            ring_is_simple[row[~apart]] = False
        return ring_is_simple

    def cover_with_circles(self, circle_limit: int) -> tuple[Indexes, Numbers, Numbers, Numbers]:
        """Cover rings that do not touch themselves by circles along their edges.

        No point is farther from the border than the radius of a disc of the same area; so many circles come of the
        length of a border at most, and one of each edge.
        """
        disc = 2.0 * np.arcsin(np.sqrt(self.area / SKY_AREA_SQUARE_DEGREES))
        step = np.maximum(disc, np.add.reduceat(self.arcs, self.first) / (2 * circle_limit))
        pieces = np.maximum(np.ceil(self.arcs / (2.0 * step[self.owner])), 1.0).astype(np.int64)
        edge, number = compute_element_numbers(pieces)
        share = (number + 0.5) / pieces[edge]
        ring = self.owner[edge]
        return (
            ring,
            *to_lon_lat(interpolate_along_arcs(self.a[edge], self.b[edge], share)),
            np.degrees(step + disc)[ring],
        )

    def compute_centroids(self) -> tuple[Numbers, Numbers]:
        """Compute the direction of the mean position inside of each, in degrees.

        That of the middle of the vertices if there is none.
        """
        has_moment = self.moments.any(axis=1, keepdims=True)
        return to_lon_lat(np.where(has_moment, self.moments, self.mean))

    @cached_property
    def signed(self) -> Numbers:
        """The area to the left of each, less the sky if that is the smaller number; square degrees.

        Signed triangles from one point per ring are summed: exact for any size, without cancellation for small ones.
        """
        # the triangles must not reach the antipode of their common corner
        corner = self.mean[self.owner]
        score = np.minimum.reduceat(1.0 + dot_vectors(corner, self.a), self.first)
        if (score <= 0.1).any():
            scores = np.stack(
                [score, *(np.minimum.reduceat(1.0 + dot_vectors(self.a, axis), self.first) for axis in _AXIS_VECTORS)]
            )
            best = np.where(score > 0.1, 0, np.argmax(scores, axis=0))[self.owner]
            corner = np.where((best > 0)[:, None], _AXIS_VECTORS[best - 1], corner)
        top = dot_vectors(corner, cross_vectors(self.a - corner, self.b - corner))
        bottom = 1.0 + dot_vectors(corner, self.a) + dot_vectors(corner, self.b) + dot_vectors(self.a, self.b)
        total = np.degrees(np.degrees(np.add.reduceat(2.0 * np.arctan2(top, bottom), self.first)))
        return np.where(
            total > SKY_AREA_SQUARE_DEGREES / 2.0,
            total - SKY_AREA_SQUARE_DEGREES,
            np.where(total < -SKY_AREA_SQUARE_DEGREES / 2.0, total + SKY_AREA_SQUARE_DEGREES, total),
        )

    def _is_north_pole_inside(self) -> Flags:
        """Return whether the north pole is on the inner side, from a point just left of each ring's most eastward edge."""
        # ... by its end nearer to a pole: at the pole itself longitudes turn at will
        cos = np.cos(np.radians(self.lat))
        width = np.abs(self.turn) * np.minimum(cos, cos[self.next]) + 1e-12 * np.abs(self.turn)
        top = np.maximum.reduceat(width, self.first)
        edges = np.flatnonzero(width == top[self.owner])
        edges = edges[np.unique(self.owner[edges], return_index=True)[1]]
        middle = self.a[edges] + self.b[edges]
        middle /= np.maximum(np.linalg.norm(middle, axis=1), 1e-300)[:, None]
        lon = wrap_longitudes(np.degrees(np.arctan2(middle[:, 1], middle[:, 0])))
        crossing = self._is_crossed_northward(lon[self.owner], dot_vectors(middle[self.owner], self.normal))
        crossing[edges] = self.turn[edges] < 0.0  # left of a westward edge is its south: the way north crosses it
        outer = np.bitwise_xor.reduceat(crossing, self.first)
        return outer ^ self.left  # even: the pole is left of the edge, where the point is

    def _is_crossed_northward(self, lon: Numbers, height: Numbers, edges: slice = _ALL_EDGES) -> Flags:
        """Return which edges the way north from a point crosses.

        `height` is the point's product with the edge's normal.
        """
        begin, end, turn, pole = (side[edges] for side in (self.begin, self.end, self.turn, self.pole))
        after = lon >= begin
        before = lon < end
        spans = np.where(begin <= end, after & before, after | before) & (turn != 0.0)
        is_below_edge = ((height < 0.0) == (turn >= 0.0)) & (height != 0.0)
        crosses: Flags = spans & (np.where(pole == 0.0, is_below_edge, pole > 0.0) if pole.any() else is_below_edge)
        return crosses

    def _is_on_edge(self, xyz: Numbers, edges: Indexes) -> Flags:
        """Return whether points lie on edges, within the tolerance."""
        a = self.a[edges]
        b = self.b[edges]
        normal = self.normal[edges]
        beside = (dot_vectors(cross_vectors(normal, a), xyz) >= -_TOLERANCE_RADIANS) & (
            dot_vectors(cross_vectors(b, normal), xyz) >= -_TOLERANCE_RADIANS
        )
        on_edge: Flags = (beside & (np.abs(dot_vectors(normal, xyz)) <= _TOLERANCE_RADIANS) & self.real[edges]) | (
            measure_angles(a, xyz) <= _TOLERANCE_RADIANS
        )
        return on_edge

    def contains_pairwise(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test point i against ring i; the boundary belongs to the ring. NaN is never inside."""
        lon = wrap_longitudes(lon)
        lat = np.asarray(lat, dtype=np.float64)
        xyz = to_unit_vectors(lon, lat)
        height = dot_vectors(xyz[self.owner], self.normal)
        inside = self.north ^ np.bitwise_xor.reduceat(self._is_crossed_northward(lon[self.owner], height), self.first)
        near = np.flatnonzero(np.abs(height) <= 2.0 * _TOLERANCE_RADIANS)
        if len(near):
            inside[self.owner[near[self._is_on_edge(xyz[self.owner[near]], near)]]] = True
        # a ring in a cap has nothing outside it: at the antipode of a vertex the sign of `height` is that of its
        # rounding
        away: Flags = self.capped & (np.degrees(measure_angles(xyz, self.mean)) > self.reach + 1e-9)
        contained: Flags = inside & ~away & np.isfinite(lon) & (np.abs(lat) <= 90.0)
        return contained

    def contains_points(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test many points against the one ring there is, shape (n,)."""
        lon = wrap_longitudes(lon)
        lat = np.asarray(lat, dtype=np.float64)
        inside = np.zeros(len(lon), dtype=np.bool_)
        rows = np.flatnonzero(np.isfinite(lon) & (np.abs(lat) <= 90.0))
        if self.capped[0]:  # most points need no more than this
            mid_lon, mid_lat = to_lon_lat(self.mean[0])
            rows = rows[
                is_point_in_circle(lon[rows], lat[rows], float(mid_lon), float(mid_lat), float(self.reach[0]) + 1e-9)
            ]
        step = max(_CHUNK_ELEMENTS // len(self.a), 1)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            inside[part] = self._test_point_block(lon[part], lat[part])
        return inside

    def _test_point_block(self, lon: Numbers, lat: Numbers) -> Flags:
        xyz = to_unit_vectors(lon, lat)
        odd = np.full(len(lon), self.north[0])
        near = np.zeros(len(lon), dtype=np.bool_)
        edges = max(min(_CHUNK_ELEMENTS // max(len(lon), 1), len(self.a)), 1)
        for start in range(0, len(self.a), edges):
            part = slice(start, start + edges)
            height = dot_vectors(xyz[:, None], self.normal[part])
            odd ^= np.bitwise_xor.reduce(self._is_crossed_northward(lon[:, None], height, part), axis=1)
            near |= (np.abs(height) <= 2.0 * _TOLERANCE_RADIANS).any(axis=1)
        for row in np.flatnonzero(near & ~odd):
            is_on_edge = self._is_on_edge(
                xyz[row], np.flatnonzero(np.abs(dot_vectors(self.normal, xyz[row])) <= 2.0 * _TOLERANCE_RADIANS)
            )
            odd[row] = bool(is_on_edge.any())
        return odd

    def is_near_boundary(self, lon: npt.ArrayLike, lat: npt.ArrayLike, distance_degrees: float) -> Flags:
        """Tell which points are within `distance_degrees` degrees of the boundary of the one ring there is, shape (n,)."""
        xyz = to_unit_vectors(lon, lat)
        step = np.radians(distance_degrees) / 4.0
        # of most points, places along the boundary tell: no piece between two of them is longer than twice the step
        pieces = np.maximum(np.ceil(self.arcs / (2.0 * step)), 1.0).astype(np.int64)
        edge, number = compute_element_numbers(pieces)
        places = interpolate_along_arcs(self.a[edge], self.b[edge], number / pieces[edge])
        places /= np.sqrt(dot_vectors(places, places))[:, None]
        low, high = np.cos(np.minimum(np.radians(distance_degrees) + np.array([step, 0.0]), np.pi))
        best = np.full(len(xyz), -1.0)
        for start in range(0, len(places), size := max(_CHUNK_ELEMENTS // max(len(xyz), 1), 1)):
            np.maximum(best, dot_vectors(xyz[:, None], places[start : start + size]).max(axis=1), out=best)
        is_near: Flags = best >= high
        rows = np.flatnonzero(~is_near & (best >= low - 1e-12))
        for part in split_into_blocks(np.full(len(rows), len(self.a)), _BLOCK_PAIRS):
            point_rows = rows[part]
            arc_distances = compute_arc_distances(xyz[point_rows, None], self.a, self.b, self.normal)
            is_near[point_rows] = arc_distances.min(axis=1) <= distance_degrees
        return is_near

    def compute_boundary_distances(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Numbers:
        """Compute the distance in degrees of point i to the boundary of ring i."""
        xyz = to_unit_vectors(lon, lat)[self.owner]
        arc_distances = compute_arc_distances(xyz, self.a, self.b, self.normal)
        return np.minimum.reduceat(arc_distances, self.first)


def rings_intersect(a: Rings, b: Rings) -> Flags:
    """Return for each row whether the rings have a position in common."""
    near = np.degrees(measure_angles(a.mean, b.mean)) <= a.reach + b.reach + 1e-9
    rows = np.flatnonzero(near | ~a.capped | ~b.capped)
    touches = np.zeros(len(near), dtype=np.bool_)
    for test in (_has_vertex_inside, lambda a, b: _has_vertex_inside(b, a), _has_crossing_edge):
        touches[rows] = test(a.take(rows), b.take(rows))
        rows = rows[~touches[rows]]
    return touches


def _has_vertex_inside(a: Rings, b: Rings) -> Flags:
    has_vertex = np.zeros(len(a.first), dtype=np.bool_)
    has_vertex[a.owner[_is_inside_ring(a.lon, a.lat, a.owner, b)]] = True
    return has_vertex


def is_ring_within(inner: Rings, outer: Rings) -> Flags:
    """Return for each row whether the second ring holds the first wholly."""
    is_within = inner.area <= outer.area * (1.0 + 1e-9) + 1e-18
    for lon, lat in ((inner.lon, inner.lat), to_lon_lat(inner.a + inner.b)):
        is_within[inner.owner[~_is_inside_ring(lon, lat, inner.owner, outer)]] = False
    rows = np.flatnonzero(is_within)
    has_crossing_edge = _has_crossing_edge(inner.take(rows), outer.take(rows))
    is_within[rows] = ~has_crossing_edge
    # two that are more than the sky together may have their borders apart, and what the outer one leaves out within the
    # inner one
    large = np.flatnonzero(is_within & (inner.area + outer.area > SKY_AREA_SQUARE_DEGREES * (1.0 - 1e-9)))
    a = inner.take(large)
    b = outer.take(large)
    vertex = a.take(b.owner)
    is_within[
        large[
            b.owner[vertex.contains_pairwise(b.lon, b.lat) & (vertex.compute_boundary_distances(b.lon, b.lat) > 1e-9)]
        ]
    ] = False
    return is_within


def _is_inside_ring(lon: Numbers, lat: Numbers, owner: Indexes, rings: Rings) -> Flags:
    """Return which points lie in the ring of their owner."""
    near = np.degrees(measure_angles(to_unit_vectors(lon, lat), rings.mean[owner])) <= (rings.reach + 1e-9)[owner]
    rows = np.flatnonzero(near | ~rings.capped[owner])
    # known once, taken along
    inside = np.zeros(len(owner), dtype=np.bool_)
    _ = (rings.north, rings.begin, rings.end)
    for block in split_into_blocks(rings.counts[owner[rows]], _BLOCK_PAIRS):
        part = rows[block]
        inside[part] = rings.take(owner[part], _POINT_TEST_FIELDS).contains_pairwise(lon[part], lat[part])
    return inside


def _has_crossing_edge(a: Rings, b: Rings) -> Flags:
    """Return for each row whether an edge of `a` crosses one of `b`."""
    crosses = np.zeros(len(a.first), dtype=np.bool_)
    for row, first_edge, second_edge in _iterate_edge_pairs(a, b):
        crosses[
            row[
                arcs_cross(
                    a.a[first_edge],
                    a.b[first_edge],
                    a.normal[first_edge],
                    b.a[second_edge],
                    b.b[second_edge],
                    b.normal[second_edge],
                )
            ]
        ] = True
    return crosses


def _iterate_edge_pairs(a: Rings, b: Rings) -> Iterator[tuple[Indexes, Indexes, Indexes]]:
    """Yield each edge of the one with each of the other: rows, and the numbers of the edges."""
    sizes = a.counts * b.counts
    for rows in split_into_blocks(sizes, _BLOCK_PAIRS):
        row, number = compute_element_numbers(sizes[rows])
        row += rows.start
        yield row, a.first[row] + number // b.counts[row], b.first[row] + number % b.counts[row]


def arcs_cross(a: Numbers, b: Numbers, ab: Numbers, c: Numbers, d: Numbers, cd: Numbers) -> Flags:
    """Return whether the arcs ab and cd cross each other, both inside; `ab` and `cd` are their unit normals.

    Broadcasts.
    """
    sides = np.broadcast_arrays(-dot_vectors(ab, c), dot_vectors(ab, d), -dot_vectors(cd, b), dot_vectors(cd, a))
    signs = np.sum([np.where(np.abs(side) > _TOLERANCE_RADIANS, np.sign(side), 0.0) for side in sides], axis=0)
    crosses: Flags = np.abs(signs) == 4.0
    return crosses
