"""A cube in the page: the spectrum of a clicked pixel and the mean of a dragged region are astropy's; colours and zoom ask nothing; lines of Python read the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from astropy.io import fits
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site
from shared import shared

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = "/collections/maps/cube"
DESCRIPTOR = 'collection: maps\ntitle: Cubes of the sky\ndescription: Some cubes\nfiles: ["*.fits"]\n'
BANDS = np.array([60.1, 60.4, 61.0, 63.2, 63.3, 70.0, 72.5, 90.0])


def write_cube(folder: Path) -> None:
    """Make a cube as rebinned ones of PACS are: wavelengths in a table, errors, flags and coverage beside the data."""
    y, x = np.mgrid[:24, :32]
    lamps = np.exp(-((BANDS[:, None, None] - 63.25) ** 2) / 4 - ((x - 9) ** 2 + (y - 15) ** 2) / 30.0)
    data = (20 * lamps + np.random.default_rng(3).normal(0, 0.3, lamps.shape)).astype(">f4")
    data[:, :3, :4] = np.nan
    header = fits.Header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 83.6, "CRVAL2": 22.0, "CRPIX1": 16, "CRPIX2": 12, "CDELT1": -0.002, "CDELT2": 0.002,
            "CUNIT1": "deg", "CUNIT2": "deg", "CTYPE3": "WAVE-TAB", "CUNIT3": "um", "CRPIX3": 1, "CRVAL3": 1, "CDELT3": 1,
            "PS3_0": "wcs-tab", "PS3_1": "wavelen", "PV3_1": 1, "PV3_3": 1, "BUNIT": "Jy/pixel",
        }
    )  # fmt: skip
    column = fits.Column("wavelen", f"{len(BANDS)}D", unit="um", array=BANDS[None, :], dim=f"(1,{len(BANDS)})")
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.ImageHDU(data, header, name="image"),
            fits.ImageHDU(np.full_like(data, 0.3), header, name="error"),
            fits.ImageHDU(
                (np.arange(8)[:, None, None] == 5).astype("i2") * np.ones((24, 32), "i2"), header, name="flag"
            ),
            fits.BinTableHDU.from_columns([column], name="wcs-tab"),
        ]
    ).writeto(folder / "pacs.fits")


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("cubes") / "site"
    folder = site / "collections" / "maps"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text('name = "cubes"\n')
    (folder / "maps.yaml").write_text(DESCRIPTOR)
    write_cube(folder)
    for name in ("l1448_13co", "muse_Central_Datacube_bkg"):
        (folder / f"{name}.fits").write_bytes(shared(f"data/images/{name}.fits").read_bytes())
    run_hven("ingest", "maps", "--site", site)
    with serve_site(site) as server:
        yield server


@pytest.fixture
def tab(browser: Browser, cubes: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, cubes, viewport={"width": 1440, "height": 900})


@pytest.fixture
def phone_tab(browser: Browser, cubes: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, cubes, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)


def locate_pixel(page: Any, x: float, y: float) -> tuple[float, float]:
    """Give the place on the screen of the middle of a pixel, counted from 1."""
    left, top = page.evaluate("([x, y]) => window.hven.cube.picture.toScreen([x - 0.5, y - 0.5])", [x, y])
    box = page.locator("canvas.slice").bounding_box()
    return box["x"] + left, box["y"] + top


def spectrum(page: Any, heading: str) -> np.ndarray[Any, Any]:
    """Wait for a spectrum and give what is drawn, in the order of the slices."""
    page.wait_for_selector(f".cube .of:has-text('{heading}')")
    page.wait_for_selector(".cube .uplot")
    drawn, order = page.evaluate("() => [window.hven.spectrum.plot.data[3], window.hven.cube.spectrum.order]")
    values = np.empty(len(order))
    values[order] = [np.nan if value is None else value for value in drawn]
    return values


def read_middle_colour(page: Any) -> list[int]:
    """Give the colour in the middle of the picture."""
    page.wait_for_selector(".cube:not([aria-busy])")
    found: list[int] = page.evaluate(
        "() => { const c = document.querySelector('canvas.slice'); return [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data]; }"
    )
    return found


@pytest.mark.parametrize(
    ("name", "hdu", "x", "y"),
    [
        ("l1448_13co", 0, 44, 72),
        ("l1448_13co", 0, 105, 1),
        ("muse_Central_Datacube_bkg", 1, 90, 85),
        ("pacs", 1, 10, 16),
    ],
)
def test_the_spectrum_of_a_clicked_pixel_is_that_of_astropy(
    tab: BrowserTab, name: str, hdu: int, x: int, y: int
) -> None:
    page = tab.open_page(f"{HERE}/{name}.fits?_pixel=1,1")
    tab.wait_for_panes("cube")
    page.mouse.click(*locate_pixel(page, x, y))
    data = fits.getdata(tab_file(tab, name), hdu).astype("f8")
    found = spectrum(page, f"Pixel {x}, {y}")
    assert np.array_equal(found, data[:, y - 1, x - 1], equal_nan=True)
    assert "°" in page.inner_text(".cube .of")  # its position


def test_a_question_that_is_overtaken_writes_nothing_over_the_answer(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}/l1448_13co.fits?_pixel=44,72")
    tab.wait_for_panes("cube")
    spectrum(page, "Pixel 44, 72")
    page.route("**/*spectrum=20+20*", lambda route: None)  # which is never answered
    page.mouse.click(*locate_pixel(page, 20, 20))
    page.mouse.click(*locate_pixel(page, 60, 40))
    spectrum(page, "Pixel 60, 40")
    page.wait_for_timeout(400)  # it would have said "Reading ..." after 250 ms
    assert "Pixel 60, 40" in page.inner_text(".cube .of")


def tab_file(tab: BrowserTab, name: str) -> str:
    return f"{tab.base}/collections/maps/files/{name}.fits"


def test_colours_stretch_and_zoom_need_no_request(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}/l1448_13co.fits?_slice=27")
    tab.wait_for_panes("cube")
    page.wait_for_selector(".cube .uplot")
    before = read_middle_colour(page)
    tab.save_screenshot("cube")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.select_option("label:has-text('Colours') select", "heat")
    assert read_middle_colour(page) != before
    before = read_middle_colour(page)
    page.select_option("label:has-text('Stretch') select", "asinh")
    page.select_option("label:has-text('Limits') select", "0.9")
    assert read_middle_colour(page) != before
    page.click("[aria-label=Nearer]")
    page.mouse.move(*locate_pixel(page, 50, 50))
    page.mouse.wheel(0, -300)
    assert "03h2" in page.inner_text(".cube .readout")
    assert asked == []
    page.locator(".cube input[type=range]").press("ArrowRight")
    page.wait_for_selector("text=slice 28 of 53")
    assert "_slice=28" in page.url
    assert tab.find_accessibility_faults() == []


def test_a_region_a_ratio_and_python_lines_agree(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}/muse_Central_Datacube_bkg.fits?_slice=3")
    tab.wait_for_panes("cube")
    page.wait_for_selector(".cube .uplot")
    page.mouse.move(*locate_pixel(page, 10, 20))
    page.mouse.down()
    page.mouse.move(*locate_pixel(page, 14, 23))
    page.mouse.move(*locate_pixel(page, 15, 24))
    page.mouse.up()
    data = fits.getdata(tab_file(tab, "muse_Central_Datacube_bkg"), 1).astype("f8")
    found = spectrum(page, "Mean of 30 pixels")
    np.testing.assert_allclose(found, np.nanmean(data[:, 19:24, 9:15], axis=(1, 2)), rtol=1e-12)
    page.click("text=Ratio to this slice")
    page.click("[aria-label='Next slice']")
    page.wait_for_selector("text=slice 4 of 10")
    page.wait_for_selector(".cube:not([aria-busy])")
    ratio = page.evaluate("() => window.hven.cube.tiles[0].values[50 * 101 + 30]")
    assert ratio == np.float32(data[3, 50, 30] / data[2, 50, 30])
    names = run(page)
    assert np.array_equal(names["image"], data[3])
    np.testing.assert_allclose(names["ratio"], data[3] / data[2])
    np.testing.assert_allclose(names["spectrum"], found, rtol=1e-12)
    page.select_option("label:has-text('Drag') select", "circle")
    page.mouse.move(*locate_pixel(page, 40, 40))
    page.mouse.down()
    page.mouse.move(*locate_pixel(page, 43, 44))
    page.mouse.move(*locate_pixel(page, 44, 45))
    page.mouse.up()
    page.wait_for_selector(".of:not(:has-text('Mean of 30'))")
    np.testing.assert_allclose(run(page)["spectrum"], spectrum(page, "Mean of"), rtol=1e-6)


def run(page: Any) -> dict[str, Any]:
    """Run the lines of Python that the page gives; what makes astropy read parts of a file over HTTP need not be installed here."""
    names: dict[str, Any] = {}
    exec(page.locator(".cube .script code").text_content().replace(", use_fsspec=True", ""), names)
    return names


def test_planes_move_together_and_bands_keep_their_wavelengths(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}/pacs.fits")
    tab.wait_for_panes("cube")
    page.wait_for_selector(".cube .uplot")
    assert np.allclose(page.evaluate("() => window.hven.spectrum.plot.data[0]"), BANDS)
    page.mouse.click(*locate_pixel(page, 10, 16))
    spectrum(page, "Pixel 10, 16")
    assert "ERROR 0.3" in page.inner_text(".cube .of")
    assert page.evaluate("() => window.hven.cube.spectrum.line.flags") == [0, 0, 0, 0, 0, 1, 0, 0]
    page.click("[aria-label=Nearer]")
    look = page.evaluate("() => [window.hven.cube.picture.zoom, window.hven.cube.slice]")
    page.select_option("label:has-text('Part') select", label="ERROR (error)")
    page.wait_for_function("() => window.hven.cube.spectra.parts[0].name === 'ERROR'")
    assert (spectrum(page, "Pixel 10, 16") == np.float32(0.3)).all()
    assert page.evaluate("() => [window.hven.cube.picture.zoom, window.hven.cube.slice]") == look
    assert "_part=2" in page.url
    page.reload()
    page.wait_for_selector("[data-pane=cube][data-ready] .uplot")
    assert (spectrum(page, "Pixel 10, 16") == np.float32(0.3)).all()


def test_keys_alone(tab: BrowserTab) -> None:
    page = tab.open_page(f"{HERE}/pacs.fits?_pixel=5,5&lang=fr")
    tab.wait_for_panes("cube")
    page.focus("canvas.slice")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    data = fits.getdata(tab_file(tab, "pacs"), 1).astype("f8")
    assert np.array_equal(spectrum(page, "Pixel 7, 6"), data[:, 5, 6])
    assert "Copier en Python" in page.inner_text("main")


def test_a_phone(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page(f"{HERE}/l1448_13co.fits?_slice=27")
    phone_tab.wait_for_panes("cube")
    page.wait_for_selector(".cube .uplot")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    x, y = locate_pixel(page, 30, 60)
    page.touchscreen.tap(x, y)
    data = fits.getdata(tab_file(phone_tab, "l1448_13co"), 0).astype("f8")
    assert np.array_equal(spectrum(page, "Pixel 30, 60"), data[:, 59, 29], equal_nan=True)


def test_what_cannot_be_looked_into_says_so(tab: BrowserTab) -> None:
    tab.expected = ("404", "400")
    page = tab.open_page(f"{HERE}/nothing.fits")
    assert "nothing.fits" in page.inner_text("main")
