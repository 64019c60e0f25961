"""Find the files that can be explored: a file with an array of three or more axes has a page of slices and spectra."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from hven.formats.media import detect_product_file_format, list_product_file_formats, open_product
from hven.model import LruCache
from hven.model.errors import HvenError
from hven.services import collection_files
from hven.services.addresses import FILE_PATH_PATTERN
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import ServiceContext

PAGE_MEDIA_TYPE = "text/html"  # media type of a page that explores a file
TITLE_PREFIX = "Explore "  # begins the description of a link that no descriptor declares
MIN_AXES = 3  # axes with more than one value
MAX_CACHED_VERDICTS = 200_000  # files of which it is cached whether they can be explored
MAX_OPENED_FILES = 200  # files of a collection that one answer opens; the verdict on further ones stays unknown
_FILE_ADDRESS_PATTERN = re.compile(FILE_PATH_PATTERN)


def build_explorer_path(collection: str, path: str) -> str:
    """Return the path of the page that explores a file, below the address of the site.

    Parameters
    ----------
    collection
        Name of the collection.
    path
        Path of the file in the collection.
    """
    return f"/collections/{quote(collection)}/cube/{quote(path)}"


def list_explorable_extensions() -> tuple[tuple[str, str], ...]:
    """List the file name extensions of formats that may hold arrays, each with the media type of the explorer page.

    Returns
    -------
    extensions
        Extensions without the dot and media types, as in `hven.model.table.LinkTemplate`.
    """
    extensions: set[str] = set()
    for medium in list_product_file_formats().values():
        extensions.update(extension for extension in medium.extensions if "." not in extension)
    return tuple((extension, PAGE_MEDIA_TYPE) for extension in sorted(extensions))


def compute_explorable_mask(context: ServiceContext, file_addresses: Sequence[str | None]) -> list[bool]:
    """Check for addresses of files, or of pages about files, whether the file can be explored.

    A file is opened once for each state of the site, and at most `MAX_OPENED_FILES` of a collection are opened at a
    time. Files on other servers are not opened.

    Parameters
    ----------
    context
        Service context of the site.
    file_addresses
        Addresses below ``/collections/``; None for a row without one.

    Returns
    -------
    verdicts
        One for each address, in the same order.
    """
    verdict_cache: LruCache[bool] = context.site.get_or_create(_create_cube_check_cache)
    version = context.site.get_published_state().version
    requested_files = [_parse_file_address(address) for address in file_addresses]
    unknown_paths: dict[str, list[str]] = {}
    for requested_file in dict.fromkeys(requested_files):
        if requested_file is not None and verdict_cache.find((version, *requested_file)) is None:
            collection, path = requested_file
            unknown_paths.setdefault(collection, []).append(path)
    for collection, paths in unknown_paths.items():
        checked_paths = paths[:MAX_OPENED_FILES]
        verdicts = _check_files_for_cubes(context, collection, checked_paths)
        for path, verdict in zip(checked_paths, verdicts, strict=True):
            verdict_cache.store((version, collection, path), verdict)
    return [
        requested_file is not None and bool(verdict_cache.find((version, *requested_file)))
        for requested_file in requested_files
    ]


def _parse_file_address(address: str | None) -> tuple[str, str] | None:
    """Return collection and path of the file that an address names; None where it names no file."""
    if address is None:
        return None
    address_match = _FILE_ADDRESS_PATTERN.search(address)
    if address_match is None:
        return None
    return unquote(address_match["collection"]), unquote(address_match["path"])


def _create_cube_check_cache() -> LruCache[bool]:
    return LruCache(MAX_CACHED_VERDICTS)


def _check_files_for_cubes(context: ServiceContext, collection: str, paths: Sequence[str]) -> list[bool]:
    """Check files with the owner's rights; the callers check whether a reader may see them."""
    try:
        found_files = collection_files.find_files(context, OWNER_PRINCIPAL, collection, paths)
    except HvenError:
        return [False] * len(paths)
    return [path in found_files.rows and _has_cube(context, found_files, path) for path in paths]


def _has_cube(context: ServiceContext, found_files: collection_files.FoundFiles, path: str) -> bool:
    if detect_product_file_format(path) is None:
        return False
    try:
        file = collection_files.locate_original_file(context, OWNER_PRINCIPAL, found_files, path)
        if not isinstance(file.path, Path):
            return False
        with open_product(file.path, file.name) as product:
            return any(sum(axis.size > 1 for axis in array.axes) >= MIN_AXES for array in product.arrays)
    except (HvenError, OSError, ValueError, ArithmeticError, LookupError, TypeError, MemoryError):
        return False  # a damaged file cannot be explored; the explorer page of the file shows the reason
