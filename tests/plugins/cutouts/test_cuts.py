"""Cuts of real images and cubes: the same pixels at the same places, by astropy; bad selections by name."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame

from hven.formats.media import open_product
from hven.model.sky import Circle, Polygon, Range
from hven.plugins.cutouts.pixel_windows import CutoutSelection, find_window
from hven.plugins.cutouts.product_cutting import cut_product
from shared import shared

IMAGES = {
    "horsehead": ("images/HorseHead.fits", 0),
    "galactic": ("images/allsky_rosat.fits", 0),
    "fk5": ("images/gc_2mass_k.fits", 0),
    "muse": ("images/muse_IMAGE-HDFS-1.34.fits", 1),
    "cube": ("images/muse_Central_Datacube_bkg.fits", 1),
    "velocities": ("images/l1448_13co.fits", 0),
    "sip": ("sip", 0),
}


def open_cutout(found) -> fits.HDUList:
    body = b"".join(found.read_chunks())
    assert len(body) == found.size
    assert len(body) % 2880 == 0
    return fits.open(io.BytesIO(body))


def original(tmp_path: Path, name: str) -> tuple[Path, int]:
    path, hdu = IMAGES[name]
    if name != "sip":
        return shared(f"data/{path}"), hdu
    header = WCS(naxis=2)
    header.wcs.ctype, header.wcs.crval, header.wcs.crpix, header.wcs.cdelt = (
        ["RA---TAN-SIP", "DEC--TAN-SIP"],
        [10, 20],
        [400, 300],
        [-2e-4, 2e-4],
    )
    cards = header.to_header()
    cards.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5, "B_1_1": -2e-5, "A_0_2": 3e-6})
    cards["CTYPE1"], cards["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    fits.PrimaryHDU(np.arange(600 * 800, dtype="i4").reshape(600, 800), fits.Header(cards)).writeto(
        tmp_path / "sip.fits"
    )
    return tmp_path / "sip.fits", 0


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_of_a_cut_keep_their_positions(tmp_path, name):
    path, hdu = original(tmp_path, name)
    rng = np.random.default_rng(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as whole:
            before, data = WCS(whole[hdu].header), whole[hdu].data
            height, width = data.shape[-2:]
            middle = before.celestial.all_pix2world([[0.6 * width, 0.4 * height]], 0)[0]
            place = SkyCoord(*middle, unit="deg", frame=wcs_to_celestial_frame(before.celestial)).icrs
            scale = np.sqrt(abs(np.linalg.det(before.celestial.pixel_scale_matrix)))
            wanted = CutoutSelection(shape=Circle(place.ra.deg, place.dec.deg, 0.1 * min(width, height) * scale))
            with open_product(path) as product:
                found = open_cutout(cut_product(product, wanted, part_name=str(hdu)))
            piece = next(one for one in found if one.data is not None)
            after = WCS(piece.header)
            rows, columns = piece.data.shape[-2:]
            pixels = rng.uniform(0, [columns - 1, rows - 1], (100, 2))
            there = after.celestial.all_pix2world(pixels, 0)
            back = before.celestial.all_world2pix(there, 0)
            first = np.round(back[0] - pixels[0]).astype(int)
            assert np.abs(back - pixels - first).max() < 1e-6
            same = data[..., first[1] : first[1] + rows, first[0] : first[0] + columns]
            assert np.array_equal(piece.data, same, equal_nan=True)
            # the circle is in the cut, and the cut is hardly larger
            assert abs(columns - 0.2 * min(width, height)) < 0.06 * min(width, height) + 2
            edge = place.directional_offset_by(np.arange(0, 360, 5) * units.deg, wanted.shape.radius * units.deg)
            frame = wcs_to_celestial_frame(before.celestial)
            at = edge.transform_to(frame).spherical
            drawn = after.celestial.all_world2pix(np.stack([at.lon.deg, at.lat.deg], 1), 0)
            # a plate's own solution, by which astropy reads the Horsehead, differs from the cards by a fifth of a pixel
            assert drawn.min() > -0.7
            assert (drawn < np.array([columns, rows]) - 0.3).all()


SHAPES = [Circle(10.0, 20.0, 0.02), Circle(10.05, 20.02, 0.03), Circle(10.0, 20.0, 5.0), Circle(10.0301, 20.0101, 1e-4), Circle(190.0, -20.0, 179.98),
          Polygon((9.98, 10.03, 10.0), (19.99, 20.0, 20.03)), Polygon((9.0, 11.0, 11.0, 9.0), (20.01, 20.01, 20.012, 20.012)), Polygon((10.2, 10.3, 10.0), (20.0, 20.1, 20.3)),
          Range(9.99, 10.01, 19.99, 20.3), Range(9.0, 10.0, -90.0, 90.0), Range(350.0, 10.0, 19.99, 20.01), Range(0.0, 360.0, 20.01, 20.02)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("where", ["usual", "rotated", "pole"])
def test_the_window_is_the_smallest_that_has_all_of_a_shape(tmp_path, shape, where):
    """By the middles of 16 parts of each pixel."""
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CRVAL1": 10.0, "CRPIX1": 51, "CTYPE2": "DEC--TAN", "CRVAL2": 20.0, "CRPIX2": 41}
    )
    turn = np.radians(30.0 if where == "rotated" else 0.0)
    for i, j, value in ((1, 1, -np.cos(turn)), (1, 2, np.sin(turn)), (2, 1, np.sin(turn)), (2, 2, np.cos(turn))):
        header[f"CD{i}_{j}"] = 1e-3 * value
    if where == "pole":
        header["CRVAL2"] = 89.99
        if isinstance(shape, Circle):
            shape = Circle(
                shape.lon, min(shape.lat + 69.99, 90.0) if shape.lat > 0 else shape.lat - 69.99, shape.radius
            )
        elif isinstance(shape, Range):
            shape = Range(
                shape.lon1, shape.lon2 + (30.0 if shape.lon2 < 330.0 else 0.0), max(shape.lat1, 0.0) + 69.98, 90.0
            )
        else:
            return
    fits.PrimaryHDU(np.zeros((80, 100), "i2"), header).writeto(tmp_path / "image.fits")
    fine = (np.arange(400) + 0.5) / 4.0 - 0.5
    x, y = np.meshgrid(fine, fine[:320])
    lon, lat = WCS(header).all_pix2world(np.stack([x.ravel(), y.ravel()], 1), 0).T
    inside = shape.contains(lon % 360.0, lat).reshape(320, 400)
    with open_product(tmp_path / "image.fits") as product:
        found = find_window(product.find_part(), CutoutSelection(shape=shape))
    if not inside.any():
        # thinner than such a part
        assert found is None or min(one.stop - one.start for one in found) <= 1
        return
    rows, columns = inside.any(1).nonzero()[0] // 4, inside.any(0).nonzero()[0] // 4
    assert found is not None
    for piece, pixels, size in zip(found, (rows, columns), (80, 100), strict=True):
        # a quarter of a pixel may touch the next one; where a pole or the far side is in play, the grid's next line counts as well
        far = (
            where == "pole"
            or shape.contains(190.0, -20.0)
            or (isinstance(shape, Range) and shape.lon2 - shape.lon1 >= 180.0)
        )
        slack = size / 32 + 1 if far else 1
        assert piece.start <= pixels.min() <= piece.start + slack
        assert piece.stop - 1 - slack <= pixels.max() <= piece.stop - 1
