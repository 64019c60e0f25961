-- Geometry: pairs of a query and what it must give: the canonical text of its tree, or the error (read by test_pairs.py).

--# cone
SELECT * FROM t WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10.5, -20, 0.1))
--> SELECT * FROM t WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10.5, -20, 0.1))

--# without coordinate system
SELECT * FROM t WHERE CONTAINS(POINT(ra, dec), CIRCLE(POINT(10, 20), 1)) = 1
--> SELECT * FROM t WHERE CONTAINS(POINT(ra, dec), CIRCLE(POINT(10, 20), 1)) = 1

--# polygons by numbers and by points
SELECT POLYGON(1, 2, 3, 4, 5, 6), POLYGON('ICRS', 1, 2, 3, 4, 5, 6), POLYGON(POINT(1, 2), p, q) FROM t
--> SELECT POLYGON(1, 2, 3, 4, 5, 6), POLYGON('ICRS', 1, 2, 3, 4, 5, 6), POLYGON(POINT(1, 2), p, q) FROM t

--# boxes
SELECT BOX('ICRS', 1, 2, 3, 4), BOX(1, 2, 3, 4), BOX(p, 3, 4) FROM t
--> SELECT BOX('ICRS', 1, 2, 3, 4), BOX(1, 2, 3, 4), BOX(p, 3, 4) FROM t

--# both distances
SELECT DISTANCE(POINT(1, 2), p), DISTANCE(ra, dec, 10, 20) FROM t
--> SELECT DISTANCE(POINT(1, 2), p), DISTANCE(ra, dec, 10, 20) FROM t

--# parts
SELECT COORD1(p), COORD2(CENTROID(c)), COORDSYS(p), AREA(c), REGION('CIRCLE 1 2 3') FROM t
--> SELECT COORD1(p), COORD2(CENTROID(c)), COORDSYS(p), AREA(c), REGION('CIRCLE 1 2 3') FROM t

--# overlap
SELECT * FROM t WHERE 0 <> INTERSECTS(s_region, POLYGON(0, 0, 1, 0, 1, 1))
--> SELECT * FROM t WHERE 0 <> INTERSECTS(s_region, POLYGON(0, 0, 1, 0, 1, 1))
