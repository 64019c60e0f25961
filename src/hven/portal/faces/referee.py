"""Serve ``/referee/SECRET``: begin the session of a referee of a collection that is not public yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
from starlette.responses import Response

from hven import services
from hven.model.errors import NotFoundError
from hven.services.addresses import build_session_cookie
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.site.auth import invitations
from hven.site.auth.session import SESSION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route."""
    site = context.site

    async def begin_referee_session(request: Request) -> Response:
        secret = request.path_params["secret"]
        grant = await anyio.to_thread.run_sync(site.store.grants.verify_proof, "referee", secret)
        if grant is None:
            raise NotFoundError(
                "this address is unknown or has expired", remedy="ask the person who gave you the address"
            )
        if grant.until is None:
            remaining_seconds = SESSION_SECONDS
        else:
            remaining_seconds = grant.until - time.time()
        cookie = build_session_cookie(
            request, site.settings, secret, cookie_name=invitations.REFEREE_COOKIE, max_age_seconds=remaining_seconds
        )
        headers = {
            "set-cookie": cookie,
            "location": f"{services.get_base_url(request, site.settings)}/collections/{quote(grant.object)}",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
        }
        return Response(status_code=303, headers=headers)

    return [create_route("/referee/{secret}", begin_referee_session, TEXT_LINE_ERRORS)]


FACE = ServiceFace(
    name="referee", title="Referees", build_routes=build_routes, is_usage_counted=False, is_site_wide=True
)
