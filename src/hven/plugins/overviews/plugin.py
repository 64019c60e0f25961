"""What this package adds: a strip above the rows of a table, and its data at ``/strip``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="overviews",
    title="Show how the rows of tables spread over time, on a map and in their columns",
    pages="hven.plugins.overviews.strip_page:PAGES",
    table_pages="hven.plugins.overviews.strip_page:TABLE_PAGES",
    scripts="hven.plugins.overviews:scripts",
    translations="hven.plugins.overviews:texts",
)
