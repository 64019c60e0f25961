"""Serve ``/login/oidc``: a browser logs in at a provider of OpenID Connect."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio.to_thread
from starlette.responses import Response

from hven import services
from hven.model.errors import HvenError, NotFoundError
from hven.plugins.institute_log_in.institute_accounts import InstituteAccounts
from hven.portal.api.login_pages import (
    begin_browser_session_and_redirect,
    render_login_page,
    sanitize_return_path,
    send_login_error,
)
from hven.services.addresses import build_session_cookie, get_host_url
from hven.services.face import ServiceContext, ServiceFace, create_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.plugins.institute_log_in.openid_provider import OpenIdProvider

PENDING_LOGIN_COOKIE = "hven_oidc"  # the cookie of a log-in that is in progress


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the routes that lead to providers, and those to which providers send browsers back."""
    endpoints = _ProviderEndpoints(context)
    return [
        create_route("/login/oidc/{name}", endpoints.redirect_to_provider, send_login_error),
        create_route("/login/oidc/{name}/back", endpoints.finish_login, send_login_error),
    ]


class _ProviderEndpoints:
    """The endpoints of log-ins at providers."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site
        self.providers = InstituteAccounts(self.site.store, self.site.settings).providers

    async def redirect_to_provider(self, request: Request) -> Response:
        """Send a browser to a provider of OpenID Connect."""
        try:
            provider, return_address = self.find_provider(request)
            address, pending_state = await anyio.to_thread.run_sync(provider.begin_login, return_address)
        except HvenError as error:
            return render_login_page(request, self.context, problem=error)
        next_path = sanitize_return_path(request.query_params.get("next", ""))
        pending_state = f"{provider.provider_settings.name}|{pending_state}|{next_path}"
        headers = {
            "location": address,
            "set-cookie": self.build_pending_login_cookie(request, pending_state),
            "cache-control": "no-store",
        }
        return Response(None, 303, headers)

    async def finish_login(self, request: Request) -> Response:
        """Begin the session of a user who comes back from a provider."""
        try:
            provider, return_address = self.find_provider(request)
            provider_cookie = unquote(request.cookies.get(PENDING_LOGIN_COOKIE, ""))
            name, _, pending_state = provider_cookie.partition("|")
            pending_state, _, next_path = pending_state.partition("|")
            query_params = dict(request.query_params)
            if name == provider.provider_settings.name:
                own_state = pending_state
            else:
                own_state = ""
            finish_login = partial(provider.finish_login, self.site.store, return_address, query_params, own_state)
            state_key = query_params.get("state", "")[:128]
            account = await services.verify_proof_with_attempt_limit(
                request, self.site.store, state_key, finish_login, may_be_password=True
            )
            response = await begin_browser_session_and_redirect(request, self.context, account, next_path)
        except HvenError as error:
            response = render_login_page(request, self.context, problem=error)
        response.headers.append("set-cookie", self.build_pending_login_cookie(request, None))
        return response

    def find_provider(self, request: Request) -> tuple[OpenIdProvider, str]:
        """Find the provider of an address, and the address to which it sends browsers back."""
        name = request.path_params["name"]
        if name not in self.providers:
            raise NotFoundError(
                "there is no login provider with this name", remedy="see the list of providers at /login"
            )
        return self.providers[name], f"{get_host_url(request, self.site.settings)}/login/oidc/{name}/back"

    def build_pending_login_cookie(self, request: Request, pending_state: str | None) -> str:
        """Build the cookie of a log-in that is in progress; None ends it."""
        return build_session_cookie(
            request,
            self.site.settings,
            pending_state,
            "/login/oidc",
            cookie_name=PENDING_LOGIN_COOKIE,
            max_age_seconds=600,
        )


FACE = ServiceFace(
    name="institute_login",
    title="Log-in at institutes",
    build_routes=build_routes,
    is_usage_counted=False,
    is_limited=False,
    is_site_wide=True,
)
