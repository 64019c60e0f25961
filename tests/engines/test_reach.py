"""A reach changes nothing but time: what a reader is answered is what the same rows alone would answer, by every road."""

from __future__ import annotations

import threading
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from engine_tables import STARS, build_sky, stage_table
from test_regions import FIELDS, RINGS, TEXTS

from hven.adql import bind_query, parse_condition, parse_query
from hven.adql.binder import bind_condition
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import TableRef, transform_tree
from hven.engines import ExecutionLimits
from hven.engines.duckdb.accessible_rows import AccessibleRows, AccessPolicyPlan, SnapshotSubset
from hven.engines.duckdb.snapshot_files import OpenSnapshot
from hven.model.table import Table
from hven.site.auth._access_control import remove_literal_slots

# of five texts and more DuckDB makes a join, which loses the order of rows
POLICY = "MOD(id, 9) <> 3 AND (name IS NULL OR name IN ('', 'a', 'ab', 'NGC 224', 'zz', 'b', 'c') OR mag < 8)"
QUERIES = [
    "SELECT COUNT(*) AS n FROM sky.stars",
    "SELECT * FROM sky.stars",
    "SELECT TOP 7 * FROM sky.stars",
    "SELECT TOP 5 id FROM sky.stars WHERE note = 'zz'",
    "SELECT id, mag FROM sky.stars WHERE mag > 12.5",
    "SELECT TOP 10 id, mag FROM sky.stars WHERE mag < 100 ORDER BY mag DESC, id",
    "SELECT TOP 10 mag FROM sky.stars WHERE mag < 100 ORDER BY mag DESC",
    "SELECT TOP 3 field FROM sky.stars ORDER BY field",
    "SELECT id FROM sky.stars WHERE id BETWEEN 100 AND 140",
    "SELECT id FROM sky.stars WHERE id IN (0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39)",
    "SELECT id, name FROM sky.stars WHERE name >= 'N' AND name < 'O'",
    "SELECT id FROM sky.stars WHERE name IN ('a', 'alpha Cen')",
    "SELECT name, COUNT(*) AS n, MAX(field) AS m FROM sky.stars GROUP BY name",
    "SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 30))",
    "SELECT COUNT(*) AS n FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 90))",
    "SELECT a.id, b.id AS other FROM sky.stars AS a JOIN sky.stars AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01 WHERE a.id < 3000 AND a.id < b.id",
    "SELECT a.id, b.id AS other FROM sky.stars AS a LEFT JOIN sky.stars AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.01 WHERE a.id < 900",
    "SELECT a.id, b.mag FROM sky.stars AS a LEFT JOIN sky.stars AS b ON b.id = a.id + 3 WHERE a.id < 500",
    "SELECT id FROM sky.stars AS a WHERE EXISTS (SELECT 1 FROM sky.stars AS b WHERE b.id = a.id + 3) AND id < 900",
    "SELECT id FROM sky.stars WHERE id < 60 UNION ALL SELECT field FROM sky.stars WHERE mag < 2",
    "SELECT MAX(n) AS n FROM (SELECT field, COUNT(*) AS n FROM sky.stars GROUP BY field) AS g",
]  # fmt: skip


def answer(plan, bound, relations) -> pa.Table:
    execution = plan.execute(bound.literal_values, relations, ExecutionLimits())
    try:
        return pa.Table.from_batches(execution, schema=execution.schema)
    finally:
        execution.close()


def sort_rows(found: pa.Table) -> pa.Table:
    return found.sort_by([(name, "ascending") for name in found.column_names]).combine_chunks()


def run_twice(engine, table: Table, text: str, relations, policy: str = "") -> pa.Table:
    """Ask twice, as plans and what they look at are kept; `policy`: as `auth.permit` would have it asked."""
    bound = bind_query(parse_query(text), StaticTableCatalogue([table]))
    if policy:
        where = remove_literal_slots(bind_condition(parse_condition(policy), table.columns))
        query = transform_tree(
            bound.query, lambda node: replace(node, where=where) if isinstance(node, TableRef) else node
        )
        bound = replace(bound, query=query)
    plan = engine.plan_query(bound)
    assert isinstance(plan, AccessPolicyPlan) == bool(policy)
    found = [answer(plan, bound, relations) for _ in range(2 if policy else 1)]
    assert all(sort_rows(one) == sort_rows(found[0]) for one in found)
    return found[0]


@pytest.fixture(params=[None, 0, 300_000], ids=["room", "none", "some"])
def room(engine, request):
    """What readers reach may take these bytes: where it is more, the condition is tried in each query."""
    before = engine.access_cache_bytes
    engine.access_cache_bytes = before if request.param is None else request.param
    engine._forget_cached_snapshot_rows()
    yield engine.access_cache_bytes
    engine.access_cache_bytes = before
    engine._forget_cached_snapshot_rows()


@pytest.fixture(scope="module")
def stars(engine):
    rows = build_sky(13_000)
    every = {"sky.stars": stage_table(engine, STARS, rows)}
    seen = run_twice(engine, STARS, f"SELECT id FROM sky.stars WHERE {POLICY}", every)
    kept = rows.filter(pc.is_in(rows["id"], value_set=seen.column(0).combine_chunks()))
    assert 3_000 < kept.num_rows < 11_000
    return every, {"sky.stars": stage_table(engine, STARS, kept)}


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("text", QUERIES)
def test_a_reach_answers_as_its_rows_alone(engine, stars, text: str) -> None:
    every, alone = stars
    wanted = run_twice(engine, STARS, text, alone)
    assert sort_rows(run_twice(engine, STARS, text, every, POLICY)) == sort_rows(wanted)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("shape", ["CIRCLE(10, 0, 20)", "POINT(100, -20)", "CIRCLE(0, 90, 100)"])
def test_regions_of_a_reach_are_those_of_its_rows(engine, shape: str) -> None:
    rows = pa.table({"id": range(len(TEXTS)), "s_region": TEXTS, "ring": pa.array(RINGS, FIELDS.find_column("ring").type.arrow)}).cast(FIELDS.arrow_schema)  # fmt: skip
    every = {"sky.fields": stage_table(engine, FIELDS, rows)}
    alone = {"sky.fields": stage_table(engine, FIELDS, rows.filter(pc.greater_equal(rows["id"], 40)))}
    for column in ("s_region", "ring"):
        text = f"SELECT id FROM sky.fields WHERE INTERSECTS({shape}, {column}) = 1"
        wanted = run_twice(engine, FIELDS, text, alone)
        assert sort_rows(run_twice(engine, FIELDS, text, every, "id >= 40")) == sort_rows(wanted)


@pytest.mark.parametrize(("policy", "rows"), [("id < 0", 0), ("id >= 0", 13_000)])
def test_nobody_and_everybody(engine, stars, policy: str, rows: int) -> None:
    for text in ("SELECT COUNT(*) AS n FROM sky.stars", "SELECT COUNT(id) AS n FROM sky.stars WHERE note >= ''"):
        assert run_twice(engine, STARS, text, stars[0], policy).column(0).to_pylist() == [rows]
    assert run_twice(engine, STARS, "SELECT * FROM sky.stars", stars[0], policy).num_rows == rows


def test_a_policy_that_fails_on_a_row_is_tried_where_it_is_asked(engine, stars) -> None:
    policy = "id < 300 OR CAST(note AS INTEGER) = 3"
    found = run_twice(engine, STARS, "SELECT id FROM sky.stars WHERE id < 300", stars[0], policy)
    assert found.num_rows == 100


def test_one_condition_is_not_another(engine, stars) -> None:
    text = "SELECT COUNT(*) AS n FROM sky.stars"
    counts = [
        run_twice(engine, STARS, text, stars[0], f"id < {most}").column(0)[0].as_py() for most in (30, 60, 30, 90)
    ]
    assert counts == [10, 20, 10, 30]


def test_nothing_of_the_other_rows_can_be_read(engine, stars) -> None:
    (whole,) = stars[0].values()
    said = {"id": whole.id, "table": whole.table, "path": whole.path, "rows": whole.rows}
    reach = engine.open_snapshot(SnapshotSubset(**said, condition='t0."id" < 30', condition_columns=("id",)))
    assert isinstance(reach, AccessibleRows)
    assert reach.rows == reach.table.num_rows == reach.select_columns(("mag",)).num_rows == 10
    assert (
        max(
            reach.get_projection(("id",))
            .take_rows(reach.get_key_index("id").list_row_numbers(0, 10))
            .column(0)
            .to_pylist()
        )
        == 27
    )
    assert not reach.part_names_by_inode
    written = {name for name, one in vars(OpenSnapshot).items() if not name.startswith("__")}
    # what is not written anew reads what is, or the files, of which there are none; `nearest_rows_cache` begins empty, and is filled from `get_key_index` and `get_projection`
    assert written - {*vars(AccessibleRows)} == {
        "_check_file_size", "_narrowest_column", "_sample_column", "batches", "check_file_sizes_if_due", "max_candidate_rows", "part_names_by_inode", "nearest_rows_cache", "read_batches", "rows", "sample_rows", "starts",
    }  # fmt: skip
    assert reach.nearest_rows_cache is not reach.full_snapshot.nearest_rows_cache
    assert reach.max_candidate_rows == 10  # from its own number of rows


def test_many_at_once_find_the_same(engine) -> None:
    every = {"sky.stars": stage_table(engine, STARS, build_sky(200_000))}
    text = "SELECT COUNT(*) AS n FROM sky.stars WHERE id < 9000"
    wanted = run_twice(engine, STARS, f"{text} AND {POLICY}", every)
    found = []

    def ask(number: int) -> None:
        found.extend(run_twice(engine, STARS, text, every, f"{POLICY} AND id >= -{number}") for number in range(number, number + 3))  # fmt: skip

    threads = [threading.Thread(target=ask, args=(4 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 18
    assert all(one == wanted for one in found)
