"""create(site): every face under one application; the last net for errors that no face has caught."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

from hven import dali, protocols
from hven.auth.permit import ANONYMOUS, DEFAULT
from hven.protocols import Surroundings
from hven.server.alias import Aliases
from hven.server.edge import Edge
from hven.server.identity import READER, Identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp

    from hven.auth import Policy, Reader
    from hven.holdings import Site


def identified(request: Request) -> Reader:
    """Give the reader whom an identity provider has found before any face was asked."""
    who: Reader = request.scope.get(READER, ANONYMOUS)
    return who


def create(site: Site, *, policies: Sequence[Policy] = DEFAULT, reader: Callable[[Request], Reader] = identified) -> ASGIApp:
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
        To be run by `hven.server.serve`, or by any ASGI server.
    """
    faces = protocols.known()
    around = Surroundings(site=site, reader=reader, policies=policies, protocols=faces, started=datetime.now(UTC))
    routes = [route for face in faces.values() for route in face.routes(around)]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        site.current()  # the first reader need not wait for it
        yield
        site.close()

    app = Starlette(routes=routes, exception_handlers={HTTPException: _plain, Exception: _unforeseen}, lifespan=lifespan)
    app.router.redirect_slashes = False
    return Edge(Identity(Aliases(app, site.settings), site.store), site.settings)


async def _plain(request: Request, error: Exception) -> Response:
    """Answer what no route knows."""
    assert isinstance(error, HTTPException)  # noqa: S101
    text = (
        f"{error.detail}: {request.method} {request.url.path}"
        if error.status_code != 404
        else f"there is nothing at {request.url.path}; / lists what is here"
    )
    return PlainTextResponse(f"{text} [request {dali.request_id(request)}]\n", error.status_code, headers=error.headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """Answer an error that no face has caught, without a traceback."""
    text = dali.message_of(error, dali.request_id(request))
    return PlainTextResponse(f"{text}\n", dali.status_of(error), headers=dict(dali.headers_of(error)))
