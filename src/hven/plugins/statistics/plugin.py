"""What this package adds: pages at ``/statistics``, and drawings of coverages in the pages of collections."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="statistics",
    title="Show what collections contain: rows by year and instrument, and where and when they are",
    pages="hven.plugins.statistics.statistics_page:PAGES",
    table_pages="hven.plugins.statistics.statistics_page:TABLE_PAGES",
    scripts="hven.plugins.statistics:scripts",
    translations="hven.plugins.statistics:texts",
)
