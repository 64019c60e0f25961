"""The clock of policies, which tests stop or move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock


@contextmanager
def stop_policy_clock(moment: Callable[[], int]) -> Iterator[None]:
    """Give policies a time, in microseconds since 1970."""
    with (
        mock.patch("hven.adql._row_policy.get_current_instant", moment),
        mock.patch("hven.site._published_state.get_current_instant", moment),
    ):
        yield


@contextmanager
def stop_grants_clock(moment: Callable[[], int]) -> Iterator[None]:
    """Give invitations and delegations a time, in microseconds since 1970."""
    clock = SimpleNamespace(time=lambda: moment() / 1e6, monotonic=time.monotonic)
    with mock.patch("hven.site.store._grants.time", clock):
        yield
