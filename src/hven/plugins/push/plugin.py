"""What this package adds: the source ``push``, the service at ``/push``, and their records in the system state."""

from __future__ import annotations

from hven.model.plugins import PackageStateTables, PluginPackage

PLUGIN = PluginPackage(
    name="push",
    title="Let programs write rows and send files over HTTP",
    sources={"push": "hven.plugins.push.source"},
    protocols={"push": "hven.plugins.push.service"},
    ingest_steps={"push": "hven.plugins.push.file_targets"},
    used_keys=("files.writers",),
    store_tables=PackageStateTables(names=("pushes", "pushed"), definitions="hven.plugins.push.store_tables:TABLES"),
)
