"""Who asks: identity providers look at each request before any face does; bad credentials get no further. Answers say how one may log in, and as whom one is.

What browsers add by themselves, cookies and remembered passwords, is kept from them if a foreign page makes the browser send a request
that changes something (`hven.site.auth.session`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

from hven import services as dali
from hven.model import plugins
from hven.model.errors import Forbidden, HvenError, StorageError, Unauthenticated
from hven.query.turns import asker
from hven.services.address import keeping
from hven.services.face import known
from hven.site.auth import invitations, looks, recognised, signed
from hven.site.auth.local import SCOPES, Local, claimed, reader
from hven.site.auth.session import SAFE, foreign

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    Address = IPv4Address | IPv6Address
    from collections.abc import Mapping

    from starlette.types import Scope

    from hven.model.settings import Settings
    from hven.site.auth import People, Reader
    from hven.site.store import Store

log = logging.getLogger("hven")
READER = "hven.reader"
REMEMBERED = 0.5  # seconds after which it is looked again whether credentials hold
MOST = 4096  # of those that are remembered
OVER = "hven.over"  # its cookie is of a session that is over
PASSWORD = "ivo://ivoa.net/sso#tls-with-password"  # noqa: S105  (a way to log in)
CAPABILITIES = "/capabilities"
# what a site that is closed shows all the same, so that one can see that it is there, and log in
QUERIES = (
    "/tap/sync",
    "/tap/async",
)  # what a token that may only read changes, besides the addresses of faces that ask
BACK = ("/access/as", "/logout")  # the ways back of who sees the site as somebody else
OPEN = ("/login", "/referee/", "/assets", "/logo", "/health/live", "/tap/availability", *BACK)
INVITING = "/referee/"  # behind it a secret
TAKEN = ("/take", "/script", "/download")  # rows of a table, by POST where many are marked
SIGNED = "hven.signed"  # what an address was signed with


class Identity:
    """Puts the reader into the request's scope, or answers 401."""

    def __init__(self, store: Store, settings: Settings, people: People | None = None) -> None:
        self._store, self._settings, self._people = store, settings, people
        # whom credentials proved a moment ago: asked without a way to a thread. Of a session nothing is remembered: a logout holds at once
        self._known: dict[bytes, tuple[Reader, float]] = {}
        self._key = secrets.token_bytes(32)  # memory holds keyed digests, of which nobody can guess a password
        self._origins = {origin.lower() for origin in settings.cors if origin != "*"}
        if settings.public_url:
            self._origins.add("/".join(settings.public_url.lower().split("/")[:3]))
        self._providers = [
            plugins.load("identity", name).provider(store, settings) for name in plugins.names("identity")
        ]
        asked = (face.path.partition("{")[0] for face in known().values() if face.ask is not None)
        self._queries = (*QUERIES, *asked)
        self._header = (settings.login.proxy_header or "").lower().encode()
        self._proxies = [ipaddress.ip_network(one) for one in settings.login.proxies]
        taken = settings.login.schemes
        self._refused = {
            name
            for name, those in {"basic": {"Basic"}, "bearer": {"Bearer", "ivoa_bearer"}}.items()
            if not those & {*taken}
        }

    async def refusal(self, scope: Scope, named: Mapping[bytes, bytes]) -> Response | None:
        """Look who asks; those without credentials among the headers cost nothing."""
        if b"authorization" in named or b"cookie" in named or self._header in named or SIGNED in scope:
            try:
                headers = self._believed(scope)
                proxied = self._proxied(scope, headers) if self._header in named else ""
                given = proxied or headers.get("authorization", "")
                if not proxied and given.partition(" ")[0].lower() in self._refused:
                    raise Unauthenticated("this way to log in is not open here", remedy="see the challenges")
                # what a proxy says is never found by what a reader sends
                said = given.encode("latin-1", "replace")
                way = b"proxy" if proxied else b"header"
                digest = hashlib.blake2b(said, key=self._key, digest_size=32, person=way).digest()
                who, until = self._known.get(digest, (None, 0.0)) if given else (None, 0.0)
                if SIGNED in scope:
                    prove = partial(self._signed, scope)
                    who = await dali.proven(HTTPConnection(scope), self._store, claimed(given), prove, by_token=prove)
                elif time.monotonic() >= until:
                    slow = given[:6].lower() == "basic " or given.count(".") > 1
                    prove = partial(self._account, proxied) if proxied else partial(self._identify, headers)
                    # only Basic may have a password
                    by_token = partial(self._identify_by_token, headers) if given[:6].lower() == "basic " else prove
                    account = claimed(given)
                    who = await dali.proven(
                        HTTPConnection(scope), self._store, account, prove, by_token=by_token, slow=slow
                    )
                    if given and who is not None:
                        if len(self._known) >= MOST:
                            self._known.clear()
                        self._known[digest] = who, time.monotonic() + REMEMBERED
                over = who is not None and who.anonymous
                who = invitations.invited(None if over else who, headers, self._store)
                if who is None and over:
                    scope[OVER] = True
                    # a page says that nobody is logged in; what a program gets would pass for all that it may see
                    if not _looked_at(scope) and not scope["path"].rstrip("/").endswith(("/login", "/logout")):
                        raise Unauthenticated("this session is over", remedy="log in again, or send no cookie")
                elif who is not None:
                    if who.name is not None and SIGNED not in scope and looks.COOKIE in headers.get("cookie", ""):
                        known = self._store, self._settings, self._people
                        who = await anyio.to_thread.run_sync(looks.looking, who, headers, *known)
                    scope[READER] = who
            except HvenError as error:
                return _told(scope, error)
        asker.set(partial(_asker, scope))
        return None

    def closed(self, scope: Scope) -> Response | None:
        """Refuse a request, under its present address, to who may not come in at all, or may only read; browsers are shown the way."""
        path, who = scope["path"], scope.get(READER)
        if who is not None and who.by and scope["method"] not in SAFE and not self._looked(scope["method"], path):
            return _told(
                scope,
                Forbidden("who sees this site as somebody else changes nothing", remedy="be yourself again first"),
            )
        if who is not None and not (who.by and who.anonymous):
            if SCOPES["read"] not in who.groups or scope["method"] in SAFE or path.startswith(self._queries):
                return None
            return _told(
                scope, Forbidden("this token may only read", remedy="a token with the scope all may change things")
            )
        if not self._settings.login.required or path.startswith(OPEN) or _capable(path):
            return None
        request = HTTPConnection(scope)
        if _looked_at(scope):
            there = quote(f"{self._settings.root_path}{path}?{scope['query_string'].decode('latin-1')}".rstrip("?"))
            headers = {
                "location": f"{dali.base(request, self._settings)}/login?next={there}",
                "cache-control": "no-store",
            }
            return Response(None, 303, headers)
        return _told(
            scope,
            Unauthenticated("only who has an account sees this site", remedy="send credentials, or log in at /login"),
        )

    def _looked(self, method: str, path: str) -> bool:
        """Return whether a request that is none to read changes nothing all the same, or leads back to oneself."""
        asked = path.startswith((*self._queries, *BACK)) and not path.startswith(QUERIES[1])
        return method == "POST" and (asked or (path.startswith("/collections/") and path.endswith(TAKEN)))

    async def marked(self, scope: Scope, status: int, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Add to an answer how one may log in (AuthVO), or as whom one is; what is told to one reader is not for shared caches."""
        who: Reader | None = scope.get(READER)
        if who is not None:
            headers = _private(headers, (who.by or who.name or "").encode())
        elif OVER in scope and all(name != b"set-cookie" for name, _ in headers):
            ended = keeping(HTTPConnection(scope), self._settings, None)
            headers = [*headers, (b"set-cookie", ended.encode())]
        if status == 401:
            wanted = all(name != b"www-authenticate" for name, _ in headers)
        else:
            wanted = status in {200, 304} and _capable(scope["path"]) and await self._anybody()
        if not wanted:
            return headers
        url = f"{dali.base(HTTPConnection(scope), self._settings)}/login"
        words = {
            "Basic": 'realm="hven", charset="UTF-8"',
            "Bearer": 'realm="hven"',
        }
        signing = f'standard_id="{PASSWORD}", access_url="{url}"'
        return [
            *headers,
            *(
                (b"www-authenticate", f"{scheme} {words.get(scheme, signing)}".encode())
                for scheme in self._settings.login.schemes
            ),
        ]

    async def _anybody(self) -> bool:
        """Return whether anybody can log in at all."""
        try:
            return await anyio.to_thread.run_sync(self._store.users.there)
        except StorageError:
            return True

    def _believed(self, scope: Scope) -> Headers:
        """Return the headers that may prove something."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        # a proxy may have taken https off: the host is what tells sites apart, and a page served by plain http under our name is lost anyway
        if foreign(scope["method"], headers, self._origins | {f"https://{host}", f"http://{host}"}):
            return Headers(
                raw=[
                    (name, value)
                    for name, value in scope["headers"]
                    if name != self._header and not _by_itself(name, value)
                ]
            )
        return headers

    def _signed(self, scope: Scope) -> Reader | None:
        path, query = scope["path"].removeprefix(self._settings.root_path.rstrip("/")), scope["query_string"]
        return self._reader(signed.opened(self._store, scope["method"], path, query.decode("latin-1"), scope[SIGNED]))

    def _proxied(self, scope: Scope, headers: Headers) -> str:
        """Return whom a proxy before us names; empty: nobody. From others it is refused: who sends it would else be somebody, or see a part for all."""
        values = [value.strip() for name, value in scope["headers"] if name == self._header]
        try:
            address: Address | None = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:  # a socket of this machine has none
            address = None
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        if len(values) != 1 or address is None or not any(address in one for one in self._proxies):
            log.warning("%s, sent by %s, is not believed: see login.proxies", self._header.decode(), address)
            raise Unauthenticated("only the site's proxy says who is logged in there", remedy="ask by its address")
        return headers.get(self._header.decode(), "").strip().lower()

    def _account(self, name: str) -> Reader | None:
        """Return the reader whom a proxy names, with an account from the first time on."""
        if not self._store.users.there(name):
            self._store.users.add(name)
        return self._reader(name)

    def _reader(self, name: str) -> Reader:
        who = reader(name, self._store, self._settings)
        return recognised(who, self._settings, self._store.grants, self._people)

    def _identify(self, headers: Headers) -> Reader | None:
        found = (provider.identify(headers) for provider in self._providers)
        who = next((one for one in found if one is not None), None)
        return None if who is None else recognised(who, self._settings, self._store.grants, self._people)

    def _identify_by_token(self, headers: Headers) -> Reader | None:
        """Identify who shows a token or a session of an account here, without a look at passwords."""
        accounts = (one for one in self._providers if isinstance(one, Local))
        found = (one.identify_by_token(headers) for one in accounts)
        who = next((one for one in found if one is not None), None)
        if who is None:
            raise Unauthenticated("these credentials are no token that holds here", remedy="send the account's token")
        return recognised(who, self._settings, self._store.grants, self._people)


def _capable(path: str) -> bool:
    """Return whether this is where a service says what it can; a file may be called so, too."""
    return path.endswith(CAPABILITIES) and not path.startswith("/collections/")


def _looked_at(scope: Scope) -> bool:
    """Return whether a browser asks for a page."""
    return scope["method"] in SAFE and "text/html" in Headers(scope=scope).get("accept", "")


def _told(scope: Scope, error: HvenError) -> Response:
    text = dali.message_of(error, scope.get("hven.request_id", ""))
    headers = {**dali.headers_of(error), "cache-control": "no-store"}
    return PlainTextResponse(f"{text}\n", dali.status_of(error), headers)


def _private(headers: list[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    """Name the reader in an answer, once: a login says itself who one is from now on."""
    said = dict(headers)
    kept = said.get(b"cache-control", b"private")
    headers = [one for one in headers if one[0] != b"cache-control"]
    if name and b"x-vo-authenticated" not in said:
        headers.append((b"x-vo-authenticated", name))
    if b"cookie" not in said.get(b"vary", b"").lower():
        headers.append((b"vary", b"authorization, cookie"))
    return [*headers, (b"cache-control", kept.replace(b"public", b"private"))]


def unnamed(scope: Scope) -> bool:
    """Return whether the log shall not say from where somebody came: who comes in as a referee, or judges without being seen."""
    who: Reader | None = scope.get(READER)
    return INVITING in scope["path"] or (
        who is not None and any(group.startswith(invitations.BLIND) for group in who.groups)
    )


def _asker(scope: Scope) -> str:
    """Name whose queries are counted together: an account's, else an address's."""
    who: Reader | None = scope.get(READER)
    name = (who.by or who.name) if who is not None else None
    return f"account {name}" if name else dali.network(HTTPConnection(scope))


def _by_itself(name: bytes, value: bytes) -> bool:
    """Return whether a header is what browsers add to requests to a site that they know, whoever's page asks; bearer tokens they do not."""
    return name == b"cookie" or (name == b"authorization" and value[:6].lower() == b"basic ")
