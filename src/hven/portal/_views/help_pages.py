"""Serve ``/help``: the Markdown pages beside the site file and beside each descriptor, with their pictures.

Also serve ``/logo``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from hven import services
from hven.model.errors import NotFoundError, format_message
from hven.portal._pages import PageLink, TemplateContext, find_portal_brand
from hven.portal._pages.markdown import render_markdown
from hven.portal._views.notes import PICTURE_MEDIA_TYPES, NewsAndHelpCache
from hven.portal._views.page_formats import PageContent, PageContext, build_page_context, build_page_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup
    from starlette.requests import Request

    from hven.model.resource import CollectionSpec
    from hven.services.face import ServiceContext

LOGO_MEDIA_TYPES = {**PICTURE_MEDIA_TYPES, ".svg": "image/svg+xml"}
# an SVG that is opened by itself is a document: it may run no scripts and fetch nothing
INERT_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
}
NOTE_CACHE = NewsAndHelpCache()


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpText:
    """A help page: its title and its text."""

    title: str
    html: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpPage(TemplateContext):
    """The list of help pages, or one of them.

    Attributes
    ----------
    one
        The page that is shown; None for the list.
    above
        Its collection; None for a page of the site.
    pages, groups
        The pages of the site, and those of collections.
    """

    template = "help.html"
    one: HelpText | None = None
    above: PageLink | None = None
    pages: Sequence[PageLink] = ()
    groups: Sequence[Mapping[str, object]] = ()


def list_collection_help_pages(resource: CollectionSpec, page_context: PageContext) -> list[PageLink]:
    """List the help pages of a collection."""
    folder = resource.path.parent / page_context.context.site.settings.help
    notes = NOTE_CACHE.list_help_pages(folder, page_context.context.site.settings.directory, page_context.language)
    return [
        PageLink(title=note.title, url=f"{page_context.base}/help/{quote(resource.name)}/{quote(note.name)}")
        for note in notes
    ]


def find_collection_thumbnail_address(resource: CollectionSpec, page_context: PageContext) -> str:
    """Return the address of the picture on a collection's card (``help/thumbnail.png`` beside its descriptor).

    Empty if there is none.
    """
    files = NOTE_CACHE.find_directory_state(resource.path.parent / page_context.context.site.settings.help)
    for name, _, _ in files:
        path = Path(name)
        if path.stem == "thumbnail" and path.suffix.lower() in PICTURE_MEDIA_TYPES:
            return f"{page_context.base}/help/{quote(resource.name)}/{quote(name)}"
    return ""


def list_site_help_pages(page_context: PageContext) -> list[PageLink]:
    """List the help pages of the site."""
    directory = page_context.context.site.settings.directory
    notes = NOTE_CACHE.list_help_pages(directory / page_context.brand.help, directory, page_context.language)
    return [PageLink(title=note.title, url=f"{page_context.base}/help/{quote(note.name)}") for note in notes]


def list_visible_collections(page_context: PageContext) -> list[CollectionSpec]:
    """Return the collections that the reader may see and that the portal shows."""
    return [
        page_context.published_state.resources[schema.name]
        for schema in page_context.catalogue.schemas
        if schema.name in page_context.published_state.resources
    ]


async def compute_help_state(page_context: PageContext) -> object:
    """Compute the state of all help pages that a reader may see."""
    settings = page_context.context.site.settings
    folders = [settings.directory / page_context.brand.help]
    folders += [resource.path.parent / settings.help for resource in list_visible_collections(page_context)]
    return [NOTE_CACHE.find_directory_state(folder) for folder in folders]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/help``, ``/help/PAGE``, ``/help/COLLECTION/PAGE`` and ``/logo``."""
    endpoints = _HelpEndpoints(context)
    page_endpoint = build_page_endpoint(
        endpoints.show_index, context, document_cache=services.DocumentCache(), compute_state=compute_help_state
    )
    return [
        Route("/help", page_endpoint),
        Route("/help/{page}", endpoints.send_page_or_picture),
        Route("/help/{name}/{page}", endpoints.send_page_or_picture),
        Route("/logo", endpoints.send_logo),
    ]


class _HelpEndpoints:
    """The endpoints of the help pages."""

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.settings = context.site.settings
        self.page_endpoint = build_page_endpoint(
            self.show_page, context, document_cache=services.DocumentCache(), compute_state=compute_help_state
        )

    @staticmethod
    def find_requested_collection(page_context: PageContext) -> CollectionSpec | None:
        if "name" in page_context.request.path_params:
            return page_context.published_state.resources[page_context.find_collection().name]
        return None

    def find_help_folder(self, resource: CollectionSpec | None, page_context: PageContext) -> Path:
        if resource is None:
            return self.settings.directory / page_context.brand.help
        return resource.path.parent / self.settings.help

    @staticmethod
    async def show_index(page_context: PageContext) -> PageContent:
        groups = []
        for resource in list_visible_collections(page_context):
            pages = list_collection_help_pages(resource, page_context)
            if pages:
                link = _build_collection_link(resource, page_context)
                groups.append({"title": link.title, "url": link.url, "pages": pages})
        page = HelpPage(pages=list_site_help_pages(page_context), groups=groups)
        return PageContent(page=page, json_content={"pages": page.pages, "groups": groups})

    async def show_page(self, page_context: PageContext) -> PageContent:
        resource = self.find_requested_collection(page_context)
        name = page_context.request.path_params["page"].removesuffix(".json")
        notes = NOTE_CACHE.list_help_pages(
            self.find_help_folder(resource, page_context), self.settings.directory, page_context.language
        )
        note = next((candidate for candidate in notes if candidate.name == name), None)
        if note is None:
            raise NotFoundError(
                format_message("there is no help page {name!r}", name[:80]), remedy="see /help for the list"
            )
        if resource is not None:
            pictures = f"{page_context.base}/help/{quote(resource.name)}/"
            collection_link = _build_collection_link(resource, page_context)
        else:
            pictures = f"{page_context.base}/help/"
            collection_link = None
        help_text = HelpText(title=note.title, html=render_markdown(note.text, base_address=pictures))
        page = HelpPage(one=help_text, above=collection_link)
        return PageContent(page=page, json_content={"title": note.title, "text": note.text})

    async def send_page_or_picture(self, request: Request) -> Response:
        name = request.path_params["page"]
        kind = PICTURE_MEDIA_TYPES.get(Path(name).suffix.lower())
        if kind is None:
            return await self.page_endpoint(request)
        try:
            page_context = build_page_context(request, self.context)
            help_folder = self.find_help_folder(self.find_requested_collection(page_context), page_context)
        except NotFoundError as error:
            return PlainTextResponse(f"{error}\n", 404)
        return _send_picture(help_folder / name, self.settings.directory, kind)

    async def send_logo(self, request: Request) -> Response:
        name = find_portal_brand(request, self.settings).logo
        if name is None:
            return PlainTextResponse("there is no logo\n", 404)
        return _send_picture(
            self.settings.directory / name,
            self.settings.directory,
            LOGO_MEDIA_TYPES[Path(name).suffix.lower()],
            cache_scope="public",
        )


def _build_collection_link(resource: CollectionSpec, page_context: PageContext) -> PageLink:
    address = f"{page_context.base}/collections/{quote(resource.name)}"
    return PageLink(title=resource.title or resource.name, url=address)


def _send_picture(path: Path, site_directory: Path, kind: str, *, cache_scope: str = "private") -> Response:
    resolved_path = path.resolve()
    if "/" in path.name or not resolved_path.is_relative_to(site_directory.resolve()) or not resolved_path.is_file():
        return PlainTextResponse("there is no such picture\n", 404)
    headers = {"content-type": kind, "cache-control": f"{cache_scope}, max-age=3600", **INERT_HEADERS}
    return FileResponse(resolved_path, headers=headers)
