"""Sources that go away, disks that are full, ledgers that are lost, rollbacks: what was published stays, and the next run is right."""

from __future__ import annotations

import errno
import json
import os
from types import SimpleNamespace

import pytest

from hven import query
from hven.engines.duckdb import snapshot_merging
from hven.ingest import _disk_space as disk_space
from hven.ingest import _ledger as ledgers
from hven.ingest._ledger import LedgerWriter
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import change_sets, sync_collection
from hven.model.errors import ChangeLimitExceededError, ConflictError, DataError, SourceError, StorageError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven
from sync_states import read_sync_states

TEXT = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "*.csv"}
    primary: id
    sync: {}
    columns: {id: int32, name: string, mag: {type: float64, maximum: 90}}
"""


def rows(site):
    with query.run_query("SELECT * FROM stars.main ORDER BY id", OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


@pytest.fixture
def stars(tmp_path):
    files = {
        f"{name}.csv": f"id,name,mag\n{n},{name},1.5\n{n + 1},{name},2.5\n"
        for n, name in ((1, "a"), (11, "b"), (21, "c"))
    }
    with open_site_with_uningested_files(tmp_path, TEXT, files) as site:
        (tmp_path / "hven.toml").write_text("")
        ingest_collection(site, "stars")
        yield site, tmp_path / "collections" / "stars"


def leftovers(site):
    return list((site.settings.var_directory / "sync").rglob("*.writing")) + list(
        (site.settings.var_directory / "snapshots").rglob("*.staging")
    )


def test_files_one_by_one(stars):
    site, place = stars
    (place / "b.csv").write_text("id,name,mag\n11,b,1.5\n12,bb,2.5\n")
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")
    (place / "c.csv").unlink()
    change = sync_collection(site, "stars").changes["stars.main"]
    assert (change.how, change.read, change.mapped) == ("2 of 3 files", 3, 2)
    assert (change.added, change.changed, change.removed) == (1, 1, 2)
    assert [row[0] for row in rows(site)] == [1, 2, 11, 12, 31]
    pins = site.store.read_published_records()[1]["stars.main"].provenance["pins"]
    assert [pin["name"].rpartition("/")[2] for pin in pins] == ["a.csv", "b.csv", "d.csv"]
    assert all(pin["sha256"] for pin in pins)
    (place / "a.csv").rename(place / "e.csv")
    assert not sync_collection(site, "stars").has_changes
    assert not sync_collection(site, "stars").has_changes  # the rows are known to be in the file of the other name
    (state,) = (
        one
        for snapshot, one in read_sync_states(site, "stars").items()
        if snapshot == site.store.read_published_snapshot_ids()[1]["stars.main"]
    )
    assert sorted(name for _, name in state["files"]) == ["b.csv", "d.csv", "e.csv"]
    assert not sync_collection(site, "stars").has_changes
    (again,) = (
        one
        for snapshot, one in read_sync_states(site, "stars").items()
        if snapshot == site.store.read_published_snapshot_ids()[1]["stars.main"]
    )
    assert again["ledger"] == state["ledger"]  # nothing to write
    (place / "e.csv").unlink()
    assert sync_collection(site, "stars", accept_changes=True).changes["stars.main"].removed == 2


def test_a_file_that_looks_as_before(stars):
    site, place = stars
    path = place / "stars.yaml"
    path.write_text(path.read_text().replace("sync: {}", "sync: {full: 1 d}"))
    sync_collection(site, "stars")
    status = (place / "a.csv").stat()
    (place / "a.csv").write_text("id,name,mag\n1,x,1.5\n2,a,2.5\n")
    os.utime(place / "a.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not sync_collection(site, "stars").has_changes
    ((snapshot, state),) = read_sync_states(site, "stars").items()
    site.store.syncs.save_sync_state(snapshot, "stars.main", "stars", {**state, "full": "2026-01-01T00:00:00Z"})
    change = sync_collection(site, "stars").changes["stars.main"]
    assert (change.changed, change.how) == (1, "everything")


def test_a_missing_source_leaves_the_published_rows(stars):
    site, place = stars
    before = rows(site)
    for path in place.glob("*.csv"):
        path.unlink()
    with pytest.raises(SourceError):
        sync_collection(site, "stars")
    assert rows(site) == before
    assert site.store.runs.list_runs("stars")[0].phase == "ERROR"


def test_a_full_disk(stars, monkeypatch):
    site, place = stars
    before = rows(site)
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")

    def full(*_, **__):
        raise StorageError("the ledger cannot be written: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(LedgerWriter, "write_lines", full)
        with pytest.raises(StorageError, match="No space left"):
            sync_collection(site, "stars")
    with monkeypatch.context() as patched:
        patched.setattr(change_sets, "store_change_set", full)
        with pytest.raises(StorageError, match="No space left"):
            sync_collection(site, "stars")
    assert rows(site) == before
    assert not leftovers(site)
    assert sync_collection(site, "stars").changes["stars.main"].added == 1


def test_a_snapshot_that_takes_no_changes_is_computed_anew(stars):
    """Its rows have another order than the table wants now (an older version wrote it): told, and mended by the run."""
    site, place = stars
    (path,) = (site.settings.var_directory / "snapshots").glob("*/*/snapshot.json")
    said = json.loads(path.read_text())
    assert said["order"] == "id"
    path.chmod(0o644)
    path.write_text(json.dumps({**said, "order": "mag"}))
    site.embedded_engine._open_snapshots.clear()
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")
    report = sync_collection(site, "stars")
    change = report.changes["stars.main"]
    assert (change.added, change.changed, change.removed) == (1, 0, 0)
    assert "rows in a different order" in change.why
    assert change.why in report.format_text()
    assert len(rows(site)) == 7
    assert not leftovers(site)
    (place / "e.csv").write_text("id,name,mag\n41,d,1.5\n")
    change = sync_collection(site, "stars").changes["stars.main"]
    assert (change.why, change.added, change.mapped) == (None, 1, 1)


def test_a_disk_that_is_full_during_the_merge(stars, monkeypatch):
    site, place = stars
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")
    before = rows(site)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_merging, "write_ipc_file", full)
        with pytest.raises(StorageError, match="disk is full"):
            sync_collection(site, "stars")
    assert rows(site) == before
    assert not leftovers(site)
    assert sync_collection(site, "stars").changes["stars.main"].why is None


def test_a_sync_asks_for_the_room_that_it_takes(stars, monkeypatch):
    site, place = stars
    before = rows(site)
    taken = site.store.read_published_records()[1]["stars.main"].snapshot.bytes
    free = [10**12]
    asked = []

    def usage(path):
        asked.append(path)
        return SimpleNamespace(free=free[0])

    monkeypatch.setattr(disk_space.shutil, "disk_usage", usage)
    monkeypatch.setattr(ledgers, "measure_ledger_bytes", lambda *_: 10)  # of so few rows it is larger than they are
    # nothing changed: a whole snapshot has no room, a ledger has
    free[0] = taken - 1
    sync_collection(site, "stars")
    assert asked
    # changes have none: the old state stays, and the words name what is missing
    (place / "b.csv").write_text("id,name,mag\n11,b,1.5\n12,bb,2.5\n")
    with pytest.raises(StorageError, match=r"stars needs about .* are free.*keep_snapshots.*stay as they are"):
        sync_collection(site, "stars")
    assert rows(site) == before
    assert leftovers(site) == []
    # what is computed as a whole asks for the whole
    free[0] = 2 * taken - 1
    text = (place / "stars.yaml").read_text()
    (place / "stars.yaml").write_text(text.replace("Stars", "All stars"))
    site.refresh_published_state()
    with pytest.raises(StorageError, match="needs about"):
        sync_collection(site, "stars")
    (place / "stars.yaml").write_text(text)
    site.refresh_published_state()
    free[0] = 10**12
    sync_collection(site, "stars")
    assert [row[1] for row in rows(site)].count("bb") == 1


def test_a_source_without_rows_is_not_published(stars):
    site, place = stars
    before = rows(site)
    for path in place.glob("*.csv"):
        path.write_text("id,name,mag\n")
    with pytest.raises(
        ChangeLimitExceededError,
        match=r"nothing was published, because stars\.main would be empty: the source has no rows; .* --accept",
    ):
        sync_collection(site, "stars")
    assert rows(site) == before
    told = run_hven("status", "--site", site.settings.directory).stdout
    assert "failed: stars (last run " in told
    assert "would be empty" in told
    assert sync_collection(site, "stars", accept_changes=True).changes["stars.main"].removed == 6
    assert rows(site) == []
    assert "failed: stars" not in run_hven("status", "--site", site.settings.directory).stdout
    for path in place.glob("*.csv"):
        path.write_text("id,name,mag\n1,a,1.5\n")
        break
    sync_collection(site, "stars")
    assert len(rows(site)) == 1


def test_a_dry_run_says_which_files_it_reads(stars):
    site, place = stars
    (place / "b.csv").write_text("id,name,mag\n11,b,1.5\n12,bb,2.5\n")
    tried = sync_collection(site, "stars", dry_run=True).changes["stars.main"]
    done = sync_collection(site, "stars").changes["stars.main"]
    assert (tried.how, tried.read, tried.changed) == (done.how, done.read, done.changed) == ("1 of 3 files", 2, 1)


def test_what_changes_take() -> None:
    part = disk_space.CHANGED_PART_BYTES
    assert disk_space.estimate_merge_bytes(100 * part, row_count=0, written_bytes=0) == 0
    assert (
        disk_space.estimate_merge_bytes(100 * part, row_count=3, written_bytes=7) == 14 + 3 * part
    )  # each falls into a part of its own, at worst
    assert (
        disk_space.estimate_merge_bytes(100 * part, row_count=10**6, written_bytes=7) == 14 + 100 * part
    )  # never more than everything


def test_rows_that_lie_on_another_disk(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with open_site_with_uningested_files(
        tmp_path, TEXT, {"a.csv": "id,name,mag\n1,a,1.5\n"}, data=str(elsewhere)
    ) as site:
        kinds = {site.settings.var_directory: 1, elsewhere: 2}
        monkeypatch.setattr(
            type(elsewhere), "stat", lambda self, **_: SimpleNamespace(st_dev=kinds.get(self), st_mode=0o40755)
        )
        assert disk_space._divide_bytes_by_disk(site, 200, 100) == [
            (elsewhere, 100),
            (site.settings.var_directory, 100),
        ]
        assert disk_space._divide_bytes_by_disk(site, 30, 30) == [(elsewhere, 30), (site.settings.var_directory, 0)]
        kinds[elsewhere] = 1
        assert disk_space._divide_bytes_by_disk(site, 200, 100) == [(site.settings.var_directory, 200)]
        monkeypatch.undo()


def test_rejected_rows_count_as_in_an_ingest(stars):
    site, place = stars
    (place / "d.csv").write_text("id,name,mag\n" + "".join(f"{n},d,99\n" for n in range(31, 50)))
    with pytest.raises(
        DataError, match=r"19 of 25 rows of stars\.main were rejected, more than the limit of 50%"
    ) as one:
        sync_collection(site, "stars")
    with pytest.raises(DataError) as two:
        ingest_collection(site, "stars")
    assert one.value.message.partition(";")[0] == two.value.message.partition(";")[0]
    (place / "d.csv").write_text("id,name,mag\n31,d,99\n")
    report = sync_collection(site, "stars")
    assert (report.has_changes, report.tables["stars.main"].rejected) == (False, 1)
    assert "kept aside" in report.format_text()
    assert sync_collection(site, "stars").tables["stars.main"].rejected == 1  # it is known, and not looked at again


def test_rows_that_cannot_be_read_are_counted_on(stars):
    site, place = stars
    (place / "d.csv").write_text(
        "id,name,mag\n" + "".join(f"{n},d,1.5\n" for n in range(31, 60)) + "60,d,1.5,4,5\n61,d,1.5,4,5\n"
    )
    report = sync_collection(site, "stars").tables["stars.main"]
    (place / "a.csv").write_text("id,name,mag\n1,a,1.5\n2,a,2.25\n")
    again = sync_collection(site, "stars").tables["stars.main"]
    assert (again.read, again.rejected) == (report.read, report.rejected) == (37, 2)
    found = ingest_collection(site, "stars").tables["stars.main"]
    assert (found.read, found.rejected, found.published) == (again.read, again.rejected, again.published)


def test_a_rollback_finds_the_older_ledger(stars):
    site, place = stars
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")
    sync_collection(site, "stars")
    after = rows(site)
    site.store.roll_back("stars")
    site.refresh_published_state()
    assert len(rows(site)) == 6
    change = sync_collection(site, "stars").changes["stars.main"]
    assert (change.why, change.added, change.how) == (None, 1, "1 of 4 files")
    assert rows(site) == after


@pytest.mark.parametrize("how", ["gone", "damaged", "empty"])
def test_a_ledger_that_is_lost(stars, how):
    site, place = stars
    (path,) = (site.settings.var_directory / "sync" / "ledgers" / "stars.main").glob("*.arrow")
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100] if how == "damaged" else b"")
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")
    change = sync_collection(site, "stars").changes["stars.main"]
    assert (change.why, change.added) == ("the ledger is lost", 1)
    (place / "e.csv").write_text("id,name,mag\n41,d,1.5\n")
    assert sync_collection(site, "stars").changes["stars.main"].why is None


def test_ledgers_go_with_their_snapshots(stars):
    site, place = stars
    for n in range(31, 36):
        (place / f"d{n}.csv").write_text(f"id,name,mag\n{n},d,1.5\n")
        sync_collection(site, "stars")
    sync_collection(site, "stars")
    kept = {record.id for record in site.store.list_snapshots("stars")}
    ledgers = {
        path.name.partition(".")[0]
        for path in (site.settings.var_directory / "sync" / "ledgers" / "stars.main").iterdir()
    }
    assert ledgers == kept
    assert read_sync_states(site, "stars").keys() == kept


def test_an_edit_of_the_descriptor_computes_everything_once(stars):
    site, place = stars
    text = (place / "stars.yaml").read_text()
    (place / "stars.yaml").write_text(text.replace("title: Stars", "title: Other stars"))
    report = sync_collection(site, "stars")
    assert (report.has_changes, report.changes["stars.main"].why) == (False, "stars.yaml changed")
    assert sync_collection(site, "stars").changes["stars.main"].why is None
    (place / "stars.yaml").write_text(text.replace("sync: {}", "sync: {}\n    map: {mag: mag + 1}"))
    assert sync_collection(site, "stars", accept_changes=True).changes["stars.main"].changed == 6
    (place / "stars.yaml").write_text(
        text.replace("name: string", "name: string, more: int32").replace("sync: {}", "sync: {}\n    map: {more: id}")
    )
    assert sync_collection(site, "stars").changes["stars.main"].new


def test_one_at_a_time(stars):
    site, _ = stars
    with (
        site.store.leases.hold_lease("ingest stars", description="the sync of stars"),
        pytest.raises(ConflictError, match=r"the sync of stars is already running: process \d+"),
    ):
        sync_collection(site, "stars")


def test_what_is_purged_leaves_nothing(stars):
    site, place = stars
    (place / "d.csv").write_text("id,name,mag\n31,d,1.5\n")
    sync_collection(site, "stars")
    assert list((site.settings.var_directory / "sync").glob("*/stars.main"))
    run_hven("remove", "stars", "--purge", "--site", place.parent.parent)
    assert not list((site.settings.var_directory / "sync").glob("*/stars.main"))
