"""Rows nearest to steps of time: what the index of times gives is what numbering all rows gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import plan_query, run_with_and_without_indexes, sort_rows, stage_table
from test_reach import run_twice

from hven.engines import ExecutionLimits
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, INT64, STRING, TIMESTAMP

TIMES = Table(
    schema="sun",
    name="images",
    primary=("id",),
    columns=(
        Column(name="id", type=INT64),
        Column(name="seen", type=TIMESTAMP, indexed=True),
        Column(name="jd", type=FLOAT64, indexed=True),
        Column(name="band", type=INT32),
        Column(name="camera", type=STRING),
    ),
)
BEGIN = 56_000 * 86_400_000_000 - 40_587 * 86_400_000_000


@pytest.fixture(scope="module", params=["in order", "as they came"])
def relations(engine, request):
    """Times with gaps, some twice, some missing, many in the middle between two steps, or as far before one as behind it."""
    number = np.random.default_rng(7)
    count = 30_000
    at = BEGIN + np.concatenate(
        [number.integers(0, 40 * 3600, count // 2) * 1_000_000, number.integers(0, 100, count // 2) * 1_800_000_000 + number.integers(-600, 600, count // 2)]
    )  # fmt: skip
    at = np.sort(at) if request.param == "in order" else at
    missing = number.random(count) < 0.01
    columns = {
        "id": np.arange(count),
        "seen": pa.array(at, pa.timestamp("us"), mask=missing),
        "jd": pa.array(at / 86_400e6 + 2_440_587.5, mask=missing),
        "band": pa.array(number.integers(0, 5, count), mask=number.random(count) < 0.1),
        "camera": pa.array(number.choice(["a", "b", None], count).tolist(), pa.string()),
    }
    return {"sun.images": stage_table(engine, TIMES, pa.table(columns, schema=TIMES.arrow_schema))}


def pattern(*, time: str = "IVO_TO_MJD(seen)", column: str = "seen", scale: str = "24.0", cut: str = "0.5000001", each: str = "band", where: str = "1 = 1", again: str = "") -> str:  # fmt: skip
    step = f"CEILING({time} * {scale} - {cut})"
    away = f"ROUND(ABS({time} * {again or scale} - {step}) * 3600000.0)"
    of, others = (f"{each}, ", f", {each}") if each else ("", "")
    return (
        f"SELECT id, {column} FROM sun.images WHERE id IN (SELECT k FROM (SELECT k, ROW_NUMBER() OVER (PARTITION BY {of}step ORDER BY away, t, k) AS nth FROM "
        f"(SELECT id AS k, {column} AS t, {step} AS step, {away} AS away{others} FROM sun.images WHERE {where} AND {column} IS NOT NULL) AS stepped) AS steps WHERE nth = 1)"
    )


DAY = "seen BETWEEN '2012-03-14T02:10:00' AND '2012-03-14T20:00:00'"
FOUND = [
    {"each": ""}, {}, {"each": "band, camera"}, {"where": DAY}, {"where": f"{DAY} AND CEILING((IVO_TO_MJD(seen) - 56000.0) * 24.0 - 0.5000001) >= 4", "time": "(IVO_TO_MJD(seen) - 56000.0)"},
    {"scale": "2.0"}, {"time": "jd", "column": "jd", "cut": "0.5"}, {"time": "(jd - 2456000.0)", "column": "jd", "each": "", "where": "jd > 2456000.6 AND jd <= 2456001.25"},
]  # fmt: skip
OTHERS = [
    {"where": "camera = 'a'"}, {"where": f"({DAY} OR seen > '2012-03-15')"}, {"again": "23.0"}, {"each": "id"}, {"scale": "-24.0"}, {"scale": "8640000.0"},
]  # fmt: skip


@pytest.mark.parametrize("given", [*FOUND, *OTHERS], ids=str)
def test_the_index_changes_nothing_but_time(engine, relations, given):
    text = pattern(
        **({"where": "seen > '2000-01-01'"} | given if given.get("column") != "jd" else {"where": "jd > 0"} | given)
    )
    prepared = plan_query(engine, text, (TIMES,))[1]
    found = prepared._candidate_finder.find_candidate_rows(
        engine, plan_query(engine, text, (TIMES,))[0].literal_values, relations, ExecutionLimits()
    )
    fewer = {number: table.num_rows for number, table in found.tables.items()}
    assert (len(fewer) == 2 and max(fewer.values()) < 8_000) == (given in FOUND), fewer
    with_it, without = run_with_and_without_indexes(engine, text, relations, (TIMES,))
    assert sorted(with_it) == sorted(without)
    assert with_it


def test_a_plan_serves_steps_of_other_lengths(engine, relations):
    """Also where two numbers that were the same are so no more."""
    bound, prepared = plan_query(engine, pattern(where="seen > '2000-01-01'"), (TIMES,))
    places = [place for place, value in enumerate(bound.literal_values) if value == 24.0]
    assert len(places) == 3
    for values in ((12.0, 12.0, 12.0), (24.0, 12.0, 12.0), (12.0, 24.0, 12.0), (12.0, 12.0, 24.0)):
        slots = list(bound.literal_values)
        for place, value in zip(places, values, strict=True):
            slots[place] = value
        kept = []
        for engine.uses_indexes in (False, True):
            kept.append(
                sorted(
                    row["id"]
                    for batch in prepared.execute(slots, relations, ExecutionLimits())
                    for row in batch.to_pylist()
                )
            )
        assert kept[0] == kept[1]


def test_readers_get_the_nearest_of_the_rows_that_they_see(engine, relations):
    """Not fewer, where one that they do not see is nearer; and nobody gets what was kept for another."""
    text = pattern(where="seen > '2000-01-01'")
    seen = {}
    for policy in ("", "camera = 'a'", "camera = 'b'"):
        seen[policy] = run_twice(engine, TIMES, text, relations, policy)
        alone = pattern(where=f"seen > '2000-01-01' AND {policy}") if policy else text
        engine.uses_indexes = False
        try:
            wanted = run_twice(engine, TIMES, alone, relations)
        finally:
            engine.uses_indexes = True
        assert sort_rows(seen[policy]) == sort_rows(wanted)
    assert len({tuple(sorted(one.column(0).to_pylist())) for one in seen.values()}) == 3
