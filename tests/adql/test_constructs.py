"""Each construct of ADQL 2.1, the declared extensions, and what other services get wrong: a query, and its answer by hand.

The rows are those of `adql_sky`: six stars, four fluxes, two labels. NULLs come last.
"""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from adql_runner import run_query
from adql_sky import CATALOGUE, ROWS
from hven.adql import bind_query, parse_query
from hven.adql.adql_writer import write_adql
from hven.adql.scope import StaticTableCatalogue
from hven.model.table import Column, Table
from hven.model.types import INT16, INT64, STRING

CONSTRUCTS: dict[str, tuple[str, list]] = {
    # --- SELECT
    "all columns": ("SELECT * FROM photometry WHERE id = 7", [(7, 9.0, 4)]),
    "columns of one table": ("SELECT p.* FROM stars AS s JOIN photometry AS p ON s.id = p.id WHERE s.id = 2", [(2, 2.0, 3)]),
    "DISTINCT": ("SELECT DISTINCT name FROM stars WHERE id IN (2, 6)", [("Vega",)]),
    "ALL": ("SELECT ALL name FROM stars WHERE id IN (2, 6)", [("Vega",), ("Vega",)]),
    "TOP": ("SELECT TOP 2 id FROM stars ORDER BY id", [(1,), (2,)]),
    "DISTINCT TOP": ("SELECT DISTINCT TOP 1 name FROM stars ORDER BY name", [('A"b',)]),
    "alias with AS": ("SELECT id AS n FROM stars WHERE id = 1", [(1,)]),
    "alias without AS": ("SELECT id n FROM stars s WHERE s.id = 1", [(1,)]),
    "alias in double quotes": ('SELECT id AS "the number" FROM stars WHERE id = 1 ORDER BY "the number"', [(1,)]),
    "qualified names": ("SELECT sky.stars.id, stars.ra FROM sky.stars WHERE sky.stars.id = 1", [(1, 10.0)]),
    "no FROM": ("SELECT 1 + 1, 'a'", [(2, "a")]),
    "star among columns": ("SELECT id AS n, * FROM photometry WHERE id = 7", [(7, 7, 9.0, 4)]),
    "semicolon": ("SELECT id FROM stars WHERE id = 1;", [(1,)]),
    # --- lexical
    "comments": ("SELECT id -- the 'number', \"x\n  FROM stars --\n WHERE id = 1 -- end", [(1,)]),
    "keywords in any case": ("sElEcT id fRoM stars wHeRe id = 1", [(1,)]),
    "names in any case": ("SELECT ID, Stars.RA FROM STARS WHERE Id = 1", [(1, 10.0)]),
    "delimited names": ('SELECT "id", "Name" FROM labels WHERE "id" = 1', [(1, "alf CMa")]),
    "doubled quotes in names": ('SELECT "odd ""one""" FROM labels WHERE id = 3', [("y",)]),
    "doubled quotes in strings": ("SELECT id FROM stars WHERE name = 'Deneb''s'", [(3,)]),
    "strings with double quotes": ("SELECT id FROM stars WHERE name = 'A\"b'", [(4,)]),
    "comment signs in strings": ("SELECT '-- no comment' AS s, '/* nor this */' AS t", [("-- no comment", "/* nor this */")]),
    "the empty string": ("SELECT id FROM stars WHERE name || '' = 'Sirius'", [(1,)]),
    "numbers of every form": ("SELECT 12, 12., 12.5, .5, 1e3, 1.5E-2, 2E+1", [(12, 12.0, 12.5, 0.5, 1000.0, 0.015, 20.0)]),
    "hexadecimal": ("SELECT 0x1F, 0XffFF, -0x10", [(31, 65535, -16)]),
    "signs": ("SELECT -id, +id, -(-id), 3 - -id FROM stars WHERE id = 2", [(-2, 2, 2, 5)]),
    "line ends of Windows": ("SELECT id\r\nFROM stars\r\nWHERE id = 1", [(1,)]),
    # --- conditions
    "comparisons": ("SELECT id FROM stars WHERE rmag >= 1.5 AND rmag <= 3.5 AND rmag <> 2.5 AND rmag != 2 AND rmag < 9 AND rmag > 0 ORDER BY id", [(1,), (3,)]),
    "AND binds before OR": ("SELECT id FROM stars WHERE id = 1 OR id = 2 AND ra > 300 ORDER BY id", [(1,)]),
    "NOT": ("SELECT id FROM stars WHERE NOT (id > 1) AND NOT id = 7", [(1,)]),
    "BETWEEN": ("SELECT id FROM stars WHERE id BETWEEN 2 AND 3 AND id NOT BETWEEN 3 AND 9", [(2,)]),
    "IN a list": ("SELECT id FROM stars WHERE id IN (1, 1 + 1) AND name NOT IN ('Vega')", [(1,)]),
    "IN a query": ("SELECT id FROM stars WHERE id IN (SELECT id FROM photometry) ORDER BY id", [(1,), (2,)]),
    "NOT IN a query": ("SELECT id FROM photometry WHERE id NOT IN (SELECT id FROM stars)", [(7,)]),
    "LIKE": ("SELECT id FROM stars WHERE name LIKE 'V_g%' AND name NOT LIKE 'v%' ORDER BY id", [(2,), (6,)]),
    "LIKE heeds case": ("SELECT id FROM stars WHERE name LIKE 'vega'", []),
    "ILIKE": ("SELECT id FROM stars WHERE name ILIKE 'sIR%' OR name NOT ILIKE '%E%' ORDER BY id", [(1,), (4,)]),
    "ILIKE beyond ASCII": ("SELECT CASE WHEN 'ÉTOILE Ω' ILIKE 'étoile ω' THEN 1 ELSE 0 END", [(1,)]),
    "IS NULL": ("SELECT id FROM stars WHERE ra IS NULL AND name IS NULL AND id IS NOT NULL", [(5,)]),
    "EXISTS": ("SELECT s.id FROM stars AS s WHERE EXISTS (SELECT * FROM photometry AS p WHERE p.id = s.id AND p.flux > 4)", [(1,)]),
    "NOT EXISTS": ("SELECT p.id FROM photometry AS p WHERE NOT EXISTS (SELECT 1 FROM stars AS s WHERE s.id = p.id)", [(7,)]),
    "a scalar subquery in a comparison": ("SELECT id FROM stars WHERE rmag = (SELECT MIN(rmag) FROM stars)", [(1,)]),
    "a correlated scalar subquery": ("SELECT id, (SELECT MAX(flux) FROM photometry AS p WHERE p.id = s.id) AS f FROM stars AS s WHERE id < 4 ORDER BY id", [(1, 5.0), (2, 2.0), (3, None)]),
    "a scalar subquery on the left": ("SELECT id FROM stars AS s WHERE (SELECT COUNT(*) FROM photometry AS p WHERE p.id = s.id) > 1", [(1,)]),
    "a scalar subquery in arithmetic": ("SELECT id + (SELECT MAX(id) FROM photometry) FROM stars WHERE id = 1", [(8,)]),
    "a scalar subquery without rows": ("SELECT id FROM stars WHERE rmag < (SELECT MIN(flux) FROM photometry WHERE flux < 0)", []),
    # --- FROM
    "tables with a comma": ("SELECT COUNT(*) FROM stars, photometry", [(24,)]),
    "CROSS JOIN": ("SELECT COUNT(*) FROM stars CROSS JOIN photometry", [(24,)]),
    "INNER JOIN": ("SELECT s.id, p.flux FROM stars AS s INNER JOIN photometry AS p ON s.id = p.id ORDER BY flux", [(1, 1.0), (2, 2.0), (1, 5.0)]),
    "JOIN without a condition": ("SELECT COUNT(*) FROM stars JOIN photometry", [(24,)]),
    "LEFT JOIN": ("SELECT s.id, p.flux FROM stars AS s LEFT JOIN photometry AS p ON s.id = p.id WHERE s.id > 1 AND s.id < 4 ORDER BY s.id", [(2, 2.0), (3, None)]),
    "LEFT OUTER JOIN": ("SELECT COUNT(*) FROM stars AS s LEFT OUTER JOIN photometry AS p ON s.id = p.id", [(7,)]),
    "RIGHT JOIN": ("SELECT s.id, p.id FROM stars AS s RIGHT JOIN photometry AS p ON s.id = p.id WHERE p.id > 1 ORDER BY 2", [(2, 2), (None, 7)]),
    "FULL OUTER JOIN": ("SELECT COUNT(*) FROM stars AS s FULL OUTER JOIN photometry AS p ON s.id = p.id", [(8,)]),
    "USING": ("SELECT id, flux FROM stars JOIN photometry USING (id) WHERE flux < 3 ORDER BY id", [(1, 1.0), (2, 2.0)]),
    "FULL JOIN with USING": ("SELECT id FROM stars FULL JOIN photometry USING (id) ORDER BY id", [(1,), (1,), (2,), (3,), (4,), (5,), (6,), (7,)]),
    "NATURAL JOIN": ("SELECT * FROM (SELECT id, ra FROM stars) AS a NATURAL JOIN (SELECT id, flux FROM photometry) AS b WHERE flux > 1 ORDER BY id", [(1, 10.0, 5.0), (2, 10.2, 2.0)]),
    "NATURAL LEFT JOIN": ("SELECT COUNT(*) FROM (SELECT id FROM stars) AS a NATURAL LEFT JOIN (SELECT id, flux FROM photometry) AS b", [(7,)]),
    "joins in parentheses": ("SELECT COUNT(*) FROM (stars AS s JOIN photometry AS p ON s.id = p.id) JOIN labels AS l ON l.id = s.id", [(2,)]),
    "joins in a row": ('SELECT l."Name", flux FROM stars AS s JOIN photometry AS p ON s.id = p.id JOIN labels AS l ON l.id = s.id ORDER BY flux', [("alf CMa", 1.0), ("alf CMa", 5.0)]),
    "a table with itself": ("SELECT a.id, b.id FROM stars AS a, stars AS b WHERE a.name = b.name AND a.id < b.id", [(2, 6)]),
    "a query in FROM": ("SELECT q.n FROM (SELECT COUNT(*) AS n FROM stars) AS q", [(6,)]),
    "a query in FROM with ORDER and TOP": ("SELECT SUM(id) FROM (SELECT TOP 2 id FROM stars ORDER BY id DESC) AS q", [(11,)]),
    # --- groups and order
    "GROUP BY": ("SELECT id, COUNT(*) AS n, SUM(flux) FROM photometry GROUP BY id ORDER BY id", [(1, 2, 6.0), (2, 1, 2.0), (7, 1, 9.0)]),
    "GROUP BY an expression": ("SELECT MOD(id, 2) AS odd, COUNT(*) FROM stars GROUP BY MOD(id, 2) ORDER BY odd", [(0, 3), (1, 3)]),
    "GROUP BY an alias": ("SELECT MOD(id, 2) AS odd, COUNT(*) FROM stars GROUP BY odd ORDER BY odd", [(0, 3), (1, 3)]),
    "HAVING": ("SELECT id FROM photometry GROUP BY id HAVING COUNT(*) > 1 AND MAX(flux) > 4", [(1,)]),
    "a case of nulls with an aggregate": ("SELECT CASE WHEN MAX(id) > 1 THEN NULL END FROM stars", [(None,)]),
    "aggregates of nothing": ("SELECT COUNT(*), COUNT(ra), SUM(ra), MAX(name) FROM stars WHERE id > 99", [(0, 0, None, None)]),
    "COUNT DISTINCT": ("SELECT COUNT(DISTINCT name), COUNT(name), COUNT(*) FROM stars", [(4, 5, 6)]),
    "MIN, MAX, AVG of numbers, strings, times": ("SELECT MIN(name), MAX(seen), AVG(id) FROM stars", [('A"b', dt.datetime(2021, 5, 1), 3.5)]),
    "ORDER BY several": ("SELECT id FROM stars ORDER BY name DESC, id DESC", [(6,), (2,), (1,), (3,), (4,), (5,)]),
    "ORDER BY a position": ("SELECT name, id FROM stars WHERE id < 3 ORDER BY 2 DESC", [("Vega", 2), ("Sirius", 1)]),
    "ORDER BY an expression": ("SELECT id FROM stars WHERE ra IS NOT NULL ORDER BY ABS(dec), id", [(4,), (1,), (2,), (3,), (6,)]),
    "ORDER BY a column that is not selected": ("SELECT name FROM stars WHERE id < 3 ORDER BY rmag DESC", [("Vega",), ("Sirius",)]),
    "OFFSET": ("SELECT TOP 2 id FROM stars ORDER BY id OFFSET 3", [(4,), (5,)]),
    # --- sets
    "UNION": ("SELECT name FROM stars WHERE id IN (2, 6) UNION SELECT name FROM stars WHERE id = 1 ORDER BY name", [("Sirius",), ("Vega",)]),
    "UNION ALL": ("SELECT name FROM stars WHERE id IN (2, 6) UNION ALL SELECT name FROM stars WHERE id = 1 ORDER BY 1", [("Sirius",), ("Vega",), ("Vega",)]),
    "INTERSECT": ("SELECT id FROM stars INTERSECT SELECT id FROM photometry ORDER BY id", [(1,), (2,)]),
    "INTERSECT ALL": ("SELECT id FROM photometry INTERSECT ALL SELECT id FROM photometry WHERE flux < 3 ORDER BY 1", [(1,), (2,)]),
    "EXCEPT": ("SELECT id FROM photometry EXCEPT SELECT id FROM stars", [(7,)]),
    "EXCEPT ALL": ("SELECT id FROM photometry EXCEPT ALL SELECT 1 FROM stars WHERE id = 1 ORDER BY 1", [(1,), (2,), (7,)]),
    "INTERSECT binds before UNION": ("SELECT 9 AS n UNION SELECT id FROM stars INTERSECT SELECT id FROM photometry ORDER BY n", [(1,), (2,), (9,)]),
    "sets with ORDER BY and OFFSET": ("SELECT id FROM stars UNION SELECT id FROM photometry ORDER BY id DESC OFFSET 5", [(2,), (1,)]),
    "sets in parentheses with TOP": ("(SELECT TOP 1 id FROM stars ORDER BY id DESC) UNION ALL (SELECT TOP 1 id FROM photometry ORDER BY id) ORDER BY id", [(1,), (6,)]),
    "a set in FROM": ("SELECT COUNT(*) FROM (SELECT id FROM stars UNION SELECT id FROM photometry) AS q", [(7,)]),
    # --- WITH
    "WITH": ("WITH q AS (SELECT id, flux FROM photometry WHERE flux > 1) SELECT COUNT(*) FROM q", [(3,)]),
    "WITH several, one reading the other": ("WITH a AS (SELECT id FROM stars), b AS (SELECT id FROM a WHERE id > 4) SELECT * FROM b ORDER BY id", [(5,), (6,)]),
    "WITH RECURSIVE": ("WITH RECURSIVE n AS (SELECT 1 AS k UNION ALL SELECT k + 1 FROM n WHERE k < 4) SELECT SUM(k) FROM n", [(10,)]),
    # --- values
    "CASE": ("SELECT CASE WHEN rmag < 2 THEN 'bright' WHEN rmag < 3 THEN 'middle' ELSE 'faint' END FROM stars ORDER BY id", [("bright",), ("middle",), ("faint",), ("faint",), ("faint",), ("middle",)]),
    "CASE of a value": ("SELECT CASE id WHEN 1 THEN 'one' WHEN 2 THEN 'two' END FROM stars WHERE id < 4 ORDER BY id", [("one",), ("two",), (None,)]),
    "COALESCE": ("SELECT COALESCE(rmag, 99) FROM stars WHERE id IN (4, 5) ORDER BY id", [(4.5,), (99.0,)]),
    "||": ("SELECT name || ' ' || CAST(id AS VARCHAR) FROM stars WHERE id < 3 ORDER BY id", [("Sirius 1",), ("Vega 2",)]),
    "CAST to every type": ("SELECT CAST('12' AS SMALLINT), CAST('12' AS INTEGER), CAST(12.6 AS BIGINT), CAST('1.5' AS REAL), CAST(1 AS DOUBLE PRECISION), CAST('abc' AS CHAR(2)), CAST(12 AS VARCHAR(1)), CAST(1 AS CHAR)", [(12, 12, 13, 1.5, 1.0, "ab", "1", "1")]),
    "CAST AS VARCHAR": ("SELECT CAST(id AS VARCHAR), CAST(ra AS VARCHAR), CAST(rmag AS VARCHAR), CAST(variable AS VARCHAR) FROM stars WHERE id = 1", [("1", "10.0", "1.5", "true")]),
    "CAST of times": ("SELECT CAST(seen AS VARCHAR), CAST('2020-05-01T00:00:00' AS TIMESTAMP) FROM stars WHERE id = 1", [("2020-05-01T00:00:00", dt.datetime(2020, 5, 1))]),
    "times compared": ("SELECT id FROM stars WHERE seen > '2020-12-31' AND seen <= '2021-05-01T00:00:00Z' ORDER BY id", [(2,), (3,)]),
    "times BETWEEN": ("SELECT id FROM stars WHERE seen BETWEEN '2020-01-01' AND CAST('2020-05-01' AS TIMESTAMP) ORDER BY id", [(1,), (6,)]),
    "LOWER and UPPER": ("SELECT LOWER(name), UPPER('straße Ä ω') FROM stars WHERE id = 1", [("sirius", "STRAẞE Ä Ω")]),
    "IN_UNIT": ("SELECT IN_UNIT(ra, 'arcmin'), IN_UNIT(dec, 'deg') FROM stars WHERE id = 1", [(600.0, 20.0)]),
    "arithmetic": ("SELECT 2 + 3 * 4 - 6 / 4, (2 + 3) * 4, 7 % 4, 7 / 2.0", [(13, 20, 3, 3.5)]),
    "bitwise operators": ("SELECT flag & 8, flag | 1, flag ^ 255, ~id, 5 & 3 | 8 FROM stars WHERE id = 1", [(8, 201, 55, -2, 9)]),
    "truth values": ("SELECT id FROM stars WHERE variable = TRUE AND id > 1 ORDER BY id", [(4,), (6,)]),
    "NULL": ("SELECT NULL AS x, 1 + NULL FROM stars WHERE id = 1", [(None, None)]),
    # --- windows, arrays
    "OVER": ("SELECT id, RANK() OVER (ORDER BY id DESC) FROM photometry WHERE id > 1 ORDER BY id", [(2, 2), (7, 1)]),
    "OVER PARTITION BY": ("SELECT id, flux, ROW_NUMBER() OVER (PARTITION BY id ORDER BY flux DESC) FROM photometry WHERE id = 1 ORDER BY flux", [(1, 1.0, 2), (1, 5.0, 1)]),
    "frames": ("SELECT SUM(flux) OVER (ORDER BY flux ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM photometry ORDER BY flux", [(1.0,), (3.0,), (7.0,), (14.0,)]),
    "named windows": ("SELECT MIN(flux) OVER w, MAX(flux) OVER w FROM photometry WHERE id < 3 WINDOW w AS (PARTITION BY id) ORDER BY 1", [(1.0, 5.0), (1.0, 5.0), (2.0, 2.0)]),
    "elements": ("SELECT ivo_histogram(id, 0, 8, 2)[2], arr_sum(ivo_histogram(id, 0, 8, 2)) FROM stars", [(3, 6)]),
    # --- geometry
    "POINT": ("SELECT POINT(ra, dec), POINT('ICRS', ra, dec) FROM stars WHERE id = 1", [([10.0, 20.0], [10.0, 20.0])]),
    "CIRCLE": ("SELECT CIRCLE(ra, dec, 1), CIRCLE(POINT(ra, dec), 1) FROM stars WHERE id = 1", [([10.0, 20.0, 1.0], [10.0, 20.0, 1.0])]),
    "CONTAINS": ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1)) ORDER BY id", [(1,), (2,)]),
    "CONTAINS is 0": ("SELECT id FROM stars WHERE CONTAINS(POINT(ra, dec), CIRCLE('ICRS', 10, 20, 1)) = 0 ORDER BY id", [(3,), (4,), (6,)]),
    "CONTAINS as a value": ("SELECT SUM(CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 1))) FROM stars", [(2,)]),
    "INTERSECTS": ("SELECT INTERSECTS(CIRCLE(0, 0, 2), CIRCLE(3, 0, 2)), INTERSECTS(CIRCLE(0, 0, 1), POLYGON(5, 5, 6, 5, 6, 6))", [(1, 0)]),
    "DISTANCE": ("SELECT id FROM stars WHERE DISTANCE(POINT(ra, dec), POINT(10, 20)) < 1 AND DISTANCE(ra, dec, 10, 20) >= 0 ORDER BY id", [(1,), (2,)]),
    "BOX": ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), BOX('ICRS', 10, 20, 1, 1)) ORDER BY id", [(1,), (2,)]),
    "POLYGON": ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(9, 19, 11, 19, 11, 21, 9, 21)) ORDER BY id", [(1,), (2,)]),
    "POLYGON of points": ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(POINT(9, 19), POINT(11, 19), POINT(10, 22))) ORDER BY id", [(1,), (2,)]),
    "REGION": ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), REGION('CIRCLE ICRS 10 20 1')) ORDER BY id", [(1,), (2,)]),
    "a shape in a column": ("SELECT id FROM stars WHERE 1 = CONTAINS(POINT(10, 20), footprint) ORDER BY id", [(1,), (2,)]),
    "AREA, CENTROID, COORD1, COORD2, COORDSYS": ("SELECT AREA(POINT(1, 2)), COORD1(CENTROID(CIRCLE(10, 20, 1))), COORD2(POINT(1, 2)), COORDSYS(POINT('ICRS', 1, 2))", [(0.0, 10.0, 2.0, "ICRS")]),
    # --- functions
    "user defined functions": ("SELECT ivo_hashlist_has('a#b', 'B'), ivo_nocasematch('Vega', 'v%'), GAVO_MATCH('^V', 'Vega')", [(1, 1, 1)]),
    "functions in any case": ("SELECT abs(-1), Round(2.5), Power(2, 3), Ceiling(pi()) FROM stars WHERE id = 1", [(1, 3.0, 8.0, 4.0)]),
    "functions of functions": ("SELECT ROUND(SQRT(POWER(3, 2) + POWER(4, 2)), 1)", [(5.0,)]),
}  # fmt: skip


def answer(query: str, tables=ROWS, catalogue=CATALOGUE) -> list[tuple]:
    rows = run_query(query, tables, catalogue=catalogue)
    return list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) if rows.num_rows else []


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct(name):
    query, expected = CONSTRUCTS[name]
    assert answer(query) == expected
    assert answer(write_adql(parse_query(query))) == expected  # its canonical text means the same


def test_there_are_more_than_67():
    assert len(CONSTRUCTS) > 100


BIG = Table(schema="s", name="big", columns=(Column(name="n", type=INT64), Column(name="small", type=INT16)))
NUMBERS = pa.table({"n": [2**62, 2**62 - 1, None], "small": pa.array([32767, 32767, 1], pa.int16())})


def test_sums_of_whole_numbers_do_not_overflow():
    query = "SELECT SUM(n), SUM(small), SUM(small * small), SUM(n) / 2, AVG(n) FROM s.big"
    assert answer(query, [(BIG, NUMBERS)], StaticTableCatalogue([BIG])) == [
        (2**63 - 1, 65535, 2 * 32767**2 + 1, 2**62 - 1, (2**63 - 1) / 2)
    ]
    columns = bind_query(parse_query(query), StaticTableCatalogue([BIG])).columns
    assert [str(column.type) for column in columns] == ["int64", "int64", "int64", "int64", "float64"]


def test_quoted_names_of_tap_schema():
    schema = Table(
        schema="TAP_SCHEMA",
        name="columns",
        columns=(
            Column(name="column_name", type=STRING),
            Column(name="size", type=INT64),
            Column(name="std", type=INT64),
        ),
    )
    rows = [(schema, pa.table({"column_name": ["ra"], "size": [1], "std": [0]}))]
    for query in (
        'SELECT column_name, "size" FROM TAP_SCHEMA.columns',
        'SELECT "column_name", "size" FROM tap_schema."columns"',
        'SELECT c."column_name", c."size" FROM "TAP_SCHEMA"."columns" AS c WHERE c."std" = 0',
        'SELECT "TAP_SCHEMA"."columns"."column_name", columns."size" FROM "TAP_SCHEMA"."columns"',
    ):
        assert answer(query, rows, StaticTableCatalogue([schema])) == [("ra", 1)]


TEXTS = ["2020-01-01T00:00:00-05:00", "2020-01-01T07:00:00+02:00", "2020-01-01T05:00:00Z", "2020-01-01 10:30:00+05:30"]


def test_texts_with_an_offset_become_the_same_instant():
    # a column, which the engine converts, and literals, which the binder reads
    table = Table(schema="s", name="t", columns=(Column(name="s", type=STRING),))
    rows = run_query("SELECT CAST(s AS TIMESTAMP) AS t FROM s.t", [(table, pa.table({"s": TEXTS}))])
    assert rows.column("t").to_pylist() == [dt.datetime(2020, 1, 1, 5)] * len(TEXTS)
    for text in TEXTS:
        rows = run_query(f"SELECT CAST('{text}' AS TIMESTAMP) AS t FROM s.t", [(table, pa.table({"s": ["x"]}))])
        assert rows.column("t").to_pylist() == [dt.datetime(2020, 1, 1, 5)]
