"""``python -m bench.follow``: a mirror of 1,000,000 rows x 26 columns; what the first copy, 1,000 changes and no change cost in bytes and seconds."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.needs import need

need("follow", ["pytest"])  # site and server are run as the tests do
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from process_runner import Server, run_hven, serve_site, wait_until  # noqa: E402

ROWS, GONE, CHANGED, NEW = 1_000_000, 100, 800, 100
TEXT = """\
collection: ar
title: Regions
tables:
  main:
    source: {kind: parquet, files: a.parquet}
    primary: id
    follow: true
"""


def build_rows(ids: np.ndarray) -> pa.Table:
    """Twenty numbers and five texts for each id."""
    numbers = {f"v{k}": pa.array(np.sin(ids * (k + 1.0))) for k in range(20)}
    texts = {f"s{k}": pa.array(np.char.add("name", (ids % 9973).astype(str))) for k in range(5)}
    return pa.table({"id": pa.array(ids), **numbers, **texts})


def count_sent_bytes(site: Path, before: int) -> tuple[int, int, int]:
    """Count the bytes of rows and of the feed that a site gave since a line of its log, and the lines."""
    lines = (site / "serve.log").read_text().splitlines()
    found = [json.loads(line) for line in lines[before:] if line.startswith("{")]
    rows, feed = (
        sum(one.get("bytes", 0) for one in found if str(one.get("path", "")).startswith(path))
        for path in ("/tap", "/changes")
    )
    return rows, feed, len(lines)


def state(server: Server) -> str:
    """Name what is published."""
    return server.get("/changes/ar.main")[1]["hven-snapshot"]


def main() -> None:
    """Print a line for each run of the mirror; fail if the copy is another one."""
    with tempfile.TemporaryDirectory() as top:
        site, copy = Path(top) / "site", Path(top) / "copy"
        run_hven("init", site)
        run_hven("init", copy)
        toml = copy / "hven.toml"
        toml.write_text("allow_private = true\n" + toml.read_text())
        place = site / "collections" / "ar"
        place.mkdir()
        (place / "ar.yaml").write_text(TEXT)
        ids = np.arange(ROWS)
        table = build_rows(ids)
        pq.write_table(table, place / "a.parquet")
        run_hven("ingest", "ar", "--site", site)
        with serve_site(site) as server:
            seen = 0
            for what in ("first", f"{GONE + CHANGED + NEW:,} changes", "no change"):
                if what.endswith("changes"):
                    dice = np.random.default_rng(1)
                    values = np.sin(ids * 1.0)
                    values[dice.choice(ROWS, CHANGED, replace=False)] += 5
                    stays = ~np.isin(ids, dice.choice(ROWS, GONE, replace=False))
                    now = pa.concat_tables(
                        [
                            table.set_column(1, "v0", pa.array(values)).filter(pa.array(stays)),
                            build_rows(np.arange(ROWS, ROWS + NEW)),
                        ]
                    )
                    pq.write_table(now, place / "a.parquet")
                    before = state(server)
                    run_hven("sync", "ar", "--site", site)
                    wait_until(lambda before=before: state(server) != before)
                seen = count_sent_bytes(site, seen)[2]
                begin = time.perf_counter()
                run_hven("mirror", server.url, "--site", copy)
                rows, feed, seen = count_sent_bytes(site, seen)
                print(
                    f"{what}: {time.perf_counter() - begin:.1f} s, {rows:,} bytes of rows, {feed:,} of the feed",
                    flush=True,
                )
        query = "SELECT id, v0, v19, s4 FROM ar.main ORDER BY id"
        one, two = (
            run_hven("query", query, "--site", where, "--format", "csv", "--maxrec", 2_000_000).stdout
            for where in (site, copy)
        )
        if one != two:
            sys.exit("the copy is another one")


if __name__ == "__main__":
    main()
