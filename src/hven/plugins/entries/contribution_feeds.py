"""Serve comments on the rows of a table, or entries, as feeds: Atom (RFC 4287) and RSS 2.0."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

import anyio.to_thread

from hven import __version__, services
from hven.formats import escape_xml, quote_attribute, replace_illegal_characters
from hven.portal.api.pages import PageContext, build_page_context
from hven.services.face import create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.services.face import ServiceContext

ATOM_MEDIA_TYPE = "application/atom+xml"
RSS_MEDIA_TYPE = "application/rss+xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionFeedEntry:
    """A comment or an entry, as a reader may see it.

    Attributes
    ----------
    id
        Its number; for entries also the step, so that each step is news.
    title
        What it is about.
    author
        The account.
    published, updated
        When it was written, and when somebody decided on it; ISO, UTC.
    url
        Its address.
    text
        The text.
    work_urls
        Addresses of the works that it cites.
    """

    id: str
    title: str
    author: str
    published: str
    updated: str
    url: str
    text: str
    work_urls: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionFeed:
    """Comments or entries of a table, the newest first.

    Attributes
    ----------
    name
        Name that stays the same wherever the site moves.
    title, site_title
        Titles of the feed and of the site.
    page_url
        Address of the page that lists them; the feeds are below it.
    updated
        When the last of them changed; ISO, UTC.
    entries
        The comments or entries.
    """

    name: str
    title: str
    site_title: str
    page_url: str
    updated: str
    entries: Sequence[ContributionFeedEntry]

    def build_urn(self, *parts: str) -> str:
        """Build the identifier of the feed, or of an entry."""
        return uuid.uuid5(uuid.NAMESPACE_URL, "/".join([self.name, *parts])).urn


def build_feed_routes(
    path: str, context: ServiceContext, build_feed: Callable[[PageContext], tuple[ContributionFeed, bool]]
) -> list[Route]:
    """Build the routes of a feed: ``feed.atom`` and ``feed.rss`` below a path.

    Parameters
    ----------
    path
        The path of the page that lists the contributions.
    context
        The site, its users and its services.
    build_feed
        Builds the feed for the user of a request; returns it, and whether it is the same for everybody.
    """

    def build_route(name: str, media_type: str, write_document: Callable[[ContributionFeed], str]) -> Route:
        async def send_feed(request: Request) -> Response:
            def write_feed() -> tuple[bytes, bool]:
                feed, is_public = build_feed(build_page_context(request, context))
                return write_document(feed).encode(), is_public

            body, is_public = await anyio.to_thread.run_sync(write_feed)
            cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=is_public)
            return services.answer_with_etag(request, cache_headers, f"{media_type}; charset=utf-8", body)

        return create_route(f"{path}/{name}", send_feed)

    return [
        build_route("feed.atom", ATOM_MEDIA_TYPE, write_atom_feed),
        build_route("feed.rss", RSS_MEDIA_TYPE, write_rss_feed),
    ]


def write_atom_feed(feed: ContributionFeed) -> str:
    """Write a feed as Atom (RFC 4287).

    Parameters
    ----------
    feed
        The feed.
    """
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n',
        _write_element("id", feed.build_urn()),
        _write_element("title", feed.title),
        _write_element("updated", feed.updated),
        f"<author>{_write_element('name', feed.site_title)}</author>\n",
        f'<generator version="{__version__}">Hven</generator>\n',
        f'<link rel="self" type="{ATOM_MEDIA_TYPE}" href={quote_attribute(f"{feed.page_url}/feed.atom")}/>\n',
        f'<link rel="alternate" type="text/html" href={quote_attribute(feed.page_url)}/>\n',
    ]
    for entry in feed.entries:
        parts += [
            "<entry>\n",
            _write_element("id", feed.build_urn(entry.id)),
            _write_element("title", entry.title),
            _write_element("published", entry.published),
            _write_element("updated", entry.updated),
            f"<author>{_write_element('name', entry.author)}</author>\n",
            f'<link rel="alternate" type="text/html" href={quote_attribute(entry.url)}/>\n',
            *(f'<link rel="related" href={quote_attribute(url)}/>\n' for url in entry.work_urls),
            _write_element("content", entry.text),
            "</entry>\n",
        ]
    return "".join([*parts, "</feed>\n"])


def write_rss_feed(feed: ContributionFeed) -> str:
    """Write a feed as RSS 2.0.

    Parameters
    ----------
    feed
        The feed.
    """
    feed_address = quote_attribute(f"{feed.page_url}/feed.rss")
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"',
        ' xmlns:dc="http://purl.org/dc/elements/1.1/">\n<channel>\n',
        _write_element("title", feed.title),
        _write_element("link", feed.page_url),
        _write_element("description", f"{feed.site_title}: {feed.title}"),
        _write_element("lastBuildDate", _format_rss_date(feed.updated)),
        _write_element("generator", f"Hven {__version__}"),
        f'<atom:link rel="self" type="{RSS_MEDIA_TYPE}" href={feed_address}/>\n',
    ]
    for entry in feed.entries:
        parts += [
            "<item>\n",
            _write_element("title", entry.title),
            _write_element("link", entry.url),
            f'<guid isPermaLink="false">{feed.build_urn(entry.id)}</guid>\n',
            _write_element("pubDate", _format_rss_date(entry.updated)),
            _write_element("dc:creator", entry.author),
            _write_element("description", escape_xml(entry.text)),  # which readers take for HTML
            "</item>\n",
        ]
    return "".join([*parts, "</channel>\n</rss>\n"])


def _format_rss_date(moment: str) -> str:
    return format_datetime(datetime.fromisoformat(moment).astimezone(UTC), usegmt=True)


def _write_element(name: str, text: str) -> str:
    return f"<{name}>{escape_xml(replace_illegal_characters(text))}</{name}>\n"
