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
        "reclaim": CommandLineVerb(
            function="hven.plugins.postgres.verbs:take_schema",
            after="fdw",
            examples=("hven reclaim 3f2a9c1e", "hven reclaim 3f2a9c1e --json"),
        ),
        "adopt": CommandLineVerb(
            function="hven.plugins.postgres.verbs:refuse_former_name",
            after="reclaim",
            examples=("hven adopt 3f2a9c1e",),
        ),
    },
)
