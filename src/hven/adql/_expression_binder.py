"""Bind expressions: give every value and condition its type, unit and UCD, and report errors with their place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from hven.adql import value_kinds
from hven.adql._query_limits import MAX_TEXT_BYTES
from hven.adql._window_binder import WindowBinder
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    CaseExpression,
    CastExpression,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    ExistsPredicate,
    Expr,
    FunctionCall,
    InPredicate,
    LikePredicate,
    Literal,
    LiteralList,
    Negation,
    NullPredicate,
    Query,
    Subquery,
    UnaryOperation,
    ValueMetadata,
    WindowExpression,
    split_left_deep_chain,
)
from hven.adql.value_kinds import (
    CONDITION_META,
    UNICODE_STRING,
    build_literal_meta,
    classify_value,
    derive_condition_meta,
    derive_meta,
    derive_sum_unit_and_ucd,
    find_common_ucd,
    require_meta,
)
from hven.model import units
from hven.model.errors import format_message
from hven.model.types import (
    BOOLEAN,
    CIRCLE,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    POINT,
    POLYGON,
    STRING,
    TIMESTAMP,
    ColumnType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.scope import NameScope
    from hven.model.table import Column

CONDITION_NODES = (
    Comparison,
    Conjunction,
    Disjunction,
    Negation,
    BetweenPredicate,
    InPredicate,
    LikePredicate,
    NullPredicate,
    ExistsPredicate,
)
CAST_TARGET_TYPES: dict[str, ColumnType] = {
    "SMALLINT": INT16,
    "INTEGER": INT32,
    "INT": INT32,
    "BIGINT": INT64,
    "REAL": FLOAT32,
    "FLOAT": FLOAT64,
    "DOUBLE": FLOAT64,
    "DOUBLE PRECISION": FLOAT64,
    "CHAR": STRING,
    "VARCHAR": STRING,
    "TIMESTAMP": TIMESTAMP,
    "BOOLEAN": BOOLEAN,
    "POINT": POINT,
    "CIRCLE": CIRCLE,
    "POLYGON": POLYGON,
}
# an engine pads a CHAR with blanks to its length, so a long CHAR takes memory in each row
MAX_CAST_CHARACTERS = {"CHAR": MAX_TEXT_BYTES, "VARCHAR": 2**31 - 1}
PREDICATE_FUNCTIONS = frozenset({"CONTAINS", "INTERSECTS"})
_ELEMENT_REMEDIES = {"point": "write COORD1(p) or COORD2(p)", "text": "use SPLIT_PART or REGEXP_EXTRACT"}


class ExpressionBinder(WindowBinder, ABC):
    """Binds expressions. There is one object for each query, which collects what the whole query needs."""

    @abstractmethod
    def bind_subquery(self, query: Query, scope: NameScope) -> tuple[Query, tuple[Column, ...]]:
        """Bind a subquery inside `scope`; return it with its columns."""

    def bind_expression(self, node: Expr, scope: NameScope) -> Expr:
        """Bind a value expression or a condition."""
        self.count_and_limit_query_terms(node.text_offset)
        method = BINDER_METHODS.get(type(node))
        if method is None:
            message = format_message("{name} is not allowed here", type(node).__name__)
            self.raise_bind_error(message, node.text_offset)
        return method(self, node, scope)

    def bind_condition(self, node: Expr, scope: NameScope) -> Expr:
        """Bind a search condition: a predicate, or a boolean value."""
        bound = self.bind_expression(node, scope)
        if isinstance(bound, CONDITION_NODES) or require_meta(bound).type.is_boolean:
            return bound
        remedy = "compare the value with something"
        if isinstance(bound, FunctionCall) and bound.name in PREDICATE_FUNCTIONS:
            remedy = format_message("compare the result with 1: {name}(..) = 1", bound.name)
        message = format_message("{value}, not a condition", self.describe_expression(bound))
        raise self.build_bind_error(message, node.text_offset, remedy)

    # --- leaves

    def bind_and_record_literal(self, node: Literal, scope: NameScope) -> Expr:  # noqa: ARG002  (one signature)
        """Give a literal its type, and record the value of its slot."""
        value = node.value
        slot = node.slot
        if self.inline_depth:
            slot = -1
        elif slot >= 0:
            self.literal_values[slot] = value
            if value is not None and not isinstance(value, bool):
                self.free_slots.add(slot)
        return Literal(value, text_offset=node.text_offset, slot=slot, meta=build_literal_meta(value))

    def bind_column(self, node: ColumnRef, scope: NameScope) -> Expr:
        """Resolve a column reference."""
        return scope.resolve_column(node, self.text)

    # --- arithmetic and strings

    def bind_unary(self, node: UnaryOperation, scope: NameScope) -> Expr:
        """Bind ``-x``, ``+x``, ``~x``."""
        operand = self.bind_expression(node.operand, scope)
        operand_meta = require_meta(operand)
        required_kind = "integer" if node.op == "~" else "number"
        self.require_number(operand, required_kind, node.op, node.text_offset)
        type_ = operand_meta.type
        if not type_.is_numeric:  # -NULL
            type_ = INT32
        elif type_.datatype == "unsignedByte":  # -x does not fit
            type_ = INT16
        meta = derive_meta((operand_meta,), type_, operand_meta.unit, operand_meta.ucd)
        return UnaryOperation(node.op, operand, text_offset=node.text_offset, meta=meta)

    def bind_binary(self, node: BinaryOperation, scope: NameScope) -> Expr:
        """Bind arithmetic, bitwise operators and ``||``, in a loop: a chain may have a thousand links."""
        first, links = split_left_deep_chain(node, BinaryOperation)
        bound = self.bind_expression(first, scope)
        for link in links:
            right_operand = self.bind_expression(link.right, scope)
            bound = self.build_bound_operation(link, bound, right_operand)
        if node.op == "||":
            self.count_and_limit_text_operations(node.text_offset)
        return bound

    def build_bound_operation(self, node: BinaryOperation, left_operand: Expr, right_operand: Expr) -> BinaryOperation:
        """Build the bound node of an operator from its bound operands."""
        op = node.op
        left_meta = require_meta(left_operand)
        right_meta = require_meta(right_operand)
        unit: str | None = None
        ucd: str | None = None
        if op == "||":
            self._check_text_operands(left_operand, right_operand)
            type_ = STRING
            if "unicodeChar" in {left_meta.type.datatype, right_meta.type.datatype}:
                type_ = UNICODE_STRING
        else:
            required_kind = "number"
            if op in {"&", "|", "^"}:
                required_kind = "integer"
            for operand in (left_operand, right_operand):
                self.require_number(operand, required_kind, op, operand.text_offset)
            number_types = [meta.type for meta in (left_meta, right_meta) if meta.type.is_numeric]
            if not number_types:  # NULL + NULL
                number_types = [INT32]
            type_ = value_kinds.derive_arithmetic_type(op, number_types[0], number_types[-1])
            if op in {"+", "-"}:
                unit, ucd = derive_sum_unit_and_ucd(left_meta, right_meta)
            elif op == "*":
                unit = units.compute_unit_product(left_meta.unit, right_meta.unit)
            elif op == "/":
                unit = units.divide_units(left_meta.unit, right_meta.unit)
            elif op == "%":
                unit = left_meta.unit
        meta = derive_meta((left_meta, right_meta), type_, unit, ucd)
        return BinaryOperation(op, left_operand, right_operand, text_offset=node.text_offset, meta=meta)

    def _check_text_operands(self, *operands: Expr) -> None:
        """Refuse operands of || that are not strings."""
        for operand in operands:
            if classify_value(operand) not in {"text", "null"}:
                message = format_message("operator || joins strings, but {value}", self.describe_expression(operand))
                self.raise_bind_error(message, operand.text_offset, self.suggest_text_cast(operand))

    def bind_cast(self, node: CastExpression, scope: NameScope) -> Expr:
        """Bind ``CAST(x AS type)``."""
        operand = self.bind_expression(node.operand, scope)
        operand_meta = require_meta(operand)
        target = " ".join(node.target.upper().split())
        type_ = self._validate_cast_type(node, target)
        actual_kind = classify_value(operand)
        target_kind = value_kinds.classify_type(type_)
        is_castable = (
            actual_kind in {"text", "null", target_kind}
            or target_kind == "text"
            or {actual_kind, target_kind} == {"number", "boolean"}
        )
        if not is_castable:
            operand_phrase = self.describe_expression(operand)
            message = format_message("{value} and cannot be cast to {target}", operand_phrase, target)
            self.raise_bind_error(message, node.text_offset)
        unit = operand_meta.unit if target_kind == actual_kind else None
        if target_kind == "time" and actual_kind == "text" and isinstance(operand, Literal):
            operand = self.normalize_time_literal(operand)
        meta = replace(operand_meta, type=type_, unit=unit, utype=None, column=None)
        return CastExpression(operand, target, node.length, text_offset=node.text_offset, meta=meta)

    def _validate_cast_type(self, node: CastExpression, target: str) -> ColumnType:
        """Return the type that a CAST makes; check its name and its length."""
        type_ = CAST_TARGET_TYPES.get(target)
        if type_ is None:
            message = format_message("CAST does not support the type {target}", node.target)
            type_names = ", ".join(name for name in CAST_TARGET_TYPES if name not in {"INT", "FLOAT", "DOUBLE"})
            self.raise_bind_error(message, node.text_offset, format_message("use one of {names}", type_names))
        length = node.length
        if length is None:
            return type_
        if type_ is not STRING:
            self.raise_bind_error(format_message("{target} cannot have a length", target), node.text_offset)
        if length < 1:
            message = format_message("{target}({length}) is too short", target, length)
            self.raise_bind_error(message, node.text_offset, "give a length of at least 1")
        max_length = MAX_CAST_CHARACTERS[target]
        if length > max_length:
            message = format_message("{target}({length}) is too long", target, length)
            remedy = format_message("give a length of at most {most}", max_length)
            self.raise_bind_error(message, node.text_offset, remedy)
        if target == "VARCHAR":
            return ColumnType("char", f"{length}*")
        if not self.inline_depth:
            self.padded_character_count += length
        self.check_query_limit(
            self.padded_character_count,
            MAX_TEXT_BYTES,
            "characters in all its CHAR values",
            node.text_offset,
            "write CAST(.. AS VARCHAR), which is not padded with spaces",
        )
        return ColumnType("char", f"{length}")

    def bind_case(self, node: CaseExpression, scope: NameScope) -> Expr:
        """Bind ``CASE [x] WHEN .. THEN .. ELSE .. END``; with x, every WHEN becomes a comparison."""
        operand = None
        if node.operand is not None:
            operand = self.bind_expression(node.operand, scope)
        tests: list[Expr] = []
        results: list[Expr] = []
        for when, then in node.whens:
            tests.append(self._bind_case_test(when, operand, scope))
            results.append(self.bind_expression(then, scope))
        if node.otherwise is not None:
            results.append(self.bind_expression(node.otherwise, scope))
        results, type_ = self.unify_types(results, "CASE")
        whens = tuple(zip(tests, results, strict=False))  # the last result is that of ELSE, if there is one
        otherwise = None
        if node.otherwise is not None:
            otherwise = results[-1]
        result_metas = [require_meta(result) for result in results]
        test_metas = [test.meta for test in tests if test.meta is not None]
        result_units = {meta.unit for meta in result_metas if meta.unit is not None or not meta.constant}
        unit = None
        if len(result_units) == 1:
            unit = result_units.pop()
        meta = derive_meta((*result_metas, *test_metas), type_, unit, find_common_ucd(result_metas))
        return CaseExpression(None, whens, otherwise, text_offset=node.text_offset, meta=meta)

    def _bind_case_test(self, when: Expr, operand: Expr | None, scope: NameScope) -> Expr:
        """Bind what stands after WHEN: a condition, or a value that is compared with the operand of CASE."""
        if operand is None:
            return self.bind_condition(when, scope)
        bound_when = self.bind_expression(when, scope)
        left_operand, right_operand = self.make_comparable(operand, bound_when, "CASE", when.text_offset)
        meta = derive_condition_meta(left_operand, right_operand)
        return Comparison("=", left_operand, right_operand, text_offset=when.text_offset, meta=meta)

    def bind_scalar_subquery(self, node: Subquery, scope: NameScope) -> Subquery:
        """Bind a subquery that stands for a value: it must have one column."""
        query, columns = self.bind_subquery(node.query, scope)
        if len(columns) != 1:
            message = format_message(
                "a subquery used as a value must have one column, but this one has {count}", len(columns)
            )
            self.raise_bind_error(message, node.text_offset)
        column = columns[0]
        meta = ValueMetadata(column.type, column.unit, column.ucd, None, column.description)
        return Subquery(query, text_offset=node.text_offset, meta=meta)

    def bind_array_element(self, node: ArrayElement, scope: NameScope) -> Expr:
        """Bind ``array[n]``, ``array[i, j]``; an element outside of the array is NULL."""
        operand = self.bind_expression(node.operand, scope)
        operand_meta = require_meta(operand)
        array_type = operand_meta.type
        actual_kind = classify_value(operand)
        if actual_kind not in {"array", "interval"} or array_type.datatype.endswith("Complex"):
            message = format_message("{value} and has no elements", self.describe_expression(operand))
            self.raise_bind_error(message, node.text_offset, _ELEMENT_REMEDIES.get(actual_kind, ""))
        axes = array_type.shape
        type_ = ColumnType(array_type.datatype)
        if array_type.datatype in {"char", "unicodeChar"}:  # the first axis is the length of the strings
            string_length = (array_type.arraysize or "").split("x")[0]
            type_ = ColumnType(array_type.datatype, string_length)
            axes = axes[1:]
        if len(node.indexes) != len(axes):
            self._raise_axis_count_error(node, operand, len(axes))
        indexes = tuple([self.bind_expression(index, scope) for index in node.indexes])
        for index in indexes:
            self.require_number(index, "integer", "the number of an element", index.text_offset)
        part_metas = [operand_meta, *[require_meta(index) for index in indexes]]
        derived_meta = derive_meta(part_metas, type_, operand_meta.unit, operand_meta.ucd)
        meta = replace(derived_meta, description=operand_meta.description, nullable=True)
        return ArrayElement(operand, indexes, text_offset=node.text_offset, meta=meta)

    def _raise_axis_count_error(self, node: ArrayElement, operand: Expr, axis_count: int) -> NoReturn:
        """Refuse brackets with more or fewer indexes than the array has axes."""
        if axis_count == 1:
            template = "{value} has {count} axis ({size}), but {given}"
        else:
            template = "{value} has {count} axes ({size}), but {given}"
        message = format_message(
            template,
            self.describe_expression(operand, name_only=True),
            axis_count,
            require_meta(operand).type.arraysize,
            self.describe_argument_count(node.indexes),
        )
        index_letters = ", ".join("ijklmnopq"[:axis_count])
        remedy = format_message("write [{wanted}], with one index for each axis", index_letters)
        self.raise_bind_error(message, node.indexes[0].text_offset, remedy)

    # --- conditions

    def bind_comparison(self, node: Comparison, scope: NameScope) -> Expr:
        """Bind ``a < b``."""
        left_operand = self.bind_expression(node.left, scope)
        right_operand = self.bind_expression(node.right, scope)
        left_operand, right_operand = self.make_comparable(left_operand, right_operand, node.op, node.text_offset)
        for operand, other_operand in ((left_operand, right_operand), (right_operand, left_operand)):
            is_predicate = isinstance(operand, FunctionCall) and operand.name in PREDICATE_FUNCTIONS
            if is_predicate and isinstance(other_operand, Literal):
                self.fixed_slots.add(other_operand.slot)  # 1 or 0 decides which condition the SQL gets
        meta = derive_condition_meta(left_operand, right_operand)
        return Comparison(node.op, left_operand, right_operand, text_offset=node.text_offset, meta=meta)

    def bind_conjunction(self, node: Conjunction, scope: NameScope) -> Expr:
        """Bind ``a AND b``."""
        parts = tuple([self.bind_condition(part, scope) for part in node.parts])
        return Conjunction(parts, text_offset=node.text_offset, meta=derive_condition_meta(*parts))

    def bind_disjunction(self, node: Disjunction, scope: NameScope) -> Expr:
        """Bind ``a OR b``."""
        parts = tuple([self.bind_condition(part, scope) for part in node.parts])
        return Disjunction(parts, text_offset=node.text_offset, meta=derive_condition_meta(*parts))

    def bind_negation(self, node: Negation, scope: NameScope) -> Expr:
        """Bind ``NOT a``."""
        operand = self.bind_condition(node.operand, scope)
        return Negation(operand, text_offset=node.text_offset, meta=derive_condition_meta(operand))

    def bind_between(self, node: BetweenPredicate, scope: NameScope) -> Expr:
        """Bind ``x BETWEEN a AND b``."""
        operand = self.bind_expression(node.operand, scope)
        low = self.bind_expression(node.low, scope)
        high = self.bind_expression(node.high, scope)
        # the second turn: a conversion beside `high` (to a number or a time) must also apply beside `low`
        for _ in range(2):
            operand, low = self.make_comparable(operand, low, "BETWEEN", node.low.text_offset)
            operand, high = self.make_comparable(operand, high, "BETWEEN", node.high.text_offset)
        if classify_value(operand) == "null":  # NULL fits both limits, but they must fit each other
            low, high = self.make_comparable(low, high, "BETWEEN", node.high.text_offset)
        meta = derive_condition_meta(operand, low, high)
        return BetweenPredicate(operand, low, high, node.negated, text_offset=node.text_offset, meta=meta)

    def bind_in(self, node: InPredicate, scope: NameScope) -> Expr:
        """Bind ``x IN (..)``."""
        operand = self.bind_expression(node.operand, scope)
        choices: tuple[Expr, ...] | LiteralList | Subquery
        if isinstance(node.choices, Subquery):
            operand, choices = self._bind_in_subquery(operand, node.choices, scope)
            meta = derive_condition_meta(operand)
            return InPredicate(operand, choices, node.negated, text_offset=node.text_offset, meta=meta)
        if isinstance(node.choices, LiteralList):
            choices = node.choices.with_meta(build_literal_meta)
            samples = choices.type_determining_literals
            if self._are_comparable_without_conversion(operand, samples):
                meta = derive_condition_meta(operand, *samples)
                return InPredicate(operand, choices, node.negated, text_offset=node.text_offset, meta=meta)
        operand, choices = self._bind_in_choices(operand, node.choices, scope)
        meta = derive_condition_meta(operand, *choices)
        return InPredicate(operand, choices, node.negated, text_offset=node.text_offset, meta=meta)

    def _bind_in_subquery(self, operand: Expr, subquery: Subquery, scope: NameScope) -> tuple[Expr, Subquery]:
        """Bind the subquery of IN; return the converted operand and the subquery."""
        bound_subquery = self.bind_scalar_subquery(subquery, scope)
        operand, converted_subquery = self.make_comparable(operand, bound_subquery, "IN", subquery.text_offset)
        if converted_subquery is not bound_subquery:
            operand_name = self.describe_expression(operand, name_only=True)
            message = format_message("IN cannot compare {value} with booleans", operand_name)
            self.raise_bind_error(message, subquery.text_offset, "write SELECT CAST(.. AS INTEGER)")
        return operand, bound_subquery

    def _are_comparable_without_conversion(self, operand: Expr, choices: Sequence[Expr]) -> bool:
        """Return whether an operand can be compared with these choices without a conversion."""
        pairs = [self.make_comparable(operand, choice, "IN", choice.text_offset) for choice in choices]
        for (converted_operand, converted_choice), choice in zip(pairs, choices, strict=True):
            if converted_operand is not operand or converted_choice is not choice:
                return False
        return True

    def _bind_in_choices(
        self, operand: Expr, choices: Sequence[Expr], scope: NameScope
    ) -> tuple[Expr, tuple[Expr, ...]]:
        """Bind the choices of IN; return the converted operand and the bound choices."""
        bound_choices: list[Expr] = []
        first_typed_choice: Expr | None = None  # if the operand is NULL, the choices must fit each other
        # Python types of literals that need no conversion: a list may be long, so each type is checked once
        unchanged_types: set[type] = set()
        for choice in choices:
            if type(choice) is Literal and type(choice.value) in unchanged_types:
                bound_choices.append(self.bind_and_record_literal(choice, scope))
                continue
            bound = self.bind_expression(choice, scope)
            converted_operand, bound = self.make_comparable(operand, bound, "IN", choice.text_offset)
            if classify_value(operand) == "null" and classify_value(bound) != "null":
                if first_typed_choice is None:
                    first_typed_choice = bound
                else:
                    first_typed_choice, bound = self.make_comparable(
                        first_typed_choice, bound, "IN", choice.text_offset
                    )
            if converted_operand is not operand:  # it became a number or a time: convert the earlier choices too
                unchanged_types.clear()
                operand = converted_operand
                bound_choices = [self._convert_in_choice(operand, earlier_choice) for earlier_choice in bound_choices]
            elif isinstance(choice, Literal) and isinstance(bound, Literal) and bound.value is choice.value:
                unchanged_types.add(type(choice.value))
            bound_choices.append(bound)
        return operand, tuple(bound_choices)

    def _convert_in_choice(self, operand: Expr, choice: Expr) -> Expr:
        """Return a choice of IN in the type of the operand."""
        _, converted_choice = self.make_comparable(operand, choice, "IN", choice.text_offset)
        return converted_choice

    def bind_like(self, node: LikePredicate, scope: NameScope) -> Expr:
        """Bind ``s LIKE pattern``."""
        operand = self.bind_expression(node.operand, scope)
        pattern = self.bind_expression(node.pattern, scope)
        word = "ILIKE" if node.ignore_case else "LIKE"
        for side in (operand, pattern):
            if classify_value(side) not in {"text", "null"}:
                side_phrase = self.describe_expression(side)
                message = format_message("{word} compares strings, but {value}", word, side_phrase)
                self.raise_bind_error(message, side.text_offset, self.suggest_text_cast(side))
        meta = derive_condition_meta(operand, pattern)
        return LikePredicate(operand, pattern, node.negated, node.ignore_case, text_offset=node.text_offset, meta=meta)

    def bind_is_null(self, node: NullPredicate, scope: NameScope) -> Expr:
        """Bind ``x IS NULL``."""
        operand = self.bind_expression(node.operand, scope)
        return NullPredicate(operand, node.negated, text_offset=node.text_offset, meta=derive_condition_meta(operand))

    def bind_exists(self, node: ExistsPredicate, scope: NameScope) -> Expr:
        """Bind ``EXISTS (SELECT ..)``."""
        query, _ = self.bind_subquery(node.query, scope)
        return ExistsPredicate(query, text_offset=node.text_offset, meta=CONDITION_META)


BINDER_METHODS: dict[type, Callable[..., Expr]] = {
    Literal: ExpressionBinder.bind_and_record_literal,
    ColumnRef: ExpressionBinder.bind_column,
    UnaryOperation: ExpressionBinder.bind_unary,
    BinaryOperation: ExpressionBinder.bind_binary,
    FunctionCall: ExpressionBinder.bind_function_call,
    WindowExpression: ExpressionBinder.bind_window,
    ArrayElement: ExpressionBinder.bind_array_element,
    CastExpression: ExpressionBinder.bind_cast,
    CaseExpression: ExpressionBinder.bind_case,
    Subquery: ExpressionBinder.bind_scalar_subquery,
    Comparison: ExpressionBinder.bind_comparison,
    Conjunction: ExpressionBinder.bind_conjunction,
    Disjunction: ExpressionBinder.bind_disjunction,
    Negation: ExpressionBinder.bind_negation,
    BetweenPredicate: ExpressionBinder.bind_between,
    InPredicate: ExpressionBinder.bind_in,
    LikePredicate: ExpressionBinder.bind_like,
    NullPredicate: ExpressionBinder.bind_is_null,
    ExistsPredicate: ExpressionBinder.bind_exists,
}
