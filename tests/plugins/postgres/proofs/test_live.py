"""A table that is read in place while another program changes 1,000 of its rows each second: no error, no lock that anybody waits for.

Without HVEN_PROOF=full the same for some seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psycopg
import pytest

from postgres_cluster import PostgresCluster, run_cluster
from process_runner import Server, run_hven, serve_site, wait_until

pytestmark = pytest.mark.slow

FULL = os.environ.get("HVEN_PROOF") == "full"
SECONDS = 60.0 if FULL else 4.0
ROWS = 200_000 if FULL else 20_000
READERS = 16
CHANGES = 1_000  # rows each second
LEAST = CHANGES * SECONDS * 0.3  # rows, in all
LOCK = 0.1  # seconds
DESCRIPTOR = """collection: ops
title: What the telescope does now
tables:
  cubes:
    columns:
      cube: {type: int64, indexed: true}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mag: {type: float32, unit: mag}
      state: {type: string}
      changed: {type: timestamp, indexed: true}
    primary: [cube]
    map: {cube: id}
    source: {kind: live, url: $OPS_DB, table: public.cubes}
"""


@pytest.fixture
def database() -> Iterator[PostgresCluster]:
    with run_cluster() as found:
        with psycopg.connect(found.url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE cubes (id bigint PRIMARY KEY, ra float8, dec float8, mag real, state text, changed timestamptz DEFAULT clock_timestamp())"
            )
            connection.execute(
                "INSERT INTO cubes SELECT i, (i * 7.31)::numeric % 360, degrees(asin(2 * ((i * 0.618033)::numeric % 1) - 1)), i % 2000 / 100.0, 'new'"
                f" FROM generate_series(1, {ROWS}) i"
            )
            connection.execute("CREATE INDEX ON cubes (dec, ra); CREATE INDEX ON cubes (changed)")
            connection.execute("VACUUM ANALYZE cubes")
        yield found


@pytest.fixture
def server(database: PostgresCluster, tmp_path: Path) -> Iterator[Server]:
    site = tmp_path / "site"
    run_hven("init", site)
    (site / "secrets.toml").write_text(f"OPS_DB = '{database.url}'\n")
    (site / "collections" / "ops").mkdir(parents=True)
    (site / "collections" / "ops" / "ops.yaml").write_text(DESCRIPTOR)
    with serve_site(site, workers=2) as made:
        yield made


class Writer(threading.Thread):
    """The other program: inserts, updates and deletes; `last` is the newest row that it has committed."""

    def __init__(self, url: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.over, self.last, self.changed, self.slowest = url, over, ROWS, 0, 0.0
        self.errors: list[str] = []

    def run(self) -> None:
        try:
            with psycopg.connect(self.url, autocommit=True, application_name="writer") as connection:
                since = time.monotonic()
                while not self.over.is_set():
                    begun, low = time.monotonic(), random.randrange(1, ROWS - 100)
                    with connection.transaction():
                        connection.execute(
                            "INSERT INTO cubes SELECT i, mod(i, 360), mod(i, 90), 5, 'fresh' FROM generate_series(%s::bigint, %s) i",
                            (self.last + 1, self.last + 20),
                        )
                        connection.execute(
                            "UPDATE cubes SET state = 'done', changed = clock_timestamp() WHERE id BETWEEN %s AND %s",
                            (low, low + 59),
                        )
                        connection.execute(
                            "DELETE FROM cubes WHERE id > %s AND id BETWEEN %s AND %s",
                            (ROWS, self.last - 2_000, self.last - 1_981),
                        )
                    self.last += 20
                    self.changed += 100
                    self.slowest = max(self.slowest, time.monotonic() - begun)
                    time.sleep(max(0.0, since + self.changed / CHANGES - time.monotonic()))
        except psycopg.Error as error:
            self.errors.append(str(error))


class Watcher(threading.Thread):
    """Looks twenty times a second how long each of our sessions has held a lock on the source, and whether anybody waits."""

    def __init__(self, url: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.over = url, over
        self.longest, self.looks, self.waiting, self.modes = 0.0, 0, 0, set[str]()
        self.idle = 0.0
        self.long, self.seen = 0, 0  # how often a lock was seen that was older than LOCK; locks that were seen

    def run(self) -> None:
        held = (
            "SELECT l.mode, l.granted, extract(epoch FROM clock_timestamp() - a.xact_start)::float8, a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE a.application_name LIKE 'hven%' AND l.locktype = 'relation' AND l.relation IN ('cubes'::regclass, 'cubes_pkey'::regclass)"
        )
        waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'writer' AND wait_event_type = 'Lock'"
        with psycopg.connect(self.url, autocommit=True, application_name="watcher") as connection:
            while not self.over.is_set():
                for mode, _, seconds, state in connection.execute(held).fetchall():
                    self.modes.add(mode)
                    self.longest = max(self.longest, seconds or 0.0)
                    self.seen += 1
                    self.long += (seconds or 0.0) > LOCK
                    if state == "idle in transaction":
                        self.idle = max(self.idle, seconds or 0.0)
                self.waiting += connection.execute(waits).fetchone()[0]  # type: ignore[index]
                self.looks += 1
                time.sleep(0.02)


class Reader(threading.Thread):
    """Asks what operators and astronomers ask; every answer is looked at."""

    def __init__(self, server: Server, writer: Writer, over: threading.Event, number: int) -> None:
        super().__init__(daemon=True)
        self.server, self.writer, self.over, self.random = server, writer, over, random.Random(number)
        self.times: list[float] = []
        self.errors: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                self.step(connection)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.errors.append(repr(error))
                connection.close()
            self.times.append(time.monotonic() - begun)
        connection.close()

    def step(self, connection: http.client.HTTPConnection) -> None:
        kind = self.random.randrange(4)
        if kind == 0:
            newest = self.writer.last
            found = self.asked(connection, f"SELECT cube, state FROM ops.cubes WHERE cube = {newest}")
            gone = newest == ROWS or self.writer.last > newest + 1_900  # it was never there, or may be deleted by now
            assert found == [[newest, "fresh"]] or gone, f"{newest} was committed before: {found}"
        elif kind == 1:
            ra, dec = self.random.uniform(0, 360), self.random.uniform(-80, 80)
            self.asked(
                connection,
                f"SELECT cube, ra, dec FROM ops.cubes WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, 1))",
            )
        elif kind == 2:
            newest = self.writer.last
            found = self.asked(
                connection,
                "SELECT TOP 5 cube, changed FROM ops.cubes WHERE cube > " + str(newest - 100) + " ORDER BY cube DESC",
            )
            assert found, "the newest rows are there"
            assert found[0][0] >= newest, f"{found[0]} is older than {newest}"  # type: ignore[operator]
        else:
            low = self.random.randrange(1, ROWS - 2000)
            found = self.asked(
                connection,
                f"SELECT state, COUNT(*) AS n FROM ops.cubes WHERE cube BETWEEN {low} AND {low + 999} GROUP BY state",
            )
            assert sum(row[1] for row in found) == 1000, found  # type: ignore[misc]

    def asked(self, connection: http.client.HTTPConnection, text: str) -> list[list[object]]:
        body = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "json", "QUERY": text})
        connection.request("POST", "/tap/sync", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data[:500]
        return list(json.loads(data)["data"])


def test_a_writer_and_sixteen_readers(
    server: Server, database: PostgresCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    over = threading.Event()
    writer, watcher = Writer(database.url, over), Watcher(database.url, over)
    readers = [Reader(server, writer, over, number) for number in range(READERS)]
    for thread in (writer, watcher, *readers):
        thread.start()
    begun = time.monotonic()
    time.sleep(SECONDS)
    # speed is claimed at full size alone: elsewhere it goes on until enough has been seen
    wait_until(lambda: FULL or writer.errors or (writer.changed > LEAST and watcher.looks > SECONDS), 300)
    over.set()
    for thread in (writer, watcher, *readers):
        thread.join(120)
    seconds = time.monotonic() - begun
    times = sorted(time for reader in readers for time in reader.times)
    errors = [error for reader in readers for error in reader.errors] + writer.errors
    with capsys.disabled():
        print(
            f"\n{seconds:.0f} s, {ROWS:,} rows: {writer.changed:,} rows changed ({writer.changed / seconds:,.0f}/s), slowest change {writer.slowest * 1e3:.0f} ms;"
            f" {len(times):,} answers ({len(times) / seconds:,.0f}/s), median {times[len(times) // 2] * 1e3:.1f} ms, 99 % {times[len(times) * 99 // 100] * 1e3:.0f} ms,"
            f" {len(errors)} errors; locks {sorted(watcher.modes)} held at most {watcher.longest * 1e3:.0f} ms ({watcher.looks:,} looks, {watcher.seen:,} locks, {watcher.long} older than {LOCK * 1e3:.0f} ms),"
            f" idle in a transaction {watcher.idle * 1e3:.0f} ms, the writer waited {watcher.waiting} times"
        )
    assert not errors, errors[:3]
    assert watcher.modes <= {"AccessShareLock"}
    assert watcher.looks > SECONDS
    assert watcher.waiting == 0
    assert writer.changed > LEAST
    if FULL:
        assert watcher.longest < LOCK
