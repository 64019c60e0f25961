"""Functions of images and products that find what they need themselves.

WCS cards among the source's columns, the descriptor's directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from hven.adql.syntax_tree import (
    BinaryOperation,
    CaseExpression,
    Disjunction,
    Expr,
    FunctionCall,
    Ident,
    Literal,
    NullPredicate,
)
from hven.descriptor import _expression_trees as expression_trees
from hven.descriptor.compiled_mapping import FaultReportedError

if TYPE_CHECKING:
    from hven.descriptor.value_schema import FaultCollector
    from hven.descriptor.written_yaml import LocatedYamlScalar
    from hven.model.resource import TableSpec
    from hven.model.table import Column

PRODUCT_FUNCTIONS = frozenset({"PRODUCT_SIZE", "PRODUCT_MD5"})
MASK_FUNCTION = "MASK_CONTOUR"
FOOTPRINT_COLUMN = "file.footprint"
_HEADER_SOURCE_MODES = {("fits", "header"), ("product", "images")}  # which make it


class SourceColumnFinder(Protocol):
    """What knows the source's columns."""

    faults: FaultCollector

    @property
    def spec(self) -> TableSpec:
        """The table that is mapped."""

    def find_column(self, ident: Ident) -> Column | None:
        """Find a column by its name."""


def expand_footprint_call(
    column_finder: SourceColumnFinder, node: FunctionCall, text: LocatedYamlScalar, key_path: str, offset: int
) -> Expr:
    """Take the footprint that the source makes of a header; of other sources fill in the cards.

    CDi_j, PCi_j with CDELTi, or CDELTi with CROTA2.
    """

    def find_card_column(name: str) -> Expr | None:
        if name.startswith("NAXIS"):
            column = column_finder.find_column(Ident(name)) or column_finder.find_column(Ident(f"Z{name}"))
        else:
            column = column_finder.find_column(Ident(name))
        if column is None:
            return None
        return expression_trees.build_column_ref(column.name, node.text_offset)

    def raise_missing_cards(words: list[str]) -> NoReturn:
        column_finder.faults.add_error(
            f"{key_path}: wcs_footprint() does not find {', '.join(words)} among the source's columns",
            text.locate_character(node.text_offset + offset),
            "add them to the source (`cards: [...]`), or give all twelve values: wcs_footprint(ctype1, ...)",
        )
        raise FaultReportedError

    headers = all(
        (source_spec.kind, source_spec.options.get("mode")) in _HEADER_SOURCE_MODES
        for source_spec in column_finder.spec.sources
    )
    if headers and (
        find_card_column("CTYPE1") is not None
        or any("cards" in source_spec.options for source_spec in column_finder.spec.sources)
    ):
        column_ref = expression_trees.build_column_ref(FOOTPRINT_COLUMN, node.text_offset)
        polygon = FunctionCall(
            "CONTOUR_POLYGON",
            (column_ref, Literal("largest")),
            text_offset=node.text_offset,
        )
        if column_finder.spec.frame == "body":
            frame_kind = "body"
        else:
            frame_kind = "sky"
        return FunctionCall("ORIENTED", (polygon, Literal(frame_kind)), text_offset=node.text_offset)
    required_cards = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "NAXIS1", "NAXIS2")
    card_columns = {name: find_card_column(name) for name in required_cards}
    missing_cards = [name for name, tree in card_columns.items() if tree is None]
    if missing_cards:
        raise_missing_cards(missing_cards)
    card_expressions = [tree for tree in card_columns.values() if tree is not None]
    matrix = _build_scale_matrix({name: find_card_column(name) for name in _SCALE_CARDS})
    if matrix is None:
        raise_missing_cards(["CD1_1 and CD2_2, nor CDELT1 and CDELT2"])
    return FunctionCall(
        "WCS_FOOTPRINT", (*card_expressions[:6], *matrix, *card_expressions[6:]), text_offset=node.text_offset
    )


_MATRIX_INDEXES = ("1_1", "1_2", "2_1", "2_2")
_SCALE_CARDS = (*(f"{kind}{pair}" for kind in ("CD", "PC") for pair in _MATRIX_INDEXES), "CDELT1", "CDELT2", "CROTA2")


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
