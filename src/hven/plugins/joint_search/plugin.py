"""What this package adds: the key ``joint_search`` of collections, and pages at ``/joint-search``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="joint_search",
    title="Search several tables with one form, with one list of rows",
    pages="hven.plugins.joint_search.joint_search_page:PAGES",
    collection_keys={"joint_search": "hven.plugins.joint_search.joint_search_keys:JOINT_SEARCH"},
    scripts="hven.plugins.joint_search:scripts",
    translations="hven.plugins.joint_search:texts",
)
