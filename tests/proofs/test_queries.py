"""Queries made at random at full size: by engine call on both engines, and as jobs over HTTP.

HVEN_QUERIES says how many (a million in `scripts/proof`; a hundredth of them as jobs), HVEN_QUERIES_SECONDS how long at most for each test,
HVEN_QUERIES_ENGINES which engines (duckdb,postgres), HVEN_QUERIES_FIRST the seed to begin with: without it a run at full size goes on where the
last one ended. A fault does not end a run: all of them are told at its end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "query"))
sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client
from query_comparison import check_seed, compare_sync_and_async, compare_with_duckdb

from hven.app._server import create_and_start_application
from hven.site import Site
from hven.testing.site import open_tiny_site
from plugin_needs import build_settings
from postgres_cluster import install_extensions, run_server
from query_tables import PUBLISHED_TABLES
from shared import ROOT

FULL = os.environ.get("HVEN_PROOF") == "full"
COUNT = int(os.environ.get("HVEN_QUERIES") or (1_000_000 if FULL else 200))
SECONDS = float(os.environ.get("HVEN_QUERIES_SECONDS") or (3600 if FULL else 60))
FIRST = os.environ.get("HVEN_QUERIES_FIRST")
KEPT = ROOT / ".hypothesis" / "queries.json"  # what was run -> the next seed
ENGINES = tuple(os.environ.get("HVEN_QUERIES_ENGINES", "duckdb").split(","))  # and postgres
MOST = 50  # faults; then something is broken that seeds do not tell
pytestmark = pytest.mark.outside


@contextmanager
def open_site_for_engine(directory: Path, engine: str) -> Iterator[Site]:
    tables = {table.qualified_name: (table, rows) for table, rows in PUBLISHED_TABLES}
    with ExitStack() as stack:
        more = {}
        if engine == "postgres":
            address = stack.enter_context(run_server())
            install_extensions(f"postgresql://{address}")
            more = {
                "engine": "postgres",
                "brought": {"postgres": build_settings("postgres", url=f"postgresql://{address}")},
            }
        yield stack.enter_context(open_tiny_site(directory, tables, **more))


def each(name: str, count: int, tried: Callable[[int], list[str]]) -> Counter[str]:
    """Try seed after seed; counts what they gave, and fails with all faults."""
    known = dict(json.loads(KEPT.read_text())) if FULL and KEPT.exists() else {}
    first = int(FIRST) if FIRST else known.get(name, 0)
    begun, seed = time.monotonic(), first
    kinds: Counter[str] = Counter()
    faults = []
    while seed < first + count and time.monotonic() < begun + SECONDS and len(faults) < MOST:
        try:
            kinds.update(tried(seed))
        except AssertionError as error:
            faults.append(str(error))
            print(f"{name}: {error}", flush=True)
        seed += 1
        if FULL and seed % 1000 == 0:
            KEPT.parent.mkdir(exist_ok=True)
            KEPT.write_text(json.dumps({**known, name: seed}))
    seconds = time.monotonic() - begun
    print(
        f"{name}: {seed - first:,} seeds, {first} to {seed - 1}, in {seconds:.0f} s: {dict(kinds)}, {len(faults)} faults",
        flush=True,
    )
    assert not faults, "\n\n".join(faults)
    kinds["seeds"] = seed - first
    return kinds


@pytest.mark.parametrize("engine", ENGINES)
def test_every_query_is_answered_or_refused_with_its_place(tmp_path: Path, engine: str) -> None:
    with open_site_for_engine(tmp_path, engine) as site:

        def run_seed(seed: int) -> list[str]:
            answer = check_seed(site, seed)
            if not isinstance(answer, pa.Table):
                return [type(answer).__name__]
            return ["rows", *(["compared"] if seed % 10 == 0 and compare_with_duckdb(seed, answer) else [])]

        kinds = each(engine, COUNT, run_seed)
    assert kinds["rows"] > kinds["seeds"] / 3


@pytest.mark.parametrize("engine", ENGINES)
def test_jobs_end_as_they_are_answered_at_once(tmp_path: Path, engine: str) -> None:
    with open_site_for_engine(tmp_path, engine) as site:
        client = Client(create_and_start_application(site))
        kinds = each(f"{engine} jobs", COUNT // 100, lambda seed: [compare_sync_and_async(client, site, seed)])
    assert kinds["COMPLETED"] > kinds["seeds"] / 4 or kinds["seeds"] < 50
