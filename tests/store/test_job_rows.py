"""Jobs as rows, in SQLite and PostgreSQL alike: claimed once, changed only in the phases named, listed in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from hven.model.errors import NotFoundError
from hven.site.store import JobRecord, StateStore
from hven.site.store import _database as db
from hven.site.store._leases import get_process_holder
from postgres_cluster import run_server


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as found:
        yield f"postgresql+psycopg://{found}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.outside)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    url = None
    if request.param == "postgres":
        url = request.getfixturevalue("address")
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            db.metadata.drop_all(connection)
        engine.dispose()
    opened = StateStore(tmp_path, url)
    yield opened
    opened.close()


def job(name: str, queue: str = "user a", **values: object) -> JobRecord:
    return replace(
        JobRecord(
            id=name, type="tap", queue=queue, duration=60, destruction="2030", created=f"2026-01-01T00:00:00.{name}"
        ),
        **values,
    )


def test_what_is_kept_comes_back(store: StateStore) -> None:
    made = job(
        "1",
        owner="é",
        groups=("x",),
        run_id="r",
        parent="p",
        depends_on=("q",),
        parameters=(("QUERY", "a'\"\\\n☉"), ("UPLOAD", "t"), ("UPLOAD", "u")),
    )
    store.jobs.add_job(made)
    assert store.jobs.get_job("1") == made
    with pytest.raises(NotFoundError):
        store.jobs.get_job("2")


def test_every_change_of_a_phase_is_counted(store: StateStore) -> None:
    seen = [store.jobs.get_phase_change_count()]
    store.jobs.add_job(job("1"))
    seen.append(store.jobs.get_phase_change_count())
    assert store.jobs.enqueue_job("1", allowed_phases=("PENDING",), queue_limit=1) == "QUEUED"
    seen.append(store.jobs.get_phase_change_count())
    claimed = store.jobs.claim_job()
    assert claimed is not None
    seen.append(store.jobs.get_phase_change_count())
    assert store.jobs.finish_job_and_notify_owner(claimed, "COMPLETED", results=[{"id": "result", "bytes": 10**12}])
    seen.append(store.jobs.get_phase_change_count())
    store.jobs.delete_jobs_and_descendants("1")
    seen.append(store.jobs.get_phase_change_count())
    assert seen == sorted(set(seen))
    assert not store.jobs.update_job("1", allowed_phases=("COMPLETED",), phase="ERROR")
    assert store.jobs.get_phase_change_count() == seen[-1]


def test_only_the_holder_of_this_attempt_ends_a_job(store: StateStore) -> None:
    store.jobs.add_job(job("1", phase="QUEUED", queued="1"))
    first = store.jobs.claim_job()
    assert first is not None
    assert (first.phase, first.holder, first.attempts) == ("EXECUTING", get_process_holder(), 1)
    assert (
        store.jobs.find_duration_if_owned(first)
        == store.jobs.record_heartbeat_and_read_duration(first, {"rows": 5})
        == 60
    )
    assert store.jobs.get_job("1").progress == {"rows": 5}
    assert store.jobs.requeue_job(first, is_attempt_counted=True)
    second = store.jobs.claim_job()
    assert second is not None
    assert second.attempts == 2
    assert not store.jobs.finish_job_and_notify_owner(first, "COMPLETED")
    assert store.jobs.find_duration_if_owned(first) is store.jobs.record_heartbeat_and_read_duration(first) is None
    assert store.jobs.finish_job_and_notify_owner(second, "ERROR", error={"kind": "fatal", "message": "x"})
    assert not store.jobs.requeue_job(second, is_attempt_counted=True)
    assert store.jobs.get_job("1").phase == "ERROR"


def test_a_job_is_claimed_once_by_many(store: StateStore) -> None:
    for number in range(40):
        store.jobs.add_job(job(f"{number:02}", queue=f"user {number % 3}", phase="QUEUED", queued=f"{number:02}"))
    claimed: list[str] = []

    def take() -> None:
        while (found := store.jobs.claim_job()) is not None:
            claimed.append(found.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"{number:02}" for number in range(40)]
    assert store.jobs.resolve_dependencies_and_count_waiting() == 0
    assert len(store.jobs.list_jobs_held_by_processes()) == 40


def test_lists_and_dues(store: StateStore) -> None:
    for number in range(6):
        store.jobs.add_job(
            job(f"{number}", phase=("PENDING", "ERROR", "ARCHIVED")[number % 3], destruction=f"202{number}")
        )
    store.jobs.add_job(job("9", queue="user b"))

    def ids(**filters: object) -> str:
        return "".join(ref.id for ref in store.jobs.list_jobs("user a", "tap", **filters))  # type: ignore[arg-type]

    assert ids() == "543210"
    assert ids(hidden_phases=("ARCHIVED",)) == "4310"
    assert ids(phases=("ARCHIVED", "ERROR"), row_limit=3) == "542"
    assert ids(created_after="2026-01-01T00:00:00.3") == "54"
    assert ids(phases=("PENDING",)) == ids(phases=("PENDING", "HELD", "PENDING")) == "30"
    assert (
        ids(phases=("PENDING", "QUEUED"), row_limit=1)
        == ids(phases=("PENDING",), created_after="2026-01-01T00:00:00.1")
        == "3"
    )
    assert store.jobs.list_jobs("user a", "other") == store.jobs.list_jobs("user a", "other", phases=("PENDING",)) == []
    assert [found.id for found in store.jobs.list_expired("2023", hidden_phases=("ARCHIVED",))] == ["0", "1", "3"]
    assert store.jobs.select_existing(["0", "x", "9"]) == {"0", "9"}


def test_the_place_in_the_queue_counts_turns(store: StateStore) -> None:
    for number in range(5):
        store.jobs.add_job(job(f"a{number}", phase="QUEUED", queued=f"{number}"))
    store.jobs.add_job(job("b0", queue="user b", phase="QUEUED", queued="7"))
    ahead = {
        name: sum(store.jobs.count_jobs_ahead(store.jobs.get_job(name)).values()) for name in ("a0", "a1", "a4", "b0")
    }
    assert ahead == {"a0": 1, "a1": 2, "a4": 5, "b0": 1}
    store.jobs.add_job(job("done", phase="COMPLETED", queued="1"))
    store.jobs.add_job(job("a0b", phase="QUEUED", queued="0"))  # queued at the same time
    found_jobs = store.jobs.find_jobs([*(f"a{number}" for number in range(5)), "a0b", "b0", "done", "lost"])
    assert found_jobs.keys() == {"a0", "a1", "a2", "a3", "a4", "a0b", "b0", "done"}
    assert store.jobs.find_queue_places(list(found_jobs.values())) == {
        name: 1 + sum(store.jobs.count_jobs_ahead(found).values())
        for name, found in found_jobs.items()
        if name != "done"
    }
    assert store.jobs.find_queue_places([found_jobs["done"]]) == {}


def test_what_waits_for_many_begins_when_the_last_of_them_is_done(store: StateStore) -> None:
    """For more than one statement takes values; those that wait for the same begin together, and what one failed for ends."""
    many = tuple(f"m{number:04d}" for number in range(1_200))
    with store.jobs._database.begin_write() as connection:
        row = {column.name: None for column in db.jobs.columns}
        row |= {
            "type": "tap",
            "groups": "[]",
            "queue": "a",
            "depends_on": "[]",
            "parameters": "[]",
            "created": "1",
            "duration": 1,
            "destruction": "2",
        }
        row |= {"results": "[]", "progress": "{}", "attempts": 0, "beat": 0}
        connection.execute(sa.insert(db.jobs), [row | {"id": name, "phase": "COMPLETED"} for name in many])
    store.jobs.update_job(many[700], allowed_phases=("COMPLETED",), phase="EXECUTING")
    for name in ("w1", "w2"):
        store.jobs.add_job(job(name, depends_on=many))
        assert store.jobs.enqueue_job(name, allowed_phases=("PENDING",), queue_limit=9_999) == "QUEUED"
    store.jobs.add_job(job("after", depends_on=("w1", "w2")))
    store.jobs.enqueue_job("after", allowed_phases=("PENDING",), queue_limit=9_999)
    assert store.jobs.resolve_dependencies_and_count_waiting() == 0
    store.jobs.update_job(many[700], allowed_phases=("EXECUTING",), phase="COMPLETED")
    assert store.jobs.resolve_dependencies_and_count_waiting() == 2
    store.jobs.update_job("w2", allowed_phases=("QUEUED",), phase="ABORTED", ended="3")
    assert store.jobs.resolve_dependencies_and_count_waiting() == 1
    ended = store.jobs.get_job("after")
    assert ended.phase == "ERROR"
    assert ended.error is not None
    assert "w2, which was aborted" in ended.error["message"]


def test_an_index_finds_what_waits_for_others(store: StateStore) -> None:
    """However many jobs wait for their turn, those that wait for others are found without looking at them."""
    from hven.site.store import _job_relations as job_relations

    with store.jobs._database.begin_read() as connection:
        if connection.dialect.name == "sqlite":
            told = connection.execute(
                sa.text(
                    f"EXPLAIN QUERY PLAN SELECT DISTINCT depends_on FROM jobs WHERE {job_relations.WAITING_JOBS_CONDITION}"
                )
            ).all()
            assert any("ix_jobs_bound" in str(row) for row in told)
        else:
            connection.execute(sa.text("SET enable_seqscan = off"))
            told = connection.execute(
                sa.text(f"EXPLAIN SELECT DISTINCT depends_on FROM jobs WHERE {job_relations.WAITING_JOBS_CONDITION}")
            ).all()
            connection.execute(sa.text("RESET enable_seqscan"))
            assert any("ix_jobs_bound" in str(row) for row in told)
