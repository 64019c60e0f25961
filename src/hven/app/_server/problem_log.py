"""Log the problems of a site: each when it begins, and when it is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.site import PublishedState

log = logging.getLogger("hven")


class SiteProblemLog:
    """Compare the problems of each published state with those of the state before.

    Parameters
    ----------
    redact_text
        Removes secrets from a text.
    """

    def __init__(self, redact_text: Callable[[str], str]) -> None:
        self._redact = redact_text
        self._open_problems: frozenset[str] = frozenset()

    def log_problem_changes(self, published_state: PublishedState) -> None:
        """Log problems that are new, and those that are over.

        Parameters
        ----------
        published_state
            The current state.
        """
        current_problems = frozenset(published_state.problems)
        for problem in published_state.problems:
            if problem not in self._open_problems:
                log.warning("%s", self._redact(problem))
        for problem in sorted(self._open_problems - current_problems):
            log.info("this problem has been resolved: %s", self._redact(problem))
        self._open_problems = current_problems
