"""Serve the citations of collections and releases for programs, and pages of those that are gone.

These are DataCite and BibTeX documents, signposts, and tombstone pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import adql, services
from hven.model.errors import NotFoundError, format_message
from hven.model.resource import parse_orcid
from hven.plugins.registry.datacite import (
    CITATION_KINDS,
    UNAVAILABLE_VALUE,
    build_datacite_record,
    write_bibtex_from_record,
    write_datacite_xml,
)
from hven.portal.api.landing_pages import (
    LandingPageExtension,
    LinkedDocument,
    build_all_rows_query_address,
    build_cache_control,
    gather_citation_metadata,
    record_to_dict,
)
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
)
from hven.services.citations import find_licence_url, write_bibtex
from hven.services.face import wrap_endpoint_with_gates_and_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.citations import CitationMetadata
    from hven.services.face import ServiceContext

UNPUBLISHED_DOI_STATES = {"reserved", "draft"}  # states of DOIs that are not public
MAX_SIGNPOSTED_TABLES = 10  # tables that signposts link


@dataclass(frozen=True, slots=True, kw_only=True)
class TombstonePage(TemplateContext):
    """The page of a collection or a release that is gone.

    Attributes
    ----------
    title_of, people, publisher_of, year, doi
        Its title, authors, publisher, year and DOI.
    reason, withdrawn
        Why and on which day it was withdrawn; empty if that is not known.
    dates
        Days by the types of DataCite.
    described
        Its abstracts.
    instead
        What replaces it.
    documents
        Documents with its citation.
    """

    template = "registry/tombstone.html"
    title_of: str
    people: str
    publisher_of: str
    year: str
    doi: str | None
    reason: str | None
    withdrawn: str
    dates: Mapping[str, str]
    described: Sequence[str]
    instead: Sequence[Mapping[str, str]]
    documents: Sequence[LinkedDocument]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the documents."""

    async def send_citation(request: Request) -> Response:
        page_context = build_page_context(request, context)
        kind = request.path_params["kind"]
        body, tag = await anyio.to_thread.run_sync(_write_citation_with_etag, page_context)
        is_public = build_cache_control(page_context).startswith("public")
        cache_headers = services.build_cache_headers(tag, is_public=is_public)
        headers = {**cache_headers, "x-content-type-options": "nosniff", "access-control-allow-origin": "*"}
        return services.answer_with_etag(request, headers, CITATION_KINDS[kind][0], body)

    endpoint = wrap_endpoint_with_gates_and_errors(send_citation, build_error_responder(context))
    return [
        Route("/collections/{name}/cite/{kind}", endpoint),
        Route("/collections/{name}/releases/{label}/cite/{kind}", endpoint),
    ]


def _write_citation_with_etag(page_context: PageContext) -> tuple[bytes, str]:
    kind = page_context.request.path_params["kind"]
    if kind not in CITATION_KINDS:
        message = format_message("there is no citation format {kind!r}", kind[:40])
        remedy = format_message("choose one of {names}", ", ".join(CITATION_KINDS))
        raise NotFoundError(message, remedy=remedy)
    path_params = page_context.request.path_params
    name, label = path_params["name"], path_params.get("label", "")
    try:
        citation = gather_citation_metadata(page_context, name, label)
        datacite_record = build_datacite_record(citation)
        metadata = {**datacite_record, "url": citation.address}
        entry = write_bibtex(
            citation.resource, citation.address, label=citation.label, doi=citation.doi, year=citation.year
        )
    except NotFoundError:
        stored_citation = page_context.context.site.identifiers.find_doi_record(name, label)
        if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
            raise
        metadata = dict(stored_citation.told)
        entry_key = f"{name}-{label}" if label else name
        entry = write_bibtex_from_record({"url": stored_citation.url, **metadata}, entry_key)
    if kind == "bib":
        body = f"{entry}\n".encode()
    elif kind == "datacite.xml":
        body = write_datacite_xml(metadata).encode()
    else:
        body = orjson.dumps(metadata, option=orjson.OPT_INDENT_2)
    return body, services.compute_etag(body)


def _list_citation_documents(address: str) -> list[LinkedDocument]:
    return [
        LinkedDocument(url=f"{address}/cite/{kind}", type=media, name=title)
        for kind, (media, title) in CITATION_KINDS.items()
    ]


def build_signposting_header(page_context: PageContext, citation: CitationMetadata) -> dict[str, str]:
    """Return the header Link with identifier, authors, licence, metadata and rows of a page (signposting.org)."""
    if citation.doi:
        links = [(f"https://doi.org/{citation.doi}", "cite-as", "")]
    else:
        links = []
    links += [(f"{citation.address}/cite/{kind}", "describedby", media) for kind, (media, _) in CITATION_KINDS.items()]
    orcid_ids = [parse_orcid(person.orcid) for person in citation.creators]
    links += [(f"https://orcid.org/{orcid_id}", "author", "") for orcid_id in orcid_ids if orcid_id]
    licence_url = find_licence_url(citation.resource)
    if licence_url:
        links.append((licence_url, "license", ""))
    links += [("https://schema.org/Dataset", "type", ""), ("https://schema.org/AboutPage", "type", "")]
    for item in citation.items[:MAX_SIGNPOSTED_TABLES]:
        name = f"{adql.quote_adql_name(item.table.schema)}.{adql.quote_adql_name(item.table.name)}"
        rows_address = build_all_rows_query_address(page_context.brand.root, name, "votable")
        links.append((rows_address, "item", "application/x-votable+xml"))
    link_values = []
    for url, rel, media_type in links:
        link_value = f'<{quote(url, safe=":/?#[]@!$&()*+,;=%~-._")}>; rel="{rel}"'
        if media_type:
            link_value += f'; type="{media_type}"'
        link_values.append(link_value)
    return {"link": ", ".join(link_values)}


def build_tombstone(page_context: PageContext, name: str, label: str) -> PageContent | None:
    """Build the page of a collection or a release that is gone, with the reason: citations stay valid.

    None: nothing of that name was cited or withdrawn.
    """
    stored_citation = page_context.context.site.identifiers.find_doi_record(name, label)
    if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
        return None
    metadata: Mapping[str, Any] = stored_citation.told
    dates = {related["dateType"]: related["date"] for related in metadata.get("dates", ())}
    successors = []
    for related in metadata.get("relatedIdentifiers", ()):
        if related["relationType"] in {"IsPreviousVersionOf", "IsObsoletedBy"}:
            identifier = related["relatedIdentifier"]
            is_url = related["relatedIdentifierType"] == "URL"
            url = identifier if is_url else f"https://doi.org/{identifier}"
            successors.append({"id": identifier, "url": url})
    creator_names = [creator["name"] for creator in metadata.get("creators", ())]
    known_names = [name for name in creator_names if name != UNAVAILABLE_VALUE]
    descriptions = metadata.get("descriptions", ())
    abstracts = [item["description"] for item in descriptions if item["descriptionType"] == "Abstract"]
    page = TombstonePage(
        title_of=metadata["titles"][0]["title"],
        people=", ".join(known_names),
        publisher_of=metadata["publisher"]["name"],
        year=metadata.get("publicationYear", ""),
        doi=stored_citation.doi,
        reason=stored_citation.reason,
        withdrawn=stored_citation.changed[:10] if stored_citation.state == "withdrawn" else "",
        dates=dates,
        described=abstracts,
        instead=successors,
        documents=_list_citation_documents(stored_citation.url),
    )
    json_content = {name: value for name, value in record_to_dict(page).items() if name != "documents"}
    if stored_citation.doi:
        links = [f'<https://doi.org/{stored_citation.doi}>; rel="cite-as"']
    else:
        links = []
    links += [f'<{document.url}>; rel="describedby"; type="{document.type}"' for document in page.documents]
    headers = {"link": ", ".join(links)}
    return PageContent(page=page, json_content=json_content, status=410, headers=headers)


PAGES = PortalPages(build_routes=build_routes, template_directory=Path(__file__).parent / "pages")
LANDING_PAGES = LandingPageExtension(
    list_documents=_list_citation_documents,
    negotiated_paths={media_type: f"cite/{kind}" for kind, (media_type, _) in CITATION_KINDS.items()},
    build_headers=build_signposting_header,
    build_tombstone=build_tombstone,
)
