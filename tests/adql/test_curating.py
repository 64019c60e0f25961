"""The functions that map observations: against astropy, ERFA, an ephemeris, and what the standards print."""

from __future__ import annotations

import hashlib
import math
from functools import partial

import astropy.units as u
import erfa
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import (
    BaseBodycentricRepresentation,
    BaseGeodeticRepresentation,
    CartesianRepresentation,
    get_body_barycentric,
)
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from adql_runner import compute_expression, create_connection
from hven.model.errors import BindError
from hven.model.sky import bodies, time_scales


@pytest.fixture(scope="module")
def con():
    return create_connection()


@pytest.fixture
def compute(con):
    """Compute an expression over columns; units by name."""
    return partial(compute_expression, con)


def stamps(*texts):
    return pa.array(np.array(texts, "datetime64[us]"))


DAYS = np.array(
    [
        "1972-01-01",
        "1981-06-30T23:59:59.5",
        "1999-12-31T12:00:00",
        "2004-02-29T01:02:03.456789",
        "2016-12-31T23:59:59.999999",
        "2017-01-01",
        "2026-11-20T10:00:00",
    ],
    "datetime64[us]",
)


# --- time ---------------------------------------------------------------------------------------------------------------


def test_light_time_as_astropy(compute):
    distances = np.array([0.0, 0.387, 1.0, 5.2, 30.1])
    got = compute("light_time(d)", {"d": "au"}, d=distances)
    np.testing.assert_allclose(got, (distances * u.au / 299792458 / (u.m / u.s)).to_value(u.s), rtol=1e-14)
    np.testing.assert_allclose(
        compute("light_time(d, 'R_sun')", d=distances),
        (distances * u.R_sun / (299792.458 * u.km / u.s)).to_value(u.s),
        rtol=1e-14,
    )


def test_target_time_of_timestamps_and_julian_dates(compute):
    when = Time(DAYS[2:].astype(str), scale="utc")
    wanted = (when.tai - 1.3 * u.au / (299792458 * u.m / u.s)).utc
    got = compute("target_time(t, d)", {"d": "au"}, t=pa.array(DAYS[2:]), d=np.full(5, 1.3))
    off = np.abs((Time(np.asarray(got).astype(str), scale="utc") - wanted).to_value(u.s))
    assert off.max() < 2e-6  # over a leap second, too
    got = compute("target_time(jd, 1.3, 'au')", jd=when.jd)
    # astropy stretches the Julian dates of a day with a leap second
    assert np.delete(np.abs((Time(np.asarray(got).astype(str), scale="utc") - wanted).to_value(u.s)), 2).max() < 2e-4
    got = compute("target_time(t, 10.0, 'au')", t=pa.array(np.array(["1970-03-01", "NaT"], "datetime64[us]")))
    assert [str(one)[:19] for one in np.asarray(got)] == ["1970-02-28T22:36:49", "NaT"], (
        "before 1972 no leap second is known"
    )


@pytest.mark.parametrize(
    ("text", "units", "message"),
    [
        ("light_time(d)", {}, "column d is a number without a unit"),
        ("light_time(d)", {"d": "deg"}, "deg cannot be converted to km"),
        ("light_time(d, 'parsnip')", {}, "parsnip"),
        ("light_time(d, 'km')", {"d": "au"}, "in au, but the call states the unit km"),
        ("lon_360(d)", {"d": "km"}, "km cannot be converted to deg"),
        ("resolving_power(d, d2)", {"d": "nm", "d2": "Hz"}, "cannot be converted"),
        ("spectral_min(d, d2, 'Hz')", {}, "without a unit"),
        ("planetocentric(d, 'Marz')", {}, "Marz"),
        ("oriented(POLYGON(1, 1, 3, 1, 2, 3), 'skie')", {}, "does not accept 'skie'"),
    ],
)
def test_what_does_not_fit_is_said_with_the_remedy(compute, text, units, message):
    with pytest.raises(BindError) as caught:
        compute(text, units, d=[1.0], d2=[1.0])
    assert message in caught.value.message
    assert caught.value.remedy or "parsnip" in message


@given(days=st.integers(2_415_021, 2_488_070), micros=st.integers(0, 86_399_999_999))
def test_two_parts_of_a_julian_date_lose_nothing(con, days, micros):
    """A day and a fraction, which is a double: right to the microsecond."""
    expected = np.datetime64("1970-01-01T12:00:00", "us") + np.timedelta64(
        (days - 2_440_588) * 86_400_000_000 + micros, "us"
    )
    got = con.execute("SELECT hven_of_parts(?, ?, 2440587.5e0)", [float(days), micros / 86_400e6]).fetchone()[0]
    assert np.datetime64(got, "us") == expected


def test_julian_dates_and_days_of_years_as_astropy(compute):
    when = Time(DAYS.astype(str), scale="utc")
    np.testing.assert_allclose(np.asarray(compute("from_mjd(m)", m=when.mjd)).astype("i8"), DAYS.astype("i8"), atol=101)
    np.testing.assert_allclose(
        np.asarray(compute("from_jd(a, b)", a=when.jd1, b=when.jd2)).astype("i8"), DAYS.astype("i8"), atol=1
    )
    year = [int(text[:4]) for text in when.yday]
    first = np.array([np.datetime64(f"{y}-01-01", "us") for y in year])
    day = 1 + (DAYS - first).astype("i8") / 86_400e6
    np.testing.assert_allclose(
        np.asarray(compute("from_day(y, d)", y=pa.array(year, pa.int32()), d=day)).astype("i8"),
        DAYS.astype("i8"),
        atol=2,
    )
    assert (
        np.asarray(compute("parse_time(s)", s=["2004-060T01:02:03.5"]))
        .astype(str)[0]
        .startswith("2004-02-29T01:02:03.5")
    )


def test_leap_seconds_are_those_of_erfa():
    """And every one that ERFA knows since 1972."""
    known = [
        (f"{row['year']:04d}-{row['month']:02d}-01", round(float(row["tai_utc"])))
        for row in erfa.leap_seconds.get()
        if row["year"] >= 1972
    ]
    assert list(time_scales.LEAP_SECONDS) == known


def test_time_scales_as_astropy(compute):
    when = Time(DAYS.astype(str), scale="utc")
    scale = when.tai
    scale.precision = 6
    tai = np.array(scale.isot, "datetime64[us]")
    assert (np.asarray(compute("utc_to_tai(t)", t=pa.array(DAYS))) == tai).all()
    assert (np.asarray(compute("tai_to_utc(t)", t=pa.array(tai))) == DAYS).all()
    tt = when.tt
    tt.precision = 6
    assert (np.asarray(compute("tt_to_utc(t)", t=pa.array(np.array(tt.isot, "datetime64[us]")))) == DAYS).all()
    assert compute("utc_to_tai(t)", t=stamps("1971-12-31T23:59:59")).null_count == 1
    plain = [0, 2, 3, 5, 6]  # on a day with a leap second astropy stretches its seconds
    np.testing.assert_allclose(
        np.asarray(compute("from_unix(s)", s=when.unix[plain])).astype("i8"), DAYS[plain].astype("i8"), atol=2
    )


def test_spacecraft_clocks_as_astropy(compute):
    when = Time(DAYS[3:].astype(str), scale="utc")
    since = (when.tai - Time("1958-01-01", scale="tai")).to_value(u.s)
    whole = np.floor(since)
    got = compute(
        "from_ccsds(a, b)", a=whole, b=(when.tai - Time("1958-01-01", scale="tai") - whole * u.s).to_value(u.s)
    )
    np.testing.assert_allclose(np.asarray(got).astype("i8"), DAYS[3:].astype("i8"), atol=1)
    nanos = [round(float((one.tt - Time(2451545.0, format="jd", scale="tt")).to_value(u.s)) * 10**9) for one in when]
    np.testing.assert_allclose(
        np.asarray(compute("from_tt2000(n)", n=pa.array(nanos))).astype("i8"), DAYS[3:].astype("i8"), atol=2
    )


def test_a_leap_second_is_the_second_after_it(compute):
    inside = Time("2016-12-31T23:59:60.25", scale="utc").tai
    inside.precision = 6
    assert str(np.asarray(compute("tai_to_utc(t)", t=stamps(inside.isot)))[0]) == "2017-01-01T00:00:00.250000"


# --- Mars ---------------------------------------------------------------------------------------------------------------


def test_solar_longitude_of_mars_by_an_ephemeris():
    """Ls from ERFA's positions of Mars and the Sun, and the pole of the IAU: nothing in common with the series but Mars itself."""
    when = Time(np.linspace(2_442_000.5, 2_466_000.5, 400), format="jd", scale="tdb")
    centuries = (when.jd - 2_451_545.0) / 36_525
    mars = (
        get_body_barycentric("mars", when, ephemeris="builtin") - get_body_barycentric("sun", when, ephemeris="builtin")
    ).xyz.to_value(u.au)
    speed = (
        get_body_barycentric("mars", when + 0.5 * u.d, ephemeris="builtin")
        - get_body_barycentric("sun", when + 0.5 * u.d, ephemeris="builtin")
    ).xyz.to_value(u.au) - (
        get_body_barycentric("mars", when - 0.5 * u.d, ephemeris="builtin")
        - get_body_barycentric("sun", when - 0.5 * u.d, ephemeris="builtin")
    ).xyz.to_value(u.au)
    ra, dec = np.radians(317.68143 - 0.1061 * centuries), np.radians(52.88650 - 0.0609 * centuries)
    pole = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    orbit = np.cross(mars.T, speed.T).T
    equinox = np.cross(pole.T, orbit.T).T  # where the Sun, seen from Mars, goes north
    equinox /= np.linalg.norm(equinox, axis=0)
    sun = -mars
    angle = np.degrees(
        np.arctan2(
            np.sum(np.cross(equinox.T, sun.T).T * orbit, 0) / np.linalg.norm(orbit, axis=0), np.sum(equinox * sun, 0)
        )
    )
    off = (time_scales.compute_mars_ls(when.jd) - angle + 180) % 360 - 180
    assert np.abs(off).max() < 0.02
    assert np.abs(off).mean() < 0.01


def test_solar_longitude_of_mars_as_printed(compute):
    """Mars24's worked example, of Allison and McEwen's tables."""
    assert np.asarray(compute("mars_ls(t)", t=stamps("2000-01-06T00:00:00")))[0] == pytest.approx(277.18758, abs=1e-4)
    assert np.asarray(compute("mars_ls(jd)", jd=[2451549.5]))[0] == pytest.approx(277.18758, abs=1e-4)


# --- longitudes, latitudes ------------------------------------------------------------------------------------------------


@given(st.floats(-1e4, 1e4))
def test_longitudes_stay_the_same_directions(con, lon):
    for name, low, high in (("360", 0, 360), ("180", -180, 180)):
        got = con.execute(f"SELECT hven_lon_{name}(?::DOUBLE)", [lon]).fetchone()[0]
        assert low <= got <= high
        assert math.remainder(got - lon, 360) == pytest.approx(0, abs=1e-9)


def test_west_becomes_east_with_its_bounds_swapped(compute):
    west_min, west_max = [10.0, 350.0, 0.0, 0.0, None], [30.0, 370.0, 360.0, 20.0, 20.0]
    assert compute("east_min(a, b)", a=west_min, b=west_max).to_pylist() == [330.0, 350.0, 0.0, 340.0, 340.0]
    assert compute("east_max(a, b)", a=west_min, b=west_max).to_pylist() == [350.0, 10.0, 360.0, 360.0, None]
    assert compute("east_lon(a)", {"a": "rad"}, a=[math.pi / 2]).to_pylist() == [pytest.approx(270)]


@pytest.mark.parametrize("body", ["Earth", "Mars", "Jupiter", "Saturn"])
def test_planetocentric_latitudes_as_astropy(compute, body):
    equator, pole = bodies.find_solar_system_body(body).radii

    shape = {"_equatorial_radius": equator * u.km, "_flattening": (equator - pole) / equator * u.dimensionless_unscaled}
    Graphic = type(f"Graphic{body}", (BaseGeodeticRepresentation,), shape)  # noqa: N806  (classes)
    Centric = type(f"Centric{body}", (BaseBodycentricRepresentation,), shape)  # noqa: N806
    lat = np.linspace(-90, 90, 37)
    wanted = Centric.from_cartesian(
        Graphic(np.zeros(37) * u.deg, lat * u.deg, np.zeros(37) * u.km).represent_as(CartesianRepresentation)
    ).lat.to_value(u.deg)
    np.testing.assert_allclose(compute(f"planetocentric(lat, '{body.upper()}')", lat=lat), wanted, atol=1e-9)


# --- spectra ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "to"), [("nm", "Hz"), ("um", "THz"), ("keV", "Hz"), ("cm**-1", "Hz"), ("GHz", "Hz"), ("MHz", "m")]
)
def test_spectral_bounds_as_astropy(compute, unit, to):
    low, high = np.array([0.5, 400.0, 2.0]), np.array([1.5, 900.0, 2.0])
    known = {"a": unit, "b": unit}
    converted = [(values * u.Unit(unit.replace("**", ""))).to_value(u.Unit(to), u.spectral()) for values in (low, high)]
    np.testing.assert_allclose(
        compute(f"spectral_min(a, b, '{to}')", known, a=low, b=high), np.minimum(*converted), rtol=1e-12
    )
    np.testing.assert_allclose(
        compute(f"spectral_max(a, b, '{unit}', '{to}')", a=low, b=high), np.maximum(*converted), rtol=1e-12
    )
    step = compute(f"spectral_step(a, w, '{to}')", {"a": unit, "w": unit}, a=low, w=low * 1e-5)
    ends = [
        (low * (1 + sign * 5e-6) * u.Unit(unit.replace("**", ""))).to_value(u.Unit(to), u.spectral())
        for sign in (-1, 1)
    ]
    np.testing.assert_allclose(step, np.abs(ends[1] - ends[0]), rtol=1e-6)


def test_spectra_with_one_bound_and_with_units_of_their_own(compute):
    assert compute("spectral_min(a, b, 'nm', 'm')", a=pa.array([None], pa.float64()), b=[500.0]).to_pylist() == [
        pytest.approx(5e-7)
    ]
    assert compute("resolving_power(x, dx)", {"x": "um", "dx": "nm"}, x=[1.0, 1.0], dx=[2.0, 0.0]).to_pylist() == [
        pytest.approx(500),
        None,
    ]


# --- targets, text, lists, files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "written"),
    [
        ("MARS", "planet", "Mars"), ("Sun", "star", "Sun"), ("phobos", "satellite", "Phobos"), ("1 Ceres", "dwarf_planet#asteroid", "Ceres"), ("67P", "comet", "67P/Churyumov-Gerasimenko"),
        ("C/2022 E3", "comet", None), ("C/2022 E3 (ZTF)", "comet", None), ("1999 RQ36", "asteroid", None), ("(101955) Bennu", "asteroid", "Bennu"), ("101955_Bennu", "asteroid", "Bennu"),
        ("HD 209458", None, None), ("", None, None), ("M 31", None, None), ("Comet", None, None),
    ],
)  # fmt: skip
def test_targets(compute, name, kind, written):
    assert compute("target_class(n)", n=[name, None]).to_pylist() == [kind, None]
    assert compute("target_name(n)", n=[name, None]).to_pylist() == [written, None]


def test_every_class_of_a_body_is_one_of_epn_tap():
    known = {"asteroid", "dwarf_planet", "planet", "satellite", "comet", "star"}
    assert {word for body in bodies.iterate_solar_system_bodies() for word in body.target_class.split("#")} == known


@given(st.lists(st.one_of(st.none(), st.text("ab# ", max_size=4)), min_size=1, max_size=5))
def test_hashlists_drop_nothing_but_nulls_blanks_and_twins(con, items):
    got = con.execute(
        "SELECT hven_hashlist(list_transform(string_split(concat_ws('#', ?), '#'), lambda w: trim(w)))",
        ["#".join(item for item in items if item is not None)],
    ).fetchone()[0]
    words = [word.strip(" ") for item in items if item is not None for word in item.split("#")]
    assert (got or "") == "#".join(dict.fromkeys(word for word in words if word))


def test_text_for_epn(compute):
    texts = ["Étoile  d'été", "a#b", "  Mars\t", None, "x<y>", "1P/Halley"]
    assert compute("clean(s)", s=texts).to_pylist() == ["Etoile d_ete", "a_b", "Mars", None, "x_y_", "1P/Halley"]
    assert compute("epn_text(s)", s=["OMEGA  'C'"]).to_pylist() == ["omega _c_"]
    assert compute("url_path(s)", s=["a b/ç&d.fits"]).to_pylist() == ["a%20b/%C3%A7%26d.fits"]


def test_the_thumbnail_that_is_not_noisy(compute):
    frequencies, noisy = (
        pa.array([[150.9, 432.0, 408.0], [432.0], [], None]),
        pa.array([[432.0], [432.0], [1.0], [432.0]]),
    )
    assert compute("highest_not_in(f, n)", f=frequencies, n=noisy).to_pylist() == [408.0, None, None, None]
    assert compute("first_not_in(f, n)", f=frequencies, n=noisy).to_pylist() == [150.9, None, None, None]
    assert compute("first_not_in(f, n)", f=["432#408", "a # b", "x"], n=["432", "a", None]).to_pylist() == [
        "408",
        "b",
        "x",
    ]


def test_products(compute, tmp_path):
    (tmp_path / "one.fits").write_bytes(b"x" * 2880)
    assert compute(f"product_size(p, '{tmp_path}')", p=["one.fits", "two.fits", None, "", "\0"]).to_pylist() == [
        2880,
        None,
        None,
        None,
        None,
    ]
    assert compute(f"product_md5(p, '{tmp_path}')", p=["one.fits"]).to_pylist() == [
        hashlib.md5(b"x" * 2880, usedforsecurity=False).hexdigest()
    ]


# --- regions -----------------------------------------------------------------------------------------------------------------


def test_polygons_are_turned_as_asked(compute):
    """On the sky north, east, south: counter-clockwise for who looks up."""
    triangle = [0.0, 10.0, 10.0, 0.0, 0.0, -10.0]
    for text in (triangle, [0.0, -10.0, 10.0, 0.0, 0.0, 10.0]):
        shape = f"POLYGON({', '.join(map(str, text))})"
        sky, body = (compute(f"oriented({shape}, '{view}')").to_pylist()[0] for view in ("sky", "body"))
        assert sky == triangle
        assert body == [0.0, -10.0, 10.0, 0.0, 0.0, 10.0]
    assert compute("lonlat_box(a, 10, -5, 5, 'sky')", a=[350.0, 10.0, 170.0, None]).to_pylist() == [[350.0, -5.0, 350.0, 5.0, 10.0, 5.0, 10.0, -5.0], None, None, None]  # fmt: skip
    assert compute("lonlat_box(a, a + 360, 84, 90, 'body')", a=[0.0, -180.0, 10.0]).to_pylist() == [None, None, None]
