"""Services of JSON pages to inject faults into, and plain pages."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Request:
    """A request."""

    method: str
    path: str
    given: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass
class Reply:
    """A reply, which a fault may change before it is sent.

    `cut` is the number of bytes that are sent of those that are announced.
    """

    status: int = 200
    body: bytes = b"{}"
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None

    @classmethod
    def from_document(cls, document: Any, status: int = 200) -> Reply:
        return cls(status=status, body=json.dumps(document).encode())


@dataclass
class JsonServer:
    """A service; `alter_reply` changes a reply before it is sent."""

    asked: list[Request] = field(default_factory=list)
    alter_reply: Callable[[Request, Reply], object] = lambda _asked, _reply: None
    pause: float = 0.0  # seconds before each answer
    base: str = ""  # where it is served

    def answer(self, asked: Request) -> Reply:
        self.asked.append(asked)
        reply = self.reply(asked)
        if self.pause:
            time.sleep(self.pause)
        self.alter_reply(asked, reply)
        return reply

    def reply(self, asked: Request) -> Reply:
        raise NotImplementedError


@dataclass
class RestServer(JsonServer):
    """Records with paging by a link, a cursor, an offset or a page number; a page has at most `most` records."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    way: str = "link"
    most: int = 2

    def reply(self, asked: Request) -> Reply:
        given = asked.body if asked.method == "POST" else asked.given
        words = {"offset": "skip", "number": "page", "cursor": "cursor"}
        found = [one for one in self.rows if one["n"] >= int(given.get("since", 0))]
        begin = int(given.get(words.get(self.way, "from"), self.way == "number"))
        if self.way == "number":
            begin = (begin - 1) * self.most
        rows = found[begin : begin + self.most]
        more = begin + self.most < len(found)
        page: dict[str, Any] = {"data": {"items": rows}, "count": len(found)}
        reply = Reply()
        if self.way == "cursor":
            page["next_cursor"] = str(begin + self.most) if more else None
        elif self.way == "link" and more:
            page["links"] = [{"rel": "self", "href": asked.path}, {"rel": "next", "href": f"?from={begin + self.most}"}]
        elif self.way == "header" and more:
            reply.headers["Link"] = (
                f'<{self.base}?from=0>; rel="first", <{self.base}?from={begin + self.most}>; rel="next"'
            )
        reply.body = json.dumps(page).encode()
        return reply


@contextmanager
def serve(world: JsonServer, path: str = "") -> Iterator[str]:
    """Serve on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # headers and body leave together: else each answer waits 40 ms for an acknowledgement

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Request(self.command, unquote(parts.path), dict(parse_qsl(parts.query)), json.loads(text) if text else None, {name.lower(): value for name, value in self.headers.items()})  # fmt: skip
            reply = world.answer(asked)
            self.send_response(reply.status)
            for name, value in {**reply.headers, "Content-Type": reply.kind, "Content-Length": str(len(reply.body))}.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body[: reply.cut])
            self.wfile.flush()
            if reply.cut is not None:
                self.close_connection = True

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  (names of the standard library)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        world.base = f"http://127.0.0.1:{server.server_address[1]}{path}"
        yield world.base
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def format_basic_login(login: str) -> str:
    """Format the header of a login."""
    return "Basic " + base64.b64encode(login.encode()).decode()
