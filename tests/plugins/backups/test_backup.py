"""Backup and restore: what comes back is what was there; archives that are damaged, strange or newer change nothing."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import ConflictError, HvenError, NotFoundError, SourceError, StorageError, UserError
from hven.model.settings import Settings, create_site_directory, load_settings
from hven.plugins.backups import archive as archive_module
from hven.plugins.backups.archive import CHECKSUMS_MEMBER, HEADER_MEMBER, write_backup
from hven.plugins.backups.restoration import restore_archive, verify_archive
from hven.plugins.backups.state_copies import StateBackupAccess
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.site.store import JobRecord, SnapshotRecord
from hven.site.store import _database as db
from plugin_needs import require_plugins, require_setting
from postgres_cluster import run_server
from process_runner import run_hven
from second_engine import OTHER_NAME, register_other_engine

TEXT = """collection: {name}
title: Things
{more}tables:
  main:
    columns:
      n: {{type: int32}}
      name: {{type: string, description: "é ☉"}}
      ra: {{type: float64, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, ucd: pos.eq.dec;meta.main}}
    source: {{kind: csv, files: a.csv}}
"""
ROWS = "n,name,ra,dec\n" + "".join(
    f"{number},{'' if number % 7 == 0 else f'☉{number}'},{number % 360},{number % 90}\n" for number in range(3000)
)


@pytest.fixture(scope="module")
def other_engine() -> Iterator[Any]:
    with register_other_engine() as module:
        yield module


@pytest.fixture(scope="module")
def backed_up_site(tmp_path_factory: pytest.TempPathFactory, other_engine: Any) -> Path:
    """A site with two collections in two engines, a release, a job that has ended and one that ran."""
    directory = create_site_directory(tmp_path_factory.mktemp("made") / "site", name="Uraniborg")
    (directory / "secrets.toml").write_text("SECRET = 'x'\n")
    (directory / "standards").mkdir()
    (directory / "standards" / "notes.txt").write_text("ours")
    for name, more in (("things", ""), ("others", f"engine: {OTHER_NAME}\n")):
        place = directory / "collections" / name
        place.mkdir(parents=True)
        (place / f"{name}.yaml").write_text(TEXT.format(name=name, more=more))
        (place / "a.csv").write_text(ROWS)
    with Site(load_settings(directory, {})) as site:
        for name in ("things", "others"):
            ingest_collection(site, name)
        site.store.releases.add_collection_releases("dr1", ["things"], "the first")
        ingest_collection(site, "things")
        for name, phase in (("j1", "COMPLETED"), ("j2", "EXECUTING")):
            results = [{"id": "result", "file": "r.csv", "media_type": "text/csv", "bytes": 3}] if name == "j1" else []
            site.store.jobs.add_job(
                JobRecord(
                    id=name, type="tap", queue="user a", phase=phase, duration=60, destruction="2130", results=results
                )
            )
        (directory / "var" / "jobs" / "j1").mkdir(parents=True)
        (directory / "var" / "jobs" / "j1" / "r.csv").write_text("a\n1")
        site.store.users.add_account("tycho") if hasattr(site.store.users, "add_account") else None
    return directory


@pytest.fixture(scope="module")
def archive(backed_up_site: Path) -> Path:
    with Site(load_settings(backed_up_site, {})) as site:
        write_backup(site, backed_up_site.parent / "whole.tar")
    return backed_up_site.parent / "whole.tar"


def answers(site: Site) -> list[Any]:
    asked = []
    for text in (
        "SELECT * FROM things.main ORDER BY n",
        "SELECT a.n, b.name FROM things.main AS a JOIN others.main AS b ON a.n = b.n WHERE 1 = CONTAINS(POINT(b.ra, b.dec), CIRCLE(10, 10, 9)) ORDER BY a.n",
        "SELECT table_name, column_name, datatype, description FROM TAP_SCHEMA.columns ORDER BY 1, 2",
    ):
        with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
            asked.append(result.read_table().to_pylist())
    return asked


def test_what_comes_back_is_what_was_there(backed_up_site: Path, archive: Path, tmp_path: Path) -> None:
    told = restore_archive(archive, tmp_path / "again")
    assert told["site"] == "Uraniborg"
    assert told["collections"] == []
    with Site(load_settings(backed_up_site, {})) as site, Site(load_settings(tmp_path / "again", {})) as again:
        assert answers(again) == answers(site)
        for name, record in site.store.read_published_records()[1].items():
            back = again.store.read_published_records()[1][name]
            assert (back.id, back.table, back.provenance, back.created, back.run) == (
                record.id,
                record.table,
                record.provenance,
                record.created,
                record.run,
            )
            assert (back.snapshot.engine, back.snapshot.coverage) == (record.snapshot.engine, record.snapshot.coverage)
        assert again.store.releases.list_releases("things") == site.store.releases.list_releases("things")
        assert again.store.list_publication_events("things") == site.store.list_publication_events("things")
        assert again.store.runs.list_runs("things") == site.store.runs.list_runs("things")
        assert [again.store.jobs.get_job(name).phase for name in ("j1", "j2")] == ["COMPLETED", "QUEUED"]
        assert (tmp_path / "again" / "var" / "jobs" / "j1" / "r.csv").read_text() == "a\n1"
        assert (
            again.store.roll_back("things")["things.main"]
            == dict(again.store.releases.list_releases("things")[0].snapshots)["things.main"]
        )
        assert [label.label for label in site.store.releases.list_releases("things")] == ["dr1"], (
            "the pin of the backup is gone"
        )
        ingest_collection(again, "things")
    assert (tmp_path / "again" / "standards" / "notes.txt").read_text() == "ours"
    assert not (tmp_path / "again" / "secrets.toml").exists()
    assert archive.stat().st_mode & 0o077 == 0, "accounts are in it"


def test_without_rows_it_says_what_to_ingest(backed_up_site: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.tar"
    run_hven("backup", small, "--no-data", "--site", backed_up_site)
    told = run_hven("restore", small, tmp_path / "again").stdout
    assert "ingest things" in told
    assert "ingest others" in told
    run_hven("ingest", "things", "--site", tmp_path / "again")
    with Site(load_settings(backed_up_site, {})) as site, Site(load_settings(tmp_path / "again", {})) as again:
        assert (
            again.store.read_published_records()[1]["things.main"].snapshot.rows
            == site.store.read_published_records()[1]["things.main"].snapshot.rows
        )
        assert len(again.store.runs.list_runs("things")) == len(site.store.runs.list_runs("things")) + 1


def test_all_rows_may_go_to_one_engine(archive: Path, tmp_path: Path) -> None:
    restore_archive(archive, tmp_path / "again", engine="duckdb")
    with Site(load_settings(tmp_path / "again", {})) as again:
        assert {record.snapshot.engine for record in again.store.read_published_records()[1].values()} == {"duckdb"}
        assert len(answers(again)[0]) == 3000


def test_what_belongs_to_the_place_is_told_and_the_engine_is_true(tmp_path: Path, other_engine: Any) -> None:
    require_setting("postgres")
    directory = create_site_directory(tmp_path / "site")
    (directory / "hven.toml").write_text(
        f'engine = "{OTHER_NAME}"   # ours\nport = 9999\n\n[postgres]\nurl = "$NO_SUCH_DB"\n'
    )
    with Site(load_settings(directory, {})) as site:
        write_backup(site, tmp_path / "a.tar")
    told = run_hven("restore", tmp_path / "a.tar", tmp_path / "again", "--engine", "duckdb").stdout
    assert "check: hven.toml now has engine = duckdb; it was other" in told
    assert "check: hven.toml still has port = 9999 from the original site" in told
    assert (tmp_path / "again" / "hven.toml").read_text().startswith('engine = "duckdb"   # ours\nport = 9999\n')


def test_secrets_may_be_there_before(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_plugins("engines", "postgres")
    place = tmp_path / "again"
    monkeypatch.setenv("HVEN_POSTGRES_URL", "$NO_SUCH_DB")
    with pytest.raises(HvenError) as failed:
        restore_archive(archive, place, engine="postgres")
    assert f"add NO_SUCH_DB = '...' to {place / 'secrets.toml'}" in str(failed.value)
    assert ".part" not in str(failed.value)
    place.mkdir()
    kept = place.stat().st_ino  # a mount, or below a directory that is not ours: it stays the same one
    (place / "secrets.toml").write_text("NO_SUCH_DB = 'postgresql://nobody@127.0.0.1:9/x'\n")
    with pytest.raises(StorageError, match="127"):
        restore_archive(archive, place, engine="postgres")
    assert [item.name for item in place.iterdir()] == ["secrets.toml"], "what was there is as it was"
    monkeypatch.delenv("HVEN_POSTGRES_URL")
    restore_archive(archive, place)
    assert (place / "secrets.toml").read_text().startswith("NO_SUCH_DB")
    assert place.stat().st_ino == kept
    assert not list(place.glob(".*.part"))


def test_a_backup_while_an_ingest_prunes(backed_up_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site_copy = tmp_path / "site"
    shutil.copytree(backed_up_site, site_copy)
    with Site(Settings(directory=site_copy, keep_snapshots=1)) as site:
        add_snapshots = archive_module._add_snapshots

        def ingest_before_each_snapshot(archive_writer: Any, _: Site, records: list[SnapshotRecord]) -> None:
            for record in records:
                ingest_collection(site, "things")
                ingest_collection(site, "things")
                add_snapshots(archive_writer, site, [record])

        monkeypatch.setattr(archive_module, "_add_snapshots", ingest_before_each_snapshot)
        write_backup(site, tmp_path / "x.tar")
    assert verify_archive(tmp_path / "x.tar")["data"]
    restore_archive(tmp_path / "x.tar", tmp_path / "again")


def members(archive: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        return [(one.name, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]


def write_archive(path: Path, found: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, body in found:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def change_members(
    name: str, change: Callable[[bytes], bytes]
) -> Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]:
    return lambda found: [(one, change(body) if one.startswith(name) else body) for one, body in found]


def change_json(**values: object) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps({**json.loads(body), **values}, indent=1).encode()


BAD = {
    "rows": (change_members("rows/", lambda body: body[:-9] + bytes([body[-9] ^ 1]) + body[-8:]), SourceError, "is not intact: rows/.* is different from the original"),
    "state": (change_members("state/users", lambda body: body + b'{"name": "eve"}\n'), SourceError, "is not intact: state/users"),
    "added": (lambda found: [*found[:-1], ("site/collections/evil.yaml", b""), found[-1]], SourceError, "evil.yaml was added"),
    "missing": (lambda found: [one for one in found if not one[0].startswith("rows/")], SourceError, "rows/.* is missing"),
    "end": (lambda found: found[:-1], SourceError, "is incomplete: its end is missing"),
    "outside": (lambda found: [*found[:-1], ("site/../../x", b""), found[-1]], SourceError, "does not belong in a backup"),
    "behind": (lambda found: [*found, ("site/x", b"")], SourceError, "after the end"),
    "newer": (change_members(HEADER_MEMBER, change_json(backup=2, hven="9.0")), UserError, r"was written by Hven 9\.0 .*restore the backup with Hven 9\.0"),
    "newer store": (change_members(HEADER_MEMBER, change_json(store=99)), UserError, "state format 99"),
    "other tar": (lambda found: found[1:], SourceError, "not a Hven backup"),
    "head": (change_members(HEADER_MEMBER, lambda _: b"[]"), SourceError, "is not intact: hven-backup.json"),
    "sums": (change_members(CHECKSUMS_MEMBER, lambda _: b"{"), SourceError, "is not intact: checksums.json"),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
def test_a_strange_archive_changes_nothing(archive: Path, tmp_path: Path, how: str) -> None:
    change, kind, match = BAD[how]
    bad = write_archive(tmp_path / "bad.tar", change(members(archive)))  # type: ignore[operator]
    with pytest.raises(kind, match=match):  # type: ignore[call-overload]
        restore_archive(bad, tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_archive_changes_nothing(archive: Path, tmp_path: Path, share: float) -> None:
    body = archive.read_bytes()
    content = len(body.rstrip(b"\0"))  # a tar ends with up to 10 KB of zeros, without which nothing is lost
    (tmp_path / "bad.tar").write_bytes(body[: int(content * share)])
    with pytest.raises(SourceError, match=r"is incomplete|not a Hven backup"):
        restore_archive(tmp_path / "bad.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_every_byte_counts(archive: Path, tmp_path: Path) -> None:
    body = bytearray(archive.read_bytes())
    for place in range(1000, len(body) - 11_000, len(body) // 40):
        bad = bytearray(body)
        bad[place] ^= 0x55
        (tmp_path / "bad.tar").write_bytes(bad)
        try:
            verify_archive(tmp_path / "bad.tar")
        except HvenError:
            continue
        # what is between members, and their dates, is nobody's content
        assert members(tmp_path / "bad.tar") == members(archive)


def test_what_is_there_is_not_touched(backed_up_site: Path, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(ConflictError, match="is not empty"):
        restore_archive(archive, tmp_path / "full")
    with Site(load_settings(backed_up_site, {})) as site, pytest.raises(ConflictError, match="exists"):
        write_backup(site, archive)
    assert "cannot be read" in run_hven("restore", tmp_path / "nothing.tar", tmp_path / "again", expected_code=1).stderr
    assert "is intact; it contains the site Uraniborg" in run_hven("restore", archive, "--check").stdout
    header = json.loads(run_hven("restore", archive, "--check", "--json").stdout)
    assert (header["site"], header["data"]) == ("Uraniborg", True)
    assert run_hven("restore", archive, expected_code=2).stderr.count("DIR is missing") == 1


def test_a_job_that_is_destroyed_meanwhile_asks_for_another_backup(
    backed_up_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_copy = tmp_path / "site"
    shutil.copytree(backed_up_site, site_copy)
    (site_copy / "var/jobs/j1/deep").mkdir()
    scandir = os.scandir

    def list_remaining(path: str | Path) -> Any:
        if Path(path).name == "deep":
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", list_remaining)
    with Site(load_settings(site_copy, {})) as site, pytest.raises(NotFoundError, match="j1 has just been destroyed"):
        write_backup(site, tmp_path / "x.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_full_disk_leaves_no_archive(backed_up_site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with Site(load_settings(backed_up_site, {})) as site, pytest.raises(StorageError, match="no space left"):
        write_backup(site, tmp_path / "x.tar")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_staged_leave_nothing(archive: Path, tmp_path: Path, other_engine: Any) -> None:
    other_engine.away = True
    try:
        with pytest.raises(StorageError, match="does not respond"):
            restore_archive(archive, tmp_path / "again")
    finally:
        other_engine.away = False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.outside
def test_into_an_empty_database_and_back(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_server() as address:
        url = f"postgresql+psycopg://{address}"
        monkeypatch.setenv("HVEN_STORE", url)
        restore_archive(archive, tmp_path / "one")
        with pytest.raises(ConflictError, match="the database of the system state is not empty"):
            restore_archive(archive, tmp_path / "two")
        with Site(load_settings(tmp_path / "one")) as site:
            here = answers(site)
            assert site.store.list_publication_events("things")[0].number > 0
            ingest_collection(site, "things")
            write_backup(site, tmp_path / "again.tar")
            moved = answers(site)
        monkeypatch.delenv("HVEN_STORE")
        restore_archive(tmp_path / "again.tar", tmp_path / "back")
        with Site(load_settings(tmp_path / "back")) as site:
            assert answers(site) == moved == here

        # a restoration that fails leaves the database empty, and it can be used then
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            db.metadata.drop_all(connection)
        engine.dispose()
        monkeypatch.setenv("HVEN_STORE", url)
        monkeypatch.setattr(StateBackupAccess, "import_rows", _broken)
        with pytest.raises(StorageError):
            restore_archive(archive, tmp_path / "three")
        monkeypatch.undo()
        monkeypatch.setenv("HVEN_STORE", url)
        restore_archive(archive, tmp_path / "three")


def _broken(*_: object) -> None:
    raise StorageError("the database went away")


def test_large_tables_are_streamed(tmp_path: Path) -> None:
    from hven.testing.site import open_tiny_site

    rows = pa.table({"n": pa.array(range(300_000)), "t": [f"row {number}" for number in range(300_000)]})
    with open_tiny_site(tmp_path / "a", {"s.t": rows}) as site:
        (tmp_path / "a" / "hven.toml").write_text("")
        write_backup(site, tmp_path / "x.tar")
    restore_archive(tmp_path / "x.tar", tmp_path / "b")
    with (
        Site(load_settings(tmp_path / "b")) as again,
        query.run_query("SELECT COUNT(*) AS n, SUM(n) AS s FROM s.t", site=again) as result,
    ):
        assert result.read_table().to_pylist() == [{"n": 300_000, "s": 300_000 * 299_999 // 2}]
