--# no such column
SELECT ra, ramag FROM stars
--! line 1, column 12: no column 'ramag' in sky.stars; did you mean 'rmag'?

--# no such column, second line
SELECT ra,
  ramag FROM stars
--! line 2, column 3: no column 'ramag' in sky.stars; did you mean 'rmag'?

--# no such column of a table
SELECT s.rmga FROM stars AS s
--! line 1, column 8: no column 'rmga' in s; did you mean 'rmag'?

--# no such table
SELECT * FROM sky.strs
--! line 1, column 15: no table 'sky.strs'; did you mean 'sky.stars'?

--# no such table, nor anything like it
SELECT * FROM zebra
--! line 1, column 15: no table 'zebra'

--# no such table, without its schema
SELECT * FROM starss
--! line 1, column 15: no table 'starss'; did you mean 'sky.stars'?

--# table in two schemas
SELECT * FROM twin
--! line 1, column 15: table 'twin' is ambiguous: sky.twin, lab.twin; put the schema before the table name

--# ambiguous column
SELECT id FROM stars, photometry
--! line 1, column 8: column 'id' is ambiguous: sky.stars.id, sky.photometry.id; qualify it, or give an alias to each table

--# qualifier that FROM has not
SELECT x.ra FROM stars
--! line 1, column 8: no table 'x' in FROM; use one of sky.stars

--# star of a table that FROM has not
SELECT x.* FROM stars
--! line 1, column 8: no table 'x' in FROM; use one of sky.stars

--# delimited name in another case
SELECT "RA" FROM stars
--! line 1, column 8: no column 'RA' in sky.stars; write "ra" or ra; names in double quotes are case-sensitive

--# no such function
SELECT SQRTT(ra) FROM stars
--! line 1, column 8: no function SQRTT; did you mean 'SQRT'?

--# number wanted
SELECT SQRT(name) FROM stars
--! line 1, column 8: SQRT: argument 1 (x) must be a number, but column name is a string; write SQRT(x NUMERIC)

--# string wanted
SELECT LOWER(ra) FROM stars
--! line 1, column 8: LOWER: argument 1 (s) must be a string, but column ra is a number; write LOWER(s TEXT)

--# arithmetic with a string
SELECT name * 3 FROM stars
--! line 1, column 8: operator * needs a number, but column name is a string; write CAST(x AS DOUBLE PRECISION)

--# concatenation with a number
SELECT name || id FROM stars
--! line 1, column 16: operator || joins strings, but column id is a number; write CAST(id AS VARCHAR)

--# number beside a string
SELECT * FROM stars WHERE id = '5'
--! line 1, column 27: = cannot compare a number (column id) with a string ('5'); write 5 without quotes

--# column beside a string
SELECT * FROM stars WHERE rmag > name
--! line 1, column 27: > cannot compare a number (column rmag) with a string (column name); convert one of the two with CAST

--# geometry compared
SELECT * FROM stars WHERE POINT(ra, dec) = POINT(1, 2)
--! line 1, column 27: geometries cannot be compared with =; use CONTAINS, INTERSECTS or DISTANCE

--# no timestamp
SELECT * FROM stars WHERE seen > 'J2451545'
--! line 1, column 34: 'J2451545' is not a timestamp; write timestamps as '2026-11-20T10:15:00'

--# timestamp beside a number
SELECT * FROM stars WHERE seen > 2451545.5
--! line 1, column 27: > cannot compare a timestamp (column seen) with a number (2451545.5)

--# boolean beside nonsense
SELECT * FROM stars WHERE variable = 'maybe'
--! line 1, column 27: = cannot compare a boolean (column variable) with a string ('maybe')

--# aggregate in WHERE
SELECT id FROM stars WHERE COUNT(*) > 1
--! line 1, column 28: COUNT is an aggregate function and is not allowed in WHERE; use HAVING

--# aggregate in ON
SELECT s.id FROM stars AS s JOIN photometry AS p ON MAX(s.id) = p.id
--! line 1, column 53: MAX is an aggregate function and is not allowed in ON

--# aggregate in an aggregate
SELECT MAX(MIN(ra)) FROM stars
--! line 1, column 12: MIN is an aggregate function and is not allowed in the argument of MAX

--# aggregate in GROUP BY
SELECT COUNT(*) AS n FROM stars GROUP BY n
--! line 1, column 42: GROUP BY cannot use the result of an aggregate function

--# column beside an aggregate
SELECT name, COUNT(*) FROM stars
--! line 1, column 8: column 'name' is used with an aggregate function but without GROUP BY; add GROUP BY name, or write MIN(name)

--# column that is not grouped by
SELECT name, ra FROM stars GROUP BY name
--! line 1, column 14: column 'ra' is neither in GROUP BY nor inside an aggregate function; add ra to GROUP BY, or write MIN(ra)

--# column in HAVING that is not grouped by
SELECT name FROM stars GROUP BY name HAVING ra > 1
--! line 1, column 45: column 'ra' is neither in GROUP BY nor inside an aggregate function; add ra to GROUP BY, or write MIN(ra)

--# column in ORDER BY that is not grouped by
SELECT name FROM stars GROUP BY name ORDER BY ra
--! line 1, column 47: column 'ra' is neither in GROUP BY nor inside an aggregate function; add ra to GROUP BY, or write MIN(ra)

--# aggregate in ORDER BY alone
SELECT name FROM stars ORDER BY COUNT(*)
--! line 1, column 8: column 'name' is used with an aggregate function but without GROUP BY; add GROUP BY name, or write MIN(name)

--# column of the outer query that is not grouped by
SELECT name, (SELECT MAX(p.flux) FROM photometry AS p WHERE p.id = stars.id) AS f FROM stars GROUP BY name
--! line 1, column 68: column 'id' is neither in GROUP BY nor inside an aggregate function; add id to GROUP BY, or write MIN(id)

--# ORDER BY beyond the columns
SELECT ra FROM stars ORDER BY 2
--! line 1, column 31: there is no output column 2; use a position from 1 to 1

--# ORDER BY an ambiguous name
SELECT s.id, p.id FROM stars AS s, photometry AS p ORDER BY id
--! line 1, column 61: ORDER BY id is ambiguous: 2 output columns have this name; give them aliases, or sort by position

--# ORDER BY something else after DISTINCT
SELECT DISTINCT ra FROM stars ORDER BY dec
--! line 1, column 40: with SELECT DISTINCT, ORDER BY can use only selected columns; add the expression to the select list

--# ORDER BY something else after UNION
SELECT ra FROM stars UNION SELECT flux FROM photometry ORDER BY dec
--! line 1, column 65: ORDER BY after a set operation takes only names or positions of output columns

--# UNION of other widths
SELECT ra, dec FROM stars UNION SELECT id FROM photometry
--! line 1, column 33: both sides of UNION must have the same number of columns, but they have 2 and 1; select the same number of columns on both sides

--# UNION of other kinds
SELECT ra FROM stars UNION SELECT name FROM stars
--! line 1, column 35: UNION: column 1 is a number (ra) on the left, but a string (name) on the right; convert one of the two with CAST

--# subquery with two columns
SELECT * FROM stars WHERE id IN (SELECT id, flux FROM photometry)
--! line 1, column 33: a subquery used as a value must have one column, but this one has 2

--# USING a column of one side
SELECT * FROM stars JOIN photometry USING (flux)
--! line 1, column 15: USING (flux): there is no such column on the left side

--# USING columns of other kinds
SELECT * FROM stars JOIN photometry USING (id, name)
--! line 1, column 15: USING (name) cannot compare a string (column name) with a number (column name); convert one of the two with CAST

--# ON sees only its own tables
SELECT s.id FROM stars AS s, photometry AS p JOIN labels AS n ON n.id = s.id
--! line 1, column 73: no table 's' in FROM; use one of p, n

--# derived tables do not see their neighbours
SELECT * FROM stars AS s, (SELECT flux FROM photometry WHERE photometry.id = s.id) AS q
--! line 1, column 78: no table 's' in FROM; use one of sky.photometry

--# IN_UNIT to something else
SELECT IN_UNIT(ra, 'kg') FROM stars
--! line 1, column 20: IN_UNIT: deg cannot be converted to kg: rad is not kg; write a VOUnits unit that is compatible with deg

--# IN_UNIT of nothing
SELECT IN_UNIT(id, 'deg') FROM stars
--! line 1, column 8: IN_UNIT: column id is a number without a unit; convert a column that has a unit

--# IN_UNIT to no unit
SELECT IN_UNIT(ra, 'parsnip') FROM stars
--! line 1, column 20: IN_UNIT: 'parsnip' is not a unit (character 1): unknown unit 'parsnip' (did you mean 'pc'?); write a VOUnits unit that is compatible with deg

--# CAST of a geometry
SELECT CAST(POINT(ra, dec) AS INTEGER) FROM stars
--! line 1, column 8: POINT(..) is a point and cannot be cast to INTEGER

--# CAST without room
SELECT CAST(name AS VARCHAR(0)) FROM stars
--! line 1, column 8: VARCHAR(0) is too short; give a length of at least 1

--# COALESCE of other kinds
SELECT COALESCE(ra, name) FROM stars
--! line 1, column 21: COALESCE needs values of one type: the first is a number, but column name is a string

--# COALESCE of a timestamp, a string and a number
SELECT COALESCE(seen, '2026-11-20', 5) FROM stars
--! line 1, column 37: COALESCE needs values of one type: the first is a timestamp, but 5 is a number

--# number where a geometry belongs
SELECT CONTAINS(ra, CIRCLE(1, 2, 3)) FROM stars
--! line 1, column 8: CONTAINS: argument 1 (inner) must be a geometry, but column ra is a number; write CONTAINS(inner GEOMETRY, outer GEOMETRY)

--# geometry as a condition
SELECT * FROM stars WHERE NOT CONTAINS(POINT(ra, dec), CIRCLE(1, 2, 3)) = 'yes'
--! line 1, column 31: = cannot compare a number (CONTAINS(..)) with a string ('yes'); convert one of the two with CAST

--# LIKE of a number
SELECT * FROM stars WHERE id LIKE '5%'
--! line 1, column 27: LIKE compares strings, but column id is a number; write CAST(id AS VARCHAR)

--# WITH twice
WITH a AS (SELECT id FROM stars), a AS (SELECT id FROM stars) SELECT * FROM a
--! line 1, column 35: WITH defines 'a' twice

--# WITH's name before it is there
WITH a AS (SELECT * FROM b), b AS (SELECT id FROM stars) SELECT * FROM a
--! line 1, column 26: no table 'b'

--# view that is broken
SELECT * FROM broken
--! line 1, column 15: in the view sky.broken: no column 'idd' in sky.stars; did you mean 'id'?

--# view that reads itself
SELECT * FROM ouroboros
--! line 1, column 15: in the view sky.ouroboros: the view sky.ouroboros reads itself

--# bitwise of a float
SELECT ra & 3 FROM stars
--! line 1, column 8: operator & needs a whole number, but column ra is a number

--# LEFT JOIN without condition
SELECT * FROM stars LEFT JOIN photometry USING (ra)
--! line 1, column 15: USING (ra): there is no such column on the right side

--# alias in WHERE
SELECT rmag - 0.5 AS m FROM stars WHERE m < 3
--! line 1, column 41: no column 'm' in sky.stars; write the expression that m stands for; names from the select list cannot be used here

--# a string in double quotes
SELECT id FROM stars WHERE name = "M31"
--! line 1, column 35: no column 'M31' in sky.stars; write strings in single quotes: 'M31'; double quotes are for names
