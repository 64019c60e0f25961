"""What browsers fetch beside the pages: the scripts and styles that ``web/`` was bundled into; each under a name with a hash of its content."""

from __future__ import annotations

import hashlib
import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.portal._pages.brand import sheet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.portal._pages.brand import Colours

log = logging.getLogger("hven.portal")

HERE = Path(__file__).parent.parent
NONE = (None, None)  # no colours but ours
BUILT = HERE / "assets"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".svg": "image/svg+xml",
         ".png": "image/png", ".jpg": "image/jpeg", ".json": "application/json", ".wasm": "application/wasm", ".fits": "image/fits"}  # fmt: skip


@lru_cache(maxsize=1)
def built() -> dict[str, Any]:
    """Return what was bundled, by plain name, and in ``needs`` what each script imports at once; without it pages are read and searched, but they are plain, and nothing in them moves."""
    try:
        found: dict[str, Any] = json.loads((BUILT / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        log.warning(
            "the scripts of the pages were not built (%s): colours, maps, plots and the editor are missing; install Hven again, or in a clone run scripts/web",
            error,
        )
        return {}
    return found


@lru_cache(maxsize=64)
def named(name: str, colours: Colours) -> str:
    """Return the file name under which `name` is served now; empty if it was not built, or there is nothing in it."""
    if name == "brand.css":
        made = sheet(colours)
        return f"brand-{hashlib.sha256(made).hexdigest()[:8]}.css" if made else ""
    return str(built().get(name, ""))


def scripts(*names: str) -> list[str]:
    """List the files of scripts and of all that they import at once, each once: browsers fetch them beside each other, and not one after the other."""
    known = built()
    files = [file for name in names if name in known for file in (known[name], *known.get("needs", {}).get(name, ()))]
    return list(dict.fromkeys(files))


def content(file: str, brands: Iterable[Colours]) -> tuple[bytes | Path, str] | None:
    """Return what a file name stands for, and its media type; None: there is no such file now."""
    kind = TYPES.get(Path(file).suffix)
    if kind is None or "/" in file or file.startswith("."):
        return None
    if file.startswith("brand-"):
        found = next((colours for colours in brands if file == named("brand.css", colours)), None)
        return None if found is None else (sheet(found), kind)
    path = BUILT / file
    return (path, kind) if path.is_file() else None
