"""Load the pages that plug-in packages add to the portal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from starlette.routing import Route

    from hven.services.face import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalPages:
    """The pages that a plug-in package adds to the portal.

    Attributes
    ----------
    build_routes
        Function that lists the routes of the pages. Their addresses count as pages of the portal.
    template_directory
        Folder with templates of Jinja. The `TemplateContext` of a page names its template with the name of the package:
        ``usage/usage.html``. A template extends ``frame.html``, the frame of all pages.
    """

    build_routes: Callable[[ServiceContext], Sequence[Route]]
    template_directory: Path


@plugins.cache_until_selection
def load_package_pages() -> Mapping[str, PortalPages]:
    """Load the pages of the packages in use; those that cannot be loaded are left out, and go to the log.

    Returns
    -------
    pages
        The pages, by the names of the packages.
    """
    return dict(plugins.iterate_package_objects("pages"))
