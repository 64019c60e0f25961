"""Which clauses and functions a query has, and all that there are: by the classes of `hven.adql.tree` and their fields, so that what is added there is asked for here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields

from hven.adql import _from_clause as from_clause
from hven.adql import _terms as terms
from hven.adql import _windows as windows
from hven.adql import parse, tree
from hven.adql.functions import QUERY, WINDOWS
from hven.adql.tree import walk
from hven.model.errors import HvenError

WORDS = {
    ("Join", "kind"): from_clause.JOIN_WORDS - {"JOIN", "NATURAL"},
    ("SetOperation", "op"): from_clause.SET_WORDS,
    ("Compare", "op"): terms._COMPARE,
    ("Binary", "op"): frozenset(terms._BINDS),
    ("Unary", "op"): frozenset("-+~"),
    ("Frame", "unit"): frozenset(windows._UNITS),
    ("Edge", "side"): frozenset(windows._PLACES),
    ("Cast", "target"): terms.TYPES | {"DOUBLE PRECISION", "CHAR", "VARCHAR"},
    ("Function", "name"): frozenset({*(entry.name for entry in QUERY), *WINDOWS}),
}


def _nodes(kind: type[tree.Node]) -> Iterator[type[tree.Node]]:
    for child in kind.__subclasses__():
        yield from _nodes(child)
        # slots leave an empty class behind
        if not child.__subclasses__() and getattr(tree, child.__name__, None) is child:
            yield child


def everything() -> set[str]:
    """List all that a query may have: ``Join``, ``Join.kind FULL``, ``In.negated``, ``Select.top``, ``Window no frame`` ..."""
    found = {f"{kind}.{name} {word}" for (kind, name), words in WORDS.items() for word in words}
    for kind in set(_nodes(tree.Node)):
        found.add(kind.__name__)
        for item in fields(kind):
            # what is given by name alone are the binder's marks
            if (
                item.compare
                and not item.kw_only
                and (kind.__name__, item.name) not in WORDS
                and (item.default is not MISSING or "None" in str(item.type))
            ):
                found |= {f"{kind.__name__}.{item.name}", f"{kind.__name__} no {item.name}"}
    return found | {"LiteralList"}


def reached(text: str) -> set[str]:
    """List what a query has; nothing if it is none."""
    try:
        query = parse(text)
    except HvenError:
        return set()
    found = set()
    for node in walk(query):
        kind = type(node).__name__
        found.add(kind)
        for item in fields(node):
            value = getattr(node, item.name)
            if (kind, item.name) in WORDS:
                found.add(f"{kind}.{item.name} {value.upper()}")
            elif isinstance(value, tree.LiteralList):
                found.add("LiteralList")
            found.add(f"{kind}.{item.name}" if value else f"{kind} no {item.name}")
    return found
