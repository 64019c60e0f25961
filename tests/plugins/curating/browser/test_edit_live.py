"""A curator edits the texts of a collection and writes news, without any script; for those who cannot see the page, on a phone, and in French."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import Server, run_hven, serve_site, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

DESCRIPTOR = """\
collection: cubes   # ask anna
title: Cubes
tables:
  main:
    source: {kind: csv, files: a.csv}
    primary: id
    columns:
      id: {type: int32, ucd: meta.id;meta.main, description: Number}
"""


@pytest.fixture(scope="module")
def curated_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, str]]:
    site = tmp_path_factory.mktemp("edit") / "site"
    (site / "collections/cubes").mkdir(parents=True)
    (site / "collections/cubes/cubes.yaml").write_text(DESCRIPTOR)
    (site / "collections/cubes/a.csv").write_text("id\n1\n2\n")
    (site / "hven.toml").write_text('name = "edit"\ntitle = "Uraniborg"\n[health]\noperators = ["olga"]\n')
    run_hven("ingest", "--site", site, "cubes")
    token = run_hven("user", "add", "--site", site, "olga").stdout.strip()
    with serve_site(site) as made:
        yield made, site, token


def log_in(tab: BrowserTab, token: str) -> BrowserTab:
    page = tab.open_page("/login")
    page.fill("[name=name]", "olga")
    page.fill("[name=token]", token)
    tab.follow_link("main button")
    return tab


def test_texts_are_edited_without_scripts(browser: Browser, curated_site: tuple[Server, Path, str]) -> None:
    server, site, token = curated_site
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    page = context.new_page()
    try:
        page.goto(f"{server.url}/login")
        page.fill("[name=name]", "olga")
        page.fill("[name=token]", token)
        page.click("main button")
        page.goto(f"{server.url}/collections/cubes")
        page.click("text=Edit texts")
        page.fill("[name='title.en']", "Cubes of Mars")
        page.fill("[name='description.fr']", "Des cubes.\n\nDe Mars.")
        page.keyboard.press("Tab")
        page.click("text=Save draft and preview")
        assert "Cubes of Mars" in page.inner_text("#preview")
        assert (site / "collections/cubes/cubes.yaml").read_text() == DESCRIPTOR
        page.click("button:text-is('Publish')")
        assert "Published." in page.inner_text("[role=status]")
        page.click("text=See the page")
        wait_until(lambda: bool(page.reload()) and page.inner_text("h1") == "Cubes of Mars")
        page.goto(f"{server.url}/edit")
        page.click("text=Write news")
        page.fill("[name='text.en']", "# New cubes\n\n**All** of them.")
        page.click("button:text-is('Publish')")
        wait_until(lambda: "New cubes" in (page.goto(f"{server.url}/news") and page.inner_text("main")))
    finally:
        context.close()
    text = (site / "collections/cubes/cubes.yaml").read_text()
    assert text.startswith("collection: cubes   # ask anna\ntitle: Cubes of Mars\ndescription:")


def test_two_curators_meet(browser: Browser, curated_site: tuple[Server, Path, str]) -> None:
    server, site, token = curated_site
    for tab in open_tab(browser, server, viewport={"width": 390, "height": 800}, locale="fr-FR"):
        tab.expected = ("409 (Conflict)",)
        page = log_in(tab, token).open_page("/edit/home")
        page.fill("[name='text.en']", "# Mine")
        (site / "home.md").write_text("# Of somebody else\n")
        with page.expect_navigation():
            page.click("button:text-is('Publier')")
        assert "quelqu'un a modifié le texte depuis que vous avez commencé à l'éditer" in page.inner_text(
            "[role=alert] >> nth=0"
        )
        assert "-# Of somebody else" in page.inner_text(".clash pre")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.find_accessibility_faults() == []
        if folder := os.environ.get("HVEN_PICTURES"):
            page.screenshot(path=f"{folder}/edit-conflict.png", full_page=True)
        page.click("text=Continuer avec le mien")
        page.click("button:text-is('Publier')")
        page.wait_for_selector("[role=status]:has-text('Publié.')")
        assert (site / "home.md").read_text() == "# Mine\n"
        page.set_viewport_size({"width": 1280, "height": 900})
        tab.open_page("/edit/collections/cubes")
        assert tab.find_accessibility_faults() == []
        if folder:
            page.screenshot(path=f"{folder}/edit-collection.png", full_page=True)
