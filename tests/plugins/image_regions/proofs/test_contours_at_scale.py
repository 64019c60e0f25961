"""The HFC's size in chain codes: every outline a region at ingest, and a daily sync that computes those alone that changed.

Without HVEN_PROOF=full: some hundred of them.
"""

import json
import os
import resource
import time

import contour_ingests as holes
import hfc
import numpy as np
import pytest
from chain_code_samples import codes

from hven import query
from hven.ingest import _transform
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.sky import Regions
from hven.plugins.image_regions import contours
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

FULL = os.environ.get("HVEN_PROOF") == "full"
ROWS = int(os.environ.get("HVEN_ROWS", hfc.ROWS if FULL else 240))
DISTINCT = 4_000 if FULL else 60
CHANGED = 1_000 if FULL else 20


def test_all_outlines_of_the_hfc_and_a_day_of_changes(tmp_path, monkeypatch):
    if not FULL:
        monkeypatch.setattr(_transform, "CONTOUR_PIECE_ROWS", 100)
    with open_site_with_uningested_files(tmp_path, holes.DESCRIPTOR) as site:
        base = holes.fill(tmp_path / "collections/holes/holes.sqlite", ROWS, codes(min(DISTINCT, ROWS)))
        steps = base.execute("SELECT AVG(LENGTH(CC)), MAX(LENGTH(CC)) FROM CORONALHOLES").fetchone()
        begun, spent = time.perf_counter(), time.process_time()
        report = ingest_collection(site, "holes")
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
        new, gone, edited = holes.day(base, ROWS, CHANGED)
        begun, spent = time.perf_counter(), time.process_time()
        daily = sync_collection(site, "holes")
        took = time.perf_counter() - begun, time.process_time() - spent
        change = daily.changes["holes.epn_core"]
        print(
            f"a day: {json.dumps(change.collect_counts())}: {took[0]:.1f} s, {took[1]:.1f} s of CPU; mapped {change.mapped}"
        )
        assert (change.added, change.removed) == (new, gone)
        assert edited <= change.changed <= edited + 6
        assert change.mapped <= edited + new + 6
        site.refresh_published_state()
        some = base.execute(
            "SELECT * FROM CORONALHOLES WHERE ID > ? OR ID BETWEEN 55 AND 70 ORDER BY ID", (ROWS,)
        ).fetchall()
        with query.run_query(
            "SELECT granule_uid, s_region, coverage, c1min, c1max FROM holes.epn_core", OWNER_PRINCIPAL, site=site
        ) as result:
            names = {f"ch_{row[0]}" for row in some}
            served = {
                row["granule_uid"]: row
                for batch in result.iterate_batches()
                for row in batch.to_pylist()
                if row["granule_uid"] in names
            }
    ids, dates, radius, x, y, code = zip(*some, strict=True)
    earth = contours.sun.compute_solar_ephemeris(np.array(dates, "datetime64[us]"))
    scale = np.full(len(ids), 2.63)
    disc = contours.DiscImage(
        np.full(len(ids), 511.5),
        np.full(len(ids), 511.5),
        scale,
        scale,
        np.array(radius) * 2.63,
        earth.l0,
        earth.b0,
        np.zeros(len(ids)),
    )
    wanted = contours.build_regions_from_chain_codes(list(code), x, y, disc)
    west, east, _, _ = wanted.regions.compute_bounding_boxes()
    for at, number in enumerate(ids):
        row, one = served[f"ch_{number}"], wanted.regions.take([at])
        if not len(one.lon):
            assert row["s_region"] is None
            continue
        assert (row["c1min"], row["c1max"]) == pytest.approx((west[at], east[at]))
        assert (row["coverage"] is None) == (one.ring_counts[0] == 1)
        if one.ring_counts[0] == 1:
            assert Regions.from_lists([[[np.reshape(row["s_region"], (-1, 2)).tolist()]]]).compute_areas()[
                0
            ] == pytest.approx(one.compute_areas()[0])
