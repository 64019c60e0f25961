"""Scripts of a package of another project in a real browser: its pane is mounted, and adds an action to the panels of rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from browser_tab import BrowserTab, open_tab

from process_runner import run_hven, serve_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from process_runner import Server

FILES = {
    "hven_moon-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: hven-moon\nVersion: 1.0\n",
    "hven_moon-1.0.dist-info/entry_points.txt": "[hven.plugins]\nmoon = hven_moon.plugin\n",
    "hven_moon/__init__.py": "",
    "hven_moon/plugin.py": """\
from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="moon",
    title="Say when the Moon disturbs observations",
    pages="hven_moon.pages:PAGES",
    scripts="hven_moon:scripts",
)
""",
    "hven_moon/pages.py": """\
from pathlib import Path

from hven.portal.api.pages import PortalPages

PAGES = PortalPages(
    build_routes=lambda context: [],
    template_directory=Path(__file__).parent / "templates",
    parts={"header": "moon.html"},
)
""",
    "hven_moon/templates/moon.html": """\
<link rel="stylesheet" href="{{ asset("moon/moon.css") }}">
<span data-pane="moon" data-now></span>
""",
    "hven_moon/scripts/moon.css": "[data-pane=moon] { color: rgb(1, 2, 3); }\n",
    "hven_moon/scripts/moon.js": """\
import { PHASE } from "./phases/phases.js";

export function mount(element, workspace) {
  element.append(`${PHASE} at ${workspace.base}`);
  workspace.addRowAction(({ tableUrl, keys }) => {
    const button = document.createElement("button");
    button.textContent = `Observe ${keys[0]} of ${tableUrl.slice(workspace.base.length)}`;
    return button;
  });
}
""",
    "hven_moon/scripts/phases/phases.js": "export const PHASE = 'Full moon';\n",
}


@pytest.fixture(scope="module")
def moonlit_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("moon")
    for name, text in FILES.items():
        path = directory / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    site = directory / "site"
    (site / "collections/stars").mkdir(parents=True)
    (site / "collections/stars/stars.yaml").write_text(
        "collection: stars\ntitle: Stars\ntables: {main: {source: stars.csv, primary: name}}\n", encoding="utf-8"
    )
    (site / "collections/stars/stars.csv").write_text("name\nVega\nSirius\n", encoding="utf-8")
    (site / "hven.toml").write_text('name = "moon"\n', encoding="utf-8")
    run_hven("ingest", "--site", site, "stars")
    with serve_site(
        site, command=["env", f"PYTHONPATH={directory / 'packages'}", sys.executable, "-m", "hven"]
    ) as made:
        yield made


@pytest.fixture
def tab(browser: Browser, moonlit_site: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, moonlit_site, viewport={"width": 1440, "height": 900})


def test_a_pane_is_mounted_and_adds_an_action_to_rows(tab: BrowserTab) -> None:
    page = tab.open_page("/collections/stars/main?_row=%5B%22Vega%22%5D")
    pane = page.wait_for_selector("header [data-pane=moon][data-ready]")
    assert pane.inner_text().startswith("Full moon at http://")
    assert pane.evaluate("(element) => getComputedStyle(element).color") == "rgb(1, 2, 3)"
    action = page.wait_for_selector(".detail .added-actions button:has-text('Observe')")
    assert action.inner_text() == 'Observe ["Vega"] of /collections/stars/main'
