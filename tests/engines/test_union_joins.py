"""Joins by position with a union of tables: by the index of each member, to the pairs that looking at all of them finds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import (
    CIRCLES,
    STARS,
    build_circles,
    build_sky,
    plan_query,
    run_query,
    run_with_and_without_indexes,
    sort_rows,
    stage_table,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hven.engines import ExecutionLimits, MemoryRelation
from hven.model.sky import compute_angular_distance, healpix
from hven.model.table import Table
from shared import EXAMPLES_FACTOR

NORTH = STARS.copy_with(name="north")
SOUTH = STARS.copy_with(name="south", position=None)  # no index of positions
PLANETS = Table(schema="sky", name="planets", columns=STARS.columns[:1], primary=("id",))
TABLES = (STARS, NORTH, SOUTH, PLANETS, CIRCLES)
ALL = """(SELECT id, ra AS x, dec AS y, mag FROM sky.stars
 UNION ALL SELECT -id, CAST(ra AS DOUBLE PRECISION), dec, mag FROM sky.north WHERE mag < 12
 UNION ALL SELECT id + 1, ra + 0.25, dec, mag FROM sky.south
 UNION ALL SELECT id, CAST(NULL AS DOUBLE PRECISION), CAST(NULL AS DOUBLE PRECISION), CAST(NULL AS DOUBLE PRECISION) FROM sky.planets)"""
NEAR = "DISTANCE(o.x, o.y, u.lon, u.lat) < 0.5"
FORMS = [
    f"SELECT u.n, o.id FROM TAP_UPLOAD.list AS u JOIN {ALL} AS o ON {NEAR}",
    f"SELECT u.n, o.id, o.mag FROM {ALL} AS o JOIN TAP_UPLOAD.list AS u ON {NEAR} WHERE o.mag > 9",
    f"SELECT u.n, o.id FROM TAP_UPLOAD.list AS u, {ALL} AS o WHERE 1 = CONTAINS(POINT(o.x, o.y), CIRCLE(u.lon, u.lat, 0.1 * u.n)) AND u.n < 20",
    f"SELECT u.n, o.id FROM TAP_UPLOAD.list AS u LEFT JOIN {ALL} AS o ON {NEAR}",
    f"SELECT u.n, o.id FROM {ALL} AS o RIGHT JOIN TAP_UPLOAD.list AS u ON {NEAR} AND o.mag < 11",
    f"SELECT u.n, COUNT(o.id) AS c FROM TAP_UPLOAD.list AS u LEFT JOIN {ALL} AS o ON 1 = CONTAINS(POINT(o.x, o.y), BOX(u.lon, u.lat, 2, 1.5)) GROUP BY u.n",
    f"SELECT u.n FROM TAP_UPLOAD.list AS u WHERE NOT EXISTS (SELECT 1 FROM {ALL} AS o WHERE {NEAR})",
    f"SELECT u.n, o.id, v.n AS k FROM TAP_UPLOAD.list AS u JOIN {ALL} AS o ON {NEAR} JOIN TAP_UPLOAD.list AS v ON DISTANCE(o.x, o.y, v.lon, v.lat) < 0.2",
    f"SELECT u.n, o.id FROM TAP_UPLOAD.list AS u JOIN {ALL.replace('ra + 0.25', 'CASE WHEN field IN (1, 2, 3, 5, 8, 13, 21) THEN ra + 0.25 ELSE ra END')} AS o ON {NEAR}",
    f"SELECT a.id AS i, o.id FROM sky.stars AS a JOIN {ALL} AS o ON DISTANCE(a.ra, a.dec, o.x, o.y) < 0.02 WHERE DISTANCE(a.ra, a.dec, 10, 20) < 0.004",
]  # fmt: skip


@pytest.fixture(scope="module")
def relations(engine):
    found = {
        "sky.stars": stage_table(engine, STARS, build_sky(9_000)),
        "sky.north": stage_table(engine, NORTH, build_sky(6_000, 1)),
        "sky.south": stage_table(engine, SOUTH, build_sky(3_000, 2)),
        "sky.planets": stage_table(
            engine, PLANETS, pa.table({"id": pa.array(range(8), pa.int64())}, schema=PLANETS.arrow_schema)
        ),
        "TAP_UPLOAD.list": MemoryRelation(build_circles(60)),
    }
    return type("Relations", (dict,), {"__repr__": lambda _: "Relations()"})(found)


@pytest.mark.parametrize("text", FORMS)
def test_every_form_uses_the_members_indexes(engine, relations, text):
    # without the index each box is computed for each star: of all of them in scripts/proof
    if "BOX(" in text and EXAMPLES_FACTOR == 1:
        relations = {**relations, "TAP_UPLOAD.list": MemoryRelation(build_circles(60).slice(0, 20))}
    bound, prepared = plan_query(engine, text, TABLES)
    assert (
        "o: matched with u by the position index of" in prepared.explain() or "o: matched with a" in prepared.explain()
    )
    reduced = prepared._candidate_finder.find_candidate_rows(engine, bound.literal_values, relations, ExecutionLimits())
    assert any(side.union_members for _, side in reduced.match_sides), "the pairs were not looked up in the members"
    indexed, scanned = run_with_and_without_indexes(engine, text, relations, TABLES)
    assert sort_rows(indexed) == sort_rows(scanned)
    assert len(indexed) > 5


def test_circles_are_covered_once_for_all_members(engine, relations, monkeypatch):
    covered = []
    ranges = healpix.cover_cones
    monkeypatch.setattr(healpix, "cover_cones", lambda lon, *rest: covered.append(len(lon)) or ranges(lon, *rest))
    bound, prepared = plan_query(engine, FORMS[0], TABLES)
    prepared._candidate_finder.find_candidate_rows(engine, bound.literal_values, relations, ExecutionLimits())
    assert covered == [60]


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT u.n, o.id FROM {ALL} AS o LEFT JOIN TAP_UPLOAD.list AS u ON {NEAR} AND u.n < 30",
        f"SELECT o.id FROM {ALL.replace('UNION ALL', 'UNION')} AS o JOIN TAP_UPLOAD.list AS u ON {NEAR}",
        f"SELECT o.id, u.n FROM (SELECT x, y, MIN(id) AS id FROM {ALL} AS i GROUP BY x, y) AS o JOIN TAP_UPLOAD.list AS u ON {NEAR}",
        f"SELECT o.id, u.n FROM (SELECT * FROM {ALL} AS i WHERE i.mag < 9) AS o JOIN TAP_UPLOAD.list AS u ON {NEAR}",
    ],
)
def test_what_is_filled_up_grouped_or_made_distinct_is_as_it_was(engine, relations, text):
    bound, prepared = plan_query(engine, text, TABLES)
    assert not any(
        side.parts
        for _, side in prepared._candidate_finder.find_candidate_rows(
            engine, bound.literal_values, relations, ExecutionLimits()
        ).match_sides
    )
    indexed, scanned = run_with_and_without_indexes(engine, text, relations, TABLES)
    assert sort_rows(indexed) == sort_rows(scanned)
    assert len(indexed) > 5


def test_explain_tells_which_rows_are_read(engine, relations):
    text = f"SELECT COUNT(*) AS c FROM sky.stars AS a JOIN {ALL} AS o ON DISTANCE(o.x, o.y, a.ra, a.dec) < 0.01 WHERE DISTANCE(a.ra, a.dec, 40, 10) < 3"
    bound, prepared = plan_query(engine, text, TABLES)
    told, told_of = prepared.explain(), prepared.describe_row_estimates(bound.literal_values, relations)
    assert (
        "o: matched with a by the position index of sky.stars, sky.north; positions of sky.south are computed first, whichever"
        in told
    )
    assert "a: matched with o by the position index, whichever has fewer rows" in told
    near = run_query(
        engine, "SELECT COUNT(*) AS c FROM sky.stars AS a WHERE DISTANCE(a.ra, a.dec, 40, 10) < 3", relations, TABLES
    )["c"][0].as_py()
    shown = [line for line in told_of if line.startswith("sky.north: the rows near the ")]
    assert len(shown) == 1, told_of
    assert near <= int(shown[0].split()[5]) < 100


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lon=st.sampled_from([0.0, 10.0, 180.0, 359.9]), lat=st.sampled_from([-90.0, -20.0, 20.0, 90.0]), radius=st.sampled_from([1e-4, 0.01, 0.3, 5.0]),
    faint=st.integers(6, 14),
)  # fmt: skip
def test_pairs_are_those_of_numpy(engine, relations, lon, lat, radius, faint):
    text = f"SELECT a.id AS i, o.id FROM sky.north AS a JOIN {ALL} AS o ON DISTANCE(o.x, o.y, a.ra, a.dec) < {radius!r} WHERE DISTANCE(a.ra, a.dec, {lon}, {lat}) < 4 AND o.mag < {faint}"
    found = [tuple(row.values()) for row in run_query(engine, text, relations, TABLES).to_pylist()]

    def read(name):
        table = engine.open_snapshot(relations[name]).table
        return [np.asarray(table[column].cast(pa.float64()).to_numpy()) for column in ("id", "ra", "dec", "mag")]

    ids, ra, dec, _ = read("sky.north")
    wanted = []
    with np.errstate(invalid="ignore"):
        drivers = np.flatnonzero(compute_angular_distance(ra, dec, lon, lat) < 4)
        for name, sign, more, east, limit in (
            ("sky.stars", 1, 0, 0, faint),
            ("sky.north", -1, 0, 0, min(faint, 12)),
            ("sky.south", 1, 1, 0.25, faint),
        ):
            rows = read(name)
            # farther than their declinations differ is no pair: left out, for time
            band = np.abs(rows[2] - lat) < 4 + radius + 0.1
            other, x, y, mag = (column[band] for column in rows)
            for at in drivers:
                near = (compute_angular_distance(x + east, y, ra[at], dec[at]) < radius) & (mag < limit)
                wanted += [(int(ids[at]), sign * int(one) + more) for one in other[near]]
    assert sorted(found) == sorted(wanted)
