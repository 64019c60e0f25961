"""What this package adds: an engine, a kind of source, a service, and their settings."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="hats",
    title="Keep, publish and read large tables as Parquet files, each for a part of the sky (HATS)",
    engines={"hats": "hven.plugins.hats.engine"},
    sources={"hats": "hven.plugins.hats.source"},
    protocols={"hats": "hven.plugins.hats.face"},
    settings={
        "hats": "hven.plugins.hats.settings:HATS_SECTION",
        "files:hats": "hven.plugins.hats.settings:PARTITION_SETTINGS",
    },
)
