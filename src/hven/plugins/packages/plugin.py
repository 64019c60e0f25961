"""What this package adds: packages of collections, the page ``/handover`` and the verbs for operators who follow."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="packages",
    title="Hand over collections as BagIt bags or RO-Crates, and a site to its next operator",
    uses=("backups", "operations", "promotion", "provenance", "registry"),
    protocols={"packages": "hven.plugins.packages.package_service"},
    pages="hven.plugins.packages.handover_page:PAGES",
    translations="hven.plugins.packages:texts",
    verbs={
        "package": CommandLineVerb(
            function="hven.plugins.packages.package_verbs:write_collection_package",
            after="restore",
            examples=(
                "hven package stars --as bagit --output /backups/stars.tar",
                "hven package stars --as ro-crate --public --json",
                "hven package stars --hash",
            ),
        ),
        "unpack": CommandLineVerb(
            function="hven.plugins.packages.package_verbs:unpack",
            after="package",
            examples=(
                "hven unpack /backups/stars.tar --check",
                "hven --site other unpack /backups/stars.tar",
                "hven --site other unpack /backups/stars.tar --overwrite --widen --json",
            ),
        ),
        "handover": CommandLineVerb(
            function="hven.plugins.packages.handover_verbs:write_handover",
            after="unpack",
            examples=("hven handover", "hven handover --output HANDOVER.md", "hven handover --seal --json"),
        ),
        "rebuild": CommandLineVerb(
            function="hven.plugins.packages.handover_verbs:run_rebuild",
            after="handover",
            examples=(
                "hven rebuild newsite --from https://git.example.org/mysite.git --backup /backups/mysite.tar",
                "hven rebuild newsite --from /git/mysite --ingest --json",
            ),
        ),
    },
)
