"""Base maps of bodies: pictures in plate carree, longitudes 0 to 360 east from left to right, ``BODY-KIND.jpg``.

Those of set-up and the site's own.

``scripts/web`` takes what it can from packages whose licences allow it, with their notices (``BODY-KIND.txt``); a
folder ``grounds`` beside hven.toml has a site's own, which go first. A body without any is drawn on its grid alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

INSTALLED_DIRECTORY = Path(__file__).parent.parent / "grounds"
SITE_FOLDER = "grounds"  # folder of the site
PICTURE_MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
MAX_PICTURE_BYTES = 5_000_000  # bytes of a picture
MAX_MAPS_PER_BODY = 8  # of one body
PREFERRED_KINDS = (
    "imagery",
    "radar",
    "relief",
)  # kinds, as maps begin with them: how a body looks, then how it is shaped
_FILE_NAME_PATTERN = re.compile(r"([a-z0-9]{1,40})-([a-z0-9_]{1,40})", re.IGNORECASE)


def list_base_maps(body: str, directory: Path) -> list[dict[str, str]]:
    """Return the base maps of a body, the one that its map begins with first.

    Kind, address below the portal's, notice.
    """
    base_maps: dict[str, dict[str, str]] = {}
    for folder in (directory / SITE_FOLDER, INSTALLED_DIRECTORY):
        for path in sorted(folder.glob("*"), key=_rank_map) if folder.is_dir() and body else ():
            name_match = _FILE_NAME_PATTERN.fullmatch(path.stem)
            if (
                name_match is None
                or path.suffix.lower() not in PICTURE_MEDIA_TYPES
                or name_match[1].casefold() != body.casefold()
            ):
                continue
            if path.stat().st_size <= MAX_PICTURE_BYTES and len(base_maps) < MAX_MAPS_PER_BODY:
                notice = path.with_suffix(".txt")
                if notice.is_file():
                    text = notice.read_text(encoding="utf-8", errors="replace")[:1000]
                else:
                    text = ""
                url = f"/assets/ground/{quote(path.name)}"
                base_maps.setdefault(
                    name_match[2].lower(), {"kind": name_match[2].lower(), "url": url, "notice": text.strip()}
                )
    return list(base_maps.values())


def has_installed_maps() -> bool:
    """Return whether the pictures of set-up are there: a build without a registry has none."""
    return any(path.suffix.lower() in PICTURE_MEDIA_TYPES for path in INSTALLED_DIRECTORY.glob("*"))


def _rank_map(path: Path) -> tuple[int, str]:
    kind = path.stem.rpartition("-")[2].lower()
    return PREFERRED_KINDS.index(kind) if kind in PREFERRED_KINDS else len(PREFERRED_KINDS), path.name


def find_base_map(name: str, directory: Path) -> tuple[Path, str] | None:
    """Find the picture of a name, and its media type; None: there is none."""
    kind = PICTURE_MEDIA_TYPES.get(Path(name).suffix.lower())
    if kind is None or _FILE_NAME_PATTERN.fullmatch(Path(name).stem) is None:
        return None
    paths = (folder / name for folder in (directory / SITE_FOLDER, INSTALLED_DIRECTORY))
    return next(((path, kind) for path in paths if path.is_file() and path.stat().st_size <= MAX_PICTURE_BYTES), None)
