"""All answers fit the protocol's own schema, in both eras of the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Client
from mcp_requests import send

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.plugins.mcp.json_rpc import LEGACY_VERSIONS, MODERN_VERSION
from hven.testing.site import open_site_with_uningested_files
from requirements import ROOT, require

pytestmark = pytest.mark.outside
JUDGES = ("mcp-types", "schema.json")
DESCRIPTOR = """\
collection: stars
title: Stars
licence: CC-BY-4.0
tables:
  main:
    primary: id
    position: [ra, dec]
    columns:
      id: {type: int32, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
    source: {kind: csv, files: stars.csv}
    links:
      - {semantics: this, text: "https://files.example/{target.id}"}
"""
FILES = {"stars.csv": "id,ra,dec\n1,10.0,20.0\n2,,\n"}
CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("search_collections", {"text": "stars"}),
    ("describe_table", {"table": "stars.main"}),
    ("sample", {"table": "stars.main", "limit": 1}),
    ("cone", {"table": "stars.main", "ra": 10, "dec": 20, "radius": 1}),
    ("query", {"adql": "SELECT * FROM stars.main"}),
    ("query", {"adql": "SELECT nothing FROM stars.main"}),
    ("query", {"limit": 1}),
    ("resolve", {"name": "no such object"}),
    ("links", {"table": "stars.main", "id": "1"}),
    ("cite", {"collection": "stars"}),
    ("no_such_tool", {}),
)
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tools/list", {}),
    ("tools/list", {"cursor": "2"}),
    ("prompts/list", {}),
    *(("tools/call", {"name": name, "arguments": arguments}) for name, arguments in CALLS),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with open_site_with_uningested_files(tmp_path_factory.mktemp("schema"), DESCRIPTOR, FILES) as site:
        report = ingest_collection(site, "stars")
        assert report.published, report.error
        site.refresh_published_state()
        yield Client(create_and_start_application(site))


def send_legacy(client: Client, method: str, params: dict[str, Any], version: str) -> dict[str, Any]:
    body = json.dumps({"jsonrpc": "2.0", "id": "a", "method": method, "params": params}).encode()
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    if method != "initialize":
        headers["mcp-protocol-version"] = version
    message: dict[str, Any] = json.loads(client.ask("POST", "/mcp", body=body, headers=headers).body)
    return message


def list_faults(answers: list[dict[str, Any]], judge: str) -> list[str]:
    """Return what the models of the library, or also the published schema, find wrong with each answer."""
    require("mcp-client")
    words = [sys.executable, Path(__file__).with_name("answer_validation.py")]
    if judge == "schema.json":
        require("HVEN_MCP_SCHEMAS")
        words.append(os.environ["HVEN_MCP_SCHEMAS"])
    done = subprocess.run(
        words,
        input=json.dumps(answers),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".cache/mcp")},
    )
    assert done.returncode == 0, done.stderr
    faults: list[str] = json.loads(done.stdout)
    return faults


def list_kinds(answers: list[dict[str, Any]]) -> set[str]:
    """Return which kinds of answers there are: a judge that sees only errors says nothing."""
    results = [answer["message"].get("result", {}) for answer in answers]
    kinds = {"result" for result in results if result.get("isError") is False}
    kinds |= {"fault of a call" for result in results if result.get("isError") is True}
    return kinds | {"error" for answer in answers if "error" in answer["message"]}


@pytest.mark.parametrize("judge", JUDGES)
def test_answers_of_the_modern_era_fit_its_schema(client: Client, judge: str) -> None:
    requests = (("server/discover", {}), *REQUESTS)
    answers = [
        {"version": MODERN_VERSION, "method": method, "message": json.loads(send(client, method, params).body)}
        for method, params in requests
    ]
    unknown_version = send(client, "tools/list", **{"mcp-protocol-version": "2031-01-01"})
    answers.append({"version": MODERN_VERSION, "method": "tools/list", "message": json.loads(unknown_version.body)})
    assert list_kinds(answers) == {"result", "fault of a call", "error"}
    assert list_faults(answers, judge) == [""] * len(answers)


@pytest.mark.parametrize(
    ("version", "judge"),
    [*((version, "mcp-types") for version in LEGACY_VERSIONS), (LEGACY_VERSIONS[0], "schema.json")],
)
def test_answers_of_earlier_eras_fit_their_schema(client: Client, version: str, judge: str) -> None:
    hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "judge", "version": "1"}}
    requests = (("initialize", hello), ("ping", {}), *REQUESTS)
    answers = [
        {"version": version, "method": method, "message": send_legacy(client, method, params, version)}
        for method, params in requests
    ]
    assert answers[0]["message"]["result"]["protocolVersion"] == version
    assert list_kinds(answers) == {"result", "fault of a call", "error"}
    assert list_faults(answers, judge) == [""] * len(answers)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("tools/list", {"jsonrpc": "2.0", "id": 1, "result": {}}),
        ("tools/list", {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": 5, "inputSchema": {}}]}}),
        ("tools/call", {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text"}]}}),
        ("tools/call", {"jsonrpc": "2.0", "id": 1, "error": {"code": "5", "message": "x"}}),
    ],
)
@pytest.mark.parametrize("judge", JUDGES)
def test_the_judge_finds_faults(method: str, message: dict[str, Any], judge: str) -> None:
    answers = [
        {"version": version, "method": method, "message": message} for version in (MODERN_VERSION, LEGACY_VERSIONS[0])
    ]
    assert all(list_faults(answers, judge))
