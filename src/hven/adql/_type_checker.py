"""Check that values fit together, convert literals, and count what a query has too many of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from hven.adql import value_kinds
from hven.adql._query_limits import (
    CLOCK_CHECK_INTERVAL,
    MAX_CLAUSE_KEYS,
    MAX_EXPANDED_QUERY_TABLES,
    MAX_QUERY_TERMS,
    MAX_TEXT_OPERATIONS,
)
from hven.adql.syntax_tree import CastExpression, ColumnRef, Expr, FunctionCall, Literal, OrderItem, ValueMetadata
from hven.adql.value_kinds import classify_value, derive_meta, require_meta
from hven.model.deadlines import check_deadline
from hven.model.errors import BindError, format_message
from hven.model.literal import is_portable_time_text, to_portable_time_text
from hven.model.types import BOOLEAN, INT32, STRING, TIMESTAMP, ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.functions import FunctionSet
    from hven.model.table import Table

TRUE_WORDS = frozenset({"true", "t", "1", "yes", "y"})
FALSE_WORDS = frozenset({"false", "f", "0", "no", "n"})


class TypeChecker:
    """Checks the kinds of values, and converts literals as other services do.

    Attributes
    ----------
    literal_values
        The values of the query's literals, by slot.
    free_slots
        Slots whose values may change when a plan is reused.
    fixed_slots
        Slots whose values are part of the query's shape.
    time_slots
        Slots of literals that are times in the spelling that every engine reads.
    inline_depth
        More than 0 inside a view or a row filter, whose literals are not literals of the query.
    clause
        The clause that is being bound; aggregates may stand only in some.
    slot_bounds
        Free slots with the minimum and the maximum of their values.
    tables
        The tables that the query reads, by their qualified names.
    volatile
        True if the query calls a function that may give another result for the same rows.
    resolve_position
        A function that returns the position of an object by its name: longitude and latitude in ICRS, in degrees.
        None: this service does not resolve names.
    """

    def __init__(self, text: str, functions: FunctionSet) -> None:
        self.text = text
        self.functions = functions
        self.clause: str = "SELECT"
        self.tables: dict[str, Table] = {}
        self.volatile = False
        self.order_independent = False
        self.resolve_position: Callable[[str], tuple[float, float]] | None = None
        self.slot_bounds: list[tuple[int, float, float]] = []
        self.literal_values: dict[int, float | str | None] = {}
        self.free_slots: set[int] = set()
        self.fixed_slots: set[int] = set()
        self.time_slots: list[int] = []
        self.inline_depth = 0
        self.visited_term_count = 0  # terms of views and row filters included
        self.term_count = 0
        self.select_count = 0
        self.text_operation_count = 0
        self.table_read_count = 0
        self.padded_character_count = 0

    def raise_bind_error(self, message: str, text_offset: int, remedy: str = "") -> NoReturn:
        """Raise a BindError at an offset of the text."""
        raise self.build_bind_error(message, text_offset, remedy)

    def build_bind_error(self, message: str, text_offset: int, remedy: str = "") -> BindError:
        """Build a BindError at an offset of the text."""
        return BindError(message, text=self.text, offset=text_offset, remedy=remedy)

    def check_query_limit(self, count: int, max_count: int, counted_items: str, text_offset: int, remedy: str) -> None:
        """Refuse a query that has more than `max_count` of something; views and row filters are not limited."""
        if count > max_count and self.text and not self.inline_depth:
            message = format_message(
                "a query may have at most {most:,} {what}", max_count, format_message(counted_items)
            )
            self.raise_bind_error(message, text_offset, remedy)

    def count_and_limit_query_terms(self, text_offset: int) -> None:
        """Count a term of the query, and check limit and deadline from time to time."""
        self.visited_term_count += 1
        if not self.inline_depth:
            self.term_count += 1
        if not self.visited_term_count % CLOCK_CHECK_INTERVAL:
            check_deadline()
            remedy = "upload a long list as a table and join it"
            self.check_query_limit(self.term_count, MAX_QUERY_TERMS, "terms", text_offset, remedy)

    def count_and_limit_table_reads(self, table_count: int, text_offset: int) -> None:
        """Count the tables that an engine reads for an item of FROM; the tables inside views do not count."""
        if not self.inline_depth:
            self.table_read_count += table_count
        if self.table_read_count > MAX_EXPANDED_QUERY_TABLES:
            self.check_query_limit(
                self.table_read_count,
                MAX_EXPANDED_QUERY_TABLES,
                "tables (each use of a table from WITH counts)",
                text_offset,
                "split the query into several",
            )

    def check_clause_key_count(self, items: Sequence[Expr | OrderItem], clause: str) -> None:
        """Refuse too many keys of a clause that sorts or groups."""
        if len(items) > MAX_CLAUSE_KEYS:
            counted_items = format_message("expressions in one {clause}", clause)
            text_offset = items[MAX_CLAUSE_KEYS].text_offset
            remedy = "use fewer expressions"
            self.check_query_limit(len(items), MAX_CLAUSE_KEYS, counted_items, text_offset, remedy)

    def count_and_limit_text_operations(self, text_offset: int) -> None:
        """Count an operation that makes text of text."""
        if not self.inline_depth:
            self.text_operation_count += 1
        self.check_query_limit(
            self.text_operation_count,
            MAX_TEXT_OPERATIONS,
            "operations that create strings",
            text_offset,
            "join the strings in fewer steps: a || b || c is one step",
        )

    def mark_literal_fixed(self, literal: Literal) -> float | str | None:
        """Record that a literal is part of the query's shape, and return its value."""
        if literal.slot >= 0 and not self.inline_depth:
            self.literal_values[literal.slot] = literal.value
            self.fixed_slots.add(literal.slot)
        return literal.value

    def make_comparable(
        self, left_operand: Expr, right_operand: Expr, operator: str, text_offset: int
    ) -> tuple[Expr, Expr]:
        """Check that two values can be compared, and convert them where services do.

        A string beside a timestamp becomes a timestamp, and a word or number beside a boolean a boolean.
        """
        left_kind = classify_value(left_operand)
        right_kind = classify_value(right_operand)
        operand_kinds = {left_kind, right_kind}
        if left_kind == right_kind and left_kind in {"number", "text", "time", "boolean"}:
            return left_operand, right_operand
        if "null" in operand_kinds:
            return left_operand, right_operand
        if operand_kinds & value_kinds.GEOMETRY_KINDS:
            message = format_message("geometries cannot be compared with {op}", operator)
            self.raise_bind_error(message, text_offset, "use CONTAINS, INTERSECTS or DISTANCE")
        if operand_kinds == {"time", "text"}:
            if left_kind == "time":
                return (left_operand, self.convert_constant_text_to_time(right_operand))
            return (self.convert_constant_text_to_time(left_operand), right_operand)
        if "boolean" in operand_kinds:
            left_boolean = self.convert_to_boolean(left_operand)
            right_boolean = self.convert_to_boolean(right_operand)
            if left_boolean is not None and right_boolean is not None:
                return left_boolean, right_boolean
            if operand_kinds == {"number", "boolean"}:
                return self.convert_boolean_to_number(left_operand), self.convert_boolean_to_number(right_operand)
        left_phrase = self.describe_expression(left_operand, name_only=True)
        right_phrase = self.describe_expression(right_operand, name_only=True)
        if operand_kinds == {"number", "text"}:
            text_operand = left_operand if left_kind == "text" else right_operand
            remedy = "convert one of the two with CAST"
            if isinstance(text_operand, Literal) and _is_numeric_text(text_operand.value):
                remedy = format_message("write {value} without quotes", text_operand.value)
            message = format_message("{op} cannot compare {left} with {right}", operator, left_phrase, right_phrase)
            self.raise_bind_error(message, text_offset, remedy)
        message = format_message("{op} cannot compare {left} with {right}", operator, left_phrase, right_phrase)
        raise self.build_bind_error(message, text_offset)

    def describe_argument_count(self, values: Sequence[Expr]) -> str:
        """Return a phrase that says how many arguments a call has."""
        template = "{count} are given"
        if len(values) == 1:
            template = "{count} is given"
        return format_message(template, len(values))

    def convert_constant_text_to_time(self, node: Expr) -> Expr:
        """Convert a constant string to a timestamp; refuse a string that varies from row to row."""
        if not require_meta(node).constant:
            message = format_message("{value}, but it is compared with a timestamp", self.describe_expression(node))
            self.raise_bind_error(message, node.text_offset, "write CAST(.. AS TIMESTAMP)")
        if isinstance(node, Literal):
            node = self.normalize_time_literal(node)
        text_meta = require_meta(node)
        meta = ValueMetadata(
            TIMESTAMP,
            None,
            text_meta.ucd,
            constant=True,
            aggregate=text_meta.aggregate,
            origins=text_meta.origins,
        )
        return CastExpression(node, "TIMESTAMP", text_offset=node.text_offset, meta=meta)

    def normalize_time_literal(self, literal: Literal) -> Literal:
        """Parse a literal as a time, and resolve an offset from UTC, a second 60 and the hour 24.

        Engines read these differently, or ignore them.
        """
        text = str(literal.value)
        normalized_text = to_portable_time_text(text)
        if normalized_text is None:
            message = format_message("{value!r} is not a timestamp", literal.value)
            self.raise_bind_error(message, literal.text_offset, "write timestamps as '2026-11-20T10:15:00'")
        if is_portable_time_text(text):
            if literal.slot >= 0 and not self.inline_depth:
                self.time_slots.append(literal.slot)
            return literal
        self.mark_literal_fixed(literal)
        return replace(literal, value=normalized_text)

    def convert_to_boolean(self, node: Expr) -> Expr | None:
        """Return a boolean, or 1, 0, 'true', 'f' .. as a boolean, as services do; None for other values."""
        if classify_value(node) == "boolean":
            return node
        if not isinstance(node, Literal):
            return None
        word = str(node.value).strip().lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            return None
        self.fixed_slots.add(node.slot)
        meta = ValueMetadata(BOOLEAN, constant=True, nullable=False)
        return Literal(word in TRUE_WORDS, text_offset=node.text_offset, meta=meta)

    def convert_boolean_to_number(self, node: Expr) -> Expr:
        """Convert a boolean to 1 or 0."""
        if classify_value(node) != "boolean":
            return node
        meta = derive_meta((require_meta(node),), INT32, None, None)
        return CastExpression(node, "INTEGER", text_offset=node.text_offset, meta=meta)

    def suggest_text_cast(self, node: Expr) -> str:
        """Return the remedy that tells how to convert a value to a string."""
        if isinstance(node, ColumnRef):
            return format_message("write CAST({name} AS VARCHAR)", node.name.name)
        return "write CAST(.. AS VARCHAR)"

    def unify_types(self, nodes: Sequence[Expr], construct_name: str) -> tuple[list[Expr], ColumnType]:
        """Return values, converted where necessary, and the type that holds them all; refuse values of several kinds.

        NULL fits every type. Strings beside timestamps become timestamps.
        """
        converted_nodes = list(nodes)
        kinds = [classify_value(node) for node in nodes]
        if "time" in kinds and "text" in kinds:
            for index, (node, kind) in enumerate(zip(nodes, kinds, strict=True)):
                if kind == "text":
                    converted_nodes[index] = self.convert_constant_text_to_time(node)
                    kinds[index] = "time"
        typed_nodes = [(node, kind) for node, kind in zip(converted_nodes, kinds, strict=True) if kind != "null"]
        if not typed_nodes:
            return converted_nodes, STRING
        _, first_kind = typed_nodes[0]
        for node, kind in typed_nodes:
            if kind != first_kind:
                message = format_message(
                    "{what} needs values of one type: the first is {kind}, but {value}",
                    construct_name,
                    value_kinds.KIND_PHRASES[first_kind],
                    self.describe_expression(node),
                )
                self.raise_bind_error(message, node.text_offset)
        types = [require_meta(node).type for node, _ in typed_nodes]
        element_types = {type_.datatype for type_ in types}
        is_numeric = all(ColumnType(element_type).is_numeric for element_type in element_types)
        if first_kind == "array" and len(element_types) > 1 and not is_numeric:
            message = format_message(
                "{what} needs values of one type, but these arrays have different types", construct_name
            )
            self.raise_bind_error(message, nodes[0].text_offset)
        return converted_nodes, value_kinds.find_common_type(types)

    def require_number(self, node: Expr, required_kind: str, operator_name: str, text_offset: int) -> None:
        """Refuse an operand that is not a number, or not an integer if `required_kind` is ``integer``."""
        actual_kind = classify_value(node)
        if actual_kind == "null":
            return
        if actual_kind == "number" and (required_kind == "number" or require_meta(node).type.is_integer):
            return
        remedy = ""
        if operator_name == "^" and actual_kind == "number":
            remedy = "for powers, write POWER(a, b); the operator ^ is a bitwise exclusive OR"
        elif actual_kind == "array":
            remedy = "compute with elements such as a[1], or use a function such as ARR_SUM, ARR_AVG or ARR_DOT"
        elif actual_kind == "text" and required_kind == "number":
            remedy = "write CAST(x AS DOUBLE PRECISION)"
        if " " in operator_name:
            operator_phrase = format_message(operator_name)
        else:
            operator_phrase = format_message("operator {op}", operator_name)
        message = format_message(
            "{where} needs {kind}, but {value}",
            operator_phrase,
            value_kinds.KIND_PHRASES[required_kind],
            self.describe_expression(node),
        )
        if node.text_offset < 0:
            fault_offset = text_offset
        else:
            fault_offset = node.text_offset
        self.raise_bind_error(message, fault_offset, remedy)

    def describe_expression(self, node: Expr, *, name_only: bool = False) -> str:
        """Describe a value for a message: ``name is a string``, or with `name_only` ``a string (name)``."""
        kind_phrase = value_kinds.KIND_PHRASES[classify_value(node)]
        if isinstance(node, ColumnRef):
            if name_only:
                return format_message("{have} (column {name})", kind_phrase, node.name.name)
            return format_message("column {name} is {have}", node.name.name, kind_phrase)
        if isinstance(node, Literal):
            if isinstance(node.value, str):
                name = repr(node.value)
            elif node.value is None:
                name = "NULL"
            else:
                name = str(node.value)
        elif isinstance(node, FunctionCall):
            name = f"{node.name}(..)"
        else:
            if name_only:
                return kind_phrase
            return format_message("this expression is {have}", kind_phrase)
        if name_only:
            return format_message("{have} ({name})", kind_phrase, name)
        return format_message("{name} is {have}", name, kind_phrase)


def _is_numeric_text(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
