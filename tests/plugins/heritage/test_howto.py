"""What the how-to says to write does what it says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from process_runner import run_hven, serve_site
from shared import ROOT

pytestmark = pytest.mark.slow

STARS = "name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\nRigel,78.634,-8.202,0.18\n"


def read_block(page: str, kind: str) -> str:
    """Read the first block of a kind from a page."""
    found = re.search(rf"^```{kind}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no block of {kind}"
    return found[1]


def test_behind_a_proxy_and_under_old_addresses(tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text(STARS)
    site = tmp_path / "site"
    run_hven("init", site)
    run_hven("new", "stars", "--from", tmp_path / "stars.csv", "--site", site)
    run_hven("ingest", "stars", "--site", site)
    aliases = read_block("src/hven/plugins/heritage/docs/old-addresses.md", "toml")
    old = tomllib.loads(aliases)["alias"][0]["path"]
    (site / "hven.toml").write_text(read_block("docs/howto/reverse-proxy.md", "toml") + "\n" + aliases)
    with serve_site(site) as server:
        for prefix in ("/hven", ""):  # left in place by the proxy, or taken off
            status, headers, body = server.get(prefix + old, RA=101, DEC=-16, SR=90, max=1)
            assert (status, headers["content-type"].partition(";")[0]) == (200, "text/xml")
            assert body.count(b"<TR>") == 1
            assert b"OVERFLOW" in body
