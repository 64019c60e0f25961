"""A visitor with a task, whose clicks and seconds are counted."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from plugin_needs import list_word_pages, require_core_fixtures

if TYPE_CHECKING:
    from browser_tab import BrowserTab
    from playwright.sync_api import Download, Page

MOST, SECONDS = 6, 60
GRID = "table.live tr[data-key]"


class Reader:
    """Somebody with a task, whose clicks and seconds are counted from the first page on."""

    def __init__(self, tab: BrowserTab) -> None:
        self.tab = tab
        self.page: Page = tab.page
        self.clicks = 0
        tab.open_page("/")
        if list_word_pages(""):
            tab.wait_for_panes("finder")
        self.begun = time.monotonic()

    def click(self, selector: str) -> None:
        self.clicks += 1
        self.page.locator(selector).first.click()

    def opens(self, selector: str) -> None:
        """Press what leads to another page."""
        with self.page.expect_navigation():
            self.click(selector)

    def table(self, name: str, title: str) -> None:
        """Open a table from its card on the first page."""
        self.opens(f"#{name} .tables-of a:text-is('{title}')")
        self.tab.wait_for_panes("form")
        self.page.wait_for_selector(GRID)

    def choose(self, selector: str, value: str) -> None:
        self.clicks += 1
        self.page.select_option(selector, value)

    def takes(self, selector: str) -> Download:
        with self.page.expect_download() as waiting:
            self.click(selector)
        return waiting.value

    def search(self, words: str) -> None:
        """Write into the field that searches everything, and press Enter."""
        require_core_fixtures("WORD_PAGES")
        with self.page.expect_navigation():
            self.page.fill("main input[type=search]", words)
            self.page.keyboard.press("Enter")

    def writes(self, **fields: str) -> None:
        """Write into fields that stand there, and wait until what was written is asked."""
        self.tab.wait_for_panes("form")
        for name, text in fields.items():
            self.page.fill(f"#refine [name='{name}']", text)
        asked = sorted({re.sub(r"^_(to|pm)\.", "", name) for name in fields})
        self.page.wait_for_function(
            "names => { const asked = new URLSearchParams(location.search); return names.every((one) => asked.has(one)); }",
            arg=asked,
        )
        for name in asked:  # until then an answer may come that writes into other fields what the address says
            self.page.wait_for_selector(f"[data-chips] a[data-name='{name}']", state="attached")

    def rows(self, number: int) -> None:
        """Wait until so many lines are found, and shown."""
        self.page.wait_for_selector(f"[data-count] b:text-is('{number:,}')")
        self.page.wait_for_selector("table.live:not(.waiting)")

    def done(self, task: str) -> None:
        seconds = time.monotonic() - self.begun
        print(f"\n{task}: {self.clicks} clicks, {seconds:.1f} s")
        assert self.clicks <= MOST
        assert seconds <= SECONDS
