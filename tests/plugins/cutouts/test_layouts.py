"""Products of missions that can be had nowhere here, built to the layouts that their public readers read: GAIA-DEM's maps, NRH's images, ORFEES' spectra.

NRH: what SolarSoft's read_nrh takes, as
scripts over sunpy read it (rows of TIME in ms and STOKESI, SOLAR_R in pixels); ORFEES: five receivers, FREQ_B1 .. in one table, TIME_B1 .., STOKESI_B1 .. in another; GAIA-DEM: four images packed by Rice.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from hven.formats.media import open_product
from hven.model.errors import SourceError
from hven.plugins.cutouts.pixel_windows import CutoutSelection
from hven.plugins.cutouts.product_conversions import write_product_as_fits
from hven.plugins.cutouts.product_cutting import cut_product
from plugin_needs import draw_files
from shared import shared


def test_maps_of_gaia_dem_are_drawn_side_by_side(tmp_path):
    """Four images of one time, side by side and a part of each."""
    names = []
    for number, name in enumerate(("temp", "em", "width", "chi2")):
        data = np.random.default_rng(number).normal(6, 0.3, (64, 48)).astype("f4")
        hdu = fits.CompImageHDU(data, compression_type="RICE_1", quantize_level=16)
        hdu.header.update({"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN", "CRPIX1": 24.5, "CRPIX2": 32.5, "CDELT1": 2.4, "CDELT2": 2.4, "CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 0, "CRVAL2": 0, "DATE-OBS": "2012-08-10T00:05:01"})  # fmt: skip
        path = tmp_path / f"DEM_aia_2012-08-10T00_05_{name}.fits"
        hdu.writeto(path)
        names.append((path, path.name))
        with fits.open(path) as whole, open_product(path) as product:
            found = fits.open(
                io.BytesIO(b"".join(cut_product(product, CutoutSelection(longitude=(-0.01, 0.01))).read_chunks()))
            )
            assert np.array_equal(found[-1].data, whole[1].data[:, 9:39])
    four = Image.open(io.BytesIO(draw_files(names, 800)))
    assert min(four.size) > 600
    assert all(name.name in four.text["Description"] for name, _ in names)


def draw_and_read_description(path: Path) -> str:
    return Image.open(io.BytesIO(draw_files([(path, path.name)], 300))).text["Description"]


def nrh(path: Path) -> np.ndarray:
    y, x = np.mgrid[:32, :32] - 16.0
    images = np.stack([(at + 1) * np.exp(-((x - at) ** 2 + y**2) / 60) for at in range(5)]).astype("f4")
    columns = [
        fits.Column("TIME", "J", "ms", array=36_000_000 + 10_000 * np.arange(5)),
        fits.Column("STOKESI", "1024E", dim="(32,32)", array=images),
        fits.Column("STOKESV", "1024E", dim="(32,32)", array=images / 10),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"DATE-OBS": "2011-06-01", "FREQ": 432.0, "SOLAR_R": 8.0, "CRPIX1": 16.5, "CRPIX2": 16.5, "INSTRUME": "NRH2"})  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    return images


def orfees(path: Path) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    sizes, edges = (43, 21, 16, 8, 10), (144.0, 350.0, 545.0, 750.0, 860.0, 1004.0)
    waves = [
        np.linspace(low, high, size, endpoint=False) for low, high, size in zip(edges, edges[1:], sizes, strict=False)
    ]
    time = 28_800_000 + 100 * np.arange(200)
    spectra = [random.normal(size / 4, 1, (200, size)).astype("f4") for size in sizes]
    for one in spectra:
        one[80:90] += 30
    bands = fits.BinTableHDU.from_columns([fits.Column(f"FREQ_B{at}", f"{len(one)}D", "MHz", array=one[None]) for at, one in enumerate(waves, 1)])  # fmt: skip
    columns = []
    for at, one in enumerate(spectra, 1):
        columns += [fits.Column(f"TIME_B{at}", "J", "ms", array=time), fits.Column(f"STOKESI_B{at}", f"{one.shape[1]}E", array=one), fits.Column(f"STOKESV_B{at}", f"{one.shape[1]}E", array=one / 9)]  # fmt: skip
    first = fits.PrimaryHDU()
    first.header.update({"DATE-OBS": "2013-01-10T08:00:00.000", "INSTRUME": "ORFEES", "OBJECT": "Sun"})
    fits.HDUList([first, bands, fits.BinTableHDU.from_columns(columns)]).writeto(path)
    return np.concatenate(waves), np.hstack(spectra)


def test_images_of_nrh(tmp_path):
    """Images in cells are a cube over the times of their rows, of both polarizations: looked at, cut, drawn; the table stays as it is."""
    path = tmp_path / "nrh2_4320_h70_20110601_100000c04_i.fts"
    images = nrh(path)
    both = np.stack([images, images / 10])
    with open_product(path) as product:
        array, table = product.parts
        assert [axis.kind for axis in array.axes] == ["polarization", "time", "", ""]
        assert np.array_equal(array.read([slice(0, 2), slice(1, 4), slice(2, 30), slice(0, 5)]), both[:, 1:4, 2:30, :5])
        assert array.axes[1].read_values() == pytest.approx(55713 + (36_000 + 10 * np.arange(5)) / 86_400, abs=1e-9)
        assert product.find_part("1") is table
        assert product.find_part() is array
        found = fits.open(io.BytesIO(b"".join(write_product_as_fits(product).read_chunks())))
        begin = 55713 + 36_000 / 86_400
        wanted = CutoutSelection(
            time=(begin + 16 / 86_400, begin + 24 / 86_400), polarizations=("V",), pixels={1: (5, 20)}
        )
        part = fits.open(io.BytesIO(b"".join(cut_product(product, wanted).read_chunks())))
        rows = fits.open(io.BytesIO(b"".join(cut_product(product, CutoutSelection(time=(begin + 9 / 86_400, begin + 21 / 86_400)), part_name="1").read_chunks())))  # fmt: skip
    assert len(found) == 2
    assert np.array_equal(found[1].data["STOKESI"], images)
    header = part[1].header
    assert np.array_equal(part[1].data, both[1:, 2:3, :, 4:20])
    assert (header["CTYPE3"], header["CRPIX1"], header["SOLAR_R"]) == ("TIME", 12.5, 8.0)
    assert WCS(header, fix=False).wcs_pix2world([[1, 1, 1, 1]], 1)[0][2] + header["MJDREF"] == pytest.approx(begin + 20 / 86_400, abs=1e-9)  # fmt: skip
    assert not any(word.startswith(("TTYPE", "TDIM", "TFORM")) for word in header)
    assert np.array_equal(rows[1].data["STOKESV"], images[1:3] / 10)
    assert "polarization I, plane 3 of 5 (2011-06-01 10:00:20)" in draw_and_read_description(path)


def test_spectra_of_orfees_are_cut(tmp_path):
    """Five receivers are one dynamic spectrum over the times of their rows."""
    path = tmp_path / "int_orf20130110_080000_0.1.fts"
    waves, values = orfees(path)
    with open_product(path) as product:
        array = product.find_part()
        assert np.array_equal(array.read([slice(0, 1), slice(78, 92), slice(40, 50)])[0], values[78:92, 40:50])
        assert np.array_equal(array.axes[2].read_file_values(), waves)
        assert array.axes[2].read_values()[0] == pytest.approx(299.792458 / 144.0)
        found = fits.open(io.BytesIO(b"".join(write_product_as_fits(product).read_chunks())))
        begin = 56302 + 28_800 / 86_400
        wanted = CutoutSelection(
            time=(begin + 8.46 / 86_400, begin + 8.84 / 86_400), band=(299.792458 / 600, 299.792458 / 500)
        )
        part = fits.open(io.BytesIO(b"".join(cut_product(product, wanted).read_chunks())))
    assert np.array_equal(np.hstack([found[2].data[f"STOKESI_B{at}"] for at in range(1, 6)]), values)
    inside = np.flatnonzero((waves >= 500) & (waves <= 600))
    whole = slice(
        inside[0] - 1, inside[-1] + 1
    )  # a channel reaches half-way to its neighbours: 498.6 MHz is in, 609.1 is not
    assert np.array_equal(part[1].data[0], values[85:89, whole])
    assert np.array_equal(part[1].data[1], values[85:89, whole] / 9)
    world = WCS(part[1].header, fobj=part, fix=False).wcs_pix2world([[1, 1, 1], [whole.stop - whole.start, 4, 2]], 1)
    assert 299.792458 / world[:, 0] == pytest.approx(waves[whole][[0, -1]], rel=1e-12)
    assert world[:, 1] + part[1].header["MJDREF"] == pytest.approx(begin + np.array([8.5, 8.8]) / 86_400, abs=1e-9)
    assert "STOKES, polarization I, logarithms" in draw_and_read_description(path)


def test_receivers_that_do_not_go_together(tmp_path):
    """Whose times differ by more than a sample are not cut by time; by frequency they are."""
    path = tmp_path / "orf.fts"
    orfees(path)
    with fits.open(path, mode="update") as hdus:
        hdus[2].data["TIME_B3"] += 500
    with open_product(path) as product:
        with pytest.raises(SourceError, match="different times"):
            cut_product(product, CutoutSelection(time=(56302.3, 56302.5)))
        assert cut_product(product, CutoutSelection(band=(0.5, 0.6)))


def test_a_dynamic_spectrum_in_one_row(tmp_path):
    values = np.random.default_rng(1).normal(9, 1, (6, 40)).astype("f4")
    columns = [
        fits.Column("TIME", "40D", "s", array=np.arange(40.0)[None] / 4),
        fits.Column("FREQUENCY", "6D", "MHz", array=np.array([[20.0, 30, 40, 60, 70, 80]])),
        fits.Column("DATA", "240E", dim="(40,6)", array=values[None]),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["DATE-OBS"] = "2020-05-04T10:00:00"
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "one.fits")
    with open_product(tmp_path / "one.fits") as product:
        second = 1 / 86_400
        begin = 58973 + 10 / 24
        found = fits.open(io.BytesIO(b"".join(cut_product(product, CutoutSelection(time=(begin + 2 * second, begin + 3 * second), band=(299.8 / 62, 299.7 / 38))).read_chunks())))  # fmt: skip
    assert np.array_equal(found[1].data, values[2:4, 8:13])


def test_spectra_of_callisto():
    """Its header counts seconds and channels; what they are stands in a table, and goes with a cut."""
    path = shared("data/radio/ecallisto/BIR_20110607_062400_10.fit")
    with fits.open(path) as hdus, open_product(path) as product:
        spectra, (times,), (waves,) = hdus[0].data, hdus[1].data["TIME"], hdus[1].data["FREQUENCY"]
        array = product.find_part()
        begin = array.axes[1].read_values()[0]
        assert begin == pytest.approx(55719 + (6 * 3600 + 24 * 60) / 86_400, abs=1 / 86_400)
        assert np.array_equal(array.axes[0].read_file_values(), waves)
        found = fits.open(io.BytesIO(b"".join(cut_product(product, CutoutSelection(time=(begin + 60.1 / 86_400, begin + 60.9 / 86_400), band=(299.792458 / 60, 299.792458 / 50))).read_chunks())))  # fmt: skip
        at = np.flatnonzero((waves >= 50) & (waves <= 60))
        some = np.flatnonzero((times >= 60.0) & (times <= 61.0))
        kept = found[1].data
        assert abs(kept.shape[0] - len(at)) <= 2
        assert abs(kept.shape[1] - len(some)) <= 2
        world = WCS(found[1].header, fobj=found, fix=False).wcs_pix2world([[1, 1]], 1)[0]
        channel = int(np.argmin(np.abs(waves - 299.792458 / world[1])))
        moment = int(np.argmin(np.abs(times / 86_400 + begin - world[0] - found[1].header["MJDREF"])))
        assert np.array_equal(kept, spectra[channel : channel + kept.shape[0], moment : moment + kept.shape[1]])
