--# columns
SELECT ra, dec AS d, "Name" FROM labels, stars
--= ra float64 deg; d float64 deg; Name string
--> SELECT t2."ra" AS "ra", t2."dec" AS "d", t1."Name" AS "Name" FROM "sky.labels" AS t1 CROSS JOIN "sky.stars" AS t2

--# limit and offset
SELECT TOP 5 id FROM stars ORDER BY rmag DESC, id OFFSET 10
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 ORDER BY t1."rmag" DESC NULLS LAST, 1 ASC NULLS LAST LIMIT $1 OFFSET $2

--# position, alias and expression
SELECT rmag - 0.5 AS m, id FROM stars ORDER BY 2, m, rmag - 0.5, dec * 2
--= m float64 mag; id int64
--> SELECT CAST((t1."rmag" - 0.5e0) AS DOUBLE) AS "m", t1."id" AS "id" FROM "sky.stars" AS t1 ORDER BY 2 ASC NULLS LAST, 1 ASC NULLS LAST, 1 ASC NULLS LAST, (t1."dec" * $1) ASC NULLS LAST

--# cone
SELECT id FROM stars WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 20, 0.5))
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE (hven_in_circle(t1."ra", t1."dec", CAST($1 AS DOUBLE), CAST($2 AS DOUBLE), CAST($3 AS DOUBLE)))

--# cone from a point
SELECT id FROM stars WHERE 0 = CONTAINS(POINT(ra, dec), CIRCLE(POINT(10, 20), 0.5))
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE (NOT (hven_in_circle(t1."ra", t1."dec", CAST($1 AS DOUBLE), CAST($2 AS DOUBLE), CAST($3 AS DOUBLE))))

--# intersects with a point is contains
SELECT id FROM stars WHERE INTERSECTS(CIRCLE(10, 20, 0.5), POINT(ra, dec)) = 1
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE (hven_in_circle(t1."ra", t1."dec", CAST($1 AS DOUBLE), CAST($2 AS DOUBLE), CAST($3 AS DOUBLE)))

--# polygon
SELECT id FROM stars WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(1, 1, 2, 1, 2, 2))
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE hven_in_polygon(t1."ra", t1."dec", list_value(CAST($1 AS DOUBLE), CAST($2 AS DOUBLE), CAST($3 AS DOUBLE), CAST($4 AS DOUBLE), CAST($5 AS DOUBLE), CAST($6 AS DOUBLE)))

--# contains as a value
SELECT CONTAINS(POINT(ra, dec), CIRCLE(10, 20, 0.5)) AS inside FROM stars
--= inside int32
--> SELECT CAST(CAST((hven_in_circle(t1."ra", t1."dec", CAST($1 AS DOUBLE), CAST($2 AS DOUBLE), CAST($3 AS DOUBLE))) AS INTEGER) AS INTEGER) AS "inside" FROM "sky.stars" AS t1

--# region column
SELECT id FROM stars WHERE 1 = INTERSECTS(footprint, CIRCLE(10, 20, 0.5))
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE hven_intersects_text(t1."footprint", hven_text(list_value(CAST($1 AS DOUBLE), CAST($2 AS DOUBLE), CAST($3 AS DOUBLE))))

--# distance of points
SELECT DISTANCE(POINT(ra, dec), POINT(10, 20)) AS d FROM stars WHERE DISTANCE(ra, dec, 10, 20) < 0.1
--= d float64 deg
--> SELECT CAST(hven_distance(t1."ra", t1."dec", CAST($1 AS DOUBLE), CAST($2 AS DOUBLE)) AS DOUBLE) AS "d" FROM "sky.stars" AS t1 WHERE ((abs(t1."dec" - CAST($4 AS DOUBLE)) <= $5 + 1e-9 OR t1."ra" + CAST($3 AS DOUBLE) IS NULL) AND (hven_distance(t1."ra", t1."dec", CAST($3 AS DOUBLE), CAST($4 AS DOUBLE)) < $5))

--# unit
SELECT IN_UNIT(ra, 'arcsec') AS s FROM stars
--= s float64 arcsec
--> SELECT CAST((t1."ra" * 3600.0e0) AS DOUBLE) AS "s" FROM "sky.stars" AS t1

--# whole numbers
SELECT id / 2 AS a, id + 1 AS b, flag * flag AS c FROM stars
--= a int64; b int64; c int64
--> SELECT CAST((CAST(t1."id" AS BIGINT) // nullif($1, 0)) AS BIGINT) AS "a", CAST((t1."id" + $2) AS BIGINT) AS "b", CAST((CAST(t1."flag" AS BIGINT) * t1."flag") AS BIGINT) AS "c" FROM "sky.stars" AS t1

--# strings
SELECT name || '''; DROP TABLE stars; --' AS x FROM stars WHERE name LIKE '%"%' AND name NOT ILIKE 'a_'
--= x string
--> SELECT CAST(CASE WHEN strlen(t1."name") + strlen($1) > 32768 THEN error('a text of more than 32768 bytes would be built') ELSE (t1."name" || $1) END AS VARCHAR) AS "x" FROM "sky.stars" AS t1 WHERE ((t1."name" LIKE $2) AND (t1."name" NOT ILIKE $3))

--# timestamps
SELECT id FROM stars WHERE seen BETWEEN '2020-01-01' AND '2020-12-31T23:59:59'
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE (t1."seen" BETWEEN CAST($1 AS TIMESTAMP) AND CAST($2 AS TIMESTAMP))

--# booleans
SELECT id FROM stars WHERE variable = 1 OR variable = 'F' OR variable = 'true'
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE ((t1."variable" = TRUE) OR (t1."variable" = FALSE) OR (t1."variable" = TRUE))

--# groups
SELECT name, COUNT(*) AS n, SUM(flag) AS f FROM stars GROUP BY name HAVING COUNT(*) > 1 ORDER BY n DESC
--= name string; n int64; f int64
--> SELECT t1."name" AS "name", CAST(count(*) AS BIGINT) AS "n", CAST(CAST(sum(t1."flag") AS BIGINT) AS BIGINT) AS "f" FROM "sky.stars" AS t1 GROUP BY t1."name" HAVING (count(*) > $1) ORDER BY 2 DESC NULLS LAST

--# groups by expression: literals are part of the shape
SELECT ROUND(rmag / 0.5) AS bin, COUNT(*) AS n FROM stars WHERE rmag < 12 GROUP BY bin ORDER BY bin
--= bin float64 mag; n int64
--> SELECT CAST(round((CAST(t1."rmag" AS DOUBLE) / nullif(0.5e0, 0))) AS DOUBLE) AS "bin", CAST(count(*) AS BIGINT) AS "n" FROM "sky.stars" AS t1 WHERE (t1."rmag" < CAST($1 AS DOUBLE)) GROUP BY round((CAST(t1."rmag" AS DOUBLE) / nullif(0.5e0, 0))) ORDER BY 1 ASC NULLS LAST

--# joins
SELECT s.id, p.flux FROM stars AS s LEFT JOIN photometry AS p ON s.id = p.id AND p.flux > 3
--= id int64; flux float64 Jy
--> SELECT t1."id" AS "id", t2."flux" AS "flux" FROM "sky.stars" AS t1 LEFT JOIN "sky.photometry" AS t2 ON ((t1."id" = t2."id") AND (t2."flux" > $1))

--# using
SELECT id, flux FROM stars JOIN photometry USING (id)
--= id int64; flux float64 Jy
--> SELECT t1."id" AS "id", t2."flux" AS "flux" FROM "sky.stars" AS t1 INNER JOIN "sky.photometry" AS t2 ON (t1."id" = t2."id")

--# full join by using
SELECT id FROM stars FULL JOIN photometry USING (id)
--= id int64
--> SELECT CAST(coalesce(t1."id", t2."id") AS BIGINT) AS "id" FROM "sky.stars" AS t1 FULL JOIN "sky.photometry" AS t2 ON (t1."id" = t2."id")

--# natural
SELECT id, flux FROM (SELECT id, ra FROM stars) AS s NATURAL RIGHT JOIN photometry
--= id int64; flux float64 Jy
--> SELECT t3."id" AS "id", t3."flux" AS "flux" FROM (SELECT t1."id" AS "id", t1."ra" AS "ra" FROM "sky.stars" AS t1) AS t2 RIGHT JOIN "sky.photometry" AS t3 ON (t2."id" = t3."id")

--# nested join
SELECT s.id FROM stars AS s JOIN (photometry AS p JOIN labels AS n ON p.id = n.id) ON s.id = p.id
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 INNER JOIN ("sky.photometry" AS t2 INNER JOIN "sky.labels" AS t3 ON (t2."id" = t3."id")) ON (t1."id" = t2."id")

--# subquery
SELECT id FROM stars AS s WHERE EXISTS (SELECT * FROM photometry WHERE photometry.id = s.id) AND rmag < (SELECT AVG(rmag) FROM stars)
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE (EXISTS (SELECT t2."id" AS "id", t2."flux" AS "flux", t2."name" AS "name" FROM "sky.photometry" AS t2 WHERE (t2."id" = t1."id")) AND (t1."rmag" < (SELECT CAST(avg(t3."rmag") AS DOUBLE) AS "avg_rmag" FROM "sky.stars" AS t3)))

--# in
SELECT id FROM stars WHERE id IN (1, 2, 3) AND id NOT IN (SELECT id FROM photometry)
--= id int64
--> SELECT t1."id" AS "id" FROM "sky.stars" AS t1 WHERE ((t1."id" IN ($1, $2, $3)) AND (t1."id" NOT IN (SELECT t2."id" AS "id" FROM "sky.photometry" AS t2)))

--# derived table
SELECT q.m FROM (SELECT MAX(rmag) AS m, name FROM stars GROUP BY name) AS q WHERE q.m > 3
--= m float32 mag
--> SELECT t2."m" AS "m" FROM (SELECT CAST(max(t1."rmag") AS REAL) AS "m", t1."name" AS "name" FROM "sky.stars" AS t1 GROUP BY t1."name") AS t2 WHERE (t2."m" > CAST($1 AS DOUBLE))

--# union
SELECT id, rmag FROM stars UNION ALL SELECT id, flux FROM photometry ORDER BY id
--= id int64; rmag float64 mag
--> ((SELECT t1."id" AS "id", CAST(t1."rmag" AS DOUBLE) AS "rmag" FROM "sky.stars" AS t1) UNION ALL (SELECT t2."id" AS "id", t2."flux" AS "flux" FROM "sky.photometry" AS t2)) ORDER BY 1 ASC NULLS LAST

--# set operations
SELECT id FROM stars INTERSECT SELECT id FROM photometry EXCEPT (SELECT TOP 3 id FROM labels ORDER BY id)
--= id int64
--> ((SELECT t1."id" AS "id" FROM "sky.stars" AS t1) INTERSECT (SELECT t2."id" AS "id" FROM "sky.photometry" AS t2)) EXCEPT (SELECT t3."id" AS "id" FROM "sky.labels" AS t3 ORDER BY 1 ASC NULLS LAST LIMIT $1)

--# with
WITH bright AS (SELECT id, rmag FROM stars WHERE rmag < 3) SELECT b.id FROM bright AS b JOIN photometry USING (id)
--= id int64
--> WITH "with bright" AS (SELECT t1."id" AS "id", t1."rmag" AS "rmag" FROM "sky.stars" AS t1 WHERE (t1."rmag" < CAST($1 AS DOUBLE))) SELECT t2."id" AS "id" FROM "with bright" AS t2 INNER JOIN "sky.photometry" AS t3 ON (t2."id" = t3."id")

--# view
SELECT id FROM bright WHERE rmag < 2
--= id int64
--> SELECT t2."id" AS "id" FROM (SELECT t1."id" AS "id", t1."rmag" AS "rmag", CAST(CASE WHEN strlen(t1."name") + strlen(' (bright)') > 32768 THEN error('a text of more than 32768 bytes would be built') ELSE (t1."name" || ' (bright)') END AS VARCHAR) AS "label" FROM "sky.stars" AS t1 WHERE (t1."rmag" < CAST(3 AS DOUBLE))) AS t2 WHERE (t2."rmag" < CAST($1 AS DOUBLE))

--# case
SELECT CASE WHEN rmag < 3 THEN 'bright' ELSE name END AS k, CASE id WHEN 1 THEN 2 END AS l FROM stars
--= k string; l int32
--> SELECT CAST(CASE WHEN (t1."rmag" < CAST($1 AS DOUBLE)) THEN $2 ELSE t1."name" END AS VARCHAR) AS "k", CAST(CASE WHEN (t1."id" = $3) THEN $4 END AS INTEGER) AS "l" FROM "sky.stars" AS t1

--# casts
SELECT CAST(id AS VARCHAR(3)) AS a, CAST(name AS CHAR(4)) AS b, CAST(seen AS VARCHAR) AS c, CAST('1 2' AS POINT) AS p FROM stars
--= a string[3*]; b string[4]; c string; p point
--> SELECT left(CAST(t1."id" AS VARCHAR), 3) AS "a", rpad(t1."name", 4, ' ') AS "b", replace(CAST(t1."seen" AS VARCHAR), ' ', 'T') AS "c", CAST(CAST(regexp_split_to_array(trim($1, ' ' || chr(9) || chr(10) || chr(13)), '[\s,]+') AS DOUBLE[]) AS DOUBLE[2]) AS "p" FROM "sky.stars" AS t1
