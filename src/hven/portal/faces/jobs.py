"""Jobs that are no queries: ``/jobs`` lists the types that this site offers, ``/jobs/TYPE`` is a list of jobs of UWS 1.1.

A browser that opens ``/jobs`` sees its own jobs of every type (`_jobs_page`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from hven import services as dali
from hven.jobs import declared
from hven.portal.faces._jobs_page import JobsPage
from hven.services import uws
from hven.services.face import Face, Surroundings, route
from hven.services.params import FORM_MOST, described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.jobs import Type


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the resources of each type, as they are declared when the server starts."""
    settings = around.site.settings
    types = {name: kind for name, kind in declared.offered(settings).items() if kind.served}
    limit = settings.limits.upload + FORM_MOST

    page = JobsPage(around=around, types=types)

    async def listed(request: Request) -> Response:
        accept = request.headers.get("accept", "").lower()
        if "text/html" in accept and "application/json" not in accept:
            return await page.get(request)
        here = f"{dali.base(request, settings)}/jobs"
        seen = [kind for kind in types.values() if kind.access == "public" or around.reader(request).name is not None]
        told = {"types": [_described(kind, f"{here}/{kind.name}") for kind in seen]}
        return JSONResponse(told, headers={"cache-control": "no-store", "vary": "accept, authorization, cookie"})

    made = [
        route("/jobs", listed, page.refused),
        route("/jobs", page.post, page.refused, ["POST"]),
        *(route(f"/jobs/shown/{what}", page.plot, page.told) for what in ("histogram", "points")),
        route("/jobs/shown/download", page.download, page.told),
    ]
    for name in types:
        made += uws.routes(f"/jobs/{name}", name, around.site, around.reader, limit=limit)
    return made


def _described(kind: Type, url: str) -> dict[str, Any]:
    return {
        "name": kind.name,
        "title": kind.title,
        "description": kind.description,
        "url": url,
        "parameters": [
            described(param) | ({"type": "file"} if param.name in kind.files else {}) for param in kind.params
        ],
    }


FACE = Face(name="jobs", title="Jobs", standard_ids=("ivo://ivoa.net/std/UWS",), routes=routes)
