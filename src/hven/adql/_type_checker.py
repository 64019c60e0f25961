"""What fits together: comparisons, common types, and the words for what does not."""

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
from hven.adql.syntax_tree import Cast, ColumnRef, Expr, FunctionCall, Literal, OrderItem, ValueMetadata
from hven.adql.value_kinds import classify_value, derive_meta, require_meta
from hven.model.deadlines import check_deadline
from hven.model.errors import BindError, format_message
from hven.model.literal import is_plain_time, to_plain_time
from hven.model.types import BOOLEAN, INT32, STRING, TIMESTAMP, Type

if TYPE_CHECKING:
    from collections.abc import Sequence

TRUE_WORDS = frozenset({"true", "t", "1", "yes", "y"})
FALSE_WORDS = frozenset({"false", "f", "0", "no", "n"})


class TypeChecker:
    """Checks kinds against each other and converts literals where services do.

    Attributes
    ----------
    literal_values, free_slots, fixed_slots
        Values of the literals met, by slot; slots that may vary; slots that turned out to be part of the shape.
    time_slots
        Slots of literals that are times as every engine reads them.
    inline_depth
        More than 0 inside a view or a filter, whose literals are no literals of the query.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.literal_values: dict[int, float | str | None] = {}
        self.free_slots: set[int] = set()
        self.fixed_slots: set[int] = set()
        self.time_slots: list[int] = []
        self.inline_depth = 0
        self.visited_term_count = self.term_count = self.select_count = self.text_operation_count = (
            self.table_read_count
        ) = self.padded_character_count = 0

    def raise_bind_error(self, message: str, text_offset: int, remedy: str = "") -> NoReturn:
        """Fail with what is wrong at an offset of the text."""
        raise self.build_bind_error(message, text_offset, remedy)

    def build_bind_error(self, message: str, text_offset: int, remedy: str = "") -> BindError:
        """Make the error that says what is wrong at an offset of the text."""
        return BindError(message, text=self.text, offset=text_offset, remedy=remedy)

    def check_count(self, count: int, max_count: int, counted_items: str, text_offset: int, remedy: str) -> None:
        """Refuse what a query has too many of."""
        if count > max_count and self.text and not self.inline_depth:
            self.raise_bind_error(
                format_message("a query has at most {most:,} {what}", max_count, format_message(counted_items)),
                text_offset,
                remedy,
            )

    def count_term(self, text_offset: int) -> None:
        """Count a term of the query, and look at the clock now and then."""
        self.visited_term_count += 1
        self.term_count += not self.inline_depth
        if not self.visited_term_count % CLOCK_CHECK_INTERVAL:
            check_deadline()
            self.check_count(
                self.term_count, MAX_QUERY_TERMS, "terms", text_offset, "upload long lists as a table and join it"
            )

    def count_table_reads(self, table_count: int, text_offset: int) -> None:
        """Count tables that an engine will read for an item of FROM; those of a view are its author's."""
        self.table_read_count += 0 if self.inline_depth else table_count
        self.check_count(
            self.table_read_count,
            MAX_EXPANDED_QUERY_TABLES,
            "tables, those of WITH counted wherever they are read",
            text_offset,
            "ask several queries",
        )

    def check_key_count(self, items: Sequence[Expr | OrderItem], clause: str) -> None:
        """Count what a clause sorts or groups by."""
        if len(items) > MAX_CLAUSE_KEYS:
            self.check_count(
                len(items),
                MAX_CLAUSE_KEYS,
                format_message("expressions in one {clause}", clause),
                items[MAX_CLAUSE_KEYS].text_offset,
                "fewer tell rows apart as well",
            )

    def count_text_operation(self, text_offset: int) -> None:
        """Count an operation that makes text of text."""
        self.text_operation_count += not self.inline_depth
        self.check_count(
            self.text_operation_count,
            MAX_TEXT_OPERATIONS,
            "operations that make text",
            text_offset,
            "join the texts in fewer steps: a || b || c is one",
        )

    def mark_literal_fixed(self, literal: Literal) -> float | str | None:
        """Note a literal that is part of the query's shape, and return its value."""
        if literal.slot >= 0 and not self.inline_depth:
            self.literal_values[literal.slot] = literal.value
            self.fixed_slots.add(literal.slot)
        return literal.value

    def make_comparable(
        self, left_operand: Expr, right_operand: Expr, operator: str, text_offset: int
    ) -> tuple[Expr, Expr]:
        """Check that two values can be compared; strings beside timestamps and words beside booleans are converted."""
        left_kind = classify_value(left_operand)
        right_kind = classify_value(right_operand)
        if left_kind == right_kind and left_kind in {"number", "text", "time", "boolean"}:
            return left_operand, right_operand
        if "null" in {left_kind, right_kind}:
            return left_operand, right_operand
        if left_kind in value_kinds.GEOMETRY_KINDS or right_kind in value_kinds.GEOMETRY_KINDS:
            self.raise_bind_error(
                format_message("geometries cannot be compared by {op}", operator),
                text_offset,
                "use CONTAINS, INTERSECTS or DISTANCE",
            )
        if {left_kind, right_kind} == {"time", "text"}:
            if left_kind == "time":
                return (left_operand, self.convert_to_time(right_operand))
            return (self.convert_to_time(left_operand), right_operand)
        if "boolean" in {left_kind, right_kind}:
            converted_operands = (
                (left_operand, self.convert_to_boolean(right_operand))
                if left_kind == "boolean"
                else (self.convert_to_boolean(left_operand), right_operand)
            )
            if converted_operands[0] is not None and converted_operands[1] is not None:
                return converted_operands  # type: ignore[return-value]
            if {left_kind, right_kind} == {"number", "boolean"}:
                return self.convert_to_number(left_operand), self.convert_to_number(right_operand)
        if {left_kind, right_kind} == {"number", "text"}:
            text = left_operand if left_kind == "text" else right_operand
            remedy = (
                format_message("write {value} without quotes", text.value)
                if isinstance(text, Literal) and _is_number(text.value)
                else "CAST one of them"
            )
            self.raise_bind_error(
                format_message(
                    "{op} compares {left} with {right}",
                    operator,
                    self.describe_expression(left_operand, name_only=True),
                    self.describe_expression(right_operand, name_only=True),
                ),
                text_offset,
                remedy,
            )
        raise self.build_bind_error(
            format_message(
                "{op} cannot compare {left} with {right}",
                operator,
                self.describe_expression(left_operand, name_only=True),
                self.describe_expression(right_operand, name_only=True),
            ),
            text_offset,
        )

    def describe_argument_count(self, values: Sequence[Expr]) -> str:
        """Phrase how many values are given."""
        return format_message("{count} is given" if len(values) == 1 else "{count} are given", len(values))

    def convert_to_time(self, node: Expr) -> Expr:
        """Read a string literal as a timestamp."""
        if not require_meta(node).constant:
            self.raise_bind_error(
                format_message("{value} and is compared with a timestamp", self.describe_expression(node)),
                node.text_offset,
                "write CAST(.. AS TIMESTAMP)",
            )
        if isinstance(node, Literal):
            node = self.normalize_time_literal(node)
        value_meta = require_meta(node)
        meta = ValueMetadata(
            TIMESTAMP,
            None,
            value_meta.ucd,
            constant=True,
            aggregate=value_meta.aggregate,
            origins=value_meta.origins,
        )
        return Cast(
            node,
            "TIMESTAMP",
            text_offset=node.text_offset,
            meta=meta,
        )

    def normalize_time_literal(self, literal: Literal) -> Literal:
        """Parse a literal as a time, with the offset from UTC, a second 60 and 24:00 resolved.

        Engines parse these differently, or lose them.
        """
        text = str(literal.value)
        normalized_text = to_plain_time(text)
        if normalized_text is None:
            self.raise_bind_error(
                format_message("{value!r} is no timestamp", literal.value),
                literal.text_offset,
                "timestamps look like '2026-11-20T10:15:00'",
            )
        if is_plain_time(text):
            if literal.slot >= 0 and not self.inline_depth:
                self.time_slots.append(literal.slot)
            return literal
        self.mark_literal_fixed(literal)
        return replace(literal, value=normalized_text)

    def convert_to_boolean(self, node: Expr) -> Expr | None:
        """Read 1, 0, 'true', 'f' .. as a boolean, as services do; None if it is neither."""
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

    def convert_to_number(self, node: Expr) -> Expr:
        """Read a boolean as 1 or 0."""
        if classify_value(node) != "boolean":
            return node
        value_meta = require_meta(node)
        meta = derive_meta((value_meta,), INT32, None, None)
        return Cast(node, "INTEGER", text_offset=node.text_offset, meta=meta)

    def suggest_text_cast(self, node: Expr) -> str:
        """Phrase how to make text of a value."""
        if isinstance(node, ColumnRef):
            return format_message("write CAST({name} AS VARCHAR)", node.name.name)
        return "write CAST(.. AS VARCHAR)"

    def unify_types(self, nodes: Sequence[Expr], construct_name: str) -> tuple[list[Expr], Type]:
        """Unify the types of several values."""
        operand_kinds = [classify_value(node) for node in nodes]
        non_null_kinds = [item for item in operand_kinds if item != "null"]
        converted_nodes = list(nodes)
        if not non_null_kinds:
            return converted_nodes, STRING
        if "time" in non_null_kinds and "text" in non_null_kinds:
            converted_nodes = [
                self.convert_to_time(node) if item == "text" else node
                for node, item in zip(nodes, operand_kinds, strict=True)
            ]
            non_null_kinds = ["time"]
        if len(set(non_null_kinds)) > 1:
            mismatched_node = next(
                node for node, item in zip(nodes, operand_kinds, strict=True) if item not in {"null", non_null_kinds[0]}
            )
            self.raise_bind_error(
                format_message(
                    "{what} wants values of one type: the first is {kind}, and {value}",
                    construct_name,
                    value_kinds.KIND_PHRASES[non_null_kinds[0]],
                    self.describe_expression(mismatched_node),
                ),
                mismatched_node.text_offset,
            )
        types = [
            require_meta(node).type for node, item in zip(converted_nodes, operand_kinds, strict=True) if item != "null"
        ]
        if (
            non_null_kinds[0] == "array"
            and len({type_.datatype for type_ in types}) > 1
            and not all(Type(array_type.datatype).is_numeric for array_type in types)
        ):
            self.raise_bind_error(
                format_message("{what} wants values of one type, and these are arrays of several", construct_name),
                nodes[0].text_offset,
            )
        return converted_nodes, value_kinds.find_common_type(types)

    def require_number(self, node: Expr, required_kind: str, operator_name: str, text_offset: int) -> None:
        """Refuse an operand of another kind than a number (or a whole one)."""
        actual_kind = classify_value(node)
        if actual_kind == "null" or (
            actual_kind == "number" and (required_kind == "number" or require_meta(node).type.is_integer)
        ):
            return
        remedy = ""
        if operator_name == "^" and actual_kind == "number":
            remedy = "^ is exclusive or; a to the power of b is POWER(a, b)"
        elif actual_kind == "array":
            remedy = "compute with its elements, a[1], or with ARR_SUM, ARR_AVG, ARR_DOT .."
        elif actual_kind == "text" and required_kind == "number":
            remedy = "write CAST(x AS DOUBLE PRECISION)"
        self.raise_bind_error(
            format_message(
                "{where} needs {kind}, and {value}",
                format_message(operator_name)
                if " " in operator_name
                else format_message("operator {op}", operator_name),
                value_kinds.KIND_PHRASES[required_kind],
                self.describe_expression(node),
            ),
            text_offset if node.text_offset < 0 else node.text_offset,
            remedy,
        )

    def describe_expression(self, node: Expr, *, name_only: bool = False) -> str:
        """Name a value and its kind for people: ``name is a string``."""
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
            return kind_phrase if name_only else format_message("this is {have}", kind_phrase)
        if name_only:
            return format_message("{have} ({name})", kind_phrase, name)
        return format_message("{name} is {have}", name, kind_phrase)


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
