-- Relations: groups, sets, subqueries, joins, order. Read by tests/outside/test_hundred.py.

--# all aggregates
SELECT COUNT(*) AS n, COUNT(hip) AS h, COUNT(DISTINCT tyc1) AS regions, SUM(num) AS s, AVG(vtmag) AS a, MIN(btmag) AS lo, MAX(btmag) AS hi FROM tycho.main
--= SELECT COUNT(*), COUNT(hip), COUNT(DISTINCT tyc1), SUM(num), AVG(vtmag), MIN(btmag), MAX(btmag) FROM tycho.main

--# spread and middle
SELECT STDDEV(vtmag) AS s, VARIANCE(vtmag) AS v, MEDIAN(vtmag) AS m, MEDIAN(num) AS k FROM tycho.main
--= SELECT deviation(vtmag), spread(vtmag), middle(vtmag), middle(num) FROM tycho.main

--# aggregates of nothing
SELECT COUNT(*) AS n, SUM(num) AS s, AVG(num) AS a, MAX(vtmag) AS m FROM tycho.main WHERE vtmag < -5
--= SELECT COUNT(*), SUM(num), AVG(num), MAX(vtmag) FROM tycho.main WHERE vtmag < -5

--# groups by spectral type, with NULL as a group
SELECT sp_type, COUNT(*) AS n, AVG(b_v) AS colour, MIN(vmag) AS brightest FROM hipparcos.main GROUP BY sp_type
--= SELECT sp_type, COUNT(*), AVG(b_v), MIN(vmag) FROM hipparcos.main GROUP BY sp_type

--# HAVING with an aggregate that is not selected
SELECT tyc1 FROM tycho.main GROUP BY tyc1 HAVING AVG(vtmag) < 10.9 AND COUNT(*) > 10
--= SELECT tyc1 FROM tycho.main GROUP BY tyc1 HAVING AVG(vtmag) < 10.9 AND COUNT(*) > 10

--# HAVING without GROUP BY
SELECT COUNT(*) AS n FROM hipparcos.main HAVING COUNT(*) > 100
--= SELECT COUNT(*) FROM hipparcos.main HAVING COUNT(*) > 100

--# groups of an expression, ordered by an aggregate
SELECT FLOOR(dec / 10) AS belt, COUNT(*) AS n FROM openngc.main GROUP BY FLOOR(dec / 10) ORDER BY COUNT(*) DESC, belt
--= SELECT FLOOR(dec / 10) AS belt, COUNT(*) FROM openngc.main GROUP BY belt ORDER BY COUNT(*) DESC, belt

--# groups of two columns
SELECT band, method, COUNT(*) AS n, AVG(ud_meas) AS mean FROM jmdc.main GROUP BY band, method
--= SELECT band, method, COUNT(*), AVG(ud_meas) FROM jmdc.main GROUP BY band, method

--# groups by an alias and by a position
SELECT UPPER(band) AS filter, COUNT(*) AS n FROM jmdc.main GROUP BY filter ORDER BY 2 DESC, 1
--= SELECT UPPER(band) AS filtered, COUNT(*) AS n FROM jmdc.main GROUP BY filtered ORDER BY n DESC, filtered NULLS LAST

--# SUM over CASE
SELECT posflg, SUM(CASE WHEN hip IS NULL THEN 0 ELSE 1 END) AS known, COUNT(*) AS n FROM tycho.main GROUP BY posflg
--= SELECT posflg, SUM(CASE WHEN hip IS NULL THEN 0 ELSE 1 END), COUNT(*) FROM tycho.main GROUP BY posflg

--# DISTINCT
SELECT DISTINCT posflg, pflag FROM tycho.main
--= SELECT DISTINCT posflg, pflag FROM tycho.main

--# DISTINCT values, NULL last
SELECT DISTINCT bandcode FROM jmdc.main ORDER BY bandcode
--= SELECT DISTINCT bandcode FROM jmdc.main ORDER BY bandcode NULLS LAST

--# DISTINCT in aggregates
SELECT COUNT(DISTINCT band) AS n, SUM(DISTINCT method) AS s, AVG(DISTINCT bandcode) AS a FROM jmdc.main
--= SELECT COUNT(DISTINCT band), SUM(DISTINCT method), AVG(DISTINCT bandcode) FROM jmdc.main

--# UNION
SELECT hip FROM tycho.main WHERE hip < 20000 UNION SELECT star FROM hipparcos.main WHERE star < 50
--= SELECT hip FROM tycho.main WHERE hip < 20000 UNION SELECT star FROM hipparcos.main WHERE star < 50

--# UNION ALL
SELECT band FROM jmdc.main WHERE ud_meas > 30 UNION ALL SELECT band FROM jmdc.main WHERE ud_meas > 20
--= SELECT band FROM jmdc.main WHERE ud_meas > 30 UNION ALL SELECT band FROM jmdc.main WHERE ud_meas > 20

--# EXCEPT
SELECT sp_type FROM hipparcos.main EXCEPT SELECT sp_type FROM hipparcos.main WHERE vmag < 6
--= SELECT sp_type FROM hipparcos.main EXCEPT SELECT sp_type FROM hipparcos.main WHERE vmag < 6

--# INTERSECT
SELECT sp_type FROM hipparcos.main WHERE vmag < 2 INTERSECT SELECT sp_type FROM hipparcos.main WHERE parallax > 100
--= SELECT sp_type FROM hipparcos.main WHERE vmag < 2 INTERSECT SELECT sp_type FROM hipparcos.main WHERE parallax > 100

--# INTERSECT binds tighter than UNION
SELECT star FROM hipparcos.main WHERE vmag < 0 UNION SELECT star FROM hipparcos.main WHERE vmag < 2 INTERSECT SELECT star FROM hipparcos.main WHERE parallax > 60
--= SELECT star FROM hipparcos.main WHERE vmag < 0 OR (vmag < 2 AND parallax > 60)

--# EXCEPT ALL keeps repeats
SELECT method FROM jmdc.main WHERE ud_meas > 25 EXCEPT ALL SELECT method FROM jmdc.main WHERE ud_meas > 40
--= SELECT method FROM jmdc.main WHERE ud_meas > 25 AND ud_meas <= 40

--# scalar subquery in WHERE
SELECT star, vmag FROM hipparcos.main WHERE parallax = (SELECT MAX(parallax) FROM hipparcos.main)
--= SELECT star, vmag FROM hipparcos.main WHERE parallax = (SELECT MAX(parallax) FROM hipparcos.main)

--# scalar subquery in the list
SELECT id, magnitude - (SELECT MIN(magnitude) FROM openngc.main) AS fainter FROM openngc.main WHERE magnitude < 5
--= SELECT id, magnitude - (SELECT MIN(magnitude) FROM openngc.main) FROM openngc.main WHERE magnitude < 5

--# IN a subquery
SELECT COUNT(*) AS n FROM tycho.main WHERE tyc1 IN (SELECT tyc1 FROM tycho.main WHERE vtmag < 4)
--= SELECT COUNT(*) FROM tycho.main WHERE tyc1 IN (SELECT tyc1 FROM tycho.main WHERE vtmag < 4)

--# NOT IN a subquery with NULLs finds nothing
SELECT COUNT(*) AS n FROM hipparcos.main WHERE star NOT IN (SELECT hip FROM tycho.main)
--= SELECT COUNT(*) FROM hipparcos.main WHERE star NOT IN (SELECT hip FROM tycho.main)

--# NOT IN without NULLs
SELECT COUNT(*) AS n FROM hipparcos.main WHERE star NOT IN (SELECT hip FROM tycho.main WHERE hip IS NOT NULL)
--= SELECT COUNT(*) FROM hipparcos.main WHERE star NOT IN (SELECT hip FROM tycho.main WHERE hip IS NOT NULL)

--# correlated subquery: the brightest of each region
SELECT t.tyc1, t.tyc2, t.vtmag FROM tycho.main AS t WHERE t.vtmag < 5 AND t.vtmag = (SELECT MIN(u.vtmag) FROM tycho.main AS u WHERE u.tyc1 = t.tyc1)
--= SELECT tyc1, tyc2, vtmag FROM (SELECT tyc1, tyc2, vtmag, MIN(vtmag) OVER (PARTITION BY tyc1) AS m FROM tycho.main) WHERE vtmag < 5 AND vtmag = m

--# EXISTS and NOT EXISTS
SELECT DISTINCT j.hd FROM jmdc.main AS j WHERE EXISTS (SELECT 1 FROM jmdc.main AS k WHERE k.hd = j.hd AND k.method <> j.method) AND NOT EXISTS (SELECT 1 FROM jmdc.main AS k WHERE k.hd = j.hd AND k.ud_meas < 3)
--= SELECT hd FROM jmdc.main WHERE hd IS NOT NULL GROUP BY hd HAVING COUNT(DISTINCT method) > 1 AND MIN(ud_meas) >= 3

--# common table expressions, one upon the other
WITH good AS (SELECT hd, ud_meas FROM jmdc.main WHERE e_ld_meas > 0), mean AS (SELECT hd, AVG(ud_meas) AS d, COUNT(*) AS n FROM good GROUP BY hd) SELECT hd, d FROM mean WHERE n >= 5
--= SELECT hd, AVG(ud_meas) FROM jmdc.main WHERE e_ld_meas > 0 GROUP BY hd HAVING COUNT(*) >= 5

--# a common table expression used twice
WITH z AS (SELECT tyc1, COUNT(*) AS n FROM tycho.main GROUP BY tyc1) SELECT a.tyc1, a.n FROM z AS a WHERE a.n = (SELECT MAX(b.n) FROM z AS b)
--= SELECT tyc1, COUNT(*) AS n FROM tycho.main GROUP BY tyc1 ORDER BY n DESC LIMIT 1

--# subquery in FROM
SELECT q.bin, COUNT(*) AS n FROM (SELECT FLOOR(vmag * 2) / 2 AS bin FROM hipparcos.main WHERE parallax > 20) AS q GROUP BY q.bin ORDER BY q.bin
--= SELECT FLOOR(vmag * 2) / 2 AS bin, COUNT(*) FROM hipparcos.main WHERE parallax > 20 GROUP BY bin ORDER BY bin

--# ranking without window functions
SELECT a.star, (SELECT COUNT(*) FROM hipparcos.main AS b WHERE b.vmag < a.vmag) + 1 AS place FROM hipparcos.main AS a WHERE a.vmag < 1
--= SELECT star, RANK() OVER (ORDER BY vmag) FROM hipparcos.main WHERE vmag < 1

--# window functions
SELECT tyc1, tyc2, vtmag, RANK() OVER (PARTITION BY tyc1 ORDER BY vtmag) AS place FROM tycho.main WHERE vtmag < 6
--= SELECT tyc1, tyc2, vtmag, RANK() OVER (PARTITION BY tyc1 ORDER BY vtmag) FROM tycho.main WHERE vtmag < 6

--# inner join by a number
SELECT j.id1, t.tyc1, t.vtmag FROM jmdc.main AS j JOIN tycho.main AS t ON CAST(j.hip AS INTEGER) = t.hip
--= SELECT j.id1, t.tyc1, t.vtmag FROM jmdc.main j JOIN tycho.main t ON t.hip = +CAST(j.hip AS INTEGER)

--# join by USING
SELECT hd, a.ud_meas, b.ud_meas AS other FROM jmdc.main AS a JOIN jmdc.main AS b USING (hd) WHERE a.ud_meas > 20 AND b.ud_meas > a.ud_meas
--= SELECT a.hd, a.ud_meas, b.ud_meas FROM jmdc.main a JOIN jmdc.main b ON a.hd = b.hd WHERE a.ud_meas > 20 AND b.ud_meas > a.ud_meas

--# RIGHT JOIN
SELECT a.id, b.id AS other FROM (SELECT id, chg_num FROM charm.main WHERE id < 20) AS a RIGHT JOIN (SELECT id, chg_num FROM charm.main WHERE id BETWEEN 10 AND 40) AS b ON a.id = b.id
--= SELECT a.id, b.id FROM (SELECT id FROM charm.main WHERE id BETWEEN 10 AND 40) b LEFT JOIN (SELECT id FROM charm.main WHERE id < 20) a ON a.id = b.id

--# FULL JOIN
SELECT a.id, b.id AS other FROM (SELECT id FROM charm.main WHERE id < 6) AS a FULL OUTER JOIN (SELECT id FROM charm.main WHERE id BETWEEN 4 AND 9) AS b ON a.id = b.id
--= SELECT a.id, b.id FROM (SELECT id FROM charm.main WHERE id < 6) AS a FULL OUTER JOIN (SELECT id FROM charm.main WHERE id BETWEEN 4 AND 9) AS b ON a.id = b.id

--# a condition of ON is no condition of WHERE
SELECT f.goes_id, g.goes_id AS other FROM flares.main AS f LEFT JOIN flares.main AS g ON f.nar = g.nar AND g.xray_class LIKE 'M2%' WHERE f.xray_class LIKE 'M1%'
--= SELECT f.goes_id, g.goes_id FROM flares.main f LEFT JOIN flares.main g ON f.nar = g.nar AND g.xray_class LIKE 'M2%' WHERE f.xray_class LIKE 'M1%'

--# ORDER BY with NULLs at the end, ascending
SELECT TOP 500 ud_meas, bandcode FROM jmdc.main WHERE ud_meas > 4 ORDER BY bandcode, ud_meas
--= SELECT ud_meas, bandcode FROM jmdc.main WHERE ud_meas > 4 ORDER BY bandcode NULLS LAST, ud_meas LIMIT 500

--# ORDER BY with NULLs at the end, descending
SELECT id, magnitude FROM openngc.main WHERE major_axis > 20 ORDER BY magnitude DESC, id
--= SELECT id, magnitude FROM openngc.main WHERE major_axis > 20 ORDER BY magnitude DESC NULLS LAST, id

--# paging
SELECT TOP 10 tyc1, tyc2, tyc3 FROM tycho.main ORDER BY vtmag, tyc1, tyc2, tyc3 OFFSET 40
--= SELECT tyc1, tyc2, tyc3 FROM tycho.main ORDER BY vtmag NULLS LAST, tyc1, tyc2, tyc3 LIMIT 10 OFFSET 40

--# OFFSET alone
SELECT star FROM hipparcos.main ORDER BY ra, star OFFSET 125970
--= SELECT star FROM hipparcos.main ORDER BY ra, star LIMIT -1 OFFSET 125970

--# TOP of groups
SELECT TOP 5 dataset, COUNT(*) AS n, SUM(access_estsize) AS size_sum FROM maser.main GROUP BY dataset ORDER BY size_sum DESC, dataset
--= SELECT dataset, COUNT(*), SUM(access_estsize) AS s FROM maser.main GROUP BY dataset ORDER BY s DESC, dataset LIMIT 5

--# delimited names
SELECT "star" AS "select", t."vmag" AS "V mag" FROM "hipparcos"."main" AS t WHERE t."vmag" < 0.5 ORDER BY "V mag", "select"
--= SELECT star, vmag FROM hipparcos.main WHERE vmag < 0.5 ORDER BY vmag, star

--# names in any case
SELECT Star, HIPPARCOS.Main.VMag FROM Hipparcos.MAIN WHERE vMAG < 0.5
--= SELECT star, vmag FROM hipparcos.main WHERE vmag < 0.5

--# a view of the collection
SELECT id, major_axis FROM openngc.large WHERE dec < 0
--= SELECT id, major_axis FROM openngc.main WHERE major_axis > 30 AND dec < 0
