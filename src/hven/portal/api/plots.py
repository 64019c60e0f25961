"""Plots of columns: which columns can be plotted, their data as JSON, the units of numbers, and drawings of counts."""

from __future__ import annotations

from hven.portal._explore.number_formatting import UnitScale, format_number, format_unit
from hven.portal._explore.plots import (
    BIN_COUNT,
    DENSITY_CELLS,
    MAX_ERROR_BARS,
    MAX_POINTS,
    DensityGrid,
    Histogram,
    PlotPoints,
    find_error_columns,
    find_value_range,
    is_plottable,
    is_plotted_as_julian_date,
)
from hven.portal._explore.plots_json import (
    axes_to_json,
    density_to_json,
    histogram_to_json,
    points_to_json,
    write_svg_paths_of_shaded_cells,
)
from hven.portal._explore.search_fields import build_unit_scale
from hven.portal._explore.time_ranges import find_time_range, format_julian_date_as_day
from hven.portal._views.plot_data import build_histogram_json, build_points_or_density_json, find_plot_column

__all__ = [
    "BIN_COUNT",
    "DENSITY_CELLS",
    "MAX_ERROR_BARS",
    "MAX_POINTS",
    "DensityGrid",
    "Histogram",
    "PlotPoints",
    "UnitScale",
    "axes_to_json",
    "build_histogram_json",
    "build_points_or_density_json",
    "build_unit_scale",
    "density_to_json",
    "find_error_columns",
    "find_plot_column",
    "find_time_range",
    "find_value_range",
    "format_julian_date_as_day",
    "format_number",
    "format_unit",
    "histogram_to_json",
    "is_plottable",
    "is_plotted_as_julian_date",
    "points_to_json",
    "write_svg_paths_of_shaded_cells",
]
