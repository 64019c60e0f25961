"""Regions on a sphere: what is wrong with them, and what is made of them. Nothing here gives a region that is not valid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky._planes import GRID, Planes, cleaned, judged
from hven.model.sky._ragged import ends, gathered, owners
from hven.model.sky._region_columns import Columns
from hven.model.sky._sphere import angles, arc_gap, vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

_PAIRS = 1 << 20  # vertices and edges that are compared at a time


@dataclass(frozen=True, slots=True, eq=False)
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
            work = ends(np.diff(starts)[row])
            start = 0
            while start < len(row):
                stop = max(int(np.searchsorted(work, work[start] + _PAIRS, side="right")) - 1, start + 1)
                edge, offsets = gathered(starts, row[start:stop])
                vertex = start + owners(offsets)
                gap = arc_gap(xyz[vertex], edges.a[edge], edges.b[edge], edges.normal[edge], edges.real[edge])
                np.minimum.at(found, row[vertex], gap)
                start = stop
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
        import shapely  # noqa: PLC0415  (for who computes with regions)

        total, row = np.zeros((len(self), 3)), self.vertex_rows
        edges = self.outlines if len(row) else None
        if edges is not None:  # by Stokes: half the sum of arc length times unit normal
            arc = 2.0 * np.arcsin(np.minimum(np.linalg.norm(edges.b - edges.a, axis=1) / 2.0, 1.0))
            for axis in range(3):
                total[:, axis] = np.bincount(row, edges.normal[:, axis] * arc, minlength=len(self))
        none = np.linalg.norm(total, axis=1) < 1e-13
        lon, lat = angles(np.where(none[:, None], [1.0, 0.0, 0.0], total))
        lon[none], lat[none] = np.nan, np.nan
        small = np.flatnonzero(
            (self.area() < 1e-6) & (np.diff(self.rows) > 0)
        )  # the sum has cancelled away; a plane does better
        if len(small):
            planes = Planes([self.take(small)])
            xy = shapely.get_coordinates(shapely.centroid(planes.shapes(0)))
            lon[small], lat[small] = planes.unproject(xy, np.arange(len(small)))
        return lon, lat
