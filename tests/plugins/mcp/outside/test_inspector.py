"""The protocol's own inspector (npm ``@modelcontextprotocol/inspector``) lists and calls tools, in both eras."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.plugins.mcp.service import TOOLS
from hven.testing.site import open_site_with_uningested_files
from process_runner import Server, serve_site
from requirements import MCP_INSPECTOR, find_node, require

pytestmark = pytest.mark.outside
ERAS = ("legacy", "modern")
FAULTY_TOOL_STATUS = 5  # of the inspector, for a result with isError
DESCRIPTOR = """\
collection: stars
tables:
  main:
    primary: id
    columns: {id: {type: int32}}
    source: {kind: csv, files: stars.csv}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require("mcp-inspector")
    directory = tmp_path_factory.mktemp("inspector")
    (directory / "hven.toml").write_text('name = "Inspected"\n', encoding="utf-8")
    with open_site_with_uningested_files(directory, DESCRIPTOR, {"stars.csv": "id\n1\n2\n"}) as site:
        report = ingest_collection(site, "stars")
        assert report.published, report.error
    with serve_site(directory) as served:
        yield served


def run_inspector(server: Server, home: Path, era: str, *words: str) -> tuple[int, str, str]:
    """Return the status of the inspector, and what it wrote: the result, and errors. Its own files are in `home`."""
    options = ["--transport", "http", "--protocol-era", era, "--format", "json", "--connect-timeout", "60000"]
    done = subprocess.run(
        [find_node() or "", MCP_INSPECTOR, "--cli", f"{server.url}/mcp", *options, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "HOME": str(home)},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_lists_the_tools(server: Server, tmp_path: Path, era: str) -> None:
    status, output, errors = run_inspector(server, tmp_path, era, "--method", "tools/list", "--strict")
    assert status == 0, f"{output}\n{errors}"
    result: dict[str, Any] = json.loads(output)
    assert [tool["name"] for tool in result.get("result", result)["tools"]] == list(TOOLS)


@pytest.mark.parametrize("era", ERAS)
def test_the_inspector_calls_a_tool(server: Server, tmp_path: Path, era: str) -> None:
    call = ("--method", "tools/call", "--tool-name", "query", "--tool-args-json")
    query = json.dumps({"adql": "SELECT id FROM stars.main ORDER BY id", "limit": 1})
    status, output, errors = run_inspector(server, tmp_path, era, *call, query)
    assert status == 0, f"{output}\n{errors}"
    result: dict[str, Any] = json.loads(output)
    content = result.get("result", result)["structuredContent"]
    assert (content["rows"], content["complete"]) == ([[1]], False)
    status, output, errors = run_inspector(server, tmp_path, era, *call, json.dumps({"adql": "SELEC"}))
    assert status == FAULTY_TOOL_STATUS, f"{status} {output}\n{errors}"
    assert "Next: " in output
