"""Request ids, access log, CORS, aliases, root path."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hven.server.alias import Aliases
from hven.server.edge import Edge
from hven.settings import Alias, Settings


def ask(app: Any, path: str, query: bytes = b"", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Call an ASGI application; give status, headers and body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query, "headers": [(b"host", b"vo.example"), *raw], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"path": request.url.path, "query": dict(request.query_params)})


def application(**settings: Any) -> Any:
    made = Settings(directory=Path(), **settings)
    return Edge(Aliases(Starlette(routes=[Route("/{rest:path}", echo)]), made), made)


def test_every_answer_has_an_id_and_the_log_has_it_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hven.access"):
        status, headers, _ = ask(application(), "/tap/sync", b"QUERY=x")
    line = json.loads(caplog.records[-1].getMessage())
    assert status == 200
    assert line["id"] == headers["x-request-id"]
    assert (line["path"], line["query"], line["status"]) == ("/tap/sync", "QUERY=x", 200)
    assert headers["server"].startswith("Hven/")


def test_a_proxys_id_is_kept_and_a_hostile_one_is_not() -> None:
    assert ask(application(), "/", x_request_id="abc-123")[1]["x-request-id"] == "abc-123"
    assert ask(application(), "/", x_request_id="a\tb<script>")[1]["x-request-id"] != "a\tb<script>"


def test_cors_for_everybody_by_default() -> None:
    _, headers, _ = ask(application(), "/", origin="https://aladin.example")
    assert headers["access-control-allow-origin"] == "*"
    assert "X-Request-Id" in headers["access-control-expose-headers"]


def test_cors_for_some() -> None:
    app = application(cors=("https://a.example",))
    assert ask(app, "/", origin="https://a.example")[1]["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in ask(app, "/", origin="https://b.example")[1]


def test_preflight_is_answered_at_the_edge() -> None:
    status, headers, body = ask(
        application(), "/tap/sync", method="OPTIONS", origin="https://x.example", access_control_request_headers="authorization"
    )
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-headers"] == "authorization"
    assert "POST" in headers["access-control-allow-methods"]


def test_an_alias_renames_and_fixes_parameters() -> None:
    old = Alias(path="/cgi-bin/scs", to="/cone/stars.main", rename={"radius": "SR"}, set={"VERB": "3"})
    _, _, body = ask(application(aliases=(old,)), "/cgi-bin/scs", b"RA=1&DEC=2&RADIUS=0.5")
    assert json.loads(body) == {"path": "/cone/stars.main", "query": {"RA": "1", "DEC": "2", "SR": "0.5", "VERB": "3"}}


def test_an_alias_yields_to_what_the_reader_says() -> None:
    old = Alias(path="/old", to="/new", set={"VERB": "3"})
    _, _, body = ask(application(aliases=(old,)), "/old", b"verb=1")
    assert json.loads(body)["query"] == {"verb": "1"}


@pytest.mark.parametrize(
    ("path", "seen"), [("/hven/tap/sync", "/tap/sync"), ("/hven", "/"), ("/tap/sync", "/tap/sync"), ("/hvenx", "/hvenx")]
)
def test_the_root_path_is_taken_off(path: str, seen: str) -> None:
    assert json.loads(ask(application(root_path="/hven"), path)[2])["path"] == seen
