"""What this package adds: the service ``oai``, DOIs, their records in the system state, settings and verbs."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="registry",
    title="List the site in registries of the Virtual Observatory, and give DOIs to collections",
    protocols={"oai": "hven.plugins.registry.oai_service"},
    store_tables=PackageStateTables(
        names=("citations", "registered", "registered_parts"), definitions="hven.plugins.registry.store_tables:TABLES"
    ),
    pages="hven.plugins.registry.landing_pages:PAGES",
    landing_pages="hven.plugins.registry.landing_pages:LANDING_PAGES",
    identifiers="hven.plugins.registry.doi_store:CitationStore",
    ingest_steps={"registry": "hven.plugins.registry.removal_step"},
    settings={"doi": "hven.plugins.registry.settings:DOI_SECTION"},
    verbs={
        "register": CommandLineVerb(
            function="hven.plugins.registry.register:register",
            after="remove",
            examples=(
                "hven register",
                "hven register --check",
                "hven register stars --show",
                "hven register --write",
                "hven register --harvested --at https://reg.example.org/tap --json",
                "hven register --hapi --line",
            ),
        ),
        "doi": CommandLineVerb(
            function="hven.plugins.registry.doi:doi",
            after="register",
            examples=(
                "hven doi",
                "hven doi stars --draft --suffix psup/stars --dry-run",
                "hven doi stars --release R4 --publish --json",
                "hven doi stars --to datacite.json",
                "hven doi stars --is 10.5555/12345",
                "hven doi stars --withdraw 'the photometry was wrong'",
            ),
        ),
    },
)
