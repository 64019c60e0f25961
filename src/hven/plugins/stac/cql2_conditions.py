"""Translate CQL2 (OGC 21-065) to conditions of ADQL.

Text is parsed by the library cql2; its JSON is translated here. Names are properties of items or columns of the table.
"""

from __future__ import annotations

import re
from functools import reduce
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import orjson

from hven.adql.syntax_tree import (
    BetweenPredicate,
    BinaryOperation,
    ColumnRef,
    Comparison,
    Conjunction,
    Expr,
    FunctionCall,
    InPredicate,
    LikePredicate,
    Literal,
    Negation,
    NullPredicate,
    build_column_ref,
)
from hven.model.errors import TooLargeError, UserError, format_message, suggest_spelling
from hven.plugins.stac.condition_parts import (
    FALSE_CONDITION,
    TRUE_CONDITION,
    build_filter_error,
    join_alternatives,
)
from hven.plugins.stac.spatial_conditions import (
    SPATIAL_OPERATORS,
    build_missing_geometry_condition,
    build_spatial_condition,
)
from hven.plugins.stac.temporal_conditions import (
    TEMPORAL_OPERATORS,
    TemporalProperty,
    TimeSpan,
    build_temporal_condition,
    find_temporal_property,
    parse_instant,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Column
    from hven.plugins.stac.item_tables import ItemTable

MAX_FILTER_CHARACTERS = 50_000
MAX_FILTER_DEPTH = 60  # of brackets and operators, one in the other
MAX_ARITHMETIC_OPERATORS = 500  # of a text: some thousands overflow the parser's stack, which ends the process
_QUOTED_PATTERN = re.compile(r"'[^']*'|\"[^\"]*\"")
_LONG_INTEGER_PATTERN = re.compile(r"(?<![\w.])\d{16,}(?![\w.])")
_NUMBER = r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?"
# up to four numbers between commas or brackets, such as the positions of a geometry
_POSITION_PATTERN = re.compile(rf"(?<=[(,])\s*{_NUMBER}(?:\s+{_NUMBER}){{0,3}}\s*(?=[,)])")
_COMPARISONS = {"=", "<>", "<", ">", "<=", ">="}
_REVERSED_COMPARISONS = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_ARITHMETIC_FUNCTIONS = {"%": "MOD", "^": "POWER"}
_ARRAY_OPERATORS = {"a_contains", "a_containedBy", "a_equals", "a_overlaps"}
_ARRAY_PROPERTY = "ssys:targets"
_OPERATION_REMEDY = 'write {"op": .., "args": [..]}'
LARGEST_EXACT_INTEGER = 2**53  # of numbers in double precision


def parse_cql2_text(text: str) -> dict[str, Any]:
    """Parse CQL2 text to CQL2 JSON.

    Parameters
    ----------
    text
        The filter.

    Returns
    -------
    filter
        The filter as CQL2 JSON.

    Raises
    ------
    ParamError, TooLargeError
        The text is no CQL2, or too long or too deep.
    """
    try:
        import cql2  # noqa: PLC0415  (only filters in text need it)
    except ImportError:
        raise UserError(
            "filters in CQL2 text require the library cql2, which is not installed",
            remedy="run `pip install 'hven[stac]'`, or send the filter as CQL2 JSON",
        ) from None
    require_short_filter(text)
    _check_text_depth(text)
    for digits in _LONG_INTEGER_PATTERN.findall(_QUOTED_PATTERN.sub("", text)):
        if int(float(digits)) != int(digits):  # the library reads each number as a double
            message = format_message("{number} has more digits than numbers in CQL2 text can have", digits)
            raise build_filter_error(message, "send the filter as CQL2 JSON, with filter-lang=cql2-json")
    try:
        parsed: Any = cql2.Expr(text).to_json()
    except Exception as error:  # noqa: BLE001  (the library raises plain exceptions)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        position = lines[0].removeprefix("--> ") if lines else ""
        reason = lines[-1].removeprefix("= ") if lines else ""
        message = format_message("the filter is not CQL2: line:column {position}: {reason}", position, reason)
        raise build_filter_error(message, "write, for example, epn:target_name = 'Mars'") from None
    if not isinstance(parsed, dict):
        raise build_filter_error("the filter is a value, not a condition", "compare the value with something")
    return parsed


def parse_cql2_json(text: str | bytes) -> dict[str, Any]:
    """Parse CQL2 JSON.

    Parameters
    ----------
    text
        The filter.

    Returns
    -------
    filter
        The filter; its operators are not checked.

    Raises
    ------
    ParamError, TooLargeError
        The text is no JSON object, or too long.
    """
    require_short_filter(text)
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise build_filter_error(f"the filter is not JSON: {error}", "send CQL2 JSON") from None
    if not isinstance(parsed, dict):
        raise build_filter_error("the filter is not a JSON object", _OPERATION_REMEDY)
    return parsed


def require_short_filter(text: str | bytes) -> None:
    """Refuse filters with too many characters."""
    if len(text) > MAX_FILTER_CHARACTERS:
        message = "the filter has {count:,} characters; the limit is {most:,}"
        raise TooLargeError(format_message(message, len(text), MAX_FILTER_CHARACTERS))


def _check_text_depth(text: str) -> None:
    """Refuse texts that are nested so deeply that the parser's stack would overflow."""
    text = _QUOTED_PATTERN.sub("", text)
    operator_count = len(re.findall(r"[-+*/%^]", _POSITION_PATTERN.sub("0", text)))
    if operator_count > MAX_ARITHMETIC_OPERATORS:
        message = format_message(
            "the filter has {count:,} arithmetic operators; the limit is {most:,}",
            operator_count,
            MAX_ARITHMETIC_OPERATORS,
        )
        raise TooLargeError(message)
    depths = accumulate((character == "(") - (character == ")") for character in text)
    _check_depth(max(max(depths, default=0), text.upper().count("NOT") // 10))


def build_filter_condition(
    parsed_filter: object, item_table: ItemTable, collection_span: TimeSpan | None = None
) -> Expr:
    """Translate a filter to a condition on the rows of a table.

    Parameters
    ----------
    parsed_filter
        CQL2 JSON.
    item_table
        Table whose rows are filtered.
    collection_span
        The time that rows without a time take.

    Returns
    -------
    condition
        A condition of ADQL.

    Raises
    ------
    ParamError
        The filter has an unknown operator or property, or values of the wrong kind.
    """
    return _FilterTranslator(item_table, collection_span).translate_condition(parsed_filter, 0)


class _FilterTranslator:
    """Translates the nodes of a filter."""

    def __init__(self, item_table: ItemTable, collection_span: TimeSpan | None) -> None:
        self.item_table = item_table
        self.collection_span = collection_span
        self._translators: dict[str, Callable[[str, Sequence[Any], int], Expr]] = {
            **dict.fromkeys(("and", "or", "not"), self._translate_logical),
            **dict.fromkeys(_COMPARISONS, self._translate_comparison),
            **dict.fromkeys(TEMPORAL_OPERATORS, self._translate_temporal),
            **dict.fromkeys(
                SPATIAL_OPERATORS,
                lambda op, args, _: build_spatial_condition(op, _require_args(op, args, 2), item_table),
            ),
            **dict.fromkeys(_ARRAY_OPERATORS, self._translate_array_predicate),
            "like": self._translate_like,
            "between": self._translate_between,
            "in": self._translate_in,
            "isNull": self._translate_null,
        }

    def translate_condition(self, node: object, depth: int) -> Expr:
        """Translate a condition."""
        _check_depth(depth)
        if isinstance(node, bool):
            return TRUE_CONDITION if node else FALSE_CONDITION
        if isinstance(node, dict) and isinstance(node.get("property"), str):
            return Comparison("=", self._translate_property(node), Literal(True))
        op, args = _read_operation(node)
        translate = self._translators.get(op)
        if translate is None:
            remedy = "use an operator of the conformance classes that /stac/conformance lists"
            raise build_filter_error(f"the filter contains the unknown operator {op!r:.60}", remedy)
        return translate(op, args, depth + 1)

    def _translate_logical(self, op: str, args: Sequence[Any], depth: int) -> Expr:
        if op == "not":
            return Negation(self.translate_condition(_require_args(op, args, 1)[0], depth))
        parts = tuple(self.translate_condition(arg, depth) for arg in args)
        if len(parts) < 2:
            raise build_filter_error(f"{op} needs at least two conditions")
        return Conjunction(parts) if op == "and" else join_alternatives(parts)

    def _translate_temporal(self, op: str, args: Sequence[Any], _: int) -> Expr:
        first, second = _require_args(op, args, 2)
        return build_temporal_condition(op, first, second, self.item_table, self.collection_span)

    def _translate_comparison(self, op: str, args: Sequence[Any], depth: int) -> Expr:
        left, right = _require_args(op, args, 2)
        if _is_time_literal(left):
            left, right = right, left
            op = _REVERSED_COMPARISONS.get(op, op)
        if isinstance(right, str) and self._find_temporal_property(left) is not None:
            right = {"timestamp": right}  # clients often send plain texts
        if _is_time_literal(right):
            return self._compare_time(op, left, right)
        left_value, right_value = self._translate_compared_values([left, right], depth)
        return Comparison(op, left_value, right_value)

    def _compare_time(self, op: str, left: object, right: dict[str, Any]) -> Expr:
        own = self._find_temporal_property(left)
        if own is None:
            message = "a time is compared with something that is not a time"
            raise build_filter_error(message, "compare the time with the property datetime")
        condition = own.build_comparison(op, parse_instant(str(right.get("timestamp", right.get("date")))))
        if own.begin == own.end:
            return condition
        # `datetime` is null in items that last for some time
        return Conjunction((condition, Comparison("=", own.begin, own.end)))

    def _find_temporal_property(self, node: object) -> TemporalProperty | None:
        return find_temporal_property(node, self.item_table, self.collection_span)

    def _translate_null(self, op: str, args: Sequence[Any], depth: int) -> Expr:
        (operand,) = _require_args(op, args, 1)
        name = str(operand.get("property")) if isinstance(operand, dict) else ""
        if name.removeprefix("properties.") == "geometry":
            return build_missing_geometry_condition(self.item_table)
        own = self._find_temporal_property(operand)
        if own is None or isinstance(own.begin, ColumnRef):
            return NullPredicate(self._translate_value(operand, depth) if own is None else own.begin)
        return FALSE_CONDITION if own.begin == own.end else Comparison("<>", own.begin, own.end)

    def _translate_between(self, op: str, args: Sequence[Any], depth: int) -> Expr:
        if len(args) == 2 and isinstance(args[1], list):  # both limits in a list, as in drafts of CQL2
            args = [args[0], *args[1]]
        operand, low, high = _require_args(op, args, 3)
        if self._find_temporal_property(operand) is not None:
            above = self._translate_comparison(">=", [operand, low], depth)
            return Conjunction((above, self._translate_comparison("<=", [operand, high], depth)))
        value, low_value, high_value = self._translate_compared_values([operand, low, high], depth)
        return BetweenPredicate(value, low_value, high_value)

    def _translate_in(self, op: str, args: Sequence[Any], depth: int) -> Expr:
        operand, choices = _require_args(op, args, 2)
        if not isinstance(choices, list) or not choices:
            raise build_filter_error("IN needs a list of values")
        if self._find_temporal_property(operand) is not None:
            return join_alternatives([self._translate_comparison("=", [operand, choice], depth) for choice in choices])
        value, *choice_values = self._translate_compared_values([operand, *choices], depth)
        return InPredicate(value, tuple(choice_values))

    def _translate_like(self, op: str, args: Sequence[Any], depth: int) -> Expr:
        operand, pattern = _require_args(op, args, 2)
        pattern_text = pattern
        match pattern:
            case {"args": [argument, *_]}:  # of a function such as casei
                pattern_text = argument
        if not isinstance(pattern_text, str) or "\\" in pattern_text:
            raise build_filter_error("the pattern of LIKE must be text without \\; the wildcards are % and _")
        return LikePredicate(self._translate_value(operand, depth), self._translate_value(pattern, depth))

    def _translate_array_predicate(self, op: str, args: Sequence[Any], _: int) -> Expr:
        """Translate predicates on the targets of an item, which are one text joined by # in the column."""
        operand, values = _require_args(op, args, 2)
        column = self.item_table.target_column
        name = operand.get("property") if isinstance(operand, dict) else None
        is_text_list = isinstance(values, list) and values and all(isinstance(value, str) for value in values)
        if column is None or name != _ARRAY_PROPERTY or not is_text_list:
            raise build_filter_error(f"{op} needs the property {_ARRAY_PROPERTY} and a list of strings")
        reference = build_column_ref(column.name)
        if op in {"a_containedBy", "a_equals"}:
            if len(values) > 1:
                message = f"the list in {op} must contain exactly one string"
                raise build_filter_error(message, "use a_contains or a_overlaps")
            return Comparison("=", reference, Literal(values[0]))
        parts = tuple(_build_target_condition(reference, value) for value in values)
        if op == "a_overlaps" or len(parts) == 1:
            return join_alternatives(parts)
        return Conjunction(parts)

    def _translate_compared_values(self, nodes: Sequence[Any], depth: int) -> list[Expr]:
        """Translate values that are compared; numbers are rounded to the precision of the property among them."""
        names = [node["property"] for node in nodes if isinstance(node, dict) and isinstance(node.get("property"), str)]
        for column in map(self.item_table.find_property_column, names):
            if column is not None:
                nodes = [column.type.round_number(node) if isinstance(node, float) else node for node in nodes]
        return [self._translate_value(node, depth) for node in nodes]

    def _translate_value(self, node: object, depth: int) -> Expr:
        """Translate a scalar."""
        _check_depth(depth)
        if node is None or isinstance(node, bool | int | str):
            return Literal(node)
        if isinstance(node, float):
            return Literal(int(node) if node.is_integer() and abs(node) < LARGEST_EXACT_INTEGER else node)
        if isinstance(node, dict) and "property" in node:
            return self._translate_property(node)
        op, args = _read_operation(node)
        arg_count = {"casei": 1}.get(op, 2)
        return _build_call(op, [self._translate_value(arg, depth + 1) for arg in _require_args(op, args, arg_count)])

    def _translate_property(self, node: dict[str, Any]) -> Expr:
        name = node["property"]
        if not isinstance(name, str):
            raise build_filter_error("the name of a property is not text")
        if name == "collection":
            return Literal(self.item_table.id)
        return build_column_ref(find_filter_column(name, self.item_table).name)


def _build_call(op: str, values: Sequence[Expr]) -> Expr:
    """Build a function or an arithmetic operation; division of whole numbers is one of real numbers in CQL2."""
    if op == "casei":
        return FunctionCall("LOWER", (values[0],))
    if op in _ARITHMETIC_FUNCTIONS:
        return FunctionCall(_ARITHMETIC_FUNCTIONS[op], tuple(values))
    if op in {"+", "-", "*"}:
        return BinaryOperation(op, *values)
    if op not in {"/", "div"}:
        remedy = "use a function of the conformance classes that /stac/conformance lists"
        raise build_filter_error(f"the filter contains the unknown function {op!r:.60}", remedy)
    quotient = BinaryOperation("/", BinaryOperation("*", values[0], Literal(1.0)), values[1])
    if op == "div":
        return FunctionCall("TRUNCATE", (quotient,))
    return quotient


def _is_time_literal(node: object) -> bool:
    return isinstance(node, dict) and not {"timestamp", "date"}.isdisjoint(node)


def _check_depth(depth: int) -> None:
    if depth > MAX_FILTER_DEPTH:
        raise TooLargeError(format_message("the filter is nested more than {most} levels deep", MAX_FILTER_DEPTH))


def find_filter_column(name: str, item_table: ItemTable) -> Column:
    """Find the column of a property of a filter.

    Parameters
    ----------
    name
        Name of the property.
    item_table
        Table of the items.

    Raises
    ------
    ParamError
        There is no such property, or it has no single value.
    """
    column = item_table.find_property_column(name)
    if column is None:
        remedy = suggest_spelling(name, list(item_table.property_columns)) or "see the queryables of the collection"
        raise build_filter_error(f"{item_table.id} has no property {name!r:.80}", remedy)
    if column.type.is_array and not column.type.is_string:
        raise build_filter_error(f"the property {name!r:.80} is a list of numbers, so filters cannot use it")
    return column


def _build_target_condition(reference: Expr, value: str) -> Expr:
    """Build the condition that a text joined by # has a part; LIKE alone would take _ for any character."""
    has_part = Comparison("=", Literal(1), FunctionCall("IVO_HASHLIST_HAS", (reference, Literal(value))))
    joined = reduce(lambda left, right: BinaryOperation("||", left, right), (Literal("#"), reference, Literal("#")))
    return Conjunction((has_part, LikePredicate(joined, Literal(f"%#{value}#%"))))


def _read_operation(node: object) -> tuple[str, Sequence[Any]]:
    match node:
        case {"op": str(op), "args": list(args)}:
            return op, args
    raise build_filter_error(f"{node!r:.80} is neither a condition nor a value of CQL2", _OPERATION_REMEDY)


def _require_args(op: str, args: Sequence[Any], count: int) -> Sequence[Any]:
    if len(args) != count:
        raise build_filter_error(f"{op} takes {count} arguments, but in the filter it has {len(args)}")
    return args
