"""What this package adds: the pages ``/search/epn`` and ``/search/obscore``, and rows of other tables beside a row."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="federated_search",
    title="Search all EPN-TAP or ObsCore tables at once, here and at other services",
    pages="hven.plugins.federated_search.global_search_pages:PAGES",
    scripts="hven.plugins.federated_search:scripts",
    translations="hven.plugins.federated_search:texts",
    extensions={"series.concurrent_rows": ("hven.plugins.federated_search.series.time_span_rows",)},
)
