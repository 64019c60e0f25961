-- The sky: cones, boxes, polygons, cross-matches. Read by tests/outside/test_hundred.py.

--# cone, DISTANCE of points
SELECT star, vmag FROM hipparcos.main WHERE DISTANCE(POINT(ra, dec), POINT(266.4, -29.0)) < 1.5
--= SELECT star, vmag FROM hipparcos.main WHERE sep(ra, dec, 266.4, -29.0) < 1.5

--# cone, DISTANCE of four numbers, nearest first
SELECT TOP 20 star, DISTANCE(ra, dec, 201.3, -43.02) AS away FROM hipparcos.main WHERE DISTANCE(ra, dec, 201.3, -43.02) < 5 ORDER BY away
--= SELECT star, sep(ra, dec, 201.3, -43.02) AS away FROM hipparcos.main WHERE away < 5 ORDER BY away LIMIT 20

--# cone by CONTAINS over the meridian
SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 359.8, 12, 2))
--= SELECT star FROM hipparcos.main WHERE sep(ra, dec, 359.8, 12) <= 2

--# cone on the south pole, with a condition
SELECT star, vmag FROM hipparcos.main WHERE CONTAINS(POINT(ra, dec), CIRCLE(0, -90, 4)) = 1 AND vmag BETWEEN 6 AND 8
--= SELECT star, vmag FROM hipparcos.main WHERE sep(ra, dec, 0, -90) <= 4 AND vmag BETWEEN 6 AND 8

--# a cone wider than a hemisphere
SELECT COUNT(*) AS n, AVG(vmag) AS mean FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(45, 30, 120))
--= SELECT COUNT(*), AVG(vmag) FROM hipparcos.main WHERE sep(ra, dec, 45, 30) <= 120

--# two cones, one or the other
SELECT id FROM openngc.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(187.7, 12.4, 1)) OR 1 = CONTAINS(POINT(ra, dec), CIRCLE(194.95, 27.98, 0.5))
--= SELECT id FROM openngc.main WHERE sep(ra, dec, 187.7, 12.4) <= 1 OR sep(ra, dec, 194.95, 27.98) <= 0.5

--# ring: in a cone and not in another
SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(83.8, -5.4, 3)) AND NOT 1 = CONTAINS(POINT(ra, dec), CIRCLE(83.8, -5.4, 2))
--= SELECT star FROM hipparcos.main WHERE sep(ra, dec, 83.8, -5.4) <= 3 AND NOT sep(ra, dec, 83.8, -5.4) <= 2

--# a cone in Tycho-2
SELECT tyc1, tyc2, tyc3, vtmag FROM tycho.main WHERE 1 = CONTAINS(POINT(radeg, dedeg), CIRCLE(283.4, 47.8, 0.7))
--= SELECT tyc1, tyc2, tyc3, vtmag FROM tycho.main WHERE sep(radeg, dedeg, 283.4, 47.8) <= 0.7

--# a cone round mean positions, some of them NULL
SELECT COUNT(*) AS n FROM tycho.main WHERE 0 = CONTAINS(POINT(ramdeg, demdeg), CIRCLE(283, 40, 5))
--= SELECT COUNT(*) FROM tycho.main WHERE sep(ramdeg, demdeg, 283, 40) > 5

--# triangle
SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(279.2, 38.8, 297.7, 8.9, 310.4, 45.3))
--= SELECT star FROM hipparcos.main WHERE dec BETWEEN 5 AND 60 AND inside(ra, dec, 279.2, 38.8, 297.7, 8.9, 310.4, 45.3)

--# triangle, turned the other way, of points
SELECT COUNT(*) AS n FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(POINT(310.4, 45.3), POINT(297.7, 8.9), POINT(279.2, 38.8)))
--= SELECT COUNT(*) FROM hipparcos.main WHERE dec BETWEEN 5 AND 60 AND inside(ra, dec, 279.2, 38.8, 297.7, 8.9, 310.4, 45.3)

--# concave polygon
SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(80, -12, 92, -12, 92, 12, 86, -4, 80, 12))
--= SELECT star FROM hipparcos.main WHERE dec BETWEEN -15 AND 15 AND ra BETWEEN 70 AND 100 AND inside(ra, dec, 80, -12, 92, -12, 92, 12, 86, -4, 80, 12)

--# polygon over 0/360
SELECT id FROM openngc.main WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON('ICRS', 356, -4, 5, -6, 4, 7, 357, 5))
--= SELECT id FROM openngc.main WHERE inside(ra, dec, 356, -4, 5, -6, 4, 7, 357, 5)

--# polygon over the pole
SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), POLYGON(10, 86, 130, 85, 250, 87))
--= SELECT star FROM hipparcos.main WHERE dec > 80 AND inside(ra, dec, 10, 86, 130, 85, 250, 87)

--# outside a large polygon
SELECT COUNT(*) AS n FROM openngc.main WHERE 0 = CONTAINS(POINT(ra, dec), POLYGON(100, -40, 170, -45, 175, 40, 105, 35))
--= SELECT COUNT(*) FROM openngc.main WHERE NOT inside(ra, dec, 100, -40, 170, -45, 175, 40, 105, 35)

--# box by its coordinates
SELECT star FROM hipparcos.main WHERE ra BETWEEN 56 AND 58 AND dec BETWEEN 23.2 AND 25
--= SELECT star FROM hipparcos.main WHERE ra BETWEEN 56 AND 58 AND dec BETWEEN 23.2 AND 25

--# box over 0/360 by its coordinates
SELECT id FROM openngc.main WHERE (ra > 359 OR ra < 1) AND ABS(dec) < 10
--= SELECT id FROM openngc.main WHERE (ra > 359 OR ra < 1) AND ABS(dec) < 10

--# REGION in STC-S
SELECT star FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), REGION('CIRCLE ICRS 130.1 19.7 1.5'))
--= SELECT star FROM hipparcos.main WHERE sep(ra, dec, 130.1, 19.7) <= 1.5

--# INTERSECTS with circles of the rows
SELECT id FROM openngc.main WHERE major_axis > 60 AND 1 = INTERSECTS(CIRCLE(ra, dec, major_axis / 120), CIRCLE(85, 0, 12))
--= SELECT id FROM openngc.main WHERE major_axis > 60 AND sep(ra, dec, 85, 0) <= 12 + major_axis / 120

--# COORD1, COORD2, CENTROID
SELECT star, COORD1(POINT(ra, dec)) AS lon, COORD2(CENTROID(CIRCLE(ra, dec, 0.5))) AS lat FROM hipparcos.main WHERE star BETWEEN 100 AND 110
--= SELECT star, ra, dec FROM hipparcos.main WHERE star BETWEEN 100 AND 110

--# AREA of the fields of large objects
SELECT id, AREA(CIRCLE(ra, dec, major_axis / 120)) AS a FROM openngc.main WHERE major_axis > 100
--= SELECT id, 2 * pi() * (1 - cos(radians(major_axis / 120))) * degrees(1) * degrees(1) FROM openngc.main WHERE major_axis > 100

--# separation from the brightest star
SELECT a.star, DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) AS d FROM hipparcos.main AS a, hipparcos.main AS b WHERE b.name = 'Sirius' AND a.vmag < 1
--= SELECT a.star, sep(a.ra, a.dec, b.ra, b.dec) FROM hipparcos.main a, hipparcos.main b WHERE b.name = 'Sirius' AND a.vmag < 1

--# cross-match by DISTANCE of points
SELECT g.id, s.star FROM openngc.main AS g JOIN hipparcos.main AS s ON DISTANCE(POINT(g.ra, g.dec), POINT(s.ra, s.dec)) < 0.02
--= SELECT g.id, s.star FROM openngc.main g JOIN hipparcos.main s ON s.dec BETWEEN g.dec - 0.021 AND g.dec + 0.021 AND abs(cos(radians(g.dec)) * sin(radians((s.ra - g.ra) / 2))) < 0.0004 AND sep(g.ra, g.dec, s.ra, s.dec) < 0.02

--# cross-match by DISTANCE of four numbers
SELECT j.id1, s.star, DISTANCE(j.raj2000, j.dej2000, s.ra, s.dec) AS d FROM jmdc.main AS j JOIN hipparcos.main AS s ON DISTANCE(j.raj2000, j.dej2000, s.ra, s.dec) < 0.003 WHERE s.vmag < 2
--= SELECT j.id1, s.star, sep(j.raj2000, j.dej2000, s.ra, s.dec) FROM jmdc.main j JOIN hipparcos.main s ON s.vmag < 2 AND abs(s.dec - j.dej2000) < 0.004 AND sep(j.raj2000, j.dej2000, s.ra, s.dec) < 0.003

--# cross-match by CONTAINS, sizes of the rows as radii
SELECT g.id, COUNT(*) AS n FROM openngc.main AS g JOIN hipparcos.main AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(g.ra, g.dec, g.major_axis / 120)) WHERE g.major_axis > 40 GROUP BY g.id
--= SELECT g.id, COUNT(*) FROM openngc.main g JOIN hipparcos.main s ON s.dec BETWEEN g.dec - g.major_axis / 119 AND g.dec + g.major_axis / 119 AND sep(s.ra, s.dec, g.ra, g.dec) <= g.major_axis / 120 WHERE g.major_axis > 40 GROUP BY g.id

--# cross-match with LEFT JOIN: all of the left side
SELECT g.id, s.star FROM openngc.main AS g LEFT JOIN hipparcos.main AS s ON 1 = CONTAINS(POINT(s.ra, s.dec), CIRCLE(g.ra, g.dec, 0.1)) WHERE g.magnitude < 6
--= SELECT g.id, s.star FROM openngc.main g LEFT JOIN hipparcos.main s ON s.dec BETWEEN g.dec - 0.11 AND g.dec + 0.11 AND sep(s.ra, s.dec, g.ra, g.dec) <= 0.1 WHERE g.magnitude < 6

--# who has no partner
SELECT g.id FROM openngc.main AS g LEFT JOIN hipparcos.main AS s ON DISTANCE(POINT(s.ra, s.dec), POINT(g.ra, g.dec)) < 0.2 WHERE g.magnitude < 8 AND s.star IS NULL
--= SELECT g.id FROM openngc.main g WHERE g.magnitude < 8 AND NOT EXISTS (SELECT 1 FROM hipparcos.main s WHERE s.dec BETWEEN g.dec - 0.21 AND g.dec + 0.21 AND sep(s.ra, s.dec, g.ra, g.dec) < 0.2)

--# pairs of bright stars
SELECT a.star, b.star AS other, DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) * 3600 AS arcsec FROM hipparcos.main AS a JOIN hipparcos.main AS b ON DISTANCE(POINT(a.ra, a.dec), POINT(b.ra, b.dec)) < 0.05 WHERE a.star < b.star AND a.vmag < 5 AND b.vmag < 5
--= SELECT a.star, b.star, sep(a.ra, a.dec, b.ra, b.dec) * 3600 FROM hipparcos.main a JOIN hipparcos.main b ON b.dec BETWEEN a.dec - 0.06 AND a.dec + 0.06 WHERE a.star < b.star AND a.vmag < 5 AND b.vmag < 5 AND sep(a.ra, a.dec, b.ra, b.dec) < 0.05

--# the nearest bright star of each bright galaxy
SELECT g.id, (SELECT MIN(DISTANCE(g.ra, g.dec, s.ra, s.dec)) FROM hipparcos.main AS s WHERE s.vmag < 2) AS d FROM openngc.main AS g WHERE g.magnitude < 5
--= SELECT g.id, (SELECT MIN(sep(g.ra, g.dec, s.ra, s.dec)) FROM hipparcos.main s WHERE s.vmag < 2) FROM openngc.main g WHERE g.magnitude < 5

--# Tycho-2 and Hipparcos, by position and brightness
SELECT t.tyc1, t.tyc2, s.star FROM tycho.main AS t JOIN hipparcos.main AS s ON 1 = CONTAINS(POINT(t.radeg, t.dedeg), CIRCLE(s.ra, s.dec, 0.001)) WHERE s.vmag < 7 AND ABS(t.vtmag - s.vmag) < 0.5
--= SELECT t.tyc1, t.tyc2, s.star FROM hipparcos.main s JOIN tycho.main t ON t.dedeg BETWEEN s.dec - 0.0011 AND s.dec + 0.0011 AND sep(t.radeg, t.dedeg, s.ra, s.dec) <= 0.001 WHERE s.vmag < 7 AND ABS(t.vtmag - s.vmag) < 0.5

--# a match within a subquery's cone
SELECT n.star, g.id FROM (SELECT star, ra, dec FROM hipparcos.main WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(187, 12, 3))) AS n JOIN openngc.main AS g ON DISTANCE(POINT(n.ra, n.dec), POINT(g.ra, g.dec)) < 0.1
--= SELECT s.star, g.id FROM hipparcos.main s JOIN openngc.main g ON g.dec BETWEEN s.dec - 0.11 AND s.dec + 0.11 AND sep(s.ra, s.dec, g.ra, g.dec) < 0.1 WHERE sep(s.ra, s.dec, 187, 12) <= 3

--# EXISTS with a position
SELECT g.id FROM openngc.main AS g WHERE g.magnitude < 7 AND EXISTS (SELECT 1 FROM hipparcos.main AS s WHERE s.vmag < 4 AND DISTANCE(POINT(s.ra, s.dec), POINT(g.ra, g.dec)) < 1)
--= SELECT g.id FROM openngc.main g WHERE g.magnitude < 7 AND EXISTS (SELECT 1 FROM hipparcos.main s WHERE s.dec BETWEEN g.dec - 1.1 AND g.dec + 1.1 AND s.vmag < 4 AND sep(s.ra, s.dec, g.ra, g.dec) < 1)

--# how many neighbours
SELECT a.star, COUNT(b.star) AS n FROM hipparcos.main AS a LEFT JOIN hipparcos.main AS b ON DISTANCE(a.ra, a.dec, b.ra, b.dec) < 0.3 AND a.star <> b.star WHERE a.vmag < 2.5 GROUP BY a.star ORDER BY n DESC, a.star
--= SELECT a.star, COUNT(b.star) AS n FROM hipparcos.main a LEFT JOIN hipparcos.main b ON b.dec BETWEEN a.dec - 0.31 AND a.dec + 0.31 AND sep(a.ra, a.dec, b.ra, b.dec) < 0.3 AND a.star <> b.star WHERE a.vmag < 2.5 GROUP BY a.star ORDER BY n DESC, a.star

--# stars along a great circle's neighbourhood
SELECT star FROM hipparcos.main WHERE vmag < 3 AND ABS(DISTANCE(ra, dec, 192.859508, 27.128336) - 90) < 5
--= SELECT star FROM hipparcos.main WHERE vmag < 3 AND ABS(sep(ra, dec, 192.859508, 27.128336) - 90) < 5

--# galactic coordinates
SELECT star, COORD1(ivo_geom_transform('ICRS', 'GALACTIC', POINT(ra, dec))) AS l, COORD2(ivo_geom_transform('ICRS', 'GALACTIC', POINT(ra, dec))) AS b FROM hipparcos.main WHERE vmag < 1.5
--= SELECT star, gal_l(ra, dec), gal_b(ra, dec) FROM hipparcos.main WHERE vmag < 1.5

--# HEALPix cells
SELECT ivo_healpix_index(2, ra, dec) AS cell, COUNT(*) AS n FROM hipparcos.main GROUP BY ivo_healpix_index(2, ra, dec)
--= SELECT healpix(2, ra, dec) AS cell, COUNT(*) FROM hipparcos.main GROUP BY cell

--# fine HEALPix cells
SELECT id, ivo_healpix_index(20, POINT(ra, dec)) AS cell FROM openngc.main WHERE magnitude < 9
--= SELECT id, healpix(20, ra, dec) FROM openngc.main WHERE magnitude < 9

--# the nearest stars in a hundred years
SELECT star, COORD2(ivo_epoch_prop_pos(ra, dec, parallax, pm_ra, pm_dec, 0, 2000, 2100)) AS later FROM hipparcos.main WHERE parallax > 300
--= SELECT star, moved_dec(ra, dec, parallax, pm_ra, pm_dec, 0, 2000, 2100) FROM hipparcos.main WHERE parallax > 300
