"""What this package adds: the verbs ``hven backup`` and ``hven restore``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="backups",
    title="Write a whole site into one file, and restore it",
    verbs={
        "backup": CommandLineVerb(
            function="hven.plugins.backups.verbs:backup",
            after="move",
            examples=("hven backup /backups/mysite.tar", "hven backup /backups/mysite.tar --no-data --json"),
        ),
        "restore": CommandLineVerb(
            function="hven.plugins.backups.verbs:restore",
            after="backup",
            examples=(
                "hven restore /backups/mysite.tar newsite",
                "hven restore /backups/mysite.tar newsite --engine duckdb --json",
                "hven restore /backups/mysite.tar --check",
            ),
        ),
    },
)
