"""Limit the rate of requests to remote hosts, for all processes of this machine that share a directory.

Requests that a pause may help are tried again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import os
import random
import re
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")
FIRST_PAUSE_SECONDS = 1.0  # before the second attempt
MAX_PAUSE_SECONDS = 60.0
RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})  # another attempt after a pause may succeed
MAX_TURN_AHEAD_SECONDS = 3600.0  # a turn that is later than this was written by a wrong clock
# requests a second that these services allow; they lock out clients that send more for an hour
HOST_REQUESTS_PER_SECOND: Mapping[str, float] = {
    "simbad.cds.unistra.fr": 5.0,
    "simbad.u-strasbg.fr": 5.0,
    "simbad.cfa.harvard.edu": 5.0,
    "cds.unistra.fr": 5.0,
    "cdsweb.u-strasbg.fr": 5.0,
    "ned.ipac.caltech.edu": 1.0,
}
_UNSAFE_FILENAME_PATTERN = re.compile(r"[^a-z0-9.-]")


class UnreachableError(UserError):
    """There was no answer, or it broke off: another attempt may help."""


class ServiceBusyError(UnreachableError):
    """The service is overloaded or has a fault; `retry_after_seconds`: the pause that it wants."""

    def __init__(
        self, message: str, retry_after_seconds: float | None = None, *, remedy: str = "try again later"
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class RequestCeilingError(ServiceBusyError):
    """The site has sent the service as many requests as it may; the service itself may be well."""


class HostRateLimiter:
    """Gives turns for requests to hosts, at equal distances.

    Parameters
    ----------
    rates_by_host
        Host -> requests a second; these replace `HOST_REQUESTS_PER_SECOND`.
    directory
        Directory in which processes share the next turn of each host; None: this process counts alone.
    """

    def __init__(self, rates_by_host: Mapping[str, float] | None = None, directory: Path | None = None) -> None:
        self._rates_by_host = {
            **HOST_REQUESTS_PER_SECOND,
            **{host.lower(): rate for host, rate in (rates_by_host or {}).items()},
        }
        self._directory = directory
        self._next_turns: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait_for_turn(self, host: str, max_wait_seconds: float) -> None:
        """Wait for the next turn at a host.

        Raises
        ------
        ServiceBusyError
            The turn would come later than in `max_wait_seconds` seconds; it is left to others.
        """
        rate = self._rates_by_host.get(host.lower())
        if rate is None:
            return
        with self._lock:
            pause = self._reserve_turn(host.lower(), 1 / rate, max_wait_seconds)
        if pause > max_wait_seconds:
            raise RequestCeilingError(
                f"Hven sends at most {rate:g} requests a second to {host}, and the next request would have to wait "
                f"{pause:.0f} s",
                pause,
                remedy="try again later, or set a higher rate under [ceilings] in hven.toml",
            )
        if pause > 0:
            time.sleep(pause)

    def _reserve_turn(self, host: str, interval_seconds: float, max_wait_seconds: float) -> float:
        """Take the next turn if it is soon enough; return the seconds until it comes."""
        with contextlib.ExitStack() as stack:
            file = None
            if self._directory is not None:
                with contextlib.suppress(OSError):  # a full disk: each process counts for itself
                    file = stack.enter_context(
                        _open_locked_file(self._directory / _UNSAFE_FILENAME_PATTERN.sub("_", host))
                    )
            now = time.time()
            if file is None:
                next_turn = self._next_turns.get(host, 0.0)
            else:
                next_turn = _read_turn_time(file)
            if next_turn < now + MAX_TURN_AHEAD_SECONDS:
                turn_time = max(next_turn, now)
            else:
                turn_time = now
            if turn_time - now <= max_wait_seconds:
                self._next_turns[host] = turn_time + interval_seconds
                if file is not None:
                    os.pwrite(file, f"{turn_time + interval_seconds:020.6f}".encode(), 0)
            return turn_time - now


@contextlib.contextmanager
def _open_locked_file(path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202  (yields a file's number)
    import fcntl  # noqa: PLC0415  (where there is none, processes count for themselves)

    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield number
    finally:
        os.close(number)


def _read_turn_time(descriptor: int) -> float:
    try:
        return float(os.pread(descriptor, 32, 0) or 0)
    except ValueError:
        return 0.0


def compute_backoff(attempt: int) -> float:
    """Return the pause before the next attempt: twice as long each time, with a random part."""
    # random, so that not all clients come back at once
    return min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311


def retry_with_backoff(operation: Callable[[], T], max_attempts: int, end_time: float | None) -> T:
    """Try again what a pause may help, while there is time.

    Parameters
    ----------
    max_attempts
        Largest number of attempts.
    end_time
        Time limit, by `time.monotonic`; None: only the pauses have a limit.
    """
    for number in range(1, max_attempts + 1):
        try:
            return operation()
        except ServiceBusyError as error:
            if error.retry_after_seconds is None:
                wait = compute_backoff(number)
            else:
                wait = error.retry_after_seconds
            if end_time is None:
                remaining_seconds = MAX_PAUSE_SECONDS
            else:
                remaining_seconds = end_time - time.monotonic()
            if number == max_attempts or wait >= remaining_seconds:
                raise
            time.sleep(wait)
    raise AssertionError("`max_attempts` must be at least 1")


def parse_retry_after(text: str | None) -> float | None:
    """Parse Retry-After: seconds, or a date (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
