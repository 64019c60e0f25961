"""Find the base maps of bodies: pictures ``BODY-KIND.jpg`` in plate carree, longitudes 0 to 360 east from the left.

``scripts/web`` copies maps with their notices (``BODY-KIND.txt``) from packages whose licences allow it. A site adds
its own in the folder ``grounds`` beside hven.toml; these have priority. A body without a map is drawn on a grid.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

INSTALLED_DIRECTORY = Path(__file__).parent.parent / "grounds"
SITE_FOLDER = "grounds"  # folder of the site
PICTURE_MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
MAX_PICTURE_BYTES = 5_000_000
MAX_MAPS_PER_BODY = 8
PREFERRED_KINDS = ("imagery", "radar", "relief")  # in the order of preference
_FILE_NAME_PATTERN = re.compile(r"([a-z0-9]{1,40})-([a-z0-9_]{1,40})", re.IGNORECASE)


def list_base_maps(body: str, directory: Path) -> list[dict[str, str]]:
    """List the base maps of a body, the default one first.

    Each has its kind, its address below the portal, and its notice.

    Parameters
    ----------
    body
        Name of the body.
    directory
        Directory of the site, which can have maps of its own.

    Returns
    -------
    base_maps
        The maps.
    """
    base_maps: dict[str, dict[str, str]] = {}
    for folder in (directory / SITE_FOLDER, INSTALLED_DIRECTORY):
        for path in sorted(folder.glob("*"), key=_build_base_map_sort_key) if folder.is_dir() and body else ():
            name_match = _FILE_NAME_PATTERN.fullmatch(path.stem)
            if name_match is None or path.suffix.lower() not in PICTURE_MEDIA_TYPES:
                continue
            if name_match[1].casefold() != body.casefold():
                continue
            if path.stat().st_size <= MAX_PICTURE_BYTES and len(base_maps) < MAX_MAPS_PER_BODY:
                kind = name_match[2].lower()
                url = f"/assets/ground/{quote(path.name)}"
                base_maps.setdefault(kind, {"kind": kind, "url": url, "notice": _read_licence_notice(path)})
    return list(base_maps.values())


def _read_licence_notice(path: Path) -> str:
    """Read the licence notice of a map; empty if it has none."""
    notice = path.with_suffix(".txt")
    if not notice.is_file():
        return ""
    return notice.read_text(encoding="utf-8", errors="replace")[:1000].strip()


def has_installed_base_maps() -> bool:
    """Return whether maps were installed; a build without access to a package registry has none."""
    return any(path.suffix.lower() in PICTURE_MEDIA_TYPES for path in INSTALLED_DIRECTORY.glob("*"))


def _build_base_map_sort_key(path: Path) -> tuple[int, str]:
    kind = path.stem.rpartition("-")[2].lower()
    return PREFERRED_KINDS.index(kind) if kind in PREFERRED_KINDS else len(PREFERRED_KINDS), path.name


def find_base_map(name: str, directory: Path) -> tuple[Path, str] | None:
    """Find the base map of a file name, and its media type; None if there is none."""
    kind = PICTURE_MEDIA_TYPES.get(Path(name).suffix.lower())
    if kind is None or _FILE_NAME_PATTERN.fullmatch(Path(name).stem) is None:
        return None
    for folder in (directory / SITE_FOLDER, INSTALLED_DIRECTORY):
        path = folder / name
        if path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES:
            return path, kind
    return None
