"""Show the answers of ``/resolve`` as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.plugins.resolvers.settings import get_resolver_settings
from hven.plugins.resolvers.simbad_snapshot import get_simbad_snapshot
from hven.portal.api.page_rows import render_page_response
from hven.portal.api.pages import PortalPages, TemplateContext, build_page_context
from hven.query.resolver import AmbiguousObjectNameError
from hven.services import find_http_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.errors import HvenError
    from hven.query.resolver import ResolvedName
    from hven.services.face import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedNamePage(TemplateContext):
    """The page of a name.

    Attributes
    ----------
    name
        The name; empty: the page only has the form.
    resolved
        The object, if the name has one.
    fault
        Why there is none.
    note
        What to know about the object.
    alternatives
        Objects that have the name, if there are several.
    """

    template = "resolvers/resolved.html"
    name: str
    resolved: ResolvedName | None
    fault: str
    note: str
    alternatives: Sequence[ResolvedName]


def render_resolved_name(request: Request, context: ServiceContext, facts: Mapping[str, Any]) -> Response:
    """Render the page of a name.

    Parameters
    ----------
    request, context
        The request and the context of the face.
    facts
        The ``name``, and its object (``resolved``) or the ``fault``.
    """
    fault: HvenError | None = facts.get("fault")
    resolved: ResolvedName | None = facts.get("resolved")
    page_context = build_page_context(request, context)
    page = ResolvedNamePage(
        name=facts["name"],
        resolved=resolved,
        fault="" if fault is None else page_context.translator.translate_error(fault),
        note="" if resolved is None else page_context.translator(resolved.note),
        alternatives=fault.candidates if isinstance(fault, AmbiguousObjectNameError) else (),
    )
    response = render_page_response(page_context, page)
    if fault is not None and response.status_code == 200:
        response.status_code = find_http_status(fault)
    return response


def summarize_simbad_cache_for_health(_request: Request, context: ServiceContext) -> Mapping[str, Any] | None:
    """Summarize the stored answers of SIMBAD for the page of the site's health; None if the site does not use it.

    Parameters
    ----------
    context
        The context of the page.
    """
    site = context.site
    if not get_resolver_settings(site.settings).remote:
        return None
    return get_simbad_snapshot(site).summarize()


PAGES = PortalPages(
    build_routes=lambda _: (),
    parts={"health.curators": "health_part.html"},
    compute_frame_value=summarize_simbad_cache_for_health,
    frame_value_path="/health",
    template_directory=Path(__file__).parent / "pages",
    page_writers={"resolve": render_resolved_name},
)
