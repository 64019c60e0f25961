"""What this package adds: the key ``opens`` of tables, and buttons that arrange the panes of a table's page."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="page_layouts",
    title="Arrange rows, map, plot and card on the pages of tables",
    pages="hven.plugins.page_layouts.layout_buttons:PAGES",
    table_pages="hven.plugins.page_layouts.layout_buttons:TABLE_PAGES",
    table_keys={"opens": "hven.plugins.page_layouts.opens_key:OPENS"},
    scripts="hven.plugins.page_layouts:scripts",
    translations="hven.plugins.page_layouts:texts",
)
