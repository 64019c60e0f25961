"""What pages for people have in common.

Templates, the frame around each, languages, and the headers that keep everything foreign out.
"""

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
from hven.model.table import translate_text
from hven.portal._explore import global_search
from hven.portal._explore.number_formatting import format_unit
from hven.portal._pages.assets import NO_COLOURS, find_asset_name, list_script_files
from hven.portal._pages.basket_store import BASKET_COOKIE as BASKET_COOKIE
from hven.portal._pages.basket_store import BASKET_DIRECTORY, BasketStore, parse_cookie
from hven.portal._pages.brand import PortalBrand, find_brand
from hven.portal._pages.editing_rights import list_editing_rights
from hven.portal._pages.texts import choose_language, list_languages, load_texts
from hven.portal._pages.translation import get_message_translator
from hven.services.addresses import get_host_url
from hven.site.auth import PROJECT_ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from starlette.requests import Request

    from hven.model.settings import Project, Settings
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

HTML_CONTENT_TYPE = "text/html; charset=utf-8"
THEME_COOKIE = "hven_theme"  # a cookie: light or dark, whatever the system says
LANGUAGE_PARAMETER, THEME_PARAMETER = "lang", "_theme"  # of an address; the server keeps them in cookies
SWITCH_PARAMETERS = (LANGUAGE_PARAMETER, THEME_PARAMETER)
THEMES = ("light", "dark", "system")
SAMP_HUB_ORIGINS = (
    "http://localhost:21012",
)  # of SAMP's Web Profile, on the reader's own computer (SAMP 1.3 section 5.2)
VARY_HEADERS = "accept, accept-encoding, accept-language, authorization, cookie"


@lru_cache(maxsize=8)
def load_templates(language: str = "en") -> Environment:
    """Load the templates; everything that comes from descriptors is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  (for pages for people alone)

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=partial(translate_text, language),  # texts of curators, in any place of a page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    translations = load_texts(language)
    environment.globals["_"] = lambda text, **values: (
        (translations.get(text, text)).format(**values) if values else translations.get(text, text)
    )
    environment.globals["language"] = language
    # as browsers group digits in this language: what the server drew does not change when scripts draw it again
    group_separator = "," if language == "en" else "\u202f"
    environment.filters["thousands"] = lambda value: "" if value is None else f"{value:,}".replace(",", group_separator)
    environment.filters["unit_text"] = lambda unit: translations.get(
        format_unit(unit), format_unit(unit)
    )  # kB is ko in French
    environment.filters["ago"] = partial(format_elapsed_time, words=translations)
    environment.filters["link"] = sanitize_address
    environment.filters["told"] = partial(translate_text, language)  # before a text is cut or changed
    return environment


def sanitize_address(address: str | None) -> str:
    """Return an address if a browser may follow it; nothing else becomes a link."""
    if address and re.match(r"(?:https?|ftp|mailto):", address, re.IGNORECASE):
        return address
    return ""


def format_elapsed_time(text: str | None, now: datetime | None = None, words: Any = None) -> str:
    """Format how long ago an ISO time was, in words; the exact time belongs into a tooltip."""
    if not text:
        return ""
    translations = words or {}
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    seconds = ((now or datetime.now(UTC)) - instant).total_seconds()
    for size, unit in ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count >= 1:
            elapsed_text = f"{{count}} {unit}{'s' * (count != 1)} ago"
            return str(translations.get(elapsed_text, elapsed_text)).format(count=count)
    return str(translations.get("just now", "just now"))


@lru_cache(maxsize=32)
def build_page_headers(
    *,
    allow_forms: bool = True,
    origins: Sequence[str] = (),
    allow_inline_styles: bool = False,
    allow_workers: bool = False,
    connect_origins: Sequence[str] = (),
) -> dict[str, str]:
    """Return the headers of every page: nothing runs in it but what we wrote, nothing is fetched from anywhere else.

    Parameters
    ----------
    allow_forms
        Forms are sent, to us alone.
    origins
        Further origins that the site file names: of images, surveys and services.
    allow_inline_styles
        True: a script of ours writes style elements (the map, the editor).
    allow_workers
        True: a script of ours starts workers and WebAssembly from its own text (the map).
    connect_origins
        Origins that scripts may ask when the reader says so: `SAMP_HUB_ORIGINS`.
    """
    form_target = "'self'" if allow_forms else "'none'"
    extra_origins = "".join(f" {origin}" for origin in origins)
    connect_sources = "".join(f" {origin}" for origin in connect_origins)
    inline_styles = " 'unsafe-inline'" if allow_inline_styles else ""
    if allow_workers:
        compiled, data, started = (" 'wasm-unsafe-eval'", " data: blob:", "worker-src blob:; ")
    else:
        compiled, data, started = ("", "", "")
    policy = (
        f"default-src 'none'; style-src 'self'{inline_styles}; script-src 'self'{compiled}; img-src 'self' data: blob:{extra_origins}; "
        f"connect-src 'self'{data}{extra_origins}{connect_sources}; font-src 'self' data:; {started}base-uri 'none'; form-action {form_target}; frame-ancestors 'self'"
    )
    return {
        "content-type": HTML_CONTENT_TYPE,
        "content-security-policy": policy,
        "referrer-policy": "strict-origin-when-cross-origin",
    }


def build_frame(request: Request, context: ServiceContext) -> dict[str, Any]:
    """Return what every page says: names, colours, contact, language, who reads.

    `asset` gives the address of a script or style sheet, `list_script_files` those of all that scripts begin with.
    """
    brand = find_brand(request, context.site.settings)
    base = brand.base
    colours = brand.colours
    language = choose_language(request, brand.language)
    query_params = request.query_params
    if query_params.get(THEME_PARAMETER) in THEMES:
        theme = query_params.get(THEME_PARAMETER)
    else:
        theme = request.cookies.get(THEME_COOKIE)

    principal = context.identify_principal(request)

    def build_asset_address(name: str) -> str:
        file_name = find_asset_name(name, colours)
        if file_name:
            return f"{base}/assets/{file_name}"
        return ""

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
        "origins": " ".join(context.site.settings.origins),
        "theme": theme if theme in {"light", "dark"} else None,
        "languages": list_languages(),
        "reader": principal.impersonator or principal.name,
        "seen_as": (principal.name or "")[3:] if principal.impersonator else None,
        "browser_texts": dict(load_texts(language, "browser")),
        "asset": build_asset_address,
        "scripts": lambda *names: [f"{base}/assets/{file}" for file in list_script_files(*names)],
        "switch": "",
        "own_path": _build_return_path(request, context.site.settings, base),
        "said": language,
        "kinds_here": _list_searchable_standards(request, context, brand),
        "edits": list_editing_rights(principal, context, brand),
        "projects_here": bool(list_visible_projects(principal, context.site.settings)),
        "basket": _count_basket_entries(request, context, principal),
    }


def _build_return_path(request: Request, settings: Settings, base: str) -> str:
    """Return the path of a page to which who logs in comes back; empty: there is none to look at again."""
    path: str = request.scope["path"]
    if request.scope["method"] not in {"GET", "HEAD"} or path.startswith(("/login", "/logout")):
        return ""
    site_prefix = get_host_url(request, settings).removesuffix(settings.root_path)
    return f"{base.removeprefix(site_prefix)}{quote(path, errors='replace')}"


def _count_basket_entries(request: Request, context: ServiceContext, principal: Principal) -> tuple[int, str]:
    """Count what is in a reader's basket; of who is logged in also say which state of it that is."""
    if principal.name is None:
        cookie = parse_cookie(request.cookies.get(BASKET_COOKIE))
        return cookie[0], ""
    if principal.impersonator:
        return (0, "")
    return get_basket_store(context).count_entries(principal.name)


def get_basket_store(context: ServiceContext) -> BasketStore:
    """Return where the site keeps baskets."""
    basket_store: BasketStore = context.site.get_or_create(
        BasketStore, context.site.settings.data_directory / BASKET_DIRECTORY
    )
    return basket_store


def list_visible_projects(principal: Principal, settings: Settings) -> list[tuple[Project, str | None]]:
    """List the projects that a reader may know of, each with their role in it."""

    def find_role(project: Project) -> str | None:
        own_roles = [
            role_name for role_name in PROJECT_ROLES if f"project:{project.name}:{role_name}" in principal.groups
        ]
        if "owner" in principal.groups:
            return PROJECT_ROLES[-1]
        if own_roles:
            return own_roles[-1]
        return None

    project_roles = [(project, find_role(project)) for project in settings.projects]
    return [(project, own_role) for project, own_role in project_roles if own_role or project.listed or project.open]


def _create_kind_cache() -> Cache[tuple[tuple[str, str], ...]]:
    return Cache(1000)


def _list_searchable_standards(
    request: Request, context: ServiceContext, brand: PortalBrand
) -> tuple[tuple[str, str], ...]:
    """List the standards of which this reader can search all tables at once.

    Here, or at services that the site file names.
    """
    try:
        published_state = context.site.get_published_state()
    except HvenError:  # a page of trouble is a page, too: health tells what it is
        return ()
    catalogue = published_state.get_catalogue(context.identify_principal(request), context.policies)
    standards_cache = context.site.get_or_create(_create_kind_cache)
    remote = context.site.settings.remote
    # settings may change and the tables not
    key = published_state.version, catalogue.access_key, brand.portal, brand.collections, remote
    cached_standards = standards_cache.find(key)
    if cached_standards is None:
        present_kinds = {
            global_search.classify_table(table)
            for table in catalogue.iterate_tables()
            if table.qualified_name in published_state.tables_by_name
            and (
                not brand.collections
                or table.schema in brand.collections
                or table.schema not in published_state.resources
            )
        }
        present_kinds |= {service.kind for service in remote}
        cached_standards = tuple(
            (kind, title) for kind, title in global_search.STANDARD_TITLES.items() if kind in present_kinds
        )
        standards_cache.store(key, cached_standards)
    return cached_standards


def build_query_suffix(request: Request) -> str:
    """Return the query of an address without what switches pages, to be written behind ``?lang=fr``.

    Empty, or it begins with ``&``.
    """
    other_parameters = [
        (name, value) for name, value in request.query_params.multi_items() if name not in SWITCH_PARAMETERS
    ]
    if other_parameters:
        return f"&{urlencode(other_parameters)}"
    return ""


def build_frame_tag(frame_values: dict[str, Any]) -> str:
    """Return what of the frame changes the page, for its tag."""
    return repr(
        [frame_values[name] for name in sorted(frame_values) if name not in {"asset", "browser_texts", "scripts"}]
        + [
            find_asset_name("hven.css", NO_COLOURS),
            find_asset_name("main.js", NO_COLOURS),
            frame_values["asset"]("brand.css"),
        ]
    )


def render_page(template: str, frame_values: dict[str, Any], **content: Any) -> bytes:
    """Write a page in the reader's language."""
    templates = load_templates(frame_values["said"])
    return templates.get_template(template).render(**frame_values, **content).encode()


def render_error_page(frame_values: dict[str, Any], status: int, message: str, **more: Any) -> bytes:
    """Write the page of an error.

    Parameters
    ----------
    more
        `near`: pages that may have been meant (title, url); `words`: what the search field begins with; `path`,
        `request_id`: of a page that does not exist.
    """
    return render_page(
        "error.html",
        frame_values,
        message=message,
        status=status,
        **{"near": (), "words": "", "path": "", "request_id": "", **more},
    )


__all__ = [
    "BASKET_COOKIE",
    "HTML_CONTENT_TYPE",
    "SAMP_HUB_ORIGINS",
    "SWITCH_PARAMETERS",
    "VARY_HEADERS",
    "PortalBrand",
    "build_frame",
    "build_frame_tag",
    "build_page_headers",
    "build_query_suffix",
    "find_brand",
    "format_elapsed_time",
    "get_basket_store",
    "get_message_translator",
    "list_visible_projects",
    "load_templates",
    "parse_cookie",
    "render_error_page",
    "render_page",
    "sanitize_address",
]
