"""Fixtures for jobs that run in the process of the tests."""

from __future__ import annotations

import pytest

from hven.jobs import _worker as worker


@pytest.fixture(autouse=True)
def long_stop_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a job a minute to stop: otherwise the job ends its process, which is here the process of the tests."""
    monkeypatch.setattr(worker, "STOP_TIMEOUT_SECONDS", 60.0)
