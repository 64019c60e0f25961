"""The HFC's size in chain codes: every outline a region at ingest, and a daily sync that computes those alone that changed.

Without HVEN_PROOF=full: some hundred of them.
"""

import json
import os
import resource
import sqlite3
import time
from datetime import datetime, timedelta

import hfc
import numpy as np
import pytest
from bench.regions import codes

from hven import query
from hven.ingest import ingest
from hven.ingest.sync import sync
from hven.model.sky import Regions, contours
from hven.site.auth._permit import OWNER
from hven.testing.site import site_with

FULL = os.environ.get("HVEN_PROOF") == "full"
ROWS = int(os.environ.get("HVEN_ROWS", hfc.ROWS if FULL else 240))
DISTINCT = 4_000 if FULL else 60
CHANGED = 1_000 if FULL else 20
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


def fill(path, rows):
    """Write chain codes whose lengths are CHARM's, each somewhere on a disc of EIT, six a day."""
    texts, starts = codes(min(DISTINCT, rows))
    rng = np.random.default_rng(5)
    x, y = rng.integers(-120, 121, (2, rows))
    base = sqlite3.connect(path)
    base.execute(
        "CREATE TABLE CORONALHOLES (ID integer primary key, DATE_OBS text, R_SUN real, CC_X_PIX integer, CC_Y_PIX integer, CC text)"
    )
    begin = datetime(1996, 1, 1)
    base.executemany(
        "INSERT INTO CORONALHOLES VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                n + 1,
                (begin + timedelta(minutes=10 * (n // 6))).isoformat(),
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


def test_all_outlines_of_the_hfc_and_a_day_of_changes(tmp_path):
    with site_with(tmp_path, DESCRIPTOR) as site:
        base = fill(tmp_path / "collections/holes/holes.sqlite", ROWS)
        steps = base.execute("SELECT AVG(LENGTH(CC)), MAX(LENGTH(CC)) FROM CORONALHOLES").fetchone()
        begun, spent = time.perf_counter(), time.process_time()
        report = ingest(site, "holes")
        took = time.perf_counter() - begun, time.process_time() - spent
        table = report.tables["holes.epn_core"]
        counts = {rule.rpartition(" ")[2]: one.count for rule, one in table.findings.items()}
        print(
            f"\n{ROWS:,} codes of {steps[0]:.0f} steps (longest {steps[1]:,}): {took[0]:.0f} s, {took[1]:.0f} s of CPU, {table.bytes / 1e6:,.0f} MB, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:,} MB of memory at most; {table.seconds}; {counts}"
        )
        assert table.published == ROWS
        assert (
            sum(counts.get(word, 0) for word in ("exact", "multi_part", "clipped_at_limb", "off_disc", "degenerate"))
            == ROWS
        )
        # a day: new, edited and deleted rows, and images whose radius was corrected
        with base:
            base.execute("DELETE FROM CORONALHOLES WHERE ID % ? = 3 AND ID <= ?", (max(ROWS // CHANGED, 1) * 4, ROWS))
            gone = base.execute("SELECT changes()").fetchone()[0]
            base.execute(
                "UPDATE CORONALHOLES SET CC_X_PIX = CC_X_PIX + 1 WHERE ID % ? = 5", (max(ROWS // CHANGED, 1) * 4,)
            )
            edited = base.execute("SELECT changes()").fetchone()[0]
            base.execute("UPDATE CORONALHOLES SET R_SUN = 374.9 WHERE ID BETWEEN 61 AND 66")
            new = base.execute(
                "INSERT INTO CORONALHOLES SELECT ID + ?, DATE_OBS, R_SUN, CC_X_PIX, CC_Y_PIX, CC FROM CORONALHOLES WHERE ID > ? LIMIT ?",
                (ROWS, ROWS // 2, CHANGED // 2),
            ).rowcount
        begun, spent = time.perf_counter(), time.process_time()
        daily = sync(site, "holes")
        took = time.perf_counter() - begun, time.process_time() - spent
        change = daily.changes["holes.epn_core"]
        print(f"a day: {json.dumps(change.counts())}: {took[0]:.1f} s, {took[1]:.1f} s of CPU; mapped {change.mapped}")
        assert (change.added, change.removed) == (new, gone)
        assert edited <= change.changed <= edited + 6
        assert change.mapped <= edited + new + 6
        site.refresh()
        some = base.execute(
            "SELECT * FROM CORONALHOLES WHERE ID > ? OR ID BETWEEN 55 AND 70 ORDER BY ID", (ROWS,)
        ).fetchall()
        with query.run(
            "SELECT granule_uid, s_region, coverage, c1min, c1max FROM holes.epn_core", OWNER, site=site
        ) as result:
            names = {f"ch_{row[0]}" for row in some}
            served = {
                row["granule_uid"]: row
                for batch in result.batches()
                for row in batch.to_pylist()
                if row["granule_uid"] in names
            }
    ids, dates, radius, x, y, code = zip(*some, strict=True)
    earth = contours.sun.earth(np.array(dates, "datetime64[us]"))
    scale = np.full(len(ids), 2.63)
    disc = contours.Disc(
        np.full(len(ids), 511.5),
        np.full(len(ids), 511.5),
        scale,
        scale,
        np.array(radius) * 2.63,
        earth.l0,
        earth.b0,
        np.zeros(len(ids)),
    )
    wanted = contours.chain_codes(list(code), x, y, disc)
    west, east, _, _ = wanted.regions.boxes()
    for at, number in enumerate(ids):
        row, one = served[f"ch_{number}"], wanted.regions.take([at])
        if not len(one.lon):
            assert row["s_region"] is None
            continue
        assert (row["c1min"], row["c1max"]) == pytest.approx((west[at], east[at]))
        assert (row["coverage"] is None) == (one.ring_counts[0] == 1)
        if one.ring_counts[0] == 1:
            assert Regions.of([[[np.reshape(row["s_region"], (-1, 2)).tolist()]]]).area()[0] == pytest.approx(
                one.area()[0]
            )
