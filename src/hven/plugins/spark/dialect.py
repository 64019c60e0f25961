"""The dialect of Spark SQL 4 (ANSI mode, UTC, case-sensitive names): how types, functions and geometry are written.

It raises `UnsupportedByClusterError` for what Spark cannot compute.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import pyarrow as pa

from hven.adql import value_kinds
from hven.adql.syntax_tree import CastExpression, FunctionCall, Literal
from hven.adql.value_kinds import require_meta
from hven.engines.api.dialects import FUNCTION_TEMPLATES, MJD_RANGE_SQL, WHITESPACE_SQL
from hven.model.types import FLOAT64, ColumnType
from hven.plugins.hats.clusters import UnsupportedByClusterError
from hven.plugins.spark.cell_matches import CELL_COLUMN, PROBE_CELL_COLUMN, SPREAD_CELL_COLUMN, SPREAD_SUFFIX
from hven.plugins.spark.shape_dialect import SparkShapeDialect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BoundQuery, Expr, LikePredicate, TableRef

# A longer expression, which may contain others, is computed once; a shorter one is written several times.
MAX_REPEATED_CHARACTERS = 120
MAX_COUNTED_BINS = 200  # a histogram with more bins collects its values
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
# Sign, degrees or hours, minutes and seconds: with separators, and without.
_SEXAGESIMAL_PATTERNS = (
    (
        r"^\\s*([+-]?)\\s*(\\d{1,3})\\s*[:hHdD\\x{B0}\\s]\\s*(\\d{1,2}(?:\\.\\d*)?)\\s*"
        r"(?:[:mM\\x27\\x{2032}\\s]\\s*(\\d{1,2}(?:\\.\\d*)?)?\\s*[sS\\x22\\x{2033}]?)?\\s*$"
    ),
    r"^\\s*([+-]?)(\\d{2,3})(\\d{2})(\\d{2}(?:\\.\\d*)?)\\s*$",
)


def write_spark_type(arrow_type: pa.DataType) -> str:
    """Write an Arrow type as Spark names it.

    Raises
    ------
    UnsupportedByClusterError
        Spark has no such type, or cannot declare a column of it.
    """
    if pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        return f"ARRAY<{write_spark_type(arrow_type.value_type)}>"
    type_name = _SCALAR_TYPE_NAMES.get(arrow_type)
    if type_name is None:
        raise UnsupportedByClusterError(f"a value of the type {arrow_type}")
    return type_name


def _write_let_expression(value: str, name: str, expression: str) -> str:
    """Write an expression in which a name stands for a value that Spark computes once."""
    return f"get(transform(array({value}), {name} -> {expression}), 0)"


class SparkDialect(SparkShapeDialect):
    """The dialect of Spark SQL 4.

    Parameters
    ----------
    bound_query
        The query. Its tables are written as views ``r0``, ``r1`` .. (`view_names`).
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
        "IVO_HASHLIST_HAS": (
            "CASE WHEN {1} IS NOT NULL THEN CAST(array_contains(split(lower({0}), '#'), lower({1})) AS INT) END"
        ),
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
        # A double resolves 40 microseconds of a Julian date, so the result has tenths of a millisecond.
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

    def __init__(self, bound_query: BoundQuery) -> None:
        super().__init__(bound_query)
        self._columns_by_view = {
            self.view_names[table.qualified_name]: [column.name for column in table.columns]
            for table in bound_query.tables
        }

    # --- names and values

    def build_default_call_template(self, function_name: str) -> str:
        """Refuse a function that is not listed here; the embedded engine computes it."""
        raise UnsupportedByClusterError(function_name)

    def quote_identifier(self, name: str) -> str:
        """Quote an identifier with backticks."""
        return "`" + name.replace("`", "``").replace("\0", "") + "`"

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter."""
        if value is None or isinstance(value, bool | str):
            return f":p{number}"
        value_type = FLOAT64
        if isinstance(value, int):
            value_type = value_kinds.choose_integer_type(value)
        return f"CAST(:p{number} AS {self.write_type_name(value_type)})"

    def quote_string(self, value: str) -> str:
        """Write a string; in Spark a backslash begins an escape sequence."""
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"

    def write_number(self, value: float) -> str:
        """Write a number; Spark would read one with a point as a decimal."""
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

    def write_type_name(self, type_: ColumnType) -> str:
        """Write a type."""
        return write_spark_type(type_.arrow)

    def write_output_expression(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write a select item with exactly its declared type."""
        if isinstance(node, CastExpression) and require_meta(node).type == type_:
            return writer.write_expression(node)
        return self.write_case_branch(writer, node, type_)

    def write_case_branch(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write one of several values as their common type."""
        return self.write_cast(writer.write_expression(node), type_)

    # --- rows

    def write_table(self, writer: SqlWriter, node: TableRef) -> str:
        """Write a stored table; a table that is matched has a row for each cell that its circle may touch."""
        name = super().write_table(writer, node)
        if node.number in self.spread_matches:
            return self.name_spread_view(name)
        return name

    def write_permitted_rows_select(self, table: str, condition: str) -> str:
        """Write the rows that a reader may see, so that the query cannot reveal anything about the others.

        Spark tests conditions in any order, and an error would reveal hidden rows. Hidden values are therefore NULL.
        """
        if "SELECT" in condition:
            raise UnsupportedByClusterError("a row filter that reads another table")
        view_name = table.removesuffix(SPREAD_SUFFIX)
        column_names = []
        if view_name in self.cell_views:
            column_names.append(CELL_COLUMN)
        if view_name in self.probe_matches:
            column_names.append(PROBE_CELL_COLUMN)
        if view_name != table:
            column_names.append(SPREAD_CELL_COLUMN)
        column_names += self._columns_by_view[view_name]
        quoted_names = map(self.quote_identifier, column_names)
        items = [f"CASE WHEN {condition} THEN t0.{name} END AS {name}" for name in quoted_names]
        return f"SELECT {', '.join(items)} FROM {table} AS t0 WHERE {condition}"

    # --- operators

    def write_modulo(self, left_sql: str, right_sql: str, *, is_integer: bool) -> str:
        """Write a remainder; of the smallest whole number it is defined for -1, too."""
        if is_integer:
            return f"({left_sql} % nullif({right_sql}, 0))"
        return super().write_modulo(left_sql, right_sql, is_integer=is_integer)

    def write_like(self, writer: SqlWriter, node: LikePredicate) -> str:
        """Write LIKE or ILIKE, in which Spark would read a backslash as an escape."""
        pattern = writer.write_expression(node.pattern)
        is_constant = isinstance(node.pattern, Literal) and node.pattern.slot not in writer.free_slots
        if not is_constant or "\\" in str(node.pattern.value if isinstance(node.pattern, Literal) else ""):
            pattern = _escape_backslashes(pattern)
        operator = "ILIKE" if node.ignore_case else "LIKE"
        if node.negated:
            operator = f"NOT {operator}"
        return f"({writer.write_expression(node.operand)} {operator} {pattern})"

    def write_nocase_match(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_NOCASEMATCH."""
        text, pattern = (writer.write_expression(arg) for arg in node.args)
        return f"CAST({text} ILIKE {_escape_backslashes(pattern)} AS INT)"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element of an array, counted from 1; behind the last one it is NULL."""
        return f"CASE WHEN {index} BETWEEN 1 AND {_MAX_INT32} THEN get({array}, TRY_CAST({index} AS INT) - 1) END"

    # --- conversions

    def write_adql_cast(self, writer: SqlWriter, node: CastExpression) -> str:
        """Write ADQL's CAST."""
        target_type = require_meta(node).type
        source_kind = value_kinds.classify_type(require_meta(node.operand).type)
        if source_kind == "text" and value_kinds.classify_type(target_type) in {"point", "circle", "polygon"}:
            text = f"CAST({writer.write_expression(node.operand)} AS STRING)"
            words = f"split(btrim({text}, {WHITESPACE_SQL}), '[\\\\s,]+')"
            return self.write_shape_from_texts(words, target_type)
        return super().write_adql_cast(writer, node)

    def write_conversion(self, sql: str, value_kind: str, type_: ColumnType) -> str:
        """Write a conversion; whole numbers are rounded to the nearest, and halves to even ones."""
        if type_.is_integer and value_kind == "text":
            sql = f"rint(CAST({sql} AS DOUBLE))"
        elif type_.is_integer and value_kind == "number":
            sql = f"CASE WHEN typeof({sql}) IN ('double', 'float') THEN CAST(rint({sql}) AS BIGINT) ELSE {sql} END"
        elif value_kind == "text" and type_.is_timestamp:
            # The type without a zone would drop the offset of the text; sessions are in UTC.
            sql = f"CAST({sql} AS TIMESTAMP_LTZ)"
        return self.write_cast(sql, type_)

    def write_shape_from_texts(self, numbers_sql: str, type_: ColumnType) -> str:
        """Write a shape made from an array of texts."""
        size = type_.tap_schema_size
        if size is None:
            return self.write_cast(numbers_sql, type_)
        error_sql = self.raise_template.format(
            f"concat('the text has ', size(w), ' numbers, but such a shape has {size}')"
        )
        sized = f"CASE WHEN w IS NULL OR size(w) = {size} THEN w ELSE CAST({error_sql} AS ARRAY<STRING>) END"
        return self.write_cast(_write_let_expression(numbers_sql, "w", sized), type_)

    def write_computed_once(self, sql: str, write_value: Callable[[str], str], spark_type: str = "STRING") -> str:
        """Write SQL that contains an expression several times; Spark computes a long expression once."""
        if len(sql) <= MAX_REPEATED_CHARACTERS:
            return write_value(sql)
        return _write_let_expression(f"CAST({sql} AS {spark_type})", "v", write_value("v"))

    def write_float_text(self, sql: str, type_: ColumnType) -> str:  # noqa: ARG002  (one signature for all)
        """Write a floating-point number as text, as the other engines do.

        Java writes ``1.0E7`` and ``NaN``.
        """
        return self.write_computed_once(f"CAST({sql} AS STRING)", self.write_c_number_text)

    def write_c_number_text(self, java_text: str) -> str:
        """Write Java's text of a number as C writes it: ``10000000.0``, ``1e+16``, ``1e-05``, ``nan``."""
        decimal_template = "regexp_replace(CAST(CAST({0} AS DECIMAL(38, {1})) AS STRING), '(\\\\.\\\\d+?)0+$', '$1')"
        exponent_sql = f"regexp_replace(regexp_replace({java_text}, '\\\\.0E', 'E'), 'E(\\\\d)', 'e+$1')"
        exponent_sql = f"replace(regexp_replace({exponent_sql}, 'E-(\\\\d)$', 'e-0$1'), 'E-', 'e-')"
        plain_sql = f"replace(replace({java_text}, 'Infinity', 'inf'), 'NaN', 'nan')"
        return (
            f"CASE WHEN NOT contains({java_text}, 'E') THEN {plain_sql}"
            f" WHEN regexp_like({java_text}, 'E(1[0-5]|\\\\d)$') THEN {decimal_template.format(java_text, 15)}"
            f" WHEN endswith({java_text}, 'E-4') THEN {decimal_template.format(java_text, 30)} ELSE {exponent_sql} END"
        )

    def write_array_as_text(self, array_sql: str, type_: ColumnType) -> str:
        """Write an array as text."""
        if type_.datatype in {"double", "float", "doubleComplex", "floatComplex"}:
            return (
                f"array_join(transform(CAST({array_sql} AS ARRAY<STRING>), s -> {self.write_c_number_text('s')}), ' ')"
            )
        return f"array_join(CAST({array_sql} AS ARRAY<STRING>), ' ')"

    # --- texts: the length is computed before the text is built

    def _write_too_long_error(self) -> str:
        error_sql = self.raise_template.format(f"'a text of more than {self.max_text_bytes} bytes would be built'")
        return f"CAST({error_sql} AS STRING)"

    def write_concatenation(self, parts: list[str]) -> str:
        """Write a concatenation of texts, with a check of its length."""
        plain_sql = super().write_concatenation(parts)
        if not any("`" in part for part in parts):  # without a column the text is as long as its constants
            return plain_sql
        if max(map(len, parts)) > MAX_REPEATED_CHARACTERS:
            size = "aggregate(l, 0L, (n, s) -> n + octet_length(s))"
            joined = (
                f"CASE WHEN {size} > {self.max_text_bytes} THEN {self._write_too_long_error()} WHEN NOT "
                f"array_contains(transform(l, s -> s IS NULL), true) THEN array_join(l, '') END"
            )
            part_list = ", ".join(f"CAST({part} AS STRING)" for part in parts)
            return _write_let_expression(f"array({part_list})", "l", joined)
        size = " + ".join(f"octet_length({part})" for part in parts if part != "NULL") or "0"
        return f"CASE WHEN {size} > {self.max_text_bytes} THEN {self._write_too_long_error()} ELSE {plain_sql} END"

    def write_concat(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CONCAT, which converts its arguments to text and leaves out NULL."""
        texts = [self.write_as_text(writer.write_expression(arg), arg) for arg in node.args]
        return f"concat_ws('', {', '.join(texts)})"

    def write_replace(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write REPLACE or REGEXP_REPLACE.

        The length of the result is counted only if it could be too large with a match at every character.
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
            # Java writes groups of the pattern as $1.
            replaced = (
                f"regexp_replace({s}, {pattern_sql}, regexp_replace(replace({replacement_sql}, '$', '\\\\$'), "
                f"'\\\\\\\\(\\\\d)', '\\\\$$1'))"
            )
            test = (
                f"octet_length({s}) + CAST(1 + octet_length({s}) AS BIGINT) * octet_length({replacement_sql}) > 4 "
                f"* {self.max_text_bytes}"
            )
        replace_sql = f"CASE WHEN {test} THEN {self._write_too_long_error()} ELSE {replaced} END"
        if is_short:
            return replace_sql
        argument_fields = ", ".join(f"'{key}', CAST({arg} AS STRING)" for key, arg in zip("abc", args, strict=True))
        return _write_let_expression(f"named_struct({argument_fields})", "r", replace_sql)

    def write_url_encode(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write URL_ENCODE as in RFC 3986; Java encodes for forms."""
        text = f"url_encode({writer.write_expression(node.args[0])})"
        return f"replace(replace(replace({text}, '+', '%20'), '*', '%2A'), '%7E', '~')"

    def write_regexp_extract(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write REGEXP_EXTRACT, which is NULL if nothing matches."""
        text, pattern, *group = (writer.write_expression(arg) for arg in node.args)
        if not group:
            return f"CASE WHEN regexp_like({text}, {pattern}) THEN regexp_extract({text}, {pattern}, 0) END"
        # Nine more groups, which never match, make a group that the pattern does not have empty and not an error.
        return (
            f"CASE WHEN regexp_like({text}, {pattern}) THEN regexp_extract({text}, {pattern} || "
            f"'(?:[^\\\\s\\\\S]()()()()()()()()())?', {group[0]}) END"
        )

    def write_sexagesimal(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_HMS_TO_DEGREES or IVO_DMS_TO_DEGREES."""
        text = self.write_computed_once(writer.write_expression(node.args[0]), _write_sexagesimal_degrees)
        if node.name == "IVO_HMS_TO_DEGREES":
            return f"(15 * {text})"
        return text

    def write_string_aggregate(
        self,
        writer: SqlWriter,
        node: FunctionCall,
        order_clause: str = "",  # noqa: ARG002  (one signature for all)
    ) -> str:
        """Write IVO_STRING_AGG, always in the order of the texts, because rows come in any order."""
        text, delimiter = (writer.write_expression(arg) for arg in node.args)
        distinct = "DISTINCT " if node.distinct else ""
        return f"listagg({distinct}{text}, {delimiter}) WITHIN GROUP (ORDER BY {text})"

    # --- numbers

    def write_random(self, writer: SqlWriter, node: FunctionCall) -> str:  # noqa: ARG002  (one signature for all)
        """Write RAND."""
        return "rand()"

    def write_round_or_truncate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write ROUND or TRUNCATE; the number of decimals may be negative."""
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        if len(node.args) > 1:
            digits = writer.write_expression(node.args[1])
        else:
            digits = "0"
        if node.name == "ROUND":
            if len(node.args) > 1 and not require_meta(node.args[1]).constant:
                raise UnsupportedByClusterError("ROUND with a number of decimals that differs from row to row")
            return f"CAST(round({value}, CAST({digits} AS INT)) AS DOUBLE)"
        step = f"pow(10D, CAST({digits} AS DOUBLE))"
        return self.write_computed_once(
            value,
            lambda v: f"(CASE WHEN {v} < 0 THEN -floor(-({v}) * {step}) ELSE floor({v} * {step}) END / {step})",
            "DOUBLE",
        )

    def write_average(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """Write AVG, computed in double precision."""
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        distinct = "DISTINCT " if node.distinct else ""
        return f"avg({distinct}{value}) {over_clause}".rstrip()

    def write_ordered_aggregate(self, aggregate_name: str, distinct: str, value_sql: str) -> str:
        """Write a sum or mean that does not depend on the order of rows, because it adds the numbers in order."""
        if aggregate_name not in {"sum", "avg"}:
            raise UnsupportedByClusterError(
                "a standard deviation or variance that must not depend on the order of rows"
            )
        collect_function = "collect_set" if distinct else "collect_list"
        sorted_values = f"array_sort({collect_function}({value_sql}))"
        result = f"aggregate({sorted_values}, 0D, (p, x) -> p + x)"
        if aggregate_name == "avg":
            result += f" / size({sorted_values})"
        return f"CASE WHEN count({value_sql}) > 0 THEN {result} END"

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a function over a window; Spark does not allow DISTINCT there."""
        if node.distinct:
            raise UnsupportedByClusterError("DISTINCT over a window")
        return super().write_window(writer, node, over_clause)

    def write_histogram(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_HISTOGRAM, which counts the values of each bin."""
        value, low, high = self.write_doubles(writer, node.args[:3])
        bins_literal = node.args[3]
        if not isinstance(bins_literal, Literal) or bins_literal.slot in writer.free_slots:
            raise UnsupportedByClusterError("a histogram whose number of bins is not a constant")
        bins = int(bins_literal.value or 0)
        inner_bin = f"least(1 + CAST(floor(({value} - {low}) / ({high} - {low}) * {bins}) AS INT), {bins})"
        bin_sql = (
            f"(CASE WHEN {value} IS NULL OR isnan({value}) OR {value} < {low} THEN 0 "
            f"WHEN {value} >= {high} THEN {bins + 1} ELSE {inner_bin} END)"
        )
        if not node.distinct and bins <= MAX_COUNTED_BINS:
            bin_counts = [f"CAST(count_if({bin_sql} = {number}) AS INT)" for number in range(bins + 2)]
            counts_sql = f"array({', '.join(bin_counts)})"
        else:
            collect_function = "collect_set" if node.distinct else "collect_list"
            add_value = "(n, b) -> transform(n, (x, i) -> x + CAST(i = b AS INT))"
            counts_sql = f"aggregate({collect_function}({bin_sql}), array_repeat(0, {bins + 2}), {add_value})"
        return f"CAST({counts_sql} AS ARRAY<INT>)"

    def write_add_months(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write ADD_MONTHS; see `EngineDialect.write_add_months`."""
        time, months = (writer.write_expression(arg) for arg in node.args)
        if require_meta(node.args[0]).type.is_numeric:
            days = self.write_as_double(time, node.args[0])
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

    def write_64_bit_array(self, writer: SqlWriter, node: Expr) -> str:
        """Write an array as an array of doubles, or of 64-bit whole numbers."""
        element_type = "DOUBLE"
        if ColumnType(require_meta(node).type.datatype).is_integer:
            element_type = "BIGINT"
        return f"CAST({writer.write_expression(node)} AS ARRAY<{element_type}>)"

    def write_array_function(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write ARR_LENGTH, ARR_SUM and similar functions."""
        array = self.write_64_bit_array(writer, node.args[0])
        zero = "0D"
        if array.endswith("BIGINT>)"):
            zero = "0L"
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
        """Write ARR_DOT."""
        left_array, right_array = (f"CAST({writer.write_expression(arg)} AS ARRAY<DOUBLE>)" for arg in node.args)
        return (
            f"CASE WHEN size({left_array}) = size({right_array}) THEN aggregate(transform({left_array}, (x, i) -> "
            f"x * get({right_array}, i)), 0D, (p, x) -> p + x) END"
        )


def _escape_backslashes(pattern_sql: str) -> str:
    """Double the backslashes of a pattern."""
    return f"replace({pattern_sql}, '\\\\', '\\\\\\\\')"


def _write_sexagesimal_degrees(text_sql: str) -> str:
    """Write the degrees of a text; 60 as the last number is a rounded 59.99.., and carries over."""
    cases = [
        f"WHEN regexp_like({text_sql}, '{pattern}') THEN {_write_sexagesimal_value(text_sql, pattern)}"
        for pattern in _SEXAGESIMAL_PATTERNS
    ]
    return f"CASE {' '.join(cases)} END"


def _write_sexagesimal_value(text_sql: str, pattern: str) -> str:
    sign, degrees_sql, minutes_sql, seconds_sql = (
        f"regexp_extract({text_sql}, '{pattern}', {group})" for group in range(1, 5)
    )
    minutes = f"TRY_CAST({minutes_sql} AS DOUBLE)"
    seconds = f"coalesce(TRY_CAST({seconds_sql} AS DOUBLE), 0D)"
    is_valid = f"{minutes} < 60 + CAST({seconds_sql} = '' AS INT) AND {minutes} <= 60 AND {seconds} <= 60"
    value = (
        f"CASE WHEN {sign} = '-' THEN -1 ELSE 1 END * (TRY_CAST({degrees_sql} AS DOUBLE) + {minutes} / 60 + "
        f"{seconds} / 3600)"
    )
    return f"CASE WHEN {is_valid} THEN {value} END"
