"""Serve jobs other than queries: ``/jobs`` lists the types of this site, ``/jobs/TYPE`` is a job list of UWS 1.1.

A browser that opens ``/jobs`` gets a page of the reader's jobs of every type (`_jobs_page`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from hven import services
from hven.jobs import type_catalogue
from hven.portal.faces._jobs_page import JobsPage
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
    types = {name: kind for name, kind in type_catalogue.load_all_job_types(settings).items() if kind.is_served}
    limit = settings.limits.upload + MAX_FORM_BYTES

    page = JobsPage(context=context, job_types=types)

    async def list_types(request: Request) -> Response:
        accept = request.headers.get("accept", "").lower()
        if "text/html" in accept and "application/json" not in accept:
            return await page.show_jobs(request)
        jobs_address = f"{services.get_base_url(request, settings)}/jobs"

        def is_visible(kind: JobDefinition) -> bool:
            return kind.access == "public" or context.identify_principal(request).name is not None

        visible_types = filter(is_visible, types.values())
        type_list = {"types": [_describe_job_type(kind, f"{jobs_address}/{kind.name}") for kind in visible_types]}
        headers = {"cache-control": "no-store", "vary": "accept, authorization, cookie"}
        return JSONResponse(type_list, headers=headers)

    route = create_route("/jobs", list_types, page.send_error_page)
    route_list = [
        route,
        create_route("/jobs", page.answer_job_form, page.send_error_page, ["POST"]),
        *(
            create_route(f"/jobs/shown/{plot_kind}", page.send_plot_data, page.send_json_error)
            for plot_kind in ("histogram", "points")
        ),
        create_route("/jobs/shown/download", page.send_download, page.send_json_error),
    ]
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
