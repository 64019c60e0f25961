"""When a job will be done: said where it can be known, and otherwise not said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hven.jobs._completion_estimate import CompletionEstimate, estimate_completion
from hven.jobs.job_service import format_sortable_timestamp
from hven.site.store import JobRecord, StateStore

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONE = "SELECT * FROM s.t WHERE DISTANCE(ra, dec, {}, {}) < 0.1"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    opened = StateStore(tmp_path)
    yield opened
    opened.close()


def format_time(seconds: float) -> str:
    return format_sortable_timestamp(NOON + timedelta(seconds=seconds))


def add(
    store: StateStore, name: str, phase: str, *, query: str = CONE.format(1, 2), queue: str = "user a", **values: object
) -> JobRecord:
    job = JobRecord(
        id=name, type="tap", queue=queue, phase=phase, parameters=(("QUERY", query),), duration=600, destruction="9", **values,  # type: ignore[arg-type]
    )  # fmt: skip
    store.jobs.add_job(job)
    return job


def past(store: StateStore, seconds: Sequence[float], **values: object) -> None:
    for number, took in enumerate(seconds):
        name = f"{values.get('queue', 'user a')} past {number} {took} {values.get('query', '')}"
        add(
            store,
            name,
            "COMPLETED",
            queued=format_time(-900 + number),
            started=format_time(-900),
            ended=format_time(took - 900),
            **values,
        )  # type: ignore[arg-type]


def quote(store: StateStore, job: JobRecord) -> str | None:
    return estimate_completion(store.jobs.get_job(job.id), store.jobs, NOON).quote


def test_nothing_is_said_of_what_was_never_asked(store: StateStore) -> None:
    for phase in ("PENDING", "QUEUED", "EXECUTING", "HELD", "COMPLETED", "ABORTED"):
        assert quote(store, add(store, phase, phase, queued=format_time(0), started=format_time(-5))) is None
    past(store, [3, 3], query="SELECT 1 FROM other.table")
    assert quote(store, add(store, "x", "PENDING")) is None


def test_a_job_takes_as_long_as_those_that_differ_in_numbers(store: StateStore) -> None:
    past(store, [9, 10, 12], query=CONE.format(17.5, -3e-2))
    past(store, [500], queue="user b", query=CONE.format(1, 2))
    past(store, [500], query="SELECT * FROM s.t WHERE x < 1")
    assert quote(store, add(store, "p", "PENDING")) == format_time(10)
    running = add(store, "r", "EXECUTING", started=format_time(-4))
    assert quote(store, running) == format_time(6)
    late = add(store, "l", "EXECUTING", started=format_time(-40))
    assert quote(store, late) is None  # it should be done already: nobody knows


def test_jobs_that_took_very_different_times_predict_nothing(store: StateStore) -> None:
    past(store, [1, 50])
    assert quote(store, add(store, "p", "PENDING")) is None


def test_short_jobs_may_differ(store: StateStore) -> None:
    past(store, [0.1, 0.2, 1.5])
    assert quote(store, add(store, "p", "PENDING")) == format_time(0.2)


def test_no_job_is_promised_longer_than_its_limit(store: StateStore) -> None:
    past(store, [2000])
    assert quote(store, add(store, "p", "PENDING")) == format_time(600)


def test_who_waits_waits_for_those_before(store: StateStore) -> None:
    past(store, [10, 10])
    past(store, [30], queue="user b")
    for number in range(3):
        add(store, f"w{number}", "QUEUED", queued=format_time(-60 + number))
    add(store, "b0", "QUEUED", queue="user b", queued=format_time(-1))
    found = estimate_completion(store.jobs.get_job("w2"), store.jobs, NOON)
    assert found == CompletionEstimate(place=4, quote=format_time(10 + 10 + 30 + 10))
    add(store, "e", "EXECUTING", started=format_time(-2))
    add(store, "f", "EXECUTING", started=format_time(-2))
    # two workers, each half through a job
    assert estimate_completion(store.jobs.get_job("w2"), store.jobs, NOON).quote == format_time(
        (10 + 10 + 30 + 2 * 5) / 2 + 10
    )
    add(store, "c0", "QUEUED", queue="user c", queued=format_time(-1))  # of whom nothing is known
    assert estimate_completion(store.jobs.get_job("w2"), store.jobs, NOON) == CompletionEstimate(place=5, quote=None)


def test_the_share_of_the_work_says_more_than_the_past(store: StateStore) -> None:
    past(store, [500])
    job = add(store, "r", "EXECUTING", started=format_time(-30), progress={"rows": 75, "share": 0.75})
    assert quote(store, job) == format_time(10)
    begun = add(store, "s", "EXECUTING", started=format_time(-0.5), progress={"rows": 75, "share": 0.75})
    assert quote(store, begun) == format_time(499.5)
