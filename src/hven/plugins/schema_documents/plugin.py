"""What this package adds: the descriptions ``felis`` and ``erddap``, from which ``hven new`` drafts descriptors."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="schema_documents",
    title="Draft descriptors from schemas of Felis and from ERDDAP's datasets.xml",
    descriptions={
        "erddap": "hven.plugins.schema_documents.erddap",
        "felis": "hven.plugins.schema_documents.felis",
    },
)
