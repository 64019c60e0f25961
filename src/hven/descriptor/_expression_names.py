"""Names in the expressions of one table: what each stands for, what type it has, and where the fault is if it is none."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from hven.adql.bind import bind, bind_condition, bind_expression
from hven.adql.functions import MAPPING
from hven.adql.scope import Names as Known
from hven.adql.scope import Tables, same
from hven.adql.tree import (
    Binary,
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
from hven.descriptor import _images as images
from hven.descriptor import _value_trees as trees
from hven.descriptor._column_expressions import parsed
from hven.descriptor._conversions import in_arguments
from hven.descriptor._row_groups import AGGREGATES, OWN, Grouping
from hven.descriptor.outcome import SOURCE, Broken, Call
from hven.descriptor.value_schema import Faults
from hven.descriptor.written import Page, Written
from hven.model import units
from hven.model.errors import BindError, ParseError, nearest
from hven.model.resource import PythonFunction
from hven.model.table import Column, Table
from hven.model.types import CONTOUR, INT64, STRING, TIMESTAMP
from hven.sources import FILE_FACTS, ROW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.errors import Place
    from hven.model.resource import Resource, TableSpec

# collection.x in expressions
COLLECTION = ("name", "title", "created", "publisher", "bibcode", "doi", "licence", "reference_url")
OUTWARD = "PRODUCT_SIZE"  # of a file, or of what an http address leads to: its server is asked at ingest
_FACT_TYPES = {"file.size": INT64, "file.mtime": TIMESTAMP, images.FOOTPRINT: CONTOUR}


class RunTime(str):
    """The time of a run, where an expression has it for want of a date of the descriptor: a text that can be told from others."""

    __slots__ = ()


class Targets(Protocol):
    """The table's own columns, for ``target.x``."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What sets each column, by name."""

    def value(self, name: str, asked: Place | None, what: str) -> Expr:
        """Return the final tree of a target column; raises `Broken` after a fault."""


def written(text: str, place: Place) -> Written:
    """Place text that a program made, so that faults in it say where."""
    if isinstance(text, Written):
        return text
    page = Page(place.file or "", "\n" * ((place.line or 1) - 1) + " " * ((place.column or 1) - 1) + text)
    return Written(text, page, len(page.text) - len(text), len(page.text), "made")


class Names:
    """The source's columns, ``let``, constants, Python functions; resolves and types expressions over them.

    Attributes
    ----------
    real
        Columns of the source.
    columns
        All that expressions may read: real ones, file facts, the row number, results of Python calls, lookups.
    used
        Columns that anything but a plain copy reads.
    """

    def __init__(self, spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> None:
        self.spec, self.resource = spec, resource
        self.faults = Faults()
        self.what = f"tables.{spec.table.name}"
        self.real = list(source_columns)
        facts = [Column(name=name, type=_FACT_TYPES.get(name, STRING)) for name in FILE_FACTS]
        self.columns = [*self.real, *facts, Column(name=ROW, type=INT64, required=True)]
        self._known = Known(self.columns)
        self.python = {function.name.lower(): function for function in resource.functions}
        self.calls: dict[Function, Call] = {}
        self.call_origins: dict[str, frozenset[str]] = {}
        self.lets: dict[str, Expr | None] = {}
        self.used: set[str] = set()
        self.grouping = Grouping(self) if spec.group_by else None
        self.run_time = RunTime(datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S"))

    def failed(self) -> bool:
        """Check whether there are errors."""
        return any(fault.severity == "error" for fault in self.faults.found)

    def let(self, name: str, text: Written) -> None:
        """Bind one ``let``; those it needs came before."""
        if self.find(Ident(name)) is not None:
            self.faults.error(
                f"{self.what}.let: {name} is a column of the source already", text.place, "choose another name"
            )
        try:
            tree, _ = self.bound(text, f"{self.what}.let.{name}", None)
            self.lets[name] = tree
        except Broken:
            self.lets[name] = None

    def find(self, ident: Ident) -> Column | None:
        """Find a column of the source by a name as written; exact before case-blind."""
        exact = self.known.find(Ident(ident.name, quoted=True))
        if exact or ident.quoted:
            return self.columns[exact[0]] if exact else None
        found = self.known.find(ident)
        return self.columns[found[0]] if len(found) == 1 else None

    @property
    def known(self) -> Known:
        """The columns by name, made anew when one was added: to bind an expression takes a moment, however many there are."""
        if len(self._known.columns) != len(self.columns):
            self._known = Known(self.columns)
        return self._known

    def bound(self, text: Written, what: str, targets: Targets | None) -> tuple[Expr, Meta]:
        """Parse an expression, replace its names, type it; return the tree over the source alone, and what its value is."""
        try:
            tree = parsed(str(text))
        except ParseError as error:
            self.faults.error(f"{what}: {error.message}", text.at(error.offset), error.remedy)
            raise Broken from None
        tree = self.expanded(tree, text, what, targets)
        found = self.typed(tree, text, what)
        for name, node, said, wanted in in_arguments(tree, lambda arg: self.typed(arg, text, what).unit):
            number = node.right.value if isinstance(node.right, Literal) else ""
            message = (
                f"{what}: {name} takes {wanted}, and converts {said} by itself; {node.op} {number} does it once more"
            )
            self.faults.warning(message, text.at(node.at), f"leave {node.op} {number} out")
        return tree, found

    def condition(self, text: str, place: Place, what: str, targets: Targets | None) -> Expr | None:
        """Parse and type a condition over the source; None after a fault."""
        value = written(text, place)
        try:
            tree = parsed(str(value), condition=True)
            tree = self.expanded(tree, value, what, targets)
            bound = bind_condition(tree, self.known, text=str(value))
        except (ParseError, BindError) as error:
            self.say(error, value, what)
            return None
        except Broken:
            return None
        self.used |= origins_of(bound)
        return tree

    def say(self, error: ParseError | BindError, text: Written, what: str) -> None:
        """Report a fault of ADQL in the YAML file."""
        self.faults.error(
            f"{what}: {error.message.removesuffix(' in the subquery')}", text.at(error.offset), error.remedy
        )

    def typed(self, tree: Expr, text: Written, what: str, offset: int = 0) -> Meta:
        """Bind for the type, unit and origins."""
        try:
            bound = bind_expression(tree, self.known, text=str(text))
        except BindError as error:
            self.faults.error(
                f"{what}: {error.message.removesuffix(' in the subquery')}",
                text.at(error.offset + offset),
                error.remedy,
            )
            raise Broken from None
        if bound.meta is None:
            raise AssertionError
        return bound.meta

    def expanded(self, tree: Expr, text: Written, what: str, targets: Targets | None, offset: int = 0) -> Expr:
        """Replace let names, constants, target columns, header cards and Python calls by what they stand for."""

        def change(node: Any) -> Any:
            if isinstance(node, ColumnRef):
                return self.name(node, text, what, targets, offset)
            if isinstance(node, Literal):
                return Literal(node.value, at=node.at)
            if isinstance(node, Function):
                if self.grouping is not None and node.name in AGGREGATES:
                    return self.grouping.aggregate(node, text, what, offset)
                if node.name in OWN:
                    self.faults.error(
                        f"{what}: {node.name.lower()} needs groups",
                        text.at(node.at + offset),
                        "say group_by: [key] for the table",
                    )
                    raise Broken
                if node.name == "HEADER":
                    return self.header(node, text, what, offset)
                if node.name == "WCS_FOOTPRINT" and not node.args:
                    return images.footprint(self, node, text, what, offset)
                if node.name == images.MASK and not (len(node.args) > 2 and isinstance(node.args[-1], Literal)):
                    args = [self.expanded(arg, text, what, targets, offset) for arg in node.args]
                    return Function(node.name, (*args, self.directory(node)), at=node.at)
                if node.name in images.PRODUCTS and len(node.args) == 1:
                    path = self.expanded(node.args[0], text, what, targets, offset)
                    local = Function(node.name, (path, self.directory(node)), at=node.at)
                    if node.name != OUTWARD or not _may_be_address(path):
                        return local
                    self.typed(local, text, what, offset)
                    asked = PythonFunction(
                        name=OUTWARD, path=None, type=INT64, unit="byte", ucd="phys.size;meta.file", place=text.place
                    )
                    return Function(
                        "COALESCE", (self.made_before(asked, (path,), text, what, node.at, offset), local), at=node.at
                    )
                if node.name.lower() in self.python:
                    return self.call(node, text, what, targets, offset)
                if MAPPING.get(node.name) is None:
                    known = [name.lower() for name in MAPPING.names] + list(self.python)
                    self.faults.error(
                        f"{what}: no function {node.name.lower()}", text.at(node.at + offset), nearest(node.name, known)
                    )
                    raise Broken
            return node

        tree = transform(tree, change)
        if sum(1 for _ in walk(tree)) > trees.LARGEST:
            self.faults.error(
                f"{what}: with all names replaced, the expression has more than {trees.LARGEST:,} parts",
                text.place,
                "simplify the 'let' names",
            )
            raise Broken
        return tree if self.grouping is None else self.grouping.keyed(tree)

    def directory(self, node: Function) -> Literal:
        """Name the directory that relative paths start from."""
        return Literal(str(self.resource.path.parent), at=node.at)

    def name(self, node: ColumnRef, text: Written, what: str, targets: Targets | None, offset: int) -> Expr:
        """Resolve a name: a source column, then a let name, then a constant; ``target.x``, ``site.x``."""
        prefix = ".".join(part.name for part in node.qualifier)
        word = node.name.name
        if prefix.lower() == "target":
            if targets is None:
                self.faults.error(
                    f"{what}: target.{word} does not exist yet here",
                    text.at(node.at + offset),
                    "use the source's columns",
                )
                raise Broken
            value = targets.value(word, text.at(node.at + offset), what)
            return trees.moved(value, node.at)
        if prefix.lower() == "site" and word in self.resource.site:
            return Literal(self.resource.site[word], at=node.at)
        if prefix.lower() == "collection" and word in COLLECTION:
            return Literal(self.collection(word), at=node.at)
        if prefix:
            dotted = self.find(Ident(f"{prefix}.{word}", quoted=True)) or self.find(
                Ident(f"{prefix.lower()}.{word.lower()}", quoted=True)
            )
            if dotted is not None:
                return trees.name(dotted.name, node.at)
            known = [column.name for column in self.columns] + [
                f"target.{name}" for name in (targets.settings if targets else ())
            ]
            self.faults.error(
                f"{what}: no {prefix}.{word}", text.at(node.at + offset), nearest(f"{prefix}.{word}", known)
            )
            raise Broken
        column = self.find(node.name)
        if column is not None:
            return trees.name(column.name, node.at)
        for name, tree in self.lets.items():
            if same(node.name, name):
                if tree is None:
                    raise Broken
                return trees.moved(tree, node.at)
        for name, value in self.resource.let.items():
            if same(node.name, name):
                return Literal(value, at=node.at)
        known = [*(column.name for column in self.real), *self.spec.let, *self.resource.let]
        ambiguous = [column.name for column in self.real if column.name.lower() == word.lower()]
        remedy = (
            f"write one of {', '.join(chr(34) + name + chr(34) for name in ambiguous)}"
            if len(ambiguous) > 1
            else nearest(word, known)
        )
        if not remedy and word in {column.name for column in self.spec.table.columns}:
            remedy = f"write target.{word} for the table's own column"
        message = (
            f"{word} may be several columns"
            if len(ambiguous) > 1
            else f"the source has no column {word!r}, and no 'let' is called so"
        )
        self.faults.error(f"{what}: {message}", text.at(node.at + offset), remedy or f"the source has: {some(known)}")
        raise Broken

    def collection(self, word: str) -> str | None:
        """Look up a key of the collection; without a date of creation, its rows are created as they come."""
        found: str | None = getattr(self.resource, word)
        return self.run_time if word == "created" and not found else found

    def header(self, node: Function, text: Written, what: str, offset: int) -> Expr:
        """Replace ``header('DATE-OBS')`` by the source column that the card became."""
        card = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], Literal) else None
        if not isinstance(card, str):
            self.faults.error(f"{what}: header takes the name of a card: header('DATE-OBS')", text.at(node.at + offset))
            raise Broken
        exact = [column for column in self.real if column.name == card]
        folded = card.lower().replace("-", "_").replace(" ", "_")
        alike = [column for column in self.real if column.name.lower().replace("-", "_").replace(" ", "_") == folded]
        if exact or alike:
            return trees.name((exact or alike)[0].name, node.at)
        self.faults.error(
            f"{what}: the source has no header card {card!r}",
            text.at(node.at + offset),
            nearest(card, [column.name for column in self.real]),
        )
        raise Broken

    def call(self, node: Function, text: Written, what: str, targets: Targets | None, offset: int) -> Expr:
        """Replace a call of a Python function by the column that it will fill."""
        function = self.python[node.name.lower()]
        args = tuple(self.expanded(arg, text, what, targets, offset) for arg in node.args)
        if function.arguments is not None and len(args) != function.arguments:
            self.faults.error(
                f"{what}: {function.name} takes {function.arguments} arguments, not {len(args)}",
                text.at(node.at + offset),
            )
            raise Broken
        if not args:
            self.faults.error(
                f"{what}: {function.name} needs at least one argument",
                text.at(node.at + offset),
                "without one it cannot know how many rows there are",
            )
            raise Broken
        return self.made_before(function, args, text, what, node.at, offset)

    def made_before(
        self, function: PythonFunction, args: tuple[Expr, ...], text: Written, what: str, at: int, offset: int
    ) -> Expr:
        """Plan a function's call before the mapping is run; return the column that it fills."""
        key = Function(function.name, args)
        if key not in self.calls:
            origins: set[str] = set()
            for arg in args:
                origins |= self.origins(self.typed(arg, text, what, offset))
            output = f"call.{len(self.calls) + 1}"
            source = Table(schema="", name=SOURCE, columns=tuple(self.columns))
            items = tuple(SelectItem(arg, Ident(f"arg{number}")) for number, arg in enumerate(args, 1))
            query = bind(Query(Select(items, TableRef((Ident(SOURCE),)))), Tables([source]), functions=MAPPING)
            self.calls[key] = Call(
                name=function.name,
                path=function.path,
                args=query,
                output=output,
                type=function.type,
                place=text.at(at + offset),
            )
            self.call_origins[output] = frozenset(origins)
            self.columns.append(Column(name=output, type=function.type, unit=function.unit, ucd=function.ucd))
            self.used |= origins
        return trees.name(self.calls[key].output, at)

    def origins(self, meta: Meta) -> frozenset[str]:
        """Find the source columns behind a value, through Python calls."""
        found: set[str] = set()
        for name in meta.origins:
            found |= self.call_origins.get(name, {name})
        return frozenset(found)


def _may_be_address(tree: Expr) -> bool:
    """Check whether a text may begin with http, by its first constant; others may, but for a file's facts."""
    while isinstance(tree, Binary) and tree.op == "||":
        tree = tree.left
    if isinstance(tree, Literal):
        return isinstance(tree.value, str) and "http".startswith(tree.value[:4].lower())
    return not (isinstance(tree, ColumnRef) and tree.name.name in FILE_FACTS)


def origins_of(tree: Any) -> set[str]:
    """List the names of all columns in a tree."""
    return {node.name.name for node in walk(tree) if isinstance(node, ColumnRef)}


def is_made_of_run_time(tree: Expr) -> bool:
    """Tell whether a value is made of the time of the run, and of no column."""
    nodes = list(walk(tree))
    return any(isinstance(node, Literal) and isinstance(node.value, RunTime) for node in nodes) and not any(
        isinstance(node, ColumnRef) for node in nodes
    )


def some(names: Sequence[str]) -> str:
    """List the first names."""
    shown = ", ".join(names[:12])
    return f"{shown} ..." if len(names) > 12 else shown or "no columns"


_IN_BRACKETS = re.compile(r".*\S\s*(?:\[([^\]]+)\]|\(([^)]+)\))\s*")


def header_unit(name: str) -> str | None:
    """Read the unit in a header such as ``sep (arcmin)``; it counts only where the target's unit is of the same kind."""
    match = _IN_BRACKETS.fullmatch(name)
    if match is None:
        return None
    try:
        return units.check(match[1] or match[2]) or None
    except ValueError:
        return None
