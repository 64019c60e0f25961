"""Positions in the notations of papers and catalogues, against astropy."""

from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import UserError
from hven.portal._explore.coordinate_notation import (
    MAX_POSITION_CHARACTERS,
    format_radius,
    parse_position,
    parse_search_radius,
)


@pytest.mark.parametrize(
    "text",
    ["05:31:00 +22:00:00", "5h31m 22d", "05 34 31.94 +22 00 52.2", "12h30m49.4s +12d23m28s", "12h30m49.42s, -12d23m28.0s", "05:31 -02:30", "00h00m00s -00d30m00s", "05:31:00.5 -00:00:30", "5h31m -22d", "23 59 59.9 -89 59 59.9"],
)  # fmt: skip
def test_hours_and_degrees_as_astropy_reads_them(text: str) -> None:
    wanted = SkyCoord(text.replace(",", ""), unit=("hourangle", "deg"))
    assert parse_position(text) == pytest.approx((wanted.ra.deg, wanted.dec.deg), abs=1e-9)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("83.63,22.01", (83.63, 22.01)), ("83.63 22.01", (83.63, 22.01)), ("-10 , -20", (350.0, -20.0)), ("83.63° +22.01°", (83.63, 22.01)), ("1e2;2", (100.0, 2.0)),
     ("10.5d \u22123d", (10.5, -3.0)), ("J053100.0+220000", (82.75, 22.0)), ("SDSS J053100+220000", (82.75, 22.0))],
)  # fmt: skip
def test_degrees_and_packed_names(text: str, wanted: tuple[float, float]) -> None:
    assert parse_position(text) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["M 31", "Crab", "NGC 4486", "67P/C-G", "", "HD 10 b", "5", "3C 273", "2MASS"])
def test_names_are_none(text: str) -> None:
    assert parse_position(text) is None


@pytest.mark.parametrize("text", ["1,95", "400 0", "05:61:00 +22:00:00", "05:31:00 +22:70:00", "25:00:00 +10:00:00"])
def test_what_cannot_be_is_told(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_position(text)
    assert caught.value.remedy


@given(st.floats(0, 359.999), st.floats(-89.999, 89.999))
def test_what_astropy_writes_is_read(lon: float, lat: float) -> None:
    written = SkyCoord(lon, lat, unit="deg")
    for style in ("hmsdms",):
        found = parse_position(written.to_string(style, precision=6))
        assert found is not None
        assert SkyCoord(*found, unit="deg").separation(written).arcsec < 1e-4
    found = parse_position(written.to_string("hmsdms", sep=":", precision=6))
    assert found is not None
    assert SkyCoord(*found, unit="deg").separation(written).arcsec < 1e-4


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.5", 0.5),
        ("30 arcmin", 0.5),
        ("30'", 0.5),
        ('36"', 0.01),
        ("1 deg", 1.0),
        ("2°", 2.0),
        ("36arcsec", 0.01),
        ("0", 0.0),
    ],
)
def test_angles(text: str, wanted: float) -> None:
    assert parse_search_radius(text) == pytest.approx(wanted)
    assert parse_search_radius(" ".join(format_radius(wanted))) == pytest.approx(wanted)


@pytest.mark.parametrize("text", ["x", "", "1 km", "-1", "181", "nan", "1 arcminute of fame"])
def test_angles_that_are_none(text: str) -> None:
    with pytest.raises(UserError):
        parse_search_radius(text)


def test_rows_of_digits_are_no_position() -> None:
    """The form was tried in every way to cut them, for seconds."""
    assert parse_position("1" * (MAX_POSITION_CHARACTERS + 1)) is None
    assert parse_position("-" + "9" * 50_000) is None
