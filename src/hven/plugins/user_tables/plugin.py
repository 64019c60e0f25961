"""What this package adds: addresses below ``/tap``, the job type ``table_update``, and the verb ``hven tables``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="user_tables",
    title="Let users keep their own tables in the service",
    protocols={"user_tables": "hven.plugins.user_tables.tap_resources"},
    jobs={"table_update": "hven.plugins.user_tables.table_update"},
    verbs={
        "tables": CommandLineVerb(
            function="hven.plugins.user_tables.verbs:tables",
            group_help="Tables that readers store on this site.",
            after="referee",
            examples=(
                "hven tables --json",
                "hven tables show anna targets --json",
                "hven tables expire anna targets --days 90",
                "hven tables drop anna targets",
            ),
        ),
    },
    translations="hven.plugins.user_tables:texts",
)
