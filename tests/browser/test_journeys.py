"""Journeys of readers, from the first page to what they take home; HVEN_PICTURES=1 keeps pictures of them below docs/images."""

from __future__ import annotations

import io
import re
import urllib.request
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from astropy.io.votable import parse_single_table
from browser_site import PREVIEW_ORIGIN, REGION_COUNT, read_aia_header, read_thumbnails
from browser_tab import BrowserTab
from samp_hub import HUB_ADDRESS, TopcatClient
from sky_map import find_isolated_source

from plugin_needs import require_core_fixtures, require_page_part, require_query_editor

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRID = "table.live tr[data-key]"
QUIET = "table.live:not(.waiting)"
LS = "input[name=solar_longitude]", "input[name='_to.solar_longitude']"
SOUTH = "input[name='_to.c2']"
REGIONS = "/collections/hfc1ar/epn_core"


def stub_previews(tab: BrowserTab) -> list[str]:
    """Stand in for PSUP, which the site file names, with its own pictures; made cubes have those of real ones. Gives what was asked of it."""
    asked: list[str] = []
    pictures = read_thumbnails()
    names = sorted(name for name in pictures if not name.startswith("0006"))  # those of orbit 6 are of the night

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        name = route.request.url.rpartition("/")[2]
        body = pictures.get(name) or pictures[names[zlib.crc32(name.encode()) % len(names)]]
        route.fulfill(status=200, content_type="image/png", body=body)

    tab.page.context.route(f"{PREVIEW_ORIGIN}/**", answer)
    tab.allowed = (PREVIEW_ORIGIN.removeprefix("https://"),)
    return asked


def read_count(page: Page) -> int:
    page.wait_for_selector("[data-count] b:not(:has-text('~'))")  # until it is counted it may be an estimate
    return int(re.sub(r"\D", "", page.inner_text("[data-count] b")))


def fits_in(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


def narrow(tab: BrowserTab) -> bool:
    return tab.page.viewport_size["width"] < 500  # type: ignore[index]


def unfold_field(page: Page, field: str) -> None:
    """Unfold the part of the form that a field stands in."""
    part = page.locator("details", has=page.locator(field)).first
    if not page.is_visible(field):
        part.locator("summary").first.click()


def asks(page: Page, **fields: str) -> None:
    """Write into fields of the form, and wait until the address says so, and the form what was understood."""
    page.wait_for_selector("[data-pane=form][data-ready]", state="attached")
    for name, text in fields.items():
        field = f"input[name='{name}']"
        unfold_field(page, field)
        page.fill(field, text)
    page.wait_for_function(
        "fields => { const asked = new URLSearchParams(location.search); return fields.every((one) => asked.has(one)); }",
        arg=sorted({name.removeprefix("_to.") for name in fields}),
    )
    for name in fields:  # until then an answer may come that writes into other fields what the address says
        page.wait_for_selector(f"[data-chips] a[data-name='{name.removeprefix('_to.')}']", state="attached")


def wait_for_count(page: Page, number: int) -> None:
    page.wait_for_selector(f"[data-count] b:text-is('{number:,}')")
    page.wait_for_selector(QUIET)


# --- (a) OMEGA ---------------------------------------------------------------------------------------------------


def cubes(tab: BrowserTab) -> None:
    """Find OMEGA cubes between Ls 350 and 10 south of 60 S, look at previews, take the script."""
    asked = stub_previews(tab)
    page = tab.open_page("/")
    tab.follow_link("main a:has-text('OMEGA data cubes')")
    tab.follow_link("main a[href$='/collections/omega/epn_core']")
    page.locator(".grid").scroll_into_view_if_needed()
    page.wait_for_selector(GRID)
    assert read_count(page) == 250  # cubes, of two files each
    asks(page, **{"solar_longitude": "350", "_to.solar_longitude": "10"})
    page.wait_for_selector("[data-chips] a:has-text('350..10')")
    asks(page, **{"_to.c2": "-60"})
    page.wait_for_selector("[data-chips] a:has-text('..-60')")
    wait_for_count(page, 9)
    told = page.evaluate(
        "async () => (await fetch(document.querySelector('[data-here]').dataset.here + '/rows' + location.search + '&_cols=solar_longitude_min,c2max,file_name')).json()"
    )
    assert (told["total"], told["of_rows"]) == (9, 18)
    for row in told["rows"]:
        longitude, north = (float(one["text"] if isinstance(one, dict) else one) for one in row[:2])
        assert longitude >= 350 or longitude <= 10, "angles go round"
        assert north <= -60
    page.locator(f"{GRID} .thumbnail img").first.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => { const one = document.querySelector('.thumbnail img'); return one?.complete && one.naturalWidth === 256; }"
    )
    right = page.eval_on_selector(f"{GRID} .thumbnail img", "one => one.getBoundingClientRect().right")
    assert right <= page.viewport_size["width"], "previews are seen without scrolling"  # type: ignore[index]
    tab.save_screenshot("journey-omega-found-phone" if narrow(tab) else "journey-omega-found")
    page.locator(GRID).first.locator("td").nth(1).click()
    seen = []
    for _ in range(2):
        page.wait_for_selector(".detail .pictures img")
        page.locator(".detail .pictures img").scroll_into_view_if_needed()
        page.wait_for_function(
            "() => { const one = document.querySelector('.detail .pictures img'); return one?.complete && one.naturalWidth === 256; }"
        )
        seen.append(page.get_attribute(".detail .pictures img", "src"))
        if len(seen) == 1:
            tab.save_screenshot("journey-omega-preview-phone" if narrow(tab) else "journey-omega-preview")
            name = page.inner_text(".detail h2")
            for _ in range(2):  # the other file of this cube has the same preview
                page.click(".detail [aria-label='Next row']")
                page.wait_for_selector(f".detail h2:not(:text-is('{name}'))")
                name = page.inner_text(".detail h2")
    assert len(set(seen)) == 2
    assert {address for address in seen if address} <= set(asked)
    if narrow(tab):
        page.click(".detail .close")
    page.click("summary:text-is('Files')")
    page.wait_for_selector("[data-files]:has-text('18 files')")
    with page.expect_download() as download:
        page.locator("[data-scripts] a", has_text="wget").click()
    script = download.value.path().read_text()
    assert script.startswith("#!/bin/sh")
    files = {one["href"].rpartition("/")[2] for line in told["files"] for one in line}
    assert (len(told["rows"]), len(files)) == (9, 18)  # the two of each cube
    assert all(f"/cubes_L2/{name}" in script for name in files)
    assert len(re.findall(r"^get .*cubes_L2", script, re.MULTILINE)) == 18
    assert tab.find_accessibility_faults() == []
    fits_in(page)


def test_omega_cubes_in_the_south_at_the_end_of_the_year(tab: BrowserTab) -> None:
    cubes(tab)


def test_real_cubes_have_their_own_previews(tab: BrowserTab) -> None:
    stub_previews(tab)
    page = tab.open_page("/collections/omega/epn_core?solar_longitude=330..330.19&granule_gid=nc&orbit_number=6")
    wait_for_count(page, 10)
    page.locator(GRID, has_text="0006_4").locator("td").nth(1).click()
    page.wait_for_selector(".detail .pictures img[src$='/0006_4_256x256.png']")
    page.wait_for_selector(".detail dd:has-text('NADIR')")
    # the download at the top of the panel; the column has the same address
    link = page.locator(".detail dd a[href$='/cubes_L2/0006_4.nc']").first
    assert link.inner_text() == "Download 0006_4.nc"
    assert (
        link.get_attribute("href")
        == "http://psup.ias.u-psud.fr/sitools/datastorage/user/storage/omegacubes/cubes_L2/0006_4.nc"
    )


# --- (b) SDO -----------------------------------------------------------------------------------------------------


def images(tab: BrowserTab) -> None:
    """Find a day in nine wavelengths, one image an hour, and read the header of one."""
    page = tab.open_page("/collections/aia/images")
    page.locator(".grid").scroll_into_view_if_needed()
    wait_for_count(page, 2_400)
    asks(page, date_obs="2014-09-10", **{"_to.date_obs": "2014-09-10"})
    page.wait_for_selector("[data-count] b:text-is('1,200')")
    page = tab.open_page(
        "/collections/aia/images?date_obs=2014-09-10&wavelnth=..1700"
    )  # the form has its few values to choose from
    page.wait_for_selector("[data-count] b:text-is('1,080')")
    tab.wait_for_panes("form")
    page.select_option("select[name=_each]", "wavelnth")
    asks(page, _every="1 h")
    wait_for_count(page, 216)
    lines = page.locator(".choice", has=page.locator(".what:text-is('171')"))
    lines.first.wait_for()
    facet = page.locator("fieldset, .facet", has=lines).last.locator(".choice")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.choice')].some((one) => one.querySelector('.what')?.textContent === '171' && one.querySelector('.n')?.textContent === '24')"
    )
    counts = {one.split()[0]: one.split()[-1] for one in facet.all_inner_texts()}
    assert {
        line: counts.get(line) for line in ("94", "131", "171", "193", "211", "304", "335", "1600", "1700")
    } == dict.fromkeys(("94", "131", "171", "193", "211", "304", "335", "1600", "1700"), "24")
    page.locator(GRID).nth(3).locator("td").nth(2).click()
    page.wait_for_selector(".detail dt:has-text('crpix1')")
    assert '<b>flat</b> & "dark" done' in page.inner_text(".detail dl"), "what a cell says is text"
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog .cards-of tbody tr")
    cards = page.eval_on_selector_all(
        "dialog .cards-of tbody tr",
        "all => all.map((one) => [one.cells[0].textContent.trim().toUpperCase(), one.cells[1].textContent.trim()])",
    )
    said, real = dict(cards), read_aia_header()
    for keyword in ("TELESCOP", "RSUN_OBS", "CDELT1", "CRPIX1", "CTYPE1", "CAMERA", "LVL_NUM"):
        value = said[keyword]
        assert (
            value == real[keyword]
            if isinstance(real[keyword], str)
            else float(value) == pytest.approx(real[keyword], rel=1e-8)
        )
    tab.save_screenshot("journey-sdo-keywords-phone" if narrow(tab) else "journey-sdo-keywords")
    assert tab.find_accessibility_faults() == []
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    tab.save_screenshot("journey-sdo-phone" if narrow(tab) else "journey-sdo")
    fits_in(page)


def test_a_day_of_sdo_and_the_keywords_of_an_image(tab: BrowserTab) -> None:
    images(tab)


# --- (c) clusters on the sky -------------------------------------------------------------------------------------


def clusters(tab: BrowserTab) -> None:
    """Look at clusters on the sky, click one: its row lights up, and leads to what others know of it."""
    require_page_part("table.map")
    page = tab.open_page("/collections/sz/clusters?_map=150,30,20")
    page.locator(".grid").scroll_into_view_if_needed()
    page.wait_for_selector(GRID)
    assert read_count(page) == 1_653
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn-map canvas")
    page.wait_for_selector(".map .told:has-text('rows')")
    star = find_isolated_source(page)
    page.mouse.move(star["x"], star["y"])
    page.mouse.click(star["x"], star["y"])
    name = star["key"][2:-2]
    page.wait_for_selector(f".detail h2:text-is('{name}')")
    page.wait_for_selector(f"tr[data-key='{star['key']}'][aria-selected=true]", state="attached")
    assert parse_qs(urlsplit(page.url).query)["_row"] == [star["key"]]
    links = page.locator(".detail dl a[href^='https:']")  # links to pages of this site are tested elsewhere
    addresses = [links.nth(number).get_attribute("href") or "" for number in range(links.count())]
    escaped = name.replace(" ", "%20").replace("+", "%2B")
    # at the top of the panel, by their UCDs, and once more in their columns
    assert addresses[:2] == addresses[2:], "no other site is linked"
    assert addresses[:2] == [
        f"https://simbad.cds.unistra.fr/simbad/sim-id?Ident={escaped}",
        f"https://ned.ipac.caltech.edu/byname?objname={escaped}",
    ]
    assert all("noopener" in (links.nth(number).get_attribute("rel") or "") for number in range(4))
    tab.save_screenshot("journey-clusters-phone" if narrow(tab) else "journey-clusters")
    assert tab.find_accessibility_faults() == []
    fits_in(page)


def test_clusters_on_the_sky_lead_to_their_rows_and_pages(tab: BrowserTab) -> None:
    clusters(tab)


# --- (d) a query -------------------------------------------------------------------------------------------------

TYPO = "SELECT name, ra, dec, redshift, mas FROM sz.clusters WHERE redshift > 0.5 ORDER BY name"


def run_query_journey(tab: BrowserTab, topcat: TopcatClient) -> None:
    """Correct a typo from its mark, run the query as a job, plot its rows, send them to another program."""
    require_query_editor()
    page = tab.open_page("/adql")
    tab.write_query(TYPO)
    page.wait_for_selector(".cm-lintRange-error")
    assert page.inner_text(".cm-lintRange-error") == "mas"
    assert "line 1, column 33: no column 'mas' in sz.clusters \u2013 did you mean 'mass'?" in page.inner_text("#fault")
    if narrow(tab):  # nothing hovers there
        tab.save_screenshot("journey-adql-typo-phone")
        page.click("#fault button:text-is('Write mass')")
    else:
        page.hover(".cm-lintRange-error")
        page.wait_for_selector(".cm-tooltip .cm-diagnosticAction")
        tab.save_screenshot("journey-adql-typo")
        page.click(".cm-tooltip .cm-diagnosticAction")
    page.wait_for_selector(".cm-lintRange-error", state="detached")
    page.wait_for_selector("#fault", state="hidden")
    assert TYPO.replace("mas ", "mass ") in page.inner_text(".cm-content")
    page.click("[data-job]")
    page.wait_for_url("**/jobs**")
    page.wait_for_selector("h2 .phase[data-phase=COMPLETED]")
    found = page.locator(".answered tbody tr")
    page.locator(".plot > summary").scroll_into_view_if_needed()
    page.click(".plot:not([open]) > summary")
    page.select_option(".plot .axes select >> nth=0", "redshift")
    page.wait_for_selector(".plot .told:has-text('rows')")
    page.eval_on_selector(".drawn canvas", "one => { one.dataset.before = ''; }")
    page.select_option(".plot .axes select >> nth=1", "mass")
    page.wait_for_selector(".drawn canvas:not([data-before])")  # of both, no longer of one
    assert count_plot_colours(page) > 1
    tab.save_screenshot("journey-job-plot-phone" if narrow(tab) else "journey-job-plot")
    tab.allowed = (HUB_ADDRESS,)
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select")
    page.click("[data-samp] >> text=The table")
    page.wait_for_selector("[data-samp] p:has-text('Sent')")
    sent = parse_single_table(
        io.BytesIO(urllib.request.urlopen(topcat.wait_for_message("table.load.votable")["url"]).read())
    ).to_table()
    assert len(sent) >= found.count() > 20
    assert min(sent["redshift"]) > 0.5
    assert "mass" in sent.colnames
    tab.save_screenshot("journey-job-phone" if narrow(tab) else "journey-job")
    assert tab.find_accessibility_faults() == []
    fits_in(page)


def test_a_typo_is_mended_from_its_mark_run_as_a_job_plotted_and_sent(tab: BrowserTab, topcat: TopcatClient) -> None:
    run_query_journey(tab, topcat)


# --- (e) a long table, and its plot ------------------------------------------------------------------------------


def browse_long_table(tab: BrowserTab) -> None:
    """Browse a long table: its beginning, its end."""
    page = tab.open_page(REGIONS)
    page.locator(".grid").scroll_into_view_if_needed()
    page.wait_for_selector(GRID)
    assert read_count(page) == REGION_COUNT
    assert not page.inner_text("[data-count] b").startswith("~"), "what is known is not an estimate"
    page.locator(GRID).first.focus()
    page.keyboard.press("End")
    page.wait_for_selector(f'tr[data-at="{REGION_COUNT - 1}"][data-key]')
    assert page.locator("tr[data-at]").count() < 120, "only what is in sight is drawn"
    tab.save_screenshot("journey-long-table-phone" if narrow(tab) else "journey-long-table")
    page.keyboard.press("Home")
    page.wait_for_selector('tr[data-at="0"][data-key]')
    fits_in(page)


def test_a_long_table_from_its_beginning_to_its_end(tab: BrowserTab) -> None:
    browse_long_table(tab)


def test_a_count_that_is_an_estimate_is_marked(tab: BrowserTab) -> None:
    def mark_as_estimate(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "exact": False})

    tab.page.route(re.compile(r"/epn_core/(rows|count)(\?|$)"), mark_as_estimate)
    page = tab.open_page(REGIONS)
    page.wait_for_selector(GRID)
    page.wait_for_selector(f"[data-count] b:text-is('~{REGION_COUNT:,}')")


def count_plot_colours(page: Page) -> int:
    """Bring the plot into sight; gives in how many colours something is drawn."""
    page.locator(".plot .drawn").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn canvas")
    page.wait_for_selector(".plot .told:has-text('rows')")
    page.evaluate("document.querySelector('.plot').scrollIntoView({block: 'center', behavior: 'instant'})")
    assert page.eval_on_selector(".drawn canvas", "one => one.getBoundingClientRect().height") > 200
    return int(
        page.evaluate("""() => {
        const canvas = document.querySelector('.drawn canvas');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set();
        for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) seen.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
        return seen.size;
    }""")
    )


def test_many_rows_are_plotted_as_a_density(tab: BrowserTab) -> None:
    page = tab.open_page(f"{REGIONS}?_plot=c1min%3Bc2min")
    assert count_plot_colours(page) > 5
    assert f"{REGION_COUNT:,} rows" in page.inner_text(".plot .told")


def test_rows_are_plotted_by_two_columns_and_coloured_by_a_third(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/sz/clusters?redshift=0..2&_plot=redshift%3Bmass%3Bsnr")
    page.wait_for_selector(GRID)
    assert count_plot_colours(page) > 20
    assert f"{read_count(page):,} rows" in page.inner_text(".plot .told")
    tab.save_screenshot("journey-plot")
    assert tab.find_accessibility_faults() == []


# --- (f) the same on a phone -------------------------------------------------------------------------------------


def test_cubes_on_a_phone(phone_tab: BrowserTab) -> None:
    cubes(phone_tab)


def test_a_day_of_sdo_on_a_phone(phone_tab: BrowserTab) -> None:
    images(phone_tab)


def test_a_query_on_a_phone(phone_tab: BrowserTab, topcat: TopcatClient) -> None:
    run_query_journey(phone_tab, topcat)


def test_clusters_on_a_phone(phone_tab: BrowserTab) -> None:
    clusters(phone_tab)


def test_a_long_table_on_a_phone(phone_tab: BrowserTab) -> None:
    browse_long_table(phone_tab)


# --- by keyboard alone -------------------------------------------------------------------------------------------


def press_tab_until(page: Page, selector: str, most: int = 120) -> None:
    """Press the Tab key until the focus is where it should be; it is always seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        reached = "selector => { const one = document.activeElement; return one?.matches(selector) ? one.getBoundingClientRect().width : null; }"
        width = page.evaluate(reached, selector)
        if width is not None:
            assert width > 0
            return
    raise AssertionError(f"the keyboard does not lead to {selector}")


def test_a_journey_needs_only_the_keyboard(tab: BrowserTab) -> None:
    require_core_fixtures("WORD_PAGES")
    stub_previews(tab)
    page = tab.open_page("/")
    press_tab_until(page, "main input[type=search]")
    page.keyboard.type("cubes")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?**")
    press_tab_until(page, "main a[href$='/collections/omega'], main a[href*='/collections/omega/']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/collections/omega**")
    if not page.url.endswith("/epn_core"):
        press_tab_until(page, "main a[href$='/collections/omega/epn_core']")
        page.keyboard.press("Enter")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form")
    press_tab_until(page, "input[name=orbit_number]")
    page.keyboard.type("<7")
    page.wait_for_selector("[data-chips] a[data-name=orbit_number]")
    wait_for_count(page, 10)
    press_tab_until(page, ".take details:nth-of-type(1) > summary")
    page.keyboard.press("ArrowRight")  # menus are one stop
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-files]:has-text('20 files')")
    press_tab_until(page, "[data-scripts] a[href*='_as=curl']")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.path().read_text().count("cubes_L2") >= 20
    page.keyboard.press("Escape")
    press_tab_until(page, GRID)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail dt")
    press_tab_until(page, ".detail .close")
    page.keyboard.press("Enter")
    page.wait_for_selector(".detail", state="hidden")


def test_the_keyboard_passes_the_links_of_a_row(tab: BrowserTab) -> None:
    stub_previews(tab)
    page = tab.open_page("/collections/omega/epn_core?orbit_number=6")
    wait_for_count(page, 10)
    page.locator(GRID).first.focus()
    links = page.locator(GRID).first.locator("a").count()
    assert links > 1
    for _ in range(links + 1):  # those far to the right are scrolled to, which must not lead back
        page.keyboard.press("Tab")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert not page.evaluate("document.activeElement.matches('table.live *')")


# --- the first page, and without scripts -------------------------------------------------------------------------


def test_the_first_page_and_its_tree(tab: BrowserTab) -> None:
    stub_previews(tab)
    page = tab.open_page("/")
    assert tab.find_count(".tree:has-text('Solar Orbiter')").count(), "it is counted in the background after a start"
    assert page.locator(".tree details[open]").count(), "the tree shows what it has"
    tab.save_screenshot("home")
    tab.open_page("/collections/sz")
    page.click("summary:has-text('Columns')")
    page.locator("td.values").first.scroll_into_view_if_needed()
    page.wait_for_selector(".little-bars", state="attached")
    page.evaluate("scrollTo(0, 0)")
    tab.save_screenshot("collection")


def test_home_collection_form_and_rows_work_without_scripts(scriptless_tab: BrowserTab) -> None:
    pictures = stub_previews(scriptless_tab)
    page = scriptless_tab.open_page("/")
    scriptless_tab.follow_link("main a:has-text('OMEGA data cubes')")
    assert page.inner_text("h1") == "OMEGA data cubes (L2)"
    scriptless_tab.follow_link("main a[href$='/collections/omega/epn_core']")
    assert page.locator("tbody tr").count() == 50
    page.locator("tbody tr td img").first.scroll_into_view_if_needed()
    assert page.locator("tbody tr td img").count() == 50
    assert any(page.locator("tbody tr td img").first.get_attribute("src") == one for one in pictures), (
        "rows show theirs"
    )
    for field, text in ((LS[0], "350"), (LS[1], "10"), (SOUTH, "-60")):
        unfold_field(page, field)
        page.fill(field, text)
    scriptless_tab.follow_link("form.filters button:has-text('Search')")
    assert parse_qs(urlsplit(page.url).query) == {"solar_longitude": ["350..10"], "c2": ["..-60"]}
    scriptless_tab.find_count("[data-count] b")
    assert read_count(page) == 9
    assert page.locator("tbody tr").count() == 9
    scriptless_tab.save_screenshot("journey-without-scripts")
    page.locator("tbody tr td a").first.wait_for()
