"""What this package adds: the sources ``match`` and ``identify``, and services that explain their choices."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="matching",
    title="Match catalogues of stars, and identify targets by their names and positions",
    protocols={
        "candidates": "hven.plugins.matching.candidate_service",
        "match_limits": "hven.plugins.matching.limit_service",
    },
    sources={
        "identify": "hven.plugins.matching.identify_source",
        "match": "hven.plugins.matching.match_source",
    },
)
