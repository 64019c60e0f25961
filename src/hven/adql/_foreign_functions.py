"""Functions of other databases and services that queries here do not have, and what to write in their place."""

from __future__ import annotations

from typing import Final

#: Name in upper case -> remedy: of PostgreSQL, Oracle, SQL Server, MySQL, SQLite; from Q3C_RADIAL_QUERY on of astronomers' databases and services.
ELSEWHERE: Final[dict[str, str]] = {
    name: remedy
    for names, _, remedy in (
        line.partition(": ")
        for line in r"""
NVL, IFNULL, ISNULL, ZEROIFNULL: write COALESCE(a, b)
IF, IIF, DECODE, NVL2, CHOOSE: write CASE WHEN condition THEN a ELSE b END
NULLIF: write CASE WHEN a <> b THEN a END
TO_CHAR, STR, FORMAT, CHR: write CAST(x AS VARCHAR)
TO_NUMBER, TRY_CAST, CONVERT, TRY_CONVERT, INT, FLOAT: write CAST(x AS DOUBLE PRECISION), or another type
TO_DATE, TO_TIMESTAMP, STR_TO_DATE, STRPTIME, DATE, DATETIME, TIMESTAMP: write CAST('2026-11-20T10:15:00' AS TIMESTAMP)
NOW, GETDATE, SYSDATE, CURDATE, GETUTCDATE, CLOCK_TIMESTAMP: write the time as a string: '2026-11-20T10:15:00'
DATEDIFF, AGE, TIMESTAMPDIFF, DATE_DIFF, JULIANDAY: subtract days: ivo_to_mjd(t2) - ivo_to_mjd(t1)
DATEADD, DATE_ADD, DATE_SUB: compute with days: ISO(ivo_to_jd(t) + 1); add_months(t, n) is right for months
EXTRACT, DATE_PART, DATEPART, YEAR, MONTH, DAY, HOUR, MINUTE, SECOND, DATE_TRUNC, STRFTIME: cut it out of the text: CAST(SPLIT_PART(CAST(t AS VARCHAR), '-', 1) AS INTEGER) is the year
SUBSTR, SUBSTRING, LEFT, RIGHT, MID: write REGEXP_EXTRACT(s, '^.{4}(.{3})', 1) for three characters behind the fourth, or SPLIT_PART(s, separator, n)
LEN, CHAR_LENGTH, CHARACTER_LENGTH, OCTET_LENGTH, DATALENGTH: write LENGTH(s)
CONCAT, CONCAT_WS, STRCAT: join strings with ||: a || ' ' || b
TRIM, LTRIM, RTRIM, BTRIM: write REGEXP_REPLACE(s, '^ +| +$', '')
LPAD, RPAD: write CAST(s AS CHAR(n)), which fills up with blanks behind
INSTR, POSITION, STRPOS, CHARINDEX, LOCATE: write s LIKE '%text%' to know whether it is there
LCASE: write LOWER(s)
UCASE, INITCAP: write UPPER(s)
REGEXP_LIKE, REGEXP_MATCHES, REGEXP_CONTAINS, SIMILAR_TO: write REGEXP_MATCH(s, pattern) = 1
REGEXP_SUBSTR: write REGEXP_EXTRACT(s, pattern)
TRANSLATE: write REPLACE(s, old, new), or REGEXP_REPLACE(s, pattern, new)
CEIL: write CEILING(x)
POW: write POWER(x, y)
LN: write LOG(x), which is the natural logarithm
LOG2: write LOG(x) / LOG(2)
CBRT: write POWER(x, 1.0 / 3)
TRUNC: write TRUNCATE(x, n)
SQUARE: write x * x
RANDOM, DBMS_RANDOM: write RAND()
SINH, COSH, TANH: write it with EXP: (EXP(x) - EXP(-x)) / 2 is sinh
SIND, COSD, TAND: angles are radians: SIN(RADIANS(x))
ASIND, ACOSD, ATAND: angles are radians: DEGREES(ASIN(x))
DIV, QUOTIENT: write a / b, which is cut towards zero for whole numbers
BITAND, BITOR, BITXOR, BITNOT, BIT_AND, BIT_OR: write the operator: a & b, a | b, a ^ b, ~a
STDDEV_SAMP, STDEV, STD: write STDDEV(x)
STDDEV_POP, STDEVP: write SQRT(AVG(x * x) - AVG(x) * AVG(x)); STDDEV(x) is that of the sample
VAR_SAMP, VAR: write VARIANCE(x)
VAR_POP, VARP: write AVG(x * x) - AVG(x) * AVG(x); VARIANCE(x) is that of the sample
PERCENTILE_CONT, PERCENTILE_DISC, QUANTILE, APPROX_PERCENTILE: MEDIAN(x) is the middle value; for others number the rows with NTILE(n) OVER (ORDER BY x)
MEAN, AVERAGE: write AVG(x)
MODE: count: GROUP BY x ORDER BY COUNT(*) DESC
ANY_VALUE: write MIN(x)
STRING_AGG, GROUP_CONCAT, LISTAGG: write IVO_STRING_AGG(s, ', ')
ARRAY_AGG, COLLECT_LIST, JSON_AGG: write IVO_STRING_AGG(s, ', ') for text, IVO_HISTOGRAM for numbers
BOOL_AND, EVERY: write MIN(CASE WHEN condition THEN 1 ELSE 0 END)
BOOL_OR: write MAX(CASE WHEN condition THEN 1 ELSE 0 END)
UNNEST, GENERATE_SERIES, EXPLODE: rows are not made of arrays here; a[n] is an element
ARRAY_LENGTH, CARDINALITY, ARRAY_SIZE: write ARR_LENGTH(a)
Q3C_RADIAL_QUERY, Q3C_JOIN, Q3C_DIST, Q3C_ELLIPSE_QUERY, CONE, FGETNEARBYOBJEQ, SPHERE_DIST: write DISTANCE(POINT(ra, dec), POINT(lon, lat)) < r, which uses the position index
Q3C_POLY_QUERY: write 1 = CONTAINS(POINT(ra, dec), POLYGON(...)), which uses the position index
Q3C_ANG2IPIX, HEALPIX_ANG2IPIX_NEST: write IVO_HEALPIX_INDEX(order, lon, lat)
GAIA_HEALPIX_INDEX: write IVO_HEALPIX_INDEX(order, lon, lat), or source_id / 34359738368 for order 12
ESDC_HEALPIX_INDEX, HEALPIX_NEST: write IVO_HEALPIX_INDEX(order, lon, lat)
EPOCH_PROP_POS, EPOCH_PROP, ESDC_EPOCH_PROP_POS: write IVO_EPOCH_PROP_POS(ra, dec, parallax, pmra, pmdec, radial_velocity, ref_epoch, out_epoch)
IVO_APPLY_PM: it was withdrawn; write GAVO_APPLY_PM, or IVO_EPOCH_PROP_POS
IVO_INTERVAL_HAS: it was withdrawn; write x BETWEEN low AND high
SPOINT, SCIRCLE, SPOLY: write POINT, CIRCLE, POLYGON, in degrees
COORD_X, LONG, LON: write COORD1(p)
LAT: write COORD2(p)
GAVO_URLESCAPE: the text can be changed with REPLACE(s, old, new)
ARR_MAP: the functions ARR_SUM, ARR_AVG, ARR_MIN, ARR_MAX, ARR_STDDEV, ARR_DOT take whole arrays; a[n] is an element
BOX2D, ELLIPSE: write CIRCLE, BOX or POLYGON
""".strip().splitlines()
    )
    for name in names.split(", ")
}
