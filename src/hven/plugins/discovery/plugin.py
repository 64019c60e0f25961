"""What this package adds: the page ``/search``, and search forms in other pages."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="discovery",
    title="Find data, collections, tables and columns of the whole site by words",
    pages="hven.plugins.discovery.search_page:PAGES",
    scripts="hven.plugins.discovery:scripts",
    translations="hven.plugins.discovery:texts",
)
