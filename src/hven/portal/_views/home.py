"""``/``: what this centre is and what it has, as cards and as a tree with counts; ``/tree`` as JSON.

``/robots.txt``.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.model.table import FILES_UTYPE
from hven.portal._explore.collection_overviews import CollectionOverview
from hven.portal._explore.count_trees import CountNode, CountTrees
from hven.portal._explore.page_queries import QueryRunner
from hven.portal._pages.markdown import read_translated_file, render_markdown
from hven.portal._views.collection import collection_to_json, describe_collection, list_strip_pictures
from hven.portal._views.counts import VisibleRowCounts, count_observation_lines
from hven.portal._views.dataset_metadata import build_data_catalogue
from hven.portal._views.help_pages import NOTE_CACHE, find_thumbnail, list_visible_collections
from hven.portal._views.news import describe_note
from hven.portal._views.overview_pictures import load_overviews
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_json_endpoint,
    build_page_endpoint,
    build_redirect,
    is_json_requested,
)
from hven.portal._views.table_view import build_runner
from hven.services.file_rows import NOUNS, Amount
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState

# pages are for search engines, data are not
ROBOTS_TXT = "User-agent: *\nDisallow: {root}/tap/sync\nDisallow: {root}/cone/\nSitemap: {site}/sitemap.xml\n"
MAX_LISTED_VALUES = 20  # values of a column that an address of the tree names
TREE_WAIT_SECONDS = (
    1.0  # seconds that a page waits for the tree; then it goes without, and the tree is there the next time
)
RETRY_SECONDS = 1.0  # seconds between two looks whether counts that failed may be tried again
MAX_NEWS = 5  # news, and updates
log = logging.getLogger("hven.portal")


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/``, ``/tree`` and ``/robots.txt``."""
    counts, trees = VisibleRowCounts(context), CountTrees()
    settings = context.site.settings
    directory = settings.directory

    async def compute_state(page_context: PageContext) -> object:
        directory_state = NOTE_CACHE.find_directory_state(directory / page_context.brand.news)
        texts = [
            directory_state,
            NOTE_CACHE.find_directory_state((directory / page_context.brand.text).parent),
        ]
        texts += [
            NOTE_CACHE.find_directory_state(resource.path.parent / settings.help)
            for resource in list_visible_collections(page_context)
        ]
        tree_state = (has_tree(page_context) or await load_tree(page_context) is not None), count_missing(page_context)
        observation_counts = await count_lines(page_context)
        if observation_counts is None:
            counted_tables = None
        else:
            counted_tables = sum(lines is not None for lines in observation_counts.values())
        return (*texts, tree_state, await load_collection_overviews(page_context) is not None, counted_tables)

    async def load_collection_overviews(page_context: PageContext) -> dict[str, CollectionOverview] | None:
        """Return what is seen of each collection at first sight; None: it is not there in time."""
        tables_by_collection = _group_tables(page_context)
        overviews = await load_overviews(page_context, list(tables_by_collection.values()))
        if overviews is None:
            return None
        return dict(zip(tables_by_collection, overviews, strict=True))

    async def count_lines(page_context: PageContext) -> dict[str, int | None] | None:
        """Return how many observations tables have, if that is there in time."""
        with anyio.move_on_after(TREE_WAIT_SECONDS):
            return await counts.count_lines(
                page_context.published_state, _list_shown_tables(page_context), page_context.principal
            )
        return None

    def has_tree(page_context: PageContext) -> bool:
        return trees.is_ready(
            build_runner(page_context),
            _skip_file_tables(_list_shown_tables(page_context)),
            page_context.brand.levels,
            settings.tree.branches,
            page_context.access_key,
        )

    def count_missing(page_context: PageContext) -> int:
        return trees.count_uncounted_tables(
            build_runner(page_context),
            _skip_file_tables(_list_shown_tables(page_context)),
            page_context.brand.levels,
            settings.tree.branches,
            page_context.access_key,
        )

    async def load_tree(page_context: PageContext) -> CountNode | None:
        """Return the tree, if it is there in time."""
        if has_tree(page_context):
            return build_tree(page_context)
        with anyio.move_on_after(TREE_WAIT_SECONDS):
            return await anyio.to_thread.run_sync(build_tree, page_context, abandon_on_cancel=True)
        return None

    def build_tree(page_context: PageContext) -> CountNode:
        return trees.build_tree(
            build_runner(page_context),
            _skip_file_tables(_list_shown_tables(page_context)),
            page_context.brand.levels,
            settings.tree.branches,
            page_context.access_key,
        )

    async def show_home(page_context: PageContext) -> PageContent:
        schemas = [
            schema for schema in page_context.catalogue.schemas if schema.name in page_context.published_state.resources
        ]
        rows = await counts.count_tables(
            page_context.published_state, _list_shown_tables(page_context), page_context.principal
        )
        observation_counts = await count_lines(page_context)
        collections = [describe_collection(schema, page_context, rows, observation_counts) for schema in schemas]
        looks = await load_collection_overviews(page_context)
        overviews = looks or {}
        collections = [
            _build_card(collection, overviews.get(collection["name"]), page_context) for collection in collections
        ]
        collections.sort(key=_rank_card)
        root = await load_tree(page_context)
        text = read_translated_file(directory / page_context.brand.text, directory, page_context.language)
        news = [
            describe_note(note, page_context.base)
            for note in NOTE_CACHE.list_news(directory / page_context.brand.news, directory, page_context.language)[
                :MAX_NEWS
            ]
        ]
        content = {
            "collections": collections,
            "tree": None if root is None else _branches_to_json(root, page_context),
            "text": render_markdown(text) if text is not None else None,
            "news": news,
            "updates": sorted(
                (collection for collection in collections if collection["updated"]),
                key=lambda collection: str(collection["updated"]),
                reverse=True,
            )[:MAX_NEWS],
            "strip": list_strip_pictures(
                [
                    (collection["resource"].title or collection["name"], overviews[collection["name"]].pictures)
                    for collection in collections
                    if collection["name"] in overviews
                ],
                page_context,
            ),
            "pictures_come": looks is None,
            "amounts": _sum_collections(collections),
            "catalogue": build_data_catalogue(page_context, collections),
        }
        json_content = {
            "title": page_context.brand.title,
            "description": page_context.brand.about,
            "collections": [collection_to_json(collection, page_context) for collection in collections],
            "tree": content["tree"],
            "news": news,
        }
        return PageContent(template="home.html", template_values=content, json_content=json_content)

    async def show_tree(page_context: PageContext) -> PageContent:
        root = await anyio.to_thread.run_sync(build_tree, page_context)
        template_values = {
            "rows": root.row_count,
            "least": root.is_lower_bound,
            "branches": _branches_to_json(root, page_context),
        }
        return PageContent(
            template="",
            template_values=template_values,
        )

    async def list_collections(page_context: PageContext) -> PageContent:
        schemas = [
            schema for schema in page_context.catalogue.schemas if schema.name in page_context.published_state.resources
        ]
        if not is_json_requested(page_context.request):
            return build_redirect(f"{page_context.base}/#collections")
        collection_links = [
            {"name": schema.name, "url": f"{page_context.base}/collections/{quote(schema.name)}"} for schema in schemas
        ]
        return PageContent(template="", template_values={"collections": collection_links})

    async def send_robots_txt(request: Request) -> Response:
        body = ROBOTS_TXT.format(
            root=settings.root_path.rstrip("/"), site=services.get_base_url(request, settings).rstrip("/")
        ).encode()
        return services.answer_with_body(
            request, body, {"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=86400"}
        )

    def count_public_tree(published_state: PublishedState) -> None:
        """Count what everybody asks for, before somebody asks."""
        runner = QueryRunner(
            site=context.site, principal=ANONYMOUS_PRINCIPAL, policies=context.policies, published_state=published_state
        )
        counted_tables = [
            table
            for table in published_state.get_catalogue(ANONYMOUS_PRINCIPAL, context.policies).iterate_tables()
            if _is_collection_table(table, published_state)
        ]
        levels = {settings.tree.levels, *(portal.levels for portal in settings.portals if portal.levels)}
        reach = published_state.find_access_key(ANONYMOUS_PRINCIPAL, context.policies)
        is_incomplete = bool(levels)
        while (
            is_incomplete and context.site.get_published_state() is published_state
        ):  # what fails is tried again until it is there, or out of date
            is_incomplete = False
            for level_names in levels:
                try:
                    trees.build_tree(
                        runner, _skip_file_tables(counted_tables), level_names, settings.tree.branches, reach
                    )
                    is_incomplete |= (
                        trees.count_uncounted_tables(
                            runner, _skip_file_tables(counted_tables), level_names, settings.tree.branches, reach
                        )
                        > 0
                    )
                except Exception:  # the site may just be closing; whoever asks for the page counts again
                    log.info("the tree of counts could not be made ahead", exc_info=True)
                    return
            if is_incomplete and context.site.wait_for_closing(RETRY_SECONDS):
                return
        count_observation_lines(counted_tables, runner)

    context.site.add_change_listener(
        lambda holdings: threading.Thread(target=count_public_tree, args=(holdings,), name="tree", daemon=True).start()
    )
    front = build_page_endpoint(show_home, context, documents=services.DocumentCache(), compute_state=compute_state)
    return [
        Route("/", front),
        Route("/index.json", front),
        Route("/collections", build_page_endpoint(list_collections, context)),
        Route("/tree", build_json_endpoint(show_tree, context)),
        Route("/robots.txt", send_robots_txt),
    ]


def _build_card(
    collection: dict[str, Any], overview: CollectionOverview | None, page_context: PageContext
) -> dict[str, Any]:
    """Add to what is said of a collection a picture, its years and its targets."""
    overview = overview or CollectionOverview()
    pictures = [picture.address for picture in overview.pictures]
    thumbnail = find_thumbnail(collection["resource"], page_context)
    return collection | {
        "thumbnail": thumbnail or next(iter(pictures), ""),
        "years": overview.years,
        "targets": overview.targets,
    }


def _sum_collections(collections: Sequence[Mapping[str, Any]]) -> tuple[Amount, ...]:
    """Add up what all collections have, each kind of thing by itself."""
    amounts = [amount for counted_noun in collections for amount in counted_noun["amounts"]]
    sums = {noun: sum(counted_noun.number for counted_noun in amounts if counted_noun.noun == noun) for noun in NOUNS}
    return tuple(Amount(number, noun) for noun, number in sums.items() if number)


def _rank_card(collection: dict[str, Any]) -> tuple[bool, int, int, str]:
    """Return where a card stands: by its descriptor's `index`, then the largest first."""
    index = collection["resource"].index
    return (index is None, index or 0, -sum(amount.number for amount in collection["amounts"]), collection["name"])


def _group_tables(page_context: PageContext) -> dict[str, list[Table]]:
    """Return the tables of each collection that this reader is shown."""
    tables_by_collection: dict[str, list[Table]] = {}
    for table in _list_shown_tables(page_context):
        tables_by_collection.setdefault(table.schema, []).append(table)
    return tables_by_collection


def _is_collection_table(table: Table, published_state: PublishedState) -> bool:
    return table.qualified_name in published_state.tables_by_name and table.schema in published_state.resources


def _skip_file_tables(tables: Sequence[Table]) -> list[Table]:
    """Leave out the files of collections that have other tables: these are about the same observations."""
    collections_with_tables = {table.schema for table in tables if table.utype != FILES_UTYPE}
    return [table for table in tables if table.utype != FILES_UTYPE or table.schema not in collections_with_tables]


def _list_shown_tables(page_context: PageContext) -> list[Table]:
    """Return the tables that pages of this portal show to this reader."""
    return [
        table
        for table in page_context.catalogue.iterate_tables()
        if _is_collection_table(table, page_context.published_state)
    ]


def _branches_to_json(node: CountNode, page_context: PageContext) -> list[dict[str, Any]]:
    """Return the branches of a tree as templates and JSON have them.

    A branch at whose end one table hangs leads to its page.
    """
    branch_list = []
    for branch in node.branches.values():
        child_branches = _branches_to_json(branch, page_context)
        branch_list.append(
            {
                "name": branch.name,
                "rows": branch.row_count,
                "least": branch.is_lower_bound,
                "branches": child_branches,
                "url": _find_branch_address(branch, page_context),
            }
        )
    if node.leaves and (node.branches or len(node.leaves) > 1 or not node.name):
        branch_list += [
            {
                "name": leaf.table.title or leaf.table.name,
                "rows": leaf.row_count,
                "least": leaf.row_count is None,
                "branches": [],
                "url": _build_rows_address(leaf.table, leaf.conditions, page_context),
            }
            for leaf in node.leaves
        ]
    return branch_list


def _find_branch_address(branch: CountNode, page_context: PageContext) -> str:
    """Return where a branch leads.

    To the rows of the one table that it is of, to the one collection, else to the search for its name.
    """
    tables_by_name = {table.qualified_name: table for table in _list_shown_tables(page_context)}
    tables = [tables_by_name[name] for name in branch.table_conditions if name in tables_by_name]
    if len(tables) == 1:
        branch_conditions = branch.table_conditions[tables[0].qualified_name]
        pairs = tuple(
            (name, ",".join(values)) for name, values in branch_conditions.items() if len(values) <= MAX_LISTED_VALUES
        )
        return _build_rows_address(tables[0], pairs, page_context)
    schemas = {table.schema for table in tables}
    if len(schemas) == 1:
        return f"{page_context.base}/collections/{quote(schemas.pop())}"
    return f"{page_context.base}/search?{urlencode({'q': branch.name or ''})}"


def _build_rows_address(table: Table, conditions: tuple[tuple[str, str], ...], page_context: PageContext) -> str:
    if conditions:
        query = f"?{urlencode(conditions)}"
    else:
        query = ""
    return f"{build_table_address(page_context.base, table)}{query}"
