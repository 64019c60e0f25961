"""Serve ``/search?q=``: data, collections, tables and columns by words, as a page and as JSON.

``/search/suggest`` returns suggestions while the reader types.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven.adql.adql_writer import quote_adql_name
from hven.model import LruCache
from hven.model.table import translate_text
from hven.plugins.discovery import data_search, word_search
from hven.plugins.discovery.period_search import find_rows_in_period
from hven.plugins.discovery.searched_periods import find_searched_period
from hven.plugins.discovery.spelling import KnownWords, collect_known_words, replace_misspelt_words
from hven.plugins.discovery.value_index import ValueIndex
from hven.portal.api.page_rows import build_json_endpoint, build_query_runner, build_table_address
from hven.portal.api.pages import (
    DEFAULT_LANGUAGE,
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    list_languages,
    load_page_translations,
    record_to_dict,
)
from hven.portal.api.table_rows import QueryRunner, find_row_noun
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.table import Table
    from hven.plugins.discovery.searched_periods import SearchedPeriod
    from hven.plugins.discovery.value_index import ValueMatch
    from hven.plugins.discovery.word_search import MetadataHit
    from hven.services.face import ServiceContext
    from hven.site import PublishedState

SEARCH_PATH = "/search"
MAX_SEARCH_CHARACTERS = 200
MAX_SUGGESTIONS = 8
COUNT_WAIT_SECONDS = 0.3  # how long a page waits for counts that are not cached
MAX_COLUMN_HITS = 40  # of all columns
MIN_EXACT_SCORE = 100.0  # values that match exactly come before collections
MAX_KNOWN_WORDS_BYTES = 64 * 1024**2  # of all readers together
_DOI_PREFIX_PATTERN = re.compile(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)(?=10\.)", re.IGNORECASE)
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHits:
    """What a search by words finds.

    Attributes
    ----------
    hits
        Data, collections, tables and columns, the best first; each ``kind`` has its own keys.
    places
        Places with the name.
    late
        Whether some tables are not counted yet.
    corrected
        The words with corrected spelling, if only these find something.
    """

    hits: Sequence[Mapping[str, object]]
    places: Sequence[Mapping[str, object]]
    late: bool
    corrected: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage(TemplateContext):
    """The page of a search.

    Attributes
    ----------
    words
        Words of the search.
    found
        What it finds.
    """

    template = "discovery/search.html"
    words: str
    found: SearchHits


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/search`` and ``/search/suggest``."""

    async def show_search(page_context: PageContext) -> PageContent:
        words = _read_search_words(page_context)
        search_result = await anyio.to_thread.run_sync(_find_hits, words, page_context, COUNT_WAIT_SECONDS)
        page = SearchPage(words=words, found=search_result)
        return PageContent(page=page, json_content={"query": words, **record_to_dict(search_result)})

    async def suggest_hits(page_context: PageContext) -> PageContent:
        words = _read_search_words(page_context)
        search_result = await anyio.to_thread.run_sync(_find_hits, words, page_context, data_search.COUNT_WAIT_SECONDS)
        suggestions = {
            "hits": search_result.hits[:MAX_SUGGESTIONS],
            "late": search_result.late,
            "corrected": search_result.corrected,
        }
        return PageContent(json_content=suggestions)

    def count_public_values(published_state: PublishedState) -> None:
        """Count the values of public tables before the first search."""
        runner = QueryRunner(
            site=context.site, principal=ANONYMOUS_PRINCIPAL, policies=context.policies, published_state=published_state
        )
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies)
        searchable_tables = _select_searchable_tables(catalogue.iterate_tables(), published_state)
        try:
            context.site.get_or_create(ValueIndex).index_tables(searchable_tables, runner)
        except Exception:  # the site may be closing; the first search counts the values
            log.info("the values in the tables could not be counted in advance", exc_info=True)

    other_languages = [language for language in list_languages() if language != DEFAULT_LANGUAGE]
    catalogues = tuple(load_page_translations(language, "columns") for language in other_languages)
    context.site.get_or_create(ValueIndex).catalogues = catalogues

    context.site.add_change_task(count_public_values, name="words")
    endpoint = build_page_endpoint(show_search, context)
    return [
        Route(SEARCH_PATH, endpoint),
        Route(f"{SEARCH_PATH}.json", endpoint),
        Route(f"{SEARCH_PATH}/suggest", build_json_endpoint(suggest_hits, context)),
    ]


def _read_search_words(page_context: PageContext) -> str:
    return " ".join(page_context.request.query_params.get("q", "").split())[:MAX_SEARCH_CHARACTERS]


def _select_searchable_tables(tables: Iterable[Table], published_state: PublishedState) -> list[Table]:
    """Return the current tables of collections; tables of releases and of users are not searched."""
    searchable_tables = []
    for table in tables:
        is_current = table.qualified_name in published_state.tables_by_name and table.release is None
        if is_current and table.schema in published_state.resources:
            searchable_tables.append(table)
    return searchable_tables


def _find_hits(words: str, page_context: PageContext, wait_seconds: float) -> SearchHits:
    """Find data, collections, tables and columns, the best first; without any, look for words that are spelt alike."""
    search_words = _DOI_PREFIX_PATTERN.sub("", words)
    search_hits = _find_hits_of_words(search_words, page_context, wait_seconds)
    if search_hits.hits or search_hits.late or not words:
        return search_hits
    corrected_words = replace_misspelt_words(search_words, _load_known_words(page_context))
    if corrected_words is None:
        return search_hits
    corrected_hits = _find_hits_of_words(corrected_words, page_context, wait_seconds)
    if corrected_hits.hits:
        return replace(corrected_hits, corrected=corrected_words)
    return search_hits


def _load_known_words(page_context: PageContext) -> KnownWords:
    """Collect the words that the reader can find, once for each published state and access."""
    site = page_context.context.site
    known_words_cache = site.get_or_create(_create_known_words_cache)
    key = (page_context.published_state.version, page_context.catalogue.access_key, page_context.access_key)
    known_words = known_words_cache.find(key)
    if known_words is None:
        tables = _select_searchable_tables(page_context.catalogue.iterate_tables(), page_context.published_state)
        table_values, is_incomplete = site.get_or_create(ValueIndex).find_values(
            tables, build_query_runner(page_context), 0.0, key
        )
        texts = word_search.list_visible_texts(page_context.catalogue.schemas, page_context.published_state.resources)
        known_words = collect_known_words(table_values, texts)
        if not is_incomplete:
            known_words_cache.store(key, known_words, known_words.memory_bytes)
    return known_words


def _create_known_words_cache() -> LruCache[KnownWords]:
    return LruCache(MAX_KNOWN_WORDS_BYTES)


def _find_hits_of_words(words: str, page_context: PageContext, wait_seconds: float) -> SearchHits:
    """Find data, collections, tables and columns with all words, the best first."""
    published_state = page_context.published_state
    tables = _select_searchable_tables(page_context.catalogue.iterate_tables(), page_context.published_state)
    table_texts = word_search.collect_table_texts(page_context.catalogue.schemas, published_state.resources)
    key = (published_state.version, page_context.catalogue.access_key, page_context.access_key)
    search_words = partial(
        data_search.search_data,
        tables=tables,
        runner=build_query_runner(page_context),
        table_texts=table_texts,
        cache_key=key,
        wait_seconds=wait_seconds,
    )
    data = search_words(words)
    values = [_describe_value_match(value_hit, page_context) for value_hit in data.values]
    period = find_searched_period(words, page_context.language)
    periods = []
    if period is not None:
        periods = _describe_rows_in_period(
            period, tables, page_context, wait_seconds=wait_seconds, search_words=search_words
        )
    exact_hits = []
    other_hits = []
    for value_hit, match in zip(values, data.values, strict=True):
        if match.score >= MIN_EXACT_SCORE:
            exact_hits.append(value_hit)
        else:
            other_hits.append(value_hit)
    place_hits = [_describe_place_match(place, match, page_context) for place, match in data.place_matches]
    all_hits = word_search.find_metadata(words, page_context.catalogue.schemas, published_state.resources)
    published_tables = published_state.tables_by_name
    hits = [hit for hit in all_hits if hit.table is None or hit.table.qualified_name in published_tables]
    metadata_hits = [_describe_metadata_hit(hit, page_context) for hit in hits if hit.column is None]
    columns = [_describe_metadata_hit(hit, page_context) for hit in hits if hit.column is not None][:MAX_COLUMN_HITS]
    places = [
        {"name": place.name, "note": place.note, "target": place.target, "lon": place.longitude, "lat": place.latitude}
        for place in data.places
    ]
    return SearchHits(
        hits=[*exact_hits, *periods, *place_hits, *metadata_hits, *other_hits, *columns],
        places=places,
        late=data.is_incomplete,
    )


def _describe_rows_in_period(
    period: SearchedPeriod,
    tables: Sequence[Table],
    page_context: PageContext,
    *,
    wait_seconds: float,
    search_words: Callable[[str], data_search.DataSearchResult],
) -> list[dict[str, Any]]:
    """Describe rows of a period; `search_words` searches the other words."""
    runner = build_query_runner(page_context)
    data = search_words(period.other_words)
    matches = find_rows_in_period(period, data, tables, runner, wait_seconds=wait_seconds)
    return [_describe_value_match(match, page_context) for match in matches]


def _describe_table(table: Table, page_context: PageContext) -> dict[str, Any]:
    resource = page_context.published_state.resources[table.schema]
    collection_title = resource.title or table.schema
    return {
        "table": table.title or f"{translate_text(page_context.language, collection_title)}: {table.name}",
        "collection": table.schema,
        "collection_title": collection_title,
        "noun": find_row_noun(table, build_query_runner(page_context)),
    }


def _describe_value_match(match: ValueMatch, page_context: PageContext) -> dict[str, Any]:
    """Describe rows that have a value."""
    labels = page_context.build_column_labels(match.table)
    stored_conditions = match.conditions[: len(match.values)]
    columns = [match.table.find_column(name) for name, _ in stored_conditions]
    column_values = zip(columns, match.values, strict=True)
    text = match.text
    if match.values:
        text = ", ".join(labels.translate_code(column, value, is_plural=True) for column, value in column_values)
    address = f"{build_table_address(page_context.base, match.table)}?{urlencode(match.conditions)}"
    if match.row_count == 1:
        address += "#row"  # opens the panel of the row
    return {
        "kind": "value",
        "title": text,
        "rows": match.row_count,
        "columns": [labels.label_field(name) for name, _ in match.conditions if not name.startswith("_")],
        "url": address,
        "text": "",
        **_describe_table(match.table, page_context),
    }


def _describe_place_match(
    place: data_search.NamedPlace, match: ValueMatch, page_context: PageContext
) -> dict[str, Any]:
    """Describe rows around a place."""
    address = f"{build_table_address(page_context.base, match.table)}?{urlencode(match.conditions)}"
    return {
        "kind": "place",
        "title": place.name,
        "note": place.note,
        "rows": match.row_count,
        "radius": place.radius_degrees,
        "url": address,
        "text": "",
        **_describe_table(match.table, page_context),
    }


def _describe_metadata_hit(hit: MetadataHit, page_context: PageContext) -> dict[str, Any]:
    schema = hit.schema
    table = hit.table
    column = hit.column
    resource = page_context.published_state.resources[schema.name]
    collection_facts = {"collection": schema.name, "collection_title": resource.title or schema.name}
    if table is None:
        url = f"{page_context.base}/collections/{quote(schema.name)}"
        return {
            "kind": "collection",
            "title": resource.title or schema.name,
            "text": resource.description or "",
            "url": url,
            **collection_facts,
        }
    url = build_table_address(page_context.base, table)
    name = f"{quote_adql_name(schema.name)}.{quote_adql_name(table.name)}"
    if column is None:
        return {
            "kind": "table",
            "title": table.title or name,
            "name": name,
            "text": table.description or "",
            "url": url,
            **collection_facts,
        }
    labels = page_context.build_column_labels(table)
    return {
        "kind": "column",
        "title": labels.label_column(column),
        "name": f"{name}.{quote_adql_name(column.name)}",
        "unit": column.unit or "",
        "ucd": column.ucd or "",
        "text": column.description or "",
        "url": url,
        **collection_facts,
    }


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"home.search": "home_form.html", "error.search": "missing_page_form.html"},
    word_search_path=SEARCH_PATH,
)
