"""Write a syntax tree as canonical ADQL; parsing the text gives the same tree.

Users see this text, and views and forms keep it. Loops write operators that repeat to the left (``a + b + c``, UNION,
joins), so long chains need no recursion.
"""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from hven.adql._function_syntax import infer_kind_letter, is_concatenation_operand
from hven.adql.reserved_words import RESERVED_WORDS
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    CaseExpression,
    CastExpression,
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
    SelectStar,
    SetOperation,
    Subquery,
    SyntaxNode,
    TableRef,
    UnaryOperation,
    WindowExpression,
    split_left_deep_chain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table

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
        A query, or a value or condition of a mapping expression (in which names after a dot need no quotes).

    Returns
    -------
    str
        The text. ``parse_query(write_adql(tree)) == tree`` for every tree that `parse_query` makes; the same holds for
        `parse_expression` and `parse_condition`. In a tree that a program made, names that need double quotes get
        them, and negative numbers become ``-x``. The text does not contain the row filters of
        `auth.apply_access_control`.

    Raises
    ------
    TypeError
        Nodes of this class have no text of their own.
    """
    if type(tree) not in _NODE_WRITERS:
        raise TypeError(f"{type(tree).__name__} has no text of its own")
    is_mapping = isinstance(tree, Expr)
    return _AdqlWriter(is_mapping=is_mapping).write_node(tree)


def quote_identifier_if_needed(ident: Ident) -> str:
    """Write an identifier, in double quotes if it was quoted or needs them.

    Parameters
    ----------
    ident
        An identifier of a tree.

    Returns
    -------
    text
        The identifier as a query contains it.
    """
    is_regular = _REGULAR_IDENTIFIER.fullmatch(ident.name) and ident.name.upper() not in RESERVED_WORDS
    if is_regular and not ident.quoted:
        return ident.name
    escaped_name = ident.name.replace('"', '""')
    return f'"{escaped_name}"'


def quote_adql_name(text: str) -> str:
    """Write a name as a query must contain it: without quotes if that is allowed in any case, else in double quotes.

    Parameters
    ----------
    text
        The name of a column, table or schema.

    Returns
    -------
    name
        The name as a query contains it.
    """
    return quote_identifier_if_needed(Ident(text))


def quote_table_name(table: Table) -> str:
    """Write the name of a table, with its schema, as a query must contain it.

    Parameters
    ----------
    table
        A table that has a schema.

    Returns
    -------
    name
        ``schema.table``; names that are no regular identifiers stand in double quotes.
    """
    return f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)}"


def write_adql_literal(value: float | str | None) -> str:
    """Write a value as a literal; infinity and NaN, for which ADQL has no literal, become a CAST of a string.

    Parameters
    ----------
    value
        A number (dimensionless), a string, a boolean, or None.

    Returns
    -------
    text
        The literal as a query contains it.
    """
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped_text = value.replace("'", "''")
        return f"'{escaped_text}'"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and not math.isfinite(value):
        word = "Infinity" if value > 0 else "-Infinity"
        if math.isnan(value):
            word = "NaN"
        return f"CAST('{word}' AS DOUBLE PRECISION)"
    return repr(value).upper()


class _AdqlWriter:
    """Writes nodes; with `is_mapping`, names after a dot need no quotes."""

    __slots__ = ("is_mapping",)

    def __init__(self, *, is_mapping: bool) -> None:
        self.is_mapping = is_mapping

    def write_node(self, node: SyntaxNode) -> str:
        return _NODE_WRITERS[type(node)](self, node)

    def write_parenthesized(self, node: SyntaxNode, *, with_parentheses: bool) -> str:
        if with_parentheses:
            return f"({self.write_node(node)})"
        return self.write_node(node)

    def write_node_list(self, nodes: Sequence[SyntaxNode]) -> str:
        return ", ".join([self.write_node(node) for node in nodes])

    # --- queries ---------------------------------------------------------------------------------------------

    def write_query(self, node: Query) -> str:
        text = self.write_parenthesized(node.body, with_parentheses=isinstance(node.body, Query))
        if node.ctes:
            keyword = "WITH"
            if node.ctes[0].recursive:
                keyword = "WITH RECURSIVE"
            table_texts = [
                f"{quote_identifier_if_needed(cte.name)} AS ({self.write_query(cte.query)})" for cte in node.ctes
            ]
            text = f"{keyword} {', '.join(table_texts)} {text}"
        if node.order_by:
            text += f" ORDER BY {self.write_node_list(node.order_by)}"
        if node.offset is None:
            return text
        return f"{text} OFFSET {write_adql_literal(node.offset.value)}"

    def write_operations(self, node: BinaryOperation | SetOperation) -> str:
        """Write operators from the leftmost operand on."""
        first, links = split_left_deep_chain(node, type(node))
        text = self.write_operand(first, links[0])
        for link, outer_link in zip_longest(links, links[1:]):
            keeps_duplicates = isinstance(link, SetOperation) and link.all
            operator = f"{link.op} ALL" if keeps_duplicates else link.op
            text += f" {operator} {self.write_operand(link.right, link)}"
            if outer_link is None:
                continue
            binds_looser = _OPERATOR_PRECEDENCE[link.op] < _OPERATOR_PRECEDENCE[outer_link.op]
            is_in_concatenation = outer_link.op == "||" != link.op
            if binds_looser or is_in_concatenation:
                text = f"({text})"
        return text

    def write_operand(self, node: Any, operation: BinaryOperation | SetOperation) -> str:
        if operation.op == "||":
            needs_parentheses = not is_concatenation_operand(node) or _is_negative_literal(node)
        elif isinstance(node, BinaryOperation | SetOperation):
            needs_parentheses = _OPERATOR_PRECEDENCE[node.op] <= _OPERATOR_PRECEDENCE[operation.op]
        else:
            needs_parentheses = isinstance(node, Query)
        return self.write_parenthesized(node, with_parentheses=needs_parentheses)

    def write_select(self, node: Select) -> str:
        parts = ["SELECT DISTINCT" if node.distinct else "SELECT"]
        if node.top is not None:
            parts.append(f"TOP {write_adql_literal(node.top.value)}")
        parts.append(self.write_node_list(node.items))
        if node.source is not None:
            parts.append(f"FROM {self.write_from_items(node.source)}")
        if node.where is not None:
            parts.append(f"WHERE {self.write_node(node.where)}")
        if node.group_by:
            parts.append(f"GROUP BY {self.write_node_list(node.group_by)}")
        if node.having is not None:
            parts.append(f"HAVING {self.write_node(node.having)}")
        if node.windows:
            window_texts = [
                f"{quote_identifier_if_needed(window.name)} AS {self.write_window_definition(window)}"
                for window in node.windows
            ]
            parts.append(f"WINDOW {', '.join(window_texts)}")
        return " ".join(parts)

    def write_select_item(self, node: SelectItem) -> str:
        return self.write_aliased_text(self.write_node(node.expr), node.alias)

    def write_aliased_text(self, text: str, alias: Ident | None) -> str:
        if alias is None:
            return text
        return f"{text} AS {quote_identifier_if_needed(alias)}"

    # --- FROM ------------------------------------------------------------------------------------------------

    def write_from_items(self, node: FromItem) -> str:
        """Write the outermost CROSS joins with commas."""
        first, links = split_left_deep_chain(node, Join, lambda link: link.kind == "CROSS")
        item_texts = [self.write_node(first)]
        for link in links:
            is_cross_join = isinstance(link.right, Join) and link.right.kind == "CROSS"
            item_texts.append(self.write_parenthesized(link.right, with_parentheses=is_cross_join))
        return ", ".join(item_texts)

    def write_joins(self, node: Join) -> str:
        """Write joins from the leftmost table on."""
        first, links = split_left_deep_chain(node, Join)
        text = self.write_node(first)
        for link in links:
            words = []
            if link.natural:
                words = ["NATURAL"]
            if link.kind != "INNER":
                words.append(link.kind)
            words.append("JOIN")
            right_text = self.write_parenthesized(link.right, with_parentheses=isinstance(link.right, Join))
            text += f" {' '.join(words)} {right_text}"
            if link.on is not None:
                text += f" ON {self.write_node(link.on)}"
            elif link.using:
                text += f" USING ({', '.join(map(quote_identifier_if_needed, link.using))})"
        return text

    # --- conditions and values -------------------------------------------------------------------------------

    def write_condition_parts(self, node: Conjunction | Disjunction) -> str:
        separator = " OR "
        parenthesized_classes: tuple[type[Expr], ...] = (Disjunction,)
        if isinstance(node, Conjunction):
            separator = " AND "
            parenthesized_classes = (Conjunction, Disjunction)
        part_texts: list[str] = []
        for part in node.parts:
            needs_parentheses = isinstance(part, parenthesized_classes)
            part_texts.append(self.write_parenthesized(part, with_parentheses=needs_parentheses))
        return separator.join(part_texts)

    def write_between(self, node: BetweenPredicate) -> str:
        operand_text = self.write_node(node.operand)
        range_text = f"{self.write_node(node.low)} AND {self.write_node(node.high)}"
        return f"{operand_text} {_write_not_keyword(node)}BETWEEN {range_text}"

    def write_like(self, node: LikePredicate) -> str:
        keyword = "ILIKE" if node.ignore_case else "LIKE"
        operand_text = self.write_text_operand(node.operand)
        return f"{operand_text} {_write_not_keyword(node)}{keyword} {self.write_text_operand(node.pattern)}"

    def write_unary(self, node: UnaryOperation) -> str:
        is_operation = isinstance(node.operand, UnaryOperation | BinaryOperation)
        needs_parentheses = is_operation or _is_negative_literal(node.operand)
        return node.op + self.write_parenthesized(node.operand, with_parentheses=needs_parentheses)

    def write_cast(self, node: CastExpression) -> str:
        length_text = "" if node.length is None else f"({node.length})"
        return f"CAST({self.write_node(node.operand)} AS {node.target}{length_text})"

    def write_in(self, node: InPredicate) -> str:
        if isinstance(node.choices, Subquery):
            choices_text = self.write_node(node.choices)
        else:
            choices_text = f"({self.write_node_list(node.choices)})"
        return f"{self.write_node(node.operand)} {_write_not_keyword(node)}IN {choices_text}"

    def write_text_operand(self, node: Expr) -> str:
        with_parentheses = not isinstance(node, Literal) and infer_kind_letter(node) not in {"", "s"}
        return self.write_parenthesized(node, with_parentheses=with_parentheses)

    def write_column(self, node: ColumnRef) -> str:
        first, *later_parts = (*node.qualifier, node.name)
        if self.is_mapping and not later_parts and not first.quoted and first.name.upper() == "PI":
            return first.name  # a mapping reads it as a column: the principal investigator of an observation
        part_texts = [quote_identifier_if_needed(first)]
        for part in later_parts:
            needs_no_quotes = self.is_mapping and not part.quoted and _REGULAR_IDENTIFIER.fullmatch(part.name)
            part_texts.append(part.name if needs_no_quotes else quote_identifier_if_needed(part))
        return ".".join(part_texts)

    def write_function(self, node: FunctionCall) -> str:
        quantifier = "DISTINCT " if node.distinct else ""
        if node.star:
            arguments = "*"
        else:
            arguments = self.write_node_list(node.args)
        return f"{node.name}({quantifier}{arguments})"

    def write_array_element(self, node: ArrayElement) -> str:
        needs_parentheses = not isinstance(node.operand, ColumnRef | FunctionCall | Subquery)
        operand_text = self.write_parenthesized(node.operand, with_parentheses=needs_parentheses)
        return f"{operand_text}[{self.write_node_list(node.indexes)}]"

    def write_negation(self, node: Negation) -> str:
        needs_parentheses = isinstance(node.operand, Conjunction | Disjunction | Negation)
        return f"NOT {self.write_parenthesized(node.operand, with_parentheses=needs_parentheses)}"

    def write_window(self, node: WindowExpression) -> str:
        if node.name is None:
            window_text = self.write_window_definition(node)
        else:
            window_text = quote_identifier_if_needed(node.name)
        return f"{self.write_function(node.function)} OVER {window_text}"

    def write_window_definition(self, node: WindowExpression | NamedWindow) -> str:
        parts = []
        if node.partition:
            parts.append(f"PARTITION BY {self.write_node_list(node.partition)}")
        if node.order_by:
            parts.append(f"ORDER BY {self.write_node_list(node.order_by)}")
        if node.frame is not None:
            start_text = _write_frame_bound(node.frame.start)
            end_text = _write_frame_bound(node.frame.end)
            parts.append(f"{node.frame.unit} BETWEEN {start_text} AND {end_text}")
        return f"({' '.join(parts)})"

    def write_case(self, node: CaseExpression) -> str:
        parts = ["CASE"]
        if node.operand is not None:
            parts.append(self.write_node(node.operand))
        for when, then in node.whens:
            parts.append(f"WHEN {self.write_node(when)} THEN {self.write_node(then)}")
        if node.otherwise is not None:
            parts.append(f"ELSE {self.write_node(node.otherwise)}")
        parts.append("END")
        return " ".join(parts)


def _write_frame_bound(node: FrameBound) -> str:
    if node.offset is None:
        return node.side
    return f"{write_adql_literal(node.offset.value)} {node.side}"


def _is_negative_literal(node: SyntaxNode) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, (int, float)) and node.value < 0


def _write_not_keyword(node: BetweenPredicate | InPredicate | NullPredicate | LikePredicate) -> str:
    if node.negated:
        return "NOT "
    return ""


_NODE_WRITERS: Final[dict[type, Callable[[_AdqlWriter, Any], str]]] = {
    Query: _AdqlWriter.write_query,
    Select: _AdqlWriter.write_select,
    SetOperation: _AdqlWriter.write_operations,
    SelectItem: _AdqlWriter.write_select_item,
    SelectStar: lambda _, node: "".join([f"{quote_identifier_if_needed(part)}." for part in node.qualifier]) + "*",
    OrderItem: lambda writer, node: f"{writer.write_node(node.expr)}{' DESC' if node.descending else ''}",
    Join: _AdqlWriter.write_joins,
    DerivedTable: lambda writer, node: writer.write_aliased_text(f"({writer.write_query(node.query)})", node.alias),
    TableRef: lambda writer, node: writer.write_aliased_text(
        ".".join(map(quote_identifier_if_needed, node.parts)), node.alias
    ),
    Conjunction: _AdqlWriter.write_condition_parts,
    Disjunction: _AdqlWriter.write_condition_parts,
    Negation: _AdqlWriter.write_negation,
    Comparison: lambda writer, node: f"{writer.write_node(node.left)} {node.op} {writer.write_node(node.right)}",
    BetweenPredicate: _AdqlWriter.write_between,
    InPredicate: _AdqlWriter.write_in,
    LikePredicate: _AdqlWriter.write_like,
    NullPredicate: lambda writer, node: f"{writer.write_node(node.operand)} IS {_write_not_keyword(node)}NULL",
    ExistsPredicate: lambda writer, node: f"EXISTS ({writer.write_query(node.query)})",
    Subquery: lambda writer, node: f"({writer.write_query(node.query)})",
    Literal: lambda _, node: write_adql_literal(node.value),
    ColumnRef: _AdqlWriter.write_column,
    UnaryOperation: _AdqlWriter.write_unary,
    BinaryOperation: _AdqlWriter.write_operations,
    FunctionCall: _AdqlWriter.write_function,
    WindowExpression: _AdqlWriter.write_window,
    ArrayElement: _AdqlWriter.write_array_element,
    CastExpression: _AdqlWriter.write_cast,
    CaseExpression: _AdqlWriter.write_case,
}
