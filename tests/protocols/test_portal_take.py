"""What readers take home: rows in every format, files as scripts that a real shell runs, whatever stands in the cells."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import astropy.table
import pyarrow as pa
import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st

from hven.app._server import create_and_start_application
from hven.model.table import Column, Table
from hven.model.types import INT32, INT64, STRING, parse_type
from hven.portal._views import downloads
from hven.services import scripts
from hven.testing.site import open_tiny_site

HOSTILE = [
    "https://example.org/$(touch hacked)/`touch hacked`/a.fits",
    "https://example.org/x'; touch hacked; '/b.fits",
    'https://example.org/b.fits?x="$HOME"&y=|;',
    "https://example.org/[1-3]/{a,b}.fits",
    "https://example.org/é à/c d.fits",
    "https://example.org/..%2f..%2fetc%2fpasswd",
    "https://example.org/%2e%2e",
    "https://example.org/-rf",
    "https://example.org/.bashrc",
    "https://example.org/A.FITS",
    "https://example.org/d\\e.fits",
]
REFUSED = [
    "javascript:alert(1)",
    "file:///etc/passwd",
    "https://example.org/x\nrm -rf .",
    "-o /etc/passwd",
    "https://user:secret@example.org/a",
    "https://exa\u202emple.org/a",
    "https:///a",
]
FILES = Table(
    schema="cat",
    name="granules",
    primary=("id",),
    columns=(
        Column(name="id", type=INT32, rank=1),
        Column(name="target", type=STRING, rank=1),
        Column(name="access_url", type=STRING, ucd="meta.ref.url", rank=1),
        Column(name="access_estsize", type=INT64, unit="kbyte", ucd="phys.size;meta.file", rank=5),
        Column(name="thumbnail_url", type=STRING, ucd="meta.ref.url;meta.preview", rank=20),
    ),
)

LINKED = Table(
    schema="cat",
    name="linked",
    primary=("id",),
    columns=(
        Column(name="id", type=INT32, rank=1, link="https://example.org/{folder}/{id}.fits"),
        Column(name="folder", type=STRING, rank=1),
        Column(name="page", type=STRING, rank=2, link="javascript:{id}"),
        Column(name="secret", type=STRING, rank=2, hidden=True),
        Column(name="other", type=STRING, rank=2, link="https://example.org/{secret}"),
    ),
)
FOLDERS = ["a", "a b/../c", "'; touch hacked; '", "$(touch hacked)", None, "é"]


def rows() -> pa.Table:
    addresses: list[str | None] = [
        *HOSTILE,
        *REFUSED,
        None,
        "https://example.org/dir/plain.fits",
        "https://example.org/other/plain.fits",
    ]
    number = len(addresses)
    return pa.table(
        {
            "id": pa.array(range(number), pa.int32()),
            "target": ["Mars" if n % 2 else "it's <b>Venus</b>" for n in range(number)],
            "access_url": addresses,
            "access_estsize": pa.array([1000 if n < 10 else None for n in range(number)], pa.int64()),
            "thumbnail_url": [f"https://example.org/{n}.png" for n in range(number)],
        }
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    numbers = Table(schema="cat", name="numbers", primary=("id",), columns=(Column(name="id", type=INT32, rank=1),))
    lists = Table(schema="cat", name="lists", columns=(Column(name="names", type=parse_type("string[8x*]"), rank=1),))
    words = ["x"] * len(FOLDERS)
    linked = pa.table(
        {
            "id": pa.array(range(len(FOLDERS)), pa.int32()),
            "folder": FOLDERS,
            "page": words,
            "secret": words,
            "other": words,
        }
    )
    with open_tiny_site(
        tmp_path_factory.mktemp("site"),
        {
            "cat.granules": (FILES, rows()),
            "cat.numbers": (numbers, pa.table({"id": pa.array([1, 2], pa.int32())})),
            "cat.linked": (LINKED, linked),
            "cat.lists": (lists, pa.table({"names": pa.array([["Mars", "a b"]])})),
        },
    ) as site:
        yield Client(create_and_start_application(site))


def run_script(script: bytes, directory: Path, program: str) -> list[list[str]]:
    """Run a script in a real shell with a program of ours in place of wget or curl; gives the words of each call."""
    fake = directory / "bin"
    fake.mkdir()
    # writes its words, each with a zero byte behind it, and makes the file that it was told to
    (fake / program).write_text(
        "#!/bin/sh\nfor word in \"$@\"; do printf '%s\\0' \"$word\"; done >> calls\nprintf '\\n' >> calls\n"
        'while [ $# -gt 0 ]; do [ "$1" = -O ] || [ "$1" = -o ] && : > "$2"; shift; done\n'
    )
    (fake / program).chmod(0o755)
    (directory / "script.sh").write_bytes(script)
    subprocess.run(["sh", "-n", "script.sh"], cwd=directory, check=True)
    done = subprocess.run(
        ["sh", "script.sh"],
        cwd=directory,
        env={"PATH": f"{fake}:/usr/bin:/bin", "HOME": "/nowhere", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (directory / "calls").read_bytes().decode()
    return [line.split("\0") for line in text.split("\0\n") if line]


@pytest.mark.parametrize("program", ["wget", "curl"])
def test_a_script_fetches_hostile_addresses_and_nothing_else(client: Client, tmp_path: Path, program: str) -> None:
    answer = client.get("/collections/cat/granules/script", _as=program)
    assert answer.status == 200
    assert "attachment" in answer.headers["content-disposition"]
    calls = run_script(answer.body, tmp_path, program)
    asked = [next(word for word in call if word.startswith("http")) for call in calls]
    assert asked == [scripts.escape_address_if_allowed(text) for text in HOSTILE] + [
        "https://example.org/dir/plain.fits",
        "https://example.org/other/plain.fits",
    ]
    left = {path.name for path in tmp_path.iterdir()} - {"bin", "script.sh", "calls"}
    assert len(left) == len(asked), "a file for each address, and nothing else was made"
    assert "hacked" not in left
    assert not [name for name in left if name.startswith((".", "-")) or "/" in name]
    assert {"plain.fits", "plain-2.fits", "a.fits", "A-2.FITS", "b.fits", "b-2.fits", "rf", "bashrc"} <= left
    text = answer.text
    assert f"{len(REFUSED)} rows are left out, because their address is not an http" in text
    assert "10 MB and more" in text
    assert text.count("example.org/x\n") == 0


def test_a_script_is_run_again_without_fetching_twice(client: Client, tmp_path: Path) -> None:
    script = client.get("/collections/cat/granules/script", _as="wget", id="0").body
    assert len(run_script(script, tmp_path, "wget")) == 1
    (tmp_path / "calls").write_text("")
    subprocess.run(["sh", "script.sh"], cwd=tmp_path, env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, check=True)
    assert (tmp_path / "calls").read_text() == ""


@given(st.text(max_size=60))
def test_any_name_becomes_a_plain_one(text: str) -> None:
    found = scripts.make_safe_name(text)
    assert found
    assert not set(found) & set("/\0\n")
    assert not found.startswith((".", "-"))
    assert len(found.encode()) <= 255
    done = scripts.UniqueFileNameRegistry()
    assert len({done.make_unique(found).casefold() for _ in range(5)}) == 5


@given(st.text(max_size=80))
def test_any_address_is_plain_ascii_of_one_word(text: str) -> None:
    found = scripts.escape_address_if_allowed(f"https://example.org/{text}")
    assert found.isascii()
    assert not set(found) & set(" \t\n\r'\"\\`<>^{|}")


def test_lists_of_links(client: Client) -> None:
    links = client.get("/collections/cat/granules/script", _as="links", target="Mars").text.splitlines()
    assert links
    assert all(line.startswith("https://example.org/") for line in links)
    aria = client.get("/collections/cat/granules/script", _as="aria2", target="Mars").text.splitlines()
    pairs = [line for line in aria if not line.startswith("#")]
    assert pairs[0::2] == links
    assert all(line.startswith("  out=") for line in pairs[1::2])
    pictures = client.get("/collections/cat/granules/script", _as="links", _link="thumbnail_url").text.splitlines()
    assert pictures[0] == "https://example.org/0.png"


@pytest.mark.parametrize("program", ["wget", "curl"])
def test_links_of_a_template_are_in_the_cart(client: Client, tmp_path: Path, program: str) -> None:
    told = json.loads(client.get("/collections/cat/linked/take").body)
    assert [one["name"] for one in told["links"]] == ["id"], (
        "neither what is not an address, nor what a hidden column would show"
    )
    calls = run_script(client.get("/collections/cat/linked/script", _as=program, _sort="id").body, tmp_path, program)
    asked = [next(word for word in call if word.startswith("https:")) for call in calls]
    assert asked == [
        f"https://example.org/{folder}/{number}.fits"
        for number, folder in enumerate(
            ["a", "a%20b%2F..%2Fc", "%27%3B%20touch%20hacked%3B%20%27", "%24%28touch%20hacked%29", None, "%C3%A9"]
        )
        if folder is not None
    ]
    assert not (tmp_path / "hacked").exists()
    found = client.get("/collections/cat/linked/script", _as="links", id="1..2").text
    assert found.splitlines() == asked[1:3]


def test_marked_rows_alone(client: Client) -> None:
    body = urlencode([("_key", "[19]"), ("_key", "[20]"), ("_key", "nonsense"), ("_key", '["x"]')]).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.ask("POST", "/collections/cat/granules/script?_as=links&target=Mars", body=body, headers=headers)
    assert answer.text == "https://example.org/dir/plain.fits\nhttps://example.org/other/plain.fits\n"
    answer = client.ask("POST", "/collections/cat/granules/take", body=body, headers=headers)
    told = json.loads(answer.body)
    assert (told["rows"], told["files"]["files"]) == (2, 2)
    assert "IN (19, 20)" in told["adql"]
    answer = client.ask("POST", "/collections/cat/granules/download?_as=csv", body=body, headers=headers)
    assert answer.text.count("\n") == 3


def test_what_there_is_to_take(client: Client) -> None:
    told = json.loads(client.get("/collections/cat/granules/take").body)
    number = len(HOSTILE) + len(REFUSED) + 3
    assert told["rows"] == number
    assert told["files"] == {
        "column": "access_url",
        "files": number - 1,
        "bytes": 10_000_000,
        "sized": 10,
        "most": scripts.MAX_SCRIPT_FILES,
    }
    assert [one["name"] for one in told["links"]] == ["access_url", "thumbnail_url"]
    told = json.loads(client.get("/collections/cat/numbers/take").body)
    assert (told["files"], told["scripts"]) == (None, [])
    answer = client.get("/collections/cat/numbers/script", _as="wget")
    assert answer.status == 400
    assert "no column of this table links to files" in answer.text
    assert client.get("/collections/cat/granules/script", _as="perl").status == 400
    assert client.get("/collections/cat/granules/script", _link="target").status == 400
    assert client.get("/collections/cat/nothing/script").status == 404


def test_small_tables_are_sent_as_text(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that transform a VOTable by XSLT read TABLEDATA; large tables are BINARY2, which is read faster."""
    for limit, is_text in ((downloads.MAX_TABLEDATA_ROWS, True), (1, False)):
        monkeypatch.setattr(downloads, "MAX_TABLEDATA_ROWS", limit)
        sent = urlsplit(json.loads(client.get("/collections/cat/numbers/take").body)["table"])
        body = client.ask("GET", sent.path, sent.query.encode()).body
        assert (b"<TABLEDATA>" in body) == is_text
        assert (b"<BINARY2>" in body) != is_text


@pytest.mark.parametrize("name", ["votable", "csv", "fits", "parquet", "json", "arrow", "tsv", "text"])
def test_every_format(client: Client, name: str) -> None:
    answer = client.get("/collections/cat/granules/download", _as=name, id="19..20", _sort="-id", _cols="id,target")
    assert answer.status == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="cat.granules.')
    kind = {"csv": "ascii.csv", "tsv": "ascii.tab"}.get(name, name)
    if name in {"votable", "csv", "fits", "tsv"}:
        found = astropy.table.Table.read(io.BytesIO(answer.body), format=kind)
        assert list(found["id"]) == [20, 19]
        assert found.colnames == ["id", "target"]
    assert client.get("/collections/cat/granules/download", _as="csv", _all="1").text.splitlines()[0].count(",") == 4


def test_lines_say_the_same_query_to_every_program(client: Client, tmp_path: Path) -> None:
    told = json.loads(client.get("/collections/cat/granules/take", target="it's*").body)
    lines = {one["name"]: one["text"] for one in told["lines"]}
    assert set(lines) == {"ADQL", "curl", "pyvo", "STILTS", "Python", "TOPCAT"}
    assert "it''s" in lines["ADQL"]
    for name, program in (("curl", "curl"), ("STILTS", "stilts")):
        fake = tmp_path / program
        fake.write_text('#!/bin/sh\nfor word in "$@"; do printf \'%s\\0\' "$word"; done\n')
        fake.chmod(0o755)
        done = subprocess.run(
            ["sh", "-c", lines[name]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, check=True
        )
        words = done.stdout.decode().split("\0")
        assert [word for word in words if word.endswith(told["adql"])], name
    address = shlex.split(lines["TOPCAT"])[-1]
    assert parse_qs(urlsplit(address).query)["QUERY"] == [told["adql"]]
    for name in ("pyvo", "Python"):
        compile(lines[name], name, "exec")
        assert repr(told["adql"]) in lines[name]


@pytest.mark.parametrize(("name", "is_json"), [("lists", True), ("granules", False)])
def test_python_reads_arrays_of_texts_as_json(client: Client, name: str, is_json: bool) -> None:
    answer = client.get(f"/collections/cat/{name}/take")
    entries = {entry["name"]: entry for entry in json.loads(answer.body)["lines"]}
    for program in ("pyvo", "Python"):
        compile(entries[program]["text"], program, "exec")
        assert ("votable;strings=json" in entries[program]["text"]) == is_json, program
    page = client.get(f"/collections/cat/{name}").text
    assert ("votable;strings=json" in page) == is_json
    address = urlsplit(entries["Python"]["url"])
    found = astropy.table.Table.read(
        io.BytesIO(client.ask("GET", address.path, address.query.encode()).body), format="votable"
    )
    if is_json:
        assert json.loads(found["names"][0]) == ["Mars", "a b"]


def test_the_page_has_it_without_scripts(client: Client) -> None:
    page = client.ask("GET", "/collections/cat/granules?target=" + quote("it's*")).text
    assert "/collections/cat/granules/download?target=it%27s%2A&amp;_as=csv" in page
    assert "/collections/cat/granules/script?target=it%27s%2A&amp;_as=wget" in page
    assert "pyvo.dal.TAPService" in page


@pytest.mark.needs("wget", "curl")
def test_wget_and_curl_know_the_options(client: Client) -> None:
    for program in ("wget", "curl"):
        line = next(
            one
            for one in client.get("/collections/cat/granules/script", _as=program).text.splitlines()
            if one.startswith("  if ")
        )
        words = [word for word in line.split() if word.startswith("-") and word != "--"][:6]
        done = subprocess.run(
            [program, "--help", *(["all"] if program == "curl" else [])], capture_output=True, text=True, check=True
        )
        for word in words:
            if word.startswith("--") or len(word) == 2:
                assert word in done.stdout
