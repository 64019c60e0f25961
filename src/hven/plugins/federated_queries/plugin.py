"""What this package adds: plans of queries over tables of several engines."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="federated_queries",
    title="Query tables of several engines together",
    federated_planner="hven.plugins.federated_queries.federated_plan:FederatedPlan",
    translations="hven.plugins.federated_queries:texts",
)
