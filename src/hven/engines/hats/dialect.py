"""Spark's dialect: how Spark SQL 4 (ANSI, in UTC, names told by case) writes types, functions and geometry.

What it does not compute is `UnsupportedBySparkError`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from hven.adql import value_kinds
from hven.adql.syntax_tree import Cast, FunctionCall, Literal
from hven.adql.value_kinds import require_meta
from hven.engines._dialect import FUNCTION_TEMPLATES, MJD_RANGE_SQL, WHITESPACE_SQL
from hven.engines.hats.cell_matches import CELL_COLUMN, PROBE_CELL_COLUMN, SPREAD_CELL_COLUMN, SPREAD_SUFFIX
from hven.engines.hats.shape_dialect import SparkShapeDialect, UnsupportedBySparkError
from hven.model.types import FLOAT64, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BoundQuery, Expr, LikePredicate, TableRef

MAX_REPEATED_CHARACTERS = (
    120  # characters of what is written several times; longer expressions, which may hold others, are values first
)
_MAX_INT32 = 2147483647
_MICROSECONDS_SQL = "unix_micros(CAST({0} AS TIMESTAMP_LTZ))"
_JD_SQL = f"(2440587.5D + {_MICROSECONDS_SQL} / 86400000000D)"
_MJD_SQL = f"(40587D + {_MICROSECONDS_SQL} / 86400000000D)"
_ROUNDING_TEMPLATE = (
    "CASE WHEN abs({{0}}) < 4503599627370496 THEN CAST({0}({{0}}) AS DOUBLE) ELSE CAST({{0}} AS DOUBLE) END"
)
_SPLIT_WORDS_TEMPLATE = r"filter(split(lower({0}), '[^\\p{{L}}\\p{{N}}]+'), w -> w <> '')"
_SCALAR_TYPE_NAMES = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.uint8(): "SMALLINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "STRING",
    pa.timestamp("us"): "TIMESTAMP_NTZ",
}
# degrees, minutes, seconds; and with nothing between
_SEXAGESIMAL_PATTERNS = (
    r"^\\s*([+-]?)\\s*(\\d{1,3})\\s*[:hHdD\\x{B0}\\s]\\s*(\\d{1,2}(?:\\.\\d*)?)\\s*(?:[:mM\\x27\\x{2032}\\s]\\s*(\\d{1,2}(?:\\.\\d*)?)?\\s*[sS\\x22\\x{2033}]?)?\\s*$",
    r"^\\s*([+-]?)(\\d{2,3})(\\d{2})(\\d{2}(?:\\.\\d*)?)\\s*$",
)


def write_spark_type(arrow_type: pa.DataType) -> str:
    """Name an Arrow type in Spark's words.

    Raises
    ------
    UnsupportedBySparkError
        Spark has no such type, or no column of it can be told.
    """
    if pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        return f"ARRAY<{write_spark_type(arrow_type.value_type)}>"
    type_name = _SCALAR_TYPE_NAMES.get(arrow_type)
    if type_name is None:
        raise UnsupportedBySparkError(f"a value of the type {arrow_type}")
    return type_name


def _bind_name(value: str, name: str, expression: str) -> str:
    """Write an expression in which a name stands for a value that is computed once."""
    return f"get(transform(array({value}), {name} -> {expression}), 0)"


class SparkDialect(SparkShapeDialect):
    """Spark SQL 4.

    Parameters
    ----------
    bound
        The query; its tables are written as ``r0``, ``r1`` .. (`view_names`).
    matches
        Table references that are matched by cells; see `matches`.
    """

    name = "spark"
    text_type = "STRING"
    integer_division_operator = "div"
    raise_template = "raise_error({0})"
    exclusive_or_template = "({0} ^ {1})"
    functions: ClassVar[Mapping[str, str]] = {
        **FUNCTION_TEMPLATES,
        "CEILING": _ROUNDING_TEMPLATE.format("ceil"),
        "FLOOR": _ROUNDING_TEMPLATE.format("floor"),
        "COORD1": "get({0}, 0)",
        "COORD2": "get({0}, 1)",
        "IVO_NORMAL_RANDOM": FUNCTION_TEMPLATES["IVO_NORMAL_RANDOM"].replace("random()", "rand()"),
        "GAVO_NORMAL_RANDOM": FUNCTION_TEMPLATES["IVO_NORMAL_RANDOM"].replace("random()", "rand()"),
        "TRIM": f"btrim({{0}}, {WHITESPACE_SQL})",
        "REPLACE": ".write_replace",
        "REGEXP_REPLACE": ".write_replace",
        "URL_ENCODE": ".write_url_encode",
        "EXP": "exp({0})",
        "POWER": "pow({0}, {1})",
        "ROW": "struct({*})",
        "AVG": ".write_average",
        "MIN": "min({0})",
        "MAX": "max({0})",
        "MEDIAN": "median({0})",
        "LOWER": "lower({0})",
        "UPPER": "upper(replace({0}, 'ß', 'ẞ'))",
        "IVO_HASHLIST_HAS": "CASE WHEN {1} IS NOT NULL THEN CAST(array_contains(split(lower({0}), '#'), lower({1})) AS INT) END",
        "IVO_NOCASEMATCH": ".write_nocase_match",
        "IVO_HASWORD": (
            f"CAST(size(array_except({_SPLIT_WORDS_TEMPLATE.replace('{0}', '{1}')}, {_SPLIT_WORDS_TEMPLATE})) = 0 "
            f"AS INT)"
        ),
        "IVO_HEALPIX_CENTER": "hven_healpix_center(CAST({0} AS INT), CAST({1} AS BIGINT))",
        "IVO_TO_JD": _JD_SQL,
        "IVO_TO_MJD": _MJD_SQL,
        "GAVO_TO_JD": _JD_SQL,
        "GAVO_TO_MJD": _MJD_SQL,
        "JD": _JD_SQL,
        "MJD": _MJD_SQL,
        # a double resolves 40 microseconds of a Julian date: what is shown are tenths of a millisecond
        "ISO": "CAST(timestamp_micros(CAST(round(({0} - 2440587.5D) * 864000000D) AS BIGINT) * 100) AS TIMESTAMP_NTZ)",
        "IVO_EPOCH_PROP_POS": ".write_epoch_propagation",
        "GAVO_APPLY_PM": ".write_proper_motion",
        "IVO_GEOM_TRANSFORM": ".write_frame_transform",
        "GAVO_TRANSFORM": ".write_frame_transform",
        "GAVO_MOCUNION": "hven_moc_union({0}, {1})",
        "GAVO_MOCINTERSECT": "hven_moc_intersection({0}, {1})",
        "GAVO_GETAUTHORITY": "nullif(regexp_extract({0}, '^(?i:ivo)://([^/?#]+)', 1), '')",
        "GAVO_IPIX": "hven_ipix(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))",
        "GAVO_MATCH": "CAST(regexp_like({1}, {0}) AS INT)",
        "REGEXP_MATCH": "CAST(regexp_like({0}, {1}) AS INT)",
        "REGEXP_EXTRACT": ".write_regexp_extract",
        "SPLIT_PART": "split_part({0}, {1}, CAST({2} AS INT))",
        "IVO_HMS_TO_DEGREES": ".write_sexagesimal",
        "IVO_DMS_TO_DEGREES": ".write_sexagesimal",
        "ARR_LENGTH": ".write_array_function",
        "ARR_COUNT": ".write_array_function",
        "ARR_SUM": ".write_array_function",
        "ARR_AVG": ".write_array_function",
        "ARR_MIN": ".write_array_function",
        "ARR_MAX": ".write_array_function",
        "ARR_STDDEV": ".write_array_function",
        "ARR_DOT": ".write_dot_product",
    }

    def __init__(self, bound: BoundQuery) -> None:
        super().__init__(bound)
        self._columns_by_view = {
            self.view_names[table.qualified_name]: [column.name for column in table.columns] for table in bound.tables
        }

    # --- words and values

    def build_default_template(self, function_name: str) -> str:
        """Leave to the embedded engine what is not known here."""
        raise UnsupportedBySparkError(function_name)

    def quote_identifier(self, name: str) -> str:
        """Quote an identifier by backticks."""
        return "`" + name.replace("`", "``").replace("\0", "") + "`"

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter."""
        if value is None or isinstance(value, bool | str):
            return f":p{number}"
        return (
            f"CAST(:p{number} AS "
            f"{self.write_type_name(value_kinds.choose_integer_type(value) if isinstance(value, int) else FLOAT64)})"
        )

    def quote_string(self, value: str) -> str:
        """Write a string; a backslash begins an escape here."""
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"

    def write_number(self, value: float) -> str:
        """Write a number; one with a point would be a decimal."""
        if isinstance(value, int) and -(2**63) < value < 2**63:
            if value < 0:
                return f"({value})"
            if value > _MAX_INT32:
                return f"{value}L"
            return str(value)
        if math.isfinite(value):
            text = f"{float(value)!r}D"
        else:
            text = f"CAST('{float(value)}' AS DOUBLE)"
        if text.startswith("-"):
            return f"({text})"
        return text

    def write_type_name(self, type_: Type) -> str:
        """Write a type."""
        return write_spark_type(type_.arrow)

    def write_output(self, writer: SqlWriter, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type."""
        if isinstance(node, Cast) and require_meta(node).type == type_:
            return writer.write_expression(node)
        return self.write_branch(writer, node, type_)

    def write_branch(self, writer: SqlWriter, node: Expr, type_: Type) -> str:
        """Write one of several values as the type that they have together."""
        return self.write_cast(writer.write_expression(node), type_)

    # --- rows

    def write_table(self, writer: SqlWriter, node: TableRef) -> str:
        """Write a stored table; one that is matched has a row for each cell that its circle may touch."""
        name = super().write_table(writer, node)
        if node.number in self.spread_matches:
            return self.name_spread_view(name)
        return name

    def write_permitted_rows(self, table: str, condition: str) -> str:
        """Write a reader's rows so that nothing can be learnt of the others.

        Spark tests conditions in any order, and an error would tell of hidden rows.
        """
        if "SELECT" in condition:
            raise UnsupportedBySparkError("a row filter that looks into another table")
        stored = table.removesuffix(SPREAD_SUFFIX)
        cell_columns = (
            [CELL_COLUMN] * (stored in self.cell_views)
            + [PROBE_CELL_COLUMN] * (stored in self.probe_matches)
            + [SPREAD_CELL_COLUMN] * (stored != table)
        )
        listed = [*cell_columns, *self._columns_by_view[stored]]
        columns = ", ".join(
            f"CASE WHEN {condition} THEN t0.{self.quote_identifier(name)} END AS {self.quote_identifier(name)}"
            for name in listed
        )
        return f"SELECT {columns} FROM {table} AS t0 WHERE {condition}"

    # --- operators

    def write_modulo(self, left_sql: str, right_sql: str, *, is_integer: bool) -> str:
        """Write a remainder; the smallest whole number has one by -1, too."""
        if is_integer:
            return f"({left_sql} % nullif({right_sql}, 0))"
        return super().write_modulo(left_sql, right_sql, is_integer=is_integer)

    def write_like(self, writer: SqlWriter, node: LikePredicate) -> str:
        """Write LIKE and ILIKE, in which a backslash would escape."""
        fixed = isinstance(node.pattern, Literal) and node.pattern.slot not in writer.free_slots
        pattern = writer.write_expression(node.pattern)
        if not fixed or "\\" in str(node.pattern.value if isinstance(node.pattern, Literal) else ""):
            pattern = _escape_backslashes(pattern)
        return (
            f"({writer.write_expression(node.operand)} "
            f"{'NOT ' if node.negated else ''}{'ILIKE' if node.ignore_case else 'LIKE'} {pattern})"
        )

    def write_nocase_match(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_NOCASEMATCH."""
        text, pattern = (writer.write_expression(arg) for arg in node.args)
        return f"CAST({text} ILIKE {_escape_backslashes(pattern)} AS INT)"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element, from 1; NULL behind the last."""
        return f"CASE WHEN {index} BETWEEN 1 AND {_MAX_INT32} THEN get({array}, TRY_CAST({index} AS INT) - 1) END"

    # --- conversions

    def write_adql_cast(self, writer: SqlWriter, node: Cast) -> str:
        """Write ADQL's CAST."""
        type_ = require_meta(node).type
        if value_kinds.classify_type(require_meta(node.operand).type) == "text" and value_kinds.classify_type(
            type_
        ) in {"point", "circle", "polygon"}:
            return self.write_shape_from_texts(
                f"split(btrim(CAST({writer.write_expression(node.operand)} AS STRING), {WHITESPACE_SQL}), '[\\\\s,]+')",
                type_,
            )
        return super().write_adql_cast(writer, node)

    def write_conversion(self, sql: str, value_kind: str, type_: Type) -> str:
        """Convert; whole numbers are rounded to the nearest, halves to even ones."""
        if type_.is_integer and value_kind == "text":
            return self.write_cast(f"rint(CAST({sql} AS DOUBLE))", type_)
        if type_.is_integer and value_kind == "number":
            return self.write_cast(
                f"CASE WHEN typeof({sql}) IN ('double', 'float') THEN CAST(rint({sql}) AS BIGINT) ELSE {sql} END",
                type_,
            )
        if value_kind == "text" and type_.is_timestamp:  # the type without a zone drops an offset; sessions are in UTC
            return self.write_cast(f"CAST({sql} AS TIMESTAMP_LTZ)", type_)
        return self.write_cast(sql, type_)

    def write_shape_from_texts(self, numbers_sql: str, type_: Type) -> str:
        """Make a shape of an array of texts."""
        size = type_.size
        if size is None:
            return self.write_cast(numbers_sql, type_)
        error_sql = self.raise_template.format(f"concat('the text has ', size(w), ' numbers, and such a shape {size}')")
        sized = f"CASE WHEN w IS NULL OR size(w) = {size} THEN w ELSE CAST({error_sql} AS ARRAY<STRING>) END"
        return self.write_cast(_bind_name(numbers_sql, "w", sized), type_)

    def write_once(self, sql: str, write_value: Callable[[str], str], spark_type: str = "STRING") -> str:
        """Write something with an expression in it several times; one that is long is a value first."""
        if len(sql) <= MAX_REPEATED_CHARACTERS:
            return write_value(sql)
        return _bind_name(f"CAST({sql} AS {spark_type})", "v", write_value("v"))

    def write_float_text(self, sql: str, type_: Type) -> str:  # noqa: ARG002  (one signature for all)
        """Write a floating-point number as text as the other engines do, where Java has ``1.0E7`` and ``NaN``."""
        return self.write_once(f"CAST({sql} AS STRING)", self.write_c_number_text)

    def write_c_number_text(self, java_text: str) -> str:
        """Write Java's text of a number as C's: ``10000000.0``, ``1e+16``, ``1e-05``, ``nan``."""
        decimal_template = "regexp_replace(CAST(CAST({0} AS DECIMAL(38, {1})) AS STRING), '(\\\\.\\\\d+?)0+$', '$1')"
        exponent_sql = f"regexp_replace(regexp_replace({java_text}, '\\\\.0E', 'E'), 'E(\\\\d)', 'e+$1')"
        exponent_sql = f"replace(regexp_replace({exponent_sql}, 'E-(\\\\d)$', 'e-0$1'), 'E-', 'e-')"
        return (
            f"CASE WHEN NOT contains({java_text}, 'E') THEN replace(replace({java_text}, 'Infinity', 'inf'), 'NaN', 'nan') WHEN regexp_like({java_text}, 'E(1[0-5]|\\\\d)$') THEN {decimal_template.format(java_text, 15)}"
            f" WHEN endswith({java_text}, 'E-4') THEN {decimal_template.format(java_text, 30)} ELSE {exponent_sql} END"
        )

    def write_joined_numbers(self, array_sql: str, type_: Type) -> str:
        """Write an array as text."""
        if type_.datatype in {"double", "float", "doubleComplex", "floatComplex"}:
            return (
                f"array_join(transform(CAST({array_sql} AS ARRAY<STRING>), s -> {self.write_c_number_text('s')}), ' ')"
            )
        return f"array_join(CAST({array_sql} AS ARRAY<STRING>), ' ')"

    # --- texts: how long one becomes is known before it is built

    def _write_too_long(self) -> str:
        error_sql = self.raise_template.format(f"'a text of more than {self.max_text_bytes} bytes would be built'")
        return f"CAST({error_sql} AS STRING)"

    def write_concatenation(self, parts: list[str]) -> str:
        """Join texts."""
        plain = super().write_concatenation(parts)
        if not any("`" in part for part in parts):  # what reads no column is as long as it was written
            return plain
        if max(map(len, parts)) > MAX_REPEATED_CHARACTERS:
            size = "aggregate(l, 0L, (n, s) -> n + octet_length(s))"
            joined = (
                f"CASE WHEN {size} > {self.max_text_bytes} THEN {self._write_too_long()} WHEN NOT "
                f"array_contains(transform(l, s -> s IS NULL), true) THEN array_join(l, '') END"
            )
            return _bind_name(f"array({', '.join(f'CAST({part} AS STRING)' for part in parts)})", "l", joined)
        size = " + ".join(f"octet_length({part})" for part in parts if part != "NULL") or "0"
        return f"CASE WHEN {size} > {self.max_text_bytes} THEN {self._write_too_long()} ELSE {plain} END"

    def write_concat(self, writer: SqlWriter, node: FunctionCall) -> str:
        """CONCAT: everything as text, and what is NULL left out."""
        return f"concat_ws('', {', '.join(self.write_as_text(writer.write_expression(arg), arg) for arg in node.args)})"

    def write_replace(self, writer: SqlWriter, node: FunctionCall) -> str:
        """REPLACE and REGEXP_REPLACE: every character may be one that is replaced.

        Only if that could be too much they are counted.
        """
        args = [writer.write_expression(arg) for arg in node.args]
        is_short = max(map(len, args)) <= MAX_REPEATED_CHARACTERS
        if is_short:
            s, pattern_sql, replacement_sql = args
        else:
            s, pattern_sql, replacement_sql = ("r.a", "r.b", "r.c")
        if node.name == "REPLACE":
            replaced = f"CASE WHEN {pattern_sql} = '' THEN {s} ELSE replace({s}, {pattern_sql}, {replacement_sql}) END"
            size = (
                f"(octet_length({s}) + (octet_length({s}) - octet_length(replace({s}, {pattern_sql}, ''))) div "
                f"nullif(octet_length({pattern_sql}), 0) * (octet_length({replacement_sql}) - "
                f"octet_length({pattern_sql})))"
            )
            test = (
                f"CAST(octet_length({s}) AS BIGINT) * (1 + octet_length({replacement_sql})) > "
                f"{self.max_text_bytes} AND {size} > {self.max_text_bytes}"
            )
        else:
            # groups of the pattern are $1 in Java
            replaced = (
                f"regexp_replace({s}, {pattern_sql}, regexp_replace(replace({replacement_sql}, '$', '\\\\$'), "
                f"'\\\\\\\\(\\\\d)', '\\\\$$1'))"
            )
            test = (
                f"octet_length({s}) + CAST(1 + octet_length({s}) AS BIGINT) * octet_length({replacement_sql}) > 4 "
                f"* {self.max_text_bytes}"
            )
        replace_sql = f"CASE WHEN {test} THEN {self._write_too_long()} ELSE {replaced} END"
        if is_short:
            return replace_sql
        argument_fields = ", ".join(f"'{key}', CAST({arg} AS STRING)" for key, arg in zip("abc", args, strict=True))
        return _bind_name(f"named_struct({argument_fields})", "r", replace_sql)

    def write_url_encode(self, writer: SqlWriter, node: FunctionCall) -> str:
        """URL_ENCODE, as RFC 3986 has it: Java encodes for forms."""
        text = f"url_encode({writer.write_expression(node.args[0])})"
        return f"replace(replace(replace({text}, '+', '%20'), '*', '%2A'), '%7E', '~')"

    def write_regexp_extract(self, writer: SqlWriter, node: FunctionCall) -> str:
        """REGEXP_EXTRACT: NULL if nothing matches."""
        text, pattern, *group = (writer.write_expression(arg) for arg in node.args)
        if not group:
            return f"CASE WHEN regexp_like({text}, {pattern}) THEN regexp_extract({text}, {pattern}, 0) END"
        # a group that the pattern does not have is empty, and no error: nine that never match stand behind it
        return (
            f"CASE WHEN regexp_like({text}, {pattern}) THEN regexp_extract({text}, {pattern} || "
            f"'(?:[^\\\\s\\\\S]()()()()()()()()())?', {group[0]}) END"
        )

    def write_sexagesimal(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HMS_TO_DEGREES and IVO_DMS_TO_DEGREES."""
        text = self.write_once(writer.write_expression(node.args[0]), _write_sexagesimal)
        if node.name == "IVO_HMS_TO_DEGREES":
            return f"(15 * {text})"
        return text

    # one signature for all
    def write_string_aggregate(self, writer: SqlWriter, node: FunctionCall, order_clause: str = "") -> str:  # noqa: ARG002
        """IVO_STRING_AGG; always in the order of the texts, for rows come in any."""
        text, delimiter = (writer.write_expression(arg) for arg in node.args)
        return f"listagg({'DISTINCT ' if node.distinct else ''}{text}, {delimiter}) WITHIN GROUP (ORDER BY {text})"

    # --- numbers

    def write_random(self, writer: SqlWriter, node: FunctionCall) -> str:  # noqa: ARG002  (one signature for all)
        """RAND."""
        return "rand()"

    def write_round(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ROUND and TRUNCATE, with decimals that may be negative."""
        value = self.write_double(writer.write_expression(node.args[0]), node.args[0])
        if len(node.args) > 1:
            digits = writer.write_expression(node.args[1])
        else:
            digits = "0"
        if node.name == "ROUND":
            if len(node.args) > 1 and not require_meta(node.args[1]).constant:
                raise UnsupportedBySparkError("ROUND with a number of decimals that differs from row to row")
            return f"CAST(round({value}, CAST({digits} AS INT)) AS DOUBLE)"
        step = f"pow(10D, CAST({digits} AS DOUBLE))"
        return self.write_once(
            value,
            lambda v: f"(CASE WHEN {v} < 0 THEN -floor(-({v}) * {step}) ELSE floor({v} * {step}) END / {step})",
            "DOUBLE",
        )

    def write_average(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """AVG, in double."""
        text = self.write_double(writer.write_expression(node.args[0]), node.args[0])
        return f"avg({'DISTINCT ' if node.distinct else ''}{text}) {over_clause}".rstrip()

    def write_ordered_aggregate(self, aggregate_name: str, distinct: str, value_sql: str) -> str:
        """Write a sum or mean of numbers over them in order."""
        if aggregate_name not in {"sum", "avg"}:
            raise UnsupportedBySparkError("a deviation that may not depend on the order of rows")
        listed = f"array_sort({'collect_set' if distinct else 'collect_list'}({value_sql}))"
        total = f"aggregate({listed}, 0D, (p, x) -> p + x)"
        return (
            f"CASE WHEN count({value_sql}) > 0 THEN "
            f"{total}{'' if aggregate_name == 'sum' else f' / size({listed})'} END"
        )

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a function over a window; Spark has no DISTINCT there."""
        if node.distinct:
            raise UnsupportedBySparkError("DISTINCT over a window")
        return super().write_window(writer, node, over_clause)

    def write_histogram(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HISTOGRAM: how often each bin is met."""
        value, low, high = self.write_doubles(writer, node.args[:3])
        if not isinstance(node.args[3], Literal) or node.args[3].slot in writer.free_slots:
            raise UnsupportedBySparkError("a histogram whose number of bins is no constant")
        bins = int(node.args[3].value or 0)
        bin_ = (
            f"(CASE WHEN {value} IS NULL OR isnan({value}) OR {value} < {low} THEN 0 WHEN {value} >= {high} THEN {bins + 1}"
            f" ELSE least(1 + CAST(floor(({value} - {low}) / ({high} - {low}) * {bins}) AS INT), {bins}) END)"
        )
        bin_list = f"{'collect_set' if node.distinct else 'collect_list'}({bin_})"
        counts_sql = (
            f"aggregate({bin_list}, array_repeat(0, {bins + 2}), (n, b) -> transform(n, (x, i) -> x + CAST(i = b "
            f"AS INT)))"
        )
        if not node.distinct and bins <= 200:
            counts_sql = (
                "array(" + ", ".join(f"CAST(count_if({bin_} = {number}) AS INT)" for number in range(bins + 2)) + ")"
            )
        return f"CAST({counts_sql} AS ARRAY<INT>)"

    def write_add_months(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ADD_MONTHS: see `EngineDialect.write_add_months`."""
        time, months = (writer.write_expression(arg) for arg in node.args)
        if require_meta(node.args[0]).type.is_numeric:
            days = self.write_double(time, node.args[0])
            micros = (
                f"CAST(floor({days}) - 40587 AS BIGINT) * 86400000000L + CAST(round(({days} - floor({days})) * "
                f"864000000) AS BIGINT) * 100L"
            )
            time = (
                f"CASE WHEN {days} BETWEEN {MJD_RANGE_SQL} THEN CAST(timestamp_micros({micros}) AS TIMESTAMP_NTZ) END"
            )
        return (
            f"CASE WHEN {months} BETWEEN -12000 AND 12000 THEN ({time}) + make_ym_interval(0, CAST({months} AS "
            f"INT)) END"
        )

    # --- arrays

    def write_flat_array(self, writer: SqlWriter, node: Expr) -> str:
        """Write an array as one of doubles, or of 64 bits."""
        return (
            f"CAST({writer.write_expression(node)} AS "
            f"ARRAY<{'BIGINT' if Type(require_meta(node).type.datatype).is_integer else 'DOUBLE'}>)"
        )

    def write_array_function(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ARR_LENGTH, ARR_SUM and their like."""
        array = self.write_flat_array(writer, node.args[0])
        if array.endswith("BIGINT>)"):
            zero = "0L"
        else:
            zero = "0D"
        valid_elements = f"filter({array}, x -> x IS NOT NULL)"
        total = f"aggregate({valid_elements}, {zero}, (p, x) -> p + x)"
        mean = f"({total} / nullif(size({valid_elements}), 0))"
        text = {
            "ARR_LENGTH": f"size({array})",
            "ARR_COUNT": f"size({valid_elements})",
            "ARR_SUM": f"CASE WHEN size({valid_elements}) > 0 THEN {total} END",
            "ARR_AVG": mean,
            "ARR_MIN": f"array_min({array})",
            "ARR_MAX": f"array_max({array})",
            "ARR_STDDEV": (
                f"CASE WHEN size({valid_elements}) > 1 THEN sqrt(aggregate({valid_elements}, 0D, (p, x) -> p + "
                f"pow(x - {mean}, 2)) / (size({valid_elements}) - 1)) END"
            ),
        }[node.name]
        return f"CASE WHEN {array} IS NOT NULL THEN CAST({text} AS {self.write_type_name(require_meta(node).type)}) END"

    def write_dot_product(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ARR_DOT."""
        left_array, right_array = (f"CAST({writer.write_expression(arg)} AS ARRAY<DOUBLE>)" for arg in node.args)
        return (
            f"CASE WHEN size({left_array}) = size({right_array}) THEN aggregate(transform({left_array}, (x, i) -> "
            f"x * get({right_array}, i)), 0D, (p, x) -> p + x) END"
        )


def _escape_backslashes(pattern_sql: str) -> str:
    """Double the backslashes of a pattern."""
    return f"replace({pattern_sql}, '\\\\', '\\\\\\\\')"


def _write_sexagesimal(text_sql: str) -> str:
    """Write degrees of text; 60 as the last number is what rounding made of 59.99..: it carries over."""

    def write_pattern_case(pattern: str) -> str:
        sign, degrees_sql, minutes_sql, seconds_sql = (
            f"regexp_extract({text_sql}, '{pattern}', {group})" for group in range(1, 5)
        )
        minutes = f"TRY_CAST({minutes_sql} AS DOUBLE)"
        seconds = f"coalesce(TRY_CAST({seconds_sql} AS DOUBLE), 0D)"
        test = f"{minutes} < 60 + CAST({seconds_sql} = '' AS INT) AND {minutes} <= 60 AND {seconds} <= 60"
        value = (
            f"CASE WHEN {sign} = '-' THEN -1 ELSE 1 END * (TRY_CAST({degrees_sql} AS DOUBLE) + {minutes} / 60 + "
            f"{seconds} / 3600)"
        )
        return f"CASE WHEN {test} THEN {value} END"

    return (
        "CASE "
        + " ".join(
            f"WHEN regexp_like({text_sql}, '{pattern}') THEN {write_pattern_case(pattern)}"
            for pattern in _SEXAGESIMAL_PATTERNS
        )
        + " END"
    )


__all__ = ["SparkDialect", "UnsupportedBySparkError", "write_spark_type"]
