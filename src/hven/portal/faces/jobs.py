"""Serve jobs other than queries: ``/jobs`` lists the types of this site, ``/jobs/TYPE`` is a job list of UWS 1.1.

If a package has a page of jobs, a browser that opens ``/jobs`` gets this page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Mount

from hven import services
from hven.jobs import type_catalogue
from hven.portal._views.page_formats import build_error_responder
from hven.services import uws
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.services.params import MAX_FORM_BYTES, describe_param

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.types import Receive, Scope, Send

    from hven.jobs import JobDefinition
    from hven.model.settings import Settings


class DynamicJobTypeRoute(Mount):
    """The addresses of job types that are declared after the start of the server."""

    def __init__(self, settings: Settings, build_type_routes: Callable[[str], Sequence[Route]]) -> None:
        super().__init__("/jobs", routes=())
        self._settings = settings
        self._build_type_routes = build_type_routes
        self._routes_by_type: dict[str, Sequence[Route]] = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match an address of a type that exists now."""
        path = scope.get("path", "").removesuffix("/")
        name_match = re.match("/jobs/([^/]+)", path.removeprefix(scope.get("root_path", "")))
        if name_match is None or type_catalogue.find_served_job_type(self._settings, name_match[1]) is None:
            return Match.NONE, {}
        name = name_match[1]
        if name not in self._routes_by_type:
            self._routes_by_type[name] = self._build_type_routes(name)
        for route in self._routes_by_type[name]:
            match, child_scope = route.matches({**scope, "path": path})
            if match is not Match.NONE:
                return match, {**child_scope, "hven.job_route": route}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the route that `matches` has found."""
        await scope["hven.job_route"].handle(scope, receive, send)


def build_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the routes of the job types that are declared now, and one for later ones."""
    settings = context.site.settings
    types = type_catalogue.load_served_job_types(settings)
    limit = settings.limits.upload + MAX_FORM_BYTES

    async def list_types(request: Request) -> Response:
        accept = request.headers.get("accept", "").lower()
        present_types = await anyio.to_thread.run_sync(type_catalogue.load_served_job_types, settings)
        write_page = context.get_page_writer(FACE.name)
        if write_page is not None and "text/html" in accept and "application/json" not in accept:
            return await anyio.to_thread.run_sync(write_page, request, context, present_types)
        jobs_address = f"{services.get_base_url(request, settings)}/jobs"

        def is_visible(kind: JobDefinition) -> bool:
            return kind.access == "public" or context.identify_principal(request).name is not None

        visible_types = filter(is_visible, present_types.values())
        type_list = {"types": [_describe_job_type(kind, f"{jobs_address}/{kind.name}") for kind in visible_types]}
        headers = {"cache-control": "no-store", "vary": "accept, authorization, cookie"}
        return JSONResponse(type_list, headers=headers)

    def build_type_routes(name: str) -> Sequence[Route]:
        return uws.build_job_routes(f"/jobs/{name}", name, context.site, context.identify_principal, byte_limit=limit)

    first_routes = [create_route("/jobs", list_types, build_error_responder(context))]
    for name in types:
        first_routes += build_type_routes(name)
    return [*first_routes, DynamicJobTypeRoute(settings, build_type_routes)]


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
