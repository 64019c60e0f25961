"""Function calls: the signature that fits, what comes out, and the functions that become something else when bound."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from hven.adql import kinds
from hven.adql._bounds import BUILDERS
from hven.adql._calls import null_system
from hven.adql._fitting import Fitting
from hven.adql._foreign_functions import ELSEWHERE
from hven.adql._measures import measured, of_body, of_words, resolving_power, spectral_range, spectral_step
from hven.adql.functions import FRAMED, NAMED, OVER_GROUPS, WINDOWS, Functions
from hven.adql.kinds import derived, kind, literal_meta, meta, result_ucd, truth
from hven.adql.scope import MOST, Scope, same
from hven.adql.signatures import ACCEPTS, NUMBERS, Entry, Signature
from hven.adql.tree import (
    Binary,
    Case,
    Cast,
    ColumnRef,
    Expr,
    Frame,
    Function,
    Ident,
    In,
    IsNull,
    Literal,
    Meta,
    NamedWindow,
    OrderItem,
    Unary,
    Window,
    walk,
)
from hven.adql.vocabularies import narrower, vocabularies
from hven.model import units
from hven.model.errors import BindError, UserError, joined, nearest, say
from hven.model.shape_columns import fault_of_literal
from hven.model.sky import Moc, frames, healpix
from hven.model.types import BOOLEAN, CIRCLE, FLOAT64, INT32, INT64, POINT, POLYGON, STRING, TIMESTAMP, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table


MOST_BINS = 100_000

_NULLS = {
    "NUMERIC": ("DOUBLE PRECISION", FLOAT64), "REAL": ("DOUBLE PRECISION", FLOAT64), "INTEGER": ("INTEGER", INT32), "BIGINT": ("BIGINT", INT64),
    "TEXT": ("VARCHAR", STRING), "TIMESTAMP": ("TIMESTAMP", TIMESTAMP), "POINT": ("POINT", POINT),
    "MOC": ("VARCHAR", STRING), "CIRCLE": ("CIRCLE", CIRCLE), "POLYGON": ("POLYGON", POLYGON), "ARRAY": ("DOUBLE PRECISION[]", Type("double", "*")),
}  # fmt: skip


class Calling(Fitting, ABC):
    """Binds calls.

    Attributes
    ----------
    clause
        The clause that is being bound; aggregates are legal in some only.
    bounds
        Free slots, with the lowest and the highest value that may stand there.
    tables
        Those that are read, by their qualified names.
    volatile
        True once a function was met that may answer differently over the same rows.
    locate
        Gives the position (ICRS, degrees) of an object by its name; None: names are not resolved here.
    """

    def __init__(self, text: str, functions: Functions) -> None:
        super().__init__(text)
        self.functions = functions
        self.volatile = False
        self.tables: dict[str, Table] = {}
        self.bounds: list[tuple[int, float, float]] = []
        self.locate: Callable[[str], tuple[float, float]] | None = None
        self.steady = False
        self.clause: str = "SELECT"

    @abstractmethod
    def expression(self, node: Expr, scope: Scope) -> Expr:
        """Bind an argument."""

    def function(self, node: Function, scope: Scope) -> Expr:
        """Find the function, choose the signature that fits, and return what comes out."""
        name = node.name.upper()
        entry = self.functions.get(name)
        if entry is None and name in NAMED:
            return self.located(node, scope)
        if entry is None or (name in WINDOWS and not entry.mapping):
            if name in WINDOWS:
                self.fail(
                    say("{name} is a window function", name), node.at, say("write {name}(..) OVER (ORDER BY ..)", name)
                )
            near = ELSEWHERE.get(name) or nearest(name, self.functions.names, cutoff=0.75)
            self.fail(
                say("no function {name}", node.name),
                node.at,
                near or "see the functions of this service in /tap/capabilities",
            )
        if entry.aggregate:
            return self.aggregate(node, entry, scope)
        if (
            entry.name == "HEADER"
            and len(node.args) == 1
            and isinstance(node.args[0], Literal)
            and isinstance(node.args[0].value, str)
        ):
            return self.card(node.args[0].value, node.at, scope)
        if node.distinct or node.star:
            self.fail(
                say(
                    "{what} belongs to aggregate functions, and {name} is none",
                    "DISTINCT" if node.distinct else "*",
                    name,
                ),
                node.at,
            )
        self.volatile = self.volatile or entry.volatile
        if name in BUILDERS:
            self.builds(node.at)
        return self.call(node, entry, [self.expression(arg, scope) for arg in node.args])

    def card(self, name: str, at: int, scope: Scope) -> Expr:
        """Read ``header('DATE-OBS')``: the column of that very name."""
        try:
            return scope.resolve(ColumnRef(Ident(name, quoted=True), at=at), self.text)
        except BindError as error:
            said = say(error.remedy)  # the name stands in a string here
            values = (value.replace('"', "'") for value in said.values.values())
            self.fail(error.message, at, say(said.code.replace('"', "'"), *values))

    def aggregate(self, node: Function, entry: Entry, scope: Scope) -> Expr:
        """COUNT, SUM ..: not in WHERE, ON or GROUP BY, and not inside one another."""
        if self.clause not in {"SELECT", "HAVING", "ORDER BY", "a window"}:
            remedy = "use HAVING" if self.clause == "WHERE" else ""
            self.fail(
                say("{name} is an aggregate function and cannot stand in {clause}", entry.name, self.clause),
                node.at,
                remedy,
            )
        if node.star:
            if entry.name != "COUNT":
                self.fail(say("{name}(*) means nothing", entry.name), node.at, "only COUNT takes *")
            return Function(
                "COUNT", star=True, at=node.at, meta=Meta(INT64, None, "meta.number", nullable=False, aggregate=True)
            )
        clause, self.clause = self.clause, say("the argument of {name}", entry.name)
        args = [self.expression(arg, scope) for arg in node.args]
        self.clause = clause
        self.own_rows(node, args, scope)
        return self.call(node, entry, args)

    def own_rows(self, node: Function, args: Sequence[Expr], scope: Scope) -> None:
        """Check that an aggregate in a subquery reads a column of it: SQL counts one that reads only columns around it as one of the query around."""
        read = {item.source for item in walk(tuple(args)) if isinstance(item, ColumnRef)}
        around, further = set(), scope.outer
        while further is not None:
            around |= {source.number for source in further.view.sources}
            further = further.outer
        if read & around and not read & {source.number for source in scope.view.sources}:
            self.fail(
                say("{name} reads only columns of the query around this subquery", node.name.upper()), node.at,
                "write it in that query, or name a column of this subquery's FROM in it",
            )  # fmt: skip

    def window(self, node: Window, scope: Scope) -> Expr:
        """Bind ``function OVER (..)``: computed after groups, so that it may hold aggregates, but no window inside another."""
        function = node.function
        inside: Window | NamedWindow = node if node.name is None else self.named_window(node.name, scope, node.at)
        name = function.name.upper()
        entry = WINDOWS.get(name) or (self.functions.get(name) if name in OVER_GROUPS else None)
        if entry is None:
            near = nearest(name, (*WINDOWS, *OVER_GROUPS))
            self.fail(
                say("{name} cannot stand before OVER", name),
                function.at,
                near or say("those that can: {names}", ", ".join((*WINDOWS, *sorted(OVER_GROUPS)))),
            )
        if self.clause not in {"SELECT", "ORDER BY"}:
            self.fail(
                say("a window function cannot stand in {clause}", self.clause),
                node.at,
                "put its query into FROM, and use its column there",
            )
        if entry.group == "window" and (function.distinct or function.star):
            self.fail(
                say(
                    "{what} belongs to aggregate functions, and {name} is none",
                    "DISTINCT" if function.distinct else "*",
                    name,
                ),
                function.at,
            )
        clause, self.clause = self.clause, say("a window")
        args = [self.expression(arg, scope) for arg in function.args]
        partition, order, frame = self.window_parts(inside, scope)
        self.clause = clause
        for arg in args:
            if (
                name in {"NTILE", "NTH_VALUE"}
                and isinstance(arg, Literal)
                and isinstance(arg.value, int)
                and arg.value < 1
                and arg is args[-1]
            ):
                self.fail(say("{name}({value}) means nothing", name, arg.value), arg.at, "it counts from 1")
        if frame is not None and entry.group == "window" and name not in FRAMED:
            self.fail(
                say("{name} looks at the whole partition and takes no frame", name),
                inside.at,
                say("leave {unit} .. out", frame.unit),
            )
        called = self.aggregate(function, entry, scope) if function.star else self.call(function, entry, args)
        if not isinstance(called, Function):
            raise TypeError(name)
        parts = [meta(item) for item in (*args, *partition, *(item.expr for item in order))]
        # it gives one value for each row, whatever it is made of
        inner, got = derived(parts, BOOLEAN, None, None), meta(called)
        known = Meta(
            got.type,
            got.unit,
            got.ucd,
            nullable=got.nullable or name in {"LAG", "LEAD"},
            aggregate=inner.aggregate,
            origins=inner.origins,
        )
        varying = tuple(item for item in order if not meta(item.expr).constant)
        # all rows are one group then
        order = varying or (order[:1] if frame is not None and frame.unit == "GROUPS" else ())
        return Window(
            called, tuple(item for item in partition if not meta(item).constant), order, frame, at=node.at, meta=known
        )

    def named_window(self, ident: Ident, scope: Scope, at: int) -> NamedWindow:
        """Find a window of the WINDOW clause."""
        for window in scope.windows:
            if same(ident, window.name.name if window.name.quoted else window.name.name.lower()):
                return window
        near = nearest(ident.name, [window.name.name for window in scope.windows])
        raise self.fault(
            say("no window {name!r}", ident.name),
            at,
            near or say("write WINDOW {name} AS (..) behind FROM, WHERE and GROUP BY", ident.name),
        )

    def window_parts(
        self, node: Window | NamedWindow, scope: Scope
    ) -> tuple[tuple[Expr, ...], tuple[OrderItem, ...], Frame | None]:
        """Bind partition, order and frame."""
        self.keys(node.partition, "PARTITION BY")
        self.keys(node.order_by, "ORDER BY")
        partition = tuple([self.expression(item, scope) for item in node.partition])
        order = tuple(
            [OrderItem(self.expression(item.expr, scope), item.descending, at=item.at) for item in node.order_by]
        )
        frame = node.frame
        if frame is None:
            return partition, order, None
        offsets = [edge.offset for edge in (frame.start, frame.end) if edge.offset is not None]
        for offset in offsets:
            self.shape(offset)
        if frame.unit == "GROUPS" and not order:
            self.fail(
                "GROUPS counts groups of equal rows, and nothing says which are", frame.at, "add ORDER BY to the window"
            )
        if (
            frame.unit == "RANGE"
            and offsets
            and (len(order) != 1 or kind(order[0].expr) != "number" or meta(order[0].expr).constant)
        ):
            self.fail(
                "RANGE with distances needs one number to order by",
                frame.at,
                "order the window by one numeric column, or write ROWS",
            )
        for distance in offsets:
            if not literal_meta(distance.value).type.is_integer:
                if frame.unit != "RANGE":
                    self.fail("the number of rows is out of the range of BIGINT", distance.at, "write UNBOUNDED")
                inner = meta(order[0].expr)  # whole numbers have whole distances
                order = (
                    replace(
                        order[0],
                        expr=Cast(order[0].expr, "DOUBLE PRECISION", meta=derived((inner,), FLOAT64, inner.unit, None)),
                    ),
                )
        return partition, order, frame

    def unused_windows(self, windows: Sequence[NamedWindow], scope: Scope) -> None:
        """Check the windows that are named, whether something uses them or not."""
        clause, self.clause = self.clause, say("a window")
        for window in windows:
            self.window_parts(window, scope)
        self.clause = clause

    def call(self, node: Function, entry: Entry, args: list[Expr]) -> Expr:
        """Choose the signature and compute what is known of the result."""
        signature, reason = None, ""
        if (
            args
            and kind(args[0]) == "null"
            and null_system(entry.name, len(args), [kind(arg) == "point" for arg in args])
        ):
            args = args[1:]
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
            if kind(arg) == "null" and wants.word in _NULLS:  # engines choose by type, and a bare NULL has none
                target, type_ = _NULLS[wants.word]
                args[index] = Cast(arg, target, at=arg.at, meta=Meta(type_, constant=True))
            elif wants.word == "TIMESTAMP" and kind(arg) == "text":
                if isinstance(arg, Literal):
                    args[index] = self.as_time(arg)
                else:
                    args[index] = Cast(
                        arg, "TIMESTAMP", at=arg.at, meta=derived((meta(arg),), TIMESTAMP, None, meta(arg).ucd)
                    )
        args = measured(self, node, signature, args)
        special = SPECIAL.get(entry.name)
        if special is not None:
            done = special(self, node, args)
            if done is not None:
                return done
        result = signature.type
        if result is None:
            if signature.result == "COMMON":
                args, result = self.unified(args, entry.name)
            elif signature.result in {"SUM", "TOTAL"}:
                result = INT64 if Type(meta(args[0]).type.datatype).is_integer else FLOAT64
            elif signature.result == "ELEMENT":
                result = Type(meta(args[0]).type.datatype)
            else:
                result = (
                    meta(args[0]).type
                    if kind(args[0]) != "null"
                    else FLOAT64
                    if signature.args[0].word == "NUMERIC"
                    else STRING
                )
        inner = [meta(arg) for arg in args]
        first = inner[0] if inner else None
        unit = (first.unit if first is not None else None) if entry.unit == "same" else entry.unit or None
        if entry.name in {"POWER", "SQRT"} and first is not None and first.unit:
            unit = units.power(first.unit, 0.5 if entry.name == "SQRT" else self.exponent(args[1]))
        got = derived(tuple(inner), result, unit, result_ucd(entry.ucd, first))
        if entry.aggregate:
            got = Meta(
                result, unit, got.ucd, None, None, None, entry.name != "COUNT", aggregate=True, origins=got.origins
            )
        elif not args:
            got = Meta(result, unit, got.ucd, nullable=False, constant=not entry.volatile)
        elif entry.volatile:
            got = Meta(result, unit, got.ucd, origins=got.origins, aggregate=got.aggregate)
        return Function(
            entry.name, tuple(args), node.distinct, steady=self.steady and entry.aggregate, at=node.at, meta=got
        )

    def misfit(self, signature: Signature, args: Sequence[Expr]) -> str | None:
        """Return why arguments do not fit a signature, or None."""
        if len(args) < signature.minimum or (signature.maximum is not None and len(args) > signature.maximum):
            return "count"
        for index, arg in enumerate(args):
            wants = signature.word(index)
            have = kind(arg)
            if wants.literal and not isinstance(arg, Literal):
                return say("argument {number} ({name}) must be written as a literal", index + 1, wants.name)
            accepted = ACCEPTS[wants.word]
            if have in accepted or "any" in accepted or (have == "null" and not wants.literal):
                continue
            if "numbers" in accepted and have in NUMBERS and meta(arg).type.scalar.rank > 0:
                continue
            if "integer" in accepted and have == "number" and meta(arg).type.is_integer:
                continue
            return say(
                "argument {number} ({name}) must be {wanted}, and {value}",
                index + 1,
                wants.name,
                _either(wants.word),
                self.said(arg),
            )
        return None

    def misused(self, node: Function, entry: Entry, args: Sequence[Expr], reason: str) -> NoReturn:
        """Fail because of how a function is called, and say how it is called."""
        forms = [signature for signature in entry.signatures if "coordsys" not in signature.text] or list(
            entry.signatures
        )
        shown = joined("{one} or {other}", dict.fromkeys(signature.text.partition(" ->")[0] for signature in forms))
        reasons = [wrong for signature in forms if (wrong := self.misfit(signature, args)) not in {None, "count"}]
        if reasons:
            self.fail(say("{name}: {message}", entry.name, reasons[0]), node.at, say("it is {shown}", shown))
        if reason not in {"", "count"}:
            self.fail(say("{name}: {message}", entry.name, reason), node.at, say("it is {shown}", shown))
        counts = sorted(
            {
                count
                for signature in forms
                for count in range(signature.minimum, (signature.maximum or signature.minimum) + 1)
            }
        )
        wants = joined("{one} or {other}", map(str, counts))
        if any(signature.maximum is None for signature in forms):
            wants = say("at least {count}", counts[0])
        message = (
            "{name} takes {wants} argument, and {given}"
            if wants in {"1", "at least 1"}
            else "{name} takes {wants} arguments, and {given}"
        )
        self.fail(say(message, entry.name, wants, self.given(args)), node.at, say("it is {shown}", shown))

    # --- functions that become something else

    def in_unit(self, node: Function, args: list[Expr]) -> Expr:
        """``IN_UNIT(x, 'unit')`` becomes a product with the factor (ADQL 2.1 section 4.7)."""
        value, target = args
        inner = meta(value)
        wanted = str(target.value) if isinstance(target, Literal) else ""
        if inner.unit is None:
            self.fail(
                say("IN_UNIT: {value} has no unit", self.said(value, bare=True)),
                node.at,
                "only values whose unit is known can be converted",
            )
        try:
            factor = units.factor(inner.unit, wanted)
        except ValueError as error:
            spelt = units.spelt(wanted)
            remedy = (
                say("write {unit!r}", spelt)
                if spelt and units.convertible(inner.unit, spelt)
                else say("write a unit that {unit} can be converted to, as VOUnits has it", inner.unit)
            )
            self.fail(say("{name}: {message}", "IN_UNIT", error), target.at, remedy)
        # descriptors are read kindly, queries by the standard
        if (strict := units.spelt(wanted) or units.check(wanted)) != wanted:
            self.fail(
                say("IN_UNIT: {wanted!r} is not how VOUnits writes this unit", wanted),
                target.at,
                say("write {unit!r}", strict),
            )
        got = derived((inner,), FLOAT64, wanted, inner.ucd)
        if factor == 1:
            return Cast(value, "DOUBLE PRECISION", at=node.at, meta=got)
        return Binary(
            "*", value, Literal(factor, meta=Meta(FLOAT64, constant=True, nullable=False)), at=node.at, meta=got
        )

    def exponent(self, arg: Expr) -> float:
        """Parse a number that is written in place, NaN if none is: the unit of a power is part of the query's shape."""
        sign, number = (-1, arg.operand) if isinstance(arg, Unary) and arg.op == "-" else (1, arg)
        if not isinstance(number, Literal) or isinstance(number.value, bool | str) or number.value is None:
            return math.nan
        self.shape(number)
        return sign * float(number.value)

    def without_unit(self, node: Function, args: list[Expr]) -> Expr:
        """``WITHOUT_UNIT(x)`` is x."""
        return Cast(
            args[0], "DOUBLE PRECISION", at=node.at, meta=derived((meta(args[0]),), FLOAT64, None, meta(args[0]).ucd)
        )

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
                self.fail(
                    say("POLYGON has {count} coordinates: one is missing", len(flat)),
                    node.at,
                    "give longitude and latitude of each corner",
                )
        elif node.name.upper() == "POLYGON":
            flat = args
        name = node.name.upper()
        if len(flat) >= 2 and all(kind(arg) != "point" for arg in flat):
            for latitude in flat[1 : 2 if name in {"CIRCLE", "BOX"} else None : 2]:
                self.bounded(
                    latitude, -90.0, 90.0, say("the latitude of a {name}", name), "latitudes go from -90 to 90 degrees"
                )
            if name == "CIRCLE" and len(flat) == 3:
                self.bounded(flat[2], 0.0, math.inf, say("the radius of a CIRCLE"), "a radius is 0 or more, in degrees")
        type_ = {"POINT": POINT, "CIRCLE": CIRCLE, "BOX": POLYGON, "POLYGON": POLYGON}[name]
        got = derived(tuple(meta(arg) for arg in flat), type_, "deg", "pos.eq" if name == "POINT" else None)
        return Function(name, tuple(flat), at=node.at, meta=got)

    def region(self, _node: Function, args: list[Expr]) -> Expr | None:
        """Bind REGION: a text that is no region is refused, and a plan is not used again with another text."""
        if isinstance(args[0], Literal) and isinstance(args[0].value, str):
            if reason := fault_of_literal(args[0].value):
                self.fail(
                    say("{text!r:.80} is no region: {reason}", args[0].value, reason),
                    args[0].at,
                    "write CIRCLE ICRS 10 20 0.5, POLYGON ICRS 1 1 2 1 2 2, or POLYGON 1 1 2 1 2 2",
                )
            self.shape(args[0])
        return None

    def bounded(self, arg: Expr, low: float, high: float, what: str, remedy: str) -> None:
        """Refuse a number written in place that lies outside of its bounds; a plan may be used again with others that lie within."""
        sign, number = (-1, arg.operand) if isinstance(arg, Unary) and arg.op == "-" else (1, arg)
        if (
            not isinstance(number, Literal)
            or isinstance(number.value, bool)
            or not isinstance(number.value, int | float)
        ):
            return
        if not low <= sign * number.value <= high:
            self.fail(say("{name} is {value}", what, sign * number.value), arg.at, remedy)
        if number.slot >= 0:
            self.bounds.append((number.slot, *((low, high) if sign > 0 else (-high, -low))))

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
                value,
                "DOUBLE PRECISION",
                at=node.at,
                meta=derived((meta(value),), FLOAT64, meta(value).unit or "deg", meta(value).ucd),
            )
        return None

    def coordsys(self, node: Function, args: list[Expr]) -> Expr | None:
        """COORDSYS is known when the query is bound."""
        shape = node.args[0]
        name = "UNKNOWNFRAME"
        if (
            isinstance(shape, Function)
            and shape.args
            and isinstance(shape.args[0], Literal)
            and isinstance(shape.args[0].value, str)
        ):
            name = shape.args[0].value or name
        elif (column := meta(args[0]).column) is not None and column.frame:
            having = [table for table in self.tables.values() if column in table.columns]
            systems = {frame.system for table in having for frame in table.frames if frame.id == column.frame}
            name = (systems.pop() if len(systems) == 1 else None) or name
        return Literal(name, at=node.at, meta=Meta(STRING, constant=True, nullable=False))

    def located(self, node: Function, scope: Scope) -> Expr:
        """``IVO_SIMBADPOINT('M 31')`` becomes a POINT of two numbers: the position index serves what is around it."""
        name = node.name.upper()
        if self.locate is None:
            self.fail(
                say("{name}: names of objects are not resolved here", name),
                node.at,
                "give the position: POINT(ra, dec)",
            )
        args = [self.expression(arg, scope) for arg in node.args]
        if len(args) == 1 and not isinstance(args[0], Literal) and kind(args[0]) in {"text", "null"}:
            remedy = say(
                "write one name in quotes, {name}('M 31'); for many, upload a table of their positions and join it",
                name,
            )
            self.fail(
                say(
                    "{name} is computed once, before the query runs, so it cannot take {value}",
                    name,
                    self.said(args[0], bare=True),
                ),
                node.at,
                remedy,
            )
        wrong = self.misfit(NAMED[name].signatures[0], args)
        if wrong is not None or node.distinct or node.star:
            self.misused(node, NAMED[name], args, wrong or "")
        given = args[0]
        said = str(self.shape(given)) if isinstance(given, Literal) else ""
        try:
            place = self.locate(said)
        except UserError as error:
            self.fail(say("{name}: {message}", name, error.message), given.at, error.remedy)
        # what a name stands for may be another place tomorrow: no answer is remembered by the query's text
        self.volatile = True
        known = Meta(FLOAT64, "deg", constant=True, nullable=False)
        point = Function("POINT", at=node.at)
        return self.constructor(point, [Literal(value, at=given.at, meta=known) for value in place]) or point

    def transform(self, node: Function, args: list[Expr]) -> Expr | None:
        """``IVO_GEOM_TRANSFORM('ICRS', 'GALACTIC', geo)``: frames that are known, in the vocabulary's case."""
        for arg in args[:2]:
            name = arg.value if isinstance(arg, Literal) else None
            if name not in frames.ROTATIONS:
                self.fail(
                    say("{name}: no frame {frame!r}", node.name, name),
                    arg.at,
                    nearest(str(name), frames.ROTATIONS) or say("known: {names}", ", ".join(frames.ROTATIONS)),
                )
        return None

    def histogram(self, node: Function, args: list[Expr]) -> Expr | None:
        """``IVO_HISTOGRAM(x, 0, 10, 5)``: bounds that are the same in every row, and some bins."""
        for arg in args[1:3]:
            if not meta(arg).constant:
                self.fail(say("{name}: the bounds are the same in every row, and this one is not", node.name), arg.at)
        number = args[3].value if isinstance(args[3], Literal) else None
        if not isinstance(number, int) or not 1 <= number <= MOST_BINS:
            self.fail(
                say("{name}: there cannot be {number} bins", node.name, number),
                args[3].at,
                say("1 to {most}", MOST_BINS),
            )
        return None

    def spectral(self, node: Function, args: list[Expr]) -> Expr:
        """``GAVO_SPECCONV(x, ['from',] 'to')`` becomes a product or a quotient with one factor."""
        value, target = args[0], args[-1]
        inner = meta(value)
        given = args[1].value if len(args) == 3 and isinstance(args[1], Literal) else inner.unit
        if given is None:
            self.fail(
                say("{name}: {value} has no unit", node.name, self.said(value, bare=True)),
                node.at,
                "name it: GAVO_SPECCONV(x, 'nm', 'GHz')",
            )
        wanted = str(target.value) if isinstance(target, Literal) else ""
        try:
            factor, inverse = units.spectral(str(given), wanted)
        except ValueError as error:
            self.fail(say("{name}: {message}", node.name, error), target.at)
        got = derived((inner,), FLOAT64, wanted, None)
        number = Literal(factor, meta=Meta(FLOAT64, constant=True, nullable=False))
        return (
            Binary("/", number, value, at=node.at, meta=got)
            if inverse
            else Binary("*", value, number, at=node.at, meta=got)
        )

    def vocabulary(self, node: Function, args: list[Expr]) -> Expr:
        """``GAVO_VOCMATCH('product-type', 'image', x)`` becomes ``x IN (the terms)``."""
        name, term = (str(arg.value) if isinstance(arg, Literal) else "" for arg in args[:2])
        known = vocabularies()
        if name not in known:
            remedy = nearest(name, known) or say(
                "known: {known}; of others write the terms: x IN ('a', 'b')", ", ".join(known)
            )
            self.fail(say("{name}: no vocabulary {vocabulary!r} here", node.name, name), args[0].at, remedy)
        word = term.removeprefix("#")
        if word not in known[name]:
            remedy = nearest(word, known[name]) or say("it has {known} ..", ", ".join(list(known[name])[:MOST]))
            self.fail(
                say("{name}: no term {term!r} in the vocabulary {vocabulary}", node.name, term, name),
                args[1].at,
                remedy,
            )
        value = args[2]
        text = Meta(STRING, constant=True, nullable=False)
        terms = tuple(Literal(f"{mark}{item}", meta=text) for item in narrower(name, word) for mark in ("", "#"))
        among = In(value, terms, at=node.at, meta=truth(value))
        there = IsNull(value, negated=True, at=node.at, meta=truth(value))
        one, zero = (Literal(number, meta=Meta(INT32, constant=True, nullable=False)) for number in (1, 0))
        return Case(
            None, ((among, one), (there, zero)), None, at=node.at, meta=derived((meta(value),), INT32, None, None)
        )

    def delimited(self, node: Function, args: list[Expr]) -> Expr | None:
        """``IVO_STRING_AGG(x, ', ')``: one delimiter for all rows."""
        if not meta(args[1]).constant:
            remedy = "write it as a string, or join it to the values: IVO_STRING_AGG(value || delimiter, '')"
            self.fail(
                say("{name}: the delimiter is the same in every row, and this one is not", node.name.upper()),
                args[1].at,
                remedy,
            )
        return None

    def moc(self, node: Function, args: list[Expr]) -> Expr | None:  # noqa: ARG002  (one signature for all)
        """``MOC('6/1 2-4')`` and ``MOC(6, geo)``: what is written in place is checked now."""
        first = args[0]
        if not isinstance(first, Literal):
            return None
        if isinstance(first.value, str):
            self.shape(first)
            try:
                Moc.parse(first.value)
            except ValueError as error:
                self.fail(say("{name}: {message}", "MOC", error), first.at, "a MOC looks like '6/1 2-4 7/20'")
        elif isinstance(first.value, int) and not 0 <= first.value <= healpix.ORDER:
            self.fail(
                say("MOC: there is no order {value}", first.value),
                first.at,
                say("orders are 0 to {order}", healpix.ORDER),
            )
        return None


SPECIAL: dict[str, Callable[[Calling, Function, list[Expr]], Expr | None]] = {
    "IN_UNIT": Calling.in_unit, "WITHOUT_UNIT": Calling.without_unit, "REGION": Calling.region, "POINT": Calling.constructor, "CIRCLE": Calling.constructor, "BOX": Calling.constructor,
    "POLYGON": Calling.constructor, "DISTANCE": Calling.distance, "INTERSECTS": Calling.intersects, "COORD1": Calling.coordinate,
    "COORD2": Calling.coordinate, "COORDSYS": Calling.coordsys, "IVO_GEOM_TRANSFORM": Calling.transform, "GAVO_TRANSFORM": Calling.transform,
    "IVO_STRING_AGG": Calling.delimited, "IVO_HISTOGRAM": Calling.histogram, "GAVO_HISTOGRAM": Calling.histogram, "GAVO_SPECCONV": Calling.spectral, "GAVO_VOCMATCH": Calling.vocabulary, "MOC": Calling.moc,
    "SPECTRAL_MIN": spectral_range, "SPECTRAL_MAX": spectral_range, "SPECTRAL_STEP": spectral_step, "RESOLVING_POWER": resolving_power,
    "ORIENTED": of_words, "LONLAT_BOX": of_words, "CHAIN_CONTOUR": of_words, "CHAIN_AREA": of_words, "CHAIN_LINE": of_words, "TFCAT_BOUND": of_words, "LIST_CONTOUR": of_words, "GEOJSON_CONTOUR": of_words, "CONTOUR_POLYGON": of_words, "CONTOUR_QUALITY": of_words, "CONTOUR_MOC": of_words,
    "CONTOUR_FAULT": of_words, "CONTOUR_BOUND": of_words, "PLANETOCENTRIC": of_body,
}  # fmt: skip


def _either(word: str) -> str:
    if word == "ORDERED":
        return say("a number, a string or a timestamp")
    return kinds.WORDS[{"GEOMETRY": "geometry", "TIMESTAMP": "time"}.get(word) or next(iter(ACCEPTS[word]))]
