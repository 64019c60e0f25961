"""What this package adds: ``hven new --from`` drafts descriptors from the descriptions of other programs."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="migration",
    title="Draft descriptors from those of DaCHS, vollt, Felis, ERDDAP, SITools2 and MapServer, with a report",
    uses=("drafts", "schema_documents"),
    extensions={
        "drafts.documents": (
            "hven.plugins.migration.resource_descriptors",
            "hven.plugins.migration.vollt_properties",
            "hven.plugins.migration.felis_schemas",
            "hven.plugins.migration.erddap_datasets",
            "hven.plugins.migration.sitools_datasets",
            "hven.plugins.migration.mapfile_layers",
        )
    },
)
