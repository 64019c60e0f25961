"""`for_each`: elements of array columns become rows. Which columns these are, and what an element is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.descriptor.written import Written
from hven.model.errors import nearest
from hven.model.table import Column
from hven.model.types import INT64, from_arrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.descriptor.value_schema import Faults
    from hven.model.resource import TableSpec

INDEX = "each.index"  # 1 for the first element


def elements(spec: TableSpec, columns: Sequence[Column], faults: Faults) -> tuple[list[Column], tuple[str, ...]]:
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
        Of the source.
    faults
        Where names that are not there go.

    Returns
    -------
    columns, unrolled
        All columns of the source, and the names of those whose elements become rows.
    """
    if not spec.for_each:
        return list(columns), ()
    what = f"tables.{spec.table.name}.for_each"
    found: list[str] = []
    for name in spec.for_each:
        place = name.place if isinstance(name, Written) else spec.place
        same = [column for column in columns if column.name == name] or [
            column for column in columns if column.name.lower() == name.lower()
        ]
        below = [
            column for column in columns if column.name.lower().startswith(f"{name.lower()}.") and _is_list(column)
        ]
        if same and _is_list(same[0]):
            found.append(same[0].name)
        elif below:
            found.extend(column.name for column in below)
        elif same:
            faults.error(
                f"{what}: {same[0].name} is {same[0].type}, no array", place, "name an array column, or drop for_each"
            )
        else:
            arrays = [column.name for column in columns if _is_list(column)]
            faults.error(
                f"{what}: the source has no column {name!r}",
                place,
                nearest(name, arrays) or f"its arrays: {', '.join(arrays[:12]) or 'none'}",
            )
    unrolled = tuple(dict.fromkeys(found))
    return [_element(column) if column.name in unrolled else column for column in columns], unrolled


def _is_list(column: Column) -> bool:
    kind = column.type.arrow
    return column.type.is_array and (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _element(column: Column) -> Column:
    return column.having(type=from_arrow(column.type.arrow.value_type), required=False)


def index() -> Column:
    """Return the column that counts elements."""
    return Column(name=INDEX, type=INT64, required=True)
