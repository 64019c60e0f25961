"""Files that were made of what the site publishes, on disk: made once, whoever asks for them, and the ones not asked for longest gone where there are too many."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 64  # files after which it is looked whether there are too many
_WRITES = 600.0  # seconds after which one that is not whole yet was left behind


class Shelf:
    """Files that were made, on disk, which any process may make and all find. Thread-safe.

    Parameters
    ----------
    directory
        Where they are; made when the first one is.
    budget
        Bytes, about.
    reads
        Seconds after it was asked for in which somebody may read one, and it does not go.
    """

    def __init__(self, directory: Path, budget: int, reads: float = 0.0) -> None:
        self._directory, self._budget, self._reads = directory, budget, reads
        self._lock, self._making, self._new = threading.Lock(), dict[str, threading.Lock](), 0

    def found(self, name: str) -> Path | None:
        """Return a file, which is used now; None: it is not there."""
        place = self._directory / name[:2] / name
        return place if _used(place) else None

    def made(self, name: str, write: Callable[[Path], object]) -> Path:
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
        total, now = sum(size for _, size, _ in found), time.time()
        for used, size, path in sorted(found):
            begun = Path(path).name.startswith(".")
            if used > now - _WRITES if begun else total <= self._budget or used > now - self._reads:
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


__all__ = ["Shelf"]
