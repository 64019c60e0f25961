"""The pages for people: ``/`` (what is here and how to ask for it), ``/collections/<name>``, and ``/health`` for watchers.

Written on the server, readable without JavaScript and without any outside network. The full portal comes with *Portal*.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import __version__, adql, dali
from hven.errors import NotFound
from hven.protocols import Protocol, Surroundings, Way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from starlette.requests import Request

    from hven.holdings import Catalogue, Holdings, Published
    from hven.model.table import Column, Schema, Table

HTML = "text/html; charset=utf-8"


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
    return found


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


def routes(around: Surroundings) -> Sequence[Route]:
    """``/``, ``/collections/<name>``, ``/health``."""
    site = around.site

    async def home(request: Request) -> Response:
        return _page(
            request, around, "home.html", lambda holdings, catalogue: {"collections": _collections(holdings, catalogue, around, request)}
        )

    async def collection(request: Request) -> Response:
        name = request.path_params["name"]

        def content(holdings: Holdings, catalogue: Catalogue) -> dict[str, Any]:
            found = next((schema for schema in catalogue.schemas if schema.name == name and name in holdings.resources), None)
            if found is None:
                raise NotFound(f"there is no collection {name!r} here", remedy="the first page lists what is here")
            return {"collection": _collection(found, holdings, around, request)}

        return _page(request, around, "collection.html", content)

    async def health(request: Request) -> Response:
        """Tell watchers: 200 while data are served; problems of descriptors are listed, without private names."""
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
        return Response(orjson.dumps(body), media_type="application/json", headers={"cache-control": "no-store"})

    return [Route("/", home), Route("/collections/{name}", collection), Route("/health", health)]


def _page(request: Request, around: Surroundings, template: str, content: Any) -> Response:
    """Write a page, tagged by what it was made from."""
    try:
        holdings = around.site.current()
        who = around.reader(request)
        catalogue = holdings.catalogue(who, around.policies)
        # an hour of the tag's life: the page says how long ago things were
        tag = f'W/"{holdings.version}-{catalogue.key}-{int(datetime.now(UTC).timestamp() // 3600)}"'
        headers = {
            "etag": tag,
            "cache-control": f"{'public' if who.anonymous else 'private'}, no-cache",
            "vary": "accept-encoding, authorization, cookie",
        }
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        text = pages().get_template(template).render(**_frame(request, around), **content(holdings, catalogue))
        return dali.whole(request, text.encode(), {**headers, "content-type": HTML})
    except Exception as error:  # noqa: BLE001  (one table of errors)
        message = dali.message_of(error, dali.request_id(request))
        text = pages().get_template("error.html").render(**_frame(request, around), message=message)
        return Response(text, dali.status_of(error), media_type=HTML)


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


def _collections(holdings: Holdings, catalogue: Catalogue, around: Surroundings, request: Request) -> list[dict[str, Any]]:
    return [_collection(schema, holdings, around, request) for schema in catalogue.schemas if schema.name in holdings.resources]


def _collection(schema: Schema, holdings: Holdings, around: Surroundings, request: Request) -> dict[str, Any]:
    base = dali.base(request, around.site.settings)
    tables = [
        _table(holdings.published[table.qualified], table, around, base) for table in schema.tables if table.qualified in holdings.published
    ]
    return {
        "name": schema.name,
        "resource": holdings.resources[schema.name],
        "tables": tables,
        "rows": sum(table["rows"] or 0 for table in tables),
        "updated": max((table["updated"] for table in tables), default=None),
    }


def _table(item: Published, table: Table, around: Surroundings, base: str) -> dict[str, Any]:
    found = [way for face in around.protocols.values() if face.applies(table) for way in face.ways(item, base)]
    return {
        "name": f"{adql.quote(table.schema)}.{adql.quote(table.name)}",
        "table": table,
        "columns": [_column(column) for column in table.columns if not column.hidden],
        "rows": item.rows,
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
