"""What this package adds: the key ``enrich`` of sources, and the forms of documents that it reads."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="enrichment",
    title="Fill columns with values from each row's document, such as a FITS header",
    source_keys={"enrich": "hven.plugins.enrichment.source_key:ENRICH"},
    documents={
        "header": "hven.plugins.enrichment.header_document",
        "json": "hven.plugins.enrichment.json_document",
        "xml": "hven.plugins.enrichment.xml_document",
    },
)
