"""A tree written as canonical ADQL: shown to users, kept for views and forms; reading it gives the same tree.

Operators that repeat to the left (``a + b + c``, UNION, joins) are written in loops: long chains do not nest.
"""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from hven.adql._function_syntax import classify_syntax, is_character_factor
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    Case,
    Cast,
    ColumnRef,
    Comparison,
    Conjunction,
    DerivedTable,
    Disjunction,
    ExistsPredicate,
    Expr,
    FrameBound,
    FromItem,
    FunctionCall,
    Ident,
    InPredicate,
    Join,
    LikePredicate,
    Literal,
    NamedWindow,
    Negation,
    NullPredicate,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Star,
    Subquery,
    SyntaxNode,
    TableRef,
    UnaryOperation,
    WindowExpression,
    split_chain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REGULAR_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_OPERATOR_PRECEDENCE: Final = {
    "||": 1,
    "|": 2,
    "^": 3,
    "&": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "%": 6,
    "UNION": 1,
    "EXCEPT": 1,
    "INTERSECT": 2,
}


def write_adql(tree: SyntaxNode) -> str:
    """Write a tree as ADQL text on one line.

    Parameters
    ----------
    tree
        A query, or a value or condition of a mapping expression (where names after a dot need no quotes).

    Returns
    -------
    str
        ``parse(write(tree)) == tree`` for every tree that `parse` makes, and `parse_expression` or `parse_condition`
        likewise. In trees made by programs, names that need double quotes get them, and negative numbers become
        ``-x``. Row filters of `auth.apply_access_control` are not part of the text.

    Raises
    ------
    TypeError
        The node has no text of its own.
    """
    if type(tree) not in _NODE_WRITERS:
        raise TypeError(f"{type(tree).__name__} has no text of its own")
    is_mapping = isinstance(tree, Expr)
    return _AdqlWriter(is_mapping=is_mapping).write_node(tree)


def quote_identifier(ident: Ident) -> str:
    """Quote an identifier, if it was quoted or must be.

    Parameters
    ----------
    ident
        Of a tree.

    Returns
    -------
    text
        As a query has it.
    """
    if not ident.quoted and _REGULAR_IDENTIFIER.fullmatch(ident.name) and ident.name.upper() not in RESERVED_WORDS:
        return ident.name
    return '"' + ident.name.replace('"', '""') + '"'


def quote_name(text: str) -> str:
    """Quote a name as a query must write it: bare where that is allowed (whatever its case), else in double quotes.

    Parameters
    ----------
    text
        Of a column, table or schema.

    Returns
    -------
    name
        As a query has it.
    """
    return quote_identifier(Ident(text))


def write_literal(value: float | str | None) -> str:
    """Serialize a value as a literal; what ADQL has no literal for becomes a CAST of its text.

    Parameters
    ----------
    value
        A number (dimensionless), a text, a truth value, or None.

    Returns
    -------
    text
        As a query has it.
    """
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and not math.isfinite(value):
        word = "Infinity" if value > 0 else "-Infinity"
        if math.isnan(value):
            word = "NaN"
        return f"CAST('{word}' AS DOUBLE PRECISION)"
    return repr(value).upper()


class _AdqlWriter:
    """Writes nodes; `is_mapping`: names after a dot need no quotes."""

    __slots__ = ("is_mapping",)

    def __init__(self, *, is_mapping: bool) -> None:
        self.is_mapping = is_mapping

    def write_node(self, node: SyntaxNode) -> str:
        return _NODE_WRITERS[type(node)](self, node)

    def write_parenthesized(self, node: SyntaxNode, *, with_parentheses: bool) -> str:
        if with_parentheses:
            return f"({self.write_node(node)})"
        return self.write_node(node)

    def write_list(self, nodes: Sequence[SyntaxNode]) -> str:
        return ", ".join([self.write_node(node) for node in nodes])

    # --- queries ---------------------------------------------------------------------------------------------

    def write_query(self, node: Query) -> str:
        if not isinstance(node.body, Query):
            text = self.write_node(node.body)
        else:
            text = f"({self.write_query(node.body)})"
        if node.ctes:
            ctes = ", ".join([f"{quote_identifier(cte.name)} AS ({self.write_query(cte.query)})" for cte in node.ctes])
            text = f"WITH {'RECURSIVE ' if node.ctes[0].recursive else ''}{ctes} {text}"
        if node.order_by:
            text += f" ORDER BY {self.write_list(node.order_by)}"
        if node.offset is None:
            return text
        return f"{text} OFFSET {write_literal(node.offset.value)}"

    def write_operations(self, node: BinaryOperation | SetOperation) -> str:
        """Write operators from the leftmost operand on."""
        first, links = split_chain(node, type(node))
        text = self.write_operand(first, links[0])
        for link, outer in zip_longest(links, links[1:]):
            text += (
                f" {link.op} "
                f"{'ALL ' if isinstance(link, SetOperation) and link.all else ''}{self.write_operand(link.right, link)}"
            )
            if outer is not None and (
                _OPERATOR_PRECEDENCE[link.op] < _OPERATOR_PRECEDENCE[outer.op] or outer.op == "||" != link.op
            ):
                text = f"({text})"
        return text

    def write_operand(self, node: Any, operation: BinaryOperation | SetOperation) -> str:
        if operation.op == "||":
            parentheses = not is_character_factor(node) or _is_negative(node)
        elif isinstance(node, BinaryOperation | SetOperation):
            parentheses = _OPERATOR_PRECEDENCE[node.op] <= _OPERATOR_PRECEDENCE[operation.op]
        else:
            parentheses = isinstance(node, Query)
        return self.write_parenthesized(node, with_parentheses=parentheses)

    def write_select(self, node: Select) -> str:
        parts = ["SELECT DISTINCT" if node.distinct else "SELECT"]
        if node.top is not None:
            parts.append(f"TOP {write_literal(node.top.value)}")
        parts.append(self.write_list(node.items))
        if node.source is not None:
            parts.append(f"FROM {self.write_from(node.source)}")
        if node.where is not None:
            parts.append(f"WHERE {self.write_node(node.where)}")
        if node.group_by:
            parts.append(f"GROUP BY {self.write_list(node.group_by)}")
        if node.having is not None:
            parts.append(f"HAVING {self.write_node(node.having)}")
        if node.windows:
            parts.append(
                "WINDOW "
                + ", ".join(
                    [
                        f"{quote_identifier(window.name)} AS {self.write_window_definition(window)}"
                        for window in node.windows
                    ]
                )
            )
        return " ".join(parts)

    def write_select_item(self, node: SelectItem) -> str:
        return self.write_alias(self.write_node(node.expr), node.alias)

    def write_alias(self, text: str, alias: Ident | None) -> str:
        if alias is None:
            return text
        return f"{text} AS {quote_identifier(alias)}"

    # --- FROM ------------------------------------------------------------------------------------------------

    def write_from(self, node: FromItem) -> str:
        """Write the outermost CROSS joins with commas."""
        first, links = split_chain(node, Join, lambda link: link.kind == "CROSS")
        rights = [link.right for link in links]
        return ", ".join(
            [
                self.write_node(first),
                *(
                    self.write_parenthesized(right, with_parentheses=isinstance(right, Join) and right.kind == "CROSS")
                    for right in rights
                ),
            ]
        )

    def write_joins(self, node: Join) -> str:
        """Write joins from the leftmost table on."""
        first, links = split_chain(node, Join)
        text = self.write_node(first)
        for link in links:
            word = f"{'NATURAL ' if link.natural else ''}{'' if link.kind == 'INNER' else f'{link.kind} '}JOIN"
            text += f" {word} {self.write_parenthesized(link.right, with_parentheses=isinstance(link.right, Join))}"
            if link.on is not None:
                text += f" ON {self.write_node(link.on)}"
            elif link.using:
                text += f" USING ({', '.join(map(quote_identifier, link.using))})"
        return text

    # --- conditions and values -------------------------------------------------------------------------------

    def write_condition_parts(self, node: Conjunction | Disjunction) -> str:
        word, looser_nodes = (
            (" AND ", (Conjunction, Disjunction)) if isinstance(node, Conjunction) else (" OR ", (Disjunction,))
        )
        return word.join(
            [self.write_parenthesized(part, with_parentheses=isinstance(part, looser_nodes)) for part in node.parts]
        )

    def write_in(self, node: InPredicate) -> str:
        if isinstance(node.choices, Subquery):
            choices = self.write_node(node.choices)
        else:
            choices = f"({self.write_list(node.choices)})"
        return f"{self.write_node(node.operand)} {_write_not(node)}IN {choices}"

    def write_text_operand(self, node: Expr) -> str:
        with_parentheses = not isinstance(node, Literal) and classify_syntax(node) not in {"", "s"}
        return self.write_parenthesized(node, with_parentheses=with_parentheses)

    def write_column(self, node: ColumnRef) -> str:
        first, *later_parts = (*node.qualifier, node.name)
        if self.is_mapping and not later_parts and not first.quoted and first.name.upper() == "PI":
            return first.name  # a mapping reads it as a column: the principal investigator of an observation
        may_be_bare = [
            self.is_mapping and not part.quoted and _REGULAR_IDENTIFIER.fullmatch(part.name) for part in later_parts
        ]
        return ".".join(
            [
                quote_identifier(first),
                *(
                    part.name if is_bare else quote_identifier(part)
                    for part, is_bare in zip(later_parts, may_be_bare, strict=True)
                ),
            ]
        )

    def write_function(self, node: FunctionCall) -> str:
        return (
            f"{node.name}({'DISTINCT ' if node.distinct else ''}{'*' if node.star else ''}{self.write_list(node.args)})"
        )

    def write_element(self, node: ArrayElement) -> str:
        needs_parentheses = not isinstance(node.operand, ColumnRef | FunctionCall | Subquery)
        operand_text = self.write_parenthesized(node.operand, with_parentheses=needs_parentheses)
        return f"{operand_text}[{self.write_list(node.indexes)}]"

    def write_negation(self, node: Negation) -> str:
        needs_parentheses = isinstance(node.operand, Conjunction | Disjunction | Negation)
        return f"NOT {self.write_parenthesized(node.operand, with_parentheses=needs_parentheses)}"

    def write_window(self, node: WindowExpression) -> str:
        return (
            f"{self.write_function(node.function)} OVER "
            f"{self.write_window_definition(node) if node.name is None else quote_identifier(node.name)}"
        )

    def write_window_definition(self, node: WindowExpression | NamedWindow) -> str:
        parts = []
        if node.partition:
            parts.append(f"PARTITION BY {self.write_list(node.partition)}")
        if node.order_by:
            parts.append(f"ORDER BY {self.write_list(node.order_by)}")
        if node.frame is not None:
            parts.append(
                f"{node.frame.unit} BETWEEN {_write_frame_bound(node.frame.start)} AND "
                f"{_write_frame_bound(node.frame.end)}"
            )
        return f"({' '.join(parts)})"

    def write_case(self, node: Case) -> str:
        parts = ["CASE", *([] if node.operand is None else [self.write_node(node.operand)])]
        parts += [f"WHEN {self.write_node(when)} THEN {self.write_node(then)}" for when, then in node.whens]
        return " ".join(
            [*parts, *([] if node.otherwise is None else [f"ELSE {self.write_node(node.otherwise)}"]), "END"]
        )


def _write_frame_bound(node: FrameBound) -> str:
    if node.offset is None:
        return node.side
    return f"{write_literal(node.offset.value)} {node.side}"


def _is_negative(node: SyntaxNode) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, (int, float)) and node.value < 0


def _write_not(node: BetweenPredicate | InPredicate | NullPredicate | LikePredicate) -> str:
    return "NOT " if node.negated else ""


_NODE_WRITERS: Final[dict[type, Callable[[_AdqlWriter, Any], str]]] = {
    Query: _AdqlWriter.write_query,
    Select: _AdqlWriter.write_select,
    SetOperation: _AdqlWriter.write_operations,
    SelectItem: _AdqlWriter.write_select_item,
    Star: lambda _, node: "".join([f"{quote_identifier(part)}." for part in node.qualifier]) + "*",
    OrderItem: lambda text, node: f"{text.write_node(node.expr)}{' DESC' if node.descending else ''}",
    Join: _AdqlWriter.write_joins,
    DerivedTable: lambda text, node: text.write_alias(f"({text.write_query(node.query)})", node.alias),
    TableRef: lambda text, node: text.write_alias(".".join(map(quote_identifier, node.parts)), node.alias),
    Conjunction: _AdqlWriter.write_condition_parts,
    Disjunction: _AdqlWriter.write_condition_parts,
    Negation: _AdqlWriter.write_negation,
    Comparison: lambda text, node: f"{text.write_node(node.left)} {node.op} {text.write_node(node.right)}",
    BetweenPredicate: lambda text, node: (
        f"{text.write_node(node.operand)} {_write_not(node)}BETWEEN {text.write_node(node.low)} AND "
        f"{text.write_node(node.high)}"
    ),
    InPredicate: _AdqlWriter.write_in,
    LikePredicate: lambda text, node: (
        f"{text.write_text_operand(node.operand)} {_write_not(node)}{'I' * node.ignore_case}LIKE "
        f"{text.write_text_operand(node.pattern)}"
    ),
    NullPredicate: lambda text, node: f"{text.write_node(node.operand)} IS {_write_not(node)}NULL",
    ExistsPredicate: lambda text, node: f"EXISTS ({text.write_query(node.query)})",
    Subquery: lambda text, node: f"({text.write_query(node.query)})",
    Literal: lambda _, node: write_literal(node.value),
    ColumnRef: _AdqlWriter.write_column,
    UnaryOperation: lambda text, node: (
        node.op
        + text.write_parenthesized(
            node.operand,
            with_parentheses=isinstance(node.operand, UnaryOperation | BinaryOperation) or _is_negative(node.operand),
        )
    ),
    BinaryOperation: _AdqlWriter.write_operations,
    FunctionCall: _AdqlWriter.write_function,
    WindowExpression: _AdqlWriter.write_window,
    ArrayElement: _AdqlWriter.write_element,
    Cast: lambda text, node: (
        f"CAST({text.write_node(node.operand)} AS {node.target}{'' if node.length is None else f'({node.length})'})"
    ),
    Case: _AdqlWriter.write_case,
}
