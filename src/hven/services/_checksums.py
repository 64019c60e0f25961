"""CRC-32 of files that left in ZIP archives, by SHA-256.

Whoever goes on from the middle of one needs those of all, after a restart, too, and from any process.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 8 << 20  # bytes of the file, 110,000 sums; of more the newer half is kept
_LINE_PATTERN = re.compile(rb"^([0-9a-f]{64}) ([0-9a-f]{8})$", re.MULTILINE)


class CrcCache:
    """Sums that are known, in a file that all processes append lines to. Thread-safe.

    Parameters
    ----------
    path
        Of the file; None: only what this process computes is known.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._crcs_by_digest: dict[bytes, int] = {}
        self._read_bytes = 0  # bytes of the file

    def find_crc(self, sha256: str) -> int | None:
        """Return a sum; None: nobody has computed it.

        Parameters
        ----------
        sha256
            Of the file, hexadecimal.
        """
        key = bytes.fromhex(sha256)
        crc = self._crcs_by_digest.get(key)
        if crc is None and self._path is not None:
            with self._lock, suppress(OSError):
                self._read_new_lines(self._path)
            crc = self._crcs_by_digest.get(key)
        return crc

    def store_crc(self, sha256: str, crc: int) -> None:
        """Keep a sum.

        Parameters
        ----------
        sha256
            Of the file, hexadecimal.
        crc
            Of its bytes.
        """
        self._crcs_by_digest[bytes.fromhex(sha256)] = crc
        if self._path is None:
            return
        with suppress(OSError):  # where nothing can be written, it is computed again
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(file, f"{sha256} {crc:08x}\n".encode())  # one line at once: others append, too
            finally:
                os.close(file)

    def _read_new_lines(self, path: Path) -> None:
        """Read what others have appended since."""
        size = path.stat().st_size
        if size == self._read_bytes:
            return
        if size < self._read_bytes or size > MAX_FILE_BYTES:  # another process has begun it anew, or it is to be begun
            self._read_bytes = 0
        with path.open("rb") as file:
            file.seek(self._read_bytes)
            text = file.read()
        self._read_bytes += len(text)
        if len(text) > MAX_FILE_BYTES:
            text = text[len(text) - MAX_FILE_BYTES // 2 :]
            text = text[text.find(b"\n") + 1 :]
            self._crcs_by_digest.clear()
            new_file = path.with_suffix(f".{os.getpid()}")
            new_file.write_bytes(text)
            new_file.replace(path)
            self._read_bytes = len(text)
        self._crcs_by_digest.update(
            (bytes.fromhex(line_match[1].decode()), int(line_match[2], 16))
            for line_match in _LINE_PATTERN.finditer(text)
        )


__all__ = ["CrcCache"]
