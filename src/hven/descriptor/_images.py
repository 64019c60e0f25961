"""Functions of images and products that find what they need themselves: WCS cards among the source's columns, the descriptor's directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from hven.adql.tree import Binary, Case, Expr, Function, Ident, IsNull, Literal, Or
from hven.descriptor import _value_trees as trees
from hven.descriptor.outcome import Broken

if TYPE_CHECKING:
    from hven.descriptor.value_schema import Faults
    from hven.descriptor.written import Written
    from hven.model.resource import TableSpec
    from hven.model.table import Column

PRODUCTS = frozenset({"PRODUCT_SIZE", "PRODUCT_MD5"})
MASK = "MASK_CONTOUR"
FOOTPRINT = "file.footprint"
_HEADED = {("fits", "header"), ("product", "images")}  # which make it


class Finder(Protocol):
    """What knows the source's columns."""

    faults: Faults

    @property
    def spec(self) -> TableSpec:
        """The table that is mapped."""

    def find(self, ident: Ident) -> Column | None:
        """Find a column by its name."""


def footprint(names: Finder, node: Function, text: Written, what: str, offset: int) -> Expr:
    """Take the footprint that the source makes of a header; of other sources fill in the cards: CDi_j, PCi_j with CDELTi, or CDELTi with CROTA2."""

    def card(name: str) -> Expr | None:
        column = (
            names.find(Ident(name)) or names.find(Ident(f"Z{name}"))
            if name.startswith("NAXIS")
            else names.find(Ident(name))
        )
        return None if column is None else trees.name(column.name, node.at)

    def missing(words: list[str]) -> NoReturn:
        names.faults.error(
            f"{what}: wcs_footprint() finds no {', '.join(words)} among the source's columns",
            text.at(node.at + offset),
            "let the source read them (cards: [...]), or give all twelve values: wcs_footprint(ctype1, ...)",
        )
        raise Broken

    headers = all((one.kind, one.options.get("mode")) in _HEADED for one in names.spec.sources)
    if headers and (card("CTYPE1") is not None or any("cards" in one.options for one in names.spec.sources)):
        polygon = Function("CONTOUR_POLYGON", (trees.name(FOOTPRINT, node.at), Literal("largest")), at=node.at)
        view = "body" if names.spec.frame == "body" else "sky"
        return Function("ORIENTED", (polygon, Literal(view)), at=node.at)
    needed = ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "NAXIS1", "NAXIS2")
    found = {name: card(name) for name in needed}
    if lacking := [name for name, tree in found.items() if tree is None]:
        missing(lacking)
    given = [tree for tree in found.values() if tree is not None]
    matrix = _matrix({name: card(name) for name in _SCALES})
    if matrix is None:
        missing(["CD1_1 and CD2_2, nor CDELT1 and CDELT2"])
    return Function("WCS_FOOTPRINT", (*given[:6], *matrix, *given[6:]), at=node.at)


_PAIRS = ("1_1", "1_2", "2_1", "2_2")
_SCALES = (*(f"{kind}{pair}" for kind in ("CD", "PC") for pair in _PAIRS), "CDELT1", "CDELT2", "CROTA2")


def _matrix(cards: dict[str, Expr | None]) -> list[Expr] | None:
    """Build the matrix in degrees per pixel; cards that are not there, or that a file lacks, have the standard's defaults."""

    def known(name: str, default: float) -> Expr:
        tree = cards[name]
        return Literal(default) if tree is None else Function("COALESCE", (tree, Literal(default)))

    step = (cards["CDELT1"], cards["CDELT2"])
    scaled: list[Expr] | None = None
    if step[0] is not None and step[1] is not None:
        if any(cards[f"PC{pair}"] is not None for pair in _PAIRS) or cards["CROTA2"] is None:
            parts = [known(f"PC{pair}", 1.0 if pair[0] == pair[2] else 0.0) for pair in _PAIRS]
            scaled = [Binary("*", step[0 if number < 2 else 1] or step[0], part) for number, part in enumerate(parts)]
        else:
            angle = Function("RADIANS", (known("CROTA2", 0.0),))
            cos, sin = Function("COS", (angle,)), Function("SIN", (angle,))
            minus = Binary("-", Literal(0.0), Binary("*", step[1], sin))
            scaled = [Binary("*", step[0], cos), minus, Binary("*", step[0], sin), Binary("*", step[1], cos)]
    if all(cards[f"CD{pair}"] is None for pair in ("1_1", "2_2")):
        return scaled
    turned = [known(f"CD{pair}", 0.0) for pair in _PAIRS]
    if scaled is None:
        return turned
    return [_either(cards, one, other) for one, other in zip(turned, scaled, strict=True)]


def _either(cards: dict[str, Expr | None], one: Expr, other: Expr) -> Expr:
    """Choose by what each row has: some files of an archive have CDi_j, others CDELTi."""
    there = [
        IsNull(tree, negated=True)
        for name, tree in cards.items()
        if name.startswith("CD") and "_" in name and tree is not None
    ]
    return Case(None, ((Or(tuple(there)) if len(there) > 1 else there[0], one),), other)
