"""Long lists of constants: the answers are those of the list written out, on every road."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import CIRCLES, STARS, plan_query, run_query, sort_rows
from engine_tables import normalize_rows as comparable

from hven.engines import ExecutionLimits, MemoryRelation
from hven.engines.duckdb import long_lists


def make_long_lists() -> dict[str, str]:
    rng = np.random.default_rng(7)
    words = ["''", "'a'", "'Ä'", "'NGC 224'", "'a''b'", *(f"'w{number}'" for number in range(300))]
    return {
        "id": ", ".join(map(str, rng.integers(-10, 40_000, 900))),
        "few": ", ".join(map(str, rng.integers(0, 400, 90))),
        "huge": ", ".join(map(str, [3, 2**40, 2**62, *rng.integers(0, 10**6, 200)])),
        "floats": ", ".join(f"{value:.1f}" for value in rng.normal(10, 3, 200)),
        "mixed": ", ".join([*(f"{value:.2f}" for value in rng.normal(0.5, 1, 200)), "1", "0", "2", "0.0"]),
        "null": ", ".join([*map(str, rng.integers(0, 40, 80)), "NULL"]),
        "text": ", ".join(words),
        "times": ", ".join(f"'19{number % 100:02d}-01-01T00:00:00'" for number in range(70, 170)),
        "sums": ", ".join(f"{number} + 1.5" for number in range(100)),
    }


CASES = [
    ("id", "id"), ("id", "few"), ("id", "huge"), ("id", "null"), ("mag", "floats"), ("mag", "id"), ("mag", "huge"), ("colour", "mixed"), ("colour", "floats"),
    ("colour", "few"), ("colour", "huge"), ("field", "few"), ("field", "floats"), ("field", "null"), ("name", "text"), ("note", "text"), ("seen", "times"),
    ("id + 1", "id"), ("LOWER(note)", "text"), ("mag", "sums"), ("field", "huge"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "name"), CASES)
def test_long_lists(engine, relations, monkeypatch, column, name):
    values = make_long_lists()[name]
    texts = [
        f"SELECT id, {column} AS x FROM sky.stars WHERE {column} IN ({values})",
        f"SELECT COUNT(*) AS n FROM sky.stars WHERE {column} NOT IN ({values})",
        f"SELECT id FROM sky.stars WHERE {column} IN ({values}) AND mag < 11 OR NOT ({column} IN ({values})) AND field = 3",
        f"SELECT u.n, COUNT(*) AS m FROM sky.stars AS s LEFT JOIN TAP_UPLOAD.list AS u ON s.id = u.k AND {column} IN ({values}) WHERE {column} IN ({values}) GROUP BY u.n",
        f"SELECT x.id FROM (SELECT * FROM sky.stars WHERE {column} IN ({values})) AS x WHERE EXISTS (SELECT 1 FROM TAP_UPLOAD.list WHERE k = x.id)",
        f"SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.05)) = 1 AND {column} IN ({values})",
    ]
    for text in texts:
        got = run_query(engine, text, relations)
        engine.uses_indexes = False
        monkeypatch.setattr(long_lists, "MAX_INLINE_VALUES", 10**9)
        try:
            wanted = run_query(engine, text, relations)
        finally:
            engine.uses_indexes = True
            monkeypatch.undo()
        assert sort_rows(comparable(got)) == sort_rows(comparable(wanted)), text


def test_a_plan_serves_lists_of_other_values(engine, relations):
    bound, prepared = plan_query(
        engine, f"SELECT id FROM sky.stars WHERE id + 0 IN ({', '.join(map(str, range(100)))})", (STARS,)
    )
    for shift in (0, 3000, 6001):
        values = [value + shift if index else 0 for index, value in enumerate(bound.literal_values)]
        found = [
            row["id"] for batch in prepared.execute(values, relations, ExecutionLimits()) for row in batch.to_pylist()
        ]
        assert sorted(found) == [number for number in range(shift, 100 + shift) if number % 3 == 0]


def test_lists_over_rows_in_memory(engine):
    held = MemoryRelation(
        pa.table(
            {"n": [1, None, 3, 500], "lon": [0.0] * 4, "lat": [0.0] * 4, "r": [0.0] * 4, "k": [1, 2, 3, 4]},
            schema=CIRCLES.arrow_schema,
        )
    )
    among = ", ".join(map(str, range(100)))
    for word, wanted in (("IN", [1, 3]), ("NOT IN", [4])):
        assert (
            run_query(
                engine, f"SELECT k FROM TAP_UPLOAD.list WHERE n {word} ({among})", {CIRCLES.qualified_name: held}
            )["k"].to_pylist()
            == wanted
        )


def test_the_index_is_asked_once_for_a_long_list(engine, relations):
    said = plan_query(engine, f"SELECT * FROM sky.stars WHERE name IN ({make_long_lists()['text']})", (STARS,))[
        1
    ].explain()
    assert "index of name (305 values)" in said
    assert said.count("$") == 0
    assert "hven.list0" in said


def chains(pairs: list[str]) -> str:
    return " OR ".join(pairs)


CHAINS = {
    "numbers": [f"(id = {n} AND field = {n % 45 - 5})" for n in range(0, 600, 3)],
    "turned": [
        f"(field = {n % 45 - 5} AND {n} = id)" if n % 2 else f"(id = {n} AND {n % 45 - 5} = field)"
        for n in range(0, 600, 3)
    ],
    "floats": [f"(mag = {n / 10:.1f} AND colour = {m / 4})" for n in range(70, 110) for m in range(-4, 5)],
    "zeros": [
        *(f"(mag = {n / 10:.1f} AND colour = -0.0)" for n in range(60, 140)),
        "(mag = 10 AND colour = NULL)",
        "(colour = 0 AND mag = 10.5)",
    ],
    "texts": [f"(name = '{name}' AND field = {n})" for name in ("", "a", "Ä", "a''b", "zz") for n in range(-5, 40)],
    "three": [
        f"(name = '{name}' AND field = {n} AND note = 'a')" for name in ("", "a", "zz", "ab") for n in range(-5, 40)
    ],
    "others": [
        *(f"(id = {n} AND field = {n % 45 - 5})" for n in range(0, 600, 3)),
        "mag < 1",
        "(id = 3 AND note LIKE 'a%')",
        "name = 'zz'",
    ],
    "one": [f"field = {n}" for n in range(-50, 30)],
    "ones": [
        *(f"{n} = field" for n in range(-50, 30)),
        *(f"note = 'w{n}'" for n in range(70)),
        "note = 'a'",
        "mag > 14",
    ],
}


@pytest.mark.parametrize("name", CHAINS)
def test_long_chains_of_equalities(engine, relations, monkeypatch, name):
    chain = chains(CHAINS[name])
    for text in (
        f"SELECT id, mag FROM sky.stars WHERE {chain}",
        f"SELECT COUNT(*) AS n FROM sky.stars WHERE NOT ({chain})",
        f"SELECT id FROM sky.stars WHERE ({chain}) AND mag < 11 AND RAND() < 2",
        f"SELECT s.id, u.n FROM sky.stars AS s LEFT JOIN TAP_UPLOAD.list AS u ON s.id = u.k WHERE {chain}",
    ):
        got = run_query(engine, text, relations)
        engine.uses_indexes = False
        monkeypatch.setattr(long_lists, "MAX_INLINE_VALUES", 10**9)
        try:
            wanted = run_query(engine, text, relations)
        finally:
            engine.uses_indexes = True
            monkeypatch.undo()
        assert sort_rows(comparable(got)) == sort_rows(comparable(wanted)), text
        assert len(wanted) > 0


def test_a_long_chain_is_a_relation(engine):
    made = plan_query(engine, f"SELECT id FROM sky.stars WHERE {chains(CHAINS['others'])}", (STARS,))[1]
    (held,) = made._list_tables
    assert len(held.table.columns) == 2
    assert held.build_rows(()).num_rows == 200
    assert made.explain().count(" OR ") == 3
