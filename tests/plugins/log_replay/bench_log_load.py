"""Load a server as the users of a log did: the log's mix of requests, at several times the rate of its busiest minute."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench.crawl import begin_client, send_drawn_requests_in_process
from bench.measure import CACHE, Journey, against, serve_site, spent

SITE = CACHE / "site-log-load"
ROW_COUNT, LOGGED_COUNT = 100_000, 20_000
PEAK_FACTOR = 10.0  # the load, in peaks of the log
LOAD_SECONDS = 10.0
MAX_P95_MILLISECONDS = 25.0
NAMES = ("log_load.p95", "log_load.refused")
NEEDS: dict[str, tuple[str, ...]] = {}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run all journeys if the name of one has `only` in it: they come from one measurement."""
    from hven.plugins.log_replay.load_model import build_load_model, draw_requests

    if not any(only in name for name in NAMES):
        return
    make_site()
    write_log(SITE / "access.log")
    model = build_load_model(SITE / "access.log")
    rate = PEAK_FACTOR * model.peak_rate
    with (
        serve_site(SITE) as server,
        ProcessPoolExecutor(1, get_context("spawn"), initializer=begin_client) as pool,
    ):
        drawn = list(takewhile(lambda request: request[0] < LOAD_SECONDS, draw_requests(model, rate, 49)))
        pool.submit(send_drawn_requests_in_process, server.port, drawn[: len(drawn) // 4]).result()  # warms up
        before = spent(server.pids)
        answers = pool.submit(send_drawn_requests_in_process, server.port, drawn).result()
        processors = (spent(server.pids) - before) / LOAD_SECONDS
    count = sum(answers.count("logged").values())
    yield against(
        "log_load.p95", answers.find_quantile("logged", 0.95) * 1e3, MAX_P95_MILLISECONDS, 1.0, unit="ms",
        note=f"{count:,} requests, {rate:.0f} a second, as in the log's busiest minute times {PEAK_FACTOR:g};"
        f" the server used {processors:.2f} processors",
    )  # fmt: skip
    refused = count - answers.count("logged").get(200, 0)
    yield against("log_load.refused", refused, 1.0, 0.0, unit="", note="requests without rows")


def write_log(path: Path) -> None:
    """Write a log of a day in the combined format: three quarters cone searches, and more requests in the afternoon."""
    generator = random.Random(49)
    midnight = datetime(2026, 10, 10, tzinfo=UTC)
    lines = []
    for _ in range(LOGGED_COUNT):
        moment = midnight + timedelta(hours=min(max(generator.gauss(15, 3), 0), 23.99))
        target = f"/cone/stars.main?RA={generator.uniform(0, 360):.3f}&DEC={generator.uniform(-80, 80):.3f}&SR=0.5"
        if generator.random() < 0.25:
            target = f"/tap/sync?LANG=ADQL&QUERY=SELECT+*+FROM+stars.main+WHERE+id={generator.randrange(200)}"
        lines.append(f'192.0.2.1 - - [{moment:%d/%b/%Y:%H:%M:%S} +0000] "GET {target} HTTP/1.1" 200 900 "-" "x"')
    path.write_text("\n".join(lines) + "\n")


def make_site() -> None:
    """Make a site with stars."""
    from dataclasses import replace

    from hven.testing.site import build_table_from_arrow, open_tiny_site

    shutil.rmtree(SITE, ignore_errors=True)
    SITE.mkdir(parents=True)
    generator = np.random.default_rng(49)
    rows = pa.table(
        {
            "id": pa.array(range(ROW_COUNT), pa.int64()),
            "ra": generator.uniform(0, 360, ROW_COUNT),
            "dec": np.degrees(np.arcsin(generator.uniform(-1, 1, ROW_COUNT))),
        }
    )
    ucds = {"id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
    table = build_table_from_arrow("stars.main", rows)
    columns = tuple(replace(column, ucd=ucds[column.name]) for column in table.columns)
    open_tiny_site(SITE, {"stars.main": (replace(table, primary=("id",), columns=columns), rows)}).close()
    (SITE / "hven.toml").write_text('title = "Load of a log"\n')
