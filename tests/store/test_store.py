"""The store: pointers move together, leases exclude, releases pin, old formats upgrade, newer ones are refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from hven.engines import Snapshot
from hven.model.errors import Conflict, NotFound, StorageError
from hven.model.table import Column, Table
from hven.site.store import Lease, Record, Store
from hven.site.store import _database as db
from hven.site.store import _leases as leasing
from hven.site.store._database import FORMAT
from postgres import server
from running import until


@pytest.fixture(scope="session")
def address():
    with server() as found:
        yield f"postgresql+psycopg://{found}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.outside)])
def url(request):
    if request.param == "sqlite":
        return None
    found = request.getfixturevalue("address")
    engine = sa.create_engine(found)
    with engine.begin() as connection:
        db.metadata.drop_all(connection)
    engine.dispose()
    return found


@pytest.fixture
def store(tmp_path, url):
    opened = Store(tmp_path, url)
    yield opened
    opened.close()


def record(name: str, ident: str, run: str = "", rows: int = 3) -> Record:
    schema, _, table = name.partition(".")
    return Record(
        snapshot=Snapshot(
            id=ident,
            table=name,
            path=f"{name}/{ident}",
            rows=rows,
            parts=(("0.arrow", rows),),
            statistics={"a": {"nulls": 0}},
        ),
        table=Table(schema=schema, name=table, columns=(Column(name="a"),)),
        collection=schema,
        run=run or ident,
        created=db.now(),
        provenance={"pins": [{"name": "x.csv"}]},
    )


def published(store: Store) -> dict[str, str]:
    return store.pointers()[1]


def test_publishing_moves_all_tables_of_a_collection_and_counts_the_version(store):
    before = store.version()
    store.publish("c", [record("c.a", "1a"), record("c.b", "1b")], run="r1")
    store.publish("d", [record("d.a", "1d")], run="r2")
    assert store.version() == before + 2
    version, records = store.current()
    assert version == store.version()
    assert {name: item.id for name, item in records.items()} == {"c.a": "1a", "c.b": "1b", "d.a": "1d"}
    assert records["c.a"].snapshot.parts == (("0.arrow", 3),)
    # a table that is not named is published no more
    store.publish("c", [record("c.a", "2a")], run="r3")
    assert published(store) == {"c.a": "2a", "d.a": "1d"}


def test_a_record_comes_back_equal(store):
    given = record("c.a", "1a")
    store.publish("c", [given], run="r1")
    assert store.record("1a") == given
    with pytest.raises(NotFound):
        store.record("nope")


def test_a_failing_publication_moves_nothing(store):
    store.publish("c", [record("c.a", "1a")], run="r1")
    stranger = Record(
        snapshot=Snapshot(id="9", table="c.a", path="", rows=0),
        table=record("c.a", "9").table,
        collection="d",
        run="r",
        created="",
    )
    with pytest.raises(Conflict, match="belongs to the collection c"):
        store.publish("d", [record("d.x", "8"), stranger], run="r2")
    assert published(store) == {"c.a": "1a"}
    with pytest.raises(NotFound):
        store.record("8")


def test_rollback_goes_back_step_by_step_and_forward_by_name(store):
    store.publish("c", [record("c.a", "1a", "r1")], run="r1")
    store.publish("c", [record("c.a", "2a", "r2"), record("c.b", "2b", "r2")], run="r2")
    store.publish("c", [record("c.a", "3a", "r3"), record("c.b", "3b", "r3")], run="r3")
    assert store.rollback("c") == {"c.a": "2a", "c.b": "2b"}
    assert store.rollback("c") == {"c.a": "1a"}
    with pytest.raises(NotFound, match="no earlier state"):
        store.rollback("c")
    assert store.rollback("c", "3b") == {"c.a": "3a", "c.b": "3b"}
    assert store.rollback("c", "r2") == {"c.a": "2a", "c.b": "2b"}
    assert store.rollback("c.a", "1a") == {"c.a": "1a", "c.b": "2b"}
    with pytest.raises(NotFound, match="hven history c"):
        store.rollback("c", "zzz")
    assert [event.action for event in store.history("c")][:2] == ["rollback", "rollback"]
    assert published(store) == {"c.a": "1a", "c.b": "2b"}


def test_remove_keeps_the_data_until_purge(store):
    store.publish("c", [record("c.a", "1a")], run="r1")
    assert store.purge("c") == []  # published snapshots are never purged
    assert store.remove("c") == ["c.a"]
    assert published(store) == {}
    assert [item.id for item in store.snapshots("c")] == ["1a"]
    assert [item.id for item in store.purge("c")] == ["1a"]
    with pytest.raises(NotFound):
        store.remove("c")


def test_pruning_keeps_published_and_pinned_snapshots(store):
    for number in range(1, 7):
        store.publish("c", [record("c.a", f"{number}a")], run=f"r{number}")
        if number == 2:
            (made,) = store.releases.add("dr1", ["c"], "first")
            assert made.snapshots == {"c.a": "2a"}
    store.rollback("c", "3a")
    gone = store.prune("c", keep=2)
    assert sorted(item.id for item in gone) == ["1a", "4a"]
    assert store.releases.all("c")[0].label == "dr1"
    with pytest.raises(Conflict, match="never changes"):
        store.releases.add("dr1", ["c"])
    store.releases.remove("dr1", ["c"])
    assert [item.id for item in store.prune("c", keep=2)] == ["2a"]
    with pytest.raises(NotFound):
        store.rollback("c", "1a")


def test_a_lease_excludes_and_says_who_and_since_when(store):
    lease = store.leases.acquire("ingest c", what="the ingest of c")
    with pytest.raises(
        Conflict, match=rf"the ingest of c is being done by process {os.getpid()} on .* since {lease.since}"
    ):
        store.leases.acquire("ingest c", what="the ingest of c")
    store.leases.acquire("ingest d")
    store.leases.release(lease)
    store.leases.acquire("ingest c")


def test_nothing_is_rolled_back_or_removed_during_an_ingest(store):
    store.publish("c", [record("c.a", "1a")], run="r1")
    store.publish("c", [record("c.a", "2a")], run="r2")
    with store.leases.held("ingest c", what="the ingest of c"):
        for change in (store.rollback, store.remove):
            with pytest.raises(Conflict, match="the ingest of c is being done by process"):
                change("c")
    store.rollback("c")
    store.remove("c")
    assert store.rollback("c") == {"c.a": "1a"}  # what was removed comes back, not what was ingested last


def test_a_lease_runs_out(store):
    lease = store.leases.acquire("x", seconds=-1)
    other = store.leases.acquire("x")
    with pytest.raises(Conflict, match="lost"):
        store.leases.renew(lease)
    store.leases.release(lease)  # gives nothing of the other's back
    assert [item.since for item in store.leases.all()] == [other.since]
    with pytest.raises(Conflict, match="nothing was published"):
        store.publish("c", [record("c.a", "1a")], run="r1", lease=lease)
    assert published(store) == {}


def test_the_lease_of_a_dead_process_is_void_at_once(store):
    child = subprocess.run(
        [sys.executable, "-c", "from hven.site.store._leases import holder; print(holder())"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    dead = Lease(name="x", holder=child.stdout.strip(), since="", expires=time.time() + 1000)
    assert not dead.alive
    assert Lease(name="x", holder=leasing.holder(), since="", expires=time.time() + 1000).alive
    elsewhere = "elsewhere " + child.stdout.strip().split(" ", 1)[1]
    assert Lease(name="x", holder=elsewhere, since="", expires=time.time() + 1000).alive


def test_a_held_lease_is_renewed(store):
    with store.leases.held("x", seconds=1.5) as lease:
        # a machine that stalls lets it run out for a moment; as nobody has taken it, it is renewed then
        until(lambda: [found for found in store.leases.all() if found.expires > lease.expires])
    assert store.leases.all() == []


def test_a_held_lease_may_be_waited_for(store):
    released = threading.Event()

    def hold():
        with store.leases.held("x"):
            started.set()
            refused.wait(60)
            time.sleep(0.3)  # the other waits by now
            released.set()

    started, refused = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    started.wait()
    with pytest.raises(Conflict), store.leases.held("x"):
        pass
    refused.set()
    with store.leases.held("x", wait=60):
        assert released.is_set()
    thread.join()


def test_the_paths_of_all_kept_snapshots_are_known(store):
    store.publish("c", [record("c.a", "1a")], run="r1")
    store.publish("c", [record("c.a", "2a")], run="r2")
    store.remove("c")
    assert store.known() == {"c.a/1a", "c.a/2a"}
    store.purge("c")
    assert store.known() == set()


def test_runs_that_died_are_shown_as_aborted(store):
    store.runs.begin("r1", "c")
    store.runs.end("r1", "COMPLETED", summary={"rows": 3}, report="/x")
    store.runs.begin("r2", "c")
    first, second = reversed(store.runs.of("c"))
    assert (first.phase, first.summary, second.phase) == ("COMPLETED", {"rows": 3}, "RUNNING")
    assert store.runs.mark_dead("c") == ["r2"]
    assert store.runs.get("r2").phase == "ABORTED"
    store.runs.forget(["r1"])
    with pytest.raises(NotFound):
        store.runs.get("r1")


def test_many_threads_and_two_stores_write_without_losing_anything(tmp_path, url):
    stores = [Store(tmp_path, url), Store(tmp_path, url)]
    errors = []

    def write(store: Store, name: str) -> None:
        try:
            for number in range(10):
                store.publish(name, [record(f"{name}.t", f"{name}{number}")], run=f"{name}{number}")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=write, args=(stores[number % 2], f"c{number}")) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert stores[0].version() == 40
    assert published(stores[1]) == {f"c{number}.t": f"c{number}9" for number in range(4)}
    for store in stores:
        store.close()


def test_a_newer_format_is_refused_and_an_older_one_upgraded(tmp_path, monkeypatch):
    Store(tmp_path).close()

    def format_is(value: str) -> None:
        with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
            raw.execute("UPDATE meta SET value = ? WHERE key = 'format'", (value,))
        raw.close()

    format_is(str(FORMAT + 1))
    with pytest.raises(
        StorageError, match=f"has format {FORMAT + 1}.*run the newer Hven that wrote it, or restore the backup"
    ):
        Store(tmp_path)
    format_is("x")
    with pytest.raises(StorageError, match="no Hven wrote"):
        Store(tmp_path)
    format_is("12")
    with pytest.raises(StorageError, match=r"has format 12 of a Hven before 0\.1\.0.*ingest again"):
        Store(tmp_path)
    format_is(str(FORMAT))
    steps = []
    monkeypatch.setattr(db, "FORMAT", FORMAT + 2)
    monkeypatch.setattr(db, "UPGRADES", {FORMAT: lambda _c: steps.append(1), FORMAT + 1: lambda _c: steps.append(2)})
    Store(tmp_path).close()
    Store(tmp_path).close()
    assert steps == [1, 2]


def test_a_store_of_the_format_before_becomes_what_a_new_one_is(tmp_path):
    def schema():
        with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
            found = set(raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")), set(raw.execute("SELECT * FROM meta"))  # fmt: skip
        raw.close()
        return found

    Store(tmp_path).close()
    fresh = schema()
    with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
        raw.execute("DROP TABLE descriptors")
        raw.execute("UPDATE meta SET value = '13' WHERE key = 'format'")
    raw.close()
    assert schema() != fresh
    Store(tmp_path).close()
    assert schema() == fresh


def test_what_was_published_later_is_newer_whatever_the_clock_said(store):
    """One run under 2039, one a day ahead, then the true time: what is pruned and gone back to follows the order of publications."""
    for ident in ("20390101-a", "20261122-b", "20261121-c", "19690101-d"):
        store.runs.begin(ident, "c")
        store.publish("c", [record("c.t", ident)], run=ident)
        store.runs.end(ident, "COMPLETED")
        store.prune("c", 3)
    assert [one.id for one in store.snapshots("c")] == ["19690101-d", "20261121-c", "20261122-b"]
    assert (store.runs.of("c")[0].id, store.runs.latest()["c"][0].id) == ("19690101-d", "19690101-d")
    assert store.rollback("c.t") == {"c.t": "20261121-c"}
    assert store.rollback("c") == {"c.t": "20261122-b"}
    store.prune("c", 2)
    # the published one stays
    assert {one.id for one in store.snapshots("c")} == {"19690101-d", "20261121-c", "20261122-b"}


def test_errors_of_the_database_are_told_in_plain_words(tmp_path):
    (tmp_path / "hven.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(StorageError, match=r"damaged.*restore it from a backup"):
        Store(tmp_path)
    with pytest.raises(StorageError, match="cannot be used"):
        Store(tmp_path, "nonsense")
    with pytest.raises(StorageError, match=r"unable to open.*check the owner"):
        Store(tmp_path, f"sqlite:///{tmp_path}/no/such/place.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        Store(tmp_path / "file" / "var")
