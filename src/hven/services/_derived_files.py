"""Store files that are derived from published data on disk.

Each file is written once for all clients. When the store is full, the files that were used longest ago are removed.
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

_FILES_PER_SWEEP = 64  # new files between two looks at the size of the store
_WRITE_TIMEOUT_SECONDS = 600.0  # an unfinished file older than this was left behind by a process that died


class DerivedFileStore:
    """A directory of derived files that all processes share. Thread-safe.

    Parameters
    ----------
    directory
        Directory of the files; it is created with the first one.
    max_bytes
        Approximate limit of all files together.
    read_grace_seconds
        Time after its last request in which a file is not removed, because a client may be reading it.
    """

    def __init__(self, directory: Path, max_bytes: int, read_grace_seconds: float = 0.0) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._read_grace_seconds = read_grace_seconds
        self._lock = threading.Lock()
        self._write_locks = dict[str, threading.Lock]()
        self._new_count = 0

    def find_file(self, name: str) -> Path | None:
        """Find a file and mark it as used now; return None if it does not exist.

        Parameters
        ----------
        name
            Name of the file, a digest.

        Returns
        -------
        path
            The file; None if it does not exist.
        """
        path = self._directory / name[:2] / name
        if _mark_file_used(path):
            return path
        return None

    def get_or_write(self, name: str, write_file: Callable[[Path], object]) -> Path:
        """Return a file; write it first if it does not exist. Concurrent calls in a process write it only once.

        Parameters
        ----------
        name
            Name of the file, a digest.
        write_file
            Writes the file at a path.

        Returns
        -------
        path
            The file.
        """
        path = self._directory / name[:2] / name
        if _mark_file_used(path):
            return path
        with self._lock:
            write_lock = self._write_locks.setdefault(name, threading.Lock())
        with write_lock:
            if _mark_file_used(path):
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished_path = path.with_name(f".{secrets.token_hex(8)}")
            try:
                write_file(unfinished_path)
                unfinished_path.replace(path)
            finally:
                unfinished_path.unlink(missing_ok=True)
                with self._lock:
                    self._write_locks.pop(name, None)
                    self._new_count += 1
                    is_sweep_due = self._new_count % _FILES_PER_SWEEP == 1
        if is_sweep_due:
            self.remove_old_files()
        return path

    def remove_old_files(self) -> None:
        """Remove the files that were used longest ago, until the rest fits, and unfinished files of dead processes."""
        stored_files = self._list_stored_files()
        total_bytes = sum(file_bytes for _, file_bytes, _ in stored_files)
        now = time.time()
        for used_time, file_bytes, path in sorted(stored_files):
            is_unfinished = Path(path).name.startswith(".")
            if is_unfinished:
                is_kept = used_time > now - _WRITE_TIMEOUT_SECONDS
            else:
                is_kept = total_bytes <= self._max_bytes or used_time > now - self._read_grace_seconds
            if is_kept:
                continue
            with suppress(OSError):
                Path(path).unlink()
            total_bytes -= file_bytes

    def _list_stored_files(self) -> list[tuple[float, int, str]]:
        """List time of last use, size in bytes and path of each file."""
        stored_files: list[tuple[float, int, str]] = []
        if not self._directory.is_dir():
            return stored_files
        for folder in os.scandir(self._directory):
            with suppress(OSError):
                stored_files += [
                    (dir_entry.stat().st_mtime, dir_entry.stat().st_size, dir_entry.path)
                    for dir_entry in os.scandir(folder.path)
                ]
        return stored_files


def _mark_file_used(path: Path) -> bool:
    """Set a file's modification time to now; return False if it does not exist."""
    try:
        os.utime(path)
    except OSError:
        return False
    return True
