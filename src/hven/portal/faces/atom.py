"""Serve ``/collections/<name>/changes.atom`` and ``changes.rss``: feeds of the publications of a collection.

The feeds are Atom (RFC 4287) and RSS 2.0.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

import anyio.to_thread

from hven import __version__, adql, services
from hven.formats import escape_xml, quote_attribute
from hven.model.errors import NotFoundError
from hven.services.face import ServiceContext, ServiceFace, create_route
from hven.services.file_rows import CountWithNoun, choose_row_noun
from hven.site import anonymize_for_referee
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.site.store import PublicationEvent

ATOM_MEDIA_TYPE = "application/atom+xml; charset=utf-8"
RSS_MEDIA_TYPE = "application/rss+xml; charset=utf-8"
MAX_ENTRIES = 50  # of a feed
ACTION_WORDS = {"publish": "published", "rollback": "set back", "remove": "removed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """One publication, as a reader may see it.

    Attributes
    ----------
    event
        The publication and its time.
    tables, shown_names
        The tables that it changed, and their names in feeds.
    previous_states
        The earlier state of each table that existed before.
    nouns
        The noun for the rows of each table: see `hven.services.file_rows`.
    """

    event: PublicationEvent
    tables: tuple[str, ...]
    shown_names: tuple[str, ...]
    previous_states: Mapping[str, str]
    nouns: Mapping[str, str]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>/changes.atom`` and ``changes.rss``."""
    site = context.site

    def write_feed(request: Request, write_entries: Callable[..., str]) -> tuple[bytes, bool]:
        principal = context.identify_principal(request)
        published_state = anonymize_for_referee(site.get_published_state(), principal)
        name = request.path_params["name"]
        resource = published_state.resources.get(name)
        catalogue = published_state.get_catalogue(principal, context.policies)
        visible_tables = {table.qualified_name: table for table in catalogue.iterate_tables() if table.schema == name}
        if resource is None or not visible_tables:
            raise NotFoundError(f"there is no collection {name!r} here", remedy="see the collections on the first page")
        row_filters = collect_row_filters(list(visible_tables.values()), principal, context.policies)
        unfiltered_names = visible_tables.keys() - row_filters.keys()
        entries = []
        nouns = {}
        for table_name, table in visible_tables.items():
            nouns[table_name] = choose_row_noun(table, published_state.tables_by_name[table_name])
        for entry in _list_feed_entries(site.store.list_publication_events(name), visible_tables, nouns):
            run = _read_run_summary(context, entry.event.run)
            visible_counts = {
                table_name: counts for table_name, counts in run.items() if table_name in unfiltered_names
            }
            entries.append((entry, visible_counts))
            if len(entries) == MAX_ENTRIES:
                break
        base = services.get_base_url(request, site.settings)
        authority = site.settings.find_collection_authority(name)
        text = write_entries(resource, name, entries, base=base, authority=authority)
        is_public = published_state.find_access_key(principal, context.policies) == "public"
        return text.encode(), is_public

    def build_feed_endpoint(
        write_entries: Callable[..., str], media_type: str
    ) -> Callable[[Request], Awaitable[Response]]:
        async def send_feed(request: Request) -> Response:
            body, public = await anyio.to_thread.run_sync(write_feed, request, write_entries)
            cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=public)
            return services.answer_with_etag(request, cache_headers, media_type, body)

        return send_feed

    route = create_route("/collections/{name}/changes.atom", build_feed_endpoint(_write_atom_feed, ATOM_MEDIA_TYPE))
    return [
        route,
        create_route("/collections/{name}/changes.rss", build_feed_endpoint(_write_rss_feed, RSS_MEDIA_TYPE)),
    ]


def _list_feed_entries(
    events: Sequence[PublicationEvent], visible_tables: Mapping[str, Table], nouns: Mapping[str, str]
) -> Iterator[FeedEntry]:
    """Yield the publications that changed a visible table, the newest first."""
    for event, previous_event in pairwise([*events, None]):
        assert event is not None  # noqa: S101  (None is last)
        previous_state = {} if previous_event is None else previous_event.state
        changed_names = tuple(
            sorted(name for name in visible_tables if event.state.get(name) != previous_state.get(name))
        )
        if changed_names:
            kept_names = [name for name in changed_names if name in previous_state and name in event.state]
            previous_states = {name: previous_state[name] for name in kept_names}
            shown_names = tuple(adql.quote_adql_name(visible_tables[name].name) for name in changed_names)
            yield FeedEntry(
                event=event,
                tables=changed_names,
                shown_names=shown_names,
                previous_states=previous_states,
                nouns=nouns,
            )


def _read_run_summary(context: ServiceContext, run_id: str | None) -> Mapping[str, Any]:
    """Return the counts of a run by table; empty if the publication is not from a run but from a restored backup."""
    try:
        if run_id:
            run_summary = context.site.store.runs.get_run(run_id).summary
        else:
            run_summary = {}
    except NotFoundError:
        return {}
    counts_by_table = run_summary.get("tables") or {}
    new_tables = {name: {"new": True, "rows": counts.get("published")} for name, counts in counts_by_table.items()}
    return {**new_tables, **(run_summary.get("changes") or {})}


def _write_atom_feed(
    resource: CollectionSpec,
    name: str,
    entries: Sequence[tuple[FeedEntry, Mapping[str, Any]]],
    *,
    base: str,
    authority: str,
) -> str:
    page = f"{base}/collections/{percent_encode(name)}"
    title = resource.title or name
    creators = [creator.name for creator in resource.creators] or [authority]
    if entries:
        updated = entries[0][0].event.at
    else:
        updated = "1970-01-01T00:00:00Z"
    urn = _build_urn(authority, name)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n',
        _write_xml_tag_line("id", urn),
        _write_xml_tag_line("title", f"{title}: what changed"),
        _write_xml_tag_line("updated", updated),
    ]
    parts += [f"<author>{_write_xml_tag('name', creator)}</author>\n" for creator in creators]
    if resource.licence:
        parts.append(_write_xml_tag_line("rights", resource.licence))
    parts.append(_write_xml_tag_line("generator", "Hven", f' version="{__version__}"'))
    parts.append(_write_atom_link("self", f"{page}/changes.atom", "application/atom+xml"))
    parts.append(_write_atom_link("alternate", page, "text/html"))
    for entry, counts in entries:
        parts += _write_atom_entry(
            entry,
            counts,
            title=title,
            page_address=page,
            base_address=base,
            urn=_build_urn(authority, name, entry.event.at),
        )
    return "".join([*parts, "</feed>\n"])


def _write_rss_feed(
    resource: CollectionSpec,
    name: str,
    entries: Sequence[tuple[FeedEntry, Mapping[str, Any]]],
    *,
    base: str,
    authority: str,
) -> str:
    """Write the same entries as RSS 2.0."""
    page = f"{base}/collections/{percent_encode(name)}"
    title = resource.title or name
    self_link = f'<atom:link rel="self" type="application/rss+xml" href={quote_attribute(f"{page}/changes.rss")}/>\n'
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom">\n<channel>\n',
        _write_xml_tag_line("title", f"{title}: what changed"),
        _write_xml_tag_line("link", page),
        _write_xml_tag_line("description", resource.description or title),
    ]
    if resource.licence:
        parts.append(_write_xml_tag_line("copyright", resource.licence))
    parts += [_write_xml_tag_line("generator", f"Hven {__version__}"), self_link]
    for entry, counts in entries:
        publication_time = datetime.fromisoformat(entry.event.at).astimezone(UTC)
        action = ACTION_WORDS.get(entry.event.action, entry.event.action)
        parts += [
            "<item>\n",
            _write_xml_tag_line("title", f"{title} {action}: {', '.join(entry.shown_names)}"),
            _write_xml_tag_line("link", page),
            _write_xml_tag_line("guid", _build_urn(authority, name, entry.event.at), ' isPermaLink="false"'),
            _write_xml_tag_line("pubDate", format_datetime(publication_time, usegmt=True)),
            _write_xml_tag_line("description", "; ".join(_describe_changed_tables(entry, counts))),
            "</item>\n",
        ]
    return "".join([*parts, "</channel>\n</rss>\n"])


def _describe_changed_tables(entry: FeedEntry, counts: Mapping[str, Any]) -> list[str]:
    """Describe the changes of each table of a publication."""
    descriptions = []
    for table, shown_name in zip(entry.tables, entry.shown_names, strict=True):
        counts_text = _describe_change_counts(counts.get(table), entry, table)
        descriptions.append(f"{shown_name}: {counts_text}")
    return descriptions


def _write_atom_entry(
    entry: FeedEntry, counts: Mapping[str, Any], *, title: str, page_address: str, base_address: str, urn: str
) -> Iterator[str]:
    event = entry.event
    action = ACTION_WORDS.get(event.action, event.action)
    yield "<entry>\n"
    yield _write_xml_tag_line("id", urn)
    yield _write_xml_tag_line("title", f"{title} {action}: {', '.join(entry.shown_names)}")
    yield _write_xml_tag_line("updated", event.at)
    yield _write_atom_link("alternate", page_address, "text/html")
    for table, previous_state in entry.previous_states.items():
        changes_query = urlencode({"since": previous_state, "until": event.state[table]})
        changes_address = f"{base_address}/changes/{percent_encode(table)}?{changes_query}"
        yield _write_atom_link("related", changes_address, "application/x-votable+xml", f"changes of {table}")
    yield _write_xml_tag_line("content", "\n".join(_describe_changed_tables(entry, counts)), ' type="text"')
    yield "</entry>\n"


def _describe_change_counts(counts: Mapping[str, Any] | None, entry: FeedEntry, table: str) -> str:
    event = entry.event
    if counts is not None and event.action == "publish" and table in event.state:
        if counts.get("new"):
            return str(CountWithNoun(counts.get("rows") or 0, entry.nouns[table]))
        added = CountWithNoun(counts.get("added") or 0, entry.nouns[table])
        return f"{added} added, {counts.get('changed') or 0:,} changed, {counts.get('removed') or 0:,} removed"
    if table in event.state:
        return ACTION_WORDS.get(event.action, event.action)
    return ACTION_WORDS["remove"]


def _build_urn(authority: str, *parts: str) -> str:
    """Build a URN that stays the same wherever the site moves."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join([f"ivo://{authority}", "changes", *parts])).urn


def _write_xml_tag(name: str, text: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{escape_xml(text)}</{name}>"


def _write_xml_tag_line(name: str, text: str, attributes: str = "") -> str:
    return f"{_write_xml_tag(name, text, attributes)}\n"


def _write_atom_link(rel: str, href: str, kind: str, title: str | None = None) -> str:
    if title:
        title_attribute = f" title={quote_attribute(title)}"
    else:
        title_attribute = ""
    return f'<link rel="{rel}" type={quote_attribute(kind)} href={quote_attribute(href)}{title_attribute}/>\n'


FACE = ServiceFace(name="atom", title="News", build_routes=build_routes)
