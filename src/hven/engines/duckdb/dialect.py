"""DuckDB's dialect: how it writes types, functions and geometry, and which functions it must be given (`MACROS`, `UDFS`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hven.adql import kinds
from hven.adql.grouping import walk
from hven.adql.sql import Dialect
from hven.adql.tree import Binary, Cast, Compare, Expr, Function, Literal, Query
from hven.adql.values import meta
from hven.model.types import FLOAT64, POLYGON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql.sql import Writer
    from hven.model.types import Type

TOLERANCE = "2.8e-13"  # degrees: hven.sky.sphere.TOLERANCE, so that both roads draw the same rim

#: To be run once in each database: what SQL itself can say.
MACROS: tuple[str, ...] = (
    """CREATE OR REPLACE TEMP MACRO hven_haversine(lon1, lat1, lon2, lat2) AS
       pow(sin(radians(lat1 - lat2) / 2), 2) + cos(radians(lat1)) * cos(radians(lat2)) * pow(sin(radians(lon1 - lon2) / 2), 2)""",
    # sqrt(h) and sqrt(1 - h) are both accurate, so the angle is at every separation
    """CREATE OR REPLACE TEMP MACRO hven_distance(lon1, lat1, lon2, lat2) AS
       degrees(2 * atan2(sqrt(abs(hven_haversine(lon1, lat1, lon2, lat2))), sqrt(abs(hven_haversine(lon1 + 180, -lat1, lon2, lat2)))))""",
    # first a test that costs little: the latitudes; it must not make FALSE of what is NULL
    # beyond a quarter turn the haversine loses digits: the antipode's circle is asked instead
    f"""CREATE OR REPLACE TEMP MACRO hven_in_circle(lon, lat, lon0, lat0, r) AS
       (abs(lat - lat0) <= r + 1e-9 OR lon + lon0 IS NULL) AND r >= 0 AND CASE WHEN r <= 90
       THEN hven_haversine(lon, lat, lon0, lat0) <= pow(sin(radians(r + {TOLERANCE}) / 2), 2)
       ELSE hven_haversine(lon, lat, lon0 + 180, -lat0) >= CASE WHEN r >= 180 THEN -1 ELSE pow(sin(radians(180 - r - {TOLERANCE}) / 2), 2) END END""",
    r"""CREATE OR REPLACE TEMP MACRO hven_sexagesimal_parts(s) AS coalesce(
       nullif(regexp_extract(s, '^\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\x{B0}\s]\s*(\d{1,2}(?:\.\d*)?)\s*(?:[:mM''\x{2032}\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS"\x{2033}]?)?\s*$',
              ['g', 'a', 'b', 'c']), {'g': '', 'a': '', 'b': '', 'c': ''}),
       nullif(regexp_extract(s, '^\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*$', ['g', 'a', 'b', 'c']), {'g': '', 'a': '', 'b': '', 'c': ''}))""",
    # 60 as the last number is what rounding made of 59.99...: it carries over
    """CREATE OR REPLACE TEMP MACRO hven_sexagesimal_of(p) AS CASE
       WHEN CAST(p.b AS DOUBLE) < 60 + CAST(p.c = '' AS INTEGER) AND CAST(p.b AS DOUBLE) <= 60 AND coalesce(TRY_CAST(p.c AS DOUBLE), 0) <= 60
       THEN CASE WHEN p.g = '-' THEN -1 ELSE 1 END * (CAST(p.a AS DOUBLE) + CAST(p.b AS DOUBLE) / 60 + coalesce(TRY_CAST(p.c AS DOUBLE), 0) / 3600) END""",
    """CREATE OR REPLACE TEMP MACRO hven_bin(x, low, high, bins) AS CASE WHEN x IS NULL OR isnan(x) OR x < low THEN 0
       WHEN x >= high THEN bins + 1 ELSE least(1 + CAST(floor((x - low) / (high - low) * bins) AS BIGINT), bins) END""",
    "CREATE OR REPLACE TEMP MACRO hven_bins(counts, bins) AS list_transform(range(bins + 2), lambda i: CAST(coalesce(counts[i], 0) AS INTEGER))",
    "CREATE OR REPLACE TEMP MACRO hven_sexagesimal(s) AS hven_sexagesimal_of(hven_sexagesimal_parts(s))",
)

#: To be registered by the engine from hven.sky, vectorised, NULL in = NULL out: name -> (argument types, result type).
#: A ``DOUBLE[]`` shape is told by its length: 2 a point, 3 a circle (lon, lat, r), 4 a range, 6 and more a polygon.
#: The ``_text`` ones take DALI or STC-S text or an ASCII MOC.
UDFS: dict[str, tuple[tuple[str, ...], str]] = {
    "hven_in_polygon": (("DOUBLE", "DOUBLE", "DOUBLE[]"), "BOOLEAN"),
    "hven_box": (("DOUBLE", "DOUBLE", "DOUBLE", "DOUBLE"), "DOUBLE[]"),
    "hven_contains": (("DOUBLE[]", "DOUBLE[]"), "BOOLEAN"),  # (inner, outer)
    "hven_intersects": (("DOUBLE[]", "DOUBLE[]"), "BOOLEAN"),
    "hven_area": (("DOUBLE[]",), "DOUBLE"),
    "hven_centroid": (("DOUBLE[]",), "DOUBLE[]"),
    "hven_text": (("DOUBLE[]",), "VARCHAR"),  # shape -> DALI shape text: CIRCLE 10 20 1
    "hven_contains_text": (("VARCHAR", "VARCHAR"), "BOOLEAN"),  # (inner, outer)
    "hven_intersects_text": (("VARCHAR", "VARCHAR"), "BOOLEAN"),
    "hven_area_text": (("VARCHAR",), "DOUBLE"),
    "hven_centroid_text": (("VARCHAR",), "DOUBLE[]"),
    "hven_in_text": (("DOUBLE", "DOUBLE", "VARCHAR"), "BOOLEAN"),  # (lon, lat, region or MOC)
    "hven_moc": (("INTEGER", "VARCHAR"), "VARCHAR"),  # (order, shape text)
    "hven_moc_union": (("VARCHAR", "VARCHAR"), "VARCHAR"),
    "hven_moc_intersection": (("VARCHAR", "VARCHAR"), "VARCHAR"),
    "hven_moved": (("DOUBLE",) * 7, "DOUBLE[]"),  # hven.sky.motion.moved
    "hven_turned": (("VARCHAR", "VARCHAR", "DOUBLE[]"), "DOUBLE[]"),  # (from, to, shape)
    "hven_healpix": (("INTEGER", "DOUBLE", "DOUBLE"), "BIGINT"),  # (order, lon, lat), NESTED
    "hven_healpix_center": (("INTEGER", "BIGINT"), "DOUBLE[]"),
}

_JD = "(2440587.5e0 + epoch_us({0}) / 86400000000e0)"
_MJD = "(40587e0 + epoch_us({0}) / 86400000000e0)"
_NORMAL = "({0} + {1} * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))"  # Box and Muller
_SPACE = "' ' || chr(9) || chr(10) || chr(13)"
TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%jT%H:%M:%S.%f", "%Y-%jT%H:%M:%S", "%Y-%jT%H:%M", "%Y-%j", "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d", "%Y%m%dT%H%M%S", "%Y%m%d", "%Y-%m-%d %H:%M:%S.%f",
)  # fmt: skip


class DuckDB(Dialect):
    """DuckDB 1.5."""

    name = "duckdb"
    functions: ClassVar[Mapping[str, str]] = {
        "ABS": "abs({0})", "CEILING": "ceil({0})", "DEGREES": "degrees({0})", "EXP": "exp({0})", "FLOOR": "floor({0})",
        "LOG": "CASE WHEN {0} > 0 THEN ln({0}) END", "LOG10": "CASE WHEN {0} > 0 THEN log10({0}) END", "MOD": ".remainder", "PI": "pi()",
        "POWER": "pow({0}, {1})", "RADIANS": "radians({0})", "RAND": ".random", "ROUND": ".rounded", "SQRT": "CASE WHEN {0} >= 0 THEN sqrt({0}) END",
        "TRUNCATE": ".rounded", "ACOS": "CASE WHEN {0} BETWEEN -1 AND 1 THEN acos({0}) END", "ASIN": "CASE WHEN {0} BETWEEN -1 AND 1 THEN asin({0}) END",
        "ATAN": "atan({0})", "ATAN2": "atan2({0}, {1})", "COS": "cos({0})", "COT": "(cos({0}) / nullif(sin({0}), 0))", "SIN": "sin({0})", "TAN": "tan({0})",
        "COUNT": "count({0})", "SUM": ".total", "AVG": "avg({0})", "MIN": "min({0})", "MAX": "max({0})",
        "LOWER": "lower({0})", "UPPER": "upper({0})", "COALESCE": ".coalesced",
        "POINT": ".shape", "CIRCLE": ".shape", "POLYGON": ".shape", "BOX": ".box", "REGION": "{0}", "AREA": ".area", "CENTROID": ".centroid",
        "COORD1": "({0})[1]", "COORD2": "({0})[2]", "DISTANCE": ".distance",
        "IVO_HASHLIST_HAS": "CAST(list_contains(string_split(lower({0}), '#'), lower({1})) AS INTEGER)",
        "IVO_NOCASEMATCH": "CAST({0} ILIKE {1} AS INTEGER)",
        "IVO_HASWORD": "CAST(list_has_all(regexp_split_to_array(lower({0}), '[^\\pL\\pN]+'), list_filter(regexp_split_to_array(lower({1}), '[^\\pL\\pN]+'), lambda w: w <> '')) AS INTEGER)",
        "IVO_STRING_AGG": "string_agg({0}, {1})",
        "IVO_INTERVAL_OVERLAPS": "CAST(({0} <= {1} AND {2} <= {3} AND {0} <= {3} AND {2} <= {1}) AS INTEGER)",
        "IVO_HEALPIX_INDEX": ".healpix", "IVO_HEALPIX_CENTER": "CAST(hven_healpix_center(CAST({0} AS INTEGER), CAST({1} AS BIGINT)) AS DOUBLE[2])",
        "IVO_TO_JD": _JD, "IVO_TO_MJD": _MJD, "GAVO_TO_JD": _JD, "GAVO_TO_MJD": _MJD, "JD": _JD, "MJD": _MJD,
        "IVO_HMS_TO_DEGREES": "(15 * hven_sexagesimal({0}))", "IVO_DMS_TO_DEGREES": "hven_sexagesimal({0})", "SEXAGESIMAL": ".sexagesimal",
        "IVO_EPOCH_PROP_POS": ".propagated", "GAVO_APPLY_PM": ".moved", "IVO_GEOM_TRANSFORM": ".turned", "GAVO_TRANSFORM": ".turned",
        "IVO_HISTOGRAM": ".histogram", "GAVO_HISTOGRAM": ".histogram", "IVO_NORMAL_RANDOM": _NORMAL, "GAVO_NORMAL_RANDOM": _NORMAL,
        "MOC": ".moc", "GAVO_MOCUNION": "hven_moc_union({0}, {1})", "GAVO_MOCINTERSECT": "hven_moc_intersection({0}, {1})",
        "GAVO_GETAUTHORITY": "nullif(regexp_extract({0}, '^(?i:ivo)://([^/?#]+)', 1), '')",
        "GAVO_MATCH": "CAST(regexp_matches({1}, {0}) AS INTEGER)",
        # a double resolves 40 microseconds of a Julian date: what is shown are tenths of a millisecond
        "ISO": "make_timestamp(CAST(round(({0} - 2440587.5e0) * 864000000e0) AS BIGINT) * 100)",
        "SUBSTRING": "substring({*})", "TRIM": "trim({0}, " + _SPACE + ")", "REPLACE": "replace({*})", "SPLIT_PART": "split_part({0}, {1}, CAST({2} AS BIGINT))",
        "LENGTH": "length({0})", "CONCAT": ".concatenated", "REGEXP_MATCH": "CAST(regexp_matches({0}, {1}) AS INTEGER)", "REGEXP_EXTRACT": ".extracted",
        "REGEXP_REPLACE": "regexp_replace({0}, {1}, {2}, 'g')", "NULLIF": "nullif({0}, {1})", "GREATEST": ".coalesced", "LEAST": ".coalesced",
        "SIGN": "CAST(sign({0}) AS INTEGER)", "STDDEV": "stddev_samp({0})", "VARIANCE": "var_samp({0})", "MEDIAN": "median({0})",
        "PARSE_TIME": ".parsed_time", "ROW_NUMBER": "row_number() OVER ()",
    }  # fmt: skip

    def placeholder(self, number: int, value: object) -> str:
        """Write a parameter; a whole number beyond 64 bits is a double."""
        return f"CAST(${number} AS DOUBLE)" if isinstance(value, int) and not -(2**63) <= value < 2**63 else f"${number}"

    def string(self, value: str) -> str:
        """Write a string; DuckDB's text ends at a NUL, so that one is made by chr."""
        parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
        return parts[0] if len(parts) == 1 else "(" + " || chr(0) || ".join(parts) + ")"

    def number(self, value: float) -> str:
        """Write a number; a whole one beyond 64 bits is a double."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"CAST({value} AS DOUBLE)"
        return super().number(value)

    def type_name(self, type_: Type) -> str:
        """Write a type."""
        return type_.duckdb

    def cast(self, text: str, type_: Type) -> str:
        """Convert; leniently, what cannot be converted is NULL."""
        return f"{'TRY_CAST' if self.lenient else 'CAST'}({text} AS {type_.duckdb})"

    def output(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type; leniently, what cannot be computed is NULL."""
        text = writer.expr(node) if isinstance(node, Cast) and meta(node).type == type_ else self.cast(writer.expr(node), type_)
        if self.lenient and not isinstance(node, Literal | Cast) and not meta(node).aggregate and not _untriable(node):
            return f"TRY({text})"
        return text

    def operation(self, op: str, left: str, right: str) -> str:
        """Write an operation; ``||`` joins text, ``^`` is exclusive or, ``%`` by zero gives NULL."""
        if op == "||":  # a bare NULL would be a number
            return f"({left if left != 'NULL' else 'CAST(NULL AS VARCHAR)'} || {right})"
        if op == "^":
            return f"xor({left}, {right})"
        return f"({left} % nullif({right}, 0))" if op == "%" else super().operation(op, left, right)

    def quotient(self, node: Binary, left: str, right: str) -> str:
        """Divide: whole numbers are cut towards zero; by zero gives NULL."""
        type_ = meta(node).type
        if type_.is_integer:
            return f"({self.cast(left, type_)} // nullif({right}, 0))"
        if type_ == FLOAT64:
            left = self.double(left, node.left)
        return f"({left} / nullif({right}, 0))"

    def converted(self, writer: Writer, node: Cast) -> str:
        """Write ADQL's CAST: CHAR(n) is filled up, timestamps are ISO text, shapes are read from DALI text."""
        text = writer.expr(node.operand)
        type_ = meta(node).type
        have, wanted = kinds.kind_of(meta(node.operand).type), kinds.kind_of(type_)
        if wanted == "text":
            text = self.shown(writer, text, node.operand)
            if node.length is None:
                return text
            return f"rpad({text}, {node.length}, ' ')" if node.target.upper() == "CHAR" else f"left({text}, {node.length})"
        if have == "text" and wanted in {"point", "circle", "polygon"}:
            numbers = f"regexp_split_to_array(trim({text}, {_SPACE}), '[\\s,]+')"
            return self.cast(self.cast(numbers, POLYGON), type_)
        return self.cast(text, type_)

    def comparison(self, writer: Writer, node: Compare) -> str:
        """Compare; ``DISTANCE(..) < r`` looks at the latitudes first, which costs a tenth."""
        plain = super().comparison(writer, node)
        near, limit, op = (node.left, node.right, node.op) if node.op in {"<", "<="} else (node.right, node.left, node.op)
        if op not in {"<", "<=", ">", ">="} or not (isinstance(near, Function) and near.name == "DISTANCE" and len(near.args) == 4):
            return plain
        if not meta(limit).constant:
            return plain
        lon1, lat1, lon2, lat2 = self.doubles(writer, near.args)
        return f"((abs({lat1} - {lat2}) <= {writer.expr(limit)} + 1e-9 OR {lon1} + {lon2} IS NULL) AND {plain})"

    def over(self, writer: Writer, node: Function, window: str) -> str:
        """Write a function over a window: sums and means of whole numbers as without one."""
        if node.name == "SUM" and meta(node).type.is_integer:
            return self.cast(super().over(writer, node, window), meta(node).type)
        if node.name in {"SUM", "STDDEV", "VARIANCE"}:
            name = {"SUM": "sum", "STDDEV": "stddev_samp", "VARIANCE": "var_samp"}[node.name]
            return f"{name}({'DISTINCT ' if node.distinct else ''}{self.double(writer.expr(node.args[0]), node.args[0])}) {window}"
        return super().over(writer, node, window)

    def branch(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write a value of CASE or COALESCE; DuckDB cannot choose between arrays of fixed length, but between lists.

        Beside a REAL it would make a REAL of an INTEGER, too, which cannot hold it.
        """
        text = writer.expr(node)
        if type_ == FLOAT64 and not isinstance(node, Literal):
            return self.double(text, node)
        return f"CAST({text} AS DOUBLE[])" if meta(node).type.duckdb.startswith("DOUBLE[") else text

    def coalesced(self, writer: Writer, node: Function) -> str:
        """COALESCE, GREATEST, LEAST."""
        return f"{node.name.lower()}({', '.join(self.branch(writer, arg, meta(node).type) for arg in node.args)})"

    # --- pieces

    def as_text(self, text: str, node: Expr) -> str:
        """Write a value as text."""
        kind = kinds.kind_of(meta(node).type)
        if kind == "time":
            return f"replace(CAST({text} AS VARCHAR), ' ', 'T')"
        return text if kind == "text" and not isinstance(node, Literal) else f"CAST({text} AS VARCHAR)"

    def shown(self, writer: Writer, text: str, node: Expr) -> str:
        """Write any value as text; shapes and arrays as their numbers (DALI 1.1 section 3.3)."""
        kind = kinds.kind_of(meta(node).type)
        if kind in {"region", "moc"}:
            return text
        if kind in {"array", "interval"} or kind in kinds.GEOMETRY:
            return f"array_to_string(CAST({self.numbers(writer, node) if kind in kinds.GEOMETRY else text} AS VARCHAR[]), ' ')"
        return self.as_text(text, node)

    def double(self, text: str, node: Expr) -> str:
        """Write a number as DOUBLE."""
        return text if meta(node).type == FLOAT64 and not isinstance(node, Literal) else f"CAST({text} AS DOUBLE)"

    def doubles(self, writer: Writer, nodes: tuple[Expr, ...]) -> list[str]:
        """Write numbers as DOUBLE."""
        return [self.double(writer.expr(node), node) for node in nodes]

    def remainder(self, writer: Writer, node: Function) -> str:
        """MOD: the sign of x; by zero gives NULL."""
        return f"({writer.expr(node.args[0])} % nullif({writer.expr(node.args[1])}, 0))"

    def random(self, writer: Writer, node: Function) -> str:  # noqa: ARG002  (one signature for all)
        """RAND: the seed has no defined meaning."""
        return "random()"

    def rounded(self, writer: Writer, node: Function) -> str:
        """ROUND and TRUNCATE, with decimals that may be negative."""
        name = "round" if node.name == "ROUND" else "trunc"
        value = self.double(writer.expr(node.args[0]), node.args[0])
        return f"{name}({value})" if len(node.args) == 1 else f"{name}({value}, CAST({writer.expr(node.args[1])} AS INTEGER))"

    def total(self, writer: Writer, node: Function) -> str:
        """SUM: whole numbers in 64 bits, floats in double."""
        text = writer.expr(node.args[0])
        distinct = "DISTINCT " if node.distinct else ""
        if meta(node).type.is_integer:
            return f"CAST(sum({distinct}{text}) AS BIGINT)"
        return f"sum({distinct}{self.double(text, node.args[0])})"

    def concatenated(self, writer: Writer, node: Function) -> str:
        """CONCAT: everything as text."""
        return f"concat({', '.join(self.as_text(writer.expr(arg), arg) for arg in node.args)})"

    def extracted(self, writer: Writer, node: Function) -> str:
        """REGEXP_EXTRACT: NULL if nothing matches."""
        args = [writer.expr(arg) for arg in node.args]
        return f"CASE WHEN regexp_matches({args[0]}, {args[1]}) THEN regexp_extract({', '.join(args)}) END"

    def sexagesimal(self, writer: Writer, node: Function) -> str:
        """SEXAGESIMAL(text [, 'hour'])."""
        unit = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], Literal) else "deg"
        text = f"hven_sexagesimal({writer.expr(node.args[0])})"
        return f"(15 * {text})" if str(unit).lower().startswith("h") else text

    def parsed_time(self, writer: Writer, node: Function) -> str:
        """PARSE_TIME(text [, format])."""
        text = writer.expr(node.args[0])
        if kinds.kind_of(meta(node.args[0]).type) == "time":
            return text
        if len(node.args) > 1:
            return f"try_strptime({text}, {writer.expr(node.args[1])})"
        formats = ", ".join(self.string(item) for item in TIME_FORMATS)
        bare = f"rtrim(trim({text}, {_SPACE}), 'Zz')"
        # :60 is a leap second, or seconds that were rounded up: the minute after
        carried = f"regexp_replace({bare}, ':60(\\.\\d*)?$', ':59\\1')"
        plain, late = (f"coalesce(TRY_CAST({item} AS TIMESTAMP), try_strptime({item}, [{formats}]))" for item in (bare, carried))
        return f"CASE WHEN contains({bare}, ':60') THEN {late} + INTERVAL 1 SECOND ELSE {plain} END"

    def histogram(self, writer: Writer, node: Function) -> str:
        """IVO_HISTOGRAM: how often each bin is met."""
        value, low, high = self.doubles(writer, node.args[:3])
        bins = writer.expr(node.args[3])
        return f"hven_bins(histogram({'DISTINCT ' if node.distinct else ''}hven_bin({value}, {low}, {high}, {bins})), {bins})"

    # --- geometry

    def moved(self, writer: Writer, node: Function) -> str:
        """GAVO_APPLY_PM: proper motions in degrees per year."""
        ra, dec, pm_ra, pm_dec, years = self.doubles(writer, node.args)
        return f"CAST(hven_moved({ra}, {dec}, {years}, 3.6e6 * {pm_ra}, 3.6e6 * {pm_dec}, 0e0, 0e0) AS DOUBLE[2])"

    def propagated(self, writer: Writer, node: Function) -> str:
        """IVO_EPOCH_PROP_POS: what may be NULL stands for 0, what may not is an error."""
        ra, dec, parallax, pm_ra, pm_dec, velocity, start, end = self.doubles(writer, node.args)
        names = ("ra", "dec", "ref_epoch", "out_epoch")
        given = [
            f"CASE WHEN {text} IS NULL THEN error('IVO_EPOCH_PROP_POS: {name} is NULL; leave such rows out') ELSE {text} END"
            for name, text in zip(names, (ra, dec, start, end), strict=True)
        ]
        rest = [f"coalesce({text}, 0e0)" for text in (pm_ra, pm_dec, parallax, velocity)]
        return f"CAST(hven_moved({given[0]}, {given[1]}, {given[3]} - {given[2]}, {', '.join(rest)}) AS DOUBLE[2])"

    def turned(self, writer: Writer, node: Function) -> str:
        """IVO_GEOM_TRANSFORM: a rotation."""
        source, target, shape = node.args
        return f"CAST(hven_turned({writer.expr(source)}, {writer.expr(target)}, {self.numbers(writer, shape)}) AS {meta(node).type.duckdb})"

    def moc(self, writer: Writer, node: Function) -> str:
        """MOC of text, which it is already, or of a shape."""
        if len(node.args) == 1:
            return writer.expr(node.args[0])
        return f"hven_moc(CAST({writer.expr(node.args[0])} AS INTEGER), {self.shape_text(writer, node.args[1])})"

    def coordinates(self, writer: Writer, node: Expr) -> tuple[str, str]:
        """Write longitude and latitude of a point."""
        if isinstance(node, Function) and node.name == "POINT":
            lon, lat = self.doubles(writer, node.args)
            return lon, lat
        text = writer.expr(node)
        return f"CAST(({text})[1] AS DOUBLE)", f"CAST(({text})[2] AS DOUBLE)"

    def shape(self, writer: Writer, node: Function) -> str:
        """POINT, CIRCLE, POLYGON as their storage types."""
        return f"CAST({self.listed(writer, node)} AS {meta(node).type.duckdb})"

    def listed(self, writer: Writer, node: Function) -> str:
        """POINT, CIRCLE, POLYGON as a list of numbers, NULL if one of them is."""
        numbers: list[str] = []
        for arg in node.args:
            if kinds.kind_of(meta(arg).type) == "point":
                numbers.extend(self.coordinates(writer, arg))
            else:
                numbers.append(self.double(writer.expr(arg), arg))
        made = f"list_value({', '.join(numbers)})"
        tests = [f"{text} IS NULL" for text, known in zip(numbers, self._constant(node), strict=True) if not known]
        return f"CASE WHEN {' OR '.join(tests)} THEN NULL ELSE {made} END" if tests else made

    def _constant(self, node: Function) -> list[bool]:
        known: list[bool] = []
        for arg in node.args:
            inner = (
                arg.args
                if isinstance(arg, Function) and arg.name == "POINT"
                else (arg, arg)
                if kinds.kind_of(meta(arg).type) == "point"
                else (arg,)
            )
            known.extend(isinstance(item, Literal) and item.value is not None for item in inner)
        return known

    def box(self, writer: Writer, node: Function) -> str:
        """BOX: a polygon."""
        numbers: list[str] = []
        for arg in node.args:
            numbers.extend(
                self.coordinates(writer, arg) if kinds.kind_of(meta(arg).type) == "point" else [self.double(writer.expr(arg), arg)]
            )
        return f"hven_box({', '.join(numbers)})"

    def numbers(self, writer: Writer, node: Expr) -> str:
        """Write a shape as the DOUBLE[] that the functions take."""
        if isinstance(node, Function) and node.name in {"POINT", "CIRCLE", "POLYGON"}:
            return self.listed(writer, node)
        return f"CAST({writer.expr(node)} AS DOUBLE[])"

    def shape_text(self, writer: Writer, node: Expr) -> str:
        """Write a shape as text."""
        kind = kinds.kind_of(meta(node).type)
        if kind in {"region", "moc"}:
            return writer.expr(node)
        if kind == "point":
            lon, lat = self.coordinates(writer, node)
            return f"('point ' || CAST({lon} AS VARCHAR) || ' ' || CAST({lat} AS VARCHAR))"
        return f"hven_text({self.numbers(writer, node)})"

    def area(self, writer: Writer, node: Function) -> str:
        """AREA in square degrees."""
        if kinds.kind_of(meta(node.args[0]).type) in {"region", "moc"}:
            return f"hven_area_text({writer.expr(node.args[0])})"
        return f"hven_area({self.numbers(writer, node.args[0])})"

    def centroid(self, writer: Writer, node: Function) -> str:
        """CENTROID, a point."""
        if kinds.kind_of(meta(node.args[0]).type) in {"region", "moc"}:
            return f"CAST(hven_centroid_text({writer.expr(node.args[0])}) AS DOUBLE[2])"
        return f"CAST(hven_centroid({self.numbers(writer, node.args[0])}) AS DOUBLE[2])"

    def distance(self, writer: Writer, node: Function) -> str:
        """DISTANCE in degrees."""
        if len(node.args) == 4:
            return f"hven_distance({', '.join(self.doubles(writer, node.args))})"
        numbers = [*self.coordinates(writer, node.args[0]), *self.coordinates(writer, node.args[1])]
        return f"hven_distance({', '.join(numbers)})"

    def healpix(self, writer: Writer, node: Function) -> str:
        """IVO_HEALPIX_INDEX of two numbers or a point."""
        lon, lat = self.doubles(writer, node.args[1:]) if len(node.args) == 3 else self.coordinates(writer, node.args[1])
        return f"hven_healpix(CAST({writer.expr(node.args[0])} AS INTEGER), {lon}, {lat})"

    def predicate(self, writer: Writer, node: Function) -> str:
        """CONTAINS and INTERSECTS as a condition: the plain cases in SQL, the others by functions of hven.sky."""
        one, two = node.args
        first, second = kinds.kind_of(meta(one).type), kinds.kind_of(meta(two).type)
        if node.name == "CONTAINS" and first == "point" and second in {"region", "moc"}:
            lon, lat = self.coordinates(writer, one)
            return f"hven_in_text({lon}, {lat}, {writer.expr(two)})"
        if {first, second} & {"region", "moc"}:
            return f"hven_{node.name.lower()}_text({self.shape_text(writer, one)}, {self.shape_text(writer, two)})"
        if node.name == "CONTAINS" and first == "point" and second == "circle":
            lon, lat = self.coordinates(writer, one)
            if isinstance(two, Function) and two.name == "CIRCLE" and len(two.args) == 3:
                circle = self.doubles(writer, two.args)
            elif isinstance(two, Function) and two.name == "CIRCLE":
                circle = [*self.coordinates(writer, two.args[0]), self.double(writer.expr(two.args[1]), two.args[1])]
            else:
                text = writer.expr(two)
                circle = [f"CAST(({text})[{n}] AS DOUBLE)" for n in (1, 2, 3)]
            return f"(hven_in_circle({lon}, {lat}, {', '.join(circle)}))"
        if node.name == "CONTAINS" and first == "point" and second == "polygon":
            lon, lat = self.coordinates(writer, one)
            return f"hven_in_polygon({lon}, {lat}, {self.numbers(writer, two)})"
        return f"hven_{node.name.lower()}({self.numbers(writer, one)}, {self.numbers(writer, two)})"


def _untriable(node: Expr) -> bool:
    """DuckDB's TRY refuses subqueries and functions that may answer differently."""
    return any(
        isinstance(item, Query)
        or (isinstance(item, Function) and item.name in {"RAND", "ROW_NUMBER", "IVO_NORMAL_RANDOM", "GAVO_NORMAL_RANDOM"})
        for item in walk(node)
    )
