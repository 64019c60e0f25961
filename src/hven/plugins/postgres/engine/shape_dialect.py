"""Geometry in the dialect of PostgreSQL.

Shapes are arrays of numbers, distinguished by their length: 2 for a point, 3 for a circle, 6 or more for a polygon.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.adql import value_kinds
from hven.adql.syntax_tree import ColumnRef, walk_tree
from hven.adql.value_kinds import require_meta
from hven.engines.api.dialects import EngineDialect

if TYPE_CHECKING:
    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import Expr, FunctionCall
    from hven.plugins.postgres.engine.position_search import TableReferenceWriter

_UNSUPPORTED_KINDS = {"region", "moc", "range"}


class PostgresShapeDialect(EngineDialect):
    """The part of the dialect that writes geometry."""

    table_writer: TableReferenceWriter
    uses_settings: bool

    @abstractmethod
    def raise_unsupported(self, writer: SqlWriter, node: Expr) -> str:
        """Refuse an expression that the embedded engine must compute."""

    @abstractmethod
    def write_parameter(self, parameter_number: int) -> str:
        """Write a parameter without a type."""

    def write_array_of_numbers(self, numbers_sql: str) -> str:
        """Write a list of doubles."""
        return f"ARRAY[{numbers_sql}]::double precision[]"

    def write_shape_numbers(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as double precision[]."""
        if value_kinds.classify_type(require_meta(node).type) in _UNSUPPORTED_KINDS:
            self.raise_unsupported(writer, node)
        constructed_sql = self.write_constructed_shape(writer, node)
        if constructed_sql:
            return constructed_sql
        return f"CAST({writer.write_expression(node)} AS double precision[])"

    def write_prepared_polygon(self, writer: SqlWriter, node: Expr) -> str:
        """Write a polygon prepared for the tests; PostgreSQL prepares a constant one once for the whole query."""
        ring_sql = f"hven_ring({self.write_shape_numbers(writer, node)})"
        if require_meta(node).constant:
            return f"(SELECT {ring_sql})"
        return ring_sql

    def write_area(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write AREA, in square degrees."""
        return f"hven_area({self.write_shape_numbers(writer, node.args[0])})"

    def write_centroid(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CENTROID, a point."""
        kind = value_kinds.classify_type(require_meta(node.args[0]).type)
        if kind in {"point", "circle"}:
            return f"({self.write_shape_numbers(writer, node.args[0])})[1:2]"
        return self.raise_unsupported(writer, node)

    def write_moc(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write MOC of a text, which is the text itself; the embedded engine makes MOCs of shapes."""
        if len(node.args) == 1:
            return writer.write_expression(node.args[0])
        return self.raise_unsupported(writer, node)

    def write_geometry_predicate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CONTAINS or INTERSECTS as a condition."""
        left_shape, right_shape = node.args
        left_kind = value_kinds.classify_type(require_meta(left_shape).type)
        right_kind = value_kinds.classify_type(require_meta(right_shape).type)
        if {left_kind, right_kind} & _UNSUPPORTED_KINDS:
            self.raise_unsupported(writer, node)
        if node.name == "INTERSECTS" and right_kind == "point" and left_kind != "point":
            left_shape, right_shape = right_shape, left_shape
            left_kind, right_kind = right_kind, left_kind
        if left_kind == "point" and right_kind == "circle":
            return self._write_point_in_circle(writer, node, left_shape, right_shape)
        if left_kind == "point" and right_kind == "polygon":
            return self._write_point_in_polygon(writer, node, left_shape, right_shape)
        return self._write_shape_predicate(writer, node, (left_shape, left_kind), (right_shape, right_kind))

    def _write_point_in_circle(self, writer: SqlWriter, node: FunctionCall, point: Expr, circle: Expr) -> str:
        lon, lat = self.write_point_coordinates(writer, point)
        circle_sql = self.write_circle_numbers(writer, circle)
        index_condition = self.table_writer.write_circle_index_condition(
            self, writer, node, circle_sql=circle_sql, point_expression=point, circle_expression=circle
        )
        exact_condition = write_in_circle_condition(lon, lat, *circle_sql)
        if index_condition:
            return f"({index_condition} AND {exact_condition})"
        return exact_condition

    def _write_point_in_polygon(self, writer: SqlWriter, node: FunctionCall, point: Expr, polygon: Expr) -> str:
        lon, lat = self.write_point_coordinates(writer, point)
        if require_meta(polygon).constant:
            return f"hven_in_ring({lon}, {lat}, {self.write_prepared_polygon(writer, polygon)})"
        cell_column = self.table_writer.find_cell_column(node, polygon)
        polygon_sql = self.write_shape_numbers(writer, polygon)
        condition = f"NOT hven_aside({lon}, {lat}, 0, {polygon_sql}) AND hven_holds({lon}, {lat}, {polygon_sql})"
        if cell_column is None:
            return f"({condition})"
        return f"({writer.write_expression(cell_column)} && hven_cells_at({lon}, {lat}) AND {condition})"

    def _write_shape_predicate(
        self, writer: SqlWriter, node: FunctionCall, left: tuple[Expr, str], right: tuple[Expr, str]
    ) -> str:
        """Write a predicate of two shapes (each with its kind), neither of which is a point in the other."""
        (left_shape, left_kind), (right_shape, right_kind) = left, right
        left_sql = self.write_shape_numbers(writer, left_shape)
        right_sql = self.write_shape_numbers(writer, right_shape)
        condition = f"hven_{node.name.lower()}({left_sql}, {right_sql})"
        kinds = {left_kind, right_kind}
        # A quick test comes first, which costs a twentieth of the exact one.
        if kinds == {"circle", "polygon"}:
            circle, polygon_sql = (left_shape, right_sql) if left_kind == "circle" else (right_shape, left_sql)
            circle_sql = ", ".join(self.write_circle_numbers(writer, circle))
            condition = f"NOT hven_aside({circle_sql}, {polygon_sql}) AND {condition}"
        elif "polygon" in kinds:
            condition = f"NOT hven_apart({left_sql}, {right_sql}) AND {condition}"
        for column, other, other_sql in ((right_shape, left_shape, left_sql), (left_shape, right_shape, right_sql)):
            if not isinstance(column, ColumnRef) or column.source in _list_table_numbers(other):
                continue
            cell_column = self.table_writer.find_cell_column(node, column)
            if cell_column is not None:
                return f"({writer.write_expression(cell_column)} && hven_cells_around({other_sql}) AND {condition})"
        return f"({condition})"


def _list_table_numbers(node: Expr) -> set[int]:
    """Return the numbers of the table references whose columns an expression reads."""
    return {part.source for part in walk_tree(node) if isinstance(part, ColumnRef)}


def write_in_circle_condition(lon_sql: str, lat_sql: str, lon0: str, lat0: str, radius_sql: str) -> str:
    """Write whether a position lies in a circle, with a quick test of the latitudes before the exact one.

    The quick test must not make FALSE of a condition that is NULL.
    """
    return (
        f"((abs({lat_sql} - {lat0}) <= {radius_sql} + 1e-9 OR {lon_sql} + {lon0} IS NULL) AND "
        f"hven_in_circle({lon_sql}, {lat_sql}, {lon0}, {lat0}, {radius_sql}))"
    )
