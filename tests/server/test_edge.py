"""Request ids, access log, CORS, root path."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

from hven.app._server.logging_setup import (
    FLUSH_DELAY_SECONDS,
    LOGGING_CONFIG,
    MAX_BUFFERED_LINES,
    BufferedLogHandler,
    MessageFormatter,
)
from hven.app._server.request_middleware import RequestMiddleware
from hven.model.settings import Settings, load_settings
from hven.query.query_queue import current_requester
from hven.site.store import StateStore


def ask(
    app: Any, path: str, query: bytes = b"", method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Call an ASGI application; give status, headers and body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

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


def test_a_file_that_the_server_sends_itself_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "result.csv").write_bytes(b"x" * 1234)

    async def file(_: Request) -> FileResponse:
        return FileResponse(tmp_path / "result.csv")

    app = edge(Starlette(routes=[Route("/f", file)]), Settings(directory=tmp_path))

    def able(extensions: dict[str, Any]) -> Any:
        async def stays() -> None:
            await asyncio.Event().wait()

        async def call(scope: Any, _: Any, send: Any) -> None:
            await app({**scope, "extensions": extensions}, stays, send)

        return call

    lines = []
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=0-99"})):
        for server in (able({}), able({"http.response.pathsend": {}})):
            with caplog.at_level(logging.INFO, "hven.access"):
                ask(server, "/f", method=method, **headers)
            lines.append(json.loads(caplog.records[-1].getMessage()))
    assert [line["bytes"] for line in lines] == [1234, 1234, 0, 0, 100, 100]
    assert not any("cut" in line for line in lines)


@pytest.fixture(autouse=True)
def _change_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def edge(inside: Any, settings: Settings) -> RequestMiddleware:
    return RequestMiddleware(inside, settings, StateStore(settings.var_directory))


def application(**settings: Any) -> Any:
    made = Settings(directory=Path(), **settings)
    return edge(Starlette(routes=[Route("/{rest:path}", echo)]), made)


def test_every_answer_has_an_id_and_the_log_has_it_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hven.access"):
        status, headers, _ = ask(application(), "/tap/sync", b"QUERY=x")
    line = json.loads(caplog.records[-1].getMessage())
    assert status == 200
    assert line["id"] == headers["x-request-id"]
    assert (line["path"], line["query"], line["status"]) == ("/tap/sync", "QUERY=x", 200)
    assert headers["server"].startswith("Hven/")
    assert "query_cut" not in line


def test_the_log_says_if_it_has_only_the_beginning_of_a_query(caplog: pytest.LogCaptureFixture) -> None:
    for size in (2000, 2001):
        with caplog.at_level(logging.INFO, "hven.access"):
            ask(application(), "/tap/sync", b"x" * size)
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "hven.access"]
    assert [len(line["query"]) for line in lines] == [2000, 2000]
    assert [line.get("query_cut") for line in lines] == [None, True]


def test_a_proxys_id_is_kept_and_a_hostile_one_is_not() -> None:
    assert ask(application(), "/", x_request_id="abc-123")[1]["x-request-id"] == "abc-123"
    assert ask(application(), "/", x_request_id="a\tb<script>")[1]["x-request-id"] != "a\tb<script>"


def test_cors_allows_all_origins_by_default() -> None:
    _, headers, _ = ask(application(), "/", origin="https://aladin.example")
    assert headers["access-control-allow-origin"] == "*"
    exposed = set(headers["access-control-expose-headers"].split(", "))
    assert {"X-Request-Id", "Content-Range", "Accept-Ranges", "Retry-After"} <= exposed


def test_cors_for_some() -> None:
    app = application(cors=("https://a.example",))
    assert ask(app, "/", origin="https://a.example")[1]["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in ask(app, "/", origin="https://b.example")[1]


def test_preflight_is_answered_at_the_edge() -> None:
    status, headers, body = ask(
        application(),
        "/tap/sync",
        method="OPTIONS",
        origin="https://x.example",
        access_control_request_headers="authorization",
    )
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-headers"] == "authorization"
    assert "POST" in headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("path", "seen"),
    [("/hven/tap/sync", "/tap/sync"), ("/hven", "/"), ("/tap/sync", "/tap/sync"), ("/hvenx", "/hvenx")],
)
def test_the_root_path_is_taken_off(path: str, seen: str) -> None:
    assert json.loads(ask(application(root_path="/hven"), path)[2])["path"] == seen


def test_listed_origins_make_answers_vary() -> None:
    app = application(cors=("https://a.example",))
    for headers in ({}, {"origin": "https://b.example"}, {"origin": "https://a.example"}):
        assert ask(app, "/", **headers)[1]["vary"] == "origin"


def test_browsers_are_told_not_to_guess_types() -> None:
    assert ask(application(), "/")[1]["x-content-type-options"] == "nosniff"


def test_an_application_that_fails_before_it_answers_is_logged_with_the_id(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("inside")

    made = Settings(directory=Path())
    with pytest.raises(ZeroDivisionError):
        ask(edge(failing, made), "/", x_request_id="abc-123")
    assert "ZeroDivisionError in request abc-123" in caplog.text


def test_an_application_that_fails_in_the_middle_fails_for_the_server_too(caplog: pytest.LogCaptureFixture) -> None:
    """The server then cuts the connection; only after a whole answer is there nothing left to tell."""

    def failing(*, more: bool) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": more})
            raise ZeroDivisionError

        return app

    made = Settings(directory=Path())
    with caplog.at_level(logging.INFO, "hven.access"):
        with pytest.raises(ZeroDivisionError):
            ask(edge(failing(more=True), made), "/")
        assert json.loads(caplog.records[-1].getMessage())["cut"] is True
        ask(edge(failing(more=False), made), "/")
        assert "cut" not in json.loads(caplog.records[-1].getMessage())


def test_log_lines_are_gathered_and_none_is_lost() -> None:
    class Counting(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    stream = Counting()
    handler = BufferedLogHandler(stream)

    def line(number: int) -> logging.LogRecord:
        return logging.LogRecord("x", logging.INFO, "", 0, str(number), None, None)

    async def busy() -> None:
        for number in range(100):
            handler.emit(line(number))
        assert stream.writes == 0
        await asyncio.sleep(2 * FLUSH_DELAY_SECONDS)
        assert stream.writes == 1
        for number in range(100, 100 + MAX_BUFFERED_LINES):
            handler.emit(line(number))
        assert stream.writes == 2, "too many wait for nobody"

    asyncio.run(busy())
    handler.emit(line(100 + MAX_BUFFERED_LINES))  # no event loop: at once
    assert [int(text) for text in stream.getvalue().split()] == list(range(101 + MAX_BUFFERED_LINES))


def test_queries_are_counted_for_an_account_else_for_an_address(tmp_path: Path) -> None:
    async def tell(_: Request) -> PlainTextResponse:
        return PlainTextResponse(current_requester.get()())

    store = StateStore(tmp_path)
    token = store.users.add_account("anna")
    app = RequestMiddleware(Starlette(routes=[Route("/", tell)]), Settings(directory=tmp_path), store)
    assert ask(app, "/")[2] == b"127.0.0.1"
    assert ask(app, "/", x_forwarded_for="192.0.2.7")[2] == b"192.0.2.7", "a proxy on this machine is accepted"
    assert ask(app, "/", x_forwarded_for="2001:db8::7:1")[2] == b"2001:db8::/64"
    assert ask(app, "/", x_forwarded_for="192.0.2.7", authorization=f"Bearer {token}")[2] == b"account anna"


def test_messages_can_be_json_with_the_id_of_their_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formatter = MessageFormatter(LOGGING_CONFIG["formatters"]["plain"]["format"])
    texts = []

    async def fail(_: Request) -> PlainTextResponse:
        try:
            int("two\nlines")
        except ValueError:
            record = logging.LogRecord("hven", logging.ERROR, "", 0, "%s failed", ("x",), sys.exc_info())
        texts.append(await anyio.to_thread.run_sync(formatter.format, record))
        return PlainTextResponse("ok")

    app = edge(Starlette(routes=[Route("/", fail)]), Settings(directory=tmp_path))
    ask(app, "/", x_request_id="abc")
    assert " ERROR hven: x failed\nTraceback " in texts.pop()
    monkeypatch.setenv("HVEN_LOG_FORMAT", "json")
    ask(app, "/", x_request_id="abc")
    (text,) = texts
    line = json.loads(text)
    assert "\n" not in text
    assert {key: line[key] for key in ("level", "logger", "message", "id")} == {
        "level": "ERROR",
        "logger": "hven",
        "message": "x failed",
        "id": "abc",
    }
    assert line["traceback"].endswith("'two\\nlines'")
    assert datetime.fromisoformat(line["time"]).tzinfo == UTC
    record = logging.LogRecord("hven", logging.INFO, "", 0, "started", (), None)
    assert json.loads(formatter.format(record))["id"] is None
    record = logging.LogRecord("hven", logging.INFO, "", 0, "read \udcff.fits", (), None)
    assert json.loads(formatter.format(record))["message"] == "read \udcff.fits"


def test_the_variable_of_the_log_is_no_misspelt_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HVEN_LOG_FORMAT", "json")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    assert load_settings(tmp_path).name == "x"
