"""Where the plug-in packages of this checkout are that this process uses, and their pages."""

from __future__ import annotations

from pathlib import Path

from hven.model import plugins
from shared import ROOT

PACKAGES = ROOT / "src/hven/plugins"


def list_package_directories() -> list[Path]:
    """List the directories of the packages."""
    directories = [PACKAGES / package.name for package in plugins.list_plugin_packages()]
    return [directory for directory in directories if directory.exists()]


def list_package_pages() -> list[Path]:
    """List the pages of the packages."""
    return [page for directory in list_package_directories() for page in sorted((directory / "docs").glob("*.md"))]


def belongs_to_unused_package(path: Path) -> bool:
    """Return whether a file is in a package that this process leaves out."""
    if PACKAGES not in path.parents or path.parent == PACKAGES:
        return False
    return PACKAGES / path.relative_to(PACKAGES).parts[0] not in list_package_directories()
