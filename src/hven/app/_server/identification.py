"""Identify the user of each request before any face gets it; refuse invalid credentials.

Answers tell how to log in, and as whom the user is logged in.

Browsers add cookies and remembered passwords by themselves. These are ignored if a page of another site makes the
browser send a request that changes something (`hven.site.auth.session`).
"""

from __future__ import annotations

import hashlib
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
from hven.services.addresses import PRINCIPAL_SCOPE_KEY, build_session_cookie, is_in_networks
from hven.services.face import load_service_faces
from hven.site.auth import impersonation, invitations, signed_addresses, with_known_groups_and_names
from hven.site.auth.local import TOKEN_SCOPE_GROUPS, LocalIdentityProvider, build_principal, get_claimed_account
from hven.site.auth.session import SAFE_METHODS, is_cross_site_change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Scope

    from hven.model.settings import Settings
    from hven.site.auth import People, Principal
    from hven.site.store import StateStore

log = logging.getLogger("hven")
CREDENTIAL_CACHE_SECONDS = 0.5  # time for which verified credentials are cached
MAX_CACHED_CREDENTIALS = 4096
SESSION_OVER_SCOPE_KEY = "hven.over"  # set if the cookie of a request is of a session that is over
PASSWORD_STANDARD_ID = "ivo://ivoa.net/sso#tls-with-password"  # noqa: S105  (the name of a login method)
CAPABILITIES_SUFFIX = "/capabilities"
# Paths that a read-only token may post to, besides those of faces with queries.
SYNC_QUERY_PATH = "/tap/sync"
ASYNC_QUERY_PATH = "/tap/async"
QUERY_PATHS = (SYNC_QUERY_PATH, ASYNC_QUERY_PATH)
IMPERSONATION_EXIT_PATHS = ("/access/as", "/logout")  # paths that end the view of the site as another user
# Paths that a site that requires a login shows to everybody, so that users see that it exists, and log in.
PUBLIC_PATHS = (
    "/login",
    "/referee/",
    "/assets",
    "/logo",
    "/health/live",
    "/tap/availability",
    *IMPERSONATION_EXIT_PATHS,
)
REFEREE_PREFIX = "/referee/"  # a secret follows
ROW_DOWNLOAD_SUFFIXES = ("/take", "/script", "/download")  # downloads of rows; POST if many rows are selected
SIGNATURE_SCOPE_KEY = "hven.signed"  # the signature of a signed address


class RequestAuthenticator:
    """Identify users by their requests, and refuse what they may not do."""

    def __init__(self, store: StateStore, settings: Settings, find_people: People | None = None) -> None:
        self._store = store
        self._settings = settings
        self._people = find_people
        # Principals of credentials that were verified a moment ago, so that no thread is needed to verify them again.
        # Sessions are not cached: a logout takes effect at once.
        self._principals: dict[bytes, tuple[Principal, float]] = {}
        self._key = secrets.token_bytes(32)  # the cache has keyed digests, from which nobody can guess a password
        self._origins = {origin.lower() for origin in settings.cors if origin != "*"}
        if settings.public_url:
            scheme, _, host_and_path = settings.public_url.lower().partition("://")
            host = host_and_path.partition("/")[0]
            self._origins.add(f"{scheme}://{host}")
        self._providers = [
            plugins.load_plugin("identity", name).open_provider(store, settings)
            for name in plugins.list_plugins("identity")
        ]
        query_faces = [face for face in load_service_faces().values() if face.build_query is not None]
        self._query_paths = (*QUERY_PATHS, *(face.path.partition("{")[0] for face in query_faces))
        self._proxy_header = (settings.login.proxy_header or "").lower().encode()
        self._proxies = settings.login.proxies
        open_schemes = settings.login.schemes
        self._refused_schemes: set[str] = set()
        if "Basic" not in open_schemes:
            self._refused_schemes.add("basic")
        if "Bearer" not in open_schemes and "ivoa_bearer" not in open_schemes:
            self._refused_schemes.add("bearer")

    async def identify_or_refuse(self, scope: Scope, headers_by_name: Mapping[bytes, bytes]) -> Response | None:
        """Identify the user of a request, and return a refusal if the credentials are not valid.

        A request without credentials costs nothing.
        """
        if self.has_credentials(scope, headers_by_name):
            try:
                await self._set_scope_principal(scope, headers_by_name)
            except HvenError as error:
                return _build_error_response(scope, error)
        current_requester.set(partial(_find_requester_name, scope))
        return None

    def has_credentials(self, scope: Scope, headers_by_name: Mapping[bytes, bytes]) -> bool:
        """Return whether a request has anything that may identify its user, valid or not."""
        return (
            b"authorization" in headers_by_name
            or b"cookie" in headers_by_name
            or self._proxy_header in headers_by_name
            or SIGNATURE_SCOPE_KEY in scope
        )

    async def _set_scope_principal(self, scope: Scope, headers_by_name: Mapping[bytes, bytes]) -> None:
        """Write the principal of a request with credentials into its scope.

        Raises
        ------
        UnauthenticatedError
            The credentials are not valid, or their session is over.
        """
        trusted_headers = self._select_trusted_headers(scope)
        proxy_account = ""
        if self._proxy_header in headers_by_name:
            proxy_account = self._read_proxy_account(scope, trusted_headers)
        principal = await self._verify_credentials(scope, trusted_headers, proxy_account)
        is_session_over = principal is not None and principal.is_anonymous
        if is_session_over:
            principal = None
        principal = invitations.with_invitation_groups(principal, trusted_headers, self._store)
        if principal is not None:
            may_impersonate = principal.name is not None and SIGNATURE_SCOPE_KEY not in scope
            if may_impersonate and impersonation.IMPERSONATION_COOKIE in trusted_headers.get("cookie", ""):
                identity_sources = self._store, self._settings, self._people
                principal = await anyio.to_thread.run_sync(
                    impersonation.apply_impersonation_cookie, principal, trusted_headers, *identity_sources
                )
            scope[PRINCIPAL_SCOPE_KEY] = principal
        elif is_session_over:
            scope[SESSION_OVER_SCOPE_KEY] = True
            # A page shows that nobody is logged in. A program would take a public answer for a complete one.
            is_login_path = scope["path"].rstrip("/").endswith(("/login", "/logout"))
            if not is_login_path and not _is_page_request(scope):
                raise UnauthenticatedError(
                    "this session has ended", remedy="log in again, or send the request without a cookie"
                )

    async def _verify_credentials(self, scope: Scope, trusted_headers: Headers, proxy_account: str) -> Principal | None:
        """Verify the credentials of a request, and return whose they are.

        Parameters
        ----------
        scope
            The request.
        trusted_headers
            The headers that may have credentials.
        proxy_account
            The account that a trusted proxy names; empty if there is none.

        Raises
        ------
        UnauthenticatedError
            The credentials are not valid, or the site does not accept this kind.
        """
        credentials = proxy_account or trusted_headers.get("authorization", "")
        scheme = credentials.partition(" ")[0].lower()
        if not proxy_account and scheme in self._refused_schemes:
            raise UnauthenticatedError(
                "this site does not accept this login method", remedy="use one of the schemes in WWW-Authenticate"
            )
        account = get_claimed_account(credentials)
        if SIGNATURE_SCOPE_KEY in scope:
            identify_by_signature = partial(self._identify_by_signature, scope)
            return await services.verify_proof_with_attempt_limit(
                HTTPConnection(scope), self._store, account, identify_by_signature, verify_token=identify_by_signature
            )
        digest = self._compute_credential_digest(credentials, is_proxy=bool(proxy_account))
        if credentials and digest in self._principals:
            cached_principal, expiry_time = self._principals[digest]
            if time.monotonic() < expiry_time:
                return cached_principal
        is_basic = credentials[:6].lower() == "basic "
        if proxy_account:
            check_credentials = partial(self._load_or_create_principal, proxy_account)
        else:
            check_credentials = partial(self._identify_by_providers, trusted_headers)
        verify_token = check_credentials
        if is_basic:  # only Basic credentials can have a password
            verify_token = partial(self._identify_by_token, trusted_headers)
        principal = await services.verify_proof_with_attempt_limit(
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

    def _compute_credential_digest(self, credentials: str, *, is_proxy: bool) -> bytes:
        """Return the keyed digest of credentials; a client cannot send any that have the digest of a proxy's."""
        digest_context = b"proxy" if is_proxy else b"header"
        credential_bytes = credentials.encode("latin-1", "replace")
        return hashlib.blake2b(credential_bytes, key=self._key, digest_size=32, person=digest_context).digest()

    def check_access(self, scope: Scope) -> Response | None:
        """Return a refusal if the user may not see the site, or may only read and the request changes something.

        The request has its present address. A browser is redirected to the login page.
        """
        path = scope["path"]
        is_safe = scope["method"] in SAFE_METHODS
        principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
        is_impersonated = principal is not None and bool(principal.impersonator)
        if is_impersonated and not is_safe and not self._is_harmless_post(scope["method"], path):
            error: HvenError = ForbiddenError(
                "you cannot change anything while you view the site as another user",
                remedy="return to your own view first",
            )
            return _build_error_response(scope, error)
        if principal is not None and not (is_impersonated and principal.is_anonymous):
            is_read_only = TOKEN_SCOPE_GROUPS["read"] in principal.groups
            if not is_read_only or is_safe or path.startswith(self._query_paths):
                return None
            error = ForbiddenError("this token is read-only", remedy="use a token with the scope `all`")
            return _build_error_response(scope, error)
        if not self._settings.login.required or path.startswith(PUBLIC_PATHS) or _is_capabilities_path(path):
            return None
        if _is_page_request(scope):
            return self._build_login_redirect(scope)
        error = UnauthenticatedError(
            "only users with an account can see this site", remedy="send credentials, or log in at /login"
        )
        return _build_error_response(scope, error)

    def _build_login_redirect(self, scope: Scope) -> Response:
        query = scope["query_string"].decode("latin-1")
        return_address = f"{self._settings.root_path}{scope['path']}?{query}".rstrip("?")
        base_url = services.get_base_url(HTTPConnection(scope), self._settings)
        headers = {"location": f"{base_url}/login?next={quote(return_address)}", "cache-control": "no-store"}
        return Response(None, 303, headers)

    def _is_harmless_post(self, method: str, path: str) -> bool:
        """Return whether a request that is not a safe one changes nothing nevertheless, or ends an impersonation."""
        if method != "POST":
            return False
        if path.startswith("/collections/") and path.endswith(ROW_DOWNLOAD_SUFFIXES):
            return True
        if path.startswith(ASYNC_QUERY_PATH):
            return False
        return path.startswith((*self._query_paths, *IMPERSONATION_EXIT_PATHS))

    async def add_identity_headers(
        self, scope: Scope, status: int, headers: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Add headers to an answer: how to log in (AuthVO), or as whom the user is logged in.

        An answer for one user must not be kept by shared caches.
        """
        principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
        if principal is not None:
            headers = _add_private_answer_headers(headers, (principal.impersonator or principal.name or "").encode())
        elif SESSION_OVER_SCOPE_KEY in scope and all(name != b"set-cookie" for name, _ in headers):
            expired_cookie = build_session_cookie(HTTPConnection(scope), self._settings, None)
            headers = [*headers, (b"set-cookie", expired_cookie.encode())]
        if status == 401:
            needs_challenge = all(name != b"www-authenticate" for name, _ in headers)
        elif status in {200, 304} and _is_capabilities_path(scope["path"]):
            needs_challenge = await self._has_accounts()
        else:
            needs_challenge = False
        if not needs_challenge:
            return headers
        return [*headers, *self._build_challenge_headers(scope)]

    def _build_challenge_headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Build a header for each way to log in."""
        login_url = f"{services.get_base_url(HTTPConnection(scope), self._settings)}/login"
        vo_parameters = f'standard_id="{PASSWORD_STANDARD_ID}", access_url="{login_url}"'
        parameters_by_scheme = {"Basic": 'realm="hven", charset="UTF-8"', "Bearer": 'realm="hven"'}
        challenges = []
        for scheme in self._settings.login.schemes:
            parameters = parameters_by_scheme.get(scheme, vo_parameters)
            challenges.append((b"www-authenticate", f"{scheme} {parameters}".encode()))
        return challenges

    async def _has_accounts(self) -> bool:
        """Return whether the site has any account; True if the store does not respond."""
        try:
            return await anyio.to_thread.run_sync(self._store.users.has_account)
        except StorageError:
            return True

    def _select_trusted_headers(self, scope: Scope) -> Headers:
        """Return the headers that may have credentials.

        In a request of a foreign page, these are not the headers that a browser adds by itself.
        """
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        # A proxy may have ended https. The host identifies the site, and pages served by plain http under the same name
        # are not safe anyway.
        own_origins = self._origins | {f"https://{host}", f"http://{host}"}
        if not is_cross_site_change(scope["method"], headers, own_origins):
            return headers
        trusted_pairs = []
        for name, value in scope["headers"]:
            if name != self._proxy_header and not _is_ambient_credential(name, value):
                trusted_pairs.append((name, value))
        return Headers(raw=trusted_pairs)

    def _identify_by_signature(self, scope: Scope) -> Principal | None:
        path = scope["path"].removeprefix(self._settings.root_path.rstrip("/"))
        query = scope["query_string"].decode("latin-1")
        account = signed_addresses.verify_signature_and_find_account(
            self._store, scope["method"], path, query, scope[SIGNATURE_SCOPE_KEY]
        )
        return self._load_principal(account)

    def _read_proxy_account(self, scope: Scope, headers: Headers) -> str:
        """Return the account that a trusted proxy names; empty if it names none.

        Others could use the header to be any user, so it is refused if they send it.

        Raises
        ------
        UnauthenticatedError
            The header is not from a trusted proxy, or there are several.
        """
        header_name = self._proxy_header.decode()
        header_count = sum(name == self._proxy_header for name, _ in scope["headers"])
        client = scope.get("client") or ("",)
        if header_count != 1 or not is_in_networks(client[0], self._proxies):
            log.warning(
                "ignored the header %s from %s: the address is not in login.proxies, or the request contains the "
                "header more than once",
                header_name,
                client[0],
            )
            raise UnauthenticatedError(
                "only the site's proxy may state who is logged in", remedy="send the request through the proxy"
            )
        return headers.get(header_name, "").strip().lower()

    def _load_or_create_principal(self, account_name: str) -> Principal | None:
        """Return the principal of an account that a proxy names; the account is created with the first request."""
        if not self._store.users.has_account(account_name):
            self._store.users.add_account(account_name)
        return self._load_principal(account_name)

    def _load_principal(self, account_name: str) -> Principal:
        principal = build_principal(account_name, self._store, self._settings)
        return with_known_groups_and_names(principal, self._settings, self._store.grants, self._people)

    def _identify_by_providers(self, headers: Headers) -> Principal | None:
        for provider in self._providers:
            principal = provider.identify(headers)
            if principal is not None:
                return with_known_groups_and_names(principal, self._settings, self._store.grants, self._people)
        return None

    def _identify_by_token(self, headers: Headers) -> Principal | None:
        """Identify an account by its token or session, without checking passwords.

        Raises
        ------
        UnauthenticatedError
            The credentials are not a valid token.
        """
        for provider in self._providers:
            if not isinstance(provider, LocalIdentityProvider):
                continue
            principal = provider.identify_by_token(headers)
            if principal is not None:
                return with_known_groups_and_names(principal, self._settings, self._store.grants, self._people)
        raise UnauthenticatedError("these credentials are not a valid token", remedy="send the account's token")


def _is_capabilities_path(path: str) -> bool:
    """Return whether a path is that of a service's capabilities. A file of a collection may have the same name."""
    return path.endswith(CAPABILITIES_SUFFIX) and not path.startswith("/collections/")


def _is_page_request(scope: Scope) -> bool:
    """Return whether a browser requests a page."""
    return scope["method"] in SAFE_METHODS and "text/html" in Headers(scope=scope).get("accept", "")


def _build_error_response(scope: Scope, error: HvenError) -> Response:
    text = services.log_error_and_write_message(error, scope.get("hven.request_id", ""))
    headers = {**services.build_retry_after_header(error), "cache-control": "no-store"}
    http_status = services.find_http_status(error)
    return PlainTextResponse(f"{text}\n", http_status, headers)


def _add_private_answer_headers(headers: list[tuple[bytes, bytes]], account_name: bytes) -> list[tuple[bytes, bytes]]:
    """Add the user's name, and forbid shared caches to keep the answer. A login sets its own name."""
    headers_by_name = dict(headers)
    cache_control = headers_by_name.get(b"cache-control", b"private")
    headers = [header for header in headers if header[0] != b"cache-control"]
    if account_name and b"x-vo-authenticated" not in headers_by_name:
        headers.append((b"x-vo-authenticated", account_name))
    if b"cookie" not in headers_by_name.get(b"vary", b"").lower():
        headers.append((b"vary", b"authorization, cookie"))
    return [*headers, (b"cache-control", cache_control.replace(b"public", b"private"))]


def is_client_hidden_from_log(scope: Scope) -> bool:
    """Return whether the log must not name the client: a referee, or a reviewer in a blind review."""
    principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
    if REFEREE_PREFIX in scope["path"]:
        return True
    if principal is None:
        return False
    return any(group.startswith(invitations.BLIND_REVIEW_GROUP_PREFIX) for group in principal.groups)


def _find_requester_name(scope: Scope) -> str:
    """Return the name under which queries are counted: that of the account, else that of the client's network."""
    principal: Principal | None = scope.get(PRINCIPAL_SCOPE_KEY)
    if principal is not None:
        account = principal.impersonator or principal.name
        if account:
            return f"account {account}"
    return services.find_client_network(HTTPConnection(scope))


def _is_ambient_credential(name: bytes, value: bytes) -> bool:
    """Return whether a header has credentials that browsers add by themselves.

    They add cookies and Basic credentials, whichever page sends the request, and no bearer tokens.
    """
    if name == b"cookie":
        return True
    return name == b"authorization" and value[:6].lower() == b"basic "
