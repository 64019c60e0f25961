"""What this package adds: limits of requests by user and service, in the sections ``[request_limits.NAME]``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="request_limits",
    title="Limit how much of a site one user may use",
    settings={"request_limits": "hven.plugins.request_limits.settings:LIMITS_SECTION"},
    checks=("hven.plugins.request_limits.limit_checks:find_limit_faults",),
    request_gates=("hven.plugins.request_limits.limit_gate:LimitGate",),
    extensions={"hven.metrics": ("hven.plugins.request_limits.class_metrics",)},
    counters={"limited_requests_total": "Requests that were refused with status 429 because of a limit."},
)
