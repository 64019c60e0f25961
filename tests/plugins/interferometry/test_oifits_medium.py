"""OIFITS as product files: real ones and a made one, here and elsewhere, whole and damaged; their tables of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from oifits_products import write_oifits

from hven.formats.media import detect_product_file_format, open_product
from product_checks import (
    ORIGINS,
    check_conversion,
    check_damage,
    check_failing_server,
    check_remote_reads,
    create_selection,
    cut_product,
    find_real_products,
    open_converted,
)
from shared import shared


def products(origin: str, folder: Path) -> list[Path]:
    """Give real files, or one that is made in a folder."""
    if origin == "made":
        folder.mkdir()
        return [write_oifits(folder)]
    return [path for path in find_real_products(["interferometry/oifits/*"], 14) if "bad_V1" not in path.name]


@ORIGINS
def test_all_products_convert(origin: str, tmp_path: Path) -> None:
    """13 of 13 real ones."""
    for path in products(origin, tmp_path / "made"):
        check_conversion(path, "oifits")


def test_points_of_oifits() -> None:
    path = shared("data/interferometry/oifits/GRAVI.2016-06-23T03-10-17.458_singlesciviscalibrated.fits")
    with open_product(path) as product:
        points = pa.Table.from_batches(product.find_part("OI_VIS2 points").read_batches(0, 10_000))
        found = open_converted(cut_product(product, create_selection(band=(2.1e-6, 2.2e-6))))[1].data
    with fits.open(path) as file:
        tables = [hdu for hdu in file if hdu.name == "OI_VIS2"]
        waves = {hdu.header["INSNAME"]: hdu.data for hdu in file if hdu.name == "OI_WAVELENGTH"}
        flat = np.concatenate([hdu.data["VIS2DATA"].ravel() for hdu in tables])
        wave = np.concatenate([np.tile(waves[hdu.header["INSNAME"]]["EFF_WAVE"], len(hdu.data)) for hdu in tables])
        first = tables[0].data
    assert np.array_equal(points["VIS2DATA"], flat, equal_nan=True)
    assert np.array_equal(points["EFF_WAVE"], wave)
    far = np.hypot(first["UCOORD"][0], first["VCOORD"][0]) / wave[0]
    assert points["SPATIAL_FREQUENCY"][0].as_py() == pytest.approx(far)
    assert set(points["TARGET"].to_pylist()) == {"IRAS17216-3801"}
    assert len(found) == ((wave >= 2.1e-6) & (wave <= 2.2e-6)).sum() > 0


@ORIGINS
def test_damaged_files_say_so(tmp_path: Path, origin: str) -> None:
    """Cut off at many places, and with bytes changed: a fault of its own or what is left, nothing else."""
    check_damage(products(origin, tmp_path / "made")[-1], tmp_path)


@pytest.mark.parametrize("origin", ["real", "made"])
def test_files_from_elsewhere(origin: str, tmp_path: Path) -> None:
    """Read by ranges: the same parts."""
    check_remote_reads(products(origin, tmp_path / "made")[-1])


@pytest.mark.parametrize("after", [0, 1, 4])
@ORIGINS
def test_servers_that_fail_are_no_damaged_files(
    after: int, origin: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fault of the server comes through, while a file is opened and while it is read."""
    path = max(products(origin, tmp_path / "made"), key=lambda path: path.stat().st_size)
    check_failing_server(path, after, monkeypatch)


def test_the_medium_is_told_by_what_a_file_begins_with(tmp_path: Path) -> None:
    medium = detect_product_file_format("a.txt", write_oifits(tmp_path).read_bytes()[:8192])
    assert medium is not None
    assert medium.name == "oifits"
