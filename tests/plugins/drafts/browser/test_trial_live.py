"""A curator drops a file on the portal, and sees what each service would make of it: without scripts of ours, for those who cannot see the page, and in French."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def curated_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    site = tmp_path_factory.mktemp("trial") / "site"
    (site / "collections").mkdir(parents=True)
    (site / "hven.toml").write_text('name = "trial"\n[health]\noperators = ["olga"]\n')
    token = run_hven("user", "add", "--site", site, "olga").stdout.strip()
    with serve_site(site) as made:
        yield made, token


@pytest.fixture
def olga(browser: Browser, curated_site: tuple[Server, str]) -> Iterator[BrowserTab]:
    server, token = curated_site
    for tab in open_tab(browser, server, viewport={"width": 1280, "height": 900}, locale="fr-FR"):
        page = tab.open_page("/login")
        page.fill("[name=name]", "olga")
        page.fill("[name=token]", token)
        tab.follow_link("main button")
        yield tab


def test_a_dropped_file_gets_a_draft_descriptor(olga: BrowserTab, tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("id,RAJ2000 (deg),DEJ2000 (deg)\nHD1,10.5,20.25\nHD2,11.5,-20.25\n")
    page = olga.open_page("/health")
    page.click("a[href$='/trial']")
    page.set_input_files("[name=file]", tmp_path / "stars.csv")
    olga.follow_link("main form button")
    assert page.locator("main [role=status]").inner_text() == "Le premier descripteur est sans défaut."
    rows = page.locator("table.faces tbody tr")
    served = {row.locator("td").first.inner_text() for row in rows.all() if "le sert" in row.inner_text()}
    assert any("TAP" in name for name in served)
    assert rows.filter(has_text="ne peut pas").count() > 1
    assert "kind: csv, files: data/stars.csv" in page.locator("pre").inner_text()
    assert page.get_by_role("cell", name="pos.eq.ra;meta.main").count() == 1
    assert olga.find_accessibility_faults() == []
    (tmp_path / "a.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    page.set_input_files("[name=file]", tmp_path / "a.csv")
    olga.follow_link("main form button")
    assert page.locator("[role=alert]").count() == 1
