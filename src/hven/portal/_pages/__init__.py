"""Shared parts of pages: templates, the frame of each page, languages, and security headers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven import __version__
from hven.model import plugins
from hven.model.table import translate_text
from hven.portal._explore.number_formatting import format_unit
from hven.portal._pages.assets import NO_COLOURS, find_hashed_asset_name, list_script_files
from hven.portal._pages.brand import PortalBrand, find_portal_brand
from hven.portal._pages.editing_rights import list_editing_rights
from hven.portal._pages.package_pages import (
    compute_package_frame_values,
    find_package_page_address,
    list_page_part_templates,
    list_shown_part_templates,
    load_package_pages,
)
from hven.portal._pages.package_scripts import find_package_asset_path, map_pane_script_paths
from hven.portal._pages.template_code import open_template_code_cache
from hven.portal._pages.template_contexts import (
    ErrorPage,
    PageFrame,
    PageLink,
    TemplateContext,
    record_to_dict,
)
from hven.portal._pages.texts import (
    DEFAULT_LANGUAGE,
    FRENCH_GROUP_SEPARATOR,
    TextFormatter,
    choose_language,
    list_languages,
    load_page_translations,
)
from hven.portal._pages.translation import get_message_translator
from hven.services.addresses import get_host_url
from hven.site.auth import PROJECT_ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Environment
    from starlette.requests import Request

    from hven.model.settings import ProjectSettings, Settings
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

HTML_CONTENT_TYPE = "text/html; charset=utf-8"
THEME_COOKIE = "hven_theme"  # light or dark, whatever the system's setting
LANGUAGE_PARAMETER, THEME_PARAMETER = "lang", "_theme"  # parameters of an address; the server keeps them in cookies
SWITCH_PARAMETERS = (LANGUAGE_PARAMETER, THEME_PARAMETER)
THEMES = ("light", "dark", "system")
# the hub of SAMP's Web Profile, on the reader's own computer (SAMP 1.3 section 5.2)
SAMP_HUB_ORIGINS = ("http://localhost:21012",)
VARY_HEADERS = "accept, accept-encoding, accept-language, authorization, cookie"


@plugins.cache_until_selection
def load_templates(language: str = "en") -> Environment:
    """Load the templates of a language; they escape all texts from descriptors."""
    # only pages need it
    from jinja2 import (  # noqa: PLC0415
        ChoiceLoader,
        Environment,
        FileSystemLoader,
        PrefixLoader,
        StrictUndefined,
        pass_context,
    )

    @pass_context  # or the translations of constants would become part of the compiled code, which all languages share
    def translate_output(_: object, text: Any) -> Any:
        return translate_text(language, text)

    package_loaders = {name: FileSystemLoader(pages.template_directory) for name, pages in load_package_pages().items()}
    core_loader = FileSystemLoader(Path(__file__).parent.parent / "pages")
    environment = Environment(
        loader=ChoiceLoader([core_loader, PrefixLoader(package_loaders)]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=translate_output,  # translates texts of curators anywhere in a page
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # or the results of filters on constants would become part of the compiled code, too
        bytecode_cache=open_template_code_cache(),
    )
    translations = load_page_translations(language)
    format_text = str.format if language == DEFAULT_LANGUAGE else TextFormatter().format

    def translate(text: str, **values: object) -> str:
        translation = translations.get(text, text)
        if values:
            return format_text(translation, **{name: translate_output(None, value) for name, value in values.items()})
        return translation

    group_separator = "," if language == DEFAULT_LANGUAGE else FRENCH_GROUP_SEPARATOR

    def format_thousands(value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:,}".replace(",", group_separator)

    def add_remedy(message: Any, remedy: Any) -> str:
        return f"{translate_output(None, message)} \N{EN DASH} {translate_output(None, remedy)}" if remedy else message

    def format_unit_text(unit: str) -> str:
        unit_text = format_unit(unit)
        return translations.get(unit_text, unit_text)  # kB is ko in French

    environment.globals["_"] = translate
    environment.globals["language"] = language
    environment.globals["colon"] = ": " if language == DEFAULT_LANGUAGE else "\N{NO-BREAK SPACE}: "  # in running text
    environment.globals["page_parts"] = list_page_part_templates
    environment.globals["shown_parts"] = list_shown_part_templates
    environment.filters["thousands"] = format_thousands
    environment.filters["unit_text"] = format_unit_text
    environment.filters["with_remedy"] = add_remedy  # of a fault, as describeError of dom.js
    environment.filters["ago"] = partial(format_elapsed_time, words=translations)
    environment.filters["link"] = sanitize_address
    environment.filters["told"] = partial(translate_text, language)  # for texts that are cut or changed afterwards
    return environment


def sanitize_address(address: str | None) -> str:
    """Return an address if it may become a link; otherwise an empty text."""
    if address and re.match(r"(?:https?|ftp|mailto):", address, re.IGNORECASE):
        return address
    return ""


def format_elapsed_time(text: str | None, now: datetime | None = None, words: Any = None) -> str:
    """Format the time since an ISO time in words."""
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
def build_page_security_headers(
    *,
    allow_forms: bool = True,
    origins: Sequence[str] = (),
    allow_inline_styles: bool = False,
    allow_workers: bool = False,
    allow_media: bool = False,
    connect_origins: Sequence[str] = (),
) -> dict[str, str]:
    """Return the security headers of a page: only this site's scripts run, and only allowed addresses are fetched.

    Parameters
    ----------
    allow_forms
        True: forms may be sent, only to this site.
    origins
        Further origins of images, surveys and services, from the site file.
    allow_inline_styles
        True: a script of this site writes style elements (the map, the editor).
    allow_workers
        True: a script of this site starts workers and WebAssembly from its own text (the map).
    allow_media
        True: the page plays films of this site.
    connect_origins
        Origins that scripts may connect to when the reader asks for it: `SAMP_HUB_ORIGINS`.
    """
    form_target = "'self'" if allow_forms else "'none'"
    extra_origins = "".join(f" {origin}" for origin in origins)
    connect_sources = "".join(f" {origin}" for origin in connect_origins)
    inline_styles = " 'unsafe-inline'" if allow_inline_styles else ""
    wasm_source = data_sources = worker_directive = ""
    media_directive = "media-src 'self'; " if allow_media else ""
    if allow_workers:
        wasm_source = " 'wasm-unsafe-eval'"
        data_sources = " data: blob:"
        worker_directive = "worker-src blob:; "
    policy = (
        f"default-src 'none'; style-src 'self'{inline_styles}; script-src 'self'{wasm_source}; "
        f"img-src 'self' data: blob:{extra_origins}; "
        f"connect-src 'self'{data_sources}{extra_origins}{connect_sources}; font-src 'self' data:; "
        f"{worker_directive}{media_directive}base-uri 'none'; form-action {form_target}; frame-ancestors 'self'"
    )
    return {
        "content-type": HTML_CONTENT_TYPE,
        "content-security-policy": policy,
        "referrer-policy": "strict-origin-when-cross-origin",
    }


def build_page_frame(request: Request, context: ServiceContext, *, has_switches: bool = False) -> PageFrame:
    """Build the frame of a page.

    Parameters
    ----------
    request
        The request of the page.
    context
        The context of the service.
    has_switches
        True: links to other languages and themes keep the query of the address.

    Returns
    -------
    frame
        The frame, with the rights and the language of the reader.
    """
    brand = find_portal_brand(request, context.site.settings)
    base = brand.base
    colours = brand.colours
    language = choose_language(request, brand.language)
    query_params = request.query_params
    if query_params.get(THEME_PARAMETER) in THEMES:
        theme = query_params.get(THEME_PARAMETER)
    else:
        theme = request.cookies.get(THEME_COOKIE)

    def list_script_addresses(*names: str) -> list[str]:
        return [f"{base}/assets/{file}" for file in list_script_files(*names)]

    principal = context.identify_principal(request)

    def build_asset_address(name: str) -> str:
        file_name = find_hashed_asset_name(name, colours) or find_package_asset_path(name)
        if file_name:
            return f"{base}/assets/{file_name}"
        return ""

    return PageFrame(
        base=base,
        root=brand.root,
        title=brand.title,
        about=brand.about,
        contact=brand.contact,
        credit=brand.credit,
        logo=f"{base}/logo" if brand.logo else "",
        software=__version__,
        origins=" ".join(context.site.settings.origins),
        theme=theme if theme in {"light", "dark"} else None,
        languages=list_languages(),
        said=language,
        reader=principal.impersonator or principal.name,
        seen_as=(principal.name or "")[3:] if principal.impersonator else None,
        browser_texts=dict(load_page_translations(language, "browser")),
        asset=build_asset_address,
        scripts=list_script_addresses,
        package_panes={pane: f"{base}/assets/{file}" for pane, file in map_pane_script_paths().items()},
        switch=_build_query_suffix_without_switches(request) if has_switches else "",
        own_path=build_login_return_path(request, context.site.settings, base),
        edits=list_editing_rights(principal, context, brand),
        projects_here=bool(list_visible_projects(principal, context.site.settings)),
        word_search=find_package_page_address("word_search_path", base),
        query_editor=find_package_page_address("query_editor_path", base),
        job_list=find_package_page_address("job_list_path", base),
        frame_values=compute_package_frame_values(request, context),
    )


def build_login_return_path(request: Request, settings: Settings, base: str) -> str:
    """Return the path to which a log-in leads back; empty for pages that cannot be shown again."""
    path: str = request.scope["path"]
    if request.scope["method"] not in {"GET", "HEAD"} or path.startswith(("/login", "/logout")):
        return ""
    site_prefix = get_host_url(request, settings).removesuffix(settings.root_path)
    return f"{base.removeprefix(site_prefix)}{quote(path, errors='replace')}"


def list_visible_projects(principal: Principal, settings: Settings) -> list[tuple[ProjectSettings, str | None]]:
    """List the projects that a user may see, each with the user's role."""

    def find_role(project: ProjectSettings) -> str | None:
        group_prefix = f"project:{project.name}:"
        own_roles = [role for role in PROJECT_ROLES if f"{group_prefix}{role}" in principal.groups]
        if "owner" in principal.groups:
            return PROJECT_ROLES[-1]
        if own_roles:
            return own_roles[-1]
        return None

    project_roles = [(project, find_role(project)) for project in settings.projects]
    visible_projects = []
    for project, own_role in project_roles:
        if own_role or project.listed or project.open:
            visible_projects.append((project, own_role))
    return visible_projects


def _build_query_suffix_without_switches(request: Request) -> str:
    """Return the query of an address without switches, to append to ``?lang=fr``: empty, or it begins with ``&``."""
    query_items = request.query_params.multi_items()
    other_parameters = [(name, value) for name, value in query_items if name not in SWITCH_PARAMETERS]
    if other_parameters:
        return f"&{urlencode(other_parameters)}"
    return ""


def build_frame_etag_text(frame: PageFrame) -> str:
    """Return the values of the frame that change a page, as a text for its tag."""
    unhashed_names = {"asset", "browser_texts", "scripts"}
    values = [value for name, value in record_to_dict(frame).items() if name not in unhashed_names]
    asset_names = [find_hashed_asset_name("hven.css", NO_COLOURS), find_hashed_asset_name("main.js", NO_COLOURS)]
    return repr([*values, *asset_names, frame.asset("brand.css")])


def render_page(page: TemplateContext, frame: PageFrame) -> bytes:
    """Render a page in the reader's language.

    Parameters
    ----------
    page
        The context of its template.
    frame
        The frame of the page.

    Returns
    -------
    html
        The page in UTF-8.
    """
    template = load_templates(frame.said).get_template(page.template)
    return template.render(record_to_dict(frame) | record_to_dict(page)).encode()


def render_page_part(part: TemplateContext, language: str) -> str:
    """Render a part of a page, which has no frame.

    Parameters
    ----------
    part
        The context of the template.
    language
        Language of the texts.

    Returns
    -------
    html
        The part.
    """
    return load_templates(language).get_template(part.template).render(record_to_dict(part))


__all__ = [
    "HTML_CONTENT_TYPE",
    "SAMP_HUB_ORIGINS",
    "SWITCH_PARAMETERS",
    "VARY_HEADERS",
    "ErrorPage",
    "PageFrame",
    "PageLink",
    "PortalBrand",
    "TemplateContext",
    "build_frame_etag_text",
    "build_login_return_path",
    "build_page_frame",
    "build_page_security_headers",
    "find_portal_brand",
    "format_elapsed_time",
    "get_message_translator",
    "list_visible_projects",
    "load_templates",
    "record_to_dict",
    "render_page",
    "render_page_part",
    "sanitize_address",
]
