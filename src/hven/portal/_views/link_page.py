"""``/datalink/<schema.table>?ID=..`` for people: pictures, files with their sizes, forms of services.

The same rows as the programs get.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from lxml import etree

from hven import services
from hven.model import split_address_or_none
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import build_page_context, render_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import ServiceContext

PICTURE_SEMANTICS = ("#preview", "#thumbnail")
SHOWN_PICTURE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/avif")
BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def _split_byte_size(byte_count: int | None) -> tuple[str, str]:
    """Write bytes as people say them: a number and its unit."""
    if byte_count is None:
        return "", ""
    value = float(byte_count)
    unit_number = 0
    while value >= 999.5 and unit_number < len(BYTE_UNITS) - 1:
        value = value / 1000
        unit_number = unit_number + 1
    return f"{value:.3g}", BYTE_UNITS[unit_number]


def render_link_page(request: Request, context: ServiceContext, link_facts: Mapping[str, Any]) -> Response:
    """Write the page of links that are known, row by row.

    Parameters
    ----------
    request, context
        Of the face.
    link_facts
        Its ``table``, the ``ids`` that were asked for, the ``links`` of `hven.services.datalinks.list_row_links`, and
        how many there are in ``all``.
    """
    page_context = build_page_context(request, context)
    table = link_facts["table"]
    base_url = services.get_base_url(request, context.site.settings)
    host = split_address_or_none(base_url)
    origins = (f"{host.scheme}://{host.netloc}", *context.site.settings.origins)
    links = link_facts["links"].to_pylist()
    rows = [
        _group_row_links(ident, [_describe_link(link, origins) for link in row_links])
        for ident, row_links in groupby(links, lambda link: link["ID"])
    ]
    return render_response(
        page_context,
        "links.html",
        name=table.title or table.qualified_name,
        above=build_table_address(page_context.base, table)
        if table.schema in page_context.published_state.resources
        else "",
        rows=rows,
        asked="&".join(f"ID={quote(link, safe='')}" for link in link_facts["ids"]),
        more=link_facts["all"] - len(links),
    )


def _group_row_links(row_id: str, links: Sequence[dict[str, Any]]) -> dict[str, Any]:
    links_by_semantics: dict[str, list[dict[str, Any]]] = {}
    for link in links:
        if not link["picture"]:
            links_by_semantics.setdefault(link["semantics"], []).append(link)
    pictures = [link for link in links if link["picture"]]
    full_size_pictures = [
        link for link in pictures if link["semantics"] != "thumbnail"
    ]  # a small one is another of the same
    return {"id": row_id, "pictures": full_size_pictures or pictures, "links": links_by_semantics}


def _describe_link(link: Mapping[str, Any], picture_origins: Sequence[str]) -> dict[str, Any]:
    """Say of a link what people want to know.

    A picture from elsewhere stands there as a link, unless the site file names its origin.
    """
    url = link["access_url"] or ""
    kind = link["content_type"] or ""
    semantics = link["semantics"]
    is_own = url.startswith("/") or "{0.scheme}://{0.netloc}".format(split_address_or_none(url)) in picture_origins
    is_picture = (
        semantics in PICTURE_SEMANTICS and is_own and (kind.partition(";")[0] in SHOWN_PICTURE_TYPES or not kind)
    )
    number, unit = _split_byte_size(link["content_length"])
    return {
        "url": url,
        "words": link["description"] or url.partition("?")[0].rstrip("/").rpartition("/")[2] or url,
        "semantics": semantics.rpartition("#")[2] or semantics,
        "type": kind,
        "number": number,
        "unit": unit,
        "error": (link["error_message"] or "").partition(": ")[2] or link["error_message"],
        "picture": is_picture and link["link_authorized"] is not False,
        "locked": link["link_authorized"] is False,
        "service": _parse_service_descriptor(link["service_def"], picture_origins[0]) if link["service_def"] else None,
    }


def write_call_address(described: str) -> str:
    """Return the address that asks a service for what a row says, and for nothing else.

    Parameters
    ----------
    described
        Its descriptor, as `hven.services.datalinks.list_row_links` gives it.
    """
    service = _parse_service_descriptor(described, "")
    input_values = [
        (service_input["name"], service_input["value"]) for service_input in service["inputs"] if service_input["value"]
    ]
    return f"{service['url']}?{urlencode(input_values, quote_via=quote, safe=':/')}"


def _parse_service_descriptor(descriptor_xml: str, site_origin: str) -> dict[str, Any]:
    """Read a service descriptor of ours for a form: a page sends none to another site."""
    root = etree.fromstring(descriptor_xml)
    params = {param.get("name"): param.get("value") for param in root.iterfind("PARAM")}
    qsl = parse_qsl(split_address_or_none(params.get("exampleURL") or "").query)
    example_values = dict(qsl)
    inputs = [
        {
            "name": param.get("name"),
            "value": param.get("value"),
            "unit": param.get("unit") or "",
            "description": param.findtext("DESCRIPTION") or "",
            "example": example_values.get(param.get("name") or "", ""),
            "options": [option.get("value") for option in param.iter("OPTION")],
            "low": next((bound.get("value") for bound in param.iter("MIN")), ""),
            "high": next((bound.get("value") for bound in param.iter("MAX")), ""),
        }
        for param in root.iterfind("GROUP/PARAM")
    ]
    address, _, fixed = str(params["accessURL"]).partition("?")
    hidden = [{"name": name, "value": value} for name, value in parse_qsl(fixed)]
    # a job is for programs: who sends a form sees what comes
    is_own = f"{address}/".startswith((f"{site_origin}/", "/")) and not str(params.get("standardID")).endswith(
        "#async-1.0"
    )
    return {"url": address, "here": is_own, "example": params.get("exampleURL"), "inputs": [*hidden, *inputs]}
