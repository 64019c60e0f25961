"""Places of files that clients send: what was there before comes back if it cannot be published, also where the process was killed."""

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

NOTE = ".undo"  # how files end that say what a push was about to do


@dataclass(kw_only=True)
class Sent:
    """A push of files; `keep`: what it put to its place stays there."""

    run: str
    table: str
    keep: bool = False


class Place:
    """Where a file of a collection lies.

    Parameters
    ----------
    directory
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

    def __init__(self, directory: Path, collection: str, path: Path) -> None:
        self.path, self._spool, self._collection = path, directory, collection
        self.digest = digest_of(path) if path.exists() else ""

    @contextmanager
    def changed(self, body: Path | None, sent: Sent) -> Iterator[None]:
        """Put a file there, or take it away; unless it is to be kept in the end, all is as it was afterwards.

        Raises
        ------
        StorageError
            The disk is full, or may not be written.
        """
        made = [one for one in self.path.parents if not one.exists()]
        word = f".{self._collection}-{secrets.token_hex(6)}"
        try:
            self._spool.mkdir(parents=True, exist_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            same = self._spool.stat().st_dev == self.path.parent.stat().st_dev
            beside = self._spool if same else self.path.parent
            part, old, note = beside / f"{word}.part", beside / f"{word}.old", self._spool / f"{word}{NOTE}"
            with note.open("x") as file:  # before anything is done that it says
                own = digest_of(body) if body is not None else ""
                json.dump({"run": sent.run, "table": sent.table, "path": str(self.path), "had": self.digest, "sent": own, "part": str(part), "old": str(old), "made": list(map(str, made))}, file)  # fmt: skip
                file.flush()
                os.fsync(file.fileno())
            _settle(self._spool)
            if body is not None:
                with body.open("rb") as given, part.open("xb") as into:
                    shutil.copyfileobj(given, into)
                    into.flush()
                    os.fsync(into.fileno())
            if self.digest:
                os.link(self.path, old)
        except OSError as error:
            for one in (*self._spool.glob(f"{word}.*"), *self.path.parent.glob(f"{word}.*")):
                one.unlink(missing_ok=True)
            tidy(made)
            raise StorageError(f"the file cannot be kept: {error.strerror}", remedy="make room, or look at the rights of the directory") from error  # fmt: skip
        try:
            if body is None:
                self.path.unlink()
            else:
                part.replace(self.path)
            _settle(self.path.parent)
            yield
        finally:
            if not sent.keep:
                if self.digest:
                    old.replace(self.path)
                else:
                    self.path.unlink(missing_ok=True)
                _settle(self.path.parent)
                tidy(made)
            for one in (part, old, note):  # the note last: without it nobody knows of the others
                one.unlink(missing_ok=True)


def undone(site: Site, collection: str, but: str = "") -> None:
    """Undo what pushes of files began that were killed before they were committed; called by who holds the collection's lease.

    Parameters
    ----------
    site, collection
        Where.
    but
        The run that is under way; empty: none is.
    """
    for note in sorted(spool(site).glob(f".{collection}-*{NOTE}")):
        with suppress(OSError):
            try:
                said = json.loads(note.read_text())
            except ValueError:  # killed while it was written: nothing was done yet
                note.unlink()
                continue
            if said["run"] == but:
                continue
            path, part, old = (Path(said[name]) for name in ("path", "part", "old"))
            if site.store.pushes.found(said["table"], run=said["run"]) is None:
                if said["had"] and old.exists():
                    old.replace(path)
                elif not said["had"] and path.exists() and digest_of(path) == said["sent"]:
                    path.unlink()
                tidy([Path(one) for one in said["made"]])
            for one in (part, old, note):
                one.unlink(missing_ok=True)


def spool(site: Site) -> Path:
    """Return where files wait."""
    return site.settings.var / "spool"


def digest_of(path: Path) -> str:
    """Sum up a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tidy(made: Sequence[Path]) -> None:
    """Remove directories that are empty."""
    for one in made:
        with suppress(OSError):
            one.rmdir()


def _settle(directory: Path) -> None:
    """Make what a directory has durable."""
    number = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


__all__ = ["Place", "Sent", "digest_of", "spool", "tidy", "undone"]
