"""Create, use and remove transposed copies of cubes, from which spectra are read in one piece.

A copy is made on request, serves all readers of the file, and is removed when the file changes.

Common
------
context
    Service context of the site.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.formats.media import detect_product_file_format, open_product
from hven.ingest.api.runs import check_disk_space
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import HvenError, NotFoundError, format_message
from hven.plugins.cutouts import cube_views as cube
from hven.plugins.cutouts import rotated_copies
from hven.plugins.cutouts.cube_views import NoCubeError
from hven.services import collection_files
from hven.services.api.files import list_abandoned_files
from hven.services.file_preparation import FilePreparation
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hven.formats.media import ArrayPart, OpenProductFile
    from hven.services.face import ServiceContext
    from hven.services.file_preparation import FilePreparationReport, FileToPrepare
    from hven.site.auth import Principal

COPIES_FOLDER = "cubes"  # folder of the copies in `var`
ORIGINAL_PATH_FILE = "of"  # file in a directory of copies that holds the path of the original
_STATE_PATTERN = re.compile(r"[0-9a-f]{64}")
_COPY_NAME_PATTERN = re.compile(r"(\d+)-(\d+)\.npy")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedCopiesResult:
    """Copies of a file.

    Attributes
    ----------
    parts
        Names or indices of the arrays that have copies now.
    bytes
        Bytes of the copies that were made; 0 if all existed before.
    """

    parts: tuple[str, ...]
    bytes: int


def open_product_with_transposed_copies(original_file: collection_files.OriginalFile) -> OpenProductFile:
    """Open a file so that its transposed copies are read where that needs fewer bytes.

    Parameters
    ----------
    original_file
        File that the reader may see.

    Returns
    -------
    product
        Open file; the caller closes it.

    Raises
    ------
    SourceError
        The file is of no known medium, damaged, or empty.
    """
    product = open_product(original_file.path, original_file.name)
    with suppress(OSError):  # there is no directory of copies
        copy_paths = {}
        copies_directory = original_file.get_products_directory(COPIES_FOLDER)
        for file_name in os.listdir(copies_directory):  # noqa: PTH208  (only names are needed)
            name_match = _COPY_NAME_PATTERN.fullmatch(file_name)
            if name_match:
                array_index, axis = map(int, name_match.groups())
                copy_paths[array_index, axis] = copies_directory / file_name
        return rotated_copies.redirect_reads_to_copies(product, copy_paths)
    return product


def choose_arrays_to_transpose(
    product: OpenProductFile, part: str | None = None, depth_axis: int | None = None
) -> tuple[list[ArrayPart], int]:
    """Choose the arrays of which copies are made: a cube, and arrays that belong to it, such as its errors.

    Parameters
    ----------
    product
        Open file.
    part
        Index or name of the cube; None for the one that the explorer page shows first.
    depth_axis
        Number of the axis along which spectra are read, counted as in FITS; None for the default of the page.

    Returns
    -------
    arrays, axis
        Arrays that are not empty, and the axis in C order.

    Raises
    ------
    NoCubeError
        The file has no cube.
    """
    cube_view = cube.build_cube_view(product, part, depth_axis, {})
    if cube_view.depth_axis is None or cube_view.depth < 2:
        raise NoCubeError(format_message("the file contains no cube"))
    related_arrays = cube.list_related_arrays(product, cube_view.array)
    return [array for array in related_arrays if all(array.shape)], cube_view.depth_axis


def create_transposed_copies(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    path: str,
    *,
    part: str | None = None,
    depth_axis: int | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> TransposedCopiesResult:
    """Create the missing copies of a cube; each copy is complete or does not exist.

    Parameters
    ----------
    principal
        Principal with whose rights the file is read.
    collection, path
        Collection of the file, and its path there.
    part, depth_axis
        As for `choose_arrays_to_transpose`.
    progress
        Receives the progress, and says whether the call is cancelled.

    Returns
    -------
    result
        Copies that exist now.

    Raises
    ------
    HvenError
        The file cannot be read or has no cube; the disk lacks space; the call was cancelled.
    """
    original_file = collection_files.find_file_and_log_access(context, principal, collection, path)
    with open_product(original_file.path, original_file.name) as product:
        arrays, axis = choose_arrays_to_transpose(product, part, depth_axis)
        copies = [(array, _build_copy_path(original_file, array, axis)) for array in arrays]
        missing_copies = [(array, copy_path) for array, copy_path in copies if not copy_path.exists()]
        sizes = [rotated_copies.estimate_copy_bytes(array) for array, _ in missing_copies]
        total_bytes = sum(sizes)
        if missing_copies:
            # a remote or compressed array is first written to a temporary file, one array after the other
            temporary_sizes = [
                size for (array, _), size in zip(missing_copies, sizes, strict=True) if not array.is_local_uncompressed
            ]
            needed_bytes = total_bytes + max(temporary_sizes, default=0)
            check_disk_space(context.site, path, needed_bytes, write_factor=1.0)
            copies_directory = original_file.get_products_directory(COPIES_FOLDER)
            copies_directory.mkdir(parents=True, exist_ok=True)
            (copies_directory / ORIGINAL_PATH_FILE).write_bytes(os.fsencode(path))
        written_bytes = 0
        for size, (array, copy_path) in zip(sizes, missing_copies, strict=True):

            def report_share(share: float, size: int = size, written_bytes: int = written_bytes) -> None:
                progress.on_progress((written_bytes + share * size) / total_bytes)

            copy_progress = ProgressMonitor(report_share, progress.is_cancelled)
            rotated_copies.write_transposed_copy(array, axis, copy_path, copy_progress)
            written_bytes += size
    try:
        # if the file was changed meanwhile, the copies may mix two states
        collection_files.find_file_and_log_access(context, principal, collection, path)
    except HvenError:
        for _, copy_path in missing_copies:
            copy_path.unlink(missing_ok=True)
        raise
    part_names = tuple(array.name or str(array.index) for array in arrays)
    return TransposedCopiesResult(parts=part_names, bytes=total_bytes)


def _build_copy_path(original_file: collection_files.OriginalFile, array: ArrayPart, axis: int) -> Path:
    return original_file.get_products_directory(COPIES_FOLDER) / f"{array.index}-{axis}.npy"


def estimate_copy_bytes(original_file: collection_files.OriginalFile) -> int:
    """Estimate the bytes of the copies of a file; return 0 if they exist or the file has no cube.

    Parameters
    ----------
    original_file
        File that the reader may see.
    """
    try:
        with open_product(original_file.path, original_file.name) as product:
            arrays, axis = choose_arrays_to_transpose(product)
            if all(_build_copy_path(original_file, array, axis).exists() for array in arrays):
                return 0
            return sum(map(rotated_copies.estimate_copy_bytes, arrays))
    except HvenError:
        return 0


def remove_stale_copies(context: ServiceContext, collection: str) -> None:
    """Remove copies of files that have changed or gone, and unfinished files of dead processes.

    Parameters
    ----------
    collection
        Name of the collection.
    """
    collection_directory = context.site.settings.var_directory / COPIES_FOLDER / collection
    if not collection_directory.is_dir():
        return
    for copies_directory in list(collection_directory.iterdir()):
        if not _STATE_PATTERN.fullmatch(copies_directory.name):
            continue
        if not _has_current_copies(context, collection, copies_directory):
            shutil.rmtree(copies_directory, ignore_errors=True)
        for leftover in list_abandoned_files(copies_directory):
            leftover.unlink(missing_ok=True)


def _has_current_copies(context: ServiceContext, collection: str, copies_directory: Path) -> bool:
    """Check whether a directory holds copies of the current state of its file."""
    try:
        path = os.fsdecode((copies_directory / ORIGINAL_PATH_FILE).read_bytes())
        files = collection_files.find_files(context, OWNER_PRINCIPAL, collection, [path])
        original_file = collection_files.locate_original_file(context, OWNER_PRINCIPAL, files, path)
    except (OSError, NotFoundError):
        return False
    except HvenError:  # the file, or its server, cannot be reached now
        return True
    return original_file.get_products_directory(COPIES_FOLDER) == copies_directory


def _create_input_describer(*_: object) -> Callable[[str, str], str | None]:
    """Create the function that identifies what copies are made from: the state of a file that can be opened."""

    def describe_input(path: str, state: str) -> str | None:
        if detect_product_file_format(path) is None:
            return None
        return state

    return describe_input


def _prepare_file(file: FileToPrepare, report: FilePreparationReport) -> bool:
    with suppress(NoCubeError):
        rotation = create_transposed_copies(
            file.context,
            file.principal,
            file.found_files.collection,
            file.path,
            part=file.part,
            depth_axis=file.depth_axis,
            progress=file.progress,
        )
        report.copies += bool(rotation.bytes)
        report.bytes += rotation.bytes
    return True


SPECTRA = FilePreparation(
    create_input_describer=_create_input_describer,
    prepare_file=_prepare_file,
    remove_stale_products=remove_stale_copies,
)


__all__ = [
    "SPECTRA",
    "NoCubeError",
    "TransposedCopiesResult",
    "choose_arrays_to_transpose",
    "create_transposed_copies",
    "estimate_copy_bytes",
    "open_product_with_transposed_copies",
    "remove_stale_copies",
]
