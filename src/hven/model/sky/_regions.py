"""Regions on a sphere: what is wrong with them, and what is made of them. Nothing here gives a region that is not valid."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._cores import spread
from hven.model.sky._covers import Covers
from hven.model.sky._moc import Moc
from hven.model.sky._planes import GRID, Planes, cleaned, judged
from hven.model.sky._ragged import blocks, ends, gathered, numbered, owners
from hven.model.sky._region_columns import Columns
from hven.model.sky._sphere import SKY, angles, arc_gap, dot, vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

_CORNERS = 4_000_000  # of a MOC's cells
_CELLS_TOGETHER = 1 << 15  # along edges, about: what is computed of them stays in a processor's cache
_ROWS_TOGETHER = 1000  # with fewer cells than that allows


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regions(Columns):
    """N regions.

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

    def faults(self) -> list[str]:
        """Tell what is wrong with each region.

        Returns
        -------
        reasons
            For each row; empty if nothing is, as of an empty region. Parts that overlap and rings that cross are wrong.
        """
        return judged(self, why=True)

    def valid(self) -> Flags:
        """Return which regions are valid (see `faults`).

        Returns
        -------
        valid
            Shape (n,).
        """
        return np.array([not reason for reason in judged(self, why=False)], np.bool_)

    def crossing(self) -> Flags:
        """Return which regions are not valid, corners that come twice in a row aside: they cross themselves, or lack area.

        Returns
        -------
        wrong
            Shape (n,).
        """
        found = ~self.valid()
        given = self.take(np.flatnonzero(found))
        plain = cleaned(given)
        found[found] = ~plain.valid() | (plain.ring_counts != given.ring_counts)
        return found

    def mended(self) -> Regions:
        """Make all regions valid: parts that overlap become one, rings that cross themselves are cut into simple ones.

        A figure eight becomes two parts. What a ring that crosses itself winds around is inside (around a hole: outside), whichever way it
        runs; the left of any other is. Lines and points go, so that a region may be empty then; so do rings of what is no position.

        Returns
        -------
        regions
            Rows that were valid are as they were. Crossings are rounded to 1e-6 arcsec, in regions wider than 130 degrees to 2e-3.
        """
        wrong = np.flatnonzero(~self.valid())
        if not len(wrong):
            return self
        planes = Planes([cleaned(self.take(wrong))])
        return self.replaced(wrong, planes.regions(planes.arranged()))

    def union(self, other: Regions) -> Regions:
        """Unite with the regions of another column, row by row; as `mended`, what comes is valid.

        Parameters
        ----------
        other
            As many regions, or one for all rows.

        Returns
        -------
        regions
            Shape (n,).
        """
        return self._combined(other, "union")

    def intersection(self, other: Regions) -> Regions:
        """Intersect with the regions of another column, row by row.

        Parameters
        ----------
        other
            As many regions, or one for all rows.

        Returns
        -------
        regions
            Shape (n,); empty where they have no area in common.
        """
        return self._combined(other, "intersection")

    def difference(self, other: Regions) -> Regions:
        """Take the regions of another column away, row by row.

        Parameters
        ----------
        other
            As many regions, or one for all rows.

        Returns
        -------
        regions
            Shape (n,).
        """
        return self._combined(other, "difference")

    def _combined(self, other: Regions, how: str) -> Regions:
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = self._beside(other)
        return planes.regions(getattr(shapely, how)(planes.shapes(0), planes.shapes(1), grid_size=GRID))

    def _beside(self, other: Regions) -> Planes[Regions]:
        if len(other) == 1 != len(self):
            other = other.take(np.zeros(len(self), np.int64))
        return Planes([self.mended(), other.mended()])

    def simplified(self, error: float) -> Regions:
        """Leave out vertices without which the boundary stays where it is, about.

        Parameters
        ----------
        error
            How far it may move, degrees.

        Returns
        -------
        regions
            Valid ones. What is wider than 130 degrees stays as it is.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        made = self.mended()
        rows = np.flatnonzero(~Planes([made]).wide)
        planes = Planes([made.take(rows)])  # on which all is at least as large as on the sphere
        return made.replaced(rows, planes.regions(shapely.simplify(planes.shapes(0), np.radians(error))).mended())

    def hull(self) -> Regions:
        """Compute the convex hulls; that of what no hemisphere holds is the whole sphere.

        Returns
        -------
        regions
            Of one part each; an empty one of an empty one.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = Planes([self], 89.5)
        shapes = shapely.convex_hull(planes.shapes(0))
        found = planes.regions(shapes)
        frame = shapely.bounds(shapes)[:, 0] <= -planes.frame
        whole = np.flatnonzero((planes.wide | frame) & (np.diff(self.rows) > 0))
        return found.replaced(whole, Regions.of([[[]]]).take(np.zeros(len(whole), np.int64)))

    def intersects(self, other: Regions) -> Flags:
        """Return which regions touch those of another column, row by row.

        Parameters
        ----------
        other
            As many regions, or one for all rows.

        Returns
        -------
        touch
            Shape (n,).
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = self._beside(other)
        return np.asarray(shapely.intersects(planes.shapes(0), planes.shapes(1)))

    def within(self, other: Regions) -> Flags:
        """Return which regions lie within those of another column, row by row; they may share borders.

        Parameters
        ----------
        other
            As many regions, or one for all rows.

        Returns
        -------
        inside
            Shape (n,); empty regions lie in all. What is out by 1e-11 radians (two micro-arcseconds) along the border is rounding.
        """
        found: Flags = self.difference(other).area() <= 1e-11 * np.radians(self.borders())
        return found

    def thin(self) -> Flags:
        """Return which regions have less area than rounding along their borders, shape (n,)."""
        return self.area() <= 1e-11 * np.radians(self.borders())

    def distance(self, other: Regions) -> Numbers:
        """Compute how far regions are from those of another column, row by row.

        Parameters
        ----------
        other
            As many regions, or one for all rows.

        Returns
        -------
        distances
            Degrees, shape (n,); 0 where they touch, NaN where one is empty.
        """
        other = other.take(np.zeros(len(self), np.int64)) if len(other) == 1 != len(self) else other
        found = np.full(len(self), np.inf)
        for a, b in ((self, other), (other, self)):
            if not len(a.lon) or not len(b.lon):
                continue
            edges, starts = b.outlines, b.rings[b.parts[b.rows]]
            row, xyz = a.vertex_rows, vectors(a.lon, a.lat)
            for block in blocks(np.diff(starts)[row]):
                edge, offsets = gathered(starts, row[block])
                vertex = block.start + owners(offsets)
                gap = arc_gap(xyz[vertex], edges.a[edge], edges.b[edge], edges.normal[edge])
                np.minimum.at(found, row[vertex], gap)
        found[self.intersects(other)] = 0.0
        found[~np.isfinite(found)] = np.nan
        return found

    def centroid(self) -> tuple[Numbers, Numbers]:
        """Compute the middles: the direction of the mean position of what is inside.

        Returns
        -------
        lon, lat
            Degrees, shape (n,); NaN for an empty region, and for the whole sphere.
        """
        moments, row = self.outlines.moments, owners(self.parts[self.rows])
        sizes = np.sqrt(dot(moments, moments))
        x, y, z, size = (np.bincount(row, one, minlength=len(self)) for one in (*moments.T, sizes))
        total: Numbers = np.stack([x, y, z], 1)
        none = np.sqrt(dot(total, total)) <= 1e-13 * size
        lon, lat = angles(np.where(none[:, None], [1.0, 0.0, 0.0], total))
        return np.where(none, np.nan, lon), np.where(none, np.nan, lat)

    # from and to other shapes ---------------------------------------------------------------------------------------

    @classmethod
    def circles(
        cls, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike, error: float | None = None
    ) -> Regions:
        """Make polygons of circles, their corners on the circle.

        Parameters
        ----------
        lon, lat, radius
            Degrees, shape (n,); a radius up to 180, which is the whole sphere. None or 0 is an empty region.
        error
            How far an edge may be from the circle, degrees; None: a thousandth of the radius.

        Returns
        -------
        regions
            N of them.

        Raises
        ------
        ValueError
            A latitude is beyond 90 degrees.
        """
        lon, lat, size = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(one, np.float64)) for one in (lon, lat, radius))
        )
        if (np.abs(lat) > 90.0).any():
            message = f"a latitude is beyond 90 degrees: {lat[np.abs(lat) > 90.0][0]:g}"
            raise ValueError(message)
        arc = np.radians(size)
        some, whole = (size > 0.0) & (size < 180.0), size >= 180.0
        off = np.full(len(arc), np.radians(error)) if error else np.minimum(arc, np.pi - arc) / 1000.0
        bend = np.abs(np.sin(arc) * np.cos(arc)) / 2.0
        corners = np.where(some, np.ceil(np.pi / np.sqrt(np.maximum(off, 1e-15) / np.maximum(bend, 1e-15))), 0.0)
        corners = np.where(some, np.clip(corners, 8, 100_000), 0).astype(np.int64)
        rings, (row, number) = ends(corners), numbered(corners)
        turn = 2.0 * np.pi * number / corners[row]
        # around the pole, then its meridian down to the middle
        x, y, z = np.sin(arc)[row] * np.cos(turn), np.sin(arc)[row] * np.sin(turn), np.cos(arc)[row]
        tilt = np.radians(90.0 - lat)[row]
        xyz = np.stack([x * np.cos(tilt) + z * np.sin(tilt), y, z * np.cos(tilt) - x * np.sin(tilt)], 1)
        found_lon, found_lat = angles(xyz)
        parts = np.append(0, np.cumsum(some)[some | whole])
        return cls((found_lon + lon[row]) % 360.0, found_lat, rings[np.append(True, some)], parts, ends(some | whole))

    @classmethod
    def ranges(
        cls, lon1: npt.ArrayLike, lon2: npt.ArrayLike, lat1: npt.ArrayLike, lat2: npt.ArrayLike, error: float = 1e-4
    ) -> Regions:
        """Make polygons of ranges of longitude and latitude, with corners along their parallels.

        Parameters
        ----------
        lon1, lon2, lat1, lat2
            Degrees, shape (n,): eastward from `lon1` to `lon2`, over 0 if need be, all around from 360 degrees on; to the north from
            `lat1` to `lat2`. Without area it is an empty region.
        error
            How far an edge may be from its parallel, degrees.

        Returns
        -------
        regions
            N of them.
        """
        west, east, low, high = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(one, np.float64)) for one in (lon1, lon2, lat1, lat2))
        )
        around = east - west >= 360.0 - 1e-9
        width = np.where(around, 360.0, (east - west) % 360.0)
        some = (width > 0.0) & (high > low)
        # sides of each: the southern eastward, the eastern, the northern westward, the western
        lat = np.stack([low, 0.0 * low, high, 0.0 * low], 1).ravel()
        bend = np.abs(np.sin(np.radians(lat)) * np.cos(np.radians(lat)))
        step = np.minimum(np.degrees(2.0 * np.sqrt(2.0 * np.radians(error) / np.maximum(bend, 1e-9))), 60.0)
        side, full = np.repeat(width, 4), np.repeat(around, 4)
        number = np.arange(len(lat)) % 4
        count = np.where(np.abs(lat) >= 90.0 - 1e-12, ~full, np.ceil(side / step).astype(np.int64) + ~full)
        # a meridian from pole to pole has a corner, for an edge is shorter than that
        count[number % 2 == 1] = np.repeat((high - low >= 180.0 - 1e-9) & ~around, 2)
        count = count * np.repeat(some, 4)
        which, place = numbered(count)
        share = place / np.maximum(count - ~full, 1)[which]
        share = np.choose(number[which], [share, 1.0, 1.0 - share, 0.0])
        lon = np.repeat(west, 4)[which] + share * side[which]
        size = count.reshape(-1, 4)
        rings = np.stack([size[:, 0] + size[:, 1], size[:, 2] + size[:, 3]], 1)
        rings = np.where(around[:, None], rings, np.stack([size.sum(axis=1), np.zeros(len(size), np.int64)], 1))
        parts = (rings > 0).sum(axis=1)
        return cls(lon % 360.0, lat[which], ends(rings[rings > 0]), ends(parts[some]), ends(some))

    @classmethod
    def of_mocs(cls, mocs: Sequence[Moc]) -> Regions:
        """Make regions of the cells of MOCs, with the corners of their smallest cells all along the boundary.

        Parameters
        ----------
        mocs
            One for each row.

        Returns
        -------
        regions
            As many.

        Raises
        ------
        ValueError
            An outline of one would have millions of corners.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        cells = cls.concat([cls._cells(moc) for moc in mocs])
        whole = np.array([moc.fraction == 1.0 for moc in mocs], np.bool_)
        planes = Planes([cells])
        found = planes.regions(shapely.unary_union(planes.shapes(0)[:, None], axis=1, grid_size=GRID))
        every = np.flatnonzero(whole)
        return found.replaced(every, cls.of([[[]]]).take(np.zeros(len(every), np.int64)))

    @classmethod
    def _cells(cls, moc: Moc) -> Regions:
        """Make one row of the cells of a MOC."""
        made = [cls.empty(1)]
        found = healpix.by_order(moc.ranges if moc.fraction < 1.0 else moc.ranges[:0])
        many = sum(len(cells) * 4 << (moc.order - order) for order, cells in found)
        if many > _CORNERS:
            less = moc.order - int(np.ceil(np.log2(many / _CORNERS)))
            message = f"the outline of a MOC of order {moc.order} would have {many:,} corners: degrade it to order {max(less, 0)}"
            raise ValueError(message)
        for order, cells in found:
            lon, lat = healpix.corners(order, cells, 1 << (moc.order - order))
            starts = np.arange(len(cells) + 1)
            made.append(cls(lon.ravel(), lat.ravel(), starts * lon.shape[1], starts, starts))
        row = cls.concat(made)
        return row.grouped(np.array([0, len(row)]))

    def mocs(self, error: float = 0.01, cells: int = 10_000) -> tuple[list[Moc], Numbers]:
        """Cover regions by HEALPix cells, of the coarsest order at which the area is right.

        Parameters
        ----------
        error
            What may be added to the area, as a share of it.
        cells
            How many of the smallest cells a boundary may have, about; more of them are not made for the sake of `error`.

        Returns
        -------
        mocs
            One for each row, of the cells that the region touches (of those that an edge alone cuts off a corner of, one or another may lack).
        added
            What each has more than the region, as a share of its area; shape (n,), infinite without area.
        """
        area, row = np.degrees(np.degrees(self.area())), self.vertex_rows
        xyz = vectors(self.lon, self.lat)
        arc = np.degrees(np.linalg.norm(xyz[self.followers] - xyz, axis=1))
        rim: Numbers = np.bincount(row, arc, minlength=len(self)).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            # cells along the rim add nearly as much as a strip of three quarters of their width
            first = np.log2(np.nan_to_num(58.6 * 0.75 * rim / (error * area), posinf=2.0**29))
            last = np.log2(np.nan_to_num(58.6 * cells / rim, posinf=2.0**29))

        most = np.clip(np.floor(last), 0, healpix.ORDER).astype(np.int64)
        order = np.clip(np.ceil(first), 0, most).astype(np.int64)
        found = [Moc(healpix.NOWHERE, 0)] * len(self)
        added, rows = np.full(len(self), np.inf), np.arange(len(self))
        while len(rows):
            pieces = list(_of_one_order(rows, order, rim))
            for some, covered, share in spread(lambda piece: self._covered(*piece, area), pieces):
                added[some] = share
                for row, moc in zip(some.tolist(), covered, strict=True):
                    found[row] = moc
            rows = rows[(added[rows] > error) & (order[rows] < most[rows]) & (rim[rows] > 0.0)]
            order[rows] += 1
        return found, added

    def _covered(self, order: int, rows: Indexes, area: Numbers) -> tuple[Indexes, list[Moc], Numbers]:
        """Cover rows by cells of one order; what each has more than its area, as a share."""
        ranges, offsets = Covers(self.take(rows)).ranges(order)
        mocs = [Moc(ranges[begin:end], order) for begin, end in pairwise(offsets.tolist())]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.array([moc.fraction for moc in mocs]) * SKY / area[rows] - 1.0
        share[area[rows] <= 0.0] = np.inf
        return rows, mocs, share


def _of_one_order(rows: Indexes, order: Indexes, rim: Numbers) -> Iterator[tuple[int, Indexes]]:
    """Yield orders and those rows that are covered together; `rim` is the length of the edges of each, degrees."""
    for one in np.unique(order[rows]).tolist():
        some = rows[order[rows] == one]
        cells = np.minimum(rim[some] * 2.0**one / 40.0, _CELLS_TOGETHER)
        fixed = _CELLS_TOGETHER // min(_ROWS_TOGETHER, 1 << 59 - 2 * one)
        for part in blocks(np.ceil(cells).astype(np.int64) + fixed, _CELLS_TOGETHER):
            yield one, some[part]
