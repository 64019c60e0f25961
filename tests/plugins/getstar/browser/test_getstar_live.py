"""The page of stars in a browser: on a desk and on a phone, by day and by night, with the keyboard, and without scripts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab
from star_samples import FILES, STARS

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

STAR_PATH = "/getstar?star=HD 48915,* alf lyr,nothing at all"
VIEWPORTS = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("getstar") / "site"
    folder = site / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(STARS)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    (site / "hven.toml").write_text('name = "stars"\ntitle = "Uraniborg"\n')
    run_hven("ingest", "stars", "--site", site)
    with serve_site(site) as server:
        yield server


def take_picture(tab: BrowserTab, name: str) -> None:
    if folder := os.environ.get("HVEN_PICTURES"):
        tab.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", VIEWPORTS)
def test_the_page_fits_and_can_be_heard(browser: Browser, stars: Server, viewport: str, scheme: str) -> None:
    size = VIEWPORTS[viewport]
    for tab in open_tab(browser, stars, viewport=size, color_scheme=scheme):
        tab.expected = ("404 (Not Found)",)
        for name, path in (("empty", "/getstar"), ("found", STAR_PATH), ("unknown", "/getstar?star=nothing")):
            page = tab.open_page(path)
            take_picture(tab, f"getstar-{name}-{viewport}-{scheme}")
            assert tab.find_accessibility_faults() == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path


def test_a_star_is_found_with_the_keyboard(browser: Browser, stars: Server) -> None:
    for tab in open_tab(browser, stars, viewport=VIEWPORTS["desk"]):
        page = tab.open_page("/getstar")
        page.focus("input[name=star]")
        page.keyboard.type("hd 172167")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert page.inner_text("main h2") == "hd 172167"
        assert "0.03 ± 0.01" in page.inner_text("main")


def test_all_properties_are_read_without_scripts_and_in_french(browser: Browser, stars: Server) -> None:
    options = {"java_script_enabled": False, "locale": "fr-FR", "viewport": VIEWPORTS["phone"]}
    context = browser.new_context(**options)
    try:
        page = context.new_page()
        page.goto(stars.url + STAR_PATH)
        text = page.inner_text("main")
        for words in ("Étoiles par nom", "II/246", "moyenne", "Photometry"):
            assert words in text
        assert page.locator("a[href*='sclwsGetStarProxy.php']").count() == 1
    finally:
        context.close()
