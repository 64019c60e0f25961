"""The clauses and functions of a query, and all that exist.

They are found by the classes of `hven.adql.syntax_tree` and their fields, so that new ones are required without a
change here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields

from hven.adql import _expression_parser as terms
from hven.adql import _from_parser as from_clause
from hven.adql import _window_parser as windows
from hven.adql import parse_query, syntax_tree
from hven.adql.functions import QUERY_FUNCTIONS, WINDOW_FUNCTIONS
from hven.adql.syntax_tree import walk_tree
from hven.model.errors import HvenError

KEYWORDS = {
    ("Join", "kind"): from_clause.JOIN_KEYWORDS - {"JOIN", "NATURAL"},
    ("SetOperation", "op"): from_clause.SET_KEYWORDS,
    ("Comparison", "op"): terms._COMPARISON_OPERATORS,
    ("BinaryOperation", "op"): frozenset(terms._OPERATOR_PRECEDENCE),
    ("UnaryOperation", "op"): frozenset("-+~"),
    ("WindowFrame", "unit"): frozenset(windows._FRAME_UNITS),
    ("FrameBound", "side"): frozenset(windows._FRAME_BOUND_ORDER),
    ("CastExpression", "target"): terms.TYPE_NAMES | {"DOUBLE PRECISION", "CHAR", "VARCHAR"},
    ("FunctionCall", "name"): frozenset({*(entry.name for entry in QUERY_FUNCTIONS), *WINDOW_FUNCTIONS}),
}


def _iterate_node_classes(kind: type[syntax_tree.SyntaxNode]) -> Iterator[type[syntax_tree.SyntaxNode]]:
    for child in kind.__subclasses__():
        yield from _iterate_node_classes(child)
        # slots leave an empty class behind
        if not child.__subclasses__() and getattr(syntax_tree, child.__name__, None) is child:
            yield child


def list_all_features() -> set[str]:
    """List all features: ``Join``, ``Join.kind FULL``, ``InPredicate.negated``, ``WindowExpression no frame`` ..."""
    found = {f"{kind}.{name} {word}" for (kind, name), words in KEYWORDS.items() for word in words}
    for kind in set(_iterate_node_classes(syntax_tree.SyntaxNode)):
        found.add(kind.__name__)
        for item in fields(kind):
            # keyword-only fields are annotations of the binder
            if (
                item.compare
                and not item.kw_only
                and (kind.__name__, item.name) not in KEYWORDS
                and (item.default is not MISSING or "None" in str(item.type))
            ):
                found |= {f"{kind.__name__}.{item.name}", f"{kind.__name__} no {item.name}"}
    return found | {"LiteralList"}


def list_features(text: str) -> set[str]:
    """List the features of a query; none if it cannot be parsed."""
    try:
        query = parse_query(text)
    except HvenError:
        return set()
    found = set()
    for node in walk_tree(query):
        kind = type(node).__name__
        found.add(kind)
        for item in fields(node):
            value = getattr(node, item.name)
            if (kind, item.name) in KEYWORDS:
                found.add(f"{kind}.{item.name} {value.upper()}")
            elif isinstance(value, syntax_tree.LiteralList):
                found.add("LiteralList")
            found.add(f"{kind}.{item.name}" if value else f"{kind} no {item.name}")
    return found
