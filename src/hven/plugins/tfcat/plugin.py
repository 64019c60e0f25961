"""What this package adds: catalogues of TFCat."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="tfcat",
    title="Publish features in time and frequency as TFCat",
    uses=("json_xml",),
    sources={"tfcat": "hven.plugins.tfcat.source"},
    upload_kinds=("tfcat",),
    formats={"tfcat": "hven.plugins.tfcat.table_format"},
    extensions={"lint.files": ("hven.plugins.tfcat.lint.tfcat_files",)},
)
