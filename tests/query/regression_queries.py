"""Queries that once failed; all engines answer them alike or refuse them with a position."""

from __future__ import annotations

REGRESSION_QUERIES: tuple[str, ...] = (
    # a condition without a column turned all columns of a table into numbers
    "SELECT COALESCE(q.c0[s.id], 2) AS n FROM (SELECT t4.counts AS c0 FROM sky.shapes AS t4 WHERE FALSE IS NULL) AS q, sky.stars AS s",
    # a condition over other rows was pushed down to a table that another engine reads
    "SELECT MIN(t1.label) AS c0 FROM TAP_UPLOAD.mine AS t1 LEFT JOIN sky.stars AS t2 USING (dec) WHERE EXISTS (SELECT 1 AS x FROM sky.photometry AS t3) GROUP BY CASE WHEN 0 = INTERSECTS(MOC('0/0-11'), MOC('3/1-4')) THEN 10 ELSE t1.ra END",
    "WITH w AS (SELECT t3.id FROM sky.labels AS t3) SELECT t7.id AS c0 FROM (SELECT t5.p AS c0 FROM sky.shapes AS t5 WHERE EXISTS (SELECT 1 AS x FROM w AS t6)) AS t4 FULL JOIN sky.labels AS t7 ON DISTANCE(t4.c0, POINT('ICRS', 359.99, -90)) < 1e308",
    "SELECT VARIANCE(COORD1(GAVO_APPLY_PM(t1.name, 10, 2.5, t1.flux, t1.flux))) AS c0 FROM sky.photometry AS t1 WHERE EXISTS (SELECT 1 AS x FROM sky.labels AS t2)",
    # an expression that is always NULL had the type of a text
    "SELECT t2.variable AS c0 FROM sky.stars AS t2 WHERE COALESCE(NULL) > t2.variable OR CASE WHEN t2.id > 1 THEN NULL END BETWEEN t2.seen AND t2.seen",
    "SELECT t1.id FROM sky.labels AS t1 WHERE CASE WHEN t1.id IS NOT NULL THEN NULL END IN (SELECT CAST('2020-06-01' AS TIMESTAMP) FROM TAP_UPLOAD.mine AS t3)",
    "SELECT (t1.id | CASE WHEN NOT (10 <> 2.5) THEN NULL END) AS c0, (t1.id % COALESCE(NULL)) AS c1, (2 & 255) + COALESCE(NULL, NULL) AS c2 FROM sky.shapes AS t1",
    "SELECT COUNT(*) AS n FROM sky.labels AS t1 WHERE NOT (CASE WHEN 'a' LIKE t1.\"Name\" THEN NULL END BETWEEN NULL AND COALESCE(POLYGON(9, 19, 11, 19, 11, 21), NULL))",
    "SELECT 1 AS c0 FROM sky.photometry AS t1 WHERE 0 IN (coalesce(NULL, NULL), NULL) INTERSECT ALL SELECT NULL AS c0 FROM TAP_UPLOAD.mine AS t2",
    "SELECT COUNT(*) AS n FROM sky.labels AS t1 GROUP BY CASE WHEN t1.id > 1 THEN NULL END ORDER BY CASE WHEN COUNT(*) > 1 THEN NULL END",
    "SELECT CASE WHEN MAX(t1.id) > 1 THEN NULL END AS c0 FROM sky.labels AS t1",
    "SELECT CASE WHEN MAX(t1.id) > 1 THEN NULL END + 1 AS c0 FROM sky.labels AS t1",
    "SELECT FIRST_VALUE(CASE WHEN t3.id <= t3.id THEN NULL END) OVER (ORDER BY t3.id) AS c0, LAG(NULL) OVER (ORDER BY t3.id) AS c1 FROM sky.labels AS t3",
    # windows that PostgreSQL has not
    "SELECT MEDIAN(t1.id) OVER (ORDER BY t1.id) AS c0 FROM sky.labels AS t1",
    "SELECT SUM(DISTINCT t1.id) OVER (ORDER BY t1.id DESC) AS c0, COUNT(DISTINCT t1.id) OVER () AS c1 FROM sky.labels AS t1",
    "SELECT COUNT(t1.id) OVER (ORDER BY 1e3 GROUPS BETWEEN 1 PRECEDING AND 2 FOLLOWING) AS c0 FROM sky.labels AS t1",
    "SELECT COUNT(*) AS n FROM sky.stars AS t3 FULL JOIN sky.shapes AS t5 ON t3.seen = t3.seen",
    # texts that have too few numbers, or too many, for the shape
    "SELECT CAST('10 20 1' AS POINT) AS c2 FROM sky.photometry AS t1 ORDER BY 1 ASC",
    "SELECT COUNT(*) AS n FROM sky.photometry AS t1 WHERE 1 = CONTAINS(CAST('10 20 1' AS POINT), CIRCLE(10, 20, 1))",
    # arrays of fixed length that are chosen from
    "SELECT ARR_AVG(CASE WHEN t1.id < 2 THEN t1.counts END) AS c1, COALESCE(t1.counts, t1.counts) AS c2 FROM sky.shapes AS t1",
    "SELECT CASE WHEN t1.id < 3 THEN t1.counts ELSE t1.spectrum END AS c1, COALESCE(t1.counts, t1.spectrum) AS c2 FROM sky.shapes AS t1 UNION ALL SELECT t2.counts, t2.spectrum FROM sky.shapes AS t2",
    # the last digits of a remainder and of a time
    'SELECT MOD(t1.big, log10(t1.big)) AS c0, MOD(t1."order", 0.1) AS c1, MOD(1e300, 3) AS c2, MOD(-7.5, 2) AS c3 FROM sky.shapes AS t1',
    "SELECT iso(1e-9) AS c0, iso(2460000.123456) AS c1, iso(-1e5 + t1.id) AS c2 FROM sky.photometry AS t1",
    # booleans beside numbers, one after the other
    "SELECT COUNT(*) AS n FROM sky.photometry AS t1 WHERE TRUE NOT BETWEEN t1.flux AND FALSE OR TRUE BETWEEN FALSE AND t1.flux OR TRUE BETWEEN 1 AND 2.5",
    "SELECT COUNT(*) AS n FROM sky.photometry AS t1 WHERE TRUE IN (FALSE, t1.flux) OR TRUE IN (t1.flux, FALSE) OR FALSE IN (1, 2.5)",
    # a condition of WHERE that is true for nulls was pushed below the outer join that creates them, when the embedded
    # engine computed for PostgreSQL
    "SELECT u.id, s.id AS i, ARR_AVG(s.spectrum) AS x FROM sky.photometry AS u LEFT JOIN sky.shapes AS s ON u.id = s.id WHERE s.id IS NULL",
    "SELECT t1.id AS a, t2.id AS b, ARR_AVG(t2.spectrum) AS s FROM sky.labels AS t1 FULL JOIN sky.shapes AS t2 USING (id) WHERE NOT (t1.id IS NOT NULL)",
    "SELECT t1.id AS a, t2.id AS b, ARR_AVG(t2.spectrum) AS s FROM sky.labels AS t1 FULL JOIN sky.shapes AS t2 USING (id) INNER JOIN sky.stars AS t3 ON NOT (t1.id IS NOT NULL)",
    "SELECT COUNT(*) AS n FROM sky.labels AS t1 FULL JOIN TAP_UPLOAD.mine AS t2 ON TRUE NOT BETWEEN FALSE AND FALSE OR t2.id <= t2.ra WHERE CASE WHEN NOT (t1.\"Name\" LIKE 'a') THEN TRUE ELSE FALSE END <> TRUE",
    "SELECT t4.id FROM (sky.photometry AS t1 LEFT JOIN (sky.labels AS t2 LEFT JOIN sky.shapes AS t4 ON t2.id = t4.id + 1) ON t4.id IS NULL) WHERE ARR_AVG(t4.spectrum) IS NULL",
    # delimiters that are constants and are not written in place
    "SELECT IVO_STRING_AGG(name, LOWER(', ')) AS a, IVO_STRING_AGG(name, REPLACE('a', '', 'x')) AS b, IVO_STRING_AGG(name, COALESCE(NULL, '-')) AS c FROM sky.stars",
    # numbers beside booleans
    "SELECT COUNT(*) AS n FROM sky.stars AS t WHERE 0 BETWEEN t.ra AND FALSE OR 1 BETWEEN t.ra / ARR_MIN(NULL) AND TRUE OR 0 NOT BETWEEN 359.9 AND TRUE",
    "SELECT COUNT(*) AS n FROM sky.stars AS t WHERE t.ra IN (SELECT FALSE FROM sky.shapes) OR EXP(2.5) NOT IN (SELECT s.variable FROM sky.stars AS s)",
    # distances that are no whole numbers of the engine
    "SELECT SUM(t.id) OVER (ORDER BY t.id RANGE BETWEEN 99999999999999999999 PRECEDING AND 2.5 FOLLOWING) AS c FROM sky.photometry AS t",
    "SELECT SUM(t.id) OVER (ORDER BY t.id ROWS BETWEEN 99999999999999999999 PRECEDING AND CURRENT ROW) AS c FROM sky.photometry AS t",
    # a FULL JOIN that is evaluated for each row
    "SELECT COUNT(*) AS n FROM sky.labels AS t4 WHERE NOT EXISTS (SELECT 1 AS x FROM (SELECT a.id FROM sky.stars AS a FULL JOIN sky.shapes AS b ON NOT b.big = 1) AS t6 WHERE t4.id IS NOT NULL)",
    # a rank without an order, which crashed DuckDB now and then
    "SELECT DENSE_RANK() OVER (PARTITION BY t3.name ORDER BY NULL) AS a, DENSE_RANK() OVER () AS b, RANK() OVER () AS c FROM sky.photometry AS t3 FULL JOIN sky.shapes AS t4 ON t3.id = t4.id",
    # expressions that one engine computed differently
    "SELECT CAST(CAST(t1.x AS VARCHAR(20)) AS SMALLINT) AS c0 FROM sky.shapes AS t1 WHERE t1.x > 1e300",
    "SELECT SPLIT_PART(t.name, '', t.id) AS a, SPLIT_PART(t.name, LOWER(''), 1) AS b, CAST(POWER(-10, t.id / 3.7) AS VARCHAR) AS c FROM sky.stars AS t",
    "SELECT SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(SPLIT_PART(t.name, 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1), 'q', 1) AS a FROM sky.stars AS t",
    "SELECT t.id FROM sky.stars AS t WHERE t.seen IN ('0000-01-01', '0000-01-02T03:04:05') OR t.seen IN (ISO(SIN(10)), CAST('2020-06-01' AS TIMESTAMP), NULL)",
    "SELECT t.id FROM sky.stars AS t WHERE t.seen IN (ISO(SIN(10)), ISO(COS(10))) OR t.seen NOT IN ('0000-01-01', '9999-12-31')",
    "SELECT IVO_HEALPIX_INDEX(t.id, 0, 0) AS a, IVO_HEALPIX_INDEX(t.id, 45, 0) AS b, IVO_HEALPIX_INDEX(t.id, 315, 0) AS c FROM sky.stars AS t",
    "SELECT -LENGTH(REGEXP_EXTRACT(t1.label, '(', 30)) AS c1 FROM TAP_UPLOAD.mine AS t1 NATURAL LEFT JOIN sky.stars AS t2",
)  # fmt: skip
