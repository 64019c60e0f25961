"""Files of many rows as one archive: its size is known beforehand, any range of it is the same bytes, and what is not in it is listed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.model.errors import StorageUnavailableError
from hven.plugins.archives import archive_layouts as packing
from hven.plugins.archives import crc_cache as sums
from hven.plugins.archives.archive_layouts import ArchiveMember, TarRangeWriter, ZipRangeWriter
from hven.plugins.archives.crc_cache import CrcCache
from hven.plugins.archives.settings import get_archive_limits
from hven.services import collection_files
from hven.site import Site
from requirements import require_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DESCRIPTOR = """\
collection: maps
title: Maps of clusters
citation: Somebody et al. 2024
licence: CC-BY-4.0
files: ["maps/*", "previews/*.png"]
tables:
  main:
    source: {kind: csv, file: maps.csv}
    primary: obs_id
    columns: {obs_id: {type: string, ucd: meta.id;meta.main}, fits: string}
    links: [{semantics: this, file: "{target.fits}"}]
  several:
    source: {kind: csv, file: maps.csv}
    primary: obs_id
    columns: {obs_id: {type: string, ucd: meta.id;meta.main}, fits: string}
    links:
      - {semantics: this, file: "{target.fits}"}
      - {semantics: auxiliary, file: "maps/a.fits"}
      - {semantics: calibration, file: "maps/{target.obs_id}.cal"}
      - {semantics: documentation, text: "https://example.org/{target.obs_id}"}
  shown:
    source: {kind: csv, file: maps.csv}
    primary: obs_id
    columns: {obs_id: {type: string, ucd: meta.id;meta.main}, fits: string, access_url: {type: string, ucd: meta.ref.url}}
    text: {access_url: "{site.url}/collections/maps/files/{fits}"}
"""
NIGHT = """\
collection: night
title: Observations
contact: {name: The archive, email: archive@example.org}
files: "*.fits"
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns:
      id: {type: int32}
      pi: {type: string}
      file_name: {type: string}
      access_url: {type: string, ucd: meta.ref.url}
    text: {access_url: "{site.url}/collections/night/files/{file_name}"}
    access: {files: "1 = 1", take: reader in (pi), path: file_name}
"""
FILES = {"maps/a.fits": b"a" * 5000, "maps/b.fits": b"b" * 700_000, "maps/empty.dat": b"", "maps/é b.txt": b"accents\n"}
QUERY = "SELECT * FROM maps.main ORDER BY obs_id"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str], Site]]:
    directory = tmp_path_factory.mktemp("archives")
    for name, descriptor in (("maps", DESCRIPTOR), ("night", NIGHT)):
        (directory / "collections" / name / "maps").mkdir(parents=True)
        (directory / "collections" / name / f"{name}.yaml").write_text(descriptor)
    maps = directory / "collections/maps"
    for name, body in FILES.items():
        (maps / name).write_bytes(body)
    (maps / "previews").mkdir()
    (maps / "previews/a.png").write_bytes(b"png")
    (maps / "maps.csv").write_text("obs_id,fits\n" + "".join(f"{at},{name}\n" for at, name in enumerate(FILES)))
    (directory / "collections/night/rows.csv").write_text("id,pi,file_name\n1,anna,x.fits\n2,bert,y.fits\n")
    for name in ("x.fits", "y.fits"):
        (directory / "collections/night" / name).write_bytes(name.encode())
    (directory / "hven.toml").write_text('name = "archives"\ntitle = "Archives"\n[limits]\narchive_files = 20\n')
    with Site(settings.load_settings(directory)) as site:
        ingest_collection(site, "maps")
        ingest_collection(site, "night")
        tokens = {name: site.store.users.add_account(name) for name in ("anna", "bert")}
        yield Client(create_and_start_application(site)), tokens, site


def fetch_archive(place: tuple[Client, dict[str, str], Site], query: str = QUERY, *, method: str = "GET", who: str = "", more: dict[str, str] | None = None, **given: str) -> Answer:  # fmt: skip
    client, tokens, _ = place
    headers = {"authorization": f"Bearer {tokens[who]}"} if who else {}
    return client.ask(method, "/archive", urlencode({"QUERY": query, **given}).encode(), headers={**headers, **(more or {})})  # fmt: skip


def unpack_archive(answer: Answer) -> dict[str, bytes]:
    assert answer.status in {200, 206}, answer.text
    if answer.body.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(answer.body)) as opened:
            assert opened.testzip() is None
            found = {one: opened.read(one) for one in opened.namelist()}
    else:
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            found = {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]
    assert len({name.partition("/")[0] for name in found}) == 1  # nothing spills
    return {name.partition("/")[2]: body for name, body in found.items()}


def manifest(files: dict[str, bytes]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["MANIFEST.csv"].decode())))


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("table", ["main", "shown"])
def test_an_archive_has_the_files_of_a_query(place: Any, kind: str, table: str) -> None:
    """By the links of its rows, or by a column of addresses; with what one must know of them."""
    answer = fetch_archive(place, QUERY.replace("main", table), FORMAT=kind)
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.headers["content-disposition"] == f'attachment; filename="maps.{table}.{kind}"'
    files = unpack_archive(answer)
    assert {
        "files/maps/maps/" + name.rpartition("/")[2].replace(" ", "_"): body for name, body in FILES.items()
    }.items() <= files.items()
    lines = manifest(files)
    assert [line["status"] for line in lines] == ["here"] * 4
    for line in lines:
        assert hashlib.sha256(files[line["name"]]).hexdigest() == line["sha256"]
        assert len(files[line["name"]]) == int(line["bytes"])
    readme = files["README.txt"].decode()
    for told in ("Archives", "SELECT * FROM maps.", "Somebody et al. 2024", "CC-BY-4.0", "4 of 705,008 bytes"):
        assert told in readme
    sums = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())  # type: ignore[misc]
    assert sums == {line["name"]: line["sha256"] for line in lines}


def test_a_row_leads_to_an_archive_of_its_files(place: Any) -> None:
    client: Client = place[0]
    links = list(csv.DictReader(io.StringIO(client.get("/datalink/maps.several", ID="1", RESPONSEFORMAT="csv").text)))
    (package,) = (one for one in links if one["semantics"] == "#package")
    assert package["content_type"] == "application/zip"
    files = unpack_archive(client.get(package["access_url"].removeprefix("http://vo.example")))
    kept = {name for name in files if name.startswith("files/")}
    assert kept == {"files/maps/maps/b.fits", "files/maps/maps/a.fits"}
    assert [row["status"] for row in manifest(files)] == ["missing", "here", "here"]
    assert "Rows: maps.several 1" in files["README.txt"].decode()
    two = client.get("/archive?TABLE=maps.main&ID=0&ID=1&ID=none&FORMAT=tar")
    assert {row["status"] for row in manifest(unpack_archive(two))} == {"here", "missing"}
    # where a row has one file, that is all
    assert "#package" not in client.get("/datalink/maps.main", ID="1", RESPONSEFORMAT="csv").text


@pytest.mark.parametrize(("given", "status"), [("TABLE=maps.none&ID=1", 404), ("TABLE=maps.main", 400), ("ID=1", 400)])
def test_rows_that_are_not_said(place: Any, given: str, status: int) -> None:
    assert place[0].get(f"/archive?{given}").status == status


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_the_manifest_and_ranges_of_an_archive_are_known_beforehand(place: Any, kind: str) -> None:
    whole = fetch_archive(place, FORMAT=kind)
    head = fetch_archive(place, method="HEAD", FORMAT=kind)
    assert (head.body, head.headers["content-length"]) == (b"", str(len(whole.body)))
    assert (head.headers["hven-files"], head.headers["hven-missing"], head.headers["accept-ranges"]) == (
        "4",
        "0",
        "bytes",
    )
    tag = whole.headers["etag"]
    assert not tag.startswith("W/")
    size = len(whole.body)
    known = place[2].get_or_create(CrcCache, place[2].settings.var_directory / "crc32")
    known.__init__()  # nothing is known of what was read before
    for start, stop in [(0, 1), (size - 1, size), (31, 33), (6000, 400_000), (size - 900, size), *((at, at + 700) for at in range(0, size, 50_021))]:  # fmt: skip
        part = fetch_archive(
            place, FORMAT=kind, more={"range": f"bytes={start}-{min(stop, size) - 1}", "if-range": tag}
        )
        assert (part.status, part.body == whole.body[start:stop]) == (206, True)
        assert part.headers["content-range"] == f"bytes {start}-{min(stop, size) - 1}/{size}"
    assert fetch_archive(place, FORMAT=kind, more={"range": "bytes=-22"}).body == whole.body[-22:]
    assert fetch_archive(place, FORMAT=kind, more={"range": f"bytes={size // 2}-"}).body == whole.body[size // 2 :]
    for other in ({"range": "bytes=9-", "if-range": '"other"'}, {"range": "bytes=1-2,5-6"}, {"range": "bytes=7-3"}):
        assert fetch_archive(place, FORMAT=kind, more=other).body == whole.body
    assert fetch_archive(place, FORMAT=kind, more={"range": f"bytes={size}-"}).status == 416
    assert fetch_archive(place, FORMAT=kind, more={"if-none-match": tag}).status == 304
    assert fetch_archive(place, method="POST", FORMAT=kind).body == whole.body


@pytest.mark.parametrize(("kind", "words"), [("zip", ["unzip", "-tq"]), ("tar", ["tar", "-tf"])])
def test_other_programs_read_them(place: Any, tmp_path: Path, kind: str, words: list[str]) -> None:
    reading = [require_program(words[0]), *words[1:]]
    (tmp_path / f"x.{kind}").write_bytes(fetch_archive(place, FORMAT=kind).body)
    subprocess.run([*reading, tmp_path / f"x.{kind}"], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_can_be_large(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ZIP64, long names and many files, with bounds that a test can reach."""
    monkeypatch.setattr(packing, "ZIP64_THRESHOLD", 3000)
    monkeypatch.setattr(packing, "ZIP64_MEMBER_THRESHOLD", 5)
    made = {f"{'long/' * (at * 9)}{at}é.dat": os.urandom(at * 900) for at in range(7)}
    members = [
        ArchiveMember(name, len(body), -1.0 if at == 3 else 1e9 + at, hashlib.sha256(body).hexdigest(), lambda a, b, body=body: iter((body[a:b],)))  # type: ignore[misc]
        for at, (name, body) in enumerate(made.items())
    ]  # fmt: skip
    packed = (ZipRangeWriter if kind == "zip" else TarRangeWriter)(members, CrcCache())
    whole = b"".join(filter(None, packed.stream_byte_range(0, packed.size)))
    assert len(whole) == packed.size
    assert all(
        b"".join(filter(None, packed.stream_byte_range(at, at + 333))) == whole[at : at + 333]
        for at in range(0, packed.size, 333)
    )
    if kind == "zip":
        with zipfile.ZipFile(io.BytesIO(whole)) as opened:
            assert {one: opened.read(one) for one in opened.namelist()} == made
    else:
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            assert {one.name: tar.extractfile(one).read() for one in tar} == made  # type: ignore[union-attr]


def test_rows_that_say_another_port_lead_to_the_same_files(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were written at their ingest; `hven serve --port` is another address."""
    _, _, site = place
    monkeypatch.setenv("HVEN_PORT", "9471")
    with Site(settings.load_settings(site.settings.directory)) as moved:
        assert moved.settings.site_url != site.settings.site_url
        given = {"QUERY": "SELECT access_url FROM maps.shown ORDER BY obs_id", "FORMAT": "tar"}
        answer = Client(create_and_start_application(moved)).get("/archive", **given)
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            sizes = sorted(one.size for one in tar)
    assert {len(body) for body in FILES.values()} <= set(sizes)


def test_sums_outlast_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torn lines are none; of a file that is too large the newer half stays; where nothing can be written, a process knows its own."""
    place, names = tmp_path / "crc32", [hashlib.sha256(str(at).encode()).hexdigest() for at in range(40)]
    one, other = CrcCache(place), CrcCache(place)
    for at, name in enumerate(names):
        assert other.find_crc(name) is None
        one.store_crc(name, at)
        assert other.find_crc(name) == at
    with place.open("ab") as file:
        file.write(b"\0" * 9)
    one.store_crc(names[0], 99)
    assert (CrcCache(place).find_crc(names[39]), CrcCache(place).find_crc(names[0])) == (39, 0)
    monkeypatch.setattr(sums, "MAX_FILE_BYTES", 1000)
    assert [CrcCache(place).find_crc(names[at]) for at in (0, 20, 39)] == [None, None, 39]
    assert place.stat().st_size <= 500
    one.store_crc(names[1], 7)
    assert other.find_crc(names[1]) == 1  # as it knew it
    assert CrcCache(place).find_crc(names[1]) == 7
    lost = CrcCache(tmp_path / "none" / "crc32")
    lost.store_crc(names[0], 5)
    assert (lost.find_crc(names[0]), lost.find_crc(names[1])) == (5, None)


def test_files_without_checksums_are_not_confused() -> None:
    """Of the same size and time, which stand for their content."""
    bodies = [b"abc", b"def"]
    members = [ArchiveMember(f"{at}.dat", 3, 1e9, "3-0", lambda a, b, body=body: iter((body[a:b],))) for at, body in enumerate(bodies)]  # type: ignore[misc]  # fmt: skip
    for _ in range(2):
        packed = ZipRangeWriter(members, CrcCache())
        with zipfile.ZipFile(io.BytesIO(b"".join(filter(None, packed.stream_byte_range(0, packed.size))))) as opened:
            assert [opened.read(one) for one in opened.namelist()] == bodies


def test_files_left_out_of_an_archive_are_listed(place: Any) -> None:
    """A file of another site, one that is locked, one that there is not, one that was changed, one that a link leads out of the site by."""
    base = place[2].settings.site_url
    folder = place[2].settings.collections_directory / "maps"
    (folder / "previews/a.png").write_bytes(b"another")
    wanted = [
        "https://elsewhere.example/x.fits",
        f"{base}/collections/night/files/x.fits",
        f"{base}/collections/night/files/y.fits",
        f"{base}/collections/maps/files/none.fits",
        f"{base}/collections/maps/files/previews/a.png",
        f"{base}/collections/maps/files/..%2F..%2Fhven.toml",
        f"{base}/collections/nothing/files/a",
        f"{base}/collections/maps/files/maps/a.fits",
        f"{base}/collections/maps/files/maps/a.fits",
        f"{base}/datalink/maps.main?ID=99",
        "file:///etc/passwd",
    ]
    values = " UNION ALL ".join(f"SELECT {at} AS n, '{one}' AS access_url FROM maps.main WHERE obs_id = '0'" for at, one in enumerate(wanted))  # fmt: skip
    found = {}
    for who in ("", "anna"):
        answer = fetch_archive(place, f"SELECT access_url FROM ({values}) AS t ORDER BY n", who=who)
        files = unpack_archive(answer)
        lines = manifest(files)
        found[who] = {line["address"].removeprefix(base): line["status"] for line in lines}
        assert len(lines) == len(wanted) - 1
        assert int(answer.headers["hven-missing"]) == sum(line["status"] != "here" for line in lines)
        assert all(line["reason"] for line in lines if line["status"] != "here")
        assert "/tmp" not in files["MANIFEST.csv"].decode()
        assert str(place[2].settings.directory) not in files["MANIFEST.csv"].decode()
    anonymous = found[""]
    assert anonymous["/collections/night/files/x.fits"] == anonymous["/collections/night/files/y.fits"] == "refused"
    assert found["anna"]["/collections/night/files/x.fits"] == "here"
    assert found["anna"]["/collections/night/files/y.fits"] == "refused"
    assert anonymous["https://elsewhere.example/x.fits"] == anonymous["file:///etc/passwd"] == "elsewhere"
    assert anonymous["/collections/maps/files/maps/a.fits"] == "here"
    rest = [one for one in anonymous if "none" in one or "png" in one or "toml" in one or "nothing" in one or "99" in one]  # fmt: skip
    assert len(rest) == 5
    assert {anonymous[one] for one in rest} == {"missing"}


def test_a_file_that_is_taken_is_on_record(place: Any) -> None:
    def list_taken_files() -> list[tuple[str, Any]]:
        return [
            (one.by, one.facts["file"])
            for one in place[2].store.grants.list_audit_entries()
            if one.what == "file taken"
        ]

    before = list_taken_files()
    query = "SELECT * FROM night.main ORDER BY id"
    fetch_archive(place, query, who="bert", method="HEAD")
    assert list_taken_files() == before
    fetch_archive(place, query, who="bert")
    assert sorted(list_taken_files()) == sorted([*before, ("bert", "y.fits")])


def test_what_is_not_in_memory_is_waited_for(place: Any) -> None:
    """The event loop reads what is there; all else a thread."""

    def none(*_: Any) -> int:
        raise BlockingIOError

    whole = fetch_archive(place, FORMAT="tar").body
    read = collection_files.os.pread
    threads = set()

    def read_and_note_thread(*what: Any) -> bytes:
        threads.add(threading.get_ident())
        return read(*what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection_files.os, "preadv", none)
        patch.setattr(collection_files.os, "pread", read_and_note_thread)
        assert fetch_archive(place, FORMAT="tar").body == whole
        assert threads
        assert threading.get_ident() not in threads


def test_a_file_that_changes_meanwhile_ends_the_archive(place: Any) -> None:
    """What left is no archive; who asks again gets one that says so, and whose tag is another."""
    path = place[2].settings.collections_directory / "maps/maps/b.fits"
    whole = fetch_archive(place)
    stat = path.stat()
    real = collection_files.os.preadv

    def changing(file: int, room: list[bytearray], at: int, how: int) -> int:
        if at:
            path.write_bytes(b"c" * 700_000)
        return real(file, room, at, how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection_files.os, "preadv", changing)
        with pytest.raises(StorageUnavailableError, match="changed since it was published"):
            fetch_archive(place)
    again = fetch_archive(place, more={"range": "bytes=100-", "if-range": whole.headers["etag"]})
    assert again.status == 200
    assert [line["status"] for line in manifest(unpack_archive(again))].count("missing") == 1
    path.write_bytes(FILES["maps/b.fits"])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fetch_archive(place).body == whole.body


def test_an_archive_has_download_lists(place: Any) -> None:
    for kind in ("wget", "curl", "aria2", "links"):
        text = fetch_archive(place, FORMAT=kind).text
        assert text.count("/collections/maps/files/maps/") == 4
    assert "# Query: SELECT * FROM maps.main" in fetch_archive(place, FORMAT="wget").text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"QUERY": ""}, "QUERY is missing"),
        ({"QUERY": "SELECT"}, "line 1, column 7"),
        ({"FORMAT": "rar"}, "FORMAT='rar' is not valid"),
        ({"QUERY": "SELECT fits FROM maps.main"}, "Hven found no column with links to files in the result"),
        ({"COLUMN": "nothing"}, "use one of obs_id, fits"),
        ({"QUERY": "SELECT TOP 30 a.obs_id || b.obs_id || c.obs_id AS url FROM maps.main AS a, maps.main AS b, maps.main AS c"}, "at most 20 files"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(place: Any, given: dict[str, str], told: str) -> None:
    answer = fetch_archive(place, **{"query": given.pop("QUERY", QUERY), **given})
    assert (answer.status in {400, 413}, told in answer.text) == (True, True), answer.text


def test_too_many_bytes_are_refused(place: Any) -> None:
    limits = get_archive_limits(place[2].settings)
    most = limits.archive_bytes
    object.__setattr__(limits, "archive_bytes", 1000)
    try:
        answer = fetch_archive(place)
    finally:
        object.__setattr__(limits, "archive_bytes", most)
    assert (answer.status, "705,008 bytes" in answer.text) == (413, True), answer.text


def test_a_search_of_the_portal_becomes_an_archive(place: Any) -> None:
    """All rows that were found, or those that were marked; by a column of addresses, or by links alone."""
    client = place[0]
    here = "/collections/maps/shown"
    told = client.get(f"{here}/take").text
    assert json.loads(told)["archive"] == {"files": 4, "bytes": 705_008, "missing": 0}
    assert [one["name"] for one in json.loads(told)["scripts"]][:2] == ["zip", "tar"]
    files = unpack_archive(client.get(f"{here}/script", _as="tar", obs_id="1"))
    assert len(manifest(files)) == 1
    assert "obs_id=1" in files["README.txt"].decode()
    page = client.get("/collections/maps/main").text
    assert "All in one ZIP" in page
    assert "Script for wget" not in page
    marked = client.ask("POST", "/collections/maps/main/script", b"_as=zip", urlencode({"_key": ['["3"]', '["0"]']}, doseq=True).encode(), {"content-type": "application/x-www-form-urlencoded"})  # fmt: skip
    assert len(manifest(unpack_archive(marked))) == 2
