"""``POST /sign``: an address of this site, signed for the reader who asks, for a program that cannot log in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import services as dali
from hven.model import join_address
from hven.model.errors import Forbidden, ParamError, Unauthenticated
from hven.services.address import bases, from_elsewhere
from hven.services.errors import Faults
from hven.services.face import Face, Surroundings, careful
from hven.site.auth import signed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import Params

LONGEST = 64 * 1024  # bytes of what is sent
FAULTS = Faults(write=lambda message: orjson.dumps({"message": message}), kind="application/json")


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/sign``."""
    site = around.site

    async def sign(request: Request, params: Params) -> Response:
        who = around.reader(request)
        if from_elsewhere(request, site.settings):
            raise Forbidden("a page of another site asks this", remedy="ask it from a page of this site")
        if who.anonymous:
            raise Unauthenticated("an address is signed for somebody", remedy="log in, or send a token")
        base = dali.base(request, site.settings)
        url = join_address(f"{base}/", params.one("URL") or "")
        known, minutes = bases(request, site.settings), site.settings.limits.signed_minutes
        made = await anyio.to_thread.run_sync(signed.signer, site.store, who, known, minutes)
        if made is None:
            raise Forbidden("only accounts of this site sign addresses", remedy="ask the site's owner for one")
        given, url = url, made(url)
        if url == given:
            raise ParamError(
                f"{url!r:.200} is no address of this site", name="URL", remedy=f"one that begins with {base}/"
            )
        until = datetime.fromtimestamp(int(url.rpartition("=")[2].partition(".")[0]), UTC)
        body = orjson.dumps({"url": url, "until": f"{until:%Y-%m-%dT%H:%M:%SZ}"})
        return dali.whole(request, body, {"content-type": "application/json", "cache-control": "no-store"})

    return [Route("/sign", careful(sign, FAULTS, LONGEST), methods=["POST"])]


FACE = Face(name="sign", title="Signed addresses", routes=routes)
