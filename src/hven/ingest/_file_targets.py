"""Places of files that clients send.

What was there before comes back if it cannot be published, also where the process was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.site import Site

UNDO_NOTE_SUFFIX = ".undo"  # how files end that say what a push was about to do


@dataclass(kw_only=True)
class FilePush:
    """A push of files; `keep_files`: what it put to its place stays there."""

    run: str
    table: str
    keep_files: bool = False


class FileTarget:
    """Where a file of a collection lies.

    Parameters
    ----------
    spool_directory
        Where files wait, and notes are kept.
    collection
        Its name.
    path
        On this machine.

    Attributes
    ----------
    digest
        SHA-256 of what is there; empty: nothing.
    """

    def __init__(self, spool_directory: Path, collection: str, path: Path) -> None:
        self.path = path
        self._spool_directory = spool_directory
        self._collection = collection
        if path.exists():
            self.digest = compute_file_digest(path)
        else:
            self.digest = ""

    # the steps are undone in the reverse order, in one function
    @contextmanager
    def replace_file(self, body: Path | None, file_push: FilePush) -> Iterator[None]:  # noqa: PLR0912, PLR0915
        """Put a file there, or take it away; unless it is to be kept in the end, all is as it was afterwards.

        Raises
        ------
        StorageError
            The disk is full, or may not be written.
        """
        created_directories = [leftover for leftover in self.path.parents if not leftover.exists()]
        temporary_name = f".{self._collection}-{secrets.token_hex(6)}"
        try:
            self._spool_directory.mkdir(parents=True, exist_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_same_device = self._spool_directory.stat().st_dev == self.path.parent.stat().st_dev
            if is_same_device:
                working_directory = self._spool_directory
            else:
                working_directory = self.path.parent
            new_file = working_directory / f"{temporary_name}.part"
            old_file = working_directory / f"{temporary_name}.old"
            undo_note = self._spool_directory / f"{temporary_name}{UNDO_NOTE_SUFFIX}"
            with undo_note.open("x") as file:  # before anything is done that it says
                if body is not None:
                    new_digest = compute_file_digest(body)
                else:
                    new_digest = ""
                json.dump(
                    {
                        "run": file_push.run,
                        "table": file_push.table,
                        "path": str(self.path),
                        "had": self.digest,
                        "sent": new_digest,
                        "part": str(new_file),
                        "old": str(old_file),
                        "made": list(map(str, created_directories)),
                    },
                    file,
                )
                file.flush()
                os.fsync(file.fileno())
            _sync_directory(self._spool_directory)
            if body is not None:
                with body.open("rb") as input_file, new_file.open("xb") as output_file:
                    shutil.copyfileobj(input_file, output_file)
                    output_file.flush()
                    os.fsync(output_file.fileno())
            if self.digest:
                os.link(self.path, old_file)
        except OSError as error:
            for leftover in (
                *self._spool_directory.glob(f"{temporary_name}.*"),
                *self.path.parent.glob(f"{temporary_name}.*"),
            ):
                leftover.unlink(missing_ok=True)
            delete_empty_directories(created_directories)
            raise StorageError(
                f"the file cannot be kept: {error.strerror}", remedy="make room, or look at the rights of the directory"
            ) from error
        try:
            if body is None:
                self.path.unlink()
            else:
                new_file.replace(self.path)
            _sync_directory(self.path.parent)
            yield
        finally:
            if not file_push.keep_files:
                if self.digest:
                    old_file.replace(self.path)
                else:
                    self.path.unlink(missing_ok=True)
                _sync_directory(self.path.parent)
                delete_empty_directories(created_directories)
            for leftover in (new_file, old_file, undo_note):  # the note last: without it nobody knows of the others
                leftover.unlink(missing_ok=True)


def roll_back_interrupted_pushes(site: Site, collection: str, current_run: str = "") -> None:
    """Undo what pushes of files began that were killed before they were committed.

    Called by who holds the collection's lease.

    Parameters
    ----------
    site, collection
        Where.
    current_run
        The run that is under way; empty: none is.
    """
    for undo_note in sorted(find_spool_directory(site).glob(f".{collection}-*{UNDO_NOTE_SUFFIX}")):
        with suppress(OSError):
            try:
                undo_record = json.loads(undo_note.read_text())
            except ValueError:  # killed while it was written: nothing was done yet
                undo_note.unlink()
                continue
            if undo_record["run"] == current_run:
                continue
            path, new_file, old_file = (Path(undo_record[name]) for name in ("path", "part", "old"))
            if site.store.pushes.find_push(undo_record["table"], run_id=undo_record["run"]) is None:
                if undo_record["had"] and old_file.exists():
                    old_file.replace(path)
                elif not undo_record["had"] and path.exists() and compute_file_digest(path) == undo_record["sent"]:
                    path.unlink()
                delete_empty_directories([Path(leftover_path) for leftover_path in undo_record["made"]])
            for leftover_path in (new_file, old_file, undo_note):
                leftover_path.unlink(missing_ok=True)


def find_spool_directory(site: Site) -> Path:
    """Return where files wait."""
    return site.settings.var_directory / "spool"


def compute_file_digest(path: Path) -> str:
    """Sum up a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delete_empty_directories(directories: Sequence[Path]) -> None:
    """Remove directories that are empty."""
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()


def _sync_directory(directory: Path) -> None:
    """Make what a directory has durable."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


__all__ = [
    "FilePush",
    "FileTarget",
    "compute_file_digest",
    "delete_empty_directories",
    "find_spool_directory",
    "roll_back_interrupted_pushes",
]
