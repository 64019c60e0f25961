"""Names of places, the header of a row, choices that are looked for, and an address that leads nowhere: in a browser, over a site of their own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from browser_tab import BrowserTab, open_tab

from plugin_needs import require_core_fixtures, require_page_part
from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GRID = "table.live tr[data-key]"
CUBES = "/collections/omega/epn_core"
OMEGA = """\
collection: omega
title: OMEGA data cubes
tables:
  epn_core:
    standard: epn-tap-2.0
    title: OMEGA data cubes
    frame: body
    source: {kind: csv, files: omega.csv}
    set: {dataproduct_type: sc, processing_level: 3, measurement_type: phys.reflectance, target_name: Mars, target_class: planet, instrument_host_name: Mars Express, instrument_name: OMEGA, granule_gid: nc}
    text: {obs_id: "{number}", granule_uid: "{number}_nc"}
    map:
      time_min: jd(parse_time(ut))
      time_max: jd(parse_time(ut))
      c1min: west
      c1max: west + 4
      c2min: south
      c2max: south + 4
      s_region: lonlat_box(target.c1min, target.c1max, south, south + 4, 'body')
"""
PLACES = """\
collection: places
title: Names of features
tables:
  features:
    primary: [feature]
    source: {kind: csv, files: places.csv}
    columns:
      feature: {type: int32, ucd: meta.id}
      body: {type: string, ucd: meta.id;src}
      name: {type: string, ucd: meta.id;meta.main}
      lat: {type: float64, unit: deg, ucd: pos.bodyrc.lat}
      lon: {type: float64, unit: deg, ucd: pos.bodyrc.lon}
      diameter: {type: float32, unit: km, ucd: phys.size}
"""
FEATURES = (
    "1,Mars,Olympus Mons,18.65,226.2,610",
    "2,Mars,Olympus Rupes,18.4,226.4,1915",
    "3,Moon,Mare Olympia,5,6,10",
    "4,Mars,Vieta,-20,20,20",
)
SUN = """\
collection: sun
title: Images of the Sun
files: "data/*.fits"
tables:
  images:
    primary: [file_name]
    source: {kind: csv, files: sun.csv}
    columns:
      file_name: {type: string, ucd: meta.id;meta.file;meta.main, rank: 1}
      exposure: {type: float64, unit: s, description: Exposure, rank: 1}
      wavelength: {type: string, ucd: em.wl, rank: 2}
"""


@pytest.fixture(scope="module")
def names_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve cubes of Mars, names of its features, and images with their FITS files."""
    site = tmp_path_factory.mktemp("named") / "site"
    run_hven("init", str(site))
    image = fits.PrimaryHDU(np.zeros((4, 4), np.int16))
    image.header["EXPTIME"] = (2.9, "[s] length of the exposure")
    image.header["COMMENT"] = "<b>flat</b> & dark"
    file = io.BytesIO()
    image.writeto(file)
    rows = [
        "number,ut,west,south",
        *(f"{at},2004-01-{14 + at % 10},{at % 80 * 4.4 + 1:.1f},{at // 80 * 30 - 80}" for at in range(400)),
    ]
    # two of each: values of their own would be names, and no choices
    waves = [f"{at}.fits,{at / 3!r},{at % 40:03d}" for at in range(80)]
    for name, text, files in (
        ("omega", OMEGA, {"omega.csv": "\n".join(rows)}),
        ("places", PLACES, {"places.csv": "\n".join(["feature,body,name,lat,lon,diameter", *FEATURES])}),
        ("sun", SUN, {"sun.csv": "\n".join(["file_name,exposure,wavelength", *waves]), "data/1.fits": file.getvalue()}),
    ):
        directory = site / "collections" / name
        (directory / "data").mkdir(parents=True)
        (directory / f"{name}.yaml").write_text(text)
        for path, content in files.items():
            (directory / path).write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
        run_hven("--site", site, "ingest", name)
    with serve_site(site, workers=1) as made:
        yield made


@pytest.fixture
def names_tab(browser: Browser, names_server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, names_server, viewport={"width": 1440, "height": 900})


def parse_page_query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def rows(page: Page) -> int:
    page.wait_for_selector("[data-count] b:not(:has-text('~'))")  # until it is counted it may be an estimate
    return int(re.sub(r"\D", "", page.inner_text("[data-count] b")))


def test_a_place_of_a_body_is_completed_and_searched(names_tab: BrowserTab) -> None:
    page = names_tab.open_page(CUBES)
    page.wait_for_selector(GRID)
    names_tab.wait_for_panes("form")
    every = rows(page)
    page.fill("input[name=_near]", "olymp")
    page.wait_for_selector("input[name=_near] ~ datalist option[value='Olympus Mons']", state="attached")
    offered = page.locator("input[name=_near] ~ datalist option").evaluate_all("all => all.map((one) => one.value)")
    assert offered == ["Olympus Mons", "Olympus Rupes"], "of Mars alone"
    page.fill("input[name=_near]", "Olympus Mons")
    page.wait_for_selector("[data-chips] a[data-name=_near]:has-text('Olympus Mons')")
    assert parse_page_query(page)["_near"] == ["Olympus Mons,5.2 deg"], "what is chosen brings its size"
    page.wait_for_function(
        "(all) => Number(document.querySelector('[data-count] b').textContent.replace(/\\D/g, '')) < all", arg=every
    )
    assert page.inner_text("[data-found]") == "226.2, 18.65"
    assert page.locator(".fault").count() == 0
    page.fill("input[name=_near]", "Nowhere Planitia")
    page.wait_for_selector("fieldset[data-ask=_near] + .fault:has-text('no place on Mars')")
    assert names_tab.find_accessibility_faults() == []


def test_fields_over_all_tables_are_completed(names_tab: BrowserTab) -> None:
    require_core_fixtures("SEARCH_FORMS")
    page = names_tab.open_page("/")
    names_tab.follow_link("nav >> text=Search EPN-TAP")
    names_tab.wait_for_panes("asks")
    page.fill("input[name=target_name]", "ma")
    page.wait_for_selector("input[name=target_name] ~ datalist option[value=Mars]", state="attached")
    page.fill("input[name=target_name]", "tita")
    page.wait_for_selector("input[name=target_name] ~ datalist option[value=Titan]", state="attached")
    page.fill("input[name=target_name]", "Mars")
    page.click(".actions button")
    page.wait_for_url("**/search/epn?target_name=Mars")
    page.wait_for_selector("[data-total]:text-is('400')")


def test_a_rows_header_is_that_of_its_file(names_tab: BrowserTab) -> None:
    page = names_tab.open_page("/collections/sun/images")
    page.wait_for_selector(GRID)
    page.locator('tr[data-key="[\\"1.fits\\"]"] td').nth(2).click()
    page.wait_for_selector(".detail dt")
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog.header h3:text-is('Header: data/1.fits')")
    keyword = page.locator("dialog.header tr:has(th:text-is('EXPTIME')) td")
    assert keyword.all_inner_texts() == ["2.9", "s", "length of the exposure"]
    assert page.locator("dialog.header tr:has(th:text-is('COMMENT')) td").first.inner_text() == "<b>flat</b> & dark"
    assert page.locator("dialog.header tr:has(th:text-is('exposure')) td").first.inner_text() == "0.3333333333333333", (
        "all of its digits"
    )
    page.fill("dialog.header input[type=search]", "exposure")
    page.wait_for_selector("dialog.header th:text-is('COMMENT')", state="detached")
    assert page.locator("dialog.header tbody tr").count() == 2
    assert names_tab.find_accessibility_faults() == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.header th:text-is('COMMENT')")  # the first one empties the field
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.header", state="detached")
    assert page.evaluate("document.activeElement.textContent") == "Header", "the focus is where it was"
    page.locator('tr[data-key="[\\"2.fits\\"]"] td').nth(2).click()
    page.wait_for_selector(".detail h2:text-is('2.fits')")
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog.header p:has-text('not available here')")


def test_what_is_looked_for_among_choices_stays(names_tab: BrowserTab) -> None:
    page = names_tab.open_page("/collections/sun/images")
    page.wait_for_selector("[data-facet=wavelength] .choice")
    page.fill("[data-facet=wavelength] input[type=search]", "03")
    page.wait_for_selector("[data-facet=wavelength] .what:text-is('039')")
    page.eval_on_selector("[data-facet=wavelength]", "one => { one.dataset.before = ''; }")
    page.locator("[data-facet=wavelength] .choice:has(.what:text-is('039'))").click()
    page.wait_for_selector("[data-count] b:text-is('2')")
    drawn = "[data-facet=wavelength]:not([data-before])"  # drawn anew; what is looked for comes a moment later
    page.wait_for_selector(f"{drawn} .choice:has(.what:text-is('039')) input:checked")
    assert page.input_value(f"{drawn} input[type=search]") == "03"
    page.wait_for_function(
        "([drawn, all]) => [...document.querySelectorAll(`${drawn} .what`)].map((one) => one.textContent).sort().join() === all",
        arg=[drawn, ",".join(["003", *(f"03{at}" for at in range(10))])],
    )
    page.wait_for_function("() => document.activeElement.dataset.value === '039'")  # and so does the focus


def test_an_address_that_leads_nowhere_helps(names_tab: BrowserTab) -> None:
    names_tab.expected = ("404",)
    page = names_tab.open_page("/collections/omge/epn_cor")
    assert page.inner_text("h1") == "There is nothing here"
    assert "OMEGA" in page.inner_text("main ul")
    page = names_tab.open_page("/no/such/page?lang=fr")
    assert page.inner_text("h1") == "Il n'y a rien ici"
    assert page.input_value("main input[type=search]") == "no such page"
    assert names_tab.find_accessibility_faults() == []


def test_few_rows_leave_room_for_what_is_below(names_tab: BrowserTab) -> None:
    page = names_tab.open_page("/collections/places/features")
    page.wait_for_selector(GRID)
    assert page.locator("[data-pane=grid]").bounding_box()["height"] < 300
    page.click("th:has-text('name') button.more")
    page.wait_for_selector(".column-menu")


def test_a_collection_shows_where_and_when_its_rows_are(names_tab: BrowserTab) -> None:
    require_page_part("collection.coverage")
    page = names_tab.open_page("/collections/omega")
    assert page.locator("svg[aria-label='Where the rows are on Mars'] path.there").count() > 0
    assert page.locator(".little-line time").all_inner_texts()[0] == "2004-01-14"
    assert names_tab.find_accessibility_faults() == []
