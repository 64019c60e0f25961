"""``/news``: what is new at this centre, from Markdown files with dates; as pages, RSS 2.0 and Atom (RFC 4287)."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, time
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from lxml import etree
from starlette.routing import Route

from hven import __version__
from hven import services as dali
from hven.formats.votable import legal
from hven.model.errors import NotFound, say
from hven.portal._pages import VARY, brand_of
from hven.portal._pages.markdown import shown
from hven.portal._pages.texts import spoken
from hven.portal._views.notes import Shelf
from hven.portal._views.page_formats import Asked, Page, page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.portal._pages import Brand
    from hven.portal._views.notes import Note
    from hven.services.face import Surroundings

ATOM = "http://www.w3.org/2005/Atom"
FED = 50  # entries of a feed
_LINKING = re.compile(r'\b(href|src)="([^"]*)"')


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/news``, ``/news/NAME``, ``/news.rss``, ``/news.atom``."""
    shelf = Shelf()
    root = around.site.settings.directory

    def notes(state: Asked) -> tuple[Note, ...]:
        return shelf.news(root / state.brand.news, root, state.language)

    async def stamp(state: Asked) -> object:
        return shelf.state(root / state.brand.news)

    async def every(state: Asked) -> Page:
        found = [(told(note, state.base), shown(note.text, opening=True)) for note in notes(state)]
        content = {"notes": [{**facts, "html": body} for facts, body in found], "one": None}
        return Page(template="news.html", content=content, twin={"news": [facts for facts, _ in found]})

    async def one(state: Asked) -> Page:
        name = state.request.path_params["name"].removesuffix(".json")
        note = next((each for each in notes(state) if each.name == name), None)
        if note is None:
            raise NotFound(say("there are no news {name!r} here", name[:80]), remedy="/news lists them")
        found = told(note, state.base)
        html = shown(note.text)
        return Page(
            template="news.html",
            content={"notes": [], "one": {**found, "html": html}},
            twin={**found, "text": note.text},
        )

    async def feed(request: Request) -> Response:
        brand = brand_of(request, around.site.settings)
        language = spoken(request, brand.language)
        found = shelf.news(root / brand.news, root, language)[:FED]
        atom = request.url.path.endswith(".atom")
        body = _atom(found, brand, language) if atom else _rss(found, brand, language)
        kind = "application/atom+xml" if atom else "application/rss+xml"
        return dali.tagged(
            request, dali.caching(dali.etag(body), public=True, vary=VARY), f"{kind}; charset=utf-8", body
        )

    return [
        Route("/news", page(every, around, documents=dali.Documents(), state_of=stamp)),
        Route("/news.json", page(every, around, documents=dali.Documents(), state_of=stamp)),
        Route("/news.rss", feed),
        Route("/news.atom", feed),
        Route("/news/{name}", page(one, around, documents=dali.Documents(), state_of=stamp)),
    ]


def told(note: Note, base: str) -> dict[str, Any]:
    """Return what lists say of a piece of news."""
    day = note.day.isoformat() if note.day is not None else ""
    return {
        "name": note.name,
        "title": note.title,
        "day": day,
        "begin": note.begin,
        "url": f"{base}/news/{quote(note.name)}",
    }


def _rss(notes: Sequence[Note], brand: Brand, language: str) -> bytes:
    root = etree.Element("rss", version="2.0", nsmap={"atom": ATOM})
    channel = etree.SubElement(root, "channel")
    for name, value in (("title", brand.title), ("link", f"{brand.base}/news"), ("description", brand.about or brand.title), ("language", language), ("generator", f"Hven {__version__}")):  # fmt: skip
        etree.SubElement(channel, name).text = legal(value)
    etree.SubElement(channel, f"{{{ATOM}}}link", href=f"{brand.base}/news.rss", rel="self", type="application/rss+xml")
    for note in notes:
        item = etree.SubElement(channel, "item")
        address = f"{brand.base}/news/{quote(note.name)}"
        etree.SubElement(item, "title").text = note.title
        etree.SubElement(item, "link").text = address
        etree.SubElement(item, "guid", isPermaLink="true").text = address
        etree.SubElement(item, "pubDate").text = format_datetime(_at(note), usegmt=True)
        etree.SubElement(item, "description").text = _with_absolute_links(str(shown(note.text)), address)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def _atom(notes: Sequence[Note], brand: Brand, language: str) -> bytes:
    names: Any = {None: ATOM}
    root = etree.Element(f"{{{ATOM}}}feed", nsmap=names)
    root.set("{http://www.w3.org/XML/1998/namespace}lang", language)

    def add(parent: Any, name: str, text: str | None = None, **attributes: str) -> Any:
        made = etree.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
        made.text = text
        return made

    home = f"{brand.base}/news"
    add(root, "id", home)
    add(root, "title", legal(brand.title))
    add(root, "updated", max((_written(note) for note in notes), default=datetime(1970, 1, 1, tzinfo=UTC)).isoformat())
    add(add(root, "author"), "name", legal(brand.title))
    add(root, "link", rel="self", type="application/atom+xml", href=f"{brand.base}/news.atom")
    add(root, "link", rel="alternate", type="text/html", href=home)
    add(root, "generator", "Hven", version=__version__)
    host = urlsplit(brand.base).hostname or "localhost"
    for note in notes:
        entry = add(root, "entry")
        day = note.day.isoformat() if note.day is not None else "1970-01-01"
        # RFC 4151: stays when addresses change
        add(entry, "id", f"tag:{host},{day}:{brand.portal or 'site'}/{quote(note.name)}")
        add(entry, "title", note.title)
        add(entry, "published", _at(note).isoformat())
        add(entry, "updated", _written(note).isoformat())
        add(entry, "link", rel="alternate", type="text/html", href=f"{brand.base}/news/{quote(note.name)}")
        here = f"{brand.base}/news/{quote(note.name)}"
        add(entry, "content", _with_absolute_links(str(shown(note.text)), here), type="html")
    return bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))


def _with_absolute_links(text: str, here: str) -> str:
    """Make the links and pictures of a piece of news absolute: readers of feeds do not know where it stands.

    Parameters
    ----------
    text
        HTML of ours, in which attributes stand in double quotes.
    here
        Address of its page.
    """

    def absolute(found: re.Match[str]) -> str:
        return f'{found[1]}="{html.escape(urljoin(here, html.unescape(found[2])))}"'

    return _LINKING.sub(absolute, text)


def _at(note: Note) -> datetime:
    return datetime.combine(note.day or note.changed.date(), time(12), UTC)


def _written(note: Note) -> datetime:
    """Return when a piece of news was last changed: no earlier than its day."""
    return max(note.changed.replace(microsecond=0), _at(note)) if note.changed < datetime.now(UTC) else _at(note)
