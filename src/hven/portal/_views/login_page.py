"""The page to log in: how it is rendered, and where a log-in leads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from hven import services
from hven.model.errors import HvenError, TooManyRequestsError, UnauthenticatedError
from hven.portal._pages import (
    TemplateContext,
    build_page_frame,
    build_page_security_headers,
    get_message_translator,
    render_page,
)
from hven.services.addresses import build_session_cookie, get_host_url
from hven.site.auth import list_login_links
from hven.site.auth.session import SESSION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.settings import Settings
    from hven.services.face import ServiceContext

JSON_MEDIA_TYPE = "application/json"
# an address on this site, however a browser reads it, in characters that a header may contain
_LOCAL_PATH_PATTERN = re.compile(r"/(?![/\\])[!-\[\]-~]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPage(TemplateContext):
    """The page to log in, or the account of the user.

    Attributes
    ----------
    name
        The account; None if nobody is logged in.
    tokens, made
        Its tokens, and the new one, which is shown once.
    changed, own_passwords
        Whether the password was changed just now, and whether users set their own passwords.
    failed, given
        Why the log-in failed, ``often`` or ``wrong``, and the account that was written.
    next
        Path to which the log-in leads.
    problem
        Message of an error.
    login_links
        Paths and titles of other ways to log in.
    """

    template = "login.html"
    name: str | None
    tokens: Sequence[Mapping[str, object]]
    made: str
    changed: bool
    own_passwords: bool
    failed: str | None
    given: str
    next: str
    problem: str
    login_links: Sequence[tuple[str, str]]


def sanitize_return_path(path: str) -> str:
    """Return a path of this site; an empty text for any other address.

    Parameters
    ----------
    path
        What a request states.
    """
    if _LOCAL_PATH_PATTERN.fullmatch(path):
        return path
    return ""


def build_redirect_after_login(
    request: Request, settings: Settings, headers: Mapping[str, str], path: str = ""
) -> Response:
    """Lead a browser to a path of this site after a log-in, or back to the page."""
    if path:
        site_prefix = get_host_url(request, settings).removesuffix(settings.root_path)
        location = f"{site_prefix}{path}"
    else:
        location = f"{services.get_base_url(request, settings)}/login"
    return Response(status_code=303, headers={"cache-control": "no-store", **headers, "location": location})


async def begin_browser_session_and_redirect(
    request: Request, context: ServiceContext, account: str, return_path: str
) -> Response:
    """Begin the session of a browser whose user is known.

    Parameters
    ----------
    request, context
        The request, and the context of its service.
    account
        Name of the account.
    return_path
        Where the browser goes then; the page to log in instead of another address than a path of this site.

    Returns
    -------
    response
        A redirect with the cookie of the session.
    """
    proof = await anyio.to_thread.run_sync(context.site.store.sessions.begin_session, account, SESSION_SECONDS)
    settings = context.site.settings
    headers = {"set-cookie": build_session_cookie(request, settings, proof)}
    return build_redirect_after_login(request, settings, headers, sanitize_return_path(return_path))


def send_login_error(request: Request, error: Exception) -> Response:
    """Answer an error as text, or as JSON.

    Parameters
    ----------
    request
        The request that failed.
    error
        Its error.

    Returns
    -------
    response
        The message, with the status and the headers of the error.
    """
    status = services.find_http_status(error)
    message = services.log_error_and_write_message(error, services.get_request_id(request))
    error_headers = services.build_retry_after_header(error)
    headers = {**error_headers, **_build_token_challenge_header(error), "cache-control": "no-store"}
    if is_json_client(request):
        return Response(services.write_json_error(message, status), status, headers, media_type=JSON_MEDIA_TYPE)
    return Response(f"{message}\n", status, headers, media_type="text/plain; charset=utf-8")


def _build_token_challenge_header(error: BaseException) -> Mapping[str, str]:
    """Build a challenge that asks for a token; with ``Bearer``, browsers open no dialog."""
    if isinstance(error, UnauthenticatedError):
        return {"www-authenticate": 'Bearer realm="hven"'}
    return {}


def render_login_page(
    request: Request,
    context: ServiceContext,
    *,
    error: UnauthenticatedError | TooManyRequestsError | None = None,
    problem: HvenError | None = None,
    name: str | None = None,
    tokens: Sequence[Mapping[str, object]] = (),
    given: str = "",
    next_path: str = "",
    made: str = "",
    changed: bool = False,
) -> Response:
    """Render the page.

    Parameters
    ----------
    request, context
        The request, and the context of its service.
    error, given
        Why a log-in failed, and the account that was written.
    problem
        Why something else failed.
    name, tokens, made, changed
        As for `LoginPage`.
    next_path
        Path to which the log-in leads.

    Returns
    -------
    response
        The page with the status of the error.
    """
    frame = build_page_frame(request, context)
    if error is None:
        failure_kind = None
    elif isinstance(error, TooManyRequestsError):
        failure_kind = "often"
    else:
        failure_kind = "wrong"
    if problem is None:
        problem_text = ""
    else:
        message_translator = get_message_translator(frame.said)
        request_id = services.get_request_id(request)
        problem_text = message_translator.translate_error(problem, request_id)
    page = LoginPage(
        name=name,
        tokens=tokens,
        made=made,
        changed=changed,
        own_passwords=context.site.settings.login.own_passwords,
        failed=failure_kind,
        given=given,
        next=next_path,
        problem=problem_text,
        login_links=list_login_links(context.site.settings),
    )
    body = render_page(page, frame)
    headers = {**build_page_security_headers(), "cache-control": "no-store"}
    shown_error = error or problem
    if shown_error is None:
        return services.answer_with_body(request, body, headers)
    error_headers = services.build_retry_after_header(shown_error)
    all_headers = {**headers, **error_headers, **_build_token_challenge_header(shown_error)}
    return services.answer_with_body(request, body, all_headers, services.find_http_status(shown_error))


def is_json_client(request: Request) -> bool:
    """Return whether a client sends or wants JSON."""
    media_types = request.headers.get("accept", "") + request.headers.get("content-type", "")
    return JSON_MEDIA_TYPE in media_types.lower()
