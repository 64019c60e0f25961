"""Plots of columns: which columns can be plotted, their ranges, the units of numbers, and drawings of counts."""

from __future__ import annotations

from hven.portal._explore.number_formatting import UnitScale, format_number, format_unit
from hven.portal._explore.plots import find_value_range, is_plottable, is_plotted_as_julian_date
from hven.portal._explore.shaded_cells import draw_shaded_cells

__all__ = [
    "UnitScale",
    "draw_shaded_cells",
    "find_value_range",
    "format_number",
    "format_unit",
    "is_plottable",
    "is_plotted_as_julian_date",
]
