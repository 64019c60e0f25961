"""The shelf: pictures that were drawn, kept as files by what they were drawn of; the ones not asked for longest go."""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hven.formats.pictures._drawing import pictured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.formats.media import Place
    from hven.formats.pictures._appearance import Look

_EVERY = 64  # pictures between two looks at how much there is


class Shelf:
    """Pictures on disk, which any process may draw, and all find. Thread-safe.

    Parameters
    ----------
    directory
        Where they are kept; made when the first one is.
    budget
        Bytes, about.
    """

    def __init__(self, directory: Path, budget: int) -> None:
        self._directory, self._budget = directory, budget
        self._new = 0
        self._lock = threading.Lock()

    def find(self, key: str) -> bytes | None:
        """Return the picture of a key; None: it is to be drawn.

        Parameters
        ----------
        key
            Hexadecimal digits that stand for what is drawn and how.
        """
        place = self._directory / key[:2] / f"{key}.png"
        try:
            found = place.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(place)
        return found

    def drawn(self, key: str, files: Sequence[tuple[Place, str]], look: Look) -> bytes:
        """Draw a picture and keep it, if nobody did so meanwhile.

        Parameters
        ----------
        key
            As of `find`.
        files
            Each with its name; several are drawn beside one another.
        look
            As it is to look.

        Returns
        -------
        picture
            PNG.

        Raises
        ------
        SourceError
            One cannot be drawn.
        """
        body = self.find(key)
        if body is not None:
            return body
        body = pictured(files, look)
        place = self._directory / key[:2] / f"{key}.png"
        part = place.with_name(f".{secrets.token_hex(8)}")
        with suppress(OSError):  # a full disk: it is drawn again
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(body)
                part.replace(place)
            finally:
                part.unlink(missing_ok=True)
        with self._lock:
            self._new += 1
            due = self._new % _EVERY == 1
        if due:
            self.tidied()
        return body

    def tidied(self) -> None:
        """Let the pictures go that were not asked for longest, until the others fit."""
        found = []
        for folder in os.scandir(self._directory) if self._directory.is_dir() else ():
            with suppress(OSError):
                for file in os.scandir(folder.path):
                    stat = file.stat()
                    found.append((stat.st_mtime, stat.st_size, file.path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._budget:
                return
            with suppress(OSError):
                Path(path).unlink()
            total -= size
