"""Areas that are drawn on a spectrogram, with the pointer, the keyboard and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PLOT = "/plots?_from=2003-10-28T06:30&_to=2003-10-28T12:00&panel=wind_waves_rad2&panel=table:maser.bursts"
FIRST_BURST = "2003-10-28T06:56 1.1e7, 2003-10-28T07:36 1.1e7, 2003-10-28T07:36 2.4e6, 2003-10-28T06:56 2.4e6"
BUTTON = "button:has-text('Draw an area')"
SPECTROGRAM = "svg[data-frequencies]"


def read_corners(address: str) -> list[tuple[str, float]]:
    text = parse_qs(urlsplit(address).query)["_in"][0]
    return [(corner.rpartition(" ")[0], float(corner.rpartition(" ")[2])) for corner in text.split(", ")]


def check_notes(tab: BrowserTab, count: int) -> None:
    assert f"{count} of 4 rows of this time span touch the drawn area." in tab.page.inner_text("main")
    assert tab.page.locator(f"{SPECTROGRAM} path.area").count() == 1


def test_an_area_is_drawn_with_the_pointer(browser: Browser, maser: Server) -> None:
    for tab in open_tab(browser, maser, viewport={"width": 1440, "height": 900}):
        page = tab.open_page(PLOT)
        page.click(BUTTON)
        before = page.locator(SPECTROGRAM).bounding_box()
        assert before is not None
        places = [(0.08, 0.2), (0.2, 0.2), (0.2, 0.9), (0.08, 0.9)]
        for x, y in places:
            page.mouse.click(before["x"] + x * before["width"], before["y"] + y * before["height"])
        assert page.inner_text(".plot-status") == "Corners: 4"
        assert page.locator(SPECTROGRAM).bounding_box() == before, "the spectrogram does not move while it is drawn on"
        with page.expect_event("load"):
            page.mouse.click(before["x"] + 0.08 * before["width"] + 2, before["y"] + 0.2 * before["height"])
        corners = read_corners(page.url)
        assert len(corners) == 4
        # the channels of RAD2 reach from 1.05 to 13.85 MHz, and the span has 5.5 hours
        assert [hertz for _, hertz in corners] == pytest.approx([11.29e6, 11.29e6, 2.33e6, 2.33e6], rel=0.02)
        assert corners[0][0].startswith("2003-10-28T06:56")
        check_notes(tab, 1)
        assert tab.find_accessibility_faults() == []


def test_an_area_is_drawn_with_the_keyboard(browser: Browser, maser: Server) -> None:
    for tab in open_tab(browser, maser, viewport={"width": 1440, "height": 900}):
        page = tab.open_page(PLOT)
        page.focus(BUTTON)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        assert "three corners" in page.inner_text(".plot-status")
        page.keyboard.press("Space")
        for key, count in (("ArrowRight", 10), ("ArrowUp", 5)):
            for _ in range(count):
                page.keyboard.press(key)
            page.keyboard.press("Space")
        page.keyboard.press("Backspace")
        page.keyboard.press("Space")
        with page.expect_event("load"):
            page.keyboard.press("Enter")
        assert len(read_corners(page.url)) == 3
        check_notes(tab, 0)
        page.focus(BUTTON)
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == "Draw an area"
        assert page.get_attribute(BUTTON, "aria-pressed") == "false"


def test_an_area_is_written_without_scripts(browser: Browser, maser: Server) -> None:
    for tab in open_tab(browser, maser, viewport={"width": 390, "height": 844}, java_script_enabled=False):
        page = tab.open_page(PLOT)
        page.click("summary:has-text('Search in an area')")
        page.fill("textarea[name=_in]", FIRST_BURST)
        tab.follow_link(".plot-area button")
        check_notes(tab, 1)
        tab.follow_link(".plot-area a:has-text('Without the area')")
        assert "touch the drawn area" not in page.inner_text("main")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
