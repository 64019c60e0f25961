"""What this package adds: the verb ``hven promote``, its service, and the sections ``[targets.NAME]`` of hven.toml."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="promotion",
    title="Promote collections from a test site to a public site in one publication",
    uses=("lint", "schema_life"),
    protocols={"promotions": "hven.plugins.promotion.promotion_service"},
    settings={"targets": "hven.plugins.promotion.settings:TARGETS_SECTION"},
    checks=("hven.plugins.promotion.settings:find_target_faults",),
    verbs={
        "promote": CommandLineVerb(
            function="hven.plugins.promotion.verb:promote",
            after="move",
            examples=(
                "hven promote stars --to gold --dry-run",
                "hven promote stars --to gold",
                "hven promote stars@R4 --to gold",
                "hven promote stars --to gold --checksum --lint",
                "hven promote stars --to gold --widen stars.main --overwrite --json",
                "hven promote stars --to gold --back",
                "hven promote stars planets --from dev --merge",
                "hven promote --all --from dev --dry-run",
            ),
        ),
    },
)
