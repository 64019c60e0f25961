"""What this package adds: the source ``match``, and services that explain its choices."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="matching",
    title="Match catalogues of stars by position, proper motion and further conditions",
    protocols={
        "candidates": "hven.plugins.matching.candidate_service",
        "match_limits": "hven.plugins.matching.limit_service",
    },
    sources={"match": "hven.plugins.matching.match_source"},
)
