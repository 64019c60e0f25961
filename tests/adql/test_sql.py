"""Written SQL on a real DuckDB: answers worked out by hand, plans used again with other values, and hostile names and strings."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adql_runner import get_connection, run_query, write_expression
from adql_sky import CATALOGUE, ROWS, STARS
from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.sql_writer import write_sql
from hven.adql.syntax_tree import (
    BinaryOperation,
    ColumnRef,
    Comparison,
    Ident,
    Literal,
    Query,
    Select,
    SelectItem,
    TableRef,
)
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.model.errors import ParseError
from hven.model.table import Column, Table
from hven.model.types import INT64, STRING
from shared import EXAMPLES_FACTOR

SKY = ROWS


def rows(query):
    return [tuple(row.values()) for row in run_query(query, SKY, catalogue=CATALOGUE).to_pylist()]


ANSWERS = [
    ("SELECT TOP 2 id FROM stars ORDER BY rmag DESC", [(4,), (3,)]),  # NULLs come last, descending too
    ("SELECT id FROM stars ORDER BY rmag, id OFFSET 4", [(4,), (5,)]),
    ("SELECT TOP 2 id FROM stars ORDER BY id OFFSET 3", [(4,), (5,)]),
    ("SELECT TOP 0 id FROM stars", []),
    ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.3)) ORDER BY id", [(1,), (2,)]),
    # 5 has no position
    ("SELECT id FROM stars WHERE 0 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.3)) ORDER BY id", [(3,), (4,), (6,)]),
    ("SELECT id FROM stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 0.2)) = 1", [(4,)]),  # across 0 h
    ("SELECT id FROM stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(190, 89.9, 0.3)) = 1", [(6,)]),  # across the pole
    ("SELECT COUNT(*) FROM stars WHERE CONTAINS(POINT(ra, dec), CIRCLE(0, 0, 180)) = 1", [(5,)]),
    ("SELECT id FROM stars WHERE CONTAINS(POINT(ra, dec), POLYGON(9, 19, 11, 19, 11, 21, 9, 21)) = 1 ORDER BY id", [(1,), (2,)]),
    ("SELECT id FROM stars WHERE INTERSECTS(footprint, CIRCLE(10, 20, 0.1)) = 1 ORDER BY id", [(1,), (2,)]),
    ("SELECT id FROM stars WHERE CONTAINS(POINT(ra, dec), footprint) = 1 ORDER BY id", [(1,), (2,), (4,)]),
    ("SELECT name, COUNT(*) AS n FROM stars GROUP BY name HAVING COUNT(*) > 1", [("Vega", 2)]),
    ("SELECT name, COUNT(*) AS n FROM stars GROUP BY name HAVING n > 1", [("Vega", 2)]),
    ("SELECT FLOOR(rmag / 2) AS b, COUNT(*) FROM stars GROUP BY FLOOR(rmag / 2) ORDER BY b", [(0.0, 1), (1.0, 3), (2.0, 1), (None, 1)]),
    ("SELECT FLOOR(rmag / 2), COUNT(*) FROM stars GROUP BY 1 ORDER BY 1", [(0.0, 1), (1.0, 3), (2.0, 1), (None, 1)]),
    ("SELECT COUNT(*), COUNT(rmag), COUNT(DISTINCT name), SUM(flag), AVG(flag), MIN(name), MAX(seen) FROM stars WHERE id < 5", None),
    ("SELECT SUM(flag * flag) FROM stars", [(200 * 200 + 100 * 100 + 1 + 255 * 255,)]),  # no overflow of a byte
    ("SELECT id FROM stars WHERE flag - 150 < 0 ORDER BY id", [(2,), (3,), (4,)]),
    ("SELECT CAST(0.1 AS REAL) + 1, 3 * (CAST(0.1 AS REAL) - id) FROM stars WHERE id = 1", [(1.1000000014901161, -2.6999999955296516)]),  # in DOUBLE
    ("SELECT COALESCE(CAST(NULL AS REAL), id + 16777216), CASE WHEN id = 1 THEN id + 16777216 ELSE rmag END FROM stars WHERE id = 1", [(16777217.0, 16777217.0)]),
    ("SELECT GREATEST(CAST(1 AS REAL), id + 16777216), LEAST(CAST(2e7 AS REAL), id + 16777216) FROM stars WHERE id = 1", [(16777217.0, 16777217.0)]),
    ("SELECT flag / 7, id / 4 FROM stars WHERE id = 6", [(36, 1)]),
    ("SELECT s.id, p.flux FROM stars AS s LEFT JOIN photometry AS p ON s.id = p.id AND p.flux > 3 WHERE s.id < 3 ORDER BY 1", [(1, 5.0), (2, None)]),
    ("SELECT id, flux FROM stars RIGHT JOIN photometry USING (id) ORDER BY id, flux", [(1, 1.0), (1, 5.0), (2, 2.0), (7, 9.0)]),
    ("SELECT id FROM stars FULL JOIN photometry USING (id) WHERE flux IS NULL OR rmag IS NULL ORDER BY id", [(3,), (4,), (5,), (6,), (7,)]),
    ('SELECT id, "Name" FROM (SELECT id, ra FROM stars) AS s NATURAL JOIN labels ORDER BY id', [(1, "alf CMa"), (3, "alf Cyg")]),
    ("SELECT a.id FROM stars AS a JOIN stars AS b USING (name) WHERE a.id <> b.id ORDER BY a.id", [(2,), (6,)]),
    ("SELECT id FROM stars, stars WHERE 1 = 2", None),
    ("SELECT id FROM stars AS s WHERE EXISTS (SELECT * FROM photometry AS p WHERE p.id = s.id AND p.flux > s.rmag) ORDER BY id", [(1,)]),
    ("SELECT id FROM stars WHERE rmag < (SELECT AVG(rmag) FROM stars) ORDER BY id", [(1,), (2,), (6,)]),
    ("SELECT id FROM stars WHERE id IN (SELECT id FROM photometry) ORDER BY id", [(1,), (2,)]),
    ("SELECT id FROM stars WHERE id NOT IN (1, 2, 3)  ORDER BY id", [(4,), (5,), (6,)]),
    ("SELECT id FROM stars UNION SELECT id FROM photometry ORDER BY id DESC", [(7,), (6,), (5,), (4,), (3,), (2,), (1,)]),
    ("SELECT id FROM photometry UNION ALL SELECT id FROM labels ORDER BY id", [(1,), (1,), (1,), (2,), (3,), (7,)]),
    ("SELECT id FROM photometry EXCEPT SELECT id FROM labels ORDER BY id", [(2,), (7,)]),
    ("SELECT id FROM photometry INTERSECT SELECT id FROM labels", [(1,)]),
    ("SELECT id FROM stars EXCEPT SELECT id FROM stars INTERSECT SELECT id FROM photometry ORDER BY id", [(3,), (4,), (5,), (6,)]),
    ("SELECT id FROM labels UNION (SELECT TOP 1 id FROM photometry ORDER BY flux DESC) ORDER BY id", [(1,), (3,), (7,)]),
    ("WITH p AS (SELECT id, MAX(flux) AS f FROM photometry GROUP BY id), q AS (SELECT id FROM p WHERE f > 2) SELECT * FROM q ORDER BY id", [(1,), (7,)]),
    ("SELECT id, label FROM bright ORDER BY id", [(1, "Sirius (bright)"), (2, "Vega (bright)"), (6, "Vega (bright)")]),
    ("SELECT id FROM stars WHERE seen BETWEEN '2020-01-01' AND '2020-12-31T23:59:59' ORDER BY id", [(1,), (3,), (6,)]),
    ("SELECT id FROM stars WHERE seen < '2000-01-01T00:00:00Z'", [(5,)]),
    ("SELECT id FROM stars WHERE variable = 1 ORDER BY id", [(1,), (4,), (6,)]),
    ("SELECT id FROM stars WHERE variable <> 'true' ORDER BY id", [(2,), (5,)]),
    ("SELECT id FROM stars WHERE name LIKE '_e%' ORDER BY id", [(2,), (3,), (6,)]),
    ("SELECT id FROM stars WHERE name LIKE 'V%' AND name NOT ILIKE 'VEG_'", []),
    ("SELECT id FROM stars WHERE name = 'Deneb''s' OR name = 'A\"b' ORDER BY id", [(3,), (4,)]),
    ("SELECT id FROM stars WHERE NOT (rmag > 2) ORDER BY id", [(1,), (6,)]),
    ("SELECT DISTINCT name FROM stars ORDER BY name", [('A"b',), ("Deneb's",), ("Sirius",), ("Vega",), (None,)]),
    ("SELECT ivo_string_agg(name, '+') FROM stars WHERE id > 2 AND id < 6 AND name > 'B'", [("Deneb's",)]),
    ('SELECT "odd ""one""" FROM labels ORDER BY 1', [("x",), ("y",)]),
    ("SELECT CASE WHEN rmag < 2 THEN 'a' WHEN rmag < 3 THEN 'b' END AS k, id FROM stars WHERE id < 4 ORDER BY id", [("a", 1), ("b", 2), (None, 3)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [pair for pair in ANSWERS if pair[1] is not None],
    ids=[pair[0] for pair in ANSWERS if pair[1] is not None],
)
def test_answer(query, expected):
    assert rows(query) == expected


def test_aggregates_of_every_kind():
    import datetime as dt

    (got,) = rows(
        "SELECT COUNT(*), COUNT(rmag), COUNT(DISTINCT name), SUM(flag), AVG(flag), MIN(name), MAX(seen) FROM stars"
    )
    assert got == (6, 5, 4, 556, pytest.approx(111.2), 'A"b', dt.datetime(2021, 5, 1))


def test_rand_is_another_number_in_each_row():
    numbers = [row[0] for row in rows("SELECT RAND() FROM stars")]
    assert len(set(numbers)) > 1
    assert all(0 <= number < 1 for number in numbers)


# --- a plan used again with other values gives what a new plan would

SHAPES = [
    ("SELECT TOP {n} id, rmag + {x} AS m FROM stars WHERE rmag < {y} ORDER BY id OFFSET {k}", "n y x k"),
    ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({x}, {y}, {z})) ORDER BY id", "x y z"),
    ("SELECT name, COUNT(*) AS n, MAX(rmag * {x}) AS m FROM stars WHERE id IN ({n}, {k}, 1) GROUP BY name HAVING COUNT(*) > 0 ORDER BY name", "x n k"),
    ("SELECT id FROM stars WHERE DISTANCE(ra, dec, {x}, {y}) < {z} OR name = '{s}' ORDER BY id", "x y z s"),
    ("SELECT id / {n} AS a, '{s}' || name AS b FROM stars ORDER BY id", "n s"),
    ("SELECT id, flux FROM stars JOIN photometry USING (id) WHERE flux BETWEEN {x} AND {y} AND stars.name LIKE '{s}%' ORDER BY id, flux", "x y s"),
]  # fmt: skip
values = st.fixed_dictionaries({
    "n": st.integers(1, 5), "k": st.integers(0, 3), "x": st.floats(0, 12).map(lambda x: round(x, 3)), "y": st.floats(0, 30).map(lambda x: round(x, 3)),
    "z": st.floats(0, 200).map(lambda x: round(x, 3)), "s": st.text(alphabet="VegaSir%_ '", max_size=4).map(lambda s: s.replace("'", "''")),
})  # fmt: skip


def decimal(given):
    return {key: f"{value:.6f}" if isinstance(value, float) else value for key, value in given.items()}


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(st.sampled_from([shape for shape, _ in SHAPES]), values, values)
def test_a_plan_can_be_used_again(shape, first, second):
    con = get_connection().cursor()
    names = {}
    for number, (table, data) in enumerate(SKY):
        con.register(f"again_{number}", data)
        names[table.qualified_name] = f"again_{number}"
    old, new = (bind_query(parse_query(shape.format(**decimal(values))), CATALOGUE) for values in (first, second))
    plan, fresh = write_sql(old, DuckDBDialect(), names), write_sql(new, DuckDBDialect(), names)
    assert plan == fresh
    assert old.free_slots == new.free_slots
    assert [old.literal_values[slot] for slot in range(len(old.literal_values)) if slot not in old.free_slots] == [
        new.literal_values[slot] for slot in range(len(new.literal_values)) if slot not in new.free_slots
    ]
    inline = write_sql(
        bind_query(remove_slots(parse_query(shape.format(**decimal(second)))), CATALOGUE), DuckDBDialect(), names
    )
    assert inline.parameter_slots == ()
    got = con.execute(plan.sql, [new.literal_values[slot] for slot in plan.parameter_slots]).fetchall()
    assert got == con.execute(inline.sql).fetchall()


def remove_slots(node):
    """Copy a tree as a program would have built it: literals without slots."""
    from dataclasses import fields, replace

    if isinstance(node, tuple):
        return tuple(remove_slots(item) for item in node)
    if isinstance(node, Literal):
        return replace(node, slot=-1)
    if hasattr(node, "__dataclass_fields__") and type(node).__module__ == "hven.adql.syntax_tree":
        return replace(
            node, **{item.name: remove_slots(getattr(node, item.name)) for item in fields(node) if item.init}
        )
    return node


# --- hostile names and strings are data

hostile = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["'; DROP TABLE victim; --", '"; DROP TABLE victim; --', "\\'; DROP TABLE victim; --", "$1", "?", "%s", "{0}", "{*}", "/* */ --", "a\0b", "'", '"', "''", "\\", "\u2019; DROP", "E'\\''"]),
)  # fmt: skip


VICTIM = duckdb.connect()
VICTIM.execute("CREATE TABLE victim AS SELECT 1 AS x")


def quote_text(text):
    return "'" + text.replace("'", "''") + "'"


@settings(max_examples=80 * EXAMPLES_FACTOR, deadline=None)
@given(hostile, hostile)
def test_strings_stay_strings(one, two):
    """As parameters (from a query) and inline (from a program), in every place where a string may stand."""
    con = VICTIM.cursor()
    table = Table(schema="s", name="t", columns=(Column(name="x", type=INT64),))
    names = {"s.t": "(SELECT 1 AS x)"}
    made = Query(
        Select(
            (
                SelectItem(Literal(one)),
                SelectItem(BinaryOperation("||", Literal(one), Literal(two))),
                SelectItem(Comparison("=", Literal(one), Literal(two))),
            ),
            TableRef((Ident("t"),)),
        )
    )
    bound = bind_query(made, StaticTableCatalogue([table]))
    assert con.execute(write_sql(bound, DuckDBDialect(), names).sql).fetchall() == [(one, one + two, one == two)]
    if "\0" in one + two:
        with pytest.raises(ParseError):  # no text may hold NUL
            parse_query(f"SELECT {quote_text(one)}, {quote_text(two)} FROM t")
        return
    tree = parse_query(
        f"SELECT {quote_text(one)}, LOWER({quote_text(one)}) || {quote_text(two)} AS b FROM t WHERE {quote_text(one)} LIKE {quote_text(one)} OR 1 = 1"
    )
    bound = bind_query(tree, StaticTableCatalogue([table]))
    written = write_sql(bound, DuckDBDialect(), names)
    assert len(one) < 4 or one not in written.sql
    (got,) = con.execute(written.sql, [bound.literal_values[slot] for slot in written.parameter_slots]).fetchall()
    assert got[0] == one
    assert con.execute("SELECT x FROM victim").fetchall() == [(1,)]


@settings(max_examples=80 * EXAMPLES_FACTOR, deadline=None)
@given(
    hostile.filter(lambda text: "\0" not in text and text.strip() != ""),
    hostile.filter(lambda text: "\0" not in text and text.strip() != ""),
)
def test_names_stay_names(name, alias):
    """Stored column names, aliases, table aliases and names of WITH that hold anything."""
    con = VICTIM.cursor()
    table = Table(schema="s", name="t", columns=(Column(name=name, type=STRING),))
    names = {"s.t": f"(SELECT 'value' AS {DuckDBDialect().quote_identifier(name)})"}
    ident, other = Ident(name, quoted=True), Ident(alias, quoted=True)
    inner = Query(Select((SelectItem(ColumnRef(ident), alias=other),), TableRef((Ident("t"),), alias=other)))
    from hven.adql.syntax_tree import CommonTableExpression, DerivedTable

    made = Query(
        Select(
            (SelectItem(ColumnRef(other, (other,)), alias=ident),),
            DerivedTable(Query(Select((SelectItem(ColumnRef(other)),), TableRef((other,)))), other),
        ),
        ctes=(CommonTableExpression(other, inner),),
    )
    bound = bind_query(made, StaticTableCatalogue([table]))
    answer = con.execute(write_sql(bound, DuckDBDialect(), names).sql).to_arrow_table()
    assert answer.column_names == [name]
    assert answer.column(0).to_pylist() == ["value"]
    assert con.execute("SELECT x FROM victim").fetchall() == [(1,)]


@settings(max_examples=200 * EXAMPLES_FACTOR, deadline=None)
@given(st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70)))
def test_numbers_are_written_with_every_bit(number):
    sql = DuckDBDialect().write_number(number)
    (got,) = duckdb.sql(f"SELECT {sql}").fetchone()
    assert got == number or (isinstance(number, int) and got == float(number))


def test_templates_do_not_read_their_arguments():
    """Braces in names and strings are no placeholders of a function's template."""
    table = Table(schema="s", name="t", columns=(Column(name="{0}", type=STRING), Column(name="{*}", type=STRING)))
    data = pa.table({"{0}": ["a"], "{*}": ["b"]})
    got = run_query(
        'SELECT COALESCE("{0}", "{*}") || LOWER(\'{1}\') || ivo_hashlist_has("{0}", \'a\') AS x FROM s.t'.replace(
            "|| ivo_hashlist_has(\"{0}\", 'a')", ""
        ),
        [(table, data)],
    )
    assert got["x"].to_pylist() == ["a{1}"]


def test_long_chains():
    """A thousand links are walked, not descended into; what DuckDB itself takes is another matter."""
    terms = 250
    assert rows("SELECT " + " + ".join(["id"] * terms) + " AS x FROM stars WHERE id = 2") == [(2 * terms,)]
    assert len(rows(" UNION ALL ".join(["SELECT id FROM stars"] * 200))) == 1200
    assert sorted(rows(" UNION ".join(["SELECT id FROM stars"] * 100))) == [(n,) for n in range(1, 7)]
    assert len(rows("SELECT id FROM stars WHERE " + " OR ".join(f"id = {n}" for n in range(1000)))) == 6
    assert len(rows("SELECT id FROM stars WHERE id IN (" + ", ".join(map(str, range(3000))) + ")")) == 6


def test_expressions_alone():
    from hven.adql import bind_expression, parse_expression

    assert (
        write_expression(bind_expression(parse_expression("rmag * 2 - 1.5"), STARS.columns), DuckDBDialect())
        == '((CAST(t0."rmag" AS DOUBLE) * 2) - 1.5e0)'
    )


def test_no_text_is_made_to_see_whether_it_is_null():
    from hven.adql import bind_expression, parse_expression

    def written(text: str) -> str:
        return write_expression(bind_expression(parse_expression(text), STARS.columns), DuckDBDialect())

    for text in ("name", "'a' || name", "'a' || name || 'b'"):
        assert (
            written(f"CASE WHEN {text} IS NULL THEN 1 ELSE 0 END") == 'CASE WHEN (t0."name" IS NULL) THEN 1 ELSE 0 END'
        )
    assert written("CASE WHEN name || name IS NOT NULL THEN 1 ELSE 0 END").count('t0."name"') > 1
    assert rows("SELECT id FROM stars WHERE 'a' || name IS NULL") == rows("SELECT id FROM stars WHERE name IS NULL")
