"""What this package adds: the pages ``/adql`` and ``/jobs`` of the portal."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="query_pages",
    title="Let readers write queries in the portal, and start and follow jobs",
    pages="hven.plugins.query_pages.portal_pages:PAGES",
    scripts="hven.plugins.query_pages:scripts",
    translations="hven.plugins.query_pages:texts",
)
