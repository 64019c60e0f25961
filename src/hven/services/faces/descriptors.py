"""``/collections/<name>/descriptor``: what is public of a collection, as the descriptor with which another Hven reproduces it (``hven mirror``)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hven import services as dali
from hven.descriptor import mirroring
from hven.descriptor.computed import Computed
from hven.descriptor.observations import OBSCORE, RADIO
from hven.model.errors import NotFound
from hven.services.protocol import Protocol, Surroundings, Way
from hven.site.auth.permit import ANONYMOUS
from hven.site.obscore import Union

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.site import Published

MEDIA_TYPE = "application/yaml"  # RFC 9512


def routes(around: Surroundings) -> Sequence[Route]:
    """``/collections/<name>/descriptor``."""

    def written(request: Request) -> bytes:
        name = request.path_params["name"]
        holdings = around.site.current()
        # a copy is public: who asks does not matter, only what everybody may know
        tables = list(holdings.catalogue(ANONYMOUS, around.policies).tables())
        resource = holdings.resources.get(name)
        if resource is None or not any(table.schema == name for table in tables):
            raise NotFound(f"there is no public collection {name!r} here", remedy="the first page lists what is here")
        observed = {kind: holdings.published.get(f"ivoa.{kind}") for kind in (OBSCORE, RADIO)}
        also = Computed(
            members={kind: view.members for kind, view in observed.items() if view is not None and isinstance(view.members, Union)},
            specs={spec.table.name: spec for spec in resource.tables},
            examples=resource.examples,
        )
        return mirroring.public(resource, tables, url=dali.base(request, around.site.settings), also=also).encode()

    async def descriptor(request: Request) -> Response:
        try:
            body = written(request)
            tag = f'W/"{hashlib.sha256(body).hexdigest()[:24]}"'
            headers = {"etag": tag, "cache-control": "public, no-cache", "vary": "accept-encoding"}
            if dali.unchanged(request, tag):
                return Response(status_code=304, headers=headers)
            return dali.whole(request, body, {**headers, "content-type": MEDIA_TYPE})
        except Exception as error:  # noqa: BLE001  (one table of errors)
            return PlainTextResponse(dali.message_of(error, dali.request_id(request)), dali.status_of(error), dali.headers_of(error))

    return [Route("/collections/{name}/descriptor", descriptor)]


def ways(published: Published, base: str) -> Sequence[Way]:  # noqa: ARG001  (the contract's signature)
    """Give none: it is of a collection."""
    return []


PROTOCOL = Protocol(name="descriptors", title="Mirror", applies=lambda table: False, routes=routes, ways=ways)  # noqa: ARG005
