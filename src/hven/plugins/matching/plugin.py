"""What this package adds: the source ``match``, which makes a table of matched stars from other tables."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="matching",
    title="Match catalogues of stars by position, proper motion and further conditions",
    sources={"match": "hven.plugins.matching.match_source"},
)
