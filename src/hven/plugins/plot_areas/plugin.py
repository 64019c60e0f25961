"""What this package adds: tools that draw areas in plots of tables, and the parameter ``_area`` of searches."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="plot_areas",
    title="Search in an area of a plot",
    pages="hven.plugins.plot_areas.area_form:PAGES",
    search_conditions={"_area": "hven.plugins.plot_areas.area_conditions:AREA"},
    scripts="hven.plugins.plot_areas:scripts",
    translations="hven.plugins.plot_areas:texts",
)
