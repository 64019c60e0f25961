"""What this package adds: the sources ``match`` and ``identify``, and services that explain their choices."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="matching",
    title="Match catalogues of stars, and identify targets by their names and positions",
    pages="hven.plugins.matching.trial_page:PAGES",
    scripts="hven.plugins.matching:scripts",
    translations="hven.plugins.matching:texts",
    protocols={
        "candidates": "hven.plugins.matching.candidate_service",
        "match_limits": "hven.plugins.matching.limit_service",
    },
    sources={
        "identify": "hven.plugins.matching.identify_source",
        "match": "hven.plugins.matching.match_source",
    },
    verbs={
        "partners": CommandLineVerb(
            function="hven.plugins.matching.partners_verb:list_partner_changes",
            after="diff",
            examples=("hven partners jsdc.matched 2026-11-12", "hven partners jsdc.matched R1 R2 --json"),
        )
    },
)
