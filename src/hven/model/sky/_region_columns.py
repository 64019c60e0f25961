"""Columns of regions on a sphere as flat arrays (GeoArrow's multipolygon): how they are made, taken, measured and written.

Edges are great-circle arcs shorter than half a turn, and inside is to the left of who walks along a ring on the outside of the
sphere: shells run anticlockwise as a map of a body has them, holes clockwise, and a polygon may hold more than half the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from hven.model.sky._cores import spread
from hven.model.sky._geos import polygons, taken_apart
from hven.model.sky._ragged import (
    blocks,
    closed,
    ends,
    followers,
    following,
    gathered,
    largest_gaps,
    numbered,
    owners,
    reversed_rows,
)
from hven.model.sky._rings import Rings
from hven.model.sky._sphere import RADIAN, SKY, along, angle, angles, cosines, normals, summits, vectors, wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_NAMES = ("lon", "lat", "rings", "parts", "rows")
RISE = np.degrees(0.5 * np.radians(1.0) ** 2)  # see `_small_boxes`; degrees
_BLOCK = 1 << 15  # vertices at a time: what is computed of them stays in a processor's cache
STEEP, HIGHEST = 20.0, 80.0  # degrees along an edge at most, and of latitude
_POINT = pa.struct([pa.field("x", pa.float64(), nullable=False), pa.field("y", pa.float64(), nullable=False)])


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """N regions, without what makes others of them: see `hven.model.sky.Regions`.

    Attributes
    ----------
    lon, lat
        The vertices of all rings one after the other, degrees; shape (v,). A ring is not closed: its last vertex is not its first.
    rings
        Where in the vertices each ring begins, and the end; shape (r + 1,).
    parts
        Where in the rings each part begins, and the end; shape (p + 1,). The first ring of a part is its shell, the others are its
        holes; the part lies to the left of each. A part without rings is the whole sphere.
    rows
        Where in the parts each row begins, and the end; shape (n + 1,). A row without parts is an empty region.
    """

    lon: Numbers
    lat: Numbers
    rings: Indexes
    parts: Indexes
    rows: Indexes

    def __post_init__(self) -> None:
        """Take arrays of the types that are said."""
        for name in ("lon", "lat"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        for name, below in (("rings", len(self.lon)), ("parts", len(self.rings) - 1), ("rows", len(self.parts) - 1)):
            offsets = np.ascontiguousarray(getattr(self, name), dtype=np.int64)
            object.__setattr__(self, name, offsets)
            if not len(offsets) or offsets[0] != 0 or offsets[-1] != below or (np.diff(offsets) < 0).any():
                message = f"{name}: offsets must rise from 0 to {below}"
                raise ValueError(message)
        if (np.diff(self.rings) == 0).any():
            message = "a ring needs vertices"
            raise ValueError(message)

    def __repr__(self) -> str:
        """Count what there is: the numbers themselves fill pages."""
        sizes = ((len(self), "rows"), (len(self.parts) - 1, "parts"), (len(self.lon), "corners"))
        return f"<{type(self).__name__}: {', '.join(f'{size:,} {word}' for size, word in sizes)}>"

    @classmethod
    def of(cls, rows: Iterable[Iterable[Iterable[Sequence[Sequence[float]]]]]) -> Self:
        """Make regions of nested lists: rows of parts of rings of (longitude, latitude), degrees.

        Parameters
        ----------
        rows
            In degrees. A ring may be closed or not; its vertices run with the inside to the left.

        Returns
        -------
        regions
            One for each row.

        Raises
        ------
        ValueError
            Lists are nested otherwise.
        """
        vertices: list[Sequence[float]] = []
        rings, parts, offsets = [0], [0], [0]
        try:
            for row in rows:
                for part in row:
                    for ring in part:
                        points = list(ring)
                        vertices += points[:-1] if len(points) > 1 and tuple(points[0]) == tuple(points[-1]) else points
                        rings.append(len(vertices))
                    parts.append(len(rings) - 1)
                offsets.append(len(parts) - 1)
            numbers = np.array(vertices, dtype=np.float64).reshape(len(vertices), 2)
        except (TypeError, ValueError):
            message = "regions are lists of rows of parts of rings of (longitude, latitude): [[[[(0, 0), (1, 0), (1, 1)]]]] is one of one ring"
            raise ValueError(message) from None
        return cls(numbers[:, 0], numbers[:, 1], np.array(rings), np.array(parts), np.array(offsets))

    @classmethod
    def polygons(cls, starts: npt.ArrayLike, numbers: npt.ArrayLike) -> Self:
        """Make regions of one polygon each, as Arrow lists hold DALI's arrays; the smaller side of each is inside.

        Parameters
        ----------
        starts
            Where in `numbers` each begins, and the end; shape (n + 1,). Nothing is an empty region.
        numbers
            Lon, lat, lon, lat .. in degrees, shape (m,); closed or not.

        Returns
        -------
        regions
            N of them.
        """
        pairs = np.asarray(numbers, dtype=np.float64).reshape(-1, 2)
        first = np.asarray(starts, dtype=np.int64) // 2
        pairs, first = pairs[first[0] : first[-1]], first - first[0]
        some = np.diff(first) > 0
        rings = first[np.append(True, some)]
        return cls(pairs[:, 0], pairs[:, 1], rings, np.arange(len(rings)), ends(some)).opened().turned()

    @classmethod
    def from_geoarrow(cls, array: Any) -> Self:
        """Take an Arrow array of GeoArrow's multipolygon or polygon, oriented; a null is an empty region.

        Parameters
        ----------
        array
            Lists (of parts) of rings of points, which are structs x, y or lists of two; rings are closed. Or a chunked array.

        Returns
        -------
        regions
            One for each row.

        Raises
        ------
        ValueError
            The array is none of these.
        """
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        offsets: list[Indexes] = []
        while pa.types.is_nested(array.type) and not (
            pa.types.is_struct(array.type) or pa.types.is_floating(array.type.value_type)
        ):
            offsets.append(ends(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)))
            array = array.flatten()
        if len(offsets) == 2:  # polygons: a row is one part, or none
            some = np.diff(offsets[0]) > 0
            offsets = [ends(some), offsets[0][np.append(True, some)], offsets[1]]
        if len(offsets) != 3:
            message = "regions are lists of parts, which are lists of rings, which are lists of points"
            raise ValueError(message)
        if pa.types.is_struct(array.type):
            lon, lat = (array.field(name).to_numpy() for name in ("x", "y"))
        else:
            pairs = array.flatten().to_numpy().reshape(len(array), -1)
            lon, lat = pairs[:, 0], pairs[:, 1]
        rows, parts, rings = offsets
        return cls(lon, lat, rings, parts, rows).opened()

    @classmethod
    def from_wkb(cls, values: Any) -> Self:
        """Take WKB of polygons and multipolygons, oriented.

        Parameters
        ----------
        values
            Bytes, or None for an empty region; an Arrow array or a sequence, shape (n,).

        Returns
        -------
        regions
            N of them.

        Raises
        ------
        ValueError
            Other than polygons and multipolygons, or no WKB.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        values = values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)
        shapes = shapely.from_wkb(np.array(values, dtype=object))
        shapes = np.where(shapely.is_missing(shapes), shapely.MultiPolygon(), shapes)
        kinds = set(shapely.get_type_id(shapes).tolist())
        if not kinds <= {3, 6}:
            message = "regions are polygons and multipolygons"
            raise ValueError(message)
        xy, rings, parts, rows = taken_apart(shapes)
        return cls(xy[:, 0], xy[:, 1], rings, parts, rows)

    @classmethod
    def concat(cls, columns: Sequence[Self]) -> Self:
        """Put columns one after the other.

        Parameters
        ----------
        columns
            Any number of them.

        Returns
        -------
        regions
            All rows.
        """
        if not columns:
            return cls.empty(0)
        return cls(
            np.concatenate([column.lon for column in columns]),
            np.concatenate([column.lat for column in columns]),
            *(
                ends(np.concatenate([np.diff(getattr(column, name)) for column in columns]))
                for name in ("rings", "parts", "rows")
            ),
        )

    @classmethod
    def empty(cls, count: int) -> Self:
        """Make empty regions.

        Parameters
        ----------
        count
            How many.

        Returns
        -------
        regions
            As many.
        """
        return cls(np.empty(0), np.empty(0), *(np.zeros(size, np.int64) for size in (1, 1, count + 1)))

    def opened(self) -> Self:
        """Leave out vertices that close rings.

        Returns
        -------
        regions
            As this class wants them.
        """
        size = np.diff(self.rings)
        last = self.rings[1:][size > 1] - 1
        first = self.rings[:-1][size > 1]
        doubled = last[(self.lon[first] == self.lon[last]) & (self.lat[first] == self.lat[last])]
        if not len(doubled):
            return self
        keep = np.ones(len(self.lon), np.bool_)
        keep[doubled] = False
        rings = ends(keep)[self.rings]
        return type(self)(self.lon[keep], self.lat[keep], rings, self.parts, self.rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows) - 1

    def __eq__(self, other: object) -> bool:
        """Compare vertices and offsets, to the last bit."""
        return isinstance(other, Columns) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _NAMES
        )

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows: npt.ArrayLike) -> Self:
        """Return some rows.

        Parameters
        ----------
        rows
            Their numbers, which may repeat, or a flag for each row; shape (m,) or (n,).

        Returns
        -------
        regions
            Those rows.
        """
        wanted = np.asarray(rows)
        wanted = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted.astype(np.int64)
        part, offsets = gathered(self.rows, wanted)
        return self._of_parts(part, offsets)

    def _of_parts(self, part: Indexes, rows: Indexes) -> Self:
        ring, parts = gathered(self.parts, part)
        vertex, rings = gathered(self.rings, ring)
        return type(self)(self.lon[vertex], self.lat[vertex], rings, parts, rows)

    def exploded(self) -> tuple[Self, Indexes]:
        """Give each part a row of its own.

        Returns
        -------
        regions
            Of one part each.
        row
            The row that each was of, shape (p,).
        """
        alone = type(self)(self.lon, self.lat, self.rings, self.parts, np.arange(len(self.parts)))
        return alone, owners(self.rows)

    def largest(self) -> Self:
        """Return the outline of the largest part of each region, without its holes; of a belt the ring round its smaller side.

        Returns
        -------
        regions
            Of one ring each; empty where a region is, or its largest part is the whole sphere.
        """
        ring = self.largest_rings()
        vertex, rings = gathered(self.rings, ring[ring >= 0])
        return type(self)(self.lon[vertex], self.lat[vertex], rings, np.arange(len(rings)), ends(ring >= 0))

    def largest_rings(self) -> Indexes:
        """Find the outline of the largest part of each region.

        Returns
        -------
        rings
            The number of that ring; -1 where there is none: of what is empty, and of the whole sphere; shape (n,).
        """
        found, count = np.full(len(self), -1), np.diff(self.rows)
        part = self.rows[:-1][count > 0]  # the first one, where there are no others
        several = np.flatnonzero(count > 1)
        if len(several):
            those = self.take(several)
            parts, owner = those.exploded()
            order = np.lexsort((-parts.area(), owner))
            best = order[np.unique(owner[order], return_index=True)[1]] - those.rows[:-1]
            part = self.rows[:-1].copy()
            part[several] += best
            part = part[count > 0]
        outlines = np.diff(self.parts)[part]
        chosen = np.where(outlines > 0, self.parts[part], -1)
        holed = np.flatnonzero(outlines > 1)
        if len(holed):  # the part lies to the left of each: the outline is the one with the smallest inside
            ring, of = gathered(self.parts, part[holed])
            vertex, rings = gathered(self.rings, ring)
            alone = type(self)(self.lon[vertex], self.lat[vertex], rings, np.arange(len(rings)), np.arange(len(rings)))
            order = np.lexsort((alone.area(), owners(of)))
            chosen[holed] = ring[order[of[:-1]]]
        found[count > 0] = chosen
        return found

    def grouped(self, rows: npt.ArrayLike) -> Self:
        """Put following rows together, their parts side by side; the reverse of `exploded`. Nothing is united: see `united`.

        Parameters
        ----------
        rows
            Where each new row begins, and the end; shape (m + 1,).

        Returns
        -------
        regions
            M of them.
        """
        return type(self)(self.lon, self.lat, self.rings, self.parts, self.rows[np.asarray(rows, np.int64)])

    def turned(self) -> Self:
        """Turn rings so that the smaller side of each is inside: what texts mean in which no orientation is known."""
        return self._reversed(self.ring_areas() > SKY / 2.0)

    def backwards(self) -> Self:
        """Let all rings run the other way, as texts of the sky have them: nothing else here takes such regions."""
        return self._reversed(np.ones(len(self.rings) - 1, np.bool_))

    def _reversed(self, which: Flags) -> Self:
        take = reversed_rows(self.rings, which)
        return type(self)(self.lon[take], self.lat[take], self.rings, self.parts, self.rows)

    @property
    def ring_counts(self) -> Indexes:
        """How many rings each region has: none, one as a simple polygon has, or more; the whole sphere counts as two; shape (n,)."""
        whole = ends(np.diff(self.parts) == 0)
        return np.diff(self.parts[self.rows] + 2 * whole[self.rows])

    @property
    def vertex_rows(self) -> Indexes:
        """The row of each vertex, shape (v,)."""
        return owners(self.rings[self.parts[self.rows]])

    @property
    def followers(self) -> Indexes:
        """The vertex after each in its ring, shape (v,)."""
        return followers(self.rings)

    def replaced(self, rows: Indexes, others: Self) -> Self:
        """Put other regions in the place of some.

        Parameters
        ----------
        rows
            Their numbers, shape (m,).
        others
            M regions.

        Returns
        -------
        regions
            Shape (n,).
        """
        which = np.arange(len(self))
        which[rows] = len(self) + np.arange(len(rows))
        return self.concat([self, others]).take(which)

    def pieced(self, longest: Numbers) -> tuple[Self, Flags]:
        """Put points into edges, along their great circles; how long the pieces of each may be, radians, shape (v,). Edges that coincide get the same ones."""
        after, xyz = self.followers, vectors(self.lon, self.lat)
        (x, y, z), (u, v, w) = xyz.T, xyz[after].T
        back = (z > w) | ((z == w) & ((x > u) | ((x == u) & (y > v))))  # always from the same end
        here = np.arange(len(xyz))
        begin, end = np.where(back, after, here), np.where(back, here, after)
        pieces = np.maximum(np.ceil(angle(xyz[begin], xyz[end]) / longest - 1e-9), 1.0).astype(np.int64)
        vertex, number = numbered(pieces)
        added = number > 0
        edge = vertex[added]
        share = np.where(back[edge], pieces[edge] - number[added], number[added]) / pieces[edge]
        lon, lat = self.lon[vertex], self.lat[vertex]
        lon[added], lat[added] = angles(along(xyz[begin[edge]], xyz[end[edge]], share))
        return type(self)(lon, lat, ends(pieces)[self.rings], self.parts, self.rows), added

    def pinned(self, edge: Indexes, lon: Numbers, lat: Numbers) -> tuple[Self, Flags]:
        """Put these points into edges, in the order in which they lie there; edges by their first vertex, rising; shape (m,)."""
        pieces = 1 + np.bincount(edge, minlength=len(self.lon))
        added = numbered(pieces)[1] > 0
        made = np.insert(self.lon, edge + 1, lon), np.insert(self.lat, edge + 1, lat)
        return type(self)(*made, ends(pieces)[self.rings], self.parts, self.rows), added

    def contains(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Return whether each region holds its point; boundaries belong to regions, and NaN is in none.

        Parameters
        ----------
        lon, lat
            Degrees, shape (n,); of one region any number, shape (m,).

        Returns
        -------
        inside
            Shape (n,) or (m,).
        """
        lon, lat = np.atleast_1d(np.asarray(lon, np.float64)), np.atleast_1d(np.asarray(lat, np.float64))
        if len(self) == 1 != len(lon):
            inside = np.zeros(len(lon), np.bool_)
            for first, last in pairwise(self.parts):
                held = np.isfinite(lon) & (np.abs(lat) <= 90.0)
                for one in range(first, last):
                    held[held] = self.outlines.take(np.array([one])).holds(lon[held], lat[held])
                inside |= held
            return inside
        part, row = owners(self.parts), owners(self.rows)
        known = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        held = known[row]
        if len(part):
            point = row[part]
            np.logical_and.at(held, part, self.outlines.contain(lon[point], lat[point]))
        inside = np.zeros(len(self), np.bool_)
        inside[row[held]] = True
        return inside

    @property
    def outlines(self) -> Rings:
        """All rings, with what the tests of points and edges need."""
        return Rings(self.lon, self.lat, self.rings, side="left")

    def ring_areas(self) -> Numbers:
        """Compute the area to the left of each ring.

        Returns
        -------
        areas
            Square degrees, shape (r,).
        """
        return self.outlines.area

    def area(self) -> Numbers:
        """Compute the areas; parts of a row that overlap count twice (see `united`).

        Returns
        -------
        areas
            Steradians, shape (n,), 0 to 4 pi; the orientation counts.
        """
        ring = self.ring_areas()
        part = _sums(ring, self.parts) - (np.diff(self.parts) - 1) * SKY  # what is left of all rings
        return np.radians(np.radians(_sums(part, self.rows)))

    def borders(self) -> Numbers:
        """Compute how long the borders are.

        Returns
        -------
        lengths
            Degrees, shape (n,), of all rings.
        """
        return np.degrees(np.bincount(self.vertex_rows, self.outlines.arcs, minlength=len(self)))

    def boxes(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Compute the smallest ranges of longitude and latitude that hold the regions.

        Returns
        -------
        lon1, lon2, lat1, lat2
            Degrees, shape (n,); NaN for an empty region. Longitudes are in [0, 360), the region lies eastward from `lon1` to
            `lon2`, over 0 if `lon1` > `lon2`. A region that holds a pole, or goes all the way round, is from 0 to 360.
        """
        parts = spread(
            lambda part: self._slice(part)._boxes(),  # noqa: SLF001  (of its own)
            list(blocks(np.diff(self.rings[self.parts[self.rows]]), _BLOCK)),
        )
        found = np.concatenate([np.empty((4, 0)), *parts], axis=1)
        return found[0], found[1], found[2], found[3]

    def _slice(self, rows: slice) -> Self:
        """Return following rows, without a copy of their vertices."""
        offsets = self.rows[rows.start : rows.stop + 1]
        parts = self.parts[offsets[0] : offsets[-1] + 1]
        rings = self.rings[parts[0] : parts[-1] + 1]
        vertex = slice(rings[0], rings[-1])
        return type(self)(self.lon[vertex], self.lat[vertex], rings - rings[0], parts - parts[0], offsets - offsets[0])

    def _boxes(self) -> Numbers:
        found = np.full((4, len(self)), np.nan)
        small = np.zeros(len(self), np.bool_)
        if len(self.lon):
            small, boxes = self._small_boxes()
            found[:, small] = boxes
        rest = np.flatnonzero(~small & (np.diff(self.rows) > 0))
        if len(rest):
            found[:, rest] = self.take(rest)._any_boxes()  # noqa: SLF001  (of its own)
        return found

    def _small_boxes(self) -> tuple[Flags, Numbers]:
        """Compute the boxes of regions of short edges far from the poles, less than half around: ten times as fast. Which these are, and theirs."""
        small = np.zeros(len(self), np.bool_)
        if (np.diff(self.parts) == 0).any():
            return small, np.empty((4, 0))
        lon, lat = self.lon, self.lat
        begin = self.rings[self.parts[self.rows]]
        some = np.flatnonzero(np.diff(begin) > 0)
        first, size = begin[some], np.diff(begin)[some]
        base = lon[first]
        away = lon - np.repeat(base, size)
        away -= 360.0 * np.rint(away / 360.0)
        low, high, south, north = (
            each.reduceat(values, first)
            for each, values in ((np.minimum, away), (np.maximum, away), (np.minimum, lat), (np.maximum, lat))
        )
        there = following(self.rings, lat)
        turn, climb = following(self.rings, away) - away, np.abs(there - lat)
        wide, steep = np.maximum.reduceat(np.abs(turn), first), np.maximum.reduceat(climb, first)
        # an arc rises above its ends by an eighth of the square of its length times the tangent of its latitude: this is four times as much
        rise = (
            RISE
            * (wide**2 + steep**2)
            * np.tan((np.minimum(np.maximum(north, -south), HIGHEST - 10.0) + 10.0) * RADIAN)
        )
        sine = cosines(lat)[1]
        # twice the area on a cylinder, at least
        side = away * (following(self.rings, sine) - sine) - sine * turn
        side -= np.repeat(rise * RADIAN, size) * np.abs(turn)
        area = np.add.reduceat(side, self.rings[:-1])
        wrong = np.logical_or.reduceat(area[self.parts[:-1]] <= 0.0, self.rows[:-1][some])
        good = (
            (high - low < 170.0) & (np.maximum(north, -south) < HIGHEST) & ~wrong & (np.maximum(wide, steep) <= STEEP)
        )
        top, bottom = (
            np.repeat(np.where(good, *bound), size) for bound in ((north - rise, np.inf), (south + rise, -np.inf))
        )
        edge = np.flatnonzero((np.maximum(lat, there) >= top) | (np.minimum(lat, there) <= bottom))
        after = self.followers[edge]
        ends_of = vectors(lon[edge], lat[edge]), vectors(lon[after], lat[after])
        low_high = np.minimum(lat[edge], there[edge]), np.maximum(lat[edge], there[edge])
        under, over = summits(*ends_of, normals(*ends_of), *low_high)
        row = np.searchsorted(first, edge, "right") - 1
        np.minimum.at(south, row, under)
        np.maximum.at(north, row, over)
        found = np.stack([base, base, south, north])
        for line, end in enumerate((low, high)):
            at = np.flatnonzero(away == np.repeat(end, size))
            found[line, np.searchsorted(first, at, "right") - 1] = wrap(lon[at])
        small[some] = good
        return small, found[:, good]

    def _any_boxes(self) -> Numbers:
        """Compute the boxes of any regions; shape (4, n)."""
        found = np.full((4, len(self)), np.nan)
        some = np.diff(self.rows) > 0
        part_row = owners(self.rows)
        found[:, some] = np.array([[0.0], [360.0], [np.inf], [-np.inf]])
        whole = np.diff(self.parts) == 0
        poles = np.zeros((2, len(self.parts) - 1), np.bool_)
        poles[:, whole] = True
        if len(self.lon):
            rings, ring_part = self.outlines, owners(self.parts)
            row = part_row[ring_part[rings.owner]]
            low, width = rings.spans
            begin, size = largest_gaps(low, width, row, len(self))
            ringed = np.zeros(len(self), np.bool_)
            ringed[row] = True
            open_ = ringed & (size > 1e-12)
            found[0, open_], found[1, open_] = wrap(begin + size)[open_], begin[open_]
            south, north = rings.heights
            np.minimum.at(found[2], row, south)
            np.maximum.at(found[3], row, north)
            held = np.diff(self.parts) > 0
            # a part holds a pole if that is left of all its rings
            touched = np.logical_or.reduceat(rings.polar, rings.first)
            for pole, flags in enumerate((rings.south, rings.north)):
                poles[pole, held] = np.logical_and.reduceat(flags & ~touched, self.parts[:-1][held])
        for pole, (value, line) in enumerate(((-90.0, 2), (90.0, 3))):
            inside = np.unique(part_row[poles[pole]])
            found[0, inside], found[1, inside], found[line, inside] = 0.0, 360.0, value
        return found

    def geoarrow(self, *, close: bool = True) -> pa.ListArray:
        """Give an Arrow array of GeoArrow's multipolygon: lists of parts of rings of structs x, y; rings are closed.

        Parameters
        ----------
        close
            Whether the first vertex of each ring comes again at its end, as GeoArrow wants it; `from_geoarrow` does not.

        Returns
        -------
        array
            Shape (n,), storage without the extension's name. An empty region is an empty list.
        """
        (lon, lat), rings = (self.lon, self.lat), self.rings
        if close:
            vertex, rings = closed(self.rings)
            lon, lat = lon[vertex], lat[vertex]
        array = pa.StructArray.from_arrays([pa.array(lon), pa.array(lat)], fields=list(_POINT))
        for offsets in (rings, self.parts, self.rows):
            array = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), array)
        return array

    def wkb(self) -> list[bytes]:
        """Write WKB of multipolygons.

        Returns
        -------
        bytes
            One for each row.

        Raises
        ------
        ValueError
            A part is the whole sphere, which WKB has no word for.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        if (np.diff(self.parts) == 0).any():
            message = "WKB has no word for the whole sphere"
            raise ValueError(message)
        shapes = polygons(np.stack([self.lon, self.lat], 1), self.rings, self.parts, self.rows)
        found: list[bytes] = shapely.to_wkb(shapes).tolist()
        return found


def _sums(values: Numbers, offsets: Indexes) -> Numbers:
    """Sum each row; one without elements is 0."""
    found = np.zeros(len(offsets) - 1)
    some = np.diff(offsets) > 0
    if some.any():
        found[some] = np.add.reduceat(values, offsets[:-1][some])
    return found
