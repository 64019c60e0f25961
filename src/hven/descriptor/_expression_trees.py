"""Trees that settings become: constants replaced, values turned into text, cast, padded, converted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hven.adql.syntax_tree import (
    BinaryOperation,
    Case,
    Cast,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    Negation,
    NullPredicate,
    SyntaxNode,
    ValueMetadata,
    transform_tree,
)
from hven.model.table import TIME_PART_POSITIONS, split_time_format
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from hven.model.types import Type

N = TypeVar("N")
MAX_EXPRESSION_NODES = 5_000  # nodes of one expression after all names in it were replaced
CAST_TYPES = {
    "unsignedByte": "SMALLINT",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "REAL",
    "double": "DOUBLE PRECISION",
}
NULL_LITERAL = Literal(None)
_STCS_SHAPE_WORDS = {"polygon": "Polygon", "circle": "Circle", "point": "Position"}  # xtype -> word of STC-S


def remove_literal_slots(tree: N) -> N:
    """Remove the slots of literals: those of one text say nothing in a query made of many."""
    return transform_tree(
        tree,
        lambda node: (
            Literal(node.value, text_offset=node.text_offset) if isinstance(node, Literal) and node.slot >= 0 else node
        ),
    )


def move_to_offset(tree: Expr, text_offset: int) -> Expr:
    """Move every node of a tree to one position: that of the name it was put in for."""

    def move_node(node: SyntaxNode) -> SyntaxNode:
        if node.text_offset == text_offset:
            return node
        return transform_tree(replace(node, text_offset=text_offset), move_node)

    return transform_tree(tree, move_node)


def build_column_ref(column: str, text_offset: int = -1) -> ColumnRef:
    """Refer to a column by its exact name."""
    return ColumnRef(Ident(column, quoted=True), text_offset=text_offset)


def convert_to_text(tree: Expr, meta: ValueMetadata) -> Expr:
    """Convert a value to text."""
    if meta.type.is_string:
        return tree
    if meta.type.is_boolean:
        return Case(
            None,
            ((_build_truth_test(tree), Literal("true")), (Negation(_build_truth_test(tree)), Literal("false"))),
            NULL_LITERAL,
        )
    return Cast(tree, "VARCHAR")


def _build_truth_test(tree: Expr) -> Expr:
    return Comparison("=", tree, Literal(True))


def concat_texts(parts: list[Expr]) -> Expr:
    """Concatenate texts; NULL if one of them is NULL."""
    tree = parts[0]
    for part in parts[1:]:
        tree = BinaryOperation("||", tree, part)
    return tree


def format_time(tree: Expr, spec: str) -> Expr:
    """Write a timestamp as ``iso`` or ``%Y/%m/%d`` say: parts of its ISO form."""
    iso = BinaryOperation(
        "||", Cast(tree, "VARCHAR"), Literal(".000000")
    )  # of a whole second there is no fraction: the zeros are it
    dotted = BinaryOperation(
        "||", FunctionCall("REPLACE", (Cast(tree, "VARCHAR"), Literal("."), Literal(""))), Literal("000000")
    )
    parts: list[Expr] = []
    for part in split_time_format(spec):
        if isinstance(part, str):
            parts.append(Literal(part))
            continue
        begin, length = part
        if begin == TIME_PART_POSITIONS["f"][0]:
            text, part_start = (dotted, begin - 1)
        else:
            text, part_start = (iso, begin)
        parts.append(FunctionCall("SUBSTRING", (text, Literal(part_start), Literal(length))))
    if parts:
        return concat_texts(parts)
    return Literal("")


def format_number(tree: Expr, spec: str) -> Expr:
    """Write a number as ``05d``, ``.3f`` or ``08.3f`` say."""
    if spec.endswith("d"):
        return _pad_with_zeros(Cast(tree, "BIGINT"), int(spec[1:-1] or 0))
    width, _, decimals = spec[:-1].partition(".")
    return _format_fixed_decimals(tree, int(decimals), int(width or 0))


def _pad_with_zeros(integer: Expr, width: int) -> Expr:
    """Pad with zeros in front, up to `width` characters with the sign."""
    if width <= 1:
        return Cast(integer, "VARCHAR")
    positive = _fill_with_zeros(integer, width)
    if width == 2:
        negative: Expr = Cast(integer, "VARCHAR")
    else:
        negative = BinaryOperation(
            "||", Literal("-"), _fill_with_zeros(BinaryOperation("-", Literal(0), integer), width - 1)
        )
    return Case(None, ((Comparison("<", integer, Literal(0)), negative),), positive)


def _fill_with_zeros(integer: Expr, width: int) -> Expr:
    limit = Literal(10**width)
    cut = FunctionCall("SUBSTRING", (Cast(BinaryOperation("+", integer, limit), "VARCHAR"), Literal(2)))
    return Case(None, ((Comparison("<", integer, limit), cut),), Cast(integer, "VARCHAR"))


def _format_fixed_decimals(tree: Expr, decimals: int, width: int) -> Expr:
    """Format a value with so many decimals: the whole and the decimal part are made of one rounded whole number."""
    scale = 10**decimals
    number = Cast(
        FunctionCall("ROUND", (BinaryOperation("*", FunctionCall("ABS", (tree,)), Literal(scale)), Literal(0))),
        "BIGINT",
    )
    fractional_part = FunctionCall("MOD", (number, Literal(scale)))
    integer_part = Cast(
        FunctionCall(
            "ROUND",
            (
                BinaryOperation(
                    "/", Cast(BinaryOperation("-", number, fractional_part), "DOUBLE PRECISION"), Literal(float(scale))
                ),
                Literal(0),
            ),
        ),
        "BIGINT",
    )

    def write_digits(integer_width: int) -> Expr:
        head = _pad_with_zeros(integer_part, integer_width)
        if decimals:
            return concat_texts([head, Literal("."), _fill_with_zeros(fractional_part, decimals)])
        return head

    integer_width = width - decimals - (1 if decimals else 0)
    negative = Conjunction((Comparison("<", tree, Literal(0)), Comparison(">", number, Literal(0))))
    return Case(
        None,
        ((negative, BinaryOperation("||", Literal("-"), write_digits(integer_width - 1))),),
        write_digits(integer_width),
    )


class UnsupportedCastError(Exception):
    """A value of one type cannot become one of another; says why and the remedy."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def cast_to_type(tree: Expr, meta: ValueMetadata, target: Type, frame: str = "") -> Expr:
    """Cast a value to the kind of a column: text to numbers and times, anything to text.

    Numbers stay as computed: whoever stores them casts safely, and so finds 3.7 in a column of whole numbers.

    Parameters
    ----------
    frame
        What STC-S calls the column's frame; nothing if it has no word for it.

    Raises
    ------
    UnsupportedCastError
        There is no such conversion.
    """
    source_type = meta.type
    if isinstance(tree, Literal) and tree.value is None:
        return tree
    if source_type.arrow == target.arrow:
        return tree
    if source_type == CONTOUR:
        raise UnsupportedCastError(
            "a contour is no value of a column", "ask it: contour_polygon(x), contour_moc(x), contour_area(x)"
        )
    if target.adql == "REGION" and source_type.xtype in _STCS_SHAPE_WORDS:
        is_stcs = target.xtype == "adql:REGION"
        if is_stcs:
            word = _STCS_SHAPE_WORDS[source_type.xtype]
        else:
            word = source_type.xtype
        return concat_texts([Literal(f"{word} {frame} " if is_stcs and frame else f"{word} "), Cast(tree, "VARCHAR")])
    if target.xtype == "polygon" and source_type.is_string:
        return FunctionCall("POLYGON_OF", (tree, Literal(frame)))
    if target.is_string:
        if source_type.is_array or source_type.is_geometry:
            raise UnsupportedCastError(
                f"a value of type {source_type} does not become text", "name a column or expression of type string"
            )
        return convert_to_text(tree, meta)
    if target.is_numeric:
        return _cast_to_number(tree, source_type, target)
    if target.is_timestamp:
        if source_type.is_string:
            return FunctionCall("PARSE_TIME", (tree,))
        raise UnsupportedCastError(
            f"{_describe_type(source_type)} does not become a timestamp",
            "write iso(x) if x is a Julian date, parse_time(x) for text",
        )
    if target.is_boolean:
        return _cast_to_boolean(tree, source_type)
    if target.is_geometry and source_type.is_string:
        raise UnsupportedCastError(
            f"text does not become {_describe_type(target)}", "write REGION(x), or POINT(lon, lat)"
        )
    if target.is_array and source_type.is_array:
        return tree
    if target.arrow.equals(source_type.arrow) or (target.stored_xtype is not None and source_type.is_array):
        return tree
    raise UnsupportedCastError(f"{_describe_type(source_type)} does not become {_describe_type(target)}")


def _cast_to_number(tree: Expr, source_type: Type, target: Type) -> Expr:
    if source_type.is_numeric:
        return tree
    if source_type.is_string:
        return Cast(tree, CAST_TYPES[target.datatype])
    if source_type.is_boolean:
        return Case(
            None, ((_build_truth_test(tree), Literal(1)), (Negation(_build_truth_test(tree)), Literal(0))), NULL_LITERAL
        )
    remedy = "write jd(x) or mjd(x)" if source_type.is_timestamp else ""
    raise UnsupportedCastError(f"{_describe_type(source_type)} does not become a number", remedy)


def _cast_to_boolean(tree: Expr, source_type: Type) -> Expr:
    if source_type.is_numeric:
        return Case(
            None,
            ((NullPredicate(tree), NULL_LITERAL), (Comparison("=", tree, Literal(0)), Literal(False))),
            Literal(True),
        )
    if not source_type.is_string:
        raise UnsupportedCastError(f"{_describe_type(source_type)} does not become a boolean")
    lower = FunctionCall("LOWER", (FunctionCall("TRIM", (tree,)),))
    is_true_word = Disjunction(tuple(Comparison("=", lower, Literal(word)) for word in ("true", "t", "yes", "y", "1")))
    is_false_word = Disjunction(tuple(Comparison("=", lower, Literal(word)) for word in ("false", "f", "no", "n", "0")))
    return Case(None, ((is_true_word, Literal(True)), (is_false_word, Literal(False))), NULL_LITERAL)


def _describe_type(value_type: Type) -> str:
    if value_type.is_string:
        return "text"
    word = str(value_type)
    return f"a value of type {word}"
