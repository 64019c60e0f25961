"""Places of files that clients send.

If a file cannot be published, the file before comes back, even if the process was killed.
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

from hven.ingest.api.steps import PluginIngestStep
from hven.model.errors import StorageError
from hven.plugins.push.push_store import ClientPushStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.site import Site

UNDO_NOTE_SUFFIX = ".undo"  # ending of the files that describe what a push is about to do


@dataclass(kw_only=True)
class FilePush:
    """A push of files; with `keep_files`, the new files stay."""

    run: str
    table: str
    keep_files: bool = False


class CollectionFileTarget:
    """The place of a file of a collection.

    Parameters
    ----------
    spool_directory
        Directory for files that wait, and for undo notes.
    collection
        Name of the collection.
    path
        Path on this machine.

    Attributes
    ----------
    digest
        SHA-256 of the present file; empty: there is none.
    """

    def __init__(self, spool_directory: Path, collection: str, path: Path) -> None:
        self.path = path
        self._spool_directory = spool_directory
        self._collection = collection
        if path.exists():
            self.digest = compute_file_digest(path)
        else:
            self.digest = ""

    @contextmanager
    def replace_file_temporarily(self, body: Path | None, file_push: FilePush) -> Iterator[None]:
        """Replace the file by another one, or delete it; at the end undo this, unless the push keeps its files.

        Raises
        ------
        StorageError
            The disk is full, or may not be written.
        """
        created_directories = [directory for directory in self.path.parents if not directory.exists()]
        temporary_name = f".{self._collection}-{secrets.token_hex(6)}"
        try:
            self._spool_directory.mkdir(parents=True, exist_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_same_device = self._spool_directory.stat().st_dev == self.path.parent.stat().st_dev
            working_directory = self._spool_directory if is_same_device else self.path.parent
            new_file = working_directory / f"{temporary_name}.part"
            old_file = working_directory / f"{temporary_name}.old"
            undo_note = self._spool_directory / f"{temporary_name}{UNDO_NOTE_SUFFIX}"
            undo_record = {
                "run": file_push.run,
                "table": file_push.table,
                "path": str(self.path),
                "had": self.digest,
                "sent": "" if body is None else compute_file_digest(body),
                "part": str(new_file),
                "old": str(old_file),
                "made": [str(directory) for directory in created_directories],
            }
            # the note is durable before any step that it describes
            with undo_note.open("x") as note_file:
                json.dump(undo_record, note_file)
                note_file.flush()
                os.fsync(note_file.fileno())
            _sync_directory_to_disk(self._spool_directory)
            if body is not None:
                _copy_file_durably(body, new_file)
            if self.digest:
                os.link(self.path, old_file)
        except OSError as error:
            for directory in (self._spool_directory, self.path.parent):
                for leftover in directory.glob(f"{temporary_name}.*"):
                    leftover.unlink(missing_ok=True)
            delete_empty_directories(created_directories)
            raise StorageError(
                f"the file could not be saved: {error.strerror}",
                remedy="free some space, or check the permissions of the directory",
            ) from error
        try:
            if body is None:
                self.path.unlink()
            else:
                new_file.replace(self.path)
            _sync_directory_to_disk(self.path.parent)
            yield
        finally:
            if not file_push.keep_files:
                if self.digest:
                    old_file.replace(self.path)
                else:
                    self.path.unlink(missing_ok=True)
                _sync_directory_to_disk(self.path.parent)
                delete_empty_directories(created_directories)
            for leftover in (new_file, old_file, undo_note):  # the note comes last: it names the others
                leftover.unlink(missing_ok=True)


def roll_back_interrupted_file_pushes(site: Site, collection: str, current_run: str = "") -> None:
    """Undo the steps of pushes of files that were killed before they were committed.

    The caller holds the lease of the collection.

    Parameters
    ----------
    site
        The site that publishes the collection.
    collection
        Name of the collection.
    current_run
        Id of the present run; empty: there is none.
    """
    undo_notes = get_spool_directory(site).glob(f".{collection}-*{UNDO_NOTE_SUFFIX}")
    for undo_note in sorted(undo_notes):
        with suppress(OSError):
            try:
                undo_record = json.loads(undo_note.read_text())
            except ValueError:  # the push was killed while it wrote the note, before any other step
                undo_note.unlink()
                continue
            if undo_record["run"] == current_run:
                continue
            path, new_file, old_file = (Path(undo_record[name]) for name in ("path", "part", "old"))
            if (
                site.store.get_or_create(ClientPushStore).find_push(undo_record["table"], run_id=undo_record["run"])
                is None
            ):
                if undo_record["had"] and old_file.exists():
                    old_file.replace(path)
                elif not undo_record["had"] and path.exists() and compute_file_digest(path) == undo_record["sent"]:
                    path.unlink()
                delete_empty_directories([Path(directory) for directory in undo_record["made"]])
            for leftover in (new_file, old_file, undo_note):
                leftover.unlink(missing_ok=True)


def get_spool_directory(site: Site) -> Path:
    """Return the directory for files that wait."""
    return site.settings.var_directory / "spool"


def compute_file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def delete_empty_directories(directories: Sequence[Path]) -> None:
    """Delete those of some directories that are empty."""
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()


def _copy_file_durably(source: Path, target: Path) -> None:
    """Copy a file, and wait until the copy is on the disk."""
    with source.open("rb") as input_file, target.open("xb") as output_file:
        shutil.copyfileobj(input_file, output_file)
        output_file.flush()
        os.fsync(output_file.fileno())


def _sync_directory_to_disk(directory: Path) -> None:
    """Make the entries of a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


STEP = PluginIngestStep(before_run=roll_back_interrupted_file_pushes)
