"""What this package adds: the kind of source ``tap``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="tap_source",
    title="Copy tables and results of queries of TAP services",
    sources={"tap": "hven.plugins.tap_source.source"},
)
