"""HAPI's own verifier (verifier-nodejs, fetched elsewhere: HVEN_VERIFIER says where) finds no fault in what the example of time series serves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from process_runner import run_hven, serve_site

ROOT = Path(__file__).parents[4]

VERIFIER = os.environ.get("HVEN_VERIFIER", "")  # its directory, with HAPI's schemas in data-specification-schema
pytestmark = pytest.mark.needs("HVEN_VERIFIER")


def test_the_verifier_finds_no_fault(tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(ROOT / "examples/19-time-series", site, ignore=shutil.ignore_patterns("var", "data"))
    subprocess.run([sys.executable, "make_data.py"], cwd=site, check=True)
    for name in ("orfees", "nda", "goes", "silso"):
        run_hven("ingest", name, "--site", site)
    told = tmp_path / "told"  # no pipe, which it leaves before all is through
    with serve_site(site) as server, told.open("wb") as out:
        given = ["--url", f"{server.url}/hapi", "--output", "json", "--datatimeout", "60000", "--metatimeout", "30000"]
        subprocess.run(["node", "verify.js", *given], cwd=VERIFIER, stdout=out, check=False, timeout=600)
    text = told.read_text()
    found = json.loads(text[text.index("{") :])
    assert len(found["passes"]) > 1000
    assert found["fails"] == []
