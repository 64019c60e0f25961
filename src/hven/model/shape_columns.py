"""Shapes in a column of texts, DALI's or STC-S, by the thousand: rows of one circle or polygon as numbers.

Which way polygons turn, in unions too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.sky import _shape_text as shape_text
from hven.model.sky._footprints import find_oriented_corners, is_clockwise
from hven.model.sky._moc import Moc
from hven.model.sky._region_texts import parse_region_texts
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.types import Type

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

INVALID_SHAPE_REASONS = {
    "CIRCLE": "a circle is a longitude, a latitude from -90 to 90 and a radius from 0 to 180 degrees",
    "POLYGON": "a polygon is three corners or more, with latitudes from -90 to 90 degrees",
    "REGION": "it is no region",
}
_NUMBER_PATTERN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
# words stand in this order, each at most once, the shape first (the frames and positions that footprints have)
_WORD_RANKS = {
    "circle": 0,
    "polygon": 0,
    "icrs": 1,
    "fk4": 1,
    "fk5": 1,
    "galactic": 1,
    "ecliptic": 1,
    "unknownframe": 1,
    "barycenter": 2,
    "geocenter": 2,
    "heliocenter": 2,
    "topocenter": 2,
    "unknownrefpos": 2,
    "spherical2": 3,
}
_UNKNOWN_WORD_RANK = 4
_PARTS_PATTERN = r"(?:\s*(?:circle|polygon)\s[-+.\de\s]*)+"
_UNION_PATTERN = rf"(?i)^\s*(?:union(?:\s+(?:icrs|fk4|fk5|galactic|ecliptic|unknownframe))?\s*\({_PARTS_PATTERN}\)|{_PARTS_PATTERN})\s*$"
_SHAPE_WORDS = {"circle", "polygon", "range", "point", "position", "box", "union", "allsky"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleShapes:
    """The rows of a column that are one circle or one polygon.

    Nothing is known yet of the size of their numbers, but that they are finite.

    Attributes
    ----------
    rows
        Their numbers, ascending, shape (n,).
    is_circle
        Which are circles (three numbers: longitude, latitude, radius); the others are polygons (pairs of longitude and
        latitude).
    lengths
        How many numbers each has.
    numbers
        Those of all of them, one row after the other, degrees.
    """

    rows: Indexes
    is_circle: Flags
    lengths: Indexes
    numbers: Numbers

    @property
    def starts(self) -> Indexes:
        """Where the numbers of each row begin, shape (n,)."""
        starts: Indexes = np.cumsum(self.lengths) - self.lengths
        return starts

    def select_rows(self, mask: Flags) -> SimpleShapes:
        """Select some of the rows.

        Parameters
        ----------
        mask
            True for those to keep, shape (n,).

        Returns
        -------
        outlines
            Of these rows.
        """
        number_mask = np.repeat(mask, self.lengths)
        return SimpleShapes(
            rows=self.rows[mask],
            is_circle=self.is_circle[mask],
            lengths=self.lengths[mask],
            numbers=self.numbers[number_mask],
        )


def parse_simple_shapes(texts: pa.Array) -> SimpleShapes:
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
    flat_words = words.flatten()
    first_bytes, second_bytes = _read_first_two_bytes(flat_words)
    is_word = ((first_bytes | 32) - np.uint8(97)) < 26  # a letter
    leading, is_valid = _parse_leading_words(flat_words, is_word, counts)
    is_circle, rank = leading
    size = counts - rank
    is_valid &= np.where(is_circle, size == 3, (size >= 6) & (size % 2 == 0))
    is_kept_number = np.repeat(is_valid, counts) & ~is_word
    has_plus = first_bytes == ord("+")
    if has_plus.any():
        is_malformed = has_plus & is_kept_number & ~((second_bytes == ord(".")) | ((second_bytes - np.uint8(48)) < 10))
        if is_malformed.any():
            is_valid &= ~_mark_rows(is_malformed, counts)
            is_kept_number = np.repeat(is_valid, counts) & ~is_word
    numbers = _parse_numbers(flat_words, is_kept_number, has_plus=bool(has_plus.any()))
    if numbers is None:
        is_number = np.asarray(pc.match_substring_regex(flat_words, _NUMBER_PATTERN))
        is_valid &= ~_mark_rows(is_kept_number & ~is_number, counts)
        is_kept_number = np.repeat(is_valid, counts) & ~is_word
        numbers = _parse_numbers(flat_words, is_kept_number, has_plus=bool(has_plus.any()))
    rows = np.flatnonzero(is_valid)
    shapes = SimpleShapes(
        rows=rows,
        is_circle=is_circle[is_valid],
        lengths=size[is_valid],
        numbers=np.empty(0) if numbers is None else numbers,
    )
    is_finite = np.isfinite(shapes.numbers)
    if is_finite.all():
        return shapes
    return shapes.select_rows(~_mark_rows(~is_finite, shapes.lengths))


def _read_first_two_bytes(words: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the first two bytes of each word, 0 where there is none."""
    _, offsets, data = words.buffers()
    if not len(words) or data is None or not data.size:
        return np.zeros(len(words), np.uint8), np.zeros(len(words), np.uint8)
    ends = np.frombuffer(offsets, np.int32, len(words) + 1, words.offset * 4)
    raw = np.frombuffer(data, np.uint8)
    starts = ends[:-1]
    length = np.diff(ends)
    last_position = len(raw) - 1
    return (
        np.where(length > 0, raw[np.minimum(starts, last_position)], np.uint8(0)),
        np.where(length > 1, raw[np.minimum(starts + 1, last_position)], np.uint8(0)),
    )


def _parse_leading_words(words: pa.Array, is_word: Flags, counts: Indexes) -> tuple[tuple[Flags, Indexes], Flags]:
    """Read the words before the numbers: ((which are circles, how many words), which begin as a shape does)."""
    starts = np.cumsum(counts) - counts
    positions = np.flatnonzero(is_word)
    owner = np.repeat(np.arange(len(counts)), counts)[positions]
    place = positions - starts[owner]
    leading_word_counts = np.bincount(owner, minlength=len(counts))
    encoded = words.take(pa.array(positions)).dictionary_encode()
    distinct_words = [text.lower() for text in encoded.dictionary.to_pylist()]
    codes = np.asarray(encoded.indices)
    rank = np.array([_WORD_RANKS.get(text, _UNKNOWN_WORD_RANK) for text in distinct_words], np.int64)[codes]
    is_circle_word = np.array([text == "circle" for text in distinct_words], bool)[codes]
    is_in_order = (rank < _UNKNOWN_WORD_RANK) & (place < leading_word_counts[owner]) & ((rank == 0) == (place == 0))
    is_in_order[1:] &= (place[1:] == 0) | (rank[1:] > rank[:-1])
    is_valid = leading_word_counts > 0
    is_valid[owner[~is_in_order]] = False
    is_circle = np.zeros(len(counts), bool)
    is_circle[owner[(place == 0) & is_circle_word]] = True
    return (is_circle, leading_word_counts), is_valid


def _parse_numbers(all_words: pa.Array, mask: Flags, *, has_plus: bool) -> Numbers | None:
    """Read words as numbers; None if one of them is none."""
    words = all_words.filter(pa.array(mask))
    if has_plus:
        words = pc.replace_substring_regex(words, r"^\+", "")  # Arrow knows no +7
    try:
        return np.asarray(pc.cast(words, pa.float64()))
    except pa.ArrowInvalid:
        return None


def _mark_rows(flags: Flags, counts: Indexes) -> Flags:
    """Return which rows have a flag, of `counts` flags each."""
    row_flags = np.zeros(len(counts), bool)
    positions = np.flatnonzero(flags)
    row_flags[np.searchsorted(np.cumsum(counts), positions, side="right")] = True
    return row_flags


def split_unions(texts: pa.Array) -> tuple[Indexes, pa.Array]:
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
    union_rows = np.flatnonzero(
        np.asarray(pc.fill_null(pc.match_substring_regex(texts, _UNION_PATTERN), fill_value=False))
    )
    if not len(union_rows):
        return union_rows, texts.slice(0, 0)
    # cutting at words costs a fraction of what taking groups of an expression does
    marked_texts = pc.ascii_lower(texts.take(pa.array(union_rows)))
    for shape in ("circle", "polygon"):
        marked_texts = pc.replace_substring(marked_texts, shape, f"|{shape}")
    lists = pc.split_pattern(pc.replace_substring(marked_texts, ")", ""), "|")
    lengths = np.asarray(pc.list_value_length(lists), np.int64)
    is_part = np.ones(int(lengths.sum()), np.bool_)
    is_part[np.cumsum(lengths) - lengths] = False  # what stands before the first shape
    return np.repeat(union_rows, lengths - 1), lists.flatten().filter(pa.array(is_part))


def orient_polygons(texts: pa.Array, *, seen_from_outside: bool) -> pa.Array:
    """Orient the polygons of regions as `footprints.orient_polygons` does.

    Nothing else of the texts changes but blanks.

    Parameters
    ----------
    texts
        Strings, shape (n,).
    seen_from_outside
        True: counter-clockwise as seen by somebody who looks at a body.

    Returns
    -------
    texts
        Shape (n,); nulls stay null.
    """
    polygons = _PolygonWords(texts)
    order = np.arange(len(polygons.words))
    order[polygons.number_positions] = polygons.number_positions.reshape(-1, 2)[
        find_oriented_corners(polygons.starts, polygons.numbers, from_outside=seen_from_outside)
    ].ravel()
    offsets = pa.array(np.concatenate([[0], np.cumsum(polygons.word_counts)]), pa.int32())
    joined_texts = pc.binary_join(pa.ListArray.from_arrays(offsets, polygons.words.take(pa.array(order))), " ")
    return pc.if_else(pc.is_valid(texts), joined_texts, pa.scalar(None, pa.string()))


def find_invalid_shapes(array: pa.Array, column_type: Type) -> Iterator[tuple[str, Flags]]:
    """Find the values of a column of shapes that are none: the one check of regions that come in, whichever way.

    Parameters
    ----------
    array
        In the storage type of `column_type`, shape (n,).
    column_type
        Circle, polygon, shape, multishape or adql:REGION; columns of other types have no faults.

    Yields
    ------
    reason, flags
        What is wrong, and in which rows, shape (n,).
    """
    if column_type.stored_xtype is None or column_type.stored_xtype.adql not in {"CIRCLE", "POLYGON", "REGION"}:
        return
    if pa.types.is_string(array.type):
        yield from find_invalid_texts(array)
        return
    is_invalid = find_invalid_numbers(array)
    if is_invalid.any():
        yield INVALID_SHAPE_REASONS[column_type.stored_xtype.adql], is_invalid


def find_invalid_texts(
    texts: pa.Array, explain_texts: Callable[[pa.Array], Sequence[str]] | None = None
) -> Iterator[tuple[str, Flags]]:
    """Find the texts that are no region: circles and polygons are read by the thousand, anything else one by one.

    Parameters
    ----------
    texts
        Strings, shape (n,); null is none.
    explain_texts
        Says of texts of shape (m,), in their order, why they are no regions (empty: they are), as
        `explain_invalid_text` does; a caller may remember what it knows.

    Yields
    ------
    reason, flags
        What is wrong, and in which rows, shape (n,).
    """
    shapes = parse_simple_shapes(texts)
    size = shapes.lengths
    starts = shapes.starts
    has_wrong_size = np.where(shapes.is_circle, size != 3, (size < 6) | (size % 2 == 1))
    has_bad_latitude = _find_bad_latitudes(shapes) & ~has_wrong_size
    is_complete_circle = shapes.is_circle & ~has_wrong_size
    radius = shapes.numbers[starts[is_complete_circle] + 2]
    has_bad_radius = np.zeros(len(size), bool)
    has_bad_radius[np.flatnonzero(is_complete_circle)[(radius < 0.0) | (radius > 180.0)]] = True
    for reason, mask in (
        (INVALID_SHAPE_REASONS["CIRCLE"], has_wrong_size & shapes.is_circle),
        (INVALID_SHAPE_REASONS["POLYGON"], has_wrong_size & ~shapes.is_circle),
        ("a latitude is outside -90 to 90", has_bad_latitude),
        ("a radius is outside 0 to 180 degrees", has_bad_radius),
    ):
        if mask.any():
            is_invalid = np.zeros(len(texts), bool)
            is_invalid[shapes.rows[mask]] = True
            yield reason, is_invalid
    is_unread = np.asarray(pc.is_valid(texts))
    is_unread[shapes.rows] = False
    unread_rows = np.flatnonzero(is_unread)
    if not len(unread_rows):
        return
    unread_texts = texts.take(pa.array(unread_rows))
    found_reasons = np.array(
        explain_texts(unread_texts) if explain_texts else list(map(explain_invalid_text, unread_texts.to_pylist())),
        object,
    )
    for reason in dict.fromkeys(found_reasons[found_reasons != ""].tolist()):
        is_invalid = np.zeros(len(texts), bool)
        is_invalid[unread_rows[found_reasons == reason]] = True
        yield reason, is_invalid


def explain_invalid_text(text: str) -> str:
    """Return why a text is no region, neither STC-S nor DALI's; empty: it is one.

    Parameters
    ----------
    text
        A single one.
    """
    reason = ""
    parsers: list[Callable[[str], object]] = [
        lambda shape: shape_text.parse_shape("multishape", shape.lower()),
        shape_text.parse_stcs,  # the last one says what is wrong
    ]
    for parse in parsers:
        try:
            parse(text)
        except ValueError as error:
            reason = str(error).partition(" (at character")[0][:200]
        else:
            return ""
    return reason


def explain_invalid_literal(text: str) -> str:
    """Return why a text in ADQL's REGION is no region.

    There it may be a MOC, too, which a column of regions may not hold.

    Parameters
    ----------
    text
        A single one.
    """
    if "/" not in text.partition(" ")[0]:
        return explain_invalid_text(text)
    try:
        Moc.parse(text)
    except ValueError as error:
        return str(error)[:200]
    return ""


def find_invalid_numbers(values: pa.Array) -> Flags:
    """Find the circles, points or polygons of numbers that are none.

    Off the sphere, not finite, of fewer than three corners.

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
    is_valid = np.asarray(pc.is_valid(values))
    is_polygon_column = pa.types.is_list(values.type)
    has_pairs_only = is_polygon_column and not (sizes % 2).any()
    is_invalid = is_valid & ((sizes < 6) | (sizes % 2 == 1)) if is_polygon_column else np.zeros(len(values), bool)
    if has_pairs_only and len(numbers) and _is_on_sphere(numbers[::2], numbers[1::2]):
        suspect_positions = np.empty(0, np.int64)
    elif has_pairs_only:
        suspect_positions = np.flatnonzero(~(np.abs(numbers.reshape(-1, 2)) <= [np.finfo(np.float64).max, 90.0]))
    else:
        suspect_positions = np.flatnonzero(~(np.abs(numbers) <= 90.0) | ((numbers < 0.0) & (not is_polygon_column)))
    owner = np.searchsorted(starts, suspect_positions, "right") - 1
    place, value = suspect_positions - starts[owner], numbers[suspect_positions]
    is_out_of_range = ~np.isfinite(value) | ((place % 2 == 1) & (np.abs(value) > 90.0))
    if not is_polygon_column:  # a circle's radius, where there is one
        is_out_of_range |= (place == 2) & ((value < 0.0) | (value > 180.0))
    is_invalid[owner[is_out_of_range]] = True
    return is_invalid


def _is_on_sphere(lon: Numbers, lat: Numbers) -> bool:
    """Return whether all places are some, by their extremes: NaN is one."""
    ends = np.array([lon.min(), lon.max(), lat.min(), lat.max()])
    return bool(np.isfinite(ends).all() and np.abs(ends[2:]).max() <= 90.0)


def _find_bad_latitudes(shapes: SimpleShapes) -> Flags:
    """Return which circles and polygons have a second coordinate outside -90 to 90: every second number of a shape."""
    has_bad_latitude = np.zeros(len(shapes.rows), bool)
    positions = np.flatnonzero(np.abs(shapes.numbers) > 90.0)
    owner = np.searchsorted(shapes.starts, positions, side="right") - 1
    has_bad_latitude[owner[(positions - shapes.starts[owner]) % 2 == 1]] = True
    return has_bad_latitude


def parse_regions(array: pa.Array, column_type: Type) -> Regions:
    """Make regions of a column: shapes as numbers or as texts, or MOCs.

    Parameters
    ----------
    array
        Shape (n,).
    column_type
        The column's type.

    Returns
    -------
    regions
        Empty where there is none, or a text that is no region; not mended: a polygon that crosses itself still does so;
        shape (n,).
    """
    storage_array = literal.cast_to_storage(array, column_type)
    if pa.types.is_nested(storage_array.type):
        offsets, flat = literal.flatten_lists(literal.to_variable_lists(storage_array))
        size = np.diff(offsets)
        numbers = np.asarray(flat.cast(pa.float64()).fill_null(np.nan), np.float64)
        return _build_simple_regions(
            len(storage_array),
            np.arange(len(storage_array)),
            np.full(len(size), column_type.xtype == "circle"),
            size,
            numbers,
        )
    texts = storage_array.cast(pa.string())
    shapes = parse_simple_shapes(texts)
    simple_regions = _build_simple_regions(len(texts), shapes.rows, shapes.is_circle, shapes.lengths, shapes.numbers)
    other_rows = np.setdiff1d(np.flatnonzero(np.asarray(texts.is_valid())), shapes.rows)
    if len(other_rows):
        region_texts = parse_region_texts(texts.take(pa.array(other_rows)).to_pylist())
        return simple_regions.replace_rows(other_rows, region_texts.regions)
    return simple_regions


def _build_simple_regions(
    row_count: int, rows: Indexes, is_circle: Flags, lengths: Indexes, numbers: Numbers
) -> Regions:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    regions = Regions.create_empty(row_count)
    is_complete = is_circle & (lengths == 3)
    if is_complete.any():
        lon, lat, radius = numbers[starts[:-1][is_complete][:, None] + np.arange(3)].T
        has_good_latitude = ~(np.abs(lat) > 90.0)
        regions = regions.replace_rows(
            rows[is_complete][has_good_latitude],
            Regions.from_circles(lon[has_good_latitude], lat[has_good_latitude], radius[has_good_latitude]),
        )
    is_complete = ~is_circle & (lengths >= 6) & (lengths % 2 == 0)
    if is_complete.any():
        number_mask = np.repeat(is_complete, lengths)
        ends = np.concatenate([[0], np.cumsum(lengths[is_complete])])
        regions = regions.replace_rows(rows[is_complete], Regions.from_polygons(ends, numbers[number_mask]))
    return regions


@dataclass(frozen=True, slots=True, kw_only=True)
class Polygons:
    """The polygons of a column of regions in texts: those of unions, too.

    Attributes
    ----------
    row_count
        How many rows the column has.
    rows
        The row of each polygon, shape (p,).
    starts
        Where the numbers of each polygon begin, and the end, shape (p + 1,).
    numbers
        Longitudes and latitudes in turn, degrees.
    """

    row_count: int
    rows: Indexes
    starts: Indexes
    numbers: Numbers

    def find_misoriented_rows(self, *, seen_from_outside: bool) -> Flags:
        """Find the rows with a polygon that turns the wrong way.

        Parameters
        ----------
        seen_from_outside
            True: as seen by somebody who looks at a body.

        Returns
        -------
        wrong
            Shape (n,).
        """
        is_misoriented = np.zeros(self.row_count, bool)
        is_misoriented[self.rows[is_clockwise(self.starts, self.numbers, from_outside=seen_from_outside)]] = True
        return is_misoriented

    def find_self_crossing_rows(self) -> Flags:
        """Find the rows with a polygon that crosses itself or has no area; latitudes beyond 90 degrees are not judged.

        Returns
        -------
        wrong
            Shape (n,).
        """
        size = np.diff(self.starts)
        has_bad_latitude = np.zeros(len(size), bool)
        has_bad_latitude[np.repeat(np.arange(len(size)), size)[1::2][np.abs(self.numbers[1::2]) > 90.0]] = True
        is_self_crossing = np.zeros(self.row_count, bool)
        is_self_crossing[
            self.rows[~has_bad_latitude & Regions.from_polygons(self.starts, self.numbers).is_self_crossing()]
        ] = True
        return is_self_crossing


def parse_polygons(texts: pa.Array) -> Polygons:
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
    shapes = parse_simple_shapes(texts)
    simple_polygons = shapes.select_rows(~shapes.is_circle)
    is_other = np.ones(len(texts), bool)
    is_other[shapes.rows] = False
    other_rows = np.flatnonzero(is_other & np.asarray(texts.is_valid()))
    rows = [simple_polygons.rows]
    lengths = [simple_polygons.lengths]
    numbers = [simple_polygons.numbers]
    if len(other_rows):  # read word by word, at thrice the price
        polygon_words = _PolygonWords(texts.take(pa.array(other_rows)))
        rows.append(other_rows[polygon_words.rows])
        lengths.append(np.diff(polygon_words.starts))
        numbers.append(polygon_words.numbers)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Polygons(row_count=len(texts), rows=np.concatenate(rows), starts=starts, numbers=np.concatenate(numbers))


class _PolygonWords:
    """All polygons of a column of regions: the words of the texts, and where the polygons' numbers stand among them."""

    def __init__(self, texts: pa.Array) -> None:
        words = pc.ascii_split_whitespace(
            pc.ascii_trim_whitespace(pc.replace_substring_regex(texts, r"([()])", r" \1 "))
        )
        self.word_counts = np.asarray(pc.fill_null(pc.list_value_length(words), 0)).astype(np.int64)
        self.words = words.flatten()
        encoded = self.words.dictionary_encode()
        codes = np.asarray(encoded.indices)
        lower = pc.utf8_lower(encoded.dictionary)
        value_set = pa.array(sorted(_SHAPE_WORDS))
        begins_shape = np.asarray(pc.is_in(lower, value_set=value_set))[codes]
        is_polygon_word = np.asarray(pc.equal(lower, "polygon"))[codes]
        is_number = np.asarray(pc.match_substring_regex(encoded.dictionary, _NUMBER_PATTERN))[codes]
        part = np.cumsum(begins_shape) - 1
        shapes = np.flatnonzero(begins_shape)
        sizes = np.bincount(part[is_number & (part >= 0)], minlength=len(shapes))
        is_polygon = is_polygon_word[shapes] & (sizes >= 6) & (sizes % 2 == 0)
        self.number_positions = np.flatnonzero(is_number & (part >= 0) & (is_polygon[part] if len(shapes) else False))
        self.starts: Indexes = np.concatenate([[0], np.cumsum(sizes[is_polygon])])
        plain_numbers = pc.replace_substring_regex(self.words.take(pa.array(self.number_positions)), r"^\+", "")
        self.numbers: Numbers = np.asarray(pc.cast(plain_numbers, pa.float64()))
        #: the row of each polygon
        self.rows: Indexes = np.repeat(np.arange(len(texts)), self.word_counts)[shapes[is_polygon]]
