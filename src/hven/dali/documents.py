"""Documents that are made from metadata alone, remembered by what they were made from."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

BUDGET = 8 * 1024**2  # bytes


class Documents:
    """A map from key to document, bounded by its bytes; for the event loop alone, so it needs no lock.

    The key holds the version of the holdings and the reader's reach: what changes them makes other documents.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self.bytes = 0

    def known(self, key: Hashable) -> bytes | None:
        """Give a document that was made before, None if there is none."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Give a document, made now or before."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        made = make()
        self._kept[key] = made
        self.bytes += len(made)
        while self.bytes > self._budget:
            self.bytes -= len(self._kept.popitem(last=False)[1])
        return made
