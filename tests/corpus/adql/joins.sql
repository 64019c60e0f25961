-- Joins of every kind: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# comma
SELECT * FROM a, b AS x, c
--> SELECT * FROM a, b AS x, c

--# comma and CROSS JOIN are the same
SELECT * FROM a CROSS JOIN b
--> SELECT * FROM a, b

--# inner
SELECT * FROM a INNER JOIN b ON a.x = b.x
--> SELECT * FROM a JOIN b ON a.x = b.x

--# outer joins with and without OUTER
SELECT * FROM a LEFT JOIN b ON a.x = b.x RIGHT OUTER JOIN c ON c.x = a.x FULL OUTER JOIN d USING (x, y)
--> SELECT * FROM a LEFT JOIN b ON a.x = b.x RIGHT JOIN c ON c.x = a.x FULL JOIN d USING (x, y)

--# natural
SELECT * FROM a NATURAL JOIN b NATURAL LEFT OUTER JOIN c
--> SELECT * FROM a NATURAL JOIN b NATURAL LEFT JOIN c

--# parenthesised join
SELECT * FROM a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x
--> SELECT * FROM a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x

--# joins in parentheses first
SELECT * FROM (a JOIN b USING (x)) LEFT JOIN c USING (x)
--> SELECT * FROM a JOIN b USING (x) LEFT JOIN c USING (x)

--# conditions behind several joins
SELECT * FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x
--> SELECT * FROM a JOIN (b JOIN c ON b.x = c.x) ON a.x = b.x

--# comma binds looser than JOIN
SELECT * FROM a, b JOIN c ON b.x = c.x, d
--> SELECT * FROM a, b JOIN c ON b.x = c.x, d

--# comma of a parenthesised CROSS JOIN
SELECT * FROM a, (b CROSS JOIN c)
--> SELECT * FROM a, (b CROSS JOIN c)

--# a JOIN without condition pairs all rows
SELECT * FROM a JOIN b JOIN c ON b.x = c.x
--> SELECT * FROM a JOIN b JOIN c ON b.x = c.x

--# subqueries on both sides
SELECT * FROM (SELECT x FROM a) AS p JOIN (SELECT x FROM b) AS q ON p.x = q.x
--> SELECT * FROM (SELECT x FROM a) AS p JOIN (SELECT x FROM b) AS q ON p.x = q.x

--# subquery in a parenthesised join
SELECT * FROM ((SELECT x FROM a) AS p JOIN b ON p.x = b.x)
--> SELECT * FROM (SELECT x FROM a) AS p JOIN b ON p.x = b.x

--# set operation as derived table
SELECT * FROM ((SELECT x FROM a) UNION (SELECT x FROM b)) AS u
--> SELECT * FROM (SELECT x FROM a UNION SELECT x FROM b) AS u

--# doubled parentheses around a derived table
SELECT * FROM ((SELECT x FROM a)) AS u
--> SELECT * FROM (SELECT x FROM a) AS u

--# joined tables with a name
SELECT j.x FROM (a JOIN b ON a.i = b.i) AS j
--> SELECT j.x FROM (SELECT * FROM a JOIN b ON a.i = b.i) AS j

--# position join
SELECT * FROM a JOIN b ON 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, 0.001))
--> SELECT * FROM a JOIN b ON 1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, 0.001))
