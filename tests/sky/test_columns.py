"""Outlines read by the thousand are what each text says when it is read alone."""

from __future__ import annotations

import math

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hven.model import shape_columns
from hven.model.sky import Circle, Polygon, shape_text

NUMBERS = st.sampled_from(["0", "1.5", "-2.25", "+3", ".5", "7.", "1e1", "-1.2E-3", "89.999", "3", "4", "5"])
ODD = st.sampled_from(
    ["+-4", "-inf", "nan", "1e999", "1.2.3", "5°", "unit", "deg", "(", "circle", "icrs", "1,2", "--1", "+", "-", "e5"]
)
HEADS = st.sampled_from(["circle", "Polygon", " POLYGON", "\tCircle ", "box", "position", ""])
WORDS = st.sampled_from(
    ["", "ICRS", "fk5 TOPOCENTER", "UNKNOWNFrame", "galactic spherical2", "geocenter", "spherical2 icrs", "icrs icrs"]
)
PLAIN = st.builds(
    lambda head, word, numbers: " ".join([head, word, *numbers]), HEADS, WORDS, st.lists(NUMBERS, max_size=10)
)
TEXTS = st.one_of(
    st.none(),
    PLAIN,
    st.builds(lambda text, end: f"{text} {end}", PLAIN, ODD),
    st.builds(lambda head, words: "  ".join([head, *words]), HEADS, st.lists(st.one_of(NUMBERS, ODD), max_size=8)),
    st.text(max_size=12),
)


def _alone(text: str | None) -> list[float] | None:
    """Give the numbers of a text that is one circle or polygon; None if it is none, or not told by these words."""
    if text is None or "unit" in text or "(" in text:
        return None
    try:
        shape = shape_text.parse_stcs(text).shape
    except shape_text.ShapeTextError:
        return None
    if isinstance(shape, Circle):
        return [shape.lon, shape.lat, shape.radius]
    if isinstance(shape, Polygon) and text.strip().lower().startswith("polygon"):
        return [number for pair in zip(shape.lons, shape.lats, strict=True) for number in pair]
    return None


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=12))
@example(["Circle 1 2 3", None, "", "polygon 1 2 3 4 5 6", "circle +1 +2 3", "Circle 1 2 1e999", "Circle 1 2 +-3"])
@example(["Circle 1 2 +3", "Polygon ICRS 1 1.2.3 3 4 5 6"])
def test_outlines_are_those_of_each_text(texts):
    found = shape_columns.parse_simple_shapes(pa.array(texts, pa.string()))
    starts = found.starts.tolist()
    many = {
        row: found.numbers[start : start + length].tolist()
        for row, start, length in zip(found.rows.tolist(), starts, found.lengths.tolist(), strict=True)
    }
    for row, text in enumerate(texts):
        alone = _alone(text)
        if alone is not None:
            assert many[row] == alone
        if row in many:
            words = (text or "").split()
            assert many[row] == [float(word) for word in words if not word[0].isalpha()]
            assert all(math.isfinite(number) for number in many[row])
            assert found.is_circle[found.rows.tolist().index(row)] == words[0].lower().startswith("circle")
            assert len(many[row]) == 3 if words[0].lower() == "circle" else len(many[row]) >= 6


def test_a_slice_and_some_rows():
    texts = pa.array(["x", "Circle 1 2 3", None, "Polygon 1 2 3 4 5 6", "circle 7 8 9"])
    found = shape_columns.parse_simple_shapes(texts.slice(1))
    assert found.rows.tolist() == [0, 2, 3]
    assert found.numbers.tolist() == [1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    circles = found.select_rows(found.is_circle)
    assert (circles.rows.tolist(), circles.numbers.tolist(), circles.starts.tolist()) == (
        [0, 3],
        [1, 2, 3, 7, 8, 9],
        [0, 3],
    )
