"""CRC-32 of files that left in ZIP archives, by SHA-256: whoever goes on from the middle of one needs those of all, after a restart, too, and from any process."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MOST = 8 << 20  # bytes of the file, 110,000 sums; of more the newer half is kept
_LINE = re.compile(rb"^([0-9a-f]{64}) ([0-9a-f]{8})$", re.MULTILINE)


class Sums:
    """Sums that are known, in a file that all processes append lines to. Thread-safe.

    Parameters
    ----------
    place
        Of the file; None: only what this process computes is known.
    """

    def __init__(self, place: Path | None = None) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._known: dict[bytes, int] = {}
        self._read = 0  # bytes of the file

    def find(self, sha256: str) -> int | None:
        """Return a sum; None: nobody has computed it.

        Parameters
        ----------
        sha256
            Of the file, hexadecimal.
        """
        key = bytes.fromhex(sha256)
        found = self._known.get(key)
        if found is None and self._place is not None:
            with self._lock, suppress(OSError):
                self._look(self._place)
            found = self._known.get(key)
        return found

    def keep(self, sha256: str, crc: int) -> None:
        """Keep a sum.

        Parameters
        ----------
        sha256
            Of the file, hexadecimal.
        crc
            Of its bytes.
        """
        self._known[bytes.fromhex(sha256)] = crc
        if self._place is None:
            return
        with suppress(OSError):  # where nothing can be written, it is computed again
            file = os.open(self._place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(file, f"{sha256} {crc:08x}\n".encode())  # one line at once: others append, too
            finally:
                os.close(file)

    def _look(self, place: Path) -> None:
        """Read what others have appended since."""
        size = place.stat().st_size
        if size == self._read:
            return
        if size < self._read or size > MOST:  # another process has begun it anew, or it is to be begun
            self._read = 0
        with place.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        self._read += len(text)
        if len(text) > MOST:
            text = text[len(text) - MOST // 2 :]
            text = text[text.find(b"\n") + 1 :]
            self._known.clear()
            made = place.with_suffix(f".{os.getpid()}")
            made.write_bytes(text)
            made.replace(place)
            self._read = len(text)
        self._known.update((bytes.fromhex(found[1].decode()), int(found[2], 16)) for found in _LINE.finditer(text))


__all__ = ["Sums"]
