"""The page of a table of another service in a real browser: scrolling, order, columns, marked rows, SAMP, phones, night, French."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from astropy.io.votable import parse_single_table
from browser_tab import BrowserTab, open_tab
from samp_hub import HUB_ADDRESS, TopcatClient

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GRID = "table.live tr[data-key]"
REGIONS = "/search/epn/tables/institute/hfc1ar.epn_core"
OMEGA = "/search/epn/tables/institute/omega.epn_core"
SCREEN = {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def portal(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a site without tables, which asks the site of the other tests."""
    site = tmp_path_factory.mktemp("portal") / "site"
    run_hven("init", site)
    settings = site / "hven.toml"
    top, bracket, sections = settings.read_text().partition("\n[")
    remote = f"""
[[remote]]
name = "institute"
title = "An institute"
url = "{server.url}/tap"
tables = ["omega.epn_core", "hfc1ar.epn_core"]
seconds = 60
"""
    settings.write_text(f"{top}\nallow_private = true\n{bracket}{sections}\n{remote}")
    with serve_site(site) as made:
        yield made


@pytest.fixture
def tab(browser: Browser, portal: Server, external_programs: None) -> Iterator[BrowserTab]:
    for made in open_tab(browser, portal, viewport=SCREEN):
        made.allowed = (*made.allowed, HUB_ADDRESS)
        made.expected = ("404",)  # the pictures are on a server that does not exist
        yield made


def test_the_end_of_many_remote_rows_is_as_near_as_the_beginning(tab: BrowserTab, server: Server) -> None:
    page = tab.open_page(f"{REGIONS}?target_name=Sun&_sort=granule_uid")
    page.wait_for_selector(GRID)
    total = int("".join(letter for letter in page.inner_text("[data-count] b") if letter.isdigit()))
    assert total > 100_000
    page.locator(GRID).first.focus()
    page.keyboard.press("End")
    page.wait_for_selector(f"tr[data-at='{total - 1}'][data-key]")
    last = page.get_attribute(f"tr[data-at='{total - 1}']", "data-key")
    own = page.request.get(
        f"{server.url}/collections/hfc1ar/epn_core/rows",
        params={"target_name": "Sun", "_sort": "granule_uid", "_from": total - 1, "_files": "each"},
    ).json()
    assert own["total"] == total
    assert own["keys"] == [last]
    assert page.locator("tr[data-at]").count() < 100


def test_columns_conditions_and_order_are_in_the_address(tab: BrowserTab) -> None:
    page = tab.open_page(f"{OMEGA}?target_name=Mars")
    page.wait_for_selector(GRID)
    tab.wait_for_panes("form", "columns")
    page.click("summary:text-is('Columns')")
    page.check("[data-columns] input[value=granule_gid]")
    page.wait_for_selector("button.head[data-of=granule_gid]")
    page.keyboard.press("Escape")
    page.click("button.head[data-of=granule_gid]")
    page.wait_for_selector("th[aria-sort=ascending]")
    asked = parse_qs(urlsplit(page.url).query)
    assert asked["_sort"] == ["granule_gid"]
    assert "granule_gid" in asked["_cols"][0].split(",")
    page.fill("#refine [name=solar_longitude]", "0")
    page.fill("#refine [name='_to.solar_longitude']", "20")
    page.wait_for_selector("[data-chips] a[data-name=solar_longitude]")
    page.wait_for_selector("table.live:not(.waiting)")
    adql = (
        page.inner_text("[data-adql]")
        if page.locator("details.adql[open]").count()
        else page.text_content("[data-adql]")
    )
    assert "ORDER BY granule_gid" in (adql or "")
    assert "solar_longitude" in (adql or "")
    assert tab.find_accessibility_faults() == []
    page.reload()
    page.wait_for_selector("th[aria-sort=ascending]")


def test_remote_rows_are_marked_compared_and_sent(tab: BrowserTab, server: Server, topcat: TopcatClient) -> None:
    page = tab.open_page(f"{OMEGA}?target_name=Mars&solar_longitude=0..60&_sort=granule_uid")
    page.wait_for_selector(GRID)
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select")
    page.click("text=The table")
    sent = topcat.wait_for_message("table.load.votable")
    page.wait_for_selector("[data-samp] p:has-text('Sent to Topcat of the test')")
    assert sent["url"].startswith(f"{server.url}/tap/sync?"), "programs ask the service itself"
    table = parse_single_table(io.BytesIO(urllib.request.urlopen(sent["url"]).read())).to_table()
    names = [str(name) for name in table["granule_uid"]]
    assert len(names) == int(page.inner_text("[data-count] b").replace(",", "")) > 5
    for at in (2, 4):
        page.locator(f"{GRID} input").nth(at).click()
    keys = [page.locator(GRID).nth(at).get_attribute("data-key") or "" for at in (2, 4)]
    page.click("summary:text-is('SAMP')")
    page.click("text=The marked rows")
    told = topcat.wait_for_message("table.select.rowList")
    assert sorted(f'["{names[int(at)]}"]' for at in told["row-list"]) == sorted(keys)
    page.click("button:has-text('Compare 2 rows')")
    page.wait_for_selector(".compared td")
    page.click("h1")
    page.click(".take > .menu > summary:text-is('Download')")
    page.check("text=Only the 2 marked rows")
    with page.expect_download() as waiting:
        page.click("[data-formats] button:text-is('CSV')")
    lines = waiting.value.path().read_text().splitlines()
    assert len(lines) == 3
    assert page.locator("[data-formats] :text('As a job')").count() == 0, "jobs here cannot ask there"


def test_phones_night_and_french(tab: BrowserTab) -> None:
    page = tab.open_page(f"{OMEGA}?target_name=Mars")
    page.wait_for_selector(GRID)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert tab.find_accessibility_faults("color-contrast") == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(GRID).first.click()
    page.wait_for_selector(".detail dt")
    assert tab.find_accessibility_faults() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page = tab.open_page(f"{OMEGA}?target_name=Mars&lang=fr")
    page.wait_for_selector(GRID)
    assert "Lignes d'un autre service" in page.inner_text(".trail")
    tab.save_screenshot("remote-table")


def test_a_remote_row_opens_in_the_list_of_all_tables(tab: BrowserTab) -> None:
    page = tab.open_page("/search/epn?target_name=Mars")
    page.wait_for_selector(".found-rows tbody tr[data-row^='[']")
    page.locator(".found-rows tbody tr td:nth-child(3)").first.click()
    page.wait_for_selector("aside.detail[data-pane=detail]:not([hidden]) dt")
    assert page.locator("aside.detail[data-pane=detail] dt").count() > 15, "all columns, not only those of the list"
