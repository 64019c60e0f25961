"""How a collection or a release is cited.

Its documents (DataCite, BibTeX), the page of a release, signposts for programs, and the tombstone of what is not here
any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import adql, services
from hven.formats import list_accepted_media_types
from hven.model.errors import NotFoundError, format_message
from hven.model.resource import parse_orcid
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._pages import VARY_HEADERS
from hven.portal._views.counts import find_row_noun
from hven.portal._views.dataset_metadata import build_dataset, build_rows_address
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_cache_control,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
)
from hven.services import citations
from hven.services.face import answer_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.services.citations import CitationMetadata
    from hven.services.face import ServiceContext

UNPUBLISHED_DOI_STATES = {"reserved", "draft"}  # states of DOIs that nobody outside knows
MAX_SIGNPOSTED_TABLES = 10  # tables that signposts lead to
HTML_MEDIA_TYPE = "text/html"
LANDING_PAGE_MEDIA_TYPES = {
    HTML_MEDIA_TYPE,
    "application/xhtml+xml",
    "application/json",
}  # what a landing page itself answers


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the documents and the pages of releases."""

    async def send_citation(request: Request) -> Response:
        page_context = build_page_context(request, context)
        kind, (body, tag) = request.path_params["kind"], await anyio.to_thread.run_sync(_write_citation, page_context)
        cache_headers = services.build_cache_headers(
            tag, is_public=build_cache_control(page_context).startswith("public")
        )
        headers = {
            **cache_headers,
            "x-content-type-options": "nosniff",
            "access-control-allow-origin": "*",
        }
        return services.answer_with_etag(request, headers, citations.CITATION_KINDS[kind][0], body)

    async def show_release(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_show_release, page_context)

    endpoint = answer_errors(send_citation, build_error_responder(context))
    page_of_release = build_page_endpoint(show_release, context)
    return [
        Route("/collections/{name}/cite/{kind}", endpoint),
        Route("/collections/{name}/releases/{label}/cite/{kind}", endpoint),
        Route("/collections/{name}/releases/{label}", wrap_with_negotiation(page_of_release)),
    ]


def wrap_with_negotiation(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Lead a client that asks a landing page for DataCite's metadata or for BibTeX to that document, as content negotiation at doi.org does.

    Parameters
    ----------
    endpoint
        Of the landing page, for all others.

    Returns
    -------
    endpoint
        It answers 303 to a client whose most wanted known media type is one of `citations.CITATION_KINDS`.
    """
    documents = {media: kind for kind, (media, _) in citations.CITATION_KINDS.items()}

    async def answer_negotiated(request: Request) -> Response:
        accepted = (
            media.partition(";")[0].lower() for media in list_accepted_media_types(request.headers.get("accept", ""))
        )
        first_media_type = next(
            (media for media in accepted if media in documents or media in LANDING_PAGE_MEDIA_TYPES), HTML_MEDIA_TYPE
        )
        if first_media_type not in documents:
            return await endpoint(request)
        # relative to the page: the same behind any proxy and in any portal
        page_name = quote(request.url.path.rpartition("/")[2])
        headers = {
            "location": f"{page_name}/cite/{documents[first_media_type]}",
            "vary": VARY_HEADERS,
            "access-control-allow-origin": "*",
        }
        return Response(status_code=303, headers=headers)

    return answer_negotiated


def _read_collection_and_release(page_context: PageContext) -> tuple[str, str]:
    """Return which collection and release an address names."""
    path_params = page_context.request.path_params
    return path_params["name"], path_params.get("label", "").removesuffix(".json")


def gather_citation(page_context: PageContext, name: str, label: str = "") -> CitationMetadata:
    """Gather how something is cited, as far as this reader may know of it."""
    return citations.collect_citation_metadata(
        page_context.context,
        page_context.published_state,
        page_context.catalogue,
        name,
        label,
        base_url=page_context.brand.root,
    )


def _write_citation(page_context: PageContext) -> tuple[bytes, str]:
    kind = page_context.request.path_params["kind"]
    if kind not in citations.CITATION_KINDS:
        raise NotFoundError(
            format_message("there is no citation as {kind!r}", kind[:40]),
            remedy=format_message("there are: {names}", ", ".join(citations.CITATION_KINDS)),
        )
    name, label = _read_collection_and_release(page_context)
    try:
        citation = gather_citation(page_context, name, label)
        datacite_record = citations.build_datacite_record(citation)
        metadata = {**datacite_record, "url": citation.address}
        entry = _write_bibtex(citation)
    except NotFoundError:
        stored_citation = page_context.context.site.store.citations.find_citation(name, label)
        if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
            raise
        metadata = dict(stored_citation.told)
        entry = citations.write_bibtex_from_record(
            {"url": stored_citation.url, **metadata}, f"{name}-{label}" if label else name
        )
    if kind == "bib":
        body = f"{entry}\n".encode()
    elif kind == "datacite.xml":
        body = citations.write_datacite_xml(metadata).encode()
    else:
        body = orjson.dumps(metadata, option=orjson.OPT_INDENT_2)
    return body, services.compute_etag(body)


def _write_bibtex(citation: CitationMetadata) -> str:
    return citations.write_bibtex(
        citation.resource, citation.address, label=citation.label, doi=citation.doi, year=citation.year
    )


def describe_citation(page_context: PageContext, name: str, label: str = "") -> dict[str, Any]:
    """Return what pages say of how something is cited."""
    citation = gather_citation(page_context, name, label)
    return {
        "one": citation,
        "cited": citations.write_citation_sentence(
            citation.resource, label=citation.label, doi=citation.doi, year=citation.year
        ),
        "bibtex": _write_bibtex(citation),
        "documents": [
            {"url": f"{citation.address}/cite/{kind}", "type": media, "name": title}
            for kind, (media, title) in citations.CITATION_KINDS.items()
        ],
        "withdrawn": citation.withdrawal_reason,
    }


def build_signposts(page_context: PageContext, name: str, label: str = "") -> dict[str, str]:
    """Return the header by which programs find identifier, authors, licence, metadata and rows of what a page is about (signposting.org)."""
    try:
        citation = gather_citation(page_context, name, label)
    except NotFoundError:
        return {}
    if citation.doi:
        links = [(f"https://doi.org/{citation.doi}", "cite-as", "")]
    else:
        links = []
    links += [
        (f"{citation.address}/cite/{kind}", "describedby", media)
        for kind, (media, _) in citations.CITATION_KINDS.items()
    ]
    links += [
        (f"https://orcid.org/{orcid_id}", "author", "")
        for person in citation.creators
        if (orcid_id := parse_orcid(person.orcid))
    ]
    links += [(url, "license", "")] if (url := citations.find_licence_url(citation.resource)) else []
    links += [("https://schema.org/Dataset", "type", ""), ("https://schema.org/AboutPage", "type", "")]
    for item in citation.items[:MAX_SIGNPOSTED_TABLES]:
        name = f"{adql.quote_name(item.table.schema)}.{adql.quote_name(item.table.name)}"
        rows_address = build_rows_address(page_context.brand.root, name, "votable")
        links.append((rows_address, "item", "application/x-votable+xml"))
    link_values = (
        f'<{quote(url, safe=":/?#[]@!$&()*+,;=%~-._")}>; rel="{rel}"' + (f'; type="{kind}"' if kind else "")
        for url, rel, kind in links
    )
    return {"link": ", ".join(link_values)}


def _show_release(page_context: PageContext) -> PageContent:
    """Say what a release is."""
    name, label = _read_collection_and_release(page_context)
    try:
        citation_facts = describe_citation(page_context, name, label)
    except NotFoundError:
        return show_tombstone(page_context, name, label)
    citation: CitationMetadata = citation_facts["one"]
    runner = QueryRunner(
        site=page_context.context.site,
        principal=page_context.principal,
        policies=page_context.context.policies,
        published_state=page_context.published_state,
    )
    tables = [
        {
            "name": f"{adql.quote_name(item.table.schema)}.{adql.quote_name(item.table.name)}",
            "table": item.table,
            "rows": runner.find_published_table(item.table).rows,
            "noun": find_row_noun(item.table, runner),
            "updated": item.updated,
            "url": build_table_address(page_context.base, item.table),
            "columns": [{"column": column} for column in item.table.columns if not column.hidden],
        }
        for item in citation.items
    ]
    facts = {
        "resource": citation.resource,
        "name": name,
        "tables": tables,
        "updated": citation.updated,
        "mirror_of": (),
    }
    content = {
        **citation_facts,
        "tables": tables,
        "above": f"{page_context.base}/collections/{quote(name)}",
        "r": citation.resource,
        "dataset": build_dataset(facts, page_context, None, citation),
        "others": _list_neighbour_releases(citation),
    }
    json_content = {
        "collection": name,
        "release": citation.label,
        "title": citation.title,
        "doi": citation.doi,
        "released": citation.issued,
        "cited": citation_facts["cited"],
        "bibtex": citation_facts["bibtex"],
        "tables": [
            {"name": table["name"], "rows": table["rows"], "noun": table["noun"], "url": table["url"]}
            for table in tables
        ],
    }
    headers = build_signposts(page_context, name, citation.label)
    return PageContent(
        template="release.html",
        template_values=content,
        json_content=json_content,
        headers=headers,
    )


def _list_neighbour_releases(citation: CitationMetadata) -> list[dict[str, str]]:
    """List the neighbours of a release, by what it is to them."""
    return [
        {"url": ident if ident.startswith("http") else f"https://doi.org/{ident}", "relation": relation}
        for relation, ident in citation.relations
        if relation in {"IsPreviousVersionOf", "IsNewVersionOf"}
    ]


def show_tombstone(page_context: PageContext, name: str, label: str) -> PageContent:
    """Say what stood here, and why it does not any more: what was cited stays so.

    Raises
    ------
    NotFoundError
        Nothing of that name was cited or withdrawn.
    """
    stored_citation = page_context.context.site.store.citations.find_citation(name, label)
    if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
        raise NotFoundError(
            format_message("there is no collection {name!r} here", name[:80]),
            remedy="the first page lists what is here",
        )
    metadata: Mapping[str, Any] = stored_citation.told
    dates = {related["dateType"]: related["date"] for related in metadata.get("dates", ())}
    successors = [
        related
        for related in metadata.get("relatedIdentifiers", ())
        if related["relationType"] in {"IsPreviousVersionOf", "IsObsoletedBy"}
    ]
    content = {
        "title_of": metadata["titles"][0]["title"],
        "people": ", ".join(
            related["name"]
            for related in metadata.get("creators", ())
            if related["name"] != citations.UNAVAILABLE_VALUE
        ),
        "publisher_of": metadata["publisher"]["name"],
        "year": metadata.get("publicationYear", ""),
        "doi": stored_citation.doi,
        "reason": stored_citation.reason,
        "withdrawn": stored_citation.changed[:10] if stored_citation.state == "withdrawn" else "",
        "dates": dates,
        "described": [
            related["description"]
            for related in metadata.get("descriptions", ())
            if related["descriptionType"] == "Abstract"
        ],
        "instead": [
            {
                "id": related["relatedIdentifier"],
                "url": related["relatedIdentifier"]
                if related["relatedIdentifierType"] == "URL"
                else f"https://doi.org/{related['relatedIdentifier']}",
            }
            for related in successors
        ],
        "documents": [
            {"url": f"{stored_citation.url}/cite/{kind}", "type": media, "name": words}
            for kind, (media, words) in citations.CITATION_KINDS.items()
        ],
    }
    json_content = {key: value for key, value in content.items() if key != "documents"}
    if stored_citation.doi:
        links = [f'<https://doi.org/{stored_citation.doi}>; rel="cite-as"']
    else:
        links = []
    links += [f'<{related["url"]}>; rel="describedby"; type="{related["type"]}"' for related in content["documents"]]
    headers = {"link": ", ".join(links)}
    return PageContent(
        template="tombstone.html",
        template_values=content,
        json_content=json_content,
        status=410,
        headers=headers,
    )
