"""Regions in columns of PostgreSQL: their index changes nothing but time, and few rows are looked at."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import (
    CIRCLES,
    build_circles,
    plan_query,
    run_query,
    run_with_and_without_indexes,
    sort_rows,
    stage_table,
)
from test_matches import REGIONS
from test_matches import regions as patches
from test_postgres_roads import JudgedPostgresEngine
from test_regions import (  # noqa: F401  (the same tests, with the engine of this module)
    FIELDS,
    RINGS,
    TEXTS,
    relation,
    test_a_circle_finds_the_regions_that_it_meets_as_brute_force_does,
    test_a_point_finds_its_regions_as_brute_force_does,
    test_every_way_of_asking_gives_what_a_look_at_all_rows_gives,
    test_explain_names_the_index,
)

from hven.engines import ExecutionLimits, MemoryRelation, Snapshot, duckdb
from hven.model.sky import Circle, Moc, Point, Polygon, healpix
from hven.model.table import Table
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine.regions import build_region_cell_lists, write_shape_cell_array
from postgres_cluster import install_extensions, run_server


@pytest.fixture(scope="module")
def database():
    with run_server() as url:
        yield f"postgresql://{url}"


@pytest.fixture(scope="module", params=["pgsphere", "healpix"])
def engine(request, database, tmp_path_factory):
    install_extensions(database)
    directory = tmp_path_factory.mktemp("snapshots")
    judge = duckdb.open(directory, memory=256 * 1024**2, threads=1)
    opened = postgres.open(
        directory, memory=256 * 1024**2, threads=1, url=database, schema=request.param, position=request.param
    )
    yield JudgedPostgresEngine(opened, judge)
    opened.close()
    judge.close()


@pytest.mark.parametrize(
    "shape",
    [
        Point(10, 20),
        Point(0, 90),
        Circle(10, 20, 0.1),
        Circle(359.99, -89.9, 3),
        Circle(10, 20, 100),
        Polygon((0, 120, 240), (-80, -80, -80)),
    ],
)
def test_a_query_asks_for_the_cells_of_its_shape_and_for_those_around_them(shape):
    numbers = set(json.loads(write_shape_cell_array(shape).replace("{", "[").replace("}", "]")))
    lons, lats = (
        np.random.default_rng(3).uniform(0, 360, 4000),
        np.degrees(np.arcsin(np.random.default_rng(4).uniform(-1, 1, 4000))),
    )
    inside = np.append(shape.contains(lons, lats), not isinstance(shape, Point))
    for lon, lat in zip(
        np.append(lons, shape.compute_centroid().lon)[inside],
        np.append(lats, shape.compute_centroid().lat)[inside],
        strict=True,
    ):
        kept = build_region_cell_lists(pa.array([[lon, lat, 1e-4]]))[0].as_py()
        assert numbers & set(kept)
    assert write_shape_cell_array(Moc.parse("3/10-20")) is None


def test_what_a_row_keeps():
    kept = build_region_cell_lists(pa.array([None, [10.0, 20.0, 1.0], [10.0, 95.0, 1.0], [200.0, -60.0, 120.0]]))
    assert len(kept[0]) == 0 == len(kept[2])
    own = [number for number in kept[1].as_py() if number > 0]
    assert {healpix.MAX_ORDER for number in own if number >= 4 ** (healpix.MAX_ORDER + 1)} == set()
    around = {-number for number in kept[1].as_py() if number < 0}
    assert around == {number >> 2 * level for number in own for level in range(1, 30) if number >> 2 * level >= 4}
    assert min(kept[3].as_py()) > -16  # a hemisphere and more is kept in coarse cells


def test_few_regions_are_looked_at(engine, relation):  # noqa: F811  (the fixture)
    """GIN finds the rows, and the exact test sees no others."""
    many = pa.table(
        {
            "id": range(30 * len(TEXTS)),
            "s_region": TEXTS * 30,
            "ring": pa.array(
                [None if ring is None else [ring[0], ring[1], min(ring[2], 0.2)] for ring in RINGS * 30],
                FIELDS.find_column("ring").type.arrow,
            ),
        }
    )
    snapshot = stage_table(engine.engine, FIELDS, many.cast(FIELDS.arrow_schema))
    assert set(snapshot.regions) == {"s_region", "ring"}
    bound, prepared = plan_query(
        engine.engine, "SELECT id FROM sky.fields WHERE INTERSECTS(ring, CIRCLE(10, 20, 0.01)) = 1", (FIELDS,)
    )
    work = prepared._build_parameterized_query(bound.literal_values, {"sky.fields": snapshot})
    with engine.engine.query_pool.borrow_connection() as connection:
        shown = "\n".join(
            row[0]
            for row in connection.execute(
                f"EXPLAIN (ANALYZE, COSTS OFF) {work.prepared_sql}", work.arguments
            ).fetchall()
        )
    assert "hven:cells ring" in shown
    assert "Bitmap Index Scan" in shown


def test_a_detour_takes_the_regions_that_are_near(engine, relation):  # noqa: F811  (the fixture)
    """Regions in text are compared by the embedded engine: only those that the index finds travel."""
    bound, prepared = plan_query(
        engine.engine, "SELECT id FROM sky.fields WHERE CONTAINS(POINT(10, 20), s_region) = 1", (FIELDS,)
    )
    [(_, reading)] = prepared._fallback_plan.table_fetches.values()
    travelled = sum(batch.num_rows for batch in reading.execute(bound.literal_values, relation, ExecutionLimits()))
    assert 0 < travelled < len(TEXTS) / 2


def test_a_merge_keeps_the_cells(engine, relation):  # noqa: F811  (the fixture)
    import dataclasses

    base = relation["sky.fields"]
    text = "SELECT id FROM sky.fields WHERE INTERSECTS(ring, CIRCLE(77, 7, 0.5)) = 1"
    changes = pa.table({"id": [3, 9001], "s_region": [None, None], "ring": [[77.0, 7.0, 0.1], [77.2, 7.0, 0.1]]}).cast(
        FIELDS.arrow_schema
    )
    before = set(run_query(engine.engine, text, relation, (FIELDS,)).column("id").to_pylist())
    # one that was written before there were cells
    for number, old in enumerate((base, dataclasses.replace(base, regions=()))):
        staging = engine.engine.stage_merge(FIELDS, f"merged-{number}", old)
        staging.write(changes.to_batches()[0])
        snapshot = staging.finish()
        assert set(snapshot.regions) == set(old.regions)
        assert set(
            run_query(engine.engine, text, {"sky.fields": snapshot}, (FIELDS,)).column("id").to_pylist()
        ) == before | {3, 9001}


def test_snapshots_that_have_no_cells_are_read_all_the_same(engine, relation):  # noqa: F811  (the fixture)
    import dataclasses

    old = {name: dataclasses.replace(item, regions=()) for name, item in relation.items() if isinstance(item, Snapshot)}
    text = "SELECT id FROM sky.fields WHERE INTERSECTS(ring, CIRCLE(10, 20, 5)) = 1 AND CONTAINS(POINT(1, 2), s_region) = 0"
    assert (
        run_query(engine.engine, text, old, (FIELDS,))
        .sort_by("id")
        .equals(run_query(engine.engine, text, relation, (FIELDS,)).sort_by("id"))
    )


def test_a_union_asks_for_the_cells_of_each_member(engine, relation):  # noqa: F811  (the fixture)
    """PostgreSQL puts an exact test into members by itself, but knows nothing of the cells beside a column; a member without regions has no row."""
    union = (
        "(SELECT id, ring, 'a' AS part FROM sky.fields WHERE id < 9 UNION ALL SELECT id + 100, ring, 'b' FROM sky.fields "
        "UNION ALL SELECT id, CASE WHEN id > 1000 THEN ring END, 'c' FROM sky.fields UNION ALL SELECT id, NULL, 'd' FROM sky.fields) AS v"
    )
    found = 0
    for condition in (
        "1 = INTERSECTS(v.ring, CIRCLE(10, 20, 40))",
        "1 = CONTAINS(POINT(30, 30), v.ring)",
        "1 = INTERSECTS(CIRCLE(10, 20, 40), v.ring) AND v.part <> 'b'",
    ):
        text = f"SELECT v.id, v.part FROM {union} WHERE {condition}"
        indexed, scanned = run_with_and_without_indexes(engine, text, relation, (FIELDS,))
        assert sort_rows(indexed) == sort_rows(scanned)
        found += len(indexed)
        bound, prepared = plan_query(engine, text, (FIELDS,))
        assert (
            prepared._build_parameterized_query(bound.literal_values, relation).prepared_sql.count(
                '"hven:cells ring" &&'
            )
            == 2
        )
        assert prepared.explain().count("position index of the regions in ring") == 2
    assert found > 10


def test_positions_of_an_upload_find_their_polygons_by_cells(engine):
    fields = Table(schema="sky", name="patches", columns=REGIONS.columns, primary=("n",))
    rows = patches(400)
    around = rows["around"].to_pylist()
    rows = rows.take(
        [n for n in range(400) if around[n] is not None and around[n][2] < 50]
    )  # of half spheres each engine may call either side the smaller
    relations = {"sky.patches": stage_table(engine, fields, rows), "TAP_UPLOAD.list": MemoryRelation(build_circles(80))}
    tables = (fields, CIRCLES)
    for text in (
        "SELECT u.n, r.n AS m FROM TAP_UPLOAD.list AS u JOIN sky.patches AS r ON 1 = CONTAINS(POINT(u.lon, u.lat), r.patch)",
        "SELECT u.n, r.n AS m FROM TAP_UPLOAD.list AS u LEFT JOIN sky.patches AS r ON 1 = CONTAINS(POINT(u.lon, u.lat), r.patch)",
        "SELECT u.n FROM TAP_UPLOAD.list AS u WHERE NOT EXISTS (SELECT 1 FROM sky.patches AS r WHERE r.n < 20 AND INTERSECTS(POINT(u.lon, u.lat), r.patch) = 1)",
    ):
        indexed, scanned = run_with_and_without_indexes(engine, text, relations, tables)
        assert sort_rows(indexed) == sort_rows(scanned)
        assert len(indexed) > 10
        _, prepared = plan_query(engine, text, tables)
        assert "hven_cells_at" in prepared._build_parameterized_query((1, 20, 1), relations).prepared_sql


def test_circles_and_polygons_find_regions_by_cells(engine):
    fields = Table(schema="sky", name="patches", columns=REGIONS.columns, primary=("n",))
    rows = patches(90)
    around = rows["around"].to_pylist()
    rows = rows.take([n for n in range(90) if around[n] is not None and around[n][2] < 50])
    relations = {"sky.patches": stage_table(engine, fields, rows), "TAP_UPLOAD.list": MemoryRelation(build_circles(16))}
    tables = (fields, CIRCLES)
    circle, near = "CIRCLE(u.lon, u.lat, ABS(u.r))", "CIRCLE(u.lon, u.lat, 9)"
    for text in (
        f"SELECT u.n, r.n AS m FROM TAP_UPLOAD.list AS u JOIN sky.patches AS r ON 1 = INTERSECTS({circle}, r.patch)",
        f"SELECT u.n, r.n AS m FROM TAP_UPLOAD.list AS u LEFT JOIN sky.patches AS r ON 1 = CONTAINS(r.patch, {near})",
        f"SELECT u.n, r.n AS m FROM TAP_UPLOAD.list AS u JOIN sky.patches AS r ON CONTAINS({circle}, r.around) = 1",
        "SELECT u.n, r.n AS m FROM TAP_UPLOAD.list AS u JOIN sky.patches AS r ON INTERSECTS(r.around, BOX(u.lon, u.lat, 2, 1.5)) = 1",
        "SELECT a.n, b.n AS m FROM sky.patches AS a JOIN sky.patches AS b ON INTERSECTS(a.patch, b.patch) = 1 WHERE a.n < 9 AND a.n < b.n",
    ):
        indexed, scanned = run_with_and_without_indexes(engine, text, relations, tables)
        assert sort_rows(indexed) == sort_rows(scanned)
        assert indexed
        bound, prepared = plan_query(engine, text, tables)
        assert "hven_cells_around" in prepared._build_parameterized_query(bound.literal_values, relations).prepared_sql
    bound, prepared = plan_query(engine, "SELECT n FROM sky.patches WHERE INTERSECTS(around, patch) = 1", tables)
    assert (
        "hven_cells_around" not in prepared._build_parameterized_query(bound.literal_values, relations).prepared_sql
    )  # of one row both are at hand


@pytest.mark.parametrize("lat", [90.0, -89.9999, 41.8103149, 0.0, -66.0])
def test_cells_around_a_shape_hold_it(engine, lat):
    """Wherever in the circle a small region is, the query has a cell of it, or one around it."""
    chance = np.random.default_rng(5)
    shapes = [[lon, lat, 10.0**size] for lon in (0.0, 45.0, 359.99, -10.0, 127.3) for size in (-8, -4, -1, 0.5, 0.95)]
    shapes += [[lon - 1, lat / 2 - 1, lon + 1, lat / 2 - 1, lon, lat / 2 + 2] for lon in (0.0, 90.0, 200.0)]
    with engine.engine.write_pool.borrow_connection() as connection:
        connection.execute("SELECT set_config('search_path', $1, false)", [engine.engine.database_features.search_path])
        found = [connection.execute("SELECT hven_cells_around($1::float8[])", [one]).fetchone()[0] for one in shapes]
    for shape, numbers in zip(shapes, found, strict=True):
        lon, lat0, size = shape if len(shape) == 3 else (shape[4], shape[1] + 1, 0.5)
        rim = np.radians(size) * np.sqrt(chance.uniform(0, 1, 300))
        turn = chance.uniform(0, 2 * np.pi, 300)
        x, y = np.radians([lon, lat0])
        middle = np.array([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)])
        east = np.array([-np.sin(x), np.cos(x), 0])
        side = np.cos(turn)[:, None] * east + np.sin(turn)[:, None] * np.cross(middle, east)
        place = np.cos(rim)[:, None] * middle + np.sin(rim)[:, None] * side
        lons = np.degrees(np.arctan2(place[:, 1], place[:, 0])) % 360
        lats = np.degrees(np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1])))
        kept = healpix.compute_cell_indexes(29, lons, lats).astype(np.int64) + 4**30
        met = np.zeros(300, np.bool_)
        for level in range(30):
            met |= np.isin(-(kept >> 2 * level), numbers)
        assert met.all(), (shape, numbers)
        assert len(numbers) < 120
