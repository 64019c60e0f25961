"""The form of ADQL's own functions as the grammar fixes it: how many arguments, and which of them can never be right.

Only what the text alone shows is judged here (ADQL 2.1 BNF); what needs the type of a column is the binder's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hven.adql.functions import STANDARD
from hven.adql.tree import Binary, Case, Cast, ColumnRef, Element, Expr, Function, Literal, Unary
from hven.model.errors import joined, say

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHAPES: Final = {"POINT": (2, ()), "CIRCLE": (3, (2,)), "BOX": (4, (3,)), "POLYGON": (6, ()), "DISTANCE": (4, (2,))}

AGGREGATES: Final = frozenset(entry.name for entry in STANDARD if entry.aggregate)

#: Reserved words that are function names.
CALLABLE: Final = frozenset(entry.name for entry in STANDARD)

#: SQL-92's functions, which the standard reserves without offering them: names of functions in mapping expressions only.
SQL_FUNCTIONS: Final = frozenset((
    "SUBSTRING", "TRIM", "NULLIF", "CHAR_LENGTH", "CHARACTER_LENGTH", "OCTET_LENGTH", "POSITION", "TRANSLATE", "LEFT", "RIGHT",
    "DATE", "TIME", "TIMESTAMP", "YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND",
))  # fmt: skip

_PLAIN: Final = [entry for entry in STANDARD if entry.group not in {"aggregate", "conditional"}]
_WORDS: Final = {"NUMERIC": "n", "INTEGER": "i", "TEXT": "s", "GEOMETRY": "g", "POINT": "g"}
SIGNATURES: Final = {
    entry.name: "".join(
        ["?" * arg.optional + ("l" if arg.literal else _WORDS[arg.word]) for arg in entry.signatures[0].args]
    )
    for entry in _PLAIN
    if len(entry.signatures) == 1
} | {"RAND": "?u", "REGION": "l"}
_KINDS: Final = {
    entry.name: {"TEXT": "s", "POINT": "g", "CIRCLE": "g", "POLYGON": "g", "REGION": "g"}.get(
        entry.signatures[0].result, "n"
    )
    for entry in _PLAIN
}
_NAMES: Final = {
    "n": "a number",
    "s": "a string",
    "g": "a geometry",
    "l": "a string in single quotes",
    "i": "a whole number",
    "u": "a whole number",
}
_FORMS: Final = {
    "POINT": "POINT(lon, lat)",
    "CIRCLE": "CIRCLE(lon, lat, radius) or CIRCLE(point, radius)",
    "BOX": "BOX(lon, lat, width, height) or BOX(point, width, height)",
    "POLYGON": "POLYGON(lon1, lat1, lon2, lat2, lon3, lat3, ...) or POLYGON(point1, point2, point3, ...)",
    "DISTANCE": "DISTANCE(point1, point2) or DISTANCE(lon1, lat1, lon2, lat2)",
}


def kind(node: Expr) -> str:
    """Classify a value by its text alone: ``n`` number, ``s`` string, ``g`` geometry, empty if nothing."""
    if isinstance(node, Literal):
        return (
            "s"
            if isinstance(node.value, str)
            else "n"
            if node.value is not None and not isinstance(node.value, bool)
            else ""
        )
    if isinstance(node, Function):
        return _KINDS.get(node.name, "")
    if isinstance(node, Binary):
        return "s" if node.op == "||" else "n"
    return "n" if isinstance(node, Unary) else ""


def called(name: str) -> str:
    """Name a kind of value as messages do."""
    return say(_NAMES[name])


def fault(name: str, args: tuple[Expr, ...], version: str) -> tuple[str, Expr | None, str] | None:
    """Find what is wrong with a call of one of ADQL's own functions.

    Returns
    -------
    tuple or None
        Message, the argument at fault (None: their number), remedy.
    """
    if name in _SHAPES:
        return _shape_fault(name, args)
    signature = SIGNATURES.get(name)
    if signature is None:
        if name == "COALESCE" and not args:
            return "COALESCE takes at least one argument", None, "write COALESCE(a, b)"
        return None
    least = signature.partition("?")[0]
    wanted = signature.replace("?", "")
    if name == "REGION" and version == "2.0":
        wanted = "s"
    if not len(least) <= len(args) <= len(wanted):
        numbers = f"{len(wanted)}" if len(least) == len(wanted) else say("{one} or {other}", len(least), len(wanted))
        form = joined("{one}, {other}", map(called, wanted))
        return (
            say(
                "{name} takes {numbers} argument, not {count}"
                if numbers == "1"
                else "{name} takes {numbers} arguments, not {count}",
                name,
                numbers,
                len(args),
            ),
            None,
            say("write {name}({form})", name, form),
        )
    for letter, arg in zip(wanted, args, strict=False):
        if not _fits(letter, arg):
            return say("{name} needs {what} here", name, called(letter)), arg, _remedy(letter, arg)
    return None


def _fits(letter: str, arg: Expr) -> bool:
    if letter in "nsg":
        said = kind(arg)
        return not said or said == letter or (letter == "s" and isinstance(arg, Literal))
    if letter == "l":
        return isinstance(arg, Literal) and isinstance(arg.value, str)
    if letter == "i" and isinstance(arg, Unary) and arg.op != "~":
        arg = arg.operand
    return isinstance(arg, Literal) and isinstance(arg.value, int) and not isinstance(arg.value, bool)


def _remedy(letter: str, arg: Expr) -> str:
    if isinstance(arg, ColumnRef) and arg.name.quoted and letter in "sl":
        return say("strings take single quotes: '{name}'", arg.name.name)
    if letter == "s":
        return "turn it into a string with CAST(x AS VARCHAR)"
    if letter == "n" and kind(arg) == "s":
        return "turn it into a number with CAST(x AS DOUBLE PRECISION), or leave the quotes out"
    return ""


def null_system(name: str, count: int, shapes: Sequence[bool]) -> bool:
    """Return whether a NULL before `count` - 1 other arguments is the coordinate system (others write it so) and not a coordinate."""
    if name not in {"POINT", "CIRCLE", "BOX", "POLYGON"}:
        return False
    return any(shapes[1:]) or (count % 2 == 1 if name == "POLYGON" else count == _SHAPES[name][0] + 1)


def _shape_fault(name: str, args: tuple[Expr, ...]) -> tuple[str, Expr | None, str] | None:
    numbers, with_point = _SHAPES[name]
    rest = args
    if name != "DISTANCE" and args and isinstance(args[0], Literal) and isinstance(args[0].value, str):
        rest = args[1:]  # the deprecated coordinate system
    elif (
        args
        and isinstance(args[0], Literal)
        and args[0].value is None
        and null_system(name, len(args), [kind(arg) == "g" for arg in args])
    ):
        rest = args[1:]
    kinds = [kind(arg) for arg in rest]
    remedy = say("write {form}", joined("{one} or {other}", _FORMS[name].split(" or ")))
    if "s" in kinds:
        needed = say("a number or a point" if with_point or name == "POLYGON" else "a number")
        return say("{name} needs {what} here", name, needed), rest[kinds.index("s")], remedy
    if name == "POLYGON" and len(rest) >= 3:
        return _polygon_fault(rest, kinds, remedy)
    if len(rest) == numbers and name != "POLYGON":
        wanted = "n" * numbers
    elif len(rest) in with_point:
        wanted = "gg" if name == "DISTANCE" else "g" + "n" * (len(rest) - 1)
    elif len(rest) == numbers + 1 and name != "DISTANCE":
        first = rest[0]
        if isinstance(first, ColumnRef) and first.name.quoted:
            remedy = say("strings take single quotes: '{name}'", first.name.name)
        return (
            say("the coordinate system of {name} must be a string", name),
            first,
            say("{remedy}; the coordinate system may be left out", say(remedy)),
        )
    else:
        return (
            say(
                "{name} cannot have {count} argument" if len(rest) == 1 else "{name} cannot have {count} arguments",
                name,
                len(rest),
            ),
            None,
            remedy,
        )
    for letter, said, arg in zip(wanted, kinds, rest, strict=True):
        if said and said != letter:
            return say("{name} needs {what} here", name, say("a point" if letter == "g" else "a number")), arg, remedy
    return None


def _polygon_fault(rest: tuple[Expr, ...], kinds: list[str], remedy: str) -> tuple[str, Expr | None, str] | None:
    if "n" not in kinds:
        return None  # points, or columns of either kind
    if "g" in kinds:
        return "POLYGON takes either numbers or points, not both", rest[kinds.index("g")], remedy
    if len(rest) < 6:
        return "POLYGON needs three corners at least", None, remedy
    if len(rest) % 2:
        return "POLYGON has a longitude without a latitude", rest[-1], remedy
    return None


def stands_alone(node: Expr) -> bool:
    """Return whether a value may stand beside ``||`` without parentheses (BNF `character_factor`)."""
    if isinstance(node, (Literal, ColumnRef, Cast, Case, Element)):
        return True
    if isinstance(node, Function):
        return kind(node) in {"", "s"}
    return not isinstance(node, (Unary, Binary))
