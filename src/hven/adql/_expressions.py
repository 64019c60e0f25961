"""Expressions: every value and condition gets its type, unit and UCD, and whatever does not fit is said with its place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from hven.adql import kinds
from hven.adql._bounds import LONGEST
from hven.adql._calling import Calling
from hven.adql.kinds import CONDITION, UNICODE, added, common_ucd, derived, kind, literal_meta, meta, truth
from hven.adql.tree import (
    And,
    Between,
    Binary,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Element,
    Exists,
    Expr,
    Function,
    In,
    IsNull,
    Like,
    Literal,
    LiteralList,
    Meta,
    Not,
    Or,
    Query,
    Subquery,
    Unary,
    Window,
    chain,
)  # fmt: skip
from hven.model import units
from hven.model.errors import say
from hven.model.types import (
    BOOLEAN,
    CIRCLE,
    FLOAT32,
    FLOAT64,
    INT16,
    INT32,
    INT64,
    POINT,
    POLYGON,
    STRING,
    TIMESTAMP,
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.adql.scope import Scope
    from hven.model.table import Column

CONDITIONS = (Compare, And, Or, Not, Between, In, Like, IsNull, Exists)
CASTS: dict[str, Type] = {
    "SMALLINT": INT16, "INTEGER": INT32, "INT": INT32, "BIGINT": INT64, "REAL": FLOAT32, "FLOAT": FLOAT64, "DOUBLE": FLOAT64, "DOUBLE PRECISION": FLOAT64,
    "CHAR": STRING, "VARCHAR": STRING, "TIMESTAMP": TIMESTAMP, "BOOLEAN": BOOLEAN, "POINT": POINT, "CIRCLE": CIRCLE, "POLYGON": POLYGON,
}  # fmt: skip
MOST = {"CHAR": LONGEST, "VARCHAR": 2**31 - 1}  # characters; CHAR is filled up to them
PREDICATES = frozenset({"CONTAINS", "INTERSECTS"})


class Expressions(Calling, ABC):
    """Binds expressions; one object per query, which keeps what is found on the way."""

    # --- to be given by the binder of queries

    @abstractmethod
    def subquery(self, query: Query, scope: Scope) -> tuple[Query, tuple[Column, ...]]:
        """Bind a subquery inside `scope`."""

    # --- the door

    def expression(self, node: Expr, scope: Scope) -> Expr:
        """Bind a value expression or a condition."""
        self.term(node.at)
        method = METHODS.get(type(node))
        if method is None:
            self.fail(say("{name} cannot stand here", type(node).__name__), node.at)
        return method(self, node, scope)

    def condition(self, node: Expr, scope: Scope) -> Expr:
        """Bind a search condition: a predicate, or a boolean value."""
        bound = self.expression(node, scope)
        if isinstance(bound, CONDITIONS) or meta(bound).type.is_boolean:
            return bound
        remedy = (
            say("compare it with 1: {name}(..) = 1", bound.name)
            if isinstance(bound, Function) and bound.name in PREDICATES
            else "compare it with something"
        )
        raise self.fault(say("{value} is no condition", self.said(bound)), node.at, remedy)

    # --- leaves

    def literal(self, node: Literal, scope: Scope) -> Expr:  # noqa: ARG002  (one signature for all methods)  # noqa: ARG002  (one signature for all methods)
        """Type a literal and note its slot."""
        value = node.value
        slot = node.slot
        if self.inline:
            slot = -1
        elif slot >= 0:
            self.slots[slot] = value
            if value is not None and not isinstance(value, bool):
                self.free.add(slot)
        return Literal(value, at=node.at, slot=slot, meta=literal_meta(value))

    def column(self, node: ColumnRef, scope: Scope) -> Expr:
        """Resolve a column reference."""
        return scope.resolve(node, self.text)

    # --- arithmetic and strings

    def unary(self, node: Unary, scope: Scope) -> Expr:
        """Bind ``-x``, ``+x``, ``~x``."""
        operand = self.expression(node.operand, scope)
        inner = meta(operand)
        self.need(operand, "integer" if node.op == "~" else "number", node.op, node.at)
        type_ = INT16 if inner.type.datatype == "unsignedByte" else inner.type
        if not inner.type.is_numeric:  # -NULL
            type_ = INT32
        return Unary(
            node.op, operand, at=node.at,
            meta=Meta(type_, inner.unit, inner.ucd, None, None, None, inner.nullable, inner.constant, inner.aggregate, inner.origins),
        )  # fmt: skip

    def binary(self, node: Binary, scope: Scope) -> Expr:
        """Bind ``+ - * / ||`` and the bitwise ones; a chain of a thousand is walked, not descended into."""
        first, links = chain(node, Binary)
        bound = self.expression(first, scope)
        for link in links:
            bound = self.operation(link, bound, self.expression(link.right, scope))
        if node.op == "||":
            self.builds(node.at)
        return bound

    def operation(self, node: Binary, left: Expr, right: Expr) -> Binary:
        """Join two bound operands."""
        op = node.op
        one, two = meta(left), meta(right)
        unit: str | None = None
        ucd: str | None = None
        if op == "||":
            for side in (left, right):
                if kind(side) not in {"text", "null"}:
                    self.fail(
                        say("operator || joins strings, and {value}", self.said(side)), side.at, self.as_text(side)
                    )
            type_ = UNICODE if "unicodeChar" in {one.type.datatype, two.type.datatype} else STRING
        else:
            word = "integer" if op in {"&", "|", "^"} else "number"
            for side in (left, right):
                self.need(side, word, op, side.at)
            types = [side.type for side in (one, two) if side.type.is_numeric] or [INT32]
            type_ = kinds.sum_type(op, types[0], types[-1])
            if op in {"+", "-"}:
                unit, ucd = added(one, two)
            elif op in {"*", "/"}:
                unit = units.multiply(one.unit, two.unit) if op == "*" else units.divide(one.unit, two.unit)
            elif op == "%":
                unit = one.unit
        return Binary(op, left, right, at=node.at, meta=derived((one, two), type_, unit, ucd))

    def cast(self, node: Cast, scope: Scope) -> Expr:
        """Bind ``CAST(x AS type)``."""
        operand = self.expression(node.operand, scope)
        inner = meta(operand)
        target = " ".join(node.target.upper().split())
        if target not in CASTS:
            self.fail(
                say("no type {target} to cast to", node.target),
                node.at,
                say("there are {names}", ", ".join(name for name in CASTS if name not in {"INT", "FLOAT", "DOUBLE"})),
            )
        type_ = CASTS[target]
        if node.length is not None:
            if type_ is not STRING:
                self.fail(say("{target} takes no length", target), node.at)
            if node.length < 1:
                self.fail(
                    say("{target}({length}) has no room", target, node.length), node.at, "the length is at least 1"
                )
            if node.length > MOST[target]:
                self.fail(
                    say("{target}({length}) is too long", target, node.length),
                    node.at,
                    say("the length is at most {most}", MOST[target]),
                )
            if target == "CHAR":
                self.filled += node.length * (not self.inline)
                self.at_most(
                    self.filled, LONGEST, "characters in all its CHARs", node.at, "CAST to VARCHAR: it is not filled up"
                )
            type_ = Type("char", f"{node.length}" if target == "CHAR" else f"{node.length}*")
        have, wanted = kind(operand), kinds.kind_of(type_)
        if not (have in {"text", "null", wanted} or wanted == "text" or {have, wanted} == {"number", "boolean"}):
            self.fail(say("{value} and cannot be cast to {target}", self.said(operand), target), node.at)
        unit = inner.unit if wanted == have else None
        if wanted == "time" and have == "text" and isinstance(operand, Literal):
            operand = self.plain_time(operand)
        return Cast(
            operand, target, node.length, at=node.at,
            meta=Meta(type_, unit, inner.ucd, None, inner.description, None, inner.nullable, inner.constant, inner.aggregate, inner.origins),
        )  # fmt: skip

    def case(self, node: Case, scope: Scope) -> Expr:
        """Bind ``CASE [x] WHEN .. THEN .. ELSE .. END``; with x, every WHEN becomes a comparison."""
        operand = None if node.operand is None else self.expression(node.operand, scope)
        whens: list[tuple[Expr, Expr]] = []
        for when, then in node.whens:
            if operand is None:
                test = self.condition(when, scope)
            else:
                left, right = self.comparable(operand, self.expression(when, scope), "CASE", when.at)
                test = Compare("=", left, right, at=when.at, meta=truth(left, right))
            whens.append((test, self.expression(then, scope)))
        otherwise = None if node.otherwise is None else self.expression(node.otherwise, scope)
        results = [then for _, then in whens] + ([otherwise] if otherwise is not None else [])
        results, type_ = self.unified(results, "CASE")
        for index, (test, _) in enumerate(whens):
            whens[index] = (test, results[index])
        if otherwise is not None:
            otherwise = results[-1]
        parts = [meta(item) for item in results]
        tests = [test.meta for test, _ in whens if test.meta is not None]
        units = {item.unit for item in parts if item.unit is not None or not item.constant}
        got = derived((*parts, *tests), type_, units.pop() if len(units) == 1 else None, common_ucd(parts))
        return Case(None, tuple(whens), otherwise, at=node.at, meta=got)

    def scalar(self, node: Subquery, scope: Scope) -> Expr:
        """Bind a subquery as a value: it must have one column."""
        query, columns = self.subquery(node.query, scope)
        if len(columns) != 1:
            self.fail(
                say("a subquery that stands for a value has one column, and this one has {count}", len(columns)),
                node.at,
            )
        column = columns[0]
        return Subquery(query, at=node.at, meta=Meta(column.type, column.unit, column.ucd, None, column.description))

    def element(self, node: Element, scope: Scope) -> Expr:
        """Bind ``array[n]``, ``array[i, j]``: NULL where there is none."""
        operand = self.expression(node.operand, scope)
        inner = meta(operand)
        have = kind(operand)
        if have not in {"array", "interval"} or inner.type.datatype.endswith("Complex"):
            remedy = {"point": "write COORD1(p) or COORD2(p)", "text": "use SPLIT_PART or REGEXP_EXTRACT"}.get(have, "")
            self.fail(say("{value} and has no elements", self.said(operand)), node.at, remedy)
        axes = inner.type.shape
        type_ = Type(inner.type.datatype)
        if inner.type.datatype in {"char", "unicodeChar"}:  # the first axis is the length of the strings
            type_, axes = Type(inner.type.datatype, (inner.type.arraysize or "").split("x")[0]), axes[1:]
        if len(node.indexes) != len(axes):
            wanted = ", ".join("ijklmnopq"[: len(axes)])
            self.fail(
                say(
                    "{value} has {count} axis ({size}), and {given}"
                    if len(axes) == 1
                    else "{value} has {count} axes ({size}), and {given}",
                    self.said(operand, bare=True),
                    len(axes),
                    inner.type.arraysize,
                    self.given(node.indexes),
                ),
                node.indexes[0].at,
                say("write [{wanted}], the axes in this order", wanted),
            )
        indexes = tuple([self.expression(index, scope) for index in node.indexes])
        for index in indexes:
            self.need(index, "integer", "the number of an element", index.at)
        parts = [inner, *[meta(index) for index in indexes]]
        got = derived(parts, type_, inner.unit, inner.ucd)
        return Element(
            operand, indexes, at=node.at,
            meta=Meta(type_, inner.unit, inner.ucd, None, inner.description, None, True, got.constant, got.aggregate, got.origins),
        )  # fmt: skip

    # --- conditions

    def compare(self, node: Compare, scope: Scope) -> Expr:
        """Bind ``a < b``."""
        left, right = self.expression(node.left, scope), self.expression(node.right, scope)
        left, right = self.comparable(left, right, node.op, node.at)
        for one, two in ((left, right), (right, left)):
            if isinstance(one, Function) and one.name in PREDICATES and isinstance(two, Literal):
                self.fixed.add(two.slot)  # 1 or 0 decides which condition is written
        return Compare(node.op, left, right, at=node.at, meta=truth(left, right))

    def conjunction(self, node: And, scope: Scope) -> Expr:
        """Bind ``a AND b``."""
        parts = tuple([self.condition(part, scope) for part in node.parts])
        return And(parts, at=node.at, meta=truth(*parts))

    def disjunction(self, node: Or, scope: Scope) -> Expr:
        """Bind ``a OR b``."""
        parts = tuple([self.condition(part, scope) for part in node.parts])
        return Or(parts, at=node.at, meta=truth(*parts))

    def negation(self, node: Not, scope: Scope) -> Expr:
        """Bind ``NOT a``."""
        operand = self.condition(node.operand, scope)
        return Not(operand, at=node.at, meta=truth(operand))

    def between(self, node: Between, scope: Scope) -> Expr:
        """Bind ``x BETWEEN a AND b``."""
        operand = self.expression(node.operand, scope)
        low, high = self.expression(node.low, scope), self.expression(node.high, scope)
        for _ in range(2):  # what became a number, or a time, beside one of them is so beside the other
            operand, low = self.comparable(operand, low, "BETWEEN", node.low.at)
            operand, high = self.comparable(operand, high, "BETWEEN", node.high.at)
        if kind(operand) == "null":  # it fits both, and they must fit each other
            low, high = self.comparable(low, high, "BETWEEN", node.high.at)
        return Between(operand, low, high, node.negated, at=node.at, meta=truth(operand, low, high))

    def among(self, node: In, scope: Scope) -> Expr:
        """Bind ``x IN (..)``."""
        operand = self.expression(node.operand, scope)
        if isinstance(node.choices, Subquery):
            choices = self.scalar(node.choices, scope)
            operand, beside = self.comparable(operand, choices, "IN", node.choices.at)
            if beside is not choices:
                self.fail(
                    say("IN compares {value} with booleans", self.said(operand, bare=True)),
                    node.choices.at,
                    "write SELECT CAST(.. AS INTEGER)",
                )
            return In(operand, choices, node.negated, at=node.at, meta=truth(operand))  # type: ignore[arg-type]
        if isinstance(node.choices, LiteralList):
            listed = node.choices.bound(literal_meta)
            samples = listed.samples
            fitted = [self.comparable(operand, sample, "IN", sample.at) for sample in samples]
            if all(one is operand and two is sample for (one, two), sample in zip(fitted, samples, strict=True)):
                return In(operand, listed, node.negated, at=node.at, meta=truth(operand, *samples))
        several: list[Expr] = []
        told: Expr | None = None  # the first choice of a kind, where a NULL is looked for
        alike: set[type] = set()  # Python types of literals that are compared as they are: lists may be long
        for choice in node.choices:
            if type(choice) is Literal and type(choice.value) in alike:
                several.append(self.literal(choice, scope))
                continue
            beside, bound = self.comparable(operand, self.expression(choice, scope), "IN", choice.at)
            if kind(operand) == "null" and kind(bound) != "null":
                told, bound = (bound, bound) if told is None else self.comparable(told, bound, "IN", choice.at)
            if beside is not operand:
                alike.clear()
                operand = beside
                # it became a number, or a time
                several = [self.comparable(operand, other, "IN", other.at)[1] for other in several]
            elif isinstance(choice, Literal) and isinstance(bound, Literal) and bound.value is choice.value:
                alike.add(type(choice.value))
            several.append(bound)
        return In(operand, tuple(several), node.negated, at=node.at, meta=truth(operand, *several))

    def like(self, node: Like, scope: Scope) -> Expr:
        """Bind ``s LIKE pattern``."""
        operand, pattern = self.expression(node.operand, scope), self.expression(node.pattern, scope)
        word = "ILIKE" if node.ignore_case else "LIKE"
        for side in (operand, pattern):
            if kind(side) not in {"text", "null"}:
                self.fail(
                    say("{word} compares strings, and {value}", word, self.said(side)), side.at, self.as_text(side)
                )
        return Like(operand, pattern, node.negated, node.ignore_case, at=node.at, meta=truth(operand, pattern))

    def isnull(self, node: IsNull, scope: Scope) -> Expr:
        """Bind ``x IS NULL``."""
        operand = self.expression(node.operand, scope)
        return IsNull(operand, node.negated, at=node.at, meta=truth(operand))

    def exists(self, node: Exists, scope: Scope) -> Expr:
        """Bind ``EXISTS (SELECT ..)``."""
        query, _ = self.subquery(node.query, scope)
        return Exists(query, at=node.at, meta=CONDITION)


METHODS: dict[type, Callable[..., Expr]] = {
    Literal: Expressions.literal, ColumnRef: Expressions.column, Unary: Expressions.unary, Binary: Expressions.binary, Function: Expressions.function, Window: Expressions.window, Element: Expressions.element,
    Cast: Expressions.cast, Case: Expressions.case, Subquery: Expressions.scalar, Compare: Expressions.compare, And: Expressions.conjunction,
    Or: Expressions.disjunction, Not: Expressions.negation, Between: Expressions.between, In: Expressions.among, Like: Expressions.like,
    IsNull: Expressions.isnull, Exists: Expressions.exists,
}  # fmt: skip
