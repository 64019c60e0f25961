"""Documents that are made from metadata alone, remembered by what they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

CACHE_BYTES = 8 * 1024**2  # bytes


class DocumentCache(Cache[bytes]):
    """A map from key to document, bounded by its bytes.

    The key holds the version of the holdings and the reader's reach: what changes them makes other documents.
    """

    def __init__(self, budget: int = CACHE_BYTES) -> None:
        super().__init__(budget)

    def get_or_build(self, key: Hashable, build_document: Callable[[], bytes]) -> bytes:
        """Return a document, made now or before.

        Parameters
        ----------
        key
            All that it is made of.
        build_document
            Makes its bytes.
        """
        document = self.find(key)
        if document is None:
            document = build_document()
            self.store(key, document, len(document))
        return document
