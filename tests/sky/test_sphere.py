"""Distances and circles against astropy, from nano-arcseconds to antipodes."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import assume, given
from hypothesis import strategies as st

from hven.model.sky import Circle, compute_angular_distance, sphere
from offset_positions import compute_offset_position

LON = st.one_of(st.floats(-720, 720), st.sampled_from([0.0, 90.0, 180.0, 270.0, 359.9999999999, 360.0, -1e-12]))
LAT = st.one_of(st.floats(-90, 90), st.sampled_from([90.0, -90.0, 0.0, 89.999999999, -1e-13]))


@given(LON, LAT, LON, LAT)
def test_distance_is_astropys(lon1, lat1, lon2, lat2):
    theirs = SkyCoord(lon1 * u.deg, lat1 * u.deg).separation(SkyCoord(lon2 * u.deg, lat2 * u.deg)).deg
    # longitudes of several turns lose digits before either of us sees them
    assert compute_angular_distance(lon1, lat1, lon2, lat2) == pytest.approx(theirs, abs=3e-13, rel=1e-13)


@given(LON, LAT, st.floats(0, 360), st.floats(-12, 2.25))
def test_distance_of_an_offset_is_the_offset(lon, lat, towards, power):
    assume(abs(lat) < 89.99)
    arc = 10.0**power
    there = compute_offset_position(lon % 360.0, lat, towards, arc)
    # the far point itself is rounded to the last digit of its coordinates
    rounding = 4e-13
    assert float(compute_angular_distance(lon % 360.0, lat, *there)) == pytest.approx(arc, abs=rounding)


def test_tiny_and_antipodal_separations_keep_their_digits():
    tiny = 1e-10
    assert compute_angular_distance(0, 45, 0, 45 + tiny) == pytest.approx((45 + tiny) - 45, rel=1e-9)
    assert compute_angular_distance(10, 0, 10 + tiny, 0) == pytest.approx((10 + tiny) - 10, rel=1e-9)
    assert compute_angular_distance(0, 0, 180 - 1e-7, 0) == pytest.approx(180 - 1e-7, abs=1e-12)
    assert compute_angular_distance(123, 45, 303, -45) == pytest.approx(180, abs=1e-12)
    assert np.isnan(compute_angular_distance(np.nan, 0, 0, 0))


def test_distance_broadcasts():
    found = compute_angular_distance(np.zeros((3, 1)), 0, np.arange(4.0), 0)
    assert found.shape == (3, 4)
    assert found[2] == pytest.approx([0, 1, 2, 3])


@given(
    LON,
    LAT,
    st.lists(st.tuples(LON, LAT), min_size=1, max_size=40),
    st.one_of(st.floats(0, 180), st.sampled_from([0.0, 90.0, 180.0])),
)
def test_circle_is_the_distance(lon0, lat0, points, radius):
    lon, lat = np.array(points).T
    away = compute_angular_distance(lon, lat, lon0, lat0)
    sure = np.abs(away - radius) > 1e-11
    expected = away <= radius
    assert (sphere.is_point_in_circle(lon, lat, lon0, lat0, radius) == expected)[sure].all()
    assert (sphere.is_point_in_circle(lon, lat, np.full(len(lon), lon0), lat0, radius) == expected)[sure].all()
    assert (Circle(lon0, lat0, radius).contains(lon, lat) == expected)[sure].all()


@given(LON, LAT, st.floats(1e-9, 179), st.floats(0, 360))
def test_rim_belongs_to_the_circle(lon, lat, radius, towards):
    there = compute_offset_position(lon % 360, lat, towards, radius)
    assert not sphere.is_point_in_circle(*there, lon % 360, lat, radius - 1e-11)
    assert sphere.is_point_in_circle(*there, lon % 360, lat, radius + 1e-11)


@pytest.mark.parametrize(
    ("point", "circle"),
    [
        ((0, 1), (0, 0, 1)),
        ((1, 0), (0, 0, 1)),
        ((359, 0), (0, 0, 1)),
        ((77, 90), (1, 89, 1)),
        ((200, 0), (20, 0, 180)),
        ((90, 0), (0, 0, 90)),
    ],
)
def test_exact_rim(point, circle):
    assert sphere.is_point_in_circle(*point, *circle)
    assert sphere.is_point_in_circle(np.array([point[0]] * 3), np.array([point[1]] * 3), *circle).all()


def test_nan_and_negative_radii_are_never_inside():
    lon = np.array([0.0, np.nan, 0.0])
    lat = np.array([0.0, 0.0, np.nan])
    assert sphere.is_point_in_circle(lon, lat, 0, 0, 180).tolist() == [True, False, False]
    assert sphere.is_point_in_circle(lon, lat, 0, 0, 50).tolist() == [True, False, False]
    assert not sphere.is_point_in_circle(lon, lat, 0, 0, -1).any()
    assert not sphere.is_point_in_circle(lon, lat, 0, 0, np.nan).any()
    assert sphere.is_point_in_circle(np.zeros(3), np.zeros(3), 0, 0, np.array([1.0, -1.0, np.nan])).tolist() == [
        True,
        False,
        False,
    ]


@given(LON, LAT)
def test_vectors_and_back(lon, lat):
    back = sphere.to_lon_lat(sphere.to_unit_vectors(lon, lat))
    assert compute_angular_distance(*back, lon, lat) < 1e-12
    assert 0 <= back[0] < 360
    assert 0 <= float(sphere.wrap_longitudes(lon)) < 360


@given(LON, LAT, LON, LAT)
def test_angle_of_vectors_is_the_distance(lon1, lat1, lon2, lat2):
    found = sphere.measure_angles(sphere.to_unit_vectors(lon1, lat1), sphere.to_unit_vectors(lon2, lat2))
    assert np.degrees(found) == pytest.approx(
        compute_angular_distance(lon1, lat1, lon2, lat2), abs=1e-6 if found > 3.0 else 1e-12
    )


def test_cosines_and_sines_of_any_angle():
    angle = np.append(np.random.default_rng(1).uniform(-360, 720, 10_000), np.arange(-360, 721, 45))
    cos, sin = sphere.compute_cos_sin(angle)
    assert np.abs(cos - np.cos(np.radians(angle))).max() < 1e-15
    assert np.abs(sin - np.sin(np.radians(angle))).max() < 1e-15
    small = np.array([1e-300, 1e-12, 1e-5])
    assert sphere.compute_cos_sin(small)[1] == pytest.approx(np.sin(np.radians(small)), rel=1e-15)
    x, y, z = sphere.to_vector_components([10.0, 200.0, 33.0], [90.0, -90.0, 90.0])
    assert (x.tolist(), y.tolist(), z) == ([0, 0, 0], [0, 0, 0], pytest.approx([1, -1, 1], abs=1e-15))


def test_area_of_circles():
    assert Circle(0, 0, 90).compute_area() == pytest.approx(360 * 360 / math.pi / 2)
    assert Circle(0, 0, 180).compute_area() == pytest.approx(41252.96124941927)
    assert Circle(0, 0, 1e-6).compute_area() == pytest.approx(math.pi * 1e-12, rel=1e-12)
