"""``/``: what this centre is and what it has, as cards and as a tree with counts; ``/tree`` as JSON; ``/robots.txt``."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven import services as dali
from hven.portal._explore.count_trees import Node, Trees
from hven.portal._explore.page_queries import Asking
from hven.portal._pages.markdown import shown, spoken
from hven.portal._views.collection import described, plain
from hven.portal._views.counts import Counts
from hven.portal._views.facts import catalogue
from hven.portal._views.guides import SHELF, seen, thumbnail
from hven.portal._views.news import told
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, json_page, page
from hven.portal._views.table_page import asking
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.services.face import Surroundings
    from hven.site import Holdings

# pages are for search engines, data are not
ROBOTS = "User-agent: *\nDisallow: {root}/tap/sync\nDisallow: {root}/cone/\n"
PATIENCE = 1.0  # seconds that a page waits for the tree; then it goes without, and the tree is there the next time
LATEST = 5  # news, and updates
log = logging.getLogger("hven.portal")


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/``, ``/tree`` and ``/robots.txt``."""
    counts, trees = Counts(around), Trees()
    settings = around.site.settings
    directory = settings.directory

    async def stamp(state: Asked) -> object:
        texts = [SHELF.state(directory / state.brand.news), SHELF.state((directory / state.brand.text).parent)]
        texts += [SHELF.state(one.path.parent / settings.help) for one in seen(state)]
        return (*texts, ready(state) or await tree_of(state) is not None)

    def ready(state: Asked) -> bool:
        return trees.ready(asking(state), _tables(state), state.brand.levels, settings.tree.branches, state.reach)

    async def tree_of(state: Asked) -> Node | None:
        """Return the tree, if it is there in time."""
        if ready(state):
            return grown(state)
        with anyio.move_on_after(PATIENCE):
            return await anyio.to_thread.run_sync(grown, state, abandon_on_cancel=True)
        return None

    def grown(state: Asked) -> Node:
        return trees.of(asking(state), _tables(state), state.brand.levels, settings.tree.branches, state.reach)

    async def home(state: Asked) -> Page:
        shelves = [schema for schema in state.catalogue.schemas if schema.name in state.holdings.resources]
        rows = await counts.of(state.holdings, _tables(state), state.who)
        found = [described(schema, state, rows) for schema in shelves]
        found = [one | {"thumbnail": thumbnail(one["resource"], state)} for one in found]
        root = await tree_of(state)
        text = spoken(directory / state.brand.text, directory, state.language)
        news = [
            told(note, state.base)
            for note in SHELF.news(directory / state.brand.news, directory, state.language)[:LATEST]
        ]
        content = {
            "collections": found,
            "tree": None if root is None else _branches(root, state),
            "text": shown(text) if text is not None else None,
            "news": news,
            "updates": sorted(
                (one for one in found if one["updated"]), key=lambda one: str(one["updated"]), reverse=True
            )[:LATEST],
            "rows": sum(one["rows"] or 0 for one in found) or None,
            "catalogue": catalogue(state, found),
        }
        twin = {
            "title": state.brand.title,
            "description": state.brand.about,
            "collections": [plain(one, state) for one in found],
            "tree": content["tree"],
            "news": news,
        }
        return Page(template="home.html", content=content, twin=twin)

    async def tree(state: Asked) -> Page:
        root = await anyio.to_thread.run_sync(grown, state)
        return Page(template="", content={"rows": root.rows, "branches": _branches(root, state)})

    async def robots(request: Request) -> Response:
        body = ROBOTS.format(root=settings.root_path.rstrip("/")).encode()
        return dali.whole(
            request, body, {"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=86400"}
        )

    def warm(holdings: Holdings) -> None:
        """Count what everybody asks for, before somebody asks."""
        road = Asking(site=around.site, who=ANONYMOUS, policies=around.policies, holdings=holdings)
        known = [table for table in holdings.catalogue(ANONYMOUS, around.policies).tables() if _counts(table, holdings)]
        levels = {settings.tree.levels, *(portal.levels for portal in settings.portals if portal.levels)}
        reach = holdings.reach(ANONYMOUS, around.policies)
        for one in levels:
            try:
                trees.of(road, known, one, settings.tree.branches, reach)
            except Exception:  # the site may just be closing; whoever asks for the page counts again
                log.info("the tree of counts could not be made ahead", exc_info=True)

    around.site.after_changes(
        lambda holdings: threading.Thread(target=warm, args=(holdings,), name="tree", daemon=True).start()
    )
    front = page(home, around, documents=dali.Documents(), state_of=stamp)
    return [
        Route("/", front),
        Route("/index.json", front),
        Route("/tree", json_page(tree, around)),
        Route("/robots.txt", robots),
    ]


def _counts(table: Table, holdings: Holdings) -> bool:
    return table.qualified in holdings.published and table.schema in holdings.resources


def _tables(state: Asked) -> list[Table]:
    """Return the tables that pages of this portal show to this reader."""
    return [table for table in state.catalogue.tables() if _counts(table, state.holdings)]


def _branches(node: Node, state: Asked) -> list[dict[str, Any]]:
    """Return the branches of a tree as templates and JSON have them; a branch at whose end one table hangs leads to its page."""
    found = []
    for branch in node.branches.values():
        below = _branches(branch, state)
        single = not below and len(branch.leaves) == 1
        one: dict[str, Any] = {"name": branch.name, "rows": branch.rows, "branches": below, "url": None}
        if single:
            one["url"] = _address(branch.leaves[0].table, branch.leaves[0].conditions, state)
        found.append(one)
    if node.leaves and (node.branches or len(node.leaves) > 1 or not node.name):
        found += [
            {
                "name": leaf.table.title or leaf.table.name,
                "rows": leaf.rows,
                "branches": [],
                "url": _address(leaf.table, leaf.conditions, state),
            }
            for leaf in node.leaves
        ]
    return found


def _address(table: Table, conditions: tuple[tuple[str, str], ...], state: Asked) -> str:
    query = f"?{urlencode(conditions)}" if conditions else ""
    return f"{address(state.base, table)}{query}"
