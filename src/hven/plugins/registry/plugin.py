"""What this package adds: the service ``oai`` with its records in the system state, and the verb ``hven register``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage, StoreTables, Verb

PLUGIN = PluginPackage(
    name="registry",
    title="List the site in the registries of the Virtual Observatory",
    protocols={"oai": "hven.plugins.registry.oai_service"},
    store_tables=StoreTables(
        names=("registered", "registered_parts"), definitions="hven.plugins.registry.store_tables:TABLES"
    ),
    verbs={
        "register": Verb(
            function="hven.plugins.registry.register:register",
            after="region",
            examples=(
                "hven register",
                "hven register --check",
                "hven register stars --show",
                "hven register --write",
                "hven register --harvested --at https://reg.example.org/tap --json",
                "hven register --hapi --line",
            ),
        )
    },
)
