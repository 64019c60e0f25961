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

from hven import services as dali
from hven.app._server import evenly
from hven.app._server.alias import Named
from hven.app._server.edge import Edge
from hven.app._server.identity import READER
from hven.app._server.problem_log import ProblemLog
from hven.app._server.routes import Routes
from hven.app._server.workers import is_first_worker
from hven.jobs import forks
from hven.jobs.health import Health
from hven.model.table import BY_TAP
from hven.portal.faces.portal import nowhere
from hven.services.address import PORTAL
from hven.services.face import Surroundings, known
from hven.site import people_of
from hven.site.auth import ANONYMOUS, DEFAULT, offered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp, Receive, Scope, Send

    from hven.model.settings import Portal
    from hven.site import Site
    from hven.site.auth import Policy, Reader


# faces that ask for a table's leave (`services`); the others are about the site
# faces of people and of accounts, and the one registry: a portal's pages show its collections by themselves (`_pages.brand`)
OF_SITE = {"portal", "jobs", "login", "oai", "sign", "projects", "referee"}
CHOSEN = (*BY_TAP, "cone", "hats", "portal", "files", "sia", "sia2", "ssa", "endpoints")


def identified(request: Request) -> Reader:
    """Return the reader whom an identity provider has found before any face was asked."""
    who: Reader = request.scope.get(READER, ANONYMOUS)
    return who


def create(
    site: Site, *, policies: Sequence[Policy] = DEFAULT, reader: Callable[[Request], Reader] = identified
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
        To be run by `hven.app._server.serve`, or by any ASGI server.
    """
    return Application(site, policies, reader)


class Application:
    """The application as the settings are now: it is made anew, in some milliseconds, when the site has taken up others."""

    def __init__(self, site: Site, policies: Sequence[Policy], reader: Callable[[Request], Reader]) -> None:
        self._site, self._policies, self._reader = site, policies, reader
        self._started = datetime.now(UTC)
        self._settings = site.settings
        self._problems = ProblemLog(lambda text: Health(site).hiding().text(text))
        self._made = self._make()

    def _make(self) -> ASGIApp:
        if is_first_worker():
            self._site.after_changes(self._problems.write)
        return _made(self._site, self._policies, self._reader, self._started)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the faces."""
        if self._site.settings is not self._settings:
            self._settings = self._site.settings
            self._made = self._make()
        await self._made(scope, receive, send)


def _made(site: Site, policies: Sequence[Policy], reader: Callable[[Request], Reader], started: datetime) -> ASGIApp:
    around = Surroundings(site=site, reader=reader, policies=policies, faces=known(), started=started)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.current()  # the first reader need not wait for it
        _beat(asyncio.get_running_loop())
        yield
        site.close()

    app = _Doors(around, lifespan)
    return Edge(
        app, site.settings, site.store, counters=site.counters, tally=site.tally, people=partial(people_of, site)
    )


class _Doors:
    """The faces for all collections, and those of data once more for each portal, when somebody first comes to it: what they remember is each one's own."""

    def __init__(
        self, around: Surroundings, lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]
    ) -> None:
        self._around = around
        self._routes = {name: face.addresses(_offering(around, name)) for name, face in around.faces.items()}
        self._app = _served(self._routes, around, lifespan=lifespan)
        self._portals: dict[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the faces of the portal that it came to."""
        await self._of(scope.get(PORTAL))(scope, receive, send)

    def _of(self, portal: Portal | None) -> ASGIApp:
        if portal is None or not portal.collections:
            return self._app
        if portal.name not in self._portals:
            around = replace(self._around, collections=frozenset(portal.collections))
            own = {
                name: face.addresses(_offering(around, name))
                for name, face in around.faces.items()
                if name not in OF_SITE
            }
            self._portals[portal.name] = _served(self._routes | own, around)
        return self._portals[portal.name]


def _served(faces: Mapping[str, Sequence[BaseRoute]], around: Surroundings, **more: Any) -> ASGIApp:
    """Route what all faces answer."""
    routes: list[BaseRoute] = []
    whose: dict[int, str] = {}
    for name, found in faces.items():
        own = [way for route in found for way in (route, _with_slash(route)) if way is not None]
        routes += own
        whose |= dict.fromkeys(map(id, own), name)

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        return (
            nowhere(request, _offering(around, "portal")) if error.status_code == 404 else await _plain(request, error)
        )

    app = Starlette(exception_handlers={HTTPException: unknown, Exception: _unforeseen})
    named = Named(_offering(around, "endpoints")).present
    app.router = Routes(routes=routes, redirect_slashes=False, named=named, faces=whose, **more)
    return app


def _offering(around: Surroundings, face: str) -> Surroundings:
    """Limit a face to the tables that it is to answer for."""
    service, collections = face if face in CHOSEN else "", frozenset() if face in OF_SITE else around.collections
    policies = offered(tuple(around.policies), service, collections) if service or collections else around.policies
    return replace(around, policies=policies)


def _beat(loop: asyncio.AbstractEventLoop) -> None:
    """Send signs of life from now on: a loop that something holds up sends none."""
    forks.beat()
    evenly.beat()
    loop.call_later(forks.BEAT, _beat, loop)


def _with_slash(route: BaseRoute) -> Route | None:
    """Return the same route with a slash at its end: some clients write ``/tap/sync/``, and a redirect would lose what they post."""
    if not isinstance(route, Route) or route.path.endswith(("/", ":path}")):
        return None
    return Route(f"{route.path}/", route.endpoint, methods=sorted(route.methods) if route.methods is not None else None)


async def _plain(request: Request, error: Exception) -> Response:
    """Answer a method that a route does not know."""
    assert isinstance(error, HTTPException)  # noqa: S101
    if request.method == "OPTIONS" and error.status_code == 405 and error.headers is not None:
        return Response(None, 204, headers={"allow": f"{error.headers['Allow']}, OPTIONS"})  # RFC 9110 section 9.3.7
    text = f"{error.detail}: {request.method} {request.url.path}"
    return PlainTextResponse(f"{text} [request {dali.request_id(request)}]\n", error.status_code, headers=error.headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """Answer an error that no face has caught, without a traceback."""
    text = dali.message_of(error, dali.request_id(request))
    return PlainTextResponse(f"{text}\n", dali.status_of(error), headers=dict(dali.headers_of(error)))
