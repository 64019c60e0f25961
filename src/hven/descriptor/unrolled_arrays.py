"""`for_each`: elements of array columns become rows. Which columns these are, and what an element is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.descriptor.written_yaml import LocatedYamlScalar
from hven.model.errors import suggest_spelling
from hven.model.table import Column
from hven.model.types import INT64, build_type_from_arrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.value_schema import FaultCollector
    from hven.model.resource import TableSpec

ELEMENT_INDEX_COLUMN = "each.index"  # 1 for the first element


def expand_array_columns(
    spec: TableSpec, columns: Sequence[Column], faults: FaultCollector
) -> tuple[list[Column], tuple[str, ...]]:
    """Replace the columns of arrays by those of their elements.

    Attributes
    ----------
    name that is no array stands for the arrays below it
        ``assets`` for ``assets.href`` and ``assets.size`` of a JSON source.

    Parameters
    ----------
    spec
        The table, whose ``for_each`` names them.
    columns
        Columns of the source.
    faults
        Collects the names of missing columns as faults.

    Returns
    -------
    columns, unrolled
        All columns of the source, and the names of those whose elements become rows.
    """
    if not spec.for_each:
        return list(columns), ()
    key_path = f"tables.{spec.table.name}.for_each"
    array_names: list[str] = []
    for name in spec.for_each:
        if isinstance(name, LocatedYamlScalar):
            place = name.place
        else:
            place = spec.place
        same_named_columns = [column for column in columns if column.name == name] or [
            column for column in columns if column.name.lower() == name.lower()
        ]
        nested_arrays = [
            column for column in columns if column.name.lower().startswith(f"{name.lower()}.") and _is_list(column)
        ]
        if same_named_columns and _is_list(same_named_columns[0]):
            array_names.append(same_named_columns[0].name)
        elif nested_arrays:
            array_names.extend(column.name for column in nested_arrays)
        elif same_named_columns:
            faults.add_error(
                f"{key_path}: {str(same_named_columns[0].name)!r} must be an array, not {same_named_columns[0].type}",
                place,
                "specify an array column, or remove 'for_each'",
            )
        else:
            arrays = [column.name for column in columns if _is_list(column)]
            remedy = "remove 'for_each', because the source has no arrays"
            if arrays:
                remedy = f"use one of its arrays: {', '.join(arrays[:12])}"
            faults.add_error(
                f"{key_path}: the source has no column {name!r}",
                place,
                suggest_spelling(name, arrays) or remedy,
            )
    unrolled = tuple(dict.fromkeys(array_names))
    return [_to_element_column(column) if column.name in unrolled else column for column in columns], unrolled


def _is_list(column: Column) -> bool:
    kind = column.type.arrow
    return column.type.is_array and (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _to_element_column(column: Column) -> Column:
    return column.copy_with(type=build_type_from_arrow(column.type.arrow.value_type), required=False)


def build_element_index_column() -> Column:
    """Return the column that counts elements."""
    return Column(name=ELEMENT_INDEX_COLUMN, type=INT64, required=True)
