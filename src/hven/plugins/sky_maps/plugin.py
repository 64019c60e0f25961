"""What this package adds: the maps of tables, and their data at ``/places``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="sky_maps",
    title="Show the rows of tables on maps of the sky and of bodies",
    pages="hven.plugins.sky_maps.places_page:PAGES",
    scripts="hven.plugins.sky_maps:scripts",
    translations="hven.plugins.sky_maps:texts",
)
