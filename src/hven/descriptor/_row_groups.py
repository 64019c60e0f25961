"""`group_by`: several source rows become one. What stands in aggregates is worked out row by row, the rest is one value for each group."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from hven.adql.bind import bind
from hven.adql.functions import MAPPING
from hven.adql.scope import Tables
from hven.adql.tree import (
    ColumnRef,
    Expr,
    Function,
    Ident,
    Literal,
    Meta,
    Query,
    Select,
    SelectItem,
    TableRef,
    transform,
    walk,
)
from hven.descriptor import _value_trees as trees
from hven.descriptor.outcome import SOURCE, Aggregate, Broken, Groups
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, STRING, Type, from_arrow, parse_type
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.descriptor.value_schema import Faults
    from hven.descriptor.written import Written

# name -> most arguments; all take DISTINCT or not as SQL has it
AGGREGATES = {
    "MIN": 1, "MAX": 1, "SUM": 1, "AVG": 1, "COUNT": 1, "STRING_AGG": 3, "IVO_STRING_AGG": 3, "FIRST_OF": 2, "LAST_OF": 2, "ARRAY_AGG": 2, "UNION_OF": 1,
}  # fmt: skip
OWN = frozenset(AGGREGATES) - set(MAPPING.names)  # those that queries do not have


class Expressions(Protocol):
    """What is needed of the names of a table: `hven.descriptor._expression_names.Names`."""

    faults: Faults
    columns: list[Column]
    call_origins: dict[str, frozenset[str]]
    used: set[str]

    def bound(self, text: Written, what: str, targets: Any) -> tuple[Expr, Meta]:
        """Parse an expression, replace its names, type it."""

    def expanded(self, tree: Expr, text: Written, what: str, targets: Any, offset: int = 0) -> Expr:
        """Replace names by what they stand for."""

    def typed(self, tree: Expr, text: Written, what: str, offset: int = 0) -> Meta:
        """Infer type, unit and origins."""

    def origins(self, meta: Meta) -> frozenset[str]:
        """Find the source columns behind a value."""


class Grouping:
    """The keys of a table's groups and the aggregates in its expressions, as they are found."""

    def __init__(self, names: Expressions) -> None:
        self.names = names
        self.keys: dict[Expr, str] = {}
        self.simple: list[str] = []
        self.aggregates: dict[Function, Aggregate] = {}
        self.arguments: dict[Expr, str] = {}
        self.inside = False

    @contextmanager
    def rows(self) -> Iterator[None]:
        """Treat expressions within as about single rows: aggregates are faults there."""
        before, self.inside = self.inside, True
        try:
            yield
        finally:
            self.inside = before

    def key(self, text: Written, what: str) -> None:
        """Add an entry of ``group_by``: a column of the source, a ``let`` name, an expression."""
        with self.rows():
            try:
                tree, meta = self.names.bound(text, what, None)
            except Broken:
                return
        if self._made(tree):
            self.names.faults.error(f"{what}: groups cannot be made by what only groups have", text.place)
        elif isinstance(tree, ColumnRef):
            self.simple.append(tree.name.name)
        else:
            self.keys[tree] = self._column(f"key.{len(self.keys) + 1}", meta.type, meta, self.names.origins(meta))

    def keyed(self, tree: Expr) -> Expr:
        """Replace expressions that are keys by the keys."""
        if self.inside or not self.keys:
            return tree
        return transform(tree, lambda node: trees.name(self.keys[node], node.at) if node in self.keys else node)

    def aggregate(self, node: Function, text: Written, what: str, offset: int) -> Expr:
        """Replace an aggregate by the column that holds its result."""
        faults, place = self.names.faults, text.at(node.at + offset)
        name = node.name.lower()
        if self.inside:
            faults.error(f"{what}: {name} cannot stand here, where single rows are meant", place)
            raise Broken
        least = 0 if node.star else 2 if "STRING_AGG" in node.name else 1
        if not least <= len(node.args) <= AGGREGATES[node.name]:
            wanted = (
                "name, separator [, order]"
                if least == 2
                else "value [, order]"
                if AGGREGATES[node.name] == 2
                else "value"
            )
            faults.error(f"{what}: {name} is written {name}({wanted})", place)
            raise Broken
        separator = None
        args = list(node.args)
        if least == 2:
            said = args.pop(1)
            if not isinstance(said, Literal) or not isinstance(said.value, str):
                faults.error(f"{what}: the separator of {name} is a text: {name}(x, '#')", place)
                raise Broken
            separator = said.value
        with self.rows():
            expanded = [self.names.expanded(arg, text, what, None, offset) for arg in args]
        key = Function(node.name, (*expanded, Literal(separator)), distinct=node.distinct, star=node.star)
        if key not in self.aggregates:
            metas = [self.names.typed(arg, text, what, offset) for arg in expanded]
            if any(self._made(arg) for arg in expanded):
                faults.error(
                    f"{what}: {name} cannot hold what only groups have, nor a Python function's result",
                    place,
                    "make it in a source of its own",
                )
                raise Broken
            origins: set[str] = set().union(*(self.names.origins(meta) for meta in metas)) if metas else set()
            kind = _kind(node.name, metas)
            unit = metas[0] if metas and node.name not in {"COUNT", "STRING_AGG", "IVO_STRING_AGG"} else None
            output = self._column(f"group.{len(self.aggregates) + 1}", kind, unit, frozenset(origins))
            names = tuple(self.arguments.setdefault(arg, f"arg.{len(self.arguments) + 1}") for arg in expanded)
            self.aggregates[key] = Aggregate(
                output=output, function=node.name, args=names, distinct=node.distinct, separator=separator, type=kind
            )
        return trees.name(self.aggregates[key].output, node.at)

    def _made(self, tree: Expr) -> bool:
        return any(isinstance(node, ColumnRef) and node.name.name in self.names.call_origins for node in walk(tree))

    def _column(self, name: str, kind: Type, meta: Meta | None, origins: frozenset[str]) -> str:
        self.names.call_origins[name] = origins
        self.names.columns.append(
            Column(name=name, type=kind, unit=meta.unit if meta else None, ucd=meta.ucd if meta else None)
        )
        self.names.used |= origins
        return name

    def plan(self, source: Table, where: Expr | None, plain: tuple[str, ...]) -> Groups:
        """Plan what is computed for each row, before rows are grouped.

        Raises
        ------
        BindError
            Of the condition or of an argument.
        """
        items = [
            SelectItem(tree, Ident(name, quoted=True)) for tree, name in (*self.keys.items(), *self.arguments.items())
        ]
        items.append(SelectItem(trees.name(ROW), Ident(ROW, quoted=True)))
        own = source.having(
            columns=tuple(column for column in source.columns if column.name not in self.names.call_origins)
        )
        bound = bind(
            Query(Select(tuple(items), TableRef((Ident(SOURCE),)), where=where)), Tables([own]), functions=MAPPING
        )
        return Groups(
            bound=bound,
            keys=tuple(self.keys.values()),
            simple=tuple(dict.fromkeys(self.simple)),
            aggregates=tuple(self.aggregates.values()),
            plain=tuple(name for name in plain if name not in self.simple and name != ROW),
        )


def _kind(function: str, metas: list[Meta]) -> Type:
    if function == "COUNT":
        return INT64
    if function in {"STRING_AGG", "IVO_STRING_AGG"}:
        return STRING
    if function == "UNION_OF":
        return parse_type("multishape")
    kind = metas[0].type
    if function == "AVG":
        return FLOAT64
    if function == "SUM":
        return INT64 if kind.is_integer else FLOAT64
    return from_arrow(pa.list_(kind.arrow)) if function == "ARRAY_AGG" else kind
