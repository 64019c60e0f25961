"""Chain codes of the HFC's kind through a whole ingest: to polygons, with a MOC of each, and a day of changes after that."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import astropy.units as u
import numpy as np
from bench.measure import Journey, against
from mocpy import MOC

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.sky import Moc
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

Codes = tuple[list[str], np.ndarray]
ALL, ROWS, COVERED, CHANGED = 1_153_779, 100_000, 400, 500
DESCRIPTOR = """\
collection: holes
title: Coronal holes
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [region]
    source: {kind: sql, file: holes.sqlite, table: CORONALHOLES}
    sync: {deletions: compare}
    let:
      t: parse_time(DATE_OBS)
      hole: chain_contour(CC, CC_X_PIX, CC_Y_PIX, disc(511.5, 511.5, 2.63, 2.63, R_SUN * 2.63, sun_l0(t), sun_b0(t)))
    set: {granule_gid: hole, dataproduct_type: ci, processing_level: 5, target_name: Sun, target_class: star, instrument_host_name: SOHO, instrument_name: EIT, creation_date: "2026-01-01"}
    text: {granule_uid: "ch_{ID}"}
    map: {time_min: jd(t), s_region: hole}
"""
POLYGONS = DESCRIPTOR.replace("    optional: [region]\n", "")
MOCS = DESCRIPTOR.replace("s_region: hole}", "s_region: hole, coverage: contour_moc(hole)}")


def fill(path: Path, rows: int, codes: Codes) -> sqlite3.Connection:
    """Write chain codes, each somewhere on a disc of EIT, six a day."""
    texts, starts = codes
    x, y = np.random.default_rng(5).integers(-120, 121, (2, rows))
    base = sqlite3.connect(path)
    base.execute(
        "CREATE TABLE CORONALHOLES (ID integer primary key, DATE_OBS text, R_SUN real, CC_X_PIX integer, CC_Y_PIX integer, CC text)"
    )
    dates = np.datetime_as_string(np.datetime64("1996-01-01T00:00") + 10 * (np.arange(rows) // 6), unit="s").tolist()
    base.executemany(
        "INSERT INTO CORONALHOLES VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                n + 1,
                dates[n],
                374.87,
                int((starts[n % len(texts)][0] - 512) // 2 + 512 + x[n]),
                int((starts[n % len(texts)][1] - 512) // 2 + 512 + y[n]),
                texts[n % len(texts)],
            )
            for n in range(rows)
        ),
    )
    base.commit()
    return base


def day(base: sqlite3.Connection, rows: int, changed: int) -> tuple[int, int, int]:
    """Let a day come: new, edited and deleted rows, and images whose radius was corrected; count the new, the deleted, and those edited (six of the images beside)."""
    step = max(rows // changed, 1) * 4
    with base:
        gone = base.execute("DELETE FROM CORONALHOLES WHERE ID % ? = 3 AND ID <= ?", (step, rows)).rowcount
        edited = base.execute("UPDATE CORONALHOLES SET CC_X_PIX = CC_X_PIX + 1 WHERE ID % ? = 5", (step,)).rowcount
        base.execute("UPDATE CORONALHOLES SET R_SUN = 374.9 WHERE ID BETWEEN 61 AND 66")
        new = base.execute(
            "INSERT INTO CORONALHOLES SELECT ID + ?, DATE_OBS, R_SUN, CC_X_PIX, CC_Y_PIX, CC FROM CORONALHOLES WHERE ID > ? LIMIT ?",
            (rows, rows // 2, changed // 2),
        ).rowcount
    return new, gone, edited


def measure_call(work: Callable[[Site, str], Any], site: Site) -> tuple[Any, float, float]:
    """Return what came of it, seconds, and seconds of CPU."""
    begun, spent = time.perf_counter(), time.process_time()
    return work(site, "holes"), time.perf_counter() - begun, time.process_time() - spent


def journeys(only: str, codes: Codes, rings: Callable[[], float], *, big: bool) -> Iterator[Journey]:
    """Measure them; `rings` gives how many plain rings two processes mend in a second."""
    if any(only in name for name in ("regions.ingest", "regions.day")):
        rows = ALL if big else ROWS
        with TemporaryDirectory() as home, open_site_with_uningested_files(Path(home), POLYGONS) as site:
            base = fill(Path(home) / "collections/holes/holes.sqlite", rows, codes)
            _, took, spent = measure_call(ingest_collection, site)
            note = f"{rows:,} codes from SQLite to a published and indexed table, {1e6 * spent / rows:.0f} microseconds of CPU a row; goal 8,000; the reference mends plain rings in two processes"
            yield against("regions.ingest", rows / took, rings(), 1.22, unit="rows/s", higher=True, note=note)
            new, gone, edited = day(base, rows, CHANGED)
            report, later, spent = measure_call(sync_collection, site)
            base.close()
        change = report.changes["holes.epn_core"]
        counts = (change.added, change.removed, change.changed)
        if not new + edited <= change.mapped <= new + edited + 6 or counts[:2] != (new, gone):
            message = f"{change.mapped} rows were mapped and {counts} added, removed and changed, where {new}, {gone} and {edited} differ"
            raise AssertionError(message)
        note = f"{change.mapped} rows of {rows:,} computed: {new} new, {edited} edited, {gone} deleted; {spent:.1f} s of CPU; the reference is the ingest"
        yield against("regions.day", later, took, 0.3, unit="s", note=note)
    if only in "regions.covered":
        with TemporaryDirectory() as home, open_site_with_uningested_files(Path(home), MOCS) as site:
            fill(Path(home) / "collections/holes/holes.sqlite", COVERED, codes).close()
            _, took, spent = measure_call(ingest_collection, site)
            site.refresh_published_state()
            with query.run_query("SELECT s_region, coverage FROM holes.epn_core", OWNER_PRINCIPAL, site=site) as result:
                found = [row for row in result.read_table().to_pylist() if row["s_region"] is not None]
        orders = [Moc.parse(row["coverage"]).order for row in found]
        begun = time.perf_counter()
        for row, order in zip(found, orders, strict=True):
            lon, lat = np.reshape(row["s_region"], (-1, 2)).T
            MOC.from_polygon(lon * u.deg, lat * u.deg, max_depth=order)
        known = len(found) / (time.perf_counter() - begun)
        note = f"{COVERED} codes to a published table with a MOC of each within 1 %, order {np.median(orders):.0f}, {1e3 * spent / COVERED:.1f} ms of CPU a row; the reference is mocpy alone, at the same orders"
        yield against("regions.covered", COVERED / took, known, 1 / 1.3, unit="rows/s", higher=True, note=note)
