"""What this package adds: HAPI, das2, and plots of time series."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="series",
    title="Serve time series through HAPI and das2, and plot them",
    sources={
        "das2": "hven.plugins.series.das2.source",
        "granules": "hven.plugins.series.granule_source",
        "hapi": "hven.plugins.series.hapi.source",
    },
    protocols={
        "das2": "hven.plugins.series.das2.service",
        "hapi": "hven.plugins.series.hapi.service",
        "timelines": "hven.plugins.series.timelines.service",
    },
    table_keys={"series": "hven.plugins.series.descriptor.table_key:SERIES"},
    pages="hven.plugins.series.timelines.series_pages:PAGES",
    table_links=("hven.plugins.series.timelines.series_pages:SERIES_LINKS",),
    scripts="hven.plugins.series:scripts",
    translations="hven.plugins.series:texts",
    ingest_steps={"series": "hven.plugins.series.publication_step"},
    extensions={
        "lint.services": ("hven.plugins.series.lint.hapi_checks",),
        "registry.server_lists": ("hven.plugins.series.hapi.server_list",),
    },
)
