"""What this package adds: the verb ``hven migrate``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="service_migration",
    title="Replace a running service of DaCHS, SITools2, ERDDAP or any TAP by Hven",
    uses=("directories", "drafts", "log_replay", "migration"),
    verbs={
        "migrate": CommandLineVerb(
            function="hven.plugins.service_migration.migrate_verb:replace_service",
            after="new",
            examples=(
                "hven migrate https://dachs.example.org",
                "hven migrate https://archive.example.org/tap --table 'survey.*' --database '$OLD_DATABASE'",
                "hven migrate https://dachs.example.org --oai https://dachs.example.org/oai.xml --json",
                "hven migrate https://dachs.example.org --copy-files",
                "hven migrate https://dachs.example.org --prove http://127.0.0.1:8080 --log access.log --page p.html",
                "hven migrate https://dachs.example.org --prove http://127.0.0.1:8080 --queries 1000 --rate 5 --seed 2",
                "hven migrate https://dachs.example.org --proxy http://127.0.0.1:8080 --listen :8000",
                "hven migrate https://dachs.example.org --switch new",
                "hven migrate https://dachs.example.org --registry https://vo.example.org",
            ),
        ),
    },
)
