"""What a table says of a region follows from the contour that is set for its outline.

Cells where no polygon says it, bounds, quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.syntax_tree import Expr, FunctionCall, Literal, walk_tree
from hven.model.resource import ValidationRule
from hven.model.sky import frames
from hven.model.types import CONTOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.adql.syntax_tree import ValueMetadata
    from hven.model.errors import TextPlace
    from hven.model.table import Table
    from hven.model.types import ColumnType

OUTLINE_COLUMN = "s_region"
COVERAGE_COLUMN, QUALITY_COLUMN = "coverage", "region_quality"
_BOUND_COLUMNS = {"c1min": "west", "c1max": "east", "c2min": "south", "c2max": "north"}
CONTOUR_COLUMNS = frozenset({OUTLINE_COLUMN, COVERAGE_COLUMN, QUALITY_COLUMN, *_BOUND_COLUMNS})
LARGEST_PART = "largest"
_SHAPE_XTYPES = {"circle", "polygon", "shape", "multishape", "adql:REGION", "region"}


def iterate_region_rules(
    table: Table, declared_rules: Sequence[ValidationRule], place: TextPlace
) -> Iterator[ValidationRule]:
    """Yield rules for columns of shapes and cells, where neither the descriptor nor a standard has one."""
    declared_checks = {(rule.check, name) for rule in declared_rules for name in rule.columns}
    bodies = {frame.id for frame in table.frames if frame.system == frames.BODY_FRAME_NAME}
    for column in table.columns:
        xtype = column.type.xtype or ""
        name = column.name
        frame_kind = "body" if column.frame in bodies else "sky"
        if xtype == "moc":
            checks = {"moc"}
        elif xtype in _SHAPE_XTYPES:
            checks = {"region", "simple"}
        else:
            checks = set()
        for check, severity, message in (
            ("moc", "error", f"{name} must be an ASCII MOC: '6/1-4 9 7/12'"),
            (
                "region",
                "error",
                (
                    f"{name} must be a shape on the sphere: latitudes from -90 to 90 degrees, a radius from 0 to "
                    f"180, three corners or more"
                ),
            ),
            ("simple", "warning", "a polygon crosses itself or has no area; Hven publishes the area that it encloses"),
        ):
            if check in checks and (check, name) not in declared_checks:
                yield ValidationRule(
                    name=f"{name}: {check}",
                    condition="",
                    severity=severity,
                    message=message,
                    check=check,
                    columns=(name,),
                    of=frame_kind,
                    place=place,
                )


def convert_contour_for_column(tree: Expr, meta: ValueMetadata, column_type: ColumnType | None) -> Expr | None:
    """Ask a contour for what a column takes: cells, several shapes or a polygon.

    None for a column that takes none of them.
    """
    if meta.type != CONTOUR or column_type is None:
        return None
    if column_type.adql == "MOC":
        return _build_contour_call("CONTOUR_MOC", tree)
    if column_type.xtype in {"shape", "multishape"}:
        return _build_contour_call("CONTOUR_SHAPE", tree)
    if column_type.adql in {"REGION", "POLYGON"}:
        return _build_contour_call("CONTOUR_POLYGON", tree, LARGEST_PART)
    return None


def find_contour(tree: Expr, meta: ValueMetadata) -> tuple[Expr, str] | None:
    """Find the contour that an outline is made of, and which part of it is drawn where it has several."""
    if meta.type == CONTOUR:
        return tree, LARGEST_PART
    if isinstance(tree, FunctionCall) and tree.name == "ORIENTED":
        return find_contour(tree.args[0], meta)
    if isinstance(tree, FunctionCall) and tree.name in {"CONTOUR_POLYGON", "CONTOUR_SHAPE"}:
        if len(tree.args) > 1 and isinstance(tree.args[1], Literal):
            part_word = tree.args[1].value
        else:
            part_word = LARGEST_PART
        return tree.args[0], str(part_word)
    return None


def build_contour_column_expression(name: str, contour: Expr, part_word: str) -> Expr:
    """Make the value of one of the columns that follow."""
    if name == COVERAGE_COLUMN:
        return _build_contour_call("CONTOUR_MOC", contour, "rest")
    if name == QUALITY_COLUMN:
        return _build_contour_call("CONTOUR_QUALITY", contour, part_word)
    return _build_contour_call("CONTOUR_BOUND", contour, _BOUND_COLUMNS[name])


def build_contour_diagnostic_columns(contour: Expr) -> list[tuple[str, Expr]]:
    """Build the columns that explain why contours have no region.

    They contain the name and the text of the fault, the area, and the quality of contours that can be corrected.
    """
    may_be_corrected = any(
        isinstance(node, FunctionCall) and node.name == "GEOJSON_CONTOUR" for node in walk_tree(contour)
    )
    if may_be_corrected:
        quality_items = [(QUALITY_COLUMN, _build_contour_call("CONTOUR_QUALITY", contour))]
    else:
        quality_items = []
    contour_call = _build_contour_call("CONTOUR_FAULT", contour, "name")
    fault_items = (
        ("name", contour_call),
        ("said", _build_contour_call("CONTOUR_FAULT", contour)),
    )
    return [*fault_items, ("area", _build_contour_call("CONTOUR_AREA", contour)), *quality_items]


def has_contour_call(tree: Expr) -> bool:
    """Check whether a value is made of a contour."""
    return any(isinstance(node, FunctionCall) and node.name.startswith("CONTOUR_") for node in walk_tree(tree))


def _build_contour_call(name: str, contour: Expr, *words: str) -> FunctionCall:
    return FunctionCall(name, (contour, *(Literal(word) for word in words)), text_offset=contour.text_offset)
