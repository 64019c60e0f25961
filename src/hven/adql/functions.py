"""The one table of functions: names, signatures, result, unit, UCD, and who may call them. Dialects say how each is computed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from hven.adql._function_examples import EXAMPLES
from hven.adql._mapping_functions import ROWS
from hven.model.types import BOOLEAN, CIRCLE, FLOAT64, INT32, INT64, MOC, POINT, POLYGON, REGION, STRING, TIMESTAMP, Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# What a signature's argument words accept, as kinds of `hven.adql.kinds`
ACCEPTS: dict[str, frozenset[str]] = {
    "NUMERIC": frozenset({"number"}),
    "REAL": frozenset({"number"}),
    "INTEGER": frozenset({"integer"}),
    "BIGINT": frozenset({"integer"}),
    "TEXT": frozenset({"text"}),
    "TIMESTAMP": frozenset({"time", "text"}),  # ISO text is read as a timestamp
    "BOOLEAN": frozenset({"boolean"}),
    "POINT": frozenset({"point"}),
    "CIRCLE": frozenset({"circle"}),
    "POLYGON": frozenset({"polygon"}),
    "REGION": frozenset({"region"}),
    "MOC": frozenset({"moc"}),
    "GEOMETRY": frozenset({"point", "circle", "polygon", "range", "region", "moc"}),
    "ORDERED": frozenset({"number", "text", "time", "boolean"}),
    "ARRAY": frozenset({"numbers"}),
    "LIST": frozenset({"array"}),
    "ANY": frozenset({"any"}),
}
NUMBERS = frozenset({"array", "interval"})  # kinds that are an array of numbers, if their elements are
RESULTS: dict[str, Type] = {
    "DOUBLE": FLOAT64, "INTEGER": INT32, "BIGINT": INT64, "TEXT": STRING, "TIMESTAMP": TIMESTAMP, "BOOLEAN": BOOLEAN,
    "POINT": POINT, "CIRCLE": CIRCLE, "POLYGON": POLYGON, "REGION": REGION, "MOC": MOC,
    "INTEGER[]": Type("int", "*"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a signature.

    Attributes
    ----------
    word
        A key of `ACCEPTS`.
    literal
        True if the value must be written in the query: it is part of the query's shape.
    repeated
        True for the last argument of a list of any length.
    unit
        The unit that the value is converted to, ``{km}`` in a signature; with ? behind it one without a unit is taken as it is.
    """

    name: str
    word: str
    optional: bool = False
    literal: bool = False
    repeated: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a function.

    `result` is a key of `RESULTS`, SAME (type of the first argument), COMMON (of all), SUM, or of an array's elements ELEMENT and TOTAL (of their sum).
    """

    args: tuple[Arg, ...]
    result: str
    text: str
    type: Type | None = None

    @property
    def minimum(self) -> int:
        """The smallest number of arguments."""
        return sum(not arg.optional for arg in self.args)

    @property
    def maximum(self) -> int | None:
        """The largest number of arguments, None = any."""
        return None if self.args and self.args[-1].repeated else len(self.args)

    def word(self, index: int) -> Arg:
        """Give the argument at `index`, the last one again and again if it is repeated."""
        return self.args[min(index, len(self.args) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One function.

    Attributes
    ----------
    group
        ``math``, ``trigonometry``, ``aggregate``, ``geometry``, ``string``, ``conditional``, ``unit``, ``udf`` or ``mapping``.
    unit
        A unit, "" (none), or ``same`` (that of the first argument).
    ucd
        A UCD, "", ``same``, or ``+word``: the argument's UCD with that word after it.
    volatile
        True if equal calls may answer differently.
    mapping
        True if only mapping expressions of a descriptor may call it.
    extra
        True for a Python function beside a descriptor.
    """

    name: str
    signatures: tuple[Signature, ...]
    doc: str
    group: str
    unit: str = ""
    ucd: str = ""
    volatile: bool = False
    mapping: bool = False
    extra: bool = False

    @property
    def aggregate(self) -> bool:
        """True if it turns the rows of a group into one value."""
        return self.group == "aggregate"

    @property
    def declared(self) -> tuple[str, ...]:
        """The forms that TAPRegExt's features-udf wants, one per signature without optional arguments."""
        return tuple(form for signature in self.signatures for form in _forms(self.name, signature))


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A Python function beside a descriptor: ``name(args) -> result``, types as a descriptor writes them or as `Type`."""

    name: str
    args: tuple[Type, ...]
    result: Type
    unit: str | None = None
    doc: str = ""


_ARG = re.compile(r"(\w+)\s+(\w+)(?:\{([^}]+)\})?(\s+LITERAL)?(\s*\.\.\.)?")


def _signature(name: str, text: str) -> Signature:
    """Read ``(x NUMERIC [, n INTEGER]) -> DOUBLE``."""
    inside, _, result = text.rpartition("->")
    inside = inside.strip()[1:-1]
    required, _, optional = inside.partition("[")
    args = [
        Arg(m[1], m[2], optional=part is optional, literal=bool(m[4]), repeated=bool(m[5]), unit=m[3] or "")
        for part in (required, optional)
        for m in _ARG.finditer(part)
    ]
    return Signature(tuple(args), result.strip(), f"{name}{text}", RESULTS.get(result.strip()))


_UDF_WORDS = {"NUMERIC": "DOUBLE PRECISION", "TEXT": "VARCHAR", "DOUBLE": "DOUBLE PRECISION", "GEOMETRY": "REGION", "SAME": "DOUBLE PRECISION",
              "ORDERED": "DOUBLE PRECISION", "COMMON": "DOUBLE PRECISION", "ANY": "VARCHAR", "ARRAY": "DOUBLE PRECISION[]", "ELEMENT": "DOUBLE PRECISION", "TOTAL": "DOUBLE PRECISION"}  # fmt: skip


def _forms(name: str, signature: Signature) -> Iterator[str]:
    for count in range(signature.minimum, len(signature.args) + 1):
        args = ", ".join(f"{arg.name} {_UDF_WORDS.get(arg.word, arg.word)}" for arg in signature.args[:count])
        yield f"{name.lower()}({args}) -> {_UDF_WORDS.get(signature.result, signature.result)}"


def _f(
    group: str, name: str, *signatures: str, doc: str, unit: str = "", ucd: str = "", volatile: bool = False, mapping: bool = False
) -> Entry:
    return Entry(
        name=name, signatures=tuple(_signature(name, text) for text in signatures), doc=doc, group=group, unit=unit, ucd=ucd,
        volatile=volatile, mapping=mapping,
    )  # fmt: skip


_X = "(x NUMERIC) -> DOUBLE"
_COORDSYS = "coordsys TEXT LITERAL, "


def _shape(name: str, result: str, doc: str, *forms: str) -> Entry:
    """Make a geometry constructor: each form with and without the deprecated first argument."""
    both = [f"({prefix}{form}) -> {result}" for form in forms for prefix in ("", _COORDSYS)]
    return _f("geometry", name, *both, doc=doc)


STANDARD: tuple[Entry, ...] = (
    # --- mathematical (ADQL 2.1 section 2.3)
    _f("math", "ABS", "(x NUMERIC) -> SAME", doc="Absolute value.", unit="same", ucd="same"),
    _f("math", "CEILING", _X, doc="Smallest whole number not below x.", unit="same", ucd="same"),
    _f("math", "DEGREES", _X, doc="Radians to degrees.", unit="deg"),
    _f("math", "EXP", _X, doc="e to the power of x."),
    _f("math", "FLOOR", _X, doc="Largest whole number not above x.", unit="same", ucd="same"),
    _f("math", "LOG", _X, doc="Natural logarithm; NULL for x <= 0."),
    _f("math", "LOG10", _X, doc="Logarithm to base 10; NULL for x <= 0."),
    _f("math", "MOD", "(x NUMERIC, y NUMERIC) -> COMMON", doc="Remainder of x/y with the sign of x; NULL for y = 0.", unit="same"),
    _f("math", "PI", "() -> DOUBLE", doc="The number pi."),
    _f("math", "POWER", "(x NUMERIC, y NUMERIC) -> DOUBLE", doc="x to the power of y."),
    _f("math", "RADIANS", _X, doc="Degrees to radians.", unit="rad"),
    _f("math", "RAND", "([seed INTEGER]) -> DOUBLE", doc="A random number, 0 <= value < 1, another one in each row; the seed is not used.", volatile=True),
    _f("math", "ROUND", "(x NUMERIC [, n INTEGER]) -> DOUBLE", doc="x rounded to n decimals (0; negative: before the point), halves away from zero.", unit="same", ucd="same"),
    _f("math", "SQRT", _X, doc="Square root; NULL for x < 0."),
    _f("math", "TRUNCATE", "(x NUMERIC [, n INTEGER]) -> DOUBLE", doc="x cut to n decimals (0; negative: before the point).", unit="same", ucd="same"),
    # --- trigonometric, in radians
    _f("trigonometry", "ACOS", _X, doc="Arc cosine; NULL outside -1..1.", unit="rad"),
    _f("trigonometry", "ASIN", _X, doc="Arc sine; NULL outside -1..1.", unit="rad"),
    _f("trigonometry", "ATAN", _X, doc="Arc tangent.", unit="rad"),
    _f("trigonometry", "ATAN2", "(y NUMERIC, x NUMERIC) -> DOUBLE", doc="Angle of the point (x, y), -pi to pi.", unit="rad"),
    _f("trigonometry", "COS", _X, doc="Cosine."),
    _f("trigonometry", "COT", _X, doc="Cotangent."),
    _f("trigonometry", "SIN", _X, doc="Sine."),
    _f("trigonometry", "TAN", _X, doc="Tangent."),
    # --- aggregates
    _f("aggregate", "COUNT", "(x ANY) -> BIGINT", doc="Number of rows, COUNT(*), or of values that are not NULL.", ucd="meta.number"),
    _f("aggregate", "SUM", "(x NUMERIC) -> SUM", doc="Sum; whole numbers are added in 64 bits.", unit="same", ucd="+arith.sum"),
    _f("aggregate", "AVG", _X, doc="Mean.", unit="same", ucd="+stat.mean"),
    _f("aggregate", "MIN", "(x ORDERED) -> SAME", doc="Smallest value.", unit="same", ucd="+stat.min"),
    _f("aggregate", "MAX", "(x ORDERED) -> SAME", doc="Largest value.", unit="same", ucd="+stat.max"),
    # --- strings, conditions, units
    _f("string", "LOWER", "(s TEXT) -> TEXT", doc="Lower case, by the rules of Unicode.", ucd="same"),
    _f("string", "UPPER", "(s TEXT) -> TEXT", doc="Upper case, by the rules of Unicode.", ucd="same"),
    _f("conditional", "COALESCE", "(x ANY ...) -> COMMON", doc="The first value that is not NULL.", unit="same", ucd="same"),
    _f("unit", "IN_UNIT", "(x NUMERIC, unit TEXT LITERAL) -> DOUBLE", doc="The value in another unit (VOUnits); x must have a unit."),
    # --- geometry, in degrees (ADQL 2.1 section 4.2)
    _shape("POINT", "POINT", "A position.", "lon NUMERIC, lat NUMERIC"),
    _shape("CIRCLE", "CIRCLE", "A circle of radius r.", "lon NUMERIC, lat NUMERIC, r NUMERIC", "center POINT, r NUMERIC"),
    _shape("BOX", "POLYGON", "A box by its centre and the lengths of its two arms; deprecated, use POLYGON.",
           "lon NUMERIC, lat NUMERIC, width NUMERIC, height NUMERIC", "center POINT, width NUMERIC, height NUMERIC"),
    _shape("POLYGON", "POLYGON", "A polygon with great-circle edges; three or more corners.",
           "lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC, lon3 NUMERIC, lat3 NUMERIC, more NUMERIC ...",
           "lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC, lon3 NUMERIC, lat3 NUMERIC",
           "p1 POINT, p2 POINT, p3 POINT, more POINT ...", "p1 POINT, p2 POINT, p3 POINT"),
    _f("geometry", "REGION", "(region TEXT) -> REGION", doc="A region from DALI or STC-S text: CIRCLE 10 20 1; POLYGON ICRS ..; BOX ..; POSITION .."),
    _f("geometry", "AREA", "(g GEOMETRY) -> DOUBLE", doc="Area in square degrees; 0 for a point.", unit="deg**2", ucd="phys.angArea"),
    _f("geometry", "CENTROID", "(g GEOMETRY) -> POINT", doc="Centre of a shape.", unit="deg"),
    _f("geometry", "COORD1", "(p POINT) -> DOUBLE", doc="First coordinate of a point.", unit="deg"),
    _f("geometry", "COORD2", "(p POINT) -> DOUBLE", doc="Second coordinate of a point.", unit="deg"),
    _f("geometry", "COORDSYS", "(g GEOMETRY) -> TEXT", doc="Coordinate system of a shape; deprecated. The name that the constructor in the call has, or the column's frame, else UNKNOWNFRAME."),
    _f("geometry", "DISTANCE", "(p1 POINT, p2 POINT) -> DOUBLE", "(lon1 NUMERIC, lat1 NUMERIC, lon2 NUMERIC, lat2 NUMERIC) -> DOUBLE",
       doc="Angle between two positions along the great circle.", unit="deg", ucd="pos.angDistance"),
    _f("geometry", "CONTAINS", "(inner GEOMETRY, outer GEOMETRY) -> INTEGER", doc="1 if the first shape lies in the second, borders included, else 0."),
    _f("geometry", "INTERSECTS", "(a GEOMETRY, b GEOMETRY) -> INTEGER", doc="1 if the shapes have a point in common, else 0."),
)  # fmt: skip

_MOTION = (
    "ra NUMERIC, dec NUMERIC, parallax NUMERIC, pmra NUMERIC, pmdec NUMERIC, radial_velocity NUMERIC, ref_epoch NUMERIC, out_epoch NUMERIC"
)
_TRANSFORM = tuple(f"(from_sys TEXT LITERAL, to_sys TEXT LITERAL, geo {shape}) -> {shape}" for shape in ("POINT", "CIRCLE", "POLYGON"))
_HISTOGRAM = "(val NUMERIC, lower NUMERIC, upper NUMERIC, nbins INTEGER LITERAL) -> INTEGER[]"

UDFS: tuple[Entry, ...] = (
    _f("udf", "IVO_HASHLIST_HAS", "(hashlist TEXT, item TEXT) -> INTEGER", doc="1 if item is one of the words of a list like a#b#c, compared without case; 0 if item has a # itself."),
    _f("udf", "IVO_NOCASEMATCH", "(value TEXT, pattern TEXT) -> INTEGER", doc="1 if value is LIKE pattern, compared without case."),
    _f("udf", "IVO_HASWORD", "(haystack TEXT, needle TEXT) -> INTEGER", doc="1 if every word of needle is a word of haystack, compared without case and without stemming."),
    _f("aggregate", "IVO_STRING_AGG", "(expression TEXT, delimiter TEXT) -> TEXT", doc="The values that are not NULL, joined by the delimiter."),
    _f("udf", "IVO_INTERVAL_OVERLAPS", "(a1 NUMERIC, b1 NUMERIC, a2 NUMERIC, b2 NUMERIC) -> INTEGER", doc="1 if the closed intervals a1..b1 and a2..b2 have a number in common; 0 if bounds are reversed."),
    _f("udf", "IVO_HEALPIX_INDEX", "(hpxOrder INTEGER, long REAL, lat REAL) -> BIGINT", "(hpxOrder INTEGER, point POINT) -> BIGINT", doc="Number of the HEALPix cell (NESTED) that a position is in.", ucd="pos.healpix"),
    _f("udf", "IVO_HEALPIX_CENTER", "(hpxOrder INTEGER, hpxIndex BIGINT) -> POINT", doc="Centre of a HEALPix cell (NESTED).", unit="deg"),
    _f("udf", "IVO_TO_JD", "(d TIMESTAMP) -> DOUBLE", doc="Julian date of a timestamp, whatever its time scale.", unit="d", ucd="time.epoch"),
    _f("udf", "IVO_TO_MJD", "(d TIMESTAMP) -> DOUBLE", doc="Modified Julian date of a timestamp, whatever its time scale.", unit="d", ucd="time.epoch"),
    _f("udf", "IVO_HMS_TO_DEGREES", "(hms TEXT) -> DOUBLE", doc="Degrees from h:m:s, h m s or 12h34m56s (60 at the end carries over); NULL if it is none of these.", unit="deg"),
    _f("udf", "IVO_DMS_TO_DEGREES", "(dms TEXT) -> DOUBLE", doc="Degrees from d:m:s, d m s or 12d34m56s (60 at the end carries over); NULL if it is none of these.", unit="deg"),
    _f("udf", "IVO_EPOCH_PROP_POS", f"({_MOTION}) -> POINT", unit="deg",
       doc="Position at out_epoch (Julian years) of what moves in a straight line: mas, mas/yr (pmra with cos(dec)), km/s. NULL motions are 0, a NULL parallax is infinitely far; a NULL position or epoch is an error."),
    _f("udf", "IVO_GEOM_TRANSFORM", *_TRANSFORM, unit="deg", doc="A shape in another frame: ICRS, FK5 (J2000), FK4 (B1950), GALACTIC, ECLIPTIC (J2000), in capitals. A rotation alone; centres and corners are turned."),
    _f("aggregate", "IVO_HISTOGRAM", _HISTOGRAM, doc="Numbers of values in nbins equal bins from lower to upper (not included); before them what lies below, with NULL and NaN, after them what lies above. The bounds are constants."),
    _f("udf", "IVO_NORMAL_RANDOM", "(mu NUMERIC, sigma NUMERIC) -> DOUBLE", doc="A random number of the normal distribution, another one in each row.", volatile=True),
    _f("udf", "MOC", "(text TEXT) -> MOC", "(hpxOrder INTEGER LITERAL, geo GEOMETRY) -> MOC",
       doc="A MOC from its ASCII form, or the cells of an order that a shape touches; CONTAINS and INTERSECTS take it as they take a shape. The cells must not be finer than 1/500 of the shape."),
    _f("udf", "GAVO_MOCUNION", "(m1 MOC, m2 MOC) -> MOC", doc="What is in one of two MOCs."),
    _f("udf", "GAVO_MOCINTERSECT", "(m1 MOC, m2 MOC) -> MOC", doc="What is in both of two MOCs."),
    _f("udf", "GAVO_APPLY_PM", "(ra NUMERIC, dec NUMERIC, pmra NUMERIC, pmde NUMERIC, epdist NUMERIC) -> POINT", doc="Position after epdist Julian years of proper motion in deg/yr (pmra with cos(dec)).", unit="deg"),
    _f("udf", "GAVO_TRANSFORM", *_TRANSFORM, doc="As ivo_geom_transform.", unit="deg"),
    _f("aggregate", "GAVO_HISTOGRAM", _HISTOGRAM, doc="As ivo_histogram."),
    _f("udf", "GAVO_NORMAL_RANDOM", "(mu NUMERIC, sigma NUMERIC) -> DOUBLE", doc="As ivo_normal_random.", volatile=True),
    _f("udf", "GAVO_SPECCONV", "(expr NUMERIC, dest_unit TEXT LITERAL) -> DOUBLE", "(expr NUMERIC, expr_unit TEXT LITERAL, dest_unit TEXT LITERAL) -> DOUBLE",
       doc="A wavelength, frequency, energy or wave number in another unit of any of these; without expr_unit the unit is that of the column."),
    _f("udf", "GAVO_GETAUTHORITY", "(ivoid TEXT) -> TEXT", doc="The authority in an IVOID; NULL if it is none."),
    _f("udf", "GAVO_IPIX", "(long REAL, lat REAL) -> BIGINT", doc="Number of the pixel of Q3C that a position is in."),
    _f("udf", "GAVO_VOCMATCH", "(vocname TEXT LITERAL, term TEXT LITERAL, matchagainst TEXT) -> INTEGER",
       doc="1 if matchagainst is the term or a narrower one of an IVOA vocabulary (product-type, datalink/core, object-type ..), with or without # before it."),
    _f("udf", "GAVO_MATCH", "(pattern TEXT, string TEXT) -> INTEGER", doc="1 if the regular expression matches anywhere in the string."),
    _f("udf", "GAVO_TO_JD", "(d TIMESTAMP) -> DOUBLE", doc="As ivo_to_jd.", unit="d", ucd="time.epoch"),
    _f("udf", "GAVO_TO_MJD", "(d TIMESTAMP) -> DOUBLE", doc="As ivo_to_mjd.", unit="d", ucd="time.epoch"),
    # --- arrays: NULL elements are left out, as aggregates do
    _f("udf", "ARR_LENGTH", "(arr ARRAY) -> INTEGER", doc="Number of elements of an array, NULL ones too."),
    _f("udf", "ARR_COUNT", "(arr ARRAY) -> INTEGER", doc="Number of elements that are not NULL."),
    _f("udf", "ARR_SUM", "(arr ARRAY) -> TOTAL", doc="Sum of the elements: a BIGINT of whole numbers.", unit="same", ucd="+arith.sum"),
    _f("udf", "ARR_AVG", "(arr ARRAY) -> DOUBLE", doc="Mean of the elements.", unit="same", ucd="+stat.mean"),
    _f("udf", "ARR_MIN", "(arr ARRAY) -> ELEMENT", doc="Smallest element, of the elements' own type.", unit="same", ucd="+stat.min"),
    _f("udf", "ARR_MAX", "(arr ARRAY) -> ELEMENT", doc="Largest element, of the elements' own type.", unit="same", ucd="+stat.max"),
    _f("udf", "ARR_STDDEV", "(arr ARRAY) -> DOUBLE", doc="Standard deviation of the elements as a sample; NULL for fewer than two.", unit="same", ucd="+stat.stdev"),
    _f("udf", "ARR_DOT", "(a ARRAY, b ARRAY) -> DOUBLE", doc="Sum of the products of two arrays' elements; NULL if their lengths differ or an element is NULL."),
    # --- helpful in mappings, harmless in queries
    _f("udf", "JD", "(t TIMESTAMP) -> DOUBLE", doc="Julian date of a timestamp.", unit="d", ucd="time.epoch"),
    _f("udf", "MJD", "(t TIMESTAMP) -> DOUBLE", doc="Modified Julian date of a timestamp.", unit="d", ucd="time.epoch"),
    _f("udf", "ISO", "(jd NUMERIC) -> TIMESTAMP", doc="Timestamp of a Julian date, rounded to a tenth of a millisecond: a double resolves no more than 40 microseconds.", ucd="same"),
    _f("mapping", "SUBSTRING", "(s TEXT, start INTEGER [, length INTEGER]) -> TEXT", doc="Part of a string; the first character is 1.", ucd="same", mapping=True),
    _f("mapping", "TRIM", "(s TEXT) -> TEXT", doc="Without white space at both ends.", ucd="same", mapping=True),
    _f("udf", "REPLACE", "(s TEXT, old TEXT, new TEXT) -> TEXT", doc="Every `old` replaced by `new`.", ucd="same"),
    _f("udf", "SPLIT_PART", "(s TEXT, separator TEXT, n INTEGER) -> TEXT", doc="The n-th piece between separators, from 1; empty if there are fewer."),
    _f("udf", "LENGTH", "(s TEXT) -> BIGINT", doc="Number of characters.", ucd="meta.number"),
    _f("mapping", "CONCAT", "(x ORDERED ...) -> TEXT", doc="Everything as text, one after the other; NULLs are left out.", mapping=True),
    _f("udf", "REGEXP_MATCH", "(s TEXT, pattern TEXT) -> INTEGER", doc="1 if the regular expression (RE2) matches anywhere in the string."),
    _f("udf", "REGEXP_EXTRACT", "(s TEXT, pattern TEXT LITERAL [, n INTEGER LITERAL]) -> TEXT", doc="What the n-th group of the expression matched (0, the whole, by default); NULL if there is no match."),
    _f("udf", "REGEXP_REPLACE", "(s TEXT, pattern TEXT, new TEXT) -> TEXT", doc="Every match of the expression replaced; \\1 is its first group."),
    _f("mapping", "WITHOUT_UNIT", _X, doc="The number alone, its unit taken off: for formulas whose factors were made for numbers in certain units.", ucd="same", mapping=True),
    _f("mapping", "NULLIF", "(x ORDERED, y ORDERED) -> SAME", doc="NULL if x = y, else x.", unit="same", ucd="same", mapping=True),
    _f("udf", "GREATEST", "(x ORDERED, y ORDERED ...) -> COMMON", doc="The largest value; NULLs are left out.", unit="same", ucd="same"),
    _f("udf", "LEAST", "(x ORDERED, y ORDERED ...) -> COMMON", doc="The smallest value; NULLs are left out.", unit="same", ucd="same"),
    _f("udf", "SIGN", "(x NUMERIC) -> INTEGER", doc="-1, 0 or 1."),
    _f("aggregate", "STDDEV", _X, doc="Standard deviation of the sample.", unit="same", ucd="+stat.stdev"),
    _f("aggregate", "VARIANCE", _X, doc="Variance of the sample."),
    _f("aggregate", "MEDIAN", _X, doc="Median.", unit="same", ucd="+stat.median"),
    # --- of mapping expressions only
    _f("mapping", "PARSE_TIME", "(text TEXT [, format TEXT LITERAL]) -> TIMESTAMP", "(time TIMESTAMP) -> TIMESTAMP",
       doc="Timestamp from text: ISO 8601 with its usual liberties, or by a format of strptime (%d/%m/%Y %H:%M:%S); :60 is the minute after; NULL if it is none.", mapping=True, ucd="same"),
    _f("mapping", "SEXAGESIMAL", "(text TEXT [, kind TEXT LITERAL]) -> DOUBLE", doc="Degrees from sexagesimal text, 60 at the end carries over; kind 'hour' or 'deg' (the default).", unit="deg", mapping=True, ucd="same"),
    _f("mapping", "HEADER", "(card TEXT LITERAL) -> SAME", doc="The source column of that very name, such as the FITS card DATE-OBS.", mapping=True),
    _f("mapping", "ROW_NUMBER", "() -> BIGINT", doc="Number of the row in its batch, from 1.", mapping=True),
    *(_f("mapping", row.name, *row.signatures, doc=row.doc, unit=row.unit, ucd=row.ucd, mapping=True) for row in ROWS),
)  # fmt: skip


WINDOWS: dict[str, Entry] = {entry.name: entry for entry in (
    _f("window", "ROW_NUMBER", "() -> BIGINT", doc="Number of the row in its partition, from 1.", ucd="meta.number"),
    _f("window", "RANK", "() -> BIGINT", doc="Rank with gaps: equal rows share one.", ucd="meta.number"),
    _f("window", "DENSE_RANK", "() -> BIGINT", doc="Rank without gaps.", ucd="meta.number"),
    _f("window", "PERCENT_RANK", "() -> DOUBLE", doc="(rank - 1) / (rows - 1)."),
    _f("window", "CUME_DIST", "() -> DOUBLE", doc="Share of the rows that come not later."),
    _f("window", "NTILE", "(n INTEGER LITERAL) -> BIGINT", doc="Number of the part, 1 to n, of n parts of nearly equal size."),
    _f("window", "LAG", "(x ORDERED [, n INTEGER LITERAL]) -> SAME", doc="x of the row n (1) before, NULL if there is none.", unit="same", ucd="same"),
    _f("window", "LEAD", "(x ORDERED [, n INTEGER LITERAL]) -> SAME", doc="x of the row n (1) after, NULL if there is none.", unit="same", ucd="same"),
    _f("window", "FIRST_VALUE", "(x ORDERED) -> SAME", doc="x of the first row.", unit="same", ucd="same"),
    _f("window", "LAST_VALUE", "(x ORDERED) -> SAME", doc="x of the last row that is not after this one, or of the frame's last.", unit="same", ucd="same"),
    _f("window", "NTH_VALUE", "(x ORDERED, n INTEGER LITERAL) -> SAME", doc="x of the n-th row, NULL if there are not so many yet.", unit="same", ucd="same"),
)}  # fmt: skip
"""Functions that stand before OVER only; those of `FRAMED`, and the aggregates of `OVER_GROUPS`, look at a frame."""
FRAMED = frozenset({"FIRST_VALUE", "LAST_VALUE", "NTH_VALUE"})
OVER_GROUPS = frozenset({"COUNT", "SUM", "AVG", "MIN", "MAX", "STDDEV", "VARIANCE", "MEDIAN"})


NAMED: dict[str, Entry] = {entry.name: entry for entry in (
    _f("udf", "IVO_SIMBADPOINT", "(identifier TEXT LITERAL) -> POINT", unit="deg", ucd="pos.eq",
       doc="Position (ICRS) of an object by its name, which is a string in the query: it is looked up once, before the query runs. An unknown or ambiguous name is an error."),
    _f("udf", "GAVO_SIMBADPOINT", "(identifier TEXT LITERAL) -> POINT", doc="As ivo_simbadpoint.", unit="deg", ucd="pos.eq"),
)}  # fmt: skip
"""Functions of names: offered where the site can resolve any, and replaced by constants when a query is bound."""


class Functions:
    """A set of functions: name (upper case) -> `Entry`."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def get(self, name: str) -> Entry | None:
        """Find by name, in any case."""
        return self._entries.get(name) or self._entries.get(name.upper())

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, upper case."""
        return tuple(self._entries)

    def extended(self, extras: Sequence[Extra | Entry]) -> Functions:
        """Return this set with Python functions beside a descriptor (or further entries).

        Raises
        ------
        ValueError
            One has the name of a function that is there already.
        """
        entries = [item if isinstance(item, Entry) else _entry(item) for item in extras]
        for entry in entries:
            if entry.name in self._entries:
                raise ValueError(f"there is a function {entry.name.lower()} already")
        return Functions((*self, *entries))

    def without(self, names: Iterable[str]) -> Functions:
        """Return this set without some of them."""
        gone = {name.upper() for name in names}
        return Functions(entry for entry in self if entry.name not in gone)

    @property
    def udfs(self) -> tuple[Entry, ...]:
        """Those that TAPRegExt declares as user defined functions."""
        standard = {entry.name for entry in STANDARD}
        return tuple(entry for entry in self if entry.name not in standard and not entry.mapping)


def _entry(extra: Extra) -> Entry:
    def word(type_: Type) -> str:
        if type_.is_numeric:
            return "NUMERIC"
        return "TIMESTAMP" if type_.is_timestamp else "TEXT" if type_.is_string else "POINT" if type_ == POINT else "ANY"

    args = ", ".join(f"x{n} {word(type_)}" for n, type_ in enumerate(extra.args, 1))
    signature = replace(_signature(extra.name.upper(), f"({args}) -> {extra.result}"), type=extra.result)
    return Entry(
        name=extra.name.upper(), signatures=(signature,), doc=extra.doc or "A function beside the descriptor.", group="udf",
        unit=extra.unit or "", extra=True, volatile=True,
    )  # fmt: skip


QUERY = Functions(entry for entry in STANDARD + UDFS if not entry.mapping)
MAPPING = Functions(STANDARD + UDFS)


def reference() -> str:
    """Write the functions as the tables of docs/reference/adql.md."""
    lines: list[str] = []
    for group, title in GROUPS.items():
        entries = sorted((entry for entry in MAPPING if entry.group == group), key=lambda entry: entry.name)
        lines += [f"### {title}", "", "| function | gives | | for instance |", "|---|---|---|---|"]
        for entry in entries:
            shown = entry.name if entry in STANDARD else entry.name.lower()
            forms = [text for text in entry.signatures if "coordsys" not in text.text and "more" not in text.text] or list(entry.signatures)
            calls = "<br>".join(f"`{shown}{_plain(form)}`" for form in forms)
            lines.append(f"| {calls} | {_GIVES.get(forms[0].result, forms[0].result)} | {entry.doc} | {_example(entry)} |")
        lines.append("")
    return "\n".join(lines)


def _example(entry: Entry) -> str:
    call, result = EXAMPLES[entry.name]
    call = call if entry in STANDARD else call.replace(entry.name, entry.name.lower())
    shown = call.replace("|", "\\|")
    return f"`{shown}` is `{result.lstrip('~')}`" if result else f"`{shown}`"


_GIVES = {
    "ELEMENT": "as the elements",
    "TOTAL": "BIGINT or DOUBLE",
    "INTEGER[]": "array of INTEGER",
    "SAME": "as its argument",
    "COMMON": "the type of both",
    "SUM": "BIGINT or DOUBLE",
}


def _plain(signature: Signature) -> str:
    """Write a signature's arguments: ``(x, [n])``."""
    return (
        "(" + ", ".join(f"[{arg.name}]" if arg.optional else f"{arg.name} .." if arg.repeated else arg.name for arg in signature.args) + ")"
    )


GROUPS = {
    "math": "Mathematical", "trigonometry": "Trigonometric, in radians", "aggregate": "Aggregate", "string": "Strings", "conditional": "Conditional",
    "unit": "Units", "geometry": "Geometry, in degrees", "udf": "User defined, declared in the capabilities", "mapping": "In descriptors only",
}  # fmt: skip
