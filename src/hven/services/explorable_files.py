"""Files that can be explored.

Those with an array of three axes or more have a page of slices and spectra, to which rows, files and pages lead.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hven.formats.media import detect_medium, list_media, open_product
from hven.model import Cache
from hven.model.errors import HvenError
from hven.services import collection_files
from hven.services.addresses import FILE_PATH_PATTERN
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import ServiceContext

PAGE_MEDIA_TYPE = "text/html"  # media type of a page that explores a file
TITLE_PREFIX = "Explore "  # begins the description of a link that no descriptor declares
MIN_AXES = 3  # longer than one value
MAX_CACHED_VERDICTS = 200_000  # files of which it is remembered whether they have such an array
MAX_OPENED_FILES = 200  # files that one answer opens; of those behind them nothing is known yet
_FILE_ADDRESS_PATTERN = re.compile(FILE_PATH_PATTERN)


def build_explorer_url(base_url: str, collection: str, path: str) -> str:
    """Return the page that explores a file.

    Parameters
    ----------
    base_url
        Address of the site, without a final slash.
    collection
        Its name.
    path
        Of the file.
    """
    return f"{base_url}/collections/{quote(collection)}/cube/{quote(path)}"


def list_explorable_extensions() -> tuple[tuple[str, str], ...]:
    """List how names of files end that may have such an array, each with the media type of the page that explores them.

    Returns
    -------
    endings
        Without the dot, as `hven.model.table.LinkTemplate` has them.
    """
    endings = {ending for medium in list_media().values() for ending in medium.extensions if "." not in ending}
    return tuple((ending, PAGE_MEDIA_TYPE) for ending in sorted(endings))


def find_explorable(context: ServiceContext, addresses: Sequence[str | None]) -> list[bool]:
    """Say of addresses of files, or of their pages, whether these files have an array of three axes or more.

    A file is opened once for each state of the site, at most `MAX_OPENED_FILES` at a time; those on other servers are
    not opened.

    Parameters
    ----------
    context
        The site.
    addresses
        Below ``/collections/``; None is none.

    Returns
    -------
    verdicts
        In the order of the addresses.
    """
    verdict_cache: Cache[bool] = context.site.get_or_create(_create_verdict_cache)
    version = context.site.get_published_state().version
    places = [None if text is None else _FILE_ADDRESS_PATTERN.search(text) for text in addresses]
    requested_files = [
        None if file_match is None else (unquote(file_match["collection"]), unquote(file_match["path"]))
        for file_match in places
    ]
    unknown: dict[str, list[str]] = {}
    for file_match in dict.fromkeys(requested_files):
        if file_match is not None and verdict_cache.find((version, *file_match)) is None:
            unknown.setdefault(file_match[0], []).append(file_match[1])
    for collection, paths in unknown.items():
        checked_paths = paths[:MAX_OPENED_FILES]
        for path, verdict in zip(
            checked_paths, _check_files_for_cubes(context, collection, checked_paths), strict=True
        ):
            verdict_cache.store((version, collection, path), verdict)
    return [
        file_match is not None and bool(verdict_cache.find((version, *file_match))) for file_match in requested_files
    ]


def _create_verdict_cache() -> Cache[bool]:
    return Cache(MAX_CACHED_VERDICTS)


def _check_files_for_cubes(context: ServiceContext, collection: str, paths: Sequence[str]) -> list[bool]:
    """Look into files as their owner; whether a reader may take them is asked elsewhere."""
    try:
        found_files = collection_files.find_files(context, OWNER_PRINCIPAL, collection, paths)
    except HvenError:
        return [False] * len(paths)
    return [path in found_files.rows and _has_cube(context, found_files, path) for path in paths]


def _has_cube(context: ServiceContext, found_files: collection_files.FoundFiles, path: str) -> bool:
    if detect_medium(path) is None:
        return False
    try:
        file = collection_files.open_original(context, OWNER_PRINCIPAL, found_files, path)
        if not isinstance(file.path, Path):
            return False
        with open_product(file.path, file.name) as product:
            return any(sum(axis.size > 1 for axis in array.axes) >= MIN_AXES for array in product.arrays)
    except (HvenError, OSError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError):
        return False  # what cannot be read cannot be explored; its own page says why
