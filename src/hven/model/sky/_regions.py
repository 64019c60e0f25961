"""Regions on a sphere: what is wrong with them, and what is made of them.

Nothing here gives a region that is not valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._healpix_covers import Covers
from hven.model.sky._moc import Moc
from hven.model.sky._projection_planes import GRID_SIZE_RADIANS, ProjectionPlanes, clean_regions, find_region_faults
from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    gather_rows,
    split_into_blocks,
)
from hven.model.sky._region_columns import RegionColumn
from hven.model.sky._sphere import (
    SKY_AREA_SQUARE_DEGREES,
    compute_arc_distances,
    dot_vectors,
    to_lon_lat,
    to_unit_vectors,
)
from hven.model.sky._thread_pool import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

_MAX_MOC_CORNERS = 4_000_000  # of a MOC's cells
_CELLS_TOGETHER = 1 << 15  # along edges, about: what is computed of them stays in a processor's cache
_ROWS_TOGETHER = 1000  # with fewer cells than that allows


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regions(RegionColumn):
    """N regions.

    Attributes
    ----------
    lon, lat
        The vertices of all rings one after the other, degrees; shape (v,). A ring is not closed: its last vertex is not
        its first.
    rings
        Where in the vertices each ring begins, and the end; shape (r + 1,).
    parts
        Where in the rings each part begins, and the end; shape (p + 1,). The first ring of a part is its shell, the
        others are its holes; the part lies to the left of each. A part without rings is the whole sphere.
    rows
        Where in the parts each row begins, and the end; shape (n + 1,). A row without parts is an empty region.
    """

    def find_faults(self) -> list[str]:
        """Tell what is wrong with each region.

        Returns
        -------
        reasons
            For each row; empty if nothing is, as of an empty region. Parts that overlap and rings that cross are wrong.
        """
        return find_region_faults(self, with_details=True)

    def is_valid(self) -> Flags:
        """Return which regions are valid (see `find_faults`).

        Returns
        -------
        valid
            Shape (n,).
        """
        return np.array([not reason for reason in find_region_faults(self, with_details=False)], np.bool_)

    def is_self_crossing(self) -> Flags:
        """Return which regions are not valid, corners that come twice in a row aside.

        They cross themselves, or lack area.

        Returns
        -------
        wrong
            Shape (n,).
        """
        is_invalid = ~self.is_valid()
        invalid_regions = self.take(np.flatnonzero(is_invalid))
        cleaned_regions = clean_regions(invalid_regions)
        is_invalid[is_invalid] = ~cleaned_regions.is_valid() | (
            cleaned_regions.ring_counts != invalid_regions.ring_counts
        )
        return is_invalid

    def make_valid(self) -> Regions:
        """Make all regions valid: parts that overlap become one, rings that cross themselves are cut into simple ones.

        A figure eight becomes two parts. What a ring that crosses itself winds around is inside (around a hole:
        outside), whichever way it runs; the left of any other is. Lines and points go, so that a region may be empty
        then; so do rings of what is no position.

        Returns
        -------
        regions
            Rows that were valid are as they were. Crossings are rounded to 1e-6 arcsec, in regions wider than 130
            degrees to 2e-3.
        """
        wrong = np.flatnonzero(~self.is_valid())
        if not len(wrong):
            return self
        planes = ProjectionPlanes([clean_regions(self.take(wrong))])
        return self.replace_rows(wrong, planes.to_regions(planes.merge_inside_faces()))

    def union(self, other_regions: Regions) -> Regions:
        """Unite with the regions of another column, row by row; as `make_valid`, what comes is valid.

        Parameters
        ----------
        other_regions
            As many regions, or one for all rows.

        Returns
        -------
        regions
            Shape (n,).
        """
        return self._combine(other_regions, "union")

    def intersection(self, other_regions: Regions) -> Regions:
        """Intersect with the regions of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or one for all rows.

        Returns
        -------
        regions
            Shape (n,); empty where they have no area in common.
        """
        return self._combine(other_regions, "intersection")

    def difference(self, other_regions: Regions) -> Regions:
        """Take the regions of another column away, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or one for all rows.

        Returns
        -------
        regions
            Shape (n,).
        """
        return self._combine(other_regions, "difference")

    def _combine(self, other_regions: Regions, operation: str) -> Regions:
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = self._project_together(other_regions)
        return planes.to_regions(
            getattr(shapely, operation)(planes.to_shapes(0), planes.to_shapes(1), grid_size=GRID_SIZE_RADIANS)
        )

    def _project_together(self, other_regions: Regions) -> ProjectionPlanes[Regions]:
        if len(other_regions) == 1 != len(self):
            other_regions = other_regions.take(np.zeros(len(self), np.int64))
        return ProjectionPlanes([self.make_valid(), other_regions.make_valid()])

    def simplify(self, tolerance_degrees: float) -> Regions:
        """Leave out vertices without which the boundary stays where it is, about.

        Parameters
        ----------
        tolerance_degrees
            How far it may move, degrees.

        Returns
        -------
        regions
            Valid ones. What is wider than 130 degrees stays as it is.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        valid_regions = self.make_valid()
        rows = np.flatnonzero(~ProjectionPlanes([valid_regions]).is_stereographic)
        planes = ProjectionPlanes([valid_regions.take(rows)])  # on which all is at least as large as on the sphere
        return valid_regions.replace_rows(
            rows, planes.to_regions(shapely.simplify(planes.to_shapes(0), np.radians(tolerance_degrees))).make_valid()
        )

    def compute_convex_hulls(self) -> Regions:
        """Compute the convex hulls; that of what no hemisphere holds is the whole sphere.

        Returns
        -------
        regions
            Of one part each; an empty one of an empty one.
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = ProjectionPlanes([self], 89.5)
        shapes = shapely.convex_hull(planes.to_shapes(0))
        hulls = planes.to_regions(shapes)
        frame = shapely.bounds(shapes)[:, 0] <= -planes.frame_half_width
        whole_sphere_rows = np.flatnonzero((planes.is_stereographic | frame) & (np.diff(self.rows) > 0))
        return hulls.replace_rows(
            whole_sphere_rows, Regions.from_lists([[[]]]).take(np.zeros(len(whole_sphere_rows), np.int64))
        )

    def intersects(self, other_regions: Regions) -> Flags:
        """Return which regions touch those of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or one for all rows.

        Returns
        -------
        touch
            Shape (n,).
        """
        import shapely  # noqa: PLC0415  (for who computes with regions)

        planes = self._project_together(other_regions)
        return np.asarray(shapely.intersects(planes.to_shapes(0), planes.to_shapes(1)))

    def is_within(self, other_regions: Regions) -> Flags:
        """Return which regions lie within those of another column, row by row; they may share borders.

        Parameters
        ----------
        other_regions
            As many regions, or one for all rows.

        Returns
        -------
        inside
            Shape (n,); empty regions lie in all. What is out by 1e-11 radians (two micro-arcseconds) along the border
            is rounding.
        """
        areas = self.difference(other_regions).compute_areas()
        inside: Flags = areas <= 1e-11 * np.radians(self.compute_border_lengths())
        return inside

    def is_thin(self) -> Flags:
        """Return which regions have less area than rounding along their borders, shape (n,)."""
        return self.compute_areas() <= 1e-11 * np.radians(self.compute_border_lengths())

    def compute_distances(self, other_regions: Regions) -> Numbers:
        """Compute how far regions are from those of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or one for all rows.

        Returns
        -------
        distances
            Degrees, shape (n,); 0 where they touch, NaN where one is empty.
        """
        if len(other_regions) == 1 != len(self):
            other_regions = other_regions.take(np.zeros(len(self), np.int64))
        distances = np.full(len(self), np.inf)
        for a, b in ((self, other_regions), (other_regions, self)):
            if not len(a.lon) or not len(b.lon):
                continue
            edges = b.outlines
            starts = b.rings[b.parts[b.rows]]
            row = a.vertex_rows
            xyz = to_unit_vectors(a.lon, a.lat)
            for block in split_into_blocks(np.diff(starts)[row]):
                edge, offsets = gather_rows(starts, row[block])
                vertex = block.start + compute_row_indexes(offsets)
                gap = compute_arc_distances(xyz[vertex], edges.a[edge], edges.b[edge], edges.normal[edge])
                np.minimum.at(distances, row[vertex], gap)
        distances[self.intersects(other_regions)] = 0.0
        distances[~np.isfinite(distances)] = np.nan
        return distances

    def compute_centroids(self) -> tuple[Numbers, Numbers]:
        """Compute the middles: the direction of the mean position of what is inside.

        Returns
        -------
        lon, lat
            Degrees, shape (n,); NaN for an empty region, and for the whole sphere.
        """
        moments = self.outlines.moments
        row = compute_row_indexes(self.parts[self.rows])
        sizes = np.sqrt(dot_vectors(moments, moments))
        x, y, z, size = (np.bincount(row, component, minlength=len(self)) for component in (*moments.T, sizes))
        total: Numbers = np.stack([x, y, z], 1)
        is_undefined = np.sqrt(dot_vectors(total, total)) <= 1e-13 * size
        lon, lat = to_lon_lat(np.where(is_undefined[:, None], [1.0, 0.0, 0.0], total))
        return np.where(is_undefined, np.nan, lon), np.where(is_undefined, np.nan, lat)

    # from and to other shapes ---------------------------------------------------------------------------------------

    @classmethod
    def from_circles(
        cls, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike, tolerance_degrees: float | None = None
    ) -> Regions:
        """Make polygons of circles, their corners on the circle.

        Parameters
        ----------
        lon, lat, radius
            Degrees, shape (n,); a radius up to 180, which is the whole sphere. None or 0 is an empty region.
        tolerance_degrees
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
            *(np.atleast_1d(np.asarray(values, np.float64)) for values in (lon, lat, radius))
        )
        if (np.abs(lat) > 90.0).any():
            message = f"a latitude is beyond 90 degrees: {lat[np.abs(lat) > 90.0][0]:g}"
            raise ValueError(message)
        arc = np.radians(size)
        is_circle = (size > 0.0) & (size < 180.0)
        is_whole_sphere = size >= 180.0
        if tolerance_degrees:
            tolerance_radians = np.full(len(arc), np.radians(tolerance_degrees))
        else:
            tolerance_radians = np.minimum(arc, np.pi - arc) / 1000.0
        bend = np.abs(np.sin(arc) * np.cos(arc)) / 2.0
        corners = np.where(
            is_circle, np.ceil(np.pi / np.sqrt(np.maximum(tolerance_radians, 1e-15) / np.maximum(bend, 1e-15))), 0.0
        )
        corners = np.where(is_circle, np.clip(corners, 8, 100_000), 0).astype(np.int64)
        rings, (row, number) = compute_offsets(corners), compute_element_numbers(corners)
        turn = 2.0 * np.pi * number / corners[row]
        # around the pole, then its meridian down to the middle
        x = np.sin(arc)[row] * np.cos(turn)
        y = np.sin(arc)[row] * np.sin(turn)
        z = np.cos(arc)[row]
        tilt = np.radians(90.0 - lat)[row]
        xyz = np.stack([x * np.cos(tilt) + z * np.sin(tilt), y, z * np.cos(tilt) - x * np.sin(tilt)], 1)
        found_lon, found_lat = to_lon_lat(xyz)
        parts = np.append(0, np.cumsum(is_circle)[is_circle | is_whole_sphere])
        return cls(
            (found_lon + lon[row]) % 360.0,
            found_lat,
            rings[np.append(True, is_circle)],
            parts,
            compute_offsets(is_circle | is_whole_sphere),
        )

    @classmethod
    def from_ranges(
        cls,
        lon1: npt.ArrayLike,
        lon2: npt.ArrayLike,
        lat1: npt.ArrayLike,
        lat2: npt.ArrayLike,
        tolerance_degrees: float = 1e-4,
    ) -> Regions:
        """Make polygons of ranges of longitude and latitude, with corners along their parallels.

        Parameters
        ----------
        lon1, lon2, lat1, lat2
            Degrees, shape (n,): eastward from `lon1` to `lon2`, over 0 if need be, all around from 360 degrees on; to
            the north from `lat1` to `lat2`. Without area it is an empty region.
        tolerance_degrees
            How far an edge may be from its parallel, degrees.

        Returns
        -------
        regions
            N of them.
        """
        west, east, low, high = np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(values, np.float64)) for values in (lon1, lon2, lat1, lat2))
        )
        around = east - west >= 360.0 - 1e-9
        width = np.where(around, 360.0, (east - west) % 360.0)
        has_area = (width > 0.0) & (high > low)
        # sides of each: the southern eastward, the eastern, the northern westward, the western
        lat = np.stack([low, 0.0 * low, high, 0.0 * low], 1).ravel()
        bend = np.abs(np.sin(np.radians(lat)) * np.cos(np.radians(lat)))
        step = np.minimum(np.degrees(2.0 * np.sqrt(2.0 * np.radians(tolerance_degrees) / np.maximum(bend, 1e-9))), 60.0)
        side = np.repeat(width, 4)
        full = np.repeat(around, 4)
        number = np.arange(len(lat)) % 4
        count = np.where(np.abs(lat) >= 90.0 - 1e-12, ~full, np.ceil(side / step).astype(np.int64) + ~full)
        # a meridian from pole to pole has a corner, for an edge is shorter than that
        count[number % 2 == 1] = np.repeat((high - low >= 180.0 - 1e-9) & ~around, 2)
        count = count * np.repeat(has_area, 4)
        side_number, place = compute_element_numbers(count)
        share = place / np.maximum(count - ~full, 1)[side_number]
        share = np.choose(number[side_number], [share, 1.0, 1.0 - share, 0.0])
        lon = np.repeat(west, 4)[side_number] + share * side[side_number]
        size = count.reshape(-1, 4)
        rings = np.stack([size[:, 0] + size[:, 1], size[:, 2] + size[:, 3]], 1)
        rings = np.where(around[:, None], rings, np.stack([size.sum(axis=1), np.zeros(len(size), np.int64)], 1))
        parts = (rings > 0).sum(axis=1)
        offsets = compute_offsets(rings[rings > 0])
        return cls(
            lon % 360.0,
            lat[side_number],
            offsets,
            compute_offsets(parts[has_area]),
            compute_offsets(has_area),
        )

    @classmethod
    def from_mocs(cls, mocs: Sequence[Moc]) -> Regions:
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

        cells = cls.concat([cls._from_moc_cells(moc) for moc in mocs])
        is_full_sky = np.array([moc.fraction == 1.0 for moc in mocs], np.bool_)
        planes = ProjectionPlanes([cells])
        outlines = planes.to_regions(
            shapely.unary_union(planes.to_shapes(0)[:, None], axis=1, grid_size=GRID_SIZE_RADIANS)
        )
        full_sky_rows = np.flatnonzero(is_full_sky)
        return outlines.replace_rows(full_sky_rows, cls.from_lists([[[]]]).take(np.zeros(len(full_sky_rows), np.int64)))

    @classmethod
    def _from_moc_cells(cls, moc: Moc) -> Regions:
        """Make one row of the cells of a MOC."""
        cell_regions = [cls.create_empty(1)]
        cells_by_order = healpix.split_by_order(moc.ranges if moc.fraction < 1.0 else moc.ranges[:0])
        corner_count = sum(len(cells) * 4 << (moc.order - order) for order, cells in cells_by_order)
        if corner_count > _MAX_MOC_CORNERS:
            lower_order = moc.order - int(np.ceil(np.log2(corner_count / _MAX_MOC_CORNERS)))
            message = (
                f"the outline of a MOC of order {moc.order} would have {corner_count:,} corners: degrade it to "
                f"order {max(lower_order, 0)}"
            )
            raise ValueError(message)
        for order, cells in cells_by_order:
            lon, lat = healpix.compute_cell_vertices(order, cells, 1 << (moc.order - order))
            starts = np.arange(len(cells) + 1)
            cell_regions.append(cls(lon.ravel(), lat.ravel(), starts * lon.shape[1], starts, starts))
        row = cls.concat(cell_regions)
        return row.group_rows(np.array([0, len(row)]))

    def to_mocs(self, max_added_share: float = 0.01, boundary_cell_limit: int = 10_000) -> tuple[list[Moc], Numbers]:
        """Cover regions by HEALPix cells, of the coarsest order at which the area is right.

        Parameters
        ----------
        max_added_share
            What may be added to the area, as a share of it.
        boundary_cell_limit
            How many of the smallest cells a boundary may have, about; more of them are not made for the sake of
            `max_added_share`.

        Returns
        -------
        mocs
            One for each row, of the cells that the region touches (of those that an edge alone cuts off a corner of,
            one or another may lack).
        added
            What each has more than the region, as a share of its area; shape (n,), infinite without area.
        """
        area = np.degrees(np.degrees(self.compute_areas()))
        row = self.vertex_rows
        xyz = to_unit_vectors(self.lon, self.lat)
        arc = np.degrees(np.linalg.norm(xyz[self.successors] - xyz, axis=1))
        rim: Numbers = np.bincount(row, arc, minlength=len(self)).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            # cells along the rim add nearly as much as a strip of three quarters of their width
            first = np.log2(np.nan_to_num(58.6 * 0.75 * rim / (max_added_share * area), posinf=2.0**29))
            last = np.log2(np.nan_to_num(58.6 * boundary_cell_limit / rim, posinf=2.0**29))

        max_order = np.clip(np.floor(last), 0, healpix.MAX_ORDER).astype(np.int64)
        order = np.clip(np.ceil(first), 0, max_order).astype(np.int64)
        covers = [Moc(healpix.EMPTY_RANGES, 0)] * len(self)
        added = np.full(len(self), np.inf)
        rows = np.arange(len(self))
        while len(rows):
            pieces = list(_group_rows_by_order(rows, order, rim))
            for part_rows, covered, share in map_in_threads(lambda piece: self._cover_rows(*piece, area), pieces):
                added[part_rows] = share
                for row, moc in zip(part_rows.tolist(), covered, strict=True):
                    covers[row] = moc
            rows = rows[(added[rows] > max_added_share) & (order[rows] < max_order[rows]) & (rim[rows] > 0.0)]
            order[rows] += 1
        return covers, added

    def _cover_rows(self, order: int, rows: Indexes, area: Numbers) -> tuple[Indexes, list[Moc], Numbers]:
        """Cover rows by cells of one order; what each has more than its area, as a share."""
        ranges, offsets = Covers(self.take(rows)).compute_ranges(order)
        mocs = [Moc(ranges[begin:end], order) for begin, end in pairwise(offsets.tolist())]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.array([moc.fraction for moc in mocs]) * SKY_AREA_SQUARE_DEGREES / area[rows] - 1.0
        share[area[rows] <= 0.0] = np.inf
        return rows, mocs, share


def _group_rows_by_order(rows: Indexes, order: Indexes, rim: Numbers) -> Iterator[tuple[int, Indexes]]:
    """Yield orders and those rows that are covered together; `rim` is the length of the edges of each, degrees."""
    for cell_order in np.unique(order[rows]).tolist():
        order_rows = rows[order[rows] == cell_order]
        cells = np.minimum(rim[order_rows] * 2.0**cell_order / 40.0, _CELLS_TOGETHER)
        fixed = _CELLS_TOGETHER // min(_ROWS_TOGETHER, 1 << 59 - 2 * cell_order)
        for part in split_into_blocks(np.ceil(cells).astype(np.int64) + fixed, _CELLS_TOGETHER):
            yield cell_order, order_rows[part]
