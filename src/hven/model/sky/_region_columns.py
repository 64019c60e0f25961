"""Columns of regions on a sphere as flat arrays (GeoArrow's multipolygon).

How they are made, taken, measured and written.

Edges are great-circle arcs shorter than half a turn, and inside is to the left of who walks along a ring on the outside
of the sphere: shells run anticlockwise as a map of a body has them, holes clockwise, and a polygon may hold more than
half the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from hven.model.sky._geos import build_multipolygons, to_ragged_arrays
from hven.model.sky._ragged_arrays import (
    close_rings,
    compute_element_numbers,
    compute_offsets,
    compute_row_indexes,
    compute_successors,
    find_largest_gaps,
    gather_rows,
    reverse_rows,
    split_into_blocks,
    take_successor_values,
)
from hven.model.sky._rings import Rings
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
ARC_RISE_DEGREES = np.degrees(0.5 * np.radians(1.0) ** 2)  # see `_small_boxes`; degrees
_BLOCK_VERTICES = 1 << 15  # vertices at a time: what is computed of them stays in a processor's cache
MAX_SMALL_EDGE_DEGREES, MAX_SMALL_LATITUDE_DEGREES = 20.0, 80.0  # degrees along an edge at most, and of latitude
_POINT_TYPE = pa.struct([pa.field("x", pa.float64(), nullable=False), pa.field("y", pa.float64(), nullable=False)])


@dataclass(frozen=True, slots=True, eq=False)
class RegionColumn:
    """N regions, without what makes others of them: see `hven.model.sky.Regions`.

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
        """Take arrays of the types that are said."""
        for name in ("lon", "lat"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        for name, end_offset in (
            ("rings", len(self.lon)),
            ("parts", len(self.rings) - 1),
            ("rows", len(self.parts) - 1),
        ):
            offsets = np.ascontiguousarray(getattr(self, name), dtype=np.int64)
            object.__setattr__(self, name, offsets)
            if not len(offsets) or offsets[0] != 0 or offsets[-1] != end_offset or (np.diff(offsets) < 0).any():
                message = f"{name}: offsets must rise from 0 to {end_offset}"
                raise ValueError(message)
        if (np.diff(self.rings) == 0).any():
            message = "a ring needs vertices"
            raise ValueError(message)

    def __repr__(self) -> str:
        """Count what there is: the numbers themselves fill pages."""
        sizes = ((len(self), "rows"), (len(self.parts) - 1, "parts"), (len(self.lon), "corners"))
        return f"<{type(self).__name__}: {', '.join(f'{size:,} {word}' for size, word in sizes)}>"

    @classmethod
    def from_lists(cls, rows: Iterable[Iterable[Iterable[Sequence[Sequence[float]]]]]) -> Self:
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
        rings = [0]
        parts = [0]
        offsets = [0]
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
            message = (
                "regions are lists of rows of parts of rings of (longitude, latitude): [[[[(0, 0), (1, 0), (1, "
                "1)]]]] is one of one ring"
            )
            raise ValueError(message) from None
        return cls(numbers[:, 0], numbers[:, 1], np.array(rings), np.array(parts), np.array(offsets))

    @classmethod
    def from_polygons(cls, starts: npt.ArrayLike, numbers: npt.ArrayLike) -> Self:
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
        pairs = pairs[first[0] : first[-1]]
        first = first - first[0]
        has_corners = np.diff(first) > 0
        rings = first[np.append(True, has_corners)]
        return (
            cls(pairs[:, 0], pairs[:, 1], rings, np.arange(len(rings)), compute_offsets(has_corners))
            .open_rings()
            .orient_to_smaller_side()
        )

    @classmethod
    def from_geoarrow(cls, array: Any) -> Self:
        """Take an Arrow array of GeoArrow's multipolygon or polygon, oriented; a null is an empty region.

        Parameters
        ----------
        array
            Lists (of parts) of rings of points, which are structs x, y or lists of two; rings are closed. Or a chunked
            array.

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
            offsets.append(compute_offsets(array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)))
            array = array.flatten()
        if len(offsets) == 2:  # polygons: a row is one part, or none
            has_rings = np.diff(offsets[0]) > 0
            offsets = [compute_offsets(has_rings), offsets[0][np.append(True, has_rings)], offsets[1]]
        if len(offsets) != 3:
            message = "regions are lists of parts, which are lists of rings, which are lists of points"
            raise ValueError(message)
        if pa.types.is_struct(array.type):
            lon, lat = (array.field(name).to_numpy() for name in ("x", "y"))
        else:
            pairs = array.flatten().to_numpy().reshape(len(array), -1)
            lon = pairs[:, 0]
            lat = pairs[:, 1]
        rows, parts, rings = offsets
        return cls(lon, lat, rings, parts, rows).open_rings()

    @classmethod
    def from_wkb(cls, wkb_values: Any) -> Self:
        """Take WKB of polygons and multipolygons, oriented.

        Parameters
        ----------
        wkb_values
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

        if isinstance(wkb_values, pa.Array | pa.ChunkedArray):
            wkb_values = wkb_values.to_pylist()
        else:
            wkb_values = list(wkb_values)
        shapes = shapely.from_wkb(np.array(wkb_values, dtype=object))
        shapes = np.where(shapely.is_missing(shapes), shapely.MultiPolygon(), shapes)
        kinds = set(shapely.get_type_id(shapes).tolist())
        if not kinds <= {3, 6}:
            message = "regions are polygons and multipolygons"
            raise ValueError(message)
        xy, rings, parts, rows = to_ragged_arrays(shapes)
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
            return cls.create_empty(0)
        return cls(
            np.concatenate([column.lon for column in columns]),
            np.concatenate([column.lat for column in columns]),
            *(
                compute_offsets(np.concatenate([np.diff(getattr(column, name)) for column in columns]))
                for name in ("rings", "parts", "rows")
            ),
        )

    @classmethod
    def create_empty(cls, count: int) -> Self:
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

    def open_rings(self) -> Self:
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
        rings = compute_offsets(keep)[self.rings]
        return type(self)(self.lon[keep], self.lat[keep], rings, self.parts, self.rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.rows) - 1

    def __eq__(self, other: object) -> bool:
        """Compare vertices and offsets, to the last bit."""
        return isinstance(other, RegionColumn) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _FIELD_NAMES
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
        row_indexes = np.asarray(rows)
        if row_indexes.dtype == np.bool_:
            row_indexes = np.flatnonzero(row_indexes)
        else:
            row_indexes = row_indexes.astype(np.int64)
        part, offsets = gather_rows(self.rows, row_indexes)
        return self._take_parts(part, offsets)

    def _take_parts(self, part: Indexes, rows: Indexes) -> Self:
        ring, parts = gather_rows(self.parts, part)
        vertex, rings = gather_rows(self.rings, ring)
        return type(self)(self.lon[vertex], self.lat[vertex], rings, parts, rows)

    def explode(self) -> tuple[Self, Indexes]:
        """Give each part a row of its own.

        Returns
        -------
        regions
            Of one part each.
        row
            The row that each was of, shape (p,).
        """
        single_parts = type(self)(self.lon, self.lat, self.rings, self.parts, np.arange(len(self.parts)))
        return single_parts, compute_row_indexes(self.rows)

    def take_largest_outlines(self) -> Self:
        """Return the outline of the largest part of each region, without its holes.

        Of a belt the ring round its smaller side.

        Returns
        -------
        regions
            Of one ring each; empty where a region is, or its largest part is the whole sphere.
        """
        ring = self.find_largest_rings()
        vertex, rings = gather_rows(self.rings, ring[ring >= 0])
        return type(self)(self.lon[vertex], self.lat[vertex], rings, np.arange(len(rings)), compute_offsets(ring >= 0))

    def find_largest_rings(self) -> Indexes:
        """Find the outline of the largest part of each region.

        Returns
        -------
        rings
            The number of that ring; -1 where there is none: of what is empty, and of the whole sphere; shape (n,).
        """
        largest = np.full(len(self), -1)
        count = np.diff(self.rows)
        part = self.rows[:-1][count > 0]  # the first one, where there are no others
        several = np.flatnonzero(count > 1)
        if len(several):
            multipart_regions = self.take(several)
            parts, owner = multipart_regions.explode()
            order = np.lexsort((-parts.compute_areas(), owner))
            best = order[np.unique(owner[order], return_index=True)[1]] - multipart_regions.rows[:-1]
            part = self.rows[:-1].copy()
            part[several] += best
            part = part[count > 0]
        outlines = np.diff(self.parts)[part]
        chosen = np.where(outlines > 0, self.parts[part], -1)
        holed = np.flatnonzero(outlines > 1)
        if len(holed):  # the part lies to the left of each: the outline is the one with the smallest inside
            ring, ring_group_offsets = gather_rows(self.parts, part[holed])
            vertex, rings = gather_rows(self.rings, ring)
            single_rings = type(self)(
                self.lon[vertex], self.lat[vertex], rings, np.arange(len(rings)), np.arange(len(rings))
            )
            order = np.lexsort((single_rings.compute_areas(), compute_row_indexes(ring_group_offsets)))
            chosen[holed] = ring[order[ring_group_offsets[:-1]]]
        largest[count > 0] = chosen
        return largest

    def group_rows(self, row_offsets: npt.ArrayLike) -> Self:
        """Put following rows together, their parts side by side; the reverse of `explode`. Nothing is united.

        See `united`.

        Parameters
        ----------
        row_offsets
            Where each new row begins, and the end; shape (m + 1,).

        Returns
        -------
        regions
            M of them.
        """
        return type(self)(self.lon, self.lat, self.rings, self.parts, self.rows[np.asarray(row_offsets, np.int64)])

    def orient_to_smaller_side(self) -> Self:
        """Turn rings so that the smaller side of each is inside: what texts mean in which no orientation is known."""
        return self._reverse_selected_rings(self.compute_ring_areas() > SKY_AREA_SQUARE_DEGREES / 2.0)

    def reverse_rings(self) -> Self:
        """Let all rings run the other way, as texts of the sky have them: nothing else here takes such regions."""
        return self._reverse_selected_rings(np.ones(len(self.rings) - 1, np.bool_))

    def _reverse_selected_rings(self, is_selected: Flags) -> Self:
        take = reverse_rows(self.rings, is_selected)
        return type(self)(self.lon[take], self.lat[take], self.rings, self.parts, self.rows)

    @property
    def ring_counts(self) -> Indexes:
        """How many rings each region has: none, one as a simple polygon has, or more; the whole sphere counts as two.

        Shape (n,).
        """
        whole_sphere_offsets = compute_offsets(np.diff(self.parts) == 0)
        return np.diff(self.parts[self.rows] + 2 * whole_sphere_offsets[self.rows])

    @property
    def vertex_rows(self) -> Indexes:
        """The row of each vertex, shape (v,)."""
        return compute_row_indexes(self.rings[self.parts[self.rows]])

    @property
    def successors(self) -> Indexes:
        """The vertex after each in its ring, shape (v,)."""
        return compute_successors(self.rings)

    def replace_rows(self, rows: Indexes, replacements: Self) -> Self:
        """Put other regions in the place of some.

        Parameters
        ----------
        rows
            Their numbers, shape (m,).
        replacements
            M regions.

        Returns
        -------
        regions
            Shape (n,).
        """
        row_indexes = np.arange(len(self))
        row_indexes[rows] = len(self) + np.arange(len(rows))
        return self.concat([self, replacements]).take(row_indexes)

    def densify_edges(self, max_edge_radians: Numbers) -> tuple[Self, Flags]:
        """Put points into edges, along their great circles; how long the pieces of each may be, radians, shape (v,).

        Edges that coincide get the same ones.
        """
        after = self.successors
        xyz = to_unit_vectors(self.lon, self.lat)
        (x, y, z), (u, v, w) = xyz.T, xyz[after].T
        is_reversed = (z > w) | ((z == w) & ((x > u) | ((x == u) & (y > v))))  # always from the same end
        vertex_numbers = np.arange(len(xyz))
        begin = np.where(is_reversed, after, vertex_numbers)
        end = np.where(is_reversed, vertex_numbers, after)
        pieces = np.maximum(np.ceil(measure_angles(xyz[begin], xyz[end]) / max_edge_radians - 1e-9), 1.0).astype(
            np.int64
        )
        vertex, number = compute_element_numbers(pieces)
        added = number > 0
        edge = vertex[added]
        share = np.where(is_reversed[edge], pieces[edge] - number[added], number[added]) / pieces[edge]
        lon = self.lon[vertex]
        lat = self.lat[vertex]
        lon[added], lat[added] = to_lon_lat(interpolate_along_arcs(xyz[begin[edge]], xyz[end[edge]], share))
        return type(self)(lon, lat, compute_offsets(pieces)[self.rings], self.parts, self.rows), added

    def insert_vertices(self, edge: Indexes, lon: Numbers, lat: Numbers) -> tuple[Self, Flags]:
        """Put these points into edges, in the order in which they lie there; edges by their first vertex, rising.

        Shape (m,).
        """
        minlength = len(self.lon)
        pieces = 1 + np.bincount(edge, minlength=minlength)
        added = compute_element_numbers(pieces)[1] > 0
        coordinates = np.insert(self.lon, edge + 1, lon), np.insert(self.lat, edge + 1, lat)
        return type(self)(*coordinates, compute_offsets(pieces)[self.rings], self.parts, self.rows), added

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
        lon = np.atleast_1d(np.asarray(lon, np.float64))
        lat = np.atleast_1d(np.asarray(lat, np.float64))
        if len(self) == 1 != len(lon):
            inside = np.zeros(len(lon), np.bool_)
            for first, last in pairwise(self.parts):
                in_part = np.isfinite(lon) & (np.abs(lat) <= 90.0)
                for ring_number in range(first, last):
                    in_part[in_part] = self.outlines.take(np.array([ring_number])).contains_points(
                        lon[in_part], lat[in_part]
                    )
                inside |= in_part
            return inside
        part = compute_row_indexes(self.parts)
        row = compute_row_indexes(self.rows)
        is_position = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        in_part = is_position[row]
        if len(part):
            point = row[part]
            np.logical_and.at(in_part, part, self.outlines.contains_pairwise(lon[point], lat[point]))
        inside = np.zeros(len(self), np.bool_)
        inside[row[in_part]] = True
        return inside

    @property
    def outlines(self) -> Rings:
        """All rings, with what the tests of points and edges need."""
        return Rings(self.lon, self.lat, self.rings, side="left")

    def compute_ring_areas(self) -> Numbers:
        """Compute the area to the left of each ring.

        Returns
        -------
        areas
            Square degrees, shape (r,).
        """
        return self.outlines.area

    def compute_areas(self) -> Numbers:
        """Compute the areas; parts of a row that overlap count twice (see `united`).

        Returns
        -------
        areas
            Steradians, shape (n,), 0 to 4 pi; the orientation counts.
        """
        ring = self.compute_ring_areas()
        # what is left of all rings
        rows = _sum_rows(ring, self.parts)
        part = rows - (np.diff(self.parts) - 1) * SKY_AREA_SQUARE_DEGREES
        return np.radians(np.radians(_sum_rows(part, self.rows)))

    def compute_border_lengths(self) -> Numbers:
        """Compute how long the borders are.

        Returns
        -------
        lengths
            Degrees, shape (n,), of all rings.
        """
        return np.degrees(np.bincount(self.vertex_rows, self.outlines.arcs, minlength=len(self)))

    def compute_bounding_boxes(self) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Compute the smallest ranges of longitude and latitude that hold the regions.

        Returns
        -------
        lon1, lon2, lat1, lat2
            Degrees, shape (n,); NaN for an empty region. Longitudes are in [0, 360), the region lies eastward from
            `lon1` to `lon2`, over 0 if `lon1` > `lon2`. A region that holds a pole, or goes all the way round, is from
            0 to 360.
        """
        parts = map_in_threads(
            lambda part: self._slice_rows(part)._compute_block_boxes(),  # noqa: SLF001  (of its own)
            list(split_into_blocks(np.diff(self.rings[self.parts[self.rows]]), _BLOCK_VERTICES)),
        )
        bounds = np.concatenate([np.empty((4, 0)), *parts], axis=1)
        return bounds[0], bounds[1], bounds[2], bounds[3]

    def _slice_rows(self, rows: slice) -> Self:
        """Return following rows, without a copy of their vertices."""
        offsets = self.rows[rows.start : rows.stop + 1]
        parts = self.parts[offsets[0] : offsets[-1] + 1]
        rings = self.rings[parts[0] : parts[-1] + 1]
        vertex = slice(rings[0], rings[-1])
        return type(self)(self.lon[vertex], self.lat[vertex], rings - rings[0], parts - parts[0], offsets - offsets[0])

    def _compute_block_boxes(self) -> Numbers:
        bounds = np.full((4, len(self)), np.nan)
        small = np.zeros(len(self), np.bool_)
        if len(self.lon):
            small, boxes = self._compute_small_boxes()
            bounds[:, small] = boxes
        general_rows = np.flatnonzero(~small & (np.diff(self.rows) > 0))
        if len(general_rows):
            bounds[:, general_rows] = self.take(general_rows)._compute_general_boxes()  # noqa: SLF001  (of its own)
        return bounds

    def _compute_small_boxes(self) -> tuple[Flags, Numbers]:
        """Compute the boxes of regions of short edges far from the poles, less than half around: ten times as fast.

        Which these are, and theirs.
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
        low, high, south, north = (
            each.reduceat(values, first)
            for each, values in ((np.minimum, away), (np.maximum, away), (np.minimum, lat), (np.maximum, lat))
        )
        next_lat = take_successor_values(self.rings, lat)
        turn = take_successor_values(self.rings, away) - away
        climb = np.abs(next_lat - lat)
        wide = np.maximum.reduceat(np.abs(turn), first)
        steep = np.maximum.reduceat(climb, first)
        # an arc rises above its ends by an eighth of the square of its length times the tangent of its latitude: this
        # is four times as much
        rise = (
            ARC_RISE_DEGREES
            * (wide**2 + steep**2)
            * np.tan(
                (np.minimum(np.maximum(north, -south), MAX_SMALL_LATITUDE_DEGREES - 10.0) + 10.0) * RADIANS_PER_DEGREE
            )
        )
        sine = compute_cos_sin(lat)[1]
        # twice the area on a cylinder, at least
        side = away * (take_successor_values(self.rings, sine) - sine) - sine * turn
        side -= np.repeat(rise * RADIANS_PER_DEGREE, size) * np.abs(turn)
        area = np.add.reduceat(side, self.rings[:-1])
        wrong = np.logical_or.reduceat(area[self.parts[:-1]] <= 0.0, self.rows[:-1][filled_rows])
        good = (
            (high - low < 170.0)
            & (np.maximum(north, -south) < MAX_SMALL_LATITUDE_DEGREES)
            & ~wrong
            & (np.maximum(wide, steep) <= MAX_SMALL_EDGE_DEGREES)
        )
        top, bottom = (
            np.repeat(np.where(good, *bound), size) for bound in ((north - rise, np.inf), (south + rise, -np.inf))
        )
        edge = np.flatnonzero((np.maximum(lat, next_lat) >= top) | (np.minimum(lat, next_lat) <= bottom))
        after = self.successors[edge]
        ends_of = to_unit_vectors(lon[edge], lat[edge]), to_unit_vectors(lon[after], lat[after])
        low_high = np.minimum(lat[edge], next_lat[edge]), np.maximum(lat[edge], next_lat[edge])
        lowest, highest = find_latitude_extremes(*ends_of, compute_arc_normals(*ends_of), *low_high)
        row = np.searchsorted(first, edge, "right") - 1
        np.minimum.at(south, row, lowest)
        np.maximum.at(north, row, highest)
        bounds = np.stack([base, base, south, north])
        for line, end in enumerate((low, high)):
            at = np.flatnonzero(away == np.repeat(end, size))
            bounds[line, np.searchsorted(first, at, "right") - 1] = wrap_longitudes(lon[at])
        small[filled_rows] = good
        return small, bounds[:, good]

    def _compute_general_boxes(self) -> Numbers:
        """Compute the boxes of any regions; shape (4, n)."""
        bounds = np.full((4, len(self)), np.nan)
        has_parts = np.diff(self.rows) > 0
        part_row = compute_row_indexes(self.rows)
        bounds[:, has_parts] = np.array([[0.0], [360.0], [np.inf], [-np.inf]])
        is_whole_sphere = np.diff(self.parts) == 0
        poles = np.zeros((2, len(self.parts) - 1), np.bool_)
        poles[:, is_whole_sphere] = True
        if len(self.lon):
            rings = self.outlines
            ring_part = compute_row_indexes(self.parts)
            row = part_row[ring_part[rings.owner]]
            low, width = rings.longitude_ranges
            begin, size = find_largest_gaps(low, width, row, len(self))
            ringed = np.zeros(len(self), np.bool_)
            ringed[row] = True
            open_ = ringed & (size > 1e-12)
            bounds[0, open_], bounds[1, open_] = wrap_longitudes(begin + size)[open_], begin[open_]
            south, north = rings.latitude_ranges
            np.minimum.at(bounds[2], row, south)
            np.maximum.at(bounds[3], row, north)
            has_rings = np.diff(self.parts) > 0
            # a part holds a pole if that is left of all its rings
            touched = np.logical_or.reduceat(rings.touches_pole, rings.first)
            for pole, flags in enumerate((rings.south, rings.north)):
                poles[pole, has_rings] = np.logical_and.reduceat(flags & ~touched, self.parts[:-1][has_rings])
        for pole, (value, line) in enumerate(((-90.0, 2), (90.0, 3))):
            inside = np.unique(part_row[poles[pole]])
            bounds[0, inside], bounds[1, inside], bounds[line, inside] = 0.0, 360.0, value
        return bounds

    def to_geoarrow(self, *, close: bool = True) -> pa.ListArray:
        """Give an Arrow array of GeoArrow's multipolygon: lists of parts of rings of structs x, y; rings are closed.

        Parameters
        ----------
        close
            Whether the first vertex of each ring comes again at its end, as GeoArrow wants it; `from_geoarrow` does
            not.

        Returns
        -------
        array
            Shape (n,), storage without the extension's name. An empty region is an empty list.
        """
        (lon, lat), rings = (self.lon, self.lat), self.rings
        if close:
            vertex, rings = close_rings(self.rings)
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
        shapes = build_multipolygons(np.stack([self.lon, self.lat], 1), self.rings, self.parts, self.rows)
        encoded: list[bytes] = shapely.to_wkb(shapes).tolist()
        return encoded


def _sum_rows(values: Numbers, offsets: Indexes) -> Numbers:
    """Sum each row; one without elements is 0."""
    sums = np.zeros(len(offsets) - 1)
    has_elements = np.diff(offsets) > 0
    if has_elements.any():
        sums[has_elements] = np.add.reduceat(values, offsets[:-1][has_elements])
    return sums
