"""The log of what is wrong with a site: each problem is written when it begins, and when it is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site import Holdings

log = logging.getLogger("hven")


class ProblemLog:
    """Compares the problems of each picture with those of the one before.

    Parameters
    ----------
    redact
        Takes secrets out of a text.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._known: frozenset[str] = frozenset()

    def write(self, holdings: Holdings) -> None:
        """Log what is new and what is over.

        Parameters
        ----------
        holdings
            The picture of now.
        """
        now = frozenset(holdings.problems)
        for problem in holdings.problems:
            if problem not in self._known:
                log.warning("%s", self._redact(problem))
        for problem in sorted(self._known - now):
            log.info("no longer: %s", self._redact(problem))
        self._known = now
