"""Names for output columns that the query does not name: the columns and operations of the expression, in its order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import (
    ArrayElement,
    BinaryOperation,
    CaseExpression,
    CastExpression,
    ColumnRef,
    Expr,
    FunctionCall,
    Literal,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    UnaryOperation,
    WindowExpression,
    split_left_deep_chain,
    walk_tree,
)
from hven.adql.value_kinds import require_meta

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAME_CHARACTERS = 40
# longer numbers (positions, epochs) vary from query to query, so a name does not contain them
_MAX_NAMED_DIGITS = 4
_OPERATOR_WORDS = {
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "over",
    "%": "mod",
    "&": "bitand",
    "|": "bitor",
    "^": "bitxor",
}
_SIGN_WORDS = {"-": "minus", "~": "bitnot"}
_NON_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9]+")


def build_output_name(expr: Expr) -> tuple[str, list[Literal]]:
    """Make a name for an unnamed expression: ``ra_plus_1``, ``count_all``, ``max_ra``, ``ra`` of ``CAST(ra AS REAL)``.

    The name depends on the expression alone, not on its place or spelling. It is a regular identifier of at most
    `MAX_NAME_CHARACTERS` characters.

    Returns
    -------
    tuple
        The name, and the literals whose values it contains.
    """
    inner = expr
    while isinstance(inner, CastExpression):
        inner = inner.operand
    if isinstance(inner, ColumnRef):
        return inner.column_name, []
    named_literals: list[Literal] = []
    name = ""
    for word in _iterate_name_words(inner, named_literals, in_arguments=False):
        extended_name = f"{name}_{word}" if name else word
        if len(extended_name) > MAX_NAME_CHARACTERS:
            name = name or extended_name[:MAX_NAME_CHARACTERS].rstrip("_")
            break
        name = extended_name
    if not name:
        is_string = isinstance(inner, Literal) and isinstance(inner.value, str)
        return ("text" if is_string else "number"), named_literals
    if not name[0].isalpha():
        name = f"number_{name}"
    if name.upper() in RESERVED_WORDS:
        name = f"{name}_value"
    return name, named_literals


def _clean_identifier_part(text: str) -> Iterator[str]:
    """Yield a text as a part of a regular identifier; yield nothing if no character of it can stand in one."""
    name = _NON_NAME_CHARACTERS.sub("_", text).strip("_")
    if name:
        yield name


def _iterate_name_words(node: Expr, named_literals: list[Literal], *, in_arguments: bool) -> Iterator[str]:
    """Yield the words of an expression from left to right.

    In the arguments of a function (`in_arguments`), long numbers give no word.
    """
    if isinstance(node, ColumnRef):
        yield from _clean_identifier_part(node.column_name)
    elif isinstance(node, Literal):
        yield from _iterate_literal_words(node, named_literals, in_arguments=in_arguments)
    elif isinstance(node, CastExpression):
        yield from _iterate_name_words(node.operand, named_literals, in_arguments=in_arguments)
    elif isinstance(node, UnaryOperation):
        if node.op in _SIGN_WORDS:
            yield _SIGN_WORDS[node.op]
        yield from _iterate_name_words(node.operand, named_literals, in_arguments=in_arguments)
    elif isinstance(node, BinaryOperation):
        yield from _iterate_operation_words(node, named_literals, in_arguments=in_arguments)
    elif isinstance(node, WindowExpression):
        yield from _iterate_name_words(node.function, named_literals, in_arguments=in_arguments)
    else:
        yield from _iterate_compound_expression_words(node, named_literals)


def _iterate_compound_expression_words(node: Expr, named_literals: list[Literal]) -> Iterator[str]:
    """Yield the words of a call, an element of an array, a CASE, a subquery or a condition."""
    if isinstance(node, FunctionCall):
        yield node.name.lower()
        if node.star:
            yield "all"
        for arg in node.args:
            yield from _iterate_name_words(arg, named_literals, in_arguments=True)
    elif isinstance(node, ArrayElement):
        for part in (node.operand, *node.indexes):
            yield from _iterate_name_words(part, named_literals, in_arguments=True)
    elif isinstance(node, CaseExpression):
        yield "case"
        column_names = [column.column_name for column in _iterate_case_condition_columns(node)]
        yield from dict.fromkeys(column_names)
    elif isinstance(node, Subquery):
        yield from _iterate_subquery_words(node.query, named_literals)
    else:
        yield "condition"


def _iterate_literal_words(node: Literal, named_literals: list[Literal], *, in_arguments: bool) -> Iterator[str]:
    if node.value is None:
        yield "null"
    elif isinstance(node.value, bool):
        yield str(node.value).lower()
    elif not isinstance(node.value, str):
        digits = repr(node.value)
        if len(digits.replace(".", "")) <= _MAX_NAMED_DIGITS:
            named_literals.append(node)
            yield digits.replace(".", "_")
        elif not in_arguments:
            yield "number"


def _iterate_operation_words(
    node: BinaryOperation, named_literals: list[Literal], *, in_arguments: bool
) -> Iterator[str]:
    if node.text_offset >= 0 and isinstance(node.right, Literal) and node.right.text_offset < 0:  # IN_UNIT's factor
        yield from _iterate_name_words(node.left, named_literals, in_arguments=in_arguments)
        yield "in"
        yield from _clean_identifier_part(require_meta(node).unit or "unit")
        return
    first, links = split_left_deep_chain(node, BinaryOperation)
    if isinstance(first, Literal) and first.text_offset < 0 <= node.text_offset:  # GAVO_SPECCONV's quotient
        yield from _iterate_name_words(node.right, named_literals, in_arguments=in_arguments)
        yield "in"
        yield from _clean_identifier_part(require_meta(node).unit or "unit")
        return
    yield from _iterate_name_words(first, named_literals, in_arguments=in_arguments)
    for link in links:
        if link.op in _OPERATOR_WORDS:
            yield _OPERATOR_WORDS[link.op]
        yield from _iterate_name_words(link.right, named_literals, in_arguments=in_arguments)


def _iterate_case_condition_columns(node: CaseExpression) -> Iterator[ColumnRef]:
    for when, _ in node.whens:
        yield from (child for child in walk_tree(when) if isinstance(child, ColumnRef))


def _iterate_subquery_words(query: Query, named_literals: list[Literal]) -> Iterator[str]:
    """Yield the words of a scalar subquery: those of its column."""
    body: Select | SetOperation | Query = query
    while not isinstance(body, Select):
        if isinstance(body, SetOperation):
            body = body.left
        else:
            body = body.body
    item = body.items[0]
    if isinstance(item, SelectItem):
        if item.alias is not None or isinstance(item.expr, ColumnRef):
            column_name = ""
            if item.column is not None:
                column_name = item.column.name
            yield from _clean_identifier_part(column_name)
        else:
            yield from _iterate_name_words(item.expr, named_literals, in_arguments=True)
