"""The HFC over a month: each day new, late, edited and deleted rows, and each day the served table is the source, exactly; readers see no half of it.

A run that is killed at any moment loses nothing and makes nothing up. Without HVEN_PROOF=full: fewer days, rows and kills.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import hfc
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hven.model.settings import load_settings
from hven.site.store import StateStore
from plugin_needs import require_plugins
from postgres_cluster import PostgresCluster, run_cluster
from process_runner import Server, run_hven, serve_site, start_hven, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sync-proof")]

FULL = os.environ.get("HVEN_PROOF") == "full"
ROWS = hfc.ROWS if FULL else 24_001
DAYS = 30 if FULL else 3
CHANGES = 1_000 if FULL else 200
KILLS = 100 if FULL else 5
KILLED_ROWS = 30_000 if FULL else 6_001
DAILY = 30.0  # seconds that a run may take, with everything at full size
IMPORT = 180.0
READERS = 4 if FULL else 2
REST = 0.0 if FULL else 0.3  # seconds between the rounds of a reader


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresCluster]:
    with run_cluster() as found:
        yield found


def make_site(
    site: Path, database: PostgresCluster, engine: str, schema: str = "hven", sync: str = "{deletions: compare}"
) -> None:
    run_hven("init", site)
    (site / "secrets.toml").write_text(f"HFC = '{database.url}'\nKEPT = '{database.url}'\n")
    if engine == "postgres":
        require_plugins("engines", engine)
        with (site / "hven.toml").open("a") as file:
            file.write(f'\n[postgres]\nurl = "$KEPT"\nnamespace = "{schema}"\n')
    (site / "collections" / "hfc1ar").mkdir(parents=True)
    (site / "collections" / "hfc1ar" / "hfc1ar.yaml").write_text(hfc.DESCRIPTOR.format(engine=engine, sync=sync))


def fetch_served_rows(server: Server) -> pa.Table:
    """Give the same rows and columns as `hfc.truth`, as the service answers them; asked of a process of it that has seen the last publication."""
    require_plugins("protocols", "changes")
    settings = load_settings(server.site)
    store = StateStore(settings.var_directory, settings.store)
    state = store.read_published_snapshot_ids()[1]["hfc1ar.epn_core"]
    store.close()
    query = {
        "LANG": "ADQL",
        "RESPONSEFORMAT": "parquet",
        "MAXREC": "20000000",
        "QUERY": f"SELECT {hfc.COLUMNS} FROM hfc1ar.epn_core ORDER BY id_ar",
    }
    found: list[bytes] = []

    def request_changes() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        with contextlib.closing(connection):  # one connection is answered by one process
            connection.request("GET", "/changes/hfc1ar.epn_core")
            answer = connection.getresponse()
            answer.read()
            if answer.headers["hven-snapshot"] != state:
                return False
            assert connection.sock is not None, "the connection is kept"
            connection.request(
                "POST", "/tap/sync", urlencode(query), {"Content-Type": "application/x-www-form-urlencoded"}
            )
            answer = connection.getresponse()
            found.append(answer.read())
            assert answer.status == 200, found[0][:500]
            return True

    wait_until(request_changes, 300)
    return pq.read_table(io.BytesIO(found[-1]))


def assert_same(table: pa.Table, database: PostgresCluster) -> None:
    """Compare what is served with the source, row by row; texts by what PostgreSQL makes of them."""
    wanted = hfc.read_rows(database.url)
    assert table.num_rows == len(wanted)
    for number, name in enumerate(table.column_names):
        if name == "chain_code":
            continue
        values = table.column(name).fill_null(-1).to_numpy().astype(np.float64)
        np.testing.assert_allclose(values, wanted[:, number], rtol=0, atol=1e-9, err_msg=name)
    with psycopg.connect(database.url) as connection:
        codes = [row[0] for row in connection.execute("SELECT chain_code FROM v_ar_hqi ORDER BY id_ar")]
    assert table.column("chain_code").to_pylist() == codes


class Reader(threading.Thread):
    """Asks all the time; every answer must be one state: balances sum up to 0, no image has two editions, no error."""

    def __init__(self, server: Server, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server, self.over = server, over
        self.answers = 0
        self.faults: list[str] = []

    def run(self) -> None:
        questions = [
            "SELECT SUM(balance) AS bad FROM hfc1ar.epn_core",
            "SELECT COUNT(*) AS bad FROM (SELECT obs_number FROM hfc1ar.epn_core GROUP BY obs_number HAVING MAX(edition) <> MIN(edition)) AS m",
            "SELECT SUM(a.balance) + SUM(b.balance) AS bad FROM hfc1ar.epn_core AS a JOIN hfc1ar.epn_core AS b ON a.id_ar = b.id_ar + 1 WHERE MOD(a.id_ar, 2) = 1",
        ]
        while not self.over.wait(REST):
            for question in questions[: 2 + (self.answers % 5 == 0)]:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
                    connection.request("POST", "/tap/sync", urlencode({"LANG": "ADQL", "QUERY": question, "RESPONSEFORMAT": "json"}), {"Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
                    answer = connection.getresponse()
                    body = answer.read()
                    connection.close()
                    if answer.status != 200 or json.loads(body)["data"] != [[0]]:
                        self.faults.append(f"{question}: {answer.status} {body[:300]!r}")
                except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                    self.faults.append(f"{question}: {error!r}")
                self.answers += 1


@pytest.mark.parametrize("engine", ["duckdb", "postgres"])
def test_a_month_of_changes(
    database: PostgresCluster, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hfc.create_table(database.url, ROWS)
    site = tmp_path / "site"
    make_site(site, database, engine)
    begun = time.monotonic()
    run_hven("--site", site, "ingest", "hfc1ar", in_subprocess=FULL)
    imported = time.monotonic() - begun
    over, times, told = threading.Event(), [], []
    with serve_site(site, workers=2) as server:
        assert_same(fetch_served_rows(server), database)
        readers = [Reader(server, over) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        try:
            for number in range(1, DAYS + 1):
                changed = hfc.apply_day(database.url, number, CHANGES)
                begun = time.monotonic()
                found = json.loads(run_hven("--site", site, "sync", "hfc1ar", "--json", in_subprocess=FULL).stdout)
                times.append(time.monotonic() - begun)
                told.append((changed, found))
                assert_same(fetch_served_rows(server), database)
            before = len(run_hven("--site", site, "history", "hfc1ar").stdout)
            again = json.loads(run_hven("--site", site, "sync", "hfc1ar", "--json", in_subprocess=FULL).stdout)
            assert not again["published"], "nothing changed: no new snapshot"
            assert before
        finally:
            over.set()
            for reader in readers:
                reader.join(120)
    with capsys.disabled():
        counts = sum(reader.answers for reader in readers)
        print(
            f"\n{engine}: {ROWS:,} rows imported in {imported:.1f} s; {DAYS} days, runs of {min(times):.1f} to {max(times):.1f} s, {counts:,} answers meanwhile"
        )
    assert [fault for reader in readers for fault in reader.faults] == []
    if FULL:
        assert imported <= IMPORT
        assert max(times) <= DAILY


@pytest.mark.parametrize(("engine", "kills"), [("duckdb", KILLS), ("postgres", KILLS if FULL else 3)])
def test_a_run_that_is_killed_loses_nothing(database: PostgresCluster, tmp_path: Path, engine: str, kills: int) -> None:
    hfc.create_table(database.url, KILLED_ROWS)
    site = tmp_path / "site"
    make_site(site, database, engine, schema="killed")
    run_hven("--site", site, "ingest", "hfc1ar", in_subprocess=FULL)
    chance = random.Random(1546)
    usual = 3.0
    with serve_site(site) as server:
        for number in range(1, kills + 1):
            before = fetch_served_rows(server)
            hfc.apply_day(database.url, number, CHANGES)
            begun = time.monotonic()
            process = start_hven(["--site", str(site), "sync", "hfc1ar"], tmp_path / "sync.log", None)
            try:
                process.wait(chance.uniform(0.3, usual))
                usual = max(1.0, time.monotonic() - begun)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            now = fetch_served_rows(server)
            if not now.equals(before):
                assert_same(now, database)  # all of it, or nothing
            if number % 5 == 0:
                run_hven("--site", site, "sync", "hfc1ar", in_subprocess=FULL)
                assert_same(fetch_served_rows(server), database)
        run_hven("--site", site, "sync", "hfc1ar", in_subprocess=FULL)
        assert_same(fetch_served_rows(server), database)
    left = [path.name for path in (site / "var" / "snapshots").rglob("*.staging")]
    assert left == []
    with psycopg.connect(database.url) as connection:
        there = connection.execute(
            "SELECT c.relname, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'killed' AND c.relkind IN ('r', 'p', 'v') AND c.relname ~ '^[bosp]_'"
        ).fetchall()
    snapshots = (
        len(json.loads(run_hven("--site", site, "history", "hfc1ar", "--json").stdout)["snapshots"]) if there else 0
    )
    assert len([name for name, _ in there if name.startswith("s_")]) == snapshots
    assert not [name for name, _ in there if name.startswith("o_")], "what a killed run had sent is swept"
