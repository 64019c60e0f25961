"""Shapes as text: DALI there and back, STC-S as services send it, and errors that say where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.sky import Circle, Point, Polygon, Range, ShapeUnion
from hven.model.sky import shape_text as text

LON, LAT = st.floats(0, 360), st.floats(-90, 90)
CIRCLES = st.builds(Circle, LON, LAT, st.floats(0, 180))
RANGES = st.builds(lambda a, b, c, d: Range(a, b, min(c, d), max(c, d)), LON, LON, LAT, LAT)
POLYGONS = st.lists(st.tuples(st.floats(10, 60), st.floats(-40, 40)), min_size=3, max_size=8).map(
    lambda v: Polygon(tuple(a for a, _ in v), tuple(b for _, b in v))
)


@given(st.one_of(CIRCLES, RANGES, POLYGONS))
def test_dali_there_and_back(shape):
    kind = type(shape).__name__.lower()
    assert text.parse_dali_shape(kind, text.write_dali_shape(kind, shape)) == shape
    assert text.parse_dali_shape("shape", text.write_dali_shape("shape", shape)) == shape
    assert text.parse_dali_shape("pos", text.write_dali_shape("shape", shape).upper()) == shape


@given(st.lists(st.one_of(CIRCLES, RANGES, POLYGONS, st.builds(Point, LON, LAT)), min_size=1, max_size=4))
def test_multishapes_there_and_back(parts):
    region = ShapeUnion(tuple(parts))
    assert text.parse_dali_shape("multishape", text.write_dali_shape("multishape", region)) == region


def test_points_and_infinite_ranges():
    assert text.parse_dali_shape("point", " 12.5\t-0 ") == Point(12.5, 0)
    assert text.write_dali_shape("point", Point(12.5, -3)) == "12.5 -3"
    assert text.parse_dali_shape("pos", "RANGE -Inf +Inf 30 Infinity") == Range(0, 360, 30, 90)


@pytest.mark.parametrize(
    ("kind", "words", "why", "offset"),
    [
        ("point", "1", "2 numbers", 0),
        ("point", "1 a", "'a' is not a number", 2),
        ("circle", "1 2 -3", "radius", 0),
        ("circle", "1 92 3", "latitude 92", 0),
        ("polygon", "1 2 3 4 5 6 7", "three pairs", 0),
        ("shape", "Circle 1 2 3", "'Circle' is not a shape", 0),
        ("shape", "circle 1 2 3 circle 1 2 3", "unexpected 'circle'", 13),
        ("pos", "ELLIPSE 1 2 3", "ELLIPSE", 0),
        ("multishape", "circle 1 2 3 range 1 2 3", "range needs 4", 13),
        ("shape", "", "empty", 0),
        ("blob", "1", "blob", 0),
        ("point", "0x1 2", "0x1", 0),
        ("circle", "nan 1 2", "not a position", 0),
    ],
)
def test_faults_say_what_and_where(kind, words, why, offset):
    with pytest.raises(text.ShapeTextError, match=why) as caught:
        text.parse_dali_shape(kind, words)
    assert caught.value.offset == offset


def test_what_an_xtype_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="cannot be written as a circle"):
        text.write_dali_shape("circle", Point(1, 2))


@pytest.mark.parametrize(
    ("words", "shape", "frame"),
    [
        ("Circle ICRS 10 20 0.5", Circle(10, 20, 0.5), "ICRS"),
        ("CIRCLE 10 20 .5", Circle(10, 20, 0.5), None),
        ("circle icrs geocenter 1e1 +2e1 0.5", Circle(10, 20, 0.5), "ICRS"),
        ("Position GALACTIC 1 2", Point(1, 2), "GALACTIC"),
        ("Position UNKNOWNFrame 1 2", Point(1, 2), None),
        ("Polygon J2000 TOPOCENTER SPHERICAL2 1 2 3 4 5 9 unit deg", Polygon((1, 3, 5), (2, 4, 9)), "FK5"),
        ("Polygon fillfactor 0.9 FK4 1 2 3 4 5 9", Polygon((1, 3, 5), (2, 4, 9)), "FK4"),
        (
            "Union ICRS (Circle 1 2 3 Polygon 1 2 3 4 5 9)",
            ShapeUnion((Circle(1, 2, 3), Polygon((1, 3, 5), (2, 4, 9)))),
            "ICRS",
        ),
        ("UNION (Position 1 2 Union (Circle 1 2 3))", ShapeUnion((Point(1, 2), ShapeUnion((Circle(1, 2, 3),)))), None),
        ("AllSky ICRS", Range(0, 360, -90, 90), "ICRS"),
    ],
)
def test_stcs(words, shape, frame):
    placed = text.parse_stcs(words)
    assert placed.shape == shape
    assert placed.frame == frame


def test_stcs_box_is_adqls_box():
    box = text.parse_stcs("Box ICRS 10 20 4 2").shape
    assert box.contains(10, 20)
    assert box.contains([10, 10], [20.99, 19.01]).all()
    assert not box.contains([10, 13], [21.1, 20]).any()
    assert box.compute_area() == pytest.approx(8, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "empty"),
        ("Circle FOO 1 2 3", "'FOO' is neither a frame"),
        ("Circle ICRS 1 2", "3 numbers, not 2"),
        ("Circle ICRS 1 2 x", "3 numbers, not 2"),
        ("Circle ICRS 1 2 3 4", "3 numbers, not 4"),
        ("Not (Circle 1 2 3)", "not supported"),
        ("Union (Circle 1 2 3", "closing parenthesis"),
        ("Union Circle 1 2 3", "'Circle'|parentheses"),
        ("Union ICRS (Circle GALACTIC 1 2 3)", "one frame"),
        ("Union ()", "at least one"),
        ("Circle CARTESIAN3 1 2 3", "SPHERICAL2"),
        ("Circle ICRS 1 2 3 unit rad", "'rad'"),
        ("Circle ICRS 1 2 3 foo", "unexpected 'foo'"),
        ("Blob 1 2 3", "'Blob' is not a shape"),
        ("Circle ICRS fillfactor 1 2 3", "fillfactor"),
    ],
)
def test_stcs_faults(words, why):
    with pytest.raises(text.ShapeTextError, match=why):
        text.parse_stcs(words)


READERS = (
    text.parse_stcs,
    lambda words: text.parse_dali_shape("multishape", words),
    lambda words: text.parse_dali_shape("pos", words),
)


def _outcome(read, words):
    """A shape, or where the fault is; any other exception is a bug and comes through."""
    try:
        return read(words)
    except text.ShapeTextError as error:
        return error.offset


@given(st.text(max_size=60))
def test_any_text_is_a_shape_or_a_shape_error(words):
    for read in READERS:
        found = _outcome(read, words)
        assert not isinstance(found, int) or 0 <= found <= len(words)


@given(
    st.lists(
        st.sampled_from(
            [
                "Circle",
                "union",
                "(",
                ")",
                "ICRS",
                "1",
                "-2e3",
                "nan",
                "polygon",
                "unit",
                "deg",
                "Position",
                "range",
                "inf",
                "fillfactor",
            ]
        ),
        max_size=12,
    )
)
def test_any_sequence_of_words_is_a_shape_or_a_shape_error(words):
    for read in READERS:
        assert _outcome(read, " ".join(words)) is not None
