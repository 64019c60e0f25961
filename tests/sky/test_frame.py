"""Frames: directions, ranges, graphic latitudes, and the sky against astropy."""

import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from hven.model.sky import compute_angular_distance, frames

MARS = frames.CoordinateFrame(name="BODY", body="Mars", flattening=0.00589)


@given(st.floats(0, 359.99), st.floats(-89, 89))
def test_longitudes_turn_and_come_back(lon, lat):
    west = frames.CoordinateFrame(name="BODY", body="Mars", west=True, signed=True, flattening=0.00589)
    there = frames.transform_positions(lon, lat, MARS, west)
    assert -180 <= there[0] < 180
    back = frames.transform_positions(*there, west, MARS)
    assert compute_angular_distance(*back, lon, lat) < 1e-12


def test_what_is_in_range_stays_bit_for_bit():
    lon = np.array([0.1, 359.9, 123.456789012345])
    assert frames.transform_positions(lon, lon / 10, MARS, MARS)[0].tolist() == lon.tolist()
    signed = frames.CoordinateFrame(name="BODY", body="Mars", signed=True)
    assert frames.transform_positions([10.1, 350.0, 180.0], [0, 0, 0], MARS, signed)[0].tolist() == [
        10.1,
        -10.0,
        -180.0,
    ]


@given(st.floats(-90, 90))
def test_graphic_latitudes_stand_upright_on_the_ellipsoid(lat):
    graphic = frames.CoordinateFrame(name="BODY", body="Mars", graphic=True, flattening=0.00589)
    _, centric = frames.transform_positions(0.0, lat, graphic, MARS)
    # on the ellipse x = cos t, z = q sin t the normal's slope is tan(t) / q
    q = 1 - 0.00589
    t = np.arctan2(np.sin(np.radians(lat)) * q, np.cos(np.radians(lat)))
    assert centric == pytest.approx(np.degrees(np.arctan2(q * np.sin(t), np.cos(t))), abs=1e-12)
    assert frames.transform_positions(0.0, float(centric), MARS, graphic)[1] == pytest.approx(lat, abs=1e-12)


@pytest.mark.parametrize(
    ("word", "theirs"),
    [("GALACTIC", "galactic"), ("FK5", "fk5"), ("SUPER_GALACTIC", "supergalactic"), ("galactic", "galactic")],
)
def test_the_sky_is_astropys(word, theirs):
    lon, lat = np.array([10.0, 250.0, np.nan]), np.array([20.0, -60.0, 0.0])
    ours = frames.transform_positions(lon, lat, frames.ICRS_FRAME, frames.CoordinateFrame(name=word))
    expected = SkyCoord(lon[:2] * u.deg, lat[:2] * u.deg).transform_to(theirs).spherical
    assert compute_angular_distance(ours[0][:2], ours[1][:2], expected.lon.deg, expected.lat.deg) == pytest.approx(
        0, abs=1e-10
    )
    assert np.isnan(ours[0][2])
    back = frames.transform_positions(*ours, frames.CoordinateFrame(name=word), frames.ICRS_FRAME)
    assert compute_angular_distance(back[0][:2], back[1][:2], lon[:2], lat[:2]) == pytest.approx(0, abs=1e-9)


def test_the_galactic_pole_is_where_it_is():
    _, lat = frames.transform_positions(192.85948, 27.12825, frames.ICRS_FRAME, frames.CoordinateFrame(name="GALACTIC"))
    assert lat == pytest.approx(90, abs=1e-4)


def test_there_is_no_way_between_bodies():
    for source, target in (
        (MARS, frames.CoordinateFrame(name="BODY", body="Venus")),
        (MARS, frames.ICRS_FRAME),
        (
            frames.CoordinateFrame(body="Mars", code="IAU_MARS"),
            frames.CoordinateFrame(body="Mars", code="MOLA", west=True),
        ),
    ):
        with pytest.raises(ValueError, match="Mars"):
            frames.transform_positions(0, 0, source, target)
    with pytest.raises(ValueError, match="the frame 'FOO' is not known"):
        frames.transform_positions(0, 0, frames.ICRS_FRAME, frames.CoordinateFrame(name="FOO"))


def test_importing_the_sky_is_light():
    code = "import sys, hven.model.sky, hven.model.units; hven.model.sky.healpix.cover_cone(1, 2, 3); print([m for m in ('astropy', 'mocpy', 'shapely', 'cdshealpix') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
