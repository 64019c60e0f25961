"""Functions that DuckDB does not have, computed by `hven.sky` over whole vectors (`dialect.UDFS` lists them).

DuckDB gives chunks of rows without nulls. A shape is a list of numbers told by its length: 2 a point, 3 a circle, 4 a range,
6 and more a polygon. Something that is no shape contains nothing and has no area.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.duckdb import moving
from hven.engines.duckdb.dialect import MACROS, UDFS
from hven.sky import Box, Moc, Point, Shape, arrays, contains, distance, healpix, intersects
from hven.sky.shapes import from_array

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.float64]
    Test = Callable[["Shapes", "Shapes"], Flags]

FINEST = 9  # orders that a MOC may be finer than its shape
POINT, CIRCLE, RANGE, POLYGON, NONE = range(5)
_KINDS = {POINT: "point", CIRCLE: "circle", RANGE: "range", POLYGON: "polygon"}


def register(con: duckdb.DuckDBPyConnection) -> None:
    """Make the functions known to a DuckDB instance."""
    for text in MACROS:
        # not temporary: one definition for all cursors of the instance, which is in memory anyway
        con.execute(text.replace("TEMP MACRO", "MACRO"))
    for name, (arguments, result) in UDFS.items():
        con.create_function(name, FUNCTIONS[name], list(arguments), result, **_VECTORISED)


class Shapes:
    """A column of shapes: numbers, where each row's begin, and what kind each is."""

    def __init__(self, starts: npt.NDArray[np.int64], numbers: Numbers) -> None:
        self.starts, self.numbers = starts, numbers
        size = np.diff(starts)
        kind = np.full(len(size), NONE)
        for length, which in ((2, POINT), (3, CIRCLE), (4, RANGE)):
            kind[size == length] = which
        kind[(size >= 6) & (size % 2 == 0)] = POLYGON
        self.kind = kind

    @classmethod
    def of(cls, column: Any) -> Shapes:
        """Read an Arrow column of lists."""
        whole = _whole(column)
        starts = np.asarray(whole.offsets.to_numpy(), dtype=np.int64)
        return cls(starts, np.asarray(whole.values.to_numpy(zero_copy_only=False), dtype=np.float64))

    def __len__(self) -> int:
        return len(self.kind)

    def part(self, rows: npt.NDArray[np.int64]) -> Shapes:
        """Give some rows."""
        if len(rows) == len(self):
            return self
        size = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(size)])
        take = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[:-1][rows], size)
        return Shapes(starts, self.numbers[take])

    def fixed(self, size: int) -> Any:
        """Give the numbers of rows that all have `size` of them, as that many columns."""
        rows = self.numbers[self.starts[0] : self.starts[-1]].reshape(-1, size)
        return tuple(rows[:, number] for number in range(size))

    def shape(self, row: int) -> Shape | None:
        """Make the shape of one row, None if it is none."""
        return _shape(_KINDS.get(int(self.kind[row]), ""), tuple(self.numbers[self.starts[row] : self.starts[row + 1]].tolist()))


@lru_cache(maxsize=4096)
def _shape(kind: str, numbers: tuple[float, ...]) -> Shape | None:
    try:
        return from_array(kind, numbers) if kind else None
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _text(text: str) -> Shape | Moc | None:
    """Read DALI text, STC-S, or an ASCII MOC."""
    from hven.sky.text import parse, stcs

    words = text.split(None, 1)
    if words and "/" in words[0]:
        try:
            return Moc.parse(text)
        except ValueError:
            return None
    try:
        return parse("multishape", text.lower())
    except ValueError:
        pass  # no DALI text: STC-S, then
    try:
        return stcs(text).shape
    except ValueError:
        return None


def _whole(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return (
        column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    )


def _floats(column: Any) -> Numbers:
    return np.asarray(_whole(column).to_numpy(zero_copy_only=False), dtype=np.float64)


def _lists(offsets: npt.NDArray[np.int64], numbers: Numbers) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(numbers))


def _pairs(lon: Numbers, lat: Numbers) -> pa.Array:
    """Write positions as lists of two; null where there is none."""
    offsets = pa.array(np.arange(len(lon) + 1, dtype=np.int32) * 2)
    return pa.ListArray.from_arrays(offsets, pa.array(np.stack([lon, lat], axis=1).ravel()), mask=pa.array(np.isnan(lon)))


# --- one shape against another ------------------------------------------------------------------------------------------


def _in_point(inner: Shapes, outer: Shapes) -> Flags:
    found: Flags = distance(*inner.fixed(2), *outer.fixed(2)) <= 0.0
    return found


def _with_circles(test: Callable[..., Flags], circles: Shapes, polygons: Shapes) -> Flags:
    lon, lat, radius = circles.fixed(3)
    return test(lon, lat, radius, polygons.starts, polygons.numbers)


_CONTAINS: dict[tuple[int, int], Test] = {
    (POINT, POINT): _in_point,
    (POINT, CIRCLE): lambda a, b: np.asarray(arrays.in_circle(*a.fixed(2), *b.fixed(3))),
    (POINT, POLYGON): lambda a, b: arrays.in_polygon(a.fixed(2)[0], a.fixed(2)[1], b.starts, b.numbers),
    (CIRCLE, CIRCLE): lambda a, b: arrays.circle_in_circle(*a.fixed(3), *b.fixed(3)),
    (CIRCLE, POLYGON): lambda a, b: _with_circles(arrays.circle_in_polygon, a, b),
    (POLYGON, CIRCLE): lambda a, b: arrays.polygon_in_circle(a.starts, a.numbers, *b.fixed(3)),
    (POLYGON, POLYGON): lambda a, b: arrays.polygon_in_polygon(a.starts, a.numbers, b.starts, b.numbers),
}
_INTERSECTS: dict[tuple[int, int], Test] = {
    (POINT, POINT): _in_point,
    (POINT, CIRCLE): _CONTAINS[POINT, CIRCLE],
    (POINT, POLYGON): _CONTAINS[POINT, POLYGON],
    (CIRCLE, CIRCLE): lambda a, b: arrays.circles_intersect(*a.fixed(3), *b.fixed(3)),
    (CIRCLE, POLYGON): lambda a, b: _with_circles(arrays.circle_meets_polygon, a, b),
    (POLYGON, POLYGON): lambda a, b: arrays.polygons_intersect(a.starts, a.numbers, b.starts, b.numbers),
}


def _by_kinds(
    one: Shapes, two: Shapes, tests: dict[tuple[int, int], Test], single: Callable[[Shape, Shape], bool], *, both_ways: bool
) -> Flags:
    """Test row by row, all rows of the same two kinds at once; ranges, which are rare, by their shapes."""
    found = np.zeros(len(one), np.bool_)
    for pair in np.unique(one.kind * 5 + two.kind).tolist():
        first, second = divmod(pair, 5)
        rows = np.flatnonzero(one.kind * 5 + two.kind == pair)
        if NONE in {first, second}:
            continue
        a, b = one.part(rows), two.part(rows)
        if (first, second) in tests:
            found[rows] = tests[first, second](a, b)
        elif both_ways and (second, first) in tests:
            found[rows] = tests[second, first](b, a)
        else:
            found[rows] = [_single(a.shape(row), b.shape(row), single) for row in range(len(rows))]
    return found


def _single(one: Shape | None, two: Shape | None, test: Callable[[Shape, Shape], bool]) -> bool:
    return one is not None and two is not None and test(one, two)


def _contains(inner: Any, outer: Any) -> pa.Array:
    return pa.array(_by_kinds(Shapes.of(inner), Shapes.of(outer), _CONTAINS, lambda a, b: contains(b, a), both_ways=False))


def _intersects(one: Any, two: Any) -> pa.Array:
    return pa.array(_by_kinds(Shapes.of(one), Shapes.of(two), _INTERSECTS, intersects, both_ways=True))


def _in_polygon(lon: Any, lat: Any, polygon: Any) -> pa.Array:
    shapes = Shapes.of(polygon)
    return pa.array(arrays.in_polygon(_floats(lon), _floats(lat), shapes.starts, shapes.numbers))


# --- what one shape is ---------------------------------------------------------------------------------------------------


def _box(lon: Any, lat: Any, width: Any, height: Any) -> pa.Array:
    columns = np.stack([_floats(column) for column in (lon, lat, width, height)], axis=1)
    rows, back = np.unique(columns, axis=0, return_inverse=True)
    boxes = pa.array([_corners(*row) for row in rows.tolist()], pa.list_(pa.float64()))
    return boxes.take(pa.array(back.ravel()))


def _corners(lon: float, lat: float, width: float, height: float) -> list[float] | None:
    try:
        box = Box(lon, lat, width, height)
    except ValueError:
        return None
    return [number for pair in zip(box.lons, box.lats, strict=True) for number in pair]


def _area(shape: Any) -> pa.Array:
    shapes = Shapes.of(shape)
    found = np.full(len(shapes), np.nan)
    found[shapes.kind == POINT] = 0.0
    for kind in (CIRCLE, POLYGON, RANGE):
        rows = np.flatnonzero(shapes.kind == kind)
        if not len(rows):
            continue
        some = shapes.part(rows)
        if kind == POLYGON:
            found[rows] = arrays.polygon_areas(some.starts, some.numbers)
        else:
            made = [some.shape(row) for row in range(len(rows))]
            found[rows] = [np.nan if item is None else item.area() for item in made]
    return pa.array(found, mask=np.isnan(found))


def _centroid(shape: Any) -> pa.Array:
    shapes = Shapes.of(shape)
    lon, lat = np.full(len(shapes), np.nan), np.full(len(shapes), np.nan)
    for kind, size in ((POINT, 2), (CIRCLE, 3)):
        rows = np.flatnonzero(shapes.kind == kind)
        if len(rows):
            lon[rows], lat[rows] = shapes.part(rows).fixed(size)[:2]
    rows = np.flatnonzero(shapes.kind == POLYGON)
    if len(rows):
        some = shapes.part(rows)
        lon[rows], lat[rows] = arrays.polygon_centroids(some.starts, some.numbers)
    for row in np.flatnonzero(shapes.kind == RANGE).tolist():
        made = shapes.shape(row)
        if made is not None:
            middle = made.centroid()
            lon[row], lat[row] = middle.lon, middle.lat
    return _pairs(lon, lat)


def _written(shape: Any) -> pa.Array:
    shapes = Shapes.of(shape)
    made = [shapes.shape(row) for row in range(len(shapes))]
    words = [None if item is None else f"point {item.text()}" if isinstance(item, Point) else item.text() for item in made]
    return pa.array(words, pa.string())


# --- shapes that are text ------------------------------------------------------------------------------------------------


def _distinct(*columns: Any) -> tuple[list[tuple[str, ...]], npt.NDArray[np.int64]]:
    """Give the distinct rows of text columns, and which of them each row is."""
    codes, words = [], []
    for column in columns:
        coded = _whole(column).dictionary_encode()
        codes.append(np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64))
        words.append(coded.dictionary.to_pylist())
    rows, back = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    return [tuple(words[number][code] for number, code in enumerate(row)) for row in rows.tolist()], back.ravel()


def _moc(shape: Shape | Moc) -> Moc:
    if isinstance(shape, Moc):
        return shape
    order = 29 if shape.area() == 0.0 else min(healpix.order_for(float(np.sqrt(shape.area() / np.pi))) + 4, 29)
    return Moc(shape.cover(order), order)


def _text_contains(inner: Shape | Moc, outer: Shape | Moc) -> bool:
    if isinstance(inner, Moc) or isinstance(outer, Moc):
        one, two = _moc(inner), _moc(outer)
        return len(one.ranges) > 0 and len((one - two).ranges) == 0
    return contains(outer, inner)


def _text_intersects(one: Shape | Moc, two: Shape | Moc) -> bool:
    if isinstance(one, Moc) or isinstance(two, Moc):
        return len((_moc(one) & _moc(two)).ranges) > 0
    return intersects(one, two)


def _of_texts(test: Callable[[Shape | Moc, Shape | Moc], bool]) -> Callable[[Any, Any], pa.Array]:
    def evaluate(one: Any, two: Any) -> pa.Array:
        rows, back = _distinct(one, two)
        made = [(_text(a), _text(b)) for a, b in rows]
        return pa.array(np.array([a is not None and b is not None and test(a, b) for a, b in made], np.bool_)[back])

    return evaluate


def _in_text(lon: Any, lat: Any, text: Any) -> pa.Array:
    """Test positions against regions and MOCs: those of one text at once."""
    rows, back = _distinct(text)
    lons, lats = _floats(lon), _floats(lat)
    found = np.zeros(len(lons), np.bool_)
    order = np.argsort(back, kind="stable")
    ends = np.cumsum(np.bincount(back, minlength=len(rows)))
    for number, (word,) in enumerate(rows):
        shape = _text(word)
        if shape is not None:
            some = order[ends[number - 1] if number else 0 : ends[number]]
            found[some] = shape.contains(lons[some], lats[some])
    return pa.array(found)


def _moc_of(order: Any, text: Any) -> pa.Array:
    numbers = np.asarray(_whole(order).to_numpy(zero_copy_only=False))
    rows, back = _distinct(text)
    made: dict[tuple[int, int], str | None] = {}
    for number, row in {*zip(numbers.tolist(), back.tolist(), strict=True)}:
        made[number, row] = _cells_of(_text(rows[row][0]), number)
    return pa.array([made[pair] for pair in zip(numbers.tolist(), back.tolist(), strict=True)], pa.string())


def _cells_of(shape: Shape | Moc | None, order: int) -> str | None:
    if shape is None:
        return None
    if isinstance(shape, Moc):
        return str(shape.degrade(order))
    area = shape.area()
    if area > 0.0 and order > healpix.order_for(float(np.sqrt(area / np.pi))) + FINEST:
        message = f"MOC: cells of order {order} are too small for this shape"
        raise ValueError(message)
    return str(Moc(shape.cover(order), order))


def _mocs(join: Callable[[Moc, Moc], Moc]) -> Callable[[Any, Any], pa.Array]:
    def evaluate(one: Any, two: Any) -> pa.Array:
        rows, back = _distinct(one, two)
        made = [(_text(a), _text(b)) for a, b in rows]
        words = [str(join(a, b)) if isinstance(a, Moc) and isinstance(b, Moc) else None for a, b in made]
        return pa.array(words, pa.string()).take(pa.array(back))

    return evaluate


def _area_text(text: Any) -> pa.Array:
    rows, back = _distinct(text)
    made: list[Any] = [_text(row[0]) for row in rows]
    areas = np.array([np.nan if item is None else float(item.fraction) * _SKY if isinstance(item, Moc) else item.area() for item in made])[
        back
    ]
    return pa.array(areas, mask=np.isnan(areas))


def _centroid_text(text: Any) -> pa.Array:
    rows, back = _distinct(text)
    middles = np.array([_middle(_text(row[0])) for row in rows], dtype=np.float64).reshape(-1, 2)[back]
    return _pairs(middles[:, 0], middles[:, 1])


def _middle(shape: Shape | Moc | None) -> tuple[float, float]:
    if shape is None or (isinstance(shape, Moc) and not len(shape.ranges)):
        return np.nan, np.nan
    if isinstance(shape, Moc):
        from hven.sky.sphere import angles, vectors

        # the mean direction of the ranges' first cells, weighted by size, at an order where they are few
        coarse = shape.degrade(min(shape.order, 8))
        shift = 2 * (29 - coarse.order)
        low, high = coarse.ranges[:, 0] >> shift, coarse.ranges[:, 1] >> shift
        cells = np.arange(int((high - low).sum())) + np.repeat(low - np.concatenate([[0], np.cumsum(high - low)[:-1]]), high - low)
        lon, lat = angles(vectors(*healpix.center(coarse.order, cells)).sum(axis=0))
        return float(lon), float(lat)
    middle = shape.centroid()
    return middle.lon, middle.lat


# --- HEALPix --------------------------------------------------------------------------------------------------------------


def _healpix(order: Any, lon: Any, lat: Any) -> pa.Array:
    orders = np.asarray(_whole(order).to_numpy(zero_copy_only=False))
    cells = np.full(len(orders), -1, np.int64)
    for number in np.unique(orders).tolist():
        if 0 <= number <= healpix.ORDER:
            rows = orders == number
            cells[rows] = healpix.index(int(number), _floats(lon)[rows], _floats(lat)[rows])
    return pa.array(cells, mask=cells < 0)


def _healpix_center(order: Any, cell: Any) -> pa.Array:
    orders, cells = (np.asarray(_whole(column).to_numpy(zero_copy_only=False)) for column in (order, cell))
    lon, lat = np.full(len(orders), np.nan), np.full(len(orders), np.nan)
    for number in np.unique(orders).tolist():
        if 0 <= number <= healpix.ORDER:
            rows = orders == number
            lon[rows], lat[rows] = healpix.center(int(number), cells[rows])
    return _pairs(lon, lat)


_VECTORISED: Any = {"type": "arrow", "side_effects": False}  # duckdb's stubs know enums only
_SKY = 360.0 * 360.0 / np.pi
FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_in_polygon": _in_polygon,
    "hven_box": _box,
    "hven_contains": _contains,
    "hven_intersects": _intersects,
    "hven_area": _area,
    "hven_centroid": _centroid,
    "hven_text": _written,
    "hven_contains_text": _of_texts(_text_contains),
    "hven_intersects_text": _of_texts(_text_intersects),
    "hven_area_text": _area_text,
    "hven_centroid_text": _centroid_text,
    "hven_in_text": _in_text,
    "hven_moc": _moc_of,
    "hven_moc_union": _mocs(lambda a, b: a | b),
    "hven_moc_intersection": _mocs(lambda a, b: a & b),
    "hven_moved": moving.along,
    "hven_turned": moving.between_frames,
    "hven_healpix": _healpix,
    "hven_healpix_center": _healpix_center,
}
