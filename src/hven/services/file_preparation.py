"""Prepare a collection's files before clients request them: draw pictures, and make rotated copies of cubes.

Only new and changed files are prepared, each independently of the others.
"""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import detect_product_file_format
from hven.formats.pictures import FILM_MEDIA_TYPES, can_read_films
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import HvenError, OperationCancelledError, StorageError, StorageUnavailableError, UserError
from hven.model.table import list_drawable_extensions
from hven.services import collection_files, drawings, rotations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

PREVIEWS, SPECTRA = PRODUCT_KINDS = ("previews", "spectra")
FILES_PER_BATCH = 256  # files that are looked up in one query, and marks that are written at once
MARK_BYTES = 8


@dataclass(slots=True, kw_only=True)
class FilePreparationReport:
    """Counts of what was prepared.

    Attributes
    ----------
    files
        Number of new files.
    pictures, copies
        Number of pictures drawn, and of files with new rotated copies.
    bytes
        Bytes of pictures and copies together.
    failed
        Error messages by the path of the file that could not be prepared.
    left
        Number of files without new pictures, because these would have displaced pictures of the same run: the limit
        `files.pictures` of the settings is reached.
    """

    files: int = 0
    pictures: int = 0
    copies: int = 0
    bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0


def prepare_files(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    product_kinds: Sequence[str] = PRODUCT_KINDS,
    *,
    patterns: Sequence[str] = (),
    part: str | None = None,
    depth_axis: int | None = None,
    redo: bool = False,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> FilePreparationReport:
    """Prepare the new and changed files of a collection, and remove rotated copies of files that have gone.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        Principal with whose rights files are read.
    collection
        Name of the collection.
    product_kinds
        ``previews`` for thumbnails and quicklooks, ``spectra`` for rotated copies of cubes.
    patterns
        Patterns of paths, as of `fnmatch`; empty for all files that can be read.
    part, depth_axis
        Part and axis of cubes, as for `rotations.create_rotated_copies`.
    redo
        Whether files that were prepared before are prepared again.
    progress
        Receives the progress, and says whether the call is cancelled.

    Returns
    -------
    report
        Counts, and the errors by path.

    Raises
    ------
    NotFoundError
        The collection has no files.
    StorageError
        The disk is full or cannot be written.
    OperationCancelledError
        The call was cancelled; finished products stay.
    """
    settings = context.site.settings
    report = FilePreparationReport()
    prepared_marks = _PreparedFileMarks(settings.var_directory / "prepared" / collection)
    products = _list_products(context, principal, collection, product_kinds, patterns)
    # pictures come first, because the run ends when the disk has no space for copies
    pending_products = sorted(
        prepared_marks.list_products_to_prepare(products, redo=redo), key=lambda product: product[1]
    )
    rotations.remove_stale_copies(context, collection)  # only now is it known that the collection exists
    report.files = len({path for path, _, _ in pending_products})
    product_count = len(pending_products)

    def report_share(product_index: int, share: float) -> None:
        progress.on_progress((product_index + share) / product_count)

    try:
        for start in range(0, product_count, FILES_PER_BATCH):
            batch = pending_products[start : start + FILES_PER_BATCH]
            batch_paths = list(dict.fromkeys(path for path, _, _ in batch))
            found_files = collection_files.find_files(context, principal, collection, batch_paths)
            for product_index, (path, product_kind, mark) in enumerate(batch, start):
                progress.report_progress(product_index / product_count)
                try:
                    if product_kind == SPECTRA:
                        copy_progress = ProgressMonitor(partial(report_share, product_index), progress.is_cancelled)
                        rotation = rotations.create_rotated_copies(
                            context,
                            principal,
                            collection,
                            path,
                            part=part,
                            depth_axis=depth_axis,
                            progress=copy_progress,
                        )
                        report.copies += bool(rotation.bytes)
                        report.bytes += rotation.bytes
                    elif report.bytes < settings.files.pictures:
                        file = collection_files.open_original_file(context, principal, found_files, path)
                        _draw_pictures(context, file, collection, report)
                    else:
                        report.left += 1
                        continue
                except rotations.NoCubeError:
                    pass
                except Exception as error:  # a file that fails must not end the run
                    if _is_fatal(error):
                        raise
                    if isinstance(error, HvenError):
                        report.failed[path] = str(error)
                    else:
                        report.failed[path] = f"{type(error).__name__}: {error}"
                    if not isinstance(error, UserError):  # the error may pass, so the next run tries again
                        continue
                prepared_marks.add_mark(mark)
    finally:
        prepared_marks.write_marks()
    return report


def _is_fatal(error: Exception) -> bool:
    """Check whether an error concerns all files: a cancellation, or a disk that cannot be written."""
    if isinstance(error, StorageUnavailableError):
        return False
    return isinstance(error, OperationCancelledError | StorageError)


def _list_products(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    product_kinds: Sequence[str],
    patterns: Sequence[str],
) -> Iterator[tuple[str, str, str]]:
    """Yield the path of a file, the kind of product that can be made of it, and a text that identifies the input."""
    drawable_extensions = list_drawable_extensions()
    if can_read_films():
        drawable_extensions = (*drawable_extensions, *(f".{extension}" for extension in FILM_MEDIA_TYPES))
    note = drawings.with_credit_note(context, collection, drawings.THUMBNAIL_LOOK).note  # the pictures contain it
    for path, state in collection_files.list_file_states(context, principal, collection):
        if patterns and not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            continue
        for product_kind in product_kinds:
            if product_kind == PREVIEWS:
                if path.lower().endswith(drawable_extensions):
                    yield path, product_kind, f"{state} {note}"
            elif detect_product_file_format(path) is not None:
                yield path, product_kind, state


def _draw_pictures(
    context: ServiceContext, file: collection_files.OriginalFile, collection: str, report: FilePreparationReport
) -> None:
    picture_store = drawings.get_picture_store(context)
    for default_look in drawings.DEFAULT_LOOKS:
        look = drawings.with_credit_note(context, collection, default_look)
        key = drawings.make_picture_key([file], look)
        if drawings.find_picture(picture_store, key) is None:
            picture = drawings.get_or_draw_picture(picture_store, key, [(file.path, file.name)], look)
            report.bytes += len(picture)
            report.pictures += 1


class _PreparedFileMarks:
    """A file with a digest of 8 bytes for each input that was prepared, so that a later run skips it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new_marks = list[int]()
        if path.is_file():
            self._known_marks = np.sort(np.fromfile(path, "<u8"))
        else:
            self._known_marks = np.empty(0, "<u8")

    def list_products_to_prepare(
        self, products: Iterator[tuple[str, str, str]], *, redo: bool
    ) -> Iterator[tuple[str, str, int]]:
        """Yield the products whose input was not prepared before, or all with `redo`, each with its mark."""
        versions = f"{drawings.PICTURE_VERSION} {collection_files.READER_VERSION}"
        for path, product_kind, state in products:
            mark_input = f"{versions} {product_kind} {path} {state}".encode("utf-8", "surrogateescape")
            digest = hashlib.blake2b(mark_input, digest_size=MARK_BYTES).digest()
            mark = int.from_bytes(digest, "little")
            position = int(np.searchsorted(self._known_marks, np.uint64(mark)))
            is_known = position < len(self._known_marks) and self._known_marks[position] == mark
            if redo or not is_known:
                yield path, product_kind, mark

    def add_mark(self, mark: int) -> None:
        self._new_marks.append(mark)
        if len(self._new_marks) >= FILES_PER_BATCH:
            self.write_marks()

    def write_marks(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(np.array(self._new_marks, "<u8").tobytes())
        self._new_marks.clear()
