"""The Sun: where the Earth stands over it, and its coordinates, against sunpy."""

import numpy as np
import pytest
from helioprojective import compute_direction, convert_to_carrington, project_to_surface

from hven.model.sky import compute_angular_distance
from hven.plugins.image_regions import contours

sun = contours.sun
RNG = np.random.default_rng(18)
TIMES = np.datetime64("1975-01-01", "us") + (RNG.random(200) * 50 * 365.25 * 86_400e6).astype("timedelta64[us]")


@pytest.fixture(scope="module", autouse=True)
def _offline():
    from astropy.utils.iers import conf

    with conf.set_temp("auto_max_age", None), conf.set_temp("auto_download", False):
        yield


def turn(a, b):
    """Give the difference of angles in degrees, -180 to 180."""
    return (np.asarray(a) - np.asarray(b) + 180.0) % 360.0 - 180.0


def test_where_the_earth_stands_is_sunpys():
    from astropy.time import Time
    from sunpy.coordinates import sun as sunpys

    there, times = sun.compute_solar_ephemeris(TIMES), Time(TIMES.astype(str), scale="utc")
    assert np.abs(turn(there.l0, sunpys.L0(times).deg)).max() < 0.01
    assert np.abs(there.b0 - sunpys.B0(times).deg).max() < 0.01
    assert np.abs(turn(there.p, sunpys.P(times).deg)).max() < 0.01
    assert np.abs(there.distance - sunpys.earth_distance(times).to_value("AU")).max() < 1e-4
    assert np.abs(sun.compute_carrington_rotation_number(TIMES) - sunpys.carrington_rotation_number(times)).max() < 5e-5


@pytest.mark.parametrize("au", [0.28, 0.99, 1.02, 5.4])
def test_coordinates_are_sunpys_for_any_observer(au):
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from sunpy.coordinates import Helioprojective

    time = str(TIMES[3])
    seen_from = SkyCoord(217.0 * u.deg, -6.4 * u.deg, au * u.AU, frame="heliographic_stonyhurst", obstime=time)
    radius = sun.compute_apparent_radius(au * sun.ASTRONOMICAL_UNIT_KM)
    x, y = (RNG.uniform(-1.1, 1.1, 300) * radius for _ in "xy")
    frame = Helioprojective(observer=seen_from, obstime=time, rsun=sun.SUN_RADIUS_KM * u.km)
    expected = SkyCoord(x * u.arcsec, y * u.arcsec, frame=frame)
    on = expected.separation(SkyCoord(0 * u.deg, 0 * u.deg, frame=frame)).arcsec < radius
    theirs = expected[on].transform_to("heliographic_stonyhurst")
    lon, lat = project_to_surface(x, y, 217.0, -6.4, radius)
    assert np.isnan(lon).tolist() == np.isnan(lat).tolist() == (~on).tolist()
    assert (
        compute_angular_distance(lon[on], lat[on], theirs.lon.deg, theirs.lat.deg).max() < 1e-6
    )  # theirs loses digits at the limb
    back = compute_direction(lon[on], lat[on], 217.0, -6.4, radius)
    assert back[2].all()
    assert np.abs(back[0] - x[on]).max() < 1e-9
    assert np.abs(back[1] - y[on]).max() < 1e-9
    assert not compute_direction(37.0, 6.4, 217.0, -6.4, radius)[2]


def test_carringtons_longitudes_are_sunpys():
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.time import Time
    from sunpy.coordinates import HeliographicCarrington

    lon, lat = RNG.uniform(-180, 180, len(TIMES)), RNG.uniform(-90, 90, len(TIMES))
    times = Time(TIMES.astype(str), scale="utc")
    there = SkyCoord(lon * u.deg, lat * u.deg, 1 * u.R_sun, frame="heliographic_stonyhurst", obstime=times)
    theirs = there.transform_to(HeliographicCarrington(observer="earth", obstime=times))
    assert np.abs(turn(convert_to_carrington(lon, sun.compute_solar_ephemeris(TIMES).l0), theirs.lon.deg)).max() < 0.01
    assert convert_to_carrington(350.0, 20.0) == 10.0
    assert convert_to_carrington(-1e-18, 0.0) == 0.0


def test_a_million_rows_at_once():
    lon, lat = project_to_surface(np.linspace(-1000, 1000, 1_000_000), 10.0, 0.0, 7.0, 960.0)
    assert np.isfinite(lon).mean() == pytest.approx(0.96, abs=1e-4)
    assert np.isfinite(lat).sum() == np.isfinite(lon).sum()


def test_rotations_that_contradict_their_dates():
    date = np.array(["2009-01-01T00:00:08", "2009-01-01T00:00:08", "2009-01-01", "2009-01-01", "NaT"], "datetime64[us]")
    assert sun.is_carrington_rotation_mismatch([2078.53, 2078, 2079, np.nan, 2078.53], date).tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert np.isnan(sun.compute_solar_ephemeris(date).b0).tolist() == [False, False, False, False, True]
