"""``/collections/<name>/descriptor``: the public part of a collection as a descriptor.

Another Hven reproduces the collection with it (``hven mirror``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import services
from hven.descriptor.observations import OBSCORE_RADIO_VIEW, OBSCORE_VIEW
from hven.model.errors import NotFoundError
from hven.plugins.mirroring import mirror_descriptors
from hven.plugins.mirroring.public_metadata import PublicMetadata
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.site import UnionView
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

MEDIA_TYPE = "application/yaml"  # RFC 9512


def build_descriptor_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/collections/<name>/descriptor``."""

    def write_descriptor(request: Request) -> bytes:
        name = request.path_params["name"]
        published_state = context.site.get_published_state()
        # a copy of the collection is public, so the descriptor describes only what everybody may see
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        tables = list(catalogue.iterate_tables())
        resource = published_state.resources.get(name)
        is_public = any(table.schema == name for table in tables)
        if resource is None or not is_public:
            raise NotFoundError(
                f"there is no public collection {name!r} here", remedy="see the list of collections on the home page"
            )
        view_members = {}
        for view_name in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW):
            view = published_state.tables_by_name.get(f"ivoa.{view_name}")
            if view is not None and isinstance(view.members, UnionView):
                view_members[view_name] = view.members
        table_specs = {spec.table.name: spec for spec in resource.tables}
        metadata = PublicMetadata(view_members=view_members, table_specs=table_specs, examples=resource.examples)
        url = services.get_base_url(request, context.site.settings)
        return mirror_descriptors.write_public_descriptor(resource, tables, url=url, metadata=metadata).encode()

    async def answer_descriptor(request: Request) -> Response:
        body = write_descriptor(request)
        etag = services.compute_etag(body)
        cache_headers = services.build_cache_headers(etag, is_public=True, vary="accept-encoding")
        return services.answer_with_etag(request, cache_headers, MEDIA_TYPE, body)

    return [create_route("/collections/{name}/descriptor", answer_descriptor)]


FACE = ServiceFace(name="descriptors", title="Mirror", is_selectable=True, build_routes=build_descriptor_routes)
