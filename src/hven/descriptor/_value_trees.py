"""Trees that settings become: constants replaced, values turned into text, cast, padded, converted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hven.adql.tree import (
    And,
    Binary,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Expr,
    Function,
    Ident,
    IsNull,
    Literal,
    Meta,
    Node,
    Not,
    Or,
    transform,
)
from hven.model.table import TIME_PARTS, time_format_parts
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from hven.model.types import Type

N = TypeVar("N")
LARGEST = 5_000  # nodes of one expression after all names in it were replaced
CASTS = {
    "unsignedByte": "SMALLINT",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "REAL",
    "double": "DOUBLE PRECISION",
}
NULL = Literal(None)
_SHAPES = {"polygon": "Polygon", "circle": "Circle", "point": "Position"}  # xtype -> word of STC-S


def unslotted(tree: N) -> N:
    """Remove the slots of literals: those of one text say nothing in a query made of many."""
    return transform(
        tree, lambda node: Literal(node.value, at=node.at) if isinstance(node, Literal) and node.slot >= 0 else node
    )


def moved(tree: Expr, at: int) -> Expr:
    """Move every node of a tree to one position: that of the name it was put in for."""

    def put(node: Node) -> Node:
        return node if node.at == at else transform(replace(node, at=at), put)

    return transform(tree, put)


def name(column: str, at: int = -1) -> ColumnRef:
    """Refer to a column by its exact name."""
    return ColumnRef(Ident(column, quoted=True), at=at)


def text(tree: Expr, meta: Meta) -> Expr:
    """Convert a value to text."""
    if meta.type.is_string:
        return tree
    if meta.type.is_boolean:
        return Case(None, ((_truth(tree), Literal("true")), (Not(_truth(tree)), Literal("false"))), NULL)
    return Cast(tree, "VARCHAR")


def _truth(tree: Expr) -> Expr:
    return Compare("=", tree, Literal(True))


def joined(parts: list[Expr]) -> Expr:
    """Concatenate texts; NULL if one of them is NULL."""
    tree = parts[0]
    for part in parts[1:]:
        tree = Binary("||", tree, part)
    return tree


def formatted_time(tree: Expr, spec: str) -> Expr:
    """Write a timestamp as ``iso`` or ``%Y/%m/%d`` say: parts of its ISO form."""
    iso = Binary(
        "||", Cast(tree, "VARCHAR"), Literal(".000000")
    )  # of a whole second there is no fraction: the zeros are it
    dotted = Binary("||", Function("REPLACE", (Cast(tree, "VARCHAR"), Literal("."), Literal(""))), Literal("000000"))
    parts: list[Expr] = []
    for part in time_format_parts(spec):
        if isinstance(part, str):
            parts.append(Literal(part))
            continue
        begin, length = part
        text, at = (dotted, begin - 1) if begin == TIME_PARTS["f"][0] else (iso, begin)
        parts.append(Function("SUBSTRING", (text, Literal(at), Literal(length))))
    return joined(parts) if parts else Literal("")


def formatted(tree: Expr, spec: str) -> Expr:
    """Write a number as ``05d``, ``.3f`` or ``08.3f`` say."""
    if spec.endswith("d"):
        return _padded(Cast(tree, "BIGINT"), int(spec[1:-1] or 0))
    width, _, decimals = spec[:-1].partition(".")
    return _fixed(tree, int(decimals), int(width or 0))


def _padded(whole: Expr, width: int) -> Expr:
    """Pad with zeros in front, up to `width` characters with the sign."""
    if width <= 1:
        return Cast(whole, "VARCHAR")
    positive = _zeros(whole, width)
    if width == 2:
        negative: Expr = Cast(whole, "VARCHAR")
    else:
        negative = Binary("||", Literal("-"), _zeros(Binary("-", Literal(0), whole), width - 1))
    return Case(None, ((Compare("<", whole, Literal(0)), negative),), positive)


def _zeros(whole: Expr, width: int) -> Expr:
    limit = Literal(10**width)
    cut = Function("SUBSTRING", (Cast(Binary("+", whole, limit), "VARCHAR"), Literal(2)))
    return Case(None, ((Compare("<", whole, limit), cut),), Cast(whole, "VARCHAR"))


def _fixed(tree: Expr, decimals: int, width: int) -> Expr:
    """Format a value with so many decimals: the whole and the decimal part are made of one rounded whole number."""
    scale = 10**decimals
    number = Cast(Function("ROUND", (Binary("*", Function("ABS", (tree,)), Literal(scale)), Literal(0))), "BIGINT")
    part = Function("MOD", (number, Literal(scale)))
    whole = Cast(
        Function(
            "ROUND",
            (Binary("/", Cast(Binary("-", number, part), "DOUBLE PRECISION"), Literal(float(scale))), Literal(0)),
        ),
        "BIGINT",
    )

    def digits(room: int) -> Expr:
        head = _padded(whole, room)
        return joined([head, Literal("."), _zeros(part, decimals)]) if decimals else head

    room = width - decimals - (1 if decimals else 0)
    negative = And((Compare("<", tree, Literal(0)), Compare(">", number, Literal(0))))
    return Case(None, ((negative, Binary("||", Literal("-"), digits(room - 1))),), digits(room))


class Unfit(Exception):
    """A value of one type cannot become one of another; says why and the remedy."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


def cast(tree: Expr, meta: Meta, target: Type, frame: str = "") -> Expr:
    """Cast a value to the kind of a column: text to numbers and times, anything to text.

    Numbers stay as computed: whoever stores them casts safely, and so finds 3.7 in a column of whole numbers.

    Parameters
    ----------
    frame
        What STC-S calls the column's frame; nothing if it has no word for it.

    Raises
    ------
    Unfit
        There is no such conversion.
    """
    kind = meta.type
    if isinstance(tree, Literal) and tree.value is None:
        return tree
    if kind.arrow == target.arrow:
        return tree
    if kind == CONTOUR:
        raise Unfit("a contour is no value of a column", "ask it: contour_polygon(x), contour_moc(x), contour_area(x)")
    if target.adql == "REGION" and kind.xtype in _SHAPES:
        stcs = target.xtype == "adql:REGION"
        word = _SHAPES[kind.xtype] if stcs else kind.xtype
        return joined([Literal(f"{word} {frame} " if stcs and frame else f"{word} "), Cast(tree, "VARCHAR")])
    if target.xtype == "polygon" and kind.is_string:
        return Function("POLYGON_OF", (tree, Literal(frame)))
    if target.is_string:
        if kind.is_array or kind.is_geometry:
            raise Unfit(f"a value of type {kind} does not become text", "name a column or expression of type string")
        return text(tree, meta)
    if target.is_numeric:
        return _to_number(tree, kind, target)
    if target.is_timestamp:
        if kind.is_string:
            return Function("PARSE_TIME", (tree,))
        raise Unfit(
            f"{_article(kind)} does not become a timestamp",
            "write iso(x) if x is a Julian date, parse_time(x) for text",
        )
    if target.is_boolean:
        return _to_boolean(tree, kind)
    if target.is_geometry and kind.is_string:
        raise Unfit(f"text does not become {_article(target)}", "write REGION(x), or POINT(lon, lat)")
    if target.is_array and kind.is_array:
        return tree
    if target.arrow.equals(kind.arrow) or (target.special is not None and kind.is_array):
        return tree
    raise Unfit(f"{_article(kind)} does not become {_article(target)}")


def _to_number(tree: Expr, kind: Type, target: Type) -> Expr:
    if kind.is_numeric:
        return tree
    if kind.is_string:
        return Cast(tree, CASTS[target.datatype])
    if kind.is_boolean:
        return Case(None, ((_truth(tree), Literal(1)), (Not(_truth(tree)), Literal(0))), NULL)
    remedy = "write jd(x) or mjd(x)" if kind.is_timestamp else ""
    raise Unfit(f"{_article(kind)} does not become a number", remedy)


def _to_boolean(tree: Expr, kind: Type) -> Expr:
    if kind.is_numeric:
        return Case(None, ((IsNull(tree), NULL), (Compare("=", tree, Literal(0)), Literal(False))), Literal(True))
    if not kind.is_string:
        raise Unfit(f"{_article(kind)} does not become a boolean")
    lower = Function("LOWER", (Function("TRIM", (tree,)),))
    yes = Or(tuple(Compare("=", lower, Literal(word)) for word in ("true", "t", "yes", "y", "1")))
    no = Or(tuple(Compare("=", lower, Literal(word)) for word in ("false", "f", "no", "n", "0")))
    return Case(None, ((yes, Literal(True)), (no, Literal(False))), NULL)


def _article(kind: Type) -> str:
    if kind.is_string:
        return "text"
    word = str(kind)
    return f"a value of type {word}"
