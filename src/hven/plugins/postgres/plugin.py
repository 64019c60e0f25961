"""What this package adds: the engine ``postgres``, the source ``live``, their settings and verbs."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="postgres",
    title="Keep collections in PostgreSQL, and publish tables of PostgreSQL databases in place",
    engines={"postgres": "hven.plugins.postgres.engine"},
    sources={"live": "hven.plugins.postgres.live.source"},
    settings={
        "postgres": "hven.plugins.postgres.settings:POSTGRES_SECTION",
        "foreign": "hven.plugins.postgres.settings:FOREIGN_SECTION",
    },
    verbs={
        "fdw": CommandLineVerb(
            function="hven.plugins.postgres.verbs:fdw",
            after="restore",
            examples=("hven fdw operations > operations.sql", "hven fdw operations --check --json", "hven fdw --apply"),
        ),
        "adopt": CommandLineVerb(
            function="hven.plugins.postgres.verbs:adopt",
            after="fdw",
            examples=("hven adopt 3f2a9c1e", "hven adopt 3f2a9c1e --json"),
        ),
    },
)
