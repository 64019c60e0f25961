"""Jobs as rows, in SQLite and PostgreSQL alike: claimed once, changed only in the phases named, listed in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from hven.model.errors import NotFound
from hven.site.store import Job, Store
from hven.site.store import _database as db
from hven.site.store._leases import holder
from postgres import server


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with server() as found:
        yield f"postgresql+psycopg://{found}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.outside)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = None
    if request.param == "postgres":
        url = request.getfixturevalue("address")
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            db.metadata.drop_all(connection)
        engine.dispose()
    opened = Store(tmp_path, url)
    yield opened
    opened.close()


def job(name: str, queue: str = "user a", **values: object) -> Job:
    return replace(
        Job(id=name, type="tap", queue=queue, duration=60, destruction="2030", created=f"2026-01-01T00:00:00.{name}"),
        **values,
    )


def test_what_is_kept_comes_back(store: Store) -> None:
    made = job(
        "1",
        owner="é",
        groups=("x",),
        run_id="r",
        parent="p",
        depends_on=("q",),
        parameters=(("QUERY", "a'\"\\\n☉"), ("UPLOAD", "t"), ("UPLOAD", "u")),
    )
    store.jobs.add(made)
    assert store.jobs.one("1") == made
    with pytest.raises(NotFound):
        store.jobs.one("2")


def test_every_change_of_a_phase_is_counted(store: Store) -> None:
    seen = [store.jobs.version()]
    store.jobs.add(job("1"))
    seen.append(store.jobs.version())
    assert store.jobs.enqueue("1", among=("PENDING",), most=1) == "QUEUED"
    seen.append(store.jobs.version())
    claimed = store.jobs.claim()
    assert claimed is not None
    seen.append(store.jobs.version())
    assert store.jobs.finish(claimed, "COMPLETED", results=[{"id": "result", "bytes": 10**12}])
    seen.append(store.jobs.version())
    store.jobs.remove("1")
    seen.append(store.jobs.version())
    assert seen == sorted(set(seen))
    assert not store.jobs.change("1", among=("COMPLETED",), phase="ERROR")
    assert store.jobs.version() == seen[-1]


def test_only_the_holder_of_this_attempt_ends_a_job(store: Store) -> None:
    store.jobs.add(job("1", phase="QUEUED", queued="1"))
    first = store.jobs.claim()
    assert first is not None
    assert (first.phase, first.holder, first.attempts) == ("EXECUTING", holder(), 1)
    assert store.jobs.mine(first) == store.jobs.beat(first, {"rows": 5}) == 60
    assert store.jobs.one("1").progress == {"rows": 5}
    assert store.jobs.requeue(first, counts=True)
    second = store.jobs.claim()
    assert second is not None
    assert second.attempts == 2
    assert not store.jobs.finish(first, "COMPLETED")
    assert store.jobs.mine(first) is store.jobs.beat(first) is None
    assert store.jobs.finish(second, "ERROR", error={"kind": "fatal", "message": "x"})
    assert not store.jobs.requeue(second, counts=True)
    assert store.jobs.one("1").phase == "ERROR"


def test_a_job_is_claimed_once_by_many(store: Store) -> None:
    for number in range(40):
        store.jobs.add(job(f"{number:02}", queue=f"user {number % 3}", phase="QUEUED", queued=f"{number:02}"))
    claimed: list[str] = []

    def take() -> None:
        while (found := store.jobs.claim()) is not None:
            claimed.append(found.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"{number:02}" for number in range(40)]
    assert store.jobs.waiting() == 0
    assert len(store.jobs.executing()) == 40


def test_lists_and_dues(store: Store) -> None:
    for number in range(6):
        store.jobs.add(job(f"{number}", phase=("PENDING", "ERROR", "ARCHIVED")[number % 3], destruction=f"202{number}"))
    store.jobs.add(job("9", queue="user b"))

    def ids(**filters: object) -> str:
        return "".join(ref.id for ref in store.jobs.listed("user a", "tap", **filters))  # type: ignore[arg-type]

    assert ids() == "543210"
    assert ids(hidden=("ARCHIVED",)) == "4310"
    assert ids(phases=("ARCHIVED", "ERROR"), last=3) == "542"
    assert ids(after="2026-01-01T00:00:00.3") == "54"
    assert ids(phases=("PENDING",)) == ids(phases=("PENDING", "HELD", "PENDING")) == "30"
    assert ids(phases=("PENDING", "QUEUED"), last=1) == ids(phases=("PENDING",), after="2026-01-01T00:00:00.1") == "3"
    assert store.jobs.listed("user a", "other") == store.jobs.listed("user a", "other", phases=("PENDING",)) == []
    assert [found.id for found in store.jobs.due("2023", hidden=("ARCHIVED",))] == ["0", "1", "3"]
    assert store.jobs.known(["0", "x", "9"]) == {"0", "9"}


def test_the_place_in_the_queue_counts_turns(store: Store) -> None:
    for number in range(5):
        store.jobs.add(job(f"a{number}", phase="QUEUED", queued=f"{number}"))
    store.jobs.add(job("b0", queue="user b", phase="QUEUED", queued="7"))
    places = {name: store.jobs.place(store.jobs.one(name)) for name in ("a0", "a1", "a4", "b0")}
    assert places == {"a0": 2, "a1": 3, "a4": 6, "b0": 2}


def test_what_waits_for_many_begins_when_the_last_of_them_is_done(store: Store) -> None:
    """For more than one statement takes values; those that wait for the same begin together, and what one failed for ends."""
    many = tuple(f"m{number:04d}" for number in range(1_200))
    with store.jobs._database.writing() as connection:
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
    store.jobs.change(many[700], among=("COMPLETED",), phase="EXECUTING")
    for name in ("w1", "w2"):
        store.jobs.add(job(name, depends_on=many))
        assert store.jobs.enqueue(name, among=("PENDING",), most=9_999) == "QUEUED"
    store.jobs.add(job("after", depends_on=("w1", "w2")))
    store.jobs.enqueue("after", among=("PENDING",), most=9_999)
    assert store.jobs.waiting() == 0
    store.jobs.change(many[700], among=("EXECUTING",), phase="COMPLETED")
    assert store.jobs.waiting() == 2
    store.jobs.change("w2", among=("QUEUED",), phase="ABORTED", ended="3")
    assert store.jobs.waiting() == 1
    ended = store.jobs.one("after")
    assert ended.phase == "ERROR"
    assert ended.error is not None
    assert "w2, which was aborted" in ended.error["message"]


def test_an_index_finds_what_waits_for_others(store: Store) -> None:
    """However many jobs wait for their turn, those that wait for others are found without looking at them."""
    from hven.site.store import _job_relations as kin

    with store.jobs._database.reading() as connection:
        if connection.dialect.name == "sqlite":
            told = connection.execute(
                sa.text(f"EXPLAIN QUERY PLAN SELECT DISTINCT depends_on FROM jobs WHERE {kin.BOUND}")
            ).all()
            assert any("ix_jobs_bound" in str(row) for row in told)
        else:
            connection.execute(sa.text("SET enable_seqscan = off"))
            told = connection.execute(sa.text(f"EXPLAIN SELECT DISTINCT depends_on FROM jobs WHERE {kin.BOUND}")).all()
            connection.execute(sa.text("RESET enable_seqscan"))
            assert any("ix_jobs_bound" in str(row) for row in told)
