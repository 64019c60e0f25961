"""The basket in a real browser: ticks that stay over pages, collections and log-in, its page, a link that shares it; and without scripts."""

from __future__ import annotations

import io
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from astropy.io.votable import parse_single_table
from browser_tab import BrowserTab, open_tab
from samp_hub import HUB_ADDRESS, ConsentDialog, TopcatClient

from plugin_needs import require_core_fixtures
from process_runner import Server, run_hven

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GRID = "table.live tr[data-key]"
COUNT = ".basket b"


def table(tab: BrowserTab, path: str = "/collections/stars/main?_sort=star") -> Any:
    page = tab.open_page(path)
    page.wait_for_selector(GRID)
    tab.wait_for_panes("basket", "grid")
    return page


def tick(page: Any, *rows: int) -> list[str]:
    for row in rows:
        page.locator(f"{GRID} input").nth(row).click()
    return [page.locator(GRID).nth(row).get_attribute("data-key") for row in rows]


def has(page: Any, count: int) -> None:
    page.wait_for_selector(f"{COUNT}:text-is('{count}')")


def test_selected_rows_persist_across_pages_and_collections(tab: BrowserTab) -> None:
    page = table(tab)
    keys = tick(page, 1, 3)
    has(page, 2)
    table(tab, "/collections/sz/clusters")
    has(page, 2)
    assert page.locator(f"{GRID} input:checked").count() == 0
    tick(page, 0)
    has(page, 3)
    table(tab)
    page.wait_for_selector(f"{GRID} input:checked >> nth=1")
    ticked = page.locator(f"{GRID}:has(input:checked)")
    assert [ticked.nth(n).get_attribute("data-key") for n in range(2)] == keys
    tick(page, 1)
    has(page, 2)
    other = page.context.new_page()  # in another tab at once
    other.goto(page.url)
    has(other, 2)
    other.wait_for_selector(GRID)
    other.wait_for_selector("[data-pane=basket][data-ready]")
    other.wait_for_selector("[data-pane=grid][data-ready]")
    other.locator(f"{GRID} input").nth(5).click()
    has(page, 3)
    page.wait_for_selector(f"{GRID}[data-at='5'] input:checked")
    assert tab.find_accessibility_faults() == []


def test_its_page_shows_removes_takes_and_shares(tab: BrowserTab, browser: Browser, server: Server) -> None:
    page = table(tab)
    tick(page, 1, 3)
    page.click(".take .menu > summary:text-is('Download')")
    page.click("text=Put all rows that were found into the basket")
    has(page, 3)
    tab.follow_link("a.basket")
    page.wait_for_selector("h1:text-is('Basket')")
    assert re.match(r"3 entries: .*\b5,000\b", page.inner_text("[data-entries]"))
    assert page.locator("main tbody tr").count() == 2
    assert tab.find_accessibility_faults() == []
    tab.save_screenshot("basket")
    tab.follow_link("form.searched button")
    page.check("main tbody tr >> nth=0 >> input")
    tab.follow_link("text=Remove the ticked rows")
    tab.wait_for_panes("basket")
    has(page, 1)
    page.click(".menu > summary:text-is('Files')")
    with page.expect_download() as waiting:
        page.click("text=List of links")
    assert re.fullmatch(r"https://example\.org/star/\d+\n", Path(waiting.value.path()).read_text())
    page.click("h1")
    page.click(".menu > summary:text-is('Share it')")
    link = page.inner_text(".menu[open] code")
    tab.wait_for_panes("basket")
    table(tab)
    assert page.locator(f"{GRID} input:checked").count() == 1  # what was taken out there is taken out here
    for guest in open_tab(browser, server):
        seen = guest.open_page(link.removeprefix(server.url))
        assert seen.locator("main tbody tr").count() == 1
        has(seen, 0) if seen.locator(f"{COUNT}:visible").count() else None
        guest.wait_for_panes("basket")
        guest.follow_link("text=Put all of it into my basket")
        guest.wait_for_panes("basket")
        has(seen, 1)
        table(guest)
        assert seen.locator(f"{GRID} input:checked").count() == 1


def test_more_than_a_basket_holds_is_refused_and_said(tab: BrowserTab) -> None:
    page = table(tab)
    page.evaluate(
        """() => localStorage.setItem("hven-basket", JSON.stringify({owner: "", state: "", fresh: true, parts: [
            {of: "stars/main", lines: [...Array(5000).keys()].map((n) => [`[${n + 10000}]`]), searches: []}]}))"""
    )
    table(tab)
    tick(page, 0)
    page.wait_for_selector("header .said:has-text('The basket is full')")
    assert page.locator(f"{GRID} input:checked").count() == 0
    tab.follow_link("a.basket")
    page.wait_for_selector("text=5,000 entries no longer exist, or you may not see them")
    tab.follow_link("text=Remove them")
    page.wait_for_selector("text=This basket is empty")
    page.evaluate("() => localStorage.setItem('hven-basket', '{\"parts\": 3}')")  # what others wrote there
    table(tab)
    has(page, 1) if tick(page, 0) else None


def test_the_basket_goes_into_the_reader_s_own_at_log_in_and_leaves_the_browser_with_them(
    tab: BrowserTab, server: Server
) -> None:
    token = run_hven("user", "add", "--site", server.site, "basil").stdout.strip()
    page = table(tab)
    tick(page, 2)
    has(page, 1)
    page = tab.open_page("/login")
    page.fill("[name=name]", "basil")
    page.fill("[name=token]", token)
    tab.follow_link("main button")
    has(page, 1)
    table(tab)
    page.wait_for_selector(f"{GRID}[data-at='2'] input:checked")
    with page.expect_response(lambda answer: answer.url.endswith("/basket")):
        tick(page, 4)
    has(page, 2)
    page.evaluate("() => localStorage.clear()")  # another computer
    table(tab)
    page.wait_for_selector(f"{GRID} input:checked >> nth=1")
    tab.follow_link("a.basket")
    assert page.locator("main tbody tr").count() == 2
    page.context.clear_cookies()  # logged out
    table(tab)
    assert page.locator(f"{GRID} input:checked").count() == 0
    assert page.locator(f"{COUNT}:visible").count() == 0
    assert "stars" not in page.evaluate("() => localStorage.getItem('hven-basket')")


def test_files_of_an_observation_go_in_together(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/omega/epn_core")
    if not page.locator("[data-lines-are]").count():
        pytest.skip("lines are rows here")
    page = table(tab, "/collections/omega/epn_core")
    files = page.locator(GRID).nth(0).locator(".chip-file").count()
    tick(page, 0)
    has(page, 1)
    table(tab, "/collections/omega/epn_core")
    page.wait_for_selector(f"{GRID}[data-at='0'] input:checked")
    tab.follow_link("a.basket")
    assert page.locator("main tbody tr").count() == files


def test_the_panel_of_a_row_puts_it_in_and_takes_it_out(tab: BrowserTab) -> None:
    page = table(tab)
    page.locator(f"{GRID} td:nth-child(3)").nth(4).click()
    page.click(".acts button:text-is('Add to the basket')")
    has(page, 1)
    page.wait_for_selector(f"{GRID}[data-at='4'] input:checked")
    page.click(".acts button:text-is('Remove from the basket')")
    page.wait_for_selector(f"{GRID}[data-at='4'] input:not(:checked)")
    require_core_fixtures("SEARCH_FORMS")
    tab.expected = ("404",)  # pictures that nobody made
    page = tab.open_page("/search/epn?target_name=Mars")  # rows of several tables
    tab.wait_for_panes("basket", "everywhere", "detail")
    page.locator("tr[data-at]:not([data-at='']) td:nth-child(2)").first.click()
    page.click(".acts button:text-is('Add to the basket')")
    has(page, 1)
    tab.follow_link("a.basket")
    assert page.locator("main .part").count() == 1


def test_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/collections/stars/main?_sort=star")
    for row in (0, 2):
        page.check(f"tbody tr >> nth={row} >> input")
    scriptless_tab.follow_link("#ticks button")
    assert page.inner_text("h1") == "Basket"
    assert page.inner_text(COUNT) == "2"
    scriptless_tab.open_page("/collections/sz/clusters")
    assert page.inner_text(COUNT) == "2"
    page.check("tbody tr >> nth=0 >> input")
    scriptless_tab.follow_link("#ticks button")
    assert page.locator("main article.part").count() == 2
    page.check("main tbody tr >> nth=0 >> input")
    scriptless_tab.follow_link("text=Remove the ticked rows >> nth=0")
    assert page.inner_text(COUNT) == "2"
    scriptless_tab.follow_link("text=Empty the basket")
    assert "This basket is empty" in page.inner_text("main")


def test_rows_of_a_basket_are_sent_to_programs(tab: BrowserTab, consent: ConsentDialog, topcat: TopcatClient) -> None:
    tab.allowed = (HUB_ADDRESS,)
    page = table(tab)
    keys = tick(page, 1, 3)
    tab.follow_link("a.basket")
    tab.wait_for_panes("samp")
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select")
    page.click("[data-samp] >> text=The table")
    sent = topcat.wait_for_message("table.load.votable")
    page.wait_for_selector("[data-samp] p:has-text('Sent to Topcat of the test')")
    rows = parse_single_table(io.BytesIO(urllib.request.urlopen(sent["url"]).read())).to_table()
    assert sorted(f"[{star}]" for star in rows["star"]) == sorted(keys)


def test_on_a_phone(phone_tab: BrowserTab) -> None:
    page = phone_tab.open_page("/collections/stars/main")
    page.wait_for_selector(GRID)
    phone_tab.wait_for_panes("basket")
    phone_tab.open_page("/basket")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
