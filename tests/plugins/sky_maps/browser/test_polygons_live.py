"""Polygons on the Sun's disc and on bodies whose rows are boxes: drawn with the pointer, the keyboard, or written without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import shapely
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESCRIPTOR = """\
collection: sun
title: Regions of the Sun
subjects: [sun]
tables:
  regions:
    title: Regions of the disc
    source: regions.csv
    primary: id
    columns:
      id: int32
      c1min: {type: float64, unit: arcsec}
      c1max: {type: float64, unit: arcsec}
      c2min: {type: float64, unit: arcsec}
      c2max: {type: float64, unit: arcsec}
      kind: string
  tracks:
    title: Tracks on Mars
    source: tracks.csv
    primary: id
    columns:
      id: int32
      c1min: {type: float64, unit: deg}
      c1max: {type: float64, unit: deg}
      c2min: {type: float64, unit: deg}
      c2max: {type: float64, unit: deg}
  marks:
    title: Marks on the Sun
    source:
      kind: push
      columns: {id: int64, c1min: float64, c1max: float64, c2min: float64, c2max: float64}
      ids: id
      writers: [mia]
    entries: {submitters: [anna]}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      c1min: {type: float64, unit: arcsec}
      c1max: {type: float64, unit: arcsec}
      c2min: {type: float64, unit: arcsec}
      c2max: {type: float64, unit: arcsec}
"""
TRIANGLE = ((-500, -400), (600, -300), (-100, 700))
COUNT = "[data-count] b:text-is('{count}')"


def write_boxes(path: Path, boxes: np.ndarray, kinds: int) -> None:
    """Write boxes as west, east, south, north."""
    lines = ["id,c1min,c1max,c2min,c2max" + ",kind" * bool(kinds)]
    for number, box in enumerate(boxes.tolist()):
        values = [str(number), *(f"{value:.2f}" for value in box), *([f"kind {number % kinds}"] if kinds else [])]
        lines.append(",".join(values))
    path.write_text("\n".join(lines), encoding="utf-8")


def list_regions() -> np.ndarray:
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-900, 901, 100.0), np.arange(-900, 901, 100.0)))
    return np.column_stack([x - 15, x + 15, y - 10, y + 10])


def list_tracks() -> np.ndarray:
    lon, lat = (axis.ravel() for axis in np.meshgrid(np.arange(0, 360, 10.0), np.arange(-80, 81, 10.0)))
    return np.column_stack([(lon - 2) % 360, lon + 2, lat - 1, lat + 1])


@pytest.fixture(scope="module")
def sun_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("sun") / "site"
    run_hven("init", site)
    directory = site / "collections" / "sun"
    directory.mkdir(parents=True)
    (directory / "sun.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    write_boxes(directory / "regions.csv", list_regions(), 3)
    write_boxes(directory / "tracks.csv", list_tracks(), 0)
    run_hven("--site", site, "ingest", "sun")
    with serve_site(site) as server:
        yield server


@pytest.fixture
def sun(browser: Browser, sun_server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, sun_server, viewport={"width": 1440, "height": 1000})


def open_map(tab: BrowserTab, table: str, query: str = "") -> Page:
    page = tab.open_page(f"/collections/sun/{table}?_map=1{query}")
    page.wait_for_selector("table.live tr[data-key]")
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".map .told:has-text('rows')")
    page.wait_for_function("() => window.hven.body && !window.hven.body.globe.frameRequest")
    return page


def draw_polygon(page: Page, corners: Sequence[Sequence[float]]) -> shapely.Polygon:
    """Draw a polygon with the pointer, and return the one of the address."""
    places = [page.evaluate("([x, y]) => window.hven.body.globe.locateOnPage(x, y)", list(at)) for at in corners]
    page.click(".map button:text-is('Draw a polygon')")
    for place in places:
        page.mouse.click(place["x"], place["y"])
    page.click(".map button:text-is('Draw a polygon')")
    page.wait_for_selector("[data-chips] a[data-name='_polygon']")
    return read_polygon(page)


def read_polygon(page: Page) -> shapely.Polygon:
    (text,) = parse_qs(urlsplit(page.url).query)["_polygon"]
    return shapely.Polygon([[float(word) for word in corner.split()] for corner in text.split(",")])


def count_touched(boxes: np.ndarray, polygon: shapely.Polygon, turn: float = 0.0) -> int:
    west, east, south, north = boxes.T
    east = np.where(east < west, east + 360, east)
    shapes = shapely.box(west, south, east, north)
    touches = shapely.intersects(shapes, polygon)
    if turn:
        touches |= shapely.intersects(shapely.box(west - turn, south, east - turn, north), polygon)
        touches |= shapely.intersects(shapely.box(west + turn, south, east + turn, north), polygon)
    return int(touches.sum())


def test_a_polygon_is_drawn_on_the_disc_of_the_sun(sun: BrowserTab) -> None:
    """The rows, their facets and a download are those whose boxes touch it."""
    page = open_map(sun, "regions")
    polygon = draw_polygon(page, TRIANGLE)
    assert polygon.symmetric_difference(shapely.Polygon(TRIANGLE)).area < 0.03 * polygon.area
    count = count_touched(list_regions(), polygon)
    assert 20 < count < 200
    page.wait_for_selector(COUNT.format(count=count))
    page.wait_for_selector(f".map .told:has-text('{count} rows')")
    query = urlsplit(page.url).query
    base = f"{sun.base}/collections/sun/regions"
    lines = page.request.get(f"{base}/download?_as=csv&_all=1&{query}").text().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) == count + 1
    facets = page.request.get(f"{base}/facets?{query}").json()["facets"]
    (kinds,) = [facet for facet in facets if facet["column"] == "kind"]
    assert sum(choice["rows"] for choice in kinds["choices"]) == count
    assert page.locator("[data-chips] a").inner_text().startswith("Polygon on the map ")
    assert page.input_value(".map-region textarea") in urlsplit(page.url).query.replace("+", " ").replace("%2C", ",")
    assert sun.find_accessibility_faults() == []
    sun.save_screenshot("map-sun-polygon")
    page.reload()
    page.wait_for_selector(COUNT.format(count=count))
    page.locator("[data-chips] a").click()
    page.wait_for_selector(COUNT.format(count=len(list_regions())))
    assert "_polygon" not in page.url


def test_a_polygon_across_longitude_0_finds_boxes(sun: BrowserTab) -> None:
    page = open_map(sun, "tracks")
    page.evaluate("() => window.hven.body.globe.show({ lon: 0, lat: 0, zoom: 2 })")
    page.wait_for_function("() => !window.hven.body.globe.frameRequest")
    polygon = draw_polygon(page, ((338, -21), (27, -16), (5, 33)))
    corners = np.array(polygon.exterior.coords)
    corners[:, 0] = (corners[:, 0] + 180) % 360 - 180
    count = count_touched(list_tracks(), shapely.Polygon(corners), turn=360.0)
    assert count > 5
    page.wait_for_selector(COUNT.format(count=count))


def test_the_keyboard_draws_a_polygon(sun: BrowserTab) -> None:
    page = open_map(sun, "regions")
    page.focus(".map button:text-is('Draw a polygon')")
    page.keyboard.press("Enter")
    for keys in (("Enter",), ("ArrowRight", "ArrowRight", "Enter"), ("ArrowUp", "ArrowUp", "Enter")):
        for key in keys:
            page.keyboard.press(key)
    page.focus(".map button:text-is('Draw a polygon')")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-chips] a[data-name='_polygon']")
    polygon = read_polygon(page)
    assert polygon.area > 0
    page.wait_for_selector(COUNT.format(count=count_touched(list_regions(), polygon)))


def test_a_polygon_is_written_without_scripts(browser: Browser, sun_server: Server) -> None:
    options = {"viewport": {"width": 390, "height": 844}, "java_script_enabled": False}
    for tab in open_tab(browser, sun_server, **options):
        page = tab.open_page("/collections/sun/regions?kind=kind 1")
        page.click("summary:text-is('Map')")
        page.click("summary:has-text('Search in a region of the map')")
        page.fill("textarea[name=_polygon]", "-500 -400, 600 -300, -100 700")
        tab.follow_link(".map-region button:text-is('Search')")
        wanted = count_touched(list_regions()[1::3], shapely.Polygon(TRIANGLE))
        assert page.inner_text("[data-count] b") == str(wanted)
        assert page.locator("[data-chips] a").count() == 2
        page.click("summary:text-is('Map')")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.click("summary:has-text('Search in a region of the map')")
        page.fill("textarea[name=_polygon]", "1 2, 3 4")
        tab.follow_link(".map-region button:text-is('Search')")
        assert "2 corners" in page.inner_text("main")
        assert page.input_value("textarea[name=_polygon]") == "1 2, 3 4", "the text stays for its correction"


def test_a_drawn_polygon_leads_to_the_form_of_a_row(browser: Browser, sun_server: Server) -> None:
    token = run_hven("user", "add", "--site", sun_server.site, "anna").stdout.strip()
    for tab in open_tab(browser, sun_server, viewport={"width": 1440, "height": 1000}):
        page = tab.open_page("/login")
        page.fill("[name=name]", "anna")
        page.fill("[name=token]", token)
        tab.follow_link("main button")
        page = open_map(tab, "regions")
        assert page.is_hidden(".row-forms")
        west, south, east, north = draw_polygon(page, TRIANGLE).bounds
        page.wait_for_selector(".row-forms a:text-is('Marks on the Sun')")
        assert tab.find_accessibility_faults() == []
        tab.follow_link(".row-forms a")
        values = [float(page.input_value(f"#field-{name}")) for name in ("c1min", "c2min", "c1max", "c2max")]
        assert values == pytest.approx([west, south, east, north])
