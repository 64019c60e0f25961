"""Geometry of constants, however a query writes it, is looked up in the position index, and gives what a look at all rows gives."""

from __future__ import annotations

import math

import pytest
from engine_tables import STARS, build_sky, plan_query, run_with_and_without_indexes, sort_rows, stage_table

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.value_kinds import require_meta
from hven.engines._query_analysis.constants import compile_constant

WRITTEN = {
    "CONTAINS(POINT(ra, dec), REGION('CIRCLE ICRS 10 20 1')) = 1": "region",
    "CONTAINS(POINT(ra, dec), REGION('circle 10 20 1')) = 1": "region",
    "CONTAINS(POINT(ra, dec), REGION('POLYGON ICRS 9 19 11 19 10 21')) = 1": "region",
    "CONTAINS(POINT(ra, dec), REGION('BOX ICRS 10 20 2 1')) = 1": "region",
    "CONTAINS(POINT(ra, dec), REGION('UNION (CIRCLE 10 20 1 CIRCLE 12 20 1)')) = 1": "region",
    "CONTAINS(POINT(ra, dec), REGION('6/23510-23520')) = 1": "region",
    "INTERSECTS(REGION('CIRCLE ICRS 10 20 1'), POINT(ra, dec)) = 1": "region",
    "1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 5 + 5, 4 * 5, 3 / 3))": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(POINT('ICRS', 1 + 9, 2 * 10), 30 / 60.)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(DEGREES(0.174532925), SQRT(400), POWER(2, -1))) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(-(-10), +20, 0.5 * (1 + 1))) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(ivo_hms_to_degrees('00:40:00'), ivo_dms_to_degrees('+20:00:00'), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(COORD1(POINT(10, 1)), COORD2(POINT(1, 20)), CAST(1 AS DOUBLE PRECISION))) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(CENTROID(CIRCLE(10, 20, 3)), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(CENTROID(REGION('CIRCLE 10 20 3')), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(CAST('10 20' AS POINT), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(ivo_healpix_center(3, 21), 3)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(ivo_geom_transform('GALACTIC', 'ICRS', POINT(118.27, -42.8)), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(gavo_apply_pm(10, 20, 0.01, 0.01, 10), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CIRCLE(ivo_epoch_prop_pos(10, 20, NULL, 5, 5, NULL, 2000, 2016), 1)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), ivo_geom_transform('GALACTIC', 'ICRS', CIRCLE(118.27, -42.8, 1))) = 1": "circle",
    "CONTAINS(POINT(ra, dec), gavo_transform('FK4', 'ICRS', POLYGON(9, 19, 11, 19, 10, 21))) = 1": "polygon",
    "CONTAINS(POINT(ra, dec), CAST('10 20 1' AS CIRCLE)) = 1": "circle",
    "CONTAINS(POINT(ra, dec), CAST('9 19 11 19 10 21' AS POLYGON)) = 1": "polygon",
    "CONTAINS(POINT(ra, dec), BOX(10, 20, 2 * 1, 1 + 1)) = 1": "box",
    "CONTAINS(POINT(ra, dec), BOX('ICRS', POINT(10, 20), 2, 1)) = 1": "box",
    "CONTAINS(POINT(ra, dec), POLYGON(POINT(9, 19), POINT(11, 19), POINT(5 + 5, 21))) = 1": "polygon",
    "CONTAINS(POINT(ra, dec), POLYGON(CAST('9 19' AS POINT), CENTROID(CIRCLE(11, 19, 1)), POINT(10, 21))) = 1": "polygon",
    "CONTAINS(POINT(ra, dec), MOC('4/1469 6/23510-23520')) = 1": "moc",
    "CONTAINS(POINT(ra, dec), MOC(6, CIRCLE(10, 20, 2))) = 1": "moc",
    "CONTAINS(POINT(ra, dec), gavo_mocunion(MOC('4/1469'), MOC(6, POLYGON(9, 19, 11, 19, 10, 21)))) = 1": "moc",
    "CONTAINS(POINT(ra, dec), gavo_mocintersect(MOC('0/0-11'), MOC(5, REGION('CIRCLE 10 20 2')))) = 1": "moc",
    "DISTANCE(POINT(ra, dec), POINT(5 + 5, 2 * 10)) < 1 + 1": "circle",
    "DISTANCE(POINT(ra, dec), CENTROID(CIRCLE(10, 20, 1))) <= 60 / 60.0": "circle",
    "DISTANCE(ra, dec, ivo_hms_to_degrees('0h40m00s'), 40 / 2) < RADIANS(57.3)": "circle",
    "2 > DISTANCE(ivo_geom_transform('GALACTIC', 'ICRS', POINT(118.27, -42.8)), POINT(ra, dec))": "circle",
}  # fmt: skip


@pytest.fixture(scope="module")
def relations(engine):
    return {"sky.stars": stage_table(engine, STARS, build_sky(20_000))}


@pytest.mark.parametrize("condition", WRITTEN)
def test_the_position_index_serves_it(engine, relations, condition):
    for select in ("id", "COUNT(*) AS n"):
        query = f"SELECT {select} FROM sky.stars WHERE {condition}"
        prepared = plan_query(engine, query, (STARS,))[1]
        assert f"position index ({WRITTEN[condition]})" in prepared.explain()
        indexed, looked_at = run_with_and_without_indexes(engine, query, relations, (STARS,))
        assert sort_rows(indexed) == sort_rows(looked_at)
        assert indexed
        assert indexed[0][0] > 0 or select == "id"


@pytest.mark.parametrize("condition", WRITTEN)
def test_few_rows_are_candidates(engine, relations, condition):
    """What explain says is what is done: the look-up gives some of the rows, and not all."""
    _, prepared = plan_query(engine, f"SELECT id FROM sky.stars WHERE {condition}", (STARS,))
    (access,) = prepared._candidate_finder.index_accesses.values()
    bound = bind_query(parse_query(f"SELECT id FROM sky.stars WHERE {condition}"), StaticTableCatalogue([STARS]))
    found = access.find_candidate_rows(engine.open_snapshot(relations["sky.stars"]), bound.literal_values, 20_000)
    assert found is not None
    assert 0 < found.count < 20_000


@pytest.mark.parametrize(
    "condition",
    [
        "CONTAINS(POINT(ra, dec), CIRCLE(10, SQRT(-1), 1)) = 1",
        "CONTAINS(POINT(ra, dec), CIRCLE(10, NULL, 1)) = 1",
        "CONTAINS(POINT(ra, dec), CIRCLE(ivo_hms_to_degrees('nothing'), 20, 1)) = 1",
        "DISTANCE(POINT(ra, dec), POINT(10 / 0, 20)) < 1",
    ],
)
def test_what_is_no_shape_contains_nothing(engine, relations, condition):
    indexed, looked_at = run_with_and_without_indexes(
        engine, f"SELECT id FROM sky.stars WHERE {condition}", relations, (STARS,)
    )
    assert indexed == looked_at == []


NUMBERS = {
    "1 + 1": 2, "7 / 2": 3, "-7 / 2": -3, "7 / -2": -3, "1 / 0": None, "2 * 3 - 4": 2, "1.5 + 1": 2.5, "-(2 + 3)": -5, "10 / 4.0": 2.5, "PI()": math.pi,
    "DEGREES(PI())": 180.0, "COS(0) + 1": 2.0, "SQRT(-1)": None, "LOG(0)": None, "ASIN(2)": None, "POWER(2, 0.5)": 2**0.5, "EXP(1000)": None,
    "CAST(3 AS DOUBLE PRECISION)": 3.0, "ivo_dms_to_degrees('-00:30:00')": -0.5, "ivo_hms_to_degrees('12:60:00')": None, "ivo_hms_to_degrees('12:59:60')": 195.0,
    "ivo_dms_to_degrees('123456')": 12.582222222222223,
}  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_those_of_the_engine(engine, relations, text):
    bound = bind_query(parse_query(f"SELECT {text} AS x FROM sky.stars"), StaticTableCatalogue([STARS]))
    expr = bound.query.body.items[0].expr
    found = compile_constant(expr, bound.free_slots)
    assert found is not None
    assert found(bound.literal_values) == (None if NUMBERS[text] is None else pytest.approx(NUMBERS[text], rel=1e-15))
    if text != "EXP(1000)":  # infinite in the engine: no coordinate
        ((got,),) = run_with_and_without_indexes(
            engine, f"SELECT TOP 1 {text} AS x FROM sky.stars", relations, (STARS,)
        )[1]
        assert got == (None if NUMBERS[text] is None else pytest.approx(NUMBERS[text], rel=1e-8))
    assert require_meta(expr).constant


@pytest.mark.parametrize(
    "text", ["9000000000000000000 + 1", "99999999999 * 3", "RAND()", "ra + 1", "(SELECT MAX(ra) FROM sky.stars)"]
)
def test_what_is_left_to_the_engine(text):
    bound = bind_query(parse_query(f"SELECT {text} AS x FROM sky.stars"), StaticTableCatalogue([STARS]))
    assert compile_constant(bound.query.body.items[0].expr, bound.free_slots) is None


def test_other_literals_are_looked_up_anew(engine, relations):
    """A plan that is used again with other numbers looks for what they mean."""
    text = "SELECT COUNT(*) AS n FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1)) = 1"
    other = text.replace("CIRCLE(10, 20, 1)", "CIRCLE(200, 40, 30)")
    prepared = plan_query(engine, text, (STARS,))[1]
    for query in (text, other, text):
        bound = bind_query(parse_query(query), StaticTableCatalogue([STARS]))
        (row,) = [
            row
            for batch in prepared.execute(bound.literal_values, relations, plan_limits())
            for row in batch.to_pylist()
        ]
        assert (row["n"],) == run_with_and_without_indexes(engine, query, relations, (STARS,))[1][0]


def plan_limits():
    from hven.engines import ExecutionLimits

    return ExecutionLimits()
