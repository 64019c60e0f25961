"""What browsers fetch beside the pages: the scripts and styles that ``web/`` was bundled into.

Each under a name with a hash of its content.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.portal._pages.brand import write_style_sheet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.portal._pages.brand import Colours

log = logging.getLogger("hven.portal")

PORTAL_DIRECTORY = Path(__file__).parent.parent
NO_COLOURS = (None, None)  # no colours but ours
ASSETS_DIRECTORY = PORTAL_DIRECTORY / "assets"
ASSET_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".fits": "image/fits",
}


@lru_cache(maxsize=1)
def load_manifest() -> dict[str, Any]:
    """Return what was bundled, by plain name, and in ``needs`` what each script imports at once.

    Without it pages are read and searched, but they are plain, and nothing in them moves.
    """
    try:
        manifest: dict[str, Any] = json.loads((ASSETS_DIRECTORY / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        log.warning(
            "the scripts of the pages were not built (%s): colours, maps, plots and the editor are missing; "
            "install Hven again, or in a clone run scripts/web",
            error,
        )
        return {}
    return manifest


@lru_cache(maxsize=64)
def find_asset_name(name: str, colours: Colours) -> str:
    """Return the file name under which `name` is served now; empty if it was not built, or there is nothing in it."""
    if name == "brand.css":
        style_sheet = write_style_sheet(colours)
        if style_sheet:
            return f"brand-{hashlib.sha256(style_sheet).hexdigest()[:8]}.css"
        return ""
    return str(load_manifest().get(name, ""))


def list_script_files(*script_names: str) -> list[str]:
    """List the files of scripts and of all that they import at once, each once.

    Browsers fetch them beside each other, and not one after the other.
    """
    manifest = load_manifest()
    files = [
        file
        for name in script_names
        if name in manifest
        for file in (manifest[name], *manifest.get("needs", {}).get(name, ()))
    ]
    return list(dict.fromkeys(files))


def find_asset(file: str, brands: Iterable[Colours]) -> tuple[bytes | Path, str] | None:
    """Return what a file name stands for, and its media type; None: there is no such file now."""
    media_type = ASSET_MEDIA_TYPES.get(Path(file).suffix)
    if media_type is None or "/" in file or file.startswith("."):
        return None
    if file.startswith("brand-"):
        brand_colours = next((colours for colours in brands if file == find_asset_name("brand.css", colours)), None)
        if brand_colours is None:
            return None
        return (write_style_sheet(brand_colours), media_type)
    path = ASSETS_DIRECTORY / file
    if path.is_file():
        return (path, media_type)
    return None
