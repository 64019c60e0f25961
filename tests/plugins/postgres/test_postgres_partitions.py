"""Partitions and declared indexes: rows are where they belong, answers stay the same, and plans read what they must and no more."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import (
    CIRCLES,
    STARS,
    build_circles,
    build_sky,
    plan_query,
    run_with_and_without_indexes,
    sort_rows,
    stage_table,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from relations import Relations
from test_postgres_roads import JudgedPostgresEngine

from hven.engines import MemoryRelation, duckdb
from hven.model.errors import DataError, StorageError
from hven.model.table import Column, PartitionScheme, Table
from hven.model.types import FLOAT32, FLOAT64, INT32, INT64, TIMESTAMP
from hven.plugins.postgres import engine as postgres
from hven.plugins.postgres.engine import partitions
from hven.testing.site import open_site_with_uningested_files
from postgres_cluster import install_extensions, run_server
from process_runner import run_hven

YEARS = STARS.copy_with(
    partition=PartitionScheme(by="time", column="seen", every="1 year"), indexes=(("field", "name"),)
)
CELLS = STARS.copy_with(partition=PartitionScheme(by="healpix", order=1))


@pytest.fixture(scope="module")
def database():
    with run_server() as url:
        install_extensions(f"postgresql://{url}")
        yield f"postgresql://{url}"


@pytest.fixture(scope="module", params=["pgsphere", "healpix"])
def engine(request, database, tmp_path_factory):
    directory = tmp_path_factory.mktemp("snapshots")
    judge = duckdb.open(directory, memory=256 * 1024**2, threads=1)
    opened = postgres.open(
        directory, memory=256 * 1024**2, threads=1, url=database, schema=request.param, position=request.param
    )
    yield JudgedPostgresEngine(opened, judge)
    opened.close()
    judge.close()


def odd_times(rows: pa.Table) -> pa.Table:
    """Give some rows times at the end of all calendars, and at the ends of partitions."""
    seen = rows.column("seen").combine_chunks().cast(pa.int64()).to_pylist()
    for at, value in enumerate((253_402_214_400 * 10**6, 253_400_000_000 * 10**6, -1, 0, 10**15 - 1)):
        seen[at] = value
    return rows.set_column(
        rows.schema.get_field_index("seen"), "seen", pa.array(seen, pa.int64()).cast(pa.timestamp("us"))
    )


@pytest.fixture(scope="module")
def whole_sky():
    return odd_times(build_sky(13_000))


@pytest.fixture(scope="module")
def years(engine, whole_sky):
    return Relations(
        {"sky.stars": stage_table(engine, YEARS, whole_sky), CIRCLES.qualified_name: MemoryRelation(build_circles(60))}
    )


@pytest.fixture(scope="module")
def cells(engine, whole_sky):
    return Relations(
        {"sky.stars": stage_table(engine, CELLS, whole_sky), CIRCLES.qualified_name: MemoryRelation(build_circles(60))}
    )


QUERIES = [
    "SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.02))",
    "SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 5))",
    "SELECT id FROM sky.stars WHERE DISTANCE(ra, dec, 123, 89.9) < 3",
    "SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(200, -60, 80))",
    "SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(350, -10, 10, -10, 10, 10, 350, 10))",
    "SELECT id, seen FROM sky.stars WHERE seen >= CAST('1990-03-01' AS TIMESTAMP) AND seen < CAST('1990-03-20' AS TIMESTAMP)",
    "SELECT id FROM sky.stars WHERE seen IS NULL",
    "SELECT id FROM sky.stars WHERE seen < CAST('1970-01-01' AS TIMESTAMP) OR seen > CAST('2002-01-01' AS TIMESTAMP)",
    "SELECT COUNT(*) AS n FROM sky.stars",
    "SELECT TOP 7 id, seen FROM sky.stars WHERE seen IS NOT NULL ORDER BY seen DESC, id",
    "SELECT l.n, s.id FROM TAP_UPLOAD.list AS l JOIN sky.stars AS s ON DISTANCE(s.ra, s.dec, l.lon, l.lat) < 0.5",
    "SELECT id FROM sky.stars WHERE field = 7 AND name = 'alpha Cen'",
    "SELECT field, COUNT(*) AS n FROM sky.stars GROUP BY field",
]


@pytest.mark.parametrize("text", QUERIES)
@pytest.mark.parametrize("cut", ["years", "cells"])
def test_answers_are_those_of_a_table_in_one_piece(engine, request, cut, text):
    mine, wanted = run_with_and_without_indexes(
        engine, text, request.getfixturevalue(cut), (YEARS if cut == "years" else CELLS, CIRCLES)
    )
    assert sort_rows(mine) == sort_rows(wanted)


def connection(engine):
    return engine.engine.write_pool.borrow_connection()


def nodes(tree):
    yield tree
    for inner in tree.get("Plans", ()):
        yield from nodes(inner)


def read(found) -> tuple[set[str], set[str]]:
    """Give the relations that a plan really read, and its indexes."""
    tree = found[0][0] if not isinstance(found[0], str) else json.loads(found[0])[0]
    run = [node for node in nodes(tree["Plan"]) if node.get("Actual Loops", 0) > 0]
    names = {
        node["Relation Name"]
        for node in run
        if "Relation Name" in node and node["Relation Name"].startswith(("p_", "s_"))
    }
    return names, {node["Index Name"] for node in run if "Index Name" in node}


def explain_query(engine, text: str, relations, table: Table, how: str) -> tuple[set[str], set[str]]:
    """Run a query's own SQL as it would be run: streamed, or prepared with one plan for these values or one for all."""
    bound, made = plan_query(engine.engine, text, (table, CIRCLES))
    work = made._build_parameterized_query(bound.literal_values, relations)
    with connection(engine) as con, con.transaction():
        con.execute(f"SET LOCAL search_path = {engine.engine.database_features.search_path}")
        if how == "streamed":
            for number, value in enumerate(work.arguments, 1):
                con.execute("SELECT set_config($1, $2, true)", [f"hven.p{number}", value])
            return read(con.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {work.copy_sql}").fetchone())
        con.execute(f"SET LOCAL plan_cache_mode = {how}")
        con.execute(f"PREPARE asked AS {work.prepared_sql}")
        values = ", ".join("'" + value.replace("'", "''") + "'" for value in work.arguments)
        try:
            return read(
                con.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked{f'({values})' if values else ''}").fetchone()
            )
        finally:
            con.execute("DEALLOCATE asked")


HOW = ["force_custom_plan", "force_generic_plan", "streamed"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("seen >= CAST('1990-03-01' AS TIMESTAMP) AND seen < CAST('1990-03-20' AS TIMESTAMP)", {"1990_01"}),
        (
            "seen BETWEEN CAST('1989-12-30T12:00:00' AS TIMESTAMP) AND CAST('1991-01-01' AS TIMESTAMP)",
            {"1989_01", "1990_01", "1991_01"},
        ),
        ("seen = CAST('1995-05-05T05:05:05' AS TIMESTAMP)", {"1995_01"}),
        ("seen > CAST('2001-01-01' AS TIMESTAMP) AND mag < 5", {"2001_01", "rest"}),
        ("seen IS NULL", {"rest"}),
    ],
)
def test_a_time_reads_its_partitions_alone(engine, years, condition, wanted, how):
    names, _ = explain_query(engine, f"SELECT id FROM sky.stars WHERE {condition}", years, YEARS, how)
    found = {name.split("_", 4)[4] for name in names}
    # the default partition has what no calendar has: it may be asked about any open end
    assert found <= wanted | {"rest"}
    assert wanted <= found


@pytest.mark.parametrize("how", HOW)
def test_a_cone_reads_the_partitions_of_its_cells_alone(engine, cells, how):
    from astropy import units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix import nested

    for lon, lat, radius in ((10, 20, 0.02), (0, 0, 5), (45, 89, 0.5), (222, -41.8, 3)):
        text = f"SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({lon}, {lat}, {radius}))"
        names, _ = explain_query(engine, text, cells, CELLS, how)
        allowed, *_ = nested.cone_search(
            Longitude(lon, u.deg), Latitude(lat, u.deg), radius * u.deg, depth=1, flat=True
        )
        found = {int(name.rsplit("_", 1)[1]) for name in names}
        assert found <= set(allowed.tolist())
        assert names


def test_a_join_by_time_reads_the_partitions_that_it_meets(engine, years):
    text = "SELECT s.id FROM sky.stars AS s WHERE s.seen = (SELECT MAX(r.seen) FROM sky.stars AS r WHERE r.seen < CAST('1980-02-01' AS TIMESTAMP) AND r.seen > CAST('1980-01-01' AS TIMESTAMP))"
    names, _ = explain_query(engine, text, years, YEARS, "force_generic_plan")
    assert {name.split("_", 4)[4] for name in names} <= {"1980_01", "rest"}


def test_rows_lie_in_their_partitions(engine, years, whole_sky):
    path = years["sky.stars"].path
    with connection(engine) as con:
        found = dict(
            con.execute(
                f'SELECT CAST(tableoid::regclass AS text), count(*) FROM {engine.engine.schema}."{path}" GROUP BY 1'
            ).fetchall()
        )
        indexes = con.execute("SELECT count(*) FROM pg_index AS i JOIN pg_inherits AS h ON h.inhrelid = i.indrelid WHERE h.inhparent = $1::regclass",
                              [f'{engine.engine.schema}."{path}"']).fetchone()[0]  # fmt: skip
        partitions_ = con.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::regclass", [f'{engine.engine.schema}."{path}"']
        ).fetchone()[0]
    seen = whole_sky.column("seen").combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
    assert found[next(name for name in found if name.rstrip('"').endswith("_rest"))] == int(np.isnan(seen).sum()) + 2
    assert found[next(name for name in found if name.rstrip('"').endswith("_1969_01"))] == 1
    assert sum(found.values()) == whole_sky.num_rows
    assert partitions_ == len(found)
    assert indexes % partitions_ == 0
    assert indexes // partitions_ >= 8


def test_an_index_of_several_columns_is_used(engine, years):
    _, indexes = explain_query(
        engine, "SELECT id FROM sky.stars WHERE field = 7 AND name = 'alpha Cen'", years, YEARS, "force_generic_plan"
    )
    assert any("field_name" in name for name in indexes)


def test_keys_stay_unique_over_all_partitions(engine):
    table = YEARS.copy_with(name="twice")
    rows = build_sky(3000).set_column(0, "id", pa.array(np.arange(3000) % 2999))
    with pytest.raises(DataError, match="not unique: 1 key occurs more than once, in 2 rows; first: id = 0"):
        stage_table(engine.engine, table, rows)
    with connection(engine) as con:
        left = con.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE '%twice%' AND relkind IN ('r', 'p')"
        ).fetchall()
    assert left == []


def test_a_partitioned_table_is_swept_whole_and_dropped_whole(engine, whole_sky):
    path = stage_table(engine.engine, YEARS.copy_with(name="crashed"), whole_sky).path
    engine.engine._release_table_name(path)
    known = {name for (name,) in _tables(engine) if name != path}
    assert engine.engine.remove_leftovers(known) == [path]
    assert not [name for (name,) in _tables(engine, "%crashed%")]
    snapshot = stage_table(engine.engine, CELLS.copy_with(name="gone"), whole_sky)
    assert sum(batch.num_rows for batch in engine.engine.read_rows(snapshot)) == whole_sky.num_rows
    assert snapshot.bytes > whole_sky.num_rows * 50
    engine.engine.remove_snapshot(snapshot)
    assert not [name for (name,) in _tables(engine, "%gone%")]


def _tables(engine, like="%"):
    with connection(engine) as con:
        return con.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE $1 AND relkind IN ('r', 'p') AND relname ~ '^[sop]_' "
            "AND relnamespace = $2::regnamespace",
            [like, engine.engine.schema],
        ).fetchall()


def test_runs_that_come_one_after_the_other_are_ordered(engine, whole_sky, monkeypatch):
    monkeypatch.setattr("hven.plugins.postgres.engine.staging.MAX_WAITING_BYTES", 300_000)
    snapshot = stage_table(engine.engine, YEARS.copy_with(name="runs"), whole_sky)
    with connection(engine) as con:
        for piece in [name for (name,) in _tables(engine, "p%runs%")][:5]:
            found = [
                row[0] for row in con.execute(f'SELECT "hven:cell" FROM {engine.engine.schema}."{piece}"').fetchall()
            ]
            known = [cell for cell in found if cell is not None]
            assert known == sorted(known)
            assert found[len(known) :] == [None] * (len(found) - len(known))
    assert snapshot.rows == whole_sky.num_rows


def test_too_many_partitions_are_refused_with_the_remedy(engine, whole_sky):
    table = STARS.copy_with(name="many", partition=PartitionScheme(by="time", column="seen", every="1 h"))
    with pytest.raises(DataError, match="more than 400 partitions by seen") as caught:
        stage_table(engine.engine, table, whole_sky)
    assert "longer time" in caught.value.remedy
    assert not _tables(engine, "%many%")


@pytest.mark.parametrize("kind", [FLOAT64, FLOAT32, INT32, INT64])
@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30),
    days=st.sampled_from(["7 d", "30 d", "36 h", "1 yr"]),
)
def test_every_number_lies_between_the_ends_of_its_partition(kind, values, days):
    table = Table(
        schema="s",
        name="t",
        columns=(Column(name="t", type=kind, unit="d"),),
        partition=PartitionScheme(by="time", column="t", every=days),
    )
    pieces = partitions.build_table_partitions(table, "x", "s_t")
    column = pa.array(values, pa.float32()).cast(kind.arrow, safe=False)
    exact = np.asarray(column).astype(np.float64)
    for key, value in zip(
        pieces._compute_row_partition_keys(pa.table({"t": column}), None).tolist(), exact.tolist(), strict=True
    ):
        low, high, _ = pieces._write_partition_bounds(key)
        ends = [float(np.asarray(float(end.strip("'"))).astype(np.asarray(column).dtype)) for end in (low, high)]
        assert ends[0] <= value < ends[1]


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(-62135596800 * 10**6, 253370764799 * 10**6), min_size=1),
    every=st.sampled_from(["1 month", "5 months", "10 years", "90 d", "7 h"]),
)
def test_every_time_lies_between_the_ends_of_its_partition(values, every):
    table = Table(
        schema="s",
        name="t",
        columns=(Column(name="t", type=TIMESTAMP),),
        partition=PartitionScheme(by="time", column="t", every=every),
    )
    pieces = partitions.build_table_partitions(table, "x", "s_t")
    column = pa.array(values, pa.int64()).cast(pa.timestamp("us"))
    for key, value in zip(
        pieces._compute_row_partition_keys(pa.table({"t": column}), None).tolist(), values, strict=True
    ):
        low, high, word = pieces._write_partition_bounds(key)
        ends = [np.datetime64(end.strip("'").replace(" ", "T"), "us").astype(np.int64) for end in (low, high)]
        assert ends[0] <= value < ends[1]
        assert len(word) <= 14


def test_the_embedded_engine_searches_by_the_same_declarations(tmp_path, whole_sky):
    engine = duckdb.open(tmp_path, memory=256 * 1024**2, threads=1)
    relations = {
        "sky.stars": stage_table(
            engine, YEARS.copy_with(columns=tuple(c.copy_with(indexed=False) for c in YEARS.columns)), whole_sky
        )
    }
    table = YEARS.copy_with(columns=tuple(c.copy_with(indexed=False) for c in YEARS.columns))
    for text, index in (
        (
            "SELECT id FROM sky.stars WHERE seen >= CAST('1990-03-01' AS TIMESTAMP) AND seen < CAST('1990-03-20' AS TIMESTAMP)",
            "index of seen",
        ),
        ("SELECT id FROM sky.stars WHERE field = 7 AND name = 'alpha Cen'", "index of field"),
    ):
        assert index in plan_query(engine, text, (table,))[1].explain()
        assert index not in plan_query(engine, text, (table.copy_with(partition=None, indexes=()),))[1].explain()
        mine, wanted = run_with_and_without_indexes(engine, text, relations, (table,))
        assert sort_rows(mine) == sort_rows(wanted)
        assert mine
    flat = Table(
        schema="s",
        name="log",
        columns=(Column(name="t", type=TIMESTAMP), Column(name="n", type=INT32)),
        partition=PartitionScheme(by="time", column="t"),
    )
    rows = pa.table({"t": whole_sky.column("seen"), "n": pa.array(np.arange(whole_sky.num_rows), pa.int32())})
    stored = pa.Table.from_batches(engine.read_rows(stage_table(engine, flat, rows)))
    found = (
        [value for value in stored.column("t").to_pylist() if value is not None]
        if False
        else stored.column("t").drop_null().cast(pa.int64()).to_numpy()
    )
    assert (np.diff(found) >= 0).all()
    engine.close()


@pytest.mark.parametrize("table", [YEARS, CELLS], ids=["time", "healpix"])
def test_a_merge_has_the_partitions_of_its_base_and_those_that_the_changes_need(engine, whole_sky, table):
    def rows_in(snapshot):
        path = engine.engine._read_table_record(snapshot).find_table_name(snapshot)
        with engine.engine.write_pool.borrow_connection() as connection:
            found = connection.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass",
                [f"{engine.engine.schema}.{path}"],
            ).fetchall()
            schema = engine.engine.schema
            first = partitions.build_partition_prefix(table.qualified_name, path)
            return {
                name.removeprefix(first): connection.execute(f'SELECT count(*) FROM {schema}."{name}"').fetchone()[0]
                for (name,) in found
            }

    postgres_ = engine.engine
    base = stage_table(postgres_, table, whole_sky)
    changes = pa.concat_tables([whole_sky.slice(40, 60), build_sky(300, seed=9).slice(0, 100)])
    at = changes.schema.get_field_index("id")
    ids = [*changes["id"].to_pylist()[:60], *range(10**6, 10**6 + 100)]
    later = pa.array([None if number % 9 == 0 else 2 * 10**15 + number for number in range(160)], pa.int64()).cast(
        pa.timestamp("us")
    )
    changes = changes.set_column(at, changes.schema.field(at), pa.array(ids, pa.int64()))
    changes = changes.set_column(changes.schema.get_field_index("seen"), "seen", later).cast(table.arrow_schema)
    gone = pa.table({"id": whole_sky["id"].slice(500, 300)})
    staging = postgres_.stage_merge(table, f"merged-{table.partition.by}", base, gone)
    for batch in changes.to_batches():
        staging.write(batch)
    merged = staging.finish()
    keep = [number not in {*ids, *gone["id"].to_pylist()} for number in whole_sky["id"].to_pylist()]
    anew = stage_table(postgres_, table, pa.concat_tables([whole_sky.filter(pa.array(keep)), changes]))
    assert merged.rows == anew.rows
    found, wanted = rows_in(merged), rows_in(anew)
    assert {name: count for name, count in found.items() if count or name in wanted} == wanted
    for name, facts in anew.statistics.items():
        assert {**facts, "distinct": 0} == {**merged.statistics[name], "distinct": 0}
    assert merged.coverage == anew.coverage
    with pytest.raises(StorageError, match="different partitions"):
        postgres_.stage_merge(STARS, "whole", base)
    for snapshot in (base, merged, anew):
        postgres_.remove_snapshot(snapshot)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("{by: time, column: tt}", "the table has no column 'tt'"),
        ("{by: time, column: id}", "the column 'id' must be a time, not int32"),
        ("{by: healpix}", "the table has no position"),
        ("{by: time, column: t, every: 1 mnth}", "'1 mnth' is not a duration"),
    ],
)
@pytest.mark.parametrize("columns", ["columns: {id: int32, t: timestamp}", "follow: true\n    columns: {t: timestamp}"])
def test_a_partition_that_does_not_fit_is_a_fault_and_no_crash(said, words, columns, tmp_path):
    text = f"collection: stars\ntitle: S\ntables:\n  main:\n    source: {{kind: csv, files: a.csv, types: {{id: int32}}}}\n    primary: id\n    partition: {said}\n    {columns}\n"
    open_site_with_uningested_files(tmp_path, text, {"a.csv": "id,t\n1,2026-01-01T00:00:00\n"}).close()
    (tmp_path / "hven.toml").write_text("")
    told = run_hven("check", "stars", "--site", tmp_path, expected_code=1)
    assert (told.stdout + told.stderr).count(words) == 1
