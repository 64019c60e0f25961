"""Write a package into a file that appears when it is complete; a package that was stopped is continued."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from hven.model.errors import ConflictError, StorageError
from hven.plugins.packages.package_journal import PackageJournal
from hven.plugins.packages.package_stream import PackageStream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hven.plugins.packages.package_contents import PackageContents
    from hven.plugins.packages.package_members import LackingItem

PART_SUFFIX, JOURNAL_SUFFIX = ".part", ".part-journal"
SYNC_BYTES = 64 * 1024**2  # bytes after which file and journal are written to the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPackage:
    """A package that was written.

    Attributes
    ----------
    path
        The file.
    byte_count
        Its size.
    continued_bytes
        Bytes that an earlier run had written.
    snapshot_hash
        Hash of all rows.
    row_counts
        Number of rows of each table.
    lacking
        What it does not contain.
    """

    path: Path
    byte_count: int
    continued_bytes: int
    snapshot_hash: str
    row_counts: dict[str, int]
    lacking: Sequence[LackingItem]


def write_package(contents: PackageContents, form: str, path: Path) -> WrittenPackage:
    """Write a package into a file.

    Parameters
    ----------
    contents
        What the package contains.
    form
        One of `hven.plugins.packages.package_members.FORMS`.
    path
        A file that does not exist yet. Until it is complete, it has the suffix ``.part``.

    Raises
    ------
    ConflictError
        The file exists, or the collection has changed since the first part was written.
    StorageError
        The file cannot be written; the next call continues it.
    """
    if path.exists():
        raise ConflictError(f"{path} already exists", remedy="choose a different name, or move the existing file")
    part_path = path.with_name(path.name + PART_SUFFIX)
    journal_path = path.with_name(path.name + JOURNAL_SUFFIX)
    journal = PackageJournal(journal_path, contents.compute_identity(form))
    stream = PackageStream(contents, form, journal)
    try:
        if journal.is_continued:
            start = stream.find_complete_bytes()
        else:
            start = 0
        with _open_part(part_path, is_private=contents.is_whole) as file:
            start = _drop_incomplete_end(file.fileno(), start)
            file.seek(start)
            try:
                _write_chunks(file, stream, start, journal)
            except BaseException:
                with suppress(OSError):  # the next call continues after what is on the disk
                    _sync(file, journal)
                raise
            _sync(file, journal)
        part_path.replace(path)
        journal_path.unlink(missing_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = "free some space on the disk, and run the command again: it continues"
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EISDIR, errno.EROFS}:
            remedy = "write `--output` with a file in a directory that exists, and in which you may write"
        raise StorageError(f"{part_path} cannot be written: {reason}", remedy=remedy) from error
    return WrittenPackage(
        path=path,
        byte_count=stream.offset,
        continued_bytes=start,
        snapshot_hash=stream.snapshot_hash,
        row_counts={table.name: table.digest.row_count for table in contents.row_tables},
        lacking=stream.lacking,
    )


def _open_part(path: Path, *, is_private: bool) -> BinaryIO:
    """Open the file that is written; what only the owner may read is for this account alone."""
    file_number = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600 if is_private else 0o666)
    file = os.fdopen(file_number, "wb")
    if is_private:
        with suppress(PermissionError):  # some file systems have no permissions
            os.fchmod(file_number, 0o600)  # an earlier run may have created it for everybody
    return file


def _write_chunks(file: BinaryIO, stream: PackageStream, start: int, journal: PackageJournal) -> None:
    unsynced_bytes = SYNC_BYTES  # the line that identifies the package is written first
    for chunk in stream.iterate_chunks(start):
        unsynced_bytes += len(chunk)
        if unsynced_bytes >= SYNC_BYTES:
            _sync(file, journal)
            unsynced_bytes = 0
        file.write(chunk)


def _drop_incomplete_end(file_number: int, complete_bytes: int) -> int:
    """Cut what was written after the last complete member; return where to continue."""
    start = 0
    if os.fstat(file_number).st_size >= complete_bytes:
        start = complete_bytes
    os.ftruncate(file_number, start)
    return start


def _sync(file: BinaryIO, journal: PackageJournal) -> None:
    """Write the bytes to the disk, and then the lines of the journal that describe them."""
    file.flush()
    os.fsync(file.fileno())
    journal.write_pending_lines()
