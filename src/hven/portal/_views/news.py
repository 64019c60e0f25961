"""Serve ``/news``: the news of the site, from Markdown files with dates, as pages, RSS 2.0 and Atom (RFC 4287)."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from lxml import etree
from starlette.routing import Route

from hven import __version__, services
from hven.formats import replace_illegal_characters
from hven.model.errors import NotFoundError, format_message
from hven.portal._pages import VARY_HEADERS, TemplateContext, find_portal_brand, record_to_dict
from hven.portal._pages.markdown import render_markdown
from hven.portal._pages.texts import choose_language
from hven.portal._views.notes import NewsAndHelpCache
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from markupsafe import Markup
    from starlette.requests import Request
    from starlette.responses import Response

    from hven.portal._pages import PortalBrand
    from hven.portal._views.notes import NewsOrHelpPage
    from hven.services.face import ServiceContext

ATOM_NAMESPACE = "http://www.w3.org/2005/Atom"
MAX_FEED_ENTRIES = 50  # of a feed
_LINK_PATTERN = re.compile(r'\b(href|src)="([^"]*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsItem:
    """A piece of news in lists: its name, its title, its day, its first words and its address."""

    name: str
    title: str
    day: str
    begin: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsPage(TemplateContext):
    """The list of news, or one of them.

    Attributes
    ----------
    notes
        The news, each with its first paragraph.
    one
        The piece of news that is shown; None for the list.
    text
        Its text.
    """

    template = "news.html"
    notes: Sequence[tuple[NewsItem, Markup]] = ()
    one: NewsItem | None = None
    text: Markup | None = None


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/news``, ``/news/NAME``, ``/news.rss``, ``/news.atom``."""
    note_cache = NewsAndHelpCache()
    site_directory = context.site.settings.directory

    def list_notes(page_context: PageContext) -> tuple[NewsOrHelpPage, ...]:
        return note_cache.list_news(site_directory / page_context.brand.news, site_directory, page_context.language)

    async def compute_state(page_context: PageContext) -> object:
        return note_cache.find_directory_state(site_directory / page_context.brand.news)

    async def list_news(page_context: PageContext) -> PageContent:
        rendered_notes = [
            (describe_news_item(note, page_context.base), render_markdown(note.text, is_first_paragraph_only=True))
            for note in list_notes(page_context)
        ]
        json_content = {"news": [news_item for news_item, _ in rendered_notes]}
        return PageContent(page=NewsPage(notes=rendered_notes), json_content=json_content)

    async def show_note(page_context: PageContext) -> PageContent:
        name = page_context.request.path_params["name"].removesuffix(".json")
        note = next((other_note for other_note in list_notes(page_context) if other_note.name == name), None)
        if note is None:
            raise NotFoundError(
                format_message("there is no news item {name!r} here", name[:80]), remedy="see /news for the list"
            )
        news_item = describe_news_item(note, page_context.base)
        page = NewsPage(one=news_item, text=render_markdown(note.text))
        return PageContent(page=page, json_content={**record_to_dict(news_item), "text": note.text})

    async def send_feed(request: Request) -> Response:
        brand = find_portal_brand(request, context.site.settings)
        language = choose_language(request, brand.language)
        news = note_cache.list_news(site_directory / brand.news, site_directory, language)
        latest_notes = news[:MAX_FEED_ENTRIES]
        is_atom = request.url.path.endswith(".atom")
        if is_atom:
            body = _write_atom_feed(latest_notes, brand, language)
        else:
            body = _write_rss_feed(latest_notes, brand, language)
        kind = "application/atom+xml" if is_atom else "application/rss+xml"
        cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=True, vary=VARY_HEADERS)
        return services.answer_with_etag(request, cache_headers, f"{kind}; charset=utf-8", body)

    def build_endpoint(build_content: Callable[[PageContext], Awaitable[PageContent]]) -> Any:
        documents = services.DocumentCache()
        return build_page_endpoint(build_content, context, document_cache=documents, compute_state=compute_state)

    return [
        Route("/news", build_endpoint(list_news)),
        Route("/news.json", build_endpoint(list_news)),
        Route("/news.rss", send_feed),
        Route("/news.atom", send_feed),
        Route("/news/{name}", build_endpoint(show_note)),
    ]


def describe_news_item(note: NewsOrHelpPage, base: str) -> NewsItem:
    """Describe a piece of news for lists."""
    if note.day is not None:
        day = note.day.isoformat()
    else:
        day = ""
    return NewsItem(
        name=note.name,
        title=note.title,
        day=day,
        begin=note.summary,
        url=f"{base}/news/{quote(note.name)}",
    )


def _write_rss_feed(notes: Sequence[NewsOrHelpPage], brand: PortalBrand, language: str) -> bytes:
    root = etree.Element("rss", version="2.0", nsmap={"atom": ATOM_NAMESPACE})
    channel = etree.SubElement(root, "channel")
    for name, value in (
        ("title", brand.title),
        ("link", f"{brand.base}/news"),
        ("description", brand.about or brand.title),
        ("language", language),
        ("generator", f"Hven {__version__}"),
    ):
        etree.SubElement(channel, name).text = replace_illegal_characters(value)
    etree.SubElement(
        channel, f"{{{ATOM_NAMESPACE}}}link", href=f"{brand.base}/news.rss", rel="self", type="application/rss+xml"
    )
    for note in notes:
        item = etree.SubElement(channel, "item")
        address = f"{brand.base}/news/{quote(note.name)}"
        etree.SubElement(item, "title").text = note.title
        etree.SubElement(item, "link").text = address
        etree.SubElement(item, "guid", isPermaLink="true").text = address
        etree.SubElement(item, "pubDate").text = format_datetime(_find_publication_time(note), usegmt=True)
        etree.SubElement(item, "description").text = _make_links_absolute(str(render_markdown(note.text)), address)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def _write_atom_feed(notes: Sequence[NewsOrHelpPage], brand: PortalBrand, language: str) -> bytes:
    names: Any = {None: ATOM_NAMESPACE}
    root = etree.Element(f"{{{ATOM_NAMESPACE}}}feed", nsmap=names)
    root.set("{http://www.w3.org/XML/1998/namespace}lang", language)

    def add_element(parent: Any, name: str, text: str | None = None, **attributes: str) -> Any:
        element = etree.SubElement(parent, f"{{{ATOM_NAMESPACE}}}{name}", attributes)
        element.text = text
        return element

    home = f"{brand.base}/news"
    add_element(root, "id", home)
    add_element(root, "title", replace_illegal_characters(brand.title))
    first_time = datetime(1970, 1, 1, tzinfo=UTC)
    updated = max((_find_change_time(note) for note in notes), default=first_time)
    add_element(root, "updated", updated.isoformat())
    add_element(add_element(root, "author"), "name", replace_illegal_characters(brand.title))
    add_element(root, "link", rel="self", type="application/atom+xml", href=f"{brand.base}/news.atom")
    add_element(root, "link", rel="alternate", type="text/html", href=home)
    add_element(root, "generator", "Hven", version=__version__)
    host = urlsplit(brand.base).hostname or "localhost"
    for note in notes:
        entry = add_element(root, "entry")
        if note.day is not None:
            day = note.day.isoformat()
        else:
            day = "1970-01-01"
        # a tag URI (RFC 4151) stays the same when addresses change
        add_element(entry, "id", f"tag:{host},{day}:{brand.portal or 'site'}/{quote(note.name)}")
        add_element(entry, "title", note.title)
        add_element(entry, "published", _find_publication_time(note).isoformat())
        add_element(entry, "updated", _find_change_time(note).isoformat())
        address = f"{brand.base}/news/{quote(note.name)}"
        add_element(entry, "link", rel="alternate", type="text/html", href=address)
        content = _make_links_absolute(str(render_markdown(note.text)), address)
        add_element(entry, "content", content, type="html")
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def _make_links_absolute(text: str, page_address: str) -> str:
    """Make the links and pictures of a piece of news absolute: feed readers do not know the address of the page.

    Parameters
    ----------
    text
        HTML of `render_markdown`, with attributes in double quotes.
    page_address
        Address of its page.
    """

    def replace_link(link_match: re.Match[str]) -> str:
        absolute_address = urljoin(page_address, html.unescape(link_match[2]))
        return f'{link_match[1]}="{html.escape(absolute_address)}"'

    return _LINK_PATTERN.sub(replace_link, text)


def _find_publication_time(note: NewsOrHelpPage) -> datetime:
    return datetime.combine(note.day or note.changed.date(), time(12), UTC)


def _find_change_time(note: NewsOrHelpPage) -> datetime:
    """Return when a piece of news was last changed: no earlier than its day."""
    if note.changed < datetime.now(UTC):
        return max(note.changed.replace(microsecond=0), _find_publication_time(note))
    return _find_publication_time(note)
