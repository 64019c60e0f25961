"""Many spherical polygons at once, as flat arrays: areas, points inside, crossings. Edges are great-circle arcs.

A polygon is a ring of vertices, not closed. The point test counts the edges that a point's meridian crosses on its way
to the north pole; which parity means *inside* follows from one point beside an edge. It is exact for simple polygons of any
size, over the poles and over longitude 0; on those that cut themselves it alternates (even-odd).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.sky._sphere import SKY, TOLERANCE, angles, arc_gap, in_circle, vectors, wrap

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_EPS = math.radians(TOLERANCE)
_AXES = np.array(
    [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]]
)
_CHUNK = 1 << 19  # elements of a points-times-edges block


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
        self.offsets = np.array([0, len(self.lon)]) if offsets is None else np.asarray(offsets, dtype=np.int64)
        self.counts = np.diff(self.offsets)
        self.first = self.offsets[:-1]
        self.owner = np.repeat(np.arange(len(self.counts)), self.counts)
        follower = np.arange(1, len(self.lon) + 1)
        follower[self.offsets[1:] - 1] = self.first
        self.next = follower
        self.a = vectors(self.lon, self.lat)
        self.b = self.a[self.next]
        normal = np.cross(self.a + self.b, self.b - self.a)  # twice a x b, without its cancellation
        length = np.linalg.norm(normal, axis=1)
        self.real = length > 0.0  # a repeated vertex makes an edge of no length
        self.normal = normal / np.where(self.real, length, 1.0)[:, None]
        self.turn = (self.lon[self.next] - self.lon + 180.0) % 360.0 - 180.0  # eastward positive
        self._areas()
        # the signed area is that of the left side, less the sky if that is the smaller number
        self.left = np.full(len(self.signed), side == "left") if side != "smaller" else self.signed >= 0.0
        inner = np.where(self.left, self.signed, -self.signed)
        self.area = np.where(inner < 0.0, SKY + inner, np.abs(inner))
        self._side = side

    @cached_property
    def north(self) -> Flags:
        """Whether the north pole is inside, by ring."""
        found = self._north()
        if self._side == "smaller" and bool((self.reach < 89.0).any()):
            # what lies opposite is outside, even if the ring cuts itself and has no area to compare
            far = -self.mean
            lon = wrap(np.degrees(np.arctan2(far[:, 1], far[:, 0])))
            crossed = self._crossed(lon[self.owner], np.sum(far[self.owner] * self.normal, axis=1))
            found = np.where(self.reach < 89.0, np.bitwise_xor.reduceat(crossed, self.first), found)
        return found

    @cached_property
    def south(self) -> Flags:
        """Whether the south pole is inside, by ring."""
        begin, end = self._ends
        zero = np.where(begin <= end, begin <= 0.0, end > 0.0) & (self.turn != 0.0)  # crosses longitude 0
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
        begin, _ = self._ends
        lower = np.abs(self.lat) <= np.abs(self.lat[self.next])
        end = np.where(lower, self.lon, self.lon[self.next])
        return np.where(self.polar, end, begin), np.where(self.polar, 0.0, np.abs(self.turn))

    @cached_property
    def heights(self) -> tuple[Numbers, Numbers]:
        """The lowest and the highest latitude of each edge, degrees."""
        there = self.lat[self.next]
        low, high = np.minimum(self.lat, there), np.maximum(self.lat, there)
        # the highest point of its great circle lies on it if it climbs at one end and descends at the other
        climb, fall = (np.cross(self.normal, end)[:, 2] for end in (self.a, self.b))
        top = np.degrees(np.arctan2(np.hypot(self.normal[:, 0], self.normal[:, 1]), np.abs(self.normal[:, 2])))
        return np.where((climb < 0.0) & (fall > 0.0), -top, low), np.where((climb > 0.0) & (fall < 0.0), top, high)

    @property
    def _ends(self) -> tuple[Numbers, Numbers]:
        """The western and the eastern longitude of each edge."""
        there, east = self.lon[self.next], self.turn >= 0.0
        return np.where(east, self.lon, there), np.where(east, there, self.lon)

    def _areas(self) -> None:
        """Sum signed triangles from one point per ring: exact for any size, without cancellation for small ones."""
        mean = np.add.reduceat(self.a, self.first, axis=0)
        size = np.linalg.norm(mean, axis=1)
        self.mean = np.where(size[:, None] > 1e-9, mean / np.maximum(size, 1e-300)[:, None], _AXES[0])
        # the triangles must not reach the antipode of their common corner
        corner = self.mean[self.owner]
        score = np.minimum.reduceat(1.0 + np.sum(corner * self.a, axis=1), self.first)
        if (score <= 0.1).any():
            scores = np.stack([score, *(np.minimum.reduceat(1.0 + self.a @ axis, self.first) for axis in _AXES)])
            best = np.where(score > 0.1, 0, np.argmax(scores, axis=0))[self.owner]
            corner = np.where((best > 0)[:, None], _AXES[best - 1], corner)
        top = np.sum(corner * np.cross(self.a - corner, self.b - corner), axis=1)
        bottom = (
            1.0 + np.sum(corner * self.a, axis=1) + np.sum(corner * self.b, axis=1) + np.sum(self.a * self.b, axis=1)
        )
        total = np.degrees(np.degrees(np.add.reduceat(2.0 * np.arctan2(top, bottom), self.first)))
        self.signed = np.where(total > SKY / 2.0, total - SKY, np.where(total < -SKY / 2.0, total + SKY, total))
        self.reach = np.degrees(2.0 * np.arcsin(np.minimum(np.sqrt(self._chord()) / 2.0, 1.0)))

    def _chord(self) -> Numbers:
        return np.maximum.reduceat(np.sum((self.a - self.mean[self.owner]) ** 2, axis=1), self.first)

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
        crossed = self._crossed(lon[self.owner], np.sum(middle[self.owner] * self.normal, axis=1))
        crossed[edges] = self.turn[edges] < 0.0  # left of a westward edge is its south: the way north crosses it
        outer = np.bitwise_xor.reduceat(crossed, self.first)
        return outer ^ self.left  # even: the pole is left of the edge, where the point is

    def _crossed(self, lon: Numbers, height: Numbers) -> Flags:
        """Return which edges the way north from a point crosses; `height` is the point's product with the edge's normal."""
        begin, end = self._ends
        spans = np.where(begin <= end, (lon >= begin) & (lon < end), (lon >= begin) | (lon < end))
        found: Flags = spans & np.where(self.turn >= 0.0, height < 0.0, height > 0.0) & (self.turn != 0.0)
        return found

    def _on(self, xyz: Numbers, height: Numbers, edges: Any) -> Flags:
        """Return whether points lie on edges, within the tolerance."""
        a, b, normal = self.a[edges], self.b[edges], self.normal[edges]
        after = np.sum(np.cross(normal, a) * xyz, axis=-1) >= -_EPS
        before = np.sum(np.cross(b, normal) * xyz, axis=-1) >= -_EPS
        at_vertex = np.sum((a - xyz) ** 2, axis=-1) <= _EPS * _EPS
        found: Flags = ((np.abs(height) <= _EPS) & after & before & self.real[edges]) | at_vertex
        return found

    def contain(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test point i against ring i; the boundary belongs to the ring. NaN is never inside."""
        lon, lat = wrap(lon), np.asarray(lat, dtype=np.float64)
        xyz = vectors(lon, lat)
        height = np.sum(xyz[self.owner] * self.normal, axis=1)
        odd = np.bitwise_xor.reduceat(self._crossed(lon[self.owner], height), self.first)
        edge = self._on(xyz[self.owner], height, slice(None))
        known = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        # a ring in a cap has nothing outside it: at the antipode of a vertex the sign of `height` is that of its rounding
        middle = self.mean / np.maximum(np.linalg.norm(self.mean, axis=1), 1e-300)[:, None]
        away = np.degrees(2.0 * np.arcsin(np.minimum(np.linalg.norm(xyz - middle, axis=1) / 2.0, 1.0)))
        known &= ~((self.area < SKY / 8.0) & (self.reach < 60.0) & (away > self.reach + 1e-9))
        found: Flags = ((odd ^ self.north) | np.logical_or.reduceat(edge, self.first)) & known
        return found

    def holds(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Test many points against the one ring there is, shape (n,)."""
        lon, lat = wrap(lon), np.asarray(lat, dtype=np.float64)
        inside = np.zeros(len(lon), dtype=np.bool_)
        rows = np.flatnonzero(np.isfinite(lon) & (np.abs(lat) <= 90.0))
        # the ring lies in a cap: most points need no more than this
        if self.area[0] < SKY / 8.0 and self.reach[0] < 60.0:
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
            height = xyz @ self.normal[part].T
            east = self.turn[part] >= 0.0
            here, there = self.lon[part], self.lon[self.next[part]]
            begin, end = np.where(east, here, there), np.where(east, there, here)
            after, before = lon[:, None] >= begin, lon[:, None] < end
            spans = np.where(begin <= end, after & before, after | before) & (self.turn[part] != 0.0)
            odd ^= np.bitwise_xor.reduce(spans & ((height < 0.0) == east) & (height != 0.0), axis=1)
            near |= (np.abs(height) <= _EPS).any(axis=1) | (((xyz @ self.a[part].T) >= 1.0 - 1e-15).any(axis=1))
        for row in np.flatnonzero(near & ~odd):
            odd[row] = bool(self._on(xyz[row], self.normal @ xyz[row], slice(None)).any())
        return odd

    def gap(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Numbers:
        """Compute the distance in degrees of point i to the boundary of ring i."""
        xyz = vectors(lon, lat)[self.owner]
        return np.minimum.reduceat(arc_gap(xyz, self.a, self.b, self.normal, self.real), self.first)


def cross(a: Numbers, b: Numbers, ab: Numbers, c: Numbers, d: Numbers, cd: Numbers) -> Flags:
    """Return whether the arcs ab and cd cross each other, both inside; `ab` and `cd` are their unit normals. Broadcasts."""
    acb, bda = -np.sum(ab * c, axis=-1), np.sum(ab * d, axis=-1)
    cbd, dac = -np.sum(cd * b, axis=-1), np.sum(cd * a, axis=-1)
    signs = np.sign(
        np.stack([np.where(np.abs(value) > _EPS, value, 0.0) for value in np.broadcast_arrays(acb, bda, cbd, dac)])
    ).sum(axis=0)
    found: Flags = np.abs(signs) == 4.0
    return found
