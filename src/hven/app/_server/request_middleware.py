"""The edge, one pass over each request: id, log, CORS, the last net.

Whether there is room, who asks, and what address is meant.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

import orjson

from hven import __version__
from hven.app._server import connection_balancing
from hven.app._server.alias import AliasRewriter
from hven.app._server.identification import REFEREE_PREFIX, SIGNATURE_SCOPE_KEY, Identification, is_anonymous_referee
from hven.app._server.load_shedder import LoadShedder
from hven.model import deadlines
from hven.portal.portals import PortalRouter, add_cookies
from hven.query.query_queue import current_requester
from hven.services import request_bodies
from hven.services.errors import log_service_error
from hven.site import CURRENT_USAGE, AnsweredRequest, RequestUsage
from hven.site.auth import signed_addresses
from hven.site.counters import ProcessCounters

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hven.model.settings import Settings
    from hven.site import UsageCounter
    from hven.site.auth import People
    from hven.site.store import StateStore

access = logging.getLogger("hven.access")
SERVER_HEADER = f"Hven/{__version__} (IVOA-copy) Starlette".encode()  # IVOA note SoftID 1.0: the operation in a comment
EXPOSED_HEADERS = (
    b"Accept-Ranges, Content-Disposition, Content-Encoding, Content-Length, Content-Range, ETag, Hven-Maxrec, "
    b"Hven-Overflow, Hven-Warning, Last-Modified, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id"
)
ALLOWED_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
CLIENT_CLOSED_STATUS = 499  # what the log says of readers who left before an answer began


class RequestMiddleware:
    """Layer around all faces. The log line is JSON.

    Time, id, method, path, status, bytes, milliseconds, client, and `cut` if it broke off.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        store: StateStore,
        *,
        counters: ProcessCounters | None = None,
        tally: UsageCounter | None = None,
        door: LoadShedder | None = None,
        people: People | None = None,
    ) -> None:
        self._app = app
        self._load_shedder = door or LoadShedder()
        self._identification = Identification(store, settings, people)
        self._alias_rewriter = AliasRewriter(settings)
        self._portal_router = PortalRouter(settings)
        if counters is None:
            self._counters = ProcessCounters()
        else:
            self._counters = counters
        self._tally = tally
        self._bodies = settings.limits.bodies
        self._request_timeout_seconds = settings.limits.seconds
        self._origins = {origin.encode() for origin in settings.cors}
        self._allows_any_origin = b"*" in self._origins
        self._common_headers = [(b"server", SERVER_HEADER), (b"x-content-type-options", b"nosniff")]
        if self._allows_any_origin:
            self._common_headers += [
                (b"access-control-allow-origin", b"*"),
                (b"access-control-expose-headers", EXPOSED_HEADERS),
            ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_time = time.perf_counter()
        self._load_shedder.start_probing(asyncio.get_running_loop())
        self._counters.count_request_start()
        headers_by_name = dict(scope["headers"])
        given_id = headers_by_name.get(b"x-request-id")
        origin = headers_by_name.get(b"origin")
        # an id must be rare, not secret
        if given_id and given_id.replace(b"-", b"").isalnum():
            request_id = given_id.decode("ascii")[:64]
        else:
            request_id = f"{random.getrandbits(48):012x}"
        scope["hven.request_id"] = request_id
        scope[request_bodies.BODY_SLOTS_SCOPE_KEY] = self._bodies
        # before anything looks at the address: what signs it is nobody's business, and in no log
        scope["query_string"], signed = signed_addresses.remove_signature(scope["query_string"])
        if signed is not None:
            scope[SIGNATURE_SCOPE_KEY] = signed
        deadlines.CURRENT_DEADLINE.set(deadlines.Deadline(self._request_timeout_seconds))
        use = RequestUsage()
        CURRENT_USAGE.set(use)
        should_close = connection_balancing.should_close_connection(scope.get("client"))
        status = sent_bytes = 0
        is_complete = False
        response_headers: list[tuple[bytes, bytes]] = []
        cookies: tuple[bytes, ...] = ()

        async def send_message(message: Message) -> None:
            nonlocal status, sent_bytes, is_complete, response_headers
            if message["type"] == "http.response.start":
                status, response_headers = message["status"], list(message["headers"])
                response_headers = await self._identification.add_identity_headers(scope, status, response_headers)
                if signed is not None:
                    response_headers = signed_addresses.set_private_headers(response_headers)
                headers = [
                    *(add_cookies(cookies, response_headers) if cookies else response_headers),
                    *self._common_headers,
                    (b"x-request-id", request_id.encode()),
                ]
                if should_close:
                    headers.append((b"connection", b"close"))
                if not self._allows_any_origin:
                    headers += self._build_cors_headers(origin)
                message["headers"] = headers
            elif (
                message["type"] == "http.response.pathsend"
            ):  # the server itself sends the file: all of it, as the head said
                sent_bytes += next((int(value) for name, value in response_headers if name == b"content-length"), 0)
                is_complete = True
            else:
                sent_bytes += len(message.get("body", b""))
                is_complete = not message.get("more_body", False)
            await send(message)

        is_broken = False
        try:
            if scope["method"] == "OPTIONS" and origin is not None:
                await self._answer_preflight(headers_by_name.get(b"access-control-request-headers"), send_message)
            elif self._load_shedder.is_overloaded(scope):
                await self._load_shedder.send_overload(send_message)
            elif (refusal := await self._identification.identify_or_refuse(scope, headers_by_name)) is not None:
                await refusal(scope, receive, send_message)
            else:
                rewritten_scope = self._portal_router.match_portal(self._alias_rewriter.rewrite_request(scope))
                cookies = self._portal_router.build_preference_cookies(rewritten_scope)
                await (self._identification.refuse_access(rewritten_scope) or self._app)(
                    rewritten_scope, receive, send_message
                )
        except Exception as error:
            # an answer that broke off: the server cuts the connection of an application that fails, so that nobody
            # takes the answer for whole. After a whole answer there is nothing left to tell; the faces wrote the log.
            is_broken = not is_complete
            if not status:
                log_service_error(error, request_id)
            if is_broken:
                raise
        finally:
            self._load_shedder.record_busy()
            request_bodies.release_body_slot(scope)
            seconds = time.perf_counter() - start_time
            self._counters.count_request_end(scope["path"], status or CLIENT_CLOSED_STATUS, seconds, sent_bytes)
            if self._tally is not None and use.face and not is_broken:
                agent, fetch_destination = (
                    headers_by_name.get(header_name, b"")[:500].decode("latin-1")
                    for header_name in (b"user-agent", b"sec-fetch-dest")
                )
                target = scope["path"] + "?" + scope["query_string"].decode("latin-1")
                self._tally.record_request(
                    AnsweredRequest(
                        use,
                        time.time(),
                        start_time,
                        scope["method"],
                        target,
                        status,
                        sent_bytes,
                        current_requester.get(),
                        agent,
                        fetch_destination,
                    )
                )
            if access.isEnabledFor(logging.INFO):
                client = scope.get("client")
                # there are codes of providers in it
                if "/login" in scope["path"]:
                    logged_query = b""
                else:
                    logged_query = scope["query_string"]
                line = {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "id": request_id,
                    "client": client[0] if client and not is_anonymous_referee(scope) else None,
                    "method": scope["method"],
                    "path": "".join(scope["path"].partition(REFEREE_PREFIX)[:2]),
                    "query": logged_query[:2000].decode("utf-8", "replace"),
                    "status": status or CLIENT_CLOSED_STATUS,
                    "bytes": sent_bytes,
                    "ms": round(seconds * 1000, 2),
                }
                if is_broken:
                    line["cut"] = True
                access.info(orjson.dumps(line).decode())

    def _build_cors_headers(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        if origin is None or origin not in self._origins:
            return [(b"vary", b"origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", EXPOSED_HEADERS),
            (b"vary", b"origin"),
        ]

    async def _answer_preflight(self, requested_headers: bytes | None, send: Send) -> None:
        headers = [
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", requested_headers or b"*"),
            (b"access-control-max-age", b"86400"),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
