Slips that people make who know another database or another service; each error says where, what, and what to do.

--# 1
SELECT * FROM stars LIMIT 10
--! line 1, column 21: ADQL has no LIMIT; write SELECT TOP n ... instead

--# 2
SELECT * FROM stars ORDER BY ra LIMIT 5, 10
--! line 1, column 33: ADQL has no LIMIT; write SELECT TOP n ... instead

--# 3
SELECT * FROM stars FETCH FIRST 10 ROWS ONLY
--! line 1, column 21: ADQL has no FETCH FIRST; write SELECT TOP n ... instead

--# 4
SELECT * FROM stars WHERE ROWNUM <= 10
--! line 1, column 27: ADQL has no ROWNUM; write SELECT TOP n ... instead

--# 5
SELECT ra TOP 10 FROM stars
--! line 1, column 11: expected a comma or FROM, found TOP; TOP stands after SELECT: SELECT TOP 10 ...

--# 6
SELECT TOP (10) ra FROM stars
--! line 1, column 12: TOP takes a number without parentheses; write TOP 10

--# 7
SELECT TOP 10 PERCENT ra FROM stars
--! line 1, column 15: ADQL has no TOP n PERCENT; write the number of rows

--# 8
SELECT `ra` FROM stars
--! line 1, column 8: a backtick is not allowed in ADQL; write special names in double quotes: "name"

--# 9
SELECT [ra] FROM [stars]
--! line 1, column 8: square brackets are not allowed here; write special names in double quotes: "name", and array elements as a[1]

--# 10
SELECT ra FROM stars WHERE name = "Vega"
--! line 1, column 35: no column 'Vega' in sky.stars; write strings in single quotes: 'Vega'; double quotes are for names

--# 11
SELECT ra FROM stars WHERE name = ‘Vega’
--! line 1, column 35: a typographic quote ('‘', U+2018) is not allowed in ADQL; write a straight single quote: '

--# 12
SELECT ra FROM stars WHERE name = “Vega”
--! line 1, column 35: a typographic double quote ('“', U+201C) is not allowed in ADQL; write a straight quote: ' for strings, " for names

--# 13
SELECT ra FROM stars WHERE ra == 10
--! line 1, column 32: ADQL has no == operator; write a single =

--# 14
SELECT ra FROM stars WHERE ra != 10 && dec > 3
--! line 1, column 38: ADQL has no && operator; write AND

--# 15
SELECT ra FROM stars WHERE ra = 10 || dec = 3
--! line 1, column 43: comparisons cannot be chained; write OR; || joins strings

--# 16
SELECT ra dec rmag FROM stars
--! line 1, column 15: expected a comma or FROM, found 'rmag'; separate columns with commas

--# 17
SELECT ra, dec, FROM stars
--! line 1, column 17: expected a value, found FROM; leave out the comma before FROM, or add the missing item after the comma

--# 18
SELECT ra,, dec FROM stars
--! line 1, column 11: expected a value, found ','; remove one of the two commas

--# 19
SELECT ra FROM stars; SELECT dec FROM stars
--! line 1, column 23: only one query is accepted at a time; send each query separately

--# 20
SELECT ra FROM stars;;
--! line 1, column 22: only one query is accepted at a time; send each query separately

--# 21
SELECT ra FROM stars WHERE name = 'Barnard's star'
--! line 1, column 50: this string is not closed; close it with a single quote; double a quote inside a string: 'it''s'

--# 22
SELECT ra FROM stars WHERE name LIKE 'a%' ESCAPE '!'
--! line 1, column 43: ADQL's LIKE has no ESCAPE; leave it out

--# 23
SELECT ra FROM stars WHERE name ~ '^a'
--! line 1, column 33: ADQL has no ~ operator between two values; use LIKE or ILIKE (with % and _), or REGEXP_MATCH(s, pattern) = 1

--# 24
SELECT ra FROM stars WHERE name REGEXP '^a'
--! line 1, column 33: ADQL has no REGEXP operator; use LIKE or ILIKE (with % and _), or REGEXP_MATCH(s, pattern) = 1

--# 25
SELECT ra::int FROM stars
--! line 1, column 10: ADQL has no :: casts; write CAST(x AS type)

--# 26
SELECT NVL(rmag, 0) FROM stars
--! line 1, column 8: no function NVL; write COALESCE(a, b)

--# 27
SELECT IFNULL(rmag, 0) FROM stars
--! line 1, column 8: no function IFNULL; write COALESCE(a, b)

--# 28
SELECT ISNULL(rmag, 0) FROM stars
--! line 1, column 8: no function ISNULL; write COALESCE(a, b)

--# 29
SELECT TO_CHAR(ra, '999.99') FROM stars
--! line 1, column 8: no function TO_CHAR; write CAST(x AS VARCHAR)

--# 30
SELECT TO_DATE('2020-01-01', 'YYYY-MM-DD') FROM stars
--! line 1, column 8: no function TO_DATE; write CAST('2026-11-20T10:15:00' AS TIMESTAMP)

--# 31
SELECT NOW() FROM stars
--! line 1, column 8: no function NOW; write the time as a string: '2026-11-20T10:15:00'

--# 32
SELECT GETDATE() FROM stars
--! line 1, column 8: no function GETDATE; write the time as a string: '2026-11-20T10:15:00'

--# 33
SELECT SUBSTR(name, 1, 3) FROM stars
--! line 1, column 8: no function SUBSTR; write REGEXP_EXTRACT(s, '^.{4}(.{3})', 1) for three characters after the fourth, or SPLIT_PART(s, separator, n)

--# 34
SELECT SUBSTRING(name, 1, 3) FROM stars
--! line 1, column 8: ADQL has no function SUBSTRING; write REGEXP_EXTRACT(s, '^.{4}(.{3})', 1) for three characters after the fourth, or SPLIT_PART(s, separator, n)

--# 35
SELECT LEFT(name, 3) FROM stars
--! line 1, column 8: ADQL has no function LEFT; write REGEXP_EXTRACT(s, '^.{4}(.{3})', 1) for three characters after the fourth, or SPLIT_PART(s, separator, n)

--# 36
SELECT LEN(name) FROM stars
--! line 1, column 8: no function LEN; write LENGTH(s)

--# 37
SELECT CHAR_LENGTH(name) FROM stars
--! line 1, column 8: ADQL has no function CHAR_LENGTH; write LENGTH(s)

--# 38
SELECT CONCAT(name, 'x') FROM stars
--! line 1, column 8: no function CONCAT; join strings with ||: a || ' ' || b

--# 39
SELECT TRIM(name) FROM stars
--! line 1, column 8: ADQL has no function TRIM; write REGEXP_REPLACE(s, '^ +| +$', '')

--# 40
SELECT INSTR(name, 'a') FROM stars
--! line 1, column 8: no function INSTR; write s LIKE '%text%' to test whether s contains it

--# 41
SELECT POSITION('a' IN name) FROM stars
--! line 1, column 8: ADQL has no function POSITION; write s LIKE '%text%' to test whether s contains it

--# 42
SELECT DATE_PART('year', seen) FROM stars
--! line 1, column 8: no function DATE_PART; convert the time to text and split it: CAST(SPLIT_PART(CAST(t AS VARCHAR), '-', 1) AS INTEGER) is the year

--# 43
SELECT EXTRACT(YEAR FROM seen) FROM stars
--! line 1, column 8: ADQL has no function EXTRACT; convert the time to text and split it: CAST(SPLIT_PART(CAST(t AS VARCHAR), '-', 1) AS INTEGER) is the year

--# 44
SELECT YEAR(seen) FROM stars
--! line 1, column 8: ADQL has no function YEAR; convert the time to text and split it: CAST(SPLIT_PART(CAST(t AS VARCHAR), '-', 1) AS INTEGER) is the year

--# 45
SELECT DATEDIFF(day, seen, seen) FROM stars
--! line 1, column 8: no function DATEDIFF; subtract days: ivo_to_mjd(t2) - ivo_to_mjd(t1)

--# 46
SELECT IF(ra > 3, 1, 0) FROM stars
--! line 1, column 8: no function IF; write CASE WHEN condition THEN a ELSE b END

--# 47
SELECT IIF(ra > 3, 1, 0) FROM stars
--! line 1, column 8: no function IIF; write CASE WHEN condition THEN a ELSE b END

--# 48
SELECT DECODE(flag, 1, 'a', 'b') FROM stars
--! line 1, column 8: no function DECODE; write CASE WHEN condition THEN a ELSE b END

--# 49
SELECT CEIL(ra) FROM stars
--! line 1, column 8: no function CEIL; write CEILING(x)

--# 50
SELECT POW(ra, 2) FROM stars
--! line 1, column 8: no function POW; write POWER(x, y)

--# 51
SELECT LN(ra) FROM stars
--! line 1, column 8: no function LN; write LOG(x), which is the natural logarithm

--# 52
SELECT TRUNC(ra) FROM stars
--! line 1, column 8: no function TRUNC; write TRUNCATE(x, n)

--# 53
SELECT RANDOM() FROM stars
--! line 1, column 8: no function RANDOM; write RAND()

--# 54
SELECT STDDEV_SAMP(ra) FROM stars
--! line 1, column 8: no function STDDEV_SAMP; write STDDEV(x)

--# 55
SELECT STRING_AGG(name, ',') FROM stars
--! line 1, column 8: no function STRING_AGG; write IVO_STRING_AGG(s, ', ')

--# 56
SELECT GROUP_CONCAT(name) FROM stars
--! line 1, column 8: no function GROUP_CONCAT; write IVO_STRING_AGG(s, ', ')

--# 57
SELECT ARRAY_AGG(ra) FROM stars
--! line 1, column 8: no function ARRAY_AGG; write IVO_STRING_AGG(s, ', ') for text, IVO_HISTOGRAM for numbers

--# 58
SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY ra) FROM stars
--! line 1, column 29: ADQL has no WITHIN GROUP; use MEDIAN(x) for the middle value; for other quantiles, number the rows with NTILE(n) OVER (ORDER BY x)

--# 59
SELECT q3c_radial_query(ra, dec, 10, 20, 1) FROM stars
--! line 1, column 8: no function Q3C_RADIAL_QUERY; write DISTANCE(POINT(ra, dec), POINT(lon, lat)) < r, which uses the position index

--# 60
SELECT * FROM stars WHERE q3c_radial_query(ra, dec, 10, 20, 1)
--! line 1, column 27: no function Q3C_RADIAL_QUERY; write DISTANCE(POINT(ra, dec), POINT(lon, lat)) < r, which uses the position index

--# 61
SELECT * FROM stars WHERE CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 20, 1))
--! line 1, column 27: CONTAINS returns a number, not a condition; write 1 = CONTAINS(...)

--# 62
SELECT * FROM stars WHERE CONTAINS(CIRCLE(10, 20, 1), POINT(ra, dec))
--! line 1, column 27: CONTAINS returns a number, not a condition; write 1 = CONTAINS(...)

--# 63
SELECT * FROM stars WHERE CONE(ra, dec, 10, 20, 1) = 1
--! line 1, column 27: no function CONE; write DISTANCE(POINT(ra, dec), POINT(lon, lat)) < r, which uses the position index

--# 64
SELECT gavo_urlescape(name) FROM stars
--! line 1, column 8: no function GAVO_URLESCAPE; change the text with REPLACE(s, old, new)

--# 65
SELECT ivo_apply_pm(ra, dec, 1, 1, 2) FROM stars
--! line 1, column 8: no function IVO_APPLY_PM; write GAVO_APPLY_PM or IVO_EPOCH_PROP_POS; this function was withdrawn

--# 66
SELECT ivo_interval_has(ra, dec) FROM stars
--! line 1, column 8: no function IVO_INTERVAL_HAS; write x BETWEEN low AND high; this function was withdrawn

--# 67
SELECT ivo_healpix_idx(6, ra, dec) FROM stars
--! line 1, column 8: no function IVO_HEALPIX_IDX; did you mean 'IVO_HEALPIX_INDEX'?

--# 68
SELECT degree(ra) FROM stars
--! line 1, column 8: no function DEGREE; did you mean 'DEGREES'?

--# 69
SELECT ra FROM stars WHERE rmag BETWEEN 1, 3
--! line 1, column 42: expected AND and the upper limit of BETWEEN, found ','; write BETWEEN low AND high

--# 70
SELECT ra FROM stars WHERE id IN ()
--! line 1, column 35: the list after IN is empty; write at least one value

--# 71
SELECT ra FROM stars WHERE id IN 1, 2
--! line 1, column 34: expected a list in parentheses or a subquery after IN, found the number 1; write IN (1, 2, 3)

--# 72
SELECT ra FROM stars WHERE (ra, dec) = (1, 2)
--! line 1, column 31: ADQL has no row values such as (a, b); compare the parts one by one, and join the comparisons with AND

--# 73
SELECT ra FROM stars GROUP BY ra ORDER BY ra WHERE dec > 3
--! line 1, column 46: WHERE is not allowed here; write the clauses in this order: SELECT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, OFFSET

--# 74
SELECT ra FROM stars ORDER ra
--! line 1, column 28: expected BY after ORDER, found 'ra'; write ORDER BY

--# 75
SELECT ra FROM stars ORDER BY ra NULLS LAST
--! line 1, column 34: ADQL has no NULLS FIRST or NULLS LAST; leave it out, or begin with ORDER BY CASE WHEN x IS NULL THEN 1 ELSE 0 END

--# 76
SELECT ra FROM stars ORDER BY ra DESCENDING
--! line 1, column 34: ADQL has no DESCENDING; write DESC

--# 77
SELECT DISTINCT ON (ra) ra FROM stars
--! line 1, column 17: ADQL has no DISTINCT ON; use GROUP BY

--# 78
SELECT count(ra, dec) FROM stars
--! line 1, column 8: COUNT takes 1 argument, not 2; write COUNT(expression)

--# 79
SELECT count() FROM stars
--! line 1, column 8: COUNT takes 1 argument, not 0; write COUNT(expression)

--# 80
SELECT ra FROM stars AS s WHERE stars.id = t.id
--! line 1, column 44: no table 't' in FROM; use one of s

--# 81
SELECT ra FROM star
--! line 1, column 16: no table 'star'; did you mean 'sky.stars'?

--# 82
SELECT raj2000 FROM stars
--! line 1, column 8: no column 'raj2000' in sky.stars; use one of id, ra, dec, rmag, name, flag, seen, variable, footprint

--# 83
SELECT ra FROM sky.star
--! line 1, column 16: no table 'sky.star'; did you mean 'sky.stars'?

--# 84
SELECT MAX(ra) FROM stars WHERE MAX(ra) > 3
--! line 1, column 33: MAX is an aggregate function and is not allowed in WHERE; use HAVING

--# 85
SELECT ra, COUNT(*) FROM stars
--! line 1, column 8: column 'ra' is used with an aggregate function but without GROUP BY; add GROUP BY ra, or write MIN(ra)

--# 86
SELECT ra FROM stars WHERE name = 5
--! line 1, column 28: = cannot compare a string (column name) with a number (5); convert one of the two with CAST

--# 87
SELECT ra FROM stars WHERE id = '5'
--! line 1, column 28: = cannot compare a number (column id) with a string ('5'); write 5 without quotes

--# 88
SELECT name + 'x' FROM stars
--! line 1, column 15: + needs numbers, but this operand is a string; join strings with ||

--# 90
SELECT ra FROM stars WHERE seen > TIMESTAMP '2020-01-01'
--! line 1, column 35: ADQL has no TIMESTAMP '...' literals; write CAST('...' AS TIMESTAMP), or the string alone

--# 91
SELECT ra FROM stars WHERE seen > DATE '2020-01-01'
--! line 1, column 35: ADQL has no DATE '...' literals; write CAST('...' AS TIMESTAMP), or the string alone

--# 92
SELECT ra FROM stars WHERE seen > '01/02/2020'
--! line 1, column 35: '01/02/2020' is not a timestamp; write timestamps as '2026-11-20T10:15:00'

--# 93
SELECT seen + INTERVAL '1 day' FROM stars
--! line 1, column 15: ADQL has no INTERVAL '...' literals; compute with days: ISO(ivo_to_jd(t) + 1); for months, use add_months(t, n)

--# 94
SELECT date FROM stars
--! line 1, column 8: expected a value, found date; to use the reserved word date as a name, write it in double quotes: "date"

--# 95
SELECT ra AS size FROM stars
--! line 1, column 14: size is a reserved word of ADQL and cannot be a name; write it in double quotes: "size"

--# 96
SELECT ra FROM stars /* all */
--! line 1, column 22: ADQL has no /* comments */; begin each comment with two hyphens (--); it ends at the end of the line

--# 97
SELECT ra FROM stars # all
--! line 1, column 22: a number sign is not allowed in ADQL; begin comments with two hyphens: --

--# 98
SELECT ra FROM stars WHERE ra > 10 AND
--! line 1, column 39: expected a value, found the end of the text; complete the query

--# 99
SELECT ra FROM (SELECT ra FROM stars)
--! line 1, column 38: a subquery in FROM needs a name; write AS and a name after the subquery: (SELECT ...) AS t

--# 100
SELECT ra FROM stars LEFT JOIN photometry WHERE stars.id = photometry.id
--! line 1, column 16: a LEFT JOIN needs ON or USING; write ON a.id = b.id, or USING (id), after the table on the right

--# 101
SELECT ra FROM stars, photometry WHERE id = 1
--! line 1, column 40: column 'id' is ambiguous: sky.stars.id, sky.photometry.id; qualify it, or give an alias to each table

--# 102
SELECT ra FROM stars MINUS SELECT ra FROM stars
--! line 1, column 22: ADQL has no MINUS between queries; write EXCEPT

--# 103
SELECT ra FROM stars UNION SELECT ra, dec FROM stars
--! line 1, column 28: both sides of UNION must have the same number of columns, but they have 1 and 2; select the same number of columns on both sides

--# 104
SELECT ra FROM stars ORDER BY ra UNION SELECT ra FROM stars
--! line 1, column 34: ORDER BY and OFFSET are not allowed before UNION; move them to the end, or enclose the query before UNION in parentheses

--# 105
SELET ra FROM stars
--! line 1, column 1: expected SELECT, found 'SELET'; did you mean SELECT?

--# 106
SELECT ra FORM stars
--! line 1, column 11: expected a comma or FROM, found 'FORM'; did you mean FROM?

--# 107
SELECT ra FROM stars WERE ra > 3
--! line 1, column 22: expected a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end, found 'WERE'; did you mean WHERE?

--# 108
INSERT INTO stars VALUES (1)
--! line 1, column 1: only queries are accepted, not INSERT; write SELECT; ADQL has no other statement

--# 109
DROP TABLE stars
--! line 1, column 1: only queries are accepted, not DROP; write SELECT; ADQL has no other statement

--# 110
UPDATE stars SET ra = 1
--! line 1, column 1: only queries are accepted, not UPDATE; write SELECT; ADQL has no other statement

--# 111
EXPLAIN SELECT ra FROM stars
--! line 1, column 1: only queries are accepted, not EXPLAIN; write SELECT; ADQL has no other statement

--# 112
SELECT ra INTO x FROM stars
--! line 1, column 11: ADQL has no SELECT INTO; leave out INTO; to query the result again, upload it as a table through TAP

--# 113
SELECT ra FROM stars WHERE ra > :limit
--! line 1, column 33: a colon is not allowed in ADQL; write a cast as CAST(x AS type); replace :parameters with values

--# 114
SELECT ra FROM stars WHERE ra > ?
--! line 1, column 33: a question mark is not allowed in ADQL; write the value itself

--# 115
SELECT ra FROM stars WHERE ra > @limit
--! line 1, column 33: an at sign is not allowed in ADQL; write special names in double quotes: "name"

--# 116
SELECT ra FROM stars WHERE ra >= 1,5
--! line 1, column 35: expected an operator, AND, OR or the next clause, found ','; write decimals with a point: 1.5

--# 117
SELECT ra FROM stars WHERE ra > 10°
--! line 1, column 35: the character '°' (U+00B0) is not allowed in ADQL; remove it, or put it in quotes

--# 118
SELECT ra FROM stars WHERE ra – dec > 3
--! line 1, column 31: a typographic dash ('–', U+2013) is not allowed in ADQL; write a plain hyphen: -

--# 119
SELECT CAST(ra AS FLOAT) FROM stars
--! line 1, column 19: expected a type (SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, TIMESTAMP, POINT, CIRCLE or POLYGON), found FLOAT; write REAL or DOUBLE PRECISION

--# 120
SELECT CAST(ra AS STRING) FROM stars
--! line 1, column 19: expected a type (SMALLINT, INTEGER, BIGINT, REAL, DOUBLE PRECISION, CHAR, VARCHAR, TIMESTAMP, POINT, CIRCLE or POLYGON), found 'STRING'; write VARCHAR

--# 121
SELECT CAST(ra, INTEGER) FROM stars
--! line 1, column 15: expected AS and a type, found ','; write CAST(x AS type)

--# 122
SELECT CONVERT(INT, ra) FROM stars
--! line 1, column 8: ADQL has no function CONVERT; write CAST(x AS DOUBLE PRECISION), or another type

--# 123
SELECT ra FROM stars WHERE name ILIKE "a%"
--! line 1, column 39: no column 'a%' in sky.stars; write strings in single quotes: 'a%'; double quotes are for names

--# 124
SELECT ra FROM stars WHERE variable IS TRUE
--! line 1, column 40: ADQL has no IS TRUE; use =, IS NULL or IS NOT NULL

--# 125
SELECT ra FROM stars QUALIFY ROW_NUMBER() OVER (ORDER BY ra) = 1
--! line 1, column 22: ADQL has no QUALIFY; move the query to a subquery, and filter the subquery with WHERE

--# 126
SELECT ra FROM stars WITH (NOLOCK)
--! line 1, column 22: expected a comma, JOIN, WHERE, GROUP BY, ORDER BY or the end, found WITH; leave it out; ADQL has no table hints

--# 127
SELECT ra FROM stars HAVING ra > 3
--! line 1, column 8: column 'ra' is used with an aggregate function but without GROUP BY; add GROUP BY ra, or write MIN(ra)

--# 128
SELECT ra FROM stars WHERE NOT EXISTS SELECT id FROM photometry
--! line 1, column 39: expected a subquery in parentheses after EXISTS, found SELECT; write EXISTS (SELECT ...)

--# 129
SELECT ra^2 FROM stars
--! line 1, column 8: operator ^ needs a whole number, but column ra is a number; for powers, write POWER(a, b); the operator ^ is a bitwise exclusive OR

--# 130
SELECT ra**2 FROM stars
--! line 1, column 11: ADQL has no ** operator; write POWER(a, b)

--# 131
SELECT id << 2 FROM stars
--! line 1, column 12: ADQL has no << operator; write a * POWER(2, n)

--# 132
SELECT id DIV 2 FROM stars
--! line 1, column 11: ADQL has no DIV operator; write FLOOR(a / b)

--# 133
SELECT 5 / 0 x y FROM stars
--! line 1, column 16: expected a comma or FROM, found 'y'; separate columns with commas

--# 134
SELECT stars.* EXCEPT (ra) FROM stars
--! line 1, column 16: expected a comma or FROM, found EXCEPT; list the columns that you want; ADQL has no * EXCEPT

--# 135
SELECT ra FROM stars TABLESAMPLE (10)
--! line 1, column 22: ADQL has no TABLESAMPLE; use TOP, or a condition on RAND()

--# 136
SELECT ra FROM stars WHERE name = 'abc
--! line 1, column 35: this string is not closed; close it with a single quote; double a quote inside a string: 'it''s'

--# 137
SELECT "ra FROM stars
--! line 1, column 8: this name in double quotes is not closed; close it with a double quote (strings take single quotes)

--# 138
SELECT ra FROM stars)
--! line 1, column 21: expected the end of the query, found ')'; remove it, or add the opening parenthesis

--# 139
SELECT (ra FROM stars
--! line 1, column 12: expected a closing parenthesis, found FROM; close the open parenthesis here, or remove it

--# 140
SELECT ra FROM stars WHERE POINT(ra, dec) IN CIRCLE(1, 2, 3)
--! line 1, column 46: expected a list in parentheses or a subquery after IN, found CIRCLE; write CONTAINS(point, shape) = 1

--# 141
SELECT DISTANCE(ra, dec) FROM stars
--! line 1, column 8: DISTANCE: argument 1 (p1) must be a point, but column ra is a number; write DISTANCE(p1 POINT, p2 POINT) or DISTANCE(lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC)

--# 142
SELECT CIRCLE(ra, dec) FROM stars
--! line 1, column 8: CIRCLE: argument 1 (center) must be a point, but column ra is a number; write CIRCLE(lon NUMERIC, lat NUMERIC, r NUMERIC) or CIRCLE(center POINT, r NUMERIC)

--# 143
SELECT POLYGON(1,2,3,4) FROM stars
--! line 1, column 8: POLYGON needs at least three corners; write POLYGON(lon1, lat1, lon2, lat2, lon3, lat3, ...) or POLYGON(point1, point2, point3, ...)

--# 144
SELECT AREA(ra) FROM stars
--! line 1, column 8: AREA: argument 1 (g) must be a geometry, but column ra is a number; write AREA(g GEOMETRY)

--# 145
SELECT IN_UNIT(ra, 'parsec') FROM stars
--! line 1, column 20: IN_UNIT: deg cannot be converted to pc: rad is not m; write a VOUnits unit that is compatible with deg

--# 146
SELECT IN_UNIT(id, 'm') FROM stars
--! line 1, column 8: IN_UNIT: column id is a number without a unit; convert a column that has a unit

--# 147
SELECT ra FROM stars WHERE ISNULL(dec)
--! line 1, column 28: no function ISNULL; write COALESCE(a, b)

--# 148
SELECT MEAN(ra) FROM stars
--! line 1, column 8: no function MEAN; write AVG(x)

--# 149
SELECT arr_map(ra) FROM stars
--! line 1, column 8: no function ARR_MAP; for a whole array, use ARR_SUM, ARR_AVG, ARR_MIN, ARR_MAX, ARR_STDDEV or ARR_DOT; for an element, write a[n]

--# 150
SELECT ra FROM stars WHERE IF(ra > 3, 1, 0) = 1
--! line 1, column 28: no function IF; write CASE WHEN condition THEN a ELSE b END

--# 151
SELECT nonsense_function(ra) FROM stars
--! line 1, column 8: no function NONSENSE_FUNCTION; see the functions of this service in /tap/capabilities
