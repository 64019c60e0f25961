"""How a collection or a release is cited: its documents (DataCite, BibTeX), the page of a release, signposts for programs, and the tombstone of what is not here any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import adql
from hven import services as dali
from hven.formats import list_accepted
from hven.model.errors import NotFound, say
from hven.model.resource import orcid
from hven.portal._explore.page_queries import Asking
from hven.portal._pages import VARY
from hven.portal._views.counts import noun_of_rows
from hven.portal._views.facts import dataset, rows_at
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, asked, kept_by, page, refused
from hven.services import citing
from hven.services.face import careful

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.services.citing import Cited
    from hven.services.face import Surroundings

UNPUBLISHED = {"reserved", "draft"}  # states of DOIs that nobody outside knows
MOST = 10  # tables that signposts lead to
HTML = "text/html"
PAGE_TYPES = {HTML, "application/xhtml+xml", "application/json"}  # what a landing page itself answers


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the documents and the pages of releases."""

    async def document(request: Request) -> Response:
        state = asked(request, around)
        kind, (body, tag) = request.path_params["kind"], await anyio.to_thread.run_sync(_document, state)
        headers = {
            **dali.caching(tag, public=kept_by(state).startswith("public")), "x-content-type-options": "nosniff",
            "access-control-allow-origin": "*",
        }  # fmt: skip
        return dali.tagged(request, headers, citing.KINDS[kind][0], body)

    async def release(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(_release, state)

    shown = careful(document, refused(around))
    page_of_release = page(release, around)
    return [
        Route("/collections/{name}/cite/{kind}", shown),
        Route("/collections/{name}/releases/{label}/cite/{kind}", shown),
        Route("/collections/{name}/releases/{label}", negotiate_citation(page_of_release)),
    ]


def negotiate_citation(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Lead a client that asks a landing page for DataCite's metadata or for BibTeX to that document, as content negotiation at doi.org does.

    Parameters
    ----------
    endpoint
        Of the landing page, for all others.

    Returns
    -------
    endpoint
        It answers 303 to a client whose most wanted known media type is one of `citing.KINDS`.
    """
    documents = {media: kind for kind, (media, _) in citing.KINDS.items()}

    async def answer(request: Request) -> Response:
        accepted = (media.partition(";")[0].lower() for media in list_accepted(request.headers.get("accept", "")))
        first = next((media for media in accepted if media in documents or media in PAGE_TYPES), HTML)
        if first not in documents:
            return await endpoint(request)
        # relative to the page: the same behind any proxy and in any portal
        place = quote(request.url.path.rpartition("/")[2])
        headers = {"location": f"{place}/cite/{documents[first]}", "vary": VARY, "access-control-allow-origin": "*"}
        return Response(status_code=303, headers=headers)

    return answer


def _wanted(state: Asked) -> tuple[str, str]:
    """Return which collection and release an address names."""
    given = state.request.path_params
    return given["name"], given.get("label", "").removesuffix(".json")


def cited(state: Asked, name: str, label: str = "") -> Cited:
    """Gather how something is cited, as far as this reader may know of it."""
    return citing.cited(state.around, state.holdings, state.catalogue, name, label, base=state.brand.root)


def _document(state: Asked) -> tuple[bytes, str]:
    kind = state.request.path_params["kind"]
    if kind not in citing.KINDS:
        raise NotFound(say("there is no citation as {kind!r}", kind[:40]), remedy=say("there are: {names}", ", ".join(citing.KINDS)))  # fmt: skip
    name, label = _wanted(state)
    try:
        one = cited(state, name, label)
        made, entry = {**citing.datacite(one), "url": one.address}, _bibtex(one)
    except NotFound:
        known = state.around.site.store.citations.find(name, label)
        if known is None or not known.told or known.state in UNPUBLISHED:
            raise
        made = dict(known.told)
        entry = citing.bibtex_of_record({"url": known.url, **made}, f"{name}-{label}" if label else name)
    if kind == "bib":
        body = f"{entry}\n".encode()
    else:
        body = citing.datacite_xml(made).encode() if kind == "datacite.xml" else orjson.dumps(made, option=orjson.OPT_INDENT_2)  # fmt: skip
    return body, dali.etag(body)


def _bibtex(one: Cited) -> str:
    return citing.bibtex(one.resource, one.address, label=one.label, doi=one.doi, year=one.year)


def citing_of(state: Asked, name: str, label: str = "") -> dict[str, Any]:
    """Return what pages say of how something is cited."""
    one = cited(state, name, label)
    return {
        "one": one,
        "cited": citing.sentence(one.resource, label=one.label, doi=one.doi, year=one.year),
        "bibtex": _bibtex(one),
        "documents": [{"url": f"{one.address}/cite/{kind}", "type": media, "name": title} for kind, (media, title) in citing.KINDS.items()],
        "withdrawn": one.withdrawn,
    }  # fmt: skip


def signposts(state: Asked, name: str, label: str = "") -> dict[str, str]:
    """Return the header by which programs find identifier, authors, licence, metadata and rows of what a page is about (signposting.org)."""
    try:
        one = cited(state, name, label)
    except NotFound:
        return {}
    found = [(f"https://doi.org/{one.doi}", "cite-as", "")] if one.doi else []
    found += [(f"{one.address}/cite/{kind}", "describedby", media) for kind, (media, _) in citing.KINDS.items()]
    found += [(f"https://orcid.org/{known}", "author", "") for person in one.people if (known := orcid(person.orcid))]
    found += [(url, "license", "")] if (url := citing.rights_url(one.resource)) else []
    found += [("https://schema.org/Dataset", "type", ""), ("https://schema.org/AboutPage", "type", "")]
    for item in one.items[:MOST]:
        name = f"{adql.quote(item.table.schema)}.{adql.quote(item.table.name)}"
        found.append((rows_at(state.brand.root, name, "votable"), "item", "application/x-votable+xml"))
    told = (f'<{quote(url, safe=":/?#[]@!$&()*+,;=%~-._")}>; rel="{rel}"' + (f'; type="{kind}"' if kind else "") for url, rel, kind in found)  # fmt: skip
    return {"link": ", ".join(told)}


def _release(state: Asked) -> Page:
    """Say what a release is."""
    name, label = _wanted(state)
    try:
        told = citing_of(state, name, label)
    except NotFound:
        return tombstone(state, name, label)
    one: Cited = told["one"]
    asking = Asking(site=state.around.site, who=state.who, policies=state.around.policies, holdings=state.holdings)
    tables = [
        {
            "name": f"{adql.quote(item.table.schema)}.{adql.quote(item.table.name)}", "table": item.table, "rows": asking.published(item.table).rows, "noun": noun_of_rows(item.table, asking), "updated": item.updated,
            "url": address(state.base, item.table), "columns": [{"column": column} for column in item.table.columns if not column.hidden],
        } for item in one.items
    ]  # fmt: skip
    facts = {"resource": one.resource, "name": name, "tables": tables, "updated": one.updated, "mirror_of": ()}
    content = {**told, "tables": tables, "above": f"{state.base}/collections/{quote(name)}", "r": one.resource, "dataset": dataset(facts, state, None, one), "others": _others(one)}  # fmt: skip
    twin = {"collection": name, "release": one.label, "title": one.title, "doi": one.doi, "released": one.issued, "cited": told["cited"], "bibtex": told["bibtex"], "tables": [{"name": each["name"], "rows": each["rows"], "noun": each["noun"], "url": each["url"]} for each in tables]}  # fmt: skip
    return Page(template="release.html", content=content, twin=twin, headers=signposts(state, name, one.label))


def _others(one: Cited) -> list[dict[str, str]]:
    """List the neighbours of a release, by what it is to them."""
    return [
        {"url": ident if ident.startswith("http") else f"https://doi.org/{ident}", "relation": relation}
        for relation, ident in one.relations
        if relation in {"IsPreviousVersionOf", "IsNewVersionOf"}
    ]


def tombstone(state: Asked, name: str, label: str) -> Page:
    """Say what stood here, and why it does not any more: what was cited stays so.

    Raises
    ------
    NotFound
        Nothing of that name was cited or withdrawn.
    """
    known = state.around.site.store.citations.find(name, label)
    if known is None or not known.told or known.state in UNPUBLISHED:
        raise NotFound(say("there is no collection {name!r} here", name[:80]), remedy="the first page lists what is here")  # fmt: skip
    told: Mapping[str, Any] = known.told
    dates = {one["dateType"]: one["date"] for one in told.get("dates", ())}
    new = [one for one in told.get("relatedIdentifiers", ()) if one["relationType"] in {"IsPreviousVersionOf", "IsObsoletedBy"}]  # fmt: skip
    content = {
        "title_of": told["titles"][0]["title"],
        "people": ", ".join(one["name"] for one in told.get("creators", ()) if one["name"] != citing.UNAVAILABLE),
        "publisher_of": told["publisher"]["name"],
        "year": told.get("publicationYear", ""),
        "doi": known.doi,
        "reason": known.reason,
        "withdrawn": known.changed[:10] if known.state == "withdrawn" else "",
        "dates": dates,
        "described": [one["description"] for one in told.get("descriptions", ()) if one["descriptionType"] == "Abstract"],
        "instead": [{"id": one["relatedIdentifier"], "url": one["relatedIdentifier"] if one["relatedIdentifierType"] == "URL" else f"https://doi.org/{one['relatedIdentifier']}"} for one in new],
        "documents": [{"url": f"{known.url}/cite/{kind}", "type": media, "name": words} for kind, (media, words) in citing.KINDS.items()],
    }  # fmt: skip
    twin = {key: value for key, value in content.items() if key != "documents"}
    links = [f'<https://doi.org/{known.doi}>; rel="cite-as"'] if known.doi else []
    links += [f'<{one["url"]}>; rel="describedby"; type="{one["type"]}"' for one in content["documents"]]
    return Page(template="tombstone.html", content=content, twin=twin, status=410, headers={"link": ", ".join(links)})
