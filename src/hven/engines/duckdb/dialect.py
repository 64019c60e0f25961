"""The SQL dialect of DuckDB: how it writes types, functions and geometry.

`SQL_MACROS` and `UDF_SIGNATURES` are the functions that a DuckDB instance must get.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from hven.adql import value_kinds
from hven.adql.syntax_tree import (
    BinaryOperation,
    CastExpression,
    ColumnRef,
    Comparison,
    Conjunction,
    Expr,
    FunctionCall,
    Literal,
    Query,
    walk_tree,
)
from hven.adql.value_kinds import require_meta
from hven.engines._dialect import FUNCTION_TEMPLATES, TOLERANCE_DEGREES, WHITESPACE_SQL, EngineDialect
from hven.engines._sky_functions import FUNCTION_SIGNATURES
from hven.engines.duckdb import mapping_functions, time_functions
from hven.engines.duckdb.exact_comparisons import ExactComparisonDialect
from hven.model.types import FLOAT32, FLOAT64, POLYGON, ColumnType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.sql_writer import SqlWriter

#: Macros that must be defined in a database before a query names them.
SQL_MACROS: tuple[str, ...] = (
    (
        "CREATE OR REPLACE MACRO hven_haversine(lon1, lat1, lon2, lat2) AS\n"
        "       pow(sin(radians(lat1 - lat2) / 2), 2) + cos(radians(lat1)) * cos(radians(lat2)) * "
        "pow(sin(radians(lon1 - lon2) / 2), 2)"
    ),
    # sqrt(h) and sqrt(1 - h) are both accurate, so the angle is at every separation
    (
        "CREATE OR REPLACE MACRO hven_distance(lon1, lat1, lon2, lat2) AS\n"
        "       degrees(2 * atan2(sqrt(abs(hven_haversine(lon1, lat1, lon2, lat2))), "
        "sqrt(abs(hven_haversine(lon1 + 180, -lat1, lon2, lat2)))))"
    ),
    # first a test that costs little: the latitudes; it must not make FALSE of what is NULL
    # beyond a quarter turn the haversine loses digits: the antipode's circle is asked instead
    (
        "CREATE OR REPLACE MACRO hven_in_circle(lon, lat, lon0, lat0, r) AS\n"
        "       (abs(lat - lat0) <= r + 1e-9 OR lon + lon0 IS NULL) AND r >= 0 AND CASE WHEN r <= 90\n"
        f"       THEN hven_haversine(lon, lat, lon0, lat0) <= pow(sin(radians(r + {TOLERANCE_DEGREES}) / 2), 2)\n"
        "       ELSE hven_haversine(lon, lat, lon0 + 180, -lat0) >= CASE WHEN r >= 180 THEN -1 ELSE "
        f"pow(sin(radians(180 - r - {TOLERANCE_DEGREES}) / 2), 2) END END"
    ),
    (
        "CREATE OR REPLACE MACRO hven_sexagesimal_parts(s) AS coalesce(\n"
        r"       nullif(regexp_extract(s, '^\s*([+-]?)\s*(\d{1,3})\s*[:hHdD\x{B0}\s]\s*(\d{1,2}(?:\.\d*)?)\s*"
        r"(?:[:mM''\x{2032}\s]\s*(\d{1,2}(?:\.\d*)?)?\s*[sS"
        '"'
        r"\x{2033}]?)?\s*$',"
        "\n"
        "              ['g', 'a', 'b', 'c']), {'g': '', 'a': '', 'b': '', 'c': ''}),\n"
        r"       nullif(regexp_extract(s, '^\s*([+-]?)(\d{2,3})(\d{2})(\d{2}(?:\.\d*)?)\s*$', ['g', 'a', 'b', 'c']), "
        "{'g': '', 'a': '', 'b': '', 'c': ''}))"
    ),
    # 60 as the last number is what rounding made of 59.99...: it carries over
    (
        "CREATE OR REPLACE MACRO hven_sexagesimal_of(p) AS CASE\n"
        "       WHEN CAST(p.b AS DOUBLE) < 60 + CAST(p.c = '' AS INTEGER) AND CAST(p.b AS DOUBLE) <= 60 AND "
        "coalesce(TRY_CAST(p.c AS DOUBLE), 0) <= 60\n"
        "       THEN CASE WHEN p.g = '-' THEN -1 ELSE 1 END * (CAST(p.a AS DOUBLE) + CAST(p.b AS DOUBLE) / 60 "
        "+ coalesce(TRY_CAST(p.c AS DOUBLE), 0) / 3600) END"
    ),
    (
        "CREATE OR REPLACE MACRO hven_bin(x, low, high, bins) AS CASE WHEN x IS NULL OR isnan(x) OR x < low "
        "THEN 0\n"
        "       WHEN x >= high THEN bins + 1 ELSE least(1 + CAST(floor((x - low) / (high - low) * bins) AS "
        "BIGINT), bins) END"
    ),
    # what a macro is given never stands within a lambda: DuckDB takes no subquery there
    (
        "CREATE OR REPLACE MACRO hven_bins(counts, bins) AS\n"
        "       list_transform(list_value(counts), lambda c: list_transform(range(bins + 2), lambda i: "
        "CAST(coalesce(c[i], 0) AS INTEGER)))[1]"
    ),
    (
        "CREATE OR REPLACE MACRO hven_dot(a, b) AS CASE WHEN len(a) = len(b) AND list_count(a) = len(a) AND "
        "list_count(b) = len(b)\n"
        "       THEN coalesce(list_sum(list_transform(list_zip(a, b), lambda z: z[1] * z[2])), 0) END"
    ),
    "CREATE OR REPLACE MACRO hven_sexagesimal(s) AS hven_sexagesimal_of(hven_sexagesimal_parts(s))",
    (
        "CREATE OR REPLACE MACRO hven_longest(size, most) AS\n"
        "       error(printf('a text of %d bytes would be built; %d are the most', CAST(size AS BIGINT), "
        "CAST(most AS BIGINT)))"
    ),
    # every character may be one that is replaced: only if that could be too much they are counted
    (
        "CREATE OR REPLACE MACRO hven_replace(s, old, new, most) AS CASE WHEN strlen(s) * (1 + strlen(new)) > "
        "most\n"
        "       AND strlen(s) + (strlen(s) - strlen(replace(s, old, ''))) // nullif(strlen(old), 0) * "
        "(strlen(new) - strlen(old)) > most\n"
        "       THEN hven_longest(strlen(s) + (strlen(s) - strlen(replace(s, old, ''))) // nullif(strlen(old), "
        "0) * (strlen(new) - strlen(old)), most)\n"
        "       ELSE replace(s, old, new) END"
    ),
    (
        "CREATE OR REPLACE TEMP MACRO hven_url(s, most) AS CASE WHEN strlen(s) * 3 > most THEN "
        "hven_longest(strlen(s) * 3, most) ELSE url_encode(s) END"
    ),
    # how often an expression matches is not known before: at most at each character, and its groups are no longer than
    # the text
    (
        "CREATE OR REPLACE MACRO hven_regexp_replace(s, pattern, new, most) AS CASE WHEN strlen(s) + (1 + "
        "strlen(s)) * strlen(new) > 4 * most\n"
        "       THEN hven_longest(strlen(s) + (1 + strlen(s)) * strlen(new), 4 * most) ELSE regexp_replace(s, "
        "pattern, new, 'g') END"
    ),
    *mapping_functions.MAPPING_MACROS,
    *time_functions.TIME_MACROS,
)
TOO_LONG_SQL = "error('a text of more than {} bytes would be built')"
MAX_SEPARATE_CONDITIONS = 200  # conditions that DuckDB tests one by one
MAX_REPEATED_PARTS = 16  # maximum number of columns, literals and calls that are written twice
# a longer call, which may contain others, is computed first instead; DuckDB takes half a millisecond to plan that
MAX_REPEATED_CHARACTERS = 120

#: Functions that the engine registers: name -> (argument types, result type).
UDF_SIGNATURES: dict[str, tuple[tuple[str, ...], str]] = {
    **FUNCTION_SIGNATURES,
    **mapping_functions.MAPPING_SIGNATURES,
    **time_functions.TIME_SIGNATURES,
}

_COLUMN_PATTERN = re.compile(r'(?:\w+\.)?"(?:[^"]|"")+"')  # SQL that is a column and nothing else
_USUAL_TIME_PATTERN = r"[12]\d{3}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
_VARYING_FUNCTIONS = frozenset({"RAND", "ROW_NUMBER", "IVO_NORMAL_RANDOM", "GAVO_NORMAL_RANDOM"})
_JD_SQL = "(2440587.5e0 + epoch_us({0}) / 86400000000e0)"
_MJD_SQL = "(40587e0 + epoch_us({0}) / 86400000000e0)"
TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%jT%H:%M:%S.%f",
    "%Y-%jT%H:%M:%S",
    "%Y-%jT%H:%M",
    "%Y-%j",
    "%Y/%m/%d %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%Y%m%dT%H%M%S",
    "%Y%m%d",
    "%Y-%m-%d %H:%M:%S.%f",
)
# texts that TIME_FORMATS may read: DuckDB also accepts fewer digits (2020-03 as day 3), and day 366 of all years
_DATED_PATTERN = (
    r"\d{4}(?:-\d?\d-\d?\d|/\d?\d/\d?\d|\d{4}|-(?:[0-2]\d\d|3[0-5]\d|36[0-5]))(?:[T ].*)?"
    r"|(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-366(?:T.*)?"
)


class DuckDBDialect(mapping_functions.MappingDialect, ExactComparisonDialect, EngineDialect):
    """DuckDB 1.5."""

    name = "duckdb"
    integer_division_operator = "//"
    exclusive_or_template = "xor({0}, {1})"
    functions: ClassVar[Mapping[str, str]] = {
        **FUNCTION_TEMPLATES,
        "EXP": "exp({0})",
        "POWER": "pow({0}, {1})",
        "ROW": ".write_row_constructor",
        "AVG": "avg({0})",
        "MIN": "min({0})",
        "MAX": "max({0})",
        "MEDIAN": "median({0})",
        "LOWER": "lower({0})",
        "UPPER": "upper({0})",
        "IVO_HASHLIST_HAS": "CAST(list_contains(string_split(lower({0}), '#'), lower({1})) AS INTEGER)",
        "IVO_NOCASEMATCH": "CAST({0} ILIKE {1} AS INTEGER)",
        "IVO_HASWORD": (
            "CAST(list_has_all(regexp_split_to_array(lower({0}), '[^\\pL\\pN]+'), "
            "list_filter(regexp_split_to_array(lower({1}), '[^\\pL\\pN]+'), lambda w: w <> '')) AS INTEGER)"
        ),
        "IVO_HEALPIX_CENTER": "CAST(hven_healpix_center(CAST({0} AS INTEGER), CAST({1} AS BIGINT)) AS DOUBLE[2])",
        "IVO_TO_JD": _JD_SQL,
        "IVO_TO_MJD": _MJD_SQL,
        "GAVO_TO_JD": _JD_SQL,
        "GAVO_TO_MJD": _MJD_SQL,
        "JD": _JD_SQL,
        "MJD": _MJD_SQL,
        "SEXAGESIMAL": ".write_sexagesimal",
        "IVO_EPOCH_PROP_POS": ".write_epoch_propagation",
        "GAVO_APPLY_PM": ".write_proper_motion",
        "IVO_GEOM_TRANSFORM": ".write_frame_transform",
        "GAVO_TRANSFORM": ".write_frame_transform",
        "GAVO_MOCUNION": "hven_moc_union({0}, {1})",
        "GAVO_MOCINTERSECT": "hven_moc_intersection({0}, {1})",
        "GAVO_GETAUTHORITY": "nullif(regexp_extract({0}, '^(?i:ivo)://([^/?#]+)', 1), '')",
        "GAVO_IPIX": "hven_ipix(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))",
        "GAVO_MATCH": "CAST(regexp_matches({1}, {0}) AS INTEGER)",
        # a double resolves 40 microseconds of a Julian date: what is shown are tenths of a millisecond
        "ISO": "make_timestamp(CAST(round(({0} - 2440587.5e0) * 864000000e0) AS BIGINT) * 100)",
        "SPLIT_PART": "split_part({0}, regexp_replace({1}, '^$', chr(1114111)), CAST({2} AS BIGINT))",
        "REGEXP_MATCH": "CAST(regexp_matches({0}, {1}) AS INTEGER)",
        "REGEXP_EXTRACT": ".write_regexp_extract",
        "ARR_LENGTH": ".write_array_function",
        "ARR_COUNT": ".write_array_function",
        "ARR_SUM": ".write_array_function",
        "ARR_AVG": ".write_array_function",
        "ARR_MIN": ".write_array_function",
        "ARR_MAX": ".write_array_function",
        "ARR_STDDEV": ".write_array_function",
        "ARR_DOT": ".write_dot_product",
        "REPLACE": ".write_length_limited_replace",
        "REGEXP_REPLACE": ".write_length_limited_replace",
        "URL_ENCODE": "hven_url({0}, 32768)",
        "PARSE_TIME": ".write_parse_time",
        "ROW_NUMBER": "row_number() OVER ()",
        **mapping_functions.MAPPING_TEMPLATES,
    }

    def write_float_text(self, sql: str, type_: ColumnType) -> str:
        """Write a floating-point number as text; NaN has no sign."""
        if _COLUMN_PATTERN.fullmatch(sql):  # a test of the number takes a third of the time of one of its text
            sql_type = "FLOAT" if type_ == FLOAT32 else "DOUBLE"
            unsigned_sql = f"CASE WHEN isnan({sql}) THEN CAST('NaN' AS {sql_type}) ELSE {sql} END"
            return super().write_float_text(unsigned_sql, type_)
        return f"replace({super().write_float_text(sql, type_)}, '-nan', 'nan')"

    def write_string_aggregate(self, writer: SqlWriter, node: FunctionCall, order_clause: str = "") -> str:
        """IVO_STRING_AGG: DuckDB takes a delimiter that is written in place, any other stands before each text."""
        text, delimiter = node.args
        if isinstance(delimiter, Literal):
            return super().write_string_aggregate(writer, node, order_clause)
        behind = replace(
            node, args=(BinaryOperation("||", delimiter, text, meta=node.meta), Literal("", meta=delimiter.meta))
        )
        return (
            f"substr({super().write_string_aggregate(writer, behind, order_clause)}, "
            f"length({writer.write_expression(delimiter)}) + 1)"
        )

    def write_ordered_aggregate(self, aggregate_name: str, distinct: str, value_sql: str) -> str:
        """Write an aggregate of numbers over them in order; DuckDB drops an ORDER BY within sum and avg."""
        return f"list_{aggregate_name}(list_sort(list({distinct}{value_sql})))"

    def write_row_number_order(self, columns: Sequence[str]) -> list[str]:
        """Write several columns as one.

        The first row of each group is then found by grouping, where all would be sorted.
        """
        if len(columns) > 1:
            return [f"row({', '.join(columns)}) ASC NULLS LAST"]
        return []

    def write_condition(self, writer: SqlWriter, node: Expr) -> str:
        """Keep many conditions together.

        DuckDB takes seconds over thousands that it can part, and writes them for Arrow with Python's lock held.
        """
        text = writer.write_expression(node)
        if isinstance(node, Conjunction) and len(node.parts) > MAX_SEPARATE_CONDITIONS:
            return f"COALESCE({text}, FALSE)"
        return text

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter; a whole number beyond 64 bits is a double."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"CAST(${number} AS DOUBLE)"
        return f"${number}"

    def quote_string(self, value: str) -> str:
        """Write a string; DuckDB's text ends at a NUL, so that one is made by chr."""
        parts = ["'" + part.replace("'", "''") + "'" for part in value.split("\0")]
        if len(parts) == 1:
            return parts[0]
        return "(" + " || chr(0) || ".join(parts) + ")"

    def write_number(self, value: float) -> str:
        """Write a number; a whole one beyond 64 bits is a double."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"CAST({value} AS DOUBLE)"
        return super().write_number(value)

    def write_type_name(self, type_: ColumnType) -> str:
        """Write a type."""
        return type_.duckdb

    def write_cast(self, sql: str, type_: ColumnType) -> str:
        """Convert; leniently, what cannot be converted is NULL."""
        return f"{'TRY_CAST' if self.lenient else 'CAST'}({sql} AS {type_.duckdb})"

    def write_adql_cast(self, writer: SqlWriter, node: CastExpression) -> str:
        """Write ADQL's CAST.

        A literal is a time that DuckDB reads as it stands (`TypeChecker.convert_constant_text_to_time`).
        """
        if isinstance(node.operand, Literal) and require_meta(node).type.is_timestamp:
            return self.write_cast(writer.write_expression(node.operand), require_meta(node).type)
        return super().write_adql_cast(writer, node)

    def write_conversion(self, sql: str, value_kind: str, type_: ColumnType) -> str:
        """Convert; text becomes a time with its offset from UTC."""
        if value_kind == "text" and type_.is_timestamp:
            return f"hven_time_or_{'null' if self.lenient else 'error'}({sql})"
        return super().write_conversion(sql, value_kind, type_)

    def write_output_expression(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write a select item as exactly its declared type; leniently, what cannot be computed is NULL."""
        has_output_type = isinstance(node, CastExpression) and require_meta(node).type == type_
        if (
            isinstance(node, CastExpression)
            and node.length is None
            and type_.is_string
            and require_meta(node.operand).type.is_string
        ):
            has_output_type = False  # a cast of text to text is not written
        as_time = type_.is_timestamp and value_kinds.classify_type(require_meta(node).type) == "text"
        text = writer.write_expression(node)
        if not has_output_type:
            if as_time:
                text = self.write_conversion(text, "text", type_)
            else:
                text = self.write_cast(text, type_)
        if (
            self.lenient
            and not isinstance(node, Literal | CastExpression)
            and not require_meta(node).aggregate
            and not _is_refused_by_try(node)
        ):
            return f"TRY({text})"
        return text

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Compare; ``DISTANCE(..) < r`` looks at the latitudes first, which costs a tenth."""
        plain = super().write_comparison(writer, node)
        if node.op in {"<", "<="}:
            near, limit, op = (node.left, node.right, node.op)
        else:
            near, limit, op = (node.right, node.left, node.op)
        if op not in {"<", "<=", ">", ">="} or not (
            isinstance(near, FunctionCall) and near.name == "DISTANCE" and len(near.args) == 4
        ):
            return plain
        if not require_meta(limit).constant:
            return plain
        lon1, lat1, lon2, lat2 = self.write_doubles(writer, near.args)
        return (
            f"((abs({lat1} - {lat2}) <= {writer.write_expression(limit)} + 1e-9 OR {lon1} + {lon2} IS NULL) AND "
            f"{plain})"
        )

    def write_case_branch(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write a value of CASE or COALESCE; DuckDB cannot choose between arrays of fixed length, but between lists.

        Beside a REAL it would make a REAL of an INTEGER, too, which cannot hold it.
        """
        text = writer.write_expression(node)
        if type_ == FLOAT64 and not isinstance(node, Literal):
            return self.write_as_double(text, node)
        stored = type_.duckdb
        if stored.endswith("]"):
            return f"CAST({text} AS {stored[: stored.rindex('[')]}[])"
        return text

    # --- text: how long it becomes is known before it is built, for the engine does not count the memory of texts

    def write_concatenation(self, parts: list[str]) -> str:
        """Join texts."""
        plain = super().write_concatenation(parts)
        if self.lenient or not any(
            '"' in part for part in parts
        ):  # a descriptor's own words; what reads no column is as long as it was written
            return plain
        if len(parts) > MAX_REPEATED_PARTS or any(
            "(" in part and len(part) > MAX_REPEATED_CHARACTERS and not part.startswith("'") for part in parts
        ):
            size = "list_sum(list_transform(l, lambda s: strlen(s)))"
            test = (
                f"CASE WHEN {size} > {self.max_text_bytes} THEN {TOO_LONG_SQL.format(self.max_text_bytes)} WHEN "
                f"list_count(l) = len(l) THEN array_to_string(l, '') END"
            )
            return f"list_transform([[{', '.join(f'CAST({part} AS VARCHAR)' for part in parts)}]], lambda l: {test})[1]"
        size = " + ".join(f"strlen({part})" for part in parts if part != "NULL") or "0"
        return (
            f"CASE WHEN {size} > {self.max_text_bytes} THEN {TOO_LONG_SQL.format(self.max_text_bytes)} ELSE {plain} END"
        )

    def write_length_limited_replace(self, writer: SqlWriter, node: FunctionCall) -> str:
        """REPLACE and REGEXP_REPLACE."""
        args = [writer.write_expression(arg) for arg in node.args]
        if self.lenient:
            return FUNCTION_TEMPLATES[node.name].replace("{*}", ", ".join(args)).format(*args)
        name = f"hven_{node.name.lower()}"
        if not all(isinstance(arg, ColumnRef | Literal) for arg in node.args):
            argument_fields = ", ".join(f"{key}: CAST({arg} AS VARCHAR)" for key, arg in zip("abc", args, strict=True))
            return f"list_transform([{{{argument_fields}}}], lambda r: {name}(r.a, r.b, r.c, {self.max_text_bytes}))[1]"
        return f"{name}({', '.join(args)}, {self.max_text_bytes})"

    # --- pieces

    def write_shape_from_texts(self, numbers_sql: str, type_: ColumnType) -> str:
        """Make a shape of an array of texts."""
        return self.write_cast(self.write_cast(numbers_sql, POLYGON), type_)

    def write_array_as_text(self, array_sql: str, type_: ColumnType) -> str:  # noqa: ARG002  (one signature for all)
        """Write an array as text."""
        return f"array_to_string(CAST({array_sql} AS VARCHAR[]), ' ')"

    def write_round_or_truncate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ROUND and TRUNCATE, with decimals that may be negative."""
        name = "round" if node.name == "ROUND" else "trunc"
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        if len(node.args) == 1:
            return f"{name}({value})"
        return f"{name}({value}, CAST({writer.write_expression(node.args[1])} AS INTEGER))"

    def write_regexp_extract(self, writer: SqlWriter, node: FunctionCall) -> str:
        """REGEXP_EXTRACT: NULL if nothing matches."""
        args = [writer.write_expression(arg) for arg in node.args]
        return f"CASE WHEN regexp_matches({args[0]}, {args[1]}) THEN regexp_extract({', '.join(args)}) END"

    def write_sexagesimal(self, writer: SqlWriter, node: FunctionCall) -> str:
        """SEXAGESIMAL(text [, 'hour'])."""
        if len(node.args) > 1 and isinstance(node.args[1], Literal):
            unit = node.args[1].value
        else:
            unit = "deg"
        text = f"hven_sexagesimal({writer.write_expression(node.args[0])})"
        if str(unit).lower().startswith("h"):
            return f"(15 * {text})"
        return text

    def write_parse_time(self, writer: SqlWriter, node: FunctionCall) -> str:
        """PARSE_TIME(text [, format])."""
        text = writer.write_expression(node.args[0])
        if value_kinds.classify_type(require_meta(node.args[0]).type) == "time":
            return text
        if len(node.args) > 1:
            parsed = f"try_strptime({text}, {writer.write_expression(node.args[1])})"
            if isinstance(node.args[1], Literal):
                format_text = node.args[1].value
            else:
                format_text = ""
            if "%z" in str(format_text).lower():  # a time with a zone, which DuckDB would show in that of the machine
                parsed = f"timezone('UTC', {parsed})"
            return f"hven_dated({parsed})"
        formats = ", ".join(self.quote_string(item) for item in TIME_FORMATS)
        text_sql = f"rtrim(trim({text}, {WHITESPACE_SQL}), 'Zz')"
        # other forms than ISO 8601's: without a zone, which they would lose
        carried_sql = f"regexp_replace({text_sql}, ':60(\\.\\d*)?$', ':59\\1')"
        plain_sql, late_sql = (f"hven_dated(try_strptime({item}, [{formats}]))" for item in (text_sql, carried_sql))
        parsed_sql = (
            f"coalesce(hven_time_or_null({text}), CASE WHEN NOT regexp_full_match({text_sql}, '{_DATED_PATTERN}') "
            f"THEN NULL WHEN contains({text_sql}, ':60') THEN {late_sql} + INTERVAL 1 SECOND ELSE {plain_sql} END)"
        )
        if not _COLUMN_PATTERN.fullmatch(text):
            return parsed_sql
        # The most frequent form needs no function of Python. DuckDB computes common parts of a CASE only when it needs
        # them, those of other expressions before.
        return (
            f"CASE WHEN regexp_full_match({text}, {self.quote_string(_USUAL_TIME_PATTERN)}) "
            f"THEN TRY_CAST({text} AS TIMESTAMP) ELSE {parsed_sql} END"
        )

    def write_histogram(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HISTOGRAM: how often each bin is met."""
        value, low, high = self.write_doubles(writer, node.args[:3])
        bins = writer.write_expression(node.args[3])
        return (
            f"hven_bins(histogram({'DISTINCT ' if node.distinct else ''}hven_bin({value}, {low}, {high}, {bins})), "
            f"{bins})"
        )

    # --- arrays

    def write_array_as_list(self, writer: SqlWriter, node: Expr) -> str:
        """Write an array as a list of doubles, or of 64 bits; the functions of lists take no arrays of fixed length."""
        is_integer = ColumnType(require_meta(node).type.datatype).is_integer
        return f"CAST({writer.write_expression(node)} AS {'BIGINT' if is_integer else 'DOUBLE'}[])"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element; behind the last one NULL, for arrays of fixed length too."""
        return f"list_extract({array}, {index})"

    def write_array_function(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ARR_LENGTH, ARR_SUM and their like."""
        name = {
            "ARR_LENGTH": "len",
            "ARR_COUNT": "list_count",
            "ARR_SUM": "list_sum",
            "ARR_AVG": "list_avg",
            "ARR_MIN": "list_min",
            "ARR_MAX": "list_max",
            "ARR_STDDEV": "list_stddev_samp",
        }[node.name]
        return f"CAST({name}({self.write_array_as_list(writer, node.args[0])}) AS {require_meta(node).type.duckdb})"

    def write_dot_product(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ARR_DOT."""
        return f"hven_dot({', '.join(f'CAST({writer.write_expression(arg)} AS DOUBLE[])' for arg in node.args)})"

    # --- geometry

    def write_proper_motion(self, writer: SqlWriter, node: FunctionCall) -> str:
        """GAVO_APPLY_PM: proper motions in degrees per year."""
        ra, dec, pm_ra, pm_dec, years = self.write_doubles(writer, node.args)
        return f"CAST(hven_moved({ra}, {dec}, {years}, 3.6e6 * {pm_ra}, 3.6e6 * {pm_dec}, 0e0, 0e0) AS DOUBLE[2])"

    def write_epoch_propagation(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_EPOCH_PROP_POS: what may be NULL stands for 0, what may not is an error."""
        ra, dec, parallax, pm_ra, pm_dec, velocity, start, end = self.write_doubles(writer, node.args)
        names = ("ra", "dec", "ref_epoch", "out_epoch")
        required_sql = [
            (
                f"CASE WHEN {text} IS NULL THEN error('IVO_EPOCH_PROP_POS: {name} is NULL; leave such rows out') "
                f"ELSE {text} END"
            )
            for name, text in zip(names, (ra, dec, start, end), strict=True)
        ]
        optional_sql = [f"coalesce({text}, 0e0)" for text in (pm_ra, pm_dec, parallax, velocity)]
        return (
            f"CAST(hven_moved({required_sql[0]}, {required_sql[1]}, {required_sql[3]} - {required_sql[2]}, "
            f"{', '.join(optional_sql)}) AS DOUBLE[2])"
        )

    def write_frame_transform(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_GEOM_TRANSFORM: a rotation."""
        source, target, shape = node.args
        return (
            f"CAST(hven_turned({writer.write_expression(source)}, {writer.write_expression(target)}, "
            f"{self.write_shape_numbers(writer, shape)}) AS {require_meta(node).type.duckdb})"
        )

    def write_moc(self, writer: SqlWriter, node: FunctionCall) -> str:
        """MOC of text, which it is already, or of a shape."""
        if len(node.args) == 1:
            return writer.write_expression(node.args[0])
        return (
            f"hven_moc(CAST({writer.write_expression(node.args[0])} AS INTEGER), "
            f"{self.write_shape_text(writer, node.args[1])})"
        )

    def write_coordinate(self, shape_sql: str, number: int) -> str:
        """Write one number of a shape."""
        return f"CAST(({shape_sql})[{number}] AS DOUBLE)"

    def write_array_of_numbers(self, numbers_sql: str) -> str:
        """Write a list of doubles."""
        return f"list_value({numbers_sql})"

    def write_shape(self, writer: SqlWriter, node: FunctionCall) -> str:
        """POINT, CIRCLE, POLYGON as their storage types."""
        return f"CAST({self.write_nullable_shape_numbers(writer, node)} AS {require_meta(node).type.duckdb})"

    def write_shape_numbers(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as the DOUBLE[] that the functions take."""
        return self.write_constructed_shape(writer, node) or f"CAST({writer.write_expression(node)} AS DOUBLE[])"

    def write_shape_text(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as text."""
        kind = value_kinds.classify_type(require_meta(node).type)
        if kind in {"region", "moc"}:
            return writer.write_expression(node)
        if kind == "point":
            lon, lat = self.write_point_coordinates(writer, node)
            return f"('point ' || CAST({lon} AS VARCHAR) || ' ' || CAST({lat} AS VARCHAR))"
        return f"hven_text({self.write_shape_numbers(writer, node)})"

    def write_area(self, writer: SqlWriter, node: FunctionCall) -> str:
        """AREA in square degrees."""
        if value_kinds.classify_type(require_meta(node.args[0]).type) in {"region", "moc"}:
            return f"hven_area_text({writer.write_expression(node.args[0])})"
        return f"hven_area({self.write_shape_numbers(writer, node.args[0])})"

    def write_centroid(self, writer: SqlWriter, node: FunctionCall) -> str:
        """CENTROID, a point."""
        if value_kinds.classify_type(require_meta(node.args[0]).type) in {"region", "moc"}:
            return f"CAST(hven_centroid_text({writer.write_expression(node.args[0])}) AS DOUBLE[2])"
        return f"CAST(hven_centroid({self.write_shape_numbers(writer, node.args[0])}) AS DOUBLE[2])"

    def write_geometry_predicate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """CONTAINS and INTERSECTS as a condition: the plain cases in SQL, the others by functions of hven.model.sky."""
        left_shape, right_shape = node.args
        left_kind = value_kinds.classify_type(require_meta(left_shape).type)
        right_kind = value_kinds.classify_type(require_meta(right_shape).type)
        if node.name == "CONTAINS" and left_kind == "point" and right_kind in {"region", "moc"}:
            lon, lat = self.write_point_coordinates(writer, left_shape)
            return f"hven_in_text({lon}, {lat}, {writer.write_expression(right_shape)})"
        if {left_kind, right_kind} & {"region", "moc"}:
            return (
                f"hven_{node.name.lower()}_text({self.write_shape_text(writer, left_shape)}, "
                f"{self.write_shape_text(writer, right_shape)})"
            )
        if node.name == "CONTAINS" and left_kind == "point" and right_kind == "circle":
            lon, lat = self.write_point_coordinates(writer, left_shape)
            return f"(hven_in_circle({lon}, {lat}, {', '.join(self.write_circle_numbers(writer, right_shape))}))"
        if node.name == "CONTAINS" and left_kind == "point" and right_kind == "polygon":
            lon, lat = self.write_point_coordinates(writer, left_shape)
            return f"hven_in_polygon({lon}, {lat}, {self.write_shape_numbers(writer, right_shape)})"
        return (
            f"hven_{node.name.lower()}({self.write_shape_numbers(writer, left_shape)}, "
            f"{self.write_shape_numbers(writer, right_shape)})"
        )


def _is_refused_by_try(node: Expr) -> bool:
    """Return whether DuckDB's TRY refuses an expression: it refuses subqueries and functions with varying results."""
    for item in walk_tree(node):
        if isinstance(item, Query):
            return True
        if isinstance(item, FunctionCall) and item.name in _VARYING_FUNCTIONS:
            return True
    return False
