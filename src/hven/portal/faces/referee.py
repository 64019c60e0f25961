"""``/referee/SECRET``: where somebody comes in who is to judge a collection that is not public yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
from starlette.responses import Response

from hven import services as dali
from hven.model.errors import NotFound
from hven.services.address import keeping
from hven.services.errors import LINE
from hven.services.face import Face, Surroundings, route
from hven.site.auth import invitations
from hven.site.auth.session import SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/referee/SECRET``."""
    site = around.site

    async def come(request: Request) -> Response:
        secret = request.path_params["secret"]
        grant = await anyio.to_thread.run_sync(site.store.grants.holds, "referee", secret)
        if grant is None:
            raise NotFound("this address is not known here, or its time is over", remedy="ask whoever gave it to you")
        left = SECONDS if grant.until is None else grant.until - time.time()
        made = keeping(request, site.settings, secret, name=invitations.COOKIE, seconds=left)
        headers = {
            "set-cookie": made,
            "location": f"{dali.base(request, site.settings)}/collections/{quote(grant.object)}",
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
        }
        return Response(status_code=303, headers=headers)

    return [route("/referee/{secret}", come, LINE)]


FACE = Face(name="referee", title="Referees", routes=routes)
