"""Many spherical polygons at once, as flat arrays: areas, points inside, crossings. Edges are great-circle arcs.

A polygon is a ring of vertices, not closed. The point test counts the edges that a point's meridian crosses on its way
to the north pole; which parity means *inside* follows from one point beside an edge. It is exact for simple polygons of any
size, over the poles and over longitude 0; on those that cut themselves it alternates (even-odd).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._ragged import blocks, followers, gathered, numbered, owners
from hven.model.sky._sphere import (
    SKY,
    TOLERANCE,
    along,
    angle,
    angles,
    arc_gap,
    crossed,
    dot,
    in_circle,
    normals,
    plane,
    summits,
    vectors,
    wrap,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_EPS = math.radians(TOLERANCE)
_AXES = np.array(
    [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]
)
CAP = 60.0  # degrees: what lies in such a circle is the smaller side of its ring
_ALL = slice(None)
_EDGES = frozenset({"lon", "lat", "a", "b", "normal", "real", "turn", "pole", "begin", "end", "arcs"})
_RINGS = frozenset({"mean", "reach", "signed", "left", "area", "capped", "north"})
_TESTED = frozenset(
    {"lon", "lat", "normal", "turn", "pole", "begin", "end", "mean", "reach", "capped", "north"}
)  # by a point
_CHUNK = 1 << 19  # elements of a points-times-edges block
_PAIRS = 1 << 17  # of edges, or of points and edges, at a time: what is computed of them stays in a cache


class Rings:
    """Polygons with everything the tests need, computed once.

    Parameters
    ----------
    lon, lat
        Vertices of all rings one after the other, degrees, shape (v,).
    offsets
        Where each ring begins, and the end: shape (n + 1,). Every ring needs three vertices.
    side
        ``smaller``: inside is the side of the smaller area. ``left``, ``right``: inside is at that hand of somebody who walks on the
        sphere's outside from vertex to vertex; ``right`` is counter-clockwise seen from the origin, as DALI 1.1 section 3.3.7 has it.
    """

    def __init__(
        self, lon: npt.ArrayLike, lat: npt.ArrayLike, offsets: npt.ArrayLike | None = None, *, side: str = "smaller"
    ) -> None:
        self.lon, self.lat = wrap(lon), np.asarray(lat, dtype=np.float64)
        self._order(np.array([0, len(self.lon)]) if offsets is None else np.asarray(offsets, dtype=np.int64), side)

    @cached_property
    def a(self) -> Numbers:
        """Where each edge begins: unit vectors, shape (v, 3)."""
        return vectors(self.lon, self.lat)

    @cached_property
    def b(self) -> Numbers:
        """Where each edge ends."""
        return self.a[self.next]

    @cached_property
    def normal(self) -> Numbers:
        """Unit vectors at right angles to the edges, of those without length 0; shape (v, 3)."""
        return normals(self.a, self.b)

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
        there = self.lat[self.next]
        return np.where(np.maximum(np.abs(self.lat), np.abs(there)) >= 90.0, np.sign(self.lat + there), 0.0)

    def take(self, rows: Indexes, names: frozenset[str] = _EDGES | _RINGS) -> Rings:
        """Return some rings, which may repeat, with what is known of them; of `names` alone if nothing else will be asked for."""
        if np.array_equal(rows, np.arange(len(self.first))):
            return self
        vertex, offsets = gathered(self.offsets, rows)
        found = Rings.__new__(Rings)
        found.__dict__.update(
            {name: value[vertex if name in _EDGES else rows] for name, value in vars(self).items() if name in names}
        )
        found._order(offsets, self._side)  # noqa: SLF001  (its own kind)
        return found

    def _order(self, offsets: Indexes, side: str) -> None:
        self.offsets, self._side = offsets, side
        self.first, self.counts = offsets[:-1], np.diff(offsets)
        self.owner, self.next = owners(offsets), followers(offsets)

    @cached_property
    def left(self) -> Flags:
        """Which rings have their inside to the left: of those of an unknown side, the left is the smaller one if its area is positive."""
        return np.full(len(self.first), self._side == "left") if self._side != "smaller" else self.signed >= 0.0

    @cached_property
    def area(self) -> Numbers:
        """The area inside each, square degrees."""
        inner = np.where(self.left, self.signed, -self.signed)
        return np.where(inner < 0.0, SKY + inner, np.abs(inner))

    @cached_property
    def capped(self) -> Flags:
        """Which rings have nothing inside that is farther than `reach` from their `mean`."""
        found: Flags = self.reach < CAP
        return found if self._side == "smaller" else found & (self.area < SKY / 2.0)

    @cached_property
    def north(self) -> Flags:
        """Whether the north pole is inside, by ring."""
        near: Flags = np.logical_and(self.reach < 89.0, self._side == "smaller")
        found = near if near.all() else self._north()
        if near.any():
            # what lies opposite is outside, even if the ring cuts itself and has no area to compare
            far = -self.mean
            crossing = self._crossing(angles(far)[0][self.owner], dot(far[self.owner], self.normal))
            found = np.where(near, np.bitwise_xor.reduceat(crossing, self.first), found)
        return found

    @cached_property
    def south(self) -> Flags:
        """Whether the south pole is inside, by ring."""
        zero = np.where(self.begin <= self.end, self.begin <= 0.0, self.end > 0.0) & (
            self.turn != 0.0
        )  # crosses longitude 0
        found: Flags = self.north ^ np.bitwise_xor.reduceat(zero, self.first)
        return found

    @cached_property
    def polar(self) -> Flags:
        """Which edges touch a pole, where longitudes mean nothing; shape (v,)."""
        low, high = self.heights
        return np.asarray(np.maximum(high, -low) > 90.0 - 1e-11)

    @property
    def spans(self) -> tuple[Numbers, Numbers]:
        """Where the longitudes of each edge begin, and their width; one that touches a pole has that of its lower end, and no width."""
        lower = np.abs(self.lat) <= np.abs(self.lat[self.next])
        end = np.where(lower, self.lon, self.lon[self.next])
        return np.where(self.polar, end, self.begin), np.where(self.polar, 0.0, np.abs(self.turn))

    @cached_property
    def heights(self) -> tuple[Numbers, Numbers]:
        """The lowest and the highest latitude of each edge, degrees."""
        there = self.lat[self.next]
        return summits(self.a, self.b, self.normal, np.minimum(self.lat, there), np.maximum(self.lat, there))

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
        size = np.sqrt(dot(mean, mean))
        found: Numbers = np.where(size[:, None] > 1e-9, mean / np.maximum(size, 1e-300)[:, None], _AXES[0])
        return found

    @cached_property
    def reach(self) -> Numbers:
        """How far the farthest vertex of each is from its `mean`, degrees."""
        return np.degrees(np.maximum.reduceat(angle(self.a, self.mean[self.owner]), self.first))

    @cached_property
    def arcs(self) -> Numbers:
        """The lengths of the edges, radians."""
        return angle(self.a, self.b)

    @cached_property
    def moments(self) -> Numbers:
        """The integral of the position over what is inside, of a sphere of radius 1; shape (n, 3)."""
        # by Stokes: half the sum of arc length times unit normal
        found = np.add.reduceat(self.normal * self.arcs[:, None] / 2.0, self.first, axis=0)
        found[np.abs(found).max(axis=1, initial=0.0) < 1e-14] = 0.0
        small = np.flatnonzero(self.reach < 0.1)  # degrees: the sum has cancelled away; a plane does better
        if len(small):
            part = self.take(small)
            east, north = plane(part.mean)
            off = part.a - part.mean[part.owner]
            x, y = dot(off, east[part.owner]), dot(off, north[part.owner])
            u, v = x[part.next], y[part.next]
            turn = x * v - u * y
            found[small] = sum(
                axis * np.add.reduceat(weight * turn, part.first)[:, None]
                for axis, weight in ((part.mean, 0.5), (east, (x + u) / 6.0), (north, (y + v) / 6.0))
            )
        backward = (
            ~self.left if self._side != "smaller" else np.where(self.capped, dot(found, self.mean) < 0.0, ~self.left)
        )
        return np.where(backward[:, None], -found, found)

    @cached_property
    def simple(self) -> Flags:
        """Which rings surely neither cross nor touch themselves: of each two edges, one lies to one side of the other, or they are far apart."""
        found = np.ones(len(self.first), dtype=np.bool_)
        middle = along(self.a, self.b, np.full(len(self.a), 0.5))
        middle /= np.sqrt(dot(middle, middle))[:, None]
        for row, one, two in _edges(self, self):
            away = middle[one] - middle[two]  # a chord is shorter than its angle
            near = (one < two) & (dot(away, away) <= ((self.arcs[one] + self.arcs[two]) * (0.5 + 1e-9) + _EPS) ** 2)
            row, one, two = row[near], one[near], two[near]  # noqa: PLW2901  (of few)
            apart = (self.next[one] == two) | (self.next[two] == one)
            for here, there in ((one, two), (two, one)):
                sides = dot(self.normal[here], self.a[there]), dot(self.normal[here], self.b[there])
                apart |= (np.abs(np.add(*map(np.sign, sides))) == 2.0) & (np.minimum(*map(np.abs, sides)) > _EPS)
            found[row[~apart]] = False
        return found

    def beads(self, most: int) -> tuple[Indexes, Numbers, Numbers, Numbers]:
        """Cover rings that do not touch themselves by circles along their edges.

        No point is farther from the border than the radius of a disc of the same area; so many circles come of the length of a border
        at most, and one of each edge.
        """
        disc = 2.0 * np.arcsin(np.sqrt(self.area / SKY))
        step = np.maximum(disc, np.add.reduceat(self.arcs, self.first) / (2 * most))
        pieces = np.maximum(np.ceil(self.arcs / (2.0 * step[self.owner])), 1.0).astype(np.int64)
        edge, number = numbered(pieces)
        share = (number + 0.5) / pieces[edge]
        ring = self.owner[edge]
        return ring, *angles(along(self.a[edge], self.b[edge], share)), np.degrees(step + disc)[ring]

    def centroids(self) -> tuple[Numbers, Numbers]:
        """Compute the direction of the mean position inside of each, in degrees; that of the middle of the vertices if there is none."""
        some = self.moments.any(axis=1, keepdims=True)
        return angles(np.where(some, self.moments, self.mean))

    @cached_property
    def signed(self) -> Numbers:
        """The area to the left of each, less the sky if that is the smaller number; square degrees.

        Signed triangles from one point per ring are summed: exact for any size, without cancellation for small ones.
        """
        # the triangles must not reach the antipode of their common corner
        corner = self.mean[self.owner]
        score = np.minimum.reduceat(1.0 + dot(corner, self.a), self.first)
        if (score <= 0.1).any():
            scores = np.stack([score, *(np.minimum.reduceat(1.0 + dot(self.a, axis), self.first) for axis in _AXES)])
            best = np.where(score > 0.1, 0, np.argmax(scores, axis=0))[self.owner]
            corner = np.where((best > 0)[:, None], _AXES[best - 1], corner)
        top = dot(corner, crossed(self.a - corner, self.b - corner))
        bottom = 1.0 + dot(corner, self.a) + dot(corner, self.b) + dot(self.a, self.b)
        total = np.degrees(np.degrees(np.add.reduceat(2.0 * np.arctan2(top, bottom), self.first)))
        return np.where(total > SKY / 2.0, total - SKY, np.where(total < -SKY / 2.0, total + SKY, total))

    def _north(self) -> Flags:
        """Return whether the north pole is on the inner side, from a point just left of each ring's most eastward edge."""
        # ... by its end nearer to a pole: at the pole itself longitudes turn at will
        cos = np.cos(np.radians(self.lat))
        width = np.abs(self.turn) * np.minimum(cos, cos[self.next]) + 1e-12 * np.abs(self.turn)
        top = np.maximum.reduceat(width, self.first)
        edges = np.flatnonzero(width == top[self.owner])
        edges = edges[np.unique(self.owner[edges], return_index=True)[1]]
        middle = self.a[edges] + self.b[edges]
        middle /= np.maximum(np.linalg.norm(middle, axis=1), 1e-300)[:, None]
        lon = wrap(np.degrees(np.arctan2(middle[:, 1], middle[:, 0])))
        crossing = self._crossing(lon[self.owner], dot(middle[self.owner], self.normal))
        crossing[edges] = self.turn[edges] < 0.0  # left of a westward edge is its south: the way north crosses it
        outer = np.bitwise_xor.reduceat(crossing, self.first)
        return outer ^ self.left  # even: the pole is left of the edge, where the point is

    def _crossing(self, lon: Numbers, height: Numbers, edges: slice = _ALL) -> Flags:
        """Return which edges the way north from a point crosses; `height` is the point's product with the edge's normal."""
        begin, end, turn, pole = (side[edges] for side in (self.begin, self.end, self.turn, self.pole))
        after, before = lon >= begin, lon < end
        spans = np.where(begin <= end, after & before, after | before) & (turn != 0.0)
        below = ((height < 0.0) == (turn >= 0.0)) & (height != 0.0)
        found: Flags = spans & (np.where(pole == 0.0, below, pole > 0.0) if pole.any() else below)
        return found

    def _on(self, xyz: Numbers, edges: Indexes) -> Flags:
        """Return whether points lie on edges, within the tolerance."""
        a, b, normal = self.a[edges], self.b[edges], self.normal[edges]
        beside = (dot(crossed(normal, a), xyz) >= -_EPS) & (dot(crossed(b, normal), xyz) >= -_EPS)
        found: Flags = (beside & (np.abs(dot(normal, xyz)) <= _EPS) & self.real[edges]) | (angle(a, xyz) <= _EPS)
        return found

    def contain(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test point i against ring i; the boundary belongs to the ring. NaN is never inside."""
        lon, lat = wrap(lon), np.asarray(lat, dtype=np.float64)
        xyz = vectors(lon, lat)
        height = dot(xyz[self.owner], self.normal)
        inside = self.north ^ np.bitwise_xor.reduceat(self._crossing(lon[self.owner], height), self.first)
        near = np.flatnonzero(np.abs(height) <= 2.0 * _EPS)
        if len(near):
            inside[self.owner[near[self._on(xyz[self.owner[near]], near)]]] = True
        # a ring in a cap has nothing outside it: at the antipode of a vertex the sign of `height` is that of its rounding
        away: Flags = self.capped & (np.degrees(angle(xyz, self.mean)) > self.reach + 1e-9)
        found: Flags = inside & ~away & np.isfinite(lon) & (np.abs(lat) <= 90.0)
        return found

    def holds(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test many points against the one ring there is, shape (n,)."""
        lon, lat = wrap(lon), np.asarray(lat, dtype=np.float64)
        inside = np.zeros(len(lon), dtype=np.bool_)
        rows = np.flatnonzero(np.isfinite(lon) & (np.abs(lat) <= 90.0))
        if self.capped[0]:  # most points need no more than this
            mid_lon, mid_lat = angles(self.mean[0])
            rows = rows[in_circle(lon[rows], lat[rows], float(mid_lon), float(mid_lat), float(self.reach[0]) + 1e-9)]
        step = max(_CHUNK // len(self.a), 1)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            inside[part] = self._block(lon[part], lat[part])
        return inside

    def _block(self, lon: Numbers, lat: Numbers) -> Flags:
        xyz = vectors(lon, lat)
        odd = np.full(len(lon), self.north[0])
        near = np.zeros(len(lon), dtype=np.bool_)
        edges = max(min(_CHUNK // max(len(lon), 1), len(self.a)), 1)
        for start in range(0, len(self.a), edges):
            part = slice(start, start + edges)
            height = dot(xyz[:, None], self.normal[part])
            odd ^= np.bitwise_xor.reduce(self._crossing(lon[:, None], height, part), axis=1)
            near |= (np.abs(height) <= 2.0 * _EPS).any(axis=1)
        for row in np.flatnonzero(near & ~odd):
            odd[row] = bool(self._on(xyz[row], np.flatnonzero(np.abs(dot(self.normal, xyz[row])) <= 2.0 * _EPS)).any())
        return odd

    def near(self, lon: npt.ArrayLike, lat: npt.ArrayLike, reach: float) -> Flags:
        """Tell which points are within `reach` degrees of the boundary of the one ring there is, shape (n,)."""
        xyz, step = vectors(lon, lat), np.radians(reach) / 4.0
        # of most points, places along the boundary tell: no piece between two of them is longer than twice the step
        pieces = np.maximum(np.ceil(self.arcs / (2.0 * step)), 1.0).astype(np.int64)
        edge, number = numbered(pieces)
        places = along(self.a[edge], self.b[edge], number / pieces[edge])
        places /= np.sqrt(dot(places, places))[:, None]
        low, high = np.cos(np.minimum(np.radians(reach) + np.array([step, 0.0]), np.pi))
        best = np.full(len(xyz), -1.0)
        for start in range(0, len(places), size := max(_CHUNK // max(len(xyz), 1), 1)):
            np.maximum(best, dot(xyz[:, None], places[start : start + size]).max(axis=1), out=best)
        found: Flags = best >= high
        rows = np.flatnonzero(~found & (best >= low - 1e-12))
        for part in blocks(np.full(len(rows), len(self.a)), _PAIRS):
            one = rows[part]
            found[one] = arc_gap(xyz[one, None], self.a, self.b, self.normal).min(axis=1) <= reach
        return found

    def gap(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Numbers:
        """Compute the distance in degrees of point i to the boundary of ring i."""
        xyz = vectors(lon, lat)[self.owner]
        return np.minimum.reduceat(arc_gap(xyz, self.a, self.b, self.normal), self.first)


def touch(a: Rings, b: Rings) -> Flags:
    """Return for each row whether the rings have a position in common."""
    near = np.degrees(angle(a.mean, b.mean)) <= a.reach + b.reach + 1e-9
    rows = np.flatnonzero(near | ~a.capped | ~b.capped)
    found = np.zeros(len(near), dtype=np.bool_)
    for test in (_any_inside, lambda a, b: _any_inside(b, a), _edges_cross):
        found[rows] = test(a.take(rows), b.take(rows))
        rows = rows[~found[rows]]
    return found


def _any_inside(a: Rings, b: Rings) -> Flags:
    found = np.zeros(len(a.first), dtype=np.bool_)
    found[a.owner[_inside(a.lon, a.lat, a.owner, b)]] = True
    return found


def held(inner: Rings, outer: Rings) -> Flags:
    """Return for each row whether the second ring holds the first wholly."""
    found = inner.area <= outer.area * (1.0 + 1e-9) + 1e-18
    for lon, lat in ((inner.lon, inner.lat), angles(inner.a + inner.b)):
        found[inner.owner[~_inside(lon, lat, inner.owner, outer)]] = False
    rows = np.flatnonzero(found)
    found[rows] = ~_edges_cross(inner.take(rows), outer.take(rows))
    # two that are more than the sky together may have their borders apart, and what the outer one leaves out within the inner one
    large = np.flatnonzero(found & (inner.area + outer.area > SKY * (1.0 - 1e-9)))
    a, b = inner.take(large), outer.take(large)
    vertex = a.take(b.owner)
    found[large[b.owner[vertex.contain(b.lon, b.lat) & (vertex.gap(b.lon, b.lat) > 1e-9)]]] = False
    return found


def _inside(lon: Numbers, lat: Numbers, owner: Indexes, rings: Rings) -> Flags:
    """Return which points lie in the ring of their owner."""
    near = np.degrees(angle(vectors(lon, lat), rings.mean[owner])) <= (rings.reach + 1e-9)[owner]
    rows = np.flatnonzero(near | ~rings.capped[owner])
    found, _ = np.zeros(len(owner), dtype=np.bool_), (rings.north, rings.begin, rings.end)  # known once, taken along
    for block in blocks(rings.counts[owner[rows]], _PAIRS):
        part = rows[block]
        found[part] = rings.take(owner[part], _TESTED).contain(lon[part], lat[part])
    return found


def _edges_cross(a: Rings, b: Rings) -> Flags:
    """Return for each row whether an edge of `a` crosses one of `b`."""
    found = np.zeros(len(a.first), dtype=np.bool_)
    for row, left, right in _edges(a, b):
        found[row[cross(a.a[left], a.b[left], a.normal[left], b.a[right], b.b[right], b.normal[right])]] = True
    return found


def _edges(a: Rings, b: Rings) -> Iterator[tuple[Indexes, Indexes, Indexes]]:
    """Yield each edge of the one with each of the other: rows, and the numbers of the edges."""
    sizes = a.counts * b.counts
    for rows in blocks(sizes, _PAIRS):
        row, number = numbered(sizes[rows])
        row += rows.start
        yield row, a.first[row] + number // b.counts[row], b.first[row] + number % b.counts[row]


def cross(a: Numbers, b: Numbers, ab: Numbers, c: Numbers, d: Numbers, cd: Numbers) -> Flags:
    """Return whether the arcs ab and cd cross each other, both inside; `ab` and `cd` are their unit normals. Broadcasts."""
    sides = np.broadcast_arrays(-dot(ab, c), dot(ab, d), -dot(cd, b), dot(cd, a))
    signs = np.sum([np.where(np.abs(side) > _EPS, np.sign(side), 0.0) for side in sides], axis=0)
    found: Flags = np.abs(signs) == 4.0
    return found
