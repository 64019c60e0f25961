"""The pages for people: ``/`` (what is here and how to ask for it), ``/collections/<name>``, and ``/health`` for watchers.

Written on the server, readable without JavaScript and without any outside network. Nothing that a reader may not see is
shown: where a policy hides rows, the numbers are counted for this reader. The full portal comes with *Portal*.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import __version__, adql, dali, query
from hven.adql import tree
from hven.auth.permit import row_filters
from hven.errors import NotFound, ServiceError
from hven.protocols import Protocol, Surroundings, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import Environment
    from starlette.requests import Request

    from hven.auth import Reader
    from hven.holdings import Catalogue, Holdings, Published
    from hven.model.table import Column, Schema, Table

HTML = "text/html; charset=utf-8"
ROBOTS = "User-agent: *\nDisallow: {root}/tap/sync\nDisallow: {root}/cone/\n"  # pages are for search engines, data are not


@lru_cache(maxsize=1)
def pages() -> Environment:
    """Load the templates; everything that comes from descriptors is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["thousands"] = lambda value: "" if value is None else f"{value:,}".replace(",", "\u202f")
    found.filters["ago"] = ago
    found.filters["link"] = link
    return found


def link(address: str | None) -> str:
    """Let an address through that a browser may follow; nothing else becomes a link."""
    return address if address and re.match(r"(?:https?|ftp|mailto):", address, re.IGNORECASE) else ""


def ago(text: str | None, now: datetime | None = None) -> str:
    """Say how long ago an ISO time was, in words; the exact time belongs into a tooltip."""
    if not text:
        return ""
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    for size, unit in ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'s' * (count != 1)} ago"
    return "just now"


class Counts:
    """How many rows of each table a reader may see; counted once for each version of the holdings, if policies hide some."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._version = ""
        self._known: dict[tuple[str, str], int | None] = {}

    async def of(self, holdings: Holdings, tables: Sequence[Table], who: Reader, reach: str) -> dict[str, int | None]:
        """Give the numbers by qualified name; None for what was not counted: a view, or the service is too busy."""
        if holdings.version != self._version:
            self._version, self._known = holdings.version, {}
        found = {table.qualified: holdings.published[table.qualified].rows for table in tables}
        for name in row_filters(tables, who, self._around.policies):
            if (reach, name) not in self._known:
                self._known[reach, name] = await anyio.to_thread.run_sync(self._count, holdings, holdings.published[name].table, who)
            found[name] = self._known[reach, name]
        return found

    def _count(self, holdings: Holdings, table: Table, who: Reader) -> int | None:
        source = tree.TableRef((tree.Ident(table.schema, quoted=True), tree.Ident(table.name, quoted=True)))
        count = tree.SelectItem(tree.Function("COUNT", star=True), tree.Ident("n"))
        around = self._around
        try:
            with query.run(
                tree.Query(tree.Select((count,), source)), who, site=around.site, policies=around.policies, values=(), holdings=holdings
            ) as result:
                return int(result.table().column(0)[0].as_py())
        except ServiceError:  # a page without a number is better than no page
            return None


def routes(around: Surroundings) -> Sequence[Route]:
    """``/``, ``/collections/<name>``, ``/health``, ``/robots.txt``."""
    site = around.site
    counts = Counts(around)
    documents = dali.Documents()

    async def home(request: Request) -> Response:
        def content(holdings: Holdings, catalogue: Catalogue, rows: Mapping[str, int | None]) -> dict[str, Any]:
            shown = [schema for schema in catalogue.schemas if schema.name in holdings.resources]
            return {"collections": [_collection(schema, holdings, around, request, rows) for schema in shown]}

        return await _page(request, around, counts, documents, "home.html", content)

    async def collection(request: Request) -> Response:
        name = request.path_params["name"]

        def content(holdings: Holdings, catalogue: Catalogue, rows: Mapping[str, int | None]) -> dict[str, Any]:
            found = next((schema for schema in catalogue.schemas if schema.name == name and name in holdings.resources), None)
            if found is None:
                raise NotFound(f"there is no collection {name!r} here", remedy="the first page lists what is here")
            return {"collection": _collection(found, holdings, around, request, rows)}

        return await _page(request, around, counts, documents, "collection.html", content)

    async def health(request: Request) -> Response:
        """Tell watchers: 200 while data are served; of problems only how many, because their texts name private things."""
        holdings = site.current()
        catalogue = holdings.catalogue(around.reader(request), around.policies)
        seen = {table.qualified for table in catalogue.tables()}
        newest = max((item.updated for name, item in holdings.published.items() if name in seen), default=None)
        body = {
            "status": "ok" if not holdings.problems else "degraded",
            "version": __version__,
            "tables": sum(name in seen for name in holdings.published),
            "newest": newest,
            "problems": len(holdings.problems),
            "since": around.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return dali.whole(request, orjson.dumps(body), {"content-type": "application/json", "cache-control": "no-store"})

    async def robots(request: Request) -> Response:
        body = ROBOTS.format(root=site.settings.root_path.rstrip("/")).encode()
        return dali.whole(request, body, {"content-type": "text/plain; charset=utf-8", "cache-control": "public, max-age=86400"})

    return [
        Route("/", home),
        Route("/collections/{name}", collection),
        Route("/health", health),
        Route("/robots.txt", robots),
    ]


async def _page(
    request: Request,
    around: Surroundings,
    counts: Counts,
    documents: dali.Documents,
    template: str,
    content: Callable[[Holdings, Catalogue, Mapping[str, int | None]], dict[str, Any]],
) -> Response:
    """Write a page, tagged by what it was made from."""
    frame = _frame(request, around)
    try:
        holdings = around.site.current()
        who = around.reader(request)
        catalogue = holdings.catalogue(who, around.policies)
        reach = holdings.reach(who, around.policies)
        # an hour of the tag's life: the page says how long ago things were
        made_from = (repr(frame), holdings.version, reach, int(datetime.now(UTC).timestamp() // 3600))
        tag = f'W/"{hashlib.sha256(repr(made_from).encode()).hexdigest()[:24]}"'
        headers = {
            "etag": tag,
            "cache-control": f"{'public' if reach == 'public' else 'private'}, no-cache",
            "vary": "accept-encoding, authorization, cookie",
        }
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        tables = [table for table in catalogue.tables() if table.qualified in holdings.published]
        rows = await counts.of(holdings, tables, who, reach)
        body = documents.get(
            (tag, template, request.path_params.get("name")),
            lambda: pages().get_template(template).render(**frame, **content(holdings, catalogue, rows)).encode(),
        )
        return dali.whole(request, body, {**headers, **_guarded(frame["accent"])})
    except Exception as error:  # noqa: BLE001  (one table of errors)
        message = dali.message_of(error, dali.request_id(request))
        body = pages().get_template("error.html").render(**frame, message=message).encode()
        return dali.whole(request, body, {**_guarded(frame["accent"]), **dali.headers_of(error)}, dali.status_of(error))


@lru_cache(maxsize=4)
def _guarded(accent: str | None) -> dict[str, str]:
    """Give the headers of every page: nothing runs in it but what we wrote, nothing is fetched from anywhere."""
    frame = {"base": "", "title": "", "about": None, "accent": accent, "contact": None, "software": ""}
    text = pages().get_template("frame.html").render(**frame)

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(item.encode()).digest()).decode()}'" for item in found)

    policy = (
        f"default-src 'none'; style-src {hashes('style')}; script-src {hashes('script')}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return {"content-type": HTML, "content-security-policy": policy, "referrer-policy": "strict-origin-when-cross-origin"}


def _frame(request: Request, around: Surroundings) -> dict[str, Any]:
    settings = around.site.settings
    return {
        "base": dali.base(request, settings),
        "title": settings.title or settings.name,
        "about": settings.description,
        "accent": settings.accent,
        "contact": settings.contact_email,
        "software": __version__,
    }


def _collection(
    schema: Schema, holdings: Holdings, around: Surroundings, request: Request, rows: Mapping[str, int | None]
) -> dict[str, Any]:
    base = dali.base(request, around.site.settings)
    tables = [
        _table(holdings.published[table.qualified], table, around, base, rows[table.qualified])
        for table in schema.tables
        if table.qualified in holdings.published
    ]
    return {
        "name": schema.name,
        "resource": holdings.resources[schema.name],
        "tables": tables,
        "rows": sum(table["rows"] or 0 for table in tables) if any(table["rows"] is not None for table in tables) else None,
        "updated": max((table["updated"] for table in tables), default=None),
    }


def _table(item: Published, table: Table, around: Surroundings, base: str, rows: int | None) -> dict[str, Any]:
    found = [way for face in around.protocols.values() if face.applies(table) for way in face.ways(item, base)]
    return {
        "name": f"{adql.quote(table.schema)}.{adql.quote(table.name)}",
        "table": table,
        "columns": [_column(column) for column in table.columns if not column.hidden],
        "rows": rows,
        "updated": item.updated,
        "ways": found,
        "kinds": [face.title for face in around.protocols.values() if face.standard_ids and face.applies(table)],
    }


def _column(column: Column) -> dict[str, Any]:
    return {"column": column, "name": adql.quote(column.name), "type": str(column.type)}


def ways(published: Published, base: str) -> Sequence[Way]:  # noqa: ARG001  (the contract's signature)
    """Give none: a page is its own way."""
    return []


PROTOCOL = Protocol(name="portal", title="Pages for people", applies=lambda table: True, routes=routes, ways=ways)  # noqa: ARG005
