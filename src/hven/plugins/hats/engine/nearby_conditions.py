"""Matches with rows in memory, such as an upload: only rows in the cells around their positions are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from hven.engines import MemoryRelation
from hven.engines.api.geometry_analysis import (
    match_circle_parts,
    match_column_pair,
    match_distance_conditions,
    match_point_coordinates,
    match_point_in_shape,
)
from hven.engines.api.query_analysis import compile_constant, match_indexed_position
from hven.model.sky import healpix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.adql.syntax_tree import Expr
    from hven.engines import Relation
    from hven.engines.api.query_analysis import Constant, NarrowableSelect

    Pair = tuple[Expr, Expr]
    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]

MAX_POSITIONS = 2_000_000  # positions whose cells are computed
POSITION_BATCH_COUNT = 200_000  # positions at a time


@dataclass(frozen=True, slots=True)
class NearMemoryRowsCondition:
    """A condition that the position of a row is near that of a row in memory.

    Attributes
    ----------
    position
        Columns of longitude and latitude of the table.
    memory_table, centre_columns
        Qualified name of the table in memory, and its columns of longitude and latitude.
    radius
        Radius in degrees, or a column of the table in memory.
    required_one
        A constant that must be 1 when the plan runs; None if there is none.
    """

    position: tuple[str, str]
    memory_table: str
    centre_columns: tuple[str, str]
    radius: Constant | str
    required_one: Constant | None

    def find_nearby_cells(self, relations: Mapping[str, Relation], literal_values: Values) -> Rows | None:
        """Return the cells of order 29 around the positions: half-open ranges, sorted and disjoint.

        None if the positions are not in memory, or are too many.
        """
        memory_relation = relations.get(self.memory_table)
        if not isinstance(memory_relation, MemoryRelation) or memory_relation.rows.num_rows > MAX_POSITIONS:
            return None
        if self.required_one is not None and self.required_one(literal_values) != 1:
            return None
        lon, lat = (_read_double_column(memory_relation.rows, name) for name in self.centre_columns)
        if isinstance(self.radius, str):
            radius = _read_double_column(memory_relation.rows, self.radius)
        else:
            radius_value = self.radius(literal_values)
            if not isinstance(radius_value, int | float):
                return None
            radius = np.full(len(lon), float(radius_value))
        cell_ranges = healpix.EMPTY_RANGES
        for begin in range(0, len(lon), POSITION_BATCH_COUNT):
            part = slice(begin, begin + POSITION_BATCH_COUNT)
            _, part_ranges = healpix.cover_cones(lon[part], lat[part], radius[part])
            cell_ranges = healpix.merge_ranges(np.concatenate([cell_ranges, part_ranges]))
        return cell_ranges

    def describe_condition(self) -> str:
        """Describe the condition in words."""
        return f"cells around the positions of {self.memory_table}, where that is in memory"


def match_nearby_condition(
    condition: Expr, narrowable: NarrowableSelect, table_number: int, free_slots: frozenset[int]
) -> NearMemoryRowsCondition | None:
    """Recognise a condition that the position of a table reference is near that of another one."""
    for first_position, second_position, size, required_one in _iterate_position_pairs(condition, free_slots):
        for table_position, memory_position in ((first_position, second_position), (second_position, first_position)):
            position = match_indexed_position(narrowable, table_number, table_position)
            centre = _find_centre_columns(narrowable, memory_position)
            if position is None or centre is None or centre.source == table_number:
                continue
            radius: Constant | str | None = compile_constant(size, free_slots)
            radius_column = narrowable.find_stored_column(size)
            if radius is None and radius_column is not None and radius_column.column is not None:
                radius = None
                if radius_column.source == centre.source:
                    radius = radius_column.column.name
            if radius is not None:
                return NearMemoryRowsCondition(position, centre.table_name, centre.columns, radius, required_one)
    return None


class _CentreColumns(NamedTuple):
    """The columns of a position, and the table reference that has them."""

    source: int
    table_name: str
    columns: tuple[str, str]


def _find_centre_columns(narrowable: NarrowableSelect, position: Pair | None) -> _CentreColumns | None:
    """Return the columns of a position, if both are stored in one table."""
    pair = match_column_pair(position)
    if pair is None:
        return None
    lon, lat = (narrowable.find_stored_column(item) for item in pair)
    if lon is None or lat is None or lon.column is None or lat.column is None:
        return None
    if lon.source is None or lon.source != lat.source:
        return None
    table = narrowable.table_refs[lon.source].table
    if table is None:
        return None
    return _CentreColumns(lon.source, table.qualified_name, (lon.column.name, lat.column.name))


def _iterate_position_pairs(
    condition: Expr, free_slots: frozenset[int]
) -> Iterator[tuple[Pair | None, Pair | None, Expr, Constant | None]]:
    """Yield the positions that a condition compares, the distance in degrees, and the constant that must be 1."""
    point_in_shape = match_point_in_shape(condition)
    if point_in_shape is not None:
        point, shape, literal = point_in_shape
        circle = match_circle_parts(shape)
        if circle is not None:
            yield match_point_coordinates(point), circle[:2], circle[2], compile_constant(literal, free_slots)
    for first, second, limit, _ in match_distance_conditions(condition):
        yield first, second, limit, None


def _read_double_column(rows: pa.Table, column_name: str) -> npt.NDArray[np.float64]:
    """Return a column as doubles; NaN where there is no value."""
    values: npt.NDArray[np.float64] = rows.column(column_name).cast(pa.float64()).to_numpy()
    return values
