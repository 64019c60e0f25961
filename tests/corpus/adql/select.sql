-- SELECT and its clauses: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# the smallest query
SELECT a FROM t
--> SELECT a FROM t

--# everything
select * from t
--> SELECT * FROM t

--# all clauses
SELECT DISTINCT TOP 10 t.a, count(*) AS n FROM s.t AS t WHERE a > 1 GROUP BY t.a HAVING COUNT(*) >= 2 ORDER BY n DESC, 1 ASC, t.a + 1 OFFSET 5
--> SELECT DISTINCT TOP 10 t.a, COUNT(*) AS n FROM s.t AS t WHERE a > 1 GROUP BY t.a HAVING COUNT(*) >= 2 ORDER BY n DESC, 1, t.a + 1 OFFSET 5

--# ALL is the default
SELECT ALL a FROM t
--> SELECT a FROM t

--# aliases with and without AS
SELECT a AS x, b y, c + 1 AS "Z z" FROM t u
--> SELECT a AS x, b AS y, c + 1 AS "Z z" FROM t AS u

--# columns of one table
SELECT c.s.t.*, t.*, u.a FROM c.s.t JOIN u ON t.a = u.a
--> SELECT c.s.t.*, t.*, u.a FROM c.s.t JOIN u ON t.a = u.a

--# a star among columns
SELECT a, * FROM t
--> SELECT a, * FROM t

--# four parts of a column name
SELECT c.s.t.a FROM c.s.t
--> SELECT c.s.t.a FROM c.s.t

--# names in double quotes keep case and quotes
SELECT "A""b", "select", t."x y" FROM "T" t
--> SELECT "A""b", "select", t."x y" FROM "T" AS t

--# comments and blank lines
-- first
SELECT a -- second; 'not a string
FROM t --- third
--> SELECT a FROM t

--# a trailing semicolon
SELECT a FROM t ;
--> SELECT a FROM t

--# derived table
SELECT x FROM (SELECT a AS x FROM t WHERE b = 1) AS d
--> SELECT x FROM (SELECT a AS x FROM t WHERE b = 1) AS d

--# derived table without AS
SELECT x FROM (SELECT a AS x FROM t ORDER BY a OFFSET 2) d
--> SELECT x FROM (SELECT a AS x FROM t ORDER BY a OFFSET 2) AS d

--# parenthesised whole query
(SELECT a FROM t)
--> SELECT a FROM t

--# a query in parentheses with an order of its own
(SELECT a FROM t ORDER BY a OFFSET 1) ORDER BY a
--> (SELECT a FROM t ORDER BY a OFFSET 1) ORDER BY a

--# group by expressions
SELECT FLOOR(m), COUNT(*) FROM t GROUP BY FLOOR(m), u.b
--> SELECT FLOOR(m), COUNT(*) FROM t GROUP BY FLOOR(m), u.b

--# TOP 0
SELECT TOP 0 * FROM t
--> SELECT TOP 0 * FROM t
