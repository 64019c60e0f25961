"""What this package adds: the verb ``hven lint``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="lint",
    title="Validate TAP, EPN-TAP, ObsCore and HAPI services as their clients see them",
    verbs={
        "lint": CommandLineVerb(
            function="hven.plugins.lint.verb:lint",
            after="verify",
            examples=(
                "hven lint https://vo.example.org/tap",
                "hven lint https://vo.example.org/tap --only epn --only query.maxrec --severity error --sample 5000",
                "hven lint https://vo.example.org/hapi --timeout 60 --pause 1 --json",
            ),
        )
    },
)
