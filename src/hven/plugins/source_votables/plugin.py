"""What this package adds: forms of VOTables."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="source_votables",
    title="Return VOTables with the names and metadata of their source, and in older versions",
    extensions={"votable.forms": ("hven.plugins.source_votables.document_forms",)},
)
