"""The page of comparisons in a browser: on a desk and on a phone, by day and by night, and without scripts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

DESCRIPTOR = """\
collection: NAME
title: Stars
tables:
  main:
    source: stars.csv
    columns:
      ra: {type: float64, unit: UNIT, ucd: pos.eq.ra, description: Right ascension of the star at the epoch 2000}
      hip: {type: TYPE, ucd: meta.id, description: Number in the catalogue of Hipparcos}
"""
VIEWPORTS = {"desk": {"width": 1440, "height": 900}, "phone": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def surveys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("compare") / "site"
    for name, unit, type_name in (("hipparcos", "deg", "int32"), ("tycho", "rad", "string")):
        folder = site / "collections" / name
        folder.mkdir(parents=True)
        text = DESCRIPTOR.replace("NAME", name).replace("UNIT", unit).replace("TYPE", type_name)
        (folder / f"{name}.yaml").write_text(text)
        (folder / "stars.csv").write_text("ra,hip\n1,1\n")
    (site / "hven.toml").write_text('name = "surveys"\ntitle = "Uraniborg"\n')
    run_hven("ingest", "hipparcos", "--site", site)
    run_hven("ingest", "tycho", "--site", site)
    with serve_site(site) as server:
        yield server


def take_picture(tab: BrowserTab, name: str) -> None:
    if folder := os.environ.get("HVEN_PICTURES"):
        tab.page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", VIEWPORTS)
def test_the_page_fits_and_can_be_heard(browser: Browser, surveys: Server, viewport: str, scheme: str) -> None:
    size = VIEWPORTS[viewport]
    for tab in open_tab(browser, surveys, viewport=size, color_scheme=scheme):
        for name, path in (("name", "/compare"), ("unit", "/compare?group=unit"), ("one", "/compare?model=tycho")):
            page = tab.open_page(path)
            take_picture(tab, f"compare-{name}-{viewport}-{scheme}")
            assert tab.find_accessibility_faults() == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path


def test_a_conflict_has_an_address_without_scripts(browser: Browser, surveys: Server) -> None:
    context = browser.new_context(java_script_enabled=False, locale="fr-FR", viewport=VIEWPORTS["phone"])
    try:
        page = context.new_page()
        page.goto(f"{surveys.url}/compare")
        assert "hipparcos: hipparcos.main.ra" in page.inner_text("main")
        page.click("main td a >> nth=0")
        identifier = page.url.rpartition("conflict=")[2]
        assert page.locator(f"#c-{identifier}").is_visible()
        assert page.locator("main td [id^=c-]").count() == 1, "other conflicts are left out"
        page.select_option("select[name=group]", "ucd")
        page.click("main button")
        assert "group=ucd" in page.url
    finally:
        context.close()
