"""create(site): every face under one application; the last net for errors that no face has caught."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hven import services
from hven.app._server import connection_balancing
from hven.app._server.alias import OldTableAddressRewriter
from hven.app._server.identification import PRINCIPAL_SCOPE_KEY
from hven.app._server.problem_log import ProblemLog
from hven.app._server.request_middleware import RequestMiddleware
from hven.app._server.routing import CachingRouter
from hven.app._server.worker_server import is_first_worker
from hven.jobs import child_processes
from hven.jobs.health import SiteHealth
from hven.model.table import TAP_COMPANION_SERVICES
from hven.portal.faces.portal import send_not_found
from hven.services.addresses import PORTAL_SCOPE_KEY
from hven.services.face import ServiceContext, load_faces
from hven.site import find_groups_and_aliases
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, add_service_policies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from hven.model.settings import Portal
    from hven.site import Site
    from hven.site.auth import AccessPolicy, Principal


# faces that ask for a table's leave (`services`); the others are about the site
# faces of people and of accounts, and the one registry: a portal's pages show its collections by themselves
# (`_pages.brand`)
SITE_FACES = {"portal", "jobs", "login", "oai", "sign", "projects", "referee"}
SELECTABLE_FACES = (*TAP_COMPANION_SERVICES, "cone", "hats", "portal", "files", "sia", "sia2", "ssa", "endpoints")


def find_identified_principal(request: Request) -> Principal:
    """Return the reader whom an identity provider has found before any face was asked."""
    principal: Principal = request.scope.get(PRINCIPAL_SCOPE_KEY, ANONYMOUS_PRINCIPAL)
    return principal


def create_application(
    site: Site,
    *,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    reader: Callable[[Request], Principal] = find_identified_principal,
) -> ASGIApp:
    """Build the application for a site.

    Parameters
    ----------
    policies
        What readers may see.
    reader
        Says who asks.

    Returns
    -------
    ASGIApp
        To be run by `hven.app._server.serve_site`, or by any ASGI server.
    """
    return ReloadingApplication(site, policies, reader)


class ReloadingApplication:
    """The application as the settings are now.

    It is made anew, in some milliseconds, when the site has taken up others.
    """

    def __init__(self, site: Site, policies: Sequence[AccessPolicy], identify: Callable[[Request], Principal]) -> None:
        self._site = site
        self._policies = policies
        self._identify = identify
        self._started = datetime.now(UTC)
        self._settings = site.settings
        self._problems = ProblemLog(lambda text: SiteHealth(site).get_redactor().redact_text(text))
        self._application = self._build()

    def _build(self) -> ASGIApp:
        if is_first_worker():
            self._site.add_change_listener(self._problems.log_changes)
        return _build_application(self._site, self._policies, self._identify, self._started)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the faces."""
        if self._site.settings is not self._settings:
            self._settings = self._site.settings
            self._application = self._build()
        await self._application(scope, receive, send)


def _build_application(
    site: Site, policies: Sequence[AccessPolicy], reader: Callable[[Request], Principal], started: datetime
) -> ASGIApp:
    service_context = ServiceContext(
        site=site, identify_principal=reader, policies=policies, faces=load_faces(), start_time=started
    )

    @contextlib.asynccontextmanager
    async def run_lifespan(_: Starlette) -> AsyncIterator[None]:
        site.get_published_state()  # the first reader need not wait for it
        _send_heartbeat(asyncio.get_running_loop())
        yield
        site.close()

    app = _PortalDispatcher(service_context, run_lifespan)
    return RequestMiddleware(
        app,
        site.settings,
        site.store,
        counters=site.counters,
        tally=site.usage_counter,
        people=partial(find_groups_and_aliases, site),
    )


class _PortalDispatcher:
    """The faces for all collections, and those of data once more for each portal, when somebody first comes to it.

    What they remember is each one's own.
    """

    def __init__(
        self, context: ServiceContext, lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]
    ) -> None:
        self._context = context
        self._default_routes = {
            name: face.build_all_routes(_limit_face(context, name)) for name, face in context.faces.items()
        }
        self._default_application = _build_router_application(self._default_routes, context, lifespan=lifespan)
        self._portal_applications: dict[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the faces of the portal that it came to."""
        portal_application = self._find_portal_application(scope.get(PORTAL_SCOPE_KEY))
        await portal_application(scope, receive, send)

    def _find_portal_application(self, portal: Portal | None) -> ASGIApp:
        if portal is None or not portal.collections:
            return self._default_application
        if portal.name not in self._portal_applications:
            collections = frozenset(portal.collections)
            service_context = replace(self._context, collections=collections)
            portal_routes = {
                name: face.build_all_routes(_limit_face(service_context, name))
                for name, face in service_context.faces.items()
                if name not in SITE_FACES
            }
            self._portal_applications[portal.name] = _build_router_application(
                self._default_routes | portal_routes, service_context
            )
        return self._portal_applications[portal.name]


def _build_router_application(
    faces: Mapping[str, Sequence[BaseRoute]], service_context: ServiceContext, **options: Any
) -> ASGIApp:
    """Route what all faces answer."""
    routes: list[BaseRoute] = []
    face_by_route: dict[int, str] = {}
    for name, face_route_list in faces.items():
        face_routes = [
            own_route for route in face_route_list for own_route in (route, _add_slash(route)) if own_route is not None
        ]
        routes += face_routes
        face_by_route |= dict.fromkeys(map(id, face_routes), name)

    async def answer_unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == 404:
            return send_not_found(request, _limit_face(service_context, "portal"))
        return await _answer_http_error(request, error)

    app = Starlette(exception_handlers={HTTPException: answer_unknown, Exception: _answer_unexpected_error})
    named = OldTableAddressRewriter(_limit_face(service_context, "endpoints")).rewrite_request
    app.router = CachingRouter(
        routes=routes, redirect_slashes=False, rewrite_request=named, faces=face_by_route, **options
    )
    return app


def _limit_face(service_context: ServiceContext, face: str) -> ServiceContext:
    """Limit a face to the tables that it is to answer for."""
    service = face if face in SELECTABLE_FACES else ""
    collections = frozenset() if face in SITE_FACES else service_context.collections
    policies = (
        add_service_policies(tuple(service_context.policies), service, collections)
        if service or collections
        else service_context.policies
    )
    return replace(service_context, policies=policies)


def _send_heartbeat(loop: asyncio.AbstractEventLoop) -> None:
    """Send signs of life from now on: a loop that something holds up sends none."""
    child_processes.send_heartbeat()
    connection_balancing.report_connections()
    loop.call_later(child_processes.HEARTBEAT_INTERVAL_SECONDS, _send_heartbeat, loop)


def _add_slash(route: BaseRoute) -> Route | None:
    """Return the same route with a slash at its end.

    Some clients write ``/tap/sync/``, and a redirect would lose what they post.
    """
    if not isinstance(route, Route) or route.path.endswith(("/", ":path}")):
        return None
    return Route(f"{route.path}/", route.endpoint, methods=sorted(route.methods) if route.methods is not None else None)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer a method that a route does not know."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if request.method == "OPTIONS" and error.status_code == 405 and error.headers is not None:
        # RFC 9110 section 9.3.7
        headers = {"allow": f"{error.headers['Allow']}, OPTIONS"}
        return Response(None, 204, headers=headers)
    text = f"{error.detail}: {request.method} {request.url.path}"
    return PlainTextResponse(
        f"{text} [request {services.get_request_id(request)}]\n", error.status_code, headers=error.headers
    )


async def _answer_unexpected_error(request: Request, error: Exception) -> Response:
    """Answer an error that no face has caught, without a traceback."""
    text = services.write_error_message(error, services.get_request_id(request))
    http_status = services.find_http_status(error)
    headers = dict(services.build_error_headers(error))
    return PlainTextResponse(f"{text}\n", http_status, headers=headers)
