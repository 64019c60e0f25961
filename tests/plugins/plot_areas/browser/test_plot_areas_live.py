"""Boxes and lassos in plots: drawn with the pointer, the keyboard, or written without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIDE, LARGE_SIDE = 20, 400  # rows along each side of the tables
DESCRIPTOR = """\
collection: lattice
title: Lattice
tables:
  small:
    source: small.csv
    primary: id
    columns:
      id: int32
      x: {type: float64, unit: m, description: across}
      y: {type: float64, description: up}
      power: {type: float64, description: powers of ten}
      seen: {type: timestamp, ucd: time.epoch}
      kind: string
  large:
    source: large.csv
    primary: id
    columns: {id: int32, x: float64, y: float64}
"""
PLOT = "[data-pane=plot][data-ready] canvas"
COUNT = "[data-count] b:text-is('{count}')"
TRIANGLE = ((2.5, 2.5), (13, 2.5), (2.5, 13))  # no row lies on its sides


def write_lattice(directory: object, name: str, side: int) -> None:
    """Write a row for each whole number x and y below `side`."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(side), np.arange(side)))
    lines = ["id,x,y" if name == "large" else "id,x,y,power,seen,kind"]
    days = np.datetime64("1850-01-01") + x
    for number in range(side * side):
        line = f"{number},{x[number]},{y[number]}"
        if name == "small":
            line += f",{10.0 ** (x[number] - 10)},{days[number]}T00:00:00,kind {y[number] % 4}"
        lines.append(line)
    (directory / f"{name}.csv").write_text("\n".join(lines))  # type: ignore[operator]


@pytest.fixture(scope="module")
def lattice_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("lattice") / "site"
    run_hven("init", site)
    directory = site / "collections" / "lattice"
    directory.mkdir(parents=True)
    (directory / "lattice.yaml").write_text(DESCRIPTOR)
    write_lattice(directory, "small", SIDE)
    write_lattice(directory, "large", LARGE_SIDE)
    run_hven("--site", site, "ingest", "lattice")
    with serve_site(site) as server:
        yield server


@pytest.fixture
def lattice(browser: Browser, lattice_server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, lattice_server, viewport={"width": 1440, "height": 1000})


def open_plot(tab: BrowserTab, table: str, parameters: str) -> Page:
    page = tab.open_page(f"/collections/lattice/{table}?_plot={parameters}")
    page.wait_for_selector("table.live tr[data-key]")
    page.locator(".plot").scroll_into_view_if_needed()
    page.wait_for_selector(PLOT)
    page.locator(".plot-areas").scroll_into_view_if_needed()
    tab.wait_for_panes("plot", "plot_areas")
    page.wait_for_selector(".u-over svg.plot-selection")
    return page


def find_pixel(page: Page, place: Sequence[float]) -> tuple[float, float]:
    """Return where a place of the plot is on the screen."""
    x, y = page.evaluate(
        """([x, y]) => {
            const { plot } = window.hven;
            const { left, top } = plot.over.getBoundingClientRect();
            return [left + plot.valToPos(x, "x"), top + plot.valToPos(y, "y")];
        }""",
        list(place),
    )
    return x, y


def drag(page: Page, *places: Sequence[float]) -> None:
    """Drag from one place of the plot to others."""
    pixels = [find_pixel(page, place) for place in places]
    page.mouse.move(*pixels[0])
    page.mouse.down()
    for pixel in pixels[1:]:
        page.mouse.move(*pixel, steps=10)
    page.mouse.up()


def wait_for_count(page: Page, count: int) -> None:
    page.wait_for_selector(COUNT.format(count=f"{count:,}"))


def read_parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def count_in_triangle(side: int) -> int:
    """Count the whole numbers in the triangle."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    return int(((x > 2.5) & (y > 2.5) & (x + y < 15.5)).sum())


def test_a_box_becomes_ranges_of_both_columns(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "small", "x;y")
    wait_for_count(page, 400)
    drag(page, (3.5, 9.4), (8.5, 5.6))
    wait_for_count(page, 5 * 4)
    ranges = read_parameters(page)
    for name, wanted in (("x", (3.5, 8.5)), ("y", (5.6, 9.4))):
        ends = [float(end) for end in ranges[name][0].split("..")]
        assert ends == pytest.approx(wanted, abs=0.05)
        assert len(ranges[name][0]) < 20
    page.wait_for_function("() => document.querySelector('input[name=x]').value.startsWith('3.')")
    assert page.locator("[data-chips] a").count() == 2
    page.wait_for_selector(".plot .told:has-text('20 rows')")
    drag(page, (4.5, 7), (6.5, 7))  # along one axis
    wait_for_count(page, 2 * 4)
    assert read_parameters(page)["y"] == ranges["y"]
    page.go_back()
    wait_for_count(page, 20)
    page.go_back()
    wait_for_count(page, 400)
    assert page.locator("[data-chips] a").count() == 0


def test_a_lasso_becomes_an_area_that_everything_honours(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "small", "x;y")
    page.click(".plot-areas button:text-is('Lasso')")
    drag(page, *TRIANGLE)
    count = count_in_triangle(SIDE)
    wait_for_count(page, count)
    area = read_parameters(page)["_area"][0]
    assert area.startswith("x;y;")
    assert len(area) < 500
    chip = page.locator("[data-chips] a")
    assert chip.inner_text().startswith("Area x;y;")
    page.wait_for_selector(f".plot .told:has-text('{count} rows')")
    assert page.get_attribute("svg.plot-selection .searched", "d")
    page.wait_for_selector(".choice:has-text('kind 0')", state="attached")
    query = urlsplit(page.url).query
    lines = page.request.get(f"{lattice.base}/collections/lattice/small/download?_as=csv&_all=1&{query}").text()
    rows = [line.split(",") for line in lines.splitlines()[1:] if line and not line.startswith("#")]
    assert len(rows) == count
    facets = page.request.get(f"{lattice.base}/collections/lattice/small/facets?{query}").json()["facets"]
    (kinds,) = [facet for facet in facets if facet["column"] == "kind"]
    assert sum(choice["rows"] for choice in kinds["choices"]) == count
    page.click("details.adql summary")
    assert "BETWEEN" in page.inner_text("[data-adql]")
    assert lattice.find_accessibility_faults() == []
    page.emulate_media(color_scheme="dark")
    assert lattice.find_accessibility_faults("color-contrast") == []
    chip.click()
    wait_for_count(page, 400)
    assert "_area" not in page.url


def test_an_area_over_logarithms_holds_the_points_inside(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "small", "power;y;;x")
    page.click(".plot-areas button:text-is('Lasso')")
    drag(page, *((10.0 ** (x - 10), y) for x, y in TRIANGLE))
    wait_for_count(page, count_in_triangle(SIDE))
    assert read_parameters(page)["_area"][0].endswith(";x")
    page.reload()
    page.wait_for_selector(PLOT)
    wait_for_count(page, count_in_triangle(SIDE))


def test_a_box_over_times_before_1900(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "small", "seen;y")
    epoch = 2396758.5  # Julian date of 1850-01-01
    drag(page, (epoch + 4.5, 3.5), (epoch + 6.5, 8.5))
    wait_for_count(page, 2 * 5)
    assert read_parameters(page)["seen"][0].startswith("1850-01-05T")


def test_an_area_of_a_density_finds_rows_by_their_values(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "large", "x;y")
    page.wait_for_selector(".plot .told:has-text('density')")
    drag(page, (99.5, 299.5), (199.5, 100.5))
    corners = read_parameters(page)
    low, high = (float(end) for end in corners["x"][0].split(".."))
    first, last = (float(end) for end in corners["y"][0].split(".."))
    values = np.arange(LARGE_SIDE)
    count = int(((values >= low) & (values <= high)).sum() * ((values >= first) & (values <= last)).sum())
    assert count == pytest.approx(100 * 199, rel=0.03)
    wait_for_count(page, count)


def test_the_bars_of_a_histogram_become_a_range(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "small", "x")
    assert page.is_hidden(".plot-areas button:text-is('Lasso')")
    drag(page, (5.02, 5), (9.9, 10))
    wait_for_count(page, 4 * SIDE)


def test_the_keyboard_draws_boxes_and_lassos(lattice: BrowserTab) -> None:
    page = open_plot(lattice, "small", "x;y")
    page.focus(".plot-areas button:text-is('Box')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".plot-areas [role=status]:has-text('arrows move')")
    page.keyboard.press("Enter")
    assert "needs 2 corners" in page.inner_text(".plot-areas [role=status]")
    page.keyboard.press("Space")
    assert page.inner_text(".plot-areas [role=status]") == "Corners: 1"
    for _ in range(8):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
    assert "up " in page.inner_text(".plot-areas [role=status]").lower() or "y " in page.inner_text(
        ".plot-areas [role=status]"
    )
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-chips] a[data-name=x]")
    assert set(read_parameters(page)) == {"_plot", "x", "y"}
    page.wait_for_selector(".u-over svg.plot-selection")
    page.focus(".plot-areas button:text-is('Lasso')")
    page.keyboard.press("Enter")
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight"):
        page.keyboard.press("Space")
        for _ in range(4):
            page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-chips] a[data-name=_area]")
    page.keyboard.press("Escape")


def test_an_area_is_written_without_scripts(browser: Browser, lattice_server: Server) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "java_script_enabled": False}
    for tab in open_tab(browser, lattice_server, **options):
        page = tab.open_page("/collections/lattice/small?y=..9&_plot=x;y")
        page.click("summary:has-text('Search in an area of the plot')")
        page.fill("textarea[name=_area]", "x; y; 0.5 0.5, 3.5 0.5, 3.5 19, 0.5 19")
        tab.follow_link(".plot-areas button:text-is('Search')")
        assert page.inner_text("[data-count] b") == str(3 * 9)
        assert page.locator("[data-chips] a").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click("summary:has-text('Search in an area of the plot')")
        page.fill("textarea[name=_area]", "x; z; 1 2")
        tab.follow_link(".plot-areas button:text-is('Search')")
        assert "no column 'z' of numbers or times" in page.inner_text("main")
        assert page.input_value("textarea[name=_area]") == "x; z; 1 2", "the text stays for its correction"


def test_a_finger_scrolls_until_a_tool_is_pressed(browser: Browser, lattice_server: Server) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    for tab in open_tab(browser, lattice_server, **phone):
        page = open_plot(tab, "small", "x;y")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        style = "getComputedStyle(document.querySelector('svg.plot-selection')).touchAction"
        assert page.evaluate(style) == "auto"
        page.click(".plot-areas button:text-is('Lasso')")
        assert page.evaluate(style) == "none"
        assert tab.find_accessibility_faults() == []
