"""Published data is what was published: what is damaged on disk is found, and served no more."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hven import query
from hven.engines import Snapshot
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.jobs import snapshot_verification
from hven.jobs.health import SiteHealthMonitor
from hven.model import settings
from hven.model.errors import StorageError, StorageUnavailableError
from hven.site import Site
from hven.site.auth import Principal
from plugin_needs import load_core_fixtures, require_core_fixtures
from process_runner import wait_until
from shared import EXAMPLES_FACTOR

TABLE = """\
collection: {name}
title: {name}
tables:
  main:
    primary: [id]
    position: [ra, dec]
    source: {{kind: csv, files: rows.csv}}
    columns: {{id: {{type: int32}}, ra: {{type: float64, unit: deg}}, dec: {{type: float64, unit: deg}}, name: {{type: text, indexed: true}}}}
  other:
    primary: [id]
    source: {{kind: csv, files: others.csv}}
    columns: {{id: {{type: int32}}}}
"""
SUM = "SELECT COUNT(*) AS n, MAX(name) AS latest FROM a.main"


def write(place: Path, rows: int, others: int = 3) -> None:
    home = place / "collections" / "a"
    home.mkdir(parents=True, exist_ok=True)
    (home / "a.yaml").write_text(TABLE.format(name="a"))
    lines = [f"{number},{number % 360},{number % 90},star {number:05d}" for number in range(rows)]
    (home / "rows.csv").write_text("\n".join(["id,ra,dec,name", *lines]) + "\n")
    (home / "others.csv").write_text("\n".join(["id", *map(str, range(others))]) + "\n")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    site = settings.create_site_directory(tmp_path / "site")
    shutil.rmtree(site / "collections", ignore_errors=True)
    write(site, 1000)
    return site


@pytest.fixture
def site(place: Path) -> Iterator[Site]:
    with Site(settings.load_settings(place)) as made:
        ingest_collection(made, "a")
        made.refresh_published_state()
        yield made


def test_what_is_removed_while_it_is_verified_is_not_damaged(site: Site) -> None:
    records = list(site.store.read_published_records()[1].values())

    def remove_collection(_: int) -> None:  # by a move, a purge, a prune: the state forgets first, then the files go
        if (site.engines.embedded_engine.directory / records[0].snapshot.path).exists():
            site.store.unpublish_collection("a")
            site.engines.drop_snapshots_and_list_problems(site.store.delete_unreferenced_snapshots("a"))

    assert (
        snapshot_verification.verify_snapshots_and_record_results(
            site.settings, site.store, site.engines, records, limit_rate=remove_collection
        )
        == []
    )
    assert not site.store.verifications.map_verifications_of_damaged()


def rows(site: Site, text: str = SUM) -> list[dict[str, object]]:
    result = query.run_query(text, site=site)
    try:
        return [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    finally:
        result.close()


def get_current_snapshot(site: Site, table: str = "a.main") -> Snapshot:
    relation = site.refresh_published_state().tables_by_name[table].relation
    assert isinstance(relation, Snapshot)
    return relation


def files(site: Site, snapshot: Snapshot) -> list[Path]:
    return sorted(
        path
        for path in (site.settings.data_directory / "snapshots" / snapshot.path).iterdir()
        if not path.name.startswith(".")
    )


def flip(path: Path, bit: int) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def verify(site: Site) -> list[str]:
    """Verify what is kept; give the damaged snapshots."""
    found = snapshot_verification.verify_snapshots_and_record_results(
        site.settings, site.store, site.engines, snapshot_verification.list_all_snapshot_records(site.store)
    )
    site.refresh_published_state()
    return [one.snapshot for one in found if one.faults]


def test_what_is_as_it_was_published_is_told_so(site: Site) -> None:
    assert not verify(site)
    assert set(site.store.verifications.list_verifications()) == {
        get_current_snapshot(site).id,
        get_current_snapshot(site, "a.other").id,
    }
    assert all(one.bytes > 0 and not one.unknown for one in site.store.verifications.list_verifications().values())
    assert snapshot_verification.find_snapshots_to_verify(site.settings, site.store) == ([], False)


def test_each_flipped_bit_is_found_and_nothing_of_it_served(site: Site) -> None:
    chance = random.Random(7)
    before = get_current_snapshot(site)
    found = files(site, before)
    assert {path.suffix for path in found} == {".arrow", ".npy", ".json"}
    for number in range(1000 if EXAMPLES_FACTOR > 1 else 25):
        path = found[number % len(found)]
        bit = chance.randrange(path.stat().st_size * 8)
        flip(path, bit)
        assert verify(site) == [before.id], (path, bit)
        with pytest.raises(StorageUnavailableError, match=r"the rows of a\.main are damaged"):
            rows(site)
        assert rows(site, "SELECT COUNT(*) AS n FROM a.other") == [{"n": 3}]
        flip(path, bit)
        assert not verify(site)
        assert rows(site) == [{"n": 1000, "latest": "star 00999"}]


def test_the_last_good_publication_is_served_whole_and_an_ingest_mends_it(site: Site) -> None:
    old, old_other = get_current_snapshot(site), get_current_snapshot(site, "a.other")
    write(site.settings.directory, 1200, others=5)
    ingest_collection(site, "a")
    new = get_current_snapshot(site)
    version = site.get_published_state().version
    assert rows(site) == [{"n": 1200, "latest": "star 01199"}]
    flip(files(site, new)[0], 12345)
    assert verify(site) == [new.id]
    # what was published together goes back together
    assert (get_current_snapshot(site).id, get_current_snapshot(site, "a.other").id) == (old.id, old_other.id)
    assert rows(site) == [{"n": 1000, "latest": "star 00999"}]
    assert rows(site, "SELECT COUNT(*) AS n FROM a.other") == [{"n": 3}]
    # and what is served instead is read before all else, should it not have been
    assert snapshot_verification.find_snapshots_to_verify(site.settings, site.store) == ([], False)
    site.store.verifications.request_full_verification()
    assert {old.id, new.id} < {
        record.id for record in snapshot_verification.find_snapshots_to_verify(site.settings, site.store)[0]
    }
    assert site.get_published_state().version != version  # what readers keep of before is not taken for this
    (damage,) = site.get_published_state().damages
    assert (damage.table, damage.snapshot, damage.served_snapshot) == ("a.main", new.id, old.id)
    assert f"the snapshot {old.id} is served instead; to restore the rows, run `hven ingest a`" in damage.owner_message
    (told,) = site.store.schedules.list_alerts()
    assert (told.kind, told.collection) == ("damaged", "a")
    assert (
        "published rows of a.main are damaged (00000.arrow: its rows differ from those that were written)"
        in told.message
    )
    health = SiteHealthMonitor(site)
    checks = {check.name: check for check in health.run_health_checks(health.get_status(wait_seconds=None))}
    assert checks["holdings"].state == "warning"
    assert health.get_status(wait_seconds=None).collections[0].damaged == ("a.main",)
    infos = {info.name: info.value for info in query.run_query(SUM, site=site).origins}
    assert infos["data_warning"] == f"a.main: newer rows ({new.id}) are damaged; these are the last good ones"

    assert not verify_again(site)  # an alert comes once
    ingest_collection(site, "a")
    assert rows(site) == [{"n": 1200, "latest": "star 01199"}]
    assert not site.get_published_state().damages


DERIVED = """\
collection: b
title: b
tables:
  sums:
    primary: [id]
    source: {kind: query, adql: "SELECT id, ra + dec AS total FROM a.main"}
    columns: {id: {type: int32}, total: {type: float64}}
"""


def test_what_was_made_from_it_goes_back_with_it(site: Site) -> None:
    home = site.settings.directory / "collections" / "b"
    home.mkdir()
    (home / "b.yaml").write_text(DERIVED)
    ingest_collection(site, "b")
    old, old_sums = get_current_snapshot(site), get_current_snapshot(site, "b.sums")
    write(site.settings.directory, 1200)
    sync_collection(site, "a")  # and b with it, in one publication
    new, sums = get_current_snapshot(site), get_current_snapshot(site, "b.sums")
    assert sums.rows == 1200
    flip(files(site, new)[0], 4321)
    assert verify(site) == [new.id]
    assert (get_current_snapshot(site).id, get_current_snapshot(site, "b.sums").id) == (old.id, old_sums.id)
    assert rows(site, "SELECT COUNT(*) AS n FROM b.sums") == [{"n": 1000}]
    flip(files(site, new)[0], 4321)  # a replica's file in its place
    assert not verify(site)
    assert (get_current_snapshot(site).id, get_current_snapshot(site, "b.sums").id) == (new.id, sums.id)


def test_a_readers_own_table_is_verified_too(site: Site, tmp_path: Path) -> None:
    require_core_fixtures("USER_TABLES")
    user_tables = load_core_fixtures("USER_TABLES")
    site.store.users.add_account("anna")
    anna = Principal(name="anna")
    given = tmp_path / "mine.csv"
    given.write_text("n,word\n1,one\n2,two\n")
    user_tables["store"](site, anna, "mine", given)

    def mine() -> list[dict[str, object]]:
        with contextlib.closing(
            query.run_query("SELECT n, word FROM tap_user.mine", principal=anna, site=site)
        ) as result:
            return [row for batch in result.iterate_batches() for row in batch.to_pylist()]

    kept = user_tables["find"](site, anna, "mine").snapshot
    assert kept.id in {
        record.id for record in snapshot_verification.find_snapshots_to_verify(site.settings, site.store)[0]
    }
    assert not verify(site)
    assert kept.id in site.store.verifications.list_verifications()
    part = next(path for path in files(site, kept) if path.suffix == ".arrow")
    flip(part, part.stat().st_size * 4)
    assert verify(site) == [kept.id]
    with pytest.raises(StorageUnavailableError, match=r"the rows of tap_user\.mine are damaged"):
        mine()
    assert rows(site) == [{"n": 1000, "latest": "star 00999"}]
    user_tables["store"](site, anna, "mine", given)
    assert [row["n"] for row in mine()] == [1, 2]
    user_tables["delete"](site, anna, "mine")
    assert set(site.store.verifications.list_verifications()) == {
        get_current_snapshot(site).id,
        get_current_snapshot(site, "a.other").id,
    }


def verify_again(site: Site) -> int:
    before = len(site.store.schedules.list_alerts())
    verify(site)
    return len(site.store.schedules.list_alerts()) - before


def test_a_sync_makes_damaged_rows_anew_although_its_source_is_the_same(site: Site) -> None:
    sync_collection(site, "a")
    damaged = get_current_snapshot(site)
    flip(files(site, damaged)[-1], 999)
    assert verify(site) == [damaged.id]
    sync_collection(site, "a")
    assert get_current_snapshot(site).id != damaged.id
    assert rows(site) == [{"n": 1000, "latest": "star 00999"}]


def test_a_damaged_part_that_snapshots_share_is_served_by_none_of_them(site: Site) -> None:
    sync_collection(site, "a")
    home = site.settings.directory / "collections" / "a"
    (home / "rows.csv").write_text((home / "rows.csv").read_text())
    first = get_current_snapshot(site)
    second = site.embedded_engine.stage_merge(
        site.get_published_state().tables_by_name["a.main"].table, "20990101T000000-0000", first
    ).finish()
    record = site.store.get_record(first.id)
    others = [one for one in site.store.read_published_records()[1].values() if one.id != first.id]
    site.store.publish_collection("a", [replace(record, snapshot=second), *others], run_id="later")
    assert get_current_snapshot(site).id == second.id
    part = files(site, second)[0]
    assert part.stat().st_nlink == 2
    flip(part, 4000)
    found = snapshot_verification.verify_snapshots_and_record_results(
        site.settings, site.store, site.engines, [site.store.get_record(second.id)]
    )
    assert [one.snapshot for one in found if one.faults] == [second.id]
    assert set(site.store.verifications.map_verifications_of_damaged()) == {first.id, second.id}
    site.refresh_published_state()
    with pytest.raises(StorageUnavailableError, match="are damaged"):
        rows(site)


def test_nothing_new_is_made_of_what_is_damaged(site: Site) -> None:
    first = get_current_snapshot(site)
    part = files(site, first)[0]
    flip(part, part.stat().st_size * 4)
    table = site.get_published_state().tables_by_name["a.main"].table
    staging = site.embedded_engine.stage_merge(table, "20990101T000000-0000", first)
    fresh = pa.table({"id": [5], "ra": [1.0], "dec": [2.0], "name": ["new"]}).cast(table.arrow_schema)
    staging.write(fresh.to_batches()[0])
    with pytest.raises(StorageError, match=r"00000\.arrow is damaged"):
        staging.finish()
    assert len(list((site.settings.data_directory / "snapshots" / "a.main").iterdir())) == 1


@pytest.mark.parametrize("trouble", [errno.EACCES, errno.EMFILE, errno.ENOMEM])
def test_what_cannot_be_read_now_is_not_damaged(site: Site, monkeypatch: pytest.MonkeyPatch, trouble: int) -> None:
    """Rights that are lost, no open files left: nothing is said of the rows, and all is well again without a word of anybody."""
    record = site.store.get_record(get_current_snapshot(site).id)
    with monkeypatch.context() as patch:

        def refusing(usual: Any) -> Any:
            def call(path: Path, *args: Any, **more: Any) -> Any:
                if "snapshots" in path.parts:
                    raise OSError(trouble, os.strerror(trouble))
                return usual(path, *args, **more)

            return call

        for name in ("open", "stat", "read_text"):
            patch.setattr(Path, name, refusing(getattr(Path, name)))
        with pytest.raises(StorageUnavailableError, match="cannot be read at the moment"):
            snapshot_verification.verify_snapshots_and_record_results(site.settings, site.store, site.engines, [record])
        with pytest.raises(StorageUnavailableError, match="cannot be read at the moment"):
            site.embedded_engine.open_snapshot(record.snapshot)
        assert site.embedded_engine.find_missing_or_resized_file(record.snapshot) is None
    assert site.store.verifications.map_verifications_of_damaged() == {}
    assert site.embedded_engine.file_faults == {}
    assert rows(site) == [{"n": 1000, "latest": "star 00999"}]


@pytest.mark.parametrize("how", ["cut", "gone", "other"])
def test_a_file_that_is_cut_off_or_missing_is_noticed_without_reading_and_well_again_when_it_is_back(
    site: Site, how: str
) -> None:
    old = get_current_snapshot(site)
    write(site.settings.directory, 1200)
    ingest_collection(site, "a")
    new = get_current_snapshot(site)
    assert rows(site) == [{"n": 1200, "latest": "star 01199"}]  # it is mapped
    path = files(site, new)[0]
    aside = path.with_name("aside")
    path.rename(aside)
    if how == "cut":
        path.write_bytes(aside.read_bytes()[:4096])
    elif how == "other":
        shutil.copy(files(site, old)[0], path)
    site.check_snapshot_files_and_refresh()
    assert get_current_snapshot(site).id == old.id
    assert rows(site) == [{"n": 1000, "latest": "star 00999"}]
    aside.replace(path)
    site.check_snapshot_files_and_refresh()
    assert get_current_snapshot(site).id == new.id
    assert rows(site) == [{"n": 1200, "latest": "star 01199"}]


def test_the_part_of_another_snapshot_of_the_same_size_is_found(site: Site) -> None:
    old = get_current_snapshot(site)
    home = site.settings.directory / "collections" / "a"
    (home / "rows.csv").write_text((home / "rows.csv").read_text().replace("star 00500", "star 0050x"))
    ingest_collection(site, "a")
    new = get_current_snapshot(site)
    (here, there) = files(site, new)[0], files(site, old)[0]
    assert here.stat().st_size == there.stat().st_size
    here.unlink()
    shutil.copy(there, here)
    assert verify(site) == [new.id]
    # with its list of files, too
    shutil.copy(there.parent / "snapshot.json", here.parent / "snapshot.json.new")
    (here.parent / "snapshot.json.new").replace(here.parent / "snapshot.json")
    assert verify(site) == [new.id]
    assert get_current_snapshot(site).id == old.id


def test_a_file_that_is_cut_off_is_not_read_by_its_map(site: Site) -> None:
    assert rows(site)
    path = files(site, get_current_snapshot(site))[0]
    path.chmod(0o600)
    os.truncate(path, 100)
    wait_until(lambda: is_refused(site))  # a look at most a quarter of a second old counts
    assert "100 bytes" in site.embedded_engine.file_faults[get_current_snapshot(site).path]


def is_refused(site: Site) -> bool:
    try:
        site.embedded_engine.open_snapshot(get_current_snapshot(site))
    except StorageUnavailableError:
        return True
    return False


def list_mapped_files(directory: Path) -> list[str]:
    return [
        line
        for line in Path("/proc/self/maps").read_text().splitlines()
        if f"{directory}/" in line and ".arrow" in line
    ]


def test_snapshots_that_were_removed_are_mapped_no_more(site: Site) -> None:
    directory = site.settings.data_directory / "snapshots"
    for more in range(4):
        write(site.settings.directory, 1001 + more)
        sync_collection(site, "a")
        assert rows(site, "SELECT name FROM a.main WHERE id = 3")
        assert rows(site, "SELECT COUNT(DISTINCT name) AS n FROM a.main") == [{"n": 1001 + more}]
    for record in site.store.list_snapshots("a"):
        if record.id not in {get_current_snapshot(site).id, get_current_snapshot(site, "a.other").id}:
            shutil.rmtree(directory / record.snapshot.path)  # as another process does it
    assert len(list_mapped_files(directory)) > 2
    site.check_snapshot_files_and_refresh()
    gc.collect()
    assert not [line for line in list_mapped_files(directory) if "deleted" in line]


def test_what_is_new_is_due_at_once_the_rest_every_so_many_days_and_all_after_a_crash(site: Site) -> None:
    records, urgent = snapshot_verification.find_snapshots_to_verify(site.settings, site.store)
    assert ({record.table.qualified_name for record in records}, urgent) == ({"a.main", "a.other"}, False)
    verify(site)
    assert snapshot_verification.find_snapshots_to_verify(site.settings, site.store) == ([], False)
    weekly = replace(site.settings, health=replace(site.settings.health, verify_days=1e-9))
    assert len(snapshot_verification.find_snapshots_to_verify(weekly, site.store)[0]) == 2
    site.store.verifications.request_full_verification()
    records, urgent = snapshot_verification.find_snapshots_to_verify(site.settings, site.store)
    assert (len(records), urgent) == (2, True)
    verify(site)
    assert snapshot_verification.find_snapshots_to_verify(site.settings, site.store) == ([], False)
    site.store.verifications.request_full_verification()  # who dies again and again does not have it all read again and again
    assert snapshot_verification.find_snapshots_to_verify(site.settings, site.store) == ([], False)


def test_a_snapshot_of_an_older_version_is_not_known(site: Site) -> None:
    snapshot = get_current_snapshot(site)
    path = files(site, snapshot)[-1]
    said = json.loads(path.read_text())
    del said["checksums"]
    path.chmod(0o600)
    path.write_text(json.dumps(said))
    found = site.embedded_engine.verify_snapshot(replace(snapshot, checksum=""), lambda _: None, {})
    assert (found.faults, found.unknown, found.bytes) == ({}, ("00000.arrow",), 0)
    assert rows(site) == [{"n": 1000, "latest": "star 00999"}]
