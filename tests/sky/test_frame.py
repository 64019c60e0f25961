"""Frames of the sky against astropy."""

import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from hven.model.sky import compute_angular_distance, frames


@pytest.mark.parametrize(("word", "theirs"), [("GALACTIC", "galactic"), ("FK5", "fk5")])
def test_the_sky_is_astropys(word, theirs):
    lon, lat = np.array([10.0, 250.0, np.nan]), np.array([20.0, -60.0, 0.0])
    ours = frames.rotate_positions(lon, lat, "ICRS", word)
    expected = SkyCoord(lon[:2] * u.deg, lat[:2] * u.deg).transform_to(theirs).spherical
    assert compute_angular_distance(ours[0][:2], ours[1][:2], expected.lon.deg, expected.lat.deg) == pytest.approx(
        0, abs=1e-10
    )
    assert np.isnan(ours[0][2])
    back = frames.rotate_positions(*ours, word, "ICRS")
    assert compute_angular_distance(back[0][:2], back[1][:2], lon[:2], lat[:2]) == pytest.approx(0, abs=1e-9)


def test_the_galactic_pole_is_where_it_is():
    _, lat = frames.rotate_positions(192.85948, 27.12825, "ICRS", "GALACTIC")
    assert lat == pytest.approx(90, abs=1e-4)


def test_an_unknown_frame_is_refused():
    with pytest.raises(ValueError, match="the frame 'FOO' is not known"):
        frames.rotate_positions(0, 0, "ICRS", "FOO")


def test_importing_the_sky_is_light():
    code = "import sys, hven.model.sky, hven.model.units; hven.model.sky.healpix.cover_cone(1, 2, 3); print([m for m in ('astropy', 'mocpy', 'shapely', 'cdshealpix') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
