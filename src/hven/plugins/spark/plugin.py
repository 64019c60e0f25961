"""What this package adds: a cluster for the engine hats, its settings and its check."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="spark",
    title="Compute queries over large tables (HATS) on a cluster of Apache Spark",
    uses=("hats",),
    settings={"hats:spark": "hven.plugins.spark.settings:SPARK_SETTINGS"},
    checks=("hven.plugins.spark.cluster_checks:find_spark_cluster_faults",),
    extensions={"hats.clusters": ("hven.plugins.spark.cluster_definition",)},
)
