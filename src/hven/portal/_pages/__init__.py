"""What pages for people have in common: templates, the frame around each, languages, and the headers that keep everything foreign out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven import __version__
from hven.model import Cache
from hven.model.errors import HvenError
from hven.model.table import told_in
from hven.portal._explore import global_search
from hven.portal._explore.number_text import unit_text
from hven.portal._pages.assets import NONE, named, scripts
from hven.portal._pages.basket_shelf import BASKETS, Shelf, carried
from hven.portal._pages.basket_shelf import COOKIE as BASKET
from hven.portal._pages.brand import Brand, brand_of
from hven.portal._pages.editors import edits
from hven.portal._pages.texts import languages, spoken, texts
from hven.portal._pages.translation import faults_in
from hven.services.address import door
from hven.site.auth import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from starlette.requests import Request

    from hven.model.settings import Project, Settings
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

HTML = "text/html; charset=utf-8"
THEME = "hven_theme"  # a cookie: light or dark, whatever the system says
LANGUAGE_PARAMETER, THEME_PARAMETER = "lang", "_theme"  # of an address; the server keeps them in cookies
SWITCHES = (LANGUAGE_PARAMETER, THEME_PARAMETER)
THEMES = ("light", "dark", "system")
HUB = ("http://localhost:21012",)  # of SAMP's Web Profile, on the reader's own computer (SAMP 1.3 section 5.2)
VARY = "accept, accept-encoding, accept-language, authorization, cookie"


@lru_cache(maxsize=8)
def pages(language: str = "en") -> Environment:
    """Load the templates; everything that comes from descriptors is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  (for pages for people alone)

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=partial(told_in, language),  # texts of curators, in any place of a page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = texts(language)
    found.globals["_"] = lambda text, **values: (
        (words.get(text, text)).format(**values) if values else words.get(text, text)
    )
    found.globals["language"] = language
    # as browsers group digits in this language: what the server drew does not change when scripts draw it again
    sign = "," if language == "en" else "\u202f"
    found.filters["thousands"] = lambda value: "" if value is None else f"{value:,}".replace(",", sign)
    found.filters["unit_text"] = lambda unit: words.get(unit_text(unit), unit_text(unit))  # kB is ko in French
    found.filters["ago"] = partial(ago, words=words)
    found.filters["link"] = link
    found.filters["told"] = partial(told_in, language)  # before a text is cut or changed
    return found


def link(address: str | None) -> str:
    """Return an address if a browser may follow it; nothing else becomes a link."""
    return address if address and re.match(r"(?:https?|ftp|mailto):", address, re.IGNORECASE) else ""


def ago(text: str | None, now: datetime | None = None, words: Any = None) -> str:
    """Format how long ago an ISO time was, in words; the exact time belongs into a tooltip."""
    if not text:
        return ""
    known = words or {}
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    for size, unit in ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count >= 1:
            said = f"{{count}} {unit}{'s' * (count != 1)} ago"
            return str(known.get(said, said)).format(count=count)
    return str(known.get("just now", "just now"))


@lru_cache(maxsize=32)
def guarded(
    *,
    forms: bool = True,
    origins: Sequence[str] = (),
    styles: bool = False,
    workers: bool = False,
    connect: Sequence[str] = (),
) -> dict[str, str]:
    """Return the headers of every page: nothing runs in it but what we wrote, nothing is fetched from anywhere else.

    Parameters
    ----------
    forms
        Forms are sent, to us alone.
    origins
        Further origins that the site file names: of images, surveys and services.
    styles
        True: a script of ours writes style elements (the map, the editor).
    workers
        True: a script of ours starts workers and WebAssembly from its own text (the map).
    connect
        Origins that scripts may ask when the reader says so: `HUB`.
    """
    to = "'self'" if forms else "'none'"
    also = "".join(f" {origin}" for origin in origins)
    asked = "".join(f" {origin}" for origin in connect)
    inline = " 'unsafe-inline'" if styles else ""
    compiled, data, started = (" 'wasm-unsafe-eval'", " data: blob:", "worker-src blob:; ") if workers else ("", "", "")
    policy = (
        f"default-src 'none'; style-src 'self'{inline}; script-src 'self'{compiled}; img-src 'self' data: blob:{also}; "
        f"connect-src 'self'{data}{also}{asked}; font-src 'self' data:; {started}base-uri 'none'; form-action {to}; frame-ancestors 'self'"
    )
    return {
        "content-type": HTML,
        "content-security-policy": policy,
        "referrer-policy": "strict-origin-when-cross-origin",
    }


def frame(request: Request, around: Surroundings) -> dict[str, Any]:
    """Return what every page says: names, colours, contact, language, who reads; `asset` gives the address of a script or style sheet, `scripts` those of all that scripts begin with."""
    brand = brand_of(request, around.site.settings)
    base, colours = brand.base, brand.colours
    language = spoken(request, brand.language)
    given = request.query_params
    theme = given.get(THEME_PARAMETER) if given.get(THEME_PARAMETER) in THEMES else request.cookies.get(THEME)

    who = around.reader(request)

    def asset(name: str) -> str:
        file = named(name, colours)
        return f"{base}/assets/{file}" if file else ""

    return {
        "base": base,
        "root": brand.root,
        "portal": brand.portal,
        "title": brand.title,
        "about": brand.about,
        "contact": brand.contact,
        "credit": brand.credit,
        "logo": f"{base}/logo" if brand.logo else "",
        "software": __version__,
        "origins": " ".join(around.site.settings.origins),
        "theme": theme if theme in {"light", "dark"} else None,
        "languages": languages(),
        "reader": who.by or who.name,
        "seen_as": (who.name or "")[3:] if who.by else None,
        "browser_texts": dict(texts(language, "browser")),
        "asset": asset,
        "scripts": lambda *names: [f"{base}/assets/{file}" for file in scripts(*names)],
        "switch": "",
        "own_path": _own_path(request, around.site.settings, base),
        "said": language,
        "kinds_here": _kinds(request, around, brand),
        "edits": edits(who, around, brand),
        "projects_here": bool(projects_of(who, around.site.settings)),
        "basket": _basket(request, around, who),
    }


def _own_path(request: Request, settings: Settings, base: str) -> str:
    """Return the path of a page to which who logs in comes back; empty: there is none to look at again."""
    path: str = request.scope["path"]
    if request.scope["method"] not in {"GET", "HEAD"} or path.startswith(("/login", "/logout")):
        return ""
    above = door(request, settings).removesuffix(settings.root_path)
    return f"{base.removeprefix(above)}{quote(path, errors='replace')}"


def _basket(request: Request, around: Surroundings, who: Reader) -> tuple[int, str]:
    """Count what is in a reader's basket; of who is logged in also say which state of it that is."""
    if who.name is None:
        return carried(request.cookies.get(BASKET))[0], ""
    return (0, "") if who.by else shelf(around).counted(who.name)


def shelf(around: Surroundings) -> Shelf:
    """Return where the site keeps baskets."""
    found: Shelf = around.site.kept(Shelf, around.site.settings.kept / BASKETS)
    return found


def projects_of(who: Reader, settings: Settings) -> list[tuple[Project, str | None]]:
    """List the projects that a reader may know of, each with their role in it."""

    def role(project: Project) -> str | None:
        mine = [one for one in ROLES if f"project:{project.name}:{one}" in who.groups]
        return ROLES[-1] if "owner" in who.groups else mine[-1] if mine else None

    found = [(project, role(project)) for project in settings.projects]
    return [(project, mine) for project, mine in found if mine or project.listed or project.open]


def _kinds_known() -> Cache[tuple[tuple[str, str], ...]]:
    return Cache(1000)


def _kinds(request: Request, around: Surroundings, brand: Brand) -> tuple[tuple[str, str], ...]:
    """List the standards of which this reader can search all tables at once: here, or at services that the site file names."""
    try:
        holdings = around.site.current()
    except HvenError:  # a page of trouble is a page, too: health tells what it is
        return ()
    catalogue = holdings.catalogue(around.reader(request), around.policies)
    known = around.site.kept(_kinds_known)
    remote = around.site.settings.remote
    # settings may change and the tables not
    key = holdings.version, catalogue.key, brand.portal, brand.collections, remote
    found = known.find(key)
    if found is None:
        there = {
            global_search.kind_of(table)
            for table in catalogue.tables()
            if table.qualified in holdings.published
            and (not brand.collections or table.schema in brand.collections or table.schema not in holdings.resources)
        }
        there |= {service.kind for service in remote}
        found = tuple((kind, title) for kind, title in global_search.TITLES.items() if kind in there)
        known.keep(key, found)
    return found


def stripped(request: Request) -> str:
    """Return the query of an address without what switches pages, to be written behind ``?lang=fr``; empty, or it begins with ``&``."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in SWITCHES]
    return f"&{urlencode(kept)}" if kept else ""


def tagged(facts: dict[str, Any]) -> str:
    """Return what of the frame changes the page, for its tag."""
    return repr(
        [facts[name] for name in sorted(facts) if name not in {"asset", "browser_texts", "scripts"}]
        + [named("hven.css", NONE), named("main.js", NONE), facts["asset"]("brand.css")]
    )


def written(template: str, facts: dict[str, Any], **content: Any) -> bytes:
    """Write a page in the reader's language."""
    return pages(facts["said"]).get_template(template).render(**facts, **content).encode()


def error_page(facts: dict[str, Any], status: int, message: str, **more: Any) -> bytes:
    """Write the page of an error.

    Parameters
    ----------
    more
        `near`: pages that may have been meant (title, url); `words`: what the search field begins with; `path`, `request_id`: of a page
        that does not exist.
    """
    return written(
        "error.html",
        facts,
        message=message,
        status=status,
        **{"near": (), "words": "", "path": "", "request_id": "", **more},
    )


__all__ = [
    "BASKET",
    "HTML",
    "HUB",
    "SWITCHES",
    "VARY",
    "Brand",
    "ago",
    "brand_of",
    "carried",
    "error_page",
    "faults_in",
    "frame",
    "guarded",
    "link",
    "pages",
    "projects_of",
    "shelf",
    "stripped",
    "tagged",
    "written",
]
