"""Maps of bodies at ``/wms``, ``/wmts`` and ``/wcs`` of a collection, and what there is at ``/maps.json``.

The libraries for rasters are imported by the first request.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model import plugins
from hven.plugins.maps.request_errors import (
    respond_to_json_error,
    respond_to_wcs_error,
    respond_to_wms_error,
    respond_to_wmts_error,
)
from hven.services.face import (
    MAX_PARAMETER_BODY_BYTES,
    ServiceContext,
    ServiceFace,
    wrap_endpoint_with_gates_and_errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import RequestParams

MAX_DRAWINGS = 2  # maps that are drawn at a time in a process: queries have priority
VARY_HEADER = "authorization, cookie, host"
TILE_PATH = "/wmts/{collection}/1.0.0/{layer}/default/{set}/{level:int}/{row:int}/{column:int}.png"
# path -> operation of `map_operations`, and what answers errors
_ROUTES: dict[str, tuple[str, Callable[[Request, Exception], Response]]] = {
    "/wms/{collection}": ("wms", respond_to_wms_error),
    "/wmts/{collection}": ("wmts", respond_to_wmts_error),
    "/wcs/{collection}": ("wcs", respond_to_wcs_error),
    "/wmts/{collection}/1.0.0/WMTSCapabilities.xml": ("tile capabilities", respond_to_wmts_error),
    TILE_PATH: ("tile", respond_to_wmts_error),
    "/maps.json": ("bodies", respond_to_json_error),
    "/maps/{body}.json": ("body", respond_to_json_error),
    "/maps/{body}/value": ("value", respond_to_json_error),
}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the maps of a site or portal."""
    limiter = anyio.CapacityLimiter(MAX_DRAWINGS)

    def run_operation(request: Request, params: RequestParams, operation: str) -> tuple[bytes, str]:
        module = plugins.import_hven_module("hven.plugins.maps.map_operations", "the service of maps")
        principal = context.identify_principal(request)
        base_url = services.get_base_url(request, context.site.settings)
        map_request = module.MapRequest(context, principal, base_url, request.path_params, params)
        answer: tuple[bytes, str] = module.OPERATIONS[operation](map_request)
        return answer

    async def answer_request(request: Request, params: RequestParams, *, operation: str) -> Response:
        body, media_type = await anyio.to_thread.run_sync(run_operation, request, params, operation, limiter=limiter)
        # the tag is computed from the bytes, so that no cache can have a wrong one
        headers = services.build_cache_headers(services.compute_etag(body), is_public=False, vary=VARY_HEADER)
        return services.answer_with_etag(request, headers, media_type, body)

    routes = []
    for path, (operation, respond_to_error) in _ROUTES.items():
        answer = partial(answer_request, operation=operation)
        endpoint = wrap_endpoint_with_gates_and_errors(answer, respond_to_error, MAX_PARAMETER_BODY_BYTES)
        routes.append(Route(path, endpoint, methods=["GET", "POST"] if operation == "value" else ["GET"]))
    return routes


FACE = ServiceFace(
    name="body_maps",
    title="Maps of planets",
    description="Maps of planets and moons: WMS at /wms/NAME, WMTS at /wmts/NAME, WCS at /wcs/NAME.",
    build_routes=build_routes,
)
