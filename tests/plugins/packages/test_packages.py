"""Packages have rows, products, documents and checksums; what they lack is reported, and what was stopped is continued."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from package_sites import DESCRIPTOR, FRAMES, PUBLIC_DESCRIPTOR, create_site, pack, read_members

from hven.model.errors import ConflictError, NotFoundError, StorageError
from hven.model.settings import load_settings
from hven.plugins.packages import package_contents, package_members, package_output, package_stream
from hven.plugins.packages.package_contents import collect_contents
from hven.plugins.packages.package_journal import PackageJournal
from hven.plugins.packages.package_output import write_package
from hven.plugins.packages.package_reader import PackageReader
from hven.plugins.packages.package_stream import PackageStream
from hven.plugins.packages.snapshot_digests import TableDigest, compute_row_digest
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, Principal

ANNA = Principal(name="anna")


def read_report(path: Path, prefix: str = "data/") -> dict[str, Any]:
    report: dict[str, Any] = json.loads(read_members(path)[f"{prefix}completeness.json"])
    return report


def test_a_bag_has_everything(tmp_path: Path) -> None:
    written = pack(create_site(tmp_path / "site"), tmp_path / "night.tar")
    members = read_members(tmp_path / "night.tar")
    assert written.lacking == []
    assert read_report(tmp_path / "night.tar")["complete"] is True
    assert members["data/files/frames/b=2520 é.fits"] == FRAMES["b%20 é.fits"]
    assert members["data/files/frames/c=3D1.fits"] == FRAMES["c=1.fits"]
    assert members["data/collection/night.yaml"].decode() == DESCRIPTOR
    assert not any(path.startswith("data/collection/frames") for path in members), "products are packed once"
    rows = pq.read_table(io.BytesIO(members["data/rows/night.main/part-00000.parquet"]))
    assert rows.num_rows == 200
    assert "CC-BY-4.0" in members["data/LICENCE.txt"].decode()
    assert b"wasGeneratedBy" in members["data/provenance/prov.json"]
    assert b"Observations of a night" in members["data/metadata/datacite.xml"]
    assert "night.main,flux,double,mag" in members["data/documentation/columns.csv"].decode()
    info = members["bag-info.txt"].decode()
    assert f"hven-snapshot:{written.snapshot_hash}" in info
    assert "Contact-Email: archive@example.org" in info
    assert PackageReader(tmp_path / "night.tar").verify().is_valid


def test_a_crate_describes_each_file(tmp_path: Path) -> None:
    pack(create_site(tmp_path / "site"), tmp_path / "night.tar", form="ro-crate")
    members = read_members(tmp_path / "night.tar")
    crate = json.loads(members["ro-crate-metadata.json"])
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    frame = entities["files/frames/a.fits"]
    assert frame["contentSize"] == "3000"
    assert frame["@id"] in {part["@id"] for part in entities["./"]["hasPart"]}
    assert entities["./"]["author"] == {"@id": "https://orcid.org/0000-0002-1825-0097"}
    assert entities["files/frames/b=2520%20é.fits"]["description"] == "Product of the collection"
    assert entities["rows/night.facts/part-00000.parquet"]["description"] == "Rows of the table night.facts"
    assert entities["#publisher"]["contactPoint"] == {"@id": "mailto:archive@example.org"}
    assert "bagit.txt" not in members
    assert PackageReader(tmp_path / "night.tar").verify().is_valid


def test_rights_decide_on_each_file_and_row(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site")
    pack(site, tmp_path / "anna.tar", principal=ANNA)
    members = read_members(tmp_path / "anna.tar")
    frames = {path for path in members if path.startswith("data/files/")}
    assert frames == {"data/files/frames/a.fits", "data/files/frames/empty.dat"}, "the others belong to bert"
    report = read_report(tmp_path / "anna.tar")
    locked = {item["path"] for item in report["lacking"] if item["status"] == "locked"}
    assert locked == {"files/frames/b=2520 é.fits", "files/frames/c=3D1.fits", "collection/"}
    assert report["complete"] is False
    text = b"".join(body for path, body in members.items() if not path.endswith(".parquet"))
    assert b"rows.csv" not in text, "the source is the owner's"
    assert b"reader in" not in text, "policies are the owner's, too"
    assert str(tmp_path).encode() not in text
    public = pack(site, tmp_path / "public.tar", principal=ANONYMOUS_PRINCIPAL)
    assert {item.status for item in public.lacking} == {"locked"}
    assert not any(path.startswith("data/files/") for path in read_members(tmp_path / "public.tar"))


def test_a_private_collection_is_unknown_to_others(tmp_path: Path) -> None:
    site = create_site(tmp_path / "site", descriptor=PUBLIC_DESCRIPTOR.replace("title:", "access: private\ntitle:"))
    with pytest.raises(NotFoundError):
        pack(site, tmp_path / "night.tar", principal=ANONYMOUS_PRINCIPAL)
    assert pack(site, tmp_path / "night.tar").lacking == []


def test_hidden_rows_stay_hidden(tmp_path: Path) -> None:
    descriptor = PUBLIC_DESCRIPTOR.replace("  facts:", "    access: reader in (pi)\n  facts:")
    site = create_site(tmp_path / "site", descriptor=descriptor)
    for name, principal, row_count in (
        ("anna", ANNA, 100),
        ("all", ANONYMOUS_PRINCIPAL, 0),
        ("it", OWNER_PRINCIPAL, 200),
    ):
        written = pack(site, tmp_path / f"{name}.tar", principal=principal)
        members = read_members(tmp_path / f"{name}.tar")
        rows = pq.read_table(io.BytesIO(members["data/rows/night.main/part-00000.parquet"]))
        assert rows.num_rows == written.row_counts["night.main"] == row_count
        if principal is not OWNER_PRINCIPAL:
            text = b"".join(body for path, body in members.items() if not path.endswith(".parquet"))
            assert b'"night.main": 200' not in text, "the number of all rows is hidden, too"
            assert set(rows["pi"].to_pylist()) <= {principal.name}


def test_what_is_missing_or_changed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create_site(tmp_path / "site")
    frames = directory / "collections/night/frames"
    (frames / "a.fits").unlink()
    (frames / "c=1.fits").write_bytes(b"changed before")
    link = directory / "collections/night/link.txt"
    link.symlink_to("/etc/hostname")
    large = frames / "b%20 é.fits"
    original = package_stream._MemberContentReader._begin

    def shorten_file(writer: Any, first_bytes: int) -> None:
        original(writer, first_bytes)
        if "b=2520" in writer.record.path:
            large.write_bytes(b"b" * 5)

    monkeypatch.setattr(package_stream._MemberContentReader, "_begin", shorten_file)
    pack(directory, tmp_path / "night.tar")
    report = read_report(tmp_path / "night.tar")
    states = {item["path"]: item["status"] for item in report["lacking"]}
    assert states == {
        "files/frames/a.fits": "missing",
        "files/frames/c=3D1.fits": "missing",
        "files/frames/b=2520 é.fits": "changed",
        "collection/link.txt": "left out",
    }
    assert PackageReader(tmp_path / "night.tar").verify().is_valid
    assert len(read_members(tmp_path / "night.tar")["data/files/frames/b=2520 é.fits"]) == 700_000


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write rows in parts of 30 rows, and the journal after each piece."""
    monkeypatch.setattr(package_members, "PART_ROWS", 30)
    monkeypatch.setattr(package_output, "SYNC_BYTES", 1)


def write_stream(directory: Path, journal_path: Path | None, start: int = 0, stop: int | None = None) -> bytes:
    """Return the bytes of the stream from `start`, until it has `stop` bytes."""
    with Site(load_settings(directory)) as site:
        contents = collect_contents(site, "night", OWNER_PRINCIPAL)
        journal = PackageJournal(journal_path, contents.compute_identity("bagit"))
        data = b""
        for chunk in PackageStream(contents, "bagit", journal).iterate_chunks(start):
            data += chunk
            journal.write_pending_lines()
            if stop is not None and len(data) >= stop:
                break
        return data


@pytest.mark.usefixtures("small_parts")
def test_any_end_of_the_stream_continues_it(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site")
    journal = tmp_path / "journal"
    whole = write_stream(directory, journal)
    lines = journal.read_text().splitlines()
    for step in range(1, 9):
        start = len(whole) * step // 8 - (step % 3)
        kept_lines = lines[: 1 + (len(lines) - 1) * step // 8]
        journal.write_text("\n".join(kept_lines) + "\n")
        assert write_stream(directory, journal, start) == whole[start:], f"from byte {start}"
    journal.write_text("\n".join(lines[:9]) + '\n{"path": "data/ro')
    assert write_stream(directory, journal, 20_000) == whole[20_000:], "a line that was cut off counts as none"


def test_a_damaged_line_of_the_journal_ends_what_is_known(tmp_path: Path) -> None:
    """A full disk cuts lines in the middle; the records behind them are not those of the next bytes."""
    path = tmp_path / "journal"
    journal = PackageJournal(path, "state")
    records = {name: package_members.MemberRecord(path=name, size=7, sha256=name) for name in "abc"}
    for record in records.values():
        journal.add_record(record)
    journal.write_pending_lines()
    path.write_text(path.read_text().replace('{"path": "b"', '{"path": "b'))
    journal = PackageJournal(path, "state")
    assert journal.is_continued
    assert list(journal.records) == ["a"]
    journal.add_record(records["b"])
    journal.write_pending_lines()
    assert PackageJournal(path, "state").records == {name: records[name] for name in "ab"}


@pytest.mark.usefixtures("small_parts")
def test_a_stopped_file_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create_site(tmp_path / "site")
    path = tmp_path / "night.tar"
    reads: list[str] = []
    original = package_contents._ContentCollector._add_product

    def count_reads(collector: Any, found: Any, row: dict[str, Any]) -> None:
        original(collector, found, row)
        member = collector.members[-1]

        def read() -> Any:
            reads.append(member.path)
            if "c=" in member.path and not (tmp_path / "go").exists():
                raise KeyboardInterrupt
            return member.read()

        collector.members[-1] = package_members.PackageMember(
            path=member.path, size=member.size, modified=member.modified, read=read
        )

    monkeypatch.setattr(package_contents._ContentCollector, "_add_product", count_reads)
    with pytest.raises(KeyboardInterrupt):
        pack(directory, path)
    assert not path.exists()
    check = PackageReader(tmp_path / "night.tar.part").verify()
    assert "data/ro-crate-metadata.json" in check.missing
    assert "data/files/frames/c=3D1.fits" in check.missing
    (tmp_path / "go").touch()
    before = list(reads)
    written = pack(directory, path)
    assert written.continued_bytes > 700_000
    assert set(before) & set(reads[len(before) :]) == {"files/frames/c=3D1.fits"}, "finished files are not read again"
    assert PackageReader(path).verify().is_valid
    assert sorted(item.name for item in tmp_path.iterdir()) == ["go", "night.tar", "site"]


@pytest.mark.usefixtures("small_parts")
def test_a_stopped_file_of_another_state_begins_again(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site")
    journal = tmp_path / "night.tar.part-journal"
    data = write_stream(directory, journal, stop=60_000)
    (tmp_path / "night.tar.part").write_bytes(data)
    (directory / "collections/night/rows.csv").write_text("id,pi,flux,file_name\n1,anna,2,\n")
    written = pack(directory, tmp_path / "night.tar")
    assert written.continued_bytes == 0
    assert PackageReader(tmp_path / "night.tar").verify().is_valid


@pytest.mark.usefixtures("small_parts")
def test_rows_in_another_order_are_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create_site(tmp_path / "site")
    journal = tmp_path / "journal"
    write_stream(directory, journal)
    original = package_contents.open_rows

    def reverse_rows(site: Site, record: Any) -> Any:
        rows = original(site, record)

        class ReversedRows:
            @staticmethod
            def read_batches() -> Any:
                table = pa.Table.from_batches(rows.read_batches())
                return iter(table.take(list(range(table.num_rows))[::-1]).to_batches())

        return ReversedRows

    monkeypatch.setattr(package_contents, "open_rows", reverse_rows)
    with pytest.raises(ConflictError, match="has changed since the first part"):
        write_stream(directory, journal, 100_000)


def test_existing_files_are_kept(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site")
    (tmp_path / "night.tar").write_text("mine")
    with pytest.raises(ConflictError), Site(load_settings(directory)) as site:
        write_package(collect_contents(site, "night", OWNER_PRINCIPAL), "bagit", tmp_path / "night.tar")
    assert (tmp_path / "night.tar").read_text() == "mine"


def test_packages_of_the_owner_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create_site(tmp_path / "site")
    (tmp_path / "night.tar.part").touch(0o644)
    (tmp_path / "night.tar.part").chmod(0o644)
    umask = os.umask(0o022)
    try:
        pack(directory, tmp_path / "night.tar")
        pack(directory, tmp_path / "public.tar", principal=ANONYMOUS_PRINCIPAL)
        monkeypatch.setattr(package_output, "_write_chunks", stop)
        with pytest.raises(KeyboardInterrupt):
            pack(directory, tmp_path / "stopped.tar")
    finally:
        os.umask(umask)
    modes = {item.name: item.stat().st_mode & 0o777 for item in tmp_path.glob("*.tar*")}
    assert modes.pop("public.tar") == 0o644
    assert modes.keys() >= {"night.tar", "stopped.tar.part"}
    assert set(modes.values()) == {0o600}


def stop(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_the_digest_of_rows_depends_on_values_only() -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    rows = pa.table({"a": [1, 2, 2, None], "b": ["x", "y", "y", None]}, schema)
    digest = compute_row_digest(schema, rows.to_batches())
    assert compute_row_digest(schema, rows.take([3, 1, 0, 2]).to_batches(2)) == digest
    assert compute_row_digest(schema, rows.to_batches(1)) == digest
    assert compute_row_digest(schema, rows.slice(1).to_batches()) != digest
    assert compute_row_digest(schema, rows.take([0, 1, 1, 3]).to_batches()) == digest, "equal rows are equal"
    assert compute_row_digest(schema, rows.take([0, 1, 3, 3]).to_batches()) != digest
    other_schema = pa.schema([("a", pa.int64()), ("c", pa.string())])
    assert TableDigest(schema).to_text() != TableDigest(other_schema).to_text(), "without rows, columns count"


def test_a_directory_that_is_not_there_is_no_full_disk(tmp_path: Path) -> None:
    directory = create_site(tmp_path / "site", row_count=3)
    with pytest.raises(StorageError, match="no such file or directory") as raised:
        pack(directory, tmp_path / "missing/night.tar")
    assert "in a directory that exists" in raised.value.remedy
