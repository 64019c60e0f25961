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
