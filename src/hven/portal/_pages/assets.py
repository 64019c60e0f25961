"""Find the scripts and styles that ``web/`` was bundled into.

The name of each has a hash of its content.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.portal._pages.brand import write_brand_style_sheet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.portal._pages.brand import Colours

log = logging.getLogger("hven.portal")

PORTAL_DIRECTORY = Path(__file__).parent.parent
NO_COLOURS = (None, None)  # the default colours
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
def load_asset_manifest() -> dict[str, Any]:
    """Return the bundled files by plain name, and in ``needs`` the imports of each script.

    Without the bundle, pages can be read and searched, but have no styles and no scripts.
    """
    try:
        manifest: dict[str, Any] = json.loads((ASSETS_DIRECTORY / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        log.warning(
            "the scripts of the pages are not built (%s), so colours, maps, plots and the editor are missing; install "
            "Hven again, or run `scripts/web` in a clone",
            error,
        )
        return {}
    return manifest


@lru_cache(maxsize=64)
def find_hashed_asset_name(name: str, colours: Colours) -> str:
    """Return the current file name of `name`; empty if the file was not built or is empty."""
    if name == "brand.css":
        style_sheet = write_brand_style_sheet(colours)
        if style_sheet:
            return f"brand-{hashlib.sha256(style_sheet).hexdigest()[:8]}.css"
        return ""
    return str(load_asset_manifest().get(name, ""))


def list_script_files(*script_names: str) -> list[str]:
    """List the files of scripts and of their imports, each once.

    Browsers fetch them in parallel.
    """
    manifest = load_asset_manifest()
    files = [
        file
        for name in script_names
        if name in manifest
        for file in (manifest[name], *manifest.get("needs", {}).get(name, ()))
    ]
    return list(dict.fromkeys(files))


def find_asset(file: str, brands: Iterable[Colours]) -> tuple[bytes | Path, str] | None:
    """Return the content or the path of a file, and its media type; None if there is no such file now."""
    media_type = ASSET_MEDIA_TYPES.get(Path(file).suffix)
    if media_type is None or "/" in file or file.startswith("."):
        return None
    if file.startswith("brand-"):
        brand_colours = next(
            (colours for colours in brands if file == find_hashed_asset_name("brand.css", colours)), None
        )
        if brand_colours is None:
            return None
        return (write_brand_style_sheet(brand_colours), media_type)
    path = ASSETS_DIRECTORY / file
    if path.is_file():
        return (path, media_type)
    return None
