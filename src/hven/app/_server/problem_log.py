"""The log of what is wrong with a site: each problem is written when it begins, and when it is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site import PublishedState

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
        self._open_problems: frozenset[str] = frozenset()

    def log_changes(self, published_state: PublishedState) -> None:
        """Log what is new and what is over.

        Parameters
        ----------
        published_state
            The picture of now.
        """
        current_problems = frozenset(published_state.problems)
        for problem in published_state.problems:
            if problem not in self._open_problems:
                log.warning("%s", self._redact(problem))
        for problem in sorted(self._open_problems - current_problems):
            log.info("no longer: %s", self._redact(problem))
        self._open_problems = current_problems
