"""``/collections/<name>/descriptor``: what is public of a collection, as the descriptor with which another Hven reproduces it (``hven mirror``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import services as dali
from hven.descriptor import mirroring
from hven.descriptor.computed import Computed
from hven.descriptor.observations import OBSCORE, RADIO
from hven.model.errors import NotFound
from hven.services.face import Face, Surroundings, route
from hven.site import UnionView
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

MEDIA_TYPE = "application/yaml"  # RFC 9512


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/descriptor``."""

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
            members={
                kind: view.members
                for kind, view in observed.items()
                if view is not None and isinstance(view.members, UnionView)
            },
            specs={spec.table.name: spec for spec in resource.tables},
            examples=resource.examples,
        )
        return mirroring.public(resource, tables, url=dali.base(request, around.site.settings), also=also).encode()

    async def descriptor(request: Request) -> Response:
        body = written(request)
        return dali.tagged(
            request, dali.caching(dali.etag(body), public=True, vary="accept-encoding"), MEDIA_TYPE, body
        )

    return [route("/collections/{name}/descriptor", descriptor)]


FACE = Face(name="descriptors", title="Mirror", routes=routes)
