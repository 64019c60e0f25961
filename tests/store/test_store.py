"""The store: pointers move together, leases exclude, releases pin, old formats upgrade, newer ones are refused."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from hven.engines import Snapshot
from hven.model.errors import ConflictError, NotFoundError, StorageError
from hven.model.table import Column, Table
from hven.site.store import JobRecord, Lease, SnapshotRecord, StateStore
from hven.site.store import _database as db
from hven.site.store import _leases as leases
from hven.site.store._database import STATE_FORMAT
from hven.site.store._package_tables import are_package_tables_usable
from postgres_cluster import run_server
from process_runner import wait_until


@pytest.fixture(scope="session")
def address():
    with run_server() as found:
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
    opened = StateStore(tmp_path, url)
    yield opened
    opened.close()


def record(name: str, ident: str, run: str = "", rows: int = 3) -> SnapshotRecord:
    schema, _, table = name.partition(".")
    return SnapshotRecord(
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
        created=db.format_current_time(),
        provenance={"pins": [{"name": "x.csv"}]},
    )


def read_published_snapshots(store: StateStore) -> dict[str, str]:
    return store.read_published_snapshot_ids()[1]


def test_publishing_moves_all_tables_of_a_collection_and_counts_the_version(store):
    before = store.get_version()
    store.publish_collection("c", [record("c.a", "1a"), record("c.b", "1b")], run_id="r1")
    store.publish_collection("d", [record("d.a", "1d")], run_id="r2")
    assert store.get_version() == before + 2
    version, records = store.read_published_records()
    assert version == store.get_version()
    assert {name: item.id for name, item in records.items()} == {"c.a": "1a", "c.b": "1b", "d.a": "1d"}
    assert records["c.a"].snapshot.parts == (("0.arrow", 3),)
    # a table that is not named is published no more
    store.publish_collection("c", [record("c.a", "2a")], run_id="r3")
    assert read_published_snapshots(store) == {"c.a": "2a", "d.a": "1d"}


def test_a_record_comes_back_equal(store):
    given = record("c.a", "1a")
    store.publish_collection("c", [given], run_id="r1")
    assert store.get_record("1a") == given
    with pytest.raises(NotFoundError):
        store.get_record("nope")


def test_a_failing_publication_moves_nothing(store):
    store.publish_collection("c", [record("c.a", "1a")], run_id="r1")
    stranger = SnapshotRecord(
        snapshot=Snapshot(id="9", table="c.a", path="", rows=0),
        table=record("c.a", "9").table,
        collection="d",
        run="r",
        created="",
    )
    with pytest.raises(ConflictError, match="belongs to the collection c"):
        store.publish_collection("d", [record("d.x", "8"), stranger], run_id="r2")
    assert read_published_snapshots(store) == {"c.a": "1a"}
    with pytest.raises(NotFoundError):
        store.get_record("8")


def test_rollback_goes_back_step_by_step_and_forward_by_name(store):
    store.publish_collection("c", [record("c.a", "1a", "r1")], run_id="r1")
    store.publish_collection("c", [record("c.a", "2a", "r2"), record("c.b", "2b", "r2")], run_id="r2")
    store.publish_collection("c", [record("c.a", "3a", "r3"), record("c.b", "3b", "r3")], run_id="r3")
    assert store.roll_back("c") == {"c.a": "2a", "c.b": "2b"}
    assert store.roll_back("c") == {"c.a": "1a"}
    with pytest.raises(NotFoundError, match="no earlier state"):
        store.roll_back("c")
    assert store.roll_back("c", "3b") == {"c.a": "3a", "c.b": "3b"}
    assert store.roll_back("c", "r2") == {"c.a": "2a", "c.b": "2b"}
    assert store.roll_back("c.a", "1a") == {"c.a": "1a", "c.b": "2b"}
    with pytest.raises(NotFoundError, match="hven history c"):
        store.roll_back("c", "zzz")
    assert [event.action for event in store.list_publication_events("c")][:2] == ["rollback", "rollback"]
    assert read_published_snapshots(store) == {"c.a": "1a", "c.b": "2b"}


def test_remove_keeps_the_data_until_purge(store):
    store.publish_collection("c", [record("c.a", "1a")], run_id="r1")
    assert store.delete_unreferenced_snapshots("c") == []  # published snapshots are never purged
    assert store.unpublish_collection("c") == ["c.a"]
    assert read_published_snapshots(store) == {}
    assert [item.id for item in store.list_snapshots("c")] == ["1a"]
    assert [item.id for item in store.delete_unreferenced_snapshots("c")] == ["1a"]
    with pytest.raises(NotFoundError):
        store.unpublish_collection("c")


def test_pruning_keeps_published_and_pinned_snapshots(store):
    for number in range(1, 7):
        store.publish_collection("c", [record("c.a", f"{number}a")], run_id=f"r{number}")
        if number == 2:
            (made,) = store.releases.add_collection_releases("dr1", ["c"], "first")
            assert made.snapshots == {"c.a": "2a"}
    store.roll_back("c", "3a")
    gone = store.prune_snapshots("c", keep_count=2)
    assert sorted(item.id for item in gone) == ["1a", "4a"]
    assert store.releases.list_releases("c")[0].label == "dr1"
    with pytest.raises(ConflictError, match="never changes"):
        store.releases.add_collection_releases("dr1", ["c"])
    store.releases.remove_label("dr1", ["c"])
    assert [item.id for item in store.prune_snapshots("c", keep_count=2)] == ["2a"]
    with pytest.raises(NotFoundError):
        store.roll_back("c", "1a")


def test_a_lease_excludes_and_says_who_and_since_when(store):
    lease = store.leases.acquire_lease("ingest c", description="the ingest of c")
    with pytest.raises(
        ConflictError, match=rf"the ingest of c is already running: process {os.getpid()} on .* since {lease.since}"
    ):
        store.leases.acquire_lease("ingest c", description="the ingest of c")
    store.leases.acquire_lease("ingest d")
    store.leases.release_lease(lease)
    store.leases.acquire_lease("ingest c")


def test_nothing_is_rolled_back_or_removed_during_an_ingest(store):
    store.publish_collection("c", [record("c.a", "1a")], run_id="r1")
    store.publish_collection("c", [record("c.a", "2a")], run_id="r2")
    with store.leases.hold_lease("ingest c", description="the ingest of c"):
        for change in (store.roll_back, store.unpublish_collection):
            with pytest.raises(ConflictError, match="the ingest of c is already running: process"):
                change("c")
    store.roll_back("c")
    store.unpublish_collection("c")
    assert store.roll_back("c") == {"c.a": "1a"}  # what was removed comes back, not what was ingested last


def test_a_lease_runs_out(store):
    lease = store.leases.acquire_lease("x", duration_seconds=-1)
    other = store.leases.acquire_lease("x")
    with pytest.raises(ConflictError, match="lost"):
        store.leases.renew_lease(lease)
    store.leases.release_lease(lease)  # gives nothing of the other's back
    assert [item.since for item in store.leases.list_leases()] == [other.since]
    with pytest.raises(ConflictError, match="nothing was published"):
        store.publish_collection("c", [record("c.a", "1a")], run_id="r1", lease=lease)
    assert read_published_snapshots(store) == {}


def test_the_lease_of_a_dead_process_is_void_at_once(store):
    child = subprocess.run(
        [sys.executable, "-c", "from hven.site.store._leases import get_process_holder; print(get_process_holder())"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    dead = Lease(name="x", holder=child.stdout.strip(), since="", expires=time.time() + 1000)
    assert not dead.is_alive
    assert Lease(name="x", holder=leases.get_process_holder(), since="", expires=time.time() + 1000).is_alive
    elsewhere = "elsewhere " + child.stdout.strip().split(" ", 1)[1]
    assert Lease(name="x", holder=elsewhere, since="", expires=time.time() + 1000).is_alive


def test_a_held_lease_is_renewed(store):
    with store.leases.hold_lease("x", duration_seconds=1.5) as lease:
        # a machine that stalls lets it run out for a moment; as nobody has taken it, it is renewed then
        wait_until(lambda: [found for found in store.leases.list_leases() if found.expires > lease.expires])
    assert store.leases.list_leases() == []


def test_a_held_lease_may_be_waited_for(store):
    released = threading.Event()

    def hold():
        with store.leases.hold_lease("x"):
            started.set()
            refused.wait(60)
            time.sleep(0.3)  # the other waits by now
            released.set()

    started, refused = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    started.wait()
    with pytest.raises(ConflictError), store.leases.hold_lease("x"):
        pass
    refused.set()
    with store.leases.hold_lease("x", wait_seconds=60):
        assert released.is_set()
    thread.join()


def test_the_paths_of_all_kept_snapshots_are_known(store):
    store.publish_collection("c", [record("c.a", "1a")], run_id="r1")
    store.publish_collection("c", [record("c.a", "2a")], run_id="r2")
    store.unpublish_collection("c")
    assert store.list_kept_snapshot_paths() == {"c.a/1a", "c.a/2a"}
    store.delete_unreferenced_snapshots("c")
    assert store.list_kept_snapshot_paths() == set()


def test_runs_that_died_are_shown_as_aborted(store):
    store.runs.begin_run("r1", "c")
    store.runs.end_run("r1", "COMPLETED", summary={"rows": 3}, report="/x")
    store.runs.begin_run("r2", "c")
    first, second = reversed(store.runs.list_runs("c"))
    assert (first.phase, first.summary, second.phase) == ("COMPLETED", {"rows": 3}, "RUNNING")
    assert store.runs.abandon_unfinished_runs("c") == ["r2"]
    assert store.runs.get_run("r2").phase == "ABORTED"
    store.runs.delete_runs(["r1"])
    with pytest.raises(NotFoundError):
        store.runs.get_run("r1")


def test_many_threads_and_two_stores_write_without_losing_anything(tmp_path, url):
    stores = [StateStore(tmp_path, url), StateStore(tmp_path, url)]
    errors = []

    def write(store: StateStore, name: str) -> None:
        try:
            for number in range(10):
                store.publish_collection(name, [record(f"{name}.t", f"{name}{number}")], run_id=f"{name}{number}")
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=write, args=(stores[number % 2], f"c{number}")) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert stores[0].get_version() == 40
    assert read_published_snapshots(stores[1]) == {f"c{number}.t": f"c{number}9" for number in range(4)}
    for store in stores:
        store.close()


def test_a_newer_format_is_refused_and_an_older_one_upgraded(tmp_path, monkeypatch):
    StateStore(tmp_path).close()

    def format_is(value: str) -> None:
        with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
            raw.execute("UPDATE meta SET value = ? WHERE key = 'format'", (value,))
            raw.execute("DELETE FROM meta WHERE key = 'oldest format'")
        raw.close()

    format_is(str(STATE_FORMAT + 1))
    with pytest.raises(
        StorageError,
        match=f"has format {STATE_FORMAT + 1}.*run the newer version of Hven that wrote it, or restore the backup",
    ):
        StateStore(tmp_path)
    format_is("x")
    with pytest.raises(StorageError, match="which is not a format of Hven"):
        StateStore(tmp_path)
    format_is("12")
    with pytest.raises(StorageError, match=r"has format 12, which is older than Hven 0\.1\.0.*ingest again"):
        StateStore(tmp_path)
    format_is(str(STATE_FORMAT))
    steps = []
    monkeypatch.setattr(db, "STATE_FORMAT", STATE_FORMAT + 2)
    monkeypatch.setattr(
        db, "UPGRADE_STEPS", {STATE_FORMAT: lambda _c: steps.append(1), STATE_FORMAT + 1: lambda _c: steps.append(2)}
    )
    StateStore(tmp_path).close()
    StateStore(tmp_path).close()
    assert steps == [1, 2]


def test_jobs_of_format_14_get_the_column_of_their_request(tmp_path):
    older = StateStore(tmp_path)
    older.jobs.add_job(JobRecord(id="1", type="tap", queue="user a", duration=60, destruction="2030"))
    older.close()
    with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
        raw.execute("ALTER TABLE jobs DROP COLUMN request_id")
        raw.execute("UPDATE meta SET value = '14' WHERE key = 'format'")
    raw.close()
    newer = StateStore(tmp_path)
    newer.jobs.add_job(replace(newer.jobs.get_job("1"), id="2", request_id="r"))
    assert [newer.jobs.get_job(job_id).request_id for job_id in ("1", "2")] == [None, "r"]
    newer.close()


def become_newer_program(patch: pytest.MonkeyPatch, step, *, oldest_format: int) -> None:
    """Give this process another format, as a newer version of Hven has."""
    patch.setattr(db, "STATE_FORMAT", STATE_FORMAT + 1)
    patch.setattr(db, "OLDEST_FORMAT", oldest_format)
    patch.setattr(db, "UPGRADE_STEPS", {STATE_FORMAT: step})


def test_an_older_program_uses_a_store_that_a_newer_one_has_only_extended(tmp_path, monkeypatch):
    older = StateStore(tmp_path)
    older.publish_collection("c", [record("c.t", "1")], run_id="1")
    with older.leases.hold_lease("scheduler"), monkeypatch.context() as patch:  # a server of the older version runs
        become_newer_program(
            patch,
            lambda connection: connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN note TEXT"),
            oldest_format=STATE_FORMAT,
        )
        newer = StateStore(tmp_path)
        newer.publish_collection("c", [record("c.t", "2")], run_id="2")
        newer.close()
    older.runs.begin_run("r", "c")
    older.publish_collection("c", [record("c.t", "3")], run_id="r")
    assert read_published_snapshots(older) == {"c.t": "3"}
    older.close()
    StateStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
        meta_values = dict(raw.execute("SELECT key, value FROM meta"))
    raw.close()
    assert (meta_values["format"], meta_values["oldest format"]) == (str(STATE_FORMAT + 1), str(STATE_FORMAT))


def test_an_upgrade_that_older_programs_could_not_use_waits_for_their_end(tmp_path, monkeypatch):
    older = StateStore(tmp_path)
    steps = []
    with older.leases.hold_lease("scheduler", description="the schedule of this site"):
        with monkeypatch.context() as patch:
            become_newer_program(patch, steps.append, oldest_format=STATE_FORMAT + 1)
            with pytest.raises(
                ConflictError, match=r"process \d+ on .* \(the schedule of this site\) uses it now.*stop the servers"
            ):
                StateStore(tmp_path)
        assert steps == []
        assert older.get_version() == 0
    with monkeypatch.context() as patch:
        become_newer_program(patch, steps.append, oldest_format=STATE_FORMAT + 1)
        StateStore(tmp_path).close()
        StateStore(tmp_path).close()
    assert len(steps) == 1
    with pytest.raises(StorageError, match="another version of Hven has changed the format"):
        older.get_version()
    older.close()


def test_tables_of_packages_are_extended_in_the_same_way() -> None:
    own = json.dumps({"format": 2, "tables": ["uses"]})
    later = {"format": 3, "tables": ["uses", "more"], "oldest": 2}
    assert are_package_tables_usable(own, own)
    assert are_package_tables_usable(json.dumps(later), own)
    for difference in ({"oldest": 3}, {"tables": ["more"]}, {"format": 1, "oldest": 1}):
        assert not are_package_tables_usable(json.dumps(later | difference), own)
    assert not are_package_tables_usable(json.dumps({"format": 3, "tables": ["uses"]}), own)
    assert not are_package_tables_usable(None, own)


def test_a_store_of_an_earlier_format_becomes_what_a_new_one_is(tmp_path):
    def schema():
        with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
            objects = list(raw.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name != 'jobs'"))
            columns = list(raw.execute("PRAGMA table_info(jobs)"))  # SQLite writes an added column behind the key
            found = set(objects), columns, set(raw.execute("SELECT * FROM meta"))
        raw.close()
        return found

    StateStore(tmp_path).close()
    fresh = schema()
    with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
        raw.execute("DROP TABLE descriptors")
        raw.execute("ALTER TABLE jobs DROP COLUMN request_id")
        raw.execute("DELETE FROM meta WHERE key = 'oldest format'")
        raw.execute("UPDATE meta SET value = '13' WHERE key = 'format'")
    raw.close()
    assert schema() != fresh
    StateStore(tmp_path).close()
    assert schema() == fresh


def test_what_was_published_later_is_newer_whatever_the_clock_said(store):
    """One run under 2039, one a day ahead, then the true time: what is pruned and gone back to follows the order of publications."""
    for ident in ("20390101-a", "20261122-b", "20261121-c", "19690101-d"):
        store.runs.begin_run(ident, "c")
        store.publish_collection("c", [record("c.t", ident)], run_id=ident)
        store.runs.end_run(ident, "COMPLETED")
        store.prune_snapshots("c", 3)
    assert [one.id for one in store.list_snapshots("c")] == ["19690101-d", "20261121-c", "20261122-b"]
    assert (store.runs.list_runs("c")[0].id, store.runs.find_latest_runs()["c"][0].id) == ("19690101-d", "19690101-d")
    assert store.roll_back("c.t") == {"c.t": "20261121-c"}
    assert store.roll_back("c") == {"c.t": "20261122-b"}
    store.prune_snapshots("c", 2)
    # the published one stays
    assert {one.id for one in store.list_snapshots("c")} == {"19690101-d", "20261121-c", "20261122-b"}


def test_errors_of_the_database_are_told_in_plain_words(tmp_path):
    (tmp_path / "hven.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(StorageError, match=r"damaged.*restore the system state from a backup"):
        StateStore(tmp_path)
    with pytest.raises(StorageError, match="cannot be used"):
        StateStore(tmp_path, "nonsense")
    with pytest.raises(StorageError, match=r"unable to open.*make its disk writable again, or check the owner"):
        StateStore(tmp_path, f"sqlite:///{tmp_path}/no/such/place.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be created"):
        StateStore(tmp_path / "file" / "var")
