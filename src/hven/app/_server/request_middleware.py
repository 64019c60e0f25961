"""The request middleware: one pass over each request.

It gives the request an id, refuses it when the server is overloaded, identifies its sender, resolves its address, adds
headers, logs it, and catches errors that nothing else caught.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request

from hven import __version__
from hven.app._server import worker_load
from hven.app._server.identification import (
    REFEREE_PREFIX,
    SIGNATURE_SCOPE_KEY,
    RequestAuthenticator,
    is_client_hidden_from_log,
)
from hven.app._server.worker_load import LoadShedder
from hven.model import deadlines
from hven.model.errors import HvenError
from hven.portal.portals import PortalRouter, add_cookies_and_make_page_private
from hven.query.query_queue import current_requester
from hven.services import request_bodies
from hven.services.address_rewriting import load_address_rewriters
from hven.services.addresses import PROXIES_SCOPE_KEY
from hven.services.admission import (
    ANSWER_CACHE_SCOPE_KEY,
    GATES_SCOPE_KEY,
    REFUSAL_SCOPE_KEY,
    SentAnswer,
    check_request_gates,
)
from hven.services.errors import log_service_error
from hven.site import CURRENT_USAGE, AnsweredRequest, RequestUsage
from hven.site.auth import signed_addresses
from hven.site.counters import ProcessCounters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from hven.model.settings import Settings
    from hven.services.admission import AnswerCache, RequestGate
    from hven.site import RequestObserverGroup
    from hven.site.auth import People
    from hven.site.store import StateStore

access = logging.getLogger("hven.access")
SERVER_HEADER = f"Hven/{__version__} (IVOA-copy) Starlette".encode()  # IVOA note SoftID 1.0: the operation in a comment
EXPOSED_HEADERS = (
    b"Accept-Ranges, Content-Disposition, Content-Encoding, Content-Length, Content-Range, ETag, Hven-Maxrec, "
    b"Hven-Overflow, Hven-Warning, Last-Modified, Link, Location, Retry-After, WWW-Authenticate, X-Request-Id"
)
ALLOWED_METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
MAX_HEADER_BYTES = 500  # bytes of a request header that observers of requests get
MAX_LOGGED_QUERY_BYTES = 2000
HTTP_1_0_VERSIONS = {"1", "1.0"}  # ASGI says 1.0; Granian says 1
# Time in which a client can read the error message at the end of a broken answer: when the server cuts the connection,
# it drops what it has not written to the socket yet.
CUT_DELAY_SECONDS = 0.25
CLIENT_CLOSED_STATUS = 499  # logged if the client closed the connection before the answer began


@dataclass(slots=True, kw_only=True)
class _HttpExchange:
    """A request, and what is known of its answer so far.

    Attributes
    ----------
    status
        0 before the answer begins.
    is_complete
        The whole answer was sent.
    is_broken
        The answer broke off.
    body
        The body, if it was sent in one piece.
    """

    request_id: str
    usage: RequestUsage
    is_signed: bool
    should_close: bool
    start_time: float = field(default_factory=time.perf_counter)
    status: int = 0
    sent_bytes: int = 0
    is_complete: bool = False
    is_broken: bool = False
    body: bytes = b""
    response_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    cookies: tuple[bytes, ...] = ()

    def find_content_length(self) -> int:
        """Return the content length in the headers of the answer (bytes), 0 if there is none."""
        return next((int(value) for name, value in self.response_headers if name == b"content-length"), 0)

    def is_ended_by_closing(self, http_version: str) -> bool:
        """Return whether the closed connection is the only end of the body (RFC 9112, section 6.3)."""
        return http_version in HTTP_1_0_VERSIONS and self.status != 0 and not self.find_content_length()


def _choose_request_id(given_id: bytes | None) -> str:
    """Return the id that a client sends, or a random one. An id must be rare, not secret."""
    if given_id and given_id.replace(b"-", b"").isalnum():
        return given_id.decode("ascii")[:64]
    return f"{random.getrandbits(48):012x}"


def _log_request(scope: Scope, exchange: _HttpExchange, duration_seconds: float) -> None:
    """Write a line of the access log."""
    client = scope.get("client")
    client_address = None
    if client and not is_client_hidden_from_log(scope):
        client_address = client[0]
    path_before_secret = "".join(scope["path"].partition(REFEREE_PREFIX)[:2])
    logged_query = scope["query_string"]
    if "/login" in scope["path"]:  # it has codes of identity providers
        logged_query = b""
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "id": exchange.request_id,
        "client": client_address,
        "method": scope["method"],
        "path": path_before_secret,
        "query": logged_query[:MAX_LOGGED_QUERY_BYTES].decode("utf-8", "replace"),
        "status": exchange.status or CLIENT_CLOSED_STATUS,
        "bytes": exchange.sent_bytes,
        "ms": round(duration_seconds * 1000, 2),
    }
    if len(logged_query) > MAX_LOGGED_QUERY_BYTES:
        line["query_cut"] = True  # who sends the request again must know that it is another one
    if exchange.is_broken:
        line["cut"] = True
    access.info(orjson.dumps(line).decode())


class RequestMiddleware:
    """The middleware around all faces.

    A line of the access log is JSON: time, id, method, path, status, bytes, milliseconds, client, `query_cut` if the
    query was longer than the line has it, and `cut` if the answer broke off.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        store: StateStore,
        *,
        counters: ProcessCounters | None = None,
        request_observers: RequestObserverGroup | None = None,
        request_gates: Sequence[RequestGate] = (),
        answer_cache: AnswerCache | None = None,
        repeats_answers: bool = False,
        load_shedder: LoadShedder | None = None,
        find_people: People | None = None,
    ) -> None:
        self._app = app
        self._load_shedder = load_shedder or LoadShedder()
        self._identification = RequestAuthenticator(store, settings, find_people)
        self._root_path = settings.root_path.rstrip("/")
        self._public_origin = "/".join((settings.public_url or "").split("/")[:3]).encode()
        self._address_rewriters = load_address_rewriters(settings)
        self._portal_router = PortalRouter(settings)
        self._counters = counters or ProcessCounters()
        self._observers = request_observers
        self._gates = request_gates
        self._answer_cache = answer_cache
        self._repeater = answer_cache if repeats_answers else None
        self._proxies = settings.trusted_proxies
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
        self._load_shedder.start_probing(asyncio.get_running_loop())
        self._counters.count_request_start()
        headers_by_name = dict(scope["headers"])
        origin = headers_by_name.get(b"origin")
        request_id = _choose_request_id(headers_by_name.get(b"x-request-id"))
        exchange = _HttpExchange(
            request_id=request_id,
            usage=RequestUsage(request_id),
            is_signed=self._prepare_scope_and_remove_signature(scope),
            should_close=worker_load.count_request_and_decide_close(scope.get("client")),
        )
        scope["hven.request_id"] = request_id
        CURRENT_USAGE.set(exchange.usage)

        async def send_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = await self._record_and_build_response_headers(scope, exchange, message, origin)
            else:
                body = message.get("body", b"")
                exchange.is_complete = not message.get("more_body", False)
                if exchange.is_complete and not exchange.sent_bytes:
                    exchange.body = body
                # the server sends a file by itself, as long as the headers say
                exchange.sent_bytes += exchange.find_content_length() if "path" in message else len(body)
            await send(message)

        try:
            if scope["method"] == "OPTIONS" and origin is not None:
                await self._answer_preflight(headers_by_name.get(b"access-control-request-headers"), send_message)
            elif self._load_shedder.record_request_and_detect_overload(scope):
                await worker_load.send_unavailable_response(send_message)
            else:
                await self._answer_request(scope, receive, send_message, exchange, headers_by_name)
        except Exception as error:
            # If the answer broke off, the exception makes the server cut the connection, so that the client does not
            # take the answer for complete. After a complete answer nothing is left to do: the faces have logged it.
            exchange.is_broken = not exchange.is_complete
            if not exchange.status:
                log_service_error(error, exchange.request_id)
            if exchange.is_broken and not exchange.is_ended_by_closing(scope["http_version"]):
                if exchange.status:
                    await asyncio.sleep(CUT_DELAY_SECONDS)
                raise
            if exchange.is_broken:
                # This client cannot tell a cut from an end, but a cut can lose the error message that was sent last.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._end_exchange(scope, exchange, headers_by_name)

    def _end_exchange(self, scope: Scope, exchange: _HttpExchange, headers_by_name: Mapping[bytes, bytes]) -> None:
        """Release what a request holds, count it and log it."""
        self._load_shedder.record_loop_activity()
        if not exchange.should_close and worker_load.is_server_draining():
            worker_load.record_open_connection()
        if scope[request_bodies.HELD_SLOT_SCOPE_KEY]:
            request_bodies.release_body_slot(scope)
        for report_end in exchange.usage.end_callbacks:
            report_end(exchange.usage)
        seconds = time.perf_counter() - exchange.start_time
        logged_status = exchange.status or CLIENT_CLOSED_STATUS
        self._counters.count_request_end(scope["path"], logged_status, seconds, exchange.sent_bytes)
        if exchange.usage.is_counted and not exchange.is_broken:
            self._notify_request_observers(scope, exchange, headers_by_name)
        if access.isEnabledFor(logging.INFO):
            _log_request(scope, exchange, seconds)

    async def _answer_request(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        exchange: _HttpExchange,
        headers_by_name: Mapping[bytes, bytes],
    ) -> None:
        """Let the application answer, or refuse what the user may not do."""
        refusal = await self._identification.identify_or_refuse(scope, headers_by_name)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        key = None
        repeater = self._repeater
        if repeater is not None and not self._identification.has_credentials(scope, headers_by_name):
            key, sent_answer = repeater.find_sent_answer(scope, headers_by_name)
            if sent_answer is not None and self._check_gates_and_record_repeated_usage(
                scope, exchange.usage, sent_answer.usage
            ):
                start = {"type": "http.response.start", "status": sent_answer.status, "headers": sent_answer.headers}
                await send(start)
                await send({"type": "http.response.body", "body": sent_answer.body})
                return
        rewritten_scope = self._portal_router.match_portal(self._rewrite_address(scope))
        exchange.cookies = self._portal_router.build_preference_cookies(rewritten_scope)
        answer = self._identification.check_access(rewritten_scope) or self._app
        await answer(rewritten_scope, receive, send)
        is_whole = exchange.is_complete and len(exchange.body) == exchange.sent_bytes and not exchange.cookies
        if repeater is not None and key is not None and is_whole and exchange.usage.validity is not None:
            sent_answer = SentAnswer(exchange.status, exchange.response_headers, exchange.body, exchange.usage)
            repeater.keep_sent_answer(key, sent_answer)

    def _check_gates_and_record_repeated_usage(
        self, scope: Scope, usage: RequestUsage, sent_usage: RequestUsage
    ) -> bool:
        """Record what a repeated answer uses, and let the gates decide; False: the service tells their refusal."""
        usage.face, usage.is_counted, usage.is_limited = sent_usage.face, sent_usage.is_counted, sent_usage.is_limited
        usage.path, usage.params = sent_usage.path, sent_usage.params
        if self._gates:
            try:
                check_request_gates(Request(scope))
            except HvenError as error:
                scope[REFUSAL_SCOPE_KEY] = error
                return False
        usage.answers, usage.rows_by_table = sent_usage.answers, sent_usage.rows_by_table
        usage.files_by_collection = sent_usage.files_by_collection
        if sent_usage.validity is not None and sent_usage.validity.counter:
            self._counters.count_event(sent_usage.validity.counter)
        return True

    def _rewrite_address(self, scope: Scope) -> Scope:
        """Remove the root path of the site from an address, and replace an old address by the present one."""
        path = scope["path"]
        root = self._root_path
        if root and (path == root or path.startswith(root + "/")):
            path = path[len(root) :] or "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        for rewriter in self._address_rewriters:
            scope = rewriter.rewrite_request(scope)
        return scope

    def _prepare_scope_and_remove_signature(self, scope: Scope) -> bool:
        """Set the limits of a request, and move its signature out of the address; return whether it has one."""
        scope[request_bodies.BODY_SLOTS_SCOPE_KEY] = self._bodies
        scope[request_bodies.HELD_SLOT_SCOPE_KEY] = []
        scope[PROXIES_SCOPE_KEY] = self._proxies
        scope[GATES_SCOPE_KEY] = self._gates
        scope[ANSWER_CACHE_SCOPE_KEY] = self._answer_cache
        # first of all, so that no log and no face sees the signature
        scope["query_string"], signature = signed_addresses.split_signature_from_query(scope["query_string"])
        if signature is not None:
            scope[SIGNATURE_SCOPE_KEY] = signature
        deadlines.CURRENT_DEADLINE.set(deadlines.Deadline(self._request_timeout_seconds))
        return signature is not None

    async def _record_and_build_response_headers(
        self, scope: Scope, exchange: _HttpExchange, message: Message, origin: bytes | None
    ) -> list[tuple[bytes, bytes]]:
        """Record the status and headers of an answer, and return them with the headers that every answer has."""
        exchange.status = message["status"]
        response_headers = list(message["headers"])
        response_headers = await self._identification.add_identity_headers(scope, exchange.status, response_headers)
        if exchange.is_signed:
            response_headers = signed_addresses.with_private_response_headers(response_headers)
        exchange.response_headers = response_headers
        if exchange.cookies:
            response_headers = add_cookies_and_make_page_private(exchange.cookies, response_headers)
        if self._public_origin and dict(scope["headers"]).get(b"host") != self._public_origin.partition(b"//")[2]:
            # a page at another host name, or at the server's own address, loads styles and scripts from the public URL
            allowed_sources = b"'self' " + self._public_origin
            response_headers = [
                (name, value.replace(b"'self'", allowed_sources) if name == b"content-security-policy" else value)
                for name, value in response_headers
            ]
        headers = [*response_headers, *self._common_headers, (b"x-request-id", exchange.request_id.encode())]
        exchange.should_close = exchange.should_close or worker_load.is_server_draining()
        if exchange.should_close:
            headers.append((b"connection", b"close"))
        if not self._allows_any_origin:
            headers += self._build_cors_headers(origin)
        return headers

    def _notify_request_observers(
        self, scope: Scope, exchange: _HttpExchange, headers_by_name: Mapping[bytes, bytes]
    ) -> None:
        """Report an answered request to the observers of plug-in packages."""
        if self._observers is None or not self._observers.has_observers:
            return
        agent = headers_by_name.get(b"user-agent", b"")
        fetch_destination = headers_by_name.get(b"sec-fetch-dest", b"")
        target = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        answered_request = AnsweredRequest(
            exchange.usage,
            time.time(),
            exchange.start_time,
            scope["method"],
            target,
            exchange.status,
            exchange.sent_bytes,
            current_requester.get(),
            agent[:MAX_HEADER_BYTES].decode("latin-1"),
            fetch_destination[:MAX_HEADER_BYTES].decode("latin-1"),
        )
        self._observers.record_request(answered_request)

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
