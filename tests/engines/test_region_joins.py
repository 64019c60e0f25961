"""Joins of positions and shapes with a column of regions: by the index of these, and to the same pairs as without it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import CIRCLES, build_circles, plan_query, run_with_and_without_indexes, sort_rows, stage_table
from test_matches import REGIONS
from test_matches import regions as patches
from test_regions import FIELDS, regions

from hven.engines import ExecutionLimits, MemoryRelation
from hven.engines.duckdb.position_pairs import find_possibly_touching_pairs
from hven.engines.duckdb.region_index import RegionIndex
from hven.model.sky import Circle, are_shapes_intersecting

TABLES = (FIELDS, CIRCLES, REGIONS)
INSIDE = "1 = CONTAINS(POINT(u.lon, u.lat), f.s_region)"
QUERIES = [
    f"SELECT u.n, f.id FROM TAP_UPLOAD.list AS u JOIN sky.fields AS f ON {INSIDE}",
    f"SELECT u.n, f.id FROM sky.fields AS f, TAP_UPLOAD.list AS u WHERE {INSIDE} AND f.id > 20",
    f"SELECT u.n, f.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.fields AS f ON {INSIDE}",
    f"SELECT u.n FROM TAP_UPLOAD.list AS u WHERE NOT EXISTS (SELECT 1 FROM sky.fields AS f WHERE f.id > 120 AND {INSIDE})",
    f"SELECT u.n, (SELECT COUNT(*) FROM sky.fields AS f WHERE {INSIDE}) AS c FROM TAP_UPLOAD.list AS u",
    f"SELECT u.n, f.id FROM (SELECT n, lon + 0.25 AS lon, lat FROM TAP_UPLOAD.list WHERE n < 50) AS u JOIN sky.fields AS f ON {INSIDE}",
    "SELECT u.n, f.id FROM TAP_UPLOAD.list AS u JOIN sky.fields AS f ON 1 = INTERSECTS(f.ring, CIRCLE(u.lon, u.lat, ABS(u.r)))",
    "SELECT u.n, f.id FROM TAP_UPLOAD.list AS u JOIN sky.fields AS f ON 1 = CONTAINS(f.s_region, CIRCLE(POINT(u.lon, u.lat), 20))",
    "SELECT u.n, f.id FROM TAP_UPLOAD.list AS u JOIN sky.fields AS f ON INTERSECTS(BOX(u.lon, u.lat, 2, 1.5), f.s_region) = 1",
    "SELECT r.n, f.id FROM TAP_UPLOAD.regions AS r JOIN sky.fields AS f ON 1 = INTERSECTS(r.patch, f.s_region)",
    "SELECT r.n, f.id FROM TAP_UPLOAD.regions AS r JOIN sky.fields AS f ON 1 = CONTAINS(f.ring, r.around)",
]  # fmt: skip


@pytest.fixture(scope="module")
def relations(engine):
    texts, rings = regions(160)
    texts = [text if text is None or "/" not in text else None for text in texts]  # of MOCs each pair is dear
    rows = pa.table(
        {"id": pa.array(range(160)), "s_region": texts, "ring": pa.array(rings, FIELDS.find_column("ring").type.arrow)}
    )
    return {
        "sky.fields": stage_table(engine, FIELDS, rows.cast(FIELDS.arrow_schema)),
        "TAP_UPLOAD.list": MemoryRelation(build_circles(40)),
        "TAP_UPLOAD.regions": MemoryRelation(patches(16)),
    }


@pytest.mark.parametrize("text", QUERIES)
def test_every_form_is_matched_by_the_index(engine, relations, text):
    bound, prepared = plan_query(engine, text, TABLES)
    column = "ring" if "f.ring" in text else "s_region"
    assert f"by the position index of the regions in {column}" in prepared.explain(), prepared.explain()
    assert prepared._candidate_finder.find_candidate_rows(
        engine, bound.literal_values, relations, ExecutionLimits()
    ).replaced_conditions, "the pairs were not looked up"
    indexed, scanned = run_with_and_without_indexes(engine, text, relations, TABLES)
    assert sort_rows(indexed) == sort_rows(scanned)
    assert len(indexed) > 2


def test_what_must_be_one_may_be_none_the_next_time(engine, relations):
    text = "SELECT u.n, f.id FROM TAP_UPLOAD.list AS u JOIN sky.fields AS f ON 0 = CONTAINS(POINT(u.lon, u.lat), f.s_region)"
    bound, prepared = plan_query(engine, text, TABLES)
    assert not prepared._candidate_finder.find_candidate_rows(
        engine, bound.literal_values, relations, ExecutionLimits()
    ).replaced_conditions


@pytest.mark.parametrize(
    "condition",
    [INSIDE, "1 = INTERSECTS(f.ring, POINT(u.lon, u.lat))", "1 = INTERSECTS(r.around, f.ring)", "1 = CONTAINS(r.patch, f.s_region)"],
)  # fmt: skip
def test_pairs_of_columns_need_no_duckdb(engine, condition):
    _, prepared = plan_query(
        engine, f"SELECT f.id FROM sky.fields AS f, TAP_UPLOAD.list AS u, TAP_UPLOAD.regions AS r WHERE {condition}", TABLES
    )  # fmt: skip
    (match,) = prepared._candidate_finder.position_matches
    asked, _, _ = prepared._candidate_finder.auxiliary_plans.plan_pair_filter(engine, match.condition)
    assert asked._arrow_query is not None


def test_circles_around_regions_leave_few_pairs_and_none_that_touches_out(engine, relations):
    stored = engine.open_snapshot(relations["sky.fields"])
    index = stored.get_region_index("ring")
    rings = [None if ring is None else Circle(*ring) for ring in stored.table["ring"].to_pylist()]
    rng = np.random.default_rng(5)
    lon, lat, radius = rng.uniform(0, 360, 300), np.degrees(np.arcsin(rng.uniform(-1, 1, 300))), rng.uniform(0, 2, 300)
    lon[:50], lat[:50] = np.array([[ring.lon, ring.lat] for ring in rings if ring is not None][:50]).T
    radius[:100] = 0.0
    asked = [Circle(*one) for one in zip(lon.tolist(), lat.tolist(), radius.tolist(), strict=True)]
    touching = {
        (number, row)
        for number, one in enumerate(asked)
        for row, ring in enumerate(rings)
        if ring is not None and are_shapes_intersecting(one, ring)
    }
    owner, row = find_possibly_touching_pairs(index, (lon, lat, radius))
    found = set(zip(owner.tolist(), row.tolist(), strict=True))
    assert len(found) == len(owner)
    assert touching <= found
    assert len(found) < 1.1 * len(touching) + 20
    older = find_possibly_touching_pairs(RegionIndex.from_cells(index.cells, index.rows), (lon, lat, radius))
    assert found < set(zip(*(numbers.tolist() for numbers in older), strict=True))
