"""The map of Mars in a real browser: views, layers, values, names, rows, measures, times, the address, a phone, no scripts."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from browser_tab import BrowserTab

MARS = "/maps/Mars"
LAYERS = "psup/MARSTOPO_16,psup/olivine_osp1~0.5"
RADIUS_KM = 3396.19


def open_map(tab: BrowserTab, query: str = "") -> Any:
    page = tab.open_page(f"{MARS}?{query}")
    tab.wait_for_panes("planet_map")
    wait_for_tiles(page)
    return page


def wait_for_tiles(page: Any) -> None:
    page.wait_for_function("() => window.hven.planet.view && !window.hven.planet.view.isBusy")


def find_pixel(page: Any, lon: float, lat: float) -> tuple[float, float]:
    """Find where a place is on the page."""
    x, y = page.evaluate(
        """([lon, lat]) => {
          const { tiles, view } = window.hven.planet;
          const { left, top } = tiles.getBoundingClientRect();
          const [x, y] = view.projection.toPixel(lon, lat);
          return [left + x, top + y];
        }""",
        [lon, lat],
    )
    return x, y


def read_colour(page: Any, lon: float, lat: float) -> list[int]:
    """Read the colour of a place in the picture that the page saves, without what is painted above the layers."""
    colour: list[int] = page.evaluate(
        """([lon, lat]) => {
          const { overlay, view } = window.hven.planet;
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [overlay.width, overlay.height];
          const ctx = canvas.getContext("2d");
          view.copyPicture(ctx);
          ctx.setTransform(1, 0, 0, 1, 0, 0);
          const [x, y] = view.projection.toPixel(lon, lat).map((part) => Math.round(part * (devicePixelRatio || 1)));
          return [...ctx.getImageData(x, y, 1, 1).data];
        }""",
        [lon, lat],
    )
    return colour


def fetch_value(page: Any, tab: BrowserTab, layer: str, lon: float, lat: float) -> float | None:
    address = f"{tab.base}{MARS}/value?layer={layer}&lon={lon}&lat={lat}"
    value: float | None = page.request.get(address).json()["value"]
    return value


@pytest.mark.parametrize("view", ["flat", "globe", "north", "south"])
def test_all_views_show_the_same_colours_at_the_same_places(tab: BrowserTab, view: str) -> None:
    """The stops of the elevation's colours are those of the descriptor, so the picture is compared with the values."""
    lat = {"north": 78.0, "south": -78.0}.get(view, 20.0)
    page = open_map(tab, f"_view={view}&_layers=psup/MARSTOPO_16")
    stops = page.evaluate(
        "() => window.hven.planet.mapDocument.layers.find((one) => one.layer === 'MARSTOPO_16').colours"
    )
    for lon in (-40.0, 15.0, 50.0):
        value = fetch_value(page, tab, "psup/MARSTOPO_16", lon, lat)
        assert value is not None
        colour = next(
            [
                a + (b - a) * (value - low) / (high - low)
                for a, b in zip(parse_hex(first), parse_hex(second), strict=True)
            ]
            for (first, low), (second, high) in itertools.pairwise(stops)
            if low <= value <= high
        )
        seen = read_colour(page, lon, lat)
        assert max(abs(a - b) for a, b in zip(seen, colour, strict=False)) < 40, (lon, lat, seen, colour)
        x, y = find_pixel(page, lon, lat)
        page.mouse.move(x, y)
        page.wait_for_function("() => /N|S/.test(document.querySelector('.planet-readout span').textContent)")
        page.wait_for_selector(".planet-readout b:text-matches(' m$')")
    tab.save_screenshot(f"map-of-mars-{view}")


def parse_hex(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def test_layers_are_added_ordered_and_faded_and_the_address_reopens_the_map(tab: BrowserTab) -> None:
    page = open_map(tab)
    page.click("label:has-text('Elevation (MOLA)')")
    page.check("label:has-text('Olivine, magnesium') input")
    page.check("label:has-text('Pyroxene') input")
    assert page.locator(".planet-shown b:first-child").all_inner_texts()[0] == "Pyroxene, 2 µm band"
    page.click("button[aria-label^='Move Pyroxene'][aria-label$='down']")
    page.locator("input[aria-label='Opacity of Olivine, magnesium (OSP1)']").fill("30")
    page.wait_for_url(re.compile(r"_layers="))
    page.click("button:text-is('Globe')")
    page.focus(".planet-tiles")
    for _ in range(3):
        page.keyboard.press("+")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => new URLSearchParams(location.search).get('_at')")
    page.wait_for_function("() => new URLSearchParams(location.search).get('_view') === 'globe'")
    page.wait_for_function(
        "() => Math.abs(Number(new URLSearchParams(location.search).get('_at').split(',')[0]) - window.hven.planet.view.position.lon) < 0.01"
    )
    state = "() => JSON.stringify([window.hven.planet.choices, window.hven.planet.kind, Math.round(window.hven.planet.view.position.scale)])"
    before = page.evaluate(state)
    assert json.loads(before)[0] == [
        {"id": "psup/MARSTOPO_16", "opacity": 1},
        {"id": "psup/pyroxene_bd2000", "opacity": 1},
        {"id": "psup/olivine_osp1", "opacity": 0.3},
    ]
    page.goto(page.url)
    tab.wait_for_panes("planet_map")
    assert page.evaluate(state) == before
    assert tab.find_accessibility_faults() == []


def test_lengths_and_areas_are_those_of_the_body(tab: BrowserTab) -> None:
    page = open_map(tab)
    page.click("button:text-is('Measure')")
    for lon, lat in ((200, 0), (210, 0), (210, 10)):
        x, y = find_pixel(page, lon, lat)
        page.mouse.click(x, y)
    page.wait_for_selector(".planet-result:has-text('km²')")
    places = page.evaluate("() => window.hven.planet.measure.places")
    assert len(places) == 3
    text = page.inner_text(".planet-result")
    length = float(re.search(r"Length ([\d,.]+) km", text)[1].replace(",", ""))  # type: ignore[index]
    assert length == pytest.approx(2 * 10 * RADIUS_KM * 3.14159265 / 180, rel=0.01)  # a click is as exact as a pixel
    assert "_measure=" in page.url


def test_outlines_lead_to_record_file_and_query(tab: BrowserTab) -> None:
    page = open_map(tab, "_catalogues=hydrated.epn_core&_at=-18,22,6000")
    page.wait_for_function("() => [...window.hven.planet.catalogues.shown][0]?.rows.length")
    lon, lat = page.evaluate(
        """() => {
          const { catalogues, view } = window.hven.planet;
          const inside = (row) => {
            const ring = row.rings[0];
            const sum = ring.reduce(([x, y], point) => [x + point[0], y + point[1]], [0, 0]);
            const place = [sum[0] / ring.length, sum[1] / ring.length];
            const pixel = view.projection.toPixel(...place);
            const { width, height } = view.size;
            const isSeen = pixel && pixel[0] > 80 && pixel[1] > 80 && pixel[0] < width - 80 && pixel[1] < height - 80;
            return isSeen && catalogues.findRows(pixel, place).some((one) => one.row === row) ? place : null;
          };
          const [catalogue] = catalogues.shown;
          const size = (row) => (row.box[2] - row.box[0]) * (row.box[3] - row.box[1]);
          return [...catalogue.rows].sort((one, other) => size(other) - size(one)).map(inside).find(Boolean);
        }"""
    )
    x, y = find_pixel(page, lon, lat)
    page.mouse.click(x, y)
    page.wait_for_selector(".planet-picked a:text-is('Record')")
    page.wait_for_selector(".planet-picked a:text-matches('File site_.*fits')")
    link = page.locator(".planet-picked a:text-matches('File site_.*fits')").first.get_attribute("href")
    assert page.request.get(link).body().startswith(b"SIMPLE")
    plot = page.locator(".planet-picked details[open] img")
    plot.wait_for()
    page.wait_for_function("() => document.querySelector('.planet-picked details[open] img').naturalWidth >= 400")
    plot.click()
    page.wait_for_selector("dialog.lightbox img")
    page.keyboard.press("Escape")
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("map-of-mars-rows")
    page.click(".planet-picked button:text-is('As ADQL')")
    page.wait_for_url(re.compile(r"/adql\?QUERY="))
    assert "CONTAINS" in page.url


def test_names_and_coordinates_are_found(tab: BrowserTab) -> None:
    page = open_map(tab)
    page.fill(".planet-search input", "olym")
    page.wait_for_selector(".planet-search li:has-text('Olympus Mons')")
    page.keyboard.press("Enter")
    position = page.evaluate("() => window.hven.planet.view.position")
    assert position["lon"] % 360 == pytest.approx(226.2, abs=0.01)
    assert position["lat"] == pytest.approx(18.65, abs=0.01)
    page.fill(".planet-search input", "12.5 W, 30 S")
    page.keyboard.press("Enter")
    position = page.evaluate("() => window.hven.planet.view.position")
    assert position["lon"] == pytest.approx(-12.5, abs=0.01)
    assert position["lat"] == pytest.approx(-30, abs=0.01)
    page.select_option(".planet-options select", "west360")
    page.focus(".planet-tiles")
    page.keyboard.press("Enter")
    assert page.inner_text(".planet-readout span").startswith("12.50° W  30.")
    milliseconds = page.evaluate(
        """async () => {
          const { search } = window.hven.planet;
          search.setNames(Array.from({ length: 16000 }, (_, index) => ({ name: `Crater Name ${index}`, lon: 0, lat: 0, size: 1 })));
          search.input.value = "name 159";
          const times = [];
          for (let run = 0; run < 9; run++) { const begin = performance.now(); search.update(); times.push(performance.now() - begin); }
          return times.sort((one, other) => one - other)[4];
        }"""
    )
    print(f"a search in 16,000 names takes {milliseconds:.1f} ms")


def test_times_have_a_slider(tab: BrowserTab) -> None:
    page = open_map(tab, "_view=south&_layers=psup/viking,psup/south_frost")
    page.wait_for_selector(".planet-dimensions output:text-is('2005-03-01')")
    page.locator("input[aria-label='Time']").fill("0")
    page.wait_for_selector(".planet-dimensions output:text-is('2004-06-01')")
    page.wait_for_selector("[data-layer='psup/south_frost'] small:text-is('2004-06-01')")
    wait_for_tiles(page)
    assert "_time=2004-06-01" in page.url
    assert page.locator("input[aria-label='Wavelength']").is_hidden()


def test_wavelengths_have_a_slider(tab: BrowserTab) -> None:
    """The values and the colours are those of the chosen band, also in the reopened page and on the globe."""
    page = open_map(tab, "_layers=psup/viking,psup/reflectance&_at=30,10,9000")
    page.wait_for_selector(".planet-dimensions output:text-is('0.77 µm')")
    slider = page.locator("input[aria-label='Wavelength']")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".planet-dimensions output:text-is('1.08 µm')")
    page.keyboard.press("End")
    page.wait_for_selector("[data-layer='psup/reflectance'] small:text-is('2.26 µm')")
    assert slider.get_attribute("aria-valuetext") == "2.26 µm"
    page.wait_for_url(re.compile(r"_wavelength=2\.26"))
    assert tab.find_accessibility_faults() == []
    page.goto(page.url.replace("_layers", "_view=globe&_layers"))
    tab.wait_for_panes("planet_map")
    wait_for_tiles(page)
    x, y = find_pixel(page, 30, 10)
    with page.expect_response(lambda answer: "/value?" in answer.url) as answered:
        page.mouse.move(x, y)
    assert answered.value.json()["wavelength"] == 2.26
    value = answered.value.json()["value"]
    assert f"{value:.4f}"[:5] in page.inner_text(".planet-readout b")
    others = [fetch_value(page, tab, f"psup/reflectance&WAVELENGTH={number}", 30, 10) for number in (0.77, 1.08)]
    assert len({value, *others}) == 3
    tab.save_screenshot("map-of-mars-wavelengths")


def test_the_picture_has_all_layers(tab: BrowserTab) -> None:
    page = open_map(tab, f"_layers={LAYERS}")
    with page.expect_download() as download:
        page.click("button[aria-label='Download the picture']")
    assert download.value.suggested_filename == "Mars.png"


def test_a_globe_without_webgl_is_a_picture(tab: BrowserTab) -> None:
    tab.page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, options) {"
        " return kind === 'webgl' ? null : get.call(this, kind, options); };"
    )
    page = open_map(tab, "_view=globe&_layers=psup/MARSTOPO_16")
    assert page.evaluate("() => window.hven.planet.view.renderer.constructor.name !== undefined")
    assert read_colour(page, 10.0, 10.0)[3] == 255


def test_a_phone_shows_the_map_and_the_panel(phone_tab: BrowserTab) -> None:
    page = open_map(phone_tab, "_view=globe")
    page.touchscreen.tap(*find_pixel(page, 10, 10))
    page.wait_for_selector(".planet-readout span:text-matches('E')")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert phone_tab.find_accessibility_faults() == []
    phone_tab.save_screenshot("map-of-mars-phone")


def test_without_scripts_there_is_a_picture_and_all_layers_are_listed(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page(MARS)
    assert page.evaluate("() => document.querySelector('.planet-picture img').naturalWidth") == 1024
    assert page.locator("#layers tbody tr").count() == 13
    assert "made up" in page.inner_text("body").lower()
    page = scriptless_tab.open_page("/maps?lang=fr")
    assert "Cartes de planètes" in page.inner_text("h1")
