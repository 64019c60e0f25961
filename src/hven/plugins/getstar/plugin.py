"""What this package adds: the key ``getstar`` of tables, ``/getstar``, and the old address of JMMC's GetStar."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="getstar",
    title="Show all properties of stars by their names, also for programs that use JMMC's GetStar",
    uses=("quantities", "schema_life", "source_votables"),
    pages="hven.plugins.getstar.getstar_pages:PAGES",
    table_pages="hven.plugins.getstar.getstar_pages:TABLE_PAGES",
    translations="hven.plugins.getstar:texts",
    table_keys={"getstar": "hven.plugins.getstar.getstar_keys:GETSTAR"},
)
