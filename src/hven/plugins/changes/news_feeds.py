"""Serve ``/collections/<name>/changes.atom`` and ``changes.rss``: feeds of the publications of a collection.

The feeds are Atom (RFC 4287) and RSS 2.0.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote as percent_encode
from urllib.parse import urlencode

import anyio.to_thread

from hven import __version__, adql, services
from hven.formats import escape_xml, quote_attribute
from hven.model.errors import NotFoundError
from hven.portal.api.landing_pages import LandingPageExtension, LinkedDocument
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
    from hven.site.store import PublicationEvent, StateStore

ATOM_MEDIA_TYPE = "application/atom+xml"
RSS_MEDIA_TYPE = "application/rss+xml"
MAX_ENTRIES = 50  # of a feed
ACTION_WORDS = {"publish": "published", "rollback": "rolled back", "remove": "removed"}


class FeedTable(NamedTuple):
    """A table that the reader sees: its name in feeds, the noun for its rows, and whether some of them are hidden."""

    shown_name: str
    noun: str
    has_hidden_rows: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedEntry:
    """One publication, as a reader may see it.

    Attributes
    ----------
    urn
        Its identifier.
    title
        What happened to which tables.
    time
        When, in ISO 8601.
    descriptions
        The changes of each table.
    states
        The states of each table that existed before: the earlier one, and the present one.
    """

    urn: str
    title: str
    time: str
    descriptions: Sequence[str]
    states: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsFeed:
    """The feed of a collection.

    Attributes
    ----------
    resource
        The collection.
    authority
        Authority of its identifiers.
    base_url
        Address of the site, without a final slash.
    """

    resource: CollectionSpec
    authority: str
    base_url: str

    @property
    def title(self) -> str:
        """Title of the collection."""
        return self.resource.title or self.resource.name

    @property
    def page_url(self) -> str:
        """Address of the page of the collection."""
        return f"{self.base_url}/collections/{percent_encode(self.resource.name)}"

    def build_urn(self, *parts: str) -> str:
        """Build a URN that stays the same wherever the site moves."""
        name = "/".join([f"ivo://{self.authority}", "changes", self.resource.name, *parts])
        return uuid.uuid5(uuid.NAMESPACE_URL, name).urn


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>/changes.atom`` and ``changes.rss``."""
    site = context.site

    def write_feed(
        request: Request, write_document: Callable[[NewsFeed, Sequence[FeedEntry]], str]
    ) -> tuple[bytes, bool]:
        principal = context.identify_principal(request)
        published_state = anonymize_for_referee(site.get_published_state(), principal)
        name = request.path_params["name"]
        resource = published_state.resources.get(name)
        catalogue = published_state.get_catalogue(principal, context.policies)
        tables = [table for table in catalogue.iterate_tables() if table.schema == name]
        if resource is None or not tables:
            raise NotFoundError(f"there is no collection {name!r} here", remedy="see the collections on the home page")
        row_filters = collect_row_filters(tables, principal, context.policies)
        feed_tables = {}
        for table in tables:
            table_name = table.qualified_name
            noun = choose_row_noun(table, published_state.tables_by_name[table_name])
            feed_tables[table_name] = FeedTable(adql.quote_adql_name(table.name), noun, table_name in row_filters)
        authority = site.settings.find_collection_authority(name)
        feed = NewsFeed(resource=resource, authority=authority, base_url=services.get_base_url(request, site.settings))
        entries = islice(_iterate_entries(feed, site.store, feed_tables), MAX_ENTRIES)
        text = write_document(feed, list(entries))
        is_public = published_state.find_access_key(principal, context.policies) == "public"
        return text.encode(), is_public

    def build_feed_endpoint(
        write_document: Callable[[NewsFeed, Sequence[FeedEntry]], str], media_type: str
    ) -> Callable[[Request], Awaitable[Response]]:
        async def send_feed(request: Request) -> Response:
            body, is_public = await anyio.to_thread.run_sync(write_feed, request, write_document)
            cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=is_public)
            return services.answer_with_etag(request, cache_headers, f"{media_type}; charset=utf-8", body)

        return send_feed

    return [
        create_route("/collections/{name}/changes.atom", build_feed_endpoint(_write_atom_feed, ATOM_MEDIA_TYPE)),
        create_route("/collections/{name}/changes.rss", build_feed_endpoint(_write_rss_feed, RSS_MEDIA_TYPE)),
    ]


def _iterate_entries(feed: NewsFeed, store: StateStore, feed_tables: Mapping[str, FeedTable]) -> Iterator[FeedEntry]:
    """Yield the publications that changed a visible table, the newest first."""
    for event, previous_event in pairwise([*store.list_publication_events(feed.resource.name), None]):
        assert event is not None  # noqa: S101  (None is last)
        previous_state = {} if previous_event is None else previous_event.state
        changed_names = sorted(name for name in feed_tables if event.state.get(name) != previous_state.get(name))
        if not changed_names:
            continue
        counts_by_table = _read_run_row_counts(store, event.run)
        shown_names = ", ".join(feed_tables[name].shown_name for name in changed_names)
        kept_names = [name for name in changed_names if name in previous_state and name in event.state]
        yield FeedEntry(
            urn=feed.build_urn(event.at),
            title=f"{feed.title} {ACTION_WORDS.get(event.action, event.action)}: {shown_names}",
            time=event.at,
            descriptions=[
                _describe_change(event, name, feed_tables[name], counts_by_table.get(name)) for name in changed_names
            ],
            states={name: (previous_state[name], event.state[name]) for name in kept_names},
        )


def _read_run_row_counts(store: StateStore, run_id: str | None) -> Mapping[str, Any]:
    """Return the counts of a run by table; empty if the publication is not from a run but from a restored backup."""
    if not run_id:
        return {}
    try:
        run_summary = store.runs.get_run(run_id).summary
    except NotFoundError:
        return {}
    counts_by_table = run_summary.get("tables") or {}
    new_tables = {name: {"new": True, "rows": counts.get("published")} for name, counts in counts_by_table.items()}
    return {**new_tables, **(run_summary.get("changes") or {})}


def _describe_change(
    event: PublicationEvent, name: str, feed_table: FeedTable, counts: Mapping[str, Any] | None
) -> str:
    """Describe the change of a table; a reader who sees only some rows gets no counts."""
    if name not in event.state:
        text = ACTION_WORDS["remove"]
    elif counts is None or feed_table.has_hidden_rows or event.action != "publish":
        text = ACTION_WORDS.get(event.action, event.action)
    elif counts.get("new"):
        text = str(CountWithNoun(counts.get("rows") or 0, feed_table.noun))
    else:
        added = CountWithNoun(counts.get("added") or 0, feed_table.noun)
        text = f"{added} added, {counts.get('changed') or 0:,} changed, {counts.get('removed') or 0:,} removed"
    return f"{feed_table.shown_name}: {text}"


def _write_atom_feed(feed: NewsFeed, entries: Sequence[FeedEntry]) -> str:
    resource = feed.resource
    creators = [creator.name for creator in resource.creators] or [feed.authority]
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n',
        _write_element("id", feed.build_urn()),
        _write_element("title", f"{feed.title}: what changed"),
        _write_element("updated", entries[0].time if entries else "1970-01-01T00:00:00Z"),
        *(f"<author><name>{escape_xml(creator)}</name></author>\n" for creator in creators),
    ]
    if resource.licence:
        parts.append(_write_element("rights", resource.licence))
    parts += [
        _write_element("generator", "Hven", f' version="{__version__}"'),
        _write_atom_link("self", f"{feed.page_url}/changes.atom", ATOM_MEDIA_TYPE),
        _write_atom_link("alternate", feed.page_url, "text/html"),
    ]
    for entry in entries:
        parts += [
            "<entry>\n",
            _write_element("id", entry.urn),
            _write_element("title", entry.title),
            _write_element("updated", entry.time),
            _write_atom_link("alternate", feed.page_url, "text/html"),
        ]
        for table, (since, until) in entry.states.items():
            changes_query = urlencode({"since": since, "until": until})
            address = f"{feed.base_url}/changes/{percent_encode(table)}?{changes_query}"
            title_attribute = f" title={quote_attribute(f'changes of {table}')}"
            parts.append(_write_atom_link("related", address, "application/x-votable+xml", title_attribute))
        parts += [_write_element("content", "\n".join(entry.descriptions), ' type="text"'), "</entry>\n"]
    return "".join([*parts, "</feed>\n"])


def _write_rss_feed(feed: NewsFeed, entries: Sequence[FeedEntry]) -> str:
    """Write the same entries as RSS 2.0."""
    resource = feed.resource
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        '<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom">\n<channel>\n',
        _write_element("title", f"{feed.title}: what changed"),
        _write_element("link", feed.page_url),
        _write_element("description", resource.description or feed.title),
    ]
    if resource.licence:
        parts.append(_write_element("copyright", resource.licence))
    address = quote_attribute(f"{feed.page_url}/changes.rss")
    parts += [
        _write_element("generator", f"Hven {__version__}"),
        f'<atom:link rel="self" type="{RSS_MEDIA_TYPE}" href={address}/>\n',
    ]
    for entry in entries:
        publication_time = datetime.fromisoformat(entry.time).astimezone(UTC)
        parts += [
            "<item>\n",
            _write_element("title", entry.title),
            _write_element("link", feed.page_url),
            _write_element("guid", entry.urn, ' isPermaLink="false"'),
            _write_element("pubDate", format_datetime(publication_time, usegmt=True)),
            _write_element("description", "; ".join(entry.descriptions)),
            "</item>\n",
        ]
    return "".join([*parts, "</channel>\n</rss>\n"])


def _write_element(name: str, text: str, attributes: str = "") -> str:
    return f"<{name}{attributes}>{escape_xml(text)}</{name}>\n"


def _write_atom_link(rel: str, href: str, media_type: str, attributes: str = "") -> str:
    return f'<link rel="{rel}" type={quote_attribute(media_type)} href={quote_attribute(href)}{attributes}/>\n'


def list_feeds(page_url: str) -> Sequence[LinkedDocument]:
    """List the feeds of a collection for its page."""
    return [
        LinkedDocument(url=f"{page_url}/changes.atom", type=ATOM_MEDIA_TYPE, name="Atom"),
        LinkedDocument(url=f"{page_url}/changes.rss", type=RSS_MEDIA_TYPE, name="RSS"),
    ]


LANDING_PAGES = LandingPageExtension(list_feeds=list_feeds)
FACE = ServiceFace(name="atom", title="News", build_routes=build_routes)
