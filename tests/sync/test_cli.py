"""``hven sync``, ``diff``, ``history`` and ``query --as-of`` as people and scripts see them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: "*.csv"}
    primary: id
    columns: {id: int32, name: string, mag: float64}
"""


@pytest.fixture
def home(tmp_path):
    open_site_with_uningested_files(tmp_path, STARS, {"a.csv": "id,name,mag\n1,a,1.5\n2,b,2.5\n3,c,3.5\n"}).close()
    (tmp_path / "hven.toml").write_text("")
    return tmp_path


def run_command(home, *words, code=0):
    done = CliRunner().invoke(build_typer_app(), ["--site", str(home), *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_from_the_first_sync_to_a_look_back(home):
    assert "stars.main: 3 rows, all new" in run_command(home, "sync", "stars")
    first = json.loads(run_command(home, "history", "stars", "--json"))["snapshots"][0]["snapshot"]
    (home / "collections" / "stars" / "a.csv").write_text("id,name,mag\n1,a,1.5\n3,c,4.5\n4,d,9.5\n")
    shown = run_command(home, "sync", "stars", "--dry-run")
    for words in (
        "added    4    name d, mag 9.5",
        "removed  2    name b, mag 2.5",
        "changed  3  mag 3.5 4.5",
        "nothing was published (dry run)",
    ):
        assert all(word in shown for word in words.split()), words
    tried = json.loads(run_command(home, "sync", "stars", "--dry-run", "--json"))
    assert (tried["published"], tried["changed"]) == (False, True)
    assert {sample["change"] for sample in tried["changes"]["stars.main"]["samples"]} == {"added", "removed", "changed"}
    assert "1 added, 1 changed, 1 removed, 3 rows" in run_command(home, "sync", "stars")
    assert "nothing to publish" in run_command(home, "sync", "stars")
    history = run_command(home, "history", "stars")
    assert "main +1 ~1 -1" in history
    assert "no change" in history
    (found,) = json.loads(run_command(home, "diff", "stars", first, "--json"))
    assert (found["added"], found["changed"], found["removed"], found["columns"]) == (1, 1, 1, {"mag": 1})
    assert "stars.main: no change" in run_command(home, "diff", "stars.main", first, first)
    assert run_command(home, "query", "SELECT id FROM stars.main ORDER BY id", "--format", "csv").split() == [
        "id",
        "1",
        "3",
        "4",
    ]
    before = run_command(home, "query", "SELECT id FROM stars.main ORDER BY id", "--format", "csv", "--as-of", first)
    assert before.split() == ["id", "1", "2", "3"]


HIDES = """
collection: events
title: Events
tables:
  main:
    source: {{kind: sql, file: events.db, table: ev}}
    primary: id
    columns: {{id: int32, name: string, seen: timestamp}}
    sync: {sync}
sync: {{every: 1 h}}
"""


@pytest.mark.parametrize(
    ("said", "warned"),
    [
        ("{watermark: seen}", True),
        ("{watermark: seen, deletions: none}", True),
        ("{watermark: seen, full: 7 d}", False),
        ("{watermark: seen, full: never}", False),
        ("{watermark: seen, deletions: blocks}", False),
        ("{}", False),
    ],
)
def test_edits_below_the_watermark_are_told_of(said, warned, tmp_path):  # SQLite has no checksums of blocks
    require_plugins("sources", "sql")
    site = tmp_path / "site"
    run_hven("init", site)
    place = site / "collections" / "events"
    place.mkdir(parents=True)
    with closing(sqlite3.connect(place / "events.db")) as database:
        database.execute("CREATE TABLE ev (id integer primary key, name text, seen text)")
        database.executemany(
            "INSERT INTO ev VALUES (?, ?, ?)", [(n, f"e{n}", f"2026-11-{n + 1:02}T00:00:00") for n in range(20)]
        )
        database.commit()
        (place / "events.yaml").write_text(HIDES.format(sync=said))
        told = run_hven("check", "--site", site)
        assert ("edits that leave the watermark unchanged" in told.stdout + told.stderr) is warned
        run_hven("ingest", "events", "--site", site)
        narrow = "watermark" in said
        status = json.loads(run_hven("status", "--json", "--site", site).stdout)["collections"][0]
        assert ("read" in status) is narrow
        assert " ago" in run_hven("status", "--site", site).stdout.partition("all read")[2]
        database.execute("UPDATE ev SET name = 'edited below' WHERE id = 2")
        database.commit()
    told = run_hven("sync", "events", "--site", site).stdout
    assert ("the source has no block checksums" in told) is ("blocks" in said)
    found = json.loads(
        run_hven("query", "SELECT name FROM events.main WHERE id = 2", "--format", "json", "--site", site).stdout
    )["data"]
    assert found == [["e2" if narrow else "edited below"]]
    if narrow:  # the last reading of everything is what it was, and says how old the edit may be
        assert (
            json.loads(run_hven("status", "--json", "--site", site).stdout)["collections"][0]["read"] == status["read"]
        )
        run_hven("sync", "events", "--full", "--site", site)
        assert (
            json.loads(run_hven("status", "--json", "--site", site).stdout)["collections"][0]["read"] > status["read"]
        )
