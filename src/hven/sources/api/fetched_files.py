"""Files behind addresses, which are fetched when all of them is read."""

from __future__ import annotations

from hven.sources._reading.fetched_files import FetchedFile

__all__ = [
    "FetchedFile",
]
