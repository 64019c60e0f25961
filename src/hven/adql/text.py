"""A tree written as canonical ADQL: shown to users, kept for views and forms; reading it gives the same tree.

Operators that repeat to the left (``a + b + c``, UNION, joins) are written in loops: long chains do not nest.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hven.adql._calls import kind, stands_alone
from hven.adql.reserved import RESERVED
from hven.adql.tree import (
    And,
    Between,
    Binary,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Derived,
    Edge,
    Element,
    Exists,
    Expr,
    FromItem,
    Function,
    Ident,
    In,
    IsNull,
    Join,
    Like,
    Literal,
    NamedWindow,
    Node,
    Not,
    Or,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Star,
    Subquery,
    TableRef,
    Unary,
    Window,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

_REGULAR: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BINDS: Final = {"||": 1, "|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_SET_BINDS: Final = {"UNION": 1, "EXCEPT": 1, "INTERSECT": 2}


def write(tree: Node) -> str:
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
        ``-x``. Row filters of `auth.permit` are not part of the text.
    """
    out: list[str] = []
    writer = _Text(out.append, mapping=isinstance(tree, Expr))
    if isinstance(tree, Query):
        writer.query(tree)
    elif isinstance(tree, (Select, SetOperation)):
        writer.body(tree)
    elif isinstance(tree, Expr):
        writer.expr(tree)
    elif isinstance(tree, FromItem):
        writer.source(tree)
    elif isinstance(tree, (SelectItem, Star)):
        writer.item(tree)
    elif isinstance(tree, OrderItem):
        writer.order(tree)
    else:
        raise TypeError(f"{type(tree).__name__} has no text of its own")
    return "".join(out)


def name(ident: Ident) -> str:
    """Write an identifier, in double quotes if it was or must be."""
    if not ident.quoted and _REGULAR.fullmatch(ident.name) and ident.name.upper() not in RESERVED:
        return ident.name
    return '"' + ident.name.replace('"', '""') + '"'


def quote(text: str) -> str:
    """Write a name as a query must write it: bare where that is allowed (whatever its case), else in double quotes."""
    return name(Ident(text))


def literal(value: float | str | None) -> str:
    """Write a value as a literal; what ADQL has no literal for becomes a CAST of its text."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and not math.isfinite(value):
        return f"CAST('{'NaN' if math.isnan(value) else 'Infinity' if value > 0 else '-Infinity'}' AS DOUBLE PRECISION)"
    return repr(value).upper()


class _Text:
    """Writes nodes one after the other through `put`."""

    __slots__ = ("mapping", "put")

    def __init__(self, put: Callable[[str], None], *, mapping: bool) -> None:
        self.put = put
        self.mapping = mapping

    # --- queries ---------------------------------------------------------------------------------------------

    def query(self, node: Query) -> None:
        if node.ctes:
            for i, cte in enumerate(node.ctes):
                self.put(f"{', ' if i else 'WITH RECURSIVE ' if cte.recursive else 'WITH '}{name(cte.name)} AS (")
                self.query(cte.query)
                self.put(")")
            self.put(" ")
        self.body(node.body)
        if node.order_by:
            self.put(" ORDER BY ")
            self.listed(node.order_by, self.order)
        if node.offset is not None:
            self.put(f" OFFSET {literal(node.offset.value)}")

    def body(self, node: Select | SetOperation | Query) -> None:
        """Write a set operation from its leftmost operand on."""
        operations: list[SetOperation] = []
        closes: list[bool] = []  # whether that operation stands in parentheses in the one around it
        while isinstance(node, SetOperation):
            closes.append(bool(operations) and _SET_BINDS[node.op] < _SET_BINDS[operations[-1].op])
            operations.append(node)
            node = node.left
        self.put("(" * sum(closes))
        self.set_operand(node)
        for operation, close in zip(reversed(operations), reversed(closes), strict=True):
            self.put(f" {operation.op} {'ALL ' if operation.all else ''}")
            right = operation.right
            if isinstance(right, SetOperation):
                inside = _SET_BINDS[right.op] <= _SET_BINDS[operation.op]
                self.put("(" * inside)
                self.body(right)
                self.put(")" * inside)
            else:
                self.set_operand(right)
            self.put(")" * close)

    def set_operand(self, node: Select | Query) -> None:
        if isinstance(node, Select):
            self.select(node)
        else:
            self.put("(")
            self.query(node)
            self.put(")")

    def select(self, node: Select) -> None:
        self.put("SELECT ")
        if node.distinct:
            self.put("DISTINCT ")
        if node.top is not None:
            self.put(f"TOP {literal(node.top.value)} ")
        self.listed(node.items, self.item)
        if node.source is not None:
            self.put(" FROM ")
            self.sources(node.source)
        if node.where is not None:
            self.put(" WHERE ")
            self.expr(node.where)
        if node.group_by:
            self.put(" GROUP BY ")
            self.listed(node.group_by, self.expr)
        if node.having is not None:
            self.put(" HAVING ")
            self.expr(node.having)
        for i, window in enumerate(node.windows):
            self.put(f"{', ' if i else ' WINDOW '}{name(window.name)} AS ")
            self.inside_window(window)

    def item(self, node: SelectItem | Star) -> None:
        if isinstance(node, Star):
            self.put("".join(f"{name(part)}." for part in node.qualifier) + "*")
            return
        self.expr(node.expr)
        if node.alias is not None:
            self.put(f" AS {name(node.alias)}")

    def order(self, node: OrderItem) -> None:
        self.expr(node.expr)
        if node.descending:
            self.put(" DESC")

    def listed(self, nodes: Sequence[_T], one: Callable[[_T], None]) -> None:
        for i, node in enumerate(nodes):
            if i:
                self.put(", ")
            one(node)

    # --- FROM ------------------------------------------------------------------------------------------------

    def sources(self, node: FromItem) -> None:
        """Write the outermost CROSS joins with commas."""
        rest: list[FromItem] = []
        while isinstance(node, Join) and node.kind == "CROSS":
            rest.append(node.right)
            node = node.left
        self.source(node)
        for right in reversed(rest):
            self.put(", ")
            self.right_source(right, inside=isinstance(right, Join) and right.kind == "CROSS")

    def source(self, node: FromItem) -> None:
        """Write joins from the leftmost table on."""
        joins: list[Join] = []
        while isinstance(node, Join):
            joins.append(node)
            node = node.left
        self.table(node)
        for join in reversed(joins):
            kind_word = "" if join.kind == "INNER" else f"{join.kind} "
            self.put(f" {'NATURAL ' if join.natural else ''}{kind_word}JOIN ")
            self.right_source(join.right, inside=isinstance(join.right, Join))
            if join.on is not None:
                self.put(" ON ")
                self.expr(join.on)
            elif join.using:
                self.put(f" USING ({', '.join(name(column) for column in join.using)})")

    def right_source(self, node: FromItem, *, inside: bool) -> None:
        self.put("(" * inside)
        self.source(node)
        self.put(")" * inside)

    def table(self, node: FromItem) -> None:
        if isinstance(node, Derived):
            self.put("(")
            self.query(node.query)
            self.put(f") AS {name(node.alias)}")
        elif isinstance(node, TableRef):
            self.put(".".join(name(part) for part in node.parts))
            if node.alias is not None:
                self.put(f" AS {name(node.alias)}")

    # --- conditions and values -------------------------------------------------------------------------------

    def expr(self, node: Expr) -> None:
        _WRITERS[type(node)](self, node)

    def inside(self, node: Expr, *, parentheses: bool) -> None:
        """Write a node, in parentheses if need be."""
        self.put("(" * parentheses)
        self.expr(node)
        self.put(")" * parentheses)

    def conjunction(self, node: And | Or) -> None:
        word = " AND " if isinstance(node, And) else " OR "
        looser = (And, Or) if isinstance(node, And) else Or
        for i, part in enumerate(node.parts):
            if i:
                self.put(word)
            self.inside(part, parentheses=isinstance(part, looser))

    def negation(self, node: Not) -> None:
        self.put("NOT ")
        self.inside(node.operand, parentheses=isinstance(node.operand, (And, Or, Not)))

    def compare(self, node: Compare) -> None:
        self.expr(node.left)
        self.put(f" {node.op} ")
        self.expr(node.right)

    def between(self, node: Between) -> None:
        self.expr(node.operand)
        self.put(" NOT BETWEEN " if node.negated else " BETWEEN ")
        self.expr(node.low)
        self.put(" AND ")
        self.expr(node.high)

    def membership(self, node: In) -> None:
        self.expr(node.operand)
        self.put(" NOT IN " if node.negated else " IN ")
        if isinstance(node.choices, Subquery):
            self.subquery(node.choices)
        else:
            self.put("(")
            self.listed(node.choices, self.expr)
            self.put(")")

    def like(self, node: Like) -> None:
        self.text_operand(node.operand)
        self.put(f" {'NOT ' if node.negated else ''}{'ILIKE' if node.ignore_case else 'LIKE'} ")
        self.text_operand(node.pattern)

    def text_operand(self, node: Expr) -> None:
        self.inside(node, parentheses=not isinstance(node, Literal) and kind(node) not in {"", "s"})

    def is_null(self, node: IsNull) -> None:
        self.expr(node.operand)
        self.put(" IS NOT NULL" if node.negated else " IS NULL")

    def exists(self, node: Exists) -> None:
        self.put("EXISTS (")
        self.query(node.query)
        self.put(")")

    def subquery(self, node: Subquery) -> None:
        self.put("(")
        self.query(node.query)
        self.put(")")

    def literal(self, node: Literal) -> None:
        self.put(literal(node.value))

    def column(self, node: ColumnRef) -> None:
        parts = (*node.qualifier, node.name)
        self.put(name(parts[0]))
        for part in parts[1:]:
            free = self.mapping and not part.quoted and _REGULAR.fullmatch(part.name)
            self.put(f".{part.name if free else name(part)}")

    def unary(self, node: Unary) -> None:
        self.put(node.op)
        operand = node.operand
        self.inside(operand, parentheses=isinstance(operand, (Unary, Binary)) or _is_negative(operand))

    def binary(self, node: Binary) -> None:
        """Write a chain of operators from its leftmost operand on."""
        chain: list[Binary] = []
        closes: list[bool] = []
        left: Expr = node
        while isinstance(left, Binary):
            closes.append((bool(chain) and _BINDS[left.op] < _BINDS[chain[-1].op]) or (bool(chain) and chain[-1].op == "||" != left.op))
            chain.append(left)
            left = left.left
        self.put("(" * sum(closes))
        self.inside(left, parentheses=chain[-1].op == "||" and not _alone(left))
        for operation, close in zip(reversed(chain), reversed(closes), strict=True):
            self.put(f" {operation.op} ")
            right = operation.right
            if operation.op == "||":
                self.inside(right, parentheses=not _alone(right))
            else:
                self.inside(right, parentheses=isinstance(right, Binary) and _BINDS[right.op] <= _BINDS[operation.op])
            self.put(")" * close)

    def function(self, node: Function) -> None:
        self.put(f"{node.name}({'DISTINCT ' if node.distinct else ''}{'*' if node.star else ''}")
        self.listed(node.args, self.expr)
        self.put(")")

    def element(self, node: Element) -> None:
        operand = node.operand
        self.inside(operand, parentheses=not isinstance(operand, (ColumnRef, Function, Subquery)))
        self.put("[")
        self.listed(node.indexes, self.expr)
        self.put("]")

    def window(self, node: Window) -> None:
        self.function(node.function)
        self.put(" OVER ")
        if node.name is not None:
            self.put(name(node.name))
        else:
            self.inside_window(node)

    def inside_window(self, node: Window | NamedWindow) -> None:
        self.put("(")
        if node.partition:
            self.put("PARTITION BY ")
            self.listed(node.partition, self.expr)
        if node.order_by:
            self.put(" ORDER BY " if node.partition else "ORDER BY ")
            self.listed(node.order_by, self.order)
        if node.frame is not None:
            self.put(" " if node.partition or node.order_by else "")
            self.put(f"{node.frame.unit} BETWEEN {_edge(node.frame.start)} AND {_edge(node.frame.end)}")
        self.put(")")

    def cast(self, node: Cast) -> None:
        self.put("CAST(")
        self.expr(node.operand)
        self.put(f" AS {node.target}{'' if node.length is None else f'({node.length})'})")

    def case(self, node: Case) -> None:
        self.put("CASE")
        if node.operand is not None:
            self.put(" ")
            self.expr(node.operand)
        for when, then in node.whens:
            self.put(" WHEN ")
            self.expr(when)
            self.put(" THEN ")
            self.expr(then)
        if node.otherwise is not None:
            self.put(" ELSE ")
            self.expr(node.otherwise)
        self.put(" END")


def _edge(node: Edge) -> str:
    return node.side if node.offset is None else f"{literal(node.offset.value)} {node.side}"


def _is_negative(node: Expr) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, (int, float)) and node.value < 0


def _alone(node: Expr) -> bool:
    return stands_alone(node) and not _is_negative(node)


_WRITERS: Final[dict[type[Expr], Callable[[_Text, Any], None]]] = {
    And: _Text.conjunction,
    Or: _Text.conjunction,
    Not: _Text.negation,
    Compare: _Text.compare,
    Between: _Text.between,
    In: _Text.membership,
    Like: _Text.like,
    IsNull: _Text.is_null,
    Exists: _Text.exists,
    Subquery: _Text.subquery,
    Literal: _Text.literal,
    ColumnRef: _Text.column,
    Unary: _Text.unary,
    Binary: _Text.binary,
    Function: _Text.function,
    Window: _Text.window,
    Element: _Text.element,
    Cast: _Text.cast,
    Case: _Text.case,
}
