"""Make, select, measure and write columns of regions on a sphere, as flat arrays (GeoArrow's multipolygon).

Edges are great-circle arcs shorter than half a turn. Inside is to the left of a path along a ring on the outside of the
sphere: shells run anticlockwise as on a map of a body, holes clockwise. A polygon may contain more than half the
sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from hven.model.sky._geos import build_multipolygons, extract_ragged_polygon_arrays
from hven.model.sky._ragged_arrays import (
    compute_closed_ring_indexes,
    compute_element_numbers,
    compute_offsets,
    compute_reversed_indexes,
    compute_row_indexes,
    compute_successor_indexes,
    find_largest_circle_gaps,
    gather_element_indexes,
    split_into_blocks,
    take_successor_values,
)
from hven.model.sky._rings import PolygonRings
from hven.model.sky._sphere import (
    RADIANS_PER_DEGREE,
    SKY_AREA_SQUARE_DEGREES,
    compute_arc_normals,
    compute_cos_sin,
    find_latitude_extremes,
    interpolate_along_arcs,
    measure_angles,
    to_lon_lat,
    to_unit_vectors,
    wrap_longitudes,
)
from hven.model.sky._thread_pool import map_in_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

_FIELD_NAMES = ("lon", "lat", "rings", "parts", "rows")
ARC_RISE_DEGREES = np.degrees(0.5 * np.radians(1.0) ** 2)  # see `_compute_small_boxes`
_BLOCK_VERTICES = 1 << 15  # vertices at a time: their arrays fit into a processor's cache
MAX_SMALL_EDGE_DEGREES = 20.0  # longest edge of a region that `_compute_small_boxes` takes
MAX_SMALL_LATITUDE_DEGREES = 80.0  # highest absolute latitude of such a region
_COORDINATE_FIELDS = [pa.field(name, pa.float64(), nullable=False) for name in ("x", "y")]
_POINT_TYPE = pa.struct(_COORDINATE_FIELDS)


@dataclass(frozen=True, slots=True, eq=False)
class RegionColumn:
    """Hold n regions, without the operations that make other regions of them: see `hven.model.sky.Regions`.

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

    lon: Numbers
    lat: Numbers
    rings: Indexes
    parts: Indexes
    rows: Indexes

    def __post_init__(self) -> None:
        """Convert the arrays to their types, and check the offsets."""
        for name in ("lon", "lat"):
            coordinates = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, coordinates)
        end_offsets = {"rings": len(self.lon), "parts": len(self.rings) - 1, "rows": len(self.parts) - 1}
        for name, end_offset in end_offsets.items():
            offsets = np.ascontiguousarray(getattr(self, name), dtype=np.int64)
            object.__setattr__(self, name, offsets)
            has_ends = len(offsets) > 0 and offsets[0] == 0 and offsets[-1] == end_offset
            if not has_ends or (np.diff(offsets) < 0).any():
                message = f"{name}: offsets must rise from 0 to {end_offset}"
                raise ValueError(message)
        if (np.diff(self.rings) == 0).any():
            message = "a ring needs vertices"
            raise ValueError(message)

    def __repr__(self) -> str:
        """Show counts of rows, parts and corners, because the numbers themselves fill pages."""
        part_count = len(self.parts) - 1
        counts = f"{len(self):,} rows, {part_count:,} parts, {len(self.lon):,} corners"
        return f"<{type(self).__name__}: {counts}>"

    @classmethod
    def from_lists(cls, rows: Iterable[Iterable[Iterable[Sequence[Sequence[float]]]]]) -> Self:
        """Make regions from nested lists: rows of parts of rings of (longitude, latitude), degrees.

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
            The lists are nested in another way.
        """
        vertices: list[Sequence[float]] = []
        rings = [0]
        parts = [0]
        offsets = [0]
        try:
            for row in rows:
                for part in row:
                    for ring in part:
                        vertices += _remove_closing_point(list(ring))
                        rings.append(len(vertices))
                    parts.append(len(rings) - 1)
                offsets.append(len(parts) - 1)
            numbers = np.array(vertices, dtype=np.float64).reshape(len(vertices), 2)
        except (TypeError, ValueError):
            message = (
                "regions must be a list of rows: a row is a list of parts, a part a list of rings, and a ring a list "
                "of (longitude, latitude); [[[[(0, 0), (1, 0), (1, 1)]]]] is one region of one ring"
            )
            raise ValueError(message) from None
        return cls(numbers[:, 0], numbers[:, 1], np.array(rings), np.array(parts), np.array(offsets))

    @classmethod
    def from_polygons(cls, starts: npt.ArrayLike, numbers: npt.ArrayLike) -> Self:
        """Make regions of one polygon each from DALI arrays in Arrow lists; the smaller side of each is inside.

        Parameters
        ----------
        starts
            Where in `numbers` each polygon begins, and the end; shape (n + 1,). An empty list is an empty region.
        numbers
            Lon, lat, lon, lat .. in degrees, shape (m,); closed or not.

        Returns
        -------
        regions
            N regions.
        """
        pairs = np.asarray(numbers, dtype=np.float64).reshape(-1, 2)
        first = np.asarray(starts, dtype=np.int64) // 2
        pairs = pairs[first[0] : first[-1]]
        first = first - first[0]
        has_corners = np.diff(first) > 0
        rings = first[np.append(True, has_corners)]
        polygons = cls(pairs[:, 0], pairs[:, 1], rings, np.arange(len(rings)), compute_offsets(has_corners))
        return polygons.remove_closing_vertices().orient_to_smaller_side()

    @classmethod
    def from_geoarrow(cls, array: Any) -> Self:
        """Convert an Arrow array of GeoArrow's multipolygon or polygon, oriented; a null is an empty region.

        Parameters
        ----------
        array
            Lists of rings, or of parts of rings; rings are lists of points, which are structs x, y or lists of two
            numbers, and are closed. Chunked arrays are allowed.

        Returns
        -------
        regions
            One for each row.

        Raises
        ------
        ValueError
            The array has another type.
        """
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        offsets: list[Indexes] = []
        while pa.types.is_nested(array.type) and not _is_point_array(array):
            lengths = array.value_lengths().fill_null(0)
            offsets.append(compute_offsets(lengths.to_numpy(zero_copy_only=False)))
            array = array.flatten()
        if len(offsets) == 2:  # polygons: a row is one part, or none
            has_rings = np.diff(offsets[0]) > 0
            part_offsets = offsets[0][np.append(True, has_rings)]
            offsets = [compute_offsets(has_rings), part_offsets, offsets[1]]
        if len(offsets) != 3:
            message = "regions must be lists of parts, which are lists of rings, which are lists of points"
            raise ValueError(message)
        if pa.types.is_struct(array.type):
            lon, lat = (array.field(name).to_numpy() for name in ("x", "y"))
        else:
            pairs = array.flatten().to_numpy().reshape(len(array), -1)
            lon = pairs[:, 0]
            lat = pairs[:, 1]
        rows, parts, rings = offsets
        return cls(lon, lat, rings, parts, rows).remove_closing_vertices()

    @classmethod
    def from_wkb(cls, wkb_values: Any) -> Self:
        """Convert WKB of oriented polygons and multipolygons.

        Parameters
        ----------
        wkb_values
            Bytes, or None for an empty region; an Arrow array or a sequence, shape (n,).

        Returns
        -------
        regions
            N regions.

        Raises
        ------
        ValueError
            A value is not WKB, or is neither a polygon nor a multipolygon.
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        if isinstance(wkb_values, pa.Array | pa.ChunkedArray):
            wkb_values = wkb_values.to_pylist()
        else:
            wkb_values = list(wkb_values)
        shapes = shapely.from_wkb(np.array(wkb_values, dtype=object))
        shapes = np.where(shapely.is_missing(shapes), shapely.MultiPolygon(), shapes)
        kinds = set(shapely.get_type_id(shapes).tolist())
        if not kinds <= {3, 6}:
            message = "regions must be polygons or multipolygons"
            raise ValueError(message)
        xy, rings, parts, rows = extract_ragged_polygon_arrays(shapes)
        return cls(xy[:, 0], xy[:, 1], rings, parts, rows)

    @classmethod
    def concat(cls, columns: Sequence[Self]) -> Self:
        """Join columns.

        Parameters
        ----------
        columns
            Any number of columns.

        Returns
        -------
        regions
            The rows of all columns.
        """
        if not columns:
            return cls.create_empty(0)
        lon = np.concatenate([column.lon for column in columns])
        lat = np.concatenate([column.lat for column in columns])
        rings, parts, rows = (
            _join_offsets([getattr(column, name) for column in columns]) for name in ("rings", "parts", "rows")
        )
        return cls(lon, lat, rings, parts, rows)

    @classmethod
    def create_empty(cls, count: int) -> Self:
        """Make empty regions.

        Parameters
        ----------
        count
            The number of regions.

        Returns
        -------
        regions
            `count` empty regions.
        """
        no_elements = np.zeros(1, np.int64)
        return cls(np.empty(0), np.empty(0), no_elements, no_elements, np.zeros(count + 1, np.int64))

    def remove_closing_vertices(self) -> Self:
        """Remove the vertices that close rings.

        Returns
        -------
        regions
            Regions with open rings, as the other methods expect them.
        """
        size = np.diff(self.rings)
        has_several = size > 1
        last = self.rings[1:][has_several] - 1
        first = self.rings[:-1][has_several]
        is_closed = (self.lon[first] == self.lon[last]) & (self.lat[first] == self.lat[last])
        doubled = last[is_closed]
        if not len(doubled):
            return self
        keep = np.ones(len(self.lon), np.bool_)
        keep[doubled] = False
        rings = compute_offsets(keep)[self.rings]
        return type(self)(self.lon[keep], self.lat[keep], rings, self.parts, self.rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows) - 1

    def __eq__(self, other: object) -> bool:
        """Compare vertices and offsets for exact equality."""
        if not isinstance(other, RegionColumn):
            return False
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _FIELD_NAMES)

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
        row_indexes = np.asarray(rows)
        if row_indexes.dtype == np.bool_:
            row_indexes = np.flatnonzero(row_indexes)
        else:
            row_indexes = row_indexes.astype(np.int64)
        part, offsets = gather_element_indexes(self.rows, row_indexes)
        return self._take_parts(part, offsets)

    def _take_parts(self, part: Indexes, rows: Indexes) -> Self:
        ring, parts = gather_element_indexes(self.parts, part)
        vertex, rings = gather_element_indexes(self.rings, ring)
        return type(self)(self.lon[vertex], self.lat[vertex], rings, parts, rows)

    def explode(self) -> tuple[Self, Indexes]:
        """Give each part its own row.

        Returns
        -------
        regions
            Regions of one part each.
        row
            The original row of each part, shape (p,).
        """
        single_parts = type(self)(self.lon, self.lat, self.rings, self.parts, np.arange(len(self.parts)))
        return single_parts, compute_row_indexes(self.rows)

    def take_largest_outlines(self) -> Self:
        """Return the outline of the largest part of each region, without its holes.

        For a belt, it is the ring around the smaller side.

        Returns
        -------
        regions
            Regions of one ring each; empty where a region is empty, or its largest part is the whole sphere.
        """
        ring = self.find_largest_rings()
        vertex, rings = gather_element_indexes(self.rings, ring[ring >= 0])
        has_ring = ring >= 0
        return type(self)(self.lon[vertex], self.lat[vertex], rings, np.arange(len(rings)), compute_offsets(has_ring))

    def find_largest_rings(self) -> Indexes:
        """Find the outline of the largest part of each region.

        Returns
        -------
        rings
            The number of that ring; -1 for an empty region and for the whole sphere; shape (n,).
        """
        largest = np.full(len(self), -1)
        count = np.diff(self.rows)
        part = self.rows[:-1][count > 0]  # the only part
        several = np.flatnonzero(count > 1)
        if len(several):
            multipart_regions = self.take(several)
            parts, owner = multipart_regions.explode()
            order = np.lexsort((-parts.compute_areas(), owner))
            first_of_row = np.unique(owner[order], return_index=True)[1]
            best = order[first_of_row] - multipart_regions.rows[:-1]
            part = self.rows[:-1].copy()
            part[several] += best
            part = part[count > 0]
        outlines = np.diff(self.parts)[part]
        chosen = np.where(outlines > 0, self.parts[part], -1)
        holed = np.flatnonzero(outlines > 1)
        if len(holed):  # a part is to the left of each ring: its outline is the ring with the smallest inside
            ring, ring_group_offsets = gather_element_indexes(self.parts, part[holed])
            vertex, rings = gather_element_indexes(self.rings, ring)
            numbers = np.arange(len(rings))
            single_rings = type(self)(self.lon[vertex], self.lat[vertex], rings, numbers, numbers)
            ring_groups = compute_row_indexes(ring_group_offsets)
            order = np.lexsort((single_rings.compute_areas(), ring_groups))
            chosen[holed] = ring[order[ring_group_offsets[:-1]]]
        largest[count > 0] = chosen
        return largest

    def merge_consecutive_rows(self, row_offsets: npt.ArrayLike) -> Self:
        """Merge consecutive rows, with their parts side by side: the reverse of `explode`.

        It does not unite the parts; see `Regions.union`.

        Parameters
        ----------
        row_offsets
            Where each new row begins, and the end; shape (m + 1,).

        Returns
        -------
        regions
            M regions.
        """
        rows = self.rows[np.asarray(row_offsets, np.int64)]
        return type(self)(self.lon, self.lat, self.rings, self.parts, rows)

    def orient_to_smaller_side(self) -> Self:
        """Reverse rings so that the smaller side of each is inside: the meaning of texts without an orientation."""
        is_reversed = self.compute_ring_areas() > SKY_AREA_SQUARE_DEGREES / 2.0
        return self._reverse_selected_rings(is_reversed)

    def reverse_rings(self) -> Self:
        """Reverse all rings, for texts of the sky; no other method here accepts such regions."""
        return self._reverse_selected_rings(np.ones(len(self.rings) - 1, np.bool_))

    def _reverse_selected_rings(self, is_selected: Flags) -> Self:
        take = compute_reversed_indexes(self.rings, is_selected)
        return type(self)(self.lon[take], self.lat[take], self.rings, self.parts, self.rows)

    @property
    def ring_counts(self) -> Indexes:
        """The number of rings of each region, shape (n,); the whole sphere counts as two.

        An empty region has no ring, a simple polygon has one.
        """
        whole_sphere_offsets = compute_offsets(np.diff(self.parts) == 0)
        ring_numbers = self.parts[self.rows] + 2 * whole_sphere_offsets[self.rows]
        return np.diff(ring_numbers)

    @property
    def vertex_rows(self) -> Indexes:
        """The row of each vertex, shape (v,)."""
        return compute_row_indexes(self.rings[self.parts[self.rows]])

    @property
    def vertex_successors(self) -> Indexes:
        """The vertex after each in its ring, shape (v,)."""
        return compute_successor_indexes(self.rings)

    def replace_rows(self, rows: Indexes, replacements: Self) -> Self:
        """Replace some rows by other regions.

        Parameters
        ----------
        rows
            The numbers of the rows, shape (m,).
        replacements
            M regions.

        Returns
        -------
        regions
            All rows, shape (n,).
        """
        row_indexes = np.arange(len(self))
        row_indexes[rows] = len(self) + np.arange(len(rows))
        return self.concat([self, replacements]).take(row_indexes)

    def densify_edges(self, max_edge_radians: Numbers) -> tuple[Self, Flags]:
        """Insert points into edges, along their great circles, so that no piece is longer than `max_edge_radians`.

        The limits are radians, shape (v,). Edges that coincide get the same points. Also return which vertices are new.
        """
        after = self.vertex_successors
        xyz = to_unit_vectors(self.lon, self.lat)
        x, y, z = xyz.T
        u, v, w = xyz[after].T
        ends_lower = (x > u) | ((x == u) & (y > v))
        is_reversed = (z > w) | ((z == w) & ends_lower)  # always start at the same end
        vertex_numbers = np.arange(len(xyz))
        begin = np.where(is_reversed, after, vertex_numbers)
        end = np.where(is_reversed, vertex_numbers, after)
        edge_length = measure_angles(xyz[begin], xyz[end])
        piece_count = np.ceil(edge_length / max_edge_radians - 1e-9)
        pieces = np.maximum(piece_count, 1.0).astype(np.int64)
        vertex, number = compute_element_numbers(pieces)
        added = number > 0
        edge = vertex[added]
        point_number = np.where(is_reversed[edge], pieces[edge] - number[added], number[added])
        share = point_number / pieces[edge]
        lon = self.lon[vertex]
        lat = self.lat[vertex]
        new_points = interpolate_along_arcs(xyz[begin[edge]], xyz[end[edge]], share)
        lon[added], lat[added] = to_lon_lat(new_points)
        rings = compute_offsets(pieces)[self.rings]
        return type(self)(lon, lat, rings, self.parts, self.rows), added

    def insert_vertices(self, edge: Indexes, lon: Numbers, lat: Numbers) -> tuple[Self, Flags]:
        """Insert points into edges, in the order in which they lie there, and return which vertices are new.

        `edge` has the first vertex of the edge of each point, ascending; shape (m,).
        """
        minlength = len(self.lon)
        pieces = 1 + np.bincount(edge, minlength=minlength)
        _, number = compute_element_numbers(pieces)
        new_lon = np.insert(self.lon, edge + 1, lon)
        new_lat = np.insert(self.lat, edge + 1, lat)
        rings = compute_offsets(pieces)[self.rings]
        return type(self)(new_lon, new_lat, rings, self.parts, self.rows), number > 0

    def contains(self, lon: npt.ArrayLike, lat: npt.ArrayLike) -> Flags:
        """Return whether each region contains its point; boundaries belong to regions, and NaN is in none.

        Parameters
        ----------
        lon, lat
            Degrees, shape (n,); for a single region any number of points, shape (m,).

        Returns
        -------
        inside
            Shape (n,) or (m,).
        """
        lon = np.atleast_1d(np.asarray(lon, np.float64))
        lat = np.atleast_1d(np.asarray(lat, np.float64))
        is_position = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        if len(self) == 1 != len(lon):
            return self._contains_points(lon, lat, is_position)
        part = compute_row_indexes(self.parts)
        row = compute_row_indexes(self.rows)
        in_part = is_position[row]
        if len(part):
            point = row[part]
            in_ring = self.prepared_rings.contains_pairwise(lon[point], lat[point])
            np.logical_and.at(in_part, part, in_ring)
        inside = np.zeros(len(self), np.bool_)
        inside[row[in_part]] = True
        return inside

    def _contains_points(self, lon: Numbers, lat: Numbers, is_position: Flags) -> Flags:
        """Return which points the single region contains."""
        inside = np.zeros(len(lon), np.bool_)
        for first, last in pairwise(self.parts):
            in_part = is_position.copy()
            for ring_number in range(first, last):
                ring = self.prepared_rings.take(np.array([ring_number]))
                in_part[in_part] = ring.contains_points(lon[in_part], lat[in_part])
            inside |= in_part
        return inside

    @property
    def prepared_rings(self) -> PolygonRings:
        """All rings, prepared for tests of points and edges."""
        return PolygonRings(self.lon, self.lat, self.rings, side="left")

    def compute_ring_areas(self) -> Numbers:
        """Compute the area to the left of each ring.

        Returns
        -------
        areas
            Square degrees, shape (r,).
        """
        return self.prepared_rings.area

    def compute_areas(self) -> Numbers:
        """Compute the areas; parts of a row that overlap count twice (see `Regions.make_valid`).

        Returns
        -------
        areas
            Steradians, shape (n,), 0 to 4 pi; the orientation counts.
        """
        ring_areas = self.compute_ring_areas()
        # a part is to the left of all its rings
        area_sums = _sum_values_by_row(ring_areas, self.parts)
        extra_rings = np.diff(self.parts) - 1
        part_areas = area_sums - extra_rings * SKY_AREA_SQUARE_DEGREES
        return np.radians(np.radians(_sum_values_by_row(part_areas, self.rows)))

    def compute_border_lengths(self) -> Numbers:
        """Compute the lengths of the borders.

        Returns
        -------
        lengths
            Degrees, shape (n,), of all rings.
        """
        lengths = np.bincount(self.vertex_rows, self.prepared_rings.edge_lengths_radians, minlength=len(self))
        return np.degrees(lengths)

    def compute_bounding_boxes(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Compute the smallest ranges of longitude and latitude that contain the regions.

        Returns
        -------
        lon1, lon2, lat1, lat2
            Degrees, shape (n,); NaN for an empty region. Longitudes are in [0, 360). The region lies eastward from
            `lon1` to `lon2`, over 0 if `lon1` > `lon2`. A region that contains a pole, or goes all the way round, has
            the range 0 to 360.
        """
        vertex_counts = np.diff(self.rings[self.parts[self.rows]])
        blocks = list(split_into_blocks(vertex_counts, _BLOCK_VERTICES))
        parts = map_in_threads(
            lambda block: self._slice_rows(block)._compute_block_bounding_boxes(),  # noqa: SLF001
            blocks,
        )
        bounds = np.concatenate([np.empty((4, 0)), *parts], axis=1)
        return bounds[0], bounds[1], bounds[2], bounds[3]

    def _slice_rows(self, rows: slice) -> Self:
        """Return consecutive rows, without a copy of their vertices."""
        offsets = self.rows[rows.start : rows.stop + 1]
        parts = self.parts[offsets[0] : offsets[-1] + 1]
        rings = self.rings[parts[0] : parts[-1] + 1]
        vertex = slice(rings[0], rings[-1])
        return type(self)(self.lon[vertex], self.lat[vertex], rings - rings[0], parts - parts[0], offsets - offsets[0])

    def _compute_block_bounding_boxes(self) -> Numbers:
        bounds = np.full((4, len(self)), np.nan)
        small = np.zeros(len(self), np.bool_)
        if len(self.lon):
            small, boxes = self._compute_small_region_boxes()
            bounds[:, small] = boxes
        has_parts = np.diff(self.rows) > 0
        general_rows = np.flatnonzero(~small & has_parts)
        if len(general_rows):
            general_regions = self.take(general_rows)
            bounds[:, general_rows] = general_regions._compute_general_region_boxes()  # noqa: SLF001  (of this class)
        return bounds

    def _compute_small_region_boxes(self) -> tuple[Flags, Numbers]:
        """Compute the boxes of regions with short edges, far from the poles, less than half around: ten times as fast.

        Return which regions these are, and their boxes.
        """
        small = np.zeros(len(self), np.bool_)
        if (np.diff(self.parts) == 0).any():
            return small, np.empty((4, 0))
        lon = self.lon
        lat = self.lat
        begin = self.rings[self.parts[self.rows]]
        filled_rows = np.flatnonzero(np.diff(begin) > 0)
        first = begin[filled_rows]
        size = np.diff(begin)[filled_rows]
        base = lon[first]
        away = lon - np.repeat(base, size)
        away -= 360.0 * np.rint(away / 360.0)
        low = np.minimum.reduceat(away, first)
        high = np.maximum.reduceat(away, first)
        south = np.minimum.reduceat(lat, first)
        north = np.maximum.reduceat(lat, first)
        max_latitude = np.maximum(north, -south)
        next_lat = take_successor_values(self.rings, lat)
        turn = take_successor_values(self.rings, away) - away
        climb = np.abs(next_lat - lat)
        wide = np.maximum.reduceat(np.abs(turn), first)
        steep = np.maximum.reduceat(climb, first)
        # an arc rises above its ends by an eighth of the square of its length times the tangent of its latitude:
        # `rise` is four times as much
        rise_latitude = np.minimum(max_latitude, MAX_SMALL_LATITUDE_DEGREES - 10.0) + 10.0
        squared_length = wide**2 + steep**2
        rise = ARC_RISE_DEGREES * squared_length * np.tan(rise_latitude * RADIANS_PER_DEGREE)
        wrong = self._may_have_inverted_rings(away, turn, np.repeat(rise * RADIANS_PER_DEGREE, size), filled_rows)
        is_narrow = high - low < 170.0
        is_far_from_poles = max_latitude < MAX_SMALL_LATITUDE_DEGREES
        has_short_edges = np.maximum(wide, steep) <= MAX_SMALL_EDGE_DEGREES
        good = is_narrow & is_far_from_poles & ~wrong & has_short_edges
        # only edges near the extremes can go beyond the vertices
        top = np.repeat(np.where(good, north - rise, np.inf), size)
        bottom = np.repeat(np.where(good, south + rise, -np.inf), size)
        edge_south = np.minimum(lat, next_lat)
        edge_north = np.maximum(lat, next_lat)
        edge = np.flatnonzero((edge_north >= top) | (edge_south <= bottom))
        after = self.vertex_successors[edge]
        begin_xyz = to_unit_vectors(lon[edge], lat[edge])
        end_xyz = to_unit_vectors(lon[after], lat[after])
        normals = compute_arc_normals(begin_xyz, end_xyz)
        lowest, highest = find_latitude_extremes(begin_xyz, end_xyz, normals, edge_south[edge], edge_north[edge])
        row = np.searchsorted(first, edge, "right") - 1
        np.minimum.at(south, row, lowest)
        np.maximum.at(north, row, highest)
        bounds = np.stack([base, base, south, north])
        for line, end in enumerate((low, high)):
            at = np.flatnonzero(away == np.repeat(end, size))
            row = np.searchsorted(first, at, "right") - 1
            bounds[line, row] = wrap_longitudes(lon[at])
        small[filled_rows] = good
        return small, bounds[:, good]

    def _may_have_inverted_rings(self, away: Numbers, turn: Numbers, rise_radians: Numbers, rows: Indexes) -> Flags:
        """Return which rows may have a ring with its area outside, by a lower limit of the areas on a cylinder.

        `away` is the longitude of each vertex from its row's first one, `turn` its change along the edge, degrees.
        """
        _, sine = compute_cos_sin(self.lat)
        sine_change = take_successor_values(self.rings, sine) - sine
        side = away * sine_change - sine * turn
        side -= rise_radians * np.abs(turn)
        area = np.add.reduceat(side, self.rings[:-1])  # a lower limit of twice the area
        is_inverted = area[self.parts[:-1]] <= 0.0
        return np.asarray(np.logical_or.reduceat(is_inverted, self.rows[:-1][rows]))

    def _compute_general_region_boxes(self) -> Numbers:
        """Compute the boxes of any regions; shape (4, n)."""
        bounds = np.full((4, len(self)), np.nan)
        has_parts = np.diff(self.rows) > 0
        part_row = compute_row_indexes(self.rows)
        bounds[:, has_parts] = np.array([[0.0], [360.0], [np.inf], [-np.inf]])
        is_whole_sphere = np.diff(self.parts) == 0
        poles = np.zeros((2, len(self.parts) - 1), np.bool_)
        poles[:, is_whole_sphere] = True
        if len(self.lon):
            self._add_ring_bounds_and_poles(bounds, poles)
        for pole, (value, line) in enumerate(((-90.0, 2), (90.0, 3))):
            inside = np.unique(part_row[poles[pole]])
            bounds[0, inside] = 0.0
            bounds[1, inside] = 360.0
            bounds[line, inside] = value
        return bounds

    def _add_ring_bounds_and_poles(self, bounds: Numbers, poles: Flags) -> None:
        """Add the ranges of all rings to `bounds`, and the poles in parts to `poles`."""
        rings = self.prepared_rings
        ring_part = compute_row_indexes(self.parts)
        part_row = compute_row_indexes(self.rows)
        row = part_row[ring_part[rings.owner]]
        low, width = rings.edge_longitude_ranges
        gap_begin, gap_size = find_largest_circle_gaps(low, width, row, len(self))
        has_rings = np.zeros(len(self), np.bool_)
        has_rings[row] = True
        has_gap = has_rings & (gap_size > 1e-12)
        bounds[0, has_gap] = wrap_longitudes(gap_begin + gap_size)[has_gap]
        bounds[1, has_gap] = gap_begin[has_gap]
        south, north = rings.edge_latitude_ranges
        np.minimum.at(bounds[2], row, south)
        np.maximum.at(bounds[3], row, north)
        # a part contains a pole that is to the left of all its rings
        has_outline = np.diff(self.parts) > 0
        touched = np.logical_or.reduceat(rings.edge_touches_pole, rings.first)
        for pole, flags in enumerate((rings.has_south_pole, rings.has_north_pole)):
            first_rings = self.parts[:-1][has_outline]
            poles[pole, has_outline] = np.logical_and.reduceat(flags & ~touched, first_rings)

    def to_geoarrow(self, *, closes_rings: bool = True) -> pa.ListArray:
        """Write an Arrow array of GeoArrow's multipolygon: lists of parts of closed rings of structs x, y.

        Parameters
        ----------
        closes_rings
            Whether to repeat the first vertex of each ring at its end, as GeoArrow requires. `from_geoarrow` reads both
            forms.

        Returns
        -------
        array
            Shape (n,), storage without the extension's name. An empty region is an empty list.
        """
        lon = self.lon
        lat = self.lat
        rings = self.rings
        if closes_rings:
            vertex, rings = compute_closed_ring_indexes(self.rings)
            lon = lon[vertex]
            lat = lat[vertex]
        array = pa.StructArray.from_arrays([pa.array(lon), pa.array(lat)], fields=list(_POINT_TYPE))
        for offsets in (rings, self.parts, self.rows):
            array = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), array)
        return array

    def to_wkb(self) -> list[bytes]:
        """Write WKB of multipolygons.

        Returns
        -------
        bytes
            The WKB of each row.

        Raises
        ------
        ValueError
            A part is the whole sphere, which WKB cannot express.
        """
        import shapely  # noqa: PLC0415  (only computations with regions need it)

        if (np.diff(self.parts) == 0).any():
            message = "WKB cannot express the whole sphere"
            raise ValueError(message)
        xy = np.stack([self.lon, self.lat], 1)
        shapes = build_multipolygons(xy, self.rings, self.parts, self.rows)
        encoded: list[bytes] = shapely.to_wkb(shapes).tolist()
        return encoded


def _remove_closing_point(points: list[Sequence[float]]) -> list[Sequence[float]]:
    """Remove the last point of a closed ring."""
    if len(points) > 1 and tuple(points[0]) == tuple(points[-1]):
        return points[:-1]
    return points


def _is_point_array(array: Any) -> bool:
    """Return whether an array of nested values holds points: structs x, y or lists of numbers."""
    return bool(pa.types.is_struct(array.type) or pa.types.is_floating(array.type.value_type))


def _join_offsets(offsets: Sequence[Indexes]) -> Indexes:
    """Return the offsets of the elements of all columns, one after the other."""
    sizes = [np.diff(column_offsets) for column_offsets in offsets]
    return compute_offsets(np.concatenate(sizes))


def _sum_values_by_row(values: Numbers, offsets: Indexes) -> Numbers:
    """Sum the values of each row; a row without elements gives 0."""
    sums = np.zeros(len(offsets) - 1)
    has_elements = np.diff(offsets) > 0
    if has_elements.any():
        sums[has_elements] = np.add.reduceat(values, offsets[:-1][has_elements])
    return sums
