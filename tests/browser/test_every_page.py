"""Every kind of page for everybody: axe finds nothing serious, by day and by night, on a desk and on a phone; in French; and without scripts."""

from __future__ import annotations

import pytest
from browser_tab import BrowserTab

from plugin_needs import list_query_addresses, list_statistics_pages, list_word_pages, load_core_fixtures

PAGES = {
    "/": "h1",
    "/help": "h1",
    "/news": "h1",
    "/health": "h1",
    "/login": "h1",
    "/collections/sz": "h1",
    **dict.fromkeys(list_statistics_pages("records"), "h1"),
    "/collections/omega/epn_core?solar_longitude=350..10&_plot=c1min%3Bc2min&_map=0,0,180&_row=%5B%220172_2_nc%22%5D": ".detail dt",
    "/collections/sz/clusters?_map=150,30,20&_compare=%5B%22PSZ2%20G000.04%2B45.13%22%5D&_compare=%5B%22PSZ2%20G000.13%2B78.04%22%5D": ".compared td",
    "/collections/stars/main?vmag=..-90": ".live .empty",
    "/collections/stars/main?vmag=bright": ".fault",
    "/collections/nothing": "h1",
    **load_core_fixtures("BROWSER_PAGES"),
}


@pytest.mark.parametrize("path", PAGES)
def test_every_page_passes_accessibility_checks(tab: BrowserTab, path: str) -> None:
    tab.page.context.route("https://psup.example.org/**", lambda route: route.fulfill(status=404))
    tab.allowed = ("psup.example.org",)
    tab.expected = ("404",)
    page = tab.open_page(path)
    page.wait_for_selector(PAGES[path])
    assert tab.find_accessibility_faults() == []
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert tab.find_accessibility_faults("color-contrast") == [], "at night"
    page.set_viewport_size({"width": 390, "height": 844})
    assert tab.find_accessibility_faults() == [], "on a phone"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


FRENCH = [
    "/",
    "/collections/sz",
    "/collections/omega/epn_core",
    *list_query_addresses("/adql", "/jobs"),
    *load_core_fixtures("SEARCH_FORMS"),
    *list_statistics_pages("records"),
]


def test_pages_speak_french(tab: BrowserTab) -> None:
    tab.page.context.route("https://psup.example.org/**", lambda route: route.fulfill(status=404))
    tab.allowed = ("psup.example.org",)
    tab.expected = ("404",)
    page = tab.open_page("/?lang=fr")
    for path in FRENCH:
        page = tab.open_page(path)
        assert page.get_attribute("html", "lang") == "fr"
        assert page.locator("header nav a", has_text="Aide").count() == 1
        assert tab.find_accessibility_faults() == [], path
    page = tab.open_page("/collections/hfc1ar/epn_core")
    page.wait_for_selector("table.live tr[data-key]")
    page.wait_for_selector("[data-count] b:not(:has-text('~'))")  # until it is counted it may be an estimate
    assert page.inner_text("[data-count] b").replace("\u202f", " ").replace("\u00a0", " ").count(" ") == 1, (
        "numbers are grouped as in French"
    )
    page.wait_for_selector(".menu summary:text-is('Télécharger')")


STILL = ["/", *list_word_pages("cubes"), "/help", "/news", "/collections/sz", *list_statistics_pages("records"), "/collections/sz/clusters?redshift=0.5..", *list_query_addresses("/adql?QUERY=SELECT+TOP+5+name+FROM+sz.clusters", "/jobs"), *load_core_fixtures("SEARCH_FORMS")]  # fmt: skip


def test_pages_are_read_without_scripts(scriptless_tab: BrowserTab) -> None:
    for path in STILL:
        page = scriptless_tab.open_page(path)
        assert page.inner_text("h1"), path
        assert page.locator("main a").count(), path
        assert page.evaluate("document.documentElement.scrollWidth") <= 1440, path
