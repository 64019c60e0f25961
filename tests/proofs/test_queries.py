"""Queries made at random at full size: by engine call on both engines, and as jobs; their seeds are kept, so that a run goes on where the last one ended.

HVEN_QUERIES says how many (a million in `scripts/proof`), HVEN_QUERIES_SECONDS how long at most,
HVEN_QUERIES_ENGINES which engines (duckdb,postgres).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "query"))
sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asking import Client
from made_queries import agree, judged

from adql_queries import query
from hven.jobs import run_next
from hven.server import create
from hven.settings import Postgres
from hven.testing.site import tiny_site
from made_tables import PUBLISHED, TABLES
from postgres import server, sphere
from shared import ROOT

FULL = os.environ.get("HVEN_PROOF") == "full"
COUNT = int(os.environ.get("HVEN_QUERIES") or (1_000_000 if FULL else 200))
SECONDS = float(os.environ.get("HVEN_QUERIES_SECONDS") or (3600 if FULL else 60))
KEPT = ROOT / ".hypothesis" / "queries.json"  # engine -> the next seed
ENGINES = tuple(os.environ.get("HVEN_QUERIES_ENGINES", "duckdb").split(","))  # and postgres
pytestmark = pytest.mark.outside


def kept() -> dict[str, int]:
    """Give where each engine's next run begins."""
    return dict(json.loads(KEPT.read_text())) if FULL and KEPT.exists() else {}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_query_is_answered_or_refused_with_its_place(tmp_path: Path, engine: str) -> None:
    with server() as address:
        sphere(f"postgresql://{address}")
        more = {"engine": "postgres", "postgres": Postgres(url=f"postgresql://{address}")} if engine == "postgres" else {}
        with tiny_site(tmp_path, {table.qualified: (table, rows) for table, rows in PUBLISHED}, **more) as site:
            kinds: Counter[str] = Counter()
            first = kept().get(engine, 0) % COUNT
            end, seed = time.monotonic() + SECONDS, first
            while seed < COUNT and time.monotonic() < end:
                answer = judged(site, seed)
                kinds["rows" if isinstance(answer, pa.Table) else type(answer).__name__] += 1
                if engine == "duckdb" and isinstance(answer, pa.Table) and seed % 10 == 0:
                    kinds["compared"] += agree(seed, answer)
                seed += 1
                if FULL and seed % 1000 == 0:
                    KEPT.parent.mkdir(exist_ok=True)
                    KEPT.write_text(json.dumps({**kept(), engine: seed}))
    print(f"{engine}: seeds {first} to {seed - 1}: {dict(kinds)}")
    assert kinds["rows"] > (seed - first) / 3


def test_jobs_end_as_they_are_answered_at_once(tmp_path: Path) -> None:
    with tiny_site(tmp_path, {table.qualified: (table, rows) for table, rows in PUBLISHED}) as site:
        client = Client(create(site))
        end = time.monotonic() + SECONDS
        for seed in range(COUNT // 100):
            text = query(seed, TABLES)
            if "TAP_UPLOAD" in text or time.monotonic() > end:
                continue
            sync = client.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", MAXREC=500, QUERY=text)
            assert sync.status in {200, 400, 413}, f"seed {seed}: {sync.status} {sync.text}\n{text}"
            made = client.post("/tap/async", LANG="ADQL", RESPONSEFORMAT="csv", MAXREC=500, QUERY=text, PHASE="RUN")
            run_next(site)
            path = "/tap/async" + made.headers["location"].partition("/tap/async")[2]
            assert (client.get(path + "/phase").text == "COMPLETED") == (sync.status == 200), f"seed {seed}\n{text}"
            client.ask("DELETE", path)
