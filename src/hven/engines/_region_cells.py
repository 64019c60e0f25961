"""HEALPix cells that each region of a column may touch: the position indexes of regions consist of them.

A region gets the few cells that its bounding circle touches, at an order that suits its size. A region of a hemisphere
or more, or one that is no circle or polygon, gets the cells of its own cover. A cell of order o is the number
``4 ** (o + 1) + cell``: this tells all orders apart, and ``number >> 2`` is the cell around it.

A cell does not tell where in it a region is, so each row also has a cap, which is the bounding circle itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._query_analysis.shape_covers import cover_shape_with_cells
from hven.engines._query_analysis.shape_parsing import parse_shape
from hven.model import shape_columns
from hven.model.sky import (
    Circle,
    Moc,
    Point,
    Polygon,
    ShapeUnion,
    build_shape_from_array,
    healpix,
    polygon_arrays,
    sphere,
)
from hven.model.sky.api.ragged_arrays import sort_distinct

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.model.sky import Shape
    from hven.model.table import Table

    Indexes = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Caps = npt.NDArray[np.float32]

MAX_REGION_CELLS = 64  # of one region that is neither a small circle nor a small polygon
# a larger circle around a polygon has many regions in it that the polygon, if it is narrow, does not touch
MIN_STRIP_RADIUS_DEGREES = 2.0
MAX_STRIP_CELLS = 2000  # cells of one long and narrow polygon
MAX_STRIP_POLYGONS = 4096  # narrow polygons that are covered at a time
WIDE_POLYGON_ORDER = 2  # order of the cells of large polygons; all cells of order 1 are fewer than `MAX_REGION_CELLS`
MAX_CAP_RADIUS_DEGREES = 60.0  # a polygon within such a circle is on the smaller side of its border
CAP_MARGIN_DEGREES = 1e-9
SINGLE_PRECISION_MARGIN_RADIANS = 5e-7  # the most that rounding to single precision takes from a cap
_REGION_TYPES = frozenset({"CIRCLE", "POLYGON", "REGION"})


def list_indexed_region_columns(table: Table) -> list[str]:
    """List the columns that get a position index of their shapes.

    Parameters
    ----------
    table
        The table.

    Returns
    -------
    names
        Names of its columns of regions.
    """
    names = []
    for column in table.columns:
        xtype = column.type.stored_xtype
        if xtype is not None and xtype.adql in _REGION_TYPES:
            names.append(column.name)
    return names


def create_full_sky_caps(row_count: int) -> Caps:
    """Return caps that hold the whole sphere: unit vector and radius in radians, in single precision."""
    caps = np.zeros((row_count, 4), np.float32)
    caps[:, 3] = 4.0
    return caps


def cover_regions_with_cells_and_caps(values: pa.Array, caps: Caps | None = None) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield rows and cells of the regions of one batch.

    Parameters
    ----------
    values
        Arrow array (rows,) of regions: texts, or lists of numbers.
    caps
        Array (rows, 4) of float32, into which the caps of small regions are written: unit vector and radius in radians;
        None: they are not needed.

    Yields
    ------
    rows, cells
        Arrays (pairs,) of int64: numbers of rows, and cells, ``4 ** (order + 1) + cell``.
    """
    if pa.types.is_string(values.type):
        yield from _cover_region_texts_and_fill_caps(values, caps)
        return
    if pa.types.is_list(values.type):
        lists = values
    else:
        lists = values.cast(pa.list_(pa.float64()))
    rows = np.flatnonzero(np.asarray(pc.is_valid(lists)))
    numbers = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))[rows]
    is_polygon = (lengths >= 6) & (lengths % 2 == 0)
    for kind, is_of_kind in (("circle", lengths == 3), ("polygon", is_polygon)):
        if not is_of_kind.any():
            continue
        kind_numbers = numbers
        if not is_of_kind.all():
            kind_numbers = numbers[np.repeat(is_of_kind, lengths)]
        yield from _cover_shapes_and_fill_caps(kind, rows[is_of_kind], lengths[is_of_kind], kind_numbers, caps)


def _cover_region_texts_and_fill_caps(values: pa.Array, caps: Caps | None) -> Iterator[tuple[Indexes, Indexes]]:
    is_pending = np.asarray(pc.is_valid(values))
    outlines = shape_columns.parse_simple_shapes(values)
    is_pending[outlines.rows] = False
    for kind, is_of_kind in (("circle", outlines.is_circle), ("polygon", ~outlines.is_circle)):
        if not is_of_kind.any():
            continue
        if is_of_kind.all():
            kind_outlines = outlines
        else:
            kind_outlines = outlines.select_rows(is_of_kind)
        yield from _cover_shapes_and_fill_caps(
            kind, kind_outlines.rows, kind_outlines.lengths, kind_outlines.numbers, caps
        )
    pending_rows = np.flatnonzero(is_pending)
    pending_texts = values.take(pa.array(pending_rows)).to_pylist()
    circles = _PendingShapes([], [], [])
    polygons = _PendingShapes([], [], [])
    for row, text in zip(pending_rows.tolist(), pending_texts, strict=True):
        for part in _list_shape_parts(parse_shape(text)):
            if isinstance(part, Circle):
                circles.add_shape(row, part)
            elif isinstance(part, Polygon):
                polygons.add_shape(row, part)
            else:
                cells = _cover_shape_coarsely(part)
                yield np.full(len(cells), row, np.int64), cells
    for kind, shapes in (("circle", circles), ("polygon", polygons)):
        if shapes.rows:
            arrays = (np.array(shapes.rows), np.array(shapes.lengths), np.array(shapes.numbers))
            yield from _cover_shapes_and_fill_caps(kind, *arrays, None)


class _PendingShapes(NamedTuple):
    """Circles or polygons that are parts of regions: row, length and numbers of each."""

    rows: list[int]
    lengths: list[int]
    numbers: list[float]

    def add_shape(self, row: int, shape: Circle | Polygon) -> None:
        shape_numbers = list_shape_coordinates(shape)
        self.rows.append(row)
        self.lengths.append(len(shape_numbers))
        self.numbers.extend(shape_numbers)


def _list_shape_parts(shape: Shape | Moc | None) -> tuple[Shape | Moc, ...]:
    if shape is None:
        return ()
    if isinstance(shape, ShapeUnion):
        return tuple(shape.parts)
    return (shape,)


def list_shape_coordinates(shape: Shape | Moc) -> list[float]:
    """Return the numbers of a circle, a polygon or a point as DALI lists them; empty for other shapes."""
    if isinstance(shape, Circle):
        return [shape.lon, shape.lat, shape.radius]
    if isinstance(shape, Polygon):
        return [number for pair in zip(shape.lons, shape.lats, strict=True) for number in pair]
    if isinstance(shape, Point):
        return [shape.lon, shape.lat]
    return []


def _cover_shapes_and_fill_caps(
    shape_kind: str, rows: Indexes, lengths: npt.NDArray[Any], numbers: Numbers, caps: Caps | None
) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield rows and cells of circles or polygons by their bounding circles; `numbers` has `lengths` for each row."""
    offsets = np.append(0, np.cumsum(lengths))
    starts = offsets[:-1]
    is_thin = np.zeros(len(rows), np.bool_)
    if shape_kind == "circle":
        lon = numbers[starts]
        lat = numbers[starts + 1]
        radius = numbers[starts + 2]
    else:
        lon, lat, radius, is_thin = polygon_arrays.compute_bounding_circles_and_thinness(
            offsets, numbers, MIN_STRIP_RADIUS_DEGREES
        )
    with np.errstate(invalid="ignore"):
        is_position = np.isfinite(lon) & (np.abs(lat) <= 90.0)
        is_small = is_position & (radius >= 0.0) & (radius <= MAX_CAP_RADIUS_DEGREES)
        is_large = (radius > MAX_CAP_RADIUS_DEGREES) & (shape_kind == "polygon")
    if caps is not None:
        cap_radius = np.radians(radius[is_small] + CAP_MARGIN_DEGREES) + SINGLE_PRECISION_MARGIN_RADIANS
        caps[rows[is_small], :3] = sphere.to_unit_vectors(lon[is_small], lat[is_small])
        caps[rows[is_small], 3] = cap_radius
    is_plain = is_small.copy()
    for order, owner, cells in _cover_strip_polygons(offsets, numbers, np.flatnonzero(is_thin)):
        is_plain[owner] = False
        is_large[owner] = False
        yield rows[owner], cells + 4 ** (order + 1)
    cap_cells = healpix.iterate_cone_cells(lon[is_plain], lat[is_plain], radius[is_plain] + CAP_MARGIN_DEGREES)
    for order, shape_indexes, cells in cap_cells:
        yield rows[is_plain][shape_indexes], cells + 4 ** (order + 1)
    if is_large.any():
        large_owners, large_cells = polygon_arrays.cover_polygons_with_cells(
            offsets, numbers, is_large, WIDE_POLYGON_ORDER
        )
        yield from _degrade_large_cells(rows, large_owners, large_cells)
    if shape_kind == "circle":
        for shape_number in np.flatnonzero(~is_small).tolist():
            shape_numbers = numbers[offsets[shape_number] : offsets[shape_number + 1]]
            try:
                shape = build_shape_from_array(shape_kind, tuple(shape_numbers.tolist()))
            except ValueError:  # it is no shape, so no condition on it is true
                continue
            cells = _cover_shape_coarsely(shape)
            yield np.full(len(cells), rows[shape_number], np.int64), cells


def _cover_strip_polygons(
    offsets: Indexes, numbers: Numbers, strip_numbers: Indexes
) -> Iterator[tuple[int, Indexes, Indexes]]:
    """Yield order, owner and cells of long and narrow polygons that need few cells.

    Small circles along the polygon are covered instead of the polygon.
    """
    shape_count = len(offsets) - 1
    for part in np.split(strip_numbers, range(MAX_STRIP_POLYGONS, len(strip_numbers), MAX_STRIP_POLYGONS)):
        is_in_part = np.isin(np.arange(shape_count), part)
        strip_owners, lon, lat, radius = polygon_arrays.cover_thin_polygons_with_circles(offsets, numbers, is_in_part)
        for order, circle_numbers, cells in healpix.iterate_cone_cells(lon, lat, radius + CAP_MARGIN_DEGREES):
            owner_cells = sort_distinct((strip_owners[circle_numbers] << 32) + cells)
            owner, strip_cells = np.divmod(owner_cells, 1 << 32)
            has_few_cells = np.bincount(owner, minlength=shape_count) <= MAX_STRIP_CELLS
            is_few = has_few_cells[owner]
            yield order, owner[is_few], strip_cells[is_few]


def _degrade_large_cells(rows: Indexes, row_indexes: Indexes, cells: Indexes) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield rows and cells of large polygons, with larger cells where there are more than `MAX_REGION_CELLS`."""
    has_many_cells = (np.bincount(row_indexes, minlength=len(rows)) > MAX_REGION_CELLS)[row_indexes]
    for order, is_selected in ((WIDE_POLYGON_ORDER, ~has_many_cells), (WIDE_POLYGON_ORDER - 1, has_many_cells)):
        degraded_cells = cells[is_selected] >> 2 * (WIDE_POLYGON_ORDER - order)
        owner_cells = sort_distinct((row_indexes[is_selected] << 32) + degraded_cells)
        owner, cell = np.divmod(owner_cells, 1 << 32)
        yield rows[owner], cell + 4 ** (order + 1)


def compute_shape_cell_ranges(shape: Shape) -> Indexes:
    """Return ranges of cells of the highest order that hold a shape.

    Parameters
    ----------
    shape
        A shape, or a position.

    Returns
    -------
    ranges
        Array (ranges, 2) of int64: half-open, ascending.
    """
    ranges: Indexes
    if isinstance(shape, Point):
        ranges = shape.cover_with_cells(healpix.MAX_ORDER)
    else:
        ranges = cover_shape_with_cells(shape)
    return ranges


def _cover_shape_coarsely(shape: Shape | Moc) -> Indexes:
    """Return a few cells of one order that hold a shape.

    A MOC may be anywhere (`RegionIndex.find_possibly_touching_rows`).
    """
    if isinstance(shape, Moc):
        return np.arange(12, dtype=np.int64) + 4
    ranges = compute_shape_cell_ranges(shape)
    order = 0
    for order in range(healpix.MAX_ORDER, -1, -1):
        shift = 2 * (healpix.MAX_ORDER - order)
        low = ranges[:, 0] >> shift
        high = ((ranges[:, 1] - 1) >> shift) + 1
        if int((high - low).sum()) <= MAX_REGION_CELLS or order == 0:
            break
    range_cells = [np.arange(begin, end) for begin, end in zip(low.tolist(), high.tolist(), strict=True)]
    distinct_cells: Indexes = sort_distinct(np.concatenate([np.empty(0, np.int64), *range_cells]))
    cells: Indexes = distinct_cells + 4 ** (order + 1)
    return cells
