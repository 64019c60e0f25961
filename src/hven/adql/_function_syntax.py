"""Check calls of ADQL's own functions against the grammar: the number and the kinds of their arguments.

This module uses only what the text of the query shows (ADQL 2.1 BNF). The binder checks what depends on the type of a
column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hven.adql.functions import STANDARD_FUNCTIONS
from hven.adql.syntax_tree import (
    ArrayElement,
    BinaryOperation,
    CaseExpression,
    CastExpression,
    ColumnRef,
    Expr,
    FunctionCall,
    Literal,
    UnaryOperation,
)
from hven.model.errors import format_message, join_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql.signatures import FunctionSignature

# what find_call_fault returns: message, the wrong argument (None: their number is wrong), remedy
CallFault = tuple[str, Expr | None, str]

# number of arguments if all are coordinates, and the possible numbers if points stand in place of pairs of coordinates
_SHAPE_ARGUMENT_COUNTS: Final[dict[str, tuple[int, tuple[int, ...]]]] = {
    "POINT": (2, ()),
    "CIRCLE": (3, (2,)),
    "BOX": (4, (3,)),
    "POLYGON": (6, ()),
    "DISTANCE": (4, (2,)),
}

AGGREGATE_NAMES: Final = frozenset(entry.name for entry in STANDARD_FUNCTIONS if entry.aggregate)

#: Reserved words that are function names.
STANDARD_FUNCTION_NAMES: Final = frozenset(entry.name for entry in STANDARD_FUNCTIONS)

#: Functions of SQL-92 whose names ADQL reserves without having the functions. Mapping expressions can call them.
SQL_FUNCTION_NAMES: Final = frozenset(
    (
        "SUBSTRING",
        "TRIM",
        "NULLIF",
        "CHAR_LENGTH",
        "CHARACTER_LENGTH",
        "OCTET_LENGTH",
        "POSITION",
        "TRANSLATE",
        "LEFT",
        "RIGHT",
        "DATE",
        "TIME",
        "TIMESTAMP",
        "YEAR",
        "MONTH",
        "DAY",
        "HOUR",
        "MINUTE",
        "SECOND",
    )
)

_PLAIN_FUNCTIONS: Final = [entry for entry in STANDARD_FUNCTIONS if entry.group not in {"aggregate", "conditional"}]
# a letter stands for a kind of value: `_LETTER_NAMES` has their names
_TYPE_LETTERS: Final = {"NUMERIC": "n", "INTEGER": "i", "TEXT": "s", "GEOMETRY": "g", "POINT": "g"}
_RESULT_TYPE_LETTERS: Final = {"TEXT": "s", "POINT": "g", "CIRCLE": "g", "POLYGON": "g", "REGION": "g"}


def _encode_parameter_kinds(signature: FunctionSignature) -> str:
    """Return the letters of the parameters; a question mark stands before an optional one."""
    letters: list[str] = []
    for parameter in signature.parameters:
        if parameter.must_be_literal:
            letter = "l"
        else:
            letter = _TYPE_LETTERS[parameter.type_word]
        letters.append(f"?{letter}" if parameter.is_optional else letter)
    return "".join(letters)


ARGUMENT_LETTERS: Final = {
    entry.name: _encode_parameter_kinds(entry.signatures[0]) for entry in _PLAIN_FUNCTIONS if len(entry.signatures) == 1
} | {"RAND": "?u", "REGION": "l"}
_RESULT_LETTERS: Final = {
    entry.name: _RESULT_TYPE_LETTERS.get(entry.signatures[0].result, "n") for entry in _PLAIN_FUNCTIONS
}
_LETTER_NAMES: Final = {
    "n": "a number",
    "s": "a string",
    "g": "a geometry",
    "l": "a string in single quotes",
    "i": "a whole number",
    "u": "a whole number",
}
_SHAPE_FORMS: Final = {
    "POINT": "POINT(lon, lat)",
    "CIRCLE": "CIRCLE(lon, lat, radius) or CIRCLE(point, radius)",
    "BOX": "BOX(lon, lat, width, height) or BOX(point, width, height)",
    "POLYGON": "POLYGON(lon1, lat1, lon2, lat2, lon3, lat3, ...) or POLYGON(point1, point2, point3, ...)",
    "DISTANCE": "DISTANCE(point1, point2) or DISTANCE(lon1, lat1, lon2, lat2)",
}


def infer_kind_letter(node: Expr) -> str:
    """Classify a value by its text alone: ``n`` number, ``s`` string, ``g`` geometry, empty if unknown."""
    letter = ""
    if isinstance(node, Literal):
        if isinstance(node.value, str):
            letter = "s"
        elif node.value is not None and not isinstance(node.value, bool):
            letter = "n"
    elif isinstance(node, FunctionCall):
        letter = _RESULT_LETTERS.get(node.name, "")
    elif isinstance(node, BinaryOperation) and node.op == "||":
        letter = "s"
    elif isinstance(node, BinaryOperation | UnaryOperation):
        letter = "n"
    return letter


def describe_kind_letter(kind_letter: str) -> str:
    """Return the phrase for a kind of value in a message."""
    return format_message(_LETTER_NAMES[kind_letter])


def find_call_fault(function_name: str, args: tuple[Expr, ...], version: str) -> CallFault | None:
    """Find what is wrong with a call of one of ADQL's own functions.

    Returns
    -------
    tuple or None
        Message, the wrong argument (None: their number is wrong), remedy; None if the call is right.
    """
    if function_name in _SHAPE_ARGUMENT_COUNTS:
        return _find_shape_fault(function_name, args)
    argument_letters = ARGUMENT_LETTERS.get(function_name)
    if argument_letters is None:
        if function_name == "COALESCE" and not args:
            return "COALESCE takes at least one argument", None, "write COALESCE(a, b)"
        return None
    min_count = len(argument_letters.partition("?")[0])
    expected_letters = argument_letters.replace("?", "")
    if function_name == "REGION" and version == "2.0":
        expected_letters = "s"
    max_count = len(expected_letters)
    if not min_count <= len(args) <= max_count:
        counts = f"{max_count}"
        if min_count != max_count:
            counts = format_message("{one} or {other}", min_count, max_count)
        if counts == "1":
            template = "{name} takes {numbers} argument, not {count}"
        else:
            template = "{name} takes {numbers} arguments, not {count}"
        form = join_messages("{one}, {other}", map(describe_kind_letter, expected_letters))
        remedy = format_message("write {name}({form})", function_name, form)
        return format_message(template, function_name, counts, len(args)), None, remedy
    for letter, arg in zip(expected_letters, args, strict=False):
        if not _is_argument_allowed(letter, arg):
            message = format_message("{name} needs {what} here", function_name, describe_kind_letter(letter))
            return message, arg, _suggest_argument_remedy(letter, arg)
    return None


def _is_argument_allowed(kind_letter: str, arg: Expr) -> bool:
    """Return whether an argument may be of the kind that a letter stands for."""
    if kind_letter in "nsg":
        actual_letter = infer_kind_letter(arg)
        is_string_literal = kind_letter == "s" and isinstance(arg, Literal)
        return is_string_literal or actual_letter in {"", kind_letter}
    if kind_letter == "l":
        return isinstance(arg, Literal) and isinstance(arg.value, str)
    if kind_letter == "i" and isinstance(arg, UnaryOperation) and arg.op != "~":
        arg = arg.operand
    return isinstance(arg, Literal) and isinstance(arg.value, int) and not isinstance(arg.value, bool)


def _suggest_argument_remedy(kind_letter: str, arg: Expr) -> str:
    """Return the remedy for an argument of the wrong kind; empty if there is none."""
    if isinstance(arg, ColumnRef) and arg.name.quoted and kind_letter in "sl":
        return format_message("write strings in single quotes: '{name}'", arg.name.name)
    if kind_letter == "s":
        return "turn it into a string with CAST(x AS VARCHAR)"
    if kind_letter == "n" and infer_kind_letter(arg) == "s":
        return "turn it into a number with CAST(x AS DOUBLE PRECISION), or leave out the quotes"
    return ""


def is_null_coordsys_argument(function_name: str, argument_count: int, is_point: Sequence[bool]) -> bool:
    """Return whether NULL as the first argument stands for the coordinate system, not for a coordinate.

    Other services accept NULL as the coordinate system. `argument_count` is the number of all arguments, and `is_point`
    says which of them are points.
    """
    if function_name not in {"POINT", "CIRCLE", "BOX", "POLYGON"}:
        return False
    if any(is_point[1:]):
        return True
    if function_name == "POLYGON":
        return argument_count % 2 == 1
    return argument_count == _SHAPE_ARGUMENT_COUNTS[function_name][0] + 1


def _drop_coordsys_argument(function_name: str, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Return the arguments of a shape without the deprecated coordinate system."""
    if not args or not isinstance(args[0], Literal):
        return args
    if function_name != "DISTANCE" and isinstance(args[0].value, str):
        return args[1:]
    is_point = [infer_kind_letter(arg) == "g" for arg in args]
    if args[0].value is None and is_null_coordsys_argument(function_name, len(args), is_point):
        return args[1:]
    return args


def _find_shape_fault(function_name: str, args: tuple[Expr, ...]) -> CallFault | None:
    """Find what is wrong with a call of a shape or of DISTANCE."""
    coordinate_count, counts_with_points = _SHAPE_ARGUMENT_COUNTS[function_name]
    coordinates = _drop_coordsys_argument(function_name, args)
    letters = [infer_kind_letter(arg) for arg in coordinates]
    forms = join_messages("{one} or {other}", _SHAPE_FORMS[function_name].split(" or "))
    remedy = format_message("write {form}", forms)
    if "s" in letters:
        accepts_points = counts_with_points or function_name == "POLYGON"
        expected_phrase = format_message("a number or a point" if accepts_points else "a number")
        message = format_message("{name} needs {what} here", function_name, expected_phrase)
        return message, coordinates[letters.index("s")], remedy
    actual_count = len(coordinates)
    if function_name == "POLYGON" and actual_count >= 3:
        return _find_polygon_fault(coordinates, letters, remedy)
    if actual_count == coordinate_count and function_name != "POLYGON":
        expected_letters = "n" * coordinate_count
    elif actual_count in counts_with_points:
        expected_letters = "gg"
        if function_name != "DISTANCE":
            expected_letters = "g" + "n" * (actual_count - 1)
    elif actual_count == coordinate_count + 1 and function_name != "DISTANCE":
        return _describe_coordsys_fault(function_name, coordinates[0], remedy)
    else:
        template = (
            "{name} cannot have {count} argument" if actual_count == 1 else "{name} cannot have {count} arguments"
        )
        return format_message(template, function_name, actual_count), None, remedy
    for letter, actual_letter, arg in zip(expected_letters, letters, coordinates, strict=True):
        if actual_letter not in {"", letter}:
            expected_phrase = format_message("a point" if letter == "g" else "a number")
            return format_message("{name} needs {what} here", function_name, expected_phrase), arg, remedy
    return None


def _describe_coordsys_fault(function_name: str, first_argument: Expr, remedy: str) -> CallFault:
    """Describe a first argument that should be the coordinate system and is not a string."""
    if isinstance(first_argument, ColumnRef) and first_argument.name.quoted:
        remedy = format_message("write strings in single quotes: '{name}'", first_argument.name.name)
    message = format_message("the coordinate system of {name} must be a string", function_name)
    full_remedy = format_message("{remedy}, or leave out the coordinate system", format_message(remedy))
    return message, first_argument, full_remedy


def _find_polygon_fault(coordinates: tuple[Expr, ...], kind_letters: list[str], remedy: str) -> CallFault | None:
    """Find what is wrong with the corners of a POLYGON, which are either all points or all numbers."""
    if "n" not in kind_letters:
        return None  # points, or columns of either kind
    if "g" in kind_letters:
        return "POLYGON takes either numbers or points, not both", coordinates[kind_letters.index("g")], remedy
    if len(coordinates) < 6:
        return "POLYGON needs at least three corners", None, remedy
    if len(coordinates) % 2:
        return "POLYGON has a longitude without a latitude", coordinates[-1], remedy
    return None


def is_concatenation_operand(node: Expr) -> bool:
    """Return whether a value may stand beside ``||`` without parentheses (BNF `character_factor`)."""
    if isinstance(node, (Literal, ColumnRef, CastExpression, CaseExpression, ArrayElement)):
        return True
    if isinstance(node, FunctionCall):
        return infer_kind_letter(node) in {"", "s"}
    return not isinstance(node, (UnaryOperation, BinaryOperation))
