"""The contract of clusters, which compute queries that read more than this server may.

A package adds a cluster to the extension point ``hats.clusters`` (`hven.model.plugins.load_extensions`): a module that
defines ``CLUSTER``, a `ClusterDefinition`. The engine opens the first cluster that the settings name, with the first
query that needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, QueryExecution, Relation
    from hven.model.settings import Settings

CLUSTER_POINT = "hats.clusters"


class UnsupportedByClusterError(Exception):
    """Something that a cluster cannot compute; the message names it."""


class ClusterPlan(Protocol):
    """A plan of a query for a cluster, without literal values. Immutable, shared by threads."""

    def execute(
        self,
        literal_values: Sequence[float | str | None],
        relations: Mapping[str, Relation],
        limits: ExecutionLimits,
        files_by_table: Mapping[str, Sequence[str]],
        *,
        run_fallback: Callable[[str], QueryExecution] | None = None,
        hold_files: Callable[[], AbstractContextManager[object]],
        leaf_paths: Mapping[str, Mapping[str, str]] | None = None,
    ) -> QueryExecution:
        """Run the query with these literals.

        Parameters
        ----------
        literal_values
            Values by `Literal.slot`; numbers are dimensionless.
        relations
            Rows in memory, of each table that has no files.
        limits
            Limits on rows, time and batches.
        files_by_table
            Qualified table name -> paths of its Parquet files.
        run_fallback
            Function of the reason that computes the query in another way if the cluster refuses it.
        hold_files
            Context manager that keeps the files from being removed while the cluster may read them.
        leaf_paths
            Qualified table name -> column -> its path in the files, for columns that have another name there or stand
            in structs.

        Returns
        -------
        execution
            The query starts with the iteration. Without `run_fallback` the iteration may raise
            `UnsupportedByClusterError`, before the first batch.
        """


class Cluster(Protocol):
    """A cluster that sees the roots of ``[hats]`` at the same paths. Thread-safe."""

    def plan_query(self, bound_query: BoundQuery) -> ClusterPlan:
        """Plan a query.

        Parameters
        ----------
        bound_query
            A query over catalogues and rows in memory.

        Returns
        -------
        plan
            The plan, without the values of literals.

        Raises
        ------
        UnsupportedByClusterError
            The cluster cannot compute it.
        """

    def find_outage(self) -> str | None:
        """Return why the cluster does not respond; None if it does, or if it was never needed."""

    def close(self) -> None:
        """Close connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDefinition:
    """How a cluster is opened.

    Attributes
    ----------
    setting
        The setting of ``[hats]`` that names the cluster, for messages.
    find_opener
        ``find_opener(settings)``: a function that opens the cluster; None if the settings name none.
    """

    setting: str
    find_opener: Callable[[Settings], Callable[[], Cluster] | None]


def load_cluster_definitions() -> list[ClusterDefinition]:
    """Return the definitions of the clusters that packages add."""
    return [vars(module)["CLUSTER"] for module in plugins.load_extensions(CLUSTER_POINT)]


def find_cluster_opener(settings: Settings) -> Callable[[], Cluster] | None:
    """Find the function that opens the cluster of a site.

    Parameters
    ----------
    settings
        Settings of the site.

    Returns
    -------
    open_cluster
        None: the settings name no cluster.
    """
    openers = (definition.find_opener(settings) for definition in load_cluster_definitions())
    return next((opener for opener in openers if opener is not None), None)
