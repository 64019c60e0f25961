"""Bad input in a real browser: nothing of a descriptor, a cell or an address is run; back, twice, and what is gone lead to helpful pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser_site import HOSTILE_TEXT, write_hostile_collection
from browser_tab import BrowserTab, open_tab

from plugin_needs import list_query_addresses, list_statistics_pages, require_page_part
from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TAMPERED = (  # what is read by different panes stands in one address; what changes which rows there are stands alone
    "_map=x,y,z&_plot=%3Cimg%20src=x%20onerror=alert(1)%3E;y&_row=%5B%5B%5B", "_map=javascript:alert(1),0,10&_plot=nothing;nothing&_row=%22",
    "_map=0,0,1e999&_row=%5B%22x%22%5D&_view=%F0%9F%92%A5", "_map=NaN,NaN,NaN&_compare=%5B&_compare=%22x%22&_unit.ra=parsec",
    "_sort=nothing", "_cols=nothing", "vmag=1e999", "_near=x,y,z", "__proto__=1&constructor=2", "_from=-1", "_q=%3Cscript%3Ealert(1)%3C/script%3E",
    "_in=POLYGON+1+2", "_every=1+parsec",
)  # fmt: skip


def listening(tab: BrowserTab) -> list[str]:
    """Note what scripts of others would do: open a dialog, or leave a mark."""
    said: list[str] = []
    tab.page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    return said


def unhurt(tab: BrowserTab, said: list[str]) -> None:
    assert said == []
    assert tab.page.evaluate("window.evil !== 1")
    assert tab.page.locator("img[src='x']").count() == 0
    for link in tab.page.eval_on_selector_all("a", "all => all.map((one) => one.getAttribute('href') ?? '')"):
        assert not re.match(r"\s*(?:javascript|vbscript|data):", link, re.IGNORECASE), link


@pytest.fixture(scope="module")
def evil_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("evil") / "site"
    run_hven("init", site)
    directory = site / "collections" / "evil"
    directory.mkdir(parents=True)
    write_hostile_collection(directory, np.random.default_rng(1601))
    run_hven("--site", site, "ingest", "evil")
    with serve_site(site) as made:
        yield made


@pytest.fixture
def evil(browser: Browser, evil_server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, evil_server, viewport={"width": 1440, "height": 900})


def test_scripts_in_descriptors_and_cells_are_never_run(evil: BrowserTab) -> None:
    require_page_part("table.map")
    tab = evil
    said = listening(tab)
    page = tab.open_page("/")
    assert HOSTILE_TEXT in page.inner_text("main")
    unhurt(tab, said)
    for path in ("/search?q=evil", "/collections/evil", *list_statistics_pages("evil")):
        page = tab.open_page(path)
        page.wait_for_selector("main h1")
        page.mouse.wheel(0, 5_000)
        unhurt(tab, said)
    page = tab.open_page("/collections/evil/main?_map=1,1,30&_plot=ra%3Bdec%3Bkind")
    page.wait_for_selector("table.live tr[data-key]")
    page.wait_for_selector(".choice .what", state="attached")
    assert page.locator("table.live td", has_text=HOSTILE_TEXT).count()
    page.locator(".plot .drawn").scroll_into_view_if_needed()
    page.wait_for_selector(".drawn canvas")
    page.locator(".drawn-map").scroll_into_view_if_needed()
    page.wait_for_selector(".map .told:has-text('rows')")
    unhurt(tab, said)
    page.locator("table.live tr[data-key] input").nth(0).click()
    page.locator("table.live tr[data-key] input").nth(1).click()
    page.click(".compare-button button")
    page.wait_for_selector(".compared td")
    unhurt(tab, said)
    page.locator("table.live tr[data-key='[0]'] td").nth(1).click()
    page.wait_for_selector(".detail dt")
    assert HOSTILE_TEXT in page.inner_text(".detail dl")
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog tbody tr")
    assert HOSTILE_TEXT in page.inner_text("dialog")
    unhurt(tab, said)
    page.keyboard.press("Escape")
    page.click("text=Copy as")
    page.wait_for_selector("[data-lines] h3:text-is('curl')")
    unhurt(tab, said)
    for address in list_query_addresses("/adql?QUERY=SELECT+*+FROM+evil.main"):
        page = tab.open_page(address)
        page.wait_for_selector(".cm-content")
        page.wait_for_selector("[data-answer] tbody tr")
        assert HOSTILE_TEXT in page.inner_text("[data-answer]")
        page.fill("[data-find]", "kind")
        unhurt(tab, said)
        page.click("[data-job]")
        page.wait_for_url("**/jobs**")
        page.wait_for_selector("h2 .phase[data-phase=COMPLETED]")
        unhurt(tab, said)


def test_a_cell_of_ten_megabytes_breaks_no_pane(evil: BrowserTab) -> None:
    page = evil.open_page("/collections/evil/main?_cols=id,kind,big&_sort=id")
    page.wait_for_selector("table.live tr[data-key='[2]']")
    page.locator("tr[data-key='[2]'] td").nth(1).click()
    page.wait_for_selector(".detail dt:has-text('big')")
    assert len(page.content()) < 500_000
    page.click(".detail button:text-is('Header')")
    page.wait_for_selector("dialog tbody tr")
    assert len(page.inner_text("dialog")) < 20_000


def test_tampered_addresses_in_a_browser(tab: BrowserTab) -> None:
    page = tab.page
    said = listening(tab)
    tab.expected = ("400 (Bad Request)",)
    for state in TAMPERED:
        tab.open_page(f"/collections/stars/main?{state}")
        if "_from" not in state:  # that one is refused
            page.wait_for_selector("table.live:not(.waiting) tbody tr:not(.filler), .empty, .fault", state="attached")
            page.wait_for_function(
                "() => [...document.querySelectorAll('.workspace > [data-pane]')].every((one) => 'ready' in one.dataset || 'failed' in one.dataset)"
            )
            assert page.locator("[data-failed]").count() == 0, state
        assert page.inner_text("h1"), state
        errors = [one for one in tab.errors if not any(part in one for part in tab.expected)]
        assert errors == [], state
        assert tab.foreign == [], state
        unhurt(tab, said)


def test_back_and_forward_bring_conditions_rows_and_the_form_back(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_sort=star")
    page.wait_for_selector("table.live tr[data-key='[1]']")
    tab.wait_for_panes("form", "detail")
    page.fill("input[name=vmag]", "9")
    page.wait_for_selector("[data-chips] a[data-name=vmag]")
    page.wait_for_selector("table.live:not(.waiting)")
    page.wait_for_selector("[data-count] b:not(:has-text('~'))")
    found = page.inner_text("[data-count] b")
    page.locator("table.live tr[data-key]").first.locator("td").nth(1).click()
    page.wait_for_selector(".detail dt")
    page.go_back()
    page.wait_for_selector(".detail", state="hidden")
    page.go_back()
    page.wait_for_selector("[data-count] b:text-is('5,000')")
    page.wait_for_function("() => document.querySelector('input[name=vmag]').value === ''")
    page.go_forward()
    page.wait_for_selector(f"[data-count] b:text-is('{found}')")
    # the field is told by its own answer
    page.wait_for_function("() => document.querySelector('input[name=vmag]').value.startsWith('9')")


@pytest.mark.parametrize("pane", ["rows", "facets"])
def test_a_server_that_breaks_off_leaves_a_page_that_says_so(tab: BrowserTab, server: Server, pane: str) -> None:
    def broken(route: Any) -> None:
        route.fulfill(
            status=503,
            content_type="application/json",
            body=json.dumps({"message": "too many ask at once", "remedy": "wait a little", "status": 503}),
        )

    tab.page.route(re.compile(rf"{re.escape(server.url)}/collections/stars/main/{pane}(\?.*)?$"), broken)
    tab.expected = ("503",)
    page = tab.open_page("/collections/stars/main")
    place = {"rows": ".grid", "facets": ".facets"}[pane]
    page.wait_for_selector(f"{place} .fault:has-text('too many ask at once')")
    page.wait_for_selector("h1:text-is('Stars')")
