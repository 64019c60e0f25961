"""What this package adds: the key ``progress`` of tables, and pages at ``/progress``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="progress",
    title="Show how far the rows of tables are: stages, a sky by stage, and a calendar",
    pages="hven.plugins.progress.progress_page:PAGES",
    table_pages="hven.plugins.progress.progress_page:TABLE_PAGES",
    table_keys={"progress": "hven.plugins.progress.progress_keys:PROGRESS"},
    scripts="hven.plugins.progress:scripts",
    translations="hven.plugins.progress:texts",
)
