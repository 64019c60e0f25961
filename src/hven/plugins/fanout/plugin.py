"""What this package adds: list types as job types, and the page of a list."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="fanout",
    title="Run jobs for each row of a table, and join their results",
    uses=("declared_jobs",),
    job_providers=("hven.plugins.fanout.list_declarations:LIST_TYPES",),
    pages="hven.plugins.fanout.list_page:PAGES",
    scripts="hven.plugins.fanout:scripts",
    translations="hven.plugins.fanout:texts",
)
