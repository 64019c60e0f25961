"""Statistics of the columns of a snapshot, and its coverage."""

from __future__ import annotations

from hven.engines._statistics import (
    ColumnStatisticsCollector,
    compute_coverage_cells,
    find_distinct_cells,
    format_moc,
    to_json_value,
)
from hven.engines._statistics_update import compute_statistics, update_statistics

__all__ = [
    "ColumnStatisticsCollector",
    "compute_coverage_cells",
    "compute_statistics",
    "find_distinct_cells",
    "format_moc",
    "to_json_value",
    "update_statistics",
]
