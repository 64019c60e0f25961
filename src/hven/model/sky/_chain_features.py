"""Chain codes in dynamic spectra: features of TFCat, whose pixels are steps of time and frequency; thousands at once, and no line of Python for each.

The area of a closed one is that of a contour on a sphere: the squares of its pixels and of those that it winds round. An open one, a skeleton,
is the line through its pixels' centres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.sky._contour_faults import LONGEST
from hven.model.sky._lattice import corners, rings
from hven.model.sky._pixels import enclosed

if TYPE_CHECKING:
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

__all__ = ["chain_features"]


def chain_features(
    codes: pa.Array, time: Numbers, spectral: Numbers, steps: tuple[Numbers, Numbers], table: tuple[tuple[int, int], ...], *, line: bool
) -> pa.Array:  # fmt: skip
    """Write chain codes as geometries of TFCat.

    Parameters
    ----------
    codes
        Digits from 0 to 7, a text for each row, shape (n,); an empty one is a single pixel.
    time, spectral
        The centre of the first pixel, in units of the document's reference system, shape (n,).
    steps
        From one pixel to the next in time, and in frequency: two of shape (n,).
    table
        The step (x, y) of each digit.
    line
        Lines through the centres of pixels, or points of single ones; else areas.

    Returns
    -------
    geometries
        JSON, shape (n,): Polygon or MultiPolygon, outlines counter-clockwise; LineString or Point. Null: a digit, place or step is none, or an
        area does not close.
    """
    texts = codes.cast(pa.large_string())
    _, places, data = texts.buffers()
    offsets = np.frombuffer(places, np.int64, len(texts) + 1, texts.offset * 8)
    digits = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]].astype(np.int64) - 48
    count = np.diff(offsets)
    there = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False), np.bool_) & (count < LONGEST)
    there[np.repeat(np.arange(len(texts)), count)[(digits < 0) | (digits > 7)]] = False
    for values in (time, spectral, *steps):
        there &= np.isfinite(values)
    there &= (steps[0] != 0.0) & (steps[1] != 0.0)
    good = np.flatnonzero(there)
    digits = digits[np.repeat(there, count)]
    size = count[good] + 1
    first = np.cumsum(size) - size
    stepped = np.ones(int(size.sum()), np.bool_)
    stepped[first] = False
    pixels = []
    for moves in np.array(table, np.int64).T:
        far = np.zeros(len(stepped), np.int64)
        far[stepped] = moves[digits]
        far = np.cumsum(far)
        pixels.append(far - np.repeat(far[first], size))
    made = (_lines if line else _areas)(first, size, *pixels)
    row, x, y, begin = made
    row = good[row]
    t, f = (
        pa.array(start[row] + step[row] * place)
        for start, step, place in ((time, steps[0], x), (spectral, steps[1], y))
    )
    points = literal.joined("[", t.cast(pa.string()), ",", f.cast(pa.string()), "]")
    return _written(points, begin, row, len(texts), (steps[0] < 0) ^ (steps[1] < 0), line=line)


def _lines(_: Whole, size: Whole, x: Whole, y: Whole) -> tuple[Whole, Numbers, Numbers, Whole]:
    """Leave out the pixels at which lines go straight on."""
    owner = np.repeat(np.arange(len(size)), size)
    kept = np.ones(len(x), np.bool_)
    kept[1:-1] = (
        (owner[2:] != owner[:-2]) | (x[2:] - x[1:-1] != x[1:-1] - x[:-2]) | (y[2:] - y[1:-1] != y[1:-1] - y[:-2])
    )
    owner = owner[kept]
    return owner, x[kept].astype(float), y[kept].astype(float), np.searchsorted(owner, np.arange(len(size) + 1))


def _areas(first: Whole, size: Whole, x: Whole, y: Whole) -> tuple[Whole, Numbers, Numbers, Whole]:
    """Outline what closed walks enclose, ring by ring, each with its first corner again at its end."""
    last = first + size - 1
    shut = np.maximum(np.abs(x[last] - x[first]), np.abs(y[last] - y[first])) <= 1
    which = np.flatnonzero(shut)
    if not len(which):
        return which, np.empty(0), np.empty(0), np.zeros(1, np.int64)
    low = [np.minimum.reduceat(one, first) for one in (x, y)]
    inside = np.repeat(shut, size)
    row = np.repeat(np.arange(len(which)), size[which])
    found = corners(
        enclosed(row, *((one - np.repeat(least, size))[inside] + 1 for one, least in zip((x, y), low, strict=True)))
    )
    after = found.after.copy()
    root, rank = rings(after, found.twin, found.level)
    area = np.bincount(root, found.x * found.y[after] - found.y * found.x[after], len(root))
    nodes = np.flatnonzero(area[root] > 0)
    nodes = nodes[np.lexsort((rank[nodes], root[nodes], found.row[nodes]))]
    begin = np.flatnonzero(np.r_[True, root[nodes[1:]] != root[nodes[:-1]]])
    end = np.append(begin[1:], len(nodes))
    again = np.insert(nodes, end, nodes[begin])
    owner = which[found.row[again]]
    u, v = (
        np.asarray(place[again] + least[owner] - 1.5, np.float64)
        for place, least in zip((found.x, found.y), low, strict=True)
    )
    return owner, u, v, np.append(begin, len(nodes)) + np.arange(len(begin) + 1)


def _written(
    points: pa.Array, begin: Whole, row: Whole, rows: int, mirrored: npt.NDArray[np.bool_], *, line: bool
) -> pa.Array:
    """Join positions to parts, and parts to geometries."""
    if not len(row):
        return pa.nulls(rows, pa.string())
    owner = row[begin[:-1]]
    if not line and mirrored[owner].any():  # their outlines run the other way
        back = mirrored[np.repeat(owner, np.diff(begin))]
        at = np.arange(len(row))
        ring = np.repeat(np.arange(len(owner)), np.diff(begin))
        points = points.take(pa.array(np.where(back, begin[ring] + begin[ring + 1] - 1 - at, at)))
    parts = pc.binary_join(pa.ListArray.from_arrays(pa.array(begin.astype(np.int32)), points), ",")
    if line:
        alone = pa.array(np.diff(begin) == 1)
        kinds = pc.if_else(alone, '{"type":"Point","coordinates":', '{"type":"LineString","coordinates":[')
        made = literal.joined(kinds, parts, pc.if_else(alone, "}", "]}"))
        whole = owner
    else:
        each = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
        ends = np.append(each, len(owner))
        several = pa.array(np.diff(ends) > 1)
        polygons = literal.joined("[[", parts, "]]")
        inside = pc.binary_join(pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), polygons), ",")
        kinds = pc.if_else(several, '{"type":"MultiPolygon","coordinates":[', '{"type":"Polygon","coordinates":')
        made = literal.joined(kinds, inside, pc.if_else(several, "]}", "}"))
        whole = owner[each]
    place = np.full(rows, -1)
    place[whole] = np.arange(len(whole))
    return made.take(pa.array(place, mask=place < 0))
