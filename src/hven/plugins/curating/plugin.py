"""What this package adds: pages at ``/edit``, where curators edit texts, and drafts of them in the system state."""

from __future__ import annotations

from hven.model.plugins import PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="curating",
    title="Let curators edit the texts of the site in its pages",
    pages="hven.plugins.curating.edit_pages:PAGES",
    scripts="hven.plugins.curating:scripts",
    translations="hven.plugins.curating:texts",
    store_tables=PackageStateTables(names=("drafts",), definitions="hven.plugins.curating.draft_store:TABLES"),
    account_removers=("hven.plugins.curating.draft_store:remove_account_drafts",),
)
