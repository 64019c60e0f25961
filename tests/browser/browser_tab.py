"""A tab of a real browser that records all errors."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from browser_site import PREVIEW_ORIGIN

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from process_runner import Server

ROOT = Path(__file__).parents[2]
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
AXE_SCRIPT = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
# maps draw as often as a screen lets them; without a graphics processor each of their pictures takes a twentieth of a
# second of all processors
SLOW_ANIMATION_SCRIPT = """
window.requestAnimationFrame = (call) => window.setTimeout(() => call(performance.now()), 200);
window.cancelAnimationFrame = (one) => window.clearTimeout(one);
"""


@dataclass(kw_only=True)
class BrowserTab:
    """A page of a browser that records all errors.

    Attributes
    ----------
    errors
        Errors of scripts, and failed requests.
    foreign
        Requested addresses outside the site.
    allowed
        Hosts outside the site that may be requested.
    expected
        Parts of errors that a test causes; such errors are allowed until the tab closes.
    """

    page: Page
    base: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()

    def open_page(self, path: str) -> Page:
        """Open a page of the site and wait until it is loaded."""
        self.page.goto(self.base + path, wait_until="load")
        return self.page

    def wait_for_panes(self, *panes: str) -> None:
        """Wait until parts of the page are interactive; they ignore earlier input."""
        for pane in panes:
            self.page.wait_for_selector(f"[data-pane={pane}][data-ready]", state="attached")

    def follow_link(self, selector: str) -> Page:
        """Click what leads to another page, and wait until that page is loaded."""
        with self.page.expect_event("load"):  # what a map writes into the address is a navigation, too
            self.page.click(selector)
        return self.page

    def open_answer(self) -> Page:
        """Without scripts: open the page that waits for the result of its query, if this page did not wait."""
        if self.page.locator("a[href*='_wait=1']").count():
            self.follow_link("a[href*='_wait=1']")
        return self.page

    def find_count(self, selector: str) -> Locator:
        """Without scripts: reload the page until it shows a count that takes longer than the page waits."""
        found = self.page.locator(selector).first
        for _ in range(60):
            if found.count():
                break
            self.page.wait_for_timeout(500)
            self.page.reload()
        return found

    def write_query(self, query: str) -> None:
        """Replace the text of the ADQL editor by a query."""
        self.page.wait_for_selector(".cm-content")
        self.page.click(".cm-content")
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(query)
        self.page.keyboard.press("Escape")  # shuts the list of completions

    def find_accessibility_faults(self, *rules: str) -> list[str]:
        """Check the page with axe-core, by all rules or the named ones.

        Returns the serious findings, each with the first element that it concerns.
        """
        self.page.wait_for_function("() => !document.querySelector('.waiting')")  # what waits is pale
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE_SCRIPT.read_text())
        only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
        found: Any = self.page.evaluate("only => axe.run(document, {resultTypes: ['violations'], ...only})", only)
        return [
            f"{one['impact']}: {one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}: {one['nodes'][0]['failureSummary']}"
            for one in found["violations"]
            if one["impact"] in {"serious", "critical"}
        ]

    def save_screenshot(self, name: str, *, whole: bool = False) -> None:
        """Save a screenshot below docs/images if ``HVEN_PICTURES=1``."""
        if os.environ.get("HVEN_PICTURES") == "1":
            self.page.screenshot(path=ROOT / "docs" / "images" / f"{name}.png", full_page=whole)


def open_tab(browser: Browser, server: Server, **options: Any) -> Iterator[BrowserTab]:
    """Open a tab in a context of its own; at its end, check that nothing has failed."""
    context = browser.new_context(**options)
    context.set_default_timeout(60_000)  # a computer may be busy with other things
    context.add_init_script(SLOW_ANIMATION_SCRIPT)
    # pictures of the origin that the site file names: a pixel stands for each, unless a test has better ones
    context.route(f"{PREVIEW_ORIGIN}/**", lambda route: route.fulfill(status=200, content_type="image/png", body=PIXEL))
    page = context.new_page()
    tab = BrowserTab(page=page, base=server.url, allowed=(PREVIEW_ORIGIN.removeprefix("https://"),))
    home = urlsplit(server.url).netloc

    def note_foreign_request(request: Any) -> None:
        address = urlsplit(request.url)
        if (
            address.scheme in {"http", "https", "ws", "wss"}
            and address.netloc != home
            and address.netloc not in tab.allowed
        ):
            tab.foreign.append(request.url)

    page.on("request", note_foreign_request)
    page.on(
        "console",
        lambda message: tab.errors.append(f"{message.type}: {message.text}") if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: tab.errors.append(str(error)))
    yield tab
    context.close()
    complaints = [text for text in tab.errors if not any(part in text for part in tab.expected)]
    assert tab.foreign == [], f"nothing outside the site may be asked: {tab.foreign}"
    assert complaints == [], complaints
