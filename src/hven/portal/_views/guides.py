"""``/help``: Markdown pages that are written beside the site and beside each descriptor, with their pictures; and ``/logo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from hven import services as dali
from hven.model.errors import NotFound, say
from hven.portal._pages import brand_of
from hven.portal._pages.markdown import shown
from hven.portal._views.notes import PICTURES, Shelf
from hven.portal._views.page_formats import Asked, Page, asked, page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.model.resource import Resource
    from hven.services.face import Surroundings

LOGOS = {**PICTURES, ".svg": "image/svg+xml"}
# an SVG that is opened by itself is a document: nothing in it runs, nothing is fetched
INERT = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "x-content-type-options": "nosniff",
}
SHELF = Shelf()


def of_collection(resource: Resource, state: Asked) -> list[dict[str, str]]:
    """List the help pages of a collection."""
    folder = resource.path.parent / state.around.site.settings.help
    notes = SHELF.pages(folder, state.around.site.settings.directory, state.language)
    return [
        {"title": note.title, "url": f"{state.base}/help/{quote(resource.name)}/{quote(note.name)}"} for note in notes
    ]


def thumbnail(resource: Resource, state: Asked) -> str:
    """Return the address of the picture on a collection's card (``help/thumbnail.png`` beside its descriptor); empty if there is none."""
    files = SHELF.state(resource.path.parent / state.around.site.settings.help)
    name = next(
        (name for name, _, _ in files if Path(name).stem == "thumbnail" and Path(name).suffix.lower() in PICTURES), None
    )
    return f"{state.base}/help/{quote(resource.name)}/{quote(name)}" if name is not None else ""


def of_site(state: Asked) -> list[dict[str, str]]:
    """List the help pages of the site."""
    directory = state.around.site.settings.directory
    notes = SHELF.pages(directory / state.brand.help, directory, state.language)
    return [{"title": note.title, "url": f"{state.base}/help/{quote(note.name)}"} for note in notes]


def seen(state: Asked) -> list[Resource]:
    """Return the collections that the reader may know of and that the portal shows."""
    return [
        state.holdings.resources[schema.name]
        for schema in state.catalogue.schemas
        if schema.name in state.holdings.resources
    ]


async def stamp(state: Asked) -> object:
    """Name the state of all help pages that a reader may see."""
    settings = state.around.site.settings
    return [
        SHELF.state(settings.directory / state.brand.help),
        *(SHELF.state(one.path.parent / settings.help) for one in seen(state)),
    ]


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/help``, ``/help/PAGE``, ``/help/COLLECTION/PAGE`` and ``/logo``."""
    settings = around.site.settings

    def resource_of(state: Asked) -> Resource | None:
        return state.holdings.resources[state.collection().name] if "name" in state.request.path_params else None

    def folder(resource: Resource | None, state: Asked) -> Path:
        return settings.directory / state.brand.help if resource is None else resource.path.parent / settings.help

    async def index(state: Asked) -> Page:
        groups = [
            {"title": one.title or one.name, "url": f"{state.base}/collections/{quote(one.name)}", "pages": pages}
            for one in seen(state)
            if (pages := of_collection(one, state))
        ]
        found: dict[str, Any] = {"pages": of_site(state), "groups": groups}
        return Page(template="help.html", content={**found, "one": None}, twin=found)

    async def one(state: Asked) -> Page:
        resource = resource_of(state)
        name = state.request.path_params["page"].removesuffix(".json")
        note = next(
            (
                each
                for each in SHELF.pages(folder(resource, state), settings.directory, state.language)
                if each.name == name
            ),
            None,
        )
        if note is None:
            raise NotFound(say("there is no help page {name!r}", name[:80]), remedy="/help lists them")
        pictures = f"{state.base}/help/{quote(resource.name)}/" if resource is not None else f"{state.base}/help/"
        above = (
            {"title": resource.title or resource.name, "url": f"{state.base}/collections/{quote(resource.name)}"}
            if resource
            else None
        )
        content: dict[str, Any] = {
            "one": {"title": note.title, "html": shown(note.text, pictures=pictures)},
            "above": above,
            "pages": [],
            "groups": [],
        }
        return Page(template="help.html", content=content, twin={"title": note.title, "text": note.text})

    page_of = page(one, around, documents=dali.Documents(), state_of=stamp)

    async def page_or_picture(request: Request) -> Response:
        name = request.path_params["page"]
        kind = PICTURES.get(Path(name).suffix.lower())
        if kind is None:
            return await page_of(request)
        try:
            state = asked(request, around)
            place = folder(resource_of(state), state)
        except NotFound as error:
            return PlainTextResponse(f"{error}\n", 404)
        return _file(place / name, settings.directory, kind)

    async def logo(request: Request) -> Response:
        name = brand_of(request, settings).logo
        if name is None:
            return PlainTextResponse("there is no logo\n", 404)
        return _file(settings.directory / name, settings.directory, LOGOS[Path(name).suffix.lower()], kept="public")

    return [
        Route("/help", page(index, around, documents=dali.Documents(), state_of=stamp)),
        Route("/help/{page}", page_or_picture),
        Route("/help/{name}/{page}", page_or_picture),
        Route("/logo", logo),
    ]


def _file(path: Path, root: Path, kind: str, *, kept: str = "private") -> Response:
    real = path.resolve()
    if "/" in path.name or not real.is_relative_to(root.resolve()) or not real.is_file():
        return PlainTextResponse("there is no such picture\n", 404)
    return FileResponse(real, headers={"content-type": kind, "cache-control": f"{kept}, max-age=3600", **INERT})
