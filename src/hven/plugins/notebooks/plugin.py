"""What this package adds: the notebook of a search or of a query, and links to it."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="notebooks",
    title="Write the search of a page as a Jupyter notebook",
    uses=("series",),
    pages="hven.plugins.notebooks.notebook_service:PAGES",
    table_links=("hven.plugins.notebooks.notebook_service:ROW_LINKS",),
    translations="hven.plugins.notebooks:texts",
)
