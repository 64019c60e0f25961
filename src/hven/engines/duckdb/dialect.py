"""DuckDB's dialect: how it writes types, functions and geometry, and which functions it must be given (`MACROS`, `UDFS`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from hven.adql import kinds
from hven.adql.kinds import meta
from hven.adql.tree import And, Binary, Cast, ColumnRef, Compare, Expr, Function, Literal, Query, walk
from hven.engines._dialect import FUNCTIONS, SPACE, TOLERANCE, EngineDialect
from hven.engines._functions import SIGNATURES
from hven.engines.duckdb import contouring, curating, times
from hven.engines.duckdb.exact import Exact
from hven.model.types import FLOAT64, POLYGON, Type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.sql import Writer

#: To be run in a database before a query names them: what SQL itself can say.
MACROS: tuple[str, ...] = (
    """CREATE OR REPLACE MACRO hven_haversine(lon1, lat1, lon2, lat2) AS
       pow(sin(radians(lat1 - lat2) / 2), 2) + cos(radians(lat1)) * cos(radians(lat2)) * pow(sin(radians(lon1 - lon2) / 2), 2)""",
    # sqrt(h) and sqrt(1 - h) are both accurate, so the angle is at every separation
    """CREATE OR REPLACE MACRO hven_distance(lon1, lat1, lon2, lat2) AS
       degrees(2 * atan2(sqrt(abs(hven_haversine(lon1, lat1, lon2, lat2))), sqrt(abs(hven_haversine(lon1 + 180, -lat1, lon2, lat2)))))""",
    # first a test that costs little: the latitudes; it must not make FALSE of what is NULL
    # beyond a quarter turn the haversine loses digits: the antipode's circle is asked instead
    f"""CREATE OR REPLACE MACRO hven_in_circle(lon, lat, lon0, lat0, r) AS
       (abs(lat - lat0) <= r + 1e-9 OR lon + lon0 IS NULL) AND r >= 0 AND CASE WHEN r <= 90
       THEN hven_haversine(lon, lat, lon0, lat0) <= pow(sin(radians(r + {TOLERANCE}) / 2), 2)
       ELSE hven_haversine(lon, lat, lon0 + 180, -lat0) >= CASE WHEN r >= 180 THEN -1 ELSE pow(sin(radians(180 - r - {TOLERANCE}) / 2), 2) END END""",
    r"""CREATE OR REPLACE MACRO hven_sexagesimal_parts(s) AS coalesce(
       nullif(regexp_extract(s, '^\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\x{B0}\s]\s*(\d{1,2}(?:\.\d*)?)\s*(?:[:mM''\x{2032}\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS"\x{2033}]?)?\s*$',
              ['g', 'a', 'b', 'c']), {'g': '', 'a': '', 'b': '', 'c': ''}),
       nullif(regexp_extract(s, '^\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*$', ['g', 'a', 'b', 'c']), {'g': '', 'a': '', 'b': '', 'c': ''}))""",
    # 60 as the last number is what rounding made of 59.99...: it carries over
    """CREATE OR REPLACE MACRO hven_sexagesimal_of(p) AS CASE
       WHEN CAST(p.b AS DOUBLE) < 60 + CAST(p.c = '' AS INTEGER) AND CAST(p.b AS DOUBLE) <= 60 AND coalesce(TRY_CAST(p.c AS DOUBLE), 0) <= 60
       THEN CASE WHEN p.g = '-' THEN -1 ELSE 1 END * (CAST(p.a AS DOUBLE) + CAST(p.b AS DOUBLE) / 60 + coalesce(TRY_CAST(p.c AS DOUBLE), 0) / 3600) END""",
    """CREATE OR REPLACE MACRO hven_bin(x, low, high, bins) AS CASE WHEN x IS NULL OR isnan(x) OR x < low THEN 0
       WHEN x >= high THEN bins + 1 ELSE least(1 + CAST(floor((x - low) / (high - low) * bins) AS BIGINT), bins) END""",
    # what a macro is given never stands within a lambda: DuckDB takes no subquery there
    """CREATE OR REPLACE MACRO hven_bins(counts, bins) AS
       list_transform(list_value(counts), lambda c: list_transform(range(bins + 2), lambda i: CAST(coalesce(c[i], 0) AS INTEGER)))[1]""",
    """CREATE OR REPLACE MACRO hven_dot(a, b) AS CASE WHEN len(a) = len(b) AND list_count(a) = len(a) AND list_count(b) = len(b)
       THEN coalesce(list_sum(list_transform(list_zip(a, b), lambda z: z[1] * z[2])), 0) END""",
    "CREATE OR REPLACE MACRO hven_sexagesimal(s) AS hven_sexagesimal_of(hven_sexagesimal_parts(s))",
    """CREATE OR REPLACE MACRO hven_longest(size, most) AS
       error(printf('a text of %d bytes would be built; %d are the most', CAST(size AS BIGINT), CAST(most AS BIGINT)))""",
    # every character may be one that is replaced: only if that could be too much they are counted
    """CREATE OR REPLACE MACRO hven_replace(s, old, new, most) AS CASE WHEN strlen(s) * (1 + strlen(new)) > most
       AND strlen(s) + (strlen(s) - strlen(replace(s, old, ''))) // nullif(strlen(old), 0) * (strlen(new) - strlen(old)) > most
       THEN hven_longest(strlen(s) + (strlen(s) - strlen(replace(s, old, ''))) // nullif(strlen(old), 0) * (strlen(new) - strlen(old)), most)
       ELSE replace(s, old, new) END""",
    "CREATE OR REPLACE TEMP MACRO hven_url(s, most) AS CASE WHEN strlen(s) * 3 > most THEN hven_longest(strlen(s) * 3, most) ELSE url_encode(s) END",
    # how often an expression matches is not known before: at most at each character, and its groups are no longer than the text
    """CREATE OR REPLACE MACRO hven_regexp_replace(s, pattern, new, most) AS CASE WHEN strlen(s) + (1 + strlen(s)) * strlen(new) > 4 * most
       THEN hven_longest(strlen(s) + (1 + strlen(s)) * strlen(new), 4 * most) ELSE regexp_replace(s, pattern, new, 'g') END""",
    *curating.MACROS,
    *contouring.MACROS,
    *times.MACROS,
)
TOO_LONG = "error('a text of more than {} bytes would be built')"
MANY = 200  # conditions that DuckDB parts
FEW = 16  # columns, literals and calls that are written twice; ..
SHORT = 120  # .. longer calls, which may hold others, are values first: DuckDB takes half a millisecond to plan that

#: To be registered by the engine: name -> (argument types, result type).
UDFS: dict[str, tuple[tuple[str, ...], str]] = {**SIGNATURES, **curating.UDFS, **contouring.UDFS, **times.UDFS}

_JD = "(2440587.5e0 + epoch_us({0}) / 86400000000e0)"
_MJD = "(40587e0 + epoch_us({0}) / 86400000000e0)"
TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%jT%H:%M:%S.%f", "%Y-%jT%H:%M:%S", "%Y-%jT%H:%M", "%Y-%j", "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d", "%Y%m%dT%H%M%S", "%Y%m%d", "%Y-%m-%d %H:%M:%S.%f",
)  # fmt: skip


class DuckDB(curating.Curating, contouring.Contouring, Exact, EngineDialect):
    """DuckDB 1.5."""

    name = "duckdb"
    whole_division = "//"
    exclusive_or = "xor({0}, {1})"
    functions: ClassVar[Mapping[str, str]] = {
        **FUNCTIONS,
        "EXP": "exp({0})", "POWER": "pow({0}, {1})", "ROW": ".row", "AVG": "avg({0})", "MIN": "min({0})", "MAX": "max({0})", "MEDIAN": "median({0})",
        "LOWER": "lower({0})", "UPPER": "upper({0})",
        "IVO_HASHLIST_HAS": "CAST(list_contains(string_split(lower({0}), '#'), lower({1})) AS INTEGER)",
        "IVO_NOCASEMATCH": "CAST({0} ILIKE {1} AS INTEGER)",
        "IVO_HASWORD": "CAST(list_has_all(regexp_split_to_array(lower({0}), '[^\\pL\\pN]+'), list_filter(regexp_split_to_array(lower({1}), '[^\\pL\\pN]+'), lambda w: w <> '')) AS INTEGER)",
        "IVO_HEALPIX_CENTER": "CAST(hven_healpix_center(CAST({0} AS INTEGER), CAST({1} AS BIGINT)) AS DOUBLE[2])",
        "IVO_TO_JD": _JD, "IVO_TO_MJD": _MJD, "GAVO_TO_JD": _JD, "GAVO_TO_MJD": _MJD, "JD": _JD, "MJD": _MJD, "SEXAGESIMAL": ".sexagesimal",
        "IVO_EPOCH_PROP_POS": ".propagated", "GAVO_APPLY_PM": ".moved", "IVO_GEOM_TRANSFORM": ".turned", "GAVO_TRANSFORM": ".turned",
        "GAVO_MOCUNION": "hven_moc_union({0}, {1})", "GAVO_MOCINTERSECT": "hven_moc_intersection({0}, {1})",
        "GAVO_GETAUTHORITY": "nullif(regexp_extract({0}, '^(?i:ivo)://([^/?#]+)', 1), '')",
        "GAVO_IPIX": "hven_ipix(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))",
        "GAVO_MATCH": "CAST(regexp_matches({1}, {0}) AS INTEGER)",
        # a double resolves 40 microseconds of a Julian date: what is shown are tenths of a millisecond
        "ISO": "make_timestamp(CAST(round(({0} - 2440587.5e0) * 864000000e0) AS BIGINT) * 100)",
        "SPLIT_PART": "split_part({0}, regexp_replace({1}, '^$', chr(1114111)), CAST({2} AS BIGINT))", "REGEXP_MATCH": "CAST(regexp_matches({0}, {1}) AS INTEGER)", "REGEXP_EXTRACT": ".extracted",
        "ARR_LENGTH": ".of_array", "ARR_COUNT": ".of_array", "ARR_SUM": ".of_array", "ARR_AVG": ".of_array", "ARR_MIN": ".of_array", "ARR_MAX": ".of_array",
        "ARR_STDDEV": ".of_array", "ARR_DOT": ".dot",
        "REPLACE": ".built", "REGEXP_REPLACE": ".built", "URL_ENCODE": "hven_url({0}, 32768)", "PARSE_TIME": ".parsed_time", "ROW_NUMBER": "row_number() OVER ()",
        **curating.TEMPLATES,
        **contouring.TEMPLATES,
    }  # fmt: skip

    def float_text(self, text: str, type_: Type) -> str:
        """Write a floating-point number as text; NaN has no sign."""
        return f"replace({super().float_text(text, type_)}, '-nan', 'nan')"

    def together(self, writer: Writer, node: Function, order: str = "") -> str:
        """IVO_STRING_AGG: DuckDB takes a delimiter that is written in place, any other stands before each text."""
        text, delimiter = node.args
        if isinstance(delimiter, Literal):
            return super().together(writer, node, order)
        behind = replace(node, args=(Binary("||", delimiter, text, meta=node.meta), Literal("", meta=delimiter.meta)))
        return f"substr({super().together(writer, behind, order)}, length({writer.expr(delimiter)}) + 1)"

    def in_order(self, name: str, distinct: str, text: str) -> str:
        """Write an aggregate of numbers over them in order; DuckDB drops an ORDER BY within sum and avg."""
        return f"list_{name}(list_sort(list({distinct}{text})))"

    def numbered(self, columns: Sequence[str]) -> list[str]:
        """Write several columns as one: the first row of each group is then found by grouping, where all would be sorted."""
        return [f"row({', '.join(columns)}) ASC NULLS LAST"] if len(columns) > 1 else []

    def condition(self, writer: Writer, node: Expr) -> str:
        """Keep many conditions together: DuckDB takes seconds over thousands that it can part, and writes them for Arrow with Python's lock held."""
        text = writer.expr(node)
        return f"COALESCE({text}, FALSE)" if isinstance(node, And) and len(node.parts) > MANY else text

    def placeholder(self, number: int, value: object) -> str:
        """Write a parameter; a whole number beyond 64 bits is a double."""
        return (
            f"CAST(${number} AS DOUBLE)" if isinstance(value, int) and not -(2**63) <= value < 2**63 else f"${number}"
        )

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

    def converted(self, writer: Writer, node: Cast) -> str:
        """Write ADQL's CAST; a literal is a time that DuckDB reads as it stands (`Fitting.as_time`)."""
        if isinstance(node.operand, Literal) and meta(node).type.is_timestamp:
            return self.cast(writer.expr(node.operand), meta(node).type)
        return super().converted(writer, node)

    def changed(self, text: str, have: str, type_: Type) -> str:
        """Convert; text becomes a time with its offset from UTC."""
        if have == "text" and type_.is_timestamp:
            return f"hven_time_or_{'null' if self.lenient else 'error'}({text})"
        return super().changed(text, have, type_)

    def output(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type; leniently, what cannot be computed is NULL."""
        told = isinstance(node, Cast) and meta(node).type == type_
        if isinstance(node, Cast) and node.length is None and type_.is_string and meta(node.operand).type.is_string:
            told = False  # a cast of text to text is not written
        as_time = type_.is_timestamp and kinds.kind_of(meta(node).type) == "text"
        text = writer.expr(node)
        if not told:
            text = self.changed(text, "text", type_) if as_time else self.cast(text, type_)
        if self.lenient and not isinstance(node, Literal | Cast) and not meta(node).aggregate and not _untriable(node):
            return f"TRY({text})"
        return text

    def comparison(self, writer: Writer, node: Compare) -> str:
        """Compare; ``DISTANCE(..) < r`` looks at the latitudes first, which costs a tenth."""
        plain = super().comparison(writer, node)
        near, limit, op = (
            (node.left, node.right, node.op) if node.op in {"<", "<="} else (node.right, node.left, node.op)
        )
        if op not in {"<", "<=", ">", ">="} or not (
            isinstance(near, Function) and near.name == "DISTANCE" and len(near.args) == 4
        ):
            return plain
        if not meta(limit).constant:
            return plain
        lon1, lat1, lon2, lat2 = self.doubles(writer, near.args)
        return f"((abs({lat1} - {lat2}) <= {writer.expr(limit)} + 1e-9 OR {lon1} + {lon2} IS NULL) AND {plain})"

    def branch(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write a value of CASE or COALESCE; DuckDB cannot choose between arrays of fixed length, but between lists.

        Beside a REAL it would make a REAL of an INTEGER, too, which cannot hold it.
        """
        text = writer.expr(node)
        if type_ == FLOAT64 and not isinstance(node, Literal):
            return self.double(text, node)
        stored = type_.duckdb
        return f"CAST({text} AS {stored[: stored.rindex('[')]}[])" if stored.endswith("]") else text

    # --- text: how long it becomes is known before it is built, for the engine does not count the memory of texts

    def concatenation(self, parts: list[str]) -> str:
        """Join texts."""
        plain = super().concatenation(parts)
        if self.lenient or not any(
            '"' in part for part in parts
        ):  # a descriptor's own words; what reads no column is as long as it was written
            return plain
        if len(parts) > FEW or any("(" in part and len(part) > SHORT and not part.startswith("'") for part in parts):
            size = "list_sum(list_transform(l, lambda s: strlen(s)))"
            test = f"CASE WHEN {size} > {self.most} THEN {TOO_LONG.format(self.most)} WHEN list_count(l) = len(l) THEN array_to_string(l, '') END"
            return f"list_transform([[{', '.join(f'CAST({part} AS VARCHAR)' for part in parts)}]], lambda l: {test})[1]"
        size = " + ".join(f"strlen({part})" for part in parts if part != "NULL") or "0"
        return f"CASE WHEN {size} > {self.most} THEN {TOO_LONG.format(self.most)} ELSE {plain} END"

    def built(self, writer: Writer, node: Function) -> str:
        """REPLACE and REGEXP_REPLACE."""
        args = [writer.expr(arg) for arg in node.args]
        if self.lenient:
            return FUNCTIONS[node.name].replace("{*}", ", ".join(args)).format(*args)
        name = f"hven_{node.name.lower()}"
        if not all(isinstance(arg, ColumnRef | Literal) for arg in node.args):
            given = ", ".join(f"{key}: CAST({arg} AS VARCHAR)" for key, arg in zip("abc", args, strict=True))
            return f"list_transform([{{{given}}}], lambda r: {name}(r.a, r.b, r.c, {self.most}))[1]"
        return f"{name}({', '.join(args)}, {self.most})"

    # --- pieces

    def shape_of(self, numbers: str, type_: Type) -> str:
        """Make a shape of an array of texts."""
        return self.cast(self.cast(numbers, POLYGON), type_)

    def joined(self, numbers: str, type_: Type) -> str:  # noqa: ARG002  (one signature for all)
        """Write an array as text."""
        return f"array_to_string(CAST({numbers} AS VARCHAR[]), ' ')"

    def rounded(self, writer: Writer, node: Function) -> str:
        """ROUND and TRUNCATE, with decimals that may be negative."""
        name = "round" if node.name == "ROUND" else "trunc"
        value = self.double(writer.expr(node.args[0]), node.args[0])
        return (
            f"{name}({value})"
            if len(node.args) == 1
            else f"{name}({value}, CAST({writer.expr(node.args[1])} AS INTEGER))"
        )

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
            parsed = f"try_strptime({text}, {writer.expr(node.args[1])})"
            form = node.args[1].value if isinstance(node.args[1], Literal) else ""
            if "%z" in str(form).lower():  # a time with a zone, which DuckDB would show in that of the machine
                parsed = f"timezone('UTC', {parsed})"
            return f"hven_dated({parsed})"
        formats = ", ".join(self.string(item) for item in TIME_FORMATS)
        bare = f"rtrim(trim({text}, {SPACE}), 'Zz')"
        # other forms than ISO 8601's: without a zone, which they would lose
        carried = f"regexp_replace({bare}, ':60(\\.\\d*)?$', ':59\\1')"
        plain, late = (f"hven_dated(try_strptime({item}, [{formats}]))" for item in (bare, carried))
        return f"coalesce(hven_time_or_null({text}), CASE WHEN contains({bare}, ':60') THEN {late} + INTERVAL 1 SECOND ELSE {plain} END)"

    def histogram(self, writer: Writer, node: Function) -> str:
        """IVO_HISTOGRAM: how often each bin is met."""
        value, low, high = self.doubles(writer, node.args[:3])
        bins = writer.expr(node.args[3])
        return f"hven_bins(histogram({'DISTINCT ' if node.distinct else ''}hven_bin({value}, {low}, {high}, {bins})), {bins})"

    # --- arrays

    def flat(self, writer: Writer, node: Expr) -> str:
        """Write an array as a list of doubles, or of 64 bits; the functions of lists take no arrays of fixed length."""
        whole = Type(meta(node).type.datatype).is_integer
        return f"CAST({writer.expr(node)} AS {'BIGINT' if whole else 'DOUBLE'}[])"

    def subscript(self, array: str, place: str) -> str:
        """Write an element; behind the last one NULL, for arrays of fixed length too."""
        return f"list_extract({array}, {place})"

    def of_array(self, writer: Writer, node: Function) -> str:
        """ARR_LENGTH, ARR_SUM and their like."""
        name = {
            "ARR_LENGTH": "len", "ARR_COUNT": "list_count", "ARR_SUM": "list_sum", "ARR_AVG": "list_avg", "ARR_MIN": "list_min", "ARR_MAX": "list_max",
            "ARR_STDDEV": "list_stddev_samp",
        }[node.name]  # fmt: skip
        return f"CAST({name}({self.flat(writer, node.args[0])}) AS {meta(node).type.duckdb})"

    def dot(self, writer: Writer, node: Function) -> str:
        """ARR_DOT."""
        return f"hven_dot({', '.join(f'CAST({writer.expr(arg)} AS DOUBLE[])' for arg in node.args)})"

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

    def coordinate(self, shape: str, place: int) -> str:
        """Write one number of a shape."""
        return f"CAST(({shape})[{place}] AS DOUBLE)"

    def listing(self, numbers: str) -> str:
        """Write a list of doubles."""
        return f"list_value({numbers})"

    def shape(self, writer: Writer, node: Function) -> str:
        """POINT, CIRCLE, POLYGON as their storage types."""
        return f"CAST({self.listed(writer, node)} AS {meta(node).type.duckdb})"

    def numbers(self, writer: Writer, node: Expr) -> str:
        """Write a shape as the DOUBLE[] that the functions take."""
        return self.made(writer, node) or f"CAST({writer.expr(node)} AS DOUBLE[])"

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

    def predicate(self, writer: Writer, node: Function) -> str:
        """CONTAINS and INTERSECTS as a condition: the plain cases in SQL, the others by functions of hven.model.sky."""
        one, two = node.args
        first, second = kinds.kind_of(meta(one).type), kinds.kind_of(meta(two).type)
        if node.name == "CONTAINS" and first == "point" and second in {"region", "moc"}:
            lon, lat = self.coordinates(writer, one)
            return f"hven_in_text({lon}, {lat}, {writer.expr(two)})"
        if {first, second} & {"region", "moc"}:
            return f"hven_{node.name.lower()}_text({self.shape_text(writer, one)}, {self.shape_text(writer, two)})"
        if node.name == "CONTAINS" and first == "point" and second == "circle":
            lon, lat = self.coordinates(writer, one)
            return f"(hven_in_circle({lon}, {lat}, {', '.join(self.circle(writer, two))}))"
        if node.name == "CONTAINS" and first == "point" and second == "polygon":
            lon, lat = self.coordinates(writer, one)
            return f"hven_in_polygon({lon}, {lat}, {self.numbers(writer, two)})"
        return f"hven_{node.name.lower()}({self.numbers(writer, one)}, {self.numbers(writer, two)})"


def _untriable(node: Expr) -> bool:
    """Check for what DuckDB's TRY refuses: subqueries and functions that may answer differently."""
    return any(
        isinstance(item, Query)
        or (
            isinstance(item, Function)
            and item.name in {"RAND", "ROW_NUMBER", "IVO_NORMAL_RANDOM", "GAVO_NORMAL_RANDOM"}
        )
        for item in walk(node)
    )
