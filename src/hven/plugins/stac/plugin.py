"""What this package adds: STAC and OGC API Features at ``/stac``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="stac",
    title="Serve tables of EPN-TAP and ObsCore through STAC, OGC API Features and WFS",
    verbs={
        "stac": CommandLineVerb(
            function="hven.plugins.stac.export_verb:STAC_VERBS",
            after="export",
            examples=("hven stac export ./catalogue",),
            group_help="Write what STAC serves as files.",
        )
    },
    table_pages="hven.plugins.stac.query_lines:QUERY_LINES",
    protocols={"stac": "hven.plugins.stac.service"},
)
