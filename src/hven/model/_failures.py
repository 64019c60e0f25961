"""Failures of what is computed ahead or kept: each is tried again after pauses that grow, and is no result."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

FIRST_PAUSE_SECONDS = 2.0
MAX_PAUSE_SECONDS = 300.0
MAX_FAILURES = 10_000
STALE_SECONDS = 3 * MAX_PAUSE_SECONDS  # after this time without an attempt, a failure is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRecord:
    """One thing that could not be computed.

    Attributes
    ----------
    subject
        What it is, in words.
    reason
        Why the last attempt failed.
    attempts
        How many failed in a row.
    failed_at, due_at
        When the last one failed, and when the next one may begin; by the clock of `RetryBackoffLog`.
    """

    subject: str
    reason: str
    attempts: int
    failed_at: float
    due_at: float


class RetryBackoffLog:
    """What failed in one process, and when it may be tried again. Thread-safe.

    Parameters
    ----------
    clock
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[Hashable, FailureRecord] = OrderedDict()

    def record_failure(self, key: Hashable, subject: str, reason: str) -> FailureRecord:
        """Note that an attempt failed; the pause before the next one doubles.

        Parameters
        ----------
        key
            What was tried.
        subject, reason
            As `FailureRecord` has them.

        Returns
        -------
        failure
            With the number of attempts.
        """
        now = self._clock()
        with self._lock:
            last_failure = self._failures.pop(key, None)
            if last_failure is None:
                attempts = 1
            else:
                attempts = last_failure.attempts + 1
            pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 30), MAX_PAUSE_SECONDS)
            failure = FailureRecord(
                subject=subject, reason=reason, attempts=attempts, failed_at=now, due_at=now + pause
            )
            self._failures[key] = failure
            while len(self._failures) > MAX_FAILURES:
                self._failures.popitem(last=False)
        return failure

    def record_success(self, key: Hashable) -> None:
        """Note that an attempt succeeded.

        Parameters
        ----------
        key
            What was tried.
        """
        if self._failures:
            with self._lock:
                self._failures.pop(key, None)

    def is_retry_paused(self, key: Hashable) -> bool:
        """Return whether it is too soon to try something again.

        Parameters
        ----------
        key
            What was tried.
        """
        failure = self._failures.get(key)
        return failure is not None and self._clock() < failure.due_at

    def list_failures(self) -> list[FailureRecord]:
        """List what still fails; what nobody has tried for long is left out.

        Returns
        -------
        failures
            The oldest first.
        """
        now = self._clock()
        with self._lock:
            for key in [key for key, failure in self._failures.items() if now - failure.failed_at > STALE_SECONDS]:
                del self._failures[key]
            return [*self._failures.values()]
