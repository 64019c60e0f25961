"""What this package adds: the services ``changes`` and ``atom``, and links to the news of a collection on its page."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="changes",
    title="Tell programs and readers what changed: rows of tables, and publications of collections",
    protocols={"changes": "hven.plugins.changes.change_service", "atom": "hven.plugins.changes.news_feeds"},
    landing_pages="hven.plugins.changes.news_feeds:LANDING_PAGES",
)
