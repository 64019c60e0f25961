"""Decide for 10,000 cited cones whether a change of 100,000 rows has changed their answers.

The reference repeats the queries of a sample, as a program without this package would, scaled to all.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bench.measure import CACHE, Journey

SITES = CACHE / "citations"
CITATION_COUNT, SAMPLE = 10_000, 20
RADIUS_DEGREES = 0.1
MAX_SECONDS = 5.0
MAX_RATIO = 0.1
for directory in (
    Path(__file__).parent,
    Path(__file__).parents[1] / "watches",
    Path(__file__).parents[1] / "notifications",
    Path(__file__).parents[2] / "protocols",
):
    sys.path.insert(0, str(directory))


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for name, radius in (("citations.cones", RADIUS_DEGREES), ("citations.wide", 1.0)):
        if only in name:
            yield measure_decision(name, radius)


def measure_decision(name: str, radius: float) -> Journey:
    """Measure the time from a publication to the stored verdicts of all citations."""
    from bench_watches import CHANGED_COUNT, ROW_COUNT, change_rows, draw_rows, store_changes
    from watch_site import describe_table

    from hven import query
    from hven.model.settings import Settings
    from hven.plugins.living_citations.citation_round import CitationRound
    from hven.plugins.living_citations.citation_store import CitationFindingStore
    from hven.plugins.living_citations.store_tables import citation_findings
    from hven.site import Site
    from hven.testing.site import publish_rows

    directory = SITES / name
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "collections").mkdir(parents=True)
    generator = np.random.default_rng(52)
    rows = draw_rows(generator, ROW_COUNT)
    with Site(Settings(directory=directory)) as site:
        table = describe_table(rows)
        publish_rows(site, table, rows)
        site.refresh_published_state()
        queries = add_results(site, generator, radius)
        citation_round = CitationRound(site)
        for _ in range(0, CITATION_COUNT, 2_000):
            citation_round.add_new_results()
        changed_rows = change_rows(generator, rows)
        publish_rows(site, table, changed_rows)
        store_changes(site, rows, changed_rows)
    with Site(Settings(directory=directory)) as site:
        begin, processor_begin = time.perf_counter(), time.process_time()
        CitationRound(site).decide_changed_tables()
        seconds, processor_seconds = time.perf_counter() - begin, time.process_time() - processor_begin
        findings = site.store.get_or_create(CitationFindingStore).list_findings()
        changed_count = sum(finding.verdict == "changed" for finding in findings)
        due_count = len(
            site.store.get_or_create(CitationFindingStore).list_findings(citation_findings.c.work != "none")
        )
        begin = time.perf_counter()
        for text in queries[:: len(queries) // SAMPLE][:SAMPLE]:
            with query.run_query(text, site=site, maxrec=100_000) as result:
                list(result.iterate_batches())
        reference = (time.perf_counter() - begin) / SAMPLE * len(queries)
    return Journey(
        name=name,
        value=seconds,
        unit="s",
        reference=reference,
        ratio=seconds / reference,
        target=MAX_RATIO,
        note=f"{len(findings):,} citations of {radius} degrees, {CHANGED_COUNT:,} changed rows: {changed_count:,} changed, "
        f"{due_count:,} to be repeated; {processor_seconds:.2f} s of processor; at most {MAX_SECONDS} s wanted; "
        f"reference: {SAMPLE} queries, scaled",
    )


def add_results(site, generator: np.random.Generator, radius: float) -> list[str]:
    """Add cited results whose numbers of rows are not computed."""
    import sqlalchemy as sa
    from notification_site import Announcer

    from hven.plugins.living_citations.citation_store import write_json
    from hven.site.api.state_tables import metadata

    snapshot = site.store.read_published_snapshot_ids()[1]["stars.main"]
    longitudes = generator.uniform(0, 360, CITATION_COUNT)
    latitudes = np.degrees(np.arcsin(generator.uniform(-1, 1, CITATION_COUNT)))
    queries = [
        f"SELECT * FROM stars.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({lon!r}, {lat!r}, {radius!r}))"
        for lon, lat in zip(longitudes.tolist(), latitudes.tolist(), strict=True)
    ]
    rows = [
        {
            "id": f"{number:020x}",
            "made": f"2026-11-29T00:00:{number % 60:02d}",
            "maker": "x",
            "body": write_json(
                {
                    "query": text,
                    "text": text,
                    "maxrec": None,
                    "snapshots": {"stars.main": snapshot},
                    "rows": 0,
                    "checksum": "",
                    "collections": ["stars"],
                }
            ),
        }
        for number, text in enumerate(queries)
    ]
    site.store.get_or_create(Announcer).execute(sa.insert(metadata.tables["results"]).values(rows[:1]))
    for start in range(1, len(rows), 2_000):
        site.store.get_or_create(Announcer).execute(
            sa.insert(metadata.tables["results"]).values(rows[start : start + 2_000])
        )
    return queries
