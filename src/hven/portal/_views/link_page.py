"""``/datalink/<schema.table>?ID=..`` for people: pictures, files with their sizes, forms of services; the same rows as the programs get."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from lxml import etree

from hven import services as dali
from hven.model import split_address_or_none
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import asked, sent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import Surroundings

PICTURES = ("#preview", "#thumbnail")
SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/avif")
UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def _size(many: int | None) -> tuple[str, str]:
    """Write bytes as people say them: a number and its unit."""
    if many is None:
        return "", ""
    value, at = float(many), 0
    while value >= 999.5 and at < len(UNITS) - 1:
        value, at = value / 1000, at + 1
    return f"{value:.3g}", UNITS[at]


def link_page(request: Request, around: Surroundings, told: Mapping[str, Any]) -> Response:
    """Write the page of links that are known, row by row.

    Parameters
    ----------
    request, around
        Of the face.
    told
        Its ``table``, the ``ids`` that were asked for, the ``links`` of `hven.services.datalinks.rows`, and how many there are in ``all``.
    """
    state, table = asked(request, around), told["table"]
    host = split_address_or_none(dali.base(request, around.site.settings))
    origins = (f"{host.scheme}://{host.netloc}", *around.site.settings.origins)
    every = told["links"].to_pylist()
    rows = [_row(ident, [_link(one, origins) for one in some]) for ident, some in groupby(every, lambda one: one["ID"])]
    return sent(
        state,
        "links.html",
        name=table.title or table.qualified,
        above=address(state.base, table) if table.schema in state.holdings.resources else "",
        rows=rows,
        asked="&".join(f"ID={quote(one, safe='')}" for one in told["ids"]),
        more=told["all"] - len(every),
    )


def _row(ident: str, links: Sequence[dict[str, Any]]) -> dict[str, Any]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for link in links:
        if not link["picture"]:
            kinds.setdefault(link["semantics"], []).append(link)
    pictures = [link for link in links if link["picture"]]
    large = [link for link in pictures if link["semantics"] != "thumbnail"]  # a small one is another of the same
    return {"id": ident, "pictures": large or pictures, "links": kinds}


def _link(one: Mapping[str, Any], origins: Sequence[str]) -> dict[str, Any]:
    """Say of a link what people want to know; a picture from elsewhere stands there as a link, unless the site file names its origin."""
    url, kind, semantics = one["access_url"] or "", one["content_type"] or "", one["semantics"]
    own = url.startswith("/") or "{0.scheme}://{0.netloc}".format(split_address_or_none(url)) in origins
    pictured = semantics in PICTURES and own and (kind.partition(";")[0] in SHOWN or not kind)
    number, unit = _size(one["content_length"])
    return {
        "url": url,
        "words": one["description"] or url.partition("?")[0].rstrip("/").rpartition("/")[2] or url,
        "semantics": semantics.rpartition("#")[2] or semantics,
        "type": kind,
        "number": number,
        "unit": unit,
        "error": (one["error_message"] or "").partition(": ")[2] or one["error_message"],
        "picture": pictured and one["link_authorized"] is not False,
        "locked": one["link_authorized"] is False,
        "service": _service(one["service_def"], origins[0]) if one["service_def"] else None,
    }


def write_call_address(described: str) -> str:
    """Return the address that asks a service for what a row says, and for nothing else.

    Parameters
    ----------
    described
        Its descriptor, as `hven.services.datalinks.rows` gives it.
    """
    service = _service(described, "")
    given = [(one["name"], one["value"]) for one in service["inputs"] if one["value"]]
    return f"{service['url']}?{urlencode(given, quote_via=quote, safe=':/')}"


def _service(described: str, here: str) -> dict[str, Any]:
    """Read a service descriptor of ours for a form: a page sends none to another site."""
    root = etree.fromstring(described)
    said = {param.get("name"): param.get("value") for param in root.iterfind("PARAM")}
    tried = dict(parse_qsl(split_address_or_none(said.get("exampleURL") or "").query))
    inputs = [
        {
            "name": param.get("name"),
            "value": param.get("value"),
            "unit": param.get("unit") or "",
            "description": param.findtext("DESCRIPTION") or "",
            "example": tried.get(param.get("name") or "", ""),
            "options": [option.get("value") for option in param.iter("OPTION")],
            "low": next((bound.get("value") for bound in param.iter("MIN")), ""),
            "high": next((bound.get("value") for bound in param.iter("MAX")), ""),
        }
        for param in root.iterfind("GROUP/PARAM")
    ]
    address, _, fixed = str(said["accessURL"]).partition("?")
    hidden = [{"name": name, "value": value} for name, value in parse_qsl(fixed)]
    # a job is for programs: who sends a form sees what comes
    own = f"{address}/".startswith((f"{here}/", "/")) and not str(said.get("standardID")).endswith("#async-1.0")
    return {"url": address, "here": own, "example": said.get("exampleURL"), "inputs": [*hidden, *inputs]}
