-- Declared extensions: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# CASE
SELECT CASE WHEN a > 1 AND b = 2 THEN 'x' WHEN a IS NULL THEN 'y' ELSE 'z' END, CASE a WHEN 1 THEN 2 END FROM t
--> SELECT CASE WHEN a > 1 AND b = 2 THEN 'x' WHEN a IS NULL THEN 'y' ELSE 'z' END, CASE a WHEN 1 THEN 2 END FROM t

--# bitwise operators
SELECT a & 3 | b ^ ~c, (a | b) & c, a + 1 & 2 FROM t
--> SELECT a & 3 | b ^ ~c, (a | b) & c, a + 1 & 2 FROM t

--# remainder
SELECT a % 2 * 3 FROM t WHERE a % 2 = 1
--> SELECT a % 2 * 3 FROM t WHERE a % 2 = 1

--# scalar subquery
SELECT a, (SELECT MAX(b) FROM u) AS m FROM t WHERE c > (SELECT AVG(c) FROM t) + 1
--> SELECT a, (SELECT MAX(b) FROM u) AS m FROM t WHERE c > (SELECT AVG(c) FROM t) + 1

--# scalar union
SELECT a FROM t WHERE a = ((SELECT b FROM u) EXCEPT (SELECT b FROM v))
--> SELECT a FROM t WHERE a = (SELECT b FROM u EXCEPT SELECT b FROM v)

--# truth values
SELECT a FROM t WHERE b = TRUE OR c = false
--> SELECT a FROM t WHERE b = TRUE OR c = FALSE

--# no FROM
SELECT 1 AS a, PI() UNION (SELECT TOP 1 2, 3 ORDER BY 1)
--> SELECT 1 AS a, PI() UNION (SELECT TOP 1 2, 3 ORDER BY 1)

--# window functions
SELECT rank() over (partition by a, b + 1 order by c desc, d), COUNT(*) OVER (), SUM(DISTINCT a) OVER (ORDER BY a) AS s, LAG(a, 2) OVER (ORDER BY b) - a FROM t ORDER BY RANK() OVER (ORDER BY a)
--> SELECT RANK() OVER (PARTITION BY a, b + 1 ORDER BY c DESC, d), COUNT(*) OVER (), SUM(DISTINCT a) OVER (ORDER BY a) AS s, LAG(a, 2) OVER (ORDER BY b) - a FROM t ORDER BY RANK() OVER (ORDER BY a)

--# over and partition are names too
SELECT COUNT(*) over, a AS partition FROM rank AS over WHERE over.a = 1
--> SELECT COUNT(*) AS over, a AS partition FROM rank AS over WHERE over.a = 1

--# recursive WITH
with recursive a as (select 1 as n from t union all select n + 1 from a where n < 9), b as (select n from a) select n from b
--> WITH RECURSIVE a AS (SELECT 1 AS n FROM t UNION ALL SELECT n + 1 FROM a WHERE n < 9), b AS (SELECT n FROM a) SELECT n FROM b

--# recursive is a name too
WITH recursive AS (SELECT a FROM t) SELECT a FROM recursive
--> WITH recursive AS (SELECT a FROM t) SELECT a FROM recursive

--# frames of windows
select sum(a) over (order by b rows between 1 preceding and current row), avg(a) over (partition by c order by b range 2.5 preceding), max(a) over (groups between unbounded preceding and 1 following) from t
--> SELECT SUM(a) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), AVG(a) OVER (PARTITION BY c ORDER BY b RANGE BETWEEN 2.5 PRECEDING AND CURRENT ROW), MAX(a) OVER (GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) FROM t

--# named windows
SELECT SUM(a) OVER w, COUNT(*) over "W" FROM t WHERE a > 1 window w as (PARTITION BY b), "W" AS (ORDER BY c ROWS UNBOUNDED PRECEDING) ORDER BY 1
--> SELECT SUM(a) OVER w, COUNT(*) OVER "W" FROM t WHERE a > 1 WINDOW w AS (PARTITION BY b), "W" AS (ORDER BY c ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) ORDER BY 1

--# window and over as names
SELECT a over, b AS window FROM t window WHERE window.a = 1
--> SELECT a AS over, b AS window FROM t AS window WHERE window.a = 1

--# elements of arrays
SELECT a[1], t.a[i + 1] * 2, (b)[1, 2], ivo_histogram(x, 0, 1, 5)[3], c[2] || 'x' FROM t WHERE a[1] BETWEEN b[2] AND 3 GROUP BY a[1] ORDER BY a[ 1 ] DESC
--> SELECT a[1], t.a[i + 1] * 2, b[1, 2], IVO_HISTOGRAM(x, 0, 1, 5)[3], c[2] || 'x' FROM t WHERE a[1] BETWEEN b[2] AND 3 GROUP BY a[1] ORDER BY a[1] DESC

--# element of what is computed
SELECT -(a)[1], (CASE WHEN x = 1 THEN a ELSE b END)[2], (SELECT MAX(a) FROM u)[1] FROM t
--> SELECT -a[1], (CASE WHEN x = 1 THEN a ELSE b END)[2], (SELECT MAX(a) FROM u)[1] FROM t

--# hexadecimal numbers
SELECT 0xFF, a & 0x0f, -0X10 FROM t WHERE b = 0xFFFFFFFFFF
--> SELECT 255, a & 15, -16 FROM t WHERE b = 1099511627775
