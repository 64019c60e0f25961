"""FITS files of the shared data open and convert; damage, other servers, and layouts that no real file is had of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from hven.formats.media import detect_product_file_format, open_product
from product_checks import (
    ORIGINS,
    check_conversion,
    check_damage,
    check_failing_server,
    check_remote_reads,
    find_real_products,
)
from product_files import write_fits


def products(origin: str, folder: Path) -> list[Path]:
    """Give FITS products: real ones, or one that is made in a folder."""
    if origin == "made":
        folder.mkdir()
        return [write_fits(folder)]
    # tables of OIFITS 2 without the others: FITS
    return find_real_products(["interferometry/oifits/bad_V1_with_V2_Tables.fits"], 1)


@ORIGINS
def test_all_products_are_converted(origin, tmp_path):
    for path in products(origin, tmp_path / "made"):
        check_conversion(path, "fits")


@pytest.mark.parametrize(
    ("kind", "unit", "value", "step"),
    [("VOPT", "km/s", 1.2e4, 500.0), ("VRAD", "m/s", -3e5, 2e4), ("VOPT-F2W", "m/s", 1e6, 3e5), ("WAVE-LOG", "um", 10.0, 0.5), ("FREQ", "GHz", 110.0, 0.25)],
)  # fmt: skip
def test_axes_of_velocities_and_logarithms_are_converted(tmp_path, kind, unit, value, step):
    header = fits.Header({"CTYPE1": kind, "CUNIT1": unit, "CRVAL1": value, "CRPIX1": 2.0, "CDELT1": step, "RESTFRQ": 115.271e9})  # fmt: skip
    fits.PrimaryHDU(np.zeros(9, "f4"), header).writeto(tmp_path / "a.fits")
    with open_product(tmp_path / "a.fits") as product:
        found = product.find_part().axes[0].read_values()
    there = WCS(header).pixel_to_world(np.arange(9))
    assert np.allclose(found, there.to_value("m"), rtol=1e-12)


@ORIGINS
def test_damaged_files_say_so(tmp_path, origin):
    """Cut off at many places, and with bytes changed: a fault of its own or what is left, nothing else."""
    check_damage(products(origin, tmp_path / "made")[-1], tmp_path)


@pytest.mark.parametrize("origin", ["real", "made", "compressed"])
def test_files_from_elsewhere(origin, tmp_path):
    """Read by ranges: the same parts, and the same files beside a label."""
    path = tmp_path / "a.fits"
    if origin == "compressed":
        fits.CompImageHDU(np.arange(250_000, dtype="i4").reshape(500, 500)).writeto(path)
    else:
        path = products(origin, tmp_path / "made")[-1]
    check_remote_reads(path)


@pytest.mark.parametrize("after", [0, 1, 4])
@ORIGINS
def test_servers_that_fail_are_no_damaged_files(after, origin, monkeypatch, tmp_path):
    """The fault of the server comes through, while a file is opened and while it is read."""
    path = max(products(origin, tmp_path / "made"), key=lambda path: path.stat().st_size)
    check_failing_server(path, after, monkeypatch)


def test_media_are_told_by_what_they_begin_with():
    assert detect_product_file_format("a.xml", b"<?xml version='1.0'?><VOTABLE version='1.4'>") is None
    assert detect_product_file_format("a.fits", fits.PrimaryHDU().header.tostring().encode()).name == "fits"
    assert detect_product_file_format("a.fits").name == "fits"


def test_thousands_of_hdus_are_read(tmp_path):
    one = fits.ImageHDU(np.zeros((2, 2), "u1")).header.tostring().encode() + bytes(2880)
    (tmp_path / "many.fits").write_bytes(fits.PrimaryHDU().header.tostring().encode() + one * 3000)
    with open_product(tmp_path / "many.fits") as product:
        assert len(product.parts) == 999
