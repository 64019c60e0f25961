"""The client of the protocol's own library, in both eras of the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from hven.plugins.mcp.service import TOOLS
from hven.testing.site import open_tiny_site
from process_runner import serve_site
from requirements import ROOT, require

pytestmark = pytest.mark.outside


def test_the_client_of_the_protocols_library_works_in_both_eras(tmp_path: Path) -> None:
    require("mcp-client")
    open_tiny_site(tmp_path / "site", {"s.t": pa.table({"x": [1, 2, 3]})}).close()
    (tmp_path / "site/hven.toml").write_text('name = "x"\n')
    with serve_site(tmp_path / "site") as server:
        for mode, version in (("auto", "2026-07-28"), ("legacy", "2025-11-25")):
            done = subprocess.run(
                [sys.executable, Path(__file__).with_name("client_calls.py"), f"{server.url}/mcp", mode],
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
                env={**os.environ, "PYTHONPATH": str(ROOT / ".cache/mcp")},
            )
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)
            assert (told["version"], told["tools"], told["is_error"]) == (version, list(TOOLS), [False, True])
            assert (told["rows"]["rows"], told["rows"]["complete"]) == ([[1], [2]], False)
            assert "y" in told["fault"]
