"""Serve jobs other than queries: ``/jobs`` lists the types of this site, ``/jobs/TYPE`` is a job list of UWS 1.1.

If a package has a page of jobs, a browser that opens ``/jobs`` gets this page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import JSONResponse

from hven import services
from hven.jobs import type_catalogue
from hven.portal._views.page_formats import build_error_responder
from hven.services import uws
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.services.params import MAX_FORM_BYTES, describe_param

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.jobs import JobDefinition


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of all job types that are declared when the server starts."""
    settings = context.site.settings
    types = type_catalogue.load_served_job_types(settings)
    limit = settings.limits.upload + MAX_FORM_BYTES

    async def list_types(request: Request) -> Response:
        accept = request.headers.get("accept", "").lower()
        write_page = context.get_page_writer(FACE.name)
        if write_page is not None and "text/html" in accept and "application/json" not in accept:
            return await anyio.to_thread.run_sync(write_page, request, context, types)
        jobs_address = f"{services.get_base_url(request, settings)}/jobs"

        def is_visible(kind: JobDefinition) -> bool:
            return kind.access == "public" or context.identify_principal(request).name is not None

        visible_types = filter(is_visible, types.values())
        type_list = {"types": [_describe_job_type(kind, f"{jobs_address}/{kind.name}") for kind in visible_types]}
        headers = {"cache-control": "no-store", "vary": "accept, authorization, cookie"}
        return JSONResponse(type_list, headers=headers)

    route_list = [create_route("/jobs", list_types, build_error_responder(context))]
    for name in types:
        route_list += uws.build_job_routes(
            f"/jobs/{name}", name, context.site, context.identify_principal, byte_limit=limit
        )
    return route_list


def _describe_job_type(job_type: JobDefinition, url: str) -> dict[str, Any]:
    return {
        "name": job_type.name,
        "title": job_type.title,
        "description": job_type.description,
        "url": url,
        "parameters": [
            describe_param(param) | ({"type": "file"} if param.name in job_type.files else {})
            for param in job_type.params
        ],
    }


FACE = ServiceFace(
    name="jobs",
    is_site_wide=True,
    title="Jobs",
    standard_ids=("ivo://ivoa.net/std/UWS",),
    build_routes=build_routes,
    is_usage_counted=False,
)
