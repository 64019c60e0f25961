"""Names of outputs that the query gives none: the columns and operations of the expression, in its own order."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.adql.kinds import meta
from hven.adql.reserved import RESERVED
from hven.adql.tree import (
    Binary,
    Case,
    Cast,
    ColumnRef,
    Element,
    Expr,
    Function,
    Literal,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    Unary,
    Window,
    chain,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 40  # characters
_SHORT = 4  # figures of a number that belongs to a name; longer ones (positions, epochs) vary from query to query
_OPERATORS = {
    "+": "plus",
    "-": "minus",
    "*": "times",
    "/": "over",
    "%": "mod",
    "&": "bitand",
    "|": "bitor",
    "^": "bitxor",
}
_SIGNS = {"-": "minus", "~": "bitnot"}
_STRANGE = re.compile(r"[^A-Za-z0-9]+")


def made_name(expr: Expr) -> tuple[str, list[Literal]]:
    """Make a name for an unnamed expression: ``ra_plus_1``, ``count_all``, ``max_ra``, ``ra`` of ``CAST(ra AS REAL)``.

    It follows from the expression alone, wherever it stands and however it is written, is a regular identifier, and has at most
    `LONGEST` characters.

    Returns
    -------
    tuple
        The name, and the literals that it tells of: another value would give another name.
    """
    inner = expr
    while isinstance(inner, Cast):
        inner = inner.operand
    if isinstance(inner, ColumnRef):
        return _column(inner), []
    told: list[Literal] = []
    name = ""
    for word in _words(inner, told, within=False):
        longer = f"{name}_{word}" if name else word
        if len(longer) > LONGEST:
            name = name or longer[:LONGEST].rstrip("_")
            break
        name = longer
    if not name:
        return "text" if isinstance(inner, Literal) and isinstance(inner.value, str) else "number", told
    if not name[0].isalpha():
        name = f"number_{name}"
    return (f"{name}_value" if name.upper() in RESERVED else name), told


def _column(node: ColumnRef) -> str:
    return node.column.name if node.column is not None else node.name.name


def _clean(text: str) -> Iterator[str]:
    found = _STRANGE.sub("_", text).strip("_")
    if found:
        yield found


def _words(node: Expr, told: list[Literal], *, within: bool) -> Iterator[str]:
    """Yield the words of an expression from left to right; `within` the arguments of a function, long numbers are left out."""
    if isinstance(node, ColumnRef):
        yield from _clean(_column(node))
    elif isinstance(node, Literal):
        yield from _literal(node, told, within=within)
    elif isinstance(node, Cast):
        yield from _words(node.operand, told, within=within)
    elif isinstance(node, Unary):
        if node.op in _SIGNS:
            yield _SIGNS[node.op]
        yield from _words(node.operand, told, within=within)
    elif isinstance(node, Binary):
        yield from _operation(node, told, within=within)
    elif isinstance(node, Window):
        yield from _words(node.function, told, within=within)
    elif isinstance(node, Function):
        yield node.name.lower()
        if node.star:
            yield "all"
        for arg in node.args:
            yield from _words(arg, told, within=True)
    elif isinstance(node, Element):
        for item in (node.operand, *node.indexes):
            yield from _words(item, told, within=True)
    elif isinstance(node, Case):
        yield "case"
        yield from dict.fromkeys(_column(item) for item in _columns(node))
    elif isinstance(node, Subquery):
        yield from _output(node.query, told)
    else:
        yield "condition"


def _literal(node: Literal, told: list[Literal], *, within: bool) -> Iterator[str]:
    if node.value is None:
        yield "null"
    elif isinstance(node.value, bool):
        yield str(node.value).lower()
    elif not isinstance(node.value, str):
        figures = repr(node.value)
        if len(figures.replace(".", "")) <= _SHORT:
            told.append(node)
            yield figures.replace(".", "_")
        elif not within:
            yield "number"


def _operation(node: Binary, told: list[Literal], *, within: bool) -> Iterator[str]:
    if node.at >= 0 and isinstance(node.right, Literal) and node.right.at < 0:  # IN_UNIT's factor
        yield from _words(node.left, told, within=within)
        yield "in"
        yield from _clean(meta(node).unit or "unit")
        return
    first, links = chain(node, Binary)
    if isinstance(first, Literal) and first.at < 0 <= node.at:  # GAVO_SPECCONV's quotient
        yield from _words(node.right, told, within=within)
        yield "in"
        yield from _clean(meta(node).unit or "unit")
        return
    yield from _words(first, told, within=within)
    for link in links:
        if link.op in _OPERATORS:
            yield _OPERATORS[link.op]
        yield from _words(link.right, told, within=within)


def _columns(node: Case) -> Iterator[ColumnRef]:
    for when, _ in node.whens:
        yield from (item for item in walk(when) if isinstance(item, ColumnRef))


def _output(query: Query, told: list[Literal]) -> Iterator[str]:
    """Name a scalar subquery as its column."""
    body: Select | SetOperation | Query = query
    while not isinstance(body, Select):
        body = body.left if isinstance(body, SetOperation) else body.body
    item = body.items[0]
    if isinstance(item, SelectItem):
        if item.alias is not None or isinstance(item.expr, ColumnRef):
            yield from _clean(item.column.name if item.column is not None else "")
        else:
            yield from _words(item.expr, told, within=True)
