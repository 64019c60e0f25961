"""A cone outside of what a table covers is answered without its rows; and it tells nothing of rows that its reader may not see."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pyarrow.compute as pc
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

from hven.adql._parser import parse_condition
from hven.adql.binder import bind_condition
from hven.engines import ExecutionLimits, MemoryRelation, duckdb
from hven.model.deadlines import Deadline
from hven.model.errors import TimeLimitError
from hven.site.auth._access_control import Principal, apply_access_control

FAR = "CIRCLE(200, 30, 1)"
NEAR = "CIRCLE(10, 20, 1)"
STARRED = "SELECT id, mag FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), {})"
NOTHING = [
    STARRED.format(FAR),
    STARRED.format("POLYGON(199, 29, 201, 29, 200, 31)"),
    STARRED.format("BOX(200, 30, 2, 2)"),
    STARRED.format("MOC('4/700')"),
    STARRED.format(NEAR) + f" AND 1 = CONTAINS(POINT(ra, dec), {FAR})",
    "SELECT id FROM sky.stars WHERE DISTANCE(ra, dec, 200, 30) < 1 AND mag > 3 ORDER BY mag",
    f"SELECT field, COUNT(*) AS n FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), {FAR}) GROUP BY field",
    f"SELECT u.n, s.id FROM TAP_UPLOAD.list AS u JOIN sky.stars AS s ON s.id = u.k WHERE 1 = CONTAINS(POINT(s.ra, s.dec), {FAR})",
    f"SELECT id FROM (SELECT id, ra AS x, dec AS y FROM sky.stars UNION ALL SELECT id, ra, dec FROM sky.stars) AS v WHERE 1 = CONTAINS(POINT(x, y), {FAR})",
]
SOMETHING = [
    STARRED.format(NEAR),
    STARRED.format("CIRCLE(200, 30, 170)"),
    f"SELECT COUNT(*) AS n FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), {FAR})",
    f"SELECT id FROM sky.stars WHERE 0 = CONTAINS(POINT(ra, dec), {FAR})",
    f"SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), {FAR}) OR id < 300",
    f"SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.stars AS s ON s.id = u.k AND 1 = CONTAINS(POINT(s.ra, s.dec), {FAR})",
    f"SELECT id FROM sky.stars WHERE id < 300 AND id NOT IN (SELECT id FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), {FAR}))",
]


class EmbeddedEngine:
    """The embedded engine, which may be kept from computing."""

    can_lock_tables = False

    def __init__(self, directory):
        self.engine = duckdb.open(directory, memory=1 << 28, threads=1)

    @contextlib.contextmanager
    def away(self, snapshot):
        run, self.engine.run_sql = self.engine.run_sql, None  # who calls it fails
        try:
            yield
        finally:
            self.engine.run_sql = run

    def close(self):
        self.engine.close()


def build_world(found):
    """Give an engine, and a table that covers two places: one of them is hidden from some."""
    rows = build_sky(13_000)
    away = pc.and_(pc.less(pc.abs(pc.subtract(rows["ra"], 100)), 5), pc.less(pc.abs(rows["dec"]), 5))
    some = rows.filter(pc.or_(pc.fill_null(away, False), pc.less(pc.abs(pc.subtract(rows["ra"], 10)), 2)))
    hidden = pa.array([-1 if 50 < (ra or 0) < 150 else 5 for ra in some["ra"].to_pylist()], pa.int32())
    some = some.set_column(some.schema.get_field_index("field"), some.schema.field("field"), hidden)
    assert pc.sum(pc.equal(some["field"], -1)).as_py() > 10
    snapshot = stage_table(found.engine, STARS, some)
    return found, {"sky.stars": snapshot, CIRCLES.qualified_name: MemoryRelation(build_circles(60))}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    found = EmbeddedEngine(tmp_path_factory.mktemp("snapshots"))
    yield build_world(found)
    found.close()


@pytest.mark.parametrize("text", NOTHING)
def test_what_lies_outside_is_answered_without_the_rows(world, text):
    found, relations = world
    bound, prepared = plan_query(found.engine, text, (STARS, CIRCLES))
    with found.away(relations["sky.stars"]):
        execution = prepared.execute(bound.literal_values, relations, ExecutionLimits(deadline=Deadline(20)))
        assert list(execution) == []
        execution.close()
    assert run_with_and_without_indexes(found.engine, text, relations) == ([], [])
    assert "outside" in prepared.explain() or "position index" in prepared.explain()


@pytest.mark.parametrize("text", SOMETHING)
def test_what_needs_the_rows_has_them(world, text):
    found, relations = world
    indexed, scanned = run_with_and_without_indexes(found.engine, text, relations)
    assert sort_rows(indexed) == sort_rows(scanned)
    assert indexed


def test_another_place_for_the_same_plan(world):
    found, relations = world
    bound, prepared = plan_query(found.engine, STARRED.format(NEAR), (STARS,))
    (there,) = [slot for slot in bound.free_slots if bound.literal_values[slot] == 10]
    for lon, some in ((10, True), (200, False), (10, True)):
        values = [lon if slot == there else value for slot, value in enumerate(bound.literal_values)]
        assert bool(list(prepared.execute(values, relations, ExecutionLimits()))) == some


def test_the_coverage_of_hidden_rows_tells_nothing(world):
    """Where rows are hidden from a reader the whole table's coverage is not asked: a place without rows takes what one with hidden rows takes."""
    found, relations = world
    shown = bind_condition(parse_condition("field > 0"), STARS.columns)

    class Half:
        def decide_visibility(self, table, who):
            return True

        def find_row_condition(self, table, who):
            return shown

    for place in ("CIRCLE(100, 0, 4)", FAR):
        bound, _ = plan_query(found.engine, STARRED.format(place), (STARS,))
        bound, _ = apply_access_control(bound, Principal(), [Half()])
        prepared = found.engine.plan_query(bound)
        assert "outside" not in prepared.explain()
        assert list(prepared.execute(bound.literal_values, relations, ExecutionLimits())) == []
        if found.can_lock_tables:
            with found.away(relations["sky.stars"]), pytest.raises(TimeLimitError):
                list(prepared.execute(bound.literal_values, relations, ExecutionLimits(deadline=Deadline(0.3))))
