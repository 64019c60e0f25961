"""Files that were made of tables, on disk: made once, whoever asks for them, read as they are asked for, and the oldest gone where there are too many."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import StorageError, say
from hven.services.filed import STEP, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from hven.services.face import Surroundings
    from hven.services.filed import Piece

_EVERY = 64  # files after which it is looked whether there are too many
_WAITS = 600.0  # seconds in which one that is used, or written, does not go


class Shelf:
    """Files that were made, on disk, which any process may make and all find. Thread-safe.

    Parameters
    ----------
    directory
        Where they are; made when the first one is.
    budget
        Bytes, about.
    """

    def __init__(self, directory: Path, budget: int) -> None:
        self._directory, self._budget = directory, budget
        self._lock, self._making, self._new = threading.Lock(), dict[str, threading.Lock](), 0

    def made(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return a file, which is made if it is not there: once, whoever else asks for it meanwhile."""
        place = self._directory / name[:2] / name
        if _used(place):
            return place
        with self._lock:
            turn = self._making.setdefault(name, threading.Lock())
        with turn:
            if _used(place):
                return place
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{secrets.token_hex(8)}")
            try:
                write(part)
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
                with self._lock:
                    self._making.pop(name, None)
                    self._new += 1
                    due = self._new % _EVERY == 1
        if due:
            self.tidied()
        return place

    def tidied(self) -> None:
        """Let those go that were not asked for longest, until the others fit."""
        found = []
        for folder in os.scandir(self._directory) if self._directory.is_dir() else ():
            with suppress(OSError):
                found += [(one.stat().st_mtime, one.stat().st_size, one.path) for one in os.scandir(folder.path)]
        total = sum(size for _, size, _ in found)
        for used, size, path in sorted(found):
            begun = Path(path).name.startswith(".")
            if (total <= self._budget or used > time.time() - _WAITS) and not (begun and used < time.time() - _WAITS):
                continue
            with suppress(OSError):
                Path(path).unlink()
            total -= size


def _used(place: Path) -> bool:
    """Note that a file is used; False: it is not there."""
    try:
        os.utime(place)
    except OSError:
        return False
    return True


def shelf(around: Surroundings) -> Shelf:
    """Return where the site keeps them."""
    settings = around.site.settings
    found: Shelf = around.site.kept(Shelf, settings.var / "tiles", settings.files.partitions)
    return found


def read(place: Path, begin: int, end: int) -> Generator[Piece]:
    """Read bytes of a file, from one place to before another: what is in memory at once."""
    file = os.open(place, os.O_RDONLY)
    try:
        while begin < end:
            wanted = min(STEP, end - begin)
            piece: Piece = at_once(file, wanted, begin)
            if not piece:
                yield None
                piece = os.pread(file, wanted, begin)
                if not piece:
                    raise StorageError(say("{path} is shorter than it was", place.name), remedy="ask again")
            begin += len(piece)
            yield piece
    finally:
        os.close(file)


__all__ = ["Shelf", "read", "shelf"]
