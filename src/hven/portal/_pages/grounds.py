"""Base maps of bodies: pictures in plate carree, longitudes 0 to 360 east from left to right, ``BODY-KIND.jpg``; those of set-up and the site's own.

``scripts/web`` takes what it can from packages whose licences allow it, with their notices (``BODY-KIND.txt``); a folder ``grounds`` beside
hven.toml has a site's own, which go first. A body without any is drawn on its grid alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).parent.parent / "grounds"
OWN = "grounds"  # folder of the site
KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
BIGGEST = 5_000_000  # bytes of a picture
MOST = 8  # of one body
FIRST = ("imagery", "radar", "relief")  # kinds, as maps begin with them: how a body looks, then how it is shaped
_NAME = re.compile(r"([a-z0-9]{1,40})-([a-z0-9_]{1,40})", re.IGNORECASE)


def of(body: str, directory: Path) -> list[dict[str, str]]:
    """Return the base maps of a body, the one that its map begins with first: kind, address below the portal's, notice."""
    found: dict[str, dict[str, str]] = {}
    for folder in (directory / OWN, HERE):
        for path in sorted(folder.glob("*"), key=_place) if folder.is_dir() and body else ():
            said = _NAME.fullmatch(path.stem)
            if said is None or path.suffix.lower() not in KINDS or said[1].casefold() != body.casefold():
                continue
            if path.stat().st_size <= BIGGEST and len(found) < MOST:
                notice = path.with_suffix(".txt")
                text = notice.read_text(encoding="utf-8", errors="replace")[:1000] if notice.is_file() else ""
                url = f"/assets/ground/{quote(path.name)}"
                found.setdefault(said[2].lower(), {"kind": said[2].lower(), "url": url, "notice": text.strip()})
    return list(found.values())


def are_installed() -> bool:
    """Return whether the pictures of set-up are there: a build without a registry has none."""
    return any(path.suffix.lower() in KINDS for path in HERE.glob("*"))


def _place(path: Path) -> tuple[int, str]:
    kind = path.stem.rpartition("-")[2].lower()
    return FIRST.index(kind) if kind in FIRST else len(FIRST), path.name


def file(name: str, directory: Path) -> tuple[Path, str] | None:
    """Find the picture of a name, and its media type; None: there is none."""
    kind = KINDS.get(Path(name).suffix.lower())
    if kind is None or _NAME.fullmatch(Path(name).stem) is None:
        return None
    paths = (folder / name for folder in (directory / OWN, HERE))
    return next(((path, kind) for path in paths if path.is_file() and path.stat().st_size <= BIGGEST), None)
