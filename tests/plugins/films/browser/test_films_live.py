"""A film in a real browser: it plays, on screens and phones, and its choices need no scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from browser_tab import open_tab

from process_runner import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = "/collections/sun/images/film"


def test_a_film_plays_on_screens_and_phones(browser: Browser, sun: Server) -> None:
    for width, height in ((1440, 900), (390, 844)):
        for tab in open_tab(browser, sun, viewport={"width": width, "height": height}):
            page = tab.open_page(f"{PAGE}?_contours=sun.regions")
            page.wait_for_function("() => document.querySelector('video').readyState >= 2")
            size = page.evaluate(
                "(() => { const v = document.querySelector('video'); return [v.videoWidth, v.videoHeight]; })()"
            )
            assert size == [512, 532]
            assert page.evaluate("document.querySelector('video').duration") > 1
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "the film is no wider than the page"
            assert tab.find_accessibility_faults() == []


def test_from_the_rows_to_a_film_of_differences_without_scripts(browser: Browser, sun: Server) -> None:
    for tab in open_tab(browser, sun, viewport={"width": 1440, "height": 900}, java_script_enabled=False):
        page = tab.open_page("/collections/sun/images")
        page.goto(tab.base + PAGE)
        page.select_option("[name=_difference]", "running")
        tab.follow_link(".film-choices button")
        assert "_difference=running" in page.url
        assert "_difference=running" in (page.get_attribute("video", "src") or "")
        assert "13 images" in page.inner_text("main")
