"""Strange data in a real browser: pages keep their width and their reading direction, and all panes work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server, serve_site

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from strange_site import ARABIC, HEBREW, LONG_COLUMN, LONG_NAME, OLD_JULIAN_DATES, open_strange_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GRID_ROW = "table.live tr[data-key]"
PAGES = (
    "/",
    "/collections/strange",
    "/collections/strange/columns",
    "/collections/strange/old?_plot=seen;n",
    "/collections/strange/many?choice=choice+99999",
    "/collections/strange/wide?c0=0&_plot=c1;c2",
    "/collections/letters",
    "/collections/letters/columns",
    f"/collections/letters/main?kind={LONG_NAME}&_plot={LONG_COLUMN};size;kind",
    "/collections/letters/titled",
    "/collections/letters/unbroken",
    f"/search?q={HEBREW}",
    f"/search?q={LONG_NAME}",
    f"/adql?QUERY=SELECT+*+FROM+letters.main+WHERE+kind='{ARABIC}'",
    "/news",
)
SCREENS = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
# elements of the page that reach beyond its right edge, outside of what scrolls
OVERHANGING = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = (element) => /auto|scroll|hidden|clip/.test(getComputedStyle(element).overflowX);
    const found = [];
    for (const element of document.querySelectorAll("body *")) {
        const { right, left, width: ownWidth } = element.getBoundingClientRect();
        if (element.closest(".skip, .only-heard, pre")) continue; // off the screen on purpose, or scrolled
        if (!ownWidth || (right <= width + 1 && left >= -1) || !element.checkVisibility()) continue;
        let outer = element.parentElement;
        while (outer && outer !== document.body && !scrolls(outer)) outer = outer.parentElement;
        if (outer === document.body) found.push(element.outerHTML.slice(0, 120));
    }
    return found.slice(0, 5);
}"""
# whether the first letter of a text stands right of its last one
IS_RIGHT_TO_LEFT = """(element) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    let text = walker.nextNode();
    while (text && !text.data.trim()) text = walker.nextNode();
    const letters = text.data;
    const [first, last] = [letters.search(/\\S/), letters.trimEnd().length - 1];
    const place = (index) => {
        const range = document.createRange();
        range.setStart(text, index);
        range.setEnd(text, index + 1);
        return range.getBoundingClientRect();
    };
    const [begin, end] = [place(first), place(last)];
    return begin.top < end.top || begin.left > end.left;
}"""


@pytest.fixture(scope="module")
def strange_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("strange") / "site"
    directory.mkdir()
    (directory / "hven.toml").write_text('title = "Strange"\n')
    open_strange_site(directory).close()
    with serve_site(directory) as server:
        yield server


@pytest.fixture(params=SCREENS)
def strange(request: pytest.FixtureRequest, browser: Browser, strange_server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, strange_server, **SCREENS[request.param])


@pytest.fixture
def wide_strange(browser: Browser, strange_server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, strange_server, **SCREENS["desktop"])


def wait_for_grid(page: Page) -> None:
    page.wait_for_selector(f"{GRID_ROW}, .empty, main:not(:has(#rows))")


def test_no_page_is_wider_than_the_screen(strange: BrowserTab) -> None:
    faults = {}
    for path in PAGES:
        page = strange.open_page(path)
        wait_for_grid(page)
        page.wait_for_load_state("networkidle")
        width = page.evaluate("document.documentElement.scrollWidth")
        overhanging = page.evaluate(OVERHANGING)
        if width > page.viewport_size["width"] or overhanging:  # type: ignore[index]
            faults[path[:60]] = (width, overhanging)
    assert faults == {}


def test_the_pages_are_accessible(strange: BrowserTab) -> None:
    for path in ("/collections/letters", "/collections/letters/main?_row=nothing", "/collections/strange/wide"):
        page = strange.open_page(path)
        wait_for_grid(page)
        assert strange.find_accessibility_faults() == [], path


def test_texts_keep_their_own_direction(wide_strange: BrowserTab) -> None:
    page = wide_strange.open_page("/collections/letters")
    for selector in (
        "h1",
        f"h2 a:has-text('{HEBREW}')",
        f"a.button bdi:has-text('{HEBREW}')",
        f"bdi:has-text('{ARABIC}')",
    ):
        assert page.locator(f"main {selector}").first.evaluate(IS_RIGHT_TO_LEFT), selector
    cite = page.locator("p:has(b:text-is('How to cite:'))").bounding_box()
    label = page.locator("b:text-is('How to cite:')").bounding_box()
    assert cite is not None
    assert label is not None
    assert label["x"] == pytest.approx(cite["x"], abs=2), "a text of others does not turn our own around"
    page = wide_strange.open_page("/collections/letters/main?_cols=name,kind,size&_sort=size")
    page.wait_for_selector(GRID_ROW)
    page.wait_for_selector(f".choice .what:has-text('{ARABIC}')")
    rtl_texts = (
        "h1",
        f"{GRID_ROW} td:has-text('{ARABIC}')",
        f".choice .what:has-text('{ARABIC}')",
    )
    for selector in rtl_texts:
        assert page.locator(selector).first.evaluate(IS_RIGHT_TO_LEFT), selector
    assert not page.locator("table.live th").first.evaluate(IS_RIGHT_TO_LEFT)
    page.locator(f".choice:has-text('{HEBREW}')").first.click()
    page.wait_for_selector("[data-count] b:text-is('8')")
    chip = page.locator("[data-chips] a").first
    asked, cross = chip.locator("span").first.bounding_box(), chip.locator("span").last.bounding_box()
    assert asked is not None
    assert cross is not None
    assert asked["x"] < cross["x"], "a value of others does not turn the chip around"
    page.locator(GRID_ROW).first.locator("td").nth(1).click()
    page.wait_for_selector(".detail dt")
    assert page.locator(f".detail dd:has-text('{HEBREW}')").first.evaluate(IS_RIGHT_TO_LEFT)
    field = page.locator("input[name=name]")
    field.fill(ARABIC)
    assert field.evaluate("(element) => getComputedStyle(element).unicodeBidi") == "plaintext"


def test_a_form_of_400_fields_and_a_row_of_400_columns(wide_strange: BrowserTab) -> None:
    page = wide_strange.open_page("/collections/strange/wide")
    page.wait_for_selector(GRID_ROW)
    wide_strange.wait_for_panes("form")
    assert len(page.content()) < 3_000_000
    wide_strange.wait_for_panes("grid", "detail")
    page.locator(GRID_ROW).first.locator("td").nth(1).click()
    page.wait_for_function("() => document.querySelectorAll('.detail dt').length >= 399")
    page.click(".detail button.close")
    for summary in page.locator("form.filters details:not([open]) > summary").all():
        summary.click()
    page.fill("input[name=c399]", "400")  # from 400 on
    page.wait_for_selector("[data-chips] a[data-name=c399]")
    page.wait_for_selector("[data-count] b:text-is('1')")
    page.fill("input[name=c399]", "401")
    page.wait_for_selector("[data-count] b:text-is('0')")
    page.click("summary:text-is('Columns')")
    assert page.locator("[data-columns] input[name=_cols]").count() == 400


def test_one_of_100_000_choices_is_found(strange: BrowserTab) -> None:
    page = strange.open_page("/collections/strange/many")
    page.wait_for_selector(GRID_ROW)
    strange.wait_for_panes("form")
    assert len(page.content()) < 500_000
    page.fill("input[name=choice]", "choice 99999")
    page.wait_for_selector("[data-chips] a[data-name=choice]")
    page.wait_for_selector("[data-count] b:text-is('1')")
    page.wait_for_selector(f"{GRID_ROW} td:has-text('choice 99999')")


def test_times_before_1900_are_in_all_panes(wide_strange: BrowserTab) -> None:
    page = wide_strange.open_page("/collections/strange/old?_plot=seen;n&_sort=n")
    page.wait_for_selector(f"{GRID_ROW} td:has-text('1610-01-07')")
    assert "0900-01-01" in page.inner_text("table.live")
    page.locator(".plot").scroll_into_view_if_needed()
    page.wait_for_selector("[data-pane=plot][data-ready] canvas")
    low, high = page.evaluate("[window.hven.plot.scales.x.min, window.hven.plot.scales.x.max]")
    assert all(low < date < high for date in OLD_JULIAN_DATES)
    texts = page.evaluate("window.hven.plot.axes[0]._values")
    assert any(text.startswith("1") and len(text.split("\n")[0]) == 4 for text in texts), texts
    strip = page.locator(".strip-time")
    lows = (strip.get_attribute("data-lows") or "").split()
    assert any(low.startswith(("09", "10")) for low in lows), lows
    page.locator(f"{GRID_ROW}[data-key='[1]'] td").nth(1).click()
    page.wait_for_selector(".detail dd:has-text('1572-11-11')")
    page.fill("input[name=seen]", "1572")
    page.wait_for_selector("[data-count] b:text-is('1')")
    page.wait_for_selector("[data-chips] a:has-text('1572')")
