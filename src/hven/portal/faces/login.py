"""Serve ``/login`` and ``/logout``: sessions of browsers, begun with an account's name and its token or password.

The page is a form for people and JSON for scripts. Logged-in users create and revoke personal tokens there, and set
their password.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services
from hven.model.errors import (
    ForbiddenError,
    HvenError,
    ParamError,
    TooManyRequestsError,
    UnauthenticatedError,
    UserError,
    format_message,
)
from hven.portal._views import access_page
from hven.portal._views.login_page import (
    JSON_MEDIA_TYPE,
    build_redirect_after_login,
    is_json_client,
    render_login_page,
    sanitize_return_path,
    send_login_error,
)
from hven.services.addresses import build_session_cookie, is_cross_site_change_request
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.site.auth import change_password_and_end_sessions, impersonation
from hven.site.auth.local import (
    TOKEN_SCOPE_GROUPS,
    LocalIdentityProvider,
    create_personal_token,
    get_account_claimed_by_token,
    parse_authorization,
    revoke_personal_token,
)
from hven.site.auth.session import SESSION_SECONDS, find_cookie_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.site.store import AccessGrant

MAX_BODY_BYTES = 8192  # of a request
DEFAULT_TOKEN_DAYS = 90  # validity of a token


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the routes of ``/login`` (GET: the user and the form; POST: begin a session) and ``/logout`` (POST)."""
    endpoints = _LoginEndpoints(context)
    routes = access_page.build_routes(context)
    route = create_route("/login", endpoints.show_login_or_begin_basic_session, send_login_error)
    return [
        *routes,
        route,
        create_route("/login", endpoints.log_in, send_login_error, ["POST"]),
        create_route("/login/tokens", endpoints.create_token, send_login_error, ["POST"]),
        create_route("/login/tokens/end", endpoints.revoke_token, send_login_error, ["POST"]),
        create_route("/login/password", endpoints.set_password, send_login_error, ["POST"]),
        create_route("/logout", endpoints.log_out, send_login_error, ["POST"]),
    ]


class _LoginEndpoints:
    """The endpoints of log-in, log-out, tokens and passwords."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site
        self.accounts = LocalIdentityProvider(self.site.store, self.site.settings)

    async def show_login_or_begin_basic_session(self, request: Request) -> Response:
        current_principal = self.context.identify_principal(request)
        principal = current_principal.impersonator or current_principal.name
        authorization = request.headers.get("authorization", "")
        is_basic = authorization[:6].lower() == "basic "
        is_program = request.method == "GET" and not _is_browser(request)
        if principal is not None and is_basic and is_program:  # SSO 2.0: #BasicAA
            begin_session = partial(self.accounts.begin_session, *parse_authorization(authorization))
            name, proof = await anyio.to_thread.run_sync(begin_session)
            return self.send_session_proof(request, name, proof)
        if is_json_client(request):
            return _send_json({"name": principal})
        return self.render_login(request, next_path=sanitize_return_path(request.query_params.get("next", "")))

    async def log_in(self, request: Request) -> Response:
        self.check_same_site(request)
        form_values = await _read_short_form(request)
        is_program = is_json_client(request) or "username" in form_values  # SSO 2.0: #tls-with-password
        claimed_name = (form_values.get("name") or form_values.get("username", "")).strip()
        token = (form_values.get("token") or form_values.get("password", "")).strip()
        next_path = sanitize_return_path(form_values.get("next", ""))
        check_token = partial(self.accounts.begin_session, claimed_name or None, token)
        try:
            # a password needs a name
            if claimed_name:
                check_token_only = partial(check_token, can_be_password=False)
            else:
                check_token_only = check_token
            account = claimed_name or get_account_claimed_by_token(token)
            name, proof = await services.verify_proof_with_attempt_limit(
                request, self.site.store, account, check_token, verify_token=check_token_only, may_be_password=True
            )
        except (UnauthenticatedError, TooManyRequestsError) as error:
            if is_program:
                raise
            return render_login_page(request, self.context, error=error, given=claimed_name, next_path=next_path)
        if is_program:
            return self.send_session_proof(request, name, proof)
        headers = {"set-cookie": self.build_login_cookie(request, proof)}
        return build_redirect_after_login(request, self.site.settings, headers, next_path)

    def send_session_proof(self, request: Request, name: str, proof: str) -> Response:
        """Give a program its session, as a cookie and as a bearer token."""
        headers = {
            "set-cookie": self.build_login_cookie(request, proof),
            "x-vo-bearer": proof,
            "x-vo-authenticated": name,
        }
        if is_json_client(request):
            return _send_json({"name": name, "seconds": round(SESSION_SECONDS)}, headers)
        return Response(
            f"logged in as {name}\n", headers={**headers, "cache-control": "no-store"}, media_type="text/plain"
        )

    async def create_token(self, request: Request) -> Response:
        account, form_values = await self.require_account_and_form(request)
        try:
            days = float(form_values.get("days") or DEFAULT_TOKEN_DAYS)
        except ValueError:
            message = format_message("{days!r:.40} is not a valid number of days", form_values["days"])
            raise ParamError(message, name="days") from None
        make_token = partial(
            create_personal_token,
            self.site.store,
            account,
            form_values.get("scope", "read"),
            days,
            created_by=account,
            purpose=form_values.get("purpose", ""),
        )
        grant, token = await anyio.to_thread.run_sync(make_token)
        if is_json_client(request):
            return _send_json({"token": token, **_token_to_json(grant)})
        return self.render_login(request, made=token)

    async def revoke_token(self, request: Request) -> Response:
        account, form_values = await self.require_account_and_form(request)
        token_id = form_values.get("id", "")
        revoke = partial(revoke_personal_token, self.site.store, token_id, revoked_by=account, account=account)
        await anyio.to_thread.run_sync(revoke)
        if is_json_client(request):
            return _send_json({"id": form_values["id"]})
        return build_redirect_after_login(request, self.site.settings, {})

    async def set_password(self, request: Request) -> Response:
        """Set a password, if the user knows the old one or the account's token; all other sessions end."""
        account, form_values = await self.require_account_and_form(request)
        new_password = form_values.get("new", "").strip()
        try:
            if not self.site.settings.login.own_passwords:
                raise ForbiddenError(
                    "on this site, only the owner sets passwords", remedy="ask the owner for a new password"
                )
            if new_password != form_values.get("again", new_password).strip():
                raise UserError("the two new passwords differ", remedy="write the same password twice")
            check_password = partial(self.accounts.check_account_secret, account, form_values.get("old", "").strip())
            check_token_only = partial(check_password, can_be_password=False)
            await services.verify_proof_with_attempt_limit(
                request, self.site.store, account, check_password, verify_token=check_token_only, may_be_password=True
            )
            stored_password = new_password or "-"  # "-" is refused: only the operator removes a password
            apply_change = partial(
                change_password_and_end_sessions, self.site.store, account, stored_password, changed_by=account
            )
            await anyio.to_thread.run_sync(apply_change)
        except HvenError as error:
            if is_json_client(request):
                raise
            return self.render_login(request, problem=error)
        if is_json_client(request):
            response = _send_json({"name": account})
        else:
            response = self.render_login(request, changed=True)
        if find_cookie_value(request.headers) is not None:
            proof = await anyio.to_thread.run_sync(self.site.store.sessions.begin_session, account, SESSION_SECONDS)
            response.headers["set-cookie"] = self.build_login_cookie(request, proof)
        return response

    async def require_account_and_form(self, request: Request) -> tuple[str, Mapping[str, str]]:
        self.check_same_site(request)
        principal = self.context.identify_principal(request)
        if principal.name is None:
            raise UnauthenticatedError("this page requires a login", remedy="log in at /login")
        if principal.groups & {*TOKEN_SCOPE_GROUPS.values()}:
            raise ForbiddenError(
                "a personal token cannot be used to create or revoke tokens, or to set a password",
                remedy="log in with a password, or with the token from `hven user add`",
            )
        return principal.name, await _read_short_form(request)

    def render_login(self, request: Request, **page_options: Any) -> Response:
        """Render the page for the reader; `page_options` are parameters of `render_login_page`."""
        principal = self.context.identify_principal(request)
        name = principal.impersonator or principal.name
        grants = []
        if name is not None:
            grants = self.site.store.grants.list_grants("token", subject=name)
        tokens = [_token_to_json(grant) for grant in grants]
        return render_login_page(request, self.context, name=name, tokens=tokens, **page_options)

    async def log_out(self, request: Request) -> Response:
        self.check_same_site(request)
        proof = find_cookie_value(request.headers)
        if proof is not None:
            await anyio.to_thread.run_sync(self.site.store.sessions.end_session, proof)
        headers = {"set-cookie": self.build_login_cookie(request, None)}
        if is_json_client(request):
            response = _send_json({"name": None}, headers)
        else:
            response = build_redirect_after_login(request, self.site.settings, headers)
        if impersonation.IMPERSONATION_COOKIE in request.cookies:
            expired_cookie = build_session_cookie(
                request, self.site.settings, None, cookie_name=impersonation.IMPERSONATION_COOKIE
            )
            response.headers.append("set-cookie", expired_cookie)
        return response

    def check_same_site(self, request: Request) -> None:
        if is_cross_site_change_request(request, self.site.settings):
            raise ForbiddenError(
                "the request comes from a page on another site",
                remedy="use the form at /login, or send a token with each request",
            )

    def build_login_cookie(self, request: Request, proof: str | None) -> str:
        return build_session_cookie(request, self.site.settings, proof)


async def _read_short_form(request: Request) -> Mapping[str, str]:
    """Read a form or a JSON object with a few short texts."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_MEDIA_TYPE:
        params = await services.read_params(request, MAX_BODY_BYTES)
        return {name.lower(): params.read_one(name) or "" for name in params.values}
    try:
        json_values = orjson.loads(await services.read_body(request, MAX_BODY_BYTES))
    except orjson.JSONDecodeError as error:
        message = format_message("the body is not JSON: {message}", error)
        raise ParamError(message, remedy='send {"name": "anna", "token": "..."}') from None
    if not isinstance(json_values, dict) or not all(isinstance(value, str) for value in json_values.values()):
        raise ParamError(
            "the body is not a JSON object whose values are strings", remedy='send {"name": "anna", "token": "..."}'
        )
    return json_values


def _token_to_json(grant: AccessGrant) -> dict[str, Any]:
    """Describe a token for its owner."""
    end_time = datetime.fromtimestamp(grant.until or 0, UTC).isoformat(timespec="seconds")
    return {"id": grant.id, "purpose": grant.facts.get("purpose", ""), "scope": grant.role, "until": end_time}


def _send_json(value: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    all_headers = {"cache-control": "no-store", **(headers or {})}
    return Response(orjson.dumps(value), headers=all_headers, media_type=JSON_MEDIA_TYPE)


def _is_browser(request: Request) -> bool:
    """Return whether the client is a browser."""
    return "text/html" in request.headers.get("accept", "")


FACE = ServiceFace(
    name="login",
    title="Sessions",
    build_routes=build_routes,
    is_usage_counted=False,
    is_limited=False,
    is_site_wide=True,
)
