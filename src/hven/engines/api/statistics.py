"""Statistics of the columns of a snapshot, and its coverage."""

from __future__ import annotations

from hven.engines._statistics import (
    MAX_COVERAGE_CELLS,
    ColumnStatisticsCollector,
    compute_coverage_cells,
    compute_coverage_moc,
    find_distinct_cells,
    format_moc,
    to_json_value,
)
from hven.engines._statistics_update import compute_statistics, update_statistics

__all__ = [
    "MAX_COVERAGE_CELLS",
    "ColumnStatisticsCollector",
    "compute_coverage_cells",
    "compute_coverage_moc",
    "compute_statistics",
    "find_distinct_cells",
    "format_moc",
    "to_json_value",
    "update_statistics",
]
