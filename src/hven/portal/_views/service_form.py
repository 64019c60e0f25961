"""Serve ``/collections/NAME/TABLE/services/FACE``: the form of a service over a table, with lines to copy.

The form is built from the parameters of the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.routing import Route

from hven.model.errors import NotFoundError, format_message
from hven.portal._pages import TemplateContext
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint
from hven.portal._views.table_view import read_table_view
from hven.services.params import describe_param

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.params import Param
    from hven.services.face import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFormPage(TemplateContext):
    """The form of a service.

    Attributes
    ----------
    service
        The service.
    parameters
        Its parameters.
    table, above
        Name of the table as in a query, and address of its page.
    """

    template = "service.html"
    service: Mapping[str, object]
    parameters: Sequence[Param]
    table: str
    above: str


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of the forms."""

    async def show_form(page_context: PageContext) -> PageContent:
        table_view = read_table_view(page_context)
        table = table_view.table
        face = context.faces.get(page_context.request.path_params["face"].removesuffix(".json"))
        if face is None or not face.is_table_service or not face.applies(table) or not table.is_served_by(face.name):
            raise NotFoundError(
                format_message("this service does not exist for {name}", table_view.quoted_name),
                remedy="see the collection's page for the services of its tables",
            )
        root = page_context.brand.root
        service_facts = {
            "title": face.title,
            "description": face.description,
            "standards": list(face.standard_ids),
            "url": face.build_url(table_view.table, root),
            "openapi": f"{root}/openapi.json",
            "ways": [
                {"title": usage_example.title, "url": usage_example.url, "example": usage_example.example}
                for usage_example in face.list_all_examples(table_view.published, root)
            ],
        }
        page = ServiceFormPage(
            service=service_facts,
            parameters=face.all_params,
            table=table_view.quoted_name,
            above=build_table_address(page_context.base, table_view.table),
        )
        json_content = {**service_facts, "parameters": [describe_param(parameter) for parameter in face.all_params]}
        return PageContent(page=page, json_content=json_content)

    return [Route("/collections/{name}/{table}/services/{face}", build_page_endpoint(show_form, context))]
