"""What this package adds: the kinds of sources ``json``, ``rest`` and ``xml``."""

from __future__ import annotations

from hven.model.plugins import FileSignature, PluginPackage

PLUGIN = PluginPackage(
    name="json_xml",
    title="Read records of JSON and XML: files, and services that send pages of JSON",
    sources={
        "json": "hven.plugins.json_xml.json_source",
        "rest": "hven.plugins.json_xml.rest_source",
        "xml": "hven.plugins.json_xml.xml_source",
    },
    files=(
        FileSignature(kind="json", extensions=("json", "jsonl", "ndjson", "geojson", "jsonlines")),
        FileSignature(kind="xml", extensions=("xml",)),
    ),
)
