"""Validate regions on a sphere, and compute other regions from them.

All regions that these functions return are valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import _healpix as healpix
from hven.model.sky._healpix_covers import RegionCoverBuilder
from hven.model.sky._moc import Moc
from hven.model.sky._projection_planes import (
    GRID_SIZE_RADIANS,
    ProjectionPlanes,
    find_region_faults,
    remove_invalid_rings,
)
from hven.model.sky._ragged_arrays import (
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    gather_element_indexes,
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

_MAX_MOC_CORNERS = 4_000_000  # corners of a MOC's cells
_CELLS_TOGETHER = 1 << 15  # approximate cells along edges: their arrays fit into a processor's cache
_ROWS_TOGETHER = 1000  # rows whose cells are fewer than that


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Regions(RegionColumn):
    """Hold n regions.

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
        """Find the faults of each region.

        Returns
        -------
        reasons
            The fault of each row; an empty text for a valid or empty region. Overlapping parts and crossing rings are
            faults.
        """
        return find_region_faults(self, with_details=True)

    def is_valid(self) -> Flags:
        """Return which regions are valid (see `find_faults`).

        Returns
        -------
        valid
            Shape (n,).
        """
        reasons = find_region_faults(self, with_details=False)
        return np.array([not reason for reason in reasons], np.bool_)

    def is_self_crossing(self) -> Flags:
        """Return which regions cross themselves or lack area.

        Vertices that come twice in a row do not count as faults.

        Returns
        -------
        wrong
            Shape (n,).
        """
        is_invalid = ~self.is_valid()
        invalid_regions = self.take(np.flatnonzero(is_invalid))
        cleaned_regions = remove_invalid_rings(invalid_regions)
        keeps_rings = cleaned_regions.ring_counts == invalid_regions.ring_counts
        is_invalid[is_invalid] = ~cleaned_regions.is_valid() | ~keeps_rings
        return is_invalid

    def make_valid(self) -> Regions:
        """Make all regions valid: unite overlapping parts, and cut rings that cross themselves into simple rings.

        A figure eight becomes two parts. The inside of a ring that crosses itself is what it winds round (for a hole:
        everything else), in either direction; the inside of any other ring is its left. Lines and points are removed,
        so a region may become empty; so are rings with vertices that are not positions.

        Returns
        -------
        regions
            Rows that were valid are unchanged. Crossings are rounded to 1e-6 arcsec, in regions wider than 130 degrees
            to 2e-3 arcsec.
        """
        wrong = np.flatnonzero(~self.is_valid())
        if not len(wrong):
            return self
        planes = ProjectionPlanes([remove_invalid_rings(self.take(wrong))])
        shapes = planes.merge_interior_faces()
        return self.replace_rows(wrong, planes.to_regions(shapes))

    def union(self, other_regions: Regions) -> Regions:
        """Unite with the regions of another column, row by row; the results are valid, as those of `make_valid`.

        Parameters
        ----------
        other_regions
            As many regions, or a single region for all rows.

        Returns
        -------
        regions
            Shape (n,).
        """
        return self._apply_set_operation(other_regions, "union")

    def intersection(self, other_regions: Regions) -> Regions:
        """Intersect with the regions of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or a single region for all rows.

        Returns
        -------
        regions
            Shape (n,); empty where they have no area in common.
        """
        return self._apply_set_operation(other_regions, "intersection")

    def difference(self, other_regions: Regions) -> Regions:
        """Subtract the regions of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or a single region for all rows.

        Returns
        -------
        regions
            Shape (n,).
        """
        return self._apply_set_operation(other_regions, "difference")

    def _apply_set_operation(self, other_regions: Regions, operation: str) -> Regions:
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        planes = self._project_with_other_regions(other_regions)
        combine_shapes = getattr(shapely, operation)
        shapes = combine_shapes(planes.to_plane_polygons(0), planes.to_plane_polygons(1), grid_size=GRID_SIZE_RADIANS)
        return planes.to_regions(shapes)

    def _project_with_other_regions(self, other_regions: Regions) -> ProjectionPlanes[Regions]:
        if len(other_regions) == 1 != len(self):
            other_regions = other_regions.take(np.zeros(len(self), np.int64))
        return ProjectionPlanes([self.make_valid(), other_regions.make_valid()])

    def simplify(self, tolerance_degrees: float) -> Regions:
        """Remove vertices without moving the boundary farther than a tolerance.

        Parameters
        ----------
        tolerance_degrees
            How far the boundary may move, approximately, degrees.

        Returns
        -------
        regions
            Valid regions. Regions wider than 130 degrees are unchanged.
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        valid_regions = self.make_valid()
        rows = np.flatnonzero(~ProjectionPlanes([valid_regions]).is_stereographic)
        planes = ProjectionPlanes([valid_regions.take(rows)])  # on the plane, lengths are at least those on the sphere
        shapes = shapely.simplify(planes.to_plane_polygons(0), np.radians(tolerance_degrees))
        simplified = planes.to_regions(shapes).make_valid()
        return valid_regions.replace_rows(rows, simplified)

    def compute_convex_hulls(self) -> Regions:
        """Compute the convex hulls; a region that no hemisphere contains has the whole sphere as its hull.

        Returns
        -------
        regions
            Regions of one part each; empty regions have empty hulls.
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        planes = ProjectionPlanes([self], 89.5)
        shapes = shapely.convex_hull(planes.to_plane_polygons(0))
        hulls = planes.to_regions(shapes)
        reaches_frame = shapely.bounds(shapes)[:, 0] <= -planes.frame_half_width
        has_parts = np.diff(self.rows) > 0
        needs_sphere = (planes.is_stereographic | reaches_frame) & has_parts
        return hulls._replace_rows_by_whole_sphere(np.flatnonzero(needs_sphere))  # noqa: SLF001  (of this class)

    def _replace_rows_by_whole_sphere(self, rows: Indexes) -> Regions:
        whole_sphere = Regions.from_lists([[[]]])
        return self.replace_rows(rows, whole_sphere.take(np.zeros(len(rows), np.int64)))

    def intersects(self, other_regions: Regions) -> Flags:
        """Return which regions touch those of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or a single region for all rows.

        Returns
        -------
        touch
            Shape (n,).
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        planes = self._project_with_other_regions(other_regions)
        return np.asarray(shapely.intersects(planes.to_plane_polygons(0), planes.to_plane_polygons(1)))

    def is_within(self, other_regions: Regions) -> Flags:
        """Return which regions lie within those of another column, row by row; they may share borders.

        Parameters
        ----------
        other_regions
            As many regions, or a single region for all rows.

        Returns
        -------
        inside
            Shape (n,); empty regions lie in all others. An excess of 1e-11 radians (two micro-arcseconds) along the
            border counts as rounding.
        """
        areas = self.difference(other_regions).compute_areas()
        border_lengths = np.radians(self.compute_border_lengths())
        inside: Flags = areas <= 1e-11 * border_lengths
        return inside

    def is_thin(self) -> Flags:
        """Return which regions have less area than rounding along their borders, shape (n,)."""
        border_lengths = np.radians(self.compute_border_lengths())
        return self.compute_areas() <= 1e-11 * border_lengths

    def compute_distances(self, other_regions: Regions) -> Numbers:
        """Compute the distances of regions to those of another column, row by row.

        Parameters
        ----------
        other_regions
            As many regions, or a single region for all rows.

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
            edges = b.prepared_rings
            starts = b.rings[b.parts[b.rows]]
            row = a.vertex_rows
            xyz = to_unit_vectors(a.lon, a.lat)
            for block in split_into_blocks(np.diff(starts)[row]):
                edge, offsets = gather_element_indexes(starts, row[block])
                vertex = block.start + compute_row_indexes(offsets)
                gap = compute_arc_distances(
                    xyz[vertex], edges.edge_begin_vectors[edge], edges.edge_end_vectors[edge], edges.edge_normals[edge]
                )
                np.minimum.at(distances, row[vertex], gap)
        distances[self.intersects(other_regions)] = 0.0
        distances[~np.isfinite(distances)] = np.nan
        return distances

    def compute_centroids(self) -> tuple[Numbers, Numbers]:
        """Compute the centroids: the direction of the mean position inside.

        Returns
        -------
        lon, lat
            Degrees, shape (n,); NaN for an empty region and for the whole sphere.
        """
        moments = self.prepared_rings.moments
        row = compute_row_indexes(self.parts[self.rows])
        sizes = np.sqrt(dot_vectors(moments, moments))
        x, y, z, size = (np.bincount(row, component, minlength=len(self)) for component in (*moments.T, sizes))
        total: Numbers = np.stack([x, y, z], 1)
        total_length = np.sqrt(dot_vectors(total, total))
        is_undefined = total_length <= 1e-13 * size
        directions = np.where(is_undefined[:, None], [1.0, 0.0, 0.0], total)
        lon, lat = to_lon_lat(directions)
        return np.where(is_undefined, np.nan, lon), np.where(is_undefined, np.nan, lat)

    # from and to other shapes ---------------------------------------------------------------------------------------

    @classmethod
    def from_circles(
        cls, lon: npt.ArrayLike, lat: npt.ArrayLike, radius: npt.ArrayLike, tolerance_degrees: float | None = None
    ) -> Regions:
        """Make polygons of circles, with their corners on the circle.

        Parameters
        ----------
        lon, lat, radius
            Degrees, shape (n,). A radius of 180 is the whole sphere; a negative radius or 0 is an empty region.
        tolerance_degrees
            The largest distance of an edge from the circle, degrees; None: a thousandth of the radius.

        Returns
        -------
        regions
            N regions.

        Raises
        ------
        ValueError
            A latitude is beyond 90 degrees.
        """
        lon, lat, size = _broadcast_floats(lon, lat, radius)
        is_beyond_pole = np.abs(lat) > 90.0
        if is_beyond_pole.any():
            message = f"a latitude is beyond 90 degrees: {lat[is_beyond_pole][0]:g}"
            raise ValueError(message)
        arc = np.radians(size)
        is_circle = (size > 0.0) & (size < 180.0)
        is_whole_sphere = size >= 180.0
        if tolerance_degrees:
            tolerance_radians = np.full(len(arc), np.radians(tolerance_degrees))
        else:
            tolerance_radians = np.minimum(arc, np.pi - arc) / 1000.0
        bend = np.abs(np.sin(arc) * np.cos(arc)) / 2.0
        step = np.sqrt(np.maximum(tolerance_radians, 1e-15) / np.maximum(bend, 1e-15))
        corners = np.where(is_circle, np.ceil(np.pi / step), 0.0)
        corners = np.where(is_circle, np.clip(corners, 8, 100_000), 0).astype(np.int64)
        rings = compute_offsets(corners)
        row, number = compute_element_numbers(corners)
        turn = 2.0 * np.pi * number / corners[row]
        # circles around the pole, turned along the meridian to their centres
        x = np.sin(arc)[row] * np.cos(turn)
        y = np.sin(arc)[row] * np.sin(turn)
        z = np.cos(arc)[row]
        tilt = np.radians(90.0 - lat)[row]
        tilted_x = x * np.cos(tilt) + z * np.sin(tilt)
        tilted_z = z * np.cos(tilt) - x * np.sin(tilt)
        corner_lon, corner_lat = to_lon_lat(np.stack([tilted_x, y, tilted_z], 1))
        is_region = is_circle | is_whole_sphere
        parts = np.append(0, np.cumsum(is_circle)[is_region])
        ring_offsets = rings[np.append(True, is_circle)]
        return cls((corner_lon + lon[row]) % 360.0, corner_lat, ring_offsets, parts, compute_offsets(is_region))

    @classmethod
    def from_ranges(
        cls,
        lon1: npt.ArrayLike,
        lon2: npt.ArrayLike,
        lat1: npt.ArrayLike,
        lat2: npt.ArrayLike,
        *,
        tolerance_degrees: float = 1e-4,
    ) -> Regions:
        """Make polygons of ranges of longitude and latitude, with corners along their parallels.

        Parameters
        ----------
        lon1, lon2, lat1, lat2
            Degrees, shape (n,): eastward from `lon1` to `lon2`, over 0 if necessary, all around from 360 degrees on; to
            the north from `lat1` to `lat2`. A range without area is an empty region.
        tolerance_degrees
            The largest distance of an edge from its parallel, degrees.

        Returns
        -------
        regions
            N regions.
        """
        west, east, low, high = _broadcast_floats(lon1, lon2, lat1, lat2)
        around = east - west >= 360.0 - 1e-9
        width = np.where(around, 360.0, (east - west) % 360.0)
        has_area = (width > 0.0) & (high > low)
        # four sides of each range: the southern eastward, the eastern, the northern westward, the western
        lat = np.stack([low, 0.0 * low, high, 0.0 * low], 1).ravel()
        lat_radians = np.radians(lat)
        bend = np.abs(np.sin(lat_radians) * np.cos(lat_radians))
        half_step = np.sqrt(2.0 * np.radians(tolerance_degrees) / np.maximum(bend, 1e-9))
        step = np.minimum(np.degrees(2.0 * half_step), 60.0)
        side = np.repeat(width, 4)
        full = np.repeat(around, 4)
        number = np.arange(len(lat)) % 4
        piece_count = np.ceil(side / step).astype(np.int64)
        is_at_pole = np.abs(lat) >= 90.0 - 1e-12
        count = np.where(is_at_pole, ~full, piece_count + ~full)
        # a meridian from pole to pole has a corner, because an edge is shorter than half a turn
        needs_corner = (high - low >= 180.0 - 1e-9) & ~around
        count[number % 2 == 1] = np.repeat(needs_corner, 2)
        count = count * np.repeat(has_area, 4)
        side_number, place = compute_element_numbers(count)
        last_place = np.maximum(count - ~full, 1)
        share = place / last_place[side_number]
        share = np.choose(number[side_number], [share, 1.0, 1.0 - share, 0.0])
        lon = np.repeat(west, 4)[side_number] + share * side[side_number]
        # a range all around has two rings, another one
        size = count.reshape(-1, 4)
        ring_pairs = np.stack([size[:, 0] + size[:, 1], size[:, 2] + size[:, 3]], 1)
        single_rings = np.stack([size.sum(axis=1), np.zeros(len(size), np.int64)], 1)
        ring_sizes = np.where(around[:, None], ring_pairs, single_rings)
        parts = (ring_sizes > 0).sum(axis=1)
        ring_offsets = compute_offsets(ring_sizes[ring_sizes > 0])
        part_offsets = compute_offsets(parts[has_area])
        return cls(lon % 360.0, lat[side_number], ring_offsets, part_offsets, compute_offsets(has_area))

    @classmethod
    def from_mocs(cls, mocs: Sequence[Moc]) -> Regions:
        """Make regions of the cells of MOCs, with the corners of their smallest cells along the whole boundary.

        Parameters
        ----------
        mocs
            A MOC for each row.

        Returns
        -------
        regions
            A region for each MOC.

        Raises
        ------
        ValueError
            The outline of a MOC would have millions of corners.
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        cells = cls.concat([cls._from_moc_cells(moc) for moc in mocs])
        is_full_sky = np.array([moc.fraction == 1.0 for moc in mocs], np.bool_)
        planes = ProjectionPlanes([cells])
        shapes = planes.to_plane_polygons(0)
        united_shapes = shapely.unary_union(shapes[:, None], axis=1, grid_size=GRID_SIZE_RADIANS)
        outlines = planes.to_regions(united_shapes)
        return outlines._replace_rows_by_whole_sphere(np.flatnonzero(is_full_sky))  # noqa: SLF001  (of this class)

    @classmethod
    def _from_moc_cells(cls, moc: Moc) -> Regions:
        """Make a single row of the cells of a MOC."""
        cell_regions = [cls.create_empty(1)]
        if moc.fraction < 1.0:
            ranges = moc.ranges
        else:
            ranges = moc.ranges[:0]
        cells_by_order = healpix.split_ranges_into_cells(ranges)
        corner_count = sum(len(cells) * 4 << (moc.order - order) for order, cells in cells_by_order)
        if corner_count > _MAX_MOC_CORNERS:
            excess = corner_count / _MAX_MOC_CORNERS
            lower_order = moc.order - int(np.ceil(np.log2(excess)))
            message = (
                f"the outline of a MOC of order {moc.order} would have {corner_count:,} corners: degrade the MOC to "
                f"order {max(lower_order, 0)}"
            )
            raise ValueError(message)
        for order, cells in cells_by_order:
            lon, lat = healpix.compute_cell_vertices(order, cells, 1 << (moc.order - order))
            starts = np.arange(len(cells) + 1)
            cell_regions.append(cls(lon.ravel(), lat.ravel(), starts * lon.shape[1], starts, starts))
        row = cls.concat(cell_regions)
        return row.merge_consecutive_rows(np.array([0, len(row)]))

    def to_mocs(self, max_added_share: float = 0.01, boundary_cell_limit: int = 10_000) -> tuple[list[Moc], Numbers]:
        """Cover regions by HEALPix cells of the coarsest order at which the area is right.

        Parameters
        ----------
        max_added_share
            The largest acceptable excess of the area, as a share of the area.
        boundary_cell_limit
            The approximate largest number of the smallest cells along a boundary; it takes precedence over
            `max_added_share`.

        Returns
        -------
        mocs
            A MOC for each row, of the cells that the region touches (a cell may be missing if an edge only cuts off its
            corner).
        added
            The excess of each MOC over the region, as a share of its area; shape (n,), infinite without area.
        """
        area = np.degrees(np.degrees(self.compute_areas()))
        row = self.vertex_rows
        xyz = to_unit_vectors(self.lon, self.lat)
        arc = np.degrees(np.linalg.norm(xyz[self.vertex_successors] - xyz, axis=1))
        rim: Numbers = np.bincount(row, arc, minlength=len(self)).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            # cells along the rim add nearly as much as a strip of three quarters of their width
            strip_ratio = 58.6 * 0.75 * rim / (max_added_share * area)
            first = np.log2(np.nan_to_num(strip_ratio, posinf=2.0**29))
            rim_ratio = 58.6 * boundary_cell_limit / rim
            last = np.log2(np.nan_to_num(rim_ratio, posinf=2.0**29))

        max_order = np.clip(np.floor(last), 0, healpix.MAX_ORDER).astype(np.int64)
        order = np.clip(np.ceil(first), 0, max_order).astype(np.int64)
        covers = [Moc(healpix.EMPTY_RANGES, 0)] * len(self)
        added = np.full(len(self), np.inf)
        rows = np.arange(len(self))
        while len(rows):
            pieces = list(_split_rows_by_cell_order(rows, order, rim))
            results = map_in_threads(lambda piece: self._cover_rows_with_cells(*piece, area), pieces)
            for part_rows, covered, share in results:
                added[part_rows] = share
                for row, moc in zip(part_rows.tolist(), covered, strict=True):
                    covers[row] = moc
            is_too_large = added[rows] > max_added_share
            can_be_finer = (order[rows] < max_order[rows]) & (rim[rows] > 0.0)
            rows = rows[is_too_large & can_be_finer]
            order[rows] += 1
        return covers, added

    def _cover_rows_with_cells(self, order: int, rows: Indexes, area: Numbers) -> tuple[Indexes, list[Moc], Numbers]:
        """Cover rows by cells of one order; also return the excess of each over its area, as a share."""
        ranges, offsets = RegionCoverBuilder(self.take(rows)).compute_ranges(order)
        mocs = [Moc(ranges[begin:end], order) for begin, end in pairwise(offsets.tolist())]
        with np.errstate(divide="ignore", invalid="ignore"):
            covered_areas = np.array([moc.fraction for moc in mocs]) * SKY_AREA_SQUARE_DEGREES
            share = covered_areas / area[rows] - 1.0
        share[area[rows] <= 0.0] = np.inf
        return rows, mocs, share


def _broadcast_floats(*arrays: npt.ArrayLike) -> tuple[Numbers, ...]:
    floats = [np.atleast_1d(np.asarray(values, np.float64)) for values in arrays]
    return tuple(np.broadcast_arrays(*floats))


def _split_rows_by_cell_order(rows: Indexes, order: Indexes, rim: Numbers) -> Iterator[tuple[int, Indexes]]:
    """Yield orders, and the rows to cover together; `rim` is the length of the edges of each row, degrees."""
    for cell_order in np.unique(order[rows]).tolist():
        order_rows = rows[order[rows] == cell_order]
        cell_estimate = rim[order_rows] * 2.0**cell_order / 40.0
        cells = np.minimum(cell_estimate, _CELLS_TOGETHER)
        rows_together = min(_ROWS_TOGETHER, 1 << 59 - 2 * cell_order)
        fixed = _CELLS_TOGETHER // rows_together
        edge_cells = np.ceil(cells).astype(np.int64)
        for part in split_into_blocks(edge_cells + fixed, _CELLS_TOGETHER):
            yield cell_order, order_rows[part]
