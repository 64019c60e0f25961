-- Values: functions, conditions, types, text, time. Read by tests/outside/test_hundred.py.

--# absolute magnitude and distance
SELECT star, 1000 / parallax AS pc, vmag + 5 + 5 * LOG10(parallax / 1000) AS abs_mag FROM hipparcos.main WHERE parallax > 150
--= SELECT star, 1000 / parallax, vmag + 5 + 5 * log10(parallax / 1000) FROM hipparcos.main WHERE parallax > 150

--# proper motion in total
SELECT star, SQRT(POWER(pm_ra, 2) + POWER(pm_dec, 2)) AS pm FROM hipparcos.main WHERE SQRT(pm_ra * pm_ra + pm_dec * pm_dec) > 3000
--= SELECT star, sqrt(pm_ra * pm_ra + pm_dec * pm_dec) FROM hipparcos.main WHERE sqrt(pm_ra * pm_ra + pm_dec * pm_dec) > 3000

--# unit vectors
SELECT star, COS(RADIANS(dec)) * COS(RADIANS(ra)) AS x, COS(RADIANS(dec)) * SIN(RADIANS(ra)) AS y, SIN(RADIANS(dec)) AS z FROM hipparcos.main WHERE vmag < 1
--= SELECT star, cos(radians(dec)) * cos(radians(ra)), cos(radians(dec)) * sin(radians(ra)), sin(radians(dec)) FROM hipparcos.main WHERE vmag < 1

--# inverse functions
SELECT star, DEGREES(ATAN2(pm_ra, pm_dec)) AS pa, ASIN(dec / 90) AS a, ACOS(dec / 90) AS b, ATAN(vmag) AS c, TAN(RADIANS(dec)) AS d, COT(RADIANS(ra)) AS e FROM hipparcos.main WHERE vmag < 1
--= SELECT star, degrees(atan2(pm_ra, pm_dec)), asin(dec / 90), acos(dec / 90), atan(vmag), tan(radians(dec)), 1 / tan(radians(ra)) FROM hipparcos.main WHERE vmag < 1

--# rounding
SELECT star, ROUND(ra, 2) AS a, ROUND(dec) AS b, TRUNCATE(dec, 1) AS c, FLOOR(dec) AS d, CEILING(dec) AS e, ABS(dec) AS f FROM hipparcos.main WHERE star BETWEEN 1000 AND 1200
--= SELECT star, round(ra, 2), round(dec), digits(dec, 1), floor(dec), ceil(dec), abs(dec) FROM hipparcos.main WHERE star BETWEEN 1000 AND 1200

--# exponentials
SELECT id, EXP(magnitude / 10) AS a, LOG(major_axis) AS b, POWER(10, -0.4 * magnitude) AS c FROM openngc.main WHERE magnitude < 6 AND major_axis > 0
--= SELECT id, exp(magnitude / 10), ln(major_axis), power(10, -0.4 * magnitude) FROM openngc.main WHERE magnitude < 6 AND major_axis > 0

--# what a function is not defined for is NULL
SELECT star, SQRT(dec) AS a, LOG(dec) AS b FROM hipparcos.main WHERE star <= 40
--= SELECT star, CASE WHEN dec >= 0 THEN sqrt(dec) END, CASE WHEN dec > 0 THEN ln(dec) END FROM hipparcos.main WHERE star <= 40

--# integer division and remainder
SELECT tyc1, tyc2 / 1000 AS a, MOD(tyc2, 1000) AS b, -tyc2 / 7 AS c, MOD(-tyc2, 7) AS d, tyc2 / 7.0 AS e, tyc2 % 5 AS f FROM tycho.main WHERE vtmag < 6
--= SELECT tyc1, tyc2 / 1000, tyc2 % 1000, -tyc2 / 7, -tyc2 % 7, tyc2 / 7.0, tyc2 % 5 FROM tycho.main WHERE vtmag < 6

--# division by zero is NULL
SELECT id, ch_npix / (chg_num - 1) AS r, ch_mean_int / (chg_num - 1) AS q FROM charm.main WHERE id <= 30
--= SELECT id, ch_npix / (chg_num - 1), ch_mean_int / (chg_num - 1) FROM charm.main WHERE id <= 30

--# precedence and signs
SELECT star, 2 + 3 * vmag - -vmag / 2 AS a, (2 + 3) * -(vmag - 1) AS b FROM hipparcos.main WHERE vmag < 0.5
--= SELECT star, 2 + 3 * vmag - -vmag / 2, (2 + 3) * -(vmag - 1) FROM hipparcos.main WHERE vmag < 0.5

--# whole numbers beyond 32 bits
SELECT tyc1, CAST(tyc1 AS BIGINT) * 100000000 + tyc2 * 10 + tyc3 AS code, tyc1 * 2000000 AS large FROM tycho.main WHERE vtmag < 5
--= SELECT tyc1, tyc1 * 100000000 + tyc2 * 10 + tyc3, tyc1 * 2000000 FROM tycho.main WHERE vtmag < 5

--# bits
SELECT id, cc_length & 7 AS a, cc_length | 1 AS b, ~id AS c FROM charm.main WHERE id < 50
--= SELECT id, cc_length & 7, cc_length | 1, ~id FROM charm.main WHERE id < 50

--# NULL logic: neither so nor not so
SELECT COUNT(*) AS n FROM openngc.main WHERE NOT (magnitude < 12) AND NOT (major_axis > 1 OR magnitude > 14)
--= SELECT COUNT(*) FROM openngc.main WHERE magnitude >= 12 AND major_axis <= 1 AND magnitude <= 14

--# NULL logic: true OR NULL
SELECT COUNT(*) AS n FROM openngc.main WHERE magnitude < 12 OR dec > 0
--= SELECT COUNT(*) FROM openngc.main WHERE CASE WHEN dec > 0 THEN 1 WHEN magnitude < 12 THEN 1 ELSE 0 END

--# NOT BETWEEN and NOT IN over NULL
SELECT COUNT(*) AS n FROM tycho.main WHERE hip NOT BETWEEN 90000 AND 95000 AND hip NOT IN (96000, 96100)
--= SELECT COUNT(*) FROM tycho.main WHERE (hip < 90000 OR hip > 95000) AND hip <> 96000 AND hip <> 96100

--# IS NULL, IS NOT NULL
SELECT COUNT(*) AS n FROM tycho.main WHERE pmra IS NULL AND vtmag IS NOT NULL
--= SELECT COUNT(*) FROM tycho.main WHERE pmra IS NULL AND vtmag IS NOT NULL

--# COALESCE of columns
SELECT tyc1, tyc2, COALESCE(btmag, vtmag, 99.0) AS m, COALESCE(hip, -1) AS h FROM tycho.main WHERE COALESCE(btmag, vtmag) < 5
--= SELECT tyc1, tyc2, COALESCE(btmag, vtmag, 99.0), COALESCE(hip, -1) FROM tycho.main WHERE COALESCE(btmag, vtmag) < 5

--# searched CASE
SELECT CASE WHEN b_v < 0 THEN 'blue' WHEN b_v < 1 THEN 'white' WHEN b_v >= 1 THEN 'red' ELSE 'unknown' END AS colour, COUNT(*) AS n FROM hipparcos.main GROUP BY CASE WHEN b_v < 0 THEN 'blue' WHEN b_v < 1 THEN 'white' WHEN b_v >= 1 THEN 'red' ELSE 'unknown' END
--= SELECT CASE WHEN b_v < 0 THEN 'blue' WHEN b_v < 1 THEN 'white' WHEN b_v >= 1 THEN 'red' ELSE 'unknown' END AS colour, COUNT(*) FROM hipparcos.main GROUP BY colour

--# simple CASE without ELSE
SELECT id, CASE chg_num WHEN 1 THEN 'one' WHEN 2 THEN 'two' END AS word FROM charm.main WHERE id < 100
--= SELECT id, CASE chg_num WHEN 1 THEN 'one' WHEN 2 THEN 'two' END FROM charm.main WHERE id < 100

--# CAST of numbers
SELECT star, CAST(vmag AS INTEGER) AS a, CAST(star AS DOUBLE PRECISION) / 2 AS b, CAST(star AS VARCHAR) AS c, CAST(star AS CHAR(3)) AS d FROM hipparcos.main WHERE star BETWEEN 12340 AND 12400
--= SELECT star, nearest(vmag), star / 2.0, CAST(star AS TEXT), substr(star, 1, 3) FROM hipparcos.main WHERE star BETWEEN 12340 AND 12400

--# CAST of text
SELECT id1, CAST(hd AS INTEGER) AS n FROM jmdc.main WHERE CAST(hd AS INTEGER) < 5000
--= SELECT id1, CAST(hd AS INTEGER) FROM jmdc.main WHERE CAST(hd AS INTEGER) < 5000

--# LIKE heeds case
SELECT name FROM openngc.main WHERE name LIKE 'NGC 7_' OR name LIKE 'ngc%'
--= SELECT name FROM openngc.main WHERE name LIKE 'NGC 7_' OR name LIKE 'ngc%'

--# ILIKE does not
SELECT id, long_name FROM openngc.main WHERE long_name ILIKE '%NEBULA%' AND id NOT ILIKE 'ic%'
--= SELECT id, long_name FROM openngc.main WHERE lower(long_name) LIKE '%nebula%' AND NOT lower(id) LIKE 'ic%'

--# NOT LIKE over NULL
SELECT COUNT(*) AS n FROM flares.main WHERE optical_class NOT LIKE 'S%'
--= SELECT COUNT(*) FROM flares.main WHERE optical_class NOT LIKE 'S%'

--# UPPER, LOWER, concatenation
SELECT UPPER(name) || ' (' || LOWER(sp_type) || ')' AS label FROM hipparcos.main WHERE vmag < 2
--= SELECT upper(name) || ' (' || lower(sp_type) || ')' FROM hipparcos.main WHERE vmag < 2

--# quotes in text
SELECT name, 'it''s' AS a FROM hipparcos.main WHERE name LIKE '%''%' OR vmag < 0
--= SELECT name, 'it''s' FROM hipparcos.main WHERE name LIKE '%''%' OR vmag < 0

--# text compared
SELECT id FROM openngc.main WHERE id >= 'NGC7800' AND id < 'NGC7810'
--= SELECT id FROM openngc.main WHERE id >= 'NGC7800' AND id < 'NGC7810'

--# length, replace, parts
SELECT id, LENGTH(long_name) AS n, REPLACE(long_name, ' ', '_') AS r, SPLIT_PART(long_name, ',', 1) AS p FROM openngc.main WHERE magnitude < 7
--= SELECT id, length(long_name), replace(long_name, ' ', '_'), CASE WHEN instr(long_name, ',') THEN substr(long_name, 1, instr(long_name, ',') - 1) ELSE long_name END FROM openngc.main WHERE magnitude < 7

--# regular expressions
SELECT id FROM openngc.main WHERE 1 = gavo_match('^(NGC|IC)0*1[0-9]$', id)
--= SELECT id FROM openngc.main WHERE matches('^(NGC|IC)0*1[0-9]$', id)

--# regular expressions that replace
SELECT id, REGEXP_REPLACE(id, '([A-Z]+)0*([0-9]+)', '\1 \2') AS spaced FROM openngc.main WHERE magnitude < 5
--= SELECT id, swap('([A-Z]+)0*([0-9]+)', '\1 \2', id) FROM openngc.main WHERE magnitude < 5

--# ivo_nocasematch
SELECT name FROM hipparcos.main WHERE 1 = ivo_nocasematch(name, 'al%a%')
--= SELECT name FROM hipparcos.main WHERE lower(name) LIKE 'al%a%'

--# ivo_hashlist_has
SELECT dataset, COUNT(*) AS n FROM maser.main WHERE 1 = ivo_hashlist_has(LOWER(feature_name), 'akr') GROUP BY dataset
--= SELECT dataset, COUNT(*) FROM maser.main WHERE '#' || lower(feature_name) || '#' LIKE '%#akr#%' GROUP BY dataset

--# ivo_hasword
SELECT id FROM openngc.main WHERE 1 = ivo_hasword(long_name, 'nebula')
--= SELECT id FROM openngc.main WHERE matches('(?i)(?<![A-Za-z0-9])nebula(?![A-Za-z0-9])', long_name)

--# ivo_string_agg of a group of one value
SELECT method, ivo_string_agg(method_name, '+') AS letters FROM (SELECT DISTINCT method, CASE method WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END AS method_name FROM jmdc.main) AS q GROUP BY method
--= SELECT method, CASE method WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END FROM jmdc.main GROUP BY method

--# Julian dates of timestamps
SELECT id, ivo_to_jd(obs_date) AS jd, ivo_to_mjd(run_date) AS mjd FROM charm.main WHERE id < 60
--= SELECT id, jd(obs_date), jd(run_date) - 2400000.5 FROM charm.main WHERE id < 60

--# BETWEEN of timestamps
SELECT id FROM charm.main WHERE obs_date BETWEEN '2010-07-01T00:00:00' AND '2010-08-01'
--= SELECT id FROM charm.main WHERE obs_date BETWEEN '2010-07-01T00:00:00.000' AND '2010-08-01T00:00:00.000'

--# the first and the last time of a group
SELECT chg_num, MIN(obs_date) AS a, MAX(obs_date) AS b FROM charm.main GROUP BY chg_num
--= SELECT chg_num, replace(MIN(obs_date), '.000', ''), replace(MAX(obs_date), '.000', '') FROM charm.main GROUP BY chg_num

--# IN_UNIT
SELECT star, IN_UNIT(parallax, 'arcsec') AS p, IN_UNIT(ra, 'rad') AS r, IN_UNIT(pm_ra, 'arcsec/yr') AS m FROM hipparcos.main WHERE parallax > 250
--= SELECT star, unit(parallax, 'mas', 'arcsec'), unit(ra, 'deg', 'rad'), unit(pm_ra, 'mas/yr', 'arcsec/yr') FROM hipparcos.main WHERE parallax > 250

--# IN_UNIT in a condition
SELECT id FROM openngc.main WHERE IN_UNIT(major_axis, 'deg') > 1.5
--= SELECT id FROM openngc.main WHERE unit(major_axis, 'arcmin', 'deg') > 1.5

--# least, greatest, sign
SELECT tyc1, tyc2, GREATEST(btmag, vtmag) AS g, LEAST(btmag, vtmag) AS l, SIGN(pmra) AS s FROM tycho.main WHERE vtmag < 6
--= SELECT tyc1, tyc2, max(coalesce(btmag, vtmag), vtmag), min(coalesce(btmag, vtmag), vtmag), sign(pmra) FROM tycho.main WHERE vtmag < 6

--# intervals of frequency that overlap
SELECT file FROM maser.main WHERE 1 = ivo_interval_overlaps(spectral_range_min, spectral_range_max, 1e6, 2e6)
--= SELECT file FROM maser.main WHERE spectral_range_min <= 2e6 AND spectral_range_max >= 1e6

--# a REAL beside an INTEGER gives DOUBLE PRECISION
SELECT star, vmag + 1 AS a, (2 + 3) * (vmag - star) AS b, MOD(vmag, 2) AS c, CASE WHEN vmag < 0 THEN vmag ELSE 16777216 + star END AS d, COALESCE(CAST(NULL AS REAL), star + 16777216) AS e, GREATEST(vmag, star + 16777216) AS f FROM hipparcos.main WHERE star < 10
--= SELECT star, vmag + 1, (2 + 3) * (vmag - star), vmag - 2 * CAST(vmag / 2 AS INTEGER), CASE WHEN vmag < 0 THEN vmag ELSE 16777216 + star END, star + 16777216, star + 16777216 FROM hipparcos.main WHERE star < 10
