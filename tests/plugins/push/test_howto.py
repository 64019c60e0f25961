"""What the how-to says to write does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from process_runner import run_hven, serve_site, wait_until
from shared import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "src/hven/plugins/push/docs/push.md").read_text(encoding="utf-8")


def read_block(kind: str) -> str:
    """Read the first block of a kind from the how-to."""
    found = re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"push.md has no block of {kind}"
    return found[1]


def test_five_lines_of_python_write_a_row(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    place = tmp_path / "site/collections/night"
    place.mkdir(parents=True)
    (place / "night.yaml").write_text(read_block("yaml"))
    assert "0 errors, 0 warnings" in run_hven("check", "night", "--site", tmp_path / "site").stdout
    for line in read_block("sh").splitlines():
        said = run_hven(*line.split()[1:], "--site", tmp_path / "site").stdout
    (token,) = re.findall(r"anna\.\S+|\b[0-9a-f]{12}\.\S+", said)
    with serve_site(tmp_path / "site", workers=2) as server:
        lines = read_block("python").replace("http://127.0.0.1:8080", server.url)
        for number in (1, 2):
            environment = {**os.environ, "HVEN_TOKEN": token}
            code = lines.replace("21:04", f"21:0{number}")
            told = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True, timeout=300)  # fmt: skip
            assert told.stdout.split() == ["201", f"[{number}]"]
        wait_until(lambda: server.rows("SELECT COUNT(*) FROM night.lines") == [[2]])
