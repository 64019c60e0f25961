"""Files that were made of tables: where the site keeps them, and how they are read as they are asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hven.model.errors import StorageError, say
from hven.services._shelf import Shelf
from hven.services.filed import STEP, at_once

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from hven.services.face import Surroundings
    from hven.services.filed import Piece

_READS = 600.0  # seconds in which one that was asked for may be read


def shelf(around: Surroundings) -> Shelf:
    """Return where the site keeps them."""
    settings = around.site.settings
    found: Shelf = around.site.kept(Shelf, settings.var / "tiles", settings.files.partitions, _READS)
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


__all__ = ["read", "shelf"]
