"""Footprints by cards that a descriptor names one by one, against astropy."""

from __future__ import annotations

from functools import partial

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from adql_runner import compute_expression, create_connection
from hven.plugins.image_regions.card_footprints import PROJECTIONS


@pytest.fixture(scope="module")
def compute():
    return partial(compute_expression, create_connection())


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_footprints_as_astropy(compute, projection):
    names = (
        "ctype1",
        "ctype2",
        "crval1",
        "crval2",
        "crpix1",
        "crpix2",
        "cd1_1",
        "cd1_2",
        "cd2_1",
        "cd2_2",
        "naxis1",
        "naxis2",
    )
    draw = np.random.default_rng(5)
    rows = []
    for number in range(40):
        angle, scale, swap = draw.uniform(0, 2 * np.pi), draw.uniform(1e-4, 0.02), number % 3 == 0
        cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = (draw.uniform(0, 360), draw.uniform(-89.9, 89.9))
        cd, centre = (cd[::-1], centre[::-1]) if swap else (cd, centre)
        kinds = (f"RA---{projection}", f"DEC--{projection}")
        rows.append((*(kinds[::-1] if swap else kinds), *centre, 400.5, 512.0, *cd.ravel(), 800, 1024))
    got = compute(
        f"wcs_footprint({', '.join(names)})", **{name: [row[at] for row in rows] for at, name in enumerate(names)}
    )
    for row, polygon in zip(rows, got.to_pylist(), strict=True):
        header = fits.Header(dict(zip([name.upper() for name in names], row, strict=True)))
        wcs = WCS(header)
        lons, lats = np.array(polygon).reshape(-1, 2).T
        corners = SkyCoord(lons * u.deg, lats * u.deg)
        ours = {tuple(round(float(x) * 2) / 2 for x in pair) for pair in zip(*wcs.world_to_pixel(corners), strict=True)}
        assert ours == {(-0.5, -0.5), (799.5, -0.5), (799.5, 1023.5), (-0.5, 1023.5)}


def test_images_of_other_axes_have_no_footprint(compute):
    cards = "10, 20, 50, 50, -0.01, 0, 0, 0.01, 100, 100"
    assert compute(f"wcs_footprint('GLON-TAN', 'GLAT-TAN', {cards})").to_pylist() == [None]
    assert compute(f"wcs_footprint('RA---AIT', 'DEC--AIT', {cards})").to_pylist() == [None]
