"""Hard contours by the thousand: each a valid region of the right pixels, whose area is that of its pixels' squares through sunpy's transformation.

Scaled down in every test run; `scripts/proof` makes 10,000.
"""

import os
import time
from itertools import pairwise

import numpy as np
import pytest
import shapely
import spherely

from contour_shapes import KINDS, compute_pixel_areas, draw_shapes, encode_chain, fill_path, project_region
from hven.plugins.image_regions import contours

FULL = os.environ.get("HVEN_PROOF") == "full"
COUNT = 10_000 if FULL else 150
SIZE, CENTRE, RADIUS = 150, (74.3, 75.1), 61.7
SCALES = (15.5, 60.0)  # arcseconds per pixel: the Sun from the Earth, and from 0.26 au


@pytest.fixture(scope="module", autouse=True)
def _offline():
    from astropy.utils.iers import conf

    with conf.set_temp("auto_max_age", None), conf.set_temp("auto_download", False):
        yield


def sunpys(x, y, radius):
    """Give the places on the Sun of directions, by sunpy."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from sunpy.coordinates import Helioprojective

    far = 695_700.0 / np.sin(np.radians(radius / 3600)) * u.km
    there = SkyCoord(0 * u.deg, 0 * u.deg, far, frame="heliographic_stonyhurst", obstime="2009-01-01")
    seen = SkyCoord(
        x * u.arcsec, y * u.arcsec, frame=Helioprojective(observer=there, obstime="2009-01-01", rsun=695_700.0 * u.km)
    )
    found = seen.transform_to("heliographic_stonyhurst")
    assert np.isfinite(found.lon.deg).all()
    return found.lon.deg, found.lat.deg


def describe_s2_fault(regions, row):
    """Give what S2 finds wrong with a region's parts, each with the inside to the left."""
    for part in range(regions.rows[row], regions.rows[row + 1]):
        bounds = regions.rings[regions.parts[part] : regions.parts[part + 1] + 1]
        shell, *holes = (np.stack([regions.lon[a:b], regions.lat[a:b]], axis=1).tolist() for a, b in pairwise(bounds))
        try:
            spherely.create_polygon(shell, holes or None, oriented=True)
        except (RuntimeError, ValueError) as error:
            return str(error)
    return ""


def test_hard_contours_are_valid_regions_of_the_right_size():
    paths, rng = draw_shapes(COUNT, 18, SIZE, CENTRE, RADIUS), np.random.default_rng(19)
    scale = rng.choice(SCALES, COUNT)
    disc = contours.DiscImage(
        *CENTRE,
        scale,
        scale,
        RADIUS * scale,
        rng.uniform(0, 360, COUNT),
        rng.choice([0, 7.25, -7.25, 60, -90, 90], COUNT),
        rng.uniform(0, 360, COUNT),
    )
    begun = time.process_time()
    found = contours.build_regions_from_chain_codes(
        [encode_chain(path) for path in paths], *np.array([path[0] for path in paths]).T, disc
    )
    spent = time.process_time() - begun
    of = {
        one: compute_pixel_areas(SIZE, CENTRE, RADIUS, one, sunpys, *(4, 64 if FULL else 24), within=1e-10)
        for one in SCALES
    }
    expected, right = np.zeros(COUNT), 0
    for row, path in enumerate(paths):
        squares = fill_path(path, SIZE)
        expected[row] = of[scale[row]][squares].sum()
        right += found.pixels[row] in (squares.sum(), 0)
    assert right == COUNT
    area = found.regions.compute_areas()
    faulty = {fault.row: fault.name for fault in found.iterate_faults()}
    assert set(faulty.values()) <= {"off_disc"}
    assert (expected[list(faulty)] < 1e-6).all()
    some = expected > 1e-3  # smaller ones are slivers at the limb, which squares of 1/64 pixel do not measure
    off = np.abs(area[some] / expected[some] - 1)
    thin = np.abs(area - expected)[~some]
    reasons = [shapely.is_valid_reason(project_region(found.regions, row, disc)) for row in range(COUNT)]
    wrong = [(row, KINDS[row % len(KINDS)], reason) for row, reason in enumerate(reasons) if reason != "Valid Geometry"]
    wrong += [(row, "S2", reason) for row in range(COUNT) if (reason := describe_s2_fault(found.regions, row))]
    words, counts = np.unique(found.classify_quality(), return_counts=True)
    print(
        f"\n{COUNT} contours of {np.mean([len(path) for path in paths]):.0f} pixels in {spent:.2f} s of CPU: {COUNT - len(wrong)} valid; "
        f"off the disc {len(faulty)}; area within {off.max():.2e} ({some.sum()} of them), slivers within {thin.max():.1e} sr; "
        f"{dict(zip(words.tolist(), counts.tolist(), strict=True))}"
    )
    assert wrong == []
    assert off.max() < 0.001
    assert thin.max() < 1e-5
