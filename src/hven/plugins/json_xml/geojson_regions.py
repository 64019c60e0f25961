"""Convert GeoJSON geometries (RFC 7946) to DALI regions, whole columns at a time.

Rings are opened and turned round, repeated vertices are dropped, and longitudes become 0 to 360.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import combine_chunks
from hven.model.sky import region_files

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

_GEOMETRY_PARTS_SQL = """
SELECT kind,
       json_transform(
         CASE kind WHEN 'Polygon' THEN concat('[', c, ']') WHEN 'MultiPolygon' THEN c END, '[[[["DOUBLE"]]]]'
       ) AS polygons,
       json_transform(
         CASE kind WHEN 'Point' THEN concat('[', c, ']') WHEN 'MultiPoint' THEN c END, '[["DOUBLE"]]'
       ) AS points
FROM (SELECT json_extract_string(g, '/type') AS kind, json_extract(g, '/coordinates')::VARCHAR AS c FROM geometries)
"""
# from this step in longitude between two vertices on, the short way round is meant
MIN_ANTIMERIDIAN_STEP_DEGREES = 270.0
NON_REGION_TYPES = ("LineString", "MultiLineString", "GeometryCollection")


@dataclass(frozen=True, slots=True)
class GeometryFrames:
    """The frames in which geometries are given (``crs``), by row.

    Attributes
    ----------
    names
        Names as they are written; null where none is stated.
    longitude_sign, latitude_factor
        Factors of longitudes, and of the tangents of latitudes, that make them eastward and planetocentric.
    """

    names: pa.Array
    longitude_sign: npt.NDArray[np.float64]
    latitude_factor: npt.NDArray[np.float64]

    @classmethod
    def from_names_with_notes(cls, names: pa.Array) -> tuple[GeometryFrames | None, list[str]]:
        """Look frames up by name, and return them with notes for people; None: no position must be converted."""
        encoded_names = names.dictionary_encode()
        words = encoded_names.dictionary.to_pylist()
        notes: list[str] = []
        factors_by_word: list[tuple[float, float]] = []
        for word in words:
            conversion = region_files.find_lon_sign_and_lat_factor(word)
            if conversion is None:
                notes.append(
                    f"the document has the unknown crs {word!r:.80}; Hven reads its numbers as east longitudes and "
                    "latitudes"
                )
            elif conversion != (1.0, 1.0):
                notes.append(
                    f"longitudes and latitudes are in {word:.80}; Hven converts them to east longitudes and "
                    "planetocentric latitudes"
                )
            factors_by_word.append(conversion or (1.0, 1.0))
        factors_by_word.append((1.0, 1.0))  # where none is stated
        factors = np.array(factors_by_word)
        if not (factors != 1.0).any():
            return None, notes
        indices = np.asarray(pc.fill_null(encoded_names.indices, len(words)))
        longitude_sign, latitude_factor = factors[indices].T
        return cls(names, longitude_sign, latitude_factor), notes

    def convert_positions(self, lon: Any, lat: Any, row: Any) -> tuple[Any, Any]:
        """Convert positions of rows."""
        latitude_factor = self.latitude_factor[row]
        with np.errstate(invalid="ignore"):
            latitudes = region_files.to_planetocentric_latitudes(lat, latitude_factor)
            return self.longitude_sign[row] * lon, latitudes

    def convert_bounding_boxes(self, boxes: pa.Array) -> pa.Array:
        """Convert bounding boxes of rows: their west becomes east where longitudes run the other way."""
        offsets = np.asarray(boxes.offsets)
        filled_values = pc.fill_null(boxes.values.cast(pa.float64()), np.nan)
        values = np.array(filled_values, np.float64)
        is_box = np.asarray(pc.is_valid(boxes))
        for half in (2, 3):
            row = np.flatnonzero(is_box & (np.diff(offsets) == 2 * half))
            at = offsets[row]
            opposite = at + half
            west, south = self.convert_positions(values[at], values[at + 1], row)
            east, north = self.convert_positions(values[opposite], values[opposite + 1], row)
            runs_west = self.longitude_sign[row] < 0
            values[at] = np.where(runs_west, east, west)
            values[opposite] = np.where(runs_west, west, east)
            values[at + 1] = south
            values[opposite + 1] = north
        return pa.ListArray.from_arrays(boxes.offsets, pa.array(values), mask=pc.is_null(boxes))

    def add_crs_to_text(self, texts: pa.Array) -> pa.Array:
        """Write the frame into geometries that stay text, for those who read them later (GeoJSON of 2008)."""
        words = self.names.dictionary_encode()
        heads = [_write_crs_head(word) for word in words.dictionary.to_pylist()]
        head = pa.array(heads, pa.string()).take(words.indices)
        text_with_crs = pc.binary_join_element_wise(head, pc.utf8_slice_codeunits(texts, 1), "")
        is_converted = pa.array((self.longitude_sign != 1.0) | (self.latitude_factor != 1.0))
        is_object = pc.fill_null(pc.starts_with(texts, "{"), False)
        return pc.if_else(pc.and_(is_converted, is_object), text_with_crs, texts)


def _write_crs_head(crs_name: str | None) -> str:
    """Write the beginning of a JSON object with a member ``crs``."""
    crs = {"type": "name", "properties": {"name": crs_name}}
    return f'{{"crs":{orjson.dumps(crs).decode()},'


def geometries_to_regions(
    texts: pa.Array, connection: duckdb.DuckDBPyConnection, frames: GeometryFrames | None = None
) -> tuple[pa.Array, pa.Array | None, int]:
    """Convert geometries to the text of DALI's multishape (``polygon ..``, ``range ..``, ``point ..``).

    Vertices run counter-clockwise seen from the origin (DALI 1.1 section 3.3.7), where GeoJSON's exterior rings run the
    other way. A ring that touches a pole or spans half of all longitudes along its edges becomes a ``range``: its edges
    are not great circles. A step from 270 degrees on (short of 360) takes the short way over the antimeridian.

    Parameters
    ----------
    texts
        JSON of geometries, or null.
    frames
        Frames of the geometries; None: longitudes to the east, planetocentric latitudes.

    Returns
    -------
    regions, bad, holes
        `bad` marks the texts that are no geometry; None: there are none. Lines and collections are null without being
        bad. `holes` is the number of rings that are left out, since a region has no holes.
    """
    parts = _extract_geometry_parts(texts, connection)
    rows = len(texts)
    kinds = parts.column("kind").combine_chunks()
    bad = np.zeros(rows, bool)
    polygons, is_wrong, holes = _write_polygons(combine_chunks(parts.column("polygons")), rows, frames)
    bad |= is_wrong
    points, is_wrong = _write_points(combine_chunks(parts.column("points")), rows, frames)
    bad |= is_wrong
    region_texts = pc.coalesce(polygons, points)
    is_other_type = pc.is_in(kinds, value_set=pa.array(NON_REGION_TYPES))
    is_no_region = pc.fill_null(pc.or_kleene(pc.is_null(texts), is_other_type), False)
    is_lost = pc.and_(pc.is_null(region_texts), pc.invert(is_no_region))
    bad |= np.asarray(is_lost)
    if bad.any():
        return region_texts, pa.array(bad), holes
    return region_texts, None, holes


def boxes_to_regions(boxes: pa.Array, frames: GeometryFrames | None = None) -> pa.Array:
    """Convert bounding boxes (lists of 4 or 6 numbers: west, south, [bottom,] east, north [,top]) to ranges."""
    if frames is not None:
        boxes = frames.convert_bounding_boxes(boxes)
    offsets = np.asarray(boxes.offsets)
    is_box = np.asarray(pc.is_valid(boxes))
    sizes = np.where(is_box, np.diff(offsets), 0)
    good = np.flatnonzero((sizes == 4) | (sizes == 6))
    values = np.asarray(pc.fill_null(boxes.values.cast(pa.float64()), np.nan))
    at = offsets[good]
    opposite = at + sizes[good] // 2
    box = np.stack([values[at], values[opposite], values[at + 1], values[opposite + 1]], axis=1)
    south, north = box[:, 2:].T
    is_possible = np.isfinite(box).all(axis=1) & (south >= -90) & (south <= north) & (north <= 90)
    texts = np.full(len(boxes), None, object)
    texts[good[is_possible]] = _write_ranges(box[is_possible])
    return pa.array(texts, pa.string())


def _extract_geometry_parts(texts: pa.Array, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    connection.register("geometries", pa.table({"g": texts}))
    try:
        return connection.execute(_GEOMETRY_PARTS_SQL).to_arrow_table()
    finally:
        connection.unregister("geometries")


def _flatten_lists_with_offsets(array: Any) -> tuple[npt.NDArray[np.int64], Any]:
    """Flatten lists once: return their bounds (null ones are empty) and the elements that they hold."""
    flat = array.flatten()
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    sizes = np.asarray(lengths, np.int64)
    return _compute_part_offsets(sizes), flat


def _compute_part_offsets(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Compute where parts of these sizes begin and end when they lie one behind the other."""
    return np.concatenate([[0], np.cumsum(sizes)])


def _split_coordinates_with_faults(
    points: Any,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Split positions into longitude and latitude, and mark those that are impossible."""
    bounds, flat = _flatten_lists_with_offsets(points)
    numbers = np.asarray(pc.fill_null(flat, np.nan), np.float64)
    values = np.append(numbers, [np.nan, np.nan])
    starts = bounds[:-1]
    short = np.diff(bounds) < 2
    lon = np.where(short, np.nan, values[starts])
    lat = np.where(short, np.nan, values[np.minimum(starts + 1, len(values) - 1)])
    is_possible = np.isfinite(lon) & (np.abs(lat) <= 90.0) & (np.abs(lon) <= 720.0)
    return lon, lat, ~is_possible


def _write_points(array: Any, row_count: int, frames: GeometryFrames | None) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    bounds, flat = _flatten_lists_with_offsets(array)
    owner = np.repeat(np.arange(row_count), np.diff(bounds))
    lon, lat, wrong = _split_coordinates_with_faults(flat)
    if frames is not None:
        lon, lat = frames.convert_positions(lon, lat, owner)
    bad = np.zeros(row_count, bool)
    bad[owner[wrong]] = True
    pairs = np.stack([lon % 360.0, lat], axis=1).ravel()
    texts = _write_shape_texts("point", np.nan_to_num(pairs), np.arange(len(lon) + 1) * 2)
    return _join_texts_by_row(texts, owner, ~bad, row_count), bad


def _write_polygons(
    array: Any, row_count: int, frames: GeometryFrames | None
) -> tuple[pa.Array, npt.NDArray[np.bool_], int]:
    of_row, polygons = _flatten_lists_with_offsets(array)
    of_polygon, rings = _flatten_lists_with_offsets(polygons)
    of_ring, points = _flatten_lists_with_offsets(rings)
    row = np.repeat(np.arange(row_count), np.diff(of_row))
    bad = np.zeros(row_count, bool)
    counts = np.diff(of_polygon)
    bad[row[counts == 0]] = True
    lon, lat, wrong = _split_coordinates_with_faults(points)
    if frames is not None:
        point_rows = np.repeat(np.repeat(row, counts), np.diff(of_ring))
        lon, lat = frames.convert_positions(lon, lat, point_rows)
    outer = of_polygon[:-1][counts > 0]
    row = row[counts > 0]
    holes = int((counts - 1).clip(0).sum())
    # only the points of outer rings, without the one that closes a ring and those that repeat the one before
    begin = of_ring[:-1][outer]
    lengths = of_ring[1:][outer] - begin
    ring = np.repeat(np.arange(len(outer)), lengths)
    offset_in_ring = np.arange(len(ring)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.repeat(begin, lengths) + offset_in_ring
    vertices = _RingVertices(lon[at], lat[at], ring, len(outer))
    np.logical_or.at(bad, row[ring[wrong[at]]], True)
    boxes, is_wide_box = _find_wide_boxes(vertices)
    vertices = vertices.drop_repeated_vertices()
    thin = (vertices.count_distinct_places() < 3) & ~is_wide_box
    bad[row[thin]] = True
    order = _order_vertices(vertices)
    pairs = np.stack([vertices.x[order] % 360.0, vertices.y[order]], axis=1).ravel()
    bounds = _compute_part_offsets(vertices.count_vertices())
    polygon_texts = _write_shape_texts("polygon", np.nan_to_num(pairs), bounds * 2)
    texts = np.asarray(polygon_texts, object)
    texts[is_wide_box] = _write_ranges(boxes[is_wide_box])
    return _join_texts_by_row(pa.array(texts, pa.string()), row, ~bad, row_count), bad, holes


@dataclass(frozen=True, slots=True, eq=False)
class _RingVertices:
    """The vertices of rings, one ring behind the other.

    Attributes
    ----------
    x, y
        Longitudes and latitudes, degrees.
    ring
        Number of the ring of each vertex, in order; rings may have no vertex.
    ring_count
        Number of all rings.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    ring: npt.NDArray[np.int64]
    ring_count: int

    def find_starts(self) -> npt.NDArray[np.int64]:
        """Find the first vertex of each ring that has one."""
        return np.flatnonzero(np.diff(self.ring, prepend=-1))

    def find_successors(self) -> npt.NDArray[np.int64]:
        """Find the vertex after each one in its ring: the first after the last."""
        successors = np.arange(1, len(self.ring) + 1)
        starts = self.find_starts()
        ends = np.append(starts, len(self.ring))[1:] - 1
        successors[ends] = starts
        return successors

    def drop_repeated_vertices(self) -> _RingVertices:
        """Drop each vertex that repeats the one before it, as the one that closes a ring does."""
        successors = self.find_successors()
        next_x = self.x[successors]
        step = (self.x - next_x + 180.0) % 360.0 - 180.0
        is_repeated = (np.abs(step) < 1e-12) & (self.y == self.y[successors])
        goes_round = (np.abs(self.x - next_x) > 180.0) & (np.abs(self.y) < 90.0)
        keep = ~is_repeated | goes_round
        return _RingVertices(self.x[keep], self.y[keep], self.ring[keep], self.ring_count)

    def count_vertices(self) -> npt.NDArray[np.int64]:
        """Count the vertices of each ring."""
        return np.bincount(self.ring, minlength=self.ring_count)

    def count_distinct_places(self) -> npt.NDArray[np.int64]:
        """Count the different places on the sphere among the vertices of each ring: a pole is one place."""
        longitudes = np.where(np.abs(self.y) < 90.0, self.x % 360.0, 0.0)
        places = np.stack([self.ring, longitudes, self.y], axis=1)
        rings_of_places = np.unique(places, axis=0)[:, 0]
        return np.bincount(rings_of_places.astype(np.int64), minlength=self.ring_count)


def _find_wide_boxes(vertices: _RingVertices) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Find the rings that are boxes along meridians and parallels, and too wide (or at a pole) for great circles.

    Returns
    -------
    box, is_wide_box
        West, east, south and north of each ring, and whether it is such a box.
    """
    box = np.zeros((vertices.ring_count, 4))
    x = vertices.x
    y = vertices.y
    ring = vertices.ring
    starts = vertices.find_starts()
    rings_present = ring[starts]
    box[rings_present, 0] = np.minimum.reduceat(x, starts)
    box[rings_present, 1] = np.maximum.reduceat(x, starts)
    box[rings_present, 2] = np.minimum.reduceat(y, starts)
    box[rings_present, 3] = np.maximum.reduceat(y, starts)
    west, east, south, north = box.T
    successors = vertices.find_successors()
    is_oblique = (x != x[successors]) & (y != y[successors])
    is_between_meridians = (x != west[ring]) & (x != east[ring])
    is_between_parallels = (y != south[ring]) & (y != north[ring])
    is_box = vertices.count_vertices() > 0
    is_box[ring[is_oblique]] = False
    is_box[ring[is_between_meridians & is_between_parallels]] = False
    width = east - west
    at_pole = (np.abs(south) == 90.0) | (np.abs(north) == 90.0)
    # 170 to -170 is a step over the antimeridian that is not cut there, not 340 degrees
    is_broad = (width >= 180.0) & ((width < MIN_ANTIMERIDIAN_STEP_DEGREES) | (width >= 360.0))
    return box, is_box & (is_broad | at_pole) & (north > south)


def _order_vertices(vertices: _RingVertices) -> npt.NDArray[np.int64]:
    """Order the vertices of each ring as DALI wants them: clockwise where longitude grows to the right."""
    ring = vertices.ring
    successors = vertices.find_successors()
    step = (vertices.x[successors] - vertices.x + 180.0) % 360.0 - 180.0
    weights = -step * (vertices.y + vertices.y[successors]) / 2.0
    area = np.bincount(ring, weights=weights, minlength=vertices.ring_count)
    turning = np.bincount(ring, weights=step, minlength=vertices.ring_count)
    goes_round_pole = np.abs(turning) > 180.0
    is_reversed = (area > 0) & ~goes_round_pole
    bounds = _compute_part_offsets(vertices.count_vertices())
    place = np.arange(len(ring))
    mirrored_place = bounds[ring] + bounds[ring + 1] - 1 - place
    return np.where(is_reversed[ring], mirrored_place, place)


def _wrap_box_longitudes(west: Any, east: Any) -> Any:
    """Wrap the bounds of a box to 0..360; a box that goes all the way round stays so."""
    span = east - west
    goes_round = span >= 360.0
    low = np.where(goes_round, 0.0, west % 360.0)
    high = np.where(goes_round, 360.0, east % 360.0)
    ends_at_zero = ~goes_round & (high == 0.0) & (span != 0)
    high = np.where(ends_at_zero, 360.0, high)
    return np.stack([low, high], axis=1)


def _write_ranges(boxes: npt.NDArray[np.float64]) -> Any:
    """Write boxes (west, east, south, north) as ranges."""
    bounds = np.concatenate([_wrap_box_longitudes(boxes[:, 0], boxes[:, 1]), boxes[:, 2:]], axis=1)
    return np.asarray(_write_shape_texts("range", np.nan_to_num(bounds).ravel(), np.arange(len(boxes) + 1) * 4), object)


def _write_shape_texts(shape_word: str, coordinates: npt.NDArray[np.float64], offsets: Any) -> pa.Array:
    texts = pa.array(coordinates).cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"^(-?\d+)\.0$", r"\1")
    joined_texts = _join_texts(texts, offsets)
    return pc.binary_join_element_wise(pa.scalar(shape_word), joined_texts, " ")


def _join_texts(texts: pa.Array, bounds: Any) -> pa.Array:
    """Join the texts between each two bounds with blanks."""
    lists = pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), texts)
    return pc.binary_join(lists, " ")


def _join_texts_by_row(texts: pa.Array, owner: Any, is_good: Any, row_count: int) -> pa.Array:
    """Join the parts of each row's region; null without any."""
    bounds = _compute_part_offsets(np.bincount(owner, minlength=row_count))
    has_region = pa.array((np.diff(bounds) > 0) & is_good)
    return pc.if_else(has_region, _join_texts(texts, bounds), pa.scalar(None, pa.string()))
