"""Describe the citations of collections and releases, and serve the page of a release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
from starlette.routing import Route

from hven import adql
from hven.model.errors import NotFoundError
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._pages import TemplateContext
from hven.portal._views.counts import find_row_noun
from hven.portal._views.dataset_metadata import build_schema_org_dataset
from hven.portal._views.landing_pages import (
    build_landing_page_headers,
    build_tombstone_page,
    list_landing_page_documents,
    wrap_with_document_negotiation,
)
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint
from hven.services import citations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table
    from hven.portal._views.landing_pages import LinkedDocument
    from hven.services.citations import CitationMetadata
    from hven.services.face import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class CitationDescription:
    """The citation of a collection or a release: its metadata, as a sentence, as BibTeX, and as documents."""

    metadata: CitationMetadata
    cited: str
    bibtex: str
    documents: Sequence[LinkedDocument]


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


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the pages of releases."""

    async def show_release(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_release_or_tombstone_page, page_context)

    endpoint = wrap_with_document_negotiation(build_page_endpoint(show_release, context))
    return [Route("/collections/{name}/releases/{label}", endpoint)]


def _read_collection_and_release(page_context: PageContext) -> tuple[str, str]:
    """Return the names of the collection and the release in an address."""
    path_params = page_context.request.path_params
    return path_params["name"], path_params.get("label", "").removesuffix(".json")


def gather_citation_metadata(page_context: PageContext, name: str, label: str = "") -> CitationMetadata:
    """Gather the citation metadata of a collection or a release, as far as this reader may see them.

    Parameters
    ----------
    page_context
        The request of a page.
    name, label
        Names of the collection and of the release; an empty label means the collection as a whole.

    Returns
    -------
    citation_metadata
        What it is cited by.
    """
    return citations.collect_citation_metadata(
        page_context.context,
        page_context.published_state,
        page_context.catalogue,
        name,
        label,
        base_url=page_context.brand.root,
    )


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
        documents=list_landing_page_documents(citation.address),
    )


def _build_release_or_tombstone_page(page_context: PageContext) -> PageContent:
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
            rows=runner.find_table_with_visible_counts(item.table).rows,
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
    headers = build_landing_page_headers(page_context, citation)
    return PageContent(page=page, json_content=json_content, headers=headers)


def _list_neighbour_releases(citation: CitationMetadata) -> list[dict[str, str]]:
    """List the previous and the next release, with their relation to this one."""
    neighbour_releases = []
    for relation, ident in citation.relations:
        if relation in {"IsPreviousVersionOf", "IsNewVersionOf"}:
            if ident.startswith("http"):
                url = ident
            else:
                url = f"https://doi.org/{ident}"
            neighbour_releases.append({"url": url, "relation": relation})
    return neighbour_releases
