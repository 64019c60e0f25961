"""Bind function calls: choose the signature, derive the result, and rewrite the functions that need no engine."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NoReturn

from hven.adql import value_kinds
from hven.adql._foreign_functions import FOREIGN_FUNCTION_REMEDIES
from hven.adql._function_syntax import is_null_coordsys_argument
from hven.adql._query_limits import TEXT_FUNCTIONS
from hven.adql._type_checker import TypeChecker
from hven.adql._unit_functions import (
    check_allowed_word_argument,
    check_planet_body_argument,
    convert_argument_units,
    rewrite_resolving_power,
    rewrite_spectral_bound,
    rewrite_spectral_step,
)
from hven.adql.functions import (
    NAME_RESOLVING_FUNCTIONS,
    WINDOW_FUNCTIONS,
)
from hven.adql.scope import MAX_NAMED_COLUMNS, NameScope
from hven.adql.signatures import (
    ACCEPTED_KINDS,
    NUMBER_ARRAY_KINDS,
    FunctionDefinition,
    FunctionParameter,
    FunctionSignature,
)
from hven.adql.syntax_tree import (
    BinaryOperation,
    CaseExpression,
    CastExpression,
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
from hven.adql.vocabularies import list_term_and_narrower_terms, load_vocabularies
from hven.model import units
from hven.model.errors import BindError, UserError, format_message, join_messages, suggest_spelling
from hven.model.shape_columns import explain_invalid_region_literal
from hven.model.sky import Moc, frames, healpix
from hven.model.types import CIRCLE, FLOAT64, INT32, INT64, POINT, POLYGON, STRING, TIMESTAMP, ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


MAX_HISTOGRAM_BINS = 100_000

# type word of a parameter -> the type that a NULL is cast to, since engines choose functions by type
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
    "ARRAY": ("DOUBLE PRECISION[]", ColumnType("double", "*")),
}


class FunctionBinder(TypeChecker, ABC):
    """Binds function calls."""

    @abstractmethod
    def bind_expression(self, node: Expr, scope: NameScope) -> Expr:
        """Bind an argument."""

    def bind_function_call(self, node: FunctionCall, scope: NameScope) -> Expr:
        """Bind a call: find the function, choose the signature, and derive the result."""
        name = node.name.upper()
        entry = self.functions.find_function(name)
        if entry is None and name in NAME_RESOLVING_FUNCTIONS:
            return self.rewrite_object_name_as_point(node, scope)
        if entry is None or (name in WINDOW_FUNCTIONS and not entry.mapping):
            self._raise_unknown_function(node)
        if entry.aggregate:
            return self.bind_aggregate(node, entry, scope)
        if entry.name == "HEADER" and len(node.args) == 1:
            card_literal = node.args[0]
            if isinstance(card_literal, Literal) and isinstance(card_literal.value, str):
                return self.bind_header_card(card_literal.value, node.text_offset, scope)
        self.check_no_distinct_or_star(node, name)
        self.volatile = self.volatile or entry.volatile
        if name in TEXT_FUNCTIONS:
            self.count_and_limit_text_operations(node.text_offset)
        args = [self.bind_expression(arg, scope) for arg in node.args]
        return self.bind_call_signature(node, entry, args)

    def _raise_unknown_function(self, node: FunctionCall) -> NoReturn:
        """Refuse a function that this service does not have, or that needs OVER."""
        name = node.name.upper()
        if name in WINDOW_FUNCTIONS:
            message = format_message("{name} is a window function and needs OVER", name)
            window_remedy = format_message("write {name}(..) OVER (ORDER BY ..)", name)
            self.raise_bind_error(message, node.text_offset, window_remedy)
        remedy = FOREIGN_FUNCTION_REMEDIES.get(name, "")
        remedy = remedy or suggest_spelling(name, self.functions.names, min_similarity=0.75)
        remedy = remedy or "see the functions of this service in /tap/capabilities"
        self.raise_bind_error(format_message("no function {name}", node.name), node.text_offset, remedy)

    def check_no_distinct_or_star(self, node: FunctionCall, function_name: str) -> None:
        """Refuse DISTINCT and * in a call of a function that is not an aggregate."""
        if node.distinct or node.star:
            quantifier = "DISTINCT" if node.distinct else "*"
            message = format_message(
                "{what} is allowed only in aggregate functions, but {name} is not an aggregate function",
                quantifier,
                function_name,
            )
            self.raise_bind_error(message, node.text_offset)

    def bind_header_card(self, card_name: str, text_offset: int, scope: NameScope) -> Expr:
        """Bind ``header('DATE-OBS')`` to the column with exactly this name."""
        card_column = ColumnRef(Ident(card_name, quoted=True), text_offset=text_offset)
        try:
            return scope.resolve_column(card_column, self.text)
        except BindError as error:
            remedy_message = format_message(error.remedy)  # it quotes a name, which stands in a string here
            template = remedy_message.template.replace('"', "'")
            values = [value.replace('"', "'") for value in remedy_message.values.values()]
            self.raise_bind_error(error.message, text_offset, format_message(template, *values))

    def bind_aggregate(self, node: FunctionCall, entry: FunctionDefinition, scope: NameScope) -> Expr:
        """Bind an aggregate; refuse it in WHERE, ON and GROUP BY, and inside another aggregate."""
        if self.clause not in {"SELECT", "HAVING", "ORDER BY", "a window"}:
            message = format_message(
                "{name} is an aggregate function and is not allowed in {clause}", entry.name, self.clause
            )
            remedy = "use HAVING" if self.clause == "WHERE" else ""
            self.raise_bind_error(message, node.text_offset, remedy)
        if node.star:
            if entry.name != "COUNT":
                message = format_message("{name}(*) has no meaning", entry.name)
                self.raise_bind_error(message, node.text_offset, "use * only in COUNT")
            meta = ValueMetadata(INT64, None, "meta.number", nullable=False, aggregate=True)
            return FunctionCall("COUNT", star=True, text_offset=node.text_offset, meta=meta)
        clause = self.clause
        self.clause = format_message("the argument of {name}", entry.name)
        args = [self.bind_expression(arg, scope) for arg in node.args]
        self.clause = clause
        self.check_aggregate_reads_own_scope(node, args, scope)
        return self.bind_call_signature(node, entry, args)

    def check_aggregate_reads_own_scope(self, node: FunctionCall, args: Sequence[Expr], scope: NameScope) -> None:
        """Refuse an aggregate in a subquery that reads only columns of the outer query.

        By the SQL standard, such an aggregate would belong to the outer query.
        """
        read_sources = {child.source for child in walk_tree(tuple(args)) if isinstance(child, ColumnRef)}
        own_sources = {source.number for source in scope.visible_columns.sources}
        outer_sources: set[int] = set()
        outer_scope = scope.outer_scope
        while outer_scope is not None:
            outer_sources |= {source.number for source in outer_scope.visible_columns.sources}
            outer_scope = outer_scope.outer_scope
        if read_sources & outer_sources and not read_sources & own_sources:
            function_name = node.name.upper()
            message = format_message("{name} in this subquery uses only columns of the outer query", function_name)
            remedy = "move the function to the outer query, or use a column of this subquery as its argument"
            self.raise_bind_error(message, node.text_offset, remedy)

    def bind_call_signature(self, node: FunctionCall, entry: FunctionDefinition, args: list[Expr]) -> Expr:
        """Choose the signature of a call, and derive the metadata of its result."""
        if args and classify_value(args[0]) == "null":
            is_point = [classify_value(arg) == "point" for arg in args]
            if is_null_coordsys_argument(entry.name, len(args), is_point):
                args = args[1:]
        signature = self._choose_signature(node, entry, args)
        for index, arg in enumerate(args):
            args[index] = self._convert_argument(arg, signature.get_argument_parameter(index))
        args = convert_argument_units(self, node, signature, args)
        if entry.words:
            check_allowed_word_argument(self, entry, args)
        bind_special = SPECIAL_BINDERS.get(entry.name)
        if bind_special is not None:
            rewritten = bind_special(self, node, args)
            if rewritten is not None:
                return rewritten
        result_type = signature.type
        if result_type is None and signature.result == "COMMON":
            args, result_type = self.unify_types(args, entry.name)
        elif result_type is None:
            result_type = _derive_result_type(signature, args)
        result_meta = self._derive_result_meta(entry, args, result_type)
        return FunctionCall(
            entry.name,
            tuple(args),
            node.distinct,
            order_independent=self.order_independent and entry.aggregate,
            text_offset=node.text_offset,
            meta=result_meta,
        )

    def _choose_signature(self, node: FunctionCall, entry: FunctionDefinition, args: list[Expr]) -> FunctionSignature:
        """Choose the first signature that the arguments fit; raise an error if they fit none."""
        reason = ""
        for candidate in entry.signatures:
            mismatch = self.explain_signature_mismatch(candidate, args)
            if mismatch is None:
                return candidate
            reason = reason or mismatch
        return self.raise_signature_error(node, entry, args, reason)

    def _convert_argument(self, arg: Expr, parameter: FunctionParameter) -> Expr:
        """Cast NULL to the type of its parameter, and convert strings to times."""
        if parameter.must_be_literal and isinstance(arg, Literal):
            self.mark_literal_fixed(arg)
        kind = classify_value(arg)
        if kind == "null" and parameter.type_word in _NULL_CASTS:
            target, type_ = _NULL_CASTS[parameter.type_word]
            meta = ValueMetadata(type_, constant=True)
            return CastExpression(arg, target, text_offset=arg.text_offset, meta=meta)
        if kind != "text" or parameter.type_word != "TIMESTAMP":
            return arg
        if isinstance(arg, Literal):
            return self.convert_constant_text_to_time(arg)
        text_meta = require_meta(arg)
        time_meta = derive_meta((text_meta,), TIMESTAMP, None, text_meta.ucd)
        return CastExpression(arg, "TIMESTAMP", text_offset=arg.text_offset, meta=time_meta)

    def _derive_result_meta(
        self, entry: FunctionDefinition, args: Sequence[Expr], result_type: ColumnType
    ) -> ValueMetadata:
        """Derive the unit, UCD and further metadata of the result of a call."""
        argument_metas = tuple(require_meta(arg) for arg in args)
        first_meta: ValueMetadata | None = None
        first_unit: str | None = None
        if argument_metas:
            first_meta = argument_metas[0]
            first_unit = first_meta.unit
        unit = entry.unit or None
        if entry.unit == "same":
            unit = first_unit
        if entry.name in {"POWER", "SQRT"} and first_unit:
            exponent = 0.5
            if entry.name != "SQRT":
                exponent = self.mark_exponent_fixed(args[1])
            unit = units.raise_unit_to_power(first_unit, exponent)
        ucd = derive_result_ucd(entry.ucd, first_meta)
        meta = derive_meta(argument_metas, result_type, unit, ucd)
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

    def explain_signature_mismatch(self, signature: FunctionSignature, args: Sequence[Expr]) -> str | None:
        """Return why arguments do not fit a signature (``count``, or a message), or None if they fit."""
        max_count = signature.max_argument_count
        if len(args) < signature.min_argument_count or (max_count is not None and len(args) > max_count):
            return "count"
        for index, arg in enumerate(args):
            parameter = signature.get_argument_parameter(index)
            if parameter.must_be_literal and not isinstance(arg, Literal):
                return format_message(
                    "argument {number} ({name}) must be written as a literal", index + 1, parameter.name
                )
            if not _is_argument_accepted(arg, parameter):
                return format_message(
                    "argument {number} ({name}) must be {wanted}, but {value}",
                    index + 1,
                    parameter.name,
                    _describe_accepted_values(parameter.type_word),
                    self.describe_expression(arg),
                )
        return None

    def raise_signature_error(
        self, node: FunctionCall, entry: FunctionDefinition, args: Sequence[Expr], reason: str
    ) -> NoReturn:
        """Refuse a call whose arguments fit no signature, and show how the function is called."""
        signatures = [signature for signature in entry.signatures if "coordsys" not in signature.text]
        signatures = signatures or list(entry.signatures)
        call_forms = dict.fromkeys(signature.text.partition(" ->")[0] for signature in signatures)
        remedy = format_message("write {shown}", join_messages("{one} or {other}", call_forms))
        mismatches = [self.explain_signature_mismatch(signature, args) for signature in signatures]
        for mismatch in (*mismatches, reason):
            if mismatch and mismatch != "count":
                message = format_message("{name}: {message}", entry.name, mismatch)
                self.raise_bind_error(message, node.text_offset, remedy)
        expected_counts = _describe_argument_counts(signatures)
        if expected_counts in {"1", "at least 1"}:
            template = "{name} takes {wants} argument, but {given}"
        else:
            template = "{name} takes {wants} arguments, but {given}"
        message = format_message(template, entry.name, expected_counts, self.describe_argument_count(args))
        self.raise_bind_error(message, node.text_offset, remedy)

    # --- functions with a binder of their own

    def rewrite_in_unit_as_product(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """Rewrite ``IN_UNIT(x, 'unit')`` as a product with the conversion factor (ADQL 2.1 section 4.7)."""
        value, target = args
        value_meta = require_meta(value)
        if value_meta.unit is None:
            message = format_message("IN_UNIT: {value} without a unit", self.describe_expression(value))
            self.raise_bind_error(message, node.text_offset, "convert a column that has a unit")
        target_unit = _get_literal_text(target)
        try:
            factor = units.compute_unit_factor(value_meta.unit, target_unit)
        except ValueError as error:
            standard_spelling = units.find_unit_symbol(target_unit)
            if standard_spelling and units.are_units_convertible(value_meta.unit, standard_spelling):
                remedy = format_message("write {unit!r}", standard_spelling)
            else:
                remedy = format_message("write a VOUnits unit that is compatible with {unit}", value_meta.unit)
            self.raise_bind_error(format_message("{name}: {message}", "IN_UNIT", error), target.text_offset, remedy)
        # descriptors may use other spellings of a unit, but the standard of ADQL asks for those of VOUnits
        standard_unit = units.find_unit_symbol(target_unit) or units.canonicalize_unit(target_unit)
        if standard_unit != target_unit:
            message = format_message("IN_UNIT: {wanted!r} is not the VOUnits spelling of this unit", target_unit)
            self.raise_bind_error(message, target.text_offset, format_message("write {unit!r}", standard_unit))
        meta = derive_meta((value_meta,), FLOAT64, target_unit, value_meta.ucd)
        if factor == 1:
            return CastExpression(value, "DOUBLE PRECISION", text_offset=node.text_offset, meta=meta)
        factor_literal = Literal(factor, meta=ValueMetadata(FLOAT64, constant=True, nullable=False))
        return BinaryOperation("*", value, factor_literal, text_offset=node.text_offset, meta=meta)

    def mark_exponent_fixed(self, arg: Expr) -> float:
        """Return the value of a number literal, or NaN: the unit of a power is part of the query's shape."""
        sign, number = _split_sign(arg)
        if not isinstance(number, Literal) or isinstance(number.value, bool | str) or number.value is None:
            return math.nan
        self.mark_literal_fixed(number)
        return sign * float(number.value)

    def rewrite_without_unit_as_cast(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """Rewrite ``WITHOUT_UNIT(x)`` as x."""
        value = args[0]
        value_meta = require_meta(value)
        meta = derive_meta((value_meta,), FLOAT64, None, value_meta.ucd)
        return CastExpression(value, "DOUBLE PRECISION", text_offset=node.text_offset, meta=meta)

    def normalize_shape_call(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Remove the coordinate system of a shape, and replace each POINT call in it by its two numbers."""
        if args and classify_value(args[0]) == "text":
            args = args[1:]
        coordinates: list[Expr] = []
        for arg in args:
            if isinstance(arg, FunctionCall) and arg.name == "POINT":
                coordinates.extend(arg.args)
            else:
                coordinates.append(arg)
        name = node.name.upper()
        if name == "POLYGON":
            if not all(classify_value(arg) in {"number", "null"} for arg in coordinates):
                coordinates = args  # some corners are point values: the others must stay points too
            elif len(coordinates) % 2:
                message = format_message("POLYGON has an odd number of coordinates ({count})", len(coordinates))
                self.raise_bind_error(message, node.text_offset, "give the longitude and latitude of each corner")
        if len(coordinates) >= 2 and all(classify_value(arg) != "point" for arg in coordinates):
            self._check_coordinate_bounds(name, coordinates)
        type_ = {"POINT": POINT, "CIRCLE": CIRCLE, "BOX": POLYGON, "POLYGON": POLYGON}[name]
        ucd = "pos.eq" if name == "POINT" else None
        coordinate_metas = [require_meta(coordinate) for coordinate in coordinates]
        meta = derive_meta(coordinate_metas, type_, "deg", ucd)
        return FunctionCall(name, tuple(coordinates), text_offset=node.text_offset, meta=meta)

    def _check_coordinate_bounds(self, shape_name: str, coordinates: list[Expr]) -> None:
        """Check the latitudes of a shape, and the radius of a circle."""
        latitudes = coordinates[1::2]
        if shape_name in {"CIRCLE", "BOX"}:
            latitudes = coordinates[1:2]
        latitude_name = format_message("the latitude of a {name}", shape_name)
        for latitude in latitudes:
            self.check_and_record_literal_bounds(
                latitude, -90.0, 90.0, latitude_name, "give a latitude from -90 to 90 degrees"
            )
        if shape_name == "CIRCLE" and len(coordinates) == 3:
            radius_name = format_message("the radius of a CIRCLE")
            self.check_and_record_literal_bounds(
                coordinates[2], 0.0, math.inf, radius_name, "give a radius of 0 or more, in degrees"
            )

    def check_region_literal(self, _node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Check the literal of REGION; its text is part of the query's shape."""
        literal = args[0]
        if isinstance(literal, Literal) and isinstance(literal.value, str):
            reason = explain_invalid_region_literal(literal.value)
            if reason:
                message = format_message("{text!r:.80} is not a region: {reason}", literal.value, reason)
                remedy = "write CIRCLE ICRS 10 20 0.5, POLYGON ICRS 1 1 2 1 2 2, or POLYGON 1 1 2 1 2 2"
                self.raise_bind_error(message, literal.text_offset, remedy)
            self.mark_literal_fixed(literal)
        return None

    def check_and_record_literal_bounds(
        self, arg: Expr, minimum: float, maximum: float, quantity_name: str, remedy: str
    ) -> None:
        """Refuse a number literal outside of its bounds; a plan can be reused with other values within them."""
        sign, number = _split_sign(arg)
        if not isinstance(number, Literal):
            return
        if isinstance(number.value, bool) or not isinstance(number.value, int | float):
            return
        signed_value = sign * number.value
        if not minimum <= signed_value <= maximum:
            message = format_message("{name} cannot be {value}", quantity_name, signed_value)
            self.raise_bind_error(message, arg.text_offset, remedy)
        if number.slot >= 0:
            if sign < 0:  # the slot holds the number without its sign
                minimum, maximum = -maximum, -minimum
            self.slot_bounds.append((number.slot, minimum, maximum))

    def flatten_distance_arguments(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Replace the POINT calls in ``DISTANCE(POINT(..), POINT(..))`` by their numbers."""
        point_calls = [arg for arg in args if isinstance(arg, FunctionCall) and arg.name == "POINT"]
        if len(point_calls) == len(args):
            args = [coordinate for point_call in point_calls for coordinate in point_call.args]
        argument_metas = [require_meta(arg) for arg in args]
        meta = derive_meta(argument_metas, FLOAT64, "deg", "pos.angDistance")
        return FunctionCall("DISTANCE", tuple(args), text_offset=node.text_offset, meta=meta)

    def rewrite_intersects_as_contains(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Rewrite INTERSECTS with a point as CONTAINS (ADQL 2.1 section 4.2.14)."""
        first, second = args[:2]
        meta = derive_meta((require_meta(first), require_meta(second)), INT32, None, None)
        if classify_value(first) == "point":
            return FunctionCall("CONTAINS", tuple(args), text_offset=node.text_offset, meta=meta)
        if classify_value(second) == "point":
            return FunctionCall("CONTAINS", (second, first), text_offset=node.text_offset, meta=meta)
        return None

    def unwrap_point_coordinate(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Rewrite ``COORD1(POINT(a, b))`` as a, and ``COORD2(POINT(a, b))`` as b."""
        point = args[0]
        if not isinstance(point, FunctionCall) or point.name != "POINT":
            return None
        coordinate = point.args[0 if node.name.upper() == "COORD1" else 1]
        coordinate_meta = require_meta(coordinate)
        meta = derive_meta((coordinate_meta,), FLOAT64, coordinate_meta.unit or "deg", coordinate_meta.ucd)
        return CastExpression(coordinate, "DOUBLE PRECISION", text_offset=node.text_offset, meta=meta)

    def rewrite_coordsys_as_literal(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Rewrite COORDSYS as a literal, since the coordinate system does not depend on the row."""
        system = _find_written_coordsys(node.args[0])
        column = require_meta(args[0]).column
        if system is None and column is not None and column.frame:
            tables_of_column = [table for table in self.tables.values() if column in table.columns]
            frames_of_tables = [frame for table in tables_of_column for frame in table.frames]
            systems = {frame.system for frame in frames_of_tables if frame.id == column.frame}
            if len(systems) == 1:
                system = systems.pop()
        meta = ValueMetadata(STRING, constant=True, nullable=False)
        return Literal(system or "UNKNOWNFRAME", text_offset=node.text_offset, meta=meta)

    def rewrite_object_name_as_point(self, node: FunctionCall, scope: NameScope) -> Expr:
        """Rewrite ``IVO_SIMBADPOINT('M 31')`` as a POINT of two numbers, so that the position index can be used."""
        name = node.name.upper()
        if self.resolve_position is None:
            message = format_message("{name}: this site does not resolve object names", name)
            self.raise_bind_error(message, node.text_offset, "give the position: POINT(ra, dec)")
        args = [self.bind_expression(arg, scope) for arg in node.args]
        if len(args) == 1 and not isinstance(args[0], Literal) and classify_value(args[0]) in {"text", "null"}:
            message = format_message(
                "{name} is computed once, before the query runs, so its argument must be a literal", name
            )
            remedy = format_message(
                "write one name in quotes: {name}('M 31'); for many objects, upload a table of their positions, and "
                "join the table",
                name,
            )
            self.raise_bind_error(message, node.text_offset, remedy)
        entry = NAME_RESOLVING_FUNCTIONS[name]
        mismatch = self.explain_signature_mismatch(entry.signatures[0], args)
        if mismatch is not None or node.distinct or node.star:
            self.raise_signature_error(node, entry, args, mismatch or "")
        name_argument = args[0]
        object_name = ""
        if isinstance(name_argument, Literal):
            object_name = str(self.mark_literal_fixed(name_argument))
        try:
            position = self.resolve_position(object_name)
        except UserError as error:
            message = format_message("{name}: {message}", name, error.message)
            self.raise_bind_error(message, name_argument.text_offset, error.remedy)
        # the position of a name may change, so no cache may keep the answer by the query's text
        self.volatile = True
        coordinate_meta = ValueMetadata(FLOAT64, "deg", constant=True, nullable=False)
        coordinates: list[Expr] = [
            Literal(coordinate, text_offset=name_argument.text_offset, meta=coordinate_meta) for coordinate in position
        ]
        point_call = FunctionCall("POINT", text_offset=node.text_offset)
        return self.normalize_shape_call(point_call, coordinates) or point_call

    def check_transform_frames(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Check the frames of ``IVO_GEOM_TRANSFORM('ICRS', 'GALACTIC', geo)``, in the vocabulary's case."""
        for arg in args[:2]:
            frame_name = None
            if isinstance(arg, Literal):
                frame_name = arg.value
            if frame_name not in frames.ROTATION_FRAMES:
                message = format_message("{name}: {frame!r} is not a known frame", node.name, frame_name)
                remedy = suggest_spelling(str(frame_name), frames.ROTATION_FRAMES)
                remedy = remedy or format_message("use one of {names}", ", ".join(frames.ROTATION_FRAMES))
                self.raise_bind_error(message, arg.text_offset, remedy)
        return None

    def check_histogram_arguments(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Check ``IVO_HISTOGRAM(x, 0, 10, 5)``: bounds that are the same in every row, and the number of bins."""
        for bound in args[1:3]:
            if not require_meta(bound).constant:
                message = format_message(
                    "{name}: the bounds must be the same in every row, but this bound depends on the row", node.name
                )
                self.raise_bind_error(message, bound.text_offset)
        bin_argument = args[3]
        bin_count = None
        if isinstance(bin_argument, Literal):
            bin_count = bin_argument.value
        if not isinstance(bin_count, int) or not 1 <= bin_count <= MAX_HISTOGRAM_BINS:
            message = format_message("{name}: the number of bins cannot be {number}", node.name, bin_count)
            self.raise_bind_error(
                message, bin_argument.text_offset, format_message("use 1 to {most} bins", MAX_HISTOGRAM_BINS)
            )
        return None

    def convert_spectral_unit(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """Rewrite ``GAVO_SPECCONV(x, ['from',] 'to')`` as a product or a quotient with one factor."""
        value = args[0]
        target = args[-1]
        value_meta = require_meta(value)
        source_unit: object = value_meta.unit
        if len(args) == 3 and isinstance(args[1], Literal):
            source_unit = args[1].value
        if source_unit is None:
            message = format_message("{name}: {value} without a unit", node.name, self.describe_expression(value))
            self.raise_bind_error(message, node.text_offset, "give the unit: GAVO_SPECCONV(x, 'nm', 'GHz')")
        target_unit = _get_literal_text(target)
        try:
            factor, is_inverse = units.compute_spectral_conversion(str(source_unit), target_unit)
        except ValueError as error:
            self.raise_bind_error(format_message("{name}: {message}", node.name, error), target.text_offset)
        meta = derive_meta((value_meta,), FLOAT64, target_unit, None)
        factor_literal = Literal(factor, meta=ValueMetadata(FLOAT64, constant=True, nullable=False))
        if is_inverse:
            return BinaryOperation("/", factor_literal, value, text_offset=node.text_offset, meta=meta)
        return BinaryOperation("*", value, factor_literal, text_offset=node.text_offset, meta=meta)

    def rewrite_vocabulary_match_as_in(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """Rewrite ``GAVO_VOCMATCH('product-type', 'image', x)`` as 1 or 0 by ``x IN (the term and narrower ones)``."""
        vocabulary_argument, term_argument, value = args
        vocabulary = _get_literal_text(vocabulary_argument)
        terms_by_vocabulary = load_vocabularies()
        if vocabulary not in terms_by_vocabulary:
            message = format_message("{name}: this site has no vocabulary {vocabulary!r}", node.name, vocabulary)
            remedy = suggest_spelling(vocabulary, terms_by_vocabulary) or format_message(
                "use one of {known}; for another vocabulary, write its terms: x IN ('a', 'b')",
                ", ".join(terms_by_vocabulary),
            )
            self.raise_bind_error(message, vocabulary_argument.text_offset, remedy)
        written_term = _get_literal_text(term_argument)
        term = written_term.removeprefix("#")
        known_terms = terms_by_vocabulary[vocabulary]
        if term not in known_terms:
            message = format_message(
                "{name}: the vocabulary {vocabulary} has no term {term!r}", node.name, vocabulary, written_term
            )
            first_terms = ", ".join(list(known_terms)[:MAX_NAMED_COLUMNS])
            remedy = suggest_spelling(term, known_terms) or format_message(
                "use one of its terms, such as {known}", first_terms
            )
            self.raise_bind_error(message, term_argument.text_offset, remedy)
        text_meta = ValueMetadata(STRING, constant=True, nullable=False)
        term_literals: list[Literal] = []
        for narrower_term in list_term_and_narrower_terms(vocabulary, term):
            term_literals.append(Literal(narrower_term, meta=text_meta))
            term_literals.append(Literal(f"#{narrower_term}", meta=text_meta))
        condition_meta = derive_condition_meta(value)
        is_term = InPredicate(value, tuple(term_literals), text_offset=node.text_offset, meta=condition_meta)
        is_not_null = NullPredicate(value, negated=True, text_offset=node.text_offset, meta=condition_meta)
        number_meta = ValueMetadata(INT32, constant=True, nullable=False)
        whens = ((is_term, Literal(1, meta=number_meta)), (is_not_null, Literal(0, meta=number_meta)))
        meta = derive_meta((require_meta(value),), INT32, None, None)
        return CaseExpression(None, whens, None, text_offset=node.text_offset, meta=meta)

    def check_aggregate_delimiter(self, node: FunctionCall, args: list[Expr]) -> Expr | None:
        """Check the delimiter of ``IVO_STRING_AGG(x, ', ')``: it must be the same in every row."""
        delimiter = args[1]
        if not require_meta(delimiter).constant:
            message = format_message(
                "{name}: the delimiter must be the same in every row, but it depends on the row", node.name.upper()
            )
            remedy = "write the delimiter as a string, or join it to the values: IVO_STRING_AGG(value || delimiter, '')"
            self.raise_bind_error(message, delimiter.text_offset, remedy)
        return None

    def check_moc_argument(self, node: FunctionCall, args: list[Expr]) -> Expr | None:  # noqa: ARG002
        """Check the literal in ``MOC('6/1 2-4')`` or the order in ``MOC(6, geo)``."""
        literal = args[0]
        if not isinstance(literal, Literal):
            return None
        if isinstance(literal.value, str):
            self.mark_literal_fixed(literal)
            try:
                Moc.parse(literal.value)
            except ValueError as error:
                message = format_message("{name}: {message}", "MOC", error)
                self.raise_bind_error(message, literal.text_offset, "write a MOC such as '6/1 2-4 7/20'")
        elif isinstance(literal.value, int) and not 0 <= literal.value <= healpix.MAX_ORDER:
            message = format_message("MOC: {value} is not a valid order", literal.value)
            remedy = format_message("use an order from 0 to {order}", healpix.MAX_ORDER)
            self.raise_bind_error(message, literal.text_offset, remedy)
        return None


SPECIAL_BINDERS: dict[str, Callable[[FunctionBinder, FunctionCall, list[Expr]], Expr | None]] = {
    "IN_UNIT": FunctionBinder.rewrite_in_unit_as_product,
    "WITHOUT_UNIT": FunctionBinder.rewrite_without_unit_as_cast,
    "REGION": FunctionBinder.check_region_literal,
    "POINT": FunctionBinder.normalize_shape_call,
    "CIRCLE": FunctionBinder.normalize_shape_call,
    "BOX": FunctionBinder.normalize_shape_call,
    "POLYGON": FunctionBinder.normalize_shape_call,
    "DISTANCE": FunctionBinder.flatten_distance_arguments,
    "INTERSECTS": FunctionBinder.rewrite_intersects_as_contains,
    "COORD1": FunctionBinder.unwrap_point_coordinate,
    "COORD2": FunctionBinder.unwrap_point_coordinate,
    "COORDSYS": FunctionBinder.rewrite_coordsys_as_literal,
    "IVO_GEOM_TRANSFORM": FunctionBinder.check_transform_frames,
    "GAVO_TRANSFORM": FunctionBinder.check_transform_frames,
    "IVO_STRING_AGG": FunctionBinder.check_aggregate_delimiter,
    "IVO_HISTOGRAM": FunctionBinder.check_histogram_arguments,
    "GAVO_HISTOGRAM": FunctionBinder.check_histogram_arguments,
    "GAVO_SPECCONV": FunctionBinder.convert_spectral_unit,
    "GAVO_VOCMATCH": FunctionBinder.rewrite_vocabulary_match_as_in,
    "MOC": FunctionBinder.check_moc_argument,
    "SPECTRAL_MIN": rewrite_spectral_bound,
    "SPECTRAL_MAX": rewrite_spectral_bound,
    "SPECTRAL_STEP": rewrite_spectral_step,
    "RESOLVING_POWER": rewrite_resolving_power,
    "PLANETOCENTRIC": check_planet_body_argument,
}


def _derive_result_type(signature: FunctionSignature, args: Sequence[Expr]) -> ColumnType:
    """Derive the type of a result that depends on the first argument."""
    first_type = require_meta(args[0]).type
    if signature.result in {"SUM", "TOTAL"}:
        if ColumnType(first_type.datatype).is_integer:
            return INT64
        return FLOAT64
    if signature.result == "ELEMENT":
        return ColumnType(first_type.datatype)
    if classify_value(args[0]) != "null":
        return first_type
    if signature.parameters[0].type_word == "NUMERIC":
        return FLOAT64
    return STRING


def _is_argument_accepted(arg: Expr, parameter: FunctionParameter) -> bool:
    """Return whether a parameter takes an argument of this kind."""
    actual_kind = classify_value(arg)
    accepted_kinds = ACCEPTED_KINDS[parameter.type_word]
    if actual_kind in accepted_kinds or "any" in accepted_kinds:
        return True
    if actual_kind == "null":
        return not parameter.must_be_literal
    if "numbers" in accepted_kinds and actual_kind in NUMBER_ARRAY_KINDS:
        return require_meta(arg).type.scalar_type.rank > 0
    if "integer" in accepted_kinds and actual_kind == "number":
        return require_meta(arg).type.is_integer
    return False


def _describe_accepted_values(type_word: str) -> str:
    """Return a phrase for the values that a parameter takes."""
    if type_word == "ORDERED":
        return format_message("a number, a string or a timestamp")
    kind = {"GEOMETRY": "geometry", "TIMESTAMP": "time"}.get(type_word)
    if kind is None:
        kind = next(iter(ACCEPTED_KINDS[type_word]))
    return value_kinds.KIND_PHRASES[kind]


def _describe_argument_counts(signatures: Sequence[FunctionSignature]) -> str:
    """Return a phrase for the numbers of arguments that some signatures take: ``2 or 3``, ``at least 1``."""
    counts: set[int] = set()
    for signature in signatures:
        min_count = signature.min_argument_count
        max_count = signature.max_argument_count or min_count
        counts.update(range(min_count, max_count + 1))
    if any(signature.max_argument_count is None for signature in signatures):
        return format_message("at least {count}", min(counts))
    return join_messages("{one} or {other}", map(str, sorted(counts)))


def _split_sign(arg: Expr) -> tuple[int, Expr]:
    """Split ``-x`` into -1 and x; the sign of other values is 1."""
    if isinstance(arg, UnaryOperation) and arg.op == "-":
        return -1, arg.operand
    return 1, arg


def _get_literal_text(arg: Expr) -> str:
    """Return the value of a literal as a text; empty for other arguments."""
    if isinstance(arg, Literal):
        return str(arg.value)
    return ""


def _find_written_coordsys(shape: Expr) -> str | None:
    """Return the coordinate system that the call of a shape names as its first argument, if there is one."""
    if not isinstance(shape, FunctionCall) or not shape.args:
        return None
    coordsys = shape.args[0]
    if isinstance(coordsys, Literal) and isinstance(coordsys.value, str):
        return coordsys.value
    return None
