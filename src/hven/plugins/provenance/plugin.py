"""What this package adds: the service ``provenance`` at ``/prov``, and the pages of graphs and of values."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="provenance",
    title="Tell where collections, rows, values and results of jobs come from",
    protocols={"provenance": "hven.plugins.provenance.prov_service"},
    pages="hven.plugins.provenance.prov_pages:PAGES",
    table_pages="hven.plugins.provenance.prov_pages:TABLE_PAGE",
    result_links=("hven.plugins.provenance.result_links:write_result_link",),
    landing_pages="hven.plugins.provenance.prov_pages:LANDING_PAGES",
    scripts="hven.plugins.provenance:scripts",
    translations="hven.plugins.provenance:texts",
)
