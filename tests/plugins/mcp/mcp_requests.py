"""Send messages of the Model Context Protocol to an application, as clients of the modern era do."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
from asgi_client import Answer, Client

from hven.plugins.mcp.json_rpc import MODERN_VERSION
from hven.plugins.mcp.service import TOOLS


def send(
    client: Client, method: str, params: dict[str, Any] | None = None, path: str = "/mcp", **headers: str
) -> Answer:
    """Send a request; headers replace those that belong to it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {**(params or {}), "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    all_headers = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": method, "content-type": "application/json"}
    if "name" in params:
        all_headers["mcp-name"] = params["name"]
    return client.ask("POST", path, body=body.encode(), headers={**all_headers, **headers})


def call(client: Client, tool: str, /, path: str = "/mcp", **arguments: Any) -> dict[str, Any]:
    """Call a tool; its answer must fit the tool's schema, and an incomplete one must say so first."""
    answer = send(client, "tools/call", {"name": tool, "arguments": arguments}, path)
    assert answer.status == 200, answer.text
    result: dict[str, Any] = json.loads(answer.body)["result"]
    text = result["content"][0]["text"]
    if result["isError"]:
        assert "Next: " in text, text
        return result
    content = result["structuredContent"]
    jsonschema.validate(content, TOOLS[tool].answer_schema, jsonschema.Draft202012Validator)
    assert json.loads(text.partition("\n")[2]) == content
    assert content["complete"] or text.startswith("INCOMPLETE: "), text
    return result
