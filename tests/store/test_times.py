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

from hven.ingest.sync import changes
from hven.jobs import verifying
from hven.jobs.health import Health
from hven.jobs.keeper import Keeper
from hven.model.errors import NotFound
from hven.query import user_tables as own
from hven.site import Site
from hven.site.store import Job, Store, Verification
from hven.site.store import _database as db
from hven.site.store import _sessions as sessions_of
from hven.site.store import _user_table_records as user_tables
from hven.site.store import _verifications as verifications
from hven.site.store._deletion_clock import BELIEVED, LEAP, Reckoning, stamp
from hven.site.store._schedules import alert
from hven.testing.site import tiny_site

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
    for module in (db, sessions_of, user_tables, verifications, verifying):
        monkeypatch.setattr(module, "datetime", Set)
    return made


@pytest.fixture
def site(tmp_path: Path, wall: Wall) -> Iterator[Site]:
    with tiny_site(tmp_path, {"s.t": pa.table({"x": [1, 2]})}) as made:
        yield made


def job(name: str, days: float, wall: Wall) -> Job:
    return Job(id=name, type="tap", queue="q", phase="COMPLETED", duration=9, destruction=stamp(wall.at + days * DAY))


def keeper(site: Site) -> Keeper:
    made = Keeper(site.settings, workers=1, idle=1.0, parent=None)
    made._fork = lambda run: None  # type: ignore[method-assign]  # a child would have the clock of before
    return made


@pytest.mark.parametrize("clock", FAR)
def test_a_server_that_starts_under_a_wrong_clock_deletes_nothing(
    site: Site, wall: Wall, caplog: pytest.LogCaptureFixture, clock: str
) -> None:
    store = site.store
    store.users.add("anna")
    proof = store.sessions.begin("anna", 10 * DAY)
    assert store.jobs.add(job("short", 1 / 24, wall))
    assert store.jobs.add(job("week", 7, wall))
    kept = site.settings.kept / "sync" / "changes" / "s.t"
    kept.mkdir(parents=True)
    (kept / "one.arrow").touch()
    os.utime(kept / "one.arrow", (wall.at, wall.at))
    watching = keeper(site)
    watching._sweep()  # the true time is known
    watching._close()
    wall.at = FAR[clock]
    with caplog.at_level(logging.WARNING, "hven.jobs"):
        for _ in range(3):  # as processes that begin and end
            again = keeper(site)
            for _ in range(3):
                again._sweep()
                wall.passed(20)
            again._close()
    own.sweep(site)
    changes.sweep(site, "s")
    assert store.jobs.phases(["short", "week"]) == {"short": "COMPLETED", "week": "COMPLETED"}
    assert (kept / "one.arrow").exists()
    ahead = wall.at > TRUE
    assert len(caplog.records) == (3 if ahead else 0), "each process says it once"
    if ahead:
        assert "nothing is deleted by it" in caplog.text
    health = Health(site)
    told = {check.name: check for check in health.checks(health.picture(patience=None))}["clock"]
    assert told.state == ("warning" if ahead else "ok")
    wall.at = TRUE + 100  # set right
    watching = keeper(site)
    watching._sweep()
    assert store.sessions.holder(proof) == "anna"
    assert (store.times.ahead() is None) == ahead, "from a time that is long past the true one is a leap, too"
    for _ in range(2 if ahead else int(BELIEVED / LEAP) + 1):
        wall.passed(LEAP)
        watching._sweep()
    with pytest.raises(NotFound):
        store.jobs.one("short")
    assert store.jobs.one("week")
    watching._close()


def test_a_clock_that_goes_on_for_a_day_is_believed(site: Site, wall: Wall) -> None:
    assert site.store.jobs.add(job("week", 7, wall))
    watching = keeper(site)
    watching._sweep()
    wall.passed(30 * DAY)  # the server was off
    for _ in range(int(BELIEVED / 3600) - 1):
        watching._sweep()
        wall.passed(3600)
    assert site.store.jobs.one("week")
    assert site.store.times.ahead()
    watching._sweep()
    wall.passed(3600)
    watching._sweep()
    assert site.store.times.ahead() is None
    assert site.store.jobs.phases(["week"]) == {}
    watching._close()


@given(st.lists(st.sampled_from([20.0, 600.0, -DAY, DAY, 13 * 365 * DAY, -3600.0, 7 * DAY])), st.integers(0, 30))
def test_what_is_believed_is_never_ahead_and_comes_up_at_last(steps: list[float], leaps: int) -> None:
    now = TRUE
    known = Reckoning(now, None, now)
    for step in steps:
        now += step
        before, known = known, known.at(now)
        assert known.believed <= now
        assert known.believed - before.believed <= max(LEAP, 0) or before.leap is not None, (
            "no leap is believed at first sight"
        )
    for _ in range(int(BELIEVED / 600) + 1):
        now += 600
        known = known.at(now)
    assert (known.believed, known.leap) == (now, None)


def test_who_is_served_a_little_each_week_is_a_week_behind_at_most() -> None:
    known, now = Reckoning(TRUE, None, TRUE), TRUE
    for _ in range(10):
        now += 7 * DAY
        for _ in range(20):
            now += 60
            known = known.at(now)
        assert now - known.believed < 8 * DAY
    assert known.at(FAR["2039"]).believed < now + 1, "a wrong clock after that is believed no more than any other"


def test_what_was_written_while_the_clock_was_ahead_stops_nothing_later(site: Site, wall: Wall) -> None:
    store = site.store
    store.users.add("anna")
    wall.at = FAR["2039"]
    proof = store.sessions.begin("anna", 14 * DAY)
    assert store.sessions.holder(proof) == "anna"
    record = next(iter(store.current()[1].values()))
    store.verifications.ask()
    seen = Verification(snapshot=record.id, table=record.table.qualified, collection="s", at=stamp(wall.at))
    store.verifications.note([seen], [alert("s", "failed", "it failed", ["log"], wall.at)])
    assert verifying.due(site.settings, store) == ([], False)
    wall.at = TRUE
    assert store.sessions.holder(proof) is None, "it would last for thirteen years"
    assert store.verifications.asked() == "", "no verification of today would ever answer it"
    assert verifying.due(site.settings, store) == ([record], False), "nobody knows how long ago it was verified"
    store.verifications.ask()
    assert store.verifications.asked() == stamp(TRUE)
    assert [one.collection for one in store.schedules.pending()] == ["s"]


def test_a_store_without_a_known_time_believes_the_clock(tmp_path: Path, wall: Wall) -> None:
    store = Store(tmp_path)
    wall.at = FAR["2039"]
    assert store.times.believed() == "2039-01-01T00:00:00.000000Z"
    assert store.times.ahead() is None
    wall.at = TRUE
    assert store.times.believed() == stamp(TRUE)
    store.close()
