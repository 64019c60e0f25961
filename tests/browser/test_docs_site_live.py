"""The documentation as a site: built strictly, read in Chromium from the disk, without any network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from requirements import require
from shared import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FETCHED = ROOT / ".cache/docs"  # by scripts/docs, where npm is there


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as `scripts/docs` does: a warning (a broken link, an unknown anchor, a page that no list names) is an error."""
    require("mkdocs")
    place = tmp_path_factory.mktemp("docs") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)]
    done = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_every_page_is_there_and_asks_nobody_elsewhere(site: Path) -> None:
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")} - {Path("README.md")}
    for page in written:
        built = page.with_name("index.html") if page.name == "README.md" else page.with_suffix(".html")
        assert (site / built).is_file(), page
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(written)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        asked = re.findall(r'<(?:script|img|iframe)[^>]+src="?(https?:[^"\s>]+)', text)
        asked += re.findall(r'<link[^>]+rel="?(?:stylesheet|preconnect|icon)[^>]+href="?(https?:[^"\s>]+)', text)
        assert asked == [], page


def test_it_is_read_and_searched_without_network(site: Path, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, offline=True)
    try:
        tab = context.new_page()
        asked: list[str] = []
        faults: list[str] = []
        tab.on("request", lambda request: asked.append(request.url) if request.url.startswith("http") else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto((site / "index.html").as_uri())
        assert tab.locator("article h1").inner_text().rstrip("¶") == "Hven"
        tab.locator("nav.md-tabs a", has_text="Tutorials").click()
        tab.wait_for_url("**/tutorials/csv-to-topcat.html")
        tab.locator(".md-sidebar--primary a", has_text="Examples").first.click()
        tab.wait_for_url("**/repository/examples/about.html")
        if (FETCHED / "iframe-worker-1.0.4.js").exists():
            tab.keyboard.press("/")
            tab.keyboard.type("TOPCAT")
            tab.locator(".md-search-result__link").first.wait_for()
        assert asked == []
        assert faults == []
    finally:
        context.close()


def test_pages_fit_on_a_phone(site: Path, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, offline=True)
    try:
        tab = context.new_page()
        for page in ("index.html", "tutorials/csv-to-topcat.html", "reference/cli.html", "decisions/index.html"):
            tab.goto((site / page).as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), page
    finally:
        context.close()
