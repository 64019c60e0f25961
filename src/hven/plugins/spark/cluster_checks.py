"""The checks of the cluster for ``hven check``.

They report its version, the Python and the Hven of its workers, and roots that it does not see.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import hven
from hven.model import plugins
from hven.model.errors import Fault, HvenError, TextPlace
from hven.plugins.hats.settings import get_hats_settings
from hven.plugins.spark.settings import get_spark_settings
from hven.plugins.spark.spark_server import SERVER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.settings import Settings
    from hven.plugins.spark.cluster import SparkClusterFacts


def find_spark_cluster_faults(settings: Settings) -> Iterator[Fault | str]:
    """Check the cluster that ``[hats]`` names, if it names one.

    Parameters
    ----------
    settings
        Settings of the site.

    Yields
    ------
    finding
        A fault, or a text that describes the cluster.
    """
    spark_address = get_spark_settings(settings).spark
    if spark_address is None:
        return
    roots = [str(settings.directory / root) for root in get_hats_settings(settings).roots]
    place = TextPlace(file="hven.toml")
    try:
        cluster = plugins.import_hven_module("hven.plugins.spark.cluster", "the cluster").SparkCluster(
            settings.resolve_secret_address(spark_address)
        )
        try:
            facts = cluster.inspect_cluster(roots)
        finally:
            cluster.close()
    except HvenError as error:  # a warning only: the cluster may be down today
        yield Fault(message=error.message, remedy=error.remedy or "", place=place, severity="warning")
        return
    yield f"the cluster at {cluster.server_name}: {SERVER_NAME} {facts.version}{_describe_spark_workers(facts)}"
    yield from (
        Fault(message=text, remedy=remedy, place=place, severity="warning")
        for text, remedy in list_spark_cluster_problems(facts)
    )


def _describe_spark_workers(facts: SparkClusterFacts) -> str:
    """Describe the workers; empty if they did not respond."""
    hosts = sorted({host for host_lists in facts.pythons.values() for host in host_lists})
    if not hosts:
        return ""
    versions = " and ".join(f"Python {version}" for version in sorted(facts.pythons))
    hven_versions = " and ".join(f"Hven {version}" if version else "no Hven" for version in sorted(facts.hvens))
    return f", {versions} with {hven_versions} on {len(hosts)} host{'s' * (len(hosts) != 1)}"


def list_spark_cluster_problems(facts: SparkClusterFacts) -> Iterator[tuple[str, str]]:
    """Yield the problems of a cluster that will make queries fail, each with its remedy.

    Parameters
    ----------
    facts
        Facts about the cluster.
    """
    if facts.fault:
        yield (
            f"the workers of the cluster cannot compute Hven's functions: {facts.fault}",
            "correct the fault on the workers; plain SQL works without these functions",
        )
    local_python = ".".join(map(str, sys.version_info[:2]))
    for python, hosts in facts.pythons.items():
        if python.rpartition(".")[0] != local_python:
            yield (
                f"the workers {_format_hosts(hosts)} have Python {python}, but this server has {local_python}",
                "install the same minor version of Python on the workers (spark.pyspark.python)",
            )
    for version, hosts in facts.hvens.items():
        if version != hven.__version__:
            installed = f"Hven {version}" if version else "no Hven"
            yield (
                (
                    f"the workers {_format_hosts(hosts)} have {installed}, but this server has {hven.__version__}: "
                    "Hven's functions fail on these workers"
                ),
                (
                    f"run `pip install hven=={hven.__version__}` in the Python of the workers; plain SQL works without "
                    "Hven"
                ),
            )
    for root, hosts in facts.unseen.items():
        yield (
            f"the root {root} of [hats] is not visible to {_format_hosts(hosts)} of the cluster",
            "mount the root at the same path on all nodes, readable by the user that runs Spark",
        )


def _format_hosts(hosts: Sequence[str], host_limit: int = 5) -> str:
    names = ", ".join(hosts[:host_limit])
    if len(hosts) > host_limit:
        return f"{names} and {len(hosts) - host_limit} more"
    return names
