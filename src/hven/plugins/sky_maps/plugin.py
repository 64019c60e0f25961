"""What this package adds: the maps of tables, their data at ``/places``, and the parameter ``_polygon`` of searches."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="sky_maps",
    title="Show the rows of tables on maps of the sky and of bodies",
    uses=("plot_areas",),
    pages="hven.plugins.sky_maps.places_page:PAGES",
    search_conditions={"_polygon": "hven.plugins.sky_maps.sphere_regions:POLYGON"},
    scripts="hven.plugins.sky_maps:scripts",
    translations="hven.plugins.sky_maps:texts",
)
