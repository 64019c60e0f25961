"""A restricted table leaves by SAMP for TOPCAT itself, which has no cookie of the browser's: by a signed address; and lines that are copied work elsewhere."""

from __future__ import annotations

import contextlib
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from astropy.io.votable import parse_single_table
from browser_tab import BrowserTab, open_tab
from pyvo.samp.errors import SAMPProxyError
from samp_hub import HUB_ADDRESS

from process_runner import Server, run_hven, serve_site, wait_until
from requirements import require_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from pyvo.samp import SAMPHubServer

DESCRIPTOR = """\
collection: night
title: Observations
tables:
  main:
    source: {kind: csv, files: rows.csv}
    primary: id
    access: shown = 'yes' or 'spica' in groups
    columns:
      id: {type: int32}
      shown: {type: string}
"""
GRID = "table.live tr[data-key]"


@pytest.fixture(scope="module")
def restricted_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    site = tmp_path_factory.mktemp("signed") / "site"
    folder = site / "collections" / "night"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text('name = "signed"\n[people]\ngroups = {spica = ["anna"]}\n')
    (folder / "night.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("id,shown\n1,yes\n2,no\n3,no\n")
    run_hven("ingest", "--site", site, "night")
    token = run_hven("user", "add", "--site", site, "anna").stdout.strip()
    with serve_site(site) as made:
        yield made, token


@pytest.fixture
def anna(browser: Browser, restricted_site: tuple[Server, str], external_programs: None) -> Iterator[BrowserTab]:
    """Log in."""
    server, token = restricted_site
    for tab in open_tab(browser, server, viewport={"width": 1440, "height": 900}):
        page = tab.open_page("/login")
        page.fill("[name=name]", "anna")
        page.fill("[name=token]", token)
        tab.follow_link("main button")
        yield tab


@pytest.fixture
def real_topcat(hub: SAMPHubServer, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run TOPCAT on a screen that nobody sees; it finds our hub by the file that the hub wrote."""
    display, topcat = require_program("xvfb-run"), require_program("topcat")
    environment = {**os.environ, "SAMP_HUB": f"std-lockurl:{(tmp_path / 'samp').as_uri()}", "HOME": str(tmp_path)}
    with (tmp_path / "topcat.log").open("wb") as log:
        made = subprocess.Popen([display, "-a", topcat, f"-Duser.home={tmp_path}"], env=environment, stdout=log, stderr=log, start_new_session=True)  # fmt: skip
        try:
            yield made
        finally:
            os.killpg(made.pid, 15)
            made.wait(60)


def test_topcat_loads_a_restricted_table_by_a_signed_address(
    anna: BrowserTab,
    hub: SAMPHubServer,
    topcat: Any,
    real_topcat: subprocess.Popen[bytes],
    restricted_site: tuple[Server, str],
) -> None:
    client = topcat.client

    def theirs() -> str:
        names = {one: client.get_metadata(one).get("samp.name") for one in client.get_registered_clients()}
        return next((one for one, name in names.items() if name == "topcat"), "")

    wait_until(lambda: theirs() != "" or real_topcat.poll() is not None, 300)
    wait_until(lambda: "table.load.votable" in client.get_subscriptions(theirs()), 300)
    anna.allowed = (HUB_ADDRESS,)
    page = anna.open_page("/collections/night/main")
    page.wait_for_selector(GRID)
    page.click("summary:text-is('SAMP')")
    page.click("[data-samp] button:text-is('Connect')")
    page.wait_for_selector("[data-samp] select option:text-is('topcat')", state="attached")
    page.click("text=The table")
    sent = topcat.wait_for_message("table.load.votable")
    assert "hven-signed=" in sent["url"]
    assert "hven-signed=" not in sent["table-id"]

    def highlight_row(row: int) -> str:
        message = {"samp.mtype": "table.highlight.row", "samp.params": {"table-id": sent["table-id"], "row": str(row)}}
        for _ in range(10):
            # one that comes while TOPCAT loads the table, or opens a window, may never be answered
            with contextlib.suppress(SAMPProxyError):
                return str(client.call_and_wait(theirs(), message, "30")["samp.status"])
        return "no answer"

    # TOPCAT knows the table, and all three of its rows
    wait_until(lambda: highlight_row(0) == "samp.ok", 300)
    assert highlight_row(2) == "samp.ok"
    assert highlight_row(3) not in {"samp.ok", "no answer"}
    log = (restricted_site[0].site / "serve.log").read_text()
    assert "hven-signed" not in log
    assert "/sign" in log


def test_a_line_that_is_copied(anna: BrowserTab, tmp_path: Path) -> None:
    anna.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = anna.open_page("/collections/night/main")
    page.wait_for_selector(GRID)
    page.click("summary:text-is('Copy as')")
    page.click(".copyable:has-text('curl') button.copy")
    page.wait_for_selector("button.copy:text-is('Copied')")
    line = page.evaluate("navigator.clipboard.readText()")
    assert line.startswith("curl -f -o answer.vot 'http://127.0.0.1:")
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, capture_output=True)
    assert len(parse_single_table(tmp_path / "answer.vot").to_table()) == 3
    address = line.split("'")[1]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.replace("QUERY=", "MAXREC=1&QUERY="))
