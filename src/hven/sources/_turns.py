"""Whose turn it is at a host elsewhere: how often it may be asked, by all that run here together, and when it is asked again."""

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
PAUSE, LONGEST = 1.0, 60.0  # seconds before the second try, and at most
MENDED = frozenset({429, 502, 503, 504})  # statuses that a pause may mend
AHEAD = 3600.0  # seconds; a turn later than that was written by a clock that was wrong
# requests a second that these services bear, by their own word: who asks more often is locked out for an hour
CEILINGS: Mapping[str, float] = {
    "simbad.cds.unistra.fr": 8.0,
    "simbad.u-strasbg.fr": 8.0,
    "simbad.cfa.harvard.edu": 8.0,
    "cds.unistra.fr": 8.0,
    "cdsweb.u-strasbg.fr": 8.0,
    "ned.ipac.caltech.edu": 1.0,
}
_STRANGE = re.compile(r"[^a-z0-9.-]")


class Unreachable(UserError):
    """No answer, or none to its end: trying again may help."""


class Busy(Unreachable):
    """The service has too much to do, or trouble of its own; `seconds`: when it wants to be asked again."""

    def __init__(self, message: str, seconds: float | None = None, *, remedy: str = "try again later") -> None:
        super().__init__(message, remedy=remedy)
        self.seconds = seconds


class Turns:
    """Gives turns at hosts, one after the other at equal distances.

    Parameters
    ----------
    ceilings
        Host -> requests a second, over `CEILINGS`.
    directory
        Where the next turn of each host is written, for other processes; None: this one alone.
    """

    def __init__(self, ceilings: Mapping[str, float] | None = None, directory: Path | None = None) -> None:
        self._ceilings = {**CEILINGS, **{host.lower(): rate for host, rate in (ceilings or {}).items()}}
        self._directory = directory
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str, most: float) -> None:
        """Wait for the next turn at a host.

        Raises
        ------
        Busy
            It would come later than in `most` seconds; it is left to others.
        """
        rate = self._ceilings.get(host.lower())
        if rate is None:
            return
        with self._lock:
            pause = self._taken(host.lower(), 1 / rate, most)
        if pause > most:
            raise Busy(
                f"{host} is asked {rate:g} times a second at most, and others are before us for {pause:.0f} s",
                pause,
                remedy="try again later, or say another rate under [ceilings] in hven.toml",
            )
        if pause > 0:
            time.sleep(pause)

    def _taken(self, host: str, step: float, most: float) -> float:
        """Take the next turn, if it is soon enough; return in how many seconds it is."""
        with contextlib.ExitStack() as stack:
            file = None
            if self._directory is not None:
                with contextlib.suppress(OSError):  # a full disk: each process counts for itself
                    file = stack.enter_context(_locked(self._directory / _STRANGE.sub("_", host)))
            now = time.time()
            at = self._next.get(host, 0.0) if file is None else _read(file)
            begin = max(at, now) if at < now + AHEAD else now
            if begin - now <= most:
                self._next[host] = begin + step
                if file is not None:
                    os.pwrite(file, f"{begin + step:020.6f}".encode(), 0)
            return begin - now


@contextlib.contextmanager
def _locked(path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202  (yields a file's number)
    import fcntl  # noqa: PLC0415  (where there is none, processes count for themselves)

    path.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield number
    finally:
        os.close(number)


def _read(file: int) -> float:
    try:
        return float(os.pread(file, 32, 0) or 0)
    except ValueError:
        return 0.0


def backoff(number: int) -> float:
    """Return how many seconds to wait after so many tries: twice as long each time, and not all at once."""
    return min(LONGEST, PAUSE * 2.0 ** (number - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  (so that not all come back at once)


def again(what: Callable[[], T], tries: int, end: float | None) -> T:
    """Ask again what a pause may mend, while there is time.

    Parameters
    ----------
    tries
        At most.
    end
        When it must be over, by `time.monotonic`; None: a pause has a limit of its own.
    """
    for number in range(1, tries + 1):
        try:
            return what()
        except Busy as error:
            wait = backoff(number) if error.seconds is None else error.seconds
            left = LONGEST if end is None else end - time.monotonic()
            if number == tries or wait >= left:
                raise
            time.sleep(wait)
    raise AssertionError("it is tried once at least")


def after(text: str | None) -> float | None:
    """Parse Retry-After: seconds, or a date (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
