"""Clients of the VO beside crawlers: 10,000 addresses, 500 requests a second, through a trusted proxy.

The crawlers follow all links: a third of their requests are for pages that search engines index, the others for
searches. The site limits the searches of all users without an account together, as its documentation proposes.
"""

from __future__ import annotations

import re
import shutil
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
from bench.crawl import ADDRESS_COUNT, ROW_COUNT, Answers, begin_client, send_requests_in_process
from bench.measure import CACHE, Journey, against, serve_site, spent

SITE = CACHE / "site-crawlers"
DOCUMENTATION = Path(__file__).parents[3] / "src/hven/plugins/request_limits/docs/request-limits.md"
CRAWL_RATE = 500.0  # requests of all crawlers in a second
CLIENT_RATE = 20.0  # requests of all clients of the VO in a second
ROUNDS = 5  # each without and with crawlers, in turn
ROUND_SECONDS = 6.0
MAX_SLOWDOWN = 2.0
MIN_RATE_SHARE = 0.95  # of the wanted rate, in each round
UCDS = {"id": "meta.id;meta.main", "ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main"}
NAMES = ("crawlers.clients", "crawlers.rate", "crawlers.refused", "crawlers.landing")
NEEDS: dict[str, tuple[str, ...]] = {}


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run all journeys if the name of one has `only` in it: they come from one measurement."""
    if not any(only in name for name in NAMES):
        return
    rounds: list[tuple[float, float]] = []
    crawl_rates: list[float] = []
    clients_beside, crawlers = Answers(), Answers()
    with (
        serve_site(make_site()) as server,
        ProcessPoolExecutor(2, get_context("spawn"), initializer=begin_client) as pool,
    ):
        arguments = (server.port, "clients", CLIENT_RATE)
        pool.submit(send_requests_in_process, *arguments, 3.0).result()  # warms up
        pool.submit(send_requests_in_process, server.port, "crawlers", CRAWL_RATE, 3.0).result()
        for _ in range(ROUNDS):  # what a shared machine gives changes from one minute to the next
            alone = pool.submit(send_requests_in_process, *arguments, ROUND_SECONDS).result()
            before = spent(server.pids)
            crawl = pool.submit(send_requests_in_process, server.port, "crawlers", CRAWL_RATE, ROUND_SECONDS)
            beside = pool.submit(send_requests_in_process, *arguments, ROUND_SECONDS).result()
            crawlers_of_round = crawl.result()
            crawl_rates.append(crawlers_of_round.sent_rate)
            processors = (spent(server.pids) - before) / ROUND_SECONDS
            for kind in ("landing", "search"):
                print(f"       {kind:8} {crawlers_of_round.count(kind)}")
            rounds.append((beside.find_quantile("client", 0.95), alone.find_quantile("client", 0.95)))
            print(
                f"       clients  {beside.count('client')}  p95 {rounds[-1][0] * 1e3:.1f} ms, alone"
                f" {rounds[-1][1] * 1e3:.1f} ms; the server used {processors:.2f} processors"
            )
            for answers, total in ((beside, clients_beside), (crawlers_of_round, crawlers)):
                for (kind, status), times in answers.seconds.items():
                    total.seconds.setdefault((kind, status), []).extend(times)
    slowdowns = [beside / alone for beside, alone in rounds]
    middle = rounds[slowdowns.index(statistics.median_low(slowdowns))]
    yield against(
        "crawlers.clients", middle[0] * 1e3, middle[1] * 1e3, MAX_SLOWDOWN, unit="ms",
        note=f"p95 of clients of the VO beside {min(crawl_rates):.0f} requests a second or more ({CRAWL_RATE:.0f} wanted)"
        f" of {ADDRESS_COUNT:,} addresses; the median of {ROUNDS} pairs",
    )  # fmt: skip
    yield against(
        "crawlers.rate", min(crawl_rates), CRAWL_RATE, MIN_RATE_SHARE, unit="/s", higher=True,
        note="requests of crawlers in a second, in the round with the fewest",
    )  # fmt: skip
    refused = sum(count for status, count in clients_beside.count("client").items() if status != 200)
    yield against("crawlers.refused", refused, 1.0, 0.0, unit="", note="clients of the VO that got no rows")
    landing = crawlers.count("landing")
    share = (landing.get(200, 0) + landing.get(303, 0)) / max(sum(landing.values()), 1)
    yield against(
        "crawlers.landing", share, 1.0, 0.99, unit="", higher=True, note="pages for search engines that were answered"
    )


def make_site() -> Path:
    """Make a site with stars, and the limits that the documentation proposes."""
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
            "vt": generator.uniform(2, 15, ROW_COUNT),
        }
    )
    table = build_table_from_arrow("stars.main", rows)
    columns = tuple(replace(column, ucd=UCDS.get(column.name)) for column in table.columns)
    open_tiny_site(SITE, {"stars.main": (replace(table, primary=("id",), columns=columns), rows)}).close()
    proposal = re.search(
        r"```toml\n(\[request_limits\.page-searches\].*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL
    )
    assert proposal is not None
    (SITE / "hven.toml").write_text(f'title = "Crawlers"\n{proposal[1]}')
    return SITE
