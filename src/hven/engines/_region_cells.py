"""Which HEALPix cells each region of a column may touch: the engines' position indexes of regions are made of them.

A region is put into the few cells that its bounding circle touches, at an order that suits its size; regions of a
hemisphere and more, and those that are no circle or polygon, into the cells of their own cover. A cell of order o is
the number ``4 ** (o + 1) + cell``: so all orders are told apart, and ``number >> 2`` is the cell around it.

A cell says little of where in it a region is: beside the cells each row has a cap, the bounding circle itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._query_analysis.shape_covers import cover_shape
from hven.engines._query_analysis.shape_parsing import parse_shape
from hven.model import shape_columns
from hven.model.sky import Circle, Moc, Point, Polygon, Region, from_array, healpix, polygon_arrays, sphere

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.model.sky import Shape
    from hven.model.table import Table

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Caps = npt.NDArray[np.float32]

MAX_REGION_CELLS = 64  # of one region that is neither a small circle nor a small polygon
# degrees: a circle around a polygon so large holds many regions that the polygon, if it is narrow, does not touch
MIN_STRIP_RADIUS_DEGREES = 2.0
MAX_STRIP_CELLS, MAX_STRIP_POLYGONS = 2000, 4096  # cells of one long and narrow polygon, such polygons at a time
WIDE_POLYGON_ORDER = 2  # order of cells of larger polygons: of the next one, all are fewer than `MAX_REGION_CELLS`
MAX_CAP_RADIUS_DEGREES = 60.0  # degrees: a polygon within such a circle is the smaller side of its border
CAP_MARGIN_DEGREES = 1e-9  # degrees
SINGLE_PRECISION_MARGIN_RADIANS = 5e-7  # radians: what single precision may take from a cap
_REGION_TYPES = frozenset({"CIRCLE", "POLYGON", "REGION"})


def list_region_columns(table: Table) -> list[str]:
    """List the columns that get a position index of their shapes."""
    return [
        column.name
        for column in table.columns
        if column.type.stored_xtype is not None and column.type.stored_xtype.adql in _REGION_TYPES
    ]


def create_full_sky_caps(row_count: int) -> Caps:
    """Return caps that hold the whole sphere: unit vector and radius in radians, of single precision."""
    caps = np.zeros((row_count, 4), np.float32)
    caps[:, 3] = 4.0
    return caps


def cover_region_column(values: pa.Array, caps: Caps | None = None) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield rows and cells of the regions of one batch.

    Caps that hold these are written into `caps` where they are small.
    """
    if pa.types.is_string(values.type):
        yield from _cover_region_texts(values, caps)
        return
    if pa.types.is_list(values.type):
        lists = values
    else:
        lists = values.cast(pa.list_(pa.float64()))
    rows = np.flatnonzero(np.asarray(pc.is_valid(lists)))
    numbers = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))[rows]
    for kind, is_of_kind in (("circle", lengths == 3), ("polygon", (lengths >= 6) & (lengths % 2 == 0))):
        if is_of_kind.any():
            if is_of_kind.all():
                kind_numbers = numbers
            else:
                kind_numbers = numbers[np.repeat(is_of_kind, lengths)]
            yield from _cover_bounded_shapes(kind, rows[is_of_kind], lengths[is_of_kind], kind_numbers, caps)


def _cover_region_texts(values: pa.Array, caps: Caps | None) -> Iterator[tuple[Indexes, Indexes]]:
    is_pending = np.asarray(pc.is_valid(values))
    outlines = shape_columns.parse_simple_shapes(values)
    is_pending[outlines.rows] = False
    for kind, is_kind in (("circle", outlines.is_circle), ("polygon", ~outlines.is_circle)):
        if is_kind.any():
            if is_kind.all():
                kind_outlines = outlines
            else:
                kind_outlines = outlines.select_rows(is_kind)
            yield from _cover_bounded_shapes(
                kind, kind_outlines.rows, kind_outlines.lengths, kind_outlines.numbers, caps
            )
    remaining_rows = np.flatnonzero(is_pending)
    owners: dict[str, list[int]] = {"circle": [], "polygon": []}
    lengths: dict[str, list[int]] = {"circle": [], "polygon": []}
    flat: dict[str, list[float]] = {"circle": [], "polygon": []}
    for row, text in zip(remaining_rows.tolist(), values.take(pa.array(remaining_rows)).to_pylist(), strict=True):
        shape = parse_shape(text)
        for part in shape.parts if isinstance(shape, Region) else () if shape is None else (shape,):
            part_numbers = list_shape_numbers(part)
            if isinstance(part, Circle | Polygon):
                if isinstance(part, Circle):
                    kind = "circle"
                else:
                    kind = "polygon"
                owners[kind].append(row)
                lengths[kind].append(len(part_numbers))
                flat[kind] += part_numbers
            else:
                cells = _cover_shape_coarsely(part)
                yield np.full(len(cells), row, np.int64), cells
    for kind, owner_rows in owners.items():
        if owner_rows:
            yield from _cover_bounded_shapes(
                kind, np.array(owner_rows), np.array(lengths[kind]), np.array(flat[kind]), None
            )


def list_shape_numbers(shape: Shape | Moc) -> list[float]:
    """Return the numbers of a circle, a polygon or a point as DALI lists them; none of anything else."""
    if isinstance(shape, Circle):
        return [shape.lon, shape.lat, shape.radius]
    if isinstance(shape, Polygon):
        return [number for pair in zip(shape.lons, shape.lats, strict=True) for number in pair]
    if isinstance(shape, Point):
        return [shape.lon, shape.lat]
    return []


def _cover_bounded_shapes(
    shape_kind: str, rows: Indexes, lengths: npt.NDArray[Any], numbers: Numbers, caps: Caps | None
) -> Iterator[tuple[Indexes, Indexes]]:
    """Cover circles and polygons by cells of their bounding circles; `numbers` has `lengths` of them for each row."""
    offsets = np.append(0, np.cumsum(lengths))
    starts = offsets[:-1]
    is_thin = np.zeros(len(rows), np.bool_)
    if shape_kind == "circle":
        lon = numbers[starts]
        lat = numbers[starts + 1]
        radius = numbers[starts + 2]
    else:
        lon, lat, radius, is_thin = polygon_arrays.compute_bounding_circles(offsets, numbers, MIN_STRIP_RADIUS_DEGREES)
    with np.errstate(invalid="ignore"):
        is_small = np.isfinite(lon) & (np.abs(lat) <= 90.0) & (radius >= 0.0) & (radius <= MAX_CAP_RADIUS_DEGREES)
        is_large = (radius > MAX_CAP_RADIUS_DEGREES) & (shape_kind == "polygon")
    if caps is not None:
        caps[rows[is_small], :3] = sphere.to_unit_vectors(lon[is_small], lat[is_small])
        caps[rows[is_small], 3] = np.radians(radius[is_small] + CAP_MARGIN_DEGREES) + SINGLE_PRECISION_MARGIN_RADIANS
    is_plain = is_small.copy()
    strip_rows = np.flatnonzero(is_thin)
    for part in np.split(strip_rows, range(MAX_STRIP_POLYGONS, len(strip_rows), MAX_STRIP_POLYGONS)):
        strip_owners, *beads = polygon_arrays.cover_thin_polygons(offsets, numbers, np.isin(np.arange(len(rows)), part))
        for order, shape_indexes, cells in healpix.iterate_cone_cells(
            beads[0], beads[1], beads[2] + CAP_MARGIN_DEGREES
        ):
            owner, strip_cells = np.divmod(np.unique((strip_owners[shape_indexes] << 32) + cells), 1 << 32)
            is_few = (np.bincount(owner, minlength=len(rows)) <= MAX_STRIP_CELLS)[owner]
            is_plain[owner[is_few]] = is_large[owner[is_few]] = False
            yield rows[owner[is_few]], strip_cells[is_few] + 4 ** (order + 1)
    for order, shape_indexes, cells in healpix.iterate_cone_cells(
        lon[is_plain], lat[is_plain], radius[is_plain] + CAP_MARGIN_DEGREES
    ):
        yield rows[is_plain][shape_indexes], cells + 4 ** (order + 1)
    if is_large.any():
        yield from _degrade_large_cells(
            rows, *polygon_arrays.cover_by_cells(offsets, numbers, is_large, WIDE_POLYGON_ORDER)
        )
    for shape_number in np.flatnonzero(~is_small).tolist() if shape_kind == "circle" else ():
        try:
            shape = from_array(
                shape_kind, tuple(numbers[starts[shape_number] : starts[shape_number] + lengths[shape_number]].tolist())
            )
        except ValueError:  # no shape: no condition on it is true
            continue
        cells = _cover_shape_coarsely(shape)
        yield np.full(len(cells), rows[shape_number], np.int64), cells


def _degrade_large_cells(rows: Indexes, row_indexes: Indexes, cells: Indexes) -> Iterator[tuple[Indexes, Indexes]]:
    """Make cells of large polygons larger, where they are more than `MAX_REGION_CELLS`."""
    has_many_cells = (np.bincount(row_indexes, minlength=len(rows)) > MAX_REGION_CELLS)[row_indexes]
    for order, is_selected in ((WIDE_POLYGON_ORDER, ~has_many_cells), (WIDE_POLYGON_ORDER - 1, has_many_cells)):
        owner, cell = np.divmod(
            np.unique((row_indexes[is_selected] << 32) + (cells[is_selected] >> 2 * (WIDE_POLYGON_ORDER - order))),
            1 << 32,
        )
        yield rows[owner], cell + 4 ** (order + 1)


def cover_shape_ranges(shape: Shape) -> Indexes:
    """Return ranges of cells of the highest order that hold a shape: half-open, ascending."""
    ranges: Indexes = shape.cover(healpix.MAX_ORDER) if isinstance(shape, Point) else cover_shape(shape)
    return ranges


def _cover_shape_coarsely(shape: Shape | Moc) -> Indexes:
    """Return a few cells that hold a shape, of one order.

    A MOC may be anywhere (see `RegionIndex.find_touching_rows`).
    """
    if isinstance(shape, Moc):
        return np.arange(12, dtype=np.int64) + 4
    ranges = cover_shape_ranges(shape)
    order = 0
    for order in range(healpix.MAX_ORDER, -1, -1):
        shift = 2 * (healpix.MAX_ORDER - order)
        low = ranges[:, 0] >> shift
        high = ((ranges[:, 1] - 1) >> shift) + 1
        if int((high - low).sum()) <= MAX_REGION_CELLS or order == 0:
            break
    distinct_cells: Indexes = np.unique(
        np.concatenate(
            [np.arange(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)] or [np.empty(0, np.int64)]
        )
    )
    cells: Indexes = distinct_cells + 4 ** (order + 1)
    return cells
