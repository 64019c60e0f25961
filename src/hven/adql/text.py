"""A tree written as canonical ADQL: shown to users, kept for views and forms; reading it gives the same tree.

Operators that repeat to the left (``a + b + c``, UNION, joins) are written in loops: long chains do not nest.
"""

from __future__ import annotations

import math
import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

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
    chain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REGULAR: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BINDS: Final = {"||": 1, "|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6, "UNION": 1, "EXCEPT": 1, "INTERSECT": 2}  # fmt: skip


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

    Raises
    ------
    TypeError
        The node has no text of its own.
    """
    if type(tree) not in _WRITERS:
        raise TypeError(f"{type(tree).__name__} has no text of its own")
    return _Text(mapping=isinstance(tree, Expr)).of(tree)


def name(ident: Ident) -> str:
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
    if not ident.quoted and _REGULAR.fullmatch(ident.name) and ident.name.upper() not in RESERVED:
        return ident.name
    return '"' + ident.name.replace('"', '""') + '"'


def quote(text: str) -> str:
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
    return name(Ident(text))


def literal(value: float | str | None) -> str:
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
        return f"CAST('{'NaN' if math.isnan(value) else 'Infinity' if value > 0 else '-Infinity'}' AS DOUBLE PRECISION)"
    return repr(value).upper()


class _Text:
    """Writes nodes; `mapping`: names after a dot need no quotes."""

    __slots__ = ("mapping",)

    def __init__(self, *, mapping: bool) -> None:
        self.mapping = mapping

    def of(self, node: Node) -> str:
        return _WRITERS[type(node)](self, node)

    def inside(self, node: Node, *, parentheses: bool) -> str:
        return f"({self.of(node)})" if parentheses else self.of(node)

    def listed(self, nodes: Sequence[Node]) -> str:
        return ", ".join([self.of(node) for node in nodes])

    # --- queries ---------------------------------------------------------------------------------------------

    def query(self, node: Query) -> str:
        text = self.of(node.body) if not isinstance(node.body, Query) else f"({self.query(node.body)})"
        if node.ctes:
            ctes = ", ".join([f"{name(cte.name)} AS ({self.query(cte.query)})" for cte in node.ctes])
            text = f"WITH {'RECURSIVE ' if node.ctes[0].recursive else ''}{ctes} {text}"
        if node.order_by:
            text += f" ORDER BY {self.listed(node.order_by)}"
        return text if node.offset is None else f"{text} OFFSET {literal(node.offset.value)}"

    def operations(self, node: Binary | SetOperation) -> str:
        """Write operators from the leftmost operand on."""
        first, links = chain(node, type(node))
        text = self.operand(first, links[0])
        for link, outer in zip_longest(links, links[1:]):
            text += f" {link.op} {'ALL ' if isinstance(link, SetOperation) and link.all else ''}{self.operand(link.right, link)}"
            if outer is not None and (_BINDS[link.op] < _BINDS[outer.op] or outer.op == "||" != link.op):
                text = f"({text})"
        return text

    def operand(self, node: Any, of: Binary | SetOperation) -> str:
        if of.op == "||":
            parentheses = not stands_alone(node) or _is_negative(node)
        else:
            parentheses = isinstance(node, Query) or (
                isinstance(node, Binary | SetOperation) and _BINDS[node.op] <= _BINDS[of.op]
            )
        return self.inside(node, parentheses=parentheses)

    def select(self, node: Select) -> str:
        parts = ["SELECT DISTINCT" if node.distinct else "SELECT"]
        if node.top is not None:
            parts.append(f"TOP {literal(node.top.value)}")
        parts.append(self.listed(node.items))
        if node.source is not None:
            parts.append(f"FROM {self.sources(node.source)}")
        if node.where is not None:
            parts.append(f"WHERE {self.of(node.where)}")
        if node.group_by:
            parts.append(f"GROUP BY {self.listed(node.group_by)}")
        if node.having is not None:
            parts.append(f"HAVING {self.of(node.having)}")
        if node.windows:
            parts.append(
                "WINDOW "
                + ", ".join([f"{name(window.name)} AS {self.inside_window(window)}" for window in node.windows])
            )
        return " ".join(parts)

    def item(self, node: SelectItem) -> str:
        return self.named(self.of(node.expr), node.alias)

    def named(self, text: str, alias: Ident | None) -> str:
        return text if alias is None else f"{text} AS {name(alias)}"

    # --- FROM ------------------------------------------------------------------------------------------------

    def sources(self, node: FromItem) -> str:
        """Write the outermost CROSS joins with commas."""
        first, links = chain(node, Join, lambda link: link.kind == "CROSS")
        rights = [link.right for link in links]
        return ", ".join(
            [
                self.of(first),
                *(
                    self.inside(right, parentheses=isinstance(right, Join) and right.kind == "CROSS")
                    for right in rights
                ),
            ]
        )

    def joins(self, node: Join) -> str:
        """Write joins from the leftmost table on."""
        first, links = chain(node, Join)
        text = self.of(first)
        for link in links:
            word = f"{'NATURAL ' if link.natural else ''}{'' if link.kind == 'INNER' else f'{link.kind} '}JOIN"
            text += f" {word} {self.inside(link.right, parentheses=isinstance(link.right, Join))}"
            if link.on is not None:
                text += f" ON {self.of(link.on)}"
            elif link.using:
                text += f" USING ({', '.join(map(name, link.using))})"
        return text

    # --- conditions and values -------------------------------------------------------------------------------

    def conjunction(self, node: And | Or) -> str:
        word, looser = (" AND ", (And, Or)) if isinstance(node, And) else (" OR ", (Or,))
        return word.join([self.inside(part, parentheses=isinstance(part, looser)) for part in node.parts])

    def membership(self, node: In) -> str:
        choices = self.of(node.choices) if isinstance(node.choices, Subquery) else f"({self.listed(node.choices)})"
        return f"{self.of(node.operand)} {_not(node)}IN {choices}"

    def text_operand(self, node: Expr) -> str:
        return self.inside(node, parentheses=not isinstance(node, Literal) and kind(node) not in {"", "s"})

    def column(self, node: ColumnRef) -> str:
        first, *rest = (*node.qualifier, node.name)
        free = [self.mapping and not part.quoted and _REGULAR.fullmatch(part.name) for part in rest]
        return ".".join(
            [name(first), *(part.name if bare else name(part) for part, bare in zip(rest, free, strict=True))]
        )

    def function(self, node: Function) -> str:
        return f"{node.name}({'DISTINCT ' if node.distinct else ''}{'*' if node.star else ''}{self.listed(node.args)})"

    def element(self, node: Element) -> str:
        operand = node.operand
        return f"{self.inside(operand, parentheses=not isinstance(operand, ColumnRef | Function | Subquery))}[{self.listed(node.indexes)}]"

    def window(self, node: Window) -> str:
        return (
            f"{self.function(node.function)} OVER {self.inside_window(node) if node.name is None else name(node.name)}"
        )

    def inside_window(self, node: Window | NamedWindow) -> str:
        parts = []
        if node.partition:
            parts.append(f"PARTITION BY {self.listed(node.partition)}")
        if node.order_by:
            parts.append(f"ORDER BY {self.listed(node.order_by)}")
        if node.frame is not None:
            parts.append(f"{node.frame.unit} BETWEEN {_edge(node.frame.start)} AND {_edge(node.frame.end)}")
        return f"({' '.join(parts)})"

    def case(self, node: Case) -> str:
        parts = ["CASE", *([] if node.operand is None else [self.of(node.operand)])]
        parts += [f"WHEN {self.of(when)} THEN {self.of(then)}" for when, then in node.whens]
        return " ".join([*parts, *([] if node.otherwise is None else [f"ELSE {self.of(node.otherwise)}"]), "END"])


def _edge(node: Edge) -> str:
    return node.side if node.offset is None else f"{literal(node.offset.value)} {node.side}"


def _is_negative(node: Node) -> bool:
    return isinstance(node, Literal) and isinstance(node.value, (int, float)) and node.value < 0


def _not(node: Between | In | IsNull | Like) -> str:
    return "NOT " if node.negated else ""


_WRITERS: Final[dict[type, Callable[[_Text, Any], str]]] = {
    Query: _Text.query,
    Select: _Text.select,
    SetOperation: _Text.operations,
    SelectItem: _Text.item,
    Star: lambda _, node: "".join([f"{name(part)}." for part in node.qualifier]) + "*",
    OrderItem: lambda text, node: f"{text.of(node.expr)}{' DESC' if node.descending else ''}",
    Join: _Text.joins,
    Derived: lambda text, node: text.named(f"({text.query(node.query)})", node.alias),
    TableRef: lambda text, node: text.named(".".join(map(name, node.parts)), node.alias),
    And: _Text.conjunction,
    Or: _Text.conjunction,
    Not: lambda text, node: f"NOT {text.inside(node.operand, parentheses=isinstance(node.operand, And | Or | Not))}",
    Compare: lambda text, node: f"{text.of(node.left)} {node.op} {text.of(node.right)}",
    Between: lambda text, node: (
        f"{text.of(node.operand)} {_not(node)}BETWEEN {text.of(node.low)} AND {text.of(node.high)}"
    ),
    In: _Text.membership,
    Like: lambda text, node: (
        f"{text.text_operand(node.operand)} {_not(node)}{'I' * node.ignore_case}LIKE {text.text_operand(node.pattern)}"
    ),
    IsNull: lambda text, node: f"{text.of(node.operand)} IS {_not(node)}NULL",
    Exists: lambda text, node: f"EXISTS ({text.query(node.query)})",
    Subquery: lambda text, node: f"({text.query(node.query)})",
    Literal: lambda _, node: literal(node.value),
    ColumnRef: _Text.column,
    Unary: lambda text, node: (
        node.op
        + text.inside(node.operand, parentheses=isinstance(node.operand, Unary | Binary) or _is_negative(node.operand))
    ),
    Binary: _Text.operations,
    Function: _Text.function,
    Window: _Text.window,
    Element: _Text.element,
    Cast: lambda text, node: (
        f"CAST({text.of(node.operand)} AS {node.target}{'' if node.length is None else f'({node.length})'})"
    ),
    Case: _Text.case,
}
