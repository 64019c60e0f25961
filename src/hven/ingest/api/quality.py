"""Statistics of the quality flags of published rows."""

from __future__ import annotations

from hven.ingest.quality import QualityFlagGroup, QualityFlagStatistics, format_percent, parse_flag_statistics

__all__ = ["QualityFlagGroup", "QualityFlagStatistics", "format_percent", "parse_flag_statistics"]
