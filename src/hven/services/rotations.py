"""Rotated copies of cubes, from which spectra are read at once.

Made where somebody asks for them, used by all who read the file, gone with its state.

Common
------
context
    The site.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven import ingest
from hven.formats.media import open_product, rotated_copies
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import HvenError, NotFoundError, format_message
from hven.services import _cube_views as cube
from hven.services import collection_files
from hven.services._cube_views import NoCubeError
from hven.services._work_files import list_leftovers
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from pathlib import Path

    from hven.formats.media import ArrayPart, Product
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

ORIGINAL_PATH_FILE = "of"  # the file of a directory of copies that names the path of the original
_STATE_PATTERN = re.compile(r"[0-9a-f]{64}")
_COPY_NAME_PATTERN = re.compile(r"(\d+)-(\d+)\.npy")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationResult:
    """What was made.

    Attributes
    ----------
    parts
        Names or indices of the arrays that have copies now.
    bytes
        Of those that were made; 0: they were there.
    """

    parts: tuple[str, ...]
    bytes: int


def open_rotated(original_file: collection_files.OriginalFile) -> Product:
    """Open a file; its copies are read where that is less.

    Parameters
    ----------
    original_file
        A file, as its reader may take it.

    Returns
    -------
    product
        To be closed.

    Raises
    ------
    SourceError
        It is of no medium that is known, damaged, or empty.
    """
    product = open_product(original_file.path, original_file.name)
    with suppress(OSError):
        # names alone
        names = map(_COPY_NAME_PATTERN.fullmatch, os.listdir(original_file.copies_directory))  # noqa: PTH208
        return rotated_copies.add_rotated_copies(
            product,
            {
                (int(name_match[1]), int(name_match[2])): original_file.copies_directory / name_match[0]
                for name_match in names
                if name_match
            },
        )
    return product


def choose_arrays(
    product: Product, part: str | None = None, depth_axis: int | None = None
) -> tuple[list[ArrayPart], int]:
    """Tell of which arrays copies are made: of a cube, and of what belongs to it.

    Parameters
    ----------
    product
        An open file.
    part
        Index or name; None: the one that its page shows first.
    depth_axis
        Number of the axis along which spectra are read, as FITS counts; None: the one that its page goes through.

    Returns
    -------
    arrays, axis
        Those of any one shape; the axis in the order of C.

    Raises
    ------
    NoCubeError
        There is none in it.
    """
    cube_view = cube.build_cube_view(product, part, depth_axis, {})
    if cube_view.depth_axis is None or cube_view.depth < 2:
        raise NoCubeError(format_message("there is no cube in it"))
    return [
        array for array in cube.list_related_arrays(product, cube_view.array) if all(array.shape)
    ], cube_view.depth_axis


def create_rotated_copies(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    path: str,
    *,
    part: str | None = None,
    depth_axis: int | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> RotationResult:
    """Make copies of a cube; each is there, whole, or not at all.

    Parameters
    ----------
    principal
        By whose rights the file is taken.
    collection, path
        Of the file.
    part, depth_axis
        As of `choose_arrays`.
    progress
        What it is told to.

    Returns
    -------
    turned
        What there is now.

    Raises
    ------
    HvenError
        The file cannot be taken, or has no cube; there is no room; it was stopped.
    """
    original_file = collection_files.take_file(context, principal, collection, path)
    with open_product(original_file.path, original_file.name) as product:
        arrays, axis = choose_arrays(product, part, depth_axis)
        copies = [(array, original_file.copies_directory / f"{array.index}-{axis}.npy") for array in arrays]
        missing = [(array, place) for array, place in copies if not place.exists()]
        sizes = [rotated_copies.estimate_copy_bytes(array) for array, _ in missing]
        flat = [0 if array.is_local_uncompressed else size for (array, _), size in zip(missing, sizes, strict=True)]
        if missing:
            ingest.check_disk_space(context.site, path, sum(sizes) + max(flat), write_factor=1.0)
            original_file.copies_directory.mkdir(parents=True, exist_ok=True)
            (original_file.copies_directory / ORIGINAL_PATH_FILE).write_bytes(os.fsencode(path))
        total_bytes = sum(sizes)
        written_bytes = 0
        for size, (array, place) in zip(sizes, missing, strict=True):

            def report_share(share: float, size: int = size, written_bytes: int = written_bytes) -> None:
                progress.on_progress((written_bytes + share * size) / total_bytes)

            copy_progress = ProgressMonitor(report_share, progress.is_cancelled)
            rotated_copies.write_rotated_copy(array, axis, place, copy_progress)
            written_bytes += size
    try:
        # if the file was changed meanwhile, it is not known what was read
        collection_files.take_file(context, principal, collection, path)
    except HvenError:
        for _, place in missing:
            place.unlink(missing_ok=True)
        raise
    return RotationResult(parts=tuple(array.name or str(array.index) for array in arrays), bytes=sum(sizes))


def estimate_copy_bytes(original_file: collection_files.OriginalFile) -> int:
    """Return how many bytes copies of a file would take; 0: there are some, or it has no cube.

    Parameters
    ----------
    original_file
        A file, as its reader may take it.
    """
    try:
        with open_product(original_file.path, original_file.name) as product:
            arrays, axis = choose_arrays(product)
            if all((original_file.copies_directory / f"{array.index}-{axis}.npy").exists() for array in arrays):
                return 0
            return sum(map(rotated_copies.estimate_copy_bytes, arrays))
    except HvenError:
        return 0


def remove_stale_copies(context: ServiceContext, collection: str) -> None:
    """Remove copies of what is there no more, or another one now, and what dead processes left.

    Parameters
    ----------
    collection
        Its name.
    """
    home = context.site.settings.var_directory / "cubes" / collection
    for place in (
        [candidate for candidate in home.iterdir() if _STATE_PATTERN.fullmatch(candidate.name)] if home.is_dir() else ()
    ):
        if not _is_current(context, collection, place):
            shutil.rmtree(place, ignore_errors=True)
        for old in list_leftovers(place):
            old.unlink(missing_ok=True)


def _is_current(context: ServiceContext, collection: str, directory: Path) -> bool:
    try:
        path = os.fsdecode((directory / ORIGINAL_PATH_FILE).read_bytes())
        files = collection_files.find_files(context, OWNER_PRINCIPAL, collection, [path])
        return (
            collection_files.open_original(
                context,
                OWNER_PRINCIPAL,
                files,
                path,
            ).copies_directory
            == directory
        )
    except (OSError, NotFoundError):
        return False
    except HvenError:  # it, or its server, is away for now
        return True


__all__ = [
    "NoCubeError",
    "RotationResult",
    "choose_arrays",
    "create_rotated_copies",
    "estimate_copy_bytes",
    "open_rotated",
    "remove_stale_copies",
]
