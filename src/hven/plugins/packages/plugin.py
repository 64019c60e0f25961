"""What this package adds: packages of collections, and the verbs that write and publish them."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="packages",
    title="Hand over collections as BagIt bags or RO-Crates",
    uses=("promotion", "provenance", "registry"),
    protocols={"packages": "hven.plugins.packages.package_service"},
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
    },
)
