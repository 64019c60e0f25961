"""The edge, one pass over each request: id, log, CORS, the last net; whether there is room, who asks, and what address is meant."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

import orjson

from hven import __version__
from hven.app._server import evenly
from hven.app._server.alias import Aliases
from hven.app._server.door import Door
from hven.app._server.identity import INVITING, SIGNED, Identity, unnamed
from hven.model import clock
from hven.portal.portals import Portals, keeping
from hven.query.turns import asker
from hven.services import bodies
from hven.services.errors import note
from hven.site import Noted, Use, using
from hven.site.auth import signed as signing
from hven.site.counters import Counters

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hven.model.settings import Settings
    from hven.site import Tally
    from hven.site.auth import People
    from hven.site.store import Store

access = logging.getLogger("hven.access")
SERVER = f"Hven/{__version__} (IVOA-copy) Starlette".encode()  # IVOA note SoftID 1.0: the operation in a comment
EXPOSED = b"Accept-Ranges, Content-Disposition, Content-Encoding, Content-Length, Content-Range, ETag, Hven-Maxrec, Hven-Overflow, Hven-Warning, Last-Modified, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id"
ALLOWED = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
LEFT = 499  # what the log says of readers who left before an answer began


class Edge:
    """Layer around all faces. The log line is JSON: time, id, method, path, status, bytes, milliseconds, client, and `cut` if it broke off."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        store: Store,
        *,
        counters: Counters | None = None,
        tally: Tally | None = None,
        door: Door | None = None,
        people: People | None = None,
    ) -> None:
        self._app = app
        self._door, self._identity = door or Door(), Identity(store, settings, people)
        self._aliases, self._portals = Aliases(settings), Portals(settings)
        self._counters = Counters() if counters is None else counters
        self._tally = tally
        self._bodies = settings.limits.bodies
        self._seconds = settings.limits.seconds
        self._origins = {origin.encode() for origin in settings.cors}
        self._any = b"*" in self._origins
        self._always = [(b"server", SERVER), (b"x-content-type-options", b"nosniff")]
        if self._any:
            self._always += [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", EXPOSED)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        self._door.watch(asyncio.get_running_loop())
        self._counters.began()
        named = dict(scope["headers"])
        given, origin = named.get(b"x-request-id"), named.get(b"origin")
        # an id must be rare, not secret
        name = (
            given.decode("ascii")[:64]
            if given and given.replace(b"-", b"").isalnum()
            else f"{random.getrandbits(48):012x}"
        )
        scope["hven.request_id"] = name
        scope[bodies.PLACES] = self._bodies
        # before anything looks at the address: what signs it is nobody's business, and in no log
        scope["query_string"], signed = signing.without(scope["query_string"])
        if signed is not None:
            scope[SIGNED] = signed
        clock.running.set(clock.Clock(self._seconds))
        use = Use()
        using.set(use)
        closing = evenly.leaves(scope.get("client"))
        status = sent = 0
        over = False
        promised: list[tuple[bytes, bytes]] = []
        cookies: tuple[bytes, ...] = ()

        async def sending(message: Message) -> None:
            nonlocal status, sent, over, promised
            if message["type"] == "http.response.start":
                status, promised = message["status"], list(message["headers"])
                promised = await self._identity.marked(scope, status, promised)
                promised = promised if signed is None else signing.unshared(promised)
                headers = [
                    *(keeping(cookies, promised) if cookies else promised),
                    *self._always,
                    (b"x-request-id", name.encode()),
                ]
                if closing:
                    headers.append((b"connection", b"close"))
                if not self._any:
                    headers += self._cors(origin)
                message["headers"] = headers
            elif (
                message["type"] == "http.response.pathsend"
            ):  # the server itself sends the file: all of it, as the head said
                sent += next((int(value) for name, value in promised if name == b"content-length"), 0)
                over = True
            else:
                sent += len(message.get("body", b""))
                over = not message.get("more_body", False)
            await send(message)

        broken = False
        try:
            if scope["method"] == "OPTIONS" and origin is not None:
                await self._preflight(named.get(b"access-control-request-headers"), sending)
            elif self._door.full(scope):
                await self._door.refuse(sending)
            elif (refusal := await self._identity.refusal(scope, named)) is not None:
                await refusal(scope, receive, sending)
            else:
                present = self._portals.present(self._aliases.present(scope))
                cookies = self._portals.chosen(present)
                await (self._identity.closed(present) or self._app)(present, receive, sending)
        except Exception as error:
            # an answer that broke off: the server cuts the connection of an application that fails, so that nobody takes
            # the answer for whole. After a whole answer there is nothing left to tell; the faces wrote the log.
            broken = not over
            if not status:
                note(error, name)
            if broken:
                raise
        finally:
            self._door.busy()
            bodies.give_back(scope)
            seconds = time.perf_counter() - begun
            self._counters.ended(scope["path"], status or LEFT, seconds, sent)
            if self._tally is not None and use.face and not broken:
                agent, shown = (
                    named.get(one, b"")[:500].decode("latin-1") for one in (b"user-agent", b"sec-fetch-dest")
                )
                target = scope["path"] + "?" + scope["query_string"].decode("latin-1")
                self._tally.note(Noted(use, time.time(), begun, scope["method"], target, status, sent, asker.get(), agent, shown))  # fmt: skip
            if access.isEnabledFor(logging.INFO):
                client = scope.get("client")
                told = b"" if "/login" in scope["path"] else scope["query_string"]  # there are codes of providers in it
                line = {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "id": name,
                    "client": client[0] if client and not unnamed(scope) else None,
                    "method": scope["method"],
                    "path": "".join(scope["path"].partition(INVITING)[:2]),
                    "query": told[:2000].decode("utf-8", "replace"),
                    "status": status or LEFT,
                    "bytes": sent,
                    "ms": round(seconds * 1000, 2),
                }
                if broken:
                    line["cut"] = True
                access.info(orjson.dumps(line).decode())

    def _cors(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        if origin is None or origin not in self._origins:
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"origin"),
        ]

    async def _preflight(self, wanted: bytes | None, send: Send) -> None:
        headers = [
            (b"access-control-allow-methods", ALLOWED),
            (b"access-control-allow-headers", wanted or b"*"),
            (b"access-control-max-age", b"86400"),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
