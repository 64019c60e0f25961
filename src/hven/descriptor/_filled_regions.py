"""What a table says of a region follows from the contour that is set for its outline: cells where no polygon says it, bounds, quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.tree import Expr, Function, Literal, walk
from hven.model.resource import Rule
from hven.model.sky import frames
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.tree import Meta
    from hven.model.errors import Place
    from hven.model.table import Table
    from hven.model.types import Type

OUTLINE = "s_region"
COVERAGE, QUALITY = "coverage", "region_quality"
_BOUNDS = {"c1min": "west", "c1max": "east", "c2min": "south", "c2max": "north"}
FILLED = frozenset({OUTLINE, COVERAGE, QUALITY, *_BOUNDS})
LARGEST = "largest"
_SHAPES = {"circle", "polygon", "shape", "multishape", "adql:REGION", "region"}


def expected(table: Table, said: Sequence[Rule], place: Place) -> Iterator[Rule]:
    """Yield what is looked at in columns of shapes and cells, where neither the descriptor nor a standard has such a rule."""
    known = {(rule.check, name) for rule in said for name in rule.columns}
    bodies = {frame.id for frame in table.frames if frame.system == frames.BODY}
    for column in table.columns:
        kind, name = column.type.xtype or "", column.name
        view = "body" if column.frame in bodies else "sky"
        looked = {"moc"} if kind == "moc" else {"region", "simple"} if kind in _SHAPES else set()
        for check, severity, message in (
            ("moc", "error", f"{name} must be an ASCII MOC: '6/1-4 9 7/12'"),
            ("region", "error", f"{name} must be a shape on the sphere: latitudes from -90 to 90 degrees, a radius from 0 to 180, three corners or more"),
            ("simple", "warning", "a polygon crosses itself, or has no area: what it winds round is published"),
        ):  # fmt: skip
            if check in looked and (check, name) not in known:
                yield Rule(
                    name=f"{name}: {check}",
                    condition="",
                    severity=severity,
                    message=message,
                    check=check,
                    columns=(name,),
                    of=view,
                    place=place,
                )


def drawn(tree: Expr, meta: Meta, kind: Type | None) -> Expr | None:
    """Ask a contour for what a column takes: cells, several shapes or a polygon; None for a column that takes none of them."""
    if meta.type != CONTOUR or kind is None:
        return None
    if kind.adql == "MOC":
        return _called("CONTOUR_MOC", tree)
    if kind.xtype in {"shape", "multishape"}:
        return _called("CONTOUR_SHAPE", tree)
    return _called("CONTOUR_POLYGON", tree, LARGEST) if kind.adql in {"REGION", "POLYGON"} else None


def asked(tree: Expr, meta: Meta) -> tuple[Expr, str] | None:
    """Find the contour that an outline is made of, and which part of it is drawn where it has several."""
    if meta.type == CONTOUR:
        return tree, LARGEST
    if isinstance(tree, Function) and tree.name == "ORIENTED":
        return asked(tree.args[0], meta)
    if isinstance(tree, Function) and tree.name in {"CONTOUR_POLYGON", "CONTOUR_SHAPE"}:
        part = tree.args[1].value if len(tree.args) > 1 and isinstance(tree.args[1], Literal) else LARGEST
        return tree.args[0], str(part)
    return None


def follows(name: str, contour: Expr, part: str) -> Expr:
    """Make the value of one of the columns that follow."""
    if name == COVERAGE:
        return _called("CONTOUR_MOC", contour, "rest")
    if name == QUALITY:
        return _called("CONTOUR_QUALITY", contour, part)
    return _called("CONTOUR_BOUND", contour, _BOUNDS[name])


def fault(contour: Expr) -> list[tuple[str, Expr]]:
    """Make what is asked of contours once more: the name of the fault, what it says, the area, and the quality of those that may be mended."""
    mended = any(isinstance(node, Function) and node.name == "GEOJSON_CONTOUR" for node in walk(contour))
    asked = [(QUALITY, _called("CONTOUR_QUALITY", contour))] if mended else []
    said = ("name", _called("CONTOUR_FAULT", contour, "name")), ("said", _called("CONTOUR_FAULT", contour))
    return [*said, ("area", _called("CONTOUR_AREA", contour)), *asked]


def ask_contours(tree: Expr) -> bool:
    """Check whether a value is made of a contour."""
    return any(isinstance(node, Function) and node.name.startswith("CONTOUR_") for node in walk(tree))


def _called(name: str, contour: Expr, *words: str) -> Function:
    return Function(name, (contour, *(Literal(word) for word in words)), at=contour.at)
