"""The Spark cluster as a cluster of the engine hats (extension point ``hats.clusters``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model import plugins
from hven.plugins.hats.clusters import ClusterDefinition
from hven.plugins.spark.settings import get_spark_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from hven.model.settings import Settings
    from hven.plugins.hats.clusters import Cluster


def find_spark_cluster_opener(settings: Settings) -> Callable[[], Cluster] | None:
    """Return the function that opens the cluster that ``[hats]`` names; None if it names none."""
    spark_settings = get_spark_settings(settings)
    if spark_settings.spark is None:
        return None
    address = settings.resolve_secret_address(spark_settings.spark)

    def open_cluster() -> Cluster:
        # Spark's client is an optional dependency.
        module = plugins.import_hven_module("hven.plugins.spark.cluster_plan", "the cluster")
        cluster: Cluster = module.HatsSparkCluster(address, at_once=spark_settings.at_once)
        return cluster

    return open_cluster


CLUSTER = ClusterDefinition(setting="spark", find_opener=find_spark_cluster_opener)
