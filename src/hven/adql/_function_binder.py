"""Function calls: the signature that fits, what comes out, and the functions that become something else when bound."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn

from hven.adql import value_kinds
from hven.adql._foreign_functions import FOREIGN_FUNCTION_REMEDIES
from hven.adql._function_syntax import is_null_coordsys
from hven.adql._query_limits import TEXT_FUNCTIONS
from hven.adql._type_checker import TypeChecker
from hven.adql._unit_functions import (
    check_body_argument,
    check_word_argument,
    convert_arguments,
    rewrite_resolving_power,
    rewrite_spectral_range,
    rewrite_spectral_step,
)
from hven.adql.functions import (
    NAME_RESOLVING_FUNCTIONS,
    WINDOW_FUNCTIONS,
    FunctionSet,
)
from hven.adql.scope import MAX_NAMED_COLUMNS, NameScope
from hven.adql.signatures import ACCEPTED_KINDS, NUMBER_ARRAY_KINDS, FunctionDefinition, FunctionParameter, Signature
from hven.adql.syntax_tree import (
    BinaryOperation,
    Case,
    Cast,
    ColumnRef,
    Expr,
    FunctionCall,
    Ident,
    InPredicate,
    Literal,
    NullPredicate,
    UnaryOperation,
    ValueMetadata,
    walk_tree,
)
from hven.adql.value_kinds import (
    classify_value,
    derive_condition_meta,
    derive_meta,
    derive_result_ucd,
    require_meta,
)
from hven.adql.vocabularies import list_narrower_terms, load_vocabularies
from hven.model import units
from hven.model.errors import BindError, UserError, format_message, join_messages, suggest_spelling
from hven.model.shape_columns import explain_invalid_literal
from hven.model.sky import Moc, frames, healpix
from hven.model.types import CIRCLE, FLOAT64, INT32, INT64, POINT, POLYGON, STRING, TIMESTAMP, Type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.model.table import Table


MAX_HISTOGRAM_BINS = 100_000

_NULL_CASTS = {
    "NUMERIC": ("DOUBLE PRECISION", FLOAT64),
    "REAL": ("DOUBLE PRECISION", FLOAT64),
    "INTEGER": ("INTEGER", INT32),
    "BIGINT": ("BIGINT", INT64),
    "TEXT": ("VARCHAR", STRING),
    "TIMESTAMP": ("TIMESTAMP", TIMESTAMP),
    "POINT": ("POINT", POINT),
    "MOC": ("VARCHAR", STRING),
    "CIRCLE": ("CIRCLE", CIRCLE),
    "POLYGON": ("POLYGON", POLYGON),
    "ARRAY": ("DOUBLE PRECISION[]", Type("double", "*")),
}


class FunctionBinder(TypeChecker, ABC):
    """Binds calls.

    Attributes
    ----------
    clause
        The clause that is being bound; aggregates are legal in some only.
    slot_bounds
        Free slots, with the lowest and the highest value that may stand there.
    tables
        Those that are read, by their qualified names.
    volatile
        True once a function was met that may answer differently over the same rows.
    resolve_position
        Gives the position (ICRS, degrees) of an object by its name; None: names are not resolved here.
    """

    def __init__(self, text: str, functions: FunctionSet) -> None:
        super().__init__(text)
        self.functions = functions
        self.volatile = False
        self.tables: dict[str, Table] = {}
        self.slot_bounds: list[tuple[int, float, float]] = []
        self.resolve_position: Callable[[str], tuple[float, float]] | None = None
        self.order_independent = False
        self.clause: str = "SELECT"

    @abstractmethod
    def bind_expression(self, node: Expr, scope: NameScope) -> Expr:
        """Bind an argument."""

    def bind_function(self, node: FunctionCall, scope: NameScope) -> Expr:
        """Find the function, choose the signature that fits, and return what comes out."""
        name = node.name.upper()
        entry = self.functions.find_function(name)
        if entry is None and name in NAME_RESOLVING_FUNCTIONS:
            return self.rewrite_object_position(node, scope)
        if entry is None or (name in WINDOW_FUNCTIONS and not entry.mapping):
            if name in WINDOW_FUNCTIONS:
                self.raise_bind_error(
                    format_message("{name} is a window function", name),
                    node.text_offset,
                    format_message("write {name}(..) OVER (ORDER BY ..)", name),
                )
            near = FOREIGN_FUNCTION_REMEDIES.get(name) or suggest_spelling(
                name, self.functions.names, min_similarity=0.75
            )
            self.raise_bind_error(
                format_message("no function {name}", node.name),
                node.text_offset,
                near or "see the functions of this service in /tap/capabilities",
            )
        if entry.aggregate:
            return self.bind_aggregate(node, entry, scope)
        if (
            entry.name == "HEADER"
            and len(node.args) == 1
            and isinstance(node.args[0], Literal)
            and isinstance(node.args[0].value, str)
        ):
            return self.bind_header_card(node.args[0].value, node.text_offset, scope)
        if node.distinct or node.star:
            self.raise_bind_error(
                format_message(
                    "{what} belongs to aggregate functions, and {name} is none",
                    "DISTINCT" if node.distinct else "*",
                    name,
                ),
                node.text_offset,
            )
        self.volatile = self.volatile or entry.volatile
        if name in TEXT_FUNCTIONS:
            self.count_text_operation(node.text_offset)
        return self.bind_call(node, entry, [self.bind_expression(arg, scope) for arg in node.args])

    def bind_header_card(self, card_name: str, text_offset: int, scope: NameScope) -> Expr:
        """Read ``header('DATE-OBS')``: the column of that very name."""
        try:
            return scope.resolve_column(ColumnRef(Ident(card_name, quoted=True), text_offset=text_offset), self.text)
        except BindError as error:
            remedy_message = format_message(error.remedy)  # the name stands in a string here
            values = (value.replace('"', "'") for value in remedy_message.values.values())
            self.raise_bind_error(
                error.message, text_offset, format_message(remedy_message.template.replace('"', "'"), *values)
            )

    def bind_aggregate(self, node: FunctionCall, entry: FunctionDefinition, scope: NameScope) -> Expr:
        """COUNT, SUM ..: not in WHERE, ON or GROUP BY, and not inside one another."""
        if self.clause not in {"SELECT", "HAVING", "ORDER BY", "a window"}:
            remedy = "use HAVING" if self.clause == "WHERE" else ""
            self.raise_bind_error(
                format_message("{name} is an aggregate function and cannot stand in {clause}", entry.name, self.clause),
                node.text_offset,
                remedy,
            )
        if node.star:
            if entry.name != "COUNT":
                self.raise_bind_error(
                    format_message("{name}(*) means nothing", entry.name), node.text_offset, "only COUNT takes *"
                )
            meta = ValueMetadata(INT64, None, "meta.number", nullable=False, aggregate=True)
            return FunctionCall(
                "COUNT",
                star=True,
                text_offset=node.text_offset,
                meta=meta,
            )
        clause = self.clause
        self.clause = format_message("the argument of {name}", entry.name)
        args = [self.bind_expression(arg, scope) for arg in node.args]
        self.clause = clause
        self.check_aggregate_scope(node, args, scope)
        return self.bind_call(node, entry, args)

    def check_aggregate_scope(self, node: FunctionCall, args: Sequence[Expr], scope: NameScope) -> None:
        """Check that an aggregate in a subquery reads a column of it.

        SQL counts one that reads only columns around it as one of the query around.
        """
        read_sources = {item.source for item in walk_tree(tuple(args)) if isinstance(item, ColumnRef)}
        outer_sources = set()
        outer_scope = scope.outer_scope
        while outer_scope is not None:
            outer_sources |= {source.number for source in outer_scope.visible_columns.sources}
            outer_scope = outer_scope.outer_scope
        if read_sources & outer_sources and not read_sources & {
            source.number for source in scope.visible_columns.sources
        }:
            self.raise_bind_error(
                format_message("{name} reads only columns of the query around this subquery", node.name.upper()),
                node.text_offset,
                "write it in that query, or name a column of this subquery's FROM in it",
            )

    def bind_call(self, node: FunctionCall, entry: FunctionDefinition, args: list[Expr]) -> Expr:
        """Choose the signature of a call, and derive the metadata of its result."""
        if args and classify_value(args[0]) == "null":
            is_point = [classify_value(arg) == "point" for arg in args]
            if is_null_coordsys(entry.name, len(args), is_point):
                args = args[1:]
        signature = self._choose_signature(node, entry, args)
        for index, arg in enumerate(args):
            args[index] = self._convert_argument(arg, signature.find_parameter(index))
        args = convert_arguments(self, node, signature, args)
        special = SPECIAL_BINDERS.get(entry.name)
        if special is not None:
            rewritten = special(self, node, args)
            if rewritten is not None:
                return rewritten
        result = signature.type
        if result is None and signature.result == "COMMON":
            args, result = self.unify_types(args, entry.name)
        elif result is None:
            result = _derive_result_type(signature, args)
        result_meta = self._derive_result_meta(entry, args, result)
        return FunctionCall(
            entry.name,
            tuple(args),
            node.distinct,
            order_independent=self.order_independent and entry.aggregate,
            text_offset=node.text_offset,
            meta=result_meta,
        )

    def _choose_signature(self, node: FunctionCall, entry: FunctionDefinition, args: list[Expr]) -> Signature:
        """Choose the first signature that the arguments fit; raise an error if they fit none."""
        reason = ""
        for candidate in entry.signatures:
            mismatch = self.explain_mismatch(candidate, args)
            if mismatch is None:
                return candidate
            reason = reason or mismatch
        return self.raise_misuse(node, entry, args, reason)

    def _convert_argument(self, arg: Expr, parameter: FunctionParameter) -> Expr:
        """Give NULL a type, for engines choose functions by type, and convert texts to times."""
        if parameter.must_be_literal and isinstance(arg, Literal):
            self.mark_literal_fixed(arg)
        kind = classify_value(arg)
        if kind == "null" and parameter.type_word in _NULL_CASTS:
            target, type_ = _NULL_CASTS[parameter.type_word]
            meta = ValueMetadata(type_, constant=True)
            return Cast(arg, target, text_offset=arg.text_offset, meta=meta)
        if kind != "text" or parameter.type_word != "TIMESTAMP":
            return arg
        if isinstance(arg, Literal):
            return self.convert_to_time(arg)
        text_meta = require_meta(arg)
        time_meta = derive_meta((text_meta,), TIMESTAMP, None, text_meta.ucd)
        return Cast(arg, "TIMESTAMP", text_offset=arg.text_offset, meta=time_meta)

    def _derive_result_meta(self, entry: FunctionDefinition, args: Sequence[Expr], result_type: Type) -> ValueMetadata:
        """Derive unit, UCD and further metadata of the result of a call."""
        argument_metas = tuple(require_meta(arg) for arg in args)
        first = argument_metas[0] if argument_metas else None
        unit = entry.unit or None
        if entry.unit == "same":
            unit = first.unit if first is not None else None
        if entry.name in {"POWER", "SQRT"} and first is not None and first.unit:
            exponent = 0.5 if entry.name == "SQRT" else self.read_exponent(args[1])
            unit = units.raise_to_power(first.unit, exponent)
        meta = derive_meta(argument_metas, result_type, unit, derive_result_ucd(entry.ucd, first))
        if entry.aggregate:
            may_be_null = entry.name != "COUNT"
            return ValueMetadata(
                result_type, unit, meta.ucd, nullable=may_be_null, aggregate=True, origins=meta.origins
            )
        if not args:
            return ValueMetadata(result_type, unit, meta.ucd, nullable=False, constant=not entry.volatile)
        if entry.volatile:
            return ValueMetadata(result_type, unit, meta.ucd, origins=meta.origins, aggregate=meta.aggregate)
        return meta

    def explain_mismatch(self, signature: Signature, args: Sequence[Expr]) -> str | None:
        """Return why arguments do not fit a signature, or None."""
        if len(args) < signature.min_argument_count or (
            signature.max_argument_count is not None and len(args) > signature.max_argument_count
        ):
            return "count"
        for index, arg in enumerate(args):
            parameter = signature.find_parameter(index)
            actual_kind = classify_value(arg)
            if parameter.must_be_literal and not isinstance(arg, Literal):
                return format_message(
                    "argument {number} ({name}) must be written as a literal", index + 1, parameter.name
                )
            accepted = ACCEPTED_KINDS[parameter.type_word]
            if (
                actual_kind in accepted
                or "any" in accepted
                or (actual_kind == "null" and not parameter.must_be_literal)
            ):
                continue
            if "numbers" in accepted and actual_kind in NUMBER_ARRAY_KINDS and require_meta(arg).type.scalar.rank > 0:
                continue
            if "integer" in accepted and actual_kind == "number" and require_meta(arg).type.is_integer:
                continue
            return format_message(
                "argument {number} ({name}) must be {wanted}, and {value}",
                index + 1,
                parameter.name,
                _describe_accepted(parameter.type_word),
                self.describe_expression(arg),
            )
        return None

    def raise_misuse(
        self, node: FunctionCall, entry: FunctionDefinition, args: Sequence[Expr], reason: str
    ) -> NoReturn:
        """Fail because of how a function is called, and say how it is called."""
        forms = [signature for signature in entry.signatures if "coordsys" not in signature.text] or list(
            entry.signatures
        )
        call_forms = join_messages(
            "{one} or {other}", dict.fromkeys(signature.text.partition(" ->")[0] for signature in forms)
        )
        reasons = [
            mismatch
            for signature in forms
            if (mismatch := self.explain_mismatch(signature, args)) not in {None, "count"}
        ]
        if reasons:
            self.raise_bind_error(
                format_message("{name}: {message}", entry.name, reasons[0]),
                node.text_offset,
                format_message("it is {shown}", call_forms),
            )
        if reason not in {"", "count"}:
            self.raise_bind_error(
                format_message("{name}: {message}", entry.name, reason),
                node.text_offset,
                format_message("it is {shown}", call_forms),
            )
        counts = sorted(
            {
                count
                for signature in forms
                for count in range(
                    signature.min_argument_count, (signature.max_argument_count or signature.min_argument_count) + 1
                )
            }
        )
        expected_counts = join_messages("{one} or {other}", map(str, counts))
        if any(signature.max_argument_count is None for signature in forms):
            expected_counts = format_message("at least {count}", counts[0])
        if expected_counts in {"1", "at least 1"}:
            message = "{name} takes {wants} argument, and {given}"
        else:
            message = "{name} takes {wants} arguments, and {given}"
        self.raise_bind_error(
            format_message(message, entry.name, expected_counts, self.describe_argument_count(args)),
            node.text_offset,
            format_message("it is {shown}", call_forms),
        )

    # --- functions that become something else

    def rewrite_in_unit(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """``IN_UNIT(x, 'unit')`` becomes a product with the factor (ADQL 2.1 section 4.7)."""
        value, target = args
        value_meta = require_meta(value)
        if isinstance(target, Literal):
            target_unit = str(target.value)
        else:
            target_unit = ""
        if value_meta.unit is None:
            self.raise_bind_error(
                format_message("IN_UNIT: {value} has no unit", self.describe_expression(value, name_only=True)),
                node.text_offset,
                "only values whose unit is known can be converted",
            )
        try:
            factor = units.compute_factor(value_meta.unit, target_unit)
        except ValueError as error:
            standard_spelling = units.find_unit_symbol(target_unit)
            if standard_spelling and units.is_convertible(value_meta.unit, standard_spelling):
                remedy = format_message("write {unit!r}", standard_spelling)
            else:
                remedy = format_message(
                    "write a unit that {unit} can be converted to, as VOUnits has it", value_meta.unit
                )
            self.raise_bind_error(format_message("{name}: {message}", "IN_UNIT", error), target.text_offset, remedy)
        # descriptors are read kindly, queries by the standard
        standard_unit = units.find_unit_symbol(target_unit) or units.validate_unit(target_unit)
        if standard_unit != target_unit:
            self.raise_bind_error(
                format_message("IN_UNIT: {wanted!r} is not how VOUnits writes this unit", target_unit),
                target.text_offset,
                format_message("write {unit!r}", standard_unit),
            )
        result_meta = derive_meta((value_meta,), FLOAT64, target_unit, value_meta.ucd)
        if factor == 1:
            return Cast(value, "DOUBLE PRECISION", text_offset=node.text_offset, meta=result_meta)
        meta = ValueMetadata(FLOAT64, constant=True, nullable=False)
        return BinaryOperation(
            "*",
            value,
            Literal(factor, meta=meta),
            text_offset=node.text_offset,
            meta=result_meta,
        )

    def read_exponent(self, arg: Expr) -> float:
        """Parse a number that is written in place, NaN if none is: the unit of a power is part of the query's shape."""
        if isinstance(arg, UnaryOperation) and arg.op == "-":
            sign, number = (-1, arg.operand)
        else:
            sign, number = (1, arg)
        if not isinstance(number, Literal) or isinstance(number.value, bool | str) or number.value is None:
            return math.nan
        self.mark_literal_fixed(number)
        return sign * float(number.value)

    def rewrite_without_unit(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """``WITHOUT_UNIT(x)`` is x."""
        return Cast(
            args[0],
            "DOUBLE PRECISION",
            text_offset=node.text_offset,
            meta=derive_meta((require_meta(args[0]),), FLOAT64, None, require_meta(args[0]).ucd),
        )

    def rewrite_shape(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Shapes lose the coordinate system, and points written in place are taken apart into their numbers."""
        if args and classify_value(args[0]) == "text":
            args = args[1:]
        coordinates: list[Expr] = []
        for arg in args:
            if isinstance(arg, FunctionCall) and arg.name == "POINT":
                coordinates.extend(arg.args)
            else:
                coordinates.append(arg)
        if node.name.upper() == "POLYGON" and all(classify_value(arg) in {"number", "null"} for arg in coordinates):
            if len(coordinates) % 2:
                self.raise_bind_error(
                    format_message("POLYGON has {count} coordinates: one is missing", len(coordinates)),
                    node.text_offset,
                    "give longitude and latitude of each corner",
                )
        elif node.name.upper() == "POLYGON":
            coordinates = args
        name = node.name.upper()
        if len(coordinates) >= 2 and all(classify_value(arg) != "point" for arg in coordinates):
            for latitude in coordinates[1 : 2 if name in {"CIRCLE", "BOX"} else None : 2]:
                self.check_bounds(
                    latitude,
                    -90.0,
                    90.0,
                    format_message("the latitude of a {name}", name),
                    "latitudes go from -90 to 90 degrees",
                )
            if name == "CIRCLE" and len(coordinates) == 3:
                self.check_bounds(
                    coordinates[2],
                    0.0,
                    math.inf,
                    format_message("the radius of a CIRCLE"),
                    "a radius is 0 or more, in degrees",
                )
        type_ = {"POINT": POINT, "CIRCLE": CIRCLE, "BOX": POLYGON, "POLYGON": POLYGON}[name]
        result_meta = derive_meta(
            tuple(require_meta(arg) for arg in coordinates), type_, "deg", "pos.eq" if name == "POINT" else None
        )
        return FunctionCall(name, tuple(coordinates), text_offset=node.text_offset, meta=result_meta)

    def check_region(self, _node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Bind REGION: a text that is no region is refused, and a plan is not used again with another text."""
        if isinstance(args[0], Literal) and isinstance(args[0].value, str):
            reason = explain_invalid_literal(args[0].value)
            if reason:
                self.raise_bind_error(
                    format_message("{text!r:.80} is no region: {reason}", args[0].value, reason),
                    args[0].text_offset,
                    "write CIRCLE ICRS 10 20 0.5, POLYGON ICRS 1 1 2 1 2 2, or POLYGON 1 1 2 1 2 2",
                )
            self.mark_literal_fixed(args[0])
        return None

    def check_bounds(self, arg: Expr, minimum: float, maximum: float, quantity_name: str, remedy: str) -> None:
        """Refuse a number written in place that lies outside of its bounds.

        A plan may be used again with others that lie within.
        """
        if isinstance(arg, UnaryOperation) and arg.op == "-":
            sign, number = (-1, arg.operand)
        else:
            sign, number = (1, arg)
        if (
            not isinstance(number, Literal)
            or isinstance(number.value, bool)
            or not isinstance(number.value, int | float)
        ):
            return
        if not minimum <= sign * number.value <= maximum:
            self.raise_bind_error(
                format_message("{name} is {value}", quantity_name, sign * number.value), arg.text_offset, remedy
            )
        if number.slot >= 0:
            self.slot_bounds.append((number.slot, *((minimum, maximum) if sign > 0 else (-maximum, -minimum))))

    def rewrite_distance(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """``DISTANCE(p1, p2)``: points written in place are taken apart."""
        if all(isinstance(arg, FunctionCall) and arg.name == "POINT" for arg in args):
            args = [coordinate for arg in args for coordinate in arg.args]  # type: ignore[attr-defined]
        result_meta = derive_meta(tuple(require_meta(arg) for arg in args), FLOAT64, "deg", "pos.angDistance")
        return FunctionCall("DISTANCE", tuple(args), text_offset=node.text_offset, meta=result_meta)

    def rewrite_intersects(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """INTERSECTS with a point is CONTAINS (ADQL 2.1 section 4.2.14)."""
        result_meta = derive_meta((require_meta(args[0]), require_meta(args[1])), INT32, None, None)
        if classify_value(args[0]) == "point":
            return FunctionCall("CONTAINS", tuple(args), text_offset=node.text_offset, meta=result_meta)
        if classify_value(args[1]) == "point":
            return FunctionCall("CONTAINS", (args[1], args[0]), text_offset=node.text_offset, meta=result_meta)
        return None

    def rewrite_coordinate(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """``COORD1(POINT(a, b))`` is a."""
        point = args[0]
        if isinstance(point, FunctionCall) and point.name == "POINT":
            value = point.args[0 if node.name.upper() == "COORD1" else 1]
            meta = derive_meta(
                (require_meta(value),), FLOAT64, require_meta(value).unit or "deg", require_meta(value).ucd
            )
            return Cast(
                value,
                "DOUBLE PRECISION",
                text_offset=node.text_offset,
                meta=meta,
            )
        return None

    def rewrite_coordsys(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """COORDSYS is known when the query is bound."""
        shape = node.args[0]
        name = "UNKNOWNFRAME"
        if (
            isinstance(shape, FunctionCall)
            and shape.args
            and isinstance(shape.args[0], Literal)
            and isinstance(shape.args[0].value, str)
        ):
            name = shape.args[0].value or name
        elif (column := require_meta(args[0]).column) is not None and column.frame:
            tables_of_column = [table for table in self.tables.values() if column in table.columns]
            systems = {frame.system for table in tables_of_column for frame in table.frames if frame.id == column.frame}
            name = (systems.pop() if len(systems) == 1 else None) or name
        meta = ValueMetadata(STRING, constant=True, nullable=False)
        return Literal(name, text_offset=node.text_offset, meta=meta)

    def rewrite_object_position(self, node: FunctionCall, scope: NameScope) -> Expr:
        """``IVO_SIMBADPOINT('M 31')`` becomes a POINT of two numbers: the position index serves what is around it."""
        name = node.name.upper()
        if self.resolve_position is None:
            self.raise_bind_error(
                format_message("{name}: names of objects are not resolved here", name),
                node.text_offset,
                "give the position: POINT(ra, dec)",
            )
        args = [self.bind_expression(arg, scope) for arg in node.args]
        if len(args) == 1 and not isinstance(args[0], Literal) and classify_value(args[0]) in {"text", "null"}:
            remedy = format_message(
                "write one name in quotes, {name}('M 31'); for many, upload a table of their positions and join it",
                name,
            )
            self.raise_bind_error(
                format_message(
                    "{name} is computed once, before the query runs, so it cannot take {value}",
                    name,
                    self.describe_expression(args[0], name_only=True),
                ),
                node.text_offset,
                remedy,
            )
        mismatch = self.explain_mismatch(NAME_RESOLVING_FUNCTIONS[name].signatures[0], args)
        if mismatch is not None or node.distinct or node.star:
            self.raise_misuse(node, NAME_RESOLVING_FUNCTIONS[name], args, mismatch or "")
        name_argument = args[0]
        if isinstance(name_argument, Literal):
            object_name = str(self.mark_literal_fixed(name_argument))
        else:
            object_name = ""
        try:
            coordinates = self.resolve_position(object_name)
        except UserError as error:
            self.raise_bind_error(
                format_message("{name}: {message}", name, error.message), name_argument.text_offset, error.remedy
            )
        # what a name stands for may be another place tomorrow: no answer is remembered by the query's text
        self.volatile = True
        coordinate_meta = ValueMetadata(FLOAT64, "deg", constant=True, nullable=False)
        point = FunctionCall("POINT", text_offset=node.text_offset)
        return (
            self.rewrite_shape(
                point,
                [Literal(value, text_offset=name_argument.text_offset, meta=coordinate_meta) for value in coordinates],
            )
            or point
        )

    def check_transform(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """``IVO_GEOM_TRANSFORM('ICRS', 'GALACTIC', geo)``: frames that are known, in the vocabulary's case."""
        for arg in args[:2]:
            if isinstance(arg, Literal):
                name = arg.value
            else:
                name = None
            if name not in frames.ROTATION_FRAMES:
                self.raise_bind_error(
                    format_message("{name}: no frame {frame!r}", node.name, name),
                    arg.text_offset,
                    suggest_spelling(str(name), frames.ROTATION_FRAMES)
                    or format_message("known: {names}", ", ".join(frames.ROTATION_FRAMES)),
                )
        return None

    def check_histogram(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """``IVO_HISTOGRAM(x, 0, 10, 5)``: bounds that are the same in every row, and some bins."""
        for arg in args[1:3]:
            if not require_meta(arg).constant:
                self.raise_bind_error(
                    format_message("{name}: the bounds are the same in every row, and this one is not", node.name),
                    arg.text_offset,
                )
        if isinstance(args[3], Literal):
            number = args[3].value
        else:
            number = None
        if not isinstance(number, int) or not 1 <= number <= MAX_HISTOGRAM_BINS:
            self.raise_bind_error(
                format_message("{name}: there cannot be {number} bins", node.name, number),
                args[3].text_offset,
                format_message("1 to {most}", MAX_HISTOGRAM_BINS),
            )
        return None

    def convert_spectral(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """``GAVO_SPECCONV(x, ['from',] 'to')`` becomes a product or a quotient with one factor."""
        value = args[0]
        target = args[-1]
        value_meta = require_meta(value)
        if len(args) == 3 and isinstance(args[1], Literal):
            source_unit = args[1].value
        else:
            source_unit = value_meta.unit
        if source_unit is None:
            self.raise_bind_error(
                format_message(
                    "{name}: {value} has no unit", node.name, self.describe_expression(value, name_only=True)
                ),
                node.text_offset,
                "name it: GAVO_SPECCONV(x, 'nm', 'GHz')",
            )
        if isinstance(target, Literal):
            target_unit = str(target.value)
        else:
            target_unit = ""
        try:
            factor, inverse = units.compute_spectral_conversion(str(source_unit), target_unit)
        except ValueError as error:
            self.raise_bind_error(format_message("{name}: {message}", node.name, error), target.text_offset)
        result_meta = derive_meta((value_meta,), FLOAT64, target_unit, None)
        meta = ValueMetadata(FLOAT64, constant=True, nullable=False)
        number = Literal(factor, meta=meta)
        if inverse:
            return BinaryOperation("/", number, value, text_offset=node.text_offset, meta=result_meta)
        return BinaryOperation("*", value, number, text_offset=node.text_offset, meta=result_meta)

    def rewrite_vocabulary_match(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """``GAVO_VOCMATCH('product-type', 'image', x)`` becomes ``x IN (the terms)``."""
        name, term = (str(arg.value) if isinstance(arg, Literal) else "" for arg in args[:2])
        terms_by_vocabulary = load_vocabularies()
        if name not in terms_by_vocabulary:
            remedy = suggest_spelling(name, terms_by_vocabulary) or format_message(
                "known: {known}; of others write the terms: x IN ('a', 'b')", ", ".join(terms_by_vocabulary)
            )
            self.raise_bind_error(
                format_message("{name}: no vocabulary {vocabulary!r} here", node.name, name),
                args[0].text_offset,
                remedy,
            )
        term_name = term.removeprefix("#")
        if term_name not in terms_by_vocabulary[name]:
            remedy = suggest_spelling(term_name, terms_by_vocabulary[name]) or format_message(
                "it has {known} ..", ", ".join(list(terms_by_vocabulary[name])[:MAX_NAMED_COLUMNS])
            )
            self.raise_bind_error(
                format_message("{name}: no term {term!r} in the vocabulary {vocabulary}", node.name, term, name),
                args[1].text_offset,
                remedy,
            )
        value = args[2]
        text = ValueMetadata(STRING, constant=True, nullable=False)
        terms = tuple(
            Literal(f"{mark}{item}", meta=text) for item in list_narrower_terms(name, term_name) for mark in ("", "#")
        )
        term_predicate = InPredicate(value, terms, text_offset=node.text_offset, meta=derive_condition_meta(value))
        not_null_predicate = NullPredicate(
            value, negated=True, text_offset=node.text_offset, meta=derive_condition_meta(value)
        )
        true_literal, false_literal = (
            Literal(number, meta=ValueMetadata(INT32, constant=True, nullable=False)) for number in (1, 0)
        )
        meta = derive_meta((require_meta(value),), INT32, None, None)
        return Case(
            None,
            ((term_predicate, true_literal), (not_null_predicate, false_literal)),
            None,
            text_offset=node.text_offset,
            meta=meta,
        )

    def check_delimiter(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """``IVO_STRING_AGG(x, ', ')``: one delimiter for all rows."""
        if not require_meta(args[1]).constant:
            remedy = "write it as a string, or join it to the values: IVO_STRING_AGG(value || delimiter, '')"
            self.raise_bind_error(
                format_message(
                    "{name}: the delimiter is the same in every row, and this one is not", node.name.upper()
                ),
                args[1].text_offset,
                remedy,
            )
        return None

    def check_moc(self, node: FunctionCall, args: list[Expr]) -> Expr | None:  # noqa: ARG002  (one signature for all)
        """``MOC('6/1 2-4')`` and ``MOC(6, geo)``: what is written in place is checked now."""
        first = args[0]
        if not isinstance(first, Literal):
            return None
        if isinstance(first.value, str):
            self.mark_literal_fixed(first)
            try:
                Moc.parse(first.value)
            except ValueError as error:
                self.raise_bind_error(
                    format_message("{name}: {message}", "MOC", error),
                    first.text_offset,
                    "a MOC looks like '6/1 2-4 7/20'",
                )
        elif isinstance(first.value, int) and not 0 <= first.value <= healpix.MAX_ORDER:
            self.raise_bind_error(
                format_message("MOC: there is no order {value}", first.value),
                first.text_offset,
                format_message("orders are 0 to {order}", healpix.MAX_ORDER),
            )
        return None


SPECIAL_BINDERS: dict[str, Callable[[FunctionBinder, FunctionCall, list[Expr]], Expr | None]] = {
    "IN_UNIT": FunctionBinder.rewrite_in_unit,
    "WITHOUT_UNIT": FunctionBinder.rewrite_without_unit,
    "REGION": FunctionBinder.check_region,
    "POINT": FunctionBinder.rewrite_shape,
    "CIRCLE": FunctionBinder.rewrite_shape,
    "BOX": FunctionBinder.rewrite_shape,
    "POLYGON": FunctionBinder.rewrite_shape,
    "DISTANCE": FunctionBinder.rewrite_distance,
    "INTERSECTS": FunctionBinder.rewrite_intersects,
    "COORD1": FunctionBinder.rewrite_coordinate,
    "COORD2": FunctionBinder.rewrite_coordinate,
    "COORDSYS": FunctionBinder.rewrite_coordsys,
    "IVO_GEOM_TRANSFORM": FunctionBinder.check_transform,
    "GAVO_TRANSFORM": FunctionBinder.check_transform,
    "IVO_STRING_AGG": FunctionBinder.check_delimiter,
    "IVO_HISTOGRAM": FunctionBinder.check_histogram,
    "GAVO_HISTOGRAM": FunctionBinder.check_histogram,
    "GAVO_SPECCONV": FunctionBinder.convert_spectral,
    "GAVO_VOCMATCH": FunctionBinder.rewrite_vocabulary_match,
    "MOC": FunctionBinder.check_moc,
    "SPECTRAL_MIN": rewrite_spectral_range,
    "SPECTRAL_MAX": rewrite_spectral_range,
    "SPECTRAL_STEP": rewrite_spectral_step,
    "RESOLVING_POWER": rewrite_resolving_power,
    "ORIENTED": check_word_argument,
    "LONLAT_BOX": check_word_argument,
    "CHAIN_CONTOUR": check_word_argument,
    "CHAIN_AREA": check_word_argument,
    "CHAIN_LINE": check_word_argument,
    "TFCAT_BOUND": check_word_argument,
    "LIST_CONTOUR": check_word_argument,
    "GEOJSON_CONTOUR": check_word_argument,
    "CONTOUR_POLYGON": check_word_argument,
    "CONTOUR_QUALITY": check_word_argument,
    "CONTOUR_MOC": check_word_argument,
    "CONTOUR_FAULT": check_word_argument,
    "CONTOUR_BOUND": check_word_argument,
    "PLANETOCENTRIC": check_body_argument,
}


def _derive_result_type(signature: Signature, args: Sequence[Expr]) -> Type:
    """Derive the type of a result that depends on the arguments."""
    if signature.result in {"SUM", "TOTAL"}:
        return INT64 if Type(require_meta(args[0]).type.datatype).is_integer else FLOAT64
    if signature.result == "ELEMENT":
        return Type(require_meta(args[0]).type.datatype)
    if classify_value(args[0]) != "null":
        return require_meta(args[0]).type
    if signature.parameters[0].type_word == "NUMERIC":
        return FLOAT64
    return STRING


def _describe_accepted(type_word: str) -> str:
    if type_word == "ORDERED":
        return format_message("a number, a string or a timestamp")
    return value_kinds.KIND_PHRASES[
        {"GEOMETRY": "geometry", "TIMESTAMP": "time"}.get(type_word) or next(iter(ACCEPTED_KINDS[type_word]))
    ]
