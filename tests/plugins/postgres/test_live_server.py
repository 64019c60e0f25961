"""Tables that are read in place, end to end: a writer beside the server, every face, and a database that goes and comes back."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from plugin_needs import require_plugins
from postgres_cluster import PostgresCluster, run_cluster
from process_runner import Server, run_hven, serve_site, wait_until

DESCRIPTOR = """collection: ops
title: What the telescope does now
tables:
  cubes:
    columns:
      cube: {type: int64, indexed: true, description: Number of the cube}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      name: {type: string}
    primary: [cube]
    map: {cube: id, name: "'cube ' || label"}
    source: {kind: live, url: $OPS_DB, table: public.cubes}
  seen:
    view: SELECT cube, name FROM ops.cubes WHERE cube > 10
"""


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresCluster]:
    with run_cluster() as found:
        with psycopg.connect(found.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE cubes (id bigint PRIMARY KEY, ra float8, dec float8, label text)")
            connection.execute(
                "INSERT INTO cubes SELECT i, i % 360, i % 90, 'n' || i FROM generate_series(1, 500) i; ANALYZE cubes"
            )
        yield found


@pytest.fixture(scope="module")
def server(database: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("live")
    site = place / "site"
    run_hven("init", site)
    (site / "secrets.toml").write_text(f"OPS_DB = '{database.url}'\n")
    (site / "collections" / "ops").mkdir(parents=True)
    (site / "collections" / "ops" / "ops.yaml").write_text(DESCRIPTOR)
    (place / "stars.csv").write_text("id,ra,dec\n1,1.0,1.0\n2,2.0,2.0\n")
    run_hven("new", "stars", "--from", place / "stars.csv", "--site", site)
    run_hven("ingest", "stars", "--site", site)
    with serve_site(site, workers=2) as made:
        yield made


def send_query(server: Server, text: str) -> tuple[int, bytes]:
    status, _, body = server.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=text)
    return status, body


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pyvo leaves its jobs' sockets open
def test_what_a_writer_inserts_is_seen_on_every_road(server: Server, database: PostgresCluster) -> None:
    import pyvo
    import requests

    count = "SELECT COUNT(*) AS n FROM ops.cubes"
    with psycopg.connect(database.url, autocommit=True) as connection, requests.Session() as session:
        service = pyvo.dal.TAPService(f"{server.url}/tap", session=session)
        cone = pyvo.dal.SCSService(f"{server.url}/cone/ops.cubes?", session=session)
        for step in range(12):
            key = 900 + step
            connection.execute("INSERT INTO cubes VALUES (%s, 200.5, 70.25, 'new')", (key,))
            assert server.rows(count) == [[501 + step]]
            assert server.rows(f"SELECT name FROM ops.cubes WHERE cube = {key}") == [["cube new"]]
            assert server.rows(f"SELECT name FROM ops.seen WHERE cube = {key}") == [["cube new"]]
            if step % 6 == 0:
                assert len(service.search(count)) == 1
                assert service.search(count)["n"][0] == 501 + step
                assert len(cone.search(pos=(200.5, 70.25), radius=0.01)) == step + 1
                job = service.submit_job(count)
                job.run().wait(phases=["COMPLETED", "ERROR"], timeout=60)
                assert job.fetch_result()["n"][0] == 501 + step
                job.delete()
        connection.execute("DELETE FROM cubes WHERE id >= 900")
        del service, cone, job
    gc.collect()  # its sockets are this test's, not the next one's
    assert server.rows(count) == [[500]]


@pytest.mark.parametrize(
    "path",
    [
        "/tap/sync?LANG=ADQL&QUERY=SELECT+COUNT(*)+AS+n+FROM+ops.cubes&RESPONSEFORMAT=csv",
        "/cone/ops.cubes?RA=5&DEC=5&SR=1",
    ],
)
def test_no_answer_is_said_to_be_that_of_before(server: Server, path: str) -> None:
    _, headers, _ = server.get(path)
    tag = headers.get("etag")
    status, again, body = server.send("GET", path, headers={"If-None-Match": tag} if tag else {})
    assert status == 200
    assert body
    assert tag is None or again.get("etag") != tag


def test_numbers_of_rows_are_told_only_as_estimates(server: Server) -> None:
    page = server.get("/collections/ops")[2].decode()
    assert "rows</li>" not in page
    told = json.loads(run_hven("status", "--json", "--site", server.site).stdout)
    row = next(row for row in told["tables"] if row["table"] == "ops.cubes")
    assert (row["rows"], row["estimate"], row["kind"]) == (None, 500, "live")
    assert "no index supports cone searches on ra, dec" in told["hints"][0]
    assert 'CREATE INDEX CONCURRENTLY ON "public"."cubes" ("dec", "ra")' in told["hints"][0]
    shown = run_hven("status", "--site", server.site).stdout
    assert "ops.cubes (live)" in shown
    assert "about 500" in shown


def test_the_database_goes_and_comes_back(server: Server, database: PostgresCluster) -> None:
    count = "SELECT COUNT(*) AS n FROM ops.cubes"
    assert server.rows(count) == [[500]]
    database.stop()
    try:
        for _ in range(6):
            status, body = send_query(server, count)
            assert status == 503, body
        assert b"does not respond" in body
        assert b"Traceback" not in body
        assert server.get("/cone/ops.cubes", RA=1, DEC=1, SR=1)[0] == 503
        assert server.rows("SELECT COUNT(*) AS n FROM stars.main") == [[2]]
        assert len(server.rows("SELECT column_name FROM TAP_SCHEMA.columns WHERE table_name = 'ops.cubes'")) == 4
        wait_until(lambda: _health(server) == "degraded")
        assert server.get("/tap/tables")[0] == 200
    finally:
        database.start()
    wait_until(lambda: send_query(server, count)[0] == 200)
    assert server.rows(count) == [[500]]
    wait_until(lambda: _health(server) == "ok")


def _health(server: Server) -> str:
    return str(json.loads(server.get("/health")[2])["status"])


def test_a_server_that_starts_while_the_database_is_away_knows_its_tables(
    server: Server, database: PostgresCluster
) -> None:
    database.stop()
    started = False
    try:
        with serve_site(server.site) as other:
            status, body = send_query(other, "SELECT COUNT(*) AS n FROM ops.cubes")
            assert status == 503, body
            assert other.rows("SELECT COUNT(*) AS n FROM stars.main") == [[2]]
            database.start()
            started = True
            wait_until(lambda: send_query(other, "SELECT COUNT(*) AS n FROM ops.cubes")[0] == 200)
    finally:
        if not started:
            database.start()


def test_a_curator_begins_from_the_table(server: Server, database: PostgresCluster, tmp_path: Path) -> None:
    require_plugins("sources", "sql")
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            'CREATE TABLE runs (run int, part int, cube bigint REFERENCES cubes (id), ra float8, dec float8, "Seeing [arcsec]" real, notes jsonb, PRIMARY KEY (run, part))'
        )
        connection.execute(
            "COMMENT ON TABLE runs IS 'Every run of the instrument'; COMMENT ON COLUMN runs.ra IS 'Pointing, right ascension'"
        )
        connection.execute("INSERT INTO runs SELECT i, 1, i, i, i % 80, 0.8, '{}' FROM generate_series(1, 50) i")
    site = tmp_path / "site"
    run_hven("init", site)
    said: dict[str, Any] = {"OPS_DB": database.url}
    run_hven("--site", site, "new", "runs", "--from", "$OPS_DB", "--table", "public.runs", "--live", **said)
    text = (site / "collections" / "runs" / "runs.yaml").read_text()
    for words in (
        "kind: live", "primary: [run, part]", "position: [ra, dec]", "Every run of the instrument", "Pointing, right ascension", "unit: arcsec",
        "a foreign key refers to public.cubes", "notes has the type jsonb, which Hven does not serve", "kind: sql copies it",
    ):  # fmt: skip
        assert words in text, text
    checked = run_hven("--site", site, "check", "runs", **said).stdout
    assert "0 errors" in checked
    assert "no index supports cone searches on ra, dec: CREATE INDEX" in checked.replace("; CREATE", ": CREATE")
    assert "runs.yaml:" in checked
    assert "50" in run_hven("--site", site, "query", "SELECT COUNT(*) AS n FROM runs.main", **said).stdout
    refused = run_hven("--site", site, "ingest", "runs", expected_code=1, **said)
    assert "reads runs in place" in refused.stderr
    spelled = database.url.replace("/postgres?", "/postgres/public.runs?")
    run_hven("--site", site, "new", "copied", "--from", spelled)
    assert "kind: sql" in (site / "collections" / "copied" / "copied.yaml").read_text()
    run_hven("--site", site, "ingest", "copied")
