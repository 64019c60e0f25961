"""Convert chain codes in dynamic spectra to features of TFCat, whose pixels are steps of time and frequency.

The functions work on whole columns. The area of a closed chain code is that of a contour on a sphere: the squares of
its pixels and of the pixels inside. An open chain code, a skeleton, is the line through the centres of its pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.sky.api.ring_geometry import split_and_rank_outline_rings
from hven.plugins.image_regions.chain_steps import view_chain_digits
from hven.plugins.image_regions.contour_regions import MAX_CONTOUR_PIXELS
from hven.plugins.image_regions.pixel_corners import trace_pixel_outlines
from hven.plugins.image_regions.pixel_runs import fill_closed_pixel_walks

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]


def write_chain_codes_as_tfcat(
    codes: pa.Array,
    time: Numbers,
    spectral: Numbers,
    steps: tuple[Numbers, Numbers],
    step_table: tuple[tuple[int, int], ...],
    *,
    as_lines: bool,
) -> pa.Array:
    """Write chain codes as geometries of TFCat.

    Parameters
    ----------
    codes
        Digits from 0 to 7, a text for each row, shape (n,); an empty text is a single pixel.
    time, spectral
        The centre of the first pixel, in units of the document's reference system, shape (n,).
    steps
        Steps from one pixel to the next in time, and in frequency: two arrays of shape (n,).
    step_table
        The step (x, y) of each digit.
    as_lines
        Whether to write lines through the centres of pixels, or points for single pixels, instead of areas.

    Returns
    -------
    geometries
        JSON, shape (n,): Polygon or MultiPolygon, outlines counter-clockwise; LineString or Point. Null if a digit, a
        position or a step is not valid, or an area is not closed.
    """
    texts = codes.cast(pa.large_string())
    digits, offsets = view_chain_digits(texts)
    count = np.diff(offsets)
    has_text = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    is_valid = has_text & (count < MAX_CONTOUR_PIXELS)
    row_of_digit = np.repeat(np.arange(len(texts)), count)
    is_valid[row_of_digit[digits > 7]] = False
    for values in (time, spectral, *steps):
        is_valid &= np.isfinite(values)
    is_valid &= (steps[0] != 0.0) & (steps[1] != 0.0)
    good = np.flatnonzero(is_valid)
    digits = digits[np.repeat(is_valid, count)]
    size = count[good] + 1
    first = np.cumsum(size) - size
    stepped = np.ones(int(size.sum()), np.bool_)
    stepped[first] = False
    pixels = []
    for moves in np.array(step_table, np.int64).T:
        travelled = np.zeros(len(stepped), np.int64)
        travelled[stepped] = moves[digits]
        travelled = np.cumsum(travelled)
        pixels.append(travelled - np.repeat(travelled[first], size))
    trace = _drop_collinear_pixels if as_lines else _trace_walk_areas
    row, x, y, begin = trace(first, size, pixels[0], pixels[1])
    row = good[row]
    t = pa.array(time[row] + steps[0][row] * x)
    f = pa.array(spectral[row] + steps[1][row] * y)
    points = literal.concat_text_columns("[", t.cast(pa.string()), ",", f.cast(pa.string()), "]")
    is_mirrored = (steps[0] < 0) ^ (steps[1] < 0)
    return _join_geometry_texts(points, begin, row, len(texts), is_mirrored, as_lines=as_lines)


def _drop_collinear_pixels(_: Whole, pixel_counts: Whole, x: Whole, y: Whole) -> tuple[Whole, Numbers, Numbers, Whole]:
    """Remove the pixels at which lines continue in the same direction."""
    owner = np.repeat(np.arange(len(pixel_counts)), pixel_counts)
    is_corner = np.ones(len(x), np.bool_)
    changes_row = owner[2:] != owner[:-2]
    changes_x_step = x[2:] - x[1:-1] != x[1:-1] - x[:-2]
    changes_y_step = y[2:] - y[1:-1] != y[1:-1] - y[:-2]
    is_corner[1:-1] = changes_row | changes_x_step | changes_y_step
    owner = owner[is_corner]
    begin = np.searchsorted(owner, np.arange(len(pixel_counts) + 1))
    return owner, x[is_corner].astype(float), y[is_corner].astype(float), begin


def _trace_walk_areas(
    first_pixels: Whole, pixel_counts: Whole, x: Whole, y: Whole
) -> tuple[Whole, Numbers, Numbers, Whole]:
    """Trace the areas of closed walks, ring by ring, each with its first corner repeated at its end."""
    last = first_pixels + pixel_counts - 1
    x_gap = np.abs(x[last] - x[first_pixels])
    y_gap = np.abs(y[last] - y[first_pixels])
    shut = np.maximum(x_gap, y_gap) <= 1
    closed_walks = np.flatnonzero(shut)
    if not len(closed_walks):
        return closed_walks, np.empty(0), np.empty(0), np.zeros(1, np.int64)
    low_x = np.minimum.reduceat(x, first_pixels)
    low_y = np.minimum.reduceat(y, first_pixels)
    inside = np.repeat(shut, pixel_counts)
    row = np.repeat(np.arange(len(closed_walks)), pixel_counts[closed_walks])
    walk_x = (x - np.repeat(low_x, pixel_counts))[inside] + 1
    walk_y = (y - np.repeat(low_y, pixel_counts))[inside] + 1
    outline = trace_pixel_outlines(fill_closed_pixel_walks(row, walk_x, walk_y))
    after = outline.after.copy()
    root, rank = split_and_rank_outline_rings(after, outline.twin, outline.level)
    edge_areas = outline.x * outline.y[after] - outline.y * outline.x[after]
    area = np.bincount(root, edge_areas, len(root))
    nodes = np.flatnonzero(area[root] > 0)
    node_order = np.lexsort((rank[nodes], root[nodes], outline.row[nodes]))
    nodes = nodes[node_order]
    is_new_ring = np.r_[True, root[nodes[1:]] != root[nodes[:-1]]]
    begin = np.flatnonzero(is_new_ring)
    end = np.append(begin[1:], len(nodes))
    closed_nodes = np.insert(nodes, end, nodes[begin])
    owner = closed_walks[outline.row[closed_nodes]]
    u = np.asarray(outline.x[closed_nodes] + low_x[owner] - 1.5, np.float64)
    v = np.asarray(outline.y[closed_nodes] + low_y[owner] - 1.5, np.float64)
    ring_begins = np.append(begin, len(nodes)) + np.arange(len(begin) + 1)
    return owner, u, v, ring_begins


def _join_geometry_texts(
    points: pa.Array, begin: Whole, row: Whole, row_count: int, is_mirrored: npt.NDArray[np.bool_], *, as_lines: bool
) -> pa.Array:
    """Join positions to parts, and parts to geometries."""
    if not len(row):
        return pa.nulls(row_count, pa.string())
    owner = row[begin[:-1]]
    if not as_lines and is_mirrored[owner].any():  # their outlines run in the other direction
        is_reversed = is_mirrored[np.repeat(owner, np.diff(begin))]
        at = np.arange(len(row))
        ring = np.repeat(np.arange(len(owner)), np.diff(begin))
        reversed_order = begin[ring] + begin[ring + 1] - 1 - at
        points = points.take(pa.array(np.where(is_reversed, reversed_order, at)))
    parts = _join_texts_with_commas(begin, points)
    if as_lines:
        is_single_point = pa.array(np.diff(begin) == 1)
        kinds = pc.if_else(is_single_point, '{"type":"Point","coordinates":', '{"type":"LineString","coordinates":[')
        geometries = literal.concat_text_columns(kinds, parts, pc.if_else(is_single_point, "}", "]}"))
        feature_rows = owner
    else:
        first_parts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        ends = np.append(first_parts, len(owner))
        several = pa.array(np.diff(ends) > 1)
        polygons = literal.concat_text_columns("[[", parts, "]]")
        inside = _join_texts_with_commas(ends, polygons)
        kinds = pc.if_else(several, '{"type":"MultiPolygon","coordinates":[', '{"type":"Polygon","coordinates":')
        geometries = literal.concat_text_columns(kinds, inside, pc.if_else(several, "]}", "}"))
        feature_rows = owner[first_parts]
    place = np.full(row_count, -1)
    place[feature_rows] = np.arange(len(feature_rows))
    return geometries.take(pa.array(place, mask=place < 0))


def _join_texts_with_commas(offsets: Whole, texts: pa.Array) -> pa.Array:
    """Join texts between offsets, with commas."""
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), texts)
    return pc.binary_join(lists, ",")
