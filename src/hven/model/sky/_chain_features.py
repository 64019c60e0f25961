"""Chain codes in dynamic spectra: features of TFCat, whose pixels are steps of time and frequency.

Thousands at once, and no line of Python for each.

The area of a closed one is that of a contour on a sphere: the squares of its pixels and of those that it winds round.
An open one, a skeleton, is the line through its pixels' centres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.sky._contour_faults import MAX_CONTOUR_PIXELS
from hven.model.sky._pixel_corners import trace_outlines, trace_rings
from hven.model.sky._pixel_runs import fill_walks

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

__all__ = ["write_chain_geometries"]


def write_chain_geometries(
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
        Digits from 0 to 7, a text for each row, shape (n,); an empty one is a single pixel.
    time, spectral
        The centre of the first pixel, in units of the document's reference system, shape (n,).
    steps
        From one pixel to the next in time, and in frequency: two of shape (n,).
    step_table
        The step (x, y) of each digit.
    as_lines
        Lines through the centres of pixels, or points of single ones; else areas.

    Returns
    -------
    geometries
        JSON, shape (n,): Polygon or MultiPolygon, outlines counter-clockwise; LineString or Point. Null: a digit, place
        or step is none, or an area does not close.
    """
    texts = codes.cast(pa.large_string())
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, np.int64, len(texts) + 1, texts.offset * 8)
    digits = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]].astype(np.int64) - 48
    count = np.diff(offsets)
    is_valid = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False), np.bool_) & (count < MAX_CONTOUR_PIXELS)
    is_valid[np.repeat(np.arange(len(texts)), count)[(digits < 0) | (digits > 7)]] = False
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
    outline = (_drop_collinear_pixels if as_lines else _trace_areas)(first, size, *pixels)
    row, x, y, begin = outline
    row = good[row]
    t, f = (
        pa.array(start[row] + step[row] * place)
        for start, step, place in ((time, steps[0], x), (spectral, steps[1], y))
    )
    points = literal.join_columns("[", t.cast(pa.string()), ",", f.cast(pa.string()), "]")
    return _write_geometries(points, begin, row, len(texts), (steps[0] < 0) ^ (steps[1] < 0), as_lines=as_lines)


def _drop_collinear_pixels(_: Whole, pixel_counts: Whole, x: Whole, y: Whole) -> tuple[Whole, Numbers, Numbers, Whole]:
    """Leave out the pixels at which lines go straight on."""
    owner = np.repeat(np.arange(len(pixel_counts)), pixel_counts)
    is_corner = np.ones(len(x), np.bool_)
    is_corner[1:-1] = (
        (owner[2:] != owner[:-2]) | (x[2:] - x[1:-1] != x[1:-1] - x[:-2]) | (y[2:] - y[1:-1] != y[1:-1] - y[:-2])
    )
    owner = owner[is_corner]
    return (
        owner,
        x[is_corner].astype(float),
        y[is_corner].astype(float),
        np.searchsorted(owner, np.arange(len(pixel_counts) + 1)),
    )


def _trace_areas(first_pixels: Whole, pixel_counts: Whole, x: Whole, y: Whole) -> tuple[Whole, Numbers, Numbers, Whole]:
    """Outline what closed walks enclose, ring by ring, each with its first corner again at its end."""
    last = first_pixels + pixel_counts - 1
    shut = np.maximum(np.abs(x[last] - x[first_pixels]), np.abs(y[last] - y[first_pixels])) <= 1
    closed_walks = np.flatnonzero(shut)
    if not len(closed_walks):
        return closed_walks, np.empty(0), np.empty(0), np.zeros(1, np.int64)
    low = [np.minimum.reduceat(coordinate, first_pixels) for coordinate in (x, y)]
    inside = np.repeat(shut, pixel_counts)
    row = np.repeat(np.arange(len(closed_walks)), pixel_counts[closed_walks])
    outline = trace_outlines(
        fill_walks(
            row,
            *(
                (coordinate - np.repeat(lowest, pixel_counts))[inside] + 1
                for coordinate, lowest in zip((x, y), low, strict=True)
            ),
        )
    )
    after = outline.after.copy()
    root, rank = trace_rings(after, outline.twin, outline.level)
    area = np.bincount(root, outline.x * outline.y[after] - outline.y * outline.x[after], len(root))
    nodes = np.flatnonzero(area[root] > 0)
    nodes = nodes[np.lexsort((rank[nodes], root[nodes], outline.row[nodes]))]
    begin = np.flatnonzero(np.r_[True, root[nodes[1:]] != root[nodes[:-1]]])
    end = np.append(begin[1:], len(nodes))
    closed_nodes = np.insert(nodes, end, nodes[begin])
    owner = closed_walks[outline.row[closed_nodes]]
    u, v = (
        np.asarray(place[closed_nodes] + lowest[owner] - 1.5, np.float64)
        for place, lowest in zip((outline.x, outline.y), low, strict=True)
    )
    return owner, u, v, np.append(begin, len(nodes)) + np.arange(len(begin) + 1)


def _write_geometries(
    points: pa.Array, begin: Whole, row: Whole, row_count: int, mirrored: npt.NDArray[np.bool_], *, as_lines: bool
) -> pa.Array:
    """Join positions to parts, and parts to geometries."""
    if not len(row):
        return pa.nulls(row_count, pa.string())
    owner = row[begin[:-1]]
    if not as_lines and mirrored[owner].any():  # their outlines run the other way
        is_reversed = mirrored[np.repeat(owner, np.diff(begin))]
        at = np.arange(len(row))
        ring = np.repeat(np.arange(len(owner)), np.diff(begin))
        points = points.take(pa.array(np.where(is_reversed, begin[ring] + begin[ring + 1] - 1 - at, at)))
    parts = pc.binary_join(pa.ListArray.from_arrays(pa.array(begin.astype(np.int32)), points), ",")
    if as_lines:
        is_single_point = pa.array(np.diff(begin) == 1)
        kinds = pc.if_else(is_single_point, '{"type":"Point","coordinates":', '{"type":"LineString","coordinates":[')
        geometries = literal.join_columns(kinds, parts, pc.if_else(is_single_point, "}", "]}"))
        feature_rows = owner
    else:
        each = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        ends = np.append(each, len(owner))
        several = pa.array(np.diff(ends) > 1)
        polygons = literal.join_columns("[[", parts, "]]")
        inside = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), polygons), ",")
        kinds = pc.if_else(several, '{"type":"MultiPolygon","coordinates":[', '{"type":"Polygon","coordinates":')
        geometries = literal.join_columns(kinds, inside, pc.if_else(several, "]}", "}"))
        feature_rows = owner[each]
    place = np.full(row_count, -1)
    place[feature_rows] = np.arange(len(feature_rows))
    return geometries.take(pa.array(place, mask=place < 0))
