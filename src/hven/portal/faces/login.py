"""``/login`` and ``/logout``: a session for browsers, from an account's name and its token or password.

As a form, and as JSON for scripts.

Who is logged in makes and ends personal tokens there, and sets their password.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio.to_thread
import orjson
from starlette.responses import Response

from hven import services
from hven.model.errors import (
    ForbiddenError,
    HvenError,
    NotFoundError,
    ParamError,
    TooManyRequestsError,
    UnauthenticatedError,
    UserError,
    format_message,
)
from hven.portal._pages import build_frame, build_page_headers, get_message_translator, render_page
from hven.portal._views import access_page
from hven.services.addresses import build_session_cookie, get_host_url, is_cross_site
from hven.services.face import Face, ServiceContext, create_route
from hven.site.auth import change_password, impersonation
from hven.site.auth.local import (
    TOKEN_SCOPE_GROUPS,
    LocalIdentityProvider,
    create_personal_token,
    get_token_account,
    parse_authorization,
    revoke_personal_token,
)
from hven.site.auth.session import SESSION_SECONDS, find_session_cookie

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.site.auth import OpenIdProvider
    from hven.site.store import Grant

PENDING_LOGIN_COOKIE = "hven_oidc"  # a cookie: a log-in that is under way
MAX_BODY_BYTES = 8192  # bytes of what is sent
JSON_MEDIA_TYPE = "application/json"
DEFAULT_TOKEN_DAYS = 90  # days that a token holds
# an address on this site, whatever browsers make of it, as a header can say it
_LOCAL_PATH_PATTERN = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return ``/login`` (GET: who one is, and the form; POST: begin a session) and ``/logout`` (POST)."""
    site = context.site
    accounts = LocalIdentityProvider(site.store, site.settings)

    async def show_login(request: Request) -> Response:
        current_principal = context.identify_principal(request)
        principal = current_principal.impersonator or current_principal.name
        authorization = request.headers.get("authorization", "")
        if (
            principal is not None
            and authorization[:6].lower() == "basic "
            and request.method == "GET"
            and not _is_browser(request)
        ):
            begin_session = partial(accounts.begin_session, *parse_authorization(authorization))
            return answer_session(request, *await anyio.to_thread.run_sync(begin_session))  # SSO 2.0: #BasicAA
        if _is_json_client(request):
            return _send_json({"name": principal})
        next_path = request.query_params.get("next", "")
        return render_login(request, next=next_path if _LOCAL_PATH_PATTERN.fullmatch(next_path) else "")

    async def log_in(request: Request) -> Response:
        check_same_site(request)
        form_values = await _read_short_form(request)
        is_program = _is_json_client(request) or "username" in form_values  # SSO 2.0: #tls-with-password
        claimed_name = (form_values.get("name") or form_values.get("username", "")).strip()
        token = (form_values.get("token") or form_values.get("password", "")).strip()
        next_path = form_values.get("next", "")
        if not _LOCAL_PATH_PATTERN.fullmatch(next_path):
            next_path = ""
        check_token = partial(accounts.begin_session, claimed_name or None, token)
        try:
            # without a name it is no password
            if claimed_name:
                check_token_only = partial(check_token, passwords_too=False)
            else:
                check_token_only = check_token
            account = claimed_name or get_token_account(token)
            name, proof = await services.verify_proof(
                request, site.store, account, check_token, verify_token=check_token_only, may_be_password=True
            )
        except (UnauthenticatedError, TooManyRequestsError) as error:
            if is_program:
                raise
            return _render_page(request, context, error=error, given=claimed_name, next=next_path)
        if is_program:
            return answer_session(request, name, proof)
        return redirect(request, {"set-cookie": build_login_cookie(request, proof)}, next_path)

    def answer_session(request: Request, name: str, proof: str) -> Response:
        """Give a program its session, as a cookie and as a bearer token."""
        headers = {"set-cookie": build_login_cookie(request, proof), "x-vo-bearer": proof, "x-vo-authenticated": name}
        if _is_json_client(request):
            return _send_json({"name": name, "seconds": round(SESSION_SECONDS)}, headers)
        return Response(
            f"logged in as {name}\n", headers={**headers, "cache-control": "no-store"}, media_type="text/plain"
        )

    async def redirect_to_provider(request: Request) -> Response:
        """Send a browser to a provider of OpenID Connect."""
        try:
            provider, return_address = find_provider(request)
            address, pending_state = await anyio.to_thread.run_sync(provider.begin_login, return_address)
        except HvenError as error:
            return _render_page(request, context, problem=error)
        next_path = request.query_params.get("next", "")
        pending_state = f"{provider.provider_settings.name}|{pending_state}|{next_path if _LOCAL_PATH_PATTERN.fullmatch(next_path) else ''}"
        return Response(
            None,
            303,
            {
                "location": address,
                "set-cookie": build_pending_cookie(request, pending_state),
                "cache-control": "no-store",
            },
        )

    async def finish_provider_login(request: Request) -> Response:
        """Begin the session of who comes back from there."""
        try:
            provider, return_address = find_provider(request)
            name, _, pending_state = unquote(request.cookies.get(PENDING_LOGIN_COOKIE, "")).partition("|")
            pending_state, _, next_path = pending_state.partition("|")
            query_params = dict(request.query_params)
            finish_login = partial(
                provider.finish_login,
                site.store,
                return_address,
                query_params,
                pending_state if name == provider.provider_settings.name else "",
            )
            account = await services.verify_proof(
                request, site.store, query_params.get("state", "")[:128], finish_login, may_be_password=True
            )
            proof = await anyio.to_thread.run_sync(site.store.sessions.begin_session, account, SESSION_SECONDS)
        except HvenError as error:
            response = _render_page(request, context, problem=error)
        else:
            if not _LOCAL_PATH_PATTERN.fullmatch(next_path):
                next_path = ""
            response = redirect(request, {"set-cookie": build_login_cookie(request, proof)}, next_path)
        response.headers.append("set-cookie", build_pending_cookie(request, None))
        return response

    def find_provider(request: Request) -> tuple[OpenIdProvider, str]:
        provider = accounts.openid_providers.get(request.path_params["name"])
        if provider is None:
            raise NotFoundError("there is no such provider", remedy="/login has those that there are")
        return provider, f"{get_host_url(request, site.settings)}/login/oidc/{provider.provider_settings.name}/back"

    def build_pending_cookie(request: Request, pending_state: str | None) -> str:
        return build_session_cookie(
            request, site.settings, pending_state, "/login/oidc", cookie_name=PENDING_LOGIN_COOKIE, max_age_seconds=600
        )

    async def create_token(request: Request) -> Response:
        account, form_values = await require_account(request)
        try:
            days = float(form_values.get("days") or DEFAULT_TOKEN_DAYS)
        except ValueError:
            raise ParamError(
                format_message("{days!r:.40} is no number of days", form_values["days"]), name="days"
            ) from None
        make_token = partial(
            create_personal_token,
            site.store,
            account,
            form_values.get("scope", "read"),
            days,
            created_by=account,
            purpose=form_values.get("purpose", ""),
        )
        grant, token = await anyio.to_thread.run_sync(make_token)
        if _is_json_client(request):
            return _send_json({"token": token, **_token_to_json(grant)})
        return render_login(request, made=token)

    async def revoke_token(request: Request) -> Response:
        account, form_values = await require_account(request)
        await anyio.to_thread.run_sync(
            partial(revoke_personal_token, site.store, form_values.get("id", ""), revoked_by=account, account=account)
        )
        if _is_json_client(request):
            return _send_json({"id": form_values["id"]})
        return redirect(request, {})

    async def set_password(request: Request) -> Response:
        """Set a password, for who knows the one of before, or the account's token; all other sessions end."""
        account, form_values = await require_account(request)
        new_password = form_values.get("new", "").strip()
        try:
            if not site.settings.login.own_passwords:
                raise ForbiddenError("passwords are set by the site's owner here", remedy="ask them for one")
            if new_password != form_values.get("again", new_password).strip():
                raise UserError("the new password was written in two ways", remedy="write it again")
            check_password = partial(accounts.check_account_secret, account, form_values.get("old", "").strip())
            check_token_only = partial(check_password, passwords_too=False)
            await services.verify_proof(
                request, site.store, account, check_password, verify_token=check_token_only, may_be_password=True
            )
            apply_change = partial(
                change_password, site.store, account, new_password or "-", changed_by=account
            )  # to have none is the owner's matter
            await anyio.to_thread.run_sync(apply_change)
        except HvenError as error:
            if _is_json_client(request):
                raise
            return render_login(request, problem=error)
        if _is_json_client(request):
            response = _send_json({"name": account})
        else:
            response = render_login(request, changed=True)
        if find_session_cookie(request.headers) is not None:
            proof = await anyio.to_thread.run_sync(site.store.sessions.begin_session, account, SESSION_SECONDS)
            response.headers["set-cookie"] = build_login_cookie(request, proof)
        return response

    async def require_account(request: Request) -> tuple[str, Mapping[str, str]]:
        check_same_site(request)
        principal = context.identify_principal(request)
        if principal.name is None:
            raise UnauthenticatedError("only who is logged in can ask this", remedy="log in at /login")
        if principal.groups & {*TOKEN_SCOPE_GROUPS.values()}:
            raise ForbiddenError(
                "a token makes and ends no tokens, and sets no password",
                remedy="log in with the account's own token, or a password",
            )
        return principal.name, await _read_short_form(request)

    def render_login(request: Request, **facts: Any) -> Response:
        principal = context.identify_principal(request)
        name = principal.impersonator or principal.name
        if name is not None:
            tokens = [_token_to_json(grant) for grant in site.store.grants.list_grants("token", subject=name)]
        else:
            tokens = []
        return _render_page(request, context, name=name, tokens=tokens, **facts)

    def redirect(request: Request, headers: Mapping[str, str], path: str = "") -> Response:
        host_url = get_host_url(request, site.settings)
        site_prefix = host_url.removesuffix(site.settings.root_path)
        if path:
            location = f"{site_prefix}{path}"
        else:
            location = f"{services.get_base_url(request, site.settings)}/login"
        return Response(status_code=303, headers={"cache-control": "no-store", **headers, "location": location})

    async def log_out(request: Request) -> Response:
        check_same_site(request)
        proof = find_session_cookie(request.headers)
        if proof is not None:
            await anyio.to_thread.run_sync(site.store.sessions.end_session, proof)
        headers = {"set-cookie": build_login_cookie(request, None)}
        if _is_json_client(request):
            response = _send_json({"name": None}, headers)
        else:
            response = redirect(request, headers)
        if impersonation.IMPERSONATION_COOKIE in request.cookies:
            session_cookie = build_session_cookie(
                request, site.settings, None, cookie_name=impersonation.IMPERSONATION_COOKIE
            )
            response.headers.append(
                "set-cookie",
                session_cookie,
            )
        return response

    def check_same_site(request: Request) -> None:
        if is_cross_site(request, site.settings):
            raise ForbiddenError(
                "a page of another site asks this", remedy="use the form at /login, or send a token with each request"
            )

    def build_login_cookie(request: Request, proof: str | None) -> str:
        return build_session_cookie(request, site.settings, proof)

    routes = access_page.build_routes(context)
    route = create_route("/login", show_login, _send_error)
    return [
        *routes,
        route,
        create_route("/login", log_in, _send_error, ["POST"]),
        create_route("/login/oidc/{name}", redirect_to_provider, _send_error),
        create_route("/login/oidc/{name}/back", finish_provider_login, _send_error),
        create_route("/login/tokens", create_token, _send_error, ["POST"]),
        create_route("/login/tokens/end", revoke_token, _send_error, ["POST"]),
        create_route("/login/password", set_password, _send_error, ["POST"]),
        create_route("/logout", log_out, _send_error, ["POST"]),
    ]


async def _read_short_form(request: Request) -> Mapping[str, str]:
    """Read a form or a JSON object of a few short texts."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_MEDIA_TYPE:
        params = await services.read_params(request, MAX_BODY_BYTES)
        return {name.lower(): params.read_one(name) or "" for name in params.values}
    try:
        json_values = orjson.loads(await services.read_body(request, MAX_BODY_BYTES))
    except orjson.JSONDecodeError as error:
        raise ParamError(
            format_message("the body is not JSON: {message}", error), remedy='{"name": "anna", "token": "..."}'
        ) from None
    if not isinstance(json_values, dict) or not all(isinstance(value, str) for value in json_values.values()):
        raise ParamError("the body is no JSON object of texts", remedy='{"name": "anna", "token": "..."}')
    return json_values


def _send_error(request: Request, error: Exception) -> Response:
    status = services.find_http_status(error)
    message = services.write_error_message(error, services.get_request_id(request))
    error_headers = services.build_error_headers(error)
    headers = {**error_headers, **_build_challenge(error), "cache-control": "no-store"}
    if _is_json_client(request):
        return Response(services.write_json_error(message, status), status, headers, media_type=JSON_MEDIA_TYPE)
    return Response(f"{message}\n", status, headers, media_type="text/plain; charset=utf-8")


def _build_challenge(error: BaseException) -> Mapping[str, str]:
    """Ask for a token in a way that makes no browser open a window of its own."""
    if isinstance(error, UnauthenticatedError):
        return {"www-authenticate": 'Bearer realm="hven"'}
    return {}


def _render_page(
    request: Request,
    context: ServiceContext,
    *,
    error: UnauthenticatedError | TooManyRequestsError | None = None,
    problem: HvenError | None = None,
    **facts: Any,
) -> Response:
    frame_values = build_frame(request, context)
    if error is None:
        failure_kind = None
    elif isinstance(error, TooManyRequestsError):
        failure_kind = "often"
    else:
        failure_kind = "wrong"
    if problem is None:
        problem_text = ""
    else:
        message_translator = get_message_translator(frame_values["said"])
        request_id = services.get_request_id(request)
        problem_text = message_translator.translate_error(problem, request_id)
    providers = [(provider.name, provider.title or provider.name) for provider in context.site.settings.identity]
    facts = {
        "name": None,
        "given": "",
        "next": "",
        "tokens": [],
        "made": "",
        "changed": False,
        "own_passwords": context.site.settings.login.own_passwords,
        "problem": problem_text,
        "providers": providers,
        **facts,
    }
    body = render_page("login.html", frame_values, failed=failure_kind, **facts)
    headers = {**build_page_headers(), "cache-control": "no-store"}
    shown_error = error or problem
    if shown_error is None:
        return services.answer_with_body(request, body, headers)
    error_headers = services.build_error_headers(shown_error)
    return services.answer_with_body(
        request,
        body,
        {**headers, **error_headers, **_build_challenge(shown_error)},
        services.find_http_status(shown_error),
    )


def _token_to_json(grant: Grant) -> dict[str, Any]:
    """Return what its owner is told of a token."""
    end_time = datetime.fromtimestamp(grant.until or 0, UTC).isoformat(timespec="seconds")
    return {"id": grant.id, "purpose": grant.facts.get("purpose", ""), "scope": grant.role, "until": end_time}


def _send_json(value: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(value), headers={"cache-control": "no-store", **(headers or {})}, media_type=JSON_MEDIA_TYPE
    )


def _is_browser(request: Request) -> bool:
    """Return whether somebody looks at the page."""
    return "text/html" in request.headers.get("accept", "")


def _is_json_client(request: Request) -> bool:
    media_types = request.headers.get("accept", "") + request.headers.get("content-type", "")
    return JSON_MEDIA_TYPE in media_types.lower()


FACE = Face(name="login", title="Sessions", build_routes=build_routes)
