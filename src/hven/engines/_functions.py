"""Functions of the sky that no database has, computed by `hven.model.sky` over whole vectors; `SIGNATURES` says what they take and give.

They see rows without nulls (`of_whole_rows`), and may answer with nulls. A shape is a list of numbers told by its length: 2 a point, 3 a circle, 4 a range,
6 and more a polygon. Something that is no shape contains nothing and has no area.
"""

from __future__ import annotations

from functools import lru_cache, reduce, wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import _moving as moving
from hven.engines._bound.reading import cells_of, read
from hven.engines._regions import numbers_of
from hven.model import cached, shape_columns
from hven.model.sky import (
    Circle,
    Moc,
    Point,
    Polygon,
    Range,
    Region,
    Shape,
    arrays,
    contains,
    distance,
    from_array,
    healpix,
    intersects,
    q3c,
    sphere,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.float64]
    Test = Callable[["Shapes", "Shapes"], Flags]

POINT, CIRCLE, RANGE, POLYGON, NONE = range(5)
FEW = 32  # rows of text that are read one by one
_KINDS = {POINT: "point", CIRCLE: "circle", RANGE: "range", POLYGON: "polygon"}


def of_whole_rows(function: Callable[..., pa.Array]) -> Callable[..., pa.Array]:
    """Wrap a function so that it sees the rows without a null; the others give null.

    DuckDB would do so itself, but then it takes no null that the function gives for a row without one.
    """

    @wraps(function)
    def called(*columns: Any) -> pa.Array:
        if not any(column.null_count for column in columns):
            return function(*columns)
        whole = reduce(pc.and_, (pc.is_valid(column) for column in columns))
        if not pc.any(whole).as_py():
            return pa.nulls(len(whole))
        rows = np.cumsum(whole) - 1
        return function(*(column.filter(whole) for column in columns)).take(pa.array(rows, mask=~np.asarray(whole)))

    return called


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
        """Return some rows."""
        if len(rows) == len(self):
            return self
        size = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(size)])
        take = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.starts[:-1][rows], size)
        return Shapes(starts, self.numbers[take])

    def fixed(self, size: int) -> Any:
        """Return the numbers of rows that all have `size` of them, as that many columns."""
        rows = self.numbers[self.starts[0] : self.starts[-1]].reshape(-1, size)
        return tuple(rows[:, number] for number in range(size))

    def shape(self, row: int) -> Shape | None:
        """Make the shape of one row, None if it is none."""
        return _shape(
            _KINDS.get(int(self.kind[row]), ""), tuple(self.numbers[self.starts[row] : self.starts[row + 1]].tolist())
        )


@cached(4096)
def _shape(kind: str, numbers: tuple[float, ...]) -> Shape | None:
    try:
        return from_array(kind, numbers) if kind else None
    except ValueError:
        return None


def _whole(column: Any) -> Any:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return (
        column.chunk(0)
        if column.num_chunks == 1
        else pa.concat_arrays(column.chunks)
        if column.num_chunks
        else pa.array([], column.type)
    )


def _floats(column: Any) -> Numbers:
    return np.asarray(_whole(column).to_numpy(zero_copy_only=False), dtype=np.float64)


def _lists(offsets: npt.NDArray[np.int64], numbers: Numbers) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(numbers))


def _pairs(lon: Numbers, lat: Numbers) -> pa.Array:
    """Write positions as lists of two; null where there is none."""
    offsets = pa.array(np.arange(len(lon) + 1, dtype=np.int32) * 2)
    return pa.ListArray.from_arrays(
        offsets, pa.array(np.stack([lon, lat], axis=1).ravel()), mask=pa.array(np.isnan(lon))
    )


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
    one: Shapes,
    two: Shapes,
    tests: dict[tuple[int, int], Test],
    single: Callable[[Shape, Shape], bool],
    *,
    both_ways: bool,
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
    return pa.array(
        _by_kinds(Shapes.of(inner), Shapes.of(outer), _CONTAINS, lambda a, b: contains(b, a), both_ways=False)
    )


def _intersects(one: Any, two: Any) -> pa.Array:
    return pa.array(_by_kinds(Shapes.of(one), Shapes.of(two), _INTERSECTS, intersects, both_ways=True))


def _in_polygon(lon: Any, lat: Any, polygon: Any) -> pa.Array:
    shapes = Shapes.of(polygon)
    return pa.array(arrays.in_polygon(_floats(lon), _floats(lat), shapes.starts, shapes.numbers))


# --- what one shape is ---------------------------------------------------------------------------------------------------


def _box(lon: Any, lat: Any, width: Any, height: Any) -> pa.Array:
    lons, lats = arrays.boxes(*(_floats(column) for column in (lon, lat, width, height)))
    numbers = np.stack([lons, lats], axis=2).reshape(-1)
    none = np.isnan(lons[:, 0])
    return pa.ListArray.from_arrays(
        pa.array(np.arange(0, len(numbers) + 1, 8, dtype=np.int32)), pa.array(numbers), mask=pa.array(none)
    )


def _area(shape: Any) -> pa.Array:
    found = _areas(Shapes.of(shape))
    return pa.array(found, mask=np.isnan(found))


def _areas(shapes: Shapes) -> Numbers:
    """Compute square degrees, NaN for what is no shape; polygons all at once."""
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
    return found


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
    words = [
        None if item is None else f"point {item.text()}" if isinstance(item, Point) else item.text() for item in made
    ]
    return pa.array(words, pa.string())


# --- shapes that are text ------------------------------------------------------------------------------------------------


def _distinct(*columns: Any) -> tuple[list[tuple[str, ...]], npt.NDArray[np.int64]]:
    """Return the distinct rows of text columns, and which of them each row is."""
    codes, words = [], []
    for column in columns:
        coded = _whole(column).dictionary_encode()
        codes.append(np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64))
        words.append(coded.dictionary.to_pylist())
    rows, back = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)
    return [tuple(words[number][code] for number, code in enumerate(row)) for row in rows.tolist()], back.ravel()


@lru_cache(maxsize=1024)
def _moc(shape: Shape | Moc) -> Moc:
    if isinstance(shape, Moc):
        return shape
    if isinstance(shape, Region):  # each part at the order that suits it
        made = [_moc(part) for part in shape.parts]
        return Moc(healpix.merge(np.concatenate([part.ranges for part in made])), max(part.order for part in made))
    size = float(np.sqrt(shape.area() / np.pi))
    if isinstance(shape, Polygon):  # cells are not made smaller than the length of a thin one suggests
        size = max(size, float(shape.ring.reach[0]) / 16)
    elif isinstance(shape, Range):
        size = max(
            size,
            (shape.lat2 - shape.lat1) / 32,
            shape.width * float(np.cos(np.radians(min(map(abs, shape.parallels), default=0.0)))) / 32,
        )
    order = 29 if size == 0.0 else min(healpix.order_for(size) + 4, 29)
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


class Texts:
    """A column of shapes as text: those that are one circle or one polygon as numbers, read all at once."""

    def __init__(self, column: Any) -> None:
        coded = _whole(column).dictionary_encode()
        self.codes = np.asarray(coded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
        self.distinct = coded.dictionary
        found = shape_columns.outlines(self.distinct)
        size = np.zeros(len(self.distinct), np.int64)
        size[found.rows] = found.lengths
        self.shapes = Shapes(np.concatenate([[0], np.cumsum(size)]), found.numbers)
        self.certain = self._plain()
        self.plain: Flags = self.certain[self.codes]

    def _plain(self) -> Flags:
        """Return which are shapes for sure: positions, radii and edges are as they must be."""
        shapes = self.shapes
        plain: Flags = (shapes.kind == CIRCLE) | (shapes.kind == POLYGON)
        size = np.diff(shapes.starts)
        owner = np.repeat(np.arange(len(shapes)), size)
        place = np.arange(len(owner)) - shapes.starts[:-1][owner]
        round_ = shapes.kind[owner] == CIRCLE
        odd = place % 2 == 1
        low, high = np.where(odd, -90.0, 0.0), np.where(odd, 90.0, np.where(round_ & (place == 2), 180.0, 360.0))
        plain[owner[~((shapes.numbers >= low) & (shapes.numbers <= high))]] = False
        corners = np.flatnonzero(~round_ & (place % 2 == 0))
        if len(corners):
            xyz = sphere.vectors(shapes.numbers[corners], shapes.numbers[corners + 1])
            mine = owner[corners]
            first = np.append(True, mine[1:] != mine[:-1])
            following = np.append(np.arange(1, len(corners)), 0)
            following[np.append(first[1:], True)] = np.flatnonzero(first)  # the last corner is joined to the first
            plain[mine[np.linalg.norm(xyz + xyz[following], axis=1) < 1e-9]] = False
        return plain

    def rows(self, which: npt.NDArray[np.int64]) -> Shapes:
        """Return the shapes of some rows."""
        codes = self.codes[which]
        size = np.diff(self.shapes.starts)[codes]
        starts = np.concatenate([[0], np.cumsum(size)])
        take = np.arange(starts[-1]) - np.repeat(starts[:-1] - self.shapes.starts[:-1][codes], size)
        return Shapes(starts, self.shapes.numbers[take])


def _of_texts(
    test: Callable[[Shape | Moc, Shape | Moc], bool],
    tests: dict[tuple[int, int], Test],
    single: Callable[[Shape, Shape], bool],
    *,
    both_ways: bool,
) -> Callable[[Any, Any], pa.Array]:
    def evaluate(one: Any, two: Any) -> pa.Array:
        found = np.zeros(len(one), np.bool_)
        rest = np.arange(len(one))
        if len(one) >= FEW:
            a, b = Texts(one), Texts(two)
            both = np.flatnonzero(a.plain & b.plain)
            found[both] = _by_kinds(a.rows(both), b.rows(both), tests, single, both_ways=both_ways)
            rest = np.flatnonzero(~(a.plain & b.plain))
            one, two = _whole(one).take(pa.array(rest)), _whole(two).take(pa.array(rest))
        if not len(rest):
            return pa.array(found)
        rows, back = _distinct(one, two)
        made = [(read(a), read(b)) for a, b in rows]
        if test is _text_intersects:
            found[rest] = _all_intersects(made)[back]
        else:
            found[rest] = np.array([a is not None and b is not None and test(a, b) for a, b in made], np.bool_)[back]
        return pa.array(found)

    return evaluate


def _all_intersects(pairs: Sequence[tuple[Shape | Moc | None, Shape | Moc | None]]) -> Flags:
    """Test many pairs: circles and polygons, and unions of them, all at once; anything else pair by pair."""
    found = np.zeros(len(pairs), np.bool_)
    owners: list[int] = []
    mocs: dict[int, tuple[Any, list[tuple[int, Any]]]] = {}
    sides: tuple[list[list[float]], list[list[float]]] = ([], [])
    for number, (one, two) in enumerate(pairs):
        if one is None or two is None:
            continue
        if isinstance(one, Moc) != isinstance(two, Moc):
            moc, shape = (one, two) if isinstance(one, Moc) else (two, one)
            mocs.setdefault(id(moc), (moc, []))[1].append((number, shape))
            continue
        parts = [
            [numbers_of(part) for part in (shape.parts if isinstance(shape, Region) else (shape,))]
            for shape in (one, two)
        ]
        if not all(all(side) for side in parts):
            found[number] = _text_intersects(one, two)
            continue
        for a in parts[0]:
            for b in parts[1]:
                owners.append(number)
                sides[0].append(a)
                sides[1].append(b)
    if owners:
        one_way, other = (
            Shapes(np.cumsum([0, *map(len, side)]), np.concatenate([np.array(part) for part in side])) for side in sides
        )
        meeting = _by_kinds(one_way, other, _INTERSECTS, intersects, both_ways=True)
        found[np.array(owners)[meeting]] = True
    for moc, shapes in mocs.values():
        _meet_moc(moc, shapes, found)
    return found


def _meet_moc(moc: Moc, shapes: Sequence[tuple[int, Shape]], found: Flags) -> None:
    """Test shapes against one MOC: a centre or a corner in it is enough; the cells of a shape are looked at where that does not tell."""
    owners, lons, lats = [], [], []
    for number, shape in shapes:
        for part in shape.parts if isinstance(shape, Region) else (shape,):
            listed = numbers_of(part)
            pairs = (
                [listed[:2]] if isinstance(part, Circle) else [listed[at : at + 2] for at in range(0, len(listed), 2)]
            )
            owners += [number] * len(pairs)
            lons += [pair[0] for pair in pairs]
            lats += [pair[1] for pair in pairs]
    if owners:
        found[np.array(owners)[moc.contains(lons, lats)]] = True
    for number, shape in shapes:
        if not found[number]:
            found[number] = _text_intersects(moc, shape)


def _in_text(lon: Any, lat: Any, text: Any) -> pa.Array:
    """Test positions against regions and MOCs: circles and polygons all at once, others those of one text at once."""
    lons, lats = _floats(lon), _floats(lat)
    found = np.zeros(len(lons), np.bool_)
    rest = np.arange(len(lons))
    if len(lons) >= FEW:
        shapes = Texts(text)
        some, rest = np.flatnonzero(shapes.plain), np.flatnonzero(~shapes.plain)
        points = Shapes(np.arange(len(some) + 1) * 2, np.stack([lons[some], lats[some]], axis=1).ravel())
        found[some] = _by_kinds(points, shapes.rows(some), _CONTAINS, lambda a, b: contains(b, a), both_ways=False)
        text = _whole(text).take(pa.array(rest))
    rows, back = _distinct(text)
    order = np.argsort(back, kind="stable")
    ends = np.cumsum(np.bincount(back, minlength=len(rows)))
    for number, (word,) in enumerate(rows):
        shape = read(word)
        if shape is not None:
            which = rest[order[ends[number - 1] if number else 0 : ends[number]]]
            found[which] = shape.contains(lons[which], lats[which])
    return pa.array(found)


def _moc_of(order: Any, text: Any) -> pa.Array:
    numbers = np.asarray(_whole(order).to_numpy(zero_copy_only=False))
    rows, back = _distinct(text)
    made: dict[tuple[int, int], str | None] = {}
    for number, row in {*zip(numbers.tolist(), back.tolist(), strict=True)}:
        made[number, row] = _cells_of(read(rows[row][0]), number)
    return pa.array([made[pair] for pair in zip(numbers.tolist(), back.tolist(), strict=True)], pa.string())


def _cells_of(shape: Shape | Moc | None, order: int) -> str | None:
    return None if shape is None else str(cells_of(shape, order))


def _mocs(join: Callable[[Moc, Moc], Moc]) -> Callable[[Any, Any], pa.Array]:
    def evaluate(one: Any, two: Any) -> pa.Array:
        rows, back = _distinct(one, two)
        made = [(read(a), read(b)) for a, b in rows]
        words = [str(join(a, b)) if isinstance(a, Moc) and isinstance(b, Moc) else None for a, b in made]
        return pa.array(words, pa.string()).take(pa.array(back))

    return evaluate


def _area_text(text: Any) -> pa.Array:
    """Compute areas of regions and MOCs: circles, polygons and unions of parts that do not meet all at once, others one text at a time."""
    texts = Texts(text)
    areas = _areas(texts.shapes)
    known = texts.certain.copy()
    rest = np.flatnonzero(~known)
    owner, words = shape_columns.parts(texts.distinct.take(pa.array(rest)))
    some = Texts(words) if len(words) else None
    if some is not None and len(mine := np.flatnonzero(~np.isin(owner, owner[~some.plain]))):
        which, place = np.unique(rest[owner[mine]], return_inverse=True)
        shapes = some.rows(mine)
        found, apart = arrays.unions(place, shapes.kind == CIRCLE, shapes.starts, shapes.numbers)
        areas[which[apart]], known[which[apart]] = found[apart], True
    for number in np.flatnonzero(~known).tolist():
        item = read(texts.distinct[number].as_py())
        areas[number] = (
            np.nan if item is None else float(item.fraction) * _SKY if isinstance(item, Moc) else item.area()
        )
    areas = areas[texts.codes]
    return pa.array(areas, mask=np.isnan(areas))


def _centroid_text(text: Any) -> pa.Array:
    rows, back = _distinct(text)
    middles = np.array([_middle(read(row[0])) for row in rows], dtype=np.float64).reshape(-1, 2)[back]
    return _pairs(middles[:, 0], middles[:, 1])


def _middle(shape: Shape | Moc | None) -> tuple[float, float]:
    if shape is None or (isinstance(shape, Moc) and not len(shape.ranges)):
        return np.nan, np.nan
    if isinstance(shape, Moc):
        # the mean direction of the ranges' first cells, weighted by size, at an order where they are few
        coarse = shape.degrade(min(shape.order, 8))
        shift = 2 * (29 - coarse.order)
        low, high = coarse.ranges[:, 0] >> shift, coarse.ranges[:, 1] >> shift
        cells = np.arange(int((high - low).sum())) + np.repeat(
            low - np.concatenate([[0], np.cumsum(high - low)[:-1]]), high - low
        )
        lon, lat = sphere.angles(sphere.vectors(*healpix.center(coarse.order, cells)).sum(axis=0))
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


def _ipix(lon: Any, lat: Any) -> pa.Array:
    lons, lats = _floats(lon), _floats(lat)
    return pa.array(q3c.index(lons, lats), mask=~np.isfinite(lons + lats))


_SKY = 360.0 * 360.0 / np.pi
FUNCTIONS: dict[str, Callable[..., pa.Array]] = {
    "hven_in_polygon": _in_polygon,
    "hven_box": _box,
    "hven_contains": _contains,
    "hven_intersects": _intersects,
    "hven_area": _area,
    "hven_centroid": _centroid,
    "hven_text": _written,
    "hven_contains_text": _of_texts(_text_contains, _CONTAINS, lambda a, b: contains(b, a), both_ways=False),
    "hven_intersects_text": _of_texts(_text_intersects, _INTERSECTS, intersects, both_ways=True),
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
    "hven_ipix": _ipix,
}

#: NULL in = NULL out: name -> (argument types, result type), in SQL's words; ``DOUBLE[]`` is a list.
#: A ``DOUBLE[]`` shape is told by its length: 2 a point, 3 a circle (lon, lat, r), 4 a range, 6 and more a polygon.
#: The ``_text`` ones take DALI or STC-S text or an ASCII MOC.
SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
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
    "hven_moved": (("DOUBLE",) * 7, "DOUBLE[]"),  # hven.model.sky.sphere.moved
    "hven_turned": (("VARCHAR", "VARCHAR", "DOUBLE[]"), "DOUBLE[]"),  # (from, to, shape)
    "hven_healpix": (("INTEGER", "DOUBLE", "DOUBLE"), "BIGINT"),  # (order, lon, lat), NESTED
    "hven_ipix": (("DOUBLE", "DOUBLE"), "BIGINT"),  # (lon, lat), hven.model.sky.q3c
    "hven_healpix_center": (("INTEGER", "BIGINT"), "DOUBLE[]"),
}
