"""Copies of what readers see in PostgreSQL change nothing but time: answers are those of the same rows alone, with a copy, before it is there and without."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from engine_tables import STARS, build_sky, stage_table
from test_reach import POLICY, QUERIES, answer, sort_rows
from test_regions import FIELDS, RINGS, TEXTS

from hven.adql import bind_query, parse_condition, parse_query
from hven.adql.binder import bind_condition
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import TableRef, transform_tree
from hven.model.table import Table
from hven.plugins.postgres import engine as postgres
from hven.site.auth._access_control import remove_literal_slots
from postgres_cluster import install_extensions, run_cluster

MORE = f"({POLICY}) OR id < 300"  # a superset: what it has more lies beside the copy of the other
ATOMS = ["mag < 8", "name IN ('a', 'ab')", "name IS NULL", "MOD(id, 7) = 2", "field > 20", "colour >= 0.5", "id < 9000", "note <> 'zz'",
         "seen < CAST('1985-01-01' AS TIMESTAMP)"]  # fmt: skip


@pytest.fixture(scope="module")
def machine():
    with run_cluster() as found:
        install_extensions(found.url)
        yield found


@pytest.fixture(scope="module")
def engine(machine, tmp_path_factory):
    opened = postgres.open(tmp_path_factory.mktemp("reach"), memory=1 << 28, threads=1, url=machine.url, pool=4)
    opened.accessible_copies.min_rows = 0
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def stars(engine):
    rows = build_sky(2_500)
    every = {"sky.stars": stage_table(engine, STARS, rows)}
    return every, {
        policy: {"sky.stars": stage_table(engine, STARS, filter_by_policy(engine, rows, policy))}
        for policy in (POLICY, MORE)
    }


def filter_by_policy(engine, rows: pa.Table, policy: str) -> pa.Table:
    there = {"sky.stars": stage_table(engine, STARS, rows)}
    kept = run_planned_query(engine, STARS, f"SELECT id FROM sky.stars WHERE {policy}", there)
    return rows.filter(pc.is_in(rows["id"], value_set=kept.column(0).combine_chunks()))


def plan_query_under_policy(engine, table: Table, text: str, policy: str = ""):
    bound = bind_query(parse_query(text), StaticTableCatalogue([table]))
    if policy:
        where = remove_literal_slots(bind_condition(parse_condition(policy), table.columns))
        query = transform_tree(
            bound.query, lambda node: replace(node, where=where) if isinstance(node, TableRef) else node
        )
        bound = replace(bound, query=query)
    return engine.plan_query(bound), bound


def run_planned_query(engine, table: Table, text: str, relations, policy: str = "") -> pa.Table:
    plan, bound = plan_query_under_policy(engine, table, text, policy)
    return answer(plan, bound, relations)


def get_prepared_sql(
    engine, relations, policy: str, text: str = "SELECT id FROM sky.stars WHERE mag > 3", table: Table = STARS
) -> str:
    plan, bound = plan_query_under_policy(engine, table, text, policy)
    return plan._build_parameterized_query(bound.literal_values, relations).prepared_sql


def wait_for_copies(engine, relations, *policies: str, table: Table = STARS) -> list[str]:
    """Ask until the copies are there; return their SQL."""
    found = []
    for policy in policies:
        deadline = time.monotonic() + 60
        while "r_" not in (
            text := get_prepared_sql(engine, relations, policy, f"SELECT * FROM {table.qualified_name}", table)
        ):
            assert time.monotonic() < deadline, text
            time.sleep(0.02)
        found.append(text)
    return found


def settle(engine) -> None:
    while engine.accessible_copies._thread is not None:
        time.sleep(0.01)


@pytest.fixture(params=["copied", "copying"])
def road(engine, request, monkeypatch):
    engine.accessible_copies.forget_copies()
    if request.param == "copying":
        monkeypatch.setattr(engine.accessible_copies, "_find_or_build_copy", lambda *_: None)
    yield request.param
    settle(engine)
    engine.accessible_copies.forget_copies()


def tables(machine) -> dict[str, tuple]:
    with psycopg.connect(machine.url) as connection:
        rows = connection.execute("SELECT name, base, rows, path FROM hven.reaches").fetchall()
        there = {name for (name,) in connection.execute("SELECT relname FROM pg_class WHERE relname ~ '^r_[0-9a-f]*$'")}
    assert {name for name, base, rows, _ in rows if rows or base is None} == there
    return {name: (base, rows, path) for name, base, rows, path in rows}


def test_each_road_answers_as_the_rows_alone(engine, stars, road: str) -> None:
    every, alone = stars
    policy = MORE if road == "copied" else POLICY
    if road == "copied":
        wait_for_copies(engine, every, POLICY, MORE)
    text = get_prepared_sql(engine, every, policy)
    assert ("r_" in text, "OFFSET 0" in text) == (road == "copied", road == "copying")
    for query in QUERIES[:: 1 if road == "copied" else 2]:
        assert sort_rows(run_planned_query(engine, STARS, query, every, policy)) == sort_rows(
            run_planned_query(engine, STARS, query, alone[policy])
        ), query


@pytest.mark.parametrize("mode", ["q3c", "healpix"])
def test_positions_are_found_in_copies(machine, engine, stars, tmp_path, mode: str) -> None:
    other = postgres.open(tmp_path, memory=1 << 28, threads=1, url=machine.url, pool=4, position=mode)
    other.accessible_copies.min_rows = 0
    wait_for_copies(other, stars[0], POLICY, MORE)
    for query in (one for one in QUERIES if "CIRCLE" in one or "a.id < b.id" in one):
        wanted = run_planned_query(engine, STARS, query, stars[1][MORE])
        assert sort_rows(run_planned_query(other, STARS, query, stars[0], MORE)) == sort_rows(wanted), query
    other.close()


def test_policies_at_random(engine, stars) -> None:
    """A copy of its own, what it has more than another one, nothing, everything: whatever is chosen, the rows are those of the condition."""
    chance = random.Random(17)
    for number in range(6):
        one, two, three = (chance.choice(["", "NOT "]) + f"({atom})" for atom in chance.sample(ATOMS, 3))
        policy = f"{one} {chance.choice(['OR', 'AND'])} ({two} OR {three})"
        check_copy_or_all(engine, stars[0], policy)
        for query in ("SELECT * FROM sky.stars", "SELECT TOP 9 id FROM sky.stars WHERE mag > 9 ORDER BY id"):
            with_where = (
                query.replace("WHERE", f"WHERE ({policy}) AND") if "WHERE" in query else f"{query} WHERE {policy}"
            )
            wanted = run_planned_query(engine, STARS, with_where, stars[0])
            assert sort_rows(run_planned_query(engine, STARS, query, stars[0], policy)) == sort_rows(wanted), (
                number,
                policy,
            )


def check_copy_or_all(engine, relations, policy: str) -> None:
    get_prepared_sql(engine, relations, policy)
    settle(engine)
    text = get_prepared_sql(engine, relations, policy)
    assert "OFFSET 0" not in text
    assert "t0" not in text


def test_what_more_is_seen_lies_beside(machine, engine, stars) -> None:
    wait_for_copies(engine, stars[0], POLICY)
    (text,) = wait_for_copies(engine, stars[0], MORE)
    assert text.count("r_") == 2
    check_copy_or_all(engine, stars[0], "id >= 0")
    check_copy_or_all(engine, stars[0], "id < 0")
    assert run_planned_query(engine, STARS, "SELECT * FROM sky.stars", stars[0], "id < 0").num_rows == 0
    found = {name: one for name, one in tables(machine).items() if one[2] == stars[0]["sky.stars"].path}
    bases = {base for base, _, _ in found.values() if base}
    assert bases & {*found}
    assert (stars[0]["sky.stars"].path, 0) in {(base, rows) for base, rows, _ in found.values()}  # all of it
    assert (None, 0) in {(base, rows) for base, rows, _ in found.values()}  # nothing


def test_regions_are_found_in_copies(engine) -> None:
    rows = pa.table({"id": range(len(TEXTS)), "s_region": TEXTS, "ring": pa.array(RINGS, FIELDS.find_column("ring").type.arrow)}).cast(FIELDS.arrow_schema)  # fmt: skip
    every = {"sky.fields": stage_table(engine, FIELDS, rows)}
    alone = {"sky.fields": stage_table(engine, FIELDS, rows.filter(pc.greater_equal(rows["id"], 40)))}
    wait_for_copies(engine, every, "id >= 40", table=FIELDS)
    for column in ("s_region", "ring"):
        for shape in ("CIRCLE(10, 0, 20)", "POINT(100, -20)"):
            text = f"SELECT id FROM sky.fields WHERE INTERSECTS({shape}, {column}) = 1"
            assert sort_rows(run_planned_query(engine, FIELDS, text, every, "id >= 40")) == sort_rows(
                run_planned_query(engine, FIELDS, text, alone)
            )


def test_a_copy_that_is_gone_is_made_again(machine, engine, stars) -> None:
    wanted = run_planned_query(engine, STARS, "SELECT id FROM sky.stars WHERE mag > 9", stars[1][MORE])
    wait_for_copies(engine, stars[0], MORE)
    before = tables(machine)
    with psycopg.connect(machine.url, autocommit=True) as connection:  # as another process of the site would
        for name in before:
            connection.execute(f'DROP TABLE IF EXISTS hven."{name}"')
        connection.execute("DELETE FROM hven.reaches")
    for _ in range(3):
        assert sort_rows(
            run_planned_query(engine, STARS, "SELECT id FROM sky.stars WHERE mag > 9", stars[0], MORE)
        ) == sort_rows(wanted)
    wait_for_copies(engine, stars[0], MORE)
    assert tables(machine)


def test_copies_go_with_their_snapshot_and_when_nobody_reads_them(machine, engine) -> None:
    every = {"sky.stars": stage_table(engine, STARS, build_sky(500))}
    path = every["sky.stars"].path
    wait_for_copies(engine, every, "id < 900", "id < 960")
    assert sum(one[2] == path for one in tables(machine).values()) == 2
    with psycopg.connect(machine.url, autocommit=True) as connection:
        connection.execute("UPDATE hven.reaches SET used = used - interval '2 hours' WHERE path = %s", [path])
    wait_for_copies(engine, every, "id < 30")
    assert sorted(rows for _, rows, there in tables(machine).values() if there == path) == [
        10,
        300,
    ]  # whole ones stay for a day
    engine.remove_snapshot(every["sky.stars"])
    assert path not in {one[2] for one in tables(machine).values()}
    known = {path for _, _, path in tables(machine).values()}
    with psycopg.connect(machine.url, autocommit=True) as connection:  # as a writer that was killed leaves it
        connection.execute(f"CREATE TABLE hven.r_{'0' * 40} (id int)")
    engine.remove_leftovers(known)
    assert path not in {one[2] for one in tables(machine).values()}


def test_what_cannot_be_copied_is_tried_in_each_query(engine, stars, monkeypatch, caplog) -> None:
    settle(engine)
    text = "SELECT id FROM sky.stars WHERE id < 300"
    monkeypatch.setattr(engine.accessible_copies, "max_bytes", 10)
    for policy, rows in ((f"id < 150 AND {POLICY} AND id >= 0", None), ("id < 30 OR CAST(note AS INTEGER) = 3", 10)):
        get_prepared_sql(engine, stars[0], policy)
        settle(engine)
        assert "r_" not in get_prepared_sql(engine, stars[0], policy)
        assert "OFFSET" not in get_prepared_sql(engine, stars[0], policy)
        if rows is None:
            wanted = run_planned_query(engine, STARS, f"{text} AND {policy}", stars[0])
            assert sort_rows(run_planned_query(engine, STARS, text, stars[0], policy)) == sort_rows(wanted)
    assert "cannot copy the rows" in caplog.text


def test_another_moment_is_another_copy(engine, stars) -> None:
    """A release makes another condition, and what was copied for the one before is not read for it."""
    for year in (1975, 1990, 1980, 1985):
        policy = f"seen < CAST('{year}-01-01' AS TIMESTAMP)"
        text = "SELECT COUNT(*) AS n, MAX(seen) AS latest FROM sky.stars"
        wanted = run_planned_query(engine, STARS, f"{text} WHERE {policy}", stars[0])
        assert run_planned_query(engine, STARS, text, stars[0], policy) == wanted
        wait_for_copies(engine, stars[0], policy)
        assert run_planned_query(engine, STARS, text, stars[0], policy) == wanted


def test_many_at_once_copy_once(machine, engine, tmp_path) -> None:
    every = {"sky.stars": stage_table(engine, STARS, build_sky(3_000))}
    other = postgres.open(tmp_path, memory=1 << 28, threads=1, url=machine.url, pool=4)
    other.accessible_copies.min_rows = 0
    text = "SELECT COUNT(*) AS n FROM sky.stars WHERE id < 8000"
    wanted = run_planned_query(engine, STARS, f"{text} AND {POLICY}", every)
    found = []

    def ask(engine) -> None:
        found.extend(run_planned_query(engine, STARS, text, every, POLICY) for _ in range(20))

    threads = [threading.Thread(target=ask, args=(one,)) for one in (engine, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_copies(engine, every, POLICY)
    wait_for_copies(other, every, POLICY)
    assert len(found) == 120
    assert all(one == wanted for one in found)
    assert sum(path == every["sky.stars"].path for _, _, path in tables(machine).values()) == 1
    other.close()


def test_merged_snapshots_are_copied_as_they_were(engine) -> None:
    rows = build_sky(600)
    base = stage_table(engine, STARS, rows)
    staging = engine.stage_merge(STARS, "merged-1", base, pa.table({"id": rows["id"].slice(0, 50)}))
    staging.write(build_sky(600, seed=4).slice(300, 10).to_batches()[0])
    merged = staging.finish()
    for snapshot in (base, merged):
        every = {"sky.stars": snapshot}
        wait_for_copies(engine, every, POLICY)
        wanted = run_planned_query(engine, STARS, f"SELECT * FROM sky.stars WHERE {POLICY}", every)
        assert sort_rows(run_planned_query(engine, STARS, "SELECT * FROM sky.stars", every, POLICY)) == sort_rows(
            wanted
        )
