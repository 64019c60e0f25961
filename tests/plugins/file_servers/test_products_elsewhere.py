"""Products of servers elsewhere: cut, drawn, looked into and converted by ranges, packed in archives, for those who may take them; faults by their words."""
# ruff: noqa: F811  (fixtures are imported)

from __future__ import annotations

import csv
import io
import re
import threading
import time
import zipfile
from dataclasses import replace

import pytest
from asgi_client import Client

from file_servers import ServedFiles, serve_http, serve_s3
from hven.model import plugins
from hven.model.errors import UpstreamError, UserError
from hven.model.table import FileRoot
from hven.plugins.file_servers import s3_store
from hven.sources.remote_stores import open_remote_store
from plugin_needs import load_core_fixtures, require_plugins
from remote_products import FILES, NOTES, open_far_client, stored_root  # noqa: F401


def test_they_are_looked_into_as_if_they_lay_here(open_far_client, stored_root):
    """Wherever they lie, and where readers are led to the server as well."""
    said, _ = stored_root
    client = open_far_client(**said)
    for address in load_core_fixtures("REMOTE_PICTURE_ADDRESSES").values():
        drawn = client.get(address)
        assert (drawn.status, drawn.body[:4]) == (200, b"\x89PNG"), drawn.text
    assert "CRVAL1" in client.get("/collections/far/headers/image.fits", RESPONSEFORMAT="csv").text


def members(client: Client, **more: str) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
    """Take an archive of all files; give what is in it, and its manifest by the files' names."""
    answer = client.get("/archive", QUERY="SELECT url FROM far.files", **more)
    assert answer.status == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.body)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as made:
        assert made.testzip() is None
        found = {name.rpartition("/")[2]: made.read(name) for name in made.namelist()}
    lines = list(csv.DictReader(io.StringIO(found.pop("MANIFEST.csv").decode())))
    return found, {line["address"].rpartition("/")[2]: line for line in lines}


def test_archives_have_them(open_far_client, stored_root):
    require_plugins("protocols", "archive")
    said, there = stored_root
    gone = () if said["root"].startswith("/") else ("never.fits",)  # on the disk it is not listed
    client = open_far_client(
        **({"options": ", proxied: true"} if said["root"].startswith("http") else {}) | said, names=(*FILES, *gone)
    )
    found, told = members(client)
    assert {name: found[name] for name in FILES} == FILES
    assert (told["image.fits"]["status"], told["image.fits"]["bytes"]) == ("here", str(len(FILES["image.fits"])))
    for name in gone:
        assert told[name]["status"] == "missing"
        assert "no longer has it" in told[name]["reason"]
    answer = client.get("/archive", QUERY="SELECT url FROM far.files")
    part = client.ask(
        "GET",
        "/archive?QUERY=SELECT+url+FROM+far.files",
        headers={"range": "bytes=5000000-5000009", "if-range": answer.headers["etag"]},
    )
    assert (part.status, part.body) == (206, answer.body[5_000_000:5_000_010])
    if there is not None:
        before = len(there.asked)
        assert client.get("/archive", QUERY="SELECT url FROM far.files").body == answer.body
        assert not any(re.match("GET|RETR", line) for line in there.asked[before:])  # blocks that are kept


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_small_files_come_several_at_once_into_an_archive(open_far_client, form):
    """A server far away takes its time for each answer: an archive that asked one after the other took that time twenty times."""
    require_plugins("protocols", "archive")
    files = {f"{number:02}.dat": bytes([number]) * 1000 for number in range(20)}
    with serve_http(ServedFiles({f"/{name}": body for name, body in files.items()})) as there:
        client = open_far_client(there.address, names=tuple(files), options=", proxied: true")
        waiting = most = 0
        lock = threading.Lock()

        def hold(line: str) -> None:
            nonlocal waiting, most
            if not line.startswith("GET"):
                return
            with lock:
                waiting += 1
                most = max(most, waiting)
            time.sleep(0.05)
            with lock:
                waiting -= 1

        there.hold = hold
        before = len(there.asked)
        answer = client.get("/archive", QUERY="SELECT url FROM far.files", FORMAT=form)
        assert answer.status == 200
        reads = [line for line in there.asked[before:] if line.startswith("GET")]
        assert len(reads) == len({line.split()[1] for line in reads}) == 20  # each once
        assert sum(line.startswith("HEAD") for line in there.asked[before:]) <= 20
    assert most >= 4


def test_what_breaks_off_in_an_archive_is_told_by_the_next(open_far_client):
    """Sizes are said beforehand: the connection is cut, and who asks again gets the others, with the reason."""
    require_plugins("protocols", "archive")
    with serve_http(ServedFiles({f"/{name}": body for name, body in FILES.items()})) as there:
        client = open_far_client(
            there.address, names=("notes.txt", "image.fits"), options=", proxied: true", more="[files]\nfresh = 0\n"
        )
        there.cut = 100_000
        with pytest.raises(
            Exception, match=r"the file image\.fits is not available at the moment: the server that keeps it"
        ):
            client.get("/archive", QUERY="SELECT url FROM far.files")
        found, told = members(client)
        assert (found["notes.txt"], "image.fits" in found) == (NOTES, False)
        assert told["image.fits"]["status"] == "missing"
        assert re.fullmatch(r"the file image\.fits is not available at the moment: .*", told["image.fits"]["reason"])
        assert not re.search(r"127\.0", told["image.fits"]["reason"])


@pytest.mark.parametrize("fault", ["gone", "changed", "cut", "slow", "refused"])
def test_a_server_that_fails_is_told_as_one(open_far_client, fault):
    """While a file is looked into: 502, 503, 504; never as a damaged file, nor by the server's name; and what comes after is served."""
    with serve_http(ServedFiles({f"/{name}": body for name, body in FILES.items()})) as there:
        seconds = 0.4 if fault == "slow" else 60  # others must not be slow by chance, on a machine that is busy
        more = f"[files]\nseconds = {seconds}\nfresh = 60\n"
        client = open_far_client(there.address, names=("image.fits",), options=", proxied: true", more=more)
        assert client.ask("HEAD", "/collections/far/files/image.fits").status == 200  # what it is is known now
        if fault == "gone":
            del there.files["/image.fits"]
        elif fault == "changed":
            there.tag = '"two"'
        elif fault == "cut":
            there.cut = 1000
        elif fault == "slow":
            there.pause = 1.0
        else:
            there.moved = {"/image.fits": "http://169.254.169.254/x"}
        for path in (
            *load_core_fixtures("REMOTE_FILE_ADDRESSES").values(),
            "/collections/far/headers/image.fits",
        ):
            bad = client.get(path)
            if fault == "changed" and bad.status == 200:  # asked for anew
                assert not path.startswith("/soda")
                continue
            assert bad.status in ({504} if fault == "slow" else {502, 503}), (path, bad.text)
            assert not re.search(r"127\.0|169\.254|damaged", bad.text), bad.text


def test_a_bucket_is_read_with_its_key_or_anonymously(open_far_client, monkeypatch, caplog):
    """Signatures are judged by moto; a wrong key is told without a word of it; long lists come in pages."""
    monkeypatch.setattr(s3_store, "FILES_PER_LIST_PAGE", 7)
    with serve_s3(
        {"a/image+ü.fits": NOTES, "a/open.txt": b"open", **{f"many/{n:02d}.txt": b"%d" % n for n in range(20)}}
    ) as (
        address,
        key,
        secret,
    ):
        root = FileRoot(address="s3://observatory", options={"endpoint_url": address, "key": key, "secret": "$S"})

        def open_bucket(**options):
            said = {**root.options, **options}
            return open_remote_store(
                replace(root, options=said), resolve_secret=lambda _: secret, allow_private=True, timeout_seconds=5.0
            )

        fact = open_bucket().fetch_facts("a/image+ü.fits")
        assert b"".join(open_bucket().read_range("a/image+ü.fits", 5, 20, fact)) == NOTES[5:20]
        listed = list(open_bucket().list_files(["many/*.txt", "**/*.fits"], ["01.txt"]))
        assert (len(listed), listed[0]) == (20, ("a/image+ü.fits", fact))
        with pytest.raises(UpstreamError, match="it changed while Hven was reading it"):
            list(open_bucket().read_range("a/image+ü.fits", 5, 20, replace(fact, tag='"other"')))
        with pytest.raises(UpstreamError, match="no longer has it"):
            open_bucket().fetch_facts("a/never.fits")
        for wrong in ({"secret": "WRONG"}, {"key": "WRONG"}, {"anon": "true"}, {"token": "WRONG"}):
            with pytest.raises(
                UpstreamError,
                match=r"does not send it: it returned status 40[03]; report this to the operators of this site",
            ):
                open_bucket(**wrong).fetch_facts("a/image+ü.fits")
            if "anon" in wrong:  # of which moto makes a fault of its own
                continue
            with pytest.raises(
                UpstreamError,
                match=r"does not send it: it returned status 40[03]; report this to the operators of this site",
            ):
                list(open_bucket(**wrong).list_files(["**/*.fits"], []))
        with pytest.raises(UserError, match="'acl' is not a valid S3 option"):
            open_bucket(acl="x")
        options = f", options: {{endpoint_url: '{address}', key: {key}, secret: $STORE}}"
        client = open_far_client("s3://observatory/a", names=("image+ü.fits",), options=options, secret="WRONG/+SECRET")
        paths = ["files", "headers"]
        if "previews" in plugins.list_plugins("protocols"):
            paths.append("preview")
        for path in paths:
            bad = client.get(f"/collections/far/{path}/image+ü.fits")
            assert (bad.status, "does not send it" in bad.text) == (502, True)
            assert not re.search(rf"WRONG|{key}|Signature|127\.0", bad.text + caplog.text)
        from moto import settings as moto_settings

        moto_settings.INITIAL_NO_AUTH_ACTION_COUNT = float("inf")  # everybody may read what is public
        assert open_bucket(anon="true").fetch_facts("a/open.txt").bytes == 4
        with pytest.raises(UpstreamError, match="it returned status 403"):
            open_bucket(anon="true").fetch_facts("a/image+ü.fits")


def test_where_a_bucket_is_asked():
    """Of Amazon by its name, or by its path where a certificate has no such name; a private address is none of ours."""
    for address, options, host in (
        ("s3://maps/x", {}, "https://maps.s3.us-east-1.amazonaws.com/x"),
        ("s3://maps.org/x", {"region": "eu-west-3"}, "https://s3.eu-west-3.amazonaws.com/maps.org/x"),
        ("s3://maps/x y/", {"endpoint_url": "https://s3.obs.example/"}, "https://s3.obs.example/maps/x%20y"),
    ):
        assert (
            open_remote_store(
                FileRoot(address=address, options=options),
                resolve_secret=None,
                allow_private=False,
                timeout_seconds=1.0,
            )._address
            == host
        )
    there = open_remote_store(
        FileRoot(address="s3://maps", options={"endpoint_url": "http://169.254.169.254"}),
        resolve_secret=None,
        allow_private=False,
        timeout_seconds=1.0,
    )
    with pytest.raises(UpstreamError, match="cannot be reached"):
        there.fetch_facts("x")
