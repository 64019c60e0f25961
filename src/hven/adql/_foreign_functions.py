"""Functions of other databases and services that this service does not have, with the remedy for each."""

from __future__ import annotations

from typing import Final

_TIME_REMEDY: Final = "write the time as a string: '2026-11-20T10:15:00'"
_DIFFERENCE_REMEDY: Final = "subtract days: ivo_to_mjd(t2) - ivo_to_mjd(t1)"
_TIME_PART_REMEDY: Final = (
    "convert the time to text and split it: CAST(SPLIT_PART(CAST(t AS VARCHAR), '-', 1) AS INTEGER) is the year"
)
_CONE_REMEDY: Final = "write DISTANCE(POINT(ra, dec), POINT(lon, lat)) < r, which uses the position index"
_TEXT_CAST_REMEDY: Final = "write CAST(x AS VARCHAR)"
_CASE_REMEDY: Final = "write CASE WHEN condition THEN a ELSE b END"
_COALESCE_REMEDY: Final = "write COALESCE(a, b)"
_SUBSTRING_REMEDY: Final = (
    "write REGEXP_EXTRACT(s, '^.{4}(.{3})', 1) for three characters after the fourth, or SPLIT_PART(s, separator, n)"
)
_AGGREGATION_REMEDY: Final = "write IVO_STRING_AGG(s, ', ') for text, IVO_HISTOGRAM for numbers"
_BITWISE_REMEDY: Final = "write the operator: a & b, a | b, a ^ b, ~a"

#: Name in upper case -> remedy.
FOREIGN_FUNCTION_REMEDIES: Final[dict[str, str]] = {
    # PostgreSQL, Oracle, SQL Server, MySQL, SQLite
    **dict.fromkeys(("NVL", "IFNULL", "ISNULL", "ZEROIFNULL"), _COALESCE_REMEDY),
    **dict.fromkeys(("IF", "IIF", "DECODE", "NVL2", "CHOOSE"), _CASE_REMEDY),
    "NULLIF": "write CASE WHEN a <> b THEN a END",
    **dict.fromkeys(("TO_CHAR", "STR", "FORMAT", "CHR"), _TEXT_CAST_REMEDY),
    **dict.fromkeys(
        ("TO_NUMBER", "TRY_CAST", "CONVERT", "TRY_CONVERT", "INT", "FLOAT"),
        "write CAST(x AS DOUBLE PRECISION), or another type",
    ),
    **dict.fromkeys(
        ("TO_DATE", "TO_TIMESTAMP", "STR_TO_DATE", "STRPTIME", "DATE", "DATETIME", "TIMESTAMP"),
        "write CAST('2026-11-20T10:15:00' AS TIMESTAMP)",
    ),
    **dict.fromkeys(("NOW", "GETDATE", "SYSDATE", "CURDATE", "GETUTCDATE", "CLOCK_TIMESTAMP"), _TIME_REMEDY),
    **dict.fromkeys(("DATEDIFF", "AGE", "TIMESTAMPDIFF", "DATE_DIFF", "JULIANDAY"), _DIFFERENCE_REMEDY),
    **dict.fromkeys(
        ("DATEADD", "DATE_ADD", "DATE_SUB"),
        "compute with days: ISO(ivo_to_jd(t) + 1); for months, use add_months(t, n)",
    ),
    **dict.fromkeys(
        (
            "EXTRACT",
            "DATE_PART",
            "DATEPART",
            "YEAR",
            "MONTH",
            "DAY",
            "HOUR",
            "MINUTE",
            "SECOND",
            "DATE_TRUNC",
            "STRFTIME",
        ),
        _TIME_PART_REMEDY,
    ),
    **dict.fromkeys(("SUBSTR", "SUBSTRING", "LEFT", "RIGHT", "MID"), _SUBSTRING_REMEDY),
    **dict.fromkeys(("LEN", "CHAR_LENGTH", "CHARACTER_LENGTH", "OCTET_LENGTH", "DATALENGTH"), "write LENGTH(s)"),
    **dict.fromkeys(("CONCAT", "CONCAT_WS", "STRCAT"), "join strings with ||: a || ' ' || b"),
    **dict.fromkeys(("TRIM", "LTRIM", "RTRIM", "BTRIM"), "write REGEXP_REPLACE(s, '^ +| +$', '')"),
    **dict.fromkeys(("LPAD", "RPAD"), "write CAST(s AS CHAR(n)), which pads with spaces at the end"),
    **dict.fromkeys(
        ("INSTR", "POSITION", "STRPOS", "CHARINDEX", "LOCATE"), "write s LIKE '%text%' to test whether s contains it"
    ),
    **dict.fromkeys(("LCASE",), "write LOWER(s)"),
    **dict.fromkeys(("UCASE", "INITCAP"), "write UPPER(s)"),
    **dict.fromkeys(
        ("REGEXP_LIKE", "REGEXP_MATCHES", "REGEXP_CONTAINS", "SIMILAR_TO"), "write REGEXP_MATCH(s, pattern) = 1"
    ),
    **dict.fromkeys(("REGEXP_SUBSTR",), "write REGEXP_EXTRACT(s, pattern)"),
    "TRANSLATE": "write REPLACE(s, old, new), or REGEXP_REPLACE(s, pattern, new)",
    "CEIL": "write CEILING(x)",
    "POW": "write POWER(x, y)",
    "LN": "write LOG(x), which is the natural logarithm",
    "LOG2": "write LOG(x) / LOG(2)",
    "CBRT": "write POWER(x, 1.0 / 3)",
    "TRUNC": "write TRUNCATE(x, n)",
    "SQUARE": "write x * x",
    **dict.fromkeys(("RANDOM", "DBMS_RANDOM"), "write RAND()"),
    **dict.fromkeys(("SINH", "COSH", "TANH"), "write it with EXP: (EXP(x) - EXP(-x)) / 2 is sinh"),
    **dict.fromkeys(("SIND", "COSD", "TAND"), "convert degrees to radians: SIN(RADIANS(x))"),
    **dict.fromkeys(("ASIND", "ACOSD", "ATAND"), "convert radians to degrees: DEGREES(ASIN(x))"),
    **dict.fromkeys(("DIV", "QUOTIENT"), "write a / b; for whole numbers, the result is truncated towards zero"),
    **dict.fromkeys(("BITAND", "BITOR", "BITXOR", "BITNOT", "BIT_AND", "BIT_OR"), _BITWISE_REMEDY),
    **dict.fromkeys(("STDDEV_SAMP", "STDEV", "STD"), "write STDDEV(x)"),
    **dict.fromkeys(
        ("STDDEV_POP", "STDEVP"), "write SQRT(AVG(x * x) - AVG(x) * AVG(x)); STDDEV(x) is the sample standard deviation"
    ),
    **dict.fromkeys(("VAR_SAMP", "VAR"), "write VARIANCE(x)"),
    **dict.fromkeys(("VAR_POP", "VARP"), "write AVG(x * x) - AVG(x) * AVG(x); VARIANCE(x) is the sample variance"),
    **dict.fromkeys(
        ("PERCENTILE_CONT", "PERCENTILE_DISC", "QUANTILE", "APPROX_PERCENTILE"),
        "use MEDIAN(x) for the middle value; for other quantiles, number the rows with NTILE(n) OVER (ORDER BY x)",
    ),
    **dict.fromkeys(("MEAN", "AVERAGE"), "write AVG(x)"),
    "MODE": "count: GROUP BY x ORDER BY COUNT(*) DESC",
    "ANY_VALUE": "write MIN(x)",
    **dict.fromkeys(("STRING_AGG", "GROUP_CONCAT", "LISTAGG"), "write IVO_STRING_AGG(s, ', ')"),
    **dict.fromkeys(("ARRAY_AGG", "COLLECT_LIST", "JSON_AGG"), _AGGREGATION_REMEDY),
    **dict.fromkeys(("BOOL_AND", "EVERY"), "write MIN(CASE WHEN condition THEN 1 ELSE 0 END)"),
    "BOOL_OR": "write MAX(CASE WHEN condition THEN 1 ELSE 0 END)",
    **dict.fromkeys(
        ("UNNEST", "GENERATE_SERIES", "EXPLODE"), "write a[n] for an element; ADQL cannot turn an array into rows"
    ),
    **dict.fromkeys(("ARRAY_LENGTH", "CARDINALITY", "ARRAY_SIZE"), "write ARR_LENGTH(a)"),
    # astronomers' databases and services
    **dict.fromkeys(
        ("Q3C_RADIAL_QUERY", "Q3C_JOIN", "Q3C_DIST", "Q3C_ELLIPSE_QUERY", "CONE", "FGETNEARBYOBJEQ", "SPHERE_DIST"),
        _CONE_REMEDY,
    ),
    "Q3C_POLY_QUERY": "write 1 = CONTAINS(POINT(ra, dec), POLYGON(...)), which uses the position index",
    **dict.fromkeys(
        ("Q3C_ANG2IPIX", "HEALPIX_ANG2IPIX_NEST", "GAIA_HEALPIX_INDEX", "ESDC_HEALPIX_INDEX", "HEALPIX_NEST"),
        "write IVO_HEALPIX_INDEX(order, lon, lat)",
    ),
    "GAIA_HEALPIX_INDEX": "write IVO_HEALPIX_INDEX(order, lon, lat), or source_id / 34359738368 for order 12",
    **dict.fromkeys(
        ("EPOCH_PROP_POS", "EPOCH_PROP", "ESDC_EPOCH_PROP_POS"),
        "write IVO_EPOCH_PROP_POS(ra, dec, parallax, pmra, pmdec, radial_velocity, ref_epoch, out_epoch)",
    ),
    **dict.fromkeys(("IVO_APPLY_PM",), "write GAVO_APPLY_PM or IVO_EPOCH_PROP_POS; this function was withdrawn"),
    **dict.fromkeys(("IVO_INTERVAL_HAS",), "write x BETWEEN low AND high; this function was withdrawn"),
    **dict.fromkeys(("SPOINT", "SCIRCLE", "SPOLY"), "write POINT, CIRCLE, POLYGON, in degrees"),
    **dict.fromkeys(("COORD_X", "LONG", "LON"), "write COORD1(p)"),
    **dict.fromkeys(("LAT",), "write COORD2(p)"),
    **dict.fromkeys(("GAVO_URLESCAPE",), "change the text with REPLACE(s, old, new)"),
    "ARR_MAP": (
        "for a whole array, use ARR_SUM, ARR_AVG, ARR_MIN, ARR_MAX, ARR_STDDEV or ARR_DOT; for an element, write a[n]"
    ),
    **dict.fromkeys(("BOX2D", "ELLIPSE"), "write CIRCLE, BOX or POLYGON"),
}
