"""Functions of the sky that no database has, computed by `hven.model.sky` over whole vectors.

`FUNCTION_SIGNATURES` lists their argument and result types.

The functions see rows without nulls (`skip_null_rows`), and may return nulls. A shape is a list of numbers whose length
tells its kind: 2 is a point, 3 a circle, 4 a range, 6 or more a polygon. A list of another length contains nothing and
has no area.
"""

from __future__ import annotations

from functools import lru_cache, reduce, wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import _position_functions as position_functions
from hven.engines._engine_functions import to_single_array
from hven.engines._position_functions import to_float_array
from hven.engines._query_analysis.shape_parsing import compute_shape_moc, parse_shape
from hven.engines._region_cells import list_shape_coordinates
from hven.model import cache_results, shape_columns
from hven.model.sky import (
    Circle,
    Moc,
    Point,
    Polygon,
    Range,
    Shape,
    ShapeUnion,
    are_shapes_intersecting,
    build_shape_from_array,
    compute_angular_distance,
    has_shape_inside,
    healpix,
    polygon_arrays,
    q3c,
    sphere,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.float64]
    Test = Callable[["ShapeColumn", "ShapeColumn"], Flags]

POINT, CIRCLE, RANGE, POLYGON, NO_SHAPE = range(5)
MIN_VECTORIZED_ROWS = 32  # fewer rows of text are parsed one by one
MAX_VECTORIZED_RANGES = 16  # of a column; a query compares regions with one range or a few
_SHAPE_KINDS = {POINT: "point", CIRCLE: "circle", RANGE: "range", POLYGON: "polygon"}


def skip_null_rows(function: Callable[..., pa.Array]) -> Callable[..., pa.Array]:
    """Wrap a function so that it sees only rows without a null; the other rows give null.

    DuckDB could skip such rows itself, but would then accept no null that the function returns for other rows.

    Parameters
    ----------
    function
        A function of Arrow arrays (rows,), which returns an array (rows,).

    Returns
    -------
    function
        A function of the same arrays (rows,).
    """

    @wraps(function)
    def call_without_nulls(*columns: Any) -> pa.Array:
        if not any(column.null_count for column in columns):
            return function(*columns)
        is_complete = reduce(pc.and_, (pc.is_valid(column) for column in columns))
        if not pc.any(is_complete).as_py():
            return pa.nulls(len(is_complete))
        result = function(*(column.filter(is_complete) for column in columns))
        result_rows = np.cumsum(is_complete) - 1
        return result.take(pa.array(result_rows, mask=~np.asarray(is_complete)))

    return call_without_nulls


class ShapeColumn:
    """A column of shapes: their numbers, the offset of each row, and its kind."""

    def __init__(self, shape_offsets: npt.NDArray[np.int64], numbers: Numbers) -> None:
        self.shape_offsets = shape_offsets
        self.numbers = numbers
        sizes = np.diff(shape_offsets)
        kinds = np.full(len(sizes), NO_SHAPE)
        for size, kind in ((2, POINT), (3, CIRCLE), (4, RANGE)):
            kinds[sizes == size] = kind
        kinds[(sizes >= 6) & (sizes % 2 == 0)] = POLYGON
        self.kinds = kinds

    @classmethod
    def from_arrow(cls, column: Any) -> ShapeColumn:
        """Read an Arrow column of lists."""
        list_array = to_single_array(column)
        offsets = np.asarray(list_array.offsets.to_numpy(), dtype=np.int64)
        numbers = np.asarray(list_array.values.to_numpy(zero_copy_only=False), dtype=np.float64)
        return cls(offsets, numbers)

    def __len__(self) -> int:
        return len(self.kinds)

    def select_rows(self, rows: npt.NDArray[np.int64]) -> ShapeColumn:
        """Return the shapes of these rows, which are ascending and distinct."""
        if len(rows) == len(self):
            return self
        return self.take_rows(rows)

    def take_rows(self, rows: npt.NDArray[np.int64]) -> ShapeColumn:
        """Return the shapes of these rows, in this order."""
        sizes = np.diff(self.shape_offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        shifts = offsets[:-1] - self.shape_offsets[:-1][rows]
        number_places = np.arange(offsets[-1]) - np.repeat(shifts, sizes)
        return ShapeColumn(offsets, self.numbers[number_places])

    def split_coordinate_columns(self, size: int) -> Any:
        """Return the numbers of shapes that all have `size` numbers as `size` columns."""
        rows = self.numbers[self.shape_offsets[0] : self.shape_offsets[-1]].reshape(-1, size)
        return tuple(rows[:, number] for number in range(size))

    def build_shape(self, row_number: int) -> Shape | None:
        """Build the shape of one row; return None if its numbers are no shape."""
        begin, end = self.shape_offsets[row_number : row_number + 2]
        kind_name = _SHAPE_KINDS.get(int(self.kinds[row_number]), "")
        return _build_shape(kind_name, tuple(self.numbers[begin:end].tolist()))


@cache_results(4096)
def _build_shape(shape_kind: str, numbers: tuple[float, ...]) -> Shape | None:
    try:
        return build_shape_from_array(shape_kind, numbers) if shape_kind else None
    except ValueError:
        return None


def _build_pair_lists(lon: Numbers, lat: Numbers) -> pa.Array:
    """Build lists of longitude and latitude; null where the longitude is NaN."""
    offsets = np.arange(len(lon) + 1, dtype=np.int32) * 2
    coordinates = np.stack([lon, lat], axis=1).ravel()
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(coordinates), mask=pa.array(np.isnan(lon)))


# --- one shape against another ----------------------------------------------------------------------------------------


def _is_same_point(inner: ShapeColumn, outer: ShapeColumn) -> Flags:
    distance = compute_angular_distance(*inner.split_coordinate_columns(2), *outer.split_coordinate_columns(2))
    is_same: Flags = distance <= 0.0
    return is_same


def _test_circles_polygons(test: Callable[..., Flags], circles: ShapeColumn, polygons: ShapeColumn) -> Flags:
    lon, lat, radius = circles.split_coordinate_columns(3)
    return test(lon, lat, radius, polygons.shape_offsets, polygons.numbers)


_CONTAINS_TESTS: dict[tuple[int, int], Test] = {
    (POINT, POINT): _is_same_point,
    (POINT, CIRCLE): lambda a, b: np.asarray(
        polygon_arrays.is_point_in_circle(*a.split_coordinate_columns(2), *b.split_coordinate_columns(3))
    ),
    (POINT, POLYGON): lambda a, b: polygon_arrays.is_point_in_polygon(
        a.split_coordinate_columns(2)[0], a.split_coordinate_columns(2)[1], b.shape_offsets, b.numbers
    ),
    (CIRCLE, CIRCLE): lambda a, b: polygon_arrays.is_circle_in_circle(
        *a.split_coordinate_columns(3), *b.split_coordinate_columns(3)
    ),
    (CIRCLE, POLYGON): lambda a, b: _test_circles_polygons(polygon_arrays.is_circle_in_polygon, a, b),
    (POLYGON, CIRCLE): lambda a, b: polygon_arrays.is_polygon_in_circle(
        a.shape_offsets, a.numbers, *b.split_coordinate_columns(3)
    ),
    (POLYGON, POLYGON): lambda a, b: polygon_arrays.is_polygon_in_polygon(
        a.shape_offsets, a.numbers, b.shape_offsets, b.numbers
    ),
}
_INTERSECTS_TESTS: dict[tuple[int, int], Test] = {
    (POINT, POINT): _is_same_point,
    (POINT, CIRCLE): _CONTAINS_TESTS[POINT, CIRCLE],
    (POINT, POLYGON): _CONTAINS_TESTS[POINT, POLYGON],
    (CIRCLE, CIRCLE): lambda a, b: polygon_arrays.circles_intersect(
        *a.split_coordinate_columns(3), *b.split_coordinate_columns(3)
    ),
    (CIRCLE, POLYGON): lambda a, b: _test_circles_polygons(polygon_arrays.circle_intersects_polygon, a, b),
    (POLYGON, POLYGON): lambda a, b: polygon_arrays.polygons_intersect(
        a.shape_offsets, a.numbers, b.shape_offsets, b.numbers
    ),
}


def _test_shapes_by_kinds(
    left_shapes: ShapeColumn,
    right_shapes: ShapeColumn,
    tests: dict[tuple[int, int], Test],
    test_single: Callable[[Shape, Shape], bool],
    *,
    is_symmetric: bool,
) -> Flags:
    """Test row by row: all rows of the same two kinds at once, and ranges, which are rare, by their shapes."""
    results = np.zeros(len(left_shapes), np.bool_)
    kind_pairs = left_shapes.kinds * 5 + right_shapes.kinds
    for kind_pair in np.unique(kind_pairs).tolist():
        left_kind, right_kind = divmod(kind_pair, 5)
        if NO_SHAPE in {left_kind, right_kind}:
            continue
        rows = np.flatnonzero(kind_pairs == kind_pair)
        a = left_shapes.select_rows(rows)
        b = right_shapes.select_rows(rows)
        if (left_kind, right_kind) in tests:
            results[rows] = tests[left_kind, right_kind](a, b)
        elif is_symmetric and (right_kind, left_kind) in tests:
            results[rows] = tests[right_kind, left_kind](b, a)
        else:
            shape_pairs = ((a.build_shape(row), b.build_shape(row)) for row in range(len(rows)))
            results[rows] = [_test_single_pair(left, right, test_single) for left, right in shape_pairs]
    return results


def _test_single_pair(
    left_shape: Shape | None, right_shape: Shape | None, test: Callable[[Shape, Shape], bool]
) -> bool:
    return left_shape is not None and right_shape is not None and test(left_shape, right_shape)


def _test_contains_by_kinds(inner_shapes: ShapeColumn, outer_shapes: ShapeColumn) -> Flags:
    return _test_shapes_by_kinds(
        inner_shapes, outer_shapes, _CONTAINS_TESTS, lambda a, b: has_shape_inside(b, a), is_symmetric=False
    )


def _test_intersects_by_kinds(left_shapes: ShapeColumn, right_shapes: ShapeColumn) -> Flags:
    return _test_shapes_by_kinds(
        left_shapes, right_shapes, _INTERSECTS_TESTS, are_shapes_intersecting, is_symmetric=True
    )


def _test_contains(inner: Any, outer: Any) -> pa.Array:
    return pa.array(_test_contains_by_kinds(ShapeColumn.from_arrow(inner), ShapeColumn.from_arrow(outer)))


def _test_intersects(left_column: Any, right_column: Any) -> pa.Array:
    left_shapes = ShapeColumn.from_arrow(left_column)
    right_shapes = ShapeColumn.from_arrow(right_column)
    return pa.array(_test_intersects_by_kinds(left_shapes, right_shapes))


def _test_points_in_polygons(lon: Any, lat: Any, polygon: Any) -> pa.Array:
    shapes = ShapeColumn.from_arrow(polygon)
    lons = to_float_array(lon)
    lats = to_float_array(lat)
    return pa.array(polygon_arrays.is_point_in_polygon(lons, lats, shapes.shape_offsets, shapes.numbers))


# --- properties of one shape ------------------------------------------------------------------------------------------


def _build_box_polygons(lon: Any, lat: Any, width: Any, height: Any) -> pa.Array:
    box_arrays = [to_float_array(column) for column in (lon, lat, width, height)]
    lons, lats = polygon_arrays.compute_box_corners(*box_arrays)
    numbers = np.stack([lons, lats], axis=2).reshape(-1)
    offsets = np.arange(0, len(numbers) + 1, 8, dtype=np.int32)
    is_null = np.isnan(lons[:, 0])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers), mask=pa.array(is_null))


def _compute_area(shapes: Any) -> pa.Array:
    areas = _compute_areas(ShapeColumn.from_arrow(shapes))
    return pa.array(areas, mask=np.isnan(areas))


def _compute_areas(shapes: ShapeColumn) -> Numbers:
    """Compute the areas in square degrees, NaN for what is no shape; polygons all at once."""
    areas = np.full(len(shapes), np.nan)
    areas[shapes.kinds == POINT] = 0.0
    for kind in (CIRCLE, POLYGON, RANGE):
        rows = np.flatnonzero(shapes.kinds == kind)
        if not len(rows):
            continue
        kind_shapes = shapes.select_rows(rows)
        if kind == POLYGON:
            areas[rows] = polygon_arrays.compute_polygon_areas(kind_shapes.shape_offsets, kind_shapes.numbers)
        else:
            built_shapes = [kind_shapes.build_shape(row) for row in range(len(rows))]
            areas[rows] = [np.nan if item is None else item.compute_area() for item in built_shapes]
    return areas


def _compute_centroid(shapes_column: Any) -> pa.Array:
    shapes = ShapeColumn.from_arrow(shapes_column)
    lon = np.full(len(shapes), np.nan)
    lat = np.full(len(shapes), np.nan)
    for kind, size in ((POINT, 2), (CIRCLE, 3)):
        rows = np.flatnonzero(shapes.kinds == kind)
        if len(rows):
            lon[rows], lat[rows] = shapes.select_rows(rows).split_coordinate_columns(size)[:2]
    rows = np.flatnonzero(shapes.kinds == POLYGON)
    if len(rows):
        polygons = shapes.select_rows(rows)
        lon[rows], lat[rows] = polygon_arrays.compute_polygon_centroids(polygons.shape_offsets, polygons.numbers)
    for row in np.flatnonzero(shapes.kinds == RANGE).tolist():
        range_shape = shapes.build_shape(row)
        if range_shape is not None:
            middle = range_shape.compute_centroid()
            lon[row], lat[row] = middle.lon, middle.lat
    return _build_pair_lists(lon, lat)


def _format_shapes(shapes_column: Any) -> pa.Array:
    shapes = ShapeColumn.from_arrow(shapes_column)
    shape_texts = [_format_shape(shapes.build_shape(row)) for row in range(len(shapes))]
    return pa.array(shape_texts, pa.string())


def _format_shape(shape: Shape | None) -> str | None:
    if shape is None:
        return None
    if isinstance(shape, Point):
        return f"point {shape.to_text()}"
    return shape.to_text()


# --- shapes that are text ---------------------------------------------------------------------------------------------


def _find_distinct_rows(*columns: Any) -> tuple[list[tuple[str, ...]], npt.NDArray[np.int64]]:
    """Return the distinct rows of text columns, and the number of the distinct row for each row."""
    codes = []
    dictionaries = []
    for column in columns:
        encoded = to_single_array(column).dictionary_encode()
        codes.append(np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64))
        dictionaries.append(encoded.dictionary.to_pylist())
    distinct_codes, distinct_numbers = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    distinct_rows = []
    for row_codes in distinct_codes.tolist():
        values = [dictionary[code] for dictionary, code in zip(dictionaries, row_codes, strict=True)]
        distinct_rows.append(tuple(values))
    return distinct_rows, distinct_numbers.ravel()


@lru_cache(maxsize=1024)
def _to_moc(shape: Shape | Moc) -> Moc:
    if isinstance(shape, Moc):
        return shape
    if isinstance(shape, ShapeUnion):  # each part at the order that suits it
        part_mocs = [_to_moc(part) for part in shape.parts]
        ranges = healpix.merge_ranges(np.concatenate([part.ranges for part in part_mocs]))
        return Moc(ranges, max(part.order for part in part_mocs))
    size = float(np.sqrt(shape.compute_area() / np.pi))
    if isinstance(shape, Polygon):  # the length of a thin polygon limits how small its cells are
        size = max(size, float(shape.ring.max_vertex_distances[0]) / 16)
    elif isinstance(shape, Range):
        least_latitude = min(map(abs, shape.parallels), default=0.0)
        width = shape.width * float(np.cos(np.radians(least_latitude)))
        size = max(size, (shape.lat2 - shape.lat1) / 32, width / 32)
    order = 29
    if size != 0.0:
        order = min(healpix.choose_cone_order(size) + 4, 29)
    return Moc(shape.cover_with_cells(order), order)


def _contains_shape(inner: Shape | Moc, outer: Shape | Moc) -> bool:
    if isinstance(inner, Moc) or isinstance(outer, Moc):
        inner_moc = _to_moc(inner)
        outer_moc = _to_moc(outer)
        return len(inner_moc.ranges) > 0 and len((inner_moc - outer_moc).ranges) == 0
    return has_shape_inside(outer, inner)


def _intersects_shape(left_shape: Shape | Moc, right_shape: Shape | Moc) -> bool:
    if isinstance(left_shape, Moc) or isinstance(right_shape, Moc):
        return len((_to_moc(left_shape) & _to_moc(right_shape)).ranges) > 0
    return are_shapes_intersecting(left_shape, right_shape)


class ShapeTextColumn:
    """A column of shapes as text; circles and polygons are parsed to numbers all at once."""

    def __init__(self, column: Any) -> None:
        encoded = to_single_array(column).dictionary_encode()
        self.codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        self.distinct_texts = encoded.dictionary
        outlines = shape_columns.parse_simple_shapes(self.distinct_texts)
        sizes = np.zeros(len(self.distinct_texts), np.int64)
        sizes[outlines.rows] = outlines.lengths
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.shapes = ShapeColumn(offsets, outlines.numbers)
        self.is_distinct_plain = self._compute_plain_shape_mask()
        self.is_plain: Flags = self.is_distinct_plain[self.codes]

    def _compute_plain_shape_mask(self) -> Flags:
        """Return which texts are valid circles or polygons: their positions, radii and edges are in range."""
        shapes = self.shapes
        is_plain: Flags = (shapes.kinds == CIRCLE) | (shapes.kinds == POLYGON)
        sizes = np.diff(shapes.shape_offsets)
        owner = np.repeat(np.arange(len(shapes)), sizes)
        place = np.arange(len(owner)) - shapes.shape_offsets[:-1][owner]
        is_circle = shapes.kinds[owner] == CIRCLE
        is_latitude = place % 2 == 1
        is_radius = is_circle & (place == 2)
        low = np.where(is_latitude, -90.0, 0.0)
        high = np.where(is_latitude, 90.0, np.where(is_radius, 180.0, 360.0))
        is_in_range = (shapes.numbers >= low) & (shapes.numbers <= high)
        is_plain[owner[~is_in_range]] = False
        corners = np.flatnonzero(~is_circle & (place % 2 == 0))
        if len(corners):
            corner_vectors = sphere.to_unit_vectors(shapes.numbers[corners], shapes.numbers[corners + 1])
            corner_owners = owner[corners]
            is_first = np.append(True, corner_owners[1:] != corner_owners[:-1])
            successors = np.append(np.arange(1, len(corners)), 0)
            is_last = np.append(is_first[1:], True)
            successors[is_last] = np.flatnonzero(is_first)  # the last corner is joined to the first
            corner_sums = corner_vectors + corner_vectors[successors]
            has_antipodal_edge = np.linalg.norm(corner_sums, axis=1) < 1e-9
            is_plain[corner_owners[has_antipodal_edge]] = False
        return is_plain

    def select_rows(self, row_numbers: npt.NDArray[np.int64]) -> ShapeColumn:
        """Return the shapes of these rows."""
        return self.shapes.take_rows(self.codes[row_numbers])

    def find_range_shape_texts(self) -> dict[int, list[Range]]:
        """Find the texts that are ranges alone, by their codes; many different ones are left out."""
        ranges: dict[int, list[Range]] = {}
        other_codes = np.flatnonzero(~self.is_distinct_plain)  # none in most columns
        other_texts = self.distinct_texts.take(pa.array(other_codes))
        is_range = pc.match_substring_regex(other_texts, r"^\s*range\b", ignore_case=True)
        codes = other_codes[np.asarray(pc.fill_null(is_range, pa.scalar(value=False)), np.bool_)].tolist()
        if len(codes) > MAX_VECTORIZED_RANGES:
            return ranges
        for code in codes:
            shape = parse_shape(self.distinct_texts[code].as_py())
            parts = shape.parts if isinstance(shape, ShapeUnion) else ()
            if all(isinstance(part, Range) for part in parts):
                ranges[code] = [part for part in parts if isinstance(part, Range)]
        return ranges


def _build_shape_text_test(
    test: Callable[[Shape | Moc, Shape | Moc], bool], test_by_kinds: Callable[[ShapeColumn, ShapeColumn], Flags]
) -> Callable[[Any, Any], pa.Array]:
    """Build a function that tests columns of texts: circles and polygons by their kinds, other shapes by `test`."""

    def evaluate_texts(left_column: Any, right_column: Any) -> pa.Array:
        results = np.zeros(len(left_column), np.bool_)
        remaining_rows = np.arange(len(left_column))
        if len(left_column) >= MIN_VECTORIZED_ROWS:
            left_texts = ShapeTextColumn(left_column)
            right_texts = ShapeTextColumn(right_column)
            is_plain = left_texts.is_plain & right_texts.is_plain
            plain_rows = np.flatnonzero(is_plain)
            results[plain_rows] = test_by_kinds(left_texts.select_rows(plain_rows), right_texts.select_rows(plain_rows))
            is_tested = is_plain
            if test is _intersects_shape:
                is_tested = is_plain | _fill_polygon_range_results(left_texts, right_texts, results)
            remaining_rows = np.flatnonzero(~is_tested)
            left_column = to_single_array(left_column).take(pa.array(remaining_rows))
            right_column = to_single_array(right_column).take(pa.array(remaining_rows))
        if not len(remaining_rows):
            return pa.array(results)
        distinct_rows, distinct_numbers = _find_distinct_rows(left_column, right_column)
        shape_pairs = [(parse_shape(a), parse_shape(b)) for a, b in distinct_rows]
        if test is _intersects_shape:
            distinct_results = _test_pairs_intersect(shape_pairs)
        else:
            is_true = [a is not None and b is not None and test(a, b) for a, b in shape_pairs]
            distinct_results = np.array(is_true, np.bool_)
        results[remaining_rows] = distinct_results[distinct_numbers]
        return pa.array(results)

    return evaluate_texts


def _fill_polygon_range_results(left_texts: ShapeTextColumn, right_texts: ShapeTextColumn, results: Flags) -> Flags:
    """Set the results of polygons beside ranges; return which rows these are.

    A query compares a column with one range or a few.
    """
    is_tested = np.zeros(len(results), np.bool_)
    for polygons, others in ((left_texts, right_texts), (right_texts, left_texts)):
        is_polygon = (polygons.is_distinct_plain & (polygons.shapes.kinds == POLYGON))[polygons.codes]
        for code, ranges in others.find_range_shape_texts().items():
            rows = np.flatnonzero(is_polygon & (others.codes == code))
            selected = polygons.select_rows(rows)
            for shape in ranges:
                results[rows] |= shape.find_touching_polygons(selected.shape_offsets, selected.numbers)
            is_tested[rows] = True
    return is_tested


def _test_pairs_intersect(pairs: Sequence[tuple[Shape | Moc | None, Shape | Moc | None]]) -> Flags:
    """Test many pairs: circles and polygons, and unions of them, all at once; other shapes pair by pair."""
    results = np.zeros(len(pairs), np.bool_)
    owners: list[int] = []
    shapes_by_moc: dict[int, tuple[Any, list[tuple[int, Any]]]] = {}
    left_parts: list[list[float]] = []
    right_parts: list[list[float]] = []
    for number, (left_shape, right_shape) in enumerate(pairs):
        if left_shape is None or right_shape is None:
            continue
        if isinstance(left_shape, Moc) != isinstance(right_shape, Moc):
            moc, shape = (left_shape, right_shape) if isinstance(left_shape, Moc) else (right_shape, left_shape)
            _, moc_shapes = shapes_by_moc.setdefault(id(moc), (moc, []))
            moc_shapes.append((number, shape))
            continue
        left_numbers = _list_part_coordinates(left_shape)
        right_numbers = _list_part_coordinates(right_shape)
        if not all(left_numbers) or not all(right_numbers):
            results[number] = _intersects_shape(left_shape, right_shape)
            continue
        for left_part in left_numbers:
            for right_part in right_numbers:
                owners.append(number)
                left_parts.append(left_part)
                right_parts.append(right_part)
    if owners:
        is_touching = _test_intersects_by_kinds(_build_shape_column(left_parts), _build_shape_column(right_parts))
        results[np.array(owners)[is_touching]] = True
    for moc, moc_shapes in shapes_by_moc.values():
        _test_against_moc(moc, moc_shapes, results)
    return results


def _list_part_coordinates(shape: Shape | Moc) -> list[list[float]]:
    """Return the numbers of each part of a shape; those of a part that is no point, circle or polygon are empty."""
    parts = shape.parts if isinstance(shape, ShapeUnion) else (shape,)
    return [list_shape_coordinates(part) for part in parts]


def _build_shape_column(shapes: Sequence[Sequence[float]]) -> ShapeColumn:
    offsets = np.cumsum([0, *map(len, shapes)])
    return ShapeColumn(offsets, np.concatenate([np.array(shape) for shape in shapes]))


def _test_against_moc(moc: Moc, shapes: Sequence[tuple[int, Shape]], results: Flags) -> None:
    """Test shapes against one MOC, and set the results of those that touch it.

    A centre or a corner in the MOC is enough; otherwise the cells of the shape are compared.
    """
    owners = []
    lons = []
    lats = []
    for number, shape in shapes:
        for part in shape.parts if isinstance(shape, ShapeUnion) else (shape,):
            part_numbers = list_shape_coordinates(part)
            if isinstance(part, Circle):
                part_numbers = part_numbers[:2]
            owners += [number] * (len(part_numbers) // 2)
            lons += part_numbers[::2]
            lats += part_numbers[1::2]
    if owners:
        results[np.array(owners)[moc.contains(lons, lats)]] = True
    for number, shape in shapes:
        if not results[number]:
            results[number] = _intersects_shape(moc, shape)


def _test_points_in_shape_texts(lon: Any, lat: Any, shape_texts: Any) -> pa.Array:
    """Test positions against regions and MOCs: circles and polygons all at once, others text by text."""
    lons = to_float_array(lon)
    lats = to_float_array(lat)
    results = np.zeros(len(lons), np.bool_)
    remaining_rows = np.arange(len(lons))
    if len(lons) >= MIN_VECTORIZED_ROWS:
        shapes = ShapeTextColumn(shape_texts)
        plain_rows = np.flatnonzero(shapes.is_plain)
        remaining_rows = np.flatnonzero(~shapes.is_plain)
        coordinates = np.stack([lons[plain_rows], lats[plain_rows]], axis=1).ravel()
        points = ShapeColumn(np.arange(len(plain_rows) + 1) * 2, coordinates)
        results[plain_rows] = _test_contains_by_kinds(points, shapes.select_rows(plain_rows))
        shape_texts = to_single_array(shape_texts).take(pa.array(remaining_rows))
    distinct_texts, text_numbers = _find_distinct_rows(shape_texts)
    order = np.argsort(text_numbers, kind="stable")
    text_ends = np.cumsum(np.bincount(text_numbers, minlength=len(distinct_texts)))
    begin = 0
    for (shape_text,), end in zip(distinct_texts, text_ends.tolist(), strict=True):
        shape = parse_shape(shape_text)
        if shape is not None:
            rows = remaining_rows[order[begin:end]]
            results[rows] = shape.contains(lons[rows], lats[rows])
        begin = end
    return pa.array(results)


def _build_moc_texts(order: Any, shape_texts: Any) -> pa.Array:
    orders = np.asarray(to_single_array(order).to_numpy(zero_copy_only=False))
    distinct_texts, text_numbers = _find_distinct_rows(shape_texts)
    keys = list(zip(orders.tolist(), text_numbers.tolist(), strict=True))
    moc_by_key: dict[tuple[int, int], str | None] = {}
    for moc_order, text_number in set(keys):
        shape = parse_shape(distinct_texts[text_number][0])
        moc_by_key[moc_order, text_number] = _format_shape_moc(shape, moc_order)
    return pa.array([moc_by_key[key] for key in keys], pa.string())


def _format_shape_moc(shape: Shape | Moc | None, order: int) -> str | None:
    if shape is None:
        return None
    return str(compute_shape_moc(shape, order))


def _build_moc_function(combine_mocs: Callable[[Moc, Moc], Moc]) -> Callable[[Any, Any], pa.Array]:
    def evaluate_mocs(left_column: Any, right_column: Any) -> pa.Array:
        distinct_rows, distinct_numbers = _find_distinct_rows(left_column, right_column)
        moc_texts: list[str | None] = []
        for left_text, right_text in distinct_rows:
            left_moc = parse_shape(left_text)
            right_moc = parse_shape(right_text)
            if isinstance(left_moc, Moc) and isinstance(right_moc, Moc):
                moc_texts.append(str(combine_mocs(left_moc, right_moc)))
            else:
                moc_texts.append(None)
        return pa.array(moc_texts, pa.string()).take(pa.array(distinct_numbers))

    return evaluate_mocs


def _compute_shape_text_areas(shape_texts: Any) -> pa.Array:
    """Compute areas of regions and MOCs in square degrees.

    Circles, polygons and unions of disjoint parts are computed all at once, other shapes text by text.
    """
    texts = ShapeTextColumn(shape_texts)
    areas = _compute_areas(texts.shapes)
    is_known = texts.is_distinct_plain.copy()
    _fill_union_areas(texts, areas, is_known)
    for number in np.flatnonzero(~is_known).tolist():
        shape = parse_shape(texts.distinct_texts[number].as_py())
        if shape is None:
            areas[number] = np.nan
        elif isinstance(shape, Moc):
            areas[number] = float(shape.fraction) * _SKY_SQUARE_DEGREES
        else:
            areas[number] = shape.compute_area()
    row_areas = areas[texts.codes]
    return pa.array(row_areas, mask=np.isnan(row_areas))


def _fill_union_areas(texts: ShapeTextColumn, areas: Numbers, is_known: Flags) -> None:
    """Set the areas of unions of disjoint circles and polygons, and mark them as known."""
    unknown_texts = np.flatnonzero(~is_known)
    owner, part_texts = shape_columns.split_shape_unions(texts.distinct_texts.take(pa.array(unknown_texts)))
    if not len(part_texts):
        return
    parts = ShapeTextColumn(part_texts)
    has_other_parts = np.isin(owner, owner[~parts.is_plain])
    plain_parts = np.flatnonzero(~has_other_parts)
    if not len(plain_parts):
        return
    union_numbers, union_of_part = np.unique(unknown_texts[owner[plain_parts]], return_inverse=True)
    shapes = parts.select_rows(plain_parts)
    union_areas, is_disjoint = polygon_arrays.sum_disjoint_union_areas(
        union_of_part, shapes.kinds == CIRCLE, shapes.shape_offsets, shapes.numbers
    )
    areas[union_numbers[is_disjoint]] = union_areas[is_disjoint]
    is_known[union_numbers[is_disjoint]] = True


def _compute_shape_text_centroids(shape_texts: Any) -> pa.Array:
    distinct_texts, text_numbers = _find_distinct_rows(shape_texts)
    text_centroids = [_find_shape_centre(parse_shape(shape_text)) for (shape_text,) in distinct_texts]
    centroids = np.array(text_centroids, dtype=np.float64).reshape(-1, 2)[text_numbers]
    return _build_pair_lists(centroids[:, 0], centroids[:, 1])


def _find_shape_centre(shape: Shape | Moc | None) -> tuple[float, float]:
    if shape is None or (isinstance(shape, Moc) and not len(shape.ranges)):
        return np.nan, np.nan
    if isinstance(shape, Moc):
        # the mean direction of cells in the ranges, at an order where they are few
        coarse_moc = shape.degrade(min(shape.order, 8))
        shift = 2 * (29 - coarse_moc.order)
        low = coarse_moc.ranges[:, 0] >> shift
        high = coarse_moc.ranges[:, 1] >> shift
        lengths = high - low
        cells_before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        cells = np.arange(int(lengths.sum())) + np.repeat(low - cells_before, lengths)
        cell_centers = healpix.compute_cell_centers(coarse_moc.order, cells)
        lon, lat = sphere.to_lon_lat(sphere.to_unit_vectors(*cell_centers).sum(axis=0))
        return float(lon), float(lat)
    centroid = shape.compute_centroid()
    return centroid.lon, centroid.lat


# --- HEALPix ----------------------------------------------------------------------------------------------------------


def _compute_healpix_index(order: Any, lon: Any, lat: Any) -> pa.Array:
    orders = np.asarray(to_single_array(order).to_numpy(zero_copy_only=False))
    lons = to_float_array(lon)
    lats = to_float_array(lat)
    cells = np.full(len(orders), -1, np.int64)
    for number in np.unique(orders).tolist():
        if 0 <= number <= healpix.MAX_ORDER:
            rows = orders == number
            cells[rows] = healpix.compute_cell_indexes(int(number), lons[rows], lats[rows])
    return pa.array(cells, mask=cells < 0)


def _compute_healpix_center(order: Any, cell: Any) -> pa.Array:
    orders = np.asarray(to_single_array(order).to_numpy(zero_copy_only=False))
    cells = np.asarray(to_single_array(cell).to_numpy(zero_copy_only=False))
    lon = np.full(len(orders), np.nan)
    lat = np.full(len(orders), np.nan)
    for number in np.unique(orders).tolist():
        if 0 <= number <= healpix.MAX_ORDER:
            rows = orders == number
            lon[rows], lat[rows] = healpix.compute_cell_centers(int(number), cells[rows])
    return _build_pair_lists(lon, lat)


def _compute_q3c_pixels(lon: Any, lat: Any) -> pa.Array:
    lons = to_float_array(lon)
    lats = to_float_array(lat)
    pixel_numbers = q3c.compute_q3c_pixel_numbers(lons, lats)
    return pa.array(pixel_numbers, mask=~np.isfinite(lons + lats))


_SKY_SQUARE_DEGREES = 360.0 * 360.0 / np.pi
SKY_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_in_polygon": _test_points_in_polygons,
    "hven_box": _build_box_polygons,
    "hven_contains": _test_contains,
    "hven_intersects": _test_intersects,
    "hven_area": _compute_area,
    "hven_centroid": _compute_centroid,
    "hven_text": _format_shapes,
    "hven_contains_text": _build_shape_text_test(_contains_shape, _test_contains_by_kinds),
    "hven_intersects_text": _build_shape_text_test(_intersects_shape, _test_intersects_by_kinds),
    "hven_area_text": _compute_shape_text_areas,
    "hven_centroid_text": _compute_shape_text_centroids,
    "hven_in_text": _test_points_in_shape_texts,
    "hven_moc": _build_moc_texts,
    "hven_moc_union": _build_moc_function(lambda a, b: a | b),
    "hven_moc_intersection": _build_moc_function(lambda a, b: a & b),
    "hven_moved": position_functions.apply_proper_motion,
    "hven_turned": position_functions.transform_shapes_to_frame,
    "hven_healpix": _compute_healpix_index,
    "hven_healpix_center": _compute_healpix_center,
    "hven_ipix": _compute_q3c_pixels,
}

#: Functions: name -> (argument types, result type), in SQL's words; ``DOUBLE[]`` is a list. NULL in gives NULL out.
#: The length of a ``DOUBLE[]`` tells its shape: 2 a point, 3 a circle (lon, lat, r), 4 a range, 6 or more a polygon.
#: The ``_text`` functions take DALI or STC-S text or an ASCII MOC.
FUNCTION_SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    "hven_in_polygon": (("DOUBLE", "DOUBLE", "DOUBLE[]"), "BOOLEAN"),
    "hven_box": (("DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE"), "DOUBLE[]"),
    "hven_contains": (("DOUBLE[]", "DOUBLE[]"), "BOOLEAN"),  # (inner, outer)
    "hven_intersects": (("DOUBLE[]", "DOUBLE[]"), "BOOLEAN"),
    "hven_area": (("DOUBLE[]",), "DOUBLE"),
    "hven_centroid": (("DOUBLE[]",), "DOUBLE[]"),
    "hven_text": (("DOUBLE[]",), "VARCHAR"),  # shape -> DALI shape text: CIRCLE 10 20 1
    "hven_contains_text": (("VARCHAR", "VARCHAR"), "BOOLEAN"),  # (inner, outer)
    "hven_intersects_text": (("VARCHAR", "VARCHAR"), "BOOLEAN"),
    "hven_area_text": (("VARCHAR",), "DOUBLE"),
    "hven_centroid_text": (("VARCHAR",), "DOUBLE[]"),
    "hven_in_text": (("DOUBLE", "DOUBLE", "VARCHAR"), "BOOLEAN"),  # (lon, lat, region or MOC)
    "hven_moc": (("INTEGER", "VARCHAR"), "VARCHAR"),  # (order, shape text)
    "hven_moc_union": (("VARCHAR", "VARCHAR"), "VARCHAR"),
    "hven_moc_intersection": (("VARCHAR", "VARCHAR"), "VARCHAR"),
    "hven_moved": (("DOUBLE",) * 7, "DOUBLE[]"),  # hven.model.sky.sphere.apply_space_motion
    "hven_turned": (("VARCHAR", "VARCHAR", "DOUBLE[]"), "DOUBLE[]"),  # (from, to, shape)
    "hven_healpix": (("INTEGER", "DOUBLE", "DOUBLE"), "BIGINT"),  # (order, lon, lat), NESTED
    "hven_ipix": (("DOUBLE", "DOUBLE"), "BIGINT"),  # (lon, lat), hven.model.sky.q3c
    "hven_healpix_center": (("INTEGER", "BIGINT"), "DOUBLE[]"),
}
