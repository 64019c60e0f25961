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
from hven.model.sky._footprints import find_oriented_corner_order, is_clockwise
from hven.model.sky._moc import Moc
from hven.model.sky._projection_planes import are_polygons_convex
from hven.model.sky._region_texts import parse_region_texts
from hven.model.sky._regions import Regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.model.types import ColumnType

    Numbers = npt.NDArray[np.float64]
    Indexes = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

INVALID_SHAPE_REASONS = {
    "CIRCLE": "a circle is a longitude, a latitude from -90 to 90 and a radius from 0 to 180 degrees",
    "POLYGON": "a polygon is three corners or more, with latitudes from -90 to 90 degrees",
    "REGION": "it is not a region",
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
_UNION_PATTERN = (
    r"(?i)^\s*(?:union(?:\s+(?:icrs|fk4|fk5|galactic|ecliptic"
    rf"|unknownframe))?\s*\({_PARTS_PATTERN}\)|{_PARTS_PATTERN})\s*$"
)
_SHAPE_WORDS = {"circle", "polygon", "range", "point", "position", "box", "union", "allsky"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleShapes:
    """Hold the rows of a column that are a single circle or a single polygon.

    Their numbers are finite; nothing else about them is checked.

    Attributes
    ----------
    rows
        The numbers of the rows, ascending, shape (n,).
    is_circle
        Which rows are circles (three numbers: longitude, latitude, radius); the others are polygons (pairs of longitude
        and latitude).
    lengths
        How many numbers each row has.
    numbers
        The numbers of all rows, one row after the other, degrees.
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
            The selected rows.
        """
        number_mask = np.repeat(mask, self.lengths)
        return SimpleShapes(
            rows=self.rows[mask],
            is_circle=self.is_circle[mask],
            lengths=self.lengths[mask],
            numbers=self.numbers[number_mask],
        )


def parse_simple_shapes(texts: pa.Array) -> SimpleShapes:
    """Parse the texts that are one circle or one polygon in degrees, in any case; leave out all others.

    Parameters
    ----------
    texts
        Strings, shape (n,): ``Circle ICRS 10 20 0.5``, ``polygon 1 1 2 1 2 2``, ``Polygon UNKNOWNFrame 1 1 2 1 2 2``.

    Returns
    -------
    outlines
        The rows that could be parsed.
    """
    words = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(texts))
    word_counts = pc.fill_null(pc.list_value_length(words), 0)
    counts = np.asarray(word_counts).astype(np.int64)
    flat_words = words.flatten()
    first_bytes, second_bytes = _read_first_two_bytes(flat_words)
    is_word = ((first_bytes | 32) - np.uint8(97)) < 26  # a letter
    leading, is_valid = _parse_leading_words(flat_words, is_word, counts)
    is_circle, rank = leading
    size = counts - rank
    has_polygon_size = (size >= 6) & (size % 2 == 0)
    is_valid &= np.where(is_circle, size == 3, has_polygon_size)
    is_kept_number = np.repeat(is_valid, counts) & ~is_word
    has_plus = first_bytes == ord("+")
    if has_plus.any():
        is_second_numeric = (second_bytes == ord(".")) | ((second_bytes - np.uint8(48)) < 10)
        is_malformed = has_plus & is_kept_number & ~is_second_numeric
        if is_malformed.any():
            is_valid &= ~_mark_flagged_rows(is_malformed, counts)
            is_kept_number = np.repeat(is_valid, counts) & ~is_word
    numbers = _parse_numbers(flat_words, is_kept_number, has_plus=bool(has_plus.any()))
    if numbers is None:
        is_number = np.asarray(pc.match_substring_regex(flat_words, _NUMBER_PATTERN))
        is_valid &= ~_mark_flagged_rows(is_kept_number & ~is_number, counts)
        is_kept_number = np.repeat(is_valid, counts) & ~is_word
        numbers = _parse_numbers(flat_words, is_kept_number, has_plus=bool(has_plus.any()))
    rows = np.flatnonzero(is_valid)
    if numbers is None:
        numbers = np.empty(0)
    shapes = SimpleShapes(rows=rows, is_circle=is_circle[is_valid], lengths=size[is_valid], numbers=numbers)
    is_finite = np.isfinite(shapes.numbers)
    if is_finite.all():
        return shapes
    has_infinite_number = _mark_flagged_rows(~is_finite, shapes.lengths)
    return shapes.select_rows(~has_infinite_number)


def _read_first_two_bytes(words: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the first two bytes of each word, 0 where there are fewer."""
    _, offsets, data = words.buffers()
    if not len(words) or data is None or not data.size:
        return np.zeros(len(words), np.uint8), np.zeros(len(words), np.uint8)
    ends = np.frombuffer(offsets, np.int32, len(words) + 1, words.offset * 4)
    raw = np.frombuffer(data, np.uint8)
    starts = ends[:-1]
    length = np.diff(ends)
    last_position = len(raw) - 1
    first_bytes = raw[np.minimum(starts, last_position)]
    second_bytes = raw[np.minimum(starts + 1, last_position)]
    return np.where(length > 0, first_bytes, np.uint8(0)), np.where(length > 1, second_bytes, np.uint8(0))


def _parse_leading_words(words: pa.Array, is_word: Flags, counts: Indexes) -> tuple[tuple[Flags, Indexes], Flags]:
    """Parse the words before the numbers: ((which are circles, how many words), which begin as a shape does)."""
    starts = np.cumsum(counts) - counts
    positions = np.flatnonzero(is_word)
    owner = np.repeat(np.arange(len(counts)), counts)[positions]
    place = positions - starts[owner]
    leading_word_counts = np.bincount(owner, minlength=len(counts))
    encoded = words.take(pa.array(positions)).dictionary_encode()
    distinct_words = [text.lower() for text in encoded.dictionary.to_pylist()]
    codes = np.asarray(encoded.indices)
    word_ranks = np.array([_WORD_RANKS.get(text, _UNKNOWN_WORD_RANK) for text in distinct_words], np.int64)
    rank = word_ranks[codes]
    is_circle_word = np.array([text == "circle" for text in distinct_words], bool)[codes]
    is_known = rank < _UNKNOWN_WORD_RANK
    is_before_numbers = place < leading_word_counts[owner]
    is_shape_first = (rank == 0) == (place == 0)
    is_in_order = is_known & is_before_numbers & is_shape_first
    is_in_order[1:] &= (place[1:] == 0) | (rank[1:] > rank[:-1])
    is_valid = leading_word_counts > 0
    is_valid[owner[~is_in_order]] = False
    is_circle = np.zeros(len(counts), bool)
    is_circle[owner[(place == 0) & is_circle_word]] = True
    return (is_circle, leading_word_counts), is_valid


def _parse_numbers(all_words: pa.Array, mask: Flags, *, has_plus: bool) -> Numbers | None:
    """Parse words as numbers; None if a word is not a number."""
    words = all_words.filter(pa.array(mask))
    if has_plus:
        words = pc.replace_substring_regex(words, r"^\+", "")  # Arrow does not parse +7
    try:
        return np.asarray(pc.cast(words, pa.float64()))
    except pa.ArrowInvalid:
        return None


def _mark_flagged_rows(flags: Flags, counts: Indexes) -> Flags:
    """Return which rows have a flag; each row has `counts` flags."""
    row_flags = np.zeros(len(counts), bool)
    positions = np.flatnonzero(flags)
    row_flags[np.searchsorted(np.cumsum(counts), positions, side="right")] = True
    return row_flags


def split_shape_unions(texts: pa.Array) -> tuple[Indexes, pa.Array]:
    """Split unions of circles and polygons, which may name a frame at their beginning.

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
    is_union = pc.fill_null(pc.match_substring_regex(texts, _UNION_PATTERN), fill_value=False)
    union_rows = np.flatnonzero(np.asarray(is_union))
    if not len(union_rows):
        return union_rows, texts.slice(0, 0)
    # splitting at words takes a fraction of the time of groups of a regular expression
    marked_texts = pc.ascii_lower(texts.take(pa.array(union_rows)))
    for shape in ("circle", "polygon"):
        marked_texts = pc.replace_substring(marked_texts, shape, f"|{shape}")
    lists = pc.split_pattern(pc.replace_substring(marked_texts, ")", ""), "|")
    lengths = np.asarray(pc.list_value_length(lists), np.int64)
    is_part = np.ones(int(lengths.sum()), np.bool_)
    is_part[np.cumsum(lengths) - lengths] = False  # the text before the first shape
    parts = lists.flatten().filter(pa.array(is_part))
    return np.repeat(union_rows, lengths - 1), parts


def orient_polygon_texts(texts: pa.Array, *, seen_from_outside: bool) -> pa.Array:
    """Orient the polygons of regions as `footprints.orient_polygon_texts` does.

    The rest of the texts stays the same, except for blanks.

    Parameters
    ----------
    texts
        Strings, shape (n,).
    seen_from_outside
        Whether polygons run counter-clockwise as seen by an observer outside the body.

    Returns
    -------
    texts
        Shape (n,); nulls stay null.
    """
    polygons = _PolygonWords(texts)
    order = np.arange(len(polygons.words))
    corner_order = find_oriented_corner_order(polygons.starts, polygons.numbers, from_outside=seen_from_outside)
    corner_positions = polygons.number_positions.reshape(-1, 2)
    order[polygons.number_positions] = corner_positions[corner_order].ravel()
    offsets = pa.array(np.concatenate([[0], np.cumsum(polygons.word_counts)]), pa.int32())
    ordered_words = polygons.words.take(pa.array(order))
    joined_texts = pc.binary_join(pa.ListArray.from_arrays(offsets, ordered_words), " ")
    return pc.if_else(pc.is_valid(texts), joined_texts, pa.scalar(None, pa.string()))


def find_invalid_shapes(array: pa.Array, column_type: ColumnType) -> Iterator[tuple[str, Flags]]:
    """Find the values of a column of shapes that are not shapes: the check of all regions that come in.

    Parameters
    ----------
    array
        Values in the storage type of `column_type`, shape (n,).
    column_type
        Circle, polygon, shape, multishape or adql:REGION; columns of other types have no faults.

    Yields
    ------
    reason, flags
        The fault, and the rows that have it, shape (n,).
    """
    if column_type.stored_xtype is None or column_type.stored_xtype.adql not in {"CIRCLE", "POLYGON", "REGION"}:
        return
    if pa.types.is_string(array.type):
        yield from find_invalid_region_texts(array)
        return
    is_invalid = find_invalid_numeric_shapes(array)
    if is_invalid.any():
        yield INVALID_SHAPE_REASONS[column_type.stored_xtype.adql], is_invalid


def find_invalid_region_texts(
    texts: pa.Array,
    explain_texts: Callable[[pa.Array], Sequence[str]] | None = None,
    shapes: SimpleShapes | None = None,
) -> Iterator[tuple[str, Flags]]:
    """Find the texts that are not a region; circles and polygons are parsed as a column, other texts one by one.

    Parameters
    ----------
    texts
        Strings, shape (n,); null is not a fault.
    explain_texts
        Returns for texts of shape (m,), in their order, why they are not regions (empty if they are), as
        `explain_invalid_region_text` does; a caller may use a cache.
    shapes
        What `parse_simple_shapes` made of the texts; None: parse them here.

    Yields
    ------
    reason, flags
        The fault, and the rows that have it, shape (n,).
    """
    if shapes is None:
        shapes = parse_simple_shapes(texts)
    size = shapes.lengths
    starts = shapes.starts
    has_wrong_polygon_size = (size < 6) | (size % 2 == 1)
    has_wrong_size = np.where(shapes.is_circle, size != 3, has_wrong_polygon_size)
    has_bad_latitude = _find_bad_latitudes(shapes) & ~has_wrong_size
    is_complete_circle = shapes.is_circle & ~has_wrong_size
    radius = shapes.numbers[starts[is_complete_circle] + 2]
    is_bad_radius = (radius < 0.0) | (radius > 180.0)
    circle_rows = np.flatnonzero(is_complete_circle)
    has_bad_radius = np.zeros(len(size), bool)
    has_bad_radius[circle_rows[is_bad_radius]] = True
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
    is_unread = np.array(pc.is_valid(texts))
    is_unread[shapes.rows] = False
    unread_rows = np.flatnonzero(is_unread)
    if not len(unread_rows):
        return
    unread_texts = texts.take(pa.array(unread_rows))
    if explain_texts is None:
        explanations: Sequence[str] = [explain_invalid_region_text(text) for text in unread_texts.to_pylist()]
    else:
        explanations = explain_texts(unread_texts)
    found_reasons = np.array(explanations, object)
    for reason in dict.fromkeys(found_reasons[found_reasons != ""].tolist()):
        is_invalid = np.zeros(len(texts), bool)
        is_invalid[unread_rows[found_reasons == reason]] = True
        yield reason, is_invalid


def explain_invalid_region_text(text: str) -> str:
    """Return why a text is not a region of STC-S or DALI; an empty text if it is one.

    Parameters
    ----------
    text
        A single text.
    """
    reason = ""
    parsers: list[Callable[[str], object]] = [
        lambda shape: shape_text.parse_dali_shape("multishape", shape.lower()),
        shape_text.parse_stcs,  # the last parser gives the reason
    ]
    for parse in parsers:
        try:
            parse(text)
        except ValueError as error:
            reason = str(error).partition(" (at character")[0][:200]
        else:
            return ""
    return reason


def explain_invalid_region_literal(text: str) -> str:
    """Return why a text in ADQL's REGION is not a region.

    The text may also be a MOC there, which a column of regions may not contain.

    Parameters
    ----------
    text
        A single text.
    """
    if "/" not in text.partition(" ")[0]:
        return explain_invalid_region_text(text)
    try:
        Moc.parse(text)
    except ValueError as error:
        return str(error)[:200]
    return ""


def find_invalid_numeric_shapes(values: pa.Array) -> Flags:
    """Find the circles, points or polygons in numbers that are not valid.

    They are off the sphere, not finite, or have fewer than three corners.

    Parameters
    ----------
    values
        Lists of any length (polygons), or of two (points) or three (circles) numbers, shape (n,).

    Returns
    -------
    flags
        Shape (n,); null is not a fault.
    """
    list_lengths = pc.fill_null(pc.list_value_length(values), 0)
    sizes = np.asarray(list_lengths).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    flat_values = values.flatten().cast(pa.float64())
    numbers = np.asarray(flat_values.to_numpy(zero_copy_only=False), np.float64)
    is_valid = np.asarray(pc.is_valid(values))
    is_polygon_column = pa.types.is_list(values.type)
    is_invalid = np.zeros(len(values), bool)
    if is_polygon_column:
        is_invalid = is_valid & ((sizes < 6) | (sizes % 2 == 1))
    if is_polygon_column and not (sizes % 2).any():
        suspect_positions = _find_suspect_coordinates(numbers)
    else:
        is_negative = (numbers < 0.0) & (not is_polygon_column)
        suspect_positions = np.flatnonzero(~(np.abs(numbers) <= 90.0) | is_negative)
    owner = np.searchsorted(starts, suspect_positions, "right") - 1
    place = suspect_positions - starts[owner]
    value = numbers[suspect_positions]
    is_out_of_range = ~np.isfinite(value) | ((place % 2 == 1) & (np.abs(value) > 90.0))
    if not is_polygon_column:  # the radius of a circle
        is_out_of_range |= (place == 2) & ((value < 0.0) | (value > 180.0))
    is_invalid[owner[is_out_of_range]] = True
    return is_invalid


def _find_suspect_coordinates(numbers: Numbers) -> Indexes:
    """Find the numbers, pairs of longitude and latitude, that may be off the sphere."""
    if len(numbers) and _are_all_on_sphere(numbers[::2], numbers[1::2]):
        return np.empty(0, np.int64)
    limits = [np.finfo(np.float64).max, 90.0]
    is_in_range = np.abs(numbers.reshape(-1, 2)) <= limits
    return np.flatnonzero(~is_in_range)


def _are_all_on_sphere(lon: Numbers, lat: Numbers) -> bool:
    """Return whether the extremes show that all pairs are positions; NaN shows that they are not."""
    ends = np.array([lon.min(), lon.max(), lat.min(), lat.max()])
    return bool(np.isfinite(ends).all() and np.abs(ends[2:]).max() <= 90.0)


def _find_bad_latitudes(shapes: SimpleShapes) -> Flags:
    """Return which circles and polygons have a latitude, every second number, outside -90 to 90."""
    has_bad_latitude = np.zeros(len(shapes.rows), bool)
    positions = np.flatnonzero(np.abs(shapes.numbers) > 90.0)
    owner = np.searchsorted(shapes.starts, positions, side="right") - 1
    is_latitude = (positions - shapes.starts[owner]) % 2 == 1
    has_bad_latitude[owner[is_latitude]] = True
    return has_bad_latitude


def parse_regions(array: pa.Array, column_type: ColumnType) -> Regions:
    """Make regions from a column: shapes as numbers or texts, or MOCs.

    Parameters
    ----------
    array
        Values of the column, shape (n,).
    column_type
        The column's type.

    Returns
    -------
    regions
        A region for each row, shape (n,); empty for null and for a text that is not a region. Polygons that cross
        themselves are kept as they are.
    """
    storage_array = literal.cast_to_storage_type(array, column_type)
    if pa.types.is_nested(storage_array.type):
        offsets, flat = literal.flatten_lists(literal.to_variable_lists(storage_array))
        size = np.diff(offsets)
        numbers = np.asarray(flat.cast(pa.float64()).fill_null(np.nan), np.float64)
        rows = np.arange(len(storage_array))
        is_circle = np.full(len(size), column_type.xtype == "circle")
        return _build_simple_regions(len(storage_array), rows, is_circle, size, numbers)
    texts = storage_array.cast(pa.string())
    shapes = parse_simple_shapes(texts)
    simple_regions = _build_simple_regions(len(texts), shapes.rows, shapes.is_circle, shapes.lengths, shapes.numbers)
    if len(shapes.rows) == len(texts):
        return simple_regions
    valid_rows = np.flatnonzero(np.asarray(texts.is_valid()))
    other_rows = np.setdiff1d(valid_rows, shapes.rows)
    if len(other_rows):
        other_texts = texts.take(pa.array(other_rows))
        region_texts = parse_region_texts(other_texts.to_pylist())
        return simple_regions.replace_rows(other_rows, region_texts.regions)
    return simple_regions


def _build_simple_regions(
    row_count: int, rows: Indexes, is_circle: Flags, lengths: Indexes, numbers: Numbers
) -> Regions:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    regions = Regions.create_empty(row_count)
    is_complete = is_circle & (lengths == 3)
    if is_complete.any():
        first_numbers = starts[:-1][is_complete]
        lon, lat, radius = numbers[first_numbers[:, None] + np.arange(3)].T
        has_good_latitude = ~(np.abs(lat) > 90.0)
        circles = Regions.from_circles(lon[has_good_latitude], lat[has_good_latitude], radius[has_good_latitude])
        regions = regions.replace_rows(rows[is_complete][has_good_latitude], circles)
    is_complete = ~is_circle & (lengths >= 6) & (lengths % 2 == 0)
    if is_complete.any():
        number_mask = np.repeat(is_complete, lengths)
        ends = np.concatenate([[0], np.cumsum(lengths[is_complete])])
        polygons = Regions.from_polygons(ends, numbers[number_mask])
        if len(polygons) == row_count:
            return polygons
        regions = regions.replace_rows(rows[is_complete], polygons)
    return regions


@dataclass(frozen=True, slots=True, kw_only=True)
class PolygonColumn:
    """Hold the polygons of a column of regions in texts, including those of unions.

    Attributes
    ----------
    row_count
        How many rows the column has.
    rows
        The row of each polygon, shape (p,).
    starts
        Where the numbers of each polygon begin, and the end, shape (p + 1,).
    numbers
        Longitudes and latitudes alternating, degrees.
    """

    row_count: int
    rows: Indexes
    starts: Indexes
    numbers: Numbers

    def find_misoriented_rows(self, *, seen_from_outside: bool) -> Flags:
        """Find the rows with a polygon in the wrong direction.

        Parameters
        ----------
        seen_from_outside
            Whether directions are as seen by an observer outside the body.

        Returns
        -------
        wrong
            Shape (n,).
        """
        is_misoriented = np.zeros(self.row_count, bool)
        is_wrong = is_clockwise(self.starts, self.numbers, from_outside=seen_from_outside)
        is_misoriented[self.rows[is_wrong]] = True
        return is_misoriented

    def find_self_crossing_rows(self) -> Flags:
        """Find the rows with a polygon that crosses itself or has no area.

        Polygons with latitudes beyond 90 degrees are skipped.

        Returns
        -------
        wrong
            Shape (n,).
        """
        size = np.diff(self.starts)
        has_bad_latitude = np.zeros(len(size), bool)
        owner = np.repeat(np.arange(len(size)), size)[1::2]
        has_bad_latitude[owner[np.abs(self.numbers[1::2]) > 90.0]] = True
        # most footprints are convex, and need no regions
        candidates = np.flatnonzero(~has_bad_latitude & ~are_polygons_convex(self.starts, self.numbers))
        is_self_crossing = np.zeros(self.row_count, bool)
        if len(candidates):
            is_candidate = np.zeros(len(size), bool)
            is_candidate[candidates] = True
            ends = np.append(0, np.cumsum(size[candidates]))
            regions = Regions.from_polygons(ends, self.numbers[np.repeat(is_candidate, size)])
            is_self_crossing[self.rows[candidates[regions.is_self_crossing()]]] = True
        return is_self_crossing


def parse_polygons(texts: pa.Array, shapes: SimpleShapes | None = None) -> PolygonColumn:
    """Parse the polygons of a column of regions.

    Parameters
    ----------
    texts
        Strings, shape (n,).
    shapes
        What `parse_simple_shapes` made of the texts; None: parse them here.

    Returns
    -------
    polygons
        The polygons of all rows; those of rows that are a single polygon come first.
    """
    if shapes is None:
        shapes = parse_simple_shapes(texts)
    simple_polygons = shapes.select_rows(~shapes.is_circle)
    is_other = np.ones(len(texts), bool)
    is_other[shapes.rows] = False
    other_rows = np.flatnonzero(is_other & np.asarray(texts.is_valid()))
    rows = [simple_polygons.rows]
    lengths = [simple_polygons.lengths]
    numbers = [simple_polygons.numbers]
    if len(other_rows):  # parsed word by word, in three times the time
        polygon_words = _PolygonWords(texts.take(pa.array(other_rows)))
        rows.append(other_rows[polygon_words.rows])
        lengths.append(np.diff(polygon_words.starts))
        numbers.append(polygon_words.numbers)
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return PolygonColumn(
        row_count=len(texts), rows=np.concatenate(rows), starts=starts, numbers=np.concatenate(numbers)
    )


class _PolygonWords:
    """Hold all polygons of a column of regions: the words of the texts, and the places of the polygons' numbers."""

    def __init__(self, texts: pa.Array) -> None:
        spaced_texts = pc.replace_substring_regex(texts, r"([()])", r" \1 ")
        words = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(spaced_texts))
        word_counts = pc.fill_null(pc.list_value_length(words), 0)
        self.word_counts = np.asarray(word_counts).astype(np.int64)
        self.words = words.flatten()
        encoded = self.words.dictionary_encode()
        codes = np.asarray(encoded.indices)
        lower = pc.utf8_lower(encoded.dictionary)
        value_set = pa.array(sorted(_SHAPE_WORDS))
        is_shape_word = np.asarray(pc.is_in(lower, value_set=value_set))
        begins_shape = is_shape_word[codes]
        is_polygon_word = np.asarray(pc.equal(lower, "polygon"))[codes]
        matches_number = pc.match_substring_regex(encoded.dictionary, _NUMBER_PATTERN)
        is_number = np.asarray(matches_number)[codes]
        part = np.cumsum(begins_shape) - 1
        shapes = np.flatnonzero(begins_shape)
        is_in_shape = is_number & (part >= 0)
        sizes = np.bincount(part[is_in_shape], minlength=len(shapes))
        is_polygon = is_polygon_word[shapes] & (sizes >= 6) & (sizes % 2 == 0)
        is_in_polygon = False
        if len(shapes):
            is_in_polygon = is_polygon[part]
        self.number_positions = np.flatnonzero(is_in_shape & is_in_polygon)
        self.starts: Indexes = np.concatenate([[0], np.cumsum(sizes[is_polygon])])
        number_words = self.words.take(pa.array(self.number_positions))
        plain_numbers = pc.replace_substring_regex(number_words, r"^\+", "")
        self.numbers: Numbers = np.asarray(pc.cast(plain_numbers, pa.float64()))
        #: the row of each polygon
        row_of_word = np.repeat(np.arange(len(texts)), self.word_counts)
        self.rows: Indexes = row_of_word[shapes[is_polygon]]
