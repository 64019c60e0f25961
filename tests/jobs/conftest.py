"""Jobs that tests run in their own process."""

from __future__ import annotations

import pytest

from hven.jobs import _worker as worker


@pytest.fixture(autouse=True)
def long_stop_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a job that is told to stop a minute: one that does not stop takes its process with it, and that is the tests' here."""
    monkeypatch.setattr(worker, "STOP_TIMEOUT_SECONDS", 60.0)
