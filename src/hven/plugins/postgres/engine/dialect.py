"""The SQL dialect of PostgreSQL: how types, functions and geometry are written.

Beside SQL it needs the functions that `schema_installation` installs.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from hven.adql import value_kinds
from hven.adql.sql_writer import MIN_CHAIN_LINKS
from hven.adql.syntax_tree import CastExpression, FunctionCall, LiteralList, split_conjuncts
from hven.adql.value_kinds import require_meta
from hven.engines.api.dialects import FUNCTION_TEMPLATES
from hven.model.errors import EvaluationError
from hven.model.types import FLOAT64
from hven.plugins.postgres.engine.shape_dialect import PostgresShapeDialect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import Comparison, Expr, InPredicate, LikePredicate, TableRef
    from hven.model.types import ColumnType
    from hven.plugins.postgres.engine.position_search import TableReferenceWriter

_MICROSECONDS_SQL = "CAST(extract(epoch FROM {0}) * 1000000 AS bigint)"
_JD_SQL = f"(CAST(2440587.5 AS double precision) + {_MICROSECONDS_SQL} / CAST(86400000000 AS double precision))"
_MJD_SQL = f"(CAST(40587 AS double precision) + {_MICROSECONDS_SQL} / CAST(86400000000 AS double precision))"
_SPLIT_WORDS_SQL = "regexp_split_to_array({}, '[^[:alnum:]]+')"
# The SQL goes letter by letter, and encodes each byte of a letter that an address must not have.
_URL_ENCODE_SQL = (
    "(SELECT string_agg(CASE WHEN c ~ '^[A-Za-z0-9._~-]$' THEN c "
    "ELSE regexp_replace(upper(encode(convert_to(c, 'UTF8'), 'hex')), '(..)', chr(37) || '\\1', 'g') END, '' "
    "ORDER BY n) FROM regexp_split_to_table({0}, '') WITH ORDINALITY AS letters(c, n))"
)
_DOUBLE_ARGUMENT = "CAST({0} AS double precision)"
# A constant, or a collation, whose name has quotes like that of a column.
_CONSTANT_PATTERN = re.compile(r"""'(?:[^']|'')*'|COLLATE "[^"]*\"""")
# A longer expression (without its constants) may contain others and is computed once; a shorter one is written twice.
MAX_REPEATED_CHARACTERS = 200
MAX_AGGREGATED_TEXT_BYTES = 128 << 20  # of a text joined from rows; PostgreSQL itself stops only at 1 GB


def _write_longitude_360(longitude_sql: str) -> str:
    """Write a longitude as one from 0 up to 360."""
    return f"({longitude_sql} - 360 * floor(({longitude_sql}) / 360))"


_STORAGE_TYPES = {
    "boolean": "boolean",
    "bit": "boolean",
    "unsignedByte": "smallint",
    "short": "smallint",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "floatComplex": "real[]",
    "doubleComplex": "double precision[]",
    "char": "text",
    "unicodeChar": "text",
}


def get_storage_type(column_type: ColumnType) -> str:
    """Return the PostgreSQL type of a stored column; shapes are arrays of numbers, MOCs and regions are text."""
    if column_type.is_timestamp:
        return "timestamp"
    is_shape = column_type.stored_xtype is not None and not column_type.is_string
    datatype = column_type.datatype
    if is_shape and datatype not in {"float", "int", "short", "long"}:
        datatype = "double"
    element_type = _STORAGE_TYPES[datatype]
    if column_type.is_array or is_shape:
        return f"{element_type}[]"
    return element_type


class PostgresDialect(PostgresShapeDialect):
    """The dialect of PostgreSQL 14 to 17.

    Parameters
    ----------
    table_writer
        Writes table references, and the additional conditions that a position index serves.
    case_collation
        Name of a collation that knows upper and lower case of all letters; ``C`` knows those of ASCII.
    uses_settings
        True: parameters are settings of the transaction (``hven.p1`` ..), because COPY takes no others. False: they
        are ``$1`` ..
    allows_extra_rows
        True: the query may return more rows than asked for, and WHERE has only the conditions that PostgreSQL computes.
    """

    name = "postgres"
    text_type = "text"
    functions: ClassVar[Mapping[str, str]] = {
        **FUNCTION_TEMPLATES,
        "EXP": "hven_exp({0})",
        "POWER": "hven_power({0}, {1})",
        "AVG": ".write_average",
        "MIN": ".write_min_or_max",
        "MAX": ".write_min_or_max",
        "MEDIAN": ".write_median",
        "LOWER": ".write_lower_or_upper",
        "UPPER": ".write_lower_or_upper",
        "IVO_HASHLIST_HAS": ".write_hashlist_has",
        "IVO_NOCASEMATCH": ".write_nocase_match",
        "IVO_HASWORD": ".write_has_word",
        "IVO_HEALPIX_CENTER": "hven_healpix_center(CAST({0} AS integer), CAST({1} AS bigint))",
        "IVO_TO_JD": _JD_SQL,
        "IVO_TO_MJD": _MJD_SQL,
        "GAVO_TO_JD": _JD_SQL,
        "GAVO_TO_MJD": _MJD_SQL,
        "JD": _JD_SQL,
        "MJD": _MJD_SQL,
        "GAVO_GETAUTHORITY": "substring({0} from '(?i)^ivo://([^/?#]+)')",
        "GAVO_MATCH": "CAST({1} ~ {0} AS INTEGER)",
        "REGEXP_MATCH": "CAST({0} ~ {1} AS INTEGER)",
        "ISO": f"hven_iso({_DOUBLE_ARGUMENT})",
        "REPLACE": ".write_text_replacement",
        "REGEXP_REPLACE": ".write_text_replacement",
        "SPLIT_PART": "split_part({0}, {1}, CAST({2} AS integer))",
        "URL_ENCODE": _URL_ENCODE_SQL,
        "LIGHT_TIME": f"({_DOUBLE_ARGUMENT} / CAST(299792.458 AS double precision))",
        "LON_360": (
            f"CASE WHEN {_DOUBLE_ARGUMENT} >= 0 AND {_DOUBLE_ARGUMENT} <= 360 THEN {_DOUBLE_ARGUMENT} ELSE "
            f"{_write_longitude_360(_DOUBLE_ARGUMENT)} END"
        ),
        "LON_180": (
            f"CASE WHEN {_DOUBLE_ARGUMENT} >= -180 AND {_DOUBLE_ARGUMENT} <= 180 THEN {_DOUBLE_ARGUMENT} ELSE "
            f"{_write_longitude_360(_DOUBLE_ARGUMENT + ' + 180')} - 180 END"
        ),
        "EAST_LON": _write_longitude_360("-" + _DOUBLE_ARGUMENT),
    }

    def __init__(
        self,
        table_writer: TableReferenceWriter,
        *,
        case_collation: str = "C",
        uses_settings: bool = False,
        allows_extra_rows: bool = False,
    ) -> None:
        super().__init__()
        self.table_writer = table_writer
        self.case_collation = case_collation
        self.uses_settings = uses_settings
        self.allows_extra_rows = allows_extra_rows

    def finish_sql(self, sql: str) -> str:
        """Return the SQL text unchanged."""
        return sql

    def write_condition(self, writer: SqlWriter, node: Expr) -> str:
        """Write the condition of a WHERE clause."""
        if self.allows_extra_rows:
            return " AND ".join(self._iterate_supported_conditions(writer, node)) or "TRUE"
        return super().write_condition(writer, node)

    def _iterate_supported_conditions(self, writer: SqlWriter, node: Expr) -> Iterator[str]:
        for part in split_conjuncts(node):
            # If a part cannot be written, its parameters and placeholders are withdrawn together.
            parameters_before, numbers = list(writer.parameter_slots), dict(writer._placeholder_numbers)  # noqa: SLF001
            try:
                yield self.finish_sql(writer.write_expression(part))
            except UnsupportedByPostgresError:
                writer.parameter_slots, writer._placeholder_numbers = parameters_before, numbers  # noqa: SLF001

    # --- values

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter with its type; the value itself travels as text."""
        if isinstance(value, str):
            return f'({self.write_parameter(number)}::text COLLATE "C")'
        if isinstance(value, bool):
            type_name = "boolean"
        elif isinstance(value, int):
            type_name = get_storage_type(value_kinds.choose_integer_type(value))
        else:
            type_name = get_storage_type(FLOAT64)
        return f"{self.write_parameter(number)}::{type_name}"

    def write_parameter(self, parameter_number: int) -> str:
        """Write a parameter without a type."""
        if self.uses_settings:
            return f"current_setting('hven.p{parameter_number}')"
        return f"${parameter_number}"

    def quote_string(self, value: str) -> str:
        """Write a string."""
        if "\0" in value:
            raise EvaluationError("no table of this service contains a string with a NUL character")
        return f'({super().quote_string(value)}::text COLLATE "C")'

    def write_number(self, value: float) -> str:
        """Write a number; one with a point or exponent needs a cast, for PostgreSQL would read it as numeric."""
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return super().write_number(value)
        return f"CAST('{float(value)!r}' AS double precision)"

    def write_type_name(self, type_: ColumnType) -> str:
        """Write a type."""
        return get_storage_type(type_)

    def write_output_expression(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write a select item with exactly its declared type."""
        if isinstance(node, CastExpression) and require_meta(node).type == type_:
            return writer.write_expression(node)
        return self.write_case_branch(writer, node, type_)

    def write_case_branch(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write one of several values as their common type."""
        text = writer.write_expression(node)
        node_type = require_meta(node).type
        is_fractional = value_kinds.classify_type(node_type) == "number" and not node_type.is_integer
        if type_.is_integer and is_fractional:
            text = f"CAST({text} AS double precision)"
        return self.write_cast(text, type_)

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Write a comparison; ``DISTANCE(..) < r`` gets an additional condition that an index serves."""
        exact_condition = super().write_comparison(writer, node)
        index_condition = self.table_writer.write_distance_index_condition(self, writer, node)
        if not index_condition:
            return exact_condition
        return f"({index_condition} AND {exact_condition})"

    def write_in(self, writer: SqlWriter, node: InPredicate) -> str:
        """Write IN; a long list becomes one array, which PostgreSQL hashes or looks up in an index.

        PostgreSQL would read each value of a list by itself. The array is a constant of the text and not a parameter,
        because PostgreSQL hashes only arrays that it knows when it plans the query.
        """
        if not isinstance(node.choices, LiteralList) or len(node.choices) < MIN_CHAIN_LINKS:
            return super().write_in(writer, node)
        element_type, array_text = format_postgres_array(node.choices.values)
        escaped_text = array_text.replace("'", "''")
        array_sql = f"'{escaped_text}'::{element_type}[]"
        operand = writer.write_expression(node.operand)
        if node.negated:  # PostgreSQL 14 does not hash <> ALL
            return f"({operand} NOT IN (SELECT unnest({array_sql})))"
        return f"({operand} = ANY ({array_sql}))"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element of an array, counted from 1; behind the last one it is NULL."""
        return f"({array})[CASE WHEN {index} BETWEEN 1 AND 2147483647 THEN CAST({index} AS integer) END]"

    def write_like(self, writer: SqlWriter, node: LikePredicate) -> str:
        """Write LIKE, which has no escape character in ADQL, and ILIKE."""
        text = writer.write_expression(node.operand)
        pattern = writer.write_expression(node.pattern)
        operator = "LIKE"
        if node.ignore_case:
            operator = "ILIKE"
            text = self.write_case_collation(text)
            pattern = self.write_case_collation(pattern)
        if node.negated:
            operator = f"NOT {operator}"
        return f"({text} {operator} {pattern} ESCAPE '')"

    def write_table(self, writer: SqlWriter, node: TableRef) -> str:
        """Write a stored table, restricted to the rows that an index finds if possible."""
        return self.table_writer.write_table(self, writer, node, super().write_table(writer, node))

    def is_already_filtered(self, node: TableRef) -> bool:
        """Check whether the rows are a copy of those that the reader may see."""
        return self.table_writer.is_already_filtered(node)

    def write_permitted_rows_select(self, table: str, condition: str) -> str:
        """Write the rows that a reader may see, so that the query cannot reveal anything about the others.

        PostgreSQL moves no condition of the query below OFFSET.
        """
        permitted_rows = super().write_permitted_rows_select(table, condition)
        if self.table_writer.needs_fence:
            permitted_rows += " OFFSET 0"
        return permitted_rows

    # --- parts of expressions

    def write_modulo(self, left_sql: str, right_sql: str, *, is_integer: bool) -> str:
        """Write a remainder; PostgreSQL has an operator for whole numbers only."""
        if is_integer:
            return super().write_modulo(left_sql, right_sql, is_integer=is_integer)
        return f"hven_remainder(CAST({left_sql} AS double precision), CAST({right_sql} AS double precision))"

    def write_conversion(self, sql: str, value_kind: str, type_: ColumnType) -> str:
        """Write a conversion; text becomes a whole number by way of any number, and booleans become 1 and 0."""
        target_kind = value_kinds.classify_type(type_)
        if value_kind == "number" and target_kind == "boolean":
            return f"({sql} <> 0)"
        if value_kind == "text" and type_.is_integer:
            sql = f"CAST({sql} AS numeric)"
        elif value_kind == "boolean" and target_kind == "number":
            sql = f"CAST({sql} AS integer)"
        elif value_kind == "text" and type_.is_timestamp:
            # The type without a zone would drop the offset of the text; sessions are in UTC.
            sql = f"CAST({sql} AS timestamptz)"
        return self.write_cast(sql, type_)

    def write_shape_from_texts(self, numbers_sql: str, type_: ColumnType) -> str:
        """Write a shape made from an array of texts."""
        if type_.tap_schema_size is not None:
            numbers_sql = f"hven_sized({numbers_sql}, {type_.tap_schema_size})"
        return self.write_cast(numbers_sql, type_)

    def write_float_text(self, sql: str, type_: ColumnType) -> str:
        """Write a floating-point number as text."""
        return f"hven_number(CAST({sql} AS {get_storage_type(type_)}))"

    def write_array_as_text(self, array_sql: str, type_: ColumnType) -> str:
        """Write an array as text."""
        if type_.datatype in {"double", "float"}:
            return (
                f"(SELECT string_agg(hven_number(x), ' ' ORDER BY n) FROM unnest({array_sql}) WITH ORDINALITY AS "
                f"u(x, n))"
            )
        return f"array_to_string({array_sql}, ' ')"

    # --- text: the length is computed before the text is built, with the messages of the embedded engine

    def write_concatenation(self, parts: list[str]) -> str:
        """Write a concatenation of texts, with a check of its length."""
        plain_sql = super().write_concatenation(parts)
        parts_without_constants = [_CONSTANT_PATTERN.sub("", part) for part in parts]
        # Expressions of a descriptor have no limit, and without a column the text is as long as its constants.
        reads_column = any('"' in part for part in parts_without_constants)
        if not self.max_text_bytes or not reads_column:
            return plain_sql
        if max(map(len, parts_without_constants)) > MAX_REPEATED_CHARACTERS:
            return f"hven_joined({self.max_text_bytes}, CAST(ARRAY[{', '.join(parts)}] AS text[]))"
        part_sizes = [
            f"{count}::bigint * octet_length({part})" for part, count in Counter(parts).items() if part != "NULL"
        ]
        size_sql = " + ".join(part_sizes)
        too_long_sql = f"hven_longer({size_sql}, {self.max_text_bytes})"
        return f"CASE WHEN {size_sql} > {self.max_text_bytes} THEN {too_long_sql} ELSE {plain_sql} END"

    def write_text_replacement(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write REPLACE or REGEXP_REPLACE."""
        args = [writer.write_expression(arg) for arg in node.args]
        if not self.max_text_bytes:
            return FUNCTION_TEMPLATES[node.name].replace("{*}", ", ".join(args)).format(*args)
        return f"hven_{node.name.lower()}({', '.join(args)}, {self.max_text_bytes})"

    def write_string_aggregate(self, writer: SqlWriter, node: FunctionCall, order_clause: str = "") -> str:
        """Write IVO_STRING_AGG beside a sum of lengths, which stops both if it becomes too large."""
        arguments_sql = ", ".join(writer.write_expression(arg) for arg in node.args)
        joined_sql = super().write_string_aggregate(writer, node, order_clause)
        return self.write_length_limited_aggregate(arguments_sql, joined_sql)

    def write_length_limited_aggregate(self, arguments_sql: str, joined_sql: str) -> str:
        """Write joined texts beside a sum of their lengths."""
        return f"CASE WHEN hven_room({arguments_sql}, {MAX_AGGREGATED_TEXT_BYTES}) IS NOT NULL THEN {joined_sql} END"

    def build_default_call_template(self, function_name: str) -> str:  # noqa: ARG002  (one signature for all)
        """Leave a function that is not listed here to the embedded engine."""
        return ".raise_unsupported"

    def raise_unsupported(self, writer: SqlWriter, node: Expr) -> str:  # noqa: ARG002  (one signature for all)
        """Refuse an expression that the embedded engine must compute."""
        raise UnsupportedByPostgresError(node.name if isinstance(node, FunctionCall) else "this")

    def write_case_collation(self, sql: str) -> str:
        """Write text with a collation that knows upper and lower case of all letters."""
        return f'({sql}) COLLATE "{self.case_collation}"'

    def write_round_or_truncate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write ROUND or TRUNCATE; the number of decimals may be negative."""
        function_name = "hven_round" if node.name == "ROUND" else "hven_truncate"
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        digits = "0"
        if len(node.args) > 1:
            digits = f"CAST({writer.write_expression(node.args[1])} AS integer)"
        return f"{function_name}({value}, {digits})"

    def write_average(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """Write AVG, computed in double precision."""
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        distinct = "DISTINCT " if node.distinct else ""
        return f"avg({distinct}{value}) {over_clause}".rstrip()

    def write_min_or_max(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """Write MIN or MAX; for booleans, which PostgreSQL does not have, as a conjunction or disjunction."""
        argument = node.args[0]
        function_name = node.name.lower()
        if value_kinds.classify_type(require_meta(argument).type) == "boolean":
            function_name = "bool_and" if node.name == "MIN" else "bool_or"
        return f"{function_name}({writer.write_expression(argument)}) {over_clause}".rstrip()

    def write_median(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write MEDIAN."""
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        return f"percentile_cont(0.5) WITHIN GROUP (ORDER BY {value})"

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a function over a window; PostgreSQL has neither MEDIAN nor DISTINCT there."""
        if node.distinct or node.name == "MEDIAN":
            return self.raise_unsupported(writer, node)
        return super().write_window(writer, node, over_clause)

    def write_lower_or_upper(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write LOWER or UPPER."""
        text = f"{node.name.lower()}({self.write_case_collation(writer.write_expression(node.args[0]))})"
        if node.name == "UPPER":
            return f"(replace({text}, 'ß', 'ẞ') COLLATE \"C\")"
        return f'({text} COLLATE "C")'

    def write_hashlist_has(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_HASHLIST_HAS; an empty text is a list of one item, as in the other engines."""
        list_sql, item_sql = (f"lower({self.write_case_collation(writer.write_expression(arg))})" for arg in node.args)
        return f"CAST({item_sql} = ANY(regexp_split_to_array({list_sql}, '#')) AS INTEGER)"

    def write_nocase_match(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_NOCASEMATCH."""
        left_sql, right_sql = (self.write_case_collation(writer.write_expression(arg)) for arg in node.args)
        return f"CAST({left_sql} ILIKE {right_sql} ESCAPE '' AS INTEGER)"

    def write_has_word(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_HASWORD: all words of the second text are among those of the first."""
        text, words_sql = (
            _SPLIT_WORDS_SQL.format(f"lower({self.write_case_collation(writer.write_expression(arg))})")
            for arg in node.args
        )
        return f"CAST({text} @> array_remove({words_sql}, '') AS INTEGER)"

    def write_histogram(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_HISTOGRAM, which counts the values of each bin."""
        value, low, high = self.write_doubles(writer, node.args[:3])
        bins = f"CAST({writer.write_expression(node.args[3])} AS integer)"
        distinct = "DISTINCT " if node.distinct else ""
        histogram_sql = f"hven_histogram({distinct}hven_bin({value}, {low}, {high}, {bins}), {bins})"
        return f"coalesce({histogram_sql}, array_fill(0, ARRAY[{bins} + 2]))"


def format_postgres_array(values: Sequence[float] | Sequence[str]) -> tuple[str, str]:
    """Return the element type and the text of an array of constants, as PostgreSQL reads it."""
    first_value = values[0]
    if isinstance(first_value, str):
        escaped_values = (
            str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\ufffe") for value in values
        )
        return "text", '{"' + '","'.join(escaped_values) + '"}'
    if isinstance(first_value, int) and min(values) >= -(2**63) and max(values) < 2**63:  # type: ignore[operator]
        return "bigint", "{" + ",".join(map(str, values)) + "}"
    number_texts = [repr(float(value)) for value in values]
    return "double precision", "{" + ",".join(number_texts) + "}"


class UnsupportedByPostgresError(Exception):
    """A function that PostgreSQL does not compute."""
