"""Hold the time of this process at one instant, so that recordings of different days can be compared.

`time.time` and `datetime.now` return it. Each call adds a tenth of a millisecond, because the names of states are
ordered by milliseconds. `time.monotonic` goes on for code that waits.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import itertools
import pkgutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import hven

INSTANT = dt.datetime(2030, 6, 15, 10, 20, 30, tzinfo=dt.UTC)
INSTANT_SECONDS = int(INSTANT.timestamp())
TICK_NANOSECONDS = 100_000
REAL_DATETIME = dt.datetime
REAL_DATE = dt.date


class _RealInstances(type):
    """Accept every datetime as an instance: C code creates most of them and knows only the real class."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.__mro__[1])

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, cls.__mro__[1])


class FixedDatetime(REAL_DATETIME, metaclass=_RealInstances):
    """`datetime.datetime` whose `now` returns the instant."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return REAL_DATETIME.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return REAL_DATETIME.fromtimestamp(time.time(), dt.UTC).replace(tzinfo=None)


class FixedDate(REAL_DATE, metaclass=_RealInstances):
    """`datetime.date` whose `today` returns the day of the instant."""

    @classmethod
    def today(cls) -> Any:
        return REAL_DATETIME.fromtimestamp(time.time(), dt.UTC).date()


@contextmanager
def hold_time() -> Iterator[None]:
    """Hold the time of this process at `INSTANT` until the block ends."""
    ticks = itertools.count()

    def read_nanoseconds() -> int:
        return INSTANT_SECONDS * 10**9 + next(ticks) * TICK_NANOSECONDS

    load_modules()
    classes = {REAL_DATETIME: FixedDatetime, REAL_DATE: FixedDate}

    def read_seconds() -> float:
        return read_nanoseconds() / 1e9

    with (
        mock.patch.object(time, "time_ns", read_nanoseconds),
        mock.patch.object(time, "time", read_seconds),
    ):
        exchange_classes(classes)
        try:
            yield
        finally:
            exchange_classes({fixed: real for real, fixed in classes.items()})


def load_modules() -> None:
    """Import all modules of Hven; a module that is imported later would bind the real class."""
    for module in pkgutil.walk_packages(hven.__path__, "hven.", onerror=lambda _: None):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of an optional package
                importlib.import_module(module.name)


def exchange_classes(classes: dict[type, type]) -> None:
    """Bind other classes to names that modules of Hven have imported."""
    for name, module in list(sys.modules.items()):
        if name == "hven" or name.startswith("hven."):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, type) and value in classes:
                    setattr(module, attribute, classes[value])
