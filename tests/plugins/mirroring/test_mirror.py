"""``hven mirror``: two servers; the second run takes what changed; nothing private comes along, and nothing that is told is run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hven.model.errors import SourceError
from hven.model.settings import Settings, load_settings
from hven.plugins.mirroring import mirror_descriptors as mirroring
from hven.plugins.mirroring import verb as mirror
from hven.site import Site
from hven.sources import http_client
from plugin_needs import require_plugins
from process_runner import Server, run_hven, serve_site, wait_until

STARS = """
collection: stars
title: "Stars: all of them"
description: Positions {of} stars $NOW
licence: CC-BY-4.0
citation: Brahe (1598)
creators: [{name: Tycho Brahe, email: tycho@hven.example, orcid: 0000-0001-2345-6789}]
contact: {name: Sophie, email: sophie@hven.example}
let: {password: not-for-others}
files:
  - {files: "doc/*.txt", title: Notes}
tables:
  main:
    title: Main
    source: {kind: csv, files: "data/a.csv"}
    primary: id
    frames: {sky: {kind: coosys, system: ICRS}}
    enums: {kinds: {"1": star, "2": planet}}
    groups: {where: {value: ra, error: dec, description: A pair}}
    keys: {twin: {columns: [id], target: others, target_columns: [number], description: "Another list"}, not_told: {columns: [id], target: secret}}
    columns:
      id: {type: int32, ucd: meta.id;meta.main, description: Number}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, frame: sky}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, frame: sky}
      name: {type: string, description: "Name: as written", rank: 3}
      kind: {type: int16, enum: kinds}
      no: {type: string}
      seen: timestamp
      inner: {type: string, hidden: true}
  others:
    source: {kind: csv, files: "data/b.csv"}
    primary: number
    columns: {number: {type: int32, required: true}}
  secret:
    access: private
    source: {kind: csv, files: "data/secret.csv"}
    primary: id
    columns: {id: int32}
"""


def rows(count: int, changed: frozenset[int] = frozenset(), gone: frozenset[int] = frozenset()) -> str:
    lines = [
        f"{n},{n % 360},{n % 90},{'new' if n in changed else 'star'} {n},{n % 2 + 1},no,2026-11-{n % 28 + 1:02}T00:00:00,inner"
        for n in range(count)
        if n not in gone
    ]
    return "id,ra,dec,name,kind,no,seen,inner\n" + "\n".join(lines) + "\n"


def content(site: Path, query: str = "SELECT * FROM stars.main ORDER BY id") -> list[list[object]]:
    return list(json.loads(run_hven("query", query, "--format", "json", "--site", site).stdout)["data"])


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("origin") / "site"
    run_hven("init", site)
    place = site / "collections" / "stars"
    (place / "data").mkdir(parents=True)
    (place / "doc").mkdir()
    (place / "stars.yaml").write_text(STARS)
    (place / "data" / "a.csv").write_text(rows(3000))
    (place / "data" / "b.csv").write_text("number\n1\n2\n")
    (place / "data" / "secret.csv").write_text("id\n1\n")
    (place / "doc" / "read me.txt").write_text("first")
    run_hven("ingest", "stars", "--site", site)
    (site / "collections" / "views").mkdir()
    (site / "collections" / "views" / "views.yaml").write_text(
        "collection: views\ntitle: Views\ntables: {some: {view: SELECT id FROM stars.main}}\n"
    )
    run_hven("ingest", "views", "--site", site)
    with serve_site(site) as server:
        yield server


@pytest.fixture(scope="module")
def copy(origin: Server, create_mirror: Callable[[Server], tuple[Path, str]]) -> Path:
    site, said = create_mirror(origin)
    assert "stars: new" in said
    assert "views: left out: " in said
    return site


def count_log_lines(origin: Server, mark: str) -> int:
    """Give the lines of the log when all is in it that was asked so far; `mark` is a word of its own."""
    origin.get("/health", behind=mark)  # one process logs in the order of its answers
    wait_until(lambda: any(f"behind={mark}" in line["query"] for line in origin.lines()))
    return len(origin.lines())


def test_the_same_rows_and_words(origin: Server, copy: Path) -> None:
    assert len(content(copy)) >= 3000  # more when both have changed
    assert content(copy) == content(origin.site)
    columns = "SELECT column_name, datatype, arraysize, xtype, unit, ucd, description, principal FROM tap_schema.columns WHERE table_name = 'stars.main' ORDER BY column_index"
    assert content(copy, columns) == content(origin.site, columns)
    with Site(load_settings(copy, {})) as ours, Site(load_settings(origin.site, {})) as theirs:
        here, there = ours.get_published_state().resources["stars"], theirs.get_published_state().resources["stars"]
        for name in ("title", "description", "licence", "citation"):
            assert getattr(here, name) == getattr(there, name)
        assert [(one.name, one.orcid, one.email) for one in here.creators] == [
            ("Tycho Brahe", "0000-0001-2345-6789", None)
        ]
        table, other = (site.get_published_state().tables_by_name["stars.main"].table for site in (ours, theirs))
        assert (table.primary, table.position, table.enums, table.frames) == (
            other.primary,
            other.position,
            other.enums,
            other.frames,
        )
        assert table.groups == other.groups
        assert [one for one in other.keys if one.id == "twin"] == list(table.keys)
        record = ours.store.read_published_records()[1]["stars.main"]
        assert origin.url in json.dumps(dict(record.provenance), default=str)


def test_nothing_private_comes_along(origin: Server, copy: Path) -> None:
    status, headers, body = origin.get("/collections/stars/descriptor")
    assert (status, headers["content-type"]) == (200, "application/yaml")
    assert origin.send("GET", "/collections/stars/descriptor", headers={"If-None-Match": headers["etag"]})[0] == 304
    for word in ("secret", "not_told", "a.csv", "not-for-others", "inner", "hven.example", "password"):
        assert word not in body.decode(), word
        assert word not in (copy / "collections" / "stars" / "stars.yaml").read_text(), word
    assert origin.get("/collections/none/descriptor")[0] == 404


def test_files_come_along(origin: Server, copy: Path) -> None:
    notes = Path("collections") / "stars" / "doc" / "read me.txt"
    assert (copy / notes).read_text() == (origin.site / notes).read_text() != ""
    query = "SELECT path, bytes, sha256, title FROM stars.files"
    assert content(copy, query) == content(origin.site, query)


def test_a_second_run_takes_what_changed(origin: Server, copy: Path) -> None:
    require_plugins("protocols", "changes")
    place = origin.site / "collections" / "stars"
    again = run_hven("mirror", origin.url, "stars", "--site", copy)
    assert "stars: as it was" in again.stdout
    (place / "data" / "a.csv").write_text(rows(3005, changed=frozenset({7, 8, 9}), gone=frozenset({100, 101})))
    (place / "doc" / "read me.txt").write_text("second")
    state = origin.get("/changes/stars.main")[1]["hven-snapshot"]
    run_hven("sync", "stars", "--site", origin.site)
    wait_until(lambda: origin.get("/changes/stars.main")[1]["hven-snapshot"] != state)
    before = count_log_lines(origin, "edit")
    report = json.loads(run_hven("mirror", origin.url, "--site", copy, "--json").stdout)[0]["report"]
    change = report["changes"]["stars.main"]
    assert (change["added"], change["changed"], change["removed"], change["read"]) == (5, 3, 2, 8)
    last = count_log_lines(origin, "mirror")
    asked = origin.lines()[before:last]
    assert any(line["path"] == "/changes/stars.main" and "since=" in line["query"] for line in asked)
    assert sum(line["bytes"] for line in asked if line["path"].startswith(("/tap/sync", "/changes"))) < 60_000
    assert content(copy) == content(origin.site)
    assert (copy / "collections" / "stars" / "doc" / "read me.txt").read_text() == "second"


def test_a_mirror_says_that_it_is_one(origin: Server, copy: Path) -> None:
    with serve_site(copy) as server:
        page = server.send("GET", "/collections/stars", headers={"Accept": "text/html"})[2].decode()
        assert f'A mirror of <a href="{origin.url}">' in page
        assert json.loads(server.get("/collections/stars.json")[2])["mirror_of"] == [origin.url]
        assert (
            f"reference_url: {origin.url}/collections/stars" in server.get("/collections/stars/descriptor")[2].decode()
        )
    assert json.loads(origin.get("/collections/stars.json")[2])["mirror_of"] == []


def test_how_it_is_followed(
    origin: Server, create_mirror: Callable[[Server], tuple[Path, str]], tmp_path: Path
) -> None:
    copy, _ = create_mirror(origin)  # one of its own, which is no mirror in the end
    path = copy / "collections" / "stars" / "stars.yaml"
    assert yaml.safe_load(path.read_text())["sync"] == {"every": "1 h"}
    assert "stars: written anew" in run_hven("mirror", origin.url, "--once", "--site", copy).stdout
    assert "sync" not in yaml.safe_load(path.read_text())
    # a descriptor that somebody else wrote stays as it is
    path.write_text(path.read_text().split("\n", 1)[1])
    assert "is not a mirror of" in run_hven("mirror", origin.url, "--site", copy, expected_code=1).stderr
    refused = run_hven("mirror", origin.url, "stars", "--site", copy, expected_code=1)
    assert "is not a mirror of" in refused.stderr
    assert (
        "no public collection 'none'" in run_hven("mirror", origin.url, "none", "--site", copy, expected_code=1).stderr
    )
    # a new site; addresses that are not on the public internet need a word in hven.toml
    assert "allow_private" in run_hven("mirror", origin.url, "--site", tmp_path / "made", expected_code=1).stderr
    assert (tmp_path / "made" / "hven.toml").is_file()
    run_hven("mirror", "vo.example.org", "--site", copy, expected_code=2)


EVIL = """
collection: stars
title: Stars
functions: [run.py]
let: {x: $PASSWORD}
access: private
tables:
  main:
    source: {kind: csv, files: /etc/passwd}
    view: SELECT * FROM other.main
    set: {id: getenv('HOME')}
    primary: id
    columns: {id: {type: int32, from: secret.main}}
    rules: {r: {if: 1 = 1}}
    keys: {k: {columns: [id], target: other.main}}
    groups: {g: [1]}
tests: [{query: SELECT 1, expect: 1}]
sync: {every: 1 s}
"""


def test_what_is_told_is_copied_and_not_run() -> None:
    made = yaml.safe_load(mirroring.write_mirror_descriptor(EVIL, "https://other.example", "stars", sync_interval=None))
    assert made == {
        "collection": "stars",
        "title": "Stars",
        "tables": {
            "main": {
                "primary": "id",
                "source": {"kind": "hven", "url": "https://other.example", "table": "stars.main"},
                "columns": {"id": {"type": "int32"}},
            }
        },
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [",
        "collection: others\ntables: {}",
        "collection: stars\ntables: {main: 3}",
        "a: &a [1]\nb: [*a, *a]\ncollection: stars",
    ],
)
def test_what_is_no_descriptor(text: str) -> None:
    with pytest.raises(SourceError):
        mirroring.write_mirror_descriptor(text, "https://other.example", "stars", sync_interval=None)


def test_files_without_a_checksum_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not read, or are on another server: nothing tells whether a copy is whole."""
    lines = "-  https://o.example/collections/stars/files/a.bin  3  a\nab12  https://elsewhere.example/b.bin  3  b\n"
    answer = http_client.HttpAnswer(status=200, headers={}, body=lines.encode(), url="")
    monkeypatch.setattr(http_client, "send_request_once", lambda *_, **__: answer)
    left: list[str] = []
    assert list(mirror._mirror_files("https://o.example", "stars", tmp_path, Settings(directory=tmp_path), left)) == []
    assert left == [
        "file 'a.bin' has no checksum, or is on another server",
        "file 'https://elsewhere.example/b.bin' has no checksum, or is on another server",
    ]
