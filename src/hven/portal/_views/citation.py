"""Serve the citations of collections and releases.

These are DataCite and BibTeX documents, the page of a release, signposts for programs, and the tombstone page of
collections and releases that are gone.
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
from hven.portal._views.dataset_metadata import build_rows_address, build_schema_org_dataset
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
from hven.services.face import wrap_endpoint_with_error_responses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.services.citations import CitationMetadata
    from hven.services.face import ServiceContext

UNPUBLISHED_DOI_STATES = {"reserved", "draft"}  # states of DOIs that are not public
MAX_SIGNPOSTED_TABLES = 10  # tables that signposts link
HTML_MEDIA_TYPE = "text/html"
# media types of the landing page itself
LANDING_PAGE_MEDIA_TYPES = {
    HTML_MEDIA_TYPE,
    "application/xhtml+xml",
    "application/json",
}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the documents and the pages of releases."""

    async def send_citation(request: Request) -> Response:
        page_context = build_page_context(request, context)
        kind = request.path_params["kind"]
        body, tag = await anyio.to_thread.run_sync(_write_citation, page_context)
        is_public = build_cache_control(page_context).startswith("public")
        cache_headers = services.build_cache_headers(tag, is_public=is_public)
        headers = {**cache_headers, "x-content-type-options": "nosniff", "access-control-allow-origin": "*"}
        return services.answer_with_etag(request, headers, citations.CITATION_KINDS[kind][0], body)

    async def show_release(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_release_page, page_context)

    endpoint = wrap_endpoint_with_error_responses(send_citation, build_error_responder(context))
    page_of_release = build_page_endpoint(show_release, context)
    return [
        Route("/collections/{name}/cite/{kind}", endpoint),
        Route("/collections/{name}/releases/{label}/cite/{kind}", endpoint),
        Route("/collections/{name}/releases/{label}", wrap_with_citation_negotiation(page_of_release)),
    ]


def wrap_with_citation_negotiation(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Redirect a client that asks a landing page for DataCite metadata or BibTeX to that document.

    This is content negotiation as at doi.org.

    Parameters
    ----------
    endpoint
        The endpoint of the landing page, for all other clients.

    Returns
    -------
    endpoint
        Answers 303 to a client whose preferred known media type is one of `citations.CITATION_KINDS`.
    """
    documents = {media: kind for kind, (media, _) in citations.CITATION_KINDS.items()}

    async def answer_negotiated(request: Request) -> Response:
        accepted_types = list_accepted_media_types(request.headers.get("accept", ""))
        media_types = [media_type.partition(";")[0].lower() for media_type in accepted_types]
        known_types = [media for media in media_types if media in documents or media in LANDING_PAGE_MEDIA_TYPES]
        first_media_type = known_types[0] if known_types else HTML_MEDIA_TYPE
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
    """Return the names of the collection and the release in an address."""
    path_params = page_context.request.path_params
    return path_params["name"], path_params.get("label", "").removesuffix(".json")


def gather_citation_metadata(page_context: PageContext, name: str, label: str = "") -> CitationMetadata:
    """Gather the citation metadata of a collection or a release, as far as this reader may see them."""
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
        message = format_message("there is no citation format {kind!r}", kind[:40])
        remedy = format_message("choose one of {names}", ", ".join(citations.CITATION_KINDS))
        raise NotFoundError(message, remedy=remedy)
    name, label = _read_collection_and_release(page_context)
    try:
        citation = gather_citation_metadata(page_context, name, label)
        datacite_record = citations.build_datacite_record(citation)
        metadata = {**datacite_record, "url": citation.address}
        entry = _write_bibtex(citation)
    except NotFoundError:
        stored_citation = page_context.context.site.store.citations.find_citation(name, label)
        if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
            raise
        metadata = dict(stored_citation.told)
        entry_key = f"{name}-{label}" if label else name
        entry = citations.write_bibtex_from_record({"url": stored_citation.url, **metadata}, entry_key)
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
    """Describe the citation of a collection or a release for pages."""
    citation = gather_citation_metadata(page_context, name, label)
    sentence = citations.write_citation_sentence(
        citation.resource, label=citation.label, doi=citation.doi, year=citation.year
    )
    documents = [
        {"url": f"{citation.address}/cite/{kind}", "type": media, "name": title}
        for kind, (media, title) in citations.CITATION_KINDS.items()
    ]
    return {
        "one": citation,
        "cited": sentence,
        "bibtex": _write_bibtex(citation),
        "documents": documents,
        "withdrawn": citation.withdrawal_reason,
    }


def build_signposting_header(page_context: PageContext, name: str, label: str = "") -> dict[str, str]:
    """Return the header Link with identifier, authors, licence, metadata and rows of a page (signposting.org)."""
    try:
        citation = gather_citation_metadata(page_context, name, label)
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
    orcid_ids = [parse_orcid(person.orcid) for person in citation.creators]
    links += [(f"https://orcid.org/{orcid_id}", "author", "") for orcid_id in orcid_ids if orcid_id]
    licence_url = citations.find_licence_url(citation.resource)
    if licence_url:
        links.append((licence_url, "license", ""))
    links += [("https://schema.org/Dataset", "type", ""), ("https://schema.org/AboutPage", "type", "")]
    for item in citation.items[:MAX_SIGNPOSTED_TABLES]:
        name = f"{adql.quote_adql_name(item.table.schema)}.{adql.quote_adql_name(item.table.name)}"
        rows_address = build_rows_address(page_context.brand.root, name, "votable")
        links.append((rows_address, "item", "application/x-votable+xml"))
    link_values = []
    for url, rel, media_type in links:
        link_value = f'<{quote(url, safe=":/?#[]@!$&()*+,;=%~-._")}>; rel="{rel}"'
        if media_type:
            link_value += f'; type="{media_type}"'
        link_values.append(link_value)
    return {"link": ", ".join(link_values)}


def _build_release_page(page_context: PageContext) -> PageContent:
    """Build the page of a release."""
    name, label = _read_collection_and_release(page_context)
    try:
        citation_facts = describe_citation(page_context, name, label)
    except NotFoundError:
        return build_tombstone_page(page_context, name, label)
    citation: CitationMetadata = citation_facts["one"]
    runner = QueryRunner(
        site=page_context.context.site,
        principal=page_context.principal,
        policies=page_context.context.policies,
        published_state=page_context.published_state,
    )
    tables = [
        {
            "name": f"{adql.quote_adql_name(item.table.schema)}.{adql.quote_adql_name(item.table.name)}",
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
        "dataset": build_schema_org_dataset(facts, page_context, None, citation),
        "others": _list_neighbour_releases(citation),
    }
    table_entries = [{name: table[name] for name in ("name", "rows", "noun", "url")} for table in tables]
    json_content = {
        "collection": name,
        "release": citation.label,
        "title": citation.title,
        "doi": citation.doi,
        "released": citation.issued,
        "cited": citation_facts["cited"],
        "bibtex": citation_facts["bibtex"],
        "tables": table_entries,
    }
    headers = build_signposting_header(page_context, name, citation.label)
    return PageContent(
        template="release.html",
        template_values=content,
        json_content=json_content,
        headers=headers,
    )


def _list_neighbour_releases(citation: CitationMetadata) -> list[dict[str, str]]:
    """List the previous and the next release, with their relation to this one."""
    neighbour_releases = []
    for relation, ident in citation.relations:
        if relation in {"IsPreviousVersionOf", "IsNewVersionOf"}:
            url = ident if ident.startswith("http") else f"https://doi.org/{ident}"
            neighbour_releases.append({"url": url, "relation": relation})
    return neighbour_releases


def build_tombstone_page(page_context: PageContext, name: str, label: str) -> PageContent:
    """Build the page of a collection or a release that is gone, with the reason: citations stay valid.

    Raises
    ------
    NotFoundError
        Nothing of that name was cited or withdrawn.
    """
    stored_citation = page_context.context.site.store.citations.find_citation(name, label)
    if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
        message = format_message("there is no collection {name!r} here", name[:80])
        raise NotFoundError(message, remedy="see the first page for what is here")
    metadata: Mapping[str, Any] = stored_citation.told
    dates = {related["dateType"]: related["date"] for related in metadata.get("dates", ())}
    successors = []
    for related in metadata.get("relatedIdentifiers", ()):
        if related["relationType"] in {"IsPreviousVersionOf", "IsObsoletedBy"}:
            identifier = related["relatedIdentifier"]
            is_url = related["relatedIdentifierType"] == "URL"
            successors.append({"id": identifier, "url": identifier if is_url else f"https://doi.org/{identifier}"})
    creator_names = [creator["name"] for creator in metadata.get("creators", ())]
    known_names = [name for name in creator_names if name != citations.UNAVAILABLE_VALUE]
    descriptions = metadata.get("descriptions", ())
    abstracts = [item["description"] for item in descriptions if item["descriptionType"] == "Abstract"]
    content = {
        "title_of": metadata["titles"][0]["title"],
        "people": ", ".join(known_names),
        "publisher_of": metadata["publisher"]["name"],
        "year": metadata.get("publicationYear", ""),
        "doi": stored_citation.doi,
        "reason": stored_citation.reason,
        "withdrawn": stored_citation.changed[:10] if stored_citation.state == "withdrawn" else "",
        "dates": dates,
        "described": abstracts,
        "instead": successors,
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
