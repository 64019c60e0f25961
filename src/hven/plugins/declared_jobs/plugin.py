"""What this package adds: the job types that a site declares, and their check."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="declared_jobs",
    title="Run programs of a site and jobs of other services as UWS jobs",
    job_providers=("hven.plugins.declared_jobs.declarations:DECLARED_JOB_TYPES",),
    checks=("hven.plugins.declared_jobs.declaration_check:find_declaration_faults",),
)
