"""``/collections/<name>/changes.atom`` and ``changes.rss``: an entry for each publication of a collection, for readers of feeds (Atom, RFC 4287; RSS 2.0)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote as urlquote
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

import anyio.to_thread

from hven import __version__, adql
from hven import services as dali
from hven.formats.votable import legal
from hven.model.errors import NotFound
from hven.services.face import Face, Surroundings, route
from hven.services.file_rows import Amount, noun_of_rows
from hven.site import blind
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.resource import Resource
    from hven.model.table import Table
    from hven.site.store import Event

MEDIA_TYPE = "application/atom+xml; charset=utf-8"
RSS_TYPE = "application/rss+xml; charset=utf-8"
MOST = 50  # entries
WORDS = {"publish": "published", "rollback": "set back", "remove": "removed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One publication, as a reader may know of it.

    Attributes
    ----------
    event
        What was published, and when.
    tables, told
        The tables that it changed, and their names as feeds write them.
    before
        The state of each table that was there already.
    nouns
        What the rows of each table are: see `hven.services.file_rows`.
    """

    event: Event
    tables: tuple[str, ...]
    told: tuple[str, ...]
    before: Mapping[str, str]
    nouns: Mapping[str, str]


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/changes.atom`` and ``changes.rss``."""
    site = around.site

    def written(request: Request, write: Callable[..., str]) -> tuple[bytes, bool]:
        who = around.reader(request)
        holdings = blind(site.current(), who)
        name = request.path_params["name"]
        resource = holdings.resources.get(name)
        seen = {
            table.qualified: table
            for table in holdings.catalogue(who, around.policies).tables()
            if table.schema == name
        }
        if resource is None or not seen:
            raise NotFound(f"there is no collection {name!r} here", remedy="the first page lists what is here")
        whole = seen.keys() - row_filters(list(seen.values()), who, around.policies).keys()
        entries = []
        nouns = {name: noun_of_rows(table, holdings.published[name]) for name, table in seen.items()}
        for entry in _entries(site.store.history(name), seen, nouns):
            run = _summary(around, entry.event.run)
            entries.append((entry, {table: counts for table, counts in run.items() if table in whole}))
            if len(entries) == MOST:
                break
        text = write(
            resource, name, entries, base=dali.base(request, site.settings), authority=site.settings.authority_of(name)
        )
        return text.encode(), holdings.reach(who, around.policies) == "public"

    def served(write: Callable[..., str], media_type: str) -> Callable[[Request], Awaitable[Response]]:
        async def feed(request: Request) -> Response:
            body, public = await anyio.to_thread.run_sync(written, request, write)
            return dali.tagged(request, dali.caching(dali.etag(body), public=public), media_type, body)

        return feed

    return [
        route("/collections/{name}/changes.atom", served(_feed, MEDIA_TYPE)),
        route("/collections/{name}/changes.rss", served(_write_rss, RSS_TYPE)),
    ]


def _entries(events: Sequence[Event], seen: Mapping[str, Table], nouns: Mapping[str, str]) -> Iterator[Entry]:
    """Yield the publications that touched what the reader may know of, the newest first."""
    for event, before in pairwise([*events, None]):
        assert event is not None  # noqa: S101  (None stands last)
        old = {} if before is None else before.state
        touched = tuple(sorted(name for name in seen if event.state.get(name) != old.get(name)))
        if touched:
            there = {name: old[name] for name in touched if name in old and name in event.state}
            yield Entry(
                event=event,
                tables=touched,
                told=tuple(adql.quote(seen[name].name) for name in touched),
                before=there,
                nouns=nouns,
            )


def _summary(around: Surroundings, run: str | None) -> Mapping[str, Any]:
    """Return what a run counted, by table; a publication may have another origin than a run (a restored backup)."""
    try:
        said = around.site.store.runs.get(run).summary if run else {}
    except NotFound:
        return {}
    whole = {
        name: {"new": True, "rows": counts.get("published")} for name, counts in (said.get("tables") or {}).items()
    }
    return {**whole, **(said.get("changes") or {})}


def _feed(
    resource: Resource, name: str, entries: Sequence[tuple[Entry, Mapping[str, Any]]], *, base: str, authority: str
) -> str:
    page = f"{base}/collections/{urlquote(name)}"
    title = resource.title or name
    creators = [creator.name for creator in resource.creators] or [authority]
    updated = entries[0][0].event.at if entries else "1970-01-01T00:00:00Z"
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n',
        _line("id", _urn(authority, name)),
        _line("title", f"{title}: what changed"),
        _line("updated", updated),
        *(f"<author>{_tag('name', creator)}</author>\n" for creator in creators),
        *([_line("rights", resource.licence)] if resource.licence else []),
        _line("generator", "Hven", f' version="{__version__}"'),
        _link("self", f"{page}/changes.atom", "application/atom+xml"),
        _link("alternate", page, "text/html"),
    ]
    for entry, counts in entries:
        parts += _entry(entry, counts, title=title, page=page, base=base, urn=_urn(authority, name, entry.event.at))
    return "".join([*parts, "</feed>\n"])


def _write_rss(
    resource: Resource, name: str, entries: Sequence[tuple[Entry, Mapping[str, Any]]], *, base: str, authority: str
) -> str:
    """Write the same entries as RSS 2.0."""
    page = f"{base}/collections/{urlquote(name)}"
    title = resource.title or name
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom">\n<channel>\n',
        _line("title", f"{title}: what changed"),
        _line("link", page),
        _line("description", resource.description or title),
        *([_line("copyright", resource.licence)] if resource.licence else []),
        _line("generator", f"Hven {__version__}"),
        f'<atom:link rel="self" type="application/rss+xml" href={quoteattr(f"{page}/changes.rss")}/>\n',
    ]
    for entry, counts in entries:
        when = datetime.fromisoformat(entry.event.at).astimezone(UTC)
        action = WORDS.get(entry.event.action, entry.event.action)
        parts += [
            "<item>\n",
            _line("title", f"{title} {action}: {', '.join(entry.told)}"),
            _line("link", page),
            _line("guid", _urn(authority, name, entry.event.at), ' isPermaLink="false"'),
            _line("pubDate", format_datetime(when, usegmt=True)),
            _line("description", "; ".join(_changed_tables(entry, counts))),
            "</item>\n",
        ]
    return "".join([*parts, "</channel>\n</rss>\n"])


def _changed_tables(entry: Entry, counts: Mapping[str, Any]) -> list[str]:
    """Say of each table of a publication what changed."""
    pairs = zip(entry.tables, entry.told, strict=True)
    return [f"{told}: {_counted(counts.get(table), entry, table)}" for table, told in pairs]


def _entry(entry: Entry, counts: Mapping[str, Any], *, title: str, page: str, base: str, urn: str) -> Iterator[str]:
    event = entry.event
    action = WORDS.get(event.action, event.action)
    yield "<entry>\n"
    yield _line("id", urn)
    yield _line("title", f"{title} {action}: {', '.join(entry.told)}")
    yield _line("updated", event.at)
    yield _link("alternate", page, "text/html")
    for table, before in entry.before.items():
        asked = urlencode({"since": before, "until": event.state[table]})
        yield _link(
            "related", f"{base}/changes/{urlquote(table)}?{asked}", "application/x-votable+xml", f"changes of {table}"
        )
    yield _line("content", "\n".join(_changed_tables(entry, counts)), ' type="text"')
    yield "</entry>\n"


def _counted(counts: Mapping[str, Any] | None, entry: Entry, table: str) -> str:
    event = entry.event
    if counts is not None and event.action == "publish" and table in event.state:
        if counts.get("new"):
            return str(Amount(counts.get("rows") or 0, entry.nouns[table]))
        added = Amount(counts.get("added") or 0, entry.nouns[table])
        return f"{added} added, {counts.get('changed') or 0:,} changed, {counts.get('removed') or 0:,} removed"
    return WORDS.get(event.action, event.action) if table in event.state else WORDS["remove"]


def _urn(authority: str, *parts: str) -> str:
    """Name a thing for ever, wherever the site moves."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join([f"ivo://{authority}", "changes", *parts])).urn


def _tag(name: str, text: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{escape(legal(text))}</{name}>"


def _line(name: str, text: str, attributes: str = "") -> str:
    return f"{_tag(name, text, attributes)}\n"


def _link(rel: str, href: str, kind: str, title: str | None = None) -> str:
    said = f" title={quoteattr(legal(title))}" if title else ""
    return f'<link rel="{rel}" type={quoteattr(kind)} href={quoteattr(href)}{said}/>\n'


FACE = Face(name="atom", title="News", routes=routes)
