"""``/collections/NAME/TABLE/services/FACE``: what a service over a table understands, as a form, with lines to copy; made of the face's own record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from hven.model.errors import NotFound, say
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, page
from hven.portal._views.table_page import view
from hven.services.params import described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import Surroundings


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the address of the forms."""

    async def form(state: Asked) -> Page:
        seen = view(state)
        face = around.faces.get(state.request.path_params["face"].removesuffix(".json"))
        if face is None or not (face.asked_of_a_table and face.applies(seen.table) and seen.table.offers(face.name)):
            raise NotFound(
                say("there is no such service for {name}", seen.name),
                remedy="the page of the collection says how its tables are asked",
            )
        root = state.brand.root
        about = {
            "title": face.title,
            "description": face.description,
            "standards": list(face.standard_ids),
            "url": face.url(seen.table, root),
            "openapi": f"{root}/openapi.json",
            "ways": [
                {"title": way.title, "url": way.url, "example": way.example} for way in face.shown(seen.published, root)
            ],
        }
        content = {
            "service": about,
            "parameters": face.known,
            "table": seen.name,
            "above": address(state.base, seen.table),
        }
        twin = {**about, "parameters": [described(one) for one in face.known]}
        return Page(template="service.html", content=content, twin=twin)

    return [Route("/collections/{name}/{table}/services/{face}", page(form, around))]
