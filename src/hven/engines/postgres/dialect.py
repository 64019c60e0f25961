"""PostgreSQL's dialect: how it writes types, functions and geometry.

What it needs beside SQL are the functions of `install`.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from hven.adql import value_kinds
from hven.adql.sql_writer import MIN_CHAIN_LINKS
from hven.adql.syntax_tree import Cast, FunctionCall, LiteralList, split_conjuncts
from hven.adql.value_kinds import require_meta
from hven.engines._dialect import FUNCTION_TEMPLATES
from hven.engines.postgres.shapes import PostgresShapeDialect
from hven.model.errors import EvaluationError
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import Comparison, Expr, InPredicate, LikePredicate, TableRef
    from hven.engines.postgres.position_search import TableReferenceWriter
    from hven.model.types import Type

_MICROSECONDS_SQL = "CAST(extract(epoch FROM {0}) * 1000000 AS bigint)"
_JD_SQL = f"(CAST(2440587.5 AS double precision) + {_MICROSECONDS_SQL} / CAST(86400000000 AS double precision))"
_MJD_SQL = f"(CAST(40587 AS double precision) + {_MICROSECONDS_SQL} / CAST(86400000000 AS double precision))"
_SPLIT_WORDS_SQL = "regexp_split_to_array({}, '[^[:alnum:]]+')"
# letter by letter, and of a letter that no address may have each byte
_URL_ENCODE_SQL = (
    "(SELECT string_agg(CASE WHEN c ~ '^[A-Za-z0-9._~-]$' THEN c ELSE regexp_replace(upper(encode(convert_to(c, 'UTF8'), 'hex')), '(..)', chr(37) || '\\1', 'g') END, '' ORDER BY n)"
    " FROM regexp_split_to_table({0}, '') WITH ORDINALITY AS letters(c, n))"
)
_DOUBLE_ARGUMENT = "CAST({0} AS double precision)"
_CONSTANT_PATTERN = re.compile(
    r"""'(?:[^']|'')*'|COLLATE "[^"]*\""""
)  # and the order of texts, which has quotes like a column
# characters of a text, constants aside, that is written twice; longer ones, which may hold others, are values first
MAX_REPEATED_CHARACTERS = 200
MAX_AGGREGATED_TEXT_BYTES = (
    128 << 20
)  # bytes of a text that is joined of rows: PostgreSQL counts none of them before it has 1 GB


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


def get_storage_type(column_type: Type) -> str:
    """Name the type in which a column is kept: shapes are their numbers, MOCs and regions their text."""
    if column_type.is_timestamp:
        return "timestamp"
    element_type = _STORAGE_TYPES[
        column_type.datatype
        if column_type.stored_xtype is None
        or column_type.is_string
        or column_type.datatype in {"float", "int", "short", "long"}
        else "double"
    ]
    if column_type.is_array or (column_type.stored_xtype is not None and not column_type.is_string):
        return f"{element_type}[]"
    return element_type


class PostgresDialect(PostgresShapeDialect):
    """PostgreSQL 14 to 17.

    Parameters
    ----------
    table_writer
        Where rows are and how positions are found: writes table references and adds conditions that an index serves.
    case_collation
        Name of a collation that knows upper and lower case of all letters; ``C`` knows those of ASCII.
    uses_settings
        True: parameters are settings of the transaction (``hven.p1`` ..), for COPY takes no others. False: ``$1`` ..
    allows_extra_rows
        True if rows may be too many: of WHERE is written what PostgreSQL computes.
    """

    name = "postgres"
    text_type = "text"
    functions: ClassVar[Mapping[str, str]] = {
        **FUNCTION_TEMPLATES,
        "EXP": "hven_exp({0})",
        "POWER": "hven_power({0}, {1})",
        "AVG": ".write_average",
        "MIN": ".write_extreme",
        "MAX": ".write_extreme",
        "MEDIAN": ".write_median",
        "LOWER": ".write_case_change",
        "UPPER": ".write_case_change",
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
        "REPLACE": ".write_replace",
        "REGEXP_REPLACE": ".write_replace",
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
        """Return the SQL of a text."""
        return sql

    def write_condition(self, writer: SqlWriter, node: Expr) -> str:
        """Write the condition of a WHERE."""
        if self.allows_extra_rows:
            return " AND ".join(self._iterate_conditions(writer, node)) or "TRUE"
        return super().write_condition(writer, node)

    def _iterate_conditions(self, writer: SqlWriter, node: Expr) -> Iterator[str]:
        for part in split_conjuncts(node):
            # both must go back together
            parameters_before, numbers = list(writer.parameter_slots), dict(writer._placeholder_numbers)  # noqa: SLF001
            try:
                yield self.finish_sql(writer.write_expression(part))
            except UnsupportedByPostgresError:
                writer.parameter_slots, writer._placeholder_numbers = parameters_before, numbers  # noqa: SLF001

    # --- values

    def write_placeholder(self, number: int, value: object) -> str:
        """Write a parameter; every one travels as text and says its type here."""
        if isinstance(value, str):
            return f'({self.write_parameter(number)}::text COLLATE "C")'
        if isinstance(value, int) and not isinstance(value, bool):
            type_ = value_kinds.choose_integer_type(value)
        else:
            type_ = FLOAT64
        return f"{self.write_parameter(number)}::{'boolean' if isinstance(value, bool) else get_storage_type(type_)}"

    def write_parameter(self, parameter_number: int) -> str:
        """Write a parameter without a type."""
        if self.uses_settings:
            return f"current_setting('hven.p{parameter_number}')"
        return f"${parameter_number}"

    def quote_string(self, value: str) -> str:
        """Write a string."""
        if "\0" in value:
            raise EvaluationError("a text with the character NUL is in no table of this service")
        return f'({super().quote_string(value)}::text COLLATE "C")'

    def write_number(self, value: float) -> str:
        """Write a number; one with a point or exponent is a double here, which PostgreSQL has to be told."""
        if isinstance(value, int) and -(2**63) <= value < 2**63:
            return super().write_number(value)
        return f"CAST('{float(value)!r}' AS double precision)"

    def write_type_name(self, type_: Type) -> str:
        """Write a type."""
        return get_storage_type(type_)

    def write_output(self, writer: SqlWriter, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type."""
        if isinstance(node, Cast) and require_meta(node).type == type_:
            return writer.write_expression(node)
        return self.write_branch(writer, node, type_)

    def write_branch(self, writer: SqlWriter, node: Expr, type_: Type) -> str:
        """Write one of several values as the type that they have together."""
        text = writer.write_expression(node)
        if (
            type_.is_integer
            and value_kinds.classify_type(require_meta(node).type) == "number"
            and not require_meta(node).type.is_integer
        ):
            return self.write_cast(f"CAST({text} AS double precision)", type_)
        return self.write_cast(text, type_)

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Compare; ``DISTANCE(..) < r`` has a condition beside it that an index serves."""
        plain = super().write_comparison(writer, node)
        beside = self.table_writer.write_near_condition(self, writer, node)
        if not beside:
            return plain
        return f"({beside} AND {plain})"

    def write_in(self, writer: SqlWriter, node: InPredicate) -> str:
        """Write IN; a long list as one array, which is hashed or looked up in an index.

        PostgreSQL would read each value by itself.

        It is a constant of the text, not a parameter: PostgreSQL hashes no array that it does not know when it plans.
        """
        if not isinstance(node.choices, LiteralList) or len(node.choices) < MIN_CHAIN_LINKS:
            return super().write_in(writer, node)
        kind, text = format_array(node.choices.values)
        array = "'" + text.replace("'", "''") + f"'::{kind}[]"
        operand = writer.write_expression(node.operand)
        # 14 hashes no <> ALL
        if node.negated:
            return f"({operand} NOT IN (SELECT unnest({array})))"
        return f"({operand} = ANY ({array}))"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element, from 1; NULL behind the last."""
        return f"({array})[CASE WHEN {index} BETWEEN 1 AND 2147483647 THEN CAST({index} AS integer) END]"

    def write_like(self, writer: SqlWriter, node: LikePredicate) -> str:
        """Write LIKE, which has no escape character in ADQL, and ILIKE."""
        text = writer.write_expression(node.operand)
        pattern = writer.write_expression(node.pattern)
        no = "NOT " if node.negated else ""
        if node.ignore_case:
            return f"({self.write_case_collation(text)} {no}ILIKE {self.write_case_collation(pattern)} ESCAPE '')"
        return f"({text} {no}LIKE {pattern} ESCAPE '')"

    def write_table(self, writer: SqlWriter, node: TableRef) -> str:
        """Write a stored table, narrowed to what an index gives if it can be."""
        return self.table_writer.write_table(self, writer, node, super().write_table(writer, node))

    def is_already_filtered(self, node: TableRef) -> bool:
        """Check whether the rows are a copy of those that the reader sees."""
        return self.table_writer.is_already_filtered(node)

    def write_permitted_rows(self, table: str, condition: str) -> str:
        """Write a reader's rows so that nothing can be learnt of the others.

        OFFSET is a fence that no condition passes.
        """
        return super().write_permitted_rows(table, condition) + (" OFFSET 0" if self.table_writer.needs_fence else "")

    # --- pieces

    def write_modulo(self, left_sql: str, right_sql: str, *, is_integer: bool) -> str:
        """Write a remainder: PostgreSQL has it for whole numbers only."""
        if is_integer:
            return super().write_modulo(left_sql, right_sql, is_integer=is_integer)
        return f"hven_remainder(CAST({left_sql} AS double precision), CAST({right_sql} AS double precision))"

    def write_conversion(self, sql: str, value_kind: str, type_: Type) -> str:
        """Convert: text to whole numbers as if it were any number, booleans as 1 and 0."""
        target_kind = value_kinds.classify_type(type_)
        if value_kind == "text" and type_.is_integer:
            return self.write_cast(f"CAST({sql} AS numeric)", type_)
        if value_kind == "boolean" and target_kind == "number":
            return self.write_cast(f"CAST({sql} AS integer)", type_)
        if value_kind == "text" and type_.is_timestamp:  # the type without a zone drops an offset; sessions are in UTC
            return self.write_cast(f"CAST({sql} AS timestamptz)", type_)
        if value_kind == "number" and target_kind == "boolean":
            return f"({sql} <> 0)"
        return self.write_cast(sql, type_)

    def write_shape_from_texts(self, numbers_sql: str, type_: Type) -> str:
        """Make a shape of an array of texts."""
        size = type_.size
        return self.write_cast(numbers_sql if size is None else f"hven_sized({numbers_sql}, {size})", type_)

    def write_float_text(self, sql: str, type_: Type) -> str:
        """Write a floating-point number as text."""
        return f"hven_number(CAST({sql} AS {get_storage_type(type_)}))"

    def write_joined_numbers(self, array_sql: str, type_: Type) -> str:
        """Write an array as text."""
        if type_.datatype in {"double", "float"}:
            return (
                f"(SELECT string_agg(hven_number(x), ' ' ORDER BY n) FROM unnest({array_sql}) WITH ORDINALITY AS "
                f"u(x, n))"
            )
        return f"array_to_string({array_sql}, ' ')"

    # --- text: how long it becomes is known before it is built, in the embedded engine's words

    def write_concatenation(self, parts: list[str]) -> str:
        """Join texts."""
        plain = super().write_concatenation(parts)
        bare = [_CONSTANT_PATTERN.sub("", part) for part in parts]
        if not self.max_text_bytes or not any(
            '"' in part for part in bare
        ):  # a descriptor's own words; what reads no column is as long as it was written
            return plain
        if max(map(len, bare)) > MAX_REPEATED_CHARACTERS:
            return f"hven_joined({self.max_text_bytes}, CAST(ARRAY[{', '.join(parts)}] AS text[]))"
        size = " + ".join(
            f"{number}::bigint * octet_length({part})" for part, number in Counter(parts).items() if part != "NULL"
        )
        return (
            f"CASE WHEN {size} > {self.max_text_bytes} THEN hven_longer({size}, {self.max_text_bytes}) ELSE {plain} END"
        )

    def write_replace(self, writer: SqlWriter, node: FunctionCall) -> str:
        """REPLACE and REGEXP_REPLACE."""
        args = [writer.write_expression(arg) for arg in node.args]
        if not self.max_text_bytes:
            return FUNCTION_TEMPLATES[node.name].replace("{*}", ", ".join(args)).format(*args)
        return f"hven_{node.name.lower()}({', '.join(args)}, {self.max_text_bytes})"

    def write_string_aggregate(self, writer: SqlWriter, node: FunctionCall, order_clause: str = "") -> str:
        """IVO_STRING_AGG: beside it goes a sum of lengths, which stops both."""
        return self.write_length_check(
            ", ".join(writer.write_expression(arg) for arg in node.args),
            super().write_string_aggregate(writer, node, order_clause),
        )

    def write_length_check(self, arguments_sql: str, joined_sql: str) -> str:
        """Put a sum of lengths beside joined texts."""
        return f"CASE WHEN hven_room({arguments_sql}, {MAX_AGGREGATED_TEXT_BYTES}) IS NOT NULL THEN {joined_sql} END"

    def build_default_template(self, function_name: str) -> str:  # noqa: ARG002  (one signature for all)
        """Leave to the embedded engine what is not known here."""
        return ".raise_unsupported"

    def raise_unsupported(self, writer: SqlWriter, node: Expr) -> str:  # noqa: ARG002  (one signature for all)
        """Refuse what the embedded engine must compute."""
        raise UnsupportedByPostgresError(node.name if isinstance(node, FunctionCall) else "this")

    def write_case_collation(self, sql: str) -> str:
        """Write text so that upper and lower case of all letters are known."""
        return f'({sql}) COLLATE "{self.case_collation}"'

    def write_round(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ROUND and TRUNCATE, with decimals that may be negative."""
        name = "hven_round" if node.name == "ROUND" else "hven_truncate"
        value = self.write_double(writer.write_expression(node.args[0]), node.args[0])
        return (
            f"{name}({value}, "
            f"{f'CAST({writer.write_expression(node.args[1])} AS integer)' if len(node.args) > 1 else '0'})"
        )

    def write_average(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """AVG, in double."""
        text = self.write_double(writer.write_expression(node.args[0]), node.args[0])
        return f"avg({'DISTINCT ' if node.distinct else ''}{text}) {over_clause}".rstrip()

    def write_extreme(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """MIN and MAX; PostgreSQL has none of booleans."""
        text = writer.write_expression(node.args[0])
        if value_kinds.classify_type(require_meta(node.args[0]).type) == "boolean":
            return f"{'bool_and' if node.name == 'MIN' else 'bool_or'}({text}) {over_clause}".rstrip()
        return f"{node.name.lower()}({text}) {over_clause}".rstrip()

    def write_median(self, writer: SqlWriter, node: FunctionCall) -> str:
        """MEDIAN."""
        return (
            f"percentile_cont(0.5) WITHIN GROUP (ORDER BY "
            f"{self.write_double(writer.write_expression(node.args[0]), node.args[0])})"
        )

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a function over a window; PostgreSQL has neither MEDIAN nor DISTINCT there."""
        if node.distinct or node.name == "MEDIAN":
            return self.raise_unsupported(writer, node)
        return super().write_window(writer, node, over_clause)

    def write_case_change(self, writer: SqlWriter, node: FunctionCall) -> str:
        """LOWER and UPPER."""
        text = f"{node.name.lower()}({self.write_case_collation(writer.write_expression(node.args[0]))})"
        if node.name == "UPPER":
            return f"(replace({text}, 'ß', 'ẞ') COLLATE \"C\")"
        return f'({text} COLLATE "C")'

    def write_hashlist_has(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HASHLIST_HAS."""
        items, item_sql = (f"lower({self.write_case_collation(writer.write_expression(arg))})" for arg in node.args)
        return (
            f"CAST({item_sql} = ANY(regexp_split_to_array({items}, '#')) AS INTEGER)"  # '' has one item, as everywhere
        )

    def write_nocase_match(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_NOCASEMATCH."""
        left_sql, right_sql = (self.write_case_collation(writer.write_expression(arg)) for arg in node.args)
        return f"CAST({left_sql} ILIKE {right_sql} ESCAPE '' AS INTEGER)"

    def write_has_word(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HASWORD: all words of the second are among those of the first."""
        text, words_sql = (
            _SPLIT_WORDS_SQL.format(f"lower({self.write_case_collation(writer.write_expression(arg))})")
            for arg in node.args
        )
        return f"CAST({text} @> array_remove({words_sql}, '') AS INTEGER)"

    def write_histogram(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HISTOGRAM: how often each bin is met."""
        value, low, high = self.write_doubles(writer, node.args[:3])
        bins = f"CAST({writer.write_expression(node.args[3])} AS integer)"
        histogram_sql = (
            f"hven_histogram({'DISTINCT ' if node.distinct else ''}hven_bin({value}, {low}, {high}, {bins}), {bins})"
        )
        return f"coalesce({histogram_sql}, array_fill(0, ARRAY[{bins} + 2]))"


def format_array(values: Sequence[float] | Sequence[str]) -> tuple[str, str]:
    """Write constants of one type as an array in PostgreSQL's text; return the type of its elements, too."""
    first_value = values[0]
    if isinstance(first_value, str):
        quoted_values = (
            str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\0", "\ufffe") for value in values
        )
        return "text", '{"' + '","'.join(quoted_values) + '"}'
    if isinstance(first_value, int) and min(values) >= -(2**63) and max(values) < 2**63:  # type: ignore[operator]
        return "bigint", "{" + ",".join(map(str, values)) + "}"
    return "double precision", "{" + ",".join([repr(float(value)) for value in values]) + "}"


class UnsupportedByPostgresError(Exception):
    """A function that PostgreSQL does not compute."""


__all__ = ["PostgresDialect", "UnsupportedByPostgresError", "get_storage_type"]
