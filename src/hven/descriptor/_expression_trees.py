"""Build the trees of settings: values turned into text, cast, padded and converted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hven.adql.syntax_tree import (
    BinaryOperation,
    CaseExpression,
    CastExpression,
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
    from collections.abc import Sequence

    from hven.model.types import ColumnType

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
    """Remove the slots of literals: they count the literals of one text, and say nothing in a query made of many."""

    def remove_slot(node: SyntaxNode) -> SyntaxNode:
        if isinstance(node, Literal) and node.slot >= 0:
            return Literal(node.value, text_offset=node.text_offset)
        return node

    return transform_tree(tree, remove_slot)


def _build_boolean_case(tree: Expr, true_value: str | int, false_value: str | int) -> Expr:
    """Build a CASE with a value for true, a value for false, and NULL."""
    is_true = Comparison("=", tree, Literal(True))
    whens = ((is_true, Literal(true_value)), (Negation(is_true), Literal(false_value)))
    return CaseExpression(None, whens, NULL_LITERAL)


def _build_rounded_product(tree: Expr, scale: int) -> Expr:
    """Round the absolute value times `scale` to a whole number."""
    scaled = BinaryOperation("*", FunctionCall("ABS", (tree,)), Literal(scale))
    return CastExpression(FunctionCall("ROUND", (scaled, Literal(0))), "BIGINT")


def set_tree_text_offset(tree: Expr, text_offset: int) -> Expr:
    """Move every node of a tree to one position: the one of the name that it replaces."""

    def move_node(node: SyntaxNode) -> SyntaxNode:
        if node.text_offset == text_offset:
            return node
        return transform_tree(replace(node, text_offset=text_offset), move_node)

    return transform_tree(tree, move_node)


def build_column_ref(column: str, text_offset: int = -1) -> ColumnRef:
    """Refer to a column by its exact name."""
    return ColumnRef(Ident(column, quoted=True), text_offset=text_offset)


def build_text_cast(tree: Expr, meta: ValueMetadata) -> Expr:
    """Convert a value to text."""
    if meta.type.is_string:
        return tree
    if meta.type.is_boolean:
        return _build_boolean_case(tree, "true", "false")
    return CastExpression(tree, "VARCHAR")


def build_text_concatenation(parts: list[Expr]) -> Expr:
    """Concatenate texts; NULL if one of them is NULL."""
    tree = parts[0]
    for part in parts[1:]:
        tree = BinaryOperation("||", tree, part)
    return tree


def build_time_format_expression(tree: Expr, spec: str) -> Expr:
    """Write a timestamp by a format, ``iso`` or such as ``%Y/%m/%d``, from parts of its ISO form."""
    iso_text = CastExpression(tree, "VARCHAR")
    # a whole second has no fraction in its text: the zeros stand for it
    iso = BinaryOperation("||", iso_text, Literal(".000000"))
    text_without_dot = FunctionCall("REPLACE", (iso_text, Literal("."), Literal("")))
    dotted = BinaryOperation("||", text_without_dot, Literal("000000"))
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
        return build_text_concatenation(parts)
    return Literal("")


def build_number_format_expression(tree: Expr, spec: str) -> Expr:
    """Write a number by a format such as ``05d``, ``.3f`` or ``08.3f``."""
    if spec.endswith("d"):
        return _build_zero_padding(CastExpression(tree, "BIGINT"), int(spec[1:-1] or 0))
    width, _, decimals = spec[:-1].partition(".")
    return _build_fixed_decimal_format(tree, int(decimals), int(width or 0))


def _build_zero_padding(integer: Expr, width: int) -> Expr:
    """Pad with zeros in front, up to `width` characters with the sign."""
    if width <= 1:
        return CastExpression(integer, "VARCHAR")
    positive = _build_zero_fill(integer, width)
    negative: Expr = CastExpression(integer, "VARCHAR")
    if width > 2:
        absolute_value = BinaryOperation("-", Literal(0), integer)
        negative = BinaryOperation("||", Literal("-"), _build_zero_fill(absolute_value, width - 1))
    return CaseExpression(None, ((Comparison("<", integer, Literal(0)), negative),), positive)


def _build_zero_fill(integer: Expr, width: int) -> Expr:
    limit = Literal(10**width)
    text_with_leading_one = CastExpression(BinaryOperation("+", integer, limit), "VARCHAR")
    digits = FunctionCall("SUBSTRING", (text_with_leading_one, Literal(2)))
    return CaseExpression(None, ((Comparison("<", integer, limit), digits),), CastExpression(integer, "VARCHAR"))


def _build_fixed_decimal_format(tree: Expr, decimals: int, width: int) -> Expr:
    """Format a value with a fixed number of decimals.

    The integer part and the decimals come from one rounded whole number, so that 1.9996 becomes 2.000.
    """
    scale = 10**decimals
    number = _build_rounded_product(tree, scale)
    fractional_part = FunctionCall("MOD", (number, Literal(scale)))
    whole_part = CastExpression(BinaryOperation("-", number, fractional_part), "DOUBLE PRECISION")
    quotient = BinaryOperation("/", whole_part, Literal(float(scale)))
    integer_part = CastExpression(FunctionCall("ROUND", (quotient, Literal(0))), "BIGINT")

    def write_digits(integer_width: int) -> Expr:
        head = _build_zero_padding(integer_part, integer_width)
        if decimals:
            return build_text_concatenation([head, Literal("."), _build_zero_fill(fractional_part, decimals)])
        return head

    integer_width = width
    if decimals:
        integer_width = width - decimals - 1
    is_negative = Conjunction((Comparison("<", tree, Literal(0)), Comparison(">", number, Literal(0))))
    negative_text = BinaryOperation("||", Literal("-"), write_digits(integer_width - 1))
    return CaseExpression(None, ((is_negative, negative_text),), write_digits(integer_width))


class UnsupportedCastError(Exception):
    """A value of one type cannot become one of another; `message` has the reason."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def cast_to_type(tree: Expr, meta: ValueMetadata, target: ColumnType, frame: str = "") -> Expr:
    """Cast a value to the kind of a column: text to numbers and times, anything to text.

    Numbers stay as computed: the storage casts them safely, and so finds 3.7 in a column of whole numbers.

    Parameters
    ----------
    frame
        Name of the column's frame in STC-S; empty if it has none.

    Raises
    ------
    UnsupportedCastError
        There is no such conversion.
    """
    source_type = meta.type
    is_null = isinstance(tree, Literal) and tree.value is None
    if is_null or source_type.arrow == target.arrow:
        return tree
    if source_type == CONTOUR:
        raise UnsupportedCastError(
            "a contour cannot be the value of a column",
            "apply a function to the contour: contour_polygon(x), contour_moc(x), contour_area(x)",
        )
    is_polygon_text = target.xtype == "polygon" and source_type.is_string
    if is_polygon_text or (target.adql == "REGION" and source_type.xtype in _STCS_SHAPE_WORDS):
        return _cast_to_region(tree, source_type, target, frame)
    if target.is_string:
        return _cast_to_text(tree, meta)
    if target.is_numeric or target.is_boolean:
        return _cast_to_number_or_boolean(tree, source_type, target)
    if target.is_timestamp:
        return _cast_to_timestamp(tree, source_type)
    if target.is_geometry and source_type.is_string:
        raise UnsupportedCastError(
            f"text cannot be converted to {_describe_type(target)}", "write REGION(x), or POINT(lon, lat)"
        )
    if source_type.is_array and (target.is_array or target.stored_xtype is not None):
        return tree
    raise UnsupportedCastError(f"{_describe_type(source_type)} cannot be converted to {_describe_type(target)}")


def _cast_to_region(tree: Expr, source_type: ColumnType, target: ColumnType, frame: str) -> Expr:
    if source_type.is_string:
        return FunctionCall("POLYGON_OF", (tree, Literal(frame)))
    word = source_type.xtype
    if target.xtype == "adql:REGION":  # STC-S
        word = _STCS_SHAPE_WORDS[source_type.xtype or ""]
        if frame:
            word = f"{word} {frame}"
    return build_text_concatenation([Literal(f"{word} "), CastExpression(tree, "VARCHAR")])


def _cast_to_text(tree: Expr, meta: ValueMetadata) -> Expr:
    if meta.type.is_array or meta.type.is_geometry:
        raise UnsupportedCastError(
            f"a value of type {meta.type} cannot be converted to text", "give a column or expression of type string"
        )
    return build_text_cast(tree, meta)


def _cast_to_timestamp(tree: Expr, source_type: ColumnType) -> Expr:
    if source_type.is_string:
        return FunctionCall("PARSE_TIME", (tree,))
    raise UnsupportedCastError(
        f"{_describe_type(source_type)} cannot be converted to a timestamp",
        "write iso(x) if x is a Julian date, or parse_time(x) if x is text",
    )


def _cast_to_number_or_boolean(tree: Expr, source_type: ColumnType, target: ColumnType) -> Expr:
    """Cast a value to a number or a boolean."""
    if target.is_boolean:
        return _cast_to_boolean(tree, source_type)
    if source_type.is_numeric:
        return tree
    if source_type.is_string:
        return CastExpression(tree, CAST_TYPES[target.datatype])
    if source_type.is_boolean:
        return _build_boolean_case(tree, 1, 0)
    remedy = "write jd(x) or mjd(x)" if source_type.is_timestamp else ""
    raise UnsupportedCastError(f"{_describe_type(source_type)} cannot be converted to a number", remedy)


def _cast_to_boolean(tree: Expr, source_type: ColumnType) -> Expr:
    if source_type.is_numeric:
        is_zero = Comparison("=", tree, Literal(0))
        whens = ((NullPredicate(tree), NULL_LITERAL), (is_zero, Literal(False)))
        return CaseExpression(None, whens, Literal(True))
    if not source_type.is_string:
        raise UnsupportedCastError(f"{_describe_type(source_type)} cannot be converted to a boolean")
    word = FunctionCall("LOWER", (FunctionCall("TRIM", (tree,)),))
    is_true_word = _build_equals_any_condition(word, ("true", "t", "yes", "y", "1"))
    is_false_word = _build_equals_any_condition(word, ("false", "f", "no", "n", "0"))
    return CaseExpression(None, ((is_true_word, Literal(True)), (is_false_word, Literal(False))), NULL_LITERAL)


def _build_equals_any_condition(text: Expr, words: Sequence[str]) -> Expr:
    return Disjunction(tuple(Comparison("=", text, Literal(word)) for word in words))


def _describe_type(value_type: ColumnType) -> str:
    if value_type.is_string:
        return "text"
    word = str(value_type)
    return f"a value of type {word}"
