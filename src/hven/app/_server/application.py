"""Build the ASGI application of a site: all faces, their routes, and answers to errors that no face has caught."""

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
from starlette.routing import Match, Mount, Route, Router

from hven import services
from hven.app._server import worker_load
from hven.app._server.problem_log import SiteProblemLog
from hven.app._server.request_middleware import RequestMiddleware
from hven.jobs import child_processes
from hven.jobs.health import SiteHealthMonitor
from hven.model import plugins
from hven.portal.faces.portal import send_not_found
from hven.services.addresses import PORTAL_SCOPE_KEY, PRINCIPAL_SCOPE_KEY
from hven.services.admission import load_request_gates
from hven.services.face import ServiceContext, load_service_faces
from hven.site import CURRENT_USAGE, RequestObserverGroup, find_groups_and_aliases
from hven.site.auth import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES, with_service_and_portal_policies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from hven.model.settings import PortalSettings
    from hven.services.face import ServiceFace
    from hven.site import Site
    from hven.site.auth import AccessPolicy, Principal


JSON_SUFFIX = ".json"
MAX_SEGMENT_BYTES = 255  # bytes between two slashes: the limit of file names
MAX_CACHED_PATHS = 1_000  # whose routes are cached; as many old paths


def get_request_principal(request: Request) -> Principal:
    """Return the user whom an identity provider has identified before the request came to a face."""
    principal: Principal = request.scope.get(PRINCIPAL_SCOPE_KEY, ANONYMOUS_PRINCIPAL)
    return principal


def create_and_start_application(
    site: Site,
    *,
    policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
    identify_principal: Callable[[Request], Principal] = get_request_principal,
) -> ASGIApp:
    """Build the application for a site.

    Parameters
    ----------
    policies
        Access policies: what users may see.
    identify_principal
        Identifies the user of a request.

    Returns
    -------
    ASGIApp
        An application for `hven.app._server.serve_site`, or for any ASGI server.
    """
    application = ReloadingApplication(site, policies, identify_principal)
    application.start_background_work()
    return application


class ReloadingApplication:
    """The application with the present settings.

    It is built again, in some milliseconds, after the site has loaded new settings. The process that answers calls
    `start` first; it may be a fork of the process that built the application.
    """

    def __init__(
        self,
        site: Site,
        policies: Sequence[AccessPolicy] = DEFAULT_POLICIES,
        identify_principal: Callable[[Request], Principal] = get_request_principal,
    ) -> None:
        self._site = site
        self._policies = policies
        self._identify = identify_principal
        self._started = datetime.now(UTC)
        self._observers = RequestObserverGroup(site)
        self._settings = site.settings
        self._problems = SiteProblemLog(lambda text: SiteHealthMonitor(site).get_redactor().redact_text(text))
        self._application = self._build()

    def _build(self) -> ASGIApp:
        return _build_application(self._site, self._policies, self._identify, self._started, self._observers)

    def start_background_work(self) -> None:
        """Begin what this process does besides answering."""
        self._site.add_change_listener(self._problems.log_problem_changes, is_first_process_only=True)
        self._observers.update_observers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the faces."""
        if self._site.settings is not self._settings:
            self._settings = self._site.settings
            self._application = self._build()
            self.start_background_work()
        await self._application(scope, receive, send)


def _build_application(
    site: Site,
    policies: Sequence[AccessPolicy],
    identify_principal: Callable[[Request], Principal],
    start_time: datetime,
    request_observers: RequestObserverGroup,
) -> ASGIApp:
    service_context = ServiceContext(
        site=site,
        identify_principal=identify_principal,
        policies=policies,
        faces=load_service_faces(),
        start_time=start_time,
    )

    @contextlib.asynccontextmanager
    async def run_lifespan(_: Starlette) -> AsyncIterator[None]:
        site.get_published_state()  # loaded now, so that the first request does not wait for it
        request_observers.start()
        _repeat_heartbeat_and_load_report(asyncio.get_running_loop())
        yield
        request_observers.stop()
        site.close()

    gates = [site.get_or_create(gate, site) for gate in load_request_gates()]
    caches = [cache_class(service_context) for _, cache_class in plugins.iterate_package_objects("answer_cache")]
    app = _PortalDispatcher(service_context, run_lifespan)
    return RequestMiddleware(
        app,
        site.settings,
        site.store,
        counters=site.counters,
        request_observers=request_observers,
        request_gates=[gate for gate in gates if gate.is_active],
        answer_cache=next(iter(caches), None),
        repeats_answers=identify_principal is get_request_principal,  # who has no credentials is anonymous
        find_people=partial(find_groups_and_aliases, site),
    )


class _PortalDispatcher:
    """Route requests to the faces of the portal that they came to.

    A portal with its own collections has its own faces of data, which are built with the first request. So their caches
    are separate, too.
    """

    def __init__(
        self, context: ServiceContext, lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]
    ) -> None:
        self._context = context
        self._default_routes = _build_face_routes(context, context.faces)
        self._default_application = _build_routing_application(self._default_routes, context, lifespan=lifespan)
        self._portal_applications: dict[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the faces of its portal."""
        portal: PortalSettings | None = scope.get(PORTAL_SCOPE_KEY)
        application = self._default_application
        if portal is not None and portal.collections:
            application = self._get_or_build_portal_application(portal)
        await application(scope, receive, send)

    def _get_or_build_portal_application(self, portal: PortalSettings) -> ASGIApp:
        application = self._portal_applications.get(portal.name)
        if application is None:
            service_context = replace(self._context, collections=frozenset(portal.collections))
            data_faces = [name for name, face in service_context.faces.items() if not face.is_site_wide]
            portal_routes = _build_face_routes(service_context, data_faces)
            application = _build_routing_application(self._default_routes | portal_routes, service_context)
            self._portal_applications[portal.name] = application
        return application


def _build_face_routes(service_context: ServiceContext, face_names: Iterable[str]) -> dict[str, Sequence[BaseRoute]]:
    """Build the routes of faces, by the name of the face."""
    return {
        name: service_context.faces[name].build_routes_and_register_standard_ids(
            _restrict_context_to_face(service_context, name)
        )
        for name in face_names
    }


def _build_routing_application(
    routes_by_face: Mapping[str, Sequence[BaseRoute]], service_context: ServiceContext, **options: Any
) -> ASGIApp:
    """Build an application that routes requests to faces."""
    routes: list[BaseRoute] = []
    faces_by_route: dict[int, ServiceFace] = {}
    for name, face_routes in routes_by_face.items():
        routes += face_routes
        faces_by_route |= dict.fromkeys(map(id, face_routes), service_context.faces[name])

    async def answer_unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == 404:
            return send_not_found(request, _restrict_context_to_face(service_context, "portal"))
        return await _answer_http_error(request, error)

    app = Starlette(exception_handlers={HTTPException: answer_unknown, Exception: _answer_unexpected_error})
    app.router = RouteCachingRouter(
        routes=routes,
        redirect_slashes=False,
        rewrite_request=_build_address_rewriter(routes_by_face, service_context),
        faces_by_route=faces_by_route,
        **options,
    )
    return app


def _build_address_rewriter(
    face_names: Iterable[str], service_context: ServiceContext
) -> Callable[[Scope], Scope | None]:
    """Join the address rewriters of faces: the first one that knows an address replaces it."""
    rewriters = []
    for name in face_names:
        build = service_context.faces[name].build_address_rewriter
        if build is not None:
            rewriters.append(build(_restrict_context_to_face(service_context, name)))

    def rewrite_request(scope: Scope) -> Scope | None:
        rewritten_scopes = (rewrite(scope) for rewrite in rewriters)
        return next((rewritten for rewritten in rewritten_scopes if rewritten is not None), None)

    return rewrite_request


def _restrict_context_to_face(service_context: ServiceContext, face: str) -> ServiceContext:
    """Restrict the context of a face to the tables that it serves."""
    service_face = service_context.faces[face]
    service = face if service_face.is_selectable else ""
    collections = service_context.collections
    if service_face.is_site_wide:  # the pages of a portal select its collections by themselves (`_pages.brand`)
        collections = frozenset()
    policies = service_context.policies
    if service or collections:
        policies = with_service_and_portal_policies(tuple(policies), service, collections)
    return replace(service_context, policies=policies)


def _repeat_heartbeat_and_load_report(loop: asyncio.AbstractEventLoop) -> None:
    """Send a heartbeat now, and again at intervals; a blocked event loop sends none."""
    child_processes.record_own_heartbeat()
    worker_load.report_and_rebalance_connections()
    loop.call_later(child_processes.HEARTBEAT_INTERVAL_SECONDS, _repeat_heartbeat_and_load_report, loop)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """Answer a method that a route does not support."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if request.method == "OPTIONS" and error.status_code == 405 and error.headers is not None:
        # RFC 9110 section 9.3.7
        headers = {"allow": f"{error.headers['Allow']}, OPTIONS"}
        return Response(None, 204, headers=headers)
    request_id = services.get_request_id(request)
    text = f"{error.detail}: {request.method} {request.url.path} [request {request_id}]\n"
    return PlainTextResponse(text, error.status_code, headers=error.headers)


async def _answer_unexpected_error(request: Request, error: Exception) -> Response:
    """Answer an error that no face has caught, without a traceback."""
    text = services.log_error_and_write_message(error, services.get_request_id(request))
    http_status = services.find_http_status(error)
    headers = dict(services.build_retry_after_header(error))
    return PlainTextResponse(f"{text}\n", http_status, headers=headers)


# --- routes ---


class RouteCachingRouter(Router):
    """A router that tries few routes, and caches the routes of methods and paths.

    The faces have hundreds of routes. Trying them one after the other takes longer than reading a row by its key, so
    only those are tried that begin with the same part of a path.

    Some clients request ``/tap/sync/``, and a redirect would lose the body of a POST. Where no route has the slash at
    the end, it is ignored.

    Each page has a JSON version at its address with ``.json`` behind it. Where a face has no such route, the router
    asks for the page with ``Accept: application/json``.

    Parameters
    ----------
    rewrite_request
        Gives a request that matches no route its present address; None if it has none.
    faces_by_route
        Identity of a route -> its face.
    """

    def __init__(
        self,
        *args: Any,
        rewrite_request: Callable[[Scope], Scope | None] = lambda _: None,
        faces_by_route: Mapping[int, ServiceFace] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._rewrite_request = rewrite_request
        self._faces = faces_by_route or {}
        first_parts = [_find_first_path_part(route) for route in self.routes]
        self._routes_by_first_part = {
            part: [route for own_part, route in zip(first_parts, self.routes, strict=True) if own_part in {None, part}]
            for part in {None, *first_parts}
        }
        self._cached_routes: dict[tuple[str, str], BaseRoute] = {}
        self._alias_routes: dict[tuple[str, str], BaseRoute] = {}  # of paths that no route has

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        path = scope.get("path", "")
        if _is_impossible_path(path):
            raise HTTPException(404)
        route = None
        if scope["type"] == "http":
            route, scope = self._resolve_route(scope)
        if route is None:  # a lifespan message, an unknown path, or a method that the route does not have
            await super().app(scope, receive, send)
            return
        scope.setdefault("router", self)
        scope["route"] = route
        scope.update(route.matches(scope)[1])
        usage = CURRENT_USAGE.get()
        if usage is not None:
            face = self._faces.get(id(route))
            if face is not None:
                usage.face, usage.is_counted, usage.is_limited = face.name, face.is_usage_counted, face.is_limited
            if isinstance(route, Route):
                usage.path = route.path
            else:
                usage.path = ""
            usage.params = scope.get("path_params", {})
        await route.handle(scope, receive, send)

    def _resolve_route(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        """Return the route of a request, and the request under the address that the route has.

        The address itself comes first, then the present one of an old address, and then the page of a JSON version.
        """
        key = scope["method"], scope["path"]
        alias_route = self._alias_routes.get(key)
        if alias_route is None:
            route, scope = self._find_route(scope)
            if route is not None:
                return route, scope
        rewritten_scope = self._rewrite_request(scope)
        if rewritten_scope is not None:
            scope = rewritten_scope
            route = alias_route
            if route is None or route.matches(scope)[0] is not Match.FULL:
                route, scope = self._find_route(scope)
            if route is not None:
                if len(self._alias_routes) < MAX_CACHED_PATHS:
                    self._alias_routes[key] = route
                return route, scope
        page_scope = _build_json_page_scope(scope)
        if page_scope is not None:
            route, page_scope = self._find_route(page_scope)
            if route is not None:
                return route, page_scope
        return None, scope

    def _find_route(self, scope: Scope) -> tuple[BaseRoute | None, Scope]:
        """Return the first route that matches a request, and the request without a slash that the route lacks.

        If no route has the method, it is the request that a route would match with another method.
        """
        path: str = scope["path"]
        key = scope["method"], path
        cached_route = self._cached_routes.get(key)
        if cached_route is not None:
            return cached_route, scope
        scopes = [scope]
        if path.endswith("/") and path != "/":
            scopes.append({**scope, "path": path[:-1], "raw_path": path[:-1].encode()})
        partial_scope = None
        first_part = path.removeprefix(scope.get("root_path", ""))[1:].partition("/")[0]
        for route in self._routes_by_first_part.get(first_part, self._routes_by_first_part[None]):
            for own_scope in scopes:
                match = route.matches(own_scope)[0]
                if match is Match.FULL:
                    is_short = len(path) <= MAX_SEGMENT_BYTES
                    if isinstance(route, Route) and route.methods and own_scope is scope and is_short:
                        if len(self._cached_routes) >= MAX_CACHED_PATHS:
                            self._cached_routes.clear()
                        self._cached_routes[key] = route
                    return route, own_scope
                if match is Match.PARTIAL:
                    partial_scope = partial_scope or own_scope
        return None, partial_scope or scope


def _find_first_path_part(route: BaseRoute) -> str | None:
    """Return the first part of the paths of a route; None if it is not the same for all of them."""
    path = ""
    if isinstance(route, Route | Mount):
        path = route.path
    first_part = (path or "/{}")[1:].partition("/")[0]
    if "{" in first_part:
        return None
    return first_part


def _is_impossible_path(path: str) -> bool:
    """Return whether no file or page can have a path: it has a NUL, or a part that is longer than a file name."""
    if "\0" in path:
        return True
    if 4 * len(path) <= MAX_SEGMENT_BYTES:  # UTF-8 has at most four bytes a character
        return False
    return any(len(part.encode("utf-8", "replace")) > MAX_SEGMENT_BYTES for part in path.split("/"))


def _build_json_page_scope(scope: Scope) -> Scope | None:
    """Return the request for the page whose JSON version is requested; None for other requests."""
    path: str = scope["path"]
    if scope["method"] not in {"GET", "HEAD"}:
        return None
    if not path.endswith(JSON_SUFFIX) or path.endswith(f"/{JSON_SUFFIX}"):
        return None
    page = path.removesuffix(JSON_SUFFIX)
    headers = [(name, value) for name, value in scope["headers"] if name != b"accept"]
    headers.append((b"accept", b"application/json"))
    return {**scope, "path": page, "raw_path": page.encode(), "headers": headers}
