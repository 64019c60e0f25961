"""Find the scripts and style sheets that packages of other projects add to pages.

They are served as they are, at addresses with a digest of the package's folder, so that browsers can keep them.
Those of Hven's own packages are bundled with the portal's.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import UserError
from hven.portal._pages.assets import ASSET_MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger("hven")
MAX_FOLDER_FILES = 1000  # of a package: more files hardly are scripts
DIGEST_CHARACTERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFolder:
    """The scripts and style sheets of a package.

    Attributes
    ----------
    digest
        Digest of all files.
    files
        The files that are served, by their paths in the folder.
    """

    digest: str
    files: Mapping[str, Path]


@plugins.cache_until_selection
def load_script_folders() -> Mapping[str, ScriptFolder]:
    """Load the folders of the packages in use; what cannot be found goes to the log.

    Returns
    -------
    folders
        The folders, by the names of the packages.
    """
    folders = {}
    for package in plugins.list_plugin_packages():
        if package.scripts and not package.scripts.startswith("hven."):
            try:
                directory = plugins.locate_named_folder(package.scripts, f"the plug-in package {package.name}")
            except UserError as error:  # `hven check` reports it, too
                log.warning("%s", error)
            else:
                folders[package.name] = _read_script_folder(directory)
    return folders


def _read_script_folder(directory: Path) -> ScriptFolder:
    paths = sorted(path for path in directory.rglob("*") if path.suffix in ASSET_MEDIA_TYPES and path.is_file())
    files = {path.relative_to(directory).as_posix(): path for path in paths[:MAX_FOLDER_FILES]}
    checksum = hashlib.sha256()
    for name, path in files.items():
        checksum.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return ScriptFolder(digest=checksum.hexdigest()[:DIGEST_CHARACTERS], files=files)


def find_package_asset_path(name: str) -> str:
    """Find a script or a style sheet of a package.

    Parameters
    ----------
    name
        Name of the package, a slash, and the path in its folder: ``night/moon.css``.

    Returns
    -------
    path
        Path below ``/assets``; empty if there is no such file.
    """
    package, _, file = name.partition("/")
    folder = load_script_folders().get(package)
    if folder is None or file not in folder.files:
        return ""
    return f"packages/{package}/{folder.digest}/{file}"


@plugins.cache_until_selection
def map_pane_script_paths() -> Mapping[str, str]:
    """Map the panes of the packages in use to the paths of their modules below ``/assets``."""
    panes: dict[str, str] = {}
    for package, folder in load_script_folders().items():
        for file in folder.files:
            if file.endswith(".js") and "/" not in file:
                panes.setdefault(file.removesuffix(".js"), find_package_asset_path(f"{package}/{file}"))
    return panes
