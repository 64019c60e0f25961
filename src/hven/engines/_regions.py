"""Which HEALPix cells each region of a column may touch: the engines' position indexes of regions are made of them.

A region is put into the few cells that its bounding circle touches, at an order that suits its size; regions of a hemisphere and
more, and those that are no circle or polygon, into the cells of their own cover. A cell of order o is the number
``4 ** (o + 1) + cell``: so all orders are told apart, and ``number >> 2`` is the cell around it.

A cell says little of where in it a region is: beside the cells each row has a cap, the bounding circle itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._bound.covers import cover
from hven.engines._bound.reading import read
from hven.model import shape_columns
from hven.model.sky import Circle, Moc, Point, Polygon, Region, arrays, from_array, healpix, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.model.sky import Shape
    from hven.model.table import Table

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Caps = npt.NDArray[np.float32]

CELLS = 64  # of one region that is neither a small circle nor a small polygon
LONG = 2.0  # degrees: a circle around a polygon so large holds many regions that the polygon, if it is narrow, does not touch
COVER, STRIPS = 2000, 4096  # cells of one long and narrow polygon, such polygons at a time
WIDE = 2  # order of cells of larger polygons: of the next one, all are fewer than `CELLS`
REACH = 60.0  # degrees: a polygon within such a circle is the smaller side of its border
SLACK = 1e-9  # degrees
ROUNDED = 5e-7  # radians: what single precision may take from a cap
_SHAPES = frozenset({"CIRCLE", "POLYGON", "REGION"})


def region_columns(table: Table) -> list[str]:
    """List the columns that get a position index of their shapes."""
    return [
        column.name
        for column in table.columns
        if column.type.special is not None and column.type.special.adql in _SHAPES
    ]


def no_caps(rows: int) -> Caps:
    """Return caps that hold the whole sphere: unit vector and radius in radians, of single precision."""
    caps = np.zeros((rows, 4), np.float32)
    caps[:, 3] = 4.0
    return caps


def cells_of_column(values: pa.Array, caps: Caps | None = None) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield rows and cells of the regions of one batch; caps that hold these are written into `caps` where they are small."""
    if pa.types.is_string(values.type):
        yield from _of_text(values, caps)
        return
    lists = values if pa.types.is_list(values.type) else values.cast(pa.list_(pa.float64()))
    rows = np.flatnonzero(np.asarray(pc.is_valid(lists)))
    numbers = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))[rows]
    for kind, some in (("circle", lengths == 3), ("polygon", (lengths >= 6) & (lengths % 2 == 0))):
        if some.any():
            those = numbers if some.all() else numbers[np.repeat(some, lengths)]
            yield from _bounded(kind, rows[some], lengths[some], those, caps)


def _of_text(values: pa.Array, caps: Caps | None) -> Iterator[tuple[Indexes, Indexes]]:
    known = np.asarray(pc.is_valid(values))
    found = shape_columns.outlines(values)
    known[found.rows] = False
    for kind, which in (("circle", found.circle), ("polygon", ~found.circle)):
        if which.any():
            some = found if which.all() else found.some(which)
            yield from _bounded(kind, some.rows, some.lengths, some.numbers, caps)
    rest = np.flatnonzero(known)
    owners: dict[str, list[int]] = {"circle": [], "polygon": []}
    lengths: dict[str, list[int]] = {"circle": [], "polygon": []}
    flat: dict[str, list[float]] = {"circle": [], "polygon": []}
    for row, text in zip(rest.tolist(), values.take(pa.array(rest)).to_pylist(), strict=True):
        shape = read(text)
        for part in shape.parts if isinstance(shape, Region) else () if shape is None else (shape,):
            listed = numbers_of(part)
            if isinstance(part, Circle | Polygon):
                kind = "circle" if isinstance(part, Circle) else "polygon"
                owners[kind].append(row)
                lengths[kind].append(len(listed))
                flat[kind] += listed
            else:
                cells = _few(part)
                yield np.full(len(cells), row, np.int64), cells
    for kind, those in owners.items():
        if those:
            yield from _bounded(kind, np.array(those), np.array(lengths[kind]), np.array(flat[kind]), None)


def numbers_of(shape: Shape | Moc) -> list[float]:
    """Return the numbers of a circle, a polygon or a point as DALI lists them; none of anything else."""
    if isinstance(shape, Circle):
        return [shape.lon, shape.lat, shape.radius]
    if isinstance(shape, Polygon):
        return [number for pair in zip(shape.lons, shape.lats, strict=True) for number in pair]
    return [shape.lon, shape.lat] if isinstance(shape, Point) else []


def _bounded(
    kind: str, rows: Indexes, lengths: npt.NDArray[Any], numbers: Numbers, caps: Caps | None
) -> Iterator[tuple[Indexes, Indexes]]:
    """Cover circles and polygons by cells of their bounding circles; `numbers` has `lengths` of them for each row."""
    offsets = np.append(0, np.cumsum(lengths))
    starts, thin = offsets[:-1], np.zeros(len(rows), np.bool_)
    if kind == "circle":
        lon, lat, radius = numbers[starts], numbers[starts + 1], numbers[starts + 2]
    else:
        lon, lat, radius, thin = arrays.caps(offsets, numbers, LONG)
    with np.errstate(invalid="ignore"):
        small = np.isfinite(lon) & (np.abs(lat) <= 90.0) & (radius >= 0.0) & (radius <= REACH)
        large = (radius > REACH) & (kind == "polygon")
    if caps is not None:
        caps[rows[small], :3] = sphere.vectors(lon[small], lat[small])
        caps[rows[small], 3] = np.radians(radius[small] + SLACK) + ROUNDED
    plain, long = small.copy(), np.flatnonzero(thin)
    for part in np.split(long, range(STRIPS, len(long), STRIPS)):
        of, *beads = arrays.strips(offsets, numbers, np.isin(np.arange(len(rows)), part))
        for order, which, cells in healpix.cones_cells(beads[0], beads[1], beads[2] + SLACK):
            owner, found = np.divmod(np.unique((of[which] << 32) + cells), 1 << 32)
            few = (np.bincount(owner, minlength=len(rows)) <= COVER)[owner]
            plain[owner[few]] = large[owner[few]] = False
            yield rows[owner[few]], found[few] + 4 ** (order + 1)
    for order, which, cells in healpix.cones_cells(lon[plain], lat[plain], radius[plain] + SLACK):
        yield rows[plain][which], cells + 4 ** (order + 1)
    if large.any():
        yield from _large(rows, *arrays.wide(offsets, numbers, large, WIDE))
    for at in np.flatnonzero(~small).tolist() if kind == "circle" else ():
        try:
            shape = from_array(kind, tuple(numbers[starts[at] : starts[at] + lengths[at]].tolist()))
        except ValueError:  # no shape: no condition on it is true
            continue
        cells = _few(shape)
        yield np.full(len(cells), rows[at], np.int64), cells


def _large(rows: Indexes, which: Indexes, cells: Indexes) -> Iterator[tuple[Indexes, Indexes]]:
    """Make cells of large polygons larger, where they are more than `CELLS`."""
    many = (np.bincount(which, minlength=len(rows)) > CELLS)[which]
    for order, found in ((WIDE, ~many), (WIDE - 1, many)):
        owner, cell = np.divmod(np.unique((which[found] << 32) + (cells[found] >> 2 * (WIDE - order))), 1 << 32)
        yield rows[owner], cell + 4 ** (order + 1)


def ranges_of(shape: Shape) -> Indexes:
    """Return ranges of cells of the highest order that hold a shape: half-open, ascending."""
    ranges: Indexes = shape.cover(healpix.ORDER) if isinstance(shape, Point) else cover(shape)
    return ranges


def _few(shape: Shape | Moc) -> Indexes:
    """Return a few cells that hold a shape, of one order; a MOC may be anywhere (see `RegionIndex.touched`)."""
    if isinstance(shape, Moc):
        return np.arange(12, dtype=np.int64) + 4
    ranges = ranges_of(shape)
    order = 0
    for order in range(healpix.ORDER, -1, -1):
        shift = 2 * (healpix.ORDER - order)
        low, high = ranges[:, 0] >> shift, ((ranges[:, 1] - 1) >> shift) + 1
        if int((high - low).sum()) <= CELLS or order == 0:
            break
    found: Indexes = np.unique(
        np.concatenate(
            [np.arange(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)] or [np.empty(0, np.int64)]
        )
    )
    cells: Indexes = found + 4 ** (order + 1)
    return cells
