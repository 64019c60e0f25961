"""``/``: what this centre is and what it has, as cards and as a tree with counts; ``/tree`` as JSON; ``/robots.txt``."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven import services as dali
from hven.model.table import FILES
from hven.portal._explore.collection_looks import Look
from hven.portal._explore.count_trees import Node, Trees
from hven.portal._explore.page_queries import Asking
from hven.portal._pages.markdown import shown, spoken
from hven.portal._views.collection import described, plain, strip
from hven.portal._views.counts import Counts, lines
from hven.portal._views.facts import catalogue
from hven.portal._views.first_looks import look_at_collections
from hven.portal._views.guides import SHELF, seen, thumbnail
from hven.portal._views.news import told
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, json_page, moved, page, wants_json
from hven.portal._views.table_page import asking
from hven.services.file_rows import NOUNS, Amount
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.services.face import Surroundings
    from hven.site import Holdings

# pages are for search engines, data are not
ROBOTS = "User-agent: *\nDisallow: {root}/tap/sync\nDisallow: {root}/cone/\nSitemap: {site}/sitemap.xml\n"
LISTED = 20  # values of a column that an address of the tree names
PATIENCE = 1.0  # seconds that a page waits for the tree; then it goes without, and the tree is there the next time
AGAIN = 1.0  # seconds between two looks whether counts that failed may be tried again
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
        whole = (ready(state) or await tree_of(state) is not None), missing(state)
        lined = await lines_of(state)
        counted = None if lined is None else sum(lines is not None for lines in lined.values())
        return (*texts, whole, await looks_of(state) is not None, counted)

    async def looks_of(state: Asked) -> dict[str, Look] | None:
        """Return what is seen of each collection at first sight; None: it is not there in time."""
        shelves = _shelves(state)
        found = await look_at_collections(state, list(shelves.values()))
        return None if found is None else dict(zip(shelves, found, strict=True))

    async def lines_of(state: Asked) -> dict[str, int | None] | None:
        """Return how many observations tables have, if that is there in time."""
        with anyio.move_on_after(PATIENCE):
            return await counts.lines(state.holdings, _tables(state), state.who)
        return None

    def ready(state: Asked) -> bool:
        return trees.ready(
            asking(state), _counted(_tables(state)), state.brand.levels, settings.tree.branches, state.reach
        )

    def missing(state: Asked) -> int:
        return trees.count_missing(
            asking(state), _counted(_tables(state)), state.brand.levels, settings.tree.branches, state.reach
        )

    async def tree_of(state: Asked) -> Node | None:
        """Return the tree, if it is there in time."""
        if ready(state):
            return grown(state)
        with anyio.move_on_after(PATIENCE):
            return await anyio.to_thread.run_sync(grown, state, abandon_on_cancel=True)
        return None

    def grown(state: Asked) -> Node:
        return trees.of(
            asking(state), _counted(_tables(state)), state.brand.levels, settings.tree.branches, state.reach
        )

    async def home(state: Asked) -> Page:
        shelves = [schema for schema in state.catalogue.schemas if schema.name in state.holdings.resources]
        rows = await counts.of(state.holdings, _tables(state), state.who)
        lined = await lines_of(state)
        found = [described(schema, state, rows, lined) for schema in shelves]
        looks = await looks_of(state)
        known = looks or {}
        found = [_card(one, known.get(one["name"]), state) for one in found]
        found.sort(key=_place)
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
            "strip": strip(
                [
                    (one["resource"].title or one["name"], known[one["name"]].pictures)
                    for one in found
                    if one["name"] in known
                ],
                state,
            ),
            "pictures_come": looks is None,
            "amounts": _sum_collections(found),
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
        return Page(template="", content={"rows": root.rows, "least": root.least, "branches": _branches(root, state)})

    async def list_collections(state: Asked) -> Page:
        shown = [one for one in state.catalogue.schemas if one.name in state.holdings.resources]
        if not wants_json(state.request):
            return moved(f"{state.base}/#collections")
        listed = [{"name": one.name, "url": f"{state.base}/collections/{quote(one.name)}"} for one in shown]
        return Page(template="", content={"collections": listed})

    async def robots(request: Request) -> Response:
        body = ROBOTS.format(
            root=settings.root_path.rstrip("/"), site=dali.base(request, settings).rstrip("/")
        ).encode()
        return dali.whole(
            request, body, {"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=86400"}
        )

    def warm(holdings: Holdings) -> None:
        """Count what everybody asks for, before somebody asks."""
        road = Asking(site=around.site, who=ANONYMOUS, policies=around.policies, holdings=holdings)
        known = [table for table in holdings.catalogue(ANONYMOUS, around.policies).tables() if _counts(table, holdings)]
        levels = {settings.tree.levels, *(portal.levels for portal in settings.portals if portal.levels)}
        reach = holdings.reach(ANONYMOUS, around.policies)
        failed = bool(levels)
        while (
            failed and around.site.current() is holdings
        ):  # what fails is tried again until it is there, or out of date
            failed = False
            for one in levels:
                try:
                    trees.of(road, _counted(known), one, settings.tree.branches, reach)
                    failed |= trees.count_missing(road, _counted(known), one, settings.tree.branches, reach) > 0
                except Exception:  # the site may just be closing; whoever asks for the page counts again
                    log.info("the tree of counts could not be made ahead", exc_info=True)
                    return
            if failed and around.site.wait(AGAIN):
                return
        lines(known, road)

    around.site.after_changes(
        lambda holdings: threading.Thread(target=warm, args=(holdings,), name="tree", daemon=True).start()
    )
    front = page(home, around, documents=dali.Documents(), state_of=stamp)
    return [
        Route("/", front),
        Route("/index.json", front),
        Route("/collections", page(list_collections, around)),
        Route("/tree", json_page(tree, around)),
        Route("/robots.txt", robots),
    ]


def _card(one: dict[str, Any], look: Look | None, state: Asked) -> dict[str, Any]:
    """Add to what is said of a collection a picture, its years and its targets."""
    look = look or Look()
    pictures = [picture.address for picture in look.pictures]
    return one | {
        "thumbnail": thumbnail(one["resource"], state) or next(iter(pictures), ""),
        "years": look.years,
        "targets": look.targets,
    }


def _sum_collections(found: Sequence[Mapping[str, Any]]) -> tuple[Amount, ...]:
    """Add up what all collections have, each kind of thing by itself."""
    every = [amount for one in found for amount in one["amounts"]]
    sums = {noun: sum(one.number for one in every if one.noun == noun) for noun in NOUNS}
    return tuple(Amount(number, noun) for noun, number in sums.items() if number)


def _place(one: dict[str, Any]) -> tuple[bool, int, int, str]:
    """Return where a card stands: by its descriptor's `index`, then the largest first."""
    index = one["resource"].index
    return (index is None, index or 0, -sum(amount.number for amount in one["amounts"]), one["name"])


def _shelves(state: Asked) -> dict[str, list[Table]]:
    """Return the tables of each collection that this reader is shown."""
    found: dict[str, list[Table]] = {}
    for table in _tables(state):
        found.setdefault(table.schema, []).append(table)
    return found


def _counts(table: Table, holdings: Holdings) -> bool:
    return table.qualified in holdings.published and table.schema in holdings.resources


def _counted(tables: Sequence[Table]) -> list[Table]:
    """Leave out the files of collections that have other tables: these are about the same observations."""
    own = {table.schema for table in tables if table.utype != FILES}
    return [table for table in tables if table.utype != FILES or table.schema not in own]


def _tables(state: Asked) -> list[Table]:
    """Return the tables that pages of this portal show to this reader."""
    return [table for table in state.catalogue.tables() if _counts(table, state.holdings)]


def _branches(node: Node, state: Asked) -> list[dict[str, Any]]:
    """Return the branches of a tree as templates and JSON have them; a branch at whose end one table hangs leads to its page."""
    found = []
    for branch in node.branches.values():
        below = _branches(branch, state)
        found.append(
            {
                "name": branch.name,
                "rows": branch.rows,
                "least": branch.least,
                "branches": below,
                "url": _leads(branch, state),
            }
        )
    if node.leaves and (node.branches or len(node.leaves) > 1 or not node.name):
        found += [
            {
                "name": leaf.table.title or leaf.table.name,
                "rows": leaf.rows,
                "least": leaf.rows is None,
                "branches": [],
                "url": _address(leaf.table, leaf.conditions, state),
            }
            for leaf in node.leaves
        ]
    return found


def _leads(branch: Node, state: Asked) -> str:
    """Return where a branch leads: to the rows of the one table that it is of, to the one collection, else to the search for its name."""
    known = {table.qualified: table for table in _tables(state)}
    tables = [known[name] for name in branch.asked if name in known]
    if len(tables) == 1:
        asked = branch.asked[tables[0].qualified]
        pairs = tuple((name, ",".join(values)) for name, values in asked.items() if len(values) <= LISTED)
        return _address(tables[0], pairs, state)
    schemas = {table.schema for table in tables}
    if len(schemas) == 1:
        return f"{state.base}/collections/{quote(schemas.pop())}"
    return f"{state.base}/search?{urlencode({'q': branch.name or ''})}"


def _address(table: Table, conditions: tuple[tuple[str, str], ...], state: Asked) -> str:
    query = f"?{urlencode(conditions)}" if conditions else ""
    return f"{address(state.base, table)}{query}"
