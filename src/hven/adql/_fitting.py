"""What fits together: comparisons, common types, and the words for what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from hven.adql import kinds
from hven.adql._bounds import BUILDING, KEYS, LOOK, READ, TERMS
from hven.adql.kinds import derived, kind, meta
from hven.adql.tree import Cast, ColumnRef, Expr, Function, Literal, Meta, OrderItem
from hven.model.clock import check
from hven.model.errors import BindError, say
from hven.model.literal import is_plain_time, to_plain_time
from hven.model.types import BOOLEAN, INT32, STRING, TIMESTAMP, Type

if TYPE_CHECKING:
    from collections.abc import Sequence

TRUE = frozenset({"true", "t", "1", "yes", "y"})
FALSE = frozenset({"false", "f", "0", "no", "n"})


class Fitting:
    """Checks kinds against each other and converts literals where services do.

    Attributes
    ----------
    slots, free, fixed
        Values of the literals met, by slot; slots that may vary; slots that turned out to be part of the shape.
    times
        Slots of literals that are times as every engine reads them.
    inline
        More than 0 inside a view or a filter, whose literals are no literals of the query.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.slots: dict[int, float | str | None] = {}
        self.free: set[int] = set()
        self.fixed: set[int] = set()
        self.times: list[int] = []
        self.inline = 0
        self.met = self.terms = self.selects = self.building = self.reads = self.filled = 0

    def fail(self, message: str, at: int, remedy: str = "") -> NoReturn:
        """Fail with what is wrong at an offset of the text."""
        raise self.fault(message, at, remedy)

    def fault(self, message: str, at: int, remedy: str = "") -> BindError:
        """Make the error that says what is wrong at an offset of the text."""
        return BindError(message, text=self.text, offset=at, remedy=remedy)

    def at_most(self, number: int, most: int, what: str, at: int, remedy: str) -> None:
        """Refuse what a query has too many of."""
        if number > most and self.text and not self.inline:
            self.fail(say("a query has at most {most:,} {what}", most, say(what)), at, remedy)

    def term(self, at: int) -> None:
        """Count a term of the query, and look at the clock now and then."""
        self.met += 1
        self.terms += not self.inline
        if not self.met % LOOK:
            check()
            self.at_most(self.terms, TERMS, "terms", at, "upload long lists as a table and join it")

    def read(self, tables: int, at: int) -> None:
        """Count tables that an engine will read for an item of FROM; those of a view are its author's."""
        self.reads += 0 if self.inline else tables
        self.at_most(
            self.reads, READ, "tables, those of WITH counted wherever they are read", at, "ask several queries"
        )

    def keys(self, items: Sequence[Expr | OrderItem], clause: str) -> None:
        """Count what a clause sorts or groups by."""
        if len(items) > KEYS:
            self.at_most(
                len(items),
                KEYS,
                say("expressions in one {clause}", clause),
                items[KEYS].at,
                "fewer tell rows apart as well",
            )

    def builds(self, at: int) -> None:
        """Count an operation that makes text of text."""
        self.building += not self.inline
        self.at_most(
            self.building,
            BUILDING,
            "operations that make text",
            at,
            "join the texts in fewer steps: a || b || c is one",
        )

    def shape(self, node: Literal) -> float | str | None:
        """Note a literal that is part of the query's shape, and return its value."""
        if node.slot >= 0 and not self.inline:
            self.slots[node.slot] = node.value
            self.fixed.add(node.slot)
        return node.value

    def comparable(self, left: Expr, right: Expr, op: str, at: int) -> tuple[Expr, Expr]:
        """Check that two values can be compared; strings beside timestamps and words beside booleans are converted."""
        one, two = kind(left), kind(right)
        if one == two and one in {"number", "text", "time", "boolean"}:
            return left, right
        if "null" in {one, two}:
            return left, right
        if one in kinds.GEOMETRY or two in kinds.GEOMETRY:
            self.fail(say("geometries cannot be compared by {op}", op), at, "use CONTAINS, INTERSECTS or DISTANCE")
        if {one, two} == {"time", "text"}:
            return (left, self.as_time(right)) if one == "time" else (self.as_time(left), right)
        if "boolean" in {one, two}:
            fitted = (left, self.as_boolean(right)) if one == "boolean" else (self.as_boolean(left), right)
            if fitted[0] is not None and fitted[1] is not None:
                return fitted  # type: ignore[return-value]
            if {one, two} == {"number", "boolean"}:
                return self.as_number(left), self.as_number(right)
        if {one, two} == {"number", "text"}:
            text = left if one == "text" else right
            remedy = (
                say("write {value} without quotes", text.value)
                if isinstance(text, Literal) and _is_number(text.value)
                else "CAST one of them"
            )
            self.fail(
                say("{op} compares {left} with {right}", op, self.said(left, bare=True), self.said(right, bare=True)),
                at,
                remedy,
            )
        raise self.fault(
            say("{op} cannot compare {left} with {right}", op, self.said(left, bare=True), self.said(right, bare=True)),
            at,
        )

    def given(self, values: Sequence[Expr]) -> str:
        """Phrase how many values are given."""
        return say("{count} is given" if len(values) == 1 else "{count} are given", len(values))

    def as_time(self, node: Expr) -> Expr:
        """Read a string literal as a timestamp."""
        if not meta(node).constant:
            self.fail(
                say("{value} and is compared with a timestamp", self.said(node)), node.at, "write CAST(.. AS TIMESTAMP)"
            )
        if isinstance(node, Literal):
            node = self.plain_time(node)
        inner = meta(node)
        return Cast(
            node,
            "TIMESTAMP",
            at=node.at,
            meta=Meta(TIMESTAMP, None, inner.ucd, constant=True, aggregate=inner.aggregate, origins=inner.origins),
        )

    def plain_time(self, node: Literal) -> Literal:
        """Read a literal as a time: an offset from UTC, a second 60 and 24:00 are resolved, for engines read them differently or lose them."""
        text = str(node.value)
        plain = to_plain_time(text)
        if plain is None:
            self.fail(
                say("{value!r} is no timestamp", node.value), node.at, "timestamps look like '2026-11-20T10:15:00'"
            )
        if is_plain_time(text):
            if node.slot >= 0 and not self.inline:
                self.times.append(node.slot)
            return node
        self.shape(node)
        return replace(node, value=plain)

    def as_boolean(self, node: Expr) -> Expr | None:
        """Read 1, 0, 'true', 'f' .. as a boolean, as services do; None if it is neither."""
        if kind(node) == "boolean":
            return node
        if not isinstance(node, Literal):
            return None
        word = str(node.value).strip().lower()
        if word not in TRUE | FALSE:
            return None
        self.fixed.add(node.slot)
        return Literal(word in TRUE, at=node.at, meta=Meta(BOOLEAN, constant=True, nullable=False))

    def as_number(self, node: Expr) -> Expr:
        """Read a boolean as 1 or 0."""
        if kind(node) != "boolean":
            return node
        inner = meta(node)
        return Cast(node, "INTEGER", at=node.at, meta=derived((inner,), INT32, None, None))

    def as_text(self, node: Expr) -> str:
        """Phrase how to make text of a value."""
        return (
            say("write CAST({name} AS VARCHAR)", node.name.name)
            if isinstance(node, ColumnRef)
            else "write CAST(.. AS VARCHAR)"
        )

    def unified(self, nodes: Sequence[Expr], what: str) -> tuple[list[Expr], Type]:
        """Unify the types of several values."""
        found = [kind(node) for node in nodes]
        known = [item for item in found if item != "null"]
        fitted = list(nodes)
        if not known:
            return fitted, STRING
        if "time" in known and "text" in known:
            fitted = [self.as_time(node) if item == "text" else node for node, item in zip(nodes, found, strict=True)]
            known = ["time"]
        if len(set(known)) > 1:
            odd = next(node for node, item in zip(nodes, found, strict=True) if item not in {"null", known[0]})
            self.fail(
                say(
                    "{what} wants values of one type: the first is {kind}, and {value}",
                    what,
                    kinds.WORDS[known[0]],
                    self.said(odd),
                ),
                odd.at,
            )
        types = [meta(node).type for node, item in zip(fitted, found, strict=True) if item != "null"]
        if (
            known[0] == "array"
            and len({type_.datatype for type_ in types}) > 1
            and not all(Type(one.datatype).is_numeric for one in types)
        ):
            self.fail(say("{what} wants values of one type, and these are arrays of several", what), nodes[0].at)
        return fitted, kinds.wider(types)

    def need(self, node: Expr, word: str, where: str, at: int) -> None:
        """Refuse an operand of another kind than a number (or a whole one)."""
        have = kind(node)
        if have == "null" or (have == "number" and (word == "number" or meta(node).type.is_integer)):
            return
        remedy = ""
        if where == "^" and have == "number":
            remedy = "^ is exclusive or; a to the power of b is POWER(a, b)"
        elif have == "array":
            remedy = "compute with its elements, a[1], or with ARR_SUM, ARR_AVG, ARR_DOT .."
        elif have == "text" and word == "number":
            remedy = "write CAST(x AS DOUBLE PRECISION)"
        self.fail(
            say(
                "{where} needs {kind}, and {value}",
                say(where) if " " in where else say("operator {op}", where),
                kinds.WORDS[word],
                self.said(node),
            ),
            at if node.at < 0 else node.at,
            remedy,
        )

    def said(self, node: Expr, *, bare: bool = False) -> str:
        """Name a value and its kind for people: ``name is a string``."""
        have = kinds.WORDS[kind(node)]
        if isinstance(node, ColumnRef):
            return (
                say("{have} (column {name})", have, node.name.name)
                if bare
                else say("column {name} is {have}", node.name.name, have)
            )
        if isinstance(node, Literal):
            name = (
                repr(node.value) if isinstance(node.value, str) else "NULL" if node.value is None else str(node.value)
            )
        elif isinstance(node, Function):
            name = f"{node.name}(..)"
        else:
            return have if bare else say("this is {have}", have)
        return say("{have} ({name})", have, name) if bare else say("{name} is {have}", name, have)


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
