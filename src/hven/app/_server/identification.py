"""Who asks: identity providers look at each request before any face does; bad credentials get no further.

Answers say how one may log in, and as whom one is.

What browsers add by themselves, cookies and remembered passwords, is kept from them if a foreign page makes the browser
send a request that changes something (`hven.site.auth.session`).
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

from hven import services
from hven.model import plugins
from hven.model.errors import ForbiddenError, HvenError, StorageError, UnauthenticatedError
from hven.query.query_queue import current_requester
from hven.services.addresses import build_session_cookie
from hven.services.face import load_faces
from hven.site.auth import add_known_groups, impersonation, invitations, signed_addresses
from hven.site.auth.local import TOKEN_SCOPE_GROUPS, LocalIdentityProvider, build_principal, get_claimed_account
from hven.site.auth.session import SAFE_METHODS, is_cross_site_change

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    Address = IPv4Address | IPv6Address
    from collections.abc import Mapping

    from starlette.types import Scope

    from hven.model.settings import Settings
    from hven.site.auth import People, Principal
    from hven.site.store import StateStore

log = logging.getLogger("hven")
PRINCIPAL_SCOPE_KEY = "hven.reader"
CREDENTIAL_CACHE_SECONDS = 0.5  # seconds after which it is looked again whether credentials hold
MAX_CACHED_CREDENTIALS = 4096  # of those that are remembered
SESSION_OVER_SCOPE_KEY = "hven.over"  # its cookie is of a session that is over
PASSWORD_STANDARD_ID = "ivo://ivoa.net/sso#tls-with-password"  # noqa: S105  (a way to log in)
CAPABILITIES_SUFFIX = "/capabilities"
# what a site that is closed shows all the same, so that one can see that it is there, and log in
QUERY_PATHS = (
    "/tap/sync",
    "/tap/async",
)  # what a token that may only read changes, besides the addresses of faces that ask
IMPERSONATION_EXIT_PATHS = ("/access/as", "/logout")  # the ways back of who sees the site as somebody else
PUBLIC_PATHS = (
    "/login",
    "/referee/",
    "/assets",
    "/logo",
    "/health/live",
    "/tap/availability",
    *IMPERSONATION_EXIT_PATHS,
)
REFEREE_PREFIX = "/referee/"  # behind it a secret
ROW_DOWNLOAD_SUFFIXES = ("/take", "/script", "/download")  # rows of a table, by POST where many are marked
SIGNATURE_SCOPE_KEY = "hven.signed"  # what an address was signed with


class Identification:
    """Puts the reader into the request's scope, or answers 401."""

    def __init__(self, store: StateStore, settings: Settings, people: People | None = None) -> None:
        self._store = store
        self._settings = settings
        self._people = people
        # whom credentials proved a moment ago: asked without a way to a thread. Of a session nothing is remembered: a
        # logout holds at once
        self._principals: dict[bytes, tuple[Principal, float]] = {}
        self._key = secrets.token_bytes(32)  # memory holds keyed digests, of which nobody can guess a password
        self._origins = {origin.lower() for origin in settings.cors if origin != "*"}
        if settings.public_url:
            self._origins.add("/".join(settings.public_url.lower().split("/")[:3]))
        self._providers = [
            plugins.load_plugin("identity", name).open_provider(store, settings)
            for name in plugins.list_plugins("identity")
        ]
        asked = (face.path.partition("{")[0] for face in load_faces().values() if face.build_query is not None)
        self._query_paths = (*QUERY_PATHS, *asked)
        self._proxy_header = (settings.login.proxy_header or "").lower().encode()
        self._proxies = [ipaddress.ip_network(network) for network in settings.login.proxies]
        open_schemes = settings.login.schemes
        self._refused_schemes = {
            name
            for name, scheme_names in {"basic": {"Basic"}, "bearer": {"Bearer", "ivoa_bearer"}}.items()
            if not scheme_names & {*open_schemes}
        }

    async def identify_or_refuse(self, scope: Scope, headers_by_name: Mapping[bytes, bytes]) -> Response | None:
        """Find out who sends a request, and return a refusal if its credentials do not hold.

        Without credentials it costs nothing.
        """
        if self._has_credentials(scope, headers_by_name):
            try:
                await self._identify(scope, headers_by_name)
            except HvenError as error:
                return _build_error_response(scope, error)
        current_requester.set(partial(_find_requester, scope))
        return None

    def _has_credentials(self, scope: Scope, headers_by_name: Mapping[bytes, bytes]) -> bool:
        return (
            b"authorization" in headers_by_name
            or b"cookie" in headers_by_name
            or self._proxy_header in headers_by_name
            or SIGNATURE_SCOPE_KEY in scope
        )

    async def _identify(self, scope: Scope, headers_by_name: Mapping[bytes, bytes]) -> None:
        """Write the principal of a request with credentials into its scope.

        Raises
        ------
        UnauthenticatedError
            The credentials are refused, or their session is over.
        """
        trusted_headers = self._select_trusted_headers(scope)
        proxy_account = ""
        if self._proxy_header in headers_by_name:
            proxy_account = self._read_proxy_account(scope, trusted_headers)
        principal = await self._verify_credentials(scope, trusted_headers, proxy_account)
        is_session_over = principal is not None and principal.is_anonymous
        principal = invitations.add_invitation_groups(
            None if is_session_over else principal, trusted_headers, self._store
        )
        if principal is None and is_session_over:
            scope[SESSION_OVER_SCOPE_KEY] = True
            # a page says that nobody is logged in; what a program gets would pass for all that it may see
            if not _is_page_request(scope) and not scope["path"].rstrip("/").endswith(("/login", "/logout")):
                raise UnauthenticatedError("this session is over", remedy="log in again, or send no cookie")
        elif principal is not None:
            may_impersonate = principal.name is not None and SIGNATURE_SCOPE_KEY not in scope
            if may_impersonate and impersonation.IMPERSONATION_COOKIE in trusted_headers.get("cookie", ""):
                identity_sources = self._store, self._settings, self._people
                principal = await anyio.to_thread.run_sync(
                    impersonation.apply_impersonation_cookie, principal, trusted_headers, *identity_sources
                )
            scope[PRINCIPAL_SCOPE_KEY] = principal

    async def _verify_credentials(self, scope: Scope, trusted_headers: Headers, proxy_account: str) -> Principal | None:
        """Return whose credentials a request has; those of the last seconds are remembered by a keyed digest."""
        credentials = proxy_account or trusted_headers.get("authorization", "")
        if not proxy_account and credentials.partition(" ")[0].lower() in self._refused_schemes:
            raise UnauthenticatedError("this way to log in is not open here", remedy="see the challenges")
        account = get_claimed_account(credentials)
        if SIGNATURE_SCOPE_KEY in scope:
            identify_by_signature = partial(self._identify_by_signature, scope)
            return await services.verify_proof(
                HTTPConnection(scope), self._store, account, identify_by_signature, verify_token=identify_by_signature
            )
        # what a proxy says is never found by what a reader sends
        credential_bytes = credentials.encode("latin-1", "replace")
        digest_context = b"proxy" if proxy_account else b"header"
        digest = hashlib.blake2b(credential_bytes, key=self._key, digest_size=32, person=digest_context).digest()
        principal, until = None, 0.0
        if credentials:
            principal, until = self._principals.get(digest, (None, 0.0))
        if time.monotonic() < until:
            return principal
        is_basic = credentials[:6].lower() == "basic "
        if proxy_account:
            check_credentials = partial(self._get_or_create_account, proxy_account)
        else:
            check_credentials = partial(self._identify_by_providers, trusted_headers)
        verify_token = check_credentials
        if is_basic:  # only Basic may have a password
            verify_token = partial(self._identify_by_token, trusted_headers)
        principal = await services.verify_proof(
            HTTPConnection(scope),
            self._store,
            account,
            check_credentials,
            verify_token=verify_token,
            may_be_password=is_basic or credentials.count(".") > 1,
        )
        if credentials and principal is not None:
            if len(self._principals) >= MAX_CACHED_CREDENTIALS:
                self._principals.clear()
            self._principals[digest] = principal, time.monotonic() + CREDENTIAL_CACHE_SECONDS
        return principal

    def refuse_access(self, scope: Scope) -> Response | None:
        """Refuse a request, under its present address, to who may not come in at all, or may only read.

        Browsers are shown the way.
        """
        path = scope["path"]
        principal = scope.get(PRINCIPAL_SCOPE_KEY)
        if (
            principal is not None
            and principal.impersonator
            and scope["method"] not in SAFE_METHODS
            and not self._is_harmless_post(scope["method"], path)
        ):
            return _build_error_response(
                scope,
                ForbiddenError("who sees this site as somebody else changes nothing", remedy="be yourself again first"),
            )
        if principal is not None and not (principal.impersonator and principal.is_anonymous):
            if (
                TOKEN_SCOPE_GROUPS["read"] not in principal.groups
                or scope["method"] in SAFE_METHODS
                or path.startswith(self._query_paths)
            ):
                return None
            return _build_error_response(
                scope, ForbiddenError("this token may only read", remedy="a token with the scope all may change things")
            )
        if not self._settings.login.required or path.startswith(PUBLIC_PATHS) or _is_capabilities_path(path):
            return None
        request = HTTPConnection(scope)
        if _is_page_request(scope):
            return_path = quote(
                f"{self._settings.root_path}{path}?{scope['query_string'].decode('latin-1')}".rstrip("?")
            )
            headers = {
                "location": f"{services.get_base_url(request, self._settings)}/login?next={return_path}",
                "cache-control": "no-store",
            }
            return Response(None, 303, headers)
        return _build_error_response(
            scope,
            UnauthenticatedError(
                "only who has an account sees this site", remedy="send credentials, or log in at /login"
            ),
        )

    def _is_harmless_post(self, method: str, path: str) -> bool:
        """Return whether a request that is none to read changes nothing all the same, or leads back to oneself."""
        is_query = path.startswith((*self._query_paths, *IMPERSONATION_EXIT_PATHS)) and not path.startswith(
            QUERY_PATHS[1]
        )
        return method == "POST" and (
            is_query or (path.startswith("/collections/") and path.endswith(ROW_DOWNLOAD_SUFFIXES))
        )

    async def add_identity_headers(
        self, scope: Scope, status: int, headers: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Add to an answer how one may log in (AuthVO), or as whom one is.

        What is told to one reader is not for shared caches.
        """
        principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
        if principal is not None:
            headers = _mark_private(headers, (principal.impersonator or principal.name or "").encode())
        elif SESSION_OVER_SCOPE_KEY in scope and all(name != b"set-cookie" for name, _ in headers):
            expired_cookie = build_session_cookie(HTTPConnection(scope), self._settings, None)
            headers = [*headers, (b"set-cookie", expired_cookie.encode())]
        if status == 401:
            wants_challenge = all(name != b"www-authenticate" for name, _ in headers)
        else:
            wants_challenge = (
                status in {200, 304} and _is_capabilities_path(scope["path"]) and await self._has_accounts()
            )
        if not wants_challenge:
            return headers
        url = f"{services.get_base_url(HTTPConnection(scope), self._settings)}/login"
        challenge_parameters = {
            "Basic": 'realm="hven", charset="UTF-8"',
            "Bearer": 'realm="hven"',
        }
        signing = f'standard_id="{PASSWORD_STANDARD_ID}", access_url="{url}"'
        return [
            *headers,
            *(
                (b"www-authenticate", f"{scheme} {challenge_parameters.get(scheme, signing)}".encode())
                for scheme in self._settings.login.schemes
            ),
        ]

    async def _has_accounts(self) -> bool:
        """Return whether anybody can log in at all."""
        try:
            return await anyio.to_thread.run_sync(self._store.users.has_account)
        except StorageError:
            return True

    def _select_trusted_headers(self, scope: Scope) -> Headers:
        """Return the headers that may prove something."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        # a proxy may have taken https off: the host is what tells sites apart, and a page served by plain http under
        # our name is lost anyway
        if is_cross_site_change(scope["method"], headers, self._origins | {f"https://{host}", f"http://{host}"}):
            raw = [
                (name, value)
                for name, value in scope["headers"]
                if name != self._proxy_header and not _is_ambient_credential(name, value)
            ]
            return Headers(raw=raw)
        return headers

    def _identify_by_signature(self, scope: Scope) -> Principal | None:
        path = scope["path"].removeprefix(self._settings.root_path.rstrip("/"))
        query = scope["query_string"]
        return self._load_principal(
            signed_addresses.verify_signed_address(
                self._store, scope["method"], path, query.decode("latin-1"), scope[SIGNATURE_SCOPE_KEY]
            )
        )

    def _read_proxy_account(self, scope: Scope, headers: Headers) -> str:
        """Return whom a proxy before us names; empty: nobody. From others it is refused.

        Who sends it would else be somebody, or see a part for all.
        """
        values = [value.strip() for name, value in scope["headers"] if name == self._proxy_header]
        try:
            address: Address | None = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:  # a socket of this machine has none
            address = None
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        if len(values) != 1 or address is None or not any(address in network for network in self._proxies):
            log.warning("%s, sent by %s, is not believed: see login.proxies", self._proxy_header.decode(), address)
            raise UnauthenticatedError("only the site's proxy says who is logged in there", remedy="ask by its address")
        return headers.get(self._proxy_header.decode(), "").strip().lower()

    def _get_or_create_account(self, name: str) -> Principal | None:
        """Return the reader whom a proxy names, with an account from the first time on."""
        if not self._store.users.has_account(name):
            self._store.users.add_account(name)
        return self._load_principal(name)

    def _load_principal(self, name: str) -> Principal:
        principal = build_principal(name, self._store, self._settings)
        return add_known_groups(principal, self._settings, self._store.grants, self._people)

    def _identify_by_providers(self, headers: Headers) -> Principal | None:
        principals = (provider.identify(headers) for provider in self._providers)
        principal = next((candidate for candidate in principals if candidate is not None), None)
        if principal is None:
            return None
        return add_known_groups(principal, self._settings, self._store.grants, self._people)

    def _identify_by_token(self, headers: Headers) -> Principal | None:
        """Identify who shows a token or a session of an account here, without a look at passwords."""
        accounts = (provider for provider in self._providers if isinstance(provider, LocalIdentityProvider))
        principals = (provider.identify_by_token(headers) for provider in accounts)
        principal = next((provider for provider in principals if provider is not None), None)
        if principal is None:
            raise UnauthenticatedError(
                "these credentials are no token that holds here", remedy="send the account's token"
            )
        return add_known_groups(principal, self._settings, self._store.grants, self._people)


def _is_capabilities_path(path: str) -> bool:
    """Return whether this is where a service says what it can; a file may be called so, too."""
    return path.endswith(CAPABILITIES_SUFFIX) and not path.startswith("/collections/")


def _is_page_request(scope: Scope) -> bool:
    """Return whether a browser asks for a page."""
    return scope["method"] in SAFE_METHODS and "text/html" in Headers(scope=scope).get("accept", "")


def _build_error_response(scope: Scope, error: HvenError) -> Response:
    text = services.write_error_message(error, scope.get("hven.request_id", ""))
    headers = {**services.build_error_headers(error), "cache-control": "no-store"}
    http_status = services.find_http_status(error)
    return PlainTextResponse(f"{text}\n", http_status, headers)


def _mark_private(headers: list[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    """Name the reader in an answer, once: a login says itself who one is from now on."""
    headers_by_name = dict(headers)
    cache_control = headers_by_name.get(b"cache-control", b"private")
    headers = [header for header in headers if header[0] != b"cache-control"]
    if name and b"x-vo-authenticated" not in headers_by_name:
        headers.append((b"x-vo-authenticated", name))
    if b"cookie" not in headers_by_name.get(b"vary", b"").lower():
        headers.append((b"vary", b"authorization, cookie"))
    return [*headers, (b"cache-control", cache_control.replace(b"public", b"private"))]


def is_anonymous_referee(scope: Scope) -> bool:
    """Return whether the log must not name the client: a referee, or a reviewer in a blind review."""
    principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
    if REFEREE_PREFIX in scope["path"]:
        return True
    if principal is None:
        return False
    return any(group.startswith(invitations.BLIND_REVIEW_GROUP_PREFIX) for group in principal.groups)


def _find_requester(scope: Scope) -> str:
    """Name whose queries are counted together: an account's, else an address's."""
    principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
    if principal is not None:
        name = principal.impersonator or principal.name
    else:
        name = None
    if name:
        return f"account {name}"
    return services.find_client_network(HTTPConnection(scope))


def _is_ambient_credential(name: bytes, value: bytes) -> bool:
    """Return whether browsers add a header by themselves to requests to a site that they know.

    They do so with cookies and Basic credentials, whichever page sends the request, and not with bearer tokens.
    """
    if name == b"cookie":
        return True
    return name == b"authorization" and value[:6].lower() == b"basic "
