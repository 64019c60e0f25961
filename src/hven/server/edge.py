"""The edge: request ids, the access log, CORS and the Server header, in one pass over each request."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING

import orjson

from hven import __version__

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hven.settings import Settings

access = logging.getLogger("hven.access")
SERVER = f"Hven/{__version__} (IVOA-copy) Starlette".encode()  # IVOA note SoftID 1.0: the operation in a comment
EXPOSED = b"Content-Encoding, Content-Length, ETag, Last-Modified, Location, WWW-Authenticate, X-Request-Id"
ALLOWED = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"


class Edge:
    """Outermost layer. The log line is JSON: time, id, method, path, status, bytes, milliseconds, client."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = {origin.encode() for origin in settings.cors}
        self._any = b"*" in self._origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        given = _header(scope, b"x-request-id")
        name = given.decode("ascii", "replace")[:64] if given and given.replace(b"-", b"").isalnum() else secrets.token_hex(6)
        scope["hven.request_id"] = name
        origin = _header(scope, b"origin")
        status = 0
        sent = 0

        async def sending(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message["headers"])
                headers.append((b"server", SERVER))
                headers.append((b"x-request-id", name.encode()))
                headers += self._cors(origin)
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            if scope["method"] == "OPTIONS" and origin is not None:
                await self._preflight(scope, sending)
            else:
                await self._app(scope, receive, sending)
        finally:
            if access.isEnabledFor(logging.INFO):
                client = scope.get("client")
                line = {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "id": name,
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"],
                    "query": scope["query_string"][:2000].decode("utf-8", "replace"),
                    "status": status,
                    "bytes": sent,
                    "ms": round((time.perf_counter() - begun) * 1000, 2),
                }
                access.info(orjson.dumps(line).decode())

    def _cors(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]
        if origin is not None and origin in self._origins:
            return [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", EXPOSED),
                (b"vary", b"origin"),
            ]
        return []

    async def _preflight(self, scope: Scope, send: Send) -> None:
        wanted = _header(scope, b"access-control-request-headers") or b"*"
        headers = [
            (b"access-control-allow-methods", ALLOWED),
            (b"access-control-allow-headers", wanted),
            (b"access-control-max-age", b"86400"),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
