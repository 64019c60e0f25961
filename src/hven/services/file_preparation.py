"""What is made of a collection's files before anybody asks: pictures, and rotated copies of cubes.

Of what is new alone, and each file by itself.
"""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hven.formats.media import detect_medium
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
FILES_PER_BATCH = 256  # files that are asked for at once


@dataclass(slots=True, kw_only=True)
class PreparationReport:
    """What was made.

    Attributes
    ----------
    files
        That were new.
    pictures, copies
        How many.
    bytes
        Of both.
    failed
        Why nothing could be made of a file, by path.
    left
        Files whose pictures would have pushed out those that were made just now: `files.pictures` of the settings is
        full.
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
) -> PreparationReport:
    """Make what is to be made of a collection's files that are new, and remove copies of what is no more.

    Parameters
    ----------
    context
        The site.
    principal
        By whose rights files are taken.
    collection
        Its name.
    product_kinds
        ``previews``: thumbnails and quicklooks; ``spectra``: rotated copies of cubes.
    patterns
        Of paths; empty: all that can be looked into.
    part, depth_axis
        Of cubes, as of `rotations.create_rotated_copies`.
    redo
        What was looked at before, too.
    progress
        What it is told to.

    Returns
    -------
    prepared
        What was made, and what failed.

    Raises
    ------
    NotFoundError
        The collection has no files.
    StorageError
        The disk.
    OperationCancelledError
        It was stopped: what was made stays.
    """
    settings = context.site.settings
    report = PreparationReport()
    prepared_marks = _PreparedMarks(settings.var_directory / "prepared" / collection)
    # pictures first: where the disk has no room for copies, it ends
    new = prepared_marks.list_new(_list_products(context, principal, collection, product_kinds, patterns), redo=redo)
    todo = sorted(
        new,
        key=lambda product_kind: product_kind[1],
    )
    rotations.remove_stale_copies(context, collection)  # not before it is known that there is such a collection
    report.files = len({path for path, _, _ in todo})
    try:
        for start in range(0, len(todo), FILES_PER_BATCH):
            batch = todo[start : start + FILES_PER_BATCH]
            found_files = collection_files.find_files(
                context, principal, collection, list(dict.fromkeys(path for path, _, _ in batch))
            )
            for at, (path, product_kind, mark) in enumerate(batch, start):
                progress.report_progress(at / len(todo))
                inner = ProgressMonitor(
                    lambda share, at=at: progress.on_progress((at + share) / len(todo)),  # type: ignore[misc]
                    progress.is_cancelled,
                )
                try:
                    if product_kind == SPECTRA:
                        turned = rotations.create_rotated_copies(
                            context, principal, collection, path, part=part, depth_axis=depth_axis, progress=inner
                        )
                        report.copies = report.copies + bool(turned.bytes)
                        report.bytes = report.bytes + turned.bytes
                    elif report.bytes < settings.files.pictures:
                        _draw_pictures(
                            context,
                            collection_files.open_original(context, principal, found_files, path),
                            collection,
                            report,
                        )
                    else:
                        report.left += 1
                        continue
                except rotations.NoCubeError:
                    pass
                except Exception as error:  # one file must not end it for all
                    if isinstance(error, OperationCancelledError) or (
                        isinstance(error, StorageError) and not isinstance(error, StorageUnavailableError)
                    ):
                        raise
                    if isinstance(error, HvenError):
                        report.failed[path] = str(error)
                    else:
                        report.failed[path] = f"{type(error).__name__}: {error}"
                    if not isinstance(error, UserError):  # it may come right
                        continue
                prepared_marks.add_mark(mark)
    finally:
        prepared_marks.write_marks()
    return report


def _list_products(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    product_kinds: Sequence[str],
    patterns: Sequence[str],
) -> Iterator[tuple[str, str, str]]:
    """Yield paths, what is made of each, and what tells its state."""
    pictured = (*list_drawable_extensions(), *(f".{item}" for item in FILM_MEDIA_TYPES if can_read_films()))
    note = drawings.add_credit(context, collection, drawings.DEFAULT_LOOKS[0]).note  # stands in the pictures
    for path, state in collection_files.list_file_states(context, principal, collection):
        if patterns and not any(fnmatch.fnmatchcase(path, item) for item in patterns):
            continue
        for item in product_kinds:
            if path.lower().endswith(pictured) if item == PREVIEWS else detect_medium(path) is not None:
                yield path, item, f"{state} {note}" if item == PREVIEWS else state


def _draw_pictures(
    context: ServiceContext, file: collection_files.OriginalFile, collection: str, report: PreparationReport
) -> None:
    shelf = drawings.get_picture_store(context)
    for usual in drawings.DEFAULT_LOOKS:
        look = drawings.add_credit(context, collection, usual)
        key = drawings.make_picture_key([file], look)
        if drawings.find_picture(shelf, key) is None:
            report.bytes += len(drawings.get_or_draw_picture(shelf, key, [(file.path, file.name)], look))
            report.pictures += 1


class _PreparedMarks:
    """What was looked at before, as 8 bytes for each state of a file.

    A collection that is synchronised often looks at what is new alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new_marks = list[int]()
        if path.is_file():
            self._known_marks = np.sort(np.fromfile(path, "<u8"))
        else:
            self._known_marks = np.empty(0, "<u8")

    def list_new(self, products: Iterator[tuple[str, str, str]], *, redo: bool) -> Iterator[tuple[str, str, int]]:
        """Yield those that were not looked at as they are now, each with its mark."""
        for path, product_kind, state in products:
            mark_input = (
                f"{drawings.PICTURE_VERSION} {collection_files.READER_VERSION} {product_kind} {path} {state}".encode(
                    "utf-8", "surrogateescape"
                )
            )
            mark = int.from_bytes(hashlib.blake2b(mark_input, digest_size=8).digest(), "little")
            at = int(np.searchsorted(self._known_marks, np.uint64(mark)))
            if redo or at == len(self._known_marks) or self._known_marks[at] != mark:
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
