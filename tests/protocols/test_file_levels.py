"""Rows that are seen, and files of theirs that are not known, or locked: by TAP, pages, the list of files and their addresses."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from asgi_client import Client

from hven.app._server.application import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from plugin_needs import require_plugins

if TYPE_CHECKING:
    from collections.abc import Iterator

DESCRIPTOR = """\
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
      release: {type: timestamp}
      pi: {type: string}
      data_rights: {type: string}
      file_name: {type: string}
      access_url: {type: string, required: true, ucd: meta.ref.url}
    text: {access_url: "{site.url}/collections/night/files/{file_name}"}
    set: {data_rights: secure}
    access:
      files: "release <= now or reader in (pi) or 'survey' in groups"
      take: release <= now or reader in (pi)
      path: file_name
"""
# the same, but that a link leads to the file
LINKED = (
    DESCRIPTOR[DESCRIPTOR.index("  main:") :]
    .replace("  main:", "  linked:", 1)
    .replace("    access:\n", '    links: [{semantics: this, file: "{target.file_name}"}]\n    access:\n')
)
ROWS = """\
id,release,pi,file_name
1,2020-01-01,bert,open.fits
2,2090-05-01,anna,anna.fits
3,2090-06-01,bert,bert.fits
4,2020-01-01,bert,shared.fits
5,2091-01-01,anna,shared.fits
"""
SECRETS = ("anna.fits", "bert.fits", "shared.fits")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    directory = tmp_path_factory.mktemp("levels")
    folder = directory / "collections" / "night"
    folder.mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "levels"\n[people]\ngroups = {survey = ["carl"]}\n')
    (folder / "night.yaml").write_text(DESCRIPTOR + LINKED)
    (folder / "rows.csv").write_text(ROWS)
    for name in ("open.fits", *SECRETS):
        (folder / name).write_bytes(name.encode() * 10)
    with Site(settings.load_settings(directory)) as made:
        ingest_collection(made, "night")
        tokens = {name: made.store.users.add_account(name) for name in ("anna", "bert", "carl", "dora")}
        made.store.grants.add_grant("delegation", subject="dora", object="Bert", actor="bert")
        yield Client(create_and_start_application(made)), tokens


def request_file(place: tuple[Client, dict[str, str]], who: str | None, path: str, **params: str) -> Any:
    client, tokens = place
    headers = {} if who is None else {"authorization": f"Bearer {tokens[who]}"}
    path, _, given = path.partition("?")
    return client.ask("GET", path, (urlencode(params) or given).encode(), headers=headers)


@pytest.mark.parametrize("table", ["main", "linked"])
def test_links_say_who_may_download_the_file(place: tuple[Client, dict[str, str]], table: str) -> None:
    """By the column of the address, or by a link to a file of the collection, whose list is not for everybody."""

    def list_links(who: str | None, *numbers: int) -> list[tuple[str, str, str, str]]:
        ids = "&".join(f"ID={number}" for number in numbers or (1, 2, 3))
        answer = request_file(place, who, f"/datalink/night.{table}?{ids}&RESPONSEFORMAT=csv")
        assert answer.status == 200, answer.text
        rows = csv.DictReader(io.StringIO(answer.text))
        return [
            (row["ID"], row["access_url"].rpartition("/")[2], row["link_auth"], row["link_authorized"])
            for row in rows
            if row["semantics"] == "#this"  # and not its pictures
        ]

    open_ = ("1", "open.fits", "false", "true")
    assert list_links(None) == [open_]
    assert list_links("anna") == [open_, ("2", "anna.fits", "true", "true")]
    # a row of 2091 names the file as well, and locks it: what is said is what comes of it
    for who, free in ((None, False), ("anna", True), ("bert", False), ("carl", False)):
        ((_, name, auth, authorized),) = list_links(who, 4)
        assert (name, auth, authorized) == ("shared.fits", "true", str(free).lower())
        assert (request_file(place, who, "/collections/night/files/shared.fits").status == 200) is free
    assert list_links("carl") == [open_, ("2", "anna.fits", "true", "false"), ("3", "bert.fits", "true", "false")]


TEXT = "SELECT id, file_name, data_rights FROM night.main ORDER BY id"
SEEN = {  # the file of each row, as it is told; what one may with it
    None: [
        ("open.fits", "public"),
        (None, "proprietary"),
        (None, "proprietary"),
        ("shared.fits", "public"),
        (None, "proprietary"),
    ],
    "anna": [
        ("open.fits", "public"),
        ("anna.fits", "secure"),
        (None, "proprietary"),
        ("shared.fits", "public"),
        ("shared.fits", "secure"),
    ],
    "carl": [
        ("open.fits", "public"),
        *((name, "proprietary") for name in SECRETS[:2]),
        ("shared.fits", "public"),
        ("shared.fits", "proprietary"),
    ],
    "dora": [
        ("open.fits", "public"),
        (None, "proprietary"),
        ("bert.fits", "secure"),
        ("shared.fits", "public"),
        (None, "proprietary"),
    ],
}


@pytest.mark.parametrize("who", SEEN)
def test_columns_tell_of_files_to_who_may_know_of_them(place, who):
    answer = request_file(place, who, "/tap/sync", LANG="ADQL", QUERY=TEXT, RESPONSEFORMAT="json")
    rows = json.loads(answer.body)["data"] if isinstance(json.loads(answer.body), dict) else json.loads(answer.body)
    found = [tuple(row.values())[1:] if isinstance(row, dict) else tuple(row[1:]) for row in rows]
    assert found == SEEN[who]
    for kind in ("votable", "csv", "fits", "parquet", "votable/td"):
        text = "SELECT * FROM night.main"
        answer = request_file(place, who, "/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT=kind)
        assert answer.status == 200, (kind, answer.body[:300])


FILES = {  # status of each file
    None: {"open.fits": 200, "anna.fits": 404, "bert.fits": 404, "shared.fits": 401},
    "anna": {"open.fits": 200, "anna.fits": 200, "bert.fits": 404, "shared.fits": 200},
    "bert": {"open.fits": 200, "anna.fits": 404, "bert.fits": 200, "shared.fits": 403},
    "carl": {"open.fits": 200, "anna.fits": 403, "bert.fits": 403, "shared.fits": 403},
    "dora": {"open.fits": 200, "anna.fits": 404, "bert.fits": 200, "shared.fits": 403},
}


@pytest.mark.parametrize("who", FILES)
def test_the_rights_of_all_rows_of_a_file_decide(place, who):
    for name, status in FILES[who].items():
        answer = request_file(place, who, f"/collections/night/files/{name}")
        assert answer.status == status, (name, answer.body)
        assert (answer.body == name.encode() * 10) == (status == 200)
        if status == 200:
            assert "public" not in answer.headers["cache-control"]
        if status in {401, 403}:
            assert b"ask The archive <archive@example.org>" in answer.body
    assert request_file(place, who, "/collections/night/files/no.fits").status == 404
    if who == "carl":
        told = request_file(place, who, "/collections/night/files/anna.fits").body
        assert b"until 2090-05-01T00:00:00; ask" in told
    if who is None:  # there is another row, which they see: until when is told of what they see alone
        assert b"until 2091-01-01" in request_file(place, who, "/collections/night/files/shared.fits").body


@pytest.mark.parametrize("who", FILES)
@pytest.mark.parametrize("query", ["", "slice=1", "spectrum=1+1", "RESPONSEFORMAT=html"])
def test_the_contents_of_files_have_the_same_rights(place, who, query):
    require_plugins("protocols", "cubes")
    for name, status in FILES[who].items():
        answer = request_file(place, who, f"/collections/night/cube/{name}?{query}")
        shown = 200 if query == "RESPONSEFORMAT=html" else 400  # it is no FITS file: whoever may take it may know that
        assert answer.status == (shown if status == 200 else status), (name, answer.body)


@pytest.mark.parametrize(
    "path",
    [
        "/collections/night/files",
        "/collections/night/main",
        "/collections/night/main/rows",
        "/collections/night/main/statistics",
        "/collections/night",
        "/collections/night/main?format=csv",
        "/",
        "/health",
        "/tap/tables",
        "/feed.atom",
        "/sitemap.xml",
        "/changes/night.main",
        "/changes/night.main?VALUES=1",
        "/collections/night/main/values/file_name",
        "/collections/night/main/values/access_url",
    ],
)
def test_no_other_way_out_names_them(place, path):
    answer = request_file(place, None, path)
    for name in SECRETS[:2]:
        assert name.encode() not in answer.body, (path, answer.status)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM night.main WHERE file_name = 'anna.fits'",
        "SELECT MAX(access_url) AS x FROM night.main WHERE access_url LIKE '%anna%'",
        "SELECT id FROM night.main WHERE file_name LIKE 'a%' OR UPPER(file_name) = 'ANNA.FITS'",
        "SELECT a.id FROM night.main AS a JOIN night.main AS b ON a.file_name = b.file_name WHERE b.id = 2",
        "SELECT a.id FROM night.main AS a JOIN night.main AS b USING (file_name) WHERE b.id = 2",
        "SELECT a.id FROM night.main AS a NATURAL JOIN night.main AS b WHERE b.id = 2 AND file_name IS NOT NULL",
        "SELECT id FROM night.main WHERE file_name IN (SELECT file_name FROM night.main WHERE id = 2)",
        "WITH x AS (SELECT file_name AS f FROM night.main) SELECT f FROM x WHERE f = 'anna.fits'",
        "SELECT id FROM night.main AS a WHERE EXISTS (SELECT 1 FROM night.main AS b WHERE b.file_name = 'anna.fits' AND a.id = b.id)",
        "SELECT file_name FROM night.main GROUP BY file_name HAVING file_name = 'anna.fits'",
        "SELECT id FROM (SELECT id, file_name AS f FROM night.main) AS x WHERE f = 'anna.fits'",
        "SELECT DISTINCT file_name FROM night.main WHERE id = 2 AND file_name IS NOT NULL",
        "SELECT CAST(file_name AS INTEGER) AS x FROM night.main WHERE id = 2 AND file_name IS NOT NULL",
    ],
)
def test_no_clause_asks_what_one_may_not_know(place, text):
    answer = request_file(place, None, "/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT="csv")
    assert answer.status == 200, answer.body
    lines = answer.body.decode().strip().splitlines()[1:]
    assert lines in ([], [""], ['""']), lines
    told = request_file(place, "anna", "/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT="csv")
    assert told.body != answer.body  # and who may know is answered


def test_files_that_no_row_names_are_told_by_check(tmp_path):
    folder = tmp_path / "collections" / "night"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('name = "levels"\n')
    (folder / "rows.csv").write_text(ROWS)
    (folder / "open.fits").write_text("")
    (folder / "night.yaml").write_text(DESCRIPTOR.replace("      path: file_name\n", ""))
    told = [one.message for one in check_descriptor(folder / "night.yaml", settings.load_settings(tmp_path))]
    assert sum("which file belongs to which row" in one for one in told) == 1


def test_what_does_not_fit_is_told_by_check(tmp_path):
    folder = tmp_path / "collections" / "night"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('name = "levels"\n')
    (folder / "rows.csv").write_text(ROWS)
    (folder / "open.fits").write_text("")
    for line, wrong in {
        "path: file_name": "path: filename",
        "take: release <= now or reader in (pi)": "take: released <= now",
        "files: \"release <= now or reader in (pi) or 'survey' in groups\"": "files: now",
    }.items():
        assert line in DESCRIPTOR
        (folder / "night.yaml").write_text(DESCRIPTOR.replace(line, wrong))
        faults = [
            one
            for one in check_descriptor(folder / "night.yaml", settings.load_settings(tmp_path))
            if one.severity == "error"
        ]
        assert len(faults) == 1, faults
        assert faults[0].place.line, faults
        assert "access" in faults[0].message


def test_the_feed_of_changes_does_not_tell_of_files(tmp_path):
    require_plugins("protocols", "changes")
    folder = tmp_path / "collections" / "night"
    folder.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text('name = "levels"\n[people]\ngroups = {survey = ["carl"]}\n')
    (folder / "night.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text(ROWS)
    (folder / "open.fits").write_bytes(b"")
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "night")
        place = Client(create_and_start_application(made)), {"carl": made.store.users.add_account("carl")}
        before = {
            who: request_file(place, who, "/changes/night.main", RESPONSEFORMAT="csv").headers["hven-snapshot"]
            for who in (None, "carl")
        }
        (folder / "rows.csv").write_text(
            ROWS.replace("bert.fits", "better.fits").replace("1,2020-01-01,bert", "1,2020-01-01,bob")
        )
        ingest_collection(made, "night")
        made.refresh_published_state()
        told = {
            who: request_file(place, who, "/changes/night.main", SINCE=since, RESPONSEFORMAT="csv")
            .body.decode()
            .split()[1:]
            for who, since in before.items()
        }
    assert told == {None: ["1,changed,pi"], "carl": ["1,changed,pi", '3,changed,"file_name,access_url"']}
