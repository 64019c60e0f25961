"""What this package adds: the description ``felis``, which ``hven new`` and ``hven compare`` read."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="schema_documents",
    title="Read schemas of Felis",
    descriptions={"felis": "hven.plugins.schema_documents.felis"},
)
