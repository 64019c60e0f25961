"""Shapes in a column of texts, DALI's or STC-S, by the thousand: rows of one circle or polygon as numbers; which way polygons turn, in unions too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.sky import _shape_text as shape_text
from hven.model.sky._footprints import corners_in_order, wrong_way
from hven.model.sky._moc import Moc
from hven.model.sky._region_texts import of_texts
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.types import Type

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

FAULTY = {
    "CIRCLE": "a circle is a longitude, a latitude from -90 to 90 and a radius from 0 to 180 degrees",
    "POLYGON": "a polygon is three corners or more, with latitudes from -90 to 90 degrees",
    "REGION": "it is no region",
}
_NUMBER = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
# words stand in this order, each at most once, the shape first (the frames and positions that footprints have)
_PLACES = {
    "circle": 0, "polygon": 0, "icrs": 1, "fk4": 1, "fk5": 1, "galactic": 1, "ecliptic": 1, "unknownframe": 1,
    "barycenter": 2, "geocenter": 2, "heliocenter": 2, "topocenter": 2, "unknownrefpos": 2, "spherical2": 3,
}  # fmt: skip
_UNKNOWN = 4
_PARTS = r"(?:\s*(?:circle|polygon)\s[-+.\de\s]*)+"
_UNION = rf"(?i)^\s*(?:union(?:\s+(?:icrs|fk4|fk5|galactic|ecliptic|unknownframe))?\s*\({_PARTS}\)|{_PARTS})\s*$"
_SHAPES = {"circle", "polygon", "range", "point", "position", "box", "union", "allsky"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """The rows of a column that are one circle or one polygon. Nothing is known yet of the size of their numbers, but that they are finite.

    Attributes
    ----------
    rows
        Their numbers, ascending, shape (n,).
    circle
        Which are circles (three numbers: longitude, latitude, radius); the others are polygons (pairs of longitude and latitude).
    lengths
        How many numbers each has.
    numbers
        Those of all of them, one row after the other, degrees.
    """

    rows: Indexes
    circle: Flags
    lengths: Indexes
    numbers: Numbers

    @property
    def starts(self) -> Indexes:
        """Where the numbers of each row begin, shape (n,)."""
        found: Indexes = np.cumsum(self.lengths) - self.lengths
        return found

    def some(self, which: Flags) -> Outlines:
        """Select some of the rows.

        Parameters
        ----------
        which
            True for those to keep, shape (n,).

        Returns
        -------
        outlines
            Of these rows.
        """
        kept = np.repeat(which, self.lengths)
        return Outlines(
            rows=self.rows[which], circle=self.circle[which], lengths=self.lengths[which], numbers=self.numbers[kept]
        )


def outlines(texts: pa.Array) -> Outlines:
    """Parse the texts that are one circle or one polygon in degrees, in any case; what is anything else is left out.

    Parameters
    ----------
    texts
        Strings, shape (n,): ``Circle ICRS 10 20 0.5``, ``polygon 1 1 2 1 2 2``, ``Polygon UNKNOWNFrame 1 1 2 1 2 2``.

    Returns
    -------
    outlines
        Of the rows that could be read.
    """
    words = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(texts))
    counts = np.asarray(pc.fill_null(pc.list_value_length(words), 0)).astype(np.int64)
    flat = words.flatten()
    first, second = _beginnings(flat)
    word = ((first | 32) - np.uint8(97)) < 26  # a letter
    leading, good = _heads(flat, word, counts)
    circle, rank = leading
    size = counts - rank
    good &= np.where(circle, size == 3, (size >= 6) & (size % 2 == 0))
    kept = np.repeat(good, counts) & ~word
    plus = first == ord("+")
    if plus.any():
        odd = plus & kept & ~((second == ord(".")) | ((second - np.uint8(48)) < 10))
        if odd.any():
            good &= ~_any_of(odd, counts)
            kept = np.repeat(good, counts) & ~word
    numbers = _numbers(flat, kept, plus=bool(plus.any()))
    if numbers is None:
        right = np.asarray(pc.match_substring_regex(flat, _NUMBER))
        good &= ~_any_of(kept & ~right, counts)
        kept = np.repeat(good, counts) & ~word
        numbers = _numbers(flat, kept, plus=bool(plus.any()))
    found = Outlines(
        rows=np.flatnonzero(good),
        circle=circle[good],
        lengths=size[good],
        numbers=np.empty(0) if numbers is None else numbers,
    )
    finite = np.isfinite(found.numbers)
    return found if finite.all() else found.some(~_any_of(~finite, found.lengths))


def _beginnings(flat: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the first two bytes of each word, 0 where there is none."""
    _, offsets, data = flat.buffers()
    if not len(flat) or data is None or not data.size:
        return np.zeros(len(flat), np.uint8), np.zeros(len(flat), np.uint8)
    ends = np.frombuffer(offsets, np.int32, len(flat) + 1, flat.offset * 4)
    raw = np.frombuffer(data, np.uint8)
    starts, length = ends[:-1], np.diff(ends)
    last = len(raw) - 1
    return (
        np.where(length > 0, raw[np.minimum(starts, last)], np.uint8(0)),
        np.where(length > 1, raw[np.minimum(starts + 1, last)], np.uint8(0)),
    )


def _heads(flat: pa.Array, word: Flags, counts: Indexes) -> tuple[tuple[Flags, Indexes], Flags]:
    """Read the words before the numbers: ((which are circles, how many words), which begin as a shape does)."""
    starts = np.cumsum(counts) - counts
    at = np.flatnonzero(word)
    owner = np.repeat(np.arange(len(counts)), counts)[at]
    place = at - starts[owner]
    many = np.bincount(owner, minlength=len(counts))
    encoded = flat.take(pa.array(at)).dictionary_encode()
    known = [text.lower() for text in encoded.dictionary.to_pylist()]
    codes = np.asarray(encoded.indices)
    rank = np.array([_PLACES.get(text, _UNKNOWN) for text in known], np.int64)[codes]
    round_ = np.array([text == "circle" for text in known], bool)[codes]
    right = (rank < _UNKNOWN) & (place < many[owner]) & ((rank == 0) == (place == 0))
    right[1:] &= (place[1:] == 0) | (rank[1:] > rank[:-1])
    good = many > 0
    good[owner[~right]] = False
    circle = np.zeros(len(counts), bool)
    circle[owner[(place == 0) & round_]] = True
    return (circle, many), good


def _numbers(flat: pa.Array, kept: Flags, *, plus: bool) -> Numbers | None:
    """Read words as numbers; None if one of them is none."""
    words = flat.filter(pa.array(kept))
    if plus:
        words = pc.replace_substring_regex(words, r"^\+", "")  # Arrow knows no +7
    try:
        return np.asarray(pc.cast(words, pa.float64()))
    except pa.ArrowInvalid:
        return None


def _any_of(flags: Flags, counts: Indexes) -> Flags:
    """Return which rows have a flag, of `counts` flags each."""
    found = np.zeros(len(counts), bool)
    at = np.flatnonzero(flags)
    found[np.searchsorted(np.cumsum(counts), at, side="right")] = True
    return found


def parts(texts: pa.Array) -> tuple[Indexes, pa.Array]:
    """Split unions of circles and polygons, which name a frame at their head if at all.

    Parameters
    ----------
    texts
        Strings, shape (n,).

    Returns
    -------
    rows
        The row of each part, shape (m,).
    texts
        The text of each part, shape (m,).
    """
    union = np.flatnonzero(np.asarray(pc.fill_null(pc.match_substring_regex(texts, _UNION), fill_value=False)))
    if not len(union):
        return union, texts.slice(0, 0)
    # cutting at words costs a fraction of what taking groups of an expression does
    marked = pc.ascii_lower(texts.take(pa.array(union)))
    for shape in ("circle", "polygon"):
        marked = pc.replace_substring(marked, shape, f"|{shape}")
    lists = pc.split_pattern(pc.replace_substring(marked, ")", ""), "|")
    lengths = np.asarray(pc.list_value_length(lists), np.int64)
    some = np.ones(int(lengths.sum()), np.bool_)
    some[np.cumsum(lengths) - lengths] = False  # what stands before the first shape
    return np.repeat(union, lengths - 1), lists.flatten().filter(pa.array(some))


def turned(texts: pa.Array, *, outside: bool) -> pa.Array:
    """Orient the polygons of regions as `footprints.turned_round` does; nothing else of the texts changes but blanks.

    Parameters
    ----------
    texts
        Strings, shape (n,).
    outside
        True: counter-clockwise as seen by somebody who looks at a body.

    Returns
    -------
    texts
        Shape (n,); nulls stay null.
    """
    found = _Polygons(texts)
    order = np.arange(len(found.flat))
    order[found.at] = found.at.reshape(-1, 2)[corners_in_order(found.starts, found.numbers, outside=outside)].ravel()
    offsets = pa.array(np.concatenate([[0], np.cumsum(found.counts)]), pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, found.flat.take(pa.array(order))), " ")
    return pc.if_else(pc.is_valid(texts), joined, pa.scalar(None, pa.string()))


def find_faults(array: pa.Array, kind: Type) -> Iterator[tuple[str, Flags]]:
    """Find the values of a column of shapes that are none: the one check of regions that come in, whichever way.

    Parameters
    ----------
    array
        In the storage type of `kind`, shape (n,).
    kind
        Circle, polygon, shape, multishape or adql:REGION; columns of other types have no faults.

    Yields
    ------
    reason, flags
        What is wrong, and in which rows, shape (n,).
    """
    if kind.special is None or kind.special.adql not in {"CIRCLE", "POLYGON", "REGION"}:
        return
    if pa.types.is_string(array.type):
        yield from find_faulty_texts(array)
        return
    bad = find_faulty_numbers(array)
    if bad.any():
        yield FAULTY[kind.special.adql], bad


def find_faulty_texts(
    texts: pa.Array, reasons: Callable[[pa.Array], Sequence[str]] | None = None
) -> Iterator[tuple[str, Flags]]:
    """Find the texts that are no region: circles and polygons are read by the thousand, anything else one by one.

    Parameters
    ----------
    texts
        Strings, shape (n,); null is none.
    reasons
        Says of texts of shape (m,), in their order, why they are no regions (empty: they are), as `fault_of_text` does; a caller may remember what it knows.

    Yields
    ------
    reason, flags
        What is wrong, and in which rows, shape (n,).
    """
    plain = outlines(texts)
    size, starts = plain.lengths, plain.starts
    odd = np.where(plain.circle, size != 3, (size < 6) | (size % 2 == 1))
    latitude = _no_latitudes(plain) & ~odd
    whole = plain.circle & ~odd
    radius = plain.numbers[starts[whole] + 2]
    wide = np.zeros(len(size), bool)
    wide[np.flatnonzero(whole)[(radius < 0.0) | (radius > 180.0)]] = True
    for reason, which in (
        (FAULTY["CIRCLE"], odd & plain.circle),
        (FAULTY["POLYGON"], odd & ~plain.circle),
        ("a latitude is outside -90 to 90", latitude),
        ("a radius is outside 0 to 180 degrees", wide),
    ):
        if which.any():
            bad = np.zeros(len(texts), bool)
            bad[plain.rows[which]] = True
            yield reason, bad
    known = np.asarray(pc.is_valid(texts))
    known[plain.rows] = False
    rest = np.flatnonzero(known)
    if not len(rest):
        return
    others = texts.take(pa.array(rest))
    found = np.array(reasons(others) if reasons else list(map(fault_of_text, others.to_pylist())), object)
    for reason in dict.fromkeys(found[found != ""].tolist()):
        bad = np.zeros(len(texts), bool)
        bad[rest[found == reason]] = True
        yield reason, bad


def fault_of_text(text: str) -> str:
    """Return why a text is no region, neither STC-S nor DALI's; empty: it is one.

    Parameters
    ----------
    text
        A single one.
    """
    why = ""
    readers: list[Callable[[str], object]] = [
        lambda shape: shape_text.parse("multishape", shape.lower()),
        shape_text.stcs,  # the last one says what is wrong
    ]
    for read in readers:
        try:
            read(text)
        except ValueError as error:
            why = str(error).partition(" (at character")[0][:200]
        else:
            return ""
    return why


def fault_of_literal(text: str) -> str:
    """Return why a text in ADQL's REGION is no region: there it may be a MOC, too, which a column of regions may not hold.

    Parameters
    ----------
    text
        A single one.
    """
    if "/" not in text.partition(" ")[0]:
        return fault_of_text(text)
    try:
        Moc.parse(text)
    except ValueError as error:
        return str(error)[:200]
    return ""


def find_faulty_numbers(values: pa.Array) -> Flags:
    """Find the circles, points or polygons of numbers that are none: off the sphere, not finite, of fewer than three corners.

    Parameters
    ----------
    values
        Lists of any length (polygons), or of two (points) or three (circles) numbers, shape (n,).

    Returns
    -------
    flags
        Shape (n,); null is no fault.
    """
    sizes = np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.asarray(values.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    known, polygons = np.asarray(pc.is_valid(values)), pa.types.is_list(values.type)
    whole = polygons and not (sizes % 2).any()
    bad = known & ((sizes < 6) | (sizes % 2 == 1)) if polygons else np.zeros(len(values), bool)
    if whole and len(numbers) and _on_sphere(numbers[::2], numbers[1::2]):
        off = np.empty(0, np.int64)
    elif whole:
        off = np.flatnonzero(~(np.abs(numbers.reshape(-1, 2)) <= [np.finfo(np.float64).max, 90.0]))
    else:
        off = np.flatnonzero(~(np.abs(numbers) <= 90.0) | ((numbers < 0.0) & (not polygons)))
    owner = np.searchsorted(starts, off, "right") - 1
    place, value = off - starts[owner], numbers[off]
    wrong = ~np.isfinite(value) | ((place % 2 == 1) & (np.abs(value) > 90.0))
    if not polygons:  # a circle's radius, where there is one
        wrong |= (place == 2) & ((value < 0.0) | (value > 180.0))
    bad[owner[wrong]] = True
    return bad


def _on_sphere(lon: Numbers, lat: Numbers) -> bool:
    """Return whether all places are some, by their extremes: NaN is one."""
    ends = np.array([lon.min(), lon.max(), lat.min(), lat.max()])
    return bool(np.isfinite(ends).all() and np.abs(ends[2:]).max() <= 90.0)


def _no_latitudes(shapes: Outlines) -> Flags:
    """Return which circles and polygons have a second coordinate outside -90 to 90: every second number of a shape."""
    bad = np.zeros(len(shapes.rows), bool)
    beyond = np.flatnonzero(np.abs(shapes.numbers) > 90.0)
    owner = np.searchsorted(shapes.starts, beyond, side="right") - 1
    bad[owner[(beyond - shapes.starts[owner]) % 2 == 1]] = True
    return bad


def regions(array: pa.Array, kind: Type) -> Regions:
    """Make regions of a column: shapes as numbers or as texts, or MOCs.

    Parameters
    ----------
    array
        Shape (n,).
    kind
        The column's type.

    Returns
    -------
    regions
        Empty where there is none, or a text that is no region; not mended: a polygon that crosses itself still does so; shape (n,).
    """
    stored = literal.storage(array, kind)
    if pa.types.is_nested(stored.type):
        offsets, flat = literal.flat(literal.variable(stored))
        size = np.diff(offsets)
        numbers = np.asarray(flat.cast(pa.float64()).fill_null(np.nan), np.float64)
        return _drawn(len(stored), np.arange(len(stored)), np.full(len(size), kind.xtype == "circle"), size, numbers)
    texts = stored.cast(pa.string())
    plain = outlines(texts)
    found = _drawn(len(texts), plain.rows, plain.circle, plain.lengths, plain.numbers)
    rest = np.setdiff1d(np.flatnonzero(np.asarray(texts.is_valid())), plain.rows)
    return found.replaced(rest, of_texts(texts.take(pa.array(rest)).to_pylist()).regions) if len(rest) else found


def _drawn(count: int, rows: Indexes, circle: Flags, size: Indexes, numbers: Numbers) -> Regions:
    starts = np.concatenate([[0], np.cumsum(size)])
    found = Regions.empty(count)
    good = circle & (size == 3)
    if good.any():
        lon, lat, radius = numbers[starts[:-1][good][:, None] + np.arange(3)].T
        right = ~(np.abs(lat) > 90.0)
        found = found.replaced(rows[good][right], Regions.circles(lon[right], lat[right], radius[right]))
    good = ~circle & (size >= 6) & (size % 2 == 0)
    if good.any():
        kept = np.repeat(good, size)
        ends = np.concatenate([[0], np.cumsum(size[good])])
        found = found.replaced(rows[good], Regions.polygons(ends, numbers[kept]))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygons:
    """The polygons of a column of regions in texts: those of unions, too.

    Attributes
    ----------
    count
        How many rows the column has.
    rows
        The row of each polygon, shape (p,).
    starts
        Where the numbers of each polygon begin, and the end, shape (p + 1,).
    numbers
        Longitudes and latitudes in turn, degrees.
    """

    count: int
    rows: Indexes
    starts: Indexes
    numbers: Numbers

    def astray(self, *, outside: bool) -> Flags:
        """Find the rows with a polygon that turns the wrong way.

        Parameters
        ----------
        outside
            True: as seen by somebody who looks at a body.

        Returns
        -------
        wrong
            Shape (n,).
        """
        bad = np.zeros(self.count, bool)
        bad[self.rows[wrong_way(self.starts, self.numbers, outside=outside)]] = True
        return bad

    def crossing(self) -> Flags:
        """Find the rows with a polygon that crosses itself or has no area; latitudes beyond 90 degrees are not judged.

        Returns
        -------
        wrong
            Shape (n,).
        """
        size = np.diff(self.starts)
        beyond = np.zeros(len(size), bool)
        beyond[np.repeat(np.arange(len(size)), size)[1::2][np.abs(self.numbers[1::2]) > 90.0]] = True
        bad = np.zeros(self.count, bool)
        bad[self.rows[~beyond & Regions.polygons(self.starts, self.numbers).crossing()]] = True
        return bad


def read_polygons(texts: pa.Array) -> Polygons:
    """Read the polygons of a column of regions.

    Parameters
    ----------
    texts
        Strings, shape (n,).

    Returns
    -------
    polygons
        Of all rows, first those of rows that are one polygon.
    """
    plain = outlines(texts)
    polygon = plain.some(~plain.circle)
    other = np.ones(len(texts), bool)
    other[plain.rows] = False
    rest = np.flatnonzero(other & np.asarray(texts.is_valid()))
    rows, lengths, numbers = [polygon.rows], [polygon.lengths], [polygon.numbers]
    if len(rest):  # read word by word, at thrice the price
        found = _Polygons(texts.take(pa.array(rest)))
        rows.append(rest[found.rows])
        lengths.append(np.diff(found.starts))
        numbers.append(found.numbers)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Polygons(count=len(texts), rows=np.concatenate(rows), starts=starts, numbers=np.concatenate(numbers))


class _Polygons:
    """All polygons of a column of regions: the words of the texts, and where the polygons' numbers stand among them."""

    def __init__(self, texts: pa.Array) -> None:
        words = pc.ascii_split_whitespace(
            pc.ascii_trim_whitespace(pc.replace_substring_regex(texts, r"([()])", r" \1 "))
        )
        self.counts = np.asarray(pc.fill_null(pc.list_value_length(words), 0)).astype(np.int64)
        self.flat = words.flatten()
        encoded = self.flat.dictionary_encode()
        codes = np.asarray(encoded.indices)
        lower = pc.utf8_lower(encoded.dictionary)
        begins = np.asarray(pc.is_in(lower, value_set=pa.array(sorted(_SHAPES))))[codes]
        polygon = np.asarray(pc.equal(lower, "polygon"))[codes]
        number = np.asarray(pc.match_substring_regex(encoded.dictionary, _NUMBER))[codes]
        part = np.cumsum(begins) - 1
        shapes = np.flatnonzero(begins)
        sizes = np.bincount(part[number & (part >= 0)], minlength=len(shapes))
        good = polygon[shapes] & (sizes >= 6) & (sizes % 2 == 0)
        self.at = np.flatnonzero(number & (part >= 0) & (good[part] if len(shapes) else False))
        self.starts: Indexes = np.concatenate([[0], np.cumsum(sizes[good])])
        plain = pc.replace_substring_regex(self.flat.take(pa.array(self.at)), r"^\+", "")
        self.numbers: Numbers = np.asarray(pc.cast(plain, pa.float64()))
        #: the row of each polygon
        self.rows: Indexes = np.repeat(np.arange(len(texts)), self.counts)[shapes[good]]
