-- Set operations and WITH: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# UNION and EXCEPT go from left to right
SELECT a FROM t UNION SELECT a FROM u EXCEPT ALL SELECT a FROM v
--> SELECT a FROM t UNION SELECT a FROM u EXCEPT ALL SELECT a FROM v

--# INTERSECT binds tighter
SELECT a FROM t UNION SELECT a FROM u INTERSECT SELECT a FROM v
--> SELECT a FROM t UNION SELECT a FROM u INTERSECT SELECT a FROM v

--# parentheses change that
(SELECT a FROM t UNION SELECT a FROM u) INTERSECT ALL SELECT a FROM v
--> (SELECT a FROM t UNION SELECT a FROM u) INTERSECT ALL SELECT a FROM v

--# parentheses on the right
SELECT a FROM t EXCEPT (SELECT a FROM u EXCEPT SELECT a FROM v)
--> SELECT a FROM t EXCEPT (SELECT a FROM u EXCEPT SELECT a FROM v)

--# operands with their own order
(SELECT TOP 1 a FROM t ORDER BY a) UNION ALL (SELECT TOP 1 a FROM u ORDER BY a DESC)
--> (SELECT TOP 1 a FROM t ORDER BY a) UNION ALL (SELECT TOP 1 a FROM u ORDER BY a DESC)

--# order of the whole
SELECT a FROM t UNION SELECT b FROM u ORDER BY 1 OFFSET 3
--> SELECT a FROM t UNION SELECT b FROM u ORDER BY 1 OFFSET 3

--# WITH
WITH bright AS (SELECT * FROM t WHERE m < 5), near AS (SELECT * FROM bright WHERE d < 10) SELECT COUNT(*) FROM near
--> WITH bright AS (SELECT * FROM t WHERE m < 5), near AS (SELECT * FROM bright WHERE d < 10) SELECT COUNT(*) FROM near

--# WITH of a union
WITH x AS (SELECT a FROM t UNION SELECT a FROM u) SELECT a FROM x
--> WITH x AS (SELECT a FROM t UNION SELECT a FROM u) SELECT a FROM x
