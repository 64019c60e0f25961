"""The pages of quantities in a browser: on a desk and on a phone, by day and by night, and in the panel of a row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab
from quantity_samples import FILES, STARS

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

TABLE_PATH = "/collections/stars/main"
VIEWPORTS = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("quantities") / "site"
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
def test_the_pages_fit_and_can_be_heard(browser: Browser, stars: Server, viewport: str, scheme: str) -> None:
    size = VIEWPORTS[viewport]
    paths = {"rows": f"{TABLE_PATH}/quantities", "row": f"{TABLE_PATH}/quantities?_row=[1]", "table": TABLE_PATH}
    for tab in open_tab(browser, stars, viewport=size, color_scheme=scheme):
        for name, path in paths.items():
            page = tab.open_page(path)
            if name == "table":
                page.click(".table-quantities summary")
            take_picture(tab, f"quantities-{name}-{viewport}-{scheme}")
            assert tab.find_accessibility_faults() == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path


@pytest.mark.parametrize("viewport", VIEWPORTS)
def test_the_panel_of_a_row_shows_values_with_origins(browser: Browser, stars: Server, viewport: str) -> None:
    for tab in open_tab(browser, stars, viewport=VIEWPORTS[viewport]):
        page = tab.open_page(f"{TABLE_PATH}?_row=[1]")
        page.wait_for_selector(".row-quantities dt")
        text = page.inner_text(".row-quantities")
        assert "3 ± 0.03 mag" in text
        assert "2MASS" in text
        take_picture(tab, f"quantities-panel-{viewport}")
        assert tab.find_accessibility_faults() == []


def test_the_pages_are_read_without_scripts_and_in_french(browser: Browser, stars: Server) -> None:
    context = browser.new_context(java_script_enabled=False, locale="fr-FR", viewport=VIEWPORTS["phone"])
    try:
        page = context.new_page()
        page.goto(f"{stars.url}{TABLE_PATH}/quantities")
        page.click("main tbody a:has-text('toutes les valeurs') >> nth=0")
        text = page.inner_text("main")
        assert "moyenne" in text
        assert "2MASS" in text
    finally:
        context.close()
