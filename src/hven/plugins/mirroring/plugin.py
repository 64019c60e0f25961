"""What this package adds: the verb ``mirror``, the kind of source ``hven``, and the service of public descriptors."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="mirroring",
    title="Copy public collections of other Hven sites, and follow their changes",
    uses=("tap_source",),
    sources={"hven": "hven.plugins.mirroring.source"},
    protocols={"descriptors": "hven.plugins.mirroring.service"},
    verbs={
        "mirror": CommandLineVerb(
            function="hven.plugins.mirroring.verb:mirror",
            after="sync",
            examples=(
                "hven --site mirror mirror https://vo.example.org stars omega --every 6h",
                "hven --site mirror mirror https://vo.example.org --once --accept --json",
            ),
        ),
    },
)
