"""What this package adds: four kinds of sources, and collections of STAC for ``hven new``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="directories",
    title="Read entries of LDAP, Elasticsearch, OAI-PMH and STAC as rows",
    uses=("json_xml",),
    sources={
        "elastic": "hven.plugins.directories.elastic",
        "ldap": "hven.plugins.directories.ldap",
        "oai": "hven.plugins.directories.oai",
        "stac": "hven.plugins.directories.stac",
    },
    descriptions={"stac_collection": "hven.plugins.directories.stac_collection"},
)
