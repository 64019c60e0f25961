"""Both engines keep what a sync makes; PostgreSQL as a source sums up blocks of keys."""

from __future__ import annotations

import psycopg
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.ingest.sync._state_comparison import compare_collection_states
from hven.plugins.postgres.engine.position_search import CELL_COLUMN
from hven.plugins.postgres.engine.storage_engine import PostgresEngine
from hven.plugins.postgres.settings import PostgresSettings
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from postgres_cluster import run_cluster

TEXT = """
collection: {name}
title: Regions
engine: {engine}
tables:
  main:
    source: {{kind: sql, url: $SOURCE, table: {name}}}
    primary: [id, part]
    sync: {sync}
    columns:
      id: {{type: int64, required: true}}
      part: {{type: string, required: true}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
      name: string
      mag: float32
      outline: polygon
      seen: timestamp
    map: {{outline: "POLYGON(ra, dec, ra + 1, dec, ra, dec + 1)"}}
"""


@pytest.fixture(scope="module")
def database():
    with run_cluster() as found:
        yield found.url


@pytest.fixture
def open_synced_site(database, tmp_path, monkeypatch):
    require_plugins("sources", "sql")
    monkeypatch.setenv("SOURCE", database.replace("postgresql://", "postgresql+psycopg://"))
    monkeypatch.setenv("KEPT", database)
    made = []

    def begin(name, engine, how):
        connection = psycopg.connect(database, autocommit=True)
        connection.execute("DROP SCHEMA IF EXISTS hven CASCADE")  # of the site of an earlier test
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(
            f"CREATE TABLE {name} (id int, part text, ra float8, dec float8, name text, mag real, seen timestamp, t int, PRIMARY KEY (id, part))"
        )
        connection.execute(
            f"INSERT INTO {name} SELECT n, 'p' || n % 3, n % 350, n % 80, 'n' || n, CASE WHEN n % 5 = 0 THEN 'NaN' ELSE n / 7.0 END::real,"
            f" timestamp '2026-01-01' + n * interval '1 second', n FROM generate_series(1, 3000) n"
        )
        site = open_site_with_uningested_files(
            tmp_path,
            TEXT.format(name=name, engine=engine, sync=how),
            brought={"postgres": PostgresSettings(url="$KEPT")},
        )
        made.extend((connection, site))
        return site, connection

    yield begin
    for one in made[::-1]:
        one.close()


def rows(site, name, as_of=None):
    with query.run_query(
        f"SELECT id, part, ra, name, mag, outline, seen FROM {name}.main ORDER BY id, part",
        OWNER_PRINCIPAL,
        site=site,
        as_of=as_of,
    ) as result:
        return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]


EDITS = (
    "UPDATE {name} SET mag = 1, t = 5000 WHERE id = 17",
    "UPDATE {name} SET part = 'moved', ra = NULL, t = 5001 WHERE id = 18",
    "DELETE FROM {name} WHERE id IN (20, 21)",
    "INSERT INTO {name} VALUES (9000, 'p', 10, 20, 'new', 'NaN', now(), 5002), (9001, 'late', 10, 20, NULL, 3, NULL, 7)",
)


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
@pytest.mark.parametrize("how", ["{}", "{watermark: t, overlap: 5}", "{deletions: blocks}"])
def test_same_rows_as_an_ingest(open_synced_site, engine, how):
    name = "r" + "".join(letter for letter in how if letter.isalpha())[:9] + engine
    site, connection = open_synced_site(name, engine, how)
    ingest_collection(site, name)
    sync_collection(site, name)
    for edit in EDITS:
        connection.execute(edit.format(name=name))
    report = sync_collection(site, name)
    change = report.changes[f"{name}.main"]
    assert (change.added, change.changed, change.removed, change.why) == (3, 1, 3, None)
    if how != "{}":
        assert change.read < 2000
        assert ("since" in change.how) == ("watermark" in how)
    found = rows(site, name)
    assert not sync_collection(site, name).has_changes
    ingest_collection(site, name)
    assert found == rows(site, name)
    assert len(found) == 3000


def test_a_snapshot_without_cells_is_computed_anew(open_synced_site, monkeypatch):
    """An older version kept none: nothing can be merged into it, which is told, and mended by the run."""
    site, connection = open_synced_site("old", "postgres", "{}")
    real = PostgresEngine.stage_snapshot
    with monkeypatch.context() as patch:  # each snapshot was a table of its own
        patch.setattr(PostgresEngine, "stage_snapshot", lambda self, table, snapshot, **_: real(self, table, snapshot))
        ingest_collection(site, "old")
    site.refresh_published_state()
    snapshot = site.store.read_published_records()[1]["old.main"].snapshot
    connection.execute(f'ALTER TABLE hven."{snapshot.path}" DROP COLUMN "{CELL_COLUMN}"')
    for edit in EDITS:
        connection.execute(edit.format(name="old"))
    change = sync_collection(site, "old").changes["old.main"]
    assert (change.added, change.changed, change.removed) == (3, 1, 3)
    assert "different indexes from its snapshot" in change.why
    connection.execute("UPDATE old SET mag = 2 WHERE id = 23")
    change = sync_collection(site, "old").changes["old.main"]
    assert (change.changed, change.why, change.mapped) == (1, None, 1)


def test_states_of_one_table_are_followed_pruned_and_rolled_back(open_synced_site):
    """The days after the first sync share a table; every state that is kept stays what it was, and what no state shows is removed."""
    site, connection = open_synced_site("days", "postgres", "{}")

    def bases():
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'hven'::regnamespace AND relkind = 'r' AND relname ~ '^[bos]_'"
        )
        return sorted(name for (name,) in found)

    ingest_collection(site, "days")
    states = []

    def follow(day):
        connection.execute(f"UPDATE days SET mag = {day}, name = 'day {day}' WHERE id % 500 = {day}")
        connection.execute(f"DELETE FROM days WHERE id % 1000 = {100 + day}")
        connection.execute(f"INSERT INTO days VALUES ({10_000 + day}, 'p', 10, 20, 'new', 3, NULL, 7)")
        change = sync_collection(site, "days").changes["days.main"]
        assert (change.added, change.changed, change.removed) == (1, 6, 3)
        site.refresh_published_state()
        states.append((site.store.read_published_snapshot_ids()[1]["days.main"], rows(site, "days")))

    for day in range(1, 7):
        follow(day)
        for ident, wanted in states[-site.settings.keep_snapshots :]:
            assert rows(site, "days", ident) == wanted
    assert len(bases()) == 1, "the table that was staged is pruned, and all states are of one other"
    [found] = compare_collection_states(site, "days", states[-3][0])
    assert (found.added, found.changed, found.removed) == (2, 12, 6)
    [(dead,)] = connection.execute(f'SELECT count(*) FROM hven."{bases()[0]}" WHERE "hven:died" <= 2147483646')
    assert dead == 2 * 9, "of three states"
    site.store.roll_back("days", states[-2][0])
    site.refresh_published_state()
    assert rows(site, "days") == states[-2][1]
    change = sync_collection(site, "days").changes[
        "days.main"
    ]  # from the state before the last: into a table of its own
    assert (change.added, change.changed, change.removed, change.why) == (1, 6, 3, None)
    site.refresh_published_state()
    assert rows(site, "days") == states[-1][1] == rows(site, "days", states[-1][0])
    assert len(bases()) == 2
    for day in range(7, 11):
        follow(day)
    assert len(bases()) == 1
    ingest_collection(site, "days")
    site.refresh_published_state()
    assert rows(site, "days") == states[-1][1]


SUMS = """
collection: sums
title: Sums
engine: postgres
tables:
  base:
    source: d.csv
    primary: [id]
    columns: {id: int64, v: float64}
"""
TOTAL = """
  {name}:
    source: {{kind: query, adql: "SELECT SUM(v) AS s, AVG(v) AS a, STDDEV(v) AS d, VARIANCE(v) AS r, IVO_STRING_AGG(CAST(id AS VARCHAR(9)), ' ') AS t FROM (SELECT TOP 72 id, v FROM sums.base ORDER BY id {order}) AS b"}}
    columns: {{s: float64, a: float64, d: float64, r: float64, t: string}}
"""  # fmt: skip


def test_sums_in_the_database_do_not_hang_on_the_order_of_rows(database, monkeypatch, tmp_path):
    monkeypatch.setenv("KEPT", database)
    rows = [
        f"{n},{v * (1 + n / 13)!r}\n"
        for n, v in enumerate([1e9 / 7, 0.1, -1e9 / 3, 0.3, 1 / 3, 7.7e-9, 2.5e7 / 11, -0.7] * 9)
    ]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS hven CASCADE")  # of the site of an earlier test
    text = SUMS + TOTAL.format(name="up", order="ASC") + TOTAL.format(name="down", order="DESC")
    with open_site_with_uningested_files(
        tmp_path, text, {"d.csv": "id,v\n" + "".join(rows)}, brought={"postgres": PostgresSettings(url="$KEPT")}
    ) as site:
        ingest_collection(site, "sums")
        found = []
        for name in ("up", "down"):
            with query.run_query(f"SELECT * FROM sums.{name}", OWNER_PRINCIPAL, site=site) as result:
                found.append(result.read_table().to_pylist())
        assert found[0] == found[1]
        with query.run_query(
            "SELECT SUM(v) AS s FROM (SELECT TOP 72 v FROM sums.base ORDER BY id DESC) AS b", OWNER_PRINCIPAL, site=site
        ) as result:
            assert result.read_table().column(0)[0].as_py() != found[0][0]["s"], (
                "and these values do have another sum in another order"
            )
