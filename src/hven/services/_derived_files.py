"""Files that were made of what the site publishes, on disk.

Made once, whoever asks for them, and the ones not asked for longest gone where there are too many.
"""

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

_FILES_PER_SWEEP = 64  # files after which it is looked whether there are too many
_WRITE_TIMEOUT_SECONDS = 600.0  # seconds after which one that is not whole yet was left behind


class DerivedFileStore:
    """Files that were made, on disk, which any process may make and all find. Thread-safe.

    Parameters
    ----------
    directory
        Where they are; made when the first one is.
    max_bytes
        Bytes, about.
    read_grace_seconds
        Seconds after it was asked for in which somebody may read one, and it does not go.
    """

    def __init__(self, directory: Path, max_bytes: int, read_grace_seconds: float = 0.0) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._read_grace_seconds = read_grace_seconds
        self._lock = threading.Lock()
        self._write_locks = dict[str, threading.Lock]()
        self._new_count = 0

    def find_file(self, name: str) -> Path | None:
        """Return a file, which is used now; None: it is not there."""
        place = self._directory / name[:2] / name
        return place if _mark_used(place) else None

    def get_or_write(self, name: str, write_file: Callable[[Path], object]) -> Path:
        """Return a file, which is made if it is not there: once, whoever else asks for it meanwhile."""
        place = self._directory / name[:2] / name
        if _mark_used(place):
            return place
        with self._lock:
            turn = self._write_locks.setdefault(name, threading.Lock())
        with turn:
            if _mark_used(place):
                return place
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_name(f".{secrets.token_hex(8)}")
            try:
                write_file(part)
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
                with self._lock:
                    self._write_locks.pop(name, None)
                    self._new_count += 1
                    due = self._new_count % _FILES_PER_SWEEP == 1
        if due:
            self.remove_old_files()
        return place

    def remove_old_files(self) -> None:
        """Let those go that were not asked for longest, until the others fit."""
        stored_files = []
        for folder in os.scandir(self._directory) if self._directory.is_dir() else ():
            with suppress(OSError):
                stored_files += [
                    (dir_entry.stat().st_mtime, dir_entry.stat().st_size, dir_entry.path)
                    for dir_entry in os.scandir(folder.path)
                ]
        total = sum(size for _, size, _ in stored_files)
        now = time.time()
        for used, size, path in sorted(stored_files):
            begun = Path(path).name.startswith(".")
            if (
                used > now - _WRITE_TIMEOUT_SECONDS
                if begun
                else total <= self._max_bytes or used > now - self._read_grace_seconds
            ):
                continue
            with suppress(OSError):
                Path(path).unlink()
            total -= size


def _mark_used(path: Path) -> bool:
    """Note that a file is used; False: it is not there."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True


__all__ = ["DerivedFileStore"]
