"""The templates of the portal's pages, those of the plug-in packages in use among them."""

from __future__ import annotations

from pathlib import Path

from hven.portal._pages.package_pages import load_package_pages
from hven.portal._pages.texts import CATALOGUE_DIRECTORY


def list_templates() -> list[Path]:
    """List the files of all templates."""
    directories = [CATALOGUE_DIRECTORY.parent / "pages"]
    directories += [pages.template_directory for pages in load_package_pages().values()]
    return [path for directory in directories for path in sorted(directory.glob("*.html"))]
