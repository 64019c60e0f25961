"""The form of ADQL's own functions as the grammar fixes it: how many arguments, and which of them can never be right.

Only what the text alone shows is judged here (ADQL 2.1 BNF); what needs the type of a column is the binder's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hven.adql.functions import STANDARD_FUNCTIONS
from hven.adql.syntax_tree import (
    ArrayElement,
    BinaryOperation,
    Case,
    Cast,
    ColumnRef,
    Expr,
    FunctionCall,
    Literal,
    UnaryOperation,
)
from hven.model.errors import format_message, join_messages

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHAPE_ARGUMENT_COUNTS: Final = {
    "POINT": (2, ()),
    "CIRCLE": (3, (2,)),
    "BOX": (4, (3,)),
    "POLYGON": (6, ()),
    "DISTANCE": (4, (2,)),
}

AGGREGATE_NAMES: Final = frozenset(entry.name for entry in STANDARD_FUNCTIONS if entry.aggregate)

#: Reserved words that are function names.
STANDARD_FUNCTION_NAMES: Final = frozenset(entry.name for entry in STANDARD_FUNCTIONS)

# : SQL-92's functions, which the standard reserves without offering them: names of functions in mapping expressions
# only.
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
_TYPE_LETTERS: Final = {"NUMERIC": "n", "INTEGER": "i", "TEXT": "s", "GEOMETRY": "g", "POINT": "g"}
ARGUMENT_LETTERS: Final = {
    entry.name: "".join(
        [
            "?" * arg.is_optional + ("l" if arg.must_be_literal else _TYPE_LETTERS[arg.type_word])
            for arg in entry.signatures[0].parameters
        ]
    )
    for entry in _PLAIN_FUNCTIONS
    if len(entry.signatures) == 1
} | {"RAND": "?u", "REGION": "l"}
_RESULT_LETTERS: Final = {
    entry.name: {"TEXT": "s", "POINT": "g", "CIRCLE": "g", "POLYGON": "g", "REGION": "g"}.get(
        entry.signatures[0].result, "n"
    )
    for entry in _PLAIN_FUNCTIONS
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


def classify_syntax(node: Expr) -> str:
    """Classify a value by its text alone: ``n`` number, ``s`` string, ``g`` geometry, empty if nothing."""
    if isinstance(node, Literal):
        if isinstance(node.value, str):
            return "s"
        if node.value is not None and not isinstance(node.value, bool):
            return "n"
        return ""
    if isinstance(node, FunctionCall):
        return _RESULT_LETTERS.get(node.name, "")
    if isinstance(node, BinaryOperation):
        return "s" if node.op == "||" else "n"
    return "n" if isinstance(node, UnaryOperation) else ""


def name_value_kind(letter: str) -> str:
    """Name a kind of value as messages do."""
    return format_message(_LETTER_NAMES[letter])


def find_call_fault(function_name: str, args: tuple[Expr, ...], version: str) -> tuple[str, Expr | None, str] | None:
    """Find what is wrong with a call of one of ADQL's own functions.

    Returns
    -------
    tuple or None
        Message, the argument at fault (None: their number), remedy.
    """
    if function_name in _SHAPE_ARGUMENT_COUNTS:
        return _find_shape_fault(function_name, args)
    signature = ARGUMENT_LETTERS.get(function_name)
    if signature is None:
        if function_name == "COALESCE" and not args:
            return "COALESCE takes at least one argument", None, "write COALESCE(a, b)"
        return None
    required_letters = signature.partition("?")[0]
    expected_letters = signature.replace("?", "")
    if function_name == "REGION" and version == "2.0":
        expected_letters = "s"
    if not len(required_letters) <= len(args) <= len(expected_letters):
        if len(required_letters) == len(expected_letters):
            numbers = f"{len(expected_letters)}"
        else:
            numbers = format_message("{one} or {other}", len(required_letters), len(expected_letters))
        form = join_messages("{one}, {other}", map(name_value_kind, expected_letters))
        return (
            format_message(
                "{name} takes {numbers} argument, not {count}"
                if numbers == "1"
                else "{name} takes {numbers} arguments, not {count}",
                function_name,
                numbers,
                len(args),
            ),
            None,
            format_message("write {name}({form})", function_name, form),
        )
    for letter, arg in zip(expected_letters, args, strict=False):
        if not _is_argument_allowed(letter, arg):
            return (
                format_message("{name} needs {what} here", function_name, name_value_kind(letter)),
                arg,
                _suggest_remedy(letter, arg),
            )
    return None


def _is_argument_allowed(letter: str, arg: Expr) -> bool:
    if letter in "nsg":
        actual_letter = classify_syntax(arg)
        return not actual_letter or actual_letter == letter or (letter == "s" and isinstance(arg, Literal))
    if letter == "l":
        return isinstance(arg, Literal) and isinstance(arg.value, str)
    if letter == "i" and isinstance(arg, UnaryOperation) and arg.op != "~":
        arg = arg.operand
    return isinstance(arg, Literal) and isinstance(arg.value, int) and not isinstance(arg.value, bool)


def _suggest_remedy(letter: str, arg: Expr) -> str:
    if isinstance(arg, ColumnRef) and arg.name.quoted and letter in "sl":
        return format_message("strings take single quotes: '{name}'", arg.name.name)
    if letter == "s":
        return "turn it into a string with CAST(x AS VARCHAR)"
    if letter == "n" and classify_syntax(arg) == "s":
        return "turn it into a number with CAST(x AS DOUBLE PRECISION), or leave the quotes out"
    return ""


def is_null_coordsys(function_name: str, argument_count: int, is_point: Sequence[bool]) -> bool:
    """Return whether a NULL as the first of `argument_count` arguments is the coordinate system, and not a coordinate.

    Other services accept NULL for the coordinate system.
    """
    if function_name not in {"POINT", "CIRCLE", "BOX", "POLYGON"}:
        return False
    if any(is_point[1:]):
        return True
    if function_name == "POLYGON":
        return argument_count % 2 == 1
    return argument_count == _SHAPE_ARGUMENT_COUNTS[function_name][0] + 1


def _drop_coordsys(function_name: str, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Return the arguments of a shape without the deprecated coordinate system."""
    if not args or not isinstance(args[0], Literal):
        return args
    if function_name != "DISTANCE" and isinstance(args[0].value, str):
        return args[1:]
    is_point = [classify_syntax(arg) == "g" for arg in args]
    if args[0].value is None and is_null_coordsys(function_name, len(args), is_point):
        return args[1:]
    return args


def _find_shape_fault(function_name: str, args: tuple[Expr, ...]) -> tuple[str, Expr | None, str] | None:
    numbers, with_point = _SHAPE_ARGUMENT_COUNTS[function_name]
    coordinates = _drop_coordsys(function_name, args)
    letters = [classify_syntax(arg) for arg in coordinates]
    remedy = format_message(
        "write {form}", join_messages("{one} or {other}", _SHAPE_FORMS[function_name].split(" or "))
    )
    if "s" in letters:
        expected_phrase = format_message(
            "a number or a point" if with_point or function_name == "POLYGON" else "a number"
        )
        return (
            format_message("{name} needs {what} here", function_name, expected_phrase),
            coordinates[letters.index("s")],
            remedy,
        )
    if function_name == "POLYGON" and len(coordinates) >= 3:
        return _find_polygon_fault(coordinates, letters, remedy)
    if len(coordinates) == numbers and function_name != "POLYGON":
        expected_letters = "n" * numbers
    elif len(coordinates) in with_point:
        if function_name == "DISTANCE":
            expected_letters = "gg"
        else:
            expected_letters = "g" + "n" * (len(coordinates) - 1)
    elif len(coordinates) == numbers + 1 and function_name != "DISTANCE":
        first = coordinates[0]
        if isinstance(first, ColumnRef) and first.name.quoted:
            remedy = format_message("strings take single quotes: '{name}'", first.name.name)
        return (
            format_message("the coordinate system of {name} must be a string", function_name),
            first,
            format_message("{remedy}; the coordinate system may be left out", format_message(remedy)),
        )
    else:
        return (
            format_message(
                "{name} cannot have {count} argument"
                if len(coordinates) == 1
                else "{name} cannot have {count} arguments",
                function_name,
                len(coordinates),
            ),
            None,
            remedy,
        )
    for letter, actual_letter, arg in zip(expected_letters, letters, coordinates, strict=True):
        if actual_letter and actual_letter != letter:
            return (
                format_message(
                    "{name} needs {what} here",
                    function_name,
                    format_message("a point" if letter == "g" else "a number"),
                ),
                arg,
                remedy,
            )
    return None


def _find_polygon_fault(
    coordinates: tuple[Expr, ...], letters: list[str], remedy: str
) -> tuple[str, Expr | None, str] | None:
    if "n" not in letters:
        return None  # points, or columns of either kind
    if "g" in letters:
        return "POLYGON takes either numbers or points, not both", coordinates[letters.index("g")], remedy
    if len(coordinates) < 6:
        return "POLYGON needs three corners at least", None, remedy
    if len(coordinates) % 2:
        return "POLYGON has a longitude without a latitude", coordinates[-1], remedy
    return None


def is_character_factor(node: Expr) -> bool:
    """Return whether a value may stand beside ``||`` without parentheses (BNF `character_factor`)."""
    if isinstance(node, (Literal, ColumnRef, Cast, Case, ArrayElement)):
        return True
    if isinstance(node, FunctionCall):
        return classify_syntax(node) in {"", "s"}
    return not isinstance(node, (UnaryOperation, BinaryOperation))
