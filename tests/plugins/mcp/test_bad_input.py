"""Whatever a client sends, the answer says in words what is wrong and what to do."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from mcp_requests import call, send

from hven.app._server import create_and_start_application
from hven.plugins.mcp.json_rpc import MODERN_VERSION
from hven.plugins.mcp.service import MAX_BODY_BYTES, TOOLS
from hven.site import Site
from hven.testing.site import open_tiny_site

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ARGUMENT_NAMES = sorted({argument.name for tool in TOOLS.values() for argument in tool.arguments})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("bad"), {"s.t": pa.table({"x": list(range(3000))})}) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def find_message(body: bytes) -> str:
    message: str = json.loads(body)["error"]["message"]
    return message


def test_a_question_for_all_rows_is_answered_with_a_part_and_the_way_to_the_rest(client: Client) -> None:
    result = call(client, "query", adql="SELECT * FROM s.t", limit=1000)
    content, text = result["structuredContent"], result["content"][0]["text"]
    assert (len(content["rows"]), content["complete"]) == (1000, False)
    assert "download all rows from the address in `download`" in text
    path = content["download"].partition("/tap/")[2]
    assert len(client.ask("GET", f"/tap/{path}").text.split()) == 3001


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "query", "arguments": {"adql": "SELECT 1"}, "inputSchema": {"type": "object"}}, "'inputSchema'"),
        ({"name": "query", "arguments": {"adql": "SELECT 1"}, "outputSchema": {"type": "array"}}, "tools/list"),
        ({"name": "qurey", "arguments": {}}, "did you mean 'query'? the tools are search_collections"),
        ({"name": "x" * 10_000, "arguments": {}}, "the tools are search_collections"),
        ({"name": ["query"], "arguments": {}}, "there is no such tool"),
        ({"arguments": {}}, "there is no such tool"),
    ],
)
def test_calls_that_are_no_calls(client: Client, params: dict[str, Any], words: str) -> None:
    name = params.get("name")
    headers = {"mcp-name": name} if isinstance(name, str) else {}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answers = [client.ask("POST", "/mcp", body=json.dumps(body).encode())]
    if headers:
        answers.append(send(client, "tools/call", params, **headers))
    for answer in answers:
        assert answer.status == 400
        message = find_message(answer.body)
        assert words.lower() in message.lower()
        assert len(message) < 500


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "arguments is not an object"),
        ("adql", "arguments is not an object"),
        ({"adql": "SELECT 1", "$schema": "https://json-schema.org/draft/2020-12/schema"}, "there is no argument"),
        ({"adql": "SELECT 1", "x" * 100_000: 1}, "there is no argument"),
        ({"adql": "SELECT " + "x" * 200_000}, "longer than 100,000 characters"),
        ({"adql": {"adql": "SELECT 1"}}, "not of the type string"),
        ({"adql": "SELECT x FROM s.t", "limit": 10**9}, "out of range"),
        ({"adql": "SELECT x FROM s.t", "limit": 1.5}, "not of the type integer"),
        ({"adql": "SELECT x FROM s.t", "limit": True}, "not of the type integer"),
        ({"adql": "SELECT x FROM s.t", "as_of": "yesterday"}, "yesterday"),
        ({"adql": "SELECT x FROM s.t; DROP TABLE s.t"}, ";"),
        ({"adql": "(" * 50_000}, "nest"),
    ],
)
def test_arguments_that_do_not_fit(client: Client, arguments: Any, words: str) -> None:
    result = json.loads(send(client, "tools/call", {"name": "query", "arguments": arguments}).body)["result"]
    assert result["isError"] is True
    text = result["content"][0]["text"]
    assert words in text
    assert "Next: describe_table lists the columns" in text
    assert len(text) < 2_000


def nest(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_deep_json_is_answered(client: Client, depth: int) -> None:
    body = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "query", "arguments": {"adql": %s}}}'
    answer = client.ask("POST", "/mcp", body=(body % nest(depth)).encode())
    if answer.status == 200:
        assert "not of the type string" in json.loads(answer.body)["result"]["content"][0]["text"]
    else:
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, -32700)
        assert "nested too deep" in find_message(answer.body)


def test_a_body_that_is_too_large_is_refused(client: Client) -> None:
    answer = client.ask("POST", "/mcp", body=b"[" + b" " * MAX_BODY_BYTES + b"]")
    assert answer.status == 413
    assert "bytes" in find_message(answer.body)


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        ([{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}], {}, "no batches"),
        ({"jsonrpc": "2.0", "id": 1, "result": {}}, {}, "no request and no notification"),
        ({"jsonrpc": "2.0", "id": None, "method": "tools/list"}, {}, "the id is neither"),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": [1]}, {}, "by their names"),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": MODERN_VERSION}},
            {"mcp-protocol-version": MODERN_VERSION},
            "none is initialize",
        ),
        (
            {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
            {"mcp-protocol-version": "2024-11-05"},
            "it knows 2026-07-28, 2025-11-25",
        ),
    ],
)
def test_messages_of_no_era(client: Client, body: Any, headers: dict[str, str], words: str) -> None:
    answer = client.ask("POST", "/mcp", body=json.dumps(body).encode(), headers=headers)
    assert answer.status == 400
    assert words in find_message(answer.body)


def test_a_message_of_the_modern_era_without_capabilities(client: Client) -> None:
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN_VERSION}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": "tools/list"}
    answer = client.ask("POST", "/mcp", body=json.dumps(body).encode(), headers=headers)
    assert "clientCapabilities" in find_message(answer.body)


def test_names_in_headers_may_be_encoded(client: Client) -> None:
    name = f"=?base64?{base64.b64encode(b'query').decode()}?="
    params = {"name": "query", "arguments": {"adql": "SELECT COUNT(*) AS n FROM s.t"}}
    assert send(client, "tools/call", params, **{"mcp-name": name}).status == 200
    assert send(client, "tools/call", params, **{"mcp-name": "=?base64?%?="}).status == 400


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/json, text/event-stream", "application/json"),
        ("text/event-stream", "text/event-stream"),
        ("*/*", "application/json"),
        ("text/html", ""),
    ],
)
def test_the_answer_has_a_type_that_the_client_takes(client: Client, accept: str, media_type: str) -> None:
    answer = send(client, "tools/list", accept=accept)
    if not media_type:
        assert answer.status == 406
        assert "name them in the header Accept" in find_message(answer.body)
        return
    assert answer.headers["content-type"] == media_type
    text = answer.text
    if media_type == "text/event-stream":
        assert text.startswith("event: message\ndata: ")
        assert text.endswith("\n\n")
        text = text.strip().partition("data: ")[2]
    assert len(json.loads(text)["result"]["tools"]) == len(TOOLS)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_other_methods_are_refused_in_words(client: Client, method: str) -> None:
    answer = client.ask(method, "/mcp", headers={"accept": "text/event-stream"})
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "by POST" in answer.text


@given(
    tool=st.sampled_from(list(TOOLS)),
    arguments=st.dictionaries(st.sampled_from(ARGUMENT_NAMES), JSON_VALUES, max_size=4),
)
def test_any_arguments_are_answered(client: Client, tool: str, arguments: dict[str, Any]) -> None:
    arguments.pop("path", None)
    call(client, tool, **arguments)


@given(body=st.binary(max_size=40) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_answered(client: Client, body: bytes) -> None:
    answer = client.ask("POST", "/mcp", body=body)
    assert answer.status in {200, 202, 400}
    assert answer.status == 202 or find_message(answer.body)


def test_a_fault_of_the_server_is_answered_under_the_id_of_the_request(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("hven.query.resolver.resolve_object_name", fail)
    answer = send(client, "tools/call", {"name": "resolve", "arguments": {"name": "M 31"}})
    told = json.loads(answer.body)
    assert (answer.status, told["id"], told["error"]["code"]) == (500, 7, -32603)
    assert "secret" not in answer.text


@pytest.mark.parametrize("headers", [{"mcp-protocol-version": "2031-01-01"}, {"mcp-method": "tools/call"}])
def test_a_refused_message_is_answered_under_its_id(client: Client, headers: dict[str, str]) -> None:
    answer = send(client, "tools/list", **headers)
    assert answer.status == 400
    assert json.loads(answer.body)["id"] == 7
