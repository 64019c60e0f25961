"""What this package adds: ``hven new --from q.rd`` drafts descriptors from resource descriptors of DaCHS."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="migration",
    title="Draft descriptors from resource descriptors of DaCHS, with a report",
    uses=("drafts",),
    extensions={"drafts.documents": ("hven.plugins.migration.resource_descriptors",)},
)
