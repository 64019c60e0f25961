"""Cache the CRC-32 of files that were sent in ZIP archives, by their SHA-256.

A client that resumes a download needs the checksums of all files of the archive. The cache is a file, so that every
process has them, also after a restart.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 8 << 20  # about 110,000 checksums; a larger file is cut to its newer half
_LINE_PATTERN = re.compile(rb"^([0-9a-f]{64}) ([0-9a-f]{8})$", re.MULTILINE)


class CrcCache:
    """Store known checksums in a file to which all processes append lines. Thread-safe.

    Parameters
    ----------
    path
        Path of the file; None to keep only the checksums that this process computes.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._crcs_by_digest: dict[bytes, int] = {}
        self._read_bytes = 0  # bytes of the file that were read so far

    def find_crc(self, sha256: str) -> int | None:
        """Return a stored checksum; None if no process has stored it.

        Parameters
        ----------
        sha256
            Hexadecimal SHA-256 of the file's content.
        """
        key = bytes.fromhex(sha256)
        crc = self._crcs_by_digest.get(key)
        if crc is None and self._path is not None:
            with self._lock, suppress(OSError):
                self._read_new_lines_and_cut_file(self._path)
            crc = self._crcs_by_digest.get(key)
        return crc

    def store_crc(self, sha256: str, crc: int) -> None:
        """Store a checksum.

        Parameters
        ----------
        sha256
            Hexadecimal SHA-256 of the file's content.
        crc
            CRC-32 of the content.
        """
        self._crcs_by_digest[bytes.fromhex(sha256)] = crc
        if self._path is None:
            return
        with suppress(OSError):  # a checksum that cannot be written is computed again
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(file, f"{sha256} {crc:08x}\n".encode())  # one write for the line: other processes append too
            finally:
                os.close(file)

    def _read_new_lines_and_cut_file(self, path: Path) -> None:
        """Read the lines that other processes have appended; cut a file that is too large."""
        file_bytes = path.stat().st_size
        if file_bytes == self._read_bytes:
            return
        was_cut = file_bytes < self._read_bytes  # by another process
        if was_cut or file_bytes > MAX_FILE_BYTES:
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
        for line_match in _LINE_PATTERN.finditer(text):
            digest = bytes.fromhex(line_match[1].decode())
            self._crcs_by_digest[digest] = int(line_match[2], 16)
