-- Search conditions: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# AND binds tighter than OR
SELECT a FROM t WHERE a = 1 OR b = 2 AND c = 3
--> SELECT a FROM t WHERE a = 1 OR b = 2 AND c = 3

--# parentheses in conditions
SELECT a FROM t WHERE (a = 1 OR b = 2) AND NOT (c = 3 AND d = 4)
--> SELECT a FROM t WHERE (a = 1 OR b = 2) AND NOT (c = 3 AND d = 4)

--# NOT binds to one predicate
SELECT a FROM t WHERE NOT a = 1 AND b = 2
--> SELECT a FROM t WHERE NOT a = 1 AND b = 2

--# superfluous parentheses go
SELECT a FROM t WHERE ((a) = (1)) AND (((b)) > 2)
--> SELECT a FROM t WHERE a = 1 AND b > 2

--# parenthesised value begins a comparison
SELECT a FROM t WHERE (a + b) * 2 > (c)
--> SELECT a FROM t WHERE (a + b) * 2 > c

--# both spellings of not equal
SELECT a FROM t WHERE a != 1 AND a <> 2
--> SELECT a FROM t WHERE a <> 1 AND a <> 2

--# BETWEEN
SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b NOT BETWEEN c - 1 AND c + 1
--> SELECT a FROM t WHERE a BETWEEN 1 AND 2 AND b NOT BETWEEN c - 1 AND c + 1

--# IN
SELECT a FROM t WHERE a IN (1, -2, 'x', b + 1) AND b NOT IN (SELECT c FROM u)
--> SELECT a FROM t WHERE a IN (1, -2, 'x', b + 1) AND b NOT IN (SELECT c FROM u)

--# IN a set of subqueries
SELECT a FROM t WHERE a IN ((SELECT b FROM u) UNION (SELECT b FROM v))
--> SELECT a FROM t WHERE a IN (SELECT b FROM u UNION SELECT b FROM v)

--# LIKE
SELECT a FROM t WHERE a LIKE 'M%' AND b NOT LIKE 'x_' AND c ILIKE UPPER(d) || '%' AND e NOT ILIKE 'q'
--> SELECT a FROM t WHERE a LIKE 'M%' AND b NOT LIKE 'x_' AND c ILIKE UPPER(d) || '%' AND e NOT ILIKE 'q'

--# NULL
SELECT a FROM t WHERE a IS NULL OR b IS NOT NULL OR a + b IS NULL
--> SELECT a FROM t WHERE a IS NULL OR b IS NOT NULL OR a + b IS NULL

--# EXISTS
SELECT a FROM t WHERE EXISTS (SELECT * FROM u WHERE u.a = t.a) AND NOT EXISTS (SELECT * FROM v)
--> SELECT a FROM t WHERE EXISTS (SELECT * FROM u WHERE u.a = t.a) AND NOT EXISTS (SELECT * FROM v)
