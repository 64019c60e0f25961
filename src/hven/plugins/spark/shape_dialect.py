"""Geometry in the dialect of Spark.

Cones, distances and cells are SQL, which Spark compiles. Functions of Hven on the workers compute with other shapes
(`spark_functions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hven.adql import value_kinds
from hven.adql.syntax_tree import ColumnRef, Comparison, FunctionCall, TableRef, walk_tree
from hven.adql.value_kinds import require_meta
from hven.engines.api.dialects import TOLERANCE_DEGREES, EngineDialect
from hven.engines.api.rows import MISSING_KEY
from hven.plugins.spark.cell_matches import (
    CELL_COLUMN,
    PROBE_CELL_COLUMN,
    QUERY_NAME_MARK,
    SPREAD_CELL_COLUMN,
    SPREAD_SUFFIX,
    PositionMatchCondition,
    find_position_match_conditions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BoundQuery, Expr

_TEXT_SHAPE_KINDS = {"region", "moc"}


class SparkShapeDialect(EngineDialect):
    """The part of the dialect that writes geometry.

    Attributes
    ----------
    view_names
        Qualified table name -> name of the view of its rows.
    cell_views
        Views whose cells of order 29 are read.
    spread_matches
        Number of a table reference -> the match for which its rows are spread.
    probe_matches
        View -> the match for which the cells of another position are computed.
    raise_template
        Template of an expression that fails with a text.
    """

    raise_template: ClassVar[str]

    def __init__(self, bound_query: BoundQuery) -> None:
        super().__init__()
        self.view_names = {
            table.qualified_name: f"r{number}{QUERY_NAME_MARK}" for number, table in enumerate(bound_query.tables)
        }
        self.cell_views: set[str] = set()
        self._table_refs = {
            node.number: node
            for node in walk_tree(bound_query.query)
            if isinstance(node, TableRef) and node.table is not None
        }
        self._cell_matches = find_position_match_conditions(bound_query)
        self.spread_matches: dict[int, PositionMatchCondition] = {
            match.spread_table.number: match for match in self._cell_matches.values()
        }
        self.probe_matches: dict[str, PositionMatchCondition] = {}
        for match in self.spread_matches.values():
            if match.is_indexed:
                self._require_stored_cell(match.probe_columns[0])
            else:
                self.probe_matches[self.view_names[match.probe_table]] = match

    def name_spread_view(self, view_name: str) -> str:
        """Name the view of the rows of a table that are spread over cells."""
        return view_name + SPREAD_SUFFIX

    def _require_stored_cell(self, column: ColumnRef) -> str:
        """Write the cell of order 29 of a row of a table with a position."""
        table = self._table_refs[column.source].table
        if table is not None:
            self.cell_views.add(self.view_names[table.qualified_name])
        return f"t{column.source}.{self.quote_identifier(CELL_COLUMN)}"

    def _write_cell_condition(self, node: Expr) -> str:
        """Write the equality of cells that stands beside an exact test; empty if there is none."""
        match = self._cell_matches.get(id(node))
        if match is None:
            return ""
        number = match.spread_table.number
        lon = match.probe_columns[0]
        order = f"CAST(:m{number} AS INT)"
        if match.is_indexed:
            cell_sql = self._require_stored_cell(lon)
        else:
            cell_sql = f"t{lon.source}.{self.quote_identifier(PROBE_CELL_COLUMN)}"
        return f"shiftright({cell_sql}, 58 - 2 * {order}) = t{number}.{self.quote_identifier(SPREAD_CELL_COLUMN)} AND "

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Write a comparison; ``DISTANCE(..) < r`` compares the latitudes first, which costs a tenth."""
        condition = super().write_comparison(writer, node)
        cell_condition = self._write_cell_condition(node)
        distance, limit = (node.left, node.right) if node.op in {"<", "<="} else (node.right, node.left)
        is_distance = isinstance(distance, FunctionCall) and distance.name == "DISTANCE" and len(distance.args) == 4
        if is_distance and node.op in {"<", "<=", ">", ">="} and require_meta(limit).constant:
            lon1, lat1, lon2, lat2 = self.write_doubles(writer, distance.args)  # type: ignore[attr-defined]
            limit_sql = writer.write_expression(limit)
            quick_test = f"abs({lat1} - {lat2}) <= {limit_sql} + 1e-9D OR {lon1} + {lon2} IS NULL"
            condition = f"(({quick_test}) AND {condition})"
        if cell_condition:
            return f"({cell_condition}{condition})"
        return condition

    # --- shapes

    def write_coordinate(self, shape_sql: str, number: int) -> str:
        """Write a coordinate of a shape."""
        return f"get({shape_sql}, {number - 1})"

    def write_array_of_numbers(self, numbers_sql: str) -> str:
        """Write a list of doubles."""
        return f"array({numbers_sql})"

    def write_shape_numbers(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as the list of doubles that the functions take."""
        return self.write_constructed_shape(writer, node) or f"CAST({writer.write_expression(node)} AS ARRAY<DOUBLE>)"

    def write_distance(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write DISTANCE in degrees: sqrt(h) and sqrt(1 - h) are both accurate, so the angle is at every separation."""
        if len(node.args) == 4:
            lon1, lat1, lon2, lat2 = self.write_doubles(writer, node.args)
        else:
            lon1, lat1 = self.write_point_coordinates(writer, node.args[0])
            lon2, lat2 = self.write_point_coordinates(writer, node.args[1])
        near = _write_haversine(lon1, lat1, lon2, lat2)
        far = _write_haversine(f"({lon1} + 180)", f"(-({lat1}))", lon2, lat2)
        return f"degrees(2 * atan2(sqrt(abs({near})), sqrt(abs({far}))))"

    def write_healpix_index(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_HEALPIX_INDEX; for a table's own position it reads the stored cell."""
        coordinates = node.args[1:]
        if len(coordinates) == 1 and isinstance(coordinates[0], FunctionCall) and coordinates[0].name == "POINT":
            coordinates = coordinates[0].args
        lon = coordinates[0]
        if isinstance(lon, ColumnRef) and self._is_table_position(coordinates):
            order = f"CAST({writer.write_expression(node.args[0])} AS INT)"
            cell = f"nullif({self._require_stored_cell(lon)}, {MISSING_KEY}L)"
            return f"CASE WHEN {order} BETWEEN 0 AND 29 THEN shiftright({cell}, 58 - 2 * {order}) END"
        return super().write_healpix_index(writer, node).replace("AS INTEGER", "AS INT")

    def _is_table_position(self, coordinates: Sequence[Expr]) -> bool:
        """Return whether two expressions are the position of one table."""
        if len(coordinates) != 2:
            return False
        lon, lat = coordinates
        if not isinstance(lon, ColumnRef) or not isinstance(lat, ColumnRef) or lon.source != lat.source:
            return False
        table_ref = self._table_refs.get(lon.source)
        if table_ref is None or table_ref.table is None or lon.column is None or lat.column is None:
            return False
        return table_ref.table.position == (lon.column.name, lat.column.name)

    def write_proper_motion(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write GAVO_APPLY_PM, with proper motions in degrees per year."""
        ra, dec, pm_ra, pm_dec, years = self.write_doubles(writer, node.args)
        return f"hven_moved({ra}, {dec}, {years}, 3.6e6D * {pm_ra}, 3.6e6D * {pm_dec}, 0D, 0D)"

    def write_epoch_propagation(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_EPOCH_PROP_POS.

        Arguments that may be NULL become 0 then; for the others NULL is an error.
        """
        ra, dec, parallax, pm_ra, pm_dec, velocity, start, end = self.write_doubles(writer, node.args)
        names = ("ra", "dec", "ref_epoch", "out_epoch")
        error_texts = (f"'IVO_EPOCH_PROP_POS: {name} is NULL; leave such rows out'" for name in names)
        required_sql = [
            f"CASE WHEN {text} IS NULL THEN CAST({self.raise_template.format(error_text)} AS DOUBLE) ELSE {text} END"
            for error_text, text in zip(error_texts, (ra, dec, start, end), strict=True)
        ]
        optional_sql = ", ".join(f"coalesce({text}, 0D)" for text in (pm_ra, pm_dec, parallax, velocity))
        return (
            f"hven_moved({required_sql[0]}, {required_sql[1]}, {required_sql[3]} - {required_sql[2]}, {optional_sql})"
        )

    def write_frame_transform(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write IVO_GEOM_TRANSFORM, a rotation."""
        source, target, shape = node.args
        return (
            f"hven_turned({writer.write_expression(source)}, {writer.write_expression(target)}, "
            f"{self.write_shape_numbers(writer, shape)})"
        )

    def write_moc(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write MOC of a text, which is the text itself, or of a shape."""
        if len(node.args) == 1:
            return writer.write_expression(node.args[0])
        return (
            f"hven_moc(CAST({writer.write_expression(node.args[0])} AS INT), "
            f"{self.write_shape_text(writer, node.args[1])})"
        )

    def write_shape_text(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as text."""
        kind = value_kinds.classify_type(require_meta(node).type)
        if kind in _TEXT_SHAPE_KINDS:
            return writer.write_expression(node)
        if kind == "point":
            lon, lat = self.write_point_coordinates(writer, node)
            return f"('point ' || CAST({lon} AS STRING) || ' ' || CAST({lat} AS STRING))"
        return f"hven_text({self.write_shape_numbers(writer, node)})"

    def write_area(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write AREA, in square degrees."""
        if value_kinds.classify_type(require_meta(node.args[0]).type) in _TEXT_SHAPE_KINDS:
            return f"hven_area_text({writer.write_expression(node.args[0])})"
        return f"hven_area({self.write_shape_numbers(writer, node.args[0])})"

    def write_centroid(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CENTROID, a point."""
        if value_kinds.classify_type(require_meta(node.args[0]).type) in _TEXT_SHAPE_KINDS:
            return f"hven_centroid_text({writer.write_expression(node.args[0])})"
        return f"hven_centroid({self.write_shape_numbers(writer, node.args[0])})"

    # --- comparisons of shapes

    def write_geometry_predicate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CONTAINS or INTERSECTS as a condition."""
        left_shape, right_shape = node.args
        left_kind = value_kinds.classify_type(require_meta(left_shape).type)
        right_kind = value_kinds.classify_type(require_meta(right_shape).type)
        if {left_kind, right_kind} & _TEXT_SHAPE_KINDS:
            return self._write_text_predicate(writer, node, left_kind)
        if node.name == "INTERSECTS" and right_kind == "point" and left_kind != "point":
            left_shape, right_shape = right_shape, left_shape
            left_kind, right_kind = right_kind, left_kind
        if left_kind == "point" and right_kind == "circle":
            point_sql = self.write_point_coordinates(writer, left_shape)
            circle_sql = self.write_circle_numbers(writer, right_shape)
            return f"({self._write_cell_condition(node)}{_write_in_circle_condition(*point_sql, *circle_sql)})"
        if left_kind == "point" and right_kind == "polygon":
            lon, lat = self.write_point_coordinates(writer, left_shape)
            return f"hven_in_polygon({lon}, {lat}, {self.write_shape_numbers(writer, right_shape)})"
        left_sql, right_sql = (self.write_shape_numbers(writer, arg) for arg in node.args)
        return f"hven_{node.name.lower()}({left_sql}, {right_sql})"

    def _write_text_predicate(self, writer: SqlWriter, node: FunctionCall, left_kind: str) -> str:
        """Write a predicate of shapes at least one of which is text: a region or a MOC."""
        left_shape, right_shape = node.args
        right_kind = value_kinds.classify_type(require_meta(right_shape).type)
        if node.name == "CONTAINS" and left_kind == "point" and right_kind in _TEXT_SHAPE_KINDS:
            lon, lat = self.write_point_coordinates(writer, left_shape)
            return f"hven_in_text({lon}, {lat}, {writer.write_expression(right_shape)})"
        left_sql, right_sql = (self.write_shape_text(writer, arg) for arg in node.args)
        return f"hven_{node.name.lower()}_text({left_sql}, {right_sql})"


def _write_haversine(lon1: str, lat1: str, lon2: str, lat2: str) -> str:
    return (
        f"(pow(sin(radians({lat1} - ({lat2})) / 2), 2) + cos(radians({lat1})) * cos(radians({lat2})) * "
        f"pow(sin(radians({lon1} - ({lon2})) / 2), 2))"
    )


def _write_in_circle_condition(lon_sql: str, lat_sql: str, lon0: str, lat0: str, radius_sql: str) -> str:
    """Write whether a position lies in a circle, with a quick test of the latitudes before the exact one.

    The quick test must not make FALSE of a condition that is NULL. Beyond 90 degrees the haversine loses digits, so the
    condition tests the circle around the antipode.
    """
    near_sql = (
        f"{_write_haversine(lon_sql, lat_sql, lon0, lat0)} <= pow(sin(radians({radius_sql} + {TOLERANCE_DEGREES}D) "
        f"/ 2), 2)"
    )
    limit_sql = (
        f"CASE WHEN {radius_sql} >= 180 THEN -1D ELSE pow(sin(radians(180 - {radius_sql} - {TOLERANCE_DEGREES}D) / "
        f"2), 2) END"
    )
    far_sql = f"{_write_haversine(lon_sql, lat_sql, f'({lon0} + 180)', f'(-({lat0}))')} >= {limit_sql}"
    return (
        f"((abs({lat_sql} - {lat0}) <= {radius_sql} + 1e-9D OR {lon_sql} + {lon0} IS NULL) AND {radius_sql} >= 0"
        f" AND CASE WHEN {radius_sql} <= 90 THEN {near_sql} ELSE {far_sql} END)"
    )
