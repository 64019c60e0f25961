"""Each package delivers its events in a process of its own: one whose receiver hangs delays no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hven.jobs import scheduler
from hven.jobs.scheduler import SyncScheduler
from hven.model.settings import Settings


class RecordingService:
    """A service that has something to deliver, or not."""

    def __init__(self, *, is_due: bool) -> None:
        self.is_due = is_due
        self.deliveries = 0

    def is_delivery_due(self, *_: object) -> bool:
        return self.is_due

    def send_due_events(self, _: Settings) -> None:
        self.deliveries += 1


def test_each_package_has_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = [RecordingService(is_due=is_due) for is_due in (True, False, True)]
    children: list[Callable[[int], None]] = []

    def fork(_: SyncScheduler, run_child: Callable[[int], None]) -> int:
        children.append(run_child)
        return 1_000_000 + len(children)

    monkeypatch.setattr(scheduler, "load_event_services", lambda: services)
    monkeypatch.setattr(scheduler, "_set_up_helper_process", lambda _: None)
    monkeypatch.setattr(SyncScheduler, "_fork_scheduler_child", fork)
    site_scheduler = SyncScheduler(Settings(directory=tmp_path), parent_pid=None, lease_seconds=1.0, synchronize=None)
    site_scheduler._start_event_delivery()
    site_scheduler._start_event_delivery()
    assert len(children) == 2, "a process that has not ended is not started again"
    for run_child in children:
        run_child(0)
    assert [service.deliveries for service in services] == [1, 0, 1]
    services[1].is_due = True
    site_scheduler._start_event_delivery()
    assert len(children) == 3, "the others have not ended"
