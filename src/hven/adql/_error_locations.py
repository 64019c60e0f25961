"""Where in a query a value could not be computed.

Engines say what failed, not where, so the expressions that may fail so are looked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hven.adql._parser import parse_query
from hven.adql.syntax_tree import (
    BinaryOperation,
    Cast,
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
ANY_EXPRESSION: Final = format_message("expressions")  # where nothing tells which kind of them
_MAX_NAMED_LOCATIONS: Final = 4  # that are named at most


def locate_evaluation_error(
    error: EvaluationError, query_text: str, bound_query: Query | None = None
) -> EvaluationError:
    """Locate the expression of a query that an evaluation failed in.

    If several may have, the first one, and all of them are named.

    Parameters
    ----------
    error
        As the engine raised it.
    query_text
        The query as it was sent.
    bound_query
        The same, bound: with the views that it reads. What may have failed in one of them is told by where the view is
        read.

    Returns
    -------
    error
        With its place in the text; the same object where nothing is found.
    """
    if error.text or not query_text:
        return error
    try:
        tree = parse_query(query_text)
    except HvenError:
        return error
    suspect_kind, text_offsets = _find_suspects(error.message, tree)
    in_views = [
        (view.text_offset, *_find_suspects(error.message, view.query))
        for view in ([] if bound_query is None else _list_view_references(bound_query))
    ]
    has_exact_kind = bool(text_offsets) and suspect_kind != ANY_EXPRESSION
    suspect_views = [
        (text_offset, kind)
        for text_offset, kind, places in in_views
        if places and (kind != ANY_EXPRESSION or not has_exact_kind)
    ]
    if suspect_views and has_exact_kind:  # the view or the text: neither is blamed alone
        locations = _format_locations(query_text, text_offsets)
        message = format_message(
            "{message} (in one of the {what} at {shown}, or in the view that is read at {place})",
            error.message,
            suspect_kind,
            locations,
            _format_location(query_text, suspect_views[0][0]),
        )
        return EvaluationError(message, remedy=error.remedy)
    if suspect_views:
        message = format_message("{message} (in the view that is read here)", error.message)
        return EvaluationError(message, text=query_text, offset=suspect_views[0][0], remedy=error.remedy)
    if not text_offsets:
        return error
    message = format_message(error.message)
    if len(text_offsets) > 1:
        locations = _format_locations(query_text, text_offsets)
        message = format_message(
            "{message} (in one of {count} {what}: {shown})", message, len(text_offsets), suspect_kind, locations
        )
    return EvaluationError(message, text=query_text, offset=text_offsets[0], remedy=error.remedy)


def _list_view_references(bound_query: Query) -> list[DerivedTable]:
    """Return the views that a query reads itself: each is a derived table with a text of its own."""
    views: list[DerivedTable] = []
    nested_ids: set[int] = set()
    for node in walk_tree(bound_query):
        if isinstance(node, DerivedTable) and node.query.text and id(node) not in nested_ids:
            views.append(node)
            nested_ids |= {id(inner) for inner in walk_tree(node.query)}
    return views


def _find_suspects(message: str, tree: Query) -> tuple[str, list[int]]:
    """Return the kind of expressions that may have failed, in the plural, and their offsets."""
    nodes = list(walk_tree(tree))
    if "several rows" in message:
        choices = {id(node.choices) for node in nodes if isinstance(node, InPredicate)}
        subqueries = [node for node in nodes if isinstance(node, Subquery) and id(node) not in choices]
        return format_message("subqueries"), _collect_offsets(subqueries, lambda _: True)
    arithmetic_match = _ARITHMETIC_PATTERN.search(message)
    if arithmetic_match is not None:
        left_value, op, right_value = arithmetic_match.groups()
        operations = [node for node in nodes if isinstance(node, BinaryOperation) and node.op == op]

        def may_have_values(node: BinaryOperation) -> bool:
            return _may_have_value(node.left, left_value) and _may_have_value(node.right, right_value)

        return format_message("operations {op}", op), _collect_offsets(operations, may_have_values)
    calls = [node for node in nodes if isinstance(node, FunctionCall)]
    for pattern, names in _CALL_PATTERNS:
        if pattern.search(message):
            candidates = [node for node in calls if _is_candidate_function(node.name, names)]
            return format_message("calls"), _collect_offsets(candidates, lambda _: True)
    return _find_suspect_casts(message, nodes)


def _find_suspect_casts(message: str, nodes: list[Any]) -> tuple[str, list[int]]:
    """Return the CASTs, or calls that convert, that may have failed; any expression if there is none."""
    cast_match = _CAST_TARGET_PATTERN.search(message)
    if cast_match is not None:
        target_type = cast_match[1]
    elif "timestamp" in message:
        target_type = "TIMESTAMP"
    else:
        target_type = ""
    casts = _collect_offsets(nodes, lambda node: isinstance(node, Cast) and node.target == target_type)
    if casts and target_type:
        return format_message("CASTs"), casts
    converting_calls = _collect_offsets(
        nodes, lambda node: isinstance(node, FunctionCall) and node.name in _CONVERTING_FUNCTIONS
    )
    if converting_calls and cast_match is not None:
        return format_message("calls"), converting_calls
    casts = _collect_offsets(nodes, lambda node: isinstance(node, Cast))
    if casts and (target_type or "cast" in message.lower() or "convert" in message.lower()):
        return format_message("CASTs"), casts
    offsets = _collect_offsets(nodes, lambda node: isinstance(node, Cast | FunctionCall | BinaryOperation))
    return ANY_EXPRESSION, offsets


_CONVERTING_FUNCTIONS: Final = {"SUM", "ROUND", "TRUNCATE", "FLOOR", "CEILING", "POWER", "EXP", "TIMESTAMP"}


def _may_have_value(operand: Any, value: str) -> bool:
    """Return whether an operand may have had the value that the engine names."""
    return not isinstance(operand, Literal) or str(operand.value) == value


def _is_candidate_function(function_name: str, candidate_names: tuple[str, ...]) -> bool:
    if candidate_names:
        return function_name in candidate_names
    return function_name.startswith("REGEXP")


def _collect_offsets(nodes: Iterable[Any], is_suspect: Callable[[Any], bool]) -> list[int]:
    located_nodes = (node for node in nodes if node.text_offset >= 0)
    return sorted({node.text_offset for node in located_nodes if is_suspect(node)})


def _format_locations(query_text: str, text_offsets: Sequence[int]) -> str:
    named_offsets = text_offsets[:_MAX_NAMED_LOCATIONS]
    locations = [_format_location(query_text, text_offset) for text_offset in named_offsets]
    if len(text_offsets) > _MAX_NAMED_LOCATIONS:
        locations.append("..")
    return join_messages("{one}; {other}", locations)


def _format_location(query_text: str, text_offset: int) -> str:
    before = query_text[:text_offset]
    return format_message(
        "line {line}, column {column}", before.count(chr(10)) + 1, text_offset - before.rfind(chr(10))
    )
