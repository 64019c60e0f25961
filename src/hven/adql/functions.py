"""All functions of ADQL, queries and descriptors, each defined once; the dialects of SQL say how to compute them.

A function of a plug-in has its SQL in its own definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql._user_functions import NUMBER_FORM, USER_DEFINED_FUNCTIONS
from hven.adql.signatures import FunctionDefinition, define_function
from hven.model import plugins
from hven.model.errors import UserError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


_COORDSYS_PARAMETER = "coordsys TEXT LITERAL, "


def _define_shape_function(name: str, result: str, doc: str, *forms: str, example: str) -> FunctionDefinition:
    """Define a geometry constructor; each form exists with and without the deprecated coordinate system."""
    signatures: list[str] = []
    for form in forms:
        signatures.append(f"({form}) -> {result}")
        signatures.append(f"({_COORDSYS_PARAMETER}{form}) -> {result}")
    return define_function("geometry", name, *signatures, doc=doc, example=example)


STANDARD_FUNCTIONS: tuple[FunctionDefinition, ...] = (
    # --- mathematical (ADQL 2.1 section 2.3)
    define_function(
        "math", "ABS", "(x NUMERIC) -> SAME", doc="Absolute value.", unit="same", ucd="same", example="ABS(-2.5) is 2.5"
    ),
    define_function(
        "math",
        "CEILING",
        NUMBER_FORM,
        doc="Smallest whole number that is not less than x.",
        unit="same",
        ucd="same",
        example="CEILING(2.1) is 3.0",
    ),
    define_function(
        "math", "DEGREES", NUMBER_FORM, doc="Radians to degrees.", unit="deg", example="DEGREES(PI()) is 180.0"
    ),
    define_function("math", "EXP", NUMBER_FORM, doc="e to the power of x.", example="EXP(1) is ~2.718281828"),
    define_function(
        "math",
        "FLOOR",
        NUMBER_FORM,
        doc="Largest whole number that is not greater than x.",
        unit="same",
        ucd="same",
        example="FLOOR(-2.1) is -3.0",
    ),
    define_function(
        "math", "LOG", NUMBER_FORM, doc="Natural logarithm; NULL for x <= 0.", example="LOG(10) is ~2.302585093"
    ),
    define_function(
        "math", "LOG10", NUMBER_FORM, doc="Logarithm to base 10; NULL for x <= 0.", example="LOG10(1000) is 3.0"
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
        "math", "RADIANS", NUMBER_FORM, doc="Degrees to radians.", unit="rad", example="RADIANS(180) is ~3.141592654"
    ),
    define_function(
        "math",
        "RAND",
        "([seed INTEGER]) -> DOUBLE",
        doc="A random number, 0 <= value < 1, different in each row; the seed is ignored.",
        volatile=True,
        example="RAND()",
    ),
    define_function(
        "math",
        "ROUND",
        "(x NUMERIC [, n INTEGER]) -> DOUBLE",
        doc=(
            "x rounded to n decimals (0 by default); a negative n rounds digits before the decimal point. Halves are "
            "rounded away from zero."
        ),
        unit="same",
        ucd="same",
        example="ROUND(3.14159, 2) is 3.14",
    ),
    define_function("math", "SQRT", NUMBER_FORM, doc="Square root; NULL for x < 0.", example="SQRT(2) is ~1.414213562"),
    define_function(
        "math",
        "TRUNCATE",
        "(x NUMERIC [, n INTEGER]) -> DOUBLE",
        doc="x truncated to n decimals (0 by default); a negative n truncates digits before the decimal point.",
        unit="same",
        ucd="same",
        example="TRUNCATE(1299.9, -2) is 1200.0",
    ),
    # --- trigonometric, in radians
    define_function(
        "trigonometry",
        "ACOS",
        NUMBER_FORM,
        doc="Arc cosine; NULL outside -1..1.",
        unit="rad",
        example="ACOS(0) is ~1.570796327",
    ),
    define_function(
        "trigonometry",
        "ASIN",
        NUMBER_FORM,
        doc="Arc sine; NULL outside -1..1.",
        unit="rad",
        example="ASIN(1) is ~1.570796327",
    ),
    define_function(
        "trigonometry", "ATAN", NUMBER_FORM, doc="Arc tangent.", unit="rad", example="ATAN(1) is ~0.785398163"
    ),
    define_function(
        "trigonometry",
        "ATAN2",
        "(y NUMERIC, x NUMERIC) -> DOUBLE",
        doc="Angle of the point (x, y), from -pi to pi.",
        unit="rad",
        example="ATAN2(1, -1) is ~2.356194490",
    ),
    define_function("trigonometry", "COS", NUMBER_FORM, doc="Cosine.", example="COS(0) is 1.0"),
    define_function("trigonometry", "COT", NUMBER_FORM, doc="Cotangent.", example="COT(1) is ~0.642092616"),
    define_function("trigonometry", "SIN", NUMBER_FORM, doc="Sine.", example="SIN(1) is ~0.841470985"),
    define_function("trigonometry", "TAN", NUMBER_FORM, doc="Tangent.", example="TAN(1) is ~1.557407725"),
    # --- aggregates
    define_function(
        "aggregate",
        "COUNT",
        "(x ANY) -> BIGINT",
        doc="Number of rows for COUNT(*), otherwise number of values that are not NULL.",
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
        "aggregate", "AVG", NUMBER_FORM, doc="Mean.", unit="same", ucd="+stat.mean", example="AVG(x) is 1.75"
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
        doc="The string in lower case, according to Unicode.",
        ucd="same",
        example="LOWER('NGC Ä') is 'ngc ä'",
    ),
    define_function(
        "string",
        "UPPER",
        "(s TEXT) -> TEXT",
        doc="The string in upper case, according to Unicode.",
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
    _define_shape_function(
        "POINT", "POINT", "A position.", "lon NUMERIC, lat NUMERIC", example="POINT(10, -20) is [10.0, -20.0]"
    ),
    _define_shape_function(
        "CIRCLE",
        "CIRCLE",
        "A circle of radius r.",
        "lon NUMERIC, lat NUMERIC, r NUMERIC",
        "center POINT, r NUMERIC",
        example="CIRCLE(10, -20, 0.5) is [10.0, -20.0, 0.5]",
    ),
    _define_shape_function(
        "BOX",
        "POLYGON",
        "A box, given by its centre, width and height. Deprecated; use POLYGON instead.",
        "lon NUMERIC, lat NUMERIC, width NUMERIC, height NUMERIC",
        "center POINT, width NUMERIC, height NUMERIC",
        example="AREA(BOX(10, 0, 2, 2)) is ~3.999593922",
    ),
    _define_shape_function(
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
        doc=(
            "A shape's coordinate system: the name in the constructor, or the column's frame, or else UNKNOWNFRAME. "
            "Deprecated."
        ),
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
        doc="1 if the first shape is inside the second, borders included, else 0.",
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

WINDOW_FUNCTIONS: dict[str, FunctionDefinition] = {
    entry.name: entry
    for entry in (
        define_function(
            "window",
            "ROW_NUMBER",
            "() -> BIGINT",
            doc="The row's number within its partition, counted from 1.",
            ucd="meta.number",
        ),
        define_function(
            "window", "RANK", "() -> BIGINT", doc="Rank with gaps: equal rows have the same rank.", ucd="meta.number"
        ),
        define_function(
            "window",
            "DENSE_RANK",
            "() -> BIGINT",
            doc="Rank without gaps: equal rows have the same rank, and the next rank is higher by 1.",
            ucd="meta.number",
        ),
        define_function(
            "window",
            "PERCENT_RANK",
            "() -> DOUBLE",
            doc="Relative rank: (rank - 1) / (number of rows in the partition - 1).",
        ),
        define_function(
            "window",
            "CUME_DIST",
            "() -> DOUBLE",
            doc="Fraction of the partition's rows that come before this row or are equal to it.",
        ),
        define_function(
            "window",
            "NTILE",
            "(n INTEGER LITERAL) -> BIGINT",
            doc=(
                "Number, from 1 to n, of the part that contains the row. The partition is divided into n parts of "
                "nearly equal size."
            ),
        ),
        define_function(
            "window",
            "LAG",
            "(x ORDERED [, n INTEGER LITERAL]) -> SAME",
            doc="Value of x in the n-th row before this row; NULL if there is no such row. By default, n is 1.",
            unit="same",
            ucd="same",
        ),
        define_function(
            "window",
            "LEAD",
            "(x ORDERED [, n INTEGER LITERAL]) -> SAME",
            doc="Value of x in the n-th row after this row; NULL if there is no such row. By default, n is 1.",
            unit="same",
            ucd="same",
        ),
        define_function(
            "window",
            "FIRST_VALUE",
            "(x ORDERED) -> SAME",
            doc="Value of x in the frame's first row.",
            unit="same",
            ucd="same",
        ),
        define_function(
            "window",
            "LAST_VALUE",
            "(x ORDERED) -> SAME",
            doc=(
                "Value of x in the frame's last row. By default, the frame ends with the last row that is equal to the "
                "current row in ORDER BY."
            ),
            unit="same",
            ucd="same",
        ),
        define_function(
            "window",
            "NTH_VALUE",
            "(x ORDERED, n INTEGER LITERAL) -> SAME",
            doc="Value of x in the frame's n-th row; NULL if the frame has fewer rows.",
            unit="same",
            ucd="same",
        ),
    )
}
"""Functions that stand before OVER only.

The functions of `FRAME_FUNCTION_NAMES`, and the aggregates of `WINDOW_AGGREGATE_NAMES`, use the frame of the window.
"""
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
            doc="Position (ICRS) of an object. Its name must be a string in the query; Hven looks it up once, "
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
"""Functions that resolve the name of an object.

A site offers them if it can resolve names. The binder replaces a call by a constant.
"""


class FunctionSet:
    """A set of functions, by their names in upper case.

    `load_more_entries` loads further functions (those of plug-ins) when the set is first used.
    """

    def __init__(
        self,
        entries: Iterable[FunctionDefinition],
        load_more_entries: Callable[[], Iterable[FunctionDefinition]] = tuple,
    ) -> None:
        self._initial_entries = tuple(entries)
        self._load_more = load_more_entries
        self._get_entries = plugins.cache_until_selection(self._map_functions_by_name)

    def _map_functions_by_name(self) -> dict[str, FunctionDefinition]:
        return {entry.name: entry for entry in (*self._initial_entries, *self._load_more())}

    def find_function(self, name: str) -> FunctionDefinition | None:
        """Find a function by its name.

        Parameters
        ----------
        name
            The name in any case.

        Returns
        -------
        entry
            The definition; None if there is no such function.
        """
        entries = self._get_entries()
        return entries.get(name) or entries.get(name.upper())

    def __iter__(self) -> Iterator[FunctionDefinition]:
        return iter(self._get_entries().values())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all functions in upper case."""
        return tuple(self._get_entries())

    @property
    def udfs(self) -> tuple[FunctionDefinition, ...]:
        """The functions that the capabilities declare as user defined functions (TAPRegExt)."""
        standard_names = {entry.name for entry in STANDARD_FUNCTIONS}
        return tuple(entry for entry in self if entry.name not in standard_names and not entry.mapping)


@plugins.cache_until_selection
def load_plugin_functions() -> tuple[FunctionDefinition, ...]:
    """Load the functions of plug-ins.

    Returns
    -------
    entries
        The definitions: those of modules in the order of their entry points, then those of packages.

    Raises
    ------
    UserError
        A function of a plug-in has the name of another function.
    """
    used_names = {entry.name for entry in STANDARD_FUNCTIONS + USER_DEFINED_FUNCTIONS}
    used_names |= {*NAME_RESOLVING_FUNCTIONS, *WINDOW_FUNCTIONS}
    plugin_entries: list[FunctionDefinition] = []
    module_entries = plugins.load_plugin_records("functions").items()
    for plugin_name, entry in (*module_entries, *plugins.iterate_package_objects("function_definitions")):
        if entry.name in used_names:
            message = format_message(
                "the plug-in {name!r} in hven.functions defines {function}, but this function already exists",
                plugin_name,
                entry.name,
            )
            raise UserError(message, remedy="give the function another name")
        used_names.add(entry.name)
        plugin_entries.append(entry)
    return tuple(plugin_entries)


QUERY_FUNCTIONS = FunctionSet(
    (entry for entry in STANDARD_FUNCTIONS + USER_DEFINED_FUNCTIONS if not entry.mapping),
    lambda: (entry for entry in load_plugin_functions() if not entry.mapping),
)
MAPPING_FUNCTIONS = FunctionSet(STANDARD_FUNCTIONS + USER_DEFINED_FUNCTIONS, load_plugin_functions)
