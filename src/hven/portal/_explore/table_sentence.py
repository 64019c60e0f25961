"""What a table is, in one line: instrument, kind, level, target, range and years, by what was counted when its rows were published."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model.table import is_time
from hven.portal._explore.cell_text import day_of
from hven.portal._explore.number_text import alone, unit_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.portal._explore.column_labels import Labels

DASH = "\N{EN DASH}"
LONGEST = 60  # characters of a name that fits into a line
# by the names of the standards; the first one that the table has
HOSTS, INSTRUMENTS = ("instrument_host_name", "facility_name"), ("instrument_name",)
KINDS, LEVELS, TARGETS = ("dataproduct_type",), ("processing_level", "calib_level"), ("target_name",)
LIGHT, TIMES = ("spectral_range_min", "em_min"), ("time_min", "t_min")


def sentence(labels: Labels) -> str:
    """Write the line; what differs from row to row is not in it, and it is empty where nothing is known, as where a policy hides rows."""
    if labels.raw or not labels.statistics:
        return ""
    by = " / ".join(dict.fromkeys(one for one in (_same(HOSTS, labels), _same(INSTRUMENTS, labels)) if one))
    kind, level = _same(KINDS, labels, many=True), _same(LEVELS, labels)
    if not (by or kind):
        return ""
    parts = [by, kind, level, _same(TARGETS, labels), _light(labels), _years(labels)]
    found = ", ".join(one for one in parts if one)
    return found[:1].upper() + found[1:]


def _first(names: Sequence[str], labels: Labels) -> Column | None:
    known = {column.name.lower(): column for column in labels.table.columns if not column.hidden}
    return next((known[name] for name in names if name in known), None)


def _same(names: Sequence[str], labels: Labels, *, many: bool = False) -> str:
    """Return what all rows say in a column; empty: they do not."""
    column = _first(names, labels)
    known = {} if column is None else labels.statistics.get(column.name, {})
    low = known.get("minimum")
    if column is None or low is None or low != known.get("maximum") or known.get("nulls") or known.get("distinct") != 1:
        return ""
    text = labels.value(column, str(low), many=many).replace("#", ", ")
    return text if len(text) <= LONGEST else ""


def _extremes(names: Sequence[str], labels: Labels) -> tuple[Column, float, float] | None:
    """Return the first column of a pair, the lowest value of it and the highest of the other."""
    column = _first(names, labels)
    pair = None if column is None else labels.pairs.get(column.name)
    if pair is None:
        return None
    low, high = (
        labels.statistics.get(pair[1].name, {}).get("minimum"),
        labels.statistics.get(pair[2].name, {}).get("maximum"),
    )
    if not (isinstance(low, int | float) and isinstance(high, int | float)):
        return None
    return (pair[1], low, high) if math.isfinite(low) and math.isfinite(high) else None


def _light(labels: Labels) -> str:
    found = _extremes(LIGHT, labels)
    if found is None or found[1] <= 0:
        return ""
    scale = labels.scale(found[0])
    low, high = sorted(float(f"{scale.of(value):.2g}") for value in found[1:])
    ends = alone(low) if low == high else f"{alone(low)}{DASH}{alone(high)}"
    return f"{ends} {unit_text(scale.unit)}"


def _years(labels: Labels) -> str:
    found = _extremes(TIMES, labels)
    if found is None or not is_time(found[0]):
        return ""
    low, high = (day_of(value, found[0].epoch or 0.0) for value in found[1:])
    if not (low and high):
        return ""
    return low if low == high else low[:4] if low[:4] == high[:4] else f"{low[:4]}{DASH}{high[:4]}"
