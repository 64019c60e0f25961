"""Files of a collection that lie elsewhere: on web and ftp servers, in stores, in other directories; through us, or with us as a guide."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import re
import zipfile
from contextlib import ExitStack

import pytest
from asgi_client import Client

from file_servers import ServedFiles, serve_ftp, serve_http
from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.services import collection_files
from hven.services.face import ServiceContext
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from plugin_needs import has_setting, require_plugins, require_setting

MIB = 1 << 20
BODY = random.Random(7).randbytes(3 * MIB + 321)
TABLE = """\
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: string, year: int32, name: string, length: int64, was: string}
    links:
      - {semantics: this, file: "{target.year}/{target.name}"}
      - {semantics: preview, file: "{target.was}", if: was <> ''}
"""
ROWS = "id,year,name,length,was\n1,2020,a b.fits,,ftp://ftp.old.example/pub/2020/a%20b.fits\n"


@pytest.fixture
def open_far_site(tmp_path):
    """Open sites: descriptor, rows, further lines of hven.toml -> site and client."""
    with ExitStack() as stack:

        def open_(descriptor: str, rows: str = ROWS, more: str = "", *, private: bool = True):
            folder = tmp_path / "site" / "collections" / "far"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "far.yaml").write_text(f"collection: far\ntitle: Far\n{descriptor}")
            (folder / "rows.csv").write_text(rows)
            said = f'name = "far"\nallow_private = {str(private).lower()}\n{more}'
            (tmp_path / "site" / "hven.toml").write_text(said)
            site = stack.enter_context(Site(settings.load_settings(tmp_path / "site")))
            ingest_collection(site, "far")
            return site, Client(create_and_start_application(site))

        yield open_


@pytest.fixture(params=["http", "ftp", "memory"])
def stored_file(request, tmp_path):
    """Keep a file of 3 MiB on a server; gives the root's address, and the server."""
    if request.param == "memory":
        import fsspec

        store = fsspec.filesystem("memory")
        store.pipe(f"/{tmp_path.name}/pub/2020/a b.fits", BODY)
        yield f"memory://{tmp_path.name}/pub", None
        store.rm(f"/{tmp_path.name}", recursive=True)
        return
    with (serve_http if request.param == "http" else serve_ftp)(ServedFiles({"/pub/2020/a b.fits": BODY})) as there:
        yield f"{there.address}/pub", there


def files(root: str, more: str = "") -> str:
    return f'files: [{{root: "{root}", from: main, path: "{{year}}/{{name}}", size: length{more}}}]\n'


URL = "/collections/far/files/2020/a%20b.fits"
PATH = "/collections/far/files/2020/a b.fits"


def test_files_are_served_whole_and_in_ranges_like_local_ones(open_far_site, stored_file):
    root, there = stored_file
    proxied = ", proxied: true" if root.startswith("http") else ""
    _, client = open_far_site(files(root, proxied) + TABLE)
    head = client.ask("HEAD", PATH)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BODY)))
    whole = client.get(PATH)
    assert whole.status == 200
    assert hashlib.sha256(whole.body).digest() == hashlib.sha256(BODY).digest()
    tag = whole.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{40}"', tag)
    assert whole.headers["content-type"] == "application/fits"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-disposition"] == "inline; filename=\"a_b.fits\"; filename*=UTF-8''a%20b.fits"
    assert root.startswith("memory") or whole.headers["last-modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    asked = [] if there is None else [*there.asked]
    for said, begin, end in (
        ("0-0", 0, 1),
        (f"{MIB - 3}-{MIB + 3}", MIB - 3, MIB + 4),
        (f"{len(BODY) - 5}-", len(BODY) - 5, len(BODY)),
        ("-7", len(BODY) - 7, len(BODY)),
        (f"5-{10 * MIB}", 5, len(BODY)),
    ):
        part = client.ask("GET", PATH, headers={"range": f"bytes={said}", "if-range": tag})
        assert (part.status, part.body == BODY[begin:end]) == (206, True), said
        assert part.headers["content-range"] == f"bytes {begin}-{end - 1}/{len(BODY)}"
    assert client.ask("GET", PATH, headers={"range": "bytes=5-9", "if-range": '"other"'}).body == BODY
    beyond = client.ask("GET", PATH, headers={"range": f"bytes={len(BODY)}-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(BODY)}")
    assert client.ask("GET", PATH, headers={"if-none-match": tag}).status == 304
    assert client.ask("GET", PATH, headers={"range": "lines=1-2"}).status == 200
    assert there is None or there.asked == asked  # all of it was kept here
    links = client.get("/datalink/far.main?ID=1&RESPONSEFORMAT=csv").text
    assert f"http://vo.example{URL}" in links
    listed = client.get("/collections/far/files").text
    assert listed.split()[1].endswith(URL)


def test_simultaneous_requests_read_a_file_once(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY}, pause=0.05)) as there:
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE)

        async def all_of_them():
            return await asyncio.gather(*(client.ask_async("GET", PATH) for _ in range(12)))

        assert {answer.body for answer in asyncio.run(all_of_them())} == {BODY}
    read = [line for line in there.asked if line.startswith("GET")]
    assert len(read) == 1
    assert len([line for line in there.asked if line.startswith("HEAD")]) <= 12


def test_a_range_asks_for_the_state_of_its_file_once(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY})) as there:
        site, _ = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE, more="[files]\nfresh = 0\n")
        context = ServiceContext.create_for_principal(site, OWNER_PRINCIPAL)
        path = "2020/a b.fits"
        row = collection_files.find_files(context, OWNER_PRINCIPAL, "far", [path]).get_row(path)
        there.asked.clear()
        pieces = collection_files.create_file_reader(context, row)(5, 10)
        assert b"".join(piece for piece in pieces if piece is not None) == BODY[5:10]
        assert [line.partition(" ")[0] for line in there.asked] == ["HEAD", "GET"]


def test_a_list_of_a_server_is_taken_by_patterns(open_far_site, stored_file):
    root, there = stored_file
    if root.startswith("http"):
        with pytest.raises(Exception, match="Hven cannot list the files of a web server; list the files in a table"):
            open_far_site(f'files: [{{root: "{root}", files: "*/*.fits"}}]\n')
        return
    if there is not None:
        there.files |= {"/pub/2020/b.txt": b"b", "/pub/2021/old/c.fits": b"", "/other/x.fits": b"x"}
    _, client = open_far_site(f'files: [{{root: "{root}", files: "**/*.fits", at: raw, checksums: true}}]\n')
    lines = client.get("/collections/far/files").text.splitlines()
    assert lines[0].split()[0] == hashlib.sha256(BODY).hexdigest()
    assert [line.split()[1].partition("/files/")[2] for line in lines] == [
        "raw/2020/a%20b.fits",
        *([] if there is None else ["raw/2021/old/c.fits"]),
    ]
    whole = client.get("/collections/far/files/raw/2020/a b.fits")
    assert whole.body == BODY
    assert whole.headers["repr-digest"].startswith("sha-256=:")
    if there is not None:
        empty = client.get("/collections/far/files/raw/2021/old/c.fits")
        assert (empty.status, empty.headers["content-length"], empty.body) == (200, "0", b"")
        none = client.ask("GET", "/collections/far/files/raw/2021/old/c.fits", headers={"range": "bytes=0-"})
        assert (none.status, none.headers["content-range"]) == (416, "bytes */0")


def test_readers_are_led_to_a_public_web_server(open_far_site):
    """By default: its address is in the table and in links; ours leads there, after the same questions of rights."""
    root = "https://archive.example.org/maps"
    site, client = open_far_site(files(root) + TABLE)
    answer = client.get(PATH)
    assert (answer.status, answer.headers["location"]) == (307, f"{root}/2020/a%20b.fits")
    links = client.get("/datalink/far.main?ID=1&RESPONSEFORMAT=csv").text
    assert f",{root}/2020/a%20b.fits," in links.replace("1,", ",", 1)
    assert client.get("/collections/far/files").text.split() == ["-", f"{root}/2020/a%20b.fits", "-", "a", "b.fits"]
    descriptor = site.settings.collections_directory / "far" / "far.yaml"
    descriptor.write_text(descriptor.read_text() + "access: private\n")
    site.refresh_published_state()
    assert client.get(PATH).status == 404


def test_no_address_is_asked_that_is_not_public(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY})) as there:
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE, private=False)
        answer = client.get(PATH)
    assert (answer.status, there.asked) == (502, [])
    assert "cannot be reached" in answer.text
    assert not re.search(r"127\.0|pub|http", answer.text)


@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/pub/x", "{}/other/x", "{}/pub/../other/x", "/other/x", "ftp://{}/x"]
)
def test_no_redirect_leads_outside_the_root(open_far_site, where):
    with serve_http(ServedFiles({"/pub/inside": BODY[:10], "/other/x": b"secret"})) as there:
        there.moved = {"/pub/2020/a b.fits": where.format(there.address)}
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE)
        answer = client.get(PATH)
        assert (answer.status, "redirects to another address" in answer.text) == (502, True)
        assert not any("other" in line for line in there.asked)
        there.moved = {"/pub/2020/a b.fits": "/pub/inside"}
        assert client.get(PATH).body == BODY[:10]


def test_a_server_that_fails_is_told_as_one(open_far_site, stored_file):
    """Gone, changed since it was listed, away: 502 and 503 without its name; what comes late is 504."""
    root, there = stored_file
    if there is None:
        return
    site, client = open_far_site(
        files(root, ", proxied: true") + TABLE,
        rows=f"id,year,name,length,was\n1,2020,a b.fits,{len(BODY)},\n2,2020,gone.fits,,\n3,2020,other.fits,3,\n",
        more="[files]\nseconds = 0.3\nfresh = 0\n",
    )
    there.files["/pub/2020/other.fits"] = b"four"
    gone = client.get("/collections/far/files/2020/gone.fits")
    assert (gone.status, "the file 2020/gone.fits is not available at the moment" in gone.text) == (502, True)
    other = client.get("/collections/far/files/2020/other.fits")
    assert (other.status, "has changed since it was published" in other.text) == (503, True)
    there.pause = 2.0
    late = client.get(PATH) if root.startswith("http") else None
    assert late is None or (late.status, "did not respond in time" in late.text) == (504, True)
    assert late is None or client.get(PATH).status == 504  # remembered: nobody waits for the next one
    for answer in (gone, other, late):
        assert answer is None or not re.search(r"127\.0|/pub|://", answer.text)
    site.close()


def test_a_file_that_changes_during_a_read_ends_the_response(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY})) as there:
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE)
        assert client.ask("HEAD", PATH).status == 200
        there.tag = '"two"'
        with pytest.raises(Exception, match="it changed while Hven was reading it"):
            client.get(PATH)
        assert client.get(PATH).body == BODY  # the new one, asked for anew
        there.tag, there.cut = '"three"', 1000
        client.ask("HEAD", PATH)


def test_a_server_without_ranges_is_read_once(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY}, ranges=False)) as there:
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE)
        part = client.ask("GET", PATH, headers={"range": f"bytes={2 * MIB}-{2 * MIB + 9}"})
        assert part.body == BODY[2 * MIB : 2 * MIB + 10]
        before = len(there.asked)
        assert client.get(PATH).body == BODY
        assert len(there.asked) == before


def test_a_server_that_breaks_off_is_no_whole_file(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY}, cut=1000)) as there:
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE)
        with pytest.raises(Exception, match=r"server that keeps it|while Hven was reading it"):
            client.get(PATH)
        there.cut = None
        asyncio.run(asyncio.sleep(0))
        assert not list((client._app._site.settings.var_directory / "files").glob("??/.unfinished*"))


def test_the_cache_has_a_size_limit(open_far_site):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY})) as there:
        more = '[files]\ncache = "64 MiB"\n'
        site, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE, more=more)
        kept = site.settings.var_directory / "files"
        (kept / "aa").mkdir(parents=True)
        for number in range(3):
            old = kept / "aa" / f"old-{number}"
            old.write_bytes(bytes(24 * MIB))
            os.utime(old, (number, number))
        assert client.get(PATH).body == BODY
        assert [one.name for one in sorted((kept / "aa").iterdir()) if one.name.startswith("old")] == ["old-1", "old-2"]


@pytest.mark.parametrize(
    "path",
    [
        "2020/../../x",
        "..%2f..%2fx",
        "%2e%2e/%2e%2e/x",
        "2020/a b.fits/",
        "2020//a b.fits",
        "\0",
        "a" * 5000,
        "2020/a b.fits\0.txt",
    ],
)
def test_only_what_is_listed_is_asked_for(open_far_site, path):
    with serve_http(ServedFiles({"/pub/2020/a b.fits": BODY, "/x": b"x"})) as there:
        _, client = open_far_site(files(f"{there.address}/pub", ", proxied: true") + TABLE)
        assert client.get(f"/collections/far/files/{path}").status == 404
    assert there.asked == []


def test_rows_that_name_no_file_are_kept_aside(open_far_site):
    names = [
        "../../etc/passwd",
        "/etc/passwd",
        "a\tb",
        "a//b",
        ".",
        "",
        "b" * 300,
        "c/" * 1500,
        "d\\e",
        *(f"ok{n}.fits" for n in range(9)),
    ]
    rows = "id,year,name,length,was\n" + "".join(f'{n},2020,"{name}",,\n' for n, name in enumerate(names))
    site, client = open_far_site(files("ftp://ftp.example.org/pub") + TABLE, rows=rows)
    listed = client.get("/collections/far/files").text.splitlines()
    assert [line.rpartition(" ")[2] for line in listed] == [f"ok{n}.fits" for n in range(9)]
    aside = "".join(one.read_text() for one in (site.settings.var_directory / "rejects").rglob("*.csv"))
    assert "or . or .. as a part" in aside
    assert "at most 2,000 bytes" in aside


def test_a_directory_elsewhere_is_one_of_the_roots(open_far_site, tmp_path):
    """Without checksums; sizes and times say which state a file has, and links must stay within the roots."""
    archive, other = tmp_path / "archive", tmp_path / "other"
    for place in (archive / "2020", other):
        place.mkdir(parents=True)
    (archive / "2020" / "a b.fits").write_bytes(BODY)
    (archive / "empty.fits").touch()
    (other / "secret.fits").write_bytes(b"secret")
    line = f'files: [{{root: "{archive}", files: "**/*.fits", checksums: false}}]\n'
    with pytest.raises(Exception, match=r"is outside the site, and not in `roots` in hven\.toml"):
        open_far_site(line)
    site, client = open_far_site(line, more=f'roots = ["{archive}"]\n')
    whole = client.get(PATH)
    assert whole.body == BODY
    assert re.fullmatch(r'"[0-9a-f]{40}"', whole.headers["etag"])
    part = client.ask("GET", PATH, headers={"range": "bytes=9-", "if-range": whole.headers["etag"]})
    assert (part.status, part.body) == (206, BODY[9:])
    assert client.get("/collections/far/files/empty.fits").body == b""
    pins = site.store.read_published_records()[1]["far.files"].provenance["pins"]
    assert [pin["name"] for pin in pins] == ["files"]  # pages show it: not where they lie
    (archive / "2020" / "a b.fits").write_bytes(BODY)  # another time
    assert client.get(PATH).status == 503
    (archive / "empty.fits").unlink()
    (archive / "empty.fits").symlink_to(other / "secret.fits")
    answer = client.get("/collections/far/files/empty.fits")
    assert (answer.status, b"secret" in answer.body, str(tmp_path) in answer.text) == (503, False, False)
    with pytest.raises(Exception, match="is a link to a file outside"):
        ingest_collection(site, "far")


def test_rows_name_files_of_a_directory_elsewhere(open_far_site, tmp_path):
    archive = tmp_path / "archive"
    (archive / "2020").mkdir(parents=True)
    (archive / "2020" / "a b.fits").write_bytes(BODY)
    line = f'files: [{{root: "{archive}", at: raw, from: main, path: "{{year}}/{{name}}"}}]\n'
    rows = ROWS + "2,2021,gone.fits,,\n"
    table = TABLE.replace('file: "{target.year}', 'file: "raw/{target.year}')
    _, client = open_far_site(line + table, rows, f'roots = ["{archive}"]\n')
    (listed,) = client.get("/collections/far/files").text.splitlines()
    assert listed.split()[0] == hashlib.sha256(BODY).hexdigest()
    assert client.get("/collections/far/files/raw/2020/a b.fits").body == BODY
    links = client.get("/datalink/far.main?ID=1&ID=2&RESPONSEFORMAT=csv").text
    assert "/files/raw/2020/a%20b.fits,,," in links
    assert '2,,,"NotFoundFault: the collection does not have this file, or no longer has it"' in links


def test_old_addresses_answer_with_the_same_bytes(open_far_site):
    require_setting("alias")
    more = """
[[alias]]
path = "/sitools/datastorage/user/*"
to = "/collections/far/files/*"
[[alias]]
path = "ftp://ftp.old.example/pub/*"
to = "/collections/far/files/*"
"""
    with serve_ftp(ServedFiles({"/pub/2020/a b.fits": BODY})) as there:
        site, client = open_far_site(files(f"{there.address}/pub") + TABLE, more=more)
        olds = ["/sitools/datastorage/user/2020/a b.fits"]
        olds += [f"/{begin}ftp.old.example/pub/2020/a b.fits" for begin in ("ftp://", "ftp:/")]
        for old in olds:
            assert client.get(old).body == BODY
            part = client.ask("GET", old, headers={"range": "bytes=5-9"})
            assert (part.status, part.body) == (206, BODY[5:10])
        assert client.get("/sitools/datastorage/user/../../tap").status == 404
        assert client.get("/sitools/datastorage/other/x").status == 404
        links = client.get("/datalink/far.main?ID=1&RESPONSEFORMAT=csv").text.splitlines()
        assert links[2].startswith(f"1,http://vo.example{URL},,,,#preview,application/fits")
        descriptor = site.settings.collections_directory / "far" / "far.yaml"
        descriptor.write_text(descriptor.read_text() + "access: private\n")
        site.refresh_published_state()
        assert {client.get(old).status for old in [*olds, PATH]} == {404}


LEVELS = """\
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns: {id: string, pi: string, file: string, rel: timestamp}
    links: [{semantics: this, file: "{target.file}"}]
    access: {rows: rel <= now or reader in (pi), files: rel <= now or reader in (pi), take: rel <= now or pi = 'bert' and reader in (pi), path: file}
"""


@pytest.mark.parametrize("root", ["https://archive.example.org/x", "ftp"])
def test_rights_of_rows_apply_to_remote_files(open_far_site, root):
    """Seen, known, taken: by our address and by an alias; nobody is led anywhere before."""
    rows = "id,pi,file,rel\n1,anna,open.fits,2020-01-01\n2,anna,anna.fits,2090-01-01\n3,bert,bert.fits,2090-01-01\n"
    names = ("open.fits", "anna.fits", "bert.fits")
    with serve_ftp(ServedFiles({f"/pub/{name}": name.encode() for name in names})) as there:
        led = root != "ftp"
        where = f'"{root}"' if led else f'"{there.address}/pub"'
        line = f'files: [{{root: {where}, from: main, path: "{{file}}", proxied: {str(not led).lower()}}}]\n'
        more = '[[alias]]\npath = "/old/*"\nto = "/collections/far/files/*"\n' if has_setting("alias") else ""
        site, client = open_far_site(line + LEVELS, rows, more)
        tokens = {name: site.store.users.add_account(name) for name in ("anna", "bert")}

        def list_statuses(who: str | None, path: str) -> list[int]:
            headers = {} if who is None else {"authorization": f"Bearer {tokens[who]}"}
            found = []
            for name in names:
                answer = client.ask("GET", f"{path}/{name}", headers=headers)
                found.append(answer.status)
                if answer.status in {401, 403, 404}:
                    assert "archive.example" not in answer.text + str(answer.headers)
                elif not led:
                    assert answer.body == name.encode()
            return found

        fine = 307 if led else 200
        for path in ("/collections/far/files", *(["/old"] if more else [])):
            assert list_statuses(None, path) == [fine, 404, 404]
            assert list_statuses("anna", path) == [fine, 403, 404]
            assert list_statuses("bert", path) == [fine, 404, fine]
        assert not any("RETR" in line and "anna" in line for line in there.asked)


@pytest.mark.parametrize("access", ["private", "{rows: rel <= now or reader in (pi)}", "rel <= now"])
@pytest.mark.parametrize("table_name", ["main", "far.main"])
def test_no_list_tells_of_rows_that_are_hidden(open_far_site, access, table_name):
    """Files that rows name, where nothing says which of them is a row's: they are the owner's alone."""
    rows = "id,pi,file,rel\n1,anna,open.fits,2020-01-01\n2,anna,anna.fits,2090-01-01\n"
    table = LEVELS[: LEVELS.index("    access:")] + f"    access: {access}\n"
    site, client = open_far_site(
        f'files: [{{root: "ftp://ftp.example.org/x", from: {table_name}, path: "{{file}}"}}]\n' + table, rows
    )
    told = [
        fault.message
        for fault in check_descriptor(site.settings.collections_directory / "far" / "far.yaml", site.settings)
    ]
    assert any("the rows of far.main name the files, but some users cannot see all these rows" in one for one in told)
    assert client.get("/collections/far/files").status == 404
    assert client.get("/collections/far/files/anna.fits").status == 404
    assert "far.files" not in client.get("/tap/tables").text


FAULTS = {
    '{root: "https://u:p@archive.example/x", from: main, path: "{name}"}': "must not contain a user name, a password",
    '{root: "https://archive.example/a/../b", from: main, path: "{name}"}': "the address contains spaces, or has . or .. as a part",
    '{root: "file:///etc", files: passwd}': "Hven cannot open addresses that begin with file://",
    '{root: "zip://a.zip::https://x", files: a}': "is not an address",
    '{root: "/etc", files: passwd}': "is outside the site",
    '{root: "s3://bucket/x", files: a, proxied: false}': "users cannot open s3://",
    '{root: "ftp://x/y", at: ../z, files: a}': "is not a path within the collection",
    '{root: "ftp://x/y", files: ../a}': "is not in the descriptor's directory",
    '{files: a, from: main, path: "{name}"}': "an entry needs either 'files' or 'from'",
    "{from: main}": "files.from needs `path`, which gives the path of each file",
    '{from: main, path: "{year:04d}"}': "a format such as :04d or :iso cannot be used here",
    "{files: a.txt, proxied: true}": "this key needs 'root'",
}


@pytest.mark.parametrize("line", FAULTS)
def test_faults_are_told_with_their_place(open_far_site, line):
    with pytest.raises(Exception, match=r"far\.yaml:3:\d+: .*" + re.escape(FAULTS[line])):
        open_far_site(f"files: [{line}]\n{TABLE}")


def test_two_roots_need_two_places(open_far_site):
    lines = "files: [{root: 'ftp://a.example/x', from: main, path: '{name}'}, {root: 'ftp://b.example/x', from: main, path: '{name}'}]\n"
    with pytest.raises(
        Exception,
        match="two roots have no `at`; write a different `at` for each root, such as `at: raw`",
    ):
        open_far_site(lines + TABLE)


def test_files_without_checksums_have_different_etags(open_far_site, tmp_path):
    """Of one size and one time, as instruments write them: neither tags nor sums of archives are those of the other; a link within the roots has ranges, too."""
    require_plugins("protocols", "archive")
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("a.fits", "b.fits"):
        (archive / name).write_bytes(name.encode() * 100)
        os.utime(archive / name, (1_700_000_000, 1_700_000_000))
    (archive / "c.fits").symlink_to(archive / "a.fits")
    line = f'files: [{{root: "{archive}", files: "*.fits", checksums: false}}]\n'
    _, client = open_far_site(line, more=f'roots = ["{archive}"]\n')
    answers = [client.get(f"/collections/far/files/{name}.fits") for name in "abc"]
    assert len({answer.headers["etag"] for answer in answers}) == 3
    assert client.ask("GET", "/collections/far/files/c.fits", headers={"range": "bytes=0-5"}).body == b"a.fits"
    packed = client.get("/archive", QUERY="SELECT url FROM far.files").body
    with zipfile.ZipFile(io.BytesIO(packed)) as made:
        assert made.testzip() is None
        read = {name.rpartition("/")[2]: made.read(name) for name in made.namelist() if name.endswith(".fits")}
    assert read == {"a.fits": b"a.fits" * 100, "b.fits": b"b.fits" * 100, "c.fits": b"a.fits" * 100}
