"""Show the links of ``/datalink/<schema.table>?ID=..`` as a page: pictures, files with sizes, forms of services.

Programs get the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from lxml import etree

from hven import services
from hven.model import split_address_or_empty
from hven.portal._pages import TemplateContext
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import build_page_context, render_page_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import ServiceContext

PICTURE_SEMANTICS = ("#preview", "#thumbnail")
SHOWN_PICTURE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/avif")
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInput:
    """An input of a service.

    Attributes
    ----------
    value
        Value that the link sets; empty: the reader writes it.
    example
        Value in the example of the service.
    options
        Values of which the reader chooses one; empty: any value.
    low, high
        Limits of the values; empty: none.
    """

    name: str | None
    value: str | None
    unit: str = ""
    description: str = ""
    example: str = ""
    options: Sequence[str | None] = ()
    low: str | None = ""
    high: str | None = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedService:
    """A service that a link calls.

    Attributes
    ----------
    here
        Whether it is a service of this site that a form can call.
    example
        Address of an example.
    """

    url: str
    here: bool
    example: str | None
    inputs: Sequence[ServiceInput]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDescription:
    """A link of a row.

    Attributes
    ----------
    words
        Text of the link.
    semantics
        What it leads to: a word of the DataLink vocabulary.
    type
        Media type.
    number, unit
        Size; both are empty if it is not known.
    error
        Error message; None if there is none.
    picture
        Whether the page shows it as a picture.
    locked
        Whether the reader may not open it.
    """

    url: str
    words: str
    semantics: str
    type: str
    number: str
    unit: str
    error: str | None
    picture: bool
    locked: bool
    service: LinkedService | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPage(TemplateContext):
    """The page of the links of rows.

    Attributes
    ----------
    name
        Title of the table.
    above
        Address of the table's page; empty if it has none.
    rows
        The rows.
    asked
        Query with the ids.
    more
        Number of links that are not shown.
    """

    template = "links.html"
    name: str
    above: str
    rows: Sequence[Mapping[str, object]]
    asked: str
    more: int


def _format_byte_size(byte_count: int | None) -> tuple[str, str]:
    """Format a number of bytes as a number and a unit."""
    if byte_count is None:
        return "", ""
    value = float(byte_count)
    unit_number = 0
    while value >= 999.5 and unit_number < len(BYTE_UNITS) - 1:
        value = value / 1000
        unit_number = unit_number + 1
    return f"{value:.3g}", BYTE_UNITS[unit_number]


def render_link_page(request: Request, context: ServiceContext, link_facts: Mapping[str, Any]) -> Response:
    """Render the page of links, row by row.

    Parameters
    ----------
    request, context
        The request, and the context of the service.
    link_facts
        The ``table``, the requested ``ids``, the ``links`` of `hven.services.datalinks.list_row_links`, and the number
        of ``all`` ids.
    """
    page_context = build_page_context(request, context)
    table = link_facts["table"]
    base_url = services.get_base_url(request, context.site.settings)
    host = split_address_or_empty(base_url)
    origins = (f"{host.scheme}://{host.netloc}", *context.site.settings.origins)
    links = link_facts["links"].to_pylist()
    rows = []
    for ident, row_links in groupby(links, lambda link: link["ID"]):
        descriptions = [_describe_link(link, origins) for link in row_links]
        rows.append(_group_row_links(ident, descriptions))
    collection_address = ""
    if table.schema in page_context.published_state.resources:
        collection_address = build_table_address(page_context.base, table)
    query_text = "&".join(f"ID={quote(ident, safe='')}" for ident in link_facts["ids"])
    page = LinkPage(
        name=table.title or table.qualified_name,
        above=collection_address,
        rows=rows,
        asked=query_text,
        more=link_facts["all"] - len(links),
    )
    return render_page_response(page_context, page)


def _group_row_links(row_id: str, links: Sequence[LinkDescription]) -> dict[str, object]:
    links_by_semantics: dict[str, list[LinkDescription]] = {}
    for link in links:
        if not link.picture:
            links_by_semantics.setdefault(link.semantics, []).append(link)
    pictures = [link for link in links if link.picture]
    # a thumbnail is a smaller copy of another picture
    full_size_pictures = [link for link in pictures if link.semantics != "thumbnail"]
    return {"id": row_id, "pictures": full_size_pictures or pictures, "links": links_by_semantics}


def _describe_link(link: Mapping[str, Any], picture_origins: Sequence[str]) -> LinkDescription:
    """Describe a link for the page.

    A picture of another site is shown as a link, unless the site file names its origin.
    """
    url = link["access_url"] or ""
    kind = link["content_type"] or ""
    semantics = link["semantics"]
    url_parts = split_address_or_empty(url)
    is_own = url.startswith("/") or f"{url_parts.scheme}://{url_parts.netloc}" in picture_origins
    is_shown_type = not kind or kind.partition(";")[0] in SHOWN_PICTURE_TYPES
    is_picture = semantics in PICTURE_SEMANTICS and is_own and is_shown_type
    file_name = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    error_message = link["error_message"] or ""
    service = None
    if link["service_def"]:
        service = _parse_service_descriptor(link["service_def"], picture_origins[0])
    number, unit = _format_byte_size(link["content_length"])
    return LinkDescription(
        url=url,
        words=link["description"] or file_name or url,
        semantics=semantics.rpartition("#")[2] or semantics,
        type=kind,
        number=number,
        unit=unit,
        error=error_message.partition(": ")[2] or link["error_message"],
        picture=is_picture and link["link_authorized"] is not False,
        locked=link["link_authorized"] is False,
        service=service,
    )


def write_service_call_address(descriptor_xml: str) -> str:
    """Return the address that calls a service with the values of a row only.

    Parameters
    ----------
    descriptor_xml
        The service descriptor, as `hven.services.datalinks.list_row_links` returns it.
    """
    service = _parse_service_descriptor(descriptor_xml, "")
    input_values = [
        (service_input.name or "", service_input.value) for service_input in service.inputs if service_input.value
    ]
    return f"{service.url}?{urlencode(input_values, quote_via=quote, safe=':/')}"


def _parse_service_descriptor(descriptor_xml: str, site_origin: str) -> LinkedService:
    """Parse a service descriptor of this site for a form; forms are not sent to other sites."""
    root = etree.fromstring(descriptor_xml)
    params = {param.get("name"): param.get("value") for param in root.iterfind("PARAM")}
    qsl = parse_qsl(split_address_or_empty(params.get("exampleURL") or "").query)
    example_values = dict(qsl)
    inputs = []
    for param in root.iterfind("GROUP/PARAM"):
        name = param.get("name")
        low_values = [bound.get("value") for bound in param.iter("MIN")]
        high_values = [bound.get("value") for bound in param.iter("MAX")]
        service_input = ServiceInput(
            name=name,
            value=param.get("value"),
            unit=param.get("unit") or "",
            description=param.findtext("DESCRIPTION") or "",
            example=example_values.get(name or "", ""),
            options=[option.get("value") for option in param.iter("OPTION")],
            low=low_values[0] if low_values else "",
            high=high_values[0] if high_values else "",
        )
        inputs.append(service_input)
    address, _, fixed = str(params["accessURL"]).partition("?")
    hidden = [ServiceInput(name=name, value=value) for name, value in parse_qsl(fixed)]
    # forms of asynchronous services are for programs: a browser would show the job's document
    is_async = str(params.get("standardID")).endswith("#async-1.0")
    is_own = f"{address}/".startswith((f"{site_origin}/", "/")) and not is_async
    return LinkedService(url=address, here=is_own, example=params.get("exampleURL"), inputs=[*hidden, *inputs])
