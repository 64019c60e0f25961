"""Cache documents that are built from metadata alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

CACHE_BYTES = 8 * 1024**2


class DocumentCache(LruCache[bytes]):
    """A cache of documents with a limit on its bytes.

    A key holds the version of the published state and the reader's permissions, so that a change of either leads to
    another document.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        super().__init__(max_bytes)

    def get_or_build(self, key: Hashable, build_document: Callable[[], bytes]) -> bytes:
        """Return the document of a key; build and store it if the cache does not have it.

        Parameters
        ----------
        key
            All values on which the document depends.
        build_document
            Builds the bytes of the document.
        """
        document = self.find(key)
        if document is None:
            document = build_document()
            self.store(key, document, len(document))
        return document
