"""Functions of the sky that no database has, computed by `hven.model.sky` over whole vectors.

`FUNCTION_SIGNATURES` says what they take and give.

They see rows without nulls (`skip_null_rows`), and may answer with nulls. A shape is a list of numbers told by its
length: 2 a point, 3 a circle, 4 a range, 6 and more a polygon. Something that is no shape contains nothing and has no
area.
"""

from __future__ import annotations

from functools import lru_cache, reduce, wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import _position_functions as position_functions
from hven.engines._query_analysis.shape_parsing import compute_shape_cells, parse_shape
from hven.engines._region_cells import list_shape_numbers
from hven.model import cache_results, shape_columns
from hven.model.sky import (
    Circle,
    Moc,
    Point,
    Polygon,
    Range,
    Region,
    Shape,
    compute_distance,
    contains,
    from_array,
    healpix,
    intersects,
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
MIN_VECTORIZED_ROWS = 32  # rows of text that are read one by one
_SHAPE_KINDS = {POINT: "point", CIRCLE: "circle", RANGE: "range", POLYGON: "polygon"}


def skip_null_rows(function: Callable[..., pa.Array]) -> Callable[..., pa.Array]:
    """Wrap a function so that it sees the rows without a null; the others give null.

    DuckDB would do so itself, but then it takes no null that the function gives for a row without one.
    """

    @wraps(function)
    def call_without_nulls(*columns: Any) -> pa.Array:
        if not any(column.null_count for column in columns):
            return function(*columns)
        is_complete = reduce(pc.and_, (pc.is_valid(column) for column in columns))
        if not pc.any(is_complete).as_py():
            return pa.nulls(len(is_complete))
        rows = np.cumsum(is_complete) - 1
        return function(*(column.filter(is_complete) for column in columns)).take(
            pa.array(rows, mask=~np.asarray(is_complete))
        )

    return call_without_nulls


class ShapeColumn:
    """A column of shapes: numbers, where each row's begin, and what kind each is."""

    def __init__(self, shape_offsets: npt.NDArray[np.int64], numbers: Numbers) -> None:
        self.shape_offsets = shape_offsets
        self.numbers = numbers
        size = np.diff(shape_offsets)
        kind = np.full(len(size), NO_SHAPE)
        for length, shape_kind in ((2, POINT), (3, CIRCLE), (4, RANGE)):
            kind[size == length] = shape_kind
        kind[(size >= 6) & (size % 2 == 0)] = POLYGON
        self.kinds = kind

    @classmethod
    def from_arrow(cls, column: Any) -> ShapeColumn:
        """Read an Arrow column of lists."""
        list_array = _to_single_array(column)
        starts = np.asarray(list_array.offsets.to_numpy(), dtype=np.int64)
        return cls(starts, np.asarray(list_array.values.to_numpy(zero_copy_only=False), dtype=np.float64))

    def __len__(self) -> int:
        return len(self.kinds)

    def select_rows(self, rows: npt.NDArray[np.int64]) -> ShapeColumn:
        """Return some rows."""
        if len(rows) == len(self):
            return self
        sizes = np.diff(self.shape_offsets)[rows]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        take = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.shape_offsets[:-1][rows], sizes)
        return ShapeColumn(starts, self.numbers[take])

    def split_columns(self, size: int) -> Any:
        """Return the numbers of rows that all have `size` of them, as that many columns."""
        rows = self.numbers[self.shape_offsets[0] : self.shape_offsets[-1]].reshape(-1, size)
        return tuple(rows[:, number] for number in range(size))

    def build_shape(self, row_number: int) -> Shape | None:
        """Make the shape of one row, None if it is none."""
        return _build_shape(
            _SHAPE_KINDS.get(int(self.kinds[row_number]), ""),
            tuple(self.numbers[self.shape_offsets[row_number] : self.shape_offsets[row_number + 1]].tolist()),
        )


@cache_results(4096)
def _build_shape(shape_kind: str, numbers: tuple[float, ...]) -> Shape | None:
    try:
        return from_array(shape_kind, numbers) if shape_kind else None
    except ValueError:
        return None


def _to_single_array(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks:
        return pa.concat_arrays(column.chunks)
    return pa.array([], column.type)


def _to_float_array(column: Any) -> Numbers:
    return np.asarray(_to_single_array(column).to_numpy(zero_copy_only=False), dtype=np.float64)


def _build_list_array(offsets: npt.NDArray[np.int64], numbers: Numbers) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(numbers))


def _build_pair_lists(lon: Numbers, lat: Numbers) -> pa.Array:
    """Write positions as lists of two; null where there is none."""
    offsets = pa.array(np.arange(len(lon) + 1, dtype=np.int32) * 2)
    return pa.ListArray.from_arrays(
        offsets, pa.array(np.stack([lon, lat], axis=1).ravel()), mask=pa.array(np.isnan(lon))
    )


# --- one shape against another ----------------------------------------------------------------------------------------


def _is_same_point(inner: ShapeColumn, outer: ShapeColumn) -> Flags:
    distance = compute_distance(*inner.split_columns(2), *outer.split_columns(2))
    is_same: Flags = distance <= 0.0
    return is_same


def _test_circles_polygons(test: Callable[..., Flags], circles: ShapeColumn, polygons: ShapeColumn) -> Flags:
    lon, lat, radius = circles.split_columns(3)
    return test(lon, lat, radius, polygons.shape_offsets, polygons.numbers)


_CONTAINS_TESTS: dict[tuple[int, int], Test] = {
    (POINT, POINT): _is_same_point,
    (POINT, CIRCLE): lambda a, b: np.asarray(
        polygon_arrays.is_point_in_circle(*a.split_columns(2), *b.split_columns(3))
    ),
    (POINT, POLYGON): lambda a, b: polygon_arrays.is_point_in_polygon(
        a.split_columns(2)[0], a.split_columns(2)[1], b.shape_offsets, b.numbers
    ),
    (CIRCLE, CIRCLE): lambda a, b: polygon_arrays.is_circle_in_circle(*a.split_columns(3), *b.split_columns(3)),
    (CIRCLE, POLYGON): lambda a, b: _test_circles_polygons(polygon_arrays.is_circle_in_polygon, a, b),
    (POLYGON, CIRCLE): lambda a, b: polygon_arrays.is_polygon_in_circle(
        a.shape_offsets, a.numbers, *b.split_columns(3)
    ),
    (POLYGON, POLYGON): lambda a, b: polygon_arrays.is_polygon_in_polygon(
        a.shape_offsets, a.numbers, b.shape_offsets, b.numbers
    ),
}
_INTERSECTS_TESTS: dict[tuple[int, int], Test] = {
    (POINT, POINT): _is_same_point,
    (POINT, CIRCLE): _CONTAINS_TESTS[POINT, CIRCLE],
    (POINT, POLYGON): _CONTAINS_TESTS[POINT, POLYGON],
    (CIRCLE, CIRCLE): lambda a, b: polygon_arrays.circles_intersect(*a.split_columns(3), *b.split_columns(3)),
    (CIRCLE, POLYGON): lambda a, b: _test_circles_polygons(polygon_arrays.circle_intersects_polygon, a, b),
    (POLYGON, POLYGON): lambda a, b: polygon_arrays.polygons_intersect(
        a.shape_offsets, a.numbers, b.shape_offsets, b.numbers
    ),
}


def _test_by_kinds(
    left_shapes: ShapeColumn,
    right_shapes: ShapeColumn,
    tests: dict[tuple[int, int], Test],
    test_single: Callable[[Shape, Shape], bool],
    *,
    is_symmetric: bool,
) -> Flags:
    """Test row by row, all rows of the same two kinds at once; ranges, which are rare, by their shapes."""
    results = np.zeros(len(left_shapes), np.bool_)
    for pair in np.unique(left_shapes.kinds * 5 + right_shapes.kinds).tolist():
        left_kind, right_kind = divmod(pair, 5)
        rows = np.flatnonzero(left_shapes.kinds * 5 + right_shapes.kinds == pair)
        if NO_SHAPE in {left_kind, right_kind}:
            continue
        a = left_shapes.select_rows(rows)
        b = right_shapes.select_rows(rows)
        if (left_kind, right_kind) in tests:
            results[rows] = tests[left_kind, right_kind](a, b)
        elif is_symmetric and (right_kind, left_kind) in tests:
            results[rows] = tests[right_kind, left_kind](b, a)
        else:
            results[rows] = [
                _test_single_pair(a.build_shape(row), b.build_shape(row), test_single) for row in range(len(rows))
            ]
    return results


def _test_single_pair(
    left_shape: Shape | None, right_shape: Shape | None, test: Callable[[Shape, Shape], bool]
) -> bool:
    return left_shape is not None and right_shape is not None and test(left_shape, right_shape)


def _test_contains(inner: Any, outer: Any) -> pa.Array:
    return pa.array(
        _test_by_kinds(
            ShapeColumn.from_arrow(inner),
            ShapeColumn.from_arrow(outer),
            _CONTAINS_TESTS,
            lambda a, b: contains(b, a),
            is_symmetric=False,
        )
    )


def _test_intersects(left_column: Any, right_column: Any) -> pa.Array:
    return pa.array(
        _test_by_kinds(
            ShapeColumn.from_arrow(left_column),
            ShapeColumn.from_arrow(right_column),
            _INTERSECTS_TESTS,
            intersects,
            is_symmetric=True,
        )
    )


def _test_in_polygon(lon: Any, lat: Any, polygon: Any) -> pa.Array:
    shapes = ShapeColumn.from_arrow(polygon)
    is_point_in_polygon = polygon_arrays.is_point_in_polygon(
        _to_float_array(lon), _to_float_array(lat), shapes.shape_offsets, shapes.numbers
    )
    return pa.array(is_point_in_polygon)


# --- what one shape is ------------------------------------------------------------------------------------------------


def _build_boxes(lon: Any, lat: Any, width: Any, height: Any) -> pa.Array:
    lons, lats = polygon_arrays.compute_box_corners(*(_to_float_array(column) for column in (lon, lat, width, height)))
    numbers = np.stack([lons, lats], axis=2).reshape(-1)
    is_null = np.isnan(lons[:, 0])
    return pa.ListArray.from_arrays(
        pa.array(np.arange(0, len(numbers) + 1, 8, dtype=np.int32)), pa.array(numbers), mask=pa.array(is_null)
    )


def _compute_area(shapes: Any) -> pa.Array:
    areas = _compute_areas(ShapeColumn.from_arrow(shapes))
    return pa.array(areas, mask=np.isnan(areas))


def _compute_areas(shapes: ShapeColumn) -> Numbers:
    """Compute square degrees, NaN for what is no shape; polygons all at once."""
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
            lon[rows], lat[rows] = shapes.select_rows(rows).split_columns(size)[:2]
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
    built_shapes = [shapes.build_shape(row) for row in range(len(shapes))]
    words = [
        None if item is None else f"point {item.to_text()}" if isinstance(item, Point) else item.to_text()
        for item in built_shapes
    ]
    return pa.array(words, pa.string())


# --- shapes that are text ---------------------------------------------------------------------------------------------


def _find_distinct_rows(*columns: Any) -> tuple[list[tuple[str, ...]], npt.NDArray[np.int64]]:
    """Return the distinct rows of text columns, and which of them each row is."""
    codes = []
    dictionaries = []
    for column in columns:
        coded = _to_single_array(column).dictionary_encode()
        codes.append(np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64))
        dictionaries.append(coded.dictionary.to_pylist())
    rows, row_of_input = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    return [
        tuple(dictionaries[number][code] for number, code in enumerate(row)) for row in rows.tolist()
    ], row_of_input.ravel()


@lru_cache(maxsize=1024)
def _to_moc(shape: Shape | Moc) -> Moc:
    if isinstance(shape, Moc):
        return shape
    if isinstance(shape, Region):  # each part at the order that suits it
        part_mocs = [_to_moc(part) for part in shape.parts]
        return Moc(
            healpix.merge_ranges(np.concatenate([part.ranges for part in part_mocs])),
            max(part.order for part in part_mocs),
        )
    size = float(np.sqrt(shape.compute_area() / np.pi))
    if isinstance(shape, Polygon):  # cells are not made smaller than the length of a thin one suggests
        size = max(size, float(shape.ring.reach[0]) / 16)
    elif isinstance(shape, Range):
        size = max(
            size,
            (shape.lat2 - shape.lat1) / 32,
            shape.width * float(np.cos(np.radians(min(map(abs, shape.parallels), default=0.0)))) / 32,
        )
    if size == 0.0:
        order = 29
    else:
        order = min(healpix.choose_cone_order(size) + 4, 29)
    return Moc(shape.cover(order), order)


def _contains_shape(inner: Shape | Moc, outer: Shape | Moc) -> bool:
    if isinstance(inner, Moc) or isinstance(outer, Moc):
        inner_moc = _to_moc(inner)
        outer_moc = _to_moc(outer)
        return len(inner_moc.ranges) > 0 and len((inner_moc - outer_moc).ranges) == 0
    return contains(outer, inner)


def _intersects_shape(left_shape: Shape | Moc, right_shape: Shape | Moc) -> bool:
    if isinstance(left_shape, Moc) or isinstance(right_shape, Moc):
        return len((_to_moc(left_shape) & _to_moc(right_shape)).ranges) > 0
    return intersects(left_shape, right_shape)


class ShapeTextColumn:
    """A column of shapes as text: those that are one circle or one polygon as numbers, read all at once."""

    def __init__(self, column: Any) -> None:
        coded = _to_single_array(column).dictionary_encode()
        self.codes = np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        self.distinct_texts = coded.dictionary
        outlines = shape_columns.parse_simple_shapes(self.distinct_texts)
        size = np.zeros(len(self.distinct_texts), np.int64)
        size[outlines.rows] = outlines.lengths
        self.shapes = ShapeColumn(np.concatenate([[0], np.cumsum(size)]), outlines.numbers)
        self.is_distinct_plain = self._find_plain_shapes()
        self.is_plain: Flags = self.is_distinct_plain[self.codes]

    def _find_plain_shapes(self) -> Flags:
        """Return which are shapes for sure: positions, radii and edges are as they must be."""
        shapes = self.shapes
        is_plain: Flags = (shapes.kinds == CIRCLE) | (shapes.kinds == POLYGON)
        size = np.diff(shapes.shape_offsets)
        owner = np.repeat(np.arange(len(shapes)), size)
        place = np.arange(len(owner)) - shapes.shape_offsets[:-1][owner]
        is_circle = shapes.kinds[owner] == CIRCLE
        is_latitude = place % 2 == 1
        low = np.where(is_latitude, -90.0, 0.0)
        high = np.where(is_latitude, 90.0, np.where(is_circle & (place == 2), 180.0, 360.0))
        is_plain[owner[~((shapes.numbers >= low) & (shapes.numbers <= high))]] = False
        corners = np.flatnonzero(~is_circle & (place % 2 == 0))
        if len(corners):
            xyz = sphere.to_unit_vectors(shapes.numbers[corners], shapes.numbers[corners + 1])
            corner_owners = owner[corners]
            first = np.append(True, corner_owners[1:] != corner_owners[:-1])
            successors = np.append(np.arange(1, len(corners)), 0)
            successors[np.append(first[1:], True)] = np.flatnonzero(first)  # the last corner is joined to the first
            is_plain[corner_owners[np.linalg.norm(xyz + xyz[successors], axis=1) < 1e-9]] = False
        return is_plain

    def select_rows(self, row_numbers: npt.NDArray[np.int64]) -> ShapeColumn:
        """Return the shapes of some rows."""
        codes = self.codes[row_numbers]
        size = np.diff(self.shapes.shape_offsets)[codes]
        starts = np.concatenate([[0], np.cumsum(size)])
        take = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.shapes.shape_offsets[:-1][codes], size)
        return ShapeColumn(starts, self.shapes.numbers[take])


def _build_text_test(
    test: Callable[[Shape | Moc, Shape | Moc], bool],
    tests: dict[tuple[int, int], Test],
    test_single: Callable[[Shape, Shape], bool],
    *,
    is_symmetric: bool,
) -> Callable[[Any, Any], pa.Array]:
    def evaluate_texts(left_column: Any, right_column: Any) -> pa.Array:
        results = np.zeros(len(left_column), np.bool_)
        remaining_rows = np.arange(len(left_column))
        if len(left_column) >= MIN_VECTORIZED_ROWS:
            a, b = ShapeTextColumn(left_column), ShapeTextColumn(right_column)
            plain_rows = np.flatnonzero(a.is_plain & b.is_plain)
            results[plain_rows] = _test_by_kinds(
                a.select_rows(plain_rows), b.select_rows(plain_rows), tests, test_single, is_symmetric=is_symmetric
            )
            remaining_rows = np.flatnonzero(~(a.is_plain & b.is_plain))
            left_column, right_column = (
                _to_single_array(left_column).take(pa.array(remaining_rows)),
                _to_single_array(right_column).take(pa.array(remaining_rows)),
            )
        if not len(remaining_rows):
            return pa.array(results)
        rows, pair_of_row = _find_distinct_rows(left_column, right_column)
        shape_pairs = [(parse_shape(a), parse_shape(b)) for a, b in rows]
        if test is _intersects_shape:
            results[remaining_rows] = _test_all_intersects(shape_pairs)[pair_of_row]
        else:
            results[remaining_rows] = np.array(
                [a is not None and b is not None and test(a, b) for a, b in shape_pairs], np.bool_
            )[pair_of_row]
        return pa.array(results)

    return evaluate_texts


def _test_all_intersects(pairs: Sequence[tuple[Shape | Moc | None, Shape | Moc | None]]) -> Flags:
    """Test many pairs: circles and polygons, and unions of them, all at once; anything else pair by pair."""
    results = np.zeros(len(pairs), np.bool_)
    owners: list[int] = []
    mocs: dict[int, tuple[Any, list[tuple[int, Any]]]] = {}
    sides: tuple[list[list[float]], list[list[float]]] = ([], [])
    for number, (left_shape, right_shape) in enumerate(pairs):
        if left_shape is None or right_shape is None:
            continue
        if isinstance(left_shape, Moc) != isinstance(right_shape, Moc):
            moc, shape = (left_shape, right_shape) if isinstance(left_shape, Moc) else (right_shape, left_shape)
            mocs.setdefault(id(moc), (moc, []))[1].append((number, shape))
            continue
        parts = [
            [list_shape_numbers(part) for part in (shape.parts if isinstance(shape, Region) else (shape,))]
            for shape in (left_shape, right_shape)
        ]
        if not all(all(side) for side in parts):
            results[number] = _intersects_shape(left_shape, right_shape)
            continue
        for a in parts[0]:
            for b in parts[1]:
                owners.append(number)
                sides[0].append(a)
                sides[1].append(b)
    if owners:
        left_parts, right_parts = (
            ShapeColumn(np.cumsum([0, *map(len, side)]), np.concatenate([np.array(part) for part in side]))
            for side in sides
        )
        is_meeting = _test_by_kinds(left_parts, right_parts, _INTERSECTS_TESTS, intersects, is_symmetric=True)
        results[np.array(owners)[is_meeting]] = True
    for moc, shapes in mocs.values():
        _test_against_moc(moc, shapes, results)
    return results


def _test_against_moc(moc: Moc, shapes: Sequence[tuple[int, Shape]], results: Flags) -> None:
    """Test shapes against one MOC: a centre or a corner in it is enough.

    The cells of a shape are looked at where that does not tell.
    """
    owners = []
    lons = []
    lats = []
    for number, shape in shapes:
        for part in shape.parts if isinstance(shape, Region) else (shape,):
            part_numbers = list_shape_numbers(part)
            if isinstance(part, Circle):
                pairs = [part_numbers[:2]]
            else:
                pairs = [part_numbers[at : at + 2] for at in range(0, len(part_numbers), 2)]
            owners += [number] * len(pairs)
            lons += [pair[0] for pair in pairs]
            lats += [pair[1] for pair in pairs]
    if owners:
        results[np.array(owners)[moc.contains(lons, lats)]] = True
    for number, shape in shapes:
        if not results[number]:
            results[number] = _intersects_shape(moc, shape)


def _test_in_text(lon: Any, lat: Any, shape_texts: Any) -> pa.Array:
    """Test positions against regions and MOCs: circles and polygons all at once, others those of one text at once."""
    lons = _to_float_array(lon)
    lats = _to_float_array(lat)
    results = np.zeros(len(lons), np.bool_)
    remaining_rows = np.arange(len(lons))
    if len(lons) >= MIN_VECTORIZED_ROWS:
        shapes = ShapeTextColumn(shape_texts)
        plain_rows = np.flatnonzero(shapes.is_plain)
        remaining_rows = np.flatnonzero(~shapes.is_plain)
        points = ShapeColumn(
            np.arange(len(plain_rows) + 1) * 2, np.stack([lons[plain_rows], lats[plain_rows]], axis=1).ravel()
        )
        results[plain_rows] = _test_by_kinds(
            points, shapes.select_rows(plain_rows), _CONTAINS_TESTS, lambda a, b: contains(b, a), is_symmetric=False
        )
        shape_texts = _to_single_array(shape_texts).take(pa.array(remaining_rows))
    rows, text_of_row = _find_distinct_rows(shape_texts)
    order = np.argsort(text_of_row, kind="stable")
    ends = np.cumsum(np.bincount(text_of_row, minlength=len(rows)))
    for number, (shape_text,) in enumerate(rows):
        shape = parse_shape(shape_text)
        if shape is not None:
            rows_of_text = remaining_rows[order[ends[number - 1] if number else 0 : ends[number]]]
            results[rows_of_text] = shape.contains(lons[rows_of_text], lats[rows_of_text])
    return pa.array(results)


def _build_mocs(order: Any, shape_texts: Any) -> pa.Array:
    numbers = np.asarray(_to_single_array(order).to_numpy(zero_copy_only=False))
    rows, text_of_row = _find_distinct_rows(shape_texts)
    moc_texts: dict[tuple[int, int], str | None] = {}
    for number, row in {*zip(numbers.tolist(), text_of_row.tolist(), strict=True)}:
        shape = parse_shape(rows[row][0])
        moc_texts[number, row] = _format_shape_moc(shape, number)
    return pa.array([moc_texts[pair] for pair in zip(numbers.tolist(), text_of_row.tolist(), strict=True)], pa.string())


def _format_shape_moc(shape: Shape | Moc | None, order: int) -> str | None:
    if shape is None:
        return None
    return str(compute_shape_cells(shape, order))


def _build_moc_operation(join: Callable[[Moc, Moc], Moc]) -> Callable[[Any, Any], pa.Array]:
    def evaluate_mocs(left_column: Any, right_column: Any) -> pa.Array:
        rows, pair_of_row = _find_distinct_rows(left_column, right_column)
        shape_pairs = [(parse_shape(a), parse_shape(b)) for a, b in rows]
        moc_texts = [str(join(a, b)) if isinstance(a, Moc) and isinstance(b, Moc) else None for a, b in shape_pairs]
        return pa.array(moc_texts, pa.string()).take(pa.array(pair_of_row))

    return evaluate_mocs


def _compute_text_area(shape_texts: Any) -> pa.Array:
    """Compute areas of regions and MOCs.

    Circles, polygons and unions of parts that do not meet all at once, others one text at a time.
    """
    texts = ShapeTextColumn(shape_texts)
    areas = _compute_areas(texts.shapes)
    is_known = texts.is_distinct_plain.copy()
    remaining_texts = np.flatnonzero(~is_known)
    owner, part_words = shape_columns.split_unions(texts.distinct_texts.take(pa.array(remaining_texts)))
    if len(part_words):
        part_texts = ShapeTextColumn(part_words)
    else:
        part_texts = None
    if part_texts is not None and len(plain_parts := np.flatnonzero(~np.isin(owner, owner[~part_texts.is_plain]))):
        text_numbers, place = np.unique(remaining_texts[owner[plain_parts]], return_inverse=True)
        shapes = part_texts.select_rows(plain_parts)
        union_areas, is_disjoint = polygon_arrays.sum_union_areas(
            place, shapes.kinds == CIRCLE, shapes.shape_offsets, shapes.numbers
        )
        areas[text_numbers[is_disjoint]], is_known[text_numbers[is_disjoint]] = union_areas[is_disjoint], True
    for number in np.flatnonzero(~is_known).tolist():
        item = parse_shape(texts.distinct_texts[number].as_py())
        if item is None:
            areas[number] = np.nan
        elif isinstance(item, Moc):
            areas[number] = float(item.fraction) * _SKY_SQUARE_DEGREES
        else:
            areas[number] = item.compute_area()
    areas = areas[texts.codes]
    return pa.array(areas, mask=np.isnan(areas))


def _compute_text_centroid(shape_texts: Any) -> pa.Array:
    rows, text_of_row = _find_distinct_rows(shape_texts)
    centroids = np.array([_find_shape_centre(parse_shape(row[0])) for row in rows], dtype=np.float64).reshape(-1, 2)[
        text_of_row
    ]
    return _build_pair_lists(centroids[:, 0], centroids[:, 1])


def _find_shape_centre(shape: Shape | Moc | None) -> tuple[float, float]:
    if shape is None or (isinstance(shape, Moc) and not len(shape.ranges)):
        return np.nan, np.nan
    if isinstance(shape, Moc):
        # the mean direction of the ranges' first cells, weighted by size, at an order where they are few
        coarse_moc = shape.degrade(min(shape.order, 8))
        shift = 2 * (29 - coarse_moc.order)
        low = coarse_moc.ranges[:, 0] >> shift
        high = coarse_moc.ranges[:, 1] >> shift
        cells = np.arange(int((high - low).sum())) + np.repeat(
            low - np.concatenate([[0], np.cumsum(high - low)[:-1]]), high - low
        )
        cell_centers = healpix.compute_cell_centers(coarse_moc.order, cells)
        lon, lat = sphere.to_lon_lat(sphere.to_unit_vectors(*cell_centers).sum(axis=0))
        return float(lon), float(lat)
    centroid = shape.compute_centroid()
    return centroid.lon, centroid.lat


# --- HEALPix ----------------------------------------------------------------------------------------------------------


def _compute_healpix_index(order: Any, lon: Any, lat: Any) -> pa.Array:
    orders = np.asarray(_to_single_array(order).to_numpy(zero_copy_only=False))
    cells = np.full(len(orders), -1, np.int64)
    for number in np.unique(orders).tolist():
        if 0 <= number <= healpix.MAX_ORDER:
            rows = orders == number
            cells[rows] = healpix.compute_cell_indexes(
                int(number), _to_float_array(lon)[rows], _to_float_array(lat)[rows]
            )
    return pa.array(cells, mask=cells < 0)


def _compute_healpix_center(order: Any, cell: Any) -> pa.Array:
    orders, cells = (np.asarray(_to_single_array(column).to_numpy(zero_copy_only=False)) for column in (order, cell))
    lon = np.full(len(orders), np.nan)
    lat = np.full(len(orders), np.nan)
    for number in np.unique(orders).tolist():
        if 0 <= number <= healpix.MAX_ORDER:
            rows = orders == number
            lon[rows], lat[rows] = healpix.compute_cell_centers(int(number), cells[rows])
    return _build_pair_lists(lon, lat)


def _compute_ipix(lon: Any, lat: Any) -> pa.Array:
    lons = _to_float_array(lon)
    lats = _to_float_array(lat)
    pixel_numbers = q3c.compute_pixel_numbers(lons, lats)
    return pa.array(pixel_numbers, mask=~np.isfinite(lons + lats))


_SKY_SQUARE_DEGREES = 360.0 * 360.0 / np.pi
SKY_FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_in_polygon": _test_in_polygon,
    "hven_box": _build_boxes,
    "hven_contains": _test_contains,
    "hven_intersects": _test_intersects,
    "hven_area": _compute_area,
    "hven_centroid": _compute_centroid,
    "hven_text": _format_shapes,
    "hven_contains_text": _build_text_test(
        _contains_shape, _CONTAINS_TESTS, lambda a, b: contains(b, a), is_symmetric=False
    ),
    "hven_intersects_text": _build_text_test(_intersects_shape, _INTERSECTS_TESTS, intersects, is_symmetric=True),
    "hven_area_text": _compute_text_area,
    "hven_centroid_text": _compute_text_centroid,
    "hven_in_text": _test_in_text,
    "hven_moc": _build_mocs,
    "hven_moc_union": _build_moc_operation(lambda a, b: a | b),
    "hven_moc_intersection": _build_moc_operation(lambda a, b: a & b),
    "hven_moved": position_functions.apply_proper_motion,
    "hven_turned": position_functions.transform_frame,
    "hven_healpix": _compute_healpix_index,
    "hven_healpix_center": _compute_healpix_center,
    "hven_ipix": _compute_ipix,
}

#: NULL in = NULL out: name -> (argument types, result type), in SQL's words; ``DOUBLE[]`` is a list.
#: A ``DOUBLE[]`` shape is told by its length: 2 a point, 3 a circle (lon, lat, r), 4 a range, 6 and more a polygon.
#: The ``_text`` ones take DALI or STC-S text or an ASCII MOC.
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
