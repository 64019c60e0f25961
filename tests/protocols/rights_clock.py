"""The clock of policies, which tests stop or move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def stop_policy_clock(moment: Callable[[], int]) -> Iterator[None]:
    """Give policies a time, in microseconds since 1970."""
    with (
        mock.patch("hven.adql._row_policy.get_current_instant", moment),
        mock.patch("hven.site._published_state.get_current_instant", moment),
    ):
        yield
