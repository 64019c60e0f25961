"""Serve the citations of collections and releases.

These are DataCite and BibTeX documents, the page of a release, signposts for programs, and the tombstone page of
collections and releases that are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
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
from hven.portal._pages import VARY_HEADERS, TemplateContext, record_to_dict
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

    from hven.model.table import Table
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationDocument:
    """A document with a citation: its address, its media type and its title."""

    url: str
    type: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationDescription:
    """The citation of a collection or a release: its metadata, as a sentence, as BibTeX, and as documents."""

    metadata: CitationMetadata
    cited: str
    bibtex: str
    documents: Sequence[CitationDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseTable:
    """A table of a release.

    Attributes
    ----------
    name
        Its name as in a query.
    rows, noun
        Number of rows, and what they are.
    url
        Address of its page.
    """

    table: Table
    name: str
    rows: int | None
    noun: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePage(TemplateContext):
    """The page of a release.

    Attributes
    ----------
    citation
        Its citation.
    above
        Address of the collection's page.
    tables
        Its tables.
    dataset
        Its description for search engines (schema.org).
    others
        The previous and the next release.
    """

    template = "release.html"
    citation: CitationDescription
    above: str
    tables: Sequence[ReleaseTable]
    dataset: Mapping[str, object]
    others: Sequence[Mapping[str, object]]


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

    template = "tombstone.html"
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
    documents: Sequence[CitationDocument]


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
        stored_citation = page_context.context.site.identifiers.find_citation(name, label)
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


def describe_citation(page_context: PageContext, name: str, label: str = "") -> CitationDescription:
    """Describe the citation of a collection or a release for pages."""
    citation = gather_citation_metadata(page_context, name, label)
    sentence = citations.write_citation_sentence(
        citation.resource, label=citation.label, doi=citation.doi, year=citation.year
    )
    return CitationDescription(
        metadata=citation,
        cited=sentence,
        bibtex=_write_bibtex(citation),
        documents=_list_citation_documents(citation.address),
    )


def _list_citation_documents(address: str) -> list[CitationDocument]:
    return [
        CitationDocument(url=f"{address}/cite/{kind}", type=media, name=title)
        for kind, (media, title) in citations.CITATION_KINDS.items()
    ]


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
        description = describe_citation(page_context, name, label)
    except NotFoundError:
        return build_tombstone_page(page_context, name, label)
    citation = description.metadata
    runner = QueryRunner(
        site=page_context.context.site,
        principal=page_context.principal,
        policies=page_context.context.policies,
        published_state=page_context.published_state,
    )
    tables = [
        ReleaseTable(
            table=item.table,
            name=f"{adql.quote_adql_name(item.table.schema)}.{adql.quote_adql_name(item.table.name)}",
            rows=runner.find_published_table(item.table).rows,
            noun=find_row_noun(item.table, runner),
            url=build_table_address(page_context.base, item.table),
        )
        for item in citation.items
    ]
    page = ReleasePage(
        citation=description,
        above=f"{page_context.base}/collections/{quote(name)}",
        tables=tables,
        dataset=build_schema_org_dataset(
            name, page_context, citation, tables=[table.table for table in tables], updated=citation.updated
        ),
        others=_list_neighbour_releases(citation),
    )
    table_entries = [{"name": table.name, "rows": table.rows, "noun": table.noun, "url": table.url} for table in tables]
    json_content = {
        "collection": name,
        "release": citation.label,
        "title": citation.title,
        "doi": citation.doi,
        "released": citation.issued,
        "cited": description.cited,
        "bibtex": description.bibtex,
        "tables": table_entries,
    }
    headers = build_signposting_header(page_context, name, citation.label)
    return PageContent(page=page, json_content=json_content, headers=headers)


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
    stored_citation = page_context.context.site.identifiers.find_citation(name, label)
    if stored_citation is None or not stored_citation.told or stored_citation.state in UNPUBLISHED_DOI_STATES:
        message = format_message("there is no collection {name!r} here", name[:80])
        raise NotFoundError(message, remedy="see the collections on the first page")
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
    known_names = [name for name in creator_names if name != citations.UNAVAILABLE_VALUE]
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
