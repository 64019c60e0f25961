"""Complete calls that find their arguments: WCS cards among the columns of the source, and the directory of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.syntax_tree import (
    BinaryOperation,
    CaseExpression,
    Disjunction,
    Expr,
    FunctionCall,
    Literal,
    NullPredicate,
)

if TYPE_CHECKING:
    from hven.adql.signatures import DescriptorCallContext

FOOTPRINT_COLUMN = "file.footprint"
_REQUIRED_CARDS = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "NAXIS1", "NAXIS2")
_MATRIX_INDEXES = ("1_1", "1_2", "2_1", "2_2")
_SCALE_CARDS = (*(f"{kind}{pair}" for kind in ("CD", "PC") for pair in _MATRIX_INDEXES), "CDELT1", "CDELT2", "CROTA2")


def add_directory_argument(context: DescriptorCallContext) -> Expr | None:
    """Add the directory from which relative paths start, unless the call has one."""
    call = context.call
    if len(call.args) > 2 and isinstance(call.args[-1], Literal):
        return None
    directory = Literal(context.directory, text_offset=call.text_offset)
    arguments = (*context.expand_arguments(), directory)
    return FunctionCall(call.name, arguments, text_offset=call.text_offset)


def expand_footprint_call(context: DescriptorCallContext) -> Expr | None:
    """Take the footprint that the source makes of a header; for other sources, fill in the cards.

    CDi_j, PCi_j with CDELTi, or CDELTi with CROTA2.
    """
    call = context.call
    if call.args:
        return None
    find_column = context.find_source_column
    if context.has_header_columns and (context.has_selected_cards or find_column("CTYPE1") is not None):
        column = find_column(FOOTPRINT_COLUMN)
        if column is None:
            raise AssertionError
        polygon = FunctionCall("CONTOUR_POLYGON", (column, Literal("largest")), text_offset=call.text_offset)
        view = Literal("body" if context.is_table_on_body else "sky")
        return FunctionCall("ORIENTED", (polygon, view), text_offset=call.text_offset)
    required_columns = {name: find_column(name) for name in _REQUIRED_CARDS}
    for name in ("NAXIS1", "NAXIS2"):
        required_columns[name] = required_columns[name] or find_column(f"Z{name}")
    card_columns = [column for column in required_columns.values() if column is not None]
    missing_cards = [name for name, column in required_columns.items() if column is None]
    matrix = _build_scale_matrix({name: find_column(name) for name in _SCALE_CARDS})
    if not missing_cards and matrix is None:
        missing_cards = ["CD1_1 and CD2_2 (or CDELT1 and CDELT2)"]
    if missing_cards or matrix is None:
        context.raise_call_error(
            f"the source lacks columns that wcs_footprint() needs: {', '.join(missing_cards)}",
            "add the missing cards to the source (`cards: [...]`), or give all twelve values: "
            "wcs_footprint(ctype1, ...)",
        )
    arguments = (*card_columns[:6], *matrix, *card_columns[6:])
    return FunctionCall("WCS_FOOTPRINT", arguments, text_offset=call.text_offset)


def _build_scale_matrix(cards: dict[str, Expr | None]) -> list[Expr] | None:
    """Build the matrix in degrees per pixel.

    Cards that are not there, or that a file lacks, have the standard's defaults.
    """

    def read_card_or_default(name: str, default: float) -> Expr:
        tree = cards[name]
        if tree is None:
            return Literal(default)
        return FunctionCall("COALESCE", (tree, Literal(default)))

    step = (cards["CDELT1"], cards["CDELT2"])
    scaled_matrix: list[Expr] | None = None
    if step[0] is not None and step[1] is not None:
        if any(cards[f"PC{pair}"] is not None for pair in _MATRIX_INDEXES) or cards["CROTA2"] is None:
            parts = [read_card_or_default(f"PC{pair}", 1.0 if pair[0] == pair[2] else 0.0) for pair in _MATRIX_INDEXES]
            scaled_matrix = [
                BinaryOperation("*", step[0 if number < 2 else 1] or step[0], part) for number, part in enumerate(parts)
            ]
        else:
            angle = FunctionCall("RADIANS", (read_card_or_default("CROTA2", 0.0),))
            cos = FunctionCall("COS", (angle,))
            sin = FunctionCall("SIN", (angle,))
            minus = BinaryOperation("-", Literal(0.0), BinaryOperation("*", step[1], sin))
            scaled_matrix = [
                BinaryOperation("*", step[0], cos),
                minus,
                BinaryOperation("*", step[0], sin),
                BinaryOperation("*", step[1], cos),
            ]
    if all(cards[f"CD{pair}"] is None for pair in ("1_1", "2_2")):
        return scaled_matrix
    cd_matrix = [read_card_or_default(f"CD{pair}", 0.0) for pair in _MATRIX_INDEXES]
    if scaled_matrix is None:
        return cd_matrix
    return [
        _build_matrix_element_choice(cards, cd_element, other)
        for cd_element, other in zip(cd_matrix, scaled_matrix, strict=True)
    ]


def _build_matrix_element_choice(cards: dict[str, Expr | None], cd_element: Expr, scaled_element: Expr) -> Expr:
    """Choose by what each row has: some files of an archive have CDi_j, others CDELTi."""
    has_cd_cards = [
        NullPredicate(tree, negated=True)
        for name, tree in cards.items()
        if name.startswith("CD") and "_" in name and tree is not None
    ]
    return CaseExpression(
        None,
        ((Disjunction(tuple(has_cd_cards)) if len(has_cd_cards) > 1 else has_cd_cards[0], cd_element),),
        scaled_element,
    )
