"""What this package adds: the keys ``quantities`` and ``origins`` of tables, and quantities on the pages of rows."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="quantities",
    title="Declare values together with their errors, bounds, origins and confidence, and show them together",
    pages="hven.plugins.quantities.quantity_pages:PAGES",
    table_pages="hven.plugins.quantities.quantity_pages:TABLE_PAGES",
    scripts="hven.plugins.quantities:scripts",
    translations="hven.plugins.quantities:texts",
    table_keys={
        "origins": "hven.plugins.quantities.quantity_keys:ORIGINS",
        "quantities": "hven.plugins.quantities.quantity_keys:QUANTITIES",
    },
)
