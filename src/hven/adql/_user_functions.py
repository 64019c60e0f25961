"""The functions beyond those of ADQL: functions of the IVOA's catalogue, of other services, and of Hven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql._mapping_functions import MAPPING_FUNCTION_ENTRIES
from hven.adql.signatures import define_function

if TYPE_CHECKING:
    from hven.adql.signatures import FunctionDefinition


NUMBER_FORM = "(x NUMERIC) -> DOUBLE"
_MOTION_PARAMETERS = (
    "ra NUMERIC, dec NUMERIC, parallax NUMERIC, pmra NUMERIC, pmdec NUMERIC, radial_velocity NUMERIC, ref_epoch "
    "NUMERIC, out_epoch NUMERIC"
)
_TRANSFORM_FORMS = tuple(
    f"(from_sys TEXT LITERAL, to_sys TEXT LITERAL, geo {shape}) -> {shape}" for shape in ("POINT", "CIRCLE", "POLYGON")
)
_HISTOGRAM_FORM = "(val NUMERIC, lower NUMERIC, upper NUMERIC, nbins INTEGER LITERAL) -> INTEGER[]"

USER_DEFINED_FUNCTIONS: tuple[FunctionDefinition, ...] = (
    define_function(
        "udf",
        "IVO_HASHLIST_HAS",
        "(hashlist TEXT, item TEXT) -> INTEGER",
        doc="1 if item is one of the words in a list such as a#b#c, ignoring case; 0 if item itself contains a #.",
        example="IVO_HASHLIST_HAS('science#calibration', 'Science') is 1",
    ),
    define_function(
        "udf",
        "IVO_NOCASEMATCH",
        "(value TEXT, pattern TEXT) -> INTEGER",
        doc="1 if value matches the LIKE pattern, ignoring case.",
        example="IVO_NOCASEMATCH('Sirius A', 'sirius%') is 1",
    ),
    define_function(
        "udf",
        "IVO_HASWORD",
        "(haystack TEXT, needle TEXT) -> INTEGER",
        doc="1 if every word of needle is a word of haystack, ignoring case and without stemming.",
        example="IVO_HASWORD('Motions of bright stars', 'STARS motions') is 1",
    ),
    define_function(
        "aggregate",
        "IVO_STRING_AGG",
        "(expression TEXT, delimiter TEXT) -> TEXT",
        doc="The values that are not NULL, joined by the delimiter.",
        example="IVO_STRING_AGG(name, ', ') is 'a, b, c, d'",
    ),
    define_function(
        "udf",
        "IVO_INTERVAL_OVERLAPS",
        "(a1 NUMERIC, b1 NUMERIC, a2 NUMERIC, b2 NUMERIC) -> INTEGER",
        doc=(
            "1 if the closed intervals a1..b1 and a2..b2 have a number in common, otherwise 0. The result is also 0 "
            "if the bounds of an interval are reversed."
        ),
        example="IVO_INTERVAL_OVERLAPS(1, 2, 2, 3) is 1",
    ),
    define_function(
        "udf",
        "IVO_HEALPIX_INDEX",
        "(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT",
        "(hpxOrder INTEGER, point POINT) -> BIGINT",
        doc="Number of the HEALPix cell (NESTED) that contains a position.",
        ucd="pos.healpix",
        example="IVO_HEALPIX_INDEX(17, 1, 1) is 81609757711",
    ),
    define_function(
        "udf",
        "IVO_HEALPIX_CENTER",
        "(hpxOrder INTEGER, hpxIndex BIGINT) -> POINT",
        doc="Centre of a HEALPix cell (NESTED).",
        unit="deg",
        example="IVO_HEALPIX_CENTER(0, 6) is [180.0, 0.0]",
    ),
    define_function(
        "udf",
        "IVO_TO_JD",
        "(d TIMESTAMP) -> DOUBLE",
        doc="Julian date of a timestamp, in the same time scale.",
        unit="d",
        ucd="time.epoch",
        example="IVO_TO_JD('2000-01-02T12:00:00') is 2451546.0",
    ),
    define_function(
        "udf",
        "IVO_TO_MJD",
        "(d TIMESTAMP) -> DOUBLE",
        doc="Modified Julian date of a timestamp, in the same time scale.",
        unit="d",
        ucd="time.epoch",
        example="IVO_TO_MJD('2000-01-02T12:00:00') is 51545.5",
    ),
    define_function(
        "udf",
        "IVO_HMS_TO_DEGREES",
        "(hms TEXT) -> DOUBLE",
        doc=(
            "Degrees from text of the form h:m:s, h m s or 12h34m56s, where 60 seconds count as the next minute; NULL "
            "for any other text."
        ),
        unit="deg",
        example="IVO_HMS_TO_DEGREES('3:34:45.4') is ~53.68916667",
    ),
    define_function(
        "udf",
        "IVO_DMS_TO_DEGREES",
        "(dms TEXT) -> DOUBLE",
        doc=(
            "Degrees from text of the form d:m:s, d m s or 12d34m56s, where 60 seconds count as the next minute; NULL "
            "for any other text."
        ),
        unit="deg",
        example="IVO_DMS_TO_DEGREES('-00:15:00') is -0.25",
    ),
    define_function(
        "udf",
        "IVO_EPOCH_PROP_POS",
        f"({_MOTION_PARAMETERS}) -> POINT",
        unit="deg",
        doc=(
            "Position at out_epoch (in Julian years) of an object that moves in a straight line. The parallax is in "
            "mas, the proper motions are in mas/yr (pmra includes the factor cos(dec)), and the radial velocity is in "
            "km/s. A NULL motion is treated as 0, and a NULL parallax as an infinite distance. A NULL position or "
            "epoch causes an error."
        ),
        example="IVO_EPOCH_PROP_POS(269.452, 4.693, 546.98, -801.55, 10362.39, -110.5, 2016.0, 2100.0) is "
        "~[269.4331297, 4.936049389]",
    ),
    define_function(
        "udf",
        "IVO_GEOM_TRANSFORM",
        *_TRANSFORM_FORMS,
        unit="deg",
        doc=(
            "A shape converted to another frame: ICRS, FK5 (J2000), FK4 (B1950), GALACTIC or ECLIPTIC (J2000), written "
            "in capitals. The function only rotates centres and corners."
        ),
        example="IVO_GEOM_TRANSFORM('ICRS', 'GALACTIC', POINT(120, -23)) is ~[241.1218312, 3.627857881]",
    ),
    define_function(
        "aggregate",
        "IVO_HISTOGRAM",
        _HISTOGRAM_FORM,
        doc=(
            "An array of nbins + 2 counts. The first counts the values below lower, and also NULL and NaN. The next "
            "nbins count the values in equal bins from lower to upper (exclusive). The last counts the values that "
            "are greater than or equal to upper. The bounds must be constants."
        ),
        example="IVO_HISTOGRAM(x, 0, 2, 2) is [0, 0, 2, 2]",
    ),
    define_function(
        "udf",
        "IVO_NORMAL_RANDOM",
        "(mu NUMERIC, sigma NUMERIC) -> DOUBLE",
        doc="A random number from the normal distribution, different in each row.",
        volatile=True,
        example="IVO_NORMAL_RANDOM(0, 1)",
    ),
    define_function(
        "udf",
        "MOC",
        "(text TEXT) -> MOC",
        "(hpxOrder INTEGER LITERAL, geo GEOMETRY) -> MOC",
        doc=(
            "A MOC, from its ASCII form or from a shape. The MOC of a shape contains the cells of order hpxOrder that "
            "the shape touches. You can use a MOC like a shape in CONTAINS and INTERSECTS. A cell must be at least "
            "1/500 as wide as the shape."
        ),
        example="CONTAINS(POINT(45, 1), MOC('0/4 1/0-3')) is 1",
    ),
    define_function(
        "udf",
        "GAVO_MOCUNION",
        "(m1 MOC, m2 MOC) -> MOC",
        doc="The union of two MOCs.",
        example="GAVO_MOCUNION(MOC('1/0-1'), MOC('1/2-3')) is '0/0 1/'",
    ),
    define_function(
        "udf",
        "GAVO_MOCINTERSECT",
        "(m1 MOC, m2 MOC) -> MOC",
        doc="The intersection of two MOCs.",
        example="GAVO_MOCINTERSECT(MOC('0/0'), MOC('1/2-5')) is '1/2-3'",
    ),
    define_function(
        "udf",
        "GAVO_APPLY_PM",
        "(ra NUMERIC, dec NUMERIC, pmra NUMERIC, pmde NUMERIC, epdist NUMERIC) -> POINT",
        doc=(
            "Position after epdist Julian years. The proper motions are in deg/yr, and pmra includes the factor "
            "cos(dec)."
        ),
        unit="deg",
        example="GAVO_APPLY_PM(10, 0, 0.01, 0, 10) is ~[10.09999990, 0.0]",
    ),
    define_function(
        "udf",
        "GAVO_TRANSFORM",
        *_TRANSFORM_FORMS,
        doc="Like ivo_geom_transform.",
        unit="deg",
        example="GAVO_TRANSFORM('GALACTIC', 'ICRS', POINT(0, 0)) is ~[266.4049882, -28.93617776]",
    ),
    define_function(
        "aggregate",
        "GAVO_HISTOGRAM",
        _HISTOGRAM_FORM,
        doc="Same as ivo_histogram.",
        example="GAVO_HISTOGRAM(x, 2, 4, 2) is [2, 1, 1, 0]",
    ),
    define_function(
        "udf",
        "GAVO_NORMAL_RANDOM",
        "(mu NUMERIC, sigma NUMERIC) -> DOUBLE",
        doc="Like ivo_normal_random.",
        volatile=True,
        example="GAVO_NORMAL_RANDOM(10, 2)",
    ),
    define_function(
        "udf",
        "GAVO_SPECCONV",
        "(expr NUMERIC, dest_unit TEXT LITERAL) -> DOUBLE",
        "(expr NUMERIC, expr_unit TEXT LITERAL, dest_unit TEXT LITERAL) -> DOUBLE",
        doc=(
            "A wavelength, frequency, energy or wave number, converted to another unit of any of these quantities. "
            "Without expr_unit, the function uses the column's unit."
        ),
        example="GAVO_SPECCONV(500, 'nm', 'GHz') is ~599584.916",
    ),
    define_function(
        "udf",
        "GAVO_GETAUTHORITY",
        "(ivoid TEXT) -> TEXT",
        doc="The authority in an IVOID; NULL if the text is not an IVOID.",
        example="GAVO_GETAUTHORITY('ivo://org.gavo.dc/tap') is 'org.gavo.dc'",
    ),
    define_function(
        "udf",
        "GAVO_IPIX",
        "(long REAL, lat REAL) -> BIGINT",
        doc="Number of the Q3C pixel that contains a position.",
        example="GAVO_IPIX(10, 20) is 2061494256435992038",
    ),
    define_function(
        "udf",
        "GAVO_VOCMATCH",
        "(vocname TEXT LITERAL, term TEXT LITERAL, matchagainst TEXT) -> INTEGER",
        doc=(
            "1 if matchagainst is the given term or a narrower one in the IVOA vocabulary vocname (product-type, "
            "datalink/core, object-type ..). Each term can begin with #."
        ),
        example="GAVO_VOCMATCH('datalink/core', 'calibration', '#flat') is 1",
    ),
    define_function(
        "udf",
        "GAVO_MATCH",
        "(pattern TEXT, string TEXT) -> INTEGER",
        doc="1 if the regular expression matches anywhere in the string.",
        example="GAVO_MATCH('^NGC *[0-9]+$', 'NGC 224') is 1",
    ),
    define_function(
        "udf",
        "GAVO_TO_JD",
        "(d TIMESTAMP) -> DOUBLE",
        doc="Like ivo_to_jd.",
        unit="d",
        ucd="time.epoch",
        example="GAVO_TO_JD('2000-01-01T12:00:00') is 2451545.0",
    ),
    define_function(
        "udf",
        "GAVO_TO_MJD",
        "(d TIMESTAMP) -> DOUBLE",
        doc="Like ivo_to_mjd.",
        unit="d",
        ucd="time.epoch",
        example="GAVO_TO_MJD('2000-01-01T12:00:00') is 51544.5",
    ),
    # --- arrays: NULL elements are left out, as aggregates do
    define_function(
        "udf",
        "ARR_LENGTH",
        "(arr ARRAY) -> INTEGER",
        doc="Number of elements in an array, including NULL elements.",
        example="ARR_LENGTH(IVO_HISTOGRAM(x, 0, 2, 2)) is 4",
    ),
    define_function(
        "udf",
        "ARR_COUNT",
        "(arr ARRAY) -> INTEGER",
        doc="Number of elements that are not NULL.",
        example="ARR_COUNT(IVO_HISTOGRAM(x, 0, 2, 2)) is 4",
    ),
    define_function(
        "udf",
        "ARR_SUM",
        "(arr ARRAY) -> TOTAL",
        doc="Sum of the elements; for whole numbers, a BIGINT.",
        unit="same",
        ucd="+arith.sum",
        example="ARR_SUM(IVO_HISTOGRAM(x, 0, 2, 2)) is 4",
    ),
    define_function(
        "udf",
        "ARR_AVG",
        "(arr ARRAY) -> DOUBLE",
        doc="Mean of the elements.",
        unit="same",
        ucd="+stat.mean",
        example="ARR_AVG(IVO_HISTOGRAM(x, 0, 2, 2)) is 1.0",
    ),
    define_function(
        "udf",
        "ARR_MIN",
        "(arr ARRAY) -> ELEMENT",
        doc="The smallest element of the array.",
        unit="same",
        ucd="+stat.min",
        example="ARR_MIN(IVO_HISTOGRAM(x, 0, 2, 2)) is 0",
    ),
    define_function(
        "udf",
        "ARR_MAX",
        "(arr ARRAY) -> ELEMENT",
        doc="The largest element of the array.",
        unit="same",
        ucd="+stat.max",
        example="ARR_MAX(IVO_HISTOGRAM(x, 0, 2, 2)) is 2",
    ),
    define_function(
        "udf",
        "ARR_STDDEV",
        "(arr ARRAY) -> DOUBLE",
        doc="Sample standard deviation of the elements; NULL for fewer than two elements.",
        unit="same",
        ucd="+stat.stdev",
        example="ARR_STDDEV(IVO_HISTOGRAM(x, 0, 2, 2)) is ~1.154700538",
    ),
    define_function(
        "udf",
        "ARR_DOT",
        "(a ARRAY, b ARRAY) -> DOUBLE",
        doc="Dot product of two arrays; NULL if their lengths differ or an element is NULL.",
        example="ARR_DOT(IVO_HISTOGRAM(x, 0, 2, 2), IVO_HISTOGRAM(x, 0, 2, 2)) is 8.0",
    ),
    # --- helpful in mappings, harmless in queries
    define_function(
        "udf",
        "JD",
        "(t TIMESTAMP) -> DOUBLE",
        doc="Julian date of a timestamp.",
        unit="d",
        ucd="time.epoch",
        example="JD('2000-01-01T12:00:00') is 2451545.0",
    ),
    define_function(
        "udf",
        "MJD",
        "(t TIMESTAMP) -> DOUBLE",
        doc="Modified Julian date of a timestamp.",
        unit="d",
        ucd="time.epoch",
        example="MJD('2000-01-01T12:00:00') is 51544.5",
    ),
    define_function(
        "udf",
        "ISO",
        "(jd NUMERIC) -> TIMESTAMP",
        doc=(
            "Timestamp of a Julian date, rounded to a tenth of a millisecond, because a double only resolves 40 "
            "microseconds."
        ),
        ucd="same",
        example="CAST(ISO(2451545.0) AS VARCHAR) is '2000-01-01T12:00:00'",
    ),
    define_function(
        "udf",
        "ADD_MONTHS",
        "(t TIMESTAMP, n INTEGER) -> TIMESTAMP",
        "(mjd NUMERIC{d?}, n INTEGER) -> TIMESTAMP",
        doc=(
            "The time n calendar months after a timestamp or a modified Julian date. The day and time stay the same. "
            "If the new month has no such day, the result is the month's last day."
        ),
        ucd="same",
        example="CAST(ADD_MONTHS('2024-08-31T12:00:00', 6) AS VARCHAR) is '2025-02-28T12:00:00'",
    ),
    define_function(
        "mapping",
        "SUBSTRING",
        "(s TEXT, start INTEGER [, length INTEGER]) -> TEXT",
        doc="Part of a string, from character number `start` (counted from 1).",
        ucd="same",
        example="SUBSTRING('NGC 224', 5) is '224'",
    ),
    define_function(
        "mapping",
        "TRIM",
        "(s TEXT) -> TEXT",
        doc="The text without white space at its beginning and end.",
        ucd="same",
        example="TRIM('  M 31 ') is 'M 31'",
    ),
    define_function(
        "udf",
        "REPLACE",
        "(s TEXT, old TEXT, new TEXT) -> TEXT",
        doc="The text with every `old` replaced by `new`.",
        ucd="same",
        example="REPLACE('M 31', ' ', '') is 'M31'",
    ),
    define_function(
        "udf",
        "URL_ENCODE",
        "(s TEXT) -> TEXT",
        doc="The text as a part of an address: everything but letters, digits and -._~ becomes %XX, in UTF-8.",
        ucd="same",
        example="URL_ENCODE('M 31/é') is 'M%2031%2F%C3%A9'",
    ),
    define_function(
        "udf",
        "SPLIT_PART",
        "(s TEXT, separator TEXT, n INTEGER) -> TEXT",
        doc="The n-th part of a string between separators, counted from 1; an empty string if there are fewer parts.",
        example="SPLIT_PART('a/b/c', '/', 2) is 'b'",
    ),
    define_function(
        "udf",
        "LENGTH",
        "(s TEXT) -> BIGINT",
        doc="Number of characters.",
        ucd="meta.number",
        example="LENGTH('été') is 3",
    ),
    define_function(
        "mapping",
        "CONCAT",
        "(x ORDERED ...) -> TEXT",
        doc="All arguments joined into one string, ignoring NULLs.",
        example="CONCAT('M ', 31) is 'M 31'",
    ),
    define_function(
        "udf",
        "REGEXP_MATCH",
        "(s TEXT, pattern TEXT) -> INTEGER",
        doc="1 if the regular expression (RE2) matches anywhere in the string.",
        example="REGEXP_MATCH('NGC 224', '[0-9]') is 1",
    ),
    define_function(
        "udf",
        "REGEXP_EXTRACT",
        "(s TEXT, pattern TEXT LITERAL [, n INTEGER LITERAL]) -> TEXT",
        doc=(
            "The text that the regular expression's n-th group matched (default: 0, the whole match); NULL if there is "
            "no match."
        ),
        example="REGEXP_EXTRACT('f_12.fits', '_([0-9]+)', 1) is '12'",
    ),
    define_function(
        "udf",
        "REGEXP_REPLACE",
        "(s TEXT, pattern TEXT, new TEXT) -> TEXT",
        doc="The text with every match of the regular expression replaced. In the new text, \\1 is the first group.",
        example="REGEXP_REPLACE('a-b-c', '-', '+') is 'a+b+c'",
    ),
    define_function(
        "mapping",
        "WITHOUT_UNIT",
        NUMBER_FORM,
        doc="The number without its unit, for formulas that expect numbers in certain units.",
        ucd="same",
        example="WITHOUT_UNIT(5) is 5.0",
    ),
    define_function(
        "mapping",
        "NULLIF",
        "(x ORDERED, y ORDERED) -> SAME",
        doc="NULL if x = y, else x.",
        unit="same",
        ucd="same",
        example="NULLIF(-999, -999) is NULL",
    ),
    define_function(
        "udf",
        "GREATEST",
        "(x ORDERED, y ORDERED ...) -> COMMON",
        doc="The largest value, ignoring NULLs.",
        unit="same",
        ucd="same",
        example="GREATEST(1, NULL, 3) is 3",
    ),
    define_function(
        "udf",
        "LEAST",
        "(x ORDERED, y ORDERED ...) -> COMMON",
        doc="The smallest value, ignoring NULLs.",
        unit="same",
        ucd="same",
        example="LEAST('b', 'a') is 'a'",
    ),
    define_function("udf", "SIGN", "(x NUMERIC) -> INTEGER", doc="-1, 0 or 1.", example="SIGN(-0.5) is -1"),
    define_function(
        "aggregate",
        "STDDEV",
        NUMBER_FORM,
        doc="Sample standard deviation.",
        unit="same",
        ucd="+stat.stdev",
        example="STDDEV(x) is ~0.957427108",
    ),
    define_function(
        "aggregate", "VARIANCE", NUMBER_FORM, doc="Sample variance.", example="VARIANCE(x) is ~0.916666667"
    ),
    define_function(
        "aggregate", "MEDIAN", NUMBER_FORM, doc="Median.", unit="same", ucd="+stat.median", example="MEDIAN(x) is 1.5"
    ),
    # --- of mapping expressions only
    define_function(
        "mapping",
        "PARSE_TIME",
        "(text TEXT [, format TEXT LITERAL]) -> TIMESTAMP",
        "(time TIMESTAMP) -> TIMESTAMP",
        doc=(
            "Timestamp from text in one of the usual variants of ISO 8601, or in a strptime format (%d/%m/%Y "
            "%H:%M:%S). A second of 60 becomes the start of the next minute. NULL for any other text."
        ),
        ucd="same",
        example="CAST(PARSE_TIME('03/02/2004', '%d/%m/%Y') AS VARCHAR) is '2004-02-03T00:00:00'",
    ),
    define_function(
        "mapping",
        "SEXAGESIMAL",
        "(text TEXT [, kind TEXT LITERAL]) -> DOUBLE",
        doc=(
            "Degrees from sexagesimal text, where 60 seconds count as the next minute. The kind is 'hour' or 'deg' "
            "(the default)."
        ),
        unit="deg",
        ucd="same",
        example="SEXAGESIMAL('12:30:00', 'hour') is 187.5",
    ),
    define_function(
        "mapping",
        "HEADER",
        "(card TEXT LITERAL) -> SAME",
        doc="The source column that has exactly this name, such as the FITS card DATE-OBS.",
        example="HEADER('angle') is 0.5",
    ),
    define_function(
        "mapping",
        "ROW_NUMBER",
        "() -> BIGINT",
        doc="The row's number within its batch, counted from 1.",
        example="ROW_NUMBER() is 1",
    ),
    *MAPPING_FUNCTION_ENTRIES,
)
