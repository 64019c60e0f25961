"""Load what plug-in packages add to the portal: pages, and parts of other pages."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.services.face import Paged, ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class PageExtensionPoint:
    """A place of a page where packages can add parts.

    Attributes
    ----------
    template
        The template of the page.
    variables
        Variables of the page that parts can use, besides those of `PageFrame`.
    """

    template: str
    variables: tuple[str, ...] = ()


PAGE_PLACES = {
    "header": PageExtensionPoint(template="frame.html"),
    "health.curators": PageExtensionPoint(template="health.html", variables=("health",)),
    "menu": PageExtensionPoint(template="frame.html"),
    "home.search": PageExtensionPoint(template="home.html"),
    "home.curators": PageExtensionPoint(template="home.html"),
    "error.search": PageExtensionPoint(template="error.html", variables=("words",)),
    "news.curators": PageExtensionPoint(template="news.html", variables=("one",)),
    "collection.curators": PageExtensionPoint(template="collection.html", variables=("collection", "edit")),
    "collection.links": PageExtensionPoint(template="collection.html", variables=("collection",)),
    "collection.coverage": PageExtensionPoint(template="collection.html", variables=("seen",)),
    "result": PageExtensionPoint(template="result.html", variables=("url",)),
    "project.curators": PageExtensionPoint(template="project.html", variables=("one",)),
    "table.trail": PageExtensionPoint(
        template="workspace.html", variables=("described", "kind", "state", "table_values")
    ),
    "table.downloads": PageExtensionPoint(template="workspace.html", variables=("below", "searched")),
    "table.map": PageExtensionPoint(
        template="workspace.html", variables=("map", "has_map", "surveys", "taken", "here", "state_pairs", "wrong")
    ),
    "table.plot": PageExtensionPoint(template="workspace.html", variables=("here", "state_pairs", "wrong")),
    "table.overview": PageExtensionPoint(template="workspace.html", variables=("here", "state", "table_values")),
    "table.row_values": PageExtensionPoint(template="workspace.html", variables=("table_values",)),
    "table.ticks": PageExtensionPoint(template="workspace.html", variables=("below", "rows")),
    "table.row": PageExtensionPoint(template="workspace.html", variables=("table_values",)),
    "adql.actions": PageExtensionPoint(template="query_pages/adql.html"),
    "series.actions": PageExtensionPoint(template="series/timeline.html", variables=("of",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalPages:
    """The pages that a plug-in package adds to the portal, and its parts of other pages.

    Attributes
    ----------
    build_routes
        Function that lists the routes of the pages. Their addresses count as pages of the portal.
    template_directory
        Folder with templates of Jinja. The `TemplateContext` of a page names its template with the name of the package:
        ``usage/usage.html``. A template extends ``frame.html``, the frame of all pages.
    parts
        Templates that other pages include, by the places of the pages (`PAGE_PLACES`). Such a template can use the
        variables of its place.
    compute_frame_value
        Function that computes a value for each request, which all templates have as ``frame_values.PACKAGE``. The tags
        of cached pages contain its `repr`. If the value is None, the package adds no parts to pages, unless its value
        for a table (`TablePageExtension`) is another one. None: the package has no such value.
    frame_value_path
        Part of the paths of the pages for which the value is computed. On other pages it is an empty mapping. Empty:
        the value is computed for all pages.
    word_search_path
        Path of a page that searches for the words in its parameter ``q``. Other pages link words to it, such as the
        subjects of a collection. Empty: the package has no such page.
    query_editor_path
        Path of a page for queries, with examples at ``#examples``; the parameter ``QUERY`` is the query that it shows.
        Other pages link queries to it. Empty: the package has no such page.
    job_list_path
        Path of a page of the user's jobs. Forms of other pages create jobs by POST of ``QUERY``, or of ``TYPE`` and the
        parameters of that type. Empty: the package has no such page.
    job_preview_path
        Path of the results of a job in short, as a part of a page; the parameter ``job`` is its id. In an element with
        ``data-pane="job_previews"``, a link with this address as ``data-preview`` shows them in a dialog. Empty: the
        package has none.
    page_writers
        Functions that write answers of services as pages, for browsers, by the names of the services: see
        `hven.services.face.ServiceFace.page_writers`.

    Raises
    ------
    ValueError
        Pages have no such place.
    """

    build_routes: Callable[[ServiceContext], Sequence[Route]]
    template_directory: Path
    parts: Mapping[str, str] = field(default_factory=dict)
    compute_frame_value: Callable[[Request, ServiceContext], object] | None = None
    frame_value_path: str = ""
    word_search_path: str = ""
    query_editor_path: str = ""
    job_list_path: str = ""
    job_preview_path: str = ""
    page_writers: Mapping[str, Paged] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown_places = sorted(self.parts.keys() - PAGE_PLACES.keys())
        if unknown_places:
            raise ValueError(f"{unknown_places[0]!r} is not a place on a page; use one of {', '.join(PAGE_PLACES)}")


@plugins.cache_until_selection
def load_package_pages() -> Mapping[str, PortalPages]:
    """Load the pages of the packages in use; those that cannot be loaded are left out, and go to the log.

    Returns
    -------
    pages
        The pages, by the names of the packages.
    """
    return dict(plugins.iterate_package_objects("pages"))


@plugins.cache_until_selection
def list_page_part_templates(place: str) -> tuple[str, ...]:
    """List the templates that packages add to a place of a page.

    Parameters
    ----------
    place
        A key of `PAGE_PLACES`.

    Returns
    -------
    templates
        Names of the templates, with the names of their packages.
    """
    return tuple(
        f"{package}/{pages.parts[place]}" for package, pages in load_package_pages().items() if place in pages.parts
    )


def list_shown_part_templates(
    place: str, frame_values: Mapping[str, object], table_values: Mapping[str, object] = MappingProxyType({})
) -> tuple[str, ...]:
    """List the templates that packages add to a place of a page, if they have something to show there.

    Parameters
    ----------
    place
        A key of `PAGE_PLACES`.
    frame_values, table_values
        Values that packages compute for the frame (`PortalPages.compute_frame_value`) and for the page of a table
        (`TablePageExtension.compute_value`). A package whose value is None shows nothing; on the page of a table, its
        value for the table decides, if it has one.

    Returns
    -------
    templates
        Names of the templates, with the names of their packages.
    """
    values = {**frame_values, **table_values}
    silent_packages = {package for package, value in values.items() if value is None}
    templates = list_page_part_templates(place)
    return tuple(template for template in templates if template.partition("/")[0] not in silent_packages)


class PageWriterMap(Mapping[str, "Paged"]):
    """Functions that write answers of services as pages, by the names of the services.

    Parameters
    ----------
    own_writers
        The portal's own functions; those of packages are added.
    """

    def __init__(self, own_writers: Mapping[str, Paged]) -> None:
        self._own_writers = own_writers

    def _collect_writers(self) -> Mapping[str, Paged]:
        return ChainMap(dict(self._own_writers), *(dict(pages.page_writers) for pages in load_package_pages().values()))

    def __getitem__(self, name: str) -> Paged:
        return self._collect_writers()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._collect_writers())

    def __len__(self) -> int:
        return len(self._collect_writers())


def find_package_page_address(path_field: str, base: str) -> str:
    """Find the address of a page of a package to which other pages link.

    Parameters
    ----------
    path_field
        The field of `PortalPages` with the path of the page: ``word_search_path``.
    base
        Address of the site or the portal.

    Returns
    -------
    address
        The address, without a query; empty if no package in use has such a page.
    """
    paths = filter(None, (getattr(pages, path_field) for pages in load_package_pages().values()))
    return next((f"{base}{path}" for path in paths), "")


def compute_package_frame_values(request: Request, context: ServiceContext) -> dict[str, object]:
    """Compute the values that packages give to the frame of a page.

    Parameters
    ----------
    request
        The request of the page.
    context
        The context of the service.

    Returns
    -------
    values
        The values, by the names of the packages.
    """
    path = request.url.path
    return {
        package: pages.compute_frame_value(request, context) if pages.frame_value_path in path else {}
        for package, pages in load_package_pages().items()
        if pages.compute_frame_value is not None
    }
