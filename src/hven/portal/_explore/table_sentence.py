"""Describe a table in one line: instrument, product type, level, target, spectral range and years.

The line comes from the statistics of the published rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model.table import is_time_column
from hven.portal._explore.cell_text import format_days_since_epoch_as_date
from hven.portal._explore.number_formatting import format_number, format_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.portal._explore.column_labels import ColumnLabels

RANGE_DASH = "\N{EN DASH}"
MAX_VALUE_CHARACTERS = 60  # a longer value is left out
# column names of the standards; the first one in the table counts
HOST_COLUMNS = ("instrument_host_name", "facility_name")
INSTRUMENT_COLUMNS = ("instrument_name",)
PRODUCT_TYPE_COLUMNS = ("dataproduct_type",)
EVENT_CODE = "ev"  # the group of the rows says what kind of events they are: active regions
GROUP_COLUMNS = ("granule_gid",)
LEVEL_COLUMNS = ("processing_level", "calib_level")
TARGET_COLUMNS = ("target_name",)
SPECTRAL_COLUMNS = ("spectral_range_min", "em_min")
TIME_COLUMNS = ("time_min", "t_min")


def write_common_value_sentence(labels: ColumnLabels) -> str:
    """Write the line of what all rows of a table have in common.

    It is empty if nothing is known, for example because a policy hides rows.
    """
    if labels.is_raw or not labels.statistics:
        return ""
    host = _find_value_common_to_rows(HOST_COLUMNS, labels)
    instrument = _find_value_common_to_rows(INSTRUMENT_COLUMNS, labels)
    origin_names = dict.fromkeys(name for name in (host, instrument) if name)
    origin = " / ".join(origin_names)
    kind = _find_value_common_to_rows(PRODUCT_TYPE_COLUMNS, labels, is_plural=True)
    group = _find_value_common_to_rows(GROUP_COLUMNS, labels)
    if kind and group and labels.statistics.get(PRODUCT_TYPE_COLUMNS[0], {}).get("minimum") == EVENT_CODE:
        kind = group
    level = _find_value_common_to_rows(LEVEL_COLUMNS, labels)
    if not (origin or kind):
        return ""
    target = _find_value_common_to_rows(TARGET_COLUMNS, labels)
    parts = [origin, kind, level, target, _format_spectral_range(labels), _format_years(labels)]
    joined_parts = ", ".join(part for part in parts if part)
    return joined_parts[:1].upper() + joined_parts[1:]


def _find_first_column(column_names: Sequence[str], labels: ColumnLabels) -> Column | None:
    columns = {column.name.lower(): column for column in labels.table.columns if not column.hidden}
    return next((columns[name] for name in column_names if name in columns), None)


def _find_value_common_to_rows(column_names: Sequence[str], labels: ColumnLabels, *, is_plural: bool = False) -> str:
    """Return the value that all rows have in a column; empty if they differ."""
    column = _find_first_column(column_names, labels)
    if column is None:
        return ""
    statistics = labels.statistics.get(column.name, {})
    low = statistics.get("minimum")
    is_single = low is not None and low == statistics.get("maximum") and statistics.get("distinct") == 1
    if not is_single or statistics.get("nulls"):
        return ""
    text = labels.translate_code(column, str(low), is_plural=is_plural).replace("#", ", ")
    if len(text) <= MAX_VALUE_CHARACTERS:
        return text
    return ""


def _find_extremes(column_names: Sequence[str], labels: ColumnLabels) -> tuple[Column, float, float] | None:
    """Return the first column of a pair, and the lowest and highest value: some rows may have only one of the two."""
    column = _find_first_column(column_names, labels)
    pair = None
    if column is not None:
        pair = labels.range_pairs.get(column.name)
    if pair is None:
        return None
    first, last = (labels.statistics.get(end.name, {}) for end in pair[1:])
    low, high = first.get("minimum"), last.get("maximum")
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return None
    other_ends = (first.get("maximum"), last.get("minimum"))
    values = [low, high, *(value for value in other_ends if isinstance(value, int | float))]
    low, high = min(values), max(values)
    if math.isfinite(low) and math.isfinite(high):
        return (pair[1], low, high)
    return None


def _format_spectral_range(labels: ColumnLabels) -> str:
    extremes = _find_extremes(SPECTRAL_COLUMNS, labels)
    if extremes is None or extremes[1] <= 0:
        return ""
    scale = labels.find_unit_scale(extremes[0])
    low, high = sorted(float(f"{scale.convert(value):.2g}") for value in extremes[1:])
    if low == high:
        ends = format_number(low)
    else:
        ends = f"{format_number(low)}{RANGE_DASH}{format_number(high)}"
    return f"{ends} {format_unit(scale.unit)}"


def _format_years(labels: ColumnLabels) -> str:
    extremes = _find_extremes(TIME_COLUMNS, labels)
    if extremes is None or not is_time_column(extremes[0]):
        return ""
    low, high = (format_days_since_epoch_as_date(value, extremes[0].epoch or 0.0) for value in extremes[1:])
    if not (low and high):
        return ""
    if low == high:
        return low
    if low[:4] == high[:4]:
        return low[:4]
    return f"{low[:4]}{RANGE_DASH}{high[:4]}"
