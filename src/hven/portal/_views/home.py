"""Serve ``/``: the data centre and its collections, as cards and as a tree with counts; ``/tree`` as JSON.

Also serve ``/robots.txt``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.table import FILES_UTYPE
from hven.portal._explore.collection_overviews import CollectionOverview
from hven.portal._explore.count_trees import CountTreeCache, CountTreeNode
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._pages import TemplateContext
from hven.portal._pages.markdown import read_translated_or_original_file, render_markdown
from hven.portal._pages.package_pages import find_package_page_address
from hven.portal._views.collection import collection_to_json, describe_collection, list_picture_strip_entries
from hven.portal._views.counts import VisibleRowCounter, count_observation_lines_by_table
from hven.portal._views.help_pages import NOTE_CACHE, find_collection_thumbnail_address, list_visible_collections
from hven.portal._views.news import describe_news_item
from hven.portal._views.overview_pictures import summarize_collections_in_time
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_json_endpoint,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
)
from hven.portal._views.table_view import build_query_runner
from hven.services.file_rows import NOUNS, CountWithNoun
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup
    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.portal._views.collection import CollectionDescription
    from hven.portal._views.news import NewsItem
    from hven.services.face import ServiceContext
    from hven.site import PublishedState

# Search engines may read the pages, but not query the data: an address with a query is a search, and costs a query of
# the tables. The longest rule that matches an address counts (RFC 9309).
ROBOTS_TXT = """\
User-agent: *
Allow: {root}/*?lang=
Disallow: {root}/*?
Disallow: {root}/tap/sync
Disallow: {root}/tap/async
Disallow: {root}/jobs
Disallow: {root}/cone/
Sitemap: {site}/sitemap.xml
"""
MAX_LISTED_VALUES = 20  # values of a column in an address of the tree
TREE_WAIT_SECONDS = 1.0  # a page waits this long for the tree; later pages have it
RETRY_SECONDS = 1.0  # between two attempts to count again what failed
MAX_NEWS = 5  # news, and updates, on the page
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionCard:
    """The card of a collection.

    Attributes
    ----------
    collection
        The collection.
    thumbnail
        Address of its picture; empty if there is none.
    years
        The first and the last year.
    targets
        Names of its targets.
    """

    collection: CollectionDescription
    thumbnail: str
    years: tuple[str, str] | None
    targets: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HomePage(TemplateContext):
    """The home page of the site or of a portal.

    Attributes
    ----------
    collections
        Cards of the collections.
    tree
        The collections as a tree; None while it is counted.
    text
        Text of the site or the portal.
    news
        The last news.
    updates
        Collections that were published last.
    strip
        Pictures of rows.
    pictures_come
        Whether a script fetches the pictures, because they are not ready.
    amounts
        What all collections have, by noun.
    catalogue
        Description for search engines (schema.org).
    """

    template = "home.html"
    collections: Sequence[CollectionCard]
    tree: Sequence[Mapping[str, object]] | None
    text: Markup | None
    news: Sequence[NewsItem]
    updates: Sequence[CollectionDescription]
    strip: Sequence[Mapping[str, object]]
    pictures_come: bool
    amounts: Sequence[CountWithNoun]
    catalogue: Mapping[str, object]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/``, ``/tree`` and ``/robots.txt``."""
    endpoints = _HomeEndpoints(context)
    context.site.add_change_task(endpoints.cache_public_tree_counts, name="tree")
    front = build_page_endpoint(
        endpoints.show_home,
        context,
        document_cache=services.DocumentCache(),
        compute_state=endpoints.compute_home_state,
    )
    return [
        Route("/", front),
        Route("/index.json", front),
        Route("/collections", build_page_endpoint(endpoints.list_collections, context)),
        Route("/tree", build_json_endpoint(endpoints.show_tree, context)),
        Route("/robots.txt", endpoints.send_robots_txt),
    ]


class _HomeEndpoints:
    """The endpoints of the home page and its data."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.settings = context.site.settings
        self.directory = self.settings.directory
        self.counts = VisibleRowCounter(context)
        self.trees = CountTreeCache()

    async def compute_home_state(self, page_context: PageContext) -> object:
        brand = page_context.brand
        folders = [self.directory / brand.news, (self.directory / brand.text).parent]
        folders += [resource.path.parent / self.settings.help for resource in list_visible_collections(page_context)]
        directory_states = [NOTE_CACHE.find_directory_state(folder) for folder in folders]
        has_tree = self.is_tree_counted(page_context) or await self.build_tree_in_time(page_context) is not None
        tree_state = (has_tree, self.count_uncounted_tables(page_context))
        observation_counts = await self.count_observations_in_time(page_context)
        if observation_counts is None:
            counted_tables = None
        else:
            counted_tables = sum(lines is not None for lines in observation_counts.values())
        has_overviews = await self.build_collection_overviews_in_time(page_context) is not None
        return (*directory_states, tree_state, has_overviews, counted_tables)

    @staticmethod
    async def build_collection_overviews_in_time(page_context: PageContext) -> dict[str, CollectionOverview] | None:
        """Return the overview of each collection; None if they are not ready in time."""
        tables_by_collection = _group_tables_by_collection(page_context)
        overviews = await summarize_collections_in_time(page_context, list(tables_by_collection.values()))
        if overviews is None:
            return None
        return dict(zip(tables_by_collection, overviews, strict=True))

    async def count_observations_in_time(self, page_context: PageContext) -> dict[str, int | None] | None:
        """Return the number of observations of each table; None if they are not counted in time."""
        tables = _list_shown_tables(page_context)
        with anyio.move_on_after(TREE_WAIT_SECONDS):
            return await self.counts.count_observations_of_tables(
                page_context.published_state, tables, page_context.principal
            )
        return None

    def is_tree_counted(self, page_context: PageContext) -> bool:
        return self.trees.is_ready(*self._list_tree_arguments(page_context))

    def count_uncounted_tables(self, page_context: PageContext) -> int:
        return self.trees.count_uncounted_tables(*self._list_tree_arguments(page_context))

    async def build_tree_in_time(self, page_context: PageContext) -> CountTreeNode | None:
        """Return the tree; None if it is not counted in time."""
        if self.is_tree_counted(page_context):
            return self.build_tree(page_context)
        with anyio.move_on_after(TREE_WAIT_SECONDS):
            return await anyio.to_thread.run_sync(self.build_tree, page_context, abandon_on_cancel=True)
        return None

    def build_tree(self, page_context: PageContext) -> CountTreeNode:
        return self.trees.build_tree(*self._list_tree_arguments(page_context))

    def _list_tree_arguments(self, page_context: PageContext) -> tuple[QueryRunner, list[Table], Any, int, str]:
        """List what identifies the tree of a page: tables, levels, number of branches and the reader's access."""
        tables = _skip_redundant_file_tables(_list_shown_tables(page_context))
        levels = page_context.brand.levels
        return build_query_runner(page_context), tables, levels, self.settings.tree.branches, page_context.access_key

    async def show_home(self, page_context: PageContext) -> PageContent:
        published_names = page_context.published_state.resources
        schemas = [schema for schema in page_context.catalogue.schemas if schema.name in published_names]
        rows = await self.counts.count_rows_of_tables(
            page_context.published_state, _list_shown_tables(page_context), page_context.principal
        )
        observation_counts = await self.count_observations_in_time(page_context)
        descriptions = [describe_collection(schema, page_context, rows, observation_counts) for schema in schemas]
        loaded_overviews = await self.build_collection_overviews_in_time(page_context)
        overviews = loaded_overviews or {}
        descriptions.sort(key=_build_card_sort_key)
        cards = [
            _build_collection_card(description, overviews.get(description.name), page_context)
            for description in descriptions
        ]
        root = await self.build_tree_in_time(page_context)
        text = read_translated_or_original_file(
            self.directory / page_context.brand.text, self.directory, page_context.language
        )
        news_folder = self.directory / page_context.brand.news
        notes = NOTE_CACHE.list_news(news_folder, self.directory, page_context.language)
        news = [describe_news_item(note, page_context.base) for note in notes[:MAX_NEWS]]
        updated_collections = [description for description in descriptions if description.updated]
        updated_collections.sort(key=lambda description: str(description.updated), reverse=True)
        titled_pictures = [
            (description.resource.title or description.name, overviews[description.name].pictures)
            for description in descriptions
            if description.name in overviews
        ]
        page = HomePage(
            collections=cards,
            tree=None if root is None else _branches_to_json(root, page_context),
            text=render_markdown(text) if text is not None else None,
            news=news,
            updates=updated_collections[:MAX_NEWS],
            strip=list_picture_strip_entries(titled_pictures, page_context),
            pictures_come=loaded_overviews is None,
            amounts=_sum_collection_amounts(descriptions),
            catalogue=_build_data_catalogue(page_context, descriptions),
        )
        json_content = {
            "title": page_context.brand.title,
            "description": page_context.brand.about,
            "collections": [collection_to_json(description, page_context) for description in descriptions],
            "tree": page.tree,
            "news": news,
        }
        return PageContent(page=page, json_content=json_content)

    async def show_tree(self, page_context: PageContext) -> PageContent:
        root = await anyio.to_thread.run_sync(self.build_tree, page_context)
        json_content = {
            "rows": root.row_count,
            "least": root.is_lower_bound,
            "branches": _branches_to_json(root, page_context),
        }
        return PageContent(json_content=json_content)

    @staticmethod
    async def list_collections(page_context: PageContext) -> PageContent:
        if not is_json_requested(page_context.request):
            return build_redirect(f"{page_context.base}/#collections")
        published_names = page_context.published_state.resources
        names = [schema.name for schema in page_context.catalogue.schemas if schema.name in published_names]
        collection_links = [{"name": name, "url": f"{page_context.base}/collections/{quote(name)}"} for name in names]
        return PageContent(json_content={"collections": collection_links})

    async def send_robots_txt(self, request: Request) -> Response:
        site_address = services.get_base_url(request, self.settings).rstrip("/")
        root_path = self.settings.root_path.rstrip("/")
        text = ROBOTS_TXT.format(root=root_path, site=site_address)
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=86400"}
        return services.answer_with_body(request, text.encode(), headers)

    def cache_public_tree_counts(self, published_state: PublishedState) -> None:
        """Count the public tree before the first reader asks for it."""
        runner = QueryRunner(
            site=self.context.site,
            principal=ANONYMOUS_PRINCIPAL,
            policies=self.context.policies,
            published_state=published_state,
        )
        catalogue = published_state.get_catalogue(ANONYMOUS_PRINCIPAL, self.context.policies)
        tables = [table for table in catalogue.iterate_tables() if _is_collection_table(table, published_state)]
        counted_tables = _skip_redundant_file_tables(tables)
        portal_levels = [portal.levels for portal in self.settings.portals if portal.levels]
        levels = {self.settings.tree.levels, *portal_levels}
        max_branches = self.settings.tree.branches
        access_key = published_state.find_access_key(ANONYMOUS_PRINCIPAL, self.context.policies)
        is_incomplete = bool(levels)
        # counts that fail are tried again, until they succeed or are out of date
        while is_incomplete and self.context.site.get_published_state() is published_state:
            is_incomplete = False
            for level_names in levels:
                try:
                    self.trees.build_tree(runner, counted_tables, level_names, max_branches, access_key)
                    uncounted = self.trees.count_uncounted_tables(
                        runner, counted_tables, level_names, max_branches, access_key
                    )
                    is_incomplete |= uncounted > 0
                except Exception:  # the site may be closing; the next request for the page counts again
                    log.info("the tree of counts could not be prepared", exc_info=True)
                    return
            if is_incomplete and self.context.site.wait_for_closing(RETRY_SECONDS):
                return
        count_observation_lines_by_table(tables, runner)


def _build_collection_card(
    collection: CollectionDescription, overview: CollectionOverview | None, page_context: PageContext
) -> CollectionCard:
    """Add a picture, the years and the targets to the description of a collection."""
    overview = overview or CollectionOverview()
    pictures = [picture.address for picture in overview.pictures]
    thumbnail = find_collection_thumbnail_address(collection.resource, page_context)
    return CollectionCard(
        collection=collection,
        thumbnail=thumbnail or next(iter(pictures), ""),
        years=overview.years,
        targets=overview.targets,
    )


def _build_data_catalogue(page_context: PageContext, collections: Sequence[CollectionDescription]) -> dict[str, Any]:
    """Describe a site, or a portal, as a schema.org DataCatalog."""
    catalogue_facts: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "DataCatalog",
        "@id": f"{page_context.base}/",
        "name": page_context.brand.title,
        "description": page_context.brand.about,
        "url": f"{page_context.base}/",
        "dataset": [_build_dataset_reference(collection, page_context) for collection in collections],
    }
    return {name: value for name, value in catalogue_facts.items() if value not in (None, [], "")}


def _build_dataset_reference(collection: CollectionDescription, page_context: PageContext) -> dict[str, Any]:
    """Describe a collection briefly, as a Dataset of a DataCatalog."""
    resource = collection.resource
    path = f"collections/{quote(collection.name)}"
    title = resource.title or collection.name
    dataset_facts = {
        "@type": "Dataset",
        "@id": f"{page_context.brand.root}/{path}",
        "name": title,
        "description": resource.description or title,
        "url": f"{page_context.base}/{path}",
        "license": resource.licence_url or resource.licence,
        "dateModified": collection.updated,
    }
    return {key: value for key, value in dataset_facts.items() if value}


def _sum_collection_amounts(collections: Sequence[CollectionDescription]) -> tuple[CountWithNoun, ...]:
    """Sum the amounts of all collections, each kind of thing by itself."""
    amounts = [amount for collection in collections for amount in collection.amounts]
    sums = dict.fromkeys(NOUNS, 0)
    for amount in amounts:
        sums[amount.noun] += amount.number
    return tuple(CountWithNoun(number, noun) for noun, number in sums.items() if number)


def _build_card_sort_key(collection: CollectionDescription) -> tuple[bool, int, int, str]:
    """Return the sort key of a card: by the `index` of its descriptor, then the largest first."""
    index = collection.resource.index
    size = sum(amount.number for amount in collection.amounts)
    return (index is None, index or 0, -size, collection.name)


def _group_tables_by_collection(page_context: PageContext) -> dict[str, list[Table]]:
    """Group the tables that pages show to this reader by collection."""
    tables_by_collection: dict[str, list[Table]] = {}
    for table in _list_shown_tables(page_context):
        tables_by_collection.setdefault(table.schema, []).append(table)
    return tables_by_collection


def _is_collection_table(table: Table, published_state: PublishedState) -> bool:
    return table.qualified_name in published_state.tables_by_name and table.schema in published_state.resources


def _skip_redundant_file_tables(tables: Sequence[Table]) -> list[Table]:
    """Leave out the file tables of collections with other tables, which are about the same observations."""
    collections_with_tables = {table.schema for table in tables if table.utype != FILES_UTYPE}
    return [table for table in tables if table.utype != FILES_UTYPE or table.schema not in collections_with_tables]


def _list_shown_tables(page_context: PageContext) -> list[Table]:
    """Return the tables that pages of this portal show to this reader."""
    published_state = page_context.published_state
    all_tables = page_context.catalogue.iterate_tables()
    return [table for table in all_tables if _is_collection_table(table, published_state)]


def _branches_to_json(node: CountTreeNode, page_context: PageContext) -> list[dict[str, Any]]:
    """Return the branches of a tree for templates and JSON.

    A branch that ends in one table links to its page.
    """
    branch_list = []
    for branch in node.branches.values():
        child_branches = _branches_to_json(branch, page_context)
        branch_facts = {
            "name": branch.name,
            "rows": branch.row_count,
            "least": branch.is_lower_bound,
            "branches": child_branches,
            "url": _find_branch_address(branch, page_context),
        }
        branch_list.append(branch_facts)
    if node.leaves and (node.branches or len(node.leaves) > 1 or not node.name):
        for leaf in node.leaves:
            leaf_facts: dict[str, Any] = {
                "name": leaf.table.title or leaf.table.name,
                "rows": leaf.row_count,
                "least": leaf.row_count is None,
                "branches": [],
                "url": _build_filtered_table_page_address(leaf.table, leaf.conditions, page_context),
            }
            branch_list.append(leaf_facts)
    return branch_list


def _find_branch_address(branch: CountTreeNode, page_context: PageContext) -> str:
    """Return the address that a branch links to.

    That is the rows of its only table, the page of its only collection, or else the search for its name. It is empty
    if no package searches by words.
    """
    tables_by_name = {table.qualified_name: table for table in _list_shown_tables(page_context)}
    tables = [tables_by_name[name] for name in branch.table_conditions if name in tables_by_name]
    if len(tables) == 1:
        branch_conditions = branch.table_conditions[tables[0].qualified_name]
        pairs = []
        for name, values in branch_conditions.items():
            if len(values) <= MAX_LISTED_VALUES:
                pairs.append((name, ",".join(values)))
        return _build_filtered_table_page_address(tables[0], tuple(pairs), page_context)
    schemas = {table.schema for table in tables}
    if len(schemas) == 1:
        return f"{page_context.base}/collections/{quote(schemas.pop())}"
    search_address = find_package_page_address("word_search_path", page_context.base)
    return f"{search_address}?{urlencode({'q': branch.name or ''})}" if search_address else ""


def _build_filtered_table_page_address(
    table: Table, conditions: tuple[tuple[str, str], ...], page_context: PageContext
) -> str:
    if conditions:
        query = f"?{urlencode(conditions)}"
    else:
        query = ""
    return f"{build_table_address(page_context.base, table)}{query}"
