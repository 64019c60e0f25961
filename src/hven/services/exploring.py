"""Files that can be explored: those with an array of three axes or more have a page of slices and spectra, to which rows, files and pages lead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hven.formats.media import media, medium_of, open_product
from hven.model import Cache
from hven.model.errors import HvenError
from hven.services import filed
from hven.services.address import FILE
from hven.site.auth import OWNER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import Surroundings

PAGE_TYPE = "text/html"  # media type of a page that explores a file
TITLE_PREFIX = "Explore "  # begins the description of a link that no descriptor declares
MIN_AXES = 3  # longer than one value
VERDICTS_KEPT = 200_000  # files of which it is remembered whether they have such an array
MAX_OPENED = 200  # files that one answer opens; of those behind them nothing is known yet
_ADDRESS = re.compile(FILE)


def explorer_address(base: str, collection: str, path: str) -> str:
    """Return the page that explores a file.

    Parameters
    ----------
    base
        Address of the site, without a final slash.
    collection
        Its name.
    path
        Of the file.
    """
    return f"{base}/collections/{quote(collection)}/cube/{quote(path)}"


def explorable_endings() -> tuple[tuple[str, str], ...]:
    """List how names of files end that may have such an array, each with the media type of the page that explores them.

    Returns
    -------
    endings
        Without the dot, as `hven.model.table.Link` has them.
    """
    endings = {ending for medium in media().values() for ending in medium.endings if "." not in ending}
    return tuple((ending, PAGE_TYPE) for ending in sorted(endings))


def find_explorable(around: Surroundings, addresses: Sequence[str | None]) -> list[bool]:
    """Say of addresses of files, or of their pages, whether these files have an array of three axes or more.

    A file is opened once for each state of the site, at most `MAX_OPENED` at a time; those on other servers are not opened.

    Parameters
    ----------
    around
        The site.
    addresses
        Below ``/collections/``; None is none.

    Returns
    -------
    verdicts
        In the order of the addresses.
    """
    known: Cache[bool] = around.site.kept(_verdicts)
    version = around.site.current().version
    places = [None if text is None else _ADDRESS.search(text) for text in addresses]
    asked = [None if one is None else (unquote(one["collection"]), unquote(one["path"])) for one in places]
    unknown: dict[str, list[str]] = {}
    for one in dict.fromkeys(asked):
        if one is not None and known.find((version, *one)) is None:
            unknown.setdefault(one[0], []).append(one[1])
    for collection, paths in unknown.items():
        some = paths[:MAX_OPENED]
        for path, verdict in zip(some, _open_files(around, collection, some), strict=True):
            known.keep((version, collection, path), verdict)
    return [one is not None and bool(known.find((version, *one))) for one in asked]


def _verdicts() -> Cache[bool]:
    return Cache(VERDICTS_KEPT)


def _open_files(around: Surroundings, collection: str, paths: Sequence[str]) -> list[bool]:
    """Look into files as their owner; whether a reader may take them is asked elsewhere."""
    try:
        found = filed.asked(around, OWNER, collection, paths)
    except HvenError:
        return [False] * len(paths)
    return [path in found.rows and _has_cube(around, found, path) for path in paths]


def _has_cube(around: Surroundings, found: filed.Found, path: str) -> bool:
    if medium_of(path) is None:
        return False
    try:
        file = filed.original(around, OWNER, found, path)
        if not isinstance(file.path, Path):
            return False
        with open_product(file.path, file.name) as product:
            return any(sum(axis.size > 1 for axis in array.axes) >= MIN_AXES for array in product.arrays)
    except (HvenError, OSError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError):
        return False  # what cannot be read cannot be explored; its own page says why
