"""Indexes change nothing but time: every road gives the rows that DuckDB finds by looking at all of them."""

from __future__ import annotations

import pytest
from engine_tables import (
    CIRCLES,
    STARS,
    HalfVisiblePolicy,
    build_sky,
    plan_query,
    run_with_and_without_indexes,
    sort_rows,
    stage_table,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model.table import Table
from shared import EXAMPLES_FACTOR

# no shrinking: the queries are short as they are, and each costs a look at all rows
quick = settings(
    max_examples=40 * EXAMPLES_FACTOR,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

lons = st.one_of(st.sampled_from([0.0, 360.0, 359.99999, 10.0, 180.0]), st.floats(0, 360))
lats = st.one_of(st.sampled_from([90.0, -90.0, 0.0, 20.0, 89.99999]), st.floats(-90, 90))
# Within 1e-6 degrees of half a turn, rounding decides whether the opposite point is inside: engines may differ there.
radii = st.one_of(
    st.sampled_from([0.0, 1e-300, 1e-7, 0.01, 1.0, 90.0, 179.9, 180.0]), st.floats(0, 179.999999), st.floats(0, 0.1)
)
# A circle holds its rim with a tolerance, a comparison of DISTANCE has none. Rows at a pole are exactly a quarter of a turn
# from the equator, where the last digit decides: the sines of DuckDB and of NumPy differ there.
distances = radii.map(lambda radius: 90.000001 if abs(radius - 90.0) < 1e-9 else radius)


def number(value: float) -> str:
    return f"{value!r}"


@st.composite
def shapes(draw) -> str:
    lon, lat = draw(lons), draw(lats)
    kind = draw(st.sampled_from(["circle", "circle_point", "box", "polygon", "distance", "distance_mirrored"]))
    point = "POINT('ICRS', ra, dec)" if draw(st.booleans()) else "POINT(ra, dec)"
    if kind.startswith("circle"):
        centre = f"{number(lon)}, {number(lat)}" if kind == "circle" else f"POINT({number(lon)}, {number(lat)})"
        test = f"CONTAINS({point}, CIRCLE({centre}, {number(draw(radii))}))"
        return f"{test} = 1" if draw(st.booleans()) else f"1 = {test}"
    if kind == "box":
        return f"CONTAINS({point}, BOX({number(lon)}, {number(draw(st.floats(-80, 80)))}, {number(draw(st.floats(0.01, 90)))}, {number(draw(st.floats(0.01, 60)))})) = 1"
    if kind == "polygon":
        size = draw(st.sampled_from([0.05, 1.0, 30.0]))
        lat = max(-85.0, min(85.0, lat))
        corners = [(lon, max(lat - size, -89.0)), ((lon + 1.3 * size) % 360, lat), (lon, min(lat + size, 89.0))]
        if draw(st.booleans()):
            return (
                f"INTERSECTS({point}, POLYGON({', '.join(f'POINT({number(x)}, {number(y)})' for x, y in corners)})) = 1"
            )
        return f"CONTAINS({point}, POLYGON({', '.join(f'{number(x)}, {number(y)}' for x, y in corners)})) = 1"
    if kind == "distance":
        return f"DISTANCE(ra, dec, {number(lon)}, {number(lat)}) < {number(draw(distances))}"
    return f"{number(draw(distances))} >= DISTANCE(POINT({number(lon)}, {number(lat)}), {point})"


@st.composite
def simple(draw) -> str:
    column, values = draw(
        st.sampled_from(
            [
                ("id", st.one_of(st.integers(-10, 100_000), st.sampled_from([1.5, 3.0, 2**40]))),
                (
                    "mag",
                    st.one_of(
                        st.integers(0, 20), st.floats(0, 20).map(lambda x: round(x, 1)), st.sampled_from([1e300])
                    ),
                ),
                ("colour", st.one_of(st.integers(-2, 3), st.floats(-2, 3).map(lambda x: round(x, 2)))),
                ("field", st.one_of(st.integers(-10, 50), st.sampled_from([0.5, 7.0, 2**35]))),
                ("name", st.sampled_from(["", "a", "Ä", "NGC 224", "NGC", "zzz", "日", "a'b"])),
                ("seen", st.sampled_from(["1980-01-01", "1995-05-05T05:05:05", "2001-09-09T01:46:40.123"])),
            ]
        )
    )

    def literal() -> str:
        value = draw(values)
        return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)

    form = draw(
        st.sampled_from(
            ["=", "<>", "<", "<=", ">", ">=", "between", "not between", "in", "not in", "null", "not null", "mirrored"]
        )
    )
    if form == "mirrored":
        return f"{literal()} <= {column}"
    if form.endswith("null"):
        return f"{column} IS {'NOT ' if form.startswith('not') else ''}NULL"
    if form.endswith("between"):
        return f"{column} {form.upper()} {literal()} AND {literal()}"
    if form.endswith("in"):
        return f"{column} {form.upper()} ({literal()}, {literal()}, {literal()})"
    return f"{column} {form} {literal()}"


@st.composite
def conditions(draw) -> str:
    parts = draw(st.lists(st.one_of(shapes(), simple()), min_size=1, max_size=3))
    if len(parts) == 1:
        return parts[0] if draw(st.integers(0, 4)) else f"NOT ({parts[0]})"
    word = draw(st.sampled_from([" AND ", " AND ", " OR "]))
    return word.join(f"({part})" for part in parts)


ITEMS = [
    "*",
    "id, ra, dec",
    "COUNT(*) AS n",
    "name, note",
    "id, DISTANCE(ra, dec, 10, 20) AS d",
    "field, mag + 1 AS m",
    "MIN(mag) AS low, MAX(id) AS high, COUNT(colour) AS n",
]


@quick
@given(condition=conditions(), items=st.sampled_from(ITEMS))
def test_conditions(engine, relations, condition, items):
    indexed, scanned = run_with_and_without_indexes(
        engine, f"SELECT {items} FROM sky.stars WHERE {condition}", relations
    )
    assert sort_rows(indexed) == sort_rows(scanned)


@quick
@given(
    condition=st.one_of(st.none(), conditions()),
    key=st.sampled_from(["id", "mag", "colour", "field", "seen", "name"]),
    direction=st.sampled_from(["ASC", "DESC"]),
    top=st.integers(0, 50),
    offset=st.sampled_from(["", " OFFSET 3", " OFFSET 100000"]),
)
def test_order_and_top(engine, relations, condition, key, direction, top, offset):
    where = f"WHERE {condition}" if condition else ""
    # equal keys may come in any order, so only the keys are compared
    text = f"SELECT TOP {top} {key} FROM sky.stars {where} ORDER BY {key} {direction}{offset}"
    indexed, scanned = run_with_and_without_indexes(engine, text, relations)
    assert indexed == scanned


@quick
@given(
    join=st.sampled_from(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]),
    swap=st.booleans(),
    match=st.sampled_from(
        [
            "CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.lon, u.lat, {r})) = 1",
            "1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(POINT(u.lon, u.lat), {r}))",
            "CONTAINS(POINT(u.lon, u.lat), CIRCLE(s.ra, s.dec, {r})) = 1",
            "DISTANCE(POINT(s.ra, s.dec), POINT(u.lon, u.lat)) < {r}",
            "{r} >= DISTANCE(u.lon, u.lat, s.ra, s.dec)",
            "s.id = u.k",
            "s.id = u.k AND s.field > 3",
            "s.field = u.k",
        ]
    ),
    radius=st.sampled_from(["u.r", "0.02", "0", "3.5", "1e-6"]),
    where=st.sampled_from(
        ["", " WHERE s.field < 10", " WHERE u.n < 20 AND s.mag IS NOT NULL", " WHERE s.id BETWEEN 100 AND 20000"]
    ),
)
def test_joins(engine, relations, join, swap, match, radius, where):
    tables = ["sky.stars AS s", "TAP_UPLOAD.list AS u"]
    if swap:
        tables.reverse()
    text = f"SELECT u.n, s.id FROM {tables[0]} {join} {tables[1]} ON {match.format(r=radius)}{where}"
    if join == "FULL JOIN" and "=" not in match.split("CONTAINS")[0][:8] and not match.startswith("s."):
        text = text.replace("FULL JOIN", "JOIN")  # DuckDB has no full join on such a condition
    indexed, scanned = run_with_and_without_indexes(engine, text, relations)
    assert sort_rows(indexed) == sort_rows(scanned)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT u.n, s.id FROM sky.stars AS s, TAP_UPLOAD.list AS u WHERE DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.5",
        ("SELECT u.n, s.id, t.id FROM TAP_UPLOAD.list AS u JOIN sky.stars AS s ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.5 "
        "JOIN sky.stars AS t ON DISTANCE(s.ra, s.dec, t.ra, t.dec) < 0.01 WHERE u.n < 4 AND t.id < 300"),
        "SELECT a.id, b.id FROM sky.stars AS a JOIN sky.stars AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.001 AND a.id < b.id WHERE a.id < 900",
        "SELECT u.n, s.id FROM TAP_UPLOAD.list AS u LEFT JOIN sky.stars AS s ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 0.5 AND s.mag > 12",
        ("SELECT u.n, s.id FROM TAP_UPLOAD.list AS u, sky.stars AS s WHERE CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.lon, u.lat, 1)) = 1 AND "
        "CONTAINS(POINT(s.ra, s.dec), CIRCLE(10, 20, 0.01)) = 1"),
        "SELECT u.n, COUNT(*) AS c FROM TAP_UPLOAD.list AS u JOIN sky.stars AS s ON CONTAINS(POINT(s.ra, s.dec), CIRCLE(u.lon, u.lat, 2)) = 1 GROUP BY u.n HAVING COUNT(*) > 3",
        "SELECT d.id FROM (SELECT id, ra AS x, dec AS y, mag FROM sky.stars WHERE mag > 9) AS d WHERE CONTAINS(POINT(d.x, d.y), CIRCLE(10, 20, 0.02)) = 1",
        "SELECT d.id FROM (SELECT TOP 5 id, ra, dec FROM sky.stars ORDER BY id) AS d WHERE CONTAINS(POINT(d.ra, d.dec), CIRCLE(10, 20, 90)) = 1",
        "SELECT COUNT(*) AS n FROM sky.stars AS s WHERE EXISTS (SELECT 1 FROM TAP_UPLOAD.list AS u WHERE u.k = s.id) AND s.field = 3",
        "SELECT id FROM sky.stars WHERE id IN (SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.02)) = 1)",
        "SELECT id FROM sky.stars WHERE id = 30 UNION SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.01)) = 1",
        "WITH near AS (SELECT id, mag FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.02)) = 1) SELECT COUNT(*) AS n, MIN(mag) AS m FROM near",
        "SELECT s.id FROM sky.stars AS s LEFT JOIN sky.stars AS t ON s.id = t.id AND t.field = 3 WHERE s.field = 3",
        "SELECT s.id, t.id FROM sky.stars AS s LEFT JOIN sky.stars AS t ON s.id = t.id + 3 AND s.field = 3 WHERE s.id < 600",
        "SELECT s.id, t.id FROM sky.stars AS s JOIN sky.stars AS t USING (id) WHERE s.id IN (3, 6, 9)",
        "SELECT DISTINCT field FROM sky.stars WHERE mag = 10 ORDER BY field",
        "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.005)) = 0 AND id < 3000",
        "SELECT id FROM sky.stars WHERE ra BETWEEN 9 AND 11 AND dec > 19 AND dec < 21",
        "SELECT id FROM sky.stars WHERE CONTAINS(POINT(dec, ra), CIRCLE(10, 20, 1)) = 1",
    ],
)  # fmt: skip
def test_other_forms(engine, relations, text):
    indexed, scanned = run_with_and_without_indexes(engine, text, relations)
    assert sort_rows(indexed) == sort_rows(scanned)
    assert not text.startswith("SELECT u.n, s.id FROM sky") or indexed


def test_a_row_filter_holds_on_every_road(engine, relations):
    from dataclasses import replace

    from hven.site.auth._access_control import PUBLIC_SCOPE, Principal, apply_access_control

    for text in (
        "SELECT id, field FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1)) = 1",
        "SELECT COUNT(*) AS n FROM sky.stars",
        "SELECT TOP 5 id, field FROM sky.stars ORDER BY id",
        "SELECT TOP 5 id, field FROM sky.stars",
        "SELECT s.id, u.n FROM sky.stars AS s JOIN TAP_UPLOAD.list AS u ON DISTANCE(s.ra, s.dec, u.lon, u.lat) < 1",
        "SELECT id, field FROM sky.stars WHERE id IN (3, 6, 9, 12, 15, 18)",
    ):
        bound, scope = apply_access_control(
            bind_query(parse_query(text), StaticTableCatalogue([STARS, CIRCLES])), Principal(), [HalfVisiblePolicy()]
        )
        assert scope != PUBLIC_SCOPE
        prepared = engine.plan_query(bound)
        answers = []
        for indexes in (True, False):
            engine.uses_indexes = indexes
            try:
                answers.append(
                    [
                        row
                        for batch in prepared.execute(bound.literal_values, relations, ExecutionLimits())
                        for row in batch.to_pylist()
                    ]
                )
            finally:
                engine.uses_indexes = True
        assert sort_rows(answers[0]) == sort_rows(answers[1]) or "TOP 5 id, field FROM sky.stars" in text
        assert len(answers[0]) == len(answers[1])
        assert all(row["field"] > 10 for row in answers[0] if "field" in row)
        assert answers[0]
    assert replace(bound) == bound


def test_a_plan_serves_other_literals(engine, relations):
    bound, prepared = plan_query(engine, "SELECT id FROM sky.stars WHERE id = 30", (STARS,))
    (slot,) = bound.free_slots
    for value, wanted in ((30, [30]), (31, []), (33, [33])):
        values = list(bound.literal_values)
        values[slot] = value
        assert [
            row["id"] for batch in prepared.execute(values, relations, ExecutionLimits()) for row in batch.to_pylist()
        ] == wanted


@pytest.mark.parametrize(
    ("text", "small"),
    [
        ("SELECT * FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.1)) = 1", True),
        ("SELECT * FROM sky.stars WHERE id = 3", True),
        ("SELECT TOP 3 * FROM sky.stars ORDER BY mag", True),
        ("SELECT TOP 3 * FROM sky.stars", True),
        ("SELECT COUNT(*) FROM sky.stars", True),
        ("SELECT * FROM sky.stars", False),
        ("SELECT * FROM sky.stars WHERE note = 'a'", False),
        ("SELECT field, COUNT(*) FROM sky.stars GROUP BY field", False),
    ],
)
def test_small(engine, relations, text, small):
    bound, prepared = plan_query(engine, text, (STARS,))
    execution = prepared.execute(bound.literal_values, relations, ExecutionLimits())
    assert (prepared.is_quick and execution.small) is small
    execution.close()


def test_large_cones_are_not_small(engine, relations, monkeypatch):
    from hven.engines.duckdb import query_plan as roads

    monkeypatch.setattr(roads, "MAX_QUICK_ROWS", 1000)
    bound, prepared = plan_query(
        engine, "SELECT id FROM sky.stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 170)) = 1", (STARS,)
    )
    execution = prepared.execute(bound.literal_values, relations, ExecutionLimits())
    assert prepared.is_quick
    assert not execution.small
    execution.close()


def test_explain_names_the_indexes(engine):
    said = plan_query(
        engine, "SELECT id FROM sky.stars WHERE mag > 3 AND CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1)) = 1", (STARS,)
    )[1].explain()
    assert "position index (circle)" in said
    assert "index of mag" in said
    assert "SELECT" in said


def test_conditions_within_a_derived_table_are_looked_up_once(engine):
    text = "SELECT * FROM (SELECT id, name AS called FROM sky.stars WHERE mag > 3) AS s WHERE called IS NULL"
    said = plan_query(engine, text, (STARS,))[1].explain()
    assert said.count("index of mag") == 1


@pytest.mark.parametrize("position", [None, ("ra", "dec")])
def test_tables_without_key_or_position(engine, position):
    table = Table(schema="s", name="bare", columns=STARS.columns, position=position)
    relations = {"s.bare": stage_table(engine, table, build_sky(3000, seed=4))}
    for text in (
        "SELECT id FROM s.bare WHERE DISTANCE(ra, dec, 10, 20) < 0.01",
        "SELECT id FROM s.bare WHERE id = 33",
        "SELECT TOP 4 id FROM s.bare ORDER BY id",
    ):
        indexed, scanned = run_with_and_without_indexes(engine, text, relations, (table,))
        assert sort_rows(indexed) == sort_rows(scanned)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, n FROM (SELECT id, ra, dec, ROW_NUMBER() OVER (ORDER BY id) AS n FROM sky.stars) AS q WHERE DISTANCE(ra, dec, 10, 20) < 0.01 ORDER BY id",
        "SELECT id, n FROM (SELECT id, mag, COUNT(*) OVER (PARTITION BY field) AS n FROM sky.stars) AS q WHERE mag BETWEEN 3 AND 3.5 ORDER BY id",
        "SELECT id, RANK() OVER (ORDER BY mag, id) AS n FROM sky.stars WHERE DISTANCE(ra, dec, 10, 20) < 0.01 ORDER BY id",
        "SELECT TOP 5 id, COUNT(*) OVER () AS n FROM sky.stars ORDER BY mag, id",
    ],
)
def test_windows_see_all_rows_of_their_query(engine, relations, query):
    """A condition outside may not narrow what a window inside counts."""
    with_them, without = run_with_and_without_indexes(engine, query, relations)
    assert with_them == without != []


@pytest.mark.parametrize("moc", ["6/20000-20020", "3/100 5/7", "0/3", "29/0-3", "4/", "0/0-11", "7/81000-81010 8/3"])
def test_mocs_are_found_by_the_position_index(engine, relations, moc):
    for what in ("id", "COUNT(*) AS n", "id, mag + 1 AS m"):
        order = "" if "COUNT" in what else " ORDER BY id"
        for test in (f"CONTAINS(POINT(ra, dec), MOC('{moc}')) = 1", f"1 = INTERSECTS(MOC('{moc}'), POINT(ra, dec))"):
            with_them, without = run_with_and_without_indexes(
                engine, f"SELECT {what} FROM sky.stars WHERE {test}{order}", relations
            )
            assert with_them == without
    prepared = plan_query(
        engine,
        f"SELECT id, mag + 1 AS m FROM sky.stars WHERE 1 = CONTAINS(POINT(ra, dec), MOC('{moc}'))",
        (STARS, CIRCLES),
    )[1]
    assert "position index (moc)" in prepared.explain()


@pytest.mark.parametrize(
    "condition", ["colour < 1", "colour < -1.9", "colour > 1e9", "colour IS NULL", "field * 2 > 30 AND colour > 0"]
)
@pytest.mark.parametrize("window", ["", " OFFSET 7", " OFFSET 90000"])
def test_rows_without_an_order_are_the_first_as_they_are_stored(engine, relations, condition, window):
    for top in (1, 50, 5000):
        text = f"SELECT TOP {top} id, colour FROM sky.stars WHERE {condition}{window}"
        indexed, scanned = run_with_and_without_indexes(engine, text, relations)
        assert indexed == scanned


@pytest.mark.parametrize("op", ["=", "<>", "<", "<=", ">", ">="])
@pytest.mark.parametrize("text", ["'ivo://x?' || name {} 'ivo://x?NGC 224'", "'ivo://x?NGC 224' {} 'ivo://x?' || name"])
def test_what_stands_behind_a_prefix_is_compared_behind_it(engine, relations, text, op):
    some, every = run_with_and_without_indexes(engine, f"SELECT id FROM sky.stars WHERE {text.format(op)}", relations)
    assert sort_rows(some) == sort_rows(every)
    assert every
