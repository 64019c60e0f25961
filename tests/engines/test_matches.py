"""Joins by position, however they are written: by the position index, and to the same pairs that numpy finds by looking at all of them."""

from __future__ import annotations

import threading
import time

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

from hven.engines import ExecutionLimits, MemoryRelation
from hven.engines.duckdb import candidate_search
from hven.model.deadlines import Deadline
from hven.model.errors import OperationCancelledError
from hven.model.sky import Polygon, compute_angular_distance
from hven.model.table import Column, Table
from hven.model.types import CIRCLE, INT64, POLYGON
from shared import EXAMPLES_FACTOR

REGIONS = Table(
    schema="TAP_UPLOAD",
    name="regions",
    columns=(Column(name="n", type=INT64), Column(name="patch", type=POLYGON), Column(name="around", type=CIRCLE)),
)
TABLES = (STARS, CIRCLES, REGIONS)
BY_INDEX = "matched with {} by the position index"

NEAR = "DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.5"
STARS_BY_U = [
    "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), BOX(u.lon, u.lat, 2, 1.5))",
    "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), BOX(POINT(u.lon, u.lat), 0.5 + u.n / 60.0, 1))",
    "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), BOX(u.lon, u.lat, 2, 1.5))",
    "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.stars AS s ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.1 * u.n",
    "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT OUTER JOIN sky.stars AS s ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.5",
    f"SELECT u.n, s.id FROM (SELECT n, lon, lat FROM TAP_UPLOAD.list WHERE n < 40) AS u JOIN sky.stars AS s ON {NEAR}",
    f"SELECT u.n, s.id FROM (SELECT n, lon, lat FROM TAP_UPLOAD.list WHERE n < 40) AS u LEFT JOIN sky.stars AS s ON {NEAR}",
    f"SELECT u.n, s.id FROM (SELECT TOP 30 n, lon, lat FROM TAP_UPLOAD.list ORDER BY n DESC) AS u JOIN sky.stars AS s ON {NEAR}",
    f"SELECT u.n, s.id FROM (SELECT n, lon + 0.25 AS lon, lat FROM TAP_UPLOAD.list) AS u LEFT JOIN sky.stars AS s ON {NEAR}",
    f"SELECT u.lon, s.id FROM (SELECT lon, lat, COUNT(*) AS c FROM TAP_UPLOAD.list GROUP BY lon, lat) AS u JOIN sky.stars AS s ON {NEAR}",
    f"SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN (SELECT * FROM sky.stars WHERE mag < 11) AS s ON {NEAR}",
    f"SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN (SELECT * FROM sky.stars WHERE mag < 11) AS s ON {NEAR}",
    "SELECT u.n, s.i FROM TAP_UPLOAD.list AS u JOIN (SELECT id AS i, ra AS x, dec AS y FROM (SELECT * FROM sky.stars) AS q WHERE q.note <> 'a') AS s ON DISTANCE(s.x, s.y, u.lon, u.lat) < 1",
    f"WITH u AS (SELECT n, lon, lat FROM TAP_UPLOAD.list WHERE n > 3) SELECT u.n, s.id FROM u JOIN sky.stars AS s ON {NEAR}",
    f"WITH s AS (SELECT id, ra, dec FROM sky.stars WHERE field < 20) SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN s ON {NEAR}",
    f"WITH a AS (SELECT * FROM TAP_UPLOAD.list WHERE n > 3), u AS (SELECT n, lon, lat FROM a WHERE n < 30), s AS (SELECT * FROM sky.stars) SELECT u.n, s.id FROM u LEFT JOIN s ON {NEAR}",
    f"WITH u AS (SELECT TOP 50 n, lon, lat FROM TAP_UPLOAD.list ORDER BY lat) SELECT u.n, s.id FROM u JOIN sky.stars AS s ON {NEAR}",
    f"WITH u AS (SELECT n, lon, lat FROM TAP_UPLOAD.list) SELECT u.n, s.id, v.n FROM u JOIN sky.stars AS s ON {NEAR} JOIN u AS v ON v.n = u.n + 5",
    f"SELECT u.n FROM TAP_UPLOAD.list AS u WHERE EXISTS (SELECT 1 FROM sky.stars AS s WHERE {NEAR})",
    f"SELECT u.n FROM TAP_UPLOAD.list AS u WHERE NOT EXISTS (SELECT 1 FROM sky.stars AS s WHERE {NEAR} AND s.mag < 11)",
    "SELECT u.n FROM TAP_UPLOAD.list AS u WHERE u.n < 9 OR EXISTS (SELECT 1 FROM sky.stars AS s WHERE 1 = CONTAINS(POINT(s.ra, s.dec), BOX(u.lon, u.lat, 1, 1)))",
    f"SELECT u.n, (SELECT COUNT(*) FROM sky.stars AS s WHERE {NEAR}) AS c FROM TAP_UPLOAD.list AS u",
    f"SELECT u.n FROM TAP_UPLOAD.list AS u WHERE u.n IN (SELECT s.id / 3 FROM sky.stars AS s WHERE {NEAR})",
    f"SELECT s.id FROM sky.stars AS s WHERE EXISTS (SELECT 1 FROM TAP_UPLOAD.list AS u WHERE {NEAR})",
    f"SELECT COUNT(*) AS c FROM sky.stars AS s WHERE NOT EXISTS (SELECT 1 FROM TAP_UPLOAD.list AS u WHERE {NEAR})",
    "SELECT r.n, s.id FROM TAP_UPLOAD.regions AS r JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), r.patch)",
    "SELECT r.n, s.id FROM TAP_UPLOAD.regions AS r LEFT JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), r.patch)",
    "SELECT r.n, s.id FROM TAP_UPLOAD.regions AS r, sky.stars AS s WHERE INTERSECTS(r.around, POINT(s.ra, s.dec)) = 1",
    "SELECT r.n FROM TAP_UPLOAD.regions AS r WHERE NOT EXISTS (SELECT * FROM sky.stars AS s WHERE 1 = CONTAINS(POINT(s.ra, s.dec), r.patch))",
]  # fmt: skip


def regions(rows: int) -> pa.Table:
    """Polygons of all sizes: at the poles, over the meridian, as large as half the sky, some that are missing."""
    rng = np.random.default_rng(7)
    areas, around = [], []
    for number in range(rows):
        lon, lat = rng.uniform(0, 360), rng.choice([89.0, -89.5, 20.0, rng.uniform(-80, 80)])
        size = rng.choice([0.05, 1.0, 10.0, 80.0])
        turns = np.arange(rng.integers(3, 8))
        where = np.radians(turns * 360 / len(turns))
        if size > 40:
            corners = np.stack([(lon + np.degrees(where)) % 360, np.clip(20 * np.cos(where), -85, 85)], axis=1)
        else:
            wide = min(size / np.cos(np.radians(min(abs(lat) + size, 89))), 170)
            corners = np.stack(
                [(lon + wide * np.sin(where)) % 360, np.clip(lat + size * np.cos(where), -90, 90)], axis=1
            )
        areas.append(None if number % 11 == 5 else corners.ravel().tolist())
        around.append(None if number % 7 == 3 else [lon, float(lat), float(size)])
    return pa.table({"n": np.arange(rows), "patch": areas, "around": around}, schema=REGIONS.arrow_schema)


def relations_of(engine, stars: int) -> dict:
    found = {
        "sky.stars": stage_table(engine, STARS, build_sky(stars)),
        "TAP_UPLOAD.list": MemoryRelation(build_circles(60)),
        "TAP_UPLOAD.regions": MemoryRelation(regions(24)),
    }
    return type("Relations", (dict,), {"__repr__": lambda _: "Relations()"})(found)


@pytest.fixture(scope="module")
def relations(engine):
    # more stars than indexes are thought worth: else DuckDB tries all pairs
    return relations_of(engine, 26_000)


@pytest.fixture(scope="module")
def fewer(engine, relations):
    # where each shape is computed for each star without the index: ten times as many in scripts/proof
    return relations if EXAMPLES_FACTOR > 1 else relations_of(engine, 2_600)


@pytest.mark.parametrize("text", STARS_BY_U)
def test_every_form_is_matched_by_the_index(engine, relations, fewer, text):
    if "BOX(" in text:
        relations = {**fewer, "TAP_UPLOAD.list": MemoryRelation(build_circles(60).slice(0, 20))}
    elif "r.patch" in text:
        relations = fewer
    bound, prepared = plan_query(engine, text, TABLES)
    assert "by the position index" in prepared.explain(), prepared.explain()
    reduced = prepared._candidate_finder.find_candidate_rows(engine, bound.literal_values, relations, ExecutionLimits())
    assert reduced.replaced_conditions, "the pairs were not looked up"
    indexed, scanned = run_with_and_without_indexes(engine, text, relations, TABLES)
    assert sort_rows(indexed) == sort_rows(scanned)
    assert len(indexed) > 5 or "COUNT(*) AS c FROM sky" in text or "NOT EXISTS" in text or " IN (SELECT" in text


def stars_of(relations, engine):
    rows = engine.open_snapshot(relations["sky.stars"]).table
    return (np.asarray(rows[name].cast(pa.float64()).to_numpy()) for name in ("id", "ra", "dec"))


def test_pairs_are_those_of_numpy(engine, relations):
    ids, ra, dec = stars_of(relations, engine)
    drivers = relations["TAP_UPLOAD.list"].rows
    wanted, lonely = set(), set()
    for row in drivers.to_pylist():
        if row["lon"] is not None:
            with np.errstate(invalid="ignore"):
                near = ids[compute_angular_distance(ra, dec, row["lon"], row["lat"]) < 0.5]
            wanted |= {(row["n"], int(star)) for star in near}
        if row["lon"] is None or not len(near):
            lonely.add(row["n"])
    assert len(wanted) > 100
    for text in STARS_BY_U:
        if text.startswith("SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT OUTER"):
            rows = {(row["n"], row["id"]) for row in run_query(engine, text, relations, TABLES).to_pylist()}
            assert rows == wanted | {(n, None) for n in lonely}
        elif text.startswith("SELECT u.n FROM TAP_UPLOAD.list AS u WHERE EXISTS"):
            assert {row["n"] for row in run_query(engine, text, relations, TABLES).to_pylist()} == {
                n for n, _ in wanted
            }
        elif text.startswith("SELECT s.id FROM sky.stars AS s WHERE EXISTS"):
            assert {row["id"] for row in run_query(engine, text, relations, TABLES).to_pylist()} == {
                star for _, star in wanted
            }
        elif text.startswith("WITH u AS (SELECT n, lon, lat FROM TAP_UPLOAD.list WHERE n > 3)"):
            assert {tuple(row.values()) for row in run_query(engine, text, relations, TABLES).to_pylist()} == {
                p for p in wanted if p[0] > 3
            }


def test_polygons_hold_what_they_hold_alone(engine, relations):
    ids, ra, dec = stars_of(relations, engine)
    good = np.isfinite(ra) & np.isfinite(dec)
    wanted = set()
    for row in relations["TAP_UPLOAD.regions"].rows.to_pylist():
        if row["patch"] is not None:
            inside = Polygon(tuple(row["patch"][::2]), tuple(row["patch"][1::2])).contains(ra[good], dec[good])
            wanted |= {(row["n"], int(star)) for star in ids[good][inside]}
    text = (
        "SELECT r.n, s.id FROM TAP_UPLOAD.regions AS r JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), r.patch)"
    )
    assert {tuple(row.values()) for row in run_query(engine, text, relations, TABLES).to_pylist()} == wanted
    assert len(wanted) > 1000


def test_a_hundred_thousand_uploaded_rows(engine):
    """As many circles as an upload may well have: one road for all of them."""
    rng = np.random.default_rng(3)
    stars, rows = 200_000, 100_000
    ra, dec = rng.uniform(0, 360, stars), np.degrees(np.arcsin(rng.uniform(-1, 1, stars)))
    table = Table(schema="sky", name="many", columns=STARS.columns[:3], primary=("id",), position=("ra", "dec"))
    chosen = rng.permutation(stars)[:rows]
    uploaded = pa.table(
        {
            "n": np.arange(rows),
            "lon": ra[chosen],
            "lat": np.clip(dec[chosen] + 1e-4, -90, 90),
            "r": np.full(rows, 0.001),
            "k": np.arange(rows),
        },
        schema=CIRCLES.arrow_schema,
    )
    relations = {
        "sky.many": stage_table(
            engine, table, pa.table({"id": np.arange(stars), "ra": ra, "dec": dec}, schema=table.arrow_schema), 50_000
        ),
        "TAP_UPLOAD.list": MemoryRelation(uploaded),
    }
    for text in (
        "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN sky.many AS s ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.00027777",
        "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.many AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), BOX(u.lon, u.lat, 0.0004, 0.0004))",
    ):
        bound, prepared = plan_query(engine, text, (table, CIRCLES))
        assert BY_INDEX.format("u") in prepared.explain()
        assert prepared._candidate_finder.find_candidate_rows(
            engine, bound.literal_values, relations, ExecutionLimits()
        ).replaced_conditions
        found = run_query(engine, text, relations, (table, CIRCLES))
        partners = dict(zip(found["n"].to_pylist(), found["id"].to_pylist(), strict=True))
        assert sum(partners[n] == chosen[n] for n in range(rows)) > 0.999 * rows


def test_many_circles_around_few_stars_are_looked_up_too(engine):
    relations = {
        "sky.stars": stage_table(engine, STARS, build_sky(candidate_search.MIN_TARGET_ROWS + 20)),
        "TAP_UPLOAD.list": MemoryRelation(build_circles(30_000)),
    }
    assert 4 * (candidate_search.MIN_TARGET_ROWS + 20) + candidate_search.MIN_CANDIDATE_LIMIT < 30_000
    for text in (
        "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN sky.stars AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.lon, u.lat, u.r / 100))",
        "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.stars AS s ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.1",
    ):
        bound, prepared = plan_query(engine, text, TABLES)
        assert prepared._candidate_finder.find_candidate_rows(
            engine, bound.literal_values, relations, ExecutionLimits()
        ).replaced_conditions
        found, wanted = run_with_and_without_indexes(engine, text, relations)
        assert sort_rows(found) == sort_rows(wanted)


def test_what_is_computed_first_can_be_stopped(engine, relations):
    text = f"SELECT COUNT(*) AS c FROM (SELECT a.n, a.lon, b.lat + MAX(c.ra) AS lat FROM TAP_UPLOAD.list AS a, sky.stars AS b, sky.stars AS c WHERE b.dec * c.dec + a.n > 8100 GROUP BY a.n, a.lon, b.lat) AS u JOIN sky.stars AS s ON {NEAR}"
    text = text.replace("b.lat", "b.dec")
    bound, prepared = plan_query(engine, text, TABLES)
    execution = prepared.execute(bound.literal_values, relations, ExecutionLimits(deadline=Deadline(60)))
    timer = threading.Timer(0.5, execution.cancel)
    begun = time.monotonic()
    timer.start()
    with pytest.raises(OperationCancelledError):
        list(execution)
    assert time.monotonic() - begun < 20
