"""Bind expressions: every value and condition gets its type, unit and UCD, and errors name the place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from hven.adql import value_kinds
from hven.adql._query_limits import MAX_TEXT_BYTES
from hven.adql._window_binder import WindowBinder
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    Case,
    Cast,
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
    split_chain,
)
from hven.adql.value_kinds import (
    CONDITION_META,
    UNICODE_STRING,
    build_literal_meta,
    classify_value,
    derive_condition_meta,
    derive_meta,
    derive_sum_units,
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
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Callable

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
CAST_TARGET_TYPES: dict[str, Type] = {
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
MAX_CAST_CHARACTERS = {"CHAR": MAX_TEXT_BYTES, "VARCHAR": 2**31 - 1}  # characters; CHAR is filled up to them
PREDICATE_FUNCTIONS = frozenset({"CONTAINS", "INTERSECTS"})


class ExpressionBinder(WindowBinder, ABC):
    """Binds expressions; one object per query, which keeps what is found on the way."""

    # --- to be given by the binder of queries

    @abstractmethod
    def bind_subquery(self, query: Query, scope: NameScope) -> tuple[Query, tuple[Column, ...]]:
        """Bind a subquery inside `scope`."""

    # --- the door

    def bind_expression(self, node: Expr, scope: NameScope) -> Expr:
        """Bind a value expression or a condition."""
        self.count_term(node.text_offset)
        method = BINDER_METHODS.get(type(node))
        if method is None:
            self.raise_bind_error(format_message("{name} cannot stand here", type(node).__name__), node.text_offset)
        return method(self, node, scope)

    def bind_condition(self, node: Expr, scope: NameScope) -> Expr:
        """Bind a search condition: a predicate, or a boolean value."""
        bound = self.bind_expression(node, scope)
        if isinstance(bound, CONDITION_NODES) or require_meta(bound).type.is_boolean:
            return bound
        remedy = (
            format_message("compare it with 1: {name}(..) = 1", bound.name)
            if isinstance(bound, FunctionCall) and bound.name in PREDICATE_FUNCTIONS
            else "compare it with something"
        )
        raise self.build_bind_error(
            format_message("{value} is no condition", self.describe_expression(bound)), node.text_offset, remedy
        )

    # --- leaves

    def bind_literal(self, node: Literal, scope: NameScope) -> Expr:  # noqa: ARG002  (one signature for all methods)
        """Type a literal and note its slot."""
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
        self.require_number(operand, "integer" if node.op == "~" else "number", node.op, node.text_offset)
        if operand_meta.type.datatype == "unsignedByte":
            type_ = INT16
        else:
            type_ = operand_meta.type
        if not operand_meta.type.is_numeric:  # -NULL
            type_ = INT32
        meta = ValueMetadata(
            type_,
            operand_meta.unit,
            operand_meta.ucd,
            None,
            None,
            None,
            operand_meta.nullable,
            operand_meta.constant,
            operand_meta.aggregate,
            operand_meta.origins,
        )
        return UnaryOperation(
            node.op,
            operand,
            text_offset=node.text_offset,
            meta=meta,
        )

    def bind_binary(self, node: BinaryOperation, scope: NameScope) -> Expr:
        """Bind ``+ - * / ||`` and the bitwise ones; a chain of a thousand is walked, not descended into."""
        first, links = split_chain(node, BinaryOperation)
        bound = self.bind_expression(first, scope)
        for link in links:
            bound = self.bind_operation(link, bound, self.bind_expression(link.right, scope))
        if node.op == "||":
            self.count_text_operation(node.text_offset)
        return bound

    def bind_operation(self, node: BinaryOperation, left_operand: Expr, right_operand: Expr) -> BinaryOperation:
        """Combine two bound operands."""
        op = node.op
        left_meta = require_meta(left_operand)
        right_meta = require_meta(right_operand)
        unit: str | None = None
        ucd: str | None = None
        if op == "||":
            self._check_texts(left_operand, right_operand)
            type_ = STRING
            if "unicodeChar" in {left_meta.type.datatype, right_meta.type.datatype}:
                type_ = UNICODE_STRING
        else:
            required_kind = "integer" if op in {"&", "|", "^"} else "number"
            for side in (left_operand, right_operand):
                self.require_number(side, required_kind, op, side.text_offset)
            types = [side.type for side in (left_meta, right_meta) if side.type.is_numeric] or [INT32]
            type_ = value_kinds.derive_arithmetic_type(op, types[0], types[-1])
            if op in {"+", "-"}:
                unit, ucd = derive_sum_units(left_meta, right_meta)
            elif op == "*":
                unit = units.compute_unit_product(left_meta.unit, right_meta.unit)
            elif op == "/":
                unit = units.divide_units(left_meta.unit, right_meta.unit)
            elif op == "%":
                unit = left_meta.unit
        meta = derive_meta((left_meta, right_meta), type_, unit, ucd)
        return BinaryOperation(
            op,
            left_operand,
            right_operand,
            text_offset=node.text_offset,
            meta=meta,
        )

    def _check_texts(self, *operands: Expr) -> None:
        """Refuse operands of || that are no texts."""
        for operand in operands:
            if classify_value(operand) not in {"text", "null"}:
                self.raise_bind_error(
                    format_message("operator || joins strings, and {value}", self.describe_expression(operand)),
                    operand.text_offset,
                    self.suggest_text_cast(operand),
                )

    def bind_cast(self, node: Cast, scope: NameScope) -> Expr:
        """Bind ``CAST(x AS type)``."""
        operand = self.bind_expression(node.operand, scope)
        operand_meta = require_meta(operand)
        target = " ".join(node.target.upper().split())
        if target not in CAST_TARGET_TYPES:
            self.raise_bind_error(
                format_message("no type {target} to cast to", node.target),
                node.text_offset,
                format_message(
                    "there are {names}",
                    ", ".join(name for name in CAST_TARGET_TYPES if name not in {"INT", "FLOAT", "DOUBLE"}),
                ),
            )
        type_ = CAST_TARGET_TYPES[target]
        if node.length is not None:
            if type_ is not STRING:
                self.raise_bind_error(format_message("{target} takes no length", target), node.text_offset)
            if node.length < 1:
                self.raise_bind_error(
                    format_message("{target}({length}) has no room", target, node.length),
                    node.text_offset,
                    "the length is at least 1",
                )
            if node.length > MAX_CAST_CHARACTERS[target]:
                self.raise_bind_error(
                    format_message("{target}({length}) is too long", target, node.length),
                    node.text_offset,
                    format_message("the length is at most {most}", MAX_CAST_CHARACTERS[target]),
                )
            if target == "CHAR":
                self.padded_character_count += node.length * (not self.inline_depth)
                self.check_count(
                    self.padded_character_count,
                    MAX_TEXT_BYTES,
                    "characters in all its CHARs",
                    node.text_offset,
                    "CAST to VARCHAR: it is not filled up",
                )
            type_ = Type("char", f"{node.length}" if target == "CHAR" else f"{node.length}*")
        actual_kind = classify_value(operand)
        target_kind = value_kinds.classify_type(type_)
        if not (
            actual_kind in {"text", "null", target_kind}
            or target_kind == "text"
            or {actual_kind, target_kind} == {"number", "boolean"}
        ):
            self.raise_bind_error(
                format_message("{value} and cannot be cast to {target}", self.describe_expression(operand), target),
                node.text_offset,
            )
        unit = operand_meta.unit if target_kind == actual_kind else None
        if target_kind == "time" and actual_kind == "text" and isinstance(operand, Literal):
            operand = self.normalize_time_literal(operand)
        meta = ValueMetadata(
            type_,
            unit,
            operand_meta.ucd,
            None,
            operand_meta.description,
            None,
            operand_meta.nullable,
            operand_meta.constant,
            operand_meta.aggregate,
            operand_meta.origins,
        )
        return Cast(
            operand,
            target,
            node.length,
            text_offset=node.text_offset,
            meta=meta,
        )

    def bind_case(self, node: Case, scope: NameScope) -> Expr:
        """Bind ``CASE [x] WHEN .. THEN .. ELSE .. END``; with x, every WHEN becomes a comparison."""
        if node.operand is None:
            operand = None
        else:
            operand = self.bind_expression(node.operand, scope)
        whens: list[tuple[Expr, Expr]] = []
        for when, then in node.whens:
            if operand is None:
                test = self.bind_condition(when, scope)
            else:
                left_operand, right_operand = self.make_comparable(
                    operand, self.bind_expression(when, scope), "CASE", when.text_offset
                )
                meta = derive_condition_meta(left_operand, right_operand)
                test = Comparison(
                    "=",
                    left_operand,
                    right_operand,
                    text_offset=when.text_offset,
                    meta=meta,
                )
            whens.append((test, self.bind_expression(then, scope)))
        if node.otherwise is None:
            otherwise = None
        else:
            otherwise = self.bind_expression(node.otherwise, scope)
        results = [then for _, then in whens] + ([otherwise] if otherwise is not None else [])
        results, type_ = self.unify_types(results, "CASE")
        for index, (test, _) in enumerate(whens):
            whens[index] = (test, results[index])
        if otherwise is not None:
            otherwise = results[-1]
        parts = [require_meta(item) for item in results]
        tests = [test.meta for test, _ in whens if test.meta is not None]
        units = {item.unit for item in parts if item.unit is not None or not item.constant}
        result_meta = derive_meta(
            (*parts, *tests), type_, units.pop() if len(units) == 1 else None, find_common_ucd(parts)
        )
        return Case(None, tuple(whens), otherwise, text_offset=node.text_offset, meta=result_meta)

    def bind_scalar_subquery(self, node: Subquery, scope: NameScope) -> Expr:
        """Bind a subquery as a value: it must have one column."""
        query, columns = self.bind_subquery(node.query, scope)
        if len(columns) != 1:
            self.raise_bind_error(
                format_message(
                    "a subquery that stands for a value has one column, and this one has {count}", len(columns)
                ),
                node.text_offset,
            )
        column = columns[0]
        meta = ValueMetadata(column.type, column.unit, column.ucd, None, column.description)
        return Subquery(
            query,
            text_offset=node.text_offset,
            meta=meta,
        )

    def bind_element(self, node: ArrayElement, scope: NameScope) -> Expr:
        """Bind ``array[n]``, ``array[i, j]``: NULL where there is none."""
        operand = self.bind_expression(node.operand, scope)
        operand_meta = require_meta(operand)
        actual_kind = classify_value(operand)
        if actual_kind not in {"array", "interval"} or operand_meta.type.datatype.endswith("Complex"):
            remedy = {"point": "write COORD1(p) or COORD2(p)", "text": "use SPLIT_PART or REGEXP_EXTRACT"}.get(
                actual_kind, ""
            )
            self.raise_bind_error(
                format_message("{value} and has no elements", self.describe_expression(operand)),
                node.text_offset,
                remedy,
            )
        axes = operand_meta.type.shape
        type_ = Type(operand_meta.type.datatype)
        if operand_meta.type.datatype in {"char", "unicodeChar"}:  # the first axis is the length of the strings
            type_ = Type(operand_meta.type.datatype, (operand_meta.type.arraysize or "").split("x")[0])
            axes = axes[1:]
        if len(node.indexes) != len(axes):
            index_letters = ", ".join("ijklmnopq"[: len(axes)])
            self.raise_bind_error(
                format_message(
                    "{value} has {count} axis ({size}), and {given}"
                    if len(axes) == 1
                    else "{value} has {count} axes ({size}), and {given}",
                    self.describe_expression(operand, name_only=True),
                    len(axes),
                    operand_meta.type.arraysize,
                    self.describe_argument_count(node.indexes),
                ),
                node.indexes[0].text_offset,
                format_message("write [{wanted}], the axes in this order", index_letters),
            )
        indexes = tuple([self.bind_expression(index, scope) for index in node.indexes])
        for index in indexes:
            self.require_number(index, "integer", "the number of an element", index.text_offset)
        parts = [operand_meta, *[require_meta(index) for index in indexes]]
        result_meta = derive_meta(parts, type_, operand_meta.unit, operand_meta.ucd)
        meta = ValueMetadata(
            type_,
            operand_meta.unit,
            operand_meta.ucd,
            None,
            operand_meta.description,
            None,
            True,
            result_meta.constant,
            result_meta.aggregate,
            result_meta.origins,
        )
        return ArrayElement(
            operand,
            indexes,
            text_offset=node.text_offset,
            meta=meta,
        )

    # --- conditions

    def bind_comparison(self, node: Comparison, scope: NameScope) -> Expr:
        """Bind ``a < b``."""
        left_operand = self.bind_expression(node.left, scope)
        right_operand = self.bind_expression(node.right, scope)
        left_operand, right_operand = self.make_comparable(left_operand, right_operand, node.op, node.text_offset)
        for predicate_side, literal_side in ((left_operand, right_operand), (right_operand, left_operand)):
            if (
                isinstance(predicate_side, FunctionCall)
                and predicate_side.name in PREDICATE_FUNCTIONS
                and isinstance(literal_side, Literal)
            ):
                self.fixed_slots.add(literal_side.slot)  # 1 or 0 decides which condition is written
        meta = derive_condition_meta(left_operand, right_operand)
        return Comparison(
            node.op,
            left_operand,
            right_operand,
            text_offset=node.text_offset,
            meta=meta,
        )

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
        for _ in range(2):  # what became a number, or a time, beside one of them is so beside the other
            operand, low = self.make_comparable(operand, low, "BETWEEN", node.low.text_offset)
            operand, high = self.make_comparable(operand, high, "BETWEEN", node.high.text_offset)
        if classify_value(operand) == "null":  # it fits both, and they must fit each other
            low, high = self.make_comparable(low, high, "BETWEEN", node.high.text_offset)
        meta = derive_condition_meta(operand, low, high)
        return BetweenPredicate(
            operand,
            low,
            high,
            node.negated,
            text_offset=node.text_offset,
            meta=meta,
        )

    def bind_in(self, node: InPredicate, scope: NameScope) -> Expr:
        """Bind ``x IN (..)``."""
        operand = self.bind_expression(node.operand, scope)
        if isinstance(node.choices, Subquery):
            choices = self.bind_scalar_subquery(node.choices, scope)
            operand, converted_operand = self.make_comparable(operand, choices, "IN", node.choices.text_offset)
            if converted_operand is not choices:
                self.raise_bind_error(
                    format_message(
                        "IN compares {value} with booleans", self.describe_expression(operand, name_only=True)
                    ),
                    node.choices.text_offset,
                    "write SELECT CAST(.. AS INTEGER)",
                )
            return InPredicate(
                operand,
                choices,  # type: ignore[arg-type]
                node.negated,
                text_offset=node.text_offset,
                meta=derive_condition_meta(operand),
            )
        if isinstance(node.choices, LiteralList):
            typed_list = node.choices.with_meta(build_literal_meta)
            samples = typed_list.sample_literals
            converted_pairs = [self.make_comparable(operand, sample, "IN", sample.text_offset) for sample in samples]
            if all(
                fitted_operand is operand and fitted_sample is sample
                for (fitted_operand, fitted_sample), sample in zip(converted_pairs, samples, strict=True)
            ):
                meta = derive_condition_meta(operand, *samples)
                return InPredicate(
                    operand,
                    typed_list,
                    node.negated,
                    text_offset=node.text_offset,
                    meta=meta,
                )
        bound_choices: list[Expr] = []
        first_typed_choice: Expr | None = None  # the first choice of a kind, where a NULL is looked for
        literal_types: set[type] = set()  # Python types of literals that are compared as they are: lists may be long
        for choice in node.choices:
            if type(choice) is Literal and type(choice.value) in literal_types:
                bound_choices.append(self.bind_literal(choice, scope))
                continue
            converted_operand, bound = self.make_comparable(
                operand, self.bind_expression(choice, scope), "IN", choice.text_offset
            )
            if classify_value(operand) == "null" and classify_value(bound) != "null":
                if first_typed_choice is None:
                    first_typed_choice = bound
                else:
                    first_typed_choice, bound = self.make_comparable(
                        first_typed_choice, bound, "IN", choice.text_offset
                    )
            if converted_operand is not operand:
                literal_types.clear()
                operand = converted_operand
                # it became a number, or a time
                bound_choices = [
                    self.make_comparable(operand, earlier_choice, "IN", earlier_choice.text_offset)[1]
                    for earlier_choice in bound_choices
                ]
            elif isinstance(choice, Literal) and isinstance(bound, Literal) and bound.value is choice.value:
                literal_types.add(type(choice.value))
            bound_choices.append(bound)
        return InPredicate(
            operand,
            tuple(bound_choices),
            node.negated,
            text_offset=node.text_offset,
            meta=derive_condition_meta(operand, *bound_choices),
        )

    def bind_like(self, node: LikePredicate, scope: NameScope) -> Expr:
        """Bind ``s LIKE pattern``."""
        operand = self.bind_expression(node.operand, scope)
        pattern = self.bind_expression(node.pattern, scope)
        word = "ILIKE" if node.ignore_case else "LIKE"
        for side in (operand, pattern):
            if classify_value(side) not in {"text", "null"}:
                self.raise_bind_error(
                    format_message("{word} compares strings, and {value}", word, self.describe_expression(side)),
                    side.text_offset,
                    self.suggest_text_cast(side),
                )
        meta = derive_condition_meta(operand, pattern)
        return LikePredicate(
            operand,
            pattern,
            node.negated,
            node.ignore_case,
            text_offset=node.text_offset,
            meta=meta,
        )

    def bind_is_null(self, node: NullPredicate, scope: NameScope) -> Expr:
        """Bind ``x IS NULL``."""
        operand = self.bind_expression(node.operand, scope)
        return NullPredicate(operand, node.negated, text_offset=node.text_offset, meta=derive_condition_meta(operand))

    def bind_exists(self, node: ExistsPredicate, scope: NameScope) -> Expr:
        """Bind ``EXISTS (SELECT ..)``."""
        query, _ = self.bind_subquery(node.query, scope)
        return ExistsPredicate(query, text_offset=node.text_offset, meta=CONDITION_META)


BINDER_METHODS: dict[type, Callable[..., Expr]] = {
    Literal: ExpressionBinder.bind_literal,
    ColumnRef: ExpressionBinder.bind_column,
    UnaryOperation: ExpressionBinder.bind_unary,
    BinaryOperation: ExpressionBinder.bind_binary,
    FunctionCall: ExpressionBinder.bind_function,
    WindowExpression: ExpressionBinder.bind_window,
    ArrayElement: ExpressionBinder.bind_element,
    Cast: ExpressionBinder.bind_cast,
    Case: ExpressionBinder.bind_case,
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
