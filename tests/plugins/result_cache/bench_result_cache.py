"""What a repeated answer costs: processor time of the server for equal queries that the cache answers.

Beside the time stands a ratio to the shortest answer of the same server, `/health/live`: it says on any machine what the cache adds to the
HTTP server, the limits and the metrics.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from bench.measure import CACHE, Journey, Server, against, serve_site, spent

SITE = CACHE / "site-result-cache"
ROW_COUNT = 1_000
ROUNDS = 12
ROUND_SECONDS = 1
CLIENT_COUNT = 8
MAX_MICROSECONDS = 250.0
MAX_RATIO = 1.5  # to the shortest answer
LEAST_ADDRESS = "/health/live"
QUERY = "SELECT id, mag FROM stars.main WHERE id < 100 ORDER BY mag"
JOURNEYS = ("cache.hit", "cache.hit.ratio", "cache.unchanged", "cache.unchanged.ratio")
NEEDS = {"wrk": JOURNEYS}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    journeys = [name for name in JOURNEYS if only in name]
    if not journeys:
        return
    address = f"/tap/sync?LANG=ADQL&RESPONSEFORMAT=votable&QUERY={quote(QUERY)}"
    with serve_site(make_site(), workers=1) as server:
        for name in [name for name in JOURNEYS[::2] if any(one.startswith(name) for one in journeys)]:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("GET", address)  # the first takes longer than a round where other programs compute
            answer = connection.getresponse()
            answer.read()
            connection.close()
            headers = {"If-None-Match": answer.headers["etag"]} if name == "cache.unchanged" else {}
            measure_answer(server, address, headers)  # warms up
            pairs = [
                (measure_answer(server, address, headers), measure_answer(server, LEAST_ADDRESS, {}, is_cached=False))
                for _ in range(ROUNDS)
            ]
            lowest, lowest_reference = map(min, zip(*pairs, strict=True))
            note = "processor time of a repeated answer with 100 rows, or of a 304; the lowest of all rounds"
            if name in journeys:
                yield against(name, lowest, MAX_MICROSECONDS, 1.0, unit="us", note=note)
            if f"{name}.ratio" in journeys:
                note = f"the same, beside {LEAST_ADDRESS} in turns"
                yield against(f"{name}.ratio", lowest, lowest_reference, MAX_RATIO, unit="us", note=note)


def make_site() -> Path:
    """Make a site with few stars and a cache."""
    from hven.testing.site import open_tiny_site

    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir(parents=True)
    rows = pa.table(
        {
            "id": pa.array(range(ROW_COUNT), pa.int64()),
            "mag": [float(number * 7919 % ROW_COUNT) for number in range(ROW_COUNT)],
        }
    )
    open_tiny_site(SITE, {"stars.main": rows}).close()
    (SITE / "hven.toml").write_text('title = "Result cache"\n[result_cache]\nbytes = "32 MiB"\n')
    return SITE


def measure_answer(server: Server, address: str, headers: dict[str, str], *, is_cached: bool = True) -> float:
    """Return the processor time of an answer (microseconds); if `is_cached`, all answers must come from the cache."""
    before, hits = spent(server.pids), count_hits(server)
    words = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{CLIENT_COUNT}", f"-d{ROUND_SECONDS}s", *words]
    url = f"http://127.0.0.1:{server.port}{address}"
    text = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    seconds = spent(server.pids) - before
    count = re.search(r"(\d+) requests in", text)
    if count is None or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    if is_cached and count_hits(server) - hits < int(count[1]) - 1:
        raise RuntimeError(text)
    return seconds / int(count[1]) * 1e6


def count_hits(server: Server) -> int:
    """Read the number of repeated answers from the metrics."""
    connection = server.connect()
    connection.request("GET", "/metrics")
    match = re.search(rb"^hven_result_cache_hits_total (\d+)$", connection.getresponse().read(), re.MULTILINE)
    connection.close()
    return int(match[1]) if match else 0
