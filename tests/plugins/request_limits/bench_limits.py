"""What metrics and limits cost: processor time of cone searches with both, beside the same without them, in turn.

The reference server counts no requests and no queries, and has no limits. Processor time is compared, not the rate: the
machine may have other work, and a rate also measures the client.
"""

from __future__ import annotations

import random
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench.measure import CACHE, Journey, Server, serve_site, spent

SITES = CACHE / "request-limits"
ROW_COUNT = 200_000
ROUNDS = 40
ROUND_SECONDS = 1
CONE_COUNT = 5_000  # different cones
CLIENT_COUNT = 16
MAX_COST = 1.02  # times the processor time of a cone without metrics and limits
UNMETERED = (sys.executable, "-m", "bench.unmetered")
NEEDS = dict.fromkeys(("wrk",), ("limits.cones",))
UCDS = {"id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
LIMITS = """\
[request_limits.partners]
networks = ["192.0.2.0/24"]
groups = ["survey-team"]

[request_limits.visitors]
anonymous = true
services = ["tap", "cone"]
concurrent = 1000
requests_per_minute = 100_000_000
rows_per_day = 100_000_000_000
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only not in "limits.cones":
        return
    limited, plain = (make_site(name, text) for name, text in (("limited", LIMITS), ("plain", "")))
    script = write_cones(CACHE / "limits.lua")
    with serve_site(limited, workers=1) as metered, serve_site(plain, workers=1, program=UNMETERED) as unmetered:
        servers = (metered, unmetered)
        for server in servers:
            measure_cone(server, script)  # warms up
        rounds = [[measure_cone(server, script) for server in servers] for _ in range(ROUNDS)]
    value, reference = (compute_mean_of_lowest(times) for times in zip(*rounds, strict=True))
    yield Journey(
        name="limits.cones",
        value=value,
        unit="us",
        reference=reference,
        ratio=value / reference,
        target=MAX_COST,
        note=f"processor time of a cone, the lowest quarter of {ROUNDS} pairs; reference: no metrics, no limits",
    )


def compute_mean_of_lowest(times: Sequence[float]) -> float:
    """Return the mean of the lowest quarter: other programs only lengthen the times, by full caches."""
    return statistics.fmean(sorted(times)[: max(len(times) // 4, 1)])


def make_site(name: str, settings_text: str) -> Path:
    """Make a site with stars; its rows are the same each time."""
    from hven.testing.site import build_table_from_arrow, open_tiny_site

    directory = SITES / name
    if not (directory / "made").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        generator = np.random.default_rng(49)
        rows = pa.table(
            {
                "id": pa.array(range(ROW_COUNT), pa.int64()),
                "ra": generator.uniform(0, 360, ROW_COUNT),
                "dec": np.degrees(np.arcsin(generator.uniform(-1, 1, ROW_COUNT))),
                "vt": generator.uniform(2, 15, ROW_COUNT),
            }
        )
        table = build_table_from_arrow("stars.main", rows)
        columns = tuple(replace(column, ucd=UCDS.get(column.name)) for column in table.columns)
        table = replace(table, primary=("id",), columns=columns)
        open_tiny_site(directory, {"stars.main": (table, rows)}).close()
        (directory / "made").touch()
    (directory / "hven.toml").write_text(f'title = "Limits"\n{settings_text}')
    return directory


def write_cones(path: Path) -> Path:
    """Write a script of wrk that requests one cone after another."""
    chosen = random.Random(49)
    paths = [
        f'"/cone/stars.main?RA={chosen.uniform(0, 360):.4f}&DEC={chosen.uniform(-80, 80):.4f}&SR=0.3"'
        for _ in range(CONE_COUNT)
    ]
    path.write_text(
        "local paths = {" + ",\n".join(paths) + "}\nlocal at = 0\n"
        "request = function()\n at = at % #paths + 1\n return wrk.format('GET', paths[at])\nend\n"
    )
    return path


def measure_cone(server: Server, script: Path) -> float:
    """Return the processor time of a cone search on a server (microseconds)."""
    command = ["wrk", "-t1", f"-c{CLIENT_COUNT}", f"-d{ROUND_SECONDS}s", "-s", str(script)]
    before = spent(server.pids)
    command.append(f"http://127.0.0.1:{server.port}")
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = spent(server.pids) - before
    count = re.search(r"(\d+) requests in", text)
    if count is None or "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    return seconds / int(count[1]) * 1e6
