"""Expressions: every value and condition gets its type, unit and UCD, and whatever does not fit is said with its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from hven.adql import kinds
from hven.adql.functions import ACCEPTS, Entry, Functions, Signature
from hven.adql.scope import Scope, nearest
from hven.adql.tree import (
    And,
    Between,
    Binary,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Exists,
    Expr,
    Function,
    In,
    IsNull,
    Like,
    Literal,
    Meta,
    Not,
    Or,
    Query,
    Subquery,
    Unary,
)  # fmt: skip
from hven.errors import BindError
from hven.model import units
from hven.model.types import BOOLEAN, CIRCLE, FLOAT32, FLOAT64, INT16, INT32, INT64, POINT, POLYGON, STRING, TIMESTAMP, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Column

NONE: frozenset[str] = frozenset()
CONDITION = Meta(BOOLEAN)
CONDITIONS = (Compare, And, Or, Not, Between, In, Like, IsNull, Exists)
UNICODE = Type("unicodeChar", "*")
TRUE = frozenset({"true", "t", "1", "yes", "y"})
FALSE = frozenset({"false", "f", "0", "no", "n"})
ISO = re.compile(r"\s*[+-]?\d{4,6}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d*)?)?Z?)?\s*")  # DALI 1.1 section 3.3.3, and its liberties
CASTS: dict[str, Type] = {
    "SMALLINT": INT16, "INTEGER": INT32, "INT": INT32, "BIGINT": INT64, "REAL": FLOAT32, "FLOAT": FLOAT64, "DOUBLE": FLOAT64, "DOUBLE PRECISION": FLOAT64,
    "CHAR": STRING, "VARCHAR": STRING, "TIMESTAMP": TIMESTAMP, "BOOLEAN": BOOLEAN, "POINT": POINT, "CIRCLE": CIRCLE, "POLYGON": POLYGON,
}  # fmt: skip
SHAPES = frozenset({"POINT", "CIRCLE", "BOX", "POLYGON"})
PREDICATES = frozenset({"CONTAINS", "INTERSECTS"})


class Expressions:
    """Binds expressions; one object per query, which keeps what is found on the way.

    Attributes
    ----------
    slots, free, fixed
        Values of the literals met, by slot; slots that may vary; slots that turned out to be part of the shape.
    clause
        The clause that is being bound; aggregates are legal in some only.
    """

    def __init__(self, text: str, functions: Functions) -> None:
        self.text = text
        self.functions = functions
        self.slots: dict[int, float | str | None] = {}
        self.free: set[int] = set()
        self.fixed: set[int] = set()
        self.volatile = False
        self.clause = "SELECT"
        self.inline = 0  # > 0 inside a view or a filter, whose literals are no literals of the query

    # --- to be given by the binder of queries

    def subquery(self, query: Query, scope: Scope) -> tuple[Query, tuple[Column, ...]]:
        """Bind a subquery inside `scope`."""
        self.fail("a subquery cannot stand here", query.at)

    # --- the door

    def fail(self, message: str, at: int, remedy: str = "") -> NoReturn:
        """Say what is wrong at an offset of the text."""
        raise BindError(message, text=self.text, offset=at, remedy=remedy)

    def expression(self, node: Expr, scope: Scope) -> Expr:
        """Bind a value expression or a condition."""
        method = METHODS.get(type(node))
        if method is None:
            self.fail(f"{type(node).__name__} cannot stand here", node.at)
        return method(self, node, scope)

    def condition(self, node: Expr, scope: Scope) -> Expr:
        """Bind a search condition: a predicate, or a boolean value."""
        bound = self.expression(node, scope)
        if isinstance(bound, CONDITIONS) or meta(bound).type.is_boolean:
            return bound
        remedy = (
            f"compare it with 1: {bound.name}(..) = 1"
            if isinstance(bound, Function) and bound.name in PREDICATES
            else "compare it with something"
        )
        self.fail(f"{self.said(bound)} is no condition", node.at, remedy)

    # --- leaves

    def literal(self, node: Literal, scope: Scope) -> Expr:  # noqa: ARG002  (one signature for all methods)
        """Type a literal and note its slot."""
        value = node.value
        slot = node.slot
        if self.inline:
            slot = -1
        elif slot >= 0:
            self.slots[slot] = value
            if value is not None and not isinstance(value, bool):
                self.free.add(slot)
        return Literal(
            value, at=node.at, slot=slot, meta=Meta(literal_type(value), None, None, None, None, None, value is None, constant=True)
        )

    def shape(self, node: Literal) -> float | str | None:
        """Note a literal that is part of the query's shape, and give its value."""
        if node.slot >= 0 and not self.inline:
            self.slots[node.slot] = node.value
            self.fixed.add(node.slot)
        return node.value

    def column(self, node: ColumnRef, scope: Scope) -> Expr:
        """Resolve a column reference."""
        return scope.resolve(node, self.text)

    # --- arithmetic and strings

    def unary(self, node: Unary, scope: Scope) -> Expr:
        """``-x``, ``+x``, ``~x``."""
        operand = self.expression(node.operand, scope)
        inner = meta(operand)
        self.need(operand, "integer" if node.op == "~" else "number", f"operator {node.op}", node.at)
        type_ = INT16 if inner.type.datatype == "unsignedByte" else inner.type
        if not inner.type.is_numeric:  # -NULL
            type_ = INT32
        return Unary(
            node.op, operand, at=node.at,
            meta=Meta(type_, inner.unit, inner.ucd, None, None, None, inner.nullable, inner.constant, inner.aggregate, inner.origins),
        )  # fmt: skip

    def binary(self, node: Binary, scope: Scope) -> Expr:
        """``+ - * / ||`` and the bitwise ones."""
        left, right = self.expression(node.left, scope), self.expression(node.right, scope)
        op = node.op
        one, two = meta(left), meta(right)
        unit: str | None = None
        ucd: str | None = None
        if op == "||":
            for side in (left, right):
                if kind(side) not in {"text", "null"}:
                    self.fail(f"operator || joins strings, and {self.said(side)}", side.at, self.as_text(side))
            type_ = UNICODE if "unicodeChar" in {one.type.datatype, two.type.datatype} else STRING
        else:
            word = "integer" if op in {"&", "|", "^"} else "number"
            for side in (left, right):
                self.need(side, word, f"operator {op}", side.at)
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
        """``CAST(x AS type)``."""
        operand = self.expression(node.operand, scope)
        inner = meta(operand)
        target = " ".join(node.target.upper().split())
        if target not in CASTS:
            self.fail(
                f"no type {node.target} to cast to",
                node.at,
                f"there are {', '.join(name for name in CASTS if name not in {'INT', 'FLOAT', 'DOUBLE'})}",
            )
        type_ = CASTS[target]
        if node.length is not None:
            if type_ is not STRING:
                self.fail(f"{target} takes no length", node.at)
            if node.length < 1:
                self.fail(f"{target}({node.length}) has no room", node.at, "the length is at least 1")
            type_ = Type("char", f"{node.length}" if target == "CHAR" else f"{node.length}*")
        have, wanted = kind(operand), kinds.kind_of(type_)
        if not (
            have in {"text", "null", wanted}
            or (wanted == "text" and have in {"number", "time", "boolean"})
            or {have, wanted} == {"number", "boolean"}
        ):
            self.fail(f"{self.said(operand)} and cannot be cast to {target}", node.at)
        unit = inner.unit if wanted == have else None
        return Cast(
            operand, target, node.length, at=node.at,
            meta=Meta(type_, unit, inner.ucd, None, inner.description, None, inner.nullable, inner.constant, inner.aggregate, inner.origins),
        )  # fmt: skip

    def case(self, node: Case, scope: Scope) -> Expr:
        """``CASE [x] WHEN .. THEN .. ELSE .. END``."""
        operand = None if node.operand is None else self.expression(node.operand, scope)
        whens: list[tuple[Expr, Expr]] = []
        for when, then in node.whens:
            if operand is None:
                test = self.condition(when, scope)
            else:
                _, test = self.comparable(operand, self.expression(when, scope), "CASE", when.at)
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
        return Case(operand, tuple(whens), otherwise, at=node.at, meta=got)

    def scalar(self, node: Subquery, scope: Scope) -> Expr:
        """A subquery as a value: it must have one column."""
        query, columns = self.subquery(node.query, scope)
        if len(columns) != 1:
            self.fail(f"a subquery that stands for a value has one column, and this one has {len(columns)}", node.at)
        column = columns[0]
        return Subquery(query, at=node.at, meta=Meta(column.type, column.unit, column.ucd, None, column.description))

    # --- conditions

    def compare(self, node: Compare, scope: Scope) -> Expr:
        """``a < b``."""
        left, right = self.expression(node.left, scope), self.expression(node.right, scope)
        left, right = self.comparable(left, right, node.op, node.at)
        for one, two in ((left, right), (right, left)):
            if isinstance(one, Function) and one.name in PREDICATES and isinstance(two, Literal):
                self.fixed.add(two.slot)  # 1 or 0 decides which condition is written
        return Compare(node.op, left, right, at=node.at, meta=truth(left, right))

    def conjunction(self, node: And, scope: Scope) -> Expr:
        """``a AND b``."""
        parts = tuple([self.condition(part, scope) for part in node.parts])
        return And(parts, at=node.at, meta=truth(*parts))

    def disjunction(self, node: Or, scope: Scope) -> Expr:
        """``a OR b``."""
        parts = tuple([self.condition(part, scope) for part in node.parts])
        return Or(parts, at=node.at, meta=truth(*parts))

    def negation(self, node: Not, scope: Scope) -> Expr:
        """``NOT a``."""
        operand = self.condition(node.operand, scope)
        return Not(operand, at=node.at, meta=truth(operand))

    def between(self, node: Between, scope: Scope) -> Expr:
        """``x BETWEEN a AND b``."""
        operand = self.expression(node.operand, scope)
        first, low = self.comparable(operand, self.expression(node.low, scope), "BETWEEN", node.low.at)
        second, high = self.comparable(operand, self.expression(node.high, scope), "BETWEEN", node.high.at)
        operand = second if first is operand else first
        return Between(operand, low, high, node.negated, at=node.at, meta=truth(operand, low, high))

    def among(self, node: In, scope: Scope) -> Expr:
        """``x IN (..)``."""
        operand = self.expression(node.operand, scope)
        if isinstance(node.choices, Subquery):
            choices = self.scalar(node.choices, scope)
            operand, _ = self.comparable(operand, choices, "IN", node.choices.at)
            return In(operand, choices, node.negated, at=node.at, meta=truth(operand))  # type: ignore[arg-type]
        several = []
        for choice in node.choices:
            operand, bound = self.comparable(operand, self.expression(choice, scope), "IN", choice.at)
            several.append(bound)
        return In(operand, tuple(several), node.negated, at=node.at, meta=truth(operand, *several))

    def like(self, node: Like, scope: Scope) -> Expr:
        """``s LIKE pattern``."""
        operand, pattern = self.expression(node.operand, scope), self.expression(node.pattern, scope)
        word = "ILIKE" if node.ignore_case else "LIKE"
        for side in (operand, pattern):
            if kind(side) not in {"text", "null"}:
                self.fail(f"{word} compares strings, and {self.said(side)}", side.at, self.as_text(side))
        return Like(operand, pattern, node.negated, node.ignore_case, at=node.at, meta=truth(operand, pattern))

    def isnull(self, node: IsNull, scope: Scope) -> Expr:
        """``x IS NULL``."""
        operand = self.expression(node.operand, scope)
        return IsNull(operand, node.negated, at=node.at, meta=truth(operand))

    def exists(self, node: Exists, scope: Scope) -> Expr:
        """``EXISTS (SELECT ..)``."""
        query, _ = self.subquery(node.query, scope)
        return Exists(query, at=node.at, meta=CONDITION)

    # --- what fits together

    def comparable(self, left: Expr, right: Expr, op: str, at: int) -> tuple[Expr, Expr]:
        """Check that two values can be compared; strings beside timestamps and words beside booleans are converted."""
        one, two = kind(left), kind(right)
        if one == two and one in {"number", "text", "time", "boolean"}:
            return left, right
        if "null" in {one, two}:
            return left, right
        if one in kinds.GEOMETRY or two in kinds.GEOMETRY:
            self.fail(f"geometries cannot be compared by {op}", at, "use CONTAINS, INTERSECTS or DISTANCE")
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
            remedy = f"write {text.value} without quotes" if isinstance(text, Literal) and _is_number(text.value) else "CAST one of them"
            self.fail(f"{op} compares {self.said(left, bare=True)} with {self.said(right, bare=True)}", at, remedy)
        self.fail(f"{op} cannot compare {self.said(left, bare=True)} with {self.said(right, bare=True)}", at)

    def as_time(self, node: Expr) -> Expr:
        """Read a string literal as a timestamp."""
        if not meta(node).constant:
            self.fail(f"{self.said(node)} and is compared with a timestamp", node.at, "CAST(.. AS TIMESTAMP)")
        if isinstance(node, Literal) and not ISO.fullmatch(str(node.value)):
            self.fail(f"{node.value!r} is no timestamp", node.at, "timestamps look like '2026-11-20T10:15:00'")
        inner = meta(node)
        return Cast(
            node,
            "TIMESTAMP",
            at=node.at,
            meta=Meta(TIMESTAMP, None, inner.ucd, constant=True, aggregate=inner.aggregate, origins=inner.origins),
        )

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
        """Say how to make text of a value."""
        return f"CAST({node.name.name} AS VARCHAR)" if isinstance(node, ColumnRef) else "CAST(.. AS VARCHAR)"

    def unified(self, nodes: Sequence[Expr], what: str) -> tuple[list[Expr], Type]:
        """Give several values one type."""
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
            self.fail(f"{what} wants values of one type: the first is {kinds.WORDS[known[0]]}, and {self.said(odd)}", odd.at)
        types = [meta(node).type for node, item in zip(fitted, found, strict=True) if item != "null"]
        return fitted, kinds.wider(types)

    def need(self, node: Expr, word: str, where: str, at: int) -> None:
        """Refuse an operand of another kind than a number (or a whole one)."""
        have = kind(node)
        if have == "null" or (have == "number" and (word == "number" or meta(node).type.is_integer)):
            return
        self.fail(f"{where} needs {kinds.WORDS[word]}, and {self.said(node)}", at if node.at < 0 else node.at)

    def said(self, node: Expr, *, bare: bool = False) -> str:
        """Name a value and its kind for people: ``name is a string``."""
        have = kinds.WORDS[kind(node)]
        if isinstance(node, ColumnRef):
            name = f"column {node.name.name}"
        elif isinstance(node, Literal):
            name = repr(node.value) if isinstance(node.value, str) else "NULL" if node.value is None else str(node.value)
        elif isinstance(node, Function):
            name = f"{node.name}(..)"
        else:
            name = "this"
        if bare:
            return f"{have} ({name})" if name != "this" else have
        return f"{name} is {have}"

    # --- functions

    def function(self, node: Function, scope: Scope) -> Expr:
        """Find the function, choose the signature that fits, and say what comes out."""
        name = node.name.upper()
        entry = self.functions.get(name)
        if entry is None:
            near = nearest(name, self.functions.names)
            self.fail(f"no function {node.name}", node.at, near)
        if entry.aggregate:
            return self.aggregate(node, entry, scope)
        if node.distinct or node.star:
            self.fail(f"{'DISTINCT' if node.distinct else '*'} belongs to aggregate functions, and {name} is none", node.at)
        self.volatile = self.volatile or entry.volatile
        return self.call(node, entry, [self.expression(arg, scope) for arg in node.args])

    def aggregate(self, node: Function, entry: Entry, scope: Scope) -> Expr:
        """COUNT, SUM ..: not in WHERE, ON or GROUP BY, and not inside one another."""
        if self.clause not in {"SELECT", "HAVING", "ORDER BY"}:
            remedy = "use HAVING" if self.clause == "WHERE" else ""
            self.fail(f"{entry.name} is an aggregate function and cannot stand in {self.clause}", node.at, remedy)
        if node.star:
            if entry.name != "COUNT":
                self.fail(f"{entry.name}(*) means nothing", node.at, "only COUNT takes *")
            return Function("COUNT", star=True, at=node.at, meta=Meta(INT64, None, "meta.number", nullable=False, aggregate=True))
        clause, self.clause = self.clause, f"the argument of {entry.name}"
        args = [self.expression(arg, scope) for arg in node.args]
        self.clause = clause
        return self.call(node, entry, args)

    def call(self, node: Function, entry: Entry, args: list[Expr]) -> Expr:
        """Choose the signature and compute what is known of the result."""
        signature, reason = None, ""
        for candidate in entry.signatures:
            wrong = self.misfit(candidate, args)
            if wrong is None:
                signature = candidate
                break
            reason = reason or wrong
        if signature is None:
            self.misused(node, entry, args, reason)
        for index, arg in enumerate(args):
            wants = signature.word(index)
            if wants.literal and isinstance(arg, Literal):
                self.shape(arg)
            if wants.word == "TIMESTAMP" and kind(arg) == "text":
                if isinstance(arg, Literal):
                    args[index] = self.as_time(arg)
                else:
                    args[index] = Cast(arg, "TIMESTAMP", at=arg.at, meta=derived((meta(arg),), TIMESTAMP, None, meta(arg).ucd))
        special = SPECIAL.get(entry.name)
        if special is not None:
            done = special(self, node, args)
            if done is not None:
                return done
        type_ = signature.type
        if type_ is None:
            if signature.result == "COMMON":
                args, type_ = self.unified(args, entry.name)
            elif signature.result == "SUM":
                type_ = INT64 if meta(args[0]).type.is_integer else FLOAT64
            else:
                type_ = meta(args[0]).type if kind(args[0]) != "null" else FLOAT64 if signature.args[0].word == "NUMERIC" else STRING
        inner = [meta(arg) for arg in args]
        first = inner[0] if inner else None
        unit = (first.unit if first is not None else None) if entry.unit == "same" else entry.unit or None
        got = derived(tuple(inner), type_, unit, result_ucd(entry.ucd, first))
        if entry.aggregate:
            got = Meta(type_, unit, got.ucd, None, None, None, entry.name != "COUNT", aggregate=True, origins=got.origins)
        elif not args:
            got = Meta(type_, unit, got.ucd, nullable=False, constant=not entry.volatile)
        elif entry.volatile:
            got = Meta(type_, unit, got.ucd, origins=got.origins, aggregate=got.aggregate)
        return Function(entry.name, tuple(args), node.distinct, at=node.at, meta=got)

    def misfit(self, signature: Signature, args: Sequence[Expr]) -> str | None:
        """Say why arguments do not fit a signature, or None."""
        if len(args) < signature.minimum or (signature.maximum is not None and len(args) > signature.maximum):
            return "count"
        for index, arg in enumerate(args):
            wants = signature.word(index)
            have = kind(arg)
            if wants.literal and not isinstance(arg, Literal):
                return f"argument {index + 1} ({wants.name}) must be written as a literal"
            accepted = ACCEPTS[wants.word]
            if have in accepted or "any" in accepted or (have == "null" and not wants.literal):
                continue
            if "integer" in accepted and have == "number" and meta(arg).type.is_integer:
                continue
            return f"argument {index + 1} ({wants.name}) must be {_either(wants.word)}, and {self.said(arg)}"
        return None

    def misused(self, node: Function, entry: Entry, args: Sequence[Expr], reason: str) -> NoReturn:
        """Say how a function is to be called."""
        forms = [signature for signature in entry.signatures if "coordsys" not in signature.text] or list(entry.signatures)
        shown = " or ".join(dict.fromkeys(signature.text.partition(" ->")[0] for signature in forms))
        reasons = [wrong for signature in forms if (wrong := self.misfit(signature, args)) not in {None, "count"}]
        if reasons:
            self.fail(f"{entry.name}: {reasons[0]}", node.at, f"it is {shown}")
        if reason not in {"", "count"}:
            self.fail(f"{entry.name}: {reason}", node.at, f"it is {shown}")
        counts = sorted({count for signature in forms for count in range(signature.minimum, (signature.maximum or signature.minimum) + 1)})
        wants = " or ".join(str(count) for count in counts)
        if any(signature.maximum is None for signature in forms):
            wants = f"at least {counts[0]}"
        self.fail(
            f"{entry.name} takes {wants} argument{'' if wants in {'1', 'at least 1'} else 's'}, and {len(args)} {'is' if len(args) == 1 else 'are'} given",
            node.at,
            f"it is {shown}",
        )

    # --- functions that become something else

    def in_unit(self, node: Function, args: list[Expr]) -> Expr:
        """``IN_UNIT(x, 'unit')`` becomes a product with the factor (ADQL 2.1 section 4.7)."""
        value, target = args
        inner = meta(value)
        wanted = str(target.value) if isinstance(target, Literal) else ""
        if inner.unit is None:
            self.fail(f"IN_UNIT: {self.said(value, bare=True)} has no unit", node.at, "only values whose unit is known can be converted")
        try:
            factor = units.factor(inner.unit, wanted)
        except ValueError as error:
            self.fail(f"IN_UNIT: {error}", target.at)
        got = derived((inner,), FLOAT64, wanted, inner.ucd)
        if factor == 1:
            return Cast(value, "DOUBLE PRECISION", at=node.at, meta=got)
        return Binary("*", value, Literal(factor, meta=Meta(FLOAT64, constant=True, nullable=False)), at=node.at, meta=got)

    def constructor(self, node: Function, args: list[Expr]) -> Expr | None:
        """Shapes lose the coordinate system, and points written in place are taken apart into their numbers."""
        if args and kind(args[0]) == "text":
            args = args[1:]
        flat: list[Expr] = []
        for arg in args:
            if isinstance(arg, Function) and arg.name == "POINT":
                flat.extend(arg.args)
            else:
                flat.append(arg)
        if node.name.upper() == "POLYGON" and all(kind(arg) in {"number", "null"} for arg in flat):
            if len(flat) % 2:
                self.fail(f"POLYGON has {len(flat)} coordinates: one is missing", node.at, "give longitude and latitude of each corner")
        elif node.name.upper() == "POLYGON":
            flat = args
        name = node.name.upper()
        type_ = {"POINT": POINT, "CIRCLE": CIRCLE, "BOX": POLYGON, "POLYGON": POLYGON}[name]
        got = derived(tuple(meta(arg) for arg in flat), type_, "deg", "pos.eq" if name == "POINT" else None)
        return Function(name, tuple(flat), at=node.at, meta=got)

    def distance(self, node: Function, args: list[Expr]) -> Expr | None:
        """``DISTANCE(p1, p2)``: points written in place are taken apart."""
        if all(isinstance(arg, Function) and arg.name == "POINT" for arg in args):
            args = [coordinate for arg in args for coordinate in arg.args]  # type: ignore[attr-defined]
        got = derived(tuple(meta(arg) for arg in args), FLOAT64, "deg", "pos.angDistance")
        return Function("DISTANCE", tuple(args), at=node.at, meta=got)

    def intersects(self, node: Function, args: list[Expr]) -> Expr | None:
        """INTERSECTS with a point is CONTAINS (ADQL 2.1 section 4.2.14)."""
        got = derived((meta(args[0]), meta(args[1])), INT32, None, None)
        if kind(args[0]) == "point":
            return Function("CONTAINS", tuple(args), at=node.at, meta=got)
        if kind(args[1]) == "point":
            return Function("CONTAINS", (args[1], args[0]), at=node.at, meta=got)
        return None

    def coordinate(self, node: Function, args: list[Expr]) -> Expr | None:
        """``COORD1(POINT(a, b))`` is a."""
        point = args[0]
        if isinstance(point, Function) and point.name == "POINT":
            value = point.args[0 if node.name.upper() == "COORD1" else 1]
            return Cast(
                value, "DOUBLE PRECISION", at=node.at, meta=derived((meta(value),), FLOAT64, meta(value).unit or "deg", meta(value).ucd)
            )
        return None

    def coordsys(self, node: Function, args: list[Expr]) -> Expr | None:
        """COORDSYS is known when the query is bound."""
        shape = node.args[0]
        name = "UNKNOWNFRAME"
        if isinstance(shape, Function) and shape.args and isinstance(shape.args[0], Literal) and isinstance(shape.args[0].value, str):
            name = shape.args[0].value or name
        elif (column := meta(args[0]).column) is not None and column.frame:
            name = column.frame
        return Literal(name, at=node.at, meta=Meta(STRING, constant=True, nullable=False))


METHODS: dict[type, Callable[..., Expr]] = {
    Literal: Expressions.literal, ColumnRef: Expressions.column, Unary: Expressions.unary, Binary: Expressions.binary, Function: Expressions.function,
    Cast: Expressions.cast, Case: Expressions.case, Subquery: Expressions.scalar, Compare: Expressions.compare, And: Expressions.conjunction,
    Or: Expressions.disjunction, Not: Expressions.negation, Between: Expressions.between, In: Expressions.among, Like: Expressions.like,
    IsNull: Expressions.isnull, Exists: Expressions.exists,
}  # fmt: skip
SPECIAL: dict[str, Callable[[Expressions, Function, list[Expr]], Expr | None]] = {
    "IN_UNIT": Expressions.in_unit, "POINT": Expressions.constructor, "CIRCLE": Expressions.constructor, "BOX": Expressions.constructor,
    "POLYGON": Expressions.constructor, "DISTANCE": Expressions.distance, "INTERSECTS": Expressions.intersects, "COORD1": Expressions.coordinate,
    "COORD2": Expressions.coordinate, "COORDSYS": Expressions.coordsys,
}  # fmt: skip


def meta(node: Expr) -> Meta:
    """Give the meta of a bound expression."""
    found = node.meta
    if found is None:
        raise TypeError(f"{type(node).__name__} is not bound")
    return found


def kind(node: Expr) -> str:
    """Give the kind of a bound expression; ``null`` for a literal NULL."""
    if isinstance(node, Literal) and node.value is None:
        return "null"
    return kinds.kind_of(meta(node).type)


def literal_type(value: float | str | None) -> Type:
    """Give the type of a literal."""
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return kinds.integral(value)
    if isinstance(value, float):
        return FLOAT64
    return STRING if value is None or value.isascii() else UNICODE


def derived(parts: Sequence[Meta], type_: Type, unit: str | None, ucd: str | None) -> Meta:
    """Give the meta of a value computed from others."""
    origins = NONE
    nullable = aggregate = False
    constant = True
    for part in parts:
        origins = origins | part.origins if origins and part.origins else origins or part.origins
        nullable = nullable or part.nullable
        aggregate = aggregate or part.aggregate
        constant = constant and part.constant
    return Meta(type_, unit, ucd, None, None, None, nullable, constant, aggregate, origins)


def truth(*parts: Expr) -> Meta:
    """Give the meta of a condition."""
    if not any(part.meta is not None and (part.meta.aggregate or part.meta.origins) for part in parts):
        return CONDITION
    return derived([part.meta for part in parts if part.meta is not None], BOOLEAN, None, None)


def added(one: Meta, two: Meta) -> tuple[str | None, str | None]:
    """Give unit and UCD of a sum: a bare constant takes the other's; unlike units leave none."""
    if two.constant and two.unit is None:
        return one.unit, one.ucd
    if one.constant and one.unit is None:
        return two.unit, two.ucd
    if one.unit is None or two.unit is None or not units.same(one.unit, two.unit):
        return None, None
    return one.unit, None


def common_ucd(parts: Sequence[Meta]) -> str | None:
    """Give the UCD that all values share which are not constants."""
    ucds = {part.ucd for part in parts if not part.constant}
    return ucds.pop() if len(ucds) == 1 else None


def result_ucd(rule: str, first: Meta | None) -> str | None:
    """Apply the UCD rule of a function."""
    if rule == "same":
        return first.ucd if first is not None else None
    if rule.startswith("+"):
        if first is None or first.ucd is None:
            return None
        words = [word for word in first.ucd.split(";") if word.lower() != "meta.main"]
        return ";".join([*words, rule[1:]]) if rule[1:] not in words else ";".join(words)
    return rule or None


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _either(word: str) -> str:
    return {"GEOMETRY": "a geometry", "ORDERED": "a number, a string or a timestamp", "TIMESTAMP": "a timestamp"}.get(word) or kinds.WORDS[
        next(iter(ACCEPTS[word]))
    ]
