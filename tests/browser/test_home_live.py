"""The first page, the page of a collection, statistics and search in a real browser: on a desk, on a phone, in the dark, in French, without JavaScript."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browser_tab import BrowserTab

from plugin_needs import list_statistics_pages, list_word_pages
from process_runner import wait_until

PAGES = ["/", *list_word_pages("magnitude"), "/collections/stars", *list_statistics_pages("stars"), "/news", "/help"]


@pytest.mark.parametrize(("theme", "paths"), [("light", PAGES[:1]), ("dark", PAGES)], ids=["light", "dark"])
def test_everybody_can_read_it(tab: BrowserTab, theme: str, paths: list[str]) -> None:
    """The theme that a reader chose; test_every_page looks at those of the machine."""
    for path in paths:
        page = tab.open_page(f"{path}{'&' if '?' in path else '?'}_theme={theme}")
        assert page.inner_text("h1"), path
        assert page.get_attribute("html", "data-theme") == theme, path
        assert tab.find_accessibility_faults() == [], path


def test_a_phone_shows_it_without_scrolling_sideways(phone_tab: BrowserTab) -> None:
    for path in PAGES:
        page = phone_tab.open_page(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert phone_tab.find_accessibility_faults() == [], path


def test_the_first_page_is_light(tab: BrowserTab) -> None:
    had: list[Any] = []

    def note_request(request: Any) -> None:
        had.append(request)

    tab.page.on("requestfinished", note_request)
    for path in ("/", "/collections/stars"):
        had.clear()
        tab.open_page(path).wait_for_load_state("networkidle")
        assert 0 < sum(one.sizes()["responseBodySize"] for one in list(had)) < 400_000


def test_the_tree_leads_to_rows_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/")
    link = scriptless_tab.find_count(".tree a[href*='/collections/stars/main']")
    rows = int(re.sub(r"\D", "", link.locator(".n").inner_text()))
    scriptless_tab.follow_link(".tree a[href*='/collections/stars/main'] >> nth=0")
    assert int(re.sub(r"\D", "", page.inner_text("[data-count] b"))) == rows == 5000


def test_statistics_lead_to_their_rows_without_scripts(scriptless_tab: BrowserTab) -> None:
    page = scriptless_tab.open_page("/collections/stars")
    scriptless_tab.follow_link("text=Statistics")
    row = page.locator(".counted tbody tr").first
    rows = int(re.sub(r"\D", "", row.locator("td.n").inner_text()))
    scriptless_tab.follow_link(".counted tbody tr >> nth=0 >> a")
    assert int(re.sub(r"\D", "", scriptless_tab.find_count("[data-count] b").inner_text())) == rows


def test_language_and_colours_stay(tab: BrowserTab) -> None:
    page = tab.open_page("/")
    tab.follow_link(".switches a[hreflang=fr]")
    assert page.get_attribute("html", "lang") == "fr"
    tab.follow_link(".themes a:has-text('Sombre')")
    tab.open_page("/collections/stars")
    assert page.get_attribute("html", "lang") == "fr"
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 27)"


def test_columns_have_small_histograms(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars")
    page.click("summary:has-text('Columns')")
    page.locator("[data-histogram=vmag]").scroll_into_view_if_needed()
    bars = page.locator("[data-histogram=vmag] svg")
    bars.wait_for()
    assert "5,000" in str(bars.get_attribute("aria-label"))
    tab.save_screenshot("collection", whole=True)


def test_switching_the_language_keeps_the_search(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?vmag=..5")
    tab.follow_link(".switches a[hreflang=fr]")
    assert "vmag=..5" in page.url
    assert page.get_attribute("html", "lang") == "fr"


def test_screenshots_of_home_and_statistics_pages_are_saved(tab: BrowserTab) -> None:
    tab.open_page("/")
    tab.save_screenshot("home")
    for path in list_statistics_pages("stars"):
        tab.open_page(path)
        tab.save_screenshot("statistics")


def test_pictures_of_cards_come_without_a_reload(tab: BrowserTab) -> None:
    """The first answer is that of a server which still draws them; the second one has them."""
    whole = ""

    def is_whole() -> bool:
        nonlocal whole
        whole = tab.page.request.get(f"{tab.base}/", headers={"accept": "text/html"}).text()
        return "late_pictures" not in whole

    wait_until(is_whole)
    early, pictures = re.subn(r'<img class="thumbnail"[^>]*>', "", whole)
    assert pictures
    early = early.replace('<ul class="cards">', '<ul class="cards" data-pane="late_pictures" data-now>')
    tab.page.route(f"{tab.base}/", lambda route: route.fulfill(body=early, content_type="text/html"), times=1)
    page = tab.open_page("/")
    page.evaluate("window.stayed = true")
    page.wait_for_function(f"document.querySelectorAll('ul.cards .head > img.thumbnail').length === {pictures}")
    assert page.evaluate("window.stayed")
    assert page.evaluate(
        "[...document.querySelectorAll('.head')].every((one) => one.querySelectorAll('img').length < 2)"
    )
