-- Values: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# numbers
SELECT 1, 1., .5, 1.5, 1e3, 1.E-3, 12345678901234567890 FROM t
--> SELECT 1, 1.0, 0.5, 1.5, 1000.0, 0.001, 12345678901234567890 FROM t

--# signs
SELECT -a, +a, a - -1, -(-a), 2 * -3 FROM t
--> SELECT -a, +a, a - -1, -(-a), 2 * -3 FROM t

--# binding of operators
SELECT a + b * c - d / e, (a + b) * c, a - (b - c), a / (b / c) FROM t
--> SELECT a + b * c - d / e, (a + b) * c, a - (b - c), a / (b / c) FROM t

--# strings
SELECT '', 'it''s', 'a' || b || 'c', 'a' || ('b' || c) FROM t
--> SELECT '', 'it''s', 'a' || b || 'c', 'a' || ('b' || c) FROM t

--# neighbouring strings are one
SELECT 'a' 'b' -- and
'c''d' FROM t
--> SELECT 'abc''d' FROM t

--# aggregates
SELECT COUNT(*), COUNT(DISTINCT a), SUM(ALL b), avg(c), MIN(a + b), MAX(a) FROM t
--> SELECT COUNT(*), COUNT(DISTINCT a), SUM(b), AVG(c), MIN(a + b), MAX(a) FROM t

--# functions
SELECT ABS(-1), PI(), RAND(), RAND(3), ROUND(a), ROUND(a, -2), TRUNCATE(a, 1), MOD(a, 2), ATAN2(b, c), LOWER(s), IN_UNIT(a, 'deg') FROM t
--> SELECT ABS(-1), PI(), RAND(), RAND(3), ROUND(a), ROUND(a, -2), TRUNCATE(a, 1), MOD(a, 2), ATAN2(b, c), LOWER(s), IN_UNIT(a, 'deg') FROM t

--# user defined functions
SELECT ivo_hasword(a, 'x'), Gavo_Match('x', b), f() FROM t
--> SELECT IVO_HASWORD(a, 'x'), GAVO_MATCH('x', b), F() FROM t

--# CAST
SELECT CAST(a AS INTEGER), CAST(b AS VARCHAR(8)), CAST(c AS CHAR), CAST(d AS double precision), CAST('2001-01-01' AS timestamp), CAST(e AS POLYGON) FROM t
--> SELECT CAST(a AS INTEGER), CAST(b AS VARCHAR(8)), CAST(c AS CHAR), CAST(d AS DOUBLE PRECISION), CAST('2001-01-01' AS TIMESTAMP), CAST(e AS POLYGON) FROM t

--# COALESCE and NULL
SELECT COALESCE(a, b, NULL), NULL FROM t
--> SELECT COALESCE(a, b, NULL), NULL FROM t

--# numbers beside || need a CAST or parentheses
SELECT 'n ' || CAST(a AS VARCHAR) || (b + 1) FROM t
--> SELECT 'n ' || CAST(a AS VARCHAR) || (b + 1) FROM t
