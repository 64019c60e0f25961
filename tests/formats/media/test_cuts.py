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

from hven.formats.media import Selection, cut, open_product
from hven.model.sky import Circle

DATA = Path(__file__).parents[3].parent / "shared" / "data"
IMAGES = {
    "horsehead": ("images/HorseHead.fits", 0),
    "galactic": ("images/allsky_rosat.fits", 0),
    "fk5": ("images/gc_2mass_k.fits", 0),
    "muse": ("images/muse_IMAGE-HDFS-1.34.fits", 1),
    "cube": ("images/muse_Central_Datacube_bkg.fits", 1),
    "velocities": ("images/l1448_13co.fits", 0),
    "sip": ("sip", 0),
}


def made(found) -> fits.HDUList:
    body = b"".join(found.chunks())
    assert len(body) == found.size
    assert len(body) % 2880 == 0
    return fits.open(io.BytesIO(body))


def original(tmp_path: Path, name: str) -> tuple[Path, int]:
    path, hdu = IMAGES[name]
    if name != "sip":
        return DATA / path, hdu
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
def test_pixels_of_a_cut_are_where_they_were(tmp_path, name):
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
            wanted = Selection(shape=Circle(place.ra.deg, place.dec.deg, 0.1 * min(width, height) * scale))
            with open_product(path) as product:
                found = made(cut(product, wanted, part=str(hdu)))
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
