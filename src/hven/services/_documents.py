"""Documents that are made from metadata alone, remembered by what they were made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

BUDGET = 8 * 1024**2  # bytes


class Documents(Cache[bytes]):
    """A map from key to document, bounded by its bytes.

    The key holds the version of the holdings and the reader's reach: what changes them makes other documents.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        super().__init__(budget)

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return a document, made now or before.

        Parameters
        ----------
        key
            All that it is made of.
        make
            Makes its bytes.
        """
        made = self.find(key)
        if made is None:
            made = make()
            self.keep(key, made, len(made))
        return made
