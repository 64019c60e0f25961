"""Geometry in PostgreSQL's dialect: shapes are arrays of numbers, told by their length.

2 a point, 3 a circle, 6 and more a polygon.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.adql import value_kinds
from hven.adql.syntax_tree import ColumnRef, walk_tree
from hven.adql.value_kinds import require_meta
from hven.engines._dialect import EngineDialect

if TYPE_CHECKING:
    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import Expr, FunctionCall
    from hven.engines.postgres.position_search import TableReferenceWriter

_TEXT_SHAPE_KINDS = {"region", "moc"}


class PostgresShapeDialect(EngineDialect):
    """What the dialect says about geometry."""

    table_writer: TableReferenceWriter
    uses_settings: bool

    @abstractmethod
    def raise_unsupported(self, writer: SqlWriter, node: Expr) -> str:
        """Refuse what the embedded engine must compute."""

    @abstractmethod
    def write_parameter(self, parameter_number: int) -> str:
        """Write a parameter without a type."""

    def write_number_list(self, numbers_sql: str) -> str:
        """Write a list of doubles."""
        return f"ARRAY[{numbers_sql}]::double precision[]"

    def write_shape_numbers(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as double precision[]."""
        if value_kinds.classify_type(require_meta(node).type) in _TEXT_SHAPE_KINDS | {"range"}:
            self.raise_unsupported(writer, node)
        return (
            self.write_constructed_shape(writer, node) or f"CAST({writer.write_expression(node)} AS double precision[])"
        )

    def write_ring(self, writer: SqlWriter, node: Expr) -> str:
        """Write a polygon with what the tests need, made once for the whole query if it is constant."""
        ring_sql = f"hven_ring({self.write_shape_numbers(writer, node)})"
        if require_meta(node).constant:
            return f"(SELECT {ring_sql})"
        return ring_sql

    def write_area(self, writer: SqlWriter, node: FunctionCall) -> str:
        """AREA in square degrees."""
        return f"hven_area({self.write_shape_numbers(writer, node.args[0])})"

    def write_centroid(self, writer: SqlWriter, node: FunctionCall) -> str:
        """CENTROID, a point."""
        kind = value_kinds.classify_type(require_meta(node.args[0]).type)
        if kind in {"point", "circle"}:
            return f"({self.write_shape_numbers(writer, node.args[0])})[1:2]"
        return self.raise_unsupported(writer, node)

    def write_moc(self, writer: SqlWriter, node: FunctionCall) -> str:
        """MOC of text, which it is already; that of a shape is made elsewhere."""
        if len(node.args) == 1:
            return writer.write_expression(node.args[0])
        return self.raise_unsupported(writer, node)

    def write_predicate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """CONTAINS and INTERSECTS as a condition."""
        left_shape, right_shape = node.args
        left_kind = value_kinds.classify_type(require_meta(left_shape).type)
        right_kind = value_kinds.classify_type(require_meta(right_shape).type)
        if {left_kind, right_kind} & (_TEXT_SHAPE_KINDS | {"range"}):
            self.raise_unsupported(writer, node)
        if node.name == "INTERSECTS" and right_kind == "point" and left_kind != "point":
            left_shape, right_shape, left_kind, right_kind = right_shape, left_shape, right_kind, left_kind
        if left_kind == "point" and right_kind == "circle":
            lon, lat = self.write_point_coordinates(writer, left_shape)
            circle = self.write_circle_numbers(writer, right_shape)
            beside = self.table_writer.write_circle_condition(self, writer, node, left_shape, circle, right_shape)
            test = write_in_circle(lon, lat, *circle)
            if beside:
                return f"({beside} AND {test})"
            return test
        if left_kind == "point" and right_kind == "polygon":
            lon, lat = self.write_point_coordinates(writer, left_shape)
            if require_meta(right_shape).constant:
                return f"hven_in_ring({lon}, {lat}, {self.write_ring(writer, right_shape)})"
            cells = self.table_writer.find_cell_column(node, right_shape)
            ring = self.write_shape_numbers(writer, right_shape)
            near = f"NOT hven_aside({lon}, {lat}, 0, {ring}) AND hven_holds({lon}, {lat}, {ring})"
            if cells is None:
                return f"({near})"
            return f"({writer.write_expression(cells)} && hven_cells_at({lon}, {lat}) AND {near})"
        left_numbers = self.write_shape_numbers(writer, left_shape)
        right_numbers = self.write_shape_numbers(writer, right_shape)
        test = f"hven_{node.name.lower()}({left_numbers}, {right_numbers})"
        if {left_kind, right_kind} == {"circle", "polygon"}:  # a first look costs a twentieth
            if left_kind == "circle":
                round_one, ring = (left_shape, right_numbers)
            else:
                round_one, ring = (right_shape, left_numbers)
            test = f"NOT hven_aside({', '.join(self.write_circle_numbers(writer, round_one))}, {ring}) AND {test}"
        elif {left_kind, right_kind} & {"polygon"}:
            test = f"NOT hven_apart({left_numbers}, {right_numbers}) AND {test}"
        for side, other, numbers in ((right_shape, left_shape, left_numbers), (left_shape, right_shape, right_numbers)):
            if not isinstance(side, ColumnRef) or side.source in {
                read.source for read in walk_tree(other) if isinstance(read, ColumnRef)
            }:
                continue
            cells = self.table_writer.find_cell_column(node, side)
            if cells is not None:
                return f"({writer.write_expression(cells)} && hven_cells_around({numbers}) AND {test})"
        return f"({test})"


def write_in_circle(lon_sql: str, lat_sql: str, lon0: str, lat0: str, radius_sql: str) -> str:
    """Write whether a position lies in a circle; first a test that costs little: the latitudes.

    It must not make FALSE of what is NULL.
    """
    return (
        f"((abs({lat_sql} - {lat0}) <= {radius_sql} + 1e-9 OR {lon_sql} + {lon0} IS NULL) AND "
        f"hven_in_circle({lon_sql}, {lat_sql}, {lon0}, {lat0}, {radius_sql}))"
    )
