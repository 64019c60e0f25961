"""The one table of functions; dialects say how each is computed. Those of plug-ins come last, and say it themselves."""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING

from hven.adql._mapping_functions import MAPPING_FUNCTION_ENTRIES
from hven.adql.signatures import FunctionDefinition, Signature, define_function
from hven.model import plugins
from hven.model.errors import UserError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_NUMBER_FORM = "(x NUMERIC) -> DOUBLE"
_COORDSYS_PARAMETER = "coordsys TEXT LITERAL, "


def _define_shape(name: str, result: str, doc: str, *forms: str, example: str) -> FunctionDefinition:
    """Make a geometry constructor: each form with and without the deprecated first argument."""
    signatures = [f"({prefix}{form}) -> {result}" for form in forms for prefix in ("", _COORDSYS_PARAMETER)]
    return define_function("geometry", name, *signatures, doc=doc, example=example)


STANDARD_FUNCTIONS: tuple[FunctionDefinition, ...] = (
    # --- mathematical (ADQL 2.1 section 2.3)
    define_function(
        "math", "ABS", "(x NUMERIC) -> SAME", doc="Absolute value.", unit="same", ucd="same", example="ABS(-2.5) is 2.5"
    ),
    define_function(
        "math",
        "CEILING",
        _NUMBER_FORM,
        doc="Smallest whole number not below x.",
        unit="same",
        ucd="same",
        example="CEILING(2.1) is 3.0",
    ),
    define_function(
        "math", "DEGREES", _NUMBER_FORM, doc="Radians to degrees.", unit="deg", example="DEGREES(PI()) is 180.0"
    ),
    define_function("math", "EXP", _NUMBER_FORM, doc="e to the power of x.", example="EXP(1) is ~2.718281828"),
    define_function(
        "math",
        "FLOOR",
        _NUMBER_FORM,
        doc="Largest whole number not above x.",
        unit="same",
        ucd="same",
        example="FLOOR(-2.1) is -3.0",
    ),
    define_function(
        "math", "LOG", _NUMBER_FORM, doc="Natural logarithm; NULL for x <= 0.", example="LOG(10) is ~2.302585093"
    ),
    define_function(
        "math", "LOG10", _NUMBER_FORM, doc="Logarithm to base 10; NULL for x <= 0.", example="LOG10(1000) is 3.0"
    ),
    define_function(
        "math",
        "MOD",
        "(x NUMERIC, y NUMERIC) -> COMMON",
        doc="Remainder of x/y with the sign of x; NULL for y = 0.",
        unit="same",
        example="MOD(-7, 3) is -1",
    ),
    define_function("math", "PI", "() -> DOUBLE", doc="The number pi.", example="PI() is ~3.141592654"),
    define_function(
        "math",
        "POWER",
        "(x NUMERIC, y NUMERIC) -> DOUBLE",
        doc="x to the power of y.",
        example="POWER(2, 10) is 1024.0",
    ),
    define_function(
        "math", "RADIANS", _NUMBER_FORM, doc="Degrees to radians.", unit="rad", example="RADIANS(180) is ~3.141592654"
    ),
    define_function(
        "math",
        "RAND",
        "([seed INTEGER]) -> DOUBLE",
        doc="A random number, 0 <= value < 1, another one in each row; the seed is not used.",
        volatile=True,
        example="RAND()",
    ),
    define_function(
        "math",
        "ROUND",
        "(x NUMERIC [, n INTEGER]) -> DOUBLE",
        doc="x rounded to n decimals (0; negative: before the point), halves away from zero.",
        unit="same",
        ucd="same",
        example="ROUND(3.14159, 2) is 3.14",
    ),
    define_function(
        "math", "SQRT", _NUMBER_FORM, doc="Square root; NULL for x < 0.", example="SQRT(2) is ~1.414213562"
    ),
    define_function(
        "math",
        "TRUNCATE",
        "(x NUMERIC [, n INTEGER]) -> DOUBLE",
        doc="x cut to n decimals (0; negative: before the point).",
        unit="same",
        ucd="same",
        example="TRUNCATE(1299.9, -2) is 1200.0",
    ),
    # --- trigonometric, in radians
    define_function(
        "trigonometry",
        "ACOS",
        _NUMBER_FORM,
        doc="Arc cosine; NULL outside -1..1.",
        unit="rad",
        example="ACOS(0) is ~1.570796327",
    ),
    define_function(
        "trigonometry",
        "ASIN",
        _NUMBER_FORM,
        doc="Arc sine; NULL outside -1..1.",
        unit="rad",
        example="ASIN(1) is ~1.570796327",
    ),
    define_function(
        "trigonometry", "ATAN", _NUMBER_FORM, doc="Arc tangent.", unit="rad", example="ATAN(1) is ~0.785398163"
    ),
    define_function(
        "trigonometry",
        "ATAN2",
        "(y NUMERIC, x NUMERIC) -> DOUBLE",
        doc="Angle of the point (x, y), -pi to pi.",
        unit="rad",
        example="ATAN2(1, -1) is ~2.356194490",
    ),
    define_function("trigonometry", "COS", _NUMBER_FORM, doc="Cosine.", example="COS(0) is 1.0"),
    define_function("trigonometry", "COT", _NUMBER_FORM, doc="Cotangent.", example="COT(1) is ~0.642092616"),
    define_function("trigonometry", "SIN", _NUMBER_FORM, doc="Sine.", example="SIN(1) is ~0.841470985"),
    define_function("trigonometry", "TAN", _NUMBER_FORM, doc="Tangent.", example="TAN(1) is ~1.557407725"),
    # --- aggregates
    define_function(
        "aggregate",
        "COUNT",
        "(x ANY) -> BIGINT",
        doc="Number of rows, COUNT(*), or of values that are not NULL.",
        ucd="meta.number",
        example="COUNT(DISTINCT x) is 3",
    ),
    define_function(
        "aggregate",
        "SUM",
        "(x NUMERIC) -> SUM",
        doc="Sum; whole numbers are added in 64 bits.",
        unit="same",
        ucd="+arith.sum",
        example="SUM(x) is 7.0",
    ),
    define_function(
        "aggregate", "AVG", _NUMBER_FORM, doc="Mean.", unit="same", ucd="+stat.mean", example="AVG(x) is 1.75"
    ),
    define_function(
        "aggregate",
        "MIN",
        "(x ORDERED) -> SAME",
        doc="Smallest value.",
        unit="same",
        ucd="+stat.min",
        example="MIN(x) is 1.0",
    ),
    define_function(
        "aggregate",
        "MAX",
        "(x ORDERED) -> SAME",
        doc="Largest value.",
        unit="same",
        ucd="+stat.max",
        example="MAX(x) is 3.0",
    ),
    # --- strings, conditions, units
    define_function(
        "string",
        "LOWER",
        "(s TEXT) -> TEXT",
        doc="Lower case, by the rules of Unicode.",
        ucd="same",
        example="LOWER('NGC Ä') is 'ngc ä'",
    ),
    define_function(
        "string",
        "UPPER",
        "(s TEXT) -> TEXT",
        doc="Upper case, by the rules of Unicode.",
        ucd="same",
        example="UPPER('m 31') is 'M 31'",
    ),
    define_function(
        "conditional",
        "COALESCE",
        "(x ANY ...) -> COMMON",
        doc="The first value that is not NULL.",
        unit="same",
        ucd="same",
        example="COALESCE(NULL, 2, 3) is 2",
    ),
    define_function(
        "unit",
        "IN_UNIT",
        "(x NUMERIC, unit TEXT LITERAL) -> DOUBLE",
        doc="The value in another unit (VOUnits); x must have a unit.",
        example="IN_UNIT(angle, 'arcmin') is 30.0",
    ),
    # --- geometry, in degrees (ADQL 2.1 section 4.2)
    _define_shape(
        "POINT", "POINT", "A position.", "lon NUMERIC, lat NUMERIC", example="POINT(10, -20) is [10.0, -20.0]"
    ),
    _define_shape(
        "CIRCLE",
        "CIRCLE",
        "A circle of radius r.",
        "lon NUMERIC, lat NUMERIC, r NUMERIC",
        "center POINT, r NUMERIC",
        example="CIRCLE(10, -20, 0.5) is [10.0, -20.0, 0.5]",
    ),
    _define_shape(
        "BOX",
        "POLYGON",
        "A box by its centre and the lengths of its two arms; deprecated, use POLYGON.",
        "lon NUMERIC, lat NUMERIC, width NUMERIC, height NUMERIC",
        "center POINT, width NUMERIC, height NUMERIC",
        example="AREA(BOX(10, 0, 2, 2)) is ~3.999593922",
    ),
    _define_shape(
        "POLYGON",
        "POLYGON",
        "A polygon with great-circle edges; three or more corners.",
        "lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC, lon3 NUMERIC, lat3 NUMERIC, more NUMERIC ...",
        "lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC, lon3 NUMERIC, lat3 NUMERIC",
        "p1 POINT, p2 POINT, p3 POINT, more POINT ...",
        "p1 POINT, p2 POINT, p3 POINT",
        example="POLYGON(1, 1, 3, 1, 2, 3) is [1.0, 1.0, 3.0, 1.0, 2.0, 3.0]",
    ),
    define_function(
        "geometry",
        "REGION",
        "(region TEXT) -> REGION",
        doc="A region from DALI or STC-S text: CIRCLE 10 20 1; POLYGON ICRS ..; BOX ..; POSITION ..",
        example="CONTAINS(POINT(10, 20), REGION('CIRCLE ICRS 10 20.5 1')) is 1",
    ),
    define_function(
        "geometry",
        "AREA",
        "(g GEOMETRY) -> DOUBLE",
        doc="Area in square degrees; 0 for a point.",
        unit="deg**2",
        ucd="phys.angArea",
        example="AREA(CIRCLE(10, 20, 1)) is ~3.141512906",
    ),
    define_function(
        "geometry",
        "CENTROID",
        "(g GEOMETRY) -> POINT",
        doc="Centre of a shape.",
        unit="deg",
        example="CENTROID(CIRCLE(10, 20, 1)) is [10.0, 20.0]",
    ),
    define_function(
        "geometry",
        "COORD1",
        "(p POINT) -> DOUBLE",
        doc="First coordinate of a point.",
        unit="deg",
        example="COORD1(POINT(10, 20)) is 10.0",
    ),
    define_function(
        "geometry",
        "COORD2",
        "(p POINT) -> DOUBLE",
        doc="Second coordinate of a point.",
        unit="deg",
        example="COORD2(POINT(10, 20)) is 20.0",
    ),
    define_function(
        "geometry",
        "COORDSYS",
        "(g GEOMETRY) -> TEXT",
        doc="Coordinate system of a shape; deprecated. The name that the constructor in the call has, or the "
        "column's frame, else UNKNOWNFRAME.",
        example="COORDSYS(POINT('GALACTIC', 10, 20)) is 'GALACTIC'",
    ),
    define_function(
        "geometry",
        "DISTANCE",
        "(p1 POINT, p2 POINT) -> DOUBLE",
        "(lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC) -> DOUBLE",
        doc="Angle between two positions along the great circle.",
        unit="deg",
        ucd="pos.angDistance",
        example="DISTANCE(0, 0, 0, 1.5) is ~1.5",
    ),
    define_function(
        "geometry",
        "CONTAINS",
        "(inner GEOMETRY, outer GEOMETRY) -> INTEGER",
        doc="1 if the first shape lies in the second, borders included, else 0.",
        example="CONTAINS(POINT(10, 20), CIRCLE(10, 20.5, 1)) is 1",
    ),
    define_function(
        "geometry",
        "INTERSECTS",
        "(a GEOMETRY, b GEOMETRY) -> INTEGER",
        doc="1 if the shapes have a point in common, else 0.",
        example="INTERSECTS(CIRCLE(10, 20, 1), CIRCLE(12.5, 20, 1)) is 0",
    ),
)

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
        doc="1 if item is one of the words of a list like a#b#c, compared without case; 0 if item has a # itself.",
        example="IVO_HASHLIST_HAS('science#calibration', 'Science') is 1",
    ),
    define_function(
        "udf",
        "IVO_NOCASEMATCH",
        "(value TEXT, pattern TEXT) -> INTEGER",
        doc="1 if value is LIKE pattern, compared without case.",
        example="IVO_NOCASEMATCH('Sirius A', 'sirius%') is 1",
    ),
    define_function(
        "udf",
        "IVO_HASWORD",
        "(haystack TEXT, needle TEXT) -> INTEGER",
        doc="1 if every word of needle is a word of haystack, compared without case and without stemming.",
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
        doc="1 if the closed intervals a1..b1 and a2..b2 have a number in common; 0 if bounds are reversed.",
        example="IVO_INTERVAL_OVERLAPS(1, 2, 2, 3) is 1",
    ),
    define_function(
        "udf",
        "IVO_HEALPIX_INDEX",
        "(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT",
        "(hpxOrder INTEGER, point POINT) -> BIGINT",
        doc="Number of the HEALPix cell (NESTED) that a position is in.",
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
        doc="Julian date of a timestamp, whatever its time scale.",
        unit="d",
        ucd="time.epoch",
        example="IVO_TO_JD('2000-01-02T12:00:00') is 2451546.0",
    ),
    define_function(
        "udf",
        "IVO_TO_MJD",
        "(d TIMESTAMP) -> DOUBLE",
        doc="Modified Julian date of a timestamp, whatever its time scale.",
        unit="d",
        ucd="time.epoch",
        example="IVO_TO_MJD('2000-01-02T12:00:00') is 51545.5",
    ),
    define_function(
        "udf",
        "IVO_HMS_TO_DEGREES",
        "(hms TEXT) -> DOUBLE",
        doc="Degrees from h:m:s, h m s or 12h34m56s (60 at the end carries over); NULL if it is none of these.",
        unit="deg",
        example="IVO_HMS_TO_DEGREES('3:34:45.4') is ~53.68916667",
    ),
    define_function(
        "udf",
        "IVO_DMS_TO_DEGREES",
        "(dms TEXT) -> DOUBLE",
        doc="Degrees from d:m:s, d m s or 12d34m56s (60 at the end carries over); NULL if it is none of these.",
        unit="deg",
        example="IVO_DMS_TO_DEGREES('-00:15:00') is -0.25",
    ),
    define_function(
        "udf",
        "IVO_EPOCH_PROP_POS",
        f"({_MOTION_PARAMETERS}) -> POINT",
        unit="deg",
        doc="Position at out_epoch (Julian years) of what moves in a straight line: mas, mas/yr (pmra with "
        "cos(dec)), km/s. NULL motions are 0, a NULL parallax is infinitely far; a NULL position or epoch is "
        "an error.",
        example="IVO_EPOCH_PROP_POS(269.452, 4.693, 546.98, -801.55, 10362.39, -110.5, 2016.0, 2100.0) is "
        "~[269.4331297, 4.936049389]",
    ),
    define_function(
        "udf",
        "IVO_GEOM_TRANSFORM",
        *_TRANSFORM_FORMS,
        unit="deg",
        doc="A shape in another frame: ICRS, FK5 (J2000), FK4 (B1950), GALACTIC, ECLIPTIC (J2000), in capitals. A "
        "rotation alone; centres and corners are turned.",
        example="IVO_GEOM_TRANSFORM('ICRS', 'GALACTIC', POINT(120, -23)) is ~[241.1218312, 3.627857881]",
    ),
    define_function(
        "aggregate",
        "IVO_HISTOGRAM",
        _HISTOGRAM_FORM,
        doc="Numbers of values in nbins equal bins from lower to upper (not included); before them what lies "
        "below, with NULL and NaN, after them what lies above. The bounds are constants.",
        example="IVO_HISTOGRAM(x, 0, 2, 2) is [0, 0, 2, 2]",
    ),
    define_function(
        "udf",
        "IVO_NORMAL_RANDOM",
        "(mu NUMERIC, sigma NUMERIC) -> DOUBLE",
        doc="A random number of the normal distribution, another one in each row.",
        volatile=True,
        example="IVO_NORMAL_RANDOM(0, 1)",
    ),
    define_function(
        "udf",
        "MOC",
        "(text TEXT) -> MOC",
        "(hpxOrder INTEGER LITERAL, geo GEOMETRY) -> MOC",
        doc="A MOC from its ASCII form, or the cells of an order that a shape touches; CONTAINS and INTERSECTS "
        "take it as they take a shape. The cells must not be finer than 1/500 of the shape.",
        example="CONTAINS(POINT(45, 1), MOC('0/4 1/0-3')) is 1",
    ),
    define_function(
        "udf",
        "GAVO_MOCUNION",
        "(m1 MOC, m2 MOC) -> MOC",
        doc="What is in one of two MOCs.",
        example="GAVO_MOCUNION(MOC('1/0-1'), MOC('1/2-3')) is '0/0 1/'",
    ),
    define_function(
        "udf",
        "GAVO_MOCINTERSECT",
        "(m1 MOC, m2 MOC) -> MOC",
        doc="What is in both of two MOCs.",
        example="GAVO_MOCINTERSECT(MOC('0/0'), MOC('1/2-5')) is '1/2-3'",
    ),
    define_function(
        "udf",
        "GAVO_APPLY_PM",
        "(ra NUMERIC, dec NUMERIC, pmra NUMERIC, pmde NUMERIC, epdist NUMERIC) -> POINT",
        doc="Position after epdist Julian years of proper motion in deg/yr (pmra with cos(dec)).",
        unit="deg",
        example="GAVO_APPLY_PM(10, 0, 0.01, 0, 10) is ~[10.09999990, 0.0]",
    ),
    define_function(
        "udf",
        "GAVO_TRANSFORM",
        *_TRANSFORM_FORMS,
        doc="As ivo_geom_transform.",
        unit="deg",
        example="GAVO_TRANSFORM('GALACTIC', 'ICRS', POINT(0, 0)) is ~[266.4049882, -28.93617776]",
    ),
    define_function(
        "aggregate",
        "GAVO_HISTOGRAM",
        _HISTOGRAM_FORM,
        doc="As ivo_histogram.",
        example="GAVO_HISTOGRAM(x, 2, 4, 2) is [2, 1, 1, 0]",
    ),
    define_function(
        "udf",
        "GAVO_NORMAL_RANDOM",
        "(mu NUMERIC, sigma NUMERIC) -> DOUBLE",
        doc="As ivo_normal_random.",
        volatile=True,
        example="GAVO_NORMAL_RANDOM(10, 2)",
    ),
    define_function(
        "udf",
        "GAVO_SPECCONV",
        "(expr NUMERIC, dest_unit TEXT LITERAL) -> DOUBLE",
        "(expr NUMERIC, expr_unit TEXT LITERAL, dest_unit TEXT LITERAL) -> DOUBLE",
        doc="A wavelength, frequency, energy or wave number in another unit of any of these; without expr_unit the "
        "unit is that of the column.",
        example="GAVO_SPECCONV(500, 'nm', 'GHz') is ~599584.916",
    ),
    define_function(
        "udf",
        "GAVO_GETAUTHORITY",
        "(ivoid TEXT) -> TEXT",
        doc="The authority in an IVOID; NULL if it is none.",
        example="GAVO_GETAUTHORITY('ivo://org.gavo.dc/tap') is 'org.gavo.dc'",
    ),
    define_function(
        "udf",
        "GAVO_IPIX",
        "(long REAL, lat REAL) -> BIGINT",
        doc="Number of the pixel of Q3C that a position is in.",
        example="GAVO_IPIX(10, 20) is 2061494256435992038",
    ),
    define_function(
        "udf",
        "GAVO_VOCMATCH",
        "(vocname TEXT LITERAL, term TEXT LITERAL, matchagainst TEXT) -> INTEGER",
        doc="1 if matchagainst is the term or a narrower one of an IVOA vocabulary (product-type, datalink/core, "
        "object-type ..), with or without # before it.",
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
        doc="As ivo_to_jd.",
        unit="d",
        ucd="time.epoch",
        example="GAVO_TO_JD('2000-01-01T12:00:00') is 2451545.0",
    ),
    define_function(
        "udf",
        "GAVO_TO_MJD",
        "(d TIMESTAMP) -> DOUBLE",
        doc="As ivo_to_mjd.",
        unit="d",
        ucd="time.epoch",
        example="GAVO_TO_MJD('2000-01-01T12:00:00') is 51544.5",
    ),
    # --- arrays: NULL elements are left out, as aggregates do
    define_function(
        "udf",
        "ARR_LENGTH",
        "(arr ARRAY) -> INTEGER",
        doc="Number of elements of an array, NULL ones too.",
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
        doc="Sum of the elements: a BIGINT of whole numbers.",
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
        doc="Smallest element, of the elements' own type.",
        unit="same",
        ucd="+stat.min",
        example="ARR_MIN(IVO_HISTOGRAM(x, 0, 2, 2)) is 0",
    ),
    define_function(
        "udf",
        "ARR_MAX",
        "(arr ARRAY) -> ELEMENT",
        doc="Largest element, of the elements' own type.",
        unit="same",
        ucd="+stat.max",
        example="ARR_MAX(IVO_HISTOGRAM(x, 0, 2, 2)) is 2",
    ),
    define_function(
        "udf",
        "ARR_STDDEV",
        "(arr ARRAY) -> DOUBLE",
        doc="Standard deviation of the elements as a sample; NULL for fewer than two.",
        unit="same",
        ucd="+stat.stdev",
        example="ARR_STDDEV(IVO_HISTOGRAM(x, 0, 2, 2)) is ~1.154700538",
    ),
    define_function(
        "udf",
        "ARR_DOT",
        "(a ARRAY, b ARRAY) -> DOUBLE",
        doc="Sum of the products of two arrays' elements; NULL if their lengths differ or an element is NULL.",
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
        doc="Timestamp of a Julian date, rounded to a tenth of a millisecond: a double resolves no more than 40 "
        "microseconds.",
        ucd="same",
        example="CAST(ISO(2451545.0) AS VARCHAR) is '2000-01-01T12:00:00'",
    ),
    define_function(
        "udf",
        "ADD_MONTHS",
        "(t TIMESTAMP, n INTEGER) -> TIMESTAMP",
        "(mjd NUMERIC{d?}, n INTEGER) -> TIMESTAMP",
        doc="n calendar months after a timestamp or a modified Julian date: the same day and time, or the month's "
        "last day.",
        ucd="same",
        example="CAST(ADD_MONTHS('2024-08-31T12:00:00', 6) AS VARCHAR) is '2025-02-28T12:00:00'",
    ),
    define_function(
        "mapping",
        "SUBSTRING",
        "(s TEXT, start INTEGER [, length INTEGER]) -> TEXT",
        doc="Part of a string; the first character is 1.",
        ucd="same",
        example="SUBSTRING('NGC 224', 5) is '224'",
    ),
    define_function(
        "mapping",
        "TRIM",
        "(s TEXT) -> TEXT",
        doc="Without white space at both ends.",
        ucd="same",
        example="TRIM('  M 31 ') is 'M 31'",
    ),
    define_function(
        "udf",
        "REPLACE",
        "(s TEXT, old TEXT, new TEXT) -> TEXT",
        doc="Every `old` replaced by `new`.",
        ucd="same",
        example="REPLACE('M 31', ' ', '') is 'M31'",
    ),
    define_function(
        "udf",
        "URL_ENCODE",
        "(s TEXT) -> TEXT",
        doc="The text as a part of an address: all but letters, digits and -._~ as %XX, in UTF-8.",
        ucd="same",
        example="URL_ENCODE('M 31/é') is 'M%2031%2F%C3%A9'",
    ),
    define_function(
        "udf",
        "SPLIT_PART",
        "(s TEXT, separator TEXT, n INTEGER) -> TEXT",
        doc="The n-th piece between separators, from 1; empty if there are fewer.",
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
        doc="Everything as text, one after the other; NULLs are left out.",
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
        doc="What the n-th group of the expression matched (0, the whole, by default); NULL if there is no match.",
        example="REGEXP_EXTRACT('f_12.fits', '_([0-9]+)', 1) is '12'",
    ),
    define_function(
        "udf",
        "REGEXP_REPLACE",
        "(s TEXT, pattern TEXT, new TEXT) -> TEXT",
        doc="Every match of the expression replaced; \\1 is its first group.",
        example="REGEXP_REPLACE('a-b-c', '-', '+') is 'a+b+c'",
    ),
    define_function(
        "mapping",
        "WITHOUT_UNIT",
        _NUMBER_FORM,
        doc="The number alone, its unit taken off: for formulas whose factors were made for numbers in certain units.",
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
        doc="The largest value; NULLs are left out.",
        unit="same",
        ucd="same",
        example="GREATEST(1, NULL, 3) is 3",
    ),
    define_function(
        "udf",
        "LEAST",
        "(x ORDERED, y ORDERED ...) -> COMMON",
        doc="The smallest value; NULLs are left out.",
        unit="same",
        ucd="same",
        example="LEAST('b', 'a') is 'a'",
    ),
    define_function("udf", "SIGN", "(x NUMERIC) -> INTEGER", doc="-1, 0 or 1.", example="SIGN(-0.5) is -1"),
    define_function(
        "aggregate",
        "STDDEV",
        _NUMBER_FORM,
        doc="Standard deviation of the sample.",
        unit="same",
        ucd="+stat.stdev",
        example="STDDEV(x) is ~0.957427108",
    ),
    define_function(
        "aggregate", "VARIANCE", _NUMBER_FORM, doc="Variance of the sample.", example="VARIANCE(x) is ~0.916666667"
    ),
    define_function(
        "aggregate", "MEDIAN", _NUMBER_FORM, doc="Median.", unit="same", ucd="+stat.median", example="MEDIAN(x) is 1.5"
    ),
    # --- of mapping expressions only
    define_function(
        "mapping",
        "PARSE_TIME",
        "(text TEXT [, format TEXT LITERAL]) -> TIMESTAMP",
        "(time TIMESTAMP) -> TIMESTAMP",
        doc="Timestamp from text: ISO 8601 with its usual liberties, or by a format of strptime (%d/%m/%Y "
        "%H:%M:%S); :60 is the minute after; NULL if it is none.",
        ucd="same",
        example="CAST(PARSE_TIME('03/02/2004', '%d/%m/%Y') AS VARCHAR) is '2004-02-03T00:00:00'",
    ),
    define_function(
        "mapping",
        "SEXAGESIMAL",
        "(text TEXT [, kind TEXT LITERAL]) -> DOUBLE",
        doc="Degrees from sexagesimal text, 60 at the end carries over; kind 'hour' or 'deg' (the default).",
        unit="deg",
        ucd="same",
        example="SEXAGESIMAL('12:30:00', 'hour') is 187.5",
    ),
    define_function(
        "mapping",
        "HEADER",
        "(card TEXT LITERAL) -> SAME",
        doc="The source column of that very name, such as the FITS card DATE-OBS.",
        example="HEADER('angle') is 0.5",
    ),
    define_function(
        "mapping",
        "ROW_NUMBER",
        "() -> BIGINT",
        doc="Number of the row in its batch, from 1.",
        example="ROW_NUMBER() is 1",
    ),
    *MAPPING_FUNCTION_ENTRIES,
)


WINDOW_FUNCTIONS: dict[str, FunctionDefinition] = {
    entry.name: entry
    for entry in (
        define_function(
            "window", "ROW_NUMBER", "() -> BIGINT", doc="Number of the row in its partition, from 1.", ucd="meta.number"
        ),
        define_function(
            "window", "RANK", "() -> BIGINT", doc="Rank with gaps: equal rows share one.", ucd="meta.number"
        ),
        define_function("window", "DENSE_RANK", "() -> BIGINT", doc="Rank without gaps.", ucd="meta.number"),
        define_function("window", "PERCENT_RANK", "() -> DOUBLE", doc="(rank - 1) / (rows - 1)."),
        define_function("window", "CUME_DIST", "() -> DOUBLE", doc="Share of the rows that come not later."),
        define_function(
            "window",
            "NTILE",
            "(n INTEGER LITERAL) -> BIGINT",
            doc="Number of the part, 1 to n, of n parts of nearly equal size.",
        ),
        define_function(
            "window",
            "LAG",
            "(x ORDERED [, n INTEGER LITERAL]) -> SAME",
            doc="x of the row n (1) before, NULL if there is none.",
            unit="same",
            ucd="same",
        ),
        define_function(
            "window",
            "LEAD",
            "(x ORDERED [, n INTEGER LITERAL]) -> SAME",
            doc="x of the row n (1) after, NULL if there is none.",
            unit="same",
            ucd="same",
        ),
        define_function(
            "window", "FIRST_VALUE", "(x ORDERED) -> SAME", doc="x of the first row.", unit="same", ucd="same"
        ),
        define_function(
            "window",
            "LAST_VALUE",
            "(x ORDERED) -> SAME",
            doc="x of the last row that is not after this one, or of the frame's last.",
            unit="same",
            ucd="same",
        ),
        define_function(
            "window",
            "NTH_VALUE",
            "(x ORDERED, n INTEGER LITERAL) -> SAME",
            doc="x of the n-th row, NULL if there are not so many yet.",
            unit="same",
            ucd="same",
        ),
    )
}
"""Functions that stand before OVER only; those of `FRAMED`, and the aggregates of `OVER_GROUPS`, look at a frame."""
FRAME_FUNCTION_NAMES = frozenset({"FIRST_VALUE", "LAST_VALUE", "NTH_VALUE"})
WINDOW_AGGREGATE_NAMES = frozenset({"COUNT", "SUM", "AVG", "MIN", "MAX", "STDDEV", "VARIANCE", "MEDIAN"})


NAME_RESOLVING_FUNCTIONS: dict[str, FunctionDefinition] = {
    entry.name: entry
    for entry in (
        define_function(
            "udf",
            "IVO_SIMBADPOINT",
            "(identifier TEXT LITERAL) -> POINT",
            unit="deg",
            ucd="pos.eq",
            doc="Position (ICRS) of an object by its name, which is a string in the query: it is looked up once, "
            "before the query runs. An unknown or ambiguous name is an error.",
        ),
        define_function(
            "udf",
            "GAVO_SIMBADPOINT",
            "(identifier TEXT LITERAL) -> POINT",
            doc="As ivo_simbadpoint.",
            unit="deg",
            ucd="pos.eq",
        ),
    )
}
"""Functions of names: offered where the site can resolve any, and replaced by constants when a query is bound."""


class FunctionSet:
    """A set of functions: name (upper case) -> `FunctionDefinition`.

    `load_more` of them are looked for when the set is first asked.
    """

    def __init__(
        self, entries: Iterable[FunctionDefinition], load_more: Callable[[], Iterable[FunctionDefinition]] = tuple
    ) -> None:
        self._initial_entries = tuple(entries)
        self._load_more = load_more

    @cached_property
    def _entries(self) -> dict[str, FunctionDefinition]:
        return {entry.name: entry for entry in (*self._initial_entries, *self._load_more())}

    def find_function(self, name: str) -> FunctionDefinition | None:
        """Find a function by its name.

        Parameters
        ----------
        name
            In any case.

        Returns
        -------
        entry
            None if there is none.
        """
        return self._entries.get(name) or self._entries.get(name.upper())

    def __iter__(self) -> Iterator[FunctionDefinition]:
        return iter(self._entries.values())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, upper case."""
        return tuple(self._entries)

    @property
    def udfs(self) -> tuple[FunctionDefinition, ...]:
        """Those that TAPRegExt declares as user defined functions."""
        standard = {entry.name for entry in STANDARD_FUNCTIONS}
        return tuple(entry for entry in self if entry.name not in standard and not entry.mapping)


@cache
def load_plugin_functions() -> tuple[FunctionDefinition, ...]:
    """Load the functions of plug-ins.

    Returns
    -------
    entries
        In the order of their entry points.

    Raises
    ------
    UserError
        One has the name of another function.
    """
    entries_by_name = {
        entry.name: entry
        for entry in (
            *STANDARD_FUNCTIONS,
            *USER_DEFINED_FUNCTIONS,
            *NAME_RESOLVING_FUNCTIONS.values(),
            *WINDOW_FUNCTIONS.values(),
        )
    }
    built_in_count = len(entries_by_name)
    for name, entry in plugins.load_records("functions").items():
        if entry.name in entries_by_name:
            raise UserError(
                format_message(
                    "the plugin {name!r} in hven.functions brings {function}, which is there already", name, entry.name
                ),
                remedy="give it another name",
            )
        entries_by_name[entry.name] = entry
    return tuple(entries_by_name.values())[built_in_count:]


QUERY_FUNCTIONS = FunctionSet(
    (entry for entry in STANDARD_FUNCTIONS + USER_DEFINED_FUNCTIONS if not entry.mapping),
    lambda: (entry for entry in load_plugin_functions() if not entry.mapping),
)
MAPPING_FUNCTIONS = FunctionSet(STANDARD_FUNCTIONS + USER_DEFINED_FUNCTIONS, load_plugin_functions)


def build_function_reference() -> str:
    """Generate the tables of functions of docs/reference/adql.md.

    Returns
    -------
    page
        Markdown.
    """
    lines: list[str] = []
    for group, title in GROUP_TITLES.items():
        entries = sorted((entry for entry in MAPPING_FUNCTIONS if entry.group == group), key=lambda entry: entry.name)
        lines += [f"### {title}", "", "| function | gives | | for instance |", "|---|---|---|---|"]
        for entry in entries:
            if entry in STANDARD_FUNCTIONS:
                function_name = entry.name
            else:
                function_name = entry.name.lower()
            forms = [
                text for text in entry.signatures if "coordsys" not in text.text and "more" not in text.text
            ] or list(entry.signatures)
            calls = "<br>".join(f"`{function_name}{_format_arguments(form)}`" for form in forms)
            lines.append(
                f"| {calls} | {_RESULT_PHRASES.get(forms[0].result, forms[0].result)} | {entry.doc} | "
                f"{_format_example(entry)} |"
            )
        lines.append("")
    return "\n".join(lines)


def _format_example(entry: FunctionDefinition) -> str:
    call, _, result = entry.example.partition(" is ")
    if entry not in STANDARD_FUNCTIONS:
        call = call.replace(entry.name, entry.name.lower())
    call_text = call.replace("|", "\\|")
    if result:
        return f"`{call_text}` is `{result.lstrip('~')}`"
    return f"`{call_text}`"


_RESULT_PHRASES = {
    "ELEMENT": "as the elements",
    "TOTAL": "BIGINT or DOUBLE",
    "INTEGER[]": "array of INTEGER",
    "SAME": "as its argument",
    "COMMON": "the type of both",
    "SUM": "BIGINT or DOUBLE",
}


def _format_arguments(signature: Signature) -> str:
    """Write a signature's arguments: ``(x, [n])``."""
    return (
        "("
        + ", ".join(
            f"[{arg.name}]" if arg.is_optional else f"{arg.name} .." if arg.is_repeated else arg.name
            for arg in signature.parameters
        )
        + ")"
    )


GROUP_TITLES = {
    "math": "Mathematical",
    "trigonometry": "Trigonometric, in radians",
    "aggregate": "Aggregate",
    "string": "Strings",
    "conditional": "Conditional",
    "unit": "Units",
    "geometry": "Geometry, in degrees",
    "udf": "User defined, declared in the capabilities",
    "mapping": "In descriptors only",
}
