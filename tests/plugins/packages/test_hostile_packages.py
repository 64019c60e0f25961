"""Packages that are cut off, changed or made to do harm are refused, with the place and a remedy; nothing is written."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from package_sites import create_empty_site, create_site, pack, read_members, unpack_tar

from hven.model.errors import HvenError, SourceError, TooLargeError
from hven.model.settings import load_settings
from hven.plugins.packages import package_import, package_reader
from hven.plugins.packages.package_import import import_package
from hven.plugins.packages.package_members import decode_path, encode_path
from hven.plugins.packages.package_reader import PackageReader, find_path_fault
from hven.plugins.promotion.promotion import PromotionOptions
from hven.site import Site

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packages")
    pack(create_site(directory / "site"), directory / "night.tar")
    return directory / "night.tar"


def write_tar(path: Path, members: Members, top_folder: str = "night") -> Path:
    with tarfile.open(path, "w") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(f"{top_folder}/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return path


def correct_manifests(members: Members) -> Members:
    """Return members whose manifests are right, so that only what they say is wrong."""
    corrected = {name: body for name, body in members.items() if "manifest-" not in name and name != "bag-info.txt"}
    for method in ("sha256", "sha512"):
        lines = [
            f"{hashlib.new(method, body).hexdigest()}  {name}\n"
            for name, body in corrected.items()
            if name.startswith("data/")
        ]
        corrected[f"manifest-{method}.txt"] = "".join(lines).encode()
    corrected["tagmanifest-sha512.txt"] = b""
    return corrected


@pytest.fixture(scope="module")
def other_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = create_empty_site(tmp_path_factory.mktemp("others") / "other")
    with Site(load_settings(directory)) as site:
        yield site


def try_import(site: Site, path: Path) -> None:
    try:
        import_package(site, PackageReader(path), PromotionOptions())
    finally:
        site.refresh_published_state()
        assert not site.published_records
        assert not list(site.settings.directory.parent.glob("evil*"))
        assert not (site.settings.directory / "collections/night").exists()


def test_a_package_that_is_cut_says_what_it_lacks(package: Path, tmp_path: Path) -> None:
    data = package.read_bytes()
    names = list(read_members(package))
    for share in range(1, 60):
        part = tmp_path / "part.tar"
        part.write_bytes(data[: len(data) * share // 60])
        try:
            reader = PackageReader(part)
        except SourceError:
            assert share <= 1, "after the first members it is known as a package"
            continue
        check = reader.verify()
        assert not check.is_valid
        assert any("cut off" in problem for problem in check.problems)
        complete_names = set(reader.members)
        planned = {name for name in names if "manifest" not in name and name != "bag-info.txt" and "/rows/" not in name}
        if not any(name.startswith("manifest-") for name in complete_names):
            assert planned - complete_names <= {*check.missing}, "it names each file that is not there"


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "~/x", "a//b", "./a", "C:/x", "a\\..\\b", "a\nb", "a/./b", "x" * 5000, ""],
)
def test_paths_that_leave_the_package(package: Path, tmp_path: Path, path: str) -> None:
    assert find_path_fault(path)
    members = read_members(package)
    manifest = members["manifest-sha256.txt"] + f"{'0' * 64}  {path}\n".encode()
    hostile = write_tar(tmp_path / "evil.tar", {**members, "manifest-sha256.txt": manifest})
    if "\n" not in path and path:
        with pytest.raises(SourceError) as caught:
            PackageReader(hostile).verify()
        assert "manifest-sha256.txt:" in str(caught.value)
        assert caught.value.remedy
    if path.startswith("/") or not path or path == "a//b" or len(path) > 4096:
        return
    with pytest.raises(SourceError, match=r"evil.tar: the member"):
        PackageReader(write_tar(tmp_path / "evil.tar", {**members, path: b"x"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices(package: Path, tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "evil.tar"
    path.write_bytes(package.read_bytes())
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(next(iter(tar)).name.partition("/")[0] + "/data/files/link")
        info.type = kind
        info.linkname = "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(SourceError, match="is a link, a device"):
        PackageReader(path)


def test_links_in_a_folder(package: Path, tmp_path: Path) -> None:
    folder = unpack_tar(package, tmp_path / "unpacked")
    (folder / "data/files/frames/a.fits").unlink()
    (folder / "data/files/frames/a.fits").symlink_to("/etc/hostname")
    with pytest.raises(SourceError, match="is a link"):
        PackageReader(folder)


def test_two_top_folders_and_repeated_paths(package: Path, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar"
    for name, match in (("other/x", "outside of the top folder"), ("night/README", "occurs twice")):
        write_tar(path, {"bagit.txt": b"", "README": b""})
        with tarfile.open(path, "a") as tar:
            tar.addfile(tarfile.TarInfo(name))
        with pytest.raises(SourceError, match=match):
            PackageReader(path)
    with pytest.raises(SourceError, match="occurs twice"):
        PackageReader(write_tar(path, {"bagit.txt": b"", "data/\u00e9": b"", "data/e\u0301": b""}))


def test_every_changed_byte_is_found(package: Path, tmp_path: Path) -> None:
    members = read_members(package)
    for name, body in members.items():
        if not body:
            continue
        changed = bytes([body[0] ^ 1]) + body[1:]
        path = write_tar(tmp_path / "changed.tar", {**members, name: changed})
        try:
            check = PackageReader(path).verify()
        except SourceError:
            continue
        if not name.startswith("tagmanifest-"):  # a bag may have tag manifests, and nothing lists them
            assert any(name in problem for problem in check.problems), name


def test_files_that_no_manifest_lists(package: Path, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "more.tar", {**read_members(package), "data/collection/more.py": b"print()"})
    problems = PackageReader(path).verify().problems
    assert any("data/collection/more.py" in problem for problem in problems)
    assert any("bag-info.txt says" in problem for problem in problems)
    members = read_members(package)
    del members["data/files/frames/a.fits"]
    assert "data/files/frames/a.fits" in PackageReader(write_tar(path, members)).verify().missing


def test_files_by_address_are_not_fetched(package: Path, tmp_path: Path) -> None:
    members = {**read_members(package), "fetch.txt": b"http://127.0.0.1:1/x - data/files/x\n"}
    problems = PackageReader(write_tar(tmp_path / "fetch.tar", members)).verify().problems
    assert any("fetch.txt" in problem for problem in problems)


def test_bombs(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "evil.tar"
    header = tarfile.TarInfo("night/x")
    header.type = tarfile.XHDTYPE
    header.size = 1 << 40
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(SourceError, match="has a header of"):
        PackageReader(path)
    large = tarfile.TarInfo("night/data/files/large")
    large.size = 1 << 50
    write_tar(path, {"bagit.txt": b"x"})
    path.write_bytes(path.read_bytes()[:1024] + large.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert any("cut off" in problem for problem in PackageReader(path).verify().problems)
    for name in ("night.tar.gz", "night.zip"):
        (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(2000))
        with pytest.raises(SourceError, match="is not a TAR file"):
            PackageReader(tmp_path / name)
    monkeypatch.setattr(package_reader, "MAX_MEMBERS", 3)
    with pytest.raises(TooLargeError):
        PackageReader(package)
    monkeypatch.undo()
    monkeypatch.setattr(package_reader, "MAX_TEXT_BYTES", 100)
    with pytest.raises(TooLargeError):
        PackageReader(package).verify()


def replace_rows(members: Members, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    members["data/rows/night.main/part-00000.parquet"] = sink.getvalue()


def bomb_rows(members: Members) -> None:
    replace_rows(members, pa.table({"id": pa.array([0] * 3_000_000, pa.int64())}))


def change_row(members: Members) -> None:
    table = pq.read_table(io.BytesIO(members["data/rows/night.main/part-00000.parquet"]))
    replace_rows(members, table.set_column(0, table.schema.field(0), pa.array([7] * table.num_rows, pa.int32())))


def drop_row(members: Members) -> None:
    table = pq.read_table(io.BytesIO(members["data/rows/night.main/part-00000.parquet"]))
    replace_rows(members, table.slice(1))


def rename_column(members: Members) -> None:
    replace_rows(members, pa.table({"other": pa.array(range(200))}))


def garble_rows(members: Members) -> None:
    members["data/rows/night.main/part-00000.parquet"] = b"PAR1 no rows PAR1"


def change_snapshot(change: Callable[[dict[str, Any]], object]) -> Callable[[Members], None]:
    def change_member(members: Members) -> None:
        snapshot = json.loads(members["data/snapshot.json"])
        change(snapshot)
        members["data/snapshot.json"] = json.dumps(snapshot).encode()

    return change_member


def escape_by_code(members: Members) -> None:
    members["data/collection/=2E=2E=2Fevil.txt"] = b"x"


def hide_file(members: Members) -> None:
    members["data/collection/=2Egit=2Fhooks"] = b"x"


@pytest.mark.parametrize(
    "change",
    [
        bomb_rows,
        change_row,
        drop_row,
        rename_column,
        garble_rows,
        escape_by_code,
        hide_file,
        change_snapshot(lambda snapshot: snapshot.update(collection="../evil")),
        change_snapshot(lambda snapshot: snapshot.update(collection="other")),
        change_snapshot(lambda snapshot: snapshot["records"]["night.main"].update(rows=-1)),
        change_snapshot(lambda snapshot: snapshot["records"]["night.main"].update(rows=10**9)),
        change_snapshot(lambda snapshot: snapshot["tables"].update({"night.main": {"version": 99}})),
        change_snapshot(lambda snapshot: snapshot.update(tables=[])),
        change_snapshot(dict.clear),
    ],
)
def test_packages_that_lie(package: Path, other_site: Site, tmp_path: Path, change: Callable[[Members], None]) -> None:
    members = read_members(package)
    change(members)
    path = write_tar(tmp_path / "lie.tar", correct_manifests(members))
    assert PackageReader(path).verify().problems == [], "the checksums are right; the contents are not"
    monkey_limit = package_import.MAX_PART_BYTES
    if change is bomb_rows:
        package_import.MAX_PART_BYTES = 100_000
    try:
        with pytest.raises(HvenError) as caught:
            try_import(other_site, path)
    finally:
        package_import.MAX_PART_BYTES = monkey_limit
    assert caught.value.remedy


def test_paths_are_encoded_and_decoded() -> None:
    for path in ("a=3D", "100%.fits", "a:b*?<>|\\", "é\n\x7f", "plain/a.fits"):
        assert decode_path(encode_path(path)) == path
        assert not find_path_fault(encode_path(path))
