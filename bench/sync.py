"""Sync: 1,153,779 active regions in PostgreSQL as the HFC has them, imported and followed for some days; and an archive of 1,035,757 headers, followed by TAP."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import duckdb

from bench.measure import CACHE, HVEN, Journey, against, anonymous_peak, serve_site
from bench.needs import need

need("sync", ["pytest"])  # the server of PostgreSQL is the tests'
TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "proofs")]

import hfc  # noqa: E402  (what the proof uses too)

from postgres_cluster import PostgresCluster, run_cluster  # noqa: E402

SITE = CACHE / "site-sync"
ESO = CACHE / "site-eso"
FOLLOWER = CACHE / "site-follower"
DAYS = 3
HEADERS = 1_035_757
CHANGED = 500  # headers that an hour changes
HEADER = """\
collection: eso
title: Raw headers
tables:
  raw:
    primary: [dp_id]
    position: [ra, dec]
    source: {kind: parquet, files: headers.parquet}
    columns:
      dp_id: {type: string, ucd: meta.id;meta.main, required: true, indexed: true, rank: 1}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, rank: 1}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, rank: 1}
      mjd_obs: {type: float64, unit: d, ucd: time.epoch, rank: 2}
      modification_date: {type: timestamp, ucd: time.processing, indexed: true, rank: 2}
      instrument: {type: string, ucd: meta.id;instr, rank: 2}
      ob_name: {type: string, ucd: meta.id, rank: 3}
      prog_id: {type: string, ucd: meta.id, rank: 3}
      exposure: {type: float32, unit: s, ucd: time.duration;obs.exposure, rank: 3}
      object: {type: string, ucd: meta.id;src, rank: 3}
"""
FOLLOWING = """\
collection: headers
title: Headers, followed
tables:
  raw:
    primary: [dp_id]
    position: [ra, dec]
    source: {kind: tap, url: "%s/tap", table: eso.raw}
    follow: true
    columns:
      dp_id: {type: string, required: true}
    sync: {watermark: modification_date, overlap: 1 h, deletions: none}
"""


NEEDS = dict.fromkeys(
    ("psql", "PostgreSQL"),
    tuple(
        f"sync.{name}{ending}"
        for name in ("import", "day", "day.ratio", "memory", "nothing")
        for ending in ("", ".postgres")
    ),
)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if not only or any(only in name for name in NEEDS["psql"]):
        with run_cluster() as found:
            yield from month(found, "duckdb")
            yield from month(found, "postgres")
    if not only or any(only in name for name in ("sync.eso.hour", "sync.eso.first")):
        yield from measure_hourly_sync()


def month(found: PostgresCluster, engine: str) -> Iterator[Journey]:
    """Import the regions, then follow some days of changes while readers ask; beside it what psql takes to read the table once."""
    ending = "" if engine == "duckdb" else ".postgres"
    hfc.create_table(found.url, hfc.ROWS)
    once = statistics.median(_measure_copy(found) for _ in range(3))
    _site(found, engine)
    begun = time.perf_counter()
    peak, _ = _hven("ingest", "hfc1ar")
    spent = time.perf_counter() - begun
    yield against(
        f"sync.import{ending}",
        spent,
        180.0,
        1.0,
        unit="s",
        note=f"{hfc.ROWS:,} rows; psql reads them in {once:.1f} s; {peak:.0f} MiB",
    )
    times, cpus, peaks = [], [], []
    over = threading.Event()
    with serve_site(SITE) as server:
        readers = [threading.Thread(target=_read, args=(server.port, over), daemon=True) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(1, DAYS + 1):
            done = hfc.apply_day(found.url, number)
            begun = time.perf_counter()
            peak, cpu = _hven("sync", "hfc1ar")
            times.append(time.perf_counter() - begun)
            cpus.append(cpu)
            peaks.append(peak)
        begun = time.perf_counter()
        _hven("sync", "hfc1ar")
        nothing = time.perf_counter() - begun
        over.set()
        for reader in readers:
            reader.join(60)
    note = f"{sum(done.values()):,} rows changed, two readers meanwhile; CPU {statistics.median(cpus):.1f} s"
    yield against(f"sync.day{ending}", max(times), 30.0, 1.0, unit="s", note=note)
    yield against(
        f"sync.day{ending}.ratio",
        statistics.median(times),
        once,
        6.0,
        unit="s",
        note="beside psql, which reads the table once",
    )
    yield against(
        f"sync.memory{ending}", max(peaks), 1024, 1.0, unit="MiB", note="anonymous memory of a run at its peak"
    )
    yield against(f"sync.nothing{ending}", nothing, once, 5.0, unit="s", note="nothing has changed")


def measure_hourly_sync() -> Iterator[Journey]:
    """Follow another service by TAP: Hven itself serves the headers."""
    for site in (ESO, FOLLOWER):
        shutil.rmtree(site, ignore_errors=True)
        subprocess.run([HVEN, "init", site], check=True, capture_output=True)
    place = ESO / "collections" / "eso"
    place.mkdir(parents=True)
    (place / "eso.yaml").write_text(HEADER)
    base = duckdb.connect()
    base.execute(
        f"CREATE TABLE h AS SELECT 'ESO.' || lpad(n::VARCHAR, 9, '0') AS dp_id, (n * 37.77) % 360 AS ra, degrees(asin(2 * ((n * 0.618034) % 1) - 1)) AS dec, "
        "53000 + n / 400.0 AS mjd_obs, TIMESTAMP '2004-01-01' + INTERVAL (n) MINUTE AS modification_date, ['GRAVITY', 'PIONIER', 'MATISSE', 'AMBER'][1 + n % 4] AS instrument, "
        f"'OB ' || n // 12 AS ob_name, (60 + n % 50) || '.A-' || n % 9999 AS prog_id, (n % 600)::FLOAT AS exposure, 'HD ' || n % 40000 AS object FROM range({HEADERS}) t(n)"
    )
    base.execute(f"COPY h TO '{place / 'headers.parquet'}' (FORMAT parquet)")
    subprocess.run([HVEN, "--site", ESO, "ingest", "eso"], check=True, capture_output=True)
    with ExitStack() as stack:
        server = stack.enter_context(serve_site(ESO))
        (FOLLOWER / "collections" / "headers").mkdir(parents=True)
        (FOLLOWER / "collections" / "headers" / "headers.yaml").write_text(
            FOLLOWING % f"http://127.0.0.1:{server.port}"
        )
        (FOLLOWER / "hven.toml").write_text((FOLLOWER / "hven.toml").read_text() + "\nallow_private = true\n")
        begun = time.perf_counter()
        peak, _ = _hven("ingest", "headers", site=FOLLOWER)
        first = time.perf_counter() - begun
        yield against(
            "sync.eso.first",
            first,
            180.0,
            1.0,
            unit="s",
            note=f"{HEADERS:,} headers by TAP, page by page; {peak:.0f} MiB",
        )
        times = []
        for hour in range(3):
            base.execute(
                f"UPDATE h SET exposure = exposure + 1, modification_date = TIMESTAMP '2006-06-01' + INTERVAL ({hour}) HOUR WHERE hash(dp_id, {hour}) % {HEADERS // CHANGED} = 0"
            )
            base.execute(f"COPY h TO '{place / 'headers.parquet'}' (FORMAT parquet)")
            subprocess.run([HVEN, "--site", ESO, "ingest", "eso"], check=True, capture_output=True)
            time.sleep(1.0)
            begun = time.perf_counter()
            _hven("sync", "headers", site=FOLLOWER)
            times.append(time.perf_counter() - begun)
        yield against("sync.eso.hour", max(times), 10.0, 1.0, unit="s", note=f"about {CHANGED} of them changed")


def _site(found: PostgresCluster, engine: str) -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run([HVEN, "init", SITE], check=True, capture_output=True)
    (SITE / "secrets.toml").write_text(f"HFC = '{found.url}'\nKEPT = '{found.url}'\n")
    (SITE / "hven.toml").write_text((SITE / "hven.toml").read_text() + '\n[postgres]\nurl = "$KEPT"\n')
    place = SITE / "collections" / "hfc1ar"
    place.mkdir(parents=True)
    (place / "hfc1ar.yaml").write_text(hfc.DESCRIPTOR.format(engine=engine, sync="{deletions: compare}"))


def _measure_copy(found: PostgresCluster) -> float:
    begun = time.perf_counter()
    subprocess.run(["psql", found.url, "-qc", "COPY v_ar_hqi TO STDOUT"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def _hven(*words: str, site: Path = SITE) -> tuple[float, float]:
    """Run a verb; gives its memory at its peak (MiB) and its seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [HVEN, "--site", site, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ
    )
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, anonymous_peak([process.pid]))
        time.sleep(0.05)
    told = process.communicate()[0].decode(errors="replace")
    if process.returncode:
        raise RuntimeError(f"hven {' '.join(words)}: {told[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return peak, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _read(port: int, over: threading.Event) -> None:
    """Ask all the time for what must always be 0."""
    import http.client

    question = urlencode(
        {"LANG": "ADQL", "RESPONSEFORMAT": "json", "QUERY": "SELECT SUM(balance) AS bad FROM hfc1ar.epn_core"}
    )
    while not over.wait(0.2):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/tap/sync", question, {"Content-Type": "application/x-www-form-urlencoded"})
        body = connection.getresponse().read()
        connection.close()
        if json.loads(body)["data"] != [[0]]:
            raise RuntimeError(f"a reader saw half of a sync: {body[:200]!r}")
