"""Locate the expression of a query whose evaluation failed.

An engine says what failed, but not where. This module searches the query for the expressions that can fail in this way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hven.adql._parser import parse_query
from hven.adql.syntax_tree import (
    BinaryOperation,
    CastExpression,
    DerivedTable,
    FunctionCall,
    InPredicate,
    Literal,
    Query,
    Subquery,
    walk_tree,
)
from hven.model.errors import EvaluationError, HvenError, format_message, join_messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_CAST_TARGET_PATTERN: Final = re.compile(
    r"(?:cannot be read as|is out of the range of) "
    r"(SMALLINT|INTEGER|BIGINT|REAL|DOUBLE PRECISION|BYTE|BOOLEAN|TIMESTAMP)"
)
_ARITHMETIC_PATTERN: Final = re.compile(r"(\S+) ([-+*/%]) (\S+) is out of the range")
_CALL_PATTERNS: Final = (
    (re.compile(r"abs\(", re.IGNORECASE), ("ABS",)),
    (re.compile(r"square root"), ("SQRT",)),
    (re.compile(r"logarithm"), ("LOG", "LOG10", "LN")),
    (re.compile(r"regular expression|missing [)\]]|invalid escape|no argument for repetition", re.IGNORECASE), ()),
)
# the kind of suspect expressions if the engine's message does not tell it
ANY_EXPRESSION: Final = format_message("expressions")
_MAX_NAMED_LOCATIONS: Final = 4


def locate_evaluation_error(
    error: EvaluationError, query_text: str, bound_query: Query | None = None
) -> EvaluationError:
    """Locate the expression of a query whose evaluation failed.

    If several expressions may have failed, the error points to the first one and its message names the others.

    Parameters
    ----------
    error
        The error as the engine raised it.
    query_text
        The query as the client sent it.
    bound_query
        The same query after binding, with the views that it reads. A failure inside a view is located where the query
        reads the view.

    Returns
    -------
    error
        An error with its place in the text; the same object if no expression is suspect.
    """
    if error.text or not query_text:
        return error
    try:
        tree = parse_query(query_text)
    except HvenError:
        return error
    suspect_kind, text_offsets = _find_suspect_expressions(error.message, tree)
    has_exact_kind = bool(text_offsets) and suspect_kind != ANY_EXPRESSION
    view_offsets = _find_suspect_view_offsets(error.message, bound_query, exact_kind_only=has_exact_kind)
    if view_offsets and has_exact_kind:  # the view or the text may have failed: point to neither of them alone
        locations = _format_locations(query_text, text_offsets)
        view_location = _format_location(query_text, view_offsets[0])
        message = format_message(
            "{message} (possible places: the view at {place}; {what} at {shown})",
            error.message,
            view_location,
            suspect_kind,
            locations,
        )
        return EvaluationError(message, remedy=error.remedy)
    if view_offsets:
        message = format_message("{message} (in the view that is read here)", error.message)
        return EvaluationError(message, text=query_text, offset=view_offsets[0], remedy=error.remedy)
    if not text_offsets:
        return error
    message = format_message(error.message)
    if len(text_offsets) > 1:
        locations = _format_locations(query_text, text_offsets)
        message = format_message(
            "{message} (in one of these {count} {what}: {shown})", message, len(text_offsets), suspect_kind, locations
        )
    return EvaluationError(message, text=query_text, offset=text_offsets[0], remedy=error.remedy)


def _find_suspect_view_offsets(message: str, bound_query: Query | None, *, exact_kind_only: bool) -> list[int]:
    """Return the text offsets of the views in which the evaluation may have failed.

    With `exact_kind_only`, a view counts only if the message fits the kind of one of its expressions.
    """
    if bound_query is None:
        return []
    view_offsets: list[int] = []
    for view in _list_view_references(bound_query):
        kind, expression_offsets = _find_suspect_expressions(message, view.query)
        is_suspect = kind != ANY_EXPRESSION or not exact_kind_only
        if expression_offsets and is_suspect:
            view_offsets.append(view.text_offset)
    return view_offsets


def _list_view_references(bound_query: Query) -> list[DerivedTable]:
    """Return the views that a query reads directly: each is a derived table with a text of its own."""
    views: list[DerivedTable] = []
    nested_ids: set[int] = set()
    for node in walk_tree(bound_query):
        if isinstance(node, DerivedTable) and node.query.text and id(node) not in nested_ids:
            views.append(node)
            nested_ids |= {id(inner) for inner in walk_tree(node.query)}
    return views


def _find_suspect_expressions(message: str, tree: Query) -> tuple[str, list[int]]:
    """Return the kind of expressions that may have failed, in the plural, and their offsets."""
    nodes = list(walk_tree(tree))
    if "several rows" in message:
        choice_ids = {id(node.choices) for node in nodes if isinstance(node, InPredicate)}
        subqueries = [node for node in nodes if isinstance(node, Subquery) and id(node) not in choice_ids]
        return format_message("subqueries"), _collect_suspect_offsets(subqueries, lambda _: True)
    arithmetic_match = _ARITHMETIC_PATTERN.search(message)
    if arithmetic_match is not None:
        left_value, op, right_value = arithmetic_match.groups()
        operations = [node for node in nodes if isinstance(node, BinaryOperation) and node.op == op]

        def may_have_values(node: BinaryOperation) -> bool:
            return _may_have_value(node.left, left_value) and _may_have_value(node.right, right_value)

        return format_message("operations with {op}", op), _collect_suspect_offsets(operations, may_have_values)
    calls = [node for node in nodes if isinstance(node, FunctionCall)]
    for pattern, names in _CALL_PATTERNS:
        if pattern.search(message):
            candidates = [node for node in calls if _is_suspect_function(node.name, names)]
            return format_message("calls"), _collect_suspect_offsets(candidates, lambda _: True)
    return _find_suspect_conversions(message, nodes)


def _find_suspect_conversions(message: str, nodes: list[Any]) -> tuple[str, list[int]]:
    """Return the CASTs or converting calls that may have failed; every expression if there are none."""
    cast_match = _CAST_TARGET_PATTERN.search(message)
    if cast_match is not None:
        target_type = cast_match[1]
    elif "timestamp" in message:
        target_type = "TIMESTAMP"
    else:
        target_type = ""
    casts = [node for node in nodes if isinstance(node, CastExpression)]
    matching_cast_offsets = _collect_suspect_offsets(casts, lambda cast: cast.target == target_type)
    if matching_cast_offsets and target_type:
        return format_message("CASTs"), matching_cast_offsets
    calls = [node for node in nodes if isinstance(node, FunctionCall)]
    converting_call_offsets = _collect_suspect_offsets(calls, lambda call: call.name in _CONVERTING_FUNCTIONS)
    if converting_call_offsets and cast_match is not None:
        return format_message("calls"), converting_call_offsets
    cast_offsets = _collect_suspect_offsets(casts, lambda _: True)
    is_conversion = target_type or "cast" in message.lower() or "convert" in message.lower()
    if cast_offsets and is_conversion:
        return format_message("CASTs"), cast_offsets
    expression_offsets = _collect_suspect_offsets(
        nodes, lambda node: isinstance(node, CastExpression | FunctionCall | BinaryOperation)
    )
    return ANY_EXPRESSION, expression_offsets


_CONVERTING_FUNCTIONS: Final = {"SUM", "ROUND", "TRUNCATE", "FLOOR", "CEILING", "POWER", "EXP", "TIMESTAMP"}


def _may_have_value(operand: Any, value: str) -> bool:
    """Return whether an operand may have had the value that the engine names."""
    return not isinstance(operand, Literal) or str(operand.value) == value


def _is_suspect_function(function_name: str, candidate_names: tuple[str, ...]) -> bool:
    if candidate_names:
        return function_name in candidate_names
    return function_name.startswith("REGEXP")


def _collect_suspect_offsets(nodes: Iterable[Any], is_suspect: Callable[[Any], bool]) -> list[int]:
    located_nodes = (node for node in nodes if node.text_offset >= 0)
    return sorted({node.text_offset for node in located_nodes if is_suspect(node)})


def _format_locations(query_text: str, text_offsets: Sequence[int]) -> str:
    named_offsets = text_offsets[:_MAX_NAMED_LOCATIONS]
    locations = [_format_location(query_text, text_offset) for text_offset in named_offsets]
    if len(text_offsets) > _MAX_NAMED_LOCATIONS:
        locations.append("..")
    return join_messages("{one}; {other}", locations)


def _format_location(query_text: str, text_offset: int) -> str:
    text_before = query_text[:text_offset]
    line = text_before.count("\n") + 1
    column = text_offset - text_before.rfind("\n")
    return format_message("line {line}, column {column}", line, column)
