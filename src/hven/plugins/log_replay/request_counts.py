"""Count the different requests of a log within a budget of memory: a month of a busy service may have millions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.plugins.log_replay.request_logs import LoggedRequest

MAX_TARGET_CHARACTERS = 32 * 1024**2  # of all targets that are kept
TARGET_CHARACTERS = 200  # added for each target: what Python needs beside its text
# of answers that depend on the moment, not on the request: a client that left, an overload, a restart
TRANSIENT_STATUSES = {408, 425, 429, 499, 500, 502, 503, 504}
MAX_STATUSES = 8  # of one target that are counted
KEPT_SHARE = 0.5  # of the budget, when rare targets are dropped


class RequestCounts:
    """Counts requests by their targets. If there are too many different ones, the rarest are dropped, and counted.

    Parameters
    ----------
    max_characters
        Budget for the texts of all targets.

    Attributes
    ----------
    first_requests
        Target -> the first request for it.
    dropped_count
        Number of requests whose targets were dropped.
    """

    def __init__(self, max_characters: int = MAX_TARGET_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._characters = 0
        self._counts: Counter[str] = Counter()
        self.first_requests: dict[str, LoggedRequest] = {}
        self.dropped_count = 0
        self._later_statuses: dict[str, Counter[int]] = {}  # those that differ from the first one

    def count(self, request: LoggedRequest, target: str) -> None:
        """Count a request.

        Parameters
        ----------
        request
            The request.
        target
            Its path with its query, perhaps without the prefix.
        """
        self._counts[target] += 1
        if target not in self.first_requests:
            self.first_requests[target] = request
            self._characters += len(target) + TARGET_CHARACTERS
            if self._characters > self._max_characters:
                self._drop_rarest_targets()
        elif request.status != self.first_requests[target].status:
            self._count_status(request, target)

    def _count_status(self, request: LoggedRequest, target: str) -> None:
        """Count a status that differs from the first one of the target."""
        statuses = self._later_statuses.get(target)
        if statuses is None:
            statuses = self._later_statuses[target] = Counter()
            self._characters += TARGET_CHARACTERS
        if request.status is not None and (request.status in statuses or len(statuses) < MAX_STATUSES):
            statuses[request.status] += 1

    def _drop_rarest_targets(self) -> None:
        for target, count in reversed(self._counts.most_common()):
            if self._characters <= KEPT_SHARE * self._max_characters:
                break
            self._characters -= len(target) + TARGET_CHARACTERS
            self.dropped_count += count
            if self._later_statuses.pop(target, None) is not None:
                self._characters -= TARGET_CHARACTERS
            del self._counts[target], self.first_requests[target]

    def list_targets(self) -> list[tuple[str, int]]:
        """List the targets with their numbers of requests, the most frequent first."""
        return self._counts.most_common()

    def find_lasting_status(self, target: str) -> int | None:
        """Return the most frequent status of a target's answers; None: all of them depended on the moment.

        Parameters
        ----------
        target
            A target that is kept.
        """
        statuses: Counter[int] = Counter(self._later_statuses.get(target))
        first_status = self.first_requests[target].status
        if first_status is not None:
            statuses[first_status] += self._counts[target] - statuses.total()
        lasting_statuses = {status: count for status, count in statuses.items() if status not in TRANSIENT_STATUSES}
        return max(lasting_statuses, key=lasting_statuses.__getitem__, default=None)
