"""Regions on planes, where GEOS nodes, unites and cuts them: gnomonic ones, on which great circles are straight, for what lies in a cap.

What is larger comes on stereographic planes, with points put into its edges. The rest of the sphere is a frame around all that has
edges. Results are rounded to a grid far wider than the rounding of angles, so that what is valid on the plane stays so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from hven.model.sky._geos import polygons, taken_apart, wound
from hven.model.sky._ragged import blocks, closed, ends, followers, gathered, owners
from hven.model.sky._region_columns import Columns
from hven.model.sky._sphere import angles, arc_gap, crossed, dot, plane, vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

GRID = 2.0**-38  # radians: 0.75 micro-arcseconds
CAP = 65.0  # degrees to each side: what is no wider comes on a gnomonic plane
ERROR = 1e-8  # radians (2 mas): how far a straight line on a stereographic plane may leave its great circle
TWICE = "a vertex comes twice in a row"
_PAIRS = 100_000_000  # of long edges and vertices of a row: of more it is not asked which lie on which
_GOLDEN = math.pi * (3.0 - math.sqrt(5.0))

R = TypeVar("R", bound=Columns)


class Planes(Generic[R]):
    """The planes of rows, one each, on which all that some columns have in a row finds room."""

    def __init__(self, columns: Sequence[R], cap: float = CAP) -> None:
        count = len(columns[0])
        xyz = np.concatenate([vectors(column.lon, column.lat) for column in columns])
        row = np.concatenate([column.vertex_rows for column in columns])
        total = np.stack([np.bincount(row, xyz[:, axis], minlength=count) for axis in range(3)], 1)
        size = np.linalg.norm(total, axis=1, keepdims=True)
        self.centre = np.where(size > 1e-9, total / np.maximum(size, 1e-300), [1.0, 0.0, 0.0])
        chord = np.zeros(count)
        np.maximum.at(chord, row, np.linalg.norm(xyz - self.centre[row], axis=1))
        self.wide = chord > 2.0 * math.sin(math.radians(cap) / 2.0)
        for one in np.flatnonzero(self.wide):
            self._turn_away(int(one), [column.take([one]) for column in columns])
        self.east, self.north = plane(self.centre)
        self.columns: list[tuple[R, Flags | None]] = (
            [self._pieced(*one) for one in self._pinned(columns)]
            if self.wide.any()
            else [(one, None) for one in columns]
        )
        self.flat = []
        self.frame = np.full(count, 1.0)
        for column, _ in self.columns:
            row = column.vertex_rows
            found = self.project(vectors(column.lon, column.lat), row)
            np.maximum.at(self.frame, row, np.abs(found).max(axis=1, initial=0.0))
            self.flat.append(found)
        self.frame = np.ceil(self.frame) + 1.0

    def _turn_away(self, row: int, columns: list[R]) -> None:
        """Put what is infinitely far on the plane of a row where no edges are."""
        index = np.arange(200) + 0.5
        lat, lon = np.degrees(np.arcsin(1.0 - index / 100.0)), np.degrees(index * _GOLDEN)
        tried = np.concatenate([-self.centre[row][None], vectors(lon, lat)])
        gap = np.full(len(tried), 90.0)
        for column in columns:
            edges = column.outlines
            for start in range(0, len(edges.a), 1 << 12):
                part = slice(start, start + (1 << 12))
                arcs = arc_gap(tried[:, None], edges.a[part], edges.b[part], edges.normal[part])
                np.minimum(gap, arcs.min(axis=1), out=gap)
        self.centre[row] = -tried[int(np.argmax(gap))]

    def _longest(self, column: R) -> Numbers:
        """Compute how long pieces of edges may be whose straight lines are within `ERROR` of them; radians, shape (v,)."""
        row, edges = column.vertex_rows, column.outlines
        gap = np.radians(np.maximum(arc_gap(-self.centre[row], edges.a, edges.b, edges.normal), 0.1))
        bend = np.maximum(np.abs(dot(edges.normal, self.centre[row])), 1e-9)  # 0 of what is straight
        return np.where(self.wide[row], 4.0 * np.sin(gap / 2.0) * np.sqrt(ERROR / bend), np.inf)

    def _pinned(self, columns: Sequence[R]) -> list[tuple[R, Flags]]:
        """Put into long edges the vertices of their row that lie on them: pieces of edges that coincide are then the same.

        Else their straight lines would cross each other in every piece.
        """
        rows = np.flatnonzero(self.wide)
        spans = [column.rings[column.parts[column.rows]] for column in columns]
        lons, lats = (np.concatenate([getattr(column, name) for column in columns]) for name in ("lon", "lat"))
        first = ends([len(column.lon) for column in columns])
        every, found = vectors(lons, lats), []
        for column, span in zip(columns, spans, strict=True):
            edges, put = column.outlines, [np.zeros((3, 0))]
            long = edges.arcs > self._longest(column)
            for row in rows.tolist():
                edge = span[row] + np.flatnonzero(long[span[row] : span[row + 1]])
                those = np.concatenate(
                    [np.arange(*one[row : row + 2]) + at for one, at in zip(spans, first, strict=False)]
                )
                if len(edge) * len(those) > _PAIRS:
                    continue
                work = blocks(np.full(len(edge), len(those)))
                put += [_on(every, those, edge[block], edges.a, edges.b, edges.normal) for block in work]
            edge, place, vertex = np.concatenate(put, axis=1)
            order = np.lexsort((place, edge))
            at = vertex[order].astype(np.int64)
            found.append(column.pinned(edge[order].astype(np.int64), lons[at], lats[at]))
        return found

    def _pieced(self, column: R, pinned: Flags) -> tuple[R, Flags]:
        """Put points into edges; which vertices were not there, the pinned ones among them."""
        made, added = column.pieced(self._longest(column))
        added[~added] = pinned
        return made, added

    def project(self, xyz: Numbers, row: Indexes) -> Numbers:
        """Put unit vectors on the planes of their rows; x, y of shape (n, 2)."""
        ahead = np.sum(xyz * self.centre[row], axis=1)
        scale = np.where(self.wide[row], 2.0 / np.maximum(1.0 + ahead, 1e-12), 1.0 / np.maximum(ahead, 1e-3))
        return np.stack([np.sum(xyz * axis[row], axis=1) * scale for axis in (self.east, self.north)], 1)

    def unproject(self, xy: Numbers, row: Indexes) -> tuple[Numbers, Numbers]:
        """Compute longitudes and latitudes in degrees."""
        height = np.where(self.wide[row], 1.0 - np.sum(xy * xy, axis=1) / 4.0, 1.0)
        return angles(height[:, None] * self.centre[row] + xy[:, :1] * self.east[row] + xy[:, 1:] * self.north[row])

    def rings(self, number: int) -> tuple[Numbers, Indexes, Indexes, Indexes, tuple[Flags, Flags]]:
        """Return x, y and offsets of rings, parts and rows, shells first: the frame, where a part has no outer ring.

        The last are which rings run clockwise, and which ones were not given as shells.
        """
        (column, _), xy = self.columns[number], self.flat[number]
        follower = column.followers
        turn = xy[:, 0] * xy[follower, 1] - xy[follower, 0] * xy[:, 1]
        back = np.add.reduceat(turn, column.rings[:-1]) < 0.0 if len(turn) else np.zeros(0, np.bool_)
        part = owners(column.parts)
        open_ = np.flatnonzero(np.bincount(part[~back], minlength=len(column.parts) - 1) == 0)
        corner = self.frame[owners(column.rows)[open_]][:, None, None] * [
            [-1.0, -1.0],
            [1.0, -1.0],
            [1.0, 1.0],
            [-1.0, 1.0],
        ]
        part, back = np.concatenate([part, open_]), np.concatenate([back, np.zeros(len(open_), np.bool_)])
        order = np.lexsort((np.arange(len(part)), back, part))
        offsets = np.concatenate([column.rings, column.rings[-1] + 4 * np.arange(1, len(open_) + 1)])
        vertex, rings = gathered(offsets, order)
        xy = np.concatenate([xy, corner.reshape(-1, 2)])[vertex]
        shell = np.zeros(len(part), np.bool_)
        shell[column.parts[:-1][np.diff(column.parts) > 0]] = True
        shell[len(part) - len(open_) :] = True
        parts = ends(np.bincount(part, minlength=len(column.parts) - 1))
        return xy, rings, parts, column.rows, (back[order], ~shell[order])

    def shapes(self, number: int) -> Any:
        """Make polygons of GEOS of a column; (n,)."""
        return polygons(*self.rings(number)[:4])

    def regions(self, shapes: Any) -> R:
        """Make regions of polygons on the planes."""
        import shapely  # noqa: PLC0415  (for who computes with regions)

        xy, rings, parts, rows = self._taken_apart(shapely.orient_polygons(shapes))
        at = owners(rings[parts[rows]])
        lon, lat = self.unproject(xy, at)
        make = type(self.columns[0][0])
        raw = make(lon, lat, rings, parts, rows)
        lon, lat, drop = self._restored(lon, lat, xy, at)
        if drop.any():  # what was put in goes, unless there is a corner now
            normal, before = raw.outlines.normal, np.empty(len(drop), np.int64)
            before[raw.followers] = np.arange(len(drop))
            drop &= np.linalg.norm(np.cross(normal[before], normal), axis=1) < 1e-6
        drop &= (np.diff(ends(~drop)[rings]) >= 3)[owners(rings)]
        restored = make(lon[~drop], lat[~drop], ends(~drop)[rings], parts, rows)
        some = np.unique(at)
        wrong = some[np.array([bool(reason) for reason in judged(restored.take(some), why=False)], np.bool_)]
        return restored.replaced(wrong, raw.take(wrong)) if len(wrong) else restored

    def _taken_apart(self, shapes: Any) -> tuple[Numbers, Indexes, Indexes, Indexes]:
        """Return x, y and offsets of rings, parts and rows, without frames, and without what is thinner than a plane is exact to.

        Of such rings rounding would say, on the sphere, which side is inside.
        """
        xy, rings, parts, rows = taken_apart(shapes)
        ring_part, part_row = owners(parts), owners(rows)
        if not len(xy):
            return xy, rings, parts, rows
        after = xy[followers(rings)]
        turn = np.add.reduceat(xy[:, 0] * after[:, 1] - after[:, 0] * xy[:, 1], rings[:-1])
        length = np.add.reduceat(np.linalg.norm(after - xy, axis=1), rings[:-1])
        row = part_row[ring_part]
        thin = np.abs(turn) <= np.where(self.wide, 4.0 * ERROR, 4.0 * GRID)[row] * length
        kept = ~thin[parts[:-1]]  # a shell takes its holes with it
        left = ~thin & kept[ring_part] & (np.minimum.reduceat(xy[:, 0], rings[:-1]) > -self.frame[row])
        return (
            xy[left[owners(rings)]],
            ends(np.diff(rings)[left]),
            ends(np.bincount(ring_part[left], minlength=len(kept))[kept]),
            ends(np.bincount(part_row[kept], minlength=len(rows) - 1)),
        )

    def _restored(self, lon: Numbers, lat: Numbers, xy: Numbers, row: Indexes) -> tuple[Numbers, Numbers, Flags]:
        """Give vertices that were there before their angles again, to the last digit, and tell which were put in on the way."""
        known, given = (
            _keys(np.concatenate(self.flat), np.concatenate([c.vertex_rows for c, _ in self.columns])),
            _keys(xy, row),
        )
        added = np.concatenate([np.zeros(len(c.lon), np.bool_) if new is None else new for c, new in self.columns])
        order = np.lexsort((added, known))
        at = np.searchsorted(known[order], given).clip(max=max(len(order) - 1, 0))
        if not len(order):
            return lon, lat, np.zeros(len(lon), np.bool_)
        at = order[at]
        same = known[at] == given
        lons, lats = (np.concatenate([getattr(c, name) for c, _ in self.columns])[at] for name in ("lon", "lat"))
        return np.where(same, lons, lon), np.where(same, lats, lat), same & added[at]

    def arranged(self) -> Any:
        """Cut the rings of the first column where they cross, and unite the faces that are inside; (n,).

        The inside of a ring that does not cross itself is to the left. Of one that does, it is what it winds around, or, if it
        is a hole, all else; where it is wider than a plane for straight edges, most of it has its inside to the left: which side of such a
        ring is around it depends on where one stands.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        xy, rings, parts, rows, others = self.rings(0)
        vertex, around = closed(rings)
        simple = shapely.is_simple(shapely.linearrings(xy[vertex], indices=owners(around)))
        left = simple | self.wide[owners(parts[rows])]
        return wound(xy, rings, parts, rows, np.where(left, *others), GRID)


def _on(every: Numbers, those: Indexes, edge: Indexes, a: Numbers, b: Numbers, normal: Numbers) -> Numbers:
    """Find vertices that lie on edges: the edge, the place on it and the vertex of each, shape (3, m).

    Near an edge's end its straight lines leave it by a tenth of the way to there at most: what is farther lies beside the edge.
    """
    x, y, z = every[those].T[:, :, None]
    off = x * normal[edge, 0] + y * normal[edge, 1] + z * normal[edge, 2]
    vertex, which = np.nonzero(np.abs(off) < 1.1 * ERROR)
    vertex, which = those[vertex], edge[which]
    point = every[vertex]
    ahead, left = dot(crossed(normal[which], a[which]), point), dot(crossed(b[which], normal[which]), point)
    end = np.minimum(ahead, left)
    on = (end > 1e-13) & (np.abs(dot(normal[which], point)) < 0.1 * end + 1e-12)
    return np.stack([which, np.arctan2(ahead, dot(a[which], point)), vertex])[:, on]


def _keys(xy: Numbers, row: Indexes) -> npt.NDArray[np.uint64]:
    number = np.rint(xy / GRID).astype(np.int64).astype(np.uint64)
    with np.errstate(over="ignore"):
        mixed = number[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ (number[:, 1] + np.uint64(0x7F4A7C15)) * np.uint64(
            0xC2B2AE3D27D4EB4F
        )
        found: npt.NDArray[np.uint64] = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) + row.astype(
            np.uint64
        )
    return found


def flaws(regions: R) -> list[tuple[str, Flags]]:
    """Return what is wrong with vertices, and with which; shape (v,)."""
    xyz = vectors(regions.lon, regions.lat)
    after = xyz[regions.followers]
    return [
        ("a longitude or latitude is no number", ~np.isfinite(regions.lon + regions.lat)),
        ("a latitude is beyond 90 degrees", np.abs(regions.lat) > 90.0),
        ("an edge is half a turn long, so no arc is the shortest", np.linalg.norm(xyz + after, axis=1) < 1e-12),
        ("a ring has fewer than three vertices", np.repeat(np.diff(regions.rings) < 3, np.diff(regions.rings))),
        (TWICE, np.linalg.norm(xyz - after, axis=1) < 1e-15),
    ]


def judged(regions: R, *, why: bool) -> list[str]:
    """Return what is wrong with each row, and where; one word if that is enough."""
    import shapely  # noqa: PLC0415  (for who computes with regions)

    found = np.full(len(regions), "", object)
    row = regions.vertex_rows
    for reason, wrong in reversed(flaws(regions)):
        found[row[wrong]] = reason
    rest = np.flatnonzero((found == "") & (np.diff(regions.rows) > 0) & ~convex(regions))
    if len(rest):
        planes = Planes([regions.take(rest)])
        shapes = planes.shapes(0)
        part, of = shapely.get_parts(shapes, return_index=True)
        found[rest[of[shapely.area(part) <= 2.0 * GRID * shapely.length(part)]]] = "a part has no area"
        bad = np.flatnonzero(~shapely.is_valid(shapes))
        found[rest[bad]] = "it crosses itself"
        for one in bad if why else []:
            reason, _, at = str(shapely.is_valid_reason(shapes[one])).partition("[")
            xy = np.array([at.rstrip("]").split()], np.float64)
            lon, lat = planes.unproject(xy, np.array([one]))
            found[rest[one]] = f"{reason.lower()} at {lon[0]:.6f} {lat[0]:+.6f}"
    return list(found)


def convex(regions: Columns) -> Flags:
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
    found = np.zeros(len(regions), np.bool_)
    single = np.flatnonzero(np.diff(regions.rows) == 1)
    single = single[np.diff(regions.parts)[regions.rows[single]] == 1]
    ring = regions.parts[regions.rows[single]]
    size = np.diff(regions.rings)[ring]
    for corners in (3, 4):
        rows, at = single[size == corners], regions.rings[ring[size == corners]][:, None] + np.arange(corners)
        if not len(rows):
            continue
        corner = vectors(regions.lon[at], regions.lat[at])
        after = np.roll(corner, -1, axis=1)
        turn = dot(np.cross(corner, after), np.roll(corner, -2, axis=1))
        edge = np.linalg.norm(after - corner, axis=2)
        far = np.linalg.norm(corner - corner[:, :1], axis=2).max(axis=1)
        # each corner stands so far out that no rounding changes its turn, here (4e-16) and on the plane
        least = np.maximum(1000.0 * GRID * edge.max(axis=1)[:, None], 1e-14)
        turns = (turn > least).all(axis=1) | (turn < -least).all(axis=1)
        # within 60 degrees of a corner, great circles are the straight lines of one plane; more than four corners may turn twice
        found[rows] = turns & (far < 1.0)
    return found


def cleaned(regions: R) -> R:
    """Leave out vertices that say nothing, rings and parts that are none."""
    *bad, short, again = (wrong for _, wrong in flaws(regions))
    ring, lost = owners(regions.rings), np.logical_or.reduce([*bad, short])
    keep = ~again & ~np.isin(ring, ring[lost])
    size = np.bincount(ring[keep], minlength=len(regions.rings) - 1)
    keep &= (size >= 3)[ring]
    size = np.where(size >= 3, size, 0)
    stays, part = size > 0, owners(regions.parts)
    whole = np.diff(regions.parts) == 0
    parts = np.bincount(part[stays], minlength=len(whole))
    left = (parts > 0) | whole
    first = np.zeros(len(size), np.bool_)
    first[regions.parts[:-1][~whole]] = True
    gone = np.isin(part, part[first & ~stays])  # ... and its holes with a shell
    if (gone & stays).any():
        keep &= ~gone[ring]
        stays &= ~gone
        parts = np.bincount(part[stays], minlength=len(whole))
        left = (parts > 0) | whole
    rows = np.bincount(owners(regions.rows)[left], minlength=len(regions))
    return type(regions)(regions.lon[keep], regions.lat[keep], ends(size[stays]), ends(parts[left]), ends(rows))
