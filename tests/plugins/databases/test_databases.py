"""Databases: rows since a watermark, late ones, edited ones, deleted ones."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.ingest.sync._incremental_reading import IncrementalSourceReader
from hven.model.errors import DataError
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven

EXAMPLES = 150 if os.environ.get("HVEN_PROOF") == "full" else 4

BEGIN = "CREATE TABLE t (id INTEGER, name TEXT, mag REAL, status TEXT, t REAL)"


def text(name, sync_, more=""):
    return f"""
collection: {name}
title: Stars
tables:
  main:
    source: {{kind: sql, file: s.db, table: t}}
    primary: id
    columns: {{id: {{type: int64, required: true}}, name: string, mag: {{type: float64, maximum: 90}}}}
    where: name <> 'skip' OR name IS NULL
    max_rejects: 1
    sync: {sync_}
{more}"""


def database(home, name):
    connection = sqlite3.connect(home / "collections" / name / "s.db", isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")  # each statement is a transaction of its own
    connection.execute("DROP TABLE IF EXISTS t")
    connection.execute(BEGIN)
    return connection


def rows(site, name, what="*"):
    with query.run_query(f"SELECT {what} FROM {name}.main ORDER BY 1", OWNER_PRINCIPAL, site=site) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


@pytest.fixture
def open_database_site(tmp_path):
    """Give a function that opens a site with a database of 1,000 rows whose watermark is their number."""
    made = []

    def begin(sync_, more=""):
        site = open_site_with_uningested_files(tmp_path, text("s", sync_, more))
        with sqlite3.connect(tmp_path / "collections" / "s" / "s.db") as new:
            new.execute(BEGIN)
        new.close()
        connection = database(tmp_path, "s")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO t VALUES (?, ?, 1.0, 'ok', ?)", [(n, f"n{n}", float(n)) for n in range(1, 1001)]
        )
        connection.execute("COMMIT")
        made.extend((site, connection))
        ingest_collection(site, "s")
        return site, connection

    yield begin
    for one in made:
        one.close()


def change(report):
    return report.changes["s.main"]


def test_since_the_watermark(open_database_site):
    site, database = open_database_site("{watermark: t, overlap: 10}")
    database.execute("UPDATE t SET mag = 2, t = 1001 WHERE id = 5")
    database.execute("INSERT INTO t VALUES (2000, 'new', 1, 'ok', 1002)")
    database.execute("DELETE FROM t WHERE id = 7")
    database.execute("INSERT INTO t VALUES (3000, 'late', 1, 'ok', 3)")
    done = change(sync_collection(site, "s"))
    assert (done.added, done.removed, done.changed, done.how) == (2, 1, 1, "since 990.0")
    assert (done.read, done.mapped) == (14, 3)
    assert rows(site, "s", "COUNT(*), SUM(mag)") == [(1001, 1002.0)]
    done = change(sync_collection(site, "s"))
    assert (done.has_changes, done.how) == (False, "since 992.0")


def test_a_row_that_was_edited_behind_the_watermark_is_found_by_a_full_reading(open_database_site):
    site, database = open_database_site("{watermark: t, full: 7 d}")
    database.execute("UPDATE t SET mag = 2 WHERE id = 5")
    assert not sync_collection(site, "s").has_changes
    assert change(sync_collection(site, "s", read_everything=True)).changed == 1


def test_deletions_none_leaves_them(open_database_site):
    site, database = open_database_site("{watermark: t, deletions: none}")
    database.execute("DELETE FROM t WHERE id = 7")
    database.execute("UPDATE t SET id = 8000, t = 2000 WHERE id = 9")
    done = change(sync_collection(site, "s"))
    assert (done.added, done.removed) == (1, 0)
    assert change(sync_collection(site, "s", read_everything=True)).removed == 2


def test_tombstones(open_database_site):
    site, database = open_database_site("""{watermark: t, deletions: {column: "status = 'deleted'"}}""")
    database.execute("UPDATE t SET status = 'deleted', t = 2000 WHERE id = 9")
    done = change(sync_collection(site, "s"))
    assert (done.removed, done.changed, done.added) == (1, 0, 0)
    assert (9,) not in rows(site, "s", "id")
    assert ingest_collection(site, "s").tables["s.main"].published == 999


@pytest.mark.parametrize("deletions", ["none", "compare"])
def test_several_rows_of_one_key_of_which_one_is_published(open_database_site, deletions):
    site, database = open_database_site(f"{{watermark: t, deletions: {deletions}}}")
    database.execute("INSERT INTO t SELECT id, 'skip', 1, 'old', -1 FROM t WHERE id < 4")
    sync_collection(site, "s", read_everything=True)
    database.execute(
        "UPDATE t SET status = 'older', mag = 5, t = 2000 WHERE id = 2 AND name = 'skip'"
    )  # another version, which is left out
    assert not sync_collection(site, "s").has_changes
    assert len(rows(site, "s")) == 1000
    database.execute("UPDATE t SET mag = 7, t = 3000 WHERE id = 2 AND name <> 'skip'")
    assert change(sync_collection(site, "s")).changed == 1
    assert len(rows(site, "s")) == 1000


def test_a_watermark_that_goes_backwards(open_database_site):
    site, database = open_database_site("{watermark: t}")
    database.execute("UPDATE t SET t = t - 500, mag = 3 WHERE id > 990")
    report = sync_collection(site, "s")
    assert change(report).changed == 10
    assert any(
        "no row has a watermark any longer (the last watermark was 1000.0), so everything was read" in one
        for one in report.warnings
    )
    assert not sync_collection(site, "s").has_changes


def test_rows_without_a_watermark_are_always_read(open_database_site):
    site, database = open_database_site("{watermark: t}")
    database.execute("UPDATE t SET t = NULL, mag = 3 WHERE id = 4")
    assert change(sync_collection(site, "s")).changed == 1
    database.execute("UPDATE t SET mag = 4 WHERE id = 4")
    assert change(sync_collection(site, "s")).changed == 1


def test_what_is_written_between_two_questions_is_found_by_the_next_run(open_database_site, monkeypatch):
    """A row that came meanwhile is seen among the keys, and does not hide an edit that was written before it."""
    site, database = open_database_site("{watermark: t}")
    sifted, edits = (
        IncrementalSourceReader._read_unknown_rows,
        ["UPDATE t SET mag = 2, t = 1001 WHERE id = 5", "INSERT INTO t VALUES (2000, 'new', 1, 'ok', 1002)"],
    )

    def meanwhile(*given, **named):
        found = sifted(*given, **named)
        while edits:
            database.execute(edits.pop(0))
        return found

    monkeypatch.setattr(IncrementalSourceReader, "_read_unknown_rows", meanwhile)
    done = change(sync_collection(site, "s"))
    assert (done.added, done.changed) == (1, 0)
    done = change(sync_collection(site, "s"))
    assert (done.added, done.changed, done.how) == (0, 1, "since 1000.0")
    assert change(sync_collection(site, "s")).how == "since 1002.0"


def test_a_time_that_is_still_to_come_is_not_believed(open_database_site):
    site, database = open_database_site("{watermark: status, overlap: 1 d}")  # a text
    database.execute("UPDATE t SET status = '2026-01-01T00:00:00Z'")
    database.execute("UPDATE t SET status = '2026-03-01T12:00:00Z' WHERE id = 4")
    database.execute("UPDATE t SET status = '2999-01-01T00:00:00Z' WHERE id = 9")
    sync_collection(site, "s", read_everything=True)
    database.execute("UPDATE t SET status = '2026-02-28T13:00:00Z', mag = 3 WHERE id = 5")
    report = sync_collection(site, "s")
    assert (change(report).how, change(report).read, change(report).changed) == ("since 2026-02-28T12:00:00Z", 3, 1)
    assert any("1 row has a watermark in the future" in one for one in report.warnings)


def test_a_source_that_is_empty_by_mistake(open_database_site):
    site, database = open_database_site("{watermark: t}")
    database.execute("DELETE FROM t")
    with pytest.raises(DataError, match=r"1,000 of 1,000 rows of s\.main would be removed"):
        sync_collection(site, "s")
    database.execute("INSERT INTO t VALUES (1, 'n1', 1, 'ok', 1)")
    with pytest.raises(DataError, match=r"999 of 1,000 rows of s\.main would be removed"):
        sync_collection(site, "s")
    assert len(rows(site, "s")) == 1000


def test_another_column_in_the_source(open_database_site):
    site, database = open_database_site("{watermark: t}")
    database.execute("ALTER TABLE t ADD COLUMN extra TEXT")
    report = sync_collection(site, "s")
    assert (report.has_changes, change(report).why) == (False, "the source has different columns: with extra")
    database.execute("ALTER TABLE t RENAME COLUMN mag TO magnitude")
    with pytest.raises(Exception, match="mag"):
        sync_collection(site, "s")
    assert len(rows(site, "s")) == 1000


def test_a_key_that_is_there_twice(open_database_site):
    site, database = open_database_site("{watermark: t}")
    database.execute("INSERT INTO t VALUES (5, 'again', 1, 'ok', 5000)")
    with pytest.raises(DataError, match="primary key"):
        sync_collection(site, "s")
    assert len(rows(site, "s")) == 1000


edit = st.one_of(
    st.tuples(st.just("INSERT INTO t VALUES (:id, :name, :mag, 'ok', :now)"), st.integers(1, 9), st.sampled_from(["a", "b", "skip", None]), st.sampled_from([1.0, None, 99.0])),
    st.tuples(st.just("INSERT INTO t VALUES (:id, :name, :mag, 'ok', :now - 50)"), st.integers(1, 9), st.sampled_from(["a", "skip"]), st.sampled_from([1.0, 99.0])),
    st.tuples(st.just("INSERT INTO t VALUES (:id, :name, :mag, 'ok', NULL)"), st.integers(1, 9), st.sampled_from(["a", "skip"]), st.just(2.0)),
    st.tuples(st.just("UPDATE t SET name = :name, mag = :mag, t = :now WHERE id = :id"), st.integers(1, 9), st.sampled_from(["a", "b", "skip", None]), st.sampled_from([1.0, 7.0, 99.0])),
    st.tuples(st.just("UPDATE t SET id = :id + 1, mag = :mag, t = :now WHERE id = :id"), st.integers(1, 9), st.just("a"), st.sampled_from([1.0, 7.0])),
    st.tuples(st.just("DELETE FROM t WHERE id = :id"), st.integers(1, 9), st.just("a"), st.just(1.0)),
)  # fmt: skip


def test_check_warns_of_an_empty_sqlite_table(tmp_path):
    descriptor = "collection: s\ntitle: S\ntables: {main: {source: {kind: sql, file: s.db, table: t}}}\n"
    with open_site_with_uningested_files(tmp_path, descriptor):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    with contextlib.closing(sqlite3.connect(tmp_path / "collections" / "s" / "s.db")) as base:
        base.execute("CREATE TABLE t (id INTEGER)")
    assert "s.main would be empty: the source has no rows" in run_hven("--site", tmp_path, "check").stdout


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    homes = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    sites = [open_site_with_uningested_files(home, text("s", "{watermark: t, overlap: 1}")) for home in homes]
    bases = []
    for home in homes:
        sqlite3.connect(home / "collections" / "s" / "s.db").close()
        bases.append(database(home, "s"))
    yield list(zip(sites, bases, strict=True))
    for one in (*sites, *bases):
        one.close()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(days=st.lists(st.lists(edit, max_size=5), min_size=2, max_size=4))
def test_same_rows_as_an_ingest(pair, days):
    moment = 100.0
    for _, base in pair:
        base.execute("DELETE FROM t")
        base.execute("INSERT INTO t VALUES (50, 'x', 1, 'ok', 1)")
    for day in ([], *days):
        ended = []
        for number, (site, base) in enumerate(pair):
            for step, (sql, id_, name, mag) in enumerate(day):
                base.execute(sql, {"id": id_, "name": name, "mag": mag, "now": moment + step})
            try:
                (ingest_collection(site, "s") if number else sync_collection(site, "s", accept_changes=True))
                ended.append("")
            except DataError as error:
                ended.append(error.message)
        moment += 100
        assert ended[0] == ended[1]
        assert rows(pair[0][0], "s") == rows(pair[1][0], "s")
