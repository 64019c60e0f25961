"""Prepare files of collections before clients request them, by what plug-in packages make of them.

Only new and changed files are prepared, each independently of the others.
"""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hven.model import plugins
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import (
    HvenError,
    OperationCancelledError,
    StorageError,
    StorageUnavailableError,
    UserError,
    format_message,
)
from hven.services import collection_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

PRODUCT_KINDS = ("previews", "spectra")  # words of `prepare:`
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FileToPrepare:
    """A file from which products are made.

    Attributes
    ----------
    context
        Service context of the site.
    principal
        Principal with whose rights the file is read.
    path
        Path of the file in its collection.
    found_files
        Files of the collection, this one among them.
    part, depth_axis
        Part and axis of cubes, as the operator gave them; None: those that the package chooses.
    progress
        Receives the progress of this file, and says whether the call is cancelled.
    """

    context: ServiceContext
    principal: Principal
    path: str
    found_files: collection_files.FoundFiles
    part: str | None
    depth_axis: int | None
    progress: ProgressMonitor


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePreparation:
    """Products of one kind, which are made of files before clients request them.

    The place of such a record is in `hven.model.plugins.PluginPackage.file_preparations`.

    Attributes
    ----------
    create_input_describer
        Creates a function for a collection, from the path of a file and a text with its state to a text that identifies
        what the products are made from. This function returns None for a file without products.
    prepare_file
        Makes the products of a file, and counts them in the report. It returns False if a later run must do that.
    remove_stale_products
        Removes products of files of a collection that have changed or gone.
    version
        A change of this number makes the products of all files anew.
    """

    create_input_describer: Callable[[ServiceContext, str], Callable[[str, str], str | None]]
    prepare_file: Callable[[FileToPrepare, FilePreparationReport], bool]
    remove_stale_products: Callable[[ServiceContext, str], None] = lambda *_: None
    version: int = 2  # the number that the first products had


@plugins.cache_until_selection
def load_file_preparations() -> Mapping[str, FilePreparation]:
    """Load what can be made of files, by the words of ``prepare:``."""
    return dict(plugins.iterate_package_objects("file_preparations"))


def _select_file_preparations(product_kinds: Sequence[str] | None) -> Mapping[str, FilePreparation]:
    """Select kinds of products, None for all; raise an error if no package in use makes them."""
    preparations = load_file_preparations()
    if product_kinds is None:
        return preparations
    for product_kind in product_kinds:
        if product_kind not in preparations:
            raise plugins.find_disabled_plugin_error("file_preparations", product_kind) or UserError(
                format_message("no plug-in package makes {kind} of files", product_kind),
                remedy=format_message("install a plug-in package that makes {kind}", product_kind),
            )
    return {product_kind: preparations[product_kind] for product_kind in product_kinds}


def prepare_files_and_remove_stale_products(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    product_kinds: Sequence[str] | None = None,
    *,
    patterns: Sequence[str] = (),
    part: str | None = None,
    depth_axis: int | None = None,
    redo: bool = False,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> FilePreparationReport:
    """Prepare the new and changed files of a collection, and remove what was made of files that have gone.

    Parameters
    ----------
    context
        Service context of the site.
    principal
        Principal with whose rights files are read.
    collection
        Name of the collection.
    product_kinds
        Names of `load_file_preparations`: ``previews`` for thumbnails and quicklooks, ``spectra`` for rotated copies of
        cubes; None: all.
    patterns
        Patterns of paths, as of `fnmatch`; empty for all files that can be read.
    part, depth_axis
        Part and axis of cubes, for ``spectra``.
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
    UserError
        No plug-in package in use makes such products.
    StorageError
        The disk is full or cannot be written.
    OperationCancelledError
        The call was cancelled; finished products stay.
    """
    settings = context.site.settings
    preparations = _select_file_preparations(product_kinds)
    report = FilePreparationReport()
    prepared_marks = _PreparedFileMarks(settings.var_directory / "prepared" / collection)
    products = _list_possible_products(context, principal, collection, preparations, patterns)
    # pictures come first, because the run ends when the disk has no space for copies
    pending_products = sorted(
        prepared_marks.list_products_to_prepare(products, redo=redo), key=lambda product: product[1]
    )
    for preparation in load_file_preparations().values():  # only now is it known that the collection exists
        preparation.remove_stale_products(context, collection)
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
                file_progress = ProgressMonitor(partial(report_share, product_index), progress.is_cancelled)
                file = FileToPrepare(
                    context=context,
                    principal=principal,
                    path=path,
                    found_files=found_files,
                    part=part,
                    depth_axis=depth_axis,
                    progress=file_progress,
                )
                try:
                    if not preparations[product_kind].prepare_file(file, report):
                        continue
                except Exception as error:  # a file that fails must not end the run
                    if _is_failure_of_all_files(error):
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


def _is_failure_of_all_files(error: Exception) -> bool:
    """Check whether an error concerns all files: a cancellation, or a disk that cannot be written."""
    if isinstance(error, StorageUnavailableError):
        return False
    return isinstance(error, OperationCancelledError | StorageError)


def _list_possible_products(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    preparations: Mapping[str, FilePreparation],
    patterns: Sequence[str],
) -> Iterator[tuple[str, str, str]]:
    """Yield the path of a file, the kind of product that can be made of it, and a text that identifies the input."""
    describers = {
        product_kind: preparation.create_input_describer(context, collection)
        for product_kind, preparation in preparations.items()
    }
    for path, state in collection_files.list_file_states(context, principal, collection):
        if patterns and not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
            continue
        for product_kind, describe_input in describers.items():
            input_text = describe_input(path, state)
            if input_text is not None:
                yield path, product_kind, input_text


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
        preparations = load_file_preparations()
        for path, product_kind, state in products:
            versions = f"{preparations[product_kind].version} {collection_files.READER_VERSION}"
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
