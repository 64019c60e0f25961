"""Schedulers in processes of their own: exactly one runs each schedule, whoever dies, and nothing is lost or run twice."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from scheduler_processes import RunRecord, SchedulerForkServer, SchedulerProcess, Schedulers, is_alive, open_schedulers

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from hven.site.store import SyncScheduleRecord
from postgres_cluster import run_server
from process_runner import run_hven, wait_until


@pytest.fixture(scope="module")
def nursery() -> Iterator[SchedulerForkServer]:
    made = SchedulerForkServer()
    yield made
    made.close()


def begun(directory: Path, *lines: str) -> Path:
    site = settings.create_site_directory(directory)
    (site / "hven.toml").write_text(
        "\n".join([*lines, 'name = "Uraniborg"', "[schedule]", "retry = 1", "retry_most = 4", "runs = 2"])
    )
    return site


@pytest.fixture
def place(tmp_path: Path, nursery: SchedulerForkServer) -> Iterator[Schedulers]:
    with open_schedulers(begun(tmp_path / "site"), nursery) as made:
        yield made


@pytest.fixture
def rows(place: Schedulers) -> Iterator[Callable[[str], SyncScheduleRecord | None]]:
    """Look at a schedule in the store."""
    store = place.store()

    def look(name: str) -> SyncScheduleRecord | None:
        return store.schedules.list_schedules()[1].get(name)

    yield look
    store.close()


def publish_collections(place: Schedulers, *names: str, sync: str | None) -> None:
    for name in names:
        place.write_descriptor(name, sync=sync)
    with Site(settings.load_settings(place.site)) as site:
        for name in names:
            ingest_collection(site, name)


# seconds from taking a run that is due every second to taking the next; a pause after a failed one may be shorter by a tenth
APART = 0.89


# seconds from taking a run to its beginning, at most: a busy machine needs some for its process; one that is taken twice would be 0.89 late
LATE = 0.5


def are_runs_spaced(starts: list[float]) -> bool:
    """Tell whether runs that began at these times can have been taken `APART`, none more than `LATE` before it began."""
    taken = float("inf")
    for began in reversed(starts):
        taken = min(began, taken - APART)
        if began - taken > LATE:
            return False
    return True


def are_runs_disjoint(runs: list[RunRecord]) -> bool:
    """Tell whether no two runs of one collection were under way at the same time; `Schedulers.runs` looks at those that were killed."""
    by: dict[str, list[RunRecord]] = {}
    for run in runs:
        by.setdefault(run.name, []).append(run)
    return all(one.ended is None or one.ended <= other.began for some in by.values() for one, other in pairwise(some))


def test_a_run_that_is_taken_twice_is_seen() -> None:
    assert are_runs_spaced([5.664, 6.954, 7.605, 8.846])  # the second began late
    assert not are_runs_spaced([1.0, 2.0, 2.1, 3.0])
    assert not are_runs_spaced([1.0, 1.3, 2.2])


def test_of_two_schedulers_one_runs_and_the_other_takes_over_when_it_is_killed(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    publish_collections(place, "a", "b", sync="{every: 1 s}")
    first, second = place.start(), place.start()
    wait_until(lambda: len(place.list_runs("a")) >= 2 and len(place.list_runs("b")) >= 2)
    wait_until(lambda: _leads(place, first.pid) or _leads(place, second.pid))
    leader, other = (first, second) if _leads(place, first.pid) else (second, first)
    leader.send(signal.SIGKILL)
    leader.wait()
    wait_until(lambda: _leads(place, other.pid))
    taken = time.time()
    wait_until(lambda: sum(run.began > taken for run in place.list_runs("a")) >= 2)
    wait_until(lambda: rows("a").failures == 0)  # type: ignore[union-attr]  # a run that died with the leader counts until a good one
    place.stop()
    runs = place.list_runs()
    assert are_runs_disjoint(runs)
    starts = [run.began for run in place.list_runs("a")]
    assert are_runs_spaced(starts), starts
    assert rows("a").failures == 0  # type: ignore[union-attr]


def _leads(place: Schedulers, pid: int) -> bool:
    store = place.store()
    try:
        return any(
            lease.name == "scheduler" and lease.holder.split()[1] == str(pid) for lease in store.leases.list_leases()
        )
    finally:
        store.close()


def test_a_scheduler_that_slept_through_its_lease_runs_nothing_twice(place: Schedulers) -> None:
    publish_collections(place, "a", sync="{every: 1 s}")
    first = place.start(lease=1.0)
    wait_until(lambda: len(place.list_runs("a")) >= 1)
    _sleep(place, first)
    second = place.start(lease=1.0)
    wait_until(lambda: _leads(place, second.pid))
    first.send(signal.SIGCONT)
    seen = len(place.list_runs("a"))
    wait_until(lambda: len(place.list_runs("a")) >= seen + 3)
    wait_until(lambda: "another scheduler has taken over" in place.log())
    place.stop()
    assert are_runs_disjoint(place.list_runs())
    starts = [run.began for run in place.list_runs("a")]
    assert are_runs_spaced(starts), starts


def _sleep(place: Schedulers, process: SchedulerProcess) -> None:
    """Stop a process, as a laptop or a virtual machine does it: not in the middle of a transaction, which would lock SQLite's file."""
    while True:
        process.send(signal.SIGSTOP)
        try:
            with contextlib.closing(
                sqlite3.connect(place.site / "var" / "hven.sqlite", timeout=0.2, isolation_level=None)
            ) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
        except sqlite3.OperationalError:
            process.send(signal.SIGCONT)
            time.sleep(0.05)


def test_a_run_that_is_killed_is_told_waits_and_is_made_up(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    publish_collections(place, "a", sync="{every: 1 h}")
    place.set_behaviour("a", "die")
    place.start()
    place.request_runs("a")
    seen: list[SyncScheduleRecord] = []

    def waits() -> bool:
        row = rows("a")
        if row is None or row.holder is not None or not row.failures:
            return False
        seen.append(row)
        return True

    wait_until(waits)
    (row,) = seen
    assert row.phase == "ABORTED"
    assert "signal 9" in (row.message or "")
    pause = min(2.0 ** (row.failures - 1), 4.0)  # who looks late sees a later one
    assert 0.89 * pause < row.due - (row.ended or 0) < 1.11 * pause
    wait_until(lambda: rows("a").failures >= 2)  # type: ignore[union-attr]
    place.set_behaviour("a", "work 0")
    wait_until(lambda: rows("a").failures == 0)  # type: ignore[union-attr]
    place.stop()
    with Site(settings.load_settings(place.site)) as site:
        assert [item.kind for item in site.store.schedules.list_alerts()] == ["recovered", "failed"]
        assert rows("a").due > time.time() + 3000  # type: ignore[union-attr]


def test_a_scheduler_that_is_stopped_ends_its_runs_and_the_next_one_goes_on_with_them(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    publish_collections(place, "a", sync="{every: 1 h}")
    place.set_behaviour("a", "work 600")
    first = place.start()
    place.request_runs("a")
    wait_until(lambda: place.list_runs("a"))
    begun = time.monotonic()
    first.send(signal.SIGTERM)
    first.wait()
    assert time.monotonic() - begun < 30  # or it was killed when its grace was over
    row = rows("a")
    assert row is not None
    assert (row.holder, row.failures, row.phase) == (None, 0, "ABORTED")
    assert not is_alive(place.list_runs("a")[0].pid)
    place.set_behaviour("a", "work 0")
    place.start()
    wait_until(lambda: (row := rows("a")) is not None and row.phase == "COMPLETED")


def test_runs_end_when_their_scheduler_is_killed_and_the_next_one_goes_on(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    publish_collections(place, "a", sync="{every: 1 h}")
    place.set_behaviour("a", "work 600")
    first = place.start()
    place.request_runs("a")
    wait_until(lambda: place.list_runs("a"))
    first.send(signal.SIGKILL)
    first.wait()
    wait_until(lambda: not is_alive(place.list_runs("a")[0].pid))
    place.set_behaviour("a", "work 0")
    place.start()
    wait_until(lambda: (row := rows("a")) is not None and row.phase == "COMPLETED")
    assert len(place.list_runs("a")) == 2
    assert rows("a").failures == 0  # type: ignore[union-attr]


def test_descriptors_that_appear_change_and_vanish_change_the_schedule(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    publish_collections(place, "a", sync=None)
    place.write_descriptor("never", sync="{every: 1 s}")
    place.start()
    place.write_descriptor("a", sync="{every: 1 s}")
    wait_until(lambda: len(place.list_runs("a")) >= 2)
    assert place.list_runs("never") == []  # the first ingest is a person's
    place.write_descriptor("a", sync='{cron: "0 0 1 1 *", zone: Europe/Paris}')
    wait_until(lambda: rows("a").timing == "cron 0 0 1 1 * (Europe/Paris)")  # type: ignore[union-attr]
    wait_until(lambda: rows("a").holder is None)  # type: ignore[union-attr]
    seen = len(place.list_runs("a"))
    path = place.site / "collections" / "a" / "a.yaml"
    good = path.read_text()
    path.write_text(good + "nonsense: [\n")  # a slip stops nothing, and forgets nothing
    time.sleep(1)
    assert rows("a") is not None
    path.write_text(good)
    run_hven("schedule", "run", "a", "--site", place.site)
    wait_until(lambda: len(place.list_runs("a")) == seen + 1)
    run_hven("schedule", "pause", "a", "--site", place.site)
    place.write_descriptor("a", sync="{every: 1 s}")
    wait_until(lambda: rows("a").timing == "every 1 s")  # type: ignore[union-attr]
    time.sleep(1.2)
    assert len(place.list_runs("a")) == seen + 1
    run_hven("schedule", "resume", "a", "--site", place.site)
    wait_until(lambda: len(place.list_runs("a")) > seen + 1)
    run_hven("remove", "a", "--site", place.site)
    wait_until(lambda: rows("a") is None)
    assert rows("never") is None


def test_so_many_at_once_and_after_a_restart_only_what_is_due(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    names = [f"c{number}" for number in range(4)]
    publish_collections(place, *names, sync="{every: 1 d}")
    for name in names:
        place.set_behaviour(name, "hold gate")
    place.start()
    place.request_runs(*names)
    wait_until(lambda: len(place.list_runs()) == 2)
    time.sleep(0.7)
    assert len(place.list_runs()) == 2
    (place.site / "gate").touch()
    wait_until(lambda: all((row := rows(name)) is not None and row.phase == "COMPLETED" for name in names))
    place.stop()
    seen = place.log().count("running the schedules")
    place.start()
    wait_until(lambda: place.log().count("running the schedules") > seen)
    time.sleep(0.7)
    assert len(place.list_runs()) == 4


def test_a_failing_source_and_a_guard(place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]) -> None:
    publish_collections(place, "a", "b", sync="{every: 1 h}")
    place.set_behaviour("a", "fail")
    place.set_behaviour("b", "guard")
    place.start()
    place.request_runs("a", "b")
    wait_until(lambda: (row := rows("a")) is not None and row.failures >= 2)
    wait_until(lambda: (row := rows("b")) is not None and row.failures == 1)
    guard = rows("b")
    assert guard is not None
    assert guard.due > time.time() + 3000
    assert "opensesame" not in (place.site / "var" / "hven.sqlite").read_bytes().decode("latin-1")
    assert "opensesame" not in place.log()
    shown = run_hven("status", "--site", place.site).stdout
    assert "failed: a (" in shown
    assert "away" in shown
    assert "failed: b (once): 9 of 10 rows would be removed" in shown


def test_stale_data_are_told_but_not_when_their_run_is_only_just_due(
    place: Schedulers, rows: Callable[[str], SyncScheduleRecord | None]
) -> None:
    publish_collections(place, "a", "b", sync="{every: 1 s}")
    place.set_behaviour("a", "fail")
    time.sleep(2.5)  # both are stale when the site is served again
    place.start()
    store = place.store()
    wait_until(
        lambda: (
            {(item.collection, item.kind) for item in store.schedules.list_alerts()}
            >= {("a", "failed"), ("a", "stale")}
        )
    )
    wait_until(lambda: place.list_runs("b"))
    place.set_behaviour("a", "work 0")
    wait_until(lambda: ("a", "recovered") in {(item.collection, item.kind) for item in store.schedules.list_alerts()})
    assert {item.collection for item in store.schedules.list_alerts()} == {"a"}
    store.close()


@pytest.mark.outside
def test_machines_that_share_a_store_take_over_when_the_lease_is_over(
    tmp_path: Path, nursery: SchedulerForkServer
) -> None:
    """On PostgreSQL, where nobody sees whether a process of another machine lives: its lease and that of its run must end."""
    with (
        run_server() as address,
        open_schedulers(begun(tmp_path / "site", f'store = "postgresql+psycopg://{address}"'), nursery) as place,
    ):
        publish_collections(place, "a", "b", sync="{every: 1 s}")
        place.set_behaviour("b", "hold never")
        first = place.start(lease=8, machine="one")  # renewed every third of it, however busy the machine is
        wait_until(lambda: len(place.list_runs("a")) >= 2 and place.list_runs("b"))
        second = place.start(lease=8, machine="two")
        time.sleep(1)
        assert not _leads(place, second.pid)
        running = place.list_runs("b")[-1].pid
        for pid in (first.pid, running, *(run.pid for run in place.list_runs("a"))):
            if is_alive(pid):
                SchedulerProcess(pid).send(signal.SIGKILL)
        killed = time.time()
        place.set_behaviour("b", "work 0")
        wait_until(
            lambda: (
                any(run.began > killed for run in place.list_runs("a"))
                and any(run.began > killed for run in place.list_runs("b"))
            )
        )
        assert _leads(place, second.pid)
        place.stop()
        store = place.store()
        assert "failed" in {item.kind for item in store.schedules.list_alerts() if item.collection == "b"}
        store.close()
        ended = [run for run in place.list_runs() if run.ended is not None]
        assert are_runs_disjoint(ended)
