"""The time by which things are deleted, under every clock: what leaps ahead deletes nothing, what is set back keeps nothing for years."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.ingest.sync import change_sets
from hven.jobs import snapshot_verification
from hven.jobs.health import SiteHealthMonitor
from hven.jobs.job_supervisor import JobSupervisor
from hven.model.errors import NotFoundError
from hven.site import Site
from hven.site.store import JobRecord, SnapshotVerification, StateStore
from hven.site.store import _database as db
from hven.site.store import _sessions as sessions_of
from hven.site.store import _user_table_records as user_tables
from hven.site.store import _verifications as verifications
from hven.site.store._deletion_time import LEAP_TRUST_SECONDS, MAX_LEAP_SECONDS, TrustedClockState, format_timestamp
from hven.site.store._schedules import create_alert
from hven.site.user_tables import delete_expired_user_tables
from hven.testing.site import open_tiny_site

TRUE = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0
FAR = {
    "2039": datetime(2039, 1, 1, tzinfo=UTC).timestamp(),
    "a day ahead": TRUE + DAY,
    "a day back": TRUE - DAY,
    "1969": -1000.0,
}


class Wall:
    """The clock on the wall, which anybody may set."""

    def __init__(self) -> None:
        self.at = TRUE

    def passed(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    made = Wall()

    class Set(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(made.at, tz)

    monkeypatch.setattr(time, "time", lambda: made.at)
    for module in (db, sessions_of, user_tables, verifications, snapshot_verification):
        monkeypatch.setattr(module, "datetime", Set)
    return made


@pytest.fixture
def site(tmp_path: Path, wall: Wall) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"s.t": pa.table({"x": [1, 2]})}) as made:
        yield made


def job(name: str, days: float, wall: Wall) -> JobRecord:
    return JobRecord(
        id=name,
        type="tap",
        queue="q",
        phase="COMPLETED",
        duration=9,
        destruction=format_timestamp(wall.at + days * DAY),
    )


def keeper(site: Site) -> JobSupervisor:
    made = JobSupervisor(site.settings, worker_limit=1, idle_seconds=1.0, parent_pid=None)
    made._fork_worker = lambda run: None  # type: ignore[method-assign]  # a child would have the clock of before
    return made


@pytest.mark.parametrize("clock", FAR)
def test_a_server_that_starts_under_a_wrong_clock_deletes_nothing(
    site: Site, wall: Wall, caplog: pytest.LogCaptureFixture, clock: str
) -> None:
    store = site.store
    store.users.add_account("anna")
    proof = store.sessions.begin_session("anna", 10 * DAY)
    assert store.jobs.add_job(job("short", 1 / 24, wall))
    assert store.jobs.add_job(job("week", 7, wall))
    kept = site.settings.data_directory / "sync" / "changes" / "s.t"
    kept.mkdir(parents=True)
    (kept / "one.arrow").touch()
    os.utime(kept / "one.arrow", (wall.at, wall.at))
    watching = keeper(site)
    watching._delete_expired_jobs_files_and_grants()  # the true time is known
    watching._close_store()
    wall.at = FAR[clock]
    with caplog.at_level(logging.WARNING, "hven.jobs"):
        for _ in range(3):  # as processes that begin and end
            again = keeper(site)
            for _ in range(3):
                again._delete_expired_jobs_files_and_grants()
                wall.passed(20)
            again._close_store()
    delete_expired_user_tables(site)
    change_sets.delete_old_change_sets(site, "s")
    assert store.jobs.find_phases(["short", "week"]) == {"short": "COMPLETED", "week": "COMPLETED"}
    assert (kept / "one.arrow").exists()
    ahead = wall.at > TRUE
    assert len(caplog.records) == (3 if ahead else 0), "each process says it once"
    if ahead:
        assert "Hven deletes no expired data" in caplog.text
    health = SiteHealthMonitor(site)
    told = {check.name: check for check in health.run_health_checks(health.get_status(wait_seconds=None))}["clock"]
    assert told.state == ("warning" if ahead else "ok")
    wall.at = TRUE + 100  # set right
    watching = keeper(site)
    watching._delete_expired_jobs_files_and_grants()
    assert store.sessions.find_session_owner(proof) == "anna"
    assert (store.deletion_clock.describe_clock_leap() is None) == ahead, (
        "from a time that is long past the true one is a leap, too"
    )
    for _ in range(2 if ahead else int(LEAP_TRUST_SECONDS / MAX_LEAP_SECONDS) + 1):
        wall.passed(MAX_LEAP_SECONDS)
        watching._delete_expired_jobs_files_and_grants()
    with pytest.raises(NotFoundError):
        store.jobs.get_job("short")
    assert store.jobs.get_job("week")
    watching._close_store()


def test_a_clock_that_goes_on_for_a_day_is_believed(site: Site, wall: Wall) -> None:
    assert site.store.jobs.add_job(job("week", 7, wall))
    watching = keeper(site)
    watching._delete_expired_jobs_files_and_grants()
    wall.passed(30 * DAY)  # the server was off
    for _ in range(int(LEAP_TRUST_SECONDS / 3600) - 1):
        watching._delete_expired_jobs_files_and_grants()
        wall.passed(3600)
    assert site.store.jobs.get_job("week")
    assert site.store.deletion_clock.describe_clock_leap()
    watching._delete_expired_jobs_files_and_grants()
    wall.passed(3600)
    watching._delete_expired_jobs_files_and_grants()
    assert site.store.deletion_clock.describe_clock_leap() is None
    assert site.store.jobs.find_phases(["week"]) == {}
    watching._close_store()


@given(st.lists(st.sampled_from([20.0, 600.0, -DAY, DAY, 13 * 365 * DAY, -3600.0, 7 * DAY])), st.integers(0, 30))
def test_what_is_believed_is_never_ahead_and_comes_up_at_last(steps: list[float], leaps: int) -> None:
    now = TRUE
    known = TrustedClockState(now, None, now)
    for step in steps:
        now += step
        before, known = known, known.with_clock_time(now)
        assert known.trusted_time <= now
        assert known.trusted_time - before.trusted_time <= max(MAX_LEAP_SECONDS, 0) or before.leap_start is not None, (
            "no leap is believed at first sight"
        )
    for _ in range(int(LEAP_TRUST_SECONDS / 600) + 1):
        now += 600
        known = known.with_clock_time(now)
    assert (known.trusted_time, known.leap_start) == (now, None)


def test_who_is_served_a_little_each_week_is_a_week_behind_at_most() -> None:
    known, now = TrustedClockState(TRUE, None, TRUE), TRUE
    for _ in range(10):
        now += 7 * DAY
        for _ in range(20):
            now += 60
            known = known.with_clock_time(now)
        assert now - known.trusted_time < 8 * DAY
    assert known.with_clock_time(FAR["2039"]).trusted_time < now + 1, (
        "a wrong clock after that is believed no more than any other"
    )


def test_what_was_written_while_the_clock_was_ahead_stops_nothing_later(site: Site, wall: Wall) -> None:
    store = site.store
    store.users.add_account("anna")
    wall.at = FAR["2039"]
    proof = store.sessions.begin_session("anna", 14 * DAY)
    assert store.sessions.find_session_owner(proof) == "anna"
    record = next(iter(store.read_published_records()[1].values()))
    store.verifications.request_full_verification()
    seen = SnapshotVerification(
        snapshot=record.id, table=record.table.qualified_name, collection="s", at=format_timestamp(wall.at)
    )
    store.verifications.record_verifications([seen], [create_alert("s", "failed", "it failed", ["log"], wall.at)])
    assert snapshot_verification.find_snapshots_to_verify(site.settings, store) == ([], False)
    wall.at = TRUE
    assert store.sessions.find_session_owner(proof) is None, "it would last for thirteen years"
    assert store.verifications.find_verification_request_time() == "", "no verification of today would ever answer it"
    assert snapshot_verification.find_snapshots_to_verify(site.settings, store) == ([record], False), (
        "nobody knows how long ago it was verified"
    )
    store.verifications.request_full_verification()
    assert store.verifications.find_verification_request_time() == format_timestamp(TRUE)
    assert [one.collection for one in store.schedules.list_due_alerts()] == ["s"]


def test_a_store_without_a_known_time_believes_the_clock(tmp_path: Path, wall: Wall) -> None:
    store = StateStore(tmp_path)
    wall.at = FAR["2039"]
    assert store.deletion_clock.compute_and_record_trusted_time() == "2039-01-01T00:00:00.000000Z"
    assert store.deletion_clock.describe_clock_leap() is None
    wall.at = TRUE
    assert store.deletion_clock.compute_and_record_trusted_time() == format_timestamp(TRUE)
    store.close()
