"""GeoJSON geometries (RFC 7946) -> DALI regions, whole columns at a time.

Rings opened, turned round, cleared of doubles, longitudes 0 to 360.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.sky import region_files

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

_GEOMETRY_PARTS_SQL = """
SELECT kind,
       json_transform(CASE kind WHEN 'Polygon' THEN concat('[', c, ']') WHEN 'MultiPolygon' THEN c END, '[[[["DOUBLE"]]]]') AS polygons,
       json_transform(CASE kind WHEN 'Point' THEN concat('[', c, ']') WHEN 'MultiPoint' THEN c END, '[["DOUBLE"]]') AS points
FROM (SELECT json_extract_string(g, '/type') AS kind, json_extract(g, '/coordinates')::VARCHAR AS c FROM geometries)
"""
MIN_ANTIMERIDIAN_STEP_DEGREES = (
    270.0  # degrees of longitude between two vertices, from which on the short way round is meant
)
NON_REGION_TYPES = ("LineString", "MultiLineString", "GeometryCollection")


@dataclass(frozen=True, slots=True)
class GeometryFrames:
    """The frames that geometries are said in (``crs``), by row.

    Attributes
    ----------
    names
        As they are written; null where none is said.
    longitude_sign, latitude_factor
        Factors of longitudes, and of the tangents of latitudes, that make them eastward and planetocentric.
    """

    names: pa.Array
    longitude_sign: npt.NDArray[np.float64]
    latitude_factor: npt.NDArray[np.float64]

    @classmethod
    def from_names(cls, names: pa.Array) -> tuple[GeometryFrames | None, list[str]]:
        """Look frames up; None if nothing is to be turned, and the sentences for people."""
        coded = names.dictionary_encode()
        words = coded.dictionary.to_pylist()
        frame_factors = [region_files.find_crs_conversion(word) for word in words]
        notes = [
            (
                f"the document says crs {word!r:.80}, which is not known here: its numbers are taken for "
                f"longitudes to the east, and latitudes"
            )
            if factors_of_frame is None
            else (
                f"longitudes and latitudes are said in {word:.80}: they become those to the east, and "
                f"planetocentric ones"
            )
            for word, factors_of_frame in zip(words, frame_factors, strict=True)
            if factors_of_frame != (1.0, 1.0)
        ]
        factors = np.array(
            [
                *((1.0, 1.0) if factors_of_frame is None else factors_of_frame for factors_of_frame in frame_factors),
                (1.0, 1.0),
            ]
        )
        sign, shrink = factors[np.asarray(pc.fill_null(coded.indices, len(words)))].T
        return (cls(names, sign, shrink) if (factors != 1.0).any() else None), notes

    def convert_positions(self, lon: Any, lat: Any, row: Any) -> tuple[Any, Any]:
        """Turn positions of rows."""
        with np.errstate(invalid="ignore"):
            return self.longitude_sign[row] * lon, region_files.to_planetocentric_latitudes(
                lat, self.latitude_factor[row]
            )

    def convert_boxes(self, boxes: pa.Array) -> pa.Array:
        """Turn bounding boxes of rows: their west becomes east where longitudes run the other way."""
        offsets = np.asarray(boxes.offsets)
        values = np.array(pc.fill_null(boxes.values.cast(pa.float64()), np.nan), np.float64)
        for half in (2, 3):
            row = np.flatnonzero(np.asarray(pc.is_valid(boxes)) & (np.diff(offsets) == 2 * half))
            at = offsets[row]
            west, south = self.convert_positions(values[at], values[at + 1], row)
            east, north = self.convert_positions(values[at + half], values[at + half + 1], row)
            back = self.longitude_sign[row] < 0
            values[at], values[at + half] = np.where(back, east, west), np.where(back, west, east)
            values[at + 1], values[at + half + 1] = south, north
        return pa.ListArray.from_arrays(boxes.offsets, pa.array(values), mask=pc.is_null(boxes))

    def add_crs_to_text(self, texts: pa.Array) -> pa.Array:
        """Write the frame into geometries that stay text, for who reads them later (GeoJSON of 2008)."""
        words = self.names.dictionary_encode()
        heads = [
            f'{{"crs":{orjson.dumps({"type": "name", "properties": {"name": word}}).decode()},'
            for word in words.dictionary.to_pylist()
        ]
        head = pa.array(heads, pa.string()).take(words.indices)
        written = pc.binary_join_element_wise(head, pc.utf8_slice_codeunits(texts, 1), "")
        other = pa.array((self.longitude_sign != 1.0) | (self.latitude_factor != 1.0))
        return pc.if_else(pc.and_(other, pc.fill_null(pc.starts_with(texts, "{"), False)), written, texts)


def geometries_to_regions(
    texts: pa.Array, connection: duckdb.DuckDBPyConnection, frames: GeometryFrames | None = None
) -> tuple[pa.Array, pa.Array | None, int]:
    """Convert geometries to the text of DALI's multishape (``polygon ..``, ``range ..``, ``point ..``).

    Vertices run counter-clockwise seen from the origin (DALI 1.1 section 3.3.7), where GeoJSON's exterior rings run the
    other way. What touches a pole or spans half of all longitudes along its edges is a ``range``: great circles are not
    meant there. From 270 degrees on (short of 360) the short way over the antimeridian is meant.

    Parameters
    ----------
    texts
        JSON of geometries, or null.
    frames
        Those that they are said in; None: longitudes to the east, planetocentric latitudes.

    Returns
    -------
    regions, bad, holes
        `bad` marks what is none (or None); lines and collections are null without being bad. `holes`: rings left out,
        since a region has no holes.
    """
    parts = _extract_parts(texts, connection)
    rows = len(texts)
    kinds = parts.column("kind").combine_chunks()
    bad = np.zeros(rows, bool)
    polygons, is_wrong, holes = _write_polygons(_combine_chunks(parts.column("polygons")), rows, frames)
    bad |= is_wrong
    points, is_wrong = _write_points(_combine_chunks(parts.column("points")), rows, frames)
    bad |= is_wrong
    region_texts = pc.coalesce(polygons, points)
    is_no_region = pc.or_kleene(pc.is_null(texts), pc.is_in(kinds, value_set=pa.array(NON_REGION_TYPES)))
    bad |= np.asarray(pc.and_(pc.is_null(region_texts), pc.invert(pc.fill_null(is_no_region, False))))
    return region_texts, pa.array(bad) if bad.any() else None, holes


def boxes_to_regions(boxes: pa.Array, frames: GeometryFrames | None = None) -> pa.Array:
    """Convert bounding boxes (lists of 4 or 6 numbers: west, south, [bottom,] east, north [,top]) to ranges."""
    if frames is not None:
        boxes = frames.convert_boxes(boxes)
    offsets = np.asarray(boxes.offsets)
    sizes = np.where(np.asarray(pc.is_valid(boxes)), np.diff(offsets), 0)
    good = np.flatnonzero((sizes == 4) | (sizes == 6))
    flat = boxes.values
    if len(flat):
        values = np.asarray(pc.fill_null(flat.cast(pa.float64()), np.nan))
    else:
        values = np.zeros(0)
    out = np.full(len(boxes), None, object)
    if len(good):
        half = sizes[good] // 2
        at = offsets[good]
        box = np.stack([values[at], values[at + half], values[at + 1], values[at + half + 1]], axis=1)
        box[:, :2] = _wrap_longitudes(box[:, 0], box[:, 1])
        texts = _join_numbers("range", pa.array(box.ravel()), np.arange(len(good) + 1) * 4)
        real = np.isfinite(box).all(axis=1) & (np.abs(box[:, 2:]) <= 90).all(axis=1) & (box[:, 2] <= box[:, 3])
        out[good[real]] = np.asarray(texts, object)[real]
    return pa.array(out, pa.string())


def _extract_parts(texts: pa.Array, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    connection.register("geometries", pa.table({"g": texts}))
    try:
        return connection.execute(_GEOMETRY_PARTS_SQL).to_arrow_table()
    finally:
        connection.unregister("geometries")


def _combine_chunks(column: pa.ChunkedArray) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks:
        return pa.concat_arrays(column.chunks)
    return pa.array([], column.type)


def _flatten_lists(array: Any) -> tuple[npt.NDArray[np.int64], Any]:
    """Flatten lists once: their bounds (null ones are empty) and the elements that they hold."""
    flat = array.flatten()
    sizes = np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64)
    return np.concatenate([[0], np.cumsum(sizes)]), flat


def _split_coordinates(points: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Split positions into longitude and latitude; find which are none."""
    bounds, flat = _flatten_lists(points)
    values = np.append(np.asarray(pc.fill_null(flat, np.nan), np.float64), [np.nan, np.nan])
    short = np.diff(bounds) < 2
    lon = np.where(short, np.nan, values[bounds[:-1]])
    lat = np.where(short, np.nan, values[np.minimum(bounds[:-1] + 1, len(values) - 1)])
    return lon, lat, ~(np.isfinite(lon) & (np.abs(lat) <= 90.0) & (np.abs(lon) <= 720.0))


def _write_points(array: Any, row_count: int, frames: GeometryFrames | None) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    bounds, flat = _flatten_lists(array)
    owner = np.repeat(np.arange(row_count), np.diff(bounds))
    lon, lat, wrong = _split_coordinates(flat)
    if frames is not None:
        lon, lat = frames.convert_positions(lon, lat, owner)
    bad = np.zeros(row_count, bool)
    bad[owner[wrong]] = True
    pairs = np.stack([lon % 360.0, lat], axis=1).ravel()
    texts = _join_numbers("point", pa.array(np.nan_to_num(pairs)), np.arange(len(lon) + 1) * 2)
    return _join_by_row(texts, owner, ~bad, row_count), bad


def _write_polygons(
    array: Any, row_count: int, frames: GeometryFrames | None
) -> tuple[pa.Array, npt.NDArray[np.bool_], int]:
    of_row, polygons = _flatten_lists(array)
    of_polygon, rings = _flatten_lists(polygons)
    of_ring, points = _flatten_lists(rings)
    row = np.repeat(np.arange(row_count), np.diff(of_row))
    bad = np.zeros(row_count, bool)
    counts = np.diff(of_polygon)
    bad[row[counts == 0]] = True
    lon, lat, wrong = _split_coordinates(points)
    if frames is not None:
        lon, lat = frames.convert_positions(lon, lat, np.repeat(np.repeat(row, counts), np.diff(of_ring)))
    outer = of_polygon[:-1][counts > 0]
    row = row[counts > 0]
    holes = int((counts - 1).clip(0).sum())
    # only the points of outer rings, without the one that closes a ring and those that repeat the one before
    begin = of_ring[:-1][outer]
    end = of_ring[1:][outer]
    ring = np.repeat(np.arange(len(outer)), end - begin)
    at = (
        np.arange(len(ring))
        - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
        + np.repeat(begin, end - begin)
    )
    x = lon[at]
    y = lat[at]
    np.logical_or.at(bad, row[ring[wrong[at]]], True)
    successors = _find_successors(ring)
    same = (np.abs((x - x[successors] + 180.0) % 360.0 - 180.0) < 1e-12) & (y == y[successors])
    keep = ~same | (np.abs(x - x[successors]) > 180.0) & (np.abs(y) < 90.0)
    width = np.zeros(len(outer))
    if len(ring):
        starts = np.flatnonzero(np.diff(ring, prepend=-1))
        rings_present = ring[starts]
        width[rings_present] = np.maximum.reduceat(x, starts) - np.minimum.reduceat(x, starts)
    corners = _BoxRings(x, y, ring, successors, len(outer), width)
    x = x[keep]
    y = y[keep]
    ring = ring[keep]
    if len(outer):
        sizes = np.bincount(ring, minlength=len(outer))
    else:
        sizes = np.zeros(0, np.int64)
    distinct_vertice_count = _count_distinct_vertices(x, y, ring, len(outer))
    thin = (distinct_vertice_count < 3) & ~corners.is_wide_box
    bad[row[thin]] = True
    order = _order_vertices(x, y, ring, sizes)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    pairs = np.stack([x[order] % 360.0, y[order]], axis=1).ravel()
    texts = np.asarray(_join_numbers("polygon", pa.array(np.nan_to_num(pairs)), bounds * 2), object)
    if corners.is_wide_box.any():
        box = corners.box[corners.is_wide_box]
        box[:, :2] = _wrap_longitudes(box[:, 0], box[:, 1])
        texts[corners.is_wide_box] = np.asarray(
            _join_numbers("range", pa.array(np.nan_to_num(box).ravel()), np.arange(len(box) + 1) * 4), object
        )
    return _join_by_row(pa.array(texts, pa.string()), row, ~bad, row_count), bad, holes


def _count_distinct_vertices(x: Any, y: Any, ring: Any, count: int) -> npt.NDArray[np.int64]:
    """Count the different places on the sphere among the vertices of each ring: a pole is one place."""
    if not len(ring):
        return np.zeros(count, np.int64)
    places = np.stack([ring, np.where(np.abs(y) < 90.0, x % 360.0, 0.0), y], axis=1)
    return np.bincount(np.unique(places, axis=0)[:, 0].astype(np.int64), minlength=count)


def _find_successors(ring: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Find the vertex after each one in its ring: the first after the last."""
    successors = np.arange(1, len(ring) + 1)
    if len(ring):
        starts = np.flatnonzero(np.diff(ring, prepend=-1))
        ends = np.append(starts[1:], len(ring)) - 1
        successors[ends] = starts
    return successors


class _BoxRings:
    """Rings that are boxes along meridians and parallels, and too wide (or at a pole) for great circles."""

    def __init__(self, x: Any, y: Any, ring: Any, following: Any, count: int, width: Any) -> None:
        straight = np.ones(count, bool)
        self.box = np.zeros((count, 4))
        self.is_wide_box = np.zeros(count, bool)
        if not len(ring):
            return
        odd = (x != x[following]) & (y != y[following])
        straight[ring[odd]] = False
        starts = np.flatnonzero(np.diff(ring, prepend=-1))
        rings_present = ring[starts]
        for place, (values, reduce) in enumerate(((x, np.minimum), (x, np.maximum), (y, np.minimum), (y, np.maximum))):
            self.box[rings_present, place] = reduce.reduceat(values, starts)
        west, east, south, north = self.box.T
        inner = ((x != west[ring]) & (x != east[ring])) | ((y != south[ring]) & (y != north[ring]))
        corners = np.zeros(count, bool)
        corners[rings_present] = True
        corners[ring[inner & (y != south[ring]) & (y != north[ring]) & (x != west[ring]) & (x != east[ring])]] = False
        at_pole = (np.abs(south) == 90.0) | (np.abs(north) == 90.0)
        # 170 to -170 is a step over the antimeridian that nobody cut, not 340 degrees
        broad = (width >= 180.0) & ((width < MIN_ANTIMERIDIAN_STEP_DEGREES) | (width >= 360.0))
        self.is_wide_box = corners & straight & (broad | at_pole) & (north > south)


def _order_vertices(x: Any, y: Any, ring: Any, sizes: Any) -> npt.NDArray[np.int64]:
    """Order the vertices of each ring as DALI wants them: clockwise where longitude grows to the right."""
    if not len(ring):
        return np.zeros(0, np.int64)
    following = _find_successors(ring)
    step = (x[following] - x + 180.0) % 360.0 - 180.0
    weights = -step * (y + y[following]) / 2.0
    area = np.bincount(ring, weights=weights, minlength=len(sizes))
    round_pole = np.abs(np.bincount(ring, weights=step, minlength=len(sizes))) > 180.0
    turn = (area > 0) & ~round_pole
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    place = np.arange(len(ring))
    back = starts[ring] + sizes[ring] - 1 - (place - starts[ring])
    return np.where(turn[ring], back, place)


def _wrap_longitudes(west: Any, east: Any) -> Any:
    """Wrap the bounds of a box to 0..360; all the way round stays so."""
    span = east - west
    full = span >= 360.0
    low = np.where(full, 0.0, west % 360.0)
    high = np.where(full, 360.0, east % 360.0)
    high = np.where(~full & (high == 0.0) & (span != 0), 360.0, high)
    return np.stack([low, high], axis=1)


def _join_numbers(word: str, values: pa.Array, bounds: Any) -> pa.Array:
    texts = values.cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"^(-?\d+)\.0$", r"\1")
    lists = pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), texts)
    return pc.binary_join_element_wise(pa.scalar(word), pc.binary_join(lists, " "), " ")


def _join_by_row(texts: pa.Array, owner: Any, is_good: Any, row_count: int) -> pa.Array:
    """Join the parts of each row's region; null without any."""
    if row_count:
        bounds = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=row_count))])
    else:
        bounds = np.zeros(1, np.int64)
    lists = pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), texts)
    has_texts = np.diff(bounds) > 0
    return pc.if_else(pa.array(has_texts & is_good), pc.binary_join(lists, " "), pa.scalar(None, pa.string()))
